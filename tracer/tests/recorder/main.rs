//! `record` and `report`: real traces on the real kernel, as root, and what becomes of damaged ones.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use support::{CGTRACE, Scratch, c_path, fork, mkdir, of_type, parse, rmdir, signal};

fn run(arguments: &[&str]) -> Output {
    Command::new(CGTRACE).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn report(path: &Path) -> Output {
    run(&["report", "--benign", "--format", "json", path.to_str().unwrap()])
}

/// The lines of a trace, as `zstd -dc` gives them.
fn lines(path: &Path) -> Vec<Value> {
    let out = Command::new("zstd").arg("-dc").arg(path).output().expect("zstd is installed");
    parse(&out.stdout)
}

/// A recorder, killed with its test.
struct Running(Child);

impl std::ops::Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl std::ops::DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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

#[test]
fn a_recorder_killed_at_any_moment_leaves_a_readable_file() {
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
    for round in 0..200u64 {
        let path = directory.path().join(format!("{round}.jsonl.zst"));
        let mut child = record(&path, &[]);
        let stderr = wait_until_it_traces(&mut child);
        // Somewhere within the first seconds' frames, another moment each time.
        std::thread::sleep(Duration::from_micros(round * 7_919 % 60_000 + if round % 20 == 0 { 1_100_000 } else { 0 }));
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
    }
    signal(churning.0 as u32, libc::SIGKILL);
    churning.wait();
}

#[test]
fn every_part_of_a_rotated_recording_is_readable_alone_and_all_together() {
    let scratch = Scratch::new();
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().join("trace.jsonl.zst");
    let mut child = record(&base, &["--rotate-size", "8k", "--keep", "4"]);
    let stderr = wait_until_it_traces(&mut child);
    for _ in 0..12 {
        churn(&scratch, "churn", 2_000);
        std::thread::sleep(Duration::from_millis(150));
    }
    signal(child.id(), libc::SIGINT);
    assert!(child.wait().unwrap().success());
    drop(stderr);
    let mut parts: Vec<PathBuf> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    parts.sort();
    assert_eq!(parts.len(), 4, "{parts:?}");
    assert!(!parts[0].to_string_lossy().contains(".0000."), "older ones are removed: {parts:?}");
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
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(files(), 0, "nothing happened that matters");
    churn(&scratch, "before", 10);
    let missing = c_path(scratch.path.join("missing"));
    assert_eq!(fork(|| rmdir(&missing)).wait(), libc::ENOENT);
    support::wait_for("the file", || (files() == 1).then_some(()));
    churn(&scratch, "after", 10);
    std::thread::sleep(Duration::from_millis(2_500));
    churn(&scratch, "late", 10);
    // The same path again would be the same story.
    let another = c_path(scratch.path.join("another"));
    assert_eq!(fork(|| rmdir(&another)).wait(), libc::ENOENT);
    support::wait_for("another file", || (files() == 2).then_some(()));
    signal(child.id(), libc::SIGINT);
    assert!(child.wait().unwrap().success());
    drop(stderr);
    let first = directory.path().join("flight.0000.jsonl.zst");
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
fn a_full_disk_loses_lines_says_so_and_goes_on_when_there_is_room() {
    let scratch = Scratch::new();
    let directory = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=128k none {0}; exec {CGTRACE} record -o {0}/t.jsonl.zst",
        directory.path().display()
    );
    let mut child = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec", &script])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = wait_until_it_traces(&mut child);
    let inside = PathBuf::from(format!("/proc/{}/root{}", child.id(), directory.path().display()));
    let filler = inside.join("filler");
    let _ = fs::write(&filler, vec![0u8; 256 << 10]);
    // Two frames fall due on a full disk, then one with room.
    for _ in 0..4 {
        churn(&scratch, "full", 500);
        std::thread::sleep(Duration::from_millis(700));
    }
    fs::remove_file(&filler).unwrap();
    for _ in 0..4 {
        churn(&scratch, "room", 100);
        std::thread::sleep(Duration::from_millis(700));
    }
    signal(child.id(), libc::SIGINT);
    let copy = tempfile::tempdir().unwrap();
    let copy = copy.path().join("t.jsonl.zst");
    // The file system goes with the process: it is copied when its end is in it.
    let begun = Instant::now();
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    while let Ok(bytes) = fs::read(inside.join("t.jsonl.zst")) {
        fs::write(&copy, bytes).unwrap();
        assert!(begun.elapsed() < support::DEADLINE);
    }
    let status = child.wait().unwrap();
    let said = support::read_all(stderr);
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("No space left on device") && said.contains("lines were not recorded"), "{said}");
    let told = report(&copy);
    let all = parse(&told.stdout);
    assert!(!all.is_empty(), "{}", text(&told.stderr));
    let human = text(&run(&["report", copy.to_str().unwrap()]).stdout);
    assert!(human.contains("(recording, not-written)"), "{human}\n{}", text(&told.stderr));
}

