//! What the kernel programs and the agent say to each other: records in ring buffers, and globals set at load time.
//!
//! A record is a head of fixed size, then the bytes that its lengths name, one after the other. All numbers are in the
//! byte order of the machine.
#![cfg_attr(target_arch = "bpf", no_std)]

pub mod syscalls;

/// The size of the kernel's `comm`.
pub const COMM: usize = 16;
/// Ancestors that are told of a process.
pub const PARENTS: usize = 4;
/// A path given to a system call is read up to this, its closing zero included (`PATH_MAX`).
pub const LONGEST_PATH: usize = 4096;
/// What was to be written is read up to this.
pub const LONGEST_VALUE: usize = 128;
/// A command line is read up to this.
pub const LONGEST_ARGV: usize = 4095;
/// The names on the way up from a directory, zeros included, are read up to this.
pub const LONGEST_WALK: usize = 4096;
/// The longest name in a directory, its closing zero included.
pub const LONGEST_NAME: usize = 256;
/// Directories that are walked up at most: each one costs the verifier time, at every start. What lies deeper is known
/// by its cgroup id.
pub const DEEPEST_WALK: usize = 32;
/// The path of a cgroup tracepoint, its closing zero included (`TRACE_CGROUP_PATH_LEN`).
pub const LONGEST_CGROUP_PATH: usize = 1024;
/// Further mount points of cgroupfs that can be set, and how long one may be.
pub const PREFIXES: usize = 15;
/// The longest mount point that can be set.
pub const LONGEST_PREFIX: usize = 64;
/// A path is compared with a mount point by so many words: one byte more than the longest is looked at.
pub const PREFIX_WORDS: usize = LONGEST_PREFIX / 8 + 1;
/// File systems above mounts of cgroupfs that can be set, and the beginnings of paths for each.
pub const ABOVE: usize = 1_024;
/// Threads between the two copies of a hook's program.
pub const TOLD: usize = 4_096;
/// Calls on cgroupfs at a time of which it is known when they began, and what was to be written.
pub const BEGUN: usize = 1_024;
/// The kernel's functions that are looked at for calls in flight, besides the one that writes end in.
pub const FUNCTIONS_IN_FLIGHT: [&str; 2] = ["cgroup_mkdir", "cgroup_rmdir"];
/// The name that a call in flight is about is read up to this, its closing zero included. Control files have shorter
/// ones.
pub const LONGEST_IN_FLIGHT: usize = 128;
/// Beginnings of paths for each file system above.
pub const BEGINNINGS: usize = 16;

/// What a record says: the first byte of each.
pub mod kind {
    /// A [`super::Lifecycle`] record each, up to [`ATTACH_TASK`]: the tracepoint's own words.
    pub const MKDIR: u8 = 0;
    /// `cgroup_rmdir`.
    pub const RMDIR: u8 = 1;
    /// `cgroup_release`.
    pub const RELEASE: u8 = 2;
    /// `cgroup_rename`.
    pub const RENAME: u8 = 3;
    /// `cgroup_notify_populated`; the value says whether.
    pub const NOTIFY_POPULATED: u8 = 4;
    /// `cgroup_freeze`.
    pub const FREEZE: u8 = 5;
    /// `cgroup_unfreeze`.
    pub const UNFREEZE: u8 = 6;
    /// `cgroup_notify_frozen`; the value says whether.
    pub const NOTIFY_FROZEN: u8 = 7;
    /// `cgroup_attach_task`; the value is the id of the thread that was moved.
    pub const ATTACH_TASK: u8 = 8;
    /// A [`super::Process`] record: a program began.
    pub const EXEC: u8 = 16;
    /// A [`super::Process`] record: a process mattered for the first time.
    pub const SEEN: u8 = 17;
    /// A [`super::Process`] record: the last thread of a process ended.
    pub const EXIT: u8 = 18;
    /// A [`super::Attempt`] record.
    pub const ATTEMPT: u8 = 32;
    /// A [`super::Attempt`] record of a write that succeeded: its error is 0.
    pub const CHANGE: u8 = 33;
    /// A [`super::InFlight`] record: a call that took long has returned.
    pub const RETURNED: u8 = 48;
}

