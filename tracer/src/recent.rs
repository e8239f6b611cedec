//! A map that keeps what was told last: when it is full, what was told longest ago makes room.

use std::collections::BTreeMap;
use std::hash::Hash;

use crate::budget::{Scale, Table, Weigh, slot};

/// What was told last, by key.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    entries: Table<K, Box<(u64, V)>>,
    /// In the order they were told.
    order: BTreeMap<u64, K>,
    told: u64,
    most: usize,
    /// How many bytes all of them may take, and what they take.
    share: usize,
    scale: Scale,
    /// Entries that made room for others.
    pub evicted: u64,
}

impl<K: Clone + Eq + Hash + Weigh, V: Weigh> Recent<K, V> {
    /// What an entry takes besides what it refers to: a tree's nodes are half full.
    const ENTRY: usize =
        slot(size_of::<K>() + size_of::<usize>()) + 2 * size_of::<(u64, K)>() + size_of::<(u64, V)>() + 16;

    /// One that keeps so many, and of them as many as take no more bytes than that.
    pub fn new(most: usize, share: usize) -> Self {
        let (entries, order) = (Table::default(), BTreeMap::new());
        Self { entries, order, told: 0, most, share, scale: Scale::default(), evicted: 0 }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|entry| &entry.1)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// All of them, the one that was told longest ago first.
    pub fn in_order(&self) -> impl Iterator<Item = (&K, &V)> {
        self.order.values().filter_map(|key| Some((key, self.get(key)?)))
    }

    /// All of them, the one that was told last first.
    pub fn latest(&self) -> impl Iterator<Item = (&K, &V)> {
        self.order.values().rev().filter_map(|key| Some((key, self.get(key)?)))
    }

    /// The one that was told longest ago.
    pub fn oldest(&self) -> Option<(&K, &V)> {
        let (_, key) = self.order.first_key_value()?;
        self.get(key).map(|value| (key, value))
    }

    /// Takes an entry out, to be told anew.
    pub fn take(&mut self, key: &K) -> Option<V> {
        let (told, value) = *self.entries.remove(key)?;
        self.order.remove(&told);
        self.scale.take(key);
        self.scale.take(&value);
        Some(value)
    }

    /// Changes an entry where it is.
    pub fn change(&mut self, key: &K, change: impl FnOnce(&mut V)) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        self.scale.take(&entry.1);
        change(&mut entry.1);
        self.scale.put(&entry.1);
    }

    /// Changes an entry, all but what it refers to; if that says so, it is the latest again.
    pub fn touch(&mut self, key: &K, change: impl FnOnce(&mut V) -> bool) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if !change(&mut entry.1) {
            return;
        }
        self.told += 1;
        if let Some(key) = self.order.remove(&std::mem::replace(&mut entry.0, self.told)) {
            self.order.insert(self.told, key);
        }
    }

    /// Keeps an entry, in the place of what was told of the same key before. Returns what had to make room, the oldest
    /// first; or the entry itself, if it alone is more than there is room for.
    pub fn tell(&mut self, key: K, value: V) -> Vec<(K, V)> {
        self.take(&key);
        let before = self.scale.bytes();
        self.scale.put(&key);
        self.scale.put(&value);
        // What it shares with others is theirs as well.
        if self.scale.bytes() - before + Self::ENTRY > self.share {
            self.scale.take(&key);
            self.scale.take(&value);
            self.evicted += 1;
            return vec![(key, value)];
        }
        self.told += 1;
        self.order.insert(self.told, key.clone());
        self.entries.insert(key, Box::new((self.told, value)));
        self.make_room()
    }

    /// Keeps an entry of a key that has none, if there is room for it beside all others. Returns it if there is none.
    pub fn tell_beside(&mut self, key: K, value: V) -> Option<(K, V)> {
        debug_assert!(!self.entries.contains_key(&key));
        self.scale.put(&key);
        self.scale.put(&value);
        if self.entries.len() >= self.most || self.bytes() + Self::ENTRY > self.share {
            self.scale.take(&key);
            self.scale.take(&value);
            self.evicted += 1;
            return Some((key, value));
        }
        self.told += 1;
        self.order.insert(self.told, key.clone());
        self.entries.insert(key, Box::new((self.told, value)));
        None
    }

    /// Drops the oldest ones until there is room. One that is too heavy by itself is not kept either.
    pub fn make_room(&mut self) -> Vec<(K, V)> {
        let mut gone = Vec::new();
        while self.entries.len() > self.most || self.bytes() > self.share {
            let Some(oldest) = self.take_oldest() else { break };
            self.evicted += 1;
            gone.push(oldest);
        }
        gone
    }

    /// Drops the oldest ones as long as they are too old. One that `renew` makes young is the latest again; for one
    /// that is to go it says `false`.
    pub fn retire(&mut self, is_old: impl Fn(&V) -> bool, mut renew: impl FnMut(&K, &mut V) -> bool) {
        while let Some((key, value)) = self.oldest()
            && is_old(value)
        {
            let key = key.clone();
            let mut stays = false;
            self.touch(&key, |value| {
                stays = renew(&key, value) && !is_old(value);
                stays
            });
            if !stays {
                self.take(&key);
            }
        }
    }

    pub fn take_oldest(&mut self) -> Option<(K, V)> {
        let (_, key) = self.order.first_key_value()?;
        let key = key.clone();
        self.take(&key).map(|value| (key, value))
    }

    /// How many bytes all of them take.
    pub fn bytes(&self) -> usize {
        self.scale.bytes() + self.entries.len() * Self::ENTRY
    }
}

