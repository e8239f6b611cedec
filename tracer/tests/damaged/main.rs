//! Traces that are cut, flipped, joined, too long, too deep or none at all. Nothing is traced here.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::{CGTRACE, report, run, text};

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
    check_refused(&[0; 4_096], "it is not a trace");
    check_refused(b"hello\n", "it is not a trace");
    check_refused(b"{\"type\":\"event\",\"seq\":1}\n", "does not begin with a header");
    check_refused(&header(99), "it has format 99, written by cgtrace 9.1; this version reads up to format 1");
    check_refused(&header(1), "does not begin with a header");
    let mut deep = b"{\"type\":\"header\",\"format\":1,\"x\":".to_vec();
    deep.extend(vec![b'['; 100_000]);
    deep.push(b'\n');
    check_refused(&deep, "it is not a trace");
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
    check(&inputs[..inputs.len() - 1], "cut short: it has no end line");
    let mut evil = inputs.clone();
    let renamed = inputs[18].replace("\"comm\":\"", "\"comm\":\"\\u001b]0;x\\u0007");
    evil[18] = &renamed;
    assert!(!check(&evil, "findings").contains('\u{1b}'), "nothing from a trace moves the terminal");
}

/// `golden/format-N.jsonl.zst` is a trace of format N, and never changes; `format-N.findings.jsonl` is what is told of
/// it.
#[test]
fn traces_of_every_format_are_read_for_ever() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for format in 1..=cgtrace::recording::FORMAT {
        let told = report(&directory.join(format!("format-{format}.jsonl.zst")));
        assert!(told.status.success(), "{}", text(&told.stderr));
        let findings = directory.join(format!("format-{format}.findings.jsonl"));
        if std::env::var_os("CGTRACE_BLESS").is_some() {
            fs::write(&findings, &told.stdout).unwrap();
        }
        assert_eq!(text(&told.stdout), fs::read_to_string(findings).unwrap(), "format {format}");
    }
}

/// Replays bytes as a trace. Returns the findings' lines, and whether it was said that something is amiss.
fn replayed(bytes: &[u8]) -> Option<(Vec<String>, bool)> {
    let mut reader = cgtrace::recording::Reader::open(bytes).ok()?;
    let mut out = Vec::new();
    let mut json = cgtrace::output::Json::new(&mut out);
    let mut stream = cgtrace::stream::Stream::begin(reader.header(), &mut json).unwrap();
    let (mut amiss, mut ended) = (false, None);
    while let Some(item) = reader.next_item().unwrap() {
        match item {
            cgtrace::recording::Item::Input(seq, mut input) => stream.replay(seq, &mut input).unwrap(),
            cgtrace::recording::Item::End(at) => ended = Some(at),
            cgtrace::recording::Item::Header(_) | cgtrace::recording::Item::Damage(_) => amiss = true,
        }
    }
    amiss |= ended.is_none() || !reader.is_whole();
    stream.end(ended.unwrap_or_default()).unwrap();
    let lines = text(&out).lines().filter(|line| line.starts_with("{\"type\":\"finding")).map(str::to_owned).collect();
    Some((lines, amiss))
}

/// A trace of many frames.
fn small_trace() -> Vec<u8> {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/incident.jsonl");
    let mut writer = cgtrace::recording::FrameWriter::new(Vec::new()).unwrap();
    let text = fs::read_to_string(recording).unwrap();
    let inputs = text.lines().filter(|line| !line.starts_with("{\"type\":\"finding"));
    for (number, line) in inputs.enumerate() {
        writer.line(format!("{line}\n").as_bytes()).unwrap();
        if number % 8 == 0 {
            writer.close_frame().unwrap();
        }
    }
    writer.close_frame().unwrap();
    writer.get_ref().clone()
}

/// How a frame begins (RFC 8878).
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// So many bytes on either side of where a frame begins tell how it is read.
const EDGE: usize = 16;
/// Of the others, one in so many: a prime, so that it is another part of each frame.
const SAMPLED: usize = 23;

/// The places around the edges of frames, and a sample of those between them.
fn sample(trace: &[u8]) -> Vec<usize> {
    let begins = |place: &usize| trace[*place..].starts_with(&MAGIC);
    let edges: Vec<usize> = (0..trace.len()).filter(begins).chain([trace.len()]).collect();
    assert!(edges.len() > 4, "it has several frames: {edges:?}");
    let is_near = |place: &usize| edges.iter().any(|edge| edge.abs_diff(*place) <= EDGE);
    (0..trace.len()).filter(|place| place % SAMPLED == 0 || is_near(place)).collect()
}

