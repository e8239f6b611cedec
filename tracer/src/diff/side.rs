//! One of the two traces: what each process did to whose cgroups, and what became of those.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use super::role::{place, place_within};
use crate::container::Container;
use crate::errno::Errno;
use crate::filter::Filter;
use crate::findings::Finding;
use crate::hierarchy::HierarchyLabels;
use crate::input::{
    About, Actor, Attempt, BootTime, Cgroup, CgroupId, Change, Event, Exit, HierarchyId, Identity, Input, Operation,
    Pid, Process, ProcessChange,
};
use crate::line::{Line, Output};
use crate::name::Name;
use crate::report::Report;

/// Processes, whose cgroups, and cgroups that are kept; what one process did, and what all did. More is counted.
const RUNS: usize = 50_000;
const SUBJECTS: usize = 50_000;
const CGROUPS: usize = 200_000;
const DEEDS_OF_ONE: usize = 256;
const DEEDS: usize = 500_000;

/// A cgroup by its role: the label of its hierarchy, and its path without what is drawn, within whose it is.
pub(super) type Place = (String, String);

/// An operation as it is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Op {
    pub what: What,
    /// The control file.
    pub file: Option<Name>,
    /// What was to be written to it; not whom it was to move, who is another one in every run.
    pub value: Option<Name>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum What {
    Did(Change),
    Failed(Operation, Errno),
}

impl Op {
    /// Whether it is what a failed one wanted.
    pub fn makes_good(&self, failed: &Self) -> bool {
        matches!(
            (failed.what, self.what),
            (What::Failed(Operation::Rmdir, _), What::Did(Change::Removed))
                | (What::Failed(Operation::Mkdir, _), What::Did(Change::Created))
        )
    }

    /// Whether it makes sure that there is a cgroup.
    pub fn makes_sure(&self) -> bool {
        matches!(self.what, What::Did(Change::Created) | What::Failed(Operation::Mkdir, Errno::EEXIST))
    }
}

/// An operation of a process.
#[derive(Clone, Debug)]
pub(super) struct Deed {
    pub subject: usize,
    pub place: Place,
    pub op: Op,
    pub at: BootTime,
    pub path: Name,
    pub value_truncated: bool,
}

/// A process.
#[derive(Debug)]
pub(super) struct Run {
    pub actor: Actor,
    /// What it did, each thing once, in order.
    pub deeds: Vec<Deed>,
    pub exit: Option<Exit>,
    /// What its runtime's log says of its failure.
    pub failure: Option<Name>,
}

impl Run {
    fn new(actor: Actor) -> Self {
        Self { actor, deeds: Vec::new(), exit: None, failure: None }
    }
}

/// Cgroups of one place.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// Some were there when tracing began.
    pub was_there: bool,
    /// Those that were made and are left, by their numbers: the path, and who made it.
    pub left: BTreeMap<CgroupId, (Name, Option<usize>)>,
}

/// A container, or a cgroup that belongs to no container.
#[derive(Debug)]
pub(super) struct Subject {
    pub container: Option<Arc<Container>>,
    /// Its cgroup, as it was heard of first.
    pub path: Name,
    /// The same without what is drawn.
    pub role: String,
    pub cgroups: BTreeMap<Place, Fate>,
}

/// Whose cgroups.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Container(Vec<Name>),
    Path(Name),
}

/// Gathers one of the two traces.
pub struct Side<'a> {
    filter: &'a Filter,
    /// Its header, losses and findings.
    pub(super) report: Report,
    labels: HierarchyLabels,
    pub(super) subjects: Vec<Subject>,
    by_key: HashMap<Key, usize>,
    pub(super) runs: Vec<Run>,
    running: HashMap<Pid, usize>,
    /// Cgroups by their numbers: whose they are, and where.
    cgroups: HashMap<(HierarchyId, CgroupId), (usize, Place)>,
    deeds: usize,
    /// What there was no room for.
    pub(super) left_out: u64,
    /// What was there when tracing began has been told.
    walked: bool,
}

impl<'a> Side<'a> {
    /// Of what the filter wants.
    pub fn new(filter: &'a Filter) -> Self {
        Self {
            filter,
            report: Report::new(false),
            labels: HierarchyLabels::default(),
            subjects: Vec::new(),
            by_key: HashMap::new(),
            runs: Vec::new(),
            running: HashMap::new(),
            cgroups: HashMap::new(),
            deeds: 0,
            left_out: 0,
            walked: false,
        }
    }

    /// When something was done first.
    pub(super) fn began(&self) -> BootTime {
        let first = self.runs.iter().filter_map(|run| run.deeds.first()).map(|deed| deed.at).min();
        first.unwrap_or_default()
    }

