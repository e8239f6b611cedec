//! Known problems that show as `refused-limit`.

use super::{INVALID_VALUE, NOT_SUPPORTED, USAGE_ABOVE};
use crate::findings::KnownIssue;
use crate::rules::Pattern;

pub(super) const KNOWN: &[Pattern] = &[
    Pattern {
        issue: KnownIssue {
            id: "moby#25460",
            title: "docker update --memory fails where the new limit is above that of memory and swap together: \
                    \"write …/memory.limit_in_bytes: invalid argument\"",
            affects: "Docker on cgroup v1: without --memory-swap that limit is twice the first one, and stays",
            fixed_in: None,
            advice: "Set --memory-swap as well, to at least the same.",
        },
        is: |shape| {
            shape.finding.cause == INVALID_VALUE
                && shape.is_asked("runc", &["update"])
                && shape.has_failed()
                && !shape.is_on_v2()
                && shape.file() == Some("memory.limit_in_bytes")
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "moby#41167",
            title: "a container does not start with a memory limit that is lower than what the runtime itself has used \
                    in its cgroup by then: \"write …/memory.limit_in_bytes: device or resource busy\"",
            affects: "Docker and runc on cgroup v1, with limits of less than 6 MB in the thread",
            fixed_in: None,
            advice: "Give the container more memory.",
        },
        is: |shape| {
            shape.finding.cause == USAGE_ABOVE
                && shape.is_asked("runc", &["create", "run"])
                && shape.has_failed()
                && !shape.is_on_v2()
                && shape.file() == Some("memory.limit_in_bytes")
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "runc#3529",
            title: "a weight cannot be set for one device: \"write …/io.bfq.weight: operation not supported\"",
            affects: "podman and runc on cgroup v2, for a device whose I/O scheduler is not bfq",
            fixed_in: None,
            advice: "Write bfq to /sys/block/DEVICE/queue/scheduler, or give no weight for that device.",
        },
        is: |shape| {
            let first = shape.value().split_ascii_whitespace().next();
            shape.finding.cause == NOT_SUPPORTED
                && shape.file() == Some("io.bfq.weight")
                && first.is_some_and(|device| device.contains(':'))
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "runc#3336",
            title: "runc writes the rate 0 for a device as it is, which the kernel does not take: \"write …/io.max: \
                    numerical result out of range\"",
            affects: "runc on cgroup v2, where config.json has a throttle with rate 0",
            fixed_in: None,
            advice: "Leave the device out of the configuration, or give a rate.",
        },
        is: |shape| {
            shape.finding.cause == INVALID_VALUE
                && shape.command().is_some_and(|command| command.runtime == "runc")
                && shape.has_failed()
                && shape.file() == Some("io.max")
                && shape.value().split_ascii_whitespace().any(|word| word.ends_with("=0"))
        },
    },
];
