//! What tracing costs, side by side with a peer in one run, as ratios.
//!
//! Rounds are interleaved: every round measures every case under every tracer, so that what the machine does meanwhile
//! hits all alike. Of a case's rounds the median counts. Nothing is asserted: machines are noisy.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::{build, is_root, setup, step};

/// What one process measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Measurement {
    /// A system call that nobody traces
    Getppid,
    /// An open that succeeds, and a close
    OpenOk,
    /// An open that fails, outside cgroupfs
    OpenFails,
    /// Pairs of mkdir and rmdir of a cgroup
    Churn,
}

impl Measurement {
    fn name(self) -> &'static str {
        match self {
            Self::Getppid => "getppid",
            Self::OpenOk => "open + close, succeeds",
            Self::OpenFails => "open, fails",
            Self::Churn => "cgroup mkdir + rmdir",
        }
    }

    fn argument(self) -> &'static str {
        match self {
            Self::Getppid => "getppid",
            Self::OpenOk => "open-ok",
            Self::OpenFails => "open-fails",
            Self::Churn => "churn",
        }
    }
}

/// Who traces meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tracer {
    Nobody,
    Empty,
    Cgtrace,
    Bpftrace,
}

impl Tracer {
    const ALL: [Self; 4] = [Self::Nobody, Self::Empty, Self::Cgtrace, Self::Bpftrace];

    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nothing",
            Self::Empty => "empty programs",
            Self::Cgtrace => "cgtrace",
            Self::Bpftrace => "bpftrace",
        }
    }
}

/// Measures one case in this process and prints nanoseconds a call.
pub fn measure(what: Measurement, cgroup: Option<&Path>) -> anyhow::Result<()> {
    const BATCHES: usize = 7;
    let calls: u32 = match what {
        Measurement::Getppid => 100_000,
        Measurement::OpenOk | Measurement::OpenFails => 20_000,
        Measurement::Churn => 1_000,
    };
    let directory = cgroup.map(|cgroup| c_string(cgroup.join("churn"))).transpose()?;
    let mut best = f64::MAX;
    for _ in 0..BATCHES {
        let begun = Instant::now();
        for _ in 0..calls {
            // SAFETY: every path ends in a zero.
            let done = unsafe {
                match what {
                    Measurement::Getppid => libc::syscall(libc::SYS_getppid) > 0,
                    Measurement::OpenOk => {
                        let fd = libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
                        fd >= 0 && libc::close(fd) == 0
                    }
                    Measurement::OpenFails => libc::open(c"/etc/no-such-file".as_ptr(), libc::O_RDONLY) < 0,
                    Measurement::Churn => {
                        let directory = directory.as_ref().context("a churn needs a cgroup")?;
                        libc::mkdir(directory.as_ptr(), 0o755) == 0 && libc::rmdir(directory.as_ptr()) == 0
                    }
                }
            };
            if !done {
                bail!("{}: {}", what.name(), std::io::Error::last_os_error());
            }
        }
        best = best.min(begun.elapsed().as_nanos() as f64 / f64::from(calls));
    }
    println!("{best}");
    Ok(())
}

/// Measures everything and prints it.
pub fn run(rounds: usize) -> anyhow::Result<()> {
    if !is_root() {
        bail!("the benchmark attaches kernel programs\nhint: run it as root");
    }
    setup::toolchain()?;
    setup::packages(&setup::BENCH, setup::Need::Required)?;
    let program = build()?;
    let scratch = Scratch::new()?;
    let cases = [Measurement::Getppid, Measurement::OpenOk, Measurement::OpenFails, Measurement::Churn];
    let mut results: BTreeMap<(Measurement, Tracer), Vec<f64>> = BTreeMap::new();
    let mut lost: BTreeMap<Tracer, u64> = BTreeMap::new();
    for round in 1..=rounds {
        step(&format!("round {round} of {rounds}"));
        for tracer in Tracer::ALL {
            let running = Running::start(tracer, &program)?;
            for case in cases {
                let mut command = Command::new(std::env::current_exe().context("failed to find this program")?);
                command.args(["bench", "--measure", case.argument(), "--cgroup"]).arg(&scratch.0);
                let text = crate::output(&mut command).with_context(|| format!("{} failed", case.name()))?;
                let nanos = text.parse().with_context(|| format!("{} gave {text:?}", case.name()))?;
                results.entry((case, tracer)).or_default().push(nanos);
            }
            *lost.entry(tracer).or_default() += running.stop()?;
        }
    }
    print(&cases, &results, &lost);
    Ok(())
}

