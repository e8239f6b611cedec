//! Reads from the host what the tracker will need to judge an input, and hands it over as inputs of their own.
//!
//! What a stranger can hold up is asked of the readers: the answer comes later, and is given the place in the stream
//! that it would have had ([`Arrived::Awaited`]).
//!
//! This is done the moment an input arrives, before it is put in order: the process behind it may be gone a moment
//! later. A recording holds these facts, so that a replay needs no host. What cannot be read stays unknown; nothing is
//! guessed.

mod allowance;
mod looks;
mod mount_tables;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use self::looks::{Looks, Whose};
use self::mount_tables::{AHEAD, MountTables};
use crate::budget::{self, Scale, Weigh};
use crate::bundle;
use crate::bundle::ending::{Ending, Left};
use crate::cgroupfs;
use crate::cgroupfs::circumstances::Subject;
use crate::control::{self, Purpose};
use crate::errno::Errno;
use crate::hierarchy::Hierarchy;
use crate::input::{
    About, Attempt, BootTime, CallId, CgroupId, Change, Event, Facts, HierarchyId, Input, NamespaceId, Operation, Pid,
    Process, ProcessChange, Question, Stuck, Unanswered, Unread, UnreadReason,
};
use crate::machine::Machine;
use crate::mounts::{self, Watch};
use crate::name::Name;
use crate::oci::{self, RuntimeCommand};
use crate::process;
use crate::reader::{Answer, Ask, Asker, Askers, Readers, Ticket};
use crate::recent::{Parted, Recent};
use crate::root::Refused;
use crate::watcher;

/// Runtimes whose end is waited for with a state to look for.
const RUNTIMES: usize = 4_096;
/// Containers that are remembered to have been read, at most.
const CONTAINERS: usize = 65_536;
/// Processes that stay with containers, of which it is asked at most when tracing begins.
const WATCHERS: usize = 4_096;
/// Askers whose files could not be used that are remembered at most.
const UNREAD: usize = 256;
/// Long paths remembered at most.
const LONG_PATHS: usize = 4_096;
/// Processes remembered as known at most.
const PROCESSES: usize = 65_536;

/// Reads what is needed, and remembers what was read.
pub struct Gatherer {
    hierarchies: Vec<Hierarchy>,
    mounts: MountTables,
    /// Processes that more is known of than number and name, and when they ended, if they did: their last calls may
    /// arrive after that.
    known: HashMap<Pid, Option<BootTime>>,
    /// Processes whose end decides what is left of a container's state.
    runtimes: Parted<Pid, Runtime>,
    /// Those that made room for others.
    forgotten: Vec<Pid>,
    read: Read,
    /// Whose files, and what was wrong with them, was said.
    unread: BTreeSet<(Asker, UnreadReason)>,
    readers: Readers,
    askers: Askers,
    looks: Looks,
    /// What was asked and is not answered.
    pending: HashMap<Ticket, Pending>,
    /// Calls that are over although their ends were not seen.
    over: Vec<CallId>,
    /// Whole paths of cgroups whose path the kernel cut short: most such cgroups are made in another one.
    long_paths: Recent<(HierarchyId, CgroupId), Name>,
}

/// What arrived, in the order that it has in the stream.
#[derive(Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "nearly all are inputs")]
pub enum Arrived {
    /// It is here.
    Input(Input),
    /// It is being asked for, and belongs here.
    Awaited(Ticket),
}

impl Arrived {
    fn awaited(&self) -> Option<Ticket> {
        match self {
            Self::Awaited(ticket) => Some(*ticket),
            Self::Input(_) => None,
        }
    }
}

/// A runtime at whose end something may be looked for.
struct Runtime {
    /// When it was forked: its number may be given to another process.
    started: Option<BootTime>,
    asker: Asker,
    ending: Expected,
}

impl Weigh for Runtime {
    fn weigh(&self, scale: &mut Scale) {
        match &self.ending {
            Expected::Asked(_) => {}
            Expected::Known(ending) => ending.weigh(scale),
        }
    }
}

