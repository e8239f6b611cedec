//! `duplicate-teardown`: somebody tried to remove a cgroup that had already been removed.

use std::collections::BTreeSet;

use super::{Cause, Judgement, Rival, Weighed, World, first_removal, wording};
use crate::duration;
use crate::input::{Operation, Pid};

pub(super) fn judge(weighed: &Weighed, world: &World) -> Judgement {
    let story = weighed.story;
    let removal = first_removal(story).expect("a duplicate's members carry the removal that came first");
    // The main actor may have come to a later hierarchy only: its rival is whoever removed that one.
    let first = &weighed.main.first;
    let remover = removal.actor.as_ref();
    let cause = match remover {
        Some(remover) if remover.pid == first.actor.pid => Cause::RemovedBySelf,
        Some(_) | None => Cause::RemovedByOther,
    };
    let mut because = world.coverage.gaps_in_lifecycle(removal.at);
    if remover.is_none() {
        because.push("who removed it was not seen".to_owned());
    }

    let before = first.at.since(removal.at);
    let removed = wording::verb(&because, "had already been removed", "may already have been removed");
    let by = match (cause, remover) {
        (Cause::RemovedBySelf, _) => " by the same process".to_owned(),
        (_, Some(remover)) => format!(" by {}", wording::who(remover)),
        (_, None) => String::new(),
    };
    let others: BTreeSet<Pid> =
        story.participants.iter().map(|participant| participant.pid).filter(|pid| *pid != first.actor.pid).collect();
    let also = match others.len() {
        0 => String::new(),
        1 => " (and one more process)".to_owned(),
        more => format!(" (and {more} more processes)"),
    };
    let summary = format!(
        "{}{also} tried to tear down {}, which {removed}{by} {} earlier; {}{}",
        wording::who(&first.actor),
        wording::whose(story.container.as_deref(), &removal.cgroup.path),
        duration::human(before),
        wording::ladder(story.calls),
        wording::outcome(weighed),
    );
    let rival = Rival {
        actor: removal.actor.clone(),
        operation: Operation::Rmdir,
        at: removal.at,
        before_ms: (before.as_nanos() as f64 / 1e3).round() / 1e3,
    };
    Judgement { cause, because, summary, rival: Some(rival) }
}
