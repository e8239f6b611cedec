//! `contested-cgroup`: two managers change one cgroup, and one of them undid what the other had done.
//!
//! Told is a process that a runtime, or systemd, had put into a container's cgroup, or that was the last one in it, and
//! that somebody else moved out. Nothing fails at that moment: limits do not hold any more, and the runtime finds the
//! cgroup empty.
//!
//! Precision first. Whoever may belong to those who run the container is not told of: a runtime or an engine, whoever
//! the first mover started or was started by, a process in the container, the process itself.

mod known;

use std::sync::Arc;
use std::time::Duration;

use super::{Beginning, Judgement, OnEvent, Rule, Weighed, World, wording};
use crate::container::Container;
use crate::duration;
use crate::findings::{Cause, Explanation, Finding, Severity};
use crate::input::{Actor, BootTime, Change, Event, Pid};
use crate::oci;
use crate::phrases;
use crate::state::{Case, Course, Key, Moment, MovedOut, Notes, Participant, Place, SETTLES, STORY_AGE, Story, Told};

pub(super) const RULE: Rule = Rule {
    explanation: Explanation {
        word: "contested-cgroup",
        claim: "Two managers change one cgroup, and one of them undid what the other had done.",
        evidence: &[
            "the event that a runtime, or systemd, put a process into a container's cgroup (`attached`)",
            "the later event that another process moved it out of the container's cgroups in the same hierarchy, while \
             the first cgroup still existed",
            "or that the container's cgroup lost its last process (`emptied`) as another one moved a process elsewhere",
            "who both are: their programs, their parents, and in which cgroup the second one is itself",
        ],
        confirm: &[
            ("look where the process is now", "cat /proc/PID/cgroup"),
            ("look what the one that moved it is", "ps -o pid,ppid,user,args -p PID; systemctl status PID"),
            ("look whether systemd leaves the cgroup to its runtime", "systemctl show -p Delegate,Slice UNIT"),
        ],
        causes: &[MOVED_BY_OTHER],
        severity: &[
            "`benign` when a runtime has put the process back.",
            "Else `undetermined`: the limits of the container do not hold for that process any more, and whether that \
             matters is not known.",
        ],
        false_positives: &[
            "An agent that is meant to sort processes into cgroups of its own. Not told of is a move by a runtime or \
             an engine, by the process itself, by a process in the container or one whose parent or child put it \
             there, and a move to a cgroup within the container's own.",
            "A process that began in the cgroup was not seen to be put there (one that another one there has made, or \
             clone3 with CLONE_INTO_CGROUP): that it is moved out is told only if it was the last one.",
            "The number of a process that has ended may be another one's later. More than ten minutes after the first \
             move the finding says so, and is degraded.",
        ],
    },
    known: known::KNOWN,
    call: None,
    failed_start: None,
    stuck: None,
    event: Some(OnEvent { of: &[Change::Attached], begins: moved_out }),
    deadline: None,
    course: Course { joins, gathers: |_, _| false, patience: PATIENCE, settles: SETTLES, waits, follows: &[], is_news },
    hurt,
    judge,
};

const MOVED_BY_OTHER: Cause = Cause {
    word: "moved-by-other",
    meaning: "A process was moved out of its container's cgroup by somebody who does not run the container.",
    advice: "Find out what the process that moved it is there for, and keep it from containers' cgroups: by its \
             configuration (cgrulesengd, a monitoring or security agent), or with Delegate=yes on the unit that the \
             runtime makes cgroups below, if it is systemd. Restart the container: until then its limits do not hold.",
    is_routine: false,
};

/// Who moves all processes of a container does it at once; and what is put back at once is no news.
const PATIENCE: Duration = Duration::from_secs(1);
/// So long after a process was put there, its number is taken for its own.
const SURE: Duration = Duration::from_secs(10 * 60);
/// A cgroup that has lost its last process by this move is said to be empty before the move is told.
const AT_ONCE: Duration = Duration::from_millis(100);

