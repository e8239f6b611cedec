//! Every cgroup that is, and the ones that lately were.
//!
//! A cgroup that exists is keyed by hierarchy and id; its path is an attribute, with an index. A removed one leaves a
//! [`Removal`] behind, keyed by path, because that is all a later attempt on it can name.

use std::collections::{BTreeSet, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;

use super::place::{Creation, Existing, Place, Removal};
use super::renamings::{Renaming, Renamings};
use crate::budget::{self, Scale, Table, slot, weigh};
use crate::container::Container;
use crate::input::{Actor, BootTime, Cgroup, CgroupId, HierarchyId, Seq};
use crate::name::Name;
use crate::recent::Recent;

/// Removals kept at most; the oldest goes first.
const REMOVALS: usize = 65_536;
/// How long a removal is kept.
const REMOVAL_AGE: Duration = Duration::from_secs(15 * 60);
/// Removals are told in the order of time, but for so long.
const LATE: Duration = Duration::from_secs(1);
/// Paths of its own that a cgroup is remembered by at most.
const FORMER: usize = 16;
/// Removed cgroups that the kernel has not released: kept at most, and how long.
const DYING: usize = 65_536;
const DYING_AGE: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) type Key = (HierarchyId, CgroupId);

/// What one that exists takes besides what it refers to: its places in two tables, and an allocation.
const LIVE: usize =
    slot(size_of::<Key>() + size_of::<usize>()) + slot(size_of::<(Place, CgroupId)>()) + size_of::<Live>() + 16;

/// A cgroup that exists, as far as is known.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub path: Name,
    pub level: Option<u32>,
    /// `None` if it was there before tracing began, or its creation was lost.
    pub created: Option<Creation>,
    pub container: Option<Arc<Container>>,
    /// `path` is cut short, and leads to nothing.
    pub truncated: bool,
    /// When it was last known to exist: it was made, or found by a walk.
    confirmed: BootTime,
    /// When its last process left it. `None` while it has some, or if it never had.
    pub emptied: Option<BootTime>,
    /// It, or a cgroup below it, was last seen with processes, or to have none. `None` for one that was there before.
    pub is_populated: Option<bool>,
    /// When somebody last came into it, or into one below it that nobody was in, as far as that was seen. Who is made
    /// by one inside comes unseen.
    pub joined: Option<BootTime>,
    /// A runtime has put another container into it than the one that it is of.
    pub is_shared: bool,
    /// The places that it has had, or that the cgroups around it gave it: the last ones, before it was renamed.
    former: Vec<Place>,
}

impl Live {
    /// As a story knows it.
    pub fn as_existing(&self, id: CgroupId) -> Existing {
        Existing { id, level: self.level, created: self.created }
    }
}

weigh! {
    Live: path, container, former;
    Dying: container, path, around;
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
    /// The line of its removal.
    pub seq: Seq,
    pub since: BootTime,
    /// When its last process had left it.
    pub emptied: Option<BootTime>,
    pub container: Option<Arc<Container>>,
    pub path: Name,
    pub level: Option<u32>,
    /// `path` is cut short.
    pub truncated: bool,
    /// When it was removed, or last looked at since.
    looked: BootTime,
    /// The path of the cgroup around it that was there when it was looked at first. `None` before that.
    pub around: Option<Name>,
}

/// The cgroups of all hierarchies.
#[derive(Debug)]
pub(crate) struct Cgroups {
    live: Table<Key, Box<Live>>,
    by_path: Table<Place, CgroupId>,
    index: Index,
    scale: Scale,
    /// In the order of when they were looked at.
    dying: Recent<Key, Dying>,
    /// None was looked at earlier. One that is released since does not move it, but the last.
    next_look: Option<BootTime>,
    /// How many of them have been looked at, by the place around them.
    lingering: Table<Place, usize>,
    /// How many are dying that there is no room for, of v1 and of cgroup2, and when the last of them was removed.
    dying_beyond: [usize; 2],
    last_beyond: BootTime,
    /// How many of cgroup2 are dying that were removed before tracing began, or unseen. `None` if nobody counted them.
    dying_before: Option<u64>,
    /// Of cgroup2 the kernel counted fewer than are known to be dying: some were released unseen.
    counts_fewer: bool,
    removals: Recent<Place, Removal>,
    renamings: Renamings,
    /// A removal or renaming before this may have been forgotten.
    forgotten_before: BootTime,
    /// When there was last no room for a cgroup that exists. Those that are known stay known: nobody can push them out.
    overfull: Option<BootTime>,
    /// Cgroups that there was no room for.
    beyond: u64,
    /// All that exist have been told of once.
    walked: bool,
    /// Those that were found and had not been known, since the last walk.
    found: u64,
}

impl Default for Cgroups {
    fn default() -> Self {
        Self {
            live: Table::default(),
            by_path: Table::default(),
            index: Index::default(),
            scale: Scale::default(),
            dying: Recent::new(DYING, budget::DYING),
            next_look: None,
            lingering: Table::default(),
            dying_beyond: [0, 0],
            last_beyond: BootTime(0),
            dying_before: None,
            counts_fewer: false,
            removals: Recent::new(REMOVALS, budget::REMOVALS),
            renamings: Renamings::default(),
            forgotten_before: BootTime(0),
            overfull: None,
            beyond: 0,
            walked: false,
            found: 0,
        }
    }
}

impl Cgroups {
    pub fn get(&self, hierarchy: HierarchyId, id: CgroupId) -> Option<&Live> {
        self.live.get(&(hierarchy, id)).map(Box::as_ref)
    }

