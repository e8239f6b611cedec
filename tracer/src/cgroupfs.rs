//! The cgroup hierarchies of this host and what exists in them. The only reader of cgroupfs.

pub mod circumstances;
pub mod details;

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, bail};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};

use crate::cgroup_namespace::{self, CgroupNamespace};
use crate::hierarchy::{Hierarchy, Setup};
use crate::input::{BootTime, Cgroup, CgroupId, Change, Event, HierarchyId, Mount, Pid};
use crate::mounts;
use crate::name::Name;
use crate::process;

/// The root of a cgroup namespace is looked for so far down.
const LEVELS: usize = 64;
/// A list of processes that is longer, in bytes, is not read to its end.
const LONGEST_LIST: usize = 64 << 10;
/// Directories deeper than this are counted as unreadable: each level of the walk holds a descriptor.
const DEEPEST: usize = 4_096;

/// The layout of cgroupfs, and every hierarchy.
///
/// # Errors
/// When `/proc` cannot be read, or no cgroup hierarchy is mounted.
pub fn hierarchies() -> anyhow::Result<(Setup, Vec<Hierarchy>)> {
    let own = process::own_cgroups().context("failed to read /proc/self/cgroup")?;
    let mounts = process::own_mounts().context("failed to read /proc/self/mountinfo")?;
    let mut hierarchies = parse_hierarchies(&own, &mounts);
    for hierarchy in hierarchies.iter_mut().filter(|hierarchy| hierarchy.version == 2) {
        hierarchy.controllers = hierarchy.mount.as_ref().and_then(controllers).unwrap_or_default();
    }
    if hierarchies.iter().all(|hierarchy| hierarchy.mount.is_none()) {
        bail!("no cgroup hierarchy is mounted\nhint: mount -t cgroup2 none /sys/fs/cgroup");
    }
    let mounted = |version| hierarchies.iter().any(|h| h.version == version && h.mount.is_some());
    let setup = match (mounted(1), mounted(2)) {
        (false, _) => Setup::Unified,
        (true, true) => Setup::Hybrid,
        (true, false) => Setup::Legacy,
    };
    Ok((setup, hierarchies))
}

/// The controllers that the cgroup at the root of a mount of cgroup2 has: `/proc/PID/cgroup` names none of them.
fn controllers(mount: &Name) -> Option<Vec<String>> {
    let root = open_mount(mount).ok()?;
    let names = read(&root, "cgroup.controllers", 1 << 12)?;
    Some(names.split_ascii_whitespace().map(str::to_owned).collect())
}

/// Joins `/proc/PID/cgroup` (which hierarchies there are) with mountinfo (where they are mounted).
fn parse_hierarchies(own: &str, mountinfo: &[u8]) -> Vec<Hierarchy> {
    let mounted = parse_mounts(mountinfo);
    let hierarchy = |Own { id, controllers, .. }: Own<'_>| {
        // The one mounted from the hierarchy's root shows all of it.
        let mut candidates: Vec<&Mount> = mounts_of(&mounted, id, &controllers).collect();
        candidates.sort_by_key(|mount| mount.root != "/");
        let mount = candidates.first();
        Hierarchy {
            id,
            version: version(id),
            controllers,
            mount: mount.map(|mount| mount.mount_point.clone()),
            device: mount.map(|mount| mount.device),
        }
    };
    parse_own(own).map(hierarchy).collect()
}

/// A line of `/proc/PID/cgroup`.
struct Own<'a> {
    id: HierarchyId,
    controllers: Vec<String>,
    /// The cgroup, as the reader's cgroup namespace calls it.
    path: &'a str,
}

fn parse_own(own: &str) -> impl Iterator<Item = Own<'_>> {
    own.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let id = HierarchyId(fields.next()?.parse().ok()?);
        let controllers = fields.next()?.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Some(Own { id, controllers, path: fields.next()? })
    })
}

fn version(id: HierarchyId) -> u8 {
    if id == HierarchyId(0) { 2 } else { 1 }
}

