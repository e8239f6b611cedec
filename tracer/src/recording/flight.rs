//! The flight recorder: the last seconds are kept in memory, and written only around a finding.
//!
//! What is kept is a row of parts, each of which begins with a header and all that is known, as the parts of a rotated
//! recording do. So the oldest can be dropped, and what is left can be read.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::frames::FrameWriter;
use super::journal::{Failed, Journal};
use super::sink::{Batch, Recording, Sink, Written};
use super::writer::{AGAIN, Destination};
use crate::findings::Finding;
use crate::hierarchy::Header;
use crate::input::{BootTime, Seq};
use crate::line::{Counts, Line};

/// What is kept in memory at most; beyond, the seconds before a finding are fewer.
const MEMORY: usize = 64 << 20;

/// Keeps `window` before a finding that matters, and writes on for `window` after it, to files of their own.
///
/// # Errors
/// When there can be no thread, or the directory cannot be read.
pub fn record_around(
    destination: Destination,
    window: Duration,
    matters: Box<dyn Fn(&Finding) -> bool>,
) -> anyhow::Result<Recording> {
    let directory = destination.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // What cannot be written should be known before it matters.
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK)
        .with_context(|| format!("failed to write to {}", directory.display()))?;
    let flight = Flight {
        journal: Journal::new(destination.shelf(true)?, destination.report),
        window,
        parts: VecDeque::new(),
        until: None,
        counts: Counts::default(),
        wanted: None,
        tried: Instant::now(),
        dropped_early: false,
        report: destination.report,
    };
    Recording::start("record", flight, matters, destination.confine)
}

/// A sink that keeps the last seconds, and writes them when it matters.
struct Flight {
    /// It has a file while one is being written.
    journal: Journal,
    window: Duration,
    parts: VecDeque<Part>,
    /// Until when the file is written.
    until: Option<Instant>,
    counts: Counts,
    /// A file is wanted that cannot be made, and until when.
    wanted: Option<Instant>,
    /// When that was last tried.
    tried: Instant,
    dropped_early: bool,
    report: fn(&str),
}

/// Some seconds in memory.
struct Part {
    begun: Instant,
    frames: FrameWriter<Vec<u8>>,
}

impl Flight {
    fn is_writing(&self) -> bool {
        self.journal.file().is_some()
    }

    /// What was to be done to the file was, or the file is given up.
    fn heed(&mut self, done: Result<(), Failed>) {
        if let Err(Failed) = done {
            self.journal.drop_file();
        }
    }

    /// Writes what is kept, and goes on writing until `until`.
    fn begin_file(&mut self, until: Instant) {
        self.tried = Instant::now();
        // While little happens, parts are begun seldom.
        self.drop_old();
        let mut before = Vec::new();
        for part in &mut self.parts {
            // A vector can be written.
            let _ = part.frames.close_frame();
            before.extend_from_slice(part.frames.get_ref());
        }
        match self.journal.begin_file(&before) {
            Ok(()) => {
                self.parts.clear();
                (self.wanted, self.until) = (None, Some(until));
            }
            Err(error) => {
                // What is kept is kept, and tried again.
                self.wanted = Some(until);
                self.journal.say(&error);
            }
        }
    }

    /// A part is dropped when the one after it is old enough by itself.
    fn drop_old(&mut self) {
        while self.parts.get(1).is_some_and(|next| next.begun.elapsed() >= self.window) {
            self.parts.pop_front();
        }
    }

    fn end_file(&mut self) {
        let end = self.journal.own_line(&Line::End(self.journal.last().1, &self.counts));
        let written = self.journal.own(&end).and_then(|()| self.journal.close_frame());
        self.heed(written);
        self.journal.drop_file();
    }

    /// Says what was lost before the line after `before`.
    fn tell_loss(&mut self, before: Seq) {
        if !self.is_writing() && self.parts.is_empty() {
            return;
        }
        if let Some((count, line)) = self.journal.loss_line(before) {
            self.journal.loss_is_told(count);
            self.take_own(&line);
        }
    }

    /// Writes a line of the stream, or keeps it.
    fn take(&mut self, line: &[u8]) {
        match self.is_writing() {
            true => {
                let written = self.journal.line(line);
                self.heed(written);
            }
            false => self.keep(line),
        }
    }

    /// Writes a line that is not the stream's, or keeps it.
    fn take_own(&mut self, line: &[u8]) {
        match self.is_writing() {
            true => {
                let written = self.journal.own(line);
                self.heed(written);
            }
            false => self.keep(line),
        }
    }

    /// Keeps a line. Where that cannot be done it is of a time that is passed over.
    fn keep(&mut self, line: &[u8]) {
        let Some(part) = self.parts.back_mut() else { return };
        // A vector can be written.
        let _ = part.frames.line(line);
        let held: usize = self.parts.iter().map(|part| part.frames.get_ref().len() + part.frames.pending()).sum();
        if held > MEMORY && self.parts.len() > 1 {
            self.parts.pop_front();
            if !std::mem::replace(&mut self.dropped_early, true) {
                (self.report)("too much happens: less time before a finding is kept than asked for");
            }
        }
    }
}

impl Sink for Flight {
    fn written(&self) -> &Arc<Written> {
        self.journal.written()
    }

    fn part(&mut self, header: &Header) {
        self.journal.set_header(header);
        let line = self.journal.header_line();
        if self.is_writing() {
            // A file began while this was on its way: it goes on.
            return self.take_own(&line);
        }
        let Ok(frames) = FrameWriter::new(Vec::new()) else { return };
        self.parts.push_back(Part { begun: Instant::now(), frames });
        self.take_own(&line);
        self.tell_loss(self.journal.last().0);
        self.drop_old();
    }

    fn lines(&mut self, batch: &Batch) {
        self.journal.lose(batch.lost_before);
        self.tell_loss(batch.before());
        batch.each().for_each(|line| self.take(line));
        self.journal.took(batch);
        self.counts.clone_from(&batch.counts);
    }

    fn finding(&mut self, counts: &Counts) {
        self.counts.clone_from(counts);
        let until = Instant::now() + self.window;
        if self.is_writing() { self.until = Some(until) } else { self.begin_file(until) }
    }

    fn wants_part(&self) -> bool {
        // After a file has ended nothing is kept: it begins anew.
        !self.is_writing() && self.parts.back().is_none_or(|part| part.begun.elapsed() >= self.window / 2)
    }

    fn beat(&mut self) {
        match self.wanted {
            Some(until) if Instant::now() >= until => self.wanted = None,
            Some(until) if self.tried.elapsed() >= AGAIN => self.begin_file(until),
            Some(_) | None => {}
        }
        if self.is_writing() {
            if self.until.is_some_and(|until| until <= Instant::now()) {
                self.end_file();
            } else {
                let closed = self.journal.close_old_frame();
                self.heed(closed);
            }
        }
    }

    fn reopen(&mut self) {
        self.end_file();
    }

    fn end(&mut self, at: BootTime, counts: &Counts) {
        self.journal.ends(at);
        self.counts = counts.clone();
        self.end_file();
    }
}
