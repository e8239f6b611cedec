//! Containers that come and go, each with a name of its own in a bundle of containerd's shape: the agent's memory stays
//! flat, and it still learns names at the end.
//!
//! What an agent has learnt is seen in what it tells. Some of the containers are torn down twice, which is a finding
//! that names its container; some of those from a mount namespace of their own, whose table the agent has to read.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::GROWTH;
use super::runtime::{self, Teardown};
use crate::agent::{Agent, cpu_share, resident, sum};
use crate::bench::{Place, Scratch, median};
use crate::step;

/// Where a containerd keeps the bundles of a kubelet's containers, below a directory of ours.
const TASKS: &str = "io.containerd.runtime.v2.task/k8s.io";
/// One in so many is torn down twice, and one from a mount namespace of its own.
const EVERY: u64 = 100;
/// So many of each are looked for in what the agent tells.
const ASKED: usize = 100;
/// Containers that come one by one, so that a slow machine has time to read each name, and which share of them is named
/// at least.
const CALM: u64 = 40;
const PAUSE: Duration = Duration::from_millis(50);
const NAMED: f64 = 0.9;
/// Bundles that are kept after their container has ended, as for a moment they are.
const KEPT: usize = 500;
/// Processes at most that see a mount namespace of their own.
const APART: usize = 32;
/// Containers that run at the same time.
const ENGINES: usize = 4;
/// The agent's memory is looked at so often.
const LOOK: Duration = Duration::from_millis(500);
/// With fewer containers all that an agent keeps is not full before memory is looked at for the first time.
const FILLED: u64 = 200_000;
/// What was done is told by then.
const TOLD: Duration = Duration::from_secs(15);

/// A container.
struct Container {
    number: u64,
    id: String,
    teardown: Teardown,
}

impl Container {
    /// One of many.
    fn new(number: u64) -> Self {
        let teardown = match number % EVERY {
            0 => Teardown::Twice,
            50 => Teardown::Apart,
            _ => Teardown::Once,
        };
        Self { number, id: Self::id(number), teardown }
    }

    /// One that comes when so many have gone.
    fn after(containers: u64, number: u64, teardown: Teardown) -> Self {
        let number = (1 + containers) << 32 | number << 2 | teardown as u64;
        Self { number, id: Self::id(number), teardown }
    }

    fn id(number: u64) -> String {
        // Digits that look random, as an engine's are (splitmix64).
        let digits = (0..4).map(|part| {
            let mut mixed = number.wrapping_mul(4).wrapping_add(part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            format!("{:016x}", mixed ^ (mixed >> 27))
        });
        digits.collect()
    }

    fn name(&self) -> String {
        format!("worker-{}", self.number)
    }

    /// What containerd's CRI plugin writes for a container of a pod, shortened where it repeats itself.
    fn config(&self, cgroup: &str) -> Value {
        let kubernetes = |key: &str| format!("io.kubernetes.cri.{key}");
        let annotations: HashMap<String, String> = [
            (kubernetes("container-name"), self.name()),
            (kubernetes("container-type"), "container".to_owned()),
            (kubernetes("image-name"), format!("registry.example/team/worker:{}", self.number % 50)),
            (kubernetes("sandbox-id"), Self::id(!self.number)),
            (kubernetes("sandbox-name"), format!("pod-of-{}", self.name())),
            (kubernetes("sandbox-namespace"), format!("team-{}", self.number % 20)),
            (kubernetes("sandbox-uid"), format!("2f3a9c1e-7b54-4d0a-9c55-{:012x}", self.number)),
        ]
        .into();
        let capabilities = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_KILL", "CAP_SETUID"];
        let mount = |to: &str, kind: &str, options: &[&str]| -> Value {
            json!({ "destination": to, "type": kind, "source": kind, "options": options })
        };
        let terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
        let environment: Vec<String> =
            (0..40).map(|number| format!("SERVICE_{number}_PORT=tcp://10.43.0.{number}:443")).collect();
        json!({
            "ociVersion": "1.2.0",
            "process": {
                "user": { "uid": 0, "gid": 0, "additionalGids": [0] },
                "args": ["/usr/local/bin/worker", "--queue", "work"],
                "env": environment,
                "cwd": "/",
                "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
                "oomScoreAdj": 1000
            },
            "root": { "path": "rootfs" },
            "mounts": [
                mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
                mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
                mount("/dev/pts", "devpts", &terminals),
                mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
                mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
                mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"])
            ],
            "annotations": annotations,
            "linux": {
                "resources": {
                    "memory": { "limit": 134_217_728 },
                    "cpu": { "shares": 102, "quota": 10_000, "period": 100_000 }
                },
                "cgroupsPath": cgroup,
                "namespaces": [{ "type": "pid" }, { "type": "mount" }, { "type": "cgroup" }],
                "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
            }
        })
    }
}

/// Where containers are made.
struct Host<'a> {
    scratch: &'a Scratch,
    place: Place,
    /// The runtime's own name for this program.
    runtime: PathBuf,
}

