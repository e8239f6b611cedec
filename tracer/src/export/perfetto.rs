//! A trace for Perfetto (<https://perfetto.dev/docs/reference/trace-packet-proto>): a track for each container with its
//! cgroups below it as slices, and one for each process with its failed calls as instants.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use prost::Message;

use crate::container::Container;
use crate::findings::Finding;
use crate::hash::fnv1a;
use crate::hierarchy::HierarchyLabels;
use crate::input::{Actor, BootTime, Cgroup, Change, HierarchyId, Input, Pid, ProcessChange};
use crate::line::{Line, Output};
use crate::name::Name;
use crate::phrases::who;

/// The messages that are written, with the field numbers of Perfetto's own definition.
#[derive(Clone, PartialEq, Message)]
struct Packet {
    #[prost(uint64, optional, tag = "8")]
    timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "10")]
    trusted_packet_sequence_id: Option<u32>,
    #[prost(message, optional, tag = "11")]
    track_event: Option<TrackEvent>,
    #[prost(uint32, optional, tag = "13")]
    sequence_flags: Option<u32>,
    #[prost(message, optional, tag = "60")]
    track_descriptor: Option<TrackDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
struct TrackDescriptor {
    #[prost(uint64, optional, tag = "1")]
    uuid: Option<u64>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
    #[prost(message, optional, tag = "3")]
    process: Option<ProcessDescriptor>,
    #[prost(uint64, optional, tag = "5")]
    parent_uuid: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct ProcessDescriptor {
    #[prost(int32, optional, tag = "1")]
    pid: Option<i32>,
    #[prost(string, repeated, tag = "2")]
    cmdline: Vec<String>,
    #[prost(string, optional, tag = "6")]
    process_name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct TrackEvent {
    #[prost(message, repeated, tag = "4")]
    debug_annotations: Vec<Annotation>,
    #[prost(int32, optional, tag = "9")]
    kind: Option<i32>,
    #[prost(uint64, optional, tag = "11")]
    track_uuid: Option<u64>,
    #[prost(string, repeated, tag = "22")]
    categories: Vec<String>,
    #[prost(string, optional, tag = "23")]
    name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Annotation {
    #[prost(string, optional, tag = "6")]
    string_value: Option<String>,
    #[prost(string, optional, tag = "10")]
    name: Option<String>,
}

/// `TrackEvent.Type`
const SLICE_BEGIN: i32 = 1;
const SLICE_END: i32 = 2;
const INSTANT: i32 = 3;
/// All packets are of one sequence.
const SEQUENCE: u32 = 1;
const INCREMENTAL_STATE_CLEARED: u32 = 1;
/// The field of `Trace` that packets are in.
const PACKET: u32 = 1;

/// Writes packets.
pub(super) struct Perfetto<W: Write> {
    out: W,
    labels: HierarchyLabels,
    tracks: HashSet<u64>,
    /// Slices that are open on a track.
    open: HashMap<u64, Vec<&'static str>>,
    began: bool,
}

impl<W: Write> Perfetto<W> {
    pub fn new(out: W) -> Self {
        Self { out, labels: HierarchyLabels::default(), tracks: HashSet::new(), open: HashMap::new(), began: false }
    }

    fn packet(&mut self, mut packet: Packet) -> io::Result<()> {
        packet.trusted_packet_sequence_id = Some(SEQUENCE);
        if !std::mem::replace(&mut self.began, true) {
            packet.sequence_flags = Some(INCREMENTAL_STATE_CLEARED);
        }
        let mut bytes = Vec::with_capacity(64);
        prost::encoding::message::encode(PACKET, &packet, &mut bytes);
        self.out.write_all(&bytes)
    }

    fn track(
        &mut self,
        uuid: u64,
        name: &str,
        parent: Option<u64>,
        process: Option<ProcessDescriptor>,
    ) -> io::Result<()> {
        if !self.tracks.insert(uuid) {
            return Ok(());
        }
        let name = process.is_none().then(|| name.to_owned());
        let track_descriptor = Some(TrackDescriptor { uuid: Some(uuid), name, process, parent_uuid: parent });
        self.packet(Packet { track_descriptor, ..Packet::default() })
    }

    fn event(
        &mut self,
        at: BootTime,
        track: u64,
        kind: i32,
        name: Option<&str>,
        notes: Vec<Annotation>,
    ) -> io::Result<()> {
        let track_event = Some(TrackEvent {
            debug_annotations: notes,
            kind: Some(kind),
            track_uuid: Some(track),
            categories: if kind == SLICE_END { Vec::new() } else { vec!["cgroup".to_owned()] },
            name: name.map(str::to_owned),
        });
        self.packet(Packet { timestamp: Some(at.0), track_event, ..Packet::default() })
    }

    fn begin(&mut self, at: BootTime, track: u64, name: &'static str, notes: Vec<Annotation>) -> io::Result<()> {
        self.open.entry(track).or_default().push(name);
        self.event(at, track, SLICE_BEGIN, Some(name), notes)
    }

    /// Ends the slices of a track down to that name, if it is open.
    fn end_slices(&mut self, at: BootTime, track: u64, down_to: &str) -> io::Result<()> {
        let depth = self.open.get(&track).and_then(|open| open.iter().position(|name| *name == down_to));
        let Some(depth) = depth else { return Ok(()) };
        let count = self.open.get(&track).map_or(0, |open| open.len() - depth);
        if let Some(open) = self.open.get_mut(&track) {
            open.truncate(depth);
        }
        (0..count).try_for_each(|_| self.event(at, track, SLICE_END, None, Vec::new()))
    }

    /// The track of a cgroup, below that of its container.
    fn cgroup_track(&mut self, cgroup: &Cgroup, container: Option<&Container>) -> io::Result<u64> {
        let parent = match container {
            Some(container) => {
                let uuid = uuid(&[b"container", container.id.as_bytes()]);
                self.track(uuid, &format!("{} {}", container.runtime, container.id), None, None)?;
                uuid
            }
            None => {
                let uuid = uuid(&[b"none"]);
                self.track(uuid, "cgroups of no container", None, None)?;
                uuid
            }
        };
        let HierarchyId(hierarchy) = cgroup.hierarchy;
        let uuid = uuid(&[b"cgroup", &hierarchy.to_le_bytes(), cgroup.path.as_bytes()]);
        let label = self.labels.of(cgroup.hierarchy).to_owned();
        self.track(uuid, &format!("{label} {}", cgroup.path), Some(parent), None)?;
        Ok(uuid)
    }

    fn process_track(&mut self, pid: Pid, comm: &Name, argv: Option<&[Name]>) -> io::Result<u64> {
        let uuid = uuid(&[b"process", &pid.0.to_le_bytes()]);
        let cmdline = argv.unwrap_or_default().iter().map(Name::printable).collect();
        let process =
            ProcessDescriptor { pid: i32::try_from(pid.0).ok(), cmdline, process_name: Some(comm.printable()) };
        self.track(uuid, "", None, Some(process))?;
        Ok(uuid)
    }

    fn input(&mut self, input: &Input) -> io::Result<()> {
        match input {
            Input::Event(event) => {
                if event.change == Change::Existing && event.container.is_none() {
                    return Ok(());
                }
                let track = self.cgroup_track(&event.cgroup, event.container.as_deref())?;
                let (at, notes) = (event.at, by(event.actor.as_ref()));
                match event.change {
                    Change::Created | Change::Existing => {
                        // Another one of the same name, whose end was lost.
                        self.end_slices(at, track, "exists")?;
                        self.begin(at, track, "exists", notes)
                    }
                    Change::Populated => self.begin(at, track, "populated", notes),
                    Change::Emptied => self.end_slices(at, track, "populated"),
                    Change::Removed => {
                        self.end_slices(at, track, "exists")?;
                        self.begin(at, track, "dying", notes)
                    }
                    Change::Released => self.end_slices(at, track, "dying"),
                    Change::Renamed | Change::Frozen | Change::Thawed | Change::Attached => {
                        self.event(at, track, INSTANT, Some(event.change.as_str()), notes)
                    }
                }
            }
            Input::Attempt(attempt) => {
                let argv = attempt.actor.identity.as_ref().and_then(|identity| identity.argv.as_deref());
                let track = self.process_track(attempt.actor.pid, &attempt.actor.comm, argv)?;
                let name = format!("{} {}", attempt.syscall.as_str(), attempt.errno);
                let notes = vec![note("path", attempt.path.printable())];
                self.event(attempt.at, track, INSTANT, Some(&name), notes.clone())?;
                match &attempt.cgroup {
                    Some(cgroup) => {
                        let track = self.cgroup_track(cgroup, attempt.container.as_deref())?;
                        let notes = notes.into_iter().chain(by(Some(&attempt.actor))).collect();
                        self.event(attempt.at, track, INSTANT, Some(&name), notes)
                    }
                    None => Ok(()),
                }
            }
            Input::Change(written) => {
                let argv = written.actor.identity.as_ref().and_then(|identity| identity.argv.as_deref());
                let track = self.process_track(written.actor.pid, &written.actor.comm, argv)?;
                let name = format!("write {}", written.file.printable());
                let value = written.value.iter().map(|value| note("value", value.printable()));
                let notes: Vec<_> = value.collect();
                self.event(written.at, track, INSTANT, Some(&name), notes.clone())?;
                let Some(cgroup) = &written.cgroup else { return Ok(()) };
                let track = self.cgroup_track(cgroup, written.container.as_deref())?;
                let notes = notes.into_iter().chain(by(Some(&written.actor))).collect();
                self.event(written.at, track, INSTANT, Some(&name), notes)
            }
            Input::Stuck(stuck) => {
                let argv = stuck.actor.identity.as_ref().and_then(|identity| identity.argv.as_deref());
                let track = self.process_track(stuck.actor.pid, &stuck.actor.comm, argv)?;
                let verb = if stuck.took_ns.is_some() { "returned" } else { "stuck" };
                let name = format!("{verb}: {}", stuck.operation.as_str());
                let file = stuck.file.iter().map(|file| note("file", file.printable()));
                let notes: Vec<_> =
                    file.chain(stuck.waits_in.iter().map(|function| note("waits_in", function.clone()))).collect();
                self.event(stuck.at, track, INSTANT, Some(&name), notes.clone())?;
                let Some(cgroup) = &stuck.cgroup else { return Ok(()) };
                let track = self.cgroup_track(cgroup, stuck.container.as_deref())?;
                let notes = notes.into_iter().chain(by(Some(&stuck.actor))).collect();
                self.event(stuck.at, track, INSTANT, Some(&name), notes)
            }
            Input::Process(process) => {
                let track = self.process_track(process.pid, &process.comm, process.argv.as_deref())?;
                match process.change {
                    ProcessChange::Exec | ProcessChange::Seen if self.open.get(&track).is_none_or(Vec::is_empty) => {
                        self.begin(process.at, track, "runs", Vec::new())
                    }
                    ProcessChange::Exec | ProcessChange::Seen => Ok(()),
                    ProcessChange::Exit => self.end_slices(process.at, track, "runs"),
                }
            }
            Input::Facts(_) | Input::Lost(_) | Input::Tick(_) => Ok(()),
        }
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        if finding.revision > 0 {
            return Ok(());
        }
        let track = uuid(&[b"findings"]);
        self.track(track, "findings", None, None)?;
        let name = format!("{} {}", finding.severity.as_str(), finding.kind.as_str());
        self.event(finding.at, track, INSTANT, Some(&name), vec![note("summary", finding.summary.clone())])
    }

    fn end(&mut self, at: BootTime) -> io::Result<()> {
        let mut open: Vec<(u64, usize)> = self.open.iter().map(|(track, open)| (*track, open.len())).collect();
        // The same trace gives the same bytes.
        open.sort_unstable();
        for (track, count) in open {
            (0..count).try_for_each(|_| self.event(at, track, SLICE_END, None, Vec::new()))?;
        }
        Ok(())
    }
}

fn note(name: &str, value: impl Into<String>) -> Annotation {
    Annotation { name: Some(name.to_owned()), string_value: Some(value.into()) }
}

fn by(actor: Option<&Actor>) -> Vec<Annotation> {
    actor.map(|actor| note("actor", who(&actor.comm, actor.pid))).into_iter().collect()
}

/// A track's number: a hash of what it is of, never 0, which is Perfetto's own.
fn uuid(parts: &[&[u8]]) -> u64 {
    fnv1a(parts.iter().flat_map(|part| part.iter().chain([&0xff]))) | 1
}

impl<W: Write> Output for Perfetto<W> {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        match line {
            Line::Header(header) => {
                self.labels = HierarchyLabels::of_header(header);
                Ok(())
            }
            Line::Input(_, input) => self.input(input),
            Line::Finding(finding) => self.finding(finding),
            Line::End(at, _) => self.end(*at),
            Line::Known(..) | Line::Span(_) | Line::Passed(_) => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
