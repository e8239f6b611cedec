//! What the release of a kernel says of how it removes cgroups, and of who is current meanwhile: the only table of
//! versions.
//!
//! What a kernel answers to `rmdir` while tasks are still on their way out, and what keeps a removed cgroup, has
//! changed between versions. Nothing in the kernel tells it, and trying would mean making cgroups on the host. Where a
//! release does not prove it, it is unknown: patches of a later version are in many kernels of distributions.

/// A kernel's version: 6.18.44.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third, which counts corrections. Distributions also count something else with it, and say 0 then. `None` if
    /// there is none.
    pub patch: Option<u32>,
}

impl Version {
    const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch: Some(patch) }
    }

    /// Of `uname -r`. `None` if it does not begin with a version.
    pub fn of(release: &str) -> Option<Self> {
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let mut rest = release;
        let mut number = || {
            let (own, behind) = rest.split_at(digits(rest));
            rest = behind.strip_prefix('.').unwrap_or("");
            own.parse().ok()
        };
        Some(Self { major: number()?, minor: number()?, patch: number() })
    }
}

words! {
    /// What `rmdir` does to a cgroup in which nobody lives, and some tasks are still on their way out.
    pub enum RmdirClass {
        /// It fails with EBUSY until the last of them has left. `cgroup.procs` lists them until then.
        Refuses = "refuses",
        /// It fails with EBUSY until the last of them has left, while `cgroup.procs` is empty already.
        RefusesUnseen = "refuses-unseen",
        /// It waits until the last of them has left, and nothing interrupts it.
        Waits = "waits",
        /// It succeeds at once. The cgroup is dying until the last of them has left.
        Defers = "defers",
    }
}

/// What changed, and in which correction of a version that was in use by then. From the version after on, all have it.
///
/// | commit | in | what it changed |
/// |---|---|---|
/// | a72f73c4dd9b | 6.19.9 | tasks on their way out are not listed |
/// | 1b164b876c36 | 6.19.12 | `rmdir` waits for them |
/// | 93618edf7538 | 7.0.9 | `rmdir` returns at once, and the rest is done when they have left |
///
/// (6.19 also has d245698d727a: a task leaves its cgroup at its very end, which makes all of this matter.)
const RMDIR: [(Version, RmdirClass); 4] = [
    (Version::new(0, 0, 0), RmdirClass::Refuses),
    (Version::new(6, 19, 9), RmdirClass::RefusesUnseen),
    (Version::new(6, 19, 12), RmdirClass::Waits),
    (Version::new(7, 0, 9), RmdirClass::Defers),
];

/// Where the correction decides.
const BY_PATCH: [(u32, u32); 2] = [(6, 19), (7, 0)];

/// From this version on the pages of a removed memory cgroup become those of the one around it (commit fd4ab6da7dd0 and
/// those before it); until then each page keeps it.
const PAGES_MOVE_ON: (u32, u32) = (7, 1);

impl RmdirClass {
    /// That of a kernel, by `uname -r`. `None` if the release does not tell.
    pub fn of(release: &str) -> Option<Self> {
        let own = Version::of(release)?;
        let is_a_candidate = release.contains("-rc");
        // Distributions whose third number is always 0 take corrections from later ones.
        let is_clear = own.patch.is_some_and(|patch| patch > 0) && !is_a_candidate;
        if BY_PATCH.contains(&(own.major, own.minor)) && !is_clear {
            return None;
        }
        RMDIR.iter().rev().find(|(since, _)| *since <= own).map(|(_, class)| *class)
    }

    /// Whether a refusal (EBUSY) can be due to tasks alone that were on their way out.
    pub fn refuses_the_exiting(self) -> bool {
        match self {
            Self::Refuses | Self::RefusesUnseen => true,
            Self::Waits | Self::Defers => false,
        }
    }

    /// Whether those who were in the way of a refusal can be missing in `cgroup.procs` as they were on their way out.
    pub fn hides_the_exiting(self) -> bool {
        self == Self::RefusesUnseen
    }

    /// What `rmdir` does, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Refuses => "rmdir fails with EBUSY until the last exiting task has left",
            Self::RefusesUnseen => "rmdir fails with EBUSY until the last exiting task has left; none is listed",
            Self::Waits => "rmdir waits until the last exiting task has left",
            Self::Defers => "rmdir returns at once; the cgroup is dying until the last exiting task has left",
        }
    }
}

/// From this version on a task that ends leaves its cgroup when another one runs already (commit d245698d727a). Seen
/// on 6.19, 7.0, 7.1 and 7.3: of 40 ends each, none was told while its own task was current; on 6.18 all were.
const LEAVES_LAST: (u32, u32) = (6, 19);

