//! Trace files as weapons, in the hands of root who reads them; and recorders that share a directory.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::agent::Serving;
use crate::stranger::open_directory;
use crate::support::{CGTRACE, Running, Scratch, c_path, fork, mkdir, rmdir, signal, wait_for};

/// Whoever reads a file is done by then, or says why not.
const SOON: Duration = Duration::from_secs(10);
const MEMORY_KIB: u64 = 256 << 10;
const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/incident.jsonl");

/// What became of a reader.
struct Done {
    /// `None` if it had to be killed.
    status: Option<i32>,
    said: String,
    took: Duration,
    memory_kib: u64,
}

/// A reader that is killed if it does not end.
struct Reader {
    child: Child,
    begun: Instant,
    memory_kib: u64,
}

impl Reader {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(CGTRACE);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Self { child: command.spawn().unwrap(), begun: Instant::now(), memory_kib: 0 }
    }

    /// Looks at it once: its status, if it has ended.
    fn look(&mut self) -> Option<i32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let peak =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        self.memory_kib = self.memory_kib.max(peak.unwrap_or(0));
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    fn done(mut self, within: Duration) -> Done {
        let mut status = self.look();
        while status.is_none() && self.begun.elapsed() < within {
            std::thread::sleep(Duration::from_millis(5));
            status = self.look();
        }
        let took = self.begun.elapsed();
        let _ = self.child.kill();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let _ = self.child.wait();
        Done { status, said, took, memory_kib: self.memory_kib }
    }
}

impl Done {
    /// It ended, within bounds, and did not say much: each damaged place is named, of more than twenty the number.
    fn is_bounded(&self, what: &str) {
        println!("{what}: {:?} after {:?}, {} KiB: {}", self.status, self.took, self.memory_kib, self.said.trim());
        assert!(self.status.is_some(), "{what}: it did not end: {}", self.said);
        assert!(self.memory_kib <= MEMORY_KIB, "{what}: {} KiB", self.memory_kib);
        assert!(!self.said.contains("panicked"), "{what}: {}", self.said);
        assert!(self.said.lines().count() <= 25, "{what}: {}", self.said);
    }

    /// It says one thing: that it cannot be read.
    fn is_refused(&self, what: &str) {
        self.is_bounded(what);
        assert_eq!(self.status, Some(2), "{what}: {}", self.said);
        let messages =
            self.said.lines().filter(|line| ["error: ", "warning: "].iter().any(|word| line.starts_with(word)));
        assert_eq!(messages.count(), 1, "{what}: {}", self.said);
    }
}