enum Expected {
    /// What to look for is being asked.
    Asked(Ticket),
    Known(Box<Ending>),
}

/// What an answer is for.
enum Pending {
    /// A process whose record waits for its command line.
    CommandLine {
        process: Box<Process>,
        /// Its end, if it has ended meanwhile.
        ended: Option<(Ticket, Box<Process>)>,
        /// It has begun another program meanwhile: what is answered may be that one's.
        is_over: bool,
    },
    Began {
        pid: Pid,
        at: BootTime,
        asker: Asker,
        /// What is said of the container was asked for; and the container, if it is to be remembered.
        container: bool,
        id: Option<Name>,
        /// It has ended meanwhile.
        ended: Option<(Ticket, Box<Process>)>,
    },
    Ended {
        pid: Pid,
        at: BootTime,
    },
    /// What a cgroup is like that a call has failed on.
    Circumstances {
        pid: Pid,
        at: BootTime,
    },
    Standing {
        at: BootTime,
        asker: Asker,
    },
    /// What a call waits for that has not returned, or has meanwhile.
    Wait {
        stuck: Box<Stuck>,
        has_returned: bool,
    },
}

impl Pending {
    fn is_record_of(&self, pid: Pid) -> bool {
        matches!(self, Self::CommandLine { process, ended: None, .. } if process.pid == pid)
    }
}

/// The containers that something was read of and that were not deleted since.
struct Read(Recent<Name, ()>);

impl Read {
    /// Whether what is said of the container is to be read: of one that is made, and of one that was there before and
    /// of which nothing was read yet.
    fn wants(&mut self, command: &RuntimeCommand) -> bool {
        let (Some(id), Some(subcommand)) = (&command.id, command.subcommand.as_deref()) else { return false };
        match subcommand {
            "delete" => self.0.take(id).is_none(),
            _ => command.makes() || self.0.get(id).is_none(),
        }
    }

    /// Whoever made room for others is read again when they are asked for.
    fn remember(&mut self, id: Name) {
        self.0.tell(id, ());
    }
}

impl Gatherer {
    /// A gatherer for a host with these hierarchies.
    pub fn new(hierarchies: Vec<Hierarchy>, readers: Readers) -> Self {
        // The agent itself may be in a mount namespace of its own.
        let host = process::mount_namespace(Pid(1));
        Self {
            hierarchies,
            mounts: MountTables::new([host, process::mount_namespace(Pid(std::process::id()))]),
            known: HashMap::new(),
            runtimes: Parted::new(RUNTIMES, budget::RUNTIMES, budget::RUNTIMES),
            forgotten: Vec::new(),
            read: Read(Recent::new(CONTAINERS, budget::READ)),
            unread: BTreeSet::new(),
            readers,
            askers: Askers { host },
            looks: Looks::new(),
            pending: HashMap::new(),
            over: Vec::new(),
            long_paths: Recent::new(LONG_PATHS, budget::LONG_PATHS),
        }
    }

    /// The mounts of every mount namespace that exists now, this process's own included.
    pub fn at_start(&mut self, at: BootTime) -> Vec<Input> {
        self.mounts.all(at)
    }

    /// Completes what just arrived, and puts the facts that belong to it before or behind it. All have its time.
    /// `knows` says of which namespaces the tracker has the mounts: it may have had to forget those of some.
    pub fn arrived(&mut self, mut input: Input, knows: &dyn Fn(NamespaceId) -> bool) -> Vec<Arrived> {
        // What is read from the host on behalf of this process is as little traced as what it does itself.
        if matches!(&input, Input::Attempt(attempt) if self.readers.are(attempt.actor.pid)) {
            return Vec::new();
        }
        let mut arrived = match &mut input {
            Input::Event(event) => self.event(event),
            Input::Attempt(attempt) => self.attempt(attempt, knows),
            Input::Stuck(stuck) => {
                self.returned(stuck);
                self.identity(stuck.actor.pid, stuck.at)
            }
            Input::Change(_) | Input::Process(_) | Input::Facts(_) | Input::Lost(_) | Input::Tick(_) => Vec::new(),
        };
        match input {
            Input::Process(process) => self.process(process),
            input => {
                let asked = match &input {
                    Input::Attempt(attempt) => self.ask_circumstances(attempt),
                    _ => None,
                };
                arrived.push(Arrived::Input(input));
                arrived.extend(asked.map(Arrived::Awaited));
                arrived
            }
        }
    }

