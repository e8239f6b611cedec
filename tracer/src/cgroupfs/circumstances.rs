//! What a cgroup and those around it are like, just after a call on it has failed: what is needed to say why.
//!
//! It reads more than the tracing thread has time for, and files whose answer may be held up: readers do it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{LONGEST_LIST, directory_flags, is_root, open, open_mount, read};
use crate::control;
use crate::hierarchy::Hierarchy;
use crate::input::{CgroupId, Circumstances, FileValue, Level, Occupant, Pid};
use crate::name::Name;
use crate::process;

/// Cgroups on the way to the root that are told of at most.
const LEVELS: usize = 64;
/// Cgroups in it that are looked at, at most; and values that are told.
const CHILDREN: usize = 256;
const VALUES: usize = 48;
/// Processes in it that are looked at, threads of those whose first has ended, and processes that are told of.
const LOOKED_AT: usize = 32;
const THREADS: usize = 64;
const OCCUPANTS: usize = 8;
/// The longest value that is told, in bytes.
const LONGEST_VALUE: usize = 256;

/// The call that failed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Subject {
    /// Whose it was.
    pub caller: Pid,
    /// The hierarchy.
    pub hierarchy: Hierarchy,
    /// The cgroup's path from its root.
    pub path: Name,
    /// The cgroup's id. `None` if only the path is known.
    pub id: Option<CgroupId>,
    /// The control file.
    pub file: Option<Name>,
    /// What was to be written to it.
    pub value: Option<Name>,
    /// A process was to begin in the cgroup, or to be moved there.
    pub moves: bool,
}

/// Looks at it. `None` if the cgroup is gone, or without the right or the mount to ask.
pub fn look(subject: &Subject) -> Option<Circumstances> {
    let (cgroup, id) = open_at(subject)?;
    if subject.id.is_some_and(|wanted| wanted != id) {
        return None;
    }
    let file = subject.file.as_ref();
    let (levels, to_root) = levels(&cgroup, subject);
    let children = super::children(&cgroup);
    let mut circumstances = Circumstances {
        pid: subject.caller,
        read: process::boot_time(),
        hierarchy: subject.hierarchy.id,
        file: file.cloned(),
        file_exists: file.and_then(|file| exists(&cgroup, file)),
        levels,
        to_root,
        children: children.as_ref().map(|names| names.len() as u64),
        values: Vec::new(),
        occupants: occupants(&cgroup),
        moved: subject
            .moves
            .then(|| process::moved(subject.caller, subject.value.as_ref(), &subject.hierarchy))
            .flatten(),
        real_time: Vec::new(),
        on_v1: on_v1(),
        possible: file.and_then(possible),
    };
    if file.is_some_and(|file| file == "cgroup.subtree_control") {
        circumstances.real_time = real_time(&cgroup, children.as_deref().unwrap_or_default());
    }
    circumstances.values = values(&cgroup, subject, children.as_deref().unwrap_or_default());
    Some(circumstances)
}

/// Opens the cgroup: the root as well.
fn open_at(subject: &Subject) -> Option<(OwnedFd, CgroupId)> {
    if subject.path != "/" {
        return open(&subject.hierarchy, &subject.path);
    }
    let mount = subject.hierarchy.mount.as_ref()?;
    let root = open_mount(mount).ok()?;
    let id = CgroupId(rustix::fs::fstat(&root).ok()?.st_ino);
    Some((root, id))
}

fn exists(cgroup: &OwnedFd, file: &Name) -> Option<bool> {
    match statat(cgroup, file.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Some(true),
        Err(Errno::NOENT) => Some(false),
        Err(_) => None,
    }
}

/// The cgroup and those around it, and whether the last one is the root of the hierarchy.
fn levels(cgroup: &OwnedFd, subject: &Subject) -> (Vec<Level>, bool) {
    let mut levels = Vec::new();
    let mut path = subject.path.clone();
    let Ok(mut directory) = cgroup.try_clone() else { return (levels, false) };
    loop {
        levels.push(level(&directory, path.clone(), subject.hierarchy.version));
        let parent = path.as_bytes();
        let slash = parent.iter().rposition(|byte| *byte == b'/').filter(|_| parent.len() > 1);
        let Some(slash) = slash.filter(|_| levels.len() < LEVELS) else {
            let to_root = path == "/" && is_root(directory.as_fd(), subject.hierarchy.version) == Some(true);
            return (levels, to_root);
        };
        path = Name::new(&parent[..slash.max(1)]);
        match openat(&directory, c"..", directory_flags(), Mode::empty()) {
            Ok(around) => directory = around,
            Err(_) => return (levels, false),
        }
    }
}

