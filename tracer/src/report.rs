//! What a trace tells when it is replayed: the sums, the findings, the lives of containers.

pub mod html;
pub mod markdown;
pub mod text;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;

use crate::budget::{Scale, weigh, weight};
use crate::duration;
use crate::findings::{Finding, Severity};
use crate::hierarchy::Header;
use crate::input::{About, BootTime, Cgroup, Change, HierarchyId, Input};
use crate::line::{Counts, Line, Output};
use crate::name::Name;
use crate::output::{WINDOW, word_of};
use crate::phrases;

/// Findings kept at most: the worst, and what they may take.
const FINDINGS: usize = 1_000;
const BYTES_OF_FINDINGS: usize = 16 << 20;
/// Containers whose lives are kept at most, and steps of all of them together. The oldest make room, those without a
/// failed call first.
const LIVES: usize = 10_000;
const STEPS: usize = 250_000;
/// What all of them may take.
const BYTES_OF_LIVES: usize = 64 << 20;
/// Steps kept of one cgroup's life.
const STEPS_OF_ONE: usize = 256;

/// One recording, and what is to be shown of it.
pub struct Trace<'a> {
    /// The names of its files.
    pub files: String,
    /// What it told.
    pub report: &'a Report,
    /// The findings to show.
    pub findings: Vec<&'a Finding>,
}

/// Gathers a report from a stream.
#[derive(Default)]
pub struct Report {
    /// The trace's header.
    pub header: Option<Header>,
    /// The first and the last thing that happened.
    pub span: Option<(BootTime, BootTime)>,
    /// What went through.
    pub counts: Counts,
    /// Failed calls, by operation and errno.
    pub failed: BTreeMap<(&'static str, String), u64>,
    /// What was lost, by ring and reason.
    pub lost: BTreeMap<(&'static str, &'static str), u64>,
    /// What went wrong.
    pub findings: Findings,
    /// Containers' lives, if they were asked for.
    pub lives: Option<Lives>,
    /// What was there at the start has been told.
    walked: bool,
    /// How many cgroups of cgroup2 were dying then, if that is known.
    dying_before: Option<u64>,
}

/// The last word of each finding.
#[derive(Default)]
pub struct Findings {
    kept: HashMap<String, Finding>,
    scale: Scale,
    by_severity: BTreeMap<Severity, u64>,
}

impl Findings {
    /// Something is told of a finding.
    pub fn add(&mut self, finding: &Finding) {
        // What is kept is what is weighed: a copy has no more room than it needs.
        let kept = finding.clone();
        self.scale.put(&kept);
        let before = self.kept.insert(finding.id.clone(), kept);
        before.iter().for_each(|before| self.scale.take(before));
        match before {
            Some(before) if before.severity == finding.severity => {}
            Some(before) => {
                *self.by_severity.entry(before.severity).or_default() -= 1;
                *self.by_severity.entry(finding.severity).or_default() += 1;
            }
            // One that had made room has become worth keeping after all; it was counted.
            None if finding.revision > 0 => {}
            None => *self.by_severity.entry(finding.severity).or_default() += 1,
        }
        if self.kept.len() > 2 * FINDINGS || self.scale.bytes() > BYTES_OF_FINDINGS {
            self.make_room();
        }
    }

    /// Leaves out the mildest: till there are no more than are kept, and they take three quarters of what they may.
    fn make_room(&mut self) {
        let ids: Vec<String> = self.sorted().map(|finding| finding.id.clone()).collect();
        for (number, id) in ids.iter().enumerate().rev() {
            if number < FINDINGS && self.scale.bytes() <= BYTES_OF_FINDINGS / 4 * 3 {
                return;
            }
            self.kept.remove(id).iter().for_each(|finding| self.scale.take(finding));
        }
    }

    fn sorted(&self) -> impl Iterator<Item = &Finding> {
        let mut findings: Vec<&Finding> = self.kept.values().collect();
        findings.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.at, &finding.id));
        findings.into_iter()
    }

    /// By what they are worth: faults first, then by time.
    pub fn worst_first(&self) -> Vec<&Finding> {
        self.sorted().take(FINDINGS).collect()
    }

    /// How many were made.
    pub fn count(&self) -> u64 {
        self.by_severity.values().sum()
    }

    /// How many of them are of less weight than those that are kept.
    pub fn left_out(&self) -> u64 {
        self.count().saturating_sub(self.kept.len().min(FINDINGS) as u64)
    }

    fn of(&self, severity: Severity) -> u64 {
        self.by_severity.get(&severity).copied().unwrap_or(0)
    }
}

