//! Every cgroup that is, and the ones that lately were.
//!
//! A cgroup that exists is keyed by hierarchy and id; its path is an attribute, with an index. A removed one leaves a
//! [`Removal`] behind, keyed by path, because that is all a later attempt on it can name.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::renamings::{Renaming, Renamings};
use crate::container::Container;
use crate::input::{Actor, BootTime, Cgroup, CgroupId, HierarchyId, Seq};
use crate::name::Name;

/// Removals kept at most; the oldest goes first.
const REMOVALS: usize = 65_536;
/// Entries of removals that were superseded, beside as many as there are removals, before they are dropped.
const SUPERSEDED: usize = 1_024;
/// How long a removal is kept.
const REMOVAL_AGE: Duration = Duration::from_secs(15 * 60);
/// Paths of its own that a cgroup is remembered by at most.
const FORMER: usize = 16;
/// Removed cgroups that the kernel has not released: kept at most, and how long.
const DYING: usize = 65_536;
const DYING_AGE: Duration = Duration::from_secs(60 * 60);
/// Cgroups kept at most. The kernel's own limit is far lower on any host in use; a tracer that loses removals is not.
const CGROUPS: usize = 1_048_576;

/// A cgroup that exists, as far as is known.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub path: Name,
    pub level: Option<u32>,
    /// `None` if it was there before tracing began, or its creation was lost.
    pub created: Option<Creation>,
    pub container: Option<Arc<Container>>,
    /// When it was last known to exist: it was made, or found by a walk.
    confirmed: BootTime,
    /// When its last process left it. `None` while it has some, or if it never had.
    pub emptied: Option<BootTime>,
    /// The places that it has had, or that the cgroups around it gave it: the last ones, before it was renamed.
    former: Vec<Place>,
}

/// A creation that was seen.
#[derive(Clone, Debug)]
pub(crate) struct Creation {
    pub seq: Seq,
    pub at: BootTime,
}

/// A removal that was seen.
#[derive(Clone, Debug)]
pub(crate) struct Removal {
    pub seq: Seq,
    pub at: BootTime,
    pub actor: Option<Actor>,
    /// What was removed.
    pub cgroup: Cgroup,
    pub created: Option<Creation>,
    pub container: Option<Arc<Container>>,
}

/// What became of a cgroup that somebody named by a path that it has no more, or did not have yet.
#[derive(Clone, Debug)]
pub(crate) struct Followed<'a> {
    /// The renaming that took the path from it, or gave it.
    pub renaming: &'a Renaming,
    /// Where it is, or was when it was removed.
    pub place: Place,
    /// `None` while it exists.
    pub removal: Option<&'a Removal>,
}

impl Followed<'_> {
    /// When its life under the path that it was named by was over.
    pub fn over(&self) -> BootTime {
        self.removal.map_or(self.renaming.at, |removal| removal.at.min(self.renaming.at))
    }
}

/// A cgroup that was removed and not yet released.
#[derive(Clone, Debug)]
pub(crate) struct Dying {
    pub since: BootTime,
    /// When its last process had left it.
    pub emptied: Option<BootTime>,
    pub container: Option<Arc<Container>>,
}

/// A path in a hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub hierarchy: HierarchyId,
    pub path: Name,
}

impl Place {
    pub fn of(cgroup: &Cgroup) -> Self {
        Self { hierarchy: cgroup.hierarchy, path: cgroup.path.clone() }
    }

    /// This place with `from` at its beginning, as whole components, replaced by `to`. `None` if it is elsewhere.
    pub fn moved(&self, from: &Name, to: &Name) -> Option<Self> {
        let rest = self.path.as_bytes().strip_prefix(from.as_bytes())?;
        let is_whole = rest.is_empty() || rest[0] == b'/';
        is_whole.then(|| Self { hierarchy: self.hierarchy, path: Name::new([to.as_bytes(), rest].concat()) })
    }

