//! Stories: the failed calls that belong together, told as one finding.
//!
//! A story begins with a failed removal (or an opening for removal) of a cgroup that is not there. It gathers every
//! failed call on the same place, whoever made it, and on v1 the same teardown in other hierarchies. Another cgroup of a
//! hierarchy that it has already is another story, and so is another life of the same cgroup. It is told when the outcome
//! is known or after [`PATIENCE`], and told anew when something that matters changes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::cgroups::{Place, Removal};
use super::renamings::Renaming;
use crate::budget::{self, Scale, Weigh, slot};
use crate::container::Container;
use crate::findings::{Cause, Certainty, Finding, FindingAttempt, Job, Kind, KnownIssue, Outcome, Severity};
use crate::input::{Actor, BootTime, Exit, HierarchyId, Identity, Incarnation, Operation, Pid, Seq};
use crate::name::Name;

/// A story whose outcome is not known is told after this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// After the last actor's end: time for the other hierarchies' calls, and for the look at the runtime's state.
const SETTLE: Duration = Duration::from_millis(100);
/// A failed call on another hierarchy, or by the same container, joins a story that is no older.
const TOGETHER: Duration = Duration::from_secs(10);
/// A story that nothing was added to for so long is closed; a new failure starts a new one.
const STORY_AGE: Duration = Duration::from_secs(10 * 60);
/// Stories kept at most. When there are more, or they take more than their share, the oldest are told and closed until a quarter is
/// free.
const STORIES: usize = 4_096;
/// How long a failed call is remembered that belongs to no story yet: as long as a removal, which it may have come after.
const NOTE_AGE: Duration = Duration::from_secs(15 * 60);
/// Failed calls remembered that belong to no story yet: for one place, and in all.
const NOTES_AT_A_PLACE: usize = 64;
const NOTES: usize = 65_536;
/// Of a story's calls the first and the last ones are kept.
const FIRST_CALLS: usize = 24;
const LAST_CALLS: usize = 8;
/// Different actors of one story that are followed: of those that remove what they are given, and of all others.
const ACTORS: usize = 64;
/// Hierarchies that one story is told in at most: a kernel has a dozen.
const MEMBERS: usize = 64;
/// What a participant takes in the tables that lead to its story, besides its place.
const INDEX: usize =
    2 * slot(size_of::<((Kind, Pid, Place), u64)>()) + 2 * slot(size_of::<(Pid, HashSet<u64>)>()) + 256;

/// A failed call and the place it was about.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub place: Place,
    /// The control file below `place` that was opened; `None` for the cgroup's directory.
    pub file: Option<Name>,
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
    at_place: HashMap<Place, VecDeque<u64>>,
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
    fn take(&mut self, place: &Place) -> Vec<Note> {
        let numbers = self.at_place.remove(place).unwrap_or_default();
        let notes: Vec<Note> = numbers.iter().filter_map(|number| self.notes.remove(number)).collect();
        notes.iter().for_each(|note| self.scale.take(note));
        notes
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

    /// When the last failed creation was that is not remembered any more.
    pub fn forgotten_creation(&self) -> Option<BootTime> {
        self.forgotten_creation
    }
}

/// What a new failed call turns out to be.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub kind: Kind,
    /// The removal that came first.
    pub removal: Option<Removal>,
    /// The renaming that took the path away, or gave it to a cgroup that had been removed.
    pub renaming: Option<Renaming>,
    /// When the last life of a cgroup at the place was over, if that was seen: earlier calls were about that.
    pub since: Option<BootTime>,
    /// What the caller had wanted before, and had failed.
    pub failed_before: Option<FindingAttempt>,
    /// What the caller was asked to do could not be read in time.
    pub is_unread: bool,
    pub container: Option<Arc<Container>>,
}

/// One cgroup (on v1 one of several) that a story is about.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub place: Place,
    /// The container that it belongs to.
    pub container: Option<Arc<Container>>,
    pub removal: Option<Removal>,
    pub renaming: Option<Renaming>,
    /// When the life before was over, if that was seen: there was nothing then.
    pub since: Option<BootTime>,
}

impl Weigh for Member {
    fn weigh(&self, scale: &mut Scale) {
        scale.add(2 * size_of::<Self>() + INDEX);
        self.place.weigh(scale);
        self.container.weigh(scale);
        self.removal.weigh(scale);
        self.renaming.weigh(scale);
    }
}

