//! What is asked of `/findings`, `/events` and `/trace`.

use std::time::Duration;

use super::EventId;
use crate::findings::{Finding, Kind, Severity};
use crate::hierarchy::Clock;

/// Which findings are asked for.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Wanted {
    kind: Option<Kind>,
    severity: Option<Severity>,
    container: Option<String>,
    since: Option<Since>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Since {
    Time(jiff::Timestamp),
    Ago(jiff::SignedDuration),
}

impl Wanted {
    /// Reads `kind=…&severity=…&container=…&since=…`.
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut wanted = Self::default();
        for pair in pairs(query) {
            let (key, value) = pair?;
            match key {
                "kind" => {
                    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == value);
                    wanted.kind =
                        Some(kind.ok_or_else(|| format!("kind: one of {}", Kind::ALL.map(Kind::as_str).join(", ")))?);
                }
                "severity" => {
                    let severity = Severity::ALL.into_iter().find(|severity| severity.as_str() == value);
                    wanted.severity = Some(severity.ok_or_else(|| {
                        format!("severity: one of {}", Severity::ALL.map(Severity::as_str).join(", "))
                    })?);
                }
                "container" => wanted.container = Some(value),
                "since" => {
                    let time = value.parse().map(Since::Time);
                    wanted.since = Some(time.or_else(|_| value.parse().map(Since::Ago)).map_err(|_| {
                        "since: a time such as 2026-11-24T04:33:30Z, or how long ago, such as 15m".to_owned()
                    })?);
                }
                _ => return Err(unknown(key, "kind, severity, container, since")),
            }
        }
        Ok(wanted)
    }

    pub fn takes(&self, finding: &Finding, clock: Clock, now: jiff::Timestamp) -> bool {
        let begins = |prefix: &String| {
            let container = finding.container.as_deref();
            container.is_some_and(|known| known.chain.iter().any(|id| id.as_bytes().starts_with(prefix.as_bytes())))
        };
        let after = |since: Since| {
            let from = match since {
                Since::Time(time) => Some(time),
                Since::Ago(ago) => now.checked_sub(ago).ok(),
            };
            from.is_none_or(|from| i128::from(clock.unix_ns(finding.at)) >= from.as_nanosecond())
        };
        self.kind.is_none_or(|kind| finding.kind == kind)
            && self.severity.is_none_or(|severity| finding.severity == severity)
            && self.container.as_ref().is_none_or(begins)
            && self.since.is_none_or(after)
    }
}

/// Which part of the trace is asked for.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Part {
    /// How much of it, from now back. `None` for all.
    pub last: Option<Duration>,
    /// What the ids of its containers begin with. `None` for all.
    pub container: Option<String>,
}

impl Part {
    /// Reads `last=…&container=…`.
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut part = Self::default();
        for pair in pairs(query) {
            let (key, value) = pair?;
            match key {
                "last" => {
                    let last = value.parse().ok().filter(jiff::SignedDuration::is_positive);
                    let last = last.and_then(|last| Duration::try_from(last).ok());
                    part.last = Some(last.ok_or("last: how much of the trace, such as 10m or 1h30m")?);
                }
                "container" if value.is_empty() => return Err("container: the beginning of an id".to_owned()),
                "container" => part.container = Some(value),
                _ => return Err(unknown(key, "last, container")),
            }
        }
        Ok(part)
    }
}

/// Reads `after=…`: the event after which others are asked for.
pub(super) fn after(query: &str) -> Result<Option<EventId>, String> {
    let mut after = None;
    for pair in pairs(query) {
        match pair? {
            ("after", value) => after = Some(EventId::parse(&value).ok_or("after: the id of an event")?),
            (key, _) => return Err(unknown(key, "after")),
        }
    }
    Ok(after)
}

/// The keys of a query, and their values.
fn pairs(query: &str) -> impl Iterator<Item = Result<(&str, String), String>> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value).ok_or_else(|| format!("{:?}: bad encoding", truncated(key)))?;
        Ok((key, value))
    })
}

fn unknown(key: &str, known: &str) -> String {
    format!("unknown key {:?}; known are {known}", truncated(key))
}

fn truncated(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Undoes `%2F` and `+`.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (digits, tail) = rest.split_at_checked(2)?;
                rest = tail;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_or_explained() {
        let wanted = Wanted::parse("kind=duplicate-teardown&severity=fault&container=a%2Fb+c&since=15m").expect("read");
        assert_eq!((wanted.kind, wanted.severity), (Some(Kind::named("duplicate-teardown")), Some(Severity::Fault)));
        assert_eq!(wanted.container.as_deref(), Some("a/b c"));
        assert_eq!(wanted.since, Some(Since::Ago(jiff::SignedDuration::from_mins(15))));
        assert!(matches!(Wanted::parse("since=2026-11-24T04:33:30Z").expect("read").since, Some(Since::Time(_))));
        assert_eq!(Wanted::parse(""), Ok(Wanted::default()));
        for wrong in ["kind=x", "severity=", "since=yesterday", "x=y", "container=%", "container=%zz", "container=%ff"]
        {
            assert!(Wanted::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_part_of_the_trace_is_a_time_and_the_beginning_of_an_id() {
        let part = |last, container: Option<&str>| Ok(Part { last, container: container.map(str::to_owned) });
        assert_eq!(Part::parse(""), part(None, None));
        let ten_minutes = Some(Duration::from_secs(600));
        assert_eq!(Part::parse("last=10m&container=3f2a"), part(ten_minutes, Some("3f2a")));
        assert_eq!(Part::parse("container=a%2Fb&last=10m"), part(ten_minutes, Some("a/b")));
        for wrong in ["last", "last=", "last=0s", "last=-5m", "last=10", "last=now", "container=", "since=5m", "x", "%"]
        {
            let said = Part::parse(wrong).expect_err(wrong);
            assert!(!said.contains('\n'), "{said}");
        }
    }
}
