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
const OTHERS: [&str; 12] = [
    "cgroup.clone_children",
    "cgroup.event_control",
    "cgroup.kill",
    "cgroup.pressure",
    "cgroup.sane_behavior",
    "cpu.pressure",
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

/// Whether a cgroup keeps something for itself alone, by what one of its cpuset's files says: a switch, or a list, in
/// which 0 is the first processor.
pub fn keeps_for_itself(file: &str, value: &Name) -> bool {
    if file.ends_with("_exclusive") { *value != "0" } else { file.ends_with(".exclusive") && !value.is_empty() }
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

/// What a file that lasts is set to: one of a file's own, or of one controller of a `cgroup.subtree_control`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Setting {
    /// The control file.
    pub file: &'static str,
    /// The controller, of `cgroup.subtree_control`.
    pub controller: Option<&'static str>,
}

/// What is equal although it is written otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Bytes, with or without a suffix; -1 and what is next to the largest number on v1 stand for no limit.
    Bytes,
    /// A set of numbers: `0-3,7`.
    Set,
    /// Words, of which the last ones may be left out, and stay what they were.
    Words,
}

/// Files that have one value each, which stays until it is written again. Those with a value for each device are not
/// here: what is not named in a write stays.
const SETTINGS: [(&str, Form); 38] = [
    ("blkio.bfq.weight", Form::Words),
    ("blkio.weight", Form::Words),
    ("cgroup.freeze", Form::Words),
    ("cgroup.max.depth", Form::Words),
    ("cgroup.max.descendants", Form::Words),
    ("cpu.cfs_burst_us", Form::Words),
    ("cpu.cfs_period_us", Form::Words),
    ("cpu.cfs_quota_us", Form::Words),
    ("cpu.idle", Form::Words),
    ("cpu.max", Form::Words),
    ("cpu.max.burst", Form::Words),
    ("cpu.rt_period_us", Form::Words),
    ("cpu.rt_runtime_us", Form::Words),
    ("cpu.shares", Form::Words),
    ("cpu.uclamp.max", Form::Words),
    ("cpu.uclamp.min", Form::Words),
    ("cpu.weight", Form::Words),
    ("cpuset.cpu_exclusive", Form::Words),
    ("cpuset.cpus", Form::Set),
    ("cpuset.cpus.exclusive", Form::Set),
    ("cpuset.cpus.partition", Form::Words),
    ("cpuset.mems", Form::Set),
    ("cpuset.sched_load_balance", Form::Words),
    ("freezer.state", Form::Words),
    ("memory.high", Form::Bytes),
    ("memory.kmem.limit_in_bytes", Form::Bytes),
    ("memory.limit_in_bytes", Form::Bytes),
    ("memory.low", Form::Bytes),
    ("memory.max", Form::Bytes),
    ("memory.memsw.limit_in_bytes", Form::Bytes),
    ("memory.min", Form::Bytes),
    ("memory.oom.group", Form::Words),
    ("memory.soft_limit_in_bytes", Form::Bytes),
    ("memory.swap.high", Form::Bytes),
    ("memory.swap.max", Form::Bytes),
    ("memory.swappiness", Form::Words),
    ("memory.zswap.max", Form::Bytes),
    ("pids.max", Form::Words),
];

const SUBTREE_CONTROL: &str = "cgroup.subtree_control";
/// What cgroup2 can hand on.
const CONTROLLERS: [&str; 11] =
    ["cpu", "cpuset", "dmem", "hugetlb", "io", "memory", "misc", "net_prio", "perf_event", "pids", "rdma"];

/// What a write of that value sets, each with its value, in the order of the write. Nothing if the file has no value
/// that lasts, has one for each device, or if it is not known.
pub fn settings(file: &Name, value: &Name) -> Vec<(Setting, Name)> {
    let (Some(file), Some(text)) = (file.to_str(), value.to_str()) else { return Vec::new() };
    let text = text.trim();
    if file == SUBTREE_CONTROL {
        let of_word = |word: &str| {
            let name = word.strip_prefix(['+', '-'])?;
            let controller = CONTROLLERS.into_iter().find(|known| *known == name)?;
            Some((Setting { file: SUBTREE_CONTROL, controller: Some(controller) }, Name::from(word)))
        };
        return text.split_ascii_whitespace().filter_map(of_word).collect();
    }
    let known = SETTINGS.iter().find(|(known, _)| *known == file);
    known.map(|(file, _)| (Setting { file, controller: None }, Name::from(text))).into_iter().collect()
}

