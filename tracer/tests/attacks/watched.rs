//! A serving agent that is held to its promises while it is attacked.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::agent::{Serving, ask};
use crate::support::{DEADLINE, Scratch, c_path, fork, mkdir, rmdir, signal, wait_for};

/// The agent and all that it starts, together.
const MEMORY_KIB: u64 = 64 << 10;
/// An event is told within a second, and a turn of the agent. The attacks leave hardly a processor to either: twice as
/// much is still no stall.
const DELAY: Duration = Duration::from_millis(2_500);
/// A failed call of root's becomes a finding by then: stories wait two seconds for an end.
const FINDING: Duration = Duration::from_secs(5);
const UNREADY: Duration = Duration::from_secs(5);
const END: Duration = Duration::from_secs(5);
const AT_ONCE: Duration = Duration::from_secs(1);
/// For so long an answer is waited for. One that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(5);

const BEAT: Duration = Duration::from_millis(100);
const WITNESS_EVERY: Duration = Duration::from_millis(500);
const CREATED: &str = "cgtrace_cgroups_created_total{runtime=\"nomad\"}";

/// What is attacked: the program, or a service of it.
pub trait Agent {
    fn pid(&self) -> u32;
    fn address(&self) -> SocketAddr;
    fn said(&self) -> String;

    /// Tells it to end: whether it ended well, if it did in time.
    fn end(&mut self, how: i32) -> Option<bool>;

    /// Whatever was promised: it is ended.
    fn is_over(&mut self);
}

impl Agent for Serving {
    fn pid(&self) -> u32 {
        self.pid()
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn said(&self) -> String {
        self.said()
    }

    fn end(&mut self, how: i32) -> Option<bool> {
        signal(self.pid(), how);
        let within = if how == libc::SIGKILL { AT_ONCE } else { END };
        self.ends_within(within).map(|status| status.success())
    }

    fn is_over(&mut self) {
        signal(self.pid(), libc::SIGKILL);
        self.ends_within(DEADLINE);
    }
}

/// An agent, and those who look whether it keeps its promises:
///
/// * a metronome makes and removes a cgroup ten times a second, and each must be counted in time;
/// * twice a second a runtime of root's makes a container, and a process of root's fails to remove its cgroup: a
///   finding that knows the container's name must come of that;
/// * memory is looked at all the time, and so is what it says of itself.
pub struct Watched {
    agent: Box<dyn Agent>,
    pub scratch: Scratch,
    shared: Arc<Shared>,
    watchers: Vec<JoinHandle<()>>,
    /// From its start until it was ready.
    pub ready_after: Duration,
}

struct Shared {
    done: AtomicBool,
    quiet: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// When the metronome made its cgroups.
    beats: Vec<Instant>,
    /// So many of these were counted.
    told: usize,
    delay: Duration,
    /// By container id: when it was made, and once its finding is told, how long that took and whether that knew its
    /// name.
    witnesses: BTreeMap<String, (Instant, Option<(Duration, bool)>)>,
    memory_kib: u64,
    unready_since: Option<Instant>,
    unready: Duration,
    why_unready: String,
    slowest_answer: Duration,
    unhealthy: Option<String>,
    metrics: String,
}

impl Seen {
    fn slowest_finding(&self) -> Duration {
        self.witnesses
            .values()
            .map(|(made, told)| told.map_or(made.elapsed(), |(after, _)| after))
            .max()
            .unwrap_or_default()
    }

    fn all_is_told(&self) -> bool {
        self.told >= self.beats.len() && self.witnesses.values().all(|(_, told)| told.is_some())
    }

    /// The sum of all samples that begin so.
    fn sum(&self, name: &str) -> f64 {
        let samples = self.metrics.lines().filter(|line| line.starts_with(name));
        samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }
}

impl Watched {
    /// Without a history: it is of what an agent takes in time, and without optimisation this program takes many times
    /// as long to write a line as a user's does.
    pub fn start(arguments: &[&str]) -> Self {
        let begun = Instant::now();
        Self::over(begun, Box::new(Serving::start(&[&["--history", "0"], arguments].concat())))
    }