/// What was told last of the host, and of strangers: however many those make, what is the host's stays.
#[derive(Debug)]
pub(crate) struct Parted<K, V> {
    hosts: Recent<K, V>,
    others: Recent<K, V>,
}

impl<K: Clone + Eq + Hash + Weigh, V: Weigh> Parted<K, V> {
    /// One that keeps so many of each, and of them as many as take no more bytes than that.
    pub fn new(most: usize, hosts_share: usize, others_share: usize) -> Self {
        Self { hosts: Recent::new(most, hosts_share), others: Recent::new(most, others_share) }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.hosts.get(key).or_else(|| self.others.get(key))
    }

    /// All of them, and whether each is the host's; of each part the one that was told longest ago first.
    pub fn in_order(&self) -> impl Iterator<Item = (&K, bool, &V)> {
        let hosts = self.hosts.in_order().map(|(key, value)| (key, true, value));
        hosts.chain(self.others.in_order().map(|(key, value)| (key, false, value)))
    }

    /// As [`Recent::touch`].
    pub fn touch(&mut self, key: &K, mut change: impl FnMut(&mut V) -> bool) {
        self.hosts.touch(key, &mut change);
        self.others.touch(key, change);
    }

    /// As [`Recent::retire`].
    pub fn retire(&mut self, is_old: impl Fn(&V) -> bool, mut renew: impl FnMut(&K, &mut V) -> bool) {
        self.hosts.retire(&is_old, &mut renew);
        self.others.retire(is_old, renew);
    }

    /// Takes an entry out, to be told anew.
    pub fn take(&mut self, key: &K) -> Option<V> {
        self.hosts.take(key).or_else(|| self.others.take(key))
    }

    /// As [`Recent::tell`], of the host or of a stranger.
    pub fn tell(&mut self, key: K, is_hosts: bool, value: V) -> Vec<(K, V)> {
        self.take(&key);
        if is_hosts { &mut self.hosts } else { &mut self.others }.tell(key, value)
    }

    /// Entries that made room for others.
    pub fn evicted(&self) -> u64 {
        self.hosts.evicted + self.others.evicted
    }

