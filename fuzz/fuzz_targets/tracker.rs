//! Whatever lines come, the tracker judges them without a panic, twice the same, and the text moves no terminal.
#![no_main]

mod lines;
mod memory;

use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Write};

use cgtrace::hierarchy::Header;
use cgtrace::input::{BootTime, Input, Seq};
use cgtrace::line::Output;
use cgtrace::output::{ColorChoice, Json, Palette, Text};
use cgtrace::recording::TraceLine;
use cgtrace::stream::Stream;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use memory::bounded;

/// The header of a real trace; what follows is the fuzzer's.
const HEADER: &str = include_str!("header.json");

fn inputs(bytes: &[u8]) -> Vec<(Seq, Input)> {
    let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| TraceLine::parse(line).ok());
    let inputs = lines.filter_map(|line| match line {
        TraceLine::Input(seq, input) => Some((seq, *input)),
        TraceLine::Header(_) | TraceLine::End(_) | TraceLine::Other => None,
    });
    inputs.collect()
}

fn header() -> Header {
    match TraceLine::parse(HEADER.trim_end().as_bytes()) {
        Ok(TraceLine::Header(header)) => *header,
        other => panic!("the header is one: {other:?}"),
    }
}

fn replay(inputs: &[(Seq, Input)], output: &mut dyn Output) {
    let mut stream = Stream::begin(&header(), output).expect("memory can be written");
    let mut last = BootTime(0);
    for (seq, input) in inputs {
        last = last.max(input.at());
        stream.replay(*seq, &mut input.clone()).expect("memory can be written");
    }
    stream.end(last).expect("memory can be written");
}

/// What a tracker and an output may hold besides, and for each byte of the lines.
const FIXED: usize = 4 << 20;
const FACTOR: usize = 256;

/// A hash of what is written: kept, it would be more than the tracker ever holds.
#[derive(Default)]
struct Told(DefaultHasher);

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        bytes.iter().for_each(|byte| self.0.write_u8(*byte));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Looks at every line that is shown to a person.
#[derive(Default)]
struct Shown(Vec<u8>);

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend(bytes);
        let whole = self.0.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let text = std::str::from_utf8(&self.0[..whole]).expect("text is UTF-8");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "a control character");
        self.0.drain(..whole);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    bounded(FIXED, FACTOR, bytes.len(), || {
        let inputs = inputs(bytes);
        let (mut one, mut other) = (Told::default(), Told::default());
        replay(&inputs, &mut Json::new(&mut one));
        replay(&inputs, &mut Json::new(&mut other));
        assert_eq!(one.0.finish(), other.0.finish(), "two replays differ");
        replay(&inputs, &mut Text::new(&mut Shown::default(), Palette::new(ColorChoice::Never), Some(80)));
    });
});

fuzz_mutator!(|bytes: &mut [u8], size: usize, most: usize, seed: u32| { lines::mutate(bytes, size, most, seed) });