impl<'a> Host<'a> {
    fn new(scratch: &'a Scratch) -> anyhow::Result<Self> {
        let place = Place::new()?;
        let runtime = place.0.join(runtime::NAME);
        let own = std::env::current_exe().context("failed to find this program")?;
        std::os::unix::fs::symlink(own, &runtime).context("failed to give this program another name")?;
        std::fs::create_dir_all(place.0.join(TASKS)).context("failed to make a place for bundles")?;
        Ok(Self { scratch, place, runtime })
    }

    /// Plays these containers, several at a time. Returns the agent's memory meanwhile, at steady intervals.
    fn play(&self, numbers: &Range<u64>, agent: &Agent) -> anyhow::Result<Vec<f64>> {
        let mut memory = Vec::new();
        std::thread::scope(|scope| {
            let engines: Vec<_> = (0..ENGINES)
                .map(|first| {
                    let own = numbers.clone().skip(first).step_by(ENGINES);
                    scope.spawn(move || Engine::new(self).play(own))
                })
                .collect();
            while engines.iter().any(|engine| !engine.is_finished()) {
                std::thread::sleep(LOOK);
                memory.push(resident(agent.child.id())? as f64);
            }
            engines.into_iter().try_for_each(|engine| match engine.join() {
                Ok(played) => played,
                Err(_) => bail!("an engine has died"),
            })
        })?;
        Ok(memory)
    }
}

/// Who makes containers on a host, one after the other.
struct Engine<'a> {
    host: &'a Host<'a>,
    /// Bundles, the oldest first.
    bundles: VecDeque<PathBuf>,
    /// Runtimes that see a mount namespace of their own and stay for a moment.
    apart: VecDeque<Child>,
}

impl<'a> Engine<'a> {
    fn new(host: &'a Host) -> Self {
        Self { host, bundles: VecDeque::new(), apart: VecDeque::new() }
    }

    fn play(mut self, mut numbers: impl Iterator<Item = u64>) -> anyhow::Result<()> {
        numbers.try_for_each(|number| self.run(&Container::new(number)))?;
        self.end()
    }

    /// Nothing is left.
    fn end(mut self) -> anyhow::Result<()> {
        self.reap(0)?;
        self.clear(0)
    }

    /// A container's life.
    fn run(&mut self, container: &Container) -> anyhow::Result<()> {
        let Host { scratch, place, runtime } = self.host;
        let bundle = place.0.join(TASKS).join(&container.id);
        let cgroup = scratch.0.file_name().context("a cgroup has a name")?.to_string_lossy();
        let config = container.config(&format!("/{cgroup}/{}", container.id)).to_string();
        std::fs::create_dir(&bundle)
            .and_then(|()| std::fs::write(bundle.join("config.json"), config))
            .with_context(|| format!("failed to make {}", bundle.display()))?;
        let mut command = Command::new(runtime);
        command.arg("--root").arg(place.0.join("state")).args(["run", "--bundle"]).arg(&bundle).arg(&container.id);
        command
            .env(runtime::CGROUPS, &scratch.0)
            .env(runtime::TEARDOWN, container.teardown.word())
            .stdin(Stdio::null());
        let mut child = command.spawn().context("failed to run the stand-in for a runtime")?;
        match container.teardown {
            Teardown::Once | Teardown::Twice => succeeded(&mut child)?,
            Teardown::Apart => self.apart.push_back(child),
        }
        self.reap(APART)?;
        self.bundles.push_back(bundle);
        self.clear(KEPT)
    }

