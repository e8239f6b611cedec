//! Stories as they come from the kernel, and what is told of them.

use std::collections::HashSet;
use std::time::Duration;

use super::*;
use crate::findings::{Cause, Certainty, Kind, Severity};
use crate::hierarchy::{Clock, Hierarchy, Probe, Setup};
use crate::input::*;
use crate::oci::RuntimeCommand;
use crate::recording::TraceLine;
use crate::runtimes;

const HOST: NamespaceId = NamespaceId(1);
const CONTAINER_NS: NamespaceId = NamespaceId(2);
/// One whose mount table was not read.
pub(crate) const UNREAD: NamespaceId = NamespaceId(99);
const BUILD: &str =
    "/docker/a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90/irpsym10jqj937p3dxo13jky1";

/// Feeds a tracker and keeps what it tells.
pub(crate) struct Play {
    pub tracker: Tracker,
    seq: u64,
    pub now: u64,
    pub inputs: Vec<Input>,
    pub findings: Vec<Finding>,
    /// The mount namespace of processes that begin a program.
    pub sees: NamespaceId,
}

impl Play {
    /// A host with cgroup2 (device 0:38) and two v1 hierarchies (0:31 and 0:32), traced since 1 s after boot.
    pub fn new() -> Self {
        Self::with_probes(&[])
    }

    pub fn with_probes(missing: &[&str]) -> Self {
        Self::of(Tracker::new(&header(missing)))
    }

    /// The same host, judged by other rules.
    pub fn with_rules(rules: Rules) -> Self {
        Self::of(Tracker::with_rules(&header(&[]), rules))
    }

    pub fn of(tracker: Tracker) -> Self {
        let mut play =
            Self { tracker, seq: 0, now: 1_000_000_000, inputs: Vec::new(), findings: Vec::new(), sees: HOST };
        let mount = |minor, root: &str, point: &str, kind: &str, read_only| Mount {
            id: None,
            parent: None,
            device: Device { major: 0, minor },
            root: root.into(),
            mount_point: point.into(),
            file_system: kind.into(),
            read_only,
        };
        let host = vec![
            mount(28, "/", "/sys/fs/cgroup", "tmpfs", false),
            mount(38, "/", "/sys/fs/cgroup/unified", "cgroup2", false),
            mount(31, "/", "/sys/fs/cgroup/memory", "cgroup", false),
            mount(32, "/", "/sys/fs/cgroup/pids", "cgroup", false),
        ];
        let outer = &BUILD[..BUILD.len() - 26];
        let container = vec![mount(38, outer, "/sys/fs/cgroup", "cgroup2", true)];
        play.feed(fact(About::Mounts { namespace: HOST, mounts: host, too_many: 0, host: false }));
        play.feed(fact(About::Mounts { namespace: CONTAINER_NS, mounts: container, too_many: 0, host: false }));
        play.feed(fact(About::Walked { cgroups: 2, unreadable: 0, again: None }));
        play
    }

    pub fn feed(&mut self, mut input: Input) -> u64 {
        self.now += 1_000_000;
        set_at(&mut input, BootTime(self.now));
        self.seq += 1;
        self.inputs.push(input.clone());
        let told = self.tracker.apply(Seq(self.seq), &mut input);
        self.findings.extend(told);
        self.seq
    }

    /// Feeds what comes late, with its old time.
    fn late(&mut self, at: u64, mut input: Input) {
        set_at(&mut input, BootTime(at));
        self.seq += 1;
        let told = self.tracker.apply(Seq(self.seq), &mut input);
        self.findings.extend(told);
    }

    /// So many cgroups with paths of four kilobytes, from id 100 on: there is room for some two thousand.
    fn long_cgroups(&mut self, change: Change, ids: std::ops::Range<u64>) {
        let long = "x".repeat(4_000);
        for id in ids {
            self.event(change, 0, 100 + id, &format!("/{id}{long}"), 20);
        }
    }

    pub fn pass(&mut self, span: Duration) {
        self.now += span.as_nanos() as u64;
        self.feed(Input::Tick(Tick { at: BootTime(0) }));
    }

    pub fn event(&mut self, change: Change, hierarchy: u32, id: u64, path: &str, pid: u32) -> u64 {
        let cgroup = Cgroup {
            hierarchy: HierarchyId(hierarchy),
            id: Some(CgroupId(id)),
            path: path.into(),
            level: Some(1),
            truncated: false,
        };
        let actor = Some(actor(pid));
        let at = BootTime(0);
        self.feed(Input::Event(Event { at, change, cgroup, requested: false, task: None, container: None, actor }))
    }

    pub fn attempt(&mut self, syscall: Syscall, errno: Errno, path: &str, namespace: NamespaceId, pid: u32) -> u64 {
        self.flagged(syscall, None, errno, path, namespace, pid)
    }

    /// A failed opening for writing on cgroup2.
    fn open_to_write(&mut self, errno: Errno, path: &str, pid: u32) -> u64 {
        self.flagged(Syscall::Openat2, Some(1), errno, &format!("/sys/fs/cgroup/unified{path}"), HOST, pid)
    }

    fn flagged(
        &mut self,
        syscall: Syscall,
        flags: Option<u64>,
        errno: Errno,
        path: &str,
        namespace: NamespaceId,
        pid: u32,
    ) -> u64 {
        self.feed(Input::Attempt(Attempt {
            flags,
            mount_namespace: Some(namespace),
            ..Attempt::new(BootTime(0), syscall, errno, path.into(), actor(pid))
        }))
    }

    pub fn rmdir(&mut self, errno: Errno, path: &str, pid: u32) -> u64 {
        self.attempt(Syscall::Unlinkat, errno, &format!("/sys/fs/cgroup/unified{path}"), HOST, pid)
    }

    pub fn exec(&mut self, pid: u32, argv: &str) -> u64 {
        self.feed(Input::Process(process(pid, ProcessChange::Exec, Some(argv), None)))
    }

    /// A process that these made, the nearest first.
    fn exec_in(&mut self, parents: &[u32], pid: u32, argv: &str) -> u64 {
        let parents = parents.iter().map(|pid| Parent { pid: Pid(*pid), comm: "sh".into() }).collect();
        let process = Process { parents, ..process(pid, ProcessChange::Exec, Some(argv), None) };
        self.feed(Input::Process(process))
    }

    /// A process of root's that is forked now.
    pub fn begins(&mut self, pid: u32, argv: &str) -> u64 {
        self.exec_at(self.now, pid, argv)
    }

    /// A process of root's that was forked then.
    pub fn exec_at(&mut self, started: u64, pid: u32, argv: &str) -> u64 {
        self.exec_of(0, started, pid, argv)
    }

    /// A process of this user that was forked then.
    pub fn exec_of(&mut self, uid: u32, started: u64, pid: u32, argv: &str) -> u64 {
        let process = process(pid, ProcessChange::Exec, Some(argv), None);
        let (started, mount_namespace) = (Some(BootTime(started)), Some(self.sees));
        self.feed(Input::Process(Process { started, mount_namespace, uid: Some(uid), ..process }))
    }

    /// The runtime's state was looked for after a process's end: where its command line says, or else where root's is.
    pub fn state(&mut self, id: &str, pid: u32, present: bool) -> u64 {
        let command = self.tracker.command_of(Pid(pid));
        let usual = command.and_then(|command| runtimes::by_name(command.runtime)?.state);
        let usual = usual.map(|state| format!("{}/{id}/{}", state.root, state.file));
        let path =
            command.and_then(RuntimeCommand::state_file).unwrap_or_else(|| usual.as_deref().unwrap_or("/").into());
        self.state_at(path, id, pid, present)
    }

    /// It was looked for there.
    pub fn state_at(&mut self, path: Name, id: &str, pid: u32, present: bool) -> u64 {
        self.feed(fact(About::State { id: id.into(), pid: Pid(pid), path, present }))
    }

    /// What a process that makes a container leads to says where its state will be.
    pub fn says(&mut self, id: &str, pid: u32, state_file: &str) -> u64 {
        let facts = ContainerFacts::new(id.into(), "runc", "/b/config.json".into());
        let state_file = Some(state_file.into());
        self.feed(fact(About::Container(ContainerFacts { pid: Some(Pid(pid)), state_file, ..facts })))
    }

    /// runc on cgroup2 fails to start a container, and tears down twice.
    fn failed_start(&mut self, pid: u32, id: u64, name: &str) {
        let path = format!("/{name}");
        self.exec(pid, &format!("runc run {name}"));
        self.attempt(
            Syscall::Openat2,
            Errno::ENOENT,
            &format!("/sys/fs/cgroup/unified{path}/cgroup.freeze"),
            HOST,
            pid,
        );
        self.event(Change::Created, 0, id, &path, pid);
        self.open_to_write(Errno::ENOENT, &format!("{path}/cgroup.type"), pid);
        self.event(Change::Removed, 0, id, &path, pid);
        // A look at what is gone by now.
        self.flagged(
            Syscall::Openat2,
            Some(0),
            Errno::ENOENT,
            &format!("/sys/fs/cgroup/unified{path}/memory.events"),
            HOST,
            pid,
        );
        self.rmdir(Errno::ENOENT, &path, pid);
        self.exit(pid, Exit::Code(1));
    }

    pub fn exit(&mut self, pid: u32, how: Exit) -> u64 {
        self.feed(Input::Process(process(pid, ProcessChange::Exit, None, Some(how))))
    }

    /// The one finding that was told, in its only revision.
    pub fn only(&self) -> &Finding {
        assert_eq!(self.findings.len(), 1, "{:#?}", self.findings);
        &self.findings[0]
    }

    /// runc's calls of the incident; the deleter ends with `how`.
    pub fn incident(&mut self, how: Exit) {
        let cgroup = "/sys/fs/cgroup/irpsym10jqj937p3dxo13jky1";
        let freeze = format!("{cgroup}/cgroup.freeze");
        self.exec(10, "buildkit-runc run --keep irpsym10jqj937p3dxo13jky1");
        self.attempt(Syscall::Openat2, Errno::ENOENT, &freeze, CONTAINER_NS, 10);
        self.attempt(Syscall::Openat2, Errno::EROFS, "/sys/fs/cgroup/cgroup.subtree_control", CONTAINER_NS, 10);
        self.attempt(Syscall::Mkdirat, Errno::EROFS, cgroup, CONTAINER_NS, 10);
        self.exit(10, Exit::Code(0));
        self.exec(11, "buildkit-runc delete irpsym10jqj937p3dxo13jky1");
        self.attempt(Syscall::Openat2, Errno::ENOENT, &freeze, CONTAINER_NS, 11);
        self.attempt(Syscall::Openat2, Errno::ENOENT, &freeze, CONTAINER_NS, 11);
        self.attempt(Syscall::Unlinkat, Errno::EROFS, cgroup, CONTAINER_NS, 11);
        self.attempt(Syscall::Openat, Errno::ENOENT, cgroup, CONTAINER_NS, 11);
        self.exit(11, how);
        self.pass(Duration::from_millis(200));
    }
}

