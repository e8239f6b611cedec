//! `refused-limit`: a limit, or another setting of a cgroup, was refused.
//!
//! Most errors have one reason for each file. What a file says in the cgroup around it, or in those beside it, is read
//! a moment later. The sources are `validate_change` (kernel/cgroup/cpuset*.c), `mem_cgroup_resize_max`
//! (mm/memcontrol-v1.c), `tg_set_cfs_bandwidth` (kernel/sched/core.c) and `blkg_conf_open_bdev` (block/blk-cgroup.c).

mod known;

use super::refusal::{self, Refused};
use super::{Call, Judgement, Rule, Weighed, World};
use crate::control::{self, Purpose};
use crate::errno::Errno;
use crate::findings::{Cause, Explanation};
use crate::input::Operation;
use crate::name::Name;
use crate::state::Case;

pub(super) const RULE: Rule = Rule {
    explanation: Explanation {
        word: "refused-limit",
        claim: "A limit, or another setting of a cgroup, was refused.",
        evidence: &[
            "the failed write to the control file, with what was written",
            refusal::EVIDENCE_OF_CIRCUMSTANCES,
            "the exit status of the process that was refused",
        ],
        confirm: &[
            (
                "look what the file says there, and in the cgroup around it",
                "grep . /sys/fs/cgroup/PATH/FILE /sys/fs/cgroup/PATH/../FILE",
            ),
            (
                "look which cgroups beside it keep processors for themselves (v1)",
                "grep . /sys/fs/cgroup/cpuset/PATH/../*/cpuset.cpu_exclusive",
            ),
            ("look whether the device is there", "ls -l /sys/dev/block"),
        ],
        causes: &[NOT_A_SUBSET, USAGE_ABOVE, DEVICE, NOT_SUPPORTED, INVALID_VALUE, NOT_DELEGATED, UNKNOWN],
        severity: refusal::SEVERITY,
        false_positives: &[
            "On cgroup2 memory.max, memory.high and memory.reclaim are never refused because too much is used: the \
             call takes long instead. An EAGAIN of memory.reclaim is not looked at.",
            refusal::MADE_GOOD,
        ],
    },
    known: known::KNOWN,
    call: Some(call),
    failed_start: None,
    stuck: None,
    event: None,
    deadline: None,
    course: refusal::COURSE,
    hurt: refusal::hurt,
    judge,
};

const NOT_A_SUBSET: Cause = Cause {
    word: "not-a-subset",
    meaning: "More was asked for than the cgroup around it has, or what another one has for itself alone; or less than \
              a cgroup in it has, on v1. It is about processors, memory nodes, real-time or CPU bandwidth.",
    advice: "Ask for what the cgroup around it has, or widen that first, from the outside in; narrow it from the \
             inside out. Where a cgroup beside it has processors exclusively, that one must give them up.",
    is_routine: true,
};
const USAGE_ABOVE: Cause = Cause {
    word: "usage-above",
    meaning: "More is used than the limit allows, and could not be reclaimed (v1).",
    advice: "Set a limit above what is used, or end or shrink what uses it first. To empty it by force: \
             echo 0 > memory.force_empty, when nothing runs in it.",
    is_routine: true,
};
const DEVICE: Cause = Cause {
    word: "device",
    meaning: "There is no such device, or it is a partition.",
    advice: "Name the whole disk by its present number (lsblk -o NAME,MAJ:MIN). The number of a device that was \
             removed, or of another host, does not hold.",
    is_routine: true,
};
const NOT_SUPPORTED: Cause = Cause {
    word: "not-supported",
    meaning: "The kernel does not support it there: the I/O scheduler, the device or the kernel's configuration does \
              not have it.",
    advice: "Look which scheduler the device has (cat /sys/block/DISK/queue/scheduler): weights need bfq or iocost.",
    is_routine: true,
};
const INVALID_VALUE: Cause = Cause {
    word: "invalid-value",
    meaning: "What was written is no value that the file takes: malformed, out of range, or at odds with another \
              limit of the same cgroup.",
    advice: "Look at the value in the summary. `max` is a word of cgroup2, -1 is one of v1; a memory limit of v1 must \
             not be above memory.memsw.limit_in_bytes: set the one that is to be larger first.",
    is_routine: true,
};
const NOT_DELEGATED: Cause = Cause {
    word: "not-delegated",
    meaning: "The process may not set it: the cgroup is the root of its own cgroup namespace on a mount with \
              nsdelegate, or what was asked for needs a right that it does not have.",
    advice: "Set limits from outside the container. In a container, make a cgroup below the root and set them there.",
    is_routine: true,
};
const UNKNOWN: Cause = Cause {
    word: "unknown",
    meaning: "Nothing that could be read says why.",
    advice: "Look at the kernel's documentation of the file (admin-guide/cgroup-v2, cgroup-v1), and at the kernel's \
             log.",
    is_routine: true,
};

