//! What the tests on a real kernel share: a running agent, scratch cgroups, processes that do one thing and end.
//!
//! Nothing here waits for a fixed time: it waits for what must come, with one generous deadline.
#![allow(dead_code, reason = "each test crate uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::ffi::CStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Whatever must come has come by then.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How many times as long as usual a test waits: `CGTRACE_TEST_PATIENCE`, because an emulated machine is slow.
pub fn patience() -> u32 {
    std::env::var("CGTRACE_TEST_PATIENCE").map_or(1, |patience| patience.parse().expect("a number"))
}

/// Whatever must come has come by then, on this machine.
pub fn deadline() -> Duration {
    DEADLINE * patience()
}

/// The backend that this run is about, as `--backend` takes it; `None` if it is about whatever works here.
pub fn backend() -> Option<String> {
    std::env::var("CGTRACE_TEST_BACKEND").ok()
}

/// The program.
pub const CGTRACE: &str = env!("CARGO_BIN_EXE_cgtrace");

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Output {
    Command::new(CGTRACE).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Has it report a trace, as JSON lines and with what hurt nobody.
pub fn report(path: &Path) -> Output {
    run(&["report", "--benign", "--format", "json", path.to_str().unwrap()])
}

/// What it said.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Waits until `done` gives something.
pub fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(begun.elapsed() < deadline(), "{what} did not come within {:?}", deadline());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `cgtrace live --json` with the backend that this run is about.
fn live() -> Command {
    let mut command = Command::new(CGTRACE);
    command.args(["live", "--json"]).args(backend().into_iter().flat_map(|backend| ["--backend".to_owned(), backend]));
    command
}

/// A tracing `cgtrace live --json`.
pub struct Agent {
    child: Child,
    results: PathBuf,
    directory: tempfile::TempDir,
}

impl Agent {
    /// Starts it and waits until it traces.
    pub fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let results = directory.path().join("results");
        let mut child = live()
            .arg("--output")
            .arg(&results)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.lines().any(|line| line.starts_with("tracing ")) {
            assert!(stderr.read_line(&mut said).unwrap() > 0, "cgtrace live ended: {said}");
        }
        // What else it has to say must not make it wait.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::stderr()));
        Self { child, results, directory }
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<Value> {
        let text = fs::read(&self.results).unwrap();
        let complete = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        parse(&text[..complete])
    }

    /// Waits until a line is as wanted.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut unseen = Unseen::of(&self.results);
        wait_for(what, || unseen.lines().into_iter().find(|line| wanted(line)))
    }

    /// Waits until so many lines are as wanted.
    pub fn wait_for_all(&self, what: &str, count: usize, wanted: impl Fn(&Value) -> bool) {
        let (mut unseen, mut seen) = (Unseen::of(&self.results), 0);
        wait_for(what, || {
            seen += unseen.lines().iter().filter(|line| wanted(line)).count();
            (seen >= count).then_some(())
        });
    }

    /// Waits until a text is among the lines: on a host where much else happens, this reads each of them once.
    pub fn wait_for_text(&self, text: &str) {
        let mut results = fs::File::open(&self.results).unwrap();
        let mut unseen = Vec::new();
        wait_for(text, || {
            results.read_to_end(&mut unseen).unwrap();
            let found = unseen.windows(text.len()).any(|window| window == text.as_bytes());
            unseen.drain(..unseen.len().saturating_sub(text.len()));
            found.then_some(())
        });
    }

    /// Who it is.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its lines are written.
    pub fn results(&self) -> &Path {
        &self.results
    }

    /// Waits until all that has happened so far is told.
    pub fn catch_up(&self) {
        let mut results = fs::File::open(&self.results).unwrap();
        results.seek(SeekFrom::End(0)).unwrap();
        let scratch = Scratch::new();
        let mark = format!("\"{}\"", scratch.cgroup);
        let mut unseen = Vec::new();
        wait_for("the agent", || {
            results.read_to_end(&mut unseen).unwrap();
            unseen.windows(mark.len()).any(|window| window == mark.as_bytes()).then_some(())
        });
    }

    /// Sends SIGINT and returns every line, from the header to the end.
    pub fn finish(mut self) -> Vec<Value> {
        signal(self.child.id(), libc::SIGINT);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "cgtrace live ended with {status}");
        let lines = self.lines();
        assert_eq!(lines.first().map(|line| line["type"].clone()), Some("header".into()));
        assert_eq!(lines.last().map(|line| line["type"].clone()), Some("end".into()));
        lines
    }
}

