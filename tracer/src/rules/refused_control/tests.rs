//! Controllers that cannot be enabled or disabled, and what is told of that.

use crate::errno::Errno;
use crate::findings::Certainty;
use crate::input::Circumstances;
use crate::rules::refusal::tests::{Scene, V2, file_value, occupant, words};

const CERTAIN: Certainty = Certainty::Certain;

fn control(file: &'static str, value: &str, errno: Errno, change: impl FnOnce(&mut Circumstances)) -> Scene {
    Scene::new(V2, "sh -c true").writes(file, value, errno).read(change).exits(1)
}

fn check(value: &str, errno: Errno, change: fn(&mut Circumstances), cause: &'static str, sentence: &str) {
    let scene = control("cgroup.subtree_control", value, errno, change);
    assert_eq!(scene.said(), (cause, CERTAIN, sentence), "{:?}", scene.only().because);
    assert_eq!(scene.only().kind.as_str(), "refused-control");
}

#[test]
fn the_first_cgroup_that_does_not_hand_a_controller_on_is_named() {
    check(
        "+cpu +memory\n",
        Errno::ENOENT,
        |said| {
            said.levels[0].controllers = words("cpu");
            said.levels[1].controllers = words("cpu memory");
            said.levels[1].subtree_control = words("cpu");
            said.levels[2].controllers = words("cpu memory");
            said.levels[2].subtree_control = words("cpu memory");
        },
        "controller-missing",
        "enable cpu and memory for the cgroups in cgroup /a/web: the cgroup around it, /a, has memory and does not \
         hand it on in its cgroup.subtree_control (ENOENT)",
    );
    check(
        "+memory\n",
        Errno::ENOENT,
        |said| {
            said.levels[2].controllers = words("cpu memory");
            said.levels[2].subtree_control = words("cpu");
        },
        "controller-missing",
        "enable memory for the cgroups in cgroup /a/web: /, the outermost cgroup that does not, has memory and does \
         not hand it on in its cgroup.subtree_control (ENOENT)",
    );
    check(
        "+memory\n",
        Errno::ENOENT,
        |said| said.on_v1 = vec!["memory".to_owned()],
        "bound-to-v1",
        "enable memory for the cgroups in cgroup /a/web: a hierarchy of cgroup v1 has memory (ENOENT)",
    );
    check(
        "+nothing\n",
        Errno::EINVAL,
        |_| {},
        "controller-missing",
        "enable nothing for the cgroups in cgroup /a/web: this kernel has no controller nothing, or it is disabled \
         (EINVAL)",
    );
}

#[test]
fn who_is_inside_and_which_cgroup_uses_it_is_named() {
    check(
        "+cpu",
        Errno::EBUSY,
        |said| {
            said.occupants = vec![occupant(5, "bash"), occupant(6, "sleep")];
            said.levels[0].processes = Some(2);
        },
        "processes-inside",
        "enable cpu for the cgroups in cgroup /a/web: bash[5] and sleep[6] are in it (EBUSY)",
    );
    check(
        "-cpu",
        Errno::EBUSY,
        |said| {
            said.values = vec![
                file_value("/a/web/x", "cgroup.subtree_control", "cpu pids"),
                file_value("/a/web/y", "cgroup.subtree_control", "pids"),
            ];
        },
        "child-uses-it",
        "disable cpu for the cgroups in cgroup /a/web: /a/web/x hands it on (EBUSY)",
    );
    check(
        "+memory",
        Errno::EOPNOTSUPP,
        |said| {
            said.levels[0].kind = Some("domain threaded".to_owned());
            said.values = vec![file_value("/a/web/x", "cgroup.type", "threaded")];
        },
        "threaded",
        "enable memory for the cgroups in cgroup /a/web: /a/web/x in it is threaded, so that it can hand on threaded \
         controllers only (EOPNOTSUPP)",
    );
    check(
        "+cpu",
        Errno::EINVAL,
        |said| {
            said.levels[0].controllers = words("cpu");
            said.real_time = vec![occupant(5, "jackd")];
        },
        "real-time",
        "enable cpu for the cgroups in cgroup /a/web: in it, or in a cgroup in it, is jackd[5], scheduled in real time \
         (EINVAL)",
    );
}

#[test]
fn a_type_that_cannot_be_changed_says_why() {
    let check = |change: fn(&mut Circumstances), cause: &'static str, why: &str| {
        let scene = control("cgroup.type", "threaded\n", Errno::EOPNOTSUPP, change);
        let sentence = format!("make cgroup /a/web \"threaded\": {why} (EOPNOTSUPP)");
        assert_eq!(scene.said(), (cause, CERTAIN, sentence.as_str()));
    };
    check(
        |said| {
            said.occupants = vec![occupant(5, "bash")];
            said.levels[0].processes = Some(1);
        },
        "processes-inside",
        "bash[5] is in it",
    );
    check(
        |said| said.levels[0].subtree_control = words("cpu memory"),
        "threaded",
        "it hands on memory, which a threaded cgroup cannot have",
    );
    check(|_| {}, "unknown", "it, or a cgroup in it or around it, cannot be threaded");
}

#[test]
fn what_was_read_late_or_not_at_all_makes_no_certain_claim() {
    let scene = Scene::new(V2, "sh -c true").writes("cgroup.subtree_control", "+cpu", Errno::ENOENT);
    let scene = scene.read_after(500_000_000, |said| said.on_v1 = vec!["cpu".to_owned()]).exits(1);
    assert_eq!((scene.said().0, scene.said().1), ("bound-to-v1", Certainty::Degraded));
    let scene = Scene::new(V2, "sh -c true").writes("cgroup.subtree_control", "+cpu", Errno::ENOENT).exits(1);
    let sentence = "enable cpu for the cgroups in cgroup /a/web: it does not have one of them itself (ENOENT)";
    assert_eq!(scene.said(), ("controller-missing", Certainty::Degraded, sentence));
}

#[test]
fn who_had_tried_to_enable_it_further_out_is_named() {
    let mut scene = Scene::new(V2, "sh -c true");
    scene.play.event(crate::input::Change::Existing, V2, 3, "/a", 20);
    scene = scene.writes_at("/a", 3, "+memory", Errno::EBUSY);
    let scene = scene.writes("cgroup.subtree_control", "+memory", Errno::ENOENT).read(|said| {
        said.levels[1].controllers = words("memory");
        (said.levels[2].controllers, said.levels[2].subtree_control) = (words("memory"), words("memory"));
    });
    let scene = scene.exits(1);
    let last = scene.play.findings.iter().find(|finding| finding.cause.word == "controller-missing").expect("told");
    assert!(
        last.summary.contains("(sh[21] had tried to enable it there 1.000 ms before, and got EBUSY)"),
        "{}",
        last.summary
    );
}

#[test]
fn what_is_gone_is_none_of_it() {
    let scene = Scene::new(V2, "sh -c true").removed().writes("cgroup.subtree_control", "+cpu", Errno::ENODEV);
    assert!(scene.exits(1).is_silent());
}