    /// Asks what the cgroup is like that a call has failed on which was to change something there, or to open a file.
    /// `None` for other calls, and if that was asked a moment ago: what fails again and again fails for one reason.
    fn ask_circumstances(&mut self, attempt: &Attempt) -> Option<Ticket> {
        let (device, path) = self.mounts.leads(attempt)?;
        let (path, file) = match attempt.operation {
            Operation::Write => mounts::split_file(&path),
            Operation::Spawn => (path, None),
            Operation::Open if attempt.may_lack_file() && attempt.is_for_writing() => mounts::split_control_file(&path),
            Operation::Open | Operation::Read | Operation::Mkdir | Operation::Rmdir | Operation::Rename => return None,
        };
        if attempt.operation == Operation::Open && file.is_none() {
            return None;
        }
        let hierarchy = self.hierarchies.iter().find(|hierarchy| hierarchy.device == Some(device))?.clone();
        let (pid, at) = (attempt.actor.pid, attempt.at);
        let which = [pid.0.to_le_bytes(), u32::from(attempt.errno.0).to_le_bytes()].concat();
        let bytes = |name: &Option<Name>| name.as_ref().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        let about = [path.as_bytes(), b"\0", &bytes(&file), b"\0", &bytes(&attempt.value), &which].concat();
        let (key, now) = ((hierarchy.id, Name::from(about)), Instant::now());
        if !self.looks.allow(&key, now) {
            return None;
        }
        self.looks.remember(key, now);
        let opened = attempt.directory.as_ref().filter(|_| !attempt.syscall.takes_path()).map(|directory| directory.id);
        let moves = attempt.operation == Operation::Spawn
            || file.as_ref().is_some_and(|file| control::purpose(file) == Purpose::Attach);
        let value = attempt.value.clone();
        let subject = Subject { caller: pid, hierarchy, path, id: opened, file, value, moves };
        let caller = Process {
            uid: attempt.actor.uid,
            mount_namespace: attempt.mount_namespace,
            ..Process::new(at, pid, ProcessChange::Seen, attempt.actor.comm.clone())
        };
        let ticket = self.readers.ask(self.asker(&caller), &Ask::Circumstances(Box::new(subject)));
        self.pending.insert(ticket, Pending::Circumstances { pid, at });
        Some(ticket)
    }

    /// Takes in a call that has not returned, which was not told of before: it is asked what it waits for. `path`: of
    /// its cgroup, if that is known.
    pub fn stuck(&mut self, stuck: Stuck, path: Option<Name>) -> Vec<Arrived> {
        let (pid, tid) = (stuck.actor.pid, stuck.actor.tid);
        let cgroup = path.map(|path| (stuck.hierarchy, path)).filter(|_| stuck.operation == Operation::Rmdir);
        let caller = Process {
            uid: stuck.actor.uid,
            mount_namespace: process::mount_namespace(pid),
            ..Process::new(stuck.at, pid, ProcessChange::Seen, stuck.actor.comm.clone())
        };
        // It is asked first: this cannot hang, and the command line of such a process may. It is told behind it.
        let ticket = self.readers.ask(self.asker(&caller), &Ask::Wait { pid, tid, cgroup });
        let mut arrived = self.identity(pid, stuck.at);
        self.pending.insert(ticket, Pending::Wait { stuck: Box::new(stuck), has_returned: false });
        arrived.push(Arrived::Awaited(ticket));
        arrived
    }

    /// A call has returned: that it has not is not told any more.
    fn returned(&mut self, returned: &Stuck) {
        for pending in self.pending.values_mut() {
            if let Pending::Wait { stuck, has_returned } = pending {
                *has_returned |= stuck.call() == returned.call();
            }
        }
    }

