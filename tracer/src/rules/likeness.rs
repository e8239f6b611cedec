//! Whose program it really is: an OCI runtime that is recognised by what it was asked to do and by what it does, where
//! nothing that it is called by tells.
//!
//! A hint, never a fact: no job, no container, no severity and no certainty follows from it. Arguments alone are any
//! runtime's, and calls alone are any program's: a runtime is named only if both fit, and those of no other one do.
//! Where the command line could not be read, only a ladder of retries tells that nobody else climbs.

use std::time::Duration;

use super::shape::argv;
use crate::errno::Errno;
use crate::findings::{Finding, FindingAttempt, Likeness};
use crate::input::{Actor, Operation, Syscall};
use crate::name::Name;
use crate::oci::{self, RuntimeCommand};
use crate::runtimes;
use crate::state::FIRST_CALLS;

/// What a row looks at.
struct Sight<'a> {
    /// The program file. Empty if it is not known.
    exe: &'a [u8],
    /// The failed calls of the process, in order.
    own: Vec<&'a FindingAttempt>,
    /// Its failed removals of one path: those of the path that it tried most.
    removals: Vec<&'a FindingAttempt>,
}

/// How much a row says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// It is enough alone.
    Alone,
    /// It is enough where the arguments are not known.
    Ladder,
    /// It is enough beside the arguments of an OCI runtime.
    Beside,
}

/// Something that tells one runtime from the others.
struct Row {
    runtime: &'static str,
    weight: Weight,
    because: &'static str,
    is: fn(&Sight) -> bool,
}

/// Calls so close to each other are one try.
const AT_ONCE: Duration = Duration::from_millis(8);

const ROWS: &[Row] = &[
    Row {
        runtime: "runc",
        weight: Weight::Alone,
        because: "it runs a copy of its program that is called runc_cloned",
        is: |sight| sight.exe.starts_with(b"/memfd:runc_cloned:"),
    },
    Row {
        runtime: "crun",
        weight: Weight::Alone,
        because: "it runs a copy of its program that is called crun_cloned",
        is: |sight| sight.exe.starts_with(b"/memfd:crun_cloned:"),
    },
    Row {
        runtime: "crun",
        weight: Weight::Beside,
        because: "its program file is a mount of its own (exe is /)",
        is: |sight| sight.exe == b"/",
    },
    Row {
        runtime: "crun",
        weight: Weight::Beside,
        because: "it opened cgroup.freeze by its whole path before it called rmdir",
        is: |sight| {
            let is_look = |call: &&FindingAttempt| {
                call.operation == Operation::Open && is_whole(call) && call.path.as_bytes().ends_with(b"/cgroup.freeze")
            };
            sight.own.iter().any(is_look) && sight.removals.iter().all(|call| is_plain(call))
        },
    },
    Row {
        runtime: "crun",
        weight: Weight::Beside,
        because: "it called rmdir twice at once, by the whole path",
        is: |sight| sight.is_twice_at_once() && sight.removals.iter().all(|call| is_plain(call)),
    },
    Row {
        runtime: "crun",
        weight: Weight::Ladder,
        because: "it came back every 10 ms to call rmdir, by the whole path, twice at once or in vain",
        is: |sight| {
            let steps = sight.steps();
            let is_even = |step: &Duration| (Duration::from_millis(9)..Duration::from_millis(40)).contains(step);
            let is_in_vain = |call: &&FindingAttempt| call.errno == Errno::ENOENT;
            steps.len() >= 9
                && steps.iter().all(is_even)
                && sight.removals.iter().all(|call| is_plain(call))
                && (sight.is_twice_at_once() || sight.removals.iter().all(is_in_vain))
        },
    },
    Row {
        runtime: "youki",
        weight: Weight::Beside,
        because: "it called rmdir four times, after 10, 10 and 20 ms",
        is: |sight| {
            sight.removals.iter().all(|call| is_plain(call))
                && sight.removals.len() == 4
                && is_ladder(&sight.steps(), &[10, 10, 20])
        },
    },
    Row {
        runtime: "runc",
        weight: Weight::Beside,
        because: "it opened control files by openat2, below a descriptor of cgroupfs",
        is: |sight| {
            let is_below = |call: &&&FindingAttempt| {
                let path = call.path.as_bytes();
                let file = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                call.syscall == Syscall::Openat2 && !is_whole(call) && path.len() > file.len() && file.contains(&b'.')
            };
            sight.own.iter().any(|call| is_below(&call))
        },
    },
    Row {
        runtime: "runc",
        weight: Weight::Beside,
        because: "it opened the directory by its whole path after its unlinkat of it had failed",
        is: |sight| {
            let is_look = |look: &&FindingAttempt, removal: &FindingAttempt| {
                look.syscall == Syscall::Openat && look.path == removal.path && look.seq > removal.seq
            };
            let first = sight.removals.first().filter(|call| is_whole(call) && call.syscall == Syscall::Unlinkat);
            first.is_some_and(|removal| sight.own.iter().any(|look| is_look(look, removal)))
        },
    },
    Row {
        runtime: "runc",
        weight: Weight::Beside,
        because: "it called unlinkat twice at once, by the whole path",
        // crun does so where there is no rmdir, from a file of its own.
        is: |sight| {
            let is_unlinkat = |call: &&FindingAttempt| is_whole(call) && call.syscall == Syscall::Unlinkat;
            sight.is_twice_at_once() && sight.removals.iter().all(is_unlinkat) && sight.exe != b"/"
        },
    },
    Row {
        runtime: "runc",
        weight: Weight::Ladder,
        because: "it called unlinkat again and again, and waited twice as long each time",
        is: |sight| {
            let waits: Vec<Duration> =
                sight.gaps().into_iter().filter(|gap| *gap >= Duration::from_micros(800)).collect();
            let is_double = |pair: &[Duration]| pair[1] * 2 >= pair[0] * 3 && pair[1] <= pair[0] * 3;
            let is_unlinkat = |call: &&FindingAttempt| is_whole(call) && call.syscall == Syscall::Unlinkat;
            waits.len() >= 7 && waits.windows(2).all(is_double) && sight.removals.iter().all(is_unlinkat)
        },
    },
];

