//! The agent under churn at full speed for a long time: its memory stays flat, and nothing is lost. Beside it bpftrace, doing the
//! same tracing. Then the agent again, with containers that have names ([`named`]).
//!
//! That memory grows, that an event is lost or that a count is wrong fails; times and shares are only printed.

mod named;
mod runtime;

use std::ffi::CString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ValueEnum;

pub use runtime::play as play_runtime;

use crate::bench::{Running, Scratch, Tracer, c_string, median, so_far};
use crate::{build, is_root, load, setup, step};

/// Different names of cgroups, one after the other.
const NAMES: usize = 1_000;
/// Scrapes a second, and for how long.
const SCRAPES: u32 = 500;
const SCRAPING: Duration = Duration::from_secs(10);
/// The agent's memory at the end may be so much of what it was after the first part.
const GROWTH: f64 = 1.05;

/// A part of the soak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Cgroups made and removed as fast as can be, beside bpftrace
    Churn,
    /// Containers with names
    Named,
}

/// How long each part is.
#[derive(Clone, Copy)]
pub struct Times {
    /// How many named containers come and go.
    containers: u64,
    idle: Duration,
    /// Churn before memory is looked at for the first time.
    settling: Duration,
    churn: Duration,
    peer: Duration,
}

impl Times {
    /// A soak of so many minutes, and with so many named containers.
    pub fn long(minutes: u32, containers: u64) -> Self {
        let minute = Duration::from_secs(60);
        Self { containers, idle: minute / 2, settling: minute, churn: minute * minutes.max(2), peer: minute }
    }

    /// What CI has time for.
    pub fn short() -> Self {
        let seconds = Duration::from_secs;
        Self { containers: 5_000, idle: seconds(10), settling: seconds(20), churn: seconds(60), peer: seconds(10) }
    }
}

/// Soaks the agent, in one part or in all, and prints what it took.
pub fn run(part: Option<Part>, times: Times) -> anyhow::Result<()> {
    if !is_root() {
        bail!("the agent attaches kernel programs\nhint: run this as root");
    }
    setup::toolchain()?;
    setup::packages(&setup::BENCH, setup::Need::Required)?;
    let program = build()?;
    let scratch = Scratch::new()?;
    if part != Some(Part::Named) {
        churn(&program, &scratch, times)?;
    }
    if part.is_none() {
        println!();
    }
    if part != Some(Part::Churn) {
        named::run(&program, &scratch, times.containers)?;
    }
    Ok(())
}

/// Cgroups without names, with a scraper, and the same with bpftrace.
fn churn(program: &Path, scratch: &Scratch, times: Times) -> anyhow::Result<()> {
    step(&format!("soaking for {} s", (times.idle + times.churn + times.peer).as_secs()));
    let agent = Agent::start(program)?;

    let idle = cpu_share(&agent.child, || std::thread::sleep(times.idle))?;
    let idle_memory = resident(agent.child.id())?;

    let before = agent.metrics()?;
    let churn = Churn::start(&scratch.0)?;
    let mut memory = Vec::new();
    let mut latencies = None;
    let busy = cpu_share(&agent.child, || {
        let begun = Instant::now();
        while begun.elapsed() < times.churn {
            std::thread::sleep(Duration::from_secs(1));
            memory.push((begun.elapsed(), resident(agent.child.id()).unwrap_or(0)));
            if latencies.is_none() && begun.elapsed() >= times.settling {
                latencies = Some(load::run(agent.address, "/metrics", SCRAPES, SCRAPING, 2));
            }
        }
    })?;
    let pairs = churn.stop()?;
    let latencies = latencies.context("the soak was too short to scrape")??;
    let settled: Vec<f64> =
        memory.iter().filter(|(at, _)| *at >= times.settling).map(|(_, bytes)| *bytes as f64).collect();
    let part = settled.len().min(10);
    let (first, last) = (median(&settled[..part]), median(&settled[settled.len() - part..]));
    let after = agent.settled_metrics(&before, pairs)?;
    let lost: f64 = after
        .iter()
        .filter(|(name, _)| name.starts_with("cgtrace_events_lost_total{ring=\"lifecycle\""))
        .map(|(_, v)| v)
        .sum();
    let made = sum(&after, "cgtrace_cgroups_created_total") - sum(&before, "cgtrace_cgroups_created_total");
    agent.stop()?;

    let (peer_idle, peer_busy, peer_memory, peer_lost, peer_pairs) = peer(&scratch.0, program, times)?;
    let rate = |pairs: u64, time: Duration| pairs as f64 / time.as_secs_f64();
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    println!("{:<44}{:>14}{:>14}", "", "cgtrace serve", "bpftrace");
    println!("{:<44}{:>13.3}%{:>13.3}%  (aim: under 0.1 %)", "idle, of one processor", idle * 100.0, peer_idle * 100.0);
    println!("{:<44}{:>13.0}%{:>13.0}%", "under churn, of one processor", busy * 100.0, peer_busy * 100.0);
    println!(
        "{:<44}{:>14.0}{:>14.0}",
        "pairs of mkdir and rmdir a second",
        rate(pairs, times.churn),
        rate(peer_pairs, times.peer)
    );
    println!("{:<44}{:>14}{:>14}", "lifecycle events lost", lost, peer_lost);
    println!("{:<44}{:>10.1} MiB{:>14}  (aim: 15 MiB)", "memory, idle", mib(idle_memory as f64), "");
    println!(
        "{:<44}{:>10.1} MiB{:>14}",
        format!("memory after {} s of churn", times.settling.as_secs()),
        mib(first),
        ""
    );
    println!(
        "{:<44}{:>10.1} MiB{:>10.1} MiB",
        format!("memory after {} s", times.churn.as_secs()),
        mib(last),
        mib(peer_memory as f64)
    );
    println!("{:<44}{:>13.1}%{:>14}  (5 % at most)", "growth", (last / first - 1.0) * 100.0, "");
    println!(
        "{:<44}p50 {:.2} ms, p99 {:.2} ms, most {:.2} ms, of {} scrapes (aim: p99 under 10 ms)",
        format!("{SCRAPES} scrapes a second under churn"),
        latencies.p50.as_secs_f64() * 1e3,
        latencies.p99.as_secs_f64() * 1e3,
        latencies.max.as_secs_f64() * 1e3,
        latencies.count
    );
    if lost > 0.0 || latencies.errors > 0 {
        bail!("{lost} lifecycle events were lost, {} scrapes failed", latencies.errors);
    }
    // Others may make cgroups meanwhile; none of ours may be missing.
    if made < pairs as f64 {
        bail!("{pairs} cgroups were made, and {made} counted");
    }
    if last > first * GROWTH {
        bail!("memory has grown by more than 5 %");
    }
    println!("soaked: {pairs} cgroups made and removed, each of them counted, no event lost, memory flat");
    Ok(())
}