impl Member {
    /// Whether a call that came after this removal or renaming is of the same life of the cgroup.
    fn is_same_life(&self, case: &Case) -> bool {
        let removed = |removal: &Option<Removal>| removal.as_ref().map(|removal| removal.seq);
        let renamed = |renaming: &Option<Renaming>| renaming.as_ref().map(|renaming| renaming.seq);
        removed(&self.removal) == removed(&case.removal) && renamed(&self.renaming) == renamed(&case.renaming)
    }

    /// Whether a cgroup of another hierarchy lived at the same time. One that is older than the trace may have.
    fn lived_with(&self, removal: &Removal) -> bool {
        let Some(own) = &self.removal else { return true };
        let made_before =
            |one: &Removal, other: &Removal| one.created.as_ref().is_none_or(|created| created.at < other.at);
        made_before(own, removal) && made_before(removal, own)
    }
}

/// A thread group that tried to tear down.
#[derive(Clone, Debug)]
pub(crate) struct Participant {
    /// What it was there for.
    pub job: Job,
    /// What it was asked to do could not be read in time: its job is a guess by its name.
    pub is_unread: bool,
    /// Its first failed removal, or opening for removal.
    pub first: FindingAttempt,
    /// Where that was.
    pub place: Place,
    /// How many calls of the story are its own.
    pub calls: u64,
    /// What it had wanted before its first call of the story, and had failed.
    pub failed_before: Option<FindingAttempt>,
    pub ended: Option<End>,
    /// Its runtime's state file was still there after its end.
    pub state_left: Option<bool>,
}

impl Weigh for Participant {
    fn weigh(&self, scale: &mut Scale) {
        scale.add(2 * size_of::<Self>() + INDEX);
        (&self.first, &self.place).weigh(scale);
        self.failed_before.weigh(scale);
    }
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

