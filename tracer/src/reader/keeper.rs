//! The process that makes the readers, and each reader's loop.
//!
//! Once confined, neither the thread that traces nor a reader can make a process. The keeper can; it is forked before
//! there is anything to give away, hears nothing but its commands, and looks at no file.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recv, recvmsg, send, sendmsg, socketpair,
};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions, kill_process, setrlimit, wait, waitpid};

use super::{Ask, LONGEST, Reader};
use crate::memory;
use crate::sandbox::{Role, confine};

/// Memory that a reader may take beside its program, in bytes: one that is given more to read ends, and its question is
/// not answered.
const MEMORY: u64 = 20 << 20;

/// A command to the keeper, as it is sent: a word and a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Make,
    Kill(u32),
}

impl Command {
    fn to_bytes(self) -> [u8; 5] {
        let (word, pid) = match self {
            Self::Make => (b'm', 0),
            Self::Kill(pid) => (b'k', pid),
        };
        let [a, b, c, d] = pid.to_le_bytes();
        [word, a, b, c, d]
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (word, pid) = bytes.split_first()?;
        match word {
            b'm' => Some(Self::Make),
            b'k' => Some(Self::Kill(u32::from_le_bytes(pid.try_into().ok()?))),
            _ => None,
        }
    }
}

/// Forks the keeper. Returns its number, and the socket it takes commands on.
pub fn start() -> std::io::Result<(u32, OwnedFd)> {
    let (ours, its) = pair()?;
    // SAFETY: the child leaves with `_exit`, whatever happens in it, and runs nothing of the caller's.
    let pid = unsafe { fork(|| keep(its)) }?;
    Ok((pid, ours))
}

/// Waits a moment for children that are ending: for one, or for all. Whoever outlives it is left to init.
pub fn reap(child: Option<u32>) {
    let child = child.and_then(|pid| Pid::from_raw(pid as i32));
    for _ in 0..20 {
        match waitpid(child, WaitOptions::NOHANG) {
            Ok(Some(_)) if child.is_none() => {}
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            // There is none, or this process may not wait.
            Ok(Some(_)) | Err(_) => return,
        }
    }
}

/// Asks for a reader.
pub fn make(keeper: &OwnedFd) -> Result<(), Errno> {
    tell(keeper, Command::Make)
}

/// Has a reader killed.
pub fn kill(keeper: &OwnedFd, pid: u32) -> Result<(), Errno> {
    tell(keeper, Command::Kill(pid))
}

fn tell(keeper: &OwnedFd, command: Command) -> Result<(), Errno> {
    send(keeper, &command.to_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map(drop)
}

/// What came from the keeper.
pub enum Received {
    /// A reader that was made, and the socket to ask it on.
    Reader(u32, OwnedFd),
    /// One whose socket there was no room for in this process.
    Unreachable,
    /// Nothing yet.
    Nothing,
}

/// Takes a reader that was made.
///
/// # Errors
/// When the keeper has died.
pub fn receive(keeper: &OwnedFd) -> Result<Received, Errno> {
    let mut pid = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    match recvmsg(keeper, &mut [IoSliceMut::new(&mut pid)], &mut ancillary, flags) {
        Ok(message) if message.bytes == 0 => return Err(Errno::PIPE),
        Ok(_) => {}
        Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Nothing),
        Err(error) => return Err(error),
    }
    let sockets = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
        _ => None,
    });
    let socket = sockets.flatten().next();
    Ok(socket.map_or(Received::Unreachable, |socket| Received::Reader(u32::from_le_bytes(pid), socket)))
}

fn pair() -> std::io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Runs something in a child, which then exits; returns the child's number.
///
/// # Safety
/// Only one thread, the caller's, is there in the child: what others have locked stays locked.
unsafe fn fork(child: impl FnOnce()) -> std::io::Result<u32> {
    // SAFETY: as the caller promises.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()),
        0 => {
            // A panic must not find its way back to what the parent was doing.
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: it ends this process.
            unsafe { libc::_exit(i32::from(ended.is_err())) }
        }
        pid => Ok(pid as u32),
    }
}

/// The keeper's life: it ends when nobody can tell it anything any more, and takes the readers with it.
fn keep(commands: OwnedFd) {
    settle(c"cgtrace-keeper");
    turn_away();
    let commands = leave_open_only(commands);
    // Whoever reads what strangers name goes before nobody.
    let _ = rustix::process::setpriority_process(None, 0);
    if let Err(error) = confine(&Role::Keep) {
        say!("warning: the keeper of readers is not confined: {error:#}");
    }
    let mut readers: Vec<u32> = Vec::new();
    // Readers that were asked for and could not be made yet: there may be no room for a process just now.
    let mut owed = 0;
    loop {
        match hear(&commands, owed > 0) {
            Heard::Command(Some(Command::Kill(pid))) if readers.contains(&pid) => end(pid),
            Heard::Command(Some(Command::Make)) => owed += 1,
            Heard::Command(Some(Command::Kill(_)) | None) | Heard::Nothing => {}
            Heard::Ended => break,
        }
        while let Ok(Some((pid, _))) = wait(WaitOptions::NOHANG) {
            readers.retain(|reader| *reader != pid.as_raw_pid() as u32);
        }
        if owed > 0
            && let Ok(pid) = make_reader(&commands)
        {
            readers.push(pid);
            owed -= 1;
        }
    }
    readers.into_iter().for_each(end);
    reap(None);
}

