//! Real runtimes that tear down a container whose cgroup is in use.

use serde_json::Value;

use crate::support::{Agent, of_type};
use crate::{Container, PRIVATE_V2, WITHOUT_UNIFIED};

/// Every cgroup of the container, and no directory that a runtime makes where it takes a tmpfs for cgroupfs.
const FIND: &str = r#"cgroups() { find /sys/fs/cgroup -path "*$id*" -name cgroup.procs \( -fstype cgroup -o -fstype \
    cgroup2 \) -printf '%h\n'; }"#;
const STOPPED: &str = r#"until rt state "$id" | grep -q '"stopped"'; do sleep 0.01; done"#;

/// What was told of a container, and what was left of it.
struct Told {
    findings: Vec<Value>,
    status: Option<i32>,
    is_left: bool,
}

/// Plays a script with a container that was created; what it leaves is removed.
fn play(runtime: &'static str, name: &str, before: &str, script: &str) -> Told {
    let container = Container::new(runtime, name, &["/bin/sh", "-c", "exit 0"]);
    let agent = Agent::start(&["--benign"]);
    let script = format!(
        "{FIND}; rt create \"$id\"
        {script}
        sleep 3; cgroups | grep -q . && echo left
        for cgroup in $(cgroups | sort -r); do rmdir \"$cgroup\" || true; done; exit $status"
    );
    let done = container.script(before, &script).output().unwrap();
    println!("{runtime}, {name}: {} {}", done.status, String::from_utf8_lossy(&done.stderr).trim());
    let lines = agent.finish();
    for finding in of_type(&lines, "finding") {
        println!("{} {} {}", finding["revision"], finding["severity"], finding["summary"]);
    }
    Told {
        findings: container.lines(&lines, "finding").into_iter().cloned().collect(),
        status: done.status.code(),
        is_left: done.stdout.ends_with(b"left\n"),
    }
}

/// A stranger sits in the container's cgroups when it is deleted.
const STRANGER: &str = r#"sleep 600 & stranger=$!
    for cgroup in $(cgroups); do echo $stranger > "$cgroup/cgroup.procs"; done
    sleep 0.1; rt kill "$id" KILL; "#;
const DELETE: &str =
    "status=0; rt delete \"$id\" || status=$?; sleep 1.5; kill $stranger || true; wait $stranger || true;";

/// crun removes what it has removed before, if it was refused first: a duplicate that hurts nobody.
fn is_torn_down(told: &Told, what: &str) {
    assert_eq!((told.status, told.is_left), (Some(0), false), "{what}");
    let is_benign = |finding: &Value| finding["kind"] == "duplicate-teardown" && finding["severity"] == "benign";
    assert!(told.findings.iter().all(is_benign), "{what}: {:#?}", told.findings);
}

fn of_a_stranger(told: &Told, severity: &str) {
    let first = told.findings.first().unwrap_or_else(|| panic!("nothing was told, status {:?}", told.status));
    assert_eq!((&first["kind"], &first["cause"]), (&"busy-teardown".into(), &"live-processes".into()), "{first:#}");
    assert_eq!((&first["severity"], &first["certainty"]), (&severity.into(), &"certain".into()), "{first:#}");
    assert!(first["summary"].as_str().unwrap().contains("which was in use: sleep["), "{first:#}");
    assert!(told.findings.iter().all(|finding| finding["id"] == first["id"]), "{:#?}", told.findings);
}

#[test]
fn runc_leaves_a_cgroup_of_cgroup2_that_a_stranger_sits_in_and_says_nothing() {
    let told = play("runc", "stranger-cgroup2", PRIVATE_V2, &format!("{STRANGER}{STOPPED}; {DELETE} sleep 20;"));
    assert_eq!((told.status, told.is_left), (Some(0), true));
    of_a_stranger(&told, "fault");
}

#[test]
fn runc_fails_on_v1_when_a_stranger_sits_in_it() {
    let told = play("runc", "stranger-host", "", &format!("{STRANGER}{STOPPED}; {DELETE}"));
    assert!(told.is_left);
    of_a_stranger(&told, "fault");
}

#[test]
fn crun_kills_a_stranger_and_there_is_nothing_to_tell() {
    for (layout, before) in [("cgroup2", PRIVATE_V2), ("host", WITHOUT_UNIFIED)] {
        let told = play("crun", &format!("stranger-{layout}"), before, &format!("{STRANGER}{STOPPED}; {DELETE}"));
        is_torn_down(&told, layout);
    }
}

#[test]
fn containers_that_are_deleted_while_they_run_or_have_cgroups_in_theirs_are_torn_down() {
    for (runtime, layout, before) in [
        ("runc", "cgroup2", PRIVATE_V2),
        ("crun", "cgroup2", PRIVATE_V2),
        ("runc", "host", ""),
        ("crun", "host", WITHOUT_UNIFIED),
    ] {
        let forced = "status=0; rt delete --force \"$id\" || status=$?;";
        let nested = format!("for cgroup in $(cgroups); do mkdir -p \"$cgroup/a/b\" \"$cgroup/c\"; done; {forced}");
        for (name, script) in [("forced", forced), ("nested", nested.as_str())] {
            let told = play(runtime, &format!("{name}-{layout}"), before, script);
            is_torn_down(&told, &format!("{runtime} {layout} {name}"));
        }
    }
}