    /// What was forgotten, or not remembered, for want of room.
    pub fn evicted(&self) -> u64 {
        self.beyond + self.dying.evicted + self.removals.evicted + self.renamings.evicted
    }

    /// All that exist have been told of, those too that there was no room for. Returns how many of those that were
    /// found had not been known.
    pub fn walked(&mut self) -> u64 {
        self.walked = true;
        std::mem::take(&mut self.found)
    }

    /// Whether it was told of before that this cgroup exists: it is known by this path; or it may be one of those that
    /// there was no room for, which every walk finds again.
    pub fn is_told(&self, cgroup: &Cgroup) -> bool {
        let known = cgroup.id.and_then(|id| self.get(cgroup.hierarchy, id));
        self.walked && !self.is_whole() || known.is_some_and(|known| known.path == cgroup.path || cgroup.truncated)
    }

    /// Whether every cgroup that was seen to exist is known.
    pub fn is_whole(&self) -> bool {
        self.overfull.is_none()
    }

    /// Whether some that there was no room for may have room now: a quarter of the share is free. Till then a walk
    /// would leave out as many again.
    pub fn has_room_again(&self) -> bool {
        !self.is_whole() && self.bytes() <= budget::CGROUPS / 4 * 3
    }

    /// What those that exist take.
    fn bytes(&self) -> usize {
        self.scale.bytes() + self.live.len() * LIVE + self.index.bytes()
    }

    pub fn at_path(&self, place: &Place) -> Option<(CgroupId, &Live)> {
        let id = *self.by_path.get(place)?;
        Some((id, self.get(place.hierarchy, id)?))
    }

    /// All that are called so, by themselves, as systemd's `PREFIX-NAME.scope`, or as `SLICE:PREFIX:NAME`, and have a
    /// path like that; in order.
    pub fn all_called(&self, name: &[u8], is: impl Fn(&Name) -> bool) -> Vec<(Key, &Live)> {
        let called = self.index.called(name).filter_map(|key| Some((key, self.get(key.0, key.1)?)));
        called.filter(|(_, live)| !live.truncated && is(&live.path)).collect()
    }

    /// The last cgroup of a hierarchy with a path like that which was made in that time.
    pub fn made_within(
        &self,
        hierarchy: HierarchyId,
        (from, until): (BootTime, BootTime),
        is: impl Fn(&Name) -> bool,
    ) -> Option<&Name> {
        let live = self.live.iter().map(|((of, _), live)| (*of, &live.path, live.created));
        let gone = self.removals.in_order().map(|(place, removal)| (place.hierarchy, &place.path, removal.created));
        let own = live.chain(gone).filter(|(of, ..)| *of == hierarchy);
        let made = own.filter_map(|(_, path, created)| Some((created?.at, path)));
        // When it was made tells nearly all of them from those that are asked for.
        made.filter(|(at, path)| *at >= from && *at <= until && is(path)).max().map(|(_, path)| path)
    }

    /// Whether it is there still. `None` if one of its id is, and it was not seen how that came to be.
    pub fn is_left(&self, hierarchy: HierarchyId, existing: &Existing) -> Option<bool> {
        let Some(live) = self.get(hierarchy, existing.id) else { return Some(false) };
        (live.created.is_some() || existing.created.is_none()).then_some(live.created == existing.created)
    }

    pub fn removal(&self, place: &Place) -> Option<&Removal> {
        self.removals.get(place)
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
        let is_news = created.is_some() || !self.is_told(cgroup);
        self.found += u64::from(created.is_none() && is_news);
        self.forget(key);
        let live = Box::new(Live {
            path: cgroup.path.clone(),
            level: cgroup.level,
            created,
            container,
            truncated: cgroup.truncated,
            confirmed: at,
            emptied: None,
            is_populated: created.map(|_| false),
            joined: None,
            is_shared: false,
            former: Vec::new(),
        });
        if !cgroup.truncated {
            self.by_path.insert(Place::of(cgroup), id);
        }
        self.index.insert(key, &cgroup.path);
        self.scale.put(live.as_ref());
        self.live.insert(key, live);
        self.beyond += self.leave_out(at, std::iter::once(key)) * u64::from(is_news);
    }

    /// Those that came last are not remembered if there is no room for them. Returns how many are not.
    fn leave_out(&mut self, at: BootTime, latest: impl Iterator<Item = Key>) -> u64 {
        let mut beyond = 0;
        for key in latest {
            if self.bytes() <= budget::CGROUPS {
                break;
            }
            self.forget(key);
            beyond += 1;
            self.overfull = self.overfull.max(Some(at));
        }
        beyond
    }

    /// A cgroup was removed. One that was not known is remembered all the same. Returns when it had been made, if that
    /// was seen.
    pub fn removed(&mut self, seq: Seq, at: BootTime, cgroup: &Cgroup, actor: Option<Actor>) -> Option<BootTime> {
        let known = cgroup.id.and_then(|id| self.forget((cgroup.hierarchy, id)));
        if let Some(id) = cgroup.id {
            let (emptied, container) =
                known.as_ref().map(|live| (live.emptied, live.container.clone())).unwrap_or_default();
            let (path, level, truncated) = (cgroup.path.clone(), cgroup.level, cgroup.truncated);
            let dying = Dying { seq, since: at, emptied, container, path, level, truncated, looked: at, around: None };
            // One whose id is used again was released unseen.
            let before = self.dying.take(&(cgroup.hierarchy, id));
            before.iter().for_each(|before| self.lingers_no_more(cgroup.hierarchy, before));
            // Those that were removed long ago are not to be pushed out: most of those that come are gone in a moment.
            if self.dying.tell_beside((cgroup.hierarchy, id), dying).is_some() {
                self.dying_beyond[usize::from(is_v2(cgroup.hierarchy))] += 1;
                self.last_beyond = self.last_beyond.max(at);
            } else {
                self.next_look.get_or_insert(at);
            }
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
            let forgotten = self.renamings.removed(id, &former, &removal);
            self.forgotten_before = self.forgotten_before.max(forgotten.unwrap_or_default());
        }
        for (_, forgotten) in self.removals.tell(place, removal) {
            self.forgotten_before = self.forgotten_before.max(forgotten.at);
        }
        made
    }

