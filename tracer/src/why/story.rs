//! The story of one subject, gathered from a stream, and the paragraph that tells it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;

use serde::Serialize;

use super::matches::{Match, Subject};
use super::meaning::meaning;
use crate::container::Container;
use crate::duration;
use crate::errno::Errno;
use crate::findings::Finding;
use crate::hierarchy::Header;
use crate::input::{
    About, Actor, Attempt, BootTime, Cgroup, CgroupId, Change, Event, Exit, HierarchyId, Input, Lost, Operation, Pid,
    ProcessChange, Stuck, Written,
};
use crate::line::{Line, Output};
use crate::name::{Name, components};
use crate::output::{Row, Rows, word_of};
use crate::phrases::{self, count, time_of_day};

/// Steps, processes and findings that are kept; further ones are counted.
const STEPS: usize = 2_000;
const ACTORS: usize = 64;
const FINDINGS: usize = 100;
/// Cgroups of one subject whose lives are followed.
const LIVES: usize = 10_000;

/// One step of the story: in one hierarchy, or in several of v1 alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// When; of several, the first.
    pub at: BootTime,
    /// `created`, `removed`, an operation that failed, or `exit`.
    pub what: &'static str,
    /// How it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<Errno>,
    /// Where. None for what a process did to itself.
    pub hierarchies: Vec<HierarchyId>,
    /// The cgroup, or what a process called it where that could not be resolved.
    pub path: String,
    /// The control file, and what was written to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What the errno means here, who was moved, how it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How often it came, one after the other.
    pub times: u64,
}

/// What became of one cgroup.
#[derive(Debug)]
struct Life {
    hierarchy: HierarchyId,
    /// Its path, the last one if it was renamed.
    path: Name,
    /// When and by whom it was made. `None` if it was there before, or that was not seen.
    made: Option<(BootTime, Option<String>)>,
    /// It was found when tracing began.
    was_there: bool,
    removed: Option<(BootTime, Option<String>)>,
    released: Option<BootTime>,
}

impl Life {
    fn depth(&self) -> usize {
        components(self.path.as_bytes()).count()
    }

    /// When it was heard of first.
    fn began(&self) -> Option<BootTime> {
        self.made.as_ref().map(|(at, _)| *at)
    }
}

/// What was lost while the story went on, by ring and reason.
type Losses = BTreeMap<(&'static str, &'static str), u64>;

/// Gathers the story of one subject.
pub struct Story<'a> {
    subject: &'a Subject,
    errno: Option<Errno>,
    header: Option<Header>,
    container: Option<Arc<Container>>,
    rows: Rows,
    steps: Vec<Step>,
    left_out: u64,
    /// By the cgroups' numbers.
    lives: HashMap<(HierarchyId, CgroupId), Life>,
    /// Cgroups of the subject by their numbers: they keep those when they are renamed.
    ids: HashSet<(HierarchyId, CgroupId)>,
    /// All the paths that a cgroup has had.
    paths: HashSet<Name>,
    /// Processes that took part and have not ended.
    running: HashSet<Pid>,
    actors: Vec<Actor>,
    findings: BTreeMap<String, Finding>,
    findings_left_out: u64,
    failed: BTreeMap<(Operation, Errno), u64>,
    /// The last call that failed with the errno that was asked about, or any.
    failure: Option<(BootTime, Operation, Errno, String)>,
    losses: Losses,
    /// Those before the subject was heard of: its beginning may be among them.
    losses_before: Losses,
    /// What was there when tracing began has been told.
    walked: bool,
    span: Option<(BootTime, BootTime)>,
    /// The end line: a stream without it was cut short.
    ended: Option<BootTime>,
}

/// What is known of a subject.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// Of what.
    pub subject: Subject,
    /// Its container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Arc<Container>>,
    /// What happened and why, in one paragraph.
    pub paragraph: String,
    /// What went wrong, the worst first.
    pub findings: Vec<Finding>,
    /// The story, in order.
    pub steps: Vec<Step>,
    /// Steps that there was no room for.
    pub steps_left_out: u64,
    /// What was not seen and would matter.
    pub unseen: Vec<String>,
    /// Where and by what it was traced.
    #[serde(skip)]
    pub header: Option<Header>,
    /// Who took part.
    #[serde(skip)]
    pub actors: Vec<Actor>,
}

