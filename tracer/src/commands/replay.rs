//! Trace files and running agents in, a stream out: what the commands that read traces have in common.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::fs::{Mode, OFlags};
use tempfile::NamedTempFile;

use crate::client::{Agent, FetchError};
use crate::hierarchy::{Clock, Header};
use crate::input::{BootTime, Seq};
use crate::line::Output;
use crate::phrases::date_and_time;
use crate::recording::{Item, OpenError, Reader, next_part_name};
use crate::stream::Stream;

/// A file that takes longer gets a progress bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// What a followed file is looked at again after.
const AGAIN: Duration = Duration::from_millis(200);
/// Damaged places of a file that are named; the rest is counted.
const NAMED: u64 = 20;
/// What stands for stdin.
pub(super) const STDIN: &str = "-";

/// One recording: a file, the parts that one was rotated into, in order, or an agent's memory.
pub(super) struct Source {
    files: Vec<SourceFile>,
    /// Of the first part. `None` for stdin, whose header is read with the rest of it.
    header: Option<Header>,
}

/// A file of a recording.
#[derive(Clone)]
struct SourceFile {
    path: PathBuf,
    /// What an agent has answered: its address, and the file that the answer is kept in.
    fetched: Option<(Agent, Rc<NamedTempFile>)>,
}

impl SourceFile {
    fn at(path: PathBuf) -> Self {
        Self { path, fetched: None }
    }

    fn of(agent: Agent) -> Result<Self, FetchError> {
        let made = NamedTempFile::with_prefix("cgtrace-").context("failed to make a file for what an agent answers");
        let mut file = made.map_err(FetchError::NoAnswer)?;
        agent.fetch(file.as_file_mut())?;
        Ok(Self { path: file.path().to_path_buf(), fetched: Some((agent, Rc::new(file))) })
    }

    fn is_stdin(&self) -> bool {
        self.path == Path::new(STDIN)
    }

    /// What the user knows it by.
    fn name(&self) -> String {
        self.fetched.as_ref().map_or_else(|| self.path.display().to_string(), |(agent, _)| agent.to_string())
    }
}

impl Source {
    /// Since when the agent remembers whose memory it is. `None` if it is a file.
    pub fn remembers_since(&self) -> Option<String> {
        self.files.iter().find(|file| file.fetched.is_some())?;
        let clock = self.clock();
        Some(date_and_time(clock, BootTime(clock.boot_ns)))
    }

    /// The clock of its host. That of a source without a header shows times since boot.
    pub fn clock(&self) -> Clock {
        self.header.as_ref().map_or(Clock { boot_ns: 0, unix_ns: 0 }, |header| header.clock)
    }

    /// The names of its files.
    pub fn names(&self) -> String {
        self.files.iter().map(SourceFile::name).collect::<Vec<_>>().join(", ")
    }
}

/// Whether a header is of the same recording.
fn is_same(one: &Header, other: &Header) -> bool {
    (&one.boot_id, &one.started, &one.host) == (&other.boot_id, &other.started, &other.host)
}

/// Every recording among files, directories, and the memories of agents (`http://HOST:PORT`, `unix:/PATH`), on one
/// axis: by the clocks of their hosts.
///
/// # Errors
/// When a file or an agent's answer cannot be read as a trace, a directory has none, or there is no agent.
pub(super) fn sources(given: &[PathBuf], follow: bool) -> anyhow::Result<Vec<Source>> {
    let mut sources: Vec<Source> = Vec::new();
    for file in files(given, follow)? {
        if file.is_stdin() {
            sources.push(Source { files: vec![file], header: None });
            continue;
        }
        let header = open(&file, follow)?.header().clone();
        let known =
            sources.iter_mut().find(|source| source.header.as_ref().is_some_and(|known| is_same(known, &header)));
        match known {
            // The agent numbers what it remembers and what it records each for itself.
            Some(source) if file.fetched.is_some() || source.remembers_since().is_some() => {
                bail!("{} and {} are of the same agent\nhint: give one of them", source.names(), file.name())
            }
            Some(source) => source.files.push(file),
            None => sources.push(Source { files: vec![file], header: Some(header) }),
        }
    }
    for source in sources.iter_mut().filter(|source| source.files.len() > 1) {
        let mut parts: Vec<(u64, SourceFile)> = Vec::new();
        for file in source.files.drain(..) {
            parts.push((open(&file, false)?.header().clock.boot_ns, file));
        }
        parts.sort_by(|(one, file), (other, another)| (one, &file.path).cmp(&(other, &another.path)));
        source.files = parts.into_iter().map(|(_, file)| file).collect();
        source.header = Some(open(&source.files[0], false)?.header().clone());
    }
    sources.sort_by_key(|source| source.header.as_ref().map(|h| h.clock.unix_ns(BootTime(h.clock.boot_ns))));
    Ok(sources)
}

