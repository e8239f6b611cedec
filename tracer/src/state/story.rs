//! A story: the failed calls and the events that belong together, told as one finding.
//!
//! Data. What begins one, what joins it and what it means is for the rule of its kind, in [`crate::rules`]; where the
//! open ones are kept is [`super::Stories`].

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::notes::{Note, Notes};
use super::place::{Existing, Place, Removal};
use super::renamings::Renaming;
use super::settings::Set;
use crate::budget::{Scale, Weigh, slot, weigh};
use crate::container::Container;
use crate::control::Setting;
use crate::errno::Errno;
use crate::findings::{Cause, Certainty, Finding, FindingAttempt, Job, Kind, KnownIssue, Outcome, Severity};
use crate::hash::fnv1a;
use crate::input::{
    Actor, BootTime, Change, Circumstances, Exit, HierarchyId, Identity, Occupants, Pid, Seq, Stuck, Task,
};
use crate::name::Name;

/// Of a story's calls the first and the last ones are kept.
pub(crate) const FIRST_CALLS: usize = 24;
const LAST_CALLS: usize = 8;
/// Of the events that a story began or went on with, so many are named.
const EVENTS: usize = 8;
/// Settings of one story that are told of at most.
const OVERWRITTEN: usize = 16;
/// Different actors of one story that are followed: of those that remove what they are given, and of all others.
const ACTORS: usize = 64;
/// Cgroups that one story is told of at most: a kernel has a dozen hierarchies.
const MEMBERS: usize = 64;
/// After the last actor's end: time for calls in v1's other hierarchies, and for whoever makes it good at once.
pub(crate) const SETTLES: Duration = Duration::from_millis(100);
/// What a participant, or a member, takes in the tables that lead to its story, besides its place.
const INDEX: usize = 6 * slot(size_of::<(Pid, Place, [u64; 3])>()) + 512;

/// How the stories of a kind go.
#[derive(Debug)]
pub(crate) struct Course {
    /// Whether a story goes on with what could begin one; else it is another story.
    pub joins: fn(&Story, &Moment, &Case, &Notes) -> bool,
    /// Whether a failed call that decides nothing by itself belongs to a story, of whose place it is and whose actor
    /// has a part in it.
    pub gathers: fn(&Story, &Note) -> bool,
    /// A story whose outcome is not known is judged after this.
    pub patience: Duration,
    /// One whose outcome is known is judged so long after the end of the last who take part: others may still join, or
    /// make it good.
    pub settles: Duration,
    /// Until when it is too early to tell of it for the first time: what went wrong may still be made good. Asked when
    /// it falls due.
    pub waits: fn(&Story) -> Option<BootTime>,
    /// Events on its cgroup that what was told is judged anew for.
    pub follows: &'static [Change],
    /// Whether a finding says something that what was told last did not.
    pub is_news: fn(&Told, &Finding) -> bool,
}

/// What a story begins or goes on with.
#[derive(Clone, Debug)]
pub(crate) enum Moment {
    /// A failed call.
    Call(Note),
    /// An event, or what was still so when a deadline fell due after it.
    Event {
        /// The event's line.
        seq: Seq,
        at: BootTime,
        /// When it came to this: at the event, or at the deadline.
        since: BootTime,
        place: Place,
        /// Who the story is about. `None` if nobody in particular did anything.
        actor: Option<Actor>,
    },
}

impl Moment {
    pub fn at(&self) -> BootTime {
        match self {
            Self::Call(note) => note.attempt.at,
            Self::Event { at, .. } => *at,
        }
    }

    /// When it came to this, which may be long after the event that gave reason for it.
    pub fn since(&self) -> BootTime {
        match self {
            Self::Call(note) => note.attempt.at,
            Self::Event { since, .. } => *since,
        }
    }

    pub fn place(&self) -> &Place {
        match self {
            Self::Call(note) => &note.place,
            Self::Event { place, .. } => place,
        }
    }

    pub fn actor(&self) -> Option<&Actor> {
        match self {
            Self::Call(note) => Some(&note.attempt.actor),
            Self::Event { actor, .. } => actor.as_ref(),
        }
    }
}

