//! `stale-cgroup`: a new container met a cgroup of its name that was left over.
//!
//! Most runtimes take an empty cgroup that is there for their own, and so does everybody with the cgroups around: that
//! is no news. Two do not. LXC wants one that it has made itself, and its `mkdir` fails. runc refuses one that somebody
//! is in, or that is frozen, and no call of it fails at all: such a story begins with the end of a start, and what is
//! known of the cgroup.

mod known;

use std::sync::Arc;
use std::time::Duration;

use super::{Call, FailedStart, Judgement, Rule, Weighed, World, wording};
use crate::container::{self, Container};
use crate::duration;
use crate::errno::Errno;
use crate::findings::{Cause, Explanation, Finding, Severity};
use crate::input::{Actor, BootTime, Change, Exit, Occupant, OccupantState, Operation};
use crate::lxc;
use crate::name::{Name, components};
use crate::oci::RuntimeCommand;
use crate::state::{
    Case, Course, Existing, Live, Member, Moment, Notes, Participant, Place, SETTLES, STORY_AGE, Story, Told,
};

pub(super) const RULE: Rule = Rule {
    explanation: Explanation {
        word: "stale-cgroup",
        claim: "A new container met a cgroup of its name that was left over.",
        evidence: &[
            "name-taken: the failed mkdir (EEXIST) of the container's own cgroup, or of its monitor's, by LXC; and the \
             cgroup with a number behind its name that it made instead, or its exit status",
            "occupied and frozen: the exit status of runc's create or run; that it left no state; that it made no \
             cgroup for the container and not its first process; and the cgroup that it would have had, which was \
             there before",
            "who was in it then: found there a moment later, or seen to come in before",
            "that its runtime was done with it, if that was seen; and what runc's log says",
        ],
        confirm: &[
            ("look who is in it", "cat /sys/fs/cgroup/PATH/cgroup.procs"),
            ("look what the runtime said", "the log of the engine, or runc's own (--log)"),
            ("check runc's version: 1.2 and later refuse it", "runc --version"),
        ],
        severity: &[
            "name-taken: `benign` if LXC made a cgroup of another name instead; `fault` if it made none and exited \
             with another status than 0, and nothing else was seen to fail after that. Else nothing is told.",
            "occupied: `fault` if runc's log says so (--log, which containerd, Docker and Podman give it). Nothing is \
             told if the log says something else. `undetermined` without one: an older runc takes such a cgroup, and \
             fails for another reason.",
            "frozen: `fault`. It is told only where the log says so.",
            "Nothing is a fault of a user who may not make a cgroup there (it is not root, and the place is not in its \
             own slice): anybody may call a program runc.",
        ],
        causes: &[OCCUPIED, FROZEN, NAME_TAKEN],
        false_positives: &[
            "A start of runc without a log that failed before it looked at the cgroup (for an invalid config.json, \
             say) looks the same: occupied is undetermined then, and claims that the cgroup was there and in use, not \
             that the start failed of it.",
            "Nothing is told of a start into a cgroup that is there and empty, of one that goes well, of cgroups \
             around a container's own (EEXIST is usual there), of a cgroup that another container has (unless a log \
             says that it was refused), and of one whose container has state: it is started again into its own. A run \
             with --keep leaves its state to its caller, and is never told of.",
            "Where several cgroups of a hierarchy have the container's name, it is not known which one it would have \
             had, and nothing is told.",
        ],
    },
    known: known::KNOWN,
    call: Some(call),
    failed_start: Some(failed_start),
    stuck: None,
    event: None,
    deadline: None,
    course: Course {
        joins,
        gathers: |_, _| false,
        patience: Duration::from_secs(2),
        settles: SETTLES,
        waits,
        follows: &[Change::Removed],
        is_news,
    },
    hurt,
    judge,
};

const OCCUPIED: Cause = Cause {
    word: "occupied",
    meaning: "A start failed, and somebody is in the cgroup that its container would have had: runc 1.2 and later \
              refuse it, and 1.1 with systemd.",
    advice: "End the processes that the summary names, or move them out, and remove the cgroup (rmdir). Then find out \
             why it was left: look for a finding of its removal, or who put the processes there.",
    is_routine: false,
};

const FROZEN: Cause = Cause {
    word: "frozen",
    meaning: "A start failed, as its log says, since the cgroup that its container would have had is frozen: runc 1.2 \
              and later refuse it.",
    advice: "Remove the cgroup (rmdir); if somebody is in it, thaw it first (echo 0 > cgroup.freeze; on v1 echo THAWED \
             > freezer.state). Then find out who froze it and left it.",
    is_routine: false,
};

