//! Failed system calls on cgroupfs.

use std::ffi::CString;
use std::fs::File;

use cgtrace::errno::Errno;
use cgtrace::input::{Attempt, Input, Syscall};
use cgtrace::kernel::{Backend, Options, Plan};

use crate::support::{Scratch, c_path, errno, fork, rmdir};
use crate::{Kernel, number, plan};

/// Attempts whose path is, or starts at, the scratch cgroup.
fn attempts<'a>(inputs: &'a [Input], scratch: &Scratch) -> Vec<&'a Attempt> {
    let absolute = scratch.path.to_str().unwrap();
    inputs
        .iter()
        .filter_map(|input| match input {
            Input::Attempt(attempt) => Some(attempt),
            _ => None,
        })
        .filter(|attempt| match &attempt.directory {
            Some(directory) => directory.path.to_str().is_some_and(|path| path.starts_with(&scratch.cgroup)),
            None => attempt.path.to_str().is_some_and(|path| path.starts_with(absolute)),
        })
        .collect()
}

fn every_backend(check: impl Fn(&Plan)) {
    let best = plan();
    check(&best);
    for backend in [Backend::TracepointBtf, Backend::TracepointRaw] {
        if backend != best.backend {
            check(&Plan { backend, ..best.clone() });
        }
    }
}

/// Makes a system call that takes a directory and a path where it has both. Returns its error.
fn call(syscall: Syscall, directory: i32, path: &CString) -> i32 {
    let (path, mode) = (path.as_ptr(), 0o755 as libc::c_long);
    let how: [u64; 3] = [libc::O_PATH as u64 | libc::O_CLOEXEC as u64, 0, 0];
    let flags = libc::c_long::from(libc::O_PATH | libc::O_CLOEXEC);
    // SAFETY: the path ends in a zero, and `how` has the size that is told.
    errno(unsafe {
        match syscall {
            #[cfg(target_arch = "x86_64")]
            Syscall::Open => libc::syscall(libc::SYS_open, path, flags, 0),
            #[cfg(target_arch = "x86_64")]
            Syscall::Mkdir => libc::syscall(libc::SYS_mkdir, path, mode),
            #[cfg(target_arch = "x86_64")]
            Syscall::Rmdir => libc::syscall(libc::SYS_rmdir, path),
            #[cfg(not(target_arch = "x86_64"))]
            Syscall::Open | Syscall::Mkdir | Syscall::Rmdir => unreachable!("only the *at calls exist"),
            Syscall::Openat => libc::syscall(libc::SYS_openat, directory, path, flags, 0),
            Syscall::Openat2 => libc::syscall(libc::SYS_openat2, directory, path, how.as_ptr(), 24usize),
            Syscall::Mkdirat => libc::syscall(libc::SYS_mkdirat, directory, path, mode),
            Syscall::Unlinkat => libc::syscall(libc::SYS_unlinkat, directory, path, libc::AT_REMOVEDIR),
        }
    })
}

fn syscalls() -> Vec<Syscall> {
    let legacy = [Syscall::Open, Syscall::Mkdir, Syscall::Rmdir];
    Syscall::ALL.into_iter().filter(|syscall| cfg!(target_arch = "x86_64") || !legacy.contains(syscall)).collect()
}

