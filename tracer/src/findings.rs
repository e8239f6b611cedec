//! What the tool claims: the shape of a finding, and the words that it is made of.
//!
//! Data only. Which kinds there are, what each claims and how it is judged is in [`crate::rules`], one file a kind;
//! what a process was there for is in [`job`].

mod job;

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use crate::budget::weigh;
use crate::container::Container;
use crate::errno::Errno;
use crate::input::{Actor, Attempt, BootTime, Cgroup, Exit, Operation, Seq, Syscall, is_false};
#[cfg(test)]
use crate::input::{HierarchyId, Pid};
use crate::name::Name;
use crate::phrases;
pub use job::Job;

/// A kind of finding: its place in the list of rules, and what is said of it.
#[derive(Clone, Copy)]
pub struct Kind {
    index: u8,
    explanation: &'static Explanation,
}

/// What a kind claims, what decides its severity, how to confirm it by hand, and what to do about it.
#[derive(Debug)]
pub struct Explanation {
    /// The word of the contract.
    pub word: &'static str,
    /// What is claimed, in one sentence.
    pub claim: &'static str,
    /// What the claim rests on.
    pub evidence: &'static [&'static str],
    /// How to see it without this tool: what to do, and a command that does it.
    pub confirm: &'static [(&'static str, &'static str)],
    /// Why it can happen.
    pub causes: &'static [Cause],
    /// What decides whether it hurt, a sentence for each case: what the rule's `hurt` does.
    pub severity: &'static [&'static str],
    /// When the claim is made and nothing is wrong.
    pub false_positives: &'static [&'static str],
}

impl Kind {
    /// The kind that this is said of, at that place in the list of rules.
    pub(crate) const fn new(index: usize, explanation: &'static Explanation) -> Self {
        assert!(index <= u8::MAX as usize);
        Self { index: index as u8, explanation }
    }

    /// Its place in the list of rules.
    pub(crate) fn index(self) -> usize {
        usize::from(self.index)
    }

    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        self.explanation.word
    }

    /// What is said of it.
    pub const fn explanation(self) -> &'static Explanation {
        self.explanation
    }
}

/// Why it happened. Each kind has its own causes, in its own file.
#[derive(Clone, Copy)]
pub struct Cause {
    /// The word of the contract.
    pub word: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What to do about it.
    pub advice: &'static str,
    /// Where it did no harm it is nothing to be told of, but to those who ask.
    pub is_routine: bool,
}

impl Cause {
    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        self.word
    }
}

