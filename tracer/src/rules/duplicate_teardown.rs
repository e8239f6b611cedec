//! `duplicate-teardown`: somebody tried to remove a cgroup that had already been removed.

mod known;

use super::{Judgement, Rule, Weighed, World, gone, severity, wording};
use crate::duration;
use crate::errno::Errno;
use crate::findings::{Cause, Deed, Explanation, Rival};
use crate::state::{Note, Participant};

pub(super) const RULE: Rule = Rule {
    explanation: Explanation {
        word: "duplicate-teardown",
        claim: "Somebody tried to remove a cgroup, or to open it for removal, that had already been removed.",
        evidence: &[
            "the removal that came first, with the process that made it (the rival)",
            "the failed rmdir or unlinkat (ENOENT or ENODEV), or the failed open of the directory by a process that \
             had failed to remove it",
            "the exit status of the process that came second, and whether its state file of the container is left",
        ],
        confirm: &[
            (
                "watch the calls of both parties, and their order",
                "strace -f -e trace=unlinkat,rmdir,openat -e status=failed -p PID",
            ),
            ("look whether the cgroup is gone", "ls -d /sys/fs/cgroup/PATH"),
        ],
        causes: &[REMOVED_BY_OTHER, REMOVED_BY_SELF],
        severity: severity::OF_TEARDOWN,
        false_positives: &[
            "containerd deletes a container twice by design, systemd often removes a scope before the runtime does, \
             and runc on cgroup2 tears down twice after every failed start; all cope. Such findings are benign and \
             shown only with --benign, or when something that failed before is to be reported.",
        ],
    },
    known: known::KNOWN,
    call: Some(|call, world| gone::case(call, world).filter(|case| case.removal.is_some())),
    failed_start: None,
    stuck: None,
    event: None,
    deadline: None,
    course: gone::COURSE,
    hurt: severity::of_teardown,
    judge,
};

const REMOVED_BY_OTHER: Cause = Cause {
    word: "removed-by-other",
    meaning: "Another process removed it first: the rival, with the milliseconds it was ahead.",
    advice: "Find out which of the two owns the cgroup, and make the other one leave it alone. If the \
             rival is systemd (pid 1), the runtime and systemd disagree about who manages the unit: use the \
             systemd cgroup driver in both the runtime and its caller, or in neither. If the actor's job \
             was the teardown and it failed, it should treat ENOENT as success: update it, or report it with \
             this finding.",
    is_routine: true,
};

const REMOVED_BY_SELF: Cause = Cause {
    word: "removed-by-self",
    meaning: "The same process had removed it before: it tears down twice.",
    advice: "If its job was the teardown (delete) and it failed because of this, that is a bug of the program: \
             report it with this finding. A runtime that cleans up after a failed start does this as well \
             (runc on cgroup2 does it always): then look for what failed first, not here.",
    is_routine: true,
};

fn judge(weighed: &Weighed, world: &World) -> Option<Judgement> {
    let removal = weighed.member.removal.as_ref().expect("a duplicate's members carry the removal that came first");
    let main = weighed.main?;
    let remover = removal.actor.as_ref();
    let cause = match remover {
        Some(remover) if remover.is_same_process_as(&main.actor) => REMOVED_BY_SELF,
        Some(_) | None => REMOVED_BY_OTHER,
    };
    let mut because = world.coverage.gaps_in_lifecycle(removal.at);
    let name = weighed.member.place.name();
    because.extend(gone::unseen_creations(world, name, removal.at, weighed.story.last_at));
    if remover.is_none() {
        because.push("who removed it was not seen".to_owned());
    }
    if !is_proved_gone(weighed, main) && !world.cgroups.is_whole() {
        because.push("not all cgroups could be remembered: it may have been created again".to_owned());
    }
    because.extend(weighed.gaps_in_processes(world, remover.map(|remover| (remover, removal.at))));
    let before = main.at.since(removal.at);
    let removed = wording::verb(&because, "had already been removed", "may already have been removed");
    let by = match remover {
        Some(_) if cause == REMOVED_BY_SELF => " by the same process".to_owned(),
        Some(remover) => format!(" by {}", wording::who(remover)),
        None => String::new(),
    };
    let renamed = match &weighed.member.renaming {
        Some(renaming) => format!(" as {} (renamed by {})", removal.cgroup.path, wording::somebody(&renaming.actor)),
        None => String::new(),
    };
    let summary = format!(
        "{} tried to tear down {}, which {removed}{renamed}{by} {} earlier; {}",
        wording::subject(weighed, None),
        wording::whose(weighed),
        duration::human(before),
        wording::outcome(weighed, world),
    );
    let rival = Rival {
        actor: removal.actor.clone(),
        operation: Deed::Rmdir,
        to: None,
        at: removal.at,
        before_ms: wording::milliseconds(before),
    };
    Some(Judgement { cause, because, summary, rival: Some(rival) })
}

/// Whether a call proves that the cgroup was not there when the first one was made: a read-only mount refuses before it
/// looks. What is gone later was gone before: had it been removed once more, that would have been another life.
fn is_proved_gone(weighed: &Weighed, main: &Participant) -> bool {
    let is_gone = |errno: Errno| matches!(errno, Errno::ENOENT | Errno::ENODEV);
    let is_of_it = |note: &&Note| note.place == weighed.member.place && note.file.is_none();
    let mut later = weighed.story.kept_calls().filter(is_of_it).map(|note| &note.attempt);
    main.errno.is_some_and(is_gone) || later.any(|call| call.at >= main.at && is_gone(call.errno))
}
