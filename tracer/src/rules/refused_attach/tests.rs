//! Processes that cannot be put into a cgroup, and what is told of that.

use crate::errno::Errno;
use crate::findings::{Certainty, Deed};
use crate::input::{Circumstances, OccupantState};
use crate::rules::refusal::tests::{Scene, V1, V2, file_value, moved, words};

const CERTAIN: Certainty = Certainty::Certain;

fn attach(hierarchy: u32, errno: Errno, change: impl FnOnce(&mut Circumstances)) -> Scene {
    let file = if hierarchy == V1 { "tasks" } else { "cgroup.procs" };
    Scene::new(hierarchy, "sh -c true").of_user(1000).writes(file, "99\n", errno).read(change).exits(1)
}

#[test]
fn each_error_has_its_cause_and_its_culprit() {
    let check = |hierarchy, errno, change: fn(&mut Circumstances), cause: &'static str, sentence: &str| {
        let scene = attach(hierarchy, errno, change);
        assert_eq!(scene.said(), (cause, CERTAIN, sentence), "{:?}", scene.only().because);
        assert_eq!(scene.only().kind.as_str(), "refused-attach");
    };
    check(
        V2,
        Errno::EBUSY,
        |said| {
            said.levels[0].subtree_control = words("cpu memory");
            said.children = Some(1);
            said.moved = Some(moved("nginx", "/b"));
        },
        "inner-processes",
        "put nginx[99] into cgroup /a/web: controllers (cpu and memory) are enabled for the cgroups in it, of which \
         there is one; such a cgroup can have no processes of its own (EBUSY)",
    );
    check(
        V2,
        Errno::EACCES,
        |said| said.moved = Some(moved("nginx", "/a/session")),
        "not-delegated",
        "put nginx[99] into cgroup /a/web: that takes the right to write to cgroup.procs of /a, the cgroup around both \
         it and /a/session where the process was; that belongs to user 0, and user 1000 may not (EACCES)",
    );
    check(
        V2,
        Errno::EACCES,
        |said| said.moved = Some(moved("nginx", "/b/x")),
        "not-delegated",
        "put nginx[99] into cgroup /a/web: that takes the right to write to cgroup.procs of /, the cgroup around both \
         it and /b/x where the process was; that belongs to user 0, and user 1000 may not (EACCES)",
    );
    check(
        V1,
        Errno::EACCES,
        |_| {},
        "not-delegated",
        "put process 99 into cgroup /a/web: user 1000 may move only processes of its own (EACCES)",
    );
    check(
        V2,
        Errno::EOPNOTSUPP,
        |said| {
            said.levels[0].kind = Some("domain invalid".to_owned());
            said.levels[1].kind = Some("domain threaded".to_owned());
        },
        "threaded",
        "put process 99 into cgroup /a/web: its type is `domain invalid`, below /a, which has threaded cgroups in it: \
         it was not made threaded, and can be no domain (EOPNOTSUPP)",
    );
    check(
        V2,
        Errno::ENOENT,
        |said| said.moved = Some(moved("nginx", "/b")),
        "outside-namespace",
        "put nginx[99] into cgroup /a/web: cgroup2 is mounted with nsdelegate, and the move from /b to /a/web leads \
         out of the cgroup namespace of the one that tried (ENOENT)",
    );
    check(
        V1,
        Errno::EINVAL,
        |said| {
            said.moved = Some(moved("jackd", "/"));
            said.moved.iter_mut().for_each(|moved| moved.real_time = true);
        },
        "real-time",
        "put jackd[99] into cgroup /a/web: it is scheduled in real time, and the cgroup has no budget for that \
         (EINVAL)",
    );
    check(
        V1,
        Errno::EINVAL,
        |said| {
            said.moved = Some(moved("kworker/0:1", "/"));
            said.moved.iter_mut().for_each(|moved| moved.state = Some(OccupantState::Kernel));
        },
        "unknown",
        "put kworker/0:1[99] into cgroup /a/web: it is a thread of the kernel's own (EINVAL)",
    );
    check(
        V1,
        Errno::ENOSPC,
        |said| {
            said.values = vec![file_value("/a/web", "cpuset.cpus", "0"), file_value("/a/web", "cpuset.mems", "")];
        },
        "cpuset-empty",
        "put process 99 into cgroup /a/web: its cpuset.mems is empty (ENOSPC)",
    );
}

