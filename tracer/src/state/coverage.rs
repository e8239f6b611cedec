//! What could not be seen, and what that does to a claim.
//!
//! A loss weakens only what it can make wrong:
//!
//! | lost | what may be wrong |
//! |---|---|
//! | a lifecycle event | that a cgroup was never there, and that it was gone: all that is told of lives since |
//! | a failed `mkdir`, by anybody | that nobody tried to make a cgroup, and which life of it a later call is about |
//! | a failed `rmdir` | that nobody tried to remove a cgroup (`never-attempted`, `not-attempted`) |
//! | a failed `rmdir` or opening | nothing else that is claimed (below) |
//! | a failed call of which nothing is known | what a failed `mkdir` can make wrong |
//! | a write that succeeded | who had set what is overwritten (`changed-by-other`) |
//!
//! If a failed `rmdir` or opening is lost, a story is not told, or tells of fewer calls and processes. But those that
//! it tells of are real, and so is what became of the cgroup.
//!
//! What failed to be made begins another life: what comes then is a `missing-path-teardown`, `creation-failed`, and no
//! `duplicate-teardown` of the life before.
//!
//! A failed `mkdir` or `rmdir` of which it is not known where it leads is as good as lost, for cgroups of the name that
//! it would have made or removed.

use std::time::Duration;

use crate::hierarchy::Header;
use crate::input::{BootTime, Lost, Operation, Pid, Ring};
use crate::name::Name;

/// The probes without which a cgroup can come or go unseen.
const ESSENTIAL: [&str; 2] = ["cgroup_mkdir", "cgroup_rmdir"];

/// The probes without which a process can come into a cgroup, or leave it, unseen.
const PROCESSES: [&str; 2] = ["cgroup_notify_populated", "cgroup_attach_task"];

/// What could not be seen so far.
#[derive(Debug)]
pub(crate) struct Coverage {
    began: BootTime,
    missing_probes: Vec<String>,
    missing_attempts: Vec<String>,
    unreadable: u64,
    walked: bool,
    lifecycle_lost: Option<BootTime>,
    /// Whether it is seen that a cgroup has processes, or has none.
    sees_processes: bool,
    /// Whether it is seen that the kernel releases a cgroup.
    sees_releases: bool,
    missing_removals: Vec<String>,
    /// Failed calls that may have been the removal of a cgroup.
    removals_lost: Option<BootTime>,
    /// Writes that succeeded.
    changes_lost: Option<BootTime>,
    /// Failed calls that may have been a `mkdir` by anybody.
    attempts_lost: Option<BootTime>,
    /// Failed `mkdir`s whose thread group is known.
    mkdirs_lost: Vec<MkdirsLost>,
    unresolved_mkdirs: Unresolved,
    unresolved_removals: Unresolved,
}

/// Failed calls of which it is not known where they lead.
#[derive(Debug, Default)]
struct Unresolved {
    /// By the name that each would have made or removed; the latest last.
    named: Vec<(Name, Span)>,
    /// Those of which the name is not known either.
    of_any_name: Option<Span>,
}

/// From the first time to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    first: BootTime,
    last: BootTime,
}

/// Failed `mkdir`s of a thread group were lost, last at that time.
#[derive(Debug)]
struct MkdirsLost {
    pid: Pid,
    comm: Option<Name>,
    at: BootTime,
}

/// Probes and thread groups that are named at most; who lost calls longest ago gives way to nobody in particular.
const NAMED: usize = 16;
/// The kernel's own threads have the longest names.
const LONGEST_COMM: usize = 63;
/// Names that are kept of failed calls which lead nobody knows where; the one that was met longest ago becomes any
/// name.
const UNRESOLVED: usize = 64;
/// No file system of the kernel makes a longer name: it is refused for that, wherever it is.
const LONGEST_NAME: usize = 255;

impl Coverage {
    pub fn new(header: &Header) -> Self {
        let missing = |wanted: &dyn Fn(&str) -> bool| -> Vec<String> {
            let probes = header.probes.iter().filter(|probe| !probe.attached && wanted(&probe.name));
            probes.take(NAMED).map(|probe| probe.name.clone()).collect()
        };
        Self {
            began: BootTime(header.clock.boot_ns),
            missing_probes: missing(&|name| ESSENTIAL.contains(&name)),
            missing_attempts: missing(&|name| name.starts_with("mkdir")),
            sees_processes: missing(&|name| PROCESSES.contains(&name)).is_empty(),
            sees_releases: missing(&|name| name == "cgroup_release").is_empty(),
            missing_removals: missing(&|name| name.starts_with("rmdir") || name.starts_with("unlink")),
            removals_lost: None,
            changes_lost: None,
            unreadable: 0,
            walked: false,
            lifecycle_lost: None,
            attempts_lost: None,
            mkdirs_lost: Vec::new(),
            unresolved_mkdirs: Unresolved::default(),
            unresolved_removals: Unresolved::default(),
        }
    }

