//! Writes a trace file, and goes on when it cannot.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::frames::FrameWriter;
use crate::findings::Finding;
use crate::hierarchy::{Clock, Header};
use crate::input::{BootTime, Input, Seq};
use crate::output::{Counts, Json, Output};

/// A frame is closed at the latest after this: so much is lost when the machine dies.
const FRAME_AGE: Duration = Duration::from_secs(1);

/// When a new file is begun, and which old ones are kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// A file this large is ended.
    pub size: Option<u64>,
    /// A file this old is ended.
    pub age: Option<Duration>,
    /// So many files are kept.
    pub keep: Option<usize>,
    /// The files together are no larger than this.
    pub total: Option<u64>,
}

impl Limits {
    fn rotates(&self) -> bool {
        self.size.is_some() || self.age.is_some() || self.total.is_some()
    }
}

/// What was written, and what could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Files begun.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Lines that could not be written.
    pub lost_lines: u64,
    /// The first reason why.
    pub error: Option<String>,
}

/// An output that is a trace file, or a row of them.
///
/// It never fails: tracing goes on, what could not be written is counted, and said in the trace as soon as it can be
/// written again.
pub struct Recorder {
    path: PathBuf,
    limits: Limits,
    part: u32,
    parts: Vec<(PathBuf, u64)>,
    header: Option<Header>,
    file: Option<FrameWriter<File>>,
    begun: Instant,
    frame_begun: Instant,
    line: Json<Vec<u8>>,
    /// Lines in the frame that is not closed yet.
    unclosed: u64,
    unsaid: u64,
    /// The last line's number and time, written or not.
    last: (Seq, BootTime),
    written: Written,
    report: fn(&str),
}

/// `cgtrace-HOST-20261124T043330Z.jsonl.zst`
pub fn default_name(host: &str, clock: Clock) -> PathBuf {
    let host: String =
        host.chars().map(|c| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '_' }).collect();
    let time = clock.rfc3339(BootTime(clock.boot_ns));
    let time: String = time.chars().take(19).filter(|c| !matches!(c, '-' | ':')).collect();
    PathBuf::from(format!("cgtrace-{host}-{time}Z.jsonl.zst"))
}

impl Recorder {
    /// Makes the first file. `report` is told, once, when writing begins to fail.
    ///
    /// # Errors
    /// When the file exists, or cannot be made.
    pub fn create(path: PathBuf, limits: Limits, report: fn(&str)) -> anyhow::Result<Self> {
        let first = if limits.rotates() { part_name(&path, 0) } else { path.clone() };
        let file = create(&first).with_context(|| format!("failed to create {}", first.display()))?;
        let now = Instant::now();
        Ok(Self {
            path,
            limits,
            part: 0,
            parts: vec![(first, 0)],
            header: None,
            file: Some(FrameWriter::new(file).context("failed to set up the compressor")?),
            begun: now,
            frame_begun: now,
            line: Json::new(Vec::new()),
            unclosed: 0,
            unsaid: 0,
            last: (Seq(0), BootTime(0)),
            written: Written { files: 1, ..Written::default() },
            report,
        })
    }

    /// What was written so far.
    pub fn written(&self) -> &Written {
        &self.written
    }

    /// Takes the line that was just made, and writes it.
    fn write_line(&mut self) {
        let line = self.line.take();
        self.add(&line);
    }

    fn add(&mut self, line: &[u8]) {
        if self.file.is_none() {
            self.reopen();
        }
        let Some(file) = &mut self.file else {
            self.lose(1, None);
            return;
        };
        if file.pending() == 0 {
            self.frame_begun = Instant::now();
        }
        let before = file.written();
        let done = file.line(line);
        let (written, pending) = (file.written(), file.pending());
        self.unclosed += 1;
        self.account(written - before);
        match done {
            Ok(()) if written > before => self.unclosed = u64::from(pending > 0),
            Ok(()) => {}
            Err(error) => self.fail(&error),
        }
    }

    fn account(&mut self, bytes: u64) {
        self.written.bytes += bytes;
        if let Some((_, size)) = self.parts.last_mut() {
            *size += bytes;
        }
    }

    /// A frame could not be written: what was in it is lost, and the file is given up.
    fn fail(&mut self, error: &io::Error) {
        let lost = std::mem::take(&mut self.unclosed);
        self.lose(lost, Some(error));
        self.file = None;
        self.begun = Instant::now();
    }

    fn lose(&mut self, lines: u64, error: Option<&io::Error>) {
        self.written.lost_lines += lines;
        self.unsaid += lines;
        if let Some(error) = error
            && self.written.error.is_none()
        {
            let text = format!("failed to write {}: {error}", self.path.display());
            (self.report)(&text);
            self.written.error = Some(text);
        }
    }

