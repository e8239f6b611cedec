//! What to attach, decided from facts alone.

use std::fmt;

use super::features::{Feature, Need};
use super::preemption::preempts_programs;
use super::support::Support;
use super::tracefs::Found;
use crate::hierarchy::{NotWatched, Preemption};
use crate::input::Syscall;
use crate::process::Capability;
use crate::release::{self, EmptiedIn};
use tracer_ebpf::syscalls::{self, Operation, Syscall as Row};
use tracer_ebpf::{feature, offset};

/// A probe: what it tells, and what is missing without it.
#[derive(Clone, Copy, Debug)]
pub struct ProbeSpec {
    /// The tracepoint's, system call's or function's name.
    pub name: &'static str,
    /// What it is for.
    pub group: Group,
    /// What its absence costs the user.
    pub cost: &'static str,
    /// Without it there is no tracing.
    pub essential: bool,
}

/// The kinds of probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `cgroup:*` tracepoints.
    Lifecycle,
    /// `sched:*` tracepoints.
    Processes,
    /// System calls that fail; and the kernel's function that is looked at instead of some of them.
    Attempts,
    /// The kernel's functions behind system calls, for calls that have not returned: only trampolines can look at them.
    InFlight,
}

const fn probe(name: &'static str, group: Group, essential: bool, cost: &'static str) -> ProbeSpec {
    ProbeSpec { name, group, cost, essential }
}

/// Those that are on no system call.
const OTHERS: &[ProbeSpec] = &[
    probe("cgroup_mkdir", Group::Lifecycle, true, "creations are not seen"),
    probe("cgroup_rmdir", Group::Lifecycle, true, "removals are not seen"),
    probe("cgroup_release", Group::Lifecycle, false, "when the kernel lets go of a removed cgroup is not seen"),
    probe("cgroup_rename", Group::Lifecycle, false, "v1 cgroups that are renamed keep their old name"),
    probe(
        "cgroup_notify_populated",
        Group::Lifecycle,
        false,
        "when a cgroup gets its first or loses its last process is not seen",
    ),
    probe("cgroup_freeze", Group::Lifecycle, false, "who asks for a freeze is not seen"),
    probe("cgroup_unfreeze", Group::Lifecycle, false, "who asks for a thaw is not seen"),
    probe("cgroup_notify_frozen", Group::Lifecycle, false, "when a cgroup is frozen is not seen"),
    probe("cgroup_attach_task", Group::Lifecycle, false, "which process is moved where is not seen"),
    probe("enter_cgroup_mkdir", Group::InFlight, false, "a mkdir that does not return is not told of meanwhile"),
    probe("enter_cgroup_rmdir", Group::InFlight, false, "an rmdir that does not return is not told of meanwhile"),
    probe("sched_process_exec", Group::Processes, false, "runtimes are known only once they touch a cgroup"),
    probe("sched_process_exit", Group::Processes, false, "outcomes are not known: findings stay undetermined"),
];

macro_rules! failed_calls {
    ($(
        $variant:ident $constant:ident $trampoline:ident $again:ident $name:literal =
            $first:ident $arguments:tt $(.$more:ident $with:tt)*;
    )*) => {
        /// One for each row of the table of system calls.
        const FAILED_CALLS: &[ProbeSpec] =
            &[$(probe($name, Group::Attempts, false, concat!("failed ", $name, " calls are not seen"))),*];
    };
}

tracer_ebpf::for_each_syscall!(failed_calls);

/// The registry of probes.
pub const PROBES: &[ProbeSpec] = &{
    let mut all = [FAILED_CALLS[0]; OTHERS.len() + FAILED_CALLS.len()];
    let mut index = 0;
    while index < all.len() {
        all[index] = match index.checked_sub(OTHERS.len()) {
            None => OTHERS[index],
            Some(call) if syscalls::TABLE[call].is_function => ProbeSpec {
                cost: "writes to control files that succeed are not seen: who overwrote a limit is not told",
                ..FAILED_CALLS[call]
            },
            Some(call) => FAILED_CALLS[call],
        };
        index += 1;
    }
    all
};

/// What a backend does not see, and how it can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Missed {
    /// What is not seen.
    cost: &'static str,
    /// Which backend sees it.
    seen_with: &'static str,
}

