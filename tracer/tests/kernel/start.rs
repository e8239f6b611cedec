//! What it costs to begin.

use cgtrace::kernel::{Backend, Options, Plan, Support, Tracefs, Tracer};

use crate::{plan, plans};

/// The kernel verifies one or two million instructions a second, at every start. Trampolines are seven programs for
/// one.
const MOST_IN_ALL: u32 = 150_000;

#[test]
fn the_kernel_verifies_the_programs_of_every_backend_in_a_moment() {
    let _tracefs = Tracefs::ensure();
    for plan in plans() {
        for classic in [true, false] {
            let plan = Plan { classic, ..plan.clone() };
            let tracer = Tracer::start(&plan, &Options::default()).unwrap();
            let mut verified: Vec<_> = tracer.verified_instructions().collect();
            verified.sort_by_key(|(_, instructions)| std::cmp::Reverse(*instructions));
            let all: u32 = verified.iter().map(|(_, instructions)| instructions).sum();
            println!("{}, classic {classic}: {all} instructions: {verified:?}", plan.backend);
            assert!(!verified.is_empty() && all < MOST_IN_ALL, "{verified:?}");
        }
    }
}

#[test]
fn where_a_trampoline_cannot_be_attached_the_tracepoint_does_instead() {
    let tracefs = Tracefs::ensure();
    let trampolines = Support::survey(&tracefs).trampolines;
    let wanted = |falls_back| Plan { backend: Backend::Trampoline, falls_back, ..plan() };
    let tracer = Tracer::start(&wanted(true), &Options::default()).unwrap();
    match trampolines {
        Ok(()) => assert_eq!((tracer.backend(), tracer.fell_back()), (Backend::Trampoline, None)),
        Err(why) => {
            println!("trampolines do not work here: {why}");
            assert_eq!(tracer.backend(), Backend::TracepointBtf);
            assert!(tracer.fell_back().is_some_and(|why| why.starts_with("open: ")), "{:?}", tracer.fell_back());
            assert!(tracer.probes().iter().all(|probe| probe.attached), "{:?}", tracer.probes());
            let error = Tracer::start(&wanted(false), &Options::default()).err().unwrap().to_string();
            assert!(error.starts_with("failed to attach a trampoline: open: ") && error.len() < 400, "{error}");
        }
    }
}