/// The lives of containers, by id.
pub struct Lives {
    /// In the order of their ids.
    pub containers: BTreeMap<Name, Life>,
    /// How many were left out for want of room.
    pub left_out: u64,
    /// Containers that are kept at most.
    most: usize,
    /// In the order they were first seen: those all of whose calls succeeded, and those that had one that failed.
    quiet: VecDeque<Name>,
    troubled: VecDeque<Name>,
    steps: usize,
    bytes: usize,
}

impl Default for Lives {
    fn default() -> Self {
        Self::at_most(LIVES)
    }
}

/// One container's life.
pub struct Life {
    /// Its runtime, and whatever else is known of it.
    pub container: crate::container::Container,
    /// Its cgroups.
    pub cgroups: BTreeMap<(HierarchyId, Name), Vec<Step>>,
    /// Steps that were left out for want of room.
    pub left_out: u64,
    troubled: bool,
    bytes: usize,
}

/// What v1 hierarchies have in common: cgroups of one path whose lives went alike.
pub struct Alike<'a> {
    /// Several if they are v1's.
    pub hierarchies: Vec<HierarchyId>,
    /// The path in each.
    pub path: &'a Name,
    /// The steps in the first of them.
    pub steps: &'a [Step],
}

impl Life {
    /// Its cgroups, in the order of hierarchies and paths; those of the `legacy` hierarchies that went the same way at
    /// about the same time are told as one.
    pub fn alike(&self, legacy: impl Fn(HierarchyId) -> bool) -> Vec<Alike<'_>> {
        let mut all: Vec<Alike<'_>> = Vec::new();
        for ((hierarchy, path), steps) in &self.cgroups {
            let is_like = |other: &&mut Alike<'_>| {
                legacy(other.hierarchies[0]) && other.path == path && are_alike(other.steps, steps)
            };
            match all.iter_mut().find(|other| legacy(*hierarchy) && is_like(other)) {
                Some(other) => other.hierarchies.push(*hierarchy),
                None => all.push(Alike { hierarchies: vec![*hierarchy], path, steps }),
            }
        }
        all
    }
}

fn are_alike(one: &[Step], other: &[Step]) -> bool {
    let are_close = |a: BootTime, b: BootTime| a.since(b).max(b.since(a)) <= WINDOW;
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|(a, b)| (&a.what, a.failed, &a.who) == (&b.what, b.failed, &b.who) && are_close(a.at, b.at))
}

/// One step of a cgroup's life.
pub struct Step {
    /// When.
    pub at: BootTime,
    /// `created`, `removed`, or a failed call such as `rmdir ENOENT`.
    pub what: String,
    /// It failed.
    pub failed: bool,
    /// Who did it.
    pub who: Option<String>,
}

weigh! { Step: what, who; }

impl Report {
    /// An empty report, with or without lives.
    pub fn new(with_lives: bool) -> Self {
        Self { lives: with_lives.then(Lives::default), ..Self::default() }
    }

    /// What the trace covers and what it lacks, a name and a text each.
    pub fn summary(&self, header: &Header) -> Vec<(&'static str, String)> {
        let mut fields = vec![(
            "host",
            format!(
                "{}, Linux {} {}, {} cgroups, backend {}, {}",
                header.host,
                printable(&header.kernel),
                printable(&header.arch),
                header.setup,
                printable(&header.backend),
                printable(&header.tool)
            ),
        )];
        if let Some((first, last)) = self.span {
            let time = phrases::date_and_time(header.clock, first);
            fields.push(("span", format!("{time} UTC, {}", duration::human(last.since(first)))));
        }
        let count = |change: Change| self.counts.events.get(change.as_str()).copied().unwrap_or(0);
        fields.push((
            "cgroups",
            format!(
                "{} were there{}, {} created, {} removed, {} released",
                count(Change::Existing),
                self.dying_before.map(|dying| format!(" and {dying} dying")).unwrap_or_default(),
                count(Change::Created),
                count(Change::Removed),
                count(Change::Released)
            ),
        ));
        let failed = self.failed.iter().map(|((operation, errno), count)| format!("{count} {operation} {errno}"));
        fields.push(("failed", or(failed, "no call")));
        let lost = self.lost.iter().map(|((ring, reason), count)| format!("{count} ({ring}, {reason})"));
        fields.push(("lost", or(lost, "nothing")));
        let of = |severity: Severity| self.findings.of(severity);
        fields.push((
            "findings",
            format!(
                "{}: {} fault, {} undetermined, {} benign",
                self.findings.count(),
                of(Severity::Fault),
                of(Severity::Undetermined),
                of(Severity::Benign)
            ),
        ));
        fields
    }
}