    /// Tries to go on in the same file, once a second: a disk has room again, a file system is writable again.
    fn reopen(&mut self) {
        if self.begun.elapsed() < FRAME_AGE {
            return;
        }
        self.begun = Instant::now();
        let Some((path, _)) = self.parts.last() else { return };
        let options = || OpenOptions::new().append(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path);
        let file = options().or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => create(path),
            _ => Err(error),
        });
        let Ok(Ok(mut file)) = file.map(FrameWriter::new) else { return };
        // The header again: what was cut off may have been the first one, or this may be a new file.
        let Some(header) = &self.header else { return };
        // The line that is about to be written is not lost.
        let last = (Seq(self.last.0.0.saturating_sub(1)), self.last.1);
        let lost = crate::input::Lost {
            at: last.1,
            ring: crate::input::Ring::Recording,
            reason: crate::input::LossReason::NotWritten,
            count: self.unsaid,
        };
        let mut json = Json::new(Vec::new());
        let lines = json.header(header).and_then(|()| json.input(last.0, &Input::Lost(lost)));
        if lines.is_ok() && file.line(&json.take()).and_then(|()| file.close_frame()).is_ok() {
            let bytes = file.written();
            self.unsaid = 0;
            self.file = Some(file);
            self.account(bytes);
        }
    }

    fn close_frame(&mut self) {
        let Some(file) = &mut self.file else { return };
        let before = file.written();
        let done = file.close_frame();
        let written = file.written();
        self.account(written - before);
        match done {
            Ok(()) => self.unclosed = 0,
            Err(error) => self.fail(&error),
        }
    }

    /// Removes the oldest files until the rest is within the limits. The newest stays.
    fn prune(&mut self) {
        let total = |parts: &[(PathBuf, u64)]| parts.iter().map(|(_, size)| size).sum::<u64>();
        while self.parts.len() > 1
            && (self.limits.keep.is_some_and(|keep| self.parts.len() > keep.max(1))
                || self.limits.total.is_some_and(|most| total(&self.parts) > most))
        {
            let (path, _) = self.parts.remove(0);
            if let Err(error) = std::fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                (self.report)(&format!("failed to remove {}: {error}", path.display()));
            }
        }
    }
}

impl Output for Recorder {
    fn header(&mut self, header: &Header) -> io::Result<()> {
        self.header = Some(header.clone());
        self.line.header(header)?;
        self.write_line();
        // The header is on disk before anything happens.
        self.close_frame();
        Ok(())
    }

    fn input(&mut self, seq: Seq, input: &Input) -> io::Result<()> {
        self.last = (seq, input.at());
        self.line.input(seq, input)?;
        self.write_line();
        Ok(())
    }

    fn finding(&mut self, _: &Finding) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self, at: BootTime, counts: &Counts) -> io::Result<()> {
        self.begun -= FRAME_AGE.min(self.begun.elapsed() + FRAME_AGE);
        self.line.end(at, counts)?;
        self.write_line();
        self.close_frame();
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.file.as_ref().is_some_and(|file| file.pending() > 0) && self.frame_begun.elapsed() >= FRAME_AGE {
            self.close_frame();
        }
        Ok(())
    }

    fn wants_new_part(&self) -> bool {
        let size = self.parts.last().map_or(0, |(_, size)| *size);
        // Together within the total, in four steps, so that what is dropped is a quarter at most.
        let by_total = self.limits.total.is_some_and(|total| size >= (total / 4).max(1));
        let by_size = self.limits.size.is_some_and(|most| size >= most);
        by_size || by_total || self.limits.age.is_some_and(|age| self.begun.elapsed() >= age && self.file.is_some())
    }

    fn new_part(&mut self, header: &Header) -> io::Result<()> {
        self.close_frame();
        let path = part_name(&self.path, self.part + 1);
        match create(&path).and_then(FrameWriter::new) {
            Ok(file) => {
                self.part += 1;
                self.parts.push((path, 0));
                self.file = Some(file);
                self.begun = Instant::now();
                self.written.files += 1;
                self.header(header)?;
                self.prune();
            }
            Err(error) => {
                // The old file goes on.
                self.lose(0, Some(&error));
                self.begun = Instant::now();
            }
        }
        Ok(())
    }
}

/// Makes a file that nobody else can read, and never touches one that is there, or follows a link.
pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// `NAME.0001.jsonl.zst`
pub(super) fn part_name(path: &Path, part: u32) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (stem, extension) = match name.find(".jsonl") {
        Some(at) => (name[..at].to_owned(), name[at..].to_owned()),
        None => (name, String::new()),
    };
    path.with_file_name(format!("{stem}.{part:04}{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_numbered_before_the_extension() {
        assert_eq!(part_name(Path::new("/a/b.jsonl.zst"), 3), Path::new("/a/b.0003.jsonl.zst"));
        assert_eq!(part_name(Path::new("trace"), 12), Path::new("trace.0012"));
    }

    #[test]
    fn the_default_name_tells_host_and_time() {
        let clock = Clock { boot_ns: 0, unix_ns: 1_700_000_000_000_000_000 };
        assert_eq!(default_name("a/b", clock), Path::new("cgtrace-a_b-20231114T221320Z.jsonl.zst"));
    }
}
