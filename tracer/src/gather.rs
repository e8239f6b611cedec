//! Reads from the host what the tracker will need to judge an input, and hands it over as inputs of their own.
//!
//! This is done the moment an input arrives, before it is put in order: the process behind it may be gone a moment later.
//! A recording holds these facts, so that a replay needs no host. What cannot be read stays unknown; nothing is guessed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::cgroupfs;
use crate::hierarchy::Hierarchy;
use crate::input::{
    About, Attempt, BootTime, CgroupId, Change, Event, Facts, HierarchyId, Input, Mount, NamespaceId, Pid, Process,
    ProcessChange,
};
use crate::mounts::{self, Watch};
use crate::name::Name;
use crate::oci;
use crate::process;

/// Reading mount tables may take one part in so many of the time: mounts come and go within a namespace, and the number
/// of a namespace that is gone is given to the next one.
const MOUNTS_SHARE: u32 = 10;
/// Mount namespaces remembered at most.
const NAMESPACES: usize = 4_096;
/// Processes whose end is waited for with a state file to look at.
const DELETERS: usize = 4_096;
/// Long paths remembered at most.
const LONG_PATHS: usize = 4_096;
/// Processes remembered as known at most.
const PROCESSES: usize = 65_536;

/// Reads what is needed, and remembers what was read.
pub struct Gatherer {
    hierarchies: Vec<Hierarchy>,
    namespaces: HashMap<NamespaceId, Table>,
    /// Processes that more is known of than number and name, and when they ended, if they did: their last calls may
    /// arrive after that.
    known: HashMap<Pid, Option<BootTime>>,
    /// Processes that are deleting a container, with its id and state file.
    deleters: HashMap<Pid, Deleter>,
    /// Whole paths of cgroups whose path the kernel cut short: most such cgroups are made in another one.
    long_paths: HashMap<(HierarchyId, CgroupId), Name>,
    /// What the kernel side is to look for, and whether something is new in it since it was last asked for.
    watch: Watch,
    watch_is_new: bool,
}

/// A process that deletes a container.
struct Deleter {
    id: Name,
    state: PathBuf,
    /// Its mount namespace.
    namespace: Option<NamespaceId>,
    /// Processes that see what it sees and may outlive it.
    witnesses: Vec<Pid>,
}

struct Table {
    read: Instant,
    /// How long the reading took.
    cost: Duration,
    /// The process that it was read of.
    through: Pid,
    mounts: Vec<Mount>,
}

impl Table {
    fn is_fresh(&self) -> bool {
        self.read.elapsed() < self.cost * MOUNTS_SHARE
    }
}

impl Gatherer {
    /// A gatherer for a host with these hierarchies.
    pub fn new(hierarchies: Vec<Hierarchy>) -> Self {
        Self {
            hierarchies,
            namespaces: HashMap::new(),
            known: HashMap::new(),
            deleters: HashMap::new(),
            long_paths: HashMap::new(),
            watch: Watch::default(),
            watch_is_new: false,
        }
    }

    /// The mounts of every mount namespace that exists now, this process's own included.
    pub fn at_start(&mut self, at: BootTime) -> Vec<Input> {
        let mut facts = Vec::new();
        for (namespace, pid) in process::mount_namespaces() {
            facts.extend(self.mounts(namespace, &[pid], at));
        }
        facts
    }

    /// Completes what just arrived, and puts the facts that belong to it before or behind it. All have its time.
    pub fn arrived(&mut self, mut input: Input) -> Vec<Input> {
        let mut facts = match &mut input {
            Input::Event(event) => self.event(event),
            Input::Attempt(attempt) => self.attempt(attempt),
            Input::Process(process) => self.process(process),
            Input::Facts(_) | Input::Lost(_) | Input::Tick(_) => Vec::new(),
        };
        let behind = match &input {
            Input::Process(process) => self.consequences(process),
            _ => Vec::new(),
        };
        facts.push(input);
        facts.extend(behind);
        facts
    }

