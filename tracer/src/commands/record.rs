//! `cgtrace record`: trace this host into a file.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::arguments::{FilterArgs, RecordingArgs, Tracing, VerdictArgs};
use super::live::Job;
use super::verdict::Summary;
use crate::input::Input;
use crate::kernel::Options;
use crate::line::{Line, Output};
use crate::recording::{Destination, Recording, default_name};

/// How often the line of progress is drawn anew.
const REDRAW: Duration = Duration::from_millis(250);

/// `cgtrace record`
#[derive(Debug, Args)]
pub(crate) struct Record {
    #[command(flatten)]
    pub tracing: Tracing,
    /// The file, which must not exist; without it, cgtrace-HOST-TIME.jsonl.zst
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub recording: RecordingArgs,
    #[command(flatten)]
    pub verdict: VerdictArgs,
    /// Trace while CMD runs and at most two seconds longer, until its findings are complete; then exit with its status
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<std::ffi::OsString>,
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Runs the command.
///
/// # Errors
/// When this host cannot be traced, or the file cannot be made.
pub fn run(args: Record) -> anyhow::Result<ExitCode> {
    let mut filter = args.filter.build()?;
    // Without these, what is recorded could not be judged.
    filter.context = true;
    let summary = args.verdict.summary.as_deref().map(Summary::open).transpose()?;
    let mut session = super::start(args.tracing.backend, &Options::default())?;
    let header = session.header();
    let path = args.output.unwrap_or_else(|| default_name(&header.host.printable(), header.clock));
    let destination = Destination {
        path: path.clone(),
        limits: args.recording.limits(),
        adopts_older: false,
        report: |error| say!("\nwarning: {error}"),
        confine: Box::new(|| {}),
    };
    let recording = args.recording.begin(destination)?;
    let written = recording.written().clone();
    let rotated = written.clone();
    session.begin_parts_when(move || rotated.wants_part());
    let output = ProgressLine::new(recording);
    let job = Job {
        filter,
        fail_on: args.verdict.fail_on,
        summary,
        duration: args.tracing.duration,
        command: args.command,
        command_keeps_stdout: true,
    };
    let status = super::runtime()?.block_on(job.run(session, Box::new(output)))?;
    let files = match (written.files(), args.recording.flight) {
        (1, None) => path.display().to_string(),
        (files, _) => format!("{files} files"),
    };
    say!("recorded: {files}, {} bytes", written.bytes());
    match written.error() {
        None if written.lost() == 0 => Ok(status),
        Some(_) | None => {
            say!("{}", super::recording_error(&written));
            Ok(ExitCode::from(2))
        }
    }
}

/// A recorder that draws a line of progress, where somebody looks.
struct ProgressLine {
    recording: Recording,
    draws: bool,
    drawn: Instant,
    events: u64,
    findings: u64,
    lost: u64,
}

impl ProgressLine {
    fn new(recording: Recording) -> Self {
        let draws = io::stderr().is_terminal();
        Self { recording, draws, drawn: Instant::now(), events: 0, findings: 0, lost: 0 }
    }

    fn draw(&mut self) {
        if self.draws && self.drawn.elapsed() >= REDRAW {
            self.drawn = Instant::now();
            let bytes = self.recording.written().bytes();
            let _ = write!(
                io::stderr(),
                "\r{} events and failed calls, {} findings, {bytes} bytes, {} lost\x1b[K",
                self.events,
                self.findings,
                self.lost
            );
        }
    }
}

impl Output for ProgressLine {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        match line {
            Line::Input(_, Input::Event(_) | Input::Attempt(_) | Input::Change(_) | Input::Stuck(_)) => {
                self.events += 1
            }
            Line::Input(_, Input::Lost(lost)) => self.lost = self.lost.saturating_add(lost.count),
            Line::Finding(finding) => self.findings += u64::from(finding.revision == 0),
            Line::End(..) if self.draws => _ = write!(io::stderr(), "\r\x1b[K"),
            Line::Input(_, Input::Process(_) | Input::Facts(_) | Input::Tick(_))
            | Line::Header(_)
            | Line::Known(..)
            | Line::Span(_)
            | Line::Passed(_)
            | Line::End(..) => {}
        }
        self.recording.line(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.draw();
        self.recording.flush()
    }
}
