//! A finding as a report that a maintainer can use: what happened, where, and how to see it again.
//!
//! What tells who and where somebody is, is [masked](masks), and it is said what was. The [script] makes the
//! same calls in a mount namespace and a cgroup of its own, where the trace tells enough for that; otherwise it is said
//! why there is none.

mod masks;
pub mod report;
mod scene;
mod script;
mod shell;

pub use masks::{Masks, Secret};
pub use report::Report;
pub use scene::Scene;
pub use script::{NoScript, Script};
