//! Messages for whoever runs the program, on stderr.

/// Says something on stderr, a line. If nobody reads it any more, nothing else changes: `eprintln!` would end the
/// program.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}
