//! Files of controllers that are not there, and what is told of that.

use crate::errno::Errno;
use crate::findings::{Certainty, Severity};
use crate::input::Circumstances;
use crate::rules::refusal::tests::{Scene, V1, V2, words};

const MASK: &str = "; the error comes from O_CREAT, because no file can be made there, and not from a missing right";

fn missing(hierarchy: u32, file: &'static str, errno: Errno, change: fn(&mut Circumstances)) -> Scene {
    let scene = Scene::new(hierarchy, "runc create --bundle /b web").opens(file, errno).read(|said| {
        said.file_exists = Some(false);
        change(said);
    });
    scene.exits(1)
}

#[test]
fn where_the_chain_breaks_or_who_has_the_controller_is_told() {
    let check = |hierarchy, file, change: fn(&mut Circumstances), cause: &'static str, why: &str| {
        let scene = missing(hierarchy, file, Errno::EACCES, change);
        let sentence =
            format!("open {file} of the cgroup of container web, which it does not have: {why}{MASK} (EACCES)");
        assert_eq!(scene.said(), (cause, Certainty::Certain, sentence.as_str()), "{:?}", scene.only().because);
        assert_eq!((scene.only().kind.as_str(), scene.only().severity), ("missing-controller", Severity::Fault));
    };
    check(
        V2,
        "cpu.max",
        |said| {
            said.levels[1].controllers = words("cpu memory");
            said.levels[1].subtree_control = words("memory");
            said.levels[2].controllers = words("cpu memory");
            said.levels[2].subtree_control = words("cpu memory");
        },
        "not-enabled",
        "the cgroup around it, /a, has cpu and does not hand it on in its cgroup.subtree_control",
    );
    check(
        V2,
        "memory.max",
        |said| said.on_v1 = vec!["memory".to_owned()],
        "bound-to-v1",
        "a hierarchy of cgroup v1 has the controller memory",
    );
    check(V2, "pids.max", |_| {}, "not-in-kernel", "this kernel has no controller pids, or it is disabled");
    check(
        V2,
        "memory.oom.group",
        |said| said.levels[0].controllers = words("memory"),
        "not-in-kernel",
        "the cgroup has the controller memory, but this kernel has no such file of it",
    );
    check(V2, "memory.limit_in_bytes", |_| {}, "other-version", "it is a file of cgroup v1, and this is one of v2");
    check(V1, "memory.max", |_| {}, "other-version", "it is a file of cgroup v2, and this is one of v1");
    check(V1, "memory.memsw.limit_in_bytes", |_| {}, "not-in-kernel", "this kernel does not have it");
}

#[test]
fn enoent_is_no_mask() {
    let scene = missing(V2, "pids.max", Errno::ENOENT, |_| {});
    assert!(
        scene.said().2.ends_with("this kernel has no controller pids, or it is disabled (ENOENT)"),
        "{}",
        scene.said().2
    );
}

#[test]
fn a_file_that_was_not_there_is_told_of_without_a_look_as_far_as_is_known() {
    let scene = Scene::new(V2, "runc create --bundle /b web").opens_with(1, "pids.max", Errno::ENOENT).exits(1);
    let sentence =
        "open pids.max of the cgroup of container web, which it does not have: it has no controller pids (ENOENT)";
    assert_eq!(scene.said(), ("not-enabled", Certainty::Degraded, sentence));
}

#[test]
fn a_missing_right_is_not_taken_for_a_missing_file() {
    // The file is there, so that EACCES means what it says.
    let scene = Scene::new(V2, "runc create --bundle /b web").opens("pids.max", Errno::EACCES);
    assert!(scene.read(|said| said.file_exists = Some(true)).exits(1).is_silent());
    // Nobody could look.
    assert!(Scene::new(V2, "runc create --bundle /b web").opens("pids.max", Errno::EACCES).exits(1).is_silent());
    // Without O_CREAT the kernel tells a missing file by its name.
    let scene = Scene::new(V2, "runc create --bundle /b web").opens_with(1, "pids.max", Errno::EACCES);
    assert!(scene.read(|said| said.file_exists = Some(false)).exits(1).is_silent());
}

#[test]
fn a_look_and_a_file_that_every_cgroup_has_are_none_of_it() {
    let silent = |flags, file| {
        let scene = Scene::new(V2, "runc create --bundle /b web").opens_with(flags, file, Errno::ENOENT);
        scene.read(|said| said.file_exists = Some(false)).exits(1).is_silent()
    };
    assert!(silent(0, "memory.events") && silent(1, "cgroup.kill"));
    assert!(silent(1, "io.bfq.weight") && !silent(1, "io.weight"));
    let gone = Scene::new(V2, "runc create --bundle /b web").removed().opens("pids.max", Errno::ENOENT);
    assert!(gone.exits(1).is_silent(), "the cgroup is not there at all");
}