pub(crate) fn header(missing: &[&str]) -> Header {
    let hierarchy = |id, version, minor| Hierarchy {
        id: HierarchyId(id),
        version,
        controllers: Vec::new(),
        mount: None,
        device: Some(Device { major: 0, minor }),
    };
    let probe = |name: &&str| Probe { name: (*name).to_owned(), attached: false, reason: None };
    Header {
        format: 1,
        tool: "test".into(),
        host: "host".into(),
        kernel: String::new(),
        arch: String::new(),
        boot_id: String::new(),
        started: String::new(),
        clock: Clock { boot_ns: 1_000_000_000, unix_ns: 0 },
        setup: Setup::Hybrid,
        hierarchies: vec![hierarchy(0, 2, 38), hierarchy(4, 1, 31), hierarchy(8, 1, 32)],
        backend: "tracepoint".into(),
        probes: missing.iter().map(probe).collect(),
        not_watched: Vec::new(),
        rmdir_class: None,
        emptied_in: None,
        preemption: None,
        command: None,
    }
}

fn actor(pid: u32) -> Actor {
    Actor::new(Pid(pid), pid, "runc".into(), Some(0))
}

fn process(pid: u32, change: ProcessChange, argv: Option<&str>, exit: Option<Exit>) -> Process {
    let argv = argv.map(|argv| argv.split(' ').map(Name::from).collect());
    Process { argv, exit, ..Process::new(BootTime(0), Pid(pid), change, "runc".into()) }
}

fn fact(about: About) -> Input {
    Input::Facts(Facts { at: BootTime(0), about })
}

fn lost(ring: Ring) -> Input {
    Input::Lost(Lost::some(BootTime(0), ring, LossReason::RingFull, 3))
}

fn set_at(input: &mut Input, at: BootTime) {
    match input {
        Input::Event(event) => event.at = at,
        Input::Attempt(attempt) => attempt.at = at,
        Input::Change(written) => written.at = at,
        Input::Stuck(stuck) => stuck.at = at,
        Input::Process(process) => process.at = at,
        Input::Facts(facts) => facts.at = at,
        Input::Lost(lost) => lost.at = at,
        Input::Tick(tick) => tick.at = at,
    }
}

#[test]
fn the_incident_is_a_fault_that_names_its_issue() {
    let mut play = Play::new();
    play.incident(Exit::Code(1));
    let finding = play.only();
    assert_eq!(finding.kind, Kind::named("missing-path-teardown"));
    assert_eq!((finding.cause, finding.severity), (Cause::named("read-only-mount"), Severity::Fault));
    assert_eq!(finding.certainty, Certainty::Certain, "{:?}", finding.because);
    assert_eq!(finding.known_issues.iter().map(|issue| issue.id).collect::<Vec<_>>(), ["runc#4518"]);
    assert_eq!(finding.pid(), Pid(11));
    assert_eq!(finding.outcome.exit, Some(Exit::Code(1)));
    assert_eq!(finding.outcome.cgroup_left, Some(false));
    assert_eq!(finding.cgroup.path, BUILD);
    let container = finding.container.as_ref().expect("a container");
    assert_eq!(container.id, "irpsym10jqj937p3dxo13jky1");
    assert_eq!(container.chain.len(), 2);
    let calls: Vec<(u32, Errno)> = finding.attempts.iter().map(|call| (call.actor.pid.0, call.errno)).collect();
    let (enoent, erofs) = (Errno::ENOENT, Errno::EROFS);
    let expected = [(10, enoent), (10, erofs), (10, erofs), (11, enoent), (11, enoent), (11, erofs), (11, enoent)];
    assert_eq!(calls, expected, "both processes' calls, in order");
    assert!(
        finding.summary.contains("was never created, because cgroupfs is mounted read-only there"),
        "{}",
        finding.summary
    );
    assert!(finding.summary.ends_with("it exited 1"), "{}", finding.summary);
}

#[test]
fn the_same_calls_of_a_runtime_that_copes_are_benign_and_no_known_issue() {
    let mut play = Play::new();
    play.incident(Exit::Code(0));
    let finding = play.only();
    assert_eq!(finding.severity, Severity::Benign);
    assert!(finding.known_issues.is_empty());
    assert!(!finding.is_routine(), "it is reported without being asked for");
}

#[test]
fn state_left_behind_is_a_fault_even_with_exit_status_0() {
    let mut play = Play::new();
    play.incident(Exit::Code(0));
    let about = About::State {
        id: "irpsym10jqj937p3dxo13jky1".into(),
        pid: Pid(11),
        path: "/run/runc/irpsym10jqj937p3dxo13jky1/state.json".into(),
        present: true,
    };
    play.feed(fact(about));
    let last = play.findings.last().expect("told");
    assert_eq!((last.revision, last.severity), (1, Severity::Fault));
    assert!(last.summary.ends_with("; it exited 0 and left the container's state behind"), "{}", last.summary);
}

#[test]
fn a_second_removal_names_its_rival() {
    let mut play = Play::new();
    play.event(Change::Created, 0, 7, "/a", 20);
    let removed = play.event(Change::Removed, 0, 7, "/a", 20);
    let refused = play.rmdir(Errno::ENOENT, "/a", 21);
    play.exit(21, Exit::Code(1));
    play.pass(Duration::from_millis(200));
    let finding = play.only();
    assert_eq!((finding.kind, finding.cause), (Kind::named("duplicate-teardown"), Cause::named("removed-by-other")));
    let rival = finding.rival.as_ref().expect("a rival");
    assert_eq!(rival.actor.as_ref().map(|actor| actor.pid), Some(Pid(20)));
    assert_eq!(rival.before_ms, 1.0);
    assert_eq!(finding.cgroup.id, Some(CgroupId(7)));
    assert!(finding.evidence.contains(&Seq(removed)) && finding.evidence.contains(&Seq(refused)));
    assert_eq!(
        finding.summary,
        "runc[21] tried to tear down cgroup /a, which had already been removed by runc[20] 1.00 ms earlier; it exited 1"
    );
}

#[test]
fn a_process_can_be_its_own_rival() {
    let mut play = Play::new();
    play.event(Change::Removed, 0, 7, "/a", 20);
    play.rmdir(Errno::ENOENT, "/a", 20);
    play.exit(20, Exit::Code(0));
    play.pass(Duration::from_millis(200));
    let finding = play.only();
    assert_eq!((finding.cause, finding.severity), (Cause::named("removed-by-self"), Severity::Benign));
    assert!(finding.is_routine());
}

#[test]
fn systemd_which_removes_its_units_again_and_runs_on_is_not_hurt() {
    let check = |pid, severity| {
        let mut play = Play::new();
        play.event(Change::Removed, 0, 7, "/system.slice/web.service", pid);
        play.rmdir(Errno::ENOENT, "/system.slice/web.service", pid);
        play.pass(Duration::from_secs(3));
        assert_eq!((play.only().severity, play.only().outcome.exit), (severity, None), "{pid}");
    };
    check(1, Severity::Benign);
    check(20, Severity::Undetermined);
}

#[test]
fn every_generation_of_a_path_has_its_own_story() {
    let mut play = Play::new();
    for round in 0..1_000 {
        let (winner, loser) = (1_000 + round, 100_000 + round);
        play.event(Change::Created, 0, u64::from(round), "/same", 1);
        play.event(Change::Removed, 0, u64::from(round), "/same", winner);
        play.rmdir(Errno::ENOENT, "/same", loser);
        play.exit(loser, Exit::Code(1));
    }
    play.pass(Duration::from_secs(3));
    assert_eq!(play.findings.len(), 1_000);
    for (round, finding) in play.findings.iter().enumerate() {
        let rival = finding.rival.as_ref().and_then(|rival| rival.actor.as_ref()).map(|actor| actor.pid.0);
        assert_eq!(rival, Some(1_000 + round as u32));
        assert_eq!(finding.pid().0, 100_000 + round as u32);
    }
}

#[test]
fn a_cgroup_made_anew_between_the_look_and_the_answer_hides_nothing() {
    let mut play = Play::new();
    play.event(Change::Created, 0, 7, "/a", 1);
    play.event(Change::Removed, 0, 7, "/a", 20);
    play.event(Change::Created, 0, 8, "/a", 1);
    play.rmdir(Errno::ENOENT, "/a", 21);
    play.exit(21, Exit::Code(1));
    play.pass(Duration::from_millis(200));
    assert_eq!(play.only().cgroup.id, Some(CgroupId(7)));
}

#[test]
fn an_endless_retry_is_one_finding_with_a_count() {
    let mut play = Play::new();
    play.event(Change::Removed, 0, 7, "/a", 20);
    play.event(Change::Released, 0, 7, "/a", 2);
    for _ in 0..1_000 {
        play.rmdir(Errno::ENOENT, "/a", 21);
        play.pass(Duration::from_secs(2));
    }
    let ids: HashSet<&str> = play.findings.iter().map(|finding| finding.id.as_str()).collect();
    assert_eq!(ids.len(), 1);
    assert!(play.findings.len() <= 5, "told at 1, 10, 100, 1000: {}", play.findings.len());
    let last = play.tracker.finish(BootTime(play.now)).pop().or(play.findings.pop()).expect("told");
    assert_eq!(last.attempt_count, 1_000);
    assert_eq!(last.severity, Severity::Undetermined);
    assert!(last.attempts.len() <= 32);
}

#[test]
fn a_story_is_told_after_two_seconds_and_again_when_its_outcome_is_known() {
    let mut play = Play::new();
    play.event(Change::Removed, 0, 7, "/a", 20);
    play.rmdir(Errno::ENOENT, "/a", 21);
    play.pass(Duration::from_millis(1_900));
    assert!(play.findings.is_empty());
    play.pass(Duration::from_millis(200));
    assert_eq!((play.only().severity, play.only().revision), (Severity::Undetermined, 0));
    play.exit(21, Exit::Signal(9));
    play.pass(Duration::from_millis(200));
    let last = play.findings.last().expect("told");
    assert_eq!((last.severity, last.revision), (Severity::Undetermined, 1), "whoever killed it is to blame");
    assert_eq!(last.outcome.exit, Some(Exit::Signal(9)));
    assert_eq!(last.id, play.findings[0].id);
    assert!(play.tracker.finish(BootTime(play.now)).is_empty(), "nothing new is left to tell");
}

