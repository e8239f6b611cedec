//! Whatever lines come, the tracker judges them without a panic, twice the same, and the text moves no terminal.
#![no_main]

use cgtrace::hierarchy::Header;
use cgtrace::output::{ColorChoice, Json, Palette, Text};
use cgtrace::pipeline::Stream;
use cgtrace::recording::Line;
use libfuzzer_sys::fuzz_target;

/// The header of a real trace; what follows is the fuzzer's.
const HEADER: &str = include_str!("header.json");

fn lines(bytes: &[u8]) -> impl Iterator<Item = Line> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| Line::parse(line).ok())
}

fn header() -> Header {
    match Line::parse(HEADER.trim_end().as_bytes()) {
        Ok(Line::Header(header)) => *header,
        other => panic!("the header is one: {other:?}"),
    }
}

fn replay(bytes: &[u8], output: &mut dyn cgtrace::output::Output) {
    let mut stream = Stream::begin(&header(), output).expect("memory can be written");
    let mut last = cgtrace::input::BootTime(0);
    for line in lines(bytes) {
        if let Line::Input(seq, mut input) = line {
            last = last.max(input.at());
            stream.replay(seq, &mut input).expect("memory can be written");
        }
    }
    stream.end(last).expect("memory can be written");
}

fuzz_target!(|bytes: &[u8]| {
    let (mut one, mut other, mut text) = (Vec::new(), Vec::new(), Vec::new());
    replay(bytes, &mut Json::new(&mut one));
    replay(bytes, &mut Json::new(&mut other));
    assert!(one == other, "two replays differ");
    replay(bytes, &mut Text::new(&mut text, Palette::new(ColorChoice::Never), Some(80)));
    let text = String::from_utf8(text).expect("text is UTF-8");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "a control character");
});
