//! From a story to its finding: what is the same for every kind. The cause, the gaps in what was seen and the sentence
//! are the rule's own.

use super::{Judgement, Rule, Shape, Weighed, World, likeness, severity};
use crate::findings::{Certainty, Finding, FindingAttempt, Job, Outcome};
use crate::hash::fnv1a;
use crate::input::{Actor, BootTime, Cgroup, Seq};
use crate::state::{Cgroups, Existing, Member, Participant, Place, Story};

/// Why it may not be true that a cgroup is left.
pub(super) const ANOTHER_ONE: &str = "the cgroup that has its id now may be another cgroup";

/// Weighs a story as far as it is known. `None` if there is nothing to be told of it.
pub(crate) fn judge(rule: &Rule, story: &Story, world: &World) -> Option<Finding> {
    let severity = severity::of_all(rule, story, world);
    let was_hurt = |participant: &&Participant| (rule.hurt)(Some(*participant), story, world) == severity;
    let main = story.participants.iter().find(was_hurt).or(story.participants.first());
    let own = story.member_of(main);
    // On v1, what is left may be elsewhere than where that participant began.
    let member = [own].into_iter().chain(&story.members).find(|member| is_there(member, world.cgroups)).unwrap_or(own);
    let outcome = Outcome {
        exit: main.and_then(Participant::exit),
        exit_at: main.and_then(|main| main.ended).map(|end| end.at),
        cgroup_left: is_left(story, member, world.cgroups),
        state_left: main.and_then(|main| main.state_left),
    };
    let first_failure = main.and_then(first_failure).filter(|_| !story.is_alone);
    let weighed = Weighed { story, main, member, outcome: &outcome, severity, first_failure };
    let Judgement { cause, because, summary, rival } = (rule.judge)(&weighed, world)?;
    debug_assert!(rule.explanation.causes.contains(&cause), "{cause:?} is not explained");
    let mut finding = Finding {
        id: id(story),
        revision: 0,
        at: story.began,
        kind: story.kind,
        severity,
        cause,
        summary,
        cgroup: cgroup(member),
        hierarchies: story.hierarchies(),
        container: story.container.clone(),
        actor: main.map(|main| main.actor.clone()),
        rival,
        first_failure: first_failure.cloned(),
        attempts: story.kept_calls().map(|note| note.attempt.clone()).collect(),
        attempt_count: story.calls,
        outcome,
        certainty: if because.is_empty() { Certainty::Certain } else { Certainty::Degraded },
        because,
        looks_like: None,
        known_issues: Vec::new(),
        evidence: evidence(story, first_failure),
    };
    finding.attempts.sort_by_key(|attempt| attempt.seq);
    let shape = Shape::new(&finding, story, world.processes);
    finding.known_issues = rule.known.iter().filter(|known| (known.is)(&shape)).map(|known| known.issue).collect();
    finding.looks_like = likeness::of(&finding);
    Some(finding)
}

impl Weighed<'_> {
    /// Why it may not be true what is told of the main participant: who it is, or that it is not its `rival`, what it
    /// was there for, and how it ended.
    pub(super) fn gaps_in_processes(&self, world: &World, rival: Option<(&Actor, BootTime)>) -> Vec<String> {
        let Some(main) = self.main else { return Vec::new() };
        let mut gaps: Vec<String> = world.processes.gaps(&main.actor, rival).into_iter().collect();
        if main.ended.is_none() && world.processes.may_have_forgotten(&main.actor, main.at) {
            gaps.push("its end was not seen: not all processes could be remembered".to_owned());
        }
        if main.is_unread && main.job == Job::Other {
            gaps.push("what it was asked to do could not be read in time".to_owned());
        }
        gaps
    }
}

/// Whether the cgroup is there now: by another name, if it was renamed. `None` if it is not known where that is,
/// because another one has left the place since, or whose the cgroup is that is found at the place.
fn is_left(story: &Story, member: &Member, cgroups: &Cgroups) -> Option<bool> {
    if member.existing.is_some() {
        return any_is_left(story, cgroups);
    }
    if member.is_below {
        return Some(false);
    }
    let Some(renaming) = &member.renaming else {
        // There was nothing when the story began: what was made since is another life's.
        return cgroups.at_path(&member.place).is_none_or(|(_, live)| live.created.is_some()).then_some(false);
    };
    let followed = cgroups.follow(&member.place).filter(|followed| followed.renaming.seq == renaming.seq)?;
    Some(followed.removal.is_none())
}

/// Of a story about what exists: whether any of it is left, in whichever hierarchy. `None` if that is not known.
pub(super) fn any_is_left(story: &Story, cgroups: &Cgroups) -> Option<bool> {
    let each = story.members.iter().map(|member| cgroups.is_left(member.place.hierarchy, member.existing.as_ref()?));
    // What is there outweighs what is not known, and that what is gone.
    each.max_by_key(|left| left.map_or(1, |is_left| 2 * u8::from(is_left)))?
}

/// Whether what a story found there is there still.
pub(super) fn is_there(member: &Member, cgroups: &Cgroups) -> bool {
    member.existing.as_ref().is_some_and(|existing| cgroups.is_left(member.place.hierarchy, existing) == Some(true))
}

/// What failed first in a start that failed.
fn first_failure(main: &Participant) -> Option<&FindingAttempt> {
    let failed = main.job.is_start() && main.exit().is_some_and(|exit| !exit.is_success());
    main.failed_before.as_ref().filter(|_| failed)
}

fn cgroup(member: &Member) -> Cgroup {
    match &member.removal {
        Some(removal) => removal.cgroup.clone(),
        None => {
            let Place { hierarchy, path } = member.place.clone();
            let existing = member.existing;
            let level = existing.and_then(|existing| existing.level);
            Cgroup { hierarchy, id: existing.map(|Existing { id, .. }| id), path, level, truncated: false }
        }
    }
}

fn evidence(story: &Story, first_failure: Option<&FindingAttempt>) -> Vec<Seq> {
    let removals = story.members.iter().filter_map(|member| member.removal.as_ref());
    let renamings = story.members.iter().filter_map(|member| member.renaming.as_ref());
    let creations = story.members.iter().filter_map(|member| Some(member.existing?.created?.seq));
    let mut seqs: Vec<Seq> = removals
        .flat_map(|removal| removal.created.as_ref().map(|created| created.seq).into_iter().chain([removal.seq]))
        .chain(renamings.map(|renaming| renaming.seq))
        .chain(creations)
        .chain(story.members.iter().filter_map(|member| member.found.as_ref()).map(|found| found.seq))
        .chain(story.members.iter().filter_map(|member| member.circumstances.as_ref()).map(|(seq, _)| *seq))
        .chain(story.events.iter().copied())
        .chain(story.kept_calls().map(|note| note.attempt.seq))
        .chain(story.participants.iter().filter_map(|participant| participant.ended.map(|end| end.seq)))
        .chain(first_failure.map(|call| call.seq))
        .collect();
    seqs.sort_unstable();
    seqs.dedup();
    seqs
}

/// Twelve hexadecimal digits of a hash of what makes a story this story and no other.
fn id(story: &Story) -> String {
    let place = story.members.first().map(|member| &member.place);
    let path = place.map(|place| place.path.as_bytes()).unwrap_or_default();
    let hierarchy = place.map_or(0, |place| place.hierarchy.0);
    let parts: [&[u8]; 4] =
        [story.kind.as_str().as_bytes(), path, &hierarchy.to_le_bytes(), &story.began.0.to_le_bytes()];
    format!("{:012x}", fnv1a(parts.into_iter().flatten()) >> 16)
}