    /// Whose a finding is, of those that were heard of.
    pub(super) fn subject_of(&self, finding: &Finding) -> Option<usize> {
        self.by_key.get(&key(&finding.cgroup.path, finding.container.as_deref())).copied()
    }

    /// A container's number.
    pub(super) fn container(&self, id: &Name) -> Option<usize> {
        let is_it = |subject: &Subject| subject.container.as_ref().is_some_and(|container| container.id == *id);
        self.subjects.iter().position(is_it)
    }

    /// Whether not everything is wanted.
    pub(super) fn is_narrowed(&self) -> bool {
        self.filter.is_narrowed()
    }

    /// The findings that the filter wants and that are no routine, the worst first.
    pub(super) fn findings(&self) -> Vec<&Finding> {
        self.report.findings.worst_first().into_iter().filter(|finding| self.filter.shows(finding)).collect()
    }

    /// Whose cgroup it is. `None` if it is not wanted, or there is no room.
    fn subject(&mut self, cgroup: &Cgroup, container: Option<&Arc<Container>>) -> Option<usize> {
        if !self.filter.is_about(cgroup, container.map(|container| &**container)) {
            return None;
        }
        let key = key(&cgroup.path, container.map(|container| &**container));
        if let Some(known) = self.by_key.get(&key).copied() {
            // What was learnt later says more.
            let kept = &mut self.subjects[known].container;
            *kept = container.cloned().or(kept.take());
            return Some(known);
        }
        if self.subjects.len() >= SUBJECTS {
            self.left_out += 1;
            return None;
        }
        let role = place(&cgroup.path, container.map(|container| &**container));
        let path = cgroup.path.clone();
        self.subjects.push(Subject { container: container.cloned(), path, role, cgroups: BTreeMap::new() });
        self.by_key.insert(key, self.subjects.len() - 1);
        Some(self.subjects.len() - 1)
    }

    fn place(&self, cgroup: &Cgroup, container: Option<&Arc<Container>>) -> Place {
        let label = self.labels.of(cgroup.hierarchy).to_owned();
        (label, place_within(&cgroup.path, container.map(|container| &**container)))
    }

    /// The process that acts.
    fn run(&mut self, actor: &Actor) -> Option<usize> {
        if let Some(known) = self.running.get(&actor.pid).copied()
            && self.runs[known].actor.is_same_process_as(actor)
        {
            if actor.identity.is_some() {
                self.runs[known].actor = actor.clone();
            }
            return Some(known);
        }
        self.begin(actor.clone())
    }

    fn begin(&mut self, actor: Actor) -> Option<usize> {
        if self.runs.len() >= RUNS {
            self.left_out += 1;
            return None;
        }
        self.running.insert(actor.pid, self.runs.len());
        self.runs.push(Run::new(actor));
        Some(self.runs.len() - 1)
    }

    fn deed(&mut self, actor: &Actor, deed: Deed) -> Option<usize> {
        let run = self.run(actor)?;
        let deeds = &mut self.runs[run].deeds;
        let is_known = |known: &Deed| (known.subject, &known.place, &known.op) == (deed.subject, &deed.place, &deed.op);
        if deeds.iter().any(is_known) {
            return Some(run);
        }
        if deeds.len() >= DEEDS_OF_ONE || self.deeds >= DEEDS {
            self.left_out += 1;
        } else {
            deeds.push(deed);
            self.deeds += 1;
        }
        Some(run)
    }

    fn event(&mut self, event: &Event) {
        let Event { at, change, cgroup, requested, container, actor, .. } = event;
        let is_deed = match change {
            Change::Created | Change::Removed | Change::Renamed | Change::Attached => true,
            // That it has come to be so is the kernel's, a moment later.
            Change::Frozen | Change::Thawed => *requested,
            Change::Existing | Change::Populated | Change::Emptied | Change::Released => false,
        };
        let number = cgroup.id.map(|id| (cgroup.hierarchy, id));
        let fate = matches!(change, Change::Existing | Change::Created | Change::Removed | Change::Renamed);
        if !is_deed && !fate {
            return;
        }
        let Some(subject) = self.subject(cgroup, container.as_ref()) else { return };
        let place = self.place(cgroup, container.as_ref());
        let run = actor.as_ref().filter(|_| is_deed).and_then(|actor| {
            let op = Op { what: What::Did(*change), file: None, value: None };
            let path = cgroup.path.clone();
            self.deed(actor, Deed { subject, place: place.clone(), op, at: *at, path, value_truncated: false })
        });
        if let Some(number) = number.filter(|_| fate) {
            self.fate(*change, number, &cgroup.path, subject, place, run);
        }
    }

