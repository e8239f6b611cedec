//! Known problems that show as `busy-teardown`.

use std::time::Duration;

use super::{CHILD_CGROUPS, EXITING, FROZEN, LIVE_PROCESSES};
use crate::findings::KnownIssue;
use crate::input::{OccupantState, Syscall};
use crate::rules::Pattern;
use crate::rules::shape::{Ladder, Shape};

pub(super) const KNOWN: &[Pattern] = &[
    Pattern {
        issue: KnownIssue {
            id: "containerd#11087",
            title: "runc delete gives up before the container's last processes have ended, exits 0, and its cgroup is \
                    left (containerd#8532)",
            affects: "runc 1.1.13, by the thread: it tries for some 150 ms on cgroup v1, and once on cgroup v2",
            fixed_in: Some("runc 1.2, which tries for a second, for most cases"),
            advice: "Update runc to 1.2.2 or later. Remove what is left: rmdir works now. Nobody else does it, once \
                     the runtime's state is gone.",
        },
        is: |shape| {
            shape.finding.cause == EXITING
                && shape.is_asked("runc", &["delete"])
                && shape.has_succeeded()
                && shape.finding.outcome.cgroup_left == Some(true)
                && shape.ladder().span <= Duration::from_secs(1)
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "runc#4102",
            title: "runc delete without --force does not kill what is left in a container's cgroup, tries for a second \
                    to remove it, and fails: a container without a pid namespace of its own outlives its init \
                    (runc#4047)",
            affects: "runc 1.2.0-rc.1 and later, as it is meant; earlier versions killed what they found",
            fixed_in: None,
            advice: "Use runc delete --force, or runc kill ID KILL first. If what was in it is no process of the \
                     container, find out who put it there.",
        },
        is: |shape| {
            let Ladder { tries, span, last_step } = shape.ladder();
            shape.finding.cause == LIVE_PROCESSES
                && shape.is_asked("runc", &["delete"])
                && !shape.has_word(&["--force", "-f"])
                && shape.has_failed()
                && tries >= 10
                && (Duration::from_millis(900)..Duration::from_secs(5)).contains(&span)
                && last_step * 3 >= span
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "runc#3225",
            title: "rootless runc with systemd does not remove the cgroups that a container made inside its own on \
                    cgroup v2: \"remove …/runc-ID.scope: device or resource busy\"",
            affects: "runc 1.0.2 and before, with an older systemd (239 in the thread)",
            fixed_in: Some("runc 1.0.3 and 1.1.0-rc.1"),
            advice: "Update runc. Remove the inner cgroups first, then the scope's.",
        },
        is: |shape| {
            let is_of_a_user = |component: &&str| component.starts_with("user@") && component.ends_with(".service");
            shape.finding.cause == CHILD_CGROUPS
                && shape.command().is_some_and(|command| command.runtime == "runc")
                && shape.is_on_v2()
                && shape.name().ends_with(".scope")
                && shape.path().iter().any(is_of_a_user)
                && shape.ladder().tries == 1
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "runc#2344",
            title: "runc delete --force with systemd on cgroup v2 removes a scope's cgroup in which processes of runc \
                    exec still live, once, and fails: \"remove …/runc-ID.scope: device or resource busy\"",
            affects: "runc of April 2020, for containers without a pid namespace of their own",
            fixed_in: Some("the change runc#2331"),
            advice: "Update runc. End the processes that are left, and remove the cgroup.",
        },
        is: |shape| {
            shape.finding.cause == LIVE_PROCESSES
                && shape.is_asked("runc", &["delete"])
                && shape.has_word(&["--force", "-f"])
                && shape.has_failed()
                && shape.is_on_v2()
                && shape.name().ends_with(".scope")
                && shape.ladder().tries == 1
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "runc#2615",
            title: "runc removes the cgroup of a container that it fails to start before it has killed its own init in \
                    it: \"Failed to remove cgroup (will retry)\"",
            affects: "runc of September 2020 and before, on cgroup v1",
            fixed_in: Some("the change runc#2615"),
            advice: "Look what kept the container from starting: this only followed. Update runc.",
        },
        is: |shape| {
            shape.finding.cause == LIVE_PROCESSES
                && shape.is_asked("runc", &["create", "run"])
                && shape.has_failed()
                && !shape.is_on_v2()
                && shape.inside().any(|occupant| occupant.comm.as_bytes().starts_with(b"runc:["))
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "runc#2105",
            title: "runc cannot end a container in which processes are frozen by a cgroup of the container's own: it \
                    thaws only its own one, and SIGKILL waits for that on cgroup v1",
            affects: "runc on cgroup v1; the thread of August 2019 is open",
            fixed_in: None,
            advice: "Thaw the inner cgroup: echo THAWED > freezer.state. Look for a runtime inside the container that \
                     was stopped in the middle of a pause or a kill.",
        },
        is: |shape| {
            shape.finding.cause == FROZEN
                && shape.is_asked("runc", &["delete", "kill"])
                && !shape.is_on_v2()
                && shape.is_containers_own() == Some(false)
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "youki#1129",
            title: "youki does not thaw a paused container before it kills it, and cannot remove its cgroup on cgroup \
                    v1",
            affects: "youki before October 2022",
            fixed_in: Some("the change youki#1204"),
            advice: "Resume the container (youki resume ID), then delete it. Update youki.",
        },
        is: |shape| {
            shape.finding.cause == FROZEN
                && shape.is_asked("youki", &["delete", "kill"])
                && !shape.is_on_v2()
                && shape.is_containers_own() == Some(true)
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "crun#868",
            title: "crun delete tries without an end to remove a cgroup whose processes cannot be killed",
            affects: "crun before 1.4.3",
            fixed_in: Some("crun 1.4.3, which gives up after a number of tries"),
            advice: "End crun, and look what keeps the processes: a freezer (v1), or a call that does not return \
                     (state D). Update crun.",
        },
        is: |shape| {
            shape.is_asked("crun", &["delete"])
                && shape.exit().is_none()
                && shape.ladder().span >= Duration::from_secs(15)
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "kubernetes#112151",
            title: "kubelet tries every second to remove a pod's cgroup in which the container's one was left, and \
                    uses more and more CPU",
            affects: "kubelet on cgroup v2, by a thread of August 2022",
            fixed_in: None,
            advice: "Find out who left the inner cgroup: it is the container runtime's. Use one cgroup driver for both \
                     of them. Removing the inner cgroup ends it.",
        },
        is: |shape| is_kubelets_retry(shape) && shape.finding.cause == CHILD_CGROUPS && shape.is_on_v2(),
    },
    Pattern {
        issue: KnownIssue {
            id: "kubernetes#123766",
            title: "kubelet tries in vain to remove a pod's cgroups in which a process still lives: \"failed to delete \
                    cgroup paths\" (kubernetes#97497)",
            affects: "kubelet 1.28.5 and others, by open threads of 2020 and 2024",
            fixed_in: None,
            advice: "End the process that the finding names. If SIGKILL does not end it, look what it waits for (cat \
                     /proc/PID/stack). kubelet comes to it only when the runtime says that the pod's containers are \
                     gone.",
        },
        is: |shape| is_kubelets_retry(shape) && shape.finding.cause == LIVE_PROCESSES,
    },
    Pattern {
        issue: KnownIssue {
            id: "podman#11946",
            title: "podman removes a pod's cgroup of conmon while conmon, or podman's clean-up behind it, is still in \
                    it: \"error removing pod … conmon cgroup\" (podman#9026)",
            affects: "podman before containers/common#858 of December 2021, which tries for 5 s",
            fixed_in: Some("the change containers/common#858"),
            advice: "Repeat the command. Update podman.",
        },
        is: |shape| is_podmans_conmon(shape) && shape.ladder().tries <= 2,
    },
    Pattern {
        issue: KnownIssue {
            id: "podman#14057",
            title: "podman tries for 5 s to remove a pod's cgroup of conmon, and what is in it does not end: \"remove \
                    …/conmon: device or resource busy\"",
            affects: "podman before containers/common#1019 of May 2022, which ends what it finds after 3 s",
            fixed_in: Some("the change containers/common#1019"),
            advice: "End the process that the finding names, and repeat the command. Update podman.",
        },
        is: |shape| {
            let Ladder { tries, span, .. } = shape.ladder();
            is_podmans_conmon(shape) && tries >= 20 && (Duration::from_secs(3)..Duration::from_secs(8)).contains(&span)
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "cri-o#1009",
            title: "cri-o tries for two seconds to remove the cgroup of conmon in which conmon still runs",
            affects: "cri-o before 1.0.0, by a change of October 2017",
            fixed_in: Some("the change cri-o#1009"),
            advice: "Update cri-o.",
        },
        is: |shape| {
            let Ladder { span, .. } = shape.ladder();
            shape.finding.cause == LIVE_PROCESSES
                && shape.runs(&["crio"])
                && shape.name().starts_with("crio-conmon-")
                && shape.inside().any(|occupant| occupant.comm == "conmon")
                && (Duration::from_secs(1)..Duration::from_secs(4)).contains(&span)
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "lxc#3563",
            title: "LXC cannot remove a container's cgroups at its end because its own monitor sits in one of them",
            affects: "LXC whose lxc.cgroup.dir, or lxc.cgroup.dir.monitor, is around or beside the container's",
            fixed_in: Some("LXC that has lxc.cgroup.dir.monitor.pivot, for those who set it"),
            advice: "Set lxc.cgroup.dir.monitor.pivot to a cgroup that is no part of any other one of the container.",
        },
        is: |shape| {
            let own = shape.finding.actor.as_ref().map(|actor| actor.pid);
            shape.finding.cause == LIVE_PROCESSES
                && shape.runs_lxc()
                && shape.inside().any(|occupant| Some(occupant.pid) == own)
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "lxd#3561",
            title: "LXC tries to remove the cgroups of the host's own services when a container does not start: \
                    \"cgroup_rmdir: failed to delete …/system.slice/….service\" (lxc#1557, lxc#297)",
            affects: "LXC before 3.0 with its cgfs driver",
            fixed_in: Some("LXC 3.0.0, which has no cgfs driver any more"),
            advice: "Look what kept the container from starting: this only followed, and nothing was removed. Update \
                     LXC.",
        },
        is: |shape| {
            shape.runs_lxc()
                && !shape.is_on_v2()
                && shape.finding.container.is_none()
                && shape.is_of_a_unit()
                && shape.removals().all(|call| call.syscall == Syscall::Rmdir)
        },
    },
    Pattern {
        issue: KnownIssue {
            id: "containerd/cgroups#148",
            title: "a cgroup in use is removed by Go's RemoveAll, which hides the EBUSY behind \"unlinkat …: operation \
                    not permitted\" of a control file",
            affects: "programs with containerd/cgroups before its change #228 of April 2022 (containerd's shim, Kata), \
                      and any other that removes cgroups so",
            fixed_in: Some("the change containerd/cgroups#228, which says what is wrong"),
            advice: "The error that the program prints is not the cause: the cgroup is in use, as this finding says.",
        },
        is: is_remove_all,
    },
    Pattern {
        issue: KnownIssue {
            id: "systemd#26315",
            title: "a thread of the kernel that works for a process (such as kvm-nx-lpage-recovery) sits in its \
                    cgroup, and no cgroup.procs shows it within a pid namespace: the cgroup looks empty, and is busy",
            affects: "kernels that make such threads, and programs that look into cgroup.procs from a container",
            fixed_in: None,
            advice: "Wait for populated 0 in cgroup.events, not for an empty cgroup.procs. The thread goes with the \
                     process that it works for.",
        },
        is: |shape| {
            let mut inside = shape.inside().peekable();
            shape.finding.cause == LIVE_PROCESSES
                && inside.peek().is_some()
                && inside.all(|occupant| occupant.state == OccupantState::Kernel)
        },
    },
];

