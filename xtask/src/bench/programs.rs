//! The kernel's own count of the time that its programs take: the figure that a busy machine changes least.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::Context;

/// A bpf(2) call that gives a number.
pub fn bpf(command: i64, attribute: &mut [u8; 128]) -> io::Result<i32> {
    // SAFETY: the attribute is laid out as `union bpf_attr`, and what it points to lives through the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attribute.as_mut_ptr(), attribute.len()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// One that gives a descriptor.
pub fn bpf_open(command: i64, attribute: &mut [u8; 128]) -> io::Result<OwnedFd> {
    let fd = bpf(command, attribute)?;
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has the kernel count until the result is dropped.
pub fn count() -> anyhow::Result<OwnedFd> {
    const ENABLE_STATS: i64 = 32;
    bpf_open(ENABLE_STATS, &mut [0; 128]).context("failed to have the kernel count the time of its programs")
}

/// The numbers of all programs that are loaded.
pub fn loaded() -> BTreeSet<u32> {
    const NEXT_ID: i64 = 11;
    let mut attribute = [0; 128];
    let mut found = BTreeSet::new();
    while bpf(NEXT_ID, &mut attribute).is_ok() {
        let id = [attribute[4], attribute[5], attribute[6], attribute[7]];
        found.insert(u32::from_ne_bytes(id));
        attribute[..4].copy_from_slice(&id);
    }
    found
}

/// The time that these have taken together. One that is gone has taken none.
pub fn time_of(programs: &BTreeSet<u32>) -> Duration {
    programs.iter().filter_map(|id| time_of_one(*id).ok()).sum()
}

fn time_of_one(id: u32) -> io::Result<Duration> {
    const OPEN_BY_ID: i64 = 13;
    const INFO: i64 = 15;
    /// `run_time_ns` of `struct bpf_prog_info`.
    const PLACE: usize = 192;
    let mut attribute = [0; 128];
    attribute[..4].copy_from_slice(&id.to_ne_bytes());
    let program = bpf_open(OPEN_BY_ID, &mut attribute)?;
    let mut info = [0u8; PLACE + 8];
    let mut attribute = [0; 128];
    attribute[..4].copy_from_slice(&program.as_raw_fd().to_ne_bytes());
    attribute[4..8].copy_from_slice(&(info.len() as u32).to_ne_bytes());
    attribute[8..16].copy_from_slice(&(info.as_mut_ptr() as u64).to_ne_bytes());
    bpf(INFO, &mut attribute)?;
    let nanos = info[PLACE..].try_into().map(u64::from_ne_bytes).unwrap_or(0);
    Ok(Duration::from_nanos(nanos))
}