    fn fate(
        &mut self,
        change: Change,
        number: (HierarchyId, CgroupId),
        path: &Name,
        subject: usize,
        place: Place,
        run: Option<usize>,
    ) {
        if change == Change::Existing {
            if !self.walked {
                self.subjects[subject].cgroups.entry(place).or_default().was_there = true;
            }
            return;
        }
        let mut left = None;
        if let Some((subject, place)) = self.cgroups.remove(&number)
            && let Some(fate) = self.subjects[subject].cgroups.get_mut(&place)
        {
            left = fate.left.remove(&number.1);
        }
        let maker = match change {
            Change::Created => run,
            Change::Renamed if left.is_some() => left.and_then(|(_, maker)| maker),
            _ => return,
        };
        if self.cgroups.len() >= CGROUPS {
            self.left_out += 1;
            return;
        }
        self.cgroups.insert(number, (subject, place.clone()));
        self.subjects[subject].cgroups.entry(place).or_default().left.insert(number.1, (path.clone(), maker));
    }

    fn attempt(&mut self, attempt: &Attempt) {
        let Some(cgroup) = &attempt.cgroup else { return };
        let Some(subject) = self.subject(cgroup, attempt.container.as_ref()) else { return };
        let place = self.place(cgroup, attempt.container.as_ref());
        let moves = |file: &Name| matches!(file.as_bytes(), b"cgroup.procs" | b"cgroup.threads" | b"tasks");
        let op = Op {
            what: What::Failed(attempt.operation, attempt.errno),
            file: attempt.file.clone(),
            value: attempt.value.clone().filter(|_| !attempt.file.as_ref().is_some_and(moves)),
        };
        let (at, path, value_truncated) = (attempt.at, cgroup.path.clone(), attempt.value_truncated);
        self.deed(&attempt.actor, Deed { subject, place, op, at, path, value_truncated });
    }

    fn process(&mut self, process: &Process) {
        let Process { pid, change, comm, exe, argv, uid, exit, .. } = process;
        let known = self.running.get(pid).copied();
        match change {
            ProcessChange::Exit => {
                if let Some(run) = self.running.remove(pid) {
                    self.runs[run].exit = *exit;
                }
            }
            // A process of which nothing is said has a part only if it does something.
            ProcessChange::Exec | ProcessChange::Seen if argv.is_some() => {
                let identity = Identity { exe: exe.clone(), argv: argv.clone(), ..Identity::default() };
                let mut actor = Actor::new(*pid, pid.0, comm.clone(), *uid);
                actor.identity = Some(Arc::new(identity));
                match known {
                    // runc and crun begin the same program again, from a copy.
                    Some(run) if self.runs[run].deeds.is_empty() => self.runs[run].actor = actor,
                    Some(_) => {}
                    None => drop(self.begin(actor)),
                }
            }
            ProcessChange::Exec | ProcessChange::Seen => {}
        }
    }

    fn input(&mut self, input: &Input) {
        match input {
            Input::Event(event) => self.event(event),
            Input::Attempt(attempt) => self.attempt(attempt),
            Input::Process(process) => self.process(process),
            Input::Facts(facts) => match &facts.about {
                About::Walked { .. } => self.walked = true,
                About::Failure { pid, message, .. } => {
                    // It is read when the process has ended.
                    let run = self.runs.iter_mut().rev().find(|run| run.actor.pid == *pid);
                    run.into_iter().for_each(|run| run.failure = Some(message.clone()));
                }
                About::Mounts { .. }
                | About::Container(_)
                | About::State { .. }
                | About::Unread(_)
                | About::Unanswered { .. }
                | About::Occupants(_)
                | About::Circumstances(_)
                | About::Dying { .. } => {}
            },
            // Writes that succeed are told by one backend only: the other one's trace is no other outcome.
            Input::Change(_) | Input::Stuck(_) | Input::Lost(_) | Input::Tick(_) => {}
        }
    }
}

/// Whose a cgroup of that path is.
fn key(path: &Name, container: Option<&Container>) -> Key {
    container.map_or_else(|| Key::Path(path.clone()), |container| Key::Container(container.chain.clone()))
}

impl Output for Side<'_> {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        self.report.line(line)?;
        match line {
            Line::Header(header) => self.labels = HierarchyLabels::of_header(header),
            Line::Input(_, input) => self.input(input),
            Line::Known(..) | Line::Span(_) | Line::Finding(_) | Line::Passed(_) | Line::End(..) => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