/// kubelet comes back to what it could not remove of a pod with every pass of its housekeeping.
fn is_kubelets_retry(shape: &Shape) -> bool {
    let Ladder { tries, span, .. } = shape.ladder();
    shape.runs(&["kubelet", "hyperkube"]) && shape.is_of_a_pod() && tries >= 3 && span >= Duration::from_secs(2)
}

fn is_podmans_conmon(shape: &Shape) -> bool {
    let is_of_podman = |component: &&str| component.contains("libpod");
    shape.runs(&["podman"]) && shape.has_failed() && shape.name() == "conmon" && shape.path().iter().any(is_of_podman)
}

/// It tries the path, then the name in its directory: both are of one cgroup, at once, and again.
fn is_remove_all(shape: &Shape) -> bool {
    const AT_ONCE: Duration = Duration::from_millis(100);
    let calls: Vec<_> = shape.removals().collect();
    let is_absolute = |index: usize| calls[index].path.as_bytes().first() == Some(&b'/');
    let is_pair = |first: usize| {
        is_absolute(first) && !is_absolute(first + 1) && calls[first + 1].at.since(calls[first].at) <= AT_ONCE
    };
    calls.len() >= 2
        && calls.iter().all(|call| call.syscall == Syscall::Unlinkat)
        && (0..calls.len() - 1).step_by(2).all(is_pair)
}