    /// The cgroup around this one; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let path = self.path.as_bytes();
        if path.len() <= 1 {
            return None;
        }
        let slash = path.iter().rposition(|byte| *byte == b'/')?;
        Some(Self { hierarchy: self.hierarchy, path: Name::new(&path[..slash.max(1)]) })
    }
}

/// The cgroups of all hierarchies.
#[derive(Debug, Default)]
pub(crate) struct Cgroups {
    live: HashMap<(HierarchyId, CgroupId), Live>,
    by_path: HashMap<Place, CgroupId>,
    dying: HashMap<(HierarchyId, CgroupId), Dying>,
    /// Boxed, because a table that has entries come and go keeps room for several times as many.
    removals: HashMap<Place, Box<Removal>>,
    /// Removals in the order they were seen, for eviction. A place that was removed again is in it twice.
    removal_order: VecDeque<(Seq, Place)>,
    renamings: Renamings,
    /// A removal or renaming before this may have been forgotten.
    forgotten_before: BootTime,
    /// Cgroups that were dropped because there were too many.
    pub evicted: u64,
}

impl Cgroups {
    pub fn get(&self, hierarchy: HierarchyId, id: CgroupId) -> Option<&Live> {
        self.live.get(&(hierarchy, id))
    }

    pub fn at_path(&self, place: &Place) -> Option<(CgroupId, &Live)> {
        let id = *self.by_path.get(place)?;
        Some((id, self.live.get(&(place.hierarchy, id))?))
    }

    pub fn removal(&self, place: &Place) -> Option<&Removal> {
        self.removals.get(place).map(Box::as_ref)
    }

    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// A cgroup came to be, or was found. A creation starts a new generation of its id; finding one that is known
    /// already changes nothing.
    pub fn appeared(
        &mut self,
        at: BootTime,
        cgroup: &Cgroup,
        created: Option<Creation>,
        container: Option<Arc<Container>>,
    ) {
        let Some(id) = cgroup.id else { return };
        let key = (cgroup.hierarchy, id);
        if created.is_none()
            && let Some(known) = self.live.get_mut(&key)
            && (known.path == cgroup.path || cgroup.truncated)
        {
            known.confirmed = known.confirmed.max(at);
            return;
        }
        if self.live.len() >= CGROUPS && !self.live.contains_key(&key) {
            self.evicted += 1;
            return;
        }
        self.forget(key);
        let live = Live {
            path: cgroup.path.clone(),
            level: cgroup.level,
            created,
            container,
            confirmed: at,
            emptied: None,
            former: Vec::new(),
        };
        if !cgroup.truncated {
            self.by_path.insert(Place::of(cgroup), id);
        }
        self.live.insert(key, live);
    }

    /// A cgroup was removed. One that was not known is remembered all the same. Returns when it had been made, if that was seen.
    pub fn removed(&mut self, seq: Seq, at: BootTime, cgroup: &Cgroup, actor: Option<Actor>) -> Option<BootTime> {
        let known = cgroup.id.and_then(|id| self.forget((cgroup.hierarchy, id)));
        if let Some(id) = cgroup.id
            && self.dying.len() < DYING
        {
            let (emptied, container) =
                known.as_ref().map(|live| (live.emptied, live.container.clone())).unwrap_or_default();
            self.dying.insert((cgroup.hierarchy, id), Dying { since: at, emptied, container });
        }
        let made = known.as_ref().and_then(|live| live.created.as_ref()).map(|created| created.at);
        if cgroup.truncated {
            return made;
        }
        let (created, container, former) =
            known.map(|live| (live.created, live.container, live.former)).unwrap_or_default();
        let place = Place::of(cgroup);
        let removal = Removal { seq, at, actor, cgroup: cgroup.clone(), created, container };
        if let Some(id) = cgroup.id.filter(|_| !former.is_empty()) {
            self.renamings.removed(id, &former, &removal);
        }
        self.removals.insert(place.clone(), Box::new(removal));
        self.removal_order.push_back((seq, place));
        while self.removals.len() > REMOVALS {
            self.forget_oldest_removal();
        }
        // A place that is removed over and over leaves an entry behind each time.
        if self.removal_order.len() > 2 * self.removals.len() + SUPERSEDED {
            let current = &self.removals;
            self.removal_order.retain(|(seq, place)| current.get(place).is_some_and(|removal| removal.seq == *seq));
        }
        made
    }

