//! The container of a trace file: lines in zstd frames, each of which stands alone and carries a checksum.
//!
//! `zstd -dc FILE` gives the lines. Damage costs the frame it is in and no other: a reader goes on at the next one and
//! says what it left out.

use std::io::{self, Read, Write};

use bytes::Bytes;
use zstd::bulk::Compressor;
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

/// A frame is closed when it holds so many bytes of lines.
pub const FRAME: usize = 256 << 10;
/// A line is never longer than this: an argv of a megabyte, escaped, fits many times. A frame that holds more (whoever
/// compresses a trace anew makes one frame of it) is read piece by piece.
pub const LONGEST: usize = 32 << 20;
/// A window larger than that is of no use to anybody but an attacker.
const WINDOW_LOG: u32 = 25;
/// How hard to compress: 11.5 bytes an event of cgroup churn at 314 MB a second, where 6 gives 13.8 bytes at 383, and
/// 10 takes a third longer than this for nothing.
const LEVEL: i32 = 8;
/// What a zstd frame begins with.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// What is read of a file at once.
const CHUNK: usize = 256 << 10;

/// Writes lines as frames.
pub struct FrameWriter<W: Write> {
    out: W,
    compressor: Compressor<'static>,
    pending: Vec<u8>,
    written: u64,
}

impl<W: Write> FrameWriter<W> {
    /// Writes to `out`, which need not buffer: every frame is one write.
    ///
    /// # Errors
    /// When the compressor cannot be set up.
    pub fn new(out: W) -> io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        compressor.include_contentsize(true)?;
        Ok(Self { out, compressor, pending: Vec::with_capacity(FRAME + (FRAME >> 2)), written: 0 })
    }

    /// Adds a line, its newline included. The frame is closed if it is full.
    ///
    /// # Errors
    /// When a frame was closed and could not be written: its lines are gone.
    pub fn line(&mut self, line: &[u8]) -> io::Result<()> {
        if !self.pending.is_empty() && self.pending.len() + line.len() > FRAME {
            self.close_frame()?;
        }
        self.pending.extend_from_slice(line);
        if self.pending.len() >= FRAME { self.close_frame() } else { Ok(()) }
    }

    /// Closes the frame, if there is anything in it.
    ///
    /// # Errors
    /// When it could not be written: its lines are gone.
    pub fn close_frame(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let frame = self.compressor.compress(&self.pending);
        self.pending.clear();
        let frame = frame?;
        self.out.write_all(&frame)?;
        self.written += frame.len() as u64;
        Ok(())
    }

    /// Adds whole frames that were made elsewhere.
    ///
    /// # Errors
    /// When they could not be written.
    pub fn frames(&mut self, frames: &[u8]) -> io::Result<()> {
        self.close_frame()?;
        self.out.write_all(frames)?;
        self.written += frames.len() as u64;
        Ok(())
    }

    /// Bytes that are in the file.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Bytes of lines that wait for their frame to be closed.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// These lines.
    pub(super) fn pending_lines(&self) -> &[u8] {
        &self.pending
    }

    /// What is written to.
    pub fn get_ref(&self) -> &W {
        &self.out
    }

    /// What is written to. The frames that it was given may be taken from it.
    pub(super) fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }
}

/// Whole frames in memory, as they were closed. They may be taken out at any time.
#[derive(Default)]
pub(super) struct Closed(pub Vec<Bytes>);

impl Write for Closed {
    /// Takes a whole frame.
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        self.0.push(Bytes::copy_from_slice(frame));
        Ok(frame.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a reader comes across.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A line, without its newline.
    Line(&'a [u8]),
    /// Bytes that cannot be read.
    Damage(Damage),
}

/// Bytes that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The frame's number, from 1.
    pub frame: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "frame {} (at byte {}): {}", self.frame, self.offset, self.what)
    }
}

/// Reads the lines of a trace: frames, or plain text.
pub struct FrameReader<R: Read> {
    from: R,
    /// What was read and not yet used.
    buffer: Vec<u8>,
    used: usize,
    /// Where `buffer` begins in the file.
    offset: u64,
    frame: u64,
    /// The lines of the current frame.
    lines: Vec<u8>,
    next_line: usize,
    /// Where the last whole line ends.
    whole: usize,
    plain: Option<bool>,
    decoder: Option<Decoder<'static>>,
    /// The current frame is a long one, read piece by piece.
    within: bool,
}

impl<R: Read> FrameReader<R> {
    /// Reads from `from`, which need not buffer.
    pub fn new(from: R) -> Self {
        Self {
            from,
            buffer: Vec::new(),
            used: 0,
            offset: 0,
            frame: 0,
            lines: Vec::new(),
            next_line: 0,
            whole: 0,
            plain: None,
            decoder: None,
            within: false,
        }
    }