/// Flags of [`Attempt::flags`] and [`Process::flags`].
pub mod flag {
    /// The path starts at a directory, which is told.
    pub const RELATIVE: u8 = 1;
    /// The path, or what was to be written, is longer than what was read.
    pub const PATH_TRUNCATED: u8 = 2;
    /// The walk up the directories stopped before the root.
    pub const WALK_TRUNCATED: u8 = 4;
    /// The command line is longer than what was read.
    pub const ARGV_TRUNCATED: u8 = 8;
    /// Of a write: what was to be written could be read.
    pub const HAS_VALUE: u8 = 16;
    /// There is an exit code.
    pub const HAS_EXIT: u8 = 32;
    /// There are a start time, namespaces and parents.
    pub const HAS_TASK: u8 = 64;
    /// The directory that the path starts at is not on cgroupfs, but may be above a mount of it.
    pub const OUTSIDE: u8 = 128;
}

/// A cgroup tracepoint fired. Followed by `path_len` bytes of path.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Lifecycle {
    /// One of [`kind`].
    pub kind: u8,
    /// The path was cut by the kernel.
    pub truncated: u8,
    /// Bytes of path.
    pub path_len: u16,
    /// Of notify_*: 0 or 1. Of attach_task: the thread that was moved; the main thread where a whole process was.
    pub value: u32,
    /// Boot-time nanoseconds.
    pub at: u64,
    /// The cgroup's id.
    pub id: u64,
    /// The hierarchy's number.
    pub hierarchy: u32,
    /// Depth below the root.
    pub level: u32,
    /// The current thread group.
    pub tgid: u32,
    /// The current thread.
    pub tid: u32,
    /// Its real user.
    pub uid: u32,
    /// Of attach_task: the moved thread's thread group; 0 if it is not known, for the classic tracepoint does not tell
    /// it.
    pub task_tgid: u32,
    /// The current thread's name.
    pub comm: [u8; COMM],
    /// Of attach_task: the moved thread's name.
    pub task_comm: [u8; COMM],
}

/// A field of a classic tracepoint's record, as `events/cgroup/NAME/format` in tracefs has it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Where it lies, in bytes.
    pub offset: usize,
}

/// The fields that the programs of classic tracepoints read. They have lain there since Linux 5.5.
pub mod classic {
    use super::Field;

    const fn field(name: &'static str, offset: usize) -> Field {
        Field { name, offset }
    }

    /// The hierarchy's number.
    pub const ROOT: Field = field("root", 8);
    /// Depth below the root.
    pub const LEVEL: Field = field("level", 12);
    /// The cgroup's id.
    pub const ID: Field = field("id", 16);
    /// Where its path is: the offset in the low half (`__data_loc`).
    pub const PATH: Field = field("path", 24);
    /// Of the `cgroup_notify_*` tracepoints: 0 or 1.
    pub const VALUE: Field = field("val", 28);
    /// Of `cgroup_attach_task`: the moved thread. What it has before lies where the others have it.
    pub const MOVED: Field = field("pid", 24);
    /// Likewise: where the path is.
    pub const MOVED_TO: Field = field("dst_path", 28);
    /// Likewise: where the thread's name is.
    pub const MOVED_COMM: Field = field("comm", 32);

    /// What is read of a tracepoint's record.
    #[cfg(not(target_arch = "bpf"))]
    pub fn fields(tracepoint: &str) -> Vec<Field> {
        match tracepoint {
            "cgroup_attach_task" => {
                let [root, level, id] = [("dst_root", ROOT), ("dst_level", LEVEL), ("dst_id", ID)]
                    .map(|(name, like)| field(name, like.offset));
                vec![root, level, id, MOVED, MOVED_TO, MOVED_COMM]
            }
            "cgroup_notify_populated" | "cgroup_notify_frozen" => vec![ROOT, LEVEL, ID, PATH, VALUE],
            _ => vec![ROOT, LEVEL, ID, PATH],
        }
    }
}

