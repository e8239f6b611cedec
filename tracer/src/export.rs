//! Traces in the forms of other tools: the registry of formats.

mod otlp;
mod parquet;
mod perfetto;
mod sarif;
mod settled;

use std::io::Write;
use std::path::Path;

use clap::ValueEnum;

use crate::line::Output;
use crate::output::Json;

/// A form that a trace can be exported to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Plain JSON lines, findings included
    Jsonl,
    /// A trace for the Perfetto UI (ui.perfetto.dev): a track for each container and each process
    Perfetto,
    /// Tables for DuckDB, Spark, Trino or ClickHouse: a directory with inputs, lives and findings
    Parquet,
    /// Findings as OpenTelemetry log records (OTLP/JSON)
    OtlpJson,
    /// Findings as results of SARIF 2.1.0, for services that show the problems of a build
    Sarif,
}

impl Format {
    /// Whether it is a directory of files rather than one file.
    pub fn is_directory(self) -> bool {
        self == Self::Parquet
    }

    /// An output that writes this form to `out`; for a directory, below `directory`.
    pub fn output<'a>(self, directory: &Path, out: impl Write + 'a) -> Box<dyn Output + 'a> {
        match self {
            Self::Jsonl => Box::new(Json::new(out)),
            Self::Perfetto => Box::new(perfetto::Perfetto::new(out)),
            Self::Parquet => Box::new(parquet::Parquet::new(directory)),
            Self::OtlpJson => Box::new(settled::Document::<_, otlp::Otlp>::new(out)),
            Self::Sarif => Box::new(settled::Document::<_, sarif::Sarif>::new(out)),
        }
    }
}
