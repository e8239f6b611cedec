//! What ought to be said of a failed removal, worked out from the truth alone.
//!
//! For each place there is a timeline of arrivals (it was made, or something got its name) and departures (it was
//! removed, or got another name). Every call has an interval only: where two overlap, their order is not known, and
//! what follows from either order is accepted.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::truth::{Made, Operation, Place, Truth, Who};

/// What is left of a cgroup that went away from a place.
#[derive(Clone, Debug)]
struct Departure {
    /// The call that took it away.
    by: usize,
    /// Where it went, if it was renamed.
    to: Option<Place>,
    /// It never was at this place, but would be had it not been removed: the cgroup around it was renamed since.
    ghost: bool,
}

/// What can be claimed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It had been removed, by that call.
    Removed {
        by: usize,
    },
    /// It was there under another name, by that call.
    Renamed {
        by: usize,
    },
    /// It could not be made: the errors of those who tried.
    CreationFailed {
        errno: i32,
    },
    NeverCreated,
}

/// What ought to be said.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// One of these.
    pub verdicts: Vec<Verdict>,
    /// It may have been there at that moment, as far as anybody can tell.
    pub may_be_untold: bool,
}

/// A process that could be seen to come or go.
pub struct Model<'a> {
    truth: &'a Truth,
    arrivals: HashMap<Place, Vec<usize>>,
    departures: BTreeMap<Place, Vec<Departure>>,
    failed_creations: HashMap<Place, Vec<usize>>,
}

impl<'a> Model<'a> {
    pub fn new(truth: &'a Truth) -> Self {
        let mut model =
            Self { truth, arrivals: HashMap::new(), departures: BTreeMap::new(), failed_creations: HashMap::new() };
        let mut order: Vec<usize> = (0..truth.calls.len()).collect();
        order.sort_by_key(|call| truth.calls[*call].after);
        let mut live: BTreeSet<Place> = BTreeSet::new();
        for index in order {
            let made = &truth.calls[index];
            let place = made.call.place.clone();
            match (made.call.operation, made.errno) {
                (Operation::Mkdir, Some(0) | None) => {
                    live.insert(place.clone());
                    model.arrivals.entry(place).or_default().push(index);
                }
                (Operation::Mkdir, Some(errno)) if errno != libc::EEXIST => {
                    model.failed_creations.entry(place).or_default().push(index);
                }
                (Operation::Rmdir, Some(0) | None) => {
                    live.remove(&place);
                    model.departs(&place, Departure { by: index, to: None, ghost: false });
                }
                (Operation::Rename, Some(0) | None) => model.rename(index, &mut live),
                _ => {}
            }
        }
        model
    }

    fn departs(&mut self, place: &Place, departure: Departure) {
        self.departures.entry(place.clone()).or_default().push(departure);
    }

    fn rename(&mut self, index: usize, live: &mut BTreeSet<Place>) {
        let call = &self.truth.calls[index].call;
        let (from, to) = (&call.place, call.to.as_ref().expect("a rename has a new name"));
        if from == to {
            return;
        }
        let below = Place { path: format!("{}/", from.path), ..from.clone() };
        let mut moved: Vec<Place> = live.range(&below..).take_while(|place| within(place, from)).cloned().collect();
        // It was there, for it could be renamed: whatever overlaps with the call.
        moved.push(from.clone());
        for old in moved {
            let new = Place { path: format!("{}{}", to.path, &old.path[from.path.len()..]), ..old.clone() };
            live.remove(&old);
            live.insert(new.clone());
            self.arrivals.entry(new.clone()).or_default().push(index);
            self.departs(&old, Departure { by: index, to: Some(new), ghost: false });
        }
        let ghosts: Vec<(Place, usize)> = self
            .departures
            .range(&below..)
            .take_while(|(place, _)| within(place, from))
            .flat_map(|(place, all)| {
                let removals = all.iter().filter(|departure| departure.to.is_none());
                removals.map(|departure| (place.clone(), departure.by))
            })
            .collect();
        for (old, by) in ghosts {
            let new = Place { path: format!("{}{}", to.path, &old.path[from.path.len()..]), ..old };
            self.departs(&new, Departure { by, to: None, ghost: true });
        }
    }

