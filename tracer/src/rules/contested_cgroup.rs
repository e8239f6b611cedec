//! `contested-cgroup`: two managers change one cgroup, and one of them undid what the other had done.
//!
//! Told is a process that a runtime, or systemd, had put into a container's cgroup, or that was the last one in it, and
//! that somebody else moved out ([`moved`]); a value of a control file that somebody else wrote over ([`changed`]); and
//! a cgroup that somebody removed before its runtime had put anybody into it ([`removed`]). Nothing fails at that
//! moment: limits do not hold any more, and the runtime finds the cgroup empty, or not at all.
//!
//! Precision first. Whoever may belong to those who run the container is not told of: a runtime or an engine, whoever
//! the first one started or was started by, a process in the container, the process itself.

mod changed;
mod known;
mod moved;
mod removed;

use std::sync::Arc;
use std::time::Duration;

use super::{Beginning, Judgement, OnEvent, Rule, Weighed, World, shape};
use crate::container::Container;
use crate::findings::{Cause, Explanation, Finding, Severity};
use crate::input::{Actor, BootTime, Change, Event, Pid};
use crate::oci;
use crate::state::{Case, Course, Moment, Notes, Participant, SETTLES, STORY_AGE, Story, Told, Undone};

pub(super) const RULE: Rule = Rule {
    explanation: Explanation {
        word: "contested-cgroup",
        claim: "Two managers change one cgroup, and one of them undid what the other had done.",
        evidence: &[
            "the event that a runtime, or systemd, put a process into a container's cgroup (`attached`)",
            "the later event that another process moved it out of the container's cgroups in the same hierarchy, while \
             the first cgroup still existed",
            "or that the container's cgroup lost its last process (`emptied`) as another one moved a process elsewhere",
            "two writes to one control file (`change`): the value that one process had set, and the other value that \
             another process wrote over it; for two that both have nothing to do with containers also the third \
             write, which set the first value again",
            "the removal of a container's cgroup that its runtime had made, had put nobody into yet, and did not \
             remove",
            "who both are: their programs, their parents, and in which cgroup the second one is itself",
        ],
        confirm: &[
            ("look where the process is now", "cat /proc/PID/cgroup"),
            ("look what is set now", "cat /sys/fs/cgroup/PATH/FILE"),
            (
                "look what the one that moved, wrote or removed is",
                "ps -o pid,ppid,user,args -p PID; systemctl status PID",
            ),
            ("look whether systemd leaves the cgroup to its runtime", "systemctl show -p Delegate,Slice UNIT"),
        ],
        causes: &[MOVED_BY_OTHER, CHANGED_BY_OTHER, REMOVED_BY_OTHER],
        severity: &[
            "`moved-by-other`: `benign` when a runtime has put the process back. Else `undetermined`: the limits of \
             the container do not hold for that process any more, and whether that matters is not known.",
            "`changed-by-other`: `benign` when all that was overwritten was set back. Else `undetermined`: whether the \
             other value does harm is not known.",
            "`removed-by-other`: `fault` if the runtime failed to start the container after a call of its own found \
             the cgroup gone, `benign` if it exited 0, else `undetermined`.",
        ],
        false_positives: &[
            "An agent that is meant to sort processes into cgroups of its own. Not told of is a move by a runtime or \
             an engine, by the process itself, by a process in the container or one whose parent or child put it \
             there, and a move to a cgroup within the container's own.",
            "A process that began in the cgroup was not seen to be put there (one that another one there has made, or \
             clone3 with CLONE_INTO_CGROUP): that it is moved out is told only if it was the last one.",
            "The number of a process that has ended may be another one's later. More than ten minutes after the first \
             move the finding says so, and is degraded.",
            "Writes that succeed are seen with trampolines only: without them `changed-by-other` is never told. Where \
             writes were lost, or nobody was seen to write the value before, who set it is not known, and nothing is \
             told, or the finding is degraded.",
            "An administrator or an agent that changes a container's limit on purpose. Not told is what a runtime or \
             an engine writes over, and what systemd writes if a runtime writes the same, or another value, within two \
             seconds. Where neither of the two runs containers, one change is ordinary: it \
             is told only when the first one sets its value again.",
            "A removal is told here only if no other finding tells of it: a runtime that tries to remove it, too, \
             makes a `duplicate-teardown`, and one that could not put its process there a `refused-attach`.",
        ],
    },
    known: known::KNOWN,
    call: None,
    failed_start: None,
    stuck: None,
    event: Some(OnEvent { of: &[Change::Attached, Change::Removed], begins, written: Some(changed::begins) }),
    deadline: None,
    course: Course { joins, gathers: |_, _| false, patience: PATIENCE, settles: SETTLES, waits, follows: &[], is_news },
    hurt,
    judge,
};

const MOVED_BY_OTHER: Cause = Cause {
    word: "moved-by-other",
    meaning: "A process was moved out of its container's cgroup by somebody who does not run the container.",
    advice: "Find out what the process that moved it is there for, and keep it from containers' cgroups: by its \
             configuration (cgrulesengd, a monitoring or security agent), or with Delegate=yes on the unit that the \
             runtime makes cgroups below, if it is systemd. Restart the container: until then its limits do not hold.",
    is_routine: false,
};

