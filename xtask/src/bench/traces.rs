//! What trace files cost: to record them, to keep them, to replay them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::churn::{PAIRS, make_apart};
use super::tracers::{Ended, Running, Tracer};
use super::usage::{Usage, pipeline};
use super::{Bench, Measured, median};
use crate::{cargo, run as run_command, step};

/// Who is compared while cgroups are made and removed: the second does what the first does, and records.
const TRACERS: [Tracer; 3] = [Tracer::Cgtrace, Tracer::Record, Tracer::Bpftrace];
/// Churning processes in a round of recording, and in the trace that is replayed.
const SHORT: usize = 10;
const LONG: usize = 30;
/// A cgroup that is made and removed is created, removed and released.
const EVENTS: usize = 3;
/// What memory is measured with: a trace, and one ten times as long.
const LENGTHS: [u64; 2] = [1_000_000, 10_000_000];

/// Who reads a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reader {
    Report,
    Jq,
    Lines,
}

impl Reader {
    const ALL: [Self; 3] = [Self::Report, Self::Jq, Self::Lines];

    fn name(self) -> &'static str {
        match self {
            Self::Report => "cgtrace report",
            Self::Jq => "zstd -dc | jq -c .",
            Self::Lines => "zstd -dc | wc -l",
        }
    }

    fn read(self, program: &Path, trace: &Path) -> anyhow::Result<Usage> {
        let zstd = || command("zstd", &["-dc"], trace);
        let mut commands = match self {
            Self::Report => vec![report(program, &[], trace)],
            Self::Jq => vec![zstd(), command("jq", &["-c", "."], Path::new("-"))],
            Self::Lines => vec![zstd(), command("wc", &["-l"], Path::new("-"))],
        };
        let (usage, _) = pipeline(&mut commands, false).with_context(|| format!("{} failed", self.name()))?;
        Ok(usage)
    }
}

/// A trace of cgroup churn, and what its recorder did.
fn record(bench: &Bench, what: Measured) -> anyhow::Result<(PathBuf, Ended)> {
    step(&format!("recording a trace: {}", what.word()));
    let trace = bench.place.0.join(format!("{}.jsonl.zst", what.word()));
    let ended = churn(bench, Tracer::Record, what, LONG, &trace)?;
    Ok((trace, ended))
}

/// Has `processes` churn, one after the other, under a tracer that writes to `results`.
fn churn(bench: &Bench, tracer: Tracer, what: Measured, processes: usize, results: &Path) -> anyhow::Result<Ended> {
    let running = Running::start(tracer, &bench.program, results)?;
    for _ in 0..processes {
        make_apart(what, &bench.scratch)?;
    }
    running.stop()
}

/// Measures it all and prints it.
pub fn run(bench: &Bench) -> anyhow::Result<()> {
    recording(bench)?;
    let (trace, ended) = record(bench, Measured::Churn)?;
    let (mixed, mixed_ended) = record(bench, Measured::ChurnContainers)?;
    println!("\nbytes an event in a trace file:");
    let size = |what: &str, trace: &Path, ended: &Ended, aim: &str| -> anyhow::Result<()> {
        let bytes = std::fs::metadata(trace).context("failed to look at a trace")?.len();
        let each = bytes as f64 / ended.events as f64;
        println!("{what:<34}{each:>8.1}  ({aim}{} events, {} lost)", ended.events, ended.lost);
        Ok(())
    };
    size("one cgroup, made over and over", &trace, &ended, "aim 12 or less; ")?;
    size("every other one a new container's", &mixed, &mixed_ended, "")?;
    replay(bench, &trace)?;
    memory(bench, &mixed)
}