    /// What the kernel side is to look for, if there is something new since this was last asked.
    pub fn take_watch(&mut self) -> Option<&Watch> {
        std::mem::take(&mut self.watch_is_new).then_some(&self.watch)
    }

    fn event(&mut self, event: &mut Event) -> Vec<Input> {
        if event.cgroup.truncated
            && event.change == Change::Created
            && let Some(id) = event.cgroup.id
            && let Some(hierarchy) = self.hierarchies.iter().find(|h| h.id == event.cgroup.hierarchy)
            && let Some(path) =
                cgroupfs::complete_path(hierarchy, id, |id| self.long_paths.get(&(hierarchy.id, id)).cloned())
        {
            if self.long_paths.len() >= LONG_PATHS {
                self.long_paths.clear();
            }
            self.long_paths.insert((hierarchy.id, id), path.clone());
            event.cgroup.path = path;
            event.cgroup.truncated = false;
        }
        if let (Change::Removed, Some(id)) = (event.change, event.cgroup.id) {
            self.long_paths.remove(&(event.cgroup.hierarchy, id));
        }
        match &event.actor {
            Some(actor) => self.identity(actor.pid, event.at),
            None => Vec::new(),
        }
    }

    fn attempt(&mut self, attempt: &mut Attempt) -> Vec<Input> {
        let pid = attempt.actor.pid;
        let mut facts = self.identity(pid, attempt.at);
        if attempt.needs_mounts() {
            if attempt.mount_namespace.is_none() {
                attempt.mount_namespace = process::mount_namespace(pid);
            }
            if let Some(namespace) = attempt.mount_namespace {
                facts.extend(self.mounts(namespace, &[pid], attempt.at));
            }
        }
        facts
    }

    fn process(&mut self, process: &mut Process) -> Vec<Input> {
        if process.change == ProcessChange::Exit {
            self.known.entry(process.pid).and_modify(|ended| *ended = Some(process.at));
            return Vec::new();
        }
        self.remember(process.pid);
        // What the kernel side cannot tell cheaply is read here, if the process is still the one it was. A link of
        // /proc names the program as its mount namespace does; the kernel side's names stop at the file system's root.
        if let Some(now) = process::identity(process.pid)
            && process.started.is_none_or(|started| now.started.is_none_or(|read| started.is_same_start(read)))
        {
            process.exe = now.exe.or(process.exe.take());
            process.cwd = process.cwd.take().or(now.cwd);
            if process.argv.is_none() || process.argv_truncated && now.argv.is_some() {
                process.argv = now.argv;
                process.argv_truncated = now.argv_truncated;
            }
            if process.parents.is_empty() {
                process.parents = now.parents;
            }
            process.uid = process.uid.or(now.uid);
            process.mount_namespace = process.mount_namespace.or(now.mount_namespace);
            process.cgroup_namespace = process.cgroup_namespace.or(now.cgroup_namespace);
            process.started = process.started.or(now.started);
        }
        // A runtime's mounts are read while it is there, not when its first failed call is looked at.
        match process.mount_namespace {
            Some(namespace) => {
                // A short-lived process is gone by now; its parents see the same mounts, or are of another namespace.
                let family: Vec<Pid> =
                    std::iter::once(process.pid).chain(process.parents.iter().map(|parent| parent.pid)).collect();
                self.mounts(namespace, &family, process.at)
            }
            None => Vec::new(),
        }
    }