/// No errors of a limit: there was no memory for the call itself, or the cgroup is gone.
fn is_refusal(errno: Errno, file: &Name) -> bool {
    let names_device = ["io.", "blkio.", "rdma.", "dmem."].iter().any(|prefix| starts_with(file, prefix));
    !matches!(errno, Errno::ENOMEM | Errno::ENODEV) || errno == Errno::ENODEV && names_device
}

fn starts_with(file: &Name, prefix: &str) -> bool {
    file.as_bytes().starts_with(prefix.as_bytes())
}

fn call(call: &Call, _: &World) -> Option<Case> {
    let attempt = &call.note.attempt;
    let file = call.note.file.as_ref()?;
    let is_limit = attempt.operation == Operation::Write && control::purpose(file) == Purpose::Limit;
    (is_limit && is_refusal(attempt.errno, file)).then(|| refusal::case(call))?
}

fn judge(weighed: &Weighed, world: &World) -> Option<Judgement> {
    let refused = Refused::of(weighed)?;
    let file = refused.note.file.as_ref()?;
    let (cause, why, needs) = why(&refused, file);
    let because = refused.gaps(weighed, world, needs);
    let what = format!("set {file} of {} to {}", refusal::whose(weighed), refusal::value(refused.call()));
    let summary = refusal::summary(weighed, world, &refused, &what, &why);
    Some(Judgement { cause, because, summary, rival: None })
}

/// The cause, what it is in particular, and whether that rests on what was read later.
fn why(refused: &Refused, file: &Name) -> (Cause, String, bool) {
    let name = file.to_str().unwrap_or_default();
    let invalid = || (INVALID_VALUE, "the file does not take that".to_owned(), false);
    let unknown = || (UNKNOWN, "why is not known".to_owned(), false);
    match (refused.errno(), control::controller(file).unwrap_or_default()) {
        (Errno::ENODEV, _) => (DEVICE, "there is no such device".to_owned(), false),
        (Errno::EOPNOTSUPP, _) => (NOT_SUPPORTED, "the kernel does not support it there".to_owned(), false),
        (Errno::EPERM, "devices") => {
            (NOT_A_SUBSET, "the cgroup around it does not allow that device".to_owned(), false)
        }
        (Errno::EPERM, _) => (NOT_DELEGATED, "it may not change that there".to_owned(), false),
        (Errno::ERANGE | Errno::E2BIG | Errno::EOVERFLOW, _) => invalid(),
        (_, "cpuset") => cpuset(refused, name).unwrap_or_else(|| match refused.errno() {
            Errno::EINVAL if refused.call().value.as_ref().is_some_and(|value| is_malformed(name, value)) => invalid(),
            _ => (UNKNOWN, format!("why is not known{}", partition(refused)), false),
        }),
        (Errno::EBUSY, "memory") if !refused.is_on_v2() => {
            let usage = name.replace("limit_in_bytes", "usage_in_bytes");
            let used = refused.value(&refused.note.place.path, &usage);
            let used = used.map(|used| format!(": {usage} was {used}")).unwrap_or_default();
            (USAGE_ABOVE, format!("more is used than that, and could not be reclaimed{used}"), false)
        }
        (Errno::EINVAL, "memory") => memory(refused, name).unwrap_or_else(invalid),
        (Errno::EINVAL, "devices") if refused.said.and_then(|said| said.children).is_some_and(|count| count > 0) => {
            (UNKNOWN, "with cgroups in it not all devices can be allowed or denied at once".to_owned(), false)
        }
        (Errno::EINVAL, "cpu") if !refused.is_on_v2() => cpu(refused, name).unwrap_or_else(|| {
            let takes = refused.call().value.as_ref().is_none_or(|value| takes_on_v1(name, value));
            if takes { unknown() } else { invalid() }
        }),
        (Errno::EINVAL, _) => invalid(),
        (Errno::EACCES, _) => (NOT_DELEGATED, "it may not change that there".to_owned(), false),
        _ => unknown(),
    }
}

/// A list like `0-3,7`. `None` if it is none.
fn parse(list: &Name) -> Option<Vec<(u32, u32)>> {
    let list = list.to_str()?.trim();
    let ranges = list.split(',').filter(|range| !range.is_empty()).map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first <= last).then_some((first, last))
    });
    ranges.collect()
}

