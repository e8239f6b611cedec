//! The parts that the kinds' sentences are made of.

use crate::container::Container;
use crate::findings::{Outcome, Weighed};
use crate::input::{Actor, Exit};
use crate::name::Name;

/// `runc[4711]`.
pub(super) fn who(actor: &Actor) -> String {
    format!("{}[{}]", actor.comm, actor.pid)
}

/// `container ID (runtime)` where there is one, else `/the/path`.
pub(super) fn whose(container: Option<&Container>, path: &Name) -> String {
    match container {
        Some(container) => format!("the cgroup of container {}", name(container)),
        None => format!("cgroup {path}"),
    }
}

fn name(container: &Container) -> String {
    match &container.name {
        Some(name) if *name != container.id => format!("{} ({name})", container.id),
        Some(_) | None => container.id.to_string(),
    }
}

/// `it exited 1` and the like: what became of the main actor.
pub(super) fn outcome(weighed: &Weighed) -> String {
    let Outcome { exit, state_left, exit_at: _, cgroup_left: _ } = weighed.outcome;
    let end = match exit {
        Some(Exit::Code(0)) => "it coped and exited 0".to_owned(),
        Some(Exit::Code(code)) => format!("it exited {code}"),
        Some(Exit::Signal(signal)) => format!("it was killed by signal {signal}"),
        None if weighed.main.ended.is_some() => "how it ended was not seen".to_owned(),
        None => "it is still running".to_owned(),
    };
    if *state_left == Some(true) { format!("{end} and left the container's state behind") } else { end }
}

/// `after 12 failed calls ` where there is more to tell than a few.
pub(super) fn ladder(calls: u64) -> String {
    if calls > 8 { format!("after {calls} failed calls ") } else { String::new() }
}

/// `may have been` or `had been`: a claim that depends on what was not seen says so.
pub(super) fn verb<'a>(because: &[String], certain: &'a str, degraded: &'a str) -> &'a str {
    if because.is_empty() { certain } else { degraded }
}
