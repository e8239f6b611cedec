//! What tracing adds to a call, side by side with a peer.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::ValueEnum;

use super::tracers::{Running, Tracer};
use super::{Place, Scratch, c_string, median};
use crate::step;

/// Who is compared.
const TRACERS: [Tracer; 4] = [Tracer::Nobody, Tracer::Empty, Tracer::Cgtrace, Tracer::Bpftrace];

/// What one process measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Measurement {
    /// A system call that nobody traces
    Getppid,
    /// An open that succeeds, and a close
    OpenOk,
    /// An open that fails, outside cgroupfs
    OpenFails,
    /// Pairs of mkdir and rmdir of a cgroup
    Churn,
    /// The same, every other one of a new container's cgroup
    ChurnContainers,
}

impl Measurement {
    /// What it is called in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Getppid => "getppid",
            Self::OpenOk => "open + close, succeeds",
            Self::OpenFails => "open, fails",
            Self::Churn => "cgroup mkdir + rmdir",
            Self::ChurnContainers => "cgroup mkdir + rmdir, with containers",
        }
    }

    fn argument(self) -> &'static str {
        match self {
            Self::Getppid => "getppid",
            Self::OpenOk => "open-ok",
            Self::OpenFails => "open-fails",
            Self::Churn => "churn",
            Self::ChurnContainers => "churn-containers",
        }
    }
}

/// Each case is measured so often in a process; the best counts.
const BATCHES: usize = 7;
/// Pairs of mkdir and rmdir in one process.
pub const PAIRS: u64 = 1_000 * BATCHES as u64;

/// Measures one case in a process of its own. Returns nanoseconds a call.
pub fn measure_apart(what: Measurement, scratch: &Scratch) -> anyhow::Result<f64> {
    let mut command = Command::new(std::env::current_exe().context("failed to find this program")?);
    command.args(["bench", "--measure", what.argument(), "--cgroup"]).arg(&scratch.0);
    let text = crate::output(&mut command).with_context(|| format!("{} failed", what.name()))?;
    text.parse().with_context(|| format!("{} gave {text:?}", what.name()))
}

/// Measures one case in this process and prints nanoseconds a call.
pub fn measure(what: Measurement, cgroup: Option<&Path>) -> anyhow::Result<()> {
    let calls: u32 = match what {
        Measurement::Getppid => 100_000,
        Measurement::OpenOk | Measurement::OpenFails => 20_000,
        Measurement::Churn | Measurement::ChurnContainers => 1_000,
    };
    let directory = cgroup.map(|cgroup| c_string(cgroup.join("churn"))).transpose()?;
    let mut best = f64::MAX;
    for batch in 0..BATCHES {
        let containers: Vec<CString> = match (what, cgroup) {
            (Measurement::ChurnContainers, Some(cgroup)) => {
                (0..calls).map(|call| c_string(cgroup.join(container(batch, call)))).collect::<Result<_, _>>()?
            }
            _ => Vec::new(),
        };
        let begun = Instant::now();
        for call in 0..calls as usize {
            // SAFETY: every path ends in a zero.
            let done = unsafe {
                match what {
                    Measurement::Getppid => libc::syscall(libc::SYS_getppid) > 0,
                    Measurement::OpenOk => {
                        let fd = libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
                        fd >= 0 && libc::close(fd) == 0
                    }
                    Measurement::OpenFails => libc::open(c"/etc/no-such-file".as_ptr(), libc::O_RDONLY) < 0,
                    Measurement::Churn | Measurement::ChurnContainers => {
                        let directory = match containers.get(call) {
                            Some(container) if call % 2 == 1 => container,
                            _ => directory.as_ref().context("a churn needs a cgroup")?,
                        };
                        libc::mkdir(directory.as_ptr(), 0o755) == 0 && libc::rmdir(directory.as_ptr()) == 0
                    }
                }
            };
            if !done {
                bail!("{}: {}", what.name(), std::io::Error::last_os_error());
            }
        }
        best = best.min(begun.elapsed().as_nanos() as f64 / f64::from(calls));
    }
    println!("{best}");
    Ok(())
}

/// A name such as Docker and systemd give to a container's cgroup, with an id that no other call or process has.
fn container(batch: usize, call: u32) -> String {
    let mut id = String::new();
    for part in 0..4u32 {
        let mut hasher = std::hash::DefaultHasher::new();
        (std::process::id(), batch, call, part).hash(&mut hasher);
        id.push_str(&format!("{:016x}", hasher.finish()));
    }
    format!("docker-{id}.scope")
}

/// Measures every case under every tracer, and prints it.
pub fn run(rounds: usize, program: &Path, scratch: &Scratch) -> anyhow::Result<()> {
    let cases = [Measurement::Getppid, Measurement::OpenOk, Measurement::OpenFails, Measurement::Churn];
    let mut results: BTreeMap<(Measurement, Tracer), Vec<f64>> = BTreeMap::new();
    let mut lost: BTreeMap<Tracer, u64> = BTreeMap::new();
    let place = Place::new()?;
    for round in 1..=rounds {
        step(&format!("calls: round {round} of {rounds}"));
        for tracer in TRACERS {
            let running = Running::start(tracer, program, &place.0.join("live"))?;
            for case in cases {
                results.entry((case, tracer)).or_default().push(measure_apart(case, scratch)?);
            }
            *lost.entry(tracer).or_default() += running.stop()?.lost;
            place.empty()?;
        }
    }
    print(&cases, &results, &lost);
    Ok(())
}

fn print(cases: &[Measurement], results: &BTreeMap<(Measurement, Tracer), Vec<f64>>, lost: &BTreeMap<Tracer, u64>) {
    let of = |case: Measurement, tracer: Tracer| median(results.get(&(case, tracer)).map_or(&[], Vec::as_slice));
    println!("ns a call, median of the rounds:");
    print!("{:<26}", "");
    TRACERS.iter().for_each(|tracer| print!("{:>16}", tracer.name()));
    println!();
    for case in cases {
        print!("{:<26}", case.name());
        TRACERS.iter().for_each(|tracer| print!("{:>16.0}", of(*case, *tracer)));
        println!();
    }
    println!("\nadded to a call, as a share of what bpftrace adds:");
    for (case, aim) in [(Measurement::OpenFails, 0.30), (Measurement::OpenOk, 0.25)] {
        let added = |tracer| of(case, tracer) - of(case, Tracer::Nobody);
        println!(
            "{:<26}{:>8.2}  (aim {aim:.2} or less; {:.0} ns of {:.0} ns, an empty program {:.0} ns)",
            case.name(),
            added(Tracer::Cgtrace) / added(Tracer::Bpftrace),
            added(Tracer::Cgtrace),
            added(Tracer::Bpftrace),
            added(Tracer::Empty),
        );
    }
    println!("\npairs of cgroup mkdir and rmdir a second, as a share of untraced; records lost:");
    for tracer in TRACERS {
        let nanos = of(Measurement::Churn, tracer);
        println!(
            "{:<26}{:>8.0}/s {:>6.2}  {} lost",
            tracer.name(),
            1e9 / nanos,
            of(Measurement::Churn, Tracer::Nobody) / nanos,
            lost.get(&tracer).copied().unwrap_or(0),
        );
    }
    println!("(aim: 0.95 or more, nothing lost)");
}
