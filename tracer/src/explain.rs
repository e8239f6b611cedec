//! What each kind of finding claims, how to confirm it by hand, and what to do about it: the registry behind
//! `cgtrace explain`, `docs/findings.md` and the last lines of a finding's text.

use crate::findings::{Cause, Job, Kind, Severity, known};

/// One kind, explained.
pub struct Explanation {
    /// The kind.
    pub kind: Kind,
    /// What is claimed, in one sentence.
    pub claim: &'static str,
    /// What the claim rests on.
    pub evidence: &'static [&'static str],
    /// How to see it without this tool: what to do, and a command that does it.
    pub confirm: &'static [(&'static str, &'static str)],
    /// Each cause, what it means, and what to do about it.
    pub causes: &'static [CauseExplanation],
    /// When the claim is made and nothing is wrong.
    pub false_positives: &'static [&'static str],
}

/// One cause, explained.
pub struct CauseExplanation {
    /// The cause.
    pub cause: Cause,
    /// What it means.
    pub meaning: &'static str,
    /// What to do about it.
    pub advice: &'static str,
}

const EXPLANATIONS: [Explanation; Kind::ALL.len()] = [
    Explanation {
        kind: Kind::DuplicateTeardown,
        claim: "Somebody tried to remove a cgroup, or to open it for removal, that had already been removed.",
        evidence: &[
            "the removal that came first, with the process that made it (the rival)",
            "the failed rmdir or unlinkat (ENOENT or ENODEV), or the failed open of the directory by a process that had \
             failed to remove it",
            "the exit status of whoever came second, and whether its state file of the container is left",
        ],
        confirm: &[
            (
                "watch the calls of both parties, and their order",
                "strace -f -e trace=unlinkat,rmdir,openat -e status=failed -p PID",
            ),
            ("look whether the cgroup is gone", "ls -d /sys/fs/cgroup/PATH"),
        ],
        causes: &[
            CauseExplanation {
                cause: Cause::RemovedByOther,
                meaning: "Another process removed it first: the rival, with the milliseconds it was ahead.",
                advice: "Find out which of the two owns the cgroup, and let the other one keep its hands off it. If the \
                         rival is systemd (pid 1), the runtime and systemd disagree about who manages the unit: use the \
                         systemd cgroup driver in both the runtime and whoever calls it, or in neither. If the actor's job \
                         was the teardown and it failed, it should take ENOENT for success: update it, or report it with \
                         this finding.",
            },
            CauseExplanation {
                cause: Cause::RemovedBySelf,
                meaning: "The same process had removed it before: it tears down twice.",
                advice: "If its job was the teardown (delete) and it failed because of this, that is a bug of the program: \
                         report it with this finding. A runtime that clears up after a failed start does this as well \
                         (runc on cgroup2 does it always): then look for what failed first, not here.",
            },
        ],
        false_positives: &[
            "containerd deletes a container twice by design, systemd often removes a scope before the runtime does, and runc \
             on cgroup2 tears down twice after every failed start; all cope. Such findings are benign and shown only with \
             --benign, or when something that failed before is to be told.",
        ],
    },
    Explanation {
        kind: Kind::MissingPathTeardown,
        claim: "Somebody tried to remove a cgroup that had never come to exist.",
        evidence: &[
            "the failed mkdir of the same path, often of another process: it names the cause",
            "the failed rmdir or unlinkat (ENOENT, or EROFS, which a read-only mount answers before it looks), and the \
             failed open of the directory after it",
            "that no creation of the path was seen, while tracing covered it; else the finding says \"may\"",
            "the exit status of whoever tried, and whether its state file of the container is left",
        ],
        confirm: &[
            (
                "look whether cgroupfs is mounted read-only for the process",
                "grep -E ' - cgroup2? ' /proc/PID/mountinfo",
            ),
            ("try to make a cgroup in the same place", "nsenter -t PID -m mkdir /sys/fs/cgroup/cgtrace-try"),
            ("look for the runtime's state that was left", "ls /run/runc/ID/state.json"),
        ],
        causes: &[
            CauseExplanation {
                cause: Cause::ReadOnlyMount,
                meaning: "The cgroup could not be made, because cgroupfs is mounted read-only where the runtime runs.",
                advice: "Mount cgroupfs writable for the runtime (docker run --cgroupns=private with a delegated cgroup, \
                         or systemd's Delegate=yes), or take a runtime that copes without: runc 1.2.2 or later. Rolling \
                         back hides it, and waiting does not mend it. State that was left behind is removed with \
                         runc delete --force ID by a version that copes.",
            },
            CauseExplanation {
                cause: Cause::CreationFailed,
                meaning: "The cgroup could not be made, for the reason that the failed mkdir gives.",
                advice: "Mend the creation, not the teardown: EACCES wants delegation of the parent cgroup, ENOSPC and \
                         EAGAIN mean that a limit on cgroups is reached (cgroup.max.descendants, cgroup.max.depth, or memory \
                         cgroup ids), ENOENT that the parent is missing.",
            },
            CauseExplanation {
                cause: Cause::NeverCreated,
                meaning: "Nobody was seen trying to make it.",
                advice: "Compare the path with the one that the container really had: a different cgroup driver, cgroup \
                         namespace or id gives a different path. Look at the command line of the process in the finding.",
            },
            CauseExplanation {
                cause: Cause::Renamed,
                meaning: "It exists under another name: somebody renamed it, or a cgroup around it (cgroup v1 only). The rival \
                          is who did, and when; `to` is where it is now.",
                advice: "Remove it under its present name. Whoever renames the cgroups of others must tell their owners; cgroup2 \
                         has no renaming.",
            },
        ],
        false_positives: &[
            "A cgroup that came and went before tracing began looks as if it had never been. The finding is then degraded \
             and says \"may never have been created\".",
            "Healthy runtimes make the same calls and cope (runc 1.1, and 1.2.2 or later, when rootless on a read-only \
             cgroupfs). Such findings are benign.",
            "A runtime that fails before it has made a cgroup clears up all the same (runc, with a terminal that is not there). \
             Such findings are benign, and shown only with --benign.",
        ],
    },
];

