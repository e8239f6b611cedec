//! What the files of cgroups say, for a look at all that exist now.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};
use rustix::io::{Errno, read};

use super::{directory_flags, is_root, open_mount, parse_mounts, visit};
use crate::hierarchy::Hierarchy;
use crate::input::{BootTime, HierarchyId, Mount};
use crate::name::Name;
use crate::process;
use crate::tree::{Controllers, Details, Seen, View};

/// `PATH_MAX`: a longer path cannot be given to any call.
const LONGEST_PATH: usize = 4_096;
/// More cgroups of a hierarchy are left out.
const MOST: usize = 1 << 18;

/// Looks at every cgroup of every hierarchy that is mounted.
pub fn look(hierarchies: &[Hierarchy]) -> Vec<View> {
    let mountinfo = process::own_mounts().unwrap_or_default();
    let before = counts();
    let mut reader = Reader::default();
    let mounted = hierarchies.iter().filter(|hierarchy| hierarchy.mount.is_some());
    let mut views: Vec<View> =
        mounted.map(|hierarchy| reader.view(hierarchy, mount_of(hierarchy, &mountinfo))).collect();
    let after = counts();
    for view in &mut views {
        // One that was made meanwhile is in the second count only, and may have been seen or not.
        let counted = |counts: &HashMap<HierarchyId, u64>| counts.get(&view.hierarchy.id).copied();
        view.dying = counted(&before).zip(counted(&after)).and_then(|(one, other)| not_seen(view, one.min(other)));
    }
    views
}

/// Looks again at a cgroup of a view. `None` if it is gone.
pub fn look_again(view: &View, path: &Name) -> Option<Details> {
    let mount = open_mount(view.hierarchy.mount.as_ref()?).ok()?;
    let root = view.root.as_bytes().strip_suffix(b"/").unwrap_or(view.root.as_bytes());
    let below = path.as_bytes().strip_prefix(root)?.strip_prefix(b"/")?;
    let below = if below.is_empty() { b"." } else { below };
    let directory = openat(&mount, below, directory_flags(), Mode::empty()).ok()?;
    Reader::default().details(directory.as_fd(), &view.hierarchy).ok()
}

/// How many of a v1 hierarchy are not released yet, counted again.
pub fn dying_again(view: &View) -> Option<u64> {
    not_seen(view, *counts().get(&view.hierarchy.id)?)
}

/// How many of all that the kernel counts in a v1 hierarchy do not exist any more: only if all were seen that do.
fn not_seen(view: &View, counted: u64) -> Option<u64> {
    let all = view.hierarchy.version == 1 && view.is_whole == Some(true) && view.unreadable + view.left_out == 0;
    all.then(|| counted.saturating_sub(view.cgroups.len() as u64))
}

/// The cgroups of each hierarchy as the kernel counts them, those included that are removed and not released.
fn counts() -> HashMap<HierarchyId, u64> {
    parse_counts(&process::cgroup_counts().unwrap_or_default())
}

