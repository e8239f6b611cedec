//! Files as a process sees them, from its own root directory on: no link and no `..` leads out of it, and no more is
//! read than its user could read.
//!
//! A path is walked name by name with `openat` and `readlinkat`, each link read and followed from that root. `openat2`
//! with `RESOLVE_IN_ROOT` does the same in one call, but its flags are in memory, where no seccomp filter can look, so
//! those who read are not allowed it. What cannot be told is `None`: a refused call is not a missing file.
//!
//! Whatever is on the way may never answer, so this is for reader processes only: see [`crate::reader`].

use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, Stat, fstat, fstatfs, openat, readlinkat};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::input::{Pid, UnreadReason};
use crate::name::Name;
use crate::process;
use crate::rights::Rights;

/// A file larger than this is not read.
const LARGEST_FILE: u64 = 4 << 20;
/// A list of all containers may be so large, if root names it: an entry takes about a kilobyte.
const LARGEST_LIST: u64 = 16 << 20;
/// Files that could not be used are told of at most.
const REFUSED: usize = 4;
/// A file that was changed so shortly before it was read may be changed again, with nothing to show for it.
const UNSETTLED: Duration = Duration::from_secs(2);
/// Links that are followed for one path, as many as the kernel follows.
const LINKS: u32 = 40;
/// Directories that one path may go down.
const DEPTH: usize = 128;
/// Names that are read of one directory.
const ENTRIES: usize = 4_096;

/// File systems that hold no files of anybody's: to open one of theirs may do something, and to look for one in
/// cgroupfs is what is traced. Their magic numbers are from `linux/magic.h`.
const NO_FILES: [u64; 18] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x0187,      // autofs: to look is to mount
    0x1cd1,      // devpts
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x6265_6570, // configfs
    0xcafe_4a11, // bpf
    0x6573_5543, // fusectl
    0x6165_676c, // pstore
    0xde5e_81e4, // efivarfs
    0x4249_4e4d, // binfmt_misc
    0xf97c_ff8c, // selinux
    0x4341_5d53, // smack
    0x6e73_6673, // nsfs
];

/// A root directory, and whose rights it is looked through with.
pub struct Root {
    directory: OwnedFd,
    rights: Rights,
    refused: RefCell<Vec<Refused>>,
}

/// A file that is there and could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Which.
    pub path: Name,
    /// Why.
    pub reason: UnreadReason,
}

/// Which file it is, as it was when it was last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    changed: i64,
    /// Its size in bytes.
    pub size: u64,
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            changed: changed(stat),
            size: u64::try_from(stat.st_size).unwrap_or(0),
        }
    }

    /// Whether what has the same stamp later is the same.
    pub fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let until = i64::try_from((now.saturating_sub(UNSETTLED)).as_nanos()).unwrap_or(0);
        self.changed < until
    }
}

fn changed(stat: &Stat) -> i64 {
    stat.st_ctime.saturating_mul(1_000_000_000).saturating_add(stat.st_ctime_nsec as i64)
}

impl Root {
    /// That of a process. `None` if the process is gone.
    pub fn of(pid: Pid, rights: Rights) -> Option<Self> {
        Some(Self::new(process::root(pid)?, rights))
    }

    /// That of the host. In a container that has the host's processes, this process's own is another one. `None` if the
    /// host's may not be looked into: what a container has is not what the host has.
    pub fn of_host() -> Option<Self> {
        match process::has_root_of_its_own() {
            true => process::of_host().find_map(|pid| Self::of(pid, Rights::Own)),
            false => Self::own(),
        }
    }

    /// This process's own.
    pub fn own() -> Option<Self> {
        Self::at(Path::new("/"), Rights::Own)
    }

    /// A directory as the root.
    pub(crate) fn at(path: &Path, rights: Rights) -> Option<Self> {
        let directory = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        Some(Self::new(directory, rights))
    }

