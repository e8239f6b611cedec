//! The mount tables of namespaces: the last one of each, as long as somebody may go by it.

use crate::budget::weigh;
use crate::input::{About, BootTime, Mount, NamespaceId};
use crate::mounts::{self, MountTable};
use crate::recent::Parted;

/// A table that nobody went by for so long is dropped, unless a process is there that matters. If somebody is there
/// again, it is read again.
const IDLE: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);
/// One that is gone by more often than this stays where it is in the order that they are forgotten in.
const LATE: std::time::Duration = std::time::Duration::from_secs(60);

/// All that are known.
#[derive(Debug)]
pub(super) struct Tables(Parted<NamespaceId, Known>);

#[derive(Debug)]
struct Known {
    table: MountTable,
    /// Mounts that there are besides, and that there was no room for.
    too_many: u64,
    /// When it was told, or last gone by.
    used: BootTime,
}

weigh! { Known: table; }

impl Tables {
    pub fn new() -> Self {
        Self(mounts::tables())
    }

    /// Tables that made room for others.
    pub fn evicted(&self) -> u64 {
        self.0.evicted()
    }

    pub fn get(&self, namespace: NamespaceId) -> Option<&MountTable> {
        self.0.get(&namespace).map(|known| &known.table)
    }

    /// What is mounted in a namespace now.
    pub fn learn(&mut self, at: BootTime, namespace: NamespaceId, host: bool, mounts: &[Mount], too_many: u64) {
        self.0.tell(namespace, host, Known { table: MountTable::new(mounts.to_vec()), too_many, used: at });
    }

    /// A call went by the table of a namespace.
    pub fn used(&mut self, namespace: NamespaceId, at: BootTime) {
        self.0.touch(&namespace, |known| {
            let is_late = at.since(known.used) >= LATE;
            known.used = if is_late { at } else { known.used };
            is_late
        });
    }

    /// All of them, those that were used longest ago first, as facts of then.
    pub fn all(&self) -> impl Iterator<Item = (BootTime, About)> {
        self.0.in_order().map(|(namespace, host, known)| {
            let Known { table, too_many, used } = known;
            let (namespace, mounts, too_many) = (*namespace, table.mounts().to_vec(), *too_many);
            (*used, About::Mounts { namespace, mounts, too_many, host })
        })
    }

    /// Drops those that nobody went by for long, and that nobody needs.
    pub fn sweep(&mut self, now: BootTime, mut is_needed: impl FnMut(NamespaceId) -> bool) {
        self.0.retire(
            |known| now.since(known.used) > IDLE,
            |namespace, known| {
                known.used = now;
                is_needed(*namespace)
            },
        );
    }
}