/// An ancestor.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Parent {
    /// Its thread group; 0 for none.
    pub tgid: u32,
    /// The name of its main thread.
    pub comm: [u8; COMM],
}

/// A process began a program, mattered for the first time, or ended. Followed by `argv_len` bytes of command line and
/// `exe_len` bytes of names, the innermost first, each with a closing zero.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// One of [`kind`].
    pub kind: u8,
    /// Of [`flag`].
    pub flags: u8,
    /// Bytes of command line.
    pub argv_len: u16,
    /// Bytes of the program file's names.
    pub exe_len: u16,
    /// Zero.
    pub padding: u16,
    /// Boot-time nanoseconds.
    pub at: u64,
    /// When it was forked, boot-time nanoseconds.
    pub started: u64,
    /// Its cgroup2 cgroup.
    pub cgroup: u64,
    /// Its thread group.
    pub tgid: u32,
    /// Its real user.
    pub uid: u32,
    /// Inode number.
    pub mount_namespace: u32,
    /// Inode number.
    pub cgroup_namespace: u32,
    /// As `wait` gives it: the signal in the low seven bits, the status above the low eight.
    pub exit: u32,
    /// Its name.
    pub comm: [u8; COMM],
    /// The nearest first.
    pub parents: [Parent; PARENTS],
    /// As [`Attempt::mounts`].
    pub mounts: u32,
}

/// In `mounts` of [`Attempt`] and [`Process`]: the other bits are known.
pub const MOUNTS_KNOWN: u32 = 1 << 31;

/// A system call that concerns cgroupfs failed. Followed by `path_len` bytes of path and `walk_len` bytes of names, the
/// innermost first, each with a closing zero.
///
/// One that was given a descriptor has no path: the names begin with that of what is open there. In the path's place is
/// what was to be written, if anything was.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// [`kind::ATTEMPT`] or [`kind::CHANGE`].
    pub kind: u8,
    /// A row of [`syscalls::TABLE`].
    pub syscall: u8,
    /// Positive.
    pub errno: u16,
    /// Of [`flag`].
    pub flags: u8,
    /// Zero.
    pub padding: u8,
    /// Bytes of path, or of what was to be written.
    pub path_len: u16,
    /// Bytes of names.
    pub walk_len: u16,
    /// Zero.
    pub padding2: u16,
    /// How often mounts were changed on this host when those of the mount namespace were changed last, and
    /// [`MOUNTS_KNOWN`]; 0 if it is not known.
    pub mounts: u32,
    /// Boot-time nanoseconds.
    pub at: u64,
    /// The `O_` flags of an open. Of a change: how many nanoseconds it took; 0 if that is not known.
    pub detail: u64,
    /// The inode number of the directory that a relative path starts at; of a call that was given a descriptor, of the
    /// cgroup.
    pub directory: u64,
    /// Its superblock's device, as the kernel keeps it: 12 bits major, 20 bits minor.
    pub device: u32,
    /// The thread group.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// Its real user.
    pub uid: u32,
    /// Inode number; 0 if it is not known.
    pub mount_namespace: u32,
    /// The mount that the directory was reached through, as `/proc/PID/mountinfo` numbers it; 0 if it is not known.
    pub mount: u32,
    /// The thread's name.
    pub comm: [u8; COMM],
}