fn level(directory: &OwnedFd, path: Name, version: u8) -> Level {
    let own = rustix::fs::fstat(directory).ok();
    let procs = statat(directory, c"cgroup.procs", AtFlags::empty()).ok();
    // v1 has none of these, and the root has no type.
    let is_there = |file: &str| version == 2 && statat(directory, file, AtFlags::empty()).is_ok();
    let words = |file| {
        let text = is_there(file).then(|| read(directory, file, 1 << 12))??;
        Some(text.split_ascii_whitespace().map(str::to_owned).collect())
    };
    Level {
        path,
        id: own.map(|stat| CgroupId(stat.st_ino)),
        uid: procs.as_ref().map(|stat| stat.st_uid),
        mode: procs.as_ref().map(|stat| stat.st_mode & 0o777),
        kind: is_there("cgroup.type")
            .then(|| read(directory, "cgroup.type", 64))
            .flatten()
            .map(|kind| kind.trim_end().to_owned()),
        controllers: words("cgroup.controllers"),
        subtree_control: words("cgroup.subtree_control"),
        processes: read(directory, "cgroup.procs", LONGEST_LIST).map(|list| list.lines().count() as u64),
    }
}

fn occupants(cgroup: &OwnedFd) -> Vec<Occupant> {
    let list = read(cgroup, "cgroup.procs", LONGEST_LIST).or_else(|| read(cgroup, "cgroup.threads", LONGEST_LIST));
    let list = list.unwrap_or_default();
    let mut threads = THREADS;
    let first = super::pids(&list).filter(|pid| pid.0 != 0).take(LOOKED_AT);
    let mut occupants: Vec<Occupant> = first.filter_map(|pid| process::occupant(pid, &mut threads)).collect();
    occupants.sort_by_key(|occupant| occupant.state);
    occupants.truncate(OCCUPANTS);
    occupants
}

/// Who is scheduled in real time in a cgroup and in those in it.
fn real_time(cgroup: &OwnedFd, children: &[Name]) -> Vec<Occupant> {
    let child = |name: &Name| openat(cgroup, name.as_bytes(), directory_flags(), Mode::empty()).ok();
    let lists =
        children.iter().take(CHILDREN).filter_map(child).filter_map(|child| read(&child, "cgroup.procs", LONGEST_LIST));
    let lists: Vec<String> = read(cgroup, "cgroup.procs", LONGEST_LIST).into_iter().chain(lists).collect();
    let pids = lists.iter().flat_map(|list| super::pids(list)).take(CHILDREN);
    pids.filter(|pid| process::is_real_time(*pid))
        .take(OCCUPANTS)
        .filter_map(|pid| process::occupant(pid, &mut 0))
        .collect()
}

/// The controllers that hierarchies of v1 have.
fn on_v1() -> Vec<String> {
    let own = process::own_cgroups().unwrap_or_default();
    let lists = own.lines().filter(|line| !line.starts_with("0:")).filter_map(|line| line.split(':').nth(1));
    let names = lists.flat_map(|list| list.split(',')).filter(|name| !name.is_empty() && !name.contains('='));
    names.take(LEVELS).map(str::to_owned).collect()
}

/// What this kernel can ever have of what a list of cpuset names.
fn possible(file: &Name) -> Option<Name> {
    let path = match file.to_str()? {
        "cpuset.cpus" | "cpuset.cpus.exclusive" => "/sys/devices/system/cpu/possible",
        "cpuset.mems" => "/sys/devices/system/node/possible",
        _ => return None,
    };
    Some(std::fs::read_to_string(path).ok()?.trim_end().into())
}

/// Which files have to do with a write to another one: in its cgroup, in the one around it, in the others there, in
/// those in it.
struct Related {
    own: &'static [&'static str],
    around: &'static [&'static str],
    beside: &'static [&'static str],
    inside: &'static [&'static str],
}

const NONE: Related = Related { own: &[], around: &[], beside: &[], inside: &[] };

/// By the beginning of the file's name; the first that fits. The file itself is always looked at, in its cgroup and in
/// the one around it.
const RELATED: &[(&str, Related)] = &[
    (
        "cpuset.cpus",
        Related {
            own: &["cpuset.cpus", "cpuset.cpu_exclusive", "cpuset.cpus.effective", "cpuset.cpus.partition"],
            around: &["cpuset.cpus", "cpuset.effective_cpus", "cpuset.cpus.effective", "cpuset.cpu_exclusive"],
            beside: &["cpuset.cpus", "cpuset.cpu_exclusive", "cpuset.cpus.exclusive"],
            inside: &["cpuset.cpus"],
        },
    ),
    (
        "cpuset.cpu_exclusive",
        Related {
            own: &["cpuset.cpus"],
            around: &["cpuset.cpus", "cpuset.cpu_exclusive"],
            beside: &["cpuset.cpus", "cpuset.cpu_exclusive"],
            inside: &["cpuset.cpu_exclusive"],
        },
    ),
    (
        "cpuset.mem",
        Related {
            own: &["cpuset.mems", "cpuset.mems.effective"],
            around: &["cpuset.mems", "cpuset.effective_mems", "cpuset.mems.effective"],
            beside: &["cpuset.mems", "cpuset.mem_exclusive"],
            inside: &["cpuset.mems"],
        },
    ),
    ("memory.memsw.limit_in_bytes", Related { own: &["memory.limit_in_bytes", "memory.memsw.usage_in_bytes"], ..NONE }),
    ("memory.limit_in_bytes", Related { own: &["memory.memsw.limit_in_bytes", "memory.usage_in_bytes"], ..NONE }),
    (
        "cpu.cfs_",
        Related {
            own: &["cpu.cfs_quota_us", "cpu.cfs_period_us"],
            around: &["cpu.cfs_quota_us", "cpu.cfs_period_us"],
            ..NONE
        },
    ),
    ("cpu.rt_", Related { own: &["cpu.rt_runtime_us"], around: &["cpu.rt_runtime_us"], ..NONE }),
];