    fn call(&self, index: usize) -> &Made {
        &self.truth.calls[index]
    }

    fn arrivals(&self, place: &Place) -> impl Iterator<Item = &Made> {
        self.arrivals.get(place).into_iter().flatten().map(|index| self.call(*index))
    }

    fn departures(&self, place: &Place) -> &[Departure] {
        self.departures.get(place).map_or(&[], Vec::as_slice)
    }

    /// What ought to be said of a call that failed because nothing was there.
    pub fn expected(&self, call: &Made) -> Expected {
        let place = &call.call.place;
        let failed: Vec<&Made> =
            self.failed_creations.get(place).into_iter().flatten().map(|index| self.call(*index)).collect();
        let departures = self.departures(place);
        let may_be_before = |made: &Made| made.before <= call.after;
        let is_sure = |made: &Made| made.errno.is_some() && made.is_before(call);
        // Something that surely came in between makes what was before it another life's.
        let superseded = |made: &Made| {
            let by_departure = departures.iter().any(|later| {
                let by = self.call(later.by);
                !later.ghost && is_sure(by) && made.is_before(by)
            });
            by_departure || failed.iter().any(|later| is_sure(later) && made.is_before(later))
        };
        let candidates: Vec<&Departure> = departures
            .iter()
            .filter(|departure| {
                let by = self.call(departure.by);
                may_be_before(by) && !superseded(by)
            })
            .collect();
        let creations: Vec<&Made> = failed
            .iter()
            .copied()
            .filter(|made| {
                let by_departure = departures.iter().any(|later| {
                    let by = self.call(later.by);
                    !later.ghost && is_sure(by) && made.is_before(by)
                });
                may_be_before(made) && !by_departure
            })
            .collect();

        let mut expected = Expected::default();
        for departure in &candidates {
            expected.verdicts.extend(self.fate(departure, call));
        }
        let errnos: HashSet<i32> = creations.iter().filter_map(|made| made.errno).collect();
        expected.verdicts.extend(errnos.into_iter().map(|errno| Verdict::CreationFailed { errno }));
        let ever =
            self.arrivals(place).any(is_sure) || candidates.iter().any(|departure| is_sure(self.call(departure.by)));
        if !ever && !creations.iter().any(|made| is_sure(made)) {
            expected.verdicts.push(match call.errno {
                Some(libc::EROFS) => Verdict::CreationFailed { errno: libc::EROFS },
                _ => Verdict::NeverCreated,
            });
        }
        expected.may_be_untold = self.may_be_there(call);
        expected
    }

    /// Whether somebody looking at the moment when the call returned could find something at its place.
    fn may_be_there(&self, call: &Made) -> bool {
        let place = &call.call.place;
        let overlaps = |made: &Made| made.before <= call.after && call.before <= made.after;
        let arrives =
            self.arrivals(place).any(|made| overlaps(made) || made.errno.is_none() && made.before <= call.after);
        // An open needs no lock of the directory around it: it may see the end before it is told.
        let departs = call.call.operation == Operation::Open
            && self.departures(place).iter().any(|departure| overlaps(self.call(departure.by)));
        // A read-only mount refuses before anybody looks.
        let is_there = call.errno == Some(libc::EROFS)
            && self.arrivals(place).any(|made| {
                let gone = self.departures(place).iter().map(|departure| self.call(departure.by));
                made.before <= call.after && !gone.clone().any(|gone| made.is_before(gone) && gone.is_before(call))
            });
        arrives || departs || is_there
    }

