//! Failed system calls that concern cgroupfs, seen on their way out.
//!
//! Cheap things first: the result, the call's number, its flags, sixteen bytes of the path, and only then the rest. By
//! then the path is in memory, so that reading it does not fault as it can on the way in. Calls of 32-bit programs have
//! other numbers and are left alone.
//!
//! Calls that were given a descriptor are likewise told by what is open there: its superblock, then its name and its
//! cgroup, and the first bytes of what was to be written. Programs read and write all the time, so that the errors
//! decide: one that a control file does not answer ends here.
//!
//! Each hook has a second copy, for kernels that can preempt a program while it runs ([`Turn`]).
//!
//! Three ways in, one body: `sys_exit` as a BTF tracepoint (registers can be read without a helper), as a raw
//! tracepoint (kernels without BTF), and a trampoline on each system call's function (costs nothing on other calls).

use core::{ffi::c_void, hint::black_box, mem::MaybeUninit};

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_probe_read_kernel,
        bpf_probe_read_user,
        generated::{self, bpf_ktime_get_boot_ns, bpf_probe_read_user_str},
    },
    macros::{btf_tracepoint, fexit, raw_tracepoint},
    programs::{BtfTracePointContext, FExitContext, RawTracePointContext},
};
use tracer_ebpf::{
    Attempt, Denied, LONGEST_PATH, LONGEST_VALUE, LONGEST_WALK, PREFIX_WORDS, PREFIXES as PREFIX_COUNT, config,
    feature, flag, kind, lost,
    offset::*,
    slot,
    syscalls::{self, Flags, Leads, Operation, TABLE, Value},
};

use crate::actors;
use crate::kernel::{Address, current, namespace, peek, peek_u32, read, walk_up, within};
use crate::maps::{self, ABOVE, ATTEMPTS, BUCKETS, Bucket, PREFIXES, Turn, WATCHED, knows};

const AT_FDCWD: i32 = -100;
const CGROUP_SUPER_MAGIC: u64 = 0x27_e0eb;
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
/// Errors are the results from -4095 to -1.
const LOWEST_ERROR: u64 = -4095i64 as u64;
/// A bit of `clone_args.flags`.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// Where `clone_args.cgroup` is (linux/sched.h).
const CLONE_ARGS_CGROUP: u64 = 80;

/// The caller's registers as they were on entry: where in `struct pt_regs` the arguments and the call's number are.
#[cfg(bpf_target_arch = "x86_64")]
mod abi {
    /// rdi, rsi, rdx
    pub const ARGUMENTS: [usize; 3] = [112, 104, 96];
    pub const NUMBER: usize = 120;
    /// The code segment, two bytes: tells 32-bit callers.
    pub const CS: usize = 136;
    /// `__USER_CS`
    pub const CS_64: u16 = 0x33;
}

#[cfg(bpf_target_arch = "aarch64")]
mod abi {
    /// orig_x0 (x0 holds the result by now), x1, x2
    pub const ARGUMENTS: [usize; 3] = [272, 8, 16];
    pub const NUMBER: usize = 280;
    /// The processor's state, whose bit 4 tells 32-bit callers.
    pub const PSTATE: usize = 264;
}

/// A way to read `struct pt_regs`.
trait Registers: Copy {
    fn read<T: Copy + Default>(self, offset: usize) -> T;

    #[inline(always)]
    fn argument(self, number: usize) -> u64 {
        self.read(abi::ARGUMENTS[number])
    }

    #[inline(always)]
    fn is_64_bit(self) -> bool {
        #[cfg(bpf_target_arch = "x86_64")]
        return self.read::<u16>(abi::CS) == abi::CS_64;
        #[cfg(bpf_target_arch = "aarch64")]
        return self.read::<u64>(abi::PSTATE) & 0x10 == 0;
    }
}

/// The verifier knows the type behind this pointer: plain loads.
#[derive(Clone, Copy)]
struct Typed(u64);

impl Registers for Typed {
    #[inline(always)]
    fn read<T: Copy + Default>(self, offset: usize) -> T {
        // SAFETY: the verifier has checked that this is a `struct pt_regs` and what lies at the offset.
        unsafe { core::ptr::read_volatile((self.0 as *const u8).add(offset).cast()) }
    }
}

