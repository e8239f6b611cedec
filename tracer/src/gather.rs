//! Reads from the host what the tracker will need to judge an input, and hands it over as inputs of their own.
//!
//! This is done the moment an input arrives, before it is put in order: the process behind it may be gone a moment later.
//! A recording holds these facts, so that a replay needs no host. What cannot be read stays unknown; nothing is guessed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::cgroupfs;
use crate::hierarchy::Hierarchy;
use crate::input::{
    About, Attempt, BootTime, CgroupId, Change, Event, Exit, Facts, HierarchyId, Input, Mount, MountChanges,
    NamespaceId, Pid, Process, ProcessChange,
};
use crate::mounts::{self, Watch};
use crate::name::Name;
use crate::oci::state::{self, Files, Surroundings};
use crate::oci::{self, RuntimeCommand, bundle};
use crate::process;
use crate::recent::Recent;
use crate::root::Root;

/// Reading mount tables may take one part in so many of the time: mounts come and go within a namespace, and the number
/// of a namespace that is gone is given to the next one.
const MOUNTS_SHARE: u32 = 10;
/// Where cgroupfs is mounted everywhere.
const USUAL: &[u8] = b"/sys/fs/cgroup";
/// A namespace of which nothing is known yet, or whose mounts were changed, is read before its time, up to this.
const AHEAD: Duration = Duration::from_secs(2);
/// Processes whose end is waited for with a state to look for.
const ENDINGS: usize = 4_096;
/// Long paths remembered at most.
const LONG_PATHS: usize = 4_096;
/// Processes remembered as known at most.
const PROCESSES: usize = 65_536;

/// Reads what is needed, and remembers what was read.
pub struct Gatherer {
    hierarchies: Vec<Hierarchy>,
    /// One that made room for others is read again when it matters, if it lives.
    namespaces: Recent<NamespaceId, Table>,
    budget: Budget,
    /// Processes that more is known of than number and name, and when they ended, if they did: their last calls may
    /// arrive after that.
    known: HashMap<Pid, Option<BootTime>>,
    /// Processes whose end decides what is left of a container's state.
    endings: HashMap<Pid, Ending>,
    bundles: bundle::Reader,
    /// Whole paths of cgroups whose path the kernel cut short: most such cgroups are made in another one.
    long_paths: HashMap<(HierarchyId, CgroupId), Name>,
    /// What the kernel side is to look for, and whether something is new in it since it was last asked for.
    watch: Watch,
    watch_is_new: bool,
}

/// A process after whose end the state of a container is looked for.
struct Ending {
    id: Name,
    /// Only if it failed: it makes a container, and leaves state if it succeeds.
    only_failed: bool,
    /// No state was there when it began: what is there after it is its own. `false` if nobody could look in time.
    was_missing: bool,
    files: Files,
    /// When the process was forked: its number may be given to another one.
    started: Option<BootTime>,
    /// Its mount namespace, and its root directory in that. `None` for one that was gone before it could be asked; then the
    /// root is taken to be its parent's.
    namespace: NamespaceId,
    root: Option<(u64, u64)>,
    /// Processes that see what it sees and may outlive it.
    witnesses: Vec<Pid>,
}

struct Table {
    read: Instant,
    /// How long the reading took.
    cost: Duration,
    /// The process that it was read of.
    through: Pid,
    /// The mounts were read after so many changes.
    changes: Option<MountChanges>,
    mounts: Vec<Mount>,
    /// How many mounts it has, if those are too many to be kept.
    too_many: u64,
}

crate::budget::weigh! { Table: mounts; }

/// How much time all readings together may take.
struct Budget {
    /// What was read so far is paid for by then.
    paid_at: Instant,
}

impl Budget {
    /// Whether something may be read now, if that may be paid for later by so much.
    fn allows(&self, ahead: Duration) -> bool {
        self.paid_at <= Instant::now() + ahead
    }

    fn charge(&mut self, cost: Duration) {
        self.paid_at = self.paid_at.max(Instant::now()) + cost * MOUNTS_SHARE;
    }
}

