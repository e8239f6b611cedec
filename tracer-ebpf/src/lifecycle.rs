//! The `cgroup:*` tracepoints.
//!
//! Two ways in, one body. The classic tracepoint's record has all fields at offsets that have not changed since 5.5,
//! which is checked before it is attached; it needs tracefs. The raw tracepoint needs no tracefs, but reads the fields
//! from `struct cgroup`.

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
        generated::{self, bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str},
    },
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};
use tracer_ebpf::{COMM, Field, LONGEST_CGROUP_PATH, Lifecycle, classic::*, config, kind, lost, offset::*, slot};

use crate::actors;
use crate::kernel::{peek_u32, pointer, read, within};
use crate::maps::{self, Urgency};

/// What a tracepoint says.
struct Said {
    kind: u8,
    hierarchy: u32,
    level: u32,
    id: u64,
    value: u32,
    path: u64,
    task_tgid: u32,
    task_comm: u64,
}

#[inline(always)]
fn tell(said: &Said) {
    let pid_tgid = bpf_get_current_pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    // An event is told whoever is current: since 6.19 some come up in whatever task runs next.
    let is_own = u64::from(tgid) == maps::config(config::SELF);
    let is_deed = matches!(said.kind, kind::MKDIR | kind::RMDIR | kind::RENAME | kind::ATTACH_TASK);
    // Who moves a process, a shell's `echo`, is often gone before the agent can look, or has only just begun.
    if is_deed && !is_own {
        actors::saw(tgid, slot::LIFECYCLE);
    }
    let Some(scratch) = maps::scratch(slot::LIFECYCLE) else { return };
    const HEAD: usize = size_of::<Lifecycle>();
    // SAFETY: the scratch memory has room for a head and a path; the helper fails where it cannot read.
    let got = unsafe {
        bpf_probe_read_kernel_str(scratch.add(HEAD).cast(), LONGEST_CGROUP_PATH as u32, said.path as *const _)
    };
    if got <= 0 || got as usize > LONGEST_CGROUP_PATH {
        maps::count_lost(lost::LIFECYCLE_UNREADABLE);
    }
    let path_len = if got > 0 && got as usize <= LONGEST_CGROUP_PATH { got as usize - 1 } else { 0 };
    // SAFETY: the scratch memory is aligned for a head and has room for it. It is built in place: a head on the stack
    // would be filled and copied once more, for each event of the host.
    let record = unsafe { &mut *scratch.cast::<Lifecycle>() };
    record.kind = said.kind;
    record.truncated = u8::from(path_len == LONGEST_CGROUP_PATH - 1 || path_len == 0);
    record.path_len = path_len as u16;
    record.value = said.value;
    // SAFETY: the helper has no arguments.
    record.at = unsafe { bpf_ktime_get_boot_ns() };
    record.id = said.id;
    record.hierarchy = said.hierarchy;
    record.level = said.level;
    record.tgid = tgid;
    record.tid = pid_tgid as u32;
    record.uid = bpf_get_current_uid_gid() as u32;
    record.task_tgid = said.task_tgid;
    // SAFETY: there is room for a comm.
    unsafe { generated::bpf_get_current_comm(record.comm.as_mut_ptr().cast(), COMM as u32) };
    record.task_comm = [0; COMM];
    if said.task_comm != 0 {
        let to = record.task_comm.as_mut_ptr().cast();
        // SAFETY: there is room for a comm; a name that cannot be read stays empty.
        unsafe { bpf_probe_read_kernel_str(to, COMM as u32, said.task_comm as *const _) };
    }
    let is_cut = record.truncated != 0;
    let length = maps::unbounded(path_len) & (LONGEST_CGROUP_PATH - 1);
    // SAFETY: head and path were just written.
    let record = unsafe { core::slice::from_raw_parts(scratch, HEAD + length) };
    // A path that was cut is completed while the cgroup is there.
    maps::tell(record, if is_cut { Urgency::Now } else { Urgency::Later });
}