/// What `report` says of such a file: status 2, and one message.
fn check_refused(bytes: &[u8], wanted: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.jsonl.zst");
    fs::write(&path, bytes).unwrap();
    let told = report(&path);
    let said = text(&told.stderr);
    assert_eq!(told.status.code(), Some(2), "{said}");
    assert!(said.contains(wanted) && said.contains("t.jsonl.zst"), "{wanted:?} is not in {said:?}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn what_is_no_trace_is_refused_with_its_reason() {
    let header = |format: u32| {
        format!("{{\"type\":\"header\",\"format\":{format},\"tool\":\"cgtrace 9.1\",\"started\":\"x\"}}\n").into_bytes()
    };
    check_refused(b"", "it is empty");
    check_refused(&[0; 4_096], "it is no trace");
    check_refused(b"hello\n", "it is no trace");
    check_refused(b"{\"type\":\"event\",\"seq\":1}\n", "does not begin with a header");
    check_refused(&header(99), "it has format 99, written by cgtrace 9.1; this version reads up to format 1");
    check_refused(&header(1), "does not begin with a header");
    let mut deep = b"{\"type\":\"header\",\"format\":1,\"x\":".to_vec();
    deep.extend(vec![b'['; 100_000]);
    deep.push(b'\n');
    check_refused(&deep, "it is no trace");
    let nothing = run(&["report", "/no/such/file"]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(text(&nothing.stderr).contains("failed to open /no/such/file: No such file"));
}

#[test]
fn damage_is_said_and_the_rest_is_told() {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/incident.jsonl");
    let whole = fs::read_to_string(recording).unwrap();
    let inputs: Vec<&str> = whole.lines().filter(|line| !line.starts_with("{\"type\":\"finding\"")).collect();
    let check = |lines: &[&str], wanted: &str| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.jsonl");
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        let told = run(&["report", path.to_str().unwrap()]);
        let said = text(&told.stderr) + &text(&told.stdout);
        assert!(said.contains(wanted), "{wanted:?} is not in {said}");
        said
    };
    assert!(!check(&inputs, "lost      nothing").contains("warning"));
    let mut broken = inputs.clone();
    broken[20] = "{\"type\":\"event\",\"seq\":20,\"at\":-1}";
    assert!(check(&broken, "cannot be read").contains("FAULT"));
    let mut holed = inputs.clone();
    holed.remove(17);
    check(&holed, "1 (recording, malformed)");
    let mut twice = inputs.clone();
    twice.insert(20, inputs[19]);
    check(&twice, "comes after line");
    check(&inputs[..inputs.len() - 1], "cut short: it has no end");
    let mut evil = inputs.clone();
    let renamed = inputs[18].replace("\"comm\":\"", "\"comm\":\"\\u001b]0;x\\u0007");
    evil[18] = &renamed;
    assert!(!check(&evil, "findings").contains('\u{1b}'), "nothing from a trace moves the terminal");
}

#[test]
fn traces_of_format_1_are_read_for_ever() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/incident.jsonl.zst");
    let told = report(&golden);
    assert!(told.status.success(), "{}", text(&told.stderr));
    let lines = parse(&told.stdout);
    assert_eq!(lines[0]["format"], 1);
    let finding = of_type(&lines, "finding").into_iter().next_back().unwrap().clone();
    assert_eq!(finding["kind"], "missing-path-teardown");
    assert_eq!((&finding["severity"], &finding["known_issues"][0]["id"]), (&"fault".into(), &"runc#4518".into()));
}

#[test]
fn a_trace_is_followed_while_it_is_written() {
    let scratch = Scratch::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.jsonl.zst");
    let mut child = record(&path, &[]);
    let stderr = wait_until_it_traces(&mut child);
    support::wait_for("the header", || fs::metadata(&path).is_ok_and(|file| file.len() > 0).then_some(()));
    let follower = Command::new(CGTRACE)
        .args(["report", "--follow", "--format", "json"])
        .arg(&path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let missing = c_path(scratch.path.join("missing"));
    assert_eq!(fork(|| rmdir(&missing)).wait(), libc::ENOENT);
    std::thread::sleep(Duration::from_millis(300));
    signal(child.id(), libc::SIGINT);
    assert!(child.wait().unwrap().success());
    drop(stderr);
    let followed = parse(&follower.wait_with_output().unwrap().stdout);
    assert!(of_type(&followed, "finding").into_iter().any(|line| scratch.has(line)), "{followed:?}");
}
