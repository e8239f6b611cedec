//! Very many: of mounts, of processes, of cgroups, of failing calls.

use std::time::{Duration, Instant};

use crate::stranger::{OwnNamespaces, Strangers, forever, mount, pause};
use crate::support::{Gate, Scratch, c_path, hierarchy, mkdir, rmdir};
use crate::watched::Watched;

/// Namespaces, the mounts in each, and where those are.
struct Many {
    namespaces: usize,
    mounts: usize,
    place: fn(usize) -> String,
}

/// More mounts than are kept of any table.
const VERY_MANY: Many = Many { namespaces: 100, mounts: 2_000, place: |number| format!("/mnt/{number}") };
/// As many as are kept, of so many tables that not all of them are.
const AS_KEPT: Many =
    Many { namespaces: 40, mounts: 1_000, place: |number| format!("/mnt/{}{number}", "x".repeat(200)) };
/// Each below very many directories.
const DEEP: Many = Many { namespaces: 4, mounts: 500, place: |number| format!("/mnt{}/{number}", "/d".repeat(1_900)) };
const CGROUPS: usize = 20_000;
/// An agent that starts on a host full of this is ready by then.
const READY: Duration = Duration::from_secs(5);

/// Namespaces full of mounts of cgroupfs, each made by a stranger.
fn mounters(strangers: &mut Strangers, many: &Many, missing: &std::ffi::CStr) {
    let (_, cgroupfs) = hierarchy(None).expect("cgroup2 is mounted on this host");
    let (cgroupfs, namespaces) = (c_path(cgroupfs), OwnNamespaces::new());
    let places: Vec<_> = (0..many.mounts).map(|number| (many.place)(number)).collect();
    for _ in 0..many.namespaces {
        strangers.act(|| {
            let entered = namespaces.enter();
            if entered != 0 {
                return entered;
            }
            let mut failed = mount(c"none", c"/mnt", c"tmpfs", 0);
            for place in &places {
                let made =
                    std::fs::create_dir_all(place).map_or_else(|error| error.raw_os_error().unwrap_or(-1), |()| 0);
                failed = failed.max(made).max(mount(&cgroupfs, &c_path(place), c"", libc::MS_BIND));
            }
            let missing_there = c_path(format!("{}/missing", places[7]));
            if failed != 0 {
                return failed;
            }
            loop {
                // SAFETY: the paths end in zeros.
                unsafe {
                    libc::open(missing.as_ptr(), libc::O_RDONLY);
                    libc::open(missing_there.as_ptr(), libc::O_RDONLY);
                }
                pause(Duration::from_millis(100));
            }
        });
    }
}

/// Waits until each of them has its mounts; whoever was refused them has ended.
fn all_are_mounted(strangers: &mut Strangers, many: &Many) {
    crate::support::wait_for("all mounts", || {
        assert_eq!(strangers.ended(), Vec::<i32>::new(), "user namespaces, or mounts in them, are refused here");
        let is_full = |pid: &i32| {
            let table = std::fs::read(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
            table.iter().filter(|byte| **byte == b'\n').count() >= many.mounts
        };
        strangers.pids().iter().rev().all(is_full).then_some(())
    });
}

fn there_at_the_start(many: &Many) {
    let mut strangers = Strangers::default();
    mounters(&mut strangers, many, c"/sys/fs/cgroup/missing");
    all_are_mounted(&mut strangers, many);
    let watched = Watched::start(&[]);
    assert!(watched.ready_after < READY, "{:?}", watched.ready_after);
    watched.endures(Duration::from_secs(3));
    watched.end(strangers);
}

fn appearing(many: &Many) {
    let watched = Watched::start(&[]);
    let mut strangers = Strangers::default();
    mounters(&mut strangers, many, &c_path(watched.scratch.path.join("missing")));
    all_are_mounted(&mut strangers, many);
    watched.endures(Duration::from_secs(3));
    watched.end(strangers);
}

#[test]
fn a_hundred_namespaces_with_thousands_of_mounts_each_are_there_at_the_start() {
    there_at_the_start(&VERY_MANY);
}

#[test]
fn a_hundred_namespaces_with_thousands_of_mounts_each_appear() {
    appearing(&VERY_MANY);
}

#[test]
fn tables_that_fill_what_is_kept_do_not_push_out_the_hosts() {
    appearing(&AS_KEPT);
}

#[test]
fn mounts_below_thousands_of_directories_take_no_time() {
    appearing(&DEEP);
}

#[test]
fn a_thousand_processes_that_fail_calls_at_once_drown_nobody() {
    let watched = Watched::start(&[]);
    let mut strangers = Strangers::default();
    let (cgroup, below) = (watched.scratch.path.join("missing"), watched.scratch.path.join("missing/below"));
    let (cgroup, below) = (c_path(cgroup), c_path(below));
    let gate = Gate::new();
    for _ in 0..1_000 {
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
