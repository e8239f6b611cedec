//! Cgroups made and removed as fast as can be.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::page::table;
use super::spread::{Spread, digits};
use super::tracers::{Running, Tracer};
use super::{Bench, Measured, Scratch, c_string};
use crate::step;

/// Who is compared.
const TRACERS: [Tracer; 4] = [Tracer::Nobody, Tracer::Empty, Tracer::Cgtrace, Tracer::Bpftrace];
/// Processors that churn at once, and how long they do in a block.
const PROCESSORS: usize = 2;
const WINDOW: Duration = Duration::from_millis(500);

/// Pairs of mkdir and rmdir in one process of which the number is known.
pub const PAIRS: usize = 7_000;

/// Makes and removes so many in this process.
pub fn make(has_containers: bool, cgroup: &Path) -> anyhow::Result<()> {
    let own = c_string(cgroup.join("churn"))?;
    for pair in 0..PAIRS {
        let container = c_string(cgroup.join(container(pair)))?;
        once(if has_containers && pair % 2 == 1 { &container } else { &own })?;
    }
    Ok(())
}

/// The same on one processor for a while. Prints how many pairs a second.
pub fn measure(number: usize, cgroup: &Path) -> anyhow::Result<()> {
    super::pin(number)?;
    let own = c_string(cgroup.join(format!("churn-{number}")))?;
    let (begun, mut pairs) = (Instant::now(), 0u32);
    while begun.elapsed() < WINDOW {
        once(&own)?;
        pairs += 1;
    }
    println!("{}", f64::from(pairs) / begun.elapsed().as_secs_f64());
    Ok(())
}

fn once(path: &CString) -> anyhow::Result<()> {
    // SAFETY: the path ends in a zero.
    if unsafe { libc::mkdir(path.as_ptr(), 0o755) != 0 || libc::rmdir(path.as_ptr()) != 0 } {
        bail!("failed to make or remove {}: {}", path.to_string_lossy(), std::io::Error::last_os_error());
    }
    Ok(())
}

/// A name such as Docker and systemd give to a container's cgroup, with an id that no other pair or process has.
fn container(pair: usize) -> String {
    let mut id = String::new();
    for part in 0..4u32 {
        let mut hasher = std::hash::DefaultHasher::new();
        (std::process::id(), pair, part).hash(&mut hasher);
        id.push_str(&format!("{:016x}", hasher.finish()));
    }
    format!("docker-{id}.scope")
}

/// Has a process of its own make and remove [`PAIRS`].
pub fn make_apart(what: Measured, scratch: &Scratch) -> anyhow::Result<()> {
    let mut command = Command::new(super::own()?);
    crate::run(command.args(["bench", "--measure", what.word(), "--cgroup"]).arg(&scratch.0))
}

/// Pairs a second on all processors.
fn rate(bench: &Bench) -> anyhow::Result<f64> {
    let children = (0..PROCESSORS).map(|number| {
        let mut command = Command::new(super::own()?);
        command.args(["bench", "--measure", "churn-for", "--number", &number.to_string(), "--cgroup"]);
        command.arg(&bench.scratch.0).stdout(Stdio::piped()).spawn().context("failed to start a churn")
    });
    let children = children.collect::<anyhow::Result<Vec<_>>>()?;
    let mut all = 0.0;
    for child in children {
        let done = child.wait_with_output().context("failed to wait for a churn")?;
        all += String::from_utf8_lossy(&done.stdout).trim().parse::<f64>().context("a churn failed")?;
    }
    Ok(all)
}

/// Measures the churn under every tracer. Returns what the page says of it.
pub fn run(bench: &Bench) -> anyhow::Result<String> {
    let (mut rates, mut lost): (BTreeMap<Tracer, Vec<f64>>, BTreeMap<Tracer, u64>) = Default::default();
    for number in 1..=bench.rounds {
        step(&format!("churn: block {number} of {}", bench.rounds));
        for turn in 0..TRACERS.len() {
            let tracer = TRACERS[(turn + number) % TRACERS.len()];
            let running = Running::start(tracer, &bench.program, &bench.place.0.join("live"))?;
            rates.entry(tracer).or_default().push(rate(bench)?);
            *lost.entry(tracer).or_default() += running.stop()?.lost;
            bench.place.empty()?;
        }
    }
    let of = |tracer: Tracer| rates.get(&tracer).map_or(&[][..], Vec::as_slice).iter().copied();
    let rows: Vec<Vec<String>> = TRACERS
        .into_iter()
        .map(|tracer| {
            let share = Spread::of(of(tracer).zip(of(Tracer::Nobody)).map(|(with, without)| with / without));
            let lost = lost.get(&tracer).copied().unwrap_or(0).to_string();
            vec![tracer.name().to_owned(), digits(Spread::of(of(tracer)).middle), share.of_nothing(), lost]
        })
        .collect();
    Ok(format!(
        "### Cgroups made and removed\n\nBoth processors make and remove cgroups as fast as they can. Aim: 0.97 of \
         what they do with nothing attached, and\nnothing lost.\n\n{}",
        table(&["attached", "pairs a second", "share of nothing", "records lost"], &rows)
    ))
}