    /// How many bytes those of strangers take.
    #[cfg(test)]
    pub fn others_bytes(&self) -> usize {
        self.others.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Pid;
    use crate::name::Name;

    const ENOUGH: usize = 1 << 30;

    fn long(bytes: usize) -> Name {
        Name::new(vec![b'x'; bytes])
    }

    #[test]
    fn what_was_told_longest_ago_makes_room() {
        let mut recent = Recent::new(2, ENOUGH);
        recent.tell(Pid(1), 1u64);
        recent.tell(Pid(2), 2);
        assert!(recent.tell(Pid(1), 3).is_empty());
        assert_eq!(recent.tell(Pid(3), 4), [(Pid(2), 2)]);
        assert_eq!((recent.get(&Pid(1)), recent.get(&Pid(2)), recent.get(&Pid(3))), (Some(&3), None, Some(&4)));
        assert_eq!((recent.in_order().count(), recent.evicted), (2, 1));
    }

    #[test]
    fn what_makes_nobody_go_is_kept_if_there_is_room() {
        let mut recent = Recent::new(2, 4_096);
        assert_eq!(recent.tell_beside(Pid(1), long(4_000)), Some((Pid(1), long(4_000))), "with what it takes besides");
        assert_eq!(recent.tell_beside(Pid(1), long(1)), None);
        assert_eq!(recent.tell_beside(Pid(2), long(2)), None);
        assert_eq!(recent.tell_beside(Pid(3), long(4)), Some((Pid(3), long(4))));
        let kept: Vec<u32> = recent.in_order().map(|(pid, _)| pid.0).collect();
        assert_eq!((kept, recent.evicted), (vec![1, 2], 2));
        (1..3).for_each(|pid| drop(recent.take(&Pid(pid))));
        assert_eq!(recent.bytes(), 0);
    }

    #[test]
    fn what_is_too_old_goes_unless_it_is_renewed() {
        let mut recent = Recent::new(9, ENOUGH);
        for (pid, at) in [(4, 1), (3, 2), (2, 3), (1, 9)] {
            recent.tell(Pid(pid), at);
        }
        recent.retire(
            |at| *at < 5,
            |pid, at| {
                *at = 10;
                *pid == Pid(3)
            },
        );
        let left: Vec<(u32, u64)> = recent.in_order().map(|(pid, at)| (pid.0, *at)).collect();
        assert_eq!((left, recent.evicted), (vec![(1, 9), (3, 10)], 0));
        recent.retire(|_| true, |_, _| true);
        assert_eq!((recent.len(), recent.bytes()), (0, 0), "one that stays old goes");
    }

    #[test]
    fn the_heavy_push_out_what_was_told_longest_ago() {
        let mut recent = Recent::new(100, 4_096);
        recent.tell(Pid(1), long(4));
        for pid in 2..100 {
            recent.tell(Pid(pid), long(1_000));
        }
        assert!(recent.get(&Pid(1)).is_none() && recent.get(&Pid(99)).is_some() && recent.bytes() <= 4_096);
        assert_eq!((recent.len(), recent.evicted), (3, 96));
        let own = recent.tell(Pid(100), long(5_000));
        assert_eq!(
            (own.len(), own[0].0),
            (1, Pid(100)),
            "the bound holds for whatever comes, and it pushes out nobody"
        );
        assert_eq!((recent.len(), recent.evicted), (3, 97));
    }

    #[test]
    fn the_weight_is_of_what_is_kept() {
        let mut recent = Recent::new(100, ENOUGH);
        for bytes in 0..10_000 {
            recent.tell(Pid(1), long(bytes));
        }
        let one = recent.bytes();
        assert!((10_000..10_500).contains(&one) && recent.evicted == 0 && recent.order.len() == 1, "{one}");
        recent.change(&Pid(1), |name| *name = long(0));
        assert_eq!(recent.bytes(), one - 9_999);
        recent.take(&Pid(1));
        assert_eq!(recent.bytes(), 0);
    }
}
