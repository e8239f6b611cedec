//! What tracing costs, and what trace files cost, side by side with peers in one run.
//!
//! Rounds are interleaved: every round measures every case, so that what the machine does meanwhile hits all alike. Of a
//! case's rounds the median counts. Nothing is asserted: machines are noisy.

mod calls;
mod tracers;
mod traces;
mod usage;

use std::ffi::CString;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;

pub use calls::{Measurement, measure};
pub use tracers::{Running, Tracer};
pub use usage::so_far;

use crate::{build, is_root, setup};

/// Which half of the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Half {
    /// What tracing adds to a call
    Tracing,
    /// What trace files cost: their size, to record them, to replay them
    Traces,
}

/// Measures one half or both, and prints it.
pub fn run(half: Option<Half>, rounds: usize) -> anyhow::Result<()> {
    if !is_root() {
        bail!("the benchmark attaches kernel programs\nhint: run it as root");
    }
    setup::toolchain()?;
    setup::packages(&setup::BENCH, setup::Need::Required)?;
    let program = build()?;
    let scratch = Scratch::new()?;
    if half != Some(Half::Traces) {
        calls::run(rounds, &program, &scratch)?;
    }
    if half.is_none() {
        println!();
    }
    if half != Some(Half::Tracing) {
        traces::run(rounds, &program, &scratch)?;
    }
    Ok(())
}

/// The value in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A cgroup for the churn.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// In cgroup2.
    pub fn new() -> anyhow::Result<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").context("failed to read the mounts")?;
        let mount = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find_map(|fields| (fields.get(2) == Some(&"cgroup2")).then(|| fields.get(1).copied()).flatten());
        let mount = mount.context("cgroup2 is not mounted")?;
        let path = Path::new(mount).join(format!("cgtrace-bench-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("failed to make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(self.0.join("churn"));
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// A directory for what is written meanwhile.
pub struct Place(pub PathBuf);

impl Place {
    /// Below the one for such.
    pub fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("cgtrace-bench-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("failed to make {}", path.display()))?;
        Ok(Self(path))
    }

    /// Removes what was written.
    fn empty(&self) -> anyhow::Result<()> {
        for entry in self.0.read_dir().context("failed to read a directory of our own")? {
            std::fs::remove_file(entry?.path()).context("failed to remove what was written")?;
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Text for system calls.
pub fn c_string(text: impl AsRef<std::ffi::OsStr>) -> anyhow::Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(text.as_ref().as_bytes()).context("a path with a zero byte")
}
