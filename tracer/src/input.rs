//! What the tracker learns, in the one form it learns it in: kernel events, losses, ticks and facts read from the host.
//!
//! A live run makes [`Input`]s from the kernel's rings and from `/proc`; a replay reads the same ones from a trace
//! file. Either way they reach the tracker one by one, in the order of their [`Seq`].
//!
//! Fields marked *derived* are filled in by the tracker before a line is written and ignored when one is read: they are
//! there for whoever reads the JSON, and a newer tool derives them anew.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::budget::weigh;
use crate::container::Container;
use crate::errno::Errno;
use crate::name::Name;
use tracer_ebpf::syscalls::Leads;

/// Nanoseconds since boot, suspend included (`CLOCK_BOOTTIME`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct BootTime(pub u64);

impl BootTime {
    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Whether two start times are of one process. The kernel side tells them in nanoseconds, `/proc/PID/stat` in whole
    /// clock ticks: a time of whole ticks is the same as any within its tick.
    pub fn is_same_start(self, other: Self) -> bool {
        let ticks = |time: Self| time.0 / CLOCK_TICK;
        let is_whole = |time: Self| time.0.is_multiple_of(CLOCK_TICK);
        self == other || (is_whole(self) || is_whole(other)) && ticks(self) == ticks(other)
    }

    /// Whether a process of this start had begun by then, however late in its clock tick that was.
    pub fn is_surely_before(self, at: Self) -> bool {
        self.0.saturating_add(CLOCK_TICK) <= at.0
    }
}

/// The unit of start times in `/proc/PID/stat`, in nanoseconds: USER_HZ is 100 on every architecture that is supported.
const CLOCK_TICK: u64 = 10_000_000;

impl std::ops::Add<std::time::Duration> for BootTime {
    type Output = Self;

    fn add(self, span: std::time::Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// The number of an input within its stream, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Seq(pub u64);

/// A cgroup hierarchy's number as in `/proc/PID/cgroup`; 0 is cgroup2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct HierarchyId(pub u32);

/// A cgroup's id: the inode number of its directory. Unique within its hierarchy only, and reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct CgroupId(pub u64);

/// A thread group's id, in the initial pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Pid(pub u32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A namespace's inode number, as in `readlink /proc/PID/ns/mnt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct NamespaceId(pub u32);

/// A mount's number, as in the first field of `/proc/PID/mountinfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct MountId(pub u32);

/// How often mounts had been changed on this host when those of a mount namespace were changed last, in 31 bits. 0 if
/// they never were: they are those that the namespace began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountChanges(pub u32);

impl MountChanges {
    /// Whether it tells this state of a namespace's mounts from all others, of other namespaces of the same number too.
    pub fn is_unique(self) -> bool {
        self.0 != 0
    }

    /// Whether this is no earlier than `other`. If one was never changed and the other one was, they are of two
    /// namespaces: the number of one that is gone is given to the next one.
    pub fn has_seen(self, other: Self) -> bool {
        match self.is_unique() && other.is_unique() {
            true => (self.0.wrapping_sub(other.0) & 0x7fff_ffff) < 1 << 30,
            false => self == other,
        }
    }
}

/// A superblock's device, as in the third field of `/proc/PID/mountinfo`. Written `0:38`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    /// Major number; 0 for cgroupfs.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl std::str::FromStr for Device {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (major, minor) = text.split_once(':').unwrap_or((text, ""));
        Ok(Self { major: major.parse()?, minor: minor.parse()? })
    }
}

impl JsonSchema for Device {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Device".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9]+:[0-9]+$" })
    }
}

impl Serialize for Device {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(|_| serde::de::Error::custom(format!("not a device number: {text:?}")))
    }
}

/// One thing the tracker learns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Input {
    /// A cgroup's life went one step on.
    Event(Event),
    /// A call that concerns cgroupfs failed.
    Attempt(Attempt),
    /// A control file was written to, with success.
    Change(Written),
    /// A call on cgroupfs has not returned, or has after it was told of.
    Stuck(Stuck),
    /// A process of interest began a program, ended, or was seen for the first time.
    Process(Process),
    /// Something was read from the host.
    Facts(Facts),
    /// Something did not reach us.
    Lost(Lost),
    /// Nothing happened, and time went on far enough for a decision to fall due.
    Tick(Tick),
}

