//! Very many, very short, very deep.

use std::collections::HashMap;
use std::ffi::CString;
use std::time::Duration;

use cgtrace::input::Syscall;
use serde_json::Value;

use crate::descriptors::{call, open};
use crate::support::{Agent, Gate, Scratch, c_path, errno, fork, mkdir, of_type, rmdir, signal, write};

/// How often the kernel skipped a program. Nothing is lost in another way, and on other kernels nothing at all.
fn missed(lines: &[Value]) -> u64 {
    let lost = lines.last().unwrap()["counts"]["lost"].as_u64().unwrap();
    let is_miss = |line: &&Value| line["reason"] == "missed";
    let told: u64 =
        of_type(lines, "lost").iter().filter(|line| is_miss(line)).map(|line| line["count"].as_u64().unwrap()).sum();
    assert_eq!(lost, told, "nothing is lost but what the kernel skipped");
    assert!(told == 0 || crate::skips_programs(), "{told} lost");
    told
}

#[test]
fn of_two_processes_racing_a_thousand_times_every_second_one_is_told_with_its_rival() {
    let _alone = crate::alone();
    const RACES: usize = 1_000;
    let scratch = Scratch::new();
    let agent = Agent::start(&["--only", "findings"]);
    // By path: who won, who lost.
    let mut races = HashMap::new();
    for number in 0..RACES {
        let path = scratch.path.join(format!("race-{number}"));
        std::fs::create_dir(&path).unwrap();
        let path = c_path(path);
        let gate = Gate::new();
        let racer = || {
            fork(|| {
                gate.pass();
                i32::from(rmdir(&path) != 0)
            })
        };
        let (one, other) = (racer(), racer());
        let (one_pid, other_pid) = (one.0, other.0);
        gate.open();
        let lost = (one.wait(), other.wait());
        let (winner, loser) = match lost {
            (0, 1) => (one_pid, other_pid),
            (1, 0) => (other_pid, one_pid),
            other => panic!("one wins and one loses: {other:?}"),
        };
        races.insert(format!("{}/race-{number}", scratch.cgroup), (winner, loser));
    }
    agent.wait_for_all("all findings", RACES, |line| line["type"] == "finding");
    let lines = agent.finish();
    let missed = missed(&lines);
    let findings: Vec<&Value> = of_type(&lines, "finding").into_iter().filter(|line| scratch.has(line)).collect();
    assert_eq!(findings.len(), RACES, "none is missed, none is invented, none is told twice");
    for finding in findings {
        if missed > 0 && finding["certainty"] == "degraded" {
            continue;
        }
        let (winner, loser) = races.remove(finding["cgroup"]["path"].as_str().unwrap()).expect("a race, told once");
        assert_eq!(finding["kind"], "duplicate-teardown");
        assert_eq!(finding["cause"], "removed-by-other");
        // What a program that is not known exits with proves nothing.
        assert_eq!(finding["severity"], "undetermined");
        assert_eq!(finding["certainty"], "certain");
        assert_eq!(finding["actor"]["pid"], loser);
        assert_eq!(finding["rival"]["actor"]["pid"], winner);
        assert_eq!(finding["outcome"]["exit"]["code"], 1);
        assert!(finding["rival"]["before_ms"].as_f64().unwrap() >= 0.0);
    }
}

#[test]
fn a_thousand_short_lived_cgroups_are_all_complete_and_attributed() {
    let _alone = crate::alone();
    const CGROUPS: usize = 1_000;
    let scratch = Scratch::new();
    let agent = Agent::start(&[]);
    let mut makers = HashMap::new();
    for number in 0..CGROUPS {
        let path = scratch.path.join(format!("short-{number}"));
        let (directory, procs) = (c_path(&path), c_path(path.join("cgroup.procs")));
        let out = c_path(scratch.path.join("cgroup.procs"));
        let maker = fork(|| {
            let done = mkdir(&directory) == 0 && write(&procs, b"0") == 0 && write(&out, b"0") == 0;
            i32::from(!done || rmdir(&directory) != 0)
        });
        makers.insert(number, maker.0);
        assert_eq!(maker.wait(), 0);
    }
    let last = format!("{}/short-{}", scratch.cgroup, CGROUPS - 1);
    agent.wait_for("the last release", |line| line["change"] == "released" && line["cgroup"]["path"] == last.as_str());
    agent.wait_for_all("all releases", CGROUPS, |line| line["change"] == "released" && scratch.has(line));
    let lines = agent.finish();
    missed(&lines);
    assert!(of_type(&lines, "finding").into_iter().all(|line| !scratch.has(line)));
    let mut by_path: HashMap<&str, Vec<&Value>> = HashMap::new();
    for line in of_type(&lines, "event") {
        by_path.entry(line["cgroup"]["path"].as_str().unwrap()).or_default().push(line);
    }
    for (number, maker) in makers {
        let events = &by_path[format!("{}/short-{number}", scratch.cgroup).as_str()];
        let changes: Vec<&str> =
            events.iter().map(|line| line["change"].as_str().unwrap()).filter(|change| *change != "attached").collect();
        assert_eq!(changes, ["created", "populated", "emptied", "removed", "released"], "{number}");
        for event in events.iter().filter(|event| event["change"] != "released") {
            assert_eq!(event["actor"]["pid"], maker, "{event}");
            assert!(event["actor"]["argv"].is_array(), "unattributed: {event}");
        }
    }
}

