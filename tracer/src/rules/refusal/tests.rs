//! A play about a call on a control file that is refused, for the tests of the four kinds; and what is the same for
//! all.

use std::time::Duration;

use crate::errno::Errno;
use crate::findings::{Certainty, Finding, Severity};
use crate::input::{
    About, Actor, Attempt, BootTime, CgroupId, Change, Circumstances, Device, Directory, Exit, Facts, FileValue,
    HierarchyId, Input, Level, Moved, NamespaceId, Occupant, OccupantState, Pid, Syscall,
};
use crate::name::Name;
use crate::tracker::tests::Play;

pub(in crate::rules) const V1: u32 = 4;
pub(in crate::rules) const V2: u32 = 0;
const MAKER: u32 = 20;
/// Who is refused.
pub(in crate::rules) const CALLER: u32 = 21;
const ID: u64 = 7;
/// `O_WRONLY | O_CREAT`, as Go and shells open.
const CREATES: u64 = 0o101;

/// A cgroup, mostly `/a/web`, and somebody who is refused something there.
pub(in crate::rules) struct Scene {
    pub play: Play,
    hierarchy: u32,
    path: &'static str,
    uid: u32,
    file: Option<&'static str>,
}

impl Scene {
    pub fn new(hierarchy: u32, argv: &str) -> Self {
        Self::at(hierarchy, "/a/web", argv)
    }

    pub fn at(hierarchy: u32, path: &'static str, argv: &str) -> Self {
        let mut play = Play::new();
        play.event(Change::Created, hierarchy, ID, path, MAKER);
        play.exec_at(1, CALLER, argv);
        Self { play, hierarchy, path, uid: 0, file: None }
    }

    pub fn of_user(mut self, uid: u32) -> Self {
        self.uid = uid;
        self
    }

    fn call(&mut self, syscall: Syscall, errno: Errno, path: &str) -> Attempt {
        let minor = if self.hierarchy == V2 { 38 } else { 31 };
        let directory = Directory {
            device: Device { major: 0, minor },
            id: CgroupId(ID),
            path: self.path.into(),
            truncated: false,
            outside: false,
            mount: None,
        };
        let actor = Actor::new(Pid(CALLER), CALLER, "sh".into(), Some(self.uid));
        Attempt {
            directory: Some(directory),
            mount_namespace: Some(NamespaceId(1)),
            ..Attempt::new(BootTime(0), syscall, errno, path.into(), actor)
        }
    }

    pub fn writes(mut self, file: &'static str, value: &str, errno: Errno) -> Self {
        self.file = Some(file);
        let attempt = self.call(Syscall::Write, errno, file);
        self.play.feed(Input::Attempt(Attempt { value: Some(value.into()), ..attempt }));
        self
    }

    /// Somebody is refused a write to `cgroup.subtree_control` of another cgroup.
    pub fn writes_at(mut self, path: &str, id: u64, value: &str, errno: Errno) -> Self {
        let mut attempt = self.call(Syscall::Write, errno, "cgroup.subtree_control");
        if let Some(directory) = &mut attempt.directory {
            (directory.path, directory.id) = (path.into(), CgroupId(id));
        }
        self.play.feed(Input::Attempt(Attempt { value: Some(value.into()), ..attempt }));
        self
    }

    pub fn spawns(mut self, errno: Errno) -> Self {
        let attempt = self.call(Syscall::Clone3, errno, ".");
        self.play.feed(Input::Attempt(attempt));
        self
    }

    pub fn opens(self, file: &'static str, errno: Errno) -> Self {
        self.opens_with(CREATES, file, errno)
    }

    pub fn opens_with(mut self, flags: u64, file: &'static str, errno: Errno) -> Self {
        self.file = Some(file);
        let attempt = self.call(Syscall::Openat, errno, file);
        self.play.feed(Input::Attempt(Attempt { flags: Some(flags), ..attempt }));
        self
    }

    /// What was read a moment later: all is as it is where nothing was set up, but for this.
    pub fn read(self, change: impl FnOnce(&mut Circumstances)) -> Self {
        self.read_after(1_000_000, change)
    }

