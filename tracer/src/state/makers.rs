//! Who made a container's cgroups, and whether it is done with the container: of containers that a low-level runtime
//! made while tracing.
//!
//! A runtime is done with a container when its state is gone: after a `delete`, or after a `create` or `run` that
//! failed. Its state is kept by a root directory, so only a process that uses the same one says anything of it. A
//! container that is stopped has its state, and its cgroups with it.

use std::collections::HashSet;

use super::cgroups::Key;
use super::processes::Known;
use super::story::{Done, End};
use crate::budget::{self, weigh};
use crate::engine;
use crate::errno::Errno;
use crate::input::{Actor, BootTime, HierarchyId, Incarnation, NamespaceId, Pid, Seq};
use crate::name::Name;
use crate::oci::RuntimeCommand;
use crate::recent::Recent;

/// Containers kept at most, of root and of all others.
const CONTAINERS: usize = 4_096;
/// Hierarchies that a container's cgroups are kept of: a kernel has a dozen.
const HIERARCHIES: usize = 64;
/// Refused removals that are kept of a container, the last ones.
const REFUSALS: usize = 8;

/// Where a runtime keeps the state of a container: a file, as the processes of a mount namespace see it.
#[derive(Clone, Debug)]
struct Keeps {
    namespace: NamespaceId,
    file: Name,
}

impl Keeps {
    /// `None` if it is not known where that is: without an absolute `--root`, a runtime decides by its environment.
    fn of(known: &Known, told: Option<&Name>) -> Option<Self> {
        let file = known.command.as_ref()?.state_file().or_else(|| told.cloned())?;
        Some(Self { namespace: known.mount_namespace?, file })
    }

    /// Whether a process looks for that state where it found, or did not find, one. `None` if that is not known.
    fn is_looked_for_by(&self, known: &Known, file: &Name) -> Option<bool> {
        Some(known.mount_namespace? == self.namespace && file.to_path() == self.file.to_path())
    }
}

/// A container's state was looked for after the end of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateSeen<'a> {
    pub seq: Seq,
    pub file: &'a Name,
    pub present: bool,
}

/// A container's own cgroup.
#[derive(Clone, Copy, Debug)]
struct Own {
    key: Key,
    /// What told that its last process has left it.
    emptied: Option<Seq>,
    /// Somebody was in it, as far as that was seen.
    was_populated: bool,
}

/// A removal that failed.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    cgroup: Key,
    pub errno: Errno,
    at: BootTime,
    pub actor: Actor,
}

/// A container's own cgroups that are left of those that its runtime made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    maker: (Pid, Incarnation),
    /// `None` if that cannot be told.
    keeps: Option<Keeps>,
    /// When the maker ended. `None` while it runs.
    maker_ended: Option<BootTime>,
    /// The last process that was asked to do something with the container and ended.
    ended: Option<(Pid, Incarnation, End)>,
    /// One a hierarchy.
    cgroups: Vec<Own>,
    /// Those of which it was told that something hurt.
    told: Vec<Key>,
    /// The hierarchies that others of them were removed from.
    removed: Vec<HierarchyId>,
    /// The first of each process.
    refused: Vec<Refusal>,
    /// The process that ended the container, once its state is gone.
    pub done: Option<Done>,
}

weigh! {
    Keeps: file;
    Own:;
    Refusal: actor;
    Made: keeps, cgroups, removed, told, refused, done;
}

impl Made {
    fn has(&self, cgroup: Key) -> bool {
        self.cgroups.iter().any(|own| own.key == cgroup)
    }

    /// Whether it was told of this one of them that something hurt.
    pub fn is_told(&self, cgroup: Key) -> bool {
        self.told.contains(&cgroup)
    }

    fn was_populated(&self, cgroup: Key) -> bool {
        self.cgroups.iter().any(|own| own.key == cgroup && own.was_populated)
    }

    /// The process that made them.
    pub fn maker(&self) -> (Pid, Incarnation) {
        self.maker
    }

    /// What tells that the last process has left this one of them.
    pub fn emptied(&self, cgroup: Key) -> Option<Seq> {
        self.cgroups.iter().find(|own| own.key == cgroup)?.emptied
    }

    /// The first removal of this one of them that failed when the container was torn down: a stranger's of before
    /// says nothing of that.
    pub fn refused(&self, cgroup: Key) -> Option<&Refusal> {
        let done = self.done.as_ref()?;
        let is_of_it = |refusal: &Refusal| refusal.at >= done.since || refusal.actor.is_same_process_as(&done.actor);
        self.refused.iter().find(|refusal| refusal.cgroup == cgroup && is_of_it(refusal))
    }

    /// Whether a removal of this one of them failed at all.
    pub fn was_ever_refused(&self, cgroup: Key) -> bool {
        self.refused.iter().any(|refusal| refusal.cgroup == cgroup)
    }