/// What recording takes of a processor, an event.
fn recording(bench: &Bench) -> anyhow::Result<()> {
    let (mut costs, mut lost): (BTreeMap<Tracer, Vec<f64>>, BTreeMap<Tracer, u64>) = Default::default();
    for round in 1..=bench.rounds {
        step(&format!("recording: round {round} of {}", bench.rounds));
        for tracer in TRACERS {
            let ended = churn(bench, tracer, Measured::Churn, SHORT, &bench.place.0.join("results"))?;
            let nanos = ended.cpu.as_nanos() as f64 / (SHORT * PAIRS * EVENTS) as f64;
            costs.entry(tracer).or_default().push(nanos);
            *lost.entry(tracer).or_default() += ended.lost;
            bench.place.empty()?;
        }
    }
    let of = |tracer| median(costs.get(&tracer).map_or(&[], Vec::as_slice));
    println!("the tracer's own processor time, ns an event of cgroup churn; records lost:");
    for tracer in TRACERS {
        let lost = lost.get(&tracer).copied().unwrap_or(0);
        println!("{:<26}{:>8.0} {:>6.2}  {lost} lost", tracer.name(), of(tracer), of(tracer) / of(Tracer::Bpftrace));
    }
    println!("(recording adds {:.0} ns an event)", of(Tracer::Record) - of(Tracer::Cgtrace));
    Ok(())
}

/// How fast a trace is read.
fn replay(bench: &Bench, trace: &Path) -> anyhow::Result<()> {
    let (_, lines) = pipeline(&mut [command("zstd", &["-dc"], trace), command("wc", &["-l"], Path::new("-"))], true)?;
    // The header and the end are no inputs.
    let inputs = lines.trim().parse::<u64>().context("wc counts lines")?.saturating_sub(2) as f64;
    let mut usages: BTreeMap<Reader, Vec<Usage>> = BTreeMap::new();
    for round in 1..=bench.rounds {
        step(&format!("replaying: round {round} of {}", bench.rounds));
        for reader in Reader::ALL {
            usages.entry(reader).or_default().push(reader.read(&bench.program, trace)?);
        }
    }
    let of = |reader: Reader, what: fn(&Usage) -> f64| {
        let values: Vec<f64> = usages.get(&reader).map_or(&[][..], Vec::as_slice).iter().map(what).collect();
        median(&values)
    };
    println!("\nseconds to read a trace of {inputs} inputs, and as a share of cgtrace report:");
    println!("{:<26}{:>8}{:>8}{:>8}{:>8}", "", "wall", "share", "cpu", "share");
    let wall: fn(&Usage) -> f64 = |usage| usage.wall.as_secs_f64();
    let cpu: fn(&Usage) -> f64 = |usage| usage.cpu.as_secs_f64();
    for reader in Reader::ALL {
        let share = |what| of(reader, what) / of(Reader::Report, what);
        println!(
            "{:<26}{:>8.2}{:>8.2}{:>8.2}{:>8.2}",
            reader.name(),
            of(reader, wall),
            share(wall),
            of(reader, cpu),
            share(cpu)
        );
    }
    let rate = inputs / of(Reader::Report, cpu);
    println!("{rate:.0} inputs a second of one processor (aim 1500000 or more)");
    Ok(())
}

/// How much memory a report takes, and whether that grows with the trace.
fn memory(bench: &Bench, trace: &Path) -> anyhow::Result<()> {
    println!("\nmost memory of cgtrace report, in MiB, by events in the trace (aim below 100):");
    println!("{:<26}{:>12}{:>16}{:>16}", "", "", "--lives", "--format html");
    for events in LENGTHS {
        step(&format!("making a trace of {events} events"));
        let long = bench.place.0.join("long.jsonl.zst");
        let mut lengthen = cargo();
        lengthen.args(["run", "--quiet", "--release", "--package", "cgtrace", "--example", "lengthen", "--"]);
        run_command(lengthen.arg(trace).arg(&long).arg(events.to_string()))?;
        let peak = |options: &[&str]| -> anyhow::Result<f64> {
            let (usage, _) = pipeline(&mut [report(&bench.program, options, &long)], false)?;
            Ok(usage.peak as f64 / f64::from(1 << 20))
        };
        let (plain, lives, html) = (peak(&[])?, peak(&["--lives"])?, peak(&["--format", "html"])?);
        println!("{events:<26}{plain:>12.1}{lives:>16.1}{html:>16.1}");
        std::fs::remove_file(&long).context("failed to remove a trace")?;
    }
    Ok(())
}

fn report(program: &Path, options: &[&str], trace: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("report").args(options).arg(trace);
    command
}

fn command(program: &str, options: &[&str], file: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(options);
    // Without a file it reads what it is given.
    if file != Path::new("-") {
        command.arg(file);
    }
    command
}
