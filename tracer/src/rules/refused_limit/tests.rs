//! Limits that are refused, and what is told of that.

use super::{is_subset, overlaps, parse};
use crate::errno::Errno;
use crate::findings::Certainty;
use crate::input::Circumstances;
use crate::rules::refusal::tests::{Scene, V1, V2, file_value};

fn limit(
    hierarchy: u32,
    file: &'static str,
    value: &str,
    errno: Errno,
    change: fn(&mut Circumstances),
) -> (&'static str, Certainty, String) {
    let scene = Scene::new(hierarchy, "sh -c true").writes(file, value, errno).read(change).exits(1);
    assert_eq!(scene.only().kind.as_str(), "refused-limit");
    let (cause, certainty, sentence) = scene.said();
    let why = sentence.strip_prefix(&format!("set {file} of cgroup /a/web to \"{value}\": ")).expect("what was set");
    (cause, certainty, why.to_owned())
}

#[test]
fn the_limit_above_and_the_sibling_are_named() {
    let told = limit(V1, "cpuset.cpus", "0-3", Errno::EACCES, |said| {
        said.values = vec![file_value("/a", "cpuset.cpus", "0-1"), file_value("/a/web", "cpuset.cpus", "")];
    });
    assert_eq!(told, ("not-a-subset", Certainty::Certain, "/a around it has only 0-1 (EACCES)".into()));
    let told = limit(V1, "cpuset.cpus", "0-1", Errno::EINVAL, |said| {
        said.values = vec![
            file_value("/a", "cpuset.cpus", "0-3"),
            file_value("/a/db", "cpuset.cpus", "1"),
            file_value("/a/db", "cpuset.cpu_exclusive", "1"),
        ];
    });
    assert_eq!(told, ("not-a-subset", Certainty::Certain, "/a/db beside it has 1 for itself alone (EINVAL)".into()));
    let told = limit(V2, "cpuset.cpus.exclusive", "0", Errno::EINVAL, |said| {
        said.values = vec![file_value("/a/db", "cpuset.cpus", ""), file_value("/a/db", "cpuset.cpus.exclusive", "0")];
    });
    assert_eq!(told, ("not-a-subset", Certainty::Certain, "/a/db beside it has 0 for itself alone (EINVAL)".into()));
    let told = limit(V1, "cpuset.cpu_exclusive", "1", Errno::EACCES, |said| {
        said.values = vec![
            file_value("/a", "cpuset.cpu_exclusive", "0"),
            file_value("/a", "cpuset.cpus", "0-3"),
            file_value("/a/web", "cpuset.cpus", "0"),
        ];
    });
    let why = "/a around it does not have its own for itself alone (EACCES)".to_owned();
    assert_eq!(told, ("not-a-subset", Certainty::Certain, why));
    let told = limit(V1, "cpu.cfs_quota_us", "100000", Errno::EINVAL, |said| {
        said.values = vec![file_value("/a", "cpu.cfs_quota_us", "50000")];
    });
    assert_eq!(told, ("not-a-subset", Certainty::Certain, "/a around it has cpu.cfs_quota_us 50000 (EINVAL)".into()));
}

#[test]
fn on_v1_a_cgroup_in_it_keeps_what_it_has() {
    let inside = |said: &mut Circumstances| {
        said.values = vec![
            file_value("/a", "cpuset.cpus", "0-3"),
            file_value("/a/web", "cpuset.cpus", "0-1"),
            file_value("/a/web/x", "cpuset.cpus", "1"),
            file_value("/a/web/x", "cpuset.cpu_exclusive", "1"),
            file_value("/a/web/y", "cpuset.cpus", "0"),
            file_value("/a/web/y", "cpuset.cpu_exclusive", "0"),
        ];
    };
    let told = limit(V1, "cpuset.cpus", "0", Errno::EBUSY, inside);
    assert_eq!(told, ("not-a-subset", Certainty::Certain, "/a/web/x in it has 1 (EBUSY)".into()));
    let told = limit(V1, "cpuset.cpu_exclusive", "0", Errno::EBUSY, inside);
    let why = "/a/web/x in it has its own for itself alone (EBUSY)".to_owned();
    assert_eq!(told, ("not-a-subset", Certainty::Certain, why));
    let told = limit(V1, "cpuset.cpus", "0", Errno::EBUSY, |said| said.values.clear());
    assert_eq!(told.2, "a cgroup in it has more than that (EBUSY)");
    // What is in it is not beside it.
    assert_eq!(limit(V1, "cpuset.cpus", "1", Errno::EINVAL, inside).0, "unknown");
}

