//! `lingering-cgroup`: a cgroup was removed long ago, and the kernel still has not released it.
//!
//! A removed cgroup is released when nothing refers to it any more, which mostly takes milliseconds. Nothing in the
//! kernel says what does refer to it, so only what can is told. One story is of all that were removed below one place,
//! the innermost cgroup around them that is there, whose `cgroup.stat` counts them: it is told at the first of them,
//! and again when there are ten times as many.

mod known;

use std::time::Duration;

use super::{Beginning, Judgement, OnDeadline, Rule, Weighed, World, wording};
use crate::duration;
use crate::findings::{Cause, Explanation, Finding, Severity};
use crate::input::{Cgroup, Change, HierarchyId};
use crate::release::RmdirClass;
use crate::state::{
    Case, Course, Deadline, Dying, Moment, Notes, Participant, Place, Removal, SETTLES, Story, TOGETHER, Told,
};

/// Connections that nobody answers end within minutes, and so does what page cache there is on a busy host.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// One container's cgroups are removed one after the other.
const SPREAD: Duration = Duration::from_secs(1);
/// So many are no matter of course, whatever keeps them: a kernel has 65,535 memory cgroups at most.
const MANY: usize = 1_000;

pub(super) const RULE: Rule = Rule {
    explanation: Explanation {
        word: "lingering-cgroup",
        claim: "A cgroup was removed, and the kernel still has not released it ten minutes later.",
        evidence: &[
            "the removal, seen while tracing: of the first one below a place, of the tenth, the hundredth …",
            "that no release was seen for 10 min, though releases are seen, and that the kernel's own count of those \
             that are dying does not contradict (cgroup2)",
            "how many were removed below the same place, the innermost cgroup that is there, and linger as well",
            "the kernel's release: before 7.1 a page that is charged to a removed memory cgroup keeps it",
        ],
        confirm: &[
            (
                "look how many the kernel counts below a place (cgroup2), and of which controllers",
                "grep dying /sys/fs/cgroup/PATH/cgroup.stat",
            ),
            ("count those of v1: all that the kernel has, less those that are there", "grep memory /proc/cgroups"),
            ("look for files in a tmpfs, and for shared memory", "df -t tmpfs; ipcs -m"),
            ("free page cache; the host is slow for a while", "sync; echo 1 > /proc/sys/vm/drop_caches"),
            (
                "look for processes that have ended, and whose parent does not wait for them",
                "ps -eo stat,pid,ppid,comm",
            ),
            ("look for cgroup namespaces that are held open", "lsns -t cgroup; findmnt -t nsfs"),
        ],
        severity: &[
            "`benign` when all are released, and while fewer than 1,000 linger that pages may keep: that is ordinary \
             on kernels before 7.1.",
            "Else `undetermined`: the removal did what was wanted, and each takes memory of the kernel's. It hurts \
             when there are no memory cgroups left, and mkdir fails with ENOSPC.",
        ],
        causes: &[PAGES, UNKNOWN],
        false_positives: &[
            "A connection whose other side has gone silent can hold a cgroup of cgroup2 for longer than 10 min.",
            "Whether a removed cgroup of cgroup2 had the memory controller is not known: `pages` is said wherever \
             cgroup2 has it.",
            "A finding is revised for at least 10 minutes. What is released later shows only in the metrics. After a \
             day it is not counted any more.",
            "Cgroups that were dying before tracing began are in the metrics, and never told of.",
        ],
    },
    known: known::KNOWN,
    call: None,
    failed_start: None,
    stuck: None,
    event: None,
    deadline: Some(OnDeadline { after_runtime: None, while_dying: Some(PATIENCE), withdrawn_by: &[], begins: lingers }),
    course: Course {
        joins,
        gathers: |_, _| false,
        patience: SPREAD,
        settles: SETTLES,
        waits: |_| None,
        follows: &[Change::Released],
        is_news,
    },
    hurt,
    judge,
};

const PAGES: Cause = Cause {
    word: "pages",
    meaning: "It may be pages that are charged to it: page cache, a file in a tmpfs, System V shared memory. Before \
              7.1 the kernel keeps a removed memory cgroup for each.",
    advice: "Nothing, if there are few: the kernel takes page cache back when it needs memory. If there are more \
             every day, look for files in a tmpfs (emptyDir with medium: Memory, /dev/shm) and shared memory that \
             outlive their containers, or take a kernel of 7.1 or later.",
    is_routine: true,
};

const UNKNOWN: Cause = Cause {
    word: "unknown",
    meaning: "What holds it is not known. That pages do cannot be said: no memory is charged in its hierarchy, the \
              kernel gives them to the cgroup around it, or the trace does not tell.",
    advice: "Look for what can: a process of it that has ended and whose parent does not wait for it, a cgroup \
             namespace that was made in it and is held open, on cgroup2 a socket that was opened in it and was handed \
             on. An open file of its directory does not hold it.",
    is_routine: false,
};