/// Has `report` and `export` read it.
fn read_by_all(path: &Path, within: Duration, check: impl Fn(&Done, &str)) {
    let path = path.to_str().unwrap();
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("out");
    for arguments in [&["report", path][..], &["export", "--to", "perfetto", "--output", out.to_str().unwrap(), path]] {
        check(&Reader::start(arguments).done(within), &arguments.join(" "));
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let place = open_directory();
    let at = |name: &str| place.path().join(name);
    symlink("/dev/zero", at("zero.jsonl.zst")).unwrap();
    symlink("loop.jsonl", at("loop.jsonl")).unwrap();
    fs::create_dir(at("directory")).unwrap();
    symlink(".", at("directory/again")).unwrap();
    symlink("../directory", at("directory/around.jsonl")).unwrap();
    for name in ["zero.jsonl.zst", "loop.jsonl", "directory"] {
        read_by_all(&at(name), SOON, Done::is_refused);
    }
}

#[test]
fn a_pipe_that_nobody_writes_to_is_refused() {
    let place = open_directory();
    let path = place.path().join("pipe.jsonl");
    // SAFETY: the path ends in a zero.
    assert_eq!(unsafe { libc::mkfifo(c_path(&path).as_ptr(), 0o666) }, 0);
    read_by_all(&path, SOON, Done::is_refused);
}

/// Compresses what a shell script prints.
fn compressed(script: &str, path: &Path) {
    let status = Command::new("sh").args(["-c", &format!("({script}) | zstd -1 -q -o '{}'", path.display())]).status();
    assert!(status.unwrap().success(), "{script}");
}

#[test]
fn a_small_file_that_unfolds_to_half_a_gigabyte_is_read_within_bounds() {
    let place = open_directory();
    let header = format!("head -n 1 {RECORDING}");
    // One line, of zeros, and of letters; and one that never ends being an array.
    for (name, endless) in [
        ("zeros", "head -c 512M /dev/zero"),
        ("letters", "printf '{\"type\":\"'; head -c 512M /dev/zero | tr '\\0' a"),
        ("arrays", "head -c 512M /dev/zero | tr '\\0' ["),
        ("empty", "head -c 16M /dev/zero | tr '\\0' '\\n'"),
    ] {
        let path = place.path().join(format!("{name}.jsonl.zst"));
        compressed(&format!("{header}; {endless}"), &path);
        assert!(fs::metadata(&path).unwrap().len() < 1 << 20, "it is small");
        read_by_all(&path, 3 * SOON, Done::is_bounded);
    }
}

#[test]
fn a_file_of_valid_lines_without_end_takes_bounded_memory() {
    let place = open_directory();
    let path = place.path().join("valid.jsonl.zst");
    // The lines of a real trace, over and over, but for their numbers.
    let recording = fs::read_to_string(RECORDING).unwrap();
    let (header, lines) = recording.split_once('\n').unwrap();
    let numbered = lines.lines().filter(|line| !line.contains("\"type\":\"end\"")).map(|line| {
        let (before, after) = line.split_once("\"seq\":").unwrap();
        (before, after.trim_start_matches(|c: char| c.is_ascii_digit()))
    });
    let mut packed = zstd::stream::Encoder::new(fs::File::create(&path).unwrap(), 1).unwrap();
    writeln!(packed, "{header}").unwrap();
    let mut seq = 0;
    for (before, after) in std::iter::repeat_n(numbered, 5_000).flatten() {
        seq += 1;
        writeln!(packed, "{before}\"seq\":{seq}{after}").unwrap();
    }
    packed.finish().unwrap();
    // It may take as long as it takes to read so many; whoever waits sees how far it is, and can end it.
    let path = path.to_str().unwrap();
    for arguments in [&["report", path][..], &["report", "--format", "html", path]] {
        let mut reader = Reader::start(arguments);
        while reader.look().is_none() && reader.begun.elapsed() < SOON / 2 {
            std::thread::sleep(Duration::from_millis(20));
        }
        signal(reader.child.id(), libc::SIGTERM);
        let done = reader.done(2 * SOON);
        println!(
            "{}: {:?} after {:?}, {} KiB: {:.300}",
            arguments.join(" "),
            done.status,
            done.took,
            done.memory_kib,
            done.said
        );
        assert!(done.status.is_some() && done.memory_kib <= MEMORY_KIB, "{} KiB: {}", done.memory_kib, done.said);
    }
}

/// Follows a file, and does something to it meanwhile.
fn followed(what: &str, act: impl FnOnce(&Path)) -> Done {
    let place = open_directory();
    let path = place.path().join("followed.jsonl");
    let whole = fs::read_to_string(RECORDING).unwrap();
    let lines: Vec<&str> = whole.lines().filter(|line| !line.contains("\"type\":\"end\"")).collect();
    fs::write(&path, lines[..lines.len() / 2].join("\n")).unwrap();
    let mut reader = Reader::start(&["report", "--follow", path.to_str().unwrap()]);
    let is_reading = |pid: u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).any(|file| file == path)
    };
    wait_for("the reader", || is_reading(reader.child.id()).then_some(()));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(reader.look(), None, "{what}: it follows");
    act(&path);
    std::thread::sleep(Duration::from_secs(1));
    // It may wait for more, until it is told to end.
    if reader.look().is_none() {
        signal(reader.child.id(), libc::SIGTERM);
    }
    reader.done(SOON)
}