    pub fn read_after(mut self, nanoseconds: u64, change: impl FnOnce(&mut Circumstances)) -> Self {
        let level = |path: &str, id| Level {
            path: path.into(),
            id: Some(CgroupId(id)),
            uid: Some(0),
            mode: Some(0o644),
            kind: (self.hierarchy == V2 && path != "/").then(|| "domain".to_owned()),
            controllers: (self.hierarchy == V2).then(Vec::new),
            subtree_control: (self.hierarchy == V2).then(Vec::new),
            processes: Some(0),
        };
        let around = self.path.rsplit_once('/').map_or("/", |(around, _)| around);
        let mut circumstances = Circumstances {
            pid: Pid(CALLER),
            read: BootTime(self.play.now + nanoseconds),
            hierarchy: HierarchyId(self.hierarchy),
            file: self.file.map(Name::from),
            file_exists: self.file.map(|_| true),
            levels: vec![level(self.path, ID), level(around, 3), level("/", 1)],
            to_root: true,
            children: Some(0),
            values: Vec::new(),
            occupants: Vec::new(),
            moved: None,
            real_time: Vec::new(),
            on_v1: Vec::new(),
            possible: None,
        };
        change(&mut circumstances);
        let about = About::Circumstances(Box::new(circumstances));
        self.play.feed(Input::Facts(Facts { at: BootTime(0), about }));
        self
    }

    pub fn removed(mut self) -> Self {
        self.play.event(Change::Removed, self.hierarchy, ID, "/a/web", MAKER);
        self
    }

    pub fn made_anew(mut self) -> Self {
        self.play.event(Change::Created, self.hierarchy, 8, "/a/web", MAKER);
        self
    }

    pub fn exits(mut self, code: u8) -> Self {
        self.play.exit(CALLER, Exit::Code(code));
        self.play.pass(Duration::from_secs(3));
        self
    }

    /// The process that a file says was refused; all that was told, in its last words.
    pub fn only(&self) -> &Finding {
        self.play.only()
    }

    /// The cause, whether that is certain, and the sentence from `could not` to what became of the process.
    pub fn said(&self) -> (&'static str, Certainty, &str) {
        let finding = self.only();
        let (_, sentence) = finding.summary.split_once(" could not ").expect("could not");
        let (sentence, _) = sentence.rsplit_once("; ").expect("an end");
        (finding.cause.word, finding.certainty, sentence)
    }

    pub fn is_silent(&self) -> bool {
        self.play.findings.is_empty()
    }
}

/// What is in a list of words.
pub(in crate::rules) fn words(list: &str) -> Option<Vec<String>> {
    Some(list.split_ascii_whitespace().map(str::to_owned).collect())
}

pub(in crate::rules) fn file_value(path: &str, file: &str, value: &str) -> FileValue {
    FileValue { path: path.into(), file: file.to_owned(), value: value.into() }
}

pub(in crate::rules) fn occupant(pid: u32, comm: &str) -> Occupant {
    Occupant { pid: Pid(pid), comm: comm.into(), started: BootTime(1), state: OccupantState::Live }
}

pub(in crate::rules) fn moved(comm: &str, cgroup: &str) -> Moved {
    let state = Some(OccupantState::Live);
    Moved { pid: Pid(99), comm: Some(comm.into()), state, real_time: false, cgroup: Some(cgroup.into()) }
}

/// A write that is refused in a way that needs nothing else to be told.
fn refused(argv: &str) -> Scene {
    Scene::new(V2, argv).writes("pids.max", "many\n", Errno::EINVAL)
}

#[test]
fn whom_it_hurts_is_told_by_what_a_process_was_there_for_and_how_it_ended() {
    let check = |argv: &str, code, severity| {
        assert_eq!(refused(argv).exits(code).only().severity, severity, "{argv} {code}");
    };
    use Severity::{Benign, Fault, Undetermined};
    check("runc create --bundle /b web", 1, Fault);
    check("runc create --bundle /b web", 0, Benign);
    // Its status may be the container's.
    check("runc run --bundle /b web", 1, Undetermined);
    check("runc run --bundle /b web", 0, Benign);
    check("crun update --pids-limit many web", 1, Fault);
    check("podman run image", 0, Benign);
    // What was wanted did not come about, and nobody knows whether that matters.
    check("sh -c true", 0, Undetermined);
    check("sh -c true", 2, Undetermined);
}

