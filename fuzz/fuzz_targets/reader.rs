//! Whatever a file holds, reading it as a trace ends, without a panic and within bounds: of time, and of memory for each byte.
//!
//! The bytes are tried as a file, and as lines behind a valid header, in a valid frame and as plain text: from raw bytes a
//! fuzzer would hardly ever come past a checksum. What the two say must be the same, and what is read must be read again
//! the same when it is written.
#![no_main]

mod memory;

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};

use cgtrace::line::{Line, Output};
use cgtrace::output::Json;
use cgtrace::recording::{Item, Reader, TraceLine};
use libfuzzer_sys::fuzz_target;
use memory::bounded;
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

/// A file is read through a buffer for 32 MiB of lines, which few bytes may unpack to and which doubles as it grows.
const FILE: usize = 112 << 20;
/// What is read of lines that are as long as the input.
const LINES: usize = 4 << 20;
/// What a byte of the input may have the reader hold.
const FACTOR: usize = 64;

/// What a trace tells, as a hash of it: kept, it would be more than the reader ever holds. `None` if it cannot be opened.
fn read(from: impl Read, length: usize, each: &mut dyn FnMut(&TraceLine)) -> Option<u64> {
    let mut recording = Reader::open(from).ok()?;
    let (mut told, mut items, mut damages) = (DefaultHasher::new(), 0, 0);
    while let Some(item) = recording.next_item().expect("memory can be read") {
        items += 1;
        let line = match item {
            Item::Input(seq, input) => TraceLine::Input(seq, input),
            Item::End(at) => TraceLine::End(at),
            Item::Header(header) => TraceLine::Header(header),
            Item::Damage(_) => {
                damages += 1;
                continue;
            }
        };
        format!("{line:?}").hash(&mut told);
        each(&line);
        assert!(items <= length * 1_100 + 16, "more items than a frame of these bytes can hold");
    }
    assert!(recording.position() as usize + recording.remainder() <= length, "more was read than there is");
    damages.hash(&mut told);
    Some(told.finish())
}

/// What is written of a line is read as the same line.
fn written_again(line: &TraceLine) {
    let TraceLine::Input(seq, input) = line else { return };
    let mut json = Json::new(Vec::new());
    json.line(&Line::Input(*seq, input)).expect("memory can be written");
    let written = json.take();
    let again = TraceLine::parse(written.trim_ascii_end()).expect("what was written can be read");
    assert_eq!(&again, line, "what was read is written differently");
}

fuzz_target!(|bytes: &[u8]| {
    bounded(FILE, FACTOR, bytes.len(), || {
        let whole = read(bytes, bytes.len(), &mut |_| ());
        let most = bytes.len() / 3 + 1;
        let piped = read(Pieces { bytes, most }, bytes.len(), &mut |_| ());
        assert_eq!(piped, whole, "a pipe tells something else than a file");
    });
    bounded(LINES, FACTOR, bytes.len(), || {
        let lines = [bytes, b"\n"].concat();
        let framed = [frame(HEADER), frame(&lines)].concat();
        let framed = read(&framed[..], framed.len(), &mut written_again).expect("its header is valid");
        let plain = [HEADER, &lines].concat();
        let plain = read(&plain[..], plain.len(), &mut |_| ()).expect("its header is valid");
        assert_eq!(plain, framed, "plain lines tell something else than lines in a frame");
    });
});