    /// What can be said of a cgroup that went away, at the moment of a call.
    fn fate(&self, departure: &Departure, call: &Made) -> Vec<Verdict> {
        let Some(to) = &departure.to else { return vec![Verdict::Removed { by: departure.by }] };
        // Follow it from name to name: any step that may have been made by then. Where names are used by several at
        // once, it may be somebody else's step; then it is accepted, too.
        let mut verdicts = vec![Verdict::Renamed { by: departure.by }];
        let (mut surely_gone, mut tangled) = (false, false);
        let mut seen = HashSet::from([departure.by]);
        let mut way = vec![(to.clone(), departure.by)];
        while let Some((place, since)) = way.pop() {
            let since = self.call(since);
            let next = self.departures(&place).iter().filter(|next| {
                let by = self.call(next.by);
                !next.ghost && by.after >= since.before && by.before <= call.after
            });
            // The first one that is surely after it is its own, unless one that overlaps is.
            let next: Vec<&Departure> = next.collect();
            tangled |= next.iter().any(|next| !since.is_before(self.call(next.by)));
            let surely = next.iter().map(|next| self.call(next.by)).filter(|by| since.is_before(by));
            let first = surely.map(|by| by.after).min().unwrap_or(u64::MAX);
            for next in next.into_iter().filter(|next| self.call(next.by).before <= first) {
                if !seen.insert(next.by) {
                    continue;
                }
                let by = self.call(next.by);
                match &next.to {
                    None => {
                        verdicts.push(Verdict::Removed { by: next.by });
                        surely_gone |= by.errno.is_some() && since.is_before(by) && by.is_before(call);
                    }
                    Some(to) => {
                        verdicts.push(Verdict::Renamed { by: next.by });
                        way.push((to.clone(), next.by));
                    }
                }
            }
        }
        if surely_gone && !tangled {
            verdicts.retain(|verdict| matches!(verdict, Verdict::Removed { .. }));
        }
        verdicts
    }

    /// Whether a cgroup surely was made at that place between two calls.
    pub fn lived_between(&self, one: &Made, other: &Made) -> bool {
        let (first, second) = if one.before <= other.before { (one, other) } else { (other, one) };
        self.arrivals(&one.call.place).any(|made| made.succeeded() && first.is_before(made) && made.is_before(second))
    }

    /// Who made a call.
    pub fn who(&self, call: usize) -> Who {
        self.call(call).who
    }
}

fn within(place: &Place, around: &Place) -> bool {
    place.hierarchy == around.hierarchy
        && place.path.strip_prefix(&around.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// When a cgroup gets its first process and loses its last one, as far as that is told by those who moved.
#[derive(Clone, Debug)]
pub struct Occupied {
    pub place: Place,
    pub populated: bool,
    pub not_before: u64,
    pub not_after: u64,
}

/// Every change between some and no processes. Only of cgroups whose changes follow one another.
pub fn occupations(truth: &Truth) -> Vec<Occupied> {
    /// The end of a process is told by the kernel a little after its parent is.
    const AFTER_EXIT: u64 = 2_000_000_000;
    let mut changes = Vec::new();
    let mut moves: HashMap<Who, Vec<&Made>> = HashMap::new();
    for made in truth.calls.iter().filter(|made| made.call.operation == Operation::Attach && made.succeeded()) {
        moves.entry(made.call.task.unwrap_or(made.who)).or_default().push(made);
    }
    for (who, made) in &moves {
        for (index, enters) in made.iter().enumerate() {
            let place = &enters.call.place;
            let (not_before, not_after) = (enters.before, enters.after);
            changes.push(Occupied { place: place.clone(), populated: true, not_before, not_after });
            let (not_before, not_after) = match made.get(index + 1) {
                Some(leaves) => (leaves.before, leaves.after),
                None => (enters.after, truth.processes[who].reaped.saturating_add(AFTER_EXIT)),
            };
            changes.push(Occupied { place: place.clone(), populated: false, not_before, not_after });
        }
    }
    changes.sort_by_key(|change| change.not_before);
    changes
}
