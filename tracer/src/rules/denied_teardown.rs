//! `denied-teardown`: a removal of a cgroup that exists was refused, for lack of rights or by a read-only mount.
//!
//! The refusal alone does not prove that the cgroup was there: a read-only mount answers before the kernel looks, and
//! so does a directory on the way that the process may not pass. It is known from the cgroup's life. One that is gone
//! by the time its story is judged was removed in another way, and nothing is told of it unless a teardown failed of
//! the refusal, or still may.

use super::judge::{any_is_left, is_there};
use super::{Call, Judgement, Rule, Weighed, World, gone, wording};
use crate::errno::Errno;
use crate::findings::{Cause, Explanation, Job, Severity};
use crate::input::{Actor, Change, Exit, Operation};
use crate::state::{Case, Cgroups, Course, Member, Participant, Story};

pub(super) const RULE: Rule = Rule {
    explanation: Explanation {
        word: "denied-teardown",
        claim: "Somebody tried to remove a cgroup that exists, and was refused for lack of rights or by a read-only \
                mount.",
        evidence: &[
            "the failed rmdir or unlinkat (EROFS, EACCES or EPERM)",
            "that the cgroup existed: its creation, or the walk at the start, and no removal since",
            "the exit status of the process that tried, whether its state file of the container is left, and whether \
             the cgroup is",
        ],
        confirm: &[
            (
                "look whether cgroupfs is mounted read-only for the process",
                "grep -E ' - cgroup2? ' /proc/PID/mountinfo",
            ),
            ("look who may remove the cgroup: who may write to the one around it", "ls -ld /sys/fs/cgroup/PATH/.."),
            ("look whether it still exists", "ls -d /sys/fs/cgroup/PATH"),
        ],
        causes: &[READ_ONLY_MOUNT, PERMISSION],
        severity: &[
            "To tear down: `fault` if it exited with another status than 0, or if the cgroup or the runtime's state of \
             the container is left; `undetermined` if it exited 0 and nobody knows whether the cgroup is left; else \
             `benign`.",
            "To start: `benign` if it exited 0. `fault` if it failed and left the runtime's state of the container, or \
             a cgroup that it had made itself. Else `undetermined`.",
            "To remove a directory: `benign` if the cgroup is gone, else `undetermined`.",
            "Anything else: `benign` if it exited 0 and the cgroup is gone, else `undetermined`.",
            "Whatever it was there for: `benign` if it removed the cgroup itself after all.",
            "On cgroup v1, the cgroup is gone only if it is gone from every hierarchy that the finding is about.",
        ],
        false_positives: &[
            "A process that only tests whether it may remove a cgroup makes the same calls. The finding is \
             undetermined while the cgroup is left.",
            "A cgroup whose removal was lost looks as if it still existed. The finding is then degraded and says \
             \"may\".",
        ],
    },
    known: &[],
    call: Some(call),
    event: None,
    deadline: None,
    course: Course { follows: &[Change::Removed], ..gone::COURSE },
    hurt,
    judge,
};

const READ_ONLY_MOUNT: Cause = Cause {
    word: "read-only-mount",
    meaning: "cgroupfs is mounted read-only for the process that tried.",
    advice: "Remove the cgroup from where cgroupfs is writable: the program that made it there can do it. A runtime \
             that makes cgroups in a container needs a writable cgroupfs for its whole life (a delegated cgroup and a \
             cgroup namespace of its own); if it was writable before, find out what remounted it.",
    is_routine: false,
};

const PERMISSION: Cause = Cause {
    word: "permission",
    meaning: "The process has no right to remove it: that takes the right to write to the cgroup around it, and to \
              pass every directory on the way there.",
    advice: "Remove it as the user who made it, or as root. If root itself is refused, look for a capability that the \
             process gave up, a rule of AppArmor or SELinux (journalctl -k), a seccomp filter, or a user namespace. \
             For a rootless runtime, delegate the cgroup around the container's to its user (systemd: Delegate=yes), \
             before the container is made.",
    is_routine: true,
};

fn cause_of(errno: Errno) -> Option<Cause> {
    match errno {
        Errno::EROFS => Some(READ_ONLY_MOUNT),
        Errno::EACCES | Errno::EPERM => Some(PERMISSION),
        _ => None,
    }
}

fn call(call: &Call, _: &World) -> Option<Case> {
    let attempt = &call.note.attempt;
    cause_of(attempt.errno).filter(|_| attempt.operation == Operation::Rmdir)?;
    let existing = call.existing?;
    // A call that did not find it before it was made was not about this one.
    let since = existing.created.map(|created| created.at);
    Some(Case { existing: Some(existing), since, container: call.container.cloned(), ..Case::default() })
}

/// Who removed it after the refusal. `None` if it is there, or if that was not seen.
fn remover<'a>(member: &Member, story: &Story, cgroups: &'a Cgroups) -> Option<&'a Actor> {
    let existing = member.existing.as_ref()?;
    let removal = cgroups.removal(&member.place).filter(|removal| removal.at >= story.began)?;
    let is_of_it = removal.cgroup.id == Some(existing.id) && removal.created == existing.created;
    removal.actor.as_ref().filter(|_| is_of_it)
}

