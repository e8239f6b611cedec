//! Cgroups that are left in some of v1's hierarchies, and teardowns that look alike.

use std::time::Duration;

use super::left::PATIENCE;
use crate::errno::Errno;
use crate::findings::{Certainty, Severity};
use crate::input::{
    About, BootTime, Change, Exit, Facts, HierarchyId, Input, LossReason, Lost, NamespaceId, Operation, Ring, Syscall,
    WalkedAgain,
};
use crate::tracker::tests::Play;

const MAKER: u32 = 20;
const REMOVER: u32 = 21;
const CREATE: &str = "runc --root /r create web";
const DELETE: &str = "runc --root /r delete web";
const OK: Exit = Exit::Code(0);
const FAILED: Exit = Exit::Code(1);
/// Hierarchies of the host, and the id that the container's cgroup has in each.
const CGROUPS: [(u32, u64); 3] = [(0, 7), (4, 8), (8, 9)];

fn each(play: &mut Play, change: Change, path: &str, pid: u32) {
    for (hierarchy, id) in CGROUPS {
        play.event(change, hierarchy, id, path, pid);
    }
}

/// A container that has run, with a cgroup in each hierarchy.
fn stopped() -> Play {
    let mut play = Play::new();
    play.begins(MAKER, CREATE);
    each(&mut play, Change::Created, "/web", MAKER);
    each(&mut play, Change::Populated, "/web", MAKER);
    play.exit(MAKER, OK);
    each(&mut play, Change::Emptied, "/web", 1);
    play
}

fn ends(play: &mut Play, pid: u32, exit: Exit) {
    play.exit(pid, exit);
    play.state("web", pid, false);
}

/// A delete that removes the first so many.
fn deleted(play: &mut Play, removed: usize) {
    play.begins(REMOVER, DELETE);
    for (hierarchy, id) in &CGROUPS[..removed] {
        play.event(Change::Removed, *hierarchy, *id, "/web", REMOVER);
    }
    ends(play, REMOVER, OK);
}

fn wait(play: &mut Play) {
    play.pass(PATIENCE + Duration::from_secs(1));
}

#[test]
fn what_is_left_in_one_hierarchy_is_told_once_nobody_has_removed_it_in_time() {
    let mut play = stopped();
    deleted(&mut play, 2);
    play.pass(PATIENCE - Duration::from_secs(1));
    assert!(play.findings.is_empty());
    wait(&mut play);
    let finding = play.only();
    assert_eq!((finding.kind.as_str(), finding.cause.word), ("partial-teardown", "not-attempted"));
    assert_eq!((finding.severity, finding.certainty, finding.hierarchies), (Severity::Fault, Certainty::Certain, 1));
    assert_eq!((finding.cgroup.hierarchy.0, finding.pid().0), (8, REMOVER));
    assert_eq!((finding.outcome.cgroup_left, finding.outcome.state_left), (Some(true), Some(false)));
    let rest = "left the cgroup of container web behind in one hierarchy, empty, though it is gone from 2 others: \
                nobody tried to remove it there; it exited 0";
    assert_eq!(finding.summary, format!("runc[21] {rest}"));
}

#[test]
fn all_hierarchies_in_which_it_is_left_are_one_finding() {
    let mut play = stopped();
    deleted(&mut play, 1);
    wait(&mut play);
    assert_eq!((play.only().hierarchies, play.only().attempt_count), (2, 0));
    let says = " behind in 2 hierarchies, empty, though it is gone from another one: ";
    assert!(play.only().summary.contains(says), "{}", play.only().summary);
    // It ends with the last of them.
    play.event(Change::Removed, 4, 8, "/web", 30);
    assert_eq!(play.findings.len(), 1);
    play.event(Change::Removed, 8, 9, "/web", 30);
    let last = play.findings.last().expect("told");
    assert_eq!((play.findings.len(), last.revision, last.severity), (2, 1, Severity::Benign));
    assert!(last.summary.contains("though it is gone from others: "), "{}", last.summary);
    assert_eq!((last.cause.word, last.outcome.cgroup_left), ("not-attempted", Some(false)));
    // What has its id next, and what is lost by then, says nothing of it.
    play.feed(Input::Lost(Lost::some(BootTime(0), Ring::Attempts, LossReason::RingFull, 1)));
    play.event(Change::Created, 8, 9, "/else", 30);
    wait(&mut play);
    assert_eq!(play.findings.len(), 2);
}