const CHANGED_BY_OTHER: Cause = Cause {
    word: "changed-by-other",
    meaning: "A value that one process had set in a control file was overwritten by somebody else, who does not run \
              the container.",
    advice: "Let one of the two set it. If the one that overwrote it is systemd, it set what its unit says, at a \
             daemon-reload for example: have the value set through systemd (the systemd cgroup driver, or systemctl \
             set-property), or put the cgroup below a unit with Delegate=yes. Else keep that program from the cgroup \
             by its configuration. Set the value again: docker update, or restart the container.",
    is_routine: false,
};

const REMOVED_BY_OTHER: Cause = Cause {
    word: "removed-by-other",
    meaning: "A cgroup that a runtime had made for a container was removed by somebody who does not run it, before \
              anybody was put into it.",
    advice: "Keep what clears up cgroups (a cron job, a cleaning agent) from those of containers: an empty one may \
             have been made just now. If it is systemd, put the runtime's cgroups below a unit with Delegate=yes, or \
             use the systemd cgroup driver.",
    is_routine: false,
};

/// Who moves all processes of a container, or sets all of its limits, does it at once; and what is put back at once is
/// no news. A runtime sets a limit itself after it had systemd set it.
const PATIENCE: Duration = Duration::from_secs(1);
/// See [`PATIENCE`].
const PATIENCE_WITH_WRITES: Duration = Duration::from_secs(2);

fn begins(event: &Event, world: &World) -> Option<Beginning> {
    match event.change {
        Change::Removed => removed::begins(event, world),
        _ => moved::begins(event, world),
    }
}

/// Whether somebody may have to do with who runs the container. `first`: who had put the process there, set the value,
/// or made the cgroup.
fn may_run_it(other: &Actor, first: Option<&Actor>, container: Option<&Container>) -> bool {
    let parents = |actor: &Actor| {
        let identity = actor.identity.as_ref();
        identity.map(|own| own.parents.iter().map(|parent| parent.pid).collect::<Vec<_>>()).unwrap_or_default()
    };
    let of_other = parents(other);
    let nearest = |all: &[Pid]| all.first().copied().filter(|pid| *pid != Pid(1));
    let is_kin = first.is_some_and(|first| {
        let of_first = parents(first);
        other.is_same_process_as(first)
            || first.pid != Pid(1) && of_other.contains(&first.pid)
            || other.pid != Pid(1) && of_first.contains(&other.pid)
            || nearest(&of_other).is_some_and(|parent| nearest(&of_first) == Some(parent))
    });
    let cgroup = other.identity.as_ref().and_then(|identity| identity.cgroup.as_ref());
    let is_inside =
        |container: &Container| cgroup.is_some_and(|cgroup| contains(cgroup.as_bytes(), container.id.as_bytes()));
    is_kin || container.is_some_and(is_inside) || oci::is_runtime(other) || is_of_lxc(other)
}

/// LXC's other programs, and the monitor of a container, write to its control files for those who run it.
fn is_of_lxc(actor: &Actor) -> bool {
    shape::program(actor).is_some_and(|program| program.starts_with("lxc-") || program.starts_with("[lxc monitor]"))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

fn joins(story: &Story, moment: &Moment, case: &Case, _: &Notes) -> bool {
    let of = |container: &Option<Arc<Container>>| container.as_ref().map(|container| container.id.clone());
    let is_same = of(&story.container) == of(&case.container) && moment.at().since(story.last_at) <= STORY_AGE;
    let takes_part = || moment.actor().is_some_and(|actor| story.has(actor));
    is_same
        && match (story.undone.as_deref(), case.undone.as_deref()) {
            (Some(Undone::Moved(_)), Some(Undone::Moved(_))) => takes_part(),
            (Some(Undone::Removed(_)), Some(Undone::Removed(_))) => takes_part(),
            (Some(Undone::Overwritten(all)), Some(Undone::Overwritten(_))) => {
                let is_first = |actor: &Actor| all.iter().any(|one| one.before.actor.is_same_process_as(actor));
                story.member_at(moment.place()).is_some() && (takes_part() || moment.actor().is_some_and(is_first))
            }
            _ => false,
        }
}

/// All that is undone at once is told of together.
fn waits(story: &Story) -> Option<BootTime> {
    let patience = match story.undone.as_deref() {
        Some(Undone::Moved(_)) | None => PATIENCE,
        Some(Undone::Overwritten(_) | Undone::Removed(_)) => PATIENCE_WITH_WRITES,
    };
    Some(story.began + patience)
}

fn is_news(told: &Told, finding: &Finding) -> bool {
    told.severity != finding.severity || told.certainty != finding.certainty || told.says_otherwise(finding)
}

fn hurt(_: Option<&Participant>, story: &Story, world: &World) -> Severity {
    match story.undone.as_deref() {
        Some(Undone::Moved(moved)) => moved::hurt(moved, story, world),
        Some(Undone::Overwritten(all)) => changed::hurt(all, story, world),
        Some(Undone::Removed(removed)) => removed::hurt(removed, world),
        None => Severity::Undetermined,
    }
}

fn judge(weighed: &Weighed, world: &World) -> Option<Judgement> {
    match weighed.story.undone.as_deref()? {
        Undone::Moved(moved) => moved::judge(moved, weighed, world),
        Undone::Overwritten(all) => changed::judge(all, weighed, world),
        Undone::Removed(removed) => removed::judge(removed, weighed, world),
    }
}

/// Why it may not be known who did it.
fn unknown_program(actor: &Actor, what: &str) -> Option<String> {
    let is_unknown = actor.identity.as_ref().is_none_or(|identity| identity.argv.is_none());
    is_unknown.then(|| format!("what the one that {what} is, is not known"))
}

#[cfg(test)]
pub(super) mod tests;
