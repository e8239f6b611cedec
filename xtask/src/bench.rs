//! What tracing costs, and what trace files cost, side by side with peers in one run.
//!
//! Tracers are attached in turn, block by block, so that what the machine does meanwhile hits all alike, and each is
//! compared with nothing attached in the same block. What is told is the middle of the blocks with their quartiles;
//! where those overlap, that it is too noisy. Where there is a counter, it is told beside the time. Nothing is
//! asserted. The page `docs/performance.md` has the figures of a whole run.

mod agent;
mod calls;
mod churn;
mod flood;
mod instructions;
mod latency;
mod lives;
mod page;
mod programs;
mod spread;
mod tracers;
mod traces;
mod usage;

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::ValueEnum;

pub use tracers::{Running, Tracer};
pub use usage::so_far;

use crate::{build, is_root, output, setup};

/// A part of the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// What tracing adds to a call
    Calls,
    /// What tracing adds to a call with each backend, in instructions of a guest
    Instructions,
    /// What it takes of cgroups made and removed as fast as can be
    Churn,
    /// How many containers a runtime runs a minute
    Lives,
    /// A flood of failing calls
    Flood,
    /// What the program takes to start, when nothing happens, and of memory
    Agent,
    /// How long a finding takes
    Latency,
    /// What trace files cost: their size, to record them, to replay them; not on the page
    Traces,
}

/// What one process of the benchmark does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Measured {
    /// All calls, in slices
    Calls,
    /// All calls with each backend, in a guest
    Instructions,
    /// One call, very often
    Call,
    /// Pairs of mkdir and rmdir of a cgroup
    Churn,
    /// The same, every other one of a new container's cgroup
    ChurnContainers,
    /// Pairs on one processor, for a while
    ChurnFor,
    /// Calls that fail, without rights, for a while
    Flood,
    /// One failing call
    Actor,
}

impl Measured {
    fn word(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Instructions => "instructions",
            Self::Call => "call",
            Self::Churn => "churn",
            Self::ChurnContainers => "churn-containers",
            Self::ChurnFor => "churn-for",
            Self::Flood => "flood",
            Self::Actor => "actor",
        }
    }
}

/// Does what one process of the benchmark is for.
pub fn measure(what: Measured, number: usize, cgroup: &Path, program: &Path) -> anyhow::Result<()> {
    match what {
        Measured::Instructions => instructions::measure(program, cgroup),
        Measured::Calls => calls::measure(cgroup),
        Measured::Call => calls::make(number, cgroup),
        Measured::Churn => churn::make(false, cgroup),
        Measured::ChurnContainers => churn::make(true, cgroup),
        Measured::ChurnFor => churn::measure(number, cgroup),
        Measured::Flood => flood::make(cgroup),
        Measured::Actor => latency::act(number, cgroup),
    }
}

/// What is measured, and where.
struct Bench {
    program: PathBuf,
    rounds: usize,
    scratch: Scratch,
    place: Place,
}

/// Measures a part. Returns what the page says of it.
type Section = fn(&Bench) -> anyhow::Result<String>;

/// Measures one part and prints it; or all, and writes the page as well.
pub fn run(part: Option<Part>, rounds: usize) -> anyhow::Result<()> {
    if !is_root() {
        bail!("the benchmark attaches kernel programs\nhint: run it as root");
    }
    setup::toolchain()?;
    setup::packages(&setup::BENCH, setup::Need::Required)?;
    let bench = Bench { program: build()?, rounds, scratch: Scratch::new()?, place: Place::new()? };
    let sections: [(Part, Section); 7] = [
        (Part::Calls, calls::run),
        (Part::Instructions, instructions::run),
        (Part::Churn, churn::run),
        (Part::Lives, lives::run),
        (Part::Flood, flood::run),
        (Part::Agent, agent::run),
        (Part::Latency, latency::run),
    ];
    let mut figures = vec![here(&bench)];
    for (of, run) in sections {
        if part.is_none_or(|part| part == of) {
            let section = run(&bench)?;
            println!("{section}");
            figures.push(section);
        }
    }
    if part.is_none() {
        page::write(&figures.join("\n"))?;
    }
    if part.is_none_or(|part| part == Part::Traces) {
        traces::run(&bench)?;
    }
    Ok(())
}

/// When and where it was measured.
fn here(bench: &Bench) -> String {
    let said = |program: &str, arguments: &[&str]| {
        output(Command::new(program).args(arguments)).unwrap_or_else(|| "unknown".to_owned())
    };
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    // Whoever reads the figures should know how busy the machine was.
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown");
    format!(
        "Measured on {} with Linux {} on {processors} processors ({}), load average {load} as\n\
         it began, {} blocks; {}, {}.\n",
        said("date", &["-u", "+%Y-%m-%d"]),
        said("uname", &["-rm"]),
        model.map_or("unknown", |(_, model)| model),
        bench.rounds,
        said("bpftrace", &["--version"]),
        said("runc", &["--version"]).lines().next().unwrap_or("runc unknown"),
    )
}

/// This program, to be run again.
fn own() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("failed to find this program")
}

/// Binds this process to one processor.
fn pin(processor: usize) -> anyhow::Result<()> {
    // SAFETY: all zeros is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is there for the calls.
    let failed = unsafe {
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) != 0
    };
    if failed {
        bail!("failed to stay on processor {processor}: {}", std::io::Error::last_os_error());
    }
    Ok(())
}

/// The value in the middle.
pub fn median(values: &[f64]) -> f64 {
    spread::Spread::of(values.iter().copied()).middle
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
        for left in self.0.read_dir().into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
            let _ = std::fs::remove_dir(left.path());
        }
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