    fn new(directory: OwnedFd, rights: Rights) -> Self {
        Self { directory, rights, refused: RefCell::default() }
    }

    /// Whether there is something at a path. `None` if that cannot be told.
    pub fn has(&self, path: &Path) -> Option<bool> {
        let _assumed = self.rights.assume()?;
        match self.find(path) {
            Ok(_) => Some(true),
            Err(Errno::NOENT | Errno::NOTDIR) => Some(false),
            Err(_) => None,
        }
    }

    /// When what is at a path was last changed, in nanoseconds since 1970.
    pub fn changed(&self, path: &Path) -> Option<i64> {
        let _assumed = self.rights.assume()?;
        Some(changed(&fstat(&self.find(path).ok()?).ok()?))
    }

    /// Reads a regular file of moderate size: a stranger chose the path, so it may be a pipe, a device or endless.
    /// `None` if there is none; if there is something else, that is kept as refused.
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let _assumed = self.rights.assume()?;
        let (file, _) = self.noted(path, self.open(path, LARGEST_FILE))?;
        self.noted(path, load(file, LARGEST_FILE))
    }

    /// As [`Root::read`], of a file of JSON.
    pub fn json<T: DeserializeOwned>(&self, path: &Path) -> Option<T> {
        self.parse(path, &self.read(path)?)
    }

    /// Reads what such a file holds.
    pub fn parse<T: DeserializeOwned>(&self, path: &Path, text: &[u8]) -> Option<T> {
        self.noted(path, serde_json::from_slice(text).map_err(|_| Some(UnreadReason::Malformed)))
    }

    /// As [`Root::read`], of what may be a long list, unless it is known as it is now.
    pub fn list_unless(&self, path: &Path, is_known: impl Fn(&Stamp) -> bool) -> Option<(Stamp, Option<Vec<u8>>)> {
        let _assumed = self.rights.assume()?;
        let most = if self.rights.are_of(0) { LARGEST_LIST } else { LARGEST_FILE };
        let (file, stat) = self.noted(path, self.open(path, most))?;
        let stamp = Stamp::of(&stat);
        match is_known(&stamp) {
            true => Some((stamp, None)),
            false => Some((stamp, Some(self.noted(path, load(file, most))?))),
        }
    }

    /// What was there, and could not be used, since this was last asked.
    pub fn take_refused(&self) -> Vec<Refused> {
        self.refused.take()
    }

    /// Adds what was refused elsewhere.
    pub fn refuse(&self, files: Vec<Refused>) {
        let mut refused = self.refused.borrow_mut();
        let room = REFUSED.saturating_sub(refused.len());
        refused.extend(files.into_iter().take(room));
    }

    /// Keeps why something could not be used: for a reason, or because it is not there.
    fn noted<T>(&self, path: &Path, result: Result<T, Option<UnreadReason>>) -> Option<T> {
        let reason = match result {
            Ok(value) => return Some(value),
            Err(reason) => reason?,
        };
        let mut refused = self.refused.borrow_mut();
        let file = Refused { path: Name::new(path.as_os_str().as_bytes()), reason };
        if refused.len() < REFUSED && !refused.contains(&file) {
            refused.push(file);
        }
        None
    }

    fn open(&self, path: &Path, most: u64) -> Result<(File, Stat), Option<UnreadReason>> {
        let found = self.find(path).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR => None,
            Errno::XDEV => Some(UnreadReason::NotAFile),
            _ => Some(UnreadReason::NotReadable),
        })?;
        let stat = fstat(&found).map_err(|_| Some(UnreadReason::NotReadable))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Some(UnreadReason::NotAFile));
        }
        if u64::try_from(stat.st_size).is_ok_and(|size| size > most) {
            return Err(Some(UnreadReason::TooLarge));
        }
        Ok((process::reopen(&found).ok_or(Some(UnreadReason::NotReadable))?, stat))
    }

    /// The names in a directory; none if it is not there. `None` if that cannot be told, or there are more than so
    /// many.
    pub fn list(&self, path: &Path, most: usize) -> Option<Vec<Name>> {
        let _assumed = self.rights.assume()?;
        let found = match self.find(path) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR) => return Some(Vec::new()),
            Err(_) => return None,
        };
        let reading = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match openat(&found, ".", reading, Mode::empty()) {
            Ok(directory) => Dir::read_from(directory).ok()?,
            Err(Errno::NOTDIR) => return Some(Vec::new()),
            Err(_) => return None,
        };
        let mut names = Vec::new();
        for entry in directory {
            let name = Name::new(entry.ok()?.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name);
            }
            if names.len() > most {
                return None;
            }
        }
        Some(names)
    }

    /// The names in a directory; none if it cannot be read.
    pub fn names(&self, path: &Path) -> Vec<Name> {
        let Some(_assumed) = self.rights.assume() else { return Vec::new() };
        let open = |found: OwnedFd| {
            openat(&found, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()
        };
        let directory = self.find(path).ok().and_then(open).and_then(|directory| Dir::read_from(directory).ok());
        let entries = directory.into_iter().flatten().flatten().take(ENTRIES);
        entries
            .map(|entry| Name::new(entry.file_name().to_bytes()))
            .filter(|name| *name != "." && *name != "..")
            .collect()
    }

    /// Walks a path. What is there is not opened: this is only its place.
    fn find(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let place = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut device = None;
        let mut enter = |found: &OwnedFd, its: u64| match device.replace(its) {
            Some(same) if same == its => Ok(()),
            _ if NO_FILES.contains(&(fstatfs(found)?.f_type as u64 & 0xffff_ffff)) => Err(Errno::XDEV),
            _ => Ok(()),
        };
        enter(&self.directory, fstat(&self.directory)?.st_dev)?;
        let mut way: Vec<OwnedFd> = Vec::new();
        let mut rest = names_of(path.as_os_str().as_bytes());
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == b".." {
                way.pop();
                continue;
            }
            let here = way.last().unwrap_or(&self.directory);
            let found = openat(here, name.as_slice(), place, Mode::empty())?;
            let stat = fstat(&found)?;
            enter(&found, stat.st_dev)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory if way.len() >= DEPTH => return Err(Errno::NAMETOOLONG),
                FileType::Directory => way.push(found),
                FileType::Symlink => {
                    links += 1;
                    if links > LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = readlinkat(&found, c"", Vec::new())?.into_bytes();
                    if target.starts_with(b"/") {
                        way.clear();
                    }
                    rest.extend(names_of(&target));
                }
                _ if !rest.is_empty() => return Err(Errno::NOTDIR),
                _ => return Ok(found),
            }
        }
        match way.pop() {
            Some(directory) => Ok(directory),
            None => openat(&self.directory, ".", place, Mode::empty()),
        }
    }
}

