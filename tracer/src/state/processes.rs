//! The thread groups that matter, kept for a while after their end.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::cgroups::Cgroups;
use crate::budget::{self, weigh};
use crate::findings::FindingAttempt;
use crate::input::{
    Actor, BootTime, Exit, HierarchyId, Identity, Incarnation, NamespaceId, Parent, Pid, Process, ProcessChange,
};
use crate::name::Name;
use crate::oci::{self, RuntimeCommand};
use crate::recent::Recent;

/// Thread groups kept at most, of those that run and of all others.
const PROCESSES: usize = 65_536;
/// How long one is kept after its end: a runtime's parent asks for its exit status within that.
const AFTER_EXIT: Duration = Duration::from_secs(60);
/// How long one is kept that is not heard of: it is an idle daemon, or the record of its end was lost.
const SILENT: Duration = Duration::from_secs(24 * 60 * 60);

/// Whoever is heard of more often than this stays where it is in the order that they are forgotten in.
const LATE: Duration = Duration::from_secs(1);

/// A thread group, from its first record to a while after its end.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub comm: Name,
    pub uid: Option<u32>,
    pub mount_namespace: Option<NamespaceId>,
    pub identity: Arc<Identity>,
    /// What it was asked to do, if it is an OCI runtime.
    pub command: Option<RuntimeCommand>,
    /// Which of those that have had its number it is.
    pub incarnation: Incarnation,
    /// How it ended. `None` while it runs, and if that was not told.
    pub exit: Option<Exit>,
    /// Its last failed call that something had been wanted of: see [`Processes::note_failure`].
    pub last_failure: Option<Box<FindingAttempt>>,
    /// What it was asked to do could not be read in time, and stays unknown.
    pub is_unread: bool,
    /// Its command line is longer than what is known of it.
    argv_truncated: bool,
    /// When it ended.
    exited: Option<BootTime>,
    started: Option<BootTime>,
    heard: BootTime,
    /// Only its number is known: it made a call, and no record told of it.
    anonymous: bool,
}

weigh! { Known: comm, identity, command, last_failure; }

/// The thread groups that matter. Whoever starts very many that end at once pushes out no daemon.
#[derive(Debug)]
pub(crate) struct Processes {
    running: Recent<Pid, Known>,
    /// Those that have ended, and those of which only the number is known.
    passing: Recent<Pid, Known>,
    incarnations: u64,
    /// When one that is forgotten, and was not known to have ended, was last heard of.
    forgotten: Option<BootTime>,
    /// Of whom it was told last that what it was asked to do could not be read: its record comes next.
    unread: Option<Pid>,
}

impl Default for Processes {
    fn default() -> Self {
        let running = Recent::new(PROCESSES, budget::RUNNING);
        let passing = Recent::new(PROCESSES, budget::PASSING);
        Self { running, passing, incarnations: 0, forgotten: None, unread: None }
    }
}

impl Processes {
    pub fn get(&self, pid: Pid) -> Option<&Known> {
        self.running.get(&pid).or_else(|| self.passing.get(&pid))
    }

    /// Thread groups that made room for others.
    pub fn evicted(&self) -> u64 {
        self.running.evicted + self.passing.evicted
    }

    /// Why what a process was asked to do may have been forgotten, or why it may be the `rival` of its number after
    /// all, who did something at that time.
    pub fn gaps(&self, actor: &Actor, rival: Option<(&Actor, BootTime)>) -> Option<String> {
        let is_forgotten = |(rival, at): (&Actor, BootTime)| {
            rival.pid == actor.pid && !rival.is_same_process_as(actor) && Some(at) <= self.forgotten
        };
        let needs_more = actor.identity.is_none() && self.running.evicted > 0 || rival.is_some_and(is_forgotten);
        needs_more.then(|| "not all processes could be remembered".to_owned())
    }

    /// Whether a process that did something at that time may have been forgotten since: its end is then not known to be
    /// its own.
    pub fn may_have_forgotten(&self, actor: &Actor, at: BootTime) -> bool {
        self.of(actor).is_none() && Some(at) <= self.forgotten
    }