#[test]
fn who_failed_is_told_with_its_own_calls_and_not_with_those_of_others() {
    let mut play = Play::new();
    play.event(Change::Removed, 0, 7, "/a", 20);
    play.exec(21, "runc delete a");
    play.exec(22, "runc delete a");
    for (pid, calls) in [(21, 12), (22, 10), (21, 12)] {
        for _ in 0..calls {
            play.rmdir(Errno::ENOENT, "/a", pid);
        }
    }
    play.exit(22, Exit::Code(1));
    play.exit(21, Exit::Code(0));
    play.pass(Duration::from_millis(200));
    let finding = play.only();
    assert_eq!((finding.pid().0, finding.attempt_count, finding.severity), (22, 34, Severity::Fault));
    assert!(finding.summary.ends_with(" earlier; after 10 failed calls it exited 1"), "{}", finding.summary);
    assert!(finding.summary.starts_with("runc[22] (and one more process) tried to tear down"), "{}", finding.summary);
}

#[test]
fn what_is_not_told_yet_is_told_at_the_end() {
    let mut play = Play::new();
    play.event(Change::Removed, 0, 7, "/a", 20);
    play.rmdir(Errno::ENOENT, "/a", 21);
    assert_eq!(play.tracker.finish(BootTime(play.now)).len(), 1);
}

#[test]
fn never_created_is_claimed_only_of_what_could_be_seen() {
    let mut play = Play::new();
    play.rmdir(Errno::ENOENT, "/old/never", 21);
    play.event(Change::Created, 0, 7, "/new", 20);
    play.rmdir(Errno::ENOENT, "/new/never", 22);
    play.pass(Duration::from_secs(3));
    let [old, new] = &play.findings[..] else { panic!("{:#?}", play.findings) };
    assert_eq!((old.cause, old.certainty), (Cause::named("never-created"), Certainty::Degraded));
    assert!(old.summary.contains("may never have been created"), "{}", old.summary);
    assert_eq!((new.cause, new.certainty), (Cause::named("never-created"), Certainty::Certain));
    assert!(new.summary.contains("was never created"), "{}", new.summary);
}

#[test]
fn cgroups_that_there_is_no_room_for_weaken_that_one_never_was() {
    let mut play = Play::new();
    play.event(Change::Created, 0, 7, "/new", 20);
    play.long_cgroups(Change::Created, 0..4_000);
    play.rmdir(Errno::ENOENT, "/new/never", 22);
    play.pass(Duration::from_secs(3));
    let finding = play.only();
    assert_eq!((finding.certainty, finding.cause), (Certainty::Degraded, Cause::named("never-created")));
    assert!(finding.because.iter().any(|why| why.contains("not all cgroups could be remembered")), "{finding:?}");
    assert!(play.tracker.evicted() > 1_000);
}

#[test]
fn a_process_that_was_forgotten_is_no_other_for_certain() {
    let mut play = Play::new();
    let exec = |play: &mut Play, pid| play.exec(pid, &format!("runc delete {pid}{}", "x".repeat(4_000)));
    exec(&mut play, 20);
    play.event(Change::Created, 0, 7, "/a", 20);
    play.event(Change::Removed, 0, 7, "/a", 20);
    for pid in 1_000..2_500 {
        exec(&mut play, pid);
    }
    play.rmdir(Errno::ENOENT, "/a", 20);
    play.pass(Duration::from_secs(3));
    let finding = play.only();
    assert_eq!((finding.kind, finding.certainty), (Kind::named("duplicate-teardown"), Certainty::Degraded));
    assert_eq!(finding.because, ["not all processes could be remembered"]);
}

#[test]
fn a_refusal_that_looked_at_nothing_is_no_proof_that_a_cgroup_without_room_is_gone() {
    let told = |errnos: &[Errno]| {
        let mut play = Play::new();
        play.event(Change::Created, 0, 7, "/a", 20);
        play.event(Change::Removed, 0, 7, "/a", 20);
        play.long_cgroups(Change::Created, 0..4_000);
        for errno in errnos {
            play.rmdir(*errno, "/a", 22);
        }
        play.pass(Duration::from_secs(3));
        let finding = play.only().clone();
        assert_eq!(finding.kind, Kind::named("duplicate-teardown"));
        (finding.certainty, finding.because)
    };
    let because = "not all cgroups could be remembered: it may have been created again".to_owned();
    assert_eq!(told(&[Errno::EROFS]), (Certainty::Degraded, vec![because]));
    assert_eq!(told(&[Errno::ENOENT]), (Certainty::Certain, vec![]));
    assert_eq!(told(&[Errno::EROFS, Errno::ENOENT]), (Certainty::Certain, vec![]), "it was not there a moment later");
}

#[test]
fn a_walk_is_wanted_when_cgroups_that_had_no_room_may_have_it_again() {
    let mut play = Play::new();
    play.long_cgroups(Change::Created, 0..4_000);
    assert!(!play.tracker.wants_walk(), "it would leave out as many again");
    play.long_cgroups(Change::Removed, 0..1_000);
    assert!(play.tracker.wants_walk());
    let walked = |unreadable, began| {
        let again = Some(WalkedAgain { began: BootTime(began), hierarchies: vec![HierarchyId(0)] });
        fact(About::Walked { cgroups: 2, unreadable, again })
    };
    play.feed(walked(1, play.now));
    assert!(play.tracker.wants_walk(), "what could not be read may be what had no room");
    play.feed(walked(0, play.now));
    assert!(!play.tracker.wants_walk());
}

#[test]
fn a_failed_mkdir_that_leads_nobody_knows_where_weakens_that_nobody_tried_to_make_one_of_that_name() {
    const UNKNOWN: NamespaceId = NamespaceId(77);
    let because = |path: &str, errno, namespace| {
        let mut play = Play::new();
        play.event(Change::Created, 0, 7, "/new", 20);
        play.attempt(Syscall::Mkdir, errno, path, namespace, 21);
        play.rmdir(Errno::ENOENT, "/new/never", 22);
        play.pass(Duration::from_secs(3));
        let finding = play.only();
        assert_eq!(finding.cause, Cause::named("never-created"));
        assert_eq!(finding.certainty == Certainty::Certain, finding.because.is_empty());
        finding.because.clone()
    };
    let of_that_name = ["the place of a failed mkdir of that name is not known"];
    let of_any = ["the place of some failed mkdir calls is not known"];
    let (denied, nothing) = (Errno::EACCES, [""; 0]);
    assert_eq!(because("/sys/fs/cgroup/never", denied, UNKNOWN), of_that_name);
    assert_eq!(because("/sys/fs/cgroup/never//./", denied, UNKNOWN), of_that_name);
    assert_eq!(because("/sys/fs/cgroup/x/../never", denied, UNKNOWN), of_that_name);
    assert_eq!(because("/sys/fs/cgroup/never/x/..", denied, UNKNOWN), of_any);
    assert_eq!(because("/sys/fs/cgroup/never/bar", denied, UNKNOWN), nothing);
    assert_eq!(because("/sys/fs/cgroup/never", Errno::EEXIST, UNKNOWN), nothing, "there was one");
    assert_eq!(because("/sys/fs/cgroup/never", denied, HOST), nothing, "it leads to a tmpfs");
    assert_eq!(because("/elsewhere/never", denied, HOST), of_that_name, "the table has nothing for it");
}

#[test]
fn an_unresolved_mkdir_weakens_only_what_covers_its_time() {
    let mut play = Play::new();
    play.attempt(Syscall::Mkdir, Errno::EACCES, "/sys/fs/cgroup/never", NamespaceId(77), 21);
    play.event(Change::Created, 0, 7, "/new", 20);
    play.rmdir(Errno::ENOENT, "/new/never", 22);
    play.attempt(Syscall::Mkdir, Errno::EACCES, "/sys/fs/cgroup/bar", NamespaceId(77), 21);
    play.pass(Duration::from_secs(3));
    assert_eq!(play.only().certainty, Certainty::Certain, "{:?}", play.only().because);
}

#[test]
fn a_process_that_was_forgotten_is_not_still_running_for_certain() {
    let mut play = Play::new();
    play.event(Change::Created, 0, 7, "/a", 20);
    play.event(Change::Removed, 0, 7, "/a", 20);
    play.exec(21, "runc delete a");
    play.rmdir(Errno::ENOENT, "/a", 21);
    for pid in 1_000..2_500 {
        play.exec(pid, &format!("runc delete {pid}{}", "x".repeat(4_000)));
    }
    play.exit(21, Exit::Code(0));
    play.pass(Duration::from_secs(3));
    let finding = play.only();
    assert_eq!((finding.severity, finding.certainty), (Severity::Undetermined, Certainty::Degraded));
    assert_eq!(finding.because, ["its end was not seen: not all processes could be remembered"]);
    assert!(finding.summary.ends_with("; its end was not seen"), "{}", finding.summary);
}

#[test]
fn what_may_have_been_renamed_unseen_is_not_said_to_be_gone() {
    let severity = |place: &str, ring: Option<Ring>| {
        let mut play = Play::new();
        play.exec(21, "rmdir a");
        play.attempt(Syscall::Unlinkat, Errno::ENOENT, &format!("/sys/fs/cgroup/{place}/a"), HOST, 21);
        ring.into_iter().for_each(|ring| {
            play.feed(lost(ring));
        });
        play.exit(21, Exit::Code(1));
        play.pass(Duration::from_millis(200));
        play.only().severity
    };
    assert_eq!(severity("memory", Some(Ring::Lifecycle)), Severity::Undetermined);
    assert_eq!(severity("memory", Some(Ring::Attempts)), Severity::Benign);
    assert_eq!(severity("memory", None), Severity::Benign);
    // A cgroup of cgroup2 has no other name.
    assert_eq!(severity("unified", Some(Ring::Lifecycle)), Severity::Benign);
}

fn unanswered(pid: u32) -> Input {
    fact(About::Unanswered { pid: Pid(pid), question: Question::CommandLine, reason: Unanswered::Timeout })
}

#[test]
fn an_exit_status_says_nothing_when_it_could_not_be_read_what_was_asked() {
    let because = ["what it was asked to do could not be read in time"];
    let mut play = Play::new();
    play.event(Change::Removed, 0, 7, "/a", 20);
    play.exec(21, "sh -c something");
    play.feed(unanswered(21));
    play.feed(Input::Process(process(21, ProcessChange::Exec, None, None)));
    play.rmdir(Errno::ENOENT, "/a", 21);
    play.exit(21, Exit::Code(0));
    play.pass(Duration::from_millis(200));
    let finding = play.only();
    assert_eq!((finding.severity, finding.certainty), (Severity::Undetermined, Certainty::Degraded));
    assert_eq!(finding.because, because);

    // The answer stays out until after the call, and after the end.
    let mut play = Play::new();
    let began = play.now;
    play.event(Change::Removed, 0, 7, "/a", 20);
    play.rmdir(Errno::ENOENT, "/a", 21);
    play.exit(21, Exit::Code(0));
    play.pass(Duration::from_millis(200));
    assert_eq!(play.only().severity, Severity::Benign, "nothing is known to be missing");
    play.late(began, unanswered(21));
    let last = play.findings.last().expect("told");
    assert_eq!((last.revision, last.severity), (1, Severity::Undetermined));
    assert_eq!(last.because, because);
}

