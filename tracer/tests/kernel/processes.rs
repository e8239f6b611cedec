//! The processes behind it all.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use cgtrace::input::{Change, Exit, Input, Process, ProcessChange};
use cgtrace::kernel::{Options, Plan};

use crate::support::{Agent, Scratch, c_path, fork, rmdir};
use crate::{Kernel, plan};

fn processes(inputs: &[Input], pid: u32) -> Vec<&Process> {
    inputs
        .iter()
        .filter_map(|input| match input {
            Input::Process(process) if process.pid.0 == pid => Some(process),
            _ => None,
        })
        .collect()
}

/// A shell that is called runc.
fn runc() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("runc");
    std::os::unix::fs::symlink("/bin/sh", &path).unwrap();
    (directory, path)
}

#[test]
fn a_runtime_is_told_from_its_start_to_its_end() {
    let (_directory, runc) = runc();
    let mut kernel = Kernel::start(&plan(), &Options::default());
    let mut child = Command::new(&runc).args(["-c", "exit 3", "a b", ""]).spawn().unwrap();
    let pid = child.id();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let ended = |inputs: &[Input]| processes(inputs, pid).iter().any(|p| p.change == ProcessChange::Exit);
    let told = processes(kernel.wait_until("its end", ended), pid);
    let [exec, exit] = told.as_slice() else { panic!("{told:#?}") };
    assert_eq!((exec.change, exit.change), (ProcessChange::Exec, ProcessChange::Exit));
    assert_eq!(exec.comm.to_str(), Some("runc"));
    let argv: Vec<&str> = exec.argv.as_ref().unwrap().iter().map(|argument| argument.to_str().unwrap()).collect();
    assert_eq!(argv, [runc.to_str().unwrap(), "-c", "exit 3", "a b", ""]);
    assert_eq!(exec.parents.first().map(|parent| parent.pid.0), Some(std::process::id()));
    assert!(exec.parents.len() > 1 && exec.parents.len() <= 4);
    assert!(exec.mount_namespace.is_some() && exec.cgroup_namespace.is_some() && exec.cgroup.is_some());
    assert_eq!(exec.uid, Some(0));
    assert!(exec.exe.is_some() && exec.started.is_some());
    assert_eq!(exit.exit, Some(Exit::Code(3)));
}

#[test]
fn a_runtime_that_is_killed_ends_by_that_signal() {
    let (_directory, runc) = runc();
    let mut kernel = Kernel::start(&plan(), &Options::default());
    let mut child = Command::new(&runc).args(["-c", "kill -9 $$"]).spawn().unwrap();
    let pid = child.id();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    let ended = |inputs: &[Input]| processes(inputs, pid).iter().any(|p| p.change == ProcessChange::Exit);
    let told = processes(kernel.wait_until("its end", ended), pid);
    assert_eq!(told.last().unwrap().exit, Some(Exit::Signal(9)));
}

#[test]
fn whoever_fails_on_a_cgroup_is_told_once_and_then_its_end() {
    let scratch = Scratch::new();
    let mut kernel = Kernel::start(&plan(), &Options::default());
    let path = c_path(scratch.path.join("missing"));
    let child = fork(|| {
        rmdir(&path);
        rmdir(&path);
        7
    });
    let pid = child.0 as u32;
    assert_eq!(child.wait(), 7);
    let ended = |inputs: &[Input]| processes(inputs, pid).iter().any(|p| p.change == ProcessChange::Exit);
    let told = processes(kernel.wait_until("its end", ended), pid);
    let changes: Vec<_> = told.iter().map(|process| process.change).collect();
    assert_eq!(changes, [ProcessChange::Seen, ProcessChange::Exit]);
    assert_eq!(told[1].exit, Some(Exit::Code(7)));
}

