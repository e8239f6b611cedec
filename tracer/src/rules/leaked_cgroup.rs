//! `leaked-cgroup`: a runtime is done with a container, whose cgroup is empty and still there.
//!
//! Told only of a container's own cgroup that a low-level runtime was seen to make, and only when that runtime's state
//! of the container is gone: a container that is stopped keeps both, and so does whoever may still delete it. Slices,
//! and what was there before, are nobody's by this. Whoever removes a cgroup late has [`PATIENCE`] for that.

use std::time::Duration;

use super::judge::ANOTHER_ONE;
use super::{Beginning, Judgement, OnDeadline, OnEvent, Rule, Weighed, World, wording};
use crate::findings::{Cause, Explanation, Finding, Severity};
use crate::input::{BootTime, Change, Event};
use crate::oci::RuntimeCommand;
use crate::state::{
    Case, Course, Deadline, Done, Key, Live, Made, Member, Moment, Notes, Participant, Story, TOGETHER, Told,
};

/// Podman tries for ten seconds to remove what its runtime has left, kubelet every other second, crun for five.
const PATIENCE: Duration = Duration::from_secs(20);
/// The last process leaves a container's cgroups one after the other.
const SPREAD: Duration = Duration::from_millis(500);

pub(super) const RULE: Rule = Rule {
    explanation: Explanation {
        word: "leaked-cgroup",
        claim: "A container's runtime is done with it, and its cgroup is empty and was left behind.",
        evidence: &[
            "the creation of the cgroup by runc, crun or youki, seen while tracing",
            "that the runtime's state of the container was gone after a delete, or after a create or run that failed",
            "that the last process has left the cgroup, or that none ever was in it",
            "that it was still there 20 s later, and no process of the runtime was at it any more",
            "removals of it that failed, if there were any",
        ],
        confirm: &[
            ("look whether it is still there, and empty", "cat /sys/fs/cgroup/PATH/cgroup.procs"),
            ("look whether the runtime knows the container", "runc list; crun list"),
            ("remove it", "rmdir /sys/fs/cgroup/PATH"),
        ],
        severity: &[
            "`fault` while the cgroup exists in any hierarchy, if no lifecycle event was lost since it was made.",
            "`benign` when it was removed after all.",
            "Else `undetermined`.",
        ],
        causes: &[NEVER_ATTEMPTED, ATTEMPTS_FAILED, CREATION_ABORTED],
        false_positives: &[
            "An engine that removes what its runtime left, and takes longer than 20 s: the finding is revised to \
             benign when the cgroup is removed.",
            "Two containers that were given the same cgroup: nothing is told of it, unless the second one was \
             started into it by clone3 beside a process of the first, which is not seen.",
            "Cgroups that systemd or an engine makes, and containers whose runtime keeps no known state (LXC, \
             nspawn, gVisor), are never told of, and neither is one of a trace that ends within those 20 s.",
        ],
    },
    known: &[],
    call: None,
    event: Some(OnEvent { of: &[Change::Emptied], begins: emptied }),
    deadline: Some(OnDeadline {
        after_runtime: Some(PATIENCE),
        while_dying: None,
        withdrawn_by: &[Change::Removed, Change::Populated],
        begins: is_left_behind,
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

const NEVER_ATTEMPTED: Cause = Cause {
    word: "never-attempted",
    meaning: "Nobody was seen trying to remove it.",
    advice: "Remove it (rmdir). If it happens again, look at what the runtime says when it deletes a container, and \
             whether it was told of another cgroup than the one that it had made.",
    is_routine: false,
};

const ATTEMPTS_FAILED: Cause = Cause {
    word: "attempts-failed",
    meaning: "Its removal was tried and failed, and was given up before the cgroup was empty.",
    advice: "Remove it now that it is empty (rmdir). Find out which process was in it longer than the runtime \
             waited: runc before 1.2 tries once on cgroup v2, logs the failure and exits 0.",
    is_routine: false,
};

const CREATION_ABORTED: Cause = Cause {
    word: "creation-aborted",
    meaning: "The container could not be made or started, and its cgroup was not cleared up.",
    advice: "Remove it (rmdir, or the runtime's delete --force), and fix what kept the container from starting. crun \
             1.8 leaves its cgroup when it cannot set a limit.",
    is_routine: false,
};

/// The last process is gone from what a runtime was done with before.
fn emptied(event: &Event, world: &World) -> Option<Beginning> {
    let cgroup = (event.cgroup.hierarchy, event.cgroup.id?);
    let made = world.makers.of(&event.container.as_ref()?.id, cgroup)?;
    made.done.as_ref().map(|_| Beginning::Deadline(PATIENCE))
}

/// What a runtime that is done with its container has left: the cgroup, if it is empty.
fn left((hierarchy, id): Key, world: &World) -> Option<(Case, Done)> {
    let is_empty = |live: &&Live| world.coverage.sees_processes() && !live.is_populated && !live.truncated;
    let live = world.cgroups.get(hierarchy, id).filter(is_empty)?;
    let container = live.container.clone()?;
    // A removal that was refused, and hurt, was told as that.
    let is_its = |made: &&Made| !made.is_removed_in_part && !made.is_told((hierarchy, id));
    let done = world.makers.of(&container.id, (hierarchy, id)).filter(is_its)?.done.clone()?;
    let existing = live.as_existing(id);
    let case = Case {
        existing: Some(existing),
        since: Some(existing.created?.at),
        container: Some(container),
        done: Some(done.clone()),
        ..Case::default()
    };
    Some((case, done))
}

fn is_left_behind(deadline: &Deadline, world: &World) -> Option<Beginning> {
    let (case, done) = left(deadline.cgroup, world)?;
    let container = case.container.as_ref()?;
    if world.processes.have_business_with(&container.id) {
        return Some(Beginning::Deadline(PATIENCE));
    }
    Some(Beginning::Story(Box::new(case), Some(done.actor)))
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

fn key(member: &Member) -> Option<Key> {
    Some((member.place.hierarchy, member.existing?.id))
}

/// When the first of the cgroups was made.
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

/// Whether the container did not come to run: a `run` also fails as the container's own process does.
fn is_aborted(weighed: &Weighed, world: &World) -> bool {
    let Some(main) = weighed.main.filter(|main| main.job.is_start()) else { return false };
    let is_create =
        || RuntimeCommand::of(&main.actor).is_some_and(|command| command.subcommand.as_deref() == Some("create"));
    let had_none = |member: &Member| {
        let live = member.existing.and_then(|existing| world.cgroups.get(member.place.hierarchy, existing.id));
        live.is_some_and(|live| live.emptied.is_none())
    };
    weighed.first_failure.is_some() || is_create() || weighed.story.members.iter().all(had_none)
}

fn judge(weighed: &Weighed, world: &World) -> Option<Judgement> {
    let story = weighed.story;
    let main = weighed.main?;
    let is_gone = weighed.severity == Severity::Benign;
    if is_gone && story.told.is_none() {
        return None;
    }
    let since = made(story);
    let made = story.container.as_ref().and_then(|own| world.makers.of(&own.id, key(weighed.member)?));
    let refused = made.and_then(|made| made.refused);
    let cause = match (&story.told, refused) {
        // What it was known by may be forgotten.
        (Some(told), None) => told.cause,
        (_, Some(_)) => ATTEMPTS_FAILED,
        (None, None) if is_aborted(weighed, world) => CREATION_ABORTED,
        (None, None) => NEVER_ATTEMPTED,
    };
    let mut because = world.coverage.gaps_in_lifecycle(since);
    because.extend(weighed.gaps_in_processes(world, None));
    if story.members.iter().any(|member| is_left(member, world).is_none()) {
        because.push(ANOTHER_ONE.to_owned());
    }
    let began = match weighed.first_failure {
        Some(call) => format!(
            "{} failed to start a container after its {} of {} failed with {}, and ",
            wording::who(&main.actor),
            call.operation.as_str(),
            call.path,
            call.errno,
        ),
        None => format!("{} ", wording::who(&main.actor)),
    };
    let left = wording::verb(&because, "left", "may have left");
    let has_failed = cause == ATTEMPTS_FAILED;
    let unseen = if has_failed { Vec::new() } else { world.coverage.gaps_in_removals(since) };
    let why = match refused {
        Some(errno) => format!("its removal had failed with {errno}"),
        None if has_failed => "its removal had failed".to_owned(),
        None => wording::verb(&unseen, "nobody tried to remove it", "who may have tried to remove it was not seen")
            .to_owned(),
    };
    because.extend(unseen);
    let what = wording::whose(weighed);
    let hierarchies = match story.members.len() {
        1 => String::new(),
        more => format!(" in {more} hierarchies"),
    };
    let end = wording::end(weighed, world);
    let removal = world.cgroups.removal(&weighed.member.place).filter(|_| is_gone);
    let summary = match removal {
        Some(removal) => format!(
            "{began}{left} {what} behind, empty{hierarchies}: {why}; {end}; {} removed it {:.0} s later",
            wording::somebody(&removal.actor),
            removal.at.since(story.began).as_secs_f64(),
        ),
        None if is_gone => format!("{began}{left} {what} behind, empty{hierarchies}: {why}; {end}; it is gone by now"),
        None => format!("{began}{left} {what} behind, empty{hierarchies}: {why}; {end}"),
    };
    Some(Judgement { cause, because, summary, rival: None })
}

#[cfg(test)]
mod tests;