    /// Whether a process runs that was asked to make or delete a container, and began by then. Root's wait for no
    /// stranger's.
    pub fn have_business_with(&self, container: &Name, by: &Actor, until: BootTime) -> bool {
        let is_asked = |command: &RuntimeCommand| command.is_about(container) && command.may_remove();
        let are_roots = |uid: Option<u32>| uid == Some(0);
        self.running.in_order().any(|(_, known)| {
            known.command.as_ref().is_some_and(is_asked)
                && are_roots(known.uid) == are_roots(by.uid)
                && known.started.is_none_or(|started| started <= until)
        })
    }

    /// Whether a runtime that began then came to make a container's first process: it runs itself as its `init`, from
    /// which that is made.
    pub fn has_made_init(&self, runtime: Pid, began: BootTime) -> bool {
        let is_child = |known: &Known| {
            known.identity.parents.first().is_some_and(|parent| parent.pid == runtime)
                && known.started.is_none_or(|started| started >= began)
        };
        let is_init = |known: &Known| {
            let argv = known.identity.argv.as_deref().unwrap_or_default();
            argv.get(1).is_some_and(|word| *word == "init")
        };
        let mut all = self.running.in_order().chain(self.passing.in_order());
        all.any(|(_, known)| is_child(known) && is_init(known))
    }

    /// The process that an actor is, if it is remembered.
    pub fn of(&self, actor: &Actor) -> Option<&Known> {
        self.get(actor.pid).filter(|known| Some(known.incarnation) == actor.incarnation)
    }

    /// The ancestors of a process that are remembered, the nearest first. Whoever has an ancestor's number now, but
    /// began after the process itself, or had ended before, is none.
    pub fn ancestors<'a>(&'a self, of: &'a Known) -> impl Iterator<Item = &'a Known> {
        let parents = of.identity.parents.iter().filter_map(|Parent { pid, comm: _ }| self.get(*pid));
        parents.filter(|parent| match of.started {
            Some(began) => {
                parent.started.is_none_or(|started| started <= began)
                    && parent.exited.is_none_or(|exited| exited >= began)
            }
            None => parent.exited.is_none(),
        })
    }

    /// Takes in a process record. A record of another process with the same number starts anew. Returns which process
    /// the record is of, and which one it takes the place of without that one's end having been told. What was read
    /// late comes with its old time: one of the time before an end tells of whoever ended there.
    pub fn learn(&mut self, process: &Process, cgroups: &Cgroups) -> (Incarnation, Option<Incarnation>) {
        let mut known = Known::from_record(process, cgroups);
        let unread = self.unread.take_if(|pid| *pid == process.pid);
        known.is_unread = unread.is_some() && process.argv.is_none();
        let before = self.get(process.pid);
        let end = before.filter(|before| before.ended_after(&known)).map(|before| (before.exit, before.exited));
        let mut replaced = None;
        match before.filter(|before| before.is_same_process_as(&known)) {
            Some(before) => known.keep_what_is_not_said_again(before, process.change),
            None => {
                replaced = before.filter(|before| before.exited.is_none()).map(|before| before.incarnation);
                known.incarnation = self.next_incarnation();
            }
        }
        (known.exit, known.exited) = end.unwrap_or((known.exit, known.exited));
        let incarnation = known.incarnation;
        self.insert(process.pid, known);
        (incarnation, replaced)
    }

    /// What a thread group was asked to do could not be read in time. What is known of it is told next.
    pub fn unread(&mut self, pid: Pid) {
        self.unread = Some(pid);
    }

    /// Fills in what is known of the actor's thread group, which is alive at `now`.
    pub fn identify(&mut self, actor: &mut Actor, now: BootTime) {
        let known = self.get(actor.pid).filter(|known| known.exited.is_none_or(|exited| now <= exited));
        if let Some(known) = known {
            actor.incarnation = Some(known.incarnation);
            actor.identity = (!known.anonymous).then(|| known.identity.clone());
            self.of_number(actor.pid).touch(&actor.pid, |known| {
                let is_late = now.since(known.heard) >= LATE;
                known.heard = known.heard.max(now);
                is_late
            });
            return;
        }
        // No record told of it, or only of one that had this number before.
        let incarnation = self.next_incarnation();
        actor.incarnation = Some(incarnation);
        self.insert(actor.pid, Known::anonymous(actor, incarnation, now));
    }

