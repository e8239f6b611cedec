//! The processes behind events and attempts: who they are, when they begin a program, how they end.
//!
//! Only those that matter are reported: known runtimes by name, and every thread group that made, removed or renamed a
//! cgroup, moved a process, or caused an attempt. They are kept in [`ACTORS`] until they end.

use aya_ebpf::{
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
        generated::{
            self, bpf_get_current_cgroup_id, bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str, bpf_probe_read_user,
        },
    },
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use tracer_ebpf::{
    COMM, LONGEST_ARGV, MOUNTS_KNOWN, PARENTS, Parent, Process, config, feature, flag, kind, offset::*, slot,
};

use crate::kernel::{Address, current, namespace, peek, peek_u32, pointer, read, walk_up, within};
use crate::maps::{self, ACTORS, COMMS, Turn, Urgency, knows};

/// Reports a thread group that matters for the first time. `slot` is that of the calling program.
#[inline(always)]
pub fn saw(tgid: u32, slot: u32) {
    // SAFETY: only whether there is a value is looked at.
    if unsafe { ACTORS.get(tgid) }.is_none() {
        // Two of its threads may come here at once: then it is told twice, which does no harm.
        let _ = ACTORS.insert(tgid, 1, 0);
        tell(kind::SEEN, tgid, slot::SEEN + slot);
    }
}

/// A program began.
#[raw_tracepoint]
pub fn process_exec(_ctx: RawTracePointContext) -> i32 {
    exec(Turn::First)
}

/// Likewise.
#[raw_tracepoint]
pub fn again_process_exec(_ctx: RawTracePointContext) -> i32 {
    exec(Turn::Second)
}

#[inline(always)]
fn exec(turn: Turn) -> i32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    let Ok(comm) = bpf_get_current_comm() else { return 0 };
    // SAFETY: only whether there is a value is looked at.
    let matters = unsafe { COMMS.get(comm).is_some() || ACTORS.get(tgid).is_some() };
    if matters && u64::from(tgid) != maps::config(config::SELF) && !turn.is_told(pid_tgid as u32) {
        let _ = ACTORS.insert(tgid, 1, 0);
        tell(kind::EXEC, tgid, turn.slot(slot::PROCESS));
    }
    0
}

/// A thread ended; a process did if it was the last one.
#[raw_tracepoint]
pub fn process_exit(_ctx: RawTracePointContext) -> i32 {
    exit()
}

/// Likewise: what the first copy has told is no actor any more.
#[raw_tracepoint]
pub fn again_process_exit(_ctx: RawTracePointContext) -> i32 {
    exit()
}

#[inline(always)]
fn exit() -> i32 {
    let pid_tgid = bpf_get_current_pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    // SAFETY: only whether there is a value is looked at.
    if unsafe { ACTORS.get(tgid) }.is_none() {
        return 0;
    }
    let mut exit = None;
    if knows(feature::EXIT) {
        let task = current();
        let Some(signal) = pointer(task, TASK_SIGNAL) else { return 0 };
        // Counted down before the tracepoint (kernel/exit.c, do_exit).
        if read::<i32>(signal, SIGNAL_LIVE) != Some(0) {
            return 0;
        }
        // Set by exit_group and by a deadly signal; a lone thread that calls exit has only its own.
        let group: u32 = read(signal, SIGNAL_GROUP_EXIT_CODE).unwrap_or(0);
        exit = if group != 0 { Some(group) } else { read(task, TASK_EXIT_CODE) };
    } else if pid_tgid as u32 != tgid {
        return 0;
    }
    // Its last two threads may both come here and find none left that lives: one of them takes it out, and tells.
    if ACTORS.remove(tgid).is_err() {
        return 0;
    }
    let head = Process {
        kind: kind::EXIT,
        flags: if exit.is_some() { flag::HAS_EXIT } else { 0 },
        argv_len: 0,
        exe_len: 0,
        padding: 0,
        // SAFETY: the helper has no arguments.
        at: unsafe { bpf_ktime_get_boot_ns() },
        started: 0,
        cgroup: 0,
        tgid,
        uid: bpf_get_current_uid_gid() as u32,
        mount_namespace: 0,
        cgroup_namespace: 0,
        exit: exit.unwrap_or(0),
        comm: bpf_get_current_comm().unwrap_or_default(),
        parents: [Parent { tgid: 0, comm: [0; COMM] }; PARENTS],
        mounts: 0,
    };
    // SAFETY: a plain value, read as its bytes.
    let record = unsafe { core::slice::from_raw_parts((&raw const head).cast::<u8>(), size_of::<Process>()) };
    // The state of a container that was deleted is looked at now.
    maps::tell(record, Urgency::Now);
    0
}