/// A call on cgroupfs that has begun, in map `BEGUN`; and the record that one has returned late.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct InFlight {
    /// [`kind::RETURNED`]; 0 if it is not known of which cgroup it is: nothing is told of that one.
    pub kind: u8,
    /// A [`syscalls::Operation`]: mkdir, rmdir or write.
    pub operation: u8,
    /// Zero.
    pub padding: [u8; 2],
    /// Positive; 0 where it succeeded, or has not returned.
    pub errno: u32,
    /// Boot-time nanoseconds.
    pub began: u64,
    /// Likewise; 0 while it has not returned.
    pub returned: u64,
    /// The cgroup's id: of that around the new one where one is made.
    pub id: u64,
    /// The hierarchy's number.
    pub hierarchy: u32,
    /// The thread group.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// Its real user.
    pub uid: u32,
    /// The thread's name.
    pub comm: [u8; COMM],
    /// The control file, or what the new cgroup is to be called; zeros for none. One that fills it but for the last
    /// byte may be longer.
    pub name: [u8; LONGEST_IN_FLIGHT],
}

/// A call that a thread has begun: the value of map `BEGUN`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// Which.
    pub call: InFlight,
    /// Of a write: how many bytes of `value` are known.
    pub length: u32,
    /// Not 0 if they could be read.
    pub has_value: u8,
    /// Not 0 if there was more to be written.
    pub is_cut: u8,
    /// Zero.
    pub padding: [u8; 2],
    /// What is to be written.
    pub value: [u8; LONGEST_VALUE],
}

/// A mount point of cgroupfs beside `/sys/fs/cgroup`: the value of map `PREFIXES`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Prefix {
    /// Of the first sixteen bytes, those that are compared. Never the last one: where a path's beginning is read as a
    /// string, that is its closing zero.
    pub mask: [u64; 2],
    /// What they must be.
    pub value: [u64; 2],
    /// All of it, and of which bytes it is.
    pub words: [u64; PREFIX_WORDS],
    /// See `words`.
    pub masks: [u64; PREFIX_WORDS],
    /// The byte behind it, which must be zero or a slash.
    pub next: [u64; PREFIX_WORDS],
    /// A slash at that byte of its word.
    pub slash: u64,
}

impl Prefix {
    /// `None` if it is too long.
    pub fn new(mount_point: &[u8]) -> Option<Self> {
        if mount_point.is_empty() || mount_point.len() > LONGEST_PREFIX {
            return None;
        }
        let mut prefix = Self {
            mask: [0; 2],
            value: [0; 2],
            words: [0; PREFIX_WORDS],
            masks: [0; PREFIX_WORDS],
            next: [0; PREFIX_WORDS],
            slash: at(mount_point.len(), b'/'),
        };
        for (index, byte) in mount_point.iter().enumerate() {
            prefix.words[index / 8] |= at(index, *byte);
            prefix.masks[index / 8] |= at(index, 0xff);
            if index < 15 {
                prefix.value[index / 8] |= at(index, *byte);
                prefix.mask[index / 8] |= at(index, 0xff);
            }
        }
        prefix.next[mount_point.len() / 8] = at(mount_point.len(), 0xff);
        Some(prefix)
    }
}

/// A byte at its place in a word of memory.
fn at(index: usize, byte: u8) -> u64 {
    let mut bytes = [0; 8];
    bytes[index % 8] = byte;
    u64::from_ne_bytes(bytes)
}

/// What is to be looked for in paths: the one value of map `WATCHED`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Watched {
    /// How many [`Prefix`]es are set.
    pub prefixes: u64,
    /// A bit for each [`beginning`] that any file system above a mount of cgroupfs has.
    pub beginnings: u64,
}

/// Which bit of [`Watched::beginnings`] a path's first two bytes have.
#[inline(always)]
pub fn beginning(eight: u64) -> u64 {
    let [first, second, ..] = eight.to_ne_bytes();
    (first as u64 * 5 + second as u64) & 63
}

/// The first eight bytes of a relative path, or as many as count.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Beginning {
    /// Those that count.
    pub mask: u64,
    /// What they must be.
    pub value: u64,
}

impl Beginning {
    /// Which no path has.
    pub const NONE: Self = Self { mask: 0, value: 1 };
    /// Which every path has.
    pub const ANY: Self = Self { mask: 0, value: 0 };

