//! Whose a cgroup is, what it is called, and what a runtime left: as root, with stand-ins for runtimes and with real
//! engines. Fails, and does not skip, where one is not installed.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../support/agent.rs"]
mod agent;
#[path = "../support/chart.rs"]
mod chart;
#[path = "../support/schema.rs"]
mod schema;
#[path = "../support/mod.rs"]
mod support;

mod engines;
mod hostile;
mod in_container;
mod stand_in;
mod standing;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use support::of_type;

/// A directory that every user may enter.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// A root file system of busybox alone.
fn busybox(directory: &Path) -> std::path::PathBuf {
    let rootfs = directory.join("rootfs");
    for place in ["bin", "dev", "proc", "sys"] {
        std::fs::create_dir_all(rootfs.join(place)).unwrap();
    }
    std::fs::copy("/bin/busybox", rootfs.join("bin/busybox")).expect("busybox-static is installed");
    for applet in ["sh", "sleep", "true", "echo"] {
        std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
    rootfs
}

/// Runs a shell script to its end, which comes before long.
fn shell(script: &str, directory: &Path, environment: &[(&str, &str)]) {
    let mut command = Command::new("timeout");
    command
        .args(["120", "sh", "-euc", script])
        .current_dir(directory)
        .stdin(Stdio::null())
        .envs(environment.iter().copied());
    let done = command.output().unwrap();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Facts about something, of a container.
fn facts<'a>(lines: &'a [Value], about: &str, id: &str) -> Vec<&'a Value> {
    let is = |line: &&Value| line["about"] == about && line["id"] == id;
    of_type(lines, "facts").into_iter().filter(is).collect()
}

/// The containers that cgroups were made of by a path that ends so.
fn made<'a>(lines: &'a [Value], path: &str) -> Vec<&'a Value> {
    let is = |line: &&Value| line["change"] == "created" && line["cgroup"]["path"].as_str().unwrap().ends_with(path);
    of_type(lines, "event").into_iter().filter(is).map(|line| &line["container"]).collect()
}
