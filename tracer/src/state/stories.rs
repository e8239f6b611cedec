//! The stories that are open, how they are found, and what falls due: a story that is to be judged, or a deadline that
//! a rule asked for.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::cgroups::Key;
use super::notes::{Note, Notes};
use super::place::{Place, Removal};
use super::story::{Caller, Case, Course, End, Found, Moment, Story};
use crate::budget::{self, Scale, Table, weigh};
use crate::findings::{Finding, Kind};
use crate::input::{Actor, BootTime, Change, Circumstances, HierarchyId, Identity, Incarnation, Pid, Seq};
use crate::name::Name;
use crate::recent::Recent;

/// What happens in another hierarchy, or is done by the same process, belongs to a story that is no older.
pub(crate) const TOGETHER: Duration = Duration::from_secs(10);
/// A story that nothing was added to for so long is closed; a new failure starts a new one.
pub(crate) const STORY_AGE: Duration = Duration::from_secs(10 * 60);
/// Stories kept at most. When there are more, or they take more than their share, the oldest are told and closed until
/// a quarter is free.
const STORIES: usize = 4_096;
/// Deadlines kept at most; the one that was asked for longest ago goes first. Each is gone when it falls due.
const DEADLINES: usize = 16_384;

/// A rule wants to know what is true of a cgroup by then, which an event gave reason for.
#[derive(Clone, Debug)]
pub(crate) struct Deadline {
    pub kind: Kind,
    pub cgroup: Key,
    /// The event's line.
    pub seq: Seq,
    /// When the event was.
    pub since: BootTime,
    /// Where the cgroup was then.
    pub place: Place,
    /// When it falls due.
    pub due: BootTime,
}

/// Whose deadline: a kind has one for a cgroup, the last that it asked for.
type Asked = (Kind, Key);

weigh! { Deadline: place; }

/// What falls due, in this order of two at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ticket {
    Deadline(Asked),
    Story(u64),
}

/// What has fallen due.
#[derive(Debug)]
pub(crate) enum Due {
    /// A story is to be judged, and to be given back with [`Stories::give_back`]. Without a number it is one that is
    /// closed.
    Story(Option<u64>, Box<Story>),
    Deadline(Deadline),
}

/// The last story of each kind that something leads to.
#[derive(Clone, Debug, Default)]
struct Latest(Vec<(Kind, u64)>);

impl Latest {
    fn of(&self, kind: Kind) -> Option<u64> {
        self.0.iter().find(|(of, _)| *of == kind).map(|(_, number)| *number)
    }

    fn numbers(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|(_, number)| *number)
    }

    fn set(&mut self, kind: Kind, number: u64) {
        match self.0.iter_mut().find(|(of, _)| *of == kind) {
            Some((_, known)) => *known = number,
            None => self.0.push((kind, number)),
        }
    }

    /// Drops what is not open. Returns whether anything is left.
    fn retain(&mut self, open: &BTreeMap<u64, Box<Story>>) -> bool {
        self.0.retain(|(_, number)| open.contains_key(number));
        !self.0.is_empty()
    }
}

/// All stories that are not closed.
#[derive(Debug)]
pub(crate) struct Stories {
    open: BTreeMap<u64, Box<Story>>,
    /// Closed, with a last word to be said.
    leaving: VecDeque<Box<Story>>,
    next: u64,
    due: BTreeSet<(BootTime, Ticket)>,
    /// When each open story is due.
    due_of: Table<u64, BootTime>,
    deadlines: Recent<Asked, Deadline>,
    at_place: Table<Place, Latest>,
    /// Those that are to be judged for what happens to a cgroup.
    follow: Table<Key, Latest>,
    /// By the container and the last name of the path: a cgroup within the container's own has a story of its own.
    of_container: Table<(Name, Name), Latest>,
    /// v1's hierarchies are told together by who tore down, or whose children did, and the path. `None` if nobody did
    /// anything. So are the names that somebody tries one after the other, by the first of them.
    of_family: Table<(Option<Pid>, Name), Latest>,
    /// The last one of a place that a process has a part in.
    of_actor: Table<(Pid, Place), Latest>,
    with_actor: Table<Pid, HashSet<u64>>,
    /// Those that a thread group had a part in which has ended: its state is looked for after that.
    with_ended: Table<Pid, BTreeSet<u64>>,
    /// The last failed creation of a story that is closed.
    forgotten_creation: Option<BootTime>,
    scale: Scale,
    /// Those that were closed for want of room.
    evicted: u64,
}