/// Reads a field of a classic tracepoint's record.
#[inline(always)]
fn field<T: Copy>(ctx: &TracePointContext, field: Field) -> T {
    // SAFETY: the offsets are those of the tracepoint's format, within its record.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<u8>().add(field.offset).cast()) }
}

/// The address of a string of a classic tracepoint's record.
#[inline(always)]
fn string(ctx: &TracePointContext, place: Field) -> u64 {
    ctx.as_ptr() as u64 + u64::from(field::<u32>(ctx, place) & 0xffff)
}

#[inline(always)]
fn classic(ctx: &TracePointContext, kind: u8) -> u32 {
    // `cgroup_event` tracepoints have their value behind the path.
    let value = if matches!(kind, kind::NOTIFY_POPULATED | kind::NOTIFY_FROZEN) { field(ctx, VALUE) } else { 0 };
    let (path, value, task_comm) = match kind {
        kind::ATTACH_TASK => (string(ctx, MOVED_TO), field(ctx, MOVED), string(ctx, MOVED_COMM)),
        _ => (string(ctx, PATH), value, 0),
    };
    debug!(ctx, "tracepoint {}", kind);
    let (hierarchy, level, id) = (field(ctx, ROOT), field(ctx, LEVEL), field(ctx, ID));
    // It names the thread alone, as `pid`.
    tell(&Said { kind, hierarchy, level, id, value, path, task_tgid: 0, task_comm });
    0
}

#[inline(always)]
fn raw(ctx: &RawTracePointContext, kind: u8) -> i32 {
    let cgroup: u64 = ctx.arg(0);
    let path: u64 = ctx.arg(1);
    let read_all = || {
        let id = read(pointer(cgroup, CGROUP_KN)?, KERNFS_NODE_ID)?;
        let hierarchy = read(pointer(cgroup, CGROUP_ROOT)?, CGROUP_ROOT_HIERARCHY_ID)?;
        Some((id, hierarchy, read(cgroup, CGROUP_LEVEL)?))
    };
    let Some((id, hierarchy, level)) = read_all() else {
        maps::count_lost(lost::LIFECYCLE_UNREADABLE);
        return 0;
    };
    let (value, task_tgid, task_comm) = match kind {
        kind::NOTIFY_POPULATED | kind::NOTIFY_FROZEN => (ctx.arg::<u64>(2) as u32, 0, 0),
        kind::ATTACH_TASK => {
            let task: u64 = ctx.arg(2);
            (peek_u32(task, TASK_PID), peek_u32(task, TASK_TGID), within(task, TASK_COMM))
        }
        _ => (0, 0, 0),
    };
    debug!(ctx, "raw tracepoint {}", kind);
    tell(&Said { kind, hierarchy, level, id, value, path, task_tgid, task_comm });
    0
}

/// Declares both programs of a tracepoint: `NAME` and `raw_NAME`.
macro_rules! lifecycle {
    ($($name:ident $raw:ident $kind:ident;)*) => {
        $(
            #[tracepoint]
            pub fn $name(ctx: TracePointContext) -> u32 {
                classic(&ctx, kind::$kind)
            }

            #[raw_tracepoint]
            pub fn $raw(ctx: RawTracePointContext) -> i32 {
                raw(&ctx, kind::$kind)
            }
        )*
    };
}

lifecycle! {
    cgroup_mkdir raw_cgroup_mkdir MKDIR;
    cgroup_rmdir raw_cgroup_rmdir RMDIR;
    cgroup_release raw_cgroup_release RELEASE;
    cgroup_rename raw_cgroup_rename RENAME;
    cgroup_notify_populated raw_cgroup_notify_populated NOTIFY_POPULATED;
    cgroup_freeze raw_cgroup_freeze FREEZE;
    cgroup_unfreeze raw_cgroup_unfreeze UNFREEZE;
    cgroup_notify_frozen raw_cgroup_notify_frozen NOTIFY_FROZEN;
    cgroup_attach_task raw_cgroup_attach_task ATTACH_TASK;
}
