//! File systems that answer until they are used, and never again. A stranger may mount one with `fusermount3`, a setuid
//! program that mounts on their behalf; here root does what it does.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::stranger::{Strangers, USER};
use crate::support::c_path;

/// A program that runs from the file system itself: a copy of busybox, which ends at once and complains.
pub const PROGRAM: &str = "runc";
/// A directory in which nothing is ever found.
pub const DIRECTORY: &str = "directory";
/// A file that can be opened and mapped, and never read.
pub const FILE: &str = "file";
pub const FILE_BYTES: u64 = 1 << 20;

/// A mounted file system. It knows the three names above; whoever asks for another one waits for ever, even one who is
/// killed, because the request was taken and is not answered.
pub struct Fuse {
    pub path: PathBuf,
    server: Option<JoinHandle<()>>,
    _place: tempfile::TempDir,
}

impl Fuse {
    pub fn mount() -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = place.path().join("silent");
        fs::create_dir(&path).unwrap();
        // SAFETY: the strings end in zeros; the descriptor is nobody else's.
        let device = unsafe {
            let fd = libc::open(c"/dev/fuse".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
            assert!(fd >= 0, "/dev/fuse: {}", std::io::Error::last_os_error());
            OwnedFd::from_raw_fd(fd)
        };
        let options = format!("fd={},rootmode=40000,user_id={USER},group_id={USER},allow_other", device.as_raw_fd());
        let (target, options) = (c_path(&path), CString::new(options).unwrap());
        let flags = libc::MS_NOSUID | libc::MS_NODEV;
        // SAFETY: all strings end in zeros.
        let mounted = unsafe {
            libc::mount(c"silent".as_ptr(), target.as_ptr(), c"fuse".as_ptr(), flags, options.as_ptr().cast())
        };
        assert_eq!(mounted, 0, "fuse: {}", std::io::Error::last_os_error());
        let server = std::thread::spawn(move || serve(&device));
        Self { path, server: Some(server), _place: place }
    }

    /// Sees to it that it does not answer, as it must for these tests to mean anything: one asks, and waits.
    pub fn is_silent(&self, strangers: &mut Strangers) {
        let path = c_path(self.path.join("anything"));
        strangers.act(|| {
            // SAFETY: the path ends in a zero.
            unsafe { libc::access(path.as_ptr(), libc::F_OK) }
        });
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(strangers.ended(), Vec::<i32>::new(), "{} answers", self.path.display());
    }
}

impl Drop for Fuse {
    /// Whoever waits for an answer is told that there will be none.
    fn drop(&mut self) {
        let path = c_path(&self.path);
        // SAFETY: the path ends in a zero.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_FORCE | libc::MNT_DETACH) };
        self.server.take().into_iter().for_each(|server| _ = server.join());
    }
}

const ROOT: u64 = 1;
const PROGRAM_NODE: u64 = 2;
const FILE_NODE: u64 = 3;
const DIRECTORY_NODE: u64 = 4;

/// What is done with a request.
enum Answer {
    Bytes(Vec<u8>),
    Error(i32),
    /// There is none to this one.
    Never,
}

/// Until the file system is gone.
fn serve(device: &OwnedFd) {
    let program = fs::read("/bin/busybox").expect("busybox-static is installed");
    let mut request = vec![0u8; 1 << 20];
    loop {
        // SAFETY: there is room for so many bytes.
        let length = unsafe { libc::read(device.as_raw_fd(), request.as_mut_ptr().cast(), request.len()) };
        let Ok(length) = usize::try_from(length) else {
            match std::io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN | libc::ENOENT) => continue,
                _ => return,
            }
        };
        let request = &request[..length];
        let (opcode, unique, node) = (number(request, 4, 4), number(request, 8, 8), number(request, 16, 8));
        let (error, body) = match answer(opcode, node, &request[40..], &program) {
            Answer::Bytes(bytes) => (0, bytes),
            Answer::Error(error) => (-error, Vec::new()),
            Answer::Never => continue,
        };
        let mut reply = Vec::new();
        reply.extend((16 + body.len() as u32).to_ne_bytes());
        reply.extend(error.to_ne_bytes());
        reply.extend(unique.to_ne_bytes());
        reply.extend(body);
        // One who asked may be gone.
        // SAFETY: the reply lives through the call.
        unsafe { libc::write(device.as_raw_fd(), reply.as_ptr().cast(), reply.len()) };
    }
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let mut number = [0; 8];
    number[..length].copy_from_slice(&bytes[at..at + length]);
    u64::from_ne_bytes(number)
}

