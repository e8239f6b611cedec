//! Whether a teardown of what is not there hurt, and in which order what participants tell counts.

use super::{Job, Rule, Severity, World};
use crate::input::{Actor, Exit, HierarchyId, Pid};
use crate::state::{Participant, Story};

/// What [`of_teardown`] does, in words.
pub(super) const OF_TEARDOWN: &[&str] = &[
    "To tear down: `fault` if it exited with another status than 0, or if the runtime's state of the container is \
     still there after it; else `benign`, but `undetermined` if the cgroup exists under another name, or on v1 may, \
     because events were lost.",
    "To start: `benign` if it exited 0, or if it failed and its state of the container is gone: it failed for a \
     reason of its own, and `first_failure` names what failed first on cgroupfs, if anything did. `fault` if it \
     failed and its state is still there. `undetermined` if nobody could look.",
    "To remove a directory: `benign`, whatever its status: the cgroup is not there, which is what it wanted. \
     `undetermined` if the cgroup exists under another name, or may.",
    "Anything else: `benign` if it exited 0, else `undetermined`: its status alone proves nothing. `undetermined`, \
     too, if the cgroup exists under another name, or may.",
    "systemd: `benign`, even while it runs: it removes the cgroup of a unit again at each step of the unit's end, and \
     what is not there is done.",
];

/// systemd tries again when the kernel tells it that a cgroup is empty, and takes one that is not there for removed.
pub(super) fn is_systemd(actor: &Actor) -> bool {
    actor.pid == Pid(1) || actor.comm == "systemd"
}

/// What a teardown of what is not there did to one who tried.
pub(super) fn of_teardown(participant: Option<&Participant>, story: &Story, world: &World) -> Severity {
    let member = story.member_of(participant);
    // What nobody was seen removing may be there under another name, if its renaming was lost. cgroup2 has no renaming.
    let may_be_renamed = || {
        let is_v1 = member.place.hierarchy != HierarchyId(0);
        let since = member.since.unwrap_or(story.began);
        is_v1 && !world.coverage.gaps_in_lifecycle(since.min(story.began)).is_empty()
    };
    let is_renamed = member.removal.is_none() && (member.renaming.is_some() || may_be_renamed());
    let Some(participant) = participant else { return Severity::Undetermined };
    if is_systemd(&participant.actor) && !is_renamed {
        return Severity::Benign;
    }
    let Some(exit) = participant.exit() else { return Severity::Undetermined };
    match (participant.job, exit, participant.state_left) {
        // Whoever killed it is to blame for what it left behind.
        (_, Exit::Signal(_), _) => Severity::Undetermined,
        // What it was there for could not be read: its exit status may mean anything.
        (Job::Other, _, _) if participant.is_unread => Severity::Undetermined,
        (Job::Teardown, _, Some(true)) => Severity::Fault,
        // The state is that of the container which it has started.
        (Job::Start, Exit::Code(0), _) => Severity::Benign,
        (Job::Start, _, Some(true)) => Severity::Fault,
        (Job::Start, _, Some(false)) => Severity::Benign,
        (Job::Teardown | Job::Removal | Job::Other, Exit::Code(0), _) if is_renamed => Severity::Undetermined,
        (Job::Teardown | Job::Removal | Job::Other, Exit::Code(0), _) => Severity::Benign,
        (Job::Teardown, Exit::Code(_), Some(false) | None) => Severity::Fault,
        // It is not there, which is what was wanted; a renamed one still is.
        (Job::Removal, Exit::Code(_), _) if !is_renamed => Severity::Benign,
        (Job::Removal | Job::Start | Job::Other, Exit::Code(_), _) => Severity::Undetermined,
    }
}

/// What it was to all. Those that are not followed may have been hurt.
pub(super) fn of_all(rule: &Rule, story: &Story, world: &World) -> Severity {
    let others = story.has_more_that_matter.then_some(Severity::Undetermined);
    let each = story.participants.iter().map(|participant| (rule.hurt)(Some(participant), story, world));
    each.chain(others).max().unwrap_or_else(|| (rule.hurt)(None, story, world))
}