/// Lines of `/proc/cgroups`: a controller, its hierarchy, and how many cgroups that has.
fn parse_counts(text: &str) -> HashMap<HierarchyId, u64> {
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        Some((HierarchyId(fields.next()?.parse().ok()?), fields.next()?.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// The mount that a hierarchy is seen through, and its options.
fn mount_of(hierarchy: &Hierarchy, mountinfo: &[u8]) -> Option<(Mount, Vec<String>)> {
    let is =
        |mount: &Mount| Some(&mount.mount_point) == hierarchy.mount.as_ref() && Some(mount.device) == hierarchy.device;
    let mut found = parse_mounts(mountinfo).into_iter();
    found.rfind(|(mount, _)| is(mount))
}

/// Reads files, each into the same memory.
#[derive(Default)]
struct Reader {
    space: Vec<u8>,
    /// Lists of controllers, each kept once.
    controllers: HashMap<Vec<u8>, Controllers>,
}

/// A file of a cgroup that could not be read.
enum Unread {
    /// The cgroup is gone.
    Gone,
    /// There is no such file, or no right to read it.
    Unknown,
}

impl Reader {
    fn view(&mut self, hierarchy: &Hierarchy, mount: Option<(Mount, Vec<String>)>) -> View {
        let (root, options) = match mount {
            Some((mount, options)) => (mount.root, options),
            None => (Name::from("/"), Vec::new()),
        };
        let mut view = View {
            hierarchy: hierarchy.clone(),
            root,
            is_whole: None,
            nsdelegate: options.iter().any(|option| option == "nsdelegate"),
            cgroups: Vec::new(),
            dying: None,
            unreadable: 0,
            left_out: 0,
        };
        // The places of the cgroups on the way down.
        let mut way: Vec<usize> = Vec::new();
        let walked = visit(std::slice::from_ref(hierarchy), || BootTime(0), &mut |directory, event| {
            let (path, level) = (&event.cgroup.path, event.cgroup.level.unwrap_or(0) as usize);
            way.truncate(level);
            let too_long = view.root.as_bytes().len() + path.as_bytes().len() >= LONGEST_PATH;
            if too_long || view.cgroups.len() >= MOST {
                view.left_out += 1;
                return;
            }
            // What was around it was gone before it could be read: so is this.
            if way.len() < level {
                return;
            }
            // One that is gone is not left out: it is not there.
            let Ok(mut details) = self.details(directory, hierarchy) else { return };
            if level == 0 {
                view.is_whole = is_root(directory, hierarchy.version).map(|is_root| is_root && view.root == "/");
                details.there_since = None;
            }
            let Some(id) = event.cgroup.id else { return };
            let name = Name::new(path.base_name());
            view.cgroups.push(Seen { parent: way.last().copied(), name, id, details });
            way.push(view.cgroups.len() - 1);
        });
        view.unreadable = walked.unreadable;
        view
    }

    fn details(&mut self, directory: BorrowedFd<'_>, hierarchy: &Hierarchy) -> Result<Details, Unread> {
        let stat = statat(directory, c"", AtFlags::EMPTY_PATH).map_err(|_| Unread::Gone)?;
        let since =
            stat.st_ctime.checked_mul(1_000_000_000).and_then(|since| since.checked_add(stat.st_ctime_nsec as i64));
        let mut details = Details { uid: Some(stat.st_uid), there_since: since, ..Details::default() };
        details.processes = known(self.processes(directory))?;
        if hierarchy.version == 1 {
            if hierarchy.controllers.iter().any(|name| name == "freezer") {
                details.frozen =
                    known(self.text(directory, "freezer.state"))?.map(|text| text.trim_ascii_end() == b"FROZEN");
            }
            return Ok(details);
        }
        if let Some(events) = known(self.text(directory, "cgroup.events"))? {
            details.populated = value(events, "populated").map(|value| value != 0);
            details.frozen = value(events, "frozen").map(|value| value != 0);
        }
        let stat = known(self.text(directory, "cgroup.stat"))?;
        details.dying = stat.and_then(|stat| value(stat, "nr_dying_descendants"));
        let kind = known(self.text(directory, "cgroup.type"))?.map(<[u8]>::trim_ascii_end);
        details.kind = kind.filter(|kind| *kind != b"domain").map(|kind| String::from_utf8_lossy(kind).into_owned());
        details.controllers = self.controllers(directory, "cgroup.controllers")?;
        details.subtree_control = self.controllers(directory, "cgroup.subtree_control")?;
        Ok(details)
    }

    /// The beginning of a file, as much as any of them has.
    fn text(&mut self, directory: BorrowedFd<'_>, file: &str) -> Result<&[u8], Unread> {
        self.space.resize(8 << 10, 0);
        let file = openat(directory, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(unread)?;
        let length = read(&file, &mut self.space).map_err(unread)?;
        Ok(&self.space[..length])
    }

    /// How many processes are in a cgroup.
    fn processes(&mut self, directory: BorrowedFd<'_>) -> Result<u64, Unread> {
        self.space.resize(64 << 10, 0);
        let file = openat(directory, "cgroup.procs", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        // Every cgroup that exists has this file.
        let file = file.map_err(|errno| if errno == Errno::NOENT { Unread::Gone } else { unread(errno) })?;
        let mut lines = 0;
        loop {
            match read(&file, &mut self.space) {
                Ok(0) => return Ok(lines),
                Ok(length) => lines += memchr::memchr_iter(b'\n', &self.space[..length]).count() as u64,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(unread(errno)),
            }
        }
    }

    fn controllers(&mut self, directory: BorrowedFd<'_>, file: &str) -> Result<Option<Controllers>, Unread> {
        let Some(text) = known(self.text(directory, file))?.map(<[u8]>::to_vec) else { return Ok(None) };
        let list = || {
            let text = String::from_utf8_lossy(&text);
            let mut names: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
            names.sort_unstable();
            Controllers::from(names)
        };
        Ok(Some(Arc::clone(self.controllers.entry(text.clone()).or_insert_with(list))))
    }
}

/// ENODEV tells that a cgroup was removed; a file that is not there may never have been.
fn unread(errno: Errno) -> Unread {
    if errno == Errno::NODEV { Unread::Gone } else { Unread::Unknown }
}

/// What could be read, unless the cgroup is gone.
fn known<T>(read: Result<T, Unread>) -> Result<Option<T>, Unread> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(Unread::Unknown) => Ok(None),
        Err(Unread::Gone) => Err(Unread::Gone),
    }
}

/// The number behind a word at the beginning of a line.
fn value(text: &[u8], word: &str) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_behind_its_word() {
        let text = b"nr_descendants 4\nnr_dying_descendants 12\nnr_dying_descendants_x 3\n";
        let of = |word| value(text, word);
        assert_eq!((of("nr_dying_descendants"), of("nr_descendants"), of("nr")), (Some(12), Some(4), None));
        assert_eq!(value(b"populated x", "populated"), None);
    }

    #[test]
    fn cgroups_are_counted_by_hierarchy() {
        let text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t4\t12\t1\nhugetlb\t0\t2\t1\n";
        let counts = parse_counts(text);
        assert_eq!((counts.get(&HierarchyId(4)), counts.get(&HierarchyId(9)), counts.len()), (Some(&12), None, 3));
    }

    #[test]
    fn the_mount_that_a_hierarchy_is_seen_through_has_a_root_and_options() {
        let hierarchy = Hierarchy {
            id: HierarchyId(0),
            version: 2,
            controllers: Vec::new(),
            mount: Some("/mnt".into()),
            device: Some("0:38".parse().expect("a device")),
        };
        let mountinfo = b"\
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
42 31 0:38 /sub /mnt rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let (mount, options) = mount_of(&hierarchy, mountinfo).expect("found");
        assert_eq!(mount.root, "/sub");
        assert!(options.iter().any(|option| option == "nsdelegate"));
        assert!(mount_of(&hierarchy, b"").is_none());
    }
}
