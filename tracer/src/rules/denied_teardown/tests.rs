//! Removals of what exists that are refused, and what is told of them.

use std::time::Duration;

use crate::errno::Errno;
use crate::findings::{Certainty, Finding, Severity};
use crate::input::{About, BootTime, Change, Exit, Facts, HierarchyId, Input, LossReason, Lost, NamespaceId};
use crate::input::{Ring, Syscall, WalkedAgain};
use crate::tracker::tests::Play;

const DELETE: &str = "runc delete web";
const MAKER: u32 = 20;
const REMOVER: u32 = 21;

/// A cgroup that was made, and somebody who is refused its removal.
fn refused(argv: &str, errno: Errno) -> Play {
    let mut play = Play::new();
    play.event(Change::Created, 0, 7, "/web", MAKER);
    play.exec(REMOVER, argv);
    play.rmdir(errno, "/web", REMOVER);
    play
}

fn settle(play: &mut Play) {
    play.pass(Duration::from_millis(200));
}

fn ended(argv: &str, errno: Errno, exit: Exit) -> Play {
    let mut play = refused(argv, errno);
    play.exit(REMOVER, exit);
    settle(&mut play);
    play
}

/// Of the last thing that was told: the cause, the severity, and how the sentence goes on behind the cgroup.
fn said(play: &Play) -> Option<(&'static str, Severity, &str)> {
    let finding = play.findings.last()?;
    assert_eq!(finding.kind.as_str(), "denied-teardown");
    let (_, rest) = finding.summary.split_once(", which ").expect("which");
    Some((finding.cause.word, finding.severity, rest))
}

#[test]
fn whom_it_hurts_is_told_by_what_a_process_was_there_for() {
    let check = |argv: &str, errno: Errno, exit: Exit, cause: &'static str, severity, rest: &str| {
        let play = ended(argv, errno, exit);
        assert_eq!(said(&play), Some((cause, severity, rest)), "{argv}");
        assert_eq!(play.only().certainty, Certainty::Certain, "{:?}", play.only().because);
        assert_eq!(play.only().outcome.cgroup_left, Some(true));
    };
    let mount = "exists, but was refused: cgroupfs is mounted read-only for it (EROFS); ";
    let right = "exists, but was refused: run by root, it gave up rights, or AppArmor, SELinux, seccomp or a user \
                 namespace forbids it (EACCES); ";
    let (code, killed) = (Exit::Code, Exit::Signal(9));
    let (read_only, permission) = ("read-only-mount", "permission");
    let (erofs, eacces) = (Errno::EROFS, Errno::EACCES);
    use Severity::{Benign, Fault, Undetermined};
    check(DELETE, erofs, code(1), read_only, Fault, &format!("{mount}it exited 1 and left the cgroup behind"));
    // runc 1.1 only logs it, and crun not even that.
    check(DELETE, erofs, code(0), read_only, Fault, &format!("{mount}it exited 0 and left the cgroup behind"));
    check(DELETE, eacces, code(1), permission, Fault, &format!("{right}it exited 1 and left the cgroup behind"));
    check(DELETE, erofs, killed, read_only, Undetermined, &format!("{mount}it was killed by signal 9"));
    check("rmdir /web", eacces, code(1), permission, Undetermined, &format!("{right}it exited 1"));
    check("sh -c true", eacces, code(1), permission, Undetermined, &format!("{right}it exited 1"));
    // What was wanted did not come about.
    check("sh -c true", eacces, code(0), permission, Undetermined, &format!("{right}it exited 0"));
    check("rm -rf /web", eacces, code(0), permission, Undetermined, &format!("{right}it exited 0"));
    // What it did not make it need not clear up.
    check("runc run web", eacces, code(1), permission, Undetermined, &format!("{right}it exited 1"));
    check("runc run web", eacces, code(0), permission, Benign, &format!("{right}it coped and exited 0"));
    let eperm = ended(DELETE, Errno::EPERM, Exit::Code(1));
    assert_eq!(said(&eperm).map(|(cause, ..)| cause), Some(permission));
}