#[test]
fn every_call_is_seen_with_absolute_paths_and_relative_to_descriptor_and_working_directory() {
    every_backend(|plan| {
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.path.join("a")).unwrap();
        let mut kernel = Kernel::start(plan, &Options::default());
        let directory = File::open(scratch.path.join("a")).unwrap();
        let fd = number(&directory);
        let mut expected = Vec::new();
        let mut pids = Vec::new();
        for syscall in syscalls() {
            let takes_directory = !matches!(syscall, Syscall::Open | Syscall::Mkdir | Syscall::Rmdir);
            // The parent is missing, so that every call fails with ENOENT.
            let absolute = c_path(scratch.path.join("no").join(syscall.as_str()));
            let relative = CString::new(format!("no/{}", syscall.as_str())).unwrap();
            let child = fork(|| i32::from(call(syscall, libc::AT_FDCWD, &absolute) != libc::ENOENT));
            pids.push(child.0 as u32);
            assert_eq!(child.wait(), 0);
            expected.push((syscall, absolute.to_str().unwrap().to_owned(), None));
            let child = fork(|| {
                // SAFETY: a call without memory.
                unsafe { libc::fchdir(fd) };
                i32::from(call(syscall, libc::AT_FDCWD, &relative) != libc::ENOENT)
            });
            pids.push(child.0 as u32);
            assert_eq!(child.wait(), 0);
            let below = Some(format!("{}/a", scratch.cgroup));
            expected.push((syscall, relative.to_str().unwrap().to_owned(), below.clone()));
            if takes_directory {
                let child = fork(|| i32::from(call(syscall, fd, &relative) != libc::ENOENT));
                pids.push(child.0 as u32);
                assert_eq!(child.wait(), 0);
                expected.push((syscall, relative.to_str().unwrap().to_owned(), below));
            }
        }
        let wanted = expected.len();
        let inputs = kernel.wait_until("all attempts", |inputs| attempts(inputs, &scratch).len() >= wanted);
        let mut seen = attempts(inputs, &scratch);
        seen.sort_by_key(|attempt| attempt.at);
        let told: Vec<_> = seen
            .iter()
            .map(|attempt| {
                let directory = attempt.directory.as_ref().map(|directory| directory.path.to_str().unwrap().to_owned());
                (attempt.syscall, attempt.path.to_str().unwrap().to_owned(), directory)
            })
            .collect();
        assert_eq!(told, expected, "{}", plan.backend);
        assert!(seen.iter().all(|attempt| attempt.errno == Errno::ENOENT));
        assert_eq!(seen.iter().map(|attempt| attempt.actor.pid.0).collect::<Vec<_>>(), pids);
        assert!(seen.iter().all(|attempt| attempt.mount_namespace.is_some()));
        let flags: Vec<u64> = seen.iter().filter_map(|attempt| attempt.flags).collect();
        assert!(!flags.is_empty() && flags.iter().all(|flags| flags & libc::O_PATH as u64 != 0), "{flags:x?}");
        let id = seen.iter().find_map(|attempt| attempt.directory.as_ref()).map(|directory| directory.id.0);
        use std::os::unix::fs::MetadataExt;
        assert_eq!(id, Some(directory.metadata().unwrap().ino()));
    });
}

#[test]
fn what_succeeds_and_what_is_elsewhere_is_not_seen() {
    every_backend(|plan| {
        let scratch = Scratch::new();
        let elsewhere = tempfile::tempdir().unwrap();
        let mut kernel = Kernel::start(plan, &Options::default());
        let missing = c_path(elsewhere.path().join("missing"));
        let relative = CString::new("missing/too").unwrap();
        let similar = CString::new("/sys/fs/cgroups/missing").unwrap();
        let here = c_path(&scratch.path);
        let directory = File::open(elsewhere.path()).unwrap();
        let fd = number(&directory);
        let child = fork(|| {
            // None of these is an attempt: another file system, a name that only begins alike, a success, a file.
            let elsewhere = call(Syscall::Openat, libc::AT_FDCWD, &missing) == libc::ENOENT
                && call(Syscall::Mkdirat, fd, &relative) == libc::ENOENT
                && call(Syscall::Openat, libc::AT_FDCWD, &similar) == libc::ENOENT
                && call(Syscall::Openat, libc::AT_FDCWD, &here) == 0;
            // SAFETY: the path ends in a zero.
            let file = errno(unsafe { libc::unlink(here.as_ptr()) }.into()) == libc::EISDIR;
            i32::from(!(elsewhere && file))
        });
        let pid = child.0 as u32;
        assert_eq!(child.wait(), 0);
        // The last word of another process comes after all of that one's.
        let last = c_path(scratch.path.join("last"));
        assert_eq!(fork(|| i32::from(rmdir(&last) != libc::ENOENT)).wait(), 0);
        let inputs = kernel.wait_until("the last attempt", |inputs| !attempts(inputs, &scratch).is_empty());
        let wrong: Vec<_> = inputs
            .iter()
            .filter(|input| matches!(input, Input::Attempt(attempt) if attempt.actor.pid.0 == pid))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    });
}

#[test]
fn the_tracers_own_calls_are_not_seen() {
    let scratch = Scratch::new();
    let mut kernel = Kernel::start(&plan(), &Options::default());
    let path = c_path(scratch.path.join("missing"));
    assert_eq!(rmdir(&path), libc::ENOENT);
    std::fs::create_dir(scratch.path.join("own")).unwrap();
    assert_eq!(fork(|| i32::from(rmdir(&path) != libc::ENOENT)).wait(), 0);
    let inputs = kernel.wait_until("the child's attempt", |inputs| !attempts(inputs, &scratch).is_empty());
    let own = std::process::id();
    let by_own = |input: &&Input| match input {
        Input::Attempt(attempt) => attempt.actor.pid.0 == own,
        Input::Event(event) => event.actor.as_ref().is_some_and(|actor| actor.pid.0 == own),
        Input::Process(process) => process.pid.0 == own,
        _ => false,
    };
    assert!(inputs.iter().find(by_own).is_none());
}
