//! What a thread of the agent gives up once it has what it needs.
//!
//! Capabilities, Landlock domains and seccomp filters are a thread's own, and each thread needs little: the one that
//! traces reads other processes' `/proc`, the one that records writes to one directory, the one that serves only talks
//! to who connects, and the one that sends findings only to a collector. The readers ([`crate::reader`]) are processes
//! of their own.
//!
//! The thread that traces and the readers cannot be in a Landlock domain: from within one the kernel refuses to tell of
//! any process outside it (`/proc/PID/ns`, `exe`, `cwd` and `root` fail with EACCES, whatever the capabilities), and
//! that is what they are there to read. Their seccomp filters refuse to open anything for writing, to run anything, and
//! to connect to anything, instead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus,
};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use crate::rights::Rights;

/// The newest Landlock that is asked for; an older kernel gives what it has.
const LANDLOCK: ABI = ABI::V5;

/// What a thread is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It reads the rings and `/proc`.
    Trace {
        /// It keeps CAP_BPF: see [`needs_bpf_for_maps`].
        bpf: bool,
    },
    /// It writes trace files.
    Record(PathBuf),
    /// It keeps the last of the trace in memory.
    Remember,
    /// It answers whoever connects.
    Serve,
    /// It sends findings to a collector.
    Push {
        /// The port that it connects to.
        port: u16,
    },
    /// A process of its own, which makes readers.
    Keep,
    /// A process of its own, which reads what others name.
    Read,
}

impl Role {
    fn name(&self) -> &'static str {
        match self {
            Self::Trace { .. } => "traces",
            Self::Record(_) => "records",
            Self::Remember => "remembers",
            Self::Serve => "serves",
            Self::Push { .. } => "sends findings",
            Self::Keep => "keeps readers",
            Self::Read => "reads files that other users name",
        }
    }

    fn capabilities(&self) -> CapabilitySet {
        match self {
            Self::Trace { bpf } => {
                let reading = CapabilitySet::DAC_READ_SEARCH | CapabilitySet::SYS_PTRACE;
                if *bpf { reading | CapabilitySet::BPF } else { reading }
            }
            // With the rights of who named it.
            Self::Keep | Self::Read => {
                CapabilitySet::DAC_READ_SEARCH
                    | CapabilitySet::SYS_PTRACE
                    | CapabilitySet::SETUID
                    | CapabilitySet::SETGID
            }
            Self::Record(_) | Self::Remember | Self::Serve | Self::Push { .. } => CapabilitySet::empty(),
        }
    }
}

/// Says what a thread has given up, or why it has not.
pub fn say_confined(confined: anyhow::Result<String>) {
    match confined {
        Ok(line) => say!("{line}"),
        Err(error) => say!("warning: not confined: {error:#}"),
    }
}

/// Whether every use of a map needs CAP_BPF: before Linux 5.19 the whole of bpf(2) was refused without it, where
/// `kernel.unprivileged_bpf_disabled` is set; since then only loading is.
pub fn needs_bpf_for_maps(kernel: (u32, u32), unprivileged_bpf_disabled: bool) -> bool {
    unprivileged_bpf_disabled && kernel < (5, 19)
}

/// Gives up, for the calling thread and those that it starts, all that `role` does not need. Returns a line that says
/// so; what this kernel or this user cannot give up is in it too.
///
/// # Errors
/// When capabilities cannot be given up, or the seccomp filter cannot be installed: then the thread is as it was, or
/// less.
pub fn confine(role: &Role) -> anyhow::Result<String> {
    let of_nobody = match role {
        Role::Push { .. } => read_as_nobody(),
        Role::Trace { .. } | Role::Record(_) | Role::Remember | Role::Serve | Role::Keep | Role::Read => None,
    };
    let mut words = vec![give_up_capabilities(role.capabilities())?];
    rustix::thread::set_no_new_privs(true).context("failed to set no_new_privs")?;
    words.push("no new privileges".to_owned());
    words.extend(of_nobody.map(str::to_owned));
    if let Role::Record(_) | Role::Remember | Role::Serve | Role::Push { .. } = role {
        leave_signals()?;
    }
    match role {
        Role::Trace { .. } | Role::Keep | Role::Read => words.push("no Landlock, which would hide /proc".to_owned()),
        Role::Record(directory) => words.push(landlock(Allowed::Writing(directory))?),
        Role::Remember | Role::Serve => words.push(landlock(Allowed::Nothing)?),
        Role::Push { port } => words.push(landlock(Allowed::Connecting(*port))?),
    }
    let (calls, filters) = seccomp(role)?;
    for filter in &filters {
        seccompiler::apply_filter(filter).context("failed to install the seccomp filter")?;
    }
    words.push(format!("seccomp with {calls} calls"));
    Ok(format!("confined: the thread that {}: {}", role.name(), words.join("; ")))
}

