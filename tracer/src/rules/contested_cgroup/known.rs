//! Known problems that show as `contested-cgroup`.

use super::MOVED_BY_OTHER;
use crate::findings::KnownIssue;
use crate::input::Pid;
use crate::rules::Pattern;

pub(super) const KNOWN: &[Pattern] = &[Pattern {
    issue: KnownIssue {
        id: "systemd#4079",
        title: "systemd moves the processes of a running container of LXC to the root cgroup of v1's controllers: its \
                limits do not hold any more",
        affects: "systemd 215 of Debian 8 with LXC on cgroup v1, by a thread of September 2016",
        fixed_in: None,
        advice: "Start the container from a unit with Delegate=yes, or update systemd.",
    },
    is: |shape| {
        let is_systemd = shape.finding.actor.as_ref().is_some_and(|actor| actor.pid == Pid(1));
        let container = shape.finding.container.as_ref();
        shape.finding.cause == MOVED_BY_OTHER
            && is_systemd
            && !shape.is_on_v2()
            && shape.moved_to().is_some_and(|to| *to == "/")
            && container.is_some_and(|container| container.runtime == "lxc")
    },
}];