/// What a rule makes of a failed call, an event or a deadline.
#[derive(Clone, Debug, Default)]
pub(crate) struct Case {
    /// The cgroup. `None` if there is none.
    pub existing: Option<Existing>,
    /// The removal that came first.
    pub removal: Option<Removal>,
    /// The renaming that took the path away, or gave it to a cgroup that had been removed.
    pub renaming: Option<Renaming>,
    /// When the last life of a cgroup at the place was over, or this one began, if that was seen: earlier calls were
    /// about something else.
    pub since: Option<BootTime>,
    pub container: Option<Arc<Container>>,
    /// The runtime that is done with the container: what it does in the story it has done.
    pub done: Option<Done>,
    /// What else was seen that it follows from.
    pub seen: Vec<Seq>,
    /// The path that whoever made the call had wanted first: it tries others when that is taken.
    pub wanted: Option<Name>,
    /// It is about what was removed below the place: what was tried at the place itself is about something else.
    pub is_below: bool,
    /// Where the cgroup is that it is about, if that is not the one that the event was on.
    pub place: Option<Place>,
    /// What somebody undid that another one had done.
    pub undone: Option<Box<Undone>>,
    /// It is about this call and those that fail like it: what was tried at the place before is about something else,
    /// and other stories are told of the call as well.
    pub is_alone: bool,
    /// The call that does not return, or has after all.
    pub stuck: Option<Arc<Stuck>>,
}

/// What somebody undid that another one had done.
#[derive(Clone, Debug)]
pub(crate) enum Undone {
    Moved(MovedOut),
    /// The first ones, each setting once.
    Overwritten(Vec<Overwritten>),
    Removed(RemovedUnused),
}

/// A value of a control file that somebody else had set.
#[derive(Clone, Debug)]
pub(crate) struct Overwritten {
    pub what: Setting,
    pub before: Set,
    pub now: Set,
}

/// A cgroup that was removed before its maker had put anybody into it.
#[derive(Clone, Debug)]
pub(crate) struct RemovedUnused {
    pub maker: Actor,
    pub at: BootTime,
}

weigh! {
    Overwritten: before, now;
}

/// A process that was moved out of a container's cgroup.
#[derive(Clone, Debug)]
pub(crate) struct MovedOut {
    pub task: Task,
    /// Where to.
    pub to: Name,
    pub at: BootTime,
    /// Who had put it there, and when. `None` if that was not seen: it was the last one in the cgroup.
    pub placed: Option<(Actor, BootTime)>,
}

impl Weigh for Undone {
    fn weigh(&self, scale: &mut Scale) {
        match self {
            Self::Moved(moved) => {
                let by = moved.placed.as_ref().map(|(actor, _)| actor);
                ((&moved.task.comm, &moved.to), by).weigh(scale);
            }
            Self::Overwritten(all) => all.weigh(scale),
            Self::Removed(removed) => removed.maker.weigh(scale),
        }
    }
}

/// What is known of whoever takes part in a story, when it does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// What it had wanted before, and had failed.
    pub failed_before: Option<FindingAttempt>,
    /// What it was asked to do could not be read in time.
    pub is_unread: bool,
}

/// One cgroup (on v1 one of several) that a story is about.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub place: Place,
    /// The cgroup. `None` if there was none.
    pub existing: Option<Existing>,
    /// The container that it belongs to.
    pub container: Option<Arc<Container>>,
    pub removal: Option<Removal>,
    pub renaming: Option<Renaming>,
    /// When the life before was over, if that was seen: there was nothing then.
    pub since: Option<BootTime>,
    /// Who was found in it last, after a removal was refused because it is in use.
    pub found: Option<Found>,
    /// What it was like after the first of the story's calls that it was looked at for.
    pub circumstances: Option<(Seq, Box<Circumstances>)>,
    /// The story is about what was removed below the place.
    pub is_below: bool,
}

/// Who was found in a cgroup.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub seq: Seq,
    /// When the list was read.
    pub at: BootTime,
    /// When somebody had last come into it, as far as that was seen.
    pub joined: Option<BootTime>,
    pub occupants: Occupants,
}

weigh! { Found: occupants; }

impl Weigh for Member {
    fn weigh(&self, scale: &mut Scale) {
        scale.add(2 * size_of::<Self>() + INDEX);
        self.place.weigh(scale);
        self.container.weigh(scale);
        self.removal.weigh(scale);
        self.renaming.weigh(scale);
        self.found.weigh(scale);
        self.circumstances.as_ref().map(|(_, circumstances)| circumstances).weigh(scale);
    }
}