    pub fn is(&self, actor: &Actor) -> bool {
        self.first.actor.is_same_process_as(actor)
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
    /// There were more participants than are followed.
    pub has_more: bool,
    /// Among them were some whose end might have said that it hurt.
    pub has_more_that_matter: bool,
    /// When a cgroup of it was last tried to be made in vain.
    failed_creation: Option<BootTime>,
    due: Option<BootTime>,
    told: Option<Told>,
}

/// What was told of a story last, as far as another telling is compared with it.
#[derive(Clone, Debug)]
struct Told {
    revision: u32,
    severity: Severity,
    cause: Cause,
    certainty: Certainty,
    outcome: Outcome,
    actor: Actor,
    hierarchies: usize,
    attempt_count: u64,
    known_issues: Vec<KnownIssue>,
}

impl Told {
    fn of(finding: &Finding) -> Self {
        Self {
            revision: finding.revision,
            severity: finding.severity,
            cause: finding.cause,
            certainty: finding.certainty,
            outcome: finding.outcome.clone(),
            actor: finding.actor.clone(),
            hierarchies: finding.hierarchies,
            attempt_count: finding.attempt_count,
            known_issues: finding.known_issues.clone(),
        }
    }
}

impl Weigh for Story {
    fn weigh(&self, scale: &mut Scale) {
        // Its places in the lists of those that are open and due, and what was told of it, whose actor is a participant.
        scale.add(2 * size_of::<Self>() + 512);
        (&self.began, &self.container).weigh(scale);
        self.kept_calls().for_each(|call| call.weigh(scale));
        self.members.iter().for_each(|member| member.weigh(scale));
        self.participants.iter().for_each(|participant| participant.weigh(scale));
    }
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
            has_more: false,
            has_more_that_matter: false,
            failed_creation: None,
            due: None,
            told: None,
        }
    }

    /// All calls that were kept, in order.
    pub fn kept_calls(&self) -> impl Iterator<Item = &Note> {
        self.first_calls.iter().chain(&self.last_calls)
    }

    fn add_call(&mut self, note: Note, scale: &mut Scale) {
        scale.put(&note);
        self.calls += 1;
        if let Some(participant) = self.participants.iter_mut().find(|who| who.is(&note.attempt.actor)) {
            participant.calls += 1;
        }
        if note.attempt.is_failed_creation() {
            self.failed_creation = self.failed_creation.max(Some(note.attempt.at));
        }
        self.last_at = self.last_at.max(note.attempt.at);
        if self.first_calls.len() < FIRST_CALLS {
            self.first_calls.push(note);
        } else {
            self.last_calls.push_back(note);
            if self.last_calls.len() > LAST_CALLS {
                self.last_calls.pop_front().iter().for_each(|call| scale.take(call));
            }
        }
    }

    fn outcome_is_known(&self) -> bool {
        self.participants.iter().all(|participant| participant.ended.is_some())
    }

    /// Whether a call can be told in this story: on the same life of the same cgroup, or on the same teardown's cgroup in
    /// another hierarchy. `failed_creation` is when its place was last tried to be made in vain by a call that is of no story.
    fn takes(&self, note: &Note, case: &Case, failed_creation: Option<BootTime>) -> bool {
        let call = &note.attempt;
        // Whoever starts a container begins a life of it, and so does whoever failed to make its cgroup since.
        let begins_a_life = case.removal.is_none()
            && (Job::of(&call.actor).is_start() && !self.has(&call.actor)
                || failed_creation.is_some_and(|at| at > self.began.at));
        if begins_a_life {
            return false;
        }
        match self.members.iter().find(|member| member.place == note.place) {
            Some(member) => member.is_same_life(case) && call.at.since(self.last_at) <= STORY_AGE,
            None => {
                let is_elsewhere = self.members.iter().all(|m| m.place.hierarchy != note.place.hierarchy);
                let lived_together = |removal| self.members.iter().all(|member| member.lived_with(removal));
                is_elsewhere
                    && self.members.len() < MEMBERS
                    && call.at.since(self.last_at) <= TOGETHER
                    && case.removal.as_ref().is_none_or(lived_together)
                    && self.is_same_teardown(note, case)
            }
        }
    }

    /// Whether a call in another hierarchy is of the same teardown: of the same path, by somebody who has a part in it, or after
    /// a removal by the same process. An id alone may be another container's, of another runtime.
    fn is_same_teardown(&self, note: &Note, case: &Case) -> bool {
        let remover = |removal: &Option<Removal>| removal.as_ref().and_then(|removal| removal.actor.clone());
        let by_the_same = |member: &Member| match (remover(&member.removal), remover(&case.removal)) {
            (Some(one), Some(other)) => one.is_same_process_as(&other),
            (None, _) | (_, None) => false,
        };
        self.has(&note.attempt.actor)
            || self.members.iter().any(|member| member.place.path == note.place.path || by_the_same(member))
    }

    fn has(&self, actor: &Actor) -> bool {
        self.participants.iter().any(|participant| participant.is(actor))
    }

    fn lasts(&self, actor: &Actor) -> bool {
        self.participants.iter().any(|participant| participant.is(actor) && participant.ended.is_none())
    }

    /// The place of a participant's first call, and what is known of it.
    pub fn member_of(&self, participant: &Participant) -> &Member {
        let member = self.members.iter().find(|member| member.place == participant.place);
        member.or(self.members.first()).expect("a story begins with its first member")
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
    /// v1's hierarchies are told together by who tore down, or whose children did, and the path.
    of_family: HashMap<(Kind, Pid, Name), u64>,
    with_actor: HashMap<Pid, HashSet<u64>>,
    /// Those that a thread group had a part in which has ended: its state is looked for after that.
    with_ended: HashMap<Pid, BTreeSet<u64>>,
    /// The last one of a place that a process has a part in.
    of_actor: HashMap<(Kind, Pid, Place), u64>,
    /// The last failed creation of a story that is closed.
    forgotten_creation: Option<BootTime>,
    scale: Scale,
    /// Those that were closed for want of room.
    pub evicted: u64,
}

impl Stories {
    /// Whether a thread group has a part in a story of `place`.
    pub fn has_participant(&self, place: &Place, actor: &Actor) -> bool {
        self.of(actor, place).is_some()
    }

    /// The last story of a place that a thread group has a part in.
    fn of(&self, actor: &Actor, place: &Place) -> Option<u64> {
        let of_kind = |kind: &Kind| {
            let own = self.of_actor.get(&(*kind, actor.pid, place.clone()));
            [own, self.at_place.get(&(*kind, place.clone()))]
        };
        let all = Kind::ALL.iter().flat_map(of_kind).flatten().copied();
        all.filter(|number| self.stories.get(number).is_some_and(|story| story.has(actor))).max()
    }