#[test]
fn a_file_that_changes_while_it_is_followed_ends_nobody_badly() {
    let bounded = |done: Done, what: &str| {
        println!("{what}: {:?} after {:?}, {} KiB: {}", done.status, done.took, done.memory_kib, done.said.trim());
        assert!(done.status.is_some(), "{what}: it cannot be ended");
        assert!(done.memory_kib <= MEMORY_KIB, "{what}: {} KiB", done.memory_kib);
        assert!(!done.said.contains("panicked") && done.said.lines().count() <= 25, "{what}: {}", done.said);
    };
    bounded(
        followed("replaced", |path| {
            let other = path.with_extension("other");
            fs::write(&other, "something else\n").unwrap();
            fs::rename(other, path).unwrap();
        }),
        "replaced",
    );
    bounded(
        followed("truncated", |path| fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap()),
        "truncated",
    );
    bounded(
        followed("garbage", |path| {
            let mut file = fs::File::options().append(true).open(path).unwrap();
            let (line, endless) = (b"garbage\n".repeat(1 << 15), vec![b'x'; 1 << 20]);
            for _ in 0..64 {
                file.write_all(&line).unwrap();
                file.write_all(&endless).unwrap();
            }
        }),
        "garbage",
    );
}

/// What is in a directory, and how long each is.
fn listed(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut found: Vec<(PathBuf, u64)> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.path(), entry.metadata().map(|found| found.len()).unwrap_or(0)))
        .collect();
    found.sort();
    found
}

#[test]
fn recorders_in_one_directory_leave_each_others_files_alone() {
    let scratch = Scratch::new();
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    let by_hand = directory.path().join("by-hand.jsonl.zst");
    let mut recorder = Command::new(CGTRACE);
    recorder.args(["record", "-o", by_hand.to_str().unwrap()]).stdin(Stdio::null()).stderr(Stdio::null());
    let mut recorder = Running(recorder.spawn().unwrap());
    wait_for("its first file", || fs::metadata(&by_hand).is_ok_and(|file| file.len() > 0).then_some(()));
    // Two agents of small files, of which they keep few.
    let settings = ["--record", place, "--rotate-size", "8k", "--keep", "3"];
    let (one, other) = (Serving::start(&settings), Serving::start(&settings));
    let live: Vec<PathBuf> = listed(directory.path()).into_iter().map(|(path, _)| path).collect();
    assert_eq!(live.len(), 3, "each has a file of its own: {live:?}");
    let path = c_path(scratch.path.join("busy"));
    for _ in 0..8 {
        let churned = fork(|| (0..800).map(|_| mkdir(&path) | rmdir(&path)).find(|error| *error != 0).unwrap_or(0));
        assert_eq!(churned.wait(), 0);
        let open: Vec<PathBuf> = [one.pid(), other.pid(), recorder.id()].into_iter().flat_map(held).collect();
        let gone: Vec<&PathBuf> = open.iter().filter(|path| path.to_string_lossy().ends_with(" (deleted)")).collect();
        assert!(gone.is_empty(), "a file was removed while it was written to: {gone:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let (said_one, said_other) = (one.said(), other.said());
    one.end();
    other.end();
    signal(recorder.id(), libc::SIGINT);
    assert!(recorder.wait().unwrap().success());
    let left = listed(directory.path());
    assert!(left.iter().any(|(path, _)| *path == by_hand), "{left:?}\n{said_one}\n{said_other}");
    assert!(
        live.iter().filter(|path| *path != &by_hand).all(|path| !path.exists()),
        "their first parts are gone: {left:?}"
    );
    let done = Reader::start(&["report", place]).done(3 * SOON);
    assert_eq!((done.status, done.said.as_str()), (Some(0), ""), "what is left is whole");
}

/// The traces that a process has open.
fn held(pid: u32) -> Vec<PathBuf> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let files = files.filter_map(|file| fs::read_link(file.path()).ok());
    files.filter(|file| file.to_string_lossy().contains(".jsonl.zst")).collect()
}
