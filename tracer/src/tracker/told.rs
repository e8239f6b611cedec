//! What bundles, states and engines say of containers, and who said it.
//!
//! Anybody may run a program called `runc` with a bundle of its own. What root's runtimes say, and what lies where only
//! root writes, is believed of any container; what another user's process leads to is believed only of what that user
//! does.

use std::time::Duration;

use crate::budget::{self, weigh};
use crate::engine;
use crate::input::{BootTime, ContainerFacts, Pid};
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
    root: Option<Said>,
    /// The last other user who said something.
    other: Option<Said>,
    /// The state of the last one was seen to be gone.
    is_over: bool,
    /// When something was last said, or when the container was last known to be there.
    at: BootTime,
}

/// What one of them says.
#[derive(Clone, Debug)]
struct Said {
    facts: ContainerFacts,
    /// What was said of the container that was there before this one was to be made: it holds if that comes to nothing.
    before: Option<Box<ContainerFacts>>,
    /// Another one was known by its id, and this one is yet to be made: cgroups may bear the name of the first.
    is_another: bool,
}

weigh! {
    Said: facts, before;
    Sources: root, other;
}

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
        let source = if is_root(said) {
            &mut sources.root
        } else {
            sources.other = sources.other.take().filter(|known| known.facts.uid == said.uid);
            &mut sources.other
        };
        match source {
            Some(known) if !is_new && may_be_same(&known.facts, said) => merge(&mut known.facts, said),
            Some(known) if is_new && known.facts.pid == said.pid => known.facts = said.clone(),
            Some(_) | None => {
                let known = source.take().filter(|_| is_new);
                let is_another = known.is_some();
                let known = known.filter(|_| !sources.is_over);
                let before = known.map(|known| known.before.unwrap_or_else(|| Box::new(known.facts)));
                *source = Some(Said { facts: said.clone(), before, is_another });
            }
        }
        sources.is_over &= !is_new;
        self.0.tell(id, sources);
    }

    /// A process was to make a container, and did, or did not, and the state of the one before is still there. Returns
    /// whether that changes what is known of the one that is there.
    pub fn settled(&mut self, id: &Name, maker: Pid, is_made: bool) -> bool {
        let mut changes = false;
        self.0.change(id, |sources| {
            let both = sources.root.iter_mut().chain(&mut sources.other);
            for said in both.filter(|said| said.facts.pid == Some(maker)) {
                let before = said.before.take();
                if is_made {
                    changes |= std::mem::take(&mut said.is_another);
                } else if let Some(before) = before {
                    said.facts = *before;
                    changes = true;
                }
            }
        });
        changes
    }

    /// The state of a container is gone: it is over, and whoever is made by its id is another one.
    pub fn over(&mut self, id: &Name) {
        self.0.change(id, |sources| sources.is_over = true);
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
        let own = sources.other.as_ref().filter(|said| said.facts.uid == uid);
        sources.root.iter().chain(own).map(|said| &said.facts).find(|facts| is_it(facts))
    }

    /// Whether anything was said of a container, by anybody.
    pub fn has(&self, id: &Name) -> bool {
        self.0.get(id).is_some()
    }

    /// All that was said and when, what was said longest ago first.
    pub fn all(&self) -> impl Iterator<Item = (BootTime, &ContainerFacts)> {
        self.0
            .in_order()
            .flat_map(|(_, sources)| sources.root.iter().chain(&sources.other).map(|said| (sources.at, &said.facts)))
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
    fn what_was_known_holds_if_another_is_not_made_after_all() {
        let by = |pid, name: &str| ContainerFacts { pid: Some(Pid(pid)), ..said(Some(0), name) };
        let mut told = Told::new();
        let id = "web".into();
        told.learn(BootTime(1), &by(1, "first"), true);
        assert!(!told.settled(&id, Pid(1), true), "there was none before");
        for (pid, name) in [(2, "second"), (2, "second again"), (3, "third")] {
            told.learn(BootTime(2), &by(pid, name), true);
        }
        assert!(!told.settled(&id, Pid(2), false), "another is to be made by now");
        assert!(told.settled(&id, Pid(3), false) && !told.settled(&id, Pid(3), false));
        assert_eq!(name_for(&told, None).as_deref(), Some("first"));
        told.over(&id);
        told.learn(BootTime(3), &by(4, "fourth"), true);
        assert!(!told.settled(&id, Pid(4), false), "the first was over");
        assert_eq!(name_for(&told, None).as_deref(), Some("fourth"));
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
