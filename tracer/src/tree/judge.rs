//! What one look at all cgroups says of each: whose it is, where the chain of controllers breaks, and what may be
//! wrong.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Details, Judged, Missing, Records, STATE_RULE, Seen, Trouble, View, Wrong};
use crate::container::{self, Container, LXC_RULE, Owner};
use crate::findings::Certainty;
use crate::name::{Name, components};

/// A younger cgroup may be one whose container is being made.
const GROWN: Duration = Duration::from_secs(10);

/// The naming schemes whose ids are the names under which something keeps a record of the container, in places that
/// [`crate::records`] knows. Of the others nothing is said.
const RECORDED: [&str; 11] = [
    "docker",
    "containerd",
    "cri-o",
    "nerdctl",
    "podman",
    "buildkit",
    "kubernetes",
    "runc",
    "crun",
    "lxc",
    "libvirt-lxc",
];

pub(super) fn all(views: &[View], records: &Records, now: i64) -> Vec<Vec<Judged>> {
    let states: HashMap<&Name, Arc<Container>> = records
        .states
        .iter()
        .map(|state| (&state.path, Arc::new(of_state(&state.id, state.runtime, &state.path))))
        .collect();
    let mut judged: Vec<Vec<Judged>> = views.iter().map(|view| describe(view, &states)).collect();
    // Of one container there are many cgroups on v1, and perhaps several of one hierarchy.
    let busy: HashSet<Name> = judged
        .iter()
        .flatten()
        .filter(|judged| judged.populated != Some(false))
        .filter_map(|judged| judged.container.as_ref())
        .flat_map(|container| container.chain.clone())
        .collect();
    for (view, judged) in views.iter().zip(&mut judged) {
        for place in 0..view.cgroups.len() {
            let wrong = leaked(view, place, &judged[place], records, &busy, now)
                .or_else(|| stale(view, place, judged, records))
                .into_iter()
                .chain(judged[place].lingering.filter(|count| *count > 0).map(lingering));
            judged[place].wrong = wrong.collect();
        }
    }
    judged
}

/// Makes the most of what is known of ages. A hierarchy gives its ids in ascending order and none twice
/// (`__kernfs_new_node`, since 5.5): a cgroup was there whenever one with a greater id was. Nothing was there before
/// the host was booted.
pub(super) fn settle_times(view: &mut View, boot: i64) {
    let mut cgroups: Vec<&mut Seen> = view.cgroups.iter_mut().collect();
    cgroups.sort_unstable_by_key(|seen| std::cmp::Reverse(seen.id));
    let mut earliest = None;
    for seen in cgroups {
        earliest = seen.details.there_since.into_iter().chain(earliest).min();
        seen.details.there_since = earliest.map(|since| since.max(boot));
    }
}

/// All that the files of a hierarchy say, and what follows from it.
fn describe(view: &View, states: &HashMap<&Name, Arc<Container>>) -> Vec<Judged> {
    let mut judged: Vec<Judged> = Vec::with_capacity(view.cgroups.len());
    for (place, seen) in view.cgroups.iter().enumerate() {
        let path = view.path(place);
        let around = seen.parent.map(|parent| &judged[parent]);
        let inherited = around.and_then(|around| around.container.clone());
        let (container, helper) = match container::owner(&path) {
            // A state tells what a path does not.
            Owner::Unknown => (states.get(&path).cloned().or(inherited), false),
            Owner::Helper => (None, true),
            Owner::Container(own) => match inherited {
                Some(around) if around.rule == STATE_RULE => (Some(Arc::new(own.within(&around))), false),
                Some(around) if *around == own => (Some(around), false),
                Some(_) | None => (Some(Arc::new(own)), false),
            },
        };
        let missing = seen.parent.map_or_else(Vec::new, |parent| missing(view, parent, seen, &judged[parent].missing));
        let (processes, populated) = (seen.details.processes, seen.details.populated);
        let lingering = seen.details.dying.or_else(|| view.dying.filter(|_| place == 0));
        judged.push(Judged { container, helper, populated, processes, missing, lingering, wrong: Vec::new() });
    }
    // From the leaves to the root.
    for place in (1..judged.len()).rev() {
        if let Some(parent) = view.cgroups[place].parent {
            let details = &view.cgroups[place].details;
            // The processes of a threaded cgroup are told by the one that its threads' domain is.
            let is_threaded = details.kind.as_deref().is_some_and(|kind| kind != "domain threaded");
            let processes = judged[place].processes.or(is_threaded.then_some(0));
            let dying = details.dying.unwrap_or(0);
            let parent = &mut judged[parent];
            parent.processes = parent.processes.zip(processes).map(|(own, below)| own + below);
            // They were not all read at once.
            parent.lingering = parent.lingering.map(|all| all.saturating_sub(dying));
        }
    }
    // v1 has no file that says it.
    for judged in judged.iter_mut().filter(|judged| judged.populated.is_none()) {
        judged.populated = judged.processes.map(|count| count > 0);
    }
    judged
}