impl Input {
    /// When it happened.
    pub fn at(&self) -> BootTime {
        match self {
            Self::Event(event) => event.at,
            Self::Attempt(attempt) => attempt.at,
            Self::Change(written) => written.at,
            Self::Stuck(stuck) => stuck.at,
            Self::Process(process) => process.at,
            Self::Facts(facts) => facts.at,
            Self::Lost(lost) => lost.at,
            Self::Tick(tick) => tick.at,
        }
    }
}

words! {
    /// What is now true of a cgroup. The most frequent first: words are looked for in this order.
    pub enum Change {
        /// `mkdir` made it.
        Created = "created",
        /// `rmdir` took it away; the kernel may keep it for a while ("dying").
        Removed = "removed",
        /// The kernel let go of a removed one.
        Released = "released",
        /// It, or a cgroup below it, got its first process.
        Populated = "populated",
        /// The last process of it and all below it is gone.
        Emptied = "emptied",
        /// A process was moved into it.
        Attached = "attached",
        /// It was there when tracing began (found by walking cgroupfs).
        Existing = "existing",
        /// It has a new name (cgroup v1 only).
        Renamed = "renamed",
        /// Every process in it is frozen; with [`Event::requested`], somebody asked for that.
        Frozen = "frozen",
        /// It is no longer frozen; with [`Event::requested`], somebody asked for that.
        Thawed = "thawed",
    }
}

impl Change {
    /// What a word of the contract means.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|change| change.as_str() == word)
    }
}

/// A cgroup as somebody named it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Cgroup {
    /// Its hierarchy.
    pub hierarchy: HierarchyId,
    /// `None` for one that does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<CgroupId>,
    /// From the hierarchy's root, as the host sees it; starts with a slash.
    pub path: Name,
    /// Depth below the root, which has 0. `None` for one that does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u32>,
    /// The kernel cut `path` short (it hands over at most 1023 bytes) and nothing could complete it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub truncated: bool,
}

/// Reads a list that a trace never has more entries of: whoever writes more would have the reader fill its memory.
pub(crate) fn at_most<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MOST: usize>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct List<T, const MOST: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for List<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MOST}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut kept = Vec::new();
            while let Some(entry) = list.next_element()? {
                if kept.len() >= MOST {
                    return Err(serde::de::Error::invalid_length(kept.len() + 1, &self));
                }
                kept.push(entry);
            }
            Ok(kept)
        }
    }

    deserializer.deserialize_seq(List::<T, MOST>(PhantomData))
}

pub(crate) fn is_zero(value: &u64) -> bool {
    *value == 0
}

pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

/// The thread behind an event or attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "RecordedActor")]
pub struct Actor {
    /// Its thread group.
    pub pid: Pid,
    /// The thread itself.
    pub tid: u32,
    /// The thread's name, at most 15 bytes.
    pub comm: Name,
    /// Its real user, in the initial user namespace. `None` if it was not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Derived: what is known of its thread group.
    #[serde(flatten)]
    pub identity: Option<Arc<Identity>>,
    /// Derived: which of the thread groups that have had this number it is.
    #[serde(skip)]
    pub incarnation: Option<Incarnation>,
}

/// A thread group among all that have ever had its number, as the tracker counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(pub u64);

impl Actor {
    /// Whether both are the same thread group, and not two that have had the same number.
    pub fn is_same_process_as(&self, other: &Self) -> bool {
        self.pid == other.pid
            && match (self.incarnation, other.incarnation) {
                (Some(one), Some(other)) => one == other,
                (None, _) | (_, None) => true,
            }
    }

    /// One of which nothing is derived yet.
    pub fn new(pid: Pid, tid: u32, comm: Name, uid: Option<u32>) -> Self {
        Self { pid, tid, comm, uid, identity: None, incarnation: None }
    }
}

/// An actor as it is read back. A flattened field would make the reader keep every field of the line before it knows
/// which ones are wanted.
#[derive(Deserialize, JsonSchema)]
struct RecordedActor {
    pid: Pid,
    tid: u32,
    comm: Name,
    #[serde(default)]
    uid: Option<u32>,
}

impl From<RecordedActor> for Actor {
    fn from(RecordedActor { pid, tid, comm, uid }: RecordedActor) -> Self {
        Self::new(pid, tid, comm, uid)
    }
}

/// What is known of a thread group beyond its number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Identity {
    /// The program file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<Name>,
    /// Its command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argv: Option<Vec<Name>>,
    /// The nearest first, at most four.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<Parent>,
    /// The cgroup (v2, else any) it was in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Name>,
    /// When it was forked: its number alone may be another process's later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<BootTime>,
}

/// One ancestor of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Parent {
    /// Its thread group.
    pub pid: Pid,
    /// Its name.
    pub comm: Name,
}

