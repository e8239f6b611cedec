//! `stuck-call`: a call on cgroupfs does not return.
//!
//! Told while it hangs, with what it waits for and who holds that up, as far as this is proved: by the function of the
//! kernel that the thread sleeps in, by what the file is that is written to, and by other calls that do not return. It
//! is told again when the call has returned. One story is of one call.

mod known;

use std::sync::Arc;
use std::time::Duration;

use super::{Judgement, Rule, Weighed, World, wording};
use crate::duration;
use crate::findings::{Cause, Explanation, Finding, Severity};
use crate::input::{Operation, Stuck};
use crate::name::Name;
use crate::phrases;
use crate::state::{Case, Course, InFlightCall, Moment, Notes, Participant, SETTLES, Story, Told};
use crate::waits::{self, Waits};

pub(super) const RULE: Rule = Rule {
    explanation: Explanation {
        word: "stuck-call",
        claim: "A call on cgroupfs does not return: an mkdir, an rmdir, or a write to a control file, for two seconds \
                or longer.",
        evidence: &[
            "the line `stuck`: when the call began, and in which function of the kernel its thread sleeps (`waits_in`)",
            "of an rmdir that waits for processes on their way out: which these are, and what they wait for \
             (`exiting`)",
            "another call that has not returned, if that one holds this one up",
            "when it has returned: the second line `stuck`, with how long it took (`took_ns`) and its error (`errno`)",
        ],
        confirm: &[
            ("look in which function of the kernel the thread sleeps", "cat /proc/PID/task/TID/wchan"),
            ("look at all of the kernel's functions that it is in", "cat /proc/PID/task/TID/stack"),
            ("look for other tasks that sleep in the kernel", "grep -l '^State:.D' /proc/[0-9]*/task/[0-9]*/status"),
            ("have the kernel list all of them in its log", "echo w > /proc/sysrq-trigger; dmesg"),
        ],
        causes: &[WAITS_FOR_EXIT, WAITS_FOR_RECLAIM, WAITS_FOR_LOCK, FROZEN, UNKNOWN],
        severity: &[
            "`fault` if it is proved that the call cannot return by itself: it waits for a process that waits for the \
             caller.",
            "`benign` when it has returned, and succeeded.",
            "Else `undetermined`: it may return yet, or it has failed.",
        ],
        false_positives: &[
            "A host without processor time, or a virtual machine that was stopped: every call takes long there.",
            "Only trampolines see a call that has not returned: see `cgtrace doctor`. With the tracepoint there are no \
             such findings. A call that began before tracing is never seen.",
            "A call that waits before it comes to cgroupfs is not seen: for the lock of the directory around, say, \
             which another rmdir holds.",
            "A runtime that waits for the thaw of a container is not in a call that hangs: it asks again and again.",
        ],
    },
    known: known::KNOWN,
    call: None,
    failed_start: None,
    stuck: Some(begins),
    event: None,
    deadline: None,
    course: Course {
        joins,
        gathers: |_, _| false,
        patience: Duration::ZERO,
        settles: SETTLES,
        waits: |_| None,
        follows: &[],
        is_news,
    },
    hurt,
    judge,
};

const WAITS_FOR_EXIT: Cause = Cause {
    word: "waits-for-exit",
    meaning: "The rmdir waits until processes that have begun to end have left the cgroup. Linux 6.19.12 to 7.0.8 do \
              that, and no signal ends the wait.",
    advice: "If the finding says that the caller is to reap a process first, nothing ends that: restart the host, and \
             update the kernel to 7.0.9 or later. Else look what the processes on their way out wait for: a file \
             system that does not answer, for one.",
    is_routine: false,
};

const WAITS_FOR_RECLAIM: Cause = Cause {
    word: "waits-for-reclaim",
    meaning: "The kernel takes memory back from the cgroup before the write returns: the new limit is below what is \
              used.",
    advice: "Lower the limit in steps, or set memory.high first and memory.max later. Look at memory.stat, \
             memory.swap.current and memory.pressure of the cgroup: without room to swap, and with pages that must be \
             written first, it takes long. A signal ends the write to memory.high, memory.max and memory.reclaim.",
    is_routine: true,
};

