//! The kernel programs on the real kernel, as root. Fails, and does not skip, where it cannot run.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../support/mod.rs"]
mod support;

mod attempts;
mod busy;
mod denied;
mod descriptors;
mod dying;
mod lifecycle;
mod loss;
mod names;
mod processes;
mod refusals;
mod scale;
mod start;

use std::os::fd::AsRawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cgtrace::input::Input;
use cgtrace::kernel::{Backend, BackendChoice, Options, Plan, Support, Tracefs, Tracer};

use support::DEADLINE;

/// What this host allows.
fn plan() -> Plan {
    let support = Support::survey(&Tracefs::ensure());
    Plan::decide(&support, BackendChoice::Auto)
        .unwrap_or_else(|refusal| panic!("this host cannot be traced: {refusal}"))
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

    /// Waits until what has come so far is as wanted, and returns it.
    fn wait_until(&mut self, what: &str, wanted: impl Fn(&[Input]) -> bool) -> &[Input] {
        let begun = Instant::now();
        loop {
            self.inputs.extend(self.tracer.arrived());
            if wanted(&self.inputs) {
                return &self.inputs;
            }
            assert!(begun.elapsed() < DEADLINE, "{what} did not come; what came: {:#?}", self.inputs);
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
    let mut plans = vec![plan()];
    for backend in [Backend::TracepointBtf, Backend::TracepointRaw] {
        plans.push(Plan { backend, ..plans[0].clone() });
    }
    let _tracefs = Tracefs::ensure();
    for plan in plans {
        let tracer = Tracer::start(&plan, &Options::default()).unwrap();
        let is_watched = |name: &str| {
            let mut specs = cgtrace::kernel::PROBES.iter().filter(|spec| spec.name == name);
            specs.all(|spec| spec.not_watched_by(plan.backend).is_none())
        };
        let missing: Vec<_> =
            tracer.probes().iter().filter(|probe| !probe.attached && is_watched(&probe.name)).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", plan.backend);
        assert_eq!(tracer.probes().len(), cgtrace::kernel::PROBES.iter().filter(|probe| probe.exists_here()).count());
    }
}

/// The descriptor number of a file, for system calls.
fn number(file: &impl AsRawFd) -> i32 {
    file.as_raw_fd()
}