    /// The kernel let go of a removed cgroup.
    pub fn released(&mut self, cgroup: &Cgroup) -> Option<Dying> {
        let dying = self.dying.take(&(cgroup.hierarchy, cgroup.id?));
        dying.iter().for_each(|dying| self.lingers_no_more(cgroup.hierarchy, dying));
        self.next_look = self.next_look.filter(|_| self.dying.len() > 0);
        if dying.is_none() {
            let is_v2 = is_v2(cgroup.hierarchy);
            match &mut self.dying_beyond[usize::from(is_v2)] {
                0 if is_v2 => self.dying_before = self.dying_before.map(|before| before.saturating_sub(1)),
                beyond => *beyond = beyond.saturating_sub(1),
            }
        }
        dying
    }

    /// The kernel counts so many of cgroup2 as dying: those that were not seen to be removed were before the start.
    pub fn dying_counted(&mut self, count: u64) {
        if count == 0 {
            let gone: Vec<Key> = self.dying.in_order().map(|(key, _)| *key).filter(|(of, _)| is_v2(*of)).collect();
            for key in gone {
                let gone = self.dying.take(&key);
                gone.iter().for_each(|gone| self.lingers_no_more(key.0, gone));
            }
            self.dying_beyond[1] = 0;
        }
        let known = self.dying_of_v2();
        self.counts_fewer = count < known;
        self.dying_before = Some(count.saturating_sub(known));
    }

    /// Whether some of those that are known to be dying are not, by the kernel's last count: of cgroup2.
    pub fn counts_fewer(&self) -> bool {
        self.counts_fewer
    }

    /// How many of cgroup2 are dying whose removal was seen.
    fn dying_of_v2(&self) -> u64 {
        (self.dying.in_order().filter(|((hierarchy, _), _)| is_v2(*hierarchy)).count() + self.dying_beyond[1]) as u64
    }

    /// How many of cgroup2 are dying, as the kernel would count them. `None` if it was never asked.
    pub fn dying_in_all(&self) -> Option<u64> {
        Some(self.dying_before? + self.dying_of_v2())
    }

    /// How many of cgroup2 are dying that were removed before tracing began, or unseen. `None` if nobody counted them.
    pub fn dying_before(&self) -> Option<u64> {
        self.dying_before
    }

    /// When one was removed or looked at that is still dying, or was until lately: none was earlier.
    pub fn next_look(&self) -> Option<BootTime> {
        self.next_look
    }

    /// Looks at those that were not looked at, or removed, for so long, until one is met for the first time: in the
    /// order of their removals. Those that are too old are dropped.
    pub fn look_at_dying(&mut self, now: BootTime, after: Duration) -> Option<Key> {
        while let Some((key, dying)) = self.dying.oldest().filter(|(_, dying)| now.since(dying.looked) >= after) {
            let key = *key;
            if now.since(dying.since) > DYING_AGE {
                let old = self.dying.take(&key);
                old.iter().for_each(|old| self.lingers_no_more(key.0, old));
                continue;
            }
            let is_first = dying.around.is_none();
            let around = is_first.then(|| self.around(&Place { hierarchy: key.0, path: dying.path.clone() }));
            self.dying.touch(&key, |dying| {
                dying.looked = now;
                true
            });
            if let Some(path) = around {
                self.dying.change(&key, |dying| dying.around = Some(path.clone()));
                *self.lingering.entry(Place { hierarchy: key.0, path }).or_default() += 1;
                return Some(key);
            }
        }
        self.next_look = self.dying.oldest().map(|(_, dying)| dying.looked);
        None
    }