    /// Something was lost, by a thread group of that name if it is known.
    pub fn lost(&mut self, lost: &Lost, comm: Option<&Name>) {
        // Whatever the reason: what is gone is gone.
        let may_be_removal = matches!(lost.operation, Some(Operation::Rmdir) | None);
        if lost.ring == Ring::Recording || lost.ring == Ring::Attempts && may_be_removal {
            later(&mut self.removals_lost, lost.at);
        }
        match (lost.ring, lost.operation) {
            (Ring::Lifecycle, _) => later(&mut self.lifecycle_lost, lost.at),
            (Ring::Attempts, Some(Operation::Rmdir | Operation::Open | Operation::Rename)) => {}
            (Ring::Attempts, Some(Operation::Write | Operation::Read | Operation::Spawn)) => {}
            (Ring::Attempts, Some(Operation::Mkdir) | None) => match lost.pid {
                Some(pid) => {
                    let comm = comm.filter(|comm| comm.as_bytes().len() <= LONGEST_COMM).cloned();
                    self.lost_mkdirs(MkdirsLost { pid, comm, at: lost.at });
                }
                None => later(&mut self.attempts_lost, lost.at),
            },
            (Ring::Changes, _) => later(&mut self.changes_lost, lost.at),
            (Ring::Recording, _) => {
                later(&mut self.changes_lost, lost.at);
                later(&mut self.lifecycle_lost, lost.at);
                later(&mut self.attempts_lost, lost.at);
            }
        }
    }

    fn lost_mkdirs(&mut self, lost: MkdirsLost) {
        self.mkdirs_lost.retain(|known| known.pid != lost.pid);
        if self.mkdirs_lost.len() >= NAMED {
            let oldest = self.mkdirs_lost.remove(0);
            later(&mut self.attempts_lost, oldest.at);
        }
        self.mkdirs_lost.push(lost);
    }

    /// A `mkdir` failed of which it is not known where it leads. `None` for a name that is not known.
    pub fn unresolved_mkdir(&mut self, name: Option<Name>, at: BootTime) {
        self.unresolved_mkdirs.add(name, at);
    }

    /// A removal failed of which it is not known where it leads. `None` for a name that is not known.
    pub fn unresolved_removal(&mut self, name: Option<Name>, at: BootTime) {
        self.unresolved_removals.add(name, at);
    }

    pub fn walked(&mut self, unreadable: u64) {
        self.walked = true;
        self.unreadable = unreadable;
    }

    /// Directories that the walk at the start could not read.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Whether it is seen that a cgroup has processes, or has none.
    pub fn sees_processes(&self) -> bool {
        self.sees_processes
    }

    /// Whether it is seen that the kernel releases a cgroup.
    pub fn sees_releases(&self) -> bool {
        self.sees_releases
    }

    /// How long tracing had been on at `at`.
    pub fn age(&self, at: BootTime) -> Duration {
        at.since(self.began)
    }

    /// Whether tracing had begun by then.
    pub fn is_whole_since(&self, since: BootTime) -> bool {
        since >= self.began
    }

    /// Why a cgroup may have come or gone unseen since `since`.
    pub fn gaps_in_lifecycle(&self, since: BootTime) -> Vec<String> {
        gaps(&self.missing_probes, self.lifecycle_lost, "lifecycle events were lost meanwhile", since)
    }

    /// Why a cgroup that is older than the trace may not be known.
    pub fn gaps_in_walk(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        if !self.walked {
            gaps.push("cgroupfs had not been walked to its end".to_owned());
        }
        if self.unreadable > 0 {
            gaps.push(format!("{} cgroup directories could not be read", self.unreadable));
        }
        gaps
    }