/// A plain kernel address.
#[derive(Clone, Copy)]
struct Untyped(Address);

impl Registers for Untyped {
    #[inline(always)]
    fn read<T: Copy + Default>(self, offset: usize) -> T {
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_kernel((self.0 + offset as u64) as *const T) }.unwrap_or_default()
    }
}

#[inline(always)]
pub fn failed(result: u64) -> bool {
    result >= LOWEST_ERROR
}

/// A row's number on this architecture; one that no call has where there is none.
const fn number(row: u8) -> u32 {
    let row_of_table = &TABLE[row as usize];
    #[cfg(bpf_target_arch = "x86_64")]
    let number = row_of_table.x86_64;
    #[cfg(bpf_target_arch = "aarch64")]
    let number = row_of_table.aarch64;
    match number {
        Some(number) => number,
        None => u32::MAX - row as u32,
    }
}

/// What a call on its way out was given, by its number; and its trampoline, by its row.
macro_rules! calls {
    ($(
        $variant:ident $constant:ident $trampoline:ident $again:ident $name:literal =
            $first:ident $arguments:tt $(.$more:ident $with:tt)*;
    )*) => {
        #[inline(always)]
        fn numbered(registers: impl Registers, called: u32, result: u64) -> Option<Call> {
            mod numbers {
                $(pub const $constant: u32 = super::number(tracer_ebpf::syscalls::$constant);)*
            }
            match called {
                $(numbers::$constant => Call::of(registers, syscalls::$constant, result),)*
                _ => None,
            }
        }

        $(trampolines!($constant $trampoline $again);)*
    };
}

macro_rules! trampolines {
    ($constant:ident none none) => {};
    ($constant:ident $trampoline:ident $again:ident) => {
        #[fexit]
        pub fn $trampoline(ctx: FExitContext) -> i32 {
            trampoline(&ctx, syscalls::$constant, Turn::First)
        }

        #[fexit]
        pub fn $again(ctx: FExitContext) -> i32 {
            trampoline(&ctx, syscalls::$constant, Turn::Second)
        }
    };
}

tracer_ebpf::for_each_syscall!(calls);

/// The exit of one system call's function.
#[inline(always)]
fn trampoline(ctx: &FExitContext, row: u8, turn: Turn) -> i32 {
    let (registers, result) = arguments(ctx);
    if !failed(result) || maps::is_taken_over() {
        return 0;
    }
    match Call::of(registers, row, result) {
        Some(call) => attempt(ctx, registers, call, turn, turn.slot(slot::TRAMPOLINES + row as u32)),
        None => 0,
    }
}

/// Any system call's exit. Nearly all succeed: for those there is no more to this program than one comparison. What it
/// would take more of registers and of stack, every call of the host would pay for.
#[inline(always)]
fn sys_exit<R: Registers, const SECOND: bool>(ctx: &impl EbpfContext, registers: R, result: u64) -> i32 {
    if failed(result) { sys_exit_failed::<R, SECOND>(ctx.as_ptr(), registers, result) } else { 0 }
}

/// The exit of a system call that failed.
#[inline(never)]
fn sys_exit_failed<R: Registers, const SECOND: bool>(ctx: *mut c_void, registers: R, result: u64) -> i32 {
    let turn = if SECOND { Turn::Second } else { Turn::First };
    match numbered(registers, registers.read::<u32>(abi::NUMBER), result) {
        Some(call) => attempt(&RawTracePointContext::new(ctx), registers, call, turn, turn.slot(slot::SYS_EXIT)),
        None => 0,
    }
}

/// The two arguments of a hook: the registers, and the result.
#[inline(always)]
fn arguments(ctx: &impl EbpfContext) -> (Typed, u64) {
    let arguments = ctx.as_ptr().cast::<u64>();
    // SAFETY: the tracepoint has these two arguments; a trampoline has one, and the function's result behind it.
    unsafe { (Typed(core::ptr::read_volatile(arguments)), core::ptr::read_volatile(arguments.add(1))) }
}

#[btf_tracepoint(function = "sys_exit")]
pub fn sys_exit_btf(ctx: BtfTracePointContext) -> i32 {
    let (registers, result) = arguments(&ctx);
    sys_exit::<_, false>(&ctx, registers, result)
}