    /// Remembers the last call of a process that failed although something had been wanted of it. If the process clears
    /// up next and fails, it is what failed first: a program that can do without goes on, and one that cannot stops
    /// there.
    pub fn note_failure(&mut self, actor: &Actor, call: &FindingAttempt) {
        if self.of(actor).is_some() {
            let known = self.of_number(actor.pid);
            known.change(&actor.pid, |known| known.last_failure = Some(Box::new(call.clone())));
            let gone = known.make_room();
            self.forget(&gone);
        }
    }

    /// Where one of that number is.
    fn of_number(&mut self, pid: Pid) -> &mut Recent<Pid, Known> {
        if self.running.get(&pid).is_some() { &mut self.running } else { &mut self.passing }
    }

    fn next_incarnation(&mut self) -> Incarnation {
        self.incarnations += 1;
        Incarnation(self.incarnations)
    }

    /// The mount namespaces of those that are alive.
    pub fn mount_namespaces(&self) -> HashSet<NamespaceId> {
        self.running.in_order().filter_map(|(_, known)| known.mount_namespace).collect()
    }

    /// Those that are alive, as records of when each was last heard of, the one that was heard of longest ago first.
    pub fn alive(&self) -> Vec<Process> {
        self.running
            .in_order()
            .map(|(pid, known)| Process {
                at: known.heard,
                pid: *pid,
                change: ProcessChange::Seen,
                comm: known.comm.clone(),
                exe: known.identity.exe.clone(),
                argv: known.identity.argv.clone(),
                argv_truncated: known.argv_truncated,
                cwd: None,
                parents: known.identity.parents.clone(),
                uid: known.uid,
                mount_namespace: known.mount_namespace,
                mounts: None,
                cgroup_namespace: None,
                cgroup: None,
                started: known.started,
                exit: None,
            })
            .collect()
    }

    /// Drops those that ended long ago, or were not heard of for long.
    pub fn sweep(&mut self, now: BootTime) {
        for (processes, age) in [(&mut self.running, SILENT), (&mut self.passing, AFTER_EXIT)] {
            while processes.oldest().is_some_and(|(_, known)| now.since(known.heard) > age) {
                processes.take_oldest();
            }
        }
    }

    fn insert(&mut self, pid: Pid, known: Known) {
        let (to, from) = match known.exited.is_some() || known.anonymous {
            true => (&mut self.passing, &mut self.running),
            false => (&mut self.running, &mut self.passing),
        };
        from.take(&pid);
        let gone = to.tell(pid, known);
        self.forget(&gone);
    }

    fn forget(&mut self, gone: &[(Pid, Known)]) {
        let unended = gone.iter().filter(|(_, known)| known.exited.is_none());
        self.forgotten = self.forgotten.max(unended.map(|(_, known)| known.heard).max());
    }
}

impl Known {
    fn anonymous(actor: &Actor, incarnation: Incarnation, now: BootTime) -> Self {
        Self {
            comm: actor.comm.clone(),
            uid: actor.uid,
            mount_namespace: None,
            identity: Arc::default(),
            command: None,
            incarnation,
            exit: None,
            last_failure: None,
            is_unread: false,
            argv_truncated: false,
            exited: None,
            started: None,
            heard: now,
            anonymous: true,
        }
    }

    fn from_record(process: &Process, cgroups: &Cgroups) -> Self {
        let argv = process.argv.as_deref().unwrap_or_default();
        let command = oci::command_line(&process.comm, process.exe.as_ref(), argv);
        let cgroup = process.cgroup.and_then(|id| cgroups.get(HierarchyId(0), id)).map(|live| live.path.clone());
        let identity = Identity {
            exe: process.exe.clone(),
            argv: process.argv.clone(),
            parents: process.parents.clone(),
            cgroup,
            started: process.started,
        };
        Self {
            comm: process.comm.clone(),
            uid: process.uid,
            mount_namespace: process.mount_namespace,
            identity: Arc::new(identity),
            command,
            incarnation: Incarnation(0),
            exit: process.exit,
            last_failure: None,
            is_unread: false,
            argv_truncated: process.argv_truncated,
            exited: (process.change == ProcessChange::Exit).then_some(process.at),
            started: process.started,
            heard: process.at,
            anonymous: false,
        }
    }

    /// Whoever does something as this process.
    pub fn as_actor(&self, pid: Pid) -> Actor {
        Actor {
            identity: Some(self.identity.clone()),
            incarnation: Some(self.incarnation),
            ..Actor::new(pid, pid.0, self.comm.clone(), self.uid)
        }
    }