fn cut_at(whole: &[u8], places: &[usize]) {
    let (told, amiss) = replayed(whole).unwrap();
    assert!(!amiss && told.last().is_some_and(|finding| finding.contains("\"severity\":\"fault\"")));
    let mut readable = 0;
    for cut in places {
        if let Some((_, amiss)) = replayed(&whole[..*cut]) {
            assert!(amiss, "cut at {cut}: nothing is said");
            readable += 1;
        }
    }
    assert!(readable > places.len() / 2, "only {readable} of {} are readable", places.len());
}

fn flipped_at(whole: &[u8], places: &[usize]) {
    let (told, _) = replayed(whole).unwrap();
    for position in places {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = whole.to_vec();
            damaged[*position] ^= flip;
            let Some((findings, amiss)) = replayed(&damaged) else { continue };
            assert!(amiss || findings == told, "byte {position}: another finding, and nothing is said");
        }
    }
}

#[test]
fn a_trace_that_is_cut_tells_the_rest_and_that_it_was_cut() {
    let whole = small_trace();
    cut_at(&whole, &sample(&whole));
}

#[test]
#[ignore = "takes minutes: cargo xtask test --all"]
fn a_trace_cut_at_any_byte_tells_the_rest_and_that_it_was_cut() {
    let whole = small_trace();
    cut_at(&whole, &(0..whole.len()).collect::<Vec<_>>());
}

#[test]
fn a_trace_with_a_byte_flipped_tells_the_rest_and_never_a_certain_lie() {
    let whole = small_trace();
    flipped_at(&whole, &sample(&whole));
}

#[test]
#[ignore = "takes minutes: cargo xtask test --all"]
fn a_trace_with_any_byte_flipped_tells_the_rest_and_never_a_certain_lie() {
    let whole = small_trace();
    flipped_at(&whole, &(0..whole.len()).collect::<Vec<_>>());
}

