//! What the tool claims: kinds, causes, severities, the shape of a finding, and the judgement that makes one.
//!
//! The tracker gathers a story; [`judge`] weighs it. Severity and outcome are the same question for every kind; the
//! cause, the gaps in what was seen and the sentence are each kind's own, one module a kind, registered in `RULES`.

mod duplicate_teardown;
mod job;
pub mod known;
mod missing_path_teardown;
mod severity;
mod wording;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::container::Container;
use crate::errno::Errno;
use crate::input::{Actor, Attempt, BootTime, Cgroup, Exit, Operation, Seq, Syscall};
#[cfg(test)]
use crate::input::{HierarchyId, Pid};
use crate::name::Name;
use crate::tracker::{Cgroups, Coverage, Member, Participant, Place, Processes, Story};
pub use job::Job;

/// The kinds of finding this version can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Somebody tried to remove, or to enumerate for removal, a cgroup that had already been removed.
    DuplicateTeardown,
    /// Somebody tried to remove a cgroup that had never come to exist.
    MissingPathTeardown,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::DuplicateTeardown, Self::MissingPathTeardown];

    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DuplicateTeardown => "duplicate-teardown",
            Self::MissingPathTeardown => "missing-path-teardown",
        }
    }
}

/// Why it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Duplicate: another process had removed it.
    RemovedByOther,
    /// Duplicate: the same process had removed it.
    RemovedBySelf,
    /// Missing path: it could not be made, because the file system is mounted read-only.
    ReadOnlyMount,
    /// Missing path: it could not be made, for another reason.
    CreationFailed,
    /// Missing path: nobody tried to make it.
    NeverCreated,
    /// Missing path: it has another name now, or one around it has.
    Renamed,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::RemovedByOther,
        Self::RemovedBySelf,
        Self::ReadOnlyMount,
        Self::CreationFailed,
        Self::NeverCreated,
        Self::Renamed,
    ];

    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RemovedByOther => "removed-by-other",
            Self::RemovedBySelf => "removed-by-self",
            Self::ReadOnlyMount => "read-only-mount",
            Self::CreationFailed => "creation-failed",
            Self::NeverCreated => "never-created",
            Self::Renamed => "renamed",
        }
    }
}

/// Whether it hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// What was wanted came about.
    Benign,
    /// It could not be told.
    Undetermined,
    /// Something was left behind, or a process failed whose job the teardown was.
    Fault,
}

impl Severity {
    /// All of them, the mildest first.
    pub const ALL: [Self; 3] = [Self::Benign, Self::Undetermined, Self::Fault];

    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Benign => "benign",
            Self::Undetermined => "undetermined",
            Self::Fault => "fault",
        }
    }
}

/// How far the claim can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Certainty {
    /// Everything the claim depends on was seen.
    Certain,
    /// Something it depends on could not be seen; [`Finding::because`] says what.
    Degraded,
}

/// What a rival did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Deed {
    /// It removed the cgroup.
    Rmdir,
    /// It renamed the cgroup, or one around it.
    Rename,
}

impl Deed {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rmdir => "rmdir",
            Self::Rename => "rename",
        }
    }
}

/// Who removed or renamed it first.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Rival {
    /// Who. `None` if that was seen without its actor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// What it did.
    pub operation: Deed,
    /// The cgroup's present path, if it was renamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Name>,
    /// When.
    pub at: BootTime,
    /// How many milliseconds before the first attempt of the story.
    pub before_ms: f64,
}

/// One failed call of a story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FindingAttempt {
    /// The attempt's own line.
    pub seq: Seq,
    /// When it failed.
    pub at: BootTime,
    /// What it tried.
    pub operation: Operation,
    /// By which system call.
    pub syscall: Syscall,
    /// How it failed.
    pub errno: Errno,
    /// The path as the process gave it.
    pub path: Name,
    /// Who made it.
    pub actor: Actor,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Outcome {
    /// How the actor ended. `None` while it runs, or if its end was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_at: Option<BootTime>,
    /// Whether the cgroup is there now, by whatever name. One that was made at its path since is another. `None` if that cannot
    /// be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_left: Option<bool>,
    /// Whether the runtime's state file of the container is still there. `None` if it was not looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_left: Option<bool>,
}

/// A known problem that looks like this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KnownIssue {
    /// Where it is discussed, like `runc#4518`.
    pub id: &'static str,
    /// What it is.
    pub title: &'static str,
    /// The versions that have it.
    pub affects: &'static str,
    /// The version that mends it.
    pub fixed_in: &'static str,
}