    /// The number of the frame that the last piece was of, from 1; the number of lines so far, for plain text.
    pub fn frame(&self) -> u64 {
        self.frame
    }

    /// How many bytes of the file have been used.
    pub fn position(&self) -> u64 {
        self.offset + self.used as u64
    }

    /// The next piece; `None` at the end. After the end more may come, if the file is still being written.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_piece(&mut self) -> io::Result<Option<Piece<'_>>> {
        loop {
            if self.next_line < self.whole {
                let rest = &self.lines[self.next_line..self.whole];
                let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                let from = self.next_line;
                self.next_line += length + 1;
                if length == 0 {
                    continue;
                }
                return Ok(Some(Piece::Line(&self.lines[from..from + length])));
            }
            let filled = match self.is_plain()? {
                None => return Ok(None),
                Some(true) => self.plain_line()?,
                Some(false) if self.within => self.continue_frame()?,
                Some(false) => self.read_frame()?,
            };
            match filled {
                Filled::Lines => {}
                Filled::End => return Ok(None),
                Filled::Damage(damage) => return Ok(Some(Piece::Damage(damage))),
            }
        }
    }

    /// Whether it is plain text: a frame begins with its magic number, a line with a brace.
    fn is_plain(&mut self) -> io::Result<Option<bool>> {
        if self.plain.is_none() {
            if !self.fill(1)? {
                return Ok(None);
            }
            let first = self.rest().iter().find(|byte| !byte.is_ascii_whitespace());
            self.plain = first.map(|byte| *byte == b'{');
        }
        Ok(self.plain)
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    /// Sees to it that there are `wanted` bytes. `false` if the file has no more.
    fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        while self.buffer.len() - self.used < wanted {
            if !self.read_more()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads on. `false` at the end.
    fn read_more(&mut self) -> io::Result<bool> {
        if self.used > 0 {
            self.buffer.drain(..self.used);
            self.offset += self.used as u64;
            self.used = 0;
        }
        let length = self.buffer.len();
        self.buffer.resize(length + CHUNK, 0);
        let read = loop {
            match self.from.read(&mut self.buffer[length..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(length + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }

    fn plain_line(&mut self) -> io::Result<Filled> {
        self.lines.clear();
        (self.next_line, self.whole) = (0, 0);
        let mut searched = 0;
        loop {
            let found = memchr::memchr(b'\n', &self.rest()[searched..]);
            if let Some(position) = found {
                let length = searched + position;
                self.frame += 1;
                let from = self.used;
                self.lines.extend_from_slice(&self.buffer[from..from + length]);
                self.whole = length;
                self.used += length + 1;
                return Ok(Filled::Lines);
            }
            searched = self.rest().len();
            if searched > LONGEST {
                let damage = self.damage("a line is longer than 32 MiB".to_owned());
                self.skip_to(|rest| memchr::memchr(b'\n', rest).map(|at| at + 1))?;
                return Ok(Filled::Damage(damage));
            }
            if !self.read_more()? {
                if searched == 0 {
                    return Ok(Filled::End);
                }
                // A last line without its newline was cut short; it is not given out, for more may come.
                return Ok(Filled::End);
            }
        }
    }

    /// The next frame's lines.
    fn read_frame(&mut self) -> io::Result<Filled> {
        if !self.fill(1)? {
            return Ok(Filled::End);
        }
        if !self.fill(MAGIC.len())? || !self.rest().starts_with(&MAGIC) {
            if self.rest().len() < MAGIC.len() && MAGIC.starts_with(self.rest()) {
                return Ok(Filled::End);
            }
            self.frame += 1;
            let damage = self.damage("these bytes are not a frame".to_owned());
            self.skip_to_magic(1)?;
            return Ok(Filled::Damage(damage));
        }
        self.lines.clear();
        (self.next_line, self.whole) = (0, 0);
        self.restart_decoder()?;
        let mut taken = 0;
        while self.lines.len() <= LONGEST {
            if self.rest().len() == taken && !self.read_more()? {
                if self.has_magic_after(MAGIC.len()) {
                    return self.give_up_frame("it is cut short".to_owned());
                }
                // Cut short at the end, or still being written.
                self.lines.clear();
                return Ok(Filled::End);
            }
            match self.decode_some(self.used + taken) {
                Ok((read, done)) => {
                    taken += read;
                    if done {
                        self.frame += 1;
                        self.used += taken;
                        self.whole = self.lines.len();
                        return Ok(Filled::Lines);
                    }
                }
                Err(what) => return self.give_up_frame(what),
            }
        }
        self.frame += 1;
        self.used += taken;
        self.within = true;
        self.whole = memchr::memrchr(b'\n', &self.lines).map_or(0, |last| last + 1);
        Ok(Filled::Lines)
    }

    /// What is in this frame is left out: its length may be what is wrong, so the next one is looked for.
    fn give_up_frame(&mut self, what: String) -> io::Result<Filled> {
        self.frame += 1;
        self.lines.clear();
        let damage = self.damage(what);
        self.skip_to_magic(MAGIC.len())?;
        Ok(Filled::Damage(damage))
    }

    fn restart_decoder(&mut self) -> io::Result<()> {
        match &mut self.decoder {
            Some(decoder) => decoder.reinit(),
            None => {
                let mut decoder = Decoder::new()?;
                decoder.set_parameter(zstd::zstd_safe::DParameter::WindowLogMax(WINDOW_LOG))?;
                self.decoder = Some(decoder);
                Ok(())
            }
        }
    }

    /// Decompresses what is in the buffer from `from` on, at most a chunk. Returns how much of it was used, and whether
    /// the frame has ended: then its checksum was right.
    fn decode_some(&mut self, from: usize) -> Result<(usize, bool), String> {
        let Some(decoder) = &mut self.decoder else { return Ok((0, false)) };
        let before = self.lines.len();
        self.lines.resize(before + CHUNK, 0);
        let mut input = InBuffer::around(&self.buffer[from..]);
        let mut output = OutBuffer::around_pos(&mut self.lines[..], before);
        let left = decoder.run(&mut input, &mut output);
        let (read, written) = (input.pos(), output.pos());
        self.lines.truncate(written);
        let left = left.map_err(|error| format!("it cannot be decompressed: {error}"))?;
        Ok((read, left == 0))
    }

    /// More lines of a long frame. They are given out before its checksum is known, which is at its end.
    fn continue_frame(&mut self) -> io::Result<Filled> {
        self.lines.drain(..self.whole);
        (self.next_line, self.whole) = (0, 0);
        loop {
            let before = self.lines.len();
            if before > LONGEST {
                return self.leave_frame("a line is longer than 32 MiB".to_owned());
            }
            if self.rest().is_empty() && !self.read_more()? {
                return Ok(Filled::End);
            }
            match self.decode_some(self.used) {
                Ok((read, done)) => {
                    self.used += read;
                    self.within = !done;
                    let last = memchr::memrchr(b'\n', &self.lines[before..]).map(|last| before + last + 1);
                    if let Some(whole) = if done { Some(self.lines.len()) } else { last } {
                        self.whole = whole;
                        return Ok(Filled::Lines);
                    }
                }
                Err(what) => return self.leave_frame(format!("{what}; the lines before it are read")),
            }
        }
    }

    /// The rest of a long frame is left out.
    fn leave_frame(&mut self, what: String) -> io::Result<Filled> {
        self.within = false;
        self.lines.clear();
        let damage = self.damage(what);
        self.skip_to_magic(0)?;
        Ok(Filled::Damage(damage))
    }

    fn damage(&self, what: String) -> Damage {
        Damage { frame: self.frame, offset: self.position(), what }
    }

    fn has_magic_after(&self, from: usize) -> bool {
        self.rest().get(from..).is_some_and(|rest| memchr::memmem::find(rest, &MAGIC).is_some())
    }

    /// Goes on to where the next frame may begin, at least `from` bytes on.
    fn skip_to_magic(&mut self, from: usize) -> io::Result<()> {
        self.used = (self.used + from).min(self.buffer.len());
        self.skip_to(|rest| memchr::memmem::find(rest, &MAGIC))
    }

    /// Goes on to where `find` says, or to the end.
    fn skip_to(&mut self, find: impl Fn(&[u8]) -> Option<usize>) -> io::Result<()> {
        loop {
            if let Some(position) = find(self.rest()) {
                self.used += position;
                return Ok(());
            }
            // What is sought may lie across the end of what was read.
            self.used = self.buffer.len().saturating_sub(MAGIC.len() - 1).max(self.used);
            if !self.read_more()? {
                self.used = self.buffer.len();
                return Ok(());
            }
        }
    }

    /// Bytes at the end of the file that are no whole frame or line.
    pub fn remainder(&self) -> usize {
        self.rest().len()
    }

    /// Whether the file ends where a frame or a line does.
    pub fn is_whole(&self) -> bool {
        self.rest().is_empty() && !self.within
    }
}

enum Filled {
    Lines,
    End,
    Damage(Damage),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of three lines each.
    fn written(frames: usize) -> (Vec<u8>, Vec<String>) {
        let mut writer = FrameWriter::new(Vec::new()).expect("a compressor");
        let mut lines = Vec::new();
        for frame in 0..frames {
            for line in 0..3 {
                let text = format!("{{\"frame\":{frame},\"line\":{line}}}");
                writer.line(format!("{text}\n").as_bytes()).expect("a vector can be written");
                lines.push(text);
            }
            writer.close_frame().expect("a vector can be written");
        }
        (writer.get_ref().clone(), lines)
    }

    /// Lines, damages, and 0 if it ends where a frame does.
    fn read(bytes: &[u8]) -> (Vec<String>, Vec<Damage>, usize) {
        let mut reader = FrameReader::new(bytes);
        let (mut lines, mut damages) = (Vec::new(), Vec::new());
        while let Some(piece) = reader.next_piece().expect("a slice can be read") {
            match piece {
                Piece::Line(line) => lines.push(String::from_utf8_lossy(line).into_owned()),
                Piece::Damage(damage) => damages.push(damage),
            }
        }
        (lines, damages, usize::from(!reader.is_whole()))
    }

    #[test]
    fn what_was_written_is_read_and_zstd_reads_it_too() {
        let (bytes, lines) = written(4);
        assert_eq!(read(&bytes), (lines.clone(), vec![], 0));
        let plain = zstd::stream::decode_all(&bytes[..]).expect("zstd reads it");
        assert_eq!(String::from_utf8(plain.clone()).expect("text").lines().collect::<Vec<_>>(), lines);
        assert_eq!(read(&plain), (lines, vec![], 0), "plain lines are read as well");
    }

    #[test]
    fn a_file_cut_anywhere_loses_its_last_frame_at_most_and_shows_it() {
        let (bytes, lines) = written(4);
        for cut in 0..bytes.len() {
            let (got, damages, remainder) = read(&bytes[..cut]);
            assert_eq!(got, lines[..got.len()], "cut at {cut}");
            let whole = (1..=4).filter(|frames| written(*frames).0.len() <= cut).count();
            assert!(got.len() >= whole * 3, "cut at {cut}: {} lines", got.len());
            let at_an_edge = written(whole).0.len() == cut || cut == 0;
            assert!(at_an_edge || remainder > 0 || !damages.is_empty(), "cut at {cut} goes unseen");
        }
    }

    #[test]
    fn a_flipped_byte_costs_its_frame_and_is_told() {
        let (bytes, lines) = written(4);
        for position in 0..bytes.len() {
            for flip in [0xff, 0x01, 0x80] {
                let mut damaged = bytes.clone();
                damaged[position] ^= flip;
                let (got, damages, remainder) = read(&damaged);
                assert!(got.len() >= 9 || position == 0, "byte {position}: {} lines left", got.len());
                assert!(
                    got.iter().all(|line| lines.contains(line)) || position == 0,
                    "byte {position}: a line was changed"
                );
                assert!(got == lines || !damages.is_empty() || remainder > 0, "byte {position} goes unseen");
            }
        }
    }

    #[test]
    fn a_trace_that_was_compressed_anew_is_one_long_frame_and_read_all_the_same() {
        let line = format!("{{\"x\":\"{}\"}}", "y".repeat(1_000));
        let text = format!("{line}\n").repeat(2 * LONGEST / line.len());
        let count = text.lines().count();
        let packed = zstd::stream::encode_all(text.as_bytes(), 1).expect("compresses");
        let (lines, damages, remainder) = read(&packed);
        assert_eq!((lines.len(), damages.len(), remainder), (count, 0, 0));
        assert!(lines.iter().all(|read| *read == line));
        let (cut, _, remainder) = read(&packed[..packed.len() - 100]);
        assert!(cut.len() > count / 2 && cut.len() < count && remainder > 0, "{} of {count}", cut.len());
    }

    #[test]
    fn what_would_fill_memory_is_refused() {
        let bomb = zstd::bulk::compress(&vec![b' '; 2 * LONGEST], 3).expect("compresses");
        let (lines, damages, _) = read(&bomb);
        assert!(lines.is_empty() && damages.len() == 1, "{damages:?}");
        let mut long = vec![b'{'; LONGEST + CHUNK + 10];
        long.extend_from_slice(b"\n{\"next\":1}\n");
        let (lines, damages, _) = read(&long);
        assert_eq!((lines, damages.len()), (vec!["{\"next\":1}".to_owned()], 1));
        assert_eq!(read(&[0; 1_000]).0, Vec::<String>::new());
        assert!(!read(&[0; 1_000]).1.is_empty());
    }
}
