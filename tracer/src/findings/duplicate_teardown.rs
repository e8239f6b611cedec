//! `duplicate-teardown`: somebody tried to remove a cgroup that had already been removed.

use super::{Cause, Deed, Judgement, Rival, Weighed, World, wording};
use crate::duration;

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

    because.extend(world.processes.gaps(&first.actor, remover.map(|remover| (remover, removal.at))));
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