fn or(parts: impl Iterator<Item = String>, none: &str) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { none.to_owned() } else { parts.join(", ") }
}

/// A header's text may be anybody's.
fn printable(text: &str) -> String {
    Name::from(text).printable()
}

impl Report {
    fn input(&mut self, input: &Input) {
        // What is found later to exist was not there at the start: its creation was lost.
        let is_found_later = self.walked && matches!(input, Input::Event(event) if event.change == Change::Existing);
        if !is_found_later {
            self.counts.count(input);
        }
        // A part that begins the trace tells of processes and facts that are older than itself.
        let began = self.header.as_ref().map(|header| BootTime(header.clock.boot_ns));
        let at = input.at().max(began.unwrap_or_default());
        match input {
            Input::Event(event) if event.change == Change::Existing => return,
            Input::Facts(facts) => {
                self.walked |= matches!(facts.about, About::Walked { .. });
                if let About::Dying { count } = facts.about {
                    self.dying_before = self.dying_before.or(Some(count).filter(|_| !self.walked));
                }
                return;
            }
            Input::Event(event) => {
                if let (Some(lives), Some(container)) = (&mut self.lives, &event.container) {
                    let who = event.actor.as_ref().map(|actor| phrases::who(&actor.comm, actor.pid));
                    let step = Step { at, what: word_of(event).to_owned(), failed: false, who };
                    lives.add(container, &event.cgroup, step);
                }
            }
            Input::Attempt(attempt) => {
                let errno = attempt.errno.to_string();
                if let (Some(lives), Some(container), Some(cgroup)) =
                    (&mut self.lives, &attempt.container, &attempt.cgroup)
                {
                    let who = Some(phrases::who(&attempt.actor.comm, attempt.actor.pid));
                    let what = format!("{} {errno}", attempt.operation.as_str());
                    lives.add(container, cgroup, Step { at, what, failed: true, who });
                }
                *self.failed.entry((attempt.operation.as_str(), errno)).or_default() += 1;
            }
            Input::Lost(lost) => {
                let (ring, reason) = (lost.ring.as_str(), lost.reason.as_str());
                let count = self.lost.entry((ring, reason)).or_default();
                *count = count.saturating_add(lost.count);
            }
            Input::Change(_) | Input::Stuck(_) | Input::Process(_) | Input::Tick(_) => {}
        }
        let first = self.span.map_or(at, |(first, _)| first.min(at));
        let last = self.span.map_or(at, |(_, last)| last.max(at));
        self.span = Some((first, last));
    }
}