    /// From how many hierarchies it is gone that it has none left in.
    pub fn gone(&self) -> usize {
        let is_left = |hierarchy: &HierarchyId| self.cgroups.iter().any(|own| own.key.0 == *hierarchy);
        self.removed.iter().filter(|hierarchy| !is_left(hierarchy)).count()
    }

    /// It is gone from some hierarchies, and left in others.
    pub fn is_removed_in_part(&self) -> bool {
        self.gone() > 0
    }
}

/// The containers, by id. Anybody may run a program called `runc` with an id of root's.
#[derive(Debug)]
pub(crate) struct Makers {
    roots: Recent<Name, Made>,
    others: Recent<Name, Made>,
    /// The last cgroup that was removed, and its maker, if nobody had been in it and that one was not done.
    unused: Option<(Key, (Pid, Incarnation))>,
}

impl Default for Makers {
    fn default() -> Self {
        Self {
            roots: Recent::new(CONTAINERS, budget::MAKERS - budget::OTHERS_MAKERS),
            others: Recent::new(CONTAINERS, budget::OTHERS_MAKERS),
            unused: None,
        }
    }
}

impl Makers {
    /// What is left of a container, if this is a cgroup of its own.
    pub fn of(&self, container: &Name, cgroup: Key) -> Option<&Made> {
        let made = [&self.roots, &self.others].into_iter().filter_map(|part| part.get(container));
        made.into_iter().find(|made| made.has(cgroup))
    }

    /// Who had made the cgroup that was removed last, if nobody had ever been in it, and its maker was still making the
    /// container.
    pub fn maker_of_unused(&self, cgroup: Key) -> Option<(Pid, Incarnation)> {
        self.unused.filter(|(removed, _)| *removed == cgroup).map(|(_, maker)| maker)
    }

    /// Those that made room for others: nothing is told of them.
    pub fn evicted(&self) -> u64 {
        self.roots.evicted + self.others.evicted
    }

    /// Those that a user's processes make, and are done with.
    fn part(&mut self, uid: Option<u32>) -> &mut Recent<Name, Made> {
        if uid == Some(0) { &mut self.roots } else { &mut self.others }
    }

    fn change(&mut self, container: &Name, cgroup: Key, change: impl FnOnce(&mut Made)) {
        let is_its = |part: &Recent<Name, Made>| part.get(container).is_some_and(|made| made.has(cgroup));
        let part = if is_its(&self.roots) { &mut self.roots } else { &mut self.others };
        if is_its(part) {
            part.change(container, change);
            part.make_room();
        }
    }

    /// A process made a container's own cgroup; what was said of the container by it names that state file. Another
    /// maker than before begins another life of the container, and what is left of the one before is nobody's.
    pub fn made(&mut self, container: &Name, cgroup: Key, (pid, known): (Pid, &Known), state_file: Option<&Name>) {
        let which = (pid, known.incarnation);
        let own = Own { key: cgroup, emptied: None, was_populated: false };
        let part = self.part(known.uid);
        if let Some(made) = part.get(container).filter(|made| made.maker == which) {
            let is_new = made.cgroups.iter().all(|other| other.key.0 != cgroup.0);
            if is_new && made.cgroups.len() < HIERARCHIES {
                part.change(container, |made| made.cgroups.push(own));
                part.make_room();
            }
            return;
        }
        let made = Made {
            maker: which,
            keeps: Keeps::of(known, state_file),
            maker_ended: None,
            ended: None,
            cgroups: vec![own],
            told: Vec::new(),
            removed: Vec::new(),
            refused: Vec::new(),
            done: None,
        };
        part.tell(container.clone(), made);
    }

    /// A cgroup of a container was removed.
    pub fn removed(&mut self, container: &Name, cgroup: Key) {
        let made = self.of(container, cgroup).filter(|made| made.maker_ended.is_none());
        self.unused = made.filter(|made| !made.was_populated(cgroup)).map(|made| (cgroup, made.maker));
        if self.of(container, cgroup).is_some_and(|made| made.cgroups.len() == 1) {
            return self.forget(container, cgroup);
        }
        self.change(container, cgroup, |made| {
            made.cgroups.retain(|own| own.key != cgroup);
            made.told.retain(|told| *told != cgroup);
            made.refused.retain(|refusal| refusal.cgroup != cgroup);
            if !made.removed.contains(&cgroup.0) && made.removed.len() < HIERARCHIES {
                made.removed.push(cgroup.0);
            }
        });
    }

    /// A walk did not find these: they were removed unseen.
    pub fn vanished(&mut self, gone: &[Key]) {
        let gone: HashSet<Key> = gone.iter().copied().collect();
        let all = self.roots.in_order().chain(self.others.in_order());
        let own = all.flat_map(|(id, made)| made.cgroups.iter().map(move |cgroup| (id, cgroup.key)));
        let own: Vec<(Name, Key)> =
            own.filter(|(_, cgroup)| gone.contains(cgroup)).map(|(id, cgroup)| (id.clone(), cgroup)).collect();
        own.iter().for_each(|(id, cgroup)| self.removed(id, *cgroup));
    }

