//! What users read: text for people, JSON lines for programs.

mod ids;
mod json;
mod palette;
mod rows;
mod text;

pub(crate) use ids::shorten;
pub use json::Json;
pub use palette::{ColorChoice, Palette};
pub(crate) use rows::WINDOW;
pub(crate) use text::word_of;
pub use text::{Deed, Look, Text, deeds, particulars, relative, write_finding};
