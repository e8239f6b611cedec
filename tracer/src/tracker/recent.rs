//! A map that keeps what was told last: when it is full, what was told longest ago makes room.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// What was told last, by key.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    entries: HashMap<K, (u64, V)>,
    /// In the order they were told. One that was told again is in it twice.
    order: VecDeque<(u64, K)>,
    told: u64,
    most: usize,
    /// Entries that made room for others.
    pub evicted: u64,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    /// One that keeps so many.
    pub fn new(most: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), told: 0, most, evicted: 0 }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (_, value))| (key, value))
    }

    /// Takes an entry out, to be told anew.
    pub fn take(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|(_, value)| value)
    }

    /// Keeps an entry, and returns what it takes the place of.
    pub fn tell(&mut self, key: K, value: V) -> Option<V> {
        self.told += 1;
        let before = self.entries.insert(key.clone(), (self.told, value));
        self.order.push_back((self.told, key));
        while self.entries.len() > self.most {
            self.evict();
        }
        // What is told over and over leaves an entry behind each time.
        if self.order.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.order.retain(|(told, key)| entries.get(key).is_some_and(|(last, _)| last == told));
        }
        before.map(|(_, value)| value)
    }

    /// Drops the one that was told longest ago, and returns it.
    pub fn evict(&mut self) -> Option<V> {
        while let Some((told, key)) = self.order.pop_front() {
            if self.entries.get(&key).is_some_and(|(last, _)| *last == told) {
                self.evicted += 1;
                return self.take(&key);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_longest_ago_makes_room() {
        let mut recent = Recent::new(2);
        recent.tell("a", 1);
        recent.tell("b", 2);
        assert_eq!(recent.tell("a", 3), Some(1));
        recent.tell("c", 4);
        assert_eq!((recent.get(&"a"), recent.get(&"b"), recent.get(&"c")), (Some(&3), None, Some(&4)));
        assert_eq!((recent.len(), recent.evicted), (2, 1));
    }

    #[test]
    fn what_is_told_over_and_over_takes_no_more_room() {
        let mut recent = Recent::new(2);
        for _ in 0..10_000 {
            let before = recent.take(&"a").unwrap_or(0);
            recent.tell("a", before + 1);
        }
        assert_eq!((recent.get(&"a"), recent.evicted), (Some(&10_000), 0));
        assert!(recent.order.len() < 100);
    }
}
