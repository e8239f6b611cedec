//! `missing-path-teardown`: somebody tried to remove a cgroup that had never come to exist.
//!
//! "Never" is claimed only of what could be seen. A creation that failed proves that there was nothing at that moment
//! (`mkdir` of an existing name gives EEXIST before anything else), and from then on everything was seen. A cgroup
//! around it that was itself made under our eyes proves it too. Without either, the cgroup may have come and gone
//! before tracing began, and the finding says "may".

mod known;

use super::{Judgement, Rule, Weighed, World, gone, severity, wording};
use crate::duration;
use crate::errno::Errno;
use crate::findings::{Cause, Deed, Explanation, Rival};
use crate::input::{BootTime, Operation};
use crate::state::{Note, Participant, Renaming};

pub(super) const RULE: Rule = Rule {
    explanation: Explanation {
        word: "missing-path-teardown",
        claim: "Somebody tried to remove a cgroup that had never come to exist.",
        evidence: &[
            "the failed mkdir of the same path, often of another process: it names the cause",
            "the failed rmdir or unlinkat (ENOENT, or EROFS, which a read-only mount answers before it looks), and the \
             failed open of the directory after it",
            "that no creation of the path was seen, while tracing covered it; else the finding says \"may\"",
            "the exit status of the process that tried, and whether its state file of the container is left",
        ],
        confirm: &[
            (
                "look whether cgroupfs is mounted read-only for the process",
                "grep -E ' - cgroup2? ' /proc/PID/mountinfo",
            ),
            ("try to make a cgroup in the same place", "nsenter -t PID -m mkdir /sys/fs/cgroup/cgtrace-try"),
            ("look for the runtime's state that was left", "ls /run/runc/ID/state.json"),
        ],
        causes: &[READ_ONLY_MOUNT, CREATION_FAILED, NEVER_CREATED, RENAMED],
        severity: severity::OF_TEARDOWN,
        false_positives: &[
            "A cgroup that came and went before tracing began looks as if it never existed. The finding is then \
             degraded and says \"may never have been created\".",
            "Healthy runtimes make the same calls and cope (runc 1.1, and 1.2.2 or later, when rootless on a read-only \
             cgroupfs). Such findings are benign.",
            "A runtime that fails before it has made a cgroup cleans up all the same (for example runc without a \
             terminal). Such findings are benign, and shown only with --benign.",
        ],
    },
    known: known::KNOWN,
    call: Some(|call, world| gone::case(call, world).filter(|case| case.removal.is_none())),
    failed_start: None,
    stuck: None,
    event: None,
    deadline: None,
    course: gone::COURSE,
    hurt: severity::of_teardown,
    judge,
};

const READ_ONLY_MOUNT: Cause = Cause {
    word: "read-only-mount",
    meaning: "The cgroup could not be made, because cgroupfs is mounted read-only where the runtime runs.",
    advice: "Mount cgroupfs writable for the runtime (docker run --cgroupns=private with a delegated cgroup, \
             or systemd's Delegate=yes), or use a runtime that copes with it: runc 1.2.2 or later. Rolling \
             back hides it, and waiting does not fix it. State that was left behind is removed with \
             runc delete --force ID by a version that copes.",
    is_routine: false,
};

const CREATION_FAILED: Cause = Cause {
    word: "creation-failed",
    meaning: "The cgroup could not be made, for the reason that the failed mkdir gives.",
    advice: "Fix the creation, not the teardown: EACCES means that the parent cgroup must be delegated, ENOSPC and \
             EAGAIN mean that a limit on cgroups is reached (cgroup.max.descendants, cgroup.max.depth, or memory \
             cgroup ids), ENOENT that the parent is missing.",
    is_routine: false,
};

const NEVER_CREATED: Cause = Cause {
    word: "never-created",
    meaning: "Nobody was seen trying to make it.",
    advice: "Compare the path with the one that the container really had: a different cgroup driver, cgroup \
             namespace or id gives a different path. Look at the command line of the process in the finding.",
    is_routine: true,
};

const RENAMED: Cause = Cause {
    word: "renamed",
    meaning: "It exists under another name: somebody renamed it, or a cgroup around it (cgroup v1 only). The rival \
             is who did, and when; `to` is where it is now.",
    advice: "Remove it under its present name. A program that renames another's cgroup must tell its owner; \
             cgroup2 has no renaming.",
    is_routine: false,
};

