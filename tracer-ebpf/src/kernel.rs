//! Reading the kernel's structures by the offsets that its BTF gave.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::{
    bpf_get_current_task, bpf_probe_read_kernel,
    generated::{self, bpf_probe_read_kernel_str},
};
use tracer_ebpf::{DEEPEST_WALK, LONGEST_NAME, LONGEST_WALK, offset::*};

use crate::maps::{offset, unbounded};

/// A kernel address.
pub type Address = u64;

/// Reads a value at `base` plus an offset of [`tracer_ebpf::offset`]. `None` where there is none, or no such offset.
#[inline(always)]
pub fn read<T>(base: Address, member: usize) -> Option<T> {
    if base == 0 || offset(member) == MISSING {
        return None;
    }
    // SAFETY: the helper checks the address and fails where it cannot be read.
    unsafe { bpf_probe_read_kernel((base + offset(member) as u64) as *const T) }.ok()
}

/// Reads a pointer that is not null.
#[inline(always)]
pub fn pointer(base: Address, member: usize) -> Option<Address> {
    read::<u64>(base, member).filter(|address| *address != 0)
}

/// Reads a number, of whatever width: zeros are one. 0 where it cannot be read; the verifier has no ways to part here.
#[inline(always)]
fn peek_as<T>(base: Address, member: usize) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper checks the address, and fills with zeros where it cannot be read.
    unsafe {
        generated::bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            within(base, member) as *const _,
        );
        value.assume_init()
    }
}

/// Reads a pointer or another long. For chains of them: what lies at 0 cannot be read either.
#[inline(always)]
pub fn peek(base: Address, member: usize) -> Address {
    peek_as(base, member)
}

/// The same of half a long.
#[inline(always)]
pub fn peek_u32(base: Address, member: usize) -> u32 {
    peek_as(base, member)
}

/// The address of a structure within another.
#[inline(always)]
pub fn within(base: Address, member: usize) -> Address {
    base + offset(member) as u64
}

/// The current thread.
#[inline(always)]
pub fn current() -> Address {
    // SAFETY: the helper has no arguments.
    unsafe { bpf_get_current_task() }
}

/// The inode number of one of a task's namespaces; 0 if it cannot be told.
#[inline(always)]
pub fn namespace(task: Address, in_nsproxy: usize, ns: usize) -> u32 {
    peek_u32(within(peek(peek(task, TASK_NSPROXY), in_nsproxy), ns), NS_COMMON_INUM)
}

/// The names from a directory entry up to its superblock's root, the innermost first, each with a closing zero. Counts at
/// `length` how many bytes they are. Returns whether the root was reached.
///
/// The count is kept in a map's memory, where the verifier does not follow it: all steps look alike to it, so that what comes
/// after the walk is verified once, not once for each way out of it.
///
/// `out` must have room for [`LONGEST_WALK`] and one [`LONGEST_NAME`] more.
#[inline(always)]
pub fn walk_up(dentry: Address, out: *mut u8, length: *mut u16) -> bool {
    let root = peek(peek(dentry, DENTRY_SB), SB_ROOT);
    let mut dentry = dentry;
    // SAFETY: the caller's, here and below.
    unsafe { length.write_volatile(0) };
    for _ in 0..DEEPEST_WALK {
        // SAFETY: as above.
        let walked = usize::from(unsafe { length.read_volatile() });
        if dentry == root || walked > LONGEST_WALK - LONGEST_NAME {
            break;
        }
        let name = peek(within(dentry, DENTRY_NAME), QSTR_NAME);
        // SAFETY: so much was walked that there is room for one more name.
        let got = unsafe {
            let place = out.add(unbounded(walked) & (LONGEST_WALK - 1));
            bpf_probe_read_kernel_str(place.cast(), LONGEST_NAME as u32, name as *const _)
        };
        if got <= 0 {
            break;
        }
        // SAFETY: as above.
        unsafe { length.write_volatile(walked as u16 + got as u16) };
        dentry = peek(dentry, DENTRY_PARENT);
    }
    dentry == root && root != 0
}