/// What a backend does not look at.
pub fn not_watched(backend: Backend) -> Vec<NotWatched> {
    let mut all: Vec<NotWatched> = Vec::new();
    for probe in PROBES {
        let Some(Missed { cost, seen_with }) = probe.missed_by(backend) else { continue };
        let name = probe.name.to_owned();
        match all.iter_mut().find(|one| (one.cost.as_str(), one.hint.as_str()) == (cost, seen_with)) {
            Some(one) => one.names.push(name),
            None => all.push(NotWatched { names: vec![name], cost: cost.to_owned(), hint: seen_with.to_owned() }),
        }
    }
    all
}

/// `kernfs_fop_write_iter` refuses those before it calls `cgroup_file_write`.
const OF_REMOVED: &str = "writes to a file of a cgroup that was removed meanwhile (ENODEV) are not seen";
const BY_TRACEPOINT: &str = "programs make this call all the time: only --backend tracepoint looks at it";
const BY_TRAMPOLINES: &str = "only trampolines can look at it";

impl ProbeSpec {
    /// The system call it watches.
    pub fn syscall(&self) -> Option<Syscall> {
        Syscall::ALL.into_iter().find(|syscall| self.group == Group::Attempts && syscall.as_str() == self.name)
    }

    /// Whether a backend watches it here. Trampolines do not look at calls that programs make all the time: each would
    /// cost something, and the others nothing any more. The function that writes end in has arguments of its own, which
    /// only they can see.
    pub fn is_watched_by(&self, backend: Backend) -> bool {
        let is_left_out = |row: &Row| match backend {
            Backend::Trampoline => row.is_everywhere,
            Backend::TracepointBtf | Backend::TracepointRaw => row.is_function,
        };
        let is_there = self.group != Group::InFlight || backend == Backend::Trampoline;
        self.exists_here() && is_there && !self.syscall().is_some_and(|syscall| is_left_out(syscall.row()))
    }

    /// What that backend does not see because it does not watch it. `None` if it watches it.
    fn missed_by(&self, backend: Backend) -> Option<Missed> {
        if !self.exists_here() || self.is_watched_by(backend) {
            return None;
        }
        // Writes end in one function, which tells of all of them but those that do not come so far.
        let is_write = self.syscall().is_some_and(|syscall| syscall.row().operation == Operation::Write);
        Some(match backend {
            Backend::Trampoline if is_write => Missed { cost: OF_REMOVED, seen_with: BY_TRACEPOINT },
            Backend::Trampoline => Missed { cost: self.cost, seen_with: BY_TRACEPOINT },
            Backend::TracepointBtf | Backend::TracepointRaw => Missed { cost: self.cost, seen_with: BY_TRAMPOLINES },
        })
    }

    /// Whether it is on the kernel's function behind several system calls.
    pub fn is_on_function(&self) -> bool {
        self.syscall().is_some_and(|syscall| syscall.row().is_function)
    }

    /// Of one for calls that have not returned: the kernel's function that it is on.
    pub fn function_in_flight(&self) -> Option<&'static str> {
        self.name.strip_prefix("enter_").filter(|_| self.group == Group::InFlight)
    }

    /// Whether this architecture has what it watches.
    pub fn exists_here(&self) -> bool {
        self.syscall().is_none_or(|syscall| syscall.row().is_function || syscall.number().is_some())
    }
}

/// How failed calls are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A trampoline on each system call's function.
    Trampoline,
    /// The tracepoint on all system calls' exit, whose arguments the verifier knows.
    TracepointBtf,
    /// The same tracepoint on a kernel without BTF.
    TracepointRaw,
}

impl Backend {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trampoline => "trampoline",
            Self::TracepointBtf | Self::TracepointRaw => "tracepoint",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trampoline => "trampoline (fexit on each system call's function)",
            Self::TracepointBtf => "tracepoint (sys_exit, with BTF)",
            Self::TracepointRaw => "tracepoint (sys_exit, raw)",
        })
    }
}

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendChoice {
    /// The best that works.
    #[default]
    Auto,
    /// Trampolines or nothing.
    Trampoline,
    /// The tracepoint.
    Tracepoint,
}

