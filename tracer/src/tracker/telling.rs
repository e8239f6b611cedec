//! From what happens to findings: rules are asked what it is, stories begin and go on, and are judged when they fall
//! due.

use std::sync::Arc;
use std::time::Duration;

use super::Tracker;
use crate::container::Container;
use crate::findings::{Kind, Severity};
use crate::input::{Actor, Change, Event, Pid, Seq, Stuck, Written};
use crate::name::Name;
use crate::rules::{self, Beginning, Call, Overwriting, World};
use crate::state::{Caller, Case, Deadline, Due, Dying, Existing, Key, Moment, Note, Place, StateSeen, Story};

impl Tracker {
    /// A call failed on a cgroup, or on what would be one.
    pub(super) fn failed(&mut self, note: Note, existing: Option<Existing>, container: Option<&Arc<Container>>) {
        let call = Call::new(&note, existing, container);
        let world = self.world();
        let case = self.rules.iter().find_map(|(kind, rule)| Some((kind, (rule.call?)(&call, &world)?)));
        match case {
            Some((kind, case)) => {
                let context = case.is_alone.then(|| note.clone());
                self.tell(kind, Moment::Call(note), case);
                context.into_iter().for_each(|note| self.add_context(note));
            }
            None => self.add_context(note),
        }
    }

    fn add_context(&mut self, note: Note) {
        if let Some(note) = self.stories.add_context(note) {
            self.notes.push(note);
        }
    }

    /// Something happened to a cgroup, and is known by now.
    pub(super) fn happened(&mut self, seq: Seq, event: &Event) {
        if !self.rules.want(event.change) {
            return;
        }
        let Some(id) = event.cgroup.id else { return };
        let cgroup = (event.cgroup.hierarchy, id);
        if self.rules.follow(event.change) {
            self.stories.happened(event.change, cgroup, event.at);
        }
        if self.stories.has_deadlines() {
            for (kind, _) in self.rules.that_withdraw(event.change) {
                self.stories.withdraw(kind, cgroup);
            }
        }
        for (kind, own) in self.rules.that_begin_with(event.change) {
            match (own.begins)(event, &self.world()) {
                Some(Beginning::Story(mut case, actor)) => {
                    let place = case.place.take().unwrap_or_else(|| Place::of(&event.cgroup));
                    self.tell(kind, Moment::Event { seq, at: event.at, since: event.at, place, actor }, *case);
                }
                Some(Beginning::Deadline(after)) => {
                    let at = (seq, event.at, Place::of(&event.cgroup));
                    self.stories.ask(kind, cgroup, at, event.at + after);
                }
                None => {}
            }
        }
    }

    /// Somebody wrote to a control file of a cgroup, with success.
    pub(super) fn wrote(&mut self, seq: Seq, written: &Written) {
        let Some(cgroup) = &written.cgroup else { return };
        for (kind, is) in self.rules.that_begin_with_writes() {
            let Some(Overwriting { case, seq, at, actor }) = is(seq, written, &self.world()) else { continue };
            let place = Place::of(cgroup);
            self.tell(kind, Moment::Event { seq, at, since: written.at, place, actor: Some(actor) }, *case);
        }
    }

    /// A call does not return, or has after all: what is known of its cgroup is filled in.
    pub(super) fn does_not_return(&mut self, seq: Seq, call: &Arc<Stuck>) {
        let Some(cgroup) = &call.cgroup else { return };
        for (kind, rule) in self.rules.iter() {
            let Some(case) = rule.stuck.and_then(|begins| begins(call, &self.world())) else { continue };
            let (place, actor) = (Place::of(cgroup), Some(call.actor.clone()));
            self.tell(kind, Moment::Event { seq, at: call.began, since: call.at, place, actor }, case);
        }
    }

    /// A deadline has fallen due.
    fn fallen_due(&mut self, deadline: &Deadline) {
        let Deadline { kind, cgroup, seq, since: at, .. } = *deadline;
        let Some(own) = &self.rules.of(kind).deadline else { return };
        match (own.begins)(deadline, &self.world()) {
            Some(Beginning::Story(case, actor)) => {
                let place = self.place_of(deadline, &case);
                self.tell(kind, Moment::Event { seq, at, since: deadline.due, place, actor }, *case);
            }
            Some(Beginning::Deadline(after)) => {
                // Time stands still here: one that were due at once would be asked for without an end.
                let due = self.now + after.max(Duration::from_nanos(1));
                self.stories.ask(kind, cgroup, (seq, at, deadline.place.clone()), due);
            }
            None => {}
        }
    }

