//! Kernel programs by name, and where each is attached.

use super::btf::function_of;
use super::plan::{Backend, Group, Plan, ProbeSpec};

/// A kernel program and where it is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    /// A classic tracepoint of `cgroup:`, with a program of its name.
    Tracepoint(&'static str),
    RawTracepoint {
        program: String,
        tracepoint: &'static str,
    },
    BtfTracepoint {
        program: String,
        tracepoint: &'static str,
    },
    /// At a function's exit.
    Trampoline {
        program: String,
        function: String,
    },
    /// At its entry.
    Entry {
        program: String,
        function: String,
    },
}

impl Hook {
    /// Its programs, in the order in which they are attached: of a trampoline the last one is the first that runs.
    pub(super) fn copies(self, twice: bool) -> Vec<Self> {
        match self.second().filter(|_| twice) {
            Some(second) if matches!(self, Self::Trampoline { .. }) => vec![second, self],
            Some(second) => vec![self, second],
            None => vec![self],
        }
    }

    /// The second copy of its program. Those on the lifecycle run where nothing is preempted: the kernel holds a lock
    /// on the path that it gives them.
    pub(super) fn second(&self) -> Option<Self> {
        let mut second = self.clone();
        match &mut second {
            Self::RawTracepoint { program, .. } if !program.starts_with("raw_") => program.insert_str(0, SECOND),
            Self::BtfTracepoint { program, .. } | Self::Trampoline { program, .. } | Self::Entry { program, .. } => {
                program.insert_str(0, SECOND);
            }
            Self::Tracepoint(_) | Self::RawTracepoint { .. } => return None,
        }
        Some(second)
    }

    /// The tracepoint on the exit of all system calls.
    pub(super) fn on_all_calls() -> Self {
        Self::BtfTracepoint { program: "sys_exit_btf".to_owned(), tracepoint: "sys_exit" }
    }

    /// What the program is called.
    pub(super) fn program(&self) -> &str {
        match self {
            Self::Tracepoint(program) => program,
            Self::RawTracepoint { program, .. }
            | Self::BtfTracepoint { program, .. }
            | Self::Trampoline { program, .. }
            | Self::Entry { program, .. } => program,
        }
    }

    /// What a probe takes, in the order in which it is attached.
    pub(super) fn all_of(probe: &ProbeSpec, plan: &Plan) -> Vec<Self> {
        let function = probe.name.to_owned();
        let entry = Self::Entry { program: format!("enter_{function}"), function };
        if let Some(function) = probe.function_in_flight() {
            let function = function.to_owned();
            let leave = Self::Trampoline { program: format!("leave_{function}"), function: function.clone() };
            return vec![Self::Entry { program: format!("enter_{function}"), function }, leave];
        }
        let is_wanted = probe.is_on_function() && plan.backend == Backend::Trampoline;
        [entry].into_iter().filter(|_| is_wanted).chain(Self::of(probe, plan)).collect()
    }

    /// The one that tells.
    fn of(probe: &ProbeSpec, plan: &Plan) -> Option<Self> {
        let tracepoint = probe.name;
        Some(match (probe.group, plan.backend) {
            (Group::Lifecycle, _) if plan.classic => Self::Tracepoint(tracepoint),
            (Group::Lifecycle, _) => Self::RawTracepoint { program: format!("raw_{tracepoint}"), tracepoint },
            (Group::Processes, _) => {
                let program = tracepoint.strip_prefix("sched_").unwrap_or(tracepoint).to_owned();
                Self::RawTracepoint { program, tracepoint }
            }
            (Group::InFlight, _) => return None,
            (Group::Attempts, Backend::Trampoline) => {
                Self::Trampoline { program: format!("exit_{tracepoint}"), function: function_of(probe.syscall()?) }
            }
            (Group::Attempts, Backend::TracepointBtf) => Self::on_all_calls(),
            (Group::Attempts, Backend::TracepointRaw) => {
                Self::RawTracepoint { program: "sys_exit_raw".to_owned(), tracepoint: "sys_exit" }
            }
        })
    }
}

/// How the second copy of a program is called: this, and the name of what it watches.
pub(super) const SECOND: &str = "again_";

/// How the first copy of a program is called.
pub(super) fn first(program: &str) -> &str {
    program.strip_prefix(SECOND).unwrap_or(program)
}

/// Whether a program looks at the exit of system calls: what it misses are failed calls.
pub(super) fn is_on_calls(program: &str) -> bool {
    is_trampoline(program) || first(program).starts_with("sys_exit")
}

/// Whether it looks at the entry of a function, for what the one at its exit tells.
pub(super) fn is_entry(program: &str) -> bool {
    first(program).starts_with("enter_")
}

/// Whether it looks at the exit of a function for calls that have not returned: where it was skipped, the agent finds
/// out that the call is over.
pub(super) fn is_leaving(program: &str) -> bool {
    first(program).starts_with("leave_")
}

/// Whether it looks at the exit of one system call's function.
pub(super) fn is_trampoline(program: &str) -> bool {
    first(program).starts_with("exit_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_on_failed_calls_is_known_as_one() {
        let calls = ["exit_openat", "again_exit_openat", "sys_exit_btf", "again_sys_exit_raw"];
        assert!(calls.into_iter().all(is_on_calls));
        assert!(
            !["process_exit", "again_process_exit", "cgroup_rmdir", "raw_cgroup_rmdir"].into_iter().any(is_on_calls)
        );
    }
}
