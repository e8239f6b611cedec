//! What it costs to begin.

use cgtrace::kernel::{Backend, Options, Plan, Tracefs, Tracer};

use crate::plan;

/// The kernel verifies one or two million instructions a second, at every start. Trampolines are seven programs for
/// one.
const MOST_IN_ALL: u32 = 150_000;

#[test]
fn the_kernel_verifies_the_programs_of_every_backend_in_a_moment() {
    let _tracefs = Tracefs::ensure();
    let mut backends = vec![plan().backend, Backend::TracepointBtf, Backend::TracepointRaw];
    backends.dedup();
    for backend in backends {
        for classic in [true, false] {
            let plan = Plan { backend, classic, ..plan() };
            let tracer = Tracer::start(&plan, &Options::default()).unwrap();
            let mut verified: Vec<_> = tracer.verified_instructions().collect();
            verified.sort_by_key(|(_, instructions)| std::cmp::Reverse(*instructions));
            let all: u32 = verified.iter().map(|(_, instructions)| instructions).sum();
            println!("{backend}, classic {classic}: {all} instructions: {verified:?}");
            assert!(!verified.is_empty() && all < MOST_IN_ALL, "{verified:?}");
        }
    }
}
