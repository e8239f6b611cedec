//! Runtimes that are called otherwise, and other programs that do alike.

use std::time::Duration;

use crate::errno::Errno;
use crate::findings::{Certainty, Severity};
use crate::input::{BootTime, Exit, Input, Pid, Process, ProcessChange, Syscall};
use crate::name::Name;
use crate::rules::scene::{MAKER, REMOVER, Scene, V1, V2};

const FAILED: Exit = Exit::Code(1);
const MS: Duration = Duration::from_millis(1);
const BUSY: Errno = Errno::EBUSY;
const DELETE: &[&str] = &["/proc/self/fd/6", "--root", "/run/x", "delete", "--force", "web"];

/// A container's cgroup, and a process that is called by none of a runtime's names.
fn scene(hierarchy: u32, argv: &[&str]) -> Scene {
    Scene::new(hierarchy, "/pods/web", MAKER).runs(REMOVER, argv)
}

fn program(exe: &str, argv: Option<&[&str]>) -> Scene {
    let mut scene = Scene::new(V2, "/pods/web", MAKER);
    let argv = argv.map(|argv| argv.iter().copied().map(Name::from).collect());
    let process = Process::new(BootTime(0), Pid(REMOVER), ProcessChange::Seen, "6".into());
    scene.play.feed(Input::Process(Process { exe: Some(exe.into()), argv, ..process }));
    scene
}

fn end(scene: Scene) -> Scene {
    scene.exits(REMOVER, FAILED).then(Duration::from_secs(3))
}

/// So often the same calls, after so many milliseconds each: the tick and the call of a play take one each.
fn ladder(scene: Scene, waits: &[u64], tried: impl Fn(Scene) -> Scene) -> Scene {
    waits.iter().fold(tried(scene), |scene, wait| tried(scene.then(MS * u32::try_from(*wait - 2).expect("short"))))
}

fn rmdir(scene: Scene) -> Scene {
    scene.refused_by(Syscall::Rmdir, BUSY)
}

fn unlinkat(scene: Scene) -> Scene {
    scene.refused_by(Syscall::Unlinkat, BUSY)
}

/// What the last finding says that the program looks like, and that nothing rests on it.
fn likeness(scene: Scene) -> Option<(&'static str, String)> {
    let scene = end(scene);
    let finding = scene.play.findings.last().expect("a finding");
    assert_eq!((finding.severity, finding.certainty), (Severity::Undetermined, Certainty::Certain), "{finding:#?}");
    assert_eq!(finding.container, None);
    finding.looks_like.as_ref().map(|looks| (looks.runtime, looks.because.join("; ")))
}

fn check(scene: Scene, runtime: Option<&str>) {
    let told = likeness(scene);
    assert_eq!(told.as_ref().map(|(runtime, _)| *runtime), runtime, "{told:?}");
}

#[test]
fn a_runtime_is_recognised_by_its_arguments_and_its_calls() {
    check(unlinkat(unlinkat(scene(V2, DELETE))), Some("runc"));
    check(rmdir(rmdir(scene(V2, DELETE))), Some("crun"));
    check(unlinkat(unlinkat(program("/", Some(DELETE)))), Some("crun"));
    check(ladder(scene(V2, DELETE), &[11, 11, 22], rmdir), Some("youki"));
    check(
        ladder(scene(V1, DELETE), &[11, 12, 11, 10, 14, 11, 12, 11, 10, 11], |scene| rmdir(rmdir(scene))),
        Some("crun"),
    );
    check(ladder(scene(V2, DELETE), &[2, 4, 8, 16, 32, 64, 128, 256, 512], unlinkat), Some("runc"));
    let frozen = |scene: Scene| scene.unreadable("cgroup.freeze", Errno::ENODEV);
    check(rmdir(frozen(scene(V2, DELETE))), Some("crun"));
    let kill = &["exe", "kill", "web", "KILL"];
    check(rmdir(rmdir(scene(V2, kill))), Some("crun"));
}

#[test]
fn a_copy_of_its_program_has_its_name() {
    let exe = |name: &str| format!("/memfd:{name}_cloned:/proc/self/exe (deleted)");
    for argv in [None, Some(&["6", "init"][..])] {
        check(unlinkat(program(&exe("runc"), argv)), Some("runc"));
        check(rmdir(program(&exe("crun"), argv)), Some("crun"));
        check(rmdir(program(&exe("else"), argv)), None);
    }
}

#[test]
fn where_its_arguments_are_not_known_only_a_ladder_tells() {
    let unread = || program("/opt/x", None);
    check(ladder(unread(), &[2, 4, 8, 16, 32, 64, 128, 256], unlinkat), Some("runc"));
    check(ladder(unread(), &[11, 12, 11, 10, 14, 11, 12, 11, 10], |scene| rmdir(rmdir(scene))), Some("crun"));
    check(unlinkat(unlinkat(unread())), None);
    check(rmdir(rmdir(unread())), None);
    check(ladder(unread(), &[11, 11, 22], rmdir), None);
}

#[test]
fn other_programs_that_do_alike_are_no_runtime() {
    // A shell's loop of rmdir, and one of a script that waits.
    check(rmdir(scene(V2, &["cleanup", "web"])), None);
    check(ladder(scene(V2, &["python3", "delete", "web"]), &[11; 12], rmdir), None);
    // find -delete, and whoever removes by a name in a directory: systemd, LXC.
    check(scene(V2, &["find", "/sys/fs/cgroup/web", "-delete"]).refused_in_directory(BUSY), None);
    check(scene(V2, DELETE).refused_in_directory(BUSY), None);
    // Go's RemoveAll, whatever it was asked.
    let remove_all = |scene: Scene| unlinkat(scene).refused_in_directory(BUSY);
    for argv in [DELETE, &["shim", "-namespace", "k8s.io", "-id", "web", "delete"]] {
        check(ladder(scene(V2, argv), &[11, 22, 44, 88], remove_all), None);
    }
    // The calls of one runtime with a file of another.
    let both = program("/", Some(DELETE)).unreadable_below("pods/web/cgroup.freeze", Errno::ENODEV);
    check(unlinkat(both), None);
}

#[test]
fn the_arguments_of_another_container_or_another_program_are_no_runtimes() {
    let twice = |argv| unlinkat(unlinkat(scene(V2, argv)));
    check(twice(&["exe", "delete", "other"]), None);
    check(twice(&["exe", "list"]), None);
    check(twice(&["exe", "exec", "web", "delete"]), None);
    check(twice(&["exe", "web"]), None);
    check(twice(&["exe"]), None);
}

#[test]
fn a_hint_says_why() {
    let (runtime, because) = likeness(rmdir(rmdir(scene(V2, DELETE)))).expect("a hint");
    let expected = "its arguments are an OCI runtime's delete of the container that the cgroup is named after; it \
                    called rmdir twice at once, by the whole path";
    assert_eq!((runtime, because.as_str()), ("crun", expected));
}

#[test]
fn what_is_known_by_its_name_needs_no_hint() {
    for name in ["runc", "/usr/bin/crun-1.8", "buildkit-runc", "podman", "kubelet", "systemd"] {
        let scene = unlinkat(unlinkat(scene(V2, &[name, "delete", "web"]))).exits(REMOVER, Exit::Code(0));
        let findings = &scene.then(Duration::from_secs(3)).play.findings;
        assert!(findings.iter().all(|finding| finding.looks_like.is_none()), "{name}");
    }
}