/// A cgroup's life went one step on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// When.
    pub at: BootTime,
    /// What is now true.
    pub change: Change,
    /// Of which cgroup.
    pub cgroup: Cgroup,
    /// `frozen` and `thawed` only: it was asked for and is not yet so.
    #[serde(default, skip_serializing_if = "is_false")]
    pub requested: bool,
    /// `attached` only: the thread that was moved; a process's main thread where all of it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// Derived: the container that the path belongs to.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub container: Option<Arc<Container>>,
    /// Who did it. `None` where nobody in particular did (`released`, `existing`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
}

/// A thread that was moved into a cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// Its thread group. `None` where the kernel told of the thread alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<Pid>,
    /// The thread itself. `None` in older traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tid: Option<u32>,
    /// The thread's name.
    pub comm: Name,
}

macro_rules! operations {
    ($($(#[$means:meta])* $variant:ident = $word:literal,)+) => {
        words! {
            /// What an attempt tried.
            pub enum Operation {
                $($(#[$means])* $variant = $word,)+
            }
        }

        impl From<tracer_ebpf::syscalls::Operation> for Operation {
            fn from(operation: tracer_ebpf::syscalls::Operation) -> Self {
                match operation {
                    $(tracer_ebpf::syscalls::Operation::$variant => Self::$variant,)+
                }
            }
        }
    };
}

tracer_ebpf::for_each_operation!(operations);

macro_rules! syscalls {
    ($(
        $variant:ident $constant:ident $trampoline:ident $again:ident $name:literal =
            $first:ident $arguments:tt $(.$more:ident $with:tt)*;
    )*) => {
        words! {
            /// The system call that was made: a row of [`tracer_ebpf::syscalls`].
            #[allow(missing_docs, reason = "each is the kernel's own name")]
            pub enum Syscall {
                $($variant = $name,)*
            }
        }
    };
}

tracer_ebpf::for_each_syscall!(syscalls);

impl Syscall {
    /// What the table says of it.
    pub fn row(self) -> &'static tracer_ebpf::syscalls::Syscall {
        &tracer_ebpf::syscalls::TABLE[self as usize]
    }

    /// What it tries.
    pub fn operation(self) -> Operation {
        self.row().operation.into()
    }

    /// Whether it is given a path, and not a descriptor of what it is about.
    pub fn takes_path(self) -> bool {
        matches!(self.row().leads, Leads::Path { .. })
    }

    /// Its number on this architecture: arm64 has only the `*at` calls.
    pub fn number(self) -> Option<u32> {
        if cfg!(target_arch = "aarch64") { self.row().aarch64 } else { self.row().x86_64 }
    }
}

/// A call that concerns cgroupfs failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// When it returned.
    pub at: BootTime,
    /// What it tried.
    pub operation: Operation,
    /// By which call.
    pub syscall: Syscall,
    /// How it failed.
    pub errno: Errno,
    /// The `O_` flags of an open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<u64>,
    /// As the process gave it; relative to `directory` unless it starts with a slash. A call that was given a
    /// descriptor has the name of the file that is open there, or `.` for the cgroup itself.
    pub path: Name,
    /// `path` is longer than what could be read.
    #[serde(default, skip_serializing_if = "is_false")]
    pub truncated: bool,
    /// Of a `write`: the first 128 bytes of what was to be written, as they were in memory when the call had failed.
    /// `None` if they could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Name>,
    /// More than `value` was to be written.
    #[serde(default, skip_serializing_if = "is_false")]
    pub value_truncated: bool,
    /// Where a relative path starts, or the cgroup that a descriptor is of. `None` for an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<Directory>,
    /// The mount namespace that an absolute path, or one from outside cgroupfs, is to be read in. `None` if the
    /// kernel's layout is not known (no BTF).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_namespace: Option<NamespaceId>,
    /// Which mounts that namespace had: a mount table that was read before tells of others. Needed while tracing only.
    #[serde(skip)]
    pub mounts: Option<MountChanges>,
    /// Derived: the cgroup it is about, on the host. `None` if that could not be told.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Cgroup>,
    /// Derived: the control file in it. `None` if the cgroup itself was meant.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub file: Option<Name>,
    /// Derived: the container that `cgroup` belongs to.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub container: Option<Arc<Container>>,
    /// Who did it.
    pub actor: Actor,
}

impl Attempt {
    /// One of which nothing else is known.
    pub fn new(at: BootTime, syscall: Syscall, errno: Errno, path: Name, actor: Actor) -> Self {
        Self {
            at,
            operation: syscall.operation(),
            syscall,
            errno,
            flags: None,
            path,
            truncated: false,
            value: None,
            value_truncated: false,
            directory: None,
            mount_namespace: None,
            mounts: None,
            cgroup: None,
            file: None,
            container: None,
            actor,
        }
    }

    /// Whether it is an opening that may have failed because there is no such file: to make one on cgroupfs is refused
    /// like a missing right.
    pub fn may_lack_file(&self) -> bool {
        /// asm-generic/fcntl.h
        const O_CREAT: u64 = 0o100;
        let makes = self.flags.is_some_and(|flags| flags & O_CREAT != 0);
        let is_refused = matches!(self.errno, Errno::EACCES | Errno::EPERM);
        self.operation == Operation::Open && (self.errno == Errno::ENOENT || is_refused && makes)
    }

    /// Whether it is an opening for writing.
    pub fn is_for_writing(&self) -> bool {
        /// Of which 0 is `O_RDONLY`.
        const O_ACCMODE: u64 = 3;
        self.operation == Operation::Open && self.flags.is_some_and(|flags| flags & O_ACCMODE != 0)
    }

    /// Whether it takes a mount table to tell where the path leads.
    pub fn needs_mounts(&self) -> bool {
        self.directory.as_ref().is_none_or(|directory| directory.outside)
    }
}

/// A control file was written to, with success. Only trampolines tell of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Written {
    /// When the write returned.
    pub at: BootTime,
    /// The control file.
    pub file: Name,
    /// The first 128 bytes of what was written. `None` if they are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Name>,
    /// More than `value` was written.
    #[serde(default, skip_serializing_if = "is_false")]
    pub value_truncated: bool,
    /// How long the kernel took, in nanoseconds. `None` if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ns: Option<u64>,
    /// The cgroup that the file is of, as the kernel's own structures name it.
    pub directory: Directory,
    /// Derived: that cgroup, on the host. `None` if its hierarchy or its path is not known.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Cgroup>,
    /// Derived: the container that `cgroup` belongs to.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub container: Option<Arc<Container>>,
    /// Who wrote.
    pub actor: Actor,
}

/// A call on cgroupfs that has not returned, as it was looked at; told again when it has. Only trampolines tell of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stuck {
    /// When it was looked at, or when it returned.
    pub at: BootTime,
    /// When the call came to cgroupfs. With the thread's number it tells which call it is.
    pub began: BootTime,
    /// What it is to do: `mkdir`, `rmdir` or `write`.
    pub operation: Operation,
    /// The control file that is written to. `None` for other calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Name>,
    /// What the cgroup is to be called that is made, its first 127 bytes. `None` for other calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// The hierarchy, by the kernel's number.
    pub hierarchy: HierarchyId,
    /// The cgroup; of a `mkdir` the one around it.
    pub id: CgroupId,
    /// Derived: the cgroup, on the host; of a `mkdir` the one that is to be made. `None` if its path is not known.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Cgroup>,
    /// Derived: the container that `cgroup` belongs to.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub container: Option<Arc<Container>>,
    /// Who made the call. The name is that of the thread.
    pub actor: Actor,
    /// The kernel's function that the thread sleeps in, by `/proc/PID/task/TID/wchan`. `None` if it runs, or if that
    /// could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_in: Option<String>,
    /// Of an `rmdir` that waits for processes on their way out: those of them that were found, and what each waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "at_most::<_, _, 16>")]
    pub exiting: Vec<Exiting>,
    /// How long the call took, in nanoseconds. `None` while it has not returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ns: Option<u64>,
    /// How it failed. `None` if it succeeded, or has not returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<Errno>,
}

