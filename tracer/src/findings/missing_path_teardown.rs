//! `missing-path-teardown`: somebody tried to remove a cgroup that had never come to exist.
//!
//! "Never" is claimed only of what could be seen. A creation that failed proves that there was nothing at that moment
//! (`mkdir` of an existing name gives EEXIST before anything else), and from then on everything was seen. A cgroup
//! around it that was itself made under our eyes proves it too. Without either, the cgroup may have come and gone
//! before tracing began, and the finding says "may".

use super::{Cause, Judgement, Weighed, World, wording};
use crate::duration;
use crate::errno::Errno;
use crate::input::Operation;
use crate::tracker::Note;

pub(super) fn judge(weighed: &Weighed, world: &World) -> Judgement {
    let story = weighed.story;
    let first = &weighed.main.first;
    let creation = story.kept_calls().find(|note| note.attempt.operation == Operation::Mkdir);
    let read_only =
        story.kept_calls().any(|note| note.attempt.errno == Errno::EROFS && note.attempt.operation != Operation::Open);
    let cause = match creation {
        Some(creation) if creation.attempt.errno == Errno::EROFS => Cause::ReadOnlyMount,
        Some(_) => Cause::CreationFailed,
        None if read_only => Cause::ReadOnlyMount,
        None => Cause::NeverCreated,
    };
    let because = gaps(weighed, world, creation, cause);

    let never = wording::verb(&because, "was never created", "may never have been created");
    let why = match (cause, creation) {
        (_, Some(creation)) => {
            let call = &creation.attempt;
            let maker =
                if call.actor.pid == first.actor.pid { "its own".to_owned() } else { wording::who(&call.actor) };
            let read_only = if cause == Cause::ReadOnlyMount { "cgroupfs is mounted read-only there: " } else { "" };
            format!(
                ", because {read_only}{maker} {} failed with {} {} earlier",
                call.syscall.as_str(),
                call.errno,
                duration::human(first.at.since(call.at)),
            )
        }
        (Cause::ReadOnlyMount, None) => ": cgroupfs is mounted read-only there".to_owned(),
        (_, None) => ": nobody was seen trying to make it".to_owned(),
    };
    let place = &story.members.first().expect("a story begins with its first member").place;
    let summary = format!(
        "{} tried to tear down {}, which {never}{why}; {}{}",
        wording::who(&first.actor),
        wording::whose(story.container.as_deref(), &place.path),
        wording::ladder(story.calls),
        wording::outcome(weighed),
    );
    Judgement { cause, because, summary, rival: None }
}

fn gaps(weighed: &Weighed, world: &World, creation: Option<&Note>, cause: Cause) -> Vec<String> {
    let story = weighed.story;
    let Some(member) = story.members.first() else { return Vec::new() };
    let first = &weighed.main.first;
    let proof = match creation {
        Some(creation) if creation.attempt.errno != Errno::EEXIST => Some(creation.attempt.at),
        // What is around it may have been made anew since.
        Some(_) | None => world.cgroups.covered_since(&member.place).filter(|since| *since <= first.at),
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
    if cause == Cause::NeverCreated {
        because.extend(world.coverage.gaps_in_attempts(since));
    }
    because
}
