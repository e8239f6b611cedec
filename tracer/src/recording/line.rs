//! The lines of a stream, read back.

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::hierarchy::Header;
use crate::input::{BootTime, Input, Seq};

/// One line of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// The first one.
    Header(Box<Header>),
    /// What the tracker is to be told.
    Input(Seq, Box<Input>),
    /// The last one: the trace is whole.
    End(BootTime),
    /// What this version does not read: findings, and types of later versions.
    Other,
}

/// Why a line cannot be read.
#[derive(Debug)]
pub struct LineError(serde_json::Error);

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for LineError {}

impl From<serde_json::Error> for LineError {
    fn from(error: serde_json::Error) -> Self {
        Self(error)
    }
}

/// What tells a line's type and number, wherever in the object they are.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    kind: std::borrow::Cow<'a, str>,
    #[serde(default)]
    seq: Seq,
}

#[derive(Deserialize)]
struct End {
    at: BootTime,
}

impl Line {
    /// Reads a line, without its newline. Types and fields that are not known are passed over.
    ///
    /// # Errors
    /// When it is not a JSON object, or a field does not hold what it should.
    pub fn parse(line: &[u8]) -> Result<Self, LineError> {
        let (kind, seq) = match head(line) {
            Some((kind, seq)) => (std::borrow::Cow::Borrowed(kind), seq),
            None => {
                let head: Head = serde_json::from_slice(line)?;
                (head.kind, head.seq)
            }
        };
        let input = |input: Input| Self::Input(seq, Box::new(input));
        Ok(match &*kind {
            "header" => Self::Header(Box::new(read(line)?)),
            "event" => input(Input::Event(read(line)?)),
            "attempt" => input(Input::Attempt(read(line)?)),
            "process" => input(Input::Process(read(line)?)),
            "facts" => input(Input::Facts(read(line)?)),
            "lost" => input(Input::Lost(read(line)?)),
            "tick" => input(Input::Tick(read(line)?)),
            "end" => Self::End(read::<End>(line)?.at),
            _ => Self::Other,
        })
    }
}

fn read<T: DeserializeOwned>(line: &[u8]) -> Result<T, serde_json::Error> {
    // One look at all of it is cheaper than one at each string; what is no text fails where it is none.
    match std::str::from_utf8(line) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(line),
    }
}

/// Reads lines one after the other.
///
/// What is derived of an actor ends most lines, is the longest part of them, and is the same in one line after the other: it
/// is compared with what was read before instead of being read again.
#[derive(Default)]
pub(super) struct Lines {
    /// Ends of lines that were read, from the derived fields of the actor on.
    known: [Vec<u8>; KNOWN],
    next: usize,
    closed: Vec<u8>,
}

/// So many actors take turns.
const KNOWN: usize = 4;
/// What closes the actor, and the line.
const CLOSING: &[u8] = b"}}";

impl Lines {
    /// Reads a line as [`Line::parse`] does.
    ///
    /// # Errors
    /// As there.
    pub fn parse(&mut self, line: &[u8]) -> Result<Line, LineError> {
        let head = self.known.iter().find_map(|end| line.strip_suffix(&end[..]).filter(|head| head.len() < line.len()));
        if let Some(parsed) = head.and_then(|head| self.parse_head(head)) {
            return Ok(parsed);
        }
        let parsed = Line::parse(line)?;
        if let Some(head) = without_derived(line)
            && self.parse_head(head).is_some_and(|without| without == parsed)
        {
            let known = &mut self.known[self.next];
            known.clear();
            known.extend_from_slice(&line[head.len()..]);
            self.next = (self.next + 1) % KNOWN;
        }
        Ok(parsed)
    }

    /// Reads a line without the derived fields at its end. `None` if that is none, or has none.
    ///
    /// Nothing is taken for what it is not: what such an end holds means nothing in any object of these two types, and
    /// `head` is only read if two braces make it whole.
    fn parse_head(&mut self, head: &[u8]) -> Option<Line> {
        self.closed.clear();
        self.closed.extend_from_slice(head);
        self.closed.extend_from_slice(CLOSING);
        Line::parse(&self.closed).ok().filter(
            |line| matches!(line, Line::Input(_, input) if matches!(**input, Input::Event(_) | Input::Attempt(_))),
        )
    }
}

