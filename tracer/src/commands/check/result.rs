//! What a check comes to: one line, and the exit status of the protocol that was asked for. No I/O.

use serde::Deserialize;

use crate::commands::arguments::FailOn;
use crate::findings::{Finding, Severity};
use crate::hierarchy::Clock;
use crate::name::Name;
use crate::phrases::count;

/// Bytes of a line. node-problem-detector reads 4 KiB, and Nagios shows less.
const LINE: usize = 1_000;

/// What is looked at of a finding, as an agent tells it, or as it comes out of a trace file.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Told {
    id: String,
    kind: String,
    cause: String,
    severity: String,
    summary: String,
    /// RFC 3339, UTC, always of the same length.
    time: String,
}

impl Told {
    pub fn new(finding: &Finding, clock: Clock) -> Self {
        Self {
            id: finding.id.clone(),
            kind: finding.kind.as_str().to_owned(),
            cause: finding.cause.as_str().to_owned(),
            severity: finding.severity.as_str().to_owned(),
            summary: finding.summary.clone(),
            time: clock.rfc3339(finding.at),
        }
    }

    fn describe(&self) -> String {
        let Self { id, kind, cause, severity: _, summary, time } = self;
        let time = time.get(..19).unwrap_or(time).replace('T', " ");
        format!("{kind}, {cause}, {time} UTC: {summary}; finding {id}")
    }
}

/// Everything that was looked at.
pub(super) struct Seen {
    pub findings: Vec<Told>,
    /// Which findings these are, such as `in the last 1h`; empty for all.
    pub window: String,
    /// Where they are from.
    pub source: String,
    /// There were more than are kept.
    pub is_cut: bool,
    /// Why it cannot be said that there is no other.
    pub doubt: Option<String>,
}

/// How the result is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// node-problem-detector's: 0 no problem, 1 a problem, 2 unknown.
    NodeProblem,
    /// That of Nagios's plugins: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, and figures behind a bar.
    Nagios,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok,
    /// It is not known whether there is a problem: an outcome was not seen.
    Warning,
    Problem,
    Unknown,
}

/// A line, and an exit status.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub line: String,
    pub status: u8,
}

impl Protocol {
    /// The result when nothing could be looked at.
    pub fn unknown(self, why: &str) -> Outcome {
        // A hint is on a line of its own.
        self.outcome(Status::Unknown, &why.replace('\n', "; "), "")
    }

    /// What comes of it, if findings that meet `fail_on` are the problem.
    pub fn judge(self, seen: &Seen, fail_on: &[FailOn]) -> Outcome {
        let (problems, others): (Vec<&Told>, Vec<&Told>) =
            seen.findings.iter().partition(|told| fail_on.iter().any(|on| on.is_met(&told.kind, &told.severity)));
        let undetermined: Vec<&Told> =
            others.into_iter().filter(|told| told.severity == Severity::Undetermined.as_str()).collect();
        let last = |findings: &[&Told]| {
            findings
                .iter()
                .max_by(|one, other| one.time.cmp(&other.time))
                .map_or_else(String::new, |told| told.describe())
        };
        let wanted = Wanted(fail_on);
        let figures = format!("problems={} undetermined={}", problems.len(), undetermined.len());
        let window = if seen.window.is_empty() { String::new() } else { format!(" {}", seen.window) };
        let none = || format!("{}{window}", wanted.none());
        let (status, text) = if !problems.is_empty() {
            let number = format!("{}{}", if seen.is_cut { "at least " } else { "" }, wanted.count(problems.len()));
            let last_one = if problems.len() > 1 { "the last is " } else { "" };
            (Status::Problem, format!("{number}{window}: {last_one}{}", last(&problems)))
        } else if let Some(doubt) = &seen.doubt {
            (Status::Unknown, format!("{}, but there may be one: {doubt}", none()))
        } else if self == Self::Nagios && !undetermined.is_empty() {
            let number = count(undetermined.len() as u64, "finding", "findings");
            let text = format!("{}, but {number} whose outcome is not known: {}", none(), last(&undetermined));
            (Status::Warning, text)
        } else {
            (Status::Ok, format!("{}, by {}", none(), seen.source))
        };
        self.outcome(status, &text, &figures)
    }

    fn outcome(self, status: Status, text: &str, figures: &str) -> Outcome {
        // It may be anybody's text, and a bar begins Nagios's figures.
        let mut text = Name::from(text).printable();
        if text.len() > LINE {
            text.truncate(text.floor_char_boundary(LINE));
            text.push('…');
        }
        let (status, line) = match self {
            Self::NodeProblem => match status {
                Status::Ok | Status::Warning => (0, format!("OK: {text}")),
                Status::Problem => (1, format!("PROBLEM: {text}")),
                Status::Unknown => (2, format!("UNKNOWN: {text}")),
            },
            Self::Nagios => {
                let (status, word) = match status {
                    Status::Ok => (0, "OK"),
                    Status::Warning => (1, "WARNING"),
                    Status::Problem => (2, "CRITICAL"),
                    Status::Unknown => (3, "UNKNOWN"),
                };
                let bar = if figures.is_empty() { "" } else { " | " };
                (status, format!("CGTRACE {word}: {}{bar}{figures}", text.replace('|', "/")))
            }
        };
        Outcome { line, status }
    }
}

/// The findings that are a problem, in words.
struct Wanted<'a>(&'a [FailOn]);

