//! Known problems that show as `stuck-call`.

use super::{WAITS_FOR_EXIT, WAITS_FOR_RECLAIM};
use crate::findings::KnownIssue;
use crate::input::Pid;
use crate::rules::Pattern;

pub(super) const KNOWN: &[Pattern] = &[
    Pattern {
        issue: KnownIssue {
            id: "cockpit-project/bots#8970",
            title: "systemd hangs in the removal of a cgroup, because it is to reap itself what it waits for there: \
                    ps, new logins and all that asks systemd hang as well",
            affects: "Linux 6.19.12 to 7.0.8, after rootless containers of podman and the logout of their user, by a \
                      thread of April 2026",
            fixed_in: Some("Linux 7.0.9"),
            advice: "Restart the host: nothing else ends it. Update the kernel.",
        },
        is: |shape| {
            let call = shape.stuck();
            shape.finding.cause == WAITS_FOR_EXIT
                && call.is_some_and(|call| {
                    call.actor.pid == Pid(1) && call.exiting.iter().any(|exiting| exiting.unreaped.is_some())
                })
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "kubernetes#141609",
            title: "kubelet lowers memory.max of the cgroup of all pods below what they use: the write takes long, and \
                    may kill, where kubelet expects it to fail until pods are evicted",
            affects: "kubelet with node allocatable enforced on cgroup v2, by a thread of August 2026",
            fixed_in: None,
            advice: "Drain the node before its allocatable memory is made less.",
        },
        is: |shape| {
            let file = shape.stuck().and_then(|call| call.file.as_ref()?.to_str());
            shape.finding.cause == WAITS_FOR_RECLAIM
                && shape.runs(&["kubelet"])
                && shape.is_on_v2()
                && matches!(shape.path().as_slice(), ["kubepods.slice" | "kubepods"])
                && file == Some("memory.max")
        },
    },
];
