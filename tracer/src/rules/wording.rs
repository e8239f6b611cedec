//! The parts that the kinds' sentences are made of.

use std::sync::Arc;
use std::time::Duration;

use super::{FindingAttempt, Job, Outcome, Severity, Weighed, World};
use crate::container::Container;
use crate::input::{Actor, Exit};
use crate::name::{Name, components};
use crate::phrases;

/// From so many failed calls on their number is told.
const MANY: u64 = 9;

/// `runc[4711]`.
pub(super) fn who(actor: &Actor) -> String {
    phrases::who(&actor.comm, actor.pid)
}

/// The same, of somebody who may not have been seen.
pub(super) fn somebody(actor: &Option<Actor>) -> String {
    actor.as_ref().map_or_else(|| "somebody".to_owned(), who)
}

/// Who tried, and how many besides. What failed first in a failed start comes before all else, but for a call that the
/// sentence has as its cause.
pub(crate) fn subject(weighed: &Weighed, cause: Option<&FindingAttempt>) -> String {
    let main = weighed.main.map(|main| &main.actor);
    let others = weighed.story.participants.iter().filter(|other| main.is_none_or(|main| !other.is(main)));
    let mut others: Vec<&Actor> = others.map(|other| &other.actor).collect();
    others.dedup_by(|one, other| one.is_same_process_as(other));
    let also = match others.len() {
        more if weighed.story.has_more => format!(" (and more than {more} other processes)"),
        0 => String::new(),
        1 => " (and one more process)".to_owned(),
        more => format!(" (and {more} more processes)"),
    };
    let actor = main.map_or_else(|| "somebody".to_owned(), who);
    match weighed.first_failure.filter(|first| cause.is_none_or(|cause| cause.seq != first.seq)) {
        Some(call) => format!(
            "{actor} failed to start a container after its {} of {} failed with {}; to clear up it{also}",
            call.operation.as_str(),
            call.path,
            call.errno,
        ),
        None => format!("{actor}{also}"),
    }
}

/// `the cgroup of container ID` where there is one, `cgroup /the/path in container ID` for one below that, else
/// `cgroup /the/path`.
pub(crate) fn whose(weighed: &Weighed) -> String {
    let container = weighed.member.container.as_ref();
    cgroup_of(&weighed.member.place.path, container.map(Arc::as_ref), weighed.story.container.as_deref())
}

/// The same of the cgroup at a path, which is in a container, or belongs to one that is told of.
pub(super) fn cgroup_of(path: &Name, around: Option<&Container>, of: Option<&Container>) -> String {
    let depth = components(path.as_bytes()).count();
    match (around, of) {
        (Some(around), _) if around.depth() < depth => {
            format!("cgroup {path} in container {}", name(around))
        }
        (Some(container), _) | (None, Some(container)) => format!("the cgroup of container {}", name(container)),
        (None, None) => format!("cgroup {path}"),
    }
}

fn name(container: &Container) -> String {
    match &container.name {
        Some(name) if *name != container.id => format!("{} ({name})", container.id),
        Some(_) | None => container.id.to_string(),
    }
}

/// `it exited 1` and the like: how the main actor ended.
pub(super) fn end(weighed: &Weighed, world: &World) -> String {
    let Some(main) = weighed.main else { return "its end was not seen".to_owned() };
    let ladder = match main.calls {
        calls if calls >= MANY => format!("after {calls} failed calls "),
        _ => String::new(),
    };
    let has_coped = weighed.severity == Severity::Benign && weighed.outcome.state_left != Some(true);
    let end = match weighed.outcome.exit {
        Some(Exit::Code(0)) if has_coped => "it coped and exited 0".to_owned(),
        Some(Exit::Code(code)) => format!("it exited {code}"),
        Some(Exit::Signal(signal)) => format!("it was killed by signal {signal}"),
        None if main.ended.is_some() => "how it ended was not seen".to_owned(),
        // Its end may be among what was lost, or not be known to be its own.
        None if !world.coverage.gaps_in_lifecycle(main.at).is_empty() || world.processes.of(&main.actor).is_none() => {
            "its end was not seen".to_owned()
        }
        None => "it is still running".to_owned(),
    };
    format!("{ladder}{end}")
}

/// How the main actor of a teardown of what is not there ended, and what became of what it was to remove.
pub(crate) fn outcome(weighed: &Weighed, world: &World) -> String {
    let Outcome { exit, state_left, exit_at: _, cgroup_left: _ } = weighed.outcome;
    let has_failed = !exit.is_some_and(Exit::is_success);
    let left = match (weighed.main.map(|main| main.job), weighed.severity, state_left) {
        (Some(Job::Start), Severity::Fault, _) | (Some(Job::Teardown | Job::Removal | Job::Other), _, Some(true)) => {
            " and left the container's state behind"
        }
        (Some(Job::Start), Severity::Benign, Some(false)) if has_failed => ", and nothing was left behind",
        (Some(Job::Removal), Severity::Benign, _) if has_failed => ", though there was nothing to remove",
        (Some(Job::Teardown | Job::Removal | Job::Start | Job::Other) | None, _, _) => "",
    };
    format!("{}{left}", end(weighed, world))
}

/// `may have been` or `had been`: a claim that depends on what was not seen says so.
pub(super) fn verb<'a>(because: &[String], certain: &'a str, degraded: &'a str) -> &'a str {
    if because.is_empty() { certain } else { degraded }
}

/// Milliseconds, to the microsecond.
pub(super) fn milliseconds(span: Duration) -> f64 {
    (span.as_nanos() as f64 / 1e3).round() / 1e3
}
