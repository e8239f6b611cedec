//! What tracing adds to a call.
//!
//! Every tracer is attached in turn, several times. Each time one pinned process measures all calls in slices of a
//! millisecond or two, one after the other, and keeps the lower quartile of each: what else the machine does makes a
//! slice longer, never shorter. What a tracer adds is compared with what nobody adds in the same block.

use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::page::table;
use super::spread::{Spread, digits, share};
use super::tracers::{Running, Tracer};
use super::{Bench, c_string, programs};
use crate::step;

/// Who is compared, block by block.
const TRACERS: [Tracer; 4] = [Tracer::Nobody, Tracer::Empty, Tracer::Cgtrace, Tracer::Bpftrace];
/// Slices of each call in a block, and how long one is.
const SLICES: usize = 24;
const SLICE: Duration = Duration::from_micros(1_500);
/// Calls between two looks at the clock.
const CALLS: u32 = 32;
/// Calls of which the kernel counts the time.
const COUNTED: u32 = 50_000;
/// strace is so slow that it is only there for scale.
const STRACE_BLOCKS: usize = 3;

/// A call that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    Getppid,
    OpenOk,
    OpenFails,
    OpenInside,
    ReadOk,
    ReadAgain,
    WriteOk,
    WriteAgain,
}

impl Call {
    /// Every one, as they are measured.
    pub const ALL: [Self; 8] = [
        Self::Getppid,
        Self::OpenOk,
        Self::OpenFails,
        Self::OpenInside,
        Self::ReadOk,
        Self::ReadAgain,
        Self::WriteOk,
        Self::WriteAgain,
    ];

    /// What it is called in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Getppid => "getppid",
            Self::OpenOk => "open + close, succeeds",
            Self::OpenFails => "open, fails outside cgroupfs",
            Self::OpenInside => "open, fails inside cgroupfs",
            Self::ReadOk => "write + read of a socket, succeed",
            Self::ReadAgain => "read of a socket, EAGAIN",
            Self::WriteOk => "write to /dev/null, succeeds",
            Self::WriteAgain => "write to a socket, EAGAIN",
        }
    }
}

/// What the calls are made on.
struct Stage {
    missing: std::ffi::CString,
    null: RawFd,
    /// Nothing comes here.
    silent: RawFd,
    /// Nothing more goes in here.
    full: RawFd,
    /// What goes in at the first comes out at the second.
    pair: [RawFd; 2],
}

impl Stage {
    fn new(cgroup: &Path) -> anyhow::Result<Self> {
        let pair = || -> anyhow::Result<[RawFd; 2]> {
            let mut pair = [0; 2];
            let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
            // SAFETY: there is room for two descriptors.
            if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) } != 0 {
                return Err(std::io::Error::last_os_error()).context("failed to make sockets");
            }
            Ok(pair)
        };
        let full = pair()?[0];
        let filling = [0u8; 4096];
        // SAFETY: the bytes are there for the call.
        while unsafe { libc::write(full, filling.as_ptr().cast(), filling.len()) } > 0 {}
        // SAFETY: the path ends in a zero.
        let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY) };
        let missing = c_string(cgroup.join("no-such/cgroup.procs"))?;
        Ok(Self { missing, null, silent: pair()?[0], full, pair: pair()? })
    }

    /// Makes the call once. Returns whether it ended as it should.
    #[inline(always)]
    fn call(&self, call: Call) -> bool {
        let mut byte = [0u8; 1];
        let at = byte.as_mut_ptr().cast();
        // SAFETY: every path ends in a zero, and a byte is there.
        unsafe {
            match call {
                Call::Getppid => libc::syscall(libc::SYS_getppid) > 0,
                Call::OpenOk => {
                    let fd = libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
                    fd >= 0 && libc::close(fd) == 0
                }
                Call::OpenFails => libc::open(c"/etc/no-such-file".as_ptr(), libc::O_RDONLY) < 0,
                Call::OpenInside => libc::open(self.missing.as_ptr(), libc::O_RDONLY) < 0,
                // There is something to read only if it was written.
                Call::ReadOk => libc::write(self.pair[0], at, 1) == 1 && libc::read(self.pair[1], at, 1) == 1,
                Call::ReadAgain => libc::read(self.silent, at, 1) < 0,
                Call::WriteOk => libc::write(self.null, at, 1) == 1,
                Call::WriteAgain => libc::write(self.full, at, 1) < 0,
            }
        }
    }

    /// Nanoseconds a call in one slice.
    fn slice(&self, call: Call) -> anyhow::Result<f64> {
        let (begun, mut calls) = (Instant::now(), 0);
        loop {
            let mut done = true;
            for _ in 0..CALLS {
                done &= self.call(call);
            }
            if !done {
                bail!("{} ended in another way: {}", call.name(), std::io::Error::last_os_error());
            }
            calls += CALLS;
            let took = begun.elapsed();
            if took >= SLICE {
                return Ok(took.as_nanos() as f64 / f64::from(calls));
            }
        }
    }
}