#[test]
fn a_start_that_leaves_its_own_cgroup_behind_is_a_fault() {
    let mut play = Play::new();
    play.exec_at(1, REMOVER, "runc run web");
    play.event(Change::Created, 0, 7, "/web", REMOVER);
    play.rmdir(Errno::EACCES, "/web", REMOVER);
    play.exit(REMOVER, Exit::Code(1));
    settle(&mut play);
    assert_eq!(said(&play).map(|(_, severity, _)| severity), Some(Severity::Fault));
}

#[test]
fn who_is_still_running_is_told_of_after_two_seconds_and_again_at_its_end() {
    let mut play = refused(DELETE, Errno::EROFS);
    play.pass(Duration::from_millis(1_900));
    assert_eq!(said(&play), None);
    settle(&mut play);
    assert_eq!(said(&play).map(|(_, severity, _)| severity), Some(Severity::Undetermined));
    play.exit(REMOVER, Exit::Code(1));
    settle(&mut play);
    assert_eq!(said(&play).map(|(_, severity, _)| severity), Some(Severity::Fault));
    assert_eq!(play.findings[0].id, play.findings[1].id);
}

#[test]
fn what_was_removed_in_another_way_before_it_is_judged_is_not_told() {
    for (argv, remover, exit) in [
        // It tried again, with success.
        (DELETE, REMOVER, Exit::Code(0)),
        ("rmdir /web", REMOVER, Exit::Code(0)),
        // It failed for another reason.
        (DELETE, REMOVER, Exit::Code(1)),
        // Somebody else did.
        (DELETE, MAKER, Exit::Code(0)),
        ("rmdir /web", MAKER, Exit::Code(1)),
        ("sh -c true", MAKER, Exit::Code(1)),
    ] {
        let mut play = refused(argv, Errno::EACCES);
        play.event(Change::Removed, 0, 7, "/web", remover);
        play.exit(REMOVER, exit);
        play.pass(Duration::from_secs(10));
        assert_eq!(said(&play), None, "{argv} {remover} {exit:?}");
        assert_eq!(play.tracker.next_due(), None);
    }
}

#[test]
fn a_teardown_that_failed_of_it_is_told_also_if_somebody_else_removed_it() {
    let mut play = refused(DELETE, Errno::EACCES);
    play.event(Change::Removed, 0, 7, "/web", MAKER);
    play.exit(REMOVER, Exit::Code(1));
    settle(&mut play);
    let (cause, severity, rest) = said(&play).expect("told");
    assert_eq!((cause, severity), ("permission", Severity::Fault));
    assert!(rest.starts_with("existed, but was refused: ") && rest.ends_with("(EACCES); it exited 1"), "{rest}");
    assert_eq!(play.only().outcome.cgroup_left, Some(false));
}

#[test]
fn a_later_removal_revises_what_was_told() {
    let check = |argv, before, after| {
        let mut play = ended(argv, Errno::EACCES, Exit::Code(1));
        assert_eq!(said(&play).map(|(_, severity, _)| severity), Some(before), "{argv}");
        play.event(Change::Removed, 0, 7, "/web", MAKER);
        let (_, severity, rest) = said(&play).expect("told");
        assert!(severity == after && rest.starts_with("existed"), "{argv}: {rest}");
        assert_eq!(play.findings.iter().map(|finding| finding.revision).collect::<Vec<_>>(), [0, 1]);
    };
    check(DELETE, Severity::Fault, Severity::Fault);
    check("rmdir /web", Severity::Undetermined, Severity::Benign);
}

#[test]
fn an_endless_retry_is_one_finding_with_a_count() {
    let mut play = refused("kubelet", Errno::EACCES);
    for _ in 0..999 {
        play.pass(Duration::from_secs(2));
        play.rmdir(Errno::EACCES, "/web", REMOVER);
    }
    assert!(play.findings.len() <= 5, "{}", play.findings.len());
    let told = play.tracker.finish(BootTime(play.now));
    let last = told.last().or(play.findings.last()).map(|finding: &Finding| finding.attempt_count);
    assert_eq!(last, Some(1_000));
}

