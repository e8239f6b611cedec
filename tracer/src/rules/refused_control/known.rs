//! Known problems that show as `refused-control`.

use super::{CONTROLLER_MISSING, PROCESSES_INSIDE};
use crate::findings::KnownIssue;
use crate::rules::Pattern;

pub(super) const KNOWN: &[Pattern] = &[
    Pattern {
        issue: KnownIssue {
            id: "gvisor#8111",
            title: "runsc in a container cannot enable controllers there, because processes are in the cgroup that it \
                    sees as the root: \"write /sys/fs/cgroup/cgroup.subtree_control: device or resource busy\"",
            affects: "runsc in a container on cgroup v2, by a thread of October 2022",
            fixed_in: None,
            advice: "Move all processes of the outer container into a leaf first, as Docker's dind script does.",
        },
        is: |shape| {
            shape.finding.cause == PROCESSES_INSIDE
                && shape.command().is_some_and(|command| command.runtime == "runsc")
                && shape.has_failed()
                && shape.is_containers_own() == Some(true)
                && shape.file() == Some("cgroup.subtree_control")
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "moby#43093",
            title: "controllers cannot be enabled in a container that has a cgroup namespace of its own, because its \
                    first process is in the cgroup that it sees as the root",
            affects: "Docker on cgroup v2, where that namespace is the default; it is how cgroup v2 works",
            fixed_in: None,
            advice: "Move all processes of the container into a leaf first, as Docker's dind script does.",
        },
        is: |shape| {
            let container = shape.finding.container.as_ref();
            shape.finding.cause == PROCESSES_INSIDE
                && container.is_some_and(|container| container.runtime == "docker")
                && shape.is_containers_own() == Some(true)
                && shape.command().is_none()
                && shape.file() == Some("cgroup.subtree_control")
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "nydus-snapshotter#490",
            title: "containerd's shim enables all controllers of the root for the cgroups around a container, of which \
                    the root hands on none: \"failed to write subtree controllers …: no such file or directory\"",
            affects: "containerd in a container on cgroup v2, by a thread of June 2023",
            fixed_in: None,
            advice: "The container starts nevertheless; its memory events are not told. In the outer container, move \
                     all processes into a leaf, and enable the controllers at the root.",
        },
        is: |shape| {
            shape.finding.cause == CONTROLLER_MISSING
                && shape.runs(&["containerd-shim-runc-v2"])
                && shape.is_on_v2()
                && shape.value().split_ascii_whitespace().filter(|word| word.starts_with('+')).count() >= 2
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "podman#7768",
            title: "rootless crun cannot enable controllers that systemd does not hand on to the user's service: \
                    \"writing file …/user@UID.service/cgroup.subtree_control: No such file or directory\"",
            affects: "podman 2.0.5 with crun on CentOS Stream 8, by a thread of September 2020",
            fixed_in: None,
            advice: "Let systemd hand them on: Delegate=cpu cpuset io memory pids in a drop-in of user@.service, then \
                     systemctl daemon-reload and a new login.",
        },
        is: |shape| {
            let name = shape.name();
            shape.finding.cause == CONTROLLER_MISSING
                && shape.is_asked("crun", &["create", "run"])
                && shape.has_failed()
                && name.starts_with("user@")
                && name.ends_with(".service")
        },
    },
];
