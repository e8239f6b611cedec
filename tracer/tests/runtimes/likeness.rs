//! Real runtimes that are called otherwise.

use crate::support::Agent;
use crate::{Container, PRIVATE_V2};

/// Its cgroup is removed by somebody else before it deletes the container.
fn looks_like(runtime: &'static str, name: &str) {
    let container = Container::new(runtime, "unnamed", &["/bin/sh", "-c", "exit 0"]);
    let agent = Agent::start(&["--benign"]);
    let script = format!(
        "cp \"$(command -v \"$runtime\")\" {name}; runtime=$PWD/{name}; cgroup=/sys/fs/cgroup/$id
        rt create \"$id\"; rt kill \"$id\" KILL
        while grep -q . \"$cgroup/cgroup.procs\"; do sleep 0.01; done; rmdir \"$cgroup\"; rt delete \"$id\"; sleep 0.3"
    );
    let done = container.script(PRIVATE_V2, &script).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let lines = agent.finish();
    let path = format!("/{}", container.id);
    let finding = lines.iter().rfind(|line| line["type"] == "finding" && line["cgroup"]["path"] == path.as_str());
    let finding = finding.unwrap_or_else(|| panic!("{runtime} tears down what is gone"));
    assert_eq!((&finding["kind"], &finding["severity"]), (&"duplicate-teardown".into(), &"benign".into()));
    assert_eq!(finding["looks_like"]["runtime"], runtime, "{finding:#}");
    assert_eq!(finding.get("container"), None, "a hint makes no container");
    println!("{name}: looks like {runtime}: {}", finding["looks_like"]["because"]);
}

#[test]
fn runc_that_is_called_exe_looks_like_runc() {
    looks_like("runc", "exe");
}

#[test]
fn crun_that_is_called_6_looks_like_crun() {
    looks_like("crun", "6");
}
