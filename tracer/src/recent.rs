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
    /// What an entry weighs, and how much all of them may.
    weigh: fn(&V) -> usize,
    heaviest: usize,
    /// What all of them weigh together.
    pub weight: usize,
    /// Entries that made room for others.
    pub evicted: u64,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    /// One that keeps so many.
    pub fn new(most: usize) -> Self {
        Self::weighed(most, usize::MAX, |_| 0)
    }

    /// One that keeps so many, and no more than weigh so much together. What was told last is kept whatever it weighs.
    pub fn weighed(most: usize, heaviest: usize, weigh: fn(&V) -> usize) -> Self {
        let (entries, order) = (HashMap::new(), VecDeque::new());
        Self { entries, order, told: 0, most, weigh, heaviest, weight: 0, evicted: 0 }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (_, value))| (key, value))
    }

    /// Takes an entry out, to be told anew.
    pub fn take(&mut self, key: &K) -> Option<V> {
        let (_, value) = self.entries.remove(key)?;
        self.weight -= (self.weigh)(&value);
        Some(value)
    }

    /// Keeps an entry, in the place of what was told of the same key before.
    pub fn tell(&mut self, key: K, value: V) {
        self.take(&key);
        self.told += 1;
        self.weight += (self.weigh)(&value);
        self.entries.insert(key.clone(), (self.told, value));
        self.order.push_back((self.told, key));
        while self.entries.len() > self.most || self.weight > self.heaviest && self.entries.len() > 1 {
            self.evict();
        }
        // What is told over and over leaves an entry behind each time.
        if self.order.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.order.retain(|(told, key)| entries.get(key).is_some_and(|(last, _)| last == told));
        }
    }

    /// Drops the one that was told longest ago.
    fn evict(&mut self) {
        while let Some((told, key)) = self.order.pop_front() {
            if self.entries.get(&key).is_some_and(|(last, _)| *last == told) {
                self.evicted += 1;
                self.take(&key);
                return;
            }
        }
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
        recent.tell("a", 3);
        recent.tell("c", 4);
        assert_eq!((recent.get(&"a"), recent.get(&"b"), recent.get(&"c")), (Some(&3), None, Some(&4)));
        assert_eq!((recent.iter().count(), recent.evicted), (2, 1));
    }

    #[test]
    fn the_heavy_push_out_what_was_told_longest_ago() {
        let mut recent = Recent::weighed(100, 32, |value| *value);
        recent.tell(1, 4);
        for key in 2..100 {
            recent.tell(key, 10);
        }
        assert!(recent.get(&1).is_none() && recent.get(&99).is_some());
        assert_eq!((recent.iter().count(), recent.weight, recent.evicted), (3, 30, 96));
        recent.tell(100, 50);
        assert_eq!((recent.iter().count(), recent.weight), (1, 50));
    }

    #[test]
    fn the_weight_is_of_what_is_kept() {
        let mut recent = Recent::weighed(100, 32, |value| *value);
        for _ in 0..10_000 {
            recent.tell("a", 10);
        }
        assert_eq!((recent.weight, recent.evicted), (10, 0));
        recent.take(&"a");
        assert_eq!(recent.weight, 0);
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
