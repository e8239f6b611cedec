//! Whether the kernel runs what is attached.

use std::fs;
use std::time::{Duration, Instant};

use cgtrace::input::{BootTime, Input, LossReason, Ring};
use cgtrace::kernel::{Backend, BackendChoice, Look, Options, Plan, Stop, Support, Tracefs};

use crate::support::{Scratch, c_path, fork, rmdir};
use crate::{Kernel, plan};

/// With the tracepoint to fall back to, as without a choice.
fn plans() -> Vec<Plan> {
    let own = Plan { falls_back: true, ..plan() };
    let instead = [Backend::TracepointBtf, Backend::TracepointRaw].map(|backend| Plan { backend, ..own.clone() });
    std::iter::once(own).chain(instead).collect()
}

fn stopped(look: Look) -> Stop {
    match look {
        Look::Stopped(stop) => stop,
        other => panic!("it did not stop: {other:?}"),
    }
}

#[test]
fn programs_are_seen_to_run_and_not_to_run_once_they_are_detached() {
    for plan in plans() {
        let mut kernel = Kernel::start(&plan, &Options::default());
        let tracer = &mut kernel.tracer;
        for _ in 0..3 {
            assert_eq!(tracer.look(BootTime(1)), Look::Runs, "{}", plan.backend);
        }
        assert!(tracer.probes().iter().all(|probe| probe.attached), "{:?}", tracer.probes());
        tracer.detach();
        let stop = stopped(tracer.look(BootTime(7)));
        let lost = &stop.lost;
        assert_eq!((lost.at, lost.ring, lost.reason, lost.count), (BootTime(7), Ring::Attempts, LossReason::Silent, 1));
        assert!(lost.program.as_ref().is_some_and(|program| program.contains("exit")), "{lost:?}");
        if plan.backend == Backend::Trampoline {
            assert_eq!((stop.taken_over, tracer.backend()), (Ok(()), Backend::TracepointBtf));
            assert_eq!(tracer.look(BootTime(8)), Look::Runs);
            tracer.detach();
            assert!(stopped(tracer.look(BootTime(9))).taken_over.is_err());
        } else {
            assert_eq!(stop.taken_over, Err("there are no others".to_owned()));
        }
        assert!(matches!(tracer.look(BootTime(10)), Look::StaysSilent(lost) if lost.at == BootTime(10)));
    }
}

#[test]
fn to_see_that_programs_run_costs_next_to_nothing_and_tells_nothing() {
    let _alone = crate::alone();
    let mut kernel = Kernel::start(&plan(), &Options::default());
    const LOOKS: u32 = 200;
    let begun = Instant::now();
    for _ in 0..LOOKS {
        assert_eq!(kernel.tracer.look(BootTime(0)), Look::Runs);
    }
    let each = begun.elapsed() / LOOKS;
    println!("{each:?} a look");
    // Some microseconds; a virtual machine that is emulated takes longer.
    assert!(each < Duration::from_millis(5), "{each:?}");
    let own = std::process::id();
    let by_us = |input: &Input| matches!(input, Input::Attempt(attempt) if attempt.actor.pid.0 == own);
    assert!(!kernel.arrived().iter().any(by_us));
}

/// `kernel.ftrace_enabled`, put back at the end.
struct Ftrace;

impl Ftrace {
    const PATH: &str = "/proc/sys/kernel/ftrace_enabled";

    /// Whether it is so now: some kernels refuse to switch it off while it is used.
    fn set(on: bool) -> bool {
        let wanted = if on { "1" } else { "0" };
        let _ = fs::write(Self::PATH, wanted);
        fs::read_to_string(Self::PATH).is_ok_and(|now| now.trim() == wanted)
    }
}

impl Drop for Ftrace {
    fn drop(&mut self) {
        Self::set(true);
    }
}

#[test]
fn where_ftrace_is_switched_off_the_tracepoint_takes_over_and_nothing_is_told_twice() {
    let _alone = crate::alone();
    let support = Support::survey(&Tracefs::ensure());
    if let Err(why) = &support.trampolines {
        println!("trampolines do not work here: {why}");
        let refusal = Plan::decide(&support, BackendChoice::Trampoline).unwrap_err();
        assert_eq!(refusal.what, format!("trampolines do not work here: {why}"));
        return;
    }
    let scratch = Scratch::new();
    let plan = Plan::decide(&support, BackendChoice::Trampoline).map(|plan| Plan { falls_back: true, ..plan }).unwrap();
    let mut kernel = Kernel::start(&plan, &Options::default());
    assert_eq!(kernel.tracer.backend(), Backend::Trampoline);
    let fail = |name: &str| {
        let path = c_path(scratch.path.join(name));
        assert_eq!(fork(|| i32::from(rmdir(&path) != libc::ENOENT)).wait(), 0);
    };
    let told = |inputs: &[Input], name: &str| {
        let is_it = |path: &[u8]| path.ends_with(name.as_bytes());
        inputs.iter().filter(|input| matches!(input, Input::Attempt(a) if is_it(a.path.as_bytes()))).count()
    };
    let _ftrace = Ftrace;
    if Ftrace::set(false) {
        let look = kernel.tracer.look(BootTime(1));
        if look == Look::Runs {
            println!("this kernel runs trampolines while kernel.ftrace_enabled is 0");
        } else {
            let stop = stopped(look);
            assert_eq!(stop.why.as_deref(), Some("kernel.ftrace_enabled is 0"));
            assert_eq!(stop.taken_over, Ok(()));
            let now = Support::survey(&Tracefs::ensure());
            assert_eq!(now.trampolines, Err("kernel.ftrace_enabled is 0: they would not run".to_owned()));
        }
    } else {
        println!("this kernel does not let kernel.ftrace_enabled be switched off");
    }
    fail("while-off");
    assert!(Ftrace::set(true));
    fail("on-again");
    fail("last");
    let inputs = kernel.wait_until("the last call", |inputs| told(inputs, "last") > 0);
    assert_eq!(["while-off", "on-again", "last"].map(|name| told(inputs, name)), [1; 3]);
    assert_eq!(kernel.tracer.look(BootTime(2)), Look::Runs);
    drop(kernel);
    // Nobody on this host is worse off.
    assert_eq!(Kernel::start(&plan, &Options::default()).tracer.backend(), Backend::Trampoline);
}
