//! `refused-control`: a controller could not be enabled or disabled for the cgroups in a cgroup, or its type not be
//! changed: by a write to `cgroup.subtree_control` or `cgroup.type`.
//!
//! The sources are `cgroup_subtree_control_write`, `cgroup_vet_subtree_control_enable` and `cgroup_enable_threaded`
//! (kernel/cgroup/cgroup.c).

mod known;

use super::refusal::{self, Refused};
use super::{Call, Judgement, Rule, Weighed, World};
use crate::control::{self, Purpose};
use crate::errno::Errno;
use crate::findings::{Cause, Explanation};
use crate::input::{Level, Operation};
use crate::name::Name;
use crate::state::Case;

pub(super) const RULE: Rule = Rule {
    explanation: Explanation {
        word: "refused-control",
        claim: "A controller could not be enabled or disabled for the cgroups in a cgroup, or the type of a cgroup \
                could not be changed.",
        evidence: &[
            "the failed write to cgroup.subtree_control or cgroup.type, with what was written",
            refusal::EVIDENCE_OF_CIRCUMSTANCES,
            "the exit status of the process that was refused",
        ],
        confirm: &[
            (
                "look from the outside in where the controller is missing first",
                "grep . /sys/fs/cgroup/cgroup.subtree_control /sys/fs/cgroup/PATH/cgroup.controllers",
            ),
            ("look who is in it", "cat /sys/fs/cgroup/PATH/cgroup.procs"),
            ("look which cgroups in it use the controller", "grep . /sys/fs/cgroup/PATH/*/cgroup.subtree_control"),
            ("look whether a hierarchy of v1 has the controller", "cat /proc/self/cgroup"),
        ],
        causes: &[
            CONTROLLER_MISSING,
            PROCESSES_INSIDE,
            CHILD_USES_IT,
            THREADED,
            REAL_TIME,
            BOUND_TO_V1,
            NOT_DELEGATED,
            UNKNOWN,
        ],
        severity: refusal::SEVERITY,
        false_positives: &[
            "A runtime tries to enable all controllers in one write, and then each of them. Only the last refusals \
             count, and the runtime exits 0: the finding is benign.",
            refusal::MADE_GOOD,
        ],
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

const CONTROLLER_MISSING: Cause = Cause {
    word: "controller-missing",
    meaning: "The cgroup does not have that controller itself: one around it does not hand it on, or the kernel does \
              not have it.",
    advice: "Enable it from the root inwards: each cgroup on the way needs it in its cgroup.subtree_control. The \
             summary names the first one that does not have it. With systemd: Delegate=yes, or CPUAccounting= and the \
             like on the units around it.",
    is_routine: true,
};
const PROCESSES_INSIDE: Cause = Cause {
    word: "processes-inside",
    meaning: "There are processes in the cgroup itself. One that hands controllers on can have none of its own.",
    advice: "Move them into a cgroup below it (a leaf) first, as runtimes in containers do, and enable the controllers \
             then. In a container it is often the shell, or the container's first process.",
    is_routine: true,
};
const CHILD_USES_IT: Cause = Cause {
    word: "child-uses-it",
    meaning: "A cgroup in it hands the controller on: it cannot be disabled above.",
    advice: "Disable it from the inside out: the summary names the cgroups that use it.",
    is_routine: true,
};
const THREADED: Cause = Cause {
    word: "threaded",
    meaning: "The cgroup is threaded, is the root of threaded ones, or is invalid because of one around it: only \
              threaded controllers (cpu, cpuset, perf_event, pids) can be enabled there, or its type is not free to \
              change.",
    advice: "Look at cgroup.type of the cgroup and of those around it: the one that says `threaded` was made so by \
             the process that wrote that to it. It cannot be made a domain again: remove it and make another one.",
    is_routine: true,
};
const REAL_TIME: Cause = Cause {
    word: "real-time",
    meaning: "Processes that are scheduled in real time are in it: with RT_GROUP_SCHED the cpu controller cannot be \
              enabled for them.",
    advice: "Move them to the root cgroup, or schedule them otherwise (chrt -o -p 0 PID); or boot with \
             rt_group_sched=0, or a kernel without RT_GROUP_SCHED.",
    is_routine: true,
};
const BOUND_TO_V1: Cause = Cause {
    word: "bound-to-v1",
    meaning: "A hierarchy of cgroup v1 has the controller: cgroup2 cannot have it as well.",
    advice: "Unmount that hierarchy of v1, or boot with cgroup_no_v1=CONTROLLER, or with \
             systemd.unified_cgroup_hierarchy=1. On a hybrid host a runtime uses v1 for it.",
    is_routine: true,
};
const NOT_DELEGATED: Cause = Cause {
    word: "not-delegated",
    meaning: "The process has no right to: the cgroup was not delegated to it, or is the root of its own cgroup \
              namespace on a mount with nsdelegate.",
    advice: "Delegate the cgroup to the user (systemd: Delegate=yes), or write from outside the container.",
    is_routine: true,
};
const UNKNOWN: Cause = Cause {
    word: "unknown",
    meaning: "Nothing that could be read says why.",
    advice: "Look whether what was written is well-formed: `+CONTROLLER` and `-CONTROLLER`, or `threaded`.",
    is_routine: true,
};

fn call(call: &Call, _: &World) -> Option<Case> {
    let attempt = &call.note.attempt;
    let is_control = call.note.file.as_ref().is_some_and(|file| control::purpose(file) == Purpose::Control);
    let is_refusal = matches!(
        attempt.errno,
        Errno::ENOENT | Errno::EBUSY | Errno::EINVAL | Errno::EOPNOTSUPP | Errno::EPERM | Errno::EACCES
    );
    (attempt.operation == Operation::Write && is_control && is_refusal).then(|| refusal::case(call))?
}

/// What was asked for in `cgroup.subtree_control`: the controllers behind a sign.
fn asked<'a>(refused: &Refused<'a>, sign: char) -> Vec<&'a str> {
    let value = refused.note.attempt.value.as_ref().and_then(Name::to_str).unwrap_or_default();
    value.split_ascii_whitespace().filter_map(|word| word.strip_prefix(sign)).collect()
}