/// What the actor of a finding looks like, if what it is called by says nothing.
pub(super) fn of(finding: &Finding) -> Option<Likeness> {
    let actor = finding.actor.as_ref().filter(|actor| !is_known(actor))?;
    let sight = Sight::new(finding, actor);
    let arguments = (!argv(actor).is_empty()).then(|| as_oci(finding, actor));
    let is_enough = |row: &&Row| match (row.weight, &arguments) {
        (Weight::Alone, _) | (Weight::Ladder | Weight::Beside, Some(Some(_))) | (Weight::Ladder, None) => true,
        (Weight::Ladder | Weight::Beside, Some(None)) | (Weight::Beside, None) => false,
    };
    let rows: Vec<&Row> = ROWS.iter().filter(is_enough).filter(|row| (row.is)(&sight)).collect();
    let first = rows.first()?;
    if rows.iter().any(|row| row.runtime != first.runtime) {
        return None;
    }
    let asked = arguments.flatten().map(|command| {
        let subcommand = command.subcommand.unwrap_or_default();
        format!("its arguments are an OCI runtime's {subcommand} of the container that the cgroup is named after")
    });
    let because = asked.into_iter().chain(rows.iter().map(|row| row.because.to_owned())).collect();
    Some(Likeness { runtime: first.runtime, because })
}

/// Whether what it is called by tells what it is: a runtime or an engine, or systemd.
fn is_known(actor: &Actor) -> bool {
    let exe = actor.identity.as_ref().and_then(|identity| identity.exe.as_ref());
    let names = argv(actor).first().into_iter().chain(exe).chain([&actor.comm]).map(Name::base_name);
    actor.pid.0 == 1 || names.into_iter().any(|name| name == b"systemd" || runtimes::by_program(name).is_some())
}

/// Its arguments, if they are an OCI runtime's that is to make or to end the container that the cgroup is named after.
fn as_oci(finding: &Finding, actor: &Actor) -> Option<RuntimeCommand> {
    let mut argv = argv(actor).to_vec();
    *argv.first_mut()? = "runc".into();
    let command = oci::command_line(&argv[0], None, &argv)?;
    let is_asked = matches!(command.subcommand.as_deref(), Some("create" | "run" | "restore" | "delete" | "kill"));
    let is_named = oci::depth_in(&finding.cgroup.path, &command, None, 0).is_some();
    (is_asked && is_named).then_some(command)
}

impl<'a> Sight<'a> {
    fn new(finding: &'a Finding, actor: &'a Actor) -> Self {
        let exe = actor.identity.as_ref().and_then(|identity| identity.exe.as_ref());
        // Where not all calls are kept, the last ones do not follow the first.
        let is_cut = finding.attempt_count > finding.attempts.len() as u64;
        let kept = finding.attempts.iter().take(if is_cut { FIRST_CALLS } else { usize::MAX });
        let own: Vec<_> = kept.filter(|call| call.actor.is_same_process_as(actor)).collect();
        let of = |path: &Name| -> Vec<&'a FindingAttempt> {
            let is_of_it = |call: &&FindingAttempt| call.operation == Operation::Rmdir && call.path == *path;
            own.iter().copied().filter(is_of_it).collect()
        };
        // The first of those that were tried most.
        let each = own.iter().map(|call| of(&call.path)).rev();
        let removals = each.max_by_key(Vec::len).unwrap_or_default();
        Self { exe: exe.map(Name::as_bytes).unwrap_or_default(), own, removals }
    }

    /// The time from each removal to the next.
    fn gaps(&self) -> Vec<Duration> {
        self.removals.windows(2).map(|pair| pair[1].at.since(pair[0].at)).collect()
    }

    /// The time from each try to the next.
    fn steps(&self) -> Vec<Duration> {
        self.gaps().into_iter().filter(|gap| *gap > AT_ONCE).collect()
    }

    /// Whether the first try, and all others but the last one, which may be cut short, are of two calls.
    fn is_twice_at_once(&self) -> bool {
        let gaps = self.gaps();
        let is_alternating = |(index, gap): (usize, &Duration)| (*gap <= AT_ONCE) == (index % 2 == 0);
        !gaps.is_empty() && gaps.iter().enumerate().all(is_alternating)
    }
}

fn is_whole(call: &FindingAttempt) -> bool {
    call.path.as_bytes().first() == Some(&b'/')
}

fn is_plain(call: &FindingAttempt) -> bool {
    is_whole(call) && call.syscall == Syscall::Rmdir
}

/// Whether these are steps of so many milliseconds, on a host that is busy.
fn is_ladder(steps: &[Duration], milliseconds: &[u64]) -> bool {
    let is = |(step, nominal): (&Duration, &u64)| {
        (Duration::from_millis(*nominal)..Duration::from_millis(nominal * 8 / 5)).contains(step)
    };
    steps.len() == milliseconds.len() && steps.iter().zip(milliseconds).all(is)
}

#[cfg(test)]
mod tests;
