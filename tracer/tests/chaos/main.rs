//! Chaos with a written truth: actors do to cgroups what runtimes, scripts and administrators do, all at once, and
//! write down what they did; then every word that was told is held against that.
//!
//! It takes half a minute; `cargo xtask chaos` plays for longer. The order of what is played follows from a seed, which
//! is printed; the order of what the kernel does with it does not.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod actors;
mod check;
mod judge;
mod lies;
mod model;
mod random;
mod real;
mod report;
mod scenes;
#[path = "../support/mod.rs"]
mod support;
mod truth;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use actors::{Actor, House, Part, Step, Target, Way};
use check::text;
use random::Random;
use real::Runtimes;
use scenes::{Site, Troupe};
use serde::{Deserialize, Serialize};
use support::{CGTRACE, Scratch, signal, wait_for};
use truth::{Place, Truth, now};

/// How long all of it takes, unless `CGTRACE_CHAOS_SECONDS` says otherwise.
const SECONDS: u64 = 30;
/// Of that, what is not the main part: the start, the flood, the end in the middle of it, and the judgement.
const AROUND: u64 = 15;
/// Troupes that play at once.
const TROUPES: u64 = 3;
/// How long is played around the beginning of tracing, if that takes no longer.
const BEFOREHAND: Duration = Duration::from_secs(4);
/// How long is played around the end of tracing.
const AFTERWARDS: Duration = Duration::from_millis(2_400);
/// Failing calls of the process that floods.
const FLOOD: u32 = 2_000;
/// What the directory of a run holds.
const TRUTH: &str = "truth.jsonl";
const TRACE: &str = "trace.jsonl.zst";
const TALE: &str = "tale.json";
/// Programs that actors are known as.
const PROGRAMS: [&str; 4] = ["runc", "buildkit-runc", "crun", "rmdir"];

fn main() -> ExitCode {
    actors::play_a_part();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        println!("every_word_is_true: test");
        return ExitCode::SUCCESS;
    }
    let is_wanted = |filter: &String| filter.starts_with('-') || "every_word_is_true".contains(filter.as_str());
    if !arguments.iter().all(is_wanted) {
        println!("\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.00s");
        return ExitCode::SUCCESS;
    }
    fail_in_whatever_process();
    let began = now();
    let passed = every_word_is_true();
    let took = Duration::from_nanos(now() - began).as_secs_f64();
    let (word, passed, failed) = if passed { ("ok", 1, 0) } else { ("FAILED", 0, 1) };
    println!(
        "test every_word_is_true ... {word}\n\ntest result: {word}. {passed} passed; {failed} failed; \
         0 ignored; 0 measured; 0 filtered out; finished in {took:.2}s"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A panic of an actor must not unwind into what this process is to it.
fn fail_in_whatever_process() {
    let own = std::process::id();
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        if std::process::id() != own {
            // SAFETY: it never returns.
            unsafe { libc::_exit(101) }
        }
    }));
}