    /// Calls that are over although their ends were not seen: their threads are gone.
    pub fn take_gone_calls(&mut self) -> Vec<CallId> {
        std::mem::take(&mut self.over)
    }

    /// Who is in a cgroup whose removal was just refused because it is in use: those who live first. `None` if that
    /// cannot be read, was read a moment ago, or would take more time than there is for it. What the tracker knows is
    /// older than what is asked here.
    fn occupants(&mut self, attempt: &Attempt) -> Option<Input> {
        if attempt.operation != Operation::Rmdir || attempt.errno != Errno::EBUSY {
            return None;
        }
        let is_hosts = attempt.mount_namespace.is_some_and(|namespace| self.mounts.is_hosts(namespace));
        let whose = if is_hosts && attempt.actor.uid == Some(0) { Whose::Roots } else { Whose::Others };
        let (hierarchy, path) = self.cgroup_of(attempt)?;
        self.looks.look(whose, &self.hierarchies, hierarchy, path)
    }

    /// Who is in a cgroup now, that the tracker wants to know of. `None` as for those of whom a refusal tells.
    pub fn look(&mut self, hierarchy: HierarchyId, path: Name) -> Option<Input> {
        self.looks.look(Whose::Trackers, &self.hierarchies, hierarchy, path)
    }

    /// Whether a call hangs: who removes a cgroup holds the lock of its directory, and would hold anyone who looks into
    /// it. Then that is done for none.
    pub fn look_into_none(&mut self, is_so: bool) {
        self.looks.are_into_none(is_so);
    }

    /// Where a failed call leads, by the mounts that its process sees.
    fn cgroup_of(&self, attempt: &Attempt) -> Option<(HierarchyId, Name)> {
        let (device, path) = self.mounts.leads(attempt)?;
        let hierarchy = self.hierarchies.iter().find(|hierarchy| hierarchy.device == Some(device))?;
        Some((hierarchy.id, path))
    }

    /// What the kernel side is to look for, if there is something new since this was last asked.
    pub fn take_watch(&mut self) -> Option<&Watch> {
        self.mounts.take_watch()
    }

    fn event(&mut self, event: &mut Event) -> Vec<Arrived> {
        if event.cgroup.truncated
            && event.change == Change::Created
            && let Some(id) = event.cgroup.id
            && let Some(hierarchy) = self.hierarchies.iter().find(|h| h.id == event.cgroup.hierarchy)
            && let Some(path) =
                cgroupfs::complete_path(hierarchy, id, |id| self.long_paths.get(&(hierarchy.id, id)).cloned())
        {
            self.long_paths.tell((hierarchy.id, id), path.clone());
            event.cgroup.path = path;
            event.cgroup.truncated = false;
        }
        if let (Change::Removed, Some(id)) = (event.change, event.cgroup.id) {
            self.long_paths.take(&(event.cgroup.hierarchy, id));
        }
        match &event.actor {
            Some(actor) => self.identity(actor.pid, event.at),
            None => Vec::new(),
        }
    }

    fn attempt(&mut self, attempt: &mut Attempt, knows: &dyn Fn(NamespaceId) -> bool) -> Vec<Arrived> {
        let pid = attempt.actor.pid;
        let mut facts = self.identity(pid, attempt.at);
        if attempt.needs_mounts() {
            if attempt.mount_namespace.is_none() {
                attempt.mount_namespace = process::mount_namespace(pid);
            }
            if let Some(namespace) = attempt.mount_namespace {
                let new = self.mounts.read(namespace, &[pid], attempt.at, attempt.mounts, AHEAD);
                let again = || (!knows(namespace)).then(|| self.mounts.known(namespace, attempt.at)).flatten();
                facts.extend(new.or_else(again).map(Arrived::Input));
                let is_current = self.mounts.have_seen(namespace, attempt.mounts);
                // With other mounts than the table has, the path may lead elsewhere. In the usual place, where they are
                // seldom changed, an older table is better than none.
                let is_usual = attempt.path.as_bytes().starts_with(mounts::USUAL.as_bytes());
                if !is_current && attempt.directory.is_none() && !is_usual {
                    attempt.mount_namespace = None;
                }
            }
        }
        facts.extend(self.occupants(attempt).map(Arrived::Input));
        facts
    }

