//! Reads from the host what the tracker will need to judge an input, and hands it over as inputs of their own.
//!
//! A recording holds these facts, so that a replay needs no host. What cannot be read (the process is gone already)
//! stays unknown; nothing is guessed.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::cgroupfs;
use crate::hierarchy::Hierarchy;
use crate::input::{
    About, Attempt, BootTime, Change, Event, Facts, Input, Mount, NamespaceId, Pid, Process, ProcessChange,
};
use crate::mounts;
use crate::name::Name;
use crate::oci;
use crate::process;
use crate::tracker::Tracker;

/// A mount table is read again when it is needed and older than this: mounts come and go within a namespace.
const MOUNTS_AGE: Duration = Duration::from_millis(250);
/// Mount namespaces remembered at most.
const NAMESPACES: usize = 4_096;
/// Processes whose end is waited for with a state file to look at.
const DELETERS: usize = 4_096;

/// Reads what is needed, and remembers what was read.
pub struct Gatherer {
    hierarchies: Vec<Hierarchy>,
    namespaces: HashMap<NamespaceId, Table>,
    /// Processes that are deleting a container, with its id and state file.
    deleters: HashMap<Pid, Deleter>,
    /// Cgroup mount points outside `/sys/fs/cgroup` that were found since they were last asked for.
    new_prefixes: bool,
    prefixes: HashSet<Name>,
}

/// A process that deletes a container.
struct Deleter {
    id: Name,
    state: PathBuf,
    /// Processes that see what it sees and may outlive it.
    witnesses: Vec<Pid>,
}

struct Table {
    read: Instant,
    mounts: Vec<Mount>,
}