/// The memory of this host's agent.
///
/// # Errors
/// When none answers where it serves unless told otherwise, or it does not answer with a trace.
pub(super) fn of_this_host() -> anyhow::Result<Vec<Source>> {
    let mut tried = Vec::new();
    for agent in Agent::of_this_host() {
        match SourceFile::of(agent) {
            Ok(file) => {
                let header = open(&file, false)?.header().clone();
                return Ok(vec![Source { files: vec![file], header: Some(header) }]);
            }
            Err(FetchError::NoAgent(why)) => tried.push(format!("{why:#}")),
            Err(error @ FetchError::NoAnswer(_)) => return Err(error.into()),
        }
    }
    bail!(
        "no agent of this host answers: {}\nhint: name a trace file, or the address of an agent: http://HOST:PORT, \
         unix:/PATH",
        tried.join("; ")
    )
}

/// The files themselves, the traces in the directories, and what agents answer.
fn files(given: &[PathBuf], follow: bool) -> anyhow::Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    for path in given {
        if let Some(agent) = Agent::named(path.as_os_str()) {
            let agent = agent?;
            if follow {
                bail!("the memory of {agent} cannot be followed\nhint: `cgtrace live` shows what happens from now on");
            }
            files.push(SourceFile::of(agent)?);
            continue;
        }
        if !path.is_dir() {
            files.push(SourceFile::at(path.clone()));
            continue;
        }
        let entries = path.read_dir().with_context(|| format!("failed to read {}", path.display()))?;
        let mut inside: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|path| is_trace(path)).collect();
        if inside.is_empty() {
            bail!("there is no trace in {}\nhint: traces end in .jsonl.zst or .jsonl", path.display());
        }
        inside.sort();
        files.extend(inside.into_iter().map(SourceFile::at));
    }
    Ok(files)
}

fn is_trace(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.is_file() && (name.ends_with(".jsonl.zst") || name.ends_with(".jsonl"))
}

/// Opens a trace. One that is followed may have no header yet.
fn open(file: &SourceFile, follow: bool) -> anyhow::Result<Reader<Box<dyn Read>>> {
    loop {
        let from: Box<dyn Read> = if file.is_stdin() {
            Box::new(io::stdin())
        } else {
            Box::new(open_file(&file.path).with_context(|| format!("failed to open {}", file.name()))?)
        };
        match Reader::open(from) {
            Err(OpenError::Empty) if follow => std::thread::sleep(AGAIN),
            opened => return opened.with_context(|| format!("failed to read {}", file.name())),
        }
    }
}

/// Opens a file. It is opened more than once, so a pipe is none; a device may never end, and a pipe never begin.
fn open_file(path: &Path) -> anyhow::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        bail!("it is not a regular file\nhint: a pipe is read from stdin: `… | cgtrace report -`");
    }
    Ok(file)
}

/// How a recording is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// From its beginning to its end.
    Once,
    /// Until its end comes.
    Following,
    /// Once more: what could not be read was said the first time.
    Again,
}