fn give_up_capabilities(keep: CapabilitySet) -> anyhow::Result<String> {
    let _ = rustix::thread::clear_ambient_capability_set();
    let held = rustix::thread::capabilities(None).context("failed to read the capabilities")?;
    // As long as there is CAP_SETPCAP. Without it the bounding set stays, and is of no use once no_new_privs is set.
    let mut bounding = "bounding set as narrow";
    for capability in CapabilitySet::all().iter().filter(|capability| !keep.contains(*capability)) {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // The newest ones that this kernel does not know.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(_) => bounding = "bounding set unchanged: CAP_SETPCAP is missing",
        }
    }
    let kept = held.permitted & keep;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).context("failed to give up capabilities")?;
    let names: Vec<String> = kept.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    let names = if names.is_empty() { "no capability".to_owned() } else { names.join(" and ") };
    Ok(format!("{names}, {bounding}"))
}

/// Leaves the signals that the agent is told with to the thread that traces. The thread that gets one has to wake that
/// one up, by a call that others give up: it would never hear of it.
fn leave_signals() -> anyhow::Result<()> {
    // SAFETY: all zeros are a value of it, and it lives through the calls.
    let failed = unsafe {
        let mut signals: libc::sigset_t = std::mem::zeroed();
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
            libc::sigaddset(&raw mut signals, signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut())
    };
    anyhow::ensure!(failed == 0, "failed to block signals: {}", std::io::Error::from_raw_os_error(failed));
    Ok(())
}

/// Looks at files as anybody, as far as this thread still may become somebody else. `None` if it may not; then
/// Landlock alone is in the way.
fn read_as_nobody() -> Option<&'static str> {
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID;
    if !rustix::thread::capabilities(None).is_ok_and(|held| held.effective.contains(needed)) {
        return None;
    }
    // It is never put back.
    std::mem::forget(Rights::of_nobody().assume()?);
    Some("files as anybody may read them")
}

/// What a Landlock domain lets a thread do.
#[derive(Clone, Copy)]
enum Allowed<'a> {
    Nothing,
    /// To write files in a directory.
    Writing(&'a Path),
    /// To connect to a port, and to look up which addresses a name has.
    Connecting(u16),
}

/// The port of name servers.
const DNS: u16 = 53;
/// Where it is said how names are looked up. Files there are replaced by others of their name, so that a rule for the
/// file alone would not do for long.
const NAMES: [&str; 4] = ["/etc", "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager"];

/// Forbids every file and every connection, save what is allowed.
fn landlock(allowed: Allowed<'_>) -> anyhow::Result<String> {
    let writing: BitFlags<AccessFs> =
        AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::Truncate;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?
        .create()
        .context("failed to make a Landlock ruleset")?;
    let (ruleset, but) = match allowed {
        Allowed::Nothing => (ruleset, String::new()),
        Allowed::Writing(directory) => {
            let fd = PathFd::new(directory).with_context(|| format!("failed to open {}", directory.display()))?;
            let but = format!(" but in {}", directory.display());
            (ruleset.add_rule(PathBeneath::new(fd, writing))?, but)
        }
        Allowed::Connecting(port) => {
            let mut ruleset = ruleset;
            for port in [port, DNS] {
                ruleset = ruleset.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
            }
            // Not every host has all of them.
            for fd in NAMES.iter().filter_map(|directory| PathFd::new(directory).ok()) {
                ruleset = ruleset.add_rule(PathBeneath::new(fd, AccessFs::ReadFile))?;
            }
            (ruleset, format!(" but those that say how names are looked up, and TCP but to ports {port} and {DNS}"))
        }
    };
    let status = ruleset.restrict_self().context("failed to enter a Landlock domain")?;
    Ok(match status.ruleset {
        RulesetStatus::NotEnforced => "no Landlock here".to_owned(),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => format!("Landlock forbids all files{but}"),
    })
}

