//! What `/proc` and the system say of processes, mounts and clocks. The only reader of `/proc`.
//!
//! A process may be gone at any moment: that is `None`, not an error.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::argv;
use crate::cgroup_namespace::CgroupNamespace;
use crate::hierarchy::{Clock, Hierarchy};
use crate::input::{
    BootTime, Device, Exiting, HierarchyId, Mount, Moved, NamespaceId, Occupant, OccupantState, Parent, Pid, Process,
    ProcessChange, Unreaped,
};
use crate::mounts;
use crate::name::Name;
use crate::waits;

/// Ancestors that are told of a process.
const PARENTS: usize = 4;
/// A command line that nothing is kept of is read up to this: conmon's is long.
const LONGEST_ARGV: usize = 16 << 10;
/// A longer environment counts as unknown.
const LONGEST_ENVIRONMENT: u64 = 1 << 20;

/// Reads a small file of `/proc`. It tells no size: without room to begin with, it would be read bit by bit.
fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4 << 10);
    fs::File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Nanoseconds since boot, now: the kernel's own, whatever time namespace this process is in.
pub fn boot_time() -> BootTime {
    of_kernel(nanos(clock_gettime(ClockId::Boottime)))
}

/// A time since boot as the kernel programs tell it, of one in this process's time namespace.
fn of_kernel(here: i64) -> BootTime {
    static OFFSET: OnceLock<i64> = OnceLock::new();
    let read = || time_offset(&fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default());
    BootTime(u64::try_from(here.saturating_sub(*OFFSET.get_or_init(read))).unwrap_or(0))
}

/// By how many nanoseconds the time since boot is ahead in a time namespace.
fn time_offset(offsets: &str) -> i64 {
    let line = offsets.lines().find_map(|line| line.strip_prefix("boottime"));
    let numbers: Vec<i64> =
        line.unwrap_or_default().split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [seconds, nanos] => seconds.saturating_mul(1_000_000_000).saturating_add(nanos),
        _ => 0,
    }
}

/// Both clocks, read together: again, if something came in between.
pub fn clock() -> Clock {
    const TOGETHER: u64 = 10_000;
    const TRIES: usize = 5;
    let read = || {
        let before = boot_time().0;
        let unix_ns = nanos(clock_gettime(ClockId::Realtime));
        let apart = boot_time().0.saturating_sub(before);
        (apart, Clock { boot_ns: before + apart / 2, unix_ns })
    };
    let mut best = read();
    for _ in 1..TRIES {
        if best.0 <= TOGETHER {
            break;
        }
        let next = read();
        if next.0 < best.0 {
            best = next;
        }
    }
    best.1
}

/// Processor time that this thread has taken.
pub fn thread_time() -> Duration {
    Duration::from_nanos(nanos(clock_gettime(ClockId::ThreadCPUTime)).try_into().unwrap_or(0))
}

fn nanos(time: rustix::time::Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

/// This host.
pub struct System {
    /// Its name.
    pub host: Name,
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub arch: String,
    /// Of this boot; empty if `/proc` is not there.
    pub boot_id: String,
}

/// How the running kernel was built: `uname -v`.
pub fn kernel_build() -> String {
    rustix::system::uname().version().to_string_lossy().into_owned()
}

/// What the kernel was told at boot. Empty if that cannot be read.
pub fn boot_command_line() -> String {
    fs::read_to_string("/proc/cmdline").unwrap_or_default()
}

/// Reads what identifies this host.
pub fn system() -> System {
    let uname = rustix::system::uname();
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    System {
        host: Name::new(uname.nodename().to_bytes()),
        kernel: uname.release().to_string_lossy().into_owned(),
        arch: uname.machine().to_string_lossy().into_owned(),
        boot_id: boot_id.trim().to_owned(),
    }
}

/// A set of capabilities (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(pub u64);

/// One capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the kernel's own name")]
pub enum Capability {
    DacReadSearch = 2,
    Setgid = 6,
    Setuid = 7,
    SysPtrace = 19,
    SysAdmin = 21,
    Perfmon = 38,
    Bpf = 39,
}

impl Capabilities {
    /// Whether the set has a capability. CAP_SYS_ADMIN includes the two that were split off it.
    pub fn has(self, capability: Capability) -> bool {
        let bit = |capability: Capability| self.0 & (1 << capability as u32) != 0;
        let within_admin = matches!(capability, Capability::Perfmon | Capability::Bpf);
        bit(capability) || within_admin && bit(Capability::SysAdmin)
    }
}

/// This process's effective capabilities; empty if `/proc` is not there.
pub fn capabilities() -> Capabilities {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    Capabilities(line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0))
}