fn print(cases: &[Measurement], results: &BTreeMap<(Measurement, Tracer), Vec<f64>>, lost: &BTreeMap<Tracer, u64>) {
    let of = |case: Measurement, tracer: Tracer| median(results.get(&(case, tracer)).map_or(&[], Vec::as_slice));
    println!("ns a call, median of the rounds:");
    print!("{:<26}", "");
    Tracer::ALL.iter().for_each(|tracer| print!("{:>16}", tracer.name()));
    println!();
    for case in cases {
        print!("{:<26}", case.name());
        Tracer::ALL.iter().for_each(|tracer| print!("{:>16.0}", of(*case, *tracer)));
        println!();
    }
    println!("\nadded to a call, as a share of what bpftrace adds:");
    for (case, aim) in [(Measurement::OpenFails, 0.30), (Measurement::OpenOk, 0.25)] {
        let added = |tracer| of(case, tracer) - of(case, Tracer::Nobody);
        println!(
            "{:<26}{:>8.2}  (aim {aim:.2} or less; {:.0} ns of {:.0} ns, an empty program {:.0} ns)",
            case.name(),
            added(Tracer::Cgtrace) / added(Tracer::Bpftrace),
            added(Tracer::Cgtrace),
            added(Tracer::Bpftrace),
            added(Tracer::Empty),
        );
    }
    println!("\npairs of cgroup mkdir and rmdir a second, as a share of untraced; records lost:");
    for tracer in Tracer::ALL {
        let nanos = of(Measurement::Churn, tracer);
        println!(
            "{:<26}{:>8.0}/s {:>6.2}  {} lost",
            tracer.name(),
            1e9 / nanos,
            of(Measurement::Churn, Tracer::Nobody) / nanos,
            lost.get(&tracer).copied().unwrap_or(0),
        );
    }
    println!("(aim: 0.95 or more, nothing lost)");
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A tracer at work.
enum Running {
    Nobody,
    /// Closing them detaches the programs.
    Empty(#[expect(dead_code, reason = "held open")] Vec<OwnedFd>),
    Child(Tracer, Child, PathBuf),
}

impl Running {
    fn start(tracer: Tracer, program: &Path) -> anyhow::Result<Self> {
        match tracer {
            Tracer::Nobody => Ok(Self::Nobody),
            Tracer::Empty => Ok(Self::Empty(HOOKS.iter().map(|hook| attach_empty(hook)).collect::<Result<_, _>>()?)),
            Tracer::Cgtrace => {
                let results = std::env::temp_dir().join(format!("cgtrace-bench-{}", std::process::id()));
                let mut command = Command::new(program);
                command.args(["live", "--json", "--only", "findings", "--output"]).arg(&results);
                let mut child = command.stderr(Stdio::piped()).spawn().context("failed to run cgtrace")?;
                wait_for_line(child.stderr.as_mut(), "tracing ")?;
                Ok(Self::Child(tracer, child, results))
            }
            Tracer::Bpftrace => {
                let script = bpftrace_script();
                let mount = "mount -t tracefs tracefs /sys/kernel/tracing; mount -t debugfs debugfs /sys/kernel/debug; \
                             exec bpftrace -e \"$1\"";
                let mut command = Command::new("unshare");
                command.args(["--mount", "--propagation", "private", "sh", "-c", mount, "sh", &script]);
                let mut child =
                    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("failed to run bpftrace")?;
                wait_for_line(child.stdout.as_mut(), "ready")?;
                // Its results are read as they come, as ours are written.
                let mut stdout = child.stdout.take().context("bpftrace has a pipe")?;
                std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
                Ok(Self::Child(tracer, child, PathBuf::new()))
            }
        }
    }

    /// Ends it. Returns how many records it lost.
    fn stop(self) -> anyhow::Result<u64> {
        let Self::Child(tracer, mut child, results) = self else { return Ok(0) };
        // SAFETY: a call without memory.
        unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            stderr.read_to_string(&mut said).context("failed to read what the tracer says")?;
        }
        child.wait().context("failed to wait for the tracer")?;
        let number =
            |before: &str| said.split(before).next().and_then(|text| text.rsplit([' ', '\n']).next()?.parse().ok());
        match tracer {
            Tracer::Cgtrace => {
                let _ = std::fs::remove_file(results);
                number(" lost").context("cgtrace did not say what it lost")
            }
            // It says "Lost N events" as often as it notices.
            _ => Ok(said.split("Lost ").skip(1).filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum()),
        }
    }
}

fn wait_for_line(reader: Option<&mut impl Read>, beginning: &str) -> anyhow::Result<()> {
    let mut reader = BufReader::with_capacity(1, reader.context("the tracer has a pipe")?);
    let mut line = String::new();
    let begun = Instant::now();
    while !line.starts_with(beginning) {
        line.clear();
        if reader.read_line(&mut line).context("failed to hear from the tracer")? == 0
            || begun.elapsed() > Duration::from_secs(60)
        {
            bail!("the tracer did not begin");
        }
    }
    Ok(())
}

/// The hooks that cgtrace uses with the tracepoint backend.
const HOOKS: [&str; 12] = [
    "sys_exit",
    "sched_process_exec",
    "sched_process_exit",
    "cgroup_mkdir",
    "cgroup_rmdir",
    "cgroup_release",
    "cgroup_rename",
    "cgroup_notify_populated",
    "cgroup_freeze",
    "cgroup_unfreeze",
    "cgroup_notify_frozen",
    "cgroup_attach_task",
];

/// Attaches `return 0` to a raw tracepoint.
fn attach_empty(hook: &str) -> anyhow::Result<OwnedFd> {
    const PROG_LOAD: i64 = 5;
    const RAW_TRACEPOINT_OPEN: i64 = 17;
    const PROG_TYPE_RAW_TRACEPOINT: u32 = 17;
    // r0 = 0; exit
    const PROGRAM: [u64; 2] = [0xb7, 0x95];
    let (licence, name) = (c"GPL", c_string(hook)?);
    let mut attribute = [0u8; 128];
    attribute[..4].copy_from_slice(&PROG_TYPE_RAW_TRACEPOINT.to_ne_bytes());
    attribute[4..8].copy_from_slice(&(PROGRAM.len() as u32).to_ne_bytes());
    attribute[8..16].copy_from_slice(&(PROGRAM.as_ptr() as u64).to_ne_bytes());
    attribute[16..24].copy_from_slice(&(licence.as_ptr() as u64).to_ne_bytes());
    let program = bpf(PROG_LOAD, &attribute).context("failed to load an empty program")?;
    let mut attribute = [0u8; 128];
    attribute[..8].copy_from_slice(&(name.as_ptr() as u64).to_ne_bytes());
    attribute[8..12].copy_from_slice(&std::os::fd::AsRawFd::as_raw_fd(&program).to_ne_bytes());
    bpf(RAW_TRACEPOINT_OPEN, &attribute).with_context(|| format!("failed to attach an empty program to {hook}"))
}

fn bpf(command: i64, attribute: &[u8; 128]) -> std::io::Result<OwnedFd> {
    // SAFETY: the attribute is laid out as `union bpf_attr`, and what it points to lives through the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attribute.as_ptr(), attribute.len()) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The same job as a script: lifecycle events, and failed calls on cgroupfs by the path that was kept on the way in.
fn bpftrace_script() -> String {
    let mut script = "BEGIN { printf(\"ready\\n\"); }\n".to_owned();
    let events = ["mkdir", "rmdir", "release", "rename", "freeze", "unfreeze"];
    for event in events {
        script.push_str(&format!(
            "tracepoint:cgroup:cgroup_{event} {{ printf(\"{event} %d %d %s %d %s\\n\", args->root, args->id, str(args->path), pid, comm); }}\n"
        ));
    }
    for event in ["notify_populated", "notify_frozen"] {
        script.push_str(&format!(
            "tracepoint:cgroup:cgroup_{event} {{ printf(\"{event} %d %d %s %d\\n\", args->root, args->id, str(args->path), args->val); }}\n"
        ));
    }
    script.push_str(
        "tracepoint:cgroup:cgroup_attach_task { printf(\"attach %d %d %d\\n\", args->dst_root, args->dst_id, args->pid); }\n",
    );
    let calls = [
        ("open", "filename"),
        ("openat", "filename"),
        ("openat2", "filename"),
        ("mkdir", "pathname"),
        ("mkdirat", "pathname"),
        ("rmdir", "pathname"),
        ("unlinkat", "pathname"),
    ];
    for (call, path) in calls {
        script.push_str(&format!(
            "tracepoint:syscalls:sys_enter_{call} {{ @path[tid] = args->{path}; }}\n\
             tracepoint:syscalls:sys_exit_{call} /@path[tid]/ {{\n\
               if (args->ret < 0) {{ $p = str(@path[tid]); if (strncmp($p, \"/sys/fs/cgroup\", 14) == 0) {{ \
                 printf(\"{call} %d %s %d %s\\n\", args->ret, $p, pid, comm); }} }}\n\
               delete(@path[tid]);\n\
             }}\n"
        ));
    }
    script
}

/// A cgroup for the churn.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").context("failed to read the mounts")?;
        let mount = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find_map(|fields| (fields.get(2) == Some(&"cgroup2")).then(|| fields.get(1).copied()).flatten());
        let mount = mount.context("cgroup2 is not mounted")?;
        let path = Path::new(mount).join(format!("cgtrace-bench-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("failed to make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(self.0.join("churn"));
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn c_string(text: impl AsRef<std::ffi::OsStr>) -> anyhow::Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(text.as_ref().as_bytes()).context("a path with a zero byte")
}
