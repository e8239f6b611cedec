//! The rules: which kinds of finding there are, one file a kind, and one list of them, [`RULES`].
//!
//! A rule says what a story of its kind begins with, what joins it, when it is judged and what it then claims. All else
//! that knows kinds derives from the list: `--fail-on`, `explain`, `docs/findings.md`, the schema, labels of metrics. A
//! new kind is a file and its entry in the list.
//!
//! ```text
//! failed call ─► call ────────► Case ─┐                 ┌─► joins ─► an open story ─┐
//! failed start ► failed_start ► Case ─┤                 │                           │
//! stuck call ──► stuck ───────► Case ─┤                 │                           │
//! event ───────► event ───────► Case ─┼─────────────────┤                           ├─► due ─► judge ─► Finding
//!                  └► deadline ─► Case ┘                 └─► a new story ────────────┘
//! ```
//!
//! A rule keeps nothing: what it needs to know is asked of [`World`], and what it wants to know later is a deadline.

mod busy_teardown;
mod contested_cgroup;
mod denied_teardown;
mod duplicate_teardown;
mod gone;
mod judge;
mod leaked_cgroup;
mod left;
mod likeness;
mod lingering_cgroup;
mod missing_controller;
mod missing_path_teardown;
mod partial_teardown;
mod refusal;
mod refused;
mod refused_attach;
mod refused_control;
mod refused_limit;
#[cfg(test)]
#[path = "rules/scene/tests.rs"]
mod scene;
mod severity;
mod shape;
mod stale_cgroup;
mod stuck_call;
pub(crate) mod wording;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::container::Container;
use crate::findings::{Cause, Explanation, FindingAttempt, Job, Kind, KnownIssue, Outcome, Rival, Severity};
use crate::input::{Actor, BootTime, Change, Event, Seq, Stuck, Written};
use crate::state::{
    Case, Cgroups, Course, Coverage, Deadline, Existing, InFlight, Kernel, Known, Live, Makers, Member, Note, Notes,
    Participant, Place, Placings, Processes, Settings, Stories, Story,
};
pub(crate) use judge::judge;
use shape::Shape;

/// The list.
const RULES: &[&Rule] = &[
    // Of two rules that make something of one failed call, the first one has it.
    &duplicate_teardown::RULE,
    &missing_path_teardown::RULE,
    &denied_teardown::RULE,
    &busy_teardown::RULE,
    &leaked_cgroup::RULE,
    &partial_teardown::RULE,
    &stale_cgroup::RULE,
    &lingering_cgroup::RULE,
    &refused_attach::RULE,
    &refused_control::RULE,
    &refused_limit::RULE,
    &missing_controller::RULE,
    &contested_cgroup::RULE,
    &stuck_call::RULE,
];

/// One kind's rule.
#[derive(Debug)]
pub(crate) struct Rule {
    /// What is said of the kind.
    pub explanation: Explanation,
    /// Known problems that show as such a finding.
    pub known: &'static [Pattern],
    /// What a failed call is to it: the case that a story begins with, or goes on with. `None` if it is nothing to it.
    pub call: Option<fn(&Call, &World) -> Option<Case>>,
    /// What a start that failed is to it, where there was a cgroup in the place of the container's own before it began.
    pub failed_start: Option<fn(&FailedStart, &World) -> Option<Case>>,
    /// What a call that does not return is to it, and the same call when it has returned.
    pub stuck: Option<OnStuck>,
    /// What it makes of events: the beginning of a story, or something to be looked at later.
    pub event: Option<OnEvent>,
    /// What it makes of the deadlines that it had asked for.
    pub deadline: Option<OnDeadline>,
    /// How its stories go.
    pub course: Course,
    /// What a story did to one who has a part in it, or, without one, to whom it may concern.
    pub hurt: fn(Option<&Participant>, &Story, &World) -> Severity,
    /// What is claimed of a story as far as it is known. `None` if there is nothing to be told of it: it is dropped, if
    /// nothing was.
    pub judge: fn(&Weighed, &World) -> Option<Judgement>,
}

