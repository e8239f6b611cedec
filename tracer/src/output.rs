//! What users read: text for people, JSON lines for programs.

mod ids;
mod json;
mod palette;
mod rows;
mod text;

use std::collections::BTreeMap;
use std::io;

use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use ids::shorten;
pub use json::Json;
pub use palette::{ColorChoice, Palette};
pub(crate) use rows::WINDOW;
pub(crate) use text::word_of;
pub use text::{Deed, Look, Text, deeds, particulars, relative, write_finding};

use crate::findings::Finding;
use crate::hierarchy::Header;
use crate::input::{BootTime, Change, Input, Operation, Seq};
use crate::tracker::Span;

/// Takes a stream, line by line.
///
/// Every method fails when what is behind it cannot be written.
#[allow(clippy::missing_errors_doc, reason = "said once for all")]
pub trait Output {
    /// The first line.
    fn header(&mut self, header: &Header) -> io::Result<()>;
    /// An input, its derived fields filled in.
    fn input(&mut self, seq: Seq, input: &Input) -> io::Result<()>;
    /// A phase of a cgroup's life is over; most outputs only tell events.
    fn span(&mut self, span: &Span) -> io::Result<()> {
        let _ = span;
        Ok(())
    }
    /// A finding, new or revised.
    fn finding(&mut self, finding: &Finding) -> io::Result<()>;
    /// Nothing earlier than `now` is to come: an output that puts lines together need not wait any longer.
    fn passed(&mut self, now: BootTime) -> io::Result<()> {
        let _ = now;
        Ok(())
    }
    /// The last line.
    fn end(&mut self, at: BootTime, counts: &Counts) -> io::Result<()>;
    /// Hands on what is buffered.
    fn flush(&mut self) -> io::Result<()>;
    /// Whether what follows is to begin with a header of its own and all that is known: a trace file is rotated.
    fn wants_new_part(&self) -> bool {
        false
    }
    /// Begins a part with that header; what is known follows as inputs.
    fn new_part(&mut self, header: &Header) -> io::Result<()> {
        let _ = header;
        Ok(())
    }
}

/// How many there were of everything, by the contract's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// Events, by change.
    pub events: BTreeMap<&'static str, u64>,
    /// Attempts, by operation.
    pub attempts: BTreeMap<&'static str, u64>,
    /// Records of processes.
    pub processes: u64,
    /// Facts read from the host.
    pub facts: u64,
    /// Findings, by kind; a revision is not counted again.
    pub findings: BTreeMap<&'static str, u64>,
    /// Records that did not reach us, for whatever reason.
    pub lost: u64,
    /// What was dropped by the agent itself for want of room.
    pub evicted: u64,
}

impl Counts {
    /// Counts an input.
    pub fn count(&mut self, input: &Input) {
        match input {
            Input::Event(event) => *self.events.entry(event.change.as_str()).or_default() += 1,
            Input::Attempt(attempt) => *self.attempts.entry(attempt.operation.as_str()).or_default() += 1,
            Input::Process(_) => self.processes += 1,
            Input::Facts(_) => self.facts += 1,
            Input::Lost(lost) => self.lost = self.lost.saturating_add(lost.count),
            Input::Tick(_) => {}
        }
    }

    /// Counts a finding.
    pub fn count_finding(&mut self, finding: &Finding) {
        if finding.revision == 0 {
            *self.findings.entry(finding.kind.as_str()).or_default() += 1;
        }
    }

    /// Events that happened while tracing: all but `existing`.
    pub fn happened(&self) -> u64 {
        self.events.iter().filter(|(change, _)| **change != Change::Existing.as_str()).map(|(_, count)| count).sum()
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let plural = |count: u64, one: &str, many: &str| {
            if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
        };
        let attempts = |operation: Operation| self.attempts.get(operation.as_str()).copied().unwrap_or(0);
        let failed = Operation::ALL
            .into_iter()
            .filter(|operation| attempts(*operation) > 0)
            .map(|operation| format!("{} {}", attempts(operation), operation.as_str()))
            .collect::<Vec<_>>();
        let failed = if failed.is_empty() {
            "no failed call".to_owned()
        } else {
            format!("failed calls: {}", failed.join(", "))
        };
        let mut line = format!(
            "{}, {failed}, {}, {} lost",
            plural(self.happened(), "event", "events"),
            plural(self.findings.values().sum(), "finding", "findings"),
            self.lost,
        );
        if self.evicted > 0 {
            line.push_str(&format!(", {} forgotten to save memory", self.evicted));
        }
        line
    }
}
