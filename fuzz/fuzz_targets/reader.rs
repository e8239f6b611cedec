//! Whatever a file holds, reading it as a trace ends, without a panic and within bounds.
#![no_main]

use cgtrace::recording::Recording;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut recording) = Recording::open(bytes) else { return };
    let mut items = 0;
    while let Ok(Some(_)) = recording.next_item() {
        items += 1;
        assert!(items <= bytes.len() * 1_100 + 16, "more items than a frame of these bytes can hold");
    }
});
