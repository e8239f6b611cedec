//! `cgtrace check` of an agent.

use std::process::{Command, Stdio};

use crate::agent::{Serving, demo};
use crate::support::{CGTRACE, wait_for};

fn check(arguments: &[&str]) -> (String, Option<i32>) {
    let done = Command::new(CGTRACE).arg("check").args(arguments).stdin(Stdio::null()).output().unwrap();
    let line = String::from_utf8(done.stdout).unwrap();
    assert_eq!(line.lines().count(), 1, "{line:?}: {}", String::from_utf8_lossy(&done.stderr));
    (line, done.status.code())
}

#[test]
fn an_agent_is_checked_for_faults_of_the_last_time_over_both_ways() {
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("http.sock").display());
    // Without a history, too.
    let agent = Serving::start(&["--listen", &socket, "--history", "0"]);
    let http = format!("http://{}", agent.address);
    // On a busy host, an agent is not ready at every moment: then it is unknown whether there is a finding.
    let known = |arguments: &[&str]| wait_for("a ready agent", || Some(check(arguments)).filter(|is| is.1 != Some(2)));
    let (line, status) = known(&["--fail-on", "lingering-cgroup", &http]);
    let wanted = format!("OK: no finding of lingering-cgroup in the last 1h, by the agent at {http}\n");
    assert_eq!((line, status), (wanted, Some(0)));

    demo("missing-path");
    let finding = agent.wait_for_finding("missing-path-teardown");
    let id = finding["id"].as_str().unwrap();
    for source in [&http, &socket] {
        let (line, status) = check(&["--fail-on", "missing-path-teardown", source]);
        assert!(line.starts_with("PROBLEM: ") && line.contains(id), "{line}");
        assert_eq!(status, Some(1), "{line}");
        let (line, status) = check(&["--nagios", "--last", "10m", source]);
        assert!(line.starts_with("CGTRACE CRITICAL: ") && line.contains("| problems="), "{line}");
        assert_eq!(status, Some(2), "{line}");
    }
    let (line, status) = known(&["--fail-on", "missing-path-teardown", "--last", "1ms", &http]);
    assert_eq!(status, Some(0), "{line}");
    agent.end();
    let (line, status) = check(&[&http]);
    assert!(line.starts_with(&format!("UNKNOWN: no agent at {http}: ")), "{line}");
    assert_eq!(status, Some(2));
}