#[btf_tracepoint(function = "sys_exit")]
pub fn again_sys_exit_btf(ctx: BtfTracePointContext) -> i32 {
    let (registers, result) = arguments(&ctx);
    sys_exit::<_, true>(&ctx, registers, result)
}

#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn sys_exit_raw(ctx: RawTracePointContext) -> i32 {
    sys_exit::<_, false>(&ctx, Untyped(ctx.arg(0)), ctx.arg(1))
}

#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn again_sys_exit_raw(ctx: RawTracePointContext) -> i32 {
    sys_exit::<_, true>(&ctx, Untyped(ctx.arg(0)), ctx.arg(1))
}

/// What a call was given.
#[derive(Clone, Copy)]
pub struct Call {
    /// Its row.
    syscall: u8,
    operation: u8,
    errno: u16,
    /// The descriptor of a directory; of what the call is about, if it is of an open file.
    directory: i32,
    /// Whether it was given no path but a descriptor.
    is_open: bool,
    /// Where the path is; what was to be written, if it was given no path.
    path: u64,
    /// Where the vector of buffers is that are to be written; else 0.
    vector: u64,
    /// How long what was to be written is; of a vector, how many buffers there are.
    length: u64,
    /// The `O_` flags of an open; of a change, how long it took.
    flags: u64,
    /// Where `openat2` was given its `struct open_how`; else 0.
    how: u64,
}

impl Call {
    /// A write to a control file that ended in the kernel's function: with that error, or none.
    #[inline(always)]
    pub fn behind_writes(errno: u16, took: u64) -> Self {
        Self {
            syscall: syscalls::CGROUP_FILE_WRITE,
            operation: Operation::Write as u8,
            errno,
            directory: 0,
            is_open: true,
            path: 0,
            vector: 0,
            length: 0,
            flags: took,
            how: 0,
        }
    }

    /// `None` for a call that is of no interest.
    ///
    /// From here on all calls are alike: what follows does not ask which one it is, so that the verifier goes through
    /// it once and not once for each.
    #[inline(always)]
    fn of(registers: impl Registers, row: u8, result: u64) -> Option<Self> {
        let syscall = &TABLE[row as usize];
        let errno = (result as i64).unsigned_abs() as u16;
        if !syscall.is_ours(errno) || syscall.only_with.is_some_and(|(at, bits)| registers.argument(at) & bits == 0) {
            return None;
        }
        let argument = |at| registers.argument(at);
        let (directory, path, vector, length) = match syscall.leads {
            Leads::Path { directory, path } => {
                (directory.map_or(AT_FDCWD, |at| argument(at) as i32), argument(path), 0, 0)
            }
            Leads::Descriptor(Value::None) => (argument(0) as i32, 0, 0, 0),
            Leads::Descriptor(Value::Buffer) => (argument(0) as i32, argument(1), 0, argument(2)),
            Leads::Descriptor(Value::Vector) => (argument(0) as i32, 0, argument(1), argument(2)),
            Leads::CloneArgs => (cgroup_of_clone(argument(0), argument(1))?, 0, 0, 0),
        };
        let (flags, how) = match syscall.flags {
            Flags::None => (0, 0),
            Flags::Argument(at) => (registers.argument(at), 0),
            Flags::How(at) => (0, registers.argument(at)),
        };
        let is_open = black_box(!matches!(syscall.leads, Leads::Path { .. }));
        let (syscall, operation, errno) = (black_box(row), black_box(syscall.operation as u8), black_box(errno));
        Some(Self { syscall, operation, errno, directory, is_open, path, vector, length, flags, how })
    }
}

/// The descriptor of the cgroup that a process was to begin in. `None` if none was named.
#[inline(always)]
fn cgroup_of_clone(arguments: u64, size: u64) -> Option<i32> {
    if size < CLONE_ARGS_CGROUP + 8 {
        return None;
    }
    // SAFETY: the helper checks the address. The flags come first.
    let flags = unsafe { bpf_probe_read_user(arguments as *const u64) }.ok()?;
    if flags & CLONE_INTO_CGROUP == 0 {
        return None;
    }
    // SAFETY: likewise.
    unsafe { bpf_probe_read_user((arguments + CLONE_ARGS_CGROUP) as *const u64) }.ok().map(|cgroup| cgroup as i32)
}

