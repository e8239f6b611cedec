//! Calls that do not return: told while they hang, and again when they have returned.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cgtrace::input::BootTime;
use cgtrace::kernel::Options;
use serde_json::Value;

use crate::Kernel;
use crate::attempts::every_backend;
use crate::support::{Agent, Scratch, fork, of_type};

const SCRIPT: &str = include_str!("remover.py");
/// So many hang at once, until they are helped.
const REMOVERS: usize = 10;
/// So many hang at once, and nobody can help them.
const WITHOUT_END: usize = 100;
/// A call is old enough to be told of after two seconds. It is looked for twice a second.
const TOLD_WITHIN: Duration = Duration::from_secs(4);

/// Removes a cgroup that a process on its way out is in.
struct Remover {
    child: Child,
    cgroup: String,
}

impl Remover {
    /// Returns when it is about to.
    fn start(scratch: &Scratch, number: usize, how: &str) -> Self {
        let name = format!("cgroup-{number}");
        // Who does not return holds the lock of the directory around.
        let around = scratch.path.join(format!("around-{number}"));
        std::fs::create_dir(&around).unwrap();
        let mut command = Command::new("python3");
        command.args(["-c", SCRIPT]).arg(around.join(&name)).arg(how).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        // Unbuffered: what comes behind that line is read later.
        BufReader::with_capacity(1, stdout).read_line(&mut said).unwrap();
        assert_eq!(said, "removes\n");
        Self { child, cgroup: format!("{}/around-{number}/{name}", scratch.cgroup) }
    }

    fn is_in(&self, line: &Value) -> bool {
        line["actor"]["pid"] == self.child.id() && line["cgroup"]["path"] == self.cgroup.as_str()
    }

