//! The mounts that each process sees, by its mount namespace.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::allowance::{Allowance, SHARE};
use crate::input::{
    About, Attempt, BootTime, Device, Facts, Input, MountChanges, NamespaceId, Pid, Question, Unanswered,
};
use crate::mounts::{self, MountTable, Watch};
use crate::name::Name;
use crate::process::{self, SeenMounts};
use crate::recent::Parted;

/// A mount table is read up to so many bytes: a stranger's, and the host's own.
const LONGEST: u64 = 4 << 20;
const LONGEST_OF_HOST: u64 = 64 << 20;
/// A namespace of which nothing is known yet, or whose mounts were changed, is read before its time, up to this.
pub(super) const AHEAD: Duration = Duration::from_secs(2);
/// Namespaces remembered at most that nothing could be read of.
const REFUSED: usize = 4_096;

/// What is known of the mounts of each namespace.
pub(super) struct MountTables {
    /// One that made room for others is read again when it matters, if it lives.
    tables: Parted<NamespaceId, Table>,
    /// The host's own namespace, and that of the agent, which may be one of its own.
    hosts: [Option<NamespaceId>; 2],
    /// Of these, and of all others: strangers can make very many. Mounts come and go within a namespace, and the number
    /// of one that is gone is given to the next one.
    hosts_allowance: Allowance,
    allowance: Allowance,
    /// Namespaces that nothing was read of for want of time.
    refused: HashSet<NamespaceId>,
    /// What the kernel side is to look for, and whether something is new in it since it was last asked for.
    watch: Watch,
    watch_is_new: bool,
}

struct Table {
    read: Instant,
    /// How long the reading took.
    cost: Duration,
    /// The process that it was read of.
    through: Pid,
    /// The mounts were read after so many changes.
    changes: Option<MountChanges>,
    mounts: MountTable,
    /// How many mounts it has, if those are too many to be kept.
    too_many: u64,
}

crate::budget::weigh! { Table: mounts; }

impl Table {
    /// Whether it was read after these changes. Without the kernel's count it is taken for that.
    fn has_seen(&self, changes: Option<MountChanges>) -> bool {
        changes.is_none_or(|changes| self.changes.is_some_and(|seen| seen.has_seen(changes)))
    }

    fn is_fresh(&self) -> bool {
        self.read.elapsed() < self.cost * SHARE
    }

    /// What it says, for the tracker.
    fn fact(&self, namespace: NamespaceId, host: bool, at: BootTime) -> Input {
        let (mounts, too_many) = (self.mounts.mounts().to_vec(), self.too_many);
        Input::Facts(Facts { at, about: About::Mounts { namespace, mounts, too_many, host } })
    }
}

impl MountTables {
    /// `hosts`: the namespaces that are the host's own.
    pub fn new(hosts: [Option<NamespaceId>; 2]) -> Self {
        Self {
            tables: mounts::tables(),
            hosts,
            hosts_allowance: Allowance::new(),
            allowance: Allowance::new(),
            refused: HashSet::new(),
            watch: Watch::default(),
            watch_is_new: false,
        }
    }

    /// Whether a namespace is the host's own.
    pub fn is_hosts(&self, namespace: NamespaceId) -> bool {
        self.hosts.contains(&Some(namespace))
    }

    /// The mounts of every mount namespace that exists now, the host's own first.
    pub fn all(&mut self, at: BootTime) -> Vec<Input> {
        let mut namespaces: Vec<(NamespaceId, Pid)> = process::mount_namespaces().into_iter().collect();
        namespaces.sort_by_key(|(namespace, _)| (!self.is_hosts(*namespace), *namespace));
        namespaces.into_iter().filter_map(|(namespace, pid)| self.read(namespace, &[pid], at, None, AHEAD)).collect()
    }

    /// The mount table of a namespace, as it was read last.
    pub fn known(&self, namespace: NamespaceId, at: BootTime) -> Option<Input> {
        Some(self.tables.get(&namespace)?.fact(namespace, self.is_hosts(namespace), at))
    }

    /// Whether a namespace's table was read after these changes.
    pub fn have_seen(&self, namespace: NamespaceId, changes: Option<MountChanges>) -> bool {
        self.tables.get(&namespace).is_some_and(|table| table.has_seen(changes))
    }

    /// Where a failed call leads.
    pub fn leads(&self, attempt: &Attempt) -> Option<(Device, Name)> {
        let table = attempt.mount_namespace.and_then(|namespace| Some(&self.tables.get(&namespace)?.mounts));
        mounts::cgroup_of(attempt, table, |_| None)
    }

    /// What the kernel side is to look for, if there is something new since this was last asked.
    pub fn take_watch(&mut self) -> Option<&Watch> {
        std::mem::take(&mut self.watch_is_new).then_some(&self.watch)
    }

    /// The mount table of a namespace, if it says something new. `pids` may be in it. It may be read so long before its
    /// time, if it is known to be out of date.
    pub fn read(
        &mut self,
        namespace: NamespaceId,
        pids: &[Pid],
        at: BootTime,
        changes: Option<MountChanges>,
        ahead: Duration,
    ) -> Option<Input> {
        let known = self.tables.get(&namespace);
        // Where it is known whether mounts were changed, that decides, and not how long ago the table was read.
        let is_current = known.is_some_and(|table| table.has_seen(changes));
        let is_surely = changes.is_some_and(MountChanges::is_unique);
        if is_current && (is_surely || known.is_some_and(Table::is_fresh)) {
            return None;
        }
        let ahead = if is_current { Duration::ZERO } else { ahead };
        let is_hosts = self.is_hosts(namespace);
        let allowance = if is_hosts { &self.hosts_allowance } else { &self.allowance };
        if !allowance.allows(ahead) {
            let is_new = known.is_none() && self.refused.len() < REFUSED && self.refused.insert(namespace);
            let pid = is_new.then(|| pids.first().copied()).flatten()?;
            let about = About::Unanswered { pid, question: Question::Mounts, reason: Unanswered::Refused };
            return Some(Input::Facts(Facts { at, about }));
        }
        let read = Instant::now();
        let longest = if is_hosts { LONGEST_OF_HOST } else { LONGEST };
        let of = |pid| {
            let seen = process::mounts_of(pid, longest).filter(|seen| seen.namespace == namespace)?;
            Some((pid, seen))
        };
        let likely = pids.iter().copied().chain(known.map(|table| table.through));
        // A table that was read before is better than a search through all processes for each failed call.
        let found = likely.filter_map(of).next().or_else(|| match known {
            Some(_) => None,
            None => process::pid_in_mount_namespace(namespace).and_then(of),
        });
        let cost = read.elapsed();
        if is_hosts { &mut self.hosts_allowance } else { &mut self.allowance }.charge(cost);
        let (through, SeenMounts { mounts, too_many, .. }) = found?;
        let changed = known.is_none_or(|table| table.mounts.mounts() != mounts || table.too_many != too_many);
        self.watch_is_new |= self.watch.learn(&mounts, is_hosts);
        let changes = changes.or(known.and_then(|table| table.changes));
        let mounts = MountTable::new(mounts);
        let table = Table { read, cost, through, changes, mounts, too_many };
        let fact = changed.then(|| table.fact(namespace, is_hosts, at));
        self.tables.tell(namespace, is_hosts, table);
        self.refused.remove(&namespace);
        fact
    }
}