#[test]
fn what_is_not_there_is_not_refused() {
    // A read-only mount answers before it looks.
    let mut play = Play::new();
    play.exec(REMOVER, DELETE);
    play.rmdir(Errno::EROFS, "/web", REMOVER);
    play.exit(REMOVER, Exit::Code(1));
    settle(&mut play);
    assert_eq!(play.only().kind.as_str(), "missing-path-teardown");
    // Nor is it told of one whose removal was lost, if that shows.
    let mut play = refused(DELETE, Errno::EROFS);
    let path = "/sys/fs/cgroup/unified/web";
    play.attempt(Syscall::Openat, Errno::ENOENT, path, NamespaceId(1), REMOVER);
    play.exit(REMOVER, Exit::Code(1));
    settle(&mut play);
    assert!(play.findings.is_empty(), "{:?}", play.findings);
}

#[test]
fn other_calls_that_are_refused_are_no_removals() {
    let mut play = Play::new();
    play.event(Change::Created, 0, 7, "/web", MAKER);
    play.exec(REMOVER, DELETE);
    let path = "/sys/fs/cgroup/unified/web";
    play.attempt(Syscall::Mkdirat, Errno::EROFS, path, NamespaceId(1), REMOVER);
    play.attempt(Syscall::Openat, Errno::EACCES, path, NamespaceId(1), REMOVER);
    play.rmdir(Errno::EBUSY, "/web", REMOVER);
    play.exit(REMOVER, Exit::Code(1));
    settle(&mut play);
    assert!(play.findings.iter().all(|told| told.kind.as_str() != "denied-teardown"), "{:?}", play.findings);
}

#[test]
fn a_loss_leaves_uncertain_that_it_is_there() {
    let mut play = Play::new();
    play.event(Change::Created, 0, 7, "/web", MAKER);
    play.feed(Input::Lost(Lost::some(BootTime(0), Ring::Lifecycle, LossReason::RingFull, 1)));
    play.exec(REMOVER, DELETE);
    play.rmdir(Errno::EROFS, "/web", REMOVER);
    play.exit(REMOVER, Exit::Code(1));
    settle(&mut play);
    assert!(said(&play).is_some_and(|(.., rest)| rest.starts_with("may exist, but was refused")));
    assert_eq!(play.only().because, ["lifecycle events were lost meanwhile"]);
}

#[test]
fn a_new_cgroup_of_the_name_is_another_story() {
    let mut play = ended(DELETE, Errno::EACCES, Exit::Code(1));
    play.event(Change::Removed, 0, 7, "/web", MAKER);
    play.event(Change::Created, 0, 8, "/web", MAKER);
    play.exec(22, DELETE);
    play.rmdir(Errno::EACCES, "/web", 22);
    play.exit(22, Exit::Code(1));
    settle(&mut play);
    let ids: std::collections::HashSet<&str> = play.findings.iter().map(|finding| finding.id.as_str()).collect();
    assert_eq!((ids.len(), play.findings.len()), (2, 3));
}

#[test]
fn v1_hierarchies_of_one_teardown_are_one_finding() {
    let mut play = Play::new();
    for (hierarchy, id) in [(4, 7), (8, 9)] {
        play.event(Change::Created, hierarchy, id, "/web", MAKER);
    }
    play.exec(REMOVER, DELETE);
    for controller in ["memory", "pids"] {
        let path = format!("/sys/fs/cgroup/{controller}/web");
        play.attempt(Syscall::Unlinkat, Errno::EROFS, &path, NamespaceId(1), REMOVER);
    }
    play.exit(REMOVER, Exit::Code(1));
    settle(&mut play);
    assert_eq!((play.only().hierarchies, play.only().attempt_count), (2, 2));
}

