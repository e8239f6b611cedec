//! Calls on control files that the kernel refuses, and what is told of each: played on this host's own cgroupfs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use cgtrace::kernel::Backend;
use serde_json::Value;

use crate::support::{Agent, Scratch, c_path, fork, of_type, rmdir};
use crate::{cells, plan};

const LIMIT: &str = "refused-limit";

/// What is told of some steps, each a shell of its own in the directory of the scratch cgroup, in the last words of
/// each story: the kind, the cause, and the sentence from `could not` on. A step that begins with `!` is refused: what
/// comes next waits until it was read what the cgroup was like. One that begins with `?` is refused on a cgroup that is
/// gone, of which nothing can be read. `$s` is a process that does nothing, and `$spawn` a program in Python that makes
/// one in a cgroup. All of it is the recording of that name.
fn told(recording: &str, scratch: &Scratch, steps: &[&str]) -> Vec<(String, String, String)> {
    let agent = Agent::start(&["--benign"]);
    let mut idle = Command::new("sleep").arg("1000").spawn().unwrap();
    for step in steps {
        let script = step.trim_start_matches(['!', '?']);
        let (is_refused, is_looked_at) = (script != *step, step.starts_with('!'));
        // Who was refused stays until it was read what the cgroup was like.
        let held = if is_looked_at { "; x=$?; read line; exit $x" } else { "" };
        let script = format!("s={}; e() {{ printf '%s\\n' \"$1\" > \"$2\"; }}; {script}{held}", idle.id());
        let mut shell = Command::new("sh")
            .args(["-c", &script])
            .env("spawn", include_str!("spawn.py"))
            .current_dir(&scratch.path)
            .stdin(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let pid = shell.id();
        if is_looked_at {
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
    cells::keep(recording, scratch, &lines);
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
        "!e 2 b/cgroup.freeze",
        "!e one cgroup.procs",
        "!e 2 cgroup.procs",
    ];
    let (attach, control) = ("refused-attach", "refused-control");
    let (limit, missing) = (LIMIT, "missing-controller");
    check(
        &told("beside-v1", &scratch, &steps),
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
            (limit, "invalid-value", "set cgroup.freeze of cgroup /S/b to \"2\": the file does not take that (ERANGE)"),
            (attach, "unknown", "put process \"one\" into cgroup /S: \"one\" is no process number (EINVAL)"),
            (attach, "unknown", "put kthreadd[2] into cgroup /S: it is a thread of the kernel's own (EINVAL)"),
        ],
    );
}

/// What is told of a process that puts itself into a cgroup which was removed after it had opened the file.
fn told_of_removed(recording: &str, scratch: &Scratch) {
    let steps = ["mkdir gone", "?exec 3> gone/cgroup.procs; rmdir gone; printf 0 >&3"];
    let told = told(recording, scratch, &steps);
    // Such a write does not come to the function that trampolines look at.
    let is_seen = plan().backend != Backend::Trampoline;
    let expected = [("refused-attach", "removed", "put itself into cgroup /S/gone: rmdir[")];
    check(&told, if is_seen { &expected } else { &[] });
}

#[test]
fn who_had_removed_a_cgroup_is_named() {
    told_of_removed("removed", &Scratch::new());
}

#[test]
fn who_had_removed_a_cgroup_of_v1_is_named() {
    told_of_removed("v1-removed", &Scratch::on_v1("pids"));
}

/// As crun, newer runc and systemd start what they put into a cgroup.
#[test]
fn on_cgroup2_beside_v1_a_process_that_cannot_begin_there_is_told_with_what_is_in_the_way() {
    let scratch = Scratch::new();
    let steps = [
        "e +hugetlb ../cgroup.subtree_control; mkdir a threaded gone own; chown 65534 own own/cgroup.procs",
        "!exec /usr/bin/python3 -c \"import os; exec(os.environ['spawn'])\" own user",
        "?exec /usr/bin/python3 -c \"import os; exec(os.environ['spawn'])\" gone removed",
        "e threaded threaded/cgroup.type",
        "!exec /usr/bin/python3 -c \"import os; exec(os.environ['spawn'])\" a",
        "rmdir a threaded; e +hugetlb cgroup.subtree_control; mkdir a a/b; e +hugetlb a/cgroup.subtree_control",
        "!exec /usr/bin/python3 -c \"import os; exec(os.environ['spawn'])\" a",
    ];
    let of = |cause, holds| ("refused-attach", cause, holds);
    check(
        &told("spawn", &scratch, &steps),
        &[
            of(
                "not-delegated",
                "make a process in cgroup /S/own: that takes the right to write to cgroup.procs of /, the cgroup",
            ),
            of("removed", "make a process in cgroup /S/gone: python3["),
            of("threaded", "its type is `domain invalid`, below /S, which has threaded cgroups in it"),
            of(
                "inner-processes",
                "make a process in cgroup /S/a: controllers (hugetlb) are enabled for the cgroups in it, of which \
                 there is one; such a cgroup can have no processes of its own (EBUSY)",
            ),
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
        "!e 99999 a/cpuset.cpus",
        "e 0 a/cpuset.mems; e $s a/tasks",
        "!e '' a/cpuset.cpus",
        "!e '' cpuset.cpus",
        "!e 2 a/tasks",
    ];
    let (attach, limit) = ("refused-attach", LIMIT);
    check(
        &told("v1-cpuset", &cpuset, &steps),
        &[
            (limit, "not-a-subset", "set cpuset.cpus of cgroup /S/a to \"0-1\": /S around it has only 0 (EACCES)"),
            (attach, "cpuset-empty", "into cgroup /S/a: its cpuset.cpus and cpuset.mems are empty (ENOSPC)"),
            (limit, "not-a-subset", "/S around it does not have its own for itself alone (EACCES)"),
            (limit, "invalid-value", "set cpuset.mems of cgroup /S/a to \"x\": the file does not take that (EINVAL)"),
            (
                limit,
                "invalid-value",
                "set cpuset.cpus of cgroup /S/a to \"99999\": the file does not take that (ERANGE)",
            ),
            (
                limit,
                "not-a-subset",
                "set cpuset.cpus of cgroup /S/a to \"\": there are processes in it, which need some",
            ),
            (limit, "not-a-subset", "set cpuset.cpus of cgroup /S to \"\": /S/a in it has 0 (EBUSY)"),
            (attach, "unknown", "put kthreadd[2] into cgroup /S/a: it is a thread of the kernel's own (EINVAL)"),
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
        // What is locked in memory cannot be reclaimed, wherever there is room to swap.
        "/usr/bin/python3 -c 'import ctypes, time; ctypes.CDLL(None).mlockall(3); open(\"tasks\", \"w\").write(\"0\"); \
         all = bytearray(40 << 20); time.sleep(1000)' & until [ $(cat memory.usage_in_bytes) -gt 40000000 ]; do \
         sleep 0.05; done",
        "!e 8M memory.limit_in_bytes",
        "kill -9 $(cat tasks)",
    ];
    check(
        &told("v1-memory", &memory, &steps),
        &[
            (LIMIT, "invalid-value", "memory.limit_in_bytes of the same cgroup was 104857600 (EINVAL)"),
            (LIMIT, "invalid-value", "to \"much\": the file does not take that (EINVAL)"),
            ("missing-controller", "other-version", "it is a file of cgroup v2, and this is one of v1"),
            (LIMIT, "usage-above", "more is used than that, and could not be reclaimed: memory.usage_in_bytes was 4"),
        ],
    );
}

#[test]
fn on_v1_blkio_and_devices_each_refusal_has_its_culprit() {
    let blkio = Scratch::on_v1("blkio");
    let steps = ["!e '250:77 1000' blkio.throttle.read_bps_device", "!e much blkio.throttle.read_bps_device"];
    // A guest has no disk, and not every kernel has that scheduler.
    let has_bfq = blkio.path.join("blkio.bfq.weight_device").exists() && PathBuf::from("/sys/dev/block/7:0").exists();
    let of_bfq = ["!e '7:0 100' blkio.bfq.weight_device", "!e 5000 blkio.bfq.weight"];
    let steps: Vec<&str> = steps.into_iter().chain(of_bfq.into_iter().filter(|_| has_bfq)).collect();
    let told_of_bfq = [
        (LIMIT, "not-supported", "the kernel does not support it there (EOPNOTSUPP)"),
        (LIMIT, "invalid-value", "set blkio.bfq.weight of cgroup /S to \"5000\": the file does not take that (ERANGE)"),
    ];
    let expected = [
        (LIMIT, "device", "there is no such device (ENODEV)"),
        (LIMIT, "invalid-value", "to \"much\": the file does not take that (EINVAL)"),
    ];
    let expected: Vec<_> = expected.into_iter().chain(told_of_bfq.into_iter().filter(|_| has_bfq)).collect();
    check(&told("v1-blkio", &blkio, &steps), &expected);
    let devices = Scratch::on_v1("devices");
    let steps =
        ["e a devices.deny; mkdir a", "!e 'c 1:3 rwm' a/devices.allow", "!e x a/devices.allow", "!e a devices.allow"];
    check(
        &told("v1-devices", &devices, &steps),
        &[
            (LIMIT, "not-a-subset", "the cgroup around it does not allow that device (EPERM)"),
            (LIMIT, "invalid-value", "set devices.allow of cgroup /S/a to \"x\": the file does not take that (EINVAL)"),
            (LIMIT, "unknown", "with cgroups in it not all devices can be allowed or denied at once (EINVAL)"),
        ],
    );
}

#[test]
fn on_v1_cpu_each_refusal_has_its_culprit() {
    let cpu = Scratch::on_v1("cpu");
    let steps = [
        "mkdir a; e 10000 cpu.cfs_quota_us",
        "!e 50000 a/cpu.cfs_quota_us",
        "!e 999 cpu.cfs_quota_us",
        "!e 1000001 cpu.cfs_period_us",
        "!e many cpu.shares",
    ];
    // Of a kernel with RT_GROUP_SCHED.
    let has_budget = cpu.path.join("cpu.rt_runtime_us").exists();
    let in_real_time = ["!e 500000 a/cpu.rt_runtime_us", "chrt -f -p 1 $s", "!e $s a/cgroup.procs"];
    let steps: Vec<&str> = steps.into_iter().chain(in_real_time.into_iter().filter(|_| has_budget)).collect();
    let told_of_real_time = [
        (LIMIT, "not-a-subset", "/S around it has cpu.rt_runtime_us 0 (EINVAL)"),
        ("refused-attach", "real-time", "it is scheduled in real time, and the cgroup has no budget for that (EINVAL)"),
    ];
    let expected = [
        (LIMIT, "not-a-subset", "/S around it has cpu.cfs_quota_us 10000 (EINVAL)"),
        (LIMIT, "invalid-value", "set cpu.cfs_quota_us of cgroup /S to \"999\": the file does not take that (EINVAL)"),
        (LIMIT, "invalid-value", "to \"1000001\": the file does not take that (EINVAL)"),
        (LIMIT, "invalid-value", "set cpu.shares of cgroup /S to \"many\": the file does not take that (EINVAL)"),
    ];
    let expected: Vec<_> = expected.into_iter().chain(told_of_real_time.into_iter().filter(|_| has_budget)).collect();
    check(&told("v1-cpu", &cpu, &steps), &expected);
}

#[test]
fn on_v1_pids_and_freezer_each_refusal_has_its_culprit() {
    let pids = Scratch::on_v1("pids");
    let steps = [
        "mkdir own; chown 65534 own own/tasks",
        "!exec setpriv --reuid 65534 --clear-groups sh -c \"printf '%s\\n' $s > own/tasks; read line; exit 1\"",
        "!e one tasks",
        "!e -1 pids.max",
        "kill -9 $s",
        "!e $s tasks",
    ];
    let attach = "refused-attach";
    check(
        &told("v1-pids", &pids, &steps),
        &[
            (attach, "not-delegated", "into cgroup /S/own: user 65534 may move only processes of its own (EACCES)"),
            (attach, "unknown", "put process \"one\" into cgroup /S: \"one\" is no process number (EINVAL)"),
            (LIMIT, "invalid-value", "set pids.max of cgroup /S to \"-1\": the file does not take that (EINVAL)"),
            (attach, "process-gone", "there is no such process (ESRCH)"),
        ],
    );
    let freezer = Scratch::on_v1("freezer");
    check(
        &told("v1-freezer", &freezer, &["!e COLD freezer.state"]),
        &[(LIMIT, "invalid-value", "set freezer.state of cgroup /S to \"COLD\": the file does not take that (EINVAL)")],
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
        &told("other-user", &scratch, &steps),
        &[(
            "refused-attach",
            "not-delegated",
            "cgroup.procs of /S, the cgroup around both it and /S/other where the process was; that belongs to user 0, \
             and user 65534 may not (EACCES)",
        )],
    );
}

/// Controllers that are enabled for cgroups in the root of cgroup2, for a while.
struct Enabled {
    control: PathBuf,
    controllers: Vec<&'static str>,
}

impl Drop for Enabled {
    fn drop(&mut self) {
        for controller in &self.controllers {
            let _ = fs::write(&self.control, format!("-{controller}"));
        }
    }
}

/// A cgroup of cgroup2 that has these controllers, in a test that is about that. Such tests have `v2_alone` in their
/// names, so that a host whose controllers are in v1 hierarchies can leave them out: they fail there.
fn on_v2_alone(controllers: &[&'static str]) -> (Enabled, Scratch) {
    let scratch = Scratch::new();
    let root = scratch.path.parent().unwrap();
    let words = |file| fs::read_to_string(root.join(file)).unwrap();
    let has = |list: &str, controller: &str| list.split_ascii_whitespace().any(|own| own == controller);
    let (there, on) = (words("cgroup.controllers"), words("cgroup.subtree_control"));
    let mut enabled = Enabled { control: root.join("cgroup.subtree_control"), controllers: Vec::new() };
    for controller in controllers.iter().copied().filter(|controller| !has(&on, controller)) {
        assert!(has(&there, controller), "cgroup2 of this host has no {controller}: --skip v2_alone");
        fs::write(&enabled.control, format!("+{controller}")).unwrap();
        enabled.controllers.push(controller);
    }
    (enabled, scratch)
}

#[test]
fn on_v2_alone_each_refusal_of_a_limit_has_its_culprit() {
    let (_enabled, scratch) = on_v2_alone(&["cpu", "cpuset", "io", "memory", "pids"]);
    let steps = [
        "e '+cpu +cpuset +io +memory +pids' cgroup.subtree_control; mkdir a b",
        "!e much a/memory.max",
        "!e -1 a/memory.high",
        "!e 2 a/memory.oom.group",
        "!e -1 a/pids.max",
        "!e many a/pids.max",
        "!e 0 a/cpu.weight",
        "!e 10001 a/cpu.weight",
        "!e '10 100000' a/cpu.max",
        "!e 'some 100000' a/cpu.max",
        "e '50000 100000' a/cpu.max",
        "!e 60000 a/cpu.max.burst",
        "!e 4095 a/cpuset.cpus",
        "!e x a/cpuset.cpus",
        "!e 7 a/cpuset.mems",
        "!e none a/cpuset.cpus.partition",
        "!e '250:77 rbps=1000' a/io.max",
        "!e 'disk rbps=1000' a/io.max",
    ];
    // Since Linux 6.7.
    let has_exclusive = scratch.path.join("cpuset.cpus.exclusive").exists();
    let exclusive = ["e 0 a/cpuset.cpus.exclusive", "!e 0 b/cpuset.cpus.exclusive"];
    let steps: Vec<&str> = steps.into_iter().chain(exclusive.into_iter().filter(|_| has_exclusive)).collect();
    let invalid = [
        ("memory.max", "much", "EINVAL"),
        ("memory.high", "-1", "EINVAL"),
        ("memory.oom.group", "2", "EINVAL"),
        ("pids.max", "-1", "EINVAL"),
        ("pids.max", "many", "EINVAL"),
        ("cpu.weight", "0", "ERANGE"),
        ("cpu.weight", "10001", "ERANGE"),
        ("cpu.max", "10 100000", "EINVAL"),
        ("cpu.max", "some 100000", "EINVAL"),
        ("cpu.max.burst", "60000", "EINVAL"),
        ("cpuset.cpus", "4095", "ERANGE"),
    ];
    let invalid = invalid.map(|(file, value, errno)| {
        format!("set {file} of cgroup /S/a to \"{value}\": the file does not take that ({errno})")
    });
    let mut expected: Vec<_> = invalid.iter().map(|sentence| (LIMIT, "invalid-value", sentence.as_str())).collect();
    expected.extend([
        (LIMIT, "invalid-value", "set cpuset.cpus of cgroup /S/a to \"x\": the file does not take that (EINVAL)"),
        (LIMIT, "not-a-subset", "set cpuset.mems of cgroup /S/a to \"7\": this kernel can have only "),
        (
            LIMIT,
            "invalid-value",
            "set cpuset.cpus.partition of cgroup /S/a to \"none\": the file does not take that (EINVAL)",
        ),
        (LIMIT, "device", "set io.max of cgroup /S/a to \"250:77 rbps=1000\": there is no such device (ENODEV)"),
        (
            LIMIT,
            "invalid-value",
            "set io.max of cgroup /S/a to \"disk rbps=1000\": the file does not take that (EINVAL)",
        ),
    ]);
    let taken = "set cpuset.cpus.exclusive of cgroup /S/b to \"0\": /S/a beside it has 0 for itself alone (EINVAL)";
    expected.extend(has_exclusive.then_some((LIMIT, "not-a-subset", taken)));
    check(&told("v2-limits", &scratch, &steps), &expected);
}

#[test]
fn on_v2_alone_each_refusal_of_a_controller_and_of_a_process_has_its_culprit() {
    let (_enabled, scratch) = on_v2_alone(&["cpu", "memory", "pids"]);
    let steps = [
        "mkdir a b",
        "!e +memory a/cgroup.subtree_control",
        "!e 1M a/memory.max",
        "!e 1 a/memory.limit_in_bytes",
        "e '+memory +pids' cgroup.subtree_control",
        "e $s a/cgroup.procs",
        "!e +memory a/cgroup.subtree_control",
        "!e $s cgroup.procs",
        "!e $s cgroup.threads",
        "e +memory b/cgroup.subtree_control",
        "!e -memory cgroup.subtree_control",
        "!e threaded b/cgroup.type",
        "!e domain b/cgroup.type",
        "!e 2 a/cgroup.procs",
        "!e one a/cgroup.procs",
        "e $s ../cgroup.procs; e -memory b/cgroup.subtree_control; e -memory cgroup.subtree_control",
        "e threaded b/cgroup.type",
        "!e +memory b/cgroup.subtree_control",
        "!e +memory cgroup.subtree_control",
        "!e $s b/cgroup.threads",
        "!e $s a/cgroup.procs",
        "kill -9 $s",
        "!e $s a/cgroup.procs",
    ];
    let (attach, control, missing) = ("refused-attach", "refused-control", "missing-controller");
    check(
        &told("v2-controllers", &scratch, &steps),
        &[
            (
                control,
                "controller-missing",
                "enable memory for the cgroups in cgroup /S/a: the cgroup around it, /S, has memory and does not hand \
                 it on in its cgroup.subtree_control (ENOENT)",
            ),
            (
                missing,
                "not-enabled",
                "open memory.max of cgroup /S/a, which it does not have: the cgroup around it, /S, has memory and does \
                 not hand it on in its cgroup.subtree_control; the error comes from O_CREAT, because no file can be \
                 made there, and not from a missing right (EACCES)",
            ),
            (
                missing,
                "other-version",
                "open memory.limit_in_bytes of cgroup /S/a, which it does not have: it is a file of cgroup v1, and \
                 this is one of v2; the error comes from O_CREAT",
            ),
            (control, "processes-inside", "] is in it (EBUSY)"),
            (attach, "inner-processes", "] into cgroup /S: controllers (memory and pids) are enabled for the cgroups"),
            (attach, "inner-processes", "] into cgroup /S: controllers (memory and pids) are enabled for the cgroups"),
            (control, "child-uses-it", "disable memory for the cgroups in cgroup /S: /S/b hands it on (EBUSY)"),
            (
                control,
                "threaded",
                "make cgroup /S/b \"threaded\": it hands on memory, which a threaded cgroup cannot have (EOPNOTSUPP)",
            ),
            (control, "unknown", "make cgroup /S/b \"domain\": \"domain\" is no type that can be written (EINVAL)"),
            (attach, "unknown", "put kthreadd[2] into cgroup /S/a: it is a thread of the kernel's own (EINVAL)"),
            (attach, "unknown", "put process \"one\" into cgroup /S/a: \"one\" is no process number (EINVAL)"),
            (
                control,
                "controller-missing",
                "enable memory for the cgroups in cgroup /S/b: the cgroup around it, /S, has memory and does not hand \
                 it on in its cgroup.subtree_control (ENOENT)",
            ),
            (
                control,
                "threaded",
                "enable memory for the cgroups in cgroup /S: /S/b in it is threaded, so that it can hand on threaded \
                 controllers only (EOPNOTSUPP)",
            ),
            (
                attach,
                "threaded",
                "its type is `threaded`, below /S, which has threaded cgroups in it, and the process is of another \
                 threaded domain (EOPNOTSUPP)",
            ),
            (
                attach,
                "threaded",
                "its type is `domain invalid`, below /S, which has threaded cgroups in it: it was not made threaded, \
                 and can be no domain (EOPNOTSUPP)",
            ),
            (attach, "process-gone", " into cgroup /S/a: there is no such process (ESRCH)"),
        ],
    );
}

#[test]
fn on_v2_alone_nobody_changes_the_root_of_a_namespace_from_inside_or_moves_out_of_it() {
    let (_enabled, scratch) = on_v2_alone(&[]);
    let remount = |options: &str| {
        let options = format!("remount,{options}");
        let mount = Command::new("mount").args(["-o", &options, "/sys/fs/cgroup"]).status().unwrap();
        assert!(mount.success());
    };
    remount("nsdelegate");
    let inside =
        |script: &str| format!("!echo $$ > a/cgroup.procs; exec unshare -C sh -c '{script}; x=$?; read line; exit $x'");
    let steps = ["mkdir a b".to_owned(), inside("printf 5 > a/cgroup.max.depth"), inside("printf 0 > b/cgroup.procs")];
    let told = told("v2-namespace", &scratch, &steps.each_ref().map(String::as_str));
    remount("rw");
    check(
        &told,
        &[
            (
                LIMIT,
                "not-delegated",
                "set cgroup.max.depth of cgroup /S/a to \"5\": it may not change that there (EPERM)",
            ),
            (
                "refused-attach",
                "outside-namespace",
                "put itself into cgroup /S/b: cgroup2 is mounted with nsdelegate, and the move from /S/a to /S/b leads \
                 out of the cgroup namespace of the one that tried (ENOENT)",
            ),
        ],
    );
}