    /// Whether it was to make a container and failed, as its exit status says.
    pub fn has_failed_to_make(&self) -> bool {
        let is_failure = |exit: Exit| matches!(exit, Exit::Code(code) if code != 0);
        self.exit.is_some_and(is_failure) && self.command.as_ref().is_some_and(RuntimeCommand::makes)
    }

    /// Whether its end was seen.
    pub fn has_ended(&self) -> bool {
        self.exited.is_some()
    }

    /// When it was forked, or a clock tick before. `None` if that was not told.
    pub fn began(&self) -> Option<BootTime> {
        self.started
    }

    /// Whether it is known to have ended, and a record that comes later tells of the time before.
    fn ended_after(&self, later: &Self) -> bool {
        later.exited.is_none() && self.exited.is_some_and(|exited| later.heard <= exited)
    }

    /// Whether a later record of the same number is of the same process.
    fn is_same_process_as(&self, later: &Self) -> bool {
        match (self.started, later.started) {
            (Some(before), Some(after)) => before.is_same_start(after),
            // One that was heard of before the other began.
            (None, Some(after)) if after > self.heard => false,
            // Without start times (the record of an end has none) one that comes after an end can only be of another
            // process.
            (None, _) | (_, None) => self.exited.is_none() || self.ended_after(later),
        }
    }

