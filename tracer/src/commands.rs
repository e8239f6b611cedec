//! The commands, one module each: thin functions between what was typed and what does the work.

pub mod demo;
pub mod doctor;
pub mod explain;
pub mod export;
pub mod live;
pub mod record;
mod replay;
pub mod report;
pub mod serve;
pub mod tree;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;

use crate::cli::{FailOn, FormArgs, WideArgs};
use crate::findings::Finding;
use crate::kernel::{BackendChoice, Options, Plan, Support, Tracefs};
use crate::output::{ColorChoice, Json, Output, Palette, Text};
use crate::pipeline::Session;
use crate::reader::Readers;
use crate::recording::{Place, Recording, Written, record, record_around};

/// Attaches to this kernel and says on stderr what works less well than it could.
fn start(backend: BackendChoice, options: &Options) -> anyhow::Result<Session> {
    // Before there is anything that they should not have.
    let readers = Readers::start()?;
    let tracefs = Tracefs::ensure();
    let support = Support::survey(&tracefs);
    let plan = Plan::decide(&support, backend)?;
    for note in &plan.notes {
        say!("note: {note}");
    }
    let session = Session::start(tracefs, &plan, options, readers)?;
    for probe in session.probes().iter().filter(|probe| !probe.attached) {
        let reason = probe.reason.as_deref().unwrap_or("unknown");
        say!("note: {} is not attached: {reason}", probe.name);
    }
    Ok(session)
}

/// The async half of a command: everything in one thread, because the kernel side knows us by it.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start the event loop")
}

/// Results as text or JSON, on stdout or wherever `to` leads.
fn results<'a>(form: Form, to: Option<std::fs::File>) -> Box<dyn Output + 'a> {
    let stdout = io::stdout();
    let (out, palette, width): (Box<dyn Write>, _, _) = match to {
        Some(file) => (Box::new(file), Palette::new(ColorChoice::Never), None),
        None => {
            let width = stdout.is_terminal().then(terminal_width).flatten();
            (Box::new(io::stdout()), Palette::new(ColorChoice::of(&stdout)), width)
        }
    };
    let out = io::BufWriter::with_capacity(64 << 10, out);
    match form {
        Form::Json => Box::new(Json::new(out)),
        Form::Text { wide } => Box::new(Text::new(out, palette, width).wide(wide)),
    }
}

/// What results look like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text { wide: bool },
    Json,
}

impl Form {
    fn of(form: &FormArgs, wide: &WideArgs) -> anyhow::Result<Self> {
        Ok(if form.is_json()? { Self::Json } else { Self::Text { wide: wide.wide } })
    }
}

/// Columns of the terminal that is stdout.
fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// Records all, or with `flight` only around findings: those in `on`, or any if there is none in it.
fn begin_recording(place: Place, flight: Option<Duration>, on: &[FailOn]) -> anyhow::Result<Recording> {
    let Some(window) = flight else { return record(place) };
    let on = on.to_vec();
    let matters = move |finding: &Finding| on.is_empty() || on.iter().any(|wanted| wanted.is_met_by(finding));
    record_around(place, window, Box::new(matters))
}

/// What was lost of what was to be recorded, and why.
fn recording_error(written: &Written) -> String {
    let why = written.error().unwrap_or_else(|| "writing could not keep up".to_owned());
    match written.lost() {
        0 => format!("error: no new trace file could be made, and the old one went on: {why}"),
        lost => format!("error: {lost} lines were not recorded: {why}"),
    }
}

/// One line on where we are and what exists.
fn begin_line(session: &Session) -> String {
    let header = session.header();
    let (cgroups, containers) = session.existing();
    let s = |count: usize, noun: &str, plural: &str| format!("{count} {}", if count == 1 { noun } else { plural });
    format!(
        "tracing {}: Linux {} {}, {} cgroup layout, {} in {}, {} of them of containers; backend {}; times are UTC",
        header.host,
        header.kernel,
        header.arch,
        header.setup,
        s(cgroups, "cgroup", "cgroups"),
        s(header.hierarchies.len(), "hierarchy", "hierarchies"),
        if containers == 0 { "none".to_owned() } else { containers.to_string() },
        header.backend,
    )
}
