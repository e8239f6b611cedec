//! A clock that is set back and forward by hours. Not the host's, on which others run: the agent alone is told another
//! time. A time namespace has no wall clock of its own, and libraries that are loaded before others change nothing
//! here, because the agent asks the kernel itself. So its way around the kernel (the vDSO) is closed, and its calls are
//! answered here (seccomp).

use std::ffi::c_void;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::agent::Serving;
use crate::support::{CGTRACE, of_type, parse};
use crate::watched::Watched;

/// Where the child leaves the descriptor that its calls come out of.
const LISTENER: i32 = 100;
const HOUR: i64 = 3_600;

/// `mov eax, SYS_clock_gettime; syscall; ret`
#[cfg(target_arch = "x86_64")]
const CALL_THE_KERNEL: &[u8] = &[0xb8, 0xe4, 0, 0, 0, 0x0f, 0x05, 0xc3];
/// `mov x8, SYS_clock_gettime; svc 0; ret`
#[cfg(target_arch = "aarch64")]
const CALL_THE_KERNEL: &[u8] = &[0x28, 0x0e, 0x80, 0xd2, 0x01, 0, 0, 0xd4, 0xc0, 0x03, 0x5f, 0xd6];

#[cfg(target_arch = "x86_64")]
const CLOCK_GETTIME: &std::ffi::CStr = c"__vdso_clock_gettime";
#[cfg(target_arch = "aarch64")]
const CLOCK_GETTIME: &std::ffi::CStr = c"__kernel_clock_gettime";

/// `struct seccomp_notif`
#[repr(C)]
#[derive(Default)]
struct Call {
    id: u64,
    pid: u32,
    flags: u32,
    number: i32,
    arch: u32,
    instruction: u64,
    arguments: [u64; 6],
}

