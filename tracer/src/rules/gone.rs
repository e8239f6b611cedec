//! Teardowns of what is not there: what `duplicate-teardown` and `missing-path-teardown` have in common.
//!
//! One begins with a failed removal of a cgroup that is not there, or with a failed opening of its directory by a
//! process that had tried to remove it. Which of the two it is depends on what is known of the last life at the place.

use std::time::Duration;

use super::{Call, World};
use crate::errno::Errno;
use crate::findings::{Finding, Job};
use crate::input::{Actor, BootTime, Operation};
use crate::state::{Case, Course, Followed, Moment, Note, Notes, Removal, Renaming, STORY_AGE, Story, TOGETHER, Told};

/// A removal that failed with ENOENT although the cgroup exists: it was made anew after the call had looked, but no
/// longer before the call returned than this.
const MADE_ANEW: Duration = Duration::from_millis(100);
/// An opening of a directory is for removal if the same process failed to remove it no longer before than this.
const LADDER: Duration = Duration::from_secs(60);

/// Nothing makes good that a cgroup was not there. What the host said of the end, the container's state, has its time.
const SOON: Duration = Duration::from_millis(10);

/// How stories of teardowns go.
pub(super) const COURSE: Course =
    Course { joins, gathers, patience: Duration::from_secs(2), settles: SOON, waits: |_| None, follows: &[], is_news };

/// The teardown of what is not there that a failed call is. What was removed has its removal.
pub(super) fn case(call: &Call, world: &World) -> Option<Case> {
    call.gone.get_or_init(|| find(call, world)).clone()
}

fn find(call: &Call, world: &World) -> Option<Case> {
    let (place, container) = (call.place(), call.container);
    let Note { attempt, file, .. } = call.note;
    let gone = matches!(attempt.errno, Errno::ENOENT | Errno::ENODEV);
    match attempt.operation {
        // A read-only mount answers EROFS before it looks.
        Operation::Rmdir if gone || attempt.errno == Errno::EROFS => {}
        Operation::Open if gone && file.is_none() && tried_to_remove(call.note, world) => {}
        Operation::Rmdir | Operation::Open | Operation::Mkdir | Operation::Rename => return None,
        Operation::Write | Operation::Read | Operation::Spawn => return None,
    }
    let duplicate = |removal: &Removal, renaming: Option<&Renaming>| Case {
        existing: None,
        removal: Some(removal.clone()),
        renaming: renaming.cloned(),
        since: Some(removal.at),
        container: removal.container.as_ref().or(container).cloned(),
        ..Case::default()
    };
    // Whoever retries for longer than removals are remembered still retries the same one.
    let removal = world.cgroups.removal(place).or_else(|| world.stories.removal(place));
    if let Some(existing) = call.existing {
        let made_anew = existing.created.is_some_and(|created| attempt.at.since(created.at) <= MADE_ANEW);
        return removal.filter(|_| gone && made_anew).map(|removal| duplicate(removal, None));
    }
    let followed = world.cgroups.follow(place);
    let since = followed.as_ref().map(Followed::over).max(world.cgroups.removal(place).map(|removal| removal.at));
    let missing = |renaming: Option<&Renaming>| Case {
        existing: None,
        removal: None,
        renaming: renaming.cloned(),
        since,
        container: container.cloned(),
        ..Case::default()
    };
    // Whoever starts a container begins another life: what was over before it began is none of its. So does a creation
    // that failed since, of one that never came to be.
    let failed_creation = world.notes.failed_creation(place).max(world.stories.failed_creation(place));
    let is_last_life =
        |over: BootTime| !begins_after(&attempt.actor, over) && failed_creation.is_none_or(|failed| failed < over);
    if let Some(Followed { renaming, removal, .. }) = followed.filter(|followed| is_last_life(followed.over())) {
        return Some(removal.map_or_else(|| missing(Some(renaming)), |removal| duplicate(removal, Some(renaming))));
    }
    let removal = removal.filter(|removal| is_last_life(removal.at));
    Some(removal.map_or_else(|| missing(None), |removal| duplicate(removal, None)))
}

