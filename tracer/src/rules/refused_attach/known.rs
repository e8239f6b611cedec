//! Known problems that show as `refused-attach`.

use super::{INNER_PROCESSES, NOT_DELEGATED};
use crate::findings::KnownIssue;
use crate::rules::Pattern;
use crate::rules::shape::Shape;

pub(super) const KNOWN: &[Pattern] = &[
    Pattern {
        issue: KnownIssue {
            id: "crun#1195",
            title: "rootless crun exec cannot put its process into the container's cgroup, because the cgroup around \
                    both it and the caller's own is not the user's: \"writing file …/cgroup.procs: Permission denied\"",
            affects: "crun exec of a user who is not root, on cgroup v2, by a thread of April 2023",
            fixed_in: Some("crun#2244 of September 2026, for containers in scopes of systemd"),
            advice: "Run it in a scope of the user's own: systemd-run --user --scope crun exec ….",
        },
        is: |shape| {
            let is_of_a_user = shape.finding.actor.as_ref().and_then(|actor| actor.uid).is_some_and(|uid| uid != 0);
            shape.finding.cause == NOT_DELEGATED
                && shape.is_asked("crun", &["exec"])
                && is_of_a_user
                && shape.has_failed()
                && shape.is_on_v2()
                && shape.file() == Some("cgroup.procs")
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "gvisor#8269",
            title: "runsc create puts a process into a pod's cgroup and not into the container's one: \"creating \
                    container: write …/cgroup.procs: device or resource busy\" (gvisor#7671)",
            affects: "runsc with kubelet's cgroupfs driver on cgroup v2, before release-20221212.0",
            fixed_in: Some("release-20221212.0, for create; for start see gvisor#8311"),
            advice: "Update gVisor, or use the systemd driver for cgroups in kubelet, containerd and runsc.",
        },
        is: |shape| shape.is_asked("runsc", &["create"]) && is_into_a_pod(shape),
    },
    Pattern {
        issue: KnownIssue {
            id: "gvisor#8311",
            title: "runsc start puts a process into a pod's cgroup and not into the container's one: \"write \
                    …/cgroup.procs: device or resource busy\"",
            affects: "runsc release-20221212.0 with kubelet's cgroupfs driver on cgroup v2, by a thread of December \
                      2022",
            fixed_in: None,
            advice: "Update gVisor, or use the systemd driver for cgroups in kubelet, containerd and runsc.",
        },
        is: |shape| shape.is_asked("runsc", &["start"]) && is_into_a_pod(shape),
    },
];

/// It is the cgroup of a pod that it was to be put into, which has those of containers in it.
fn is_into_a_pod(shape: &Shape) -> bool {
    shape.finding.cause == INNER_PROCESSES
        && shape.has_failed()
        && shape.is_on_v2()
        && shape.is_of_a_pod()
        && shape.name().starts_with("pod")
}
