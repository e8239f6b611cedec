//! Traces in the forms of other tools: the registry of formats.

mod otlp;
mod perfetto;

use std::io::Write;

use clap::ValueEnum;

use crate::output::{Json, Output};

/// A form that a trace can be exported to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Plain JSON lines, findings included
    Jsonl,
    /// A trace for the Perfetto UI (ui.perfetto.dev): a track for each container and each process
    Perfetto,
    /// Findings as OpenTelemetry log records (OTLP/JSON)
    OtlpJson,
}

impl Format {
    /// An output that writes this form.
    pub fn output<'a>(self, out: impl Write + 'a) -> Box<dyn Output + 'a> {
        match self {
            Self::Jsonl => Box::new(Json::new(out)),
            Self::Perfetto => Box::new(perfetto::Perfetto::new(out)),
            Self::OtlpJson => Box::new(otlp::Otlp::new(out)),
        }
    }
}
