//! How long it takes from a failed call, and from the end of who made it, to the finding that is printed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, bail};

use super::page::table;
use super::tracers::wait_for_line;
use super::{Bench, c_string};
use crate::step;

/// So many actors, one after the other.
const ACTORS: usize = 200;
/// The longest that one is waited for.
const LONGEST: Duration = Duration::from_secs(10);

/// Nanoseconds since boot.
fn boot_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is there for the call.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The actor: removes what is not there, says when the call failed and when it ends, and ends as one that failed.
pub fn act(number: usize, cgroup: &Path) -> anyhow::Result<()> {
    let path = c_string(cgroup.join(format!("no-such-{number}")))?;
    // SAFETY: the path ends in a zero.
    if unsafe { libc::rmdir(path.as_ptr()) } == 0 {
        bail!("it was there");
    }
    let failed = boot_time();
    println!("{failed} {}", boot_time());
    // SAFETY: it ends this process, whose line is written.
    unsafe { libc::_exit(1) }
}

/// Measures it. Returns what the page says of it.
pub fn run(bench: &Bench) -> anyhow::Result<String> {
    step("latency");
    let mut command = Command::new(&bench.program);
    command.args(["live", "--json", "--only", "findings"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("failed to run cgtrace")?;
    wait_for_line(child.stderr.as_mut(), "tracing ")?;
    let stdout = BufReader::new(child.stdout.take().context("it has a pipe")?);
    let (told, findings) = mpsc::channel();
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let arrived = boot_time();
            let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if line["type"] == "finding" && told.send((arrived, line)).is_err() {
                return;
            }
        }
    });
    let (mut since_call, mut since_end) = (Vec::new(), Vec::new());
    for number in 0..ACTORS {
        let mut actor = Command::new(super::own()?);
        actor.args(["bench", "--measure", "actor", "--number", &number.to_string(), "--cgroup"]);
        let done = actor.arg(&bench.scratch.0).output().context("failed to run an actor")?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let times = said.trim().split_once(' ').and_then(|(call, end)| Some((call.parse().ok()?, end.parse().ok()?)));
        let (call, end): (u64, u64) = times.context("an actor failed")?;
        let is_its = |finding: &serde_json::Value| {
            finding["cgroup"]["path"].as_str().is_some_and(|path| path.ends_with(&format!("/no-such-{number}")))
        };
        let arrived = loop {
            let (arrived, finding) = findings.recv_timeout(LONGEST).context("no finding was printed")?;
            if is_its(&finding) {
                break arrived;
            }
        };
        since_call.push(arrived.saturating_sub(call));
        since_end.push(arrived.saturating_sub(end));
    }
    // SAFETY: a call without memory.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    child.wait().context("failed to wait for cgtrace")?;
    let row = |name: &str, mut nanos: Vec<u64>| {
        nanos.sort_unstable();
        let at = |share: usize| nanos.get((nanos.len() - 1) * share / 100).copied().unwrap_or(0);
        let ms = |nanos: u64| format!("{:.1}", nanos as f64 / 1e6);
        vec![name.to_owned(), ms(at(50)), ms(at(99)), ms(at(100))]
    };
    let rows = [
        row("failing call to printed finding, ms", since_call),
        row("actor's end to printed finding, ms (aim 30, 50)", since_end),
    ];
    Ok(format!(
        "### From a failing call to its finding\n\n{ACTORS} processes, one after the other, each of which removes a \
         cgroup of cgroup v2 that does not exist, and exits 1.\n\n{}",
        table(&["", "p50", "p99", "most"], &rows)
    ))
}
