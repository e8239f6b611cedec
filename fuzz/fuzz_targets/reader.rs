//! Whatever a file holds, reading it as a trace ends, without a panic and within bounds.
//!
//! The bytes are tried as a file, and as lines behind a valid header, in a valid frame and as plain text: from raw bytes a
//! fuzzer would hardly ever come past a checksum. What the two say must be the same, and what is read must be read again
//! the same when it is written.
#![no_main]

mod memory;

use std::cell::RefCell;
use std::io::{self, Read};

use cgtrace::output::{Json, Output};
use cgtrace::recording::{Item, Line, Reader};
use libfuzzer_sys::fuzz_target;
use zstd::bulk::Compressor;

/// The header of a real trace.
const HEADER: &[u8] = include_bytes!("header.json");

thread_local! {
    /// To set one up takes longer than to run an input. Its level is not the recorder's, which changes nothing that is read.
    static COMPRESSOR: RefCell<Compressor<'static>> = RefCell::new(compressor().expect("a compressor"));
}

fn compressor() -> io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(1)?;
    compressor.include_checksum(true)?;
    compressor.include_contentsize(true)?;
    Ok(compressor)
}

fn frame(lines: &[u8]) -> Vec<u8> {
    COMPRESSOR.with_borrow_mut(|compressor| compressor.compress(lines).expect("memory can be written"))
}

/// Gives out a file in pieces, as a pipe does.
struct Pieces<'a> {
    bytes: &'a [u8],
    most: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.most);
        self.bytes.read(&mut buffer[..most])
    }
}

/// What a trace tells, and how much of it was damaged. `None` if it cannot be opened.
fn read(from: impl Read, length: usize) -> Option<(Vec<Line>, usize)> {
    let mut recording = Reader::open(from).ok()?;
    let (mut told, mut damages) = (Vec::new(), 0);
    while let Some(item) = recording.next_item().expect("memory can be read") {
        match item {
            Item::Input(seq, input) => told.push(Line::Input(seq, input)),
            Item::End(at) => told.push(Line::End(at)),
            Item::Header(header) => told.push(Line::Header(header)),
            Item::Damage(_) => damages += 1,
        }
        assert!(told.len() + damages <= length * 1_100 + 16, "more items than a frame of these bytes can hold");
    }
    assert!(recording.position() as usize + recording.remainder() <= length, "more was read than there is");
    Some((told, damages))
}

/// What is written of a line is read as the same line.
fn written_again(line: &Line) {
    let Line::Input(seq, input) = line else { return };
    let mut json = Json::new(Vec::new());
    json.input(*seq, input).expect("memory can be written");
    let written = json.take();
    let again = Line::parse(written.trim_ascii_end()).expect("what was written can be read");
    assert_eq!(&again, line, "what was read is written differently");
}

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes, bytes.len());
    let most = bytes.len() / 3 + 1;
    assert_eq!(read(Pieces { bytes, most }, bytes.len()), whole, "a pipe tells something else than a file");

    let lines = [bytes, b"\n"].concat();
    let framed = [frame(HEADER), frame(&lines)].concat();
    let framed = read(&framed[..], framed.len()).expect("its header is valid");
    let plain = [HEADER, &lines].concat();
    let plain = read(&plain[..], plain.len()).expect("its header is valid");
    assert_eq!(plain, framed, "plain lines tell something else than lines in a frame");
    framed.0.iter().for_each(written_again);
});
