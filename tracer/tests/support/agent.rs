//! A serving agent, and how it is asked.
#![allow(dead_code, reason = "each test crate uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{CGTRACE, DEADLINE, signal, wait_for};

/// `cgtrace serve`, tracing.
pub struct Serving {
    child: Child,
    /// Where it serves.
    pub address: SocketAddr,
    said: Arc<Mutex<String>>,
}

impl Serving {
    /// On a port of its own.
    pub fn start(arguments: &[&str]) -> Self {
        Self::with_environment(&[], arguments)
    }

    /// Where another one was before.
    pub fn on(address: SocketAddr, arguments: &[&str]) -> Self {
        let mut command = command(arguments);
        command.arg("--listen").arg(address.to_string());
        Self::run(command)
    }

    pub fn with_environment(environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut command = command(arguments);
        command.args(["--listen", "127.0.0.1:0"]).envs(environment.iter().copied());
        Self::run(command)
    }

    /// Started by systemd's own tool on the first connection to a socket that it passes on.
    pub fn on_demand(address: SocketAddr, arguments: &[&str]) -> Self {
        let mut command = Command::new("systemd-socket-activate");
        command.arg(format!("--listen={address}")).args([CGTRACE, "serve"]).args(arguments);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let first = std::thread::spawn(move || wait_for("the socket", || TcpStream::connect(address).ok()));
        let serving = Self::run(command);
        drop(first.join().unwrap());
        serving
    }

    /// Runs it in a mount namespace of its own, where `before` was done.
    pub fn within(before: &str, arguments: &[&str]) -> Self {
        let script = format!("{before}\nexec {CGTRACE} serve --listen 127.0.0.1:0 {}", arguments.join(" "));
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", &script]);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        Self::run(command)
    }

    /// Started by a shell, which must become the agent.
    pub fn from_script(script: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stderr(Stdio::piped());
        Self::run(command)
    }

    /// A command that becomes the agent. `first` is done to it before it is waited for.
    pub fn spawned(mut command: Command, first: impl FnOnce(u32)) -> Self {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        first(child.id());
        Self::of(child)
    }

    fn run(mut command: Command) -> Self {
        Self::of(command.spawn().unwrap())
    }

    fn of(mut child: Child) -> Self {
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("the thread that traces:") {
            assert!(stderr.read_line(&mut said).unwrap() > 0, "cgtrace serve ended: {said}");
        }
        let serving = said.lines().find_map(|line| line.strip_prefix("serving: ")).unwrap();
        let tcp =
            |address: &'_ str| address.strip_prefix("http://").or(address.strip_prefix("https://")).map(str::to_owned);
        let address = serving.split(", ").find_map(tcp);
        let address = address.map_or_else(|| ([127, 0, 0, 1], 1).into(), |address| address.parse().unwrap());
        let said = Arc::new(Mutex::new(said));
        let more = said.clone();
        std::thread::spawn(move || {
            let mut line = String::new();
            while stderr.read_line(&mut line).is_ok_and(|length| length > 0) {
                more.lock().unwrap().push_str(&std::mem::take(&mut line));
            }
        });
        Self { child, address, said }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said on stderr so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Sends bytes; returns all that comes back until it closes.
    pub fn raw(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // It may have hung up before all was said.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    /// Sends a request; returns status and body.
    pub fn request(&self, request: &str) -> (u16, String) {
        let answer = String::from_utf8(self.raw(request.as_bytes())).unwrap();
        parsed(&answer).unwrap_or_else(|| panic!("no answer: {answer:?}"))
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        self.get_by("localhost", path)
    }

    /// Asks by a name.
    pub fn get_by(&self, host: &str, path: &str) -> (u16, String) {
        self.request(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    }

    /// The value of a sample of the plain text format.
    pub fn sample(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// Waits until a finding of that kind is certain about its outcome; returns it.
    pub fn wait_for_finding(&self, kind: &str) -> Value {
        wait_for(kind, || {
            let (_, text) = self.get(&format!("/findings?kind={kind}"));
            let findings: Value = serde_json::from_str(&text).unwrap();
            findings.as_array().unwrap().iter().find(|finding| finding["severity"] != "undetermined").cloned()
        })
    }

    /// Ends it as systemd does: status 0.
    pub fn end(self) {
        let said = self.said.clone();
        let status = self.stop();
        assert_eq!(status, Some(0), "{}", said.lock().unwrap());
        assert!(!said.lock().unwrap().contains("panicked"), "{}", said.lock().unwrap());
    }

    /// Ends it; returns all that it has said, and its status.
    pub fn last_words(mut self) -> (String, Option<i32>) {
        signal(self.child.id(), libc::SIGTERM);
        let status = self.child.wait().unwrap().code();
        // Whoever reads what it says has a hold on it until all is read.
        wait_for("the last word", || (Arc::strong_count(&self.said) == 1).then_some(()));
        (self.said(), status)
    }

    /// Its status, if it ends within a time.
    pub fn ends_within(&mut self, time: Duration) -> Option<ExitStatus> {
        let begun = Instant::now();
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return Some(status),
                None if begun.elapsed() >= time => return None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Ends it, whatever becomes of that.
    pub fn stop(mut self) -> Option<i32> {
        signal(self.child.id(), libc::SIGTERM);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        // One that waits for a file system cannot be killed before that answers.
        self.ends_within(DEADLINE);
    }
}

/// Status and body of a whole answer.
pub fn parsed(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = match head.to_lowercase().contains("transfer-encoding: chunked") {
        true => unchunked(body),
        false => body.to_owned(),
    };
    Some((status, body))
}

/// Asks an agent; `None` if it does not answer within a time.
pub fn ask(address: SocketAddr, path: &str, patience: Duration) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    parsed(&String::from_utf8(answer).ok()?)
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(CGTRACE);
    command.arg("serve").args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        whole.push_str(&rest[..length]);
        body = rest[length..].strip_prefix("\r\n").unwrap();
    }
    whole
}

/// What an agent says that refuses to start, with status 2.
pub fn refused(arguments: &[&str]) -> String {
    let done = command(arguments).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// Plays a fault.
pub fn demo(scenario: &str) {
    let scratch = format!("cgtrace-serve-{}-{scenario}", std::process::id());
    let done = Command::new(CGTRACE).args(["demo", scenario, "--play", &scratch]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
