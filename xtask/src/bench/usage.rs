//! What a process took: time, processor time, memory.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// What processes took from start to end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Time on the clock; zero where only the end was waited for.
    pub wall: Duration,
    /// Time on processors, the kernel's part included.
    pub cpu: Duration,
    /// The most memory that one of them had resident, in bytes.
    pub peak: u64,
}

/// Runs commands, each of which reads what the one before it writes. Returns what they took together, and what the last
/// one wrote if that is `kept`.
pub fn pipeline(commands: &mut [Command], kept: bool) -> anyhow::Result<(Usage, String)> {
    let begun = Instant::now();
    let (mut children, mut from) = (Vec::new(), Stdio::null());
    let count = commands.len();
    for (number, command) in commands.iter_mut().enumerate() {
        let to = if kept || number + 1 < count { Stdio::piped() } else { Stdio::null() };
        let name = command.get_program().to_string_lossy().into_owned();
        let started = command.stdin(from).stdout(to).spawn();
        let mut child = started.with_context(|| format!("failed to run {name}"))?;
        from = Stdio::null();
        if number + 1 < count {
            from = child.stdout.take().context("it has a pipe")?.into();
        }
        children.push(child);
    }
    let written = children.last_mut().and_then(|child| child.stdout.take()).map(std::io::read_to_string);
    let written = written.transpose().context("failed to read what was written")?.unwrap_or_default();
    let mut all = Usage::default();
    for child in children {
        let one = wait(child)?;
        all.cpu += one.cpu;
        all.peak = all.peak.max(one.peak);
    }
    all.wall = begun.elapsed();
    Ok((all, written))
}

/// Waits for a child's end. It must not have failed.
pub fn wait(child: Child) -> anyhow::Result<Usage> {
    let mut status = 0;
    // SAFETY: all zeros is a value of this structure.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both places are there for the call. The child is ours, and nobody else waits for it.
    if unsafe { libc::wait4(child.id() as i32, &mut status, 0, &mut usage) } < 0 {
        return Err(std::io::Error::last_os_error()).context("failed to wait");
    }
    let status: ExitStatus = std::os::unix::process::ExitStatusExt::from_raw(status);
    if !status.success() {
        bail!("it ended with {status}");
    }
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1_000);
    Ok(Usage {
        wall: Duration::ZERO,
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        // In KiB, on Linux.
        peak: usage.ru_maxrss as u64 * 1024,
    })
}

/// The processor time that a running child has taken.
pub fn so_far(child: &Child) -> anyhow::Result<Duration> {
    let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: both places are there for the calls.
    let failed = unsafe {
        libc::clock_getcpuclockid(child.id() as i32, &mut clock) != 0 || libc::clock_gettime(clock, &mut time) != 0
    };
    if failed {
        bail!("failed to read the processor time of process {}", child.id());
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}
