//! Writes to control files, where they end in the kernel: those that succeed are told, too, with trampolines.

use std::fs;
use std::os::unix::fs::MetadataExt;

use cgtrace::errno::Errno;
use cgtrace::input::{Attempt, BootTime, Input, LossReason, Operation, Ring, Syscall, Written};
use cgtrace::kernel::{Backend, Options};

use crate::attempts::every_backend;
use crate::descriptors::{call, open};
use crate::support::{Agent, Scratch, fork, of_type};
use crate::{Kernel, number, plan};

fn changes(inputs: &[Input], pid: u32) -> Vec<&Written> {
    let changes = inputs.iter().filter_map(|input| match input {
        Input::Change(written) if written.actor.pid.0 == pid => Some(written),
        _ => None,
    });
    changes.collect()
}

fn failures(inputs: &[Input], pid: u32) -> Vec<&Attempt> {
    let failures = inputs.iter().filter_map(|input| match input {
        Input::Attempt(attempt) if attempt.operation == Operation::Write && attempt.actor.pid.0 == pid => Some(attempt),
        _ => None,
    });
    failures.collect()
}

fn value(value: &Option<cgtrace::name::Name>) -> &[u8] {
    value.as_ref().unwrap().as_bytes()
}

#[test]
fn a_write_is_told_as_it_was_whether_it_succeeds_or_not() {
    every_backend(|plan| {
        let tells_changes = plan.backend == Backend::Trampoline;
        let scratch = Scratch::new();
        let (depth, control) = (open(&scratch, "cgroup.max.depth"), open(&scratch, "cgroup.subtree_control"));
        let id = fs::metadata(&scratch.path).unwrap().ino();
        let mut kernel = Kernel::start(plan, &Options::default());
        let longer = [&b"10"[..], &[b' '; 200]].concat();
        let child = fork(|| {
            let depth = |syscall, value: &[u8]| call(syscall, [number(&depth), -1, -1], value);
            let control = |value: &[u8]| call(Syscall::Write, [number(&control), -1, -1], value);
            let is_as_expected = depth(Syscall::Write, b"7\n") == 0
                && depth(Syscall::Pwrite64, b"8") == 0
                && depth(Syscall::Writev, b"9") == 0
                && depth(Syscall::Write, &longer) == 0
                && depth(Syscall::Write, b"") == 0
                // The kernel takes the text apart before it says no.
                && control(b"+nothing +nowhere") == libc::EINVAL
                && depth(Syscall::Writev, b"deep") == libc::EINVAL;
            i32::from(!is_as_expected)
        });
        let pid = child.0 as u32;
        assert_eq!(child.wait(), 0);
        let inputs = kernel.wait_until("both refusals", |inputs| failures(inputs, pid).len() >= 2);
        let told: Vec<_> = failures(inputs, pid)
            .iter()
            .map(|attempt| (attempt.syscall, attempt.path.printable(), value(&attempt.value), attempt.errno))
            .collect();
        let by = |syscall| if tells_changes { Syscall::CgroupFileWrite } else { syscall };
        assert_eq!(
            told,
            [
                (by(Syscall::Write), "cgroup.subtree_control".to_owned(), &b"+nothing +nowhere"[..], Errno::EINVAL),
                (by(Syscall::Writev), "cgroup.max.depth".to_owned(), b"deep", Errno::EINVAL),
            ],
            "{}",
            plan.backend
        );
        let told = changes(inputs, pid);
        let values: Vec<_> = told.iter().map(|written| (value(&written.value), written.value_truncated)).collect();
        let expected = [(&b"7\n"[..], false), (b"8", false), (b"9", false), (&longer[..128], true)];
        assert_eq!(values, if tells_changes { &expected[..] } else { &[] }, "{}", plan.backend);
        for written in told {
            assert_eq!(written.file, "cgroup.max.depth");
            let of = &written.directory;
            assert_eq!((of.path.to_str(), of.id.0, of.truncated), (Some(scratch.cgroup.as_str()), id, false));
            assert!(written.took_ns.is_some_and(|took| took < 1_000_000_000), "{:?}", written.took_ns);
        }
    });
}

#[test]
fn a_storm_of_writes_that_succeed_is_counted_to_the_last_one_and_hides_nothing() {
    const WRITES: u64 = 5_000;
    let _alone = crate::alone();
    every_backend(|plan| {
        let scratch = Scratch::new();
        let depth = open(&scratch, "cgroup.max.depth");
        let mut kernel = Kernel::start(plan, &Options::default());
        let child = fork(|| {
            let write = |value: &[u8]| call(Syscall::Write, [number(&depth), -1, -1], value);
            let all = (0..WRITES).all(|_| write(b"max") == 0);
            i32::from(!all || write(b"x") != libc::EINVAL)
        });
        let pid = child.0 as u32;
        for number in 0..50 {
            fs::create_dir(scratch.path.join(number.to_string())).unwrap();
            fs::remove_dir(scratch.path.join(number.to_string())).unwrap();
        }
        assert_eq!(child.wait(), 0);
        let inputs = kernel.wait_until("the refusal", |inputs| !failures(inputs, pid).is_empty());
        let told = changes(inputs, pid).len() as u64;
        let lives = inputs.iter().filter(|input| match input {
            Input::Event(event) => event.cgroup.path.to_str().is_some_and(|path| path.starts_with(&scratch.cgroup)),
            _ => false,
        });
        assert!(lives.count() >= 100, "{}", plan.backend);
        let losses = kernel.tracer.losses(BootTime(1));
        let denied = losses.iter().map(|loss| match loss {
            Input::Lost(lost) if (lost.ring, lost.reason) == (Ring::Changes, LossReason::RateLimited) => lost.count,
            other => panic!("{}: {other:?}", plan.backend),
        });
        let denied: u64 = denied.sum();
        if plan.backend == Backend::Trampoline {
            assert_eq!(told + denied, WRITES);
            assert!(told >= 256, "{told}");
        } else {
            assert_eq!((told, denied), (0, 0), "{}", plan.backend);
        }
    });
}

#[test]
fn who_changed_it_is_told_with_the_cgroup_where_writes_are_seen() {
    let scratch = Scratch::new();
    let agent = Agent::start(&["--only", "changes", "--only", "lifecycle"]);
    let depth = open(&scratch, "cgroup.max.depth");
    let child = fork(|| call(Syscall::Write, [number(&depth), -1, -1], b"3"));
    let pid = child.0;
    assert_eq!(child.wait(), 0);
    agent.catch_up();
    let lines = agent.finish();
    let told: Vec<_> = of_type(&lines, "change").into_iter().filter(|line| line["actor"]["pid"] == pid).collect();
    if plan().backend != Backend::Trampoline {
        assert!(told.is_empty(), "{told:?}");
        return;
    }
    let [line] = told.as_slice() else { panic!("{told:#?}") };
    assert_eq!(line["cgroup"]["path"], scratch.cgroup.as_str());
    assert_eq!((&line["file"], &line["value"]), (&"cgroup.max.depth".into(), &"3".into()));
    assert!(line["took_ns"].as_u64().is_some_and(|took| took > 0), "{line}");
    assert!(line["actor"]["argv"].is_array(), "{line}");
}
