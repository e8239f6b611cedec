//! Findings in the journal: a real systemd-journald with files and sockets of its own, and the real journalctl.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::agent::{Serving, demo};
use crate::support::{CGTRACE, wait_for};

/// A journal that is empty, in a mount namespace. It ends with the agent, and knows no other catalog.
const JOURNALD: &str = r#"
mkdir -p /run/log
for place in /run/systemd /run/log /var/log /var/lib/systemd/catalog /usr/lib/systemd/catalog; do
    mount -t tmpfs none $place
done
mkdir -p /run/systemd/journal
cp "$CATALOG" /usr/lib/systemd/catalog/cgtrace.catalog
journalctl --update-catalog
setpriv --pdeathsig KILL /usr/lib/systemd/systemd-journald > /dev/null 2>&1 &
while ! [ -S /run/systemd/journal/socket ]; do sleep 0.05; done
"#;
const CATALOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd/cgtrace.catalog");

/// What the journal of an agent's namespace prints.
fn journalctl(agent: &Serving, arguments: &[&str]) -> String {
    let mut command = Command::new("nsenter");
    command.arg("--target").arg(agent.pid().to_string()).args(["--mount", "journalctl", "--no-pager", "--quiet"]);
    let done = command.args(arguments).stdin(Stdio::null()).output().unwrap();
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn a_finding_is_an_entry_that_journalctl_selects_and_explains() {
    // As systemd does for a service: it says which file stderr is.
    let before = format!(
        "CATALOG={CATALOG}\n{JOURNALD}\nJOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)\nexport JOURNAL_STREAM"
    );
    let agent = Serving::within(&before, &[]);
    assert!(agent.said().contains("findings go to the journal: "), "{}", agent.said());
    demo("missing-path");
    let finding = agent.wait_for_finding("missing-path-teardown");
    let id = format!("CGTRACE_FINDING={}", finding["id"].as_str().unwrap());
    let entry: Value = wait_for("the entry", || {
        let printed = journalctl(&agent, &["-o", "json", &id, "CGTRACE_SEVERITY=fault"]);
        printed.lines().last().map(|line| serde_json::from_str(line).unwrap())
    });
    let container = finding["container"]["id"].as_str().unwrap();
    for (field, wanted) in [
        ("PRIORITY", "3"),
        ("SYSLOG_IDENTIFIER", "cgtrace"),
        ("CGTRACE_KIND", "missing-path-teardown"),
        ("CGTRACE_CAUSE", "read-only-mount"),
        ("CGTRACE_CERTAINTY", finding["certainty"].as_str().unwrap()),
        ("CGTRACE_CGROUP", finding["cgroup"]["path"].as_str().unwrap()),
        ("CGTRACE_KNOWN_ISSUE", "runc#4518"),
        ("CONTAINER_ID_FULL", container),
        ("_COMM", "cgtrace"),
    ] {
        assert_eq!(entry[field], wanted, "{field}: {entry:#}");
    }
    // Each was written by the clock of its moment, and a clock is corrected all the time.
    let time = |text: &Value| text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let apart = time(&entry["CGTRACE_TIME"]).duration_since(time(&finding["time"])).abs();
    assert!(apart < jiff::SignedDuration::from_millis(50), "{apart:#}");
    let summary = finding["summary"].as_str().unwrap();
    assert_eq!(entry["MESSAGE"], format!("missing-path-teardown, read-only-mount: {summary}"));
    let kind = cgtrace::findings::Kind::ALL.into_iter().find(|kind| kind.as_str() == "missing-path-teardown").unwrap();
    assert_eq!(entry["MESSAGE_ID"], cgtrace::explain::message_id(kind));

    let explained = journalctl(&agent, &["-x", &id, "CGTRACE_SEVERITY=fault"]);
    let subject = format!(
        "Subject: fault: missing-path-teardown, read-only-mount, of cgroup {}",
        entry["CGTRACE_CGROUP"].as_str().unwrap()
    );
    let claim: Vec<&str> = kind.explanation().claim.split_whitespace().collect();
    let words: Vec<&str> = explained.split_whitespace().filter(|word| !word.starts_with('░')).collect();
    for part in [subject.split_whitespace().collect(), claim, vec!["Mount", "cgroupfs", "writable"]] {
        assert!(words.windows(part.len()).any(|window| window == part), "{part:?} is not in {explained}");
    }
    agent.end();
}

#[test]
fn the_journal_is_asked_for_or_left_alone() {
    // Here stderr is no journal's.
    let agent = Serving::within(&format!("CATALOG={CATALOG}\n{JOURNALD}"), &[]);
    assert!(!agent.said().contains("journal"), "{}", agent.said());
    agent.end();
    let agent = Serving::within(&format!("CATALOG={CATALOG}\n{JOURNALD}"), &["--journal", "on"]);
    assert!(agent.said().contains("findings go to the journal: "), "{}", agent.said());
    agent.end();
    let script = format!("mount -t tmpfs none /run/systemd\nexec {CGTRACE} serve --listen 127.0.0.1:0 --journal on");
    let mut without = Command::new("unshare");
    without.args(["--mount", "--propagation", "private", "sh", "-ec", &script]);
    let done = without.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("error: failed to connect to /run/systemd/journal/socket: No such file"), "{said}");
}
