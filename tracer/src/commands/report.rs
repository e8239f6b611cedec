//! `cgtrace report`: replay trace files, on any machine.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::arguments::{FailOn, FilterArgs, WideArgs, one_form};
use super::replay::{Reading, replay, sources};
use super::verdict::Verdict;
use crate::filter::Showing;
use crate::line::{Line, Output};
use crate::output::{ColorChoice, Json, Palette, Text};
use crate::report::text::Printer;
use crate::report::{self, Trace, html};

/// `cgtrace report`
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// Trace files, directories of them, - for stdin, or running agents: http://HOST:PORT or unix:/PATH
    #[arg(required = true, value_name = "SOURCE")]
    pub files: Vec<PathBuf>,
    /// Print each container's life: its cgroups, with every step, time and actor
    #[arg(long)]
    pub lives: bool,
    /// Keep reading while the file is being written, until it ends
    #[arg(long)]
    pub follow: bool,
    /// How to print it; without this, as text
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Print JSON lines, the same as --format json
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub wide: WideArgs,
    /// Exit with status 1 if there is a finding of this kind; `fault` stands for any finding of severity fault
    #[arg(long, value_name = "KIND", value_enum, value_delimiter = ',')]
    pub fail_on: Vec<FailOn>,
    #[command(flatten)]
    pub filter: FilterArgs,
}

impl Report {
    /// How it is to be printed.
    pub fn format(&self) -> anyhow::Result<Format> {
        one_form(self.json, self.format, Format::Json, Format::Text)
    }
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// JSON lines: the findings as `live --json` printed them
    Json,
    /// One self-contained page, with a timeline of every container
    Html,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read as a trace, or stdout cannot be written.
pub fn run(args: Report) -> anyhow::Result<ExitCode> {
    let format = args.format()?;
    let wide = args.wide.wide;
    let filter = args.filter.build()?;
    let mut out = io::BufWriter::new(io::stdout());
    let palette = Palette::new(ColorChoice::of(&io::stdout()));
    let width = super::terminal_width();
    let reading = if args.follow { Reading::Following } else { Reading::Once };
    let mut reports = Vec::new();
    let (mut whole, mut failed) = (true, false);
    for mut source in sources(&args.files, args.follow)? {
        let mut report = report::Report::new(args.lives || format == Format::Html);
        // What is shown while it is read: every word, as `live` showed it.
        let shown: Option<Box<dyn Output + '_>> = match format {
            Format::Json => Some(Box::new(Json::new(&mut out))),
            Format::Text if args.follow => Some(Box::new(Text::new(&mut out, palette, width).wide(wide))),
            Format::Text | Format::Html => None,
        };
        let showing = Showing::new(&filter);
        let verdict = Verdict::new(&args.fail_on);
        let mut gathering = Gathering { report: &mut report, shown, showing, verdict };
        whole &= replay(&mut source, &mut gathering, reading)?;
        failed |= gathering.verdict.is_met();
        drop(gathering);
        reports.push((source, report));
    }
    for lives in reports.iter_mut().filter_map(|(_, report)| report.lives.as_mut()) {
        lives.containers.retain(|_, life| filter.is_of(&life.container));
    }
    let traces = reports.iter().map(|(source, report)| {
        let findings = report.findings.worst_first().into_iter().filter(|finding| filter.shows(finding)).collect();
        Trace { files: source.names(), report, findings }
    });
    let traces: Vec<Trace<'_>> = traces.collect();
    match format {
        Format::Text => Printer { palette, width, wide }.all(&mut out, &traces, !args.follow)?,
        Format::Html => html::write(&mut out, &traces)?,
        Format::Json => {}
    }
    out.flush()?;
    // The intact part was told; that there is another is an outcome too.
    Ok(ExitCode::from(if failed {
        1
    } else if whole {
        0
    } else {
        2
    }))
}

/// Gathers a report, and shows the findings that are wanted as they are made.
struct Gathering<'a> {
    report: &'a mut report::Report,
    shown: Option<Box<dyn Output + 'a>>,
    showing: Showing<'a>,
    verdict: Verdict<'a>,
}

impl Output for Gathering<'_> {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        self.report.line(line)?;
        let is_shown = match line {
            Line::Header(_) | Line::End(..) => true,
            Line::Finding(finding) => {
                let shows = self.showing.shows(finding);
                if shows {
                    self.verdict.take(finding);
                }
                shows
            }
            // What happened is summed up, not listed.
            Line::Input(..) | Line::Known(..) | Line::Span(_) | Line::Passed(_) => false,
        };
        match &mut self.shown {
            Some(shown) if is_shown => shown.line(line),
            Some(_) | None => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.shown.as_mut().map_or(Ok(()), |shown| shown.flush())
    }
}
