//! The shape of a finding, by which known problems are recognised: who tried to remove what, by which calls and how
//! often, how it was refused, what was in the way, who was first, and how it ended.
//!
//! A name alone proves nothing: programs are called by other names, and have other problems. So an entry asks for
//! everything that its thread tells and a trace shows.

use std::time::Duration;

use crate::engine;
use crate::errno::Errno;
use crate::findings::{Finding, FindingAttempt, Job};
use crate::input::{Actor, Circumstances, Exit, HierarchyId, Occupant, Operation, Pid, Stuck};
use crate::name::{Name, components};
use crate::oci::RuntimeCommand;
use crate::runtimes;
use crate::state::{Note, Overwritten, Place, Processes, Story, Undone};

/// A finding that was judged, and the story behind it.
pub(crate) struct Shape<'a> {
    pub finding: &'a Finding,
    story: &'a Story,
    processes: &'a Processes,
}

/// The tries of the finding's actor to remove its cgroup.
pub(crate) struct Ladder {
    /// How many of them are kept: the first and the last ones if there are very many.
    pub tries: usize,
    /// From the first to the last one.
    pub span: Duration,
    /// From the last but one to the last one.
    pub last_step: Duration,
}

/// Suffixes of the cgroups that systemd makes for its units.
const UNITS: [&str; 6] = [".service", ".slice", ".scope", ".mount", ".socket", ".swap"];

impl<'a> Shape<'a> {
    pub fn new(finding: &'a Finding, story: &'a Story, processes: &'a Processes) -> Self {
        Self { finding, story, processes }
    }

    /// Whether the actor is an OCI runtime of that name that was asked to do one of these.
    pub fn is_asked(&self, runtime: &str, subcommands: &[&str]) -> bool {
        self.command().is_some_and(|command| is_command(&command, &[runtime], subcommands))
    }

    /// What the actor was asked to do, if it is an OCI runtime.
    pub fn command(&self) -> Option<RuntimeCommand> {
        self.finding.actor.as_ref().and_then(RuntimeCommand::of)
    }

