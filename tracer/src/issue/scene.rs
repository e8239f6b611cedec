//! What of a trace a finding's script is made of: what was done to its cgroup and below it, while its story went on.

use std::collections::HashMap;
use std::io;

use crate::findings::Finding;
use crate::hierarchy::Header;
use crate::input::{About, Attempt, CgroupId, Change, Circumstances, Event, HierarchyId, Input, Seq};
use crate::line::{Line, Output};
use crate::mounts::below;
use crate::name::Name;

/// More is no script that anybody reads.
const MOST: usize = 500;
/// Cgroups whose names are followed.
const CGROUPS: usize = 100_000;

/// One step.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A cgroup's life went one step on; of one that was renamed, `from` is its name before, and `within` what was in
    /// it.
    Event { event: Event, from: Option<Name>, within: Vec<Name> },
    /// A call failed, in a cgroup that is known.
    Attempt(Attempt),
    /// What it was like there when a call had failed.
    Circumstances(Circumstances),
}

/// Gathers the steps of a finding, in order.
pub struct Scene<'a> {
    pub(super) finding: &'a Finding,
    pub(super) header: Option<Header>,
    pub(super) steps: Vec<Step>,
    /// Steps that there was no room for.
    pub(super) left_out: u64,
    paths: HashMap<(HierarchyId, CgroupId), Name>,
    /// Places that it is about: its cgroup, and those that its evidence names.
    places: Vec<Name>,
    /// The lines from the first that tells of the finding to the last.
    span: Option<(Seq, Seq)>,
}

impl<'a> Scene<'a> {
    /// Of that finding, as it was told last.
    pub fn new(finding: &'a Finding) -> Self {
        let evidence = &finding.evidence;
        let span = evidence.iter().min().copied().zip(evidence.iter().max().copied());
        Self {
            finding,
            header: None,
            steps: Vec::new(),
            left_out: 0,
            paths: HashMap::new(),
            places: vec![finding.cgroup.path.clone()],
            span,
        }
    }

    /// Where and by what it was traced.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    fn is_evidence(&self, seq: Seq) -> bool {
        self.finding.evidence.contains(&seq)
    }

    fn add(&mut self, step: Step) {
        if self.steps.len() >= MOST {
            self.left_out += 1;
        } else {
            self.steps.push(step);
        }
    }

    fn event(&mut self, seq: Seq, event: &Event) {
        let cgroup = &event.cgroup;
        let from = cgroup.id.and_then(|id| {
            let known = (cgroup.hierarchy, id);
            let has_room = self.paths.len() < CGROUPS || self.paths.contains_key(&known);
            has_room.then(|| self.paths.insert(known, cgroup.path.clone())).flatten()
        });
        if event.change == Change::Removed {
            cgroup.id.map(|id| self.paths.remove(&(cgroup.hierarchy, id)));
        }
        let is_meanwhile = self.span.is_some_and(|(first, last)| (first..=last).contains(&seq));
        // What several hierarchies tell alike is played in one.
        if !is_meanwhile || cgroup.hierarchy != self.finding.cgroup.hierarchy {
            return;
        }
        if self.is_evidence(seq) && !self.places.contains(&cgroup.path) {
            self.places.push(cgroup.path.clone());
        }
        if self.places.iter().any(|place| below(place, &cgroup.path).is_some()) && event.change != Change::Existing {
            let from = from.filter(|_| event.change == Change::Renamed);
            let is_in =
                |path: &&Name| from.as_ref().and_then(|from| below(from, path)).is_some_and(|rest| !rest.is_empty());
            let beside = self.paths.iter().filter(|((hierarchy, _), _)| *hierarchy == cgroup.hierarchy);
            let within = beside.map(|(_, path)| path).filter(is_in).cloned().collect();
            self.add(Step::Event { event: event.clone(), from, within });
        }
    }

    fn input(&mut self, seq: Seq, input: &Input) {
        match input {
            Input::Event(event) => self.event(seq, event),
            Input::Attempt(attempt) if self.is_evidence(seq) => {
                let hierarchy = attempt.cgroup.as_ref().map(|cgroup| cgroup.hierarchy);
                if hierarchy == Some(self.finding.cgroup.hierarchy) {
                    self.add(Step::Attempt(attempt.clone()));
                }
            }
            Input::Facts(facts) if self.is_evidence(seq) => {
                if let About::Circumstances(circumstances) = &facts.about {
                    self.add(Step::Circumstances((**circumstances).clone()));
                }
            }
            Input::Attempt(_)
            | Input::Change(_)
            | Input::Stuck(_)
            | Input::Facts(_)
            | Input::Process(_)
            | Input::Lost(_)
            | Input::Tick(_) => {}
        }
    }
}

impl Output for Scene<'_> {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        match line {
            Line::Header(header) => self.header = Some((*header).clone()),
            Line::Input(seq, input) | Line::Known(seq, input) => self.input(*seq, input),
            Line::Span(_) | Line::Finding(_) | Line::Passed(_) | Line::End(..) => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
