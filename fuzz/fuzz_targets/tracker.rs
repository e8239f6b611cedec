//! Whatever lines come, the tracker judges them without a panic, twice the same, and the text moves no terminal.
#![no_main]

mod lines;
mod memory;

use cgtrace::hierarchy::Header;
use cgtrace::input::{BootTime, Input, Seq};
use cgtrace::output::{ColorChoice, Json, Output, Palette, Text};
use cgtrace::pipeline::Stream;
use cgtrace::recording::Line;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

/// The header of a real trace; what follows is the fuzzer's.
const HEADER: &str = include_str!("header.json");

fn inputs(bytes: &[u8]) -> Vec<(Seq, Input)> {
    let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| Line::parse(line).ok());
    let inputs = lines.filter_map(|line| match line {
        Line::Input(seq, input) => Some((seq, *input)),
        Line::Header(_) | Line::End(_) | Line::Other => None,
    });
    inputs.collect()
}

fn header() -> Header {
    match Line::parse(HEADER.trim_end().as_bytes()) {
        Ok(Line::Header(header)) => *header,
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

fuzz_target!(|bytes: &[u8]| {
    let inputs = inputs(bytes);
    let (mut one, mut other, mut text) = (Vec::new(), Vec::new(), Vec::new());
    replay(&inputs, &mut Json::new(&mut one));
    replay(&inputs, &mut Json::new(&mut other));
    assert!(one == other, "two replays differ");
    replay(&inputs, &mut Text::new(&mut text, Palette::new(ColorChoice::Never), Some(80)));
    let text = String::from_utf8(text).expect("text is UTF-8");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "a control character");
});

fuzz_mutator!(|bytes: &mut [u8], size: usize, most: usize, seed: u32| { lines::mutate(bytes, size, most, seed) });
