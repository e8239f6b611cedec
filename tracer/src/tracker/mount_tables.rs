//! The mount tables that are known, within a bound: whoever may make mount namespaces may make very many.

use super::recent::Recent;
use crate::input::{Mount, NamespaceId};
use crate::mounts::MountTable;

/// Tables, and mounts of all of them together, kept at most; the one that was told longest ago goes first.
const TABLES: usize = 4_096;
const MOUNTS: usize = 32_768;

/// Those that are known.
#[derive(Debug)]
pub(crate) struct MountTables {
    tables: Recent<NamespaceId, MountTable>,
    /// Of all tables together.
    mounts: usize,
}

impl MountTables {
    pub fn new() -> Self {
        Self { tables: Recent::new(TABLES), mounts: 0 }
    }

    pub fn get(&self, namespace: NamespaceId) -> Option<&MountTable> {
        self.tables.get(&namespace)
    }

    /// Tables that made room for others.
    pub fn evicted(&self) -> u64 {
        self.tables.evicted
    }

    /// Takes in a table; it replaces what was known of the namespace.
    pub fn learn(&mut self, namespace: NamespaceId, mounts: Vec<Mount>) {
        if self.tables.len() >= TABLES && self.tables.get(&namespace).is_none() {
            self.drop_oldest();
        }
        self.mounts += mounts.len();
        if let Some(before) = self.tables.tell(namespace, MountTable::new(mounts)) {
            self.mounts -= before.mounts().len();
        }
        while self.mounts > MOUNTS && self.tables.len() > 1 {
            self.drop_oldest();
        }
    }

    /// All of them, in the order of their namespaces.
    pub fn all(&self) -> Vec<(NamespaceId, &MountTable)> {
        let mut all: Vec<_> = self.tables.iter().map(|(namespace, table)| (*namespace, table)).collect();
        all.sort_by_key(|(namespace, _)| *namespace);
        all
    }

    fn drop_oldest(&mut self) {
        if let Some(table) = self.tables.evict() {
            self.mounts -= table.mounts().len();
        }
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
        let mut tables = MountTables::new();
        tables.learn(NamespaceId(1), mounts(4));
        for namespace in 2..100 {
            tables.learn(NamespaceId(namespace), mounts(1_000));
        }
        assert!(tables.get(NamespaceId(1)).is_none() && tables.get(NamespaceId(99)).is_some());
        assert!(tables.mounts <= MOUNTS && tables.evicted() > 60, "{} {}", tables.mounts, tables.evicted());
    }

    #[test]
    fn what_is_told_again_takes_no_more_room_and_stays() {
        let mut tables = MountTables::new();
        for _ in 0..10_000 {
            tables.learn(NamespaceId(1), mounts(1_000));
        }
        assert_eq!((tables.mounts, tables.evicted()), (1_000, 0));
    }
}
