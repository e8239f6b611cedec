//! Fuzzing for a bounded time.
//!
//! The targets are in cargo-fuzz's layout, which is not needed here: what it adds to `cargo build` are the flags below,
//! and a stable compiler takes them. The address sanitizer, which needs an unstable one, is left out: our code under
//! test is safe Rust, and the targets bound their memory by themselves.

use std::collections::VecDeque;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::{bare_cargo, host, root, run, setup, step};

/// What the compiler is told for libFuzzer to see which way an input went; as cargo-fuzz does, but for its sanitizer.
const FLAGS: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Cdebug-assertions",
    "--cfg=fuzzing",
];
/// For the whole process, the fuzzer's own memory included.
const MEMORY_MIB: u32 = 512;
/// An input that takes longer is a finding: in six minutes of fuzzing each target, none took two seconds.
const TIMEOUT_S: u32 = 10;
/// Lines of the fuzzer's that are shown of a run that fails.
const LAST_WORDS: usize = 60;

/// What is fuzzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Reading a trace file
    Reader,
    /// Judging a trace's lines
    Tracker,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reader => "reader",
            Self::Tracker => "tracker",
        })
    }
}

/// Fuzzes one target or all, so long each; or runs one input.
pub fn by_hand(target: Option<Target>, seconds: u32, input: Option<&Path>) -> anyhow::Result<()> {
    let place = build()?;
    let targets = target.as_ref().map_or(Target::value_variants(), std::slice::from_ref);
    if let Some(input) = input {
        return targets.iter().try_for_each(|target| run(command(&place, *target).arg(input)));
    }
    let (_, failed) = fuzz_all(&place, targets, seconds)?;
    if failed > 0 {
        bail!("{failed} of {} targets failed", targets.len());
    }
    Ok(())
}

/// Fuzzes every target, so long each. Returns how many passed and failed.
pub fn all(seconds: u32) -> anyhow::Result<(u64, u64)> {
    fuzz_all(&build()?, Target::value_variants(), seconds)
}

/// Fuzzes these, as many at a time as there are processors: a target keeps one busy.
fn fuzz_all(place: &Path, targets: &[Target], seconds: u32) -> anyhow::Result<(u64, u64)> {
    let (mut passed, mut failed) = (0, 0);
    for targets in targets.chunks(crate::processors().get()) {
        let names: Vec<String> = targets.iter().map(Target::to_string).collect();
        step(&format!("fuzzing: {} for {seconds} s", names.join(", ")));
        let fuzz = |target| move || passes(place, target, seconds);
        let done: Vec<_> = std::thread::scope(|scope| {
            let running: Vec<_> = targets.iter().map(|target| scope.spawn(fuzz(*target))).collect();
            running.into_iter().map(|running| running.join()).collect()
        });
        for is_passed in done {
            match is_passed {
                Ok(true) => passed += 1,
                Ok(false) => failed += 1,
                Err(_) => bail!("a thread that fuzzes has panicked"),
            }
        }
    }
    Ok((passed, failed))
}

