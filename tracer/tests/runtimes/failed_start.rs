//! Containers that do not start: the runtime fails for a reason of its own, and clears up.

use serde_json::{Value, json};

use crate::support::Agent;
use crate::{Container, PRIVATE_V2, WITHOUT_UNIFIED};

/// What keeps a container from starting.
struct Obstacle {
    name: &'static str,
    /// Where in the bundle's configuration, and what stands there.
    set: (&'static str, fn() -> Value),
}

const OBSTACLES: [Obstacle; 4] = [
    Obstacle { name: "no-such-command", set: ("/process/args", || json!(["/typo"])) },
    Obstacle { name: "failing-hook", set: ("/hooks", || json!({ "prestart": [{ "path": "/bin/false" }] })) },
    // The private cgroup2 has no such controller; v1 has it, and the container starts.
    Obstacle { name: "missing-controller", set: ("/linux/resources", || json!({ "pids": { "limit": 50 } })) },
    Obstacle { name: "no-terminal", set: ("/process/terminal", || json!(true)) },
];

/// Tries each obstacle. Returns the findings of the containers, by obstacle.
fn failed_starts(runtime: &'static str, layout: &str, before: &str) -> Vec<(&'static str, Vec<Value>)> {
    let agent = Agent::start(&["--benign"]);
    let mut containers = Vec::new();
    for obstacle in &OBSTACLES {
        let name = format!("{}-{layout}", obstacle.name);
        let container = Container::new(runtime, &name, &["/bin/sh", "-c", "exit 0"]);
        let (pointer, value) = obstacle.set;
        container.bundle.set(pointer, value()).unwrap();
        // The shell outlives the runtime, as an engine does: what was left behind can be looked for.
        let script = "if rt run \"$id\"; then status=0; else status=$?; fi; sleep 0.3; exit $status";
        let done = container.script(before, script).output().unwrap();
        let is_to_fail = layout == "cgroup2" || obstacle.name != "missing-controller";
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.success(), !is_to_fail, "{runtime}, {name}: {said}");
        println!("{runtime}, {name}: {} {}", done.status, said.trim());
        containers.push((obstacle.name, container));
    }
    // A removal that failed is told within two seconds, and what is not told by the end is told at the end.
    let lines = agent.finish();
    for (_, container) in &containers {
        // Some runtimes leave a cgroup behind when they cannot set a limit.
        let done = container.script(before, "rt delete --force \"$id\" || true").output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let of = |container: &Container| container.lines(&lines, "finding").into_iter().cloned().collect();
    containers.iter().map(|(name, container)| (*name, of(container))).collect()
}

fn is_no_fault(findings: &[(&str, Vec<Value>)]) {
    for (obstacle, findings) in findings {
        // crun leaves a cgroup when it cannot set a limit, which is told where this takes long enough: it is so.
        let is_fault = |finding: &&Value| finding["severity"] == "fault" && finding["kind"] != "leaked-cgroup";
        let faults: Vec<&Value> = findings.iter().filter(is_fault).collect();
        assert!(faults.is_empty(), "{obstacle}: {faults:#?}");
    }
}

#[test]
fn runc_on_pure_cgroup2_clears_up_twice_which_hurts_nobody() {
    let findings = failed_starts("runc", "cgroup2", PRIVATE_V2);
    is_no_fault(&findings);
    for (obstacle, findings) in &findings {
        let last = findings.last().unwrap_or_else(|| panic!("{obstacle}: runc tears down what is not there"));
        assert_eq!(last["severity"], "benign", "{obstacle}: {last:#?}");
        assert_eq!(last["outcome"]["state_left"], false, "{obstacle}");
        let first = last["first_failure"]["path"].as_str();
        match *obstacle {
            "missing-controller" => {
                assert!(first.is_some_and(|path| path.ends_with("/pids.max")), "{obstacle}: {last:#?}");
                assert_eq!(last["first_failure"]["errno"], "ENOENT");
                assert!(last["summary"].as_str().unwrap().contains("pids.max failed with ENOENT"));
            }
            _ => assert_eq!(first, None, "{obstacle}: nothing on cgroupfs failed first: {last:#?}"),
        }
    }
}

#[test]
fn runc_on_the_hosts_own_layout() {
    is_no_fault(&failed_starts("runc", "host", ""));
}

#[test]
fn crun_on_pure_cgroup2() {
    is_no_fault(&failed_starts("crun", "cgroup2", PRIVATE_V2));
}

#[test]
fn crun_on_the_hosts_own_layout() {
    is_no_fault(&failed_starts("crun", "host", WITHOUT_UNIFIED));
}

#[test]
fn a_rootful_start_on_a_read_only_cgroupfs_is_not_runc_4518() {
    let container = Container::new("runc", "rootful-ro", &["/bin/sh", "-c", "exit 0"]);
    let agent = Agent::start(&["--benign"]);
    let script = "if rt run \"$id\"; then exit 1; fi; sleep 0.3";
    let done = container.script(&format!("{PRIVATE_V2} -o ro"), script).output().unwrap();
    assert!(done.status.success(), "it must fail: {}", String::from_utf8_lossy(&done.stderr));
    let lines = agent.finish();
    let findings = container.lines(&lines, "finding");
    let last = findings.last().unwrap_or_else(|| panic!("it tears down what it could not make"));
    assert_eq!((&last["kind"], &last["cause"]), (&"missing-path-teardown".into(), &"read-only-mount".into()));
    assert_eq!(last["severity"], "benign", "{last:#?}");
    assert_eq!(last["certainty"], "certain", "{last:#?}");
    assert_eq!(last["known_issues"][0]["id"], "runc#2639", "the maker did not carry on");
    assert_eq!(
        (&last["first_failure"]["operation"], &last["first_failure"]["errno"]),
        (&"mkdir".into(), &"EROFS".into())
    );
}
