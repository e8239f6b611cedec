//! The cgroups that exist now, as one look at cgroupfs tells them: whose each is, what is in it, and what may be wrong
//! with it.
//!
//! A [`View`] is what was read of one hierarchy; [`Tree::new`] judges all views together. Pure: [`crate::cgroupfs`]
//! reads them, [`crate::records`] reads what else knows of containers, [`text`] prints. What one look cannot show is
//! not said: nobody knows when a cgroup became empty, or when one that is not released yet was removed.

mod judge;
pub mod text;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::container::Container;
use crate::findings::Certainty;
use crate::hierarchy::{Clock, Hierarchy, Setup};
use crate::input::{BootTime, Cgroup, CgroupId, ContainerFacts};
use crate::name::{Name, components};
use crate::schema::Lines;

/// Names of controllers. Most cgroups share theirs with others.
pub type Controllers = Arc<[String]>;

/// What the files of a cgroup's directory say. `None`: it could not be read, or this version of cgroups does not say
/// it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Whether there is a process in it or below it. v2 only.
    pub populated: Option<bool>,
    /// Processes in it.
    pub processes: Option<u64>,
    /// Whether all in it is frozen.
    pub frozen: Option<bool>,
    /// `cgroup.type`, if it is not `domain`. v2 only.
    pub kind: Option<String>,
    /// `cgroup.controllers`: those that act on it. v2 only.
    pub controllers: Option<Controllers>,
    /// `cgroup.subtree_control`: those that act on its children. v2 only.
    pub subtree_control: Option<Controllers>,
    /// `nr_dying_descendants` of `cgroup.stat`. v2 only.
    pub dying: Option<u64>,
    /// The user that the directory belongs to.
    pub uid: Option<u32>,
    /// It was there by then at the latest, in nanoseconds since 1970. The kernel keeps no time of its creation. A
    /// directory's times are those of its inode, which the kernel makes at the first look, and again after memory ran
    /// short.
    pub there_since: Option<i64>,
}

/// A cgroup in a [`View`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its parent's place in the view. `None` for the first one.
    pub parent: Option<usize>,
    /// The last name of its path.
    pub name: Name,
    /// Its id.
    pub id: CgroupId,
    /// What its files say.
    pub details: Details,
}

/// One hierarchy, as this process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Which.
    pub hierarchy: Hierarchy,
    /// The cgroup that is the root of the mount, as this process's cgroup namespace names it: `/` if all of it is
    /// mounted.
    pub root: Name,
    /// Whether that is the hierarchy's own root, and not one that a cgroup namespace or a mount begins at. `None` if
    /// that cannot be told.
    pub is_whole: Option<bool>,
    /// Cgroup namespaces are boundaries of delegation (the mount option `nsdelegate`).
    pub nsdelegate: bool,
    /// What was read, each after its parent. Empty if nothing could be.
    pub cgroups: Vec<Seen>,
    /// v1: cgroups that were removed, and that the kernel has not released.
    pub dying: Option<u64>,
    /// Directories that could not be read.
    pub unreadable: u64,
    /// Cgroups that were left out: their paths are too long, or there are too many.
    pub left_out: u64,
}

/// What else on this host knows of containers.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// Names under which runtimes and engines keep something of a container: a state, a bundle, a configuration, a
    /// shim.
    pub names: HashSet<Name>,
    /// All places that are known could be read.
    pub whole: bool,
    /// The host was booted with systemd.
    pub systemd: bool,
    /// What low-level runtimes say of their containers' cgroups.
    pub states: Vec<State>,
}

impl Records {
    /// Learns the arguments of a process that stays with a container, or that they could not be read.
    pub fn learn(&mut self, arguments: Option<&[Name]>) {
        let Some(arguments) = arguments else { return self.whole = false };
        let names = arguments.iter().flat_map(|argument| argument.as_bytes().split(|byte| matches!(byte, b'/' | b'=')));
        self.names.extend(names.filter(|name| !name.is_empty()).map(Name::new));
    }
}

/// A low-level runtime's state of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The container.
    pub id: Name,
    /// The runtime's name in the registry.
    pub runtime: &'static str,
    /// Its cgroup's path.
    pub path: Name,
}

