//! `cgtrace completions` and `cgtrace man`: the command line as shells and man(1) know it, made of its definition.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use clap_complete::Shell;

/// `cgtrace completions`
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell that reads the script
    shell: Shell,
}

/// `cgtrace man`
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Where to write them: a directory that exists
    directory: PathBuf,
}

/// Prints the script with which a shell completes commands and options.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(args: &Completions, mut definition: clap::Command) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut definition, "cgtrace", &mut script);
    io::stdout().write_all(&script).context("failed to write to stdout")?;
    Ok(ExitCode::SUCCESS)
}

/// Writes one page for the program, and one for each command that is not hidden.
///
/// # Errors
/// When the directory cannot be written.
pub fn man(args: &Man, definition: clap::Command) -> anyhow::Result<ExitCode> {
    let directory = &args.directory;
    clap_mangen::generate_to(definition, directory)
        .with_context(|| format!("failed to write manual pages to {}", directory.display()))?;
    Ok(ExitCode::SUCCESS)
}
