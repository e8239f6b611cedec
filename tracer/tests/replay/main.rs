//! Recordings of real runs, replayed: the same lines, derived fields and findings included, byte for byte.
//!
//! `recordings/NAME.jsonl` is what `cgtrace live --benign --json` printed. A recording whose lines change because a
//! rule has changed is written anew with `CGTRACE_BLESS=1 cargo test -p cgtrace --test replay`; its inputs stay.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../support/replay.rs"]
mod replayed;

mod refusals;

use replayed::replay;

/// Those in `recordings/`, and in `refusals/` those of refused calls.
fn recordings_in(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(directory);
    let mut paths: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

fn recordings() -> Vec<PathBuf> {
    recordings_in("recordings")
}

#[test]
fn every_recording_replays_to_the_very_same_lines() {
    for path in recordings().into_iter().chain(recordings_in("refusals")) {
        let recorded = fs::read(&path).unwrap();
        let replayed = replay(&recorded);
        assert_eq!(replay(&recorded), replayed, "{}: a replay is deterministic", path.display());
        if std::env::var_os("CGTRACE_BLESS").is_some() {
            fs::write(&path, &replayed).unwrap();
        } else if replayed != recorded {
            let (old, new) = (String::from_utf8_lossy(&recorded), String::from_utf8_lossy(&replayed));
            let differing = old.lines().zip(new.lines()).find(|(old, new)| old != new);
            panic!("{}: {differing:#?}", path.display());
        }
    }
    refusals::check_page();
}

#[test]
fn the_recordings_tell_what_they_are_named_for() {
    let findings = |name: &str| -> Vec<serde_json::Value> {
        let path = recordings().into_iter().find(|path| path.file_stem().is_some_and(|stem| stem == name)).unwrap();
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["type"] == "finding").collect()
    };
    let check = |name: &str, kind: &str, cause: &str, severity: &str| {
        let findings: Vec<_> = findings(name).into_iter().filter(|finding| finding["kind"] == kind).collect();
        let last = findings.last().unwrap_or_else(|| panic!("{name}: no finding"));
        assert!(findings.iter().all(|finding| finding["id"] == last["id"]), "{name}");
        assert_eq!((&last["kind"], &last["cause"], &last["severity"]), (&kind.into(), &cause.into(), &severity.into()));
    };
    check("incident", "missing-path-teardown", "read-only-mount", "fault");
    check("incident-coped", "missing-path-teardown", "read-only-mount", "benign");
    check("race", "duplicate-teardown", "removed-by-other", "fault");
    check("runc-read-only", "missing-path-teardown", "read-only-mount", "benign");
    check("nested", "duplicate-teardown", "removed-by-other", "benign");
    let chain = findings("nested")[0]["container"]["chain"].clone();
    assert_eq!(chain, serde_json::json!(["a1b2c3d4".repeat(8), "web-1"]), "not docker's own teardown");
    assert!(findings("runc-v1").is_empty());
    check("failed-start", "duplicate-teardown", "removed-by-self", "benign");
    let first = findings("failed-start")[1]["first_failure"]["path"].clone();
    assert_eq!(first, "web/pids.max", "what failed before the clean-up");
    check("read-only-create", "missing-path-teardown", "read-only-mount", "benign");
    let issues = |name: &str, kind: &str| -> Vec<String> {
        let of_kind = findings(name).into_iter().filter(|finding| finding["kind"] == kind);
        let issues = of_kind.filter_map(|finding| finding.get("known_issues")?.as_array().cloned());
        issues.flatten().map(|issue| issue["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(issues("incident", "missing-path-teardown"), ["runc#4518"]);
    assert_eq!(issues("read-only-create", "missing-path-teardown"), ["runc#2639"], "the maker did not carry on");
    check("script-v1", "duplicate-teardown", "removed-by-other", "benign");
    assert_eq!(findings("script-v1")[0]["hierarchies"], 9, "a process for each hierarchy, and one teardown");
    let reused = findings("reused-name");
    assert_eq!(reused.len(), 3, "three starts of one name are three stories");
    let told: Vec<(String, String)> = findings("renamed")
        .iter()
        .filter(|finding| finding["revision"] == 0)
        .map(|finding| (finding["cause"].to_string(), finding["rival"]["to"].to_string()))
        .collect();
    let renamed = |to: &str| ("\"renamed\"".to_owned(), format!("\"{to}\""));
    let removed = ("\"removed-by-other\"".to_owned(), "null".to_owned());
    assert_eq!(told, [renamed("/new"), renamed("/new/child"), removed]);
    let told: Vec<(String, u64, String)> = findings("denied")
        .iter()
        .map(|finding| (finding["cause"].as_str(), finding["revision"].as_u64(), finding["severity"].as_str()))
        .map(|(cause, revision, severity)| (cause.unwrap().into(), revision.unwrap(), severity.unwrap().into()))
        .collect();
    let refused = |cause: &str, revision, severity: &str| (cause.to_owned(), revision, severity.to_owned());
    let expected = [
        refused("permission", 0, "undetermined"),
        refused("read-only-mount", 0, "fault"),
        // Both were removed in the end; a third one was before it was told of.
        refused("read-only-mount", 1, "benign"),
        refused("permission", 1, "benign"),
    ];
    assert_eq!(told, expected);
    let told: Vec<(String, u64, String)> = findings("lingering")
        .iter()
        .map(|told| (told["cgroup"]["path"].as_str(), told["revision"].as_u64(), told["severity"].as_str()))
        .map(|(path, revision, severity)| (path.unwrap().into(), revision.unwrap(), severity.unwrap().into()))
        .collect();
    let lingers = |path: &str, revision, severity: &str| (path.to_owned(), revision, severity.to_owned());
    let expected = [
        // A page in a tmpfs keeps it, which is ordinary before 7.1.
        lingers("/cgtrace-linger/page", 0, "benign"),
        // Nothing but a process that nobody has waited for.
        lingers("/cgtrace-linger/zombie", 0, "undetermined"),
        lingers("/cgtrace-linger/zombie", 1, "benign"),
    ];
    assert_eq!(told, expected, "and nothing of the one that nothing keeps");
    let told: Vec<(String, String, String)> = findings("leaked")
        .iter()
        .filter(|finding| finding["kind"] == "leaked-cgroup")
        .map(|finding| (finding["container"]["id"].as_str(), finding["cause"].as_str(), finding["severity"].as_str()))
        .map(|(id, cause, severity)| (id.unwrap().into(), cause.unwrap().into(), severity.unwrap().into()))
        .collect();
    let left = |id: &str, cause: &str, severity: &str| (id.to_owned(), cause.to_owned(), severity.to_owned());
    let expected = [
        // Of a third container, which is stopped, nothing is told; of the one that a stranger was in, the refusal is.
        left("aborted", "creation-aborted", "fault"),
        left("aborted", "creation-aborted", "benign"),
    ];
    assert_eq!(told, expected);
    let looks_like: Vec<Option<String>> = findings("unnamed")
        .iter()
        .map(|finding| Some(finding.get("looks_like")?["runtime"].as_str()?.to_owned()))
        .collect();
    assert_eq!(looks_like, [Some("runc".to_owned()), Some("crun".to_owned()), None], "the last one is rmdir");
    assert_eq!(issues("leaked", "leaked-cgroup"), ["crun#2242", "crun#2242"]);
    assert!(issues("busy", "busy-teardown").is_empty(), "whoever sat there was a stranger");
    let told: Vec<(String, u64, String)> = findings("partial")
        .iter()
        .map(|finding| {
            (finding["container"]["id"].as_str(), finding["revision"].as_u64(), finding["severity"].as_str())
        })
        .map(|(id, revision, severity)| (id.unwrap().into(), revision.unwrap(), severity.unwrap().into()))
        .collect();
    // One of the nine was not mounted where runc looked. The teardown of the other container is whole.
    assert_eq!(told, [refused("part", 0, "fault"), refused("part", 1, "benign")]);
    check("partial", "partial-teardown", "not-attempted", "benign");
    let told: Vec<(String, String, String)> = findings("stale")
        .iter()
        .filter(|finding| finding["kind"] == "stale-cgroup")
        .map(|finding| (finding["container"]["id"].as_str(), finding["cause"].as_str(), finding["severity"].as_str()))
        .map(|(id, cause, severity)| (id.unwrap().into(), cause.unwrap().into(), severity.unwrap().into()))
        .collect();
    // LXC with a name that it must take, LXC that may take another one, runc 1.3. One that is started into its own
    // cgroup, which is there and empty, meets nothing.
    let expected = [
        left("c2", "name-taken", "fault"),
        left("c1", "name-taken", "benign"),
        left("web", "occupied", "undetermined"),
        // Its log was told of.
        left("logged", "occupied", "fault"),
    ];
    assert_eq!(told, expected);
    let mut told: Vec<(String, String, String)> = findings("refused")
        .iter()
        .filter(|finding| finding["summary"].as_str().is_some_and(|summary| summary.contains(" could not ")))
        .map(|finding| (finding["kind"].as_str(), finding["cause"].as_str(), finding["severity"].as_str()))
        .map(|(kind, cause, severity)| (kind.unwrap().into(), cause.unwrap().into(), severity.unwrap().into()))
        .collect();
    told.sort();
    told.dedup();
    // A script, and runc that makes a container with a limit whose controller v1 has.
    let expected = [
        left("missing-controller", "bound-to-v1", "fault"),
        left("refused-attach", "inner-processes", "undetermined"),
        left("refused-control", "controller-missing", "undetermined"),
        left("refused-control", "processes-inside", "undetermined"),
        left("refused-limit", "invalid-value", "undetermined"),
    ];
    assert_eq!(told, expected);
    let told: Vec<(String, u64, String)> = findings("busy")
        .iter()
        .map(|finding| (finding["cause"].as_str(), finding["revision"].as_u64(), finding["severity"].as_str()))
        .map(|(cause, revision, severity)| (cause.unwrap().into(), revision.unwrap(), severity.unwrap().into()))
        .collect();
    let expected = [
        refused("child-cgroups", 0, "undetermined"),
        refused("frozen", 0, "undetermined"),
        // All were removed in the end: one was tried again until its process had ended, and one, that runc exited 0 of
        // and left to the stranger in it, three seconds later.
        refused("child-cgroups", 1, "benign"),
        refused("frozen", 1, "benign"),
    ];
    assert_eq!(told, expected);
}