#[test]
fn what_a_process_had_been_asked_to_do_counts_also_when_it_is_told_after_its_end() {
    let mut play = Play::new();
    let began = play.now;
    play.event(Change::Removed, 0, 7, "/a", 20);
    play.rmdir(Errno::ENOENT, "/a", 21);
    let called = play.now;
    play.exit(21, Exit::Code(1));
    play.pass(Duration::from_millis(200));
    assert_eq!(play.only().severity, Severity::Undetermined);
    let exec = |argv| Input::Process(process(21, ProcessChange::Exec, Some(argv), None));
    play.late(called + 1, exec("runc delete a"));
    assert_eq!(play.findings.len(), 1, "it began that program after its call");
    play.late(began, exec("runc delete a"));
    let last = play.findings.last().expect("told");
    assert_eq!((last.revision, last.severity, last.outcome.exit), (1, Severity::Fault, Some(Exit::Code(1))));
}

#[test]
fn failed_calls_on_very_many_paths_leave_the_last_ones_remembered_and_it_is_counted() {
    let mut play = Play::new();
    play.event(Change::Created, 0, 7, "/new", 20);
    play.attempt(Syscall::Mkdir, Errno::EACCES, "/sys/fs/cgroup/unified/new/first", HOST, 21);
    let long = "x".repeat(4_000);
    for number in 0..1_000 {
        play.attempt(Syscall::Mkdir, Errno::EACCES, &format!("/sys/fs/cgroup/unified/{number}{long}"), HOST, 21);
    }
    play.rmdir(Errno::ENOENT, "/new/first", 22);
    play.pass(Duration::from_secs(3));
    let finding = play.only();
    assert_eq!((finding.certainty, finding.cause), (Certainty::Degraded, Cause::named("never-created")));
    assert_eq!(finding.because, ["there were failed mkdir calls since that are not remembered"]);
    assert!(play.tracker.evicted() > 500, "{}", play.tracker.evicted());
}

#[test]
fn stories_with_long_paths_are_told_before_they_make_room() {
    let mut play = Play::new();
    let long = "x".repeat(4_000);
    for number in 0..1_000 {
        play.rmdir(Errno::ENOENT, &format!("/{number}{long}"), 21);
    }
    play.pass(Duration::from_secs(3));
    let told = play.findings.iter().filter(|finding| finding.revision == 0).count();
    assert!(told == 1_000 && play.tracker.evicted() > 500, "{told} {}", play.tracker.evicted());
}

#[test]
fn a_story_that_is_closed_has_its_last_word() {
    let is_too_old: &dyn Fn(&mut Play) = &|play| {
        play.pass(crate::state::STORY_AGE);
        play.event(Change::Existing, 0, 9, "/x", 1);
    };
    // At once, before anything falls due.
    let makes_room: &dyn Fn(&mut Play) = &|play| {
        let long = "x".repeat(4_000);
        for number in 0..1_000 {
            play.now -= 1_000_000;
            play.rmdir(Errno::ENOENT, &format!("/{number}{long}"), 20);
        }
    };
    for is_closed in [is_too_old, makes_room] {
        let mut play = Play::new();
        play.event(Change::Created, 0, 7, "/a", 19);
        play.event(Change::Removed, 0, 7, "/a", 19);
        play.event(Change::Released, 0, 7, "/a", 2);
        play.exec(21, "runc delete a");
        play.rmdir(Errno::ENOENT, "/a", 21);
        play.pass(Duration::from_secs(3));
        assert_eq!(play.only().attempt_count, 1);
        play.rmdir(Errno::ENOENT, "/a", 21);
        is_closed(&mut play);
        let about = |play: &Play| -> Vec<Finding> {
            play.findings.iter().filter(|finding| finding.cgroup.id == Some(CgroupId(7))).cloned().collect()
        };
        let told: Vec<(u32, u64)> =
            about(&play).iter().map(|finding| (finding.revision, finding.attempt_count)).collect();
        assert_eq!(told, [(0, 1), (1, 2)]);
        // It is told no more, and what comes now is another story.
        play.rmdir(Errno::ENOENT, "/a", 21);
        let last_words = play.tracker.finish(BootTime(play.now));
        play.findings.extend(last_words);
        let told = about(&play);
        assert_eq!((told.len(), told[2].attempt_count, told[2].id != told[1].id), (3, 1, true));
    }
}

#[test]
fn who_has_ended_when_its_story_makes_room_is_told_with_that() {
    let mut play = Play::new();
    play.event(Change::Removed, 0, 7, "/a", 19);
    play.exec(21, "runc delete a");
    play.rmdir(Errno::ENOENT, "/a", 21);
    play.pass(Duration::from_secs(3));
    play.exit(21, Exit::Code(1));
    let long = "x".repeat(4_000);
    for number in 0..1_000 {
        play.now -= 1_000_000;
        play.rmdir(Errno::ENOENT, &format!("/{number}{long}"), 20);
    }
    let ends: Vec<Option<Exit>> = play.findings[..2].iter().map(|finding| finding.outcome.exit).collect();
    assert_eq!(ends, [None, Some(Exit::Code(1))]);
}

#[test]
fn what_is_made_anew_around_a_place_proves_nothing_of_the_time_before() {
    let mut play = Play::new();
    play.rmdir(Errno::ENOENT, "/again/x", 21);
    play.event(Change::Created, 0, 7, "/again", 20);
    play.pass(Duration::from_secs(3));
    assert_eq!(play.only().certainty, Certainty::Degraded);
}

#[test]
fn a_loss_is_known_before_the_stories_are_told_that_fall_due_by_then() {
    let mut play = Play::new();
    play.event(Change::Created, 0, 7, "/new", 20);
    play.rmdir(Errno::ENOENT, "/new/never", 22);
    play.now += 3_000_000_000;
    play.feed(lost(Ring::Attempts));
    assert!(play.findings.is_empty(), "what happened before the loss was noticed may be on the way");
    play.pass(Duration::ZERO);
    assert_eq!(play.only().because, ["failed calls were lost meanwhile"]);
}

#[test]
fn what_is_known_too_late_is_not_denied() {
    let mut play = Play::new();
    play.event(Change::Created, 0, 7, "/new", 20);
    let made = play.now + 1;
    let made_at = |play: &mut Play, change, at| {
        let cgroup = Cgroup {
            hierarchy: HierarchyId(0),
            id: Some(CgroupId(8)),
            path: "/new/made".into(),
            level: Some(2),
            truncated: false,
        };
        let (actor, at) = (Some(actor(20)), BootTime(at));
        let event = Event { at, change, cgroup, requested: false, task: None, container: None, actor };
        play.late(at.0, Input::Event(event));
    };
    play.rmdir(Errno::ENOENT, "/new/made", 20);
    made_at(&mut play, Change::Created, made);
    made_at(&mut play, Change::Removed, made + 1);
    play.pass(Duration::from_secs(3));
    assert!(play.findings.is_empty(), "{:?}", play.findings);
}

#[test]
fn a_failed_creation_names_the_cause() {
    let mut play = Play::new();
    play.attempt(Syscall::Mkdir, Errno::EACCES, "/sys/fs/cgroup/unified/x", HOST, 20);
    play.rmdir(Errno::ENOENT, "/x", 21);
    play.pass(Duration::from_secs(3));
    let finding = play.only();
    assert_eq!((finding.cause, finding.certainty), (Cause::named("creation-failed"), Certainty::Certain));
    assert!(finding.summary.contains("the mkdir of runc[20] failed with EACCES"), "{}", finding.summary);
}

#[test]
fn a_failed_creation_after_the_last_removal_begins_another_life() {
    let mut play = Play::new();
    play.event(Change::Removed, 0, 7, "/x", 20);
    play.attempt(Syscall::Mkdir, Errno::EROFS, "/sys/fs/cgroup/unified/x", HOST, 20);
    play.rmdir(Errno::EROFS, "/x", 21);
    play.pass(Duration::from_secs(3));
    assert_eq!(play.only().kind, Kind::named("missing-path-teardown"));
}

#[test]
fn losses_weaken_the_claims_that_depend_on_them() {
    let mut play = Play::new();
    play.event(Change::Created, 0, 7, "/new", 20);
    play.feed(lost(Ring::Lifecycle));
    play.rmdir(Errno::ENOENT, "/new/never", 22);
    play.pass(Duration::from_secs(3));
    let finding = play.only();
    assert_eq!(finding.certainty, Certainty::Degraded);
    assert_eq!(finding.because, ["lifecycle events were lost meanwhile"]);
    assert!(finding.summary.contains("may never have been created"), "{}", finding.summary);
}

#[test]
fn a_failed_creation_that_may_have_been_lost_weakens_what_life_it_was() {
    let of = |operation| {
        Input::Lost(Lost {
            pid: Some(Pid(60)),
            operation: Some(operation),
            ..Lost::some(BootTime(0), Ring::Attempts, LossReason::RateLimited, 1)
        })
    };
    let told = |lost: Option<Input>, is_before: bool, renamed: bool| {
        let mut play = Play::new();
        play.event(Change::Created, 4, 7, "/a", 20);
        if let Some(lost) = lost.as_ref().filter(|_| is_before) {
            play.feed(lost.clone());
        }
        let (change, path) = if renamed { (Change::Renamed, "/b") } else { (Change::Removed, "/a") };
        play.event(change, 4, 7, path, 20);
        if let Some(lost) = lost.filter(|_| !is_before) {
            play.feed(lost);
        }
        play.attempt(Syscall::Unlinkat, Errno::ENOENT, "/sys/fs/cgroup/memory/a", HOST, 21);
        play.exit(21, Exit::Code(0));
        play.pass(Duration::from_millis(200));
        (play.only().certainty, play.only().because.join(""))
    };
    let because = "failed mkdir calls of process 60 were lost meanwhile".to_owned();
    for renamed in [false, true] {
        let mkdirs = || Some(of(Operation::Mkdir));
        assert_eq!(told(mkdirs(), false, renamed), (Certainty::Degraded, because.clone()));
        assert_eq!(told(mkdirs(), true, renamed), (Certainty::Certain, String::new()), "it was of the life before");
        assert_eq!(told(Some(of(Operation::Rmdir)), false, renamed), (Certainty::Certain, String::new()));
        assert_eq!(told(None, false, renamed), (Certainty::Certain, String::new()));
    }
}

