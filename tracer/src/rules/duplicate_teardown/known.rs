//! Known problems that show as `duplicate-teardown`.

use super::{REMOVED_BY_OTHER, REMOVED_BY_SELF};
use crate::errno::Errno;
use crate::findings::{KnownIssue, Severity};
use crate::input::Operation;
use crate::oci::RuntimeCommand;
use crate::rules::Pattern;
use crate::rules::shape::{Shape, is_command, program};

const LOW_LEVEL: [&str; 3] = ["runc", "crun", "youki"];

pub(super) const KNOWN: &[Pattern] = &[
    Pattern {
        issue: KnownIssue {
            id: "runc#5071",
            title: "systemd removes a container's scope as soon as its last process has ended, before the runtime \
                    comes to it",
            affects: "any version of runc with the systemd cgroup driver, and other runtimes: systemd means it",
            fixed_in: None,
            advice: "Nothing for the teardown. A program that reads the cgroup's files after the end (memory.events) \
                     finds them gone: let it read earlier, or set RemainAfterExit=yes on the unit.",
        },
        is: |shape| {
            let is_delete = |runtime| shape.is_asked(runtime, &["delete", "kill"]);
            shape.finding.severity == Severity::Benign
                && shape.systemd_was_first()
                && shape.name().ends_with(".scope")
                && LOW_LEVEL.into_iter().any(is_delete)
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "runc#1683",
            title: "systemd deletes the scope's directory that runc has just made beside it, and runc cannot enter it: \
                    \"open …/cgroup.procs: no such file or directory\" (cri-o#1196, origin#16246)",
            affects: "runc with the systemd cgroup driver on cgroup v1, before it waits for systemd (#1683, January \
                      2018); reported again there in 2022",
            fixed_in: None,
            advice: "Start the container again. Use a runc that waits for its unit, or cgroup v2.",
        },
        is: |shape| {
            let first = shape.finding.first_failure.as_ref();
            let is_entry = first.is_some_and(|call| {
                call.operation == Operation::Open
                    && matches!(call.errno, Errno::ENOENT | Errno::ENODEV)
                    && call.path.as_bytes().ends_with(b"cgroup.procs")
            });
            is_entry
                && shape.systemd_was_first()
                && shape.name().ends_with(".scope")
                && !shape.is_on_v2()
                && shape.is_asked("runc", &["create", "run"])
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "podman#20044",
            title: "podman pod rm fails because systemd has already removed the pod's slice: \"Unit machine-….slice \
                    not loaded\"",
            affects: "podman of September 2023 to July 2024",
            fixed_in: Some("the change containers/common#2108 of July 2024"),
            advice: "Repeat the command: there is nothing left to be removed. Update podman.",
        },
        is: |shape| {
            shape.runs(&["podman"])
                && shape.has_word(&["pod", "play", "kube"])
                && shape.has_failed()
                && shape.systemd_was_first()
                && shape.name().contains("libpod_pod_")
                && shape.name().ends_with(".slice")
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "containerd#357",
            title: "containerd and its shim both have a container deleted, and the second delete finds nothing",
            affects: "containerd with runc, as it is meant: either may have died",
            fixed_in: None,
            advice: "Nothing: the second delete is there for a shim that was killed.",
        },
        is: is_containerd_357,
    },
    Pattern {
        issue: KnownIssue {
            id: "kubernetes#72105",
            title: "kubelet removes the cgroups of a pod while the container runtime is still stopping it",
            affects: "kubelet, by a thread of December 2018 that was closed without a change",
            fixed_in: None,
            advice: "If the runtime failed because of it, see whether it takes a cgroup that is gone for success, and \
                     update it. Look why the stop took longer than kubelet's housekeeping.",
        },
        is: |shape| {
            let is_delete = |runtime| shape.is_asked(runtime, &["delete", "kill"]);
            let is_kubelet = |program: &str| matches!(program, "kubelet" | "hyperkube");
            shape.finding.cause == REMOVED_BY_OTHER
                && shape.rival().and_then(program).is_some_and(is_kubelet)
                && shape.is_of_a_pod()
                && LOW_LEVEL.into_iter().any(is_delete)
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "kubernetes#137305",
            title: "kubelet begins another clean-up of an orphaned pod's cgroup while one is under way",
            affects: "kubelet, by a thread of February 2026 that was closed without a change",
            fixed_in: None,
            advice: "Nothing while it is rare. Where it is not, kubelet's memory grows: look what makes the removals \
                     of pods' cgroups slow.",
        },
        // On v1, kubelet removes what cpu and cpuacct have in common twice in one go.
        is: |shape| {
            shape.finding.cause == REMOVED_BY_SELF
                && shape.runs(&["kubelet", "hyperkube"])
                && shape.is_on_v2()
                && shape.is_of_a_pod()
        },
    },
];

/// Two processes, each asked by containerd or docker to delete the same container, and none was hurt.
fn is_containerd_357(shape: &Shape) -> bool {
    let deletes = |command: &_| is_command(command, &LOW_LEVEL, &["delete"]);
    let own = shape.command().filter(deletes);
    let first = shape.rival().and_then(RuntimeCommand::of).filter(deletes);
    shape.finding.cause == REMOVED_BY_OTHER
        && shape.finding.severity == Severity::Benign
        && matches!(shape.engine(), Some("containerd" | "docker"))
        && own.zip(first).is_some_and(|(own, first)| own.id.is_some() && own.id == first.id)
}