/// All of them, in the order of [`Kind::ALL`].
pub fn all() -> &'static [Explanation] {
    &EXPLANATIONS
}

/// The explanation of a kind.
pub fn of(kind: Kind) -> &'static Explanation {
    EXPLANATIONS.iter().find(|explanation| explanation.kind == kind).expect("every kind is explained")
}

/// What to do about a cause of a kind.
pub fn advice(kind: Kind, cause: Cause) -> Option<&'static str> {
    of(kind).causes.iter().find(|explained| explained.cause == cause).map(|explained| explained.advice)
}

/// What a severity means.
pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Fault => {
            "it hurt: the runtime's state was left behind, or a process failed whose job the teardown was"
        }
        Severity::Benign => "the same calls, and what was wanted came about",
        Severity::Undetermined => "it could not be told",
    }
}

/// Who has which job, and what decides whether a teardown hurt such a process.
pub fn job(job: Job) -> (&'static str, &'static str) {
    match job {
        Job::Teardown => (
            "to tear down: an OCI runtime's `delete` or `kill`, a containerd shim's `delete`, `podman rm`, `stop`, `kill` or \
             `container cleanup`, `lxc-stop`, `lxc-destroy`",
            "`fault` if it exited with another status than 0, or if the runtime's state of the container is still there after \
             it; else `benign`",
        ),
        Job::Start => (
            "to start: an OCI runtime's `create`, `run` or `restore`, which clears up when it fails",
            "`benign` if it exited 0, or if it failed and its state of the container is gone: it failed for a reason of its \
             own, and `first_failure` names what failed first on cgroupfs, if anything did. `fault` if it failed and its state \
             is still there. `undetermined` if nobody could look",
        ),
        Job::Removal => (
            "to remove a directory: `rmdir`, `rm`, `cgdelete`",
            "`benign`, whatever its status: the cgroup is not there, which is what it wanted. `undetermined` if the cgroup \
             exists under another name",
        ),
        Job::Other => (
            "anything else: `exec`, a shell, a daemon, a program that is not known",
            "`benign` if it exited 0, else `undetermined`: a status of its own proves nothing",
        ),
    }
}