    fn process(&mut self, mut process: Process) -> Vec<Arrived> {
        if process.change == ProcessChange::Exit {
            self.known.entry(process.pid).and_modify(|ended| *ended = Some(process.at));
            return self.told(process);
        }
        self.remember(process.pid);
        for pending in self.pending.values_mut() {
            if let Pending::CommandLine { process: earlier, is_over, .. } = pending {
                *is_over |= earlier.pid == process.pid;
            }
        }
        // What the kernel side cannot tell cheaply is read here, if the process is still the one it was. A link of
        // /proc names the program as its mount namespace does; the kernel side's names stop at the file system's root.
        if let Some(now) = process::identity(process.pid)
            && process.started.is_none_or(|started| now.started.is_none_or(|read| started.is_same_start(read)))
        {
            process.exe = now.exe.or(process.exe.take());
            process.cwd = process.cwd.take().or(now.cwd);
            if process.parents.is_empty() {
                process.parents = now.parents;
            }
            process.uid = process.uid.or(now.uid);
            process.mount_namespace = process.mount_namespace.or(now.mount_namespace);
            process.cgroup_namespace = process.cgroup_namespace.or(now.cgroup_namespace);
            process.started = process.started.or(now.started);
        }
        // A runtime's mounts are read while it is there, not when its first failed call is looked at. What there is
        // ahead of time is left for that call, should the mounts be others by then.
        let mounts = process.mount_namespace.and_then(|namespace| {
            // A short-lived process is gone by now; its parents see the same mounts, or are of another namespace.
            let family: Vec<Pid> =
                std::iter::once(process.pid).chain(process.parents.iter().map(|parent| parent.pid)).collect();
            self.mounts.read(namespace, &family, process.at, process.mounts, AHEAD / 2)
        });
        let mut arrived: Vec<Arrived> = mounts.map(Arrived::Input).into_iter().collect();
        if process.argv.is_none() || process.argv_truncated {
            arrived.push(self.ask_command_line(process));
        } else {
            arrived.extend(self.told(process));
        }
        arrived
    }

    /// A process that is known as far as it can be, and what its record gives reason to ask for: what is said of a
    /// container that it makes, and what is left of its state when it has ended.
    fn told(&mut self, process: Process) -> Vec<Arrived> {
        let asked = match process.change {
            ProcessChange::Exit => self.ended(&process),
            ProcessChange::Exec | ProcessChange::Seen => self.began(&process),
        };
        let at = process.at;
        let mut arrived = vec![Arrived::Input(Input::Process(process))];
        arrived.extend(asked.map(Arrived::Awaited));
        arrived.extend(self.forgotten.drain(..).map(|pid| {
            let about = About::Unanswered { pid, question: Question::State, reason: Unanswered::Refused };
            Arrived::Input(Input::Facts(Facts { at, about }))
        }));
        arrived
    }

    fn began(&mut self, process: &Process) -> Option<Ticket> {
        let is_same = |runtime: &Runtime| match (runtime.started, process.started) {
            (Some(before), Some(now)) => before.is_same_start(now),
            (None, _) | (_, None) => false,
        };
        if self.runtimes.get(&process.pid).is_some_and(|runtime| !is_same(runtime)) {
            self.runtimes.take(&process.pid);
        }
        let argv = process.argv.as_deref().unwrap_or_default();
        let command = oci::command_line(&process.comm, process.exe.as_ref(), argv);
        let is_machines = command.is_none() && Machine::started_by(argv).is_some();
        let is_left = |command: &RuntimeCommand| command.may_leave_state() && self.runtimes.get(&process.pid).is_none();
        let ending = command.as_ref().is_some_and(is_left);
        let container = is_machines || command.as_ref().is_some_and(|command| self.read.wants(command));
        if !container && !ending {
            return None;
        }
        let asker = self.asker(process);
        let ask = Ask::Began { process: Box::new(process.clone()), container, ending };
        let ticket = self.readers.ask(asker, &ask);
        if ending {
            self.expect(process.pid, Runtime { started: process.started, asker, ending: Expected::Asked(ticket) });
        }
        let is_kept = |command: &RuntimeCommand| container && command.subcommand.as_deref() != Some("delete");
        let id = command.filter(is_kept).and_then(|command| command.id);
        let about = Pending::Began { pid: process.pid, at: process.at, asker, container, id, ended: None };
        self.pending.insert(ticket, about);
        Some(ticket)
    }

