//! The agent with its history full, at full speed: five clients read it slowly all the time, and one asks for it and
//! reads nothing. Nothing is lost meanwhile, memory is bounded, and that one is let go of.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::HISTORY;
use crate::agent::{Agent, Churn, Samples, cpu_share, resident, sum};
use crate::bench::{Place, Scratch};
use crate::{load, step};

/// Clients that read slowly. So much is taken at once, and then nothing for so long: all of it takes some ten seconds.
const READERS: usize = 5;
const PIECE: usize = 32 << 10;
const PAUSE: Duration = Duration::from_millis(300);
/// Scrapes a second.
const SCRAPES: u32 = 50;
/// The history is full, and the client that reads nothing is let go of, within this. The agent gives an answer of that
/// size 30 s and 4 s more.
const FULL: Duration = Duration::from_secs(60);
const LET_GO: Duration = Duration::from_secs(40);
/// What is let go of while a client reads is kept for it: so much of the history at most, and what the answers that are
/// on their way take beside it.
const HELD_FOR_CLIENTS: u64 = (READERS as u64 + 1) * (HISTORY.1 + (1 << 20));

/// A client that has asked for all of the history.
fn ask(socket: &Path) -> anyhow::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket).context("failed to connect to the agent")?;
    stream.set_read_timeout(Some(LET_GO))?;
    stream.write_all(b"GET /trace HTTP/1.0\r\n\r\n").context("failed to ask")?;
    Ok(stream)
}