impl Member {
    /// Whether what happens now is of the same life of the cgroup.
    pub fn is_same_life(&self, case: &Case) -> bool {
        let removed = |removal: &Option<Removal>| removal.as_ref().map(|removal| removal.seq);
        let renamed = |renaming: &Option<Renaming>| renaming.as_ref().map(|renaming| renaming.seq);
        self.existing == case.existing
            && removed(&self.removal) == removed(&case.removal)
            && renamed(&self.renaming) == renamed(&case.renaming)
    }

    /// Whether a cgroup of another hierarchy lived at the same time. One that is older than the trace may have.
    fn lived_with(&self, removal: &Removal) -> bool {
        let Some(own) = &self.removal else { return true };
        let made_before =
            |one: &Removal, other: &Removal| one.created.as_ref().is_none_or(|created| created.at < other.at);
        made_before(own, removal) && made_before(removal, own)
    }
}

/// A thread group that has a part in a story: it tried, or it did what the story began with.
#[derive(Clone, Debug)]
pub(crate) struct Participant {
    pub actor: Actor,
    /// When it first did something in the story.
    pub at: BootTime,
    /// How the call failed that it did. `None` if it was no call.
    pub errno: Option<Errno>,
    /// What it was there for.
    pub job: Job,
    /// What it was asked to do could not be read in time: its job is a guess by its name.
    pub is_unread: bool,
    /// Where it first did something.
    pub place: Place,
    /// How many calls of the story are its own.
    pub calls: u64,
    /// What it had wanted before that, and had failed.
    pub failed_before: Option<FindingAttempt>,
    pub ended: Option<End>,
    /// Its runtime's state file was still there after its end.
    pub state_left: Option<bool>,
    /// Why it failed, as its own log says.
    pub said: Option<Name>,
}

impl Weigh for Participant {
    fn weigh(&self, scale: &mut Scale) {
        scale.add(2 * size_of::<Self>() + INDEX);
        (&self.actor, &self.place).weigh(scale);
        (&self.failed_before, &self.said).weigh(scale);
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

/// A runtime is done with a container.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    /// The process that was: the container's state was gone after its end.
    pub actor: Actor,
    pub end: End,
    /// Since when a removal of its cgroups is one of its teardown.
    pub since: BootTime,
    /// What told that the state was gone.
    pub state: Seq,
}

weigh! { Done: actor; }

impl Participant {
    pub fn exit(&self) -> Option<Exit> {
        self.ended.and_then(|end| end.exit)
    }

    pub fn is(&self, actor: &Actor) -> bool {
        self.actor.is_same_process_as(actor)
    }

    /// What it was asked to do is told after it first did something, or that it stays unknown (`None`).
    pub fn asked(&mut self, to: Option<&Arc<Identity>>) {
        match to {
            Some(_) => self.job = Job::of(&Actor { identity: to.cloned(), ..self.actor.clone() }),
            None => self.is_unread = true,
        }
    }
}

/// What belongs together.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub kind: Kind,
    pub course: &'static Course,
    pub members: Vec<Member>,
    pub container: Option<Arc<Container>>,
    pub began: BootTime,
    pub last_at: BootTime,
    pub first_calls: Vec<Note>,
    pub last_calls: VecDeque<Note>,
    pub calls: u64,
    /// The events that it began or went on with, the first ones.
    pub events: Vec<Seq>,
    /// How often it came to such an event.
    pub times: u64,
    /// What it began with, if somebody undid what another one had done.
    pub undone: Option<Box<Undone>>,
    /// The call that does not return, or has after all; with what it waited for while it had not.
    pub stuck: Option<Arc<Stuck>>,
    pub participants: Vec<Participant>,
    /// There were more participants than are followed.
    pub has_more: bool,
    /// It is about one call and those that fail like it alone.
    pub is_alone: bool,
    /// Among them were some whose end might have said that it hurt.
    pub has_more_that_matter: bool,
    /// When a cgroup of it was last tried to be made in vain.
    pub failed_creation: Option<BootTime>,
    /// Nothing is added any more: what is told now is the last word.
    pub is_over: bool,
    /// Nothing was added since it was judged last.
    pub is_settled: bool,
    /// It had to be told for the first time when what went wrong could still be made good.
    pub is_cut_short: bool,
    pub told: Option<Told>,
}

