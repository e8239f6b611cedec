//! `cgtrace issue`: a finding as a report that a maintainer can use.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::arguments::FormArgs;
use super::replay::{Reading, replay, sources};
use super::why::Spooled;
use crate::findings::Finding;
use crate::issue::{Masks, Report, Scene, Script, Secret};
use crate::line::{Line, Output};
use crate::why::{Match, Story, Subject};

/// `cgtrace issue`
#[derive(Debug, Args)]
pub(crate) struct Issue {
    /// The finding's id, or how it begins
    #[arg(value_name = "FINDING")]
    pub finding: String,
    /// Trace files, directories of them, or - for stdin
    #[arg(required = true, value_name = "SOURCE")]
    pub sources: Vec<PathBuf>,
    /// Do not mask these
    #[arg(long, value_name = "WHAT", value_enum, value_delimiter = ',')]
    pub show: Vec<Secret>,
    /// Print only the script that makes the same calls
    #[arg(long)]
    pub script: bool,
    #[command(flatten)]
    pub form: FormArgs,
}

/// One line of JSON.
#[derive(Serialize)]
#[serde(tag = "type", rename = "issue")]
struct JsonLine<'a> {
    #[serde(flatten)]
    report: &'a Report,
}

/// The findings whose ids begin so, as they were told last.
struct Wanted<'a> {
    begins: &'a str,
    found: BTreeMap<String, Finding>,
}

/// Findings that are listed.
const LISTED: usize = 20;

impl Output for Wanted<'_> {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        match line {
            Line::Finding(finding) if finding.id.starts_with(self.begins) => {
                let has_room = self.found.len() <= LISTED || self.found.contains_key(&finding.id);
                if has_room {
                    self.found.insert(finding.id.clone(), (*finding).clone());
                }
            }
            Line::Header(_)
            | Line::Input(..)
            | Line::Known(..)
            | Line::Span(_)
            | Line::Finding(_)
            | Line::Passed(_)
            | Line::End(..) => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs the command.
///
/// # Errors
/// When a source cannot be read as a trace, or stdout cannot be written.
pub fn run(args: &Issue) -> anyhow::Result<ExitCode> {
    let json = args.form.is_json()?;
    let spooled = Spooled::of(&args.sources)?;
    let mut sources = sources(&spooled.paths, false)?;
    let mut whole = true;
    let mut found: Vec<(usize, Finding)> = Vec::new();
    for (number, source) in sources.iter_mut().enumerate() {
        let mut wanted = Wanted { begins: &args.finding, found: BTreeMap::new() };
        whole &= replay(source, &mut wanted, Reading::Once)?;
        found.extend(wanted.found.into_values().map(|finding| (number, finding)));
    }
    let (number, finding) = match found.as_slice() {
        [] => {
            say!("there is no finding whose id begins with {:?}", args.finding);
            say!("hint: `cgtrace report --benign` lists them, each with its id");
            return Ok(ExitCode::from(if whole { 1 } else { 2 }));
        }
        [(number, finding)] => (*number, finding),
        several => {
            say!("several findings have an id that begins so; give more of it");
            for (_, finding) in several.iter().take(LISTED) {
                say!("  {}  {}: {}", finding.id, finding.kind.as_str(), finding.summary);
            }
            return Ok(ExitCode::from(2));
        }
    };
    let source = &mut sources[number];
    let cgroup = &finding.cgroup;
    let subject = match &finding.container {
        Some(container) => Subject::Container(container.id.clone()),
        None => Subject::Cgroup(cgroup.path.clone()),
    };
    let mut about = Match::of(subject);
    about.ids.extend(cgroup.id.map(|id| (cgroup.hierarchy, id)));
    let mut story = Story::new(&about, None);
    replay(source, &mut story, Reading::Again)?;
    let mut scene = Scene::new(finding);
    replay(source, &mut scene, Reading::Again)?;
    let answer = story.answer();
    let masks = Masks::new(&args.show, scene.header(), finding, answer.as_ref());
    let script = Script::of(&scene, &masks);
    let report = Report::new(finding, scene.header(), answer.as_ref(), &script, &masks);

    let mut out = io::BufWriter::new(io::stdout().lock());
    match (&script, args.script) {
        _ if json => {
            serde_json::to_writer(&mut out, &JsonLine { report: &report })?;
            writeln!(out)?;
        }
        (Ok(script), true) => out.write_all(script.text().as_bytes())?,
        (Err(why), true) => {
            say!("there is no script: {why}");
            return Ok(ExitCode::from(1));
        }
        (_, false) => out.write_all(report.markdown.as_bytes())?,
    }
    out.flush()?;
    Ok(ExitCode::from(if whole { 0 } else { 2 }))
}
