//! Which cgroups have had which paths before, on cgroup v1: a renaming gives a new path to a cgroup and to all below it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::place::{Place, Removal};
use crate::budget::{self, Scale, weigh};
use crate::input::{Actor, BootTime, CgroupId, Seq};
use crate::name::Name;
use crate::recent::Recent;

/// Renamings kept at most, and paths that a cgroup has left; the oldest goes first.
const RENAMINGS: usize = 4_096;
const LEFT: usize = 65_536;
/// A cgroup around another one that was renamed more often than this is not followed any further.
const HOPS: usize = 16;

/// A renaming that was seen.
#[derive(Clone, Debug)]
pub(crate) struct Renaming {
    pub seq: Seq,
    pub at: BootTime,
    pub actor: Option<Actor>,
    pub from: Place,
    /// In the same hierarchy, and in the same cgroup.
    pub to: Name,
}

impl Renaming {
    /// The new path of a cgroup at `place`, if that was renamed with it.
    pub fn forward(&self, place: &Place) -> Option<Place> {
        if place.hierarchy == self.from.hierarchy { place.moved(&self.from.path, &self.to) } else { None }
    }

    /// The old path of a cgroup at `place`, if that was renamed with it.
    fn backward(&self, place: &Place) -> Option<Place> {
        if place.hierarchy == self.from.hierarchy { place.moved(&self.to, &self.from.path) } else { None }
    }
}

/// The last cgroup that left a path.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    pub id: CgroupId,
    pub renaming: Arc<Renaming>,
    /// Its removal, under whatever path it had then.
    pub removal: Option<Removal>,
}

weigh! {
    Renaming: actor, from, to;
    Left: renaming, removal;
}

/// Those that are remembered.
#[derive(Debug)]
pub(crate) struct Renamings {
    /// In the order they were seen.
    log: VecDeque<Arc<Renaming>>,
    scale: Scale,
    left: Recent<Place, Left>,
    /// Those of either that made room for others.
    pub evicted: u64,
}

impl Default for Renamings {
    fn default() -> Self {
        let left = Recent::new(LEFT, budget::RENAMINGS / 2);
        Self { log: VecDeque::new(), scale: Scale::default(), left, evicted: 0 }
    }
}

impl Renamings {
    /// These cgroups left these paths. Returns when the newest of what had to be forgotten for it was.
    pub fn add(&mut self, renaming: Renaming, moved: impl Iterator<Item = (CgroupId, Place)>) -> Option<BootTime> {
        let renaming = Arc::new(renaming);
        let mut gone = Vec::new();
        for (id, place) in moved {
            gone.extend(self.left.tell(place, Left { id, renaming: renaming.clone(), removal: None }));
        }
        let mut forgotten = self.forget(gone);
        self.scale.put(&renaming);
        self.log.push_back(renaming);
        while self.log.len() > RENAMINGS || self.scale.bytes() > budget::RENAMINGS / 2 {
            forgotten = forgotten.max(self.forget_oldest());
            self.evicted += 1;
        }
        forgotten
    }

    /// A cgroup that had these paths before was removed. Returns when the newest of what had to be forgotten for it was.
    pub fn removed(&mut self, id: CgroupId, former: &[Place], removal: &Removal) -> Option<BootTime> {
        for place in former {
            if self.left.get(place).is_some_and(|left| left.id == id && left.removal.is_none()) {
                self.left.change(place, |left| left.removal = Some(removal.clone()));
            }
        }
        let gone = self.left.make_room();
        self.forget(gone)
    }

    /// These paths had to be forgotten.
    fn forget(&mut self, gone: Vec<(Place, Left)>) -> Option<BootTime> {
        self.evicted += gone.len() as u64;
        gone.iter().map(|(_, left)| left.renaming.at).max()
    }

    /// The last cgroup that left a path.
    pub fn left(&self, place: &Place) -> Option<&Left> {
        self.left.get(place)
    }

    /// The paths that a cgroup at `place` would have had before the cgroups around it were renamed, the latest first.
    pub fn earlier(&self, place: &Place) -> Vec<(&Renaming, Place)> {
        let mut found: Vec<(&Renaming, Place)> = Vec::new();
        for renaming in self.log.iter().rev().map(Arc::as_ref) {
            let now = found.last().map_or(place, |(_, place)| place);
            // It is itself what was renamed: then it was there afterwards.
            if let Some(before) = renaming.backward(now).filter(|before| *before != renaming.from) {
                found.push((renaming, before));
                if found.len() >= HOPS {
                    break;
                }
            }
        }
        found
    }

    /// Drops what is too old. Returns when the newest of it was.
    pub fn sweep(&mut self, now: BootTime, age: Duration) -> Option<BootTime> {
        let mut forgotten = None;
        while self.log.front().is_some_and(|renaming| now.since(renaming.at) > age) {
            forgotten = forgotten.max(self.forget_oldest());
        }
        forgotten
    }

    fn forget_oldest(&mut self) -> Option<BootTime> {
        let oldest = self.log.pop_front()?;
        self.scale.take(&oldest);
        while self.left.oldest().is_some_and(|(_, left)| left.renaming.seq <= oldest.seq) {
            self.left.take_oldest();
        }
        Some(oldest.at)
    }
}
