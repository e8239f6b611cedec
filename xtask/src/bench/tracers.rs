//! Who traces while something is measured.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::programs::bpf_open;
use super::{c_string, usage};

/// A tracer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tracer {
    Nobody,
    Empty,
    Cgtrace,
    /// With trampolines.
    Trampolines,
    /// With the tracepoint.
    Tracepoint,
    Record,
    Bpftrace,
    /// It runs what it traces.
    Strace,
}

impl Tracer {
    /// What it is called in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nothing",
            Self::Empty => "empty programs",
            Self::Cgtrace => "cgtrace",
            Self::Trampolines => "trampolines",
            Self::Tracepoint => "tracepoint",
            Self::Record => "cgtrace record",
            Self::Bpftrace => "bpftrace",
            Self::Strace => "strace -f",
        }
    }
}

/// A tracer at work.
pub enum Running {
    Nobody,
    /// Closing them detaches the programs.
    Empty(#[expect(dead_code, reason = "held open")] Vec<OwnedFd>),
    Child {
        tracer: Tracer,
        child: Child,
        cpu: Duration,
    },
}

/// What a tracer did.
#[derive(Default)]
pub struct Ended {
    /// Records that it lost.
    pub lost: u64,
    /// Events that it says it has seen; 0 if it does not say.
    pub events: u64,
    /// Processor time that it took once it was tracing.
    pub cpu: Duration,
}

impl Running {
    /// Starts it, and waits until it traces. What cgtrace writes goes to `results`.
    pub fn start(tracer: Tracer, program: &Path, results: &Path) -> anyhow::Result<Self> {
        match tracer {
            Tracer::Nobody | Tracer::Strace => Ok(Self::Nobody),
            Tracer::Empty => Ok(Self::Empty(HOOKS.iter().map(|hook| attach_empty(hook)).collect::<Result<_, _>>()?)),
            Tracer::Cgtrace | Tracer::Trampolines | Tracer::Tracepoint | Tracer::Record => {
                let mut command = Command::new(program);
                let live = ["live", "--json", "--only", "findings"];
                match tracer {
                    Tracer::Record => command.arg("record"),
                    Tracer::Trampolines => command.args(live).args(["--backend", "trampoline"]),
                    Tracer::Tracepoint => command.args(live).args(["--backend", "tracepoint"]),
                    _ => command.args(live),
                };
                command.arg("--output");
                let mut child = command.arg(results).stderr(Stdio::piped()).spawn().context("failed to run cgtrace")?;
                wait_for_line(child.stderr.as_mut(), "tracing ")?;
                Self::begun(tracer, child)
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
                Self::begun(tracer, child)
            }
        }
    }

    fn begun(tracer: Tracer, child: Child) -> anyhow::Result<Self> {
        // What it took to begin (loading programs, compiling a script) is no cost of an event.
        let cpu = usage::so_far(&child)?;
        Ok(Self::Child { tracer, child, cpu })
    }

    /// Ends it. What it has written is left.
    pub fn stop(self) -> anyhow::Result<Ended> {
        let Self::Child { tracer, mut child, cpu, .. } = self else { return Ok(Ended::default()) };
        // SAFETY: a call without memory.
        unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            stderr.read_to_string(&mut said).context("failed to read what the tracer says")?;
        }
        let usage = usage::wait(child).context("failed to wait for the tracer")?;
        let cpu = usage.cpu.saturating_sub(cpu);
        let number =
            |before: &str| said.split(before).next().and_then(|text| text.rsplit([' ', '\n']).next()?.parse().ok());
        match tracer {
            Tracer::Cgtrace | Tracer::Trampolines | Tracer::Tracepoint | Tracer::Record => Ok(Ended {
                lost: number(" lost").context("cgtrace did not say what it lost")?,
                events: number(" events, ").context("cgtrace did not say what it saw")?,
                cpu,
            }),
            // It says "Lost N events" as often as it notices.
            Tracer::Nobody | Tracer::Empty | Tracer::Bpftrace | Tracer::Strace => {
                let lost = said.split("Lost ").skip(1).filter_map(|text| text.split(' ').next()?.parse::<u64>().ok());
                Ok(Ended { lost: lost.sum(), events: 0, cpu })
            }
        }
    }
}

/// Waits for a line that begins so.
pub fn wait_for_line(reader: Option<&mut impl Read>, beginning: &str) -> anyhow::Result<()> {
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
    let program = bpf_open(PROG_LOAD, &mut attribute).context("failed to load an empty program")?;
    let mut attribute = [0u8; 128];
    attribute[..8].copy_from_slice(&(name.as_ptr() as u64).to_ne_bytes());
    attribute[8..12].copy_from_slice(&std::os::fd::AsRawFd::as_raw_fd(&program).to_ne_bytes());
    bpf_open(RAW_TRACEPOINT_OPEN, &mut attribute)
        .with_context(|| format!("failed to attach an empty program to {hook}"))
}

/// The same job as a script: lifecycle events, and failed calls on cgroupfs by the path that was kept on the way in.
fn bpftrace_script() -> String {
    let mut script = "BEGIN { printf(\"ready\\n\"); }\n".to_owned();
    let events = ["mkdir", "rmdir", "release", "rename", "freeze", "unfreeze"];
    for event in events {
        script.push_str(&format!(
            "tracepoint:cgroup:cgroup_{event} {{ printf(\"{event} %d %d %s %d %s\\n\", args->root, args->id, \
             str(args->path), pid, comm); }}\n"
        ));
    }
    for event in ["notify_populated", "notify_frozen"] {
        script.push_str(&format!(
            "tracepoint:cgroup:cgroup_{event} {{ printf(\"{event} %d %d %s %d\\n\", args->root, args->id, \
             str(args->path), args->val); }}\n"
        ));
    }
    script.push_str(
        "tracepoint:cgroup:cgroup_attach_task { printf(\"attach %d %d %d\\n\", args->dst_root, args->dst_id, \
         args->pid); }\n",
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