/// What was told of a story last, as far as another telling is compared with it.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub revision: u32,
    pub severity: Severity,
    pub cause: Cause,
    pub certainty: Certainty,
    pub outcome: Outcome,
    pub actor: Option<Actor>,
    pub hierarchies: usize,
    pub attempt_count: u64,
    /// How many lines told so.
    pub evidence: usize,
    pub known_issues: Vec<KnownIssue>,
    /// How often it had come to an event of the story.
    pub times: u64,
    /// The sentence, hashed.
    pub summary: u64,
}

impl Told {
    fn of(finding: &Finding, times: u64) -> Self {
        Self {
            revision: finding.revision,
            severity: finding.severity,
            cause: finding.cause,
            certainty: finding.certainty,
            outcome: finding.outcome.clone(),
            actor: finding.actor.clone(),
            hierarchies: finding.hierarchies,
            attempt_count: finding.attempt_count,
            evidence: finding.evidence.len(),
            known_issues: finding.known_issues.clone(),
            times,
            summary: fnv1a(finding.summary.as_bytes()),
        }
    }

    /// Whether the sentence is another one.
    pub fn says_otherwise(&self, finding: &Finding) -> bool {
        self.summary != fnv1a(finding.summary.as_bytes())
    }

    /// Whether there are so many more calls now that it is worth another word.
    pub fn is_outgrown(&self, attempt_count: u64) -> bool {
        attempt_count >= self.attempt_count.saturating_mul(10).max(1)
    }
}

impl Weigh for Story {
    fn weigh(&self, scale: &mut Scale) {
        // Its places in the lists of those that are open and due, and what was told of it, whose actor is a
        // participant.
        scale.add(2 * size_of::<Self>() + 512);
        (&self.container, &self.undone).weigh(scale);
        self.stuck.weigh(scale);
        self.kept_calls().for_each(|call| call.weigh(scale));
        self.members.iter().for_each(|member| member.weigh(scale));
        self.participants.iter().for_each(|participant| participant.weigh(scale));
    }
}

impl Story {
    pub fn new(kind: Kind, course: &'static Course, at: BootTime, case: &Case) -> Self {
        Self {
            kind,
            course,
            members: Vec::new(),
            container: case.container.clone(),
            began: at,
            last_at: at,
            first_calls: Vec::new(),
            last_calls: VecDeque::new(),
            calls: 0,
            events: Vec::new(),
            times: 0,
            undone: case.undone.clone(),
            stuck: case.stuck.clone(),
            participants: Vec::new(),
            has_more: false,
            has_more_that_matter: false,
            is_alone: case.is_alone,
            failed_creation: None,
            is_over: false,
            is_settled: false,
            is_cut_short: false,
            told: None,
        }
    }

    /// All calls that were kept, in order.
    pub fn kept_calls(&self) -> impl Iterator<Item = &Note> {
        self.first_calls.iter().chain(&self.last_calls)
    }

    /// Somebody does something in it that has no part in it that lasts. Returns whether it has one from now on.
    pub fn enter(&mut self, moment: &Moment, case: &Case, caller: Caller, scale: &mut Scale) -> bool {
        let Some(actor) = moment.actor() else { return false };
        let job = Job::of(actor);
        let is_removal = job == Job::Removal;
        let of_its_kind = |who: &&Participant| (who.job == Job::Removal) == is_removal;
        if self.participants.iter().filter(of_its_kind).count() >= ACTORS {
            self.has_more = true;
            self.has_more_that_matter |= !is_removal || case.renaming.is_some();
            return false;
        }
        let participant = Participant {
            actor: actor.clone(),
            at: moment.at(),
            errno: match moment {
                Moment::Call(note) => Some(note.attempt.errno),
                Moment::Event { .. } => None,
            },
            job,
            is_unread: caller.is_unread,
            place: moment.place().clone(),
            calls: 0,
            failed_before: caller.failed_before,
            ended: case.done.as_ref().map(|done| done.end),
            state_left: case.done.as_ref().map(|_| false),
            said: None,
        };
        scale.put(&participant);
        self.participants.push(participant);
        true
    }