const WAITS_FOR_LOCK: Cause = Cause {
    word: "waits-for-lock",
    meaning: "It waits for another call: for the lock that everyone takes who makes, removes or changes cgroups, or \
              until nobody uses a file of the cgroup any more.",
    advice: "Look at the call that holds it up: the finding names it, if it is known. While it lasts, all calls that \
             need the lock pile up behind it, those of systemd included.",
    is_routine: false,
};

const FROZEN: Cause = Cause {
    word: "frozen",
    meaning: "The thread that made the call is frozen inside it.",
    advice: "Thaw its cgroup: echo THAWED > freezer.state (cgroup v1).",
    is_routine: false,
};

const UNKNOWN: Cause = Cause {
    word: "unknown",
    meaning: "What it waits for is not known: the thread runs, its function may wait for more than one thing, or it \
              could not be read.",
    advice: "Look at its functions in the kernel: cat /proc/PID/task/TID/stack.",
    is_routine: false,
};

/// What it is about needs nothing but the call itself.
fn begins(call: &Arc<Stuck>, world: &World) -> Option<Case> {
    let live = world.cgroups.get(call.hierarchy, call.id).filter(|_| call.operation != Operation::Mkdir);
    Some(Case {
        existing: live.map(|live| live.as_existing(call.id)),
        container: call.container.clone(),
        seen: holder(call, world).map(|holder| holder.seq).into_iter().collect(),
        stuck: Some(Arc::clone(call)),
        is_alone: true,
        ..Case::default()
    })
}

fn joins(story: &Story, _: &Moment, case: &Case, _: &Notes) -> bool {
    let (told, new) = (story.stuck.as_ref(), case.stuck.as_ref());
    told.zip(new).is_some_and(|(told, new)| told.call() == new.call())
}

/// That the process has ended is none.
fn is_news(told: &Told, finding: &Finding) -> bool {
    let has_returned = told.evidence != finding.evidence.len() && told.outcome.exit_at == finding.outcome.exit_at;
    told.severity != finding.severity || told.cause != finding.cause || has_returned
}

fn hurt(_: Option<&Participant>, story: &Story, _: &World) -> Severity {
    let Some(call) = &story.stuck else { return Severity::Undetermined };
    match (call.took_ns, call.errno) {
        (Some(_), None) => Severity::Benign,
        (Some(_), Some(_)) => Severity::Undetermined,
        (None, _) if call.exiting.iter().any(|exiting| exiting.unreaped.is_some()) => Severity::Fault,
        (None, _) => Severity::Undetermined,
    }
}

fn judge(weighed: &Weighed, world: &World) -> Option<Judgement> {
    let call = weighed.story.stuck.as_deref()?;
    let (cause, why) = why(call, world);
    let what = what(call, &wording::whose(weighed));
    let who = wording::who(&call.actor);
    let end = match call.errno {
        Some(errno) => format!(", and failed with {errno}"),
        None => String::new(),
    };
    let summary = match call.took_ns {
        None => {
            let span = duration::human(call.at.since(call.began));
            format!("{who} has been in {what} for {span}, which does not return: {why}")
        }
        Some(took) => {
            let span = duration::human(Duration::from_nanos(took));
            format!("{who} was in {what} for {span}{end}; it has returned: {why}")
        }
    };
    Some(Judgement { cause, because: Vec::new(), summary, rival: None })
}

fn what(call: &Stuck, whose: &str) -> String {
    match (call.operation, &call.file) {
        (Operation::Write, Some(file)) => format!("a write to {file} of {whose}"),
        (operation, _) => format!("the {} of {whose}", operation.as_str()),
    }
}

