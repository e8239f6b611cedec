//! From the bytes of a ring to inputs.

use crate::argv;
use crate::errno::Errno;
use crate::input::{
    Actor, Attempt, BootTime, Cgroup, CgroupId, Change, Device, Directory, Event, Exit, HierarchyId, Input,
    MountChanges, MountId, NamespaceId, Operation, Parent, Pid, Process, ProcessChange, Stuck, Syscall, Task, Written,
};
use crate::name::Name;
use tracer_ebpf::{COMM, MOUNTS_KNOWN, flag, kind};

/// Reads a record. `None` if it is not one. `emptied_by_next`: see [`Plan`](super::Plan).
pub(super) fn decode(bytes: &[u8], emptied_by_next: bool) -> Option<Input> {
    match *bytes.first()? {
        kind::EXEC | kind::SEEN | kind::EXIT => process(bytes).map(Input::Process),
        kind::ATTEMPT => attempt(bytes).map(Input::Attempt),
        kind::CHANGE => written(bytes).map(Input::Change),
        kind::RETURNED => in_flight(&split(bytes)?.0, None).map(Input::Stuck),
        _ => lifecycle(bytes, emptied_by_next).map(Input::Event),
    }
}

/// A head of plain numbers; what it names follows.
trait Head: Copy {}
impl Head for tracer_ebpf::Lifecycle {}
impl Head for tracer_ebpf::Process {}
impl Head for tracer_ebpf::Attempt {}
impl Head for tracer_ebpf::InFlight {}

fn split<T: Head>(bytes: &[u8]) -> Option<(T, &[u8])> {
    let (head, tail) = bytes.split_at_checked(size_of::<T>())?;
    // SAFETY: there are as many bytes, and heads are plain numbers for which every value is valid.
    Some((unsafe { head.as_ptr().cast::<T>().read_unaligned() }, tail))
}

fn lifecycle(bytes: &[u8], emptied_by_next: bool) -> Option<Event> {
    let (head, tail) = split::<tracer_ebpf::Lifecycle>(bytes)?;
    let (change, requested) = match (head.kind, head.value != 0) {
        (kind::MKDIR, _) => (Change::Created, false),
        (kind::RMDIR, _) => (Change::Removed, false),
        (kind::RELEASE, _) => (Change::Released, false),
        (kind::RENAME, _) => (Change::Renamed, false),
        (kind::NOTIFY_POPULATED, true) => (Change::Populated, false),
        (kind::NOTIFY_POPULATED, false) => (Change::Emptied, false),
        (kind::FREEZE, _) => (Change::Frozen, true),
        (kind::UNFREEZE, _) => (Change::Thawed, true),
        (kind::NOTIFY_FROZEN, true) => (Change::Frozen, false),
        (kind::NOTIFY_FROZEN, false) => (Change::Thawed, false),
        (kind::ATTACH_TASK, _) => (Change::Attached, false),
        _ => return None,
    };
    let task = (head.kind == kind::ATTACH_TASK).then(|| Task {
        pid: (head.task_tgid != 0).then_some(Pid(head.task_tgid)),
        tid: Some(head.value),
        comm: comm(&head.task_comm),
    });
    let actor = Actor::new(Pid(head.tgid), head.tid, comm(&head.comm), Some(head.uid));
    Some(Event {
        at: BootTime(head.at),
        change,
        cgroup: Cgroup {
            hierarchy: HierarchyId(head.hierarchy),
            id: Some(CgroupId(head.id)),
            path: Name::new(tail.get(..head.path_len.into())?),
            level: Some(head.level),
            truncated: head.truncated != 0,
        },
        requested,
        task,
        container: None,
        actor: Some(actor).filter(|_| match change {
            // A removed cgroup is released by a kernel worker, long after whoever removed it.
            Change::Released => false,
            Change::Emptied => !emptied_by_next,
            _ => true,
        }),
    })
}

