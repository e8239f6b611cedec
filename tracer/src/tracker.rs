//! The tracker: takes inputs one by one and says what they mean.
//!
//! It keeps what is true of every cgroup and of every process that matters, fills in the derived fields of each input,
//! and tells stories of failed teardowns as findings. It does no I/O, reads no clock and cannot fail: the same inputs
//! give the same findings, on any machine.
//!
//! What it knows is kept in [`crate::state`]; which kinds of finding there are, and what each claims, is in
//! [`crate::rules`].

mod command;
mod containers;
mod nameless;
mod starts;
mod tables;
mod telling;
mod told;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::budget;
use crate::container::{Container, Owner};
use crate::control;
use crate::engine;
use crate::errno::Errno;
use crate::findings::{Finding, FindingAttempt};
use crate::hierarchy::Header;
use crate::input::{
    About, Attempt, BootTime, CallId, Cgroup, CgroupId, Change, ContainerFacts, Device, Directory, Event, Exit, Facts,
    HierarchyId, Input, Mount, NamespaceId, Operation, Pid, Process, ProcessChange, Question, Seq, Stuck, WalkedAgain,
    Written,
};
use crate::mounts::{self, MountTable};
use crate::name::{Name, components};
use crate::oci;
use crate::recent::Recent;
use crate::rules::Rules;
use crate::state::{
    Cgroups, Coverage, Creation, End, Found, InFlight, Kernel, Key, Known, Makers, Note, Notes, Place, Placings,
    Processes, Set, Settings, StateSeen, Stories,
};
use command::Command;
use nameless::Nameless;
use tables::Tables;
use told::Told;

/// Old things are dropped this often.
const SWEEP: Duration = Duration::from_secs(10);
/// What is kept for a day, and what is only kept to be had sooner, is looked through this often.
const SWEEP_OF_FACTS: Duration = Duration::from_secs(60 * 60);
/// cgroup file systems kept at most: a kernel has a dozen, and a trace file names as many as it likes.
const HIERARCHIES: usize = 256;

/// What the tracker knows.
#[derive(Debug)]
pub struct Tracker {
    rules: Rules,
    hierarchies: HashMap<Device, HierarchyId>,
    /// cgroup file systems that there was no room for.
    hierarchies_beyond: u64,
    tables: Tables,
    told: Told,
    nameless: Nameless,
    /// What a name alone says, so that it need not be worked out again. Nothing is lost with one that makes room.
    owners: Recent<Name, Owner>,
    kernel: Kernel,
    cgroups: Cgroups,
    makers: Makers,
    placings: Placings,
    settings: Settings,
    in_flight: InFlight,
    /// v1's hierarchy of devices.
    devices: Option<HierarchyId>,
    processes: Processes,
    coverage: Coverage,
    command: Command,
    notes: Notes,
    stories: Stories,
    now: BootTime,
    next_sweep: BootTime,
    next_sweep_of_facts: BootTime,
    /// Containers of which something was said when their cgroups may have been there already, and when those are given
    /// it; whether that is another container than before.
    late: HashMap<Name, bool>,
    next_naming: BootTime,
    findings: Vec<Finding>,
    spans: Vec<Span>,
    /// Cgroups that it is to be looked into.
    looks: Vec<(HierarchyId, Name)>,
    unseen: Option<u64>,
}

/// A phase of a cgroup's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// From its creation to its removal.
    Lifetime,
    /// From the end of its last process to its release.
    Teardown,
    /// From its removal to its release: it is dying.
    Release,
}

/// A phase of a cgroup's life is over.
#[derive(Clone, Debug)]
pub struct Span {
    /// Which one.
    pub phase: Phase,
    /// How long it was.
    pub took: Duration,
    /// The container that the cgroup was of.
    pub container: Option<Arc<Container>>,
}

impl Tracker {
    /// A tracker for the host and the probes that `header` names.
    pub fn new(header: &Header) -> Self {
        Self::with_rules(header, Rules::all())
    }