/// Whether the other side has hung up, whatever is left to read.
fn is_let_go(stream: &UnixStream) -> bool {
    let mut asked = libc::pollfd { fd: stream.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one structure, which is ours.
    unsafe { libc::poll(&raw mut asked, 1, 0) == 1 && asked.revents & libc::POLLHUP != 0 }
}

/// Reads an answer slowly, and returns the trace.
fn read_slowly(mut stream: UnixStream) -> anyhow::Result<Vec<u8>> {
    let (mut answer, mut piece) = (Vec::new(), vec![0; PIECE]);
    loop {
        let length = stream.read(&mut piece).context("failed to read the history")?;
        if length == 0 {
            break;
        }
        answer.extend_from_slice(&piece[..length]);
        std::thread::sleep(PAUSE);
    }
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("it has no answer")?;
    if !answer.starts_with(b"HTTP/1.0 200 ") {
        bail!("{}", String::from_utf8_lossy(&answer[..end]));
    }
    Ok(answer.split_off(end + 4))
}

/// A whole trace is reported without a word about damage.
fn check(program: &Path, trace: &[u8], path: &Path) -> anyhow::Result<()> {
    std::fs::write(path, trace).context("failed to keep a trace")?;
    let report = Command::new(program).arg("report").arg(path).output().context("failed to run cgtrace")?;
    if !report.status.success() || !report.stderr.is_empty() {
        bail!("what a client was given is no whole trace: {}", String::from_utf8_lossy(&report.stderr));
    }
    Ok(())
}

/// What was seen while the clients read.
#[derive(Default)]
struct Seen {
    traces: u64,
    bytes: u64,
    scrapes: load::Latencies,
    /// How long the one that reads nothing was waited for.
    let_go: Option<Duration>,
    /// The most that the agent had resident.
    memory: u64,
}

/// Reads slowly, and not at all, until the one that reads nothing is let go of.
fn read(program: &Path, agent: &Agent, socket: &Path, place: &Path) -> anyhow::Result<Seen> {
    let stuck = ask(socket)?;
    let begun = Instant::now();
    let (done, bytes, traces) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let mut seen = Seen::default();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|number| {
                let (done, bytes, traces) = (&done, &bytes, &traces);
                scope.spawn(move || -> anyhow::Result<()> {
                    while !done.load(Ordering::Relaxed) {
                        let trace = read_slowly(ask(socket)?)?;
                        bytes.fetch_add(trace.len() as u64, Ordering::Relaxed);
                        if traces.fetch_add(1, Ordering::Relaxed) < READERS as u64 {
                            check(program, &trace, &place.join(format!("{number}.jsonl.zst")))?;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let scraping = scope.spawn(|| load::run(agent.address, "/metrics", SCRAPES, LET_GO / 2, 1));
        while seen.let_go.is_none() && begun.elapsed() < LET_GO {
            std::thread::sleep(Duration::from_millis(100));
            seen.memory = seen.memory.max(resident(agent.child.id()).unwrap_or(0));
            seen.let_go = is_let_go(&stuck).then(|| begun.elapsed());
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().map_err(|_| anyhow::anyhow!("a client has died"))??;
        }
        seen.scrapes = scraping.join().map_err(|_| anyhow::anyhow!("the scraper has died"))??;
        anyhow::Ok(())
    })?;
    (seen.traces, seen.bytes) = (traces.into_inner(), bytes.into_inner());
    Ok(seen)
}

/// Churns until the history is full: what it holds has begun later than at first. Returns how long that took.
fn fill(agent: &Agent) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let mut longest = 0.0_f64;
    while begun.elapsed() < FULL {
        std::thread::sleep(Duration::from_millis(500));
        let metrics = agent.metrics()?;
        let (span, held) = (sum(&metrics, "cgtrace_history_seconds"), sum(&metrics, "cgtrace_history_bytes"));
        longest = longest.max(span);
        if span < longest && held > HISTORY.1 as f64 / 2.0 {
            return Ok(begun.elapsed());
        }
    }
    bail!("the history is not full after {} s", FULL.as_secs())
}

/// What was lost but for failed calls beyond the rate limit.
fn lost(samples: &Samples) -> f64 {
    let of = |ring: &str| sum(samples, &format!("cgtrace_events_lost_total{{ring=\"{ring}\""));
    of("lifecycle") + of("recording")
}

/// Runs this part, and prints what it took.
pub fn run(program: &Path, scratch: &Scratch) -> anyhow::Result<()> {
    step("soaking with the history full");
    let place = Place::new()?;
    let socket: PathBuf = place.0.join("http.sock");
    let listen = format!("unix:{}", socket.display());
    let agent = Agent::start(program, &["--history", HISTORY.0, "--listen", &listen])?;
    let before = agent.metrics()?;
    let churn = Churn::start(&scratch.0)?;
    let filled = fill(&agent)?;
    let full = resident(agent.child.id())?;
    let mut seen = Ok(Seen::default());
    let busy = cpu_share(&agent.child, || seen = read(program, &agent, &socket, &place.0))?;
    let seen = seen?;
    let pairs = churn.stop()?;
    let after = agent.settled_metrics(&before, pairs)?;
    let left = resident(agent.child.id())?;
    agent.stop()?;

    let grown = |name: &str| sum(&after, name) - sum(&before, name);
    let (lost, made) = (lost(&after), grown("cgtrace_cgroups_created_total"));
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!("{:<44}{:>12.1} s", format!("history of {} full after", HISTORY.0), filled.as_secs_f64());
    println!("{:<44}{:>13.0}%", "meanwhile, of one processor", busy * 100.0);
    println!("{:<44}{:>14}", "cgroups made and removed", pairs);
    println!("{:<44}{lost:>14}", "events and lines lost");
    println!("{:<44}{:>14}  ({:.1} MiB)", "traces read slowly", seen.traces, mib(seen.bytes));
    println!(
        "{:<44}{:>12}  ({} s at most)",
        "a client that reads nothing is let go of",
        seen.let_go.map_or("never".to_owned(), |after| format!("{:.1} s", after.as_secs_f64())),
        LET_GO.as_secs()
    );
    println!("{:<44}{:>10.1} MiB", "memory with the history full", mib(full));
    println!(
        "{:<44}{:>10.1} MiB  ({:.1} MiB more at most)",
        "memory while clients read, at most",
        mib(seen.memory),
        mib(HELD_FOR_CLIENTS)
    );
    println!("{:<44}{:>10.1} MiB", "memory afterwards", mib(left));
    println!("{:<44}{}", format!("{SCRAPES} scrapes a second meanwhile"), seen.scrapes);
    if seen.let_go.is_none() {
        bail!("a client that reads nothing is still being answered");
    }
    if lost > 0.0 || seen.scrapes.errors > 0 || made < pairs as f64 {
        bail!("{pairs} cgroups were made and {made} counted, {lost} lost, {} scrapes failed", seen.scrapes.errors);
    }
    if grown("cgtrace_history_emptied_total") > 0.0 {
        bail!("the history was let go of as a whole");
    }
    if seen.memory > full + HELD_FOR_CLIENTS {
        bail!("clients that read cost more memory than what is kept for them");
    }
    Ok(())
}
