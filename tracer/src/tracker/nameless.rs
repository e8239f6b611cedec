//! Cgroups that a runtime made before it was known of which container they are.
//!
//! Its command line and its bundle are read by others, who may answer late: when nobody waits for them any more.

use std::collections::VecDeque;
use std::time::Duration;

use crate::budget;
use crate::input::{BootTime, CgroupId, HierarchyId, Incarnation, Pid};

/// Cgroups kept at most: of a hundred runtimes on v1.
const KEPT: usize = 2_048;
const _: () = assert!(KEPT * size_of::<Made>() <= budget::NAMELESS);
/// Who has not answered by then does not.
const AGE: Duration = Duration::from_secs(10);

type Key = (HierarchyId, CgroupId);
type Maker = (Pid, Incarnation);

#[derive(Debug)]
struct Made {
    at: BootTime,
    maker: Maker,
    cgroup: Key,
}

/// In the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Nameless {
    made: VecDeque<Made>,
    /// Those that made room for others.
    pub evicted: u64,
}

impl Nameless {
    /// A runtime made one.
    pub fn add(&mut self, at: BootTime, maker: Maker, cgroup: Key) {
        while self.made.front().is_some_and(|first| at.since(first.at) > AGE) {
            self.made.pop_front();
        }
        if self.made.len() >= KEPT {
            self.made.pop_front();
            self.evicted += 1;
        }
        self.made.push_back(Made { at, maker, cgroup });
    }

    /// Takes those out that a runtime made, with the time of each.
    pub fn take(&mut self, maker: Maker) -> Vec<(BootTime, Key)> {
        let own = self.made.iter().filter(|made| made.maker == maker);
        let own: Vec<(BootTime, Key)> = own.map(|made| (made.at, made.cgroup)).collect();
        if !own.is_empty() {
            self.made.retain(|made| made.maker != maker);
        }
        own
    }
}
