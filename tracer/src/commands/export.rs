//! `cgtrace export`: trace files in the forms of other tools.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use super::replay::{Reading, replay, sources};
use crate::export::Format;

/// `cgtrace export`
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Trace files of one recording (for parquet, of several), a directory of them, - for stdin, or a running agent:
    /// http(s)://HOST:PORT or unix:/PATH
    #[arg(required = true, value_name = "SOURCE")]
    pub files: Vec<PathBuf>,
    /// The format to convert to
    #[arg(long, alias = "format", value_name = "FORMAT", value_enum)]
    pub to: Format,
    /// The file to write, which must not exist; - for stdout. For parquet, the directory to write to
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read as a trace, or the output cannot be written.
pub fn run(args: &Export) -> anyhow::Result<ExitCode> {
    let mut sources = sources(&args.files, false)?;
    if sources.len() > 1 && !args.to.is_directory() {
        bail!(
            "these are {} recordings\nhint: export them one by one; the parts of one recording may be given together",
            sources.len()
        );
    }
    let mut out: Box<dyn Write> = if args.to.is_directory() {
        if args.output == Path::new("-") {
            bail!("this format is a directory of files, and cannot go to stdout\nhint: --output DIRECTORY");
        }
        Box::new(io::sink())
    } else if args.output == Path::new("-") {
        Box::new(io::stdout())
    } else {
        let made: io::Result<File> = OpenOptions::new().write(true).create_new(true).open(&args.output);
        Box::new(made.with_context(|| format!("failed to create {}", args.output.display()))?)
    };
    let mut whole = true;
    for source in &mut sources {
        let mut output = args.to.output(&args.output, BufWriter::new(&mut out));
        whole &= replay(source, &mut *output, Reading::Once).context("failed to export")?;
        output.flush().context("failed to write the export")?;
    }
    Ok(ExitCode::from(if whole { 0 } else { 2 }))
}