/// Whether bpf(2) is refused to those without CAP_BPF.
pub fn unprivileged_bpf_disabled() -> bool {
    fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled").is_ok_and(|value| value.trim() != "0")
}

/// What this process itself has taken so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Seconds of processor time.
    pub cpu: f64,
    /// Bytes of memory that are resident.
    pub resident: u64,
    /// Bytes of address space.
    pub virtual_memory: u64,
    /// Descriptors that are open.
    pub open_fds: u64,
    /// Threads.
    pub threads: u64,
    /// When it was started.
    pub started: BootTime,
}

/// What this process has taken so far; `None` if `/proc` is not there.
pub fn usage() -> Option<Usage> {
    let text = read("/proc/self/stat").ok()?;
    let stat = Stat::parse(&text)?;
    let rest = &text[text.iter().rposition(|byte| *byte == b')')? + 1..];
    let fields: Vec<u64> =
        std::str::from_utf8(rest).ok()?.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    // Numbered from the state, which is the third of the page stat(5) has.
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    let page = rustix::param::page_size() as u64;
    Some(Usage {
        cpu: (field(14) + field(15)) as f64 / 100.0,
        resident: field(24) * page,
        virtual_memory: field(23),
        open_fds: fs::read_dir("/proc/self/fd").map(|entries| entries.count() as u64 - 1).unwrap_or(0),
        threads: field(20),
        started: stat.started?,
    })
}

/// Descriptors that this process may have open; `None` if there is no limit.
pub fn most_fds() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// Whether this process numbers processes as the kernel's programs do. `None` if `/proc` is not there.
pub fn is_in_first_pid_namespace() -> Option<bool> {
    /// `PROC_PID_INIT_INO`
    const FIRST: u32 = 0xeffffffc;
    let link = fs::read_link("/proc/self/ns/pid").ok()?;
    let number = link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?.parse::<u32>().ok()?;
    Some(number == FIRST)
}

/// Whether this process is told paths of cgroups as they are. `None` if `/proc` is not there.
pub fn is_in_first_cgroup_namespace() -> Option<bool> {
    /// `PROC_CGROUP_INIT_INO`
    const FIRST: NamespaceId = NamespaceId(0xefff_fffb);
    Some(namespace(Pid(std::process::id()), "cgroup")? == FIRST)
}

/// This process's own cgroup namespace, once it is known. All paths of cgroups that are read here are made whole with
/// it.
static CGROUP_NAMESPACE: OnceLock<CgroupNamespace> = OnceLock::new();

/// Tells how this process's own cgroup namespace calls cgroups. It counts once, and also for processes that are forked
/// later.
pub fn know_cgroup_namespace(own: CgroupNamespace) {
    let _ = CGROUP_NAMESPACE.set(own);
}

fn cgroup_namespace() -> &'static CgroupNamespace {
    static FIRST: CgroupNamespace = CgroupNamespace::first();
    CGROUP_NAMESPACE.get().unwrap_or(&FIRST)
}

/// A mount with the whole path of the cgroup that is mounted; as it was told if that cannot be known.
pub fn whole(mount: Mount) -> Mount {
    if !mounts::is_cgroupfs(&mount) {
        return mount;
    }
    let root = cgroup_namespace().whole_on(mount.device, mount.root.as_bytes());
    Mount { root: root.unwrap_or(mount.root), ..mount }
}

/// `kernel.ftrace_enabled`: whether trampolines run. `None` on a kernel that cannot switch them off.
pub fn is_ftrace_enabled() -> Option<bool> {
    Some(fs::read_to_string("/proc/sys/kernel/ftrace_enabled").ok()?.trim() != "0")
}

/// `/proc/self/cgroup`: which hierarchies there are.
///
/// # Errors
/// When `/proc` is not there.
pub fn own_cgroups() -> io::Result<String> {
    fs::read_to_string("/proc/self/cgroup")
}

/// `/proc/self/mountinfo`: what this process sees mounted.
///
/// # Errors
/// When `/proc` is not there.
pub fn own_mounts() -> io::Result<Vec<u8>> {
    fs::read("/proc/self/mountinfo")
}

/// How many cgroups each hierarchy has, a line for each controller.
///
/// # Errors
/// When it cannot be read.
pub fn cgroup_counts() -> io::Result<String> {
    fs::read_to_string("/proc/cgroups")
}

/// The mount namespace that this thread is in, to come back to.
///
/// # Errors
/// When `/proc` is not there.
pub fn own_mount_namespace() -> io::Result<OwnedFd> {
    fs::File::open("/proc/thread-self/ns/mnt").map(OwnedFd::from)
}

