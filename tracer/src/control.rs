//! Control files: what they are for, by their names.

use crate::name::Name;

/// What a file of a cgroup is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To put a process or a thread into the cgroup.
    Attach,
    /// To say which controllers the cgroups in it have, or what type of cgroup it is.
    Control,
    /// To set what may be used.
    Limit,
    /// To have something done at once, to be told of something, or to hand something on.
    Other,
}

/// Those that do something at once, tell of something or belong to the hierarchy; all others that are written to set
/// what may be used.
const OTHERS: [&str; 14] = [
    "cgroup.clone_children",
    "cgroup.event_control",
    "cgroup.freeze",
    "cgroup.kill",
    "cgroup.pressure",
    "cgroup.sane_behavior",
    "cpu.pressure",
    "freezer.state",
    "io.pressure",
    "irq.pressure",
    "memory.force_empty",
    "memory.pressure",
    "memory.reclaim",
    "notify_on_release",
];

/// What a file is written for.
pub fn purpose(file: &Name) -> Purpose {
    match file.to_str() {
        Some("cgroup.procs" | "cgroup.threads" | "tasks") => Purpose::Attach,
        Some("cgroup.subtree_control" | "cgroup.type") => Purpose::Control,
        Some("release_agent") | None => Purpose::Other,
        Some(file) if OTHERS.contains(&file) => Purpose::Other,
        Some(_) => Purpose::Limit,
    }
}

/// The controller that a file is of. `None` for those that every cgroup has.
pub fn controller(file: &Name) -> Option<&str> {
    let (controller, _) = file.to_str()?.split_once('.')?;
    (controller != "cgroup").then_some(controller)
}

/// Whether a controller's file is one of cgroup v1 alone (`Some(1)`) or of cgroup2 alone (`Some(2)`). `None` if both
/// have it, or if it is not known.
pub fn only_of_version(file: &Name) -> Option<u8> {
    const V1: [&str; 32] = [
        "cpu.cfs_period_us",
        "cpu.cfs_quota_us",
        "cpu.rt_period_us",
        "cpu.rt_runtime_us",
        "cpu.shares",
        "cpuset.cpu_exclusive",
        "cpuset.effective_cpus",
        "cpuset.effective_mems",
        "cpuset.mem_exclusive",
        "cpuset.mem_hardwall",
        "cpuset.memory_migrate",
        "cpuset.memory_pressure",
        "cpuset.memory_pressure_enabled",
        "cpuset.memory_spread_page",
        "cpuset.memory_spread_slab",
        "cpuset.sched_load_balance",
        "cpuset.sched_relax_domain_level",
        "memory.failcnt",
        "memory.force_empty",
        "memory.kmem.limit_in_bytes",
        "memory.kmem.tcp.limit_in_bytes",
        "memory.limit_in_bytes",
        "memory.max_usage_in_bytes",
        "memory.memsw.limit_in_bytes",
        "memory.memsw.max_usage_in_bytes",
        "memory.memsw.usage_in_bytes",
        "memory.move_charge_at_immigrate",
        "memory.oom_control",
        "memory.soft_limit_in_bytes",
        "memory.swappiness",
        "memory.usage_in_bytes",
        "memory.use_hierarchy",
    ];
    const V2: [&str; 22] = [
        "cpu.idle",
        "cpu.max",
        "cpu.max.burst",
        "cpu.uclamp.max",
        "cpu.uclamp.min",
        "cpu.weight",
        "cpu.weight.nice",
        "cpuset.cpus.effective",
        "cpuset.cpus.exclusive",
        "cpuset.cpus.partition",
        "cpuset.mems.effective",
        "memory.current",
        "memory.events",
        "memory.high",
        "memory.low",
        "memory.max",
        "memory.min",
        "memory.peak",
        "memory.swap.current",
        "memory.swap.high",
        "memory.swap.max",
        "memory.zswap.max",
    ];
    let name = file.to_str()?;
    match controller(file)? {
        "blkio" | "cpuacct" | "devices" | "freezer" | "net_cls" | "net_prio" => Some(1),
        "io" | "irq" => Some(2),
        _ if V1.contains(&name) => Some(1),
        _ if V2.contains(&name) => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_it_is_for() {
        let of = |file: &str| (purpose(&file.into()), controller(&file.into()).map(str::to_owned));
        let some = |controller: &str| Some(controller.to_owned());
        assert_eq!(of("cgroup.procs"), (Purpose::Attach, None));
        assert_eq!(of("tasks"), (Purpose::Attach, None));
        assert_eq!(of("cgroup.subtree_control"), (Purpose::Control, None));
        assert_eq!(of("cpuset.cpus.partition"), (Purpose::Limit, some("cpuset")));
        assert_eq!(of("cgroup.max.depth"), (Purpose::Limit, None));
        assert_eq!(of("memory.reclaim"), (Purpose::Other, some("memory")));
        assert_eq!(purpose(&Name::new([0xff])), Purpose::Other);
    }

    #[test]
    fn a_file_may_be_of_one_version_alone() {
        let of = |file: &str| only_of_version(&file.into());
        assert_eq!([of("memory.max"), of("memory.limit_in_bytes"), of("blkio.weight")], [Some(2), Some(1), Some(1)]);
        assert_eq!(
            [of("pids.max"), of("hugetlb.2MB.max"), of("cgroup.freeze"), of("io.max")],
            [None, None, None, Some(2)]
        );
    }
}
