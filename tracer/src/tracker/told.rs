//! What bundles, states and engines say of containers, and who said it.
//!
//! Anybody may run a program called `runc` with a bundle of its own. What root's runtimes say, and what lies where only
//! root writes, is believed of any container; what another user's process leads to is believed only of what that user
//! does.

use std::time::Duration;

use crate::budget::{self, weigh};
use crate::engine;
use crate::input::{BootTime, ContainerFacts};
use crate::machine;
use crate::name::Name;
use crate::recent::Recent;

/// Containers that something is known of at most; the one that was told of longest ago goes first.
const CONTAINERS: usize = 16_384;

/// What was said so long ago is dropped, unless the container is there.
const IDLE: Duration = Duration::from_secs(24 * 60 * 60);

/// All that is known.
#[derive(Debug)]
pub(crate) struct Told(Recent<Name, Sources>);

/// Of one id.
#[derive(Clone, Debug, Default)]
struct Sources {
    root: Option<ContainerFacts>,
    /// The last other user who said something.
    other: Option<ContainerFacts>,
    /// When something was last said, or when the container was last known to be there.
    at: BootTime,
}

weigh! { Sources: root, other; }

impl Told {
    pub fn new() -> Self {
        Self(Recent::new(CONTAINERS, budget::CONTAINERS))
    }

    /// Containers that made room for others.
    pub fn evicted(&self) -> u64 {
        self.0.evicted
    }

    /// Adds what was said of a container. What is said of one that is being made holds for that one alone: there may
    /// have been another of its id.
    pub fn learn(&mut self, at: BootTime, said: &ContainerFacts, is_new: bool) {
        let id = engine::buildah_id(&said.id).unwrap_or_else(|| said.id.clone());
        let mut sources = self.0.take(&id).unwrap_or_default();
        sources.at = sources.at.max(at);
        if is_root(said) {
            match &mut sources.root {
                Some(known) if !is_new && may_be_same(known, said) => merge(known, said),
                Some(_) | None => sources.root = Some(said.clone()),
            }
        } else {
            match sources.other.as_mut().filter(|known| known.uid == said.uid) {
                Some(known) if !is_new && may_be_same(known, said) => merge(known, said),
                Some(_) | None => sources.other = Some(said.clone()),
            }
        }
        self.0.tell(id, sources);
    }

    /// What is known of a container that this user does something to; `None` for a user that is not known.
    pub fn of(&self, id: &Name, uid: Option<u32>) -> Option<&ContainerFacts> {
        self.of_one(id, uid, |_| true)
    }

    /// Of those of an id the one that this is: another's may be known as well.
    pub fn of_one(
        &self,
        id: &Name,
        uid: Option<u32>,
        is_it: impl Fn(&ContainerFacts) -> bool,
    ) -> Option<&ContainerFacts> {
        let sources = self.0.get(id)?;
        let own = sources.other.as_ref().filter(|said| said.uid == uid);
        sources.root.iter().chain(own).find(|said| is_it(said))
    }

    /// Whether anything was said of a container, by anybody.
    pub fn has(&self, id: &Name) -> bool {
        self.0.get(id).is_some()
    }

    /// All that was said and when, what was said longest ago first.
    pub fn all(&self) -> impl Iterator<Item = (BootTime, &ContainerFacts)> {
        self.0
            .in_order()
            .flat_map(|(_, sources)| sources.root.iter().chain(&sources.other).map(|facts| (sources.at, facts)))
    }

    /// Drops what was said long ago of containers that are not there any more.
    pub fn sweep(&mut self, now: BootTime, mut is_there: impl FnMut(&Name) -> bool) {
        self.0.retire(
            |sources| now.since(sources.at) > IDLE,
            |id, sources| {
                sources.at = now;
                is_there(id)
            },
        );
    }
}

/// Whether only root can have said so. A trace that does not tell who did is believed.
fn is_root(said: &ContainerFacts) -> bool {
    said.uid.is_none_or(|uid| uid == 0)
}