    /// Removes bundles until so many are left.
    fn clear(&mut self, left: usize) -> anyhow::Result<()> {
        while self.bundles.len() > left
            && let Some(oldest) = self.bundles.pop_front()
        {
            std::fs::remove_dir_all(&oldest).with_context(|| format!("failed to remove {}", oldest.display()))?;
        }
        Ok(())
    }

    /// Waits until at most so many are left that stay for a moment.
    fn reap(&mut self, left: usize) -> anyhow::Result<()> {
        while self.apart.len() > left
            && let Some(mut child) = self.apart.pop_front()
        {
            succeeded(&mut child)?;
        }
        Ok(())
    }
}

fn succeeded(child: &mut Child) -> anyhow::Result<()> {
    let status = child.wait().context("failed to wait for the stand-in for a runtime")?;
    if !status.success() {
        bail!("the stand-in for a runtime ended with {status}");
    }
    Ok(())
}

/// How many of the containers that were asked for are told with their name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Learnt {
    /// They are told at all.
    told: usize,
    named: usize,
    /// They are told with another one's name.
    wrong: usize,
    asked: usize,
}

impl Learnt {
    /// Compares what the agent tells with the names that these containers have.
    fn of(findings: &Value, containers: &[Container]) -> Self {
        let mut learnt = Self { asked: containers.len(), ..Self::default() };
        let findings = findings.as_array().map(Vec::as_slice).unwrap_or_default();
        let told: HashMap<&str, Option<&str>> = findings
            .iter()
            .map(|finding| &finding["container"])
            .filter_map(|container| Some((container["id"].as_str()?, container["name"].as_str())))
            .collect();
        for container in containers {
            let Some(name) = told.get(container.id.as_str()) else { continue };
            learnt.told += 1;
            match name {
                Some(name) if *name == container.name() => learnt.named += 1,
                Some(_) => learnt.wrong += 1,
                None => {}
            }
        }
        learnt
    }
}