/// Replays a recording's files through one tracker. Returns whether all could be read; what could not is said on
/// stderr.
///
/// # Errors
/// When a file cannot be read, or the output cannot be written.
pub(super) fn replay(source: &mut Source, output: &mut dyn Output, reading: Reading) -> anyhow::Result<bool> {
    let follow = reading == Reading::Following;
    let mut whole = true;
    let mut stream: Option<Stream<'_>> = None;
    let mut output = Some(output);
    let mut ended = None;
    let mut last = BootTime(0);
    let mut before: Option<(Seq, BootTime)> = None;
    let mut number = 0;
    while let Some(file) = source.files.get(number).cloned() {
        number += 1;
        let mut reader = open(&file, follow)?;
        if let Some((seq, at)) = before {
            reader = reader.after(seq, at);
        }
        let header = source.header.get_or_insert_with(|| reader.header().clone()).clone();
        let mut progress = ProgressBar::new(&file, reading != Reading::Again);
        match output.take() {
            Some(output) => stream = Some(Stream::begin(reader.header(), output)?),
            None => stream.iter_mut().for_each(Stream::part_begins),
        }
        let Some(stream) = &mut stream else { continue };
        loop {
            match reader.next_item().with_context(|| format!("failed to read {}", file.name()))? {
                Some(Item::Input(seq, mut input)) => {
                    last = last.max(input.at());
                    before = Some((seq, last));
                    stream.replay(seq, &mut input)?;
                }
                Some(Item::End(at)) => {
                    ended = Some(at);
                    if follow {
                        break;
                    }
                }
                Some(Item::Header(another)) if !is_same(&header, &another) => {
                    progress.damage(&"another recording begins in the same file; it is left out");
                    break;
                }
                Some(Item::Header(_)) => stream.part_begins(),
                Some(Item::Damage(damage)) => progress.damage(&damage),
                None if follow && ended.is_none() && number == source.files.len() && !file.is_stdin() => {
                    match next_part_name(&file.path).filter(|next| next.exists()) {
                        // It was begun after the last line of this one was written.
                        Some(next) => source.files.push(SourceFile::at(next)),
                        None => {
                            stream.flush()?;
                            std::thread::sleep(AGAIN);
                        }
                    }
                }
                None => break,
            }
            progress.draw(reader.position());
        }
        let is_last = number == source.files.len();
        if !reader.is_whole() {
            progress.damage(&format!("cut short: the last {} bytes are not a whole frame", reader.remainder()));
        } else if is_last && ended.is_none() {
            progress.damage(&"cut short: it has no end line; at most its last second is missing");
        }
        whole &= progress.end();
    }
    if let Some(stream) = stream {
        stream.end(ended.unwrap_or(last))?;
    }
    Ok(whole)
}

/// How far a file was read, and what of it could not be: a bar for files that take a while, where somebody looks.
struct ProgressBar {
    name: String,
    total: u64,
    begun: Instant,
    drawn: Option<Instant>,
    draws: bool,
    /// What cannot be read is said.
    tells: bool,
    damages: u64,
}

impl ProgressBar {
    fn new(file: &SourceFile, tells: bool) -> Self {
        let total = std::fs::metadata(&file.path).map(|metadata| metadata.len()).unwrap_or(0);
        let draws = total > 0 && io::stderr().is_terminal();
        Self { name: file.name(), total, begun: Instant::now(), drawn: None, draws, tells, damages: 0 }
    }

    fn draw(&mut self, position: u64) {
        // Asking for the time is not free either.
        if !self.draws
            || self.begun.elapsed() < PATIENCE
            || self.drawn.is_some_and(|drawn| drawn.elapsed() < PATIENCE / 8)
        {
            return;
        }
        self.drawn = Some(Instant::now());
        let share = (position as f64 / self.total as f64).min(1.0);
        let full = (share * 40.0) as usize;
        let _ = write!(io::stderr(), "\r[{}{}] {:3.0} %", "#".repeat(full), " ".repeat(40 - full), share * 100.0);
    }

    fn clear(&mut self) {
        if self.drawn.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn damage(&mut self, what: &dyn std::fmt::Display) {
        self.damages += 1;
        if self.tells && self.damages <= NAMED {
            self.clear();
            say!("warning: {}: {what}", self.name);
        }
    }

    /// Whether there was no damage.
    fn end(&mut self) -> bool {
        self.clear();
        if self.tells && self.damages > NAMED {
            say!("warning: {}: {} more places that cannot be read", self.name, self.damages - NAMED);
        }
        self.damages == 0
    }
}