/// Why a cgroup of that name may have failed to be made, unseen, between two moments: what came after that is about
/// another life.
pub(super) fn unseen_creations(world: &World, name: &[u8], since: BootTime, until: BootTime) -> Vec<String> {
    let mut gaps = world.coverage.gaps_in_attempts(since);
    gaps.extend(world.coverage.gaps_in_resolution(name, since, until).map(str::to_owned));
    if world.forgotten_creation().is_some_and(|at| at >= since) {
        gaps.push("there were failed mkdir calls since that are not remembered".to_owned());
    }
    gaps
}

fn tried_to_remove(note: &Note, world: &World) -> bool {
    let actor = &note.attempt.actor;
    let earlier = world.notes.at(&note.place).rev().map(|earlier| &earlier.attempt);
    world.stories.has_participant(&note.place, actor)
        || earlier
            .filter(|earlier| earlier.operation == Operation::Rmdir && earlier.actor.is_same_process_as(actor))
            .any(|earlier| note.attempt.at.since(earlier.at) <= LADDER)
}

/// Whether a process starts a container, and was itself started after `at`.
fn begins_after(actor: &Actor, at: BootTime) -> bool {
    let started = || actor.identity.as_ref()?.started;
    Job::of(actor).is_start() && started().is_some_and(|started| started > at)
}

/// Whether what happens is of the same life of the same cgroup, or of the same teardown's cgroup in another hierarchy.
fn joins(story: &Story, moment: &Moment, case: &Case, notes: &Notes) -> bool {
    // Whoever starts a container begins a life of it, and so does whoever failed to make its cgroup since.
    let is_start = |actor: &Actor| Job::of(actor).is_start() && !story.has(actor);
    let begins_a_life = case.removal.is_none()
        && case.existing.is_none()
        && (moment.actor().is_some_and(is_start)
            || notes.failed_creation(moment.place()).is_some_and(|failed| failed > story.began));
    if begins_a_life {
        return false;
    }
    match story.member_at(moment.place()) {
        Some(member) => member.is_same_life(case) && moment.at().since(story.last_at) <= STORY_AGE,
        None => {
            moment.at().since(story.last_at) <= TOGETHER
                && story.has_room_for(moment.place().hierarchy, case.removal.as_ref())
                && is_same_teardown(story, moment, case)
        }
    }
}

/// Whether something in another hierarchy is of the same teardown: of the same path, by somebody who has a part in it,
/// or after a removal by the same process. An id alone may be another container's, of another runtime.
fn is_same_teardown(story: &Story, moment: &Moment, case: &Case) -> bool {
    let remover = |removal: &Option<Removal>| removal.as_ref().and_then(|removal| removal.actor.clone());
    let by_the_same = |own: &Option<Removal>| match (remover(own), remover(&case.removal)) {
        (Some(one), Some(other)) => one.is_same_process_as(&other),
        (None, _) | (_, None) => false,
    };
    moment.actor().is_some_and(|actor| story.has(actor))
        || story.members.iter().any(|own| own.place.path == moment.place().path || by_the_same(&own.removal))
}

/// Whoever tries to make it begins another life.
fn gathers(story: &Story, note: &Note) -> bool {
    note.attempt.operation != Operation::Mkdir && note.attempt.at.since(story.last_at) <= TOGETHER
}

fn is_news(told: &Told, finding: &Finding) -> bool {
    told.cause != finding.cause || is_other(told, finding)
}

/// Whether anything but the cause is another.
pub(super) fn is_other(told: &Told, finding: &Finding) -> bool {
    let actor = match (&told.actor, &finding.actor) {
        (Some(told), Some(now)) => told.is_same_process_as(now),
        (told, now) => told.is_none() && now.is_none(),
    };
    let same = told.severity == finding.severity
        && told.certainty == finding.certainty
        && told.outcome == finding.outcome
        && actor
        && told.hierarchies == finding.hierarchies;
    !same || told.is_outgrown(finding.attempt_count)
}
