//! The thread groups that matter, kept for a while after their end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::cgroups::Cgroups;
use crate::input::{Actor, BootTime, HierarchyId, Identity, NamespaceId, Pid, Process, ProcessChange};
use crate::name::Name;
use crate::oci::{self, RuntimeCommand};
use crate::process::same_start;

/// Thread groups kept at most; beyond, new ones are not remembered until old ones end.
const PROCESSES: usize = 65_536;
/// How long one is kept after its end: a runtime's parent asks for its exit status within that.
const AFTER_EXIT: Duration = Duration::from_secs(60);
/// How long one is kept that is not heard of: it is an idle daemon, or the record of its end was lost.
const SILENT: Duration = Duration::from_secs(24 * 60 * 60);

/// A thread group, from its first record to a while after its end.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub comm: Name,
    pub uid: Option<u32>,
    pub mount_namespace: Option<NamespaceId>,
    pub identity: Arc<Identity>,
    /// What it was asked to do, if it is an OCI runtime.
    pub command: Option<RuntimeCommand>,
    /// When it ended.
    exited: Option<BootTime>,
    started: Option<BootTime>,
    heard: BootTime,
}

/// The thread groups that matter.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    known: HashMap<Pid, Known>,
    /// Thread groups that were not remembered because there were too many.
    pub evicted: u64,
}

impl Processes {
    pub fn get(&self, pid: Pid) -> Option<&Known> {
        self.known.get(&pid)
    }

    /// Takes in a process record. A record of another process with the same number starts anew.
    pub fn learn(&mut self, process: &Process, cgroups: &Cgroups) {
        match process.change {
            ProcessChange::Exit => match self.known.get_mut(&process.pid) {
                Some(known) => {
                    known.exited = Some(process.at);
                    known.heard = process.at;
                }
                None => {
                    let mut known = Known::from_record(process, cgroups);
                    known.exited = Some(process.at);
                    self.insert(process.pid, known);
                }
            },
            ProcessChange::Exec | ProcessChange::Seen => {
                let mut known = Known::from_record(process, cgroups);
                if let Some(before) = self.known.get(&process.pid)
                    && before.is_same_process_as(&known)
                {
                    known.keep_what_is_not_said_again(before);
                }
                self.insert(process.pid, known);
            }
        }
    }

    /// Fills in what is known of the actor's thread group, which is alive at `now`.
    pub fn identify(&mut self, actor: &mut Actor, now: BootTime) {
        if let Some(known) = self.known.get_mut(&actor.pid)
            && known.exited.is_none_or(|exited| now <= exited)
        {
            actor.identity = Some(known.identity.clone());
            known.heard = known.heard.max(now);
        }
    }

    /// Those that are alive, as records of `now`, in the order of their numbers.
    pub fn alive(&self, now: BootTime) -> Vec<Process> {
        let mut alive: Vec<Process> = self
            .known
            .iter()
            .filter(|(_, known)| known.exited.is_none())
            .map(|(pid, known)| Process {
                at: now,
                pid: *pid,
                change: ProcessChange::Seen,
                comm: known.comm.clone(),
                exe: known.identity.exe.clone(),
                argv: known.identity.argv.clone(),
                argv_truncated: false,
                cwd: None,
                parents: known.identity.parents.clone(),
                uid: known.uid,
                mount_namespace: known.mount_namespace,
                cgroup_namespace: None,
                cgroup: None,
                started: known.started,
                exit: None,
            })
            .collect();
        alive.sort_by_key(|process| process.pid);
        alive
    }

    /// Drops those that ended long ago.
    pub fn sweep(&mut self, now: BootTime) {
        self.known.retain(|_, known| {
            let age = if known.exited.is_some() { AFTER_EXIT } else { SILENT };
            now.since(known.heard) <= age
        });
    }

    fn insert(&mut self, pid: Pid, known: Known) {
        if self.known.len() < PROCESSES || self.known.contains_key(&pid) {
            self.known.insert(pid, known);
        } else {
            self.evicted += 1;
        }
    }
}