impl Wanted<'_> {
    fn is_faults(&self) -> bool {
        self.0 == [FailOn::Fault]
    }

    fn kinds(&self) -> String {
        self.0.iter().map(|on| on.as_str()).collect::<Vec<_>>().join(" or ")
    }

    fn none(&self) -> String {
        if self.is_faults() { "no fault".to_owned() } else { format!("no finding of {}", self.kinds()) }
    }

    fn count(&self, number: usize) -> String {
        if self.is_faults() {
            count(number as u64, "fault", "faults")
        } else {
            format!("{} of {}", count(number as u64, "finding", "findings"), self.kinds())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::Kind;

    fn told(kind: &str, severity: &str, minute: u32, summary: &str) -> Told {
        Told {
            id: format!("id{minute}"),
            kind: kind.into(),
            cause: "cause".into(),
            severity: severity.into(),
            summary: summary.into(),
            time: format!("2026-11-30T15:{minute:02}:01.000001Z"),
        }
    }

    fn seen(findings: &[Told]) -> Seen {
        let (window, source) = ("in the last 1h".into(), "the agent at unix:/a".into());
        Seen { findings: findings.to_vec(), window, source, is_cut: false, doubt: None }
    }

    fn check(seen: &Seen, fail_on: &[FailOn], node: (u8, &str), nagios: (u8, &str)) {
        for (protocol, (status, line)) in [(Protocol::NodeProblem, node), (Protocol::Nagios, nagios)] {
            assert_eq!(protocol.judge(seen, fail_on), Outcome { line: line.to_owned(), status });
        }
    }

    #[test]
    fn a_fault_is_a_problem_and_an_unknown_outcome_a_warning_where_there_is_one() {
        check(
            &seen(&[]),
            &[FailOn::Fault],
            (0, "OK: no fault in the last 1h, by the agent at unix:/a"),
            (0, "CGTRACE OK: no fault in the last 1h, by the agent at unix:/a | problems=0 undetermined=0"),
        );
        let benign = told("stale-cgroup", "benign", 1, "s");
        let unknown = told("busy-teardown", "undetermined", 2, "runc[1] tried");
        check(
            &seen(&[benign.clone(), unknown.clone()]),
            &[FailOn::Fault],
            (0, "OK: no fault in the last 1h, by the agent at unix:/a"),
            (
                1,
                "CGTRACE WARNING: no fault in the last 1h, but 1 finding whose outcome is not known: busy-teardown, \
                 cause, 2026-11-30 15:02:01 UTC: runc[1] tried; finding id2 | problems=0 undetermined=1",
            ),
        );
        let faults = [told("x", "fault", 9, "late"), told("x", "fault", 3, "early"), unknown, benign];
        check(
            &seen(&faults),
            &[FailOn::Fault],
            (1, "PROBLEM: 2 faults in the last 1h: the last is x, cause, 2026-11-30 15:09:01 UTC: late; finding id9"),
            (
                2,
                "CGTRACE CRITICAL: 2 faults in the last 1h: the last is x, cause, 2026-11-30 15:09:01 UTC: late; \
                 finding id9 | problems=2 undetermined=1",
            ),
        );
    }

    #[test]
    fn a_kind_that_was_asked_for_is_a_problem_whatever_its_severity() {
        let stale = FailOn::Kind(Kind::named("stale-cgroup"));
        check(
            &seen(&[told("stale-cgroup", "benign", 1, "s"), told("x", "fault", 2, "f")]),
            &[stale],
            (
                1,
                "PROBLEM: 1 finding of stale-cgroup in the last 1h: stale-cgroup, cause, 2026-11-30 15:01:01 UTC: s; \
                 finding id1",
            ),
            (
                2,
                "CGTRACE CRITICAL: 1 finding of stale-cgroup in the last 1h: stale-cgroup, cause, 2026-11-30 15:01:01 \
                 UTC: s; finding id1 | problems=1 undetermined=0",
            ),
        );
        let line = Protocol::NodeProblem.judge(&seen(&[]), &[stale, FailOn::Fault]).line;
        assert_eq!(line, "OK: no finding of stale-cgroup or fault in the last 1h, by the agent at unix:/a");
    }

    #[test]
    fn no_problem_is_claimed_only_of_what_was_seen_whole() {
        let mut seen = seen(&[]);
        seen.doubt = Some("not ready".into());
        check(
            &seen,
            &[FailOn::Fault],
            (2, "UNKNOWN: no fault in the last 1h, but there may be one: not ready"),
            (
                3,
                "CGTRACE UNKNOWN: no fault in the last 1h, but there may be one: not ready | problems=0 undetermined=0",
            ),
        );
        seen.findings.push(told("x", "fault", 1, "f"));
        seen.is_cut = true;
        let outcome = Protocol::NodeProblem.judge(&seen, &[FailOn::Fault]);
        assert!(outcome.status == 1 && outcome.line.starts_with("PROBLEM: at least 1 fault in"), "{outcome:?}");
    }

    #[test]
    fn strangers_text_stays_in_its_line_and_in_its_part_of_it() {
        let hostile = told("x", "fault", 1, &format!("a|b\n\x1b[2J{}", "é".repeat(LINE)));
        for protocol in [Protocol::NodeProblem, Protocol::Nagios] {
            let line = protocol.judge(&seen(std::slice::from_ref(&hostile)), &[FailOn::Fault]).line;
            assert!(!line.contains(['\n', '\x1b']) && line.len() < LINE + 100, "{line}");
        }
        let line = Protocol::Nagios.judge(&seen(&[hostile]), &[FailOn::Fault]).line;
        assert_eq!(line.matches('|').count(), 1, "{line}");
        let unknown = Protocol::Nagios.unknown("no agent\nhint: start one");
        assert_eq!(unknown, Outcome { line: "CGTRACE UNKNOWN: no agent; hint: start one".into(), status: 3 });
    }
}
