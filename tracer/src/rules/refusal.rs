//! Calls on control files that fail: what `refused-attach`, `refused-control`, `refused-limit` and `missing-controller`
//! have in common.
//!
//! A story is about one file of one cgroup, one process and one error: what fails in the same way again goes on with
//! it. What the cgroup was like is read a moment after the first such call. The error itself is the kernel's own word,
//! and says more than anything that is read later.

use std::time::Duration;

use super::{Call, Weighed, World, gone, shape, wording};
use crate::control::{self, Purpose};
use crate::errno::Errno;
use crate::findings::{Finding, FindingAttempt, Job, Severity};
use crate::input::{Circumstances, Exit, HierarchyId, Level, Occupant};
use crate::name::Name;
use crate::oci::RuntimeCommand;
use crate::phrases;
use crate::runtimes;
use crate::state::{Case, Course, Moment, Note, Notes, Participant, Place, STORY_AGE, Story, Told};

/// What [`hurt`] does, in words.
pub(super) const SEVERITY: &[&str] = &[
    "To start a container: `fault` if `create` exited with another status than 0, or if the runtime's log ends with an \
     error that names the file; `benign` if it exited 0; else `undetermined`, because the status of a `run` may be the \
     container's own.",
    "To change a container's limits (`update`): `fault` if it exited with another status than 0, else `benign`.",
    "Another runtime or engine that exited 0: `benign`, it went on without.",
    "Anything else, a process that still runs, and one that was killed: `undetermined`. What was wanted did not come \
     about, and whether that matters is not known.",
];
/// In what is said of a kind.
pub(super) const EVIDENCE_OF_CIRCUMSTANCES: &str = "what the cgroup, those around it and the process were like, read \
     a moment after the first call (`circumstances`)";
pub(super) const MADE_GOOD: &str = "A process that tries something else after the refusal, with success, is told of \
     as well: calls that succeed are not seen. A runtime that exits 0 makes the finding benign.";

/// What is read later than this may be about something else.
const MOMENT: Duration = Duration::from_millis(100);
/// Cgroups, processes and controllers that a sentence names at most.
const NAMED: usize = 3;

/// How stories of refused calls go.
pub(super) const COURSE: Course = Course { joins, gathers: |_, _| false, is_news, ..gone::COURSE };

fn joins(story: &Story, moment: &Moment, case: &Case, _: &Notes) -> bool {
    let Moment::Call(note) = moment else { return false };
    let Some(first) = story.first_calls.first() else { return false };
    let is_alike = first.file == note.file
        && first.attempt.operation == note.attempt.operation
        && first.attempt.errno == note.attempt.errno
        && first.opened == note.opened;
    // Who moves many processes is refused for each in the same way; another value may be refused for another reason.
    let is_attach = note.file.as_ref().is_some_and(|file| control::purpose(file) == Purpose::Attach);
    let is_alike = is_alike && (is_attach || first.attempt.value == note.attempt.value);
    let is_same = story.member_at(&note.place).is_some_and(|member| member.is_same_life(case));
    is_alike && is_same && story.has(&note.attempt.actor) && note.attempt.at.since(story.last_at) <= STORY_AGE
}

fn is_news(told: &Told, finding: &Finding) -> bool {
    told.cause != finding.cause || gone::is_other(told, finding)
}

/// The case of a call on a cgroup that exists. `None` for what does not.
pub(super) fn case(call: &Call) -> Option<Case> {
    Some(Case { existing: Some(call.existing?), ..alone(call) })
}

/// The case of a call on a cgroup that was removed after it had been opened.
pub(super) fn case_of_removed(call: &Call, world: &World) -> Case {
    let opened = call.note.opened;
    let removal = world.cgroups.removal(call.place()).filter(|removal| removal.cgroup.id == opened);
    Case { removal: removal.cloned(), ..alone(call) }
}