#[test]
fn calls_from_before_its_life_are_not_about_it() {
    let path = "/sys/fs/cgroup/unified/web";
    let check = |syscall, errno| {
        let mut play = Play::new();
        play.exec(REMOVER, DELETE);
        play.attempt(syscall, errno, path, NamespaceId(1), REMOVER);
        play.event(Change::Created, 0, 7, "/web", REMOVER);
        let refused = play.rmdir(Errno::EACCES, "/web", REMOVER);
        play.exit(REMOVER, Exit::Code(1));
        settle(&mut play);
        let finding = play.only();
        assert_eq!((finding.severity, finding.certainty), (Severity::Fault, Certainty::Certain), "{finding:?}");
        assert_eq!((finding.attempt_count, finding.attempts[0].seq.0), (1, refused));
    };
    check(Syscall::Mkdirat, Errno::ENOENT);
    check(Syscall::Openat, Errno::ENOENT);
    // If its creation was not seen, an older call may have been about it, but none that came later missed it.
    let mut play = Play::new();
    play.exec(REMOVER, DELETE);
    play.attempt(Syscall::Openat, Errno::ENOENT, path, NamespaceId(1), REMOVER);
    play.event(Change::Existing, 0, 7, "/web", MAKER);
    play.rmdir(Errno::EACCES, "/web", REMOVER);
    play.exit(REMOVER, Exit::Code(1));
    settle(&mut play);
    assert_eq!(play.only().certainty, Certainty::Certain, "{:?}", play.only().because);
}

#[test]
fn on_v1_it_is_left_as_long_as_it_is_in_any_hierarchy() {
    let refused = || {
        let mut play = Play::new();
        for (hierarchy, id) in [(4, 7), (8, 9)] {
            play.event(Change::Created, hierarchy, id, "/web", MAKER);
        }
        play.exec(REMOVER, "rmdir /web");
        for controller in ["memory", "pids"] {
            let path = format!("/sys/fs/cgroup/{controller}/web");
            play.attempt(Syscall::Unlinkat, Errno::EACCES, &path, NamespaceId(1), REMOVER);
        }
        play
    };
    let mut play = refused();
    play.event(Change::Removed, 4, 7, "/web", MAKER);
    play.exit(REMOVER, Exit::Code(1));
    settle(&mut play);
    let finding = play.only();
    assert_eq!((finding.severity, finding.outcome.cgroup_left), (Severity::Undetermined, Some(true)));
    assert_eq!((finding.cgroup.hierarchy, finding.hierarchies), (HierarchyId(8), 2), "the one that is left");
    play.event(Change::Removed, 8, 9, "/web", MAKER);
    assert_eq!(said(&play).map(|(_, severity, _)| severity), Some(Severity::Benign));
    // Gone from both before it is judged: nothing to be told.
    let mut play = refused();
    play.event(Change::Removed, 4, 7, "/web", MAKER);
    play.event(Change::Removed, 8, 9, "/web", MAKER);
    play.exit(REMOVER, Exit::Code(1));
    settle(&mut play);
    assert_eq!(said(&play), None);
}

#[test]
fn a_teardown_that_still_runs_may_fail_of_it_whoever_removed_it() {
    for (exit, severity) in [(Exit::Code(1), Severity::Fault), (Exit::Code(0), Severity::Benign)] {
        let mut play = refused(DELETE, Errno::EACCES);
        play.event(Change::Removed, 0, 7, "/web", MAKER);
        play.pass(Duration::from_secs(3));
        let (_, first, rest) = said(&play).expect("told");
        assert!(first == Severity::Undetermined && rest.starts_with("existed") && rest.ends_with("still running"));
        play.exit(REMOVER, exit);
        settle(&mut play);
        assert_eq!(said(&play).map(|(_, severity, _)| severity), Some(severity));
    }
    // It tried again, with success.
    let mut play = refused(DELETE, Errno::EACCES);
    play.event(Change::Removed, 0, 7, "/web", REMOVER);
    play.pass(Duration::from_secs(3));
    assert_eq!(said(&play), None);
}

