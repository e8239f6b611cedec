//! Failed system calls on what is open in cgroupfs.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use cgtrace::input::{Attempt, Input, Operation, Syscall};
use cgtrace::kernel::{Backend, Options, PROBES, ProbeSpec};

use crate::attempts::every_backend;
use crate::support::{Agent, Scratch, c_path, errno, fork, rmdir};
use crate::{Kernel, number, plan};

/// `struct clone_args` of a process that is to begin in a cgroup, as long as the kernel has known it for that.
fn clone_args(cgroup: i32) -> [u64; 11] {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut arguments = [0; 11];
    arguments[0] = CLONE_INTO_CGROUP;
    arguments[4] = libc::SIGCHLD as u64;
    arguments[10] = cgroup as u64;
    arguments
}

/// Makes a system call on what is open: a file for writing, one for reading, the directory. Returns its error.
pub fn call(syscall: Syscall, [writing, reading, directory]: [i32; 3], value: &[u8]) -> i32 {
    let mut space = [0u8; 64];
    let vector =
        [&value[..0], value].map(|part| libc::iovec { iov_base: part.as_ptr() as *mut _, iov_len: part.len() });
    let arguments = clone_args(directory);
    // SAFETY: every buffer has the length that is told.
    errno(unsafe {
        match syscall {
            Syscall::Write => libc::syscall(libc::SYS_write, writing, value.as_ptr(), value.len()),
            Syscall::Pwrite64 => libc::syscall(libc::SYS_pwrite64, writing, value.as_ptr(), value.len(), 0),
            Syscall::Writev => libc::syscall(libc::SYS_writev, writing, vector.as_ptr(), vector.len()),
            Syscall::Read => libc::syscall(libc::SYS_read, reading, space.as_mut_ptr(), space.len()),
            Syscall::Pread64 => libc::syscall(libc::SYS_pread64, reading, space.as_mut_ptr(), space.len(), 0),
            Syscall::Clone3 => libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size_of_val(&arguments)),
            _ => unreachable!("they take a path, or are no calls"),
        }
    })
}

/// What is answered when the cgroup is gone.
fn gone(syscall: Syscall) -> i32 {
    if syscall == Syscall::Clone3 { libc::ENOENT } else { libc::ENODEV }
}

pub fn open(scratch: &Scratch, file: &str) -> File {
    OpenOptions::new().write(true).open(scratch.path.join(file)).unwrap()
}

fn on_descriptors(inputs: &[Input]) -> Vec<&Attempt> {
    let attempts = inputs.iter().filter_map(|input| match input {
        Input::Attempt(attempt) if !attempt.syscall.takes_path() => Some(attempt),
        _ => None,
    });
    attempts.collect()
}

#[test]
fn every_call_on_a_descriptor_is_seen_with_the_file_the_cgroup_and_what_was_written() {
    every_backend(|plan| {
        let scratch = Scratch::new();
        let below = scratch.path.join("gone");
        fs::create_dir(&below).unwrap();
        let directory = File::open(&below).unwrap();
        let id = directory.metadata().unwrap().ino();
        let writing = OpenOptions::new().write(true).open(below.join("cgroup.procs")).unwrap();
        let reading = File::open(below.join("cgroup.procs")).unwrap();
        let open = [number(&writing), number(&reading), number(&directory)];
        fs::remove_dir(&below).unwrap();
        let mut kernel = Kernel::start(plan, &Options::default());
        // The function behind writes is not come to where the cgroup is gone.
        let watched = PROBES.iter().filter(|probe| probe.is_watched_by(plan.backend) && !probe.is_on_function());
        let watched: Vec<Syscall> = watched.filter_map(ProbeSpec::syscall).collect();
        let calls: Vec<Syscall> = watched.into_iter().filter(|syscall| !syscall.takes_path()).collect();
        assert!(calls.contains(&Syscall::Clone3), "{}: {calls:?}", plan.backend);
        let value = b"12345\n";
        let pids = calls.iter().map(|syscall| {
            let child = fork(|| i32::from(call(*syscall, open, value) != gone(*syscall)));
            let pid = child.0 as u32;
            assert_eq!(child.wait(), 0, "{syscall:?}");
            pid
        });
        let pids: Vec<u32> = pids.collect();
        let inputs = kernel.wait_until("all attempts", |inputs| on_descriptors(inputs).len() >= calls.len());
        let mut seen = on_descriptors(inputs);
        seen.sort_by_key(|attempt| attempt.at);
        assert_eq!(seen.iter().map(|attempt| attempt.syscall).collect::<Vec<_>>(), calls, "{}", plan.backend);
        assert_eq!(seen.iter().map(|attempt| attempt.actor.pid.0).collect::<Vec<_>>(), pids);
        for attempt in seen {
            let of = attempt.directory.as_ref().unwrap();
            assert_eq!(of.path, format!("{}/gone", scratch.cgroup).as_str(), "{:?}", attempt.syscall);
            assert_eq!((of.id.0, of.outside, of.truncated), (id, false, false), "{:?}", attempt.syscall);
            assert_eq!(i32::from(attempt.errno.0), gone(attempt.syscall));
            let file = if attempt.operation == Operation::Spawn { "." } else { "cgroup.procs" };
            assert_eq!(attempt.path, file);
            let is_write = attempt.operation == Operation::Write;
            assert_eq!(attempt.value.as_ref().map(|value| value.as_bytes()), is_write.then_some(&value[..]));
            assert!(!attempt.value_truncated && !attempt.truncated);
        }
    });
}

