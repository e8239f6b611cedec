//! Cgroups that the kernel keeps after their removal, and those that it keeps for a while only.

use std::time::Duration;

use super::{MANY, PATIENCE};
use crate::findings::{Certainty, Finding, Severity};
use crate::hierarchy::Header;
use crate::input::{About, BootTime, CgroupId, Change, Facts, HierarchyId, Input, LossReason, Lost, Ring};
use crate::release::RmdirClass;
use crate::tracker::Tracker;
use crate::tracker::tests::{Play, header};

const REMOVER: u32 = 20;
const V2: u32 = 0;
const MEMORY: u32 = 4;
const PIDS: u32 = 8;
const OLD: &str = "6.18.44";
const NEW: &str = "7.1.13+deb13-cloud-amd64";

/// A host with that kernel, on which memory is v1's, cgroup2's or nobody's; with what is around the removed ones.
fn host(kernel: &str, memory: Option<u32>) -> Play {
    let mut header = Header { kernel: kernel.to_owned(), rmdir_class: RmdirClass::of(kernel), ..header(&[]) };
    for hierarchy in header.hierarchies.iter_mut().filter(|hierarchy| Some(hierarchy.id.0) == memory) {
        hierarchy.controllers = vec!["memory".to_owned()];
    }
    let mut play = Play::new();
    play.tracker = Tracker::new(&header);
    for hierarchy in [V2, MEMORY, PIDS] {
        play.event(Change::Existing, hierarchy, 1, "/", 1);
        play.event(Change::Existing, hierarchy, 2, "/pods", 1);
    }
    play
}

fn removed(play: &mut Play, hierarchy: u32, id: u64, path: &str) -> (u64, u64) {
    let made = play.event(Change::Created, hierarchy, id, path, REMOVER);
    (made, play.event(Change::Removed, hierarchy, id, path, REMOVER))
}

fn released(play: &mut Play, hierarchy: u32, id: u64, path: &str) {
    play.event(Change::Released, hierarchy, id, path, 2);
}

fn wait(play: &mut Play) {
    play.pass(PATIENCE);
    play.pass(Duration::from_secs(2));
}

fn said(finding: &Finding) -> (&str, Severity, &str) {
    assert_eq!(finding.kind.as_str(), "lingering-cgroup");
    (finding.cause.word, finding.severity, &finding.summary)
}

#[test]
fn what_the_kernel_keeps_is_told_after_ten_minutes_and_again_when_it_lets_go() {
    let mut play = host(NEW, Some(V2));
    let (made, gone) = removed(&mut play, V2, 7, "/pods/web");
    play.pass(PATIENCE - Duration::from_secs(1));
    assert!(play.findings.is_empty());
    play.pass(Duration::from_secs(1));
    play.pass(Duration::from_secs(2));
    let finding = play.only();
    let expected = "runc[20] removed cgroup /pods/web, which the kernel has not released 10 min later: what holds it \
                    is not known; a zombie, a cgroup namespace, a socket, a task that does not come to its end can";
    assert_eq!(said(finding), ("unknown", Severity::Undetermined, expected));
    assert_eq!((&finding.cgroup.path, finding.cgroup.id), (&"/pods/web".into(), Some(CgroupId(7))));
    assert_eq!((finding.certainty, finding.actor.as_ref()), (Certainty::Certain, None));
    assert_eq!((finding.outcome.cgroup_left, finding.is_routine()), (Some(false), false));
    assert_eq!(finding.evidence.iter().map(|seq| seq.0).collect::<Vec<_>>(), [made, gone]);
    released(&mut play, V2, 7, "/pods/web");
    let last = play.findings.last().expect("a revision");
    assert_eq!((last.revision, last.id == play.findings[0].id), (1, true));
    let expected = "runc[20] removed cgroup /pods/web, which the kernel released only after 10 min or more";
    assert_eq!(said(last), ("unknown", Severity::Benign, expected));
    play.pass(PATIENCE * 9);
    assert_eq!((play.findings.len(), play.tracker.next_due(), play.tracker.dying_cgroups()), (2, None, 0));
    assert!(!play.tracker.wants_tick(BootTime(play.now + 1_000_000_000_000)));
}

#[test]
fn nothing_is_told_of_what_is_released_in_time() {
    let mut play = host(NEW, Some(V2));
    for id in 10..40 {
        removed(&mut play, V2, id, &format!("/pods/{id}"));
        play.pass(PATIENCE / 2);
        released(&mut play, V2, id, &format!("/pods/{id}"));
    }
    wait(&mut play);
    assert!(play.findings.is_empty());
}

