//! How a trace ends: what hurts, what failed, what is left. Two traces differ in outcome if they differ in this.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::role::Role;
use super::side::{Fate, Side, Subject};
use crate::findings::Severity;
use crate::input::Exit;
use crate::oci::RuntimeCommand;
use crate::phrases;

/// What a trace ends with, in the order in which it is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    /// A finding that is not benign: its severity, kind and cause.
    Finding(Reverse<Severity>, &'static str, &'static str),
    /// An OCI runtime failed in this.
    Failure(Option<String>),
    /// A cgroup of this role was made, and is left.
    Left(String),
}

/// Each ending of each subject, by a number that both of a pair have, and how it is told. No number: whose it is, is
/// not known.
pub(super) type Endings = BTreeMap<(Ending, Option<usize>), String>;

/// How a trace ends. `number`: that of a subject. `there`: places of subjects where there was a cgroup before one of
/// the traces began.
pub(super) fn endings(side: &Side<'_>, number: &dyn Fn(usize) -> usize, there: &BTreeSet<(usize, String)>) -> Endings {
    let mut endings = Endings::new();
    for finding in side.findings().into_iter().filter(|finding| finding.severity > Severity::Benign) {
        let (severity, kind) = (finding.severity, finding.kind.as_str());
        let ending = Ending::Finding(Reverse(severity), kind, finding.cause.as_str());
        let text = format!("{} {kind}: {}", severity.as_str(), finding.summary);
        endings.entry((ending, side.subject_of(finding).map(number))).or_insert(text);
    }
    for run in &side.runs {
        let Some(command) = RuntimeCommand::of(&run.actor) else { continue };
        // Whether a container can still be killed, or asked of, is a matter of time.
        let is_meant = command.may_remove();
        let Some(exit) = run.exit.filter(|exit| is_meant && !exit.is_success()) else { continue };
        let subject = command.id.as_ref().and_then(|id| side.container(id));
        if subject.is_none() && side.is_narrowed() {
            continue;
        }
        let ended = match exit {
            Exit::Code(code) => format!("exited {code}"),
            Exit::Signal(signal) => format!("was killed by signal {signal}"),
        };
        let says = run.failure.as_ref().map(|why| format!("; its log says: {}", why.printable())).unwrap_or_default();
        let of = command.id.as_ref().map(|id| format!(" of container {id}")).unwrap_or_default();
        let (who, role) = (phrases::who(&run.actor.comm, run.actor.pid), Role::of(&run.actor));
        let text = format!("{who} ({role}{of}) {ended}{says}");
        endings.entry((Ending::Failure(role.subcommand), subject.map(number))).or_insert(text);
    }
    for (subject, Subject { container, cgroups, .. }) in side.subjects.iter().enumerate() {
        for ((_, place), Fate { left, .. }) in cgroups {
            // What a process made that still runs may be wanted.
            let has_ended = |maker: &Option<usize>| maker.is_some_and(|maker| side.runs[maker].exit.is_some());
            let left = left.values().find(|(_, maker)| container.is_some() || has_ended(maker));
            if let Some((path, _)) = left.filter(|_| !there.contains(&(number(subject), place.clone()))) {
                let text = format!("cgroup {path} is left at the end of the trace");
                endings.entry((Ending::Left(place.clone()), Some(number(subject)))).or_insert(text);
            }
        }
    }
    endings
}