/// `echo $$ > cgroup.procs` and the like: the agent could not look in time.
#[test]
fn whoever_moves_a_process_is_told_before_the_move_and_then_its_end() {
    let scratch = Scratch::new();
    let mut kernel = Kernel::start(&plan(), &Options::default());
    let moves = format!("echo $$ > {}", scratch.path.join("cgroup.procs").display());
    let mut child = Command::new("sh").args(["-c", &moves, "an argument"]).spawn().unwrap();
    let pid = child.id();
    assert!(child.wait().unwrap().success());
    let ended = |inputs: &[Input]| processes(inputs, pid).iter().any(|p| p.change == ProcessChange::Exit);
    let inputs = kernel.wait_until("its end", ended);
    let [seen, exit] = processes(inputs, pid)[..] else { panic!("{inputs:#?}") };
    assert_eq!((seen.change, exit.change), (ProcessChange::Seen, ProcessChange::Exit));
    let argv: Vec<&str> = seen.argv.as_ref().unwrap().iter().map(|argument| argument.to_str().unwrap()).collect();
    assert_eq!(argv, ["sh", "-c", &moves, "an argument"]);
    let is_its_move = |input: &Input| match input {
        Input::Event(event) if event.change == Change::Attached => {
            event.actor.as_ref().is_some_and(|actor| actor.pid.0 == pid) && seen.at <= event.at
        }
        _ => false,
    };
    assert!(inputs.iter().any(is_its_move), "{inputs:#?}");
}

#[test]
fn an_end_is_told_once_however_many_threads_there_are() {
    // Without knowing the kernel's structures the main thread's end stands for the process's.
    let blind = Plan { offsets: [tracer_ebpf::offset::MISSING; tracer_ebpf::offset::COUNT], ..plan() };
    for plan in [plan(), blind] {
        let scratch = Scratch::new();
        let mut kernel = Kernel::start(&plan, &Options::default());
        let script = format!(
            "import threading, os\ndef go():\n try: os.rmdir('{0}/missing')\n except OSError: pass\n\
             threads = [threading.Thread(target=go) for _ in range(8)]\n\
             [t.start() for t in threads]\n[t.join() for t in threads]\nos._exit(5)",
            scratch.path.display()
        );
        let mut child = Command::new("python3").args(["-c", &script]).spawn().expect("python3 is installed");
        let pid = child.id();
        assert_eq!(child.wait().unwrap().code(), Some(5));
        let ended = |inputs: &[Input]| processes(inputs, pid).iter().any(|p| p.change == ProcessChange::Exit);
        let told = processes(kernel.wait_until("its end", ended), pid);
        assert_eq!(told.iter().filter(|process| process.change == ProcessChange::Exit).count(), 1, "{told:#?}");
    }
}

#[test]
fn of_a_megabyte_of_arguments_the_beginning_is_kept_and_it_is_said() {
    let (_directory, runc) = runc();
    let agent = Agent::start(&[]);
    // One argument may be 128 KiB long.
    let long = "x".repeat(100_000);
    let arguments: Vec<&str> = std::iter::repeat_n(long.as_str(), 10).collect();
    let mut child = Command::new(&runc)
        .args(["-c", "read line", "sh"])
        .args(&arguments)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let told =
        agent.wait_for("its start", |line| line["type"] == "process" && line["pid"] == pid && line["change"] == "exec");
    drop(child.stdin.take());
    child.wait().unwrap();
    let argv = told["argv"].as_array().unwrap();
    let kept: usize = argv.iter().map(|argument| argument.as_str().unwrap().len() + 1).sum();
    assert!((4_000..=cgtrace::argv::BYTES + 1).contains(&kept), "{kept}");
    assert!(long.starts_with(argv.last().unwrap().as_str().unwrap()));
    assert_eq!(told["argv_truncated"], true);
    agent.finish();

    // Nobody but the kernel side looks.
    let mut kernel = Kernel::start(&plan(), &Options::default());
    let mut child = Command::new(&runc).args(["-c", "exit 0", "sh"]).args(&arguments).spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let told = processes(kernel.wait_until("its start", |inputs| !processes(inputs, pid).is_empty()), pid);
    assert!(told[0].argv_truncated);
    let kept: usize = told[0].argv.as_ref().unwrap().iter().map(|argument| argument.as_bytes().len() + 1).sum();
    assert!(kept >= 512, "{kept}");
}
