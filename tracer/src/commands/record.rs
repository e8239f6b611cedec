//! `cgtrace record`: trace this host into a file.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::live::Job;
use crate::cli::Record;
use crate::findings::Finding;
use crate::hierarchy::Header;
use crate::input::{BootTime, Input, Seq};
use crate::output::{Counts, Output};
use crate::recording::{Flight, Limits, Recorder, Written, default_name};

/// How often the line of progress is drawn anew.
const REDRAW: Duration = Duration::from_millis(250);

/// Runs the command.
///
/// # Errors
/// When this host cannot be traced, or the file cannot be made.
pub fn run(args: Record) -> anyhow::Result<ExitCode> {
    let mut filter = args.filter.build()?;
    // Without these, what is recorded could not be judged.
    filter.context = true;
    let session = super::start(args.tracing.backend)?;
    let header = session.header();
    let path = args.output.unwrap_or_else(|| default_name(&header.host.printable(), header.clock));
    let limits = Limits { size: args.rotate_size, age: args.rotate_every, keep: args.keep, total: args.max_total };
    let warn = |error: &str| eprintln!("\nwarning: {error}");
    let sink: Box<dyn Sink> = match args.flight {
        Some(window) => {
            let on = args.flight_on;
            let matters = move |finding: &Finding| on.is_empty() || on.iter().any(|wanted| wanted.is_met_by(finding));
            Box::new(Flight::new(path.clone(), window, Box::new(matters), warn))
        }
        None => Box::new(Recorder::create(path.clone(), limits, warn)?),
    };
    let recorder = Rc::new(RefCell::new(sink));
    let output = Progress::new(recorder.clone());
    let job = Job {
        filter,
        fail_on: args.fail_on,
        duration: args.tracing.duration,
        command: args.command,
        command_keeps_stdout: true,
    };
    let status = super::runtime()?.block_on(job.run(session, Box::new(output)))?;
    let recorder = recorder.borrow();
    let written = recorder.written();
    let files = match (written.files, args.flight) {
        (1, None) => path.display().to_string(),
        (files, _) => format!("{files} files"),
    };
    eprintln!("recorded: {files}, {} bytes", written.bytes);
    match &written.error {
        None => Ok(status),
        Some(error) => {
            eprintln!("error: {} lines were not recorded: {error}", written.lost_lines);
            Ok(ExitCode::from(2))
        }
    }
}

/// An output that says what it has written.
trait Sink: Output {
    fn written(&self) -> &Written;
}

impl Sink for Recorder {
    fn written(&self) -> &Written {
        Self::written(self)
    }
}

impl Sink for Flight {
    fn written(&self) -> &Written {
        Self::written(self)
    }
}

/// A recorder that draws a line of progress, where somebody looks.
struct Progress {
    recorder: Rc<RefCell<Box<dyn Sink>>>,
    draws: bool,
    drawn: Instant,
    events: u64,
    findings: u64,
    lost: u64,
}

impl Progress {
    fn new(recorder: Rc<RefCell<Box<dyn Sink>>>) -> Self {
        let draws = io::stderr().is_terminal();
        Self { recorder, draws, drawn: Instant::now(), events: 0, findings: 0, lost: 0 }
    }

    fn draw(&mut self) {
        if self.draws && self.drawn.elapsed() >= REDRAW {
            self.drawn = Instant::now();
            let bytes = self.recorder.borrow().written().bytes;
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

impl Output for Progress {
    fn header(&mut self, header: &Header) -> io::Result<()> {
        self.recorder.borrow_mut().header(header)
    }

    fn input(&mut self, seq: Seq, input: &Input) -> io::Result<()> {
        match input {
            Input::Event(_) | Input::Attempt(_) => self.events += 1,
            Input::Lost(lost) => self.lost += lost.count,
            Input::Process(_) | Input::Facts(_) | Input::Tick(_) => {}
        }
        self.recorder.borrow_mut().input(seq, input)
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self.findings += u64::from(finding.revision == 0);
        self.recorder.borrow_mut().finding(finding)
    }

    fn end(&mut self, at: BootTime, counts: &Counts) -> io::Result<()> {
        if self.draws {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
        self.recorder.borrow_mut().end(at, counts)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.draw();
        self.recorder.borrow_mut().flush()
    }

    fn wants_new_part(&self) -> bool {
        self.recorder.borrow().wants_new_part()
    }

    fn new_part(&mut self, header: &Header) -> io::Result<()> {
        self.recorder.borrow_mut().new_part(header)
    }
}