    fn with_rules(header: &Header, rules: Rules) -> Self {
        let hierarchies = header.hierarchies.iter().filter_map(|h| Some((h.device?, h.id)));
        let devices = header.hierarchies.iter().find(|h| h.controllers.iter().any(|name| name == "devices"));
        Self {
            rules,
            hierarchies: hierarchies.take(HIERARCHIES).collect(),
            hierarchies_beyond: 0,
            tables: Tables::new(),
            told: Told::new(),
            nameless: Nameless::default(),
            owners: Recent::new(containers::OWNERS, budget::OWNERS),
            kernel: Kernel::new(header),
            cgroups: Cgroups::default(),
            makers: Makers::default(),
            placings: Placings::default(),
            settings: Settings::default(),
            in_flight: InFlight::default(),
            devices: devices.map(|hierarchy| hierarchy.id),
            processes: Processes::default(),
            coverage: Coverage::new(header),
            command: Command::new(header.command),
            notes: Notes::default(),
            stories: Stories::default(),
            now: BootTime(header.clock.boot_ns),
            next_sweep: BootTime(header.clock.boot_ns),
            next_sweep_of_facts: BootTime(header.clock.boot_ns) + SWEEP_OF_FACTS,
            late: HashMap::new(),
            next_naming: BootTime(header.clock.boot_ns),
            findings: Vec::new(),
            spans: Vec::new(),
            looks: Vec::new(),
            unseen: None,
        }
    }

    /// Takes one input in, fills in its derived fields, and returns the findings that are to be told now, in order.
    pub fn apply(&mut self, seq: Seq, input: &mut Input) -> Vec<Finding> {
        // A loss is known before the stories are told that fall due, and moves no time: what happened before it was
        // noticed may still be on the way.
        if let Input::Lost(lost) = input {
            let comm = lost.pid.and_then(|pid| self.processes.get(pid)).map(|known| &known.comm);
            self.coverage.lost(lost, comm);
            return Vec::new();
        }
        self.advance(input.at());
        self.name_late();
        match input {
            Input::Event(event) => self.event(seq, event),
            Input::Attempt(attempt) => self.attempt(seq, attempt),
            Input::Change(written) => self.written(seq, written),
            Input::Stuck(stuck) => self.stuck(seq, stuck),
            Input::Process(process) => self.process(seq, process),
            Input::Facts(facts) => self.facts(seq, facts),
            Input::Lost(_) | Input::Tick(_) => {}
        }
        self.tell_due();
        std::mem::take(&mut self.findings)
    }

    /// Takes in what a part of a trace begins with and only restates, and fills in its derived fields. Nothing follows
    /// from it: what is known keeps its place in the order that things are forgotten in, and the time at which it was
    /// last seen.
    pub fn restated(&mut self, input: &mut Input) {
        match input {
            Input::Event(event) => event.container = self.container_in(event),
            Input::Stuck(stuck) => {
                if let Some(told) = self.in_flight.get(stuck.call()) {
                    *stuck = told.clone();
                }
            }
            Input::Attempt(_)
            | Input::Change(_)
            | Input::Process(_)
            | Input::Facts(_)
            | Input::Lost(_)
            | Input::Tick(_) => {}
        }
    }

    /// Forgets the cgroups that were not told of at `at`, when all that exist were: lines are missing that told of
    /// their end.
    pub fn forget_untold(&mut self, at: BootTime) {
        let gone = self.cgroups.forget_untold(at);
        self.vanished(&gone);
    }

