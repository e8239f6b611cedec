//! What it costs to begin, and what is seen from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use cgtrace::kernel::{Backend, Options, Plan, Support, Tracefs, Tracer, kernel_version};
use cgtrace::process;

use crate::support::{Agent, Scratch, c_path};
use crate::{plan, plans};

/// The kernel verifies one or two million instructions a second, at every start. Trampolines are ten programs for one,
/// and that one is loaded beside them: it takes over where the kernel stops running them. Where the kernel may skip
/// programs, there are two copies of each. With those of writes and of calls in flight, which only trampolines have,
/// 6.12 takes 131 thousand.
const MOST_IN_ALL: u32 = 150_000;

/// How many instructions each program may take at most, by how its name begins; the first that fits counts. On 6.18 the
/// largest of each take 21, 3, 3, 1 and 3 thousand.
const BUDGETS: [(&str, u32); 5] =
    [("sys_exit", 30_000), ("exit_", 20_000), ("process_exec", 5_000), ("process_exit", 2_000), ("", 5_000)];
/// Older verifiers look at the same path more often: 6.1 takes 204 thousand in all for one copy, 63 for the largest.
const SINCE: (u32, u32) = (6, 12);
const BEFORE: u32 = 4;

#[test]
fn the_kernel_verifies_the_programs_of_every_backend_in_a_moment() {
    let _tracefs = Tracefs::ensure();
    let mut counts = BTreeMap::new();
    let times = if kernel_version().unwrap() < SINCE { BEFORE } else { 1 };
    for plan in plans() {
        for classic in [true, false] {
            let plan = Plan { classic, ..plan.clone() };
            let tracer = Tracer::start(&plan, &Options::default()).unwrap();
            let verified: Vec<(String, u32)> =
                tracer.verified_instructions().map(|(program, count)| (program.to_owned(), count)).collect();
            let all: u32 = verified.iter().map(|(_, instructions)| instructions).sum();
            let most = times * if plan.twice { 2 * MOST_IN_ALL } else { MOST_IN_ALL };
            assert!(!verified.is_empty() && all < most, "{}: {all}: {verified:?}", plan.backend);
            counts.extend(verified);
        }
    }
    for (program, count) in &counts {
        println!("{program} {count}");
    }
    for (program, count) in counts {
        let own = program.strip_prefix("again_").unwrap_or(&program);
        let (_, most) = BUDGETS.into_iter().find(|(begins, _)| own.starts_with(begins)).unwrap();
        let most = times * most;
        assert!(count <= most, "{program} takes {count} instructions, more than {most}");
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

/// By a path that is recognised only by one who knows where cgroupfs is mounted. What fails unseen in the first moments
/// makes "nobody was seen trying" a lie.
#[test]
fn from_the_time_that_the_header_says_every_failed_call_is_seen() {
    for _ in 0..2 {
        let scratch = Scratch::new();
        let (above, is_over) = (File::open("/sys/fs").unwrap(), AtomicBool::new(false));
        let below = scratch.path.strip_prefix("/sys/fs").unwrap();
        let fail = |name: &str| {
            let path = c_path(below.join(name));
            // SAFETY: the path is a string, and the directory is open.
            assert_eq!(unsafe { libc::unlinkat(above.as_raw_fd(), path.as_ptr(), libc::AT_REMOVEDIR) }, -1);
        };
        let (lines, called) = thread::scope(|scope| {
            let caller = scope.spawn(|| {
                let mut called = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    called.push(process::boot_time().0);
                    fail(&format!("call-{}", called.len()));
                    thread::sleep(Duration::from_micros(500));
                }
                called
            });
            let agent = Agent::start(&["--only", "attempts"]);
            is_over.store(true, Ordering::Relaxed);
            let called = caller.join().unwrap();
            fail("the last one");
            agent.wait_for_text("the last one");
            (agent.finish(), called)
        });
        let header = lines.iter().find(|line| line["type"] == "header").unwrap();
        let began = header["clock"]["boot_ns"].as_u64().unwrap();
        let seen: BTreeSet<&str> =
            lines.iter().filter(|line| scratch.has(line)).filter_map(|line| line["cgroup"]["path"].as_str()).collect();
        let is_missed = |number: &usize| {
            let name = format!("{}/call-{number}", scratch.cgroup);
            called[number - 1] >= began && !seen.contains(name.as_str())
        };
        let missed: Vec<usize> = (1..=called.len()).filter(is_missed).collect();
        let since = called.iter().filter(|at| **at >= began).count();
        assert!(since > 0 && missed.is_empty(), "missed {missed:?} of the last {since} of {}", called.len());
    }
}