/// Opens for reading what a descriptor is the place of, whatever its path leads to by now.
pub fn reopen(place: &impl AsRawFd) -> Option<fs::File> {
    let reading = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(CWD, format!("/proc/self/fd/{}", place.as_raw_fd()), reading, Mode::empty()).ok().map(fs::File::from)
}

/// What is known of a process, as a `seen` record of now, but for its command line: see [`command_line`].
pub fn identity(pid: Pid) -> Option<Process> {
    let stat = Stat::read(pid)?;
    Some(Process {
        exe: link(pid, "exe"),
        cwd: link(pid, "cwd"),
        parents: parents(&stat),
        uid: users(pid).map(|users| users[0]),
        mount_namespace: namespace(pid, "mnt"),
        cgroup_namespace: namespace(pid, "cgroup"),
        started: stat.started,
        ..Process::new(boot_time(), pid, ProcessChange::Seen, stat.comm)
    })
}

/// A process that is in a cgroup. `None` if it is gone, or if there is no allowance left for the threads of one whose
/// first has ended.
pub fn occupant(pid: Pid, threads_allowed: &mut usize) -> Option<Occupant> {
    let Stat { comm, started, state, threads, .. } = Stat::read(pid)?;
    let mut state = or_killed(state?, format!("/proc/{pid}").as_ref());
    // A process lives on when its first thread has ended.
    if threads > 1 && matches!(state, OccupantState::Exiting | OccupantState::Zombie) {
        if *threads_allowed == 0 {
            return None;
        }
        // Of many it is enough to look at some: those that end together are all on their way.
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().take(*threads_allowed);
        let each = tasks.filter_map(|task| {
            *threads_allowed -= 1;
            let state = Stat::parse(&read(task.path().join("stat")).ok()?)?.state?;
            Some(or_killed(state, &task.path()))
        });
        state = each.min().unwrap_or(state);
    }
    Some(Occupant { pid, comm, started: started?, state })
}

