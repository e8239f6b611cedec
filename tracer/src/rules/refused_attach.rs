//! `refused-attach`: a process could not be put into a cgroup, by a write to `cgroup.procs`, `cgroup.threads` or v1's
//! `tasks`, or by clone3.
//!
//! The kernel answers each reason with an error of its own, save for EINVAL: the sources are
//! `cgroup_attach_permissions`, `cgroup_migrate_vet_dst` and the `can_attach` of the controllers
//! (kernel/cgroup/cgroup.c, cpuset.c, sched/core.c).

mod known;

use super::refusal::{self, Refused};
use super::{Call, Judgement, Rule, Weighed, World, wording};
use crate::control::{self, Purpose};
use crate::errno::Errno;
use crate::findings::{Cause, Deed, Explanation, Rival};
use crate::input::{Level, Moved, OccupantState, Operation};
use crate::name::{Name, components};
use crate::phrases;
use crate::state::{Case, Removal};

pub(super) const RULE: Rule = Rule {
    explanation: Explanation {
        word: "refused-attach",
        claim: "A process could not be put into a cgroup.",
        evidence: &[
            "the failed write to cgroup.procs, cgroup.threads or tasks with what was written, or the failed clone3",
            refusal::EVIDENCE_OF_CIRCUMSTANCES,
            "the removal of the cgroup, if it was removed after it had been opened",
            "the exit status of the process that was refused",
        ],
        confirm: &[
            (
                "look whether controllers are enabled for the cgroups in it",
                "cat /sys/fs/cgroup/PATH/cgroup.subtree_control",
            ),
            ("look what type of cgroup it is", "cat /sys/fs/cgroup/PATH/cgroup.type"),
            ("look who may move processes there", "ls -ln /sys/fs/cgroup/PATH/cgroup.procs"),
            ("look where the process is now, and how it is scheduled", "cat /proc/PID/cgroup; chrt -p PID"),
        ],
        causes: &[
            INNER_PROCESSES,
            NOT_DELEGATED,
            THREADED,
            OUTSIDE_NAMESPACE,
            REMOVED,
            PROCESS_GONE,
            REAL_TIME,
            CPUSET_EMPTY,
            UNKNOWN,
        ],
        severity: refusal::SEVERITY,
        false_positives: &[refusal::MADE_GOOD],
    },
    known: known::KNOWN,
    call: Some(call),
    failed_start: None,
    stuck: None,
    event: None,
    deadline: None,
    course: refusal::COURSE,
    hurt: refusal::hurt,
    judge,
};

