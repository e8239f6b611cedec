//! What the tool claims: kinds, causes, severities, and the shape of a finding.

use serde::{Deserialize, Serialize};

use crate::errno::Errno;
use crate::input::{Actor, BootTime, Cgroup, Exit, Operation, Seq};
use crate::name::Name;
use std::sync::Arc;

use crate::container::Container;

/// The kinds of finding this version can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
}

impl Cause {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RemovedByOther => "removed-by-other",
            Self::RemovedBySelf => "removed-by-self",
            Self::ReadOnlyMount => "read-only-mount",
            Self::CreationFailed => "creation-failed",
            Self::NeverCreated => "never-created",
        }
    }
}

/// Whether it hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The actor coped.
    Benign,
    /// What became of the actor was not seen.
    Undetermined,
    /// The actor failed, or something was left behind.
    Fault,
}

impl Severity {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certainty {
    /// Everything the claim depends on was seen.
    Certain,
    /// Something it depends on could not be seen; [`Finding::because`] says what.
    Degraded,
}

/// Who removed it first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rival {
    /// Who. `None` if the removal was seen without its actor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// What it did: always a removal.
    pub operation: Operation,
    /// When.
    pub at: BootTime,
    /// How many milliseconds before the first attempt of the story.
    pub before_ms: f64,
}

/// One failed call of a story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FindingAttempt {
    /// The attempt's own line.
    pub seq: Seq,
    /// When it failed.
    pub at: BootTime,
    /// What it tried.
    pub operation: Operation,
    /// By which system call.
    pub syscall: crate::input::Syscall,
    /// How it failed.
    pub errno: Errno,
    /// The path as the process gave it.
    pub path: Name,
    /// Who made it.
    pub actor: Actor,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// How the actor ended. `None` while it runs, or if its end was not seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Whether a cgroup is there now at that path. `None` if that cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_left: Option<bool>,
    /// Whether the runtime's state file of the container is still there. `None` if it was not looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_left: Option<bool>,
}

/// A known problem that looks like this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    /// Who removed it first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rival: Option<Rival>,
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
