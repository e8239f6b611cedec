//! A flight file whose seconds began with what was known, and that was told again since.

use std::fs;
use std::path::Path;
use std::time::Duration;

use cgtrace::hierarchy::{Clock, Header};
use cgtrace::input::{About, BootTime, Facts, Input};
use cgtrace::output::Json;
use cgtrace::recording::{Destination, Limits, TraceLine, record_around};
use cgtrace::stream::Stream;

use crate::support::{self, of_type, parse};
use crate::{lines, run};

/// Feeds a real run, with a new part before each of these inputs, until all is told.
fn play(stream: &mut Stream<'_>, header: &Header, inputs: &[Input], parts: &[usize]) {
    for (number, input) in inputs.iter().enumerate() {
        if parts.contains(&number) {
            let at = input.at();
            let clock = Clock { boot_ns: at.0, unix_ns: header.clock.unix_ns(at) };
            stream.begin_part(&Header { clock, ..header.clone() }).unwrap();
        }
        stream.feed(&mut input.clone()).unwrap();
    }
    let last = inputs.iter().map(Input::at).max().unwrap();
    stream.tick(BootTime(last.0 + 10_000_000_000)).unwrap();
    stream.flush().unwrap();
}

#[test]
fn a_flight_file_counts_what_was_told_again_once_and_its_findings() {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/incident.jsonl");
    let text = fs::read_to_string(recording).unwrap();
    let mut all = text.lines().map(|line| TraceLine::parse(line.as_bytes()).unwrap());
    let Some(TraceLine::Header(header)) = all.next() else { panic!("a header is first") };
    let input = |line| if let TraceLine::Input(_, input) = line { Some(*input) } else { None };
    let inputs: Vec<Input> = all.filter_map(input).collect();

    let mut one = Vec::new();
    let mut json = Json::new(&mut one);
    let mut stream = Stream::begin(&header, &mut json).unwrap();
    play(&mut stream, &header, &inputs, &[]);
    let counts = serde_json::to_value(stream.end(inputs.last().unwrap().at()).unwrap()).unwrap();
    assert_eq!(counts["findings"]["missing-path-teardown"], 1);

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flight.jsonl.zst");
    let destination = Destination {
        path: path.clone(),
        limits: Limits::default(),
        adopts_older: false,
        report: |error| panic!("{error}"),
        confine: Box::new(|| {}),
    };
    let mut flight = record_around(destination, Duration::from_secs(2), Box::new(|_| true)).unwrap();
    let mut stream = Stream::begin(&header, &mut flight).unwrap();
    let is_walked = |input: &Input| matches!(input, Input::Facts(Facts { about: About::Walked { .. }, .. }));
    let walked = inputs.iter().position(is_walked).unwrap() + 1;
    play(&mut stream, &header, &inputs, &[walked + 1, (walked + inputs.len()) / 2]);
    let file = directory.path().join("flight.0000.jsonl.zst");
    support::wait_for("the file", || file.exists().then_some(()));
    let is_over = || lines(&file).last().is_some_and(|line| line["type"] == "end");
    support::wait_for("its end", || is_over().then_some(()));
    drop(stream);
    drop(flight);

    let written = lines(&file);
    assert_eq!(of_type(&written, "header").len(), 3);
    let existing = |line: &&serde_json::Value| line["change"] == "existing";
    assert!(written.iter().filter(existing).count() as u64 > counts["events"]["existing"].as_u64().unwrap());
    assert_eq!(written.last().unwrap()["counts"], counts, "as if there had been one part");
    let read = run(&["export", "--to", "jsonl", "--output", "-", file.to_str().unwrap()]);
    let read = parse(&read.stdout);
    assert_eq!(read.last().unwrap()["counts"], counts);
    let summaries = |lines: &[serde_json::Value]| -> Vec<_> {
        of_type(lines, "finding").iter().map(|finding| finding["summary"].clone()).collect()
    };
    assert_eq!(summaries(&read), summaries(&parse(&one)));
}
