//! What several commands take.

mod kinds;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use globset::GlobBuilder;

pub(crate) use kinds::FailOn;

use crate::filter::{Class, Filter};
use crate::findings::Finding;
use crate::kernel::BackendChoice;
use crate::recording::{Destination, Limits, Recording, record, record_around};
use crate::runtimes::RUNTIMES;

/// In which form results are printed.
#[derive(Debug, Args)]
pub(crate) struct FormArgs {
    /// How to print it; without this, as text
    #[arg(long, value_enum)]
    format: Option<Plain>,
    /// Print JSON, the same as --format json
    #[arg(long)]
    json: bool,
}

/// The forms that every command with results has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Plain {
    /// For people
    Text,
    /// For programs
    Json,
}

impl FormArgs {
    /// Whether it is JSON.
    pub fn is_json(&self) -> anyhow::Result<bool> {
        Ok(one_form(self.json, self.format, Plain::Json, Plain::Text)? == Plain::Json)
    }
}

/// What `--json` and `--format` together ask for.
pub(super) fn one_form<F: ValueEnum + PartialEq>(
    json: bool,
    format: Option<F>,
    as_json: F,
    otherwise: F,
) -> anyhow::Result<F> {
    match format {
        Some(format) if json && format != as_json => {
            let name = format.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
            anyhow::bail!("--json and --format {name} cannot be used together\nhint: use one of them")
        }
        Some(format) => Ok(format),
        None => Ok(if json { as_json } else { otherwise }),
    }
}

/// How much of it text tells.
#[derive(Debug, Args)]
pub(crate) struct WideArgs {
    /// In text: print every line and whole ids and paths. Without this, equal lines of several v1 hierarchies are
    /// printed as one, and ids of 64 digits are cut to twelve. JSON is always whole
    #[arg(long)]
    pub wide: bool,
}

/// What every tracing command takes.
#[derive(Debug, Args)]
pub(crate) struct Tracing {
    /// Stop after this time, such as 30s, 5m or 1h30m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// How to watch failing calls
    #[arg(long, value_enum, default_value_t)]
    pub backend: BackendChoice,
}

/// What a finding leads to.
#[derive(Debug, Args)]
pub(crate) struct VerdictArgs {
    /// Exit with status 1 if a finding of this kind is made; `fault` stands for any finding of severity fault
    #[arg(long, value_name = "KIND", value_enum, value_delimiter = ',')]
    pub fail_on: Vec<FailOn>,
    /// Append a summary of the findings to FILE, in Markdown; in a GitHub workflow, to "$GITHUB_STEP_SUMMARY"
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
}

/// Which lines are wanted.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct FilterArgs {
    /// Only lines of this class; may be given several times
    #[arg(long, value_name = "CLASS", value_enum, value_delimiter = ',')]
    only: Vec<Class>,
    #[command(flatten)]
    about: AboutArgs,
    /// Also report routine teardowns that did no harm
    #[arg(long)]
    benign: bool,
}

/// Which cgroups are wanted.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct AboutArgs {
    /// Only containers whose id begins with ID, and what is nested in them
    #[arg(long, value_name = "ID")]
    container: Option<String>,
    /// Only cgroups whose path on the host matches, such as '/docker/*'
    #[arg(long, value_name = "GLOB")]
    cgroup: Option<String>,
    /// Only containers of this runtime
    #[arg(
        long,
        value_name = "NAME",
        value_parser = PossibleValuesParser::new(RUNTIMES.iter().map(|runtime| runtime.name))
    )]
    runtime: Option<String>,
}

impl FilterArgs {
    pub fn build(self) -> anyhow::Result<Filter> {
        Ok(Filter { only: self.only, benign: self.benign, ..self.about.build()? })
    }
}

impl AboutArgs {
    pub fn build(self) -> anyhow::Result<Filter> {
        let glob = |text: String| -> anyhow::Result<_> {
            let glob = GlobBuilder::new(&text).literal_separator(false).backslash_escape(true).build();
            Ok(glob.with_context(|| format!("failed to read the pattern {text:?}"))?.compile_matcher())
        };
        let cgroup = self.cgroup.map(glob).transpose()?;
        Ok(Filter { container: self.container, cgroup, runtime: self.runtime, ..Filter::default() })
    }
}

impl ValueEnum for BackendChoice {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Trampoline, Self::Tracepoint]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        let (name, help) = match self {
            Self::Auto => ("auto", "The best that works"),
            Self::Trampoline => ("trampoline", "fexit on each system call's function: other calls cost nothing"),
            Self::Tracepoint => ("tracepoint", "The tracepoint on all system calls' exit: works everywhere"),
        };
        Some(clap::builder::PossibleValue::new(name).help(help))
    }
}

/// How trace files are written, and which are kept.
#[derive(Debug, Args)]
pub(crate) struct RecordingArgs {
    /// Begin a new file when one has reached this size, such as 64M
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub rotate_size: Option<u64>,
    /// Begin a new file after this time, such as 1h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub rotate_every: Option<Duration>,
    /// Keep at most COUNT files; older ones are removed
    #[arg(long, value_name = "COUNT")]
    pub keep: Option<usize>,
    /// Keep all files together below this size; older ones are removed
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_total: Option<u64>,
    /// Keep the last TIME in memory and write it only around a finding, and the same time after it
    #[arg(
        long,
        value_name = "TIME",
        value_parser = parse_duration,
        conflicts_with_all = ["rotate_size", "rotate_every"]
    )]
    pub flight: Option<Duration>,
    /// With --flight: only around findings of this kind; `fault` stands for any finding of severity fault
    #[arg(long, value_name = "KIND", value_enum, value_delimiter = ',', requires = "flight")]
    pub flight_on: Vec<FailOn>,
}

impl RecordingArgs {
    /// When a new file is begun, and which are kept.
    pub fn limits(&self) -> Limits {
        Limits { size: self.rotate_size, age: self.rotate_every, keep: self.keep, total: self.max_total }
    }

    /// Begins to record: all, or with --flight only around the findings that are wanted.
    pub fn begin(&self, destination: Destination) -> anyhow::Result<Recording> {
        let Some(window) = self.flight else { return record(destination) };
        let on = self.flight_on.clone();
        let matters = move |finding: &Finding| on.is_empty() || on.iter().any(|wanted| wanted.is_met_by(finding));
        record_around(destination, window, Box::new(matters))
    }
}

/// `30s`, `1h30m`, `500ms`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "not a time above zero with its unit, such as 30s, 5m or 1h30m".to_owned();
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    match Duration::try_from(parsed) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) | Err(_) => Err(wrong()),
    }
}

/// `64M`, `1G`, `500k`, `4096`.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || "not a size, such as 500k, 64M or 1G".to_owned();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit: u64 = match &text[digits.len()..] {
        "" | "B" => 1,
        "k" | "K" | "kB" | "KiB" => 1 << 10,
        "M" | "MB" | "MiB" => 1 << 20,
        "G" | "GB" | "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let size = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)?;
    if size == 0 { Err(wrong()) } else { Ok(size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("64M"), Ok(64 << 20));
        assert_eq!(parse_size("4096"), Ok(4096));
        for wrong in ["", "M", "0", "1X", "-1", "99999999999999999999G"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_need_a_unit_and_a_length() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["", "30", "0s", "-5s", "ever"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