impl<'a> Story<'a> {
    /// Of what was found; `errno` is what the question tells of.
    pub fn new(found: &'a Match, errno: Option<Errno>) -> Self {
        let subject = &found.subject;
        let path = match subject {
            Subject::Cgroup(path) => Some(path.clone()),
            Subject::Container(_) | Subject::Process(_) => None,
        };
        Self {
            subject,
            errno,
            header: None,
            container: None,
            rows: Rows::default(),
            steps: Vec::new(),
            left_out: 0,
            lives: HashMap::new(),
            ids: found.ids.clone(),
            paths: path.into_iter().collect(),
            running: HashSet::new(),
            actors: Vec::new(),
            findings: BTreeMap::new(),
            findings_left_out: 0,
            failed: BTreeMap::new(),
            failure: None,
            losses: Losses::new(),
            losses_before: Losses::new(),
            walked: false,
            span: None,
            ended: None,
        }
    }

    /// Whether a cgroup is the subject's, or one of it.
    fn is_of(&self, cgroup: &Cgroup, container: Option<&Container>) -> bool {
        match self.subject {
            Subject::Container(id) => container.is_some_and(|container| container.id == *id) || self.is_known(cgroup),
            Subject::Cgroup(_) => self.paths.contains(&cgroup.path) || self.is_known(cgroup),
            Subject::Process(_) => false,
        }
    }

    fn is_known(&self, cgroup: &Cgroup) -> bool {
        cgroup.id.is_some_and(|id| self.ids.contains(&(cgroup.hierarchy, id)))
    }

    fn is_by(&self, actor: Option<&Actor>) -> bool {
        matches!(self.subject, Subject::Process(pid) if actor.is_some_and(|actor| actor.pid == *pid))
    }

    fn saw(&mut self, actor: Option<&Actor>) -> Option<String> {
        let actor = actor?;
        self.running.insert(actor.pid);
        // What was learnt of it later says more.
        let is_full = self.actors.len() >= ACTORS;
        match self.actors.iter_mut().find(|known| known.is_same_process_as(actor)) {
            Some(known) if actor.identity.is_some() => *known = actor.clone(),
            Some(_) => {}
            None if is_full => {}
            None => self.actors.push(actor.clone()),
        }
        Some(phrases::who(&actor.comm, actor.pid))
    }

    fn event(&mut self, event: &Event) {
        let is_own = self.is_of(&event.cgroup, event.container.as_deref());
        if !is_own && !self.is_by(event.actor.as_ref()) {
            return;
        }
        if is_own {
            self.container = event.container.clone().or(self.container.take());
        }
        let by = self.saw(event.actor.as_ref());
        self.live(event, by.clone());
        if event.change == Change::Existing {
            return;
        }
        let moved = event.task.as_ref().and_then(|task| {
            let pid = task.pid.or(task.tid.map(Pid))?;
            Some(format!("moved {}", phrases::who(&task.comm, pid)))
        });
        self.row(Row {
            at: event.at,
            word: word_of(event),
            errno: None,
            hierarchies: vec![event.cgroup.hierarchy],
            path: event.cgroup.path.printable(),
            tail: [None, moved, by],
        });
    }

    fn live(&mut self, event: &Event, by: Option<String>) {
        let Cgroup { hierarchy, id, path, .. } = &event.cgroup;
        let Some(id) = id.map(|id| (*hierarchy, id)) else { return };
        if self.lives.len() >= LIVES && !self.lives.contains_key(&id) {
            return;
        }
        self.ids.insert(id);
        self.paths.insert(path.clone());
        let new = || Life {
            hierarchy: *hierarchy,
            path: path.clone(),
            made: None,
            was_there: false,
            removed: None,
            released: None,
        };
        let life = self.lives.entry(id).or_insert_with(new);
        life.path = path.clone();
        match event.change {
            // Found by a later walk: its creation was lost.
            Change::Existing => life.was_there |= !self.walked,
            Change::Created => *life = Life { made: Some((event.at, by)), ..new() },
            Change::Removed => life.removed = Some((event.at, by)),
            Change::Released => life.released = Some(event.at),
            Change::Renamed
            | Change::Populated
            | Change::Emptied
            | Change::Attached
            | Change::Frozen
            | Change::Thawed => {}
        }
    }

