//! The command that is traced, with its descendants: which of their cgroups the kernel is still to release.
//!
//! When the command has ended, tracing goes on until those are released, and not for those of anybody else: on a busy
//! host there is always a stranger's cgroup that is dying.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::budget::{self, slot};
use crate::input::{BootTime, CgroupId, Change, Event, HierarchyId, Pid, Process, ProcessChange};

/// A cgroup that was removed longer ago than this is not waited for: something pins it.
const SETTLED: Duration = Duration::from_secs(2);
/// Processes, and cgroups, kept at most; beyond, they are not waited for.
const KEPT: usize = 4_096;
const _: () = assert!(
    KEPT * (slot(size_of::<Pid>()) + slot(size_of::<Key>()) + slot(size_of::<(Key, BootTime)>())) <= budget::COMMAND
);

type Key = (HierarchyId, CgroupId);

/// The command's processes and cgroups. Empty if no command is traced.
#[derive(Debug, Default)]
pub(super) struct Command {
    /// The process that was started. It is never taken for gone: whoever outlives it is still its child by name.
    root: Option<Pid>,
    descendants: HashSet<Pid>,
    /// Cgroups that they made and that exist.
    made: HashSet<Key>,
    /// Cgroups that they made or removed, from their removal to their release.
    dying: HashMap<Key, BootTime>,
    /// Those that there was no room for.
    pub evicted: u64,
}

impl Command {
    pub fn new(root: Option<Pid>) -> Self {
        Self { root, ..Self::default() }
    }

    /// Takes in a process: it belongs to the command if one of its parents does.
    pub fn learn(&mut self, process: &Process) {
        match process.change {
            ProcessChange::Exit => drop(self.descendants.remove(&process.pid)),
            ProcessChange::Exec | ProcessChange::Seen => {
                if process.parents.iter().any(|parent| self.has(parent.pid)) && self.has_room(self.descendants.len()) {
                    self.descendants.insert(process.pid);
                }
            }
        }
    }

    /// Takes in what happened to a cgroup.
    pub fn event(&mut self, event: &Event) {
        let Some(id) = event.cgroup.id.filter(|_| self.root.is_some()) else { return };
        let key = (event.cgroup.hierarchy, id);
        let own = event.actor.as_ref().is_some_and(|actor| self.has(actor.pid));
        match event.change {
            Change::Created => {
                // A number that is used again is another cgroup's.
                self.made.remove(&key);
                if own && self.has_room(self.made.len()) {
                    self.made.insert(key);
                }
            }
            Change::Removed => {
                if (self.made.remove(&key) || own) && self.has_room(self.dying.len()) {
                    self.dying.insert(key, event.at);
                }
            }
            Change::Released => drop(self.dying.remove(&key)),
            Change::Existing
            | Change::Renamed
            | Change::Populated
            | Change::Emptied
            | Change::Frozen
            | Change::Thawed
            | Change::Attached => {}
        }
    }

    /// Whether a cgroup of theirs that was removed shortly before `ended` is not released.
    pub fn waits(&self, ended: BootTime) -> bool {
        self.dying.values().any(|removed| *removed <= ended && ended.since(*removed) <= SETTLED)
    }

    fn has_room(&mut self, kept: usize) -> bool {
        self.evicted += u64::from(kept >= KEPT);
        kept < KEPT
    }

    fn has(&self, pid: Pid) -> bool {
        self.root == Some(pid) || self.descendants.contains(&pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{Actor, Cgroup, Parent};

    const COMMAND: u32 = 100;
    const STRANGER: u32 = 7;

    fn process(change: ProcessChange, pid: u32, parents: &[u32]) -> Process {
        let parents = parents.iter().map(|pid| Parent { pid: Pid(*pid), comm: "x".into() }).collect();
        Process { parents, ..Process::new(BootTime(0), Pid(pid), change, "x".into()) }
    }

    fn event(at: u64, change: Change, id: u64, pid: u32) -> Event {
        let actor = Actor::new(Pid(pid), pid, "x".into(), None);
        Event {
            at: BootTime(at),
            change,
            cgroup: Cgroup {
                hierarchy: HierarchyId(0),
                id: Some(CgroupId(id)),
                path: "/x".into(),
                level: None,
                truncated: false,
            },
            requested: false,
            task: None,
            container: None,
            actor: Some(actor),
        }
    }

    /// Whether the command's end at 1 s is waited for after these events.
    fn waits(events: &[Event]) -> bool {
        let mut command = Command::new(Some(Pid(COMMAND)));
        command.learn(&process(ProcessChange::Seen, STRANGER, &[1]));
        // A child, and its grandchild, whose own parents are too many to be told.
        command.learn(&process(ProcessChange::Exec, 101, &[COMMAND, 1]));
        command.learn(&process(ProcessChange::Seen, 105, &[104, 103, 102, 101]));
        events.iter().for_each(|event| command.event(event));
        command.waits(BootTime(1_000_000_000))
    }

    #[test]
    fn what_the_command_or_a_descendant_removed_is_waited_for_until_it_is_released() {
        for pid in [COMMAND, 101, 105] {
            let removed = [event(1, Change::Created, 1, pid), event(2, Change::Removed, 1, pid)];
            assert!(waits(&removed), "{pid}");
            assert!(!waits(&[removed[0].clone(), removed[1].clone(), event(3, Change::Released, 1, 0)]));
        }
        assert!(waits(&[event(1, Change::Created, 1, 105), event(2, Change::Removed, 1, STRANGER)]), "made by it");
        assert!(waits(&[event(1, Change::Created, 1, STRANGER), event(2, Change::Removed, 1, 105)]), "removed by it");
    }

    #[test]
    fn a_strangers_dying_cgroup_is_not_waited_for() {
        assert!(!waits(&[event(1, Change::Created, 1, STRANGER), event(2, Change::Removed, 1, STRANGER)]));
        // Not even if it has the number of one that the command made.
        assert!(!waits(&[
            event(1, Change::Created, 1, 105),
            event(2, Change::Created, 1, STRANGER),
            event(3, Change::Removed, 1, STRANGER)
        ]));
    }

    #[test]
    fn what_is_removed_after_the_end_or_long_before_it_is_not_waited_for() {
        assert!(!waits(&[event(1_000_000_001, Change::Removed, 1, COMMAND)]));
        let mut command = Command::new(Some(Pid(COMMAND)));
        command.event(&event(1, Change::Removed, 1, COMMAND));
        assert!(command.waits(BootTime(1) + SETTLED) && !command.waits(BootTime(2) + SETTLED));
    }

    #[test]
    fn a_number_that_is_used_again_is_no_descendant() {
        let mut command = Command::new(Some(Pid(COMMAND)));
        command.learn(&process(ProcessChange::Seen, 101, &[COMMAND]));
        command.learn(&process(ProcessChange::Exit, 101, &[]));
        command.event(&event(1, Change::Removed, 1, 101));
        assert!(!command.waits(BootTime(1)));
    }

    #[test]
    fn without_a_command_nothing_is_kept() {
        let mut command = Command::new(None);
        command.event(&event(1, Change::Created, 1, STRANGER));
        command.event(&event(2, Change::Removed, 1, STRANGER));
        assert!(!command.waits(BootTime(2)) && command.dying.is_empty() && command.made.is_empty());
    }
}