#[test]
fn a_removal_that_failed_there_is_the_cause() {
    let mut play = stopped();
    play.begins(REMOVER, DELETE);
    play.event(Change::Removed, 0, 7, "/web", REMOVER);
    play.event(Change::Removed, 4, 8, "/web", REMOVER);
    play.attempt(Syscall::Rmdir, Errno::ENOMEM, "/sys/fs/cgroup/pids/web", NamespaceId(1), REMOVER);
    ends(&mut play, REMOVER, OK);
    wait(&mut play);
    assert_eq!((play.only().cause.word, play.only().severity), ("refused", Severity::Fault));
    assert_eq!(play.only().attempts.first().map(|call| call.errno), Some(Errno::ENOMEM));
    assert!(play.only().summary.contains(": its removal there had failed with ENOMEM; "), "{}", play.only().summary);
}

#[test]
fn a_refusal_that_was_told_as_a_fault_is_not_told_twice() {
    for (errno, kind) in [(Errno::EROFS, "denied-teardown"), (Errno::EBUSY, "busy-teardown")] {
        let mut play = stopped();
        play.begins(REMOVER, DELETE);
        play.event(Change::Removed, 0, 7, "/web", REMOVER);
        play.event(Change::Removed, 4, 8, "/web", REMOVER);
        play.attempt(Syscall::Rmdir, errno, "/sys/fs/cgroup/pids/web", NamespaceId(1), REMOVER);
        ends(&mut play, REMOVER, OK);
        wait(&mut play);
        assert_eq!((play.only().kind.as_str(), play.only().severity), (kind, Severity::Fault));
    }
}

#[test]
fn a_start_that_fails_and_clears_up_in_part_is_told() {
    let mut play = Play::new();
    play.begins(MAKER, "crun run web");
    each(&mut play, Change::Created, "/web", MAKER);
    play.event(Change::Removed, 4, 8, "/web", MAKER);
    ends(&mut play, MAKER, FAILED);
    wait(&mut play);
    assert_eq!((play.only().kind.as_str(), play.only().hierarchies), ("partial-teardown", 2));
}

#[test]
fn whoever_empties_it_late_leaves_it_late() {
    let mut play = Play::new();
    play.begins(MAKER, CREATE);
    each(&mut play, Change::Created, "/web", MAKER);
    play.event(Change::Populated, 8, 9, "/web", 30);
    play.exit(MAKER, OK);
    deleted(&mut play, 2);
    wait(&mut play);
    assert!(play.findings.is_empty(), "somebody is in it");
    play.event(Change::Emptied, 8, 9, "/web", 30);
    play.pass(PATIENCE - Duration::from_secs(1));
    assert!(play.findings.is_empty());
    wait(&mut play);
    assert_eq!(play.only().kind.as_str(), "partial-teardown");
}

#[test]
fn teardowns_that_are_whole_or_not_over_are_none() {
    let check = |what: &str, go: &dyn Fn(&mut Play)| {
        let mut play = stopped();
        go(&mut play);
        wait(&mut play);
        assert!(play.findings.is_empty(), "{what}: {:#?}", play.findings);
    };
    check("it is whole", &|play| deleted(play, 3));
    check("the rest goes late", &|play| {
        deleted(play, 2);
        play.pass(PATIENCE / 2);
        play.event(Change::Removed, 8, 9, "/web", 30);
    });
    check("it is only stopped, and somebody took one away", &|play| {
        play.event(Change::Removed, 4, 8, "/web", 30);
    });
    check("its state is left", &|play| {
        play.begins(REMOVER, DELETE);
        play.event(Change::Removed, 4, 8, "/web", REMOVER);
        play.exit(REMOVER, FAILED);
        play.state("web", REMOVER, true);
    });
    check("nobody could look for its state", &|play| {
        play.begins(REMOVER, DELETE);
        play.event(Change::Removed, 4, 8, "/web", REMOVER);
        play.exit(REMOVER, OK);
    });
    check("a process is in the rest", &|play| {
        deleted(play, 2);
        play.event(Change::Populated, 8, 9, "/web", 30);
    });
    check("another container is in the rest", &|play| {
        play.begins(22, "runc create other");
        play.event(Change::Populated, 8, 9, "/web", 22);
        play.exit(22, OK);
        play.event(Change::Emptied, 8, 9, "/web", 1);
        deleted(play, 2);
    });
    check("a new container of the name has the rest", &|play| {
        deleted(play, 2);
        play.begins(22, CREATE);
        play.event(Change::Created, 4, 18, "/web", 22);
        play.exit(22, OK);
    });
    check("a delete is at it still", &|play| {
        deleted(play, 2);
        play.begins(22, "runc delete --force web");
    });
}