/// Where a path from a directory on cgroupfs starts, or from one on a file system above a mount of it; or what is open
/// on cgroupfs.
#[derive(Clone, Copy)]
pub struct Place {
    /// 0 for an absolute path to cgroupfs.
    dentry: Address,
    /// That of the directory itself: what is open is mostly a file.
    directory: Address,
    mount: Address,
    /// [`flag::OUTSIDE`], or none.
    flags: u8,
}

impl Place {
    const ABSOLUTE: Self = Self { dentry: 0, directory: 0, mount: 0, flags: 0 };
}

/// A call that concerns cgroupfs.
#[derive(Clone, Copy)]
struct Ours {
    call: Call,
    place: Place,
}

impl Ours {
    /// Puts it aside and takes it from there. The verifier knows of each row what is always the same in it, and would
    /// go through all that follows once for each of them: of what comes out of a map it knows nothing.
    #[inline(always)]
    fn forgotten(self, scratch: *mut u8) -> Self {
        const { assert!(size_of::<Self>() <= maps::SCRATCH - maps::ASIDE) }
        // SAFETY: there is room behind all else, aligned for it.
        unsafe {
            let aside = scratch.add(maps::ASIDE).cast::<Self>();
            aside.write_volatile(self);
            aside.read_volatile()
        }
    }
}

/// A failed call: does it concern us, may it be reported, and what is there to say?
#[inline(always)]
fn attempt(ctx: &impl EbpfContext, registers: impl Registers, call: Call, turn: Turn, slot: u32) -> i32 {
    let Some(place) = concerns(&call).filter(|_| registers.is_64_bit()) else { return 0 };
    let Some(scratch) = maps::scratch(slot) else { return 0 };
    let Ours { call, place } = Ours { call, place }.forgotten(scratch);
    let pid_tgid = bpf_get_current_pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    if u64::from(tgid) == maps::config(config::SELF) {
        maps::count_own_call();
        return 0;
    }
    if turn.is_told(pid_tgid as u32) {
        return 0;
    }
    actors::saw(tgid, slot);
    // SAFETY: the helper has no arguments.
    let at = unsafe { bpf_ktime_get_boot_ns() };
    debug!(ctx, "{}: call {} failed with {}", tgid, call.syscall, call.errno);
    let uid = bpf_get_current_uid_gid() as u32;
    if may_report(tgid, uid, call.operation, at) {
        report(head(&call, pid_tgid, uid, at), &call, place, scratch);
    }
    0
}

/// Where it leads, if that concerns us.
#[inline(always)]
fn concerns(call: &Call) -> Option<Place> {
    if call.is_open {
        return open(call);
    }
    // Not filled with zeros first: every failed open of the host pays for what is done here.
    let mut start = MaybeUninit::<[u64; 2]>::uninit();
    // SAFETY: there is room for sixteen bytes; the helpers fail where they cannot read.
    let unreadable = unsafe {
        // Sixteen bytes as they are take less time than a string, and what follows a shorter one is never looked at.
        // But the memory may end where the string does.
        generated::bpf_probe_read_user(start.as_mut_ptr().cast(), 16, call.path as *const _) != 0
            && bpf_probe_read_user_str(start.as_mut_ptr().cast(), 16, call.path as *const _) < 0
    };
    if unreadable {
        // EFAULT is the call's own answer to such a path; it concerns nothing.
        return None;
    }
    // SAFETY: every value is valid; what lies behind a short string is never looked at.
    let start = unsafe { start.assume_init() };
    if start[0] as u8 == b'/' {
        absolute(start, call.path).then_some(Place::ABSOLUTE)
    } else {
        relative(call.directory, start)
    }
}

