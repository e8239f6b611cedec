//! What the program itself takes: to start, when nothing happens, and of memory.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::page::table;
use super::spread::Spread;
use super::tracers::{Running, Tracer, wait_for_line};
use super::usage::so_far;
use super::{Bench, median};
use crate::agent::{Agent, Churn, resident, sum};
use crate::step;

const STARTS: usize = 9;
/// Before memory and processor time of an idle agent are looked at.
const SETTLING: Duration = Duration::from_secs(5);
/// Windows in which it is looked whether nothing happens, and what that takes.
const WINDOWS: usize = 20;
const WINDOW: Duration = Duration::from_secs(3);
const CHURN: Duration = Duration::from_secs(60);

/// A command, and what it says when it is attached.
const COMMANDS: [(&str, &[&str], &str); 2] = [
    ("serve", &["serve", "--listen", "127.0.0.1:0"], "serving: "),
    ("live", &["live", "--json", "--only", "findings"], "tracing "),
];

fn start(program: &Path, arguments: &[&str], says: &str) -> anyhow::Result<Child> {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("failed to run cgtrace")?;
    wait_for_line(child.stderr.as_mut(), says)?;
    Ok(child)
}

fn stop(mut child: Child) -> anyhow::Result<()> {
    // It may not listen for signals yet, and SIGINT may be ignored until it does.
    // SAFETY: a call without memory.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    child.wait().context("failed to wait for cgtrace").map(drop)
}

fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

/// Measures it all. Returns what the page says of it.
pub fn run(bench: &Bench) -> anyhow::Result<String> {
    Ok(format!("### Start, idle, memory\n\n{}\n{}", starts(bench)?, at_rest(bench)?))
}

fn starts(bench: &Bench) -> anyhow::Result<String> {
    let mut rows = Vec::new();
    for (name, arguments, says) in COMMANDS {
        step(&format!("start: {name}"));
        let (mut cpu, mut wall) = (Vec::new(), Vec::new());
        for _ in 0..STARTS {
            let begun = Instant::now();
            let child = start(&bench.program, arguments, says)?;
            wall.push(begun.elapsed().as_secs_f64());
            cpu.push(so_far(&child)?.as_secs_f64());
            stop(child)?;
        }
        let (cpu, wall) = (Spread::of(cpu), Spread::of(wall));
        rows.push(vec![format!("start to attached, {name}"), cpu.to_string(), wall.to_string()]);
    }
    let rows = table(&["", "seconds of processor time (aim 0.15)", "seconds"], &rows);
    Ok(rows)
}

/// What they take when nothing happens: shares of a processor in the windows in which nothing did.
fn at_rest(bench: &Bench) -> anyhow::Result<String> {
    let agent = Agent::start(&bench.program, &[])?;
    let live = start(&bench.program, COMMANDS[1].1, COMMANDS[1].2)?;
    let at_start = [resident(agent.child.id())?, resident(live.id())?];
    let running = Running::start(Tracer::Bpftrace, &bench.program, Path::new(""))?;
    let Running::Child { child: peer, .. } = &running else { bail!("bpftrace is a child") };
    std::thread::sleep(SETTLING);
    let mut idle: [Vec<f64>; 3] = Default::default();
    let happened = || anyhow::Ok(sum(&agent.metrics()?, "cgtrace_events_received_total"));
    for window in 1..=WINDOWS {
        step(&format!("idle: window {window} of {WINDOWS}"));
        let before = happened()?;
        let children = [&agent.child, &live, peer];
        let begun = [so_far(children[0])?, so_far(children[1])?, so_far(children[2])?];
        std::thread::sleep(WINDOW);
        let mut shares = [0.0; 3];
        for ((share, child), begun) in shares.iter_mut().zip(children).zip(begun) {
            *share = (so_far(child)? - begun).as_secs_f64() / WINDOW.as_secs_f64() * 100.0;
        }
        if happened()? == before {
            idle.iter_mut().zip(shares).for_each(|(all, share)| all.push(share));
        }
    }
    let idle_memory = [resident(agent.child.id())?, resident(live.id())?, resident(peer.id())?];
    stop(live)?;
    running.stop()?;
    step(&format!("memory: {} s of churn", CHURN.as_secs()));
    let churn = Churn::start(&bench.scratch.0)?;
    let (mut memory, begun) = (Vec::new(), Instant::now());
    while begun.elapsed() < CHURN {
        std::thread::sleep(Duration::from_secs(1));
        memory.push(resident(agent.child.id())? as f64);
    }
    churn.stop()?;
    agent.stop()?;
    let churned = median(&memory[memory.len() / 2..]) as u64;
    let quiet = idle[0].len();
    let [own, live, peer] = idle.map(|shares| match shares.len() {
        0 => "too noisy".to_owned(),
        _ => Spread::of(shares).to_string(),
    });
    let none = || "–".to_owned();
    let rows = [
        ("idle, % of a processor (aim 0.03)", own, live, peer),
        ("resident at start, MiB", mib(at_start[0]), mib(at_start[1]), none()),
        ("resident when idle, MiB (aim 12)", mib(idle_memory[0]), mib(idle_memory[1]), mib(idle_memory[2])),
        ("resident after a minute of churn, MiB (aim 15)", mib(churned), none(), none()),
    ];
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(name, serve, live, peer)| vec![name.to_owned(), serve, live, peer]).collect();
    Ok(format!(
        "{}\nIdle is measured in windows of {} s in which nothing happened on the host: {quiet} of {WINDOWS}.\n",
        table(&["", "serve", "live", "bpftrace"], &rows),
        WINDOW.as_secs()
    ))
}
