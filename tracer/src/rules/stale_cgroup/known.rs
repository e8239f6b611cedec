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
        is: |shape| is_refused(shape) && is_of_rootless_nerdctl(shape),
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
        is: |shape| is_refused(shape) && is_of_another(shape),
    },
    Pattern {
        issue: KnownIssue {
            id: "lxc#1726",
            title: "LXC makes NAME-1, NAME-2 and so on: a container that is stopped counts as such before its cgroups \
                    are removed, and is started again while they are there",
            affects: "LXC and LXD of 2017 (the thread is of August)",
            fixed_in: Some("the change lxc#1729 of August 2017"),
            advice: "Update LXC, or wait until the old cgroups are gone before the container is started again.",
        },
        is: |shape| {
            let is_evaded = shape.finding.cause == NAME_TAKEN && shape.finding.severity == Severity::Benign;
            // What stays was left behind by another one.
            let is_gone = shape.finding.outcome.cgroup_left == Some(false);
            is_evaded && is_gone && !shape.is_on_v2() && has_old_layout(shape)
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

/// A scope of nerdctl's, made by a user's own systemd.
fn is_of_rootless_nerdctl(shape: &Shape) -> bool {
    let is_manager = |component: &&str| component.starts_with("user@") && component.ends_with(".service");
    let is_scope = shape.name().starts_with("nerdctl-") && shape.name().ends_with(".scope");
    shape.is_on_v2() && is_scope && shape.path().iter().any(is_manager)
}

/// The cgroup is that of another container, which has it still.
fn is_of_another(shape: &Shape) -> bool {
    let owner = shape.finding.container.as_ref();
    let command = shape.command();
    owner.zip(command).is_some_and(|(owner, command)| !command.is_about(&owner.id))
}

/// How LXC named them until 3.0: /lxc/NAME.
fn has_old_layout(shape: &Shape) -> bool {
    matches!(shape.path()[..], [.., "lxc", _])
}
