//! Known problems of runtimes, recognised by the shape of a finding.

use super::{Cause, Finding, FindingAttempt, Job, Kind, KnownIssue, Severity};
use crate::errno::Errno;
use crate::input::{Exit, Operation};
use crate::tracker::Processes;

/// A known problem and how to tell it.
struct Known {
    issue: KnownIssue,
    matches: fn(&Finding, &Processes) -> bool,
}

/// The catalogue. Sources are the public threads named by `id`.
const CATALOGUE: &[Known] = &[Known {
    issue: KnownIssue {
        id: "runc#4518",
        title: "rootless runc fails to delete a container whose cgroup could not be created on a read-only cgroupfs: \
                \"unable to remove container's cgroup: open …: no such file or directory\"",
        affects: "runc 1.2.0-rc.1 to 1.2.1 (buildkit#5491)",
        fixed_in: "runc 1.2.2",
    },
    matches: is_runc_4518,
}];

/// All known problems, for listings.
pub fn all() -> impl Iterator<Item = &'static KnownIssue> {
    CATALOGUE.iter().map(|known| &known.issue)
}

/// Those that look like this finding.
pub(crate) fn matching(finding: &Finding, processes: &Processes) -> Vec<KnownIssue> {
    CATALOGUE.iter().filter(|known| (known.matches)(finding, processes)).map(|known| known.issue).collect()
}

/// One process failed to make the cgroup on the read-only mount and exited 0 all the same. Another one, which deletes, was
/// refused the removal by that mount, could then not open the directory, and failed. Healthy versions make the same calls
/// and exit 0; a process that is not rootless fails with the creation, and clears up itself.
fn is_runc_4518(finding: &Finding, processes: &Processes) -> bool {
    let is_own = |call: &&FindingAttempt| call.actor.is_same_process_as(&finding.actor);
    let of = |operation, errno| {
        finding.attempts.iter().filter(move |call| call.operation == operation && call.errno == errno)
    };
    let mut refused = of(Operation::Rmdir, Errno::EROFS).filter(is_own);
    let mut opened = of(Operation::Open, Errno::ENOENT).filter(is_own);
    let carried_on =
        |call: &FindingAttempt| processes.of(&call.actor).is_some_and(|maker| maker.exit == Some(Exit::Code(0)));
    finding.kind == Kind::MissingPathTeardown
        && finding.cause == Cause::ReadOnlyMount
        && finding.severity == Severity::Fault
        && Job::of(&finding.actor) == Job::Teardown
        && of(Operation::Mkdir, Errno::EROFS).any(|mkdir| !is_own(&mkdir) && carried_on(mkdir))
        && refused.next().is_some_and(|refused| opened.any(|open| open.path == refused.path && open.seq > refused.seq))
}
