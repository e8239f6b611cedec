//! Who on one side plays the part of whom on the other.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::Hash;

use super::role::Role;
use super::side::{Deed, Op, Place, Run, Side, Subject};
use crate::input::BootTime;
use crate::name::Name;

/// What a process has done in each of a subject's cgroups.
pub(super) type Course = BTreeMap<Place, Vec<Op>>;

/// A process's part in a subject.
pub(super) struct Part<'a> {
    pub run: &'a Run,
    pub role: Role,
    pub course: Course,
    pub deeds: Vec<&'a Deed>,
}

/// A subject, and who had a part in it.
pub(super) struct Figure<'a> {
    /// Its number on its side.
    pub number: usize,
    pub subject: &'a Subject,
    pub parts: Vec<Part<'a>>,
}

impl<'a> Figure<'a> {
    /// Those of one side.
    pub fn all(side: &'a Side<'_>) -> Vec<Self> {
        let subjects = side.subjects.iter().enumerate();
        let mut figures: Vec<Self> =
            subjects.map(|(number, subject)| Self { number, subject, parts: Vec::new() }).collect();
        for run in &side.runs {
            let role = Role::of(&run.actor);
            let mut deeds: BTreeMap<usize, Vec<&Deed>> = BTreeMap::new();
            for (number, deed) in run.deeds.iter().enumerate() {
                let makes_good = |later: &Deed| {
                    (later.subject, &later.place) == (deed.subject, &deed.place) && later.op.makes_good(&deed.op)
                };
                if !run.deeds[number + 1..].iter().any(makes_good) {
                    deeds.entry(deed.subject).or_default().push(deed);
                }
            }
            for (subject, deeds) in deeds {
                let mut course = Course::new();
                for deed in &deeds {
                    course.entry(deed.place.clone()).or_default().push(deed.op.clone());
                }
                figures[subject].parts.push(Part { run, role: role.clone(), course, deeds });
            }
        }
        figures
    }

    /// When something was done to it first.
    pub fn began(&self) -> BootTime {
        self.parts.iter().filter_map(|part| part.deeds.first()).map(|deed| deed.at).min().unwrap_or_default()
    }

    fn by_path(&self) -> Option<Likeness> {
        Some(Likeness::Path(self.subject.path.clone(), self.subject.container.is_some()))
    }

    fn by_all(&self) -> Option<Likeness> {
        let parts = self.parts.iter().map(|part| (part.role.clone(), part.course.clone())).collect();
        Some(Likeness::All(self.subject.role.clone(), parts))
    }

    fn by_name(&self) -> Option<Likeness> {
        let container = self.subject.container.as_ref()?;
        let (name, image) = (container.name.clone(), container.image.clone());
        (name.is_some() || image.is_some()).then(|| Likeness::Name(self.subject.role.clone(), name, image))
    }

    fn by_role(&self) -> Option<Likeness> {
        Some(Likeness::Role(self.subject.role.clone()))
    }
}

/// In what two subjects can be alike.
#[derive(PartialEq, Eq, Hash)]
enum Likeness {
    /// They have one path, and both or neither is a container's.
    Path(Name, bool),
    /// The same was done in cgroups of one role.
    All(String, BTreeSet<(Role, Course)>),
    /// They are containers of one role, name and image.
    Name(String, Option<Name>, Option<Name>),
    /// They have one role; the first that was made is paired with the first.
    Role(String),
}

/// Pairs of one side's and the other's, by their places in the lists; then those that have none, of either side.
pub(super) type Pairs = (Vec<(usize, usize)>, Vec<usize>, Vec<usize>);

/// Pairs subjects.
pub(super) fn figures(good: &[Figure<'_>], bad: &[Figure<'_>]) -> Pairs {
    let (mut pairs, mut good_left, mut bad_left) =
        pair(good, bad, &[&Figure::by_path, &Figure::by_all, &Figure::by_name, &Figure::by_role]);
    // The only container that is left has another place: its engine was told to use another driver.
    let only = |figures: &[Figure<'_>], left: &[usize]| {
        let mut containers = left.iter().filter(|number| figures[**number].subject.container.is_some());
        containers.next().copied().filter(|_| containers.next().is_none())
    };
    if let (Some(one), Some(other)) = (only(good, &good_left), only(bad, &bad_left)) {
        pairs.push((one, other));
        good_left.retain(|number| *number != one);
        bad_left.retain(|number| *number != other);
    }
    (pairs, good_left, bad_left)
}

/// What something is known by. `None`: nothing is known of it in this way.
type Key<'a, T, K> = &'a dyn Fn(&T) -> Option<K>;

/// Pairs what has the same key, in order, by the first key first.
pub(super) fn pair<T, K: Eq + Hash>(good: &[T], bad: &[T], keys: &[Key<'_, T, K>]) -> Pairs {
    let mut pairs = Vec::new();
    let (mut good_left, mut bad_left): (Vec<usize>, Vec<usize>) = ((0..good.len()).collect(), (0..bad.len()).collect());
    for key in keys {
        let mut waiting: HashMap<K, VecDeque<usize>> = HashMap::new();
        for number in &bad_left {
            if let Some(key) = key(&bad[*number]) {
                waiting.entry(key).or_default().push_back(*number);
            }
        }
        let mut paired = BTreeSet::new();
        good_left.retain(|number| {
            let other = key(&good[*number]).and_then(|key| waiting.get_mut(&key)?.pop_front());
            pairs.extend(other.map(|other| (*number, other)));
            paired.extend(other);
            other.is_none()
        });
        bad_left.retain(|number| !paired.contains(number));
    }
    (pairs, good_left, bad_left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surest_key_comes_first_and_then_the_order() {
        let by_all = |word: &&str| Some((*word).to_owned());
        let by_first = |word: &&str| word.get(..1).map(str::to_owned);
        let paired = pair(&["ab", "aa", "b", "c"], &["aa", "ax", "d"], &[&by_all, &by_first]);
        assert_eq!(paired, (vec![(1, 0), (0, 1)], vec![2, 3], vec![2]));
    }
}