#[test]
fn what_is_lost_after_a_story_was_told_weakens_nothing_of_it() {
    let mut play = Play::new();
    play.event(Change::Created, 0, 7, "/new", 20);
    play.event(Change::Removed, 0, 7, "/new", 20);
    play.rmdir(Errno::ENOENT, "/new", 22);
    play.pass(Duration::from_secs(3));
    assert_eq!((play.only().certainty, play.only().revision), (Certainty::Certain, 0));
    play.feed(lost(Ring::Lifecycle));
    play.feed(lost(Ring::Attempts));
    assert!(play.tracker.finish(BootTime(play.now)).is_empty(), "it was judged by all that was lost by then");
}

#[test]
fn a_missing_probe_weakens_every_claim() {
    let mut play = Play::with_probes(&["cgroup_rmdir"]);
    play.event(Change::Removed, 0, 7, "/a", 20);
    play.rmdir(Errno::ENOENT, "/a", 21);
    play.pass(Duration::from_secs(3));
    assert_eq!(play.only().because, ["no probe on cgroup_rmdir"]);
    assert!(play.only().summary.contains("may already have been removed"));
}

#[test]
fn v1_hierarchies_of_one_teardown_are_one_finding() {
    let mut play = Play::new();
    for hierarchy in [4, 8] {
        play.event(Change::Created, hierarchy, 7, "/box", 20);
    }
    for (hierarchy, mount) in [(4, "memory"), (8, "pids")] {
        play.event(Change::Removed, hierarchy, 7, "/box", 20);
        play.attempt(Syscall::Unlinkat, Errno::ENOENT, &format!("/sys/fs/cgroup/{mount}/box"), HOST, 21);
    }
    play.exit(21, Exit::Code(1));
    play.pass(Duration::from_millis(200));
    let finding = play.only();
    assert_eq!(finding.hierarchies, 2);
    assert_eq!(finding.attempts.len(), 2);
}

#[test]
fn an_opening_counts_only_after_a_failed_removal_by_the_same_process() {
    let mut play = Play::new();
    let directory = "/sys/fs/cgroup/unified/a";
    play.event(Change::Created, 0, 7, "/a", 20);
    // A ladder: busy, then somebody else removes it, then it is opened to see what is in it.
    play.rmdir(Errno::EBUSY, "/a", 21);
    play.event(Change::Removed, 0, 7, "/a", 20);
    play.attempt(Syscall::Openat, Errno::ENOENT, directory, HOST, 99);
    play.attempt(Syscall::Openat, Errno::ENOENT, &format!("{directory}/cgroup.procs"), HOST, 99);
    play.pass(Duration::from_secs(3));
    assert!(play.findings.is_empty(), "a monitor looks at a cgroup just removed: {:#?}", play.findings);
    play.attempt(Syscall::Openat, Errno::ENOENT, directory, HOST, 21);
    play.pass(Duration::from_secs(3));
    assert_eq!(play.only().pid(), Pid(21));
}

#[test]
fn what_is_not_a_teardown_of_a_missing_cgroup_is_not_reported() {
    let mut play = Play::new();
    play.event(Change::Created, 0, 7, "/a", 20);
    play.attempt(Syscall::Mkdirat, Errno::EEXIST, "/sys/fs/cgroup/unified/a", HOST, 20);
    play.attempt(Syscall::Openat2, Errno::ENOENT, "/sys/fs/cgroup/unified/b/cgroup.freeze", HOST, 20);
    // The tmpfs around the v1 mounts is no cgroupfs.
    play.attempt(Syscall::Rmdir, Errno::ENOENT, "/sys/fs/cgroup/nothing", HOST, 20);
    play.exit(20, Exit::Code(1));
    play.pass(Duration::from_secs(3));
    assert!(play.findings.is_empty(), "{:#?}", play.findings);
}

#[test]
fn relative_paths_start_at_their_directory() {
    let mut play = Play::new();
    play.event(Change::Created, 0, 7, "/pod", 20);
    play.event(Change::Created, 0, 8, "/pod/a", 20);
    play.event(Change::Removed, 0, 8, "/pod/a", 20);
    for truncated in [false, true] {
        play.feed(Input::Attempt(Attempt {
            directory: Some(Directory {
                device: Device { major: 0, minor: 38 },
                id: CgroupId(7),
                path: if truncated { "/…" } else { "/pod" }.into(),
                outside: false,
                mount: None,
                truncated,
            }),
            ..Attempt::new(BootTime(0), Syscall::Unlinkat, Errno::ENOENT, "a".into(), actor(21))
        }));
    }
    play.pass(Duration::from_secs(3));
    assert_eq!(play.only().attempt_count, 2);
}

#[test]
fn very_many_cgroup_file_systems_take_no_more_room_and_are_counted() {
    let mut play = Play::new();
    let mount = |minor| Mount {
        id: None,
        parent: None,
        device: Device { major: 0, minor },
        root: "/".into(),
        mount_point: "/m".into(),
        file_system: "cgroup2".into(),
        read_only: false,
    };
    for minor in 100..1_100 {
        let mounts = vec![mount(minor)];
        play.feed(fact(About::Mounts { namespace: HOST, mounts, too_many: 0, host: false }));
    }
    assert_eq!((play.tracker.hierarchies.len(), play.tracker.evicted()), (HIERARCHIES, 1_003 - HIERARCHIES as u64));
}

#[test]
fn an_attempt_that_cannot_be_resolved_stays_unresolved() {
    let mut play = Play::new();
    let path = "/sys/fs/cgroup/x".into();
    let mut input = Input::Attempt(Attempt {
        mount_namespace: Some(NamespaceId(77)),
        ..Attempt::new(BootTime(play.now), Syscall::Rmdir, Errno::ENOENT, path, actor(21))
    });
    assert!(play.tracker.apply(Seq(99), &mut input).is_empty());
    let Input::Attempt(attempt) = input else { panic!("it was an attempt") };
    assert_eq!(attempt.cgroup, None);
    assert!(!play.tracker.is_foreign(&attempt), "not known is not foreign");
}

#[test]
fn a_container_is_known_by_the_command_line_that_made_it() {
    let mut play = Play::new();
    play.exec(30, "runc run web");
    play.event(Change::Created, 0, 7, "/web", 30);
    play.event(Change::Removed, 0, 7, "/web", 30);
    play.exec(31, "runc delete web");
    play.rmdir(Errno::ENOENT, "/web", 31);
    play.exit(31, Exit::Code(1));
    play.pass(Duration::from_millis(200));
    let container = play.only().container.as_ref().expect("a container");
    assert_eq!((container.id.to_str(), container.runtime.as_str()), (Some("web"), "runc"));
    assert_eq!(container.rule, oci::COMMAND_LINE_RULE);
}

#[test]
fn the_same_inputs_give_the_same_findings_also_through_json() {
    let mut play = Play::new();
    play.incident(Exit::Code(1));
    play.event(Change::Removed, 0, 7, "/a", 20);
    play.rmdir(Errno::ENOENT, "/a", 21);
    play.pass(Duration::from_secs(3));
    let told = serde_json::to_string(&play.findings).expect("serializes");

    let mut again = Tracker::new(&header(&[]));
    let mut findings = Vec::new();
    for (number, input) in play.inputs.iter().enumerate() {
        let line = serde_json::to_string(input).expect("serializes");
        let Ok(TraceLine::Input(_, mut input)) = TraceLine::parse(line.as_bytes()) else { panic!("parses: {line}") };
        findings.extend(again.apply(Seq(number as u64 + 1), &mut input));
    }
    assert_eq!(serde_json::to_string(&findings).expect("serializes"), told);
}

#[test]
fn a_failed_start_that_clears_up_twice_is_no_fault_and_says_what_failed_first() {
    let mut play = Play::new();
    play.failed_start(30, 7, "web");
    play.state("web", 30, false);
    play.pass(Duration::from_millis(200));
    let finding = play.only();
    assert_eq!((finding.kind, finding.cause), (Kind::named("duplicate-teardown"), Cause::named("removed-by-self")));
    assert_eq!((finding.severity, finding.certainty), (Severity::Benign, Certainty::Certain));
    let first = finding.first_failure.as_ref().expect("what failed first");
    assert!(finding.evidence.contains(&first.seq));
    let told = crate::output::deeds(finding);
    assert!(told.first().is_some_and(|deed| deed.what.ends_with("/cgroup.type")), "it is listed first");
    assert!(first.path.to_str().is_some_and(|path| path.ends_with("/web/cgroup.type")));
    assert!(!finding.is_routine(), "it tells why the start failed");
    assert_eq!(
        finding.summary,
        "runc[30] failed to start a container after its open of /sys/fs/cgroup/unified/web/cgroup.type failed with \
         ENOENT; to clear up it tried to tear down the cgroup of container web, which had already been removed by the \
         same process 2.00 ms earlier; it exited 1, and nothing was left behind"
    );
}

#[test]
fn a_failed_start_whose_state_nobody_could_look_for_is_undetermined() {
    let mut play = Play::new();
    play.failed_start(30, 7, "web");
    play.pass(Duration::from_millis(200));
    assert_eq!(play.only().severity, Severity::Undetermined);
}

#[test]
fn a_failed_start_that_leaves_its_state_behind_is_a_fault() {
    let mut play = Play::new();
    play.failed_start(30, 7, "web");
    play.state("web", 30, true);
    play.pass(Duration::from_millis(200));
    let finding = play.only();
    assert_eq!(finding.severity, Severity::Fault);
    assert!(finding.summary.ends_with("it exited 1 and left the container's state behind"), "{}", finding.summary);
}

#[test]
fn an_exit_status_tells_only_of_those_whose_job_it_was() {
    let severity = |argv: &str, status: u8| {
        let mut play = Play::new();
        play.event(Change::Created, 0, 7, "/a", 20);
        play.event(Change::Removed, 0, 7, "/a", 20);
        play.exec(21, argv);
        play.rmdir(Errno::ENOENT, "/a", 21);
        play.exit(21, Exit::Code(status));
        play.pass(Duration::from_millis(200));
        play.only().severity
    };
    assert_eq!(severity("runc delete a", 1), Severity::Fault);
    assert_eq!(severity("runc delete a", 0), Severity::Benign);
    assert_eq!(severity("rmdir /sys/fs/cgroup/unified/a", 1), Severity::Benign);
    assert_eq!(severity("sh clean.sh", 1), Severity::Undetermined);
    assert_eq!(severity("runc exec a true", 1), Severity::Undetermined);
    assert_eq!(severity("sh clean.sh", 0), Severity::Benign);
}