/// A line up to the last of an actor's own fields, as this program writes it.
fn without_derived(line: &[u8]) -> Option<&[u8]> {
    let actor = memchr::memmem::rfind(line, b"\"actor\":{")?;
    let uid = actor + memchr::memmem::find(&line[actor..], b",\"uid\":")? + b",\"uid\":".len();
    let digits = line[uid..].iter().position(|byte| !byte.is_ascii_digit())?;
    (line.ends_with(CLOSING) && line[uid + digits..] != *CLOSING).then(|| &line[..uid + digits])
}

/// Type and number of a line as this program writes it: `{"type":"event","seq":7,…`. `None` if it begins otherwise.
fn head(line: &[u8]) -> Option<(&str, Seq)> {
    let rest = line.strip_prefix(b"{\"type\":\"")?;
    let quote = rest.iter().position(|byte| *byte == b'"')?;
    let kind = std::str::from_utf8(&rest[..quote]).ok().filter(|kind| kind.bytes().all(|b| b.is_ascii_lowercase()))?;
    let rest = rest[quote + 1..].strip_prefix(b",\"seq\":")?;
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    let seq = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    Some((kind, Seq(seq)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Tick;

    #[test]
    fn a_line_is_read_whatever_the_order_of_its_fields() {
        let tick = Line::Input(Seq(7), Box::new(Input::Tick(Tick { at: BootTime(5) })));
        for text in [
            r#"{"type":"tick","seq":7,"at":5}"#,
            r#"{"at":5,"seq":7,"type":"tick"}"#,
            r#" { "seq" : 7, "type" : "tick", "at" : 5, "later": [1] }"#,
        ] {
            assert_eq!(Line::parse(text.as_bytes()).expect(text), tick);
        }
    }

    #[test]
    fn an_end_that_is_known_changes_nothing() {
        let line = |seq: u64, comm: &str, end: &str| {
            format!(
                "{{\"type\":\"event\",\"seq\":{seq},\"at\":5,\"change\":\"removed\",\"cgroup\":{{\"hierarchy\":0,\"id\":7,\"path\":\"/a\"}},\
                 \"actor\":{{\"pid\":1,\"tid\":2,\"comm\":\"{comm}\",\"uid\":0{end}"
            )
        };
        let end = ",\"exe\":\"/x\",\"argv\":[\"a\",\"\\\",\\\"uid\\\":1\"],\"cgroup\":\"/\"}}";
        let mut lines = Lines::default();
        for text in [
            line(1, "one", end),
            line(2, "two", end),
            line(3, "two", "}}"),
            line(4, "}}", end),
            // Ends that are like it, where they are not what they were.
            line(5, "one", &format!("}},\"task\":{{\"pid\":3,\"comm\":\"c\"{end}")),
            line(6, "one", &format!(",\"x\":\"{end}")),
            line(7, "one", &format!(",\"x\":{{\"y\":1{end}")),
            line(8, "one", &format!("}}{end}")),
            line(9, "one", &format!("x{end}")),
            end.to_owned(),
            format!("{{\"type\":\"process\",\"seq\":1,\"at\":5,\"x\":{{\"y\":1{end}"),
        ] {
            let (once, again) = (Line::parse(text.as_bytes()), lines.parse(text.as_bytes()));
            assert_eq!(once.ok(), again.ok(), "{text}");
        }
        assert!(!lines.known[0].is_empty());
    }

    #[test]
    fn what_is_not_known_is_passed_over_and_what_is_wrong_is_said() {
        assert_eq!(Line::parse(br#"{"type":"later","seq":1}"#).expect("passed over"), Line::Other);
        assert_eq!(Line::parse(br#"{"type":"finding","id":"x"}"#).expect("passed over"), Line::Other);
        for wrong in [r#"{"type":"tick","seq":1}"#, "", "[]", "{", r#"{"seq":1}"#, r#"{"type":"tick","seq":1,"at":-1}"#]
        {
            assert!(Line::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
