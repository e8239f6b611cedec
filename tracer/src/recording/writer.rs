//! Writes a trace file, or a row of them, and goes on when it cannot.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::file::TraceFile;
use super::frames::FrameWriter;
use super::shelf::{Limits, Shelf};
use super::sink::{Batch, FRAME_AGE, Recording, Sink, Written, not_written};
use crate::hierarchy::Header;
use crate::input::{BootTime, Seq};
use crate::line::{Counts, Line, Output};
use crate::output::Json;

/// Writing that failed is tried again after this.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// Where to record, and how.
pub struct Place {
    /// The file; with `limits` that rotate, its parts are numbered.
    pub path: PathBuf,
    /// When a new file is begun, and which are kept.
    pub limits: Limits,
    /// Traces that earlier runs left in the directory count among those to keep.
    pub adopts_older: bool,
    /// Is told, once, when writing begins to fail.
    pub report: fn(&str),
    /// Is called in the thread that writes, before it does.
    pub confine: Box<dyn FnOnce() + Send>,
}

impl Place {
    pub(super) fn shelf(&self, numbered: bool) -> anyhow::Result<Shelf> {
        let mut shelf = Shelf::new(self.path.clone(), self.limits, numbered, self.report);
        if self.adopts_older {
            let directory = self.path.parent().unwrap_or(&self.path).display();
            shelf.adopt_older().with_context(|| format!("failed to read {directory}"))?;
        }
        Ok(shelf)
    }
}

/// Records a stream. Makes the first file.
///
/// # Errors
/// When the file exists, or cannot be made.
pub fn record(place: Place) -> anyhow::Result<Recording> {
    let shelf = place.shelf(place.limits.rotates() || place.adopts_older)?;
    let recorder = Recorder::create(shelf, place.report)?;
    Recording::start(recorder, Box::new(|_| false), place.confine)
}

/// A sink that is a trace file, or a row of them.
struct Recorder {
    shelf: Shelf,
    /// `None` if it was removed, and could not be made anew.
    file: Option<FrameWriter<TraceFile>>,
    /// When the file was begun.
    begun: Instant,
    /// When a new one could not be made.
    refused: Option<Instant>,
    frame_begun: Instant,
    /// Lines in the frame that is not closed yet.
    unclosed: u64,
    /// Since when nothing can be written.
    failing: Option<Instant>,
    /// Lines that were lost and are not yet told of in the trace.
    untold: u64,
    reopens: bool,
    header: Option<Header>,
    /// The last line's number and time, written or not.
    last: (Seq, BootTime),
    written: Arc<Written>,
    report: fn(&str),
}

impl Recorder {
    fn create(mut shelf: Shelf, report: fn(&str)) -> anyhow::Result<Self> {
        let file = shelf.create().with_context(|| format!("failed to create {}", shelf.first_name().display()))?;
        let now = Instant::now();
        let written = Arc::new(Written::default());
        written.add_file();
        Ok(Self {
            shelf,
            file: Some(file),
            begun: now,
            refused: None,
            frame_begun: now,
            unclosed: 0,
            failing: None,
            untold: 0,
            reopens: false,
            header: None,
            last: (Seq(0), BootTime(0)),
            written,
            report,
        })
    }

    /// Writes something, and counts what became of it.
    fn write(&mut self, what: impl FnOnce(&mut FrameWriter<TraceFile>) -> io::Result<()>) {
        let Some(file) = &mut self.file else { return };
        let before = file.written();
        let done = what(file);
        let bytes = file.written() - before;
        let pending = file.pending();
        self.written.add_bytes(bytes);
        self.shelf.resize(file.get_ref().size());
        match done {
            Ok(()) if bytes > 0 => self.unclosed = u64::from(pending > 0),
            Ok(()) => {}
            Err(error) => {
                // One that nobody can reach any more only takes up room.
                self.file.take_if(|file| file.get_ref().is_removed());
                self.fail(&error);
            }
        }
    }

    /// Nothing can be written for now. What was not written yet is lost.
    fn fail(&mut self, error: &io::Error) {
        self.failing = Some(Instant::now());
        let lost = std::mem::take(&mut self.unclosed);
        self.lose(lost);
        self.say(error);
    }

