//! What the real kernel does not release after its removal.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{Scratch, of_type, traced, wait_for, wait_for_zombie};

/// Runs a script of a shell in a new cgroup, which is removed after its end. It is not waited for.
fn within(cgroup: &Path, script: &str) -> Child {
    fs::create_dir(cgroup).unwrap();
    let script = format!("echo $$ > {}/cgroup.procs && {script}", cgroup.display());
    let shell = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).spawn().unwrap();
    wait_for_zombie(shell.id());
    // Until 6.18 it leaves its cgroup before that, later a moment after.
    wait_for("an empty cgroup", || fs::remove_dir(cgroup).ok());
    shell
}

#[test]
fn what_was_dying_before_is_counted_at_the_start() {
    let scratch = Scratch::new();
    let mut zombies: Vec<Child> = (0..3).map(|number| within(&scratch.path.join(number.to_string()), ":")).collect();
    let dying = || {
        let stat = fs::read_to_string(scratch.path.join("cgroup.stat")).unwrap();
        stat.contains("nr_dying_descendants 3").then_some(())
    };
    wait_for("the kernel's count", dying);
    let (lines, _) = traced(&[], &["true"]);
    let counted = of_type(&lines, "facts").into_iter().find(|facts| facts["about"] == "dying").unwrap();
    assert!(counted["count"].as_u64().unwrap() >= 3, "{counted}");
    assert_eq!(zombies.iter_mut().filter_map(|zombie| zombie.wait().ok()).count(), 3);
}