#[test]
fn a_process_that_is_gone_or_of_another_namespace_is_told_apart_as_far_as_is_known() {
    let check = |change: fn(&mut Circumstances), why: &str| {
        let scene = attach(V2, Errno::ESRCH, change);
        assert_eq!(scene.said().2, format!("put process 99 into cgroup /a/web: {why} (ESRCH)"));
        assert_eq!(scene.said().0, "process-gone");
    };
    check(|_| {}, "there is no process of that number in the pid namespace of the one that wrote");
    check(
        |said| {
            said.moved = Some(moved("", "/"));
            said.moved.iter_mut().for_each(|moved| moved.comm = None);
        },
        "there is no such process",
    );
}

#[test]
fn a_cgroup_that_was_removed_after_it_was_opened_has_its_rival() {
    let scene = Scene::new(V2, "crun exec web x").removed().made_anew();
    let scene = scene.writes("cgroup.procs", "0", Errno::ENODEV).exits(1);
    let finding = scene.only();
    assert_eq!(finding.cause.word, "removed");
    let rival = finding.rival.as_ref().expect("a rival");
    assert_eq!(rival.operation, Deed::Rmdir);
    assert!(
        finding.summary.contains("could not put itself into the cgroup of container web: runc[20] had removed it"),
        "{}",
        finding.summary
    );
    // Of clone3, whose answer is another one.
    let scene = Scene::new(V2, "crun exec web x").removed().spawns(Errno::ENOENT).exits(1);
    assert_eq!(scene.only().cause.word, "removed");
}

#[test]
fn a_process_that_cannot_begin_in_a_cgroup_is_told_like_one_that_cannot_be_moved() {
    let scene = Scene::new(V2, "crun run web").spawns(Errno::EBUSY);
    let scene = scene.read(|said| said.levels[0].subtree_control = words("pids")).exits(1);
    let sentence = "make a process in the cgroup of container web: controllers (pids) are enabled for the cgroups in \
                    it, though there are none; such a cgroup can have no processes of its own (EBUSY)";
    assert_eq!(scene.said(), ("inner-processes", CERTAIN, sentence));
    // There are too many processes, which is no matter of this cgroup's set-up; and what clone3 refuses for itself.
    for errno in [Errno::EAGAIN, Errno::ENOMEM, Errno::EINVAL, Errno::EPERM] {
        assert!(Scene::new(V2, "crun run web").spawns(errno).exits(1).is_silent(), "{errno}");
    }
}

#[test]
fn what_was_not_read_is_not_claimed() {
    let told = |errno| {
        let scene = Scene::new(V2, "sh -c true").writes("cgroup.procs", "99", errno).exits(1);
        let (cause, certainty, sentence) = scene.said();
        (cause, certainty, sentence.to_owned())
    };
    // The error has one reason, whatever is read.
    assert_eq!(told(Errno::EBUSY).0, "inner-processes");
    assert_eq!(
        told(Errno::EINVAL),
        ("unknown", CERTAIN, "put process 99 into cgroup /a/web: why is not known (EINVAL)".into())
    );
    // Too late, it may have become so since.
    let scene = Scene::new(V1, "sh -c true").writes("tasks", "99", Errno::EINVAL);
    let scene = scene.read_after(500_000_000, |said| {
        said.moved = Some(moved("jackd", "/"));
        said.moved.iter_mut().for_each(|moved| moved.real_time = true);
    });
    assert_eq!((scene.exits(1).said().0, Certainty::Degraded), ("real-time", Certainty::Degraded));
}

#[test]
fn what_is_no_number_is_said() {
    let scene = Scene::new(V2, "sh -c true").writes("cgroup.procs", "nginx\x1b[2J\n", Errno::EINVAL).exits(1);
    let sentence = "put process \"nginx\\x1b[2J\" into cgroup /a/web: \"nginx\\x1b[2J\" is no process number (EINVAL)";
    assert_eq!(scene.said(), ("unknown", CERTAIN, sentence));
}

#[test]
fn other_files_and_errors_are_none_of_it() {
    let silent = |file, errno| Scene::new(V2, "sh -c true").writes(file, "1", errno).exits(1).is_silent();
    assert!(silent("cgroup.pressure", Errno::EINVAL) && silent("cgroup.kill", Errno::EOPNOTSUPP));
    assert!(silent("cgroup.procs", Errno::ENOMEM) && silent("memory.reclaim", Errno::EINVAL));
}
