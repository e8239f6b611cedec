//! The kernel tests on kernels of Debian, each booted in QEMU: which boots there are is a table ([`matrix`]).

mod fetch;
mod guest;
mod initramfs;
mod matrix;
mod page;
mod verdict;

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};

use crate::{cargo, output, processors, root, setup, step, test};
use fetch::{Kernel, Store};
use guest::Job;
use initramfs::Tested;
pub use matrix::Architecture;
use matrix::{Backend, Expectation, Row, Series};
use page::Shown;
use verdict::Written;

/// The page that has the table.
const PAGE: &str = "docs/requirements.md";

/// Runs the rows of these versions, or all, whose names have `only` in them, and writes what they have shown into the
/// page. In brief, it runs them without the tests that take longest, and a few rows if none are named.
pub fn by_hand(
    versions: &[String],
    only: Option<&str>,
    at_once: Option<NonZero<usize>>,
    is_brief: bool,
) -> anyhow::Result<()> {
    let all = matrix::rows();
    for version in versions {
        if !all.iter().any(|row| typed(&row.series) == *version) {
            let known: Vec<String> = matrix::SERIES.iter().map(typed).collect();
            bail!("there is no kernel {version:?} in the table\nhint: one of {}", known.join(", "));
        }
    }
    let is_wanted = |row: &Row| {
        (versions.is_empty() || versions.contains(&typed(&row.series)))
            && only.is_none_or(|only| row.to_string().contains(only))
    };
    let rows: Vec<Row> = match is_brief && versions.is_empty() && only.is_none() {
        true => matrix::in_brief(),
        false => all.iter().filter(|row| is_wanted(row)).map(|row| Row { is_brief, ..*row }).collect(),
    };
    // A guest has one processor, which one of the host's plays.
    let ran = run(&rows, at_once.unwrap_or_else(processors), |shown| {
        // After each one: a run takes long, and what it has shown by then is true.
        let page = root().join(PAGE);
        let text = fs::read_to_string(&page).with_context(|| format!("failed to read {PAGE}"))?;
        fs::write(&page, page::with_rows(&text, &all, shown)?).with_context(|| format!("failed to write {PAGE}"))
    })?;
    conclude(&ran)
}

/// Fetches the kernels of the few rows, or fails where they cannot be had.
pub fn fetch_pair() -> anyhow::Result<()> {
    fetch::check()?;
    for row in matrix::in_brief() {
        let store = Store::open(&directory()?, row.series.architecture)?;
        store.kernel(&row.series).with_context(|| format!("kernel {} cannot be had", row.series))?;
    }
    Ok(())
}

/// Runs a few rows without the tests that take longest, and leaves the page as it is. Returns how many were as
/// expected, and how many were not.
pub fn pair() -> anyhow::Result<(u64, u64)> {
    count(&matrix::in_brief())
}

/// Runs all rows, and leaves the page as it is. Returns how many were as expected, and how many were not.
pub fn all() -> anyhow::Result<(u64, u64)> {
    count(&matrix::rows())
}

fn count(rows: &[Row]) -> anyhow::Result<(u64, u64)> {
    let ran = run(rows, processors(), |_| Ok(()))?;
    let failed = ran.iter().filter(|ran| !ran.is_as_expected).count();
    Ok(((ran.len() - failed) as u64, failed as u64))
}

/// What the kernel tests have in their names that cannot be run on this host.
pub fn left_out_here() -> &'static str {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let has_v1 = mounts.lines().any(|mount| mount.split(' ').nth(2) == Some("cgroup"));
    if has_v1 { matrix::ON_V2_ALONE } else { matrix::ON_V1 }
}

/// A row that was run.
struct Ran {
    row: Row,
    is_as_expected: bool,
}

fn conclude(ran: &[Ran]) -> anyhow::Result<()> {
    let failed: Vec<String> = ran.iter().filter(|ran| !ran.is_as_expected).map(|ran| ran.row.to_string()).collect();
    if ran.is_empty() {
        bail!("no row was run");
    }
    if !failed.is_empty() {
        bail!("{} of {} rows are not as expected:\n  {}", failed.len(), ran.len(), failed.join("\n  "));
    }
    println!("{} rows, all as expected", ran.len());
    Ok(())
}

/// How a kernel is typed: `6.12`, `6.12-arm64`.
fn typed(series: &Series) -> String {
    series.to_string().replace(' ', "-")
}

/// Boots the kernel of each row, `at_once` of them at a time, and prints what each has shown.
fn run(
    rows: &[Row],
    at_once: NonZero<usize>,
    note: impl Fn(&[(Row, Shown)]) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<Vec<Ran>> {
    fetch::check()?;
    setup::toolchain()?;
    setup::packages(&setup::KERNELS, setup::Need::Required)?;
    let directory = directory()?;
    let (ran, shown) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    for architecture in [Architecture::X86_64, Architecture::Arm64] {
        let own: Vec<Row> = rows.iter().copied().filter(|row| row.series.architecture == architecture).collect();
        if own.is_empty() {
            continue;
        }
        let tested = build(architecture)?;
        let store = Store::open(&directory, architecture)?;
        let initramfs = initramfs::build(&directory, architecture, &tested, &store)?;
        let place = Place { directory: &directory, initramfs: &initramfs, cgtrace: &tested.cgtrace };
        let is_wanted = |series: &Series| own.iter().any(|row| row.series == *series);
        let wanted = matrix::SERIES.into_iter().filter(is_wanted);
        let kernels: Vec<_> = wanted.map(|series| (series, store.kernel(&series))).collect();
        let waiting = Mutex::new(own.into_iter());
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || -> anyhow::Result<()> {
            while let Some(row) = next() {
                let kernel = kernels.iter().find(|(series, _)| *series == row.series).map(|(_, kernel)| kernel);
                let (result, is_as_expected) = match kernel.context("each row has a kernel")? {
                    Ok(kernel) => boot(&row, kernel, &place)?,
                    Err(error) => (Shown::of_no_kernel(&format!("{error:#}"), today()?), false),
                };
                println!("{}", page::line(&row, &result));
                let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
                shown.push((row, result));
                note(&shown)?;
                ran.lock().unwrap_or_else(PoisonError::into_inner).push(Ran { row, is_as_expected });
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..at_once.get()).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(done) => done,
                Err(_) => bail!("a thread that boots kernels has panicked"),
            })
        })?;
    }
    Ok(ran.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// What every guest of an architecture has, and where its logs go.
struct Place<'a> {
    directory: &'a Path,
    initramfs: &'a Path,
    cgtrace: &'a Path,
}

