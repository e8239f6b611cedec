//! What every recorder does alike: the file that is being written, frame by frame, and the account of what was written
//! and lost.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::file::TraceFile;
use super::frames::FrameWriter;
use super::shelf::Shelf;
use super::sink::{Batch, FRAME_AGE, Written, line_of, not_written};
use crate::hierarchy::Header;
use crate::input::{BootTime, Seq};
use crate::line::Line;

/// One recorder's files.
pub(super) struct Journal {
    shelf: Shelf,
    file: Option<Open>,
    header: Option<Header>,
    /// The last line's number and time, written or not.
    last: (Seq, BootTime),
    /// Lines that were lost and are not yet told of in the trace.
    untold: u64,
    written: Arc<Written>,
    report: fn(&str),
}

/// A file that is being written.
struct Open {
    frames: FrameWriter<TraceFile>,
    frame_begun: Instant,
    /// Lines in the frame that is not closed yet.
    unclosed: u64,
}

/// Something could not be written. It was counted and said.
pub(super) struct Failed;

impl Journal {
    /// Without a file. `report` is told, once, when writing begins to fail.
    pub fn new(shelf: Shelf, report: fn(&str)) -> Self {
        let (last, written) = ((Seq(0), BootTime(0)), Arc::default());
        Self { shelf, file: None, header: None, last, untold: 0, written, report }
    }

    /// What was written so far.
    pub fn written(&self) -> &Arc<Written> {
        &self.written
    }

    /// The files.
    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Begins the next file, with frames that were made elsewhere. Where that fails, the one before stays.
    ///
    /// # Errors
    /// When it cannot be made, or not be written.
    pub fn begin_file(&mut self, frames: &[u8]) -> io::Result<()> {
        let mut file = self.shelf.create()?;
        if !frames.is_empty() {
            file.frames(frames)?;
        }
        self.written.add_file();
        self.written.add_bytes(file.written());
        self.shelf.resize(file.get_ref().size());
        self.file = Some(Open { frames: file, frame_begun: Instant::now(), unclosed: 0 });
        Ok(())
    }

    /// The file that is being written.
    pub fn file(&self) -> Option<&TraceFile> {
        self.file.as_ref().map(|open| open.frames.get_ref())
    }

    /// Gives the file up.
    pub fn drop_file(&mut self) {
        self.file = None;
    }

    /// Writes a line of the stream; its frame is closed if it is full.
    pub fn line(&mut self, line: &[u8]) -> Result<(), Failed> {
        self.add(line, 1)
    }

    /// Writes a line that is the recorder's own: none of the stream is lost with it.
    pub fn own(&mut self, line: &[u8]) -> Result<(), Failed> {
        self.add(line, 0)
    }

    /// Adds what are so many lines of the stream.
    fn add(&mut self, line: &[u8], lines: u64) -> Result<(), Failed> {
        if let Some(open) = &mut self.file {
            if open.frames.pending() == 0 {
                open.frame_begun = Instant::now();
            }
            open.unclosed += lines;
        }
        self.write(lines, |frames| frames.line(line))
    }

    /// Closes the frame, if there is anything in it.
    pub fn close_frame(&mut self) -> Result<(), Failed> {
        self.write(0, FrameWriter::close_frame)
    }

    /// Closes the frame if it is as old as one may be.
    pub fn close_old_frame(&mut self) -> Result<(), Failed> {
        let is_old = |open: &Open| open.frames.pending() > 0 && open.frame_begun.elapsed() >= FRAME_AGE;
        if self.file.as_ref().is_some_and(is_old) { self.close_frame() } else { Ok(()) }
    }