    fn ended(&mut self, process: &Process) -> Option<Ticket> {
        // It may have ended before it was known what to look for, or what it was.
        let open = match self.runtimes.take(&process.pid) {
            Some(Runtime { ending: Expected::Known(ending), asker, .. }) => {
                return self.ask_what_is_left(None, asker, ending, process);
            }
            Some(Runtime { ending: Expected::Asked(began), .. }) => self.pending.get_mut(&began),
            None => {
                let records = self.pending.iter_mut().filter(|(_, pending)| pending.is_record_of(process.pid));
                records.max_by_key(|(ticket, _)| **ticket).map(|(_, pending)| pending)
            }
        };
        let (Pending::Began { ended, .. } | Pending::CommandLine { ended, .. }) = open? else { return None };
        let ticket = self.readers.reserve();
        *ended = Some((ticket, Box::new(process.clone())));
        Some(ticket)
    }

    fn ask_what_is_left(
        &mut self,
        reserved: Option<Ticket>,
        asker: Asker,
        ending: Box<Ending>,
        process: &Process,
    ) -> Option<Ticket> {
        if !ending.is_told_by(process.exit) {
            return None;
        }
        let ask = Ask::Ended { ending, process: Box::new(process.clone()) };
        let ticket = reserved.unwrap_or_else(|| self.readers.reserve());
        self.readers.ask_as(ticket, asker, &ask);
        self.pending.insert(ticket, Pending::Ended { pid: process.pid, at: process.at });
        Some(ticket)
    }

    /// Asks what the host says of a container that was there before tracing began.
    pub fn standing(&mut self, id: Name, runtime: String, at: BootTime) -> Ticket {
        let ticket = self.readers.ask(Asker::Start, &Ask::Standing { id, runtime });
        self.pending.insert(ticket, Pending::Standing { at, asker: Asker::Start });
        ticket
    }

    /// Asks what is said of the containers that processes stay with which were there before tracing began. Those of the
    /// host's root are known to whoever is asked about a standing container.
    pub fn watched(&mut self, at: BootTime) -> Vec<Ticket> {
        let processes = process::named(&watcher::PROGRAMS).into_iter().filter_map(process::identity);
        let askers = processes.map(|process| (self.asker(&process), process)).take(WATCHERS);
        let others: Vec<_> = askers.filter(|(asker, _)| *asker != Asker::Host).collect();
        let mut ask = |(asker, process)| {
            let ticket = self.readers.ask(asker, &Ask::Watched { process: Box::new(process) });
            self.pending.insert(ticket, Pending::Standing { at, asker });
            ticket
        };
        others.into_iter().map(&mut ask).collect()
    }

    /// Whether anything that was asked is not answered.
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Waits until something is answered, or so long.
    pub fn wait(&self, most: Duration) {
        self.readers.wait(most);
    }

    /// What was answered since this was last asked, and what follows from it.
    pub fn answered(&mut self) -> Vec<(Ticket, Vec<Arrived>)> {
        let answers = self.readers.answers();
        answers.into_iter().flat_map(|(ticket, answer)| self.answer(ticket, answer)).collect()
    }

    /// No answer is waited for any more.
    pub fn give_up(&mut self) -> Vec<(Ticket, Vec<Arrived>)> {
        let mut told = Vec::new();
        // What follows from an answer may be another question.
        while !self.pending.is_empty() {
            let mut open: Vec<Ticket> = self.pending.keys().copied().collect();
            open.sort();
            told.extend(open.into_iter().flat_map(|ticket| self.answer(ticket, Err(Unanswered::Timeout))));
        }
        told
    }

