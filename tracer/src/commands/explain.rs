//! `cgtrace explain`: what a kind of finding claims, and what to do about it.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use crate::explain;
use crate::findings::{Explanation, Kind, Severity};
use crate::output::{ColorChoice, Palette};
use crate::rules;

/// `cgtrace explain`
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The kind of finding; without it, all kinds in brief
    #[arg(value_name = "KIND", value_enum)]
    pub kind: Option<Kind>,
    /// Print all kinds as Markdown
    #[arg(long, conflicts_with = "kind")]
    pub markdown: bool,
}

/// Runs the command.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(args: &Explain) -> anyhow::Result<ExitCode> {
    let stdout = io::stdout();
    let palette = Palette::new(ColorChoice::of(&stdout));
    let width = super::terminal_width().unwrap_or(100).clamp(40, 100);
    let mut out = io::BufWriter::new(stdout.lock());
    match (&args.kind, args.markdown) {
        (_, true) => out.write_all(explain::markdown().as_bytes())?,
        (Some(kind), false) => {
            whole(&mut out, kind.explanation(), palette, width)?;
            known_issues(&mut out, *kind, palette, width)?;
        }
        (None, false) => brief(&mut out, palette, width)?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn brief(out: &mut impl Write, palette: Palette, width: usize) -> io::Result<()> {
    for kind in Kind::ALL {
        writeln!(out, "{}", palette.heading(kind.as_str()))?;
        fill(out, "  ", kind.explanation().claim, width)?;
    }
    writeln!(out)?;
    for severity in [Severity::Fault, Severity::Benign, Severity::Undetermined] {
        writeln!(out, "{:<13} {}", severity.as_str(), explain::severity(severity))?;
    }
    writeln!(out, "\n`cgtrace explain KIND` tells more.")
}

fn whole(out: &mut impl Write, explanation: &Explanation, palette: Palette, width: usize) -> io::Result<()> {
    writeln!(out, "{}", palette.heading(explanation.word))?;
    fill(out, "  ", explanation.claim, width)?;
    writeln!(out, "\n{}", palette.heading("evidence"))?;
    for line in explanation.evidence {
        fill(out, "  - ", line, width)?;
    }
    writeln!(out, "\n{}", palette.heading("causes"))?;
    for cause in explanation.causes {
        writeln!(out, "  {}", palette.warning(cause.word))?;
        fill(out, "    ", cause.meaning, width)?;
        fill(out, "    what to do: ", cause.advice, width)?;
    }
    writeln!(out, "\n{}", palette.heading("severity"))?;
    for line in explanation.severity {
        fill(out, "  - ", line, width)?;
    }
    writeln!(out, "\n{}", palette.heading("confirm by hand"))?;
    for (what, command) in explanation.confirm {
        fill(out, "  - ", what, width)?;
        writeln!(out, "      {command}")?;
    }
    writeln!(out, "\n{}", palette.heading("known false positives"))?;
    for line in explanation.false_positives {
        fill(out, "  - ", line, width)?;
    }
    Ok(())
}

fn known_issues(out: &mut impl Write, kind: Kind, palette: Palette, width: usize) -> io::Result<()> {
    let mut issues = rules::known_issues(kind).peekable();
    if issues.peek().is_some() {
        writeln!(out, "\n{}", palette.heading("known issues"))?;
    }
    for issue in issues {
        fill(out, "  - ", &issue.describe(), width)?;
        fill(out, "    what to do: ", issue.advice, width)?;
    }
    Ok(())
}

fn fill(out: &mut impl Write, first: &str, text: &str, width: usize) -> io::Result<()> {
    let rest = " ".repeat(first.len());
    let options = textwrap::Options::new(width).initial_indent(first).subsequent_indent(&rest).break_words(false);
    let options = options.word_separator(textwrap::WordSeparator::AsciiSpace);
    writeln!(out, "{}", textwrap::fill(text, options.word_splitter(textwrap::WordSplitter::NoHyphenation)))
}
