//! `cgtrace live`: trace this host, print what happens.

use std::ffi::OsString;
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::arguments::{FailOn, FilterArgs, FormArgs, Tracing, WideArgs};
use super::verdict::Verdict;
use crate::filter::{Filter, Filtered};
use crate::input::Pid;
use crate::kernel::Options;
use crate::line::Output;
use crate::session::Session;
use crate::stream::Stream;

/// After a signal the traced command has this long to end.
const GRACE: Duration = Duration::from_secs(2);

/// `cgtrace live`
#[derive(Debug, Args)]
pub(crate) struct Live {
    #[command(flatten)]
    pub tracing: Tracing,
    #[command(flatten)]
    pub form: FormArgs,
    #[command(flatten)]
    pub wide: WideArgs,
    /// Write results to FILE instead of stdout; a CMD then keeps its stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Exit with status 1 if a finding of this kind is made; `fault` stands for any finding of severity fault
    #[arg(long, value_name = "KIND", value_enum, value_delimiter = ',')]
    pub fail_on: Vec<FailOn>,
    /// Trace while CMD runs and at most two seconds longer, until its findings are complete; then exit with its status
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Runs the command.
///
/// # Errors
/// When this host cannot be traced, or the results cannot be written.
pub fn run(args: Live) -> anyhow::Result<ExitCode> {
    let filter = args.filter.build()?;
    let form = super::Form::of(&args.form, &args.wide)?.with(&filter);
    let to = args
        .output
        .as_deref()
        .map(|path| File::create(path).with_context(|| format!("failed to create {}", path.display())));
    let to = to.transpose()?;
    let own_stdout = to.is_some();
    let output = super::results(form, to);
    let session = super::start(args.tracing.backend, &Options::default())?;
    let live = Job {
        filter,
        fail_on: args.fail_on,
        duration: args.tracing.duration,
        command: args.command,
        command_keeps_stdout: own_stdout,
    };
    super::runtime()?.block_on(live.run(session, output))
}

/// What is to be traced, and how it ends.
pub(super) struct Job {
    pub filter: Filter,
    pub fail_on: Vec<FailOn>,
    pub duration: Option<Duration>,
    pub command: Vec<OsString>,
    pub command_keeps_stdout: bool,
}

impl Job {
    /// Traces until a signal, the time or the command's end.
    pub async fn run(self, mut session: Session, output: Box<dyn Output + '_>) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::new()?;
        let mut child = self.spawn()?;
        if child.is_none() && std::io::stderr().is_terminal() {
            say!("{}; Ctrl-C ends", super::begin_line(&session));
        } else {
            say!("{}", super::begin_line(&session));
        }
        session.set_command(child.as_ref().and_then(Child::id).map(Pid));

        let mut verdict = Verdict::new(&self.fail_on);
        let mut tell = |finding: &crate::findings::Finding| verdict.take(finding);
        let mut filtered = Filtered::new(&self.filter, output, &mut tell);
        let mut ended = None;
        let traced = async {
            let stream = Stream::begin(session.header(), &mut filtered)?;
            session.run(stream, stop(&mut child, &mut signals, self.duration, &mut ended), &mut |_| {}).await
        };
        let traced = traced.await;
        drop(filtered);
        match traced {
            Ok(counts) => say!("ended: {}", counts.summary()),
            Err(error) if super::is_closed_pipe(&error) => {}
            Err(error) => return Err(error.context("failed to write the results")),
        }
        if verdict.is_met() {
            return Ok(ExitCode::from(1));
        }
        match (child, ended) {
            (None, _) => Ok(ExitCode::SUCCESS),
            (Some(_), Some(End::Command(status))) => Ok(exit_code(status)),
            (Some(_), Some(End::Signal(number))) => Ok(ExitCode::from(128 + number)),
            // The time is over, or nobody reads any more: the command goes on, and its status is still ours.
            (Some(mut child), None) => Ok(exit_code(child.wait().await.context("failed to wait for the command")?)),
        }
    }

    fn spawn(&self) -> anyhow::Result<Option<Child>> {
        let Some((program, arguments)) = self.command.split_first() else { return Ok(None) };
        let mut command = Command::new(program);
        command.args(arguments);
        if !self.command_keeps_stdout {
            let stderr = std::io::stderr().as_fd().try_clone_to_owned().context("failed to duplicate stderr")?;
            command.stdout(Stdio::from(stderr));
        }
        let child = command.spawn().with_context(|| format!("failed to run {}", program.display()))?;
        Ok(Some(child))
    }
}

/// Why tracing stopped, as far as it matters for the exit status.
enum End {
    Command(ExitStatus),
    Signal(u8),
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("failed to listen for signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn received(&mut self) -> rustix::process::Signal {
        tokio::select! {
            _ = self.interrupt.recv() => rustix::process::Signal::INT,
            _ = self.terminate.recv() => rustix::process::Signal::TERM,
        }
    }
}

/// Ready when tracing is to stop: a signal, the time, or the command's end.
async fn stop(child: &mut Option<Child>, signals: &mut Signals, duration: Option<Duration>, ended: &mut Option<End>) {
    let time_over = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    let command_over = async {
        match child {
            Some(child) => child.wait().await,
            None => std::future::pending().await,
        }
    };
    let received = tokio::select! {
        status = command_over => {
            *ended = status.ok().map(End::Command);
            return;
        }
        () = time_over => return,
        received = signals.received() => received,
    };
    let Some(child) = child else { return };
    // From a terminal the command has had the signal too; a second one does no harm.
    if let Some(pid) = child.id().and_then(|pid| rustix::process::Pid::from_raw(pid as i32)) {
        let _ = rustix::process::kill_process(pid, received);
    }
    let last = tokio::time::timeout(GRACE, child.wait()).await;
    *ended = Some(match last {
        Ok(Ok(status)) => End::Command(status),
        Ok(Err(_)) | Err(_) => End::Signal(received.as_raw() as u8),
    });
}

/// As a shell gives it: 128 and the signal for a command that was killed.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(2);
    ExitCode::from(code as u8)
}
