//! Looks into cgroups: who is in one now.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::allowance::Allowance;
use crate::cgroupfs::{self, Members};
use crate::hierarchy::Hierarchy;
use crate::input::{About, Facts, HierarchyId, Input, Occupant, Occupants};
use crate::name::Name;
use crate::process;

/// Who is in a cgroup whose removal is refused again and again is looked at so often.
const EVERY: Duration = Duration::from_millis(100);
/// Cgroups that were looked into just now are remembered up to this, and no more are looked into.
const LOOKED: usize = 1_024;
/// Of those who are in one, so many are looked at, and so many are told of; and so many threads of those whose first
/// thread has ended.
const LOOKED_AT: usize = 32;
const THREADS: usize = 64;
const OCCUPANTS: usize = 8;

/// By whose doing it is looked: no stranger can use up what there is for root on the host.
#[derive(Clone, Copy)]
pub(super) enum Whose {
    /// A refusal of root's on the host.
    Roots,
    /// Anybody else's.
    Others,
    /// What the tracker asks for.
    Trackers,
}

/// When it was last looked into cgroups, and how much time that may take.
pub(super) struct Looks {
    latest: HashMap<(HierarchyId, Name), Instant>,
    allowances: [Allowance; 3],
    /// See [`Looks::are_into_none`].
    into_none: bool,
}

impl Looks {
    pub fn new() -> Self {
        Self { latest: HashMap::new(), allowances: std::array::from_fn(|_| Allowance::new()), into_none: false }
    }

    /// Whether none is to be looked into.
    pub fn are_into_none(&mut self, is_so: bool) {
        self.into_none = is_so;
    }

    /// Whether it may be looked into one again, or into another one.
    pub fn allow(&mut self, key: &(HierarchyId, Name), now: Instant) -> bool {
        let was_now = |looked: &Instant| now.duration_since(*looked) < EVERY;
        if self.latest.len() >= LOOKED {
            self.latest.retain(|_, looked| was_now(looked));
        }
        self.latest.len() < LOOKED && !self.latest.get(key).is_some_and(was_now)
    }

    /// It is looked into one now.
    pub fn remember(&mut self, key: (HierarchyId, Name), now: Instant) {
        self.latest.insert(key, now);
    }

    /// Who is in a cgroup: those who live first. `None` if that cannot be read, was read a moment ago, or would take
    /// more time than there is for it.
    pub fn look(
        &mut self,
        whose: Whose,
        hierarchies: &[Hierarchy],
        hierarchy: HierarchyId,
        path: Name,
    ) -> Option<Input> {
        if self.into_none || !self.allowance(whose).allows(EVERY) {
            return None;
        }
        let begun = Instant::now();
        let key = (hierarchy, path);
        let found = self.allow(&key, begun).then(|| occupants(hierarchies, &key)).flatten();
        if found.is_some() {
            self.remember(key, begun);
        }
        self.allowance(whose).charge(begun.elapsed());
        found
    }

    fn allowance(&mut self, whose: Whose) -> &mut Allowance {
        let [roots, others, trackers] = &mut self.allowances;
        match whose {
            Whose::Roots => roots,
            Whose::Others => others,
            Whose::Trackers => trackers,
        }
    }
}

fn occupants(hierarchies: &[Hierarchy], (hierarchy, path): &(HierarchyId, Name)) -> Option<Input> {
    let hierarchy = hierarchies.iter().find(|known| known.id == *hierarchy)?;
    let Members { id, first, count, frozen } = cgroupfs::members(hierarchies, hierarchy, path, LOOKED_AT)?;
    let mut threads = THREADS;
    let mut occupants: Vec<Occupant> =
        first.into_iter().filter_map(|pid| process::occupant(pid, &mut threads)).collect();
    occupants.sort_by_key(|occupant| occupant.state);
    occupants.truncate(OCCUPANTS);
    let occupants = Occupants { hierarchy: hierarchy.id, id, count, occupants, frozen };
    Some(Input::Facts(Facts { at: process::boot_time(), about: About::Occupants(occupants) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_have_used_up_is_not_taken_from_root() {
        let mut looks = Looks::new();
        looks.allowance(Whose::Others).charge(Duration::from_secs(1));
        assert!(!looks.allowance(Whose::Others).allows(EVERY));
        assert!(looks.allowance(Whose::Roots).allows(EVERY) && looks.allowance(Whose::Trackers).allows(EVERY));
    }

    #[test]
    fn no_cgroup_is_looked_into_again_at_once_however_many_there_are() {
        let (mut looks, now) = (Looks::new(), Instant::now());
        let key = |number: usize| (HierarchyId(0), Name::from(format!("/{number}").into_bytes()));
        for number in 0..LOOKED {
            assert!(looks.allow(&key(number), now));
            looks.remember(key(number), now);
        }
        assert!(!looks.allow(&key(0), now) && !looks.allow(&key(LOOKED), now));
        assert!(looks.allow(&key(0), now + EVERY) && looks.latest.is_empty());
    }
}
