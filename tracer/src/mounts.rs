//! Where in a cgroup hierarchy a path leads, by the mount table of a mount namespace.
//!
//! Paths are resolved by their text: `//`, `.` and `..` are taken out, symbolic links are not followed. Reading mount
//! tables is [`crate::process`]'s business.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::budget::{self, Weigh, weigh};
use crate::input::{Attempt, Device, Directory, Mount, MountId, NamespaceId};
use crate::name::{Name, components};
use crate::recent::Parted;

/// Tables that are kept at most: whoever may make mount namespaces may make very many.
const TABLES: usize = 4_096;

/// A place for what is known of mount namespaces; the one that was told of longest ago makes room.
pub(crate) fn tables<T: Weigh>() -> Parted<NamespaceId, T> {
    Parted::new(TABLES, budget::HOSTS_MOUNTS, budget::MOUNTS)
}

/// The mounts of one namespace, in the order they were made.
#[derive(Clone, Debug)]
pub struct MountTable {
    mounts: Vec<Mount>,
    /// What each is mounted on; `None` for those whose parent is not in the table. Empty if the table does not say
    /// which mount is on which one.
    parents: Vec<Option<usize>>,
    /// What is mounted on each, and behind the last one what is on none of the table.
    children: Vec<Vec<usize>>,
}

weigh! { MountTable: mounts, parents, children; }

/// Where an absolute path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// To a cgroup hierarchy.
    Cgroup {
        /// Its superblock.
        device: Device,
        /// From the hierarchy's root.
        path: Name,
        /// The mount is read-only.
        read_only: bool,
    },
    /// To a file system that is none.
    OtherFileSystem {
        /// Its type.
        file_system: Name,
    },
    /// The table has no mount for it.
    Unknown,
}

impl MountTable {
    /// A table in the order of `/proc/PID/mountinfo`.
    pub fn new(mounts: Vec<Mount>) -> Self {
        let places: HashMap<MountId, usize> =
            mounts.iter().enumerate().filter_map(|(index, mount)| Some((mount.id?, index))).collect();
        let parents: Vec<Option<usize>> = match places.len() == mounts.len() {
            // A mount that is on nothing names itself.
            true => mounts
                .iter()
                .enumerate()
                .map(|(index, mount)| places.get(&mount.parent?).copied().filter(|parent| *parent != index))
                .collect(),
            false => Vec::new(),
        };
        let mut children = vec![Vec::new(); mounts.len() + 1];
        for (index, parent) in parents.iter().enumerate() {
            if let Some(children) = children.get_mut(parent.unwrap_or(mounts.len())) {
                children.push(index);
            }
        }
        Self { mounts, parents, children }
    }

    /// The mounts, as they were given.
    pub fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// Follows an absolute path.
    pub fn resolve(&self, path: &Name) -> Resolution {
        let path = join(&Name::from("/"), path);
        let mount = if self.parents.is_empty() { self.innermost(&path) } else { self.walk(&path, None) };
        mount.map_or(Resolution::Unknown, |mount| self.within(mount, &path))
    }

    /// What of its file system is mounted where a directory was reached, if the mount is known and the directory in it.
    pub fn root_of(&self, directory: &Directory) -> Option<&Name> {
        let id = directory.mount?;
        let mount = self.mounts.iter().find(|mount| mount.id == Some(id) && mount.device == directory.device)?;
        below(&mount.root, &directory.path).map(|_| &mount.root)
    }

    /// Follows a path from a directory that is told by its place on its file system: one above cgroupfs, or one that
    /// the path climbs out of.
    pub fn resolve_from(&self, directory: &Directory, path: &Name) -> Resolution {
        let of_device = |mount: &&Mount| mount.device == directory.device;
        let mount_point = |mount: &Mount| {
            let rest = below(&mount.root, &directory.path)?;
            Some(join(&mount.mount_point, &Name::new(rest)))
        };
        let through = directory.mount.and_then(|id| self.mounts.iter().position(|mount| mount.id == Some(id)));
        if let Some(through) = through.filter(|index| self.mounts.get(*index).as_ref().is_some_and(of_device)) {
            let Some(start) = self.mounts.get(through).and_then(mount_point) else { return Resolution::Unknown };
            let path = join(&start, path);
            let stays = self.mounts.get(through).is_some_and(|mount| below(&mount.mount_point, &path).is_some());
            let mount = self.walk(&path, stays.then_some(through));
            return mount.map_or(Resolution::Unknown, |mount| self.within(mount, &path));
        }
        // Which mount it was reached through is not known: it counts where all of them lead to the same place.
        let mut found = None;
        for start in self.mounts.iter().filter(of_device).filter_map(mount_point) {
            let resolution = self.resolve(&join(&start, path));
            if found.as_ref().is_some_and(|found| *found != resolution) {
                return Resolution::Unknown;
            }
            found = Some(resolution);
        }
        // What is above a mount of cgroupfs is in the table.
        found.unwrap_or_else(|| Resolution::OtherFileSystem { file_system: Name::from("") })
    }

