//! One boot of one kernel in QEMU, from its first instruction until it switches itself off or its time is over.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

use super::fetch::Kernel;
use super::matrix::{self, Architecture, Row};
use super::verdict::Stop;
use crate::root;

/// A boot that takes longer hangs. The tests take five minutes of an idle processor that emulates another one.
const LIMIT: Duration = Duration::from_secs(45 * 60);
/// Deadlines of the tests are so many times as long on an emulated machine.
const PATIENCE: u32 = 10;
/// More than the tests need: all files of the guest are in memory, too.
const MEMORY_MB: u32 = 1536;
/// How often a guest is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What a boot left.
pub struct Boot {
    /// All that the guest wrote.
    pub written: String,
    /// What its kernel said.
    pub console: String,
    /// What marks its marks.
    pub word: String,
    /// How it ended.
    pub stop: Stop,
    /// From QEMU's start to its end.
    pub took: Duration,
}

/// What a guest does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Job<'a> {
    /// It runs the kernel tests.
    Tests,
    /// It traces a few calls.
    Live,
    /// This program measures the calls of the benchmark. Each instruction takes a nanosecond.
    Count(&'a Path),
}

impl Job<'_> {
    fn word(self) -> &'static str {
        match self {
            Self::Tests => "tests",
            Self::Live => "live",
            Self::Count(_) => "count",
        }
    }
}

/// How a guest's instructions are run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accelerator {
    /// By the processor.
    Kvm,
    /// One by one, in software.
    Emulation,
}

impl Accelerator {
    /// The device alone proves nothing: a hypervisor may offer it where the processor does not help.
    fn of(architecture: Architecture, job: Job) -> Self {
        // Only software can count them.
        if let Job::Count(_) = job {
            return Self::Emulation;
        }
        let is_own = architecture.target().starts_with(std::env::consts::ARCH);
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let helps = architecture == Architecture::Arm64
            || processor.split_whitespace().any(|flag| matches!(flag, "vmx" | "svm"));
        match is_own && helps && OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok() {
            true => Self::Kvm,
            false => Self::Emulation,
        }
    }
}

/// Boots a kernel for a row, and waits for its end. Logs stay in `place`.
pub fn boot(
    row: &Row,
    job: Job,
    kernel: &Kernel,
    initramfs: &Path,
    cgtrace: &Path,
    place: &Path,
) -> anyhow::Result<Boot> {
    fs::create_dir_all(place).context("failed to make a place for a guest's logs")?;
    let [written, console, said] = ["written", "console", "qemu"].map(|name| place.join(name));
    let word = word();
    let accelerator = Accelerator::of(row.series.architecture, job);
    let mut qemu = machine(row.series.architecture, accelerator);
    if let Job::Count(_) = job {
        qemu.args(["-icount", "shift=0,sleep=off"]);
    }
    qemu.args(["-m", &MEMORY_MB.to_string(), "-smp", "1", "-display", "none", "-nodefaults", "-no-user-config"]);
    qemu.args(["-no-reboot", "-serial", &format!("file:{}", console.display())]);
    qemu.args(["-chardev", &format!("file,id=written,path={}", written.display())]);
    qemu.args(lines(row.series.architecture).device);
    qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(initramfs);
    qemu.args(["-append", &command_line(row, job, &word, cgtrace, accelerator)]);
    let log = fs::File::create(&said).context("failed to make QEMU's log")?;
    qemu.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let begun = Instant::now();
    let mut guest = qemu.spawn().with_context(|| format!("failed to run {}", qemu.get_program().display()))?;
    let stop = loop {
        if let Some(status) = guest.try_wait().context("failed to look at QEMU")? {
            if !status.success() {
                bail!("{}: {status}: {}", qemu.get_program().display(), text(&said).trim());
            }
            break Stop::Off;
        }
        if begun.elapsed() > LIMIT {
            guest.kill().and_then(|()| guest.wait()).context("failed to end QEMU")?;
            break Stop::TimeOver;
        }
        std::thread::sleep(LOOK);
    };
    Ok(Boot { written: text(&written), console: text(&console), word, stop, took: begun.elapsed() })
}

