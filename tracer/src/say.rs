//! Messages for whoever runs the program, on stderr.

use std::fmt::Arguments;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What a pipe takes at once, in bytes, if it takes anything.
const AT_ONCE: usize = 4_096;

/// Whether a message is dropped that nobody takes now.
static WAITS_FOR_NOBODY: AtomicBool = AtomicBool::new(false);
/// So many were dropped since the last one that was taken.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Says something on stderr, a line. If nobody reads it any more, nothing else changes: `eprintln!` would end the
/// program.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::say::line(format_args!($($text)*))
    };
}

/// From now on nobody is waited for: whoever reads stderr may hang while the agent must go on.
pub(crate) fn wait_for_nobody() {
    WAITS_FOR_NOBODY.store(true, Ordering::Relaxed);
}

/// What `say!` does.
pub(crate) fn line(text: Arguments<'_>) {
    let mut stderr = std::io::stderr().lock();
    if !WAITS_FOR_NOBODY.load(Ordering::Relaxed) {
        let _ = writeln!(stderr, "{text}");
        return;
    }
    let at_once = Timespec::default();
    if poll(&mut [PollFd::from_borrowed_fd(stderr.as_fd(), PollFlags::OUT)], Some(&at_once)) == Ok(0) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let before = match DROPPED.swap(0, Ordering::Relaxed) {
        0 => String::new(),
        dropped => format!("note: messages were dropped before this one, because nobody took them: {dropped}\n"),
    };
    let mut message = format!("{before}{text}");
    message.truncate(message.floor_char_boundary(AT_ONCE - 1));
    message.push('\n');
    let _ = stderr.write_all(message.as_bytes());
}
