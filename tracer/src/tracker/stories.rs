//! Stories: the failed calls that belong together, told as one finding.
//!
//! A story begins with a failed removal (or an opening for removal) of a cgroup that is not there. It gathers every
//! failed call on the same place, whoever made it, and on v1 the same container's other hierarchies. It is told when
//! the outcome is known or after [`PATIENCE`], and told anew when something that matters changes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::cgroups::{Place, Removal};
use crate::container::Container;
use crate::findings::{Finding, FindingAttempt, Kind};
use crate::input::{BootTime, Exit, HierarchyId, Pid, Seq};
use crate::name::Name;

/// A story whose outcome is not known is told after this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// After the last actor's end: time for the other hierarchies' calls, and for the look at the runtime's state.
const SETTLE: Duration = Duration::from_millis(100);
/// A failed call on another hierarchy, or by the same container, joins a story that is no older.
const TOGETHER: Duration = Duration::from_secs(10);
/// A story that nothing was added to for so long is closed; a new failure starts a new one.
const STORY_AGE: Duration = Duration::from_secs(10 * 60);
/// Stories kept at most; the oldest is told and closed first.
const STORIES: usize = 4_096;
/// How long a failed call is remembered that belongs to no story yet.
const NOTE_AGE: Duration = Duration::from_secs(10 * 60);
/// Failed calls remembered that belong to no story yet: for one place, and in all.
const NOTES_AT_A_PLACE: usize = 64;
const NOTES: usize = 65_536;
/// Of a story's calls the first and the last ones are kept.
const FIRST_CALLS: usize = 24;
const LAST_CALLS: usize = 8;
/// Different actors of one story that are followed.
const ACTORS: usize = 64;

/// A failed call and the place it was about.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub place: Place,
    /// The control file below `place` that was opened; `None` for the cgroup's directory.
    pub file: Option<Name>,
    pub attempt: FindingAttempt,
}

/// Failed calls that belong to no story yet.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    at_place: HashMap<Place, VecDeque<Note>>,
    order: VecDeque<(BootTime, Place)>,
}

impl Notes {
    pub fn push(&mut self, note: Note) {
        self.order.push_back((note.attempt.at, note.place.clone()));
        let notes = self.at_place.entry(note.place.clone()).or_default();
        notes.push_back(note);
        if notes.len() > NOTES_AT_A_PLACE {
            notes.pop_front();
        }
        while self.order.len() > NOTES {
            self.drop_oldest();
        }
    }

    pub fn at(&self, place: &Place) -> impl DoubleEndedIterator<Item = &Note> {
        self.at_place.get(place).into_iter().flatten()
    }

    /// Takes the notes of a place out: a story has them now.
    fn take(&mut self, place: &Place) -> VecDeque<Note> {
        self.at_place.remove(place).unwrap_or_default()
    }

    pub fn sweep(&mut self, now: BootTime) {
        while self.order.front().is_some_and(|(at, _)| now.since(*at) > NOTE_AGE) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((at, place)) = self.order.pop_front() else { return };
        if let Some(notes) = self.at_place.get_mut(&place) {
            while notes.front().is_some_and(|note| note.attempt.at <= at) {
                notes.pop_front();
            }
            if notes.is_empty() {
                self.at_place.remove(&place);
            }
        }
    }
}

/// What a new failed call turns out to be.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub kind: Kind,
    /// The removal that came first.
    pub removal: Option<Removal>,
    pub container: Option<Arc<Container>>,
}

/// One cgroup (on v1 one of several) that a story is about.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub place: Place,
    pub removal: Option<Removal>,
}

/// A thread group that tried to tear down.
#[derive(Clone, Debug)]
pub(crate) struct Participant {
    pub pid: Pid,
    /// Its first failed removal, or opening for removal.
    pub first: FindingAttempt,
    pub ended: Option<End>,
    /// Its runtime's state file was still there after its end.
    pub state_left: Option<bool>,
}

/// The end of a thread group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub seq: Seq,
    pub at: BootTime,
    /// `None` if it was not told how.
    pub exit: Option<Exit>,
}

impl Participant {
    pub fn exit(&self) -> Option<Exit> {
        self.ended.and_then(|end| end.exit)
    }

    pub fn failed(&self) -> bool {
        self.exit().is_some_and(|exit| !exit.is_success()) || self.state_left == Some(true)
    }
}

