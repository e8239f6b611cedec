//! Known problems that show as `stale-cgroup`.

use super::{NAME_TAKEN, OCCUPIED};
use crate::findings::{KnownIssue, Severity};
use crate::rules::Pattern;
use crate::rules::shape::Shape;

pub(super) const KNOWN: &[Pattern] = &[
    Pattern {
        issue: KnownIssue {
            id: "runc#3828",
            title: "after a restart of rootless containerd, runc does not start a container of rootless nerdctl again: \
                    \"container's cgroup is not empty: 5 process(es) found\"",
            affects: "runc 1.1.6 and later, where the first one's state was lost with the mount namespace that it was \
                      in (rootlesskit); the container itself still runs",
            fixed_in: None,
            advice: "End the processes of the old container, which runc no longer knows (systemctl --user stop NAME, \
                     by the name of the scope), and start it again. Keep runc's --root where a restart does not lose \
                     it.",
        },
        is: |shape| is_refused(shape) && is_of_a_users_manager(shape),
    },
    Pattern {
        issue: KnownIssue {
            id: "runc#3132",
            title: "several containers in one cgroup: runc refuses a cgroup that somebody is in (\"container's cgroup \
                    is not empty\")",
            affects: "runc 1.2.0 and later, as it is meant; 1.1 warns only, unless systemd makes the cgroup",
            fixed_in: None,
            advice: "Give every container a cgroupsPath of its own. The processes in this one have to go first.",
        },
        is: |shape| is_refused(shape) && !is_of_a_users_manager(shape),
    },
    Pattern {
        issue: KnownIssue {
            id: "lxc#1726",
            title: "LXC makes NAME-1, NAME-2 and so on: a container that is stopped counts as such before its cgroups \
                    are removed, and is started again while they are there",
            affects: "LXC and LXD of 2017 (the thread is of August)",
            fixed_in: Some("the change lxc#1729 of August 2017"),
            advice: "Update LXC. Cgroups that were left behind are removed with rmdir, and look empty.",
        },
        is: |shape| is_evaded(shape) && has_old_layout(shape),
    },
    Pattern {
        issue: KnownIssue {
            id: "lxc#3443",
            title: "LXC's monitor cannot leave the container's cgroups, since lxc.pivot has no CPUs in cpuset: they \
                    stay, and the next start makes lxc.payload.NAME-1",
            affects: "LXC 4.0 of June 2020 on cgroup v1",
            fixed_in: Some("the change lxc#3444 of June 2020"),
            advice: "Update LXC. Cgroups that were left behind are removed with rmdir, and look empty.",
        },
        is: |shape| {
            let has_its_layout = ["lxc.payload.", "lxc.monitor."].iter().any(|start| shape.name().starts_with(start));
            is_evaded(shape) && has_its_layout
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "lxd#2764",
            title: "a container whose start failed once leaves its cgroup, and fails to start from then on",
            affects: "LXD 2.6 to 2.12 with LXC 2.0 on cgroup v1, of December 2016 to March 2017",
            fixed_in: None,
            advice: "Remove the cgroup that was left in every hierarchy (rmdir), and start the container again. Why \
                     the first start failed is another matter.",
        },
        is: |shape| {
            shape.finding.cause == NAME_TAKEN
                && shape.finding.severity == Severity::Fault
                && !shape.is_on_v2()
                && has_old_layout(shape)
        },
    },
];

/// runc refused to start a container in it, as its log says: without one it may have failed for another reason.
fn is_refused(shape: &Shape) -> bool {
    let is_told = shape.finding.cause == OCCUPIED && shape.finding.severity == Severity::Fault;
    is_told && shape.is_asked("runc", &["create", "run"]) && shape.has_failed()
}

/// A scope of a user's own systemd: what is rootless on cgroup2.
fn is_of_a_users_manager(shape: &Shape) -> bool {
    let is_manager = |component: &&str| component.starts_with("user@") && component.ends_with(".service");
    shape.is_on_v2() && shape.name().ends_with(".scope") && shape.path().iter().any(is_manager)
}

/// LXC made one of another name on v1.
fn is_evaded(shape: &Shape) -> bool {
    shape.finding.cause == NAME_TAKEN && shape.finding.severity == Severity::Benign && !shape.is_on_v2()
}

/// How LXC named them until 3.0: /lxc/NAME.
fn has_old_layout(shape: &Shape) -> bool {
    matches!(shape.path()[..], [.., "lxc", _])
}
