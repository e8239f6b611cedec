//! What a runtime has left of a container that it is done with: common to `leaked-cgroup` and `partial-teardown`.
//!
//! Only of a container's own cgroups that a low-level runtime was seen to make, and only when that runtime's state of
//! the container is gone: a container that is stopped keeps both, and so does whoever may still delete it.

use std::time::Duration;

use super::judge::ANOTHER_ONE;
use super::{Beginning, Weighed, World, wording};
use crate::findings::{Finding, Severity};
use crate::input::{BootTime, Change, Event, Operation};
use crate::state::{
    Case, Course, Deadline, Key, Made, Member, Moment, Notes, Participant, Place, Refusal, SETTLES, Story, TOGETHER,
    Told,
};

/// Podman tries for ten seconds to remove what its runtime has left, kubelet every other second, crun for five.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// A process that is there to make or delete the container is waited for so long: the record of its end may be lost.
const LONGEST: Duration = Duration::from_secs(100);
/// The last process leaves a container's cgroups one after the other.
pub(super) const SPREAD: Duration = Duration::from_millis(500);

pub(super) const COURSE: Course = Course {
    joins,
    gathers: |_, _| false,
    patience: SPREAD,
    settles: SETTLES,
    waits: |_| None,
    follows: &[Change::Removed],
    is_news,
};

/// The last process is gone from what a runtime was done with before.
pub(super) fn emptied(event: &Event, world: &World) -> Option<Beginning> {
    let cgroup = (event.cgroup.hierarchy, event.cgroup.id?);
    let made = world.makers.of(&event.container.as_ref()?.id, cgroup)?;
    // Which kind it will be is seen when the time has come: some of them may be removed until then.
    made.done.as_ref().map(|_| Beginning::Deadline(PATIENCE))
}

/// Whether a runtime that is done with its container has left this cgroup, empty, and nobody is at it any more.
pub(super) fn is_left_behind(deadline: &Deadline, world: &World, is_its: fn(&Made) -> bool) -> Option<Beginning> {
    let (hierarchy, id) = deadline.cgroup;
    let live = world.cgroups.get(hierarchy, id)?;
    if !world.coverage.sees_processes() || live.is_populated != Some(false) || live.truncated {
        return None;
    }
    let container = live.container.clone()?;
    let made = world.makers.of(&container.id, deadline.cgroup)?;
    // A removal that was refused, and hurt, was told as that.
    let done = made.done.as_ref().filter(|_| is_its(made) && !made.is_told(deadline.cgroup))?;
    let waits = deadline.due.since(deadline.since) < LONGEST;
    if waits && world.processes.have_business_with(&container.id, &done.actor, deadline.due) {
        return Some(Beginning::Deadline(PATIENCE));
    }
    let existing = live.as_existing(id);
    let case = Case {
        existing: Some(existing),
        since: Some(existing.created?.at),
        container: Some(container),
        done: Some(done.clone()),
        seen: made.emptied(deadline.cgroup).into_iter().chain([done.state]).collect(),
        ..Case::default()
    };
    Some(Beginning::Story(Box::new(case), Some(done.actor.clone())))
}

/// The same container's cgroup in another hierarchy, that the same process was done with.
fn joins(story: &Story, moment: &Moment, case: &Case, _: &Notes) -> bool {
    match story.member_at(moment.place()) {
        Some(member) => member.is_same_life(case),
        None => {
            moment.at().since(story.last_at) <= TOGETHER
                && moment.actor().is_some_and(|actor| story.has(actor))
                && story.has_room_for(moment.place().hierarchy, None)
        }
    }
}

/// What is gone is over, whatever is lost later.
fn is_news(told: &Told, finding: &Finding) -> bool {
    told.severity != Severity::Benign
        && (told.severity != finding.severity
            || told.cause != finding.cause
            || told.certainty != finding.certainty
            || told.hierarchies != finding.hierarchies)
}

pub(super) fn hurt(_: Option<&Participant>, story: &Story, world: &World) -> Severity {
    if story.members.iter().all(|member| is_left(member, world) == Some(false)) {
        return Severity::Benign;
    }
    let is_certain = story.members.iter().any(|member| is_left(member, world) == Some(true))
        && world.coverage.gaps_in_lifecycle(since(story)).is_empty();
    if is_certain { Severity::Fault } else { Severity::Undetermined }
}

