//! How much memory the tracker may keep, and what a value takes of it.
//!
//! Whoever may start processes, make cgroups or write a trace file decides how many there are and how long their names.
//! So everything that is kept has a share of one total, in bytes, besides a bound on how many there are.

use std::sync::Arc;

use foldhash::quality::RandomState;

/// A hash table of what every input looks up. Its seed is random: who writes a trace cannot choose keys that collide.
pub(crate) type Table<K, V> = std::collections::HashMap<K, V, RandomState>;

/// All that a tracker keeps. Twenty thousand cgroups with ordinary names and some thousands of processes take half of
/// it.
pub(crate) const TOTAL: usize = 32 << 20;

/// Cgroups that exist: thirty thousand with ordinary paths, or nine thousand of containers with long ones.
pub(crate) const CGROUPS: usize = (11 << 20) - TOTAL / 64 - NAMELESS - PLACINGS - SETTINGS - IN_FLIGHT;
/// Cgroups that were removed and that the kernel has not released.
pub(crate) const DYING: usize = 3 * TOTAL / 128;
/// The last removals: seven thousand with ordinary paths.
pub(crate) const REMOVALS: usize = 13 * TOTAL / 128;
/// Renamings, and the paths that cgroups have left by them: half each.
pub(crate) const RENAMINGS: usize = 1 << 20;
/// Processes that run: two thousand with ordinary command lines.
pub(crate) const RUNNING: usize = 4 << 20;
/// Processes that have ended, or of which only the number is known.
pub(crate) const PASSING: usize = 2 << 20;
/// What bundles, states and engines say of containers.
pub(crate) const CONTAINERS: usize = 2 << 20;
/// Mount tables of strangers: some seven thousand mounts.
pub(crate) const MOUNTS: usize = 2 << 20;
/// Those of the host's own namespaces, which no stranger's push out.
pub(crate) const HOSTS_MOUNTS: usize = 1 << 20;
/// Whose a path is by its name, which can be told anew.
pub(crate) const OWNERS: usize = TOTAL / 64;
/// Who made the cgroups of containers that are left: some eight hundred on v1, twice as many on cgroup2.
pub(crate) const MAKERS: usize = TOTAL / 64;
/// Of that, those of users that are not root.
pub(crate) const OTHERS_MAKERS: usize = MAKERS / 4;
/// Failed calls that belong to no story yet.
pub(crate) const NOTES: usize = 3 * TOTAL / 64;
/// Stories that are not closed, and what may become one.
pub(crate) const STORIES: usize = 5 * TOTAL / 64;
/// Of that, what rules want to know later.
pub(crate) const DEADLINES: usize = STORIES / 5;
/// The traced command's processes and cgroups, which are numbers only.
pub(crate) const COMMAND: usize = TOTAL / 64;

/// Processes that were put into containers' cgroups: some five hundred.
pub(crate) const PLACINGS: usize = TOTAL / 128;
/// Who set what in control files: of some two hundred and fifty containers.
pub(crate) const SETTINGS: usize = TOTAL / 64;
/// Calls that do not return: more than a hundred, each with the processes that it waits for.
pub(crate) const IN_FLIGHT: usize = 3 * TOTAL / 256;
/// Cgroups whose container is not known yet, which are numbers only.
pub(crate) const NAMELESS: usize = TOTAL / 256;

const _: () = assert!(
    CGROUPS
        + DYING
        + REMOVALS
        + RENAMINGS
        + RUNNING
        + PASSING
        + CONTAINERS
        + MOUNTS
        + HOSTS_MOUNTS
        + OWNERS
        + MAKERS
        + NOTES
        + STORIES
        + COMMAND
        + NAMELESS
        + PLACINGS
        + SETTINGS
        + IN_FLIGHT
        == TOTAL
);

/// What the gatherer keeps besides, in bytes: runtimes whose end is waited for, containers that were read, whole paths
/// of cgroups.
pub(crate) const RUNTIMES: usize = 2 << 20;
/// See [`RUNTIMES`].
pub(crate) const READ: usize = 1 << 20;
/// See [`RUNTIMES`].
pub(crate) const LONG_PATHS: usize = 1 << 20;

/// What an allocation takes besides its bytes: the allocator's own, and the counts of a shared one.
pub(crate) const ALLOCATION: usize = 32;

/// What an entry of a hash table takes. One that grows has up to sixteen places for seven entries.
pub(crate) const fn slot(bytes: usize) -> usize {
    (bytes + 1) * 16 / 7
}

