//! Who put which process into a container's cgroups: of runtimes and of systemd, as far as that was seen. And who took
//! the last one out of a cgroup just now: who begins there was not put there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::cgroups::Key;
use crate::budget::{self, weigh};
use crate::container::Container;
use crate::input::{Actor, BootTime, Event, HierarchyId, Pid, Seq};
use crate::recent::Recent;

/// Processes kept at most.
const PROCESSES: usize = 4_096;
/// Hierarchies that a process is in: a kernel has a dozen.
const HIERARCHIES: usize = 64;

/// Cgroups that were emptied last.
const EMPTIED: usize = 32;
/// The kernel says that a cgroup is empty, and then which process was moved out of it.
const IN_ONE_MOVE: Duration = Duration::from_millis(10);

/// A process that was put into a container's cgroups.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub container: Arc<Container>,
    /// Who did it, the last time.
    pub actor: Actor,
    /// The line that told so.
    pub seq: Seq,
    pub at: BootTime,
    /// Into which: one a hierarchy.
    cgroups: Vec<Key>,
}

weigh! {
    Placed: container, actor, cgroups;
}

/// A container's cgroup that has just lost its last process, and who was current as it did.
#[derive(Clone, Debug)]
pub(crate) struct Emptied {
    pub cgroup: Key,
    pub container: Arc<Container>,
    actor: Actor,
    pub seq: Seq,
    at: BootTime,
}

impl Emptied {
    fn is_by(&self, actor: &Actor, hierarchy: HierarchyId) -> bool {
        self.cgroup.0 == hierarchy && self.actor.tid == actor.tid && self.actor.is_same_process_as(actor)
    }
}

/// All that are known.
#[derive(Debug)]
pub(crate) struct Placings {
    placed: Recent<Pid, Placed>,
    /// The last ones.
    emptied: VecDeque<Emptied>,
}

impl Default for Placings {
    fn default() -> Self {
        Self { placed: Recent::new(PROCESSES, budget::PLACINGS), emptied: VecDeque::new() }
    }
}

impl Placings {
    /// How many had to make room.
    pub fn evicted(&self) -> u64 {
        self.placed.evicted
    }

    /// The container's cgroup of a hierarchy that a process was put into, and has not been moved out of since.
    pub fn of(&self, pid: Pid, hierarchy: HierarchyId) -> Option<(&Placed, Key)> {
        let placed = self.placed.get(&pid)?;
        let key = placed.cgroups.iter().find(|key| key.0 == hierarchy)?;
        Some((placed, *key))
    }

    /// A process was moved. `is_to_stay`: by somebody whose task it is to put it there.
    pub fn moved(&mut self, seq: Seq, event: &Event, is_to_stay: bool) {
        let (Some(id), Some(actor)) = (event.cgroup.id, &event.actor) else { return };
        let Some(pid) = event.task.as_ref().and_then(|task| task.pid) else { return };
        let key = (event.cgroup.hierarchy, id);
        // What it left empty says nothing of the next one that is moved.
        self.emptied.retain(|emptied| !emptied.is_by(actor, key.0));
        let mut known = self.placed.take(&pid);
        let is_within =
            |known: &Placed| event.container.as_ref().is_some_and(|to| to.chain.contains(&known.container.id));
        match &event.container {
            Some(container) if is_to_stay && actor.pid != pid => {
                let cgroups = known.filter(|known| known.container.id == container.id).map(|known| known.cgroups);
                let mut cgroups = cgroups.unwrap_or_default();
                cgroups.retain(|other| other.0 != key.0);
                if cgroups.len() < HIERARCHIES {
                    cgroups.push(key);
                }
                let (container, actor) = (container.clone(), actor.clone());
                self.placed.tell(pid, Placed { container, actor, seq, at: event.at, cgroups });
                return;
            }
            // It is still in the container, if in another cgroup of it.
            Some(_) if known.as_ref().is_some_and(is_within) => {}
            Some(_) | None => {
                if let Some(known) = &mut known {
                    known.cgroups.retain(|other| other.0 != key.0);
                }
            }
        }
        if let Some(known) = known.filter(|known| !known.cgroups.is_empty()) {
            self.placed.tell(pid, known);
        }
    }

    /// A container's cgroup has lost its last process.
    pub fn emptied(&mut self, seq: Seq, event: &Event) {
        let (Some(id), Some(actor), Some(container)) = (event.cgroup.id, &event.actor, &event.container) else {
            return;
        };
        self.emptied.truncate(EMPTIED - 1);
        let (container, actor) = (container.clone(), actor.clone());
        let cgroup = (event.cgroup.hierarchy, id);
        self.emptied.push_front(Emptied { cgroup, container, actor, seq, at: event.at });
    }

    /// The cgroup that a thread has just taken the last process out of, as it moved one in the hierarchy.
    pub fn emptied_by(&self, actor: &Actor, hierarchy: HierarchyId, at: BootTime) -> Option<&Emptied> {
        let is_it = |emptied: &&Emptied| emptied.is_by(actor, hierarchy) && at.since(emptied.at) <= IN_ONE_MOVE;
        // The innermost one is told first.
        self.emptied.iter().rev().find(is_it)
    }

    /// A process has ended: its number may be another one's.
    pub fn ended(&mut self, pid: Pid) {
        self.placed.take(&pid);
    }
}