    /// One is not dying any more, or not known to be.
    fn lingers_no_more(&mut self, hierarchy: HierarchyId, dying: &Dying) {
        let Some(path) = &dying.around else { return };
        let place = Place { hierarchy, path: path.clone() };
        match self.lingering.get_mut(&place) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(self.lingering.remove(&place)),
        }
    }

    /// The path of the innermost cgroup around a place that is there: if none is known, of the hierarchy's root.
    fn around(&self, place: &Place) -> Name {
        let all = std::iter::successors(place.parent(), Place::parent);
        all.into_iter()
            .find(|place| self.by_path.contains_key(place))
            .map_or_else(|| Name::from("/"), |place| place.path)
    }

    /// Whether there is room for all that are dying.
    pub fn knows_all_dying(&self) -> bool {
        self.dying_beyond == [0, 0]
    }

    /// One that is dying.
    pub fn dying_one(&self, key: Key) -> Option<&Dying> {
        self.dying.get(&key)
    }

    /// How many were below a place, and have been dying for so long that they were looked at.
    pub fn lingering(&self, place: &Place) -> usize {
        self.lingering.get(place).copied().unwrap_or(0)
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
        // All leave their old paths before any takes its new one: that may be another's old one. A path leads to one of
        // them, even if two are known by it because a removal was lost.
        let (mut left, mut taken) = (Vec::with_capacity(moved.len()), Vec::with_capacity(moved.len()));
        for (id, place) in moved {
            let Some(live) = self.live.get_mut(&(hierarchy, id)) else { continue };
            self.scale.take(live.as_ref());
            let path = std::mem::replace(&mut live.path, place.path.clone());
            live.truncated |= cgroup.truncated;
            self.index.remove((hierarchy, id), &path);
            self.index.insert((hierarchy, id), &place.path);
            let before = Place { hierarchy, path };
            if self.by_path.get(&before) == Some(&id) {
                self.by_path.remove(&before);
                if live.former.len() >= FORMER {
                    live.former.remove(0);
                }
                live.former.push(before.clone());
                left.push((id, before));
                taken.push((place, id));
            }
            self.scale.put(live.as_ref());
        }
        let latest: Vec<Key> = taken.iter().rev().map(|(_, id)| (hierarchy, *id)).collect();
        self.by_path.extend(taken);
        self.beyond += self.leave_out(at, latest.into_iter());
        let forgotten = self.renamings.add(renaming, left.into_iter());
        self.forgotten_before = self.forgotten_before.max(forgotten.unwrap_or_default());
    }

    /// What became of the cgroup that was once at `place` or, if there was none, of one that `place` became the path of
    /// after its end, by renaming a cgroup around it. Only where that is more recent than anything else known of the
    /// place.
    pub fn follow(&self, place: &Place) -> Option<Followed<'_>> {
        let removed_here = self.removal(place).map(|removal| removal.at);
        let is_news = |at: BootTime| removed_here.is_none_or(|removed| removed < at);
        if let Some(left) = self.renamings.left(place).filter(|left| is_news(left.renaming.at)) {
            let renaming = left.renaming.as_ref();
            let live = self.get(place.hierarchy, left.id).filter(|live| live.former.contains(place));
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

    /// Whether a cgroup at `place` may have been removed before a cgroup around it was renamed: at its path of then
    /// another one was removed since, and only the last removal of a path is remembered.
    pub fn is_past_unclear(&self, place: &Place) -> bool {
        self.renamings
            .earlier(place)
            .into_iter()
            .any(|(renaming, place)| self.removal(&place).is_some_and(|removal| removal.at > renaming.at))
    }

    /// The cgroups that exist of containers of these ids.
    pub fn of_containers(
        &self,
        is_wanted: impl Fn(&Name) -> bool,
    ) -> Vec<(HierarchyId, CgroupId, Name, Arc<Container>)> {
        let live = self.live.iter().filter_map(|(key, live)| {
            let container = live.container.as_ref().filter(|container| is_wanted(&container.id))?;
            Some((key.0, key.1, live.path.clone(), container.clone()))
        });
        live.collect()
    }

    /// The container of a cgroup became known after its creation.
    pub fn set_container(&mut self, hierarchy: HierarchyId, id: CgroupId, container: Arc<Container>) {
        if let Some(live) = self.live.get_mut(&(hierarchy, id)) {
            self.scale.take(&live.container);
            live.container = Some(container);
            self.scale.put(&live.container);
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

    /// Forgets what a walk that began at `began` did not find: it went unseen. Returns which they were.
    pub fn forget_unconfirmed(&mut self, began: BootTime, hierarchies: &[HierarchyId]) -> Vec<Key> {
        self.forget_older(began, |hierarchy| hierarchies.contains(&hierarchy))
    }

    /// Forgets what was not among those that were told of at `at`, when all were. Returns which they were.
    pub fn forget_untold(&mut self, at: BootTime) -> Vec<Key> {
        self.forget_older(at, |_| true)
    }

    fn forget_older(&mut self, than: BootTime, is_in: impl Fn(HierarchyId) -> bool) -> Vec<Key> {
        let gone: Vec<Key> = self
            .live
            .iter()
            .filter(|((hierarchy, _), live)| is_in(*hierarchy) && live.confirmed < than)
            .map(|(key, _)| *key)
            .collect();
        gone.iter().for_each(|key| drop(self.forget(*key)));
        // All that were found had room.
        self.overfull = self.overfull.filter(|at| *at >= than);
        gone
    }

    /// Removed cgroups that the kernel has not released, as far as is known.
    pub fn dying(&self) -> usize {
        self.dying.len() + self.dying_beyond.iter().sum::<usize>()
    }

    /// A cgroup was emptied, or populated.
    pub fn populated(&mut self, cgroup: &Cgroup, emptied: Option<BootTime>) {
        if let Some(live) = cgroup.id.and_then(|id| self.live.get_mut(&(cgroup.hierarchy, id))) {
            live.emptied = emptied;
            live.is_populated = Some(emptied.is_none());
        }
    }

    /// Somebody came into a cgroup.
    pub fn joined(&mut self, cgroup: &Cgroup, at: BootTime) {
        if let Some(live) = cgroup.id.and_then(|id| self.live.get_mut(&(cgroup.hierarchy, id))) {
            live.joined = Some(at);
        }
    }

    /// Another container was put into a cgroup of one.
    pub fn shared(&mut self, cgroup: Key) {
        if let Some(live) = self.live.get_mut(&cgroup) {
            live.is_shared = true;
        }
    }

    /// The paths of the cgroups that were directly below a place at that time, in order, as far as is known: by their
    /// present paths.
    pub fn children_at(&self, place: &Place, at: BootTime) -> Vec<&Name> {
        let parent = place.path.as_bytes();
        let parent = parent.strip_suffix(b"/").unwrap_or(parent);
        let was_made = |created: Option<Creation>| created.is_none_or(|created| created.at <= at);
        let live = self.index.below(place.hierarchy, parent).filter_map(|id| self.get(place.hierarchy, id));
        let live = live.filter(|live| !live.truncated && was_made(live.created)).map(|live| &live.path);
        let gone = self.removals.latest().take_while(|(_, removal)| removal.at + LATE > at);
        let gone = gone.filter(|(gone, removal)| {
            gone.hierarchy == place.hierarchy && removal.at > at && was_made(removal.created)
        });
        let is_child = |path: &&Name| around(path) == parent && !path.base_name().is_empty();
        let mut children: Vec<&Name> = live.chain(gone.map(|(gone, _)| &gone.path)).filter(is_child).collect();
        children.sort();
        children.dedup();
        children
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
                truncated: live.truncated,
            })
            .collect();
        all.sort_by(|a, b| (a.hierarchy, &a.path, a.id).cmp(&(b.hierarchy, &b.path, b.id)));
        all
    }

    /// The ids of the containers whose cgroups exist, and of those around them.
    pub fn containers(&self) -> HashSet<Name> {
        let containers = self.live.values().filter_map(|live| live.container.as_ref());
        containers.flat_map(|container| container.chain.iter().cloned()).collect()
    }

    /// Drops removals that are too old.
    pub fn sweep(&mut self, now: BootTime) {
        if now.since(self.last_beyond) > DYING_AGE {
            self.dying_beyond = [0, 0];
        }
        let forgotten = self.renamings.sweep(now, REMOVAL_AGE);
        self.forgotten_before = self.forgotten_before.max(forgotten.unwrap_or_default());
        while self.removals.oldest().is_some_and(|(_, removal)| now.since(removal.at) > REMOVAL_AGE) {
            let oldest = self.removals.take_oldest();
            self.forgotten_before =
                self.forgotten_before.max(oldest.map(|(_, removal)| removal.at).unwrap_or_default());
        }
    }

    fn forget(&mut self, key: (HierarchyId, CgroupId)) -> Option<Live> {
        let live = *self.live.remove(&key)?;
        self.index.remove(key, &live.path);
        self.scale.take(&live);
        let place = Place { hierarchy: key.0, path: live.path.clone() };
        if self.by_path.get(&place) == Some(&key.1) {
            self.by_path.remove(&place);
        }
        Some(live)
    }
}

