//! bpf(2), where aya does not ask what we want to know.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Commands of bpf(2).
#[derive(Clone, Copy, Debug)]
#[repr(i64)]
pub(super) enum Command {
    ProgramLoad = 5,
    ObjectInfo = 15,
    RawTracepointOpen = 17,
}

/// `union bpf_attr`, filled in byte by byte: longer than any of the commands here reads.
#[derive(Clone, Copy)]
pub(super) struct Attribute([u8; 144]);

impl Attribute {
    pub const fn new() -> Self {
        Self([0; 144])
    }

    /// The same with these bytes at that place.
    pub fn with(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }
}

/// A call that gives a number.
fn call(command: Command, attribute: &Attribute) -> io::Result<i32> {
    // SAFETY: the attribute is laid out as `union bpf_attr`, and what it points to lives through the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command as i64, attribute.0.as_ptr(), attribute.0.len()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// A call that gives a descriptor.
pub(super) fn open(command: Command, attribute: &Attribute) -> io::Result<OwnedFd> {
    let fd = call(command, attribute)?;
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// How often the kernel skipped a program, because it was running already on that processor: `recursion_misses` of
/// `struct bpf_prog_info`. `None` if this kernel does not count it (before 5.12).
pub(super) fn misses(program: BorrowedFd<'_>) -> Option<u64> {
    const PLACE: usize = 208;
    const LENGTH: usize = PLACE + size_of::<u64>();
    // What the kernel does not fill in stays 0, and it says how much it would fill in.
    let mut info = [0u8; LENGTH];
    let attribute = Attribute::new()
        .with(0, &program.as_raw_fd().to_ne_bytes())
        .with(4, &(LENGTH as u32).to_ne_bytes())
        .with(8, &(info.as_mut_ptr() as u64).to_ne_bytes());
    call(Command::ObjectInfo, &attribute).ok()?;
    // SAFETY: it is read back as the kernel may have changed it.
    let known = unsafe { attribute.0.as_ptr().add(4).cast::<u32>().read_volatile() };
    (known as usize >= LENGTH).then(|| info[PLACE..].try_into().map(u64::from_ne_bytes).unwrap_or_default())
}
