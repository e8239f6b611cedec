//! A cgroup that somebody removed before its runtime had put anybody into it.

use super::{REMOVED_BY_OTHER, may_run_it, unknown_program};
use crate::duration;
use crate::errno::Errno;
use crate::findings::{Job, Severity};
use crate::input::{Event, Exit};
use crate::rules::{Beginning, Judgement, Weighed, World, wording};
use crate::state::{Case, Member, Place, RemovedUnused, Undone};

pub(super) fn begins(event: &Event, world: &World) -> Option<Beginning> {
    let (remover, container, id) = (event.actor.as_ref()?, event.container.as_ref()?, event.cgroup.id?);
    let (pid, which) = world.makers.maker_of_unused((event.cgroup.hierarchy, id))?;
    let known = world.processes.get(pid).filter(|known| known.incarnation == which && known.exit.is_none())?;
    let maker = known.as_actor(pid);
    if may_run_it(remover, Some(&maker), Some(container)) {
        return None;
    }
    let removal = world.cgroups.removal(&Place::of(&event.cgroup))?;
    let case = Case {
        removal: Some(removal.clone()),
        container: Some(container.clone()),
        undone: Some(Box::new(Undone::Removed(RemovedUnused { maker, at: event.at }))),
        is_alone: true,
        ..Case::default()
    };
    Some(Beginning::Story(Box::new(case), Some(remover.clone())))
}

pub(super) fn hurt(removed: &RemovedUnused, world: &World) -> Severity {
    let Some(known) = world.processes.of(&removed.maker) else { return Severity::Undetermined };
    let is_gone = |errno: Errno| matches!(errno, Errno::ENOENT | Errno::ENODEV);
    let found_it_gone = known.last_failure.as_ref().is_some_and(|call| call.at >= removed.at && is_gone(call.errno));
    match known.exit {
        Some(exit) if exit.is_success() => Severity::Benign,
        Some(Exit::Code(_)) if found_it_gone && Job::of(&removed.maker).is_start() => Severity::Fault,
        Some(_) | None => Severity::Undetermined,
    }
}

pub(super) fn judge(removed: &RemovedUnused, weighed: &Weighed, world: &World) -> Option<Judgement> {
    let (story, main) = (weighed.story, weighed.main?);
    let removal = weighed.member.removal.as_ref()?;
    // Who was refused, or came second, is told with it.
    let is_told =
        |member: &Member| member.removal.as_ref().is_some_and(|own| world.stories.tell_of(&member.place, own.seq));
    if story.members.iter().any(is_told) {
        return None;
    }
    let since = removal.created.map_or(removal.at, |created| created.at);
    let mut because = world.coverage.gaps_in_lifecycle(since);
    because.extend((!world.coverage.sees_processes()).then(|| "nobody sees who comes into a cgroup".to_owned()));
    because.extend(weighed.gaps_in_processes(world, Some((&removed.maker, since))));
    because.extend(unknown_program(&main.actor, "removed it"));
    let has_removed = wording::verb(&because, "removed", "may have removed");
    let before = removal.created.map(|created| format!(" {} before", duration::human(removal.at.since(created.at))));
    let more = match story.hierarchies() {
        0 | 1 => String::new(),
        hierarchies => format!(", in {hierarchies} hierarchies"),
    };
    let maker = wording::who(&removed.maker);
    let end = match world.processes.of(&removed.maker).and_then(|known| known.exit) {
        Some(Exit::Code(code)) => format!("; {maker} exited {code}"),
        Some(Exit::Signal(signal)) => format!("; {maker} was killed by signal {signal}"),
        None => String::new(),
    };
    let summary = format!(
        "{} {has_removed} {}, which {maker} had made{} and had put nobody into yet{more}{end}",
        wording::who(&main.actor),
        wording::whose(weighed),
        before.unwrap_or_default(),
    );
    Some(Judgement { cause: REMOVED_BY_OTHER, because, summary, rival: None })
}