/// One thing that went wrong, and everything that tells so.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Finding {
    /// Stable for the story: the same in every revision, and in a replay.
    pub id: String,
    /// 0 first; a later one replaces it.
    pub revision: u32,
    /// When the story's first attempt failed.
    pub at: BootTime,
    /// What is claimed.
    pub kind: Kind,
    /// Whether it hurt.
    pub severity: Severity,
    /// Why it happened.
    pub cause: Cause,
    /// One sentence.
    pub summary: String,
    /// The cgroup that the story is about; on v1, the first of the container's.
    pub cgroup: Cgroup,
    /// On v1, how many hierarchies the same story was told in.
    pub hierarchies: usize,
    /// The container it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Arc<Container>>,
    /// Who tried to tear it down.
    pub actor: Actor,
    /// Who removed or renamed it first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rival: Option<Rival>,
    /// Of an actor that was to start a container and failed: the failed call on cgroupfs that the teardown followed, which
    /// only clears up after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<FindingAttempt>,
    /// The story's failed calls, in order: the first and the last ones if there are very many.
    pub attempts: Vec<FindingAttempt>,
    /// How many failed calls there were in all.
    pub attempt_count: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// How far to trust it.
    pub certainty: Certainty,
    /// What could not be seen. Empty when certain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
    /// Known problems that look like this.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub known_issues: Vec<KnownIssue>,
    /// The lines of the stream that tell so.
    pub evidence: Vec<Seq>,
}

impl FindingAttempt {
    /// The attempt of line `seq`, without what only the line itself needs.
    pub fn new(seq: Seq, attempt: &Attempt) -> Self {
        Self {
            seq,
            at: attempt.at,
            operation: attempt.operation,
            syscall: attempt.syscall,
            errno: attempt.errno,
            path: attempt.path.clone(),
            actor: attempt.actor.clone(),
        }
    }

    /// Whether it tried in vain to make a cgroup. EEXIST says that there is one.
    pub fn is_failed_creation(&self) -> bool {
        self.operation == Operation::Mkdir && self.errno != Errno::EEXIST
    }
}

impl Finding {
    /// A teardown of what is not there that did no harm and tells nothing else: routine on some hosts (containerd deletes
    /// twice by design, runc clears up after a failed start), so it is told only to those who ask.
    pub fn is_routine(&self) -> bool {
        let tells_more = self.first_failure.is_some()
            || matches!(self.cause, Cause::ReadOnlyMount | Cause::CreationFailed | Cause::Renamed);
        self.severity == Severity::Benign && !tells_more
    }
}

#[cfg(test)]
impl Finding {
    /// One as it comes from a rule: its text and its lists have more room than they need.
    pub(crate) fn example(id: &str, revision: u32) -> Self {
        let (mut summary, mut evidence) = (String::with_capacity(512), Vec::with_capacity(64));
        summary.push_str("runc[1] tried to tear down cgroup /a");
        evidence.push(Seq(1));
        Self {
            id: id.to_owned(),
            revision,
            at: BootTime(0),
            kind: Kind::DuplicateTeardown,
            severity: Severity::Benign,
            cause: Cause::RemovedBySelf,
            summary,
            cgroup: Cgroup { hierarchy: HierarchyId(0), id: None, path: "/a".into(), level: None, truncated: false },
            hierarchies: 1,
            container: None,
            actor: Actor::new(Pid(1), 1, "runc".into(), None),
            rival: None,
            first_failure: None,
            attempts: Vec::with_capacity(8),
            attempt_count: 1,
            outcome: Outcome::default(),
            certainty: Certainty::Certain,
            because: Vec::new(),
            known_issues: Vec::new(),
            evidence,
        }
    }
}

/// What a rule may look at besides the story.
pub(crate) struct World<'a> {
    pub cgroups: &'a Cgroups,
    pub coverage: &'a Coverage,
    pub processes: &'a Processes,
    /// When the last failed creation was that is not remembered any more.
    pub forgotten_creation: Option<BootTime>,
}

/// What is the same for every kind, weighed first.
pub(crate) struct Weighed<'a> {
    pub story: &'a Story,
    /// The participant that the finding is about: the first that was hurt, else the first of which that is not known, else
    /// the first.
    pub main: &'a Participant,
    /// The cgroup that it came to first.
    pub member: &'a Member,
    pub outcome: &'a Outcome,
    pub severity: Severity,
    pub first_failure: Option<&'a FindingAttempt>,
}

impl Weighed<'_> {
    /// Why it may not be true what is told of the main participant: who it is, or that it is not its `rival`, what it was there for,
    /// and how it ended.
    fn gaps_in_processes(&self, world: &World, rival: Option<(&Actor, BootTime)>) -> Vec<String> {
        let first = &self.main.first;
        let mut gaps: Vec<String> = world.processes.gaps(&first.actor, rival).into_iter().collect();
        if self.main.ended.is_none() && world.processes.may_have_forgotten(&first.actor, first.at) {
            gaps.push("its end was not seen: there were more processes than are remembered".to_owned());
        }
        if self.main.is_unread && self.main.job == Job::Other {
            gaps.push("what it was asked to do could not be read in time".to_owned());
        }
        gaps
    }
}