impl Default for Stories {
    fn default() -> Self {
        Self {
            open: BTreeMap::new(),
            leaving: VecDeque::new(),
            next: 0,
            due: BTreeSet::new(),
            due_of: Table::default(),
            deadlines: Recent::new(DEADLINES, budget::DEADLINES),
            at_place: Table::default(),
            follow: Table::default(),
            of_container: Table::default(),
            of_family: Table::default(),
            of_actor: Table::default(),
            with_actor: Table::default(),
            with_ended: Table::default(),
            forgotten_creation: None,
            scale: Scale::default(),
            evicted: 0,
        }
    }
}

impl Stories {
    /// Stories that were closed, and deadlines that were dropped, for want of room.
    pub fn evicted(&self) -> u64 {
        self.evicted + self.deadlines.evicted
    }

    /// Whether a thread group has a part in a story of `place`, of another kind than those that are about one call
    /// alone.
    pub fn has_participant(&self, place: &Place, actor: &Actor) -> bool {
        self.of(actor, place, |story| !story.is_alone).is_some()
    }

    /// The last story of a place that a thread group has a part in, and that is like that.
    fn of(&self, actor: &Actor, place: &Place, is: impl Fn(&Story) -> bool) -> Option<u64> {
        if self.open.is_empty() {
            return None;
        }
        let own = self.of_actor.get(&(actor.pid, place.clone()));
        let all = own.into_iter().chain(self.at_place.get(place)).flat_map(Latest::numbers);
        all.filter(|number| self.open.get(number).is_some_and(|story| story.has(actor) && is(story))).max()
    }

    /// The last story of each kind at a place.
    fn at(&self, place: &Place) -> impl Iterator<Item = &Story> {
        let numbers = self.at_place.get(place).into_iter().flat_map(Latest::numbers);
        numbers.filter_map(|number| self.open.get(&number)).map(Box::as_ref)
    }

    /// The removal that a story of a place came after.
    pub fn removal(&self, place: &Place) -> Option<&Removal> {
        self.at(place).find_map(|story| story.member_at(place)?.removal.as_ref())
    }

    /// Whether another story is about what came after that removal: of those that are open, or have a last word to be
    /// said.
    pub fn tell_of(&self, place: &Place, removal: Seq) -> bool {
        let is_it = |story: &Story| {
            let own = story.member_at(place).and_then(|member| member.removal.as_ref());
            own.is_some_and(|own| own.seq == removal)
        };
        self.at(place).any(is_it) || self.leaving.iter().any(|story| is_it(story))
    }

    /// When a cgroup at the place was last tried to be made in vain, as a story of none that was removed has it.
    pub fn failed_creation(&self, place: &Place) -> Option<BootTime> {
        let was_removed = |story: &&Story| story.member_at(place).is_some_and(|member| member.removal.is_some());
        self.at(place).filter(|story| !was_removed(story)).filter_map(|story| story.failed_creation).max()
    }

    /// When the last failed creation was that is not remembered any more.
    pub fn forgotten_creation(&self) -> Option<BootTime> {
        self.forgotten_creation
    }

    /// Whether there are so many that the oldest must go before it is time to.
    pub fn is_overfull(&self) -> bool {
        self.open.len() > STORIES || self.bytes() > budget::STORIES
    }

    fn bytes(&self) -> usize {
        self.scale.bytes() + self.deadlines.bytes()
    }

    /// When the next story or deadline falls due.
    pub fn next_due(&self) -> Option<BootTime> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Whether a story that began by `at` is still to be told.
    pub fn has_due_of(&self, at: BootTime) -> bool {
        self.due_of.keys().any(|number| self.open.get(number).is_some_and(|story| story.began <= at))
    }