/// What `report --lives` takes at most of such a trace, in MiB, and what it says.
fn peak_of(lines: &mut dyn Iterator<Item = String>) -> (i64, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.jsonl.zst");
    let mut packed = zstd::stream::Encoder::new(fs::File::create(&path).unwrap(), 1).unwrap();
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/incident.jsonl");
    let header = fs::read_to_string(recording).unwrap();
    for line in header.lines().take(1).map(str::to_owned).chain(lines) {
        std::io::Write::write_all(&mut packed, format!("{line}\n").as_bytes()).unwrap();
    }
    packed.finish().unwrap();
    let said = directory.path().join("said");
    let mut child = Command::new(CGTRACE)
        .args(["report", "--lives", path.to_str().unwrap()])
        .stdout(std::process::Stdio::null())
        .stderr(fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    // What wait4 tells would be the peak of this very process, whose memory the child had before it began the program.
    let (status, mut peak) = (format!("/proc/{}/status", child.id()), 0);
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(&status).unwrap_or_default();
        let is_program = status.starts_with("Name:\tcgtrace\n");
        let held = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).filter(|_| is_program);
        peak = held.map_or(peak, |held| held.trim().trim_end_matches(" kB").parse().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(peak > 0, "it was over before anybody looked");
    (peak >> 10, text(&fs::read(&said).unwrap()))
}

/// What a trace is full of, how many MiB its report may take, how many lines it has at most, and each of them.
type Filled<'a> = (&'a str, i64, u64, &'a (dyn Fn(u64) -> String + Sync));

/// Everything is bounded in bytes, the tracker's share being 32 MiB; what a reader has of the file, the threads and the
/// program come on top. Where there are thousands of lines, one in so many of them is there.
fn filled(one_in: u64) {
    let long = "x".repeat(4_000);
    let call = |seq: u64, operation: &str, path: &str, pid: u64| {
        let at = 4_569_722_890_706 + seq * 1_000_000;
        let of = format!(
            r#""directory":{{"device":"0:37","id":1,"path":"/"}},"actor":{{"pid":{pid},"tid":{pid},"comm":"x"}}}}"#
        );
        let made = format!(r#""seq":{seq},"at":{at},"operation":"{operation}","syscall":"{operation}""#);
        format!(r#"{{"type":"attempt",{made},"errno":"ENOENT","path":"{path}",{of}"#)
    };
    let event = |seq: u64, change: &str, path: &str| {
        let cgroup = format!(r#"{{"hierarchy":9,"id":{seq},"path":"{path}"}}"#);
        format!(r#"{{"type":"event","seq":{seq},"at":{seq},"change":"{change}","cgroup":{cgroup}}}"#)
    };
    let process = |seq: u64, rest: &str| {
        format!(r#"{{"type":"process","seq":{seq},"at":{seq},"pid":{seq},"change":"exec","comm":"runc",{rest}}}"#)
    };
    let empty = format!(r#""argv":[{}""]"#, r#""","#.repeat(900_000));
    let parents = format!(r#""parents":[{}{{"pid":1,"comm":""}}]"#, r#"{"pid":1,"comm":""},"#.repeat(1_000_000));
    let chain: String = (0..50_000).map(|id| format!("/libpod-{id:064x}")).collect();
    let lives = "y".repeat(2_000);
    let mount = r#"{"device":"0:1","root":"","mount_point":"","file_system":""}"#;
    let mounts = format!("{}{mount}", format!("{mount},").repeat(400_000));
    let name = "z".repeat(30 << 20);
    let rows: [Filled; 12] = [
        ("empty arguments", 72, 20, &|seq| process(seq, &empty)),
        ("parents", 96, 3, &|seq| process(seq, &parents)),
        ("processes", 72, 25_000, &|seq| process(seq, &format!(r#""argv":["runc","delete","{seq}{long}"]"#))),
        ("cgroups", 80, 25_000, &|seq| event(seq, "created", &format!("/{seq}{long}"))),
        ("removals", 72, 25_000, &|seq| event(seq, "removed", &format!("/{seq}{long}"))),
        ("failed calls", 72, 50_000, &|seq| call(seq, "mkdir", &format!("{seq}{long}"), 7)),
        ("callers", 72, 200_000, &|seq| call(seq, "rmdir", "one", seq)),
        ("findings", 96, 20_000, &|seq| call(seq, "rmdir", &format!("{seq}{long}"), seq)),
        ("a chain of containers", 160, 10, &|seq| event(seq, "created", &format!("{chain}/{seq}"))),
        ("lives", 128, 50_000, &|seq| event(seq, "created", &format!("/docker/{seq:064x}/{lives}"))),
        ("mounts", 128, 3, &|seq| {
            format!(
                r#"{{"type":"facts","seq":{seq},"at":{seq},"about":"mounts","namespace":{seq},"mounts":[{mounts}]}}"#
            )
        }),
        ("long names", 160, 4, &|seq| event(seq, "removed", &format!("/{seq}{name}"))),
    ];
    // As many at once as there are processors: each takes long.
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((what, most, count, line)) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
            let count = if *count > 1_000 { count / one_in } else { *count };
            let (peak, said) = peak_of(&mut (1..=count).map(line));
            assert!(peak <= *most && !said.contains("panicked"), "{what}: {peak} MiB, {said}");
            println!("{what}: {peak} MiB");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
}

/// Fifty MiB of most things, which is more than there is room for.
#[test]
fn whatever_a_trace_is_full_of_a_report_takes_little_memory() {
    filled(2);
}

#[test]
#[ignore = "takes minutes: cargo xtask test --all"]
fn whatever_a_trace_is_very_full_of_a_report_takes_little_memory() {
    filled(1);
}

#[test]
fn what_would_fill_the_memory_is_refused_within_little_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let header =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/incident.jsonl")).unwrap();
    let header = header.lines().next().unwrap();
    let long = format!("{header}\n{{\"type\":\"tick\",\"seq\":1,\"at\":1,\"x\":\"{}\"}}\n", "x".repeat(100 << 20));
    let deep = format!("{header}\n{{\"type\":\"tick\",\"seq\":1,\"at\":1,\"x\":{}\n", "[".repeat(1 << 20));
    let range = format!("{header}\n{{\"type\":\"tick\",\"seq\":1,\"at\":99999999999999999999999}}\n");
    let check = |name: &str, bytes: &[u8], wanted: &str| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        let script = format!("ulimit -v 600000; exec {CGTRACE} report {}", path.display());
        let told = Command::new("sh").args(["-c", &script]).output().unwrap();
        let said = text(&told.stderr);
        assert_eq!(told.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains(wanted) && said.contains(name) && !said.contains("panicked"), "{name}: {said}");
    };
    check("long.jsonl", long.as_bytes(), "a line is longer than 32 MiB");
    check("deep.jsonl", deep.as_bytes(), "cannot be read");
    check("range.jsonl", range.as_bytes(), "cannot be read");
    // A few kilobytes that would be gigabytes: zeros, and lines.
    let bomb = |unit: &[u8], count: usize| {
        let mut packed = zstd::stream::Encoder::new(Vec::new(), 19).unwrap();
        let block = unit.repeat((1 << 20) / unit.len());
        std::io::Write::write_all(&mut packed, format!("{header}\n").as_bytes()).unwrap();
        (0..count).for_each(|_| std::io::Write::write_all(&mut packed, &block).unwrap());
        packed.finish().unwrap()
    };
    check("bomb.jsonl.zst", &bomb(b"\0", 2_000), "32 MiB");
    let joined = [header.as_bytes(), b"\n", header.replace("vm", "other").as_bytes(), b"\n"].concat();
    check("joined.jsonl", &joined, "another recording begins in the same file");
}
