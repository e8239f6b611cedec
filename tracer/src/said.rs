//! What was last said of a finding: a later word of the same is told apart from a first one.

use std::collections::{HashMap, VecDeque};

use crate::findings::Finding;

/// Findings that are remembered, so that a later word of one is told too.
const TOLD: usize = 1_024;

/// What was last said of each of the findings that were said last.
#[derive(Debug)]
pub struct LastSaid<T> {
    of: HashMap<String, T>,
    /// Their ids, in the order in which they were first said.
    order: VecDeque<String>,
    most: usize,
}

impl<T> LastSaid<T> {
    /// So many are remembered.
    pub fn new(most: usize) -> Self {
        Self { of: HashMap::new(), order: VecDeque::new(), most }
    }

    /// What was last said of that finding, if that is remembered.
    pub fn of(&self, id: &str) -> Option<&T> {
        self.of.get(id)
    }

    /// Something is said of a finding. Returns what was said of it before, if that is remembered.
    pub fn say(&mut self, id: &str, what: T) -> Option<T> {
        if let Some(known) = self.of.get_mut(id) {
            return Some(std::mem::replace(known, what));
        }
        self.of.insert(id.to_owned(), what);
        self.order.push_back(id.to_owned());
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.of.remove(&oldest);
        }
        None
    }
}

/// Which findings are told where nobody has asked for them: in a journal, or to a collector.
#[derive(Debug)]
pub struct Telling(LastSaid<()>);

impl Default for Telling {
    fn default() -> Self {
        Self(LastSaid::new(TOLD))
    }
}

impl Telling {
    /// Whether this word of a finding is told. What is routine is not, unless the finding was told before it turned out
    /// to be.
    pub fn tells(&mut self, finding: &Finding) -> bool {
        if finding.is_routine() && self.0.of(&finding.id).is_none() {
            return false;
        }
        self.0.say(&finding.id, ());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_remembered_of_the_last_ones() {
        let mut said = LastSaid::new(2);
        assert_eq!((said.say("a", 1), said.say("a", 2), said.say("b", 1)), (None, Some(1), None));
        assert_eq!((said.say("c", 1), said.of("a"), said.of("b")), (None, None, Some(&1)));
    }
}