impl Known {
    fn from_record(process: &Process, cgroups: &Cgroups) -> Self {
        let argv = process.argv.as_deref().unwrap_or_default();
        let command = oci::command_line(&process.comm, process.exe.as_ref(), argv);
        let cgroup = process.cgroup.and_then(|id| cgroups.get(HierarchyId(0), id)).map(|live| live.path.clone());
        let identity =
            Identity { exe: process.exe.clone(), argv: process.argv.clone(), parents: process.parents.clone(), cgroup };
        Self {
            comm: process.comm.clone(),
            uid: process.uid,
            mount_namespace: process.mount_namespace,
            identity: Arc::new(identity),
            command,
            exited: None,
            started: process.started,
            heard: process.at,
        }
    }

    fn is_same_process_as(&self, later: &Self) -> bool {
        match (self.started, later.started) {
            (Some(before), Some(after)) => same_start(before, after),
            // Without start times a record after an exit can only be of another process.
            (None, _) | (_, None) => self.exited.is_none(),
        }
    }

    fn keep_what_is_not_said_again(&mut self, before: &Self) {
        let identity = Arc::make_mut(&mut self.identity);
        if identity.argv.is_none() {
            identity.argv.clone_from(&before.identity.argv);
            self.command.clone_from(&before.command);
        }
        if identity.exe.is_none() {
            identity.exe.clone_from(&before.identity.exe);
        }
        if identity.parents.is_empty() {
            identity.parents.clone_from(&before.identity.parents);
        }
        if identity.cgroup.is_none() {
            identity.cgroup.clone_from(&before.identity.cgroup);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Exit;

    fn record(change: ProcessChange, argv: Option<&str>, started: u64) -> Process {
        Process {
            at: BootTime(started + 10),
            pid: Pid(42),
            change,
            comm: "runc".into(),
            exe: None,
            argv: argv.map(|argv| argv.split(' ').map(Into::into).collect()),
            argv_truncated: false,
            cwd: None,
            parents: Vec::new(),
            uid: None,
            mount_namespace: None,
            cgroup_namespace: None,
            cgroup: None,
            started: Some(BootTime(started)),
            exit: (change == ProcessChange::Exit).then_some(Exit::Code(1)),
        }
    }

    #[test]
    fn a_number_that_is_reused_is_another_process() {
        let (mut processes, cgroups) = (Processes::default(), Cgroups::default());
        processes.learn(&record(ProcessChange::Exec, Some("runc delete a"), 1), &cgroups);
        processes.learn(&record(ProcessChange::Exit, None, 1), &cgroups);
        assert!(processes.get(Pid(42)).is_some_and(|first| first.exited.is_some()));
        processes.learn(&record(ProcessChange::Seen, None, 99_000_000), &cgroups);
        let second = processes.get(Pid(42)).expect("known");
        assert!(second.exited.is_none() && second.identity.argv.is_none());
    }

    #[test]
    fn a_later_record_of_the_same_process_adds_and_takes_nothing_away() {
        let (mut processes, cgroups) = (Processes::default(), Cgroups::default());
        processes.learn(&record(ProcessChange::Exec, Some("runc delete a"), 1), &cgroups);
        processes.learn(&record(ProcessChange::Seen, None, 1), &cgroups);
        let known = processes.get(Pid(42)).expect("known");
        assert!(known.identity.argv.is_some() && known.command.is_some());
    }

    #[test]
    fn those_that_ended_are_kept_for_a_while_only() {
        let (mut processes, cgroups) = (Processes::default(), Cgroups::default());
        processes.learn(&record(ProcessChange::Exit, None, 1), &cgroups);
        processes.sweep(BootTime(11) + AFTER_EXIT);
        assert!(processes.get(Pid(42)).is_some());
        processes.sweep(BootTime(12) + AFTER_EXIT);
        assert!(processes.get(Pid(42)).is_none());
    }
}
