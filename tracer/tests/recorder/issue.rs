//! `cgtrace issue`: reports of recorded findings, and their scripts, run on this kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::{record, run, text, wait_until_it_traces};
use crate::support::{Agent, CGTRACE, Scratch, hierarchy, of_type, parse, signal};

/// The findings of a trace, as they were told last.
fn findings(path: &Path) -> BTreeMap<String, Value> {
    let lines = parse(&run(&["report", "--benign", "--json", path.to_str().unwrap()]).stdout);
    let findings = of_type(&lines, "finding").into_iter();
    findings.map(|finding| (finding["id"].as_str().unwrap().to_owned(), finding.clone())).collect()
}

fn issue(id: &str, path: &Path, arguments: &[&str]) -> Value {
    let told = run(&[&["issue", "--json", id, path.to_str().unwrap()], arguments].concat());
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stderr));
    parse(&told.stdout).remove(0)
}

/// Runs a script, traced. Returns what is told of its cgroups: kind and cause.
fn played(script: &str, directory: &Path) -> Vec<(String, String)> {
    let (file, results) = (directory.join("again.sh"), directory.join("results"));
    fs::write(&file, script).unwrap();
    let done = Command::new(CGTRACE)
        .args(["live", "--json", "--benign", "--only", "findings", "--output"])
        .arg(&results)
        .args(["--", "sh"])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(0), "{script}\n{}", text(&done.stderr));
    let lines = parse(&fs::read(&results).unwrap());
    let is_its = |finding: &&&Value| finding["cgroup"]["path"].as_str().unwrap().contains("/cgtrace-issue-");
    let findings = of_type(&lines, "finding");
    findings.iter().filter(is_its).map(|finding| (word(finding, "kind"), word(finding, "cause"))).collect()
}

/// A script that is run.
struct Play {
    name: String,
    script: String,
    expected: (String, String),
    /// What else was told of the same recording.
    known: BTreeSet<(String, String)>,
    child: Child,
    _directory: tempfile::TempDir,
}

impl Play {
    fn begin(name: String, script: &str, expected: (String, String), known: BTreeSet<(String, String)>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("again.sh");
        fs::write(&file, script).unwrap();
        let mut command = Command::new("sh");
        let child =
            command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { name, script: script.to_owned(), expected, known, child, _directory: directory }
    }

    /// What is told of its cgroups: kinds and causes.
    fn told(&self, lines: &[Value]) -> BTreeSet<(String, String)> {
        let scratch = format!("/cgtrace-issue-{}/", self.child.id());
        let is_its = |finding: &&&Value| format!("{}/", finding["cgroup"]["path"].as_str().unwrap()).contains(&scratch);
        let findings = of_type(lines, "finding");
        findings.iter().filter(is_its).map(|finding| (word(finding, "kind"), word(finding, "cause"))).collect()
    }
}

fn word(finding: &Value, field: &str) -> String {
    finding[field].as_str().unwrap().to_owned()
}

/// Scripts that run at the same time.
const AT_ONCE: usize = 6;