/// By the operation's number in `linux/fuse.h`.
fn answer(opcode: u64, node: u64, body: &[u8], program: &[u8]) -> Answer {
    let seconds_valid = 3_600u64.to_ne_bytes();
    match opcode {
        // LOOKUP
        1 => {
            let name = body.split(|byte| *byte == 0).next().unwrap_or_default();
            let found = match (node, std::str::from_utf8(name)) {
                (ROOT, Ok(PROGRAM)) => PROGRAM_NODE,
                (ROOT, Ok(FILE)) => FILE_NODE,
                (ROOT, Ok(DIRECTORY)) => DIRECTORY_NODE,
                _ => return Answer::Never,
            };
            let mut entry = [found.to_ne_bytes(), [0; 8], seconds_valid, seconds_valid, [0; 8]].concat();
            entry.extend(attributes(found, program));
            Answer::Bytes(entry)
        }
        // FORGET, INTERRUPT, BATCH_FORGET
        2 | 36 | 42 => Answer::Never,
        // GETATTR: also one who only wants to know which directory a process has for its root waits.
        3 if node == ROOT => Answer::Never,
        3 => {
            let mut answer = [seconds_valid, [0; 8]].concat();
            answer.extend(attributes(node, program));
            Answer::Bytes(answer)
        }
        // OPEN, OPENDIR
        14 | 27 => Answer::Bytes(vec![0; 16]),
        // READ: at a place, so many bytes.
        15 if node == PROGRAM_NODE => {
            let (at, length) = (number(body, 8, 8) as usize, number(body, 16, 4) as usize);
            let at = at.min(program.len());
            Answer::Bytes(program[at..(at + length).min(program.len())].to_vec())
        }
        // READ, READDIR
        15 | 28 => Answer::Never,
        // RELEASE, FLUSH, RELEASEDIR
        18 | 25 | 29 => Answer::Bytes(Vec::new()),
        // INIT: version 7.31; those who look for names in one directory do not wait for each other
        // (FUSE_PARALLEL_DIROPS).
        26 => {
            let mut answer = Vec::new();
            for word in [7u32, 31, 1 << 16, 1 << 18] {
                answer.extend(word.to_ne_bytes());
            }
            for half in [64u16, 48] {
                answer.extend(half.to_ne_bytes());
            }
            for word in [1u32 << 16, 1] {
                answer.extend(word.to_ne_bytes());
            }
            answer.resize(64, 0);
            Answer::Bytes(answer)
        }
        _ => Answer::Error(libc::ENOSYS),
    }
}

/// `struct fuse_attr`
fn attributes(node: u64, program: &[u8]) -> Vec<u8> {
    let (mode, size) = match node {
        PROGRAM_NODE => (libc::S_IFREG | 0o755, program.len() as u64),
        FILE_NODE => (libc::S_IFREG | 0o644, FILE_BYTES),
        _ => (libc::S_IFDIR | 0o755, 0),
    };
    let mut bytes = Vec::new();
    for number in [node, size, size / 512, 0, 0, 0] {
        bytes.extend(number.to_ne_bytes());
    }
    for number in [0, 0, 0, mode, 1, USER, USER, 0, 4_096, 0] {
        bytes.extend(number.to_ne_bytes());
    }
    bytes
}
