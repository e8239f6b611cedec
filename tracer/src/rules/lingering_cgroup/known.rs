//! Known problems that show as `lingering-cgroup`.

use super::PAGES;
use crate::findings::{KnownIssue, Severity};
use crate::rules::Pattern;
use crate::rules::shape::Shape;

pub(super) const KNOWN: &[Pattern] = &[
    Pattern {
        issue: KnownIssue {
            id: "moby#29638",
            title: "Docker's containers leave memory cgroups in the kernel until there are 65,535: \"mkdir …: no space \
                    left on device\"",
            affects: "Docker on cgroup v1 (1.12.5 and 17.05 in the thread, on Linux 4.4 and 4.6)",
            fixed_in: None,
            advice: "Free the page cache (echo 1 > /proc/sys/vm/drop_caches), which helped in the thread, and see in \
                     /proc/cgroups whether the number goes down. Linux 7.1 and later keep none for a page.",
        },
        is: |shape| are_many(shape) && !shape.is_on_v2() && shape.path().first() == Some(&"docker"),
    },
    Pattern {
        issue: KnownIssue {
            id: "oomd#117",
            title: "very many dying cgroups: the kernel goes through all of them when it looks for pages to take back, \
                    and memory pressure rises though there is memory to have",
            affects: "Linux before 7.1 on cgroup2 (the thread is of January 2020)",
            fixed_in: Some("Linux 7.1"),
            advice: "Do not let what reads memory pressure (oomd, systemd-oomd) end programs because of it: look at \
                     nr_dying_descendants in the root's cgroup.stat first, and free the page cache.",
        },
        is: |shape| are_many(shape) && shape.is_on_v2(),
    },
];

/// Pages may keep them, and they are more than is ordinary.
fn are_many(shape: &Shape) -> bool {
    shape.finding.cause == PAGES && shape.finding.severity == Severity::Undetermined
}
