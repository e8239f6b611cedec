//! `cgtrace diff`: where two traces of the same job part, and what follows from it.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::arguments::{AboutArgs, FormArgs, WideArgs};
use super::replay::{Reading, STDIN, Source, replay, sources};
use crate::diff::text::Style;
use crate::diff::{Comparison, Side};
use crate::output::{ColorChoice, Palette};

/// `cgtrace diff`
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The trace of a run that went well, or of the older version: a file, a directory of its parts, or - for stdin
    #[arg(value_name = "GOOD")]
    pub good: PathBuf,
    /// The trace of the same job that went wrong, or of the newer version
    #[arg(value_name = "BAD")]
    pub bad: PathBuf,
    #[command(flatten)]
    pub form: FormArgs,
    #[command(flatten)]
    pub wide: WideArgs,
    #[command(flatten)]
    pub about: AboutArgs,
}

/// The one line of JSON.
#[derive(Serialize)]
#[serde(tag = "type", rename = "diff")]
struct JsonLine<'a> {
    #[serde(flatten)]
    comparison: &'a Comparison,
}

/// Runs the command.
///
/// # Errors
/// When a trace cannot be read, or stdout cannot be written.
pub fn run(args: Diff) -> anyhow::Result<ExitCode> {
    let json = args.form.is_json()?;
    if [&args.good, &args.bad].iter().all(|path| path.as_path() == Path::new(STDIN)) {
        bail!("stdin can be read only once\nhint: give a file for GOOD or for BAD");
    }
    let filter = args.about.build()?;
    let (mut good_source, mut bad_source) = (only(&args.good)?, only(&args.bad)?);
    let (mut good, mut bad) = (Side::new(&filter), Side::new(&filter));
    let mut whole = replay(&mut good_source, &mut good, Reading::Once)?;
    whole &= replay(&mut bad_source, &mut bad, Reading::Once)?;
    let comparison = Comparison::of(&good, &bad);

    let stdout = io::stdout();
    let mut out = io::BufWriter::new(stdout.lock());
    if json {
        serde_json::to_writer(&mut out, &JsonLine { comparison: &comparison })?;
        writeln!(out)?;
    } else {
        let style = Style {
            palette: Palette::new(ColorChoice::of(&stdout)),
            width: stdout.is_terminal().then(super::terminal_width).flatten(),
            wide: args.wide.wide,
        };
        style.comparison(&mut out, &comparison, &good_source.names(), &bad_source.names())?;
    }
    out.flush()?;
    // That a part of a trace cannot be read is an outcome only where none was found.
    Ok(ExitCode::from(if comparison.differs {
        1
    } else if whole {
        0
    } else {
        2
    }))
}

/// The one recording that a path leads to.
fn only(path: &Path) -> anyhow::Result<Source> {
    let mut sources = sources(&[path.to_owned()], false)?;
    match (sources.pop(), sources.len()) {
        (Some(source), 0) => Ok(source),
        (_, more) => {
            bail!("{} holds {} recordings\nhint: give the file of one of them", path.display(), more + 1)
        }
    }
}
