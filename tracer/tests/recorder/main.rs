//! `record` and `report`: real traces on the real kernel, as root.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod flight;
mod issue;
mod stranded;
#[path = "../support/mod.rs"]
mod support;
mod why;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use support::{CGTRACE, Running, Scratch, c_path, fork, mkdir, of_type, parse, report, rmdir, run, signal, text};

/// The lines of a trace, as `zstd -dc` gives them.
fn lines(path: &Path) -> Vec<Value> {
    let out = Command::new("zstd").arg("-dc").arg(path).output().expect("zstd is installed");
    parse(&out.stdout)
}

/// Starts a recorder.
fn record(path: &Path, arguments: &[&str]) -> Running {
    let child = Command::new(CGTRACE)
        .args(["record", "-o"])
        .arg(path)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Running(child)
}

fn wait_until_it_traces(child: &mut Child) -> std::process::ChildStderr {
    use std::io::Read;
    let mut stderr = child.stderr.take().unwrap();
    let (mut said, mut byte) = (String::new(), [0]);
    while !said.contains("tracing ") || !said.ends_with('\n') {
        assert_eq!(stderr.read(&mut byte).unwrap(), 1, "the recorder ended: {said}");
        said.push(byte[0] as char);
    }
    stderr
}

/// Makes and removes a cgroup over and over for a time, or so often.
fn churn(scratch: &Scratch, name: &str, rounds: u32) {
    let path = c_path(scratch.path.join(name));
    let churned = fork(|| {
        for _ in 0..rounds {
            if mkdir(&path) != 0 || rmdir(&path) != 0 {
                return 1;
            }
        }
        0
    });
    assert_eq!(churned.wait(), 0);
}

#[test]
fn a_recorded_fault_is_reported_as_it_was_seen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.jsonl.zst");
    let done = run(&[
        "record",
        "-o",
        path.to_str().unwrap(),
        "--",
        CGTRACE,
        "demo",
        "missing-path",
        "--play",
        "cgtrace-record-test",
    ]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let told = report(&path);
    assert!(told.status.success(), "{}", text(&told.stderr));
    let findings = parse(&told.stdout);
    let finding = of_type(&findings, "finding").into_iter().next_back().unwrap().clone();
    assert_eq!((&finding["severity"], &finding["known_issues"][0]["id"]), (&"fault".into(), &"runc#4518".into()));

    // With no tool of ours, and through a pipe.
    let plain = lines(&path);
    assert!(of_type(&plain, "finding").is_empty(), "findings are derived, not recorded");
    assert_eq!(plain.last().unwrap()["type"], "end");
    let plain = Command::new("zstd").arg("-dc").arg(&path).output().unwrap().stdout;
    let copy = directory.path().join("plain.jsonl");
    fs::write(&copy, plain).unwrap();
    assert_eq!(report(&copy).stdout, told.stdout);
    let piped = Command::new(CGTRACE)
        .args(["report", "--benign", "--format", "json", "-"])
        .stdin(fs::File::open(&copy).unwrap())
        .output()
        .unwrap();
    assert_eq!(piped.stdout, told.stdout);

    let human = text(&run(&["report", "--lives", path.to_str().unwrap()]).stdout);
    for part in ["FAULT  missing-path-teardown", "runc#4518", "findings  1: 1 fault", "mkdir EROFS", "└─"] {
        assert!(human.contains(part), "{part:?} is not in {human}");
    }
    assert_eq!(run(&["report", "--fail-on", "fault", path.to_str().unwrap()]).status.code(), Some(1));
    assert_eq!(run(&["report", "--fail-on", "duplicate-teardown", path.to_str().unwrap()]).status.code(), Some(0));
}

#[test]
fn a_report_says_byte_for_byte_what_live_said() {
    let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut checked = 0;
    for entry in fs::read_dir(recordings).unwrap() {
        let path = entry.unwrap().path();
        let live = fs::read_to_string(&path).unwrap();
        let of = |text: &str| -> Vec<String> {
            text.lines().filter(|line| line.starts_with("{\"type\":\"finding\"")).map(str::to_owned).collect()
        };
        let reported = report(&path);
        assert!(reported.status.success(), "{}: {}", path.display(), text(&reported.stderr));
        assert_eq!(of(&text(&reported.stdout)), of(&live), "{}", path.display());
        checked += 1;
    }
    assert!(checked >= 5);
}

