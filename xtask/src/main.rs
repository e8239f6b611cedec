//! What developers and CI run: thin functions around real commands.

mod agent;
mod bench;
mod chaos;
mod dist;
mod fuzz;
mod kernels;
mod load;
mod setup;
mod soak;
mod test;

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};

/// Everything that is done with this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the build and the tests need
    Setup,
    /// Build cgtrace with its kernel programs, optimised: target/release/cgtrace
    Build,
    /// Make what users install, in target/dist: static programs, packages, images, and what they are made of
    Dist {
        /// Only for these
        architectures: Vec<kernels::Architecture>,
        /// Make it again in another directory, and compare each byte
        #[arg(long)]
        check: bool,
    },
    /// Build it and play real cgroup faults on this host, traced
    Demo {
        /// Passed on to `cgtrace demo`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Format, lints, documentation, every test; needs root
    Test {
        /// Also those tests that take long, or need a whole machine of their own
        #[arg(long)]
        all: bool,
    },
    /// Boot Debian's kernels in QEMU, run the kernel tests in each, and write the table in docs/requirements.md
    Kernels {
        /// Only these: 6.12, 6.12-arm64
        versions: Vec<String>,
        /// Only rows that are called so in part: `lockdown`, `v2, tracepoint`
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
        /// Guests at a time; as many as there are processors if not given
        #[arg(long, value_name = "COUNT")]
        jobs: Option<NonZero<usize>>,
        /// Without the tests that take longest; without VERSIONS and --only, two rows
        #[arg(long)]
        brief: bool,
    },
    /// Format, lints and documentation only
    Lint,
    /// Fuzz what reads and judges traces, for a bounded time
    Fuzz {
        /// Only this one
        target: Option<fuzz::Target>,
        /// How long each is fuzzed
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Run this input alone, as it was found
        #[arg(long, requires = "target", value_name = "FILE")]
        input: Option<PathBuf>,
    },
    /// Play chaos with a written truth for longer than the tests do, and check every statement against it; needs root
    Chaos {
        /// How long, in seconds
        #[arg(long, default_value_t = 300)]
        seconds: u64,
        /// Repeat a run by its seed; the kernel's order may differ
        #[arg(long)]
        seed: Option<u64>,
        /// Judge a run that was kept: its directory
        #[arg(long, value_name = "DIRECTORY", conflicts_with_all = ["seconds", "seed"])]
        again: Option<PathBuf>,
    },
    /// Run the agent under churn at full speed, and see that its memory stays flat and nothing is lost; needs root
    Soak {
        /// Only this part
        part: Option<soak::Part>,
        /// How long, in minutes
        #[arg(long, default_value_t = 10)]
        minutes: u32,
        /// Then with so many containers that have names; more than a minute for each fifty thousand
        #[arg(long, default_value_t = 1_000_000)]
        containers: u64,
    },
    /// Measure what tracing and trace files cost, side by side with bpftrace, jq and zstd; needs root
    ///
    /// Without a part it measures all, and writes the figures to docs/performance.md.
    Bench {
        /// Only this part
        part: Option<bench::Part>,
        /// How often each tracer is attached
        #[arg(long, default_value_t = 15)]
        rounds: usize,
        /// One measured process of the benchmark
        #[arg(long, hide = true)]
        measure: Option<bench::Measured>,
        /// Which one of its kind
        #[arg(long, hide = true, default_value_t = 0)]
        number: usize,
        /// Where it makes its cgroups
        #[arg(long, hide = true)]
        cgroup: Option<PathBuf>,
        /// The cgtrace that it runs
        #[arg(long, hide = true)]
        program: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    if let Some(played) = soak::play_runtime() {
        return played;
    }
    let done = match Cli::parse().task {
        Task::Setup => setup::everything(),
        Task::Build => setup::toolchain().and_then(|()| build().map(|program| println!("{}", program.display()))),
        Task::Dist { architectures, check: false } => dist::make(&architectures),
        Task::Dist { architectures, check: true } => dist::check(&architectures),
        Task::Demo { arguments } => demo(&arguments),
        Task::Test { all } => test::everything(if all { test::Tests::All } else { test::Tests::Usual }),
        Task::Kernels { versions, only, jobs, brief } => kernels::by_hand(&versions, only.as_deref(), jobs, brief),
        Task::Lint => setup::toolchain().and_then(|()| test::lint()),
        Task::Fuzz { target, seconds, input } => {
            let input = input.map(std::path::absolute).transpose();
            input.map_err(Into::into).and_then(|input| fuzz::by_hand(target, seconds, input.as_deref()))
        }
        Task::Chaos { seconds, seed, again } => chaos::run_for(seconds, seed, again.as_deref()),
        Task::Soak { part, minutes, containers } => soak::run(part, soak::Times::long(minutes, containers)),
        Task::Bench { measure: Some(what), number, cgroup, program, .. } => {
            bench::measure(what, number, &cgroup.unwrap_or_default(), &program.unwrap_or_default())
        }
        Task::Bench { part, rounds, .. } => bench::run(part, rounds),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's directory.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// What the compiler calls this machine.
fn host() -> anyhow::Result<String> {
    let host = output(Command::new("rustc").args(["--print", "host-tuple"]).current_dir(root()));
    host.context("rustc does not say what it runs on")
}

/// The cargo that runs this, as it is.
fn bare_cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The cargo that runs this, in the workspace, with what the build of the kernel programs needs.
fn cargo() -> Command {
    let mut command = bare_cargo();
    command.current_dir(root());
    for (name, value) in setup::build_environment() {
        command.env(name, value);
    }
    command
}

/// Builds the release binary, and puts its debug information beside it.
fn build() -> anyhow::Result<PathBuf> {
    step("building cgtrace with its kernel programs");
    run(cargo().args(["build", "--release", "--package", "cgtrace"]))?;
    let program = root().join("target/release/cgtrace");
    split_debug(&program, "")?;
    Ok(program)
}

/// Moves the debug information of a program to `PROGRAM.debug`, where debuggers look for it. Without binutils, whose
/// names begin with `tools`, it stays.
fn split_debug(program: &Path, tools: &str) -> anyhow::Result<()> {
    let sections = output(Command::new(format!("{tools}objdump")).args(["--section-headers"]).arg(program));
    if !sections.is_some_and(|sections| sections.contains(".debug_line")) {
        return Ok(());
    }
    let debug = program.with_added_extension("debug");
    let link = format!("--add-gnu-debuglink={}", debug.display());
    // What cargo has linked stays as it is, in its own place: the program is a second name for it.
    let stripped = program.with_added_extension("stripped");
    let objcopy = format!("{tools}objcopy");
    run(Command::new(&objcopy).arg("--only-keep-debug").arg(program).arg(&debug))?;
    run(Command::new(&objcopy).args(["--strip-all", &link]).arg(program).arg(&stripped))?;
    std::fs::rename(&stripped, program).with_context(|| format!("failed to replace {}", program.display()))
}

fn demo(arguments: &[String]) -> anyhow::Result<()> {
    setup::toolchain()?;
    setup::packages(&setup::DEMO, setup::Need::Optional)?;
    // Unoptimised, which builds in half the time, and is what the tests build as well.
    step("building cgtrace with its kernel programs");
    run(cargo().args(["build", "--package", "cgtrace"]))?;
    let program = root().join("target/debug/cgtrace");
    step("playing");
    run(as_root(&program)?.arg("demo").args(arguments))
}

/// A command that runs as root: as it is, or through sudo.
fn as_root(program: &Path) -> anyhow::Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    if !setup::is_installed("sudo") {
        bail!("tracing needs root\nhint: run this as root, or install sudo");
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    Ok(command)
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|ids| ids.split_whitespace().nth(1))
        .is_some_and(|effective| effective == "0")
}

/// How much can be done at a time.
fn processors() -> NonZero<usize> {
    std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

/// What was begun until now.
static STEPS: Mutex<Vec<Step>> = Mutex::new(Vec::new());

/// What one thread does until its next step.
struct Step {
    what: String,
    thread: ThreadId,
    begun: Instant,
}

fn steps() -> MutexGuard<'static, Vec<Step>> {
    STEPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says what is done now.
fn step(what: &str) {
    eprintln!("==> {what}");
    steps().push(Step { what: what.to_owned(), thread: std::thread::current().id(), begun: Instant::now() });
}

/// How long each step of this thread took until the next one began, in their order.
fn durations() -> Vec<(String, Duration)> {
    let steps = steps();
    let own: Vec<&Step> = steps.iter().filter(|step| step.thread == std::thread::current().id()).collect();
    let ends = own.iter().skip(1).map(|step| step.begun).chain([Instant::now()]);
    own.iter().zip(ends).map(|(step, end)| (step.what.clone(), end - step.begun)).collect()
}

/// Ends this program, as a failure, when it is not done after `limit`.
fn end_within(limit: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        let now = steps().last().map(|step| step.what.clone()).unwrap_or_default();
        eprintln!("error: not done after {} minutes, but still at this: {now}", limit.as_secs() / 60);
        std::process::exit(1);
    });
}

/// Runs a command to its end, its output shown.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("failed to run {}", command.get_program().display()))?;
    if !status.success() {
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        bail!("{} {}: {status}", command.get_program().display(), arguments.join(" "));
    }
    Ok(())
}

/// What a command prints; `None` if it cannot be run or fails.
fn output(command: &mut Command) -> Option<String> {
    let done = command.output().ok().filter(|done| done.status.success())?;
    Some(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}