    /// One that is being started since then.
    pub fn over(begun: Instant, agent: Box<dyn Agent>) -> Self {
        let address = agent.address();
        wait_for("readiness", || (ask(address, "/readyz", PATIENCE)?.0 == 200).then_some(()));
        let ready_after = begun.elapsed();
        let scratch = Scratch::new();
        let shared = Arc::new(Shared {
            done: AtomicBool::new(false),
            quiet: AtomicBool::new(false),
            seen: Mutex::new(Seen::default()),
        });
        let pid = agent.pid();
        let watchers = [
            watcher(&shared, move |shared| watch_memory(shared, pid)),
            watcher(&shared, {
                let place = scratch.path.clone();
                move |shared| beat(shared, &place)
            }),
            watcher(&shared, {
                let place = scratch.path.clone();
                move |shared| witness(shared, &place)
            }),
            watcher(&shared, move |shared| listen(shared, address)),
            watcher(&shared, move |shared| look(shared, address)),
        ];
        Self { agent, scratch, shared, watchers: watchers.into(), ready_after }
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        ask(self.agent.address(), path, PATIENCE).expect("an answer")
    }

    /// What is told of a container.
    pub fn findings_of(&self, id: &str) -> Vec<Value> {
        findings_of(self.agent.address(), id).unwrap_or_default()
    }

    /// How many cgroups the metronome has made.
    pub fn beats(&self) -> usize {
        self.shared.seen().beats.len()
    }

    /// What it and all that it has started hold now.
    pub fn memory_kib(&self) -> u64 {
        family(self.agent.pid()).into_iter().map(resident_kib).sum()
    }

    /// Lifecycle events and processes that it was told of.
    pub fn events(&self) -> f64 {
        self.shared.seen().sum("cgtrace_events_received_total{ring=\"lifecycle\"}")
    }

    /// Failed calls that it knows of: those that it looked at, and those that it only counted.
    pub fn attempts(&self) -> f64 {
        let seen = self.shared.seen();
        seen.sum("cgtrace_attempts_total") + seen.sum("cgtrace_events_lost_total{ring=\"attempts\"")
    }