/// The kernel's function that a thread sleeps in; `Some(None)` if it runs, or if that cannot be told. `None` if it is
/// gone.
pub fn waits_in(pid: Pid, tid: u32) -> Option<Option<String>> {
    match read(format!("/proc/{pid}/task/{tid}/wchan")) {
        // 0 stands for none.
        Ok(name) => Some(String::from_utf8(name).ok().filter(|name| !matches!(name.as_str(), "" | "0"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => Some(None),
    }
}

/// Processes on their way out that are in a cgroup which `remover` is to remove, at most `most`; and what they wait
/// for. Only first threads are looked at.
pub fn exiting_in(hierarchy: HierarchyId, path: &Name, remover: Pid, most: usize) -> Vec<Exiting> {
    let ending = |pid| {
        let stat = Stat::read(pid)?;
        matches!(stat.state, Some(OccupantState::Exiting | OccupantState::Zombie)).then_some((pid, stat))
    };
    let ending: Vec<(Pid, Stat)> = pids().filter_map(ending).collect();
    // Another thread of the remover could wait for it.
    let is_alone = Stat::read(remover).is_some_and(|stat| stat.threads == 1);
    let is_unreaped =
        |(_, stat): &&(Pid, Stat)| is_alone && stat.state == Some(OccupantState::Zombie) && stat.parent == remover;
    let unreaped: Vec<&(Pid, Stat)> = ending.iter().filter(is_unreaped).collect();
    let is_inside = |pid: Pid| {
        let text = read(format!("/proc/{pid}/cgroup")).ok()?;
        Some(cgroup_in(&text, hierarchy)? == *path)
    };
    let exiting = ending.iter().filter(|(_, stat)| stat.state == Some(OccupantState::Exiting));
    let inside = exiting.filter(|(pid, _)| is_inside(*pid) == Some(true)).take(most);
    inside
        .map(|(pid, stat)| {
            let waits_in = waits_in(*pid, pid.0).flatten();
            let own = namespace(*pid, "pid").filter(|_| waits_in.as_deref() == Some(waits::ZAP_PID_NAMESPACE));
            let is_awaited = |(other, _): &&&(Pid, Stat)| own.is_some() && namespace(*other, "pid") == own;
            let unreaped = unreaped.iter().find(is_awaited);
            let unreaped = unreaped.map(|(pid, stat)| Unreaped { pid: *pid, comm: stat.comm.clone() });
            Exiting { pid: *pid, comm: stat.comm.clone(), waits_in, unreaped }
        })
        .collect()
}

/// Whether SIGKILL waits for one that has not begun to end, by its directory in `/proc`: a fatal signal is pending for
/// each thread, or for all of them until one takes it.
fn or_killed(state: OccupantState, directory: &Path) -> OccupantState {
    let status = || read(directory.join("status")).ok();
    match state {
        OccupantState::Live if status().is_some_and(|status| has_sigkill(&status)) => OccupantState::Killed,
        state => state,
    }
}

fn has_sigkill(status: &[u8]) -> bool {
    const SIGKILL: u64 = 1 << (libc::SIGKILL - 1);
    ["SigPnd", "ShdPnd"].into_iter().any(|name| {
        let set = status_line(status, name).and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
        set.is_some_and(|set| set & SIGKILL != 0)
    })
}

/// Who was to be moved into a cgroup of a hierarchy by a process that wrote this, or made another one there: the
/// process itself, if it wrote nothing or 0. `None` if the number is one of a pid namespace that is not this process's
/// own.
pub fn moved(caller: Pid, value: Option<&Name>, hierarchy: &Hierarchy) -> Option<Moved> {
    let number = match value {
        Some(value) => value.to_str()?.trim().parse().ok()?,
        None => 0,
    };
    let pid = match number {
        0 => caller,
        number => {
            let own = namespace(Pid(std::process::id()), "pid")?;
            (namespace(caller, "pid") == Some(own)).then_some(Pid(number))?
        }
    };
    let Some(Stat { comm, state, real_time, .. }) = Stat::read(pid) else {
        return Some(Moved { pid, comm: None, state: None, real_time: false, cgroup: None });
    };
    let cgroups = fs::read(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    Some(Moved { pid, comm: Some(comm), state, real_time, cgroup: cgroup_in(&cgroups, hierarchy.id) })
}

/// Whether a process's first thread is scheduled in real time.
pub fn is_real_time(pid: Pid) -> bool {
    Stat::read(pid).is_some_and(|stat| stat.real_time)
}

/// The whole path behind a hierarchy's number in `/proc/PID/cgroup`. `None` if it leads out of what this process sees.
fn cgroup_in(text: &[u8], hierarchy: HierarchyId) -> Option<Name> {
    let lines = text.split(|byte| *byte == b'\n');
    let mut paths = lines.filter_map(|line| {
        let mut fields = line.splitn(3, |byte| *byte == b':');
        let number = std::str::from_utf8(fields.next()?).ok()?;
        fields.nth(1).filter(|_| number.parse() == Ok(hierarchy.0))
    });
    cgroup_namespace().whole_in(hierarchy, paths.next()?)
}

/// When a process was forked.
pub fn started(pid: Pid) -> Option<BootTime> {
    Stat::read(pid)?.started
}

/// The mount namespace of a process.
pub fn mount_namespace(pid: Pid) -> Option<NamespaceId> {
    namespace(pid, "mnt")
}

/// What a process sees mounted at and around cgroupfs.
pub struct SeenMounts {
    /// The namespace that they are of.
    pub namespace: NamespaceId,
    /// See [`mounts::relevant`].
    pub mounts: Vec<Mount>,
    /// How many there are, if that is too many to keep any.
    pub too_many: u64,
}

/// The mounts that a process sees, if its table is no longer than that, in bytes. `None` if it is gone.
pub fn mounts_of(pid: Pid, longest: u64) -> Option<SeenMounts> {
    let namespace = mount_namespace(pid)?;
    let mut text = Vec::with_capacity(8 << 10);
    let file = fs::File::open(format!("/proc/{pid}/mountinfo")).ok()?;
    file.take(longest + 1).read_to_end(&mut text).ok()?;
    // The process may have changed its namespace meanwhile, or be another one by now.
    if mount_namespace(pid)? != namespace {
        return None;
    }
    let (mounts, too_many) = match text.len() as u64 > longest {
        true => (Vec::new(), memchr::memchr_iter(b'\n', &text).count() as u64),
        false => mounts::relevant(mounts::parse_mountinfo(&text).map(whole)),
    };
    Some(SeenMounts { namespace, mounts, too_many })
}

/// Whether the root directory of a process is that of the host, seen by its mounts alone: to look at the directory
/// itself is to ask its file system.
pub fn has_root_of_host(pid: Pid) -> bool {
    root_mount(pid).is_some_and(|found| Some(found) == root_mount(Pid(1)))
}

/// Whether the root directory of this process is known to be another one than that of the host, as in a container that
/// has the host's processes.
pub fn has_root_of_its_own() -> bool {
    root_mount(Pid(std::process::id())).zip(root_mount(Pid(1))).is_some_and(|(own, hosts)| own != hosts)
}

/// Processes that see what the host sees: the first one, and one of the kernel's own, for where the first one may not
/// be looked into.
pub fn of_host() -> impl Iterator<Item = Pid> {
    let kernels = (is_in_first_pid_namespace() == Some(true)).then_some(Pid(2));
    std::iter::once(Pid(1)).chain(kernels.filter(|pid| has_root_of_host(*pid)))
}

/// What a process has mounted as its root directory.
fn root_mount(pid: Pid) -> Option<(Device, Name)> {
    const LONGEST: u64 = 4 << 20;
    // Which namespace it is of is not asked: of pid 1, not every root may know that.
    let mut text = Vec::new();
    fs::File::open(format!("/proc/{pid}/mountinfo")).ok()?.take(LONGEST + 1).read_to_end(&mut text).ok()?;
    let is_root = |mount: &Mount| text.len() as u64 <= LONGEST && mount.mount_point == "/";
    mounts::parse_mountinfo(&text).filter(is_root).last().map(|mount| (mount.device, mount.root))
}

/// All mount namespaces that a process is in, and one process in each.
pub fn mount_namespaces() -> HashMap<NamespaceId, Pid> {
    let own = Pid(std::process::id());
    let mut found: HashMap<NamespaceId, Pid> =
        mount_namespace(own).map(|namespace| (namespace, own)).into_iter().collect();
    for pid in pids() {
        if let Some(namespace) = mount_namespace(pid) {
            found.entry(namespace).or_insert(pid);
        }
    }
    found
}

/// A process in that mount namespace.
pub fn pid_in_mount_namespace(wanted: NamespaceId) -> Option<Pid> {
    pids_in_mount_namespace(wanted).next()
}

/// The processes in that mount namespace.
pub fn pids_in_mount_namespace(wanted: NamespaceId) -> impl Iterator<Item = Pid> {
    pids().filter(move |pid| mount_namespace(*pid) == Some(wanted))
}

fn pids() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid))
}

/// `mnt:[4026531841]` and the like.
fn namespace(pid: Pid, kind: &str) -> Option<NamespaceId> {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()?;
    let text = link.to_str()?.strip_prefix(kind)?;
    text.strip_prefix(":[")?.strip_suffix(']')?.parse().ok().map(NamespaceId)
}

/// The command line of a process as far as it is kept, and whether there is more. It is read out of the process's own
/// memory, which may never answer (`userfaultfd`, a mapped file): this is for reader processes only, as all below that
/// reads memory.
pub fn command_line(pid: Pid) -> Option<(Vec<Name>, bool)> {
    read_command_line(pid, argv::BYTES)
}

/// A command line up to `most` bytes, and whether there is more.
fn read_command_line(pid: Pid, most: usize) -> Option<(Vec<Name>, bool)> {
    // In one read: of a process that ends between two, the second gives nothing, as if the first had given all.
    let mut bytes = Vec::with_capacity(most + 1);
    let file = fs::File::open(format!("/proc/{pid}/cmdline")).ok()?;
    file.take(most as u64 + 1).read_to_end(&mut bytes).ok()?;
    (!bytes.is_empty()).then(|| argv::split(&bytes, most))
}

fn link(pid: Pid, name: &str) -> Option<Name> {
    fs::read_link(format!("/proc/{pid}/{name}")).ok().map(|path| Name::new(path.as_os_str().as_bytes()))
}

/// The command line of a process. `None` if it has none, or is gone.
pub fn argv(pid: Pid) -> Option<Vec<Name>> {
    read_command_line(pid, LONGEST_ARGV).map(|(argv, _)| argv)
}

/// The processes with one of these names.
pub fn named(comms: &[&str]) -> Vec<Pid> {
    let is = |comm: &[u8]| comms.iter().any(|named| named.as_bytes() == comm);
    pids().filter(|pid| fs::read(format!("/proc/{pid}/comm")).is_ok_and(|comm| is(comm.trim_ascii_end()))).collect()
}

/// The root directory of a process. `None` if it is gone.
pub fn root(pid: Pid) -> Option<OwnedFd> {
    openat(CWD, format!("/proc/{pid}/root"), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Which directory is the root of a process: within one mount namespace, two processes with the same one see the same
/// files.
pub fn root_identity(pid: Pid) -> Option<(u64, u64)> {
    let stat = rustix::fs::fstat(root(pid)?).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

/// The working directory of a process, as its own root names it.
pub fn working_directory(pid: Pid) -> Option<Name> {
    // Both links are told from this process's root on, or from the top of another mount namespace.
    let (root, cwd) = (link(pid, "root")?, link(pid, "cwd")?);
    within(root.as_bytes(), cwd.as_bytes()).map(Name::new)
}

fn within<'a>(root: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    match path.strip_prefix(root.strip_suffix(b"/").unwrap_or(root))? {
        b"" => Some(b"/"),
        below => below.starts_with(b"/").then_some(below),
    }
}

/// The environment that a process was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment(Vec<u8>);

impl Environment {
    /// That of a process. `None` if it cannot be read to its end.
    pub fn of(pid: Pid) -> Option<Self> {
        let mut bytes = Vec::new();
        let file = fs::File::open(format!("/proc/{pid}/environ")).ok()?;
        file.take(LONGEST_ENVIRONMENT + 1).read_to_end(&mut bytes).ok()?;
        // One that has just ended shows an empty environment too.
        let is_whole =
            bytes.len() as u64 <= LONGEST_ENVIRONMENT && (!bytes.is_empty() || read_command_line(pid, 1).is_some());
        is_whole.then_some(Self(bytes))
    }

    /// From `NAME=VALUE` pairs.
    pub fn new<'a>(pairs: impl IntoIterator<Item = &'a str>) -> Self {
        Self(pairs.into_iter().flat_map(|pair| [pair.as_bytes(), b"\0"].concat()).collect())
    }

    /// A variable's value; of two with the same name the first, as in Go and C.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let mut pairs = self.0.split(|byte| *byte == 0);
        pairs.find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }
}