    /// Whether a call on a file is the subject's: by the cgroup, whose container is noted, or by who made it.
    fn concerns(&mut self, cgroup: Option<&Cgroup>, container: Option<&Arc<Container>>, actor: &Actor) -> bool {
        let is_own = cgroup.is_some_and(|cgroup| self.is_of(cgroup, container.map(Arc::as_ref)));
        if is_own {
            self.container = container.cloned().or(self.container.take());
        }
        is_own || self.is_by(Some(actor))
    }

    fn attempt(&mut self, attempt: &Attempt) {
        if !self.concerns(attempt.cgroup.as_ref(), attempt.container.as_ref(), &attempt.actor) {
            return;
        }
        let by = self.saw(Some(&attempt.actor));
        let (operation, errno) = (attempt.operation, attempt.errno);
        *self.failed.entry((operation, errno)).or_default() += 1;
        if self.errno.is_none_or(|asked| asked == errno) {
            self.failure = Some((attempt.at, operation, errno, by.clone().unwrap_or_default()));
        }
        let path = attempt.cgroup.as_ref().map_or(&attempt.path, |cgroup| &cgroup.path);
        self.row(Row {
            at: attempt.at,
            word: operation.as_str(),
            errno: Some(errno),
            hierarchies: attempt.cgroup.iter().map(|cgroup| cgroup.hierarchy).collect(),
            path: path.printable(),
            tail: [
                file_and_value(attempt.file.as_ref(), attempt.value.as_ref(), attempt.value_truncated),
                meaning(operation, errno).map(str::to_owned),
                by,
            ],
        });
    }

    fn written(&mut self, written: &Written) {
        if !self.concerns(written.cgroup.as_ref(), written.container.as_ref(), &written.actor) {
            return;
        }
        let by = self.saw(Some(&written.actor));
        let file = file_and_value(Some(&written.file), written.value.as_ref(), written.value_truncated);
        let path = written.cgroup.as_ref().map_or(&written.directory.path, |cgroup| &cgroup.path);
        self.row(Row {
            at: written.at,
            word: "write",
            errno: None,
            hierarchies: written.cgroup.iter().map(|cgroup| cgroup.hierarchy).collect(),
            path: path.printable(),
            tail: [file, None, by],
        });
    }

    fn stuck(&mut self, stuck: &Stuck) {
        if !self.concerns(stuck.cgroup.as_ref(), stuck.container.as_ref(), &stuck.actor) {
            return;
        }
        let by = self.saw(Some(&stuck.actor));
        self.row(Row {
            at: stuck.at,
            word: "stuck",
            errno: stuck.errno,
            hierarchies: vec![stuck.hierarchy],
            path: stuck.cgroup.as_ref().map(|cgroup| cgroup.path.printable()).unwrap_or_default(),
            tail: [stuck.file.as_ref().map(|file| file.printable()), Some(phrases::stuck(stuck)), by],
        });
    }

    fn row(&mut self, row: Row) {
        let at = row.at;
        self.settle(at);
        self.rows.add(row);
        self.settle(at);
    }

    /// Takes over the rows that nothing can join any more.
    fn settle(&mut self, now: BootTime) {
        while let Some(row) = self.rows.take_due(now) {
            self.step(row);
        }
    }