/// Where the logs of a row are.
pub fn logs(directory: &Path, row: &Row) -> PathBuf {
    let name = row.to_string().replace(", ", "_").replace(' ', "-");
    directory.join("logs").join(name)
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).replace('\r', "")
}

/// What nobody in the guest can guess.
fn word() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("guest-{:x}-{:x}", now.as_nanos(), std::process::id())
}

fn machine(architecture: Architecture, accelerator: Accelerator) -> Command {
    let (program, machine, processor) = match (architecture, accelerator) {
        (Architecture::X86_64, Accelerator::Kvm) => ("qemu-system-x86_64", "q35", "host"),
        // Without five levels of page tables, whose emulation is slower.
        (Architecture::X86_64, Accelerator::Emulation) => ("qemu-system-x86_64", "q35", "max,la57=off"),
        (Architecture::Arm64, Accelerator::Kvm) => ("qemu-system-aarch64", "virt", "host"),
        // Kernels lock up on `max` with QEMU 7.2.
        (Architecture::Arm64, Accelerator::Emulation) => ("qemu-system-aarch64", "virt", "cortex-a72"),
    };
    let mut command = Command::new(program);
    command.args(["-accel", if accelerator == Accelerator::Kvm { "kvm" } else { "tcg" }]);
    command.args(["-machine", machine, "-cpu", processor]);
    command
}

/// The lines out of a guest: its kernel's messages, and what it writes.
struct Lines {
    console: &'static str,
    out: &'static str,
    /// What makes the second one.
    device: &'static [&'static str],
}

fn lines(architecture: Architecture) -> Lines {
    match architecture {
        Architecture::X86_64 => Lines { console: "ttyS0", out: "/dev/ttyS1", device: &["-serial", "chardev:written"] },
        // This machine has one serial line. The driver of a virtual console is not built into every kernel.
        Architecture::Arm64 => {
            Lines { console: "ttyAMA0", out: "/dev/ttyS0", device: &["-device", "pci-serial,chardev=written"] }
        }
    }
}

/// What the kernel is told, and by it the guest's first process.
fn command_line(row: &Row, job: Job, word: &str, cgtrace: &Path, accelerator: Accelerator) -> String {
    let Lines { console, out, .. } = lines(row.series.architecture);
    // A kernel that oopses or panics ends its guest.
    let mut words = ["quiet", "oops=panic", "panic=-1"].map(str::to_owned).to_vec();
    words.push(format!("console={console}"));
    words.extend(row.condition.parameters().iter().map(|parameter| (*parameter).to_owned()));
    let patience = if accelerator == Accelerator::Emulation { PATIENCE } else { 1 };
    let variables = [
        ("OUT", out),
        ("WORD", word),
        ("LAYOUT", row.layout.as_str()),
        ("BACKEND", row.backend.as_str()),
        ("DO", job.word()),
        ("LEAVE_OUT", &row.left_out().join(",")),
        ("LAST", if row.hangs_at_last() { matrix::LAST } else { "" }),
        ("CGTRACE_TEST_BACKEND", row.backend.as_str()),
        ("CGTRACE_TEST_PATIENCE", &patience.to_string()),
    ];
    words.extend(variables.map(|(name, value)| format!("{name}={value}")));
    words.push(format!("CGTRACE={}", cgtrace.display()));
    if let Job::Count(program) = job {
        words.push(format!("COUNT={}", program.display()));
    }
    words.push(format!("DIRECTORY={}", root().join("tracer").display()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_fits_the_kernel_and_says_what_to_do() {
        for row in matrix::rows() {
            for job in [Job::Tests, Job::Live, Job::Count(Path::new("/target/xtask"))] {
                let line = command_line(&row, job, &word(), Path::new("/target/cgtrace"), Accelerator::Emulation);
                assert!(line.len() < 2048, "{line}");
                assert!(line.contains(&format!("DO={} ", job.word())) && line.contains("PATIENCE=10"), "{line}");
                // What has no dot is a variable; of these the kernel takes 32, its own among them.
                assert!(line.split(' ').filter(|word| word.contains('=')).count() < 24, "{line}");
            }
        }
    }
}
