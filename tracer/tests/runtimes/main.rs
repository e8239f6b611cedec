//! Real container runtimes on the real kernel, as root. Fails, and does not skip, where one is not installed.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod contested;
mod diff;
mod failed_start;
mod leaked;
mod likeness;
mod matrix;
mod partial;
mod refused;
mod stale;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use cgtrace::demo::bundle::Bundle;
use serde_json::Value;

use support::{Agent, CGTRACE, of_type, parse, wait_for};

/// A container of a runtime, its bundle and its state.
struct Container {
    runtime: &'static str,
    id: String,
    bundle: Bundle,
    directory: tempfile::TempDir,
}

impl Container {
    fn new(runtime: &'static str, name: &str, arguments: &[&str]) -> Self {
        let found = Command::new(runtime).arg("--version").stdout(Stdio::null()).status();
        assert!(found.is_ok_and(|status| status.success()), "{runtime} is not installed: apt-get install {runtime}");
        let directory = tempfile::tempdir().unwrap();
        let bundle = Bundle::new(directory.path(), arguments).unwrap();
        Self { runtime, id: format!("cgtrace-{name}-{runtime}-{}", std::process::id()), bundle, directory }
    }

    /// A script that runs in the bundle, with the runtime as `rt` and the container's id as `$id`, where `before` was
    /// done in a mount namespace of its own.
    fn script(&self, before: &str, script: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-euc"]);
        command.arg(format!("{before}\nrt() {{ \"$runtime\" --root \"$root\" \"$@\"; }}\n{script}"));
        command.env("runtime", self.runtime).env("root", self.root()).env("id", &self.id);
        command.current_dir(self.directory.path().join("bundle")).stdin(Stdio::null());
        command
    }

    fn root(&self) -> std::path::PathBuf {
        self.directory.path().join("state")
    }

    fn lines<'a>(&self, lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
        of_type(lines, kind).into_iter().filter(|line| line["container"]["id"] == self.id.as_str()).collect()
    }
}

fn argv(actor: &Value) -> Vec<&str> {
    actor["argv"].as_array().unwrap_or_else(|| panic!("no argv: {actor}")).iter().filter_map(Value::as_str).collect()
}

/// Create, start, delete: the whole life, in every hierarchy the runtime uses.
fn a_healthy_life(runtime: &'static str, layout: &str, before: &str) {
    let container = Container::new(runtime, layout, &["/bin/sh", "-c", "exit 0"]);
    let agent = Agent::start(&[]);
    let life = "rt create \"$id\"; rt start \"$id\"
        until rt state \"$id\" | grep -q '\"stopped\"'; do sleep 0.01; done
        rt delete \"$id\"";
    let done = container.script(before, life).output().unwrap();
    assert!(done.status.success(), "{runtime}, {layout}: {}", String::from_utf8_lossy(&done.stderr));

    let counts = |lines: &[Value], change: &str| {
        container.lines(lines, "event").iter().filter(|line| line["change"] == change).count()
    };
    wait_for("the release of every cgroup", || {
        // Page cache that was charged to it keeps a memory cgroup from being released.
        std::fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
        let lines = agent.lines();
        let removed = counts(&lines, "removed");
        (removed > 0 && removed == counts(&lines, "released")).then_some(())
    });
    let lines = agent.finish();
    assert_eq!(lines.last().unwrap()["counts"]["lost"], 0);
    let findings = container.lines(&lines, "finding");
    assert!(findings.is_empty(), "a healthy life gives no finding: {findings:#?}");

    let mut lives: BTreeMap<(u64, String), Vec<&Value>> = BTreeMap::new();
    for event in container.lines(&lines, "event") {
        let cgroup = &event["cgroup"];
        let key = (cgroup["hierarchy"].as_u64().unwrap(), cgroup["path"].as_str().unwrap().to_owned());
        lives.entry(key).or_default().push(event);
    }
    assert!(!lives.is_empty(), "{runtime}, {layout}: no cgroup of {}", container.id);
    // crun may make a cgroup for the container's own use below its own; the life is told of the one that is the
    // container's.
    let (_, hierarchies) = cgtrace::cgroupfs::hierarchies().unwrap();
    let on_v1 = hierarchies.iter().filter(|hierarchy| hierarchy.version == 1 && hierarchy.mount.is_some()).count();
    let expected = if layout == "host" { on_v1.max(1) } else { 1 };
    assert!(lives.len() >= expected, "{runtime}, {layout}: {} lives in {expected} hierarchies", lives.len());
    for ((hierarchy, path), events) in &lives {
        let change = |wanted: &str| events.iter().find(|event| event["change"] == wanted);
        let told: Vec<&str> = events
            .iter()
            .filter_map(|event| event["change"].as_str())
            .filter(|change| matches!(*change, "created" | "populated" | "emptied" | "removed" | "released"))
            .collect();
        assert_eq!(told, ["created", "populated", "emptied", "removed", "released"], "{runtime}, {hierarchy}:{path}");
        let created = change("created").unwrap();
        assert_eq!(created["container"]["runtime"], runtime);
        assert_eq!(created["container"]["chain"], serde_json::json!([container.id]));
        let (maker, remover) = (argv(&created["actor"]), argv(&change("removed").unwrap()["actor"]));
        assert!(maker.contains(&"create") && maker.contains(&container.id.as_str()), "{maker:?}");
        assert!(remover.contains(&"delete") && remover.contains(&container.id.as_str()), "{remover:?}");
    }
    println!("{runtime} on {layout}: {} whole lives", lives.len());
}