    fn keep_what_is_not_said_again(&mut self, before: &Self, change: ProcessChange) {
        self.incarnation = before.incarnation;
        self.heard = self.heard.max(before.heard);
        self.last_failure.clone_from(&before.last_failure);
        self.started = self.started.or(before.started);
        self.uid = self.uid.or(before.uid);
        self.mount_namespace = self.mount_namespace.or(before.mount_namespace);
        if self.exited.is_some() {
            // The record of an end says no more than that; its name is that of the last thread.
            self.comm.clone_from(&before.comm);
        }
        let identity = Arc::make_mut(&mut self.identity);
        // What it was asked to do before it began another program says nothing of that.
        if identity.argv.is_none() && change != ProcessChange::Exec {
            identity.argv.clone_from(&before.identity.argv);
            self.argv_truncated = before.argv_truncated;
            self.command.clone_from(&before.command);
            self.is_unread |= before.is_unread && identity.argv.is_none();
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
        identity.started = identity.started.or(before.identity.started);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Exit;

    fn record(change: ProcessChange, argv: Option<&str>, started: u64) -> Process {
        Process {
            argv: argv.map(|argv| argv.split(' ').map(Into::into).collect()),
            started: Some(BootTime(started)),
            exit: (change == ProcessChange::Exit).then_some(Exit::Code(1)),
            ..Process::new(BootTime(started + 10), Pid(42), change, "runc".into())
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
    fn a_command_line_that_was_cut_short_is_told_as_one_until_another_one_is_known() {
        let (mut processes, cgroups) = (Processes::default(), Cgroups::default());
        let cut = |processes: &Processes| processes.alive()[0].argv_truncated;
        processes.learn(&Process { argv_truncated: true, ..record(ProcessChange::Exec, Some("tar"), 1) }, &cgroups);
        assert!(cut(&processes));
        processes.learn(&record(ProcessChange::Seen, None, 1), &cgroups);
        assert!(cut(&processes), "it is still the same");
        processes.learn(&record(ProcessChange::Exec, Some("runc list"), 1), &cgroups);
        assert!(!cut(&processes));
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

    #[test]
    fn what_was_read_late_of_a_process_that_has_ended_completes_it_and_does_not_wake_it() {
        // Records of an end have no start time.
        let exit = Process { at: BootTime(500), started: None, ..record(ProcessChange::Exit, None, 1) };
        let late = |change, at| Process { at: BootTime(at), ..record(change, Some("runc delete a"), 1) };
        for change in [ProcessChange::Exec, ProcessChange::Seen] {
            let (mut processes, cgroups) = (Processes::default(), Cgroups::default());
            let (ended, _) = processes.learn(&exit, &cgroups);
            assert_eq!(processes.learn(&late(change, 400), &cgroups), (ended, None));
            let known = processes.get(Pid(42)).expect("known");
            assert!(known.command.is_some() && known.identity.argv.is_some());
            assert_eq!((known.exit, known.exited), (Some(Exit::Code(1)), Some(BootTime(500))));
            assert!(processes.alive().is_empty());
            // Known from its beginning to its end, and told of again.
            assert_eq!(processes.learn(&late(change, 450), &cgroups), (ended, None));
            assert!(processes.alive().is_empty());
            // Another one with the same number.
            let next = Process { started: None, ..late(change, 501) };
            assert_ne!(processes.learn(&next, &cgroups).0, ended);
            assert_eq!(processes.alive().len(), 1);
        }
    }

    #[test]
    fn a_program_whose_command_line_was_not_read_was_not_asked_what_the_one_before_was() {
        let (mut processes, cgroups) = (Processes::default(), Cgroups::default());
        processes.learn(&record(ProcessChange::Exec, Some("runc delete a"), 1), &cgroups);
        processes.unread(Pid(42));
        processes.learn(&record(ProcessChange::Exec, None, 1), &cgroups);
        processes.learn(&record(ProcessChange::Exit, None, 1), &cgroups);
        let known = processes.get(Pid(42)).expect("known");
        assert!(known.is_unread && known.identity.argv.is_none());
        assert!(known.command.as_ref().is_none_or(|command| command.subcommand.is_none()));
    }

    fn flood(processes: &mut Processes, change: ProcessChange, count: u32) {
        let argv: Vec<Name> = vec!["runc".into(), "delete".into(), Name::new(vec![b'x'; 4_000])];
        for pid in 1_000..1_000 + count {
            let process = Process { pid: Pid(pid), argv: Some(argv.clone()), ..record(change, None, 1) };
            processes.learn(&process, &Cgroups::default());
        }
    }

    #[test]
    fn a_thousand_processes_with_four_kib_of_arguments_each_push_out_the_oldest_and_it_is_counted() {
        let mut processes = Processes::default();
        processes.learn(&record(ProcessChange::Exec, Some("runc delete a"), 1), &Cgroups::default());
        flood(&mut processes, ProcessChange::Exec, 1_500);
        assert!(processes.get(Pid(42)).is_none() && processes.get(Pid(2_499)).is_some());
        assert!(processes.running.bytes() <= budget::RUNNING && processes.evicted() > 500);
        // Of one number, a process that is told apart from another one: that it is another is sure if nobody was
        // forgotten since.
        let actor = |incarnation| Actor {
            incarnation: Some(Incarnation(incarnation)),
            identity: Some(Arc::default()),
            ..Actor::new(Pid(42), 42, "runc".into(), None)
        };
        assert!(processes.gaps(&actor(2), Some((&actor(1), BootTime(11)))).is_some());
        assert!(processes.gaps(&actor(2), Some((&actor(1), BootTime(12)))).is_none());
        assert!(processes.gaps(&actor(2), Some((&actor(2), BootTime(11)))).is_none());
    }

    #[test]
    fn processes_that_have_ended_push_out_none_that_runs() {
        let mut processes = Processes::default();
        processes.learn(&record(ProcessChange::Exec, Some("runc delete a"), 1), &Cgroups::default());
        flood(&mut processes, ProcessChange::Exit, 10_000);
        assert!(processes.get(Pid(42)).is_some() && processes.passing.bytes() <= budget::PASSING);
        assert!(processes.evicted() > 9_000, "{}", processes.evicted());
    }

    #[test]
    fn whoever_is_heard_of_is_not_the_oldest() {
        let mut processes = Processes::default();
        processes.learn(&record(ProcessChange::Exec, Some("runc delete a"), 1), &Cgroups::default());
        flood(&mut processes, ProcessChange::Exec, 500);
        processes.identify(&mut Actor::new(Pid(42), 42, "runc".into(), None), BootTime(11) + LATE);
        flood(&mut processes, ProcessChange::Exec, 900);
        assert!(processes.get(Pid(42)).is_some());
    }

    #[test]
    fn two_thousand_processes_with_ordinary_command_lines_have_room() {
        let mut processes = Processes::default();
        let argv = "runc --root /run/containerd/runc/k8s.io --log \
                    /run/containerd/io.containerd.runtime.v2.task/k8s.io/log.json delete web";
        for pid in 1..=2_000 {
            let process = Process { pid: Pid(pid), ..record(ProcessChange::Exec, Some(argv), 1) };
            processes.learn(&process, &Cgroups::default());
        }
        assert_eq!((processes.evicted(), processes.running.len()), (0, 2_000));
    }
}
