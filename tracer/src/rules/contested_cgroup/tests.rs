//! Who moves a container's process out of its cgroup, changes its limits or removes it, and who may.

use std::time::Duration;

use super::moved::SURE;
use crate::errno::Errno;
use crate::findings::{Certainty, Finding, Severity};
use crate::input::{
    Actor, Attempt, BootTime, Cgroup, CgroupId, Change, Device, Directory, Event, Exit, HierarchyId, Input, LossReason,
    Lost, NamespaceId, Parent, Pid, Process, ProcessChange, Ring, Syscall, Task, Written,
};
use crate::name::Name;
use crate::tracker::tests::Play;

const V1: u32 = 4;
const V2: u32 = 0;
const RUNC: u32 = 20;
const INIT: u32 = 21;
const AGENT: u32 = 30;
const CONTAINER: &str = "/docker/a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";
const UNIT: &str = "/system.slice/docker-a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90.scope";
const CRIO: &str = "/kubepods.slice/crio-a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90.scope";
const ELSEWHERE: &str = "/agents/all";

/// A container that somebody made, and its first process.
pub(in crate::rules) struct Scene {
    pub play: Play,
    hierarchy: u32,
    path: &'static str,
}

impl Scene {
    /// A container, and a cgroup that is none of it.
    fn new(hierarchy: u32) -> Self {
        Self::of(hierarchy, CONTAINER, &format!("runc create --bundle /b {}", &CONTAINER[8..]))
    }

    fn of(hierarchy: u32, path: &'static str, argv: &str) -> Self {
        let mut play = Play::new();
        play.event(Change::Existing, hierarchy, 2, ELSEWHERE, 1);
        let mut scene = Self { play, hierarchy, path };
        scene.begins(RUNC, &[5], argv);
        scene.play.event(Change::Created, hierarchy, 7, path, RUNC);
        scene.play.event(Change::Created, hierarchy, 8, &format!("{path}/init"), RUNC);
        scene.play.event(Change::Populated, hierarchy, 7, path, RUNC);
        scene
    }

    /// LXC's container `web`, whose first process somebody moves there.
    pub fn of_lxc(mover: (u32, &str), to: &str) -> Self {
        Self::moved((V1, "/lxc/web"), ("lxc-start", "lxc-start -n web"), mover, to)
    }

    /// The same of CRI-O.
    pub fn of_crio(mover: (u32, &str), to: &str) -> Self {
        Self::moved((V1, CRIO), ("runc", "runc create --bundle /b web"), mover, to)
    }

    /// The same of runc alone.
    pub fn of_runc(mover: (u32, &str), to: &str) -> Self {
        Self::moved((V2, "/system.slice/web"), ("runc", "runc run --bundle /b web"), mover, to)
    }

    /// Kubelet limits the memory of a slice, and another process writes over that.
    pub fn of_kubelet((writer, argv): (u32, &str), path: &'static str) -> Self {
        let mut play = Play::new();
        play.event(Change::Existing, V1, 7, path, 1);
        let mut scene = Self { play, hierarchy: V1, path };
        scene.begins(RUNC, &[1], "kubelet --enforce-node-allocatable=pods,system-reserved");
        scene.writes(RUNC, "memory.limit_in_bytes", "6442450944");
        let mut scene = scene.later(Duration::from_secs(3));
        scene.begins(writer, &[], argv);
        scene.writes(writer, "memory.limit_in_bytes", "-1");
        scene.later(Duration::from_secs(3))
    }