#[test]
fn of_what_was_written_the_first_128_bytes_are_told_whatever_they_are() {
    every_backend(|plan| {
        let scratch = Scratch::new();
        let file = open(&scratch, "cgroup.procs");
        let whole: Vec<u8> = (0..=255).cycle().take(128).collect();
        let longer = vec![b'9'; 129];
        let mut kernel = Kernel::start(plan, &Options::default());
        let fd = [number(&file), -1, -1];
        for value in [&b"\0"[..], b"\x1b[2J\xff\n", &whole, &longer] {
            assert_eq!(fork(|| i32::from(call(Syscall::Write, fd, value) != libc::EINVAL)).wait(), 0, "{value:?}");
        }
        let inputs = kernel.wait_until("all attempts", |inputs| on_descriptors(inputs).len() >= 4);
        let seen: Vec<(&[u8], bool)> = on_descriptors(inputs)
            .iter()
            .map(|attempt| (attempt.value.as_ref().unwrap().as_bytes(), attempt.value_truncated))
            .collect();
        let expected: [(&[u8], bool); 4] =
            [(b"\0", false), (b"\x1b[2J\xff\n", false), (&whole, false), (&longer[..128], true)];
        assert_eq!(seen, expected, "{}", plan.backend);
    });
}

/// Both ends of a connection.
fn connection() -> (OwnedFd, OwnedFd) {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap()
}

#[test]
fn what_succeeds_what_is_elsewhere_and_what_no_control_file_answers_is_not_seen() {
    every_backend(|plan| {
        let scratch = Scratch::new();
        let file = open(&scratch, "cgroup.procs");
        let reading = File::open(scratch.path.join("cgroup.procs")).unwrap();
        let directory = File::open(&scratch.path).unwrap();
        let (one, other) = connection();
        let null = OpenOptions::new().write(true).open("/dev/null").unwrap();
        // It answers EINVAL to what is no eight bytes.
        let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).unwrap();
        let mut kernel = Kernel::start(plan, &Options::default());
        let child = fork(|| {
            let of = |fd: i32, value: &[u8], syscall| call(syscall, [fd, fd, fd], value);
            let is_as_expected = of(one.as_raw_fd(), b"", Syscall::Read) == libc::EAGAIN
                && of(event.as_raw_fd(), b"1", Syscall::Write) == libc::EINVAL
                && of(null.as_raw_fd(), b"1", Syscall::Write) == 0
                && of(reading.as_raw_fd(), b"", Syscall::Read) == 0
                // Its own, and one that was opened for something else.
                && of(reading.as_raw_fd(), b"0", Syscall::Write) == libc::EBADF
                && of(null.as_raw_fd(), b"", Syscall::Clone3) == libc::EBADF
                && of(file.as_raw_fd(), b"0", Syscall::Write) == 0;
            i32::from(!is_as_expected)
        });
        let pid = child.0 as u32;
        assert_eq!(child.wait(), 0);
        drop(other);
        // A child that begins there with success.
        let child = fork(|| {
            let arguments = clone_args(directory.as_raw_fd());
            // SAFETY: the arguments have the length that is told; the child ends at once.
            match unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size_of_val(&arguments)) } {
                // SAFETY: it never returns.
                0 => unsafe { libc::_exit(0) },
                born if born > 0 => {
                    // SAFETY: no status is asked for.
                    i32::from(unsafe { libc::waitpid(born as i32, std::ptr::null_mut(), 0) } != born as i32)
                }
                _ => 1,
            }
        });
        let parent = child.0 as u32;
        assert_eq!(child.wait(), 0);
        let last = c_path(scratch.path.join("last"));
        assert_eq!(fork(|| i32::from(rmdir(&last) != libc::ENOENT)).wait(), 0);
        let is_last =
            |input: &Input| matches!(input, Input::Attempt(attempt) if attempt.path.to_str() == last.to_str().ok());
        let inputs = kernel.wait_until("the last attempt", |inputs| inputs.iter().any(is_last));
        let by = |attempt: &&&Attempt| [pid, parent].contains(&attempt.actor.pid.0);
        let wrong: Vec<_> = on_descriptors(inputs).iter().filter(by).cloned().cloned().collect();
        assert!(wrong.is_empty(), "{}: {wrong:?}", plan.backend);
    });
}

#[test]
fn a_call_through_an_old_descriptor_is_told_of_the_cgroup_that_was_and_not_of_the_one_that_has_its_name() {
    // The function behind writes is not come to where the cgroup is gone.
    let is_seen = plan().backend != Backend::Trampoline;
    let scratch = Scratch::new();
    let below = scratch.path.join("web");
    fs::create_dir(&below).unwrap();
    let agent = Agent::start(&[]);
    let old = OpenOptions::new().write(true).open(below.join("cgroup.procs")).unwrap();
    let id = fs::metadata(&below).unwrap().ino();
    fs::remove_dir(&below).unwrap();
    fs::create_dir(&below).unwrap();
    let fd = [number(&old), -1, -1];
    assert_eq!(fork(|| i32::from(call(Syscall::Write, fd, b"0") != libc::ENODEV)).wait(), 0);
    if is_seen {
        let line = agent.wait_for("the write", |line| line["operation"] == "write" && scratch.has(line));
        assert_eq!(line["cgroup"]["id"], id);
        assert_eq!(line["cgroup"]["path"], format!("{}/web", scratch.cgroup));
        assert_eq!((&line["file"], &line["value"]), (&"cgroup.procs".into(), &"0".into()));
    }
    let lines = agent.finish();
    let writes = lines.iter().filter(|line| line["operation"] == "write" && scratch.has(line));
    assert_eq!(writes.count(), usize::from(is_seen));
}