#[test]
fn a_creation_that_fails_on_a_read_only_mount_and_clears_up_itself_is_not_runc_4518() {
    let mut play = Play::new();
    let cgroup = "/sys/fs/cgroup/irpsym10jqj937p3dxo13jky1";
    play.exec(10, "runc create irpsym10jqj937p3dxo13jky1");
    play.attempt(Syscall::Mkdirat, Errno::EROFS, cgroup, CONTAINER_NS, 10);
    play.attempt(Syscall::Unlinkat, Errno::EROFS, cgroup, CONTAINER_NS, 10);
    play.attempt(Syscall::Openat, Errno::ENOENT, cgroup, CONTAINER_NS, 10);
    play.exit(10, Exit::Code(1));
    play.state("irpsym10jqj937p3dxo13jky1", 10, true);
    play.pass(Duration::from_millis(200));
    let finding = play.only();
    assert_eq!((finding.cause, finding.severity), (Cause::named("read-only-mount"), Severity::Fault));
    assert!(finding.known_issues.is_empty(), "{:?}", finding.known_issues);
}

#[test]
fn a_maker_that_failed_as_well_is_not_runc_4518() {
    let mut play = Play::new();
    let cgroup = "/sys/fs/cgroup/irpsym10jqj937p3dxo13jky1";
    play.exec(10, "runc create irpsym10jqj937p3dxo13jky1");
    play.attempt(Syscall::Mkdirat, Errno::EROFS, cgroup, CONTAINER_NS, 10);
    play.exit(10, Exit::Code(1));
    play.exec(11, "runc delete irpsym10jqj937p3dxo13jky1");
    play.attempt(Syscall::Unlinkat, Errno::EROFS, cgroup, CONTAINER_NS, 11);
    play.attempt(Syscall::Openat, Errno::ENOENT, cgroup, CONTAINER_NS, 11);
    play.exit(11, Exit::Code(1));
    play.pass(Duration::from_millis(200));
    assert!(play.only().known_issues.is_empty());
}

#[test]
fn ten_starts_of_one_name_are_ten_stories() {
    let mut play = Play::new();
    for run in 0..10 {
        play.failed_start(30 + run, 7 + u64::from(run), "web");
        // It fails before it has made a cgroup, and clears up all the same.
        play.exec(60 + run, "runc run early");
        play.rmdir(Errno::ENOENT, "/early", 60 + run);
        play.exit(60 + run, Exit::Code(1));
    }
    play.pass(Duration::from_millis(200));
    assert_eq!(play.findings.len(), 20);
    for finding in &play.findings {
        assert!(!finding.summary.contains("more process"), "{}", finding.summary);
        assert_eq!(finding.hierarchies, 1);
    }
}

#[test]
fn a_later_delete_of_a_name_belongs_to_its_last_start() {
    let mut play = Play::new();
    for pid in [10, 11] {
        play.exec(pid, "runc run early");
        play.rmdir(Errno::ENOENT, "/early", pid);
    }
    play.exec(12, "runc delete early");
    play.rmdir(Errno::ENOENT, "/early", 12);
    // Whoever had a part in a story keeps it.
    play.rmdir(Errno::ENOENT, "/early", 10);
    play.pass(Duration::from_secs(3));
    let told: Vec<(u32, u64)> = play.findings.iter().map(|finding| (finding.pid().0, finding.attempt_count)).collect();
    assert_eq!(told, [(10, 2), (11, 2)]);
}

#[test]
fn containers_of_one_hierarchy_are_told_apart() {
    let mut play = Play::new();
    let outer = &BUILD[..BUILD.len() - 26];
    for name in ["a", "b", "c"] {
        play.event(Change::Created, 0, 7, &format!("{outer}/{name}"), 20);
        play.event(Change::Removed, 0, 7, &format!("{outer}/{name}"), 20);
        play.rmdir(Errno::ENOENT, &format!("{outer}/{name}"), 21);
    }
    play.pass(Duration::from_secs(3));
    assert_eq!(play.findings.len(), 3);
    assert!(play.findings.iter().all(|finding| finding.hierarchies == 1));
}

#[test]
fn one_teardown_by_a_process_for_each_hierarchy_is_one_story() {
    // By two processes, with these ones above each. Returns in how many hierarchies each story is.
    let told = |families: [&[u32]; 2]| -> Vec<usize> {
        let mut play = Play::new();
        for change in [Change::Created, Change::Removed] {
            for hierarchy in [4, 8] {
                play.event(change, hierarchy, 7, "/box", 20);
            }
        }
        for (pid, (mount, above)) in (70..).zip(["memory", "pids"].into_iter().zip(families)) {
            play.exec_in(above, pid, "rmdir box");
            play.attempt(Syscall::Rmdir, Errno::ENOENT, &format!("/sys/fs/cgroup/{mount}/box"), HOST, pid);
            play.exit(pid, Exit::Code(1));
        }
        // Somebody else's, of another path.
        play.exec_in(families[0], 75, "rmdir box");
        play.attempt(Syscall::Rmdir, Errno::ENOENT, "/sys/fs/cgroup/memory/other", HOST, 75);
        play.exit(75, Exit::Code(1));
        play.pass(Duration::from_millis(200));
        play.findings.iter().map(|finding| finding.hierarchies).collect()
    };
    assert_eq!(told([&[40, 1], &[40, 1]]), [2, 1], "a script's");
    assert_eq!(told([&[41, 40], &[42, 40]]), [2, 1], "each by sudo");
    assert_eq!(told([&[43, 41, 40], &[44, 42, 40]]), [2, 1], "each by sudo with a terminal of its own");
    assert_eq!(told([&[70, 40], &[40, 1]]), [2, 1], "one by sudo");
    assert_eq!(told([&[40, 1], &[41, 1]]), [1, 1, 1], "of strangers");
    assert_eq!(told([&[], &[]]), [1, 1, 1], "nobody knows whose");
}

#[test]
fn lives_that_did_not_overlap_are_no_teardown_of_one_container() {
    let mut play = Play::new();
    for (hierarchy, mount) in [(4, "memory"), (8, "pids")] {
        play.exec(20, "runc run box");
        play.event(Change::Created, hierarchy, 7, "/box", 20);
        play.event(Change::Removed, hierarchy, 7, "/box", 20);
        play.exec(21, "runc delete box");
        play.attempt(Syscall::Unlinkat, Errno::ENOENT, &format!("/sys/fs/cgroup/{mount}/box"), HOST, 21);
    }
    play.pass(Duration::from_secs(3));
    assert_eq!(play.findings.len(), 2);
}

#[test]
fn a_process_with_a_reused_number_is_another_one() {
    let mut play = Play::new();
    let second = 1_000_000_001;
    play.event(Change::Created, 0, 7, "/a", 1);
    play.exec_at(second, 20, "runc delete a");
    play.event(Change::Removed, 0, 7, "/a", 20);
    play.exit(20, Exit::Code(0));
    play.exec_at(second + 123_456, 20, "runc delete a");
    play.rmdir(Errno::ENOENT, "/a", 20);
    play.exit(20, Exit::Code(1));
    play.pass(Duration::from_millis(200));
    assert_eq!(play.only().cause, Cause::named("removed-by-other"));
}

#[test]
fn the_end_of_a_later_process_of_the_same_number_is_not_the_actors() {
    let mut play = Play::new();
    let second = 1_000_000_001;
    play.event(Change::Removed, 0, 7, "/a", 1);
    play.exec_at(second, 21, "runc delete a");
    play.rmdir(Errno::ENOENT, "/a", 21);
    // Its end was lost.
    play.exec_at(second + 55, 21, "runc list");
    play.exit(21, Exit::Code(0));
    play.pass(Duration::from_secs(3));
    let finding = play.findings.last().expect("told");
    assert_eq!((finding.outcome.exit, finding.severity), (None, Severity::Undetermined));
    assert!(finding.summary.ends_with("how it ended was not seen"), "{}", finding.summary);
}

#[test]
fn of_a_crowd_it_is_told_that_not_all_were_followed() {
    let crowd = |of: &str| {
        let mut play = Play::new();
        play.event(Change::Removed, 0, 7, "/a", 20);
        for pid in 100..170 {
            play.exec(pid, of);
            play.rmdir(Errno::ENOENT, "/a", pid);
            play.exit(pid, Exit::Code(0));
        }
        play.exec(200, "runc delete a");
        play.rmdir(Errno::ENOENT, "/a", 200);
        play.exit(200, Exit::Code(1));
        play.pass(Duration::from_secs(3));
        play.findings.pop().expect("told")
    };
    // Who is there for the teardown has its place beside those who are not.
    let removals = crowd("rmdir /a");
    assert_eq!((removals.severity, removals.pid()), (Severity::Fault, Pid(200)));
    assert!(removals.summary.contains("(and more than 64 other processes)"), "{}", removals.summary);
    let unknown = crowd("shell");
    assert_eq!(unknown.severity, Severity::Undetermined);
    assert!(unknown.summary.contains("(and more than 63 other processes)"), "{}", unknown.summary);
}

#[test]
fn one_that_is_made_since_is_not_called_never_created() {
    let mut play = Play::new();
    play.event(Change::Created, 0, 6, "/pod", 20);
    play.rmdir(Errno::ENOENT, "/pod/a", 21);
    play.event(Change::Created, 0, 7, "/pod/a", 20);
    play.exit(21, Exit::Code(0));
    play.pass(Duration::from_secs(3));
    let finding = play.only();
    assert_eq!(finding.outcome.cgroup_left, Some(false), "what was made since is another one's");
    assert!(finding.summary.contains("cgroup /pod/a, which had not been created yet"), "{}", finding.summary);
}

#[test]
fn what_lies_within_a_containers_cgroup_is_not_that_cgroup() {
    let mut play = Play::new();
    play.exec(20, "runc create web");
    play.event(Change::Created, 0, 7, "/web", 20);
    play.event(Change::Created, 0, 8, "/web/a", 20);
    play.event(Change::Removed, 0, 8, "/web/a", 20);
    play.rmdir(Errno::ENOENT, "/web/a", 21);
    play.rmdir(Errno::ENOENT, "/web/never", 22);
    play.event(Change::Removed, 0, 7, "/web", 20);
    play.rmdir(Errno::ENOENT, "/web", 23);
    play.pass(Duration::from_secs(3));
    let summaries = [
        "cgroup /web/a in container web, which",
        "cgroup /web/never in container web, which",
        "the cgroup of container web, which",
    ];
    assert_eq!(play.findings.len(), 3);
    for (finding, begins) in play.findings.iter().zip(summaries) {
        assert!(finding.summary.contains(&format!("tried to tear down {begins}")), "{}", finding.summary);
        assert_eq!(finding.container.as_ref().map(|container| container.id.clone()), Some("web".into()));
    }
}

