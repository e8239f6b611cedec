//! What a recording gives when it is replayed.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use cgtrace::output::Json;
use cgtrace::recording::TraceLine;
use cgtrace::stream::Stream;

/// The lines of a recording, with all that is derived from them: fields and findings.
pub fn replay(recording: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut json = Json::new(&mut out);
    let mut lines = recording
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| TraceLine::parse(line).unwrap());
    let Some(TraceLine::Header(header)) = lines.next() else { panic!("a recording begins with its header") };
    let mut stream = Stream::begin(&header, &mut json).unwrap();
    for line in lines {
        match line {
            TraceLine::Input(seq, mut input) => stream.replay(seq, &mut input).unwrap(),
            TraceLine::End(at) => {
                stream.end(at).unwrap();
                break;
            }
            TraceLine::Other => {}
            TraceLine::Header(_) => panic!("a second header"),
        }
    }
    out
}