/// Boots the kernel of one row. Returns what it has shown, and whether that was as expected.
fn boot(row: &Row, kernel: &Kernel, place: &Place<'_>) -> anyhow::Result<(Shown, bool)> {
    step(&format!("{row}: {}", kernel.release));
    let logs = guest::logs(place.directory, row);
    let job = if row.expected == Expectation::Passes { Job::Tests } else { Job::Live };
    let boot = guest::boot(row, job, kernel, place.initramfs, place.cgtrace, &logs)?;
    let written = Written::parse(&boot.written, &boot.word);
    keep(&written, &logs.join("recordings"))?;
    let verdict = verdict::judge(row, &written, boot.stop);
    let is_brief = row.is_brief && row.expected == Expectation::Passes;
    let verdict = if is_brief { verdict.in_brief() } else { verdict }.because_of(&boot.console);
    if !verdict.is_as_expected() {
        eprintln!("its logs are in {}", logs.display());
    }
    let shown = Shown {
        release: written.release().map(str::to_owned),
        preemption: written.preemption().map(str::to_owned),
        result: verdict.to_string(),
        seconds: boot.took.as_secs(),
        date: today()?,
    };
    Ok((shown, verdict.is_as_expected()))
}

/// Has `program` measure the calls of the benchmark in a guest where each instruction takes a nanosecond, and where
/// trampolines work. Returns the kernel's release, and what was printed.
pub fn count_instructions(program: &Path) -> anyhow::Result<(String, String)> {
    fetch::check()?;
    setup::packages(&setup::KERNELS, setup::Need::Required)?;
    let directory = directory()?;
    let row = matrix::in_brief().into_iter().find(|row| row.backend == Backend::Trampoline);
    let row = row.context("a row has trampolines")?;
    let tested = Tested { others: vec![program.to_owned()], ..build(row.series.architecture)? };
    let store = Store::open(&directory, row.series.architecture)?;
    let kernel = store.kernel(&row.series)?;
    let initramfs = initramfs::build(&directory, row.series.architecture, &tested, &store)?;
    let logs = directory.join("logs/count");
    step(&format!("counting instructions in a guest: {}", kernel.release));
    let boot = guest::boot(&row, Job::Count(program), &kernel, &initramfs, &tested.cgtrace, &logs)?;
    let written = Written::parse(&boot.written, &boot.word);
    let Some(counted) = written.counted() else {
        bail!("the guest counted nothing: its logs are in {}", logs.display());
    };
    Ok((kernel.release, counted.to_owned()))
}

/// Where kernels, guests and their logs are.
fn directory() -> anyhow::Result<PathBuf> {
    let directory = root().join("target/kernels");
    fs::create_dir_all(&directory).context("failed to make target/kernels")?;
    Ok(directory)
}

/// Keeps the recordings of refused calls, which a guest makes of those that only its kernel can refuse.
fn keep(written: &Written<'_>, place: &Path) -> anyhow::Result<()> {
    for (name, lines) in written.recordings() {
        fs::create_dir_all(place).context("failed to make a place for recordings")?;
        fs::write(place.join(name), format!("{lines}\n")).with_context(|| format!("failed to write {name}"))?;
    }
    Ok(())
}

fn today() -> anyhow::Result<String> {
    output(Command::new("date").args(["--utc", "+%Y-%m-%d"])).context("date does not tell the day")
}

/// Builds what is tested, optimised: in an emulated machine what is not takes many times as long.
fn build(architecture: Architecture) -> anyhow::Result<Tested> {
    step(&format!("building the kernel tests for {}", architecture.target()));
    let is_own = architecture.target().starts_with(std::env::consts::ARCH);
    let mut cargo = cargo();
    cargo.args(["test", "--release", "--package", "cgtrace", "--test", "kernel"]);
    if !is_own {
        cross(architecture, &mut cargo)?;
    }
    let programs = test::built(&mut cargo)?;
    let tests = programs.into_iter().next().context("cargo built no kernel tests")?;
    let target = if is_own { root().join("target") } else { root().join("target").join(architecture.target()) };
    let tools = if is_own { "" } else { architecture.tools() };
    let cgtrace = target.join("release/cgtrace");
    Ok(Tested { tests, cgtrace, others: Vec::new(), objcopy: format!("{tools}objcopy") })
}

/// Has a cargo build for another architecture.
fn cross(architecture: Architecture, cargo: &mut Command) -> anyhow::Result<()> {
    setup::packages(&setup::ARM64, setup::Need::Required)?;
    let target = architecture.target();
    setup::library(target)?;
    let (variable, compiler) = (target.replace('-', "_"), format!("{}gcc", architecture.tools()));
    cargo.args(["--target", target]);
    cargo.env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), &compiler);
    cargo.env(format!("CC_{variable}"), compiler);
    Ok(())
}