#[test]
fn who_removed_another_life_of_it_is_not_its_remover() {
    let mut play = refused(DELETE, Errno::EACCES);
    settle(&mut play);
    // Its own removal was lost; it was made again, and that one the same process did remove.
    play.event(Change::Created, 0, 8, "/web", MAKER);
    play.event(Change::Removed, 0, 8, "/web", REMOVER);
    play.event(Change::Created, 0, 7, "/other", MAKER);
    play.exit(REMOVER, Exit::Code(1));
    settle(&mut play);
    assert_eq!(said(&play).map(|(_, severity, _)| severity), Some(Severity::Fault));
    // One that the process had removed before the refused one was made.
    let mut play = Play::new();
    play.exec(REMOVER, "sh -c true");
    play.event(Change::Existing, 0, 7, "/web", MAKER);
    play.event(Change::Removed, 0, 7, "/web", REMOVER);
    play.event(Change::Existing, 0, 7, "/web", MAKER);
    play.rmdir(Errno::EACCES, "/web", REMOVER);
    play.exit(REMOVER, Exit::Code(1));
    settle(&mut play);
    rewalked(&mut play);
    assert_eq!(said(&play).map(|(_, severity, _)| severity), Some(Severity::Undetermined));
}

/// A walk that finds no cgroup.
fn rewalked(play: &mut Play) {
    let again = Some(WalkedAgain { began: BootTime(play.now), hierarchies: vec![HierarchyId(0)] });
    let about = About::Walked { cgroups: 0, unreadable: 0, again };
    play.feed(Input::Facts(Facts { at: BootTime(0), about }));
}

#[test]
fn what_a_walk_does_not_find_any_more_is_not_left() {
    let mut play = ended(DELETE, Errno::EACCES, Exit::Code(1));
    assert!(said(&play).is_some_and(|(.., rest)| rest.ends_with("left the cgroup behind")));
    play.feed(Input::Lost(Lost::some(BootTime(0), Ring::Lifecycle, LossReason::RingFull, 1)));
    rewalked(&mut play);
    assert!(said(&play).is_some_and(|(.., rest)| rest.starts_with("may have existed") && rest.ends_with("exited 1")));
    assert_eq!(play.findings.last().and_then(|told| told.outcome.cgroup_left), Some(false));
}

#[test]
fn whose_rights_they_were_is_told_by_the_real_user() {
    let roots = ended(DELETE, Errno::EACCES, Exit::Code(1));
    let mut own = Play::new();
    for mut input in ended(DELETE, Errno::EACCES, Exit::Code(1)).inputs {
        if let Input::Attempt(attempt) = &mut input {
            attempt.actor.uid = Some(1_000);
        }
        own.feed(input);
    }
    settle(&mut own);
    assert!(said(&own).is_some_and(|(.., rest)| rest.contains("run by user 1000, it has no right to (EACCES)")));
    assert!(said(&roots).is_some_and(|(.., rest)| rest.contains("run by root, it gave up rights")));
}

#[test]
fn what_came_to_nothing_weakens_no_other_claim() {
    let mut play = Play::new();
    play.event(Change::Created, 0, 5, "/a", MAKER);
    play.event(Change::Created, 0, 7, "/a/web", MAKER);
    play.exec(REMOVER, "rmdir /web");
    let path = "/sys/fs/cgroup/unified/a/web";
    play.attempt(Syscall::Mkdirat, Errno::EROFS, path, NamespaceId(1), REMOVER);
    play.rmdir(Errno::EROFS, "/a/web", REMOVER);
    play.event(Change::Removed, 0, 7, "/a/web", MAKER);
    play.exit(REMOVER, Exit::Code(1));
    settle(&mut play);
    assert_eq!(said(&play), None);
    play.exec(22, DELETE);
    play.rmdir(Errno::ENOENT, "/a/never", 22);
    play.exit(22, Exit::Code(1));
    settle(&mut play);
    assert_eq!((play.only().cause.word, play.only().certainty), ("never-created", Certainty::Certain));
}
