//! Lints and tests, and what they were run on.

mod suites;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};

use crate::kernels::Architecture;
use crate::{as_root, bare_cargo, cargo, dist, fuzz, is_root, kernels, output, root, run, setup, soak, step};
use suites::Suite;

/// The fuzz targets are no member of the workspace: they are built with other flags.
const FUZZ_MANIFEST: &str = "fuzz/Cargo.toml";

/// All of it ends in this time or has failed. Longer than a slow machine takes, shorter than what CI allows: what hangs
/// is to be named by its own name.
const LIMIT: Duration = Duration::from_secs(80 * 60);

/// A step that takes less is not worth a line.
const WORTH_SAYING: Duration = Duration::from_secs(5);

/// How often a test program is looked at that says nothing.
const LOOK: Duration = Duration::from_secs(1);

/// How many tests passed and failed.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
}

/// Which tests are run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tests {
    /// Those that are not marked as slow (`#[ignore]`).
    Usual,
    /// Every one.
    All,
}

impl Tests {
    /// A test that takes longer hangs.
    fn patience(self) -> Duration {
        Duration::from_secs(match self {
            Self::Usual => 8 * 60,
            Self::All => 40 * 60,
        })
    }

    /// How long each target is fuzzed, in seconds. Usually not at all: building the targets takes minutes, and the
    /// suites `damaged` and `attacks` read what strangers may hand over.
    fn fuzzed(self) -> Option<u32> {
        match self {
            Self::Usual => None,
            Self::All => Some(60),
        }
    }
}