/// Where cgroup2 is mounted there already, the kernel does not mount it once more on top of itself.
const PRIVATE_V2: &str = "mount -t tmpfs none /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup";

/// crun refuses a hybrid layout whose cgroup2 has controllers.
const WITHOUT_UNIFIED: &str = "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi";

#[test]
fn runc_lives_on_the_hosts_own_layout() {
    a_healthy_life("runc", "host", "");
}

#[test]
fn crun_lives_on_the_hosts_own_layout() {
    a_healthy_life("crun", "host", WITHOUT_UNIFIED);
}

#[test]
fn runc_lives_on_pure_cgroup2() {
    a_healthy_life("runc", "cgroup2", PRIVATE_V2);
}

#[test]
fn crun_lives_on_pure_cgroup2() {
    a_healthy_life("crun", "cgroup2", PRIVATE_V2);
}

#[test]
fn healthy_runc_on_a_read_only_cgroupfs_is_one_benign_finding() {
    let container = Container::new("runc", "readonly", &["/bin/sh", "-c", "exit 0"]);
    let agent = Agent::start(&[]);
    // As a container's engine does, the shell outlives the runtime: what it left can be looked for.
    let life = "rt --rootless=true run --keep \"$id\"; rt delete \"$id\"; sleep 1";
    let done = container.script(&format!("{PRIVATE_V2} -o ro"), life).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let is_told = |line: &Value| line["type"] == "finding" && line["container"]["id"] == container.id.as_str();
    agent.wait_for("the finding", is_told);
    let lines = agent.finish();
    let findings = container.lines(&lines, "finding");
    let [finding] = findings.as_slice() else { panic!("exactly one: {findings:#?}") };
    assert_eq!(finding["kind"], "missing-path-teardown");
    assert_eq!(finding["cause"], "read-only-mount");
    assert_eq!(finding["severity"], "benign");
    assert_eq!(finding["certainty"], "certain");
    assert_eq!(finding["outcome"]["exit"]["code"], 0);
    assert_eq!(finding["outcome"]["state_left"], false);
    assert!(finding.get("known_issues").is_none(), "a benign one is no known issue");
    let attempts = finding["attempts"].as_array().unwrap();
    let of = |word: &str| attempts.iter().filter(|attempt| argv(&attempt["actor"]).contains(&word)).count();
    assert!(of("run") > 0 && of("delete") > 0, "both processes' attempts belong to it: {attempts:#?}");
    let call = |operation: &str, errno: &str| {
        attempts.iter().any(|attempt| attempt["operation"] == operation && attempt["errno"] == errno)
    };
    assert!(call("mkdir", "EROFS") && call("rmdir", "EROFS") && call("open", "ENOENT"));
}

/// Runs `cgtrace demo --json SCENARIO`; returns its only finding's last revision.
fn demo(scenario: &str) -> Value {
    let done = Command::new(CGTRACE).args(["demo", "--json", scenario]).stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{scenario}: {}", String::from_utf8_lossy(&done.stderr));
    let lines = parse(&done.stdout);
    let findings = of_type(&lines, "finding");
    assert!(findings.iter().all(|finding| finding["id"] == findings[0]["id"]), "one story: {findings:#?}");
    let (_, mount) = support::hierarchy(None).unwrap();
    let left: Vec<_> = std::fs::read_dir(mount)
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("cgtrace-demo-"))
        .filter(|entry| !Path::new("/proc").join(pid_of(entry)).exists())
        .collect();
    assert!(left.is_empty(), "the scratch cgroup is removed: {left:?}");
    (*findings.last().unwrap()).clone()
}

/// The demo that made a scratch cgroup.
fn pid_of(entry: &std::fs::DirEntry) -> String {
    entry.file_name().to_string_lossy().trim_start_matches("cgtrace-demo-").to_owned()
}

#[test]
fn the_replica_of_the_incident_is_a_fault_that_names_runc_4518() {
    let finding = demo("missing-path");
    assert_eq!(finding["kind"], "missing-path-teardown");
    assert_eq!(finding["cause"], "read-only-mount");
    assert_eq!(finding["severity"], "fault");
    assert_eq!(finding["certainty"], "certain");
    assert_eq!(finding["outcome"]["exit"]["code"], 1);
    assert_eq!(finding["outcome"]["state_left"], true);
    assert_eq!(finding["known_issues"][0]["id"], "runc#4518");
    assert_eq!(finding["known_issues"][0]["fixed_in"], "runc 1.2.2");
}

#[test]
fn the_same_calls_of_one_that_copes_are_benign() {
    let finding = demo("missing-path-benign");
    assert_eq!((finding["severity"].as_str(), finding["cause"].as_str()), (Some("benign"), Some("read-only-mount")));
    assert!(finding.get("known_issues").is_none());
}

#[test]
fn the_race_names_its_rival() {
    let finding = demo("duplicate");
    assert_eq!(finding["kind"], "duplicate-teardown");
    assert_eq!(finding["cause"], "removed-by-other");
    assert_ne!(finding["rival"]["actor"]["pid"], finding["actor"]["pid"]);
    assert!(argv(&finding["rival"]["actor"]).contains(&"delete"));
}

#[test]
fn the_real_runc_plays_itself() {
    let finding = demo("runc");
    assert_eq!(finding["kind"], "missing-path-teardown");
    assert_eq!(finding["container"]["runtime"], "runc");
}
