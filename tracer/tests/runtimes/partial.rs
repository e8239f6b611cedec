//! Teardowns of real runtimes that leave a cgroup in one of v1's hierarchies, beside whole ones.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Agent, hierarchy};
use crate::{Container, WITHOUT_UNIFIED};

const STOPPED: &str = r#"
rt create "$id"; rt start "$id"
until rt state "$id" | grep -q '"stopped"'; do sleep 0.01; done
"#;

/// One that is created, has ended, and is deleted after something was done to the mount of a hierarchy.
fn life(runtime: &'static str, name: &str, before_delete: &str) -> Container {
    let container = Container::new(runtime, &format!("partial-{name}"), &["/bin/sh", "-c", "exit 0"]);
    let script = format!("{STOPPED}{before_delete}\nrt delete \"$id\"; sleep 0.3");
    let done = container.script(WITHOUT_UNIFIED, &script).output().unwrap();
    assert!(done.status.success(), "{}: {}", container.id, String::from_utf8_lossy(&done.stderr));
    container
}

/// A cgroup that is left on purpose: it is gone with the test, however that ends.
struct Left(PathBuf);

impl Drop for Left {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn what_a_runtime_leaves_in_one_hierarchy_is_told_and_whole_teardowns_are_not() {
    let Some((_, pids)) = hierarchy(Some("pids")) else { return println!("this host has no v1 pids") };
    let left = |container: &Container| -> Vec<PathBuf> {
        let (_, hierarchies) = cgtrace::cgroupfs::hierarchies().unwrap();
        let mounts = hierarchies.into_iter().filter_map(|hierarchy| hierarchy.mount);
        mounts.map(|mount| mount.to_path().join(&container.id)).filter(|path| path.is_dir()).collect()
    };
    let agent = Agent::start(&["--benign"]);
    let whole = ["runc", "crun"].map(|runtime| life(runtime, "whole", ""));
    // What is not mounted where the runtime looks is gone, as far as it can see.
    let hidden = ["runc", "crun"].map(|runtime| life(runtime, "hidden", "umount /sys/fs/cgroup/pids"));
    let refused = ["runc", "crun"]
        .map(|runtime| life(runtime, "refused", "mount -o remount,bind,ro /sys/fs/cgroup/pids /sys/fs/cgroup/pids"));
    let on_purpose: Vec<Left> = hidden.iter().chain(&refused).map(|container| Left(pids.join(&container.id))).collect();
    for container in hidden.iter().chain(&refused) {
        assert_eq!(left(container), [pids.join(&container.id)]);
    }

    let told = |container: &Container| -> Value {
        let id = container.id.as_str();
        agent.wait_for(id, |line| line["type"] == "finding" && line["container"]["id"] == id)
    };
    for container in &hidden {
        let finding = told(container);
        let claim = (&finding["kind"], &finding["cause"], &finding["severity"], &finding["certainty"]);
        let expected = ["partial-teardown", "not-attempted", "fault", "certain"].map(Value::from);
        assert_eq!(claim, (&expected[0], &expected[1], &expected[2], &expected[3]), "{finding:#}");
        assert_eq!(
            (&finding["outcome"]["cgroup_left"], &finding["outcome"]["exit"]["code"]),
            (&true.into(), &0.into())
        );
        assert_eq!(finding["cgroup"]["path"], format!("/{}", container.id));
    }
    drop(on_purpose);
    agent.wait_for("the last word", |line| {
        line["type"] == "finding" && line["container"]["id"] == hidden[1].id.as_str() && line["revision"] == 1
    });
    let lines = agent.finish();
    let kinds = |container: &Container| -> Vec<(String, String)> {
        let findings = container.lines(&lines, "finding").into_iter();
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        findings.map(|finding| (word(&finding["kind"]), word(&finding["severity"]))).collect()
    };
    let revised = |kind: &str| ["fault", "benign"].map(|severity| (kind.to_owned(), severity.to_owned()));
    for container in &hidden {
        assert_eq!(kinds(container), revised("partial-teardown"), "{}", container.id);
    }
    // One harm is one finding: the refusal that left it.
    for container in &refused {
        assert_eq!(kinds(container), revised("denied-teardown"), "{}", container.id);
    }
    for container in &whole {
        assert!(left(container).is_empty() && kinds(container).is_empty(), "{}: {:?}", container.id, kinds(container));
    }
}