/// Asks the agent for containers until it tells of all of them, or time is over.
fn learnt(agent: &Agent, containers: &[Container]) -> anyhow::Result<Learnt> {
    let begun = Instant::now();
    loop {
        let answer = agent.get("/findings")?;
        let findings = serde_json::from_str(&answer).context("failed to read the findings")?;
        let learnt = Learnt::of(&findings, containers);
        if learnt.told == learnt.asked || begun.elapsed() > TOLD {
            return Ok(learnt);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// What the agent knows and takes when so many containers have come and gone.
struct Look {
    containers: u64,
    memory: f64,
    /// Of the last ones.
    fast: Learnt,
    /// Of those that came one by one after them: on the host, and from a mount namespace of their own.
    calm: [(Teardown, Learnt); 2],
}

impl Look {
    fn at(agent: &Agent, host: &Host, containers: u64, memory: &[f64]) -> anyhow::Result<Self> {
        let torn = (0..containers).rev().map(Container::new).filter(|container| container.teardown == Teardown::Twice);
        let fast = learnt(agent, &torn.take(ASKED).collect::<Vec<_>>())?;
        let calm = |teardown| -> anyhow::Result<_> {
            let own: Vec<_> = (0..CALM).map(|number| Container::after(containers, number, teardown)).collect();
            let mut engine = Engine::new(host);
            for container in &own {
                engine.run(container)?;
                std::thread::sleep(PAUSE);
            }
            engine.end()?;
            Ok((teardown, learnt(agent, &own)?))
        };
        let calm = [calm(Teardown::Twice)?, calm(Teardown::Apart)?];
        // The last tenth of the time.
        Ok(Self { containers, memory: median(&memory[memory.len() * 9 / 10..]), fast, calm })
    }

    fn print(&self) {
        let memory = self.memory / f64::from(1 << 20);
        println!("{:<44}{memory:>10.1} MiB", format!("memory after {} named containers", self.containers));
        let names = |of: &str, learnt: &Learnt| {
            let Learnt { told, named, wrong, asked } = learnt;
            println!("{:<44}{named:>14} of {asked}, {told} told, {wrong} wrongly", format!("  names of {of}"));
        };
        names("the last ones, at full speed", &self.fast);
        for (teardown, learnt) in &self.calm {
            names(
                match teardown {
                    Teardown::Once | Teardown::Twice => "more, one by one",
                    Teardown::Apart => "more, in a mount namespace each",
                },
                learnt,
            );
        }
    }

    fn is_named(&self) -> bool {
        let all = self.calm.iter().map(|(_, learnt)| learnt);
        all.clone().all(|learnt| learnt.named as f64 >= learnt.asked as f64 * NAMED)
            && all.chain([&self.fast]).all(|learnt| learnt.wrong == 0)
    }
}

/// Plays so many containers before an agent, and prints what it took.
pub fn run(program: &Path, scratch: &Scratch, containers: u64) -> anyhow::Result<()> {
    step(&format!("soaking with {containers} named containers"));
    let agent = Agent::start(program, &[])?;
    let host = Host::new(scratch)?;
    let before = agent.metrics()?;
    let early = containers / 5;
    let first = Look::at(&agent, &host, early, &host.play(&(0..early), &agent)?)?;
    let mut memory = Ok(Vec::new());
    let begun = Instant::now();
    let busy = cpu_share(&agent.child, || memory = host.play(&(early..containers), &agent))?;
    let rate = (containers - early) as f64 / begun.elapsed().as_secs_f64();
    let last = Look::at(&agent, &host, containers, &memory?)?;
    let after = agent.settled_metrics(&before, containers)?;
    agent.stop()?;

    let grown = |name: &str| sum(&after, name) - sum(&before, name);
    println!("{:<44}{rate:>14.0}", "named containers a second");
    println!("{:<44}{:>13.0}%", "meanwhile, of one processor", busy * 100.0);
    first.print();
    last.print();
    let is_full = containers >= FILLED;
    let judged = if is_full { "5 % at most" } else { "not judged: what it keeps is not full before" };
    println!("{:<44}{:>13.1}%  ({judged})", "growth", (last.memory / first.memory - 1.0) * 100.0);
    println!("{:<44}{:>14}", "forgotten to save memory", grown("cgtrace_evicted_total"));
    println!("{:<44}{:>14}", "failed calls lost", grown("cgtrace_events_lost_total{ring=\"attempts\""));
    println!("{:<44}{:>14}", "questions that were not answered", grown("cgtrace_unanswered_total"));
    let (lost, made) = (grown("cgtrace_events_lost_total{ring=\"lifecycle\""), grown("cgtrace_cgroups_created_total"));
    if lost > 0.0 || made < containers as f64 {
        bail!("{containers} containers were made, {made} cgroups counted, and {lost} lifecycle events lost");
    }
    if !last.is_named() {
        bail!("names are not learnt any more");
    }
    if is_full && last.memory > first.memory * GROWTH {
        bail!("memory has grown by more than 5 %");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_with_those_that_the_containers_have() {
        let containers: Vec<Container> = (0..4).map(Container::new).collect();
        let told = |number: usize, name: Value| json!({ "container": { "id": containers[number].id, "name": name } });
        let findings = json!([told(0, "worker-0".into()), told(1, Value::Null), told(2, "worker-1".into()), {}]);
        let learnt = Learnt::of(&findings, &containers);
        assert_eq!(learnt, Learnt { told: 3, named: 1, wrong: 1, asked: 4 });
        assert_eq!(Learnt::of(&json!(null), &containers), Learnt { asked: 4, ..Learnt::default() });
    }

    #[test]
    fn every_container_has_an_id_of_its_own_as_engines_give_them() {
        let ids: std::collections::HashSet<String> = (0..10_000).map(|number| Container::new(number).id).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 64 && id.bytes().all(|digit| digit.is_ascii_hexdigit())));
    }
}
