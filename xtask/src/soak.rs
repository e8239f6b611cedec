//! The agent under churn at full speed for a long time: its memory stays flat, and nothing is lost. Beside it bpftrace,
//! doing the same tracing. Then the agent again with its history full while clients read it ([`history`]), and with
//! containers that have names ([`named`]).
//!
//! That memory grows, that an event is lost or that a count is wrong fails; times and shares are only printed.

mod history;
mod named;
mod runtime;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ValueEnum;

pub use runtime::play as play_runtime;

use crate::agent::{Agent, Churn, cpu_share, resident, sum};
use crate::bench::{Running, Scratch, Tracer, median};
use crate::{build, is_root, load, setup, step};

/// Scrapes a second, and for how long.
const SCRAPES: u32 = 500;
const SCRAPING: Duration = Duration::from_secs(10);
/// A history that is full before memory is looked at for the first time, also on a slow machine: what fills it later
/// would be taken for a leak.
const HISTORY: (&str, u64) = ("1M", 1 << 20);
/// The agent's memory at the end may be so much of what it was after the first part.
const GROWTH: f64 = 1.05;

/// A part of the soak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Cgroups made and removed as fast as can be, beside bpftrace
    Churn,
    /// The history full, and clients that read it slowly or not at all
    History,
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
        Self { containers: 5_000, idle: seconds(10), settling: seconds(20), churn: seconds(40), peer: seconds(10) }
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
    let parts = part.map_or(vec![Part::Churn, Part::History, Part::Named], |part| vec![part]);
    for (number, part) in parts.into_iter().enumerate() {
        if number > 0 {
            println!();
        }
        match part {
            Part::Churn => churn(&program, &scratch, times)?,
            Part::History => history::run(&program, &scratch)?,
            Part::Named => named::run(&program, &scratch, times.containers)?,
        }
    }
    Ok(())
}

/// Cgroups without names, with a scraper, and the same with bpftrace.
fn churn(program: &Path, scratch: &Scratch, times: Times) -> anyhow::Result<()> {
    step(&format!("soaking for {} s", (times.idle + times.churn + times.peer).as_secs()));
    let agent = Agent::start(program, &["--history", HISTORY.0])?;

    let idle = cpu_share(&agent.child, || std::thread::sleep(times.idle))?;
    let idle_memory = resident(agent.child.id())?;

    let before = agent.metrics()?;
    let scrape = agent.get("/metrics")?.len();
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
    println!("{:<44}{latencies} (aim: p99 under 10 ms)", format!("{SCRAPES} scrapes a second under churn"));
    println!("{:<44}{:>10.1} KiB", "each of them", scrape as f64 / 1024.0);
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
