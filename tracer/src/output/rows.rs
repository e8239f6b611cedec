//! Lines about cgroups, those that say the same of several v1 hierarchies as one.
//!
//! On v1 a container has a cgroup in each of a dozen hierarchies, and whatever happens to it happens a dozen times. A
//! row is held for [`WINDOW`] of the stream's own time, so that its likes of other hierarchies can join it. Rows leave
//! in the order of their beginnings, and a row never joins one that its own hierarchy has gone on from: what is printed
//! of one cgroup, or of one and those around it, stays in order.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use crate::errno::Errno;
use crate::hierarchy::Header;
use crate::input::{BootTime, HierarchyId};

/// A row can be joined for so long. A runtime makes a container's cgroups one after the other, within twenty
/// milliseconds.
pub(crate) const WINDOW: Duration = Duration::from_millis(50);
/// Rows held at most, and bytes of their paths: beyond, the oldest is let go of sooner.
const HELD: usize = 256;
const HELD_BYTES: usize = 1 << 20;

/// One line: what is common to events and attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// When; of several, the first.
    pub at: BootTime,
    pub word: &'static str,
    pub errno: Option<Errno>,
    /// None if it is not known; several if they are v1's.
    pub hierarchies: Vec<HierarchyId>,
    /// Whole.
    pub path: String,
    pub tail: [Option<String>; 3],
}

impl Row {
    /// Whether the two differ in nothing but time and hierarchy.
    fn is_like(&self, other: &Self) -> bool {
        let Self { at: _, word, errno, hierarchies: _, path, tail } = self;
        (word, errno, path, tail) == (&other.word, &other.errno, &other.path, &other.tail)
    }

    /// Whether one is of the other's cgroup, or of one around or below it.
    fn is_related(&self, other: &Self) -> bool {
        self.path.starts_with(&other.path) || other.path.starts_with(&self.path)
    }
}

/// Rows that others may join.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// The v1 hierarchies. If there is none, nothing is held.
    legacy: HashSet<HierarchyId>,
    held: VecDeque<Row>,
    bytes: usize,
}

impl Rows {
    /// The host has these hierarchies.
    pub fn set_hierarchies(&mut self, header: &Header) {
        let legacy = header.hierarchies.iter().filter(|hierarchy| hierarchy.version == 1);
        self.legacy = legacy.map(|hierarchy| hierarchy.id).collect();
    }

    /// Takes in a row. [`Rows::take_due`] gives it back, now or later.
    pub fn add(&mut self, row: Row) {
        let joined = match row.hierarchies.as_slice() {
            [hierarchy] if self.legacy.contains(hierarchy) => self.join(&row, *hierarchy),
            _ => false,
        };
        if !joined {
            self.bytes += row.path.len();
            self.held.push_back(row);
        }
    }

    /// Takes out the next row that nothing can join any more, nothing earlier than `now` being to come.
    pub fn take_due(&mut self, now: BootTime) -> Option<Row> {
        let first = self.held.front()?;
        let waits = self.is_legacy(first)
            && now.since(first.at) <= WINDOW
            && self.held.len() <= HELD
            && self.bytes <= HELD_BYTES;
        if waits { None } else { self.take() }
    }

    /// Takes out the next row, whatever might join it.
    pub fn take(&mut self) -> Option<Row> {
        let row = self.held.pop_front()?;
        self.bytes -= row.path.len();
        Some(row)
    }

    fn is_legacy(&self, row: &Row) -> bool {
        row.hierarchies.iter().any(|hierarchy| self.legacy.contains(hierarchy))
    }