/// Whether two of the same id may be one: not a machine and a container, nor two with different cgroups.
fn may_be_same(one: &ContainerFacts, other: &ContainerFacts) -> bool {
    let is_machine = |facts: &ContainerFacts| machine::is_of_machines(&facts.runtime);
    let paths = one.cgroups_path.as_ref().zip(other.cgroups_path.as_ref());
    is_machine(one) == is_machine(other) && paths.is_none_or(|(one, other)| one == other)
}

fn merge(known: &mut ContainerFacts, said: &ContainerFacts) {
    let ContainerFacts {
        id: _,
        runtime,
        engine,
        pid,
        uid,
        source,
        cgroups_path,
        state_file,
        name,
        image,
        pod,
        namespace,
    } = said.clone();
    known.runtime = runtime;
    known.engine = engine.or(known.engine.take());
    known.pid = pid;
    known.uid = uid;
    known.source = source;
    known.cgroups_path = cgroups_path.or(known.cgroups_path.take());
    known.state_file = state_file.or(known.state_file.take());
    known.name = name.or(known.name.take());
    known.image = image.or(known.image.take());
    known.pod = pod.or(known.pod.take());
    known.namespace = namespace.or(known.namespace.take());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(uid: Option<u32>, name: &str) -> ContainerFacts {
        let facts = ContainerFacts::new("web".into(), "runc", "/b/config.json".into());
        ContainerFacts { uid, name: Some(name.into()), ..facts }
    }

    fn name_for(told: &Told, uid: Option<u32>) -> Option<String> {
        told.of(&"web".into(), uid)?.name.as_ref().map(Name::to_string)
    }

    #[test]
    fn a_stranger_neither_displaces_nor_adds_to_what_root_said() {
        let mut told = Told::new();
        told.learn(BootTime(1), &ContainerFacts { image: Some("good".into()), ..said(Some(0), "true") }, false);
        told.learn(BootTime(1), &ContainerFacts { pod: Some("evil".into()), ..said(Some(1000), "false") }, false);
        for uid in [None, Some(0), Some(1000)] {
            assert_eq!(name_for(&told, uid).as_deref(), Some("true"), "{uid:?}");
        }
        assert_eq!(told.of(&"web".into(), Some(1000)).and_then(|facts| facts.pod.clone()), None);
    }

    #[test]
    fn what_a_user_says_is_believed_of_what_that_user_does() {
        let mut told = Told::new();
        told.learn(BootTime(1), &said(Some(1000), "own"), false);
        assert_eq!(name_for(&told, Some(1000)).as_deref(), Some("own"));
        assert_eq!((name_for(&told, Some(1001)), name_for(&told, Some(0)), name_for(&told, None)), (None, None, None));
        told.learn(BootTime(1), &said(None, "on disk"), false);
        assert_eq!(name_for(&told, Some(1000)).as_deref(), Some("on disk"));
    }

    #[test]
    fn another_of_the_same_id_takes_nothing_over() {
        let name = |later: ContainerFacts, is_new| {
            let mut told = Told::new();
            let first = ContainerFacts { cgroups_path: Some("/a/web".into()), ..said(Some(0), "first") };
            told.learn(BootTime(1), &first, false);
            told.learn(BootTime(2), &later, is_new);
            name_for(&told, None)
        };
        let later = || ContainerFacts { name: None, pod: Some("shop".into()), ..said(Some(0), "") };
        assert_eq!(name(later(), false).as_deref(), Some("first"), "more of the same");
        assert_eq!(name(later(), true), None, "it was made anew");
        assert_eq!(name(ContainerFacts { cgroups_path: Some("/b/web".into()), ..later() }, false), None);
        assert_eq!(name(ContainerFacts { runtime: "lxc".to_owned(), ..later() }, false), None);
    }

    #[test]
    fn a_million_containers_leave_the_last_ones_known() {
        let mut told = Told::new();
        for number in 0..100_000 {
            let id: Name = format!("c{number}").as_str().into();
            told.learn(BootTime(1), &ContainerFacts { id, ..said(Some(0), "x") }, false);
        }
        assert!(told.of(&"c99999".into(), None).is_some() && told.of(&"c0".into(), None).is_none());
        assert_eq!(told.all().count() as u64 + told.evicted(), 100_000);
        assert!(told.all().count() > 2_000 && told.0.bytes() <= budget::CONTAINERS, "{}", told.all().count());
    }
}