/// Failed calls that belong together.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub kind: Kind,
    pub members: Vec<Member>,
    pub container: Option<Arc<Container>>,
    /// The first failed removal.
    pub began: FindingAttempt,
    pub last_at: BootTime,
    pub first_calls: Vec<Note>,
    pub last_calls: VecDeque<Note>,
    pub calls: u64,
    pub participants: Vec<Participant>,
    due: Option<BootTime>,
    told: Option<Finding>,
}

impl Story {
    fn new(note: &Note, case: &Case) -> Self {
        Self {
            kind: case.kind,
            members: Vec::new(),
            container: case.container.clone(),
            began: note.attempt.clone(),
            last_at: note.attempt.at,
            first_calls: Vec::new(),
            last_calls: VecDeque::new(),
            calls: 0,
            participants: Vec::new(),
            due: None,
            told: None,
        }
    }

    /// All calls that were kept, in order.
    pub fn kept_calls(&self) -> impl Iterator<Item = &Note> {
        self.first_calls.iter().chain(&self.last_calls)
    }

    fn add_call(&mut self, note: Note) {
        self.calls += 1;
        self.last_at = self.last_at.max(note.attempt.at);
        if self.first_calls.len() < FIRST_CALLS {
            self.first_calls.push(note);
        } else {
            self.last_calls.push_back(note);
            if self.last_calls.len() > LAST_CALLS {
                self.last_calls.pop_front();
            }
        }
    }

    fn outcome_is_known(&self) -> bool {
        self.participants.iter().all(|participant| participant.ended.is_some())
    }

    /// Whether a call at `place` after `removal` can be told in this story: another hierarchy or another cgroup of the
    /// same teardown, but never another generation of the same cgroup.
    fn takes(&self, place: &Place, removal: Option<&Removal>, at: BootTime) -> bool {
        match self.members.iter().find(|member| member.place == *place) {
            Some(member) => {
                member.removal.as_ref().map(|r| r.seq) == removal.map(|r| r.seq) && at.since(self.last_at) <= STORY_AGE
            }
            None => at.since(self.last_at) <= TOGETHER,
        }
    }
}

/// All stories that are not closed.
#[derive(Debug, Default)]
pub(crate) struct Stories {
    stories: BTreeMap<u64, Story>,
    next: u64,
    due: BTreeSet<(BootTime, u64)>,
    at_place: HashMap<(Kind, Place), u64>,
    of_container: HashMap<(Kind, Name), u64>,
    /// Where no container is known, v1's hierarchies are told together by actor and path.
    of_actor: HashMap<(Kind, Pid, Name), u64>,
    with_actor: HashMap<Pid, HashSet<u64>>,
}

impl Stories {
    /// Whether a thread group has a part in a story of `place`.
    pub fn has_participant(&self, place: &Place, pid: Pid) -> bool {
        Kind::ALL
            .iter()
            .filter_map(|kind| self.stories.get(self.at_place.get(&(*kind, place.clone()))?))
            .any(|story| story.participants.iter().any(|participant| participant.pid == pid))
    }

    /// The removal that the story of a place came after.
    pub fn removal(&self, place: &Place) -> Option<&Removal> {
        let story = self.stories.get(self.at_place.get(&(Kind::DuplicateTeardown, place.clone()))?)?;
        story.members.iter().find(|member| member.place == *place)?.removal.as_ref()
    }

    /// When the next story falls due.
    pub fn next_due(&self) -> Option<BootTime> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Whether a story that began by `at` is still to be told.
    pub fn has_due_of(&self, at: BootTime) -> bool {
        self.due.iter().any(|(_, number)| self.stories.get(number).is_some_and(|story| story.began.at <= at))
    }