/// Format, lints, documentation and tests.
pub fn everything(which: Tests) -> anyhow::Result<()> {
    if which == Tests::Usual {
        crate::end_within(LIMIT);
    }
    setup::toolchain()?;
    // Packages come over the network while the compiler looks at the sources.
    std::thread::scope(|scope| {
        let installing = scope.spawn(|| install(which));
        let linted = lint();
        installing.join().map_err(|_| anyhow!("the thread that installs packages has panicked"))?.and(linted)
    })?;
    let installed = match which {
        Tests::Usual => None,
        Tests::All => Some(installed()?),
    };
    step("building the tests");
    let programs = programs(&["--workspace"])?;
    let mut tally = Tally::default();
    for program in programs {
        // The last two components name it: deps/kernel-0123456789abcdef.
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = name.rsplit_once('-').map_or(name.as_str(), |(name, _)| name).to_owned();
        step(&format!("testing: {name}"));
        let left_out = (name == "kernel").then(kernels::left_out_here);
        let suite = Suite::called(&name)?;
        run_tests(as_root(&program)?, suite, which, left_out, &mut tally)?;
        if let Some(installed) = installed.as_deref().filter(|_| suite.is_of_the_agent()) {
            step(&format!("testing: {name}, with the program that users install"));
            run_tests(instead(&program, installed)?, suite, which, left_out, &mut tally)?;
        }
    }
    if let Some(seconds) = which.fuzzed() {
        let (passed, failed) = fuzz::all(seconds)?;
        tally.passed += passed;
        tally.failed += failed;
    }
    match soak::run(None, soak::Times::short()) {
        Ok(()) => tally.passed += 1,
        Err(error) => {
            println!("the soak failed: {error:#}");
            tally.failed += 1;
        }
    }
    // Never beside the host's tests: a guest takes a processor for minutes.
    let (passed, failed) = match which {
        Tests::Usual => kernels::pair()?,
        Tests::All => kernels::all()?,
    };
    tally.passed += passed;
    tally.failed += failed;
    report()?;
    println!("took:");
    for (what, took) in crate::durations().iter().filter(|(_, took)| *took >= WORTH_SAYING) {
        println!("  {:>5} s  {what}", took.as_secs());
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed > 0 {
        bail!("{} tests failed", tally.failed);
    }
    if tally.passed == 0 {
        bail!("no test was run");
    }
    Ok(())
}

/// Makes what users install, twice, and says where the program for this machine is.
fn installed() -> anyhow::Result<PathBuf> {
    let own = Architecture::own()?;
    dist::check(&[own])?;
    dist::program(own)
}

/// Runs tests with another program in the place of the one that they were built with: one with another C library, which
/// makes other system calls.
fn instead(tests: &Path, program: &Path) -> anyhow::Result<Command> {
    let script = r#"mount --bind "$1" "$2"; shift 2; exec "$@""#;
    let mut command = as_root(Path::new("unshare"))?;
    command
        .args(["--mount", "sh", "-ec", script, "sh"])
        .arg(program)
        .arg(root().join("target/debug/cgtrace"))
        .arg(tests);
    Ok(command)
}

/// Brings what the tests run.
fn install(which: Tests) -> anyhow::Result<()> {
    setup::tests()?;
    // Before anything is tested: where kernels cannot be had, it is said at once.
    kernels::fetch_pair()?;
    match which {
        Tests::Usual => Ok(()),
        Tests::All => setup::slow_tests(),
    }
}

/// Format, clippy on the host's and the kernel's side, and documentation.
pub fn lint() -> anyhow::Result<()> {
    step("cargo fmt");
    run(cargo().args(["fmt", "--all", "--check"]))?;
    run(cargo().args(["fmt", "--manifest-path", FUZZ_MANIFEST, "--check"]))?;
    step("cargo clippy (host)");
    run(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    step("cargo clippy (without the kernel programs)");
    let offline = ["--package", "cgtrace", "--no-default-features", "--", "-D", "warnings"];
    run(cargo().args(["clippy", "--quiet"]).args(offline))?;
    step("cargo clippy (fuzz targets)");
    // What they depend on is checked already, and lies in the same place.
    run(cargo().args(["clippy", "--quiet", "--manifest-path", FUZZ_MANIFEST, "--target-dir", "target"]).args([
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    step("cargo clippy (kernel programs)");
    let mut kernel = kernel_cargo();
    kernel
        .args([
            "clippy",
            "--quiet",
            "--package",
            "tracer-ebpf",
            "--target",
            "bpfel-unknown-none",
            "-Z",
            "build-std=core",
        ])
        .args(["--bins", "--target-dir", "target/lint-bpf", "--", "-D", "warnings"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("PATH", setup::with_tools()?)
        .env(
            "RUSTFLAGS",
            format!("--cfg bpf_target_arch=\"{}\" -C debuginfo=2 -C link-arg=--btf", std::env::consts::ARCH),
        );
    run(&mut kernel)?;
    step("cargo doc");
    run(cargo()
        .args(["doc", "--quiet", "--no-deps", "--workspace", "--document-private-items"])
        .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links"))
}

/// The cargo that builds the kernel programs: Debian's, where only that has the sources.
fn kernel_cargo() -> Command {
    let environment = setup::build_environment();
    let debian = environment.iter().find(|(name, _)| *name == "CGTRACE_BPF_TOOLCHAIN");
    let mut command = match debian {
        Some((_, toolchain)) => {
            let mut command = Command::new("rustup");
            command.args(["run", toolchain, "cargo"]);
            command
        }
        None => bare_cargo(),
    };
    command.current_dir(root()).envs(environment);
    command
}

/// Builds test programs, as whoever runs this; they are then run as root.
pub fn programs(which: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    built(cargo().arg("test").args(which))
}

/// The test programs that a cargo builds which is told to test.
pub fn built(cargo: &mut Command) -> anyhow::Result<Vec<PathBuf>> {
    cargo.args(["--no-run", "--message-format=json-render-diagnostics"]).stdout(Stdio::piped());
    let mut child = cargo.spawn().context("failed to run cargo test")?;
    let stdout = child.stdout.take().context("cargo has a pipe")?;
    let mut programs = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line: serde_json::Value = serde_json::from_str(&line.context("failed to read from cargo")?)?;
        let is_test = line["reason"] == "compiler-artifact" && line["profile"]["test"] == true;
        if let (true, Some(program)) = (is_test, line["executable"].as_str()) {
            programs.push(PathBuf::from(program));
        }
    }
    let status = child.wait().context("failed to wait for cargo test")?;
    if !status.success() || programs.is_empty() {
        bail!("cargo test --no-run: {status}, {} test programs", programs.len());
    }
    Ok(programs)
}

/// Runs one test program, by a command that is run as root. Tests with `left_out` in their names are not run, which is
/// said.
fn run_tests(
    mut command: Command,
    suite: &Suite,
    which: Tests,
    left_out: Option<&str>,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    if let Some(word) = left_out {
        println!(
            "left out: tests with {word} in their names, because this host has other hierarchies; guests run them"
        );
        command.args(["--skip", word]);
    }
    // In a process group of its own, to end it with all that it has started.
    command.arg(format!("--test-threads={}", suite.at_once())).current_dir(root().join("tracer")).process_group(0);
    if which == Tests::All {
        command.arg("--include-ignored");
    }
    if !is_root() {
        eprintln!("(as root, through sudo)");
    }
    count(&mut command, which.patience(), tally)
}

/// Shows what a test run says, and adds up its results. A run in which one test takes longer than `patience` is ended,
/// and that test has failed; those after it are not run.
fn count(command: &mut Command, patience: Duration, tally: &mut Tally) -> anyhow::Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("failed to run the tests")?;
    let stdout = child.stdout.take().context("the tests have a pipe")?;
    let said = pieces(stdout);
    let (mut line, mut summaries, mut heard) = (String::new(), 0, Instant::now());
    loop {
        match said.recv_timeout(LOOK) {
            Ok(piece) => {
                line.push_str(&piece);
                heard = Instant::now();
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let is_over = child.try_wait().context("failed to look at the tests")?.is_some();
                if !is_over && heard.elapsed() < patience {
                    continue;
                }
                // A failed test may leave something running that holds the pipe: it would never end by itself.
                let group = format!("-{}", child.id());
                let _ = as_root(Path::new("kill"))?.args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
                if !is_over {
                    println!("{line}FAILED: it took longer than {} minutes, and was ended", patience.as_secs() / 60);
                    child.wait().context("failed to wait for the tests")?;
                    tally.failed += 1;
                    return Ok(());
                }
                break;
            }
        }
        if !line.ends_with('\n') {
            continue;
        }
        print!("{line}");
        if let Some((passed, failed)) = summary(line.trim_end()) {
            summaries += 1;
            tally.passed += passed;
            tally.failed += failed;
        }
        line.clear();
    }
    let status = child.wait().context("failed to wait for the tests")?;
    if summaries == 0 {
        bail!("a test program ended without a result: {status}");
    }
    Ok(())
}

/// What a program says, as it comes, in pieces of no more than a line: the name of a test is said before it runs, and
/// its result after it on the same line.
fn pieces(stdout: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        loop {
            let there = match stdout.fill_buf() {
                Ok([]) | Err(_) => break,
                Ok(there) => there,
            };
            let length = there.iter().position(|byte| *byte == b'\n').map_or(there.len(), |end| end + 1);
            let piece = String::from_utf8_lossy(&there[..length]).into_owned();
            stdout.consume(length);
            if sender.send(piece).is_err() {
                break;
            }
        }
    });
    receiver
}

/// `test result: ok. 82 passed; 0 failed; …`
fn summary(line: &str) -> Option<(u64, u64)> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |word: &str| {
        let part = rest.split([';', '.']).find(|part| part.trim_end().ends_with(word))?;
        part.trim().split(' ').next()?.parse().ok()
    };
    Some((number("passed")?, number("failed")?))
}

/// What the tests were run on: the kernel, the backend, the runtimes.
fn report() -> anyhow::Result<()> {
    let program = root().join("target/debug/cgtrace");
    let doctor = as_root(&program)?.args(["doctor", "--json"]).output().context("failed to run the doctor")?;
    let doctor: serde_json::Value =
        serde_json::from_slice(&doctor.stdout).context("failed to read the doctor's report")?;
    let checked = |what: &str| {
        let checks = doctor["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
        let found = checks.iter().find(|check| check["what"] == what).and_then(|check| check["found"].as_str());
        found.unwrap_or("unknown").to_owned()
    };
    println!("exercised:");
    println!("  kernel    {}", checked("kernel"));
    println!("  cgroups   {}", checked("cgroups"));
    println!("  backend   {}; tracepoint (sys_exit, raw)", doctor["backend"].as_str().unwrap_or("none"));
    println!("  fexit     {}", checked("trampolines"));
    for runtime in ["runc", "crun"] {
        let version = output(Command::new(runtime).arg("--version")).unwrap_or_default();
        println!("  runtime   {}", version.lines().next().unwrap_or("unknown"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_as_cargo_prints_them() {
        let line =
            "test result: FAILED. 20 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out; finished in 31.12s";
        assert_eq!(summary(line), Some((20, 1)));
        assert_eq!(summary("test a ... ok"), None);
    }

    fn counted(script: &str, tally: &mut Tally) -> anyhow::Result<()> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).process_group(0);
        count(&mut command, Duration::from_secs(3), tally)
    }

    #[test]
    fn a_test_that_hangs_has_failed_and_is_ended() {
        let mut tally = Tally::default();
        let hangs = "echo 'test result: ok. 2 passed; 0 failed;'; printf 'test c ... '; sleep 600 & wait";
        counted(hangs, &mut tally).expect("counted");
        assert_eq!((tally.passed, tally.failed), (2, 1));
        assert!(counted("echo nothing", &mut tally).is_err(), "no result at all");
    }

    #[test]
    fn what_a_test_leaves_running_keeps_nobody_waiting() {
        let mut tally = Tally::default();
        let directory = tempfile::tempdir().expect("a directory");
        let left = directory.path().join("left");
        let leaves =
            format!("sleep 600 & echo $! > {}; echo 'test result: FAILED. 2 passed; 1 failed;'", left.display());
        counted(&leaves, &mut tally).expect("counted");
        assert_eq!((tally.passed, tally.failed), (2, 1));
        let pid = std::fs::read_to_string(left).expect("written");
        let process = PathBuf::from(format!("/proc/{}", pid.trim()));
        let is_ended = || std::fs::read_to_string(process.join("stat")).map_or(true, |stat| stat.contains(") Z "));
        // A signal is on its way for a moment.
        let begun = Instant::now();
        while !is_ended() && begun.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(is_ended());
    }
}