/// Reports the current process.
#[inline(never)]
fn tell(kind: u8, tgid: u32, slot: u32) -> u32 {
    const HEAD: usize = size_of::<Process>();
    let Some(scratch) = maps::scratch(slot) else { return 0 };
    // SAFETY: the scratch memory is aligned for a head and has room for it. It is built in place: the stack is small,
    // and a head that is filled with zeros and copied there is verified byte by byte.
    let record = unsafe { &mut *scratch.cast::<Process>() };
    record.kind = kind;
    record.flags = 0;
    record.argv_len = 0;
    record.exe_len = 0;
    record.padding = 0;
    // SAFETY: the helper has no arguments.
    record.at = unsafe { bpf_ktime_get_boot_ns() };
    record.started = 0;
    // SAFETY: the helper has no arguments.
    record.cgroup = unsafe { bpf_get_current_cgroup_id() };
    record.tgid = tgid;
    record.uid = bpf_get_current_uid_gid() as u32;
    record.mount_namespace = 0;
    record.cgroup_namespace = 0;
    record.exit = 0;
    record.mounts = 0;
    for parent in &mut record.parents {
        parent.tgid = 0;
    }
    // SAFETY: there is room for a comm.
    unsafe { generated::bpf_get_current_comm(record.comm.as_mut_ptr().cast(), COMM as u32) };
    if knows(feature::IDENTITY) {
        let task = current();
        let leader = peek(task, TASK_GROUP_LEADER);
        record.flags |= flag::HAS_TASK;
        record.started = peek(leader, TASK_START_BOOTTIME);
        record.mount_namespace = namespace(task, NSPROXY_MNT_NS, MNT_NAMESPACE_NS);
        record.mounts = mount_changes(task);
        record.cgroup_namespace = namespace(task, NSPROXY_CGROUP_NS, CGROUP_NAMESPACE_NS);
        name_of(leader, &mut record.comm);
        parents(leader, record);
        // SAFETY: the tail begins behind the head.
        let tail = unsafe { scratch.add(HEAD) };
        let mm = peek(task, TASK_MM);
        if mm != 0 {
            // By far the longest parts. The agent can look for them later.
            if !maps::is_crowded_by(record.uid) {
                argv(mm, tail, record);
                // SAFETY: a command line is at most LONGEST_ARGV long, and a walk fits behind it.
                let out = unsafe { tail.add(told(&record.argv_len) & LONGEST_ARGV) };
                let exe = peek(within(peek(mm, MM_EXE_FILE), FILE_PATH), PATH_DENTRY);
                if !walk_up(exe, out, &raw mut record.exe_len) {
                    record.exe_len = 0;
                }
            }
        }
    }
    let length = maps::unbounded(told(&record.argv_len) + told(&record.exe_len));
    if length > 2 * LONGEST_ARGV {
        return 0;
    }
    // SAFETY: head and tail were just written.
    let bytes = unsafe { core::slice::from_raw_parts(scratch, HEAD + length) };
    maps::tell(bytes, Urgency::Now);
    0
}

/// How often mounts had been changed when those of a task's mount namespace were changed last, and [`MOUNTS_KNOWN`];
/// 0 if that cannot be told.
#[inline(always)]
pub fn mount_changes(task: Address) -> u32 {
    if !knows(feature::MOUNT_CHANGES) {
        return 0;
    }
    let namespace = peek(peek(task, TASK_NSPROXY), NSPROXY_MNT_NS);
    // The lower half: both architectures are little-endian.
    peek_u32(namespace, MNT_NAMESPACE_EVENT) | MOUNTS_KNOWN
}

/// A length, read back from the record: the verifier does not follow it there, and has one way to go on instead of one
/// for each way that it was set.
#[inline(always)]
fn told(length: &u16) -> usize {
    // SAFETY: a reference is readable.
    usize::from(unsafe { core::ptr::read_volatile(length) })
}

/// Copies the command line to `out`.
#[inline(always)]
fn argv(mm: Address, out: *mut u8, record: &mut Process) {
    let (start, end) = (peek(mm, MM_ARG_START), peek(mm, MM_ARG_END));
    if start == 0 || end <= start {
        return;
    }
    let mut length = end - start;
    if length > LONGEST_ARGV as u64 {
        length = LONGEST_ARGV as u64;
        record.flags |= flag::ARGV_TRUNCATED;
    }
    let length = maps::unbounded(length as usize) & LONGEST_ARGV;
    // SAFETY: there is room for LONGEST_ARGV; the helper fails where it cannot read.
    if unsafe { bpf_probe_read_user(out.cast(), length as u32, start as *const _) } == 0 {
        record.argv_len = length as u16;
    }
}

#[inline(always)]
fn parents(leader: Address, record: &mut Process) {
    let mut task = leader;
    for parent in &mut record.parents {
        let next = peek(peek(task, TASK_REAL_PARENT), TASK_GROUP_LEADER);
        let tgid = peek_u32(next, TASK_TGID);
        if tgid == 0 {
            return;
        }
        parent.tgid = tgid;
        name_of(next, &mut parent.comm);
        task = next;
    }
}

#[inline(always)]
fn name_of(task: Address, comm: &mut [u8; COMM]) {
    // SAFETY: there is room for a comm; the helper fails where it cannot read.
    unsafe { bpf_probe_read_kernel_str(comm.as_mut_ptr().cast(), COMM as u32, within(task, TASK_COMM) as *const _) };
}
