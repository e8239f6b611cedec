//! `cgtrace check`: one line and an exit status, for programs that watch hosts.

mod result;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use super::arguments::{FailOn, parse_duration};
use super::replay::{Reading, Source, replay, sources};
use crate::client::{Agent, FetchError};
use crate::input::BootTime;
use crate::report::Report;
use result::{Protocol, Seen, Told};

/// `cgtrace check`
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// A running agent: http(s)://HOST:PORT or unix:/PATH; or a trace file, a directory of them, or - for stdin.
    /// Without it, the agent of this host
    #[arg(value_name = "SOURCE")]
    pub source: Option<PathBuf>,
    /// Look at findings of the last TIME only, such as 15m: before now, or before the end of a trace file. Without
    /// this: 1h of an agent, all of a trace file
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub last: Option<Duration>,
    /// It is a problem if there is a finding of this kind; `fault` stands for any finding of severity fault
    #[arg(long, value_name = "KIND", value_enum, value_delimiter = ',', default_value = "fault")]
    pub fail_on: Vec<FailOn>,
    /// Use the protocol of Nagios and Icinga: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. Without this, that of
    /// node-problem-detector: 0 no problem, 1 a problem, 2 unknown
    #[arg(long)]
    pub nagios: bool,
    /// The result is unknown if it takes longer than this
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "4s")]
    pub timeout: Duration,
}

/// The findings of an agent that are looked at unless it is said otherwise.
const LAST: Duration = Duration::from_secs(60 * 60);
/// An agent keeps so many findings at most. If it tells of as many, there may have been more.
const MOST: usize = 1_000;
/// Bytes of what an agent tells of them: it keeps 8 MiB, and text takes more room than what is kept.
const LONGEST: u64 = 64 << 20;

/// Runs the command. What goes wrong is a result too: it is unknown whether there is a problem.
///
/// # Errors
/// None.
pub fn run(args: Check) -> anyhow::Result<ExitCode> {
    let protocol = if args.nagios { Protocol::Nagios } else { Protocol::NodeProblem };
    let (timeout, fail_on) = (args.timeout, args.fail_on.clone());
    let (tell, told) = mpsc::channel();
    // A name that is looked up, or a file system, can hold it up for longer than the caller waits.
    let look = move || drop(tell.send(look(&args)));
    let started = std::thread::Builder::new().spawn(look).context("failed to start a thread");
    let outcome = match started.map(|_| told.recv_timeout(timeout)) {
        Ok(Ok(Ok(seen))) => protocol.judge(&seen, &fail_on),
        Ok(Ok(Err(error))) | Err(error) => protocol.unknown(&format!("{error:#}")),
        Ok(Err(RecvTimeoutError::Timeout)) => {
            let time = written(timeout);
            protocol.unknown(&format!("it takes longer than {time}\nhint: --timeout gives it more time"))
        }
        Ok(Err(RecvTimeoutError::Disconnected)) => protocol.unknown("the thread that looks has died"),
    };
    // If nobody reads the line, there is still the status.
    let _ = writeln!(io::stdout(), "{}", outcome.line);
    Ok(ExitCode::from(outcome.status))
}

/// The exit status when the arguments cannot be read: unknown.
pub(crate) fn status_of_mistyped(arguments: &[std::ffi::OsString]) -> i32 {
    let is_check = arguments.get(1).is_some_and(|command| command == "check");
    if is_check && arguments.iter().any(|argument| argument == "--nagios") { 3 } else { 2 }
}

fn look(args: &Check) -> anyhow::Result<Seen> {
    let Some(source) = &args.source else { return of_this_host(args.last.unwrap_or(LAST)) };
    match Agent::named(source.as_os_str()) {
        None => of_trace(source, args.last),
        Some(agent) => {
            let agent = agent?;
            if agent.is_narrowed() {
                bail!("a check asks an agent for findings, not for a part of its trace\nhint: {agent}");
            }
            Ok(of_agent(&agent, args.last.unwrap_or(LAST))?)
        }
    }
}

fn of_this_host(last: Duration) -> anyhow::Result<Seen> {
    let mut tried = Vec::new();
    for agent in Agent::of_this_host() {
        match of_agent(&agent, last) {
            Err(FetchError::NoAgent(why)) => tried.push(format!("{why:#}")),
            seen => return Ok(seen?),
        }
    }
    bail!("no agent of this host answers: {}", tried.join("; "))
}

/// What an agent tells of the last time.
fn of_agent(agent: &Agent, last: Duration) -> Result<Seen, FetchError> {
    let mut findings = Vec::new();
    agent.ask(&format!("/findings?since={}ms", last.as_millis()), LONGEST, &mut findings)?;
    let findings: Vec<Told> = serde_json::from_slice(&findings)
        .with_context(|| format!("{agent} does not answer as an agent"))
        .map_err(FetchError::NoAnswer)?;
    // What it has told is so, whether or not it is well.
    let doubt = match agent.ask("/readyz", LONGEST, &mut io::sink()) {
        Ok(()) => None,
        Err(FetchError::NoAgent(error) | FetchError::NoAnswer(error)) => Some(format!("{error:#}")),
    };
    let is_cut = findings.len() >= MOST;
    Ok(Seen { findings, window: in_the_last(last), source: format!("the agent at {agent}"), is_cut, doubt })
}

/// What a trace tells when it is replayed.
fn of_trace(path: &Path, last: Option<Duration>) -> anyhow::Result<Seen> {
    let (mut findings, mut is_cut, mut whole) = (Vec::new(), false, true);
    let mut sources = sources(&[path.to_path_buf()], false)?;
    for source in &mut sources {
        let mut report = Report::new(false);
        whole &= replay(source, &mut report, Reading::Once)?;
        let end = report.span.map_or(BootTime(0), |(_, last)| last);
        let is_late = |at: BootTime| last.is_none_or(|last| u128::from(end.0.saturating_sub(at.0)) <= last.as_nanos());
        let kept = report.findings.worst_first().into_iter().filter(|finding| is_late(finding.at));
        findings.extend(kept.map(|finding| Told::new(finding, source.clock())));
        is_cut |= report.findings.left_out() > 0;
    }
    let doubt = (!whole).then(|| "not all of the trace can be read".to_owned());
    let source = sources.iter().map(Source::names).collect::<Vec<_>>().join(", ");
    Ok(Seen { findings, window: last.map(in_the_last).unwrap_or_default(), source, is_cut, doubt })
}

fn in_the_last(time: Duration) -> String {
    format!("in the last {}", written(time))
}

/// `1h 30m`
fn written(time: Duration) -> String {
    format!("{:#}", jiff::SignedDuration::try_from(time).unwrap_or_default())
}
