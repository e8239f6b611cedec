//! Findings as entries of systemd's journal, with fields to select them by and a MESSAGE_ID that `journalctl -x`
//! explains.
//!
//! An entry is one datagram of the journal's native protocol. The socket is connected once, before the thread that
//! traces gives up making any. What the journal does not take at once waits, and that thread never does.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;

use anyhow::Context;

use super::systemd;
use crate::explain::{FINDINGS_PAGE, message_id};
use crate::findings::{Finding, Severity};
use crate::hierarchy::Clock;
use crate::line::{Line, Output};
use crate::name::Name;
use crate::phrases;
use crate::said::Telling;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Entries that wait for the journal. With more of them, the oldest are lost.
const WAITING: usize = 256;
/// Bytes of a field: an entry stays far below what a datagram may have.
const FIELD: usize = 4 << 10;

/// Writes findings to the journal.
pub struct Journal {
    socket: UnixDatagram,
    clock: Clock,
    telling: Telling,
    waiting: VecDeque<Vec<u8>>,
    lost: u64,
}

impl Journal {
    /// The journal of this host.
    ///
    /// # Errors
    /// When there is none.
    pub fn connect() -> anyhow::Result<Self> {
        let socket = systemd::connect(SOCKET).with_context(|| format!("failed to connect to {SOCKET}"))?;
        let clock = Clock { boot_ns: 0, unix_ns: 0 };
        Ok(Self { socket, clock, telling: Telling::default(), waiting: VecDeque::new(), lost: 0 })
    }

    fn finding(&mut self, finding: &Finding) {
        if !self.telling.tells(finding) {
            return;
        }
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
            self.lost += 1;
        }
        self.waiting.push_back(entry(finding, self.clock));
        self.send();
    }

    /// Sends what the journal takes now.
    fn send(&mut self) {
        while let Some(entry) = self.waiting.front() {
            match self.socket.send(entry) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    // The journal was stopped, or it takes no entry of this length: waiting does not help.
                    self.lost += 1;
                    if self.lost == 1 {
                        say!("warning: the journal does not take a finding: {error}");
                    }
                }
            }
            self.waiting.pop_front();
        }
    }
}

impl Output for Journal {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        match line {
            Line::Header(header) => self.clock = header.clock,
            Line::Finding(finding) => self.finding(finding),
            Line::End(..) => {
                self.send();
                let lost = self.lost + self.waiting.len() as u64;
                if lost > 0 {
                    say!("warning: the journal lacks {}", phrases::count(lost, "finding", "findings"));
                }
            }
            Line::Input(..) | Line::Known(..) | Line::Span(_) | Line::Passed(_) => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send();
        Ok(())
    }
}

/// The entry of a finding: fields of systemd, those that the log drivers of Docker and podman use, and our own.
fn entry(finding: &Finding, clock: Clock) -> Vec<u8> {
    // The levels of syslog: 3 is an error, 4 a warning, 6 information.
    let priority = match finding.severity {
        Severity::Fault => "3",
        Severity::Undetermined => "4",
        Severity::Benign => "6",
    };
    let kind = finding.kind.as_str();
    let message = format!("{kind}, {}: {}", finding.cause.as_str(), finding.summary);
    let mut entry = Vec::new();
    let mut field = |name: &str, value: &str| put(&mut entry, name, &Name::from(value).printable());
    field("MESSAGE", &message);
    field("MESSAGE_ID", &message_id(finding.kind));
    field("PRIORITY", priority);
    field("SYSLOG_IDENTIFIER", "cgtrace");
    field("DOCUMENTATION", &format!("{FINDINGS_PAGE}#{kind}"));
    field("CGTRACE_KIND", kind);
    field("CGTRACE_CAUSE", finding.cause.as_str());
    field("CGTRACE_SEVERITY", finding.severity.as_str());
    field("CGTRACE_CERTAINTY", finding.certainty.as_str());
    field("CGTRACE_FINDING", &finding.id);
    field("CGTRACE_REVISION", &finding.revision.to_string());
    field("CGTRACE_TIME", &clock.rfc3339(finding.at));
    field("CGTRACE_CGROUP", &finding.cgroup.path.printable());
    if let Some(actor) = &finding.actor {
        field("CGTRACE_ACTOR", &phrases::who(&actor.comm, actor.pid));
    }
    if let Some(container) = &finding.container {
        let id = container.id.printable();
        // An engine's ids have 64 digits, and its short ones the first twelve of them.
        let is_long = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        field("CONTAINER_ID", if is_long { &id[..12] } else { &id });
        field("CONTAINER_ID_FULL", &id);
        field("CGTRACE_RUNTIME", &container.runtime);
        for (name, value) in [
            ("CONTAINER_NAME", &container.name),
            ("IMAGE_NAME", &container.image),
            ("CGTRACE_POD", &container.pod),
            ("CGTRACE_NAMESPACE", &container.namespace),
        ] {
            if let Some(value) = value {
                field(name, &value.printable());
            }
        }
    }
    for issue in &finding.known_issues {
        field("CGTRACE_KNOWN_ISSUE", issue.id);
    }
    entry
}