/// The lines of a file that grows, each of them once: to read all of them every time takes too long on a slow machine.
struct Unseen {
    file: fs::File,
    rest: Vec<u8>,
}

impl Unseen {
    fn of(path: &Path) -> Self {
        Self { file: fs::File::open(path).unwrap(), rest: Vec::new() }
    }

    /// Those that are complete since the last call.
    fn lines(&mut self) -> Vec<Value> {
        self.file.read_to_end(&mut self.rest).unwrap();
        let complete = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        parse(&self.rest.drain(..complete).collect::<Vec<_>>())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that is killed with its test: what goes on after one that failed would disturb those after it.
pub struct Running(pub Child);

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

/// Runs `cgtrace live --json ARGUMENTS -- CMD` to its end. Returns its lines, and what it printed.
pub fn traced(arguments: &[&str], command: &[&str]) -> (Vec<Value>, Output) {
    let done = live().args(arguments).arg("--").args(command).stdin(Stdio::null()).output().unwrap();
    (parse(&done.stdout), done)
}

/// JSON lines.
pub fn parse(text: &[u8]) -> Vec<Value> {
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line)))
        })
        .collect()
}

/// Lines of one type.
pub fn of_type<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

/// Sends a signal.
pub fn signal(pid: u32, signal: i32) {
    // SAFETY: a call without memory.
    unsafe { libc::kill(pid as i32, signal) };
}

/// Where this host has a hierarchy mounted: cgroup2, or the v1 hierarchy of a controller.
pub fn hierarchy(controller: Option<&str>) -> Option<(u32, PathBuf)> {
    let (_, hierarchies) = cgtrace::cgroupfs::hierarchies().unwrap();
    let found = hierarchies.into_iter().find(|hierarchy| match controller {
        None => hierarchy.version == 2,
        Some(wanted) => hierarchy.version == 1 && hierarchy.controllers.iter().any(|name| name == wanted),
    })?;
    let mount = found.mount?;
    Some((found.id.0, PathBuf::from(mount.to_str()?)))
}

/// The v1 hierarchy of a controller. Tests that need one have `v1` in their names, so that a host without it can leave
/// them out (`--skip v1`): they fail there.
pub fn v1(controller: &str) -> (u32, PathBuf) {
    hierarchy(Some(controller)).unwrap_or_else(|| panic!("this host has no v1 hierarchy of {controller}: --skip v1"))
}

/// A cgroup of a test's own. It is removed at the end with all that is in it.
pub struct Scratch {
    /// Its directory.
    pub path: PathBuf,
    /// Its path from the hierarchy's root.
    pub cgroup: String,
    /// Its hierarchy's number.
    pub hierarchy: u32,
}

impl Scratch {
    /// In cgroup2.
    pub fn new() -> Self {
        Self::within(hierarchy(None).expect("cgroup2 is mounted on this host"))
    }

    /// In the v1 hierarchy of a controller, if the host has one.
    pub fn v1(controller: &str) -> Option<Self> {
        hierarchy(Some(controller)).map(Self::within)
    }

    /// In the v1 hierarchy of a controller, in a test that is about that: see [`v1`].
    pub fn on_v1(controller: &str) -> Self {
        Self::within(v1(controller))
    }

