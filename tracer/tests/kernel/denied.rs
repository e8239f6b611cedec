//! Removals that the real kernel refuses: on a read-only mount, and for lack of rights.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Agent, Scratch, of_type, patience};

/// A program that is called like a runtime, and removes a cgroup itself: it waits until its command line was read,
/// tries, tries again as root if it is told to, and says by its status how that went.
const DELETE: &str = r#"
my $id = $ARGV[-1];
until (-e "gate-$id") { select(undef, undef, undef, 0.02) }
$> = 65534 if $ENV{as};
my $done = rmdir("$ENV{at}/$id");
if ($ENV{as} eq "first") { $> = 0; $done = rmdir("$ENV{at}/$id") }
exit($done ? 0 : 1);
"#;
/// What is done on a read-only bind mount of the scratch cgroup, in a mount namespace of its own.
const READ_ONLY: &str = r#"mount --bind "$at" "$at"; mount -o remount,bind,ro "$at""#;
const NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups";

struct Stage {
    scratch: Scratch,
    directory: tempfile::TempDir,
    agent: Agent,
}

impl Stage {
    /// With these cgroups in its scratch cgroup.
    fn new(cgroups: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        symlink("/usr/bin/perl", directory.path().join("runc")).unwrap();
        std::fs::write(directory.path().join("delete"), DELETE).unwrap();
        let (scratch, agent) = (Scratch::new(), Agent::start(&["--benign"]));
        for name in cgroups {
            std::fs::create_dir(scratch.path.join(name)).unwrap();
        }
        Self { scratch, directory, agent }
    }

    /// Runs a script to its end, and lets the runtimes in it pass once the agent knows what they were asked to do.
    fn run(&self, script: &str, ids: &[&str]) {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-euc", script]);
        command.env("at", &self.scratch.path).env("as", "").current_dir(self.directory.path()).stdin(Stdio::null());
        let mut child = command.spawn().unwrap();
        for id in ids {
            self.agent.wait_for_text(&format!("\"delete\",\"{id}\"]"));
            std::fs::write(self.directory.path().join(format!("gate-{id}")), "").unwrap();
        }
        assert!(child.wait().unwrap().success(), "{script}");
    }

    /// What was told first of a cgroup.
    fn told(&self, name: &str) -> Value {
        let path = format!("{}/{name}", self.scratch.cgroup);
        self.agent.wait_for(name, |line| line["type"] == "finding" && line["cgroup"]["path"] == path.as_str())
    }

    /// Everything that was told of the stage's cgroups, and which of them a removal was refused of.
    fn finish(self) -> (Vec<Value>, Vec<String>) {
        let lines = self.agent.finish();
        let own = |kind| of_type(&lines, kind).into_iter().filter(|line| self.scratch.has(line));
        let refused = own("attempt").filter(|line| line["operation"] == "rmdir" && line["errno"] != "ENOENT");
        (own("finding").cloned().collect(), refused.map(name).collect())
    }
}

/// The last name of a line's cgroup.
fn name(line: &Value) -> String {
    line["cgroup"]["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
}

fn is(finding: &Value, cause: &str, severity: &str, errno: &str) {
    assert_eq!(finding["kind"], "denied-teardown", "{finding:#}");
    assert_eq!((&finding["cause"], &finding["severity"]), (&cause.into(), &severity.into()), "{finding:#}");
    assert_eq!(finding["certainty"], "certain", "{finding:#}");
    assert_eq!(finding["attempts"][0]["errno"], errno, "{finding:#}");
    assert!(finding["cgroup"]["id"].is_u64(), "{finding:#}");
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

#[test]
fn a_removal_that_is_refused_is_told_by_its_cause_and_hurts_whose_job_it_was() {
    let stage = Stage::new(&["mount", "right", "rmdir"]);
    stage.run(&format!("{READ_ONLY}; ./runc delete mount || true"), &["mount"]);
    stage.run(&format!("{NOBODY} ./runc delete right || true"), &["right"]);
    stage.run(&format!("{NOBODY} rmdir \"$at/rmdir\" || true"), &[]);
    is(&stage.told("mount"), "read-only-mount", "fault", "EROFS");
    is(&stage.told("right"), "permission", "fault", "EACCES");
    is(&stage.told("rmdir"), "permission", "undetermined", "EACCES");
    for finding in [stage.told("mount"), stage.told("right"), stage.told("rmdir")] {
        assert_eq!(
            (&finding["outcome"]["exit"]["code"], &finding["outcome"]["cgroup_left"]),
            (&1.into(), &true.into())
        );
    }
    assert!(exists(&stage.scratch.path.join("mount")));
    // Removed after all: what was told is told anew.
    std::fs::remove_dir(stage.scratch.path.join("rmdir")).unwrap();
    stage.agent.wait_for("the revision", |line| line["type"] == "finding" && line["revision"] == 1);
    let (findings, _) = stage.finish();
    assert_eq!(findings.len(), 4, "each once, and one anew: {findings:#?}");
    let last = findings.last().unwrap();
    assert_eq!((&last["severity"], &last["outcome"]["cgroup_left"]), (&"benign".into(), &false.into()));
}

#[test]
fn what_was_removed_in_another_way_or_is_not_there_is_not_told_as_refused() {
    let stage = Stage::new(&["again", "other", "last"]);
    // Refused, and tried again with the right to.
    stage.run("as=first ./runc delete again", &["again"]);
    // Refused, and removed by somebody else before it is judged.
    stage.run(&format!("{NOBODY} rmdir \"$at/other\" || rmdir \"$at/other\""), &[]);
    // A read-only mount answers before it looks.
    stage.run(&format!("{READ_ONLY}; ./runc delete never || true"), &["never"]);
    // What is not a removal.
    stage.run(
        &format!("{READ_ONLY}; mkdir \"$at/last\" || true; {NOBODY} touch \"$at/last/cgroup.procs\" || true"),
        &[],
    );
    stage.run(&format!("{NOBODY} rmdir \"$at/last\" || true"), &[]);
    stage.told("last");
    assert!(!exists(&stage.scratch.path.join("again")) && !exists(&stage.scratch.path.join("other")));
    let (findings, refused) = stage.finish();
    assert_eq!(refused, ["again", "other", "never", "last"]);
    // On a slow machine the second call comes after it is judged. Then it is taken back.
    let (other, rest): (Vec<_>, Vec<_>) = findings.iter().partition(|told| name(told) == "other");
    assert!(other.is_empty() || patience() > 1 && other.last().unwrap()["severity"] == "benign", "{other:#?}");
    let told: Vec<String> =
        rest.iter().map(|told| format!("{} {}", told["kind"].as_str().unwrap(), name(told))).collect();
    assert_eq!(told, ["missing-path-teardown never", "denied-teardown last"]);
}
