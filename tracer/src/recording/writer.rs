//! Writes a trace file, or a row of them, and goes on when it cannot.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::journal::{Failed, Journal};
use super::shelf::{Limits, Shelf};
use super::sink::{Batch, Recording, Sink, Written};
use crate::hierarchy::Header;
use crate::input::{BootTime, Seq};
use crate::line::{Counts, Line};

/// Writing that failed is tried again after this.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// Where to record, and how.
pub struct Destination {
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

impl Destination {
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
pub fn record(destination: Destination) -> anyhow::Result<Recording> {
    let shelf = destination.shelf(destination.limits.rotates() || destination.adopts_older)?;
    let recorder = Recorder::create(shelf, destination.report)?;
    Recording::start("record", recorder, Box::new(|_| false), destination.confine)
}

/// A sink that is a trace file, or a row of them.
struct Recorder {
    /// Its file is `None` if that was removed, and could not be made anew.
    journal: Journal,
    /// When the file was begun.
    begun: Instant,
    /// When a new one could not be made.
    refused: Option<Instant>,
    /// Since when nothing can be written.
    failing: Option<Instant>,
    reopens: bool,
}

impl Recorder {
    fn create(shelf: Shelf, report: fn(&str)) -> anyhow::Result<Self> {
        let mut journal = Journal::new(shelf, report);
        let made = journal.begin_file(&[]);
        made.with_context(|| format!("failed to create {}", journal.shelf().first_name().display()))?;
        Ok(Self { journal, begun: Instant::now(), refused: None, failing: None, reopens: false })
    }

    /// What was to be done to the file was, or nothing can be written for now.
    fn heed(&mut self, done: Result<(), Failed>) {
        if let Err(Failed) = done {
            self.failing = Some(Instant::now());
            // One that nobody can reach any more only takes up room.
            if self.journal.file().is_some_and(super::file::TraceFile::is_removed) {
                self.journal.drop_file();
            }
        }
    }

    /// Writes a line that is not the stream's own, in a frame of its own.
    fn write_own(&mut self, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        let closed = self.journal.close_frame();
        self.heed(closed);
        if self.failing.is_none() {
            let written = self.journal.own(line).and_then(|()| self.journal.close_frame());
            self.heed(written);
        }
    }

    fn write_header(&mut self) {
        let line = self.journal.header_line();
        self.write_own(&line);
    }

    /// Says what was lost before the line after `before`.
    fn tell_loss(&mut self, before: Seq) {
        if self.failing.is_some() {
            return;
        }
        let Some((count, line)) = self.journal.loss_line(before) else { return };
        self.write_own(&line);
        if self.failing.is_none() {
            self.journal.loss_is_told(count);
        }
    }
}

impl Sink for Recorder {
    fn written(&self) -> &Arc<Written> {
        self.journal.written()
    }

    fn part(&mut self, header: &Header) {
        if !self.journal.set_header(header) {
            let closed = self.journal.close_frame();
            self.heed(closed);
            let made = self.journal.begin_file(&[]);
            self.refused = made.is_err().then(Instant::now);
            self.journal.written().set_misplaced(made.is_err());
            match made {
                Ok(()) => {
                    self.begun = Instant::now();
                    self.failing = None;
                    self.reopens = false;
                }
                Err(error) => {
                    self.journal.say(&error);
                    // The old one goes on, if it is there, and a new one is tried again.
                    if self.journal.file().is_none() {
                        self.failing = Some(Instant::now());
                    }
                }
            }
        }
        if self.failing.is_none() {
            self.write_header();
            self.tell_loss(self.journal.last().0);
        }
    }

    fn lines(&mut self, batch: &Batch) {
        self.journal.lose(batch.lost_before);
        self.tell_loss(batch.before());
        for line in batch.each() {
            if self.failing.is_some() {
                self.journal.lose(1);
                continue;
            }
            let written = self.journal.line(line);
            self.heed(written);
        }
        self.journal.took(batch);
    }

    fn finding(&mut self, _: &Counts) {}

    fn wants_part(&self) -> bool {
        if self.refused.is_some_and(|refused| refused.elapsed() < AGAIN) {
            return false;
        }
        // Whoever removed the file will have it anew, when there is a place for it.
        let shelf = self.journal.shelf();
        self.journal.file().is_none() || self.reopens || shelf.is_full() || shelf.is_old(self.begun.elapsed())
    }

    fn beat(&mut self) {
        match self.failing {
            Some(since) if since.elapsed() >= AGAIN && self.journal.file().is_some() => {
                self.failing = None;
                if self.journal.file().is_some_and(|file| file.size() == 0) {
                    self.write_header();
                }
                self.tell_loss(self.journal.last().0);
            }
            Some(_) => {}
            None => {
                let closed = self.journal.close_old_frame();
                self.heed(closed);
            }
        }
    }

    fn reopen(&mut self) {
        self.reopens = true;
    }

    fn end(&mut self, at: BootTime, counts: &Counts) {
        // One more time: the disk may have room again.
        self.failing = self.failing.filter(|_| self.journal.file().is_none());
        let closed = self.journal.close_frame();
        self.heed(closed);
        self.tell_loss(self.journal.last().0);
        if self.failing.is_none() {
            let end = self.journal.own_line(&Line::End(at, counts));
            self.write_own(&end);
        }
    }
}
