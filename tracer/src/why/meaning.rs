//! What an errno means on cgroupfs, which is often not what it means elsewhere.

use crate::errno::Errno;
use crate::input::Operation;

/// A call, how it failed, and what that says.
const MEANINGS: &[(Operation, Errno, &str)] = &[
    (Operation::Mkdir, Errno::EEXIST, "there is one of that name"),
    (Operation::Mkdir, Errno::ENOENT, "the cgroup that it was to be made in is not there"),
    (Operation::Mkdir, Errno::EROFS, "cgroupfs is mounted read-only there"),
    (Operation::Mkdir, Errno::EACCES, "the cgroup around it is not this user's"),
    (Operation::Mkdir, Errno::EAGAIN, "a cgroup around it has cgroup.max.descendants or cgroup.max.depth reached"),
    (Operation::Mkdir, Errno::ENOSPC, "the kernel has no number left for another memory cgroup"),
    (Operation::Rmdir, Errno::EBUSY, "a process or a cgroup is in it, or something is mounted on it"),
    (Operation::Rmdir, Errno::ENOENT, "there was no such cgroup"),
    (
        Operation::Rmdir,
        Errno::EROFS,
        "cgroupfs is mounted read-only there; whether there is such a cgroup was not asked",
    ),
    (Operation::Rmdir, Errno::EACCES, "the cgroup around it is not this user's"),
    (Operation::Rmdir, Errno::EPERM, "this user may not remove it"),
    (Operation::Open, Errno::ENOENT, "the cgroup is not there, or has no such file"),
    (Operation::Open, Errno::EROFS, "it was opened for writing, and cgroupfs is mounted read-only there"),
    (Operation::Open, Errno::EACCES, "the file is not this user's, or it is not there and was to be made"),
    (Operation::Open, Errno::ENODEV, "the cgroup was removed meanwhile"),
    (Operation::Rename, Errno::EPERM, "a cgroup of cgroup2 cannot be renamed"),
    (Operation::Rename, Errno::EEXIST, "there is one of the new name"),
    (Operation::Rename, Errno::ENOENT, "there was no such cgroup"),
    (
        Operation::Write,
        Errno::EBUSY,
        "what is in the cgroup forbids it: processes, or controllers enabled for what is below",
    ),
    (Operation::Write, Errno::ENOENT, "a controller that was named is not available there"),
    (Operation::Write, Errno::EOPNOTSUPP, "the cgroup is threaded, or of a type that forbids it"),
    (Operation::Write, Errno::EINVAL, "the kernel does not take this value there"),
    (Operation::Write, Errno::ENODEV, "the cgroup was removed meanwhile"),
    (Operation::Write, Errno::ESRCH, "there is no such process"),
    (Operation::Write, Errno::EACCES, "the file, or the cgroup around both, is not this user's"),
    (Operation::Read, Errno::ENODEV, "the cgroup was removed meanwhile"),
    (Operation::Read, Errno::EOPNOTSUPP, "a threaded cgroup lists threads, in cgroup.threads, and no processes"),
    (Operation::Spawn, Errno::EBUSY, "no process may be in it: it has controllers enabled for what is below"),
    (Operation::Spawn, Errno::ENODEV, "the cgroup was removed meanwhile"),
    (Operation::Spawn, Errno::EOPNOTSUPP, "the cgroup is threaded, or of a type that forbids it"),
];

/// What it means: on cgroupfs if that is known, otherwise anywhere.
pub(crate) fn meaning(operation: Operation, errno: Errno) -> Option<&'static str> {
    let here = MEANINGS.iter().find(|(called, failed, _)| (*called, *failed) == (operation, errno));
    here.map(|(.., meaning)| *meaning).or_else(|| errno.meaning())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_its_own_meaning_or_that_of_the_errno() {
        assert!(meaning(Operation::Rmdir, Errno::EBUSY).is_some_and(|text| text.contains("in it")));
        assert_eq!(meaning(Operation::Rmdir, Errno::EIO), Errno::EIO.meaning());
        assert_eq!(meaning(Operation::Rmdir, Errno(777)), None);
        for (at, (operation, errno, _)) in MEANINGS.iter().enumerate() {
            let first = MEANINGS.iter().position(|(called, failed, _)| (called, failed) == (operation, errno));
            assert_eq!(first, Some(at), "{operation:?} {errno}");
        }
    }
}
