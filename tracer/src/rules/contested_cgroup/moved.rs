//! A process that was moved out of its container's cgroup.

use std::time::Duration;

use super::{MOVED_BY_OTHER, may_run_it, unknown_program};
use crate::container::Container;
use crate::duration;
use crate::findings::Severity;
use crate::input::{Actor, Event};
use crate::phrases;
use crate::rules::{Beginning, Judgement, Weighed, World, wording};
use crate::state::{Case, Key, MovedOut, Place, Story, Undone};

/// So long after a process was put there, its number is taken for its own.
pub(super) const SURE: Duration = Duration::from_secs(10 * 60);
/// A cgroup that has lost its last process by this move is said to be empty before the move is told.
const AT_ONCE: Duration = Duration::from_millis(100);

pub(super) fn begins(event: &Event, world: &World) -> Option<Beginning> {
    let (task, mover) = (event.task.as_ref()?, event.actor.as_ref()?);
    let (pid, hierarchy) = (task.pid?, event.cgroup.hierarchy);
    let (container, from, placed, seen) = match world.placings.of(pid, hierarchy) {
        Some((placed, from)) => (&placed.container, from, Some((placed.actor.clone(), placed.at)), placed.seq),
        None => {
            let emptied = world.placings.emptied_by(mover, hierarchy, event.at)?;
            (&emptied.container, emptied.cgroup, None, emptied.seq)
        }
    };
    let stays = event.container.as_ref().is_some_and(|to| to.chain.contains(&container.id));
    let first = placed.as_ref().map(|(actor, _)| actor.clone()).or_else(|| maker_of(container, from, world));
    if stays || pid == mover.pid || may_run_it(mover, first.as_ref(), Some(container)) {
        return None;
    }
    // Where nobody was any more, it is another process of that number.
    let live = world.cgroups.get(from.0, from.1)?;
    let was_in = live.is_populated != Some(false) || live.emptied.is_some_and(|at| event.at.since(at) <= AT_ONCE);
    if !was_in || live.truncated {
        return None;
    }
    let moved = MovedOut { task: task.clone(), to: event.cgroup.path.clone(), at: event.at, placed };
    let case = Case {
        existing: Some(live.as_existing(from.1)),
        container: Some(container.clone()),
        seen: vec![seen],
        place: Some(Place { hierarchy: from.0, path: live.path.clone() }),
        undone: Some(Box::new(Undone::Moved(moved))),
        ..Case::default()
    };
    Some(Beginning::Story(Box::new(case), Some(mover.clone())))
}

/// The process that made the container's cgroup, if that was seen.
fn maker_of(container: &Container, cgroup: Key, world: &World) -> Option<Actor> {
    let (pid, which) = world.makers.of(&container.id, cgroup)?.maker();
    let known = world.processes.get(pid).filter(|known| known.incarnation == which)?;
    Some(known.as_actor(pid))
}

pub(super) fn hurt(moved: &MovedOut, story: &Story, world: &World) -> Severity {
    let is_back = || {
        let container = story.container.as_ref()?;
        let hierarchy = story.members.first()?.place.hierarchy;
        let (placed, _) = world.placings.of(moved.task.pid?, hierarchy)?;
        Some(placed.container.id == container.id)
    };
    if is_back() == Some(true) { Severity::Benign } else { Severity::Undetermined }
}

pub(super) fn judge(moved: &MovedOut, weighed: &Weighed, world: &World) -> Option<Judgement> {
    let (story, main) = (weighed.story, weighed.main?);
    let MovedOut { task, to, at, placed } = moved;
    let mut because = world.coverage.gaps_in_lifecycle(placed.as_ref().map_or(*at, |(_, since)| *since));
    because.extend(weighed.gaps_in_processes(world, placed.as_ref().map(|(first, since)| (first, *since))));
    because.extend(unknown_program(&main.actor, "moved it"));
    let before = match placed {
        Some((first, since)) => {
            let span = at.since(*since);
            if span > SURE {
                because.push("the number of the process may be that of another one by now".to_owned());
            }
            format!("where {} had put it {} before, ", wording::who(first), duration::human(span))
        }
        None => "where it was the last one, ".to_owned(),
    };
    let has_moved = wording::verb(&because, "moved", "may have moved");
    let more = match story.times {
        0 | 1 => String::new(),
        times => format!(", the first of {times} such moves"),
    };
    let back = match weighed.severity {
        Severity::Benign => "; a runtime has put it back since",
        Severity::Fault | Severity::Undetermined => "",
    };
    let summary = format!(
        "{} {has_moved} {} out of {}, {before}to cgroup {to}{more}{back}",
        wording::who(&main.actor),
        phrases::who(&task.comm, task.pid?),
        wording::whose(weighed),
    );
    Some(Judgement { cause: MOVED_BY_OTHER, because, summary, rival: None })
}
