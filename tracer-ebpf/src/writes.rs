//! Writes to control files, seen where they all end: in the kernel's function `cgroup_file_write`, whichever system
//! call they came by.
//!
//! It is looked at twice. When it begins, the time and what is to be written are put aside: the function takes the text
//! apart in place. When it ends, what failed is told as an attempt, and what succeeded as a change. The former costs
//! as much as any failed call that is told; the latter has a ring of its own, and each thread group a limit, so that
//! whoever writes all the time pushes out nothing else.

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
        generated::{self, bpf_ktime_get_boot_ns},
    },
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use tracer_ebpf::{
    Attempt, Begun, CHANGES, Denied, LONGEST_VALUE, config, feature, flag, kind, lost,
    offset::{
        DENTRY_INODE, DENTRY_NAME, DENTRY_PARENT, FILE_PATH, INODE_PRIVATE, KERNFS_OPEN_FILE_FILE, PATH_DENTRY,
        QSTR_NAME,
    },
    slot,
    syscalls::{CGROUP_FILE_WRITE, Operation, TABLE},
};

use crate::actors;
use crate::attempts::{Call, completed, failed, has_token, head, may_report, on_cgroupfs};
use crate::in_flight;
use crate::kernel::{peek, within};
use crate::maps::{self, ATTEMPTS, BEGUN, Turn, knows};

/// A write begins.
#[fentry]
pub fn enter_cgroup_file_write(ctx: FEntryContext) -> i32 {
    begin(&ctx)
}

/// Likewise: what the first copy has put aside is put aside again.
#[fentry]
pub fn again_enter_cgroup_file_write(ctx: FEntryContext) -> i32 {
    begin(&ctx)
}

/// A write ends.
#[fexit]
pub fn exit_cgroup_file_write(ctx: FExitContext) -> i32 {
    end(&ctx, Turn::First)
}

/// Likewise.
#[fexit]
pub fn again_exit_cgroup_file_write(ctx: FExitContext) -> i32 {
    end(&ctx, Turn::Second)
}

/// An argument of `cgroup_file_write(of, buf, nbytes, off)`; its result is behind them.
#[inline(always)]
fn argument(ctx: &impl EbpfContext, number: usize) -> u64 {
    // SAFETY: there are four arguments and, on the way out, a result.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<u64>().add(number)) }
}

#[inline(always)]
fn begin(ctx: &impl EbpfContext) -> i32 {
    if maps::is_taken_over() || !knows(feature::CONTROL_FILES) {
        return 0;
    }
    if in_flight::is_own() {
        return 0;
    }
    let (text, size) = (argument(ctx, 1), argument(ctx, 2));
    let is_cut = size > LONGEST_VALUE as u64;
    let length = if is_cut { LONGEST_VALUE as u64 } else { size };
    // SAFETY: numbers and bytes: zeros are a value, and what the verifier takes for initialised.
    let mut begun: Begun = unsafe { core::mem::zeroed() };
    begun.length = length as u32;
    begun.is_cut = u8::from(is_cut);
    let length = maps::unbounded(length as usize) & (2 * LONGEST_VALUE - 1);
    if length <= LONGEST_VALUE {
        // SAFETY: there is room for a value; the helper fails where it cannot read.
        let read = unsafe {
            generated::bpf_probe_read_kernel(begun.value.as_mut_ptr().cast(), length as u32, text as *const _)
        };
        begun.has_value = u8::from(read == 0);
    }
    let dentry = peek(within(peek(argument(ctx, 0), KERNFS_OPEN_FILE_FILE), FILE_PATH), PATH_DENTRY);
    in_flight::put_aside(&mut begun.call, Operation::Write, peek(within(dentry, DENTRY_NAME), QSTR_NAME));
    in_flight::place(&mut begun.call, peek(peek(peek(dentry, DENTRY_PARENT), DENTRY_INODE), INODE_PRIVATE));
    // Where there is no room, the time and the value stay unknown, and that it is in flight.
    #[allow(clippy::needless_borrows_for_generic_args, reason = "a second one has no room on the stack")]
    let _ = BEGUN.insert(begun.call.tid, &begun, 0);
    0
}