fn alone(call: &Call) -> Case {
    Case { container: call.container.cloned(), is_alone: true, ..Case::default() }
}

/// Whether the refusal hurt one who was refused.
pub(super) fn hurt(participant: Option<&Participant>, story: &Story, _: &World) -> Severity {
    let Some(participant) = participant else { return Severity::Undetermined };
    let command = RuntimeCommand::of(&participant.actor);
    let subcommand = command.as_ref().and_then(|command| command.subcommand.as_deref());
    let file = story.first_calls.first().and_then(|note| note.file.as_ref()?.to_str());
    let names_file = |message: &Name| file.is_some_and(|file| contains(message.as_bytes(), file.as_bytes()));
    let is_runtime = command.is_some()
        || shape::program(&participant.actor).is_some_and(|program| runtimes::by_program(program.as_bytes()).is_some());
    match (participant.exit(), participant.job) {
        (None | Some(Exit::Signal(_)), _) => Severity::Undetermined,
        (Some(Exit::Code(0)), _) if is_runtime => Severity::Benign,
        (Some(Exit::Code(0)), _) => Severity::Undetermined,
        (Some(Exit::Code(_)), Job::Start)
            if subcommand == Some("create") || participant.said.as_ref().is_some_and(names_file) =>
        {
            Severity::Fault
        }
        (Some(Exit::Code(_)), _) if subcommand == Some("update") => Severity::Fault,
        (Some(Exit::Code(_)), _) => Severity::Undetermined,
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

/// A story's first call, which its claim is about, and what the cgroup was like after it.
pub(super) struct Refused<'a> {
    pub note: &'a Note,
    pub said: Option<&'a Circumstances>,
}

impl<'a> Refused<'a> {
    pub fn of(weighed: &'a Weighed) -> Option<Self> {
        let note = weighed.story.first_calls.first()?;
        let said = weighed.member.circumstances.as_ref().map(|(_, said)| said.as_ref());
        Some(Self { note, said })
    }

    pub fn errno(&self) -> Errno {
        self.note.attempt.errno
    }

    pub fn call(&self) -> &FindingAttempt {
        &self.note.attempt
    }

    pub fn is_on_v2(&self) -> bool {
        self.note.place.hierarchy == HierarchyId(0)
    }

    /// The cgroup itself.
    pub fn own(&self) -> Option<&'a Level> {
        self.said?.levels.first()
    }

    /// The cgroup around it.
    pub fn around(&self) -> Option<&'a Level> {
        self.said?.levels.get(1)
    }

    /// What a file of one of them said.
    pub fn value(&self, path: &Name, file: &str) -> Option<&'a Name> {
        self.values(file).find(|(of, _)| *of == path).map(|(_, value)| value)
    }

    /// What the files of that name said, and in which cgroup.
    pub fn values(&self, file: &str) -> impl Iterator<Item = (&'a Name, &'a Name)> {
        let values = self.said.map(|said| said.values.as_slice()).unwrap_or_default();
        values.iter().filter(move |value| value.file == file).map(|value| (&value.path, &value.value))
    }

    /// Whether the root has it, of a controller of cgroup2. `None` if the root was not seen.
    pub fn root_has(&self, controller: &str) -> Option<bool> {
        let said = self.said.filter(|said| said.to_root)?;
        let controllers = said.levels.last()?.controllers.as_ref()?;
        Some(has(controllers, controller))
    }

    pub fn is_on_v1(&self, controller: &str) -> bool {
        self.said.is_some_and(|said| has(&said.on_v1, controller))
    }

    /// The outermost cgroup that has a controller and does not hand it on to those in it. `None` if that was not seen.
    pub fn breaks_at(&self, controller: &str) -> Option<&'a Level> {
        let around = self.said?.levels.get(1..)?;
        around.iter().rev().find(|level| {
            level.controllers.as_ref().is_some_and(|list| has(list, controller))
                && level.subtree_control.as_ref().is_some_and(|list| !has(list, controller))
        })
    }

    /// Why it may not be so. `needs`: the claim rests on what was read.
    pub fn gaps(&self, weighed: &Weighed, world: &World, needs: bool) -> Vec<String> {
        let mut because = weighed.gaps_in_processes(world, None);
        match self.said {
            None if needs => because.push("what the cgroup was like could not be read".to_owned()),
            Some(said) if needs && said.read.since(self.note.attempt.at) > MOMENT => {
                because.push(format!(
                    "what the cgroup was like was read {:.0} ms after the call",
                    wording::milliseconds(said.read.since(self.note.attempt.at))
                ));
            }
            None | Some(_) => {}
        }
        because
    }

    /// Where a controller's way ends, as a sentence's part.
    pub fn chain(&self, controller: &str, world: &World) -> String {
        let Some(level) = self.breaks_at(controller) else {
            return format!("it has no controller {controller}");
        };
        let tried = tried_to_enable(level, controller, self, world);
        let place = match self.around() {
            Some(around) if around.path == level.path => format!("the cgroup around it, {},", level.path),
            _ => format!("{}, the outermost cgroup that does not,", level.path),
        };
        format!("{place} has {controller} and does not hand it on in its cgroup.subtree_control{tried}")
    }
}

