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
use crate::input::{BootTime, HierarchyId, Incarnation, NamespaceId, Pid};
use crate::name::Name;
use crate::oci::RuntimeCommand;
use crate::recent::Recent;

/// Containers kept at most.
const CONTAINERS: usize = 4_096;

/// Where a runtime keeps the state of its containers, as far as it can be told. A relative root may be anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Keeps {
    runtime: &'static str,
    root: Option<Name>,
    namespace: Option<NamespaceId>,
    uid: Option<u32>,
}

impl Keeps {
    fn of(known: &Known, command: &RuntimeCommand) -> Option<Self> {
        let is_relative = command.root.as_ref().is_some_and(|root| root.as_bytes().first() != Some(&b'/'));
        let (namespace, uid) = (known.mount_namespace, known.uid);
        (!is_relative).then(|| Self { runtime: command.runtime, root: command.root.clone(), namespace, uid })
    }
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
    cgroups: Vec<Key>,
    /// Those of which it was told that something hurt.
    told: Vec<Key>,
    /// The hierarchies that others of them were removed from.
    removed: Vec<HierarchyId>,
    /// Why the first removal of each failed, of those whose did.
    refused: Vec<(Key, Errno)>,
    /// Who was the last to have it, once that is done with it.
    pub done: Option<Done>,
}

weigh! {
    Keeps: root;
    Made: keeps, cgroups, removed, told, done;
}

impl Made {
    /// Whether it was told of this one of them that something hurt.
    pub fn is_told(&self, cgroup: Key) -> bool {
        self.told.contains(&cgroup)
    }

    /// Why the first removal of this one of them failed that did.
    pub fn refused(&self, cgroup: Key) -> Option<Errno> {
        self.refused.iter().find(|(own, _)| *own == cgroup).map(|(_, errno)| *errno)
    }

    /// From how many hierarchies it is gone that it has none left in.
    pub fn gone(&self) -> usize {
        let is_left = |hierarchy: &HierarchyId| self.cgroups.iter().any(|(own, _)| own == hierarchy);
        self.removed.iter().filter(|hierarchy| !is_left(hierarchy)).count()
    }

    /// It is gone from some hierarchies, and left in others.
    pub fn is_removed_in_part(&self) -> bool {
        self.gone() > 0
    }
}

/// The containers, by id.
#[derive(Debug)]
pub(crate) struct Makers(Recent<Name, Made>);

impl Default for Makers {
    fn default() -> Self {
        Self(Recent::new(CONTAINERS, budget::MAKERS))
    }
}

impl Makers {
    /// What is left of a container, if this is a cgroup of its own.
    pub fn of(&self, container: &Name, cgroup: Key) -> Option<&Made> {
        self.0.get(container).filter(|made| made.cgroups.contains(&cgroup))
    }

    /// Those that made room for others: nothing is told of them.
    pub fn evicted(&self) -> u64 {
        self.0.evicted
    }

    /// A process made a container's own cgroup. Another maker than before begins another life of the container, and
    /// what is left of the one before is nobody's.
    pub fn made(&mut self, container: &Name, cgroup: Key, maker: (Pid, &Known)) {
        let (pid, known) = maker;
        let Some(command) = &known.command else { return };
        let which = (pid, known.incarnation);
        if self.0.get(container).is_some_and(|made| made.maker == which) {
            return self.0.change(container, |made| made.cgroups.push(cgroup));
        }
        let made = Made {
            maker: which,
            keeps: Keeps::of(known, command),
            maker_ended: None,
            ended: None,
            cgroups: vec![cgroup],
            told: Vec::new(),
            removed: Vec::new(),
            refused: Vec::new(),
            done: None,
        };
        self.0.tell(container.clone(), made);
    }

    /// A cgroup of a container was removed.
    pub fn removed(&mut self, container: &Name, cgroup: Key) {
        let Some(made) = self.of(container, cgroup) else { return };
        if made.cgroups.len() == 1 {
            self.0.take(container);
            return;
        }
        self.0.change(container, |made| {
            made.cgroups.retain(|own| *own != cgroup);
            if !made.removed.contains(&cgroup.0) {
                made.removed.push(cgroup.0);
            }
        });
    }

    /// A walk did not find these: they were removed unseen.
    pub fn vanished(&mut self, gone: &[Key]) {
        let gone: HashSet<Key> = gone.iter().copied().collect();
        let own = self.0.in_order().flat_map(|(id, made)| made.cgroups.iter().map(move |cgroup| (id, *cgroup)));
        let own: Vec<(Name, Key)> =
            own.filter(|(_, cgroup)| gone.contains(cgroup)).map(|(id, cgroup)| (id.clone(), cgroup)).collect();
        own.iter().for_each(|(id, cgroup)| self.removed(id, *cgroup));
    }

    /// A removal of a cgroup of a container failed.
    pub fn refused(&mut self, container: &Name, cgroup: Key, errno: Errno) {
        if self.of(container, cgroup).is_some_and(|made| made.refused(cgroup).is_none()) {
            self.0.change(container, |made| made.refused.push((cgroup, errno)));
        }
    }

    /// It was told of a cgroup of a container that something hurt.
    pub fn told(&mut self, container: &Name, cgroup: Key) {
        if self.of(container, cgroup).is_some_and(|made| !made.is_told(cgroup)) {
            self.0.change(container, |made| made.told.push(cgroup));
        }
    }

    /// A process is in a cgroup of a container: whoever put it there has the container now.
    pub fn populated(&mut self, container: &Name, cgroup: Key) {
        if self.of(container, cgroup).is_some_and(|made| made.done.is_some()) {
            self.0.change(container, |made| made.done = None);
        }
    }

    /// Another container is in a cgroup as well: it is not for its maker alone to remove it.
    pub fn shared(&mut self, container: &Name, cgroup: Key) {
        if self.of(container, cgroup).is_some() {
            self.0.take(container);
        }
    }

    /// A process that was asked to do something with a container has ended.
    pub fn ended(&mut self, (pid, known): (Pid, &Known), end: End) {
        let Some(id) = known.command.as_ref().and_then(container) else { return };
        self.0.change(&id, |made| {
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
        present: bool,
    ) -> Option<(End, Vec<Key>)> {
        let made = self.0.get(container)?;
        if present {
            self.0.change(container, |made| made.done = None);
            return None;
        }
        let (_, _, end) = made.ended.filter(|(ended, which, _)| (*ended, *which) == (pid, known.incarnation))?;
        let is_maker = made.maker == (pid, known.incarnation);
        let command = known.command.as_ref()?;
        // Whoever began before the maker was done may have looked before there was any state.
        let comes_after = || made.maker_ended.is_some_and(|ended| known.began().is_some_and(|began| ended <= began));
        let has_its_root = || made.keeps.is_some() && made.keeps == Keeps::of(known, command);
        let is_done = match is_maker {
            true => end.exit.is_some_and(|exit| !exit.is_success()),
            false => command.subcommand.as_deref() == Some("delete") && comes_after() && has_its_root(),
        };
        if !is_done {
            return None;
        }
        let cgroups = made.cgroups.clone();
        let done = Done { actor: known.as_actor(pid), end };
        self.0.change(container, |made| made.done = Some(done));
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