    fn moved(
        (hierarchy, path): (u32, &'static str),
        (runtime, argv): (&str, &str),
        (mover, comm): (u32, &str),
        to: &str,
    ) -> Self {
        let mut scene = Self::of(hierarchy, path, argv);
        scene.moves((RUNC, runtime), INIT, 7, path);
        let mut scene = scene.later(Duration::from_secs(3));
        scene.moves((mover, comm), INIT, 1, to);
        scene.later(Duration::from_secs(2))
    }

    fn begins(&mut self, pid: u32, parents: &[u32], argv: &str) {
        let parents = parents.iter().map(|pid| Parent { pid: Pid(*pid), comm: "x".into() }).collect();
        let argv: Vec<Name> = argv.split(' ').map(Name::from).collect();
        let process = Process::new(BootTime(0), Pid(pid), ProcessChange::Exec, argv[0].clone());
        self.play.feed(Input::Process(Process { argv: Some(argv), parents, started: Some(BootTime(1)), ..process }));
    }

    fn moves(&mut self, (mover, comm): (u32, &str), task: u32, id: u64, path: &str) {
        let cgroup = Cgroup {
            hierarchy: HierarchyId(self.hierarchy),
            id: Some(CgroupId(id)),
            path: path.into(),
            level: Some(1),
            truncated: false,
        };
        let task = Some(Task { pid: Some(Pid(task)), tid: Some(task), comm: "nginx".into() });
        let actor = Some(Actor::new(Pid(mover), mover, comm.into(), Some(0)));
        let (at, change, requested, container) = (BootTime(0), Change::Attached, false, None);
        self.play.feed(Input::Event(Event { at, change, cgroup, requested, task, container, actor }));
    }

    /// The container's first process is in it.
    fn placed(hierarchy: u32) -> Self {
        let mut scene = Self::new(hierarchy);
        scene.moves((RUNC, "runc"), INIT, 7, scene.path);
        scene
    }

    /// It is moved elsewhere.
    fn taken(mut self, mover: u32, comm: &str) -> Self {
        self.moves((mover, comm), INIT, 2, ELSEWHERE);
        self.later(Duration::from_secs(2))
    }

    /// A container with systemd's cgroup driver, one of whose limits runc has set, and another process writes over it
    /// three seconds later.
    pub fn of_unit((writer, argv): (u32, &str), file: &str, (before, now): (&str, &str)) -> Self {
        let mut scene = Self::of(V2, UNIT, &format!("runc create --bundle /b {}", &CONTAINER[8..]));
        scene.writes(RUNC, file, before);
        let mut scene = scene.later(Duration::from_secs(3));
        scene.begins(writer, &[], argv);
        scene.writes(writer, file, now);
        scene.later(Duration::from_secs(3))
    }

    /// Somebody writes to a control file of the container's cgroup.
    fn writes(&mut self, pid: u32, file: &str, value: &str) {
        self.writes_at((7, self.path), pid, file, value);
    }

    fn writes_at(&mut self, (id, path): (u64, &str), pid: u32, file: &str, value: &str) {
        let minor = if self.hierarchy == V2 { 38 } else { 31 };
        let directory = Directory {
            device: Device { major: 0, minor },
            id: CgroupId(id),
            path: path.into(),
            truncated: false,
            outside: false,
            mount: None,
        };
        self.play.feed(Input::Change(Written {
            at: BootTime(0),
            file: file.into(),
            value: Some(value.into()),
            value_truncated: false,
            took_ns: Some(1),
            directory,
            cgroup: None,
            container: None,
            actor: self.actor(pid),
        }));
    }

    /// A process, as its threads are called.
    fn actor(&self, pid: u32) -> Actor {
        let comm = self.play.tracker.world().processes.get(Pid(pid)).map(|known| known.comm.clone());
        Actor::new(Pid(pid), pid, comm.unwrap_or_else(|| "x".into()), Some(0))
    }

    /// Somebody removes the container's cgroup.
    fn removes(&mut self, pid: u32) {
        let cgroup = Cgroup {
            hierarchy: HierarchyId(self.hierarchy),
            id: Some(CgroupId(7)),
            path: self.path.into(),
            level: Some(1),
            truncated: false,
        };
        let (at, change, actor) = (BootTime(0), Change::Removed, Some(self.actor(pid)));
        let event = Event { at, change, cgroup, requested: false, task: None, container: None, actor };
        self.play.feed(Input::Event(event));
    }

    fn fails_to_open(&mut self, pid: u32, path: &str, errno: Errno) {
        let actor = Actor::new(Pid(pid), pid, "runc".into(), Some(0));
        let call = Attempt::new(BootTime(0), Syscall::Openat, errno, path.into(), actor);
        self.play.feed(Input::Attempt(Attempt { flags: Some(1), mount_namespace: Some(NamespaceId(1)), ..call }));
    }

    /// The end of the trace.
    fn fights_end(&mut self) {
        let told = self.play.tracker.finish(BootTime(self.play.now));
        self.play.findings.extend(told);
    }

    fn last(&self) -> &Finding {
        self.play.findings.last().expect("a finding")
    }

    fn later(mut self, span: Duration) -> Self {
        self.play.pass(span);
        self
    }

    fn agent(mut self) -> Self {
        self.begins(AGENT, &[1], "/usr/sbin/cgrulesengd --nolog");
        self
    }

    fn is_silent(&self) -> bool {
        self.play.findings.is_empty()
    }
}

#[test]
fn who_moves_a_containers_process_out_is_told_with_who_had_put_it_there() {
    for hierarchy in [V1, V2] {
        let scene = Scene::placed(hierarchy).later(Duration::from_secs(3)).agent().taken(AGENT, "cgrulesengd");
        let finding = scene.play.only();
        assert_eq!((finding.kind.as_str(), finding.cause.word), ("contested-cgroup", "moved-by-other"));
        assert_eq!((finding.severity, finding.certainty), (Severity::Undetermined, Certainty::Certain));
        let expected = format!(
            "cgrulesengd[30] moved nginx[21] out of the cgroup of container {}, where runc[20] had put it 3.00 s \
             before, to cgroup /agents/all",
            &CONTAINER[8..]
        );
        assert_eq!(finding.summary, expected);
        assert_eq!((finding.cgroup.path.to_str(), finding.cgroup.id), (Some(CONTAINER), Some(CgroupId(7))));
        assert_eq!(finding.actor.as_ref().map(|actor| actor.pid), Some(Pid(AGENT)));
        assert!(finding.container.is_some() && finding.evidence.len() >= 2, "{finding:#?}");
    }
}

#[test]
fn systemd_is_told_of_too_if_it_had_not_put_it_there_itself() {
    assert!(!Scene::placed(V1).taken(1, "systemd").is_silent());
    let mut scene = Scene::new(V1);
    scene.moves((1, "systemd"), INIT, 7, CONTAINER);
    assert!(scene.taken(1, "systemd").is_silent());
}

#[test]
fn who_may_run_the_container_is_not_told_of() {
    let silent = |pid: u32, parents: &[u32], argv: &str| {
        let mut scene = Scene::placed(V2);
        scene.begins(pid, parents, argv);
        let comm = argv.split(' ').next().unwrap_or_default();
        assert!(scene.taken(pid, comm).is_silent(), "{pid} {parents:?} {argv}");
    };
    silent(RUNC, &[5], "runc create --bundle /b web");
    silent(40, &[1], "runc update --resources - web");
    silent(40, &[1], "containerd-shim-runc-v2 -namespace moby");
    silent(40, &[1], "dockerd");
    silent(40, &[1], "conmon --api-version 1");
    silent(40, &[1], "lxc-start -n web");
    // What the first one started, what started it, and what the same one started.
    silent(40, &[RUNC, 5], "hook");
    silent(5, &[1], "supervisor");
    silent(40, &[5, 1], "helper");
}

#[test]
fn ordinary_moves_are_not_told_of() {
    // It moves itself.
    assert!(Scene::placed(V2).taken(INIT, "nginx").is_silent());
    // Within the container.
    let mut scene = Scene::placed(V2).agent();
    scene.moves((AGENT, "cgrulesengd"), INIT, 8, &format!("{CONTAINER}/init"));
    assert!(scene.later(Duration::from_secs(2)).is_silent());
    // Nobody had put it into a container.
    let mut scene = Scene::new(V2).agent();
    scene.moves((1, "systemd"), 50, 2, ELSEWHERE);
    scene.moves((AGENT, "cgrulesengd"), 50, 3, "/user.slice");
    assert!(scene.later(Duration::from_secs(2)).is_silent());
    // It was brought in for a while: its number is soon another one's.
    let mut scene = Scene::new(V2).agent();
    scene.begins(40, &[1], &format!("runc exec {} sh", &CONTAINER[8..]));
    scene.moves((40, "runc"), INIT, 7, CONTAINER);
    assert!(scene.taken(AGENT, "cgrulesengd").is_silent());
    // The container has nobody in it any more: it is another process of that number.
    let mut scene = Scene::placed(V2).agent();
    scene.play.event(Change::Emptied, V2, 7, CONTAINER, INIT);
    assert!(scene.later(Duration::from_secs(1)).taken(AGENT, "cgrulesengd").is_silent());
    // It has ended, which was seen.
    let mut scene = Scene::placed(V2).agent();
    scene.play.exit(INIT, Exit::Code(0));
    assert!(scene.taken(AGENT, "cgrulesengd").is_silent());
}

#[test]
fn the_last_process_of_a_container_is_told_of_though_nobody_was_seen_to_put_it_there() {
    let mut scene = Scene::new(V2).agent();
    // It was made by one that runc had put there.
    scene.play.event(Change::Emptied, V2, 7, CONTAINER, AGENT);
    let scene = scene.taken(AGENT, "cgrulesengd");
    let finding = scene.play.only();
    let end = ", where it was the last one, to cgroup /agents/all";
    assert!(finding.summary.ends_with(end), "{}", finding.summary);
    assert_eq!((finding.certainty, finding.cgroup.id), (Certainty::Certain, Some(CgroupId(7))));
    // Who is moved next is another one, and what somebody else empties is nobody's move.
    let mut scene = Scene::new(V2).agent();
    scene.play.event(Change::Emptied, V2, 7, CONTAINER, AGENT);
    scene.moves((AGENT, "cgrulesengd"), AGENT, 2, ELSEWHERE);
    assert!(scene.taken(AGENT, "cgrulesengd").is_silent());
    let mut scene = Scene::new(V2).agent();
    scene.play.event(Change::Emptied, V2, 7, CONTAINER, INIT);
    assert!(scene.taken(AGENT, "cgrulesengd").is_silent());
    // The runtime's own.
    let mut scene = Scene::new(V2);
    scene.begins(40, &[RUNC], "hook");
    scene.play.event(Change::Emptied, V2, 7, CONTAINER, 40);
    assert!(scene.taken(40, "hook").is_silent());
}

#[test]
fn what_is_moved_together_is_one_finding_with_a_count() {
    let mut scene = Scene::new(V1).agent();
    for task in INIT..INIT + 5 {
        scene.moves((RUNC, "runc"), task, 7, CONTAINER);
    }
    for task in INIT..INIT + 5 {
        scene.moves((AGENT, "cgrulesengd"), task, 2, ELSEWHERE);
    }
    let scene = scene.later(Duration::from_secs(2));
    let summary = &scene.play.only().summary;
    assert!(summary.ends_with(", to cgroup /agents/all, the first of 5 such moves"), "{summary}");
}

#[test]
fn what_a_runtime_puts_back_is_benign() {
    let mut scene = Scene::placed(V2).agent();
    scene.moves((AGENT, "cgrulesengd"), INIT, 2, ELSEWHERE);
    scene.moves((RUNC, "runc"), INIT, 7, CONTAINER);
    let scene = scene.later(Duration::from_secs(2));
    assert_eq!(scene.play.only().severity, Severity::Benign);
    assert!(scene.play.only().summary.ends_with("; a runtime has put it back since"));
}

#[test]
fn much_later_the_number_may_be_another_ones() {
    let scene = Scene::placed(V2).later(SURE + Duration::from_secs(1)).agent().taken(AGENT, "cgrulesengd");
    let finding = scene.play.only();
    assert_eq!(finding.because, ["the number of the process may be that of another one by now"]);
    assert!(finding.summary.contains(" may have moved nginx[21] out of "), "{}", finding.summary);
}

const ONE: u32 = 50;
const OTHER: u32 = 51;

/// A container with a limit that runc has set.
fn limited() -> Scene {
    let mut scene = Scene::new(V2).agent();
    scene.writes(RUNC, "memory.max", "104857600");
    scene.later(Duration::from_secs(3))
}

#[test]
fn who_writes_over_a_limit_that_a_runtime_had_set_is_told_with_both_values() {
    let mut scene = limited();
    scene.writes(AGENT, "memory.max", "200M\n");
    let scene = scene.later(Duration::from_secs(3));
    let finding = scene.play.only();
    assert_eq!((finding.kind.as_str(), finding.cause.word), ("contested-cgroup", "changed-by-other"));
    assert_eq!((finding.severity, finding.certainty), (Severity::Undetermined, Certainty::Certain), "{finding:#?}");
    let expected = format!(
        "cgrulesengd[30] changed memory.max of the cgroup of container {} from \"104857600\" to \"200M\", where \
         runc[20] had set it 3.00 s before",
        &CONTAINER[8..]
    );
    assert_eq!(finding.summary.replace("/usr/sbin/", ""), expected);
    assert_eq!(finding.actor.as_ref().map(|actor| actor.pid), Some(Pid(AGENT)));
    assert!(finding.evidence.len() >= 3, "the creation, and both writes: {finding:#?}");
}

#[test]
fn systemd_that_resets_what_runc_had_set_is_told_once_for_all_files() {
    let mut scene = Scene::of(V2, UNIT, &format!("runc create --bundle /b {}", &CONTAINER[8..]));
    scene.begins(1, &[], "systemd");
    for (file, value) in [("memory.swap.max", "0"), ("cpu.max", "50000 100000"), ("pids.max", "10")] {
        scene.writes(RUNC, file, value);
    }
    let mut scene = scene.later(Duration::from_secs(3));
    for (file, value) in [("memory.swap.max", "max"), ("cpu.max", "50000 100000"), ("pids.max", "max")] {
        scene.writes(1, file, value);
    }
    let scene = scene.later(Duration::from_secs(3));
    let summary = &scene.play.only().summary;
    assert!(summary.contains(" changed memory.swap.max of "), "{summary}");
    assert!(summary.ends_with(", and pids.max as well, the first of 2 such changes"), "{summary}");
}

#[test]
fn writes_that_are_no_fight_are_not_told_of() {
    let silent = |pid: u32, parents: &[u32], argv: &str, file: &str, value: &str| {
        let mut scene = limited();
        scene.begins(pid, parents, argv);
        scene.writes(pid, file, value);
        assert!(scene.later(Duration::from_secs(3)).is_silent(), "{argv} {file} {value}");
    };
    // The same value, in other words.
    silent(40, &[1], "agent", "memory.max", "100M");
    // Another file, and one that has no value that lasts.
    silent(40, &[1], "agent", "memory.high", "100M");
    silent(40, &[1], "agent", "memory.reclaim", "100M");
    // Those who run it.
    silent(RUNC, &[5], "runc create --bundle /b web", "memory.max", "200M");
    silent(40, &[1], "runc update --resources - web", "memory.max", "200M");
    silent(40, &[1], "kubelet", "memory.max", "200M");
    silent(40, &[1], "lxc-cgroup -n web memory.max 200M", "memory.max", "200M");
    silent(40, &[RUNC, 5], "hook", "memory.max", "200M");
    silent(5, &[1], "supervisor", "memory.max", "200M");
    // Two that have nothing to do with containers, once; and one of them changes its mind.
    let mut scene = Scene::new(V2).agent();
    scene.begins(ONE, &[1], "one");
    scene.begins(OTHER, &[1], "other");
    for (pid, value) in [(ONE, "1"), (OTHER, "2"), (ONE, "3"), (ONE, "4")] {
        scene.writes_at((2, ELSEWHERE), pid, "pids.max", value);
    }
    assert!(scene.later(Duration::from_secs(3)).is_silent());
    // What only turns on one controller more.
    let mut scene = limited();
    scene.writes(RUNC, "cgroup.subtree_control", "+memory");
    scene.writes(AGENT, "cgroup.subtree_control", "+cpu +memory");
    assert!(scene.later(Duration::from_secs(3)).is_silent());
    // Another life of the cgroup.
    let mut scene = limited();
    scene.play.event(Change::Removed, V2, 7, CONTAINER, RUNC);
    scene.play.event(Change::Created, V2, 7, CONTAINER, RUNC);
    scene.writes(AGENT, "memory.max", "200M");
    assert!(scene.later(Duration::from_secs(3)).is_silent());
}

#[test]
fn what_systemd_sets_for_a_runtime_that_sets_it_as_well_is_not_told_of() {
    for (by_systemd, by_runc) in [("200M", "209715200"), ("200M", "209715000")] {
        let mut scene = limited();
        scene.begins(1, &[], "systemd");
        scene.writes(1, "memory.max", by_systemd);
        scene.begins(40, &[5], "runc update --resources - web");
        scene.writes(40, "memory.max", by_runc);
        assert!(scene.later(Duration::from_secs(3)).is_silent(), "{by_runc}");
    }
}

#[test]
fn a_controller_that_is_turned_off_and_a_container_that_is_frozen_by_somebody_else_are_told_of() {
    for (file, before, now) in [
        ("cgroup.subtree_control", "+cpu +memory", "-memory"),
        ("cgroup.freeze", "0", "1"),
        ("cpuset.cpus", "0-3", "0-2"),
    ] {
        let mut scene = limited();
        scene.writes(RUNC, file, before);
        scene.writes(AGENT, file, now);
        let scene = scene.later(Duration::from_secs(3));
        let summary = &scene.play.only().summary;
        assert!(summary.contains(&format!(" changed {file} of ")), "{summary}");
        assert!(summary.contains(&format!(" to \"{now}\", where runc[20] had set it ")), "{summary}");
    }
}

#[test]
fn a_limit_that_is_set_back_is_benign_and_a_fight_is_one_finding_with_a_count() {
    let mut scene = limited();
    for _ in 0..5 {
        scene.writes(AGENT, "memory.max", "max");
        scene.writes(RUNC, "memory.max", "104857600");
    }
    let scene = scene.later(Duration::from_secs(3));
    let finding = scene.play.only();
    assert_eq!(finding.severity, Severity::Benign);
    let end = ", the first of 5 such changes; it has been set back since";
    assert!(finding.summary.ends_with(end), "{}", finding.summary);
}

#[test]
fn two_that_run_no_container_are_told_of_when_one_sets_its_value_again() {
    let mut scene = Scene::new(V2);
    scene.begins(ONE, &[1], "one");
    scene.begins(OTHER, &[1], "other");
    let fight = |scene: &mut Scene, times: u32| {
        for _ in 0..times {
            scene.writes_at((2, ELSEWHERE), ONE, "pids.max", "1");
            scene.writes_at((2, ELSEWHERE), OTHER, "pids.max", "2");
        }
    };
    fight(&mut scene, 3);
    let mut scene = scene.later(Duration::from_secs(3));
    let finding = scene.play.only().clone();
    let expected = "other[51] changed pids.max of cgroup /agents/all from \"1\" to \"2\", where one[50] had set it \
                    1.00 ms before, the first of 4 changes that the two have undone";
    assert_eq!(finding.summary, expected);
    assert_eq!((finding.severity, finding.container.is_none()), (Severity::Undetermined, true));
    // Ten times as many are another word on the same one, and the end of the trace says how many it were.
    fight(&mut scene, 20);
    let mut scene = scene.later(Duration::from_secs(3));
    scene.fights_end();
    assert!(scene.play.findings.iter().all(|told| told.id == finding.id), "{:#?}", scene.play.findings);
    assert!(scene.last().summary.ends_with(", the first of 44 changes that the two have undone"), "{:?}", scene.last());
    assert!(scene.play.findings.len() <= 3, "{:#?}", scene.play.findings);
}

#[test]
fn a_lost_write_may_have_been_another_ones() {
    let mut scene = limited();
    let lost = Lost::some(BootTime(scene.play.now), Ring::Changes, LossReason::RateLimited, 1);
    scene.play.feed(Input::Lost(lost));
    scene.writes(AGENT, "memory.max", "200M");
    let scene = scene.later(Duration::from_secs(3));
    let finding = scene.play.only();
    assert_eq!(finding.because, ["writes to control files were lost meanwhile"]);
    assert!(finding.summary.contains("[30] may have changed memory.max of "), "{}", finding.summary);
}

/// A container's cgroup that nobody is in yet, and somebody removes it.
fn unused(remover: u32, parents: &[u32], argv: &str) -> Scene {
    let mut play = Play::new();
    let path = CONTAINER;
    play.begins(RUNC, &format!("runc create --bundle /b {}", &CONTAINER[8..]));
    play.event(Change::Created, V2, 7, path, RUNC);
    let mut scene = Scene { play, hierarchy: V2, path };
    scene.begins(remover, parents, argv);
    scene.removes(remover);
    scene
}

#[test]
fn who_removes_a_cgroup_that_a_runtime_has_made_just_now_is_told() {
    let mut scene = unused(AGENT, &[1], "/usr/local/bin/clean-cgroups");
    let path = format!("/sys/fs/cgroup/unified{CONTAINER}/cgroup.procs");
    scene.fails_to_open(RUNC, &path, Errno::ENOENT);
    scene.play.exit(RUNC, Exit::Code(1));
    let scene = scene.later(Duration::from_secs(3));
    let finding = scene.play.only();
    assert_eq!((finding.cause.word, finding.severity), ("removed-by-other", Severity::Fault));
    let expected = format!(
        "clean-cgroups[30] removed the cgroup of container {}, which runc[20] had made 2.00 ms before and had put \
         nobody into yet; runc[20] exited 1",
        &CONTAINER[8..]
    );
    assert_eq!(finding.summary.replace("/usr/local/bin/", ""), expected);
    // One that copes.
    let mut scene = unused(AGENT, &[1], "clean");
    scene.play.exit(RUNC, Exit::Code(0));
    assert_eq!(scene.later(Duration::from_secs(3)).play.only().severity, Severity::Benign);
    // One that runs on.
    assert_eq!(unused(AGENT, &[1], "clean").later(Duration::from_secs(3)).play.only().severity, Severity::Undetermined);
}

#[test]
fn removals_that_are_ordinary_or_told_otherwise_are_not_told_of() {
    for (pid, parents, argv) in [
        (40, &[1][..], "runc delete web"),
        (40, &[RUNC][..], "hook"),
        (40, &[1][..], "containerd-shim-runc-v2 -namespace moby"),
    ] {
        assert!(unused(pid, parents, argv).later(Duration::from_secs(3)).is_silent(), "{argv}");
    }
    // Somebody was in it.
    let mut scene = Scene::new(V2).agent();
    scene.play.event(Change::Emptied, V2, 7, CONTAINER, INIT);
    scene.removes(AGENT);
    assert!(scene.later(Duration::from_secs(3)).is_silent());
    // Its maker comes second, and that is told with the one that was first.
    let mut scene = unused(AGENT, &[1], "clean");
    scene.play.rmdir(Errno::ENOENT, CONTAINER, RUNC);
    scene.play.exit(RUNC, Exit::Code(1));
    let scene = scene.later(Duration::from_secs(3));
    assert_eq!(scene.play.only().kind.as_str(), "duplicate-teardown");
}