/// What is told of it before its path.
#[inline(always)]
pub fn head(call: &Call, pid_tgid: u64, uid: u32, at: u64) -> Attempt {
    let detail = if call.how != 0 {
        // The first member.
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_user(call.how as *const u64) }.unwrap_or(0)
    } else {
        call.flags
    };
    Attempt {
        kind: kind::ATTEMPT,
        syscall: call.syscall,
        errno: call.errno,
        flags: 0,
        padding: 0,
        path_len: 0,
        walk_len: 0,
        padding2: 0,
        mounts: 0,
        at,
        detail,
        directory: 0,
        device: 0,
        tgid: (pid_tgid >> 32) as u32,
        tid: pid_tgid as u32,
        uid,
        mount_namespace: 0,
        mount: 0,
        comm: bpf_get_current_comm().unwrap_or_default(),
    }
}

/// Tells of it.
#[inline(always)]
fn report(head: Attempt, call: &Call, place: Place, scratch: *mut u8) {
    const HEAD: usize = size_of::<Attempt>();
    // SAFETY: the scratch memory is aligned for a head and has room for it.
    let record = unsafe {
        scratch.cast::<Attempt>().write(head);
        &mut *scratch.cast::<Attempt>()
    };
    // SAFETY: the tail begins behind the head and has room for a path and a walk.
    let tail = unsafe { scratch.add(HEAD) };
    let path_len = if call.is_open { value(call, tail, record) } else { path(call.path, tail) };
    let path_len = maps::unbounded(path_len);
    if path_len >= LONGEST_PATH {
        maps::count_lost(lost::ATTEMPT_UNREADABLE);
        return;
    }
    let Some(bytes) = completed(record, path_len, place, scratch) else { return };
    if ATTEMPTS.output::<[u8]>(bytes, 0).is_err() {
        maps::count_lost(lost::ATTEMPTS_FULL);
    }
}

/// Adds what is told of it behind its path, or behind what was to be written: so many bytes. `record` is what `scratch`
/// begins with. Returns all of it; `None` if it is too long, which it never is.
#[inline(always)]
pub fn completed(record: &mut Attempt, path_len: usize, place: Place, scratch: *mut u8) -> Option<&'static [u8]> {
    const HEAD: usize = size_of::<Attempt>();
    // SAFETY: the tail begins behind the head and has room for a path and a walk.
    let tail = unsafe { scratch.add(HEAD) };
    record.path_len = path_len as u16;
    if path_len == LONGEST_PATH - 1 {
        record.flags |= flag::PATH_TRUNCATED;
    }
    if knows(feature::MOUNT_NAMESPACE) {
        record.mount_namespace = namespace(current(), NSPROXY_MNT_NS, MNT_NAMESPACE_NS);
    }
    record.mounts = actors::mount_changes(current());
    let mut length = path_len;
    if place.dentry != 0 {
        record.flags |= flag::RELATIVE | place.flags;
        record.directory = peek(peek(place.directory, DENTRY_INODE), INODE_INO);
        record.device = peek_u32(peek(place.dentry, DENTRY_SB), SB_DEV);
        if knows(feature::MOUNT_ID) {
            record.mount = peek_u32(place.mount - u64::from(maps::offset(MOUNT_MNT)), MOUNT_MNT_ID);
        }
        // SAFETY: a walk fits behind the longest path.
        if !walk_up(place.dentry, unsafe { tail.add(path_len) }, &raw mut record.walk_len) {
            record.flags |= flag::WALK_TRUNCATED;
        }
        // SAFETY: a field of the record.
        length += usize::from(unsafe { (&raw const record.walk_len).read_volatile() });
    }
    let length = maps::unbounded(length);
    if length > LONGEST_PATH + LONGEST_WALK {
        return None;
    }
    // SAFETY: head and tail were just written; the scratch memory is a map's, which stays.
    Some(unsafe { core::slice::from_raw_parts(scratch, HEAD + length) })
}

/// Reads a path. What is longer than any path can be, if it cannot be read.
#[inline(always)]
fn path(path: u64, out: *mut u8) -> usize {
    // SAFETY: there is room for a path; the helper fails where it cannot read.
    let got = unsafe { bpf_probe_read_user_str(out.cast(), LONGEST_PATH as u32, path as *const _) };
    if got <= 0 { usize::MAX } else { got as usize - 1 }
}