    /// Of a path.
    pub fn of(path: &[u8]) -> Self {
        let mut beginning = Self { mask: 0, value: 0 };
        for (index, byte) in path.iter().take(8).enumerate() {
            beginning.mask |= at(index, 0xff);
            beginning.value |= at(index, *byte);
        }
        beginning
    }

    /// The bits of [`Watched::beginnings`] that a path with this beginning may have.
    pub fn bits(&self) -> u64 {
        match self.mask.to_ne_bytes() {
            [0xff, 0xff, ..] => 1 << beginning(self.value),
            // A name of one letter: the path ends there, or goes on below.
            [0xff, ..] => 1 << beginning(self.value) | 1 << beginning(self.value | at(1, b'/')),
            _ => u64::MAX,
        }
    }
}

/// How relative paths begin that lead from a file system to mounts of cgroupfs: the value of map `ABOVE`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Above {
    /// [`Beginning::NONE`] behind the last one.
    pub beginnings: [Beginning; BEGINNINGS],
}

/// In [`Denied::operation`]: writes that succeed. Of these only the total is kept.
pub const CHANGES: u32 = u32::MAX;

/// Who was denied what: the key of the buckets, and of map `DENIED`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Denied {
    /// The thread group.
    pub tgid: u32,
    /// A [`syscalls::Operation`], or [`CHANGES`].
    pub operation: u32,
}

/// The indices of map `LOST`: what was dropped, by ring and reason.
pub mod lost {
    /// The ring of events and processes was full.
    pub const LIFECYCLE_FULL: u32 = 0;
    /// The ring of attempts was full.
    pub const ATTEMPTS_FULL: u32 = 1;
    /// A thread group made more attempts than it may report.
    pub const RATE_LIMITED: u32 = 2;
    /// A path could not be read.
    pub const ATTEMPT_UNREADABLE: u32 = 3;
    /// A cgroup's path could not be read.
    pub const LIFECYCLE_UNREADABLE: u32 = 4;
    /// The ring of changes was full.
    pub const CHANGES_FULL: u32 = 5;
    /// A thread group made more changes than it may report.
    pub const CHANGES_LIMITED: u32 = 6;
    /// How many there are.
    pub const COUNT: u32 = 7;
}

/// The indices of map `SCRATCHES`: a slot for each program that may be preempted by another one. The kernel keeps a
/// program from running on top of itself on one processor, but not two different ones.
pub mod slot {
    use super::syscalls;

    /// Trampolines: one a system call, from 0.
    pub const TRAMPOLINES: u32 = 0;
    /// The tracepoint on all system calls' exit.
    pub const SYS_EXIT: u32 = TRAMPOLINES + syscalls::TRAMPOLINES as u32;
    /// Lifecycle tracepoints: they run with preemption off.
    pub const LIFECYCLE: u32 = SYS_EXIT + 1;
    /// Start and end of processes: likewise.
    pub const PROCESS: u32 = LIFECYCLE + 1;
    /// A process record that is made inside another program's run: one a slot of the above, so far behind it.
    pub const SEEN: u32 = PROCESS + 1;
    /// How many there are where each hook has one program.
    pub const OF_ONE: u32 = 2 * SEEN;
    /// The same of the second copies, so far behind.
    pub const SECOND: u32 = OF_ONE;
    /// How many there are where each hook has two.
    pub const OF_TWO: u32 = 2 * OF_ONE;
}

/// The indices of global `CONFIG`.
pub mod config {
    /// The agent's own thread group, which is not traced.
    pub const SELF: usize = 0;
    /// How many attempts a thread group may report at once.
    pub const BURST: usize = 1;
    /// How many nanoseconds give it one more.
    pub const REFILL_NS: usize = 2;
    /// With so many bytes in the ring of events the agent is woken.
    pub const WAKE_BYTES: usize = 3;
    /// With so many bytes in the ring of events, and in that of attempts, other users than root have had their share of
    /// it.
    pub const CROWDED_EVENTS: usize = 4;
    /// See [`CROWDED_EVENTS`].
    pub const CROWDED_ATTEMPTS: usize = 5;
    /// Whether the second copies are attached as well.
    pub const TWICE: usize = 6;
    /// See [`CROWDED_EVENTS`]: of the ring of changes.
    pub const CROWDED_CHANGES: usize = 7;
    /// A call that took so many nanoseconds is told of when it returns.
    pub const STUCK_NS: usize = 8;
    /// How many there are.
    pub const COUNT: usize = 9;
}