    /// The removal that the story of a place came after.
    pub fn removal(&self, place: &Place) -> Option<&Removal> {
        let story = self.stories.get(self.at_place.get(&(Kind::DuplicateTeardown, place.clone()))?)?;
        story.members.iter().find(|member| member.place == *place)?.removal.as_ref()
    }

    /// When a cgroup at the place was last tried to be made in vain, as a story of its never having come to be has it.
    pub fn failed_creation(&self, place: &Place) -> Option<BootTime> {
        let number = self.at_place.get(&(Kind::MissingPathTeardown, place.clone()))?;
        self.stories.get(number)?.failed_creation
    }

    /// When the last failed creation was that is not remembered any more.
    pub fn forgotten_creation(&self) -> Option<BootTime> {
        self.forgotten_creation
    }

    /// Whether there are so many that the oldest must go before it is time to.
    pub fn is_overfull(&self) -> bool {
        self.stories.len() > STORIES || self.scale.bytes() > budget::STORIES
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
        let failed_creation =
            notes.at(&note.place).rev().find(|n| n.attempt.is_failed_creation()).map(|n| n.attempt.at);
        let number = self.find(&note, &case, failed_creation).unwrap_or_else(|| self.open(&note, &case));
        let Some(story) = self.stories.get_mut(&number) else { return };
        let scale = &mut self.scale;
        let actor = note.attempt.actor.clone();
        let place = note.place.clone();
        let at = note.attempt.at;
        let known = story.lasts(&actor);
        let job = Job::of(&actor);
        let is_removal = job == Job::Removal;
        let of_its_kind = |who: &&Participant| (who.job == Job::Removal) == is_removal;
        let has_room = story.participants.iter().filter(of_its_kind).count() < ACTORS;
        if !known && !has_room {
            story.has_more = true;
            story.has_more_that_matter |= !is_removal || case.renaming.is_some();
        }
        if !known && has_room {
            let participant = Participant {
                job,
                is_unread: case.is_unread,
                first: note.attempt.clone(),
                place: place.clone(),
                calls: 0,
                failed_before: case.failed_before.clone(),
                ended: None,
                state_left: None,
            };
            scale.put(&participant);
            story.participants.push(participant);
        }
        if !story.members.iter().any(|member| member.place == place) {
            let member = Member {
                place: place.clone(),
                container: case.container.clone(),
                removal: case.removal.clone(),
                renaming: case.renaming.clone(),
                since: case.since,
            };
            scale.put(&member);
            story.members.push(member);
            let mut earlier: Vec<Note> = match &case.removal {
                Some(_) => notes.take(&place),
                None => context(notes, &place),
            };
            // Before the removal all was well: a look before creation is no part of a duplicate.
            earlier.retain(|note| case.since.is_none_or(|since| note.attempt.at > since));
            earlier.sort_by_key(|note| note.attempt.seq);
            for note in earlier {
                story.add_call(note, scale);
            }
        }
        if story.container.is_none() {
            scale.put(&case.container);
            story.container.clone_from(&case.container);
        }
        story.add_call(note, scale);
        let is_followed = known || has_room;
        let grown = story.told.as_ref().is_some_and(|told| story.calls >= told.attempt_count.saturating_mul(10));
        if story.told.is_none() || !known || grown {
            self.set_due(number, at + PATIENCE);
        }
        self.index(number, &place, &actor, &case, is_followed);
    }

    /// A failed call that decides nothing by itself, but belongs to a story that is being told: returned if it does not.
    pub fn add_context(&mut self, note: Note) -> Option<Note> {
        let own = self.of(&note.attempt.actor, &note.place);
        let Some(story) = own.and_then(|number| self.stories.get_mut(&number)) else { return Some(note) };
        // Whoever tries to make it begins another life.
        let begins_a_life = note.attempt.operation == Operation::Mkdir;
        if begins_a_life || note.attempt.at.since(story.last_at) > TOGETHER {
            return Some(note);
        }
        story.add_call(note, &mut self.scale);
        None
    }

