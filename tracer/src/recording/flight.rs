//! The flight recorder: the last seconds are kept in memory, and written only around a finding.
//!
//! What is kept is a row of parts, each of which begins with a header and all that is known, as the parts of a rotated
//! recording do. So the oldest can be dropped, and what is left can be read.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::file::TraceFile;
use super::frames::FrameWriter;
use super::shelf::Shelf;
use super::sink::{Batch, FRAME_AGE, Recording, Sink, Written, not_written};
use super::writer::{AGAIN, Place};
use crate::findings::Finding;
use crate::hierarchy::Header;
use crate::input::{BootTime, Seq};
use crate::line::{Counts, Line, Output};
use crate::output::Json;

/// What is kept in memory at most; beyond, the seconds before a finding are fewer.
const MEMORY: usize = 64 << 20;

/// Keeps `window` before a finding that matters, and writes on for `window` after it, to files of their own.
///
/// # Errors
/// When there can be no thread, or the directory cannot be read.
pub fn record_around(
    place: Place,
    window: Duration,
    matters: Box<dyn Fn(&Finding) -> bool>,
) -> anyhow::Result<Recording> {
    let directory = place.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // What cannot be written should be known before it matters.
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK)
        .with_context(|| format!("failed to write to {}", directory.display()))?;
    let flight = Flight {
        shelf: place.shelf(true)?,
        window,
        parts: VecDeque::new(),
        active: None,
        header: None,
        last: (Seq(0), BootTime(0)),
        counts: Counts::default(),
        wanted: None,
        tried: Instant::now(),
        untold: 0,
        dropped_early: false,
        written: Arc::new(Written::default()),
        report: place.report,
    };
    Recording::start(flight, matters, place.confine)
}

/// A sink that keeps the last seconds, and writes them when it matters.
struct Flight {
    shelf: Shelf,
    window: Duration,
    parts: VecDeque<Part>,
    active: Option<Active>,
    header: Option<Header>,
    last: (Seq, BootTime),
    counts: Counts,
    /// A file is wanted that cannot be made, and until when.
    wanted: Option<Instant>,
    /// When that was last tried.
    tried: Instant,
    /// Lines that were lost and are not yet told of in the trace.
    untold: u64,
    dropped_early: bool,
    written: Arc<Written>,
    report: fn(&str),
}

/// Some seconds in memory.
struct Part {
    begun: Instant,
    frames: FrameWriter<Vec<u8>>,
}

/// A file that is being written.
struct Active {
    file: FrameWriter<TraceFile>,
    until: Instant,
    frame_begun: Instant,
    unclosed: u64,
}

impl Flight {
    /// A line that is not the stream's own.
    fn own_line(&self, line: impl FnOnce(&mut Json<Vec<u8>>) -> io::Result<()>) -> Vec<u8> {
        let Some(header) = &self.header else { return Vec::new() };
        let mut json = Json::at(header.clock);
        // A vector can be written.
        let _ = line(&mut json);
        json.take()
    }

    /// Writes what is kept, and goes on writing until `until`.
    fn begin_file(&mut self, until: Instant) {
        self.tried = Instant::now();
        let mut before = Vec::new();
        for part in &mut self.parts {
            // A vector can be written.
            let _ = part.frames.close_frame();
            before.extend_from_slice(part.frames.get_ref());
        }
        let begun = self.shelf.create().and_then(|mut file| file.frames(&before).map(|()| file));
        match begun {
            Ok(file) => {
                self.written.add_file();
                self.written.add_bytes(file.written());
                self.shelf.resize(file.get_ref().size());
                self.parts.clear();
                self.wanted = None;
                self.active = Some(Active { file, until, frame_begun: Instant::now(), unclosed: 0 });
            }
            Err(error) => {
                // What is kept is kept, and tried again.
                self.wanted = Some(until);
                self.fail(&error, 0);
            }
        }
    }

    /// Writes to the file, if there is one. One that cannot be written is given up.
    fn write(&mut self, what: impl FnOnce(&mut Active) -> io::Result<()>) {
        let Some(active) = &mut self.active else { return };
        let before = active.file.written();
        let done = what(active);
        let bytes = active.file.written() - before;
        if bytes > 0 {
            active.unclosed = u64::from(active.file.pending() > 0);
        }
        let lost = active.unclosed;
        self.written.add_bytes(bytes);
        self.shelf.resize(active.file.get_ref().size());
        if let Err(error) = done {
            self.active = None;
            self.fail(&error, lost);
        }
    }

