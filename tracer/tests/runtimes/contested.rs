//! Who moves a real container's process out of its cgroup.

use std::fs;
use std::process::Command;

use crate::Container;
use crate::support::{Agent, Scratch, of_type, wait_for};

#[test]
fn who_moves_a_containers_first_process_out_on_v1_is_named_and_its_runtime_is_not() {
    let container = Container::new("runc", "moved", &["/bin/sleep", "600"]);
    let elsewhere = Scratch::on_v1("pids");
    let agent = Agent::start(&["--only", "findings", "--only", "lifecycle"]);
    let script = "rt create \"$id\" > /dev/null 2>&1; rt start \"$id\"; rt state \"$id\"";
    let started = container.script("", script).output().unwrap();
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let state: serde_json::Value = serde_json::from_slice(&started.stdout).unwrap();
    let (pid, list) = (state["pid"].as_u64().unwrap(), elsewhere.path.join("cgroup.procs"));
    // Not one of those who started the container. It has just begun when it moves the process, and ends at once: what
    // it is, is known by the kernel's record alone.
    let moves = format!("echo {pid} > {}", list.display());
    assert!(Command::new("setsid").args(["-f", "sh", "-c", &moves]).status().unwrap().success());
    let is_there = || fs::read_to_string(&list).unwrap().lines().any(|line| line == pid.to_string()).then_some(());
    wait_for("the move", is_there);
    let is_it = |line: &serde_json::Value| {
        line["kind"] == "contested-cgroup" && line["container"]["id"] == container.id.as_str()
    };
    let finding = agent.wait_for("the finding", is_it);
    assert_eq!((&finding["cause"], &finding["actor"]["comm"]), (&"moved-by-other".into(), &"sh".into()));
    assert_eq!(finding["certainty"], "certain", "{finding}");
    let to = format!("to cgroup {}", elsewhere.cgroup);
    assert!(finding["summary"].as_str().unwrap().contains(&to), "{finding}");
    let ended = container.script("", "rt delete --force \"$id\"").output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    wait_for("its end", || fs::read_to_string(&list).unwrap().is_empty().then_some(()));
    let lines = agent.finish();
    let told = of_type(&lines, "finding").into_iter().filter(|line| line["kind"] == "contested-cgroup");
    assert!(told.into_iter().all(|line| line["id"] == finding["id"]), "{lines:#?}");
}
