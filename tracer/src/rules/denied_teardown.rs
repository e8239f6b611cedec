//! `denied-teardown`: a removal of a cgroup that exists was refused, for lack of rights or by a read-only mount.
//!
//! The refusal alone does not prove that the cgroup was there: a read-only mount answers before the kernel looks, and
//! so does a directory on the way that the process may not pass. It is known from the cgroup's life. One that is gone
//! by the time its story is judged was removed in another way, and nothing is told of it unless a teardown failed of
//! the refusal, or still may.

mod known;

use super::{Call, Judgement, Rule, Weighed, World, refused, wording};
use crate::errno::Errno;
use crate::findings::{Cause, Explanation, Job, Severity};
use crate::input::Operation;
use crate::state::{Case, Participant};

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
        severity: &[refused::TO_TEAR_DOWN, refused::TO_START, refused::TO_DO_ELSE, refused::WHATEVER_FOR],
        false_positives: &[
            "A process that only tests whether it may remove a cgroup makes the same calls. The finding is \
             undetermined while the cgroup is left.",
            "A cgroup whose removal was lost looks as if it still existed. The finding is then degraded and says \
             \"may\".",
        ],
    },
    known: known::KNOWN,
    call: Some(call),
    failed_start: None,
    stuck: None,
    event: None,
    deadline: None,
    course: refused::COURSE,
    hurt: refused::hurt,
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
    refused::case(call)
}

fn judge(weighed: &Weighed, world: &World) -> Option<Judgement> {
    let (story, main) = (weighed.story, weighed.main?);
    let left = weighed.outcome.cgroup_left;
    let failed_of_it = weighed.severity == Severity::Fault && main.job == Job::Teardown;
    let has_failed = failed_of_it && main.exit().is_some_and(|exit| !exit.is_success());
    // Whether a teardown fails of it shows at its end, however long that takes.
    let may_fail = |who: &Participant| {
        who.job == Job::Teardown && who.ended.is_none() && refused::hurt(Some(who), story, world) != Severity::Benign
    };
    let nothing_came_of_it = !has_failed && !story.participants.iter().any(may_fail);
    if story.told.is_none() && left == Some(false) && nothing_came_of_it {
        return None;
    }
    let because = refused::gaps(weighed, world)?;
    let errno = main.errno?;
    let cause = cause_of(errno)?;
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
    let summary = format!(
        "{} tried to tear down {}, which {is}, but was refused: {why}; {}{}",
        wording::subject(weighed, None),
        wording::whose(weighed),
        wording::end(weighed, world),
        refused::behind(weighed),
    );
    Some(Judgement { cause, because, summary, rival: None })
}

#[cfg(test)]
mod tests;