fn values(cgroup: &OwnedFd, subject: &Subject, children: &[Name]) -> Vec<FileValue> {
    let mut values = Vec::new();
    let Some(file) = subject.file.as_ref().and_then(Name::to_str) else { return values };
    let mut tell = |directory: &OwnedFd, path: &Name, file: &str| {
        let is_known = values.iter().any(|value: &FileValue| value.path == *path && value.file == file);
        if values.len() < VALUES
            && !is_known
            && let Some(value) = value(directory, file)
        {
            values.push(FileValue { path: path.clone(), file: file.to_owned(), value });
        }
    };
    if subject.moves {
        // A cpuset of v1 takes nobody in while it has no processor, or no memory.
        ["cpuset.cpus", "cpuset.mems"].into_iter().for_each(|file| tell(cgroup, &subject.path, file));
        return values;
    }
    if matches!(file, "cgroup.subtree_control" | "cgroup.type") {
        for name in children.iter().take(CHILDREN) {
            let Ok(child) = openat(cgroup, name.as_bytes(), directory_flags(), Mode::empty()) else { continue };
            let path = below(&subject.path, name);
            let said = |file: &str| value(&child, file).filter(|value| !value.as_bytes().is_empty());
            if said("cgroup.subtree_control").is_some() {
                tell(&child, &path, "cgroup.subtree_control");
            }
            if said("cgroup.type").is_some_and(|kind| kind == "threaded") {
                tell(&child, &path, "cgroup.type");
            }
        }
        return values;
    }
    tell(cgroup, &subject.path, file);
    let Some((around, around_path)) = around(cgroup, &subject.path) else { return values };
    tell(&around, &around_path, file);
    let Some((_, related)) = RELATED.iter().find(|(beginning, _)| file.starts_with(beginning)) else { return values };
    related.own.iter().for_each(|file| tell(cgroup, &subject.path, file));
    related.around.iter().for_each(|file| tell(&around, &around_path, file));
    for name in children.iter().take(CHILDREN).filter(|_| !related.inside.is_empty()) {
        let Ok(child) = openat(cgroup, name.as_bytes(), directory_flags(), Mode::empty()) else { continue };
        related.inside.iter().for_each(|file| tell(&child, &below(&subject.path, name), file));
    }
    if related.beside.is_empty() {
        return values;
    }
    for name in super::children(&around).unwrap_or_default().iter().take(CHILDREN) {
        let path = below(&around_path, name);
        let Ok(beside) = openat(&around, name.as_bytes(), directory_flags(), Mode::empty()) else { continue };
        // Those that keep something for themselves.
        let keeps = |file: &&str| value(&beside, file).is_some_and(|value| control::keeps_for_itself(file, &value));
        if path != subject.path && related.beside.iter().any(keeps) {
            related.beside.iter().for_each(|file| tell(&beside, &path, file));
        }
    }
    values
}

fn around(cgroup: &OwnedFd, path: &Name) -> Option<(OwnedFd, Name)> {
    let slash = path.as_bytes().iter().rposition(|byte| *byte == b'/').filter(|_| *path != "/")?;
    let around = openat(cgroup, c"..", directory_flags(), Mode::empty()).ok()?;
    Some((around, Name::new(&path.as_bytes()[..slash.max(1)])))
}

fn below(path: &Name, name: &Name) -> Name {
    let around: &[u8] = if *path == "/" { b"" } else { path.as_bytes() };
    Name::new([around, b"/", name.as_bytes()].concat())
}

fn value(directory: &OwnedFd, file: &str) -> Option<Name> {
    // To open what is not there would be a failed call on cgroupfs.
    statat(directory, file, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let opened = openat(directory, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut space = [0; LONGEST_VALUE];
    let length = rustix::io::read(&opened, &mut space).ok()?;
    let text = &space[..length];
    Some(Name::new(text.strip_suffix(b"\n").unwrap_or(text)))
}
