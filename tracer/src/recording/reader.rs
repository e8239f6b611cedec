//! Reads a trace, whatever state it is in: the intact part is given out, the damage is said.

use std::fmt;
use std::io::{self, Read};

use serde::Deserialize;
use serde_json::Value;

use super::FORMAT;
use super::events::Lines;
use super::frames::{Damage, FrameReader, Piece};
use super::line::TraceLine;
use crate::hierarchy::Header;
use crate::input::{BootTime, Input, LossReason, Lost, Ring, Seq};

/// Turns a line of one format into a line of the next.
type FixUp = fn(&mut Value);

/// From each older format to the one after it. Whoever raises [`FORMAT`] is made to add a step here.
const FIX_UPS: [FixUp; FORMAT as usize - 1] = [];

/// A line of an older format as one of this version's.
fn brought_up_to_date(line: &[u8], steps: &[FixUp]) -> Result<Vec<u8>, serde_json::Error> {
    let mut value = serde_json::from_slice(line)?;
    steps.iter().for_each(|step| step(&mut value));
    serde_json::to_vec(&value)
}

/// Why a file cannot be read as a trace.
#[derive(Debug)]
pub enum OpenError {
    /// The file itself cannot be read.
    Io(io::Error),
    /// It is empty.
    Empty,
    /// It does not begin with a header that can be read; what is there instead.
    NoHeader(String),
    /// It is of a later format.
    Newer {
        /// Its format number.
        format: u32,
        /// The program that wrote it.
        tool: String,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Empty => f.write_str("it is empty"),
            Self::NoHeader(what) => write!(f, "it is not a trace: it does not begin with a header: {what}"),
            Self::Newer { format, tool } => write!(
                f,
                "it has format {format}, written by {tool}; this version reads up to format {FORMAT}\nhint: read it \
                 with a newer cgtrace"
            ),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What a trace holds, one after the other.
#[derive(Debug)]
pub enum Item {
    /// What the tracker is to be told.
    Input(Seq, Box<Input>),
    /// The trace is whole.
    End(BootTime),
    /// Another trace begins: files were joined.
    Header(Box<Header>),
    /// Something could not be read.
    Damage(Damage),
}

/// A trace that is being read.
pub struct Reader<R: Read> {
    frames: FrameReader<R>,
    lines: Lines,
    /// What brings this trace's lines up to date.
    fix_ups: &'static [FixUp],
    header: Header,
    /// The last input's number.
    seq: Seq,
    at: BootTime,
    /// The last input of the file before this one.
    before: Option<(Seq, BootTime)>,
    /// What comes after a loss that was told by a gap in the numbers.
    held: Option<Item>,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When there is none, or it is of a later format.
    pub fn open(from: R) -> Result<Self, OpenError> {
        let mut frames = FrameReader::new(from);
        let header = match frames.next_piece()? {
            None => None,
            Some(Piece::Damage(damage)) => return Err(OpenError::NoHeader(damage.to_string())),
            Some(Piece::Line(line)) => Some(read_header(line)?),
        };
        let Some((header, fix_ups)) = header else {
            return Err(match frames.remainder() {
                0 => OpenError::Empty,
                bytes => OpenError::NoHeader(format!("{bytes} bytes that are not a whole frame")),
            });
        };
        let at = BootTime(header.clock.boot_ns);
        Ok(Self { frames, lines: Lines::default(), fix_ups, header, seq: Seq(0), at, before: None, held: None })
    }

    /// The same recording goes on here from another file, whose last input that was: what is missing between the two is
    /// told.
    #[must_use]
    pub fn after(self, seq: Seq, at: BootTime) -> Self {
        Self { before: Some((seq, at)), ..self }
    }

    /// The trace's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How many bytes of the file have been used.
    pub fn position(&self) -> u64 {
        self.frames.position()
    }

    /// Bytes at the end of the file that are no whole frame: it was cut short, or is still being written.
    pub fn remainder(&self) -> usize {
        self.frames.remainder()
    }

    /// Whether the file ends where a frame does.
    pub fn is_whole(&self) -> bool {
        self.frames.is_whole()
    }

    /// The next item; `None` at the end of what is there.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_item(&mut self) -> io::Result<Option<Item>> {
        loop {
            if let Some(item) = self.held.take() {
                return Ok(Some(item));
            }
            let (frame, offset) = (self.frames.frame(), self.frames.position());
            let line = match self.frames.next_piece()? {
                None => return Ok(None),
                Some(Piece::Damage(damage)) => return Ok(Some(Item::Damage(damage))),
                Some(Piece::Line(line)) if self.fix_ups.is_empty() => {
                    self.lines.parse(line).map_err(|error| (error, line.len()))
                }
                Some(Piece::Line(line)) => brought_up_to_date(line, self.fix_ups)
                    .map_err(Into::into)
                    .and_then(|line| TraceLine::parse(&line))
                    .map_err(|error| (error, line.len())),
            };
            match line {
                Ok(TraceLine::Other) => {}
                Ok(TraceLine::End(at)) => return Ok(Some(Item::End(at))),
                Ok(TraceLine::Header(header)) => {
                    // A part of the same recording goes on with the numbers.
                    if header.started != self.header.started || header.boot_id != self.header.boot_id {
                        self.seq = Seq(0);
                    }
                    self.header = (*header).clone();
                    return Ok(Some(Item::Header(header)));
                }
                Ok(TraceLine::Input(seq, input)) => {
                    let first = self.seq == Seq(0);
                    if seq <= self.seq && !first {
                        let what = format!("line {} comes after line {}", seq.0, self.seq.0);
                        return Ok(Some(Item::Damage(Damage { frame, offset, what })));
                    }
                    let before = if first { self.before } else { Some((self.seq, self.at)) };
                    // What is told again is of an older time.
                    (self.seq, self.at) = (seq, self.at.max(input.at()));
                    // What could not be written is told by the recorder itself.
                    let is_told = matches!(&*input, Input::Lost(lost) if lost.ring == Ring::Recording);
                    let item = Item::Input(seq, input);
                    let missing = before.map_or(0, |(before, _)| seq.0.saturating_sub(before.0).saturating_sub(1));
                    let Some((_, since)) = before.filter(|_| missing > 0 && !is_told) else {
                        return Ok(Some(item));
                    };
                    self.held = Some(item);
                    let lost = Lost::some(since, Ring::Recording, LossReason::Malformed, missing);
                    return Ok(Some(Item::Input(Seq(seq.0 - 1), Box::new(Input::Lost(lost)))));
                }
                Err((error, length)) => {
                    let what = format!("a line of {length} bytes cannot be read: {error}");
                    return Ok(Some(Item::Damage(Damage { frame: frame.max(1), offset, what })));
                }
            }
        }
    }
}

fn read_header(line: &[u8]) -> Result<(Header, &'static [FixUp]), OpenError> {
    /// What every format's header has.
    #[derive(Deserialize)]
    struct Any {
        #[serde(rename = "type")]
        kind: String,
        format: u32,
        #[serde(default)]
        tool: String,
    }
    let no_header = |error: &dyn fmt::Display| OpenError::NoHeader(error.to_string());
    let any: Any = serde_json::from_slice(line).map_err(|error| no_header(&error))?;
    if any.kind != "header" {
        return Err(no_header(&format!("a line of type {:?}", any.kind)));
    }
    if any.format > FORMAT {
        return Err(OpenError::Newer { format: any.format, tool: any.tool });
    }
    let steps = any.format.checked_sub(1).and_then(|older| FIX_UPS.get(older as usize..));
    let steps = steps.ok_or_else(|| no_header(&"there is no format 0"))?;
    let line = brought_up_to_date(line, steps).map_err(|error| no_header(&error))?;
    match TraceLine::parse(&line) {
        Ok(TraceLine::Header(header)) => Ok((*header, steps)),
        Ok(_) => Err(no_header(&"another line")),
        Err(error) => Err(no_header(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_an_older_format_goes_through_every_step_since() {
        let steps: [FixUp; 2] = [
            |line| {
                let before = line["when"].take();
                line["at"] = before;
            },
            |line| line["at"] = (line["at"].as_u64().unwrap_or(0) * 1_000).into(),
        ];
        let tick = brought_up_to_date(br#"{"type":"tick","seq":3,"when":5}"#, &steps).expect("JSON");
        assert!(
            matches!(TraceLine::parse(&tick), Ok(TraceLine::Input(Seq(3), input)) if input.at() == BootTime(5_000))
        );
        assert!(brought_up_to_date(b"{", &steps).is_err());
    }
}
