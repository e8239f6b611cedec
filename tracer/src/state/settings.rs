//! Who set what last, in the control files of each cgroup: of files whose value lasts, as far as writes were seen.
//!
//! Only trampolines tell of writes that succeed. With the tracepoint nothing is known here.

use super::cgroups::Key;
use crate::budget::{self, weigh};
use crate::control::Setting;
use crate::input::{Actor, BootTime, Seq};
use crate::name::Name;
use crate::recent::Recent;

/// Cgroups kept at most.
const CGROUPS: usize = 4_096;
/// Settings of one cgroup kept at most: a cgroup2 with all controllers has some forty.
const SETTINGS: usize = 64;

/// A value, and who set it.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub value: Name,
    pub actor: Actor,
    /// When it was written, the last time that it was.
    pub at: BootTime,
    /// The line that told so.
    pub seq: Seq,
}

/// What is known of one setting of a cgroup.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    what: Setting,
    pub last: Set,
    /// What it was before, if somebody else had set that.
    pub before: Option<Box<Set>>,
}

weigh! {
    Set: value, actor;
    Kept: last, before;
}

/// All that are known.
#[derive(Debug)]
pub(crate) struct Settings(Recent<Key, Vec<Kept>>);

impl Default for Settings {
    fn default() -> Self {
        Self(Recent::new(CGROUPS, budget::SETTINGS))
    }
}

impl Settings {
    /// How many had to make room.
    pub fn evicted(&self) -> u64 {
        self.0.evicted
    }

    /// What is known of a setting of a cgroup. `None` if nobody was seen to write it.
    pub fn of(&self, cgroup: Key, what: Setting) -> Option<&Kept> {
        self.0.get(&cgroup)?.iter().find(|kept| kept.what == what)
    }

    /// Somebody wrote a value. `runs`: it may be one who runs containers, whose word counts more than that of another
    /// who wrote the same before.
    pub fn write(&mut self, cgroup: Key, what: Setting, set: Set, runs: bool) {
        let mut all = self.0.take(&cgroup).unwrap_or_default();
        match all.iter().position(|kept| kept.what == what) {
            Some(place) => {
                let kept = &mut all[place];
                let is_same = what.may_be_same(&kept.last.value, &set.value);
                let is_own = kept.last.actor.is_same_process_as(&set.actor);
                if !is_same && !is_own {
                    kept.before = Some(Box::new(std::mem::replace(&mut kept.last, set)));
                } else if is_own || runs {
                    kept.last = set;
                }
            }
            None if all.len() < SETTINGS => {
                all.reserve_exact(1);
                all.push(Kept { what, last: set, before: None });
            }
            None => {}
        }
        self.0.tell(cgroup, all);
    }

    /// Something was written that is not known: nothing is known of the file any more.
    pub fn forget_file(&mut self, cgroup: Key, file: &Name) {
        self.0.change(&cgroup, |all| all.retain(|kept| *file != kept.what.file));
    }

    /// A cgroup is gone, or another one has its id.
    pub fn forget(&mut self, cgroup: Key) {
        self.0.take(&cgroup);
    }
}