#[test]
fn a_renamed_cgroup_is_found_under_its_present_name() {
    let mut play = Play::new();
    let rmdir = |play: &mut Play, path: &str, pid| {
        play.attempt(Syscall::Rmdir, Errno::ENOENT, &format!("/sys/fs/cgroup/memory{path}"), HOST, pid)
    };
    play.event(Change::Created, 4, 6, "/pod", 20);
    play.event(Change::Created, 4, 7, "/pod/a", 20);
    play.event(Change::Created, 4, 8, "/pod/a/child", 20);
    play.event(Change::Renamed, 4, 7, "/pod/b", 22);
    rmdir(&mut play, "/pod/a", 21);
    rmdir(&mut play, "/pod/a/child", 21);
    rmdir(&mut play, "/pod/a/never", 21);
    play.pass(Duration::from_secs(3));
    let causes: Vec<Cause> = play.findings.iter().map(|finding| finding.cause).collect();
    assert_eq!(causes, [Cause::named("renamed"), Cause::named("renamed"), Cause::named("never-created")]);
    let (finding, rival) = (&play.findings[0], play.findings[0].rival.as_ref().expect("who renamed it"));
    assert_eq!(rival.actor.as_ref().map(|actor| actor.pid), Some(Pid(22)));
    assert_eq!(rival.to.as_ref().and_then(Name::to_str), Some("/pod/b"));
    assert_eq!(finding.outcome.cgroup_left, Some(true));
    assert_eq!(
        finding.summary,
        "runc[21] tried to tear down cgroup /pod/a, which does not exist under that name: runc[22] renamed it to \
         /pod/b 1.00 ms earlier; it is still running"
    );
    let child = &play.findings[1].summary;
    assert!(
        child.contains("cgroup /pod/a/child, which does not exist under that name: runc[22] renamed /pod/a to /pod/b")
    );
}

#[test]
fn a_removal_is_remembered_through_renamings() {
    let mut play = Play::new();
    let rmdir = |play: &mut Play, path: &str| {
        play.attempt(Syscall::Rmdir, Errno::ENOENT, &format!("/sys/fs/cgroup/memory{path}"), HOST, 21)
    };
    play.event(Change::Created, 4, 7, "/a", 20);
    play.event(Change::Created, 4, 8, "/a/child", 20);
    play.event(Change::Removed, 4, 8, "/a/child", 23);
    play.event(Change::Renamed, 4, 7, "/b", 22);
    play.event(Change::Renamed, 4, 7, "/c", 22);
    // Removed before the cgroup around it was renamed, twice.
    rmdir(&mut play, "/c/child");
    rmdir(&mut play, "/a/child");
    play.event(Change::Removed, 4, 7, "/c", 24);
    // Removed under its last name.
    rmdir(&mut play, "/a");
    rmdir(&mut play, "/c");
    play.pass(Duration::from_secs(3));
    let told: Vec<(Kind, Option<u32>)> = play
        .findings
        .iter()
        .map(|finding| (finding.kind, finding.rival.as_ref().and_then(|rival| Some(rival.actor.as_ref()?.pid.0))))
        .collect();
    let duplicate = |pid| (Kind::named("duplicate-teardown"), Some(pid));
    assert_eq!(told, [duplicate(23), duplicate(23), duplicate(24), duplicate(24)]);
}

#[test]
fn names_that_change_places_are_followed() {
    let mut play = Play::new();
    let rmdir = |play: &mut Play, path: &str| {
        play.attempt(Syscall::Rmdir, Errno::ENOENT, &format!("/sys/fs/cgroup/memory{path}"), HOST, 21)
    };
    play.event(Change::Created, 4, 7, "/a", 20);
    play.event(Change::Created, 4, 8, "/b", 20);
    for (id, path) in [(7, "/t"), (8, "/a"), (7, "/b")] {
        play.event(Change::Renamed, 4, id, path, 22);
    }
    rmdir(&mut play, "/t");
    play.event(Change::Removed, 4, 8, "/a", 23);
    rmdir(&mut play, "/a");
    play.pass(Duration::from_secs(3));
    let told: Vec<(Cause, Option<u32>)> = play
        .findings
        .iter()
        .map(|finding| (finding.cause, finding.rival.as_ref().and_then(|rival| Some(rival.actor.as_ref()?.pid.0))))
        .collect();
    assert_eq!(told, [(Cause::named("renamed"), Some(22)), (Cause::named("removed-by-other"), Some(23))]);
}

#[test]
fn what_was_removed_before_a_start_is_of_another_life() {
    let mut play = Play::new();
    play.exec_at(1_100_000_001, 20, "runc run web");
    play.event(Change::Created, 0, 7, "/web", 20);
    play.event(Change::Removed, 0, 7, "/web", 20);
    let began = play.now + 1;
    play.exec_at(began, 30, "runc run web");
    play.rmdir(Errno::ENOENT, "/web", 30);
    play.exit(30, Exit::Code(1));
    play.pass(Duration::from_millis(200));
    let finding = play.only();
    assert_eq!((finding.kind, finding.cause), (Kind::named("missing-path-teardown"), Cause::named("never-created")));
    assert_eq!(finding.certainty, Certainty::Certain, "{:?}", finding.because);
    // A later delete of it means whatever was last.
    play.exec_at(began + 5_000_000, 31, "runc delete web");
    play.rmdir(Errno::ENOENT, "/web", 31);
    play.pass(Duration::from_secs(3));
    let last = play.findings.last().expect("told");
    assert_eq!((last.kind, last.rival.is_some()), (Kind::named("duplicate-teardown"), true));
}

#[test]
fn a_start_that_was_traced_from_its_beginning_is_certain_of_what_it_never_made() {
    let certainty = |started: u64| {
        let mut play = Play::new();
        play.exec_at(started, 30, "runc run web");
        play.rmdir(Errno::ENOENT, "/web", 30);
        play.pass(Duration::from_secs(3));
        play.only().certainty
    };
    assert_eq!(certainty(1_000_000_001), Certainty::Certain);
    assert_eq!(certainty(999_999_999), Certainty::Degraded, "it began before tracing did");
}

#[test]
fn what_a_start_can_do_without_is_not_what_failed_first() {
    let mut play = Play::new();
    play.exec(30, "runc run web");
    play.event(Change::Created, 0, 7, "/web", 30);
    for file in ["io.bfq.weight", "io.weight", "cgroup.kill"] {
        play.open_to_write(Errno::ENOENT, &format!("/web/{file}"), 30);
    }
    play.event(Change::Removed, 0, 7, "/web", 30);
    play.rmdir(Errno::ENOENT, "/web", 30);
    play.open_to_write(Errno::ENOENT, "/web/cgroup.max.depth", 30);
    play.exit(30, Exit::Code(1));
    play.pass(Duration::from_millis(200));
    let teardown = play.findings.iter().find(|told| told.kind == Kind::named("duplicate-teardown")).expect("told");
    let first = teardown.first_failure.as_ref().expect("what failed first");
    assert!(first.path.to_str().is_some_and(|path| path.ends_with("/io.weight")), "{first:?}");
}

#[test]
fn only_stories_that_began_before_the_end_and_the_commands_own_cgroups_are_waited_for() {
    const COMMAND: u32 = 30;
    let mut play = Play::new();
    play.tracker = Tracker::new(&Header { command: Some(Pid(COMMAND)), ..header(&[]) });
    play.event(Change::Created, 0, 5, "/stranger", 10);
    play.event(Change::Removed, 0, 5, "/stranger", 10);
    assert!(play.tracker.is_settled(BootTime(play.now)), "a stranger's cgroup may be dying for ever");
    play.event(Change::Created, 0, 6, "/own", COMMAND);
    play.event(Change::Removed, 0, 6, "/own", COMMAND);
    assert!(!play.tracker.is_settled(BootTime(play.now)));
    play.event(Change::Released, 0, 6, "/own", 0);
    let before = BootTime(play.now);
    assert!(play.tracker.is_settled(before));
    play.exec(11, "runc delete x");
    play.event(Change::Created, 0, 7, "/gone", 10);
    play.event(Change::Removed, 0, 7, "/gone", 10);
    let mount = Mount {
        id: None,
        parent: None,
        device: Device { major: 0, minor: 38 },
        root: "/".into(),
        mount_point: "/sys/fs/cgroup/unified".into(),
        file_system: "cgroup2".into(),
        read_only: false,
    };
    play.feed(fact(About::Mounts { namespace: HOST, mounts: vec![mount], too_many: 0, host: false }));
    play.rmdir(Errno::ENOENT, "/gone", 11);
    assert!(play.tracker.is_settled(before), "it began after the end");
    assert!(!play.tracker.is_settled(BootTime(play.now)));
    play.exit(11, Exit::Code(0));
    play.pass(Duration::from_secs(1));
    assert!(play.tracker.is_settled(BootTime(play.now)));
}

#[test]
fn a_failed_creation_separates_two_lives_for_all_that_follows() {
    let mut play = Play::new();
    play.event(Change::Created, 0, 7, "/box", 20);
    play.event(Change::Removed, 0, 7, "/box", 20);
    play.rmdir(Errno::ENOENT, "/box", 21);
    play.attempt(Syscall::Mkdirat, Errno::EACCES, "/sys/fs/cgroup/unified/box", HOST, 22);
    play.rmdir(Errno::ENOENT, "/box", 23);
    play.attempt(Syscall::Openat, Errno::ENOENT, "/sys/fs/cgroup/unified/box", HOST, 23);
    play.pass(Duration::from_secs(3));
    let told: Vec<(Kind, u64)> = play.findings.iter().map(|finding| (finding.kind, finding.attempt_count)).collect();
    assert_eq!(told, [(Kind::named("duplicate-teardown"), 1), (Kind::named("missing-path-teardown"), 3)]);
}

#[test]
fn a_creation_that_found_something_there_has_not_failed() {
    let mut play = Play::new();
    play.event(Change::Created, 0, 6, "/pod", 20);
    play.rmdir(Errno::ENOENT, "/pod/a", 21);
    play.event(Change::Created, 0, 7, "/pod/a", 20);
    play.attempt(Syscall::Mkdir, Errno::EEXIST, "/sys/fs/cgroup/unified/pod/a", HOST, 21);
    play.pass(Duration::from_secs(3));
    let finding = play.only();
    assert_eq!((finding.cause, finding.attempt_count), (Cause::named("never-created"), 1));
}

#[test]
fn one_id_in_two_places_is_two_teardowns() {
    let mut play = Play::new();
    for (hierarchy, path) in [(4, "/one/box"), (8, "/two/box")] {
        play.event(Change::Created, hierarchy, 7, path, 20);
    }
    for (hierarchy, path, remover) in [(4, "/one/box", 20), (8, "/two/box", 22)] {
        play.event(Change::Removed, hierarchy, 7, path, remover);
    }
    for (pid, path) in [(31, "memory/one/box"), (32, "pids/two/box")] {
        play.exec(pid, "runc delete box");
        play.attempt(Syscall::Unlinkat, Errno::ENOENT, &format!("/sys/fs/cgroup/{path}"), HOST, pid);
    }
    play.pass(Duration::from_secs(3));
    assert_eq!(play.findings.len(), 2);
}

