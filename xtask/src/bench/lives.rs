//! How many containers a runtime runs a minute.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};

use super::Bench;
use super::page::table;
use super::spread::{Spread, digits};
use super::tracers::{Running, Tracer};
use crate::step;

const TRACERS: [Tracer; 3] = [Tracer::Nobody, Tracer::Cgtrace, Tracer::Bpftrace];
/// Lives in a block.
const LIVES: usize = 8;

/// A bundle whose container runs `true`.
fn bundle(place: &Path) -> anyhow::Result<()> {
    let root = place.join("rootfs/bin");
    std::fs::create_dir_all(&root).context("failed to make a bundle")?;
    std::fs::copy("/bin/busybox", root.join("true")).context("failed to copy busybox")?;
    crate::run(Command::new("runc").args(["spec", "--bundle"]).arg(place))?;
    let path = place.join("config.json");
    let text = std::fs::read(&path).context("failed to read what runc wrote")?;
    let mut config: serde_json::Value = serde_json::from_slice(&text).context("runc writes JSON")?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(["/bin/true"]);
    std::fs::write(&path, config.to_string()).context("failed to write the bundle")
}

/// Lives a minute in one block.
fn rate(bundle: &Path) -> anyhow::Result<f64> {
    let begun = Instant::now();
    for life in 0..LIVES {
        let mut command = Command::new("runc");
        command.args(["run", "--bundle"]).arg(bundle).arg(format!("cgtrace-bench-{}-{life}", std::process::id()));
        let status = command.stdin(Stdio::null()).status().context("failed to run runc")?;
        if !status.success() {
            bail!("runc run: {status}");
        }
    }
    Ok(LIVES as f64 / begun.elapsed().as_secs_f64() * 60.0)
}

/// Measures the lives under every tracer. Returns what the page says of them.
pub fn run(bench: &Bench) -> anyhow::Result<String> {
    let place = bench.place.0.join("bundle");
    bundle(&place)?;
    let mut rates: BTreeMap<Tracer, Vec<f64>> = BTreeMap::new();
    for number in 1..=bench.rounds {
        step(&format!("runc: block {number} of {}", bench.rounds));
        for turn in 0..TRACERS.len() {
            let tracer = TRACERS[(turn + number) % TRACERS.len()];
            let results = bench.place.0.join("live");
            let running = Running::start(tracer, &bench.program, &results)?;
            rates.entry(tracer).or_default().push(rate(&place)?);
            running.stop()?;
        }
    }
    std::fs::remove_dir_all(&place).context("failed to remove the bundle")?;
    bench.place.empty()?;
    let of = |tracer: Tracer| rates.get(&tracer).map_or(&[][..], Vec::as_slice).iter().copied();
    let rows: Vec<Vec<String>> = TRACERS
        .into_iter()
        .map(|tracer| {
            let share = Spread::of(of(tracer).zip(of(Tracer::Nobody)).map(|(with, without)| with / without));
            vec![tracer.name().to_owned(), digits(Spread::of(of(tracer)).middle), share.of_nothing()]
        })
        .collect();
    Ok(format!(
        "### Containers\n\n`runc run` of a container that runs `true`, one after the other.\n\n{}",
        table(&["attached", "lives a minute", "share of nothing"], &rows)
    ))
}
