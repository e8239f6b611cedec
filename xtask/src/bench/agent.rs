//! What the program itself takes: to start, when nothing happens, and of memory.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::page::table;
use super::spread::{Spread, digits};
use super::tracers::{Running, Tracer, wait_for_line};
use super::usage::so_far;
use super::{Bench, median};
use crate::agent::{Agent, Churn, cpu_share, resident};
use crate::step;

const STARTS: usize = 9;
/// Before memory and processor time of an idle agent are looked at.
const SETTLING: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(30);
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
    // SAFETY: a call without memory.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    child.wait().context("failed to wait for cgtrace").map(drop)
}

fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

/// Measures it all. Returns what the page says of it.
pub fn run(bench: &Bench) -> anyhow::Result<String> {
    let mut text = String::from("### Start, idle, memory\n\n");
    let mut starts = Vec::new();
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
        starts.push(vec![format!("start to attached, {name}"), cpu.to_string(), wall.to_string()]);
    }
    text.push_str(&table(&["", "seconds of processor time", "seconds"], &starts));
    text.push_str("\nAim: 0.15 s of processor time.\n\n");

    step(&format!("idle: {} s of each", IDLE.as_secs()));
    let agent = Agent::start(&bench.program)?;
    let live = start(&bench.program, COMMANDS[1].1, COMMANDS[1].2)?;
    let at_start = resident(live.id())?;
    std::thread::sleep(SETTLING);
    let mut idle_live = Ok(0.0);
    let idle = cpu_share(&agent.child, || idle_live = cpu_share(&live, || std::thread::sleep(IDLE)))?;
    let idle_memory = [resident(agent.child.id())?, resident(live.id())?];
    stop(live)?;
    step(&format!("memory: {} s of churn", CHURN.as_secs()));
    let churn = Churn::start(&bench.scratch.0)?;
    let (mut memory, begun) = (Vec::new(), Instant::now());
    while begun.elapsed() < CHURN {
        std::thread::sleep(Duration::from_secs(1));
        memory.push(resident(agent.child.id())? as f64);
    }
    churn.stop()?;
    agent.stop()?;
    let running = Running::start(Tracer::Bpftrace, &bench.program, Path::new(""))?;
    let Running::Child { child, .. } = &running else { anyhow::bail!("bpftrace is a child") };
    std::thread::sleep(SETTLING);
    let peer = cpu_share(child, || std::thread::sleep(IDLE))?;
    let peer_memory = resident(child.id())?;
    running.stop()?;
    let churned = median(&memory[memory.len() / 2..]) as u64;
    let percent = |share: f64| digits(share * 100.0);
    let rows = [
        ("idle, % of a processor (aim 0.03)", percent(idle), percent(idle_live?), percent(peer)),
        ("resident at start, MiB", "–".to_owned(), mib(at_start), "–".to_owned()),
        ("resident when idle, MiB (aim 12)", mib(idle_memory[0]), mib(idle_memory[1]), mib(peer_memory)),
        ("resident after a minute of churn, MiB (aim 15)", mib(churned), "–".to_owned(), "–".to_owned()),
    ];
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(name, serve, live, peer)| vec![name.to_owned(), serve, live, peer]).collect();
    text.push_str(&table(&["", "serve", "live", "bpftrace"], &rows));
    Ok(text)
}