/// What the refusal did to one who tried.
fn hurt(participant: Option<&Participant>, story: &Story, world: &World) -> Severity {
    let Some(participant) = participant else { return Severity::Undetermined };
    let left = any_is_left(story, world.cgroups);
    let has_removed =
        |member: &Member| remover(member, story, world.cgroups).is_some_and(|actor| participant.is(actor));
    if left == Some(false) && story.members.iter().all(has_removed) {
        return Severity::Benign;
    }
    let Some(exit) = participant.exit() else { return Severity::Undetermined };
    // A start that fails clears up what it has made; what was there before is none of its.
    let started = participant.actor.identity.as_ref().and_then(|identity| identity.started);
    let is_own = |member: &&Member| {
        let created = member.existing.and_then(|existing| existing.created);
        created.zip(started).is_some_and(|(created, started)| created.at >= started)
    };
    let leaves_own = || story.members.iter().filter(is_own).any(|own| is_there(own, world.cgroups));
    match (participant.job, exit) {
        // Whoever killed it is to blame for what it left behind.
        (_, Exit::Signal(_)) => Severity::Undetermined,
        // What it was there for could not be read: its exit status may mean anything.
        (Job::Other, _) if participant.is_unread => Severity::Undetermined,
        (Job::Teardown, Exit::Code(0)) if left == Some(true) || participant.state_left == Some(true) => Severity::Fault,
        (Job::Teardown, Exit::Code(0)) if left.is_none() => Severity::Undetermined,
        (Job::Teardown, Exit::Code(code)) if code != 0 => Severity::Fault,
        (Job::Teardown | Job::Start, Exit::Code(0)) => Severity::Benign,
        (Job::Start, _) if participant.state_left == Some(true) || leaves_own() => Severity::Fault,
        (Job::Removal, _) | (Job::Other, Exit::Code(0)) if left == Some(false) => Severity::Benign,
        (Job::Teardown | Job::Start | Job::Removal | Job::Other, _) => Severity::Undetermined,
    }
}

fn judge(weighed: &Weighed, world: &World) -> Option<Judgement> {
    let (story, member, main) = (weighed.story, weighed.member, weighed.main?);
    let left = weighed.outcome.cgroup_left;
    let failed_of_it = weighed.severity == Severity::Fault && main.job == Job::Teardown;
    let has_failed = failed_of_it && main.exit().is_some_and(|exit| !exit.is_success());
    // Whether a teardown fails of it shows at its end, however long that takes.
    let may_fail = |who: &Participant| {
        who.job == Job::Teardown && who.ended.is_none() && hurt(Some(who), story, world) != Severity::Benign
    };
    let nothing_came_of_it = !has_failed && !story.participants.iter().any(may_fail);
    if story.told.is_none() && left == Some(false) && nothing_came_of_it {
        return None;
    }
    // What is not found by its path is not there, whatever the mount said first: its removal was lost.
    let is_missing = |errno: Errno| matches!(errno, Errno::ENOENT | Errno::ENODEV);
    let mut of_it = story.kept_calls().filter(|note| note.place == member.place && note.file.is_none());
    let is_missed =
        left != Some(false) && of_it.any(|note| note.attempt.at > story.began && is_missing(note.attempt.errno));
    if story.told.is_none() && is_missed {
        return None;
    }
    let errno = main.errno?;
    let cause = cause_of(errno)?;
    let since = member.existing.and_then(|existing| existing.created).map(|created| created.at);
    let mut because = world.coverage.gaps_in_lifecycle(since.unwrap_or_default());
    because.extend(weighed.gaps_in_processes(world, None));
    if is_missed {
        because.push("a later call did not find it".to_owned());
    }
    if left.is_none() {
        because.push("the cgroup that has its id now may be another one".to_owned());
    }
    let is = match left {
        Some(false) => wording::verb(&because, "existed", "may have existed"),
        Some(true) | None => wording::verb(&because, "exists", "may exist"),
    };
    let why = match (cause == READ_ONLY_MOUNT, main.actor.uid) {
        (true, _) => format!("cgroupfs is mounted read-only for it ({errno})"),
        // Its real user: root may have given up rights, and a program may have those of its file's owner.
        (false, Some(0)) => format!(
            "run by root, it gave up rights, or AppArmor, SELinux, seccomp or a user namespace forbids it ({errno})"
        ),
        (false, Some(uid)) => format!("run by user {uid}, it has no right to ({errno})"),
        (false, None) => format!("it has no right to ({errno})"),
    };
    let behind = match (weighed.severity, weighed.outcome.state_left, left) {
        (_, Some(true), _) => " and left the container's state behind",
        (Severity::Fault, _, Some(true)) => " and left the cgroup behind",
        _ => "",
    };
    let summary = format!(
        "{} tried to tear down {}, which {is}, but was refused: {why}; {}{behind}",
        wording::subject(weighed, None),
        wording::whose(weighed),
        wording::end(weighed, world),
    );
    Some(Judgement { cause, because, summary, rival: None })
}

#[cfg(test)]
mod tests;
