//! Known problems that show as `contested-cgroup`.

use super::{CHANGED_BY_OTHER, MOVED_BY_OTHER};
use crate::findings::KnownIssue;
use crate::input::Pid;
use crate::rules::Pattern;
use crate::rules::shape::{Shape, program};

pub(super) const KNOWN: &[Pattern] = &[
    Pattern {
        issue: KnownIssue {
            id: "systemd#4079",
            title: "systemd moves the processes of a running container of LXC to the root cgroup of v1's controllers: \
                    its limits do not hold any more",
            affects: "systemd 215 of Debian 8 with LXC on cgroup v1, by a thread of September 2016",
            fixed_in: None,
            advice: "Start the container from a unit with Delegate=yes, or update systemd.",
        },
        is: |shape| {
            shape.finding.cause == MOVED_BY_OTHER
                && is_by_systemd(shape)
                && !shape.is_on_v2()
                && shape.moved_to().is_some_and(|to| *to == "/")
                && is_of(shape, "lxc")
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "runc#4620",
            title: "systemd moves the first process of a CRI-O container into the scope of its conmon, and the \
                    container's own scope is gone: \"…/cgroup.procs: no such file or directory\"",
            affects: "CRI-O with the systemd cgroup driver on cgroup v1, by a thread of February 2025",
            fixed_in: None,
            advice: "Restart the container: until then its limits do not hold, and no process can be put into it.",
        },
        is: |shape| {
            let name = shape.moved_to().and_then(|to| to.base_name().strip_prefix(b"crio-conmon-"));
            shape.finding.cause == MOVED_BY_OTHER
                && is_by_systemd(shape)
                && !shape.is_on_v2()
                && is_of(shape, "cri-o")
                && name.is_some_and(|rest| rest.ends_with(b".scope"))
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "runc#4812",
            title: "a hosted runner of GitHub's moves the first process of a container that runc has just made into \
                    the cgroup of its own agent",
            affects: "containers on GitHub's hosted runners with cgroup v2, by a thread of July 2025",
            fixed_in: None,
            advice: "Do not count on limits of such a container there; run what needs them on a runner of your own.",
        },
        is: |shape| {
            shape.finding.cause == MOVED_BY_OTHER
                && shape.is_on_v2()
                && shape.moved_to().is_some_and(|to| *to == "/system.slice/hosted-compute-agent.service")
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "moby#51446",
            title: "systemd resets the limit of swap of a Docker container at a daemon-reload: memory.swap.max is max \
                    afterwards",
            affects: "Docker with the systemd cgroup driver on cgroup v2, by a thread of November 2025",
            fixed_in: None,
            advice: "Set it again after each daemon-reload: docker update --memory … --memory-swap … ID.",
        },
        is: |shape| {
            let swap = shape.overwritten("memory.swap.max");
            shape.finding.cause == CHANGED_BY_OTHER
                && is_by_systemd(shape)
                && is_of(shape, "docker")
                && shape.is_of_a_unit()
                && swap.is_some_and(|swap| swap.now.value == "max")
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "kubernetes#104289",
            title: "systemd resets the memory limit of system.slice that kubelet has set (system-reserved), after a \
                    daemon-reload and the restart of some service",
            affects: "kubelet with --enforce-node-allocatable=system-reserved on cgroup v1, by a thread of August 2021",
            fixed_in: None,
            advice: "Set it in systemd as well: systemctl set-property system.slice MemoryLimit=….",
        },
        is: |shape| {
            let limit = shape.overwritten("memory.limit_in_bytes");
            shape.finding.cause == CHANGED_BY_OTHER
                && is_by_systemd(shape)
                && shape.path() == ["system.slice"]
                && limit.is_some_and(|limit| program(&limit.before.actor) == Some("kubelet"))
        },
    },
];

fn is_by_systemd(shape: &Shape) -> bool {
    shape.finding.actor.as_ref().is_some_and(|actor| actor.pid == Pid(1))
}

fn is_of(shape: &Shape, runtime: &str) -> bool {
    shape.finding.container.as_ref().is_some_and(|container| container.runtime == runtime)
}