    /// The cgroup is one that the story is about, and the failed calls on it from before, if it was not. Of very many
    /// that somebody tries the first ones are.
    pub fn include(&mut self, place: &Place, case: &Case, notes: &mut Notes, scale: &mut Scale) {
        if self.has_room() && self.member_at(place).is_none() {
            let member = Member {
                place: place.clone(),
                existing: case.existing,
                container: case.container.clone(),
                removal: case.removal.clone(),
                renaming: case.renaming.clone(),
                since: case.since,
                found: None,
                circumstances: None,
                is_below: case.is_below,
            };
            scale.put(&member);
            self.members.push(member);
            case.seen.iter().for_each(|seq| self.add_event(*seq));
            let mut earlier: Vec<Note> = match &case.removal {
                _ if case.is_below || case.is_alone => Vec::new(),
                Some(_) => notes.take(place),
                None => notes.take_with_context(place),
            };
            // Before the removal all was well: a look before creation is no part of a duplicate.
            earlier.retain(|note| case.since.is_none_or(|since| note.attempt.at > since));
            earlier.sort_by_key(|note| note.attempt.seq);
            for note in earlier {
                self.add_call(note, scale);
            }
        }
        if self.container.is_none() {
            scale.put(&case.container);
            self.container.clone_from(&case.container);
        }
    }

    /// Whether so much was added since it was told that it is worth another word.
    pub fn is_outgrown(&self) -> bool {
        let told = self.told.as_ref();
        told.is_some_and(|told| told.is_outgrown(self.calls) || self.times >= told.times.saturating_mul(10).max(1))
    }

    /// More is undone in it: other settings than those that it is about already.
    pub fn undo(&mut self, case: &Case, scale: &mut Scale) {
        let (Some(own), Some(case)) = (&mut self.undone, &case.undone) else { return };
        let (Undone::Overwritten(all), Undone::Overwritten(more)) = (own.as_mut(), case.as_ref()) else { return };
        scale.take(&*all);
        for one in more {
            if all.len() < OVERWRITTEN && all.iter().all(|known| known.what != one.what) {
                all.push(one.clone());
            }
        }
        scale.put(&*all);
    }

    /// It goes on.
    pub fn add(&mut self, moment: Moment, scale: &mut Scale) {
        match moment {
            Moment::Call(note) => self.add_call(note, scale),
            Moment::Event { seq, since, .. } => {
                self.last_at = self.last_at.max(since);
                self.times += 1;
                self.add_event(seq);
            }
        }
    }

    /// The call that it is about has returned. Returns whether that is so.
    pub fn returned(&mut self, case: &Case, scale: &mut Scale) -> bool {
        let (Some(before), Some(now)) = (&self.stuck, &case.stuck) else { return false };
        if now.took_ns.is_none() || before.took_ns.is_some() {
            return false;
        }
        let (waits_in, exiting) = (before.waits_in.clone(), before.exiting.clone());
        let now = Arc::new(Stuck { waits_in, exiting, ..(**now).clone() });
        scale.take(&self.stuck);
        self.stuck = Some(now);
        scale.put(&self.stuck);
        true
    }

    fn add_event(&mut self, seq: Seq) {
        if self.events.len() < EVENTS {
            self.events.push(seq);
        }
    }