    /// The phases of cgroups' lives that ended with the last input.
    pub fn take_spans(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.spans)
    }

    /// The cgroups that it is worth a look into at once, to know who is in them: what is found is an input. Who replays
    /// a recording has it there.
    pub fn take_looks(&mut self) -> Vec<(HierarchyId, Name)> {
        std::mem::take(&mut self.looks)
    }

    /// When the next story falls due.
    pub fn next_due(&self) -> Option<BootTime> {
        self.stories.next_due()
    }

    /// When removed cgroups that the kernel has not released are to be looked at. It is good to know by then how many
    /// there are by the kernel's own count.
    pub fn next_look(&self) -> Option<BootTime> {
        Some(self.cgroups.next_look()? + self.rules.while_dying?)
    }

    /// Whether a [`Input::Tick`] of that time would have a story told, or something looked at.
    pub fn wants_tick(&self, now: BootTime) -> bool {
        self.next_due().into_iter().chain(self.next_look()).any(|due| due <= now)
    }

    /// Whether nothing is left to come of what happened by `ended`: every story that began by then is told, and what
    /// the traced command and its descendants removed is released. What strangers do is not waited for.
    pub fn is_settled(&self, ended: BootTime) -> bool {
        !self.stories.has_due_of(ended) && !self.command.waits(ended)
    }

    /// The end of the trace: everything that is left to be told.
    pub fn finish(&mut self, at: BootTime) -> Vec<Finding> {
        self.advance(at);
        self.stories.finish(self.now);
        self.tell_due();
        std::mem::take(&mut self.findings)
    }

    /// Whether an attempt is known to have nothing to do with a cgroup: its path leads to another file system.
    pub fn is_foreign(&self, attempt: &Attempt) -> bool {
        mounts::is_foreign(attempt, self.table_of(attempt))
    }

    fn table_of(&self, attempt: &Attempt) -> Option<&MountTable> {
        self.tables.get(attempt.mount_namespace?)
    }

    /// What is known of the mounts of a namespace.
    pub fn knows_mounts(&self, namespace: NamespaceId) -> bool {
        self.tables.get(namespace).is_some()
    }

    /// Whether an event only tells again that a cgroup exists: nothing happened.
    pub fn is_told(&self, event: &Event) -> bool {
        event.change == Change::Existing && self.cgroups.is_told(&event.cgroup)
    }

    /// Whether something was said already of a container, by this user's processes or by those that are believed more.
    pub fn knows_container(&self, said: &ContainerFacts) -> bool {
        self.told.of(&said.id, said.uid).is_some()
    }

    /// Whether anything but its number and name is known of a thread group.
    pub fn knows_process(&self, pid: Pid) -> bool {
        self.processes.get(pid).is_some()
    }

    /// What a thread group was asked to do, if it is an OCI runtime.
    pub fn command_of(&self, pid: Pid) -> Option<&oci::RuntimeCommand> {
        self.processes.get(pid)?.command.as_ref()
    }

    /// What is known now, as inputs: with these a trace can be read that begins here. Of each map what goes first comes
    /// first, with the time that its age counts from; the cgroups are all of now.
    pub fn snapshot(&self) -> Vec<Input> {
        let at = self.now;
        let containers = self.told.all().map(|(at, said)| (at, About::Container(said.clone())));
        let fact = |(at, about)| Input::Facts(Facts { at, about });
        let cgroups = self.cgroups.all();
        let walked =
            About::Walked { cgroups: cgroups.len() as u64, unreadable: self.coverage.unreadable(), again: None };
        let existing = cgroups.into_iter().map(|cgroup| {
            Input::Event(Event {
                at,
                change: Change::Existing,
                cgroup,
                requested: false,
                task: None,
                container: None,
                actor: None,
            })
        });
        let processes = self.processes.alive().into_iter().map(Input::Process);
        let dying = self.cgroups.dying_in_all().map(|count| (at, About::Dying { count }));
        let facts = self.tables.all().chain(containers).chain(dying).map(fact);
        // If there was no room for all, a reader is not told that these are.
        let walked = self.cgroups.is_whole().then(|| fact((at, walked)));
        // The cgroups that they are on are known by then.
        let in_flight = self.in_flight.all().map(|call| Input::Stuck((*call.stuck).clone()));
        facts.chain(processes).chain(existing).chain(walked).chain(in_flight).collect()
    }

    /// Whether it was told that a call does not return, and not that it has.
    pub fn knows_call(&self, call: CallId) -> bool {
        self.in_flight.get(call).is_some()
    }

    /// How many cgroups exist, of those that there is room for.
    pub fn live_cgroups(&self) -> usize {
        self.cgroups.len()
    }

    /// How many were removed and are not released, of those whose removal was seen.
    pub fn dying_cgroups(&self) -> usize {
        self.cgroups.dying()
    }

    /// How many of cgroup2 are not released that were removed before tracing began, or unseen. `None` if the kernel
    /// was not asked for its count.
    pub fn dying_before(&self) -> Option<u64> {
        self.cgroups.dying_before()
    }

    /// Whether cgroupfs is worth a walk although nothing was lost: some cgroups are not known for want of room, and
    /// there may be room for them again. It stays so until a walk has found room for all, so whoever walks does it no
    /// more often than it can afford.
    pub fn wants_walk(&self) -> bool {
        self.cgroups.has_room_again()
    }

    /// If cgroupfs was walked again since this was last asked: how many cgroups had come unseen, or gone.
    pub fn take_unseen(&mut self) -> Option<u64> {
        self.unseen.take()
    }

    /// What was dropped, or not remembered, for want of room. A claim that needs it is degraded. What can be worked out
    /// again (`owners`) is not counted.
    pub fn evicted(&self) -> u64 {
        let stories = self.notes.evicted + self.stories.evicted();
        let others = self.hierarchies_beyond
            + self.tables.evicted()
            + self.told.evicted()
            + self.nameless.evicted
            + self.placings.evicted()
            + self.settings.evicted()
            + self.in_flight.evicted()
            + self.command.evicted;
        self.cgroups.evicted() + self.makers.evicted() + self.processes.evicted() + stories + others
    }

    fn advance(&mut self, at: BootTime) {
        self.now = self.now.max(at);
        self.tell_due();
    }

    fn sweep(&mut self) {
        if self.now < self.next_sweep && !self.stories.is_overfull() {
            return;
        }
        self.next_sweep = self.now + SWEEP;
        self.cgroups.sweep(self.now);
        self.processes.sweep(self.now);
        self.notes.sweep(self.now);
        self.stories.sweep(self.now);
        self.tell_due();
        self.sweep_facts();
    }

    fn sweep_facts(&mut self) {
        if self.now < self.next_sweep_of_facts {
            return;
        }
        self.next_sweep_of_facts = self.now + SWEEP_OF_FACTS;
        let (namespaces, containers) = (self.processes.mount_namespaces(), self.cgroups.containers());
        self.tables.sweep(self.now, |namespace| namespaces.contains(&namespace));
        self.told.sweep(self.now, |id| containers.contains(id));
        self.owners.retire(|_| true, |_, _| false);
    }

    fn event(&mut self, seq: Seq, event: &mut Event) {
        self.sweep();
        if let Some(actor) = &mut event.actor {
            self.processes.identify(actor, event.at);
        }
        event.container = self.container_in(event);
        self.command.event(event);
        // What a walk or a snapshot says again has not happened again.
        let is_news = !self.is_told(event);
        self.learn_event(seq, event);
        if is_news {
            self.happened(seq, event);
        }
        if event.change == Change::Attached {
            let is_to_stay = event.actor.as_ref().is_some_and(oci::places);
            self.placings.moved(seq, event, is_to_stay);
        }
    }

    /// The container that the cgroup of an event is of.
    fn container_in(&mut self, event: &Event) -> Option<Arc<Container>> {
        let known = event.cgroup.id.and_then(|id| self.cgroups.get(event.cgroup.hierarchy, id));
        let known = known.filter(|_| event.change != Change::Created).and_then(|live| live.container.clone());
        let pid = event.actor.as_ref().map(|actor| actor.pid);
        match known {
            Some(container) if !self.may_say_more(&container, &event.cgroup.path, pid) => Some(container),
            Some(container) => {
                let more = self.container_of(&Place::of(&event.cgroup), pid).unwrap_or(container);
                if let Some(id) = event.cgroup.id {
                    self.cgroups.set_container(event.cgroup.hierarchy, id, more.clone());
                }
                Some(more)
            }
            None => self.container_of(&Place::of(&event.cgroup), pid),
        }
    }

    /// Takes in what is true of a cgroup now.
    fn learn_event(&mut self, seq: Seq, event: &mut Event) {
        match event.change {
            Change::Existing => self.cgroups.appeared(event.at, &event.cgroup, None, event.container.clone()),
            Change::Created => {
                let created = Creation { seq, at: event.at };
                self.cgroups.appeared(event.at, &event.cgroup, Some(created), event.container.clone());
                if let Some(id) = event.cgroup.id {
                    self.settings.forget((event.cgroup.hierarchy, id));
                }
                self.made(event);
            }
            Change::Removed => {
                let made = self.cgroups.removed(seq, event.at, &event.cgroup, event.actor.clone());
                self.passed(Phase::Lifetime, made, event);
                if let Some(id) = event.cgroup.id {
                    self.settings.forget((event.cgroup.hierarchy, id));
                }
                if let (Some(container), Some(id)) = (&event.container, event.cgroup.id) {
                    self.makers.removed(&container.id, (event.cgroup.hierarchy, id));
                }
            }
            Change::Renamed => self.cgroups.renamed(seq, event.at, &event.cgroup, event.actor.clone()),
            Change::Released => {
                let Some(dying) = self.cgroups.released(&event.cgroup) else { return };
                event.container = dying.container.or(event.container.take());
                if let Some(path) = dying.around {
                    let hierarchy = event.cgroup.hierarchy;
                    self.stories.happened_below(event.change, &Place { hierarchy, path }, event.at);
                }
                self.passed(Phase::Release, Some(dying.since), event);
                self.passed(Phase::Teardown, dying.emptied, event);
            }
            Change::Populated | Change::Emptied | Change::Frozen | Change::Thawed | Change::Attached => {
                if known_without_container(&self.cgroups, &event.cgroup)
                    && let (Some(id), Some(container)) = (event.cgroup.id, &event.container)
                {
                    self.cgroups.set_container(event.cgroup.hierarchy, id, container.clone());
                }
                match event.change {
                    Change::Populated => {
                        self.cgroups.populated(&event.cgroup, None);
                        self.cgroups.joined(&event.cgroup, event.at);
                        if let (Some(container), Some(id)) = (&event.container, event.cgroup.id) {
                            self.makers.populated(&container.id, (event.cgroup.hierarchy, id));
                        }
                        self.shared(event);
                    }
                    Change::Emptied => {
                        self.placings.emptied(seq, event);
                        self.cgroups.populated(&event.cgroup, Some(event.at));
                        if let (Some(container), Some(id)) = (&event.container, event.cgroup.id) {
                            self.makers.emptied(&container.id, (event.cgroup.hierarchy, id), seq);
                        }
                    }
                    Change::Attached => {
                        self.cgroups.joined(&event.cgroup, event.at);
                        self.shared(event);
                    }
                    _ => {}
                }
            }
        }
    }

    /// A runtime may have made a cgroup of the container that it was asked for.
    fn made(&mut self, event: &Event) {
        let (Some(id), Some(actor)) = (event.cgroup.id, &event.actor) else { return };
        let Some(maker) = self.processes.of(actor) else { return };
        let cgroup = (event.cgroup.hierarchy, id);
        if self.may_be_of_another(maker, event.container.as_deref()) {
            self.nameless.add(event.at, (actor.pid, maker.incarnation), cgroup);
        } else if let Some(container) = &event.container {
            self.has_made_own(actor.pid, cgroup, &event.cgroup.path, container);
        }
    }

    /// A cgroup of a container was made, by the process that was to make that container.
    fn has_made_own(&mut self, pid: Pid, cgroup: (HierarchyId, CgroupId), path: &Name, container: &Container) {
        let makes = |known: &&Known| {
            known.command.as_ref().is_some_and(|command| command.makes() && command.is_about(&container.id))
        };
        if let Some(maker) = self.processes.get(pid).filter(makes)
            && is_own_cgroup(path, container)
        {
            let said = self.told.of(&container.id, maker.uid).filter(|said| said.pid == Some(pid));
            let state_file = said.and_then(|said| said.state_file.as_ref());
            self.makers.made(&container.id, cgroup, (pid, maker), state_file);
        }
    }

    /// A runtime may put the process of a container that it makes into a cgroup that another one has as its own.
    fn shared(&mut self, event: &Event) {
        let (Some(container), Some(id), Some(actor)) = (&event.container, event.cgroup.id, &event.actor) else {
            return;
        };
        let makes_another = |known: &Known| {
            known.command.as_ref().is_some_and(|command| command.makes() && !command.is_about(&container.id))
        };
        if self.processes.of(actor).is_some_and(makes_another) {
            self.makers.shared(&container.id, (event.cgroup.hierarchy, id));
            self.cgroups.shared((event.cgroup.hierarchy, id));
        }
    }

    /// A phase of a cgroup's life that began then is over.
    fn passed(&mut self, phase: Phase, began: Option<BootTime>, event: &Event) {
        let Some(began) = began else { return };
        self.spans.push(Span { phase, took: event.at.since(began), container: event.container.clone() });
    }

    fn process(&mut self, seq: Seq, process: &Process) {
        let (which, replaced) = self.processes.learn(process, &self.cgroups);
        let at = process.at;
        if let Some(replaced) = replaced {
            // Its number is another's now: it has ended, and how was not told.
            self.stories.ended((process.pid, replaced), End { seq, at, exit: None });
        }
        self.command.learn(process);
        if process.change != ProcessChange::Exit && process.argv.is_some() {
            self.name_what_it_made(process.pid);
            let identity = self.processes.get(process.pid).map(|known| &known.identity);
            self.stories.asked((process.pid, which), at, identity, self.now);
        }
        if process.change == ProcessChange::Exit {
            let end = End { seq, at, exit: process.exit };
            self.start_ended(end, process.pid);
            self.has_made(process.pid);
            self.placings.ended(process.pid);
            self.in_flight.ended(process.pid);
            self.stories.ended((process.pid, which), end);
            if let Some(known) = self.processes.get(process.pid) {
                self.makers.ended((process.pid, known), end);
            }
        }
    }

    /// A process has ended, and may have made a container.
    fn has_made(&mut self, pid: Pid) {
        let made = |known: &&Known| known.exit.is_some_and(Exit::is_success);
        let command = self.processes.get(pid).filter(made).and_then(|known| known.command.as_ref());
        if let Some(id) = command.filter(|command| command.makes()).and_then(|command| command.id.clone()) {
            self.settled(&engine::buildah_id(&id).unwrap_or(id), pid, true);
        }
    }

    /// Whether a container was made is known by now.
    fn settled(&mut self, id: &Name, maker: Pid, is_made: bool) {
        if self.told.settled(id, maker, is_made) {
            self.said_late(id, true);
        }
    }

    fn facts(&mut self, seq: Seq, facts: &Facts) {
        match &facts.about {
            About::Mounts { namespace, mounts, too_many, host } => {
                let known = self.tables.get(*namespace);
                let is_new = |mount: &Mount| known.is_none_or(|known| !known.mounts().contains(mount));
                for mount in mounts.iter().filter(|mount| mount.file_system == "cgroup2") {
                    if self.hierarchies.len() < HIERARCHIES || self.hierarchies.contains_key(&mount.device) {
                        self.hierarchies.insert(mount.device, HierarchyId(0));
                    } else if is_new(mount) {
                        self.hierarchies_beyond += 1;
                    }
                }
                self.tables.learn(facts.at, *namespace, *host, mounts, *too_many);
            }
            About::Container(said) => {
                let speaker = said.pid.and_then(|pid| self.processes.get(pid)?.command.as_ref());
                let is_new = speaker.is_some_and(oci::RuntimeCommand::makes);
                self.told.learn(facts.at, said, is_new);
                if let Some(pid) = said.pid {
                    self.name_what_it_made(pid);
                }
                // One that is to be made may have the cgroup of another one, which may be there to stay.
                if !is_new {
                    self.said_late(&said.id, false);
                }
            }
            About::State { id, pid, path, present } => {
                let id = engine::buildah_id(id).unwrap_or_else(|| id.clone());
                // It was looked at the end of the process, which is the last one known of that number.
                let which = self.processes.get(*pid).map(|known| known.incarnation);
                if !present {
                    self.told.over(&id);
                } else if self.processes.get(*pid).is_some_and(Known::has_failed_to_make) {
                    self.settled(&id, *pid, false);
                }
                self.stories.state_seen(&id, (*pid, which), *present, self.now);
                self.look_at_what_is_left(&id, *pid, StateSeen { seq, file: path, present: *present });
            }
            About::Failure { id: _, pid, message } => {
                let which = self.processes.get(*pid).map(|known| known.incarnation);
                self.stories.failure_said((*pid, which), message, self.now);
            }
            About::Occupants(occupants) => {
                let joined = self.cgroups.get(occupants.hierarchy, occupants.id).and_then(|live| live.joined);
                self.stories.found(&Found { seq, at: facts.at, joined, occupants: occupants.clone() });
            }
            // It is there for whoever reads the trace: nothing follows from what is not known.
            About::Unread(_) => {}
            About::Unanswered { pid, question: Question::CommandLine, reason: _ } => {
                self.processes.unread(*pid);
                if let Some(known) = self.processes.get(*pid) {
                    self.stories.asked((*pid, known.incarnation), facts.at, None, self.now);
                }
            }
            About::Unanswered { question: Question::Container | Question::State, .. } => {}
            About::Unanswered { question: Question::Mounts | Question::Circumstances | Question::Wait, .. } => {}
            About::Circumstances(said) => self.stories.circumstances(seq, said),
            About::Dying { count } => self.cgroups.dying_counted(*count),
            About::Walked { cgroups: _, unreadable, again } => {
                self.coverage.walked(*unreadable);
                let came = self.cgroups.walked();
                let Some(WalkedAgain { began, hierarchies }) = again else { return };
                // What could not be read may hold what was not found.
                let gone = match unreadable {
                    0 => self.cgroups.forget_unconfirmed(*began, hierarchies),
                    _ => Vec::new(),
                };
                self.vanished(&gone);
                self.unseen = Some(came + gone.len() as u64);
            }
        }
    }

    fn attempt(&mut self, seq: Seq, attempt: &mut Attempt) {
        // Whoever told of the call knows this table to be known: it must not go before it is gone by.
        if let Some(namespace) = attempt.mount_namespace {
            self.tables.used(namespace, attempt.at);
        }
        self.sweep();
        self.processes.identify(&mut attempt.actor, attempt.at);
        let Some((place, file)) = self.resolve(attempt) else {
            let is_mkdir = attempt.operation == Operation::Mkdir && attempt.errno != Errno::EEXIST;
            // What is not empty is of another file system.
            let is_removal = is_refused_removal(attempt) && attempt.errno != Errno::ENOTEMPTY;
            if (is_mkdir || is_removal) && !self.is_foreign(attempt) {
                match is_mkdir {
                    true => self.coverage.unresolved_mkdir(last_name(attempt), attempt.at),
                    false => self.coverage.unresolved_removal(last_name(attempt), attempt.at),
                }
            }
            return;
        };
        // A descriptor is of one cgroup, which may be gone: another one may have its name now.
        let opened = attempt.directory.as_ref().filter(|_| !attempt.syscall.takes_path()).map(|directory| directory.id);
        let live = self.cgroups.at_path(&place).filter(|(id, _)| opened.is_none_or(|opened| *id == opened));
        let live = live.map(|(id, live)| (live.as_existing(id), live.container.clone()));
        let (existing, container) = live.unzip();
        attempt.container = container.flatten().or_else(|| self.container_of_missing(&place, attempt.actor.pid));
        attempt.cgroup = Some(Cgroup {
            hierarchy: place.hierarchy,
            id: opened.or(existing.map(|existing| existing.id)),
            path: place.path.clone(),
            level: existing.and_then(|existing| existing.level),
            truncated: attempt.truncated,
        });
        attempt.file.clone_from(&file);
        if let (true, Some(existing), Some(container)) = (is_refused_removal(attempt), existing, &attempt.container) {
            let cgroup = (place.hierarchy, existing.id);
            self.makers.refused(&container.id, cgroup, attempt.errno, attempt.at, &attempt.actor);
        }
        let (is_for_writing, lacks_file) = (attempt.is_for_writing(), attempt.may_lack_file());
        let note = Note { place, file, opened, is_for_writing, lacks_file, attempt: FindingAttempt::new(seq, attempt) };
        let wanted = is_wanted(attempt, &note).then(|| note.attempt.clone());
        self.failed(note, existing, attempt.container.as_ref());
        // What it had wanted before that is what a story that begins with it is told.
        if let Some(failed) = wanted {
            self.processes.note_failure(&attempt.actor, &failed);
        }
    }

    /// Says whose the file is that was written to, and by whom.
    fn written(&mut self, seq: Seq, written: &mut Written) {
        self.sweep();
        self.processes.identify(&mut written.actor, written.at);
        let directory = &written.directory;
        let Some(hierarchy) = self.hierarchies.get(&directory.device).copied() else { return };
        let live = self.cgroups.get(hierarchy, directory.id);
        let path = if directory.truncated { live.map(|live| live.path.clone()) } else { Some(directory.path.clone()) };
        let Some(path) = path else { return };
        let (level, container) = live.map(|live| (live.level, live.container.clone())).unwrap_or_default();
        let place = Place { hierarchy, path };
        written.container = container.or_else(|| self.container_of_missing(&place, written.actor.pid));
        let Place { hierarchy, path } = place;
        written.cgroup = Some(Cgroup { hierarchy, id: Some(written.directory.id), path, level, truncated: false });
        self.wrote(seq, written);
        self.learn_setting(seq, (hierarchy, written.directory.id), written);
    }

    /// Takes in what a control file is set to now, and by whom.
    fn learn_setting(&mut self, seq: Seq, cgroup: Key, written: &Written) {
        let Written { at, file, actor, .. } = written;
        let Some(value) = written.value.as_ref().filter(|_| !written.value_truncated) else {
            return self.settings.forget_file(cgroup, file);
        };
        let runs = oci::is_runtime(actor);
        for (what, value) in control::settings(file, value) {
            self.settings.write(cgroup, what, Set { value, actor: actor.clone(), at: *at, seq }, runs);
        }
    }

    /// A call does not return, or has after all.
    fn stuck(&mut self, seq: Seq, stuck: &mut Stuck) {
        self.sweep();
        self.processes.identify(&mut stuck.actor, stuck.at);
        // One that has returned may have removed its cgroup.
        let told = self.in_flight.get(stuck.call()).map(|told| (told.cgroup.clone(), told.container.clone()));
        (stuck.cgroup, stuck.container) = told.unwrap_or_else(|| self.cgroup_of_call(stuck));
        let call = Arc::new(stuck.clone());
        self.does_not_return(seq, &call);
        self.in_flight.tell(seq, &call);
    }

    /// The cgroup that a call is on, or is to make, and whose it is.
    fn cgroup_of_call(&mut self, stuck: &Stuck) -> (Option<Cgroup>, Option<Arc<Container>>) {
        let key = (stuck.hierarchy, stuck.id);
        let live = self.cgroups.get(key.0, key.1).map(|live| (&live.path, live.level, &live.container, live.truncated));
        let dying = || self.cgroups.dying_one(key).map(|one| (&one.path, one.level, &one.container, one.truncated));
        let Some((path, level, container, false)) = live.or_else(dying) else { return (None, None) };
        let cgroup =
            Cgroup { hierarchy: stuck.hierarchy, id: Some(stuck.id), path: path.clone(), level, truncated: false };
        if stuck.operation != Operation::Mkdir {
            return (Some(cgroup), container.clone());
        }
        // A name that is as long as can be told may be longer.
        let Some(name) = stuck.name.as_ref().filter(|name| name.as_bytes().len() < tracer_ebpf::LONGEST_IN_FLIGHT - 1)
        else {
            return (None, None);
        };
        let around = path.as_bytes().strip_suffix(b"/").unwrap_or(path.as_bytes());
        let path = Name::from([around, b"/", name.as_bytes()].concat());
        let place = Place { hierarchy: stuck.hierarchy, path: path.clone() };
        let cgroup = Cgroup { id: None, path, level: level.map(|level| level + 1), ..cgroup };
        (Some(cgroup), self.container_of_missing(&place, stuck.actor.pid))
    }

    /// The path of a cgroup that exists, if all of it is known.
    pub fn path_of(&self, hierarchy: HierarchyId, id: CgroupId) -> Option<&Name> {
        self.cgroups.get(hierarchy, id).filter(|live| !live.truncated).map(|live| &live.path)
    }

    /// The cgroup that an attempt is about, and the control file in it.
    fn resolve<'a>(&'a self, attempt: &'a Attempt) -> Option<(Place, Option<Name>)> {
        // The walk up the directory entries may have stopped short; the id says where it started.
        let whole = |directory: &Directory| {
            let live = self.cgroups.get(*self.hierarchies.get(&directory.device)?, directory.id)?;
            Some(&live.path)
        };
        let (device, path) = mounts::cgroup_of(attempt, self.table_of(attempt), whole)?;
        let hierarchy = *self.hierarchies.get(&device)?;
        let (path, file) = match attempt.operation {
            Operation::Open | Operation::Rename => mounts::split_control_file(&path),
            Operation::Mkdir | Operation::Rmdir | Operation::Spawn => (path, None),
            Operation::Write | Operation::Read => mounts::split_file(&path),
        };
        Some((Place { hierarchy, path }, file))
    }
}