/// Every mount, by its whole path, and the options of its superblock.
fn parse_mounts(mountinfo: &[u8]) -> Vec<(Mount, Vec<String>)> {
    let lines = mountinfo.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| Some((process::whole(mounts::parse_mountinfo(line).last()?), super_options(line))))
        .collect()
}

/// Those of a hierarchy.
fn mounts_of<'a>(
    mounted: &'a [(Mount, Vec<String>)],
    id: HierarchyId,
    controllers: &[String],
) -> impl DoubleEndedIterator<Item = &'a Mount> {
    let is_here = move |(mount, options): &&(Mount, Vec<String>)| match version(id) {
        2 => mount.file_system == "cgroup2",
        _ => mount.file_system == "cgroup" && controllers.iter().all(|name| options.contains(name)),
    };
    mounted.iter().filter(is_here).map(|(mount, _)| mount)
}

/// This process's cgroup namespace, and whether it is known in every hierarchy that is mounted.
///
/// Where its root lies in a hierarchy cannot be read anywhere. A mount of the whole hierarchy tells how deep it lies,
/// and among the cgroups of that depth it is the one that this process is in.
pub fn own_namespace() -> (CgroupNamespace, bool) {
    let (mut namespace, mut whole) = (CgroupNamespace::first(), true);
    if process::is_in_first_cgroup_namespace() != Some(false) {
        return (namespace, whole);
    }
    let mounted = parse_mounts(&process::own_mounts().unwrap_or_default());
    for Own { id, controllers, path: own } in parse_own(&process::own_cgroups().unwrap_or_default()) {
        // The last one that is mounted somewhere is the one that is seen there.
        let top = mounts_of(&mounted, id, &controllers).rev().find_map(|mount| {
            let levels = cgroup_namespace::levels_above(mount.root.as_bytes()).filter(|levels| *levels <= LEVELS)?;
            let directory = open_mount(&mount.mount_point).ok()?;
            (is_root(directory.as_fd(), version(id)) == Some(true)).then_some((mount.device, levels, directory))
        });
        let mut path = Vec::new();
        let found = top.filter(|(_, levels, directory)| leads_here(directory, *levels, own, &mut path));
        match found {
            Some((device, ..)) if path.is_empty() => namespace.add(id, device, Name::from("/")),
            Some((device, ..)) => namespace.add(id, device, Name::from(path)),
            None => whole &= mounts_of(&mounted, id, &controllers).next().is_none(),
        }
    }
    (namespace, whole)
}

/// Looks for the cgroup so many levels down in which, at `own`, this process is. Writes its path.
fn leads_here(directory: &OwnedFd, levels: usize, own: &str, path: &mut Vec<u8>) -> bool {
    if levels == 0 {
        let own = match own.trim_start_matches('/') {
            "" => ".",
            below => below,
        };
        let cgroup = openat(directory, own, directory_flags(), Mode::empty()).ok();
        let list = cgroup.and_then(|cgroup| read(&cgroup, "cgroup.procs", LONGEST_LIST));
        return list.is_some_and(|list| pids(&list).any(|pid| pid.0 == std::process::id()));
    }
    children(directory).unwrap_or_default().into_iter().any(|name| {
        let Ok(child) = openat(directory, name.as_bytes(), directory_flags(), Mode::empty()) else { return false };
        let length = path.len();
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
        let leads = leads_here(&child, levels - 1, own, path);
        if !leads {
            path.truncate(length);
        }
        leads
    })
}

fn super_options(line: &[u8]) -> Vec<String> {
    let last = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    String::from_utf8_lossy(last).split(',').map(str::to_owned).collect()
}

/// What a walk found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Cgroups told, roots included.
    pub cgroups: u64,
    /// Directories that are there and could not be read.
    pub unreadable: u64,
}

/// Tells every cgroup that exists as an `existing` event, stamped with a time before its directory was read: whatever
/// the kernel reports of it later is later. One that vanishes meanwhile is told or not, and its removal is.
pub fn walk(hierarchies: &[Hierarchy], now: impl Fn() -> BootTime, tell: &mut dyn FnMut(Event)) -> Walked {
    visit(hierarchies, now, &mut |_, event| tell(event))
}