/// A line of `/proc/PID/status`.
fn status_line<'a>(status: &'a [u8], name: &str) -> Option<&'a str> {
    let mut lines = status.split(|byte| *byte == b'\n');
    let line = lines.find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":"))?;
    std::str::from_utf8(line).ok()
}

/// The numbers of a line of `/proc/PID/status`; empty if it is not there.
fn status_numbers(status: &[u8], name: &str) -> Vec<u32> {
    let text = status_line(status, name).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// The users of a process in the initial user namespace: real, effective, saved, and that of files.
fn users(pid: Pid) -> Option<[u32; 4]> {
    status_numbers(&read(format!("/proc/{pid}/status")).ok()?, "Uid").try_into().ok()
}

/// A user and its groups, in the initial user namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its other groups.
    pub groups: Vec<u32>,
}

/// The real user of a process, and its groups.
pub fn credentials(pid: Pid) -> Option<Credentials> {
    let status = read(format!("/proc/{pid}/status")).ok()?;
    let first = |name| status_numbers(&status, name).first().copied();
    Some(Credentials { uid: first("Uid")?, gid: first("Gid")?, groups: status_numbers(&status, "Groups") })
}

/// Who made the user namespace that a process is in, in the initial one: root of that itself. `None` if it is gone.
pub fn owner_of_user_namespace(pid: Pid) -> Option<u32> {
    /// `NS_GET_OWNER_UID`
    const OWNER: libc::c_ulong = 0xb704;
    let namespace = fs::File::open(format!("/proc/{pid}/ns/user")).ok()?;
    let mut owner: libc::uid_t = 0;
    // SAFETY: the call writes a user's number.
    let done = unsafe { libc::ioctl(namespace.as_raw_fd(), OWNER as _, &raw mut owner) };
    (done == 0).then_some(owner)
}