/// Whether a removal failed of what may be there.
fn is_refused_removal(attempt: &Attempt) -> bool {
    attempt.operation == Operation::Rmdir && !matches!(attempt.errno, Errno::ENOENT | Errno::ENODEV)
}

/// The name that a call was to make or remove, as far as its path tells: one that was cut short, or that ends by going
/// up, does not.
fn last_name(attempt: &Attempt) -> Option<Name> {
    let is_a_step = |part: &&[u8]| !part.is_empty() && *part != b".";
    let last = attempt.path.as_bytes().split(|byte| *byte == b'/').rfind(is_a_step)?;
    (!attempt.truncated && last != b"..").then(|| Name::new(last))
}

/// Control files that are written to when a container is cleared up, and that some kernels do not have.
const CLEAR_UP: [&str; 3] = ["cgroup.kill", "cgroup.freeze", "freezer.state"];

/// Whether a failed call had been wanted to change something, so that its failure may be why its process fails: the
/// making or renaming of a cgroup, or the opening of a control file for writing. Files are also looked at that may be
/// missing.
fn is_wanted(attempt: &Attempt, note: &Note) -> bool {
    match attempt.operation {
        Operation::Mkdir => note.attempt.is_failed_creation(),
        Operation::Open => {
            attempt.is_for_writing() && note.file.as_ref().is_some_and(|file| !CLEAR_UP.iter().any(|name| file == name))
        }
        Operation::Write => note.file.as_ref().is_some_and(|file| !CLEAR_UP.iter().any(|name| file == name)),
        Operation::Rename | Operation::Spawn => true,
        Operation::Rmdir | Operation::Read => false,
    }
}

/// Whether a path leads to a container's own cgroup, and not below that.
fn is_own_cgroup(path: &Name, container: &Container) -> bool {
    components(path.as_bytes()).count() == container.depth()
}

fn known_without_container(cgroups: &Cgroups, cgroup: &Cgroup) -> bool {
    cgroup.id.and_then(|id| cgroups.get(cgroup.hierarchy, id)).is_some_and(|live| live.container.is_none())
}

#[cfg(test)]
pub(crate) mod tests;