/// What came from the agent.
enum Heard {
    /// `None` for one that is not understood.
    Command(Option<Command>),
    Nothing,
    Ended,
}

/// Waits for a command; if somebody is owed something, not for long.
fn hear(commands: &OwnedFd, is_owed: bool) -> Heard {
    let soon = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    let mut polled = [PollFd::from_borrowed_fd(commands.as_fd(), PollFlags::IN)];
    if matches!(poll(&mut polled, is_owed.then_some(&soon)), Ok(0) | Err(_)) {
        return Heard::Nothing;
    }
    let mut bytes = [0; 8];
    match recv(commands, bytes.as_mut_slice(), RecvFlags::empty()) {
        Ok((0, _)) => Heard::Ended,
        Ok((length, _)) => Heard::Command(Command::from_bytes(bytes.get(..length).unwrap_or_default())),
        Err(Errno::INTR) => Heard::Nothing,
        Err(_) => Heard::Ended,
    }
}

fn end(pid: u32) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        // One that has ended by itself is as good.
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn make_reader(commands: &OwnedFd) -> std::io::Result<u32> {
    let (asker, its) = pair()?;
    // SAFETY: the keeper has one thread.
    let pid = unsafe { fork(|| read(its)) }?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let sockets = [asker.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&sockets));
    sendmsg(commands, &[IoSlice::new(&pid.to_le_bytes())], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(pid)
}

/// A reader's life: it ends when nobody can ask it any more.
fn read(questions: OwnedFd) {
    settle(c"cgtrace-reader");
    let questions = leave_open_only(questions);
    // It may be asked to read four mebibytes of what looks like many small things.
    let _ = setrlimit(Resource::Data, Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) });
    // One that a file system holds up must hold up nobody who waits for the end of what the agent says.
    let _ = rustix::stdio::dup2_stderr(rustix::stdio::stdin());
    // Otherwise it is confined as its keeper is, who has said so if it is not.
    let _ = confine(&Role::Read);
    let mut reader = Reader::default();
    let mut message = vec![0; LONGEST];
    let mut has_answered = false;
    loop {
        if std::mem::take(&mut has_answered) && !is_asked_soon(questions.as_fd()) {
            memory::give_back();
        }
        let ask = match recv(&questions, message.as_mut_slice(), RecvFlags::empty()) {
            Ok((0, _)) => return,
            Ok((length, _)) => serde_json::from_slice::<Ask>(message.get(..length).unwrap_or_default()),
            Err(Errno::INTR) => continue,
            Err(_) => return,
        };
        let Ok(ask) = ask else { return };
        let answer = serde_json::to_vec(&reader.answer(ask));
        has_answered = true;
        // An answer that is too long is none: who waits for it is told by the end of this process.
        let Ok(answer) = answer else { return };
        if answer.len() > LONGEST || send(&questions, &answer, SendFlags::NOSIGNAL).is_err() {
            return;
        }
    }
}

/// Whether the next question comes within a second.
fn is_asked_soon(questions: BorrowedFd<'_>) -> bool {
    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
    poll(&mut [PollFd::from_borrowed_fd(questions, PollFlags::IN)], Some(&second)) != Ok(0)
}

/// Takes on a name, and leaves it to the agent to end: a terminal and systemd signal all processes alike.
fn settle(name: &std::ffi::CStr) {
    let _ = rustix::thread::set_name(name);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: no handler is installed.
        unsafe {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
    // Who has ended is waited for, whatever the agent was started with.
    // SAFETY: likewise.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
}

/// Leaves stdin and stdout to whoever runs the agent: a pipe that stays open here would never end for who reads it.
fn turn_away() {
    if let Ok(nowhere) = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        let _ = rustix::stdio::dup2_stdin(&nowhere);
        let _ = rustix::stdio::dup2_stdout(&nowhere);
    }
}

/// Closes every descriptor but the standard ones and this one, which is given another number.
fn leave_open_only(socket: OwnedFd) -> OwnedFd {
    const KEPT: i32 = 3;
    // SAFETY: descriptors of this process, which are not used afterwards by what else it has of its parent's.
    unsafe {
        let kept =
            if socket.as_raw_fd() == KEPT { KEPT } else { libc::dup3(socket.as_raw_fd(), KEPT, libc::O_CLOEXEC) };
        std::mem::forget(socket);
        libc::syscall(libc::SYS_close_range, KEPT as u32 + 1, u32::MAX, 0);
        OwnedFd::from_raw_fd(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_heard_as_it_was_said() {
        for command in [Command::Make, Command::Kill(1), Command::Kill(u32::MAX)] {
            assert_eq!(Command::from_bytes(&command.to_bytes()), Some(command));
        }
        for bytes in [&b""[..], b"x1234", b"k12", b"k12345"] {
            assert_eq!(Command::from_bytes(bytes), None, "{bytes:?}");
        }
    }
}
