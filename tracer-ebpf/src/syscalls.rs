//! The table of system calls that are looked at when they fail, and of what they try.
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

/// A system call that takes a path.
#[derive(Clone, Copy, Debug)]
pub struct Syscall {
    /// Its number. `None` where there is none.
    pub x86_64: Option<u32>,
    /// Likewise.
    pub aarch64: Option<u32>,
    /// What it tries.
    pub operation: Operation,
    /// Which argument is the directory that a relative path starts at. `None` if that is the working directory.
    pub directory: Option<usize>,
    /// Which argument is the path.
    pub path: usize,
    /// Its `O_` flags.
    pub flags: Flags,
    /// Of interest only with one of these bits in this argument.
    pub only_with: Option<(usize, u64)>,
    /// Errors that say nothing of any cgroup.
    pub never_ours: &'static [u16],
}

/// `AT_REMOVEDIR`
const REMOVEDIR: u64 = 0x200;
/// EBADF and EFAULT: the call was told of no directory or no path.
const NOTHING_NAMED: &[u16] = &[9, 14];
/// EXDEV beside them: the new name is on another mount, which is found out before either is looked for.
const NOTHING_RENAMED: &[u16] = &[9, 14, 18];

impl Syscall {
    /// A call that takes a path alone.
    const fn new(x86_64: Option<u32>, aarch64: Option<u32>, operation: Operation) -> Self {
        let (directory, path, flags, only_with) = (None, 0, Flags::None, None);
        Self { x86_64, aarch64, operation, directory, path, flags, only_with, never_ours: NOTHING_NAMED }
    }

    /// One of the `*at` calls: first a directory, then a path.
    const fn at(self) -> Self {
        Self { directory: Some(0), path: 1, ..self }
    }

    const fn flags(self, flags: Flags) -> Self {
        Self { flags, ..self }
    }

    const fn only_with(self, argument: usize, bits: u64) -> Self {
        Self { only_with: Some((argument, bits)), ..self }
    }

    const fn never(self, never_ours: &'static [u16]) -> Self {
        Self { never_ours, ..self }
    }

    /// Whether an error says nothing of any cgroup.
    #[inline(always)]
    pub const fn is_never(&self, errno: u16) -> bool {
        let mut index = 0;
        while index < self.never_ours.len() {
            if self.never_ours[index] == errno {
                return true;
            }
            index += 1;
        }
        false
    }
}

/// Calls a macro with the rows: for each its name as a type's variant, as a constant, of its trampoline, of that one's
/// second copy, and in the kernel; then what it is.
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
                new(Some(82), None, Operation::Rename).never(NOTHING_RENAMED);
            Renameat RENAMEAT exit_renameat again_exit_renameat "renameat" =
                new(Some(264), Some(38), Operation::Rename).at().never(NOTHING_RENAMED);
            Renameat2 RENAMEAT2 exit_renameat2 again_exit_renameat2 "renameat2" =
                new(Some(316), Some(276), Operation::Rename).at().never(NOTHING_RENAMED);
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

/// How many there are.
pub const COUNT: usize = TABLE.len();
