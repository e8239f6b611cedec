//! What users read: text for people, JSON lines for programs.

mod ids;
mod json;
mod markdown;
mod palette;
mod rows;
mod text;

pub(crate) use ids::shorten;
pub use json::Json;
pub(crate) use markdown::fenced;
pub use palette::{ColorChoice, Palette};
pub(crate) use rows::{Row, Rows, WINDOW};
pub use text::{Deed, Look, Text, deeds, particulars, relative, write_finding};
pub(crate) use text::{columns, describe, heading, paragraph, processes, word_of};