/// The same with bpftrace: idle, busy, memory, records lost, pairs.
fn peer(scratch: &Path, program: &Path, times: Times) -> anyhow::Result<(f64, f64, u64, u64, u64)> {
    let running = Running::start(Tracer::Bpftrace, program, Path::new(""))?;
    let Running::Child { child, .. } = &running else { bail!("bpftrace is a child") };
    let idle = cpu_share(child, || std::thread::sleep(times.idle.min(times.peer)))?;
    let churn = Churn::start(scratch)?;
    let busy = cpu_share(child, || std::thread::sleep(times.peer))?;
    let pairs = churn.stop()?;
    let memory = resident(child.id())?;
    Ok((idle, busy, memory, running.stop()?.lost, pairs))
}

/// What share of one processor a child takes meanwhile.
fn cpu_share(child: &Child, meanwhile: impl FnOnce()) -> anyhow::Result<f64> {
    let (before, begun) = (so_far(child)?, Instant::now());
    meanwhile();
    Ok((so_far(child)? - before).as_secs_f64() / begun.elapsed().as_secs_f64())
}

/// Bytes that a process has resident.
fn resident(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process has memory")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("memory is told in kB")?;
    Ok(kib << 10)
}

/// Cgroups made and removed as fast as can be.
struct Churn {
    stop: Arc<AtomicBool>,
    pairs: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<std::io::Result<()>>,
}

impl Churn {
    fn start(scratch: &Path) -> anyhow::Result<Self> {
        let names = (0..NAMES)
            .map(|number| c_string(scratch.join(format!("soak-{number}"))))
            .collect::<Result<Vec<CString>, _>>()?;
        let (stop, pairs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (stop.clone(), pairs.clone());
        let thread = std::thread::spawn(move || {
            for name in names.iter().cycle() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                // SAFETY: the name ends in a zero.
                if unsafe { libc::mkdir(name.as_ptr(), 0o755) != 0 || libc::rmdir(name.as_ptr()) != 0 } {
                    return Err(std::io::Error::last_os_error());
                }
                counted.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        Ok(Self { stop, pairs, thread })
    }

    fn stop(self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(done) => done.context("failed to make a cgroup")?,
            Err(_) => bail!("the churn has died"),
        }
        Ok(self.pairs.load(Ordering::Relaxed))
    }
}

/// An agent that serves on a port of its own.
struct Agent {
    child: Child,
    address: SocketAddr,
}

/// Samples by name and labels.
type Samples = Vec<(String, f64)>;

fn sum(samples: &Samples, name: &str) -> f64 {
    samples.iter().filter(|(sample, _)| sample.starts_with(name)).map(|(_, value)| value).sum()
}

impl Agent {
    fn start(program: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .context("failed to run cgtrace")?;
        let mut stderr = BufReader::new(child.stderr.take().context("it has a pipe")?);
        let mut said = String::new();
        while !said.contains("the thread that traces") {
            if stderr.read_line(&mut said).context("failed to hear from the agent")? == 0 {
                bail!("the agent has ended: {said}");
            }
        }
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        let address = said.lines().find_map(|line| line.strip_prefix("serving: http://"));
        let address = address.context("it says where it serves")?.parse().context("an address")?;
        Ok(Self { child, address })
    }

    /// What it answers.
    fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.address).context("failed to connect to the agent")?;
        // In this version an answer comes in one piece.
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text).with_context(|| format!("failed to read {path}"))?;
        let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("{path} has no answer"))?;
        if head.split_whitespace().nth(1) != Some("200") {
            bail!("{path}: {head}");
        }
        Ok(body.to_owned())
    }

    fn metrics(&self) -> anyhow::Result<Samples> {
        let text = self.get("/metrics")?;
        let samples = text.lines().filter(|line| line.starts_with("cgtrace_"));
        Ok(samples
            .filter_map(|line| {
                line.rsplit_once(' ').and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            })
            .collect())
    }

    /// When all that was made is counted, or a while has passed.
    fn settled_metrics(&self, before: &Samples, pairs: u64) -> anyhow::Result<Samples> {
        let begun = Instant::now();
        loop {
            let now = self.metrics()?;
            let removed = sum(&now, "cgtrace_cgroups_removed_total") - sum(before, "cgtrace_cgroups_removed_total");
            if removed >= pairs as f64 || begun.elapsed() > Duration::from_secs(10) {
                return Ok(now);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn stop(mut self) -> anyhow::Result<()> {
        // SAFETY: a call without memory.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        let status = self.child.wait().context("failed to wait for the agent")?;
        if !status.success() {
            bail!("the agent ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Agent {
    /// Where the soak has failed, it is not left behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
