//! JSON lines: the contract's words, one object a line, in the order of the stream.

use std::io::{self, Write};

use serde::Serialize;

use crate::hierarchy::Clock;
use crate::input::{BootTime, Input, Parent, Process, Seq};
use crate::line::{Counts, Line, Output};

/// Writes JSON lines.
pub struct Json<W: Write> {
    out: W,
    clock: Clock,
}

/// What every line begins with.
#[derive(Serialize)]
struct Object<'a, T> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(flatten)]
    body: &'a T,
}

#[derive(Serialize)]
struct WithParent<'a> {
    #[serde(flatten)]
    process: &'a Process,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<&'a Parent>,
}

#[derive(Serialize)]
struct End<'a> {
    at: BootTime,
    counts: &'a Counts,
}

impl<W: Write> Json<W> {
    /// Writes to `out`, which should buffer.
    pub fn new(out: W) -> Self {
        Self { out, clock: Clock { boot_ns: 0, unix_ns: 0 } }
    }

    fn write(
        &mut self,
        kind: &'static str,
        seq: Option<Seq>,
        at: Option<BootTime>,
        body: &impl Serialize,
    ) -> io::Result<()> {
        let time = at.map(|at| self.clock.rfc3339(at));
        serde_json::to_writer(&mut self.out, &Object { kind, seq, time, body })?;
        self.out.write_all(b"\n")
    }

    fn input(&mut self, seq: Seq, input: &Input) -> io::Result<()> {
        let (seq, at) = (Some(seq), Some(input.at()));
        match input {
            Input::Event(event) => self.write("event", seq, at, event),
            Input::Attempt(attempt) => self.write("attempt", seq, at, attempt),
            Input::Change(written) => self.write("change", seq, at, written),
            Input::Stuck(stuck) => self.write("stuck", seq, at, stuck),
            Input::Process(process) => {
                let parent = process.parents.first();
                self.write("process", seq, at, &WithParent { process, parent })
            }
            Input::Facts(facts) => self.write("facts", seq, at, facts),
            Input::Lost(lost) => self.write("lost", seq, at, lost),
            Input::Tick(tick) => self.write("tick", seq, at, tick),
        }
    }
}

impl Json<Vec<u8>> {
    /// Lines without a header, whose times are of that clock.
    pub fn at(clock: Clock) -> Self {
        Self { out: Vec::new(), clock }
    }

    /// Bytes of lines since they were last taken.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// The lines since this was last called.
    pub fn take(&mut self) -> Vec<u8> {
        // The next ones will need as much room.
        let room = Vec::with_capacity(self.out.len());
        std::mem::replace(&mut self.out, room)
    }
}

impl<W: Write> Output for Json<W> {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        match line {
            Line::Header(header) => {
                self.clock = header.clock;
                self.write("header", None, None, header)
            }
            Line::Input(seq, input) | Line::Known(seq, input) => self.input(*seq, input),
            Line::Finding(finding) => self.write("finding", None, Some(finding.at), finding),
            Line::End(at, counts) => self.write("end", None, Some(*at), &End { at: *at, counts }),
            Line::Span(_) | Line::Passed(_) => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::Errno;
    use crate::hierarchy::{Header, Setup};
    use crate::input::{Actor, Attempt, Cgroup, CgroupId, Change, Event, HierarchyId, Pid, ProcessChange, Syscall};
    use crate::name::Name;
    use crate::recording::TraceLine;

    fn header() -> Header {
        Header {
            format: 1,
            tool: "cgtrace".into(),
            host: "h".into(),
            kernel: "6.18".into(),
            arch: "x86_64".into(),
            boot_id: String::new(),
            started: String::new(),
            clock: Clock { boot_ns: 1_000, unix_ns: 1_700_000_000_000_000_000 },
            setup: Setup::Unified,
            hierarchies: Vec::new(),
            backend: "tracepoint".into(),
            probes: Vec::new(),
            not_watched: Vec::new(),
            rmdir_class: None,
            emptied_in: None,
            preemption: None,
            command: None,
        }
    }

    fn written(input: &Input) -> serde_json::Value {
        let mut bytes = Vec::new();
        let mut json = Json::new(&mut bytes);
        json.line(&Line::Header(&header())).expect("a vector can be written");
        json.line(&Line::Input(Seq(7), input)).expect("a vector can be written");
        let line = bytes.split(|byte| *byte == b'\n').nth(1).expect("two lines").to_vec();
        serde_json::from_slice(&line).expect("JSON")
    }

    fn actor() -> Actor {
        Actor::new(Pid(4), 5, Name::new(b"a\"\x1b\xff"), Some(0))
    }

    fn read_back(line: &serde_json::Value, what: &str) -> Input {
        match TraceLine::parse(line.to_string().as_bytes()) {
            Ok(TraceLine::Input(_, input)) => *input,
            other => panic!("{what}: {other:?}"),
        }
    }

    #[test]
    fn an_event_is_its_contract_line_and_reads_back() {
        let event = Input::Event(Event {
            at: BootTime(2_000),
            change: Change::Created,
            cgroup: Cgroup {
                hierarchy: HierarchyId(0),
                id: Some(CgroupId(9)),
                path: Name::new(b"/a\n\xfe"),
                level: Some(1),
                truncated: false,
            },
            requested: false,
            task: None,
            container: None,
            actor: Some(actor()),
        });
        let line = written(&event);
        assert_eq!((&line["type"], &line["seq"], &line["at"]), (&"event".into(), &7.into(), &2_000.into()));
        assert_eq!(line["time"], "2023-11-14T22:13:20.000001Z");
        assert_eq!(line["change"], "created");
        assert_eq!(line["cgroup"]["path"], "/a\n\u{effe}");
        assert_eq!(line["actor"]["comm"], "a\"\u{1b}\u{efff}");
        assert_eq!(read_back(&line, "reads back"), event);
    }

    #[test]
    fn an_attempt_names_call_and_errno() {
        let attempt = Attempt::new(BootTime(2_000), Syscall::Unlinkat, Errno::EROFS, "x".into(), actor());
        let attempt = Input::Attempt(attempt);
        let line = written(&attempt);
        assert_eq!(
            (&line["operation"], &line["syscall"], &line["errno"]),
            (&"rmdir".into(), &"unlinkat".into(), &"EROFS".into())
        );
        assert!(line.get("cgroup").is_none(), "what is not known is absent");
        assert_eq!(read_back(&line, "reads back"), attempt);
    }

    #[test]
    fn a_process_has_its_parent() {
        let parent = Parent { pid: Pid(1), comm: "init".into() };
        let process = Input::Process(Process {
            parents: vec![parent],
            cgroup: Some(CgroupId(5)),
            exit: Some(crate::input::Exit::Signal(9)),
            ..Process::new(BootTime(1), Pid(2), ProcessChange::Exit, "x".into())
        });
        let mut line = written(&process);
        assert_eq!(line["parent"]["comm"], "init");
        assert_eq!(line["exit"]["signal"], 9);
        assert_eq!(line["cgroup_id"], 5, "`cgroup` is an object in every other line");
        assert_eq!(read_back(&line, "reads back"), process);
        let id = line.as_object_mut().and_then(|line| line.remove("cgroup_id")).expect("an object");
        line["cgroup"] = id;
        assert_eq!(read_back(&line, "older traces are read"), process);
    }
}