/// Why it does not return, as far as that is proved, and in words.
fn why(call: &Stuck, world: &World) -> (Cause, String) {
    let returned = call.took_ns.is_some();
    let waits = if returned { "waited" } else { "waits" };
    match call.waits_in.as_deref().and_then(waits::of) {
        Some(Waits::ForExit) => (WAITS_FOR_EXIT, format!("it {waits} for {}", exiting(call, returned))),
        Some(Waits::ForThaw) => {
            (FROZEN, format!("the kernel {} it there", if returned { "froze" } else { "has frozen" }))
        }
        Some(Waits::ForCgroupLock) => {
            let by = match holder(call, world) {
                _ if returned => String::new(),
                Some(InFlightCall { stuck, .. }) => {
                    let path = stuck.cgroup.as_ref().map(|cgroup| format!("cgroup {}", cgroup.path));
                    let what = what(stuck, path.as_deref().unwrap_or("a cgroup"));
                    format!(", which {} holds", holding(stuck, &what, world))
                }
                None => "; who holds it is not known".to_owned(),
            };
            (WAITS_FOR_LOCK, format!("it {waits} for the lock that all changes of cgroups take{by}"))
        }
        Some(Waits::ForFiles) => {
            let by = match holder(call, world).filter(|_| !returned) {
                Some(InFlightCall { stuck, .. }) => format!(": {}", holding(stuck, &what(stuck, "it"), world)),
                None => String::new(),
            };
            (WAITS_FOR_LOCK, format!("it {waits} until nobody uses a file of the cgroup{by}"))
        }
        Some(Waits::ForMemoryLimit) => {
            (WAITS_FOR_LOCK, format!("it {waits} for others who limit the memory of a cgroup"))
        }
        Some(Waits::ForReclaim) => (WAITS_FOR_RECLAIM, reclaims(returned)),
        None if is_reclaiming(call) => (WAITS_FOR_RECLAIM, reclaims(returned)),
        None => {
            let function = call.waits_in.as_ref().map(|function| format!(" (its thread slept in {function})"));
            (UNKNOWN, format!("what it {waits} for is not known{}", function.unwrap_or_default()))
        }
    }
}

/// The kernel does nothing else in such a write.
fn is_reclaiming(call: &Stuck) -> bool {
    let file = call.file.as_ref().and_then(Name::to_str);
    call.operation == Operation::Write && file.is_some_and(waits::reclaims)
}

fn reclaims(returned: bool) -> String {
    let takes = if returned { "took" } else { "takes" };
    let returns = if returned { "returned" } else { "returns" };
    format!("the kernel {takes} memory back before the write {returns}")
}

/// Who is on their way out, and what they wait for.
fn exiting(call: &Stuck, returned: bool) -> String {
    let Some(first) = call.exiting.first() else {
        return "processes of the cgroup that are on their way out; which these are is not known".to_owned();
    };
    let who = phrases::who(&first.comm, first.pid);
    let others = match call.exiting.len() - 1 {
        0 => String::new(),
        1 => " and one more process".to_owned(),
        more => format!(" and {more} more processes"),
    };
    let (is, waits) = if returned { ("was", "waited") } else { ("is", "waits") };
    let is = if call.exiting.len() > 1 { "are" } else { is };
    let out = format!("{who}{others}, which {is} on the way out");
    match (&first.unreaped, &first.waits_in) {
        (Some(unreaped), _) => {
            let unreaped = phrases::who(&unreaped.comm, unreaped.pid);
            let caller = wording::who(&call.actor);
            format!("{out}; that one {waits} until {unreaped} is reaped, which is for {caller} itself to do")
        }
        (None, Some(function)) => format!("{out} (its thread slept in {function})"),
        (None, None) => out,
    }
}

/// The call that holds this one up, if it is proved that it does: whoever removes a cgroup holds the lock for all
/// changes of cgroups, while a file of that cgroup is still used; and a write that has not returned uses its file.
fn holder<'a>(call: &Stuck, world: &'a World) -> Option<&'a InFlightCall> {
    let waits = |call: &Stuck| call.waits_in.as_deref().and_then(waits::of);
    match waits(call)? {
        Waits::ForCgroupLock => {
            let holds = |other: &Stuck| other.operation == Operation::Rmdir && waits(other) == Some(Waits::ForFiles);
            world.in_flight.all().find(|other| holds(&other.stuck) && other.stuck.call() != call.call())
        }
        Waits::ForFiles => {
            // One that waits for that lock has let go of its file. So what holds up is no circle, either.
            let lets_go = |other: &Stuck| matches!(waits(other), Some(Waits::ForCgroupLock | Waits::ForFiles));
            let uses = |other: &Stuck| other.operation == Operation::Write && !lets_go(other);
            world.in_flight.on(call.hierarchy, call.id).find(|other| uses(&other.stuck))
        }
        Waits::ForExit | Waits::ForMemoryLimit | Waits::ForReclaim | Waits::ForThaw => None,
    }
}

/// Who holds a call up, by what, and why that one does not return.
fn holding(holder: &Stuck, what: &str, world: &World) -> String {
    format!("{} in {what} ({})", wording::who(&holder.actor), why(holder, world).1)
}

#[cfg(test)]
pub(super) mod tests;