/// Whether a file of cpuset takes such a value nowhere: `cpulist_parse` and `nodelist_parse` (lib/bitmap-str.c) know
/// numbers, `all` and `N`, and the words of a partition are three.
fn is_malformed(name: &str, value: &Name) -> bool {
    let Some(value) = value.to_str().map(str::trim) else { return true };
    match name {
        "cpuset.cpus" | "cpuset.mems" | "cpuset.cpus.exclusive" => {
            let is_of_list = |c: char| c.is_ascii_digit() || c.is_ascii_whitespace() || "alN,-:/".contains(c);
            !value.chars().all(is_of_list)
        }
        "cpuset.cpus.partition" => !["member", "root", "isolated"].contains(&value),
        _ => false,
    }
}

fn is_subset(of: &[(u32, u32)], whole: &[(u32, u32)]) -> bool {
    let is_in =
        |number: u64| whole.iter().any(|(first, last)| (u64::from(*first)..=u64::from(*last)).contains(&number));
    // A range can be as long as the number is: of what lies outside, the ends of `whole` tell.
    of.iter().all(|(first, last)| {
        let edges = whole.iter().map(|(_, end)| u64::from(*end) + 1).filter(|edge| *edge <= u64::from(*last));
        is_in(u64::from(*first)) && edges.filter(|edge| *edge > u64::from(*first)).all(is_in)
    })
}

fn overlaps(one: &[(u32, u32)], other: &[(u32, u32)]) -> bool {
    one.iter().any(|(first, last)| other.iter().any(|(from, to)| first <= to && from <= last))
}

/// Of `cpuset.cpus`, `cpuset.mems` and what is exclusive of them.
fn cpuset(refused: &Refused, name: &str) -> Option<(Cause, String, bool)> {
    let (list, exclusive) = match name {
        "cpuset.cpus" | "cpuset.cpu_exclusive" => ("cpuset.cpus", ["cpuset.cpu_exclusive", "cpuset.cpus.exclusive"]),
        "cpuset.mems" | "cpuset.mem_exclusive" => ("cpuset.mems", ["cpuset.mem_exclusive", "cpuset.mem_exclusive"]),
        "cpuset.cpus.exclusive" => ("cpuset.cpus.exclusive", ["cpuset.cpus.exclusive", "cpuset.cpus.exclusive"]),
        _ => return None,
    };
    let own = &refused.note.place.path;
    if *own == "/" {
        return Some((NOT_SUPPORTED, "the root cgroup has all there is, and cannot be changed".to_owned(), false));
    }
    let written = if name == list { refused.call().value.as_ref() } else { refused.value(own, list) };
    let asked = parse(written?)?;
    if asked.is_empty() && refused.errno() == Errno::ENOSPC {
        return Some((NOT_A_SUBSET, "there are processes in it, which need some".to_owned(), false));
    }
    // On cgroup2 that is looked at first, and what the cgroup around it has is not.
    if let Some(possible) = refused.said.and_then(|said| said.possible.as_ref()).filter(|_| name == list)
        && refused.is_on_v2()
        && refused.errno() == Errno::EINVAL
        && parse(possible).is_some_and(|all| !is_subset(&asked, &all))
    {
        return Some((NOT_A_SUBSET, format!("this kernel can have only {possible}"), true));
    }
    // `validate_change_legacy`: what is in it comes first, and is the only reason for this error.
    if refused.errno() == Errno::EBUSY && !refused.is_on_v2() {
        return Some((NOT_A_SUBSET, inside(refused, name, list, &asked), false));
    }
    let around = refused.around().map(|around| &around.path);
    if let Some(around) = around
        && name.ends_with("_exclusive")
        && refused.value(around, name).is_some_and(|value| *value == "0")
    {
        return Some((NOT_A_SUBSET, format!("{around} around it does not have its own for itself alone"), true));
    }
    if let Some(around) = around
        && !refused.is_on_v2()
        && let Some(whole) = refused.value(around, list)
        && !is_subset(&asked, &parse(whole)?)
    {
        let has = if whole.is_empty() { "has none".to_owned() } else { format!("has only {whole}") };
        return Some((NOT_A_SUBSET, format!("{around} around it {has}"), true));
    }
    let is_beside = |path: &Name| path != own && !around_is(refused, path) && !is_inside(refused, path);
    for file in exclusive {
        for (path, value) in refused.values(file).filter(|(path, _)| is_beside(path)) {
            let theirs = refused.value(path, list).unwrap_or(value);
            if control::keeps_for_itself(file, value) && parse(theirs).is_some_and(|theirs| overlaps(&asked, &theirs)) {
                return Some((NOT_A_SUBSET, format!("{path} beside it has {theirs} for itself alone"), true));
            }
        }
    }
    (refused.errno() == Errno::EACCES)
        .then(|| (NOT_A_SUBSET, "the cgroup around it does not have all of that".to_owned(), false))
}