    /// What begins a story of this kind, new or not.
    pub fn tell(
        &mut self,
        (kind, course): (Kind, &'static Course),
        moment: Moment,
        case: Case,
        caller: Caller,
        notes: &mut Notes,
    ) {
        let number = self.find(kind, course, &moment, &case, notes).unwrap_or_else(|| {
            let story = Box::new(Story::new(kind, course, moment.at(), &case));
            self.scale.put(story.as_ref());
            self.open.insert(self.next, story);
            self.next += 1;
            self.next - 1
        });
        let Some(story) = self.open.get_mut(&number) else { return };
        let actor = moment.actor().cloned();
        let (place, since) = (moment.place().clone(), moment.since());
        let is_known = actor.as_ref().is_some_and(|actor| story.lasts(actor));
        let is_followed = is_known || story.enter(&moment, &case, caller, &mut self.scale);
        story.include(&place, &case, notes, &mut self.scale);
        story.undo(&case, &mut self.scale);
        story.add(moment, &mut self.scale);
        let has_returned = story.returned(&case, &mut self.scale);
        if story.told.is_none() || !is_known || story.is_outgrown() || has_returned {
            self.set_due(number, since + course.patience);
        }
        self.index(number, &place, actor.as_ref().filter(|_| is_followed), &case);
        if actor.is_none() {
            self.of_family.entry((None, place.path)).or_default().set(kind, number);
        }
    }

    /// A failed call that decides nothing by itself, but belongs to a story that is being told: returned if it does
    /// not.
    pub fn add_context(&mut self, note: Note) -> Option<Note> {
        let own = self.of(&note.attempt.actor, &note.place, |story| !story.is_alone);
        let Some(story) = own.and_then(|number| self.open.get_mut(&number)) else { return Some(note) };
        if !(story.course.gathers)(story, &note) {
            return Some(note);
        }
        story.add_call(note, &mut self.scale);
        None
    }

    /// Something happened to a cgroup that was told of: what that means for it is judged at once. A story that was not
    /// told waits for its outcome. A creation is the end of what had that id before.
    pub fn happened(&mut self, change: Change, cgroup: Key, at: BootTime) {
        let Some(latest) = self.follow.get(&cgroup) else { return };
        let is_followed = |story: &Story| change == Change::Created || story.course.follows.contains(&change);
        for number in latest.clone().numbers() {
            if self.open.get(&number).is_some_and(|story| story.told.is_some() && is_followed(story)) {
                self.set_due(number, at);
            }
        }
    }

    /// Something happened to what was removed below a place: what was told of that is judged at once.
    pub fn happened_below(&mut self, change: Change, place: &Place, at: BootTime) {
        let Some(latest) = self.at_place.get(place) else { return };
        let is_about_it = |story: &Story| story.member_at(place).is_some_and(|member| member.is_below);
        for number in latest.clone().numbers() {
            let story = self.open.get(&number).filter(|story| story.told.is_some() && is_about_it(story));
            if story.is_some_and(|story| story.course.follows.contains(&change)) {
                self.set_due(number, at);
            }
        }
    }

    /// Who was found in a cgroup whose removal was refused.
    pub fn found(&mut self, found: &Found) {
        let Some(latest) = self.follow.get(&(found.occupants.hierarchy, found.occupants.id)) else { return };
        for number in latest.clone().numbers() {
            let Some(story) = self.open.get_mut(&number) else { continue };
            if story.found(found, &mut self.scale) && story.told.is_some() {
                self.set_due(number, found.at);
            }
        }
    }

    /// What a cgroup was like that a call had failed on.
    pub fn circumstances(&mut self, seq: Seq, said: &Circumstances) {
        let lasting = self.with_actor.get(&said.pid).into_iter().flatten();
        let numbers: BTreeSet<u64> =
            lasting.chain(self.with_ended.get(&said.pid).into_iter().flatten()).copied().collect();
        for number in numbers {
            if let Some(story) = self.open.get_mut(&number) {
                story.circumstances(seq, said, &mut self.scale);
            }
        }
    }

    /// A rule asks for a deadline about a cgroup, so long after an event. One that it had asked for before is moved.
    pub fn ask(&mut self, kind: Kind, cgroup: Key, event: (Seq, BootTime, Place), due: BootTime) {
        self.withdraw(kind, cgroup);
        let (seq, since, place) = event;
        let deadline = Deadline { kind, cgroup, seq, since, place, due };
        self.due.insert((due, Ticket::Deadline((kind, cgroup))));
        for (asked, gone) in self.deadlines.tell((kind, cgroup), deadline) {
            self.due.remove(&(gone.due, Ticket::Deadline(asked)));
        }
    }

    /// A rule wants to know no more of a cgroup.
    pub fn withdraw(&mut self, kind: Kind, cgroup: Key) {
        if let Some(deadline) = self.deadlines.take(&(kind, cgroup)) {
            self.due.remove(&(deadline.due, Ticket::Deadline((kind, cgroup))));
        }
    }

    /// Whether any deadline was asked for that has not fallen due.
    pub fn has_deadlines(&self) -> bool {
        self.deadlines.len() > 0
    }

    /// A process ended: the outcome of the stories it has a part in.
    pub fn ended(&mut self, (pid, which): (Pid, Incarnation), end: End) {
        let Some(mut open) = self.with_actor.remove(&pid) else { return };
        let is_it = |actor: &Actor| actor.pid == pid && actor.incarnation.is_none_or(|known| known == which);
        for number in open.iter().copied().collect::<BTreeSet<u64>>() {
            let Some(story) = self.open.get_mut(&number) else { continue };
            for participant in story.participants.iter_mut().filter(|who| is_it(&who.actor) && who.ended.is_none()) {
                participant.ended = Some(end);
            }
            let others = story.participants.iter().any(|who| who.actor.pid == pid && who.ended.is_none());
            if !others {
                open.remove(&number);
            }
            self.with_ended.entry(pid).or_default().insert(number);
            if story.outcome_is_known() {
                let settled = end.at + story.settles();
                self.set_due(number, settled);
            }
        }
        if !open.is_empty() {
            self.with_actor.insert(pid, open);
        }
    }

    /// What a process had been asked to do since `since` was told after its first call of a story, or that it stays
    /// unknown (`None`).
    pub fn asked(
        &mut self,
        (pid, which): (Pid, Incarnation),
        since: BootTime,
        to: Option<&Arc<Identity>>,
        now: BootTime,
    ) {
        let lasting = self.with_actor.get(&pid).into_iter().flatten();
        let numbers: BTreeSet<u64> = lasting.chain(self.with_ended.get(&pid).into_iter().flatten()).copied().collect();
        for number in numbers {
            let Some(story) = self.open.get_mut(&number) else { continue };
            let mut is_news = false;
            for participant in &mut story.participants {
                let actor = &participant.actor;
                let is_known = actor.identity.as_ref().is_some_and(|identity| identity.argv.is_some());
                if actor.pid == pid && actor.incarnation == Some(which) && !is_known && participant.at >= since {
                    participant.asked(to);
                    is_news = true;
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
            let Some(story) = self.open.get_mut(number) else { continue };
            if story.container.as_ref().is_some_and(|known| known.id != *container) {
                continue;
            }
            let is_it = |actor: &Actor| actor.pid == pid && which.is_none_or(|which| actor.incarnation == Some(which));
            for participant in story.participants.iter_mut().filter(|who| is_it(&who.actor)) {
                participant.state_left = Some(present);
                changed.push(*number);
            }
        }
        for number in changed {
            if self.open.get(&number).is_some_and(|story| story.told.is_some()) {
                self.set_due(number, at);
            }
        }
    }

    /// A process that has ended had said why it failed.
    pub fn failure_said(&mut self, (pid, which): (Pid, Option<Incarnation>), message: &Name, at: BootTime) {
        for number in self.with_ended.get(&pid).cloned().unwrap_or_default() {
            let Some(story) = self.open.get_mut(&number) else { continue };
            let is_it = |actor: &Actor| actor.pid == pid && which.is_none_or(|which| actor.incarnation == Some(which));
            let mut is_news = false;
            for participant in story.participants.iter_mut().filter(|who| is_it(&who.actor)) {
                self.scale.take(&*participant);
                participant.said = Some(message.clone());
                self.scale.put(&*participant);
                is_news = true;
            }
            if is_news && story.told.is_some() {
                self.set_due(number, at);
            }
        }
    }

    /// Takes out what is due at `now`, the earliest first, after what had to be closed.
    pub fn take_due(&mut self, now: BootTime) -> Option<Due> {
        if let Some(story) = self.leaving.pop_front() {
            return Some(Due::Story(None, story));
        }
        loop {
            let (at, ticket) = *self.due.first().filter(|(at, _)| *at <= now)?;
            self.due.remove(&(at, ticket));
            match ticket {
                Ticket::Story(number) => {
                    self.due_of.remove(&number);
                    let Some(story) = self.open.remove(&number) else { continue };
                    if let Some(until) = story.waits(now) {
                        self.open.insert(number, story);
                        self.set_due(number, until);
                        continue;
                    }
                    return Some(Due::Story(Some(number), story));
                }
                Ticket::Deadline(asked) => {
                    let Some(deadline) = self.deadlines.take(&asked) else { continue };
                    return Some(Due::Deadline(deadline));
                }
            }
        }
    }

    /// Gives a story back after it was judged. The finding is returned if it says something new. One of which there is
    /// nothing to be told, and nothing was, is closed: its calls are of no story.
    pub fn give_back(
        &mut self,
        number: Option<u64>,
        mut story: Box<Story>,
        finding: Option<Finding>,
        notes: &mut Notes,
    ) -> Option<Finding> {
        let news = finding.and_then(|finding| story.revise(finding));
        let Some(number) = number else { return news };
        if story.told.is_some() {
            self.open.insert(number, story);
        } else {
            self.scale.take(story.as_ref());
            // Its calls are remembered again, but for the ones in the middle of very many.
            let is_kept = |at: &BootTime| {
                story.kept_calls().any(|note| note.attempt.is_failed_creation() && note.attempt.at == *at)
            };
            self.forgotten_creation = self.forgotten_creation.max(story.failed_creation.filter(|at| !is_kept(at)));
            // What was tried around it never ceased to be a note.
            let own = story.kept_calls().filter(|note| !story.is_alone && story.member_at(&note.place).is_some());
            own.cloned().for_each(|call| notes.push(call));
        }
        news
    }

    /// Everything that is open is over: the end of the trace.
    pub fn finish(&mut self, now: BootTime) {
        for (number, mut story) in std::mem::take(&mut self.open) {
            story.is_settled = !self.due_of.contains_key(&number) && !story.has_grown();
            self.leaving.push_back(story);
        }
        (self.due, self.due_of) = (BTreeSet::new(), Table::default());
        for story in &mut self.leaving {
            story.is_over = true;
            story.is_cut_short |= story.waits(now).is_some();
        }
    }

    /// Closes what is too old, and what must make room: of that, what was not told, or not all of it, is due.
    pub fn sweep(&mut self, now: BootTime) {
        let is_old = |story: &Story| story.told.is_some() && now.since(story.last_at) > STORY_AGE;
        let old: Vec<u64> = self.open.iter().filter(|(_, story)| is_old(story)).map(|(number, _)| *number).collect();
        for number in old {
            self.close(number, now);
        }
        let is_overfull = self.is_overfull();
        while is_overfull && (self.open.len() > STORIES / 4 * 3 || self.bytes() > budget::STORIES / 4 * 3) {
            let Some(first) = self.open.keys().next().copied() else { break };
            self.evicted += 1;
            self.close(first, now);
        }
        let open = &self.open;
        self.at_place.retain(|_, latest| latest.retain(open));
        self.follow.retain(|_, latest| latest.retain(open));
        self.of_container.retain(|_, latest| latest.retain(open));
        self.of_family.retain(|_, latest| latest.retain(open));
        self.of_actor.retain(|_, latest| latest.retain(open));
        self.with_actor.retain(|_, numbers| {
            numbers.retain(|number| open.contains_key(number));
            !numbers.is_empty()
        });
        self.with_ended.retain(|_, numbers| {
            numbers.retain(|number| open.contains_key(number));
            !numbers.is_empty()
        });
    }

    /// Nothing is added to it any more. If something was that is not told yet, its last word is due.
    fn close(&mut self, number: u64, now: BootTime) {
        let Some(mut story) = self.open.remove(&number) else { return };
        self.let_go(&story);
        let due = self.due_of.remove(&number);
        if let Some(at) = due {
            self.due.remove(&(at, Ticket::Story(number)));
        }
        if due.is_some() || story.has_grown() {
            story.is_cut_short |= story.waits(now).is_some();
            story.is_over = story.told.is_some();
            self.leaving.push_back(story);
        }
    }

    fn let_go(&mut self, story: &Story) {
        self.scale.take(story);
        self.forgotten_creation = self.forgotten_creation.max(story.failed_creation);
    }

    fn find(&self, kind: Kind, course: &'static Course, moment: &Moment, case: &Case, notes: &Notes) -> Option<u64> {
        if self.open.is_empty() {
            return None;
        }
        let (place, actor) = (moment.place(), moment.actor());
        let own = actor.and_then(|actor| self.of_actor.get(&(actor.pid, place.clone())));
        let of_container = || {
            let container = case.container.as_ref()?;
            self.of_container.get(&(container.id.clone(), Name::new(place.name())))
        };
        let of_family = |pid| self.of_family.get(&(pid, place.path.clone()));
        let lead = own.into_iter().chain(self.at_place.get(place)).chain(std::iter::once_with(of_container).flatten());
        let families = actor.map_or_else(|| vec![None], |actor| family(actor).map(Some).collect());
        let of_wanted = || self.of_family.get(&(Some(actor?.pid), case.wanted.clone()?));
        let lead = lead.chain(families.into_iter().filter_map(of_family));
        let mut lead = lead.chain(std::iter::once_with(of_wanted).flatten());
        lead.find_map(|latest| {
            let number = latest.of(kind)?;
            self.open.get(&number).is_some_and(|story| (course.joins)(story, moment, case, notes)).then_some(number)
        })
    }

    /// Whoever has no part in the story is led to it by its place alone.
    fn index(&mut self, number: u64, place: &Place, actor: Option<&Actor>, case: &Case) {
        let Some(story) = self.open.get(&number).filter(|story| story.member_at(place).is_some()) else { return };
        let (kind, is_follower) = (story.kind, !story.course.follows.is_empty());
        self.at_place.entry(place.clone()).or_default().set(kind, number);
        if let Some(existing) = case.existing.filter(|_| is_follower) {
            self.follow.entry((place.hierarchy, existing.id)).or_default().set(kind, number);
        }
        if let Some(container) = &case.container {
            self.of_container.entry((container.id.clone(), Name::new(place.name()))).or_default().set(kind, number);
        }
        let Some(actor) = actor else { return };
        let of_actor = self.of_actor.entry((actor.pid, place.clone())).or_default();
        of_actor.set(kind, of_actor.of(kind).map_or(number, |known| known.max(number)));
        self.with_actor.entry(actor.pid).or_default().insert(number);
        if let Some(wanted) = &case.wanted {
            self.of_family.entry((Some(actor.pid), wanted.clone())).or_default().set(kind, number);
        }
        // cgroup2 is one hierarchy: there is nothing to be told together.
        if place.hierarchy != HierarchyId(0) {
            for pid in family(actor) {
                self.of_family.entry((Some(pid), place.path.clone())).or_default().set(kind, number);
            }
        }
    }

    /// The first due time stands; an earlier one replaces it.
    fn set_due(&mut self, number: u64, at: BootTime) {
        if let Some(before) = self.due_of.get(&number) {
            if *before <= at {
                return;
            }
            self.due.remove(&(*before, Ticket::Story(number)));
        }
        self.due_of.insert(number, at);
        self.due.insert((at, Ticket::Story(number)));
    }
}

/// A process and those that made it: a script removes a container's cgroup in each hierarchy by a process of its own,
/// or by `sudo`, which is one process more, or two. Init adopts strangers, and makes no family of them.
fn family(actor: &Actor) -> impl Iterator<Item = Pid> {
    const GENERATIONS: usize = 3;
    let parents = actor.identity.iter().flat_map(|identity| &identity.parents).map(|parent| parent.pid);
    std::iter::once(actor.pid).chain(parents.take_while(|pid| *pid != Pid(1)).take(GENERATIONS))
}
