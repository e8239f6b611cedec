//! Files as weapons: what a stranger names as a container's bundle, as a runtime's state, as a working or a root directory.

use std::ffi::CString;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use crate::fuse::{self, Fuse};
use crate::memory::{Layout, fail_for_ever, memory};
use crate::stranger::{OwnNamespaces, Runc, Strangers, pause};
use crate::support::{c_path, errno};
use crate::watched::Watched;

const ENOUGH: Duration = Duration::from_secs(4);
const MANY: usize = 50;

/// File systems that do not answer, and the runtimes that lead the agent there. When this is dropped the file systems go first:
/// whoever waits for an answer cannot be killed.
struct Silent {
    systems: Vec<Fuse>,
    strangers: Strangers,
    runc: Runc,
}

impl Silent {
    fn new(systems: usize) -> Self {
        let systems: Vec<Fuse> = (0..systems).map(|_| Fuse::mount()).collect();
        let mut strangers = Strangers::default();
        systems[0].is_silent(&mut strangers);
        Self { systems, strangers, runc: Runc::new() }
    }

    /// Runs a runtime for each file system.
    fn run(&mut self, command: impl Fn(&Runc, &str, usize) -> Command) {
        for (number, system) in self.systems.iter().enumerate() {
            self.strangers.run(command(&self.runc, system.path.to_str().unwrap(), number));
        }
    }
}

#[test]
fn a_silent_file_system_as_a_runtimes_root_keeps_nobody_waiting() {
    let watched = Watched::start(&[]);
    let mut silent = Silent::new(MANY);
    silent.run(|runc, system, number| {
        runc.short(&["--root", &format!("{system}/state"), "delete", &format!("web-{number}")])
    });
    watched.endures(ENOUGH);
    watched.end(silent);
}

#[test]
fn a_silent_file_system_as_a_bundle_keeps_nobody_waiting_and_names_are_told_during_and_after_it() {
    let watched = Watched::start(&[]);
    let mut silent = Silent::new(MANY);
    silent.run(|runc, system, number| {
        let bundle = format!("{system}/{}", fuse::DIRECTORY);
        runc.command(&["create", "--bundle", &bundle, &format!("web-{number}")])
    });
    watched.endures(ENOUGH);
    drop(silent);
    watched.endures(ENOUGH / 2);
    watched.end(());
}

#[test]
fn a_silent_file_system_as_a_working_directory_keeps_nobody_waiting() {
    let watched = Watched::start(&[]);
    let mut silent = Silent::new(MANY);
    silent.run(|runc, system, number| {
        let mut command = runc.command(&["run", &format!("web-{number}")]);
        command.current_dir(system);
        command
    });
    watched.endures(ENOUGH);
    watched.end(silent);
}

#[test]
fn a_silent_file_system_as_a_root_directory_keeps_nobody_waiting() {
    let watched = Watched::start(&[]);
    let mut silent = Silent::new(MANY);
    silent.run(|runc, system, number| {
        let mut command = runc.command(&[]);
        within(&mut command, system, &["create", "--bundle", "/bundle", &format!("web-{number}")])
    });
    watched.endures(ENOUGH);
    watched.end(silent);
}

#[test]
fn an_agent_that_silent_file_systems_surround_can_be_killed() {
    let watched = Watched::start(&[]);
    let mut silent = Silent::new(MANY);
    silent.run(|runc, system, number| {
        let bundle = format!("{system}/{}", fuse::DIRECTORY);
        runc.command(&["create", "--bundle", &bundle, &format!("web-{number}")])
    });
    watched.endures(ENOUGH);
    watched.kill(silent);
}