    fn fail(&mut self, error: &io::Error, lost: u64) {
        self.lose(lost);
        let text = format!("failed to write {}: {error}", self.shelf.newest_name().display());
        if self.written.add_error(&text) {
            (self.report)(&text);
        }
    }

    fn lose(&mut self, lines: u64) {
        self.written.add_lost(lines);
        self.untold += lines;
    }

    fn end_file(&mut self) {
        let (at, counts) = (self.last.1, self.counts.clone());
        let end = self.own_line(|json| json.line(&Line::End(at, &counts)));
        self.write(|active| active.file.line(&end).and_then(|()| active.file.close_frame()));
        self.active = None;
    }

    /// Says what was lost before the line after `before`.
    fn tell_loss(&mut self, before: Seq) {
        let count = self.untold;
        if count == 0 || self.active.is_none() && self.parts.is_empty() {
            return;
        }
        let lost = not_written(self.last.1, count);
        let line = self.own_line(|json| json.line(&Line::Input(before, &lost)));
        self.untold = 0;
        self.take(&line);
    }

    /// Writes a line, or keeps it. Where neither can be done it is of a time that is passed over.
    fn take(&mut self, line: &[u8]) {
        if self.active.is_some() {
            return self.write(|active| {
                if active.file.pending() == 0 {
                    active.frame_begun = Instant::now();
                }
                active.unclosed += 1;
                active.file.line(line)
            });
        }
        let Some(part) = self.parts.back_mut() else { return };
        // A vector can be written.
        let _ = part.frames.line(line);
        let held: usize = self.parts.iter().map(|part| part.frames.get_ref().len() + part.frames.pending()).sum();
        if held > MEMORY && self.parts.len() > 1 {
            self.parts.pop_front();
            if !std::mem::replace(&mut self.dropped_early, true) {
                (self.report)("so much happens that less than the wanted time before a finding is kept");
            }
        }
    }
}

impl Sink for Flight {
    fn written(&self) -> &Arc<Written> {
        &self.written
    }

    fn part(&mut self, header: &Header) {
        self.header = Some(header.clone());
        let line = self.own_line(|json| json.line(&Line::Header(header)));
        if self.active.is_some() {
            // A file began while this was on its way: it goes on.
            return self.take(&line);
        }
        let Ok(frames) = FrameWriter::new(Vec::new()) else { return };
        self.parts.push_back(Part { begun: Instant::now(), frames });
        self.take(&line);
        self.tell_loss(self.last.0);
        // A part is dropped when the one after it is old enough by itself.
        while self.parts.get(1).is_some_and(|next| next.begun.elapsed() >= self.window) {
            self.parts.pop_front();
        }
    }

    fn lines(&mut self, batch: &Batch) {
        self.lose(batch.lost_before);
        self.tell_loss(batch.before());
        batch.each().for_each(|line| self.take(line));
        self.last = batch.last;
        self.counts.clone_from(&batch.counts);
    }

    fn finding(&mut self) {
        let until = Instant::now() + self.window;
        match &mut self.active {
            Some(active) => active.until = until,
            None => self.begin_file(until),
        }
    }

    fn wants_part(&self) -> bool {
        // After a file has ended nothing is kept: it begins anew.
        self.active.is_none() && self.parts.back().is_none_or(|part| part.begun.elapsed() >= self.window / 2)
    }

    fn beat(&mut self) {
        match self.wanted {
            Some(until) if Instant::now() >= until => self.wanted = None,
            Some(until) if self.tried.elapsed() >= AGAIN => self.begin_file(until),
            Some(_) | None => {}
        }
        if let Some(active) = &self.active {
            if active.until <= Instant::now() {
                self.end_file();
            } else if active.file.pending() > 0 && active.frame_begun.elapsed() >= FRAME_AGE {
                self.write(|active| active.file.close_frame());
            }
        }
    }

    fn reopen(&mut self) {
        self.end_file();
    }

    fn end(&mut self, at: BootTime, counts: &Counts) {
        (self.last.1, self.counts) = (at, counts.clone());
        self.end_file();
    }
}