/// What a rule makes of a call that does not return: its story's case. `None` if it is nothing to it.
type OnStuck = fn(&Arc<Stuck>, &World) -> Option<Case>;

/// Events that a rule wants to see.
#[derive(Debug)]
pub(crate) struct OnEvent {
    /// It is asked about no others.
    pub of: &'static [Change],
    /// What it is.
    pub begins: fn(&Event, &World) -> Option<Beginning>,
    /// What a write to a control file is, that succeeded. What it has set is not known yet.
    pub written: Option<OnWritten>,
}

/// What a write to a control file is, that succeeded, told by that line.
pub(crate) type OnWritten = fn(Seq, &Written, &World) -> Option<Overwriting>;

/// A write to a control file, or one before that it has undone, and whose it is.
#[derive(Debug)]
pub(crate) struct Overwriting {
    pub case: Box<Case>,
    pub seq: Seq,
    pub at: BootTime,
    pub actor: Actor,
}

/// A rule's deadlines.
#[derive(Debug)]
pub(crate) struct OnDeadline {
    /// It asks for one so long after a runtime is done with a container, for every cgroup that is left of those that it
    /// had made.
    pub after_runtime: Option<Duration>,
    /// It asks for one so long after a removal, for every cgroup that the kernel has not released by then. Whatever
    /// number of cgroups is removed, only the one that has been dying for longest is waited for. The place is that of
    /// the innermost cgroup around it that is there.
    pub while_dying: Option<Duration>,
    /// Events on the cgroup after which it wants to know no more.
    pub withdrawn_by: &'static [Change],
    /// What it is when the time has come: nothing, if it is not so any more.
    pub begins: fn(&Deadline, &World) -> Option<Beginning>,
}

/// What a rule makes of an event, or of a deadline.
#[derive(Debug)]
pub(crate) enum Beginning {
    /// A story begins, or goes on. It is of this actor, if of anybody.
    Story(Box<Case>, Option<Actor>),
    /// If it is still so in so long, it may be one: the rule is asked again then, but never at once.
    Deadline(Duration),
}

/// What a rule may ask.
#[derive(Clone, Copy)]
pub(crate) struct World<'a> {
    pub cgroups: &'a Cgroups,
    pub kernel: &'a Kernel,
    pub makers: &'a Makers,
    pub placings: &'a Placings,
    pub settings: &'a Settings,
    pub in_flight: &'a InFlight,
    pub coverage: &'a Coverage,
    pub processes: &'a Processes,
    pub notes: &'a Notes,
    pub stories: &'a Stories,
}

impl World<'_> {
    /// When the last failed creation was that is not remembered any more.
    fn forgotten_creation(&self) -> Option<BootTime> {
        self.notes.forgotten_creation().max(self.stories.forgotten_creation())
    }
}

/// A failed call that rules are asked about.
pub(crate) struct Call<'a> {
    pub note: &'a Note,
    /// The cgroup, if there is one at the place.
    pub existing: Option<Existing>,
    /// The container that the cgroup belongs to, or would.
    pub container: Option<&'a Arc<Container>>,
    /// What it is as a teardown of what is not there, for whoever asks first.
    gone: OnceCell<Option<Case>>,
}

impl<'a> Call<'a> {
    pub fn new(note: &'a Note, existing: Option<Existing>, container: Option<&'a Arc<Container>>) -> Self {
        Self { note, existing, container, gone: OnceCell::new() }
    }

    fn place(&self) -> &Place {
        &self.note.place
    }
}

/// A runtime was asked to make a container and failed, and made no cgroup for it: there was one before it began.
pub(crate) struct FailedStart<'a> {
    pub known: &'a Known,
    /// That container.
    pub container: Option<&'a Arc<Container>>,
    /// Where the cgroup is that was there.
    pub place: &'a Place,
    pub existing: Existing,
    pub live: &'a Live,
}

