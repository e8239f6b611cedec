//! Whether programs can be attached to the exit of a kernel function, and run there: tried, for no fact tells it.

use std::os::fd::{AsFd, AsRawFd};

use super::bpf::{Attribute, Command, Instruction, create_map, look_up, open};
use super::btf::{Excerpt, function_of};
use super::firing::until_seen;
use super::refused::plain;
use crate::input::Syscall;
use crate::process;

/// Why trampolines that are attached do not run, if that can be told.
pub(super) fn why_silent() -> Option<&'static str> {
    (process::is_ftrace_enabled() == Some(false)).then_some("kernel.ftrace_enabled is 0")
}

/// Attaches a trampoline for a moment, and makes a call to see it run: nothing less tells whether it works.
pub(super) fn try_out(btf: &Excerpt) -> Result<(), String> {
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    const BPF_PROG_TYPE_TRACING: u32 = 26;
    const BPF_TRACE_FEXIT: u32 = 25;
    // What is detached while ftrace is off cannot be attached again when it is on: nothing is tried.
    if let Some(why) = why_silent() {
        return Err(format!("{why}: they would not run"));
    }
    let function = function_of(Syscall::Mkdirat);
    let id = btf.function(&function).ok_or_else(|| format!("the kernel's BTF has no {function}"))?;
    let failed = |what: &str, error: std::io::Error| plain(&format!("fexit on {function} cannot be {what}: {error}"));
    let map = create_map(BPF_MAP_TYPE_ARRAY, [size_of::<u32>() as u32, size_of::<u64>() as u32, 1])
        .map_err(|error| failed("given a map", error))?;
    let [high, low] = Instruction::value_of(map.as_fd());
    let program = [high, low, Instruction::STORE_ONE, Instruction::ZERO, Instruction::EXIT];
    let attribute = Attribute::of_program(BPF_PROG_TYPE_TRACING, &program)
        .with(68, &BPF_TRACE_FEXIT.to_ne_bytes())
        .with(108, &id.to_ne_bytes());
    let program = open(Command::ProgramLoad, &attribute).map_err(|error| failed("loaded", error))?;
    let attribute = Attribute::new().with(8, &program.as_raw_fd().to_ne_bytes());
    let _link = open(Command::RawTracepointOpen, &attribute).map_err(|error| failed("attached", error))?;
    let has_run = until_seen(|| {
        // SAFETY: the path ends in a zero. There is nothing of that name.
        unsafe { libc::mkdirat(libc::AT_FDCWD, c"".as_ptr(), 0) };
        look_up(map.as_fd(), 0).is_ok_and(|value| value == 1)
    });
    if has_run { Ok(()) } else { Err(format!("fexit on {function} is attached, but does not run")) }
}