/// A call of a thread: it is in one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId {
    /// The thread.
    pub tid: u32,
    /// When the call began.
    pub began: BootTime,
}

impl Stuck {
    /// Which call it is.
    pub fn call(&self) -> CallId {
        CallId { tid: self.actor.tid, began: self.began }
    }
}

/// A process on its way out, in a cgroup that is to be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exiting {
    /// Its number.
    pub pid: Pid,
    /// Its name.
    pub comm: Name,
    /// The kernel's function that it sleeps in. `None` if it runs, or if that could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_in: Option<String>,
    /// It was the first process of a pid namespace, and waits for all others of it: one of them that has ended, whose
    /// parent has not waited for it. That is the process that removes the cgroup, which has no other thread that could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreaped: Option<Unreaped>,
}

/// A process that has ended, and whose parent has not asked how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unreaped {
    /// Its number.
    pub pid: Pid,
    /// Its name.
    pub comm: Name,
}

/// A directory that a relative path starts at, as the kernel's own structures name it: on cgroupfs, or above a mount of
/// it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Directory {
    /// Its superblock, which tells the hierarchy.
    pub device: Device,
    /// Its cgroup id.
    pub id: CgroupId,
    /// From the superblock's root, found by walking the directory entries up.
    pub path: Name,
    /// The walk stopped before the root: `path` holds only the innermost names.
    #[serde(default, skip_serializing_if = "is_false")]
    pub truncated: bool,
    /// It is not on cgroupfs, and `id` is an inode number: the path is followed through the mounts of
    /// `mount_namespace`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub outside: bool,
    /// The mount that it was reached through. `None` if the kernel's layout is not known, and in older traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<MountId>,
}