/// The user that a process takes itself for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnUser {
    /// Its effective user, as its own user namespace numbers it.
    pub user: u32,
    /// Its user namespace is not the initial one.
    pub in_user_namespace: bool,
}

/// The user that a process takes itself for. `None` if it cannot be read, or is not mapped there.
pub fn own_user(pid: Pid) -> Option<OwnUser> {
    let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).ok()?;
    map_user(&map, users(pid)?[1])
}

/// Lines of a `uid_map`: the first number within, the first one outside, and how many.
fn map_user(map: &str, outside: u32) -> Option<OwnUser> {
    let ranges = map.lines().filter_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse::<u32>().ok());
        Some((numbers.next()??, numbers.next()??, numbers.next()??))
    });
    let ranges: Vec<(u32, u32, u32)> = ranges.collect();
    let own = ranges.iter().find(|(_, first, count)| outside >= *first && outside - first < *count)?;
    let in_user_namespace = ranges != [(0, 0, u32::MAX)];
    Some(OwnUser { user: own.0.checked_add(outside - own.1)?, in_user_namespace })
}

fn parents(stat: &Stat) -> Vec<Parent> {
    let mut parents = Vec::new();
    let mut next = stat.parent;
    while parents.len() < PARENTS && next.0 != 0 {
        let Some(stat) = Stat::read(next) else { break };
        parents.push(Parent { pid: next, comm: stat.comm });
        next = stat.parent;
    }
    parents
}