impl Output for Report {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        match line {
            Line::Header(header) => self.header = Some((*header).clone()),
            Line::Input(_, input) => self.input(input),
            Line::Finding(finding) => {
                self.counts.count_finding(finding);
                self.findings.add(finding);
            }
            Line::Known(..) | Line::Span(_) | Line::Passed(_) | Line::End(..) => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lives {
    /// Of so many containers. The oldest make room, those without a failed call first.
    pub fn at_most(most: usize) -> Self {
        let (quiet, troubled) = (VecDeque::new(), VecDeque::new());
        Self { containers: BTreeMap::new(), left_out: 0, most, quiet, troubled, steps: 0, bytes: 0 }
    }

    fn add(&mut self, container: &crate::container::Container, cgroup: &Cgroup, step: Step) {
        let id = &container.id;
        if !self.containers.contains_key(id) {
            self.quiet.push_back(id.clone());
        }
        let life = self.containers.entry(id.clone()).or_insert_with(|| {
            let bytes = 2 * size_of::<Life>() + weight(container);
            self.bytes += bytes;
            Life { container: container.clone(), cgroups: BTreeMap::new(), left_out: 0, troubled: false, bytes }
        });
        if step.failed && !std::mem::replace(&mut life.troubled, true) {
            self.troubled.push_back(id.clone());
        }
        let place = (cgroup.hierarchy, cgroup.path.clone());
        let is_full = self.steps > STEPS || self.bytes > BYTES_OF_LIVES;
        if is_full || life.cgroups.get(&place).is_some_and(|steps| steps.len() >= STEPS_OF_ONE) {
            life.left_out += 1;
        } else {
            // A list begins with room for four, and the one that grows has twice its room.
            let list =
                if life.cgroups.contains_key(&place) { 0 } else { weight(&place.1) + 2 * size_of::<Step>() + 96 };
            let bytes = 2 * size_of::<Step>() + weight(&step) + list;
            (life.bytes, self.bytes) = (life.bytes + bytes, self.bytes + bytes);
            life.cgroups.entry(place).or_default().push(step);
            self.steps += 1;
        }
        let is_full = |lives: &Self| lives.steps > STEPS || lives.bytes > BYTES_OF_LIVES;
        while self.containers.len() > self.most || is_full(self) && self.containers.len() > 1 {
            self.make_room();
        }
    }

    /// Leaves out the oldest life without a failed call; if there is none, the oldest.
    fn make_room(&mut self) {
        while let Some(id) = self.quiet.pop_front() {
            if self.containers.get(&id).is_some_and(|life| !life.troubled) {
                return self.leave_out(&id);
            }
        }
        if let Some(id) = self.troubled.pop_front() {
            self.leave_out(&id);
        }
    }

    fn leave_out(&mut self, id: &Name) {
        if let Some(life) = self.containers.remove(id) {
            self.bytes -= life.bytes;
            self.steps -= life.cgroups.values().map(Vec::len).sum::<usize>();
            self.left_out += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Container;

    fn lived(lives: &mut Lives, id: &str, path: &str, failed: bool) {
        let container = Container {
            id: id.into(),
            runtime: "runc".into(),
            rule: "rule".into(),
            chain: vec![id.into()],
            name: None,
            image: None,
            pod: None,
            namespace: None,
            depths: Vec::new(),
        };
        let cgroup = Cgroup { hierarchy: HierarchyId(0), id: None, path: path.into(), level: None, truncated: false };
        let step = Step { at: BootTime(0), what: "created".into(), failed, who: None };
        lives.add(&container, &cgroup, step);
    }

    #[test]
    fn telling_the_same_over_and_over_takes_no_more_room() {
        let mut findings = Findings::default();
        (0..40_000).for_each(|revision| findings.add(&Finding::example("kept", revision)));
        assert_eq!((findings.kept.len(), findings.scale.bytes()), (1, weight(&findings.kept["kept"])));
        assert_eq!((findings.count(), findings.left_out()), (1, 0));
    }

    #[test]
    fn the_oldest_lives_make_room_and_trouble_is_kept_longest() {
        let mut lives = Lives::default();
        lived(&mut lives, "troubled", "/troubled", true);
        for number in 0..LIVES + 5 {
            lived(&mut lives, &format!("c{number}"), "/c", false);
        }
        assert_eq!((lives.containers.len(), lives.left_out), (LIVES, 6));
        assert!(lives.containers.contains_key(&Name::from("troubled")));
        assert!(!lives.containers.contains_key(&Name::from("c5")) && lives.containers.contains_key(&Name::from("c6")));
    }

    #[test]
    fn lives_in_v1_hierarchies_that_went_alike_are_told_as_one() {
        let mut lives = Lives::default();
        for hierarchy in [0, 1, 2, 3] {
            lived(&mut lives, "c", "/c", false);
            let life = lives.containers.get_mut(&Name::from("c")).expect("lived");
            let steps = life.cgroups.remove(&(HierarchyId(0), "/c".into())).expect("lived");
            life.cgroups.insert((HierarchyId(10 + hierarchy), "/c".into()), steps);
        }
        let life = lives.containers.get_mut(&Name::from("c")).expect("lived");
        life.cgroups.get_mut(&(HierarchyId(12), "/c".into())).expect("lived")[0].at = BootTime(60_000_000);
        let told = |legacy: &dyn Fn(HierarchyId) -> bool| -> Vec<Vec<u32>> {
            life.alike(legacy).iter().map(|alike| alike.hierarchies.iter().map(|id| id.0).collect()).collect()
        };
        assert_eq!(told(&|id| id.0 > 10), [vec![10], vec![11, 13], vec![12]]);
        assert_eq!(told(&|_| false), [[10], [11], [12], [13]]);
    }

    #[test]
    fn one_life_of_many_cgroups_does_not_grow_for_ever() {
        let mut lives = Lives::default();
        for number in 0..STEPS + 10 {
            lived(&mut lives, ["a", "b"][number % 2], &format!("/{number}"), number % 2 == 0);
        }
        assert!(lives.steps <= STEPS, "{}", lives.steps);
        let mut alone = Lives::default();
        for number in 0..STEPS + 10 {
            lived(&mut alone, "a", &format!("/{number}"), false);
        }
        let life = &alone.containers[&Name::from("a")];
        assert_eq!(life.cgroups.len() as u64 + life.left_out, STEPS as u64 + 10);
        assert!(life.cgroups.len() > 100_000 && alone.bytes < BYTES_OF_LIVES + 1_000, "{}", life.cgroups.len());
    }
}