    pub fn add_call(&mut self, note: Note, scale: &mut Scale) {
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

    /// Whether everybody who has a part in it has ended. Where nobody has one, nothing is waited for.
    pub fn outcome_is_known(&self) -> bool {
        self.participants.iter().all(|participant| participant.ended.is_some())
    }

    /// Until when it is too early to tell of it. `None` once it was told, or if nothing is waited for.
    pub fn waits(&self, now: BootTime) -> Option<BootTime> {
        (self.course.waits)(self).filter(|until| self.told.is_none() && *until > now)
    }

    /// In how many hierarchies its cgroups are.
    pub fn hierarchies(&self) -> usize {
        let all: BTreeSet<HierarchyId> = self.members.iter().map(|member| member.place.hierarchy).collect();
        all.len()
    }

    /// Whether it can be told of one more cgroup.
    pub fn has_room(&self) -> bool {
        self.members.len() < MEMBERS
    }

    /// How long after the end of all who take part it is judged. On v1 a teardown goes from hierarchy to hierarchy,
    /// maybe with a process for each.
    pub fn settles(&self) -> Duration {
        let is_v1 = self.members.iter().any(|member| member.place.hierarchy != HierarchyId(0));
        if is_v1 { self.course.settles.max(SETTLES) } else { self.course.settles }
    }

    /// Whether it can be told in another hierarchy, too, of a cgroup that was there at the same time.
    pub fn has_room_for(&self, hierarchy: HierarchyId, removal: Option<&Removal>) -> bool {
        let is_elsewhere = self.members.iter().all(|member| member.place.hierarchy != hierarchy);
        let lived_together = |removal| self.members.iter().all(|member| member.lived_with(removal));
        is_elsewhere && self.has_room() && removal.is_none_or(lived_together)
    }

    /// Whether it was told, and calls were added since.
    pub fn has_grown(&self) -> bool {
        self.told.as_ref().is_some_and(|told| told.attempt_count != self.calls)
    }

    pub fn has(&self, actor: &Actor) -> bool {
        self.participants.iter().any(|participant| participant.is(actor))
    }

    /// Whether a process has a part in it, and has not ended.
    pub fn lasts(&self, actor: &Actor) -> bool {
        self.participants.iter().any(|participant| participant.is(actor) && participant.ended.is_none())
    }

    pub fn member_at(&self, place: &Place) -> Option<&Member> {
        self.members.iter().find(|member| member.place == *place)
    }

    /// Where a participant first did something, and what is known of that; without one, where the story began.
    pub fn member_of(&self, participant: Option<&Participant>) -> &Member {
        let own = participant.and_then(|participant| self.member_at(&participant.place));
        own.or(self.members.first()).expect("a story begins with its first member")
    }

    /// Who was found in one of its cgroups, if somebody was refused because it is in use, or failed for no reason that
    /// a call tells. Returns whether that is so.
    pub fn found(&mut self, found: &Found, scale: &mut Scale) -> bool {
        let may_be_why = |participant: &Participant| matches!(participant.errno, Some(Errno::EBUSY) | None);
        if !self.participants.iter().any(may_be_why) {
            return false;
        }
        let Occupants { hierarchy, id, .. } = found.occupants;
        let is_it = |member: &&mut Member| {
            member.place.hierarchy == hierarchy && member.existing.is_some_and(|existing| existing.id == id)
        };
        let mut is_news = false;
        for member in self.members.iter_mut().filter(is_it) {
            scale.take(&member.found);
            member.found = Some(found.clone());
            scale.put(&member.found);
            is_news = true;
        }
        is_news
    }

    /// What the cgroup was like that one of its calls had failed on.
    pub fn circumstances(&mut self, seq: Seq, said: &Circumstances, scale: &mut Scale) {
        let level = said.levels.first();
        let is_about = |note: &Note| {
            note.attempt.actor.pid == said.pid && note.file == said.file && note.place.hierarchy == said.hierarchy
        };
        let is_it = |member: &Member| {
            let id = member.existing.map(|existing| existing.id);
            level.is_some_and(|level| level.path == member.place.path && (level.id.is_none() || level.id == id))
        };
        if !self.kept_calls().any(is_about) {
            return;
        }
        for member in self.members.iter_mut().filter(|member| is_it(member) && member.circumstances.is_none()) {
            member.circumstances = Some((seq, Box::new(said.clone())));
            scale.put(&member.circumstances.as_ref().map(|(_, said)| said));
        }
    }

    /// Numbers the finding, and returns it if it says something that the last revision did not. The last word of all is
    /// anything that is not in the last revision, the count included.
    pub fn revise(&mut self, finding: Finding) -> Option<Finding> {
        let mut finding = self.still_recognised(finding);
        if let Some(told) = &self.told {
            let is_last_word = self.is_over && self.has_grown();
            // It was judged by all that had been lost by then: what was lost later is no part of it.
            let certainty = if self.is_settled { finding.certainty } else { told.certainty };
            let told = Told { certainty, ..told.clone() };
            if !is_last_word && !(self.course.is_news)(&told, &finding) {
                return None;
            }
            finding.revision = told.revision + 1;
        }
        self.told = Some(Told::of(&finding, self.times));
        Some(finding)
    }

    /// A known problem stays recognised while the claim is the same: the process whose exit told it may be forgotten by
    /// now.
    fn still_recognised(&self, mut finding: Finding) -> Finding {
        let same = |told: &&Told| told.cause == finding.cause && told.severity == finding.severity;
        if let Some(told) = self.told.as_ref().filter(same).filter(|_| finding.known_issues.is_empty()) {
            finding.known_issues.clone_from(&told.known_issues);
        }
        finding
    }
}
