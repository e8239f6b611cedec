//! What was typed, and what it means.

mod kinds;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use globset::GlobBuilder;

use crate::commands;
use crate::demo::Scenario;
use crate::filter::{Class, Filter};
use crate::findings::Kind;
use crate::kernel::BackendChoice;
use crate::runtimes::RUNTIMES;
use crate::serve::{Address, with_file};
use kinds::KindParser;

pub(crate) use kinds::FailOn;

/// Traces the life of every cgroup on this host, sees the calls that fail, and says who tore down what, and whether it
/// hurt.
#[derive(Debug, Parser)]
#[command(name = "cgtrace", version, max_term_width = 120, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Trace this host, and print events, failed calls and findings as they happen
    Live(Live),
    /// Trace this host into a trace file
    Record(Record),
    /// Replay trace files, on any machine: what went wrong, and the lives of the containers
    Report(Report),
    /// Convert trace files for other tools
    Export(Export),
    /// Trace for years: metrics for Prometheus, health, the last findings, and trace files if wanted
    Serve(Serve),
    /// Show the cgroups that exist now as a tree: whose they are, and what may be wrong with them
    Tree(Tree),
    /// Say what this kernel and this user can trace, and how to fix what is missing
    Doctor(Doctor),
    /// Explain a kind of finding: claim, evidence, how to confirm it by hand, what to do
    Explain(Explain),
    /// Play real cgroup faults on this host, traced, and print what was found
    Demo(Demo),
}

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
    /// Exit with status 1 if a finding of this kind is made; `fault` stands for every kind that did harm
    #[arg(long, value_name = "KIND", value_parser = KindParser::<FailOn>::new(), value_delimiter = ',')]
    pub fail_on: Vec<FailOn>,
    /// Trace while CMD runs and until what follows from it is told, at most two seconds; then exit with its status
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<std::ffi::OsString>,
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// `cgtrace record`
#[derive(Debug, Args)]
pub(crate) struct Record {
    #[command(flatten)]
    pub tracing: Tracing,
    /// The file, which must not exist; without it, cgtrace-HOST-TIME.jsonl.zst
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
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
    /// Keep the last TIME in memory and write it only around a finding, with as much after it
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with_all = ["rotate_size", "rotate_every"])]
    pub flight: Option<Duration>,
    /// With --flight: only around findings of this kind; `fault` stands for every kind that did harm
    #[arg(long, value_name = "KIND", value_parser = KindParser::<FailOn>::new(), value_delimiter = ',', requires = "flight")]
    pub flight_on: Vec<FailOn>,
    /// Exit with status 1 if a finding of this kind is made; `fault` stands for every kind that did harm
    #[arg(long, value_name = "KIND", value_parser = KindParser::<FailOn>::new(), value_delimiter = ',')]
    pub fail_on: Vec<FailOn>,
    /// Trace while CMD runs and until what follows from it is told, at most two seconds; then exit with its status
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<std::ffi::OsString>,
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// `cgtrace report`
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// Trace files, directories of them, or - for stdin
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print each container's life: its cgroups, with every step, time and actor
    #[arg(long)]
    pub lives: bool,
    /// Read on while the file is being written, until it ends
    #[arg(long)]
    pub follow: bool,
    /// How to print it; without this, as text
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Print JSON lines, the same as --format json
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub wide: WideArgs,
    /// Exit with status 1 if there is a finding of this kind; `fault` stands for every kind that did harm
    #[arg(long, value_name = "KIND", value_parser = KindParser::<FailOn>::new(), value_delimiter = ',')]
    pub fail_on: Vec<FailOn>,
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// `cgtrace export`
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Trace files of one recording (for parquet, of several), a directory of them, or - for stdin
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The form to convert to
    #[arg(long, alias = "format", value_name = "FORMAT", value_enum)]
    pub to: crate::export::Format,
    /// The file to write, which must not exist; - for stdout. For parquet, the directory to write to
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
}

/// `cgtrace serve`. Every flag but the first two is a key of the configuration file, and a variable of the environment.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Read settings from FILE (TOML); the environment overrides it, and flags override both
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Say whether the settings are right, and what they are; trace nothing
    #[arg(long)]
    pub check_config: bool,
    /// Listen on ADDRESS, such as 127.0.0.1:9464 or unix:/PATH; may be given several times. Sockets that systemd
    /// passes on are used instead
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', default_value = "127.0.0.1:9464")]
    pub listen: Vec<Address>,
    /// Tell findings also to those who ask for this host by NAME; addresses and localhost always may. May be given several
    /// times
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub allow_host: Vec<String>,
    /// Record into trace files in DIR
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    /// Begin a new file when one has reached this size, such as 64M
    #[arg(long, value_name = "SIZE", value_parser = parse_size, requires = "record")]
    pub rotate_size: Option<u64>,
    /// Begin a new file after this time, such as 1h
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "record")]
    pub rotate_every: Option<Duration>,
    /// Keep at most COUNT files, those of earlier runs included; older ones are removed
    #[arg(long, value_name = "COUNT", requires = "record")]
    pub keep: Option<usize>,
    /// Keep all files together below this size; older ones are removed
    #[arg(long, value_name = "SIZE", value_parser = parse_size, requires = "record")]
    pub max_total: Option<u64>,
    /// Record also into a directory that other users can write to
    #[arg(long, requires = "record", value_parser = clap::builder::BoolishValueParser::new())]
    pub shared_directory: bool,
    /// Keep the last TIME in memory and write it only around a finding, with as much after it
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "record", conflicts_with_all = ["rotate_size", "rotate_every"])]
    pub flight: Option<Duration>,
    /// With --flight: only around findings of this kind; `fault` stands for every kind that did harm
    #[arg(long, value_name = "KIND", value_parser = KindParser::<FailOn>::new(), value_delimiter = ',', requires = "flight")]
    pub flight_on: Vec<FailOn>,
    /// How to watch failing calls
    #[arg(long, value_enum, default_value_t)]
    pub backend: BackendChoice,
    /// Have the kernel count the time of the kernel programs; needs CAP_SYS_ADMIN, and makes each run of one cost a little more
    #[arg(long, value_parser = clap::builder::BoolishValueParser::new())]
    pub bpf_stats: bool,
}