/// As [`walk`], with each cgroup's directory.
fn visit(hierarchies: &[Hierarchy], now: impl Fn() -> BootTime, tell: &mut dyn FnMut(BorrowedFd<'_>, Event)) -> Walked {
    let mut walked = Walked::default();
    for hierarchy in hierarchies {
        let Some(mount) = &hierarchy.mount else { continue };
        let at = now();
        let Ok(root) = open_mount(mount) else {
            walked.unreadable += 1;
            continue;
        };
        let Ok(stat) = rustix::fs::fstat(&root) else {
            walked.unreadable += 1;
            continue;
        };
        let mut walk = Walk { hierarchy: hierarchy.id, now: &now, tell, walked: &mut walked };
        walk.told(root.as_fd(), at, CgroupId(stat.st_ino), b"/", 0);
        walk.below(root);
    }
    walked
}

/// Opens the directory that a hierarchy is mounted on. By openat: the sandbox knows no other call.
fn open_mount(mount: &Name) -> rustix::io::Result<OwnedFd> {
    openat(CWD, mount.as_bytes(), directory_flags(), Mode::empty())
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW
}

struct Walk<'a, F: Fn() -> BootTime> {
    hierarchy: HierarchyId,
    now: &'a F,
    tell: &'a mut dyn FnMut(BorrowedFd<'_>, Event),
    walked: &'a mut Walked,
}

/// A directory on the way down.
struct Level {
    fd: OwnedFd,
    children: Vec<CString>,
    /// How long the path is without this level's name.
    parent_length: usize,
}

impl<F: Fn() -> BootTime> Walk<'_, F> {
    fn told(&mut self, directory: BorrowedFd<'_>, at: BootTime, id: CgroupId, path: &[u8], level: u32) {
        self.walked.cgroups += 1;
        let cgroup = Cgroup {
            hierarchy: self.hierarchy,
            id: Some(id),
            path: Name::new(path),
            level: Some(level),
            truncated: false,
        };
        let change = Change::Existing;
        let event = Event { at, change, cgroup, requested: false, task: None, container: None, actor: None };
        (self.tell)(directory, event);
    }

    /// Depth first, relative to descriptors: a path may be longer than any system call takes.
    fn below(&mut self, root: OwnedFd) {
        let mut path = Vec::new();
        let mut levels: Vec<Level> = self.enter(root, 0).into_iter().collect();
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.children.pop() else {
                path.truncate(level.parent_length);
                levels.pop();
                continue;
            };
            let at = (self.now)();
            let opened = openat(&level.fd, &name, directory_flags(), Mode::empty());
            let Ok(fd) = opened else {
                // ENOENT and ENODEV: it was removed meanwhile.
                let gone = matches!(opened.err(), Some(rustix::io::Errno::NOENT | rustix::io::Errno::NODEV));
                self.walked.unreadable += u64::from(!gone);
                continue;
            };
            let Ok(stat) = statat(&fd, c"", AtFlags::EMPTY_PATH) else { continue };
            let parent_length = path.len();
            path.push(b'/');
            path.extend_from_slice(name.as_bytes());
            self.told(fd.as_fd(), at, CgroupId(stat.st_ino), &path, levels.len() as u32);
            if levels.len() >= DEEPEST {
                self.walked.unreadable += 1;
                path.truncate(parent_length);
            } else if let Some(level) = self.enter(fd, parent_length) {
                levels.push(level);
            } else {
                path.truncate(parent_length);
            }
        }
    }

    fn enter(&mut self, fd: OwnedFd, parent_length: usize) -> Option<Level> {
        let entries = Dir::read_from(fd.as_fd()).ok()?;
        let mut children = Vec::new();
        for entry in entries {
            let Ok(entry) = entry else { break };
            let name = entry.file_name();
            if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
                children.push(name.to_owned());
            }
        }
        Some(Level { fd, children, parent_length })
    }
}