/// Reads the beginning of what was to be written: of a vector, of the first one of two that is not empty. Returns how
/// long that is.
#[inline(always)]
fn value(call: &Call, out: *mut u8, record: &mut Attempt) -> usize {
    let (mut at, mut length, mut is_cut) = (call.path, call.length, false);
    if call.vector != 0 {
        let mut vector = [0u64; 4];
        let bytes = if length > 1 { 32 } else { 16 };
        // SAFETY: there is room for two `struct iovec`; the helper fails where it cannot read.
        if unsafe { generated::bpf_probe_read_user(vector.as_mut_ptr().cast(), bytes, call.vector as *const _) } != 0 {
            return 0;
        }
        is_cut = length > 2 || vector[1] != 0 && vector[3] != 0;
        (at, length) = if vector[1] == 0 { (vector[2], vector[3]) } else { (vector[0], vector[1]) };
    }
    if at == 0 {
        return 0;
    }
    if length > LONGEST_VALUE as u64 {
        (length, is_cut) = (LONGEST_VALUE as u64, true);
    }
    let length = maps::unbounded(length as usize) & (2 * LONGEST_VALUE - 1);
    // SAFETY: there is room for a value; the helper fails where it cannot read.
    if unsafe { generated::bpf_probe_read_user(out.cast(), length as u32, at as *const _) } != 0 {
        return 0;
    }
    record.flags |= if is_cut { flag::HAS_VALUE | flag::PATH_TRUNCATED } else { flag::HAS_VALUE };
    length
}

/// Whether an absolute path leads to or below a mount point of cgroupfs.
#[inline(always)]
fn absolute(start: [u64; 2], path: u64) -> bool {
    const USUAL: [u64; 2] = [u64::from_ne_bytes(*b"/sys/fs/"), u64::from_ne_bytes(*b"cgroup\0\0")];
    const SIX: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
    if start[0] == USUAL[0] && start[1] & SIX == USUAL[1] {
        let next = start[1].to_ne_bytes()[6];
        return next == 0 || next == b'/';
    }
    let Some(watched) = WATCHED.get(0) else { return false };
    for index in 0..PREFIX_COUNT as u32 {
        if u64::from(index) >= watched.prefixes {
            break;
        }
        let Some(prefix) = PREFIXES.get(index) else { break };
        if start[0] & prefix.mask[0] == prefix.value[0]
            && start[1] & prefix.mask[1] == prefix.value[1]
            && leads_below(path, prefix)
        {
            return true;
        }
    }
    false
}

/// The whole comparison with a mount point that begins like the path: by words and without a branch, for the verifier
/// goes both ways of each.
#[inline(always)]
fn leads_below(path: u64, prefix: &tracer_ebpf::Prefix) -> bool {
    let mut words = MaybeUninit::<[u64; PREFIX_WORDS]>::uninit();
    // SAFETY: there is room; the helper fails where it cannot read.
    if unsafe { bpf_probe_read_user_str(words.as_mut_ptr().cast(), PREFIX_WORDS as u32 * 8, path as *const _) } < 0 {
        return false;
    }
    // SAFETY: every value is valid. What lies behind the path's end does not matter: there the path is different
    // already.
    let words = unsafe { words.assume_init_ref() };
    let (mut different, mut next) = (0, 0);
    for (index, word) in words.iter().enumerate() {
        different |= word & prefix.masks[index] ^ prefix.words[index];
        next |= word & prefix.next[index];
    }
    different == 0 && (next == 0 || next == prefix.slash)
}

/// Whether a relative path starts on cgroupfs, or leads to it from above: asks the superblock, as names mean nothing.
#[inline(always)]
fn relative(dirfd: i32, start: [u64; 2]) -> Option<Place> {
    if !knows(feature::RELATIVE_PATHS) {
        return None;
    }
    let task = current();
    let path = if dirfd == AT_FDCWD { within(peek(task, TASK_FS), FS_PWD) } else { opened(task, dirfd) };
    let dentry = peek(path, PATH_DENTRY);
    let superblock = peek(dentry, DENTRY_SB);
    let flags = match peek(superblock, SB_MAGIC) {
        CGROUP_SUPER_MAGIC | CGROUP2_SUPER_MAGIC => 0,
        _ if leads_down(superblock, start) => flag::OUTSIDE,
        _ => return None,
    };
    let mount = if knows(feature::MOUNT_ID) { peek(path, PATH_MNT) } else { 0 };
    Some(Place { dentry, directory: dentry, mount, flags })
}