    /// Writes to the file, if there is one, and counts what became of it. What comes last are so many lines of the
    /// stream.
    fn write(
        &mut self,
        last: u64,
        what: impl FnOnce(&mut FrameWriter<TraceFile>) -> io::Result<()>,
    ) -> Result<(), Failed> {
        let Some(open) = &mut self.file else { return Ok(()) };
        let before = open.frames.written();
        let done = what(&mut open.frames);
        let bytes = open.frames.written() - before;
        self.written.add_bytes(bytes);
        self.shelf.resize(open.frames.get_ref().size());
        // What was closed is written: all but the line that came last.
        let unclosed = if bytes > 0 { last } else { open.unclosed };
        open.unclosed = if open.frames.pending() > 0 { unclosed } else { 0 };
        done.map_err(|error| {
            // A frame that could not be written is gone.
            self.lose(unclosed);
            self.say(&error);
            Failed
        })
    }

    /// Says, once, and counts that something could not be written.
    pub fn say(&self, error: &io::Error) {
        let text = format!("failed to write {}: {error}", self.shelf.newest_name().display());
        if self.written.add_error(&text) {
            (self.report)(&text);
        }
    }

    /// These lines will never be written.
    pub fn lose(&mut self, lines: u64) {
        self.written.add_lost(lines);
        self.untold += lines;
    }

    /// The header from now on. Returns whether it is the first one.
    pub fn set_header(&mut self, header: &Header) -> bool {
        self.header.replace(header.clone()).is_none()
    }

    /// A line that is not the stream's own; empty before there is a header.
    pub fn own_line(&self, line: &Line<'_>) -> Vec<u8> {
        self.header.as_ref().map_or_else(Vec::new, |header| line_of(header.clock, line))
    }

    /// The header as a line.
    pub fn header_line(&self) -> Vec<u8> {
        self.header.as_ref().map_or_else(Vec::new, |header| self.own_line(&Line::Header(header)))
    }

    /// What is to be said of lines that were lost, before the line after `before`, and how many they are. `None` if all
    /// was said.
    pub fn loss_line(&self, before: Seq) -> Option<(u64, Vec<u8>)> {
        let lost = not_written(self.last.1, self.untold);
        (self.untold > 0).then(|| (self.untold, self.own_line(&Line::Input(before, &lost))))
    }

    /// So many of the lines that were lost have been told of.
    pub fn loss_is_told(&mut self, lines: u64) {
        self.untold -= lines;
    }

    /// A batch was taken in.
    pub fn took(&mut self, batch: &Batch) {
        self.last = batch.last;
    }

    /// The trace ends then.
    pub fn ends(&mut self, at: BootTime) {
        self.last.1 = at;
    }

    /// The last line's number and time.
    pub fn last(&self) -> (Seq, BootTime) {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::frames::FRAME;
    use crate::recording::shelf::Limits;

    #[test]
    fn what_is_lost_are_lines_of_the_stream_and_no_others() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("t.jsonl.zst");
        let mut journal = Journal::new(Shelf::new(path.clone(), Limits::default(), false, |_| {}), |_| {});
        journal.begin_file(&[]).expect("made");
        let lost = |journal: &Journal| (journal.written().lost(), journal.untold);
        assert!(journal.own(b"header\n").and_then(|()| journal.line(b"1\n")).is_ok());
        assert!(journal.close_frame().is_ok() && lost(&journal) == (0, 0));
        // Nothing can be written to what was removed.
        std::fs::remove_file(&path).expect("removed");
        assert!(journal.line(b"2\n").and_then(|()| journal.own(b"loss\n")).and_then(|()| journal.line(b"3\n")).is_ok());
        assert!(journal.close_frame().is_err());
        assert_eq!(lost(&journal), (2, 2));
        // However often that is tried to be said.
        for _ in 0..3 {
            assert!(journal.own(b"loss\n").and_then(|()| journal.close_frame()).is_err());
        }
        assert_eq!(lost(&journal), (2, 2));
        // A line that does not fit into the frame is lost with it.
        let long = vec![b'x'; FRAME - 1];
        assert!(journal.line(&long).and_then(|()| journal.line(&long)).is_err());
        assert_eq!(lost(&journal), (4, 4));
    }
}