/// What the kernel says of a partition that does not hold: `root invalid (Cpu list in cpuset.cpus not exclusive)`.
fn partition(refused: &Refused) -> String {
    let said = refused.value(&refused.note.place.path, "cpuset.cpus.partition").and_then(Name::to_str);
    let said = said.filter(|said| said.contains("invalid"));
    said.map(|said| format!("; its cpuset.cpus.partition says \"{said}\"")).unwrap_or_default()
}

/// Which cgroups in it have more than it is to have.
fn inside(refused: &Refused, name: &str, list: &str, asked: &[(u32, u32)]) -> String {
    let inside = refused.values(name).filter(|(path, _)| is_inside(refused, path));
    let has_more = |value: &Name| match name == list {
        true => parse(value).is_some_and(|theirs| !is_subset(&theirs, asked)),
        false => control::keeps_for_itself(name, value),
    };
    let named: Vec<String> = inside
        .filter(|(_, value)| has_more(value))
        .map(|(path, value)| match name == list {
            true => format!("{path} in it has {value}"),
            false => format!("{path} in it has its own for itself alone"),
        })
        .collect();
    if named.is_empty() { "a cgroup in it has more than that".to_owned() } else { refusal::list(&named) }
}

fn is_inside(refused: &Refused, path: &Name) -> bool {
    let own = refused.note.place.path.as_bytes();
    path.as_bytes().strip_prefix(own).is_some_and(|rest| rest.starts_with(b"/"))
}

fn around_is(refused: &Refused, path: &Name) -> bool {
    refused.around().is_some_and(|around| around.path == *path)
}

/// A number of bytes as the kernel reads it: with K, M or G behind it.
fn bytes(value: &Name) -> Option<i128> {
    let value = value.to_str()?.trim();
    let digits = value.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match value[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return None,
    };
    Some(digits.parse::<i128>().ok()? * factor)
}

/// v1's two limits of memory: one must not be above the other.
fn memory(refused: &Refused, name: &str) -> Option<(Cause, String, bool)> {
    let own = &refused.note.place.path;
    let asked = bytes(refused.call().value.as_ref()?)?;
    let (other, is_at_odds): (&str, fn(i128, i128) -> bool) = match name {
        "memory.limit_in_bytes" => ("memory.memsw.limit_in_bytes", |asked, other| asked > other || asked < 0),
        "memory.memsw.limit_in_bytes" => ("memory.limit_in_bytes", |asked, other| (0..other).contains(&asked)),
        _ => return None,
    };
    let limit = bytes(refused.value(own, other)?)?;
    is_at_odds(asked, limit).then(|| (INVALID_VALUE, format!("{other} of the same cgroup was {limit}"), true))
}

/// v1's bandwidth: what is in a cgroup may not have more of the time than that has.
fn cpu(refused: &Refused, name: &str) -> Option<(Cause, String, bool)> {
    let around = refused.around().map(|around| &around.path)?;
    let file = if name.starts_with("cpu.cfs_") { "cpu.cfs_quota_us" } else { "cpu.rt_runtime_us" };
    let asked: i64 = refused.call().value.as_ref()?.to_str()?.trim().parse().ok()?;
    let has: i64 = refused.value(around, file)?.to_str()?.trim().parse().ok()?;
    if name == file && has >= 0 && asked > has {
        return Some((NOT_A_SUBSET, format!("{around} around it has {file} {has}"), true));
    }
    None
}

/// Whether a file of v1's cpu controller may take such a value (`tg_set_cfs_bandwidth`): all take a number, and those
/// of the bandwidth, in microseconds, not every one.
fn takes_on_v1(name: &str, value: &Name) -> bool {
    const SHORTEST: i64 = 1_000;
    const LONGEST_PERIOD: i64 = 1_000_000;
    match (name, value.to_str().and_then(|value| value.trim().parse::<i64>().ok())) {
        (_, None) => false,
        ("cpu.cfs_quota_us", Some(asked)) => !(0..SHORTEST).contains(&asked),
        ("cpu.cfs_period_us", Some(asked)) => (SHORTEST..=LONGEST_PERIOD).contains(&asked),
        (_, Some(_)) => true,
    }
}

#[cfg(test)]
mod tests;