    fn within((hierarchy, mount): (u32, PathBuf)) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cgtrace-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = mount.join(&name);
        fs::create_dir(&path).unwrap();
        Self { path, cgroup: format!("/{name}"), hierarchy }
    }

    /// Whether a line is about this cgroup or one below it.
    pub fn has(&self, line: &Value) -> bool {
        let path = line["cgroup"]["path"].as_str().unwrap_or_default();
        line["cgroup"]["hierarchy"] == self.hierarchy
            && (path == self.cgroup || path.starts_with(&format!("{}/", self.cgroup)))
    }

    /// The changes of a cgroup below this one, in order.
    pub fn changes(&self, lines: &[Value], below: &str) -> Vec<String> {
        let path = format!("{}/{below}", self.cgroup);
        of_type(lines, "event")
            .iter()
            .filter(|line| line["cgroup"]["path"] == path.as_str() && line["cgroup"]["hierarchy"] == self.hierarchy)
            .map(|line| line["change"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let begun = Instant::now();
        while remove(&self.path).is_err() && self.path.exists() && begun.elapsed() < deadline() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Removes a cgroup and all below it, however deep: only ever one name at a time, because a path may be too long.
pub fn remove(path: &Path) -> std::io::Result<()> {
    let name = path.file_name().unwrap();
    let parent = fs::File::open(path.parent().unwrap())?;
    remove_below(&OwnedFd::from(parent), name)
}

fn remove_below(parent: &OwnedFd, name: &std::ffi::OsStr) -> std::io::Result<()> {
    use rustix::fs::{AtFlags, FileType, Mode, OFlags};
    use std::os::unix::ffi::OsStrExt;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut way: Vec<(OwnedFd, std::ffi::OsString)> = vec![(parent.try_clone()?, name.to_owned())];
    while let Some((parent, name)) = way.last() {
        let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        let child = rustix::fs::Dir::read_from(&directory)?.flatten().find(|entry| {
            entry.file_type() == FileType::Directory && !matches!(entry.file_name().to_bytes(), b"." | b"..")
        });
        match child {
            Some(child) => {
                let name = std::ffi::OsStr::from_bytes(child.file_name().to_bytes()).to_owned();
                way.push((directory, name));
            }
            None => {
                rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?;
                way.pop();
            }
        }
    }
    Ok(())
}

/// Waits until a child has ended that is not waited for: it is a zombie.
pub fn wait_for_zombie(pid: u32) {
    let stat = format!("/proc/{pid}/stat");
    wait_for("its end", || fs::read_to_string(&stat).unwrap().contains(") Z ").then_some(()));
}

/// A forked process that has not been waited for.
pub struct Forked(pub i32);

impl Forked {
    /// Its exit status, or 128 and the signal that killed it.
    pub fn wait(self) -> i32 {
        let mut status = 0;
        // SAFETY: the status is ours.
        assert_eq!(unsafe { libc::waitpid(self.0, &raw mut status, 0) }, self.0);
        if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
    }
}

/// Runs `act` in a process of its own, which ends with its result.
///
/// `act` may make system calls and nothing else: other threads of this process may hold any lock.
pub fn fork(act: impl FnOnce() -> i32) -> Forked {
    // SAFETY: the child makes system calls only, as the caller promises, and then ends without running anything else.
    match unsafe { libc::fork() } {
        0 => {
            let status = act();
            // SAFETY: it never returns.
            unsafe { libc::_exit(status) }
        }
        pid => {
            assert!(pid > 0, "fork failed");
            Forked(pid)
        }
    }
}

/// A gate that forked processes wait at until it is dropped.
pub struct Gate {
    read: OwnedFd,
    write: Option<OwnedFd>,
}

impl Gate {
    /// Closed.
    pub fn new() -> Self {
        let mut ends = [0; 2];
        // SAFETY: there is room for two descriptors, which are nobody else's.
        let (read, write) = unsafe {
            assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
            (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
        };
        Self { read, write: Some(write) }
    }

    /// For a forked process that closes what it does not need.
    pub fn descriptor(&self) -> i32 {
        self.read.as_raw_fd()
    }

    /// In a forked process: waits until it is opened.
    pub fn pass(&self) {
        if let Some(write) = &self.write {
            // SAFETY: the descriptor is this process's own copy, which it uses no more.
            unsafe { libc::close(write.as_raw_fd()) };
        }
        let mut byte = 0u8;
        // SAFETY: there is room for one byte.
        unsafe { libc::read(self.read.as_raw_fd(), (&raw mut byte).cast(), 1) };
    }

    /// Lets all pass.
    pub fn open(mut self) {
        self.write.take();
    }
}

/// The error of a system call that failed; 0 if it did not.
pub fn errno(result: libc::c_long) -> i32 {
    if result < 0 { std::io::Error::last_os_error().raw_os_error().unwrap_or(-1) } else { 0 }
}

/// A path for system calls.
pub fn c_path(path: impl AsRef<Path>) -> std::ffi::CString {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::CString::new(path.as_ref().as_os_str().as_bytes()).unwrap()
}

/// `mkdir`
pub fn mkdir(path: &CStr) -> i32 {
    // SAFETY: the path ends in a zero.
    errno(unsafe { libc::mkdir(path.as_ptr(), 0o755) }.into())
}

/// `rmdir`
pub fn rmdir(path: &CStr) -> i32 {
    // SAFETY: the path ends in a zero.
    errno(unsafe { libc::rmdir(path.as_ptr()) }.into())
}

/// Writes to a file.
pub fn write(path: &CStr, text: &[u8]) -> i32 {
    // SAFETY: path and text are valid through the calls.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd < 0 {
            return errno(-1);
        }
        let written = errno(libc::write(fd, text.as_ptr().cast(), text.len()) as libc::c_long);
        libc::close(fd);
        written
    }
}

/// Everything that a reader gives.
pub fn read_all(mut reader: impl Read) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}
