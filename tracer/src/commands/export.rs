//! `cgtrace export`: trace files in the forms of other tools.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::report::{replay, sources};
use crate::cli::Export;

/// Runs the command.
///
/// # Errors
/// When a file cannot be read as a trace, or the output cannot be written.
pub fn run(args: &Export) -> anyhow::Result<ExitCode> {
    let sources = sources(&args.files)?;
    if sources.len() > 1 {
        bail!(
            "these are {} recordings\nhint: export them one by one; the parts of one recording may be given together",
            sources.len()
        );
    }
    let mut out: Box<dyn Write> = if args.output == Path::new("-") {
        Box::new(io::stdout())
    } else {
        let made: io::Result<File> = OpenOptions::new().write(true).create_new(true).open(&args.output);
        Box::new(made.with_context(|| format!("failed to create {}", args.output.display()))?)
    };
    let mut damaged = false;
    for source in &sources {
        let mut output = args.to.output(BufWriter::new(&mut out));
        for damage in replay(source, &mut *output, false)? {
            damaged = true;
            eprintln!("warning: {damage}");
        }
        output.flush().context("failed to write the export")?;
    }
    Ok(ExitCode::from(if damaged { 2 } else { 0 }))
}