    /// A process ended: the outcome of the stories it has a part in.
    pub fn ended(&mut self, (pid, which): (Pid, Incarnation), end: End) {
        let mut open = self.with_actor.remove(&pid).unwrap_or_default();
        let is_it = |who: &Participant| {
            let actor = &who.first.actor;
            actor.pid == pid && actor.incarnation.is_none_or(|known| known == which)
        };
        for number in open.iter().copied().collect::<BTreeSet<u64>>() {
            let Some(story) = self.stories.get_mut(&number) else { continue };
            for participant in story.participants.iter_mut().filter(|who| is_it(who) && who.ended.is_none()) {
                participant.ended = Some(end);
            }
            let others = story.participants.iter().any(|who| who.first.actor.pid == pid && who.ended.is_none());
            if !others {
                open.remove(&number);
            }
            self.with_ended.entry(pid).or_default().insert(number);
            if story.outcome_is_known() {
                self.set_due(number, end.at + SETTLE);
            }
        }
        if !open.is_empty() {
            self.with_actor.insert(pid, open);
        }
    }

    /// What a process had been asked to do since `since` was told after its first call of a story, or that it stays unknown (`None`).
    pub fn asked(
        &mut self,
        (pid, which): (Pid, Incarnation),
        since: BootTime,
        to: Option<&Arc<Identity>>,
        now: BootTime,
    ) {
        let open = self.with_actor.get(&pid).into_iter().flatten();
        let numbers: BTreeSet<u64> = open.chain(self.with_ended.get(&pid).into_iter().flatten()).copied().collect();
        for number in numbers {
            let Some(story) = self.stories.get_mut(&number) else { continue };
            let is_it = |who: &&mut Participant| {
                let actor = &who.first.actor;
                let is_known = actor.identity.as_ref().is_some_and(|identity| identity.argv.is_some());
                actor.pid == pid && actor.incarnation == Some(which) && !is_known && who.first.at >= since
            };
            let mut is_news = false;
            for participant in story.participants.iter_mut().filter(is_it) {
                is_news = true;
                match to {
                    Some(_) => {
                        participant.job = Job::of(&Actor { identity: to.cloned(), ..participant.first.actor.clone() })
                    }
                    None => participant.is_unread = true,
                }
            }
            if is_news && story.told.is_some() {
                self.set_due(number, now);
            }
        }
    }