#[test]
fn a_cgroup_a_thousand_levels_down_is_told_by_its_whole_path() {
    let scratch = Scratch::new();
    let agent = Agent::start(&[]);
    let name = CString::new("deep").unwrap();
    let top = c_path(&scratch.path);
    // SAFETY: the paths end in zeros.
    let child = fork(|| unsafe {
        if libc::chdir(top.as_ptr()) != 0 {
            return 1;
        }
        for _ in 0..1_000 {
            if libc::mkdir(name.as_ptr(), 0o755) != 0 || libc::chdir(name.as_ptr()) != 0 {
                return 2;
            }
        }
        // A failed call from down there: its place is known although the way up is longer than what is walked.
        i32::from(errno(libc::rmdir(c"missing".as_ptr()).into()) != libc::ENOENT)
    });
    assert_eq!(child.wait(), 0);
    let whole = format!("{}{}", scratch.cgroup, "/deep".repeat(1_000));
    let created =
        agent.wait_for("the deepest", |line| line["change"] == "created" && line["cgroup"]["path"] == whole.as_str());
    assert!(created["cgroup"].get("truncated").is_none());
    assert_eq!(created["cgroup"]["level"], 1_001);
    let attempt = agent.wait_for("the attempt", |line| line["type"] == "attempt" && line["path"] == "missing");
    assert_eq!(attempt["cgroup"]["path"], format!("{whole}/missing"));
    agent.finish();
}

/// The names of one round of a churn: a cgroup, one in it that is made, and one that never is.
struct Round {
    around: CString,
    made: CString,
    never: CString,
}

/// Two processes that make, remove, and remove again, until they are killed: the first all of it, the second what the
/// first one has just removed.
struct Churn {
    maker: u32,
    chaser: u32,
}

