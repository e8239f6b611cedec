//! What happened to one cgroup, one container, or what one process did: told from a stream, in plain words.
//!
//! A stream goes by twice. The first time [`Search`] looks for what a [`Question`] may mean; the second time [`Story`]
//! gathers what is told of the one that was chosen.

mod logs;
mod matches;
mod meaning;
pub mod question;
mod story;
pub mod text;

pub use matches::{Match, Search, Subject};
pub(crate) use meaning::meaning;
pub use question::Question;
pub use story::{Answer, Step, Story};
