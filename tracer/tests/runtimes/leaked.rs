//! Cgroups that real runtimes leave behind, beside containers that still have theirs.

use serde_json::{Value, json};

use crate::support::Agent;
use crate::{Container, PRIVATE_V2};

/// A stranger joins the container's cgroup before its end, and leaves it when the runtime is done.
const FOREIGN: &str = r#"
rt create "$id"
sleep 1000 & stranger=$!
echo $stranger > "/sys/fs/cgroup/$id/cgroup.procs"
rt start "$id"
until rt state "$id" | grep -q '"stopped"'; do sleep 0.01; done
rt delete "$id"
sleep 0.3
kill $stranger 2> /dev/null || true
wait $stranger || true
"#;
/// It is stopped, and stays. What is not there by another root, or by another environment, is no news of it.
const STOPPED: &str = r#"
rt create "$id"; rt start "$id"
until rt state "$id" | grep -q '"stopped"'; do sleep 0.01; done
"$runtime" --root "$root/else" delete --force "$id" || true
XDG_RUNTIME_DIR="$root/else" "$runtime" delete --force "$id" || true
sleep 0.3
"#;
const CLEAN_UP: &str = r#"
rt delete --force "$id" || true
if [ -d "/sys/fs/cgroup/$id" ]; then rmdir "/sys/fs/cgroup/$id"; fi
"#;

fn container(runtime: &'static str, name: &str) -> Container {
    Container::new(runtime, &format!("leaked-{name}"), &["/bin/sh", "-c", "exit 0"])
}

fn run(container: &Container, script: &str) {
    let done = container.script(PRIVATE_V2, script).output().unwrap();
    assert!(done.status.success(), "{}: {}", container.id, String::from_utf8_lossy(&done.stderr));
}

fn is(finding: &Value, cause: &str) {
    assert_eq!((&finding["kind"], &finding["cause"]), (&"leaked-cgroup".into(), &cause.into()), "{finding:#}");
    assert_eq!((&finding["severity"], &finding["certainty"]), (&"fault".into(), &"certain".into()), "{finding:#}");
    let outcome = &finding["outcome"];
    assert_eq!((&outcome["cgroup_left"], &outcome["state_left"]), (&true.into(), &false.into()), "{finding:#}");
}

#[test]
fn what_a_runtime_leaves_is_told_and_what_a_container_still_has_is_not() {
    let agent = Agent::start(&[]);
    let told = |container: &Container| {
        let id = container.id.as_str();
        let is_it = |line: &Value| line["type"] == "finding" && line["kind"] != "missing-controller";
        agent.wait_for(id, |line| is_it(line) && line["container"]["id"] == id)
    };
    let stopped = [container("runc", "stopped"), container("crun", "stopped")];
    stopped.iter().for_each(|container| run(container, STOPPED));
    // runc 1.1 tries once, and exits 0. crun kills whatever is in it.
    let foreign = [container("runc", "foreign"), container("crun", "foreign")];
    foreign.iter().for_each(|container| run(container, FOREIGN));
    // The private cgroup2 has no such controller: runc clears up after that, crun does not.
    let aborted = [container("runc", "aborted"), container("crun", "aborted")];
    for container in &aborted {
        container.bundle.set("/linux/resources", json!({ "pids": { "limit": 50 } })).unwrap();
        run(container, "if rt run \"$id\"; then exit 1; fi; sleep 0.3");
    }

    // Its removal was refused, which is told instead, and once.
    let [left, _] = &foreign;
    assert_eq!(told(left)["kind"], "busy-teardown");
    let [_, left] = &aborted;
    is(&told(left), "creation-aborted");
    assert_eq!(told(left)["first_failure"]["errno"], "ENOENT");
    let all = || [&stopped, &foreign, &aborted].into_iter().flatten();
    all().for_each(|container| run(container, CLEAN_UP));
    let lines = agent.finish();
    let leaked: Vec<(&str, Vec<&str>)> = all()
        .map(|container| {
            let findings = container.lines(&lines, "finding");
            let leaked = findings.into_iter().filter(|finding| finding["kind"] == "leaked-cgroup");
            (container.id.as_str(), leaked.map(|finding| finding["severity"].as_str().unwrap()).collect())
        })
        .collect();
    for (id, severities) in leaked {
        let is_left = id.contains("aborted-crun");
        let expected: &[&str] = if is_left { &["fault", "benign"] } else { &[] };
        assert_eq!(severities, expected, "{id}");
    }
}