/// Measures all calls in this process, which is pinned, and prints nanoseconds a call.
pub fn measure(cgroup: &Path) -> anyhow::Result<()> {
    super::pin(0)?;
    let stage = Stage::new(cgroup)?;
    let mut slices: BTreeMap<Call, Vec<f64>> = BTreeMap::new();
    for _ in 0..SLICES {
        for call in Call::ALL {
            slices.entry(call).or_default().push(stage.slice(call)?);
        }
    }
    for nanos in slices.values() {
        println!("{}", Spread::of(nanos.iter().copied()).low);
    }
    Ok(())
}

/// Makes one call so often that the kernel's count of its programs' time says something.
pub fn make(number: usize, cgroup: &Path) -> anyhow::Result<()> {
    super::pin(0)?;
    let (stage, call) = (Stage::new(cgroup)?, Call::ALL.get(number).copied().context("a call")?);
    for _ in 0..COUNTED {
        if !stage.call(call) {
            bail!("{} ended in another way: {}", call.name(), std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Nanoseconds by call, in each block.
type Blocks = BTreeMap<(Call, Tracer), Vec<f64>>;

/// One block's figures of one tracer.
fn block(bench: &Bench, tracer: Tracer, blocks: &mut Blocks) -> anyhow::Result<()> {
    let mut command = match tracer {
        Tracer::Strace => {
            let mut command = Command::new("strace");
            command.args(["-f", "-o", "/dev/null"]).arg(super::own()?);
            command
        }
        _ => Command::new(super::own()?),
    };
    let said = crate::output(command.args(["bench", "--measure", "calls", "--cgroup"]).arg(&bench.scratch.0));
    let said = said.with_context(|| format!("calls failed under {}", tracer.name()))?;
    for (call, nanos) in Call::ALL.into_iter().zip(said.lines()) {
        blocks.entry((call, tracer)).or_default().push(nanos.parse().context("a number of nanoseconds")?);
    }
    Ok(())
}

/// Measures every call under every tracer. Returns what the page says of it.
pub fn run(bench: &Bench) -> anyhow::Result<String> {
    let mut blocks = Blocks::new();
    for number in 1..=bench.rounds {
        step(&format!("calls: block {number} of {}", bench.rounds));
        // Whoever comes first does so in another one next time.
        for turn in 0..TRACERS.len() {
            let tracer = TRACERS[(turn + number) % TRACERS.len()];
            let running = Running::start(tracer, &bench.program, &bench.place.0.join("live"))?;
            block(bench, tracer, &mut blocks)?;
            running.stop()?;
            bench.place.empty()?;
        }
        if number <= STRACE_BLOCKS {
            block(bench, Tracer::Strace, &mut blocks)?;
        }
    }
    let added = |call: Call, tracer: Tracer| {
        let of = |tracer| blocks.get(&(call, tracer)).map_or(&[][..], Vec::as_slice).iter().copied();
        Spread::of(of(tracer).zip(of(Tracer::Nobody)).map(|(with, without)| with - without))
    };
    let whole = |call: Call| Spread::of(blocks.get(&(call, Tracer::Nobody)).into_iter().flatten().copied());
    let columns = [Tracer::Empty, Tracer::Cgtrace, Tracer::Bpftrace, Tracer::Strace];
    let rows: Vec<Vec<String>> = Call::ALL
        .into_iter()
        .map(|call| {
            let mut cells = vec![call.name().to_owned(), digits(whole(call).middle)];
            cells.extend(columns.map(|tracer| added(call, tracer).to_string()));
            let [empty, own, other] =
                [Tracer::Empty, Tracer::Cgtrace, Tracer::Bpftrace].map(|tracer| added(call, tracer));
            cells.push(share(&own, &other, &empty));
            cells
        })
        .collect();
    let head = [
        "call",
        "nothing, ns",
        "empty programs add",
        "cgtrace adds",
        "bpftrace adds",
        "strace -f adds",
        "cgtrace ÷ bpftrace",
    ];
    let ok = [Tracer::Cgtrace, Tracer::Empty].map(|tracer| added(Call::OpenOk, tracer));
    let above = match ok {
        [own, empty] if own.low < 0.0 || empty.low < 0.0 => {
            "Whether it adds more to an open and a close that succeed than an empty program does is too noisy to tell."
        }
        [own, empty] if own.is_apart_from(&empty) && own.middle > empty.middle => {
            "To an open and a close that succeed it adds more than an empty program does."
        }
        _ => "To an open and a close that succeed it adds no more than an empty program does.",
    };
    Ok(format!(
        "### Calls\n\n{}\nAims: 0.20 of what bpftrace adds, or less, for an open that fails outside cgroupfs; 0.18 or \
         less for an open and a\nclose that succeed.\n{above}\n\n{}",
        table(&head, &rows),
        counted(bench)?
    ))
}

/// The kernel's own count of the time in its programs, a call.
fn counted(bench: &Bench) -> anyhow::Result<String> {
    let tracers = [Tracer::Empty, Tracer::Cgtrace, Tracer::Bpftrace];
    let mut nanos: BTreeMap<(Call, Tracer), f64> = BTreeMap::new();
    for tracer in tracers {
        step(&format!("calls: the kernel counts the time of {}", tracer.name()));
        let before = programs::loaded();
        let running = Running::start(tracer, &bench.program, &bench.place.0.join("live"))?;
        let own = programs::loaded().difference(&before).copied().collect();
        let _counting = programs::count()?;
        for (number, call) in Call::ALL.into_iter().enumerate() {
            let begun = programs::time_of(&own);
            let mut command = Command::new(super::own()?);
            command.args(["bench", "--measure", "call", "--number", &number.to_string(), "--cgroup"]);
            crate::run(command.arg(&bench.scratch.0))?;
            let took = programs::time_of(&own).saturating_sub(begun);
            nanos.insert((call, tracer), took.as_nanos() as f64 / f64::from(COUNTED));
        }
        running.stop()?;
        bench.place.empty()?;
    }
    let of = |call, tracer| nanos.get(&(call, tracer)).copied().unwrap_or(f64::NAN);
    let rows: Vec<Vec<String>> = Call::ALL
        .into_iter()
        .map(|call| {
            let mut cells = vec![call.name().to_owned()];
            cells.extend(tracers.map(|tracer| digits(of(call, tracer))));
            cells.push(format!("{:.2}", of(call, Tracer::Cgtrace) / of(call, Tracer::Bpftrace)));
            cells
        })
        .collect();
    let head = ["call", "empty programs", "cgtrace", "bpftrace", "cgtrace ÷ bpftrace"];
    Ok(format!(
        "The kernel's own count of the time in its programs, ns a call (`kernel.bpf_stats_enabled`; its two looks at \
         the\nclock are part of each run of a program). What a busy machine does changes it least:\n\n{}",
        table(&head, &rows)
    ))
}