/// Builds the targets. Returns where they are.
fn build() -> anyhow::Result<PathBuf> {
    setup::packages(&setup::FUZZ, setup::Need::Required)?;
    step("building the fuzz targets (some minutes)");
    let host = host()?;
    let place = root().join("target/fuzz");
    let mut cargo = bare_cargo();
    // With a target that is named, build scripts are built without the flags.
    cargo
        .args(["build", "--quiet", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target", &host])
        .arg("--target-dir")
        .arg(&place)
        .current_dir(root())
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    run(&mut cargo)?;
    Ok(place.join(host).join("release"))
}

/// A target with the limits that an input must keep.
fn command(place: &Path, target: Target) -> Command {
    let mut command = Command::new(place.join(target.to_string()));
    command
        .current_dir(root().join("fuzz"))
        .arg(format!("-artifact_prefix=artifacts/{target}/"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-timeout={TIMEOUT_S}"));
    command
}

/// Whether a target was run and nothing was found. Says so.
fn passes(place: &Path, target: Target, seconds: u32) -> bool {
    match fuzz(place, target, seconds) {
        Ok(Done { runs, covered, .. }) => {
            println!("fuzz {target} ... ok: {runs} runs, {covered} places covered");
            true
        }
        Err(error) => {
            println!("fuzz {target} ... FAILED: {error:#}");
            false
        }
    }
}

fn fuzz(place: &Path, target: Target, seconds: u32) -> anyhow::Result<Done> {
    // New inputs go to the first directory and are found again; the second is the one that is kept.
    let (found, known) = (place.join("corpus").join(target.to_string()), format!("corpus/{target}"));
    let artifacts = root().join(format!("fuzz/artifacts/{target}"));
    for directory in [&found, &artifacts] {
        std::fs::create_dir_all(directory).with_context(|| format!("failed to make {}", directory.display()))?;
    }
    let mut command = command(place, target);
    command.args(["-dict=dictionary", &format!("-max_total_time={seconds}")]).arg(found).arg(known);
    let mut child = command.stderr(Stdio::piped()).spawn().context("failed to run it")?;
    let stderr = child.stderr.take().context("it has a pipe")?;
    let (mut done, mut artifact) = (Done::default(), None);
    let mut last_words = VecDeque::new();
    for line in BufReader::new(stderr).split(b'\n') {
        let line = line.context("failed to read from it")?;
        let line = String::from_utf8_lossy(&line).into_owned();
        done.hear(&line);
        if let Some((_, path)) = line.split_once("Test unit written to ") {
            artifact = Some(path.to_owned());
        }
        last_words.push_back(line);
        if last_words.len() > LAST_WORDS {
            last_words.pop_front();
        }
    }
    let status = child.wait().context("failed to wait for it")?;
    if status.success() && done.is_proven() {
        return Ok(done);
    }
    last_words.iter().for_each(|line| eprintln!("{line}"));
    match artifact {
        Some(path) => bail!(
            "{status}, by the input fuzz/{path}\nhint: to see it again, cargo xtask fuzz {target} --input fuzz/{path}"
        ),
        None if status.success() => bail!("nothing shows that it ran: {done:?}"),
        None => bail!("{status}"),
    }
}

/// What libFuzzer says it has done.
#[derive(Debug, Default, PartialEq, Eq)]
struct Done {
    /// Inputs that were run in all, and to read in the corpus.
    runs: u64,
    seeds: u64,
    /// Places in the program that were reached.
    covered: u64,
}

impl Done {
    /// `#4492 DONE cov: 5123 ft: …`, `Done 4492 runs in 11 second(s)`
    fn hear(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("Done"), Some(runs)) => self.runs = runs.parse().unwrap_or(0),
            (Some(number), Some(what @ ("INITED" | "DONE"))) => {
                if what == "INITED" {
                    self.seeds = number.trim_start_matches('#').parse().unwrap_or(0);
                }
                if words.next() == Some("cov:") {
                    self.covered = words.next().and_then(|covered| covered.parse().ok()).unwrap_or(0);
                }
            }
            _ => {}
        }
    }

    /// It ran more than what it was given, and the program was built for it to see where it went.
    fn is_proven(&self) -> bool {
        self.runs > self.seeds && self.seeds > 0 && self.covered > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[&str]) -> Done {
        let mut done = Done::default();
        lines.iter().for_each(|line| done.hear(line));
        done
    }

    #[test]
    fn a_run_is_proven_by_runs_beyond_the_corpus_and_by_coverage() {
        let inited = "#10\tINITED cov: 3021 ft: 9876 corp: 8/84Kb exec/s: 0 rss: 61Mb";
        let done = "#4492\tDONE   cov: 5123 ft: 22876 corp: 812/9084Kb lim: 34576 exec/s: 408 rss: 210Mb";
        let whole = heard(&[inited, "#11\tNEW    cov: 3022 ft: 1", done, "Done 4492 runs in 11 second(s)"]);
        assert_eq!(whole, Done { runs: 4492, seeds: 10, covered: 5123 });
        assert!(whole.is_proven());
        assert!(!heard(&[]).is_proven());
        assert!(!heard(&[inited, "Done 10 runs in 0 second(s)"]).is_proven(), "only the corpus");
        assert!(!heard(&["#10\tINITED exec/s: 0 rss: 61Mb", "Done 4492 runs in 11 second(s)"]).is_proven());
    }
}