#[test]
fn what_pages_may_keep_is_ordinary_on_an_older_kernel_only() {
    let told = |kernel: &str, memory, hierarchy| {
        let mut play = host(kernel, memory);
        removed(&mut play, hierarchy, 7, "/pods/web");
        wait(&mut play);
        let finding = play.only();
        (finding.cause.word, finding.severity, finding.is_routine())
    };
    let (ordinary, exceptional) = (("pages", Severity::Benign, true), ("unknown", Severity::Undetermined, false));
    assert_eq!(told(OLD, Some(V2), V2), ordinary);
    assert_eq!(told(OLD, Some(MEMORY), MEMORY), ordinary);
    assert_eq!(told(OLD, Some(MEMORY), V2), exceptional, "no memory is charged there");
    assert_eq!(told(OLD, Some(MEMORY), PIDS), exceptional);
    assert_eq!(told(OLD, None, V2), exceptional, "the kernel was booted without it");
    assert_eq!(told(NEW, Some(V2), V2), exceptional);
    assert_eq!(told(NEW, Some(MEMORY), MEMORY), exceptional);
    assert_eq!(told("", Some(V2), V2), exceptional, "a kernel that says nothing is not called ordinary");
}

#[test]
fn all_that_linger_below_one_place_are_one_story_that_is_told_anew_at_ten_times_as_many() {
    let mut play = host(OLD, Some(V2));
    // Pods of their own, which are gone as well.
    for id in 100..250 {
        removed(&mut play, V2, id, &format!("/pods/{id}/app"));
        removed(&mut play, V2, id + 1_000, &format!("/pods/{id}"));
    }
    removed(&mut play, V2, 9_000, "/elsewhere");
    wait(&mut play);
    let told: Vec<(u32, &str)> = play.findings.iter().map(|told| (told.revision, told.summary.as_str())).collect();
    let why = |it: &str| format!("pages that are charged to {it} may keep {it}, which is ordinary on this kernel");
    let pods = format!(
        "the kernel has not released 300 cgroups that were removed below /pods, the first of them cgroup \
         /pods/100/app, which runc[20] removed 10 min before: {}",
        why("them")
    );
    let elsewhere =
        format!("runc[20] removed cgroup /elsewhere, which the kernel has not released 10 min later: {}", why("it"));
    assert_eq!(told, [(0, pods.as_str()), (0, elsewhere.as_str())]);
    assert_eq!(play.findings[0].evidence.len(), 4, "the first one's creation; the first, the tenth, the hundredth");
    // One after the other lingers.
    for id in 2_000..2_700 {
        removed(&mut play, V2, id, &format!("/pods/{id}"));
        play.pass(Duration::from_secs(1));
    }
    wait(&mut play);
    let last = play.findings.last().expect("a revision");
    assert!(play.findings.len() == 3 && last.revision == 0, "{:#?}", play.findings);
    assert!(last.summary.contains("1000 cgroups") && last.severity == Severity::Undetermined, "{}", last.summary);
    assert_eq!(MANY, 1_000);
}

#[test]
fn a_container_that_lingers_in_several_hierarchies_is_one_story() {
    let mut play = host(OLD, Some(MEMORY));
    for hierarchy in [MEMORY, PIDS] {
        removed(&mut play, hierarchy, 7, "/pods/web");
    }
    wait(&mut play);
    let finding = play.only();
    assert_eq!((finding.hierarchies, finding.cgroup.hierarchy), (2, HierarchyId(MEMORY)));
    let expected = "runc[20] removed cgroup /pods/web in 2 hierarchies, which the kernel has not released 10 min \
                    later: what holds it is not known; a zombie, a cgroup namespace can";
    assert_eq!(said(finding), ("unknown", Severity::Undetermined, expected), "pages do not keep it in pids");
    released(&mut play, MEMORY, 7, "/pods/web");
    assert_eq!(play.findings.len(), 1, "it is kept in the other");
    released(&mut play, PIDS, 7, "/pods/web");
    assert_eq!(play.findings.last().map(|last| last.severity), Some(Severity::Benign));
}