/// Whether a directory is the root of its hierarchy: v1's alone has a release agent, and all but v2's have events.
fn is_root(directory: BorrowedFd<'_>, version: u8) -> Option<bool> {
    let has = |file: &str| match statat(directory, file, AtFlags::empty()) {
        Ok(_) => Some(true),
        Err(rustix::io::Errno::NOENT) => Some(false),
        Err(_) => None,
    };
    if version == 1 { has("release_agent") } else { has("cgroup.events").map(|has| !has) }
}

/// How many cgroups of cgroup2 were removed and not released, by the kernel's own count. `None` if cgroup2 is not
/// mounted, or not from its root: the kernel counts those below a cgroup, and says nothing of others.
pub fn dying(hierarchies: &[Hierarchy]) -> Option<u64> {
    let hierarchy = hierarchies.iter().find(|hierarchy| hierarchy.version == 2)?;
    let root = open_mount(hierarchy.mount.as_ref()?).ok()?;
    if is_root(root.as_fd(), hierarchy.version) != Some(true) {
        return None;
    }
    let stat = read(&root, "cgroup.stat", 1 << 16)?;
    stat.lines().find_map(|line| line.strip_prefix("nr_dying_descendants "))?.parse().ok()
}

/// A kernfs file handle (`FILEID_KERNFS`, linux/exportfs.h) holds nothing but the id.
const FILEID_KERNFS: i32 = 0xfe;

/// Who is in a cgroup, as `cgroup.procs` has them.
pub struct Members {
    /// The cgroup.
    pub id: CgroupId,
    /// The first of them.
    pub first: Vec<Pid>,
    /// How many there are, as far as the list was read.
    pub count: u64,
    /// See [`crate::input::Occupants::frozen`].
    pub frozen: Option<bool>,
}

/// Who is in the cgroup at a path: the first `most`. `None` if it is gone, or without the right or the mount to ask.
/// Nothing that a stranger holds is waited for.
pub fn members(hierarchies: &[Hierarchy], hierarchy: &Hierarchy, path: &Name, most: usize) -> Option<Members> {
    let (cgroup, id) = open(hierarchy, path)?;
    // A threaded cgroup has threads only.
    let list = read(&cgroup, "cgroup.procs", LONGEST_LIST).or_else(|| read(&cgroup, "cgroup.threads", LONGEST_LIST))?;
    // Who is in a pid namespace that this process does not see has no number.
    let first: Vec<Pid> = pids(&list).filter(|pid| pid.0 != 0).take(most).collect();
    let frozen = match hierarchy.version {
        2 => read(&cgroup, "cgroup.events", 1 << 10).map(|events| events.lines().any(|line| line == "frozen 1")),
        _ => first.first().and_then(|member| {
            let freezer = hierarchies.iter().find(|own| own.controllers.iter().any(|name| name == "freezer"))?;
            is_frozen(freezer, path, *member)
        }),
    };
    Some(Members { id, count: pids(&list).count() as u64, first, frozen })
}

/// Opens the cgroup at a path, and tells its id. `None` for what is mounted over it.
fn open(hierarchy: &Hierarchy, path: &Name) -> Option<(OwnedFd, CgroupId)> {
    let mount = open_mount(hierarchy.mount.as_ref()?).ok()?;
    let below = path.as_bytes().strip_prefix(b"/").filter(|below| !below.is_empty())?;
    let cgroup = openat(&mount, below, directory_flags(), Mode::empty()).ok()?;
    let (around, own) = (rustix::fs::fstat(&mount).ok()?, rustix::fs::fstat(&cgroup).ok()?);
    (around.st_dev == own.st_dev).then_some((cgroup, CgroupId(own.st_ino)))
}

/// The names of the cgroups in one.
fn children(cgroup: &OwnedFd) -> Option<Vec<Name>> {
    let entries = Dir::read_from(cgroup.as_fd()).ok()?.flatten();
    let directories = entries.filter(|entry| entry.file_type() == FileType::Directory);
    let names = directories.map(|entry| Name::new(entry.file_name().to_bytes()));
    Some(names.filter(|name| *name != "." && *name != "..").collect())
}