    /// What a process record gives reason to look at: the bundle of a container that is made, the state of one that was
    /// deleted.
    fn consequences(&mut self, process: &Process) -> Vec<Input> {
        if process.change == ProcessChange::Exit {
            let deleter = self.deleters.remove(&process.pid);
            return deleter.and_then(|deleter| deleter.look(process)).into_iter().collect();
        }
        let argv = process.argv.as_deref().unwrap_or_default();
        let Some(command) = oci::command_line(&process.comm, process.exe.as_ref(), argv) else { return Vec::new() };
        if command.subcommand.as_deref() == Some("delete")
            && self.deleters.len() < DELETERS
            && let (Some(id), Some(state)) = (command.id.clone(), oci::state_file(&command))
        {
            let witnesses = process.parents.iter().map(|parent| parent.pid).collect();
            let namespace = process.mount_namespace;
            self.deleters.insert(process.pid, Deleter { id, state, namespace, witnesses });
        }
        let said = oci::read_bundle(process.pid, process.cwd.as_ref(), &command);
        said.map(|said| Input::Facts(Facts { at: process.at, about: About::Container(said) })).into_iter().collect()
    }

    /// The mount table of a namespace, if it says something new. `pids` may be in it.
    fn mounts(&mut self, namespace: NamespaceId, pids: &[Pid], at: BootTime) -> Vec<Input> {
        let known = self.namespaces.get(&namespace);
        if known.is_some_and(Table::is_fresh) {
            return Vec::new();
        }
        let read = Instant::now();
        let of =
            |pid| process::mounts_of(pid).filter(|(found, _)| *found == namespace).map(|(_, mounts)| (pid, mounts));
        let likely = pids.iter().copied().chain(known.map(|table| table.through));
        // A table that was read before is better than a search through all processes for each failed call.
        let found = likely.filter_map(of).next().or_else(|| match known {
            Some(_) => None,
            None => process::pid_in_mount_namespace(namespace).and_then(of),
        });
        let Some((through, mounts)) = found.map(|(pid, mounts)| (pid, mounts::relevant(mounts))) else {
            return Vec::new();
        };
        let changed = known.is_none_or(|table| table.mounts != mounts);
        self.watch_is_new |= self.watch.learn(&mounts);
        if self.namespaces.len() >= NAMESPACES && known.is_none() {
            // The one that was read longest ago makes room; if it lives, it is read again when it matters.
            let oldest = self.namespaces.iter().min_by_key(|(_, table)| table.read).map(|(namespace, _)| *namespace);
            oldest.and_then(|oldest| self.namespaces.remove(&oldest));
        }
        self.namespaces.insert(namespace, Table { read, cost: read.elapsed(), through, mounts: mounts.clone() });
        if !changed {
            return Vec::new();
        }
        vec![Input::Facts(Facts { at, about: About::Mounts { namespace, mounts } })]
    }

    /// What `/proc` says of a process that the kernel side has told nothing of: its record was lost.
    fn identity(&mut self, pid: Pid, at: BootTime) -> Vec<Input> {
        if self.known.get(&pid).is_some_and(|ended| ended.is_none_or(|ended| at <= ended)) {
            return Vec::new();
        }
        self.remember(pid);
        let Some(mut process) = process::identity(pid) else { return Vec::new() };
        process.at = at;
        vec![Input::Process(process)]
    }

    fn remember(&mut self, pid: Pid) {
        if self.known.len() >= PROCESSES {
            // Whoever matters again is read again.
            self.known.clear();
        }
        self.known.insert(pid, None);
    }
}

impl Deleter {
    /// Looks for the state file, as the process that just ended would see it.
    fn look(self, ended: &Process) -> Option<Input> {
        let namespace = self.namespace?;
        let own = Pid(std::process::id());
        let same = |pid: &Pid| process::mount_namespace(*pid) == Some(namespace);
        let family = self.witnesses.iter().copied().chain([own]).find(same);
        let witness = family.or_else(|| process::pid_in_mount_namespace(namespace))?;
        let present = oci::state_present(witness, &self.state)?;
        let path = Name::new(self.state.as_os_str().as_encoded_bytes());
        let about = About::State { id: self.id, pid: ended.pid, path, present };
        Some(Input::Facts(Facts { at: ended.at, about }))
    }
}
