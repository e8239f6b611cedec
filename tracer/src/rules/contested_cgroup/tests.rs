//! Who moves a container's process out of its cgroup, and who may.

use std::time::Duration;

use super::SURE;
use crate::findings::{Certainty, Severity};
use crate::input::{
    Actor, BootTime, Cgroup, CgroupId, Change, Event, HierarchyId, Input, Parent, Pid, Process, ProcessChange, Task,
};
use crate::name::Name;
use crate::tracker::tests::Play;

const V1: u32 = 4;
const V2: u32 = 0;
const RUNC: u32 = 20;
const INIT: u32 = 21;
const AGENT: u32 = 30;
const CONTAINER: &str = "/docker/a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";
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
    pub fn of_lxc((mover, comm): (u32, &str), to: &str) -> Self {
        let mut scene = Self::of(V1, "/lxc/web", "lxc-start -n web");
        scene.moves((RUNC, "lxc-start"), INIT, 7, "/lxc/web");
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
    scene.play.exit(INIT, crate::input::Exit::Code(0));
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
