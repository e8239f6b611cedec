//! The flight recorder: the last seconds are kept in memory, and written only around a finding.
//!
//! What is kept is a row of parts, each of which begins with a header and all that is known, as the parts of a rotated
//! recording do. So the oldest can be dropped, and what is left can be read.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::frames::FrameWriter;
use super::writer::{Written, create, part_name};
use crate::findings::Finding;
use crate::hierarchy::Header;
use crate::input::{BootTime, Input, Seq};
use crate::output::{Counts, Json, Output};

/// What is kept in memory at most; beyond, the seconds before a finding are fewer.
const MEMORY: usize = 64 << 20;

/// Keeps the last seconds, and writes them when it matters.
pub struct Flight {
    path: PathBuf,
    window: Duration,
    /// Whether a finding is worth a file.
    matters: Box<dyn Fn(&Finding) -> bool>,
    parts: VecDeque<Part>,
    active: Option<Active>,
    line: Json<Vec<u8>>,
    counts: Counts,
    last_at: BootTime,
    dropped_early: bool,
    written: Written,
    report: fn(&str),
}

/// Some seconds in memory.
struct Part {
    begun: Instant,
    frames: FrameWriter<Vec<u8>>,
}

/// A file that is being written.
struct Active {
    file: FrameWriter<File>,
    until: Instant,
    frame_begun: Instant,
}

impl Flight {
    /// Keeps `window` before a finding, and writes on for `window` after it, to files named after `path`.
    pub fn new(path: PathBuf, window: Duration, matters: Box<dyn Fn(&Finding) -> bool>, report: fn(&str)) -> Self {
        Self {
            path,
            window,
            matters,
            parts: VecDeque::new(),
            active: None,
            line: Json::new(Vec::new()),
            counts: Counts::default(),
            last_at: BootTime(0),
            dropped_early: false,
            written: Written::default(),
            report,
        }
    }

    /// What was written so far.
    pub fn written(&self) -> &Written {
        &self.written
    }

    fn begin_part(&mut self, header: &Header) -> io::Result<()> {
        let mut frames = FrameWriter::new(Vec::new())?;
        self.line.header(header)?;
        frames.line(&self.line.take())?;
        self.parts.push_back(Part { begun: Instant::now(), frames });
        // A part is dropped when the one after it is old enough by itself.
        while self.parts.get(1).is_some_and(|next| next.begun.elapsed() >= self.window) {
            self.parts.pop_front();
        }
        Ok(())
    }

    fn add(&mut self, line: &[u8]) -> io::Result<()> {
        if let Some(active) = &mut self.active {
            if active.file.pending() == 0 {
                active.frame_begun = Instant::now();
            }
            let before = active.file.written();
            let done = active.file.line(line);
            self.written.bytes += active.file.written() - before;
            if let Err(error) = done {
                self.fail(&error);
            }
            return Ok(());
        }
        let Some(part) = self.parts.back_mut() else { return Ok(()) };
        part.frames.line(line)?;
        let held: usize = self.parts.iter().map(|part| part.frames.get_ref().len() + part.frames.pending()).sum();
        if held > MEMORY && self.parts.len() > 1 {
            self.parts.pop_front();
            if !std::mem::replace(&mut self.dropped_early, true) {
                (self.report)("so much happens that less than the wanted time before a finding is kept");
            }
        }
        Ok(())
    }

    /// Writes what is kept, and goes on writing.
    fn begin_file(&mut self) {
        let path = part_name(&self.path, u32::try_from(self.written.files).unwrap_or(u32::MAX));
        let begun = create(&path).and_then(|mut file| {
            for part in &mut self.parts {
                part.frames.close_frame()?;
                file.write_all(part.frames.get_ref())?;
                self.written.bytes += part.frames.get_ref().len() as u64;
            }
            FrameWriter::new(file)
        });
        match begun {
            Ok(file) => {
                self.written.files += 1;
                self.parts.clear();
                let until = Instant::now() + self.window;
                self.active = Some(Active { file, until, frame_begun: Instant::now() });
            }
            Err(error) => self.fail(&error),
        }
    }

    fn end_file(&mut self) {
        let Some(mut active) = self.active.take() else { return };
        let ended = self.line.end(self.last_at, &self.counts);
        let line = self.line.take();
        let before = active.file.written();
        let done = ended.and_then(|()| active.file.line(&line)).and_then(|()| active.file.close_frame());
        self.written.bytes += active.file.written() - before;
        if let Err(error) = done {
            self.fail(&error);
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.active = None;
        self.written.lost_lines += 1;
        if self.written.error.is_none() {
            let text = format!("failed to write {}: {error}", self.path.display());
            (self.report)(&text);
            self.written.error = Some(text);
        }
    }
}

impl Output for Flight {
    fn header(&mut self, header: &Header) -> io::Result<()> {
        self.begin_part(header)
    }

    fn input(&mut self, seq: Seq, input: &Input) -> io::Result<()> {
        self.last_at = input.at();
        self.counts.count(input);
        self.line.input(seq, input)?;
        let line = self.line.take();
        self.add(&line)
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        if !(self.matters)(finding) {
            return Ok(());
        }
        match &mut self.active {
            Some(active) => active.until = Instant::now() + self.window,
            None => self.begin_file(),
        }
        Ok(())
    }

    fn end(&mut self, _: BootTime, _: &Counts) -> io::Result<()> {
        self.end_file();
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(active) = &mut self.active else { return Ok(()) };
        if active.file.pending() > 0 && active.frame_begun.elapsed() >= Duration::from_secs(1) {
            let before = active.file.written();
            let done = active.file.close_frame();
            self.written.bytes += active.file.written() - before;
            if let Err(error) = done {
                self.fail(&error);
            }
        }
        if self.active.as_ref().is_some_and(|active| active.until <= Instant::now()) {
            self.end_file();
        }
        Ok(())
    }

    fn wants_new_part(&self) -> bool {
        // After a file has ended nothing is kept: it begins anew.
        self.active.is_none() && self.parts.back().is_none_or(|part| part.begun.elapsed() >= self.window / 2)
    }

    fn new_part(&mut self, header: &Header) -> io::Result<()> {
        self.begin_part(header)
    }
}