/// What a kind's own rule says.
pub(crate) struct Judgement {
    pub cause: Cause,
    /// What could not be seen. Empty when certain.
    pub because: Vec<String>,
    pub summary: String,
    pub rival: Option<Rival>,
}

/// One kind's rule.
struct Rule {
    kind: Kind,
    judge: fn(&Weighed, &World) -> Judgement,
}

const RULES: [Rule; Kind::ALL.len()] = [
    Rule { kind: Kind::DuplicateTeardown, judge: duplicate_teardown::judge },
    Rule { kind: Kind::MissingPathTeardown, judge: missing_path_teardown::judge },
];

/// Weighs a story as far as it is known.
pub(crate) fn judge(story: &Story, world: &World) -> Finding {
    let weight = |participant: &Participant| severity::of(participant, story);
    let severity = severity::of_all(story);
    let main = story.participants.iter().find(|participant| weight(participant) == severity);
    let main = main.or(story.participants.first()).expect("a story begins with its first participant");
    let member = story.member_of(main);
    let outcome = Outcome {
        exit: main.exit(),
        exit_at: main.ended.map(|end| end.at),
        cgroup_left: is_left(member, world.cgroups),
        state_left: main.state_left,
    };
    let first_failure = first_failure(main);
    let weighed = Weighed { story, main, member, outcome: &outcome, severity, first_failure };
    let rule = RULES.iter().find(|rule| rule.kind == story.kind).expect("every kind has a rule");
    let judgement = (rule.judge)(&weighed, world);
    let mut finding = Finding {
        id: id(story),
        revision: 0,
        at: story.began.at,
        kind: story.kind,
        severity,
        cause: judgement.cause,
        summary: judgement.summary,
        cgroup: cgroup(member),
        hierarchies: story.members.len(),
        container: story.container.clone(),
        actor: main.first.actor.clone(),
        rival: judgement.rival,
        first_failure: first_failure.cloned(),
        attempts: story.kept_calls().map(|note| note.attempt.clone()).collect(),
        attempt_count: story.calls,
        outcome,
        certainty: if judgement.because.is_empty() { Certainty::Certain } else { Certainty::Degraded },
        because: judgement.because,
        known_issues: Vec::new(),
        evidence: evidence(story, first_failure),
    };
    finding.attempts.sort_by_key(|attempt| attempt.seq);
    finding.known_issues = known::matching(&finding, world.processes);
    finding
}

/// Whether the cgroup is there now: by another name, if it was renamed. `None` if it is not known where that is, because another one
/// has left the place since, or whose the cgroup is that is found at the place.
fn is_left(member: &Member, cgroups: &Cgroups) -> Option<bool> {
    let Some(renaming) = &member.renaming else {
        // There was nothing when the story began: what was made since is another life's.
        return cgroups.at_path(&member.place).is_none_or(|(_, live)| live.created.is_some()).then_some(false);
    };
    let followed = cgroups.follow(&member.place).filter(|followed| followed.renaming.seq == renaming.seq)?;
    Some(followed.removal.is_none())
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
            Cgroup { hierarchy, id: None, path, level: None, truncated: false }
        }
    }
}

fn evidence(story: &Story, first_failure: Option<&FindingAttempt>) -> Vec<Seq> {
    let removals = story.members.iter().filter_map(|member| member.removal.as_ref());
    let renamings = story.members.iter().filter_map(|member| member.renaming.as_ref());
    let mut seqs: Vec<Seq> = removals
        .flat_map(|removal| removal.created.as_ref().map(|created| created.seq).into_iter().chain([removal.seq]))
        .chain(renamings.map(|renaming| renaming.seq))
        .chain(story.kept_calls().map(|note| note.attempt.seq))
        .chain(story.participants.iter().filter_map(|participant| participant.ended.map(|end| end.seq)))
        .chain(first_failure.map(|call| call.seq))
        .collect();
    seqs.sort_unstable();
    seqs.dedup();
    seqs
}

/// Twelve hexadecimal digits of a hash (FNV-1a) of what makes a story this story and no other.
fn id(story: &Story) -> String {
    let place = story.members.first().map(|member| &member.place);
    let path = place.map(|place| place.path.as_bytes()).unwrap_or_default();
    let hierarchy = place.map_or(0, |place| place.hierarchy.0);
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let parts: [&[u8]; 4] =
        [story.kind.as_str().as_bytes(), path, &hierarchy.to_le_bytes(), &story.began.at.0.to_le_bytes()];
    for byte in parts.into_iter().flatten() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    format!("{:012x}", hash >> 16)
}