/// Cgroups by the path around them, and by what they are called.
#[derive(Debug, Default)]
struct Index {
    /// By hashes.
    order: BTreeSet<Entry>,
    hasher: RandomState,
}

type Entry = (u64, HierarchyId, CgroupId);

impl Index {
    fn insert(&mut self, (hierarchy, id): Key, path: &Name) {
        self.order.extend(hashes(&self.hasher, path).map(|hash| (hash, hierarchy, id)));
    }

    fn remove(&mut self, (hierarchy, id): Key, path: &Name) {
        for hash in hashes(&self.hasher, path) {
            self.order.remove(&(hash, hierarchy, id));
        }
    }

    /// Those below a path, and maybe a few others.
    fn below(&self, hierarchy: HierarchyId, path: &[u8]) -> impl Iterator<Item = CgroupId> {
        let entry = |id| (around_hash(&self.hasher, path), hierarchy, CgroupId(id));
        self.order.range(entry(u64::MIN)..=entry(u64::MAX)).map(|(_, _, id)| *id)
    }

    /// Those that are called so, and maybe a few others, in order.
    fn called(&self, name: &[u8]) -> impl Iterator<Item = Key> {
        let entry = |hierarchy, id| (name_hash(&self.hasher, name), HierarchyId(hierarchy), CgroupId(id));
        let all = self.order.range(entry(u32::MIN, u64::MIN)..=entry(u32::MAX, u64::MAX));
        all.map(|(_, hierarchy, id)| (*hierarchy, *id))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.order.len()
    }

    /// What it takes: a tree's nodes are half full.
    fn bytes(&self) -> usize {
        self.order.len() * 2 * size_of::<Entry>()
    }
}

/// By what a cgroup of that path is found.
fn hashes(hasher: &RandomState, path: &Name) -> impl Iterator<Item = u64> {
    let whole = path.base_name();
    let unit = whole.strip_suffix(b".scope");
    let name = unit.unwrap_or(whole);
    // What stands behind a prefix of a scope may be the name of whatever is in it.
    let is_end = move |byte: u8| byte == b':' || byte == b'-' && unit.is_some();
    let ends = name.iter().enumerate().filter(move |(_, byte)| is_end(**byte)).map(|(at, _)| &name[at + 1..]);
    let names = std::iter::once(name).chain(ends).map(|name| name_hash(hasher, name));
    std::iter::once(around_hash(hasher, around(path))).chain(names)
}

fn around_hash(hasher: &RandomState, path: &[u8]) -> u64 {
    hasher.hash_one((0_u8, path))
}

fn name_hash(hasher: &RandomState, name: &[u8]) -> u64 {
    hasher.hash_one((1_u8, name))
}

/// The path of the cgroup around that of a path, without a slash at its end.
fn around(path: &Name) -> &[u8] {
    let path = path.as_bytes();
    &path[..path.iter().rposition(|byte| *byte == b'/').unwrap_or_default()]
}