    fn step(&mut self, row: Row) {
        let [file, note, by] = row.tail;
        let step = Step {
            at: row.at,
            what: row.word,
            errno: row.errno,
            hierarchies: row.hierarchies,
            path: row.path,
            file,
            by,
            note,
            times: 1,
        };
        if let Some(last) = self.steps.last_mut().filter(|_| self.left_out == 0)
            && (last.what, last.errno, &last.hierarchies, &last.path, &last.file, &last.by, &last.note)
                == (step.what, step.errno, &step.hierarchies, &step.path, &step.file, &step.by, &step.note)
        {
            last.times += 1;
        } else if self.steps.len() < STEPS {
            self.steps.push(step);
        } else {
            self.left_out += 1;
        }
    }

    fn finding(&mut self, finding: &Finding) {
        let is_by = |pid: Pid| {
            let rival = finding.rival.as_ref().and_then(|rival| rival.actor.as_ref());
            finding.actor.iter().chain(rival).any(|actor| actor.pid == pid)
        };
        let is_about = match self.subject {
            Subject::Process(pid) => is_by(*pid),
            Subject::Container(_) | Subject::Cgroup(_) => self.is_of(&finding.cgroup, finding.container.as_deref()),
        };
        if !is_about {
            return;
        }
        if self.findings.len() < FINDINGS || self.findings.contains_key(&finding.id) {
            self.findings.insert(finding.id.clone(), finding.clone());
        } else if finding.revision == 0 {
            self.findings_left_out += 1;
        }
    }

    fn lost(&mut self, lost: &Lost) {
        let losses = if self.span.is_some() { &mut self.losses } else { &mut self.losses_before };
        let count = losses.entry((lost.ring.as_str(), lost.reason.as_str())).or_default();
        *count = count.saturating_add(lost.count);
    }

    /// What is known now. `None` if nothing is.
    pub fn answer(mut self) -> Option<Answer> {
        while let Some(row) = self.rows.take() {
            self.step(row);
        }
        if self.steps.is_empty() && self.lives.is_empty() && self.findings.is_empty() {
            return None;
        }
        let mut findings: Vec<Finding> = std::mem::take(&mut self.findings).into_values().collect();
        findings.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.at, finding.id.clone()));
        Some(Answer {
            paragraph: self.paragraph(&findings),
            unseen: self.unseen(),
            subject: self.subject.clone(),
            container: self.container,
            findings,
            steps: self.steps,
            steps_left_out: self.left_out,
            header: self.header,
            actors: self.actors,
        })
    }
}

impl Output for Story<'_> {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        match line {
            Line::Header(header) => {
                self.rows.set_hierarchies(header);
                self.header.get_or_insert_with(|| (*header).clone());
            }
            Line::Input(_, input) => {
                let steps = self.steps.len() + self.lives.len();
                match input {
                    Input::Event(event) => self.event(event),
                    Input::Attempt(attempt) => self.attempt(attempt),
                    Input::Change(written) => self.written(written),
                    Input::Stuck(stuck) => self.stuck(stuck),
                    Input::Process(process) if process.change == ProcessChange::Exit => {
                        if self.running.remove(&process.pid) {
                            let ended = match process.exit {
                                Some(Exit::Code(code)) => Some(format!("with status {code}")),
                                Some(Exit::Signal(signal)) => Some(format!("by signal {signal}")),
                                None => None,
                            };
                            let by = Some(phrases::who(&process.comm, process.pid));
                            self.row(Row {
                                at: process.at,
                                word: "exit",
                                errno: None,
                                hierarchies: Vec::new(),
                                path: String::new(),
                                tail: [None, ended, by],
                            });
                        }
                    }
                    Input::Lost(lost) => self.lost(lost),
                    Input::Facts(facts) => self.walked |= matches!(facts.about, About::Walked { .. }),
                    Input::Process(_) | Input::Tick(_) => {}
                }
                self.settle(input.at());
                if self.steps.len() + self.lives.len() != steps {
                    let first = self.span.map_or(input.at(), |(first, _)| first);
                    self.span = Some((first, input.at()));
                }
            }
            Line::Finding(finding) => self.finding(finding),
            Line::End(at, _) => self.ended = Some(*at),
            Line::Known(..) | Line::Span(_) | Line::Passed(_) => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Words.