    /// Lets it go on, and returns what it says of the removal.
    fn end(mut self) -> String {
        let mut stdin = self.child.stdin.take().unwrap();
        stdin.write_all(b"\n").unwrap();
        let mut said = String::new();
        BufReader::with_capacity(1, self.child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        drop(stdin);
        self.child.wait().unwrap();
        said
    }
}

/// Whether this kernel waits in `rmdir`, and this run sees it.
fn is_seen(agent: &Agent) -> bool {
    let header = agent.wait_for("the header", |line| line["type"] == "header");
    header["rmdir_class"] == "waits" && header["backend"] == "trampoline"
}

/// The first line `stuck` of a remover, and the first finding. `None` if a busy machine did not say in time what is
/// waited for: then both are there, and do not say it either.
fn told(agent: &Agent, remover: &Remover) -> Option<(Value, Value)> {
    let is_finding = |line: &Value| line["type"] == "finding" && line["kind"] == "stuck-call";
    let stuck = agent.wait_for("that it does not return", |line| line["type"] == "stuck" && remover.is_in(line));
    let finding = agent.wait_for("the finding", |line| is_finding(line) && remover.is_in(line));
    let waited = nanos(&stuck, "at") - nanos(&stuck, "began");
    println!("told after {} ms: {}", waited / 1_000_000, stuck["waits_in"]);
    let most = TOLD_WITHIN * crate::support::patience();
    assert!((2_000_000_000..most.as_nanos() as u64).contains(&waited), "{stuck}");
    assert_eq!(stuck["operation"], "rmdir");
    let pid = remover.child.id();
    let is_unanswered = |line: &Value| line["question"] == "wait" && line["pid"] == pid;
    if agent.lines().iter().any(is_unanswered) {
        assert_eq!((&stuck["waits_in"], &finding["cause"]), (&Value::Null, &"unknown".into()));
        return None;
    }
    assert_eq!((&stuck["waits_in"], &finding["cause"]), (&"cgroup_drain_dying".into(), &"waits-for-exit".into()));
    assert_eq!(stuck["exiting"][0]["waits_in"], "zap_pid_ns_processes", "{stuck}");
    Some((stuck, finding))
}

fn nanos(line: &Value, field: &str) -> u64 {
    line[field].as_u64().unwrap_or_else(|| panic!("no {field}: {line}"))
}

#[test]
fn a_removal_that_waits_is_told_while_it_hangs_and_again_when_it_has_returned() {
    let agent = Agent::start(&[]);
    let scratch = Scratch::new();
    let is_seen = is_seen(&agent);
    let removers: Vec<Remover> = (0..REMOVERS).map(|number| Remover::start(&scratch, number, "helped")).collect();
    let hung: Vec<_> = removers.iter().filter(|_| is_seen).map(|remover| told(&agent, remover)).collect();
    assert_eq!(hung.iter().any(Option::is_some), is_seen, "nothing was read of any of them");
    for (_, finding) in hung.iter().flatten() {
        assert_eq!(finding["severity"], "undetermined", "another thread of it may yet reap");
    }
    // A line for each that hangs ends it.
    let pids: Vec<u32> = removers.iter().map(|remover| remover.child.id()).collect();
    let said: Vec<String> = removers.into_iter().map(Remover::end).collect();
    if is_seen {
        assert!(said.iter().all(|said| said == "removed\n"), "{said:?}");
        agent.wait_for_all("that they have returned", REMOVERS, |line| {
            line["type"] == "finding" && line["kind"] == "stuck-call" && line["severity"] == "benign"
        });
    }
    let lines = agent.finish();
    let of = |kind: &str, pid: u32| -> Vec<Value> {
        let own = of_type(&lines, kind).into_iter().filter(|line| line["actor"]["pid"] == pid);
        own.filter(|line| kind != "finding" || line["kind"] == "stuck-call").cloned().collect()
    };
    for pid in pids {
        let (stuck, findings) = (of("stuck", pid), of("finding", pid));
        if !is_seen {
            assert!(stuck.is_empty() && findings.is_empty(), "{stuck:?} {findings:?}");
            continue;
        }
        let [hangs, returned] = &stuck[..] else { panic!("two lines: {stuck:#?}") };
        let took = nanos(returned, "at") - nanos(returned, "began");
        assert_eq!((nanos(returned, "took_ns"), &returned["began"]), (took, &hangs["began"]));
        let revisions: Vec<u64> = findings.iter().map(|finding| nanos(finding, "revision")).collect();
        assert_eq!(revisions, [0, 1], "{findings:#?}");
    }
}

/// What hangs here hangs until the kernel is started again: it is for a guest that ends with this test.
#[test]
#[ignore = "it leaves processes behind that nothing ends, and directories of cgroupfs that nobody can list"]
fn a_remover_that_waits_without_end_for_whom_it_is_to_reap_is_a_fault() {
    let agent = Agent::start(&[]);
    let scratch = Scratch::new();
    assert!(is_seen(&agent), "this kernel does not wait in rmdir, or trampolines are not used");
    let removers: Vec<Remover> = (0..WITHOUT_END).map(|number| Remover::start(&scratch, number, "alone")).collect();
    let hung: Vec<_> = removers.iter().filter_map(|remover| told(&agent, remover)).collect();
    assert!(!hung.is_empty(), "nothing was read of any of them");
    for (stuck, finding) in hung {
        assert_eq!(finding["severity"], "fault");
        assert!(stuck["exiting"][0]["unreaped"]["pid"].is_u64(), "{stuck}");
    }
    let lines = agent.finish();
    let findings = of_type(&lines, "finding").into_iter().filter(|line| line["kind"] == "stuck-call");
    assert_eq!(findings.count(), WITHOUT_END);
    // Nobody can remove it.
    std::mem::forget(scratch);
}

#[test]
fn a_call_that_has_returned_is_in_flight_no_more() {
    every_backend(|plan| {
        let mut kernel = Kernel::start(plan, &Options::default());
        let scratch = Scratch::new();
        let path = scratch.path.join("made");
        let child = fork(|| {
            let is_as_expected = (0..200).all(|_| {
                std::fs::create_dir(&path).is_ok()
                    && std::fs::create_dir(&path).is_err()
                    && std::fs::write(path.join("cgroup.max.depth"), "7").is_ok()
                    && std::fs::write(path.join("cgroup.max.depth"), "deep").is_err()
                    && std::fs::remove_dir(&path).is_ok()
            });
            i32::from(!is_as_expected)
        });
        let pid = child.0 as u32;
        assert_eq!(child.wait(), 0);
        kernel.arrived();
        let left: Vec<_> = kernel.tracer.in_flight(BootTime(u64::MAX)).0;
        assert!(left.iter().all(|stuck| stuck.actor.pid.0 != pid), "{left:#?}");
    });
}
