//! Trace files: a stream's inputs as lines of JSON in zstd frames. The only module that knows their bytes.
//!
//! What is derived (the container and identity fields of a line) is written for whoever reads a trace without this
//! program, and ignored when it is read back: the tracker derives it anew. Findings are not written at all.
//! `docs/recording.md` states the format and the promise.

mod events;
mod excerpt;
mod file;
mod flight;
mod frames;
mod history;
mod journal;
mod line;
mod reader;
mod retold;
mod schema;
mod shelf;
mod sink;
mod writer;

pub use excerpt::Excerpt;
pub use flight::record_around;
pub use frames::{Damage, FrameReader, FrameWriter, Piece};
pub use history::{Emptied, Held, History, remember};
pub use line::{LineError, TraceLine};
pub use reader::{Item, OpenError, Reader};
pub use retold::Retold;
pub use schema::schema;
pub use shelf::{Limits, default_name, next_part_name};
pub use sink::{Recording, Written};
pub use writer::{Destination, record};

/// The format number that is written, and the newest that is read.
pub const FORMAT: u32 = 1;