    /// The kernel let go of a removed cgroup.
    pub fn released(&mut self, cgroup: &Cgroup) -> Option<Dying> {
        self.dying.remove(&(cgroup.hierarchy, cgroup.id?))
    }

    /// A v1 cgroup has a new name, and so has every one below it.
    pub fn renamed(&mut self, seq: Seq, at: BootTime, cgroup: &Cgroup, actor: Option<Actor>) {
        let Some(id) = cgroup.id else { return };
        let hierarchy = cgroup.hierarchy;
        let Some(old) = self.live.get(&(hierarchy, id)).map(|live| live.path.clone()) else {
            return self.appeared(at, cgroup, None, None);
        };
        if old == cgroup.path {
            return;
        }
        let renaming = Renaming { seq, at, actor, from: Place { hierarchy, path: old }, to: cgroup.path.clone() };
        let place_of = |live: &Live| Place { hierarchy, path: live.path.clone() };
        let mut moved: Vec<(CgroupId, Place)> = self
            .live
            .iter()
            .filter(|((of, _), _)| *of == hierarchy)
            .filter_map(|((_, id), live)| Some((*id, renaming.forward(&place_of(live))?)))
            .collect();
        // What is told must not depend on the order of a table.
        moved.sort_by_key(|(id, _)| *id);
        // All leave their old paths before any takes its new one: that may be another's old one. A path leads to one of them, even
        // if two are known by it because a removal was lost.
        let (mut left, mut taken) = (Vec::with_capacity(moved.len()), Vec::with_capacity(moved.len()));
        for (id, place) in moved {
            let Some(live) = self.live.get_mut(&(hierarchy, id)) else { continue };
            let path = std::mem::replace(&mut live.path, place.path.clone());
            let before = Place { hierarchy, path };
            if self.by_path.get(&before) != Some(&id) {
                continue;
            }
            self.by_path.remove(&before);
            if live.former.len() >= FORMER {
                live.former.remove(0);
            }
            live.former.push(before.clone());
            left.push((id, before));
            taken.push((place, id));
        }
        self.by_path.extend(taken);
        let forgotten = self.renamings.add(renaming, left.into_iter());
        self.forgotten_before = self.forgotten_before.max(forgotten.unwrap_or_default());
    }