    /// Goes down a path as the kernel does, from mount to mount: what a mount covers is not met. Begins at `from`, or
    /// at the root.
    fn walk(&self, path: &Name, from: Option<usize>) -> Option<usize> {
        let mut current = from;
        // A mount is met once at most.
        for _ in 0..self.mounts.len() {
            let on = |at: usize| self.children.get(at).into_iter().flatten().copied();
            let around = current.and_then(|at| Some((at, self.mounts.get(at)?)));
            // What a mount is on may have come to be while the table was read.
            let is_lost_here = |index: usize, mount: &Mount| {
                around.is_none_or(|(at, around)| {
                    index != at
                        && mount.mount_point != around.mount_point
                        && below(&around.mount_point, &mount.mount_point).is_some()
                })
            };
            let known = around.into_iter().flat_map(|(at, _)| on(at)).map(|index| (index, true));
            let children =
                known.chain(on(self.mounts.len()).map(|index| (index, false))).filter_map(|(index, known)| {
                    let mount = self.mounts.get(index)?;
                    (known || is_lost_here(index, mount)).then_some((index, mount))
                });
            // The first one on the way; of several at one place the last.
            let next = children
                .filter(|(_, mount)| below(&mount.mount_point, path).is_some())
                .min_by_key(|(index, mount)| (mount.mount_point.as_bytes().len(), std::cmp::Reverse(*index)));
            match next {
                Some((index, _)) => current = Some(index),
                None => break,
            }
        }
        current
    }

    /// Without knowing what covers what: of the mounts around a path the innermost, of several at one place the last.
    fn innermost(&self, path: &Name) -> Option<usize> {
        let around = self.mounts.iter().enumerate().filter(|(_, mount)| below(&mount.mount_point, path).is_some());
        around.max_by_key(|(_, mount)| mount.mount_point.as_bytes().len()).map(|(index, _)| index)
    }

    fn within(&self, index: usize, path: &Name) -> Resolution {
        let Some((mount, rest)) =
            self.mounts.get(index).and_then(|mount| Some((mount, below(&mount.mount_point, path)?)))
        else {
            return Resolution::Unknown;
        };
        if !is_cgroupfs(mount) {
            return Resolution::OtherFileSystem { file_system: mount.file_system.clone() };
        }
        let path = join(&mount.root, &Name::new(rest));
        Resolution::Cgroup { device: mount.device, path, read_only: mount.read_only }
    }
}

/// Whether it is one of cgroups, of either version.
pub fn is_cgroupfs(mount: &Mount) -> bool {
    mount.file_system == "cgroup2" || mount.file_system == "cgroup"
}

/// What of `path` lies below `directory`; `None` if it lies elsewhere.
pub fn below<'a>(directory: &Name, path: &'a Name) -> Option<&'a [u8]> {
    let directory = directory.as_bytes().strip_suffix(b"/").unwrap_or(directory.as_bytes());
    let rest = path.as_bytes().strip_prefix(directory)?;
    (rest.is_empty() || rest[0] == b'/').then_some(rest)
}

/// Where a failed call leads: to which hierarchy's superblock, and from the hierarchy's root. `table` is that of its
/// process's mount namespace, and `whole` tells the path of a directory whose own was cut short, where that is known.
pub fn cgroup_of<'a>(
    attempt: &'a Attempt,
    table: Option<&MountTable>,
    whole: impl FnOnce(&Directory) -> Option<&'a Name>,
) -> Option<(Device, Name)> {
    match &attempt.directory {
        Some(directory) if !needs_table(attempt, table) => {
            let start = if directory.truncated { whole(directory)? } else { &directory.path };
            Some((directory.device, join(start, &attempt.path)))
        }
        Some(_) | None => match by_table(attempt, table)? {
            Resolution::Cgroup { device, path, .. } => Some((device, path)),
            Resolution::OtherFileSystem { .. } | Resolution::Unknown => None,
        },
    }
}

