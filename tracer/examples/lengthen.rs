//! Makes a long trace of a recorded one: `lengthen TRACE LONGER EVENTS`.
//!
//! What was recorded after the walk at the start is told again and again, with numbers and times that go on, and with
//! ids of cgroups and containers that are new each time. It goes through the stream of a live session and is framed as
//! its recorder does, so the file is one that `cgtrace record` could have written. The benchmark measures memory with
//! it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use cgtrace::input::{About, BootTime, CgroupId, Change, Event, Input, Seq};
use cgtrace::line::{Line, Output};
use cgtrace::name::Name;
use cgtrace::output::Json;
use cgtrace::recording::{FrameWriter, Item, Reader};
use cgtrace::stream::Stream;

/// Digits of a container's id that are the round's number.
const DIGITS: usize = 8;

/// A trace file that is written as fast as it is made: a live session's recorder would rather lose lines than wait.
struct Framed {
    json: Json<Vec<u8>>,
    frames: FrameWriter<File>,
}

impl Framed {
    fn write(&mut self) -> io::Result<()> {
        self.frames.line(&self.json.take())
    }
}

impl Output for Framed {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        match line {
            Line::Header(_) | Line::Input(..) | Line::Known(..) => {
                self.json.line(line)?;
                self.write()
            }
            Line::End(..) => {
                self.json.line(line)?;
                self.write()?;
                self.frames.close_frame()
            }
            // A trace holds none.
            Line::Finding(_) | Line::Span(_) | Line::Passed(_) => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to, events] = &arguments[..] else { bail!("usage: lengthen TRACE LONGER EVENTS") };
    let events: u64 = events.parse().with_context(|| format!("not a number: {events:?}"))?;
    lengthen(Path::new(from), PathBuf::from(to), events)
}

fn lengthen(from: &Path, to: PathBuf, events: u64) -> anyhow::Result<()> {
    let file = File::open(from).with_context(|| format!("failed to open {}", from.display()))?;
    let mut recording = Reader::open(file).with_context(|| format!("failed to read {}", from.display()))?;
    let to = File::create_new(&to).with_context(|| format!("failed to create {}", to.display()))?;
    let mut framed = Framed { json: Json::new(Vec::new()), frames: FrameWriter::new(to)? };
    let mut stream = Stream::begin(recording.header(), &mut framed)?;
    let (mut seq, mut last, mut told) = (Seq(0), BootTime(0), 0);
    let (mut repeated, mut begun) = (Vec::new(), false);
    while let Some(item) = recording.next_item()? {
        let mut input = match item {
            Item::Input(_, input) => *input,
            Item::End(_) => break,
            Item::Header(_) => continue,
            Item::Damage(damage) => bail!("{}: {damage}", from.display()),
        };
        if begun {
            repeated.push(input.clone());
        }
        begun |= matches!(&input, Input::Facts(facts) if matches!(facts.about, About::Walked { .. }));
        seq = Seq(seq.0 + 1);
        last = last.max(input.at());
        told += u64::from(matches!(input, Input::Event(_)));
        stream.replay(seq, &mut input)?;
    }
    let (Some(first), Some(ids)) = (repeated.first().map(Input::at), ids(&repeated)) else {
        bail!("{}: nothing happens in it", from.display())
    };
    let (span, ids) = (last.since(first), ids.1 - ids.0 + 1);
    for round in 1u32.. {
        for input in &repeated {
            if told >= events {
                stream.end(last)?;
                return Ok(());
            }
            let mut input = later(input.clone(), span * round);
            if let Input::Event(event) = &mut input {
                renew(event, round, ids);
                told += 1;
            }
            seq = Seq(seq.0 + 1);
            last = input.at();
            stream.replay(seq, &mut input)?;
        }
    }
    Ok(())
}

/// The lowest and the highest id of a cgroup that was made.
fn ids(inputs: &[Input]) -> Option<(u64, u64)> {
    let ids = inputs.iter().filter_map(|input| match input {
        Input::Event(event) if event.change == Change::Created => event.cgroup.id.map(|id| id.0),
        _ => None,
    });
    ids.fold(None, |range, id| Some(range.map_or((id, id), |(low, high): (u64, u64)| (low.min(id), high.max(id)))))
}

fn later(mut input: Input, by: std::time::Duration) -> Input {
    let at = match &mut input {
        Input::Event(event) => &mut event.at,
        Input::Attempt(attempt) => &mut attempt.at,
        Input::Change(written) => &mut written.at,
        Input::Stuck(stuck) => &mut stuck.at,
        Input::Process(process) => &mut process.at,
        Input::Facts(facts) => &mut facts.at,
        Input::Lost(lost) => &mut lost.at,
        Input::Tick(tick) => &mut tick.at,
    };
    *at = *at + by;
    input
}

/// Another generation of the same cgroup, or that of another container.
fn renew(event: &mut Event, round: u32, ids: u64) {
    event.cgroup.id = event.cgroup.id.map(|id| CgroupId(id.0 + u64::from(round) * ids));
    let path = event.cgroup.path.as_bytes();
    if let Some(at) = path.windows(8).position(|part| part == b"/docker-") {
        let mut path = path.to_vec();
        let digits = at + 8..at + 8 + DIGITS;
        if digits.end <= path.len() {
            path[digits].copy_from_slice(format!("{round:0DIGITS$x}").as_bytes());
            event.cgroup.path = Name::new(path);
        }
    }
}
