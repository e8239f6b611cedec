//! `leaked-cgroup`: a runtime is done with a container, whose cgroup is empty and still there.
//!
//! Told only of a container's own cgroup that a low-level runtime was seen to make, and only when that runtime's state
//! of the container is gone: a container that is stopped keeps both, and so does whoever may still delete it. Slices,
//! and what was there before, are nobody's by this. Whoever removes a cgroup late has [`left::PATIENCE`] for that.

mod known;

use super::{Judgement, OnDeadline, OnEvent, Rule, Weighed, World, left, wording};
use crate::findings::{Cause, Explanation, Severity};
use crate::input::{BootTime, Change};
use crate::oci::RuntimeCommand;
use crate::state::{Made, Member};

pub(super) const RULE: Rule = Rule {
    explanation: Explanation {
        word: "leaked-cgroup",
        claim: "A container's runtime is done with it, and its cgroup is empty and was left behind.",
        evidence: &[
            "the creation of the cgroup by runc, crun or youki, seen while tracing",
            "that the runtime's state of the container was gone, from where the process that made it keeps it, after a \
             delete; or after its create or run that failed",
            "that the last process has left the cgroup, or that none ever was in it",
            "that it was still there 20 s after both, and no process that makes or deletes the container was running",
            "removals of it that failed since the container was torn down, if there were any",
        ],
        confirm: &[
            (
                "look whether it is still there, and nobody in it or below it: populated 0 (cgroup2), no line (v1)",
                "cat /sys/fs/cgroup/PATH/cgroup.events; find /sys/fs/cgroup/CONTROLLER/PATH -name cgroup.procs | xargs \
                 cat",
            ),
            ("look whether the runtime knows the container", "runc list; crun list"),
            (
                "remove it, and what is in it, from the inside out",
                "find /sys/fs/cgroup/PATH -depth -type d -exec rmdir {} +",
            ),
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
            "A run whose own process ended within half a second of a call that the runtime could do without is told \
             as a creation that was aborted.",
        ],
    },
    known: known::KNOWN,
    call: None,
    failed_start: None,
    stuck: None,
    event: Some(OnEvent { of: &[Change::Emptied], begins: left::emptied, written: None }),
    deadline: Some(OnDeadline {
        after_runtime: Some(left::PATIENCE),
        while_dying: None,
        withdrawn_by: &[Change::Removed, Change::Populated],
        begins: |deadline, world| left::is_left_behind(deadline, world, is_whole),
    }),
    course: left::COURSE,
    hurt: left::hurt,
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
    meaning: "Its removal was tried when the container was torn down, and failed.",
    advice: "Remove it (rmdir). The error in the summary says why it failed. EBUSY: a process was in it longer than \
             the runtime waited; runc before 1.2 tries once on cgroup v2, logs the failure and exits 0. EROFS, \
             EACCES, EPERM: the process that tried has no right to write there.",
    is_routine: false,
};

const CREATION_ABORTED: Cause = Cause {
    word: "creation-aborted",
    meaning: "The container could not be made or started, and its cgroup was not cleared up.",
    advice: "Remove it (rmdir, or the runtime's delete --force), and fix what kept the container from starting. crun \
             1.8 leaves its cgroup when it cannot set a limit.",
    is_routine: false,
};

/// What is left in part is told as that.
fn is_whole(made: &Made) -> bool {
    !made.is_removed_in_part()
}

/// Whether the container did not come to run. A `run` also fails as the container's own process does: it is its start
/// that failed if nobody ever was in the cgroup, or if its `init` was ended at once when a call had failed.
fn is_aborted(weighed: &Weighed, world: &World) -> bool {
    let Some(main) = weighed.main.filter(|main| main.job.is_start()) else { return false };
    let is_create =
        || RuntimeCommand::of(&main.actor).is_some_and(|command| command.subcommand.as_deref() == Some("create"));
    let is_ended_by_failure = |emptied: BootTime| {
        let failed = weighed.first_failure.map(|call| call.at).filter(|at| *at <= emptied);
        failed.is_some_and(|at| emptied.since(at) <= left::SPREAD)
    };
    let had_none = |member: &Member| {
        let live = member.existing.and_then(|existing| world.cgroups.get(member.place.hierarchy, existing.id));
        live.is_some_and(|live| live.emptied.is_none_or(is_ended_by_failure))
    };
    is_create() || weighed.story.members.iter().all(had_none)
}

fn judge(weighed: &Weighed, world: &World) -> Option<Judgement> {
    let story = weighed.story;
    let main = weighed.main?;
    if weighed.severity == Severity::Benign && story.told.is_none() {
        return None;
    }
    let is_aborted = match &story.told {
        Some(told) => told.cause == CREATION_ABORTED,
        None => is_aborted(weighed, world),
    };
    let cause = match &story.told {
        // What it was known by may be forgotten, and what came later is none of it.
        Some(told) => told.cause,
        None if left::refused(story, world).is_some() => ATTEMPTS_FAILED,
        None if is_aborted => CREATION_ABORTED,
        None => NEVER_ATTEMPTED,
    };
    let mut because = left::gaps(weighed, world);
    let began = match weighed.first_failure.filter(|_| is_aborted) {
        Some(call) => format!(
            "{} failed to start a container after its {} of {} failed with {}, and ",
            wording::who(&main.actor),
            call.operation.as_str(),
            call.path,
            call.errno,
        ),
        None => format!("{} ", wording::who(&main.actor)),
    };
    let has_left = wording::verb(&because, "left", "may have left");
    let why = left::why(weighed, world, cause == ATTEMPTS_FAILED, "", &mut because);
    let what = wording::whose(weighed);
    let hierarchies = match story.members.len() {
        1 => String::new(),
        more => format!(" in {more} hierarchies"),
    };
    let end = wording::end(weighed, world);
    let after = left::after(weighed, world);
    let summary = format!("{began}{has_left} {what} behind, empty{hierarchies}: {why}; {end}{after}");
    Some(Judgement { cause, because, summary, rival: None })
}

#[cfg(test)]
mod tests;
