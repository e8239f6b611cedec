//! Failed calls that belong to no story yet, and may come to: those that came before it, and what was tried around it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::place::Place;
use crate::budget::{self, Scale, Table, Weigh, slot};
use crate::findings::FindingAttempt;
use crate::input::{BootTime, CgroupId, Operation};
use crate::name::Name;

/// How long a failed call is remembered that belongs to no story yet: as long as a removal, which it may have come
/// after.
const NOTE_AGE: Duration = Duration::from_secs(15 * 60);
/// Failed calls remembered that belong to no story yet: for one place, and in all.
const NOTES_AT_A_PLACE: usize = 64;
const NOTES: usize = 65_536;

/// A failed call and the place it was about.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub place: Place,
    /// The control file below `place` that was opened, written or read; `None` for the cgroup's directory.
    pub file: Option<Name>,
    /// The cgroup of the descriptor that the call was given, which may not be at `place` any more. `None` for a path.
    pub opened: Option<CgroupId>,
    /// It is an opening for writing; and one that may have failed because there is no such file.
    pub is_for_writing: bool,
    pub lacks_file: bool,
    pub attempt: FindingAttempt,
}

impl Weigh for Note {
    fn weigh(&self, scale: &mut Scale) {
        // A list that grows has twice the room.
        scale.add(2 * size_of::<Self>());
        (&self.place, &self.file).weigh(scale);
        self.attempt.weigh(scale);
    }
}

/// Failed calls that belong to no story yet.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// In the order they came.
    notes: BTreeMap<u64, Note>,
    at_place: Table<Place, VecDeque<u64>>,
    next: u64,
    scale: Scale,
    /// The last failed creation that had to be forgotten.
    forgotten_creation: Option<BootTime>,
    /// Those that made room for others.
    pub evicted: u64,
}

impl Notes {
    /// What a note takes besides what it refers to: its place in three tables.
    const ENTRY: usize = slot(size_of::<(Place, VecDeque<u64>)>()) + 128;

    pub fn push(&mut self, note: Note) {
        self.scale.put(&note);
        let at_place = self.at_place.entry(note.place.clone()).or_default();
        at_place.push_back(self.next);
        let first = at_place.front().copied().filter(|_| at_place.len() > NOTES_AT_A_PLACE);
        self.notes.insert(self.next, note);
        self.next += 1;
        if let Some(first) = first {
            self.forget(first);
        }
        while self.notes.len() > NOTES || self.scale.bytes() + self.notes.len() * Self::ENTRY > budget::NOTES {
            let Some((oldest, _)) = self.notes.first_key_value() else { break };
            self.forget(*oldest);
            self.evicted += 1;
        }
    }

    pub fn at(&self, place: &Place) -> impl DoubleEndedIterator<Item = &Note> {
        self.at_place.get(place).into_iter().flatten().filter_map(|number| self.notes.get(number))
    }

    /// Takes the notes of a place out: a story has them now.
    pub fn take(&mut self, place: &Place) -> Vec<Note> {
        let numbers = self.at_place.remove(place).unwrap_or_default();
        let notes: Vec<Note> = numbers.iter().filter_map(|number| self.notes.remove(number)).collect();
        notes.iter().for_each(|note| self.scale.take(note));
        notes
    }

    /// Takes the failed calls at `place` out, and tells those of the same actors on the control files of the cgroup
    /// around it shortly before they tried to make this one: runc tries to enable controllers there first.
    pub fn take_with_context(&mut self, place: &Place) -> Vec<Note> {
        let mut calls: Vec<Note> = self.take(place);
        let makers: Vec<FindingAttempt> = calls
            .iter()
            .filter(|note| note.attempt.operation == Operation::Mkdir)
            .map(|note| note.attempt.clone())
            .collect();
        if let Some(parent) = place.parent() {
            let by_a_maker = |call: &FindingAttempt| {
                makers.iter().any(|mkdir| {
                    mkdir.actor.is_same_process_as(&call.actor) && mkdir.at.since(call.at) <= Duration::from_secs(1)
                })
            };
            calls.extend(self.at(&parent).filter(|note| note.file.is_some() && by_a_maker(&note.attempt)).cloned());
        }
        calls
    }

    pub fn sweep(&mut self, now: BootTime) {
        while let Some((oldest, note)) = self.notes.first_key_value() {
            if now.since(note.attempt.at) <= NOTE_AGE {
                return;
            }
            self.forget(*oldest);
        }
    }

    /// Forgets the oldest note of a place.
    fn forget(&mut self, number: u64) {
        let Some(note) = self.notes.remove(&number) else { return };
        self.scale.take(&note);
        if let Some(at_place) = self.at_place.get_mut(&note.place) {
            at_place.pop_front();
            if at_place.is_empty() {
                self.at_place.remove(&note.place);
            }
        }
        if note.attempt.is_failed_creation() {
            self.forgotten_creation = self.forgotten_creation.max(Some(note.attempt.at));
        }
    }

    /// The last call at a place that failed to make a cgroup there. Those that a story gave back came before others.
    pub fn failed_creation(&self, place: &Place) -> Option<BootTime> {
        self.at(place).filter(|note| note.attempt.is_failed_creation()).map(|note| note.attempt.at).max()
    }

    /// When the last failed creation was that is not remembered any more.
    pub fn forgotten_creation(&self) -> Option<BootTime> {
        self.forgotten_creation
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::Errno;
    use crate::input::{Actor, HierarchyId, Pid, Seq, Syscall};

    #[test]
    fn the_last_failed_creation_is_the_latest_also_if_an_older_one_was_given_back() {
        let place = Place { hierarchy: HierarchyId(0), path: "/a".into() };
        let failed = |at| Note {
            place: place.clone(),
            file: None,
            opened: None,
            is_for_writing: false,
            lacks_file: false,
            attempt: FindingAttempt {
                seq: Seq(at),
                at: BootTime(at),
                operation: Operation::Mkdir,
                syscall: Syscall::Mkdir,
                errno: Errno::EROFS,
                path: "/a".into(),
                value: None,
                value_truncated: false,
                actor: Actor::new(Pid(1), 1, "runc".into(), None),
            },
        };
        let mut notes = Notes::default();
        notes.push(failed(1));
        let given_back = notes.take(&place);
        notes.push(failed(2));
        given_back.into_iter().for_each(|note| notes.push(note));
        assert_eq!(notes.failed_creation(&place), Some(BootTime(2)));
    }
}
