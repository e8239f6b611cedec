//! The lines of a stream, read back.

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::hierarchy::Header;
use crate::input::{
    About, BootTime, Facts, Input, Mount, NamespaceId, Pid, Question, Seq, Unanswered, WalkedAgain, at_most,
};
use crate::name::Name;

/// One line of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum TraceLine {
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

impl TraceLine {
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
            "change" => input(Input::Change(read(line)?)),
            "stuck" => input(Input::Stuck(read(line)?)),
            "process" => input(Input::Process(read(line)?)),
            "facts" => facts(line)?.map_or(Self::Other, |facts| input(Input::Facts(facts))),
            "lost" => input(Input::Lost(read(line)?)),
            "tick" => input(Input::Tick(read(line)?)),
            "end" => Self::End(read::<End>(line)?.at),
            _ => Self::Other,
        })
    }
}

/// A fact's fields are beside those of its line. Read as that says, all of them would be kept before any is looked at.
/// `None` for a fact of a later version.
fn facts(line: &[u8]) -> Result<Option<Facts>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Head {
        at: BootTime,
        about: String,
    }
    #[derive(Deserialize)]
    struct Mounts {
        namespace: NamespaceId,
        #[serde(deserialize_with = "at_most::<_, _, 4_096>")]
        mounts: Vec<Mount>,
        #[serde(default)]
        too_many: u64,
        #[serde(default)]
        host: bool,
    }
    #[derive(Deserialize)]
    struct State {
        id: Name,
        pid: Pid,
        path: Name,
        present: bool,
    }
    #[derive(Deserialize)]
    struct Failure {
        id: Name,
        pid: Pid,
        message: Name,
    }
    #[derive(Deserialize)]
    struct NotAnswered {
        pid: Pid,
        question: Question,
        reason: Unanswered,
    }
    #[derive(Deserialize)]
    struct Dying {
        count: u64,
    }
    #[derive(Deserialize)]
    struct Walked {
        cgroups: u64,
        unreadable: u64,
        #[serde(default)]
        again: Option<WalkedAgain>,
    }
    let Head { at, about } = read(line)?;
    let about = match about.as_str() {
        "mounts" => {
            let Mounts { namespace, mounts, too_many, host } = read(line)?;
            About::Mounts { namespace, mounts, too_many, host }
        }
        "container" => About::Container(read(line)?),
        "state" => {
            let State { id, pid, path, present } = read(line)?;
            About::State { id, pid, path, present }
        }
        "failure" => {
            let Failure { id, pid, message } = read(line)?;
            About::Failure { id, pid, message }
        }
        "occupants" => About::Occupants(read(line)?),
        "circumstances" => About::Circumstances(Box::new(read(line)?)),
        "unread" => About::Unread(read(line)?),
        "unanswered" => {
            let NotAnswered { pid, question, reason } = read(line)?;
            About::Unanswered { pid, question, reason }
        }
        "dying" => {
            let Dying { count } = read(line)?;
            About::Dying { count }
        }
        "walked" => {
            let Walked { cgroups, unreadable, again } = read(line)?;
            About::Walked { cgroups, unreadable, again }
        }
        _ => return Ok(None),
    };
    Ok(Some(Facts { at, about }))
}

fn read<T: DeserializeOwned>(line: &[u8]) -> Result<T, serde_json::Error> {
    // One look at all of it is cheaper than one at each string; what is no text fails where it is none.
    match std::str::from_utf8(line) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(line),
    }
}

/// Type and number of a line as this program writes it: `{"type":"event","seq":7,…`. `None` if it begins otherwise.
pub(super) fn head(line: &[u8]) -> Option<(&str, Seq)> {
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
        let tick = TraceLine::Input(Seq(7), Box::new(Input::Tick(Tick { at: BootTime(5) })));
        for text in [
            r#"{"type":"tick","seq":7,"at":5}"#,
            r#"{"at":5,"seq":7,"type":"tick"}"#,
            r#" { "seq" : 7, "type" : "tick", "at" : 5, "later": [1] }"#,
        ] {
            assert_eq!(TraceLine::parse(text.as_bytes()).expect(text), tick);
        }
    }

    #[test]
    fn what_is_not_known_is_passed_over_and_what_is_wrong_is_said() {
        assert_eq!(TraceLine::parse(br#"{"type":"later","seq":1}"#).expect("passed over"), TraceLine::Other);
        assert_eq!(TraceLine::parse(br#"{"type":"finding","id":"x"}"#).expect("passed over"), TraceLine::Other);
        let later = br#"{"type":"facts","seq":1,"at":5,"about":"later"}"#;
        assert_eq!(TraceLine::parse(later).expect("passed over"), TraceLine::Other);
        for wrong in [r#"{"type":"tick","seq":1}"#, "", "[]", "{", r#"{"seq":1}"#, r#"{"type":"tick","seq":1,"at":-1}"#]
        {
            assert!(TraceLine::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
