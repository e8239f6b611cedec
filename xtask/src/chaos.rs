//! Chaos with a written truth, for longer than the tests play it.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Context;

use crate::{as_root, root, run, setup, step, test};

/// Plays the test program `chaos`, which prints its seed, and what was made, seen and wrong; or has it judge a run that
/// it has kept.
pub fn run_for(seconds: u64, seed: Option<u64>, again: Option<&Path>) -> anyhow::Result<()> {
    setup::toolchain()?;
    step("building the test");
    let programs = test::programs(&["--package", "cgtrace", "--test", "chaos"])?;
    let program = programs.first().context("cargo built no test program")?;
    match again {
        Some(directory) => step(&format!("judging {} again", directory.display())),
        None => step(&format!("playing for {seconds} s")),
    }
    // sudo passes no variables on.
    let mut command = as_root(Path::new("env"))?;
    command.arg(format!("CGTRACE_CHAOS_SECONDS={seconds}"));
    command.args(seed.map(|seed| format!("CGTRACE_CHAOS_SEED={seed}")));
    if let Some(directory) = again {
        let directory = directory.canonicalize().with_context(|| format!("failed to open {}", directory.display()))?;
        let mut pair = OsString::from("CGTRACE_CHAOS_AGAIN=");
        pair.push(directory);
        command.arg(pair);
    }
    run(command.arg(program).current_dir(root().join("tracer")))
}