impl Table {
    /// Whether it was read after these changes. Without the kernel's count it is taken for that.
    fn has_seen(&self, changes: Option<MountChanges>) -> bool {
        changes.is_none_or(|changes| self.changes.is_some_and(|seen| seen.has_seen(changes)))
    }

    fn is_fresh(&self) -> bool {
        self.read.elapsed() < self.cost * MOUNTS_SHARE
    }
}

impl Gatherer {
    /// A gatherer for a host with these hierarchies.
    pub fn new(hierarchies: Vec<Hierarchy>) -> Self {
        Self {
            hierarchies,
            namespaces: mounts::tables(),
            budget: Budget { paid_at: Instant::now() },
            known: HashMap::new(),
            endings: HashMap::new(),
            bundles: bundle::Reader::default(),
            long_paths: HashMap::new(),
            watch: Watch::default(),
            watch_is_new: false,
        }
    }

    /// The mounts of every mount namespace that exists now, this process's own included.
    pub fn at_start(&mut self, at: BootTime) -> Vec<Input> {
        let mut facts = Vec::new();
        for (namespace, pid) in process::mount_namespaces() {
            facts.extend(self.mounts(namespace, &[pid], at, None));
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
                facts.extend(self.mounts(namespace, &[pid], attempt.at, attempt.mounts));
                let table = self.namespaces.get(&namespace);
                let is_current = table.is_some_and(|table| table.has_seen(attempt.mounts));
                // With other mounts than the table has, the path may lead elsewhere. In the usual place, where they are seldom
                // changed, an older table is better than none.
                if !is_current && attempt.directory.is_none() && !attempt.path.as_bytes().starts_with(USUAL) {
                    attempt.mount_namespace = None;
                }
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
                self.mounts(namespace, &family, process.at, None)
            }
            None => Vec::new(),
        }
    }

    /// What a process record gives reason to look at: what is said of a container that is made, and what is left of its state
    /// when a process that deletes it, or fails to make it, has ended.
    fn consequences(&mut self, process: &Process) -> Vec<Input> {
        if process.change == ProcessChange::Exit {
            let ending = self.endings.remove(&process.pid);
            return ending.and_then(|ending| ending.look(process)).into_iter().collect();
        }
        let is_same = |ending: &Ending| match (ending.started, process.started) {
            (Some(before), Some(now)) => before.is_same_start(now),
            (None, _) | (_, None) => false,
        };
        if self.endings.get(&process.pid).is_some_and(|ending| !is_same(ending)) {
            self.endings.remove(&process.pid);
        }
        let argv = process.argv.as_deref().unwrap_or_default();
        let Some(command) = oci::command_line(&process.comm, process.exe.as_ref(), argv) else { return Vec::new() };
        if self.endings.len() >= ENDINGS {
            // The ends of some were lost.
            self.endings.retain(|pid, ending| process::mount_namespace(*pid) == Some(ending.namespace));
        }
        if !self.endings.contains_key(&process.pid)
            && self.endings.len() < ENDINGS
            && let Some(ending) = Ending::of(process, &command)
        {
            self.endings.insert(process.pid, ending);
        }
        let about = match self.bundles.read(process, &command) {
            Some(Ok(said)) => About::Container(said),
            Some(Err(unread)) => About::Unread(unread),
            None => return Vec::new(),
        };
        vec![Input::Facts(Facts { at: process.at, about })]
    }

    /// The mount table of a namespace, if it says something new. `pids` may be in it.
    fn mounts(
        &mut self,
        namespace: NamespaceId,
        pids: &[Pid],
        at: BootTime,
        changes: Option<MountChanges>,
    ) -> Vec<Input> {
        let known = self.namespaces.get(&namespace);
        // Where it is known whether mounts were changed, that decides, and not how long ago the table was read.
        let is_current = known.is_some_and(|table| table.has_seen(changes));
        let is_fresh = if changes.is_some() { is_current } else { known.is_some_and(Table::is_fresh) };
        let ahead = if known.is_none() || changes.is_some() { AHEAD } else { Duration::ZERO };
        if is_fresh || !self.budget.allows(ahead) {
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
        let found = found.map(|(pid, mounts)| (pid, mounts::relevant(mounts)));
        let cost = read.elapsed();
        self.budget.charge(cost);
        let Some((through, (mounts, too_many))) = found else { return Vec::new() };
        let changed = known.is_none_or(|table| table.mounts != mounts || table.too_many != too_many);
        self.watch_is_new |= self.watch.learn(&mounts);
        let changes = changes.or(known.and_then(|table| table.changes));
        let table = Table { read, cost, through, changes, mounts: mounts.clone(), too_many };
        self.namespaces.tell(namespace, table);
        if !changed {
            return Vec::new();
        }
        vec![Input::Facts(Facts { at, about: About::Mounts { namespace, mounts, too_many } })]
    }

    /// What `/proc` says of a process that the kernel side has told nothing of: its record was lost.
    fn identity(&mut self, pid: Pid, at: BootTime) -> Vec<Input> {
        if self.known.get(&pid).is_some_and(|ended| ended.is_none_or(|ended| at <= ended)) {
            return Vec::new();
        }
        let Some(mut process) = process::identity(pid) else { return Vec::new() };
        // One that may have begun after that is another one, which was given the number of one that is gone.
        if process.started.is_some_and(|started| !started.is_surely_before(at)) {
            return Vec::new();
        }
        self.remember(pid);
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

impl Ending {
    /// `None` if the end says nothing of any state, or if it is not known where that would be.
    fn of(process: &Process, command: &RuntimeCommand) -> Option<Self> {
        let only_failed = match command.subcommand.as_deref() {
            Some("delete") => false,
            // What `--keep` leaves is wanted.
            Some("create" | "run") if !command.keep => true,
            _ => return None,
        };
        let files = state::files(command, &Surroundings::of(process.pid))?;
        let mut ending = Self {
            id: command.id.clone()?,
            only_failed,
            was_missing: false,
            files,
            started: process.started,
            namespace: process.mount_namespace?,
            root: process::root_identity(process.pid),
            witnesses: process.parents.iter().map(|parent| parent.pid).collect(),
        };
        // A state that is there before it begins is another's, whose id it was given.
        let found = || Some(ending.files.look(&Root::of(process.pid)?)?.1);
        match only_failed.then(found).flatten() {
            Some(true) => return None,
            Some(false) => ending.was_missing = true,
            None => {}
        }
        Some(ending)
    }

    /// Looks for the state, as the process that just ended would see it.
    fn look(self, ended: &Process) -> Option<Input> {
        if self.only_failed && ended.exit.is_none_or(Exit::is_success) {
            return None;
        }
        let own = Pid(std::process::id());
        let same = |pid: &Pid| {
            process::mount_namespace(*pid) == Some(self.namespace)
                && (self.root.is_none() || process::root_identity(*pid) == self.root)
        };
        let end = process::clock().unix_ns(ended.at);
        let seen_by = |witness: Pid| {
            let root = Root::of(witness).filter(|_| same(&witness))?;
            let seen = self.files.left(&root, end).map(|(path, present)| (path.to_path_buf(), present));
            // A parent may be gone by now, and with the last one in it a mount namespace is, with its files.
            same(&witness).then_some(seen)
        };
        let family = [own].into_iter().chain(self.witnesses.iter().copied());
        let strangers = || process::pids_in_mount_namespace(self.namespace).find_map(seen_by);
        let (path, present) = family.filter_map(seen_by).next().or_else(strangers)??;
        if present && self.only_failed && !self.was_missing {
            return None;
        }
        let path = Name::new(path.as_os_str().as_encoded_bytes());
        let about = About::State { id: self.id, pid: ended.pid, path, present };
        Some(Input::Facts(Facts { at: ended.at, about }))
    }
}