    /// The engine behind the actor, by the registry's name.
    pub fn engine(&self) -> Option<&'static str> {
        let actor = self.finding.actor.as_ref()?;
        let parents = actor.identity.as_ref().map(|identity| identity.parents.as_slice()).unwrap_or_default();
        let parents: Vec<&str> = parents.iter().filter_map(|parent| parent.comm.to_str()).collect();
        engine::of(&RuntimeCommand::of(actor)?, &parents).map(|engine| engine.name)
    }

    /// Whether the actor is one of these programs.
    pub fn runs(&self, programs: &[&str]) -> bool {
        self.finding.actor.as_ref().and_then(program).is_some_and(|program| programs.contains(&program))
    }

    /// Whether the actor is one of LXC's programs, or the monitor that it makes of itself.
    pub fn runs_lxc(&self) -> bool {
        let Some(actor) = &self.finding.actor else { return false };
        first_word(actor).is_some_and(|word| word.starts_with("[lxc monitor] "))
            || program(actor)
                .and_then(|program| runtimes::by_program(program.as_bytes()))
                .is_some_and(|runtime| runtime.name == "lxc")
    }

    /// Whether the actor's command line has one of these words.
    pub fn has_word(&self, words: &[&str]) -> bool {
        let Some(actor) = &self.finding.actor else { return false };
        argv(actor).iter().filter_map(|word| word.to_str()).any(|word| words.contains(&word))
    }

    /// The control file that the story's first call was about.
    pub fn file(&self) -> Option<&str> {
        self.story.first_calls.first()?.file.as_ref()?.to_str()
    }

    /// What that call was to write. Empty if it was to write nothing, or that is not known.
    pub fn value(&self) -> &str {
        let first = self.story.first_calls.first();
        first.and_then(|note| note.attempt.value.as_ref()?.to_str()).unwrap_or_default()
    }

    /// How that call failed.
    pub fn errno(&self) -> Option<Errno> {
        self.story.first_calls.first().map(|note| note.attempt.errno)
    }

    /// What the cgroup was like after it.
    pub fn circumstances(&self) -> Option<&Circumstances> {
        let said = self.story.members.first()?.circumstances.as_ref();
        said.map(|(_, said)| said.as_ref())
    }

    /// The call that does not return, or has after all, as it was told last.
    pub fn stuck(&self) -> Option<&Stuck> {
        self.story.stuck.as_deref()
    }

    /// Where the story's first process was moved to.
    pub fn moved_to(&self) -> Option<&Name> {
        match self.story.undone.as_deref()? {
            Undone::Moved(moved) => Some(&moved.to),
            Undone::Overwritten(_) | Undone::Removed(_) => None,
        }
    }

    /// What was overwritten first, of a control file of that name.
    pub fn overwritten(&self, file: &str) -> Option<&Overwritten> {
        match self.story.undone.as_deref()? {
            Undone::Overwritten(all) => all.iter().find(|one| one.what.file == file),
            Undone::Moved(_) | Undone::Removed(_) => None,
        }
    }

    /// How the actor ended.
    pub fn exit(&self) -> Option<Exit> {
        self.finding.outcome.exit
    }

    /// Whether the actor ended, and not well.
    pub fn has_failed(&self) -> bool {
        self.exit().is_some_and(|exit| !exit.is_success())
    }

    /// Whether the actor ended well.
    pub fn has_succeeded(&self) -> bool {
        self.exit().is_some_and(Exit::is_success)
    }

    /// What the actor was there for.
    pub fn job(&self) -> Option<Job> {
        self.finding.actor.as_ref().map(Job::of)
    }

    /// The story's failed calls of the actor, in order.
    pub fn own(&self, operation: Operation, errno: Errno) -> impl Iterator<Item = &FindingAttempt> {
        self.calls(operation, errno).filter(|call| self.is_own(call))
    }

    /// The story's failed calls of others, in order.
    pub fn of_others(&self, operation: Operation, errno: Errno) -> impl Iterator<Item = &FindingAttempt> {
        self.calls(operation, errno).filter(|call| !self.is_own(call))
    }

    fn calls(&self, operation: Operation, errno: Errno) -> impl Iterator<Item = &FindingAttempt> {
        self.finding.attempts.iter().filter(move |call| call.operation == operation && call.errno == errno)
    }

    fn is_own(&self, call: &FindingAttempt) -> bool {
        self.finding.actor.as_ref().is_some_and(|actor| call.actor.is_same_process_as(actor))
    }

    /// How the process ended that made a call. `None` if it runs, or is forgotten.
    pub fn exit_of(&self, call: &FindingAttempt) -> Option<Exit> {
        self.processes.of(&call.actor).and_then(|known| known.exit)
    }

    /// The actor's failed removals of the finding's cgroup, in order.
    pub fn removals(&self) -> impl Iterator<Item = &FindingAttempt> {
        let place = Place::of(&self.finding.cgroup);
        let is_of_it = move |note: &&Note| note.place == place && note.attempt.operation == Operation::Rmdir;
        self.story.kept_calls().filter(is_of_it).map(|note| &note.attempt).filter(|call| self.is_own(call))
    }

    /// The same, as a ladder.
    pub fn ladder(&self) -> Ladder {
        let times: Vec<_> = self.removals().map(|call| call.at).collect();
        let since = |earlier: Option<_>| match (earlier, times.last()) {
            (Some(earlier), Some(last)) => last.since(earlier),
            _ => Duration::ZERO,
        };
        let last_but_one = times.len().checked_sub(2).map(|index| times[index]);
        Ladder { tries: times.len(), span: since(times.first().copied()), last_step: since(last_but_one) }
    }

    /// Whether the cgroup is one of cgroup2.
    pub fn is_on_v2(&self) -> bool {
        self.finding.cgroup.hierarchy == HierarchyId(0)
    }

    /// The cgroup's own name.
    pub fn name(&self) -> &str {
        self.path().last().copied().unwrap_or_default()
    }

    /// The components of the cgroup's path. What is not UTF-8 is no name that a thread tells of.
    pub fn path(&self) -> Vec<&str> {
        let path = self.finding.cgroup.path.as_bytes();
        components(path).map(|component| std::str::from_utf8(component).unwrap_or_default()).collect()
    }

    /// Whether the cgroup is one of a pod, or below one.
    pub fn is_of_a_pod(&self) -> bool {
        self.path().iter().any(|component| component.starts_with("kubepods"))
    }

    /// Whether the cgroup is one that systemd made for a unit, by its name.
    pub fn is_of_a_unit(&self) -> bool {
        UNITS.iter().any(|suffix| self.name().ends_with(suffix))
    }

    /// Whether the cgroup is the container's own. `None` if it is of no container.
    pub fn is_containers_own(&self) -> Option<bool> {
        self.finding.container.as_ref().map(|container| container.depth() == self.path().len())
    }

    /// Who was found in the cgroups of the story.
    pub fn inside(&self) -> impl Iterator<Item = &Occupant> {
        let found = self.story.members.iter().filter_map(|member| member.found.as_ref());
        found.flat_map(|found| &found.occupants.occupants)
    }

    /// Who removed it first.
    pub fn rival(&self) -> Option<&Actor> {
        self.finding.rival.as_ref()?.actor.as_ref()
    }

    /// Whether systemd removed it first.
    pub fn systemd_was_first(&self) -> bool {
        self.rival().is_some_and(|rival| rival.pid == Pid(1) || rival.comm == "systemd")
    }
}

/// Whether it is one of these runtimes, asked to do one of these.
pub(crate) fn is_command(command: &RuntimeCommand, runtimes: &[&str], subcommands: &[&str]) -> bool {
    runtimes.contains(&command.runtime)
        && command.subcommand.as_deref().is_some_and(|subcommand| subcommands.contains(&subcommand))
}

/// The name of the program that a process runs, without its directory.
pub(crate) fn program(actor: &Actor) -> Option<&str> {
    first_word(actor).and_then(|word| word.rsplit('/').next())
}

/// What the process was called by; the name of its thread where that is not known.
fn first_word(actor: &Actor) -> Option<&str> {
    argv(actor).first().unwrap_or(&actor.comm).to_str()
}

/// Its command line. Empty if it is not known.
pub(super) fn argv(actor: &Actor) -> &[Name] {
    actor.identity.as_ref().and_then(|identity| identity.argv.as_deref()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