fn judge(weighed: &Weighed, world: &World) -> Option<Judgement> {
    let refused = Refused::of(weighed)?;
    let is_type = refused.note.file.as_ref().is_some_and(|file| file == "cgroup.type");
    let (cause, why) = if is_type { of_type(&refused) } else { of_controllers(&refused, world) };
    // EBUSY and EOPNOTSUPP have one reason each, whatever is read later; who or what it is comes from there.
    let needs = matches!(refused.errno(), Errno::ENOENT | Errno::EINVAL) && cause != UNKNOWN;
    let because = refused.gaps(weighed, world, needs);
    let whose = refusal::whose(weighed);
    let what = if is_type {
        format!("make {whose} {}", refusal::value(refused.call()))
    } else {
        let (enable, disable) = (asked(&refused, '+'), asked(&refused, '-'));
        match (enable.as_slice(), disable.as_slice()) {
            ([], []) => format!("write {} to cgroup.subtree_control of {whose}", refusal::value(refused.call())),
            (enable, []) => format!("enable {} for the cgroups in {whose}", refusal::list(enable)),
            ([], disable) => format!("disable {} for the cgroups in {whose}", refusal::list(disable)),
            (enable, disable) => format!(
                "enable {} and disable {} for the cgroups in {whose}",
                refusal::list(enable),
                refusal::list(disable)
            ),
        }
    };
    let summary = refusal::summary(weighed, world, &refused, &what, &why);
    Some(Judgement { cause, because, summary, rival: None })
}