/// From this version on programs of tracepoints can be preempted (commit a46023d5616e); those of trampolines always
/// could.
const PREEMPTS_TRACEPOINTS: (u32, u32) = (7, 0);

words! {
    /// Which task is current as a cgroup becomes empty.
    pub enum EmptiedIn {
        /// The last one that leaves it.
        LastTask = "last-task",
        /// Whatever task runs next, which has nothing to do with it.
        NextTask = "next-task",
    }
}

impl EmptiedIn {
    /// That of a kernel, by `uname -r`. `None` if the release does not tell.
    pub fn of(release: &str) -> Option<Self> {
        let own = Version::of(release)?;
        Some(if (own.major, own.minor) >= LEAVES_LAST { Self::NextTask } else { Self::LastTask })
    }

    /// What follows from it, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::LastTask => "the task that leaves last is current, and is the actor",
            Self::NextTask => "any task may be current, so `emptied` events have no actor",
        }
    }
}

/// Whether programs of tracepoints can be preempted. `None` if the release does not tell.
pub fn preempts_tracepoints(release: &str) -> Option<bool> {
    Version::of(release).map(|own| (own.major, own.minor) >= PREEMPTS_TRACEPOINTS)
}

/// Whether a page that is charged to a removed memory cgroup keeps it. `None` if the release does not tell.
pub fn keeps_pages(release: &str) -> Option<bool> {
    Version::of(release).map(|own| (own.major, own.minor) < PAGES_MOVE_ON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_all_kinds_of_releases() {
        let of = |release| Version::of(release).map(|own| (own.major, own.minor, own.patch));
        assert_eq!(of("6.18.44-fc-v782"), Some((6, 18, Some(44))));
        assert_eq!(of("5.15.0-91-generic"), Some((5, 15, Some(0))));
        assert_eq!(of("7.0.13+deb13-cloud-amd64"), Some((7, 0, Some(13))));
        assert_eq!(of("7.3"), Some((7, 3, None)));
        assert_eq!(of("7.1-rc3"), Some((7, 1, None)));
        for none in ["linux", "", "7", "7.x", "99999999999.1"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_release_tells_what_rmdir_does_or_nothing() {
        use RmdirClass::{Defers, Refuses, RefusesUnseen, Waits};
        for (release, class) in [
            ("5.15.0-91-generic", Some(Refuses)),
            ("6.1.0-56-cloud-amd64", Some(Refuses)),
            ("6.12.0-55.el10.x86_64", Some(Refuses)),
            ("6.18.44-fc-v857", Some(Refuses)),
            ("6.19.8+deb13-amd64", Some(Refuses)),
            ("6.19.9", Some(RefusesUnseen)),
            ("6.19.11-200.fc43.x86_64", Some(RefusesUnseen)),
            ("6.19.12", Some(Waits)),
            ("6.19.14+deb13-cloud-amd64", Some(Waits)),
            ("7.0.1", Some(Waits)),
            ("7.0.8+deb13-amd64", Some(Waits)),
            ("7.0.9+deb13-amd64", Some(Defers)),
            ("7.1.0", Some(Defers)),
            ("7.1-rc5", Some(Defers)),
            ("7.3.4+deb13-cloud-amd64", Some(Defers)),
            // Whose corrections these have is not known.
            ("6.19.0-12-generic", None),
            ("7.0.0-14-generic", None),
            ("7.0.0-rc6", None),
            ("7.0", None),
            ("unknown", None),
        ] {
            assert_eq!(RmdirClass::of(release), class, "{release}");
        }
    }

    #[test]
    fn only_where_rmdir_refuses_them_can_those_on_their_way_out_be_in_the_way() {
        let refusing = RmdirClass::ALL.map(RmdirClass::refuses_the_exiting);
        assert_eq!(refusing, [true, true, false, false]);
        assert_eq!(RmdirClass::ALL.map(RmdirClass::hides_the_exiting), [false, true, false, false]);
    }

    #[test]
    fn pages_keep_a_removed_cgroup_before_7_1() {
        for (release, keeps) in [
            ("5.15.0-91-generic", Some(true)),
            ("6.18.44-fc-v857", Some(true)),
            ("7.0.13+deb13-cloud-amd64", Some(true)),
            ("7.1.13+deb13-cloud-amd64", Some(false)),
            ("7.10.1", Some(false)),
            ("10.0", Some(false)),
            ("", None),
        ] {
            assert_eq!(keeps_pages(release), keeps, "{release}");
        }
    }
}
