//! What a trace tells when it is replayed: the sums, the findings, the lives of containers.

pub mod html;

use std::collections::BTreeMap;
use std::io;

use crate::duration;
use crate::findings::{Finding, Severity};
use crate::hierarchy::Header;
use crate::input::{BootTime, Cgroup, Change, HierarchyId, Input, Seq};
use crate::name::Name;
use crate::output::{Counts, Output};

/// Containers whose lives are kept at most; those that ended first make room.
const LIVES: usize = 10_000;
/// Steps kept of one cgroup's life.
const STEPS: usize = 256;

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
    pub lost: BTreeMap<(String, String), u64>,
    /// The last word of each finding, in the order they were first made.
    pub findings: Vec<Finding>,
    /// Every finding, in the order they were told: what `live` printed.
    pub told: Vec<Finding>,
    /// Containers' lives, if they were asked for.
    pub lives: Option<Lives>,
    /// The trace has its last line.
    pub whole: bool,
}

/// The lives of containers, by id.
#[derive(Default)]
pub struct Lives {
    /// In the order of their ids.
    pub containers: BTreeMap<Name, Life>,
    /// How many were left out for want of room.
    pub left_out: u64,
}

/// One container's life.
pub struct Life {
    /// Its runtime, and whatever else is known of it.
    pub container: crate::container::Container,
    /// Its cgroups.
    pub cgroups: BTreeMap<(HierarchyId, Name), Vec<Step>>,
    /// Steps that were left out for want of room.
    pub left_out: u64,
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
            let time = header.clock.rfc3339(first);
            let time = time.get(..19).unwrap_or(&time).replace('T', " ");
            fields.push(("span", format!("{time} UTC, {}", duration::human(last.since(first)))));
        }
        let count = |change: Change| self.counts.events.get(change.as_str()).copied().unwrap_or(0);
        fields.push((
            "cgroups",
            format!(
                "{} were there, {} created, {} removed, {} released",
                count(Change::Existing),
                count(Change::Created),
                count(Change::Removed),
                count(Change::Released)
            ),
        ));
        let failed = self.failed.iter().map(|((operation, errno), count)| format!("{count} {operation} {errno}"));
        fields.push(("failed", or(failed, "no call")));
        let lost = self.lost.iter().map(|((ring, reason), count)| format!("{count} ({ring}, {reason})"));
        fields.push(("lost", or(lost, "nothing")));
        let of = |severity: Severity| self.findings.iter().filter(|finding| finding.severity == severity).count();
        fields.push((
            "findings",
            format!(
                "{}: {} fault, {} undetermined, {} benign",
                self.findings.len(),
                of(Severity::Fault),
                of(Severity::Undetermined),
                of(Severity::Benign)
            ),
        ));
        fields
    }

    /// Findings by what they are worth: faults first, then by time.
    pub fn worst_first(&self) -> Vec<&Finding> {
        let mut findings: Vec<&Finding> = self.findings.iter().collect();
        findings.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.at));
        findings
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

impl Output for Report {
    fn header(&mut self, header: &Header) -> io::Result<()> {
        self.header = Some(header.clone());
        Ok(())
    }

    fn input(&mut self, _: Seq, input: &Input) -> io::Result<()> {
        self.counts.count(input);
        let at = input.at();
        match input {
            Input::Event(event) if event.change == Change::Existing => return Ok(()),
            Input::Facts(_) => return Ok(()),
            Input::Event(event) => {
                if let (Some(lives), Some(container)) = (&mut self.lives, &event.container) {
                    let who = event.actor.as_ref().map(|actor| format!("{}[{}]", actor.comm, actor.pid));
                    let step = Step { at, what: event.change.as_str().to_owned(), failed: false, who };
                    lives.add(container, &event.cgroup, step);
                }
            }
            Input::Attempt(attempt) => {
                let errno = attempt.errno.to_string();
                if let (Some(lives), Some(container), Some(cgroup)) =
                    (&mut self.lives, &attempt.container, &attempt.cgroup)
                {
                    let who = Some(format!("{}[{}]", attempt.actor.comm, attempt.actor.pid));
                    let what = format!("{} {errno}", attempt.operation.as_str());
                    lives.add(container, cgroup, Step { at, what, failed: true, who });
                }
                *self.failed.entry((attempt.operation.as_str(), errno)).or_default() += 1;
            }
            Input::Lost(lost) => {
                let word = |value: serde_json::Result<serde_json::Value>| {
                    value.ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
                };
                let (ring, reason) = (word(serde_json::to_value(lost.ring)), word(serde_json::to_value(lost.reason)));
                *self.lost.entry((ring, reason)).or_default() += lost.count;
            }
            Input::Process(_) | Input::Tick(_) => {}
        }
        let first = self.span.map_or(at, |(first, _)| first.min(at));
        let last = self.span.map_or(at, |(_, last)| last.max(at));
        self.span = Some((first, last));
        Ok(())
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self.counts.count_finding(finding);
        match self.findings.iter_mut().find(|known| known.id == finding.id) {
            Some(known) => *known = finding.clone(),
            None => self.findings.push(finding.clone()),
        }
        self.told.push(finding.clone());
        Ok(())
    }

    fn end(&mut self, _: BootTime, _: &Counts) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lives {
    fn add(&mut self, container: &crate::container::Container, cgroup: &Cgroup, step: Step) {
        if !self.containers.contains_key(&container.id) && self.containers.len() >= LIVES {
            self.left_out += 1;
            return;
        }
        let life = self.containers.entry(container.id.clone()).or_insert_with(|| Life {
            container: container.clone(),
            cgroups: BTreeMap::new(),
            left_out: 0,
        });
        let steps = life.cgroups.entry((cgroup.hierarchy, cgroup.path.clone())).or_default();
        if steps.len() < STEPS {
            steps.push(step);
        } else {
            life.left_out += 1;
        }
    }
}