    /// Lets an attack go on for a while.
    pub fn endures(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Ends the agent while the attack goes on, and then the attack. Every promise must have been kept.
    pub fn end<T>(self, attack: T) {
        self.finish(attack, libc::SIGTERM);
    }

    /// Kills it instead: it is gone at once, and its port is free.
    pub fn kill<T>(self, attack: T) {
        self.finish(attack, libc::SIGKILL);
    }

    fn finish<T>(mut self, attack: T, how: i32) {
        // What was made until now is still told.
        self.shared.quiet.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        while begun.elapsed() < 2 * FINDING && !self.shared.seen().all_is_told() {
            std::thread::sleep(BEAT);
        }
        self.shared.done.store(true, Ordering::Relaxed);
        let panicked = self.watchers.drain(..).filter_map(|watcher| watcher.join().err()).count();

        let asked = Instant::now();
        let ended = self.agent.end(how);
        let took = asked.elapsed();
        let port = std::net::TcpListener::bind(self.agent.address()).map(drop);
        drop(attack);
        self.agent.is_over();

        let seen = self.shared.seen();
        let lost = |ring: &str, reason: &str| {
            seen.sum(&format!("cgtrace_events_lost_total{{ring=\"{ring}\",reason=\"{reason}\"}}"))
        };
        let lost_lifecycle: f64 =
            ["ring-full", "malformed", "stall"].map(|reason| lost("lifecycle", reason)).iter().sum();
        let unnamed = seen.witnesses.values().filter(|(_, told)| !matches!(told, Some((_, true)))).count();
        let measured = format!(
            "memory {} KiB; delay {:?} of {} beats ({} told); finding {:?} of {} ({unnamed} untold or unnamed); \
             unready {:?} {}; slowest answer {:?}; lost: lifecycle {lost_lifecycle}, attempts ring-full {}, \
             rate-limited {}; ready after {:?}; ended after {took:?}: {ended:?}",
            seen.memory_kib,
            seen.delay,
            seen.beats.len(),
            seen.told,
            seen.slowest_finding(),
            seen.witnesses.len(),
            seen.unready,
            seen.why_unready.trim(),
            seen.slowest_answer,
            lost("attempts", "ring-full"),
            lost("attempts", "rate-limited"),
            self.ready_after,
        );
        println!("{measured}");
        let mut broken = Vec::new();
        let mut promise = |what: &str, kept: bool| {
            if !kept {
                broken.push(what.to_owned());
            }
        };
        promise("memory is bounded", seen.memory_kib > 0 && seen.memory_kib <= MEMORY_KIB);
        promise("events are told in time", seen.told >= seen.beats.len() && seen.delay <= DELAY);
        promise("failed calls of root's become findings in time", seen.slowest_finding() <= FINDING);
        promise("root's containers have their names", unnamed == 0);
        promise("it is ready", seen.unready <= UNREADY);
        promise("it says that it is alive", seen.unhealthy.is_none() && seen.slowest_answer < PATIENCE);
        promise("no lifecycle event is lost", lost_lifecycle == 0.0);
        match how {
            libc::SIGKILL => promise("it can be killed, and frees its port", ended.is_some() && port.is_ok()),
            _ => promise("SIGTERM ends it in time", ended == Some(true)),
        }
        promise("it does not panic", !self.agent.said().contains("panicked") && panicked == 0);
        let said = self.agent.said();
        drop(seen);
        assert!(broken.is_empty(), "broken: {broken:#?}\n{measured}\n{said}");
    }
}

impl Drop for Watched {
    /// After a panic in a test: whoever watches stops.
    fn drop(&mut self) {
        self.shared.done.store(true, Ordering::Relaxed);
        self.watchers.drain(..).for_each(|watcher| _ = watcher.join());
    }
}

fn watcher(shared: &Arc<Shared>, act: impl FnOnce(&Shared) + Send + 'static) -> JoinHandle<()> {
    let shared = shared.clone();
    std::thread::spawn(move || act(&shared))
}

/// A process and all that descend from it.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(pid) = all.get(next).copied() {
        next += 1;
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    all
}

/// What is resident of it; of what several processes share, its part: the readers are forks.
fn resident_kib(pid: u32) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = maps.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}

