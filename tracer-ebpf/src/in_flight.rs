//! Calls on cgroupfs that have not returned: from the entry of the kernel's function that they end in to its exit, each
//! is in map `BEGUN`, by its thread. The agent looks there from time to time, and asks what the old ones wait for.
//!
//! What is put aside is what takes no time to find. One that returns late is told by the program at the exit, so that
//! how long it took is known to the nanosecond.

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
        generated::{bpf_get_current_comm, bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str},
    },
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use tracer_ebpf::{Begun, COMM, InFlight, LONGEST_IN_FLIGHT, config, feature, kind, offset::*, syscalls::Operation};

use crate::kernel::{Address, peek, peek_u32};
use crate::maps::{self, BEGUN, Urgency, knows};

/// A function's programs: at its entry and at its exit, and the second copies of both.
macro_rules! programs {
    ($($enter:ident $again_enter:ident $leave:ident $again_leave:ident = $begin:ident, $arguments:literal;)*) => {$(
        #[fentry]
        pub fn $enter(ctx: FEntryContext) -> i32 {
            $begin(&ctx)
        }

        #[fentry]
        pub fn $again_enter(ctx: FEntryContext) -> i32 {
            $begin(&ctx)
        }

        #[fexit]
        pub fn $leave(ctx: FExitContext) -> i32 {
            end(argument(&ctx, $arguments))
        }

        #[fexit]
        pub fn $again_leave(ctx: FExitContext) -> i32 {
            end(argument(&ctx, $arguments))
        }
    )*};
}

programs! {
    enter_cgroup_mkdir again_enter_cgroup_mkdir leave_cgroup_mkdir again_leave_cgroup_mkdir = mkdir, 3;
    enter_cgroup_rmdir again_enter_cgroup_rmdir leave_cgroup_rmdir again_leave_cgroup_rmdir = rmdir, 1;
}

/// An argument of the function; on the way out, its result is behind them.
#[inline(always)]
fn argument(ctx: &impl EbpfContext, number: usize) -> u64 {
    // SAFETY: the verifier has checked that there are so many.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<u64>().add(number)) }
}

/// `cgroup_mkdir(parent_kn, name, mode)`
#[inline(always)]
fn mkdir(ctx: &impl EbpfContext) -> i32 {
    begin(Operation::Mkdir, argument(ctx, 0), argument(ctx, 1))
}

/// `cgroup_rmdir(kn)`
#[inline(always)]
fn rmdir(ctx: &impl EbpfContext) -> i32 {
    begin(Operation::Rmdir, argument(ctx, 0), 0)
}

/// A call begins, on the cgroup of a kernfs node.
#[inline(always)]
fn begin(operation: Operation, node: Address, name: Address) -> i32 {
    if maps::is_taken_over() || !knows(feature::IN_FLIGHT) || is_own() {
        return 0;
    }
    // SAFETY: numbers and bytes: zeros are a value, and what the verifier takes for initialised.
    let mut begun: Begun = unsafe { core::mem::zeroed() };
    put_aside(&mut begun.call, operation, name);
    place(&mut begun.call, node);
    // Where there is no room, it stays unknown that it is in flight.
    #[allow(clippy::needless_borrows_for_generic_args, reason = "a second one has no room on the stack")]
    let _ = BEGUN.insert(begun.call.tid, &begun, 0);
    0
}

/// Which cgroup it is on: that of this kernfs node.
#[inline(always)]
pub fn place(call: &mut InFlight, node: Address) {
    if knows(feature::IN_FLIGHT) {
        call.kind = kind::RETURNED;
        call.id = peek(node, KERNFS_NODE_ID);
        call.hierarchy = peek_u32(peek(peek(node, KERNFS_NODE_PRIV), CGROUP_ROOT), CGROUP_ROOT_HIERARCHY_ID);
    }
}

/// Whether the agent makes the call itself.
#[inline(always)]
pub fn is_own() -> bool {
    bpf_get_current_pid_tgid() >> 32 == maps::config(config::SELF)
}

/// What is the same for every call, and the name that it is about, if there is one.
#[inline(always)]
pub fn put_aside(call: &mut InFlight, operation: Operation, name: Address) {
    let pid_tgid = bpf_get_current_pid_tgid();
    call.operation = operation as u8;
    // SAFETY: the helper has no arguments.
    call.began = unsafe { bpf_ktime_get_boot_ns() };
    call.tgid = (pid_tgid >> 32) as u32;
    call.tid = pid_tgid as u32;
    call.uid = bpf_get_current_uid_gid() as u32;
    // SAFETY: there is room for a comm.
    unsafe { bpf_get_current_comm(call.comm.as_mut_ptr().cast(), COMM as u32) };
    if name != 0 {
        // SAFETY: there is room for so much; the helper fails where it cannot read, and leaves zeros.
        unsafe {
            bpf_probe_read_kernel_str(call.name.as_mut_ptr().cast(), LONGEST_IN_FLIGHT as u32, name as *const _);
        }
    }
}

#[inline(always)]
fn end(result: u64) -> i32 {
    let tid = bpf_get_current_pid_tgid() as u32;
    if let Some(begun) = BEGUN.get_ptr_mut(tid) {
        // SAFETY: only this thread changes the value, and it is here.
        let call = unsafe { &mut (*begun).call };
        // SAFETY: the helper has no arguments.
        returned(call, unsafe { bpf_ktime_get_boot_ns() }, (result as i32).min(0).unsigned_abs());
        let _ = BEGUN.remove(tid);
    }
    0
}

/// Tells that a call has returned, if that took so long that it may have been told of meanwhile.
#[inline(always)]
pub fn returned(call: &mut InFlight, at: u64, errno: u32) {
    if call.kind == 0 || at.saturating_sub(call.began) < maps::config(config::STUCK_NS) {
        return;
    }
    call.returned = at;
    call.errno = errno;
    // SAFETY: a plain value, read as its bytes.
    let record = unsafe { core::slice::from_raw_parts((&raw const *call).cast::<u8>(), size_of::<InFlight>()) };
    maps::tell(record, Urgency::Now);
}