#[test]
fn what_its_runtime_did_not_make_is_not_missed() {
    let mut play = Play::new();
    play.event(Change::Existing, 8, 9, "/web", 1);
    play.begins(MAKER, CREATE);
    play.event(Change::Created, 0, 7, "/web", MAKER);
    // systemd's own, below which the runtime puts nothing.
    play.begins(30, "systemd");
    play.event(Change::Created, 4, 8, "/system.slice/runc-web.scope", 30);
    play.exit(MAKER, OK);
    play.begins(REMOVER, DELETE);
    play.event(Change::Removed, 0, 7, "/web", REMOVER);
    ends(&mut play, REMOVER, OK);
    wait(&mut play);
    assert!(play.findings.is_empty(), "{:#?}", play.findings);
}

#[test]
fn what_was_removed_and_made_again_in_the_same_hierarchy_is_not_gone() {
    let mut play = Play::new();
    play.begins(MAKER, "runc run web");
    play.event(Change::Created, 0, 7, "/web", MAKER);
    play.event(Change::Created, 4, 8, "/web", MAKER);
    play.event(Change::Removed, 4, 8, "/web", MAKER);
    play.event(Change::Created, 4, 18, "/web", MAKER);
    ends(&mut play, MAKER, FAILED);
    wait(&mut play);
    assert_eq!((play.only().kind.as_str(), play.only().hierarchies), ("leaked-cgroup", 2));
}

#[test]
fn what_was_lost_weakens_what_is_told() {
    let check = |ring, operation, because: &str, severity, says: &str| {
        let mut play = stopped();
        let lost = Lost { operation, ..Lost::some(BootTime(0), ring, LossReason::RingFull, 1) };
        play.feed(Input::Lost(lost));
        deleted(&mut play, 2);
        wait(&mut play);
        let finding = play.only();
        assert_eq!((finding.because.clone(), finding.severity), (vec![because.to_owned()], severity));
        assert!(finding.summary.contains(says), "{}", finding.summary);
    };
    let lifecycle = "lifecycle events were lost meanwhile";
    check(Ring::Lifecycle, None, lifecycle, Severity::Undetermined, "runc[21] may have left the cgroup");
    let removals = "failed removals may have been lost meanwhile";
    let says = ": who may have tried to remove it was not seen; ";
    check(Ring::Attempts, Some(Operation::Rmdir), removals, Severity::Fault, says);
}

#[test]
fn what_a_walk_does_not_find_any_more_is_gone() {
    let mut play = stopped();
    play.feed(Input::Lost(Lost::some(BootTime(0), Ring::Lifecycle, LossReason::RingFull, 1)));
    let again = Some(WalkedAgain { began: BootTime(play.now), hierarchies: vec![HierarchyId(0), HierarchyId(4)] });
    let about = About::Walked { cgroups: 1, unreadable: 0, again };
    play.feed(Input::Facts(Facts { at: BootTime(0), about }));
    deleted(&mut play, 0);
    wait(&mut play);
    let finding = play.only();
    assert_eq!((finding.kind.as_str(), finding.certainty), ("partial-teardown", Certainty::Degraded));
    assert!(finding.summary.contains("though it is gone from 2 others"), "{}", finding.summary);
}