    /// Why a failed creation of a cgroup of that name may have been among those of which it is not known where they
    /// lead.
    pub fn gaps_in_resolution(&self, name: &[u8], since: BootTime, until: BootTime) -> Option<&'static str> {
        let covers = |span: &Span| span.last >= since && span.first <= until;
        self.unresolved_mkdirs.gap(name, covers).map(|of| match of {
            Of::ThatName => "the place of a failed mkdir of that name is not known",
            Of::AnyName => "the place of some failed mkdir calls is not known",
        })
    }

    /// Why a removal of a cgroup of that name may have failed unseen since `since`.
    pub fn gaps_in_removals(&self, name: &[u8], since: BootTime) -> Vec<String> {
        let loss = "failed removals may have been lost meanwhile";
        let mut gaps = gaps(&self.missing_removals, self.removals_lost, loss, since);
        let unresolved = self.unresolved_removals.gap(name, |span| span.last >= since);
        gaps.extend(unresolved.map(|of| match of {
            Of::ThatName => "the place of a failed removal of that name is not known".to_owned(),
            Of::AnyName => "the place of some failed removals is not known".to_owned(),
        }));
        gaps
    }

    /// Why somebody may have written to a control file unseen since `since`.
    pub fn gaps_in_changes(&self, since: BootTime) -> Vec<String> {
        gaps(&[], self.changes_lost, "writes to control files were lost meanwhile", since)
    }

    /// Why a failed creation may have happened unseen since `since`.
    pub fn gaps_in_attempts(&self, since: BootTime) -> Vec<String> {
        let mut gaps = gaps(&self.missing_attempts, self.attempts_lost, "failed calls were lost meanwhile", since);
        let whose: Vec<String> =
            self.mkdirs_lost.iter().filter(|lost| lost.at >= since).map(MkdirsLost::whose).collect();
        match whose.as_slice() {
            [] => {}
            [one] => gaps.push(format!("failed mkdir calls of {one} were lost meanwhile")),
            [one, others @ ..] => gaps
                .push(format!("failed mkdir calls of {one} and {} more processes were lost meanwhile", others.len())),
        }
        gaps
    }
}

/// Of which name a call may have been that leads nobody knows where.
enum Of {
    ThatName,
    AnyName,
}

impl Unresolved {
    fn add(&mut self, name: Option<Name>, at: BootTime) {
        let once = Span { first: at, last: at };
        let Some(name) = name else { return self.add_of_any_name(once) };
        if name.as_bytes().len() > LONGEST_NAME {
            return;
        }
        let known = self.named.iter().position(|(known, _)| *known == name);
        let span = known.map_or(once, |place| self.named.remove(place).1.and(once));
        self.named.push((name, span));
        if self.named.len() > UNRESOLVED {
            let (_, oldest) = self.named.remove(0);
            self.add_of_any_name(oldest);
        }
    }

    fn add_of_any_name(&mut self, span: Span) {
        self.of_any_name = Some(self.of_any_name.map_or(span, |known| known.and(span)));
    }

    fn gap(&self, name: &[u8], covers: impl Fn(&Span) -> bool) -> Option<Of> {
        if self.named.iter().any(|(known, span)| known.as_bytes() == name && covers(span)) {
            return Some(Of::ThatName);
        }
        self.of_any_name.as_ref().is_some_and(covers).then_some(Of::AnyName)
    }
}

impl Span {
    fn and(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }
}

impl MkdirsLost {
    fn whose(&self) -> String {
        match &self.comm {
            Some(comm) => format!("{comm} ({})", self.pid),
            None => format!("process {}", self.pid),
        }
    }
}

/// Why something may have been missed since `since`: without these probes, and by what was lost last.
fn gaps(missing: &[String], lost: Option<BootTime>, loss: &str, since: BootTime) -> Vec<String> {
    let probes = (!missing.is_empty()).then(|| format!("no probe on {}", missing.join(", ")));
    let loss = lost.filter(|at| *at >= since).map(|_| loss.to_owned());
    probes.into_iter().chain(loss).collect()
}