    /// What became of the cgroup that was once at `place` or, if there was none, of one that `place` became the path of after
    /// its end, by renaming a cgroup around it. Only where that is more recent than anything else known of the place.
    pub fn follow(&self, place: &Place) -> Option<Followed<'_>> {
        let removed_here = self.removal(place).map(|removal| removal.at);
        let is_news = |at: BootTime| removed_here.is_none_or(|removed| removed < at);
        if let Some(left) = self.renamings.left(place).filter(|left| is_news(left.renaming.at)) {
            let renaming = left.renaming.as_ref();
            let live = self.live.get(&(place.hierarchy, left.id)).filter(|live| live.former.contains(place));
            let place = match (&left.removal, live) {
                (Some(removal), _) => Place::of(&removal.cgroup),
                (None, Some(live)) => Place { hierarchy: place.hierarchy, path: live.path.clone() },
                // Its removal was lost.
                (None, None) => renaming.forward(place)?,
            };
            return Some(Followed { renaming, place, removal: left.removal.as_ref() });
        }
        // One that was removed before the cgroup around it was renamed.
        self.renamings.earlier(place).into_iter().find_map(|(renaming, place)| {
            let removal = self.removal(&place).filter(|removal| removal.at < renaming.at && is_news(removal.at))?;
            Some(Followed { renaming, place, removal: Some(removal) })
        })
    }

    /// Whether a cgroup at `place` may have been removed before a cgroup around it was renamed: at its path of then another
    /// one was removed since, and only the last removal of a path is remembered.
    pub fn is_past_unclear(&self, place: &Place) -> bool {
        self.renamings
            .earlier(place)
            .into_iter()
            .any(|(renaming, place)| self.removal(&place).is_some_and(|removal| removal.at > renaming.at))
    }

    /// The container of a cgroup became known after its creation.
    pub fn set_container(&mut self, hierarchy: HierarchyId, id: CgroupId, container: Arc<Container>) {
        if let Some(live) = self.live.get_mut(&(hierarchy, id)) {
            live.container = Some(container);
        }
    }

    /// Since when a cgroup at `place` could not have come and gone unseen: the time at which a cgroup around it was
    /// itself created under our eyes. `None` if all around it is older than the trace, or if what was removed since
    /// may have been forgotten.
    pub fn covered_since(&self, place: &Place) -> Option<BootTime> {
        let mut around = place.parent();
        while let Some(place) = around {
            let created = match self.at_path(&place) {
                Some((_, live)) => live.created.as_ref(),
                None => self.removals.get(&place).and_then(|removal| removal.created.as_ref()),
            };
            if let Some(created) = created {
                return (created.at >= self.forgotten_before).then_some(created.at);
            }
            around = place.parent();
        }
        None
    }

    /// Whether a removal at or after `since` may have been forgotten.
    pub fn remembers_since(&self, since: BootTime) -> bool {
        since >= self.forgotten_before
    }

    /// Forgets what a walk that began at `began` did not find: it went unseen. Returns how many they were.
    pub fn forget_unconfirmed(&mut self, began: BootTime, hierarchies: &[HierarchyId]) -> usize {
        let gone: Vec<(HierarchyId, CgroupId)> = self
            .live
            .iter()
            .filter(|((hierarchy, _), live)| hierarchies.contains(hierarchy) && live.confirmed < began)
            .map(|(key, _)| *key)
            .collect();
        gone.iter().for_each(|key| drop(self.forget(*key)));
        gone.len()
    }

    /// How many of the cgroups that a walk found are not known, and how many known ones it did not find.
    pub fn differences(&self, found: &[Cgroup], hierarchies: &[HierarchyId]) -> u64 {
        let found: HashSet<(HierarchyId, CgroupId)> =
            found.iter().filter_map(|cgroup| Some((cgroup.hierarchy, cgroup.id?))).collect();
        let unknown = found.iter().filter(|key| !self.live.contains_key(*key)).count();
        let gone = self.live.keys().filter(|key| hierarchies.contains(&key.0) && !found.contains(*key)).count();
        (unknown + gone) as u64
    }

    /// Removed cgroups that the kernel has not released, as far as is known.
    pub fn dying(&self) -> usize {
        self.dying.len()
    }

    /// A cgroup was emptied, or populated.
    pub fn populated(&mut self, cgroup: &Cgroup, emptied: Option<BootTime>) {
        if let Some(live) = cgroup.id.and_then(|id| self.live.get_mut(&(cgroup.hierarchy, id))) {
            live.emptied = emptied;
        }
    }

    /// All that exist, in the order of hierarchy and path: a cgroup comes after the one around it.
    pub fn all(&self) -> Vec<Cgroup> {
        let mut all: Vec<Cgroup> = self
            .live
            .iter()
            .map(|((hierarchy, id), live)| Cgroup {
                hierarchy: *hierarchy,
                id: Some(*id),
                path: live.path.clone(),
                level: live.level,
                truncated: false,
            })
            .collect();
        all.sort_by(|a, b| (a.hierarchy, &a.path, a.id).cmp(&(b.hierarchy, &b.path, b.id)));
        all
    }

    /// Drops removals that are too old.
    pub fn sweep(&mut self, now: BootTime) {
        self.dying.retain(|_, dying| now.since(dying.since) <= DYING_AGE);
        let forgotten = self.renamings.sweep(now, REMOVAL_AGE);
        self.forgotten_before = self.forgotten_before.max(forgotten.unwrap_or_default());
        while let Some((seq, place)) = self.removal_order.front() {
            let superseded = self.removals.get(place).is_none_or(|removal| removal.seq != *seq);
            let old = self.removals.get(place).is_some_and(|removal| now.since(removal.at) > REMOVAL_AGE);
            if !superseded && !old {
                break;
            }
            self.forget_oldest_removal();
        }
    }

    fn forget_oldest_removal(&mut self) {
        let Some((seq, place)) = self.removal_order.pop_front() else { return };
        if self.removals.get(&place).is_some_and(|removal| removal.seq == seq)
            && let Some(removal) = self.removals.remove(&place)
        {
            self.forgotten_before = self.forgotten_before.max(removal.at);
        }
    }

    fn forget(&mut self, key: (HierarchyId, CgroupId)) -> Option<Live> {
        let live = self.live.remove(&key)?;
        let place = Place { hierarchy: key.0, path: live.path.clone() };
        if self.by_path.get(&place) == Some(&key.1) {
            self.by_path.remove(&place);
        }
        Some(live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup(id: u64, path: &str) -> Cgroup {
        Cgroup {
            hierarchy: HierarchyId(0),
            id: Some(CgroupId(id)),
            path: path.into(),
            level: Some(1),
            truncated: false,
        }
    }

    fn place(path: &str) -> Place {
        Place { hierarchy: HierarchyId(0), path: path.into() }
    }

    fn creation(at: u64) -> Option<Creation> {
        Some(Creation { seq: Seq(at), at: BootTime(at) })
    }

    #[test]
    fn an_id_that_is_reused_starts_a_new_generation() {
        let mut cgroups = Cgroups::default();
        cgroups.appeared(BootTime(0), &cgroup(7, "/old"), creation(1), None);
        cgroups.appeared(BootTime(0), &cgroup(7, "/new"), creation(2), None);
        assert!(cgroups.at_path(&place("/old")).is_none(), "its removal was lost; the id tells that it is gone");
        assert_eq!(cgroups.at_path(&place("/new")).map(|(id, _)| id), Some(CgroupId(7)));
    }

    #[test]
    fn the_walk_does_not_overwrite_a_creation_that_was_seen() {
        let mut cgroups = Cgroups::default();
        cgroups.appeared(BootTime(0), &cgroup(7, "/a"), creation(5), None);
        cgroups.appeared(BootTime(0), &cgroup(7, "/a"), None, None);
        assert!(cgroups.get(HierarchyId(0), CgroupId(7)).is_some_and(|live| live.created.is_some()));
    }

    #[test]
    fn a_place_is_covered_when_something_around_it_was_made_under_our_eyes() {
        let mut cgroups = Cgroups::default();
        cgroups.appeared(BootTime(0), &cgroup(1, "/old"), None, None);
        cgroups.appeared(BootTime(0), &cgroup(2, "/old/new"), creation(9), None);
        assert_eq!(cgroups.covered_since(&place("/old/never")), None);
        assert_eq!(cgroups.covered_since(&place("/old/new/a/b")), Some(BootTime(9)));
        cgroups.removed(Seq(10), BootTime(10), &cgroup(2, "/old/new"), None);
        assert_eq!(cgroups.covered_since(&place("/old/new/a/b")), Some(BootTime(9)), "also when it is gone again");
    }

    #[test]
    fn what_may_have_been_forgotten_covers_nothing() {
        let mut cgroups = Cgroups::default();
        cgroups.appeared(BootTime(0), &cgroup(2, "/new"), creation(9), None);
        cgroups.removed(Seq(10), BootTime(10), &cgroup(3, "/other"), None);
        cgroups.sweep(BootTime(10) + REMOVAL_AGE + Duration::from_secs(1));
        assert_eq!(cgroups.covered_since(&place("/new/a")), None);
    }

    #[test]
    fn removals_are_bounded_and_the_oldest_goes_first() {
        let mut cgroups = Cgroups::default();
        for number in 0..REMOVALS as u64 + 10 {
            cgroups.removed(Seq(number), BootTime(number), &cgroup(number, &format!("/{number}")), None);
        }
        assert_eq!(cgroups.removals.len(), REMOVALS);
        assert!(cgroups.removal(&place("/9")).is_none());
        assert!(cgroups.removal(&place("/10")).is_some());
        assert!(!cgroups.remembers_since(BootTime(8)));
    }

    #[test]
    fn a_place_that_is_removed_over_and_over_takes_no_more_room() {
        let mut cgroups = Cgroups::default();
        cgroups.removed(Seq(1), BootTime(1), &cgroup(1, "/once"), None);
        for number in 2..5 * REMOVALS as u64 {
            cgroups.removed(Seq(number), BootTime(number), &cgroup(number, "/again"), None);
            cgroups.released(&cgroup(number, "/again"));
        }
        assert!(cgroups.removal_order.len() <= SUPERSEDED + 5);
        assert_eq!(cgroups.removals.len(), 2);
        assert!(cgroups.remembers_since(BootTime(1)));
    }

    #[test]
    fn what_a_later_walk_does_not_find_is_gone() {
        let mut cgroups = Cgroups::default();
        cgroups.appeared(BootTime(1), &cgroup(1, "/stays"), None, None);
        cgroups.appeared(BootTime(1), &cgroup(2, "/went"), creation(1), None);
        let found = [cgroup(1, "/stays"), cgroup(3, "/came")];
        assert_eq!(cgroups.differences(&found, &[HierarchyId(0)]), 2);
        found.iter().for_each(|found| cgroups.appeared(BootTime(10), found, None, None));
        // Made while it was walked, behind its back.
        cgroups.appeared(BootTime(11), &cgroup(4, "/new"), creation(11), None);
        assert_eq!(cgroups.forget_unconfirmed(BootTime(10), &[HierarchyId(1)]), 0);
        assert_eq!(cgroups.forget_unconfirmed(BootTime(10), &[HierarchyId(0)]), 1);
        assert!(cgroups.at_path(&place("/went")).is_none() && cgroups.at_path(&place("/new")).is_some());
        assert_eq!(cgroups.len(), 3);
    }

    #[test]
    fn a_rename_moves_all_below() {
        let mut cgroups = Cgroups::default();
        cgroups.appeared(BootTime(0), &cgroup(1, "/a"), None, None);
        cgroups.appeared(BootTime(0), &cgroup(2, "/a/b"), None, None);
        cgroups.appeared(BootTime(0), &cgroup(3, "/ab"), None, None);
        cgroups.renamed(Seq(1), BootTime(0), &cgroup(1, "/z"), None);
        assert_eq!(cgroups.at_path(&place("/z/b")).map(|(id, _)| id), Some(CgroupId(2)));
        assert_eq!(cgroups.at_path(&place("/ab")).map(|(id, _)| id), Some(CgroupId(3)));
        assert!(cgroups.at_path(&place("/a")).is_none());
    }

    #[test]
    fn of_two_that_are_known_by_one_path_the_one_that_it_leads_to_is_found_after_a_rename() {
        // The order of a table differs from one to the next.
        for _ in 0..16 {
            let mut cgroups = Cgroups::default();
            cgroups.appeared(BootTime(0), &cgroup(1, "/a"), None, None);
            for id in [3, 2] {
                cgroups.appeared(BootTime(0), &cgroup(id, "/a/b"), None, None);
            }
            cgroups.renamed(Seq(1), BootTime(0), &cgroup(1, "/z"), None);
            assert_eq!(cgroups.at_path(&place("/z/b")).map(|(id, _)| id), Some(CgroupId(2)));
        }
    }

    #[test]
    fn the_parent_of_a_first_level_cgroup_is_the_root_which_has_none() {
        assert_eq!(place("/a").parent(), Some(place("/")));
        assert_eq!(place("/a/b").parent(), Some(place("/a")));
        assert_eq!(place("/").parent(), None);
    }
}
