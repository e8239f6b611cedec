//! `cgtrace demo`: play real faults, traced, and show what was found.

use std::io::{self, Write};
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use globset::GlobBuilder;
use tokio::process::Command;

use super::Form;
use super::arguments::{FormArgs, WideArgs};
use crate::demo::{self, Scenario};
use crate::filter::{Filter, Filtered};
use crate::findings::Finding;
use crate::input::Pid;
use crate::kernel::{BackendChoice, Options};
use crate::output::{ColorChoice, Palette};
use crate::stream::Stream;

/// `cgtrace demo`
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// What to play; without it, everything that can be played here
    pub scenario: Option<Scenario>,
    /// How to watch failing calls
    #[arg(long, value_enum, default_value_t)]
    pub backend: BackendChoice,
    #[command(flatten)]
    pub form: FormArgs,
    #[command(flatten)]
    pub wide: WideArgs,
    /// Play untraced, in a cgroup of this name: the traced half of the demo
    #[arg(long, value_name = "SCRATCH", hide = true)]
    pub play: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// When this host cannot be traced, a scenario cannot be played, or it did not give what it should.
pub fn run(args: &Demo) -> anyhow::Result<ExitCode> {
    if let (Some(scratch), Some(scenario)) = (&args.play, args.scenario) {
        return Ok(demo::play(scenario, scratch));
    }
    let form = Form::of(&args.form, &args.wide)?;
    let scenarios: Vec<Scenario> = match args.scenario {
        Some(scenario) => vec![scenario],
        None => Scenario::value_variants().to_vec(),
    };
    for scenario in scenarios {
        match scenario.needs().filter(|program| !demo::is_installed(program)) {
            Some(program) if args.scenario.is_some() => {
                bail!("{program} is not installed\nhint: apt-get install {program}")
            }
            Some(program) => say!("note: {} is skipped: {program} is not installed", scenario.as_str()),
            None => play(scenario, form, args.backend)?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn play(scenario: Scenario, form: Form, backend: BackendChoice) -> anyhow::Result<()> {
    let palette = Palette::new(ColorChoice::of(&io::stdout()));
    if form != Form::Json {
        let story = textwrap::fill(&format!("{}: {}", scenario.as_str(), scenario.story()), 100);
        writeln!(io::stdout(), "{}\n", palette.heading(story))?;
    }
    let mut session = super::start(backend, &Options::default())?;
    let notes = session.notes().to_vec();
    let scratch = format!("cgtrace-demo-{}", std::process::id());
    let glob = GlobBuilder::new(&format!("/{scratch}*")).build().context("failed to make a pattern")?;
    let filter = Filter { cgroup: Some(glob.compile_matcher()), benign: true, ..Filter::default() };

    let mut findings: Vec<Finding> = Vec::new();
    let mut tell = |finding: &Finding| findings.push(finding.clone());
    let mut filtered = Filtered::new(&filter, super::results(form, None), &mut tell);
    let mut played: Option<ExitStatus> = None;
    super::runtime()?.block_on(async {
        let mut command = Command::new(std::env::current_exe().context("failed to find this program")?);
        command.args(["demo", scenario.as_str(), "--play", &scratch]).kill_on_drop(false);
        let mut stage = command.spawn().context("failed to start the scenario")?;
        session.set_command(stage.id().map(Pid));
        let stream = Stream::begin(session.header(), &mut filtered)?;
        session.run(stream, async { played = stage.wait().await.ok() }, &mut |_| {}).await
    })?;
    drop(filtered);
    if !played.is_some_and(|status| status.success()) {
        bail!("{} could not be played", scenario.as_str());
    }
    check(scenario, &findings, &notes)?;
    if form != Form::Json {
        writeln!(io::stdout())?;
    }
    Ok(())
}

/// Whether the play gave what it should: exactly one finding, of the right kind. `notes`: what works less well on this
/// host.
fn check(scenario: Scenario, findings: &[Finding], notes: &[String]) -> anyhow::Result<()> {
    let expected = scenario.expected();
    let stories = findings.iter().filter(|finding| finding.revision == 0).count();
    let is_right = |finding: &Finding| {
        (finding.kind.as_str(), finding.cause.as_str()) == (expected.kind, expected.cause)
            && expected.severity.is_none_or(|severity| finding.severity == severity)
    };
    if stories == 1 && findings.last().is_some_and(is_right) {
        return Ok(());
    }
    let found: Vec<String> = findings
        .iter()
        .map(|finding| format!("{} {} {}", finding.severity.as_str(), finding.kind.as_str(), finding.cause.as_str()))
        .collect();
    let hint = if notes.is_empty() {
        String::new()
    } else {
        format!("\nhint: less is seen on this host, see `cgtrace doctor`: {}", notes.join("; "))
    };
    bail!(
        "{} should give one finding, {} {}, but gave: {}{hint}",
        scenario.as_str(),
        expected.kind,
        expected.cause,
        if found.is_empty() { "none".to_owned() } else { found.join("; ") },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_play_that_fails_where_less_is_seen_says_what_is_missing() {
        let told = |notes: &[String]| check(Scenario::Duplicate, &[], notes).expect_err("no finding").to_string();
        assert_eq!(told(&[]), "duplicate should give one finding, duplicate-teardown removed-by-other, but gave: none");
        let note = "the kernel has no BTF: exit statuses are not known: findings stay undetermined".to_owned();
        assert!(told(std::slice::from_ref(&note)).ends_with(&format!("see `cgtrace doctor`: {note}")));
    }
}