/// What a finding claims, without the numbers and times that are a tracer's own.
fn claim(finding: &Value) -> Value {
    let calls: Vec<Value> = finding["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| serde_json::json!([call["syscall"], call["errno"], call["path"], call["actor"]["pid"]]))
        .collect();
    let mut claim = serde_json::json!({
        "calls": calls,
        "rival": finding["rival"]["actor"]["pid"],
        "exit": finding["outcome"]["exit"],
        "state_left": finding["outcome"]["state_left"],
    });
    for field in ["kind", "cause", "severity", "certainty", "container", "cgroup", "actor", "known_issues"] {
        claim[field] = finding[field].clone();
    }
    claim
}

#[test]
fn every_scenario_and_a_real_runc_life_are_reported_as_they_were_told_live() {
    for scenario in ["duplicate", "missing-path", "missing-path-benign", "runc"] {
        let directory = tempfile::tempdir().unwrap();
        let stage = format!("cgtrace-told-{scenario}");
        let (results, trace) = (directory.path().join("live.jsonl"), directory.path().join("trace.jsonl.zst"));
        let mut recorder = record(&trace, &[]);
        let stderr = wait_until_it_traces(&mut recorder);
        let live = run(&[
            "live",
            "--json",
            "--benign",
            "-o",
            results.to_str().unwrap(),
            "--",
            CGTRACE,
            "demo",
            scenario,
            "--play",
            &stage,
        ]);
        assert!(live.status.success(), "{scenario}: {}", text(&live.stderr));
        signal(recorder.id(), libc::SIGINT);
        let status = recorder.wait().unwrap();
        assert!(status.success(), "{scenario}: {status}: {}", support::read_all(stderr));

        // The same stream, without its findings, through a file: byte for byte.
        let live = fs::read_to_string(&results).unwrap();
        let is_finding = |line: &&str| line.starts_with("{\"type\":\"finding\"");
        let told: Vec<&str> = live.lines().filter(is_finding).collect();
        assert!(!told.is_empty(), "{scenario}: no finding");
        let inputs: String = live.lines().filter(|line| !is_finding(line)).map(|line| format!("{line}\n")).collect();
        let copy = directory.path().join("copy.jsonl");
        fs::write(&copy, inputs).unwrap();
        assert!(Command::new("zstd").args(["-q", "--rm"]).arg(&copy).status().unwrap().success());
        let reported = report(&directory.path().join("copy.jsonl.zst"));
        let reported_text = text(&reported.stdout);
        assert_eq!(reported_text.lines().filter(is_finding).collect::<Vec<_>>(), told, "{scenario}");

        // What another tracer recorded of the same: the same claims and evidence. What is told of others on this host
        // depends on when each of the two began.
        let is_own = |line: &&Value| line["cgroup"]["path"].as_str().is_some_and(|path| path.contains(&stage));
        let recorded = parse(&report(&trace).stdout);
        let live = parse(live.as_bytes());
        let last = |lines: &[Value]| -> Vec<Value> {
            let own = of_type(lines, "finding").into_iter().filter(is_own);
            let findings: BTreeMap<&str, &Value> = own.map(|line| (line["id"].as_str().unwrap(), line)).collect();
            assert!(!findings.is_empty(), "{scenario}: no finding");
            let mut claims: Vec<Value> = findings.values().map(|finding| claim(finding)).collect();
            claims.sort_by_key(|claim| claim["actor"]["pid"].as_u64());
            claims
        };
        assert_eq!(last(&recorded), last(&live), "{scenario}");
    }
}

#[test]
fn what_is_there_is_never_overwritten_and_no_link_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let (file, link, target) =
        (directory.path().join("file"), directory.path().join("link"), directory.path().join("target"));
    fs::write(&file, "precious").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    for path in [&file, &link] {
        let done = run(&["record", "-o", path.to_str().unwrap(), "--", "true"]);
        assert_eq!(done.status.code(), Some(2));
        assert!(text(&done.stderr).contains("error: failed to create"), "{}", text(&done.stderr));
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert!(!target.exists());
}

/// Kills recorders, each of these at another moment.
fn killed(rounds: impl Iterator<Item = u64>) {
    let scratch = Scratch::new();
    let directory = tempfile::tempdir().unwrap();
    let busy = c_path(scratch.path.join("busy"));
    let churning = fork(|| {
        loop {
            mkdir(&busy);
            rmdir(&busy);
            // SAFETY: a call without memory. Fast enough that every moment is a bad one, and the file stays small.
            unsafe { libc::usleep(200) };
        }
    });
    for round in rounds {
        let path = directory.path().join(format!("{round}.jsonl.zst"));
        let mut child = record(&path, &[]);
        let stderr = wait_until_it_traces(&mut child);
        // Somewhere within the first seconds' frames, another moment each time.
        std::thread::sleep(Duration::from_micros(round * 7_919 % 60_000 + if round % 20 == 0 { 1_100_000 } else { 0 }));
        let killed = cgtrace::process::boot_time();
        signal(child.id(), libc::SIGKILL);
        child.wait().unwrap();
        drop(stderr);
        if fs::metadata(&path).unwrap().len() == 0 {
            // Killed before its first frame: nothing is missing but that one.
            continue;
        }
        let told = report(&path);
        assert_eq!(told.status.code(), Some(2), "round {round}: {}", text(&told.stderr));
        let warnings = text(&told.stderr);
        assert!(warnings.lines().all(|line| line.contains("cut short")), "round {round}: {warnings}");
        let seqs: Vec<u64> = lines(&path).iter().filter_map(|line| line["seq"].as_u64()).collect();
        assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "round {round}: a hole");
        // A frame is a second at most; the rest is for a machine that is busy.
        if let Some(last) = lines(&path).iter().rev().find_map(|line| line["at"].as_u64()) {
            let missing = killed.since(cgtrace::input::BootTime(last));
            assert!(missing < Duration::from_secs(5), "round {round}: {missing:?} are missing");
        }
    }
    signal(churning.0 as u32, libc::SIGKILL);
    churning.wait();
}

