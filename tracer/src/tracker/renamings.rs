//! Which cgroups have had which paths before, on cgroup v1: a renaming gives a new path to a cgroup and to all below it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::cgroups::{Place, Removal};
use crate::input::{Actor, BootTime, CgroupId, Seq};
use crate::name::Name;

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

/// Those that are remembered.
#[derive(Debug, Default)]
pub(crate) struct Renamings {
    /// In the order they were seen.
    log: VecDeque<Arc<Renaming>>,
    left: HashMap<Place, Left>,
    /// In the order they were left, for eviction. A path that was left again is in it twice.
    order: VecDeque<(Seq, Place)>,
}

impl Renamings {
    /// These cgroups left these paths. Returns when the newest of what had to be forgotten for it was.
    pub fn add(&mut self, renaming: Renaming, moved: impl Iterator<Item = (CgroupId, Place)>) -> Option<BootTime> {
        let renaming = Arc::new(renaming);
        for (id, place) in moved {
            self.order.push_back((renaming.seq, place.clone()));
            self.left.insert(place, Left { id, renaming: renaming.clone(), removal: None });
        }
        self.log.push_back(renaming);
        let mut forgotten = None;
        while self.log.len() > RENAMINGS {
            forgotten = forgotten.max(self.forget_oldest());
        }
        while self.order.len() > LEFT {
            forgotten = forgotten.max(self.forget_oldest_path());
        }
        forgotten
    }

    /// A cgroup that had these paths before was removed.
    pub fn removed(&mut self, id: CgroupId, former: &[Place], removal: &Removal) {
        for place in former {
            if let Some(left) = self.left.get_mut(place).filter(|left| left.id == id && left.removal.is_none()) {
                left.removal = Some(removal.clone());
            }
        }
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
        while self.order.front().is_some_and(|(seq, _)| *seq <= oldest.seq) {
            self.forget_oldest_path();
        }
        Some(oldest.at)
    }

    fn forget_oldest_path(&mut self) -> Option<BootTime> {
        let (seq, place) = self.order.pop_front()?;
        let is_its = self.left.get(&place).is_some_and(|left| left.renaming.seq == seq);
        is_its.then(|| self.left.remove(&place)).flatten().map(|left| left.renaming.at)
    }
}