fn process(bytes: &[u8]) -> Option<Process> {
    let (head, tail) = split::<tracer_ebpf::Process>(bytes)?;
    let (command_line, tail) = tail.split_at_checked(head.argv_len.into())?;
    let (argv, is_cut) = argv::split(command_line, argv::BYTES);
    let exe = tail.get(..head.exe_len.into())?;
    let has_task = head.flags & flag::HAS_TASK != 0;
    let change = match head.kind {
        kind::EXEC => ProcessChange::Exec,
        kind::SEEN => ProcessChange::Seen,
        _ => ProcessChange::Exit,
    };
    let some = |number: u32| (has_task && number != 0).then_some(NamespaceId(number));
    let parents = head.parents.iter().take_while(|parent| parent.tgid != 0);
    Some(Process {
        at: BootTime(head.at),
        pid: Pid(head.tgid),
        change,
        comm: comm(&head.comm),
        exe: (!exe.is_empty()).then(|| path_of_walk(exe, true)),
        argv: (!command_line.is_empty()).then_some(argv),
        argv_truncated: is_cut || head.flags & flag::ARGV_TRUNCATED != 0,
        cwd: None,
        parents: parents.map(|parent| Parent { pid: Pid(parent.tgid), comm: comm(&parent.comm) }).collect(),
        uid: (change != ProcessChange::Exit).then_some(head.uid),
        mount_namespace: some(head.mount_namespace),
        mounts: mounts(head.mounts),
        cgroup_namespace: some(head.cgroup_namespace),
        cgroup: (head.cgroup != 0).then_some(CgroupId(head.cgroup)),
        started: (has_task && head.started != 0).then_some(BootTime(head.started)),
        exit: (head.flags & flag::HAS_EXIT != 0).then(|| exit(head.exit)),
    })
}

fn mounts(changes: u32) -> Option<MountChanges> {
    (changes & MOUNTS_KNOWN != 0).then_some(MountChanges(changes & !MOUNTS_KNOWN))
}

/// As wait(2) gives it: the signal in the low seven bits, the status in the second byte.
fn exit(code: u32) -> Exit {
    match (code & 0x7f) as u8 {
        0 => Exit::Code((code >> 8 & 0xff) as u8),
        signal => Exit::Signal(signal),
    }
}

fn attempt(bytes: &[u8]) -> Option<Attempt> {
    let (head, tail) = split::<tracer_ebpf::Attempt>(bytes)?;
    let (given, tail) = tail.split_at_checked(head.path_len.into())?;
    let walk = tail.get(..head.walk_len.into())?;
    let syscall = *Syscall::ALL.get(usize::from(head.syscall))?;
    let is_cut = head.flags & flag::PATH_TRUNCATED != 0;
    let (path, walk) = match (syscall.takes_path(), syscall.operation()) {
        (true, _) => (Name::new(given), walk),
        (false, Operation::Spawn) => (Name::from("."), walk),
        // The file that is open comes before the cgroup that it is in.
        (false, _) => {
            let end = walk.iter().position(|byte| *byte == 0)?;
            (Name::new(&walk[..end]), &walk[end + 1..])
        }
    };
    let whole = head.flags & flag::WALK_TRUNCATED == 0;
    let directory = (head.flags & flag::RELATIVE != 0).then(|| Directory {
        device: Device { major: head.device >> 20, minor: head.device & 0xf_ffff },
        id: CgroupId(head.directory),
        path: path_of_walk(walk, whole),
        truncated: !whole,
        outside: head.flags & flag::OUTSIDE != 0,
        mount: (head.mount != 0).then_some(MountId(head.mount)),
    });
    let actor = Actor::new(Pid(head.tgid), head.tid, comm(&head.comm), Some(head.uid));
    Some(Attempt {
        flags: (syscall.operation() == Operation::Open).then_some(head.detail),
        truncated: is_cut && syscall.takes_path(),
        value: (head.flags & flag::HAS_VALUE != 0).then(|| Name::new(given)),
        value_truncated: is_cut && !syscall.takes_path(),
        directory,
        mount_namespace: (head.mount_namespace != 0).then_some(NamespaceId(head.mount_namespace)),
        mounts: mounts(head.mounts),
        ..Attempt::new(BootTime(head.at), syscall, Errno(head.errno), path, actor)
    })
}

