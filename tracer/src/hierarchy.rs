//! The cgroup hierarchies of a host, and the header of a stream that names them.

use std::collections::HashMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::input::{BootTime, Device, HierarchyId, Pid, at_most};
use crate::name::Name;
use crate::release::{EmptiedIn, RmdirClass};

/// Which layout `/sys/fs/cgroup` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Setup {
    /// cgroup2 only.
    Unified,
    /// cgroup v1 hierarchies with controllers, and cgroup2 beside them.
    Hybrid,
    /// cgroup v1 only.
    Legacy,
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unified => "unified",
            Self::Hybrid => "hybrid",
            Self::Legacy => "legacy",
        })
    }
}

/// One cgroup hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hierarchy {
    /// Its number; 0 is cgroup2.
    pub id: HierarchyId,
    /// 1 or 2.
    pub version: u8,
    /// Its controllers, or `name=systemd` for a named v1 hierarchy. cgroup2's are those that the root of its mount has;
    /// none in older traces, and where it is not mounted.
    #[serde(deserialize_with = "at_most::<_, _, 1_024>")]
    pub controllers: Vec<String>,
    /// Where this host's own mount namespace has it mounted. `None` if nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<Name>,
    /// Its superblock's device. `None` if it is mounted nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
}

impl Hierarchy {
    /// `v2`, or a v1 hierarchy's controllers.
    pub fn label(&self) -> String {
        match self.version {
            2 => "v2".to_owned(),
            _ => {
                let names = self.controllers.iter().map(|name| name.strip_prefix("name=").unwrap_or(name));
                names.collect::<Vec<_>>().join(",")
            }
        }
    }
}

/// The labels of a host's hierarchies.
#[derive(Clone, Debug, Default)]
pub struct HierarchyLabels(HashMap<HierarchyId, String>);

impl HierarchyLabels {
    /// Those that a header names.
    pub fn of_header(header: &Header) -> Self {
        Self(
            header
                .hierarchies
                .iter()
                .map(|hierarchy| (hierarchy.id, Name::from(hierarchy.label()).printable()))
                .collect(),
        )
    }

    /// The label of one; `?` if it is not known.
    pub fn of(&self, hierarchy: HierarchyId) -> &str {
        self.0.get(&hierarchy).map_or("?", String::as_str)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(String::as_str)
    }
}

/// A pair of readings of two clocks, taken together, that turns boot time into calendar time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Clock {
    /// Nanoseconds since boot.
    pub boot_ns: u64,
    /// Nanoseconds since 1970, UTC.
    pub unix_ns: i64,
}

impl Clock {
    /// The calendar time of `at`, in nanoseconds since 1970, UTC.
    pub fn unix_ns(self, at: BootTime) -> i64 {
        let since = i128::from(at.0) - i128::from(self.boot_ns);
        (i128::from(self.unix_ns) + since).clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// The calendar time of `at` as RFC 3339 in UTC with microseconds, like `2026-11-23T20:13:04.000123Z`.
    pub fn rfc3339(self, at: BootTime) -> String {
        let timestamp = jiff::Timestamp::from_nanosecond(i128::from(self.unix_ns(at)))
            .expect("64 bits of nanoseconds are within jiff's range of years");
        format!("{timestamp:.6}")
    }
}

/// Whether a kernel program is in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    /// Its name in the registry of probes, such as `cgroup_rmdir` or `openat`.
    pub name: String,
    /// It is attached.
    pub attached: bool,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Calls and functions that the backend does not look at, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotWatched {
    /// Their names in the registry of probes.
    #[serde(deserialize_with = "at_most::<_, _, 1_024>")]
    pub names: Vec<String>,
    /// What is not seen.
    pub cost: String,
    /// What would see it.
    pub hint: String,
}

words! {
    /// When the kernel takes the processor from a task that runs kernel code.
    pub enum Preemption {
        /// Never.
        None = "none",
        /// Where that code lets it.
        Voluntary = "voluntary",
        /// Anywhere, but mostly not before the next tick.
        Lazy = "lazy",
        /// Anywhere.
        Full = "full",
    }
}

/// The first line of a stream: where and by what it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Header {
    /// The format's number.
    pub format: u32,
    /// `cgtrace` and its version.
    pub tool: String,
    /// The host's name.
    pub host: Name,
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub arch: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// When tracing began, RFC 3339.
    pub started: String,
    /// Turns boot time into calendar time.
    pub clock: Clock,
    /// The layout of cgroupfs.
    pub setup: Setup,
    /// All hierarchies.
    #[serde(deserialize_with = "at_most::<_, _, 1_024>")]
    pub hierarchies: Vec<Hierarchy>,
    /// How failed calls are watched: `trampoline` or `tracepoint`; `none` if they are not.
    pub backend: String,
    /// All kernel programs, attached or not.
    #[serde(deserialize_with = "at_most::<_, _, 1_024>")]
    pub probes: Vec<Probe>,
    /// What the backend does not look at. None in older traces.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "at_most::<_, _, 1_024>")]
    pub not_watched: Vec<NotWatched>,
    /// What `rmdir` does on this kernel to a cgroup that only exiting tasks are left in. `None` if its release does not
    /// tell, and in older traces.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "known_class")]
    pub rmdir_class: Option<RmdirClass>,
    /// Which task is current on this kernel as a cgroup becomes empty. `None` if its release does not tell, and in
    /// older traces.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "known_task")]
    pub emptied_in: Option<EmptiedIn>,
    /// When the kernel preempts tasks in kernel code; absent if that could not be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preemption: Option<Preemption>,
    /// The command that is traced, `live -- CMD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Pid>,
}

/// As of the class below.
fn known_task<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<EmptiedIn>, D::Error> {
    let word = Option::<String>::deserialize(deserializer)?;
    Ok(EmptiedIn::ALL.into_iter().find(|task| word.as_deref() == Some(task.as_str())))
}

/// A word of a newer version says nothing to this one.
fn known_class<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RmdirClass>, D::Error> {
    let word = Option::<String>::deserialize(deserializer)?;
    Ok(RmdirClass::ALL.into_iter().find(|class| word.as_deref() == Some(class.as_str())))
}