/// What to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How failed calls are watched.
    pub backend: Backend,
    /// Whether the tracepoint may do instead, if a trampoline cannot be attached.
    pub falls_back: bool,
    /// Lifecycle events come by classic tracepoints, which need tracefs; else by raw ones, which need BTF.
    pub classic: bool,
    /// Each hook has two copies of its program: the kernel may skip one that it has preempted.
    pub twice: bool,
    /// When this kernel preempts tasks in kernel code; `None` if that cannot be told.
    pub preemption: Option<Preemption>,
    /// Who is current as a cgroup becomes empty may have nothing to do with it.
    pub emptied_by_next: bool,
    /// Offsets for the programs.
    pub offsets: [u32; offset::COUNT],
    /// What works less well than it could, a line each.
    pub notes: Vec<String>,
}

/// Why there is nothing to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is missing.
    pub what: String,
    /// What the user can do.
    pub hint: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nhint: {}", self.what, self.hint)
    }
}

impl std::error::Error for Refusal {}

impl Plan {
    /// Decides what to attach.
    ///
    /// # Errors
    /// When this kernel or this user cannot trace at all.
    pub fn decide(support: &Support, choice: BackendChoice) -> Result<Self, Refusal> {
        let refuse = |what: String, hint: &str| Err(Refusal { what, hint: hint.to_owned() });
        if !support.built {
            return refuse("this binary was built without its kernel programs".to_owned(), "cargo xtask build");
        }
        for (capability, name) in [(Capability::Bpf, "CAP_BPF"), (Capability::Perfmon, "CAP_PERFMON")] {
            if !support.capabilities.has(capability) {
                return refuse(format!("{name} is missing"), "run as root, or grant CAP_BPF and CAP_PERFMON");
            }
        }
        for Feature { need, found } in &support.features {
            let Err(why) = found else { continue };
            return match need {
                Need::RingBuffer | Need::BootClock => refuse(
                    format!("this kernel lacks {} for BPF programs: {why}", need.as_str()),
                    "trace on a host with a newer kernel: Linux 5.8 and later have it",
                ),
                Need::KernelMemory if support.is_confidential() => refuse(
                    "lockdown is in confidentiality mode: programs may not read the names of cgroups from kernel memory"
                        .to_owned(),
                    "boot with lockdown=integrity, or without lockdown",
                ),
                Need::KernelMemory => refuse(
                    format!("programs may not read the names of cgroups from kernel memory: {why}"),
                    "look into /sys/kernel/security/lockdown: it must not say [confidentiality]",
                ),
            };
        }
        // Raw tracepoints cost less, at every event and at the end.
        let raw = support.has_raw_lifecycle();
        if !support.tracefs.is_usable() && !raw {
            let what = if support.has_btf() { "structures that are not known" } else { "no BTF" };
            let (found, hint) = match support.tracefs {
                Found::Denied => ("tracefs may not be read", "run as root, or grant CAP_DAC_READ_SEARCH"),
                Found::Empty => ("tracefs has no cgroup events", "trace on a kernel with CONFIG_DEBUG_INFO_BTF"),
                Found::Mounted | Found::Private | Found::Missing => {
                    ("there is no tracefs", "mount -t tracefs tracefs /sys/kernel/tracing")
                }
            };
            return refuse(format!("{found}, and this kernel has {what}: cgroup events cannot be read"), hint);
        }
        let tracepoint = if support.has_btf() { Backend::TracepointBtf } else { Backend::TracepointRaw };
        let backend = match (choice, &support.trampolines) {
            (BackendChoice::Auto | BackendChoice::Trampoline, Ok(())) => Backend::Trampoline,
            (BackendChoice::Trampoline, Err(why)) => {
                return refuse(format!("trampolines do not work here: {why}"), "use --backend tracepoint");
            }
            (BackendChoice::Auto, Err(_)) | (BackendChoice::Tracepoint, _) => tracepoint,
        };
        let mut offsets = [offset::MISSING; offset::COUNT];
        for (slot, found) in offsets.iter_mut().zip(&support.offsets) {
            *slot = found.unwrap_or(offset::MISSING);
        }
        let is_preempted =
            backend == Backend::Trampoline || release::preempts_tracepoints(&support.release).unwrap_or(true);
        let twice = is_preempted && preempts_programs(support.preemption);
        let emptied_by_next = EmptiedIn::of(&support.release) != Some(EmptiedIn::LastTask);
        let preemption = support.preemption;
        let falls_back = choice != BackendChoice::Trampoline;
        Ok(Self {
            backend,
            falls_back,
            classic: !raw,
            twice,
            preemption,
            emptied_by_next,
            offsets,
            notes: notes(support),
        })
    }
}