impl Gatherer {
    /// A gatherer for a host with these hierarchies.
    pub fn new(hierarchies: Vec<Hierarchy>) -> Self {
        Self {
            hierarchies,
            namespaces: HashMap::new(),
            deleters: HashMap::new(),
            new_prefixes: false,
            prefixes: HashSet::new(),
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

    /// Completes `input`, and returns the facts that must reach the tracker before it does.
    pub fn before(&mut self, input: &mut Input, tracker: &Tracker) -> Vec<Input> {
        match input {
            Input::Event(event) => self.before_event(event, tracker),
            Input::Attempt(attempt) => self.before_attempt(attempt, tracker),
            Input::Process(process) => self.before_process(process, tracker),
            Input::Facts(_) | Input::Lost(_) | Input::Tick(_) => Vec::new(),
        }
    }

    /// The facts that `input` gives reason to look at, after the tracker has taken it in.
    pub fn after(&mut self, input: &Input, tracker: &Tracker) -> Vec<Input> {
        let Input::Process(process) = input else { return Vec::new() };
        match process.change {
            ProcessChange::Exec | ProcessChange::Seen => {
                let Some(command) = tracker.command_of(process.pid) else { return Vec::new() };
                let command = command.clone();
                if command.subcommand.as_deref() == Some("delete")
                    && self.deleters.len() < DELETERS
                    && let (Some(id), Some(state)) = (command.id.clone(), oci::state_file(&command))
                {
                    let witnesses = process.parents.iter().map(|parent| parent.pid).collect();
                    self.deleters.insert(process.pid, Deleter { id, state, witnesses });
                }
                let said = oci::read_bundle(process.pid, process.cwd.as_ref(), &command);
                let new = said.filter(|said| tracker.container_facts(&said.id) != Some(said));
                new.map(|said| Input::Facts(Facts { at: process.at, about: About::Container(said) }))
                    .into_iter()
                    .collect()
            }
            ProcessChange::Exit => {
                let Some(deleter) = self.deleters.remove(&process.pid) else { return Vec::new() };
                deleter.look(process).into_iter().collect()
            }
        }
    }

    /// The cgroup mount points outside `/sys/fs/cgroup`, if there are new ones since this was last asked.
    pub fn take_prefixes(&mut self) -> Option<Vec<Name>> {
        let mut all: Vec<Name> =
            std::mem::take(&mut self.new_prefixes).then(|| self.prefixes.iter().cloned().collect())?;
        all.sort();
        Some(all)
    }

    fn before_event(&mut self, event: &mut Event, tracker: &Tracker) -> Vec<Input> {
        if event.cgroup.truncated
            && event.change == Change::Created
            && let Some(id) = event.cgroup.id
            && let Some(hierarchy) = self.hierarchies.iter().find(|h| h.id == event.cgroup.hierarchy)
            && let Some(path) = cgroupfs::complete_path(hierarchy, id)
        {
            event.cgroup.path = path;
            event.cgroup.truncated = false;
        }
        match &event.actor {
            Some(actor) => identity(actor.pid, event.at, tracker),
            None => Vec::new(),
        }
    }

    fn before_attempt(&mut self, attempt: &mut Attempt, tracker: &Tracker) -> Vec<Input> {
        let pid = attempt.actor.pid;
        let mut facts = identity(pid, attempt.at, tracker);
        if attempt.directory.is_none() {
            if attempt.mount_namespace.is_none() {
                attempt.mount_namespace = process::mount_namespace(pid);
            }
            if let Some(namespace) = attempt.mount_namespace {
                facts.extend(self.mounts(namespace, &[pid], attempt.at));
            }
        }
        facts
    }

    fn before_process(&mut self, process: &mut Process, _tracker: &Tracker) -> Vec<Input> {
        if process.change == ProcessChange::Exit {
            return Vec::new();
        }
        // What the kernel side cannot tell cheaply is read here, if the process is still the one it was.
        if let Some(now) = process::identity(process.pid)
            && process.started.is_none_or(|started| now.started.is_none_or(|read| same_start(started, read)))
        {
            process.exe = process.exe.take().or(now.exe);
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
            Some(namespace) if !self.namespaces.contains_key(&namespace) => {
                self.mounts(namespace, &[process.pid], process.at)
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// The mount table of a namespace, if it has not been read lately and says something new.
    fn mounts(&mut self, namespace: NamespaceId, pids: &[Pid], at: BootTime) -> Vec<Input> {
        let known = self.namespaces.get(&namespace);
        if known.is_some_and(|table| table.read.elapsed() < MOUNTS_AGE) {
            return Vec::new();
        }
        let through = pids.iter().filter_map(|pid| process::mounts_of(*pid)).find(|(found, _)| *found == namespace);
        let read = match (through, known) {
            (Some((_, mounts)), _) => Some(mounts),
            // A table that was read before is better than a search through all processes for each failed call.
            (None, Some(_)) => None,
            (None, None) => process::pid_in_mount_namespace(namespace)
                .and_then(process::mounts_of)
                .filter(|(found, _)| *found == namespace)
                .map(|(_, mounts)| mounts),
        };
        let Some(mounts) = read.map(mounts::relevant) else { return Vec::new() };
        let changed = known.is_none_or(|table| table.mounts != mounts);
        for prefix in mounts::prefixes(&mounts) {
            self.new_prefixes |= self.prefixes.insert(prefix);
        }
        if self.namespaces.len() < NAMESPACES || known.is_some() {
            self.namespaces.insert(namespace, Table { read: Instant::now(), mounts: mounts.clone() });
        }
        if !changed {
            return Vec::new();
        }
        vec![Input::Facts(Facts { at, about: About::Mounts { namespace, mounts } })]
    }
}

impl Deleter {
    /// Looks for the state file, as the process that just ended would see it.
    fn look(self, ended: &Process) -> Option<Input> {
        let namespace = self.witnesses.first().copied().and_then(process::mount_namespace);
        let own = Pid(std::process::id());
        let same = |pid: &Pid| process::mount_namespace(*pid) == namespace;
        let witness = self.witnesses.iter().copied().chain([own]).find(same)?;
        let present = oci::state_present(witness, &self.state)?;
        let path = Name::new(self.state.as_os_str().as_encoded_bytes());
        let about = About::State { id: self.id, pid: ended.pid, path, present };
        Some(Input::Facts(Facts { at: ended.at, about }))
    }
}

/// What `/proc` says of a process that the kernel side has told nothing of: its record was lost.
fn identity(pid: Pid, at: BootTime, tracker: &Tracker) -> Vec<Input> {
    if tracker.knows_process(pid) {
        return Vec::new();
    }
    let Some(mut process) = process::identity(pid) else { return Vec::new() };
    process.at = at;
    vec![Input::Process(process)]
}

/// `/proc/PID/stat` tells a start time in hundredths of a second.
fn same_start(kernel: BootTime, read: BootTime) -> bool {
    kernel.0.abs_diff(read.0) <= 20_000_000
}