const NAME_TAKEN: Cause = Cause {
    word: "name-taken",
    meaning: "LXC wants a cgroup that it has made itself, and the name was taken.",
    advice: "Remove the old one (rmdir) when nobody is in it. Until then programs that look for the container's cgroup \
             by its name look at the wrong one. With lxc.cgroup.dir.container and lxc.cgroup.dir.monitor LXC takes no \
             other name, and the container does not start.",
    is_routine: false,
};

/// LXC tries a thousand names at once.
const LADDER: Duration = Duration::from_secs(10);
/// For the look into the cgroup, and for the one after the runtime's state.
const LOOK: Duration = Duration::from_secs(1);

/// Whether LXC wants to make a container's own cgroup, or its monitor's, whatever number is behind its name.
fn call(call: &Call, _: &World) -> Option<Case> {
    let attempt = &call.note.attempt;
    if attempt.operation != Operation::Mkdir || attempt.errno != Errno::EEXIST {
        return None;
    }
    let existing = call.existing?;
    let wanted = wanted(&attempt.actor, &call.place().path)?;
    Some(Case { wanted: Some(wanted), ..case(existing, call.container.cloned()) })
}

/// The cgroup that LXC would have made if its name had not been taken: the path without the number behind it.
fn wanted(actor: &Actor, path: &Name) -> Option<Name> {
    lxc::cgroup_of(path, &started_by(actor)?)
}

/// The container that a process of LXC's is there for.
fn started_by(actor: &Actor) -> Option<Name> {
    lxc::container(actor.identity.as_ref()?.argv.as_deref()?)
}

/// The runtime that refuses a cgroup which somebody is in.
const REFUSES: &str = "runc";

fn failed_start(start: &FailedStart, world: &World) -> Option<Case> {
    let command = start.known.command.as_ref().filter(|command| command.runtime == REFUSES)?;
    // A call that failed is why. Who runs with --keep leaves nothing that tells whether it came to make a container.
    if start.known.last_failure.is_some() || !command.may_leave_state() {
        return None;
    }
    let owner = owner(start.place, start.live);
    // Only a log says that a start was refused the cgroup of a container that has it.
    if command.log.is_none() && owner.is_some_and(|owner| !is_left(command, owner, start.existing, start.place, world))
    {
        return None;
    }
    // It is the container's that it was given to first.
    let is_anothers = |owner: &&Arc<Container>| {
        let made = world.makers.of(&owner.id, (start.place.hierarchy, start.existing.id));
        !command.is_about(&owner.id) && made.is_some_and(|made| made.done.is_none())
    };
    Some(case(start.existing, owner.filter(is_anothers).or(start.container).cloned()))
}

/// The container whose own cgroup it is, as far as that is known.
fn owner<'a>(place: &Place, live: &'a Live) -> Option<&'a Arc<Container>> {
    let depth = components(place.path.as_bytes()).count();
    live.container.as_ref().filter(|owner| owner.depth() == depth)
}

/// Whether nobody is known to have the cgroup that a runtime was to use: no other container, and not its own one in
/// another of the runtime's roots.
fn is_left(command: &RuntimeCommand, owner: &Container, existing: Existing, place: &Place, world: &World) -> bool {
    let made = world.makers.of(&owner.id, (place.hierarchy, existing.id));
    command.is_about(&owner.id) && made.is_none_or(|made| made.done.is_some())
}

fn case(existing: Existing, container: Option<Arc<Container>>) -> Case {
    // What failed there before it was made was about another one.
    let since = existing.created.map(|created| created.at);
    Case { existing: Some(existing), since, container, ..Case::default() }
}

/// Why runc refuses a cgroup, as its log says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// Somebody is in it, or below it.
    Occupied,
    Frozen,
}

/// `None` if the log says something else.
fn refusal(message: &Name) -> Option<Refusal> {
    let says = |what: &[u8]| message.as_bytes().windows(what.len()).any(|part| part == what);
    if says(b"container's cgroup is not empty") {
        Some(Refusal::Occupied)
    } else {
        says(b"container's cgroup unexpectedly frozen").then_some(Refusal::Frozen)
    }
}

/// Every start that meets the same one, and the other names that such a start tries then.
fn joins(story: &Story, moment: &Moment, case: &Case, _: &Notes) -> bool {
    let is_call = matches!(moment, Moment::Call(_));
    let is_same = story.participants.iter().all(|participant| participant.errno.is_some() == is_call);
    is_same
        && moment.at().since(story.last_at) <= STORY_AGE
        && match story.member_at(moment.place()) {
            Some(member) => member.is_same_life(case),
            None => is_next_name(story, moment, case),
        }
}