/// How a process came to be known, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProcessChange {
    /// It began to run a program.
    Exec,
    /// It was there already when it first mattered.
    Seen,
    /// Its last thread is gone.
    Exit,
}

/// How a thread group ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Exit {
    /// It exited by itself with this status, 0 to 255.
    Code(u8),
    /// It was killed by this signal.
    Signal(u8),
}

impl Exit {
    /// Whether it says that all went well.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

/// A process of interest began a program, ended, or was seen for the first time.
///
/// For `exit` only `pid`, `comm` and `exit` are set. A field that could not be read is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// When.
    pub at: BootTime,
    /// The thread group.
    pub pid: Pid,
    /// What happened to it.
    pub change: ProcessChange,
    /// The name of its main thread (for `exit`, of its last one).
    pub comm: Name,
    /// The program file, as its own mount namespace names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<Name>,
    /// The command line, as far as it is kept: 4 KiB and 256 arguments at most.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::argv::deserialize")]
    pub argv: Option<Vec<Name>>,
    /// `argv` is longer than what could be read.
    #[serde(default, skip_serializing_if = "is_false")]
    pub argv_truncated: bool,
    /// The working directory when it was seen, needed to find a relative `--bundle`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<Name>,
    /// The nearest first, at most four; `parent` of the contract is the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "at_most::<_, _, 16>")]
    pub parents: Vec<Parent>,
    /// Its real user, in the initial user namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its mount namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_namespace: Option<NamespaceId>,
    /// Which mounts that namespace had, as [`Attempt::mounts`].
    #[serde(skip)]
    pub mounts: Option<MountChanges>,
    /// Its cgroup namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_namespace: Option<NamespaceId>,
    /// The id of its cgroup2 cgroup. Older traces call it `cgroup`, which in every other line is an object.
    #[serde(default, rename = "cgroup_id", alias = "cgroup", skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<CgroupId>,
    /// When it was forked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<BootTime>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
}

impl Process {
    /// One of which nothing else is known.
    pub fn new(at: BootTime, pid: Pid, change: ProcessChange, comm: Name) -> Self {
        Self {
            at,
            pid,
            change,
            comm,
            exe: None,
            argv: None,
            argv_truncated: false,
            cwd: None,
            parents: Vec::new(),
            uid: None,
            mount_namespace: None,
            mounts: None,
            cgroup_namespace: None,
            cgroup: None,
            started: None,
            exit: None,
        }
    }
}

/// Something was read from the host that is needed to judge later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Facts {
    /// When it was read.
    pub at: BootTime,
    /// What it says.
    #[serde(flatten)]
    pub about: About,
}