/// Whether a failed call is known to have nothing to do with a cgroup: its path leads to another file system.
pub fn is_foreign(attempt: &Attempt, table: Option<&MountTable>) -> bool {
    needs_table(attempt, table) && matches!(by_table(attempt, table), Some(Resolution::OtherFileSystem { .. }))
}

/// Whether a path does not start on cgroupfs, or leads out of the mount that it starts in, by `..`: to what is around
/// that.
fn needs_table(attempt: &Attempt, table: Option<&MountTable>) -> bool {
    // One whose path was cut short is deeper than anybody climbs.
    let on_cgroupfs = |directory: &&Directory| !directory.outside && !directory.truncated;
    attempt.needs_mounts()
        || attempt.directory.as_ref().filter(on_cgroupfs).is_some_and(|directory| {
            let root = table.and_then(|table| table.root_of(directory)).cloned().unwrap_or_else(|| Name::from("/"));
            climbs_out_of(&root, &directory.path, &attempt.path)
        })
}

fn by_table(attempt: &Attempt, table: Option<&MountTable>) -> Option<Resolution> {
    match &attempt.directory {
        Some(directory) if directory.truncated => None,
        Some(directory) => Some(table?.resolve_from(directory, &attempt.path)),
        None => Some(table?.resolve(&attempt.path)),
    }
}

/// Whether a path from `directory`, which is `root` or below it, leads above `root` at any point.
pub fn climbs_out_of(root: &Name, directory: &Name, path: &Name) -> bool {
    let mut depth = below(root, directory).map_or(0, |path| components(path).count());
    path.as_bytes().split(|byte| *byte == b'/').any(|part| {
        match part {
            b"" | b"." => {}
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            _ => depth += 1,
        }
        false
    })
}

/// `directory` and `path` below it as one absolute path, without `//`, `.` and `..`.
pub fn join(directory: &Name, path: &Name) -> Name {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in directory.as_bytes().split(|byte| *byte == b'/').chain(path.as_bytes().split(|byte| *byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Name::from("/");
    }
    let mut joined = Vec::with_capacity(directory.as_bytes().len() + path.as_bytes().len() + 1);
    for part in parts {
        joined.push(b'/');
        joined.extend_from_slice(part);
    }
    Name::from(joined)
}

/// The controllers whose files a cgroup directory holds, as the prefix of their names.
const CONTROLLERS: [&str; 19] = [
    "blkio",
    "cgroup",
    "cpu",
    "cpuacct",
    "cpuset",
    "debug",
    "devices",
    "dmem",
    "freezer",
    "hugetlb",
    "io",
    "irq",
    "memory",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
    "rdma",
];

/// Splits what was opened into the cgroup and its control file, `None` for the cgroup itself.
///
/// A name is taken for a control file when it has the form that the kernel refuses for cgroups (`cgroup_is_valid_name`
/// of cgroup2: no `cgroup.` and no controller's name with a dot), or is one of v1's three plain names.
pub fn split_control_file(path: &Name) -> (Name, Option<Name>) {
    let bytes = path.as_bytes();
    let Some(slash) = bytes.iter().rposition(|byte| *byte == b'/') else { return (path.clone(), None) };
    let last = &bytes[slash + 1..];
    let prefix = last.iter().position(|byte| *byte == b'.').map(|dot| &last[..dot]);
    let is_file = matches!(last, b"tasks" | b"notify_on_release" | b"release_agent")
        || prefix.is_some_and(|prefix| CONTROLLERS.iter().any(|controller| controller.as_bytes() == prefix));
    if is_file { split_file(path) } else { (path.clone(), None) }
}

/// The same of what is known to be a file.
pub fn split_file(path: &Name) -> (Name, Option<Name>) {
    let bytes = path.as_bytes();
    let Some(slash) = bytes.iter().rposition(|byte| *byte == b'/') else { return (path.clone(), None) };
    (Name::new(&bytes[..slash.max(1)]), Some(Name::new(&bytes[slash + 1..])))
}

/// Parses `/proc/PID/mountinfo` (proc(5)). A line that is not understood is left out.
pub fn parse_mountinfo(text: &[u8]) -> impl Iterator<Item = Mount> + Clone {
    text.split(|byte| *byte == b'\n').filter_map(parse_mount)
}

fn parse_mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut number = || Some(MountId(std::str::from_utf8(fields.next()?).ok()?.parse().ok()?));
    let (id, parent) = (number()?, number()?);
    let device = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let root = unescape(fields.next()?);
    let mount_point = unescape(fields.next()?);
    let options = fields.next()?;
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let file_system = Name::new(fields.next()?);
    let super_options = fields.nth(1).unwrap_or_default();
    let read_only = [options, super_options].iter().any(|options| options.split(|b| *b == b',').any(|o| o == b"ro"));
    Some(Mount { id: Some(id), parent: Some(parent), device, root, mount_point, file_system, read_only })
}