#[test]
fn a_recorder_that_is_killed_leaves_a_readable_file() {
    killed((0..200).step_by(8));
}

#[test]
#[ignore = "takes minutes: cargo xtask test --all"]
fn a_recorder_killed_at_any_moment_leaves_a_readable_file() {
    killed(0..200);
}

#[test]
fn every_part_of_a_rotated_recording_is_readable_alone_and_all_together() {
    let scratch = Scratch::new();
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().join("trace.jsonl.zst");
    let mut child = record(&base, &["--rotate-size", "4k", "--keep", "4"]);
    let stderr = wait_until_it_traces(&mut child);
    let parts = || {
        let mut parts: Vec<PathBuf> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        parts.sort();
        parts
    };
    support::wait_for("the removal of the first part", || {
        let newest = parts().last().cloned();
        churn(&scratch, "churn", 500);
        // However slow the disk is: nothing is lost, or what exists would be news to a later part.
        support::wait_for("another part", || (parts().last() != newest.as_ref()).then_some(()));
        parts().first().is_some_and(|first| !first.to_string_lossy().contains(".0000.")).then_some(())
    });
    signal(child.id(), libc::SIGINT);
    assert!(child.wait().unwrap().success());
    drop(stderr);
    let parts = parts();
    assert_eq!(parts.len(), 4, "{parts:?}");
    for part in &parts {
        let all = lines(part);
        assert_eq!(all[0]["type"], "header");
        assert!(of_type(&all, "event").iter().any(|line| line["change"] == "existing"), "it says what exists");
        let told = report(part);
        assert!(!told.stdout.is_empty(), "{}", text(&told.stderr));
    }
    let together = run(&["report", directory.path().to_str().unwrap()]);
    assert!(together.status.success(), "{}", text(&together.stderr));
    assert_eq!(
        text(&together.stdout).lines().filter(|line| line.starts_with("trace ")).count(),
        1,
        "the parts are one recording"
    );
    // What later parts repeat is counted once.
    let existing = |lines: &[Value]| of_type(lines, "event").iter().filter(|line| line["change"] == "existing").count();
    let told = parse(&run(&["report", "--json", directory.path().to_str().unwrap()]).stdout);
    let counts = &told.last().unwrap()["counts"];
    assert_eq!(counts["lost"], 0, "{counts}");
    assert_eq!(counts["events"]["existing"], existing(&lines(&parts[0])), "{counts}");
    let all: Vec<Value> = parts.iter().flat_map(|part| lines(part)).collect();
    assert!(existing(&all) > 2 * existing(&lines(&parts[0])), "each part has them");
}