    /// A failed call that decides a story, new or not. `context` are failed calls elsewhere that belong to it.
    pub fn tell(&mut self, note: Note, case: Case, notes: &mut Notes) {
        let number = self.find(&note, &case).unwrap_or_else(|| self.open(&note, &case));
        self.index(number, &note, &case);
        let Some(story) = self.stories.get_mut(&number) else { return };
        if !story.members.iter().any(|member| member.place == note.place) {
            story.members.push(Member { place: note.place.clone(), removal: case.removal.clone() });
            let mut earlier: Vec<Note> = match &case.removal {
                // Before the removal all was well: a look before creation is no part of a duplicate.
                Some(removal) => notes.take(&note.place).into_iter().filter(|n| n.attempt.at > removal.at).collect(),
                None => context(notes, &note.place),
            };
            earlier.sort_by_key(|note| note.attempt.seq);
            for note in earlier {
                story.add_call(note);
            }
        }
        if story.container.is_none() {
            story.container.clone_from(&case.container);
        }
        let pid = note.attempt.actor.pid;
        let at = note.attempt.at;
        let known = story.participants.iter().any(|participant| participant.pid == pid && participant.ended.is_none());
        if !known && story.participants.len() < ACTORS {
            let first = note.attempt.clone();
            story.participants.push(Participant { pid, first, ended: None, state_left: None });
        }
        story.add_call(note);
        let grown = story.told.as_ref().is_some_and(|told| story.calls >= told.attempt_count.saturating_mul(10));
        if story.told.is_none() || !known || grown {
            self.set_due(number, at + PATIENCE);
        }
        self.with_actor.entry(pid).or_default().insert(number);
    }

    /// A failed call that decides nothing by itself, but belongs to a story that is being told: returned if it does not.
    pub fn add_context(&mut self, note: Note) -> Option<Note> {
        let mine = Kind::ALL.iter().find_map(|kind| self.at_place.get(&(*kind, note.place.clone())).copied());
        let Some(story) = mine.and_then(|number| self.stories.get_mut(&number)) else { return Some(note) };
        let by_participant = story.participants.iter().any(|participant| participant.pid == note.attempt.actor.pid);
        if !by_participant || note.attempt.at.since(story.last_at) > TOGETHER {
            return Some(note);
        }
        story.add_call(note);
        None
    }

    /// A process ended: the outcome of the stories it has a part in.
    pub fn ended(&mut self, pid: Pid, seq: Seq, at: BootTime, how: Option<Exit>) {
        for number in self.with_actor.get(&pid).cloned().unwrap_or_default() {
            let Some(story) = self.stories.get_mut(&number) else { continue };
            for participant in story.participants.iter_mut().filter(|p| p.pid == pid && p.ended.is_none()) {
                participant.ended = Some(End { seq, at, exit: how });
            }
            if story.outcome_is_known() {
                self.set_due(number, at + SETTLE);
            }
        }
        self.with_actor.remove(&pid);
    }

    /// It was looked whether a container's state is still there.
    pub fn state_seen(&mut self, container: &Name, pid: Pid, present: bool, at: BootTime) {
        let mut changed = Vec::new();
        for (number, story) in &mut self.stories {
            if story.container.as_ref().is_some_and(|known| known.id != *container) {
                continue;
            }
            for participant in story.participants.iter_mut().filter(|participant| participant.pid == pid) {
                participant.state_left = Some(present);
                changed.push(*number);
            }
        }
        for number in changed {
            if self.stories.get(&number).is_some_and(|story| story.told.is_some()) {
                self.set_due(number, at);
            }
        }
    }

