//! Known problems of runtimes, recognised by the shape of a finding.

use super::{Cause, Finding, Kind, KnownIssue, Severity};
use crate::errno::Errno;
use crate::input::Operation;

/// A known problem and how to tell it.
struct Known {
    issue: KnownIssue,
    matches: fn(&Finding) -> bool,
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
pub fn matching(finding: &Finding) -> Vec<KnownIssue> {
    CATALOGUE.iter().filter(|known| (known.matches)(finding)).map(|known| known.issue).collect()
}

/// The removal was refused by the read-only mount, the directory could then not be opened, and the same process failed.
/// Healthy versions make the same calls and exit 0.
fn is_runc_4518(finding: &Finding) -> bool {
    let mine = || finding.attempts.iter().filter(|attempt| attempt.actor.pid == finding.actor.pid);
    let refused = mine().find(|a| a.operation == Operation::Rmdir && a.errno == Errno::EROFS);
    let Some(refused) = refused else { return false };
    finding.kind == Kind::MissingPathTeardown
        && finding.cause == Cause::ReadOnlyMount
        && finding.severity == Severity::Fault
        && mine().any(|a| {
            a.operation == Operation::Open && a.errno == Errno::ENOENT && a.path == refused.path && a.seq > refused.seq
        })
}