/// What is the same for every kind, weighed first.
pub(crate) struct Weighed<'a> {
    pub story: &'a Story,
    /// The participant that the finding is about: the first that was hurt, else the first of which that is not known,
    /// else the first. `None` if nobody has a part in the story: one that began with a failed call has its caller.
    pub main: Option<&'a Participant>,
    /// The cgroup that it came to first.
    pub member: &'a Member,
    pub outcome: &'a Outcome,
    pub severity: Severity,
    pub first_failure: Option<&'a FindingAttempt>,
}

/// What a kind's own rule says.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub cause: Cause,
    /// What could not be seen. Empty when certain.
    pub because: Vec<String>,
    pub summary: String,
    pub rival: Option<Rival>,
}

/// A known problem, and how it is recognised by the shape of a finding.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub issue: KnownIssue,
    pub is: fn(&Shape) -> bool,
}

/// A list of rules, and which events its rules want to see at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    list: &'static [&'static Rule],
    /// A bit for each change, by what happens to it there.
    begin: u16,
    follow: u16,
    withdraw: u16,
    /// How long a cgroup is dying before any rule wants to know of it.
    pub while_dying: Option<Duration>,
}

impl Rules {
    /// Those of this version.
    pub const fn all() -> Self {
        Self::new(RULES)
    }

    pub const fn new(list: &'static [&'static Rule]) -> Self {
        let mut rules = Self { list, begin: 0, follow: 0, withdraw: 0, while_dying: None };
        let mut index = 0;
        while index < list.len() {
            if let Some(event) = &list[index].event {
                rules.begin |= bits(event.of);
            }
            // A creation ends whatever had that id before.
            if let Some(deadline) = &list[index].deadline {
                rules.withdraw |= bits(deadline.withdrawn_by) | bit(Change::Created);
                if deadline.while_dying.is_some() {
                    assert!(rules.while_dying.is_none(), "all are looked at once, for one rule");
                    rules.while_dying = deadline.while_dying;
                }
            }
            if !list[index].course.follows.is_empty() {
                rules.follow |= bits(list[index].course.follows) | bit(Change::Created);
            }
            index += 1;
        }
        rules
    }

    /// All of them, with their kinds.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, &'static Rule)> + use<> {
        self.iter_if(true)
    }

    /// All of them, or none.
    fn iter_if(&self, any: bool) -> impl Iterator<Item = (Kind, &'static Rule)> + use<> {
        let list = if any { self.list } else { &[] };
        list.iter().enumerate().map(|(index, rule)| (Kind::new(index, &rule.explanation), *rule))
    }

    /// The rule of a kind of this list.
    pub fn of(&self, kind: Kind) -> &'static Rule {
        self.list[kind.index()]
    }

    /// Whether an event can be anything to any rule: what can be nothing costs no more than this.
    pub fn want(&self, change: Change) -> bool {
        (self.begin | self.follow | self.withdraw) & bit(change) != 0
    }

    /// Whether a story of any rule may have to be judged for it.
    pub fn follow(&self, change: Change) -> bool {
        self.follow & bit(change) != 0
    }

    /// The rules whose deadlines about the cgroup are over with it.
    pub fn that_withdraw(&self, change: Change) -> impl Iterator<Item = (Kind, &'static Rule)> + use<> {
        let is_over = move |own: &OnDeadline| change == Change::Created || own.withdrawn_by.contains(&change);
        let all = self.iter_if(self.withdraw & bit(change) != 0);
        all.filter(move |(_, rule)| rule.deadline.as_ref().is_some_and(is_over))
    }

    /// The rules that want to see writes to control files, and what asks them.
    pub fn that_begin_with_writes(&self) -> impl Iterator<Item = (Kind, OnWritten)> + use<> {
        self.iter().filter_map(|(kind, rule)| Some((kind, rule.event.as_ref()?.written?)))
    }

    /// The rules that something can begin with it of, and what asks them.
    pub fn that_begin_with(&self, change: Change) -> impl Iterator<Item = (Kind, &'static OnEvent)> + use<> {
        let own = move |(kind, rule): (Kind, &'static Rule)| Some((kind, rule.event.as_ref()?));
        let all = self.iter_if(self.begin & bit(change) != 0);
        all.filter_map(own).filter(move |(_, own)| own.of.contains(&change))
    }
}