fn later(known: &mut Option<BootTime>, at: BootTime) {
    *known = (*known).max(Some(at));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::LossReason;

    fn coverage() -> Coverage {
        Coverage {
            began: BootTime(0),
            missing_probes: Vec::new(),
            missing_attempts: Vec::new(),
            unreadable: 0,
            walked: true,
            sees_processes: true,
            sees_releases: true,
            missing_removals: Vec::new(),
            removals_lost: None,
            changes_lost: None,
            lifecycle_lost: None,
            attempts_lost: None,
            mkdirs_lost: Vec::new(),
            unresolved_mkdirs: Unresolved::default(),
            unresolved_removals: Unresolved::default(),
        }
    }

    fn denied(at: u64, pid: Option<u32>, operation: Option<Operation>) -> Lost {
        let some = Lost::some(BootTime(at), Ring::Attempts, LossReason::RateLimited, 7);
        Lost { pid: pid.map(Pid), operation, ..some }
    }

    #[test]
    fn only_what_may_have_been_a_mkdir_weakens_that_nobody_tried() {
        let check = |pid, operation, gap: &[&str]| {
            let mut coverage = coverage();
            coverage.lost(&denied(10, pid, operation), Some(&"flood".into()));
            assert_eq!(coverage.gaps_in_attempts(BootTime(5)), gap, "{pid:?} {operation:?}");
            assert!(coverage.gaps_in_attempts(BootTime(11)).is_empty(), "it was before");
            assert!(coverage.gaps_in_lifecycle(BootTime(5)).is_empty());
        };
        check(Some(7), Some(Operation::Open), &[]);
        check(Some(7), Some(Operation::Rmdir), &[]);
        check(Some(7), Some(Operation::Mkdir), &["failed mkdir calls of flood (7) were lost meanwhile"]);
        check(None, Some(Operation::Mkdir), &["failed calls were lost meanwhile"]);
        check(None, None, &["failed calls were lost meanwhile"]);
    }

    #[test]
    fn programs_that_do_not_run_weaken_what_depends_on_failed_calls_until_then_and_nothing_else() {
        let mut coverage = coverage();
        coverage.lost(&Lost::some(BootTime(10), Ring::Attempts, LossReason::Silent, 1), None);
        assert_eq!(coverage.gaps_in_attempts(BootTime(5)), ["failed calls were lost meanwhile"]);
        assert_eq!(coverage.gaps_in_removals(b"web", BootTime(5)), ["failed removals may have been lost meanwhile"]);
        assert!(coverage.gaps_in_attempts(BootTime(11)).is_empty(), "it was before");
        assert!(coverage.gaps_in_lifecycle(BootTime(5)).is_empty());
    }

    #[test]
    fn a_mkdir_that_leads_nobody_knows_where_weakens_what_is_said_of_its_name_and_time() {
        let mut coverage = coverage();
        coverage.unresolved_mkdir(Some("web".into()), BootTime(10));
        coverage.unresolved_mkdir(Some("web".into()), BootTime(20));
        let gap = |coverage: &Coverage, name: &str, since, until| {
            coverage.gaps_in_resolution(name.as_bytes(), BootTime(since), BootTime(until))
        };
        assert_eq!(gap(&coverage, "web", 15, 25), Some("the place of a failed mkdir of that name is not known"));
        assert_eq!(gap(&coverage, "web", 1, 9), None, "it came later");
        assert_eq!(gap(&coverage, "web", 21, 30), None, "it was before");
        assert_eq!(gap(&coverage, "bar", 15, 25), None);
        coverage.unresolved_mkdir(None, BootTime(30));
        assert_eq!(gap(&coverage, "bar", 30, 40), Some("the place of some failed mkdir calls is not known"));
        assert_eq!(gap(&coverage, "bar", 31, 40), None);
    }

    #[test]
    fn a_removal_that_leads_nobody_knows_where_weakens_what_is_said_of_its_name_since() {
        let mut coverage = coverage();
        coverage.unresolved_removal(Some("web".into()), BootTime(10));
        let gaps = |coverage: &Coverage, name: &str, since| coverage.gaps_in_removals(name.as_bytes(), BootTime(since));
        assert_eq!(gaps(&coverage, "web", 10), ["the place of a failed removal of that name is not known"]);
        assert!(gaps(&coverage, "web", 11).is_empty() && gaps(&coverage, "bar", 10).is_empty());
        assert_eq!(coverage.gaps_in_resolution(b"web", BootTime(5), BootTime(20)), None, "it makes nothing");
        coverage.unresolved_removal(None, BootTime(30));
        assert_eq!(gaps(&coverage, "bar", 30), ["the place of some failed removals is not known"]);
    }

    #[test]
    fn very_many_names_of_mkdirs_that_lead_nobody_knows_where_become_any_name() {
        let mut coverage = coverage();
        for number in 0..1_000 {
            coverage.unresolved_mkdir(Some(format!("{number}").as_str().into()), BootTime(number));
            coverage.unresolved_mkdir(Some("x".repeat(256).as_str().into()), BootTime(number));
        }
        assert_eq!(coverage.unresolved_mkdirs.named.len(), UNRESOLVED);
        let oldest = 1_000 - UNRESOLVED as u64;
        let gap = |since| coverage.gaps_in_resolution(b"other", BootTime(since), BootTime(2_000)).is_some();
        assert!(gap(oldest - 1) && !gap(oldest));
    }

    #[test]
    fn very_many_who_lost_mkdirs_are_remembered_as_nobody_in_particular() {
        let mut coverage = coverage();
        for pid in 0..1_000 {
            coverage.lost(&denied(u64::from(pid), Some(pid), Some(Operation::Mkdir)), None);
        }
        assert_eq!(coverage.mkdirs_lost.len(), NAMED);
        let gaps = coverage.gaps_in_attempts(BootTime(0));
        let named = "failed mkdir calls of process 984 and 15 more processes were lost meanwhile";
        assert_eq!(gaps, ["failed calls were lost meanwhile", named]);
        assert_eq!(coverage.gaps_in_attempts(BootTime(999)).len(), 1, "those that are forgotten lost theirs before");
    }
}