/// What takes memory besides its own size.
pub(crate) trait Weigh {
    /// Puts all that it refers to on the scale.
    fn weigh(&self, scale: &mut Scale);
}

/// What some values take together. What several of them share is counted once.
#[derive(Debug, Default)]
pub(crate) struct Scale {
    bytes: usize,
    /// By its address, how many hold it.
    holders: Table<usize, u32>,
    taking: bool,
}

impl Scale {
    /// How much is on it.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts a value on it.
    pub fn put(&mut self, value: &(impl Weigh + ?Sized)) {
        self.taking = false;
        value.weigh(self);
    }

    /// Takes a value off that was put on as it is.
    pub fn take(&mut self, value: &(impl Weigh + ?Sized)) {
        self.taking = true;
        value.weigh(self);
    }

    /// Of the value that is being weighed: so many bytes.
    pub fn add(&mut self, bytes: usize) {
        self.bytes = if self.taking { self.bytes.saturating_sub(bytes) } else { self.bytes.saturating_add(bytes) };
    }

    fn add_shared<T: Weigh>(&mut self, value: &Arc<T>) {
        let address = Arc::as_ptr(value).addr();
        let holders = self.holders.entry(address).or_default();
        let counts = match self.taking {
            true => *holders <= 1,
            false => *holders == 0,
        };
        *holders = if self.taking { holders.saturating_sub(1) } else { holders.saturating_add(1) };
        if counts {
            if self.taking {
                self.holders.remove(&address);
            }
            self.add(ALLOCATION + size_of::<T>() + slot(size_of::<(usize, u32)>()));
            T::weigh(value, self);
        }
    }
}

/// What a value takes by itself.
pub(crate) fn weight(value: &(impl Weigh + ?Sized)) -> usize {
    let mut scale = Scale::default();
    scale.put(value);
    scale.bytes
}

impl Weigh for String {
    fn weigh(&self, scale: &mut Scale) {
        scale.add(ALLOCATION + self.capacity());
    }
}

impl<T: Weigh> Weigh for Option<T> {
    fn weigh(&self, scale: &mut Scale) {
        self.iter().for_each(|value| value.weigh(scale));
    }
}

impl<T: Weigh> Weigh for Box<T> {
    fn weigh(&self, scale: &mut Scale) {
        scale.add(ALLOCATION + size_of::<T>());
        self.as_ref().weigh(scale);
    }
}

impl<T: Weigh> Weigh for Arc<T> {
    fn weigh(&self, scale: &mut Scale) {
        scale.add_shared(self);
    }
}

impl<T: Weigh> Weigh for Vec<T> {
    fn weigh(&self, scale: &mut Scale) {
        scale.add(ALLOCATION + self.capacity() * size_of::<T>());
        self.iter().for_each(|value| value.weigh(scale));
    }
}

impl<T: Weigh> Weigh for &T {
    fn weigh(&self, scale: &mut Scale) {
        (*self).weigh(scale);
    }
}

impl<A: Weigh, B: Weigh> Weigh for (A, B) {
    fn weigh(&self, scale: &mut Scale) {
        self.0.weigh(scale);
        self.1.weigh(scale);
    }
}

/// What refers to memory by these fields and by no other.
macro_rules! weigh {
    ($($type:ty: $($field:ident),*;)+) => {
        $(impl $crate::budget::Weigh for $type {
            fn weigh(&self, scale: &mut $crate::budget::Scale) {
                let _ = &scale;
                $($crate::budget::Weigh::weigh(&self.$field, scale);)*
            }
        })+
    };
}
pub(crate) use weigh;

weigh! {
    ():;
    u64:;
    usize:;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{Actor, Identity, Pid};

    #[test]
    fn what_is_shared_is_counted_once_and_until_nobody_holds_it() {
        let shared: Arc<Identity> =
            Arc::new(Identity { exe: Some("x".repeat(4_096).as_str().into()), ..Default::default() });
        let actor = Actor { identity: Some(shared), ..Actor::new(Pid(1), 1, "runc".into(), None) };
        let (one, mut scale) = (weight(&actor), Scale::default());
        for _ in 0..100 {
            scale.put(&actor);
        }
        assert!((4_096..5_000).contains(&one) && scale.bytes() < one + 100 * 64, "{one} {}", scale.bytes());
        for _ in 0..99 {
            scale.take(&actor);
        }
        assert_eq!(scale.bytes(), one);
        scale.take(&actor);
        assert_eq!((scale.bytes(), scale.holders.len()), (0, 0));
    }
}