fn is_left(member: &Member, world: &World) -> Option<bool> {
    world.cgroups.is_left(member.place.hierarchy, member.existing.as_ref()?)
}

/// When the first of the cgroups was made.
fn since(story: &Story) -> BootTime {
    let made = story.members.iter().filter_map(|member| Some(member.existing?.created?.at));
    made.min().unwrap_or_default()
}

/// What is remembered of what the runtime made.
pub(super) fn made<'a>(story: &Story, world: &World<'a>) -> Option<&'a Made> {
    let container = story.container.as_ref()?;
    story.members.iter().filter_map(key).find_map(|cgroup| world.makers.of(&container.id, cgroup))
}

/// The removal of one of them that failed.
pub(super) fn refused<'a>(story: &Story, world: &World<'a>) -> Option<&'a Refusal> {
    let made = made(story, world)?;
    story.members.iter().filter_map(key).find_map(|cgroup| made.refused(cgroup))
}

/// Why they are left: their removal `there` failed, if that is the cause, or nobody tried it. What of that may have
/// happened unseen is added to `because`.
pub(super) fn why(
    weighed: &Weighed,
    world: &World,
    has_failed: bool,
    there: &str,
    because: &mut Vec<String>,
) -> String {
    if has_failed {
        let failed = refused(weighed.story, world).zip(weighed.main);
        let failed = failed.map_or_else(|| " had failed".to_owned(), |(refusal, main)| failure(refusal, main));
        return format!("its removal{there}{failed}");
    }
    let unseen = world.coverage.gaps_in_removals(weighed.member.place.name(), since(weighed.story));
    if unseen.is_empty() {
        return nobody_tried(weighed.story, world, there);
    }
    because.extend(unseen);
    "who may have tried to remove it was not seen".to_owned()
}

/// Says that nobody tried to remove them, `there`: since the container was torn down, if somebody had before.
fn nobody_tried(story: &Story, world: &World, there: &str) -> String {
    let before = made(story, world)
        .is_some_and(|made| story.members.iter().filter_map(key).any(|cgroup| made.was_ever_refused(cgroup)))
        || story.kept_calls().any(|note| note.attempt.operation == Operation::Rmdir);
    let when = if before { " when the container was torn down" } else { "" };
    format!("nobody tried to remove it{there}{when}")
}

/// Whose removal failed, if that was not the runtime that is done with them, and why.
fn failure(refusal: &Refusal, main: &Participant) -> String {
    let by = if main.is(&refusal.actor) { String::new() } else { format!(" by {}", wording::who(&refusal.actor)) };
    format!("{by} had failed with {}", refusal.errno)
}

fn key(member: &Member) -> Option<Key> {
    Some((member.place.hierarchy, member.existing?.id))
}

/// Why it may not be true that they are left.
pub(super) fn gaps(weighed: &Weighed, world: &World) -> Vec<String> {
    let mut because = world.coverage.gaps_in_lifecycle(since(weighed.story));
    because.extend(weighed.gaps_in_processes(world, None));
    if weighed.severity != Severity::Benign && is_waited_for(weighed, world) {
        because.push("a process that was to make or delete the container had not ended".to_owned());
    }
    if weighed.story.members.iter().any(|member| is_left(member, world).is_none()) {
        because.push(ANOTHER_ONE.to_owned());
    }
    because
}

/// Whether a process that was at it when the runtime was done is so still.
fn is_waited_for(weighed: &Weighed, world: &World) -> bool {
    let (Some(container), Some(main)) = (&weighed.story.container, weighed.main) else { return false };
    world.processes.have_business_with(&container.id, &main.actor, weighed.story.began + PATIENCE)
}

/// What became of them, if they are gone: behind all else that is said.
pub(super) fn after(weighed: &Weighed, world: &World) -> String {
    if weighed.severity != Severity::Benign {
        return String::new();
    }
    let place: &Place = &weighed.member.place;
    let ended = weighed.main.and_then(|main| main.ended).map(|end| end.at);
    match world.cgroups.removal(place) {
        Some(removal) => format!(
            "; {} removed it {:.0} s later",
            wording::somebody(&removal.actor),
            removal.at.since(ended.unwrap_or(weighed.story.began)).as_secs_f64(),
        ),
        None => "; it is gone by now".to_owned(),
    }
}
