//! `partial-teardown`: a runtime is done with a container, whose cgroup is gone from some hierarchies and left in
//! others.
//!
//! Told only of a container's own cgroups that a low-level runtime was seen to make, as of leaked ones: a hierarchy in
//! which it made none is not missed, and what systemd, an engine or another container has there is nobody's by this.
//! Where a refused removal of the cgroup was told as a fault, that is the finding: it says what was in the way.

use std::time::Duration;

use super::{Beginning, Judgement, OnDeadline, OnEvent, Rule, Weighed, World, wording};
use crate::findings::{Cause, Explanation, Finding, Severity};
use crate::input::{BootTime, Change, Event, Operation};
use crate::state::{
    Case, Course, Deadline, Done, Key, Live, Made, Member, Moment, Note, Notes, Participant, Place, Story, TOGETHER,
    Told,
};

/// Podman tries for ten seconds to remove what its runtime has left, kubelet every other second, crun for five.
const PATIENCE: Duration = Duration::from_secs(20);
/// The deadlines of one container's cgroups fall due one after the other.
const SPREAD: Duration = Duration::from_millis(500);

pub(super) const RULE: Rule = Rule {
    explanation: Explanation {
        word: "partial-teardown",
        claim: "A container's runtime is done with it, and its cgroup is gone from some hierarchies and left in \
                others.",
        evidence: &[
            "the creation of the cgroup in each hierarchy by runc, crun or youki, seen while tracing",
            "its removal from some of them",
            "that the runtime's state of the container was gone after a delete, or after a create or run that failed",
            "that it was still there in the others 20 s later, empty, and no process of the runtime was at it any more",
            "removals of it that failed there, if there were any",
        ],
        confirm: &[
            ("look in which hierarchies it is left", "ls -d /sys/fs/cgroup/*/PATH"),
            ("look whether the runtime knows the container", "runc list; crun list"),
            ("look whether the runtime sees every hierarchy", "grep ' - cgroup ' /proc/PID/mountinfo"),
            ("remove it", "rmdir /sys/fs/cgroup/CONTROLLER/PATH"),
        ],
        severity: &[
            "`fault` while the cgroup exists in any hierarchy, if no lifecycle event was lost since it was made.",
            "`benign` when it was removed after all.",
            "Else `undetermined`.",
        ],
        causes: &[NOT_ATTEMPTED, REFUSED],
        false_positives: &[
            "An engine that removes what its runtime left, and takes longer than 20 s: the finding is revised to \
             benign when the cgroup is removed.",
            "Nothing is told of a cgroup in which a process is, and nothing twice: where busy-teardown or \
             denied-teardown told a refused removal of it as a fault, that is the finding.",
            "Cgroups that systemd or an engine makes, and containers whose runtime keeps no known state (LXC, \
             nspawn, gVisor), are never told of, and neither is one of a trace that ends within those 20 s.",
        ],
    },
    known: &[],
    call: None,
    event: Some(OnEvent { of: &[Change::Emptied], begins: emptied }),
    deadline: Some(OnDeadline {
        after_runtime: Some(PATIENCE),
        withdrawn_by: &[Change::Removed, Change::Populated],
        begins: is_left_in_part,
    }),
    course: Course {
        joins,
        gathers: |_, _| false,
        patience: SPREAD,
        waits: |_| None,
        follows: &[Change::Removed],
        is_news,
    },
    hurt,
    judge,
};

const NOT_ATTEMPTED: Cause = Cause {
    word: "not-attempted",
    meaning: "Nobody was seen trying to remove it where it is left.",
    advice: "Remove it (rmdir). Look whether the process that tore down sees that hierarchy: a mount namespace \
             without it, or with something else mounted there, hides it, and a cgroup that is not found counts as \
             removed.",
    is_routine: false,
};

const REFUSED: Cause = Cause {
    word: "refused",
    meaning: "Its removal was tried where it is left, and failed.",
    advice: "Remove it (rmdir); the error in the summary says what kept it from being removed. crun looks only at \
             EBUSY and takes every other failure for success, runc gives up after five rounds.",
    is_routine: false,
};

/// What is left of those that its runtime made, if that is done with it and others are gone.
fn left_in_part<'a>(live: &Live, cgroup: Key, world: &World<'a>) -> Option<(&'a Made, &'a Done)> {
    let made = world.makers.of(&live.container.as_ref()?.id, cgroup).filter(|made| made.is_removed_in_part())?;
    Some((made, made.done.as_ref()?))
}

/// The last process is gone from what a runtime was done with before.
fn emptied(event: &Event, world: &World) -> Option<Beginning> {
    let cgroup = (event.cgroup.hierarchy, event.cgroup.id?);
    let live = world.cgroups.get(cgroup.0, cgroup.1)?;
    left_in_part(live, cgroup, world).map(|_| Beginning::Deadline(PATIENCE))
}

