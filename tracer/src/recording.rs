//! Trace files: the stream's inputs as lines of JSON. The only module that knows their bytes.
//!
//! What is derived (findings, the container and identity fields of a line) is written for whoever reads a trace without
//! this program, and ignored when it is read back: the tracker derives it anew.

mod line;

pub use line::{Line, LineError};
