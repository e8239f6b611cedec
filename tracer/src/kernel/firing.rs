//! Whether the kernel runs programs that are attached: seen, by a call of our own that they count.

use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};

use crate::mounts;

/// Where a program is preempted while it runs, the kernel skips it for everybody else on that processor: the call is
/// made so often, with a pause between, before it is said that it is not seen.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

/// Tries until something is seen, some times.
pub(super) fn until_seen(mut is_seen: impl FnMut() -> bool) -> bool {
    (0..TRIES).any(|tried| {
        if tried > 0 {
            thread::sleep(PAUSE);
        }
        is_seen()
    })
}

/// Makes a call that fails whatever there is, and that concerns cgroupfs: a path longer than any can be. The kernel
/// refuses it before it looks anything up, so that it waits for nobody who holds the lock of a directory.
pub(super) fn fail() {
    const LONGEST_PATH: usize = 4_096;
    let path = format!("{}/{}", mounts::USUAL, "-".repeat(LONGEST_PATH));
    drop(rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_skipped_now_and_then_is_seen_and_what_never_comes_is_not() {
        let mut tries = 0;
        let mut third = || {
            tries += 1;
            tries == 3
        };
        assert!(until_seen(&mut third));
        assert_eq!(tries, 3);
        let mut tries = 0;
        assert!(!until_seen(|| {
            tries += 1;
            false
        }));
        assert_eq!(tries, TRIES);
    }
}