fn is_left_in_part(deadline: &Deadline, world: &World) -> Option<Beginning> {
    let (hierarchy, id) = deadline.cgroup;
    let is_empty = |live: &&Live| world.coverage.sees_processes() && !live.is_populated && !live.truncated;
    let live = world.cgroups.get(hierarchy, id).filter(is_empty)?;
    let (_, done) = left_in_part(live, deadline.cgroup, world)?;
    let container = live.container.clone()?;
    if world.processes.have_business_with(&container.id) {
        return Some(Beginning::Deadline(PATIENCE));
    }
    let existing = live.as_existing(id);
    // A removal that was refused, and hurt, was told as that.
    if world.stories.is_told_as_fault(&Place { hierarchy, path: live.path.clone() }, &existing) {
        return None;
    }
    let case = Case {
        existing: Some(existing),
        since: Some(existing.created?.at),
        container: Some(container),
        done: Some(done.clone()),
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

fn is_news(told: &Told, finding: &Finding) -> bool {
    told.severity != finding.severity
        || told.cause != finding.cause
        || told.certainty != finding.certainty
        || told.hierarchies != finding.hierarchies
}

fn is_left(member: &Member, world: &World) -> Option<bool> {
    world.cgroups.is_left(member.place.hierarchy, member.existing.as_ref()?)
}

/// When the first of the cgroups was made that are left.
fn made(story: &Story) -> BootTime {
    let made = story.members.iter().filter_map(|member| Some(member.existing?.created?.at));
    made.min().unwrap_or_default()
}

fn hurt(_: Option<&Participant>, story: &Story, world: &World) -> Severity {
    if story.members.iter().all(|member| is_left(member, world) == Some(false)) {
        return Severity::Benign;
    }
    let is_certain = story.members.iter().any(|member| is_left(member, world) == Some(true))
        && world.coverage.gaps_in_lifecycle(made(story)).is_empty();
    if is_certain { Severity::Fault } else { Severity::Undetermined }
}

fn judge(weighed: &Weighed, world: &World) -> Option<Judgement> {
    let story = weighed.story;
    let main = weighed.main?;
    let is_gone = weighed.severity == Severity::Benign;
    if is_gone && story.told.is_none() {
        return None;
    }
    let is_removal = |note: &&Note| note.attempt.operation == Operation::Rmdir;
    let elsewhere = || story.members.iter().flat_map(|member| world.stories.calls_at(&member.place));
    let since = made(story);
    let refused = story.kept_calls().chain(elsewhere()).filter(is_removal).find(|note| note.attempt.at >= since);
    let cause = match (&story.told, refused) {
        // What it was known by may be forgotten.
        (Some(told), None) => told.cause,
        (_, Some(_)) => REFUSED,
        (None, None) => NOT_ATTEMPTED,
    };
    let mut because = world.coverage.gaps_in_lifecycle(since);
    because.extend(weighed.gaps_in_processes(world, None));
    if story.members.iter().any(|member| is_left(member, world).is_none()) {
        because.push("one that has its id now may be another one".to_owned());
    }
    let left = wording::verb(&because, "left", "may have left");
    let unseen = world.coverage.gaps_in_removals(since);
    let why = match refused {
        Some(note) => format!("its removal there had failed with {}", note.attempt.errno),
        None => {
            wording::verb(&unseen, "nobody tried to remove it there", "who may have tried to remove it was not seen")
                .to_owned()
        }
    };
    if refused.is_none() {
        because.extend(unseen);
    }
    let others = match gone(story, world) {
        None => " others".to_owned(),
        Some(1) => " another one".to_owned(),
        Some(more) => format!(" {more} others"),
    };
    let hierarchies = match story.members.len() {
        1 => "in one hierarchy".to_owned(),
        more => format!("in {more} hierarchies"),
    };
    let after = match world.cgroups.removal(&weighed.member.place).filter(|_| is_gone) {
        Some(removal) => format!(
            "; {} removed it {:.0} s later",
            wording::somebody(&removal.actor),
            removal.at.since(story.began).as_secs_f64(),
        ),
        None if is_gone => "; it is gone by now".to_owned(),
        None => String::new(),
    };
    let summary = format!(
        "{} {left} {} behind {hierarchies}, empty, though it is gone from{others}: {why}; {}{after}",
        wording::who(&main.actor),
        wording::whose(weighed),
        wording::end(weighed, world),
    );
    Some(Judgement { cause, because, summary, rival: None })
}

/// From how many hierarchies it is gone. `None` if that is not remembered any more.
fn gone(story: &Story, world: &World) -> Option<usize> {
    let container = story.container.as_ref()?;
    let mut made = story.members.iter().filter_map(|member| {
        let cgroup = (member.place.hierarchy, member.existing?.id);
        world.makers.of(&container.id, cgroup)
    });
    made.next().map(Made::gone)
}

#[cfg(test)]
mod tests;