    fn forget(&mut self, container: &Name, cgroup: Key) {
        for part in [&mut self.roots, &mut self.others] {
            if part.get(container).is_some_and(|made| made.has(cgroup)) {
                part.take(container);
            }
        }
    }

    /// A removal of a cgroup of a container failed.
    pub fn refused(&mut self, container: &Name, cgroup: Key, errno: Errno, at: BootTime, actor: &Actor) {
        let is_known =
            |made: &Made| made.refused.iter().any(|one| one.cgroup == cgroup && one.actor.is_same_process_as(actor));
        if self.of(container, cgroup).is_none_or(is_known) {
            return;
        }
        // Who it was is enough.
        let actor = Actor { identity: None, ..actor.clone() };
        self.change(container, cgroup, |made| {
            if made.refused.len() >= REFUSALS {
                made.refused.remove(0);
            }
            made.refused.push(Refusal { cgroup, errno, at, actor });
        });
    }

    /// It was told of a cgroup of a container that something hurt.
    pub fn told(&mut self, container: &Name, cgroup: Key) {
        if self.of(container, cgroup).is_some_and(|made| !made.is_told(cgroup)) {
            self.change(container, cgroup, |made| made.told.push(cgroup));
        }
    }

    /// A process is in a cgroup of a container: whoever put it there has the container now.
    pub fn populated(&mut self, container: &Name, cgroup: Key) {
        let is_news =
            |made: &Made| made.done.is_some() || made.emptied(cgroup).is_some() || !made.was_populated(cgroup);
        if self.of(container, cgroup).is_some_and(is_news) {
            self.change(container, cgroup, |made| {
                made.done = None;
                for own in made.cgroups.iter_mut().filter(|own| own.key == cgroup) {
                    (own.emptied, own.was_populated) = (None, true);
                }
            });
        }
    }

    /// The last process has left a cgroup of a container.
    pub fn emptied(&mut self, container: &Name, cgroup: Key, seq: Seq) {
        self.change(container, cgroup, |made| {
            made.cgroups.iter_mut().filter(|own| own.key == cgroup).for_each(|own| own.emptied = Some(seq));
        });
    }

    /// Another container is in a cgroup as well: it is not for its maker alone to remove it.
    pub fn shared(&mut self, container: &Name, cgroup: Key) {
        self.forget(container, cgroup);
    }

    /// A process that was asked to do something with a container has ended.
    pub fn ended(&mut self, (pid, known): (Pid, &Known), end: End) {
        let Some(id) = known.command.as_ref().and_then(container) else { return };
        self.part(known.uid).change(&id, |made| {
            made.ended = Some((pid, known.incarnation, end));
            if made.maker == (pid, known.incarnation) {
                made.maker_ended = Some(end.at);
            }
        });
    }

    /// It was looked for a container's state after the end of a process. Returns the cgroups that are left, if the
    /// runtime is done with it.
    pub fn state_seen(
        &mut self,
        container: &Name,
        (pid, known): (Pid, &Known),
        seen: StateSeen,
    ) -> Option<(End, Vec<Key>)> {
        let part = self.part(known.uid);
        let made = part.get(container)?;
        let is_maker = made.maker == (pid, known.incarnation);
        let is_its = match is_maker {
            true => Some(true),
            false => made.keeps.as_ref().and_then(|keeps| keeps.is_looked_for_by(known, seen.file)),
        };
        if seen.present {
            // One that may be the container's says that it is there still.
            if is_its != Some(false) {
                part.change(container, |made| made.done = None);
            }
            return None;
        }
        let (_, _, end) = made.ended.filter(|(ended, which, _)| (*ended, *which) == (pid, known.incarnation))?;
        let command = known.command.as_ref()?;
        let began = known.began();
        // Whoever began before the maker was done may have looked before there was any state.
        let comes_after = || made.maker_ended.is_some_and(|ended| began.is_some_and(|began| ended <= began));
        let is_done = match is_maker {
            true => end.exit.is_some_and(|exit| !exit.is_success()),
            false => command.subcommand.as_deref() == Some("delete") && comes_after() && is_its == Some(true),
        };
        if !is_done {
            return None;
        }
        let cgroups = made.cgroups.iter().map(|own| own.key).collect();
        let since = began.filter(|_| !is_maker).unwrap_or(end.at);
        let done = Done { actor: known.as_actor(pid), end, since, state: seen.seq };
        part.change(container, |made| made.done = Some(done));
        part.make_room();
        Some((end, cgroups))
    }
}

/// The container that a command is about, as its cgroups are told of.
fn container(command: &RuntimeCommand) -> Option<Name> {
    let given = command.id.as_ref()?;
    Some(engine::buildah_id(given).unwrap_or_else(|| given.clone()))
}

impl RuntimeCommand {
    /// Whether it is about this container, by the id that its cgroups are told of with.
    pub fn is_about(&self, id: &Name) -> bool {
        container(self).is_some_and(|own| own == *id)
    }
}
