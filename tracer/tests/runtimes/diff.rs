//! `cgtrace diff` on traces of real runtimes: equal runs do not differ, and unequal ones do where they part.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::{CGTRACE, hierarchy, parse};
use crate::{Container, PRIVATE_V2, WITHOUT_UNIFIED};

const LIFE: &str = "rt create \"$id\"; rt start \"$id\"
    until rt state \"$id\" | grep -q '\"stopped\"'; do sleep 0.01; done
    rt delete \"$id\"";

/// Traces a script in the container's bundle.
fn trace(container: &Container, before: &str, script: &str) -> std::path::PathBuf {
    let file = container.directory.path().join("trace.jsonl");
    let job = container.script(before, script);
    let mut command = Command::new(CGTRACE);
    command.arg("record").arg("-o").arg(&file).arg("--").arg(job.get_program()).args(job.get_args());
    for (name, value) in job.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.current_dir(job.get_current_dir().unwrap()).stdin(Stdio::null()).stdout(Stdio::null());
    let done = command.output().unwrap();
    println!("{}: {}", container.id, String::from_utf8_lossy(&done.stderr).trim());
    assert!(done.status.success(), "{}", done.status);
    file
}

/// What these tests make.
const OWN: &str = "*cgtrace-diff-*";

/// Of the cgroups that match.
fn diff(cgroups: &str, good: &Path, bad: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(CGTRACE);
    command.arg("diff").args([good, bad]).args(["--cgroup", cgroups]).args(arguments);
    command.stdin(Stdio::null()).output().unwrap()
}

fn as_json(cgroups: &str, good: &Path, bad: &Path) -> Value {
    parse(&diff(cgroups, good, bad, &["--json"]).stdout).remove(0)
}

/// The same life twice.
fn twice(runtime: &'static str, layout: &str, before: &str, life: &str, cgroups: &str) {
    let again = ["one", "other"]
        .map(|run| Container::new(runtime, &format!("diff-{run}-{layout}"), &["/bin/sh", "-c", "true"]));
    let [good, bad] = again.each_ref().map(|container| trace(container, before, life));
    let told = diff(cgroups, &good, &bad, &[]);
    let text = String::from_utf8_lossy(&told.stdout);
    assert_eq!(told.status.code(), Some(0), "{text}");
    assert!(text.contains("No difference that matters: both end alike."), "{text}");
    let compared = as_json(cgroups, &good, &bad);
    assert_eq!(compared.get("first"), None, "{compared:#}");
}

#[test]
fn equal_runs_of_runc_do_not_differ() {
    twice("runc", "host", "", LIFE, OWN);
    twice("runc", "v2", PRIVATE_V2, LIFE, OWN);
}

#[test]
fn equal_runs_of_crun_do_not_differ() {
    twice("crun", "host", WITHOUT_UNIFIED, LIFE, OWN);
    twice("crun", "v2", PRIVATE_V2, LIFE, OWN);
}

#[test]
fn equal_runs_of_podman_do_not_differ() {
    let life = "for place in bin proc dev sys tmp etc run; do mkdir -p \"own/$place\"; done; cp /bin/busybox own/bin/sh
        podman --root \"$root/graph\" --runroot \"$root/run\" --storage-driver vfs --cgroup-manager cgroupfs \
        --runtime \"$(command -v runc)\" run --rm --network none --pids-limit -1 --ulimit nofile=100:100 \
        --ulimit nproc=1000:1000 --rootfs \"$PWD/own\" /bin/sh -c true; sleep 1";
    twice("podman", "v2", PRIVATE_V2, life, "*libpod*");
}

#[test]
fn equal_runs_that_fail_alike_do_not_differ() {
    let life = "rt --rootless=true run --keep \"$id\"; rt delete \"$id\"";
    twice("runc", "read-only", &format!("{PRIVATE_V2} -o ro"), life, OWN);
}

#[test]
fn two_runtimes_are_compared_by_what_they_were_asked() {
    let [good, bad] = ["runc", "crun"].map(|runtime| {
        let container = Container::new(runtime, "diff-compared", &["/bin/sh", "-c", "true"]);
        let file = trace(&container, PRIVATE_V2, LIFE);
        (container, file)
    });
    let compared = as_json(OWN, &good.1, &bad.1);
    assert_eq!(compared["differs"], false, "{compared:#}");
    let first = &compared["first"];
    assert!(first["who"].as_str().unwrap().starts_with("runc create or crun create"), "{first:#}");
}

#[test]
fn a_cgroup_that_is_left_is_told_with_the_call_that_failed() {
    // A stranger sits in the cgroup as it is deleted.
    let stranger = "sleep 600 & stranger=$!; echo $stranger > \"/sys/fs/cgroup/$id/cgroup.procs\"";
    let [good, bad] = [("diff-whole", ""), ("diff-left", stranger)].map(|(name, between)| {
        let container = Container::new("runc", name, &["/bin/sh", "-c", "true"]);
        let life = LIFE.replace("rt delete", &format!("{between}\nrt delete"));
        let file = trace(
            &container,
            PRIVATE_V2,
            &format!("stranger=\n{life}\nsleep 2; if [ -n \"$stranger\" ]; then kill $stranger; fi"),
        );
        (container, file)
    });
    let told = diff(OWN, &good.1, &bad.1, &[]);
    let text = String::from_utf8_lossy(&told.stdout);
    assert_eq!(told.status.code(), Some(1), "{text}");
    let compared = as_json(OWN, &good.1, &bad.1);
    // That the stranger was moved into it comes before what follows from it.
    assert_eq!((&compared["first"]["who"], &compared["first"]["bad"]["what"]), (&"sh".into(), &"attached".into()));
    let others = compared["others"].as_array().unwrap();
    let [refused] = others.as_slice() else { panic!("{compared:#}") };
    assert_eq!((&refused["who"], &refused["good"]["what"]), (&"runc delete".into(), &"removed".into()), "{compared:#}");
    assert_eq!((&refused["bad"]["what"], &refused["bad"]["errno"]), (&"rmdir".into(), &"EBUSY".into()), "{compared:#}");
    let left = format!("cgroup /{} is left at the end of the trace", bad.0.id);
    assert!(compared["only_in_bad"].as_array().unwrap().contains(&left.as_str().into()), "{compared:#}");
    let (_, cgroup2) = hierarchy(None).unwrap();
    std::fs::remove_dir(cgroup2.join(&bad.0.id)).unwrap();
}
