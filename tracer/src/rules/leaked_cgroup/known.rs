//! Known problems that show as `leaked-cgroup`.

use super::{CREATION_ABORTED, NEVER_ATTEMPTED};
use crate::findings::KnownIssue;
use crate::input::{Exit, Operation};
use crate::rules::Pattern;
use crate::rules::shape::Shape;

pub(super) const KNOWN: &[Pattern] = &[
    Pattern {
        issue: KnownIssue {
            id: "crun#2242",
            title: "crun leaves the cgroup that it has made when it cannot set it up, as when it cannot set a limit",
            affects: "crun before September 2026; seen with 1.8.1",
            fixed_in: Some("the change crun#2242"),
            advice: "Remove the cgroup (rmdir). Fix the limit that could not be set: first_failure names its file.",
        },
        is: |shape| {
            shape.finding.cause == CREATION_ABORTED
                && shape.is_asked("crun", &["create", "run"])
                && shape.exit().is_some_and(|exit| matches!(exit, Exit::Code(code) if code != 0))
                && shape.finding.first_failure.as_ref().is_some_and(|call| call.operation == Operation::Open)
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "runc#4534",
            title: "runc that is killed while it makes a container leaves the cgroup, and runc delete --force does not \
                    find the container, because its state was not written yet",
            affects: "runc up to 1.3.0, and 1.4.1, which takes the fix back",
            fixed_in: Some("runc 1.3.1 and 1.4.0"),
            advice: "Remove the cgroup (rmdir), and end what is in it. Look who killed runc: an engine with a timeout, \
                     on a host that is too slow for it.",
        },
        is: |shape| {
            [CREATION_ABORTED, NEVER_ATTEMPTED].contains(&shape.finding.cause)
                && shape.is_asked("runc", &["create", "run"])
                && shape.exit() == Some(Exit::Signal(9))
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "crun#1144",
            title: "crun with systemd on cgroup v1 removes only the cgroup in the container's scope, and leaves the \
                    scope's own where systemd does not manage the controller",
            affects: "crun 1.7 to 1.8",
            fixed_in: Some("crun 1.8.1"),
            advice: "Update crun. Remove what is left (rmdir), the innermost first: there is one for each container \
                     that has run, and new ones cannot be made when the kernel has no more.",
        },
        is: |shape| is_left_beside_systemd(shape, "crun"),
    },
    Pattern {
        issue: KnownIssue {
            id: "runc#2503",
            title: "runc with systemd on cgroup v1 leaves the container's cgroups that it has made itself, where \
                    systemd does not manage the controller",
            affects: "runc of 2020, before July",
            fixed_in: Some("the change runc#2503"),
            advice: "Update runc. Remove what is left (rmdir).",
        },
        is: |shape| is_left_beside_systemd(shape, "runc"),
    },
    Pattern {
        issue: KnownIssue {
            id: "youki#328",
            title: "youki leaves the cgroup of a container that it fails to make",
            affects: "youki before September 2021",
            fixed_in: Some("the change youki#333"),
            advice: "Remove the cgroup (rmdir), and look what kept the container from being made. Update youki.",
        },
        is: |shape| {
            shape.finding.cause == CREATION_ABORTED
                && shape.is_asked("youki", &["create", "run"])
                && shape.exit().is_some_and(|exit| matches!(exit, Exit::Code(code) if code != 0))
        },
    },
];

/// Nobody tried to remove a scope's cgroup that the runtime had made, and not systemd.
fn is_left_beside_systemd(shape: &Shape, runtime: &str) -> bool {
    shape.finding.cause == NEVER_ATTEMPTED
        && shape.is_asked(runtime, &["delete"])
        && shape.has_succeeded()
        && !shape.is_on_v2()
        && shape.name().ends_with(".scope")
}