const INNER_PROCESSES: Cause = Cause {
    word: "inner-processes",
    meaning: "Controllers are enabled for the cgroups in it (cgroup2). Such a cgroup can have no processes of its own.",
    advice: "Put the process into a cgroup below it (a leaf), or take the controllers out of its \
             cgroup.subtree_control, if nothing in it needs them. A runtime in a container moves all processes of the \
             container's own cgroup into a leaf before it enables controllers.",
    is_routine: true,
};
const NOT_DELEGATED: Cause = Cause {
    word: "not-delegated",
    meaning: "The process has no right to move it there. On cgroup2 that takes the right to write to cgroup.procs of \
              the innermost cgroup around both the old place and the new one, not only that of the new one; on v1 the \
              process that is moved must be of the same user.",
    advice: "Start the process within the part that was delegated to the user: systemd-run --user --scope, or \
             Delegate=yes on a unit around both. To change the owner of the new cgroup alone does not help.",
    is_routine: true,
};
const THREADED: Cause = Cause {
    word: "threaded",
    meaning: "The cgroup is threaded, or is invalid because one around it is: a write of `threaded` to a cgroup.type \
              made it so.",
    advice: "Look which cgroup around it says `domain threaded` in cgroup.type: the one that was made threaded is in \
             that. A threaded cgroup cannot be made a domain again: remove it and make another one.",
    is_routine: true,
};
const OUTSIDE_NAMESPACE: Cause = Cause {
    word: "outside-namespace",
    meaning: "cgroup2 is mounted with nsdelegate, and the process was, or was to be, outside the cgroup namespace of \
              the one that wrote.",
    advice: "Move it from outside the container, or enter the cgroup namespace first (nsenter -C). What is moved must \
             be below the namespace's root before and after.",
    is_routine: true,
};
const REMOVED: Cause = Cause {
    word: "removed",
    meaning: "The cgroup was removed after it had been opened.",
    advice: "Look who removed it, and why that one took the container for gone: the finding names the process if the \
             removal was seen.",
    is_routine: true,
};
const PROCESS_GONE: Cause = Cause {
    word: "process-gone",
    meaning: "There is no such process: it had ended, or was ending, or the number is one of another pid namespace.",
    advice: "Look why the process ended: its own log or exit status says more than this call. A number from inside a \
             container means another process outside.",
    is_routine: true,
};
const REAL_TIME: Cause = Cause {
    word: "real-time",
    meaning: "The process is scheduled in real time, and the cgroup has no real-time budget (cpu controller of a \
              kernel with RT_GROUP_SCHED).",
    advice: "Give the cgroup, and those around it, a cpu.rt_runtime_us (v1), or schedule the process otherwise \
             (chrt -o -p 0 PID). On cgroup2 such a kernel needs all real-time processes in the root cgroup, or \
             rt_group_sched=0 on its command line.",
    is_routine: true,
};
const CPUSET_EMPTY: Cause = Cause {
    word: "cpuset-empty",
    meaning: "The cgroup has no processor, or no memory node (cpuset of v1): nothing can run in it.",
    advice: "Write to cpuset.cpus and cpuset.mems first, from the outside in. With cgroup.clone_children 1 in the \
             cgroup around it new ones take over what that has.",
    is_routine: true,
};
const UNKNOWN: Cause = Cause {
    word: "unknown",
    meaning: "Nothing that could be read says why.",
    advice: "Look at the process that was to be moved: a thread of the kernel's own cannot be, and on v1 each \
             controller may refuse it.",
    is_routine: true,
};

/// Errors that say that this process may not be in this cgroup.
const REFUSALS: [Errno; 9] = [
    Errno::EBUSY,
    Errno::EACCES,
    Errno::EPERM,
    Errno::EOPNOTSUPP,
    Errno::ENOENT,
    Errno::ENODEV,
    Errno::ESRCH,
    Errno::EINVAL,
    Errno::ENOSPC,
];

fn call(call: &Call, world: &World) -> Option<Case> {
    let attempt = &call.note.attempt;
    let is_attach = match attempt.operation {
        Operation::Write => call.note.file.as_ref().is_some_and(|file| control::purpose(file) == Purpose::Attach),
        // An error that clone3 gives for other reasons, too.
        Operation::Spawn => attempt.errno != Errno::EINVAL && attempt.errno != Errno::EPERM,
        Operation::Mkdir | Operation::Rmdir | Operation::Open | Operation::Rename | Operation::Read => false,
    };
    if !is_attach || !REFUSALS.contains(&attempt.errno) {
        return None;
    }
    let is_gone = matches!(attempt.errno, Errno::ENODEV | Errno::ENOENT);
    if call.existing.is_none() && is_gone {
        return Some(refusal::case_of_removed(call, world));
    }
    refusal::case(call)
}

fn judge(weighed: &Weighed, world: &World) -> Option<Judgement> {
    let refused = Refused::of(weighed)?;
    let removal = weighed.member.removal.as_ref();
    let is_gone = weighed.member.existing.is_none();
    let moved = refused.said.and_then(|said| said.moved.as_ref());
    let cause = cause(&refused, moved, is_gone);
    let needs = matches!(refused.errno(), Errno::EINVAL) && cause != UNKNOWN;
    let because = refused.gaps(weighed, world, needs);
    let why = why(cause, &refused, moved, removal, weighed, world);
    let what = format!("{} {}", whom(&refused, moved), refusal::whose(weighed));
    let summary = refusal::summary(weighed, world, &refused, &what, &why);
    let rival = removal.map(|removal| Rival {
        actor: removal.actor.clone(),
        operation: Deed::Rmdir,
        to: None,
        at: removal.at,
        before_ms: wording::milliseconds(refused.call().at.since(removal.at)),
    });
    Some(Judgement { cause, because, summary, rival })
}