fn judge(weighed: &Weighed, world: &World) -> Option<Judgement> {
    let story = weighed.story;
    let main = weighed.main?;
    if let Some(renaming) = &weighed.member.renaming {
        return Some(renamed(weighed, main, world, renaming));
    }
    let before = |note: &&Note| note.attempt.is_failed_creation() && note.attempt.at <= story.began;
    let creation = story.kept_calls().filter(before).last();
    let read_only =
        story.kept_calls().any(|note| note.attempt.errno == Errno::EROFS && note.attempt.operation != Operation::Open);
    let cause = match creation {
        Some(creation) if creation.attempt.errno == Errno::EROFS => READ_ONLY_MOUNT,
        Some(_) => CREATION_FAILED,
        None if read_only => READ_ONLY_MOUNT,
        None => NEVER_CREATED,
    };
    let proof = proof(weighed, main, world, creation);
    // It did exist, which was told too late to know it when the call failed.
    let late = world.cgroups.removal(&weighed.member.place).filter(|removal| removal.at <= story.began);
    if late.is_some_and(|removal| proof.is_none_or(|since| since < removal.at)) {
        return None;
    }
    let mut because = gaps(weighed, world, proof, cause);
    because.extend(weighed.gaps_in_processes(world, None));
    if !world.cgroups.is_whole() {
        because.push("not all cgroups could be remembered: it may be one of them".to_owned());
    }

    let is_made_since = world.cgroups.at_path(&weighed.member.place).is_some();
    let never = match is_made_since {
        true => wording::verb(&because, "had not been created yet", "may not have been created yet"),
        false => wording::verb(&because, "was never created", "may never have been created"),
    };
    let why = match creation {
        Some(creation) => {
            let call = &creation.attempt;
            let is_own = call.actor.is_same_process_as(&main.actor);
            let operation = call.operation.as_str();
            let call_of = match is_own {
                true => format!("its own {operation}"),
                false => format!("the {operation} of {}", wording::who(&call.actor)),
            };
            let read_only = if cause == READ_ONLY_MOUNT { "cgroupfs is mounted read-only there: " } else { "" };
            format!(
                ", because {read_only}{call_of} failed with {} {} earlier",
                call.errno,
                duration::human(main.at.since(call.at)),
            )
        }
        None if cause == READ_ONLY_MOUNT => ": cgroupfs is mounted read-only there".to_owned(),
        None => ": nobody was seen trying to make it".to_owned(),
    };
    let summary = format!(
        "{} tried to tear down {}, which {never}{why}; {}",
        wording::subject(weighed, creation.map(|creation| &creation.attempt)),
        wording::whose(weighed),
        wording::outcome(weighed, world),
    );
    Some(Judgement { cause, because, summary, rival: None })
}

/// It is not there under that name, because it has another one now.
fn renamed(weighed: &Weighed, main: &Participant, world: &World, renaming: &Renaming) -> Judgement {
    let before = main.at.since(renaming.at);
    let place = &weighed.member.place;
    let mut because = world.coverage.gaps_in_lifecycle(renaming.at);
    because.extend(gone::unseen_creations(world, place.name(), renaming.at, weighed.story.last_at));
    because.extend(weighed.gaps_in_processes(world, None));
    let followed = world.cgroups.follow(place).filter(|followed| followed.renaming.seq == renaming.seq);
    let to = followed.map(|followed| followed.place).or_else(|| renaming.forward(place)).map(|place| place.path);
    let summary = format!(
        "{} tried to tear down {}, which does not exist under that name: {} {} {} to {} {} earlier; {}",
        wording::subject(weighed, None),
        wording::whose(weighed),
        wording::somebody(&renaming.actor),
        wording::verb(&because, "renamed", "may have renamed"),
        if renaming.from == weighed.member.place { "it".into() } else { renaming.from.path.to_string() },
        renaming.to,
        duration::human(before),
        wording::outcome(weighed, world),
    );
    let rival = Rival {
        actor: renaming.actor.clone(),
        operation: Deed::Rename,
        to,
        at: renaming.at,
        before_ms: wording::milliseconds(before),
    };
    Judgement { cause: RENAMED, because, summary, rival: Some(rival) }
}

/// Since when it cannot have been there unseen.
fn proof(weighed: &Weighed, main: &Participant, world: &World, creation: Option<&Note>) -> Option<BootTime> {
    let member = weighed.member;
    // Whoever starts a container means the one that it would have made: nothing was there when it began, or it would be
    // known.
    let began = || {
        let started = main.actor.identity.as_ref()?.started?;
        let was_traced = world.coverage.is_whole_since(started) && world.coverage.gaps_in_walk().is_empty();
        (main.job.is_start() && was_traced).then_some(started)
    };
    let around = || world.cgroups.covered_since(&member.place).filter(|since| *since <= main.at);
    match creation {
        Some(creation) => Some(creation.attempt.at),
        // What is around it may have been made anew since. The latest proof depends on the least.
        None => member.since.max(around()).max(began()),
    }
}

/// Why it may have been there all the same.
fn gaps(weighed: &Weighed, world: &World, proof: Option<BootTime>, cause: Cause) -> Vec<String> {
    let (story, member) = (weighed.story, weighed.member);
    let Some(since) = proof else {
        let mut because = vec![format!(
            "tracing began {} before: it may have been there earlier, and removed before that",
            duration::human(world.coverage.age(story.began)),
        )];
        because.extend(world.coverage.gaps_in_walk());
        return because;
    };
    let mut because = world.coverage.gaps_in_lifecycle(since);
    if !world.cgroups.remembers_since(since) {
        because.push("not all removals since could be remembered".to_owned());
    }
    if world.cgroups.is_past_unclear(&member.place) {
        because.push("a cgroup around it was renamed, and what was removed in it before is not remembered".to_owned());
    }
    if cause == NEVER_CREATED {
        because.extend(gone::unseen_creations(world, member.place.name(), since, story.began));
    }
    because
}