/// Declares the offsets that the programs need: constants that index global `OFFSETS`, and the table of where each is
/// to be found in the kernel's BTF.
macro_rules! offsets {
    ($($name:ident = $structure:literal . $member:literal;)*) => {
        /// The indices of global `OFFSETS`; [`MISSING`](offset::MISSING) stands for one that this kernel does not have.
        pub mod offset {
            offsets!(@index 0usize; $($name)*);
            /// The value of an offset that is not known.
            pub const MISSING: u32 = u32::MAX;
            /// Structure and member of each, in order.
            pub const TABLE: &[(&str, &str)] = &[$(($structure, $member)),*];
            /// How many there are.
            pub const COUNT: usize = TABLE.len();
        }
    };
    (@index $number:expr; $name:ident $($rest:ident)*) => {
        #[doc = concat!("Index of `", stringify!($name), "`.")]
        pub const $name: usize = $number;
        offsets!(@index $number + 1; $($rest)*);
    };
    (@index $number:expr;) => {};
}

offsets! {
    TASK_FILES = "task_struct"."files";
    TASK_FS = "task_struct"."fs";
    TASK_MM = "task_struct"."mm";
    TASK_SIGNAL = "task_struct"."signal";
    TASK_NSPROXY = "task_struct"."nsproxy";
    TASK_PID = "task_struct"."pid";
    TASK_TGID = "task_struct"."tgid";
    TASK_COMM = "task_struct"."comm";
    TASK_GROUP_LEADER = "task_struct"."group_leader";
    TASK_REAL_PARENT = "task_struct"."real_parent";
    TASK_START_BOOTTIME = "task_struct"."start_boottime";
    TASK_EXIT_CODE = "task_struct"."exit_code";
    SIGNAL_LIVE = "signal_struct"."live";
    SIGNAL_GROUP_EXIT_CODE = "signal_struct"."group_exit_code";
    MM_ARG_START = "mm_struct"."arg_start";
    MM_ARG_END = "mm_struct"."arg_end";
    MM_EXE_FILE = "mm_struct"."exe_file";
    NSPROXY_MNT_NS = "nsproxy"."mnt_ns";
    NSPROXY_CGROUP_NS = "nsproxy"."cgroup_ns";
    MNT_NAMESPACE_NS = "mnt_namespace"."ns";
    MNT_NAMESPACE_EVENT = "mnt_namespace"."event";
    CGROUP_NAMESPACE_NS = "cgroup_namespace"."ns";
    NS_COMMON_INUM = "ns_common"."inum";
    FILES_FDT = "files_struct"."fdt";
    FDTABLE_MAX_FDS = "fdtable"."max_fds";
    FDTABLE_FD = "fdtable"."fd";
    FILE_PATH = "file"."f_path";
    KERNFS_OPEN_FILE_FILE = "kernfs_open_file"."file";
    FS_PWD = "fs_struct"."pwd";
    PATH_DENTRY = "path"."dentry";
    PATH_MNT = "path"."mnt";
    MOUNT_MNT = "mount"."mnt";
    MOUNT_MNT_ID = "mount"."mnt_id";
    DENTRY_PARENT = "dentry"."d_parent";
    DENTRY_NAME = "dentry"."d_name";
    DENTRY_INODE = "dentry"."d_inode";
    DENTRY_SB = "dentry"."d_sb";
    QSTR_NAME = "qstr"."name";
    INODE_INO = "inode"."i_ino";
    INODE_PRIVATE = "inode"."i_private";
    SB_DEV = "super_block"."s_dev";
    SB_MAGIC = "super_block"."s_magic";
    SB_ROOT = "super_block"."s_root";
    CGROUP_KN = "cgroup"."kn";
    CGROUP_LEVEL = "cgroup"."level";
    CGROUP_ROOT = "cgroup"."root";
    KERNFS_NODE_ID = "kernfs_node"."id";
    KERNFS_NODE_PRIV = "kernfs_node"."priv";
    CGROUP_ROOT_HIERARCHY_ID = "cgroup_root"."hierarchy_id";
}

