//! `missing-controller`: a controller's file was to be written in a cgroup that does not have it.
//!
//! An opening with O_CREAT of a file that is not there fails with EACCES, because nothing can be made on cgroupfs: Go's
//! os.WriteFile and crun open so. Whether there is such a file is read a moment later: where there is one, EACCES means
//! what it says, and this is nothing of ours.

mod known;

use super::refusal::{self, Refused};
use super::{Call, Judgement, Rule, Weighed, World};
use crate::control;
use crate::errno::Errno;
use crate::findings::{Cause, Explanation};
use crate::state::Case;

pub(super) const RULE: Rule = Rule {
    explanation: Explanation {
        word: "missing-controller",
        claim: "A controller's file was to be written in a cgroup that does not have that file.",
        evidence: &[
            "the failed open of the file, for writing (ENOENT, or EACCES with O_CREAT)",
            "that the cgroup existed, and that there was no such file a moment later",
            refusal::EVIDENCE_OF_CIRCUMSTANCES,
            "the exit status of the process that looked for it",
        ],
        confirm: &[
            (
                "look from the outside in where the controller is missing first",
                "grep . /sys/fs/cgroup/cgroup.subtree_control /sys/fs/cgroup/PATH/cgroup.controllers",
            ),
            ("look whether a hierarchy of v1 has the controller", "cat /proc/self/cgroup"),
            ("look whether the kernel has it", "cat /proc/cgroups; zgrep CGROUP /proc/config.gz"),
        ],
        causes: &[NOT_ENABLED, NOT_IN_KERNEL, BOUND_TO_V1, OTHER_VERSION],
        severity: refusal::SEVERITY,
        false_positives: &[
            "Runtimes write to some files only if they are there, and go on without: such a finding is benign, if the \
             runtime exits 0. Files that are opened for reading alone are not told of, and the root cgroup has no \
             limits at all.",
        ],
    },
    known: known::KNOWN,
    call: Some(call),
    failed_start: None,
    stuck: None,
    event: None,
    deadline: None,
    course: refusal::COURSE,
    hurt: refusal::hurt,
    judge,
};

const NOT_ENABLED: Cause = Cause {
    word: "not-enabled",
    meaning: "The controller is not enabled for this cgroup: one around it does not hand it on.",
    advice: "Enable it from the root inwards: each cgroup on the way needs it in its cgroup.subtree_control. The \
             summary names the outermost one that does not have it. With systemd: Delegate=yes on the unit, and \
             CPUAccounting= and the like around it. A cgroup with processes of its own cannot hand it on.",
    is_routine: true,
};
const NOT_IN_KERNEL: Cause = Cause {
    word: "not-in-kernel",
    meaning: "The kernel does not have the controller, or not this file of it: it was built without, is older, or it \
              was disabled at boot (cgroup_disable=).",
    advice: "Look at the kernel's configuration (MEMCG, CFS_BANDWIDTH, CPUSETS, BLK_CGROUP …) and at /proc/cmdline. \
             Where the memory controller is off by default, cgroup_enable=memory turns it on.",
    is_routine: true,
};
const BOUND_TO_V1: Cause = Cause {
    word: "bound-to-v1",
    meaning: "A hierarchy of cgroup v1 has the controller: cgroup2 does not have it.",
    advice: "Use v1's files, or boot with cgroup_no_v1=CONTROLLER or systemd.unified_cgroup_hierarchy=1.",
    is_routine: true,
};
const OTHER_VERSION: Cause = Cause {
    word: "other-version",
    meaning: "It is a file of the other version of cgroups.",
    advice: "Look why the program takes the host for one with the other version: it may be too old for cgroup2, or be \
             set up for v1.",
    is_routine: true,
};

/// Runtimes try it before `io.weight`, and do without.
const TRIED_FIRST: &str = "io.bfq.weight";

fn call(call: &Call, _: &World) -> Option<Case> {
    let is_looked_for = call.note.is_for_writing && call.note.lacks_file;
    let is_root = call.existing.is_some_and(|existing| existing.level == Some(0));
    let file = call.note.file.as_ref().filter(|file| **file != TRIED_FIRST)?;
    control::controller(file).filter(|_| is_looked_for && !is_root)?;
    refusal::case(call)
}

fn judge(weighed: &Weighed, world: &World) -> Option<Judgement> {
    let refused = Refused::of(weighed)?;
    let file = refused.note.file.as_ref()?;
    let controller = control::controller(file)?;
    // Without a look EACCES may mean what it says; ENOENT says itself that there was none.
    let is_missing = refused.said.and_then(|said| said.file_exists).map(|exists| !exists);
    if is_missing != Some(true) && (refused.errno() != Errno::ENOENT || is_missing.is_some()) {
        return None;
    }
    let version = if refused.is_on_v2() { 2 } else { 1 };
    let has = refused.own().and_then(|own| Some(refusal::has(own.controllers.as_deref()?, controller)));
    let is_in_root = refused.root_has(controller).or(world.kernel.is_on_v2(controller));
    let (cause, why) = if control::only_of_version(file).is_some_and(|only| only != version) {
        (OTHER_VERSION, format!("it is a file of cgroup {}, and this is one of {}", named(3 - version), named(version)))
    } else if version == 1 {
        (NOT_IN_KERNEL, "this kernel does not have it".to_owned())
    } else if has == Some(true) {
        (NOT_IN_KERNEL, format!("the cgroup has the controller {controller}, but this kernel has no such file of it"))
    } else if refused.is_on_v1(controller) || refused.said.is_none() && world.kernel.is_on_v1(controller) {
        (BOUND_TO_V1, format!("a hierarchy of cgroup v1 has the controller {controller}"))
    } else if is_in_root == Some(false) {
        (NOT_IN_KERNEL, format!("this kernel has no controller {controller}, or it is disabled"))
    } else {
        (NOT_ENABLED, refused.chain(controller, world))
    };
    let needs = refused.said.is_some() || cause == NOT_ENABLED;
    let mut because = refused.gaps(weighed, world, needs);
    if refused.said.is_some() && cause == NOT_ENABLED && refused.breaks_at(controller).is_none() {
        because.push("where the controller is missing first was not seen".to_owned());
    }
    let mask = match refused.errno() {
        Errno::ENOENT => "",
        _ => "; the error comes from O_CREAT, because no file can be made there, and not from a missing right",
    };
    let what = format!("open {file} of {}, which it does not have", refusal::whose(weighed));
    let summary = refusal::summary(weighed, world, &refused, &what, &format!("{why}{mask}"));
    Some(Judgement { cause, because, summary, rival: None })
}

fn named(version: u8) -> &'static str {
    if version == 1 { "v1" } else { "v2" }
}

#[cfg(test)]
mod tests;