#[test]
fn the_script_of_every_recorded_finding_yields_the_same_finding_or_it_is_said_why_there_is_none() {
    let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut paths: Vec<PathBuf> = fs::read_dir(recordings).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut scripts = BTreeMap::new();
    let mut without: BTreeSet<(String, String)> = BTreeSet::new();
    for path in &paths {
        let findings = findings(path);
        let known: BTreeSet<_> =
            findings.values().map(|finding| (word(finding, "kind"), word(finding, "cause"))).collect();
        for (id, finding) in findings {
            let report = issue(&id, path, &[]);
            let name = format!("{} {id}", path.file_stem().unwrap().to_str().unwrap());
            let expected = (word(&finding, "kind"), word(&finding, "cause"));
            match report["script"].as_str() {
                Some(script) => drop(scripts.insert(script.to_owned(), (name, expected, known.clone()))),
                None => {
                    let why = report["no_script"].as_str().unwrap();
                    assert!(report["markdown"].as_str().unwrap().contains(why), "{name}");
                    println!("{name}: {expected:?}: no script: {why}");
                    without.insert(expected);
                }
            }
        }
    }
    let agent = Agent::start(&["--benign"]);
    let mut plays: Vec<Play> = Vec::new();
    for (script, (name, expected, known)) in scripts {
        plays.push(Play::begin(name, &script, expected, known));
        if let Some(earlier) = plays.len().checked_sub(AT_ONCE) {
            plays[earlier].child.wait().unwrap();
        }
    }
    for play in &mut plays {
        assert!(play.child.wait().unwrap().success(), "{}:\n{}", play.name, play.script);
    }
    // At its end it tells what it has not told yet.
    let lines = agent.finish();
    let mut wrong = Vec::new();
    for play in &plays {
        let told = play.told(&lines);
        println!("{}: {:?}: {told:?}", play.name, play.expected);
        // The calls of one finding may be those of another, too.
        if !told.contains(&play.expected) || !told.is_subset(&play.known) {
            wrong.push(format!("{}: {:?} gave {told:?}:\n{}", play.name, play.expected, play.script));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(plays.len() >= 20, "{}", plays.len());
    // Of a busy one nobody saw who was in it; the others need a container runtime, ten minutes, or a kernel that waits.
    let kinds: BTreeSet<&str> = without.iter().map(|(kind, _)| kind.as_str()).collect();
    let expected =
        ["busy-teardown", "leaked-cgroup", "lingering-cgroup", "partial-teardown", "stale-cgroup", "stuck-call"];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected, "{without:?}");
    assert!(without.contains(&("busy-teardown".to_owned(), "unknown".to_owned())), "{without:?}");
    let (_, cgroup2) = hierarchy(None).unwrap();
    for play in &plays {
        assert!(!cgroup2.join(format!("cgtrace-issue-{}", play.child.id())).exists(), "{}", play.name);
    }
}

#[test]
fn hostile_names_are_no_part_of_a_script() {
    let directory = tempfile::tempdir().unwrap();
    let (trace, proof) = (directory.path().join("trace.jsonl"), directory.path().join("proof"));
    let mut recorder = record(&trace, &[]);
    wait_until_it_traces(&mut recorder.0);
    let scratch = Scratch::new();
    // The kernel refuses only a new line.
    let hostile = "-a'$(touch proof)`touch proof`\t\"; touch proof #\\$IFS\u{1b}[2J";
    let cgroup = scratch.path.join(hostile);
    fs::create_dir(&cgroup).unwrap();
    let twice = Command::new("rmdir").args([&cgroup, &cgroup]).stderr(Stdio::null()).status().unwrap();
    assert!(!twice.success());
    signal(recorder.0.id(), libc::SIGINT);
    assert!(recorder.0.wait().unwrap().success());

    let findings = findings(&trace);
    let is_it = |finding: &&Value| finding["cgroup"]["path"].as_str().unwrap().contains("touch proof");
    let finding = findings.values().find(is_it).unwrap();
    let report = issue(finding["id"].as_str().unwrap(), &trace, &[]);
    let script = report["script"].as_str().unwrap();
    assert!(!script.contains("touch"), "{script}");
    let told = played(script, directory.path());
    assert_eq!(told, [("duplicate-teardown".to_owned(), "removed-by-self".to_owned())], "{script}");
    assert!(!proof.exists() && !Path::new("proof").exists());
    // In the report it is one line of a block.
    let markdown = report["markdown"].as_str().unwrap();
    assert!(markdown.contains("touch proof") && !markdown.contains(['\t', '\u{1b}']), "{markdown}");
}

fn recording(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(format!("{name}.jsonl"))
}

#[test]
fn a_report_says_what_happened_where_how_to_see_it_and_what_is_masked() {
    let path = recording("incident");
    let told = run(&["issue", "b424", path.to_str().unwrap()]);
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stderr));
    let report = text(&told.stdout);
    let parts = [
        "# missing-path-teardown: read-only-mount",
        "## What happened",
        "## Where",
        "kernel     6.18.44 x86_64",
        "layout     hybrid: ",
        "## The story",
        "mkdir EROFS",
        "## Processes",
        "demo-runc[10220]: demo-runc delete container-1 (2 arguments masked)",
        "## It looks like runc#4518",
        "## To see it again",
        "mount -o remount,bind,ro",
        "## Masked",
    ];
    let places = parts.map(|part| report.find(part).unwrap_or_else(|| panic!("{part:?} is not in {report}")));
    assert!(places.is_sorted(), "{report}");
    for masked in ["b05bzm3so1yqejoj60u5ud8fl", "/tmp/cgtrace-demo-DGDXJB"] {
        assert!(!report.contains(masked), "{masked}: {report}");
    }
    let shown = text(&run(&["issue", "b424", path.to_str().unwrap(), "--show", "names,arguments"]).stdout);
    assert!(shown.contains("delete b05bzm3so1yqejoj60u5ud8fl"), "{shown}");

    let script = text(&run(&["issue", "--script", "b424", path.to_str().unwrap()]).stdout);
    assert!(script.starts_with("#!/bin/sh\n") && report.contains(script.trim_end()), "{script}");
}

#[test]
fn a_finding_is_named_by_the_beginning_of_its_id_and_nobody_elses() {
    let [busy, leaked] = ["busy", "leaked"].map(recording);
    let unknown = run(&["issue", "zz", busy.to_str().unwrap()]);
    assert_eq!((unknown.status.code(), text(&unknown.stdout)), (Some(1), String::new()));
    assert!(text(&unknown.stderr).contains("no finding whose id begins with \"zz\""), "{}", text(&unknown.stderr));
    let several = run(&["issue", "", busy.to_str().unwrap()]);
    assert_eq!(several.status.code(), Some(2));
    assert!(text(&several.stderr).contains("e627a15fef2e"), "{}", text(&several.stderr));
    let none = run(&["issue", "--script", "1e7d", leaked.to_str().unwrap()]);
    assert_eq!((none.status.code(), text(&none.stdout)), (Some(1), String::new()));
    assert!(text(&none.stderr).contains("there is no script: "), "{}", text(&none.stderr));
}