fn cause(refused: &Refused, moved: Option<&Moved>, is_gone: bool) -> Cause {
    match refused.errno() {
        Errno::EBUSY if refused.is_on_v2() => INNER_PROCESSES,
        Errno::EACCES | Errno::EPERM => NOT_DELEGATED,
        Errno::EOPNOTSUPP => THREADED,
        Errno::ENODEV => REMOVED,
        Errno::ENOENT if is_gone => REMOVED,
        Errno::ENOENT if refused.is_on_v2() => OUTSIDE_NAMESPACE,
        Errno::ESRCH => PROCESS_GONE,
        Errno::ENOSPC if !refused.is_on_v2() => CPUSET_EMPTY,
        Errno::EINVAL => match moved {
            Some(Moved { state: Some(OccupantState::Exiting | OccupantState::Zombie), .. }) => PROCESS_GONE,
            Some(Moved { real_time: true, .. }) => REAL_TIME,
            Some(_) | None => UNKNOWN,
        },
        _ => UNKNOWN,
    }
}

/// Who was to be moved: `put sh[12] into`, `put itself into`, `make a process in`.
fn whom(refused: &Refused, moved: Option<&Moved>) -> String {
    let call = refused.call();
    if call.operation == Operation::Spawn {
        return "make a process in".to_owned();
    }
    let number = call.value.as_ref().and_then(Name::to_str).map(str::trim);
    match (number, moved) {
        (Some("0"), _) => "put itself into".to_owned(),
        (_, Some(Moved { pid, comm: Some(comm), .. })) => format!("put {} into", phrases::who(comm, *pid)),
        (Some(number), _) if number.parse::<u32>().is_ok() => format!("put process {number} into"),
        _ => format!("put process {} into", refusal::value(call)),
    }
}

fn why(
    cause: Cause,
    refused: &Refused,
    moved: Option<&Moved>,
    removal: Option<&Removal>,
    weighed: &Weighed,
    world: &World,
) -> String {
    let call = refused.call();
    match cause.word {
        "inner-processes" => {
            let enabled = refused.own().and_then(|own| own.subtree_control.as_deref()).filter(|list| !list.is_empty());
            let named = enabled.map(|list| format!(" ({})", refusal::list(list))).unwrap_or_default();
            let children = match refused.said.and_then(|said| said.children) {
                Some(0) => ", though there are none",
                Some(1) => ", of which there is one",
                Some(_) | None => "",
            };
            format!(
                "controllers{named} are enabled for the cgroups in it{children}; such a cgroup can have no processes \
                 of its own"
            )
        }
        "not-delegated" => not_delegated(refused, moved, weighed),
        "threaded" => threaded(refused),
        "outside-namespace" => {
            let from = moved.and_then(|moved| moved.cgroup.as_ref());
            let from = from.map(|from| format!(" from {from}")).unwrap_or_default();
            format!(
                "cgroup2 is mounted with nsdelegate, and the move{from} to {} leads out of the cgroup namespace of \
                 the one that tried",
                weighed.member.place.path
            )
        }
        "removed" => match removal {
            Some(removal) => format!(
                "{} had removed it {:.3} ms before",
                wording::somebody(&removal.actor),
                wording::milliseconds(call.at.since(removal.at))
            ),
            None => "it had been removed after it was opened".to_owned(),
        },
        "process-gone" => gone(refused, moved, world),
        "real-time" => "it is scheduled in real time, and the cgroup has no budget for that".to_owned(),
        "cpuset-empty" => {
            let empty: Vec<&str> = ["cpuset.cpus", "cpuset.mems"]
                .into_iter()
                .filter(|file| refused.values(file).any(|(_, value)| value.is_empty()))
                .collect();
            match empty.as_slice() {
                [] => "its cpuset has no processor, or no memory node".to_owned(),
                [one] => format!("its {one} is empty"),
                _ => format!("its {} are empty", refusal::list(&empty)),
            }
        }
        _ => match moved {
            Some(Moved { state: Some(OccupantState::Kernel), .. }) => "it is a thread of the kernel's own".to_owned(),
            _ if call.value.as_ref().is_some_and(|value| !is_number(value)) => {
                format!("{} is no process number", refusal::value(call))
            }
            _ => "why is not known".to_owned(),
        },
    }
}