#[test]
fn a_log_that_names_the_file_tells_that_a_run_failed_of_it() {
    let severity = |message: &str| {
        let mut scene = refused("runc --log /l run --bundle /b web");
        scene.play.exit(CALLER, Exit::Code(1));
        let (id, message) = ("web".into(), message.into());
        let about = About::Failure { id, pid: Pid(CALLER), message };
        scene.play.feed(Input::Facts(Facts { at: BootTime(0), about }));
        scene.play.pass(Duration::from_secs(3));
        scene.only().severity
    };
    assert_eq!(
        severity("failed to write \"many\": write /sys/fs/cgroup/a/web/pids.max: invalid argument"),
        Severity::Fault
    );
    assert_eq!(severity("exec: \"nothing\": executable file not found in $PATH"), Severity::Undetermined);
}

#[test]
fn what_fails_alike_goes_on_with_one_story_and_what_fails_otherwise_has_its_own() {
    let again = refused("kubelet").writes("pids.max", "many\n", Errno::EINVAL).exits(0);
    assert_eq!(again.only().attempt_count, 2);
    let other = refused("kubelet").writes("pids.max", "many\n", Errno::ERANGE).exits(0);
    assert_eq!(other.play.findings.len(), 2);
    let other = refused("kubelet").writes("pids.max", "more\n", Errno::EINVAL).exits(0);
    assert_eq!(other.play.findings.len(), 2);
    let many = Scene::new(V2, "kubelet").writes("cgroup.procs", "5\n", Errno::EBUSY);
    assert_eq!(many.writes("cgroup.procs", "6\n", Errno::EBUSY).exits(0).only().attempt_count, 2);
    let elsewhere = refused("kubelet").writes("cgroup.max.depth", "many\n", Errno::EINVAL).exits(0);
    assert_eq!(elsewhere.play.findings.len(), 2);
}

#[test]
fn an_endless_retry_is_one_finding_with_a_count() {
    let mut scene = refused("kubelet");
    for _ in 0..999 {
        scene.play.pass(Duration::from_secs(2));
        scene = scene.writes("pids.max", "many\n", Errno::EINVAL);
    }
    assert!(scene.play.findings.len() <= 5, "{}", scene.play.findings.len());
    let told = scene.play.tracker.finish(BootTime(scene.play.now));
    let last = told.last().or(scene.play.findings.last()).map(|finding| finding.attempt_count);
    assert_eq!(last, Some(1_000));
}

#[test]
fn who_still_runs_is_told_of_after_two_seconds() {
    let mut scene = refused("kubelet");
    scene.play.pass(Duration::from_millis(1_900));
    assert!(scene.is_silent());
    scene.play.pass(Duration::from_millis(200));
    assert_eq!(scene.only().severity, Severity::Undetermined);
    assert!(scene.only().summary.ends_with("; it is still running"), "{}", scene.only().summary);
}

#[test]
fn a_refused_write_makes_no_removal_of_what_the_same_process_opens_later() {
    let mut scene = refused("runc create --bundle /b web").removed();
    let attempt = scene.call(Syscall::Openat, Errno::ENOENT, "");
    scene.play.feed(Input::Attempt(attempt));
    let scene = scene.exits(1);
    assert_eq!(scene.only().kind.as_str(), "refused-limit", "it had not tried to remove it");
}

#[test]
fn what_is_read_of_another_cgroup_or_file_says_nothing() {
    let told = |change: fn(&mut Circumstances)| {
        let scene = Scene::new(V2, "sh -c true").writes("cgroup.subtree_control", "+cpu", Errno::ENOENT);
        let scene = scene.read(|said| {
            said.on_v1 = vec!["cpu".to_owned()];
            change(said);
        });
        scene.exits(0).said().0
    };
    assert_eq!(told(|_| {}), "bound-to-v1");
    assert_eq!(told(|said| said.file = Some("cgroup.type".into())), "controller-missing");
    assert_eq!(told(|said| said.levels[0].id = Some(CgroupId(8))), "controller-missing");
    assert_eq!(told(|said| said.pid = Pid(5)), "controller-missing");
}