/// The same runtime, as the program `/runc` of a root directory of its own. A stranger may change it within a user namespace.
fn within(command: &mut Command, root: &str, arguments: &[&str]) -> Command {
    let mut inside = Command::new(format!("/{}", fuse::PROGRAM));
    inside.arg0("runc").args(arguments).env_clear();
    let _ = command;
    let (namespaces, root) = (OwnNamespaces::new(), CString::new(root).unwrap());
    let enter = move || {
        // SAFETY: calls without memory but a string that ends in a zero.
        let entered = unsafe {
            libc::prctl(libc::PR_SET_DUMPABLE, 1);
            match namespaces.enter() {
                0 => errno(libc::chroot(root.as_ptr()).into()).max(errno(libc::chdir(c"/".as_ptr()).into())),
                error => error,
            }
        };
        if entered == 0 { Ok(()) } else { Err(std::io::Error::from_raw_os_error(entered)) }
    };
    // SAFETY: it makes system calls only.
    unsafe { inside.pre_exec(enter) };
    inside
}

/// In a forked process: a file that is never read, mapped. An error, or the memory.
fn mapped(file: &std::ffi::CStr) -> Result<*mut libc::c_void, i32> {
    // SAFETY: new memory, of a file that is named by a string that ends in a zero.
    unsafe {
        let fd = libc::open(file.as_ptr(), libc::O_RDONLY);
        let length = fuse::FILE_BYTES as usize;
        let mapped = libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_PRIVATE, fd, 0);
        if fd < 0 || mapped == libc::MAP_FAILED { Err(errno(-1)) } else { Ok(mapped) }
    }
}

#[test]
fn arguments_in_a_silent_file_system_keep_nobody_waiting() {
    let watched = Watched::start(&[]);
    let missing = c_path(watched.scratch.path.join("missing"));
    let mut silent = Silent::new(MANY);
    let layout = Layout::own();
    for system in &silent.systems {
        let file = c_path(system.path.join(fuse::FILE));
        silent.strangers.act(|| match mapped(&file) {
            Ok(memory) => match layout.move_arguments(memory, fuse::FILE_BYTES as usize) {
                0 => fail_for_ever(&missing, Duration::from_millis(50)),
                error => error,
            },
            Err(error) => error,
        });
    }
    watched.endures(ENOUGH);
    assert_eq!(silent.strangers.ended(), Vec::<i32>::new(), "none of them failed");
    watched.end(silent);
}

/// One process reads its own memory through `/proc/self/mem`, which is in a file that is never read: it holds the lock of that memory
/// meanwhile. Another one that shares it wants to change it, so that all others wait as well, also those who only want to know its
/// command line.
#[test]
fn memory_that_is_locked_for_ever_keeps_nobody_waiting() {
    let watched = Watched::start(&[]);
    let missing = c_path(watched.scratch.path.join("missing"));
    let mut silent = Silent::new(MANY);
    for system in &silent.systems {
        let file = c_path(system.path.join(fuse::FILE));
        silent.strangers.act(|| {
            let place = match mapped(&file) {
                Ok(place) => place,
                Err(error) => return error,
            };
            share_memory(hold_lock, place);
            pause(Duration::from_millis(200));
            share_memory(want_lock, place);
            pause(Duration::from_millis(200));
            fail_for_ever(&missing, Duration::from_millis(50))
        });
    }
    watched.endures(ENOUGH);
    assert_eq!(silent.strangers.ended(), Vec::<i32>::new(), "none of them failed");
    watched.end(silent);
}

/// In a forked process: starts another one in the same memory.
fn share_memory(act: extern "C" fn(*mut libc::c_void) -> i32, argument: *mut libc::c_void) {
    // SAFETY: it has a stack of its own, and makes system calls only.
    unsafe {
        let stack = memory(1 << 16).cast::<u8>().add(1 << 16);
        libc::clone(act, stack.cast(), libc::CLONE_VM | libc::CLONE_FILES, argument);
    }
}

extern "C" fn hold_lock(place: *mut libc::c_void) -> i32 {
    let mut byte = 0u8;
    // SAFETY: there is room for one byte.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        let own = libc::open(c"/proc/self/mem".as_ptr(), libc::O_RDONLY);
        libc::pread(own, (&raw mut byte).cast(), 1, place as libc::off_t);
    }
    0
}

extern "C" fn want_lock(_: *mut libc::c_void) -> i32 {
    // SAFETY: a call without memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    memory(4_096);
    0
}
