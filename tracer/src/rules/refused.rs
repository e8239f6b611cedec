//! Removals of what exists that are refused: what `busy-teardown` and `denied-teardown` have in common.
//!
//! That the cgroup was there is known from its life. Whether the refusal hurt depends on what is left of the cgroup,
//! and on what became of the process that tried.

use super::judge::{ANOTHER_ONE, any_is_left, is_there};
use super::{Call, Weighed, World, gone};
use crate::errno::Errno;
use crate::findings::{Job, Severity};
use crate::input::{Actor, Change, Exit};
use crate::oci::RuntimeCommand;
use crate::state::{Case, Cgroups, Course, Member, Moment, Notes, Participant, SETTLES, Story};

/// What [`hurt`] does, in words, by what a process was there for.
pub(super) const TO_TEAR_DOWN: &str = "\
    To tear down: `fault` if it exited with another status than 0, or if the cgroup or the runtime's state of the \
    container is left; `undetermined` if it exited 0 and nobody knows whether the cgroup is left; else `benign`.";
pub(super) const TO_START: &str = "\
    To start: `fault` if it failed and left the runtime's state of the container, or a cgroup that it had made; \
    `fault`, too, if it ran a container to its end and left such a cgroup. Else `benign` if it exited 0, and \
    `undetermined` if not.";
pub(super) const TO_DO_ELSE: &str = "\
    To remove a directory, or anything else that exited 0: `benign` if the cgroup is gone, else `undetermined`. \
    Anything else: `undetermined`.";
pub(super) const WHATEVER_FOR: &str = "\
    Whatever it was there for: `benign` if it removed the cgroup itself after all; `undetermined` if it was killed, \
    or still runs. On cgroup v1, the cgroup is gone only if it is gone from every hierarchy that the finding is \
    about.";

/// How stories of refusals go.
pub(super) const COURSE: Course = Course { joins, settles: SETTLES, follows: &[Change::Removed], ..gone::COURSE };

/// In another hierarchy it is the same cgroup only if it is called the same: what is in it has a story of its own.
fn joins(story: &Story, moment: &Moment, case: &Case, notes: &Notes) -> bool {
    let is_called_so = |member: &Member| member.place.name() == moment.place().name();
    story.members.iter().all(is_called_so) && (gone::COURSE.joins)(story, moment, case, notes)
}

/// The refusal of a removal that a failed call is, if there is such a cgroup.
pub(super) fn case(call: &Call) -> Option<Case> {
    let existing = call.existing?;
    // A call that did not find it before it was made was not about this one.
    let since = existing.created.map(|created| created.at);
    Some(Case { existing: Some(existing), since, container: call.container.cloned(), ..Case::default() })
}

/// What the refusal did to one who tried.
pub(super) fn hurt(participant: Option<&Participant>, story: &Story, world: &World) -> Severity {
    let Some(participant) = participant else { return Severity::Undetermined };
    let left = any_is_left(story, world.cgroups);
    let has_removed =
        |member: &Member| remover(member, story, world.cgroups).is_some_and(|actor| participant.is(actor));
    if left == Some(false) && story.members.iter().all(has_removed) {
        return Severity::Benign;
    }
    let Some(exit) = participant.exit() else { return Severity::Undetermined };
    // A start clears up what it has made; what was there before is none of its.
    let started = participant.actor.identity.as_ref().and_then(|identity| identity.started);
    let is_own = |member: &&Member| {
        let created = member.existing.and_then(|existing| existing.created);
        created.zip(started).is_some_and(|(created, started)| created.at >= started)
    };
    let leaves_own = || story.members.iter().filter(is_own).any(|own| is_there(own, world.cgroups));
    // The cgroup of a container that runs when its start is over is to be there.
    let is_over = || RuntimeCommand::of(&participant.actor).is_some_and(|command| command.runs_to_its_end());
    match (participant.job, exit) {
        // Whoever killed it is to blame for what it left behind.
        (_, Exit::Signal(_)) => Severity::Undetermined,
        // What it was there for could not be read: its exit status may mean anything.
        (Job::Other, _) if participant.is_unread => Severity::Undetermined,
        (Job::Teardown, Exit::Code(0)) if left == Some(true) || participant.state_left == Some(true) => Severity::Fault,
        (Job::Teardown, Exit::Code(0)) if left.is_none() => Severity::Undetermined,
        (Job::Teardown, Exit::Code(code)) if code != 0 => Severity::Fault,
        (Job::Start, Exit::Code(0)) if leaves_own() && is_over() => Severity::Fault,
        (Job::Teardown | Job::Start, Exit::Code(0)) => Severity::Benign,
        (Job::Start, _) if participant.state_left == Some(true) || leaves_own() => Severity::Fault,
        (Job::Removal, _) | (Job::Other, Exit::Code(0)) if left == Some(false) => Severity::Benign,
        (Job::Teardown | Job::Start | Job::Removal | Job::Other, _) => Severity::Undetermined,
    }
}

/// Who removed it after the refusal. `None` if it is there, or if that was not seen.
fn remover<'a>(member: &Member, story: &Story, cgroups: &'a Cgroups) -> Option<&'a Actor> {
    let existing = member.existing.as_ref()?;
    let removal = cgroups.removal(&member.place).filter(|removal| removal.at >= story.began)?;
    let is_of_it = removal.cgroup.id == Some(existing.id) && removal.created == existing.created;
    removal.actor.as_ref().filter(|_| is_of_it)
}

/// Why it may not be so. `None` if there is nothing to be told: a later call did not find the cgroup, so it is not
/// there, whatever was answered first, and its removal was lost.
pub(super) fn gaps(weighed: &Weighed, world: &World) -> Option<Vec<String>> {
    let (story, member, left) = (weighed.story, weighed.member, weighed.outcome.cgroup_left);
    let since = member.existing.and_then(|existing| existing.created).map(|created| created.at);
    let mut because = world.coverage.gaps_in_lifecycle(since.unwrap_or_default());
    because.extend(weighed.gaps_in_processes(world, None));
    let is_missing = |errno: Errno| matches!(errno, Errno::ENOENT | Errno::ENODEV);
    let mut of_it = story.kept_calls().filter(|note| note.place == member.place && note.file.is_none());
    if left != Some(false) && of_it.any(|note| note.attempt.at > story.began && is_missing(note.attempt.errno)) {
        story.told.as_ref()?;
        because.push("a later call did not find it".to_owned());
    }
    if left.is_none() {
        because.push(ANOTHER_ONE.to_owned());
    }
    if story.is_cut_short {
        let why = if story.is_over { "tracing ended" } else { "there was no room to wait" };
        because.push(format!("{why} before it could be made good"));
    }
    Some(because)
}

/// What was left, as the end of the sentence.
pub(super) fn behind(weighed: &Weighed) -> &'static str {
    match (weighed.severity, weighed.outcome.state_left, weighed.outcome.cgroup_left) {
        (_, Some(true), _) => " and left the container's state behind",
        (Severity::Fault, _, Some(true)) => " and left the cgroup behind",
        _ => "",
    }
}