fn moved_out(event: &Event, world: &World) -> Option<Beginning> {
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
    if stays || pid == mover.pid || may_run_it(mover, first.as_ref(), container) {
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
        moved: Some(Box::new(moved)),
        ..Case::default()
    };
    Some(Beginning::Story(Box::new(case), Some(mover.clone())))
}

/// The process that made the container's cgroup, if that was seen.
fn maker_of(container: &Container, cgroup: Key, world: &World) -> Option<Actor> {
    let (pid, which) = world.makers.of(&container.id, cgroup)?.maker();
    let known = world.processes.get(pid).filter(|known| known.incarnation == which)?;
    let identity = known.identity.clone();
    Some(Actor { identity: Some(identity), ..Actor::new(pid, pid.0, known.comm.clone(), known.uid) })
}

/// Whether somebody may have to do with who runs the container. `first`: who had put the process there, or made the
/// cgroup.
fn may_run_it(mover: &Actor, first: Option<&Actor>, container: &Container) -> bool {
    let parents = |actor: &Actor| {
        let identity = actor.identity.as_ref();
        identity.map(|own| own.parents.iter().map(|parent| parent.pid).collect::<Vec<_>>()).unwrap_or_default()
    };
    let of_mover = parents(mover);
    let nearest = |all: &[Pid]| all.first().copied().filter(|pid| *pid != Pid(1));
    let is_kin = first.is_some_and(|first| {
        let of_first = parents(first);
        mover.is_same_process_as(first)
            || first.pid != Pid(1) && of_mover.contains(&first.pid)
            || mover.pid != Pid(1) && of_first.contains(&mover.pid)
            || nearest(&of_mover).is_some_and(|parent| nearest(&of_first) == Some(parent))
    });
    let cgroup = mover.identity.as_ref().and_then(|identity| identity.cgroup.as_ref());
    let is_inside = cgroup.is_some_and(|cgroup| contains(cgroup.as_bytes(), container.id.as_bytes()));
    is_kin || is_inside || oci::is_runtime(mover)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

fn joins(story: &Story, moment: &Moment, case: &Case, _: &Notes) -> bool {
    let of = |container: &Option<Arc<Container>>| container.as_ref().map(|container| container.id.clone());
    let is_same = of(&story.container) == of(&case.container);
    is_same && moment.actor().is_some_and(|actor| story.has(actor)) && moment.at().since(story.last_at) <= STORY_AGE
}

/// All that is moved at once is told of together.
fn waits(story: &Story) -> Option<BootTime> {
    Some(story.began + PATIENCE)
}

fn is_news(told: &Told, finding: &Finding) -> bool {
    told.severity != finding.severity || told.certainty != finding.certainty
}

fn hurt(_: Option<&Participant>, story: &Story, world: &World) -> Severity {
    let is_back = || {
        let (moved, container) = (story.moved.as_ref()?, story.container.as_ref()?);
        let hierarchy = story.members.first()?.place.hierarchy;
        let (placed, _) = world.placings.of(moved.task.pid?, hierarchy)?;
        Some(placed.container.id == container.id)
    };
    if is_back() == Some(true) { Severity::Benign } else { Severity::Undetermined }
}

fn judge(weighed: &Weighed, world: &World) -> Option<Judgement> {
    let (story, main) = (weighed.story, weighed.main?);
    let MovedOut { task, to, at, placed } = story.moved.as_deref()?;
    let mut because = world.coverage.gaps_in_lifecycle(placed.as_ref().map_or(*at, |(_, since)| *since));
    because.extend(weighed.gaps_in_processes(world, placed.as_ref().map(|(first, since)| (first, *since))));
    if main.actor.identity.as_ref().is_none_or(|identity| identity.argv.is_none()) {
        because.push("what the one that moved it is, is not known".to_owned());
    }
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

#[cfg(test)]
pub(super) mod tests;