/// What offsets a feature of the programs needs.
pub mod feature {
    use super::offset::*;

    /// Relative paths: where they start.
    pub const RELATIVE_PATHS: &[usize] = &[
        TASK_FILES,
        TASK_FS,
        FILES_FDT,
        FDTABLE_MAX_FDS,
        FDTABLE_FD,
        FILE_PATH,
        FS_PWD,
        PATH_DENTRY,
        DENTRY_PARENT,
        DENTRY_NAME,
        DENTRY_INODE,
        DENTRY_SB,
        QSTR_NAME,
        INODE_INO,
        SB_DEV,
        SB_MAGIC,
        SB_ROOT,
    ];
    /// Writes to control files, by the kernel's function: what is open.
    pub const CONTROL_FILES: &[usize] = &[
        KERNFS_OPEN_FILE_FILE,
        FILE_PATH,
        PATH_DENTRY,
        DENTRY_PARENT,
        DENTRY_NAME,
        DENTRY_INODE,
        DENTRY_SB,
        QSTR_NAME,
        INODE_INO,
        SB_DEV,
        SB_MAGIC,
        SB_ROOT,
    ];
    /// Calls that have not returned: of which cgroup they are.
    pub const IN_FLIGHT: &[usize] =
        &[INODE_PRIVATE, KERNFS_NODE_ID, KERNFS_NODE_PRIV, CGROUP_ROOT, CGROUP_ROOT_HIERARCHY_ID];
    /// Mount namespaces.
    pub const MOUNT_NAMESPACE: &[usize] = &[TASK_NSPROXY, NSPROXY_MNT_NS, MNT_NAMESPACE_NS, NS_COMMON_INUM];
    /// Whether mounts were changed since a mount table was read.
    pub const MOUNT_CHANGES: &[usize] = &[TASK_NSPROXY, NSPROXY_MNT_NS, MNT_NAMESPACE_EVENT];
    /// The mount that a directory was reached through.
    pub const MOUNT_ID: &[usize] = &[PATH_MNT, MOUNT_MNT, MOUNT_MNT_ID];
    /// Processes' identity beyond number and name.
    pub const IDENTITY: &[usize] = &[
        TASK_MM,
        MM_ARG_START,
        MM_ARG_END,
        MM_EXE_FILE,
        FILE_PATH,
        PATH_DENTRY,
        DENTRY_PARENT,
        DENTRY_NAME,
        QSTR_NAME,
        TASK_GROUP_LEADER,
        TASK_REAL_PARENT,
        TASK_TGID,
        TASK_COMM,
        TASK_START_BOOTTIME,
        NSPROXY_CGROUP_NS,
        CGROUP_NAMESPACE_NS,
        TASK_NSPROXY,
        NSPROXY_MNT_NS,
        MNT_NAMESPACE_NS,
        NS_COMMON_INUM,
        DENTRY_SB,
        SB_ROOT,
    ];
    /// How a process ended, and when its last thread did.
    pub const EXIT: &[usize] = &[TASK_SIGNAL, SIGNAL_LIVE, SIGNAL_GROUP_EXIT_CODE, TASK_EXIT_CODE];
    /// Lifecycle events by raw tracepoints.
    pub const RAW_LIFECYCLE: &[usize] = &[
        CGROUP_KN,
        CGROUP_LEVEL,
        CGROUP_ROOT,
        KERNFS_NODE_ID,
        CGROUP_ROOT_HIERARCHY_ID,
        TASK_PID,
        TASK_TGID,
        TASK_COMM,
    ];
}