/// The part of `/proc/PID/stat` that is of use.
struct Stat {
    comm: Name,
    parent: Pid,
    started: Option<BootTime>,
    /// Of its first thread, or of this one.
    state: Option<OccupantState>,
    /// How many threads its process has.
    threads: u64,
    /// SCHED_FIFO or SCHED_RR.
    real_time: bool,
}

impl Stat {
    fn read(pid: Pid) -> Option<Self> {
        Self::parse(&read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The comm is in parentheses and may hold any byte, parentheses included: the last one closes it.
    fn parse(text: &[u8]) -> Option<Self> {
        let open = text.iter().position(|byte| *byte == b'(')?;
        let close = text.iter().rposition(|byte| *byte == b')')?;
        let comm = Name::new(text.get(open + 1..close)?);
        let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let parent = Pid(fields.get(1)?.parse().ok()?);
        // Clock ticks since boot; USER_HZ is 100 on every architecture that is supported.
        let started = fields.get(19).and_then(|ticks| ticks.parse::<u64>().ok());
        let started = started.map(|ticks| of_kernel(ticks.saturating_mul(10_000_000) as i64));
        let flags = fields.get(6).and_then(|flags| flags.parse::<u64>().ok());
        let state = fields.first().zip(flags).map(|(state, flags)| state_of(state, flags));
        let threads = fields.get(17).and_then(|threads| threads.parse().ok()).unwrap_or(1);
        let real_time = fields.get(38).is_some_and(|policy| matches!(*policy, "1" | "2"));
        Some(Self { comm, parent, started, state, threads, real_time })
    }
}

/// How far a process is from its end, by the state and the flags of `/proc/PID/stat`.
fn state_of(state: &str, flags: u64) -> OccupantState {
    /// `PF_EXITING` and `PF_KTHREAD`, linux/sched.h.
    const EXITING: u64 = 0x4;
    const KERNEL_THREAD: u64 = 0x20_0000;
    match state {
        "Z" | "X" => OccupantState::Zombie,
        _ if flags & EXITING != 0 => OccupantState::Exiting,
        _ if flags & KERNEL_THREAD != 0 => OccupantState::Kernel,
        _ => OccupantState::Live,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known() {
        let own = identity(Pid(std::process::id())).expect("it is alive");
        let (argv, _) = command_line(own.pid).expect("a command line");
        assert_eq!(argv.len(), std::env::args_os().len());
        assert!(own.exe.is_some_and(|exe| exe.to_str().is_some_and(|exe| exe.contains("cgtrace"))));
        assert!(!own.parents.is_empty());
        assert!(own.started.is_some_and(|started| started < boot_time()));
        assert_eq!(own.uid, Some(rustix::process::getuid().as_raw()));
        assert_eq!(owner_of_user_namespace(own.pid), Some(0));
    }

    #[test]
    fn this_process_has_taken_something() {
        let usage = usage().expect("/proc is there");
        assert!(usage.resident > 1 << 20 && usage.virtual_memory > usage.resident, "{usage:?}");
        assert!(usage.threads >= 1 && usage.open_fds >= 3 && usage.started < boot_time(), "{usage:?}");
    }

    #[test]
    fn who_is_to_be_moved_is_told_by_what_was_written() {
        let hierarchy =
            Hierarchy { id: HierarchyId(0), version: 2, controllers: Vec::new(), mount: None, device: None };
        let own = Pid(std::process::id());
        let of = |value: &str| moved(own, Some(&value.into()), &hierarchy).map(|moved| (moved.pid, moved.state));
        let itself = Some((own, Some(OccupantState::Live)));
        assert_eq!([of("0"), of(&format!("{own}\n"))], [itself, itself]);
        assert_eq!(of("4294967295"), Some((Pid(u32::MAX), None)), "there is none");
        assert_eq!((of("x"), of("-1")), (None, None));
        let cgroups = b"4:cpu,cpuacct:/a:b\n1:name=systemd:/x\n0::/../up\n";
        assert_eq!(cgroup_in(cgroups, HierarchyId(4)), Some("/a:b".into()));
        assert_eq!((cgroup_in(cgroups, HierarchyId(0)), cgroup_in(cgroups, HierarchyId(7))), (None, None));
    }

    #[test]
    fn a_process_that_never_was_is_none() {
        assert!(identity(Pid(u32::MAX)).is_none());
        assert!(mounts_of(Pid(u32::MAX), u64::MAX - 1).is_none());
    }

    #[test]
    fn a_time_namespace_tells_how_far_it_is_ahead() {
        assert_eq!(
            time_offset("monotonic           0         0\nboottime        -3000        50\n"),
            -2_999_999_999_950
        );
        assert_eq!(
            (time_offset("boottime 1 0\n"), time_offset(""), time_offset("boottime x\n")),
            (1_000_000_000, 0, 0)
        );
    }

    #[test]
    fn a_comm_may_hold_anything() {
        let stat = Stat::parse(b"7 (a) S 1 ) \"x\n) S 42 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 100 0").expect("parses");
        assert_eq!((stat.comm.as_bytes(), stat.parent), (&b"a) S 1 ) \"x\n"[..], Pid(42)));
        assert_eq!(stat.started, Some(BootTime(1_000_000_000)));
        assert!(Stat::parse(b"").is_none() && Stat::parse(b"1 )(").is_none());
    }

    #[test]
    fn how_far_a_process_is_from_its_end_is_told_by_its_state_and_flags() {
        let state = |stat: &str| Stat::parse(format!("7 (a) {stat} 0 0 0 0").as_bytes()).and_then(|stat| stat.state);
        assert_eq!(state("S 1 7 7 0 -1 4194560"), Some(OccupantState::Live));
        assert_eq!(state("D 1 7 7 0 -1 4194564"), Some(OccupantState::Exiting));
        assert_eq!(state("Z 1 7 7 0 -1 4194564"), Some(OccupantState::Zombie));
        assert_eq!(state("I 2 0 0 0 -1 69238880"), Some(OccupantState::Kernel));
        assert_eq!(state("S 1"), None);
        let own = occupant(Pid(std::process::id()), &mut 0).expect("it is alive");
        assert_eq!(own.state, OccupantState::Live);
        for (pending, is_it) in [
            ("SigPnd:\t0000000000000100\nShdPnd:\t0000000000000000", true),
            ("SigPnd:\t0000000000000000\nShdPnd:\t0000000000004100", true),
            ("SigPnd:\t0000000000004000\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000000100", false),
            ("Name:\tx", false),
        ] {
            assert_eq!(has_sigkill(pending.as_bytes()), is_it, "{pending}");
        }
    }

    #[test]
    fn the_own_mount_namespace_is_among_all() {
        let own = Pid(std::process::id());
        let seen = mounts_of(own, 1 << 30).expect("it is alive");
        assert!(mount_namespaces().contains_key(&seen.namespace));
        assert!(seen.mounts.iter().any(|mount| mount.mount_point == "/"));
        assert!(pid_in_mount_namespace(seen.namespace).is_some());
        let cut = mounts_of(own, 100).expect("it is alive");
        assert!(cut.mounts.is_empty() && cut.too_many > 0);
    }

    #[test]
    fn a_user_is_known_as_its_own_namespace_numbers_it() {
        let user = |map: &str, outside| map_user(map, outside).map(|own| (own.user, own.in_user_namespace));
        assert_eq!(user("         0          0 4294967295\n", 1000), Some((1000, false)));
        assert_eq!(user("0 1000 1\n1 100000 65536\n", 1000), Some((0, true)));
        assert_eq!(user("0 1000 1\n1 100000 65536\n", 100_002), Some((3, true)));
        assert_eq!(user("0 1000 1\n", 7), None);
        assert_eq!(user("", 0), None);
        assert!(own_user(Pid(std::process::id())).is_some_and(|own| own.user == rustix::process::geteuid().as_raw()));
    }

    #[test]
    fn an_environment_tells_the_first_value_and_what_is_not_set() {
        let environment =
            Environment::new(["XDG_RUNTIME_DIR=/run/user/7", "USER=", "XDG_RUNTIME_DIR=/else", "USERX=1"]);
        assert_eq!(environment.get("XDG_RUNTIME_DIR"), Some(&b"/run/user/7"[..]));
        assert_eq!((environment.get("USER"), environment.get("HOME")), (Some(&b""[..]), None));
        assert!(Environment::of(Pid(std::process::id())).is_some_and(|own| own.get("PATH").is_some()));
        assert_eq!(Environment::of(Pid(u32::MAX)), None);
    }

    #[test]
    fn a_working_directory_is_named_from_the_own_root_on() {
        let named = |root: &'static [u8], cwd: &'static [u8]| within(root, cwd);
        assert_eq!(named(b"/", b"/tmp/x"), Some(&b"/tmp/x"[..]));
        assert_eq!(named(b"/", b"/"), Some(&b"/"[..]));
        assert_eq!(named(b"/jail", b"/jail/tmp"), Some(&b"/tmp"[..]));
        assert_eq!(named(b"/jail", b"/jail"), Some(&b"/"[..]));
        assert_eq!((named(b"/jail", b"/jailed"), named(b"/jail", b"/tmp")), (None, None));
        assert!(working_directory(Pid(std::process::id())).is_some());
    }
}
