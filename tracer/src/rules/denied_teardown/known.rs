//! Known problems that show as `denied-teardown`.

use super::PERMISSION;
use crate::findings::KnownIssue;
use crate::input::Syscall;
use crate::rules::Pattern;
use crate::rules::shape::Shape;

pub(super) const KNOWN: &[Pattern] = &[
    Pattern {
        issue: KnownIssue {
            id: "lxd#11108",
            title: "a container's cgroup is left when it is stopped by force, because its monitor has no right to the \
                    cgroups that other users of the container have made in it",
            affects: "LXD, by a thread of November 2022: the removal runs in a small user namespace",
            fixed_in: None,
            advice: "Remove what is left as root, from the inside out. Stop the container without force, or with a \
                     timeout: its own systemd then removes them.",
        },
        is: |shape| is_denied_to_lxc(shape) && shape.is_containers_own() == Some(false),
    },
    Pattern {
        issue: KnownIssue {
            id: "lxc#2368",
            title: "LXC cannot remove the cgroups that it has made for a container of an unprivileged user: \"Failed \
                    to destroy …/lxc/NAME\"",
            affects: "LXC of June 2018 where newuidmap and newgidmap are used; the thread found no cause",
            fixed_in: None,
            advice: "Remove them as root. Look which user and group own the cgroup around them: LXC removes them in \
                     the container's user namespace.",
        },
        is: |shape| is_denied_to_lxc(shape) && shape.is_containers_own() == Some(true) && !shape.is_on_v2(),
    },
    Pattern {
        issue: KnownIssue {
            id: "lxc#1998",
            title: "LXC tries to remove the cgroups of the host's own services when a container of an unprivileged \
                    user does not start: \"Permission denied - Failed to delete …/system.slice/….service\"",
            affects: "LXC before 3.0 with its cgfs driver",
            fixed_in: Some("LXC 3.0.0, which has no cgfs driver any more"),
            advice: "Look what kept the container from starting: this only followed. Update LXC.",
        },
        is: |shape| {
            is_denied_to_lxc(shape)
                && shape.finding.container.is_none()
                && !shape.is_on_v2()
                && shape.is_of_a_unit()
                && shape.removals().all(|call| call.syscall == Syscall::Rmdir)
        },
    },
];

fn is_denied_to_lxc(shape: &Shape) -> bool {
    shape.finding.cause == PERMISSION && shape.runs_lxc()
}
