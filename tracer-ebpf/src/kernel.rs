//! Reading the kernel's structures by the offsets that its BTF gave.

use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_kernel, generated::bpf_probe_read_kernel_str};
use tracer_ebpf::{DEEPEST_WALK, LONGEST_NAME, LONGEST_WALK, offset::*};

use crate::maps::{offset, unbounded};

/// A kernel address.
pub type Address = u64;

/// Reads a value at `base` plus an offset of [`tracer_ebpf::offset`].
#[inline(always)]
pub fn read<T>(base: Address, member: usize) -> Option<T> {
    if base == 0 {
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

/// The inode number of one of a task's namespaces.
#[inline(always)]
pub fn namespace(task: Address, in_nsproxy: usize, ns: usize) -> Option<u32> {
    let nsproxy = pointer(task, TASK_NSPROXY)?;
    let namespace = pointer(nsproxy, in_nsproxy)?;
    read(within(namespace, ns), NS_COMMON_INUM)
}

/// The names from a directory entry up to its superblock's root, the innermost first, each with a closing zero.
/// Returns how many bytes they are, and whether the root was reached.
///
/// `out` must have room for [`LONGEST_WALK`] and one [`LONGEST_NAME`] more.
#[inline(always)]
pub fn walk_up(dentry: Address, out: *mut u8) -> (usize, bool) {
    let Some(root) = pointer(dentry, DENTRY_SB).and_then(|sb| pointer(sb, SB_ROOT)) else { return (0, false) };
    let mut dentry = dentry;
    let mut length = 0usize;
    for _ in 0..DEEPEST_WALK {
        if dentry == root {
            return (length, true);
        }
        let Some(name) = pointer(within(dentry, DENTRY_NAME), QSTR_NAME) else { return (length, false) };
        if length > LONGEST_WALK - LONGEST_NAME {
            return (length, false);
        }
        // SAFETY: `length` leaves room for one more name.
        let got = unsafe {
            bpf_probe_read_kernel_str(
                out.add(unbounded(length) & (LONGEST_WALK - 1)).cast(),
                LONGEST_NAME as u32,
                name as *const _,
            )
        };
        if got <= 0 || got as usize > LONGEST_NAME {
            return (length, false);
        }
        length += got as usize;
        let Some(parent) = pointer(dentry, DENTRY_PARENT) else { return (length, false) };
        if parent == dentry {
            return (length, true);
        }
        dentry = parent;
    }
    (length, dentry == root)
}
