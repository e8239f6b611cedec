//! The commands, one module each: its arguments, and a thin function between them and what does the work.

mod arguments;
pub mod check;
pub mod completions;
pub mod demo;
pub mod diff;
pub mod doctor;
pub mod explain;
pub mod export;
pub mod issue;
pub mod live;
pub mod record;
mod replay;
pub mod report;
pub mod serve;
pub mod tree;
mod verdict;
pub mod why;

use std::io::{self, IsTerminal, Write};

use anyhow::Context;

use arguments::{FormArgs, WideArgs};

use crate::cgroupfs;
use crate::filter::{Class, Filter};
use crate::kernel::{BackendChoice, Options, Plan, Support, Tracefs};
use crate::line::Output;
use crate::memory;
use crate::output::{ColorChoice, Json, Palette, Text};
use crate::phrases::count;
use crate::process;
use crate::reader::Readers;
use crate::recording::Written;
use crate::session::Session;

/// Attaches to this kernel and says on stderr what works less well than it could.
fn start(backend: BackendChoice, options: &Options) -> anyhow::Result<Session> {
    memory::keep_little();
    if !know_cgroup_namespace() {
        say!(
            "warning: this process is in a cgroup namespace, and the host's /sys/fs/cgroup is not mounted here: \
             cgroups of others may be shown by wrong paths\n\
             hint: mount the host's /sys/fs/cgroup read-only at the same place"
        );
    }
    // Before there is anything that they should not have.
    let readers = Readers::start()?;
    let tracefs = Tracefs::ensure();
    let support = Support::survey(&tracefs);
    let plan = Plan::decide(&support, backend)?;
    for note in &plan.notes {
        say!("note: {note}");
    }
    let session = Session::start(tracefs, &plan, options, readers)?;
    if let Some(why) = session.kernel().fell_back() {
        say!("note: {}", instead_of_trampolines(why));
    }
    for probe in session.probes().iter().filter(|probe| !probe.attached) {
        let reason = probe.reason.as_deref().unwrap_or("unknown");
        say!("note: {} is not attached: {reason}", probe.name);
    }
    Ok(session)
}

/// Finds out from where on this process is told paths of cgroups: in a container, not from the root of the host's.
/// Returns whether that is known.
fn know_cgroup_namespace() -> bool {
    let (own, whole) = cgroupfs::own_namespace();
    process::know_cgroup_namespace(own);
    whole
}

fn instead_of_trampolines(why: &str) -> String {
    format!("a trampoline cannot be attached ({why}): the tracepoint on all system calls' exit is used instead")
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
        Form::Text { wide, changes } => Box::new(Text::new(out, palette, width).wide(wide).changes(changes)),
    }
}

/// What results look like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text { wide: bool, changes: bool },
    Json,
}

impl Form {
    fn of(form: &FormArgs, wide: &WideArgs) -> anyhow::Result<Self> {
        Ok(if form.is_json()? { Self::Json } else { Self::Text { wide: wide.wide, changes: false } })
    }

    /// The same with what text tells only if it is asked for.
    fn with(self, filter: &Filter) -> Self {
        match self {
            Self::Text { wide, .. } => Self::Text { wide, changes: filter.only.contains(&Class::Changes) },
            Self::Json => self,
        }
    }
}

/// Columns of the terminal that is stdout.
fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// What was lost of what was to be recorded, and why.
fn recording_error(written: &Written) -> String {
    let why = written.error().unwrap_or_else(|| "writing could not keep up".to_owned());
    match written.lost() {
        0 => format!("error: no new trace file could be made, recording went on in the old file: {why}"),
        lost => format!("error: {lost} lines were not recorded: {why}"),
    }
}

/// One line on where we are and what exists.
fn begin_line(session: &Session) -> String {
    let header = session.header();
    let (cgroups, containers) = session.existing();
    format!(
        "tracing {}: Linux {} {}, {} cgroup layout, {} in {}, {} of them belong to containers; \
         backend {}; times are UTC",
        header.host,
        header.kernel,
        header.arch,
        header.setup,
        count(cgroups as u64, "cgroup", "cgroups"),
        count(header.hierarchies.len() as u64, "hierarchy", "hierarchies"),
        if containers == 0 { "none".to_owned() } else { containers.to_string() },
        header.backend,
    )
}

/// Whoever read our results has had enough: that is no error.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(closed))
}