    /// A container's state was looked for after the end of a process: a runtime that is done with it may have left
    /// cgroups behind.
    pub(super) fn look_at_what_is_left(&mut self, container: &Name, pid: Pid, seen: StateSeen) {
        let Some(known) = self.processes.get(pid) else { return };
        let Some((end, cgroups)) = self.makers.state_seen(container, (pid, known), seen) else { return };
        for (kind, rule) in self.rules.iter() {
            let Some(after) = rule.deadline.as_ref().and_then(|own| own.after_runtime) else { continue };
            for cgroup in &cgroups {
                // One that is gone is not left.
                let Some(live) = self.cgroups.get(cgroup.0, cgroup.1) else { continue };
                let place = Place { hierarchy: cgroup.0, path: live.path.clone() };
                self.stories.ask(kind, *cgroup, (end.seq, end.at, place), end.at + after);
            }
        }
    }

    /// A walk did not find these: they were removed unseen, which whoever told of them takes for their removal.
    pub(super) fn vanished(&mut self, gone: &[Key]) {
        self.makers.vanished(gone);
        for cgroup in gone {
            self.settings.forget(*cgroup);
            self.stories.happened(Change::Removed, *cgroup, self.now);
            for (kind, _) in self.rules.that_withdraw(Change::Removed) {
                self.stories.withdraw(kind, *cgroup);
            }
        }
    }

    /// Looks at removed cgroups that the kernel has not released, and asks the rule that wants to know of those that
    /// have been dying for so long.
    fn look_at_dying(&mut self) {
        let Some(after) = self.rules.while_dying else { return };
        while let Some(key) = self.cgroups.look_at_dying(self.now, after) {
            let Some(Dying { seq, since, around: Some(path), .. }) = self.cgroups.dying_one(key) else { continue };
            let place = Place { hierarchy: key.0, path: path.clone() };
            let (seq, since, due) = (*seq, *since, self.now);
            for (kind, rule) in self.rules.iter() {
                let Some(own) = rule.deadline.as_ref().filter(|own| own.while_dying.is_some()) else { continue };
                let deadline = Deadline { kind, cgroup: key, seq, since, place: place.clone(), due };
                if let Some(Beginning::Story(case, actor)) = (own.begins)(&deadline, &self.world()) {
                    let moment = Moment::Event { seq, at: since, since: due, place: place.clone(), actor };
                    self.tell(kind, moment, *case);
                }
            }
        }
    }

    /// Where the cgroup of a deadline is, or was when it was removed, or else when the deadline was asked for.
    fn place_of(&self, deadline: &Deadline, case: &Case) -> Place {
        let (hierarchy, id) = deadline.cgroup;
        let live = self.cgroups.get(hierarchy, id).map(|live| Place { hierarchy, path: live.path.clone() });
        let removed = || case.removal.as_ref().map(|removal| Place::of(&removal.cgroup));
        live.or_else(removed).unwrap_or_else(|| deadline.place.clone())
    }

    pub(super) fn tell(&mut self, kind: Kind, moment: Moment, case: Case) {
        let course = &self.rules.of(kind).course;
        let caller = moment.actor().map(|actor| self.caller(actor)).unwrap_or_default();
        self.stories.tell((kind, course), moment, case, caller, &mut self.notes);
    }

    fn caller(&self, actor: &Actor) -> Caller {
        let known = self.processes.of(actor);
        Caller {
            failed_before: known.and_then(|known| known.last_failure.as_deref()).cloned(),
            is_unread: known.is_some_and(|known| known.is_unread),
        }
    }

    /// Has everything judged that is due, and keeps what is to be told.
    pub(super) fn tell_due(&mut self) {
        if self.next_look().is_some_and(|at| at <= self.now) {
            self.look_at_dying();
        }
        while let Some(due) = self.stories.take_due(self.now) {
            match due {
                Due::Story(number, story) => {
                    let finding = rules::judge(self.rules.of(story.kind), &story, &self.world());
                    let hurts = finding.as_ref().is_some_and(|finding| finding.severity == Severity::Fault);
                    // What a start met is nothing that became of a removal.
                    if hurts && self.rules.of(story.kind).failed_start.is_none() {
                        self.told_as_fault(&story);
                    }
                    self.findings.extend(self.stories.give_back(number, story, finding, &mut self.notes));
                }
                Due::Deadline(deadline) => self.fallen_due(&deadline),
            }
        }
    }

    /// It outlasts the story: what hurt is told once.
    fn told_as_fault(&mut self, story: &Story) {
        for member in &story.members {
            if let (Some(container), Some(existing)) = (&member.container, member.existing) {
                self.makers.told(&container.id, (member.place.hierarchy, existing.id));
            }
        }
    }

    pub(crate) fn world(&self) -> World<'_> {
        let Self {
            kernel, cgroups, makers, placings, settings, in_flight, coverage, processes, notes, stories, ..
        } = self;
        World { kernel, cgroups, makers, placings, settings, in_flight, coverage, processes, notes, stories }
    }
}

#[cfg(test)]
mod tests;
