//! Whether programs can be attached to the exit of a kernel function: tried, for no fact tells it.

use std::os::fd::AsRawFd;

use super::bpf::{Attribute, Command, open};
use super::btf::{Excerpt, syscall_function};
use super::refused::plain;

/// Loads and attaches an empty trampoline for a moment: nothing less tells whether it works.
pub(super) fn try_out(btf: &Excerpt) -> Result<(), String> {
    const PROG_TYPE_TRACING: u32 = 26;
    const TRACE_FEXIT: u32 = 25;
    // r0 = 0; exit
    const PROGRAM: [u64; 2] = [0xb7, 0x95];
    let function = syscall_function("mkdirat");
    let id = btf.function(&function).ok_or_else(|| format!("the kernel's BTF has no {function}"))?;
    let licence = c"GPL";
    let attribute = Attribute::new()
        .with(0, &PROG_TYPE_TRACING.to_ne_bytes())
        .with(4, &(PROGRAM.len() as u32).to_ne_bytes())
        .with(8, &(PROGRAM.as_ptr() as u64).to_ne_bytes())
        .with(16, &(licence.as_ptr() as u64).to_ne_bytes())
        .with(68, &TRACE_FEXIT.to_ne_bytes())
        .with(108, &id.to_ne_bytes());
    let program = open(Command::ProgramLoad, &attribute)
        .map_err(|error| plain(&format!("fexit on {function} cannot be loaded: {error}")))?;
    let attribute = Attribute::new().with(8, &program.as_raw_fd().to_ne_bytes());
    let link = open(Command::RawTracepointOpen, &attribute);
    link.map(drop).map_err(|error| plain(&format!("fexit on {function} cannot be attached: {error}")))
}
