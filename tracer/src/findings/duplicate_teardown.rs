//! `duplicate-teardown`: somebody tried to remove a cgroup that had already been removed.

use super::{Cause, Deed, FindingAttempt, Judgement, Rival, Weighed, World, wording};
use crate::duration;
use crate::errno::Errno;
use crate::tracker::Note;

pub(super) fn judge(weighed: &Weighed, world: &World) -> Judgement {
    let removal = weighed.member.removal.as_ref().expect("a duplicate's members carry the removal that came first");
    let first = &weighed.main.first;
    let remover = removal.actor.as_ref();
    let cause = match remover {
        Some(remover) if remover.is_same_process_as(&first.actor) => Cause::RemovedBySelf,
        Some(_) | None => Cause::RemovedByOther,
    };
    let mut because = world.coverage.gaps_in_lifecycle(removal.at);
    if remover.is_none() {
        because.push("who removed it was not seen".to_owned());
    }
    if !is_proved_gone(weighed) && !world.cgroups.is_whole() {
        because.push("there were more cgroups than are remembered: it may have been made anew".to_owned());
    }
    because.extend(weighed.gaps_in_processes(world, remover.map(|remover| (remover, removal.at))));
    let before = first.at.since(removal.at);
    let removed = wording::verb(&because, "had already been removed", "may already have been removed");
    let by = match (cause, remover) {
        (Cause::RemovedBySelf, _) => " by the same process".to_owned(),
        (_, Some(remover)) => format!(" by {}", wording::who(remover)),
        (_, None) => String::new(),
    };
    let renamed = match &weighed.member.renaming {
        Some(renaming) => format!(" as {} (renamed by {})", removal.cgroup.path, wording::somebody(&renaming.actor)),
        None => String::new(),
    };
    let summary = format!(
        "{} tried to tear down {}, which {removed}{renamed}{by} {} earlier; {}",
        wording::subject(weighed, None),
        wording::whose(weighed),
        duration::human(before),
        wording::outcome(weighed, world),
    );
    let rival = Rival {
        actor: removal.actor.clone(),
        operation: Deed::Rmdir,
        to: None,
        at: removal.at,
        before_ms: wording::milliseconds(before),
    };
    Judgement { cause, because, summary, rival: Some(rival) }
}

/// Whether a call proves that the cgroup was not there when the first one was made: a read-only mount refuses before it looks. What
/// is gone later was gone before: had it been removed once more, that would have been another life.
fn is_proved_gone(weighed: &Weighed) -> bool {
    let first = &weighed.main.first;
    let is_gone = |call: &FindingAttempt| matches!(call.errno, Errno::ENOENT | Errno::ENODEV);
    let is_of_it = |note: &&Note| note.place == weighed.member.place && note.file.is_none();
    let mut later = weighed.story.kept_calls().filter(is_of_it).map(|note| &note.attempt);
    is_gone(first) || later.any(|call| call.at >= first.at && is_gone(call))
}