    fn say(&self, error: &io::Error) {
        let text = format!("failed to write {}: {error}", self.shelf.newest_name().display());
        if self.written.add_error(&text) {
            (self.report)(&text);
        }
    }

    fn pending(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.pending() > 0)
    }

    fn lose(&mut self, lines: u64) {
        self.written.add_lost(lines);
        self.untold += lines;
    }

    /// A line that is not the stream's own, in a frame of its own.
    fn write_own(&mut self, line: impl FnOnce(&mut Json<Vec<u8>>) -> io::Result<()>) {
        let Some(header) = &self.header else { return };
        let mut json = Json::at(header.clock);
        let made = line(&mut json);
        self.write(FrameWriter::close_frame);
        if made.is_ok() && self.failing.is_none() {
            self.write(|file| file.line(&json.take()).and_then(|()| file.close_frame()));
        }
    }

    fn write_header(&mut self) {
        let Some(header) = self.header.clone() else { return };
        self.write_own(|json| json.line(&Line::Header(&header)));
    }

    /// Says what was lost before the line after `before`.
    fn tell_loss(&mut self, before: Seq) {
        let count = self.untold;
        if count == 0 || self.failing.is_some() {
            return;
        }
        let lost = not_written(self.last.1, count);
        self.write_own(|json| json.line(&Line::Input(before, &lost)));
        if self.failing.is_none() {
            self.untold -= count;
        }
    }
}

impl Sink for Recorder {
    fn written(&self) -> &Arc<Written> {
        &self.written
    }

    fn part(&mut self, header: &Header) {
        let first = self.header.replace(header.clone()).is_none();
        if !first {
            self.write(FrameWriter::close_frame);
            let made = self.shelf.create();
            self.refused = made.is_err().then(Instant::now);
            self.written.set_misplaced(made.is_err());
            match made {
                Ok(file) => {
                    self.begun = Instant::now();
                    self.file = Some(file);
                    self.failing = None;
                    self.reopens = false;
                    self.written.add_file();
                }
                Err(error) if self.file.is_none() => self.fail(&error),
                // The old one goes on, and a new one is tried again.
                Err(error) => self.say(&error),
            }
        }
        if self.failing.is_none() {
            self.write_header();
            self.tell_loss(self.last.0);
        }
    }

    fn lines(&mut self, batch: &Batch) {
        self.lose(batch.lost_before);
        self.tell_loss(batch.before());
        for line in batch.each() {
            if self.failing.is_some() {
                self.lose(1);
                continue;
            }
            if !self.pending() {
                self.frame_begun = Instant::now();
            }
            self.unclosed += 1;
            self.write(|file| file.line(line));
        }
        self.last = batch.last;
    }

    fn finding(&mut self) {}

    fn wants_part(&self) -> bool {
        if self.refused.is_some_and(|refused| refused.elapsed() < AGAIN) {
            return false;
        }
        // Whoever removed the file will have it anew, when there is a place for it.
        self.file.is_none() || self.reopens || self.shelf.is_full() || self.shelf.is_old(self.begun.elapsed())
    }

    fn beat(&mut self) {
        match self.failing {
            Some(since) if since.elapsed() >= AGAIN && self.file.is_some() => {
                self.failing = None;
                if self.file.as_ref().is_some_and(|file| file.get_ref().size() == 0) {
                    self.write_header();
                }
                self.tell_loss(self.last.0);
            }
            Some(_) => {}
            None if self.pending() && self.frame_begun.elapsed() >= FRAME_AGE => self.write(FrameWriter::close_frame),
            None => {}
        }
    }

    fn reopen(&mut self) {
        self.reopens = true;
    }

    fn end(&mut self, at: BootTime, counts: &Counts) {
        // One more time: the disk may have room again.
        self.failing = self.failing.filter(|_| self.file.is_none());
        self.write(FrameWriter::close_frame);
        self.tell_loss(self.last.0);
        if self.failing.is_none() {
            self.write_own(|json| json.line(&Line::End(at, counts)));
        }
    }
}