fn number_of(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

fn every_word_is_true() -> bool {
    if let Some(directory) = std::env::var_os("CGTRACE_CHAOS_AGAIN").map(PathBuf::from) {
        let tale = std::fs::read(directory.join(TALE)).expect("the directory of a run that was kept");
        return serde_json::from_slice::<Tale>(&tale).unwrap().is_true(&directory);
    }
    assert!(rustix::process::geteuid().is_root(), "run as root");
    let seconds = number_of("CGTRACE_CHAOS_SECONDS").unwrap_or(SECONDS).max(AROUND + 1);
    let seed = number_of("CGTRACE_CHAOS_SEED").unwrap_or_else(|| now() ^ u64::from(std::process::id()) << 32);
    println!("seed {seed}, {seconds} s");
    let began = now();
    let mut random = Random::new(seed);
    let directory = tempfile::Builder::new().prefix("chaos-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let house = House {
        truth: directory.path().join(TRUTH),
        programs: directory.path().join("programs"),
        scene: "main".to_owned(),
    };
    link_programs(&house.programs);

    // What is around a scene's cgroups is made while it is traced: so it is known what was never there.
    let grounds = grounds();
    let outer: Vec<Site> = grounds.iter().map(|(version, ground)| site(*version, ground)).collect();
    let older_house = House { scene: "older".to_owned(), ..house.clone() };
    let older = scenes::before(&older_house, &outer);
    let read_only = read_only(&house, &outer[0]);
    let mut troupe = |number| {
        let sites = outer.iter().map(|outer| inner(&house, outer, number)).collect();
        let states = directory.path().join(format!("states-{number}"));
        let (random, run) = (Random::new(random.next()), std::process::id());
        Troupe { house: house.clone(), random, sites, read_only: read_only.who.pid, states, run, number, played: 0 }
    };
    // The beginning comes in the middle of it, as the end does.
    let mut early = troupe(TROUPES);
    let early = fork_player(|| play_until(&mut early, now() + BEFOREHAND.as_nanos() as u64));
    let agent = Agent::start(directory.path());
    let started = now();
    scenes::after(&older_house, &older);
    let mut troupes: Vec<Troupe> = (0..TROUPES).map(&mut troupe).collect();

    let main_part = Duration::from_secs(seconds - AROUND);
    let end = now() + main_part.as_nanos() as u64;
    let mut runtimes = Runtimes {
        truth: house.truth.clone(),
        directory: directory.path().join("real"),
        mounts: mounts(),
        random: Random::new(seed ^ 1),
        played: 0,
    };
    let real = fork_player(|| {
        while now() < end {
            runtimes.play();
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    play(&mut troupes, |troupe| play_until(troupe, end));
    wait_for_player(real);
    wait_for_player(early);
    let lasts = &mut troupes[..1];
    play(lasts, |troupe| {
        troupe.played += 1 << 20;
        scenes::flood(troupe, FLOOD);
    });
    // The end comes in the middle of it.
    let players: Vec<i32> = troupes
        .iter_mut()
        .map(|troupe| {
            fork_player(|| {
                // Other names than before, and other chances.
                troupe.played += 1 << 21;
                troupe.random = Random::new(troupe.random.next() ^ 1);
                play_until(troupe, now() + AFTERWARDS.as_nanos() as u64);
            })
        })
        .collect();
    std::thread::sleep(AFTERWARDS / 2);
    let stopped = now();
    agent.stop();
    players.into_iter().for_each(wait_for_player);
    signal(read_only.who.pid, libc::SIGKILL);
    house.wait(read_only);

    let played = now();
    let tale = Tale { started, stopped, grounds: outer.into_iter().map(|site| site.root).collect() };
    std::fs::write(directory.path().join(TALE), serde_json::to_vec(&tale).unwrap()).unwrap();
    let passed = tale.is_true(directory.path());
    let seconds = |from, to| Duration::from_nanos(to - from).as_secs_f64();
    println!(
        "played for {:.1} s, ended in {:.1} s, judged in {:.1} s",
        seconds(began, stopped),
        seconds(stopped, played),
        seconds(played, now())
    );
    if !passed {
        let kept = directory.keep();
        for what in ["programs", "real"] {
            let _ = std::fs::remove_dir_all(kept.join(what));
        }
        println!("the truth and the trace are kept: {}; seed {seed}", kept.display());
        println!("to judge them again: CGTRACE_CHAOS_AGAIN=DIRECTORY, or `cargo xtask chaos --again DIRECTORY`");
    }
    passed
}

/// What a run must be known of to judge it by its directory.
#[derive(Serialize, Deserialize)]
struct Tale {
    /// When tracing had begun, and when it was asked to stop: of the boot, in nanoseconds.
    started: u64,
    stopped: u64,
    grounds: Vec<Place>,
}

impl Tale {
    /// Holds what was told against the truth, prints the table, and then tells lies, which must be found.
    fn is_true(&self, directory: &Path) -> bool {
        let truth = Truth::read(&directory.join(TRUTH));
        let mut lines = lines_of(&directory.join(TRACE));
        let traced = self.started..self.stopped;
        let report = check::check(&truth, &lines, traced.clone(), &self.grounds);
        let passed = report.print();
        // Where others made so much that something was lost, not every lie can be told from what was not seen.
        if !passed || report.lost_anything_of_anybody {
            return passed;
        }
        let ground = self.grounds[0].path.clone();
        let told =
            lies::tell(&mut lines, &truth, &report.all_seen, |line| text(&line["cgroup"]["path"]).starts_with(&ground));
        let found = check::check(&truth, &lines, traced, &self.grounds);
        let unfound: Vec<_> = told.iter().filter(|class| !found.is_wrong(**class)).collect();
        println!("lies told: {}; not found: {unfound:?}", told.len());
        unfound.is_empty() && !told.is_empty()
    }
}

fn play_until(troupe: &mut Troupe, end: u64) {
    while now() < end {
        troupe.play();
    }
}

/// Has all troupes play at once, each in a process of its own.
fn play(troupes: &mut [Troupe], part: impl Fn(&mut Troupe)) {
    let players: Vec<i32> = troupes.iter_mut().map(|troupe| fork_player(|| part(troupe))).collect();
    players.into_iter().for_each(wait_for_player);
}

fn fork_player(part: impl FnOnce()) -> i32 {
    // SAFETY: this process has one thread: a fork may do anything.
    match unsafe { libc::fork() } {
        0 => {
            part();
            // SAFETY: it never returns.
            unsafe { libc::_exit(0) }
        }
        pid => {
            assert!(pid > 0, "fork failed");
            pid
        }
    }
}

fn wait_for_player(pid: i32) {
    assert_eq!(support::Forked(pid).wait(), 0, "a troupe did not play to its end");
}

fn link_programs(directory: &Path) {
    std::fs::create_dir(directory).unwrap();
    let own = std::env::current_exe().unwrap();
    for name in PROGRAMS {
        let link = directory.join(name);
        if std::fs::hard_link(&own, &link).is_err() {
            std::fs::copy(&own, &link).unwrap();
        }
    }
}

/// In cgroup2, and in some hierarchies of v1 where there are any; of one name, as a container's cgroups are.
fn grounds() -> Vec<(u32, Scratch)> {
    let name = format!("cgtrace-chaos-{}", std::process::id());
    let ground = |(hierarchy, mount): (u32, PathBuf)| {
        let path = mount.join(&name);
        std::fs::create_dir(&path).unwrap();
        Scratch { path, cgroup: format!("/{name}"), hierarchy }
    };
    let mut v1: Vec<(u32, PathBuf)> =
        ["freezer", "pids", "devices"].iter().filter_map(|name| support::hierarchy(Some(name))).collect();
    v1.sort_unstable();
    v1.dedup();
    if v1.len() < 2 {
        println!("fewer than two hierarchies of v1 are mounted here: nothing is renamed, or torn down in several");
        v1.clear();
    }
    let cgroup2 = support::hierarchy(None).expect("cgroup2 is mounted on this host");
    let all = std::iter::once((2, cgroup2)).chain(v1.into_iter().map(|found| (1, found)));
    all.map(|(version, found)| (version, ground(found))).collect()
}

/// Where hierarchies are mounted, all of them.
fn mounts() -> Vec<PathBuf> {
    let (_, hierarchies) = cgtrace::cgroupfs::hierarchies().unwrap();
    let mounts = hierarchies.into_iter().filter_map(|hierarchy| hierarchy.mount);
    mounts.filter_map(|mount| Some(PathBuf::from(mount.to_str()?))).collect()
}

fn site(version: u32, scratch: &Scratch) -> Site {
    let mount = scratch.path.to_str().unwrap().strip_suffix(&scratch.cgroup).unwrap().to_owned();
    Site { mount, version, root: Place { hierarchy: scratch.hierarchy, path: scratch.cgroup.clone() } }
}

/// A troupe's own place in a hierarchy.
fn inner(house: &House, outer: &Site, number: u64) -> Site {
    let target = Target {
        mount: outer.mount.clone(),
        base: outer.root.clone(),
        name: format!("troupe{number}"),
        way: Way::Absolute,
    };
    assert_eq!(house.play(&Part::new(vec![Step::Mkdir(target.clone())])), Some(0));
    Site { root: target.place(), ..outer.clone() }
}

/// A process in a mount namespace of its own, where cgroup2 is read-only, and which has been heard of.
fn read_only(house: &House, outer: &Site) -> Actor {
    let target = Target {
        mount: outer.mount.clone(),
        base: outer.root.clone(),
        name: "read-only".to_owned(),
        way: Way::Absolute,
    };
    let steps = vec![Step::MountReadOnly(outer.mount.clone()), Step::Mkdir(target), Step::Hang];
    let actor = house.start(&Part::new(steps));
    let mounts = format!("/proc/{}/mountinfo", actor.who.pid);
    let read_only = format!(" {} ro,", outer.mount);
    wait_for("a read-only mount", || std::fs::read_to_string(&mounts).unwrap().contains(&read_only).then_some(()));
    actor
}

/// A recording `cgtrace record`. It is read by nobody until it has ended, and this process stays one thread.
struct Agent(Child);

impl Agent {
    fn start(directory: &Path) -> Self {
        let (trace, said) = (directory.join(TRACE), directory.join("agent.log"));
        let child = Command::new(CGTRACE)
            .args(["record", "--output"])
            .arg(trace)
            .stdin(Stdio::null())
            .stderr(File::create(&said).unwrap())
            .spawn()
            .unwrap();
        let mut agent = Self(child);
        wait_for("tracing", || {
            let text = std::fs::read_to_string(&said).unwrap();
            assert!(agent.0.try_wait().unwrap().is_none(), "cgtrace record ended: {text}");
            text.lines().any(|line| line.starts_with("tracing ")).then_some(())
        });
        agent
    }

    /// Sends SIGINT and waits for its end.
    fn stop(mut self) {
        signal(self.0.id(), libc::SIGINT);
        let status = self.0.wait().unwrap();
        assert!(status.success(), "cgtrace record ended with {status}");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of a trace, with what is derived and the findings.
fn lines_of(trace: &Path) -> Vec<serde_json::Value> {
    let lines = trace.with_file_name("lines.jsonl");
    // Of an earlier judgement of the same.
    let _ = std::fs::remove_file(&lines);
    let status = Command::new(CGTRACE)
        .args(["export", "--to", "jsonl", "--output"])
        .args([&lines, trace])
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "cgtrace export ended with {status}");
    support::parse(&std::fs::read(lines).unwrap())
}
