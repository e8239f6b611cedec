//! Whether programs can be attached to the exit of a kernel function: tried, for no fact tells it.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::btf::Btf;

/// The name of a system call's function in the kernel.
pub(super) fn syscall_function(name: &str) -> String {
    let prefix = if cfg!(target_arch = "aarch64") { "__arm64_sys_" } else { "__x64_sys_" };
    format!("{prefix}{name}")
}

/// Loads and attaches an empty trampoline for a moment: nothing less tells whether it works.
pub(super) fn try_out(btf: &Btf) -> Result<(), String> {
    const PROG_LOAD: i64 = 5;
    const RAW_TRACEPOINT_OPEN: i64 = 17;
    const PROG_TYPE_TRACING: u32 = 26;
    const TRACE_FEXIT: u32 = 25;
    // r0 = 0; exit
    const PROGRAM: [u64; 2] = [0xb7, 0x95];
    let function = syscall_function("mkdirat");
    let id = btf.function(&function).ok_or_else(|| format!("the kernel's BTF has no {function}"))?;
    let licence = c"GPL";
    let mut attribute = [0u8; 144];
    let mut put = |at: usize, bytes: &[u8]| attribute[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &PROG_TYPE_TRACING.to_ne_bytes());
    put(4, &(PROGRAM.len() as u32).to_ne_bytes());
    put(8, &(PROGRAM.as_ptr() as u64).to_ne_bytes());
    put(16, &(licence.as_ptr() as u64).to_ne_bytes());
    put(68, &TRACE_FEXIT.to_ne_bytes());
    put(108, &id.to_ne_bytes());
    let program =
        bpf(PROG_LOAD, &attribute).map_err(|error| format!("fexit on {function} cannot be loaded: {error}"))?;
    let mut attribute = [0u8; 144];
    attribute[8..12].copy_from_slice(&program.as_raw_fd().to_ne_bytes());
    let link = bpf(RAW_TRACEPOINT_OPEN, &attribute);
    link.map(drop).map_err(|error| format!("fexit on {function} cannot be attached: {error}"))
}

fn bpf(command: i64, attribute: &[u8; 144]) -> std::io::Result<OwnedFd> {
    // SAFETY: the attribute is laid out as `union bpf_attr`, and what it points to lives through the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attribute.as_ptr(), attribute.len()) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