/// What works less well than it could.
fn notes(support: &Support) -> Vec<String> {
    let mut notes = Vec::new();
    let features = [
        (feature::RELATIVE_PATHS, "failed calls with relative paths are not seen"),
        (feature::CONTROL_FILES, "with trampolines, writes to control files are not seen"),
        (feature::IN_FLIGHT, "with trampolines, calls that do not return are not told of meanwhile"),
        (feature::MOUNT_NAMESPACE, "mount namespaces are read from /proc: of short-lived processes they stay unknown"),
        (feature::IDENTITY, "command lines are read from /proc: of short-lived processes they stay unknown"),
        (feature::EXIT, "exit statuses are not known: findings stay undetermined"),
    ];
    let why = match support.has_btf() {
        true => "this kernel has unexpected structures",
        false => "the kernel has no BTF (one that is built with CONFIG_DEBUG_INFO_BTF has it)",
    };
    let costs: Vec<&str> = features.iter().filter(|(needs, _)| !support.knows(needs)).map(|(_, cost)| *cost).collect();
    if !costs.is_empty() {
        notes.push(format!("{why}: {}", costs.join("; ")));
    }
    for (capability, name, cost) in [
        (
            Capability::SysPtrace,
            "CAP_SYS_PTRACE",
            "other users' mount tables cannot be read: their failed calls stay unresolved",
        ),
        (
            Capability::DacReadSearch,
            "CAP_DAC_READ_SEARCH",
            "other users' bundles cannot be read: containers have ids, no names",
        ),
        (
            Capability::Setuid,
            "CAP_SETUID",
            "nothing is read with other users' rights: their containers have ids, no names",
        ),
        (
            Capability::Setgid,
            "CAP_SETGID",
            "nothing is read with other users' rights: their containers have ids, no names",
        ),
    ] {
        if !support.capabilities.has(capability) {
            notes.push(format!("{name} is missing: {cost}"));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Capabilities;

    fn check(change: impl Fn(&mut Support), choice: BackendChoice, expected: Result<Backend, &str>) {
        let mut support = Support::of_a_good_host();
        change(&mut support);
        match (Plan::decide(&support, choice), expected) {
            (Ok(plan), Ok(backend)) => assert_eq!(plan.backend, backend),
            (Err(refusal), Err(what)) => assert!(refusal.what.contains(what), "{refusal}"),
            (got, expected) => panic!("{got:?} is not {expected:?}"),
        }
    }

    #[test]
    fn the_best_that_works_is_chosen_and_what_cannot_work_is_refused() {
        use BackendChoice::{Auto, Tracepoint, Trampoline};
        check(|_| {}, Auto, Ok(Backend::Trampoline));
        check(|_| {}, Tracepoint, Ok(Backend::TracepointBtf));
        check(|s| s.trampolines = Err("EPERM".into()), Auto, Ok(Backend::TracepointBtf));
        check(|s| s.trampolines = Err("EPERM".into()), Trampoline, Err("trampolines do not work here: EPERM"));
        check(|s| (s.offsets, s.trampolines) = (vec![], Err("no BTF".into())), Auto, Ok(Backend::TracepointRaw));
        check(|s| s.release = "5.10.0-46-cloud-amd64".into(), Auto, Ok(Backend::Trampoline));
        check(|s| lacks(s, Need::RingBuffer), Auto, Err("this kernel lacks ring buffers for BPF programs: EINVAL"));
        check(
            |s| lacks(s, Need::BootClock),
            Auto,
            Err("this kernel lacks the boot-time clock for BPF programs: EINVAL"),
        );
        check(|s| s.capabilities = Capabilities(0), Auto, Err("CAP_BPF is missing"));
        check(|s| s.capabilities = Capabilities(1 << 39), Auto, Err("CAP_PERFMON is missing"));
        check(|s| s.built = false, Auto, Err("built without"));
        check(|s| s.tracefs = Found::Missing, Auto, Ok(Backend::Trampoline));
        check(
            |s| (s.offsets, s.tracefs) = (vec![], Found::Missing),
            Auto,
            Err("no tracefs, and this kernel has no BTF"),
        );
        check(|s| (s.offsets, s.tracefs) = (vec![], Found::Denied), Auto, Err("tracefs may not be read, and"));
        check(|s| (s.offsets, s.tracefs) = (vec![], Found::Private), Auto, Ok(Backend::Trampoline));
    }

    fn lacks(support: &mut Support, need: Need) {
        support.features.iter_mut().filter(|feature| feature.need == need).for_each(|f| f.found = Err("EINVAL".into()));
    }

    #[test]
    fn lockdown_is_named_where_it_is_in_the_way() {
        let mut support = Support { lockdown: Some("integrity".into()), ..Support::of_a_good_host() };
        assert!(Plan::decide(&support, BackendChoice::Auto).is_ok());
        lacks(&mut support, Need::KernelMemory);
        support.lockdown = None;
        let told = |support: &Support| Plan::decide(support, BackendChoice::Auto).expect_err("it cannot").to_string();
        assert!(told(&support).ends_with("it must not say [confidentiality]"), "{}", told(&support));
        support.lockdown = Some("confidentiality".into());
        assert_eq!(
            told(&support),
            "lockdown is in confidentiality mode: programs may not read the names of cgroups from kernel memory\n\
             hint: boot with lockdown=integrity, or without lockdown"
        );
    }

    #[test]
    fn hooks_are_there_twice_where_a_program_can_be_preempted() {
        let check = |release: &str, preemption, choice, twice| {
            let support = Support { release: release.to_owned(), preemption, ..Support::of_a_good_host() };
            assert_eq!(Plan::decide(&support, choice).map(|plan| plan.twice), Ok(twice), "{release} {preemption:?}");
        };
        check("6.1", Some(Preemption::Voluntary), BackendChoice::Trampoline, false);
        check("6.1", Some(Preemption::Full), BackendChoice::Trampoline, true);
        check("6.1", None, BackendChoice::Trampoline, true);
        check("6.18", Some(Preemption::Full), BackendChoice::Tracepoint, false);
        check("7.3", Some(Preemption::Lazy), BackendChoice::Tracepoint, true);
        check("7.3", Some(Preemption::None), BackendChoice::Tracepoint, false);
    }

    #[test]
    fn what_is_missing_is_said_with_its_cost() {
        let mut support = Support::of_a_good_host();
        assert!(Plan::decide(&support, BackendChoice::Auto).is_ok_and(|plan| plan.notes.is_empty()));
        support.offsets = Vec::new();
        support.capabilities = Capabilities(1 << 39 | 1 << 38);
        let plan = Plan::decide(&support, BackendChoice::Tracepoint).expect("it can still trace");
        assert_eq!(plan.notes.len(), 5, "{:#?}", plan.notes);
        assert!(
            plan.notes[0].starts_with("the kernel has no BTF (one that is built with CONFIG_DEBUG_INFO_BTF has it): f")
        );
    }

    #[test]
    fn writes_are_told_by_one_function_where_trampolines_are_and_what_no_backend_tells_is_known() {
        let missed = |backend| {
            let missed = |probe: &ProbeSpec| Some((probe.name, probe.missed_by(backend)?.cost));
            PROBES.iter().filter_map(missed).collect::<Vec<_>>()
        };
        let calls = ["write", "pwrite64", "writev"].map(|call| (call, OF_REMOVED));
        assert_eq!(missed(Backend::Trampoline)[..3], calls);
        let reads = [("read", "failed read calls are not seen"), ("pread64", "failed pread64 calls are not seen")];
        assert_eq!(missed(Backend::Trampoline)[3..], reads);
        let by_functions = ["enter_cgroup_mkdir", "enter_cgroup_rmdir", "cgroup_file_write"];
        let names: Vec<&str> = missed(Backend::TracepointBtf).iter().map(|(name, _)| *name).collect();
        assert_eq!(names, by_functions);
        let in_flight: Vec<&str> = PROBES.iter().filter_map(ProbeSpec::function_in_flight).collect();
        assert_eq!(in_flight, tracer_ebpf::FUNCTIONS_IN_FLIGHT);
        let of_writes = PROBES.iter().find(|probe| probe.is_on_function()).expect("there is one");
        assert_eq!(
            of_writes.cost,
            "writes to control files that succeed are not seen: who overwrote a limit is not told"
        );
        assert!(of_writes.is_watched_by(Backend::Trampoline) && !of_writes.is_watched_by(Backend::TracepointRaw));
    }

    #[test]
    fn every_system_call_has_a_probe() {
        let watched: Vec<Syscall> = PROBES.iter().filter_map(ProbeSpec::syscall).collect();
        assert_eq!(watched, Syscall::ALL);
    }
}