impl Report {
    /// How it is to be printed.
    pub fn format(&self) -> anyhow::Result<Format> {
        one_form(self.json, self.format, Format::Json, Format::Text)
    }
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// JSON lines: the findings as `live --json` printed them
    Json,
    /// One self-contained page, with a timeline of every container
    Html,
}

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
fn one_form<F: ValueEnum + PartialEq>(json: bool, format: Option<F>, as_json: F, otherwise: F) -> anyhow::Result<F> {
    match format {
        Some(format) if json && format != as_json => {
            let name = format.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
            anyhow::bail!("--json and --format {name} contradict each other\nhint: give one of the two")
        }
        Some(format) => Ok(format),
        None => Ok(if json { as_json } else { otherwise }),
    }
}

/// How much of it text tells.
#[derive(Debug, Args)]
pub(crate) struct WideArgs {
    /// In text: print every line and whole ids and paths. Without this, lines that say the same of several v1 hierarchies
    /// are printed as one, and ids of 64 digits are cut to twelve. JSON is always whole
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

/// Which lines are wanted.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct FilterArgs {
    /// Only lines of this class; may be given several times
    #[arg(long, value_name = "CLASS", value_enum, value_delimiter = ',')]
    only: Vec<Class>,
    #[command(flatten)]
    about: AboutArgs,
    /// Also report second teardowns that did no harm
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
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(RUNTIMES.iter().map(|runtime| runtime.name)))]
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

/// `cgtrace tree`
#[derive(Debug, Args)]
pub(crate) struct Tree {
    #[command(flatten)]
    pub form: FormArgs,
    /// In text: each hierarchy as a tree of its own, whole ids and paths, and every empty cgroup on a line of its own. JSON is always whole
    #[arg(long)]
    pub wide: bool,
    /// Show so many levels below the first one
    #[arg(long, value_name = "LEVELS")]
    pub depth: Option<usize>,
    #[command(flatten)]
    pub about: AboutArgs,
}

/// `cgtrace doctor`
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub form: FormArgs,
    /// How to watch failing calls
    #[arg(long, value_enum, default_value_t)]
    pub backend: BackendChoice,
}

/// `cgtrace explain`
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The kind of finding; without it, all kinds in brief
    #[arg(value_name = "KIND", value_parser = KindParser::<Kind>::new())]
    pub kind: Option<Kind>,
    /// Print all there is as Markdown
    #[arg(long, conflicts_with = "kind")]
    pub markdown: bool,
}

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

/// `30s`, `1h30m`, `500ms`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let hint = "a time with its unit, such as 30s, 5m or 1h30m";
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| format!("not {hint}"))?;
    match Duration::try_from(parsed) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) | Err(_) => Err(format!("not {hint}, more than zero")),
    }
}

/// `64M`, `1G`, `500k`, `4096`.
fn parse_size(text: &str) -> Result<u64, String> {
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

/// The program: reads its arguments, does as told, and says what went wrong in one message.
pub fn main() -> ExitCode {
    if let Some(status) = crate::demo::play_a_part() {
        return status;
    }
    let cli = match parse(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(error) => {
            say!("error: {error:#}");
            return ExitCode::from(2);
        }
    };
    let done = match cli.command {
        Command::Live(args) => commands::live::run(args),
        Command::Record(args) => commands::record::run(args),
        Command::Report(args) => commands::report::run(args),
        Command::Export(args) => commands::export::run(&args),
        Command::Serve(args) => commands::serve::run(args),
        Command::Tree(args) => commands::tree::run(args),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Demo(args) => commands::demo::run(&args),
    };
    match done {
        Ok(status) => status,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whoever read our results has had enough: that is no error.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let closed = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(closed))
}

/// The command line's definition, for documentation and tests.
pub fn definition() -> clap::Command {
    // Whatever can be set for the agent can be set in its environment.
    Cli::command().mut_subcommand(SERVE, |serve| {
        serve.mut_args(|argument| match argument.get_long() {
            Some(long) if long != "help" => {
                let variable = format!("CGTRACE_{}", long.to_uppercase().replace('-', "_"));
                argument.env(variable)
            }
            Some(_) | None => argument,
        })
    })
}

const SERVE: &str = "serve";

/// Reads the command line, and for the agent the environment and the configuration file. What is mistyped ends the program with
/// clap's own message.
fn parse(arguments: Vec<std::ffi::OsString>) -> anyhow::Result<Cli> {
    let definition = definition();
    // What a flag needs besides may be in the file: that is only known when the file is read.
    let given = definition.clone().ignore_errors(true).try_get_matches_from(&arguments).ok();
    let serve = given.as_ref().and_then(|given| given.subcommand_matches(SERVE));
    let file = serve.and_then(|serve| Some((serve, serve.get_one::<PathBuf>("config")?)));
    let arguments = match (file, definition.find_subcommand(SERVE)) {
        (Some((serve, path)), Some(command)) => with_file(command, serve, &arguments, path)?,
        (Some(_) | None, _) => arguments,
    };
    let matches = definition.get_matches_from(arguments);
    Cli::from_arg_matches(&matches).map_err(|error| error.exit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

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