const fn bit(change: Change) -> u16 {
    1 << change as u16
}

const fn bits(changes: &[Change]) -> u16 {
    let (mut bits, mut index) = (0, 0);
    while index < changes.len() {
        bits |= bit(changes[index]);
        index += 1;
    }
    bits
}

impl Kind {
    /// All of them, in the order of the list.
    pub const ALL: [Self; RULES.len()] = {
        let mut all = [Self::new(0, &RULES[0].explanation); RULES.len()];
        let mut index = 1;
        while index < RULES.len() {
            all[index] = Self::new(index, &RULES[index].explanation);
            index += 1;
        }
        all
    };
}

impl Cause {
    /// Every cause of every kind, in the order of the list; a word that several kinds have comes once.
    pub fn all() -> impl Iterator<Item = Self> {
        let all = || Kind::ALL.into_iter().flat_map(|kind| kind.explanation().causes);
        let is_first = move |(index, cause): &(usize, &Self)| all().take(*index).all(|before| before != *cause);
        all().enumerate().filter(is_first).map(|(_, cause)| *cause)
    }
}

#[cfg(test)]
impl Kind {
    /// The kind of that word.
    pub(crate) fn named(word: &str) -> Self {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).expect("a kind of the list")
    }
}

#[cfg(test)]
impl Cause {
    /// The cause of that word, of any kind.
    pub(crate) fn named(word: &str) -> Self {
        Self::all().find(|cause| cause.word == word).expect("a cause of a kind")
    }
}

/// The known problems that show as findings of a kind, for listings.
pub(crate) fn known_issues(kind: Kind) -> impl Iterator<Item = &'static KnownIssue> {
    RULES[kind.index()].known.iter().map(|known| &known.issue)
}

/// One of these words, each with what it means.
fn one_of(about: &str, words: impl Iterator<Item = (&'static str, String)>) -> Schema {
    let words: Vec<_> = words
        .map(|(word, means)| serde_json::json!({ "const": word, "description": means, "type": "string" }))
        .collect();
    json_schema!({ "description": about, "oneOf": words })
}

impl JsonSchema for Kind {
    fn schema_name() -> Cow<'static, str> {
        "Kind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        one_of(
            "What is claimed.",
            Self::ALL.into_iter().map(|kind| (kind.as_str(), kind.explanation().claim.to_owned())),
        )
    }
}

impl JsonSchema for Cause {
    fn schema_name() -> Cow<'static, str> {
        "Cause".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words = Self::all().map(|cause| {
            let of = |kind: Kind| {
                let own = kind.explanation().causes.iter().find(|own| **own == cause)?;
                Some(format!("{}: {}", kind.as_str(), own.meaning))
            };
            (cause.word, Kind::ALL.into_iter().filter_map(of).collect::<Vec<_>>().join(" "))
        });
        one_of("Why it happened.", words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_explained_and_has_a_word_of_its_own() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            let Explanation { word: _, claim, evidence, confirm, causes, severity, false_positives: _ } =
                kind.explanation();
            assert_eq!(kind.index(), index);
            assert!(!claim.is_empty() && !evidence.is_empty() && !confirm.is_empty());
            assert!(!causes.is_empty() && !severity.is_empty());
            for (place, cause) in causes.iter().enumerate() {
                assert!(!cause.meaning.is_empty() && !cause.advice.is_empty(), "{kind:?} {cause:?}");
                assert!(!causes[..place].contains(cause), "{kind:?} {cause:?}");
            }
            assert!(Kind::ALL[..index].iter().all(|before| before.as_str() != kind.as_str()), "{kind:?}");
        }
        for (kind, rule) in Rules::all().iter() {
            let is_asked = rule.deadline.as_ref().is_some_and(|own| own.while_dying.is_some()) || rule.event.is_some();
            let begins = rule.call.is_some() || rule.failed_start.is_some() || rule.stuck.is_some() || is_asked;
            assert!(begins, "nothing begins {kind:?}");
            assert!(rule.deadline.is_none() || is_asked, "nobody asks for a deadline of {kind:?}");
        }
    }
}