impl Setting {
    /// Whether two values of it, as [`settings`] gives them, may be the same. One that leaves out what it does not
    /// change may be the same as any that begins like it.
    pub fn may_be_same(self, one: &Name, other: &Name) -> bool {
        let form = SETTINGS.iter().find(|(file, _)| *file == self.file).map_or(Form::Words, |(_, form)| *form);
        let (one, other) = (one.to_str().unwrap_or_default(), other.to_str().unwrap_or_default());
        match form {
            _ if one == other => true,
            Form::Bytes => bytes(one).is_some_and(|bytes_of_one| bytes(other) == Some(bytes_of_one)),
            Form::Set => numbers(one).is_some_and(|set| numbers(other) == Some(set)),
            Form::Words => {
                let mut pairs = one.split_ascii_whitespace().zip(other.split_ascii_whitespace());
                !one.is_empty() && !other.is_empty() && pairs.all(|(one, other)| one == other)
            }
        }
    }
}

/// Bytes, as the kernel reads them; `u64::MAX` is no limit.
fn bytes(text: &str) -> Option<u64> {
    /// v1 shows the largest number of pages, and takes any number beyond for it.
    const BEYOND: u64 = (i64::MAX as u64) & !0xffff;
    if matches!(text, "max" | "-1") {
        return Some(u64::MAX);
    }
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        _ => return None,
    };
    let bytes = digits.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    Some(if bytes >= BEYOND { u64::MAX } else { bytes })
}

/// The numbers of `0-3,7`, as ranges that do not touch.
fn numbers(text: &str) -> Option<Vec<(u32, u32)>> {
    let range = |part: &str| {
        let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    let mut ranges: Vec<(u32, u32)> =
        text.split(',').filter(|part| !part.trim().is_empty()).map(range).collect::<Option<_>>()?;
    ranges.sort_unstable();
    let mut joined: Vec<(u32, u32)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            Some(_) | None => joined.push((first, last)),
        }
    }
    Some(joined)
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
        assert_eq!(of("cgroup.freeze"), (Purpose::Limit, None));
        assert_eq!(of("freezer.state"), (Purpose::Limit, some("freezer")));
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

    #[test]
    fn the_first_processor_is_kept_by_a_list_and_not_by_a_switch() {
        let keeps = |file: &str, value: &str| keeps_for_itself(file, &value.into());
        assert!(keeps("cpuset.cpus.exclusive", "0") && keeps("cpuset.cpu_exclusive", "1"));
        assert!(
            !keeps("cpuset.cpus.exclusive", "") && !keeps("cpuset.cpu_exclusive", "0") && !keeps("cpuset.cpus", "0")
        );
    }

    #[test]
    fn a_write_sets_one_value_or_one_for_each_controller() {
        let of = |file: &str, value: &str| {
            let set = settings(&file.into(), &value.into());
            set.iter().map(|(what, value)| format!("{} {value}", what.controller.unwrap_or("-"))).collect::<Vec<_>>()
        };
        assert_eq!(of("memory.max", "max\n"), ["- max"]);
        assert_eq!(of("cpuset.cpus", "\n"), ["- "]);
        assert_eq!(of("cgroup.subtree_control", "+cpu -memory +nothing"), ["cpu +cpu", "memory -memory"]);
        for (file, value) in [("cgroup.procs", "1"), ("io.max", "8:0 rbps=1"), ("memory.peak", "0"), ("x", "1")] {
            assert!(of(file, value).is_empty(), "{file}");
        }
    }

    #[test]
    fn what_may_be_the_same_is_no_other_value() {
        let may_be = |file: &'static str, one: &str, other: &str| {
            let what = Setting { file, controller: None };
            assert_eq!(what.may_be_same(&one.into(), &other.into()), what.may_be_same(&other.into(), &one.into()));
            what.may_be_same(&one.into(), &other.into())
        };
        for (file, one, other) in [
            ("memory.max", "100M", "104857600"),
            ("memory.limit_in_bytes", "-1", "9223372036854771712"),
            ("cpuset.cpus", "0-3", "3,0,1-2"),
            ("cpuset.cpus", "", ","),
            ("cpu.max", "max", "max 100000"),
            ("pids.max", "10", "10"),
        ] {
            assert!(may_be(file, one, other), "{file} {one} {other}");
        }
        for (file, one, other) in [
            ("memory.max", "100M", "max"),
            ("memory.max", "1", "one"),
            ("cpuset.cpus", "0-3", "0-2"),
            ("cpuset.cpus", "0-3", ""),
            ("cpu.max", "50000 100000", "max 100000"),
            ("cgroup.freeze", "0", "1"),
        ] {
            assert!(!may_be(file, one, other), "{file} {one} {other}");
        }
    }
}
