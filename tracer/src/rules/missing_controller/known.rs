//! Known problems that show as `missing-controller`.

use super::{NOT_ENABLED, NOT_IN_KERNEL};
use crate::errno::Errno;
use crate::findings::KnownIssue;
use crate::rules::{Pattern, refusal};

pub(super) const KNOWN: &[Pattern] = &[
    Pattern {
        issue: KnownIssue {
            id: "containerd/cgroups#333",
            title: "a limit is set in a cgroup that does not have the controller: \"open …/cpu.max: permission \
                    denied\", though no right is missing",
            affects: "programs with containerd/cgroups, and any other that opens control files with O_CREAT, as Go's \
                      os.WriteFile does",
            fixed_in: None,
            advice: "Enable the controller first: its ToggleControllers does that, or a write to \
                     cgroup.subtree_control of the cgroup around it.",
        },
        is: |shape| {
            shape.finding.cause == NOT_ENABLED && shape.errno() == Some(Errno::EACCES) && shape.command().is_none()
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "podman#13379",
            title: "a limit of CPU time fails on a kernel without CONFIG_CFS_BANDWIDTH: cpu.max is missing, though the \
                    cgroup has the controller cpu",
            affects: "podman with crun and others, on such kernels (a board of i.MX 8 in the thread)",
            fixed_in: None,
            advice: "Build the kernel with CONFIG_CFS_BANDWIDTH, or do without --cpus and --cpu-quota.",
        },
        is: |shape| {
            let own = shape.circumstances().and_then(|said| said.levels.first()?.controllers.as_deref());
            shape.finding.cause == NOT_IN_KERNEL
                && shape.command().is_some()
                && shape.file() == Some("cpu.max")
                && own.is_some_and(|controllers| refusal::has(controllers, "cpu"))
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "containerd#7828",
            title: "containerd has a limit of swap set on a kernel that does not count swap: \"open \
                    …/memory.memsw.limit_in_bytes: no such file or directory\" (containerd#8855, containerd#9059)",
            affects: "containerd 1.6.13 on cgroup v1; and again 1.7.2, by a thread of 2023",
            fixed_in: Some("containerd 1.6.14, and again the change containerd#8857"),
            advice: "Update containerd, or boot with swapaccount=1.",
        },
        is: |shape| {
            shape.finding.cause == NOT_IN_KERNEL
                && shape.is_asked("runc", &["create", "run"])
                && shape.has_failed()
                && !shape.is_on_v2()
                && shape.is_of_a_pod()
                && shape.file() == Some("memory.memsw.limit_in_bytes")
        },
    },
];
