//! The kernel programs on the real kernel, as root. Fails, and does not skip, where it cannot run.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/replay.rs"]
mod replayed;

mod attempts;
mod busy;
mod cells;
mod contested;
mod denied;
mod descriptors;
mod dying;
mod firing;
mod lifecycle;
mod loss;
mod names;
mod processes;
mod refusals;
mod scale;
mod start;
mod stuck;
mod waking;
mod writes;

use std::os::fd::AsRawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cgtrace::input::{BootTime, Input};
use cgtrace::kernel::{Backend, BackendChoice, Options, Plan, Support, Tracefs, Tracer};

use clap::ValueEnum;
use support::deadline;

/// The backend that this run is about.
fn choice() -> BackendChoice {
    let Some(backend) = support::backend() else { return BackendChoice::Auto };
    BackendChoice::from_str(&backend, false).unwrap_or_else(|error| panic!("CGTRACE_TEST_BACKEND={backend}: {error}"))
}

/// What this host allows.
fn plan() -> Plan {
    let support = Support::survey(&Tracefs::ensure());
    Plan::decide(&support, choice()).unwrap_or_else(|refusal| panic!("this host cannot be traced: {refusal}"))
}

/// The plans that this run is about: of trampolines if they work, and of both ways to the tracepoint.
fn plans() -> Vec<Plan> {
    let best = plan();
    let tracepoints = match choice() {
        BackendChoice::Trampoline => &[][..],
        BackendChoice::Auto | BackendChoice::Tracepoint => &[Backend::TracepointBtf, Backend::TracepointRaw],
    };
    let others = tracepoints.iter().filter(|backend| **backend != best.backend);
    let others: Vec<Plan> = others.map(|backend| Plan { backend: *backend, ..best.clone() }).collect();
    [best].into_iter().chain(others).collect()
}

/// Whether this kernel may skip programs, which is counted: there a claim may be uncertain.
fn skips_programs() -> bool {
    plan().twice
}

/// One at a time: tests that make very much noise, and those that cannot bear any. Held until the test is over.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // One that failed says so by itself.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kernel programs in place, without the agent around them.
struct Kernel {
    tracer: Tracer,
    inputs: Vec<Input>,
}

impl Kernel {
    fn start(plan: &Plan, options: &Options) -> Self {
        let _tracefs = Tracefs::ensure();
        Self { tracer: Tracer::start(plan, options).unwrap(), inputs: Vec::new() }
    }

    /// What has come, however much is still to come.
    fn arrived(&mut self) -> Vec<Input> {
        self.tracer.arrived(BootTime(0)).unwrap().0
    }

    /// Waits until what has come so far is as wanted, and returns it.
    fn wait_until(&mut self, what: &str, wanted: impl Fn(&[Input]) -> bool) -> &[Input] {
        let begun = Instant::now();
        loop {
            let arrived = self.arrived();
            self.inputs.extend(arrived);
            if wanted(&self.inputs) {
                return &self.inputs;
            }
            assert!(begun.elapsed() < deadline(), "{what} did not come; what came: {:#?}", self.inputs);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

#[test]
fn this_host_can_run_these_tests() {
    assert!(rustix::process::geteuid().is_root(), "run as root");
    let plan = plan();
    assert!(plan.notes.is_empty(), "this host sees less than these tests need: {:?}", plan.notes);
    assert!(support::hierarchy(None).is_some(), "cgroup2 is not mounted on this host");
    println!("backend: {}", plan.backend);
}

#[test]
fn every_probe_attaches_with_every_backend_that_works_here() {
    let _tracefs = Tracefs::ensure();
    for plan in plans() {
        let tracer = Tracer::start(&plan, &Options::default()).unwrap();
        let missing: Vec<_> = tracer.probes().iter().filter(|probe| !probe.attached).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", plan.backend);
        let watched = cgtrace::kernel::PROBES.iter().filter(|probe| probe.is_watched_by(plan.backend));
        assert_eq!(tracer.probes().len(), watched.count());
    }
}

/// The descriptor number of a file, for system calls.
fn number(file: &impl AsRawFd) -> i32 {
    file.as_raw_fd()
}