fn of_state(id: &Name, runtime: &str, path: &Name) -> Container {
    Container {
        id: id.clone(),
        runtime: runtime.to_owned(),
        rule: STATE_RULE.to_owned(),
        chain: vec![id.clone()],
        name: None,
        image: None,
        pod: None,
        namespace: None,
        depths: vec![components(path.as_bytes()).count()],
    }
}

/// What acts on the parent and not on the child is lost between the two; what did not act on the parent is lost above
/// it.
fn missing(view: &View, parent: usize, seen: &Seen, above: &[Missing]) -> Vec<Missing> {
    let (Some(around), Some(own)) = (&view.cgroups[parent].details.controllers, &seen.details.controllers) else {
        return Vec::new();
    };
    let lost = around
        .iter()
        .filter(|controller| !own.contains(controller))
        .map(|controller| Missing { controller: controller.clone(), not_enabled_in: view.path(parent) });
    above.iter().cloned().chain(lost).collect()
}

/// For how long it has been there at least.
pub(super) fn age(seen: &Seen, now: i64) -> Option<Duration> {
    seen.parent?;
    u64::try_from(now.checked_sub(seen.details.there_since?)?).ok().map(Duration::from_nanos)
}

/// The innermost unit of systemd that a path names.
pub(super) fn unit(path: &[u8]) -> Option<Name> {
    let types = [".service", ".scope", ".slice", ".mount", ".socket", ".swap"];
    components(path).filter(|name| container::is_unit(name, &types)).last().map(Name::new)
}

/// A container's own cgroup, the outermost of the chain: what is within a container is known there, not on the host.
fn own_container<'a>(view: &View, place: usize, judged: &'a Judged) -> Option<&'a Container> {
    let container = judged.container.as_deref()?;
    let depth = components(view.path(place).as_bytes()).count();
    (container.chain.len() == 1 && container.depth() == depth).then_some(container)
}

fn leaked(
    view: &View,
    place: usize,
    judged: &Judged,
    records: &Records,
    busy: &HashSet<Name>,
    now: i64,
) -> Option<Wrong> {
    let seen = &view.cgroups[place];
    let container = own_container(view, place, judged)?;
    let path = view.path(place);
    // systemd removes what its units leave, and keeps what it keeps.
    let is_units = records.systemd && unit_is_inner(path.as_bytes());
    // Whoever is not root keeps records in places of their own.
    let is_roots = seen.details.uid == Some(0);
    let is_grown = age(seen, now).is_some_and(|age| age >= GROWN);
    let is_known = recorded_names(container).iter().any(|name| records.names.contains(name));
    let is_leaked = judged.populated == Some(false)
        && RECORDED.contains(&container.runtime.as_str())
        && container.rule != STATE_RULE
        && records.whole
        && is_roots
        && is_grown
        && !is_units
        && !busy.contains(&container.id)
        && !is_known;
    is_leaked.then(|| Wrong {
        kind: Trouble::LeakedCgroup,
        certainty: Certainty::Degraded,
        because: vec![
            "one look cannot tell for how long it has been empty".to_owned(),
            "a runtime that keeps its records in a place of its own was not asked".to_owned(),
        ],
        summary: format!(
            "may be leaked: it is empty, and nothing in the usual places of runtimes and engines names container {}",
            container.id.printable()
        ),
        count: None,
    })
}

