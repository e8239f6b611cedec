//! `missing-path-teardown`: somebody tried to remove a cgroup that had never come to exist.
//!
//! "Never" is claimed only of what could be seen. A creation that failed proves that there was nothing at that moment
//! (`mkdir` of an existing name gives EEXIST before anything else), and from then on everything was seen. A cgroup
//! around it that was itself made under our eyes proves it too. Without either, the cgroup may have come and gone
//! before tracing began, and the finding says "may".

use super::{Cause, Deed, Judgement, Rival, Weighed, World, wording};
use crate::duration;
use crate::errno::Errno;
use crate::input::Operation;
use crate::tracker::{Note, Renaming};

pub(super) fn judge(weighed: &Weighed, world: &World) -> Judgement {
    let story = weighed.story;
    let first = &weighed.main.first;
    if let Some(renaming) = &weighed.member.renaming {
        return renamed(weighed, world, renaming);
    }
    let before = |note: &&Note| note.attempt.is_failed_creation() && note.attempt.at <= story.began.at;
    let creation = story.kept_calls().filter(before).last();
    let read_only =
        story.kept_calls().any(|note| note.attempt.errno == Errno::EROFS && note.attempt.operation != Operation::Open);
    let cause = match creation {
        Some(creation) if creation.attempt.errno == Errno::EROFS => Cause::ReadOnlyMount,
        Some(_) => Cause::CreationFailed,
        None if read_only => Cause::ReadOnlyMount,
        None => Cause::NeverCreated,
    };
    let mut because = gaps(weighed, world, creation, cause);
    because.extend(weighed.gaps_in_processes(world, None));
    if !world.cgroups.is_whole() {
        because.push("there were more cgroups than are remembered: it may be one of them".to_owned());
    }

    let is_made_since = world.cgroups.at_path(&weighed.member.place).is_some();
    let never = match is_made_since {
        true => wording::verb(&because, "had not been created yet", "may not have been created yet"),
        false => wording::verb(&because, "was never created", "may never have been created"),
    };
    let why = match (cause, creation) {
        (_, Some(creation)) => {
            let call = &creation.attempt;
            let is_own = call.actor.is_same_process_as(&first.actor);
            let operation = call.operation.as_str();
            let call_of = match is_own {
                true => format!("its own {operation}"),
                false => format!("the {operation} of {}", wording::who(&call.actor)),
            };
            let read_only = if cause == Cause::ReadOnlyMount { "cgroupfs is mounted read-only there: " } else { "" };
            format!(
                ", because {read_only}{call_of} failed with {} {} earlier",
                call.errno,
                duration::human(first.at.since(call.at)),
            )
        }
        (Cause::ReadOnlyMount, None) => ": cgroupfs is mounted read-only there".to_owned(),
        (_, None) => ": nobody was seen trying to make it".to_owned(),
    };
    let summary = format!(
        "{} tried to tear down {}, which {never}{why}; {}",
        wording::subject(weighed, creation.map(|creation| &creation.attempt)),
        wording::whose(weighed),
        wording::outcome(weighed, world),
    );
    Judgement { cause, because, summary, rival: None }
}

/// It is not there under that name, because it has another one now.
fn renamed(weighed: &Weighed, world: &World, renaming: &Renaming) -> Judgement {
    let first = &weighed.main.first;
    let before = first.at.since(renaming.at);
    let mut because = world.coverage.gaps_in_lifecycle(renaming.at);
    because.extend(weighed.gaps_in_processes(world, None));
    let place = &weighed.member.place;
    let followed = world.cgroups.follow(place).filter(|followed| followed.renaming.seq == renaming.seq);
    let to = followed.map(|followed| followed.place).or_else(|| renaming.forward(place)).map(|place| place.path);
    let summary = format!(
        "{} tried to tear down {}, which is not there by that name: {} {} {} to {} {} earlier; {}",
        wording::subject(weighed, None),
        wording::whose(weighed),
        wording::somebody(&renaming.actor),
        wording::verb(&because, "renamed", "may have renamed"),
        if renaming.from == weighed.member.place { "it".into() } else { renaming.from.path.to_string() },
        renaming.to,
        duration::human(before),
        wording::outcome(weighed, world),
    );
    let rival = Rival {
        actor: renaming.actor.clone(),
        operation: Deed::Rename,
        to,
        at: renaming.at,
        before_ms: wording::milliseconds(before),
    };
    Judgement { cause: Cause::Renamed, because, summary, rival: Some(rival) }
}

fn gaps(weighed: &Weighed, world: &World, creation: Option<&Note>, cause: Cause) -> Vec<String> {
    let story = weighed.story;
    let member = weighed.member;
    // Whoever starts a container means the one that it would have made: nothing was there when it began, or it would be known.
    let began = || {
        let started = weighed.main.first.actor.identity.as_ref()?.started?;
        let was_traced = world.coverage.is_whole_since(started) && world.coverage.gaps_in_walk().is_empty();
        (weighed.main.job.is_start() && was_traced).then_some(started)
    };
    let first = &weighed.main.first;
    let around = || world.cgroups.covered_since(&member.place).filter(|since| *since <= first.at);
    let proof = match creation {
        Some(creation) => Some(creation.attempt.at),
        // What is around it may have been made anew since. The latest proof depends on the least.
        None => member.since.max(around()).max(began()),
    };
    let Some(since) = proof else {
        let mut because = vec![format!(
            "tracing began {} before: it may have been there earlier, and removed before that",
            duration::human(world.coverage.age(story.began.at)),
        )];
        because.extend(world.coverage.gaps_in_walk());
        return because;
    };
    let mut because = world.coverage.gaps_in_lifecycle(since);
    if !world.cgroups.remembers_since(since) {
        because.push("there were more removals since than are remembered".to_owned());
    }
    if world.cgroups.is_past_unclear(&member.place) {
        because.push("a cgroup around it was renamed, and what was removed in it before is not remembered".to_owned());
    }
    if cause == Cause::NeverCreated {
        because.extend(world.coverage.gaps_in_attempts(since));
        let unresolved = world.coverage.gaps_in_resolution(member.place.name(), since, story.began.at);
        because.extend(unresolved.map(str::to_owned));
        if world.forgotten_creation.is_some_and(|at| at >= since) {
            because.push("there were failed mkdir calls since that are not remembered".to_owned());
        }
    }
    because
}