/// Undoes mountinfo's octal escapes (`\040` for a space).
fn unescape(field: &[u8]) -> Name {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        if let [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] = rest {
            out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = tail;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    Name::from(out)
}

/// Mounts of one namespace that are kept at most, and what their paths may take, in bytes. No host needs so many around
/// cgroupfs; a stranger may make them.
pub const MOUNTS: usize = 1_024;
const BYTES: usize = 256 << 10;
/// A mount point of cgroupfs is no deeper and no longer than this, in names and bytes: each directory around it is
/// looked for.
const DEEPEST: usize = 64;
const LONGEST: usize = 1_024;

/// Only those that decide where a path to cgroupfs leads: cgroup mounts, what they are mounted in, and what covers
/// them. None if they are more than are kept: what some of them say would be wrong. Tells how many were left out.
pub fn relevant(mounts: impl Iterator<Item = Mount> + Clone) -> (Vec<Mount>, u64) {
    let too_many = || (Vec::new(), mounts.clone().count() as u64);
    let mut points: HashSet<Name> = HashSet::new();
    for mount in mounts.clone().filter(is_cgroupfs) {
        let point = mount.mount_point.as_bytes();
        if points.len() > MOUNTS || point.len() > LONGEST || ancestors(point).count() > DEEPEST {
            return too_many();
        }
        points.insert(mount.mount_point);
    }
    let around: HashSet<&[u8]> = points.iter().flat_map(|point| ancestors(point.as_bytes())).collect();
    let near = |mount: &Mount| {
        let point = mount.mount_point.as_bytes();
        // A deep one is below something, whatever it is called further down.
        let above = ancestors(point).filter(|directory| directory.len() <= LONGEST);
        around.contains(point) || above.into_iter().any(|directory| points.contains(directory))
    };
    let (mut kept, mut bytes) = (Vec::new(), 0);
    for mount in mounts.clone().filter(near) {
        bytes += mount.root.as_bytes().len() + mount.mount_point.as_bytes().len();
        kept.push(mount);
        if kept.len() > MOUNTS || bytes > BYTES {
            return too_many();
        }
    }
    (kept, 0)
}

/// A path itself and the directories around it, the root last.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at.max(1));
    let directories = slashes.map(move |end| &path[..end.min(path.len())]);
    std::iter::once(path).chain(directories)
}

/// What the kernel side is to look for in paths, as the mount tables that were read so far say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Cgroup mount points that are not below `/sys/fs/cgroup`; those of the host come first (`false`).
    pub prefixes: BTreeSet<(bool, Name)>,
    /// For each file system above a mount of cgroupfs: how the ways from its directories to the mount begin.
    pub above: BTreeMap<Device, BTreeSet<Name>>,
}

/// Where cgroupfs is mounted nearly everywhere, or what is above its mounts.
pub const USUAL: &str = "/sys/fs/cgroup";

/// Mount points, and file systems above them, that are remembered at most; and ways down from one.
const WATCHED: usize = 1_024;
const WAYS: usize = 64;
/// Of a way no more is looked at.
const BEGINNING: usize = 8;

