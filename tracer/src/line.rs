//! The lines of a stream, and what takes them.
//!
//! [`Stream`](crate::stream::Stream) hands them out, live and in a replay alike. Whoever takes them matches on every
//! kind: so none is dropped unseen, and what only restates is never taken for something that happened.

use std::collections::BTreeMap;
use std::io;

use schemars::JsonSchema;
use serde::Serialize;

use crate::findings::Finding;
use crate::hierarchy::Header;
use crate::input::{BootTime, Change, Input, Operation, Seq, is_zero};
use crate::phrases::count;
use crate::tracker::Span;

/// One line.
#[derive(Clone, Copy, Debug)]
pub enum Line<'a> {
    /// The first line of a stream; and of each part of one that is traced now and whose trace file is rotated. Such a
    /// part begins with the clock of then and all that is known.
    Header(&'a Header),
    /// An input, its derived fields filled in.
    Input(Seq, &'a Input),
    /// An input that only restates what was said: a new part begins with it, or cgroupfs was walked again. Nothing
    /// happened. It is there for whoever reads a trace from here on, and it is part of the trace.
    Known(Seq, &'a Input),
    /// A phase of a cgroup's life is over.
    Span(&'a Span),
    /// A finding, new or revised.
    Finding(&'a Finding),
    /// Nothing earlier than this is to come: who puts lines together need not wait any longer. Only a stream that is
    /// traced now says so.
    Passed(BootTime),
    /// The last line.
    End(BootTime, &'a Counts),
}

/// Takes a stream, line by line.
pub trait Output {
    /// Takes a line.
    ///
    /// # Errors
    /// When what is behind it cannot be written.
    fn line(&mut self, line: &Line<'_>) -> io::Result<()>;

    /// Hands on what is buffered.
    ///
    /// # Errors
    /// When what is behind it cannot be written.
    fn flush(&mut self) -> io::Result<()>;
}

/// How many there were of everything, by the contract's words. What only restates is not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// Events, by change.
    pub events: BTreeMap<&'static str, u64>,
    /// Attempts, by operation.
    pub attempts: BTreeMap<&'static str, u64>,
    /// Writes to control files that succeeded.
    #[serde(skip_serializing_if = "is_zero")]
    pub changes: u64,
    /// Lines of calls that do not return, and of those that have returned after all.
    #[serde(skip_serializing_if = "is_zero")]
    pub stuck: u64,
    /// Records of processes.
    pub processes: u64,
    /// Facts read from the host.
    pub facts: u64,
    /// Findings, by kind; a revision is not counted again.
    pub findings: BTreeMap<&'static str, u64>,
    /// Records that did not reach us, for whatever reason.
    pub lost: u64,
    /// What was dropped by the agent itself to save memory.
    pub evicted: u64,
}

impl Counts {
    /// Counts an input.
    pub fn count(&mut self, input: &Input) {
        match input {
            Input::Event(event) => *self.events.entry(event.change.as_str()).or_default() += 1,
            Input::Attempt(attempt) => *self.attempts.entry(attempt.operation.as_str()).or_default() += 1,
            Input::Change(_) => self.changes += 1,
            Input::Stuck(_) => self.stuck += 1,
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
            count(self.happened(), "event", "events"),
            count(self.findings.values().sum(), "finding", "findings"),
            self.lost,
        );
        if self.evicted > 0 {
            line.push_str(&format!(", {} forgotten to save memory", self.evicted));
        }
        line
    }
}
