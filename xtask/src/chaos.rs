//! Chaos with a written truth, for longer than the tests play it.

use std::path::Path;

use anyhow::Context;

use crate::{as_root, root, run, setup, step, test};

/// Plays the test program `chaos`, which prints its seed, and what was made, seen and wrong.
pub fn run_for(seconds: u64, seed: Option<u64>) -> anyhow::Result<()> {
    setup::toolchain()?;
    step("building the test");
    let programs = test::programs(&["--package", "cgtrace", "--test", "chaos"])?;
    let program = programs.first().context("cargo built no test program")?;
    step(&format!("playing for {seconds} s"));
    // sudo passes no variables on.
    let mut command = as_root(Path::new("env"))?;
    command.arg(format!("CGTRACE_CHAOS_SECONDS={seconds}"));
    command.args(seed.map(|seed| format!("CGTRACE_CHAOS_SEED={seed}")));
    run(command.arg(program).current_dir(root().join("tracer")))
}