    fn answer(&mut self, ticket: Ticket, answer: Result<Answer, Unanswered>) -> Vec<(Ticket, Vec<Arrived>)> {
        let Some(pending) = self.pending.remove(&ticket) else { return Vec::new() };
        let fact = |at, about| Arrived::Input(Input::Facts(Facts { at, about }));
        let unanswered = |at, pid, question, answer: &Result<Answer, Unanswered>| {
            let reason = answer.as_ref().err().copied();
            reason.map(|reason| fact(at, About::Unanswered { pid, question, reason }))
        };
        match pending {
            Pending::CommandLine { mut process, ended, is_over } => {
                let no = unanswered(process.at, process.pid, Question::CommandLine, &answer);
                if let Ok(Answer::CommandLine(Some((argv, truncated)))) = answer
                    && !is_over
                {
                    (process.argv, process.argv_truncated) = (Some(argv), truncated);
                }
                let pid = process.pid;
                let told = self.told(*process);
                let mut answered = Vec::new();
                if let Some(end) = ended {
                    let began = told.iter().find_map(Arrived::awaited);
                    match began.and_then(|began| self.pending.get_mut(&began)) {
                        Some(Pending::Began { ended, .. }) => *ended = Some(end),
                        _ => answered.push((end.0, Vec::new())),
                    }
                    self.runtimes.take(&pid);
                }
                answered.push((ticket, no.into_iter().chain(told).collect()));
                answered
            }
            Pending::Began { pid, at, asker, container, id, ended } => {
                let question = if container { Question::Container } else { Question::State };
                let no = unanswered(at, pid, question, &answer);
                let (said, refused, ending) = match answer {
                    Ok(Answer::Began { container, refused, ending }) => (container, refused, ending),
                    _ => (None, Vec::new(), None),
                };
                let about = match &said {
                    Some(Ok(facts)) => Some(facts.id.clone()),
                    Some(Err(_)) | None => id.clone(),
                };
                if let (Some(Ok(_)), Some(id)) = (&said, id) {
                    self.read.remember(id);
                }
                let unread = refused.into_iter().filter_map(|Refused { path, reason }| {
                    Some(Unread { id: about.clone()?, pid: Some(pid), path: Some(path), reason })
                });
                let mut unread: Vec<Unread> = unread.collect();
                let said = said.and_then(|said| match said {
                    Ok(facts) => Some(About::Container(*facts)),
                    Err(nothing) => {
                        unread.push(nothing);
                        None
                    }
                });
                let said = said.into_iter().chain(self.unread(asker, unread)).map(|about| fact(at, about));
                let mut told = vec![(ticket, no.into_iter().chain(said).collect())];
                match (ending, ended) {
                    (Some(ending), Some((reserved, process))) => {
                        if self.ask_what_is_left(Some(reserved), asker, ending, &process).is_none() {
                            told.push((reserved, Vec::new()));
                        }
                    }
                    (None, Some((reserved, _))) => told.push((reserved, Vec::new())),
                    (ending, None) => self.expect_as_told(pid, ticket, ending),
                }
                told
            }
            Pending::Ended { pid, at } => {
                let no = unanswered(at, pid, Question::State, &answer);
                let left = match answer {
                    Ok(Answer::Ended(left)) => left,
                    _ => None,
                };
                let said = left.into_iter().flat_map(|Left { id, path, present, error }| {
                    let failure = error.map(|message| About::Failure { id: id.clone(), pid, message });
                    [Some(About::State { id, pid, path, present }), failure]
                });
                vec![(ticket, no.into_iter().chain(said.flatten().map(|about| fact(at, about))).collect())]
            }
            Pending::Circumstances { pid, at } => {
                // In a flood most are refused: what was not read is unknown, and need not be said for each.
                let no = unanswered(at, pid, Question::Circumstances, &answer)
                    .filter(|_| !matches!(answer, Err(Unanswered::Refused)));
                let said = match answer {
                    Ok(Answer::Circumstances(said)) => said.map(About::Circumstances),
                    _ => None,
                };
                vec![(ticket, no.into_iter().chain(said.map(|about| fact(at, about))).collect())]
            }
            Pending::Wait { mut stuck, has_returned } => {
                if has_returned {
                    return vec![(ticket, Vec::new())];
                }
                let no = unanswered(stuck.at, stuck.actor.pid, Question::Wait, &answer);
                match answer {
                    Ok(Answer::Wait(Some(wait))) => (stuck.waits_in, stuck.exiting) = (wait.waits_in, wait.exiting),
                    Ok(Answer::Wait(None)) => {
                        self.over.push(stuck.call());
                        return vec![(ticket, Vec::new())];
                    }
                    _ => {}
                }
                vec![(ticket, no.into_iter().chain([Arrived::Input(Input::Stuck(*stuck))]).collect())]
            }
            Pending::Standing { at, asker } => {
                let said = match answer {
                    Ok(Answer::Standing(said)) => *said,
                    _ => bundle::Said::default(),
                };
                let unread = self.unread(asker, said.unread);
                let told = said.facts.into_iter().map(About::Container).chain(unread);
                vec![(ticket, told.map(|about| fact(at, about)).collect())]
            }
        }
    }