/// Whether LXC tries another name for the same cgroup, or the same one in another hierarchy.
fn is_next_name(story: &Story, moment: &Moment, case: &Case) -> bool {
    let Some((actor, wanted)) = moment.actor().zip(case.wanted.as_ref()) else { return false };
    let is_for_it = |member: &Member| self::wanted(actor, &member.place.path).as_ref() == Some(wanted);
    story.lasts(actor) && story.members.iter().all(is_for_it)
}

fn waits(story: &Story) -> Option<BootTime> {
    let until = |participant: &Participant| match (participant.errno, participant.ended) {
        (None, _) => participant.at + LOOK,
        (Some(_), Some(end)) => end.at,
        (Some(_), None) => participant.at + LADDER,
    };
    story.participants.iter().map(until).max()
}

fn is_news(told: &Told, finding: &Finding) -> bool {
    told.severity != finding.severity
        || told.cause != finding.cause
        || told.certainty != finding.certainty
        || told.is_outgrown(finding.attempt_count)
}

/// The other cgroup that LXC made when the name was taken.
fn other<'a>(participant: &Participant, story: &Story, world: &'a World) -> Option<&'a Name> {
    let place = &story.member_of(Some(participant)).place;
    let own = wanted(&participant.actor, &place.path)?;
    let until = participant.ended.map_or(participant.at + LADDER, |end| end.at);
    let is_other = |path: &Name| *path != place.path && wanted(&participant.actor, path).as_ref() == Some(&own);
    world.cgroups.made_within(place.hierarchy, (participant.at, until), is_other)
}

fn hurt(participant: Option<&Participant>, story: &Story, world: &World) -> Severity {
    let Some(participant) = participant else { return Severity::Undetermined };
    // No call says why runc failed; its log does.
    if participant.errno.is_none() {
        let why = participant.said.as_ref().and_then(refusal);
        let is_told = why.is_some() && may_make_there(participant, story);
        return if is_told { Severity::Fault } else { Severity::Undetermined };
    }
    let last_failure = world.processes.of(&participant.actor).and_then(|known| known.last_failure.as_ref());
    let has_failed_since = last_failure.is_some_and(|failure| failure.at >= participant.at);
    match participant.exit() {
        _ if other(participant, story, world).is_some() => Severity::Benign,
        Some(Exit::Code(code)) if code != 0 && !has_failed_since && may_make_there(participant, story) => {
            Severity::Fault
        }
        Some(Exit::Code(_) | Exit::Signal(_)) | None => Severity::Undetermined,
    }
}

/// Whether it could have made a cgroup there: anybody may call a program `runc` or `lxc-start`, with any id and any
/// log.
fn may_make_there(participant: &Participant, story: &Story) -> bool {
    let uid = participant.actor.uid;
    let is_own = |member: &Member| uid.is_some() && container::user(&member.place.path) == uid;
    uid == Some(0) || is_own(story.member_of(Some(participant)))
}

fn judge(weighed: &Weighed, world: &World) -> Option<Judgement> {
    let main = weighed.main?;
    match main.errno {
        Some(_) => name_taken(weighed, main, world),
        None => occupied(weighed, main, world),
    }
}

fn name_taken(weighed: &Weighed, main: &Participant, world: &World) -> Option<Judgement> {
    let Weighed { story, member, .. } = *weighed;
    let other = other(main, story, world);
    if story.told.is_none() && weighed.severity == Severity::Undetermined {
        return None;
    }
    let because = gaps(weighed, world);
    let was = wording::verb(&because, "was", "may have been");
    let outcome = match other {
        Some(path) => format!("it made {path} instead"),
        None => format!("it made no other one, and {}", wording::end(weighed, world)),
    };
    let others = match story.members.len() - 1 {
        0 => String::new(),
        1 => format!(", and {} too", story.members.iter().find(|other| other.place != member.place)?.place.path),
        more if story.has_room() => format!(", and {more} more of its names too"),
        more => format!(", and {more} or more of its other names too"),
    };
    let summary = format!(
        "{} was to make {} for container {}, but it {was} there already ({}){others}: {outcome}",
        wording::subject(weighed, None),
        member.place.path,
        started_by(&main.actor)?,
        past(weighed, world),
    );
    Some(Judgement { cause: NAME_TAKEN, because, summary, rival: None })
}

