//! bpf(2), where aya does not ask what we want to know.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::{Resource, Rlimit, setrlimit};

/// Commands of bpf(2).
#[derive(Clone, Copy, Debug)]
#[repr(i64)]
pub(super) enum Command {
    MapCreate = 0,
    MapLookUp = 1,
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

    /// That loads a program, which must live until it is loaded.
    pub fn of_program(kind: u32, program: &[Instruction]) -> Self {
        let licence = c"GPL";
        Self::new()
            .with(0, &kind.to_ne_bytes())
            .with(4, &(program.len() as u32).to_ne_bytes())
            .with(8, &(program.as_ptr() as u64).to_ne_bytes())
            .with(16, &(licence.as_ptr() as u64).to_ne_bytes())
    }
}

/// An instruction of a program: its code, registers, offset and number, in the order of bytes of both architectures.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Instruction(u64);

impl Instruction {
    /// r0 = 0
    pub const ZERO: Self = Self(0xb7);
    pub const EXIT: Self = Self(0x95);
    /// *(u64 *)(r1 + 0) = 1
    pub const STORE_ONE: Self = Self(1 << 32 | 0x017a);
    /// r1 = r10; r1 += -8
    pub const INTO_STACK: [Self; 2] = [Self(0xa1bf), Self((-8i32 as u32 as u64) << 32 | 0x0107)];
    /// r2 = 8
    pub const SECOND_IS_EIGHT: Self = Self(8 << 32 | 0x02b7);
    /// r3 = 0
    pub const THIRD_IS_ZERO: Self = Self(0x03b7);

    /// Calls a helper.
    pub const fn call(helper: u32) -> Self {
        Self((helper as u64) << 32 | 0x85)
    }

    /// r1 = the address of an array's first value.
    pub fn value_of(map: BorrowedFd<'_>) -> [Self; 2] {
        const BPF_PSEUDO_MAP_VALUE: u64 = 2;
        [Self((map.as_raw_fd() as u64) << 32 | BPF_PSEUDO_MAP_VALUE << 12 | 0x0118), Self(0)]
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

/// Makes a map of that kind. `sizes`: bytes of a key and of a value, and how many there are at most.
pub(super) fn create_map(kind: u32, sizes: [u32; 3]) -> io::Result<OwnedFd> {
    let mut attribute = Attribute::new().with(0, &kind.to_ne_bytes());
    for (index, size) in sizes.into_iter().enumerate() {
        attribute = attribute.with(4 + 4 * index, &size.to_ne_bytes());
    }
    let created = open(Command::MapCreate, &attribute);
    if created.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
        // Before 5.11 maps are locked memory, and there is little of it.
        let unlimited = Rlimit { current: None, maximum: None };
        if setrlimit(Resource::Memlock, unlimited).is_ok() {
            return open(Command::MapCreate, &attribute);
        }
    }
    created
}

/// A value of an array of longs.
pub(super) fn look_up(map: BorrowedFd<'_>, key: u32) -> io::Result<u64> {
    let mut value = 0u64;
    let attribute = Attribute::new()
        .with(0, &map.as_raw_fd().to_ne_bytes())
        .with(8, &((&raw const key) as u64).to_ne_bytes())
        .with(16, &((&raw mut value) as u64).to_ne_bytes());
    call(Command::MapLookUp, &attribute)?;
    // SAFETY: it is read back as the kernel has changed it.
    Ok(unsafe { (&raw const value).read_volatile() })
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
