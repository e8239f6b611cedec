//! `partial-teardown`: a runtime is done with a container, whose cgroup is gone from some hierarchies and left in
//! others.
//!
//! Told only of a container's own cgroups that a low-level runtime was seen to make, as of leaked ones: a hierarchy in
//! which it made none is not missed, and what systemd, an engine or another container has there is nobody's by this.
//! Where a refused removal of the cgroup was told as a fault, that is the finding: it says what was in the way.

use super::{Judgement, OnDeadline, OnEvent, Rule, Weighed, World, left, wording};
use crate::findings::{Cause, Explanation, Severity};
use crate::input::Change;
use crate::state::Made;

pub(super) const RULE: Rule = Rule {
    explanation: Explanation {
        word: "partial-teardown",
        claim: "A container's runtime is done with it, and its cgroup is gone from some hierarchies and left in \
                others.",
        evidence: &[
            "the creation of the cgroup in each hierarchy by runc, crun or youki, seen while tracing",
            "its removal from some of them",
            "that the runtime's state of the container was gone, from where the process that made it keeps it, after a \
             delete; or after its create or run that failed",
            "that it was still there in the others 20 s later, empty, and no process that makes or deletes the \
             container was running",
            "removals of it that failed there since the container was torn down, if there were any",
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
        ],
    },
    known: &[],
    call: None,
    failed_start: None,
    stuck: None,
    event: Some(OnEvent { of: &[Change::Emptied], begins: left::emptied, written: None }),
    deadline: Some(OnDeadline {
        after_runtime: Some(left::PATIENCE),
        while_dying: None,
        withdrawn_by: &[Change::Removed, Change::Populated],
        begins: |deadline, world| left::is_left_behind(deadline, world, Made::is_removed_in_part),
    }),
    course: left::COURSE,
    hurt: left::hurt,
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

fn judge(weighed: &Weighed, world: &World) -> Option<Judgement> {
    let story = weighed.story;
    let main = weighed.main?;
    if weighed.severity == Severity::Benign && story.told.is_none() {
        return None;
    }
    let cause = match &story.told {
        // What it was known by may be forgotten, and what came later is none of it.
        Some(told) => told.cause,
        None if left::refused(story, world).is_some() => REFUSED,
        None => NOT_ATTEMPTED,
    };
    let mut because = left::gaps(weighed, world);
    let has_left = wording::verb(&because, "left", "may have left");
    let why = left::why(weighed, world, cause == REFUSED, " there", &mut because);
    let others = match left::made(story, world).map(Made::gone) {
        None => " others".to_owned(),
        Some(1) => " another one".to_owned(),
        Some(more) => format!(" {more} others"),
    };
    let hierarchies = match story.members.len() {
        1 => "in one hierarchy".to_owned(),
        more => format!("in {more} hierarchies"),
    };
    let after = left::after(weighed, world);
    let summary = format!(
        "{} {has_left} {} behind {hierarchies}, empty, though it is gone from{others}: {why}; {}{after}",
        wording::who(&main.actor),
        wording::whose(weighed),
        wording::end(weighed, world),
    );
    Some(Judgement { cause, because, summary, rival: None })
}

#[cfg(test)]
mod tests;
