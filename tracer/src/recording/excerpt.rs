//! A trace that is given out of memory frame by frame, all of it or only what is of some containers.

use std::io;

use bytes::Bytes;
use serde::Deserialize;

use super::frames::{Closed, FrameReader, FrameWriter, Piece};
use super::line::head;
use crate::input::Change;
use crate::name::Name;

/// A whole trace file, piece by piece. A piece may be empty: then nothing of what was looked at is wanted.
pub struct Excerpt {
    frames: std::vec::IntoIter<Bytes>,
    bytes: u64,
    narrowed: Option<Narrowed>,
}

impl Excerpt {
    /// Of these frames, and of the containers whose id begins so.
    pub(super) fn new(frames: Vec<Bytes>, container: Option<String>) -> io::Result<Self> {
        let bytes = frames.iter().map(|frame| frame.len() as u64).sum();
        let narrowed = container.map(Narrowed::new).transpose()?;
        Ok(Self { frames: frames.into_iter(), bytes, narrowed })
    }

    /// How many bytes it has at most, or about so many if it is only of some containers.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Iterator for Excerpt {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let frame = self.frames.next();
        match (&mut self.narrowed, frame) {
            (None, frame) => frame,
            (Some(narrowed), Some(frame)) => Some(narrowed.take(&frame)),
            (Some(narrowed), None) => narrowed.rest(),
        }
    }
}

/// Leaves out what other containers did. What is needed to judge stays: processes, facts, losses, ticks, and the
/// cgroups that existed. Lines are numbered anew, so that what was left out is not taken for lost.
struct Narrowed {
    container: String,
    numbered: u64,
    out: FrameWriter<Closed>,
}

/// What a line of an event or an attempt says of whose it is.
#[derive(Deserialize)]
struct Whose<'a> {
    #[serde(default, borrow)]
    change: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    container: Option<Chain>,
}

#[derive(Deserialize)]
struct Chain {
    chain: Vec<Name>,
}

impl Narrowed {
    fn new(container: String) -> io::Result<Self> {
        Ok(Self { container, numbered: 0, out: FrameWriter::new(Closed::default())? })
    }

    /// What is wanted of a frame, once it fills one.
    fn take(&mut self, frame: &[u8]) -> Bytes {
        let mut lines = FrameReader::new(frame);
        while let Some(piece) = lines.next_piece().expect("memory can be read") {
            match piece {
                Piece::Line(line) => self.line(line),
                Piece::Damage(damage) => unreachable!("a frame that was made here: {damage}"),
            }
        }
        self.closed()
    }

    /// The last frame, if there is one.
    fn rest(&mut self) -> Option<Bytes> {
        self.out.close_frame().expect("memory can be written");
        Some(self.closed()).filter(|rest| !rest.is_empty())
    }

    fn closed(&mut self) -> Bytes {
        match std::mem::take(&mut self.out.get_mut().0).as_slice() {
            [one] => one.clone(),
            several => several.concat().into(),
        }
    }

    fn line(&mut self, line: &[u8]) {
        let (numbered, rest) = match head(line) {
            // The header and the end have no number.
            None => (Vec::new(), line),
            Some((kind, _)) if matches!(kind, "event" | "attempt") && !self.is_wanted(line) => return,
            Some((kind, seq)) => {
                self.numbered += 1;
                let before = format!("{{\"type\":\"{kind}\",\"seq\":{}", seq.0).len();
                (format!("{{\"type\":\"{kind}\",\"seq\":{}", self.numbered).into_bytes(), &line[before..])
            }
        };
        self.out.line(&[&numbered, rest, b"\n"].concat()).expect("memory can be written");
    }

    fn is_wanted(&self, line: &[u8]) -> bool {
        let whose: Whose<'_> = serde_json::from_slice(line).expect("a line that was made here can be read");
        whose.change.as_deref() == Some(Change::Existing.as_str())
            || whose.container.is_some_and(|container| {
                container.chain.iter().any(|id| id.as_bytes().starts_with(self.container.as_bytes()))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{Item, Reader};

    /// A recording as frames of so many lines.
    fn frames(recording: &str, lines: usize) -> Vec<Bytes> {
        let mut writer = FrameWriter::new(Closed::default()).expect("a compressor");
        for (number, line) in recording.lines().enumerate() {
            writer.line(format!("{line}\n").as_bytes()).expect("written");
            if number % lines == 0 {
                writer.close_frame().expect("written");
            }
        }
        writer.close_frame().expect("written");
        std::mem::take(&mut writer.get_mut().0)
    }

    fn read(excerpt: Excerpt) -> Vec<u8> {
        excerpt.flat_map(|piece| piece.to_vec()).collect()
    }

    #[test]
    fn all_of_it_is_what_was_kept() {
        let recording = include_str!("../../tests/recordings/nested.jsonl");
        let kept = frames(recording, 50);
        let excerpt = Excerpt::new(kept.clone(), None).expect("made");
        assert_eq!(excerpt.bytes(), kept.concat().len() as u64);
        assert_eq!(read(excerpt), kept.concat());
    }

    #[test]
    fn of_a_container_it_is_whole_without_what_others_did() {
        let recording = include_str!("../../tests/recordings/nested.jsonl");
        let lines = |text: &str| -> Vec<serde_json::Value> {
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
        };
        let is_step = |line: &serde_json::Value| {
            matches!(line["type"].as_str(), Some("event" | "attempt")) && line["change"] != "existing"
        };
        let all = lines(recording);
        let chain = all.iter().find_map(|line| line["container"]["chain"].as_array()).expect("a container");
        let prefix = chain[0].as_str().expect("an id")[..6].to_owned();
        for (prefix, some) in [(prefix, true), ("zzz".to_owned(), false)] {
            let is_wanted = |line: &serde_json::Value| {
                let chain = line["container"]["chain"].as_array();
                chain.is_some_and(|chain| chain.iter().any(|id| id.as_str().is_some_and(|id| id.starts_with(&prefix))))
            };
            let packed = read(Excerpt::new(frames(recording, 50), Some(prefix.clone())).expect("made"));
            let text = zstd::stream::decode_all(&packed[..]).expect("zstd reads it");
            let got = lines(std::str::from_utf8(&text).expect("text"));
            let wanted = |line: &&serde_json::Value| !is_step(line) || is_wanted(line);
            assert_eq!(got.len(), all.iter().filter(wanted).count());
            assert!(got.iter().all(|line| wanted(&line)));
            assert_eq!(got.iter().any(is_step), some, "{prefix}");
            let numbers: Vec<u64> = got.iter().filter_map(|line| line["seq"].as_u64()).collect();
            assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "what is left out is not lost");
            let mut reader = Reader::open(&packed[..]).expect("a trace");
            while let Some(item) = reader.next_item().expect("memory can be read") {
                assert!(!matches!(item, Item::Damage(_)), "{item:?}");
            }
            assert!(reader.is_whole());
        }
    }
}