    /// Files that could not be used, for the stream. Of each asker's the first one of a kind is said, too.
    fn unread(&mut self, asker: Asker, unread: Vec<Unread>) -> Vec<About> {
        for Unread { path, reason, .. } in &unread {
            let is_strange = match reason {
                UnreadReason::NotAFile | UnreadReason::TooLarge | UnreadReason::Malformed => true,
                // That happens, and nobody need do anything about it.
                UnreadReason::ProcessGone | UnreadReason::NotReadable => false,
            };
            let is_new = is_strange && self.unread.len() < UNREAD && self.unread.insert((asker, *reason));
            if let Some(path) = path.as_ref().filter(|_| is_new) {
                say!(
                    "warning: {}: {} (named by {asker}): containers may have no name or image; said once",
                    path.printable(),
                    reason.as_str()
                );
            }
        }
        unread.into_iter().map(About::Unread).collect()
    }

    /// Now it is known what to look for at the end of a runtime, or that there is nothing.
    fn expect_as_told(&mut self, pid: Pid, began: Ticket, ending: Option<Box<Ending>>) {
        let is_asked = |runtime: &Runtime| matches!(runtime.ending, Expected::Asked(asked) if asked == began);
        if !self.runtimes.get(&pid).is_some_and(is_asked) {
            return;
        }
        if let (Some(runtime), Some(ending)) = (self.runtimes.take(&pid), ending) {
            self.expect(pid, Runtime { ending: Expected::Known(ending), ..runtime });
        }
    }

    /// The end of a runtime is waited for; that of another one may have to be forgotten.
    fn expect(&mut self, pid: Pid, runtime: Runtime) {
        let forgotten = self.runtimes.tell(pid, runtime.asker == Asker::Host, runtime);
        self.forgotten.extend(forgotten.into_iter().map(|(pid, _)| pid));
    }

    /// What `/proc` says of a process that the kernel side has told nothing of: its record was lost.
    fn identity(&mut self, pid: Pid, at: BootTime) -> Vec<Arrived> {
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
        vec![self.ask_command_line(process)]
    }

    /// On whose account a process is asked about.
    fn asker(&self, process: &Process) -> Asker {
        let is_user = process.uid.is_some_and(|uid| uid != 0);
        self.askers.of(process, is_user.then(|| process::owner_of_user_namespace(process.pid)).flatten())
    }

    fn ask_command_line(&mut self, process: Process) -> Arrived {
        let ask = Ask::CommandLine { pid: process.pid, started: process.started };
        let ticket = self.readers.ask(self.asker(&process), &ask);
        self.pending.insert(ticket, Pending::CommandLine { process: Box::new(process), ended: None, is_over: false });
        Arrived::Awaited(ticket)
    }

    fn remember(&mut self, pid: Pid) {
        if self.known.len() >= PROCESSES {
            // Whoever matters again is read again.
            self.known.clear();
        }
        self.known.insert(pid, None);
    }
}