/// The newest Landlock that this kernel has; `None` if it has none.
pub fn landlock_abi() -> Option<u32> {
    /// `LANDLOCK_CREATE_RULESET_VERSION`
    const VERSION: u32 = 1;
    // SAFETY: asked for the version it takes no memory.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, VERSION) };
    u32::try_from(abi).ok().filter(|abi| *abi > 0)
}

/// Whether this kernel filters system calls.
pub fn has_seccomp() -> bool {
    /// `SECCOMP_GET_ACTION_AVAIL`, and the action that is used.
    const GET_ACTION_AVAIL: u32 = 2;
    const ERRNO: u32 = 0x0005_0000;
    let action = ERRNO;
    // SAFETY: the action lives through the call.
    unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0u32, &raw const action) == 0 }
}

/// Memory, time, threads' own business: what every thread does.
const COMMON: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    // Whether anybody takes a message.
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_write,
    libc::SYS_writev,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// Waiting for descriptors, and talking over those that are open.
const EVENTS: &[i64] = &[
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
];

/// Looking at files by their paths: a static program's C library (musl) uses the older calls, where there are any.
const LOOK: &[i64] = &[
    libc::SYS_newfstatat,
    libc::SYS_statx,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
];

const TRACE: &[i64] = &[
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getdents64,
    libc::SYS_getrusage,
    libc::SYS_ioctl,
    libc::SYS_lseek,
    libc::SYS_open_by_handle_at,
    libc::SYS_pread64,
    libc::SYS_readlinkat,
    libc::SYS_timerfd_settime,
    libc::SYS_uname,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
];

const RECORD: &[i64] = &[
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_ftruncate,
    libc::SYS_getrusage,
    libc::SYS_lseek,
    libc::SYS_openat,
    libc::SYS_unlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
];

const READ: &[i64] = &[
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgroups,
    libc::SYS_lseek,
    libc::SYS_readlinkat,
    // Who looks at files, and not who this process is.
    libc::SYS_setfsgid,
    libc::SYS_setfsuid,
    libc::SYS_setgroups,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
];

/// What the keeper does beyond what a reader does, which is held to what its keeper may.
const KEEP: &[i64] = &[
    libc::SYS_close_range,
    libc::SYS_dup3,
    libc::SYS_kill,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_seccomp,
    // What musl's fork does, which has a call of its own for it where the kernel has one.
    libc::SYS_set_tid_address,
    libc::SYS_socketpair,
    libc::SYS_wait4,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
];

const SERVE: &[i64] = &[
    libc::SYS_accept4,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_ioctl,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
];

/// Connections outward, over sockets of the internet alone, and what a library does to look a name up.
const PUSH: &[i64] = &[
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_ioctl,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_sendmmsg,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_uname,
];

/// bpf(2): look a map up, update one, take something out of one, go through one, ask for a program's numbers, and
/// attach a program that was loaded before to its tracepoint: one that takes over from trampolines that the kernel does
/// not run any more.
const BPF_COMMANDS: [u64; 6] = [1, 2, 3, 4, 15, 17];
/// `PR_SET_NAME`: a new thread tells its name.
const PR_SET_NAME: u64 = 15;

