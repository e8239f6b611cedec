//! `leaked-cgroup`: a runtime is done with a container, whose cgroup is empty and still there.
//!
//! Told only of a container's own cgroup that a low-level runtime was seen to make, and only when that runtime's state
//! of the container is gone: a container that is stopped keeps both, and so does whoever may still delete it. Slices,
//! and what was there before, are nobody's by this. Whoever removes a cgroup late has [`left::PATIENCE`] for that.

mod known;

use super::{Judgement, OnDeadline, OnEvent, Rule, Weighed, World, left, wording};
use crate::findings::{Cause, Explanation, Severity};
use crate::input::Change;
use crate::oci::RuntimeCommand;
use crate::state::{Made, Member};

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
            "Cgroups that systemd or an engine makes, and containers whose runtime keeps no known state (LXC, \
             nspawn, gVisor), are never told of, and neither is one of a trace that ends within those 20 s.",
        ],
    },
    known: known::KNOWN,
    call: None,
    failed_start: None,
    event: Some(OnEvent { of: &[Change::Emptied], begins: |event, world| left::emptied(event, world, |_| true) }),
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

/// What is left in part is told as that.
fn is_whole(made: &Made) -> bool {
    !made.is_removed_in_part()
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
    if weighed.severity == Severity::Benign && story.told.is_none() {
        return None;
    }
    let since = left::since(story);
    let refused = left::refused(story, world);
    let cause = match (&story.told, refused) {
        // What it was known by may be forgotten.
        (Some(told), None) => told.cause,
        (_, Some(_)) => ATTEMPTS_FAILED,
        (None, None) if is_aborted(weighed, world) => CREATION_ABORTED,
        (None, None) => NEVER_ATTEMPTED,
    };
    let mut because = left::gaps(weighed, world);
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
    let has_left = wording::verb(&because, "left", "may have left");
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
    let after = left::after(weighed, world);
    let summary = format!("{began}{has_left} {what} behind, empty{hierarchies}: {why}; {end}{after}");
    Some(Judgement { cause, because, summary, rival: None })
}

#[cfg(test)]
mod tests;