/// `struct seccomp_notif_resp`
#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// In the child before it becomes the agent: every question for the wall clock is put to whoever holds the listener.
fn question_the_clock() -> std::io::Result<()> {
    const NEW_LISTENER: libc::c_ulong = 8;
    const SET_MODE_FILTER: libc::c_ulong = 1;
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let (load, equal, give) =
        (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::BPF_RET);
    let mut program = [
        instruction(load, 0, 0, 0),
        instruction(equal, 0, 3, libc::SYS_clock_gettime as u32),
        instruction(load, 0, 0, 16),
        instruction(equal, 0, 1, libc::CLOCK_REALTIME as u32),
        instruction(give, 0, 0, 0x7fc0_0000),
        instruction(give, 0, 0, 0x7fff_0000),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter lives through the call.
    unsafe {
        let listener = libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, NEW_LISTENER, &raw const filter);
        // The copy outlives the exec. There the child stops, for whoever watches it.
        if listener < 0
            || libc::dup2(listener as i32, LISTENER) < 0
            || libc::ptrace(libc::PTRACE_TRACEME, 0, std::ptr::null_mut::<c_void>(), 0) < 0
        {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The place of a function of the vDSO in it, which is the same in all processes.
fn place_in_vdso() -> u64 {
    // SAFETY: the strings end in zeros; the library is there all the time.
    let address = unsafe {
        let vdso = libc::dlopen(c"linux-vdso.so.1".as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        assert!(!vdso.is_null(), "the vDSO is known");
        libc::dlsym(vdso, CLOCK_GETTIME.as_ptr()) as u64
    };
    address - vdso_of(std::process::id())
}

fn vdso_of(pid: u32) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let line = maps.lines().find(|line| line.ends_with("[vdso]")).expect("it has one");
    u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap()
}

/// What an agent is told of the time.
struct Clock {
    /// So many seconds are added.
    ahead: Arc<AtomicI64>,
    asked: Arc<AtomicI64>,
    done: Arc<AtomicBool>,
}

impl Clock {
    /// Starts an agent, by way of a shell, whose clock this is.
    fn of(arguments: &str) -> (Self, Serving) {
        let clock = Self { ahead: Arc::default(), asked: Arc::default(), done: Arc::default() };
        let mut command = Command::new(CGTRACE);
        command.arg("serve").args(["--listen", "127.0.0.1:0"]).args(arguments.split(' '));
        // SAFETY: it makes system calls only.
        unsafe { command.pre_exec(question_the_clock) };
        let (ahead, asked, done) = (clock.ahead.clone(), clock.asked.clone(), clock.done.clone());
        let serving = Serving::spawned(command, |pid| {
            let listener = take_over(pid);
            std::thread::spawn(move || answer(&listener, &ahead, &asked, &done));
        });
        (clock, serving)
    }

    fn set(&self, ahead: i64) {
        self.ahead.store(ahead, Ordering::Relaxed);
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

/// Of a child that has just become the agent: has it ask the kernel, and gets hold of the questions. Then it runs.
fn take_over(pid: u32) -> OwnedFd {
    let mut status = 0;
    // SAFETY: the status is ours; the descriptors are nobody else's.
    unsafe {
        assert_eq!(libc::waitpid(pid as i32, &raw mut status, 0), pid as i32);
        assert!(libc::WIFSTOPPED(status), "it stops when it is the agent");
        let memory = File::options().write(true).open(format!("/proc/{pid}/mem")).unwrap();
        memory.write_all_at(CALL_THE_KERNEL, vdso_of(pid) + place_in_vdso()).unwrap();
        let process = libc::syscall(libc::SYS_pidfd_open, pid, 0) as i32;
        let listener = libc::syscall(libc::SYS_pidfd_getfd, process, LISTENER, 0) as i32;
        assert!(listener >= 0, "{}", std::io::Error::last_os_error());
        libc::close(process);
        libc::ptrace(libc::PTRACE_DETACH, pid, std::ptr::null_mut::<c_void>(), 0);
        OwnedFd::from_raw_fd(listener)
    }
}

/// Answers until it is told to stop: whoever asks then is not answered, and the agent is over.
fn answer(listener: &OwnedFd, ahead: &AtomicI64, asked: &AtomicI64, done: &AtomicBool) {
    const RECEIVE: libc::c_ulong = 0xc050_2100;
    const SEND: libc::c_ulong = 0xc018_2101;
    while !done.load(Ordering::Relaxed) {
        let mut waiting = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: all that is pointed to lives through the calls, and is laid out as it should be.
        unsafe {
            if libc::poll(&raw mut waiting, 1, 100) < 1 || waiting.revents & libc::POLLIN == 0 {
                continue;
            }
            let mut call = Call::default();
            if libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut call) < 0 {
                continue;
            }
            let mut now: libc::timespec = std::mem::zeroed();
            libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now);
            let seconds = now.tv_sec + ahead.load(Ordering::Relaxed);
            let told = [seconds.to_ne_bytes(), now.tv_nsec.to_ne_bytes()].concat();
            let memory = File::options().write(true).open(format!("/proc/{}/mem", call.pid));
            let _ = memory.and_then(|memory| memory.write_all_at(&told, call.arguments[1]));
            let answer = Answer { id: call.id, value: 0, error: 0, flags: 0 };
            libc::ioctl(listener.as_raw_fd(), SEND, &raw const answer);
            asked.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_clock_that_is_set_by_hours_disturbs_nobody_and_traces_stay_whole() {
    let traces = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let (clock, serving) = Clock::of(&format!("--record {} --rotate-every 1h --keep 100", traces.path().display()));
    let watched = Watched::over(begun, Box::new(serving));
    for ahead in [5 * HOUR, -7 * HOUR, 24 * 365 * HOUR, 0] {
        clock.set(ahead);
        watched.endures(Duration::from_millis(1_200));
    }
    let asked = clock.asked.load(Ordering::Relaxed);
    assert!(asked > 4, "it asked for the time {asked} times");
    watched.end(());
    drop(clock);
    let done =
        Command::new(CGTRACE).args(["report", "--benign", "--format", "json"]).arg(traces.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let lines = parse(&done.stdout);
    let found = of_type(&lines, "finding").len();
    println!(
        "{} files, {found} findings; the time was asked for {asked} times",
        fs::read_dir(traces.path()).unwrap().count()
    );
    assert!(found >= 8, "what happened is told: {found}");
}
