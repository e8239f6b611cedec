//! What does not fit is counted.

use cgtrace::input::{BootTime, Change, Input, LossReason, Ring};
use cgtrace::kernel::Options;

use crate::support::{Scratch, c_path, fork, mkdir, rmdir};
use crate::{Kernel, plan};

fn lost(kernel: &mut Kernel, ring: Ring, reason: LossReason) -> u64 {
    let losses = kernel.tracer.losses(BootTime(0));
    let of = losses.iter().filter_map(|input| match input {
        Input::Lost(lost) if lost.ring == ring && lost.reason == reason => Some(lost.count),
        _ => None,
    });
    of.sum()
}

#[test]
fn what_a_tiny_ring_cannot_hold_is_counted_to_the_last_one() {
    let scratch = Scratch::new();
    let options = Options { lifecycle_bytes: 4096, comms: Vec::new(), ..Options::default() };
    let mut kernel = Kernel::start(&plan(), &options);
    kernel.wait_until("silence", |_| true);
    let path = c_path(scratch.path.join("x"));
    let rounds = 200;
    // Nobody reads meanwhile: most of it cannot fit.
    let child = fork(|| {
        for _ in 0..rounds {
            if mkdir(&path) != 0 || rmdir(&path) != 0 {
                return 1;
            }
        }
        0
    });
    assert_eq!(child.wait(), 0);
    kernel.inputs.extend(kernel.tracer.arrived());
    let ours = |input: &&Input| match input {
        Input::Event(event) => event.cgroup.path.to_str() == Some(&format!("{}/x", scratch.cgroup)),
        _ => false,
    };
    let seen = kernel.inputs.iter().filter(ours).count() as u64;
    let lost = lost(&mut kernel, Ring::Lifecycle, LossReason::RingFull);
    assert!(seen > 0 && seen < 2 * rounds, "{seen}");
    // Releases, and records of processes, may be among the lost ones.
    assert!(lost >= 2 * rounds - seen, "{lost} lost and {seen} seen of {}", 2 * rounds);
    assert_eq!(crate::loss::lost(&mut kernel, Ring::Lifecycle, LossReason::RingFull), 0, "a loss is told once");
}

#[test]
fn a_loss_of_attempts_costs_no_event() {
    let scratch = Scratch::new();
    let options = Options { attempts_bytes: 4096, burst: 100_000, rate: 100_000, ..Options::default() };
    let mut kernel = Kernel::start(&plan(), &options);
    let (missing, made) = (c_path(scratch.path.join("missing")), c_path(scratch.path.join("made")));
    let child = fork(|| {
        for _ in 0..1_000 {
            if rmdir(&missing) != libc::ENOENT {
                return 1;
            }
        }
        mkdir(&made)
    });
    let pid = child.0 as u32;
    assert_eq!(child.wait(), 0);
    let created = |input: &Input| matches!(input, Input::Event(event) if event.change == Change::Created && event.cgroup.path.to_str() == Some(&format!("{}/made", scratch.cgroup)));
    let inputs = kernel.wait_until("the creation", |inputs| inputs.iter().any(created));
    let seen = inputs.iter().filter(|i| matches!(i, Input::Attempt(a) if a.actor.pid.0 == pid)).count() as u64;
    let lost = lost(&mut kernel, Ring::Attempts, LossReason::RingFull);
    assert!(seen > 0 && seen < 1_000);
    assert!(lost >= 1_000 - seen, "{lost} lost and {seen} seen");
}

#[test]
fn one_process_cannot_drown_the_others_and_what_it_is_denied_is_counted() {
    let scratch = Scratch::new();
    let options = Options { burst: 10, rate: 1, ..Options::default() };
    let mut kernel = Kernel::start(&plan(), &options);
    let path = c_path(scratch.path.join("missing"));
    let flood = fork(|| {
        for _ in 0..500 {
            rmdir(&path);
        }
        0
    });
    let flood_pid = flood.0 as u32;
    assert_eq!(flood.wait(), 0);
    let quiet = fork(|| i32::from(rmdir(&path) != libc::ENOENT));
    let quiet_pid = quiet.0 as u32;
    assert_eq!(quiet.wait(), 0);
    let of = |inputs: &[Input], pid: u32| {
        inputs.iter().filter(|input| matches!(input, Input::Attempt(attempt) if attempt.actor.pid.0 == pid)).count()
            as u64
    };
    let inputs = kernel.wait_until("the quiet one's attempt", |inputs| of(inputs, quiet_pid) == 1);
    let seen = of(inputs, flood_pid);
    assert!((10..20).contains(&seen), "{seen}");
    assert!(lost(&mut kernel, Ring::Attempts, LossReason::RateLimited) >= 500 - seen);
}