/// A write that succeeded comes as one that did not.
fn written(bytes: &[u8]) -> Option<Written> {
    let (head, _) = split::<tracer_ebpf::Attempt>(bytes)?;
    let attempt = attempt(bytes)?;
    Some(Written {
        at: attempt.at,
        file: attempt.path,
        value: attempt.value,
        value_truncated: attempt.value_truncated,
        took_ns: (head.detail != 0).then_some(head.detail),
        directory: attempt.directory?,
        cgroup: None,
        container: None,
        actor: attempt.actor,
    })
}

/// A call that has returned, or had not when it was looked at. `None` if it is none that is told of.
pub(super) fn in_flight(call: &tracer_ebpf::InFlight, looked: Option<BootTime>) -> Option<Stuck> {
    let operation = *Operation::ALL.get(usize::from(call.operation)).filter(|_| call.kind == kind::RETURNED)?;
    let name = (call.name[0] != 0).then(|| up_to_zero(&call.name));
    let (file, name) = if operation == Operation::Write { (name, None) } else { (None, name) };
    let has_returned = looked.is_none();
    Some(Stuck {
        at: looked.unwrap_or(BootTime(call.returned)),
        began: BootTime(call.began),
        operation,
        file,
        name,
        hierarchy: HierarchyId(call.hierarchy),
        id: CgroupId(call.id),
        cgroup: None,
        container: None,
        actor: Actor::new(Pid(call.tgid), call.tid, comm(&call.comm), Some(call.uid)),
        waits_in: None,
        exiting: Vec::new(),
        took_ns: has_returned.then(|| call.returned.saturating_sub(call.began)),
        errno: u16::try_from(call.errno).ok().filter(|errno| *errno != 0).map(Errno),
    })
}

fn comm(bytes: &[u8; COMM]) -> Name {
    up_to_zero(bytes)
}

fn up_to_zero(bytes: &[u8]) -> Name {
    Name::new(bytes.split(|byte| *byte == 0).next().unwrap_or_default())
}

/// Names from the innermost to the outermost, each with a closing zero, as a path.
fn path_of_walk(walk: &[u8], whole: bool) -> Name {
    let mut path = Vec::with_capacity(walk.len() + 1);
    for name in walk.split(|byte| *byte == 0).filter(|name| !name.is_empty()).rev() {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    if path.is_empty() && whole {
        path.push(b'/');
    }
    Name::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_comes_is_a_record_or_none_but_never_a_panic() {
        for first in 0..=255u8 {
            for length in 0..300 {
                let mut bytes = vec![0xff; length];
                if let Some(byte) = bytes.first_mut() {
                    *byte = first;
                }
                let _ = decode(&bytes, false);
                bytes.iter_mut().skip(1).for_each(|byte| *byte = 0);
                let _ = decode(&bytes, false);
            }
        }
    }

    #[test]
    fn a_walk_up_is_a_path_down() {
        assert_eq!(path_of_walk(b"c\0b\0a\0", true), "/a/b/c");
        assert_eq!(path_of_walk(b"", true), "/");
        assert_eq!(path_of_walk(b"", false), "");
    }

    #[test]
    fn exit_codes_are_read_as_wait_gives_them() {
        assert_eq!(exit(0), Exit::Code(0));
        assert_eq!(exit(3 << 8), Exit::Code(3));
        assert_eq!(exit(9), Exit::Signal(9));
        assert_eq!(exit(0x80 | 11), Exit::Signal(11));
    }
}
