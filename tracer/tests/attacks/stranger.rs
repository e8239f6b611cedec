//! Processes of a user who is nobody: no right, no group, nothing that is theirs.

use std::ffi::CString;
use std::fs;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{errno, fork, signal};

pub const USER: u32 = 40_001;

/// They are killed when this is dropped.
#[derive(Default)]
pub struct Strangers {
    pids: Vec<i32>,
    children: Vec<Child>,
}

impl Strangers {
    /// Has one act; it may make system calls and nothing else.
    pub fn act(&mut self, act: impl FnOnce() -> i32) -> i32 {
        self.act_with(|| -1, |_| act())
    }

    /// Has one act that was given a descriptor while it still was root; it keeps no other.
    pub fn act_with(&mut self, open: impl FnOnce() -> i32, act: impl FnOnce(i32) -> i32) -> i32 {
        let pid = fork(|| {
            let given = open();
            become_stranger(given);
            act(given)
        });
        self.pids.push(pid.0);
        pid.0
    }

    pub fn pids(&self) -> &[i32] {
        &self.pids
    }

    /// The statuses of those who have ended already.
    pub fn ended(&mut self) -> Vec<i32> {
        let mut statuses = Vec::new();
        self.pids.retain(|pid| {
            let mut status = 0;
            // SAFETY: the status is ours.
            let is_gone = unsafe { libc::waitpid(*pid, &raw mut status, libc::WNOHANG) } == *pid;
            if is_gone {
                statuses.push(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 });
            }
            !is_gone
        });
        statuses
    }

    /// Runs a program.
    pub fn run(&mut self, mut command: Command) -> u32 {
        command.uid(USER).gid(USER);
        // A program that was just written is busy while a process that was forked meanwhile still holds it open.
        let child = crate::support::wait_for("the program", || match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => None,
            spawned => Some(spawned.unwrap()),
        });
        let pid = child.id();
        self.children.push(child);
        pid
    }

    /// Waits until all have ended by themselves: their exit statuses.
    pub fn wait(&mut self) -> Vec<i32> {
        let mut statuses: Vec<i32> = self.pids.drain(..).map(|pid| crate::support::Forked(pid).wait()).collect();
        statuses.extend(self.children.drain(..).map(|mut child| child.wait().unwrap().code().unwrap_or(128)));
        statuses
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        self.pids.iter().for_each(|pid| signal(*pid as u32, libc::SIGKILL));
        self.children.iter_mut().for_each(|child| _ = child.kill());
        self.wait();
    }
}

/// Gives up every right, and every descriptor of the test's but this one.
fn become_stranger(keeps: i32) {
    // SAFETY: calls without memory but the strings, which are constant.
    unsafe {
        match u32::try_from(keeps) {
            Ok(kept) if kept > 2 => {
                libc::close_range(3, kept - 1, 0);
                libc::close_range(kept + 1, u32::MAX, 0);
            }
            _ => _ = libc::close_range(3, u32::MAX, 0),
        }
        let nobody = libc::setgroups(0, std::ptr::null()) == 0
            && libc::setresgid(USER, USER, USER) == 0
            && libc::setresuid(USER, USER, USER) == 0;
        if !nobody {
            libc::_exit(99);
        }
        // Its own /proc is its own again, as that of a user who has logged in.
        libc::prctl(libc::PR_SET_DUMPABLE, 1);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::prctl(libc::PR_SET_NAME, c"stranger".as_ptr());
    }
}

pub fn pause(time: Duration) {
    // SAFETY: a call without memory.
    unsafe { libc::usleep(time.as_micros() as u32) };
}

/// Sleeps until it is killed.
pub fn forever() -> ! {
    loop {
        pause(Duration::from_secs(100));
    }
}

/// A directory that every user may use.
pub fn open_directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    directory
}

/// A runtime by name, that prints its arguments and waits until somebody takes them: its output is a pipe that is full.
pub struct Runc {
    pub directory: tempfile::TempDir,
    _read: OwnedFd,
    write: OwnedFd,
}

impl Runc {
    pub fn new() -> Self {
        let directory = open_directory();
        std::os::unix::fs::symlink("/bin/echo", directory.path().join("runc")).unwrap();
        let mut ends = [0; 2];
        // SAFETY: there is room for two descriptors, which are nobody else's; what is written is ours.
        let (read, write) = unsafe {
            assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK), 0);
            let page = [0u8; 4_096];
            while libc::write(ends[1], page.as_ptr().cast(), page.len()) > 0 {}
            assert_eq!(libc::fcntl(ends[1], libc::F_SETFL, 0), 0);
            (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
        };
        Self { directory, _read: read, write }
    }

    /// It stays until it is killed.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.short(arguments);
        command.stdout(self.write.try_clone().unwrap()).stderr(self.write.try_clone().unwrap());
        command
    }

    /// It ends at once.
    pub fn short(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.directory.path().join("runc"));
        command.arg0("runc").args(arguments).current_dir("/").env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// What a process needs to be root of its own namespaces: files, and what is to be written to them.
pub struct OwnNamespaces([(CString, Vec<u8>); 3]);

impl OwnNamespaces {
    pub fn new() -> Self {
        let file = |name: &str, text: String| (CString::new(format!("/proc/self/{name}")).unwrap(), text.into_bytes());
        Self([
            file("setgroups", "deny".to_owned()),
            file("uid_map", format!("0 {USER} 1")),
            file("gid_map", format!("0 {USER} 1")),
        ])
    }

    /// In a forked stranger: user and mount namespaces of its own. An error, or 0.
    pub fn enter(&self) -> i32 {
        // SAFETY: a call without memory.
        let unshared = errno(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) }.into());
        if unshared != 0 {
            return unshared;
        }
        self.0.iter().map(|(file, text)| crate::support::write(file, text)).find(|error| *error != 0).unwrap_or(0)
    }
}

/// `mount`, in a forked process.
pub fn mount(source: &std::ffi::CStr, target: &std::ffi::CStr, kind: &std::ffi::CStr, flags: libc::c_ulong) -> i32 {
    // SAFETY: the strings end in zeros.
    errno(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, std::ptr::null()) }.into())
}

/// Root's alone.
pub fn root_only(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