    /// Joins a row of that hierarchy to the latest one that is like it.
    fn join(&mut self, row: &Row, hierarchy: HierarchyId) -> bool {
        for held in self.held.iter_mut().rev() {
            if held.hierarchies.contains(&hierarchy) {
                if held.is_related(row) {
                    return false;
                }
                continue;
            }
            let is_legacy = held.hierarchies.first().is_some_and(|first| self.legacy.contains(first));
            if is_legacy && held.is_like(row) && row.at.since(held.at) <= WINDOW {
                held.hierarchies.push(hierarchy);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn rows() -> Rows {
        Rows { legacy: (1..=9).map(HierarchyId).collect(), held: VecDeque::new(), bytes: 0 }
    }

    fn row(at: u64, word: &'static str, hierarchy: u32, path: &str) -> Row {
        let tail = [None, None, Some("runc[7]".to_owned())];
        Row {
            at: BootTime(at * MS),
            word,
            errno: None,
            hierarchies: vec![HierarchyId(hierarchy)],
            path: path.into(),
            tail,
        }
    }

    /// What is printed of these rows, all within the window.
    fn check(given: &[(&'static str, u32, &str)], wanted: &[&str]) {
        let mut rows = rows();
        for (number, (word, hierarchy, path)) in given.iter().enumerate() {
            rows.add(row(number as u64, word, *hierarchy, path));
        }
        let mut told = Vec::new();
        while let Some(row) = rows.take() {
            let hierarchies: Vec<String> = row.hierarchies.iter().map(|hierarchy| hierarchy.0.to_string()).collect();
            told.push(format!("{} {} {}", row.word, row.path, hierarchies.join("+")));
        }
        assert_eq!(told, wanted);
    }

    #[test]
    fn what_happens_in_every_hierarchy_is_one_row() {
        check(
            &[
                ("created", 1, "/a"),
                ("attached", 1, "/a"),
                ("created", 2, "/a"),
                ("attached", 2, "/a"),
                ("created", 0, "/a"),
                ("created", 3, "/a"),
            ],
            &["created /a 1+2+3", "attached /a 1+2", "created /a 0"],
        );
    }

    #[test]
    fn what_is_printed_of_one_cgroup_stays_in_order() {
        check(&[("created", 1, "/a"), ("created", 1, "/a")], &["created /a 1", "created /a 1"]);
        // The second one's removal came before its creation: it must not seem to come after.
        check(
            &[("removed", 2, "/a"), ("created", 1, "/a"), ("removed", 1, "/a")],
            &["removed /a 2", "created /a 1", "removed /a 1"],
        );
        // A cgroup is not removed before the one in it.
        check(
            &[("removed", 1, "/a"), ("removed", 2, "/a/b"), ("removed", 2, "/a")],
            &["removed /a 1", "removed /a/b 2", "removed /a 2"],
        );
        // What happens elsewhere in the hierarchy is in nobody's way.
        check(&[("created", 1, "/a"), ("created", 2, "/z"), ("created", 2, "/a")], &["created /a 1+2", "created /z 2"]);
    }

    #[test]
    fn rows_that_differ_in_anything_else_are_not_one() {
        let mut rows = rows();
        let first = row(0, "rmdir", 1, "/a");
        let mut others = vec![first.clone(); 4];
        others[0].errno = Some(Errno::EBUSY);
        others[1].path = "/b".into();
        others[2].tail[2] = Some("runc[8]".into());
        others[3].at = BootTime(51 * MS);
        rows.add(first);
        for mut other in others {
            other.hierarchies = vec![HierarchyId(2)];
            rows.add(other);
        }
        assert_eq!(rows.held.len(), 5);
    }

    #[test]
    fn a_row_is_held_for_the_window_and_whatever_follows_it_no_longer() {
        let mut rows = rows();
        rows.add(row(0, "created", 1, "/a"));
        rows.add(row(49, "created", 0, "/a"));
        assert_eq!(rows.take_due(BootTime(50 * MS)), None);
        assert_eq!(rows.take_due(BootTime(51 * MS)).map(|row| row.hierarchies), Some(vec![HierarchyId(1)]));
        assert_eq!(rows.take_due(BootTime(51 * MS)).map(|row| row.hierarchies), Some(vec![HierarchyId(0)]));
        assert_eq!(rows.take_due(BootTime(51 * MS)), None);
    }

    #[test]
    fn no_more_rows_are_held_than_there_is_room_for() {
        let mut rows = rows();
        for number in 0..HELD + 3 {
            rows.add(row(0, "created", 1, &format!("/{number}")));
        }
        let mut out = 0;
        while rows.take_due(BootTime(0)).is_some() {
            out += 1;
        }
        assert_eq!((out, rows.held.len()), (3, HELD));
    }
}
