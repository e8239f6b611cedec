//! Recordings of refused calls: of a test's trace what is about its own cgroup, without anything of this machine.
//!
//! They are what `docs/refusals.md` is made of. With `CGTRACE_RECORDINGS=DIRECTORY` they are written there, on this
//! host or in a guest.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::replayed::replay;
use crate::support::{Scratch, of_type, parse};

/// What stands for the test's own cgroup.
const CGROUP: &str = "/cells";
/// Fields that tell of this machine, of its users, or of what the test was started by.
const OWN: [&str; 5] = ["command", "cwd", "parent", "parents", "cgroup_id"];

/// Writes the recording of a trace if it is wanted, and holds what it tells against what was told.
pub fn keep(name: &str, scratch: &Scratch, lines: &[Value]) {
    let Some(directory) = std::env::var_os("CGTRACE_RECORDINGS") else { return };
    let recording = replay(&recording(scratch, lines));
    let live = findings(&lines.iter().map(|line| of_cells(scratch, line)).collect::<Vec<_>>());
    assert_eq!(findings(&parse(&recording)), live, "{name}: what the recording tells, and what was told");
    let text = String::from_utf8_lossy(&recording);
    for place in [env!("CARGO_MANIFEST_DIR"), "/home/", "/root/", "/target/", "/tmp/"] {
        assert!(!text.contains(place), "{name}: a recording tells nothing of this machine, and not of {place}");
    }
    fs::write(PathBuf::from(directory).join(format!("{name}.jsonl")), recording).unwrap();
}

/// What is compared of each finding of a refusal, in the order in which they were told.
fn findings(lines: &[Value]) -> Vec<Value> {
    let is_one = |finding: &&Value| {
        let path = finding["cgroup"]["path"].as_str().unwrap_or_default();
        path.starts_with(CGROUP) && finding["summary"].as_str().is_some_and(|summary| summary.contains(" could not "))
    };
    let compared = ["revision", "kind", "cause", "severity", "certainty", "because", "summary", "outcome"];
    let of = |finding: &Value| compared.into_iter().map(|field| finding[field].clone()).collect();
    of_type(lines, "finding").into_iter().filter(is_one).map(of).collect()
}

/// The inputs of a trace that are about the cgroup, and about the processes that were refused there, numbered again.
fn recording(scratch: &Scratch, lines: &[Value]) -> Vec<u8> {
    // Others look at the cgroups of a test, too: an agent that runs beside it reads them.
    let is_own = |process: &&Value| {
        let mut parents = process["parents"].as_array().into_iter().flatten();
        parents.any(|parent| parent["pid"] == std::process::id())
    };
    let own: BTreeSet<u64> =
        of_type(lines, "process").into_iter().filter(is_own).filter_map(|line| line["pid"].as_u64()).collect();
    // The test itself asks for the removal of what is not there, to know that all was told.
    let is_cell = |line: &&Value| {
        let is_by_own = line["actor"]["pid"].as_u64().is_some_and(|pid| own.contains(&pid));
        is_by_own && line["operation"] != "rmdir" && is_about(scratch, line)
    };
    let callers: BTreeSet<u64> = of_type(lines, "attempt")
        .into_iter()
        .filter(is_cell)
        .filter_map(|line| line["actor"]["pid"].as_u64())
        .collect();
    let is_callers = |line: &Value| line["pid"].as_u64().is_some_and(|pid| callers.contains(&pid));
    let is_kept = |line: &&Value| match line["type"].as_str().unwrap() {
        "header" | "end" | "lost" | "tick" => true,
        "event" | "change" => scratch.has(line),
        "attempt" => is_cell(line),
        "facts" => line["about"] == "circumstances" && is_callers(line),
        "process" => is_callers(line),
        _ => false,
    };
    let mut text = Vec::new();
    for (number, line) in lines.iter().filter(is_kept).enumerate() {
        let mut line = of_cells(scratch, line);
        if line.get("seq").is_some() {
            line["seq"] = number.into();
        }
        if line["type"] == "header" {
            line["host"] = "host".into();
            line["boot_id"] = "00000000-0000-0000-0000-000000000000".into();
        }
        serde_json::to_writer(&mut text, &line).unwrap();
        text.push(b'\n');
    }
    text
}

/// Whether a call is on a cgroup of the test's own, also on one that is gone.
fn is_about(scratch: &Scratch, attempt: &Value) -> bool {
    let directory = attempt["directory"]["path"].as_str().unwrap_or_default();
    scratch.has(attempt) || directory.starts_with(&scratch.cgroup)
}

/// Without the fields that tell of this machine, and with another name for the cgroup.
fn of_cells(scratch: &Scratch, value: &Value) -> Value {
    match value {
        Value::String(text) => text.replace(&scratch.cgroup, CGROUP).into(),
        Value::Array(values) => values.iter().map(|value| of_cells(scratch, value)).collect(),
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
            kept.map(|(name, value)| (name.clone(), of_cells(scratch, value))).collect::<Map<_, _>>().into()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}
