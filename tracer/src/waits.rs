//! What a call on cgroupfs waits for, by the kernel's function that its thread sleeps in: the only table of those.
//!
//! `/proc/PID/task/TID/wchan` names the innermost function that is not one of the scheduler's and of the locks', so
//! that of a mutex it is whoever took it. A function is listed only if it sleeps for one reason. The rest is unknown.

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// For processes of a cgroup that is to be removed, which are on their way out.
    ForExit,
    /// For the lock that all who make, remove and change cgroups take.
    ForCgroupLock,
    /// For calls on files of a cgroup that is to be removed: those who remove it hold that lock meanwhile.
    ForFiles,
    /// For those who limit the memory of a cgroup: they take turns.
    ForMemoryLimit,
    /// For the memory that it takes back: the kernel throttles it.
    ForReclaim,
    /// To be thawed.
    ForThaw,
}

/// Functions that sleep for one reason each.
const FUNCTIONS: [(&str, Waits); 9] = [
    ("cgroup_drain_dying", Waits::ForExit),
    ("cgroup_kn_lock_live", Waits::ForCgroupLock),
    ("kernfs_drain", Waits::ForFiles),
    ("mem_cgroup_resize_max", Waits::ForMemoryLimit),
    ("reclaim_throttle", Waits::ForReclaim),
    ("shrink_inactive_list", Waits::ForReclaim),
    ("shrink_node", Waits::ForReclaim),
    ("try_to_free_mem_cgroup_pages", Waits::ForReclaim),
    ("__refrigerator", Waits::ForThaw),
];

/// Files that the kernel takes memory back for before a write to them returns.
const RECLAIMING: [&str; 6] = [
    "memory.high",
    "memory.max",
    "memory.reclaim",
    "memory.force_empty",
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
];

/// What a function sleeps for, if it does for one reason. What the compiler has made of it is called by its name, and
/// more behind a dot.
pub fn of(function: &str) -> Option<Waits> {
    let name = function.split('.').next().unwrap_or(function);
    FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(_, waits)| *waits)
}

/// Whether a write to that file takes memory back.
pub fn reclaims(file: &str) -> bool {
    RECLAIMING.contains(&file)
}

/// The function in which the first process of a pid namespace that ends waits for all others of it to be gone.
pub const ZAP_PID_NAMESPACE: &str = "zap_pid_ns_processes";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_known_by_its_name_whatever_the_compiler_made_of_it() {
        assert_eq!(of("kernfs_drain"), Some(Waits::ForFiles));
        assert_eq!(of("kernfs_drain.constprop.0"), Some(Waits::ForFiles));
        assert_eq!(of("kernfs_drain_open_files"), None);
        assert_eq!(of("schedule_timeout"), None);
    }
}