fn of_controllers(refused: &Refused, world: &World) -> (Cause, String) {
    let own = refused.own();
    let (enable, disable) = (asked(refused, '+'), asked(refused, '-'));
    let unknown = || (UNKNOWN, "why is not known".to_owned());
    match refused.errno() {
        Errno::ENOENT | Errno::EINVAL => {
            let controllers = own.and_then(|own| own.controllers.as_deref());
            let is_missing = |controller: &&&str| controllers.is_some_and(|list| !refusal::has(list, controller));
            let Some(missing) = enable.iter().chain(&disable).find(is_missing) else {
                let real_time = refused.said.map(|said| said.real_time.as_slice()).unwrap_or_default();
                return if refused.errno() == Errno::EINVAL && !real_time.is_empty() && enable.contains(&"cpu") {
                    let who = refusal::processes(real_time);
                    (REAL_TIME, format!("in it, or in a cgroup in it, is {who}, scheduled in real time"))
                } else if refused.errno() == Errno::ENOENT && controllers.is_none() {
                    (CONTROLLER_MISSING, "it does not have one of them itself".to_owned())
                } else {
                    unknown()
                };
            };
            if refused.is_on_v1(missing) {
                return (BOUND_TO_V1, format!("a hierarchy of cgroup v1 has {missing}"));
            }
            match (refused.root_has(missing), refused.errno()) {
                (Some(false), Errno::EINVAL) => {
                    (CONTROLLER_MISSING, format!("this kernel has no controller {missing}, or it is disabled"))
                }
                (Some(false), _) => (CONTROLLER_MISSING, format!("the root has no controller {missing}")),
                _ => (CONTROLLER_MISSING, refused.chain(missing, world)),
            }
        }
        Errno::EBUSY if !disable.is_empty() && enable.is_empty() => {
            let uses = |value: &Name| {
                let value = value.to_str().unwrap_or_default();
                value.split_ascii_whitespace().any(|word| disable.contains(&word))
            };
            let users: Vec<String> = refused
                .values("cgroup.subtree_control")
                .filter(|(_, value)| uses(value))
                .map(|(path, _)| path.to_string())
                .collect();
            let by = if users.is_empty() { "a cgroup in it".to_owned() } else { refusal::list(&users) };
            (CHILD_USES_IT, format!("{by} hand{} it on", if users.len() > 1 { "" } else { "s" }))
        }
        Errno::EBUSY if disable.is_empty() && !enable.is_empty() => (PROCESSES_INSIDE, inside(refused)),
        Errno::EBUSY => unknown(),
        Errno::EOPNOTSUPP => (THREADED, threaded(refused)),
        Errno::EPERM | Errno::EACCES => (NOT_DELEGATED, "it has no right to".to_owned()),
        _ => unknown(),
    }
}

fn inside(refused: &Refused) -> String {
    let occupants = refused.said.map(|said| said.occupants.as_slice()).unwrap_or_default();
    let count = refused.own().and_then(|own| own.processes);
    let more = count.unwrap_or(0).saturating_sub(occupants.len() as u64);
    match (occupants.len(), more) {
        (0, _) => "there are processes in it".to_owned(),
        (1, 0) => format!("{} is in it", refusal::processes(occupants)),
        (_, 0) => format!("{} are in it", refusal::processes(occupants)),
        (_, _) => format!("{} processes are in it, {} among them", count.unwrap_or(0), refusal::processes(occupants)),
    }
}

fn threaded(refused: &Refused) -> String {
    let threaded: Vec<String> = refused
        .values("cgroup.type")
        .filter(|(_, kind)| **kind == "threaded")
        .map(|(path, _)| path.to_string())
        .collect();
    match refused.own().and_then(|own| own.kind.as_deref()) {
        Some("domain threaded") if !threaded.is_empty() => {
            let are = if threaded.len() > 1 { "are" } else { "is" };
            format!(
                "{} in it {are} threaded, so that it can hand on threaded controllers only",
                refusal::list(&threaded)
            )
        }
        Some(kind) if kind != "domain" => format!("its type is `{kind}`"),
        Some(_) | None => "it is threaded, or invalid because one around it is".to_owned(),
    }
}

/// Of `cgroup.type`.
fn of_type(refused: &Refused) -> (Cause, String) {
    /// The controllers that can be in a threaded cgroup (`threaded = true` in their `cgroup_subsys`).
    const THREADED_CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "perf_event", "pids"];
    let own = refused.own();
    match refused.errno() {
        Errno::EPERM | Errno::EACCES => (NOT_DELEGATED, "it has no right to".to_owned()),
        Errno::EOPNOTSUPP => {
            let domain: Vec<&str> = own
                .and_then(|own| own.subtree_control.as_deref())
                .unwrap_or_default()
                .iter()
                .map(String::as_str)
                .filter(|name| !THREADED_CONTROLLERS.contains(name))
                .collect();
            let levels = refused.said.map(|said| said.levels.as_slice()).unwrap_or_default();
            let is_invalid = |level: &&Level| level.kind.as_deref() == Some("domain invalid");
            if own.and_then(|own| own.processes).is_some_and(|count| count > 0) {
                (PROCESSES_INSIDE, inside(refused))
            } else if !domain.is_empty() {
                (THREADED, format!("it hands on {}, which a threaded cgroup cannot have", refusal::list(&domain)))
            } else if let Some(level) = levels.iter().skip(1).find(is_invalid) {
                (THREADED, format!("{} around it is invalid", level.path))
            } else {
                (UNKNOWN, "it, or a cgroup in it or around it, cannot be threaded".to_owned())
            }
        }
        Errno::EINVAL => (UNKNOWN, format!("{} is no type that can be written", refusal::value(refused.call()))),
        _ => (UNKNOWN, "why is not known".to_owned()),
    }
}

#[cfg(test)]
mod tests;