/// The rule's name in [`Container::rule`] when a runtime's state named the cgroup.
pub const STATE_RULE: &str = "runtime-state";

/// A cgroup of a [`Tree`]: the number of its view, and its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// Which of [`Tree::views`].
    pub view: usize,
    /// Which of its cgroups.
    pub place: usize,
}

/// What was concluded of a cgroup.
#[derive(Clone, Debug, Default)]
struct Judged {
    container: Option<Arc<Container>>,
    helper: bool,
    populated: Option<bool>,
    /// In it and below it.
    processes: Option<u64>,
    missing: Vec<Missing>,
    /// Removed below it and below none of those that exist within it, and not released.
    lingering: Option<u64>,
    wrong: Vec<Wrong>,
}

/// A controller that does not act on a cgroup, although the hierarchy has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Missing {
    /// Which.
    pub controller: String,
    /// The cgroup whose `cgroup.subtree_control` does not enable it: there the chain breaks.
    pub not_enabled_in: Name,
}

words! {
    /// A kind of trouble, by the word of the finding that tracing makes of it.
    pub enum Trouble {
        /// A container's, empty, and nothing has a record of the container.
        LeakedCgroup = "leaked-cgroup",
        /// Left over, so that a new container had to take another name.
        StaleCgroup = "stale-cgroup",
        /// Removed, and not released by the kernel.
        LingeringCgroup = "lingering-cgroup",
    }
}

/// What may be wrong with a cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Wrong {
    /// What.
    pub kind: Trouble,
    /// One look is never enough to be certain.
    pub certainty: Certainty,
    /// What could not be seen.
    pub because: Vec<String>,
    /// In one sentence.
    pub summary: String,
    /// How many, of those that linger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// A cgroup, as JSON tells it. What is not known is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Row {
    /// Which.
    pub cgroup: Cgroup,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// It is a helper's beside a container, such as conmon's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub helper: bool,
    /// The innermost unit of systemd that its path names, where systemd runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Name>,
    /// The user that the directory belongs to: who is not root has been delegated it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// It was there by then at the latest, RFC 3339 in UTC. It may be older.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub there_since: Option<String>,
    /// There is a process in it or below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub populated: Option<bool>,
    /// Processes in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// Processes in it and below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subtree_processes: Option<u64>,
    /// All in it is frozen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen: Option<bool>,
    /// v2's `cgroup.type`, if it is not `domain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_type: Option<String>,
    /// v2: the controllers that act on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controllers: Option<Controllers>,
    /// v2: the controllers that it enables for its children.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subtree_control: Option<Controllers>,
    /// v2: the controllers of the hierarchy that do not act on it, and where the chain breaks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// v2: cgroups below it that were removed, and that the kernel has not released.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dying_descendants: Option<u64>,
    /// What may be wrong with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wrong: Vec<Wrong>,
}

/// The first line of JSON: the host, and how much of it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Heading {
    /// The version of cgtrace.
    pub tool: String,
    /// The host's name.
    pub host: Name,
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub arch: String,
    /// When it was looked, RFC 3339 in UTC.
    pub time: String,
    /// The layout of cgroupfs.
    pub setup: Setup,
    /// The host was booted with systemd.
    pub systemd: bool,
    /// All places that are known to hold records of containers could be read. If not, no cgroup is called leaked.
    pub records_complete: bool,
    /// What was seen of each hierarchy.
    pub hierarchies: Vec<Extent>,
}

/// How much was seen of a hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Extent {
    /// Which.
    #[serde(flatten)]
    pub hierarchy: Hierarchy,
    /// The cgroup that its mount begins at, if that is not `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Name>,
    /// `/` is the hierarchy's own root, and not one of a cgroup namespace or of a mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole: Option<bool>,
    /// The mount option of that name is set.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub nsdelegate: bool,
    /// Cgroups that exist.
    pub cgroups: u64,
    /// Cgroups that were removed, and that the kernel has not released.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dying: Option<u64>,
    /// Directories that could not be read.
    pub unreadable: u64,
    /// Cgroups that are not shown: their paths are too long, or there are too many.
    pub left_out: u64,
}

