//! Command lines as weapons: endless ones, and ones in memory that does not answer.

use std::time::Duration;

use crate::stranger::{Strangers, pause};
use crate::support::{c_path, errno};
use crate::watched::Watched;

/// Where the kernel believes this process's parts to be: `struct prctl_mm_map`.
#[repr(C)]
#[derive(Clone)]
pub struct Layout {
    code: [u64; 2],
    data: [u64; 2],
    start_brk: u64,
    brk: u64,
    stack: u64,
    arguments: [u64; 2],
    environment: [u64; 2],
    auxv: u64,
    auxv_size: u32,
    exe: u32,
}

impl Layout {
    /// Of this process, and of those that it forks.
    pub fn own() -> Self {
        let text = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<u64> =
            text[text.rfind(')').unwrap() + 1..].split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        // Numbered from the state, which is the third of the page stat(5) has.
        let field = |number: usize| fields[number - 3];
        Self {
            code: [field(26), field(27)],
            data: [field(45), field(46)],
            start_brk: field(47),
            brk: 0,
            stack: field(28),
            arguments: [field(48), field(49)],
            environment: [field(50), field(51)],
            auxv: 0,
            auxv_size: 0,
            exe: u32::MAX,
        }
    }

    /// In a forked process: its arguments are this memory from now on. Needs no right. An error, or 0.
    pub fn move_arguments(&self, memory: *mut libc::c_void, length: usize) -> i32 {
        const PR_SET_MM_MAP: libc::c_ulong = 14;
        let mut layout = self.clone();
        layout.arguments = [memory as u64, memory as u64 + length as u64];
        // SAFETY: the layout lives through the call, and is as large as is said.
        unsafe {
            layout.brk = libc::sbrk(0) as u64;
            let size = size_of::<Self>();
            errno(libc::prctl(libc::PR_SET_MM, PR_SET_MM_MAP, &raw const layout, size, 0).into())
        }
    }
}

/// Memory of a forked process's own.
pub fn memory(length: usize) -> *mut libc::c_void {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: new memory.
    unsafe { libc::mmap(std::ptr::null_mut(), length, access, kind, -1, 0) }
}

/// In a forked process: fails to open something on cgroupfs for ever, at a pace.
pub fn fail_for_ever(missing: &std::ffi::CStr, every: Duration) -> ! {
    loop {
        // SAFETY: the path ends in a zero.
        unsafe { libc::open(missing.as_ptr(), libc::O_RDONLY) };
        pause(every);
    }
}

const ENOUGH: Duration = Duration::from_secs(4);

/// A process whose arguments were written over with NULs, a million empty ones, and that fails calls.
pub fn endless_arguments(strangers: &mut Strangers, layout: &Layout, length: usize, missing: &std::ffi::CStr) {
    strangers.act(|| {
        let arguments = memory(length);
        let moved = layout.move_arguments(arguments, length);
        if moved != 0 {
            return moved;
        }
        // SAFETY: the memory is ours, and so large.
        unsafe { std::ptr::write_bytes(arguments.cast::<u8>(), 0, length.min(2_900_000)) };
        fail_for_ever(missing, Duration::from_millis(5))
    });
}

#[test]
fn arguments_by_the_million_take_no_memory() {
    // 2.9 MB is what execve takes; what a process says of itself later has no bound.
    for length in [2_900_000, 1 << 30] {
        let watched = Watched::start(&[]);
        let missing = c_path(watched.scratch.path.join("missing"));
        let layout = Layout::own();
        let mut strangers = Strangers::default();
        for _ in 0..40 {
            endless_arguments(&mut strangers, &layout, length, &missing);
        }
        watched.endures(ENOUGH);
        watched.end(strangers);
    }
}

/// In a forked process: arguments in memory that somebody else is to fill in, and never does.
fn arguments_that_fault_for_ever(userfaultfd: i32, layout: &Layout) -> i32 {
    const API: libc::c_ulong = 0xc018_aa3f;
    const REGISTER: libc::c_ulong = 0xc020_aa00;
    const MISSING: u64 = 1;
    let length = 1 << 20;
    let arguments = memory(length);
    let mut api = [0xaau64, 0, 0];
    let mut register = [arguments as u64, length as u64, MISSING, 0];
    // SAFETY: both live through the calls, and are laid out as they should be.
    let (known, registered) =
        unsafe { (libc::ioctl(userfaultfd, API, &raw mut api), libc::ioctl(userfaultfd, REGISTER, &raw mut register)) };
    errno(known.into()).max(errno(registered.into())).max(layout.move_arguments(arguments, length))
}

fn arguments_in_memory_that_nobody_fills(flags: libc::c_long) {
    let watched = Watched::start(&[]);
    let missing = c_path(watched.scratch.path.join("missing"));
    let layout = Layout::own();
    let mut strangers = Strangers::default();
    for _ in 0..40 {
        // Its descriptor is made before it gives up its rights, if it needs them for that.
        strangers.act_with(
            || {
                // SAFETY: a call without memory.
                unsafe { libc::syscall(libc::SYS_userfaultfd, flags) as i32 }
            },
            |userfaultfd| {
                if userfaultfd < 0 {
                    return 98;
                }
                let failed = arguments_that_fault_for_ever(userfaultfd, &layout);
                if failed != 0 {
                    return failed;
                }
                fail_for_ever(&missing, Duration::from_millis(50))
            },
        );
    }
    watched.endures(ENOUGH);
    assert_eq!(strangers.ended(), Vec::<i32>::new(), "none of them failed");
    watched.end(strangers);
}

/// What everybody may do: the kernel's own reading does not wait for such memory, it fails.
#[test]
fn arguments_that_a_stranger_never_fills_in_keep_nobody_waiting() {
    const USER_MODE_ONLY: libc::c_long = 1;
    arguments_in_memory_that_nobody_fills(USER_MODE_ONLY);
}

/// Where `vm.unprivileged_userfaultfd` is 1, or `/dev/userfaultfd` is everybody's, a stranger may have the kernel wait
/// as well. Here root hands them the descriptor.
#[test]
fn arguments_that_the_kernel_itself_waits_for_keep_nobody_waiting() {
    arguments_in_memory_that_nobody_fills(0);
}

#[test]
fn a_process_that_holds_its_own_memory_locked_keeps_nobody_waiting() {
    let watched = Watched::start(&[]);
    let missing = c_path(watched.scratch.path.join("missing"));
    let mut strangers = Strangers::default();
    for _ in 0..4 {
        strangers.act(|| {
            // One process in four: they share their memory, and its lock.
            for _ in 0..3 {
                let flags = libc::CLONE_VM | libc::CLONE_FILES;
                // SAFETY: like vfork, but for the parent, which goes on in the same memory: the child has a stack of
                // its own.
                unsafe {
                    let stack = memory(1 << 16).cast::<u8>().add(1 << 16);
                    libc::clone(lock_for_ever, stack.cast(), flags, std::ptr::null_mut());
                }
            }
            fail_for_ever(&missing, Duration::from_millis(5))
        });
    }
    watched.endures(ENOUGH);
    watched.end(strangers);
}

/// Takes memory and gives it back, all of it at once: the lock is held for writing meanwhile.
extern "C" fn lock_for_ever(_: *mut libc::c_void) -> i32 {
    // SAFETY: new memory, which nobody else knows.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        loop {
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let length = 64 << 20;
            let taken = libc::mmap(std::ptr::null_mut(), length, access, kind | libc::MAP_POPULATE, -1, 0);
            libc::munmap(taken, length);
        }
    }
}