impl Story<'_> {
    fn time(&self, at: BootTime) -> String {
        self.header.as_ref().map_or_else(String::new, |header| time_of_day(header.clock, at))
    }

    fn paragraph(&self, findings: &[Finding]) -> String {
        let mut sentences = Vec::new();
        if let Some(worst) = findings.first() {
            sentences.push(sentence(&worst.summary));
            let others = findings.len() as u64 - 1 + self.findings_left_out;
            if others > 0 {
                sentences.push(format!("There {} of it.", are(others, "more finding", "more findings")));
            }
        }
        match self.subject {
            Subject::Process(_) => sentences.push(self.deeds()),
            // That it never was is what the finding says.
            Subject::Container(_) | Subject::Cgroup(_) if self.lives.is_empty() && !findings.is_empty() => {}
            Subject::Container(_) | Subject::Cgroup(_) => sentences.push(self.life()),
        }
        sentences.extend(self.failures(findings));
        sentences.join(" ")
    }

    /// What a process did.
    fn deeds(&self) -> String {
        let of = |change: &str| -> usize {
            self.steps.iter().filter(|step| step.what == change).map(|step| step.hierarchies.len()).sum()
        };
        let (made, removed) = (of(Change::Created.as_str()), of(Change::Removed.as_str()));
        let name =
            self.actors.first().map_or_else(|| self.subject.to_string(), |actor| phrases::who(&actor.comm, actor.pid));
        if made + removed == 0 {
            return format!("{name} made and removed no cgroup.");
        }
        format!(
            "{name} made {} and removed {}.",
            count(made as u64, "cgroup", "cgroups"),
            count(removed as u64, "cgroup", "cgroups")
        )
    }

    /// What became of a cgroup, or of a container's own: in every hierarchy the last of that path.
    fn life(&self) -> String {
        let Some(least) = self.lives.values().map(Life::depth).min() else {
            return "It was never there while this was traced.".to_owned();
        };
        let mut latest: BTreeMap<(HierarchyId, &Name), &Life> = BTreeMap::new();
        let mut generations: BTreeMap<(HierarchyId, &Name), u64> = BTreeMap::new();
        for life in self.lives.values().filter(|life| life.depth() == least) {
            let place = (life.hierarchy, &life.path);
            *generations.entry(place).or_default() += 1;
            let last = latest.entry(place).or_insert(life);
            if life.began() > last.began() {
                *last = life;
            }
        }
        let own: Vec<&Life> = latest.into_values().collect();
        let by = |who: &Option<String>| who.as_ref().map(|who| format!(" by {who}")).unwrap_or_default();
        let name = match self.subject {
            Subject::Container(_) => "Its cgroup",
            Subject::Cgroup(_) | Subject::Process(_) => "The cgroup",
        };
        let first = own.iter().filter_map(|life| life.made.as_ref()).min_by_key(|(at, _)| *at);
        let began = match first {
            Some((at, who)) => format!("was made{} at {}", by(who), self.time(*at)),
            None if own.iter().any(|life| life.was_there) => "was there when tracing began".to_owned(),
            None => "was there (who made it was not seen)".to_owned(),
        };
        let removals: Vec<&(BootTime, Option<String>)> = own.iter().filter_map(|life| life.removed.as_ref()).collect();
        let left = own.len() - removals.len();
        let last = removals.into_iter().max_by_key(|(at, _)| *at);
        let ended = match last {
            None => "was still there at the end of the trace".to_owned(),
            Some((at, who)) => {
                let after = first.map_or_else(
                    || format!("at {}", self.time(*at)),
                    |(made, _)| format!("{} later", duration::human(at.since(*made))),
                );
                let some = if left > 0 {
                    format!(" in {} of {} hierarchies", own.len() - left, own.len())
                } else {
                    String::new()
                };
                let released = own.iter().filter_map(|life| life.released).max();
                let released = match released {
                    Some(released) => {
                        format!("; the kernel released it {} after that", duration::human(released.since(*at)))
                    }
                    None => "; the kernel had not released it at the end of the trace".to_owned(),
                };
                format!("was removed{} {after}{some}{released}", by(who))
            }
        };
        let before = match generations.into_values().max().unwrap_or(1) {
            0 | 1 => String::new(),
            all => format!(" There {} of that name before it.", were(all - 1, "cgroup", "cgroups")),
        };
        format!("{name} {began}, and {ended}.{before}")
    }

    /// The calls on it that failed; more of the one that was asked about.
    fn failures(&self, findings: &[Finding]) -> Vec<String> {
        let all: u64 = self.failed.values().sum();
        if all == 0 {
            let asked = self.errno.map(|errno| format!(" No call on it failed with {errno} while this was traced."));
            return asked.into_iter().map(|text| text.trim_start().to_owned()).collect();
        }
        let kinds: Vec<String> = self
            .failed
            .iter()
            .map(|((operation, errno), times)| format!("{times} {} {errno}", operation.as_str()))
            .collect();
        let of = match self.subject {
            Subject::Process(_) => "of its calls",
            Subject::Container(_) | Subject::Cgroup(_) => "of the calls on it",
        };
        let mut sentences = vec![format!("{all} {of} failed ({}).", kinds.join(", "))];
        match (&self.failure, self.errno) {
            (Some((at, operation, errno, who)), Some(_)) => {
                let means = meaning(*operation, *errno).unwrap_or("its meaning is not known here");
                sentences.push(format!(
                    "The {} that failed with {errno} last was that of {who} at {}: {means}.",
                    operation.as_str(),
                    self.time(*at)
                ));
            }
            (None, Some(errno)) => sentences.push(format!("None of them failed with {errno}.")),
            (_, None) => {}
        }
        if findings.is_empty() {
            sentences.push("No finding was made of them.".to_owned());
        }
        sentences
    }

    /// What was not seen and would matter.
    fn unseen(&self) -> Vec<String> {
        let mut unseen = Vec::new();
        let Some(header) = &self.header else { return unseen };
        if self.lives.values().any(|life| life.was_there && life.made.is_none()) {
            let began = time_of_day(header.clock, BootTime(header.clock.boot_ns));
            unseen.push(format!("what happened before {began}, when tracing began"));
        }
        for probe in header.probes.iter().filter(|probe| !probe.attached) {
            let why =
                probe.reason.as_deref().map(|why| format!(" ({})", Name::from(why).printable())).unwrap_or_default();
            unseen
                .push(format!("what {} tells: it was not attached{why}", Name::from(probe.name.as_str()).printable()));
        }
        let mut losses = self.losses.clone();
        let is_unmade = |life: &Life| life.made.is_none() && !life.was_there;
        if self.lives.is_empty() || self.lives.values().any(is_unmade) {
            for (which, lost) in &self.losses_before {
                let count = losses.entry(*which).or_default();
                *count = count.saturating_add(*lost);
            }
        }
        for ((ring, reason), lost) in &losses {
            unseen.push(format!(
                "{} of {ring} that {} lost meanwhile ({reason})",
                count(*lost, "record", "records"),
                was(*lost)
            ));
        }
        if self.ended.is_none() {
            unseen.push("how it went on: the trace is cut short".to_owned());
        }
        unseen
    }
}

fn sentence(text: &str) -> String {
    let mut text = text.to_owned();
    if !text.ends_with('.') {
        text.push('.');
    }
    text
}

fn are(number: u64, one: &str, several: &str) -> String {
    format!("{} {}", if number == 1 { "is" } else { "are" }, count(number, one, several))
}

fn were(number: u64, one: &str, several: &str) -> String {
    format!("{} {}", was(number), count(number, one, several))
}

fn was(number: u64) -> &'static str {
    if number == 1 { "was" } else { "were" }
}

/// A control file and what was to be written to it; `None` if neither is known.
fn file_and_value(file: Option<&Name>, value: Option<&Name>, is_cut: bool) -> Option<String> {
    let wrote = value.map(|value| phrases::value(value, is_cut));
    let words: Vec<String> = file.map(Name::printable).into_iter().chain(wrote).collect();
    Some(words.join(" ")).filter(|words| !words.is_empty())
}

#[cfg(test)]
mod tests;
