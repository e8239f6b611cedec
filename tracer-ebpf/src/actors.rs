//! The processes behind events and attempts: who they are, when they begin a program, how they end.
//!
//! Only those that matter are reported: known runtimes by name, and every thread group that made or removed a cgroup or
//! caused an attempt. They are kept in [`ACTORS`] until they end.

use aya_ebpf::{
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
        generated::{bpf_get_current_cgroup_id, bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str, bpf_probe_read_user},
    },
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use tracer_ebpf::{COMM, LONGEST_ARGV, PARENTS, Parent, Process, config, feature, flag, kind, offset::*};

use crate::kernel::{Address, current, namespace, pointer, read, walk_up, within};
use crate::maps::{self, ACTORS, COMMS, Urgency, knows, slot};

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
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Ok(comm) = bpf_get_current_comm() else { return 0 };
    // SAFETY: only whether there is a value is looked at.
    let matters = unsafe { COMMS.get(comm).is_some() || ACTORS.get(tgid).is_some() };
    if matters && u64::from(tgid) != maps::config(config::SELF) {
        let _ = ACTORS.insert(tgid, 1, 0);
        tell(kind::EXEC, tgid, slot::PROCESS);
    }
    0
}

/// A thread ended; a process did if it was the last one.
#[raw_tracepoint]
pub fn process_exit(_ctx: RawTracePointContext) -> i32 {
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
    let _ = ACTORS.remove(tgid);
    let head = Process {
        flags: if exit.is_some() { flag::HAS_EXIT } else { 0 },
        exit: exit.unwrap_or(0),
        ..head(kind::EXIT, tgid)
    };
    // SAFETY: a plain value, read as its bytes.
    let record = unsafe { core::slice::from_raw_parts((&raw const head).cast::<u8>(), size_of::<Process>()) };
    // The state of a container that was deleted is looked at now.
    maps::tell(record, Urgency::Now);
    0
}

#[inline(always)]
fn head(kind: u8, tgid: u32) -> Process {
    Process {
        kind,
        flags: 0,
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
        exit: 0,
        comm: bpf_get_current_comm().unwrap_or_default(),
        parents: [Parent { tgid: 0, comm: [0; COMM] }; PARENTS],
        padding2: 0,
    }
}

/// Reports the current process.
#[inline(never)]
fn tell(kind: u8, tgid: u32, slot: u32) -> u32 {
    const HEAD: usize = size_of::<Process>();
    let Some(scratch) = maps::scratch(slot) else { return 0 };
    // SAFETY: the scratch memory is aligned for a head and has room for it; it is built in place because the stack
    // is small.
    let record = unsafe {
        scratch.cast::<Process>().write(head(kind, tgid));
        &mut *scratch.cast::<Process>()
    };
    // SAFETY: the helper has no arguments.
    record.cgroup = unsafe { bpf_get_current_cgroup_id() };
    let mut length = 0;
    if knows(feature::IDENTITY) {
        let task = current();
        let leader = pointer(task, TASK_GROUP_LEADER).unwrap_or(task);
        record.flags |= flag::HAS_TASK;
        record.started = read(leader, TASK_START_BOOTTIME).unwrap_or(0);
        record.mount_namespace = namespace(task, NSPROXY_MNT_NS, MNT_NAMESPACE_NS).unwrap_or(0);
        record.cgroup_namespace = namespace(task, NSPROXY_CGROUP_NS, CGROUP_NAMESPACE_NS).unwrap_or(0);
        name_of(leader, &mut record.comm);
        parents(leader, record);
        // SAFETY: the tail begins behind the head.
        let tail = unsafe { scratch.add(HEAD) };
        if let Some(mm) = pointer(task, TASK_MM) {
            length = argv(mm, tail, record);
            let exe = pointer(mm, MM_EXE_FILE).and_then(|file| pointer(within(file, FILE_PATH), PATH_DENTRY));
            if let Some(dentry) = exe {
                // SAFETY: a command line is at most LONGEST_ARGV long, and a walk fits behind it.
                let (walked, whole) = walk_up(dentry, unsafe { tail.add(maps::unbounded(length) & LONGEST_ARGV) });
                if whole {
                    record.exe_len = walked as u16;
                    length += walked;
                }
            }
        }
    }
    let length = maps::unbounded(length);
    if length > 2 * LONGEST_ARGV {
        return 0;
    }
    // SAFETY: head and tail were just written.
    let bytes = unsafe { core::slice::from_raw_parts(scratch, HEAD + length) };
    maps::tell(bytes, Urgency::Now);
    0
}

/// Copies the command line to `out`. Returns its length.
#[inline(always)]
fn argv(mm: Address, out: *mut u8, record: &mut Process) -> usize {
    let start: u64 = read(mm, MM_ARG_START).unwrap_or(0);
    let end: u64 = read(mm, MM_ARG_END).unwrap_or(0);
    if start == 0 || end <= start {
        return 0;
    }
    let mut length = end - start;
    if length > LONGEST_ARGV as u64 {
        length = LONGEST_ARGV as u64;
        record.flags |= flag::ARGV_TRUNCATED;
    }
    let length = (length as usize) & LONGEST_ARGV;
    // SAFETY: there is room for LONGEST_ARGV; the helper fails where it cannot read.
    if unsafe { bpf_probe_read_user(out.cast(), length as u32, start as *const _) } != 0 {
        return 0;
    }
    record.argv_len = length as u16;
    length
}

#[inline(always)]
fn parents(leader: Address, record: &mut Process) {
    let mut task = leader;
    for parent in &mut record.parents {
        let Some(next) = pointer(task, TASK_REAL_PARENT).and_then(|thread| pointer(thread, TASK_GROUP_LEADER)) else {
            return;
        };
        let tgid: u32 = read(next, TASK_TGID).unwrap_or(0);
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
