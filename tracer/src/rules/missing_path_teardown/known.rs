//! Known problems that show as `missing-path-teardown`.

use super::READ_ONLY_MOUNT;
use crate::errno::Errno;
use crate::findings::{Job, KnownIssue, Severity};
use crate::input::{Exit, Operation};
use crate::rules::Pattern;
use crate::rules::shape::Shape;

pub(super) const KNOWN: &[Pattern] = &[
    Pattern {
        issue: KnownIssue {
            id: "runc#4518",
            title: "rootless runc fails to delete a container whose cgroup could not be created on a read-only \
                    cgroupfs: \"unable to remove container's cgroup: open …: no such file or directory\"",
            affects: "runc 1.2.0-rc.1 to 1.2.1 (buildkit#5491)",
            fixed_in: Some("runc 1.2.2"),
            advice: "Update runc, or BuildKit, which brings its own. State that was left behind is removed with runc \
                     delete --force ID of a version that copes.",
        },
        is: is_runc_4518,
    },
    Pattern {
        issue: KnownIssue {
            id: "runc#2639",
            title: "runc does not start a container where cgroupfs is mounted read-only: \"mkdir …: read-only file \
                    system\"",
            affects: "runc 1.0.0-rc92 on cgroup v1, by the thread; 1.1.5 on cgroup v2 does the same as root",
            fixed_in: None,
            advice: "Mount cgroupfs writable where runc runs, or run it rootless on cgroup v2, where it does without a \
                     cgroup. What it says of the removal that failed afterwards is not the cause.",
        },
        // Its own creation failed, and so did it: what it does then is to clear up.
        is: |shape| {
            shape.finding.cause == READ_ONLY_MOUNT
                && shape.is_asked("runc", &["create", "run"])
                && shape.has_failed()
                && shape.finding.outcome.state_left != Some(true)
                && shape.own(Operation::Mkdir, Errno::EROFS).next().is_some()
        },
    },
];

/// One process failed to make the cgroup on the read-only mount and exited 0 all the same. Another one, which deletes,
/// was refused the removal by that mount, could then not open the directory, and failed. Healthy versions make the same
/// calls and exit 0; a process that is not rootless fails with the creation, and clears up itself.
fn is_runc_4518(shape: &Shape) -> bool {
    let mut refused = shape.own(Operation::Rmdir, Errno::EROFS);
    let mut opened = shape.own(Operation::Open, Errno::ENOENT);
    let mut made = shape.of_others(Operation::Mkdir, Errno::EROFS);
    shape.finding.cause == READ_ONLY_MOUNT
        && shape.finding.severity == Severity::Fault
        && shape.job() == Some(Job::Teardown)
        && made.any(|mkdir| shape.exit_of(mkdir) == Some(Exit::Code(0)))
        && refused.next().is_some_and(|refused| opened.any(|open| open.path == refused.path && open.seq > refused.seq))
}