#[test]
fn a_flight_recorder_writes_only_around_what_matters() {
    let scratch = Scratch::new();
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().join("flight.jsonl.zst");
    let glob = format!("{}/*", scratch.cgroup);
    let mut child = record(&base, &["--flight", "1s", "--flight-on", "missing-path-teardown", "--cgroup", &glob]);
    let stderr = wait_until_it_traces(&mut child);
    let files = || fs::read_dir(directory.path()).unwrap().count();
    churn(&scratch, "early", 10);
    // More than the time that is kept: there is nothing else to wait for.
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(files(), 0, "nothing happened that matters");
    churn(&scratch, "before", 10);
    let missing = c_path(scratch.path.join("missing"));
    assert_eq!(fork(|| rmdir(&missing)).wait(), libc::ENOENT);
    support::wait_for("the file", || (files() == 1).then_some(()));
    churn(&scratch, "after", 10);
    let first = directory.path().join("flight.0000.jsonl.zst");
    let is_over = || lines(&first).last().is_some_and(|line| line["type"] == "end");
    support::wait_for("the end of the file", || is_over().then_some(()));
    churn(&scratch, "late", 10);
    // The same path again would be the same story.
    let another = c_path(scratch.path.join("another"));
    assert_eq!(fork(|| rmdir(&another)).wait(), libc::ENOENT);
    support::wait_for("another file", || (files() == 2).then_some(()));
    signal(child.id(), libc::SIGINT);
    assert!(child.wait().unwrap().success());
    drop(stderr);
    let all = lines(&first);
    assert_eq!((&all[0]["type"], &all.last().unwrap()["type"]), (&"header".into(), &"end".into()));
    let has = |name: &str| {
        !scratch.changes(&all, name).iter().filter(|change| *change == "created").collect::<Vec<_>>().is_empty()
    };
    assert!(has("before") && has("after"), "the seconds before and after are in it");
    assert!(!has("early") && !has("late"), "and no others");
    let told = report(&first);
    assert!(told.status.success(), "{}", text(&told.stderr));
    assert!(of_type(&parse(&told.stdout), "finding").into_iter().any(|line| scratch.has(line)));
    assert!(report(&directory.path().join("flight.0001.jsonl.zst")).status.success());
}

#[test]
fn a_trace_is_followed_while_it_is_written() {
    let scratch = Scratch::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.jsonl.zst");
    let mut child = record(&path, &[]);
    let stderr = wait_until_it_traces(&mut child);
    support::wait_for("the header", || fs::metadata(&path).is_ok_and(|file| file.len() > 0).then_some(()));
    let results = directory.path().join("followed");
    let mut follower = Running(
        Command::new(CGTRACE)
            .args(["report", "--follow", "--format", "json"])
            .arg(&path)
            .stdout(fs::File::create(&results).unwrap())
            .spawn()
            .unwrap(),
    );
    let missing = c_path(scratch.path.join("missing"));
    assert_eq!(fork(|| rmdir(&missing)).wait(), libc::ENOENT);
    let is_told = || of_type(&parse(&fs::read(&results).unwrap()), "finding").into_iter().any(|line| scratch.has(line));
    support::wait_for("the finding, while the trace is written", || is_told().then_some(()));
    signal(child.id(), libc::SIGINT);
    assert!(child.wait().unwrap().success());
    drop(stderr);
    assert!(follower.wait().unwrap().success(), "it ends when the trace does");
}