fn is_number(value: &Name) -> bool {
    value.to_str().is_some_and(|value| value.trim().parse::<u32>().is_ok())
}

/// Between its old place and the new one a process is moved with the right to the innermost cgroup around both.
fn not_delegated(refused: &Refused, moved: Option<&Moved>, weighed: &Weighed) -> String {
    let user = weighed.main.and_then(|main| main.actor.uid);
    let user = user.map_or_else(|| "its user".to_owned(), |uid| format!("user {uid}"));
    if !refused.is_on_v2() {
        return format!("{user} may move only processes of its own");
    }
    let to = &weighed.member.place.path;
    let from = moved.and_then(|moved| moved.cgroup.as_ref());
    let common = from.map(|from| common_ancestor(from, to));
    let level: Option<&Level> = common.as_ref().and_then(|common| {
        let levels = refused.said.map(|said| said.levels.as_slice()).unwrap_or_default();
        levels.iter().find(|level| level.path == *common)
    });
    match (from, common, level.and_then(|level| level.uid)) {
        (Some(from), Some(common), Some(owner)) => format!(
            "that takes the right to write to cgroup.procs of {common}, the cgroup around both it and {from} where the \
             process was; that belongs to user {owner}, and {user} may not"
        ),
        (Some(from), Some(common), None) => format!(
            "{user} may not write to cgroup.procs of {common}, the cgroup around both it and {from} where the process \
             was"
        ),
        _ => format!("{user} may not write to cgroup.procs of the cgroup around both it and the process's old place"),
    }
}

fn common_ancestor(one: &Name, other: &Name) -> Name {
    let pairs = components(one.as_bytes()).zip(components(other.as_bytes()));
    let mut path = Vec::new();
    for (part, _) in pairs.take_while(|(one, other)| one == other) {
        path.push(b'/');
        path.extend_from_slice(part);
    }
    if path.is_empty() { Name::from("/") } else { Name::new(path) }
}

fn threaded(refused: &Refused) -> String {
    let kind = refused.own().and_then(|own| own.kind.as_deref());
    let levels = refused.said.map(|said| said.levels.as_slice()).unwrap_or_default();
    let is_root = |level: &&Level| level.kind.as_deref() == Some("domain threaded");
    let around = levels.iter().skip(1).find(is_root);
    let around =
        around.map(|root| format!(", below {}, which has threaded cgroups in it", root.path)).unwrap_or_default();
    match kind {
        Some("domain invalid") => {
            format!("its type is `domain invalid`{around}: it was not made threaded, and can be no domain")
        }
        Some("threaded") => format!("its type is `threaded`{around}, and the process is of another threaded domain"),
        Some(_) | None => "it is threaded, or invalid because one around it is".to_owned(),
    }
}

fn gone(refused: &Refused, moved: Option<&Moved>, world: &World) -> String {
    if let Some(Moved { state: Some(OccupantState::Exiting | OccupantState::Zombie), .. }) = moved {
        return "it was ending".to_owned();
    }
    let ended = moved.and_then(|moved| world.processes.get(moved.pid)).and_then(|known| known.exit);
    match ended {
        Some(_) => "it had ended".to_owned(),
        None if moved.is_some() => "there is no such process".to_owned(),
        None if refused.said.is_some() => {
            "there is no process of that number in the pid namespace of the one that wrote".to_owned()
        }
        None => "there is no such process, as the one that wrote numbers them".to_owned(),
    }
}

#[cfg(test)]
mod tests;