/// What a fact is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "about", rename_all = "kebab-case")]
pub enum About {
    /// The mounts of a mount namespace; replaces what was known of it.
    Mounts {
        /// The namespace.
        namespace: NamespaceId,
        /// Its mounts at and around cgroupfs, in the order of `/proc/PID/mountinfo` (a later one covers an earlier
        /// one).
        mounts: Vec<Mount>,
        /// Mounts that the namespace has, if they are too many: then none is kept, and paths there are not resolved.
        #[serde(default, skip_serializing_if = "is_zero")]
        too_many: u64,
        /// It is the host's own, or the agent's.
        #[serde(default, skip_serializing_if = "is_false")]
        host: bool,
    },
    /// What an OCI bundle or a runtime's state file says of a container; adds to what was known of it.
    Container(ContainerFacts),
    /// Whether a runtime still keeps state of a container.
    State {
        /// The container's id.
        id: Name,
        /// The process that ended just before this was looked at.
        pid: Pid,
        /// Its state file.
        path: Name,
        /// The file is still there.
        present: bool,
    },
    /// What a runtime's log says of why it failed to make a container.
    Failure {
        /// The container's id.
        id: Name,
        /// The process that ended just before this was looked at.
        pid: Pid,
        /// The error that the log ends with.
        message: Name,
    },
    /// Something of a container could not be read: what it would have told stays unknown.
    Unread(Unread),
    /// A question about a process was not answered: what would have been told of it stays unknown.
    Unanswered {
        /// The process.
        pid: Pid,
        /// What was asked.
        question: Question,
        /// Why there is no answer.
        reason: Unanswered,
    },
    /// Who was found in a cgroup after its removal was refused because it is in use, or after a start of a container
    /// failed that would have had it. What is not in it may have left since.
    Occupants(Occupants),
    /// What a cgroup and those around it were like a moment after a call on it had failed.
    Circumstances(Box<Circumstances>),
    /// How many cgroups of cgroup2 are removed and not released, by the kernel's own count: when tracing began, and
    /// when such ones are looked at.
    Dying {
        /// `nr_dying_descendants` of the root.
        count: u64,
    },
    /// A walk of cgroupfs is over: the one at the start, or a later one, because something was lost.
    Walked {
        /// How many cgroups were found.
        cgroups: u64,
        /// Directories that could not be read.
        unreadable: u64,
        /// When a later walk began: what is in the hierarchies that were walked, and was not seen since, is gone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again: Option<WalkedAgain>,
    },
}

/// Who was found in a cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Occupants {
    /// The cgroup's hierarchy.
    pub hierarchy: HierarchyId,
    /// The cgroup.
    pub id: CgroupId,
    /// How many there were, as far as the list was read, those of pid namespaces included that are not seen from the
    /// agent's own.
    pub count: u64,
    /// The first of them that were still there when they were looked at.
    #[serde(deserialize_with = "at_most::<_, _, 64>")]
    pub occupants: Vec<Occupant>,
    /// Whether the cgroup was frozen: cgroup2's own state, or that of v1's freezer at the same path, if the first
    /// occupant is there, too. There, one that is being frozen counts as well: SIGKILL does not act in it either.
    /// `None` if that could not be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<bool>,
}

/// A process in a cgroup; in a threaded cgroup, a thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Occupant {
    /// Its number.
    pub pid: Pid,
    /// Its name.
    pub comm: Name,
    /// When it was forked.
    pub started: BootTime,
    /// How far it is from its end.
    pub state: OccupantState,
}

words! {
    /// How far a process is from its end.
    pub enum OccupantState {
        /// It lives.
        Live = "live",
        /// SIGKILL was sent to it, and it has not begun to end: it is frozen, or held by the kernel.
        Killed = "killed",
        /// It is ending: the kernel takes it apart.
        Exiting = "exiting",
        /// It has ended, and its parent has not asked how.
        Zombie = "zombie",
        /// It is a thread of the kernel's own.
        Kernel = "kernel-thread",
    }
}

/// What a cgroup, those around it and whom a call was about were like, a moment after the call had failed. It may have
/// been otherwise at the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Circumstances {
    /// Whose call it was.
    pub pid: Pid,
    /// When this was read.
    pub read: BootTime,
    /// The cgroup's hierarchy.
    pub hierarchy: HierarchyId,
    /// The control file that the call was about. `None` if it was about the cgroup itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Name>,
    /// Whether the cgroup has that file. `None` if that could not be told, or if it was about none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_exists: Option<bool>,
    /// The cgroup, and those around it, out to the root of what is mounted.
    #[serde(deserialize_with = "at_most::<_, _, 64>")]
    pub levels: Vec<Level>,
    /// `levels` ends at the root of the hierarchy.
    #[serde(default, skip_serializing_if = "is_false")]
    pub to_root: bool,
    /// How many cgroups there are in it. `None` if it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<u64>,
    /// What control files said that have to do with the call.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "at_most::<_, _, 64>")]
    pub values: Vec<FileValue>,
    /// Who was in the cgroup: the first of them that were still there when they were looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "at_most::<_, _, 64>")]
    pub occupants: Vec<Occupant>,
    /// Who was to be moved. `None` if the call was to move nobody, or if the number does not tell: it is one of another
    /// pid namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
    /// Of a write to `cgroup.subtree_control`: who is scheduled in real time, in the cgroup and in those in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "at_most::<_, _, 64>")]
    pub real_time: Vec<Occupant>,
    /// Controllers that are bound to hierarchies of cgroup v1.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "at_most::<_, _, 64>")]
    pub on_v1: Vec<String>,
    /// Of a write to a list of processors or memory nodes: those that this kernel can ever have, by the file `possible`
    /// in `/sys/devices/system/cpu` or `/sys/devices/system/node`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub possible: Option<Name>,
}

