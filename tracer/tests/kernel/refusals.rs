//! Calls on control files that the kernel refuses, and what is told of each: played on this host's own cgroupfs.

use std::process::Command;

use serde_json::Value;

use crate::support::{Agent, Scratch, c_path, fork, of_type, rmdir};

const LIMIT: &str = "refused-limit";

/// What is told of some steps, each a shell of its own in the directory of the scratch cgroup, in the last words of
/// each story: the kind, the cause, and the sentence from `could not` on. A step that begins with `!` is refused: what
/// comes next waits until it was read what the cgroup was like. `$s` is a process that does nothing.
fn told(scratch: &Scratch, steps: &[&str]) -> Vec<(String, String, String)> {
    let agent = Agent::start(&["--benign"]);
    let mut idle = Command::new("sleep").arg("1000").spawn().unwrap();
    for step in steps {
        let (script, is_refused) = step.strip_prefix('!').map_or((*step, false), |script| (script, true));
        // Who was refused stays until it was read what the cgroup was like.
        let held = if is_refused { "; x=$?; read line; exit $x" } else { "" };
        let script = format!("s={}; e() {{ printf '%s\\n' \"$1\" > \"$2\"; }}; {script}{held}", idle.id());
        let mut shell = Command::new("sh")
            .args(["-c", &script])
            .current_dir(&scratch.path)
            .stdin(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let pid = shell.id();
        if is_refused {
            agent.wait_for(step, |line| line["about"] == "circumstances" && line["pid"] == pid);
        }
        drop(shell.stdin.take());
        assert_eq!(shell.wait().unwrap().success(), !is_refused, "{step}");
        if script.contains("kill -9 $s") {
            idle.wait().unwrap();
        }
    }
    let _ = idle.kill();
    idle.wait().unwrap();
    // What comes behind it comes after all of it.
    let last = c_path(scratch.path.join("last"));
    assert_eq!(fork(|| i32::from(rmdir(&last) != libc::ENOENT)).wait(), 0);
    agent.wait_for("the last attempt", |line| line["type"] == "attempt" && line["path"] == last.to_str().unwrap());
    let lines = agent.finish();
    let mut last: Vec<&Value> = Vec::new();
    let is_one = |line: &&Value| scratch.has(line) && line["summary"].as_str().unwrap().contains(" could not ");
    for finding in of_type(&lines, "finding").into_iter().filter(is_one) {
        last.retain(|known| known["id"] != finding["id"]);
        last.push(finding);
    }
    last.sort_by_key(|finding| finding["at"].as_u64());
    last.into_iter()
        .map(|finding| {
            let summary = finding["summary"].as_str().unwrap();
            let (_, sentence) = summary.split_once(" could not ").unwrap();
            let (sentence, _) = sentence.rsplit_once("; ").unwrap();
            let sentence = sentence.replace(&scratch.cgroup, "/S");
            (finding["kind"].as_str().unwrap().to_owned(), finding["cause"].as_str().unwrap().to_owned(), sentence)
        })
        .collect()
}

/// Each row: kind, cause, and what the sentence holds.
fn check(told: &[(String, String, String)], expected: &[(&str, &str, &str)]) {
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for ((kind, cause, sentence), (is_kind, is_cause, holds)) in told.iter().zip(expected) {
        assert_eq!((kind.as_str(), cause.as_str()), (*is_kind, *is_cause), "{sentence}");
        assert!(sentence.contains(holds), "{sentence}");
    }
}

/// cgroup2 has hugetlb, and v1 has pids.
#[test]
fn on_cgroup2_beside_v1_each_refusal_has_its_culprit() {
    let scratch = Scratch::new();
    let steps = [
        "e +hugetlb ../cgroup.subtree_control; mkdir a b",
        "!e +hugetlb a/cgroup.subtree_control",
        "!e +pids cgroup.subtree_control",
        "!e +nothing cgroup.subtree_control",
        "e $s cgroup.procs",
        "!e +hugetlb cgroup.subtree_control",
        "e $s ../cgroup.procs; e +hugetlb cgroup.subtree_control",
        "!e $s cgroup.procs",
        "e +hugetlb a/cgroup.subtree_control",
        "!e -hugetlb cgroup.subtree_control",
        "!e threaded a/cgroup.type",
        "e -hugetlb a/cgroup.subtree_control; e -hugetlb cgroup.subtree_control; e threaded a/cgroup.type",
        "!e $s b/cgroup.procs",
        "!e +hugetlb cgroup.subtree_control",
        "kill -9 $s",
        "!e $s cgroup.procs",
        "!e many cgroup.max.depth",
        "!e 1 b/hugetlb.2MB.max",
        "!e 1 b/pids.max",
        "!e 1 b/memory.limit_in_bytes",
    ];
    let (attach, control) = ("refused-attach", "refused-control");
    let (limit, missing) = (LIMIT, "missing-controller");
    check(
        &told(&scratch, &steps),
        &[
            (control, "controller-missing", "/S/a: the cgroup around it, /S, has hugetlb and does not hand it on"),
            (
                control,
                "bound-to-v1",
                "enable pids for the cgroups in cgroup /S: a hierarchy of cgroup v1 has pids (ENOENT)",
            ),
            (control, "controller-missing", "this kernel has no controller nothing, or it is disabled (EINVAL)"),
            (control, "processes-inside", "is in it (EBUSY)"),
            (attach, "inner-processes", "into cgroup /S: controllers (hugetlb) are enabled for the cgroups in it"),
            (control, "child-uses-it", "disable hugetlb for the cgroups in cgroup /S: /S/a hands it on (EBUSY)"),
            (
                control,
                "threaded",
                "make cgroup /S/a \"threaded\": it hands on hugetlb, which a threaded cgroup cannot have",
            ),
            (attach, "threaded", "its type is `domain invalid`, below /S, which has threaded cgroups in it"),
            (
                control,
                "threaded",
                "/S/a in it is threaded, so that it can hand on threaded controllers only (EOPNOTSUPP)",
            ),
            (attach, "process-gone", "there is no such process (ESRCH)"),
            (
                limit,
                "invalid-value",
                "set cgroup.max.depth of cgroup /S to \"many\": the file does not take that (EINVAL)",
            ),
            (missing, "not-enabled", "the cgroup around it, /S, has hugetlb and does not hand it on"),
            (missing, "bound-to-v1", "the controller pids; the error comes from O_CREAT"),
            (missing, "other-version", "it is a file of cgroup v1, and this is one of v2"),
        ],
    );
}

#[test]
fn on_v1_cpuset_each_refusal_has_its_culprit() {
    let cpuset = Scratch::on_v1("cpuset");
    let steps = [
        "mkdir a b; e 0 cpuset.cpus; e 0 cpuset.mems",
        "!e 0-1 a/cpuset.cpus",
        "!e $$ a/tasks",
        "e 0 a/cpuset.cpus",
        "!e 1 a/cpuset.cpu_exclusive",
        "!e x a/cpuset.mems",
    ];
    let (attach, limit) = ("refused-attach", LIMIT);
    check(
        &told(&cpuset, &steps),
        &[
            (limit, "not-a-subset", "set cpuset.cpus of cgroup /S/a to \"0-1\": /S around it has only 0 (EACCES)"),
            (attach, "cpuset-empty", "into cgroup /S/a: its cpuset.cpus and cpuset.mems are empty (ENOSPC)"),
            (limit, "not-a-subset", "/S around it does not have its own for itself alone (EACCES)"),
            (limit, "unknown", "set cpuset.mems of cgroup /S/a to \"x\": why is not known (EINVAL)"),
        ],
    );
}

#[test]
fn on_v1_memory_each_refusal_has_its_culprit() {
    let memory = Scratch::on_v1("memory");
    let steps = [
        "e 100M memory.limit_in_bytes",
        "!e 10M memory.memsw.limit_in_bytes",
        "!e much memory.limit_in_bytes",
        "!e 1 memory.max",
    ];
    check(
        &told(&memory, &steps),
        &[
            (LIMIT, "invalid-value", "memory.limit_in_bytes of the same cgroup was 104857600 (EINVAL)"),
            (LIMIT, "invalid-value", "to \"much\": the file does not take that (EINVAL)"),
            ("missing-controller", "other-version", "it is a file of cgroup v2, and this is one of v1"),
        ],
    );
}

#[test]
fn on_v1_blkio_and_devices_each_refusal_has_its_culprit() {
    let blkio = Scratch::on_v1("blkio");
    check(
        &told(&blkio, &["!e '250:77 1000' blkio.throttle.read_bps_device"]),
        &[(LIMIT, "device", "there is no such device (ENODEV)")],
    );
    let devices = Scratch::on_v1("devices");
    check(
        &told(&devices, &["e a devices.deny; mkdir a", "!e 'c 1:3 rwm' a/devices.allow"]),
        &[(LIMIT, "not-a-subset", "the cgroup around it does not allow that device (EPERM)")],
    );
}

#[test]
fn a_user_is_told_which_cgroup_around_both_belongs_to_whom() {
    let scratch = Scratch::new();
    let steps = [
        "mkdir own own/a other; chown -R 65534 own; e $s other/cgroup.procs",
        "!exec setpriv --reuid 65534 --clear-groups sh -c \"printf '%s\\n' $s > own/a/cgroup.procs; read line; exit \
         1\"",
    ];
    check(
        &told(&scratch, &steps),
        &[(
            "refused-attach",
            "not-delegated",
            "cgroup.procs of /S, the cgroup around both it and /S/other where the process was; that belongs to user 0, \
             and user 65534 may not (EACCES)",
        )],
    );
}