impl Watch {
    /// Adds what a mount table says, the host's or another one's. Returns whether that was new.
    pub fn learn(&mut self, mounts: &[Mount], is_hosts: bool) -> bool {
        let usual = Name::from(USUAL);
        let mut new = false;
        let points: BTreeSet<&Name> = mounts.iter().filter(|m| is_cgroupfs(m)).map(|m| &m.mount_point).collect();
        // The file systems that are mounted in each place, without cgroupfs.
        let mut places: HashMap<&[u8], BTreeSet<Device>> = HashMap::new();
        for mount in mounts {
            let devices = places.entry(mount.mount_point.as_bytes()).or_default();
            devices.extend((!is_cgroupfs(mount)).then_some(mount.device));
        }
        for point in points {
            if below(&usual, point).is_none() && (is_hosts || self.prefixes.len() < WATCHED) {
                new |= self.prefixes.insert((!is_hosts, point.clone()));
            }
            let point = point.as_bytes();
            // From the next place on the way is another file system's.
            let mut next = point.len();
            for place in ancestors(point).filter(|place| place.len() < point.len()) {
                let Some(devices) = places.get(place) else { continue };
                let from = place.strip_suffix(b"/").unwrap_or(place).len();
                for device in devices {
                    if self.above.len() >= WATCHED && !self.above.contains_key(device) {
                        // The kernel side keeps those that are asked for, and they are learnt again when they matter.
                        self.above.clear();
                    }
                    let ways = self.above.entry(*device).or_default();
                    for slash in (from..next).filter(|at| point[*at] == b'/') {
                        let way = &point[slash + 1..];
                        new |= ways.len() < WAYS && ways.insert(Name::new(&way[..way.len().min(BEGINNING)]));
                    }
                }
                next = place.len();
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] = b"\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
50 22 0:38 /docker/abc /mnt/my\\040cg ro,relatime - cgroup2 cgroup2 rw
60 22 0:99 / /proc rw - proc proc rw
not a mount line
";

    fn table() -> MountTable {
        MountTable::new(parse_mountinfo(HYBRID).collect())
    }

    fn check(path: &str, device: u32, resolved: &str, read_only: bool) {
        let expected =
            Resolution::Cgroup { device: Device { major: 0, minor: device }, path: resolved.into(), read_only };
        assert_eq!(table().resolve(&path.into()), expected, "{path}");
    }

    #[test]
    fn paths_lead_through_the_innermost_mount_to_the_hierarchys_root() {
        check("/sys/fs/cgroup/memory", 32, "/", false);
        check("/sys/fs/cgroup/memory/a/b", 32, "/a/b", false);
        check("/sys//fs/./cgroup/unified/x/../y/", 38, "/y", false);
        check("/mnt/my cg/web", 38, "/docker/abc/web", true);
        let tmpfs = Resolution::OtherFileSystem { file_system: "tmpfs".into() };
        assert_eq!(table().resolve(&"/sys/fs/cgroup/memoryx".into()), tmpfs);
        assert_eq!(MountTable::new(Vec::new()).resolve(&"/x".into()), Resolution::Unknown);
    }

    fn resolved(mountinfo: &[&str], path: &str) -> Resolution {
        MountTable::new(parse_mountinfo(mountinfo.join("\n").as_bytes()).collect()).resolve(&path.into())
    }

    fn cgroup(device: u32, path: &str, read_only: bool) -> Resolution {
        Resolution::Cgroup { device: Device { major: 0, minor: device }, path: path.into(), read_only }
    }

    fn other(file_system: &str) -> Resolution {
        Resolution::OtherFileSystem { file_system: file_system.into() }
    }

    const ROOT: &str = "22 1 254:0 / / rw - ext4 /dev/vda rw";
    const SYS: &str = "23 22 0:22 / /sys rw - sysfs sysfs rw";
    const UNIFIED: &str = "31 23 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw";

    #[test]
    fn a_later_mount_at_the_same_place_covers_the_earlier_one() {
        let over = "70 31 0:38 /sub /sys/fs/cgroup ro - cgroup2 none rw";
        assert_eq!(resolved(&[ROOT, SYS, UNIFIED, over], "/sys/fs/cgroup/x"), cgroup(38, "/sub/x", true));
        let over = "70 31 0:40 / /sys/fs/cgroup rw - tmpfs none rw";
        assert_eq!(resolved(&[ROOT, SYS, UNIFIED, over], "/sys/fs/cgroup/x"), other("tmpfs"));
        let below = "71 70 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
        assert_eq!(resolved(&[ROOT, SYS, UNIFIED, over, below], "/sys/fs/cgroup/memory/x"), cgroup(32, "/x", false));
    }

    #[test]
    fn what_lies_below_a_covered_mount_cannot_be_reached() {
        let memory = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
        for over in [
            "70 31 0:40 / /sys/fs/cgroup rw - tmpfs none rw",
            "70 23 0:40 / /sys rw - tmpfs none rw",
            "70 22 0:40 / / rw - tmpfs none rw",
        ] {
            assert_eq!(
                resolved(&[ROOT, SYS, UNIFIED, memory, over], "/sys/fs/cgroup/memory/x"),
                other("tmpfs"),
                "{over}"
            );
        }
    }

    #[test]
    fn what_covers_is_told_by_what_is_mounted_on_what_and_not_by_the_order() {
        // Propagation puts a mount below one that is there already.
        let over = "30 31 0:40 / /sys/fs/cgroup rw - tmpfs none rw";
        assert_eq!(resolved(&[ROOT, over, SYS, UNIFIED], "/sys/fs/cgroup/x"), other("tmpfs"));
        // What a mount is on may have come to be while the table was read.
        assert_eq!(resolved(&[ROOT, UNIFIED], "/sys/fs/cgroup/x"), cgroup(38, "/x", false));
        // In a chroot the root's own mount is not told.
        assert_eq!(resolved(&[SYS, UNIFIED], "/sys/fs/cgroup/x"), cgroup(38, "/x", false));
        assert_eq!(resolved(&[SYS, UNIFIED], "/tmp/x"), Resolution::Unknown);
    }

    #[test]
    fn a_table_that_does_not_say_what_is_on_what_goes_by_the_innermost() {
        let mut mounts: Vec<Mount> = parse_mountinfo(HYBRID).collect();
        mounts.iter_mut().for_each(|mount| (mount.id, mount.parent) = (None, None));
        assert_eq!(MountTable::new(mounts).resolve(&"/sys/fs/cgroup/memory/x".into()), cgroup(32, "/x", false));
    }

    #[test]
    fn a_path_from_above_crosses_into_cgroupfs_or_is_foreign() {
        const TMPFS: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw";
        const FREEZER: &str = "35 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer";
        let check =
            |mountinfo: &[&str], mount: Option<u32>, device: &str, directory: &str, path: &str, to: Resolution| {
                let directory = Directory {
                    device: device.parse().expect("a device"),
                    id: crate::input::CgroupId(1),
                    path: directory.into(),
                    truncated: false,
                    outside: true,
                    mount: mount.map(MountId),
                };
                let table = MountTable::new(parse_mountinfo(mountinfo.join("\n").as_bytes()).collect());
                assert_eq!(table.resolve_from(&directory, &path.into()), to, "{directory:?} {path}");
            };
        let host = [ROOT, SYS, TMPFS, FREEZER];
        for mount in [Some(31), None] {
            check(&host, mount, "0:28", "/", "freezer/web/freezer.state", cgroup(34, "/web/freezer.state", false));
            check(&host, mount, "0:28", "/", "freezer/../freezer/web", cgroup(34, "/web", false));
            check(&host, mount, "0:28", "/", "frozen/web", other("tmpfs"));
        }
        check(&host, Some(22), "254:0", "/", "sys/fs/cgroup/freezer/web", cgroup(34, "/web", false));
        check(&host, Some(23), "0:22", "/fs", "cgroup/freezer/web", cgroup(34, "/web", false));
        check(&host, Some(23), "0:22", "/fs", "../../sys/fs/cgroup/freezer", cgroup(34, "/", false));
        check(&host, Some(99), "0:99", "/", "freezer/web", other(""));
        // The same file system twice: only one of its places has cgroupfs below.
        let bind = "40 22 254:0 / /mnt rw - ext4 /dev/vda rw";
        let twice = [ROOT, bind, SYS, TMPFS, FREEZER];
        check(&twice, Some(22), "254:0", "/", "sys/fs/cgroup/freezer/web", cgroup(34, "/web", false));
        check(&twice, Some(40), "254:0", "/", "sys/fs/cgroup/freezer/web", other("ext4"));
        check(&twice, None, "254:0", "/", "sys/fs/cgroup/freezer/web", Resolution::Unknown);
        // A directory that was opened before something covered it still leads there.
        let over = "50 23 0:41 / /sys rw - tmpfs tmpfs rw";
        let covered = [ROOT, SYS, TMPFS, FREEZER, over];
        check(&covered, Some(31), "0:28", "/", "freezer/web", cgroup(34, "/web", false));
    }

    #[test]
    fn a_path_that_climbs_out_of_a_mount_of_cgroupfs_is_followed_from_there() {
        const TMPFS: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw";
        const FREEZER: &str = "35 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer";
        const PIDS: &str = "36 31 0:35 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids";
        const BIND: &str = "37 22 0:35 /web /mnt rw - cgroup cgroup rw,pids";
        let table =
            MountTable::new(parse_mountinfo([ROOT, SYS, TMPFS, FREEZER, PIDS, BIND].join("\n").as_bytes()).collect());
        let directory = |minor, path: &str, mount| Directory {
            device: Device { major: 0, minor },
            id: crate::input::CgroupId(1),
            path: path.into(),
            truncated: false,
            outside: false,
            mount: Some(MountId(mount)),
        };
        let check = |directory: &Directory, path: &str, to: Option<Resolution>| {
            let path = Name::from(path);
            let root = table.root_of(directory).cloned().unwrap_or_else(|| "/".into());
            let climbs = climbs_out_of(&root, &directory.path, &path);
            assert_eq!(climbs.then(|| table.resolve_from(directory, &path)), to, "{directory:?} {path}");
        };
        check(&directory(34, "/", 35), "../pids/web", Some(cgroup(35, "/web", false)));
        check(&directory(34, "/web", 35), "../../pids/web/", Some(cgroup(35, "/web", false)));
        check(&directory(34, "/web", 35), "../x", None);
        check(&directory(34, "/web", 35), "a/../../b/..", None);
        check(&directory(34, "/", 35), "../../x", Some(other("sysfs")));
        // A part of the hierarchy that is mounted by itself has something else around it.
        check(&directory(35, "/web/a", 37), "../x", None);
        check(&directory(35, "/web/a", 37), "../../x", Some(other("ext4")));
        check(&directory(35, "/web", 37), "../mnt/x", Some(cgroup(35, "/web/x", false)));
        // Through a mount that is not known it is the hierarchy's root that is climbed out of.
        check(&directory(35, "/web", 99), "../x", None);
        check(&directory(34, "/", 99), "../pids/x", Some(cgroup(35, "/x", false)));
    }

    #[test]
    fn only_what_decides_is_kept_and_every_way_down_is_watched() {
        let (kept, left_out) = relevant(parse_mountinfo(HYBRID));
        assert_eq!(left_out, 0);
        assert_eq!(kept.len(), 5, "all but /proc: {kept:?}");
        let mut watch = Watch::default();
        assert!(watch.learn(&kept, true) && !watch.learn(&kept, true));
        assert_eq!(watch.prefixes, BTreeSet::from([(false, Name::from("/mnt/my cg"))]));
        let ways = |device: &str| -> Vec<String> {
            watch.above[&device.parse::<Device>().expect("a device")].iter().map(Name::to_string).collect()
        };
        assert_eq!(ways("0:28"), ["memory", "unified"]);
        // There is no /sys in this table: all of the way to the tmpfs is the root's.
        let of_the_root = ["cgroup/memory", "fs/cgroup/memory", "my cg", "mnt/my cg", "sys/fs/cgroup/memory"];
        for way in of_the_root {
            let beginning = way.get(..BEGINNING).unwrap_or(way).to_owned();
            assert!(ways("254:0").contains(&beginning), "{way} of {:?}", ways("254:0"));
        }
        assert!(!ways("254:0").contains(&"memory".to_owned()), "that way begins in the tmpfs");
    }

    #[test]
    fn control_files_are_told_from_cgroups() {
        let check = |path: &str, cgroup: &str, file: Option<&str>| {
            assert_eq!(split_control_file(&path.into()), (cgroup.into(), file.map(Name::from)));
        };
        check("/a/cgroup.procs", "/a", Some("cgroup.procs"));
        check("/memory.max", "/", Some("memory.max"));
        check("/a/tasks", "/a", Some("tasks"));
        check("/a/web.service", "/a/web.service", None);
        check("/a/memory", "/a/memory", None);
    }

    #[test]
    fn any_bytes_are_harmless() {
        for path in [&b""[..], b"/", b"..", b"/../..", b"\xff/\x00", b"////"] {
            let _ = table().resolve(&Name::new(path));
            let _ = split_control_file(&Name::new(path));
            let _ = unescape(path);
        }
        assert_eq!(join(&"/a".into(), &"../../b".into()), "/b");
    }

    #[test]
    fn what_is_kept_of_a_table_is_bounded_and_the_work_is_not_squared() {
        let mount = |point: String, file_system: &str| Mount {
            id: None,
            parent: None,
            device: Device { major: 0, minor: 38 },
            root: "/".into(),
            mount_point: point.as_str().into(),
            file_system: file_system.into(),
            read_only: false,
        };
        let other = (0..100_000).map(|number| mount(format!("/data/{number}"), "ext4"));
        let cgroups = |count| (0..count).map(|number| mount(format!("/mnt/{number}/cgroup"), "cgroup2"));
        let (kept, too_many) = relevant(other.clone().chain(cgroups(MOUNTS)));
        assert_eq!((kept.len(), too_many), (MOUNTS, 0));
        let (kept, too_many) = relevant(other.clone().chain(cgroups(100_000)));
        assert_eq!((kept.len(), too_many), (0, 200_000), "with some of them missing the others may be covered");
        let deep = "/x".repeat(2_000);
        let (kept, too_many) = relevant((0..2_000).map(|number| mount(format!("{deep}/{number}"), "cgroup2")));
        assert_eq!((kept.len(), too_many), (0, 2_000));
        let under = (0..2_000).map(|number| mount(format!("{deep}/{number}"), "tmpfs"));
        let (kept, too_many) = relevant(under.chain(cgroups(1)));
        assert_eq!((kept.len(), too_many), (1, 0));
        let long = "x".repeat(1_000);
        let (kept, too_many) = relevant((0..1_000).map(|number| mount(format!("/{long}{number}"), "cgroup2")));
        assert_eq!((kept.len(), too_many), (0, 1_000));
    }

    #[test]
    fn a_place_that_is_mounted_over_and_over_takes_one_step_a_mount() {
        let mut lines = vec!["1 0 254:0 / / rw - ext4 /dev/vda rw".to_owned()];
        for number in 2..=MOUNTS {
            lines.push(format!("{number} {} 0:38 /{number} /mnt/cgroup rw - cgroup2 cgroup2 rw", number - 1));
        }
        let (kept, too_many) = relevant(parse_mountinfo(lines.join("\n").as_bytes()));
        assert_eq!((kept.len(), too_many), (MOUNTS, 0));
        let mut watch = Watch::default();
        assert!(watch.learn(&kept, true));
        assert_eq!(watch.above[&Device { major: 254, minor: 0 }].len(), 2, "mnt/cgroup and cgroup");
        let table = MountTable::new(kept);
        let began = std::time::Instant::now();
        for _ in 0..100 {
            let found = table.resolve(&"/mnt/cgroup/x".into());
            assert!(matches!(found, Resolution::Cgroup { path, .. } if path.to_str() == Some("/1024/x")));
        }
        // Hundreds of times as long if every step looks at every mount.
        assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
    }

    #[test]
    fn what_is_around_and_below_a_cgroup_mount_is_near() {
        let paths = |path: &'static str| -> Vec<String> {
            ancestors(path.as_bytes()).map(|path| String::from_utf8_lossy(path).into_owned()).collect()
        };
        assert_eq!(paths("/a/bc"), ["/a/bc", "/a", "/"]);
        assert_eq!(paths("/"), ["/", "/"]);
        assert_eq!(paths(""), [""]);
    }

    fn alike(count: usize) -> MountTable {
        let mount = Mount {
            id: None,
            parent: None,
            device: Device { major: 0, minor: 38 },
            root: "/".into(),
            mount_point: "/sys/fs/cgroup".into(),
            file_system: "cgroup2".into(),
            read_only: false,
        };
        MountTable::new(vec![mount; count])
    }

    #[test]
    fn very_many_mounts_push_out_what_was_told_longest_ago_and_not_the_hosts() {
        let mut tables = tables();
        tables.tell(NamespaceId(1), true, alike(4));
        tables.tell(NamespaceId(2), false, alike(4));
        for namespace in 3..100 {
            tables.tell(NamespaceId(namespace), false, alike(1_000));
        }
        let is_kept = |namespace| tables.get(&NamespaceId(namespace)).is_some();
        assert_eq!((is_kept(1), is_kept(2), is_kept(99)), (true, false, true));
        let bytes = tables.others_bytes();
        assert!(bytes <= budget::MOUNTS && tables.evicted() > 60, "{bytes} {}", tables.evicted());
    }

    #[test]
    fn what_is_told_again_takes_no_more_room_and_stays() {
        let mut tables = tables();
        (0..10_000).for_each(|_| drop(tables.tell(NamespaceId(1), false, alike(1_000))));
        assert_eq!((tables.in_order().count(), tables.evicted()), (1, 0));
        // The number of a namespace that is gone is given to the next one.
        tables.tell(NamespaceId(1), true, alike(4));
        assert_eq!(tables.in_order().map(|(_, is_hosts, _)| is_hosts).collect::<Vec<_>>(), [true]);
    }
}