/// A cgroup on the way to the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Level {
    /// Its path from the root.
    pub path: Name,
    /// Its id. `None` if it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<CgroupId>,
    /// Who owns its `cgroup.procs`: with `mode`, who may move processes here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The permission bits of its `cgroup.procs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// `cgroup.type` (cgroup2; the root has none).
    #[serde(default, rename = "cgroup_type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `cgroup.controllers` (cgroup2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controllers: Option<Vec<String>>,
    /// `cgroup.subtree_control` (cgroup2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtree_control: Option<Vec<String>>,
    /// How many processes are in it itself, as far as the list was read. `None` where they cannot be listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
}

/// What a control file said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileValue {
    /// The path of its cgroup from the root.
    pub path: Name,
    /// Its name.
    pub file: String,
    /// What it said, up to 256 bytes, without the end of its last line.
    pub value: Name,
}

/// A process that was to be moved into a cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Moved {
    /// Its number, or that of a thread.
    pub pid: Pid,
    /// Its name. `None` if there is no such process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comm: Option<Name>,
    /// How far it is from its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<OccupantState>,
    /// It is scheduled in real time (SCHED_FIFO or SCHED_RR).
    #[serde(default, skip_serializing_if = "is_false")]
    pub real_time: bool,
    /// Where it was in the cgroup's hierarchy, as the agent sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Name>,
}

/// What could not be read of a container: a file that is there and could not be used, or neither bundle nor state of
/// one that a runtime makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unread {
    /// The container's id.
    pub id: Name,
    /// The process that led there. `None` for a container that was there before tracing began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<Pid>,
    /// The file; the bundle's `config.json` if there was nothing. `None` if that is in a working directory that could
    /// not be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Name>,
    /// Why.
    pub reason: UnreadReason,
}

words! {
    /// Why something could not be read.
    pub enum UnreadReason {
        /// The runtime was gone before anybody looked.
        ProcessGone = "process-gone",
        /// It is not there, or may not be read.
        NotReadable = "not-readable",
        /// It is a pipe, a device, a directory, or a file of the kernel's.
        NotAFile = "not-a-file",
        /// It is larger than such a file can be.
        TooLarge = "too-large",
        /// It does not hold what such a file holds.
        Malformed = "malformed",
    }
}

words! {
    /// What is asked of a reader about a process: it can look at its memory and its files.
    pub enum Question {
        /// Its command line.
        CommandLine = "command-line",
        /// What its bundle and its runtime's state say of a container.
        Container = "container",
        /// Whether a container's state is left.
        State = "state",
        /// The mount table of its mount namespace: without it absolute paths there lead to no cgroup.
        Mounts = "mounts",
        /// What the cgroup was like that a call of it failed on.
        Circumstances = "circumstances",
        /// What a call of it waits for that does not return.
        Wait = "wait",
    }
}

words! {
    /// Why a question was not answered.
    pub enum Unanswered {
        /// A file system, or the process's memory, did not answer in time.
        Timeout = "timeout",
        /// It was not asked: another question about what the same user names is not answered, or too many are asked.
        Refused = "refused",
        /// The reader died while reading: there was too much to read.
        Failed = "failed",
    }
}

/// What a later walk of cgroupfs covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WalkedAgain {
    /// When it began.
    pub began: BootTime,
    /// The hierarchies that were walked to their ends.
    #[serde(deserialize_with = "at_most::<_, _, 1_024>")]
    pub hierarchies: Vec<HierarchyId>,
}

/// A mount, as `/proc/PID/mountinfo` gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mount {
    /// Its number. `None` in older traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<MountId>,
    /// The mount that it is on. `None` in older traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<MountId>,
    /// The superblock's device.
    pub device: Device,
    /// The directory of the file system that is mounted.
    pub root: Name,
    /// Where.
    pub mount_point: Name,
    /// `cgroup2`, `cgroup`, `tmpfs` …
    pub file_system: Name,
    /// The mount or its superblock is read-only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
}