    /// It was looked whether a container's state is still there, after the end of a process.
    pub fn state_seen(
        &mut self,
        container: &Name,
        (pid, which): (Pid, Option<Incarnation>),
        present: bool,
        at: BootTime,
    ) {
        let mut changed = Vec::new();
        for number in self.with_ended.get(&pid).into_iter().flatten() {
            let Some(story) = self.stories.get_mut(number) else { continue };
            if story.container.as_ref().is_some_and(|known| known.id != *container) {
                continue;
            }
            let is_it = |who: &&mut Participant| {
                who.first.actor.pid == pid && which.is_none_or(|which| who.first.actor.incarnation == Some(which))
            };
            for participant in story.participants.iter_mut().filter(is_it) {
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
        let is_overfull = self.is_overfull();
        while is_overfull && (self.stories.len() > STORIES / 4 * 3 || self.scale.bytes() > budget::STORIES / 4 * 3) {
            let Some(first) = self.stories.keys().next().copied() else { break };
            self.evicted += 1;
            untold.extend(self.close(first).filter(|story| story.told.is_none()));
        }
        let open = &self.stories;
        self.at_place.retain(|_, number| open.contains_key(number));
        self.of_container.retain(|_, number| open.contains_key(number));
        self.of_family.retain(|_, number| open.contains_key(number));
        self.of_actor.retain(|_, number| open.contains_key(number));
        self.with_actor.retain(|_, numbers| {
            numbers.retain(|number| open.contains_key(number));
            !numbers.is_empty()
        });
        self.with_ended.retain(|_, numbers| {
            numbers.retain(|number| open.contains_key(number));
            !numbers.is_empty()
        });
        untold
    }

    fn close(&mut self, number: u64) -> Option<Story> {
        let story = self.stories.remove(&number)?;
        self.scale.take(&story);
        self.forgotten_creation = self.forgotten_creation.max(story.failed_creation);
        if let Some(at) = story.due {
            self.due.remove(&(at, number));
        }
        Some(story)
    }

    fn find(&self, note: &Note, case: &Case, failed_creation: Option<BootTime>) -> Option<u64> {
        let at_place = self.at_place.get(&(case.kind, note.place.clone()));
        let of_container =
            case.container.as_ref().and_then(|container| self.of_container.get(&(case.kind, container.id.clone())));
        let own = self.of_actor.get(&(case.kind, note.attempt.actor.pid, note.place.clone()));
        let family = family(&note.attempt.actor);
        let of_family = family.filter_map(|pid| self.of_family.get(&(case.kind, pid, note.place.path.clone())));
        own.into_iter()
            .chain(at_place)
            .chain(of_container)
            .chain(of_family)
            .copied()
            .find(|number| self.stories.get(number).is_some_and(|story| story.takes(note, case, failed_creation)))
    }

    fn open(&mut self, note: &Note, case: &Case) -> u64 {
        let number = self.next;
        self.next += 1;
        let story = Story::new(note, case);
        self.scale.put(&story);
        self.stories.insert(number, story);
        number
    }

    /// Whoever has no part in the story is led to it by its place alone.
    fn index(&mut self, number: u64, place: &Place, actor: &Actor, case: &Case, is_followed: bool) {
        self.at_place.insert((case.kind, place.clone()), number);
        if let Some(container) = &case.container {
            self.of_container.insert((case.kind, container.id.clone()), number);
        }
        if !is_followed {
            return;
        }
        let of_actor = self.of_actor.entry((case.kind, actor.pid, place.clone())).or_default();
        *of_actor = number.max(*of_actor);
        self.with_actor.entry(actor.pid).or_default().insert(number);
        // cgroup2 is one hierarchy: there is nothing to be told together.
        if place.hierarchy != HierarchyId(0) {
            for pid in family(actor) {
                self.of_family.insert((case.kind, pid, place.path.clone()), number);
            }
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
    pub fn revise(&mut self, finding: Finding) -> Option<Finding> {
        let mut finding = self.still_recognised(finding);
        if let Some(told) = &self.told {
            let grown = finding.attempt_count >= told.attempt_count.saturating_mul(10);
            let same = told.severity == finding.severity
                && told.cause == finding.cause
                && told.certainty == finding.certainty
                && told.outcome == finding.outcome
                && told.actor.is_same_process_as(&finding.actor)
                && told.hierarchies == finding.hierarchies;
            if same && !grown {
                return None;
            }
            finding.revision = told.revision + 1;
        }
        self.told = Some(Told::of(&finding));
        Some(finding)
    }

    /// The last word at the end of the trace: anything that is not in the last revision, the count included.
    pub fn conclude(&mut self, finding: Finding) -> Option<Finding> {
        if let Some(told) = &self.told
            && told.attempt_count != finding.attempt_count
        {
            let revision = told.revision + 1;
            return Some(Finding { revision, ..self.still_recognised(finding) });
        }
        self.revise(finding)
    }

    /// A known problem stays recognised while the claim is the same: the process whose exit told it may be forgotten by now.
    fn still_recognised(&self, mut finding: Finding) -> Finding {
        let same = |told: &&Told| told.cause == finding.cause && told.severity == finding.severity;
        if let Some(told) = self.told.as_ref().filter(same).filter(|_| finding.known_issues.is_empty()) {
            finding.known_issues.clone_from(&told.known_issues);
        }
        finding
    }
}

/// A process and the one that made it: a script removes a container's cgroup in each hierarchy by a process of its own.
/// Init adopts strangers, and makes no family of them.
fn family(actor: &Actor) -> impl Iterator<Item = Pid> {
    let parent = actor.parent().map(|parent| parent.pid).filter(|pid| *pid != Pid(1));
    std::iter::once(actor.pid).chain(parent)
}

/// The failed calls at `place`, and those of the same actors on the control files of the cgroup around it shortly
/// before they tried to make this one: runc tries to enable controllers there first.
fn context(notes: &mut Notes, place: &Place) -> Vec<Note> {
    let mut calls: Vec<Note> = notes.take(place);
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
        calls.extend(notes.at(&parent).filter(|note| note.file.is_some() && by_a_maker(&note.attempt)).cloned());
    }
    calls
}