/// Whether a path leads to or through a unit that holds processes: a service or a scope.
fn unit_is_inner(path: &[u8]) -> bool {
    components(path).any(|name| container::is_unit(name, &[".service", ".scope"]))
}

/// The names under which a container may be recorded: LXC puts a number behind one whose cgroup's name was taken.
fn recorded_names(container: &Container) -> Vec<Name> {
    let numbered = (container.rule == LXC_RULE).then(|| without_number(&container.id)).flatten();
    std::iter::once(container.id.clone()).chain(numbered).collect()
}

/// `web` of `web-1`.
fn without_number(name: &Name) -> Option<Name> {
    let (base, number) = name.to_str()?.rsplit_once('-')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !base.is_empty()).then(|| Name::from(base))
}

/// LXC's container `web` that runs in `web-1`, and is not called so: its own name was taken by what is still there, and
/// empty.
fn stale(view: &View, place: usize, judged: &[Judged], records: &Records) -> Option<Wrong> {
    let container = own_container(view, place, &judged[place]).filter(|container| container.rule == LXC_RULE)?;
    let is_left = records.whole && judged[place].populated == Some(false) && view.cgroups[place].details.uid == Some(0);
    if !is_left || !records.names.contains(&container.id) {
        return None;
    }
    let siblings = view.cgroups.iter().enumerate().filter(|(_, seen)| seen.parent == view.cgroups[place].parent);
    let runs_in =
        siblings.filter(|(sibling, _)| judged[*sibling].populated == Some(true)).find_map(|(sibling, _)| {
            let other = own_container(view, sibling, &judged[sibling])?;
            let is_its =
                without_number(&other.id).as_ref() == Some(&container.id) && !records.names.contains(&other.id);
            is_its.then(|| other.id.printable())
        })?;
    Some(Wrong {
        kind: Trouble::StaleCgroup,
        certainty: Certainty::Degraded,
        because: vec!["one look cannot tell who made which, and when".to_owned()],
        summary: format!(
            "may be left over: it is empty, and container {} runs in {runs_in}, as LXC does when the name is taken",
            container.id.printable()
        ),
        count: None,
    })
}

fn lingering(count: u64) -> Wrong {
    let (cgroups, were, them) = if count == 1 { ("cgroup", "was", "it") } else { ("cgroups", "were", "them") };
    Wrong {
        kind: Trouble::LingeringCgroup,
        certainty: Certainty::Degraded,
        because: vec!["one look cannot tell how long ago they were removed".to_owned()],
        summary: format!(
            "may linger: {count} {cgroups} below it {were} removed, and the kernel has not released {them}; \
             memory that is still charged to such a cgroup keeps it"
        ),
        count: Some(count),
    }
}

/// What is left of a claim after a second look at the cgroup, which is `None` if it is gone, and at what lingers.
pub(super) fn confirmed(wrong: Wrong, again: Option<&Details>, dying: Option<u64>) -> Option<Wrong> {
    let again = again?;
    match wrong.kind {
        Trouble::LeakedCgroup | Trouble::StaleCgroup => {
            let is_empty = again.processes == Some(0) && again.populated != Some(true);
            is_empty.then_some(wrong)
        }
        // Where cgroups are removed all the time there are always some on their way.
        Trouble::LingeringCgroup => {
            let is_still = wrong.count.is_some() && wrong.count == dying;
            is_still.then_some(wrong)
        }
    }
}

/// The controllers that act on a cgroup: v2's own, or the hierarchies that it is in.
pub(super) fn acting(view: &View, place: usize, names_version: bool) -> BTreeSet<String> {
    match view.hierarchy.version {
        1 => view
            .hierarchy
            .controllers
            .iter()
            .map(|name| name.strip_prefix("name=").unwrap_or(name).to_owned())
            .collect(),
        _ => {
            let own =
                view.cgroups[place].details.controllers.iter().flat_map(|controllers| controllers.iter().cloned());
            own.chain(names_version.then(|| "v2".to_owned())).collect()
        }
    }
}
