//! The mount tables that are known, within a bound: whoever may make mount namespaces may make very many.

use std::collections::{HashMap, VecDeque};

use crate::input::{Mount, NamespaceId};
use crate::mounts::MountTable;

/// Tables, and mounts of all of them together, kept at most; the one that was told longest ago goes first.
const TABLES: usize = 4_096;
const MOUNTS: usize = 32_768;

/// Those that are known.
#[derive(Debug, Default)]
pub(crate) struct MountTables {
    tables: HashMap<NamespaceId, (u64, MountTable)>,
    /// In the order they were told. One that was told again is in it twice.
    order: VecDeque<(u64, NamespaceId)>,
    told: u64,
    /// Of all tables together.
    mounts: usize,
    /// Tables that made room for others.
    pub evicted: u64,
}

impl MountTables {
    pub fn get(&self, namespace: NamespaceId) -> Option<&MountTable> {
        self.tables.get(&namespace).map(|(_, table)| table)
    }

    /// Takes in a table; it replaces what was known of the namespace.
    pub fn learn(&mut self, namespace: NamespaceId, mounts: Vec<Mount>) {
        self.told += 1;
        self.mounts += mounts.len();
        if let Some((_, before)) = self.tables.insert(namespace, (self.told, MountTable::new(mounts))) {
            self.mounts -= before.mounts().len();
        }
        self.order.push_back((self.told, namespace));
        while self.tables.len() > TABLES || self.mounts > MOUNTS && self.tables.len() > 1 {
            let Some((told, oldest)) = self.order.pop_front() else { break };
            if self.tables.get(&oldest).is_some_and(|(last, _)| *last == told)
                && let Some((_, table)) = self.tables.remove(&oldest)
            {
                self.mounts -= table.mounts().len();
                self.evicted += 1;
            }
        }
        // A table that is told over and over leaves an entry behind each time.
        if self.order.len() > 2 * self.tables.len() + 64 {
            let tables = &self.tables;
            self.order.retain(|(told, namespace)| tables.get(namespace).is_some_and(|(last, _)| last == told));
        }
    }

    /// All of them, in the order of their namespaces.
    pub fn all(&self) -> Vec<(NamespaceId, &MountTable)> {
        let mut all: Vec<_> = self.tables.iter().map(|(namespace, (_, table))| (*namespace, table)).collect();
        all.sort_by_key(|(namespace, _)| *namespace);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Device;

    fn mounts(count: usize) -> Vec<Mount> {
        let mount = Mount {
            id: None,
            parent: None,
            device: Device { major: 0, minor: 38 },
            root: "/".into(),
            mount_point: "/sys/fs/cgroup".into(),
            file_system: "cgroup2".into(),
            read_only: false,
        };
        vec![mount; count]
    }

    #[test]
    fn very_many_mounts_push_out_what_was_told_longest_ago() {
        let mut tables = MountTables::default();
        tables.learn(NamespaceId(1), mounts(4));
        for namespace in 2..100 {
            tables.learn(NamespaceId(namespace), mounts(1_000));
        }
        assert!(tables.get(NamespaceId(1)).is_none() && tables.get(NamespaceId(99)).is_some());
        assert!(tables.mounts <= MOUNTS && tables.evicted > 60, "{} {}", tables.mounts, tables.evicted);
    }

    #[test]
    fn what_is_told_again_takes_no_more_room_and_stays() {
        let mut tables = MountTables::default();
        for _ in 0..10_000 {
            tables.learn(NamespaceId(1), mounts(1_000));
        }
        assert_eq!((tables.mounts, tables.evicted), (1_000, 0));
        assert!(tables.order.len() < 100);
    }
}