fn pids(list: &str) -> impl Iterator<Item = Pid> {
    list.lines().filter_map(|line| line.parse().ok().map(Pid))
}

/// Whether v1's freezer has stopped the cgroup at this path, and this process is in that.
fn is_frozen(freezer: &Hierarchy, path: &Name, member: Pid) -> Option<bool> {
    let (cgroup, _) = open(freezer, path)?;
    if !pids(&read(&cgroup, "cgroup.procs", LONGEST_LIST)?).any(|pid| pid == member) {
        return None;
    }
    Some(is_freezer_at_work(&read(&cgroup, "freezer.state", 64)?))
}

/// Where somebody can not be stopped, v1's freezer stays at `FREEZING`. All others are stopped by then.
fn is_freezer_at_work(state: &str) -> bool {
    matches!(state.trim_end(), "FROZEN" | "FREEZING")
}

/// A file of a cgroup, up to so many bytes.
fn read(cgroup: &OwnedFd, file: &str, longest: usize) -> Option<String> {
    let file = openat(cgroup, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(fs::File::from(file), longest as u64), &mut text).ok()?;
    String::from_utf8(text).ok()
}

/// The whole path of a cgroup that exists, by its id: for those the kernel cut short. `None` if it is gone, or without
/// the right (CAP_DAC_READ_SEARCH) or the mount to ask. `known` gives the whole path of a cgroup around it, if it can.
pub fn complete_path(hierarchy: &Hierarchy, id: CgroupId, known: impl Fn(CgroupId) -> Option<Name>) -> Option<Name> {
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        id: u64,
    }
    let mount = open_mount(hierarchy.mount.as_ref()?).ok()?;
    let mut handle = Handle { bytes: 8, kind: FILEID_KERNFS, id: id.0 };
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    // SAFETY: the handle is laid out as open_by_handle_at(2) says, and lives through the call.
    let fd = unsafe {
        libc::syscall(libc::SYS_open_by_handle_at, std::os::fd::AsRawFd::as_raw_fd(&mount), &raw mut handle, flags)
    };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    let mut fd: OwnedFd = unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) };
    // The names on the way up: readlink of /proc/self/fd would stop at one page.
    let root = rustix::fs::fstat(&mount).ok()?.st_ino;
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let mut path = loop {
        let own = rustix::fs::fstat(&fd).ok()?.st_ino;
        if own == root || parts.len() > DEEPEST {
            break Vec::new();
        }
        if let Some(path) = known(CgroupId(own)) {
            break path.as_bytes().to_vec();
        }
        let parent = openat(&fd, c"..", directory_flags(), Mode::empty()).ok()?;
        let mut entries = Dir::read_from(parent.as_fd()).ok()?;
        let entry = entries.find_map(|entry| entry.ok().filter(|entry| entry.ino() == own))?;
        parts.push(entry.file_name().to_bytes().to_vec());
        fd = parent;
    };
    for part in parts.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(part);
    }
    Some(Name::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freeze_that_does_not_come_to_its_end_holds_those_inside_as_well() {
        let of = ["FROZEN\n", "FREEZING\n", "THAWED\n"].map(is_freezer_at_work);
        assert_eq!(of, [true, true, false]);
    }

    #[test]
    fn hybrid_hosts_have_both_versions() {
        let own = "9:name=systemd:/\n4:cpu,cpuacct:/x\n1:memory:/\n0::/\n";
        let mounts = b"\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
41 31 0:38 /sub /mnt rw - cgroup2 cgroup2 rw\n\
42 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let found = parse_hierarchies(own, mounts);
        let shown: Vec<(u32, u8, Option<String>)> =
            found.iter().map(|h| (h.id.0, h.version, h.mount.as_ref().map(Name::to_string))).collect();
        let mounted = |path: &str| Some(path.to_owned());
        assert_eq!(
            shown,
            [
                (9, 1, mounted("/sys/fs/cgroup/systemd")),
                (4, 1, mounted("/sys/fs/cgroup/cpu,cpuacct")),
                (1, 1, None),
                (0, 2, mounted("/sys/fs/cgroup/unified")),
            ]
        );
    }
}
