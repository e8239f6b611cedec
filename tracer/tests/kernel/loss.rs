//! What does not fit is counted.

use cgtrace::input::{BootTime, Change, Event, Input, LossReason, Operation, Ring};
use cgtrace::kernel::Options;
use serde_json::{Value, json};

use crate::support::{Agent, Scratch, c_path, errno, fork, mkdir, of_type, rmdir};
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
    let _alone = crate::alone();
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
    let arrived = kernel.arrived();
    kernel.inputs.extend(arrived);
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
    let _alone = crate::alone();
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
    let path = format!("{}/made", scratch.cgroup);
    let is_it = |event: &Event| event.change == Change::Created && event.cgroup.path.to_str() == Some(&path);
    let created = |input: &Input| matches!(input, Input::Event(event) if is_it(event));
    let inputs = kernel.wait_until("the creation", |inputs| inputs.iter().any(created));
    let seen = inputs.iter().filter(|i| matches!(i, Input::Attempt(a) if a.actor.pid.0 == pid)).count() as u64;
    let lost = lost(&mut kernel, Ring::Attempts, LossReason::RingFull);
    assert!(seen > 0 && seen < 1_000);
    assert!(lost >= 1_000 - seen, "{lost} lost and {seen} seen");
}

#[test]
fn one_process_cannot_drown_the_others_and_what_it_is_denied_is_counted() {
    let _alone = crate::alone();
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

#[test]
fn who_was_denied_what_is_known_and_a_flood_of_one_operation_takes_no_token_of_another() {
    let _alone = crate::alone();
    let scratch = Scratch::new();
    let options = Options { burst: 10, rate: 1, ..Options::default() };
    let mut kernel = Kernel::start(&plan(), &options);
    let missing = c_path(scratch.path.join("missing"));
    let below = c_path(scratch.path.join("missing/below"));
    let flood = fork(|| {
        for _ in 0..500 {
            // SAFETY: the path ends in a zero.
            errno(unsafe { libc::open(missing.as_ptr(), libc::O_RDONLY) }.into());
        }
        i32::from(mkdir(&below) != libc::ENOENT || rmdir(&missing) != libc::ENOENT)
    });
    let pid = flood.0 as u32;
    assert_eq!(flood.wait(), 0);
    let by_flood = |inputs: &[Input], operation| {
        let of =
            |input: &&Input| matches!(input, Input::Attempt(a) if a.actor.pid.0 == pid && a.operation == operation);
        inputs.iter().filter(of).count() as u64
    };
    let inputs = kernel.wait_until("the last word", |inputs| by_flood(inputs, Operation::Rmdir) == 1);
    assert_eq!(by_flood(inputs, Operation::Mkdir), 1);
    let seen = by_flood(inputs, Operation::Open);
    let denied: Vec<_> = kernel
        .tracer
        .losses(BootTime(0))
        .into_iter()
        .filter_map(|input| match input {
            Input::Lost(lost) if lost.reason == LossReason::RateLimited && lost.pid.is_none_or(|of| of.0 == pid) => {
                Some((lost.pid.map(|pid| pid.0), lost.operation, lost.count))
            }
            _ => None,
        })
        .collect();
    assert_eq!(denied, [(Some(pid), Some(Operation::Open), 500 - seen)], "to the last one, and nothing is nobody's");
}

/// Twenty teardowns of what never was, within a cgroup that was made under the agent's eyes, while somebody floods.
fn never_created_beside(flood: Operation) -> (u32, Vec<Value>) {
    let scratch = Scratch::new();
    let agent = Agent::start(&["--benign"]);
    let around = scratch.path.join("around");
    std::fs::create_dir(&around).unwrap();
    let place = c_path(scratch.path.join("flooded/below"));
    let gate = crate::support::Gate::new();
    // Anybody can: it needs no right to fail.
    let flooder = fork(|| {
        // SAFETY: calls without memory, and with a path that ends in a zero.
        unsafe {
            libc::prctl(libc::PR_SET_NAME, c"flooder".as_ptr());
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::setresuid(65_534, 65_534, 65_534);
            for _ in 0..50_000 {
                if flood == Operation::Mkdir {
                    libc::mkdir(place.as_ptr(), 0o755);
                } else {
                    libc::open(place.as_ptr(), libc::O_RDONLY);
                }
            }
        }
        gate.pass();
        0
    });
    let pid = flooder.0 as u32;
    agent.wait_for("a loss", |line| line["type"] == "lost" && line["pid"] == pid);
    for number in 0..20 {
        let missing = c_path(around.join(format!("never-{number}")));
        assert_eq!(fork(|| i32::from(rmdir(&missing) != libc::ENOENT)).wait(), 0);
    }
    gate.open();
    assert_eq!(flooder.wait(), 0);
    let missing = c_path(around.join("never-last"));
    assert_eq!(fork(|| i32::from(rmdir(&missing) != libc::ENOENT)).wait(), 0);
    let last = format!("{}/around/never-last", scratch.cgroup);
    agent.wait_for("the last finding", |line| line["type"] == "finding" && line["cgroup"]["path"] == last.as_str());
    let lines = agent.finish();
    let ours = |line: &&Value| {
        scratch.has(line) && line["cgroup"]["path"].as_str().is_some_and(|path| path.contains("/never-"))
    };
    let findings: Vec<Value> = of_type(&lines, "finding").into_iter().filter(ours).cloned().collect();
    let missed = of_type(&lines, "lost").iter().any(|line| line["reason"] == "missed");
    let most = if missed && crate::skips_programs() { 5 } else { 0 };
    assert!((21 - most..=21).contains(&findings.len()), "{} findings", findings.len());
    assert!(findings.iter().all(|finding| finding["cause"] == "never-created"));
    (pid, findings)
}

// One after the other: the flood of one is no business of the other's.
#[test]
fn a_flood_of_failed_openings_makes_no_claim_uncertain_and_one_of_failed_mkdirs_is_named_by_those_it_does() {
    let _alone = crate::alone();
    let (_, findings) = never_created_beside(Operation::Open);
    let is_of_skips =
        |finding: &Value| crate::skips_programs() && finding["because"] == json!(["failed calls were lost meanwhile"]);
    let uncertain: Vec<_> =
        findings.iter().filter(|finding| finding["certainty"] != "certain" && !is_of_skips(finding)).collect();
    assert!(uncertain.is_empty(), "{uncertain:#?}");

    let (pid, findings) = never_created_beside(Operation::Mkdir);
    let because = format!("failed mkdir calls of flooder ({pid}) were lost meanwhile");
    for finding in findings {
        assert_eq!(finding["certainty"], "degraded", "{finding:#}");
        let told = finding["because"].as_array().unwrap();
        assert!(told.iter().any(|told| *told == because.as_str()), "{finding:#}");
    }
}