#[test]
fn what_lingers_in_two_hierarchies_for_reasons_of_its_own_is_two_stories() {
    let mut play = host(OLD, Some(MEMORY));
    removed(&mut play, MEMORY, 7, "/pods/web");
    removed(&mut play, V2, 8, "/pods/db");
    play.pass(Duration::from_secs(30));
    // The same name, and another life.
    removed(&mut play, PIDS, 9, "/pods/web");
    wait(&mut play);
    wait(&mut play);
    let told: Vec<(usize, &str, &str)> = play
        .findings
        .iter()
        .map(|told| (told.hierarchies, told.cause.word, told.cgroup.path.to_str().unwrap_or_default()))
        .collect();
    assert_eq!(told, [(1, "pages", "/pods/web"), (1, "unknown", "/pods/db"), (1, "unknown", "/pods/web")]);
}

#[test]
fn the_container_of_what_lingers_is_named() {
    let id = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";
    let mut play = host(NEW, Some(V2));
    removed(&mut play, V2, 7, &format!("/docker/{id}"));
    wait(&mut play);
    let finding = play.only();
    assert_eq!(finding.container.as_ref().map(|container| &container.id), Some(&id.into()));
    assert!(finding.summary.starts_with(&format!("runc[20] removed the cgroup of container {id}, which the kernel ")));
}

#[test]
fn when_the_first_is_released_the_others_are_told_without_it() {
    let mut play = host(NEW, Some(V2));
    for id in 10..30 {
        removed(&mut play, V2, id, &format!("/pods/{id}"));
    }
    wait(&mut play);
    released(&mut play, V2, 10, "/pods/10");
    assert_eq!(play.findings.len(), 1, "nothing to be told again for");
    for id in 11..28 {
        released(&mut play, V2, id, &format!("/pods/{id}"));
    }
    // Which makes it news.
    play.feed(Input::Lost(Lost::some(BootTime(0), Ring::Lifecycle, LossReason::RingFull, 1)));
    released(&mut play, V2, 28, "/pods/28");
    let last = play.findings.last().expect("a revision");
    let expected = "the kernel may not have released another cgroup that was removed below /pods: what holds";
    assert!(last.revision == 1 && last.summary.starts_with(expected), "{}", last.summary);
}

#[test]
fn a_release_that_may_have_been_lost_makes_the_claim_a_may() {
    let mut play = host(NEW, Some(V2));
    removed(&mut play, V2, 7, "/pods/web");
    play.feed(Input::Lost(Lost::some(BootTime(0), Ring::Lifecycle, LossReason::RingFull, 1)));
    wait(&mut play);
    let finding = play.only();
    assert_eq!(finding.certainty, Certainty::Degraded);
    assert!(finding.summary.contains("which the kernel may not have released 10 min later"), "{}", finding.summary);
}

#[test]
fn what_the_kernel_does_not_count_is_not_told_as_certain() {
    let told = |count: u64| {
        let mut play = host(NEW, Some(V2));
        for id in 10..13 {
            removed(&mut play, V2, id, &format!("/pods/{id}"));
        }
        play.pass(PATIENCE);
        play.feed(Input::Facts(Facts { at: BootTime(0), about: About::Dying { count } }));
        play.pass(Duration::from_secs(2));
        play.findings.pop().map(|finding| finding.certainty)
    };
    assert_eq!(
        [7, 3, 2, 0].map(told),
        [Some(Certainty::Certain), Some(Certainty::Certain), Some(Certainty::Degraded), None,]
    );
}

#[test]
fn where_no_release_is_seen_nothing_is_told() {
    let mut play = Play::with_probes(&["cgroup_release"]);
    removed(&mut play, V2, 7, "/web");
    wait(&mut play);
    assert!(play.findings.is_empty());
}

#[test]
fn one_tick_in_ten_minutes_looks_after_any_number_of_removals() {
    let mut play = host(NEW, Some(V2));
    removed(&mut play, V2, 9, "/pods/first");
    let first = play.now;
    for id in 10..5_000 {
        removed(&mut play, V2, id, "/pods/web");
        released(&mut play, V2, id - 1, if id == 10 { "/pods/first" } else { "/pods/web" });
    }
    let due = BootTime(first) + PATIENCE;
    assert!(play.tracker.wants_tick(due) && !play.tracker.wants_tick(BootTime(due.0 - 1)), "it waits for the oldest");
    play.pass(Duration::from_nanos(due.0 - play.now));
    assert!(play.findings.is_empty() && !play.tracker.wants_tick(BootTime(play.now)));
    // Of which one is left.
    wait(&mut play);
    assert_eq!((play.findings.len(), play.tracker.dying_cgroups()), (1, 1));
}