fn occupied(weighed: &Weighed, main: &Participant, world: &World) -> Option<Judgement> {
    // What left state, or may have, and what made a process of the container, had come to make its container.
    let began = main.actor.identity.as_ref()?.started?;
    let has_come_far = main.state_left != Some(false) || world.processes.has_made_init(main.actor.pid, began);
    let refused = main.said.as_ref().map(refusal);
    let command = RuntimeCommand::of(&main.actor)?;
    let (member, place) = (weighed.member, &weighed.member.place);
    let existing = member.existing?;
    let live = world.cgroups.get(place.hierarchy, existing.id).filter(|live| live.created == existing.created);
    // Of one that is gone by now it is known whose it was when the start failed.
    let is_left = || match live {
        Some(live) => owner(place, live).is_none_or(|owner| is_left(&command, owner, existing, place, world)),
        None => weighed.story.container.as_ref().is_none_or(|owner| command.is_about(&owner.id)),
    };
    // Without a log it is guessed that it was refused: not where the cgroup is somebody's.
    let has_another_reason = refused.map_or_else(|| !is_left(), |refused| refused.is_none());
    // What a log says needs no more.
    let is_another_story = has_another_reason || refused.is_none() && has_come_far;
    if weighed.story.told.is_none() && is_another_story {
        return None;
    }
    let (cause, who) = match refused.flatten() {
        Some(Refusal::Frozen) => (FROZEN, "it was frozen".to_owned()),
        Some(Refusal::Occupied) => {
            let who = inside(main, began, member, live).unwrap_or_else(|| "somebody was".to_owned());
            (OCCUPIED, format!("{who} in it"))
        }
        None => (OCCUPIED, format!("{} in it", inside(main, began, member, live)?)),
    };
    let because = gaps(weighed, world);
    let why = match &main.said {
        Some(message) => format!("its log says: {message}"),
        None => "runc 1.2 and later refuse that, but why it failed was not seen".to_owned(),
    };
    let shared = match &member.container {
        Some(container) if !command.is_about(&container.id) => {
            let own = command.id.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
            format!(", which container{own} was given too,")
        }
        Some(_) | None => String::new(),
    };
    let summary = format!(
        "{} failed to start a container: {}{shared} {} there already ({}), and {who}; {why}; {}",
        wording::subject(weighed, None),
        wording::whose(weighed),
        wording::verb(&because, "was", "may have been"),
        past(weighed, world),
        wording::end(weighed, world),
    );
    Some(Judgement { cause, because, summary, rival: None })
}

/// Who was in it when the start failed: `sleep[4711] and 2 more processes were`. `None` if nobody was, as far as that
/// is known.
fn inside(main: &Participant, began: BootTime, member: &Member, live: Option<&Live>) -> Option<String> {
    let end = main.ended?.at;
    // Who came in since was not there.
    let found = member.found.as_ref().filter(|found| found.joined.is_none_or(|joined| joined < began));
    let was_there =
        |occupant: &&Occupant| occupant.state != OccupantState::Zombie && occupant.started.is_surely_before(end);
    let inside: Vec<&Occupant> = found.iter().flat_map(|found| &found.occupants.occupants).filter(was_there).collect();
    if let Some(first) = inside.first() {
        let name = format!("{}[{}]", first.comm, first.pid);
        return Some(match inside.len() - 1 {
            0 => format!("{name} was"),
            1 => format!("{name} and one more process were"),
            more => format!("{name} and {more} more processes were"),
        });
    }
    let live = live.filter(|live| live.joined.is_some_and(|joined| joined < began))?;
    (live.is_populated == Some(true) || live.emptied.is_some_and(|emptied| emptied >= end))
        .then(|| "somebody was".to_owned())
}

/// How long it was there, and who left it, as far as that was seen.
fn past(weighed: &Weighed, world: &World) -> String {
    let member = weighed.member;
    let since = |existing: Existing| match existing.created {
        Some(created) => format!("made {} before", duration::human(weighed.story.began.since(created.at))),
        None => "older than this trace".to_owned(),
    };
    let made = member.existing.map(since).unwrap_or_default();
    let done = || {
        let cgroup = (member.place.hierarchy, member.existing?.id);
        world.makers.of(&member.container.as_ref()?.id, cgroup)?.done.as_ref()
    };
    match done() {
        Some(done) => format!("{made}, left behind by {}", wording::who(&done.actor)),
        None => made,
    }
}

/// Why the cgroup may not have been there, or not be the one that is meant.
fn gaps(weighed: &Weighed, world: &World) -> Vec<String> {
    let created = weighed.member.existing.and_then(|existing| existing.created);
    let mut because = world.coverage.gaps_in_lifecycle(created.map(|created| created.at).unwrap_or_default());
    because.extend(weighed.gaps_in_processes(world, None));
    because
}

#[cfg(test)]
mod tests;