/// The directories that a path stands for, in which a `*` stands for any name, or for a part of one.
pub fn directories(place: &str, mut list: impl FnMut(&Path) -> Vec<Name>) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for part in place.split('/').filter(|part| !part.is_empty()) {
        found = match part.split_once('*') {
            None => found.into_iter().map(|directory| directory.join(part)).collect(),
            Some((before, behind)) => {
                let is = |name: &Name| {
                    let name = name.as_bytes();
                    name.len() >= before.len() + behind.len()
                        && name.starts_with(before.as_bytes())
                        && name.ends_with(behind.as_bytes())
                };
                let below = |directory: PathBuf| {
                    let names = list(&directory).into_iter().filter(is);
                    names.map(|name| directory.join(name.to_path())).collect::<Vec<_>>()
                };
                found.into_iter().flat_map(below).collect()
            }
        };
    }
    found
}

/// What is in a file, if that is not more than so many bytes.
fn load(file: File, most: u64) -> Result<Vec<u8>, Option<UnreadReason>> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|_| Some(UnreadReason::NotReadable))?;
    if bytes.len() as u64 > most { Err(Some(UnreadReason::TooLarge)) } else { Ok(bytes) }
}

/// The names of a path, the first one last.
fn names_of(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names.rev().map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// `/etc/secret` of this host, beside a root directory with a file, and links of all kinds.
    fn tree() -> (tempfile::TempDir, Root) {
        let host = tempfile::tempdir().expect("a directory");
        let root = host.path().join("root");
        fs::create_dir_all(root.join("run/runc/web")).expect("made");
        fs::create_dir_all(root.join("var")).expect("made");
        fs::write(host.path().join("secret"), "secret").expect("written");
        fs::write(root.join("run/runc/web/state.json"), "inside").expect("written");
        let link = |target: &str, place: &str| symlink(target, root.join(place)).expect("linked");
        link("/run", "var/run");
        link("../run", "var/relative");
        link("../../../../../../secret", "var/out");
        link("/../secret", "var/absolute-out");
        link("loop", "var/loop");
        link("/proc/self/root/etc", "var/magic");
        let of = Root::at(&root, Rights::Own).expect("opened");
        (host, of)
    }

    #[test]
    fn an_absolute_link_leads_to_a_place_in_the_same_root() {
        let (_host, root) = tree();
        for path in ["/run", "/var/run", "/var/relative", "var/run", "/var/run/../var/run", "/../../run/."] {
            let file = Path::new(path).join("runc/web/state.json");
            assert_eq!(root.read(&file).as_deref(), Some(&b"inside"[..]), "{path}");
            assert_eq!(root.has(&file), Some(true), "{path}");
        }
        assert_eq!(root.names(Path::new("/var/run/runc")), ["web"]);
    }

    #[test]
    fn no_link_leads_out() {
        let (_host, root) = tree();
        for path in ["/var/out", "/var/absolute-out", "/../secret", "../../secret", "/var/magic/passwd"] {
            assert_eq!(root.read(Path::new(path)), None, "{path}");
            assert_eq!(root.has(Path::new(path)), Some(false), "{path}");
        }
    }

    #[test]
    fn what_is_not_there_and_what_cannot_be_told_differ() {
        let (_host, root) = tree();
        assert_eq!(root.has(Path::new("/run/runc/other/state.json")), Some(false));
        assert_eq!(root.has(Path::new("/run/runc/web/state.json/below")), Some(false));
        assert_eq!(root.has(Path::new("/var/loop")), None);
        assert_eq!(root.has(Path::new("/")), Some(true));
    }

    #[test]
    fn only_regular_files_of_moderate_size_are_read() {
        let (host, root) = tree();
        rustix::fs::mknodat(CWD, host.path().join("root/pipe"), FileType::Fifo, Mode::RUSR, 0).expect("made");
        let large = File::create(host.path().join("root/large")).expect("made");
        large.set_len(LARGEST_FILE + 1).expect("grown");
        for path in ["/pipe", "/large", "/run"] {
            assert_eq!(root.read(Path::new(path)), None, "{path}");
            assert_eq!(root.has(Path::new(path)), Some(true), "{path}");
        }
        assert_eq!(Root::own().expect("there").read(Path::new("/dev/zero")), None);
    }

    #[test]
    fn what_holds_no_files_of_anybodys_is_not_entered() {
        let root = Root::own().expect("there");
        for path in ["/proc/self/status", "/proc/kmsg", "/sys/kernel/uevent_seqnum", "/sys/fs/cgroup/x"] {
            assert_eq!((root.read(Path::new(path)), root.has(Path::new(path))), (None, None), "{path}");
        }
        assert!(root.names(Path::new("/proc")).is_empty());
    }

    #[test]
    fn a_process_that_is_gone_has_no_root() {
        assert!(Root::of(Pid(u32::MAX), Rights::Own).is_none());
        assert!(Root::of(Pid(std::process::id()), Rights::Own).is_some());
    }
}