#[test]
fn on_v2_what_the_kernel_cannot_have_and_what_it_says_of_a_partition_is_told() {
    let told = limit(V2, "cpuset.mems", "0,7", Errno::EINVAL, |said| said.possible = Some("0-3".into()));
    assert_eq!(told, ("not-a-subset", Certainty::Certain, "this kernel can have only 0-3 (EINVAL)".into()));
    let within = limit(V2, "cpuset.cpus", "0,3", Errno::EINVAL, |said| said.possible = Some("0-3".into()));
    assert_eq!(within.0, "unknown");
    // There the cgroup around it decides.
    assert_eq!(limit(V1, "cpuset.mems", "7", Errno::EINVAL, |said| said.possible = Some("0".into())).0, "unknown");
    let told = limit(V2, "cpuset.cpus", "0", Errno::EINVAL, |said| {
        said.values =
            vec![file_value("/a/web", "cpuset.cpus.partition", "root invalid (Parent is not a partition root)")];
    });
    let why = "why is not known; its cpuset.cpus.partition says \"root invalid (Parent is not a partition root)\"";
    assert_eq!(told, ("unknown", Certainty::Certain, format!("{why} (EINVAL)")));
}

#[test]
fn a_value_that_no_such_file_takes_is_told_apart_from_one_that_is_refused_here() {
    let invalid = [
        (V2, "cpuset.cpus", "x"),
        (V2, "cpuset.mems", "0;1"),
        (V2, "cpuset.cpus.partition", "none"),
        (V1, "cpu.shares", "x"),
        (V1, "cpu.cfs_quota_us", "999"),
        (V1, "cpu.cfs_period_us", "1000001"),
        (V1, "freezer.state", "COLD"),
        (V2, "cgroup.freeze", "x"),
    ];
    for (hierarchy, file, value) in invalid {
        assert_eq!(limit(hierarchy, file, value, Errno::EINVAL, |_| {}).0, "invalid-value", "{file} {value}");
    }
    let unknown = [
        (V2, "cpuset.cpus", "0-7:1/2"),
        (V2, "cpuset.cpus", "all"),
        (V2, "cpuset.cpus.partition", "root"),
        (V1, "cpu.cfs_quota_us", "1000"),
        (V1, "cpu.cfs_quota_us", "-1"),
        (V1, "cpu.rt_runtime_us", "1"),
        (V1, "cpuset.sched_relax_domain_level", "99"),
    ];
    for (hierarchy, file, value) in unknown {
        assert_eq!(limit(hierarchy, file, value, Errno::EINVAL, |_| {}).0, "unknown", "{file} {value}");
    }
}

#[test]
fn each_error_has_its_cause() {
    let check = |hierarchy, file, value, errno, cause: &'static str| {
        assert_eq!(limit(hierarchy, file, value, errno, |_| {}).0, cause, "{file} {errno}");
    };
    check(V1, "memory.limit_in_bytes", "1M", Errno::EBUSY, "usage-above");
    check(V1, "memory.limit_in_bytes", "much", Errno::EINVAL, "invalid-value");
    check(V2, "pids.max", "-1", Errno::EINVAL, "invalid-value");
    check(V2, "cpu.weight", "100000", Errno::ERANGE, "invalid-value");
    check(V2, "io.max", "8:1 rbps=1", Errno::ENODEV, "device");
    check(V2, "io.bfq.weight", "10", Errno::EOPNOTSUPP, "not-supported");
    check(V2, "memory.max", "1", Errno::EPERM, "not-delegated");
    check(V1, "devices.allow", "a", Errno::EPERM, "not-a-subset");
    check(V2, "cpuset.cpus", "0", Errno::EBUSY, "unknown");
    check(V2, "cpu.max", "1 1 1", Errno::EINVAL, "invalid-value");
}

#[test]
fn two_limits_of_memory_that_are_at_odds_are_told_with_the_other_one() {
    let told = limit(V1, "memory.memsw.limit_in_bytes", "10M", Errno::EINVAL, |said| {
        said.values = vec![file_value("/a/web", "memory.limit_in_bytes", "104857600")];
    });
    let why = "memory.limit_in_bytes of the same cgroup was 104857600 (EINVAL)".to_owned();
    assert_eq!(told, ("invalid-value", Certainty::Certain, why));
}

#[test]
fn lists_are_compared_as_sets() {
    let list = |text: &str| parse(&text.into());
    assert_eq!(list("0-3,7\n"), Some(vec![(0, 3), (7, 7)]));
    assert_eq!((list("3-0"), list("x"), list("")), (None, None, Some(Vec::new())));
    let subset = |one: &str, whole: &str| is_subset(&list(one).expect("a list"), &list(whole).expect("a list"));
    assert!(subset("0-3", "0-1,2-7") && subset("", "") && subset("5", "0-4294967295"));
    assert!(!subset("0-3", "0-1,3") && !subset("4", "0-3") && !subset("0-4294967295", "0-3"));
    assert!(overlaps(&[(0, 3)], &[(3, 5)]) && !overlaps(&[(0, 2)], &[(3, 5)]));
}

#[test]
fn what_is_no_limit_and_no_refusal_is_not_told() {
    let silent = |file, errno| Scene::new(V2, "sh -c true").writes(file, "1", errno).exits(1).is_silent();
    assert!(silent("memory.pressure", Errno::EBUSY) && silent("cgroup.kill", Errno::EINVAL));
    assert!(silent("memory.max", Errno::ENOMEM) && silent("memory.max", Errno::ENODEV));
    let gone = Scene::new(V2, "sh -c true").removed().writes("io.max", "8:0 rbps=1", Errno::ENODEV);
    assert!(gone.exits(1).is_silent(), "the cgroup is gone, not the device");
}