fn is_v2(hierarchy: HierarchyId) -> bool {
    hierarchy == HierarchyId(0)
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
    fn a_path_that_was_cut_short_is_told_as_one() {
        let mut cgroups = Cgroups::default();
        let cut = Cgroup { truncated: true, ..cgroup(8, "/cut") };
        cgroups.appeared(BootTime(0), &cgroup(7, "/whole"), None, None);
        cgroups.appeared(BootTime(0), &cut, creation(1), None);
        let told: Vec<(Name, bool)> = cgroups.all().into_iter().map(|told| (told.path, told.truncated)).collect();
        assert_eq!(told, [("/cut".into(), true), ("/whole".into(), false)]);
        assert!(cgroups.at_path(&place("/cut")).is_none(), "it leads to nothing");
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
        let count = REMOVALS as u64;
        for number in 1..=count {
            cgroups.removed(Seq(number), BootTime(number), &cgroup(number, &format!("/{number}")), None);
        }
        let forgotten = cgroups.removals.evicted;
        assert!(cgroups.removals.bytes() <= budget::REMOVALS && forgotten > 0 && cgroups.evicted() >= forgotten);
        assert!(cgroups.removal(&place(&format!("/{forgotten}"))).is_none());
        assert!(cgroups.removal(&place(&format!("/{}", forgotten + 1))).is_some());
        assert!(!cgroups.remembers_since(BootTime(forgotten - 1)) && cgroups.remembers_since(BootTime(forgotten)));
    }

    #[test]
    fn twenty_thousand_cgroups_with_ordinary_names_have_room() {
        let mut cgroups = Cgroups::default();
        for id in 0..20_000 {
            cgroups.appeared(
                BootTime(1),
                &cgroup(id, &format!("/system.slice/some-service@{id}.service/worker")),
                None,
                None,
            );
        }
        assert_eq!((cgroups.len(), cgroups.evicted(), cgroups.is_whole()), (20_000, 0, true));
    }

    #[test]
    fn dying_cgroups_are_looked_at_in_time_and_are_told_by_what_is_around_them() {
        let (mut cgroups, patience) = (Cgroups::default(), Duration::from_nanos(10));
        cgroups.appeared(BootTime(0), &cgroup(1, "/a"), creation(0), None);
        assert_eq!(cgroups.next_look(), None);
        for (id, path, at) in [(2, "/a/b/c", 1), (3, "/a/b", 2), (4, "/d", 3), (5, "/a/e", 8)] {
            cgroups.removed(Seq(at), BootTime(at), &cgroup(id, path), None);
        }
        cgroups.released(&cgroup(2, "/a/b/c"));
        assert_eq!(cgroups.next_look(), Some(BootTime(1)), "the next look is not moved for what is released");
        let mut look = |now: u64| -> Vec<u64> {
            let found = std::iter::from_fn(|| cgroups.look_at_dying(BootTime(now), patience));
            found.map(|(_, id)| id.0).collect()
        };
        assert_eq!((look(11), look(13)), (vec![], vec![3, 4]));
        assert_eq!((look(18), look(40)), (vec![5], vec![]), "each once");
        assert_eq!(["/a", "/", "/b"].map(|path| cgroups.lingering(&place(path))), [2, 1, 0]);
        cgroups.released(&cgroup(3, "/a/b"));
        assert_eq!((cgroups.lingering(&place("/a")), cgroups.next_look()), (1, Some(BootTime(40))));
        cgroups.look_at_dying(BootTime(40) + DYING_AGE, patience);
        assert_eq!((cgroups.dying(), cgroups.next_look(), cgroups.dying.bytes()), (0, None, 0), "they are too old");
        assert!(cgroups.lingering.is_empty());
    }

    #[test]
    fn those_that_were_dying_before_are_counted_apart() {
        let mut cgroups = Cgroups::default();
        cgroups.released(&cgroup(9, "/before"));
        assert_eq!((cgroups.dying_before(), cgroups.dying_in_all()), (None, None));
        cgroups.dying_counted(3);
        cgroups.removed(Seq(1), BootTime(1), &cgroup(1, "/a"), None);
        assert_eq!((cgroups.dying_before(), cgroups.dying(), cgroups.dying_in_all()), (Some(3), 1, Some(4)));
        cgroups.released(&cgroup(8, "/before"));
        cgroups.released(&Cgroup { hierarchy: HierarchyId(4), ..cgroup(7, "/elsewhere") });
        cgroups.released(&cgroup(1, "/a"));
        assert_eq!((cgroups.dying_before(), cgroups.dying()), (Some(2), 0));
        // Counted again, as after a loss.
        cgroups.removed(Seq(2), BootTime(2), &cgroup(2, "/b"), None);
        cgroups.dying_counted(6);
        assert_eq!(cgroups.dying_before(), Some(5));
        cgroups.removed(Seq(3), BootTime(3), &cgroup(3, "/c"), None);
        assert!(!cgroups.counts_fewer());
        cgroups.dying_counted(1);
        assert_eq!((cgroups.dying_before(), cgroups.dying(), cgroups.counts_fewer()), (Some(0), 2, true));
        cgroups.removed(Seq(4), BootTime(4), &Cgroup { hierarchy: HierarchyId(4), ..cgroup(4, "/v1") }, None);
        cgroups.dying_counted(0);
        assert_eq!((cgroups.dying(), cgroups.counts_fewer()), (1, false), "none of cgroup2, and nothing said of v1");
    }

    #[test]
    fn dying_cgroups_are_counted_all_of_them_also_those_that_there_is_no_room_for() {
        let mut cgroups = Cgroups::default();
        for id in 0..20_000 {
            cgroups.removed(Seq(id), BootTime(id), &cgroup(id, "/a"), None);
        }
        assert!(cgroups.dying() == 20_000 && cgroups.dying.evicted > 10_000, "{}", cgroups.dying.evicted);
        (0..20_000).for_each(|id| drop(cgroups.released(&cgroup(id, "/a"))));
        assert_eq!((cgroups.dying(), cgroups.dying.bytes()), (0, 0));
    }

    #[test]
    fn a_burst_of_removals_does_not_push_out_what_lingers() {
        let mut cgroups = Cgroups::default();
        cgroups.removed(Seq(1), BootTime(1), &cgroup(1, "/lingers"), None);
        for id in 2..20_000 {
            cgroups.removed(Seq(id), BootTime(id), &cgroup(id, "/a"), None);
        }
        (2..20_000).for_each(|id| drop(cgroups.released(&cgroup(id, "/a"))));
        assert_eq!((cgroups.dying(), cgroups.dying_one((HierarchyId(0), CgroupId(1))).is_some()), (1, true));
    }

    #[test]
    fn seven_thousand_removals_of_ordinary_names_have_room() {
        let mut cgroups = Cgroups::default();
        for id in 0..7_000 {
            let gone = cgroup(id, &format!("/system.slice/some-service@{id}.service/worker"));
            cgroups.removed(Seq(id), BootTime(id), &gone, None);
            cgroups.released(&gone);
        }
        assert_eq!((cgroups.removals.len(), cgroups.evicted()), (7_000, 0));
    }

    #[test]
    fn what_is_known_stays_known_and_what_there_is_no_room_for_is_counted() {
        let mut cgroups = Cgroups::default();
        let long = "x".repeat(4_000);
        let name = |id: u64| cgroup(id, &format!("/{id}{long}"));
        (0..4_000).for_each(|id| cgroups.appeared(BootTime(id), &name(id), creation(id), None));
        assert!(cgroups.bytes() <= budget::CGROUPS && cgroups.len() > 2_000 && !cgroups.is_whole());
        assert_eq!(cgroups.len() as u64 + cgroups.evicted(), 4_000);
        assert!(
            cgroups.get(HierarchyId(0), CgroupId(0)).is_some()
                && cgroups.get(HierarchyId(0), CgroupId(3_999)).is_none()
        );
        // Some go: a walk is worth its while when a quarter is free, and only then.
        assert!(!cgroups.has_room_again());
        let gone = |cgroups: &mut Cgroups, ids: std::ops::Range<u64>| {
            for id in ids {
                cgroups.removed(Seq(9), BootTime(4_500), &name(id), None);
            }
        };
        gone(&mut cgroups, 100..200);
        assert!(!cgroups.has_room_again(), "not a quarter");
        gone(&mut cgroups, 200..1_000);
        assert!(cgroups.has_room_again() && !cgroups.is_whole());
        // A later walk finds few, and there is room for all of them.
        (0..10).for_each(|id| cgroups.appeared(BootTime(5_001), &name(id), None, None));
        cgroups.forget_unconfirmed(BootTime(5_000), &[HierarchyId(0)]);
        assert!(cgroups.is_whole() && cgroups.len() == 10 && !cgroups.has_room_again());
        for id in 0..10 {
            cgroups.removed(Seq(9), BootTime(6_000), &name(id), None);
        }
        assert_eq!(cgroups.bytes(), 0);
    }

    #[test]
    fn a_place_that_is_removed_over_and_over_takes_no_more_room() {
        let mut cgroups = Cgroups::default();
        cgroups.removed(Seq(1), BootTime(1), &cgroup(1, "/once"), None);
        for number in 2..5 * REMOVALS as u64 {
            cgroups.removed(Seq(number), BootTime(number), &cgroup(number, "/again"), None);
            cgroups.released(&cgroup(number, "/again"));
        }
        assert_eq!(cgroups.removals.len(), 2);
        assert!(cgroups.remembers_since(BootTime(1)));
    }

    #[test]
    fn what_a_later_walk_does_not_find_is_gone() {
        let mut cgroups = Cgroups::default();
        cgroups.appeared(BootTime(1), &cgroup(1, "/stays"), None, None);
        cgroups.appeared(BootTime(1), &cgroup(2, "/went"), creation(1), None);
        let found = [cgroup(1, "/stays"), cgroup(3, "/came")];
        cgroups.walked();
        found.iter().for_each(|found| cgroups.appeared(BootTime(10), found, None, None));
        // Made while it was walked, behind its back.
        cgroups.appeared(BootTime(11), &cgroup(4, "/new"), creation(11), None);
        assert_eq!(cgroups.walked(), 1);
        assert_eq!(cgroups.forget_unconfirmed(BootTime(10), &[HierarchyId(1)]), []);
        assert_eq!(cgroups.forget_unconfirmed(BootTime(10), &[HierarchyId(0)]).len(), 1);
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
    fn the_cgroups_in_one_are_known_of_a_time_and_not_those_in_them() {
        let mut cgroups = Cgroups::default();
        for (id, path, made) in
            [(1, "/a", 1), (2, "/a/b", 2), (3, "/a/b/c", 3), (4, "/a/gone", 4), (5, "/ab", 5), (6, "/a/late", 60)]
        {
            cgroups.appeared(BootTime(made), &cgroup(id, path), creation(made), None);
        }
        cgroups.removed(Seq(9), BootTime(50), &cgroup(4, "/a/gone"), None);
        let at = |path: &str, at| -> Vec<String> {
            cgroups.children_at(&place(path), BootTime(at)).into_iter().map(Name::to_string).collect()
        };
        assert_eq!(at("/a", 10), ["/a/b", "/a/gone"]);
        assert_eq!(at("/a", 55), ["/a/b"]);
        assert_eq!(at("/a", 70), ["/a/b", "/a/late"]);
        assert_eq!(at("/", 10), ["/a", "/ab"]);
        assert!(at("/ab", 10).is_empty());
    }

    #[test]
    fn the_cgroups_in_one_are_those_whose_path_says_so_whatever_became_of_them() {
        let mut cgroups = Cgroups::default();
        let mut number = 1_u64;
        let mut next = |below: u64| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (number >> 33) % below
        };
        let name = |number: u64| ["a", "ab", "b"][number as usize];
        let path = |next: &mut dyn FnMut(u64) -> u64| -> String {
            (0..=next(3)).map(|_| format!("/{}", name(next(3)))).collect()
        };
        for at in 1..5_000 {
            let id = next(20);
            let known = cgroups.get(HierarchyId(0), CgroupId(id)).map(|live| live.path.to_string());
            let other = path(&mut next);
            match (next(4), known) {
                (0, Some(known)) => drop(cgroups.removed(Seq(at), BootTime(at), &cgroup(id, &known), None)),
                (1, Some(known)) if next(4) == 0 => {
                    let (around, _) = known.rsplit_once('/').expect("it is a path");
                    cgroups.renamed(Seq(at), BootTime(at), &cgroup(id, &format!("{around}/c{id}")), None);
                }
                (2, _) => cgroups.appeared(BootTime(at), &cgroup(id, &other), None, None),
                _ => cgroups.appeared(BootTime(at), &cgroup(id, &other), creation(at), None),
            }
            let (parent, then) = (path(&mut next), at.saturating_sub(next(100)));
            let below = |path: &Name| {
                let name = path.to_str().and_then(|path| path.strip_prefix(&format!("{parent}/")));
                name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
            };
            let was_made = |created: Option<Creation>| created.is_none_or(|created| created.at.0 <= then);
            let live = cgroups.live.values().filter(|live| was_made(live.created)).map(|live| &live.path);
            let gone = cgroups.removals.in_order().filter(|(_, gone)| gone.at.0 > then && was_made(gone.created));
            let all: BTreeSet<&Name> =
                live.chain(gone.map(|(gone, _)| &gone.path)).filter(|path| below(path)).collect();
            assert_eq!(cgroups.children_at(&place(&parent), BootTime(then)), all.into_iter().collect::<Vec<_>>());
        }
        // One by what is around it, and one by its name.
        assert!(cgroups.index.len() == 2 * cgroups.live.len() && cgroups.renamings.evicted == 0);
    }

    #[test]
    fn cgroups_are_found_by_what_they_are_called() {
        let mut cgroups = Cgroups::default();
        let paths =
            ["/web", "/a/web", "/a/runc-web.scope", "/a/x-y-web.scope", "/a/:youki:web", "/a/web.scope", "/web/a"];
        let others = ["/a/x-web", "/a/webx", "/xweb", "/a/web.service", "/a/web-x.scope"];
        for (id, path) in (1..).zip(paths.iter().chain(&others)) {
            cgroups.appeared(BootTime(0), &cgroup(id, path), None, None);
        }
        let found = |cgroups: &Cgroups, name: &str| -> Vec<String> {
            let found = cgroups.all_called(name.as_bytes(), |path| path.to_str() != Some("/a/web"));
            found.into_iter().map(|(_, live)| live.path.to_string()).collect()
        };
        assert_eq!(
            found(&cgroups, "web"),
            ["/web", "/a/runc-web.scope", "/a/x-y-web.scope", "/a/:youki:web", "/a/web.scope"]
        );
        assert_eq!(found(&cgroups, "y-web"), ["/a/x-y-web.scope"]);
        assert_eq!(found(&cgroups, "youki:web"), ["/a/:youki:web"]);
        assert!(found(&cgroups, "").is_empty() && found(&cgroups, "eb").is_empty());
        cgroups.removed(Seq(1), BootTime(1), &cgroup(3, "/a/runc-web.scope"), None);
        cgroups.renamed(Seq(2), BootTime(2), &cgroup(1, "/else"), None);
        assert_eq!(found(&cgroups, "web"), ["/a/x-y-web.scope", "/a/:youki:web", "/a/web.scope"]);
        assert_eq!(found(&cgroups, "else"), ["/else"]);
        for (id, path) in (1..).zip(paths.iter().chain(&others)) {
            let path = if id == 1 { "/else" } else { path };
            cgroups.removed(Seq(3), BootTime(3), &cgroup(id, path), None);
        }
        assert_eq!(cgroups.bytes(), 0);
    }

    #[test]
    fn names_that_are_found_by_many_ends_take_room_for_each() {
        let mut cgroups = Cgroups::default();
        let name = "-x".repeat(120);
        (0..10_000)
            .for_each(|id| cgroups.appeared(BootTime(id), &cgroup(id, &format!("/{id}{name}.scope")), None, None));
        assert!(cgroups.bytes() <= budget::CGROUPS && !cgroups.is_whole());
    }

    #[test]
    fn the_parent_of_a_first_level_cgroup_is_the_root_which_has_none() {
        assert_eq!(place("/a").parent(), Some(place("/")));
        assert_eq!(place("/a/b").parent(), Some(place("/a")));
        assert_eq!(place("/").parent(), None);
    }
}