/// Values that are told apart, ordered and written by this.
macro_rules! by {
    ($type:ident, $key:expr) => {
        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                $key(self) == $key(other)
            }
        }

        impl Eq for $type {}

        impl PartialOrd for $type {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $type {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                $key(self).cmp(&$key(other))
            }
        }

        impl std::hash::Hash for $type {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                $key(self).hash(state);
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

by!(Kind, |kind: &Kind| kind.index);
by!(Cause, |cause: &Cause| cause.word);

words! {
    /// Whether it hurt, the mildest first.
    pub enum Severity {
        /// The goal was reached.
        Benign = "benign",
        /// It is not known.
        Undetermined = "undetermined",
        /// Something was left behind, or a process failed whose job the teardown was.
        Fault = "fault",
    }
}

words! {
    /// How far the claim can be trusted.
    pub enum Certainty {
        /// Everything the claim depends on was seen.
        Certain = "certain",
        /// Something it depends on could not be seen; [`Finding::because`] says what.
        Degraded = "degraded",
    }
}

words! {
    /// What a rival did.
    pub enum Deed {
        /// It removed the cgroup.
        Rmdir = "rmdir",
        /// It renamed the cgroup, or one around it.
        Rename = "rename",
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
    /// The path as the process gave it; of a call that was given a descriptor, the name of the file that is open there.
    pub path: Name,
    /// Of a write: the beginning of what was to be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Name>,
    /// More than `value` was to be written.
    #[serde(skip_serializing_if = "is_false")]
    pub value_truncated: bool,
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
    /// Whether the cgroup is there now, by whatever name. One that was made at its path since is another. `None` if
    /// that cannot be told.
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
    /// What has it: versions, as far as they are known.
    pub affects: &'static str,
    /// The version that fixes it, or else the change that does. `None` if none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_in: Option<&'static str>,
    /// What to do about it.
    pub advice: &'static str,
}

impl KnownIssue {
    /// What it is, in which versions.
    pub fn describe(&self) -> String {
        let Self { id, title, affects, fixed_in, advice: _ } = self;
        match fixed_in {
            Some(fixed_in) => format!("{id}: {title}. Affects {affects}; fixed in {fixed_in}."),
            None => format!("{id}: {title}. Affects {affects}; no fix is known here."),
        }
    }
}

/// What a program looks like whose name says nothing. A hint: nothing else in the finding rests on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Likeness {
    /// The runtime, by the registry's name.
    pub runtime: &'static str,
    /// What tells so.
    pub because: Vec<String>,
}

/// One thing that went wrong, and everything that tells so.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Finding {
    /// Stable for the story: the same in every revision, and in a replay.
    pub id: String,
    /// 0 first; a later one replaces it.
    pub revision: u32,
    /// When the story began: its first attempt failed.
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
    /// Who the story is about: who tried to tear it down. `None` if nobody in particular did anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// Who removed or renamed it first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rival: Option<Rival>,
    /// Of an actor that was to start a container and failed: the failed call on cgroupfs that the teardown followed,
    /// which only cleans up after it.
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
    /// Which runtime the actor may be that is called otherwise: a hint, by what it was asked and what it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looks_like: Option<Likeness>,
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
            value: attempt.value.clone(),
            value_truncated: attempt.value_truncated,
            actor: attempt.actor.clone(),
        }
    }

    /// What it was about, as the process gave it, and what was to be written there.
    pub fn what(&self) -> String {
        let value = self.value.iter().map(|value| format!(" {}", phrases::value(value, self.value_truncated)));
        std::iter::once(self.path.printable()).chain(value).collect()
    }

    /// Whether it tried in vain to make a cgroup. EEXIST says that there is one.
    pub fn is_failed_creation(&self) -> bool {
        self.operation == Operation::Mkdir && self.errno != Errno::EEXIST
    }
}

impl Finding {
    /// A teardown of what is not there that did no harm and tells nothing else: routine on some hosts (containerd
    /// deletes twice by design, runc clears up after a failed start), so it is told only to those who ask.
    pub fn is_routine(&self) -> bool {
        self.severity == Severity::Benign && self.first_failure.is_none() && self.cause.is_routine
    }
}

weigh! {
    Kind:;
    FindingAttempt: path, value, actor;
    Rival: actor, to;
    Likeness: because;
    Finding: id, summary, cgroup, container, actor, rival, first_failure, attempts, because, looks_like, evidence;
}

#[cfg(test)]
impl Finding {
    /// Who it is about.
    pub(crate) fn pid(&self) -> Pid {
        self.actor.as_ref().expect("somebody").pid
    }

    /// One as it comes from a rule: its text and its lists have more room than they need.
    pub(crate) fn example(id: &str, revision: u32) -> Self {
        let (mut summary, mut evidence) = (String::with_capacity(512), Vec::with_capacity(64));
        summary.push_str("runc[1] tried to tear down cgroup /a");
        evidence.push(Seq(1));
        Self {
            id: id.to_owned(),
            revision,
            at: BootTime(0),
            kind: Kind::ALL[0],
            severity: Severity::Benign,
            cause: Kind::ALL[0].explanation().causes[1],
            summary,
            cgroup: Cgroup { hierarchy: HierarchyId(0), id: None, path: "/a".into(), level: None, truncated: false },
            hierarchies: 1,
            container: None,
            actor: Some(Actor::new(Pid(1), 1, "runc".into(), None)),
            rival: None,
            first_failure: None,
            attempts: Vec::with_capacity(8),
            attempt_count: 1,
            outcome: Outcome::default(),
            certainty: Certainty::Certain,
            because: Vec::new(),
            looks_like: None,
            known_issues: Vec::new(),
            evidence,
        }
    }
}