/// All cgroups, judged.
pub struct Tree {
    views: Vec<View>,
    judged: Vec<Vec<Judged>>,
    clock: Clock,
    now: BootTime,
    systemd: bool,
    records_complete: bool,
    /// What is said of containers, by their ids.
    facts: HashMap<Name, ContainerFacts>,
}

impl Tree {
    /// Judges what was read at `now`, by a clock that was read together with it.
    pub fn new(mut views: Vec<View>, records: &Records, clock: Clock, now: BootTime) -> Self {
        views.iter_mut().for_each(|view| judge::settle_times(view, clock.unix_ns(BootTime(0))));
        let judged = judge::all(&views, records, clock.unix_ns(now));
        let (systemd, records_complete) = (records.systemd, records.whole);
        Self { views, judged, clock, now, systemd, records_complete, facts: HashMap::new() }
    }

    /// What was read.
    pub fn views(&self) -> &[View] {
        &self.views
    }

    /// Every cgroup, each after its parent.
    pub fn all(&self) -> impl Iterator<Item = At> {
        let places = |(view, seen): (usize, &View)| (0..seen.cgroups.len()).map(move |place| At { view, place });
        self.views.iter().enumerate().flat_map(places)
    }

    fn seen(&self, at: At) -> &Seen {
        &self.views[at.view].cgroups[at.place]
    }

    fn judged(&self, at: At) -> &Judged {
        &self.judged[at.view][at.place]
    }

    fn parent(&self, at: At) -> Option<At> {
        self.seen(at).parent.map(|place| At { place, ..at })
    }

    /// The path from the hierarchy's root.
    pub fn path(&self, at: At) -> Name {
        self.views[at.view].path(at.place)
    }

    /// How many levels it is below the first of its view.
    pub fn depth(&self, at: At) -> usize {
        std::iter::successors(self.parent(at), |at| self.parent(*at)).count()
    }

    /// The cgroup in the words of all lines.
    pub fn cgroup(&self, at: At) -> Cgroup {
        let path = self.path(at);
        Cgroup {
            hierarchy: self.views[at.view].hierarchy.id,
            id: Some(self.seen(at).id),
            level: Some(components(path.as_bytes()).count() as u32),
            path,
            truncated: false,
        }
    }

    /// Whose it is, with what is said of that container.
    pub fn container(&self, at: At) -> Option<Container> {
        let mut container = Container::clone(self.judged(at).container.as_deref()?);
        if let Some(facts) = self.facts.get(&container.id) {
            let facts = facts.clone();
            container.name = facts.name.or(container.name);
            container.image = facts.image.or(container.image);
            container.pod = facts.pod.or(container.pod);
            container.namespace = facts.namespace.or(container.namespace);
        }
        Some(container)
    }

    /// The containers of some cgroups, each once, with the runtime whose naming scheme they follow.
    pub fn containers(&self, of: impl Fn(At) -> bool) -> Vec<(Name, String)> {
        let mut known = HashSet::new();
        let wanted = self.all().filter(|at| self.judged(*at).container.is_some() && of(*at));
        let containers = wanted.filter_map(|at| self.judged(at).container.as_deref());
        containers
            .filter(|container| known.insert(&container.id))
            .map(|container| (container.id.clone(), container.runtime.clone()))
            .collect()
    }

    /// Whether nothing may know a cgroup's container any more: nobody can say its name.
    pub fn is_leaked(&self, at: At) -> bool {
        self.wrong(at).iter().any(|wrong| wrong.kind == Trouble::LeakedCgroup)
    }

    /// Learns what is said of a container.
    pub fn learn(&mut self, facts: ContainerFacts) {
        self.facts.insert(facts.id.clone(), facts);
    }

    /// What may be wrong with a cgroup.
    pub fn wrong(&self, at: At) -> &[Wrong] {
        &self.judged(at).wrong
    }

