//! Where in a cgroup hierarchy a path leads, by the mount table of a mount namespace.
//!
//! Paths are resolved by their text: `//`, `.` and `..` are taken out, symbolic links are not followed. Reading mount
//! tables is [`crate::process`]'s business.

use crate::input::{Device, Mount};
use crate::name::Name;

/// The mounts of one namespace, in the order they were made.
#[derive(Clone, Debug)]
pub struct MountTable(Vec<Mount>);

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
        Self(mounts)
    }

    /// The mounts, as they were given.
    pub fn mounts(&self) -> &[Mount] {
        &self.0
    }

    /// Follows an absolute path. Of the mounts around it the innermost counts, of several at one place the last.
    pub fn resolve(&self, path: &Name) -> Resolution {
        let path = join(&Name::from("/"), path);
        let around = self.0.iter().filter_map(|mount| Some((mount, below(&mount.mount_point, &path)?)));
        let Some((mount, rest)) = around.max_by_key(|(mount, _)| mount.mount_point.as_bytes().len()) else {
            return Resolution::Unknown;
        };
        if !is_cgroupfs(mount) {
            return Resolution::OtherFileSystem { file_system: mount.file_system.clone() };
        }
        let path = join(&mount.root, &Name::new(rest));
        Resolution::Cgroup { device: mount.device, path, read_only: mount.read_only }
    }
}

fn is_cgroupfs(mount: &Mount) -> bool {
    mount.file_system == "cgroup2" || mount.file_system == "cgroup"
}

/// What of `path` lies below `directory`; `None` if it lies elsewhere.
fn below<'a>(directory: &Name, path: &'a Name) -> Option<&'a [u8]> {
    let directory = directory.as_bytes().strip_suffix(b"/").unwrap_or(directory.as_bytes());
    let rest = path.as_bytes().strip_prefix(directory)?;
    (rest.is_empty() || rest[0] == b'/').then_some(rest)
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
    if is_file { (Name::new(&bytes[..slash.max(1)]), Some(Name::new(last))) } else { (path.clone(), None) }
}

/// Parses `/proc/PID/mountinfo` (proc(5)). A line that is not understood is left out.
pub fn parse_mountinfo(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(parse_mount).collect()
}

fn parse_mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?.parse().ok()?;
    let root = unescape(fields.next()?);
    let mount_point = unescape(fields.next()?);
    let options = fields.next()?;
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let file_system = Name::new(fields.next()?);
    let super_options = fields.nth(1).unwrap_or_default();
    let read_only = [options, super_options].iter().any(|options| options.split(|b| *b == b',').any(|o| o == b"ro"));
    Some(Mount { device, root, mount_point, file_system, read_only })
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

/// Only those that decide where a path to cgroupfs leads: cgroup mounts, what they are mounted in, and what covers them.
pub fn relevant(mounts: Vec<Mount>) -> Vec<Mount> {
    let points: Vec<Name> = mounts.iter().filter(|m| is_cgroupfs(m)).map(|m| m.mount_point.clone()).collect();
    let near = |mount: &Mount| {
        points
            .iter()
            .any(|point| below(&mount.mount_point, point).is_some() || below(point, &mount.mount_point).is_some())
    };
    mounts.into_iter().filter(near).collect()
}

/// The cgroup mount points that are not below `/sys/fs/cgroup`.
pub fn prefixes(mounts: &[Mount]) -> impl Iterator<Item = Name> {
    let usual = Name::from("/sys/fs/cgroup");
    mounts
        .iter()
        .filter(|mount| is_cgroupfs(mount))
        .map(|mount| mount.mount_point.clone())
        .filter(move |point| below(&usual, point).is_none())
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
        MountTable::new(parse_mountinfo(HYBRID))
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

    #[test]
    fn a_later_mount_covers_an_earlier_one() {
        let mut mounts = parse_mountinfo(HYBRID);
        mounts.extend(parse_mountinfo(b"70 31 0:38 /sub /sys/fs/cgroup ro - cgroup2 none rw\n"));
        // What was mounted below the covered place is still in the table, and longer: it cannot be reached any more,
        // but a runtime that covers /sys/fs/cgroup gets a namespace in which that is all there is.
        let fresh: Vec<Mount> = mounts.into_iter().filter(|m| m.mount_point == "/sys/fs/cgroup").collect();
        let resolved = MountTable::new(fresh).resolve(&"/sys/fs/cgroup/x".into());
        let device = Device { major: 0, minor: 38 };
        assert_eq!(resolved, Resolution::Cgroup { device, path: "/sub/x".into(), read_only: true });
    }

    #[test]
    fn only_what_decides_is_kept() {
        let kept = relevant(parse_mountinfo(HYBRID));
        assert_eq!(kept.len(), 5, "all but /proc: {kept:?}");
        assert_eq!(prefixes(&kept).collect::<Vec<_>>(), [Name::from("/mnt/my cg")]);
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
}