/// Adds a field, whose value is one line.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    let value = &value[..value.floor_char_boundary(FIELD)];
    debug_assert!(!value.contains('\n'));
    entry.extend_from_slice(name.as_bytes());
    entry.push(b'=');
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Exit;
    use crate::tracker::tests::Play;

    #[test]
    fn an_entry_has_a_line_for_each_field_whatever_its_text() {
        let mut play = Play::new();
        play.incident(Exit::Code(1));
        let mut finding = play.only().clone();
        finding.summary = format!("a\nMESSAGE_ID=0\x1b[2J{}", "é".repeat(FIELD));
        finding.cgroup.path = Name::new(b"/a\nPRIORITY=0\n\xff");
        let entry = String::from_utf8(entry(&finding, Clock { boot_ns: 0, unix_ns: 0 })).expect("text");
        let fields: Vec<(&str, &str)> = entry.lines().map(|line| line.split_once('=').expect("a field")).collect();
        let only = |name: &str| {
            let values: Vec<&str> = fields.iter().filter(|(own, _)| *own == name).map(|(_, value)| *value).collect();
            assert_eq!(values.len(), 1, "{name}: {values:?}");
            values[0]
        };
        assert!(only("MESSAGE").starts_with("missing-path-teardown, read-only-mount: a\\nMESSAGE_ID=0\\x1b[2Jéé"));
        assert!(only("MESSAGE").len() <= FIELD && entry.len() < 4 * FIELD, "{}", entry.len());
        assert_eq!(only("MESSAGE_ID"), message_id(finding.kind));
        assert_eq!((only("PRIORITY"), only("CGTRACE_SEVERITY")), ("3", "fault"));
        assert_eq!(only("CGTRACE_CGROUP"), "/a\\nPRIORITY=0\\n\\xff");
        assert_eq!(only("CONTAINER_ID"), "irpsym10jqj937p3dxo13jky1");
        assert_eq!(only("CGTRACE_KNOWN_ISSUE"), "runc#4518");
    }

    #[test]
    fn what_the_journal_does_not_take_waits_and_what_is_lost_is_counted() {
        let (socket, other) = UnixDatagram::pair().expect("a pair of sockets");
        socket.set_nonblocking(true).expect("a socket");
        let clock = Clock { boot_ns: 0, unix_ns: 0 };
        let mut journal = Journal { socket, clock, telling: Telling::default(), waiting: VecDeque::new(), lost: 0 };
        let mut play = Play::new();
        play.incident(Exit::Code(1));
        let told = |number: usize| Finding { id: format!("id{number}"), ..play.only().clone() };
        let mut number = 0;
        while journal.waiting.len() < WAITING {
            journal.finding(&told(number));
            number += 1;
        }
        journal.finding(&told(number));
        assert_eq!((journal.waiting.len(), journal.lost), (WAITING, 1));
        let mut received = 0;
        let mut entry = [0; 64 << 10];
        other.set_nonblocking(true).expect("a socket");
        while received < number {
            while other.recv(&mut entry).is_ok() {
                received += 1;
            }
            journal.flush().expect("no error");
        }
        assert_eq!((received, journal.waiting.len()), (number, 0));
        drop(other);
        journal.finding(&told(number + 1));
        assert_eq!((journal.waiting.len(), journal.lost), (0, 2));
    }
}