/// The filters for a role, and how many calls they let through.
fn seccomp(role: &Role) -> anyhow::Result<(usize, [BpfProgram; 2])> {
    let own: &[&[i64]] = match role {
        Role::Trace { .. } => &[EVENTS, LOOK, TRACE],
        Role::Record(_) => &[LOOK, RECORD],
        Role::Remember => &[],
        Role::Serve => &[EVENTS, SERVE],
        Role::Push { .. } => &[EVENTS, LOOK, PUSH],
        Role::Keep => &[EVENTS, LOOK, READ, KEEP],
        Role::Read => &[EVENTS, LOOK, READ],
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        COMMON.iter().chain(own.iter().copied().flatten()).map(|call| (*call, Vec::new())).collect();
    // No memory is both written and run.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![rule(&[(2, SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64), 0)])?]);
    }
    // A panic ends this process, and signals no other.
    rules.insert(libc::SYS_tgkill, vec![rule(&[(0, SeccompCmpOp::Eq, u64::from(std::process::id()))])?]);
    if let Role::Push { .. } = role {
        let families = [libc::AF_INET, libc::AF_INET6].map(|family| rule(&[(0, SeccompCmpOp::Eq, family as u64)]));
        rules.insert(libc::SYS_socket, families.into_iter().collect::<Result<_, _>>()?);
    }
    if let Role::Trace { .. } | Role::Keep | Role::Read | Role::Push { .. } = role {
        // musl's O_ACCMODE has O_PATH in it, which only looks.
        let writing = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND;
        let reading = |flags| rule(&[(flags, SeccompCmpOp::MaskedEq(writing as u64), 0)]);
        rules.insert(libc::SYS_openat, vec![reading(2)?]);
        #[cfg(target_arch = "x86_64")]
        rules.insert(libc::SYS_open, vec![reading(1)?]);
    }
    if let Role::Keep = role {
        // Processes, but no namespaces.
        rules.insert(libc::SYS_clone, vec![rule(&[(0, SeccompCmpOp::MaskedEq(NAMESPACES), 0)])?]);
    }
    if let Role::Trace { .. } = role {
        let commands = BPF_COMMANDS.map(|command| rule(&[(0, SeccompCmpOp::Eq, command)]));
        rules.insert(libc::SYS_bpf, commands.into_iter().collect::<Result<_, _>>()?);
        // Threads detach the programs at the end. Neither processes nor namespaces are made.
        let flags = (libc::CLONE_THREAD as u64) | NAMESPACES;
        rules.insert(libc::SYS_clone, vec![rule(&[(0, SeccompCmpOp::MaskedEq(flags), libc::CLONE_THREAD as u64)])?]);
        rules.insert(libc::SYS_prctl, vec![rule(&[(0, SeccompCmpOp::Eq, PR_SET_NAME)])?]);
        // Limits are read, not set.
        rules.insert(libc::SYS_prlimit64, vec![rule(&[(2, SeccompCmpOp::Eq, 0)])?]);
    }
    let calls = rules.len();
    // Let through here, for of two filters that refuse a call the later one names the error.
    rules.insert(libc::SYS_clone3, Vec::new());
    let arch: TargetArch = std::env::consts::ARCH.try_into().map_err(|_| anyhow!("no filter for this architecture"))?;
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let allowed = SeccompFilter::new(rules, refused, SeccompAction::Allow, arch)?;
    // Its flags are in memory, where no filter can look; told that it is not there, libraries use clone.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let missing = SeccompFilter::new(clone3, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32), arch)?;
    // The second one cannot be installed any more when the first one is: it comes first.
    Ok((calls, [missing.try_into()?, allowed.try_into()?]))
}

const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

/// All of these hold: an argument's number, how it is compared, and with what.
fn rule(conditions: &[(u8, SeccompCmpOp, u64)]) -> anyhow::Result<SeccompRule> {
    let conditions = conditions
        .iter()
        .map(|(argument, how, with)| SeccompCondition::new(*argument, SeccompCmpArgLen::Qword, how.clone(), *with));
    Ok(SeccompRule::new(conditions.collect::<Result<_, _>>()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_need_the_capability_on_old_kernels_only() {
        assert!(needs_bpf_for_maps((5, 15), true));
        assert!(!needs_bpf_for_maps((5, 15), false));
        assert!(!needs_bpf_for_maps((5, 19), true));
        assert!(!needs_bpf_for_maps((6, 1), true));
    }

    #[test]
    fn every_role_has_its_filter() {
        let record = Role::Record("/tmp".into());
        let push = Role::Push { port: 4_317 };
        for role in [Role::Trace { bpf: false }, record, Role::Remember, Role::Serve, push, Role::Keep, Role::Read] {
            let (calls, filters) = seccomp(&role).expect("a filter");
            assert!((30..80).contains(&calls), "{role:?}: {calls}");
            assert!(filters.iter().all(|filter| !filter.is_empty()));
        }
    }
}