    /// Takes back what a second look does not confirm. `look` reads a cgroup again, and gives `None` if it is gone; of
    /// the first cgroup of a v1 hierarchy, `dying` counts again what is not released.
    pub fn confirm(&mut self, look: impl Fn(&View, &Name) -> Option<Details>, dying: impl Fn(&View) -> Option<u64>) {
        for at in self.all().filter(|at| !self.wrong(*at).is_empty()).collect::<Vec<_>>() {
            let view = &self.views[at.view];
            let again = look(view, &view.path(at.place));
            let judged = &mut self.judged[at.view][at.place];
            let lingering = match view.hierarchy.version {
                1 => dying(view),
                _ => {
                    let (before, now) =
                        (view.cgroups[at.place].details.dying, again.as_ref().and_then(|again| again.dying));
                    // Those below what exists within it are looked at there.
                    let within = before.zip(judged.lingering).map(|(all, own)| all - own);
                    now.zip(within).map(|(now, within)| now.saturating_sub(within))
                }
            };
            let confirmed = |wrong| judge::confirmed(wrong, again.as_ref(), lingering);
            judged.wrong = std::mem::take(&mut judged.wrong).into_iter().filter_map(confirmed).collect();
        }
    }

    /// For how long it has been there at least. `None` for a hierarchy's root.
    fn age(&self, at: At) -> Option<std::time::Duration> {
        judge::age(self.seen(at), self.clock.unix_ns(self.now))
    }

    /// What JSON tells of a cgroup.
    pub fn row(&self, at: At) -> Row {
        let (seen, judged, cgroup) = (self.seen(at), self.judged(at), self.cgroup(at));
        let details = &seen.details;
        let since = details.there_since.filter(|_| seen.parent.is_some()).map(|unix_ns| {
            let at = i128::from(self.clock.boot_ns) + i128::from(unix_ns) - i128::from(self.clock.unix_ns);
            // Before this boot there was no cgroup.
            self.clock.rfc3339(BootTime(u64::try_from(at).unwrap_or(0)))
        });
        Row {
            unit: self.systemd.then(|| judge::unit(cgroup.path.as_bytes())).flatten(),
            cgroup,
            container: self.container(at),
            helper: judged.helper,
            uid: details.uid,
            there_since: since,
            populated: judged.populated,
            processes: details.processes,
            subtree_processes: judged.processes,
            frozen: details.frozen,
            cgroup_type: details.kind.clone(),
            controllers: details.controllers.clone(),
            subtree_control: details.subtree_control.clone(),
            missing: judged.missing.clone(),
            dying_descendants: details.dying,
            wrong: judged.wrong.clone(),
        }
    }

    /// The first line of JSON, of a host.
    pub fn heading(&self, host: Name, kernel: String, arch: String, setup: Setup) -> Heading {
        let extent = |view: &View| Extent {
            hierarchy: view.hierarchy.clone(),
            root: Some(view.root.clone()).filter(|root| *root != "/"),
            whole: view.is_whole,
            nsdelegate: view.nsdelegate,
            cgroups: view.cgroups.len() as u64,
            dying: view.dying_in_all(),
            unreadable: view.unreadable,
            left_out: view.left_out,
        };
        Heading {
            tool: concat!("cgtrace ", env!("CARGO_PKG_VERSION")).to_owned(),
            host,
            kernel,
            arch,
            time: self.clock.rfc3339(self.now),
            setup,
            systemd: self.systemd,
            records_complete: self.records_complete,
            hierarchies: self.views.iter().map(extent).collect(),
        }
    }
}

impl View {
    /// The path of a cgroup from the hierarchy's root.
    pub fn path(&self, place: usize) -> Name {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut next = &self.cgroups[place];
        while let Some(parent) = next.parent {
            names.push(next.name.as_bytes());
            next = &self.cgroups[parent];
        }
        let mut path = self.root.as_bytes().strip_suffix(b"/").unwrap_or(self.root.as_bytes()).to_vec();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        Name::new(if path.is_empty() { b"/".to_vec() } else { path })
    }

    /// Cgroups of the whole view that were removed, and that the kernel has not released.
    fn dying_in_all(&self) -> Option<u64> {
        self.dying.or_else(|| self.cgroups.first()?.details.dying)
    }
}

/// The schema of a line of `cgtrace tree --json`.
pub fn schema() -> Value {
    Lines::new()
        .with::<Heading>("tree", json!({}), &[])
        .with::<Row>("cgroup", json!({}), &[])
        .finish("a line of cgtrace tree --json", "Types and fields that are not known are to be passed over.")
}
