//! `cgtrace why`: the story of one cgroup, container, process or line of a log.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde::Serialize;

use super::arguments::{FormArgs, WideArgs};
use super::replay::{Reading, STDIN, of_this_host, replay, sources};
use crate::hierarchy::Clock;
use crate::output::{ColorChoice, Palette};
use crate::why::text::Style;
use crate::why::{Answer, Match, Question, Search, Story, Subject};

/// `cgtrace why`
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// A cgroup's path, a container's id or name, a pod, pid:N, or a whole line of a log in quotes
    pub what: String,
    /// Trace files, directories of them, - for stdin, or running agents: http(s)://HOST:PORT or unix:/PATH. Without
    /// any, the agent of this host
    #[arg(value_name = "SOURCE")]
    pub sources: Vec<PathBuf>,
    #[command(flatten)]
    pub form: FormArgs,
    #[command(flatten)]
    pub wide: WideArgs,
}

/// Matches that are listed.
const LISTED: usize = 20;

/// One line of JSON.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum JsonLine<'a> {
    /// What is known.
    Answer(&'a Answer),
    /// One of several things that may be meant.
    Match {
        subject: &'a Subject,
        #[serde(skip_serializing_if = "Option::is_none")]
        container: Option<&'a crate::container::Container>,
        last: String,
    },
}

/// Runs the command.
///
/// # Errors
/// When the question names nothing, a source cannot be read as a trace, or stdout cannot be written.
pub fn run(args: &Why) -> anyhow::Result<ExitCode> {
    let json = args.form.is_json()?;
    let question = Question::parse(&args.what).map_err(|message| anyhow!(message))?;
    let spooled = Spooled::of(&args.sources)?;
    let mut sources = if args.sources.is_empty() { of_this_host()? } else { sources(&spooled.paths, false)? };
    let mut whole = true;

    let mut found: Vec<(usize, Match, Clock)> = Vec::new();
    let mut more = 0;
    for (number, source) in sources.iter_mut().enumerate() {
        let mut search = Search::new(&question);
        whole &= replay(source, &mut search, Reading::Once)?;
        more += search.left_out();
        let clock = source.clock();
        found.extend(search.best().into_iter().map(|found| (number, found, clock)));
    }
    let closest = found.iter().map(|(_, found, _)| found.rank()).min();
    found.retain(|(_, found, _)| Some(found.rank()) == closest);
    let mut subjects: Vec<&Subject> = found.iter().map(|(_, found, _)| &found.subject).collect();
    subjects.sort();
    subjects.dedup();

    let stdout = io::stdout();
    let mut out = io::BufWriter::new(stdout.lock());
    let style = Style {
        palette: Palette::new(ColorChoice::of(&stdout)),
        width: stdout.is_terminal().then(super::terminal_width).flatten(),
        wide: args.wide.wide,
    };
    match subjects.as_slice() {
        [] => {
            for source in &sources {
                match source.remembers_since() {
                    Some(since) => say!("nothing known of it: the agent's memory reaches back to {since} UTC"),
                    None => say!("nothing is known of it in {}", source.names()),
                }
            }
            return Ok(ExitCode::from(if whole { 1 } else { 2 }));
        }
        [_] => {
            for (told, (number, found, _)) in found.iter().enumerate() {
                let mut story = Story::new(found, question.errno());
                replay(&mut sources[*number], &mut story, Reading::Again)?;
                let Some(answer) = story.answer() else { continue };
                if json {
                    line(&mut out, &JsonLine::Answer(&answer))?;
                } else {
                    if told > 0 {
                        writeln!(out)?;
                    }
                    style.answer(&mut out, &answer)?;
                }
            }
        }
        several => {
            let count = several.len() as u64 + more;
            say!("{count} things may be meant; ask for one of them");
            let (listed, rest) = found.split_at(found.len().min(LISTED));
            if json {
                for (_, found, clock) in &found {
                    let container = found.container.as_deref();
                    let last = clock.rfc3339(found.last);
                    line(&mut out, &JsonLine::Match { subject: &found.subject, container, last })?;
                }
            } else {
                let listed: Vec<(Match, Clock)> =
                    listed.iter().map(|(_, found, clock)| (found.clone(), *clock)).collect();
                style.matches(&mut out, &listed, rest.len() as u64 + more)?;
            }
        }
    }
    out.flush()?;
    Ok(ExitCode::from(if whole { 0 } else { 2 }))
}

fn line(out: &mut impl Write, line: &JsonLine<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    writeln!(out)
}

/// Sources that can be read twice: what comes from stdin is written to a file first.
pub(super) struct Spooled {
    pub paths: Vec<PathBuf>,
    _file: Option<tempfile::NamedTempFile>,
}

impl Spooled {
    pub fn of(given: &[PathBuf]) -> anyhow::Result<Self> {
        let is_stdin = |path: &&PathBuf| path.as_path() == Path::new(STDIN);
        match given.iter().filter(is_stdin).count() {
            0 => return Ok(Self { paths: given.to_vec(), _file: None }),
            1 => {}
            _ => bail!("stdin can be read only once\nhint: give - one time"),
        }
        let mut file = tempfile::NamedTempFile::new().context("failed to make a file for what comes from stdin")?;
        io::copy(&mut io::stdin().lock(), &mut file).context("failed to read stdin")?;
        file.flush().context("failed to write what comes from stdin to a file")?;
        let path = |given: &PathBuf| if is_stdin(&given) { file.path().to_owned() } else { given.clone() };
        Ok(Self { paths: given.iter().map(path).collect(), _file: Some(file) })
    }
}