impl Churn {
    /// In a directory that it makes; so long after each round.
    fn begin(directory: std::path::PathBuf, rest: Duration) -> Self {
        std::fs::create_dir(&directory).unwrap();
        let rounds: Vec<Round> = (0..2_000)
            .map(|number| {
                let around = directory.join(format!("around-{number}"));
                Round {
                    around: c_path(&around),
                    made: c_path(around.join("made")),
                    never: c_path(around.join("never")),
                }
            })
            .collect();
        let mut pipe = [0; 2];
        // SAFETY: there is room for two descriptors.
        assert_eq!(unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
        let [read, write] = pipe;
        let maker = fork(|| {
            for number in (0..rounds.len()).cycle() {
                let round = &rounds[number];
                let number = number as u32;
                mkdir(&round.around);
                mkdir(&round.made);
                rmdir(&round.made);
                // SAFETY: four bytes of ours.
                unsafe { libc::write(write, (&raw const number).cast(), 4) };
                rmdir(&round.made);
                rmdir(&round.never);
                rmdir(&round.around);
                std::thread::sleep(rest);
            }
            0
        });
        let chaser = fork(|| {
            let mut number = 0u32;
            // SAFETY: room for four bytes.
            while unsafe { libc::read(read, (&raw mut number).cast(), 4) } == 4 {
                rmdir(&rounds[number as usize].made);
            }
            0
        });
        // SAFETY: the descriptors are ours, and used no more.
        pipe.iter().for_each(|fd| _ = unsafe { libc::close(*fd) });
        Self { maker: maker.0 as u32, chaser: chaser.0 as u32 }
    }
}

/// How many certain claims there are of what was never made, and of what was removed before, all of them true.
fn certain(lines: &[Value], scratch: &Scratch, churns: &[Churn]) -> [usize; 2] {
    let mut certain = [0; 2];
    for finding in of_type(lines, "finding").into_iter().filter(|line| scratch.has(line)) {
        if finding["certainty"] != "certain" {
            continue;
        }
        let path = finding["cgroup"]["path"].as_str().unwrap();
        let pid = &finding["actor"]["pid"];
        let churn = churns.iter().find(|churn| *pid == churn.maker || *pid == churn.chaser);
        let churn = churn.unwrap_or_else(|| panic!("nobody of ours: {finding:#}"));
        if path.ends_with("/never") {
            assert_eq!(finding["kind"], "missing-path-teardown", "{finding:#}");
            assert_eq!(finding["cause"], "never-created", "{finding:#}");
            certain[0] += 1;
        } else {
            assert_eq!(finding["kind"], "duplicate-teardown", "it was made: {finding:#}");
            assert_eq!(finding["rival"]["actor"]["pid"], churn.maker, "{finding:#}");
            let by_self = *pid == churn.maker;
            assert_eq!(finding["cause"] == "removed-by-self", by_self, "{finding:#}");
            certain[1] += 1;
        }
    }
    certain
}

impl Drop for Churn {
    fn drop(&mut self) {
        for pid in [self.maker, self.chaser] {
            signal(pid, libc::SIGKILL);
            // SAFETY: a child of ours, and no status is wanted.
            unsafe { libc::waitpid(pid as i32, std::ptr::null_mut(), 0) };
        }
    }
}

#[test]
fn tracing_that_starts_and_stops_in_the_middle_of_churn_makes_no_certain_claim_that_is_wrong() {
    let _alone = crate::alone();
    const TIMES: usize = 20;
    const AT_ONCE: usize = 5;
    let scratch = Scratch::new();
    // At a pace that a debug build keeps up with.
    let begin = |name| Churn::begin(scratch.path.join(name), Duration::from_millis(2));
    let churns = ["one", "two", "three"].map(begin);
    let mut all = [0; 2];
    for _ in 0..TIMES / AT_ONCE {
        let agents: Vec<_> = (0..AT_ONCE)
            .map(|number| {
                std::thread::spawn(move || {
                    let agent = Agent::start(&["--only", "findings"]);
                    agent.wait_for_all("findings", 20 * (number + 1) + 1, |line| line["type"] == "finding");
                    agent.finish()
                })
            })
            .collect();
        for lines in agents.into_iter().map(|agent| agent.join().unwrap()) {
            let more = certain(&lines, &scratch, &churns);
            all = [all[0] + more[0], all[1] + more[1]];
        }
    }
    println!("certain, and true: {all:?}");
    assert!(all.iter().all(|count| *count > TIMES), "{all:?}");
}

#[test]
fn an_agent_that_stood_still_in_the_middle_of_churn_has_missed_nothing_that_the_rings_held() {
    let _alone = crate::alone();
    const MORE: usize = 200;
    let scratch = Scratch::new();
    // Many, each at a pace that leaves room in the rings, and that no rate limit holds back.
    let begin = |number: usize| Churn::begin(scratch.path.join(number.to_string()), Duration::from_millis(80));
    let churns: [Churn; 6] = std::array::from_fn(begin);
    let agent = Agent::start(&["--only", "findings"]);
    signal(agent.pid(), libc::SIGSTOP);
    std::thread::sleep(Duration::from_millis(5_500));
    signal(agent.pid(), libc::SIGCONT);
    // Those of the meantime, and of what came after it.
    agent.wait_for_all("findings", 5 * MORE, |line| line["type"] == "finding");
    let lines = agent.finish();
    let certain = certain(&lines, &scratch, &churns);
    assert!(certain.iter().all(|count| *count > MORE), "{certain:?}");
    let stalled = of_type(&lines, "lost").into_iter().find(|line| line["reason"] == "stall");
    assert!(stalled.is_none(), "{stalled:?}");
}

#[test]
fn a_storm_of_a_million_failing_writes_is_counted_to_the_last_one_and_hides_no_life() {
    const WRITES: u64 = 1_000_000;
    let _alone = crate::alone();
    let scratch = Scratch::new();
    let file = open(&scratch, "cgroup.procs");
    let agent = Agent::start(&["--only", "lifecycle", "--only", "attempts"]);
    let fd = [crate::number(&file), -1, -1];
    let storm = fork(|| {
        let errnos = (0..WRITES).map(|_| call(Syscall::Write, fd, b"x"));
        errnos.filter(|errno| *errno != libc::EINVAL).count().min(1) as i32
    });
    let pid = storm.0;
    for number in 0..100 {
        std::fs::create_dir(scratch.path.join(number.to_string())).unwrap();
        std::fs::remove_dir(scratch.path.join(number.to_string())).unwrap();
    }
    assert_eq!(storm.wait(), 0);
    agent.catch_up();
    let lines = agent.finish();
    let told = of_type(&lines, "attempt").into_iter().filter(|line| line["actor"]["pid"] == pid).count() as u64;
    let lost = of_type(&lines, "lost");
    let of_it = lost.iter().filter(|line| line["pid"] == pid && line["operation"] == "write");
    let denied: u64 = of_it.map(|line| line["count"].as_u64().unwrap()).sum();
    assert_eq!(told + denied, WRITES, "{lost:#?}");
    assert!(told >= 256, "{told}");
    for number in 0..100 {
        assert_eq!(&scratch.changes(&lines, &number.to_string())[..2], ["created", "removed"], "{number}");
    }
}