/// The first one below a place, the tenth, the hundredth …
fn lingers(deadline: &Deadline, world: &World) -> Option<Beginning> {
    if !world.coverage.sees_releases() {
        return None;
    }
    let count = world.cgroups.lingering(&deadline.place);
    if count == 0 || 10_usize.pow(count.ilog10()) != count {
        return None;
    }
    let (hierarchy, id) = deadline.cgroup;
    let Dying { seq, since, container, path, level, truncated, .. } = world.cgroups.dying_one(deadline.cgroup)?.clone();
    let cgroup = Cgroup { hierarchy, id: Some(id), path, level, truncated };
    // Who removed it is forgotten where many are removed.
    let known = world.cgroups.removal(&Place::of(&cgroup)).filter(|known| known.seq == seq);
    let (actor, created) = known.map(|known| (known.actor.clone(), known.created)).unwrap_or_default();
    let removal = Removal { seq, at: since, actor, cgroup, created, container: container.clone() };
    let case = Case { removal: Some(removal), container, is_below: true, ..Case::default() };
    Some(Beginning::Story(Box::new(case), None))
}

/// Others below the same place, and what was removed by the same path in another hierarchy at the same time.
fn joins(story: &Story, moment: &Moment, case: &Case, _: &Notes) -> bool {
    if story.member_at(moment.place()).is_some() {
        return true;
    }
    let first = story.members.first().and_then(|first| first.removal.as_ref());
    let is_like = |(one, other): (&Removal, &Removal)| {
        one.cgroup.path == other.cgroup.path && one.at.since(other.at).max(other.at.since(one.at)) <= TOGETHER
    };
    first.zip(case.removal.as_ref()).is_some_and(is_like) && story.has_room_for(moment.place().hierarchy, None)
}

fn is_news(told: &Told, finding: &Finding) -> bool {
    told.severity != finding.severity
        || told.certainty != finding.certainty
        || told.hierarchies != finding.hierarchies
        || told.evidence != finding.evidence.len()
}

/// How many linger, in the hierarchy that has most of them.
fn count(story: &Story, world: &World) -> usize {
    story.members.iter().map(|member| world.cgroups.lingering(&member.place)).max().unwrap_or(0)
}

/// Whether pages may keep what lingers, all of it.
fn may_be_pages(story: &Story, world: &World) -> bool {
    let has_pages = |hierarchy: HierarchyId| world.kernel.charges_memory(hierarchy);
    world.kernel.keeps_pages == Some(true) && story.members.iter().all(|member| has_pages(member.place.hierarchy))
}

fn hurt(_: Option<&Participant>, story: &Story, world: &World) -> Severity {
    match count(story, world) {
        0 => Severity::Benign,
        count if count < MANY && may_be_pages(story, world) => Severity::Benign,
        _ => Severity::Undetermined,
    }
}

fn judge(weighed: &Weighed, world: &World) -> Option<Judgement> {
    let (story, member) = (weighed.story, weighed.member);
    let removal = member.removal.as_ref()?;
    let count = count(story, world);
    if count == 0 && story.told.is_none() {
        return None;
    }
    let mut because = world.coverage.gaps_in_lifecycle(removal.at);
    if removal.cgroup.hierarchy == HierarchyId(0) && world.cgroups.counts_fewer() {
        because.push("the kernel counts fewer cgroups of cgroup2 that are dying".to_owned());
    }
    let first = wording::cgroup_of(&removal.cgroup.path, removal.container.as_deref(), None);
    let who = wording::somebody(&removal.actor);
    let age = duration::human(story.last_at.since(removal.at));
    let key = removal.cgroup.id.map(|id| (removal.cgroup.hierarchy, id));
    let dying = key.and_then(|key| world.cgroups.dying_one(key)).filter(|dying| dying.seq == removal.seq);
    let has_not = wording::verb(&because, "has not released", "may not have released");
    let around = &member.place.path;
    let many = format!("{}{count} cgroups", if world.cgroups.knows_all_dying() { "" } else { "at least " });
    let hierarchies = match story.members.len() {
        1 => String::new(),
        more => format!(" in {more} hierarchies"),
    };
    let cause = if may_be_pages(story, world) { PAGES } else { UNKNOWN };
    let why = why(cause, count, story, world);
    let summary = match (count, dying) {
        (0, _) => format!("{who} removed {first}{hierarchies}, which the kernel released only after {age} or more"),
        (1, Some(_)) => format!("{who} removed {first}{hierarchies}, which the kernel {has_not} {age} later: {why}"),
        (_, Some(_)) => format!(
            "the kernel {has_not} {many}{hierarchies} that were removed below {around}, the first of them {first}, \
             which {who} removed {age} before: {why}"
        ),
        (1, None) => {
            format!("the kernel {has_not} another cgroup{hierarchies} that was removed below {around}: {why}")
        }
        (_, None) => format!("the kernel {has_not} {many}{hierarchies} that were removed below {around}: {why}"),
    };
    Some(Judgement { cause, because, summary, rival: None })
}

/// What may hold it, or them, on this kernel.
fn why(cause: Cause, count: usize, story: &Story, world: &World) -> String {
    let it = if count == 1 { "it" } else { "them" };
    if cause == PAGES {
        return format!("pages that are charged to {it} may keep {it}, which is ordinary on this kernel");
    }
    let is_v2 = story.members.iter().any(|member| member.place.hierarchy == HierarchyId(0));
    let socket = if is_v2 { ", a socket" } else { "" };
    let exiting = match world.kernel.rmdir_class {
        Some(RmdirClass::Defers) => ", a task that does not come to its end",
        Some(RmdirClass::Refuses | RmdirClass::RefusesUnseen | RmdirClass::Waits) | None => "",
    };
    format!("what holds {it} is not known; a zombie, a cgroup namespace{socket}{exiting} can")
}

#[cfg(test)]
mod tests;