#[test]
fn a_removal_under_another_name_is_known_when_that_name_is_used_again() {
    let mut play = Play::new();
    let rmdir = |play: &mut Play, path: &str| {
        play.attempt(Syscall::Rmdir, Errno::ENOENT, &format!("/sys/fs/cgroup/memory{path}"), HOST, 21)
    };
    play.event(Change::Created, 4, 7, "/c", 20);
    play.event(Change::Renamed, 4, 7, "/a", 22);
    play.event(Change::Removed, 4, 7, "/a", 23);
    play.event(Change::Created, 4, 8, "/a", 20);
    play.event(Change::Removed, 4, 8, "/a", 24);
    rmdir(&mut play, "/c");
    play.pass(Duration::from_secs(3));
    let rival = play.only().rival.as_ref().and_then(|rival| rival.actor.as_ref()).map(|actor| actor.pid);
    assert_eq!((play.only().kind, rival), (Kind::named("duplicate-teardown"), Some(Pid(23))));
}

#[test]
fn what_was_removed_before_a_renaming_may_be_forgotten_and_then_nothing_is_certain() {
    let mut play = Play::new();
    play.event(Change::Created, 4, 5, "/pod", 20);
    play.event(Change::Created, 4, 6, "/pod/a", 20);
    play.event(Change::Created, 4, 7, "/pod/a/x", 20);
    play.event(Change::Removed, 4, 7, "/pod/a/x", 23);
    play.event(Change::Renamed, 4, 6, "/pod/b", 22);
    play.event(Change::Created, 4, 8, "/pod/a", 20);
    play.event(Change::Created, 4, 9, "/pod/a/x", 20);
    play.event(Change::Removed, 4, 9, "/pod/a/x", 24);
    play.attempt(Syscall::Rmdir, Errno::ENOENT, "/sys/fs/cgroup/memory/pod/b/x", HOST, 21);
    play.attempt(Syscall::Rmdir, Errno::ENOENT, "/sys/fs/cgroup/memory/pod/b/y", HOST, 21);
    play.pass(Duration::from_secs(3));
    let told: Vec<Certainty> = play.findings.iter().map(|finding| finding.certainty).collect();
    assert_eq!(told, [Certainty::Degraded, Certainty::Certain]);
}

/// A failed removal on a v1 hierarchy.
fn rmdir_v1(play: &mut Play, path: &str, pid: u32) {
    play.attempt(Syscall::Rmdir, Errno::ENOENT, &format!("/sys/fs/cgroup/memory{path}"), HOST, pid);
}

#[test]
fn what_failed_to_be_made_at_a_name_that_was_given_up_is_not_what_was_renamed() {
    let mut play = Play::new();
    play.event(Change::Created, 4, 7, "/web", 20);
    play.event(Change::Renamed, 4, 7, "/old", 22);
    play.attempt(Syscall::Mkdir, Errno::ENOSPC, "/sys/fs/cgroup/memory/web", HOST, 30);
    rmdir_v1(&mut play, "/web", 31);
    play.pass(Duration::from_secs(3));
    assert_eq!(play.only().cause, Cause::named("creation-failed"), "{}", play.only().summary);
    assert!(play.only().rival.is_none());
}

#[test]
fn a_start_after_a_renaming_means_another_one() {
    let mut play = Play::new();
    play.event(Change::Created, 4, 7, "/web", 20);
    play.event(Change::Renamed, 4, 7, "/old", 22);
    let began = play.now + 1;
    play.exec_at(began, 30, "runc run web");
    rmdir_v1(&mut play, "/web", 30);
    play.pass(Duration::from_secs(3));
    let finding = play.only();
    assert_eq!(
        (finding.cause, finding.certainty),
        (Cause::named("never-created"), Certainty::Certain),
        "{}",
        finding.summary
    );
}

#[test]
fn a_failed_creation_that_is_forgotten_leaves_nothing_certain() {
    const LONG: Duration = Duration::from_secs(16 * 60);
    let mut play = Play::new();
    play.event(Change::Created, 0, 6, "/pod", 20);
    play.attempt(Syscall::Mkdir, Errno::ENOSPC, "/sys/fs/cgroup/unified/pod/a", HOST, 20);
    play.pass(LONG);
    // Forgotten with the note, and then with the story that had it.
    play.rmdir(Errno::ENOENT, "/pod/a", 21);
    play.attempt(Syscall::Mkdir, Errno::ENOSPC, "/sys/fs/cgroup/unified/pod/a", HOST, 20);
    play.rmdir(Errno::ENOENT, "/pod/a", 22);
    play.pass(LONG);
    play.rmdir(Errno::ENOENT, "/pod/a", 23);
    play.pass(Duration::from_secs(3));
    let told: Vec<(Cause, Certainty)> =
        play.findings.iter().map(|finding| (finding.cause, finding.certainty)).collect();
    let forgotten = (Cause::named("never-created"), Certainty::Degraded);
    assert_eq!(told, [forgotten, (Cause::named("creation-failed"), Certainty::Certain), forgotten]);
}

#[test]
fn a_known_problem_stays_recognised_when_whoever_told_it_is_forgotten() {
    let mut play = Play::new();
    play.incident(Exit::Code(1));
    play.pass(Duration::from_secs(120));
    for pid in 40..120 {
        let cgroup = "/sys/fs/cgroup/irpsym10jqj937p3dxo13jky1";
        play.attempt(Syscall::Unlinkat, Errno::EROFS, cgroup, CONTAINER_NS, pid);
    }
    play.pass(Duration::from_secs(3));
    let last = play.findings.last().expect("told");
    assert!(last.revision > 0 && last.severity == Severity::Fault);
    assert_eq!(last.known_issues.iter().map(|issue| issue.id).collect::<Vec<_>>(), ["runc#4518"]);
}

#[test]
fn very_many_failed_removals_at_once_are_told_and_let_go_of() {
    let mut play = Play::new();
    for number in 0..30_000_u64 {
        play.now -= 1_000_000;
        play.rmdir(Errno::ENOENT, &format!("/{number}"), 21);
    }
    assert!(play.findings.len() > 20_000, "{} told", play.findings.len());
}

#[test]
fn a_place_that_is_used_again_changes_nothing_of_what_was_told() {
    let mut play = Play::new();
    play.event(Change::Created, 0, 7, "/web", 20);
    play.event(Change::Removed, 0, 7, "/web", 20);
    play.exec(21, "runc delete web");
    play.rmdir(Errno::ENOENT, "/web", 21);
    play.exit(21, Exit::Code(0));
    play.pass(Duration::from_millis(200));
    play.event(Change::Created, 0, 8, "/web", 22);
    let at = BootTime(play.now + 1);
    let last_words = play.tracker.finish(at);
    assert!(last_words.is_empty(), "{last_words:#?}");
    assert_eq!(play.only().outcome.cgroup_left, Some(false));
}

fn tables_in(snapshot: &[Input]) -> Vec<(NamespaceId, u64)> {
    let table = |input: &Input| match input {
        Input::Facts(Facts { about: About::Mounts { namespace, too_many, .. }, .. }) => Some((*namespace, *too_many)),
        _ => None,
    };
    snapshot.iter().filter_map(table).collect()
}

#[test]
fn a_snapshot_has_what_goes_first_first_with_the_time_that_its_age_counts_from() {
    let mut play = Play::new();
    play.feed(fact(About::Mounts { namespace: HOST, mounts: Vec::new(), too_many: 3, host: false }));
    let mut heard = Vec::new();
    for pid in [30, 10, 20] {
        play.exec(pid, "runc list");
        heard.push((Pid(pid), BootTime(play.now)));
    }
    for id in ["b", "a"] {
        play.feed(fact(About::Container(ContainerFacts::new(id.into(), "runc", "/b/config.json".into()))));
    }
    play.pass(Duration::from_secs(5));
    let snapshot = play.tracker.snapshot();
    assert_eq!(tables_in(&snapshot), [(CONTAINER_NS, 0), (HOST, 3)], "how many mounts are missing is known still");
    let process = |input: &Input| match input {
        Input::Process(process) => Some((process.pid, process.at)),
        _ => None,
    };
    assert_eq!(snapshot.iter().filter_map(process).collect::<Vec<_>>(), heard);
    let container = |input: &Input| match input {
        Input::Facts(Facts { at, about: About::Container(said) }) => {
            Some((said.id.to_string(), *at < BootTime(play.now)))
        }
        _ => None,
    };
    let containers: Vec<_> = snapshot.iter().filter_map(container).collect();
    assert_eq!(containers, [("b".to_owned(), true), ("a".to_owned(), true)]);
}

#[test]
fn what_nobody_goes_by_for_a_day_is_dropped() {
    const IDLE: NamespaceId = NamespaceId(3);
    const USED: NamespaceId = NamespaceId(4);
    let mut play = Play::new();
    for namespace in [IDLE, USED] {
        play.feed(fact(About::Mounts { namespace, mounts: Vec::new(), too_many: 0, host: false }));
    }
    let outer = &BUILD[..BUILD.len() - 26];
    let id = outer.trim_start_matches("/docker/");
    for id in ["web", id] {
        play.feed(fact(About::Container(ContainerFacts::new(id.into(), "runc", "/b/config.json".into()))));
    }
    play.event(Change::Created, 0, 7, outer, 20);
    let seen = |pid, namespace| {
        let process = process(pid, ProcessChange::Seen, Some("sleep"), None);
        Input::Process(Process { mount_namespace: Some(namespace), ..process })
    };
    for _ in 0..5 {
        play.pass(Duration::from_secs(6 * 60 * 60));
        play.feed(seen(40, USED));
        play.attempt(Syscall::Mkdir, Errno::EACCES, "/sys/fs/cgroup/unified/x", HOST, 41);
    }
    let tables: Vec<NamespaceId> =
        tables_in(&play.tracker.snapshot()).into_iter().map(|(namespace, _)| namespace).collect();
    assert_eq!(tables, [USED, HOST], "a process is there, or calls go by it");
    let knows = |id: &str| play.tracker.knows_container(&ContainerFacts::new(id.into(), "runc", "/b".into()));
    assert_eq!((knows("web"), knows(id)), (false, true), "one is there");
    assert_eq!(play.tracker.evicted(), 0);
}

#[test]
fn a_table_that_is_read_again_counts_no_file_system_twice() {
    let mut play = Play::new();
    let mount = |minor| Mount {
        id: None,
        parent: None,
        device: Device { major: 9, minor },
        root: "/".into(),
        mount_point: "/x".into(),
        file_system: "cgroup2".into(),
        read_only: false,
    };
    let mounts: Vec<Mount> = (0..2 * HIERARCHIES as u32).map(mount).collect();
    for _ in 0..3 {
        play.feed(fact(About::Mounts { namespace: HOST, mounts: mounts.clone(), too_many: 0, host: false }));
        assert_eq!(play.tracker.evicted(), HIERARCHIES as u64 + 3);
    }
}
