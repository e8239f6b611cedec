//! The table of system calls that are looked at when they fail, and of what they try; and of the kernel's function that
//! is looked at instead of several of them.
//!
//! A new one is a row. From it come the number that the exit's hook looks for, the trampoline, the probe with its name
//! and cost, the words of the stream and of the metrics, and what is read of the arguments.

/// Calls a macro with what calls try: for each what it means, its name as a type's variant, and its word in the stream.
#[macro_export]
macro_rules! for_each_operation {
    ($then:ident) => {
        $then! {
            /// To make a cgroup.
            Mkdir = "mkdir",
            /// To remove one.
            Rmdir = "rmdir",
            /// To open one, or a file in it.
            Open = "open",
            /// To give one another name (cgroup v1 only). The first path is that of the cgroup; the second one is what
            /// it would have been called, and is not read.
            Rename = "rename",
            /// To write to a control file.
            Write = "write",
            /// To read one.
            Read = "read",
            /// To make a process that begins in a cgroup.
            Spawn = "spawn",
        }
    };
}

macro_rules! operations {
    ($($(#[$means:meta])* $variant:ident = $word:literal,)+) => {
        /// What a call tries: the second half of [`Denied`](crate::Denied).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Operation {
            $($(#[$means])* $variant,)+
        }
    };
}

for_each_operation!(operations);

/// Where the `O_` flags of a call are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flags {
    /// It has none.
    None,
    /// An argument.
    Argument(usize),
    /// The first member of the structure that this argument points to.
    How(usize),
}

/// What tells where a call leads.
#[derive(Clone, Copy, Debug)]
pub enum Leads {
    /// A path.
    Path {
        /// Which argument is the directory that a relative one starts at. `None` if that is the working directory.
        directory: Option<usize>,
        /// Which argument is the path.
        path: usize,
    },
    /// The first argument: the descriptor of an open file.
    Descriptor(Value),
    /// The `cgroup` in the `struct clone_args` that the first argument points to, whose size is the second one.
    CloneArgs,
}

/// What is to be written, behind a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing is.
    None,
    /// The second argument points to it, the third one is how long it is.
    Buffer,
    /// The second argument points to a vector of buffers, the third one is how many those are.
    Vector,
}

/// A system call that is looked at when it fails.
#[derive(Clone, Copy, Debug)]
pub struct Syscall {
    /// Its number. `None` where there is none.
    pub x86_64: Option<u32>,
    /// Likewise.
    pub aarch64: Option<u32>,
    /// What it tries.
    pub operation: Operation,
    /// Where it leads.
    pub leads: Leads,
    /// Its `O_` flags.
    pub flags: Flags,
    /// Of interest only with one of these bits in this argument.
    pub only_with: Option<(usize, u64)>,
    /// Errors that may say something of a cgroup, a bit each.
    pub ours: [u64; 2],
    /// Programs make it all the time, and nearly always on something else: a trampoline would cost each of them. Only
    /// the hook on all system calls' exit, which is there anyway, looks at it.
    pub is_everywhere: bool,
    /// It is no system call but the kernel's function behind several: only a trampoline can look at it, and sees what
    /// succeeds as well.
    pub is_function: bool,
}

/// `AT_REMOVEDIR`
const REMOVEDIR: u64 = 0x200;
/// EBADF and EFAULT: the call was told of no directory or no path.
const NOTHING_NAMED: [u64; 2] = all_but(&[9, 14]);
/// EXDEV beside them: the new name is on another mount, which is found out before either is looked for.
const NOTHING_RENAMED: [u64; 2] = all_but(&[9, 14, 18]);
/// What control files answer to a write: EPERM ENOENT ESRCH EIO E2BIG ENOMEM EACCES EBUSY EEXIST ENODEV EINVAL ENOSPC
/// ERANGE EOVERFLOW EOPNOTSUPP. `memory.reclaim` answers EAGAIN, too, if it could reclaim less than was asked for, and
/// EINTR: sockets and pipes answer so all the time.
const OF_WRITES: [u64; 2] = bits(&[1, 2, 3, 5, 7, 12, 13, 16, 17, 19, 22, 28, 34, 75, 95]);
/// What they answer to a read: EPERM EIO ENOMEM EACCES ENODEV EINVAL EOPNOTSUPP.
const OF_READS: [u64; 2] = bits(&[1, 5, 12, 13, 19, 22, 95]);
/// What clone3 answers for want of room in a cgroup, or because the process may not be in it: EPERM ENOENT EAGAIN
/// ENOMEM EACCES EBUSY ENODEV EINVAL ENOSPC EOPNOTSUPP.
const OF_SPAWNS: [u64; 2] = bits(&[1, 2, 11, 12, 13, 16, 19, 22, 28, 95]);

const fn bits(errnos: &[u16]) -> [u64; 2] {
    let (mut bits, mut index) = ([0; 2], 0);
    while index < errnos.len() {
        bits[errnos[index] as usize / 64] |= 1 << (errnos[index] % 64);
        index += 1;
    }
    bits
}

const fn all_but(errnos: &[u16]) -> [u64; 2] {
    let [low, high] = bits(errnos);
    [!low, !high]
}

impl Syscall {
    /// A call that takes a path alone.
    const fn new(x86_64: Option<u32>, aarch64: Option<u32>, operation: Operation) -> Self {
        let (leads, flags, only_with) = (Leads::Path { directory: None, path: 0 }, Flags::None, None);
        let (ours, is_everywhere, is_function) = (NOTHING_NAMED, false, false);
        Self { x86_64, aarch64, operation, leads, flags, only_with, ours, is_everywhere, is_function }
    }

    /// One of the `*at` calls: first a directory, then a path.
    const fn at(self) -> Self {
        Self { leads: Leads::Path { directory: Some(0), path: 1 }, ..self }
    }

    const fn flags(self, flags: Flags) -> Self {
        Self { flags, ..self }
    }

    const fn only_with(self, argument: usize, bits: u64) -> Self {
        Self { only_with: Some((argument, bits)), ..self }
    }

    const fn ours(self, ours: [u64; 2]) -> Self {
        Self { ours, ..self }
    }

    const fn writes(self, value: Value) -> Self {
        Self { leads: Leads::Descriptor(value), ours: OF_WRITES, is_everywhere: true, ..self }
    }

    const fn reads(self) -> Self {
        Self { leads: Leads::Descriptor(Value::None), ours: OF_READS, is_everywhere: true, ..self }
    }

    /// What writes to control files end in, whichever call they came by. The programs take what was to be written from
    /// its own arguments.
    const fn behind_writes(self) -> Self {
        Self { is_everywhere: false, is_function: true, ..self.writes(Value::Buffer) }
    }

    const fn clones(self) -> Self {
        Self { leads: Leads::CloneArgs, ours: OF_SPAWNS, ..self }
    }

    /// Whether an error may say something of a cgroup. The kernel's own, which no program sees, begin at 512.
    #[inline(always)]
    pub const fn is_ours(&self, errno: u16) -> bool {
        let bits = if errno < 64 { self.ours[0] } else { self.ours[1] };
        errno < 128 && bits >> (errno & 63) & 1 != 0
    }
}

/// Calls a macro with the rows: for each its name as a type's variant, as a constant, of its trampoline, of that one's
/// second copy, and in the kernel; then what it is. Those that are everywhere have no trampoline, and come last. The
/// trampoline on the kernel's function is written out, because its arguments are others.
#[macro_export]
macro_rules! for_each_syscall {
    ($then:ident) => {
        $then! {
            Open OPEN exit_open again_exit_open "open" = new(Some(2), None, Operation::Open).flags(Flags::Argument(1));
            Openat OPENAT exit_openat again_exit_openat "openat" =
                new(Some(257), Some(56), Operation::Open).at().flags(Flags::Argument(2));
            Openat2 OPENAT2 exit_openat2 again_exit_openat2 "openat2" =
                new(Some(437), Some(437), Operation::Open).at().flags(Flags::How(2));
            Mkdir MKDIR exit_mkdir again_exit_mkdir "mkdir" = new(Some(83), None, Operation::Mkdir);
            Mkdirat MKDIRAT exit_mkdirat again_exit_mkdirat "mkdirat" = new(Some(258), Some(34), Operation::Mkdir).at();
            Rmdir RMDIR exit_rmdir again_exit_rmdir "rmdir" = new(Some(84), None, Operation::Rmdir);
            Unlinkat UNLINKAT exit_unlinkat again_exit_unlinkat "unlinkat" =
                new(Some(263), Some(35), Operation::Rmdir).at().only_with(2, REMOVEDIR);
            Rename RENAME exit_rename again_exit_rename "rename" =
                new(Some(82), None, Operation::Rename).ours(NOTHING_RENAMED);
            Renameat RENAMEAT exit_renameat again_exit_renameat "renameat" =
                new(Some(264), Some(38), Operation::Rename).at().ours(NOTHING_RENAMED);
            Renameat2 RENAMEAT2 exit_renameat2 again_exit_renameat2 "renameat2" =
                new(Some(316), Some(276), Operation::Rename).at().ours(NOTHING_RENAMED);
            Clone3 CLONE3 exit_clone3 again_exit_clone3 "clone3" =
                new(Some(435), Some(435), Operation::Spawn).clones();
            CgroupFileWrite CGROUP_FILE_WRITE none none "cgroup_file_write" =
                new(None, None, Operation::Write).behind_writes();
            Write WRITE none none "write" = new(Some(1), Some(64), Operation::Write).writes(Value::Buffer);
            Pwrite64 PWRITE64 none none "pwrite64" =
                new(Some(18), Some(68), Operation::Write).writes(Value::Buffer);
            Writev WRITEV none none "writev" = new(Some(20), Some(66), Operation::Write).writes(Value::Vector);
            Read READ none none "read" = new(Some(0), Some(63), Operation::Read).reads();
            Pread64 PREAD64 none none "pread64" = new(Some(17), Some(67), Operation::Read).reads();
        }
    };
}

macro_rules! table {
    ($(
        $variant:ident $constant:ident $trampoline:ident $again:ident $name:literal =
            $first:ident $arguments:tt $(.$more:ident $with:tt)*;
    )*) => {
        /// All of them, in the order of [`Attempt::syscall`](crate::Attempt::syscall) and of the trampolines' scratch
        /// slots.
        pub const TABLE: &[Syscall] = &[$(Syscall::$first $arguments$(.$more $with)*),*];

        /// Which row each is.
        #[derive(Clone, Copy)]
        #[repr(u8)]
        enum Row {
            $($variant),*
        }

        $(
            #[doc = concat!("The row of `", $name, "`.")]
            pub const $constant: u8 = Row::$variant as u8;
        )*
    };
}

for_each_syscall!(table);

/// How many have a trampoline: the first ones.
pub const TRAMPOLINES: usize = {
    let mut count = 0;
    while count < TABLE.len() && !TABLE[count].is_everywhere {
        count += 1;
    }
    let mut index = count;
    while index < TABLE.len() {
        assert!(TABLE[index].is_everywhere, "those without a trampoline come last");
        index += 1;
    }
    count
};