fn watch_memory(shared: &Shared, pid: u32) {
    while !shared.is_done() {
        let now = family(pid).into_iter().map(resident_kib).sum();
        let mut seen = shared.seen();
        seen.memory_kib = seen.memory_kib.max(now);
        drop(seen);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whoever makes something stops when the test ends, so that what was made can still be told.
fn is_over(shared: &Shared) -> bool {
    shared.is_done() || shared.quiet.load(Ordering::Relaxed)
}

fn beat(shared: &Shared, place: &Path) {
    let slice = place.join("nomad.slice");
    fs::create_dir(&slice).unwrap();
    let path = c_path(slice.join("01234567-89ab-cdef-0123-456789abcdef.beat.scope"));
    while !is_over(shared) {
        assert_eq!(mkdir(&path), 0);
        shared.seen().beats.push(Instant::now());
        assert_eq!(rmdir(&path), 0);
        std::thread::sleep(BEAT);
    }
}

fn witness(shared: &Shared, place: &Path) {
    let runtime = Runtime::new();
    let mut number = 0;
    while !is_over(shared) {
        let id = format!("{number:064x}");
        let bundle = runtime.bundle(&id, &honest(&id));
        runtime.create(&bundle, &id).status().unwrap();
        let cgroup = c_path(place.join(format!("libpod-{id}.scope")));
        shared.seen().witnesses.insert(id, (Instant::now(), None));
        assert_eq!(fork(|| rmdir(&cgroup)).wait(), libc::ENOENT);
        number += 1;
        std::thread::sleep(WITNESS_EVERY);
    }
}

/// The name of root's container with this id.
pub fn honest(id: &str) -> String {
    format!("honest-{}", &id[id.len() - 8..])
}

/// Root's runtime, and its bundles.
pub struct Runtime {
    pub directory: tempfile::TempDir,
}

impl Runtime {
    /// A program that is called runc and takes any arguments: it prints them.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/bin/echo", directory.path().join("runc")).unwrap();
        Self { directory }
    }

    pub fn bundle(&self, id: &str, name: &str) -> PathBuf {
        let bundle = self.directory.path().join(id);
        fs::create_dir_all(&bundle).unwrap();
        let config = serde_json::json!({ "annotations": { "nerdctl/name": name } });
        fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        bundle
    }

    pub fn create(&self, bundle: &Path, id: &str) -> Command {
        let mut command = Command::new(self.directory.path().join("runc"));
        command
            .arg0("runc")
            .args(["create", "--bundle"])
            .arg(bundle)
            .arg(id)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }
}

fn findings_of(address: SocketAddr, id: &str) -> Option<Vec<Value>> {
    let (status, text) = ask(address, &format!("/findings?container={id}"), PATIENCE)?;
    (status == 200).then(|| serde_json::from_str(&text).ok())?
}

/// Asks for metrics and health.
fn listen(shared: &Shared, address: SocketAddr) {
    let mut before = None;
    while !shared.is_done() {
        let asked = Instant::now();
        let metrics = ask(address, "/metrics", PATIENCE).filter(|(status, _)| *status == 200);
        let (health, ready) = (ask(address, "/healthz", PATIENCE), ask(address, "/readyz", PATIENCE));
        let mut seen = shared.seen();
        seen.slowest_answer = seen.slowest_answer.max(asked.elapsed());
        if health.as_ref().is_none_or(|(status, _)| *status != 200) {
            seen.unhealthy = Some(format!("{health:?}"));
        }
        match ready {
            Some((200, _)) => seen.unready_since = None,
            not => {
                let since = *seen.unready_since.get_or_insert(asked);
                seen.unready = seen.unready.max(since.elapsed());
                seen.why_unready = not.map_or_else(|| "no answer".to_owned(), |(_, why)| why);
            }
        }
        if let Some((_, text)) = metrics {
            seen.metrics = text;
            let count = seen.sum(CREATED) as usize;
            // Those of others that there were before.
            let counted = count - *before.get_or_insert(count.saturating_sub(seen.beats.len()));
            while seen.told < counted.min(seen.beats.len()) {
                let delay = seen.beats[seen.told].elapsed();
                seen.delay = seen.delay.max(delay);
                seen.told += 1;
            }
        }
        // What is waited for still has waited for so long.
        if let Some(oldest) = seen.beats.get(seen.told).copied() {
            seen.delay = seen.delay.max(asked.saturating_duration_since(oldest));
        }
        drop(seen);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Asks for the findings that must come.
fn look(shared: &Shared, address: SocketAddr) {
    while !shared.is_done() {
        let untold: Vec<String> = {
            let seen = shared.seen();
            seen.witnesses.iter().filter(|(_, (_, told))| told.is_none()).map(|(id, _)| id.clone()).collect()
        };
        for id in untold {
            let Some(findings) = findings_of(address, &id) else { continue };
            let Some(finding) = findings.first() else { continue };
            let named = finding["container"]["name"] == honest(&id).as_str();
            let mut seen = shared.seen();
            if let Some((made, told)) = seen.witnesses.get_mut(&id) {
                *told = Some((made.elapsed(), named));
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