    /// Takes out the stories that are due at `now`, oldest due first. Each must be given back with [`Stories::keep`].
    pub fn take_due(&mut self, now: BootTime) -> Option<(u64, Story)> {
        let (at, number) = *self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, number));
        let mut story = self.stories.remove(&number)?;
        story.due = None;
        Some((number, story))
    }

    /// Takes out every story, due or not, for the end of the trace.
    pub fn take_all(&mut self) -> BTreeMap<u64, Story> {
        self.due.clear();
        std::mem::take(&mut self.stories)
    }

    /// Gives a story back after it was told. `told` is kept if it says something new; that is returned.
    pub fn keep(&mut self, number: u64, mut story: Story, finding: Finding) -> Option<Finding> {
        let new = story.revise(finding);
        self.stories.insert(number, story);
        new
    }

    /// Closes what is too old. Returns the stories that had to make room and were not told.
    pub fn sweep(&mut self, now: BootTime) -> Vec<Story> {
        let mut untold = Vec::new();
        let old: Vec<u64> = self
            .stories
            .iter()
            .filter(|(_, story)| story.told.is_some() && now.since(story.last_at) > STORY_AGE)
            .map(|(number, _)| *number)
            .collect();
        for number in old {
            self.close(number);
        }
        while self.stories.len() > STORIES {
            let Some(first) = self.stories.keys().next().copied() else { break };
            untold.extend(self.close(first).filter(|story| story.told.is_none()));
        }
        let open = &self.stories;
        self.at_place.retain(|_, number| open.contains_key(number));
        self.of_container.retain(|_, number| open.contains_key(number));
        self.of_actor.retain(|_, number| open.contains_key(number));
        self.with_actor.retain(|_, numbers| numbers.iter().any(|number| open.contains_key(number)));
        untold
    }

    fn close(&mut self, number: u64) -> Option<Story> {
        let story = self.stories.remove(&number)?;
        if let Some(at) = story.due {
            self.due.remove(&(at, number));
        }
        Some(story)
    }

    fn find(&self, note: &Note, case: &Case) -> Option<u64> {
        let at_place = self.at_place.get(&(case.kind, note.place.clone()));
        let of_container =
            case.container.as_ref().and_then(|container| self.of_container.get(&(case.kind, container.id.clone())));
        let of_actor = self.of_actor.get(&(case.kind, note.attempt.actor.pid, note.place.path.clone()));
        [at_place, of_container, of_actor].into_iter().flatten().copied().find(|number| {
            self.stories
                .get(number)
                .is_some_and(|story| story.takes(&note.place, case.removal.as_ref(), note.attempt.at))
        })
    }

    fn open(&mut self, note: &Note, case: &Case) -> u64 {
        let number = self.next;
        self.next += 1;
        self.stories.insert(number, Story::new(note, case));
        number
    }

    fn index(&mut self, number: u64, note: &Note, case: &Case) {
        self.at_place.insert((case.kind, note.place.clone()), number);
        if let Some(container) = &case.container {
            self.of_container.insert((case.kind, container.id.clone()), number);
        }
        // cgroup2 is one hierarchy: there is nothing to be told together.
        if note.place.hierarchy != HierarchyId(0) {
            self.of_actor.insert((case.kind, note.attempt.actor.pid, note.place.path.clone()), number);
        }
    }

    /// The first due time stands; an earlier one replaces it.
    fn set_due(&mut self, number: u64, at: BootTime) {
        let Some(story) = self.stories.get_mut(&number) else { return };
        if let Some(before) = story.due {
            if before <= at {
                return;
            }
            self.due.remove(&(before, number));
        }
        story.due = Some(at);
        self.due.insert((at, number));
    }
}

impl Story {
    /// Numbers the finding, and returns it if it says something that the last revision did not.
    pub fn revise(&mut self, mut finding: Finding) -> Option<Finding> {
        if let Some(told) = &self.told {
            let grown = finding.attempt_count >= told.attempt_count.saturating_mul(10);
            let same = told.severity == finding.severity
                && told.cause == finding.cause
                && told.certainty == finding.certainty
                && told.outcome == finding.outcome
                && told.actor.pid == finding.actor.pid
                && told.hierarchies == finding.hierarchies;
            if same && !grown {
                return None;
            }
            finding.revision = told.revision + 1;
        }
        self.told = Some(finding.clone());
        Some(finding)
    }

    /// The last word at the end of the trace: anything that is not in the last revision, the count included.
    pub fn conclude(&mut self, finding: Finding) -> Option<Finding> {
        if let Some(told) = &self.told
            && told.attempt_count != finding.attempt_count
        {
            let revision = told.revision + 1;
            return Some(Finding { revision, ..finding });
        }
        self.revise(finding)
    }
}

/// The failed calls at `place`, and those of the same actors on the control files of the cgroup around it shortly
/// before they tried to make this one: runc tries to enable controllers there first.
fn context(notes: &mut Notes, place: &Place) -> Vec<Note> {
    let mut calls: Vec<Note> = notes.take(place).into();
    let makers: Vec<(Pid, BootTime)> = calls
        .iter()
        .filter(|note| note.attempt.operation == crate::input::Operation::Mkdir)
        .map(|note| (note.attempt.actor.pid, note.attempt.at))
        .collect();
    if let Some(parent) = place.parent() {
        calls.extend(
            notes
                .at(&parent)
                .filter(|note| note.file.is_some())
                .filter(|note| {
                    makers.iter().any(|(pid, at)| {
                        note.attempt.actor.pid == *pid && at.since(note.attempt.at) <= Duration::from_secs(1)
                    })
                })
                .cloned(),
        );
    }
    calls
}