/// What an OCI bundle or a runtime's state file says of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerFacts {
    /// The container's id, as given to the runtime.
    pub id: Name,
    /// The runtime that was given it, by the registry's name (`runc`, `crun` …); for one that was there before tracing
    /// began, the one whose naming scheme its cgroup follows.
    pub runtime: String,
    /// The engine that asked for it, by the registry's name (`docker`, `podman` …). `None` if nothing says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The process whose command line led here. `None` for a container that was there before tracing began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<Pid>,
    /// Its real user. `None` if the file lies where only root writes, and in traces of cgtrace 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The file that was read.
    pub source: Name,
    /// Cgroup path asked for in the bundle (`linux.cgroupsPath`), not resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroups_path: Option<Name>,
    /// The runtime's state file for this container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_file: Option<Name>,
    /// A human's name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Name>,
    /// The pod it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Name>,
    /// The pod's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Name>,
}

impl ContainerFacts {
    /// Facts that say nothing yet.
    pub fn new(id: Name, runtime: &str, source: Name) -> Self {
        Self {
            id,
            runtime: runtime.to_owned(),
            engine: None,
            pid: None,
            uid: None,
            source,
            cgroups_path: None,
            state_file: None,
            name: None,
            image: None,
            pod: None,
            namespace: None,
        }
    }
}

words! {
    /// Which of the kernel's rings.
    pub enum Ring {
        /// Events and processes.
        Lifecycle = "lifecycle",
        /// Attempts.
        Attempts = "attempts",
        /// Changes: control files that were written to with success.
        Changes = "changes",
        /// No ring of the kernel's: the trace file that this is read from.
        Recording = "recording",
    }
}

words! {
    /// Why something did not reach us.
    pub enum LossReason {
        /// The ring was full.
        RingFull = "ring-full",
        /// One thread group made more attempts than it is allowed to report.
        RateLimited = "rate-limited",
        /// The trace file could not be written.
        NotWritten = "not-written",
        /// The agent did not run for a while: counted are the cgroups that came or went unseen meanwhile. Or a record
        /// in the ring was not finished for two seconds, which hides all that came after it: counted is that record.
        Stall = "stall",
        /// The kernel skipped a program, because it was running already on that processor, for another task that had
        /// been preempted. It is the most that was lost: a call may have been of no interest, or told by the first of
        /// two copies of the program.
        Missed = "missed",
        /// The kernel does not run a program, though it is attached: trampolines while `kernel.ftrace_enabled` is 0.
        /// Counted are the failed calls that the agent makes itself to see it; how many others were not seen is not
        /// known.
        Silent = "silent",
        /// A record could not be understood, or memory that should hold a path could not be read.
        Malformed = "malformed",
    }
}

/// Something did not reach us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lost {
    /// When it was noticed; the loss itself is between the previous notice and this.
    pub at: BootTime,
    /// From which ring.
    pub ring: Ring,
    /// Why.
    pub reason: LossReason,
    /// How many since the previous notice.
    pub count: u64,
    /// Whose calls they were. `None` if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<Pid>,
    /// What the calls tried. `None` if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// The kernel program that was skipped, or is not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

impl Lost {
    /// A loss of which nothing more is known.
    pub fn some(at: BootTime, ring: Ring, reason: LossReason, count: u64) -> Self {
        Self { at, ring, reason, count, pid: None, operation: None, program: None }
    }
}

/// Nothing happened, and time went on far enough for a decision to fall due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tick {
    /// The time it is.
    pub at: BootTime,
}

weigh! {
    HierarchyId:;
    CgroupId:;
    NamespaceId:;
    Pid:;
    Seq:;
    Parent: comm;
    Identity: exe, argv, parents, cgroup;
    Actor: comm, identity;
    Cgroup: path;
    Occupants: occupants;
    Occupant: comm;
    Circumstances: file, levels, values, occupants, moved, real_time, on_v1, possible;
    Level: path, kind, controllers, subtree_control;
    FileValue: path, file, value;
    Moved: comm, cgroup;
    ContainerFacts: id, runtime, engine, source, cgroups_path, state_file, name, image, pod, namespace;
    Mount: root, mount_point, file_system;
    CallId:;
    Stuck: file, name, cgroup, actor, waits_in, exiting;
    Exiting: comm, waits_in, unreaped;
    Unreaped: comm;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_that_were_never_changed_are_those_of_no_other_namespace() {
        let seen = |own, other| MountChanges(own).has_seen(MountChanges(other));
        assert!(seen(7, 7) && seen(8, 7) && !seen(7, 8), "later counts have seen earlier ones");
        assert!(seen(3, 0x7fff_fff0) && !seen(0x7fff_fff0, 3), "31 bits begin again");
        assert!(seen(0, 0) && !seen(7, 0) && !seen(0, 7), "one that was changed is never one that was not");
    }
}
