//! Known problems that show as `leaked-cgroup`.

use super::{CREATION_ABORTED, NEVER_ATTEMPTED};
use crate::findings::KnownIssue;
use crate::input::{Exit, Operation};
use crate::rules::Pattern;

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