/// Whether what is open is on cgroupfs. It is a file of a cgroup, but for the cgroup that a process was to begin in.
#[inline(always)]
fn open(call: &Call) -> Option<Place> {
    if !knows(feature::RELATIVE_PATHS) {
        return None;
    }
    on_cgroupfs(opened(current(), call.directory), call.operation)
}

/// The place of a `struct path` on cgroupfs.
#[inline(always)]
pub fn on_cgroupfs(path: Address, operation: u8) -> Option<Place> {
    let dentry = peek(path, PATH_DENTRY);
    match peek(peek(dentry, DENTRY_SB), SB_MAGIC) {
        CGROUP_SUPER_MAGIC | CGROUP2_SUPER_MAGIC => {}
        _ => return None,
    }
    let directory = if operation == Operation::Spawn as u8 { dentry } else { peek(dentry, DENTRY_PARENT) };
    let mount = if knows(feature::MOUNT_ID) { peek(path, PATH_MNT) } else { 0 };
    Some(Place { dentry, directory, mount, flags: 0 })
}

/// Whether a path that starts on another file system begins like one from there to a mount of cgroupfs. Every failed
/// call with a relative path comes here: two bytes of the path tell most of them.
#[inline(always)]
fn leads_down(superblock: Address, start: [u64; 2]) -> bool {
    const HERE: u64 = u16::from_ne_bytes(*b"./") as u64;
    let eight = if start[0] & 0xffff == HERE { start[0] >> 16 | start[1] << 48 } else { start[0] };
    let Some(watched) = WATCHED.get(0) else { return false };
    if watched.beginnings >> tracer_ebpf::beginning(eight) & 1 == 0 {
        return false;
    }
    // SAFETY: the value is only read, and one that changes meanwhile is an old or a new one.
    let Some(above) = (unsafe { ABOVE.get(peek_u32(superblock, SB_DEV)) }) else { return false };
    for beginning in &above.beginnings {
        if eight & beginning.mask == beginning.value {
            return true;
        }
    }
    false
}

/// Where the `struct path` of an open file is; a place that cannot be read if there is none.
#[inline(always)]
fn opened(task: Address, fd: i32) -> Address {
    let table = peek(peek(task, TASK_FILES), FILES_FDT);
    let size = read::<u32>(table, FDTABLE_MAX_FDS).unwrap_or(0);
    if fd < 0 || fd as u32 >= size {
        return 0;
    }
    // SAFETY: the helper checks the address.
    let file = unsafe { bpf_probe_read_kernel((peek(table, FDTABLE_FD) + fd as u64 * 8) as *const u64) };
    within(file.unwrap_or(0), FILE_PATH)
}

/// Takes a token of the thread group's bucket for that operation, or counts what it is denied. A user may have very
/// many thread groups: all of them together leave half of the ring to root.
#[inline(always)]
pub fn may_report(tgid: u32, uid: u32, operation: u8, now: u64) -> bool {
    let who = Denied { tgid, operation: operation.into() };
    if maps::is_flooded_by(uid) || !has_token(who, now) {
        maps::deny(who);
        return false;
    }
    true
}

/// Takes a token out of a bucket, if there is one.
#[inline(always)]
pub fn has_token(who: Denied, now: u64) -> bool {
    let burst = maps::config(config::BURST);
    let refill = maps::config(config::REFILL_NS);
    let Some(bucket) = BUCKETS.get_ptr_mut(who) else {
        let _ = BUCKETS.insert(who, Bucket { tokens: burst.saturating_sub(1), filled: now }, 0);
        return true;
    };
    // Threads of one group may race for a token: one too many or too few does no harm.
    // SAFETY: the pointer is to a value of the map, which stays valid through the program's run.
    let bucket = unsafe { &mut *bucket };
    let elapsed = now.wrapping_sub(bucket.filled);
    if refill != 0 && elapsed >= refill {
        let more = elapsed / refill;
        bucket.tokens = if bucket.tokens + more > burst { burst } else { bucket.tokens + more };
        bucket.filled = now;
    }
    if bucket.tokens == 0 {
        return false;
    }
    bucket.tokens -= 1;
    true
}
