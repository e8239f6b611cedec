//! Very many: of mounts, of processes, of cgroups, of failing calls.

use std::time::{Duration, Instant};

use crate::stranger::{OwnNamespaces, Strangers, forever, mount, pause};
use crate::support::{Gate, Scratch, c_path, hierarchy, mkdir, rmdir};
use crate::watched::Watched;

const NAMESPACES: usize = 100;
const MOUNTS: usize = 2_000;
const CGROUPS: usize = 20_000;
/// An agent that starts on a host full of this is ready by then.
const READY: Duration = Duration::from_secs(5);

/// Namespaces full of mounts of cgroupfs, each made by a stranger.
fn mounters(strangers: &mut Strangers, missing: &std::ffi::CStr) {
    let (_, cgroupfs) = hierarchy(None).expect("cgroup2 is mounted on this host");
    let (cgroupfs, namespaces) = (c_path(cgroupfs), OwnNamespaces::new());
    let places: Vec<_> = (0..MOUNTS).map(|number| c_path(format!("/mnt/{number}"))).collect();
    for _ in 0..NAMESPACES {
        strangers.act(|| {
            let entered = namespaces.enter();
            if entered != 0 {
                return entered;
            }
            let mut failed = mount(c"none", c"/mnt", c"tmpfs", 0);
            for place in &places {
                failed = failed.max(mkdir(place)).max(mount(&cgroupfs, place, c"", libc::MS_BIND));
            }
            if failed != 0 {
                return failed;
            }
            loop {
                // SAFETY: the paths end in zeros.
                unsafe {
                    libc::open(missing.as_ptr(), libc::O_RDONLY);
                    libc::open(c"/mnt/7/missing".as_ptr(), libc::O_RDONLY);
                }
                pause(Duration::from_millis(100));
            }
        });
    }
}

/// Waits until each of them has its mounts; whoever was refused them has ended.
fn all_are_mounted(strangers: &mut Strangers) {
    crate::support::wait_for("all mounts", || {
        assert_eq!(strangers.ended(), Vec::<i32>::new(), "user namespaces, or mounts in them, are refused here");
        let is_full = |pid: &i32| {
            let table = std::fs::read(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
            table.iter().filter(|byte| **byte == b'\n').count() >= MOUNTS
        };
        strangers.pids().iter().rev().all(is_full).then_some(())
    });
}

#[test]
fn a_hundred_namespaces_with_thousands_of_mounts_each_are_there_at_the_start() {
    let mut strangers = Strangers::default();
    mounters(&mut strangers, c"/sys/fs/cgroup/missing");
    all_are_mounted(&mut strangers);
    let watched = Watched::start(&[]);
    assert!(watched.ready_after < READY, "{:?}", watched.ready_after);
    watched.endures(Duration::from_secs(3));
    watched.end(strangers);
}

#[test]
fn a_hundred_namespaces_with_thousands_of_mounts_each_appear() {
    let watched = Watched::start(&[]);
    let mut strangers = Strangers::default();
    mounters(&mut strangers, &c_path(watched.scratch.path.join("missing")));
    all_are_mounted(&mut strangers);
    watched.endures(Duration::from_secs(3));
    watched.end(strangers);
}

#[test]
fn five_thousand_processes_that_fail_calls_at_once_drown_nobody() {
    let watched = Watched::start(&[]);
    let mut strangers = Strangers::default();
    let (cgroup, below) = (watched.scratch.path.join("missing"), watched.scratch.path.join("missing/below"));
    let (cgroup, below) = (c_path(cgroup), c_path(below));
    let gate = Gate::new();
    for _ in 0..5_000 {
        strangers.act_with(
            || gate.descriptor(),
            |_| {
                gate.pass();
                for _ in 0..3 {
                    rmdir(&cgroup);
                    mkdir(&below);
                    // SAFETY: the path ends in a zero.
                    unsafe { libc::open(below.as_ptr(), libc::O_RDONLY) };
                }
                forever()
            },
        );
    }
    gate.open();
    watched.endures(Duration::from_secs(5));
    watched.end(strangers);
}

#[test]
fn an_agent_that_finds_twenty_thousand_cgroups_is_ready_soon() {
    let scratch = Scratch::new();
    let paths: Vec<_> = (0..CGROUPS).map(|number| c_path(scratch.path.join(format!("existing-{number}")))).collect();
    // SAFETY: the paths end in zeros.
    assert!(paths.iter().all(|path| unsafe { libc::mkdir(path.as_ptr(), 0o755) } == 0));
    let watched = Watched::start(&[]);
    assert!(watched.ready_after < READY, "{:?}", watched.ready_after);
    watched.endures(Duration::from_secs(2));
    // They all go at once.
    paths.iter().for_each(|path| assert_eq!(rmdir(path), 0));
    watched.end(());
}

#[test]
fn a_container_that_fails_millions_of_calls_takes_no_more_memory_than_one_that_fails_thousands() {
    let watched = Watched::start(&[]);
    let mut strangers = Strangers::default();
    let id = "ab".repeat(32);
    let container = watched.scratch.path.join(format!("libpod-{id}.scope"));
    let (cgroup, below) = (c_path(&container), c_path(container.join("below")));
    let begun = Instant::now();
    for _ in 0..2 {
        strangers.act(|| {
            loop {
                for _ in 0..1_000 {
                    rmdir(&cgroup);
                    mkdir(&below);
                }
            }
        });
    }
    let mut memory = Vec::new();
    while begun.elapsed() < Duration::from_secs(12) {
        watched.endures(Duration::from_secs(1));
        memory.push((watched.memory_kib(), watched.events()));
    }
    let calls = watched.attempts();
    println!("{calls} failed calls in {:?}; KiB and events, second by second: {memory:?}", begun.elapsed());
    assert!(calls > 100_000.0, "{calls}");
    // What it takes at last is what ten million would take. What others do on this host meanwhile may take its part.
    let ((before, events), (last, events_now)) = (memory[memory.len() - 6], memory[memory.len() - 1]);
    assert!(last < before + (2 << 10) + (events_now - events) as u64, "it grows: {memory:?}");
    assert!(!watched.findings_of(&id).is_empty(), "it was told of");
    watched.end(strangers);
}