pub(super) fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|own| own == word)
}

/// Who had tried to enable a controller there, and failed.
fn tried_to_enable(level: &Level, controller: &str, refused: &Refused, world: &World) -> String {
    let place = Place { hierarchy: refused.note.place.hierarchy, path: level.path.clone() };
    let asks = |note: &&Note| {
        let value = note.attempt.value.as_ref().and_then(Name::to_str).unwrap_or_default();
        note.file.as_ref().is_some_and(|file| file == "cgroup.subtree_control")
            && note.attempt.at < refused.note.attempt.at
            && value.split_ascii_whitespace().any(|word| word.strip_prefix('+') == Some(controller))
    };
    match world.notes.at(&place).rfind(asks) {
        Some(note) => format!(
            " ({} had tried to enable it there {:.3} ms before, and got {})",
            wording::who(&note.attempt.actor),
            wording::milliseconds(refused.note.attempt.at.since(note.attempt.at)),
            note.attempt.errno,
        ),
        None => String::new(),
    }
}

/// The summary: who could not do what, why, and how it ended.
pub(super) fn summary(weighed: &Weighed, world: &World, refused: &Refused, what: &str, why: &str) -> String {
    let actor = weighed.main.map_or_else(|| "somebody".to_owned(), |main| wording::who(&main.actor));
    let errno = refused.errno();
    format!("{actor} could not {what}: {why} ({errno}); {}", wording::end(weighed, world))
}

/// `"+cpu +io"`, of a write.
pub(super) fn value(call: &FindingAttempt) -> String {
    match &call.value {
        Some(value) => phrases::value(value, call.value_truncated),
        None => "a value that could not be read".to_owned(),
    }
}

/// `a`, `a and b`, `a, b and 3 more`.
pub(super) fn list<T: AsRef<str>>(names: &[T]) -> String {
    let named = |names: &[T]| names.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
    match names {
        [] => "none".to_owned(),
        [one] => one.as_ref().to_owned(),
        [first @ .., last] if names.len() <= NAMED => format!("{} and {}", named(first), last.as_ref()),
        _ => format!("{} and {} more", named(&names[..NAMED]), names.len() - NAMED),
    }
}

/// `nginx[12] and sh[13]`.
pub(super) fn processes(occupants: &[Occupant]) -> String {
    let names: Vec<String> = occupants.iter().map(|who| phrases::who(&who.comm, who.pid)).collect();
    list(&names)
}

/// `cgroup /a/b` or `the cgroup of container ID`.
pub(super) fn whose(weighed: &Weighed) -> String {
    wording::whose(weighed)
}

#[cfg(test)]
pub(super) mod tests;