#[inline(always)]
fn end(ctx: &impl EbpfContext, turn: Turn) -> i32 {
    if maps::is_taken_over() || !knows(feature::CONTROL_FILES) {
        return 0;
    }
    let (open, result) = (argument(ctx, 0), argument(ctx, 4));
    let pid_tgid = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    if u64::from(tgid) == maps::config(config::SELF) || turn.is_told(tid) {
        return 0;
    }
    let slot = turn.slot(slot::TRAMPOLINES + u32::from(CGROUP_FILE_WRITE));
    let Some(scratch) = maps::scratch(slot) else { return 0 };
    // SAFETY: the helper has no arguments.
    let ended = unsafe { bpf_ktime_get_boot_ns() };
    let (mut flags, mut length, mut took) = (0, 0, 0);
    let errno = if failed(result) { (result as i64).unsigned_abs() as u16 } else { 0 };
    if let Some(begun) = BEGUN.get_ptr_mut(tid) {
        // SAFETY: only this thread changes the value, and it is here.
        let begun = unsafe { &mut *begun };
        took = ended.saturating_sub(begun.call.began);
        in_flight::returned(&mut begun.call, ended, errno.into());
        if begun.has_value != 0 {
            length = begun.length as usize;
            flags = if begun.is_cut != 0 { flag::HAS_VALUE | flag::PATH_TRUNCATED } else { flag::HAS_VALUE };
            // SAFETY: there is room for a value behind the head.
            unsafe {
                let tail = scratch.add(size_of::<Attempt>());
                generated::bpf_probe_read_kernel(tail.cast(), LONGEST_VALUE as u32, begun.value.as_ptr().cast());
            }
        }
        let _ = BEGUN.remove(tid);
    }
    // Nothing was to be written: the kernel does nothing.
    if result == 0 {
        return 0;
    }
    if errno != 0 && !TABLE[CGROUP_FILE_WRITE as usize].is_ours(errno) {
        return 0;
    }
    let path = within(peek(open, KERNFS_OPEN_FILE_FILE), FILE_PATH);
    let Some(place) = on_cgroupfs(path, Operation::Write as u8) else { return 0 };
    let uid = bpf_get_current_uid_gid() as u32;
    if errno == 0 {
        if maps::is_swamped_by(uid) || !has_token(Denied { tgid, operation: CHANGES }, ended) {
            maps::count_lost(lost::CHANGES_LIMITED);
            return 0;
        }
        actors::saw(tgid, slot);
    } else {
        actors::saw(tgid, slot);
        if !may_report(tgid, uid, Operation::Write as u8, ended) {
            return 0;
        }
    }
    // Who it is was told before it.
    // SAFETY: the helper has no arguments.
    let at = unsafe { bpf_ktime_get_boot_ns() };
    let call = Call::behind_writes(errno, if errno == 0 { took } else { 0 });
    // SAFETY: the scratch memory is aligned for a head and has room for it.
    let record = unsafe {
        scratch.cast::<Attempt>().write(head(&call, pid_tgid, uid, at));
        &mut *scratch.cast::<Attempt>()
    };
    record.kind = if errno == 0 { kind::CHANGE } else { kind::ATTEMPT };
    record.flags = flags;
    let length = maps::unbounded(length) & (2 * LONGEST_VALUE - 1);
    let Some(bytes) = completed(record, length, place, scratch) else { return 0 };
    if errno == 0 {
        maps::tell_change(bytes);
    } else if ATTEMPTS.output::<[u8]>(bytes, 0).is_err() {
        maps::count_lost(lost::ATTEMPTS_FULL);
    }
    0
}