/// The whole registry as Markdown: `docs/findings.md`.
pub fn markdown() -> String {
    use std::fmt::Write;
    let mut out = String::from(
        "# Findings\n\n<!-- Written by `cgtrace explain --markdown`; a test keeps the two alike. -->\n\n\
         A finding is one story of something that went wrong: one line with the claim, then the evidence. The same calls \
         can be harmless or fatal, so each has a severity:\n\n",
    );
    // Writing to a string cannot fail.
    for each in [Severity::Fault, Severity::Benign, Severity::Undetermined] {
        let _ = writeln!(out, "* `{}`: {}.", each.as_str(), severity(each));
    }
    out.push_str(
        "\n## What decides the severity\n\nAn exit status other than 0 alone proves nothing: who starts a container fails for many \
         reasons. It depends on what a process was there for, as its command line tells:\n\n| job | severity |\n|---|---|\n",
    );
    for each in Job::ALL {
        let (who, decides) = job(each);
        let _ = writeln!(out, "| {who} | {decides} |");
    }
    out.push_str(
        "\nA process that still runs, whose end was not seen, or that was killed by a signal leaves it `undetermined`, and so \
         does one of an unknown job whose command line could not be read in time. A story with several processes is a `fault` if \
         it is one for any of them, `benign` if it is so for all, else `undetermined`.\n\n\
         ## How far to trust it\n",
    );
    out.push_str(
        "\nIts certainty is `degraded` when something that the claim depends on could not be seen; `because` says what, and the \
         sentence says \"may\".\n\nA story that changes (the outcome becomes known, ten times as many attempts) is told again under \
         the same `id` with a higher `revision`.\n",
    );
    for explanation in all() {
        let _ = writeln!(out, "\n## `{}`\n\n{}\n\n### Evidence\n", explanation.kind.as_str(), explanation.claim);
        for line in explanation.evidence {
            let _ = writeln!(out, "* {line}");
        }
        out.push_str("\n### Causes\n\n");
        for cause in explanation.causes {
            let _ = writeln!(out, "* `{}`: {}\n  *What to do:* {}", cause.cause.as_str(), cause.meaning, cause.advice);
        }
        out.push_str("\n### Confirm by hand\n\n");
        for (what, command) in explanation.confirm {
            let _ = writeln!(out, "* {what}: `{command}`");
        }
        out.push_str("\n### Known false positives\n\n");
        for line in explanation.false_positives {
            let _ = writeln!(out, "* {line}");
        }
    }
    out.push_str("\n## Known issues\n\n");
    for issue in known::all() {
        let _ = writeln!(
            out,
            "* **{}**: {}. Affects {}; fixed in {}.",
            issue.id, issue.title, issue.affects, issue.fixed_in
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_explained_under_its_own_number() {
        for (kind, explanation) in Kind::ALL.iter().zip(all()) {
            assert_eq!(*kind, explanation.kind);
            assert!(
                !explanation.causes.is_empty() && !explanation.confirm.is_empty() && !explanation.evidence.is_empty()
            );
        }
    }

    #[test]
    fn every_cause_is_explained_by_a_kind() {
        for cause in Cause::ALL {
            assert!(Kind::ALL.iter().any(|kind| advice(*kind, cause).is_some()), "{}", cause.as_str());
        }
    }

    #[test]
    fn the_page_in_docs_is_what_the_registry_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/findings.md");
        if std::env::var_os("CGTRACE_BLESS").is_some() {
            std::fs::write(path, markdown()).expect("docs can be written");
        }
        let page = std::fs::read_to_string(path).expect("docs/findings.md is there");
        assert!(page == markdown(), "docs/findings.md is stale: CGTRACE_BLESS=1 cargo test -p cgtrace --lib explain");
    }
}
