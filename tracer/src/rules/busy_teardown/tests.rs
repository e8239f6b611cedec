//! Removals of what is in use, and what is told of them.

use std::time::Duration;

use crate::errno::Errno;
use crate::findings::{Certainty, Severity};
use crate::hierarchy::Header;
use crate::input::{
    About, BootTime, CgroupId, Change, Exit, Facts, HierarchyId, Input, LossReason, Lost, NamespaceId, Occupant,
    OccupantState, Occupants, Pid, Ring, Syscall,
};
use crate::release::RmdirClass;
use crate::tracker::Tracker;
use crate::tracker::tests::{Play, header};

const DELETE: &str = "runc delete web";
const MAKER: u32 = 20;
const REMOVER: u32 = 21;
/// Whoever is in the cgroup.
const INSIDE: u32 = 50;

fn play() -> Play {
    let mut play = Play::new();
    play.event(Change::Created, 0, 7, "/web", MAKER);
    play.event(Change::Populated, 0, 7, "/web", MAKER);
    play.exec(REMOVER, DELETE);
    play.pass(Duration::from_secs(1));
    play
}

fn occupant(pid: u32, state: OccupantState) -> Occupant {
    Occupant { pid: Pid(pid), comm: "sleep".into(), started: BootTime(1_010_000_000), state }
}

/// It was looked who is in a cgroup.
fn look(play: &mut Play, hierarchy: u32, id: u64, occupants: Vec<Occupant>, frozen: Option<bool>) {
    let (hierarchy, count) = (HierarchyId(hierarchy), occupants.len() as u64);
    let occupants = Occupants { hierarchy, id: CgroupId(id), count, occupants, frozen };
    play.feed(Input::Facts(Facts { at: BootTime(0), about: About::Occupants(occupants) }));
}

fn busy(play: &mut Play) {
    play.rmdir(Errno::EBUSY, "/web", REMOVER);
}

fn end(play: &mut Play, exit: Exit) {
    play.exit(REMOVER, exit);
    play.pass(time_for_others(exit));
}

/// How long it is left to others to make it good.
fn time_for_others(exit: Exit) -> Duration {
    Duration::from_millis(if exit == Exit::Code(0) { 20_100 } else { 1_100 })
}

/// Of the last thing that was told: the cause, the severity, and how the sentence goes on behind the cgroup.
fn said(play: &Play) -> Option<(&str, Severity, &str)> {
    let finding = play.findings.last()?;
    assert_eq!(finding.kind.as_str(), "busy-teardown");
    let (_, rest) = finding.summary.split_once(", which ").expect("which");
    Some((finding.cause.word, finding.severity, rest))
}

/// What is said of a runtime that is refused, exits 0 and leaves the cgroup, when that happened before its call, and
/// that behind it.
fn check(before: &dyn Fn(&mut Play), behind: &dyn Fn(&mut Play), cause: &str, why: &str) {
    let mut play = play();
    before(&mut play);
    busy(&mut play);
    behind(&mut play);
    end(&mut play, Exit::Code(0));
    let rest = format!("was in use: {why}; it exited 0 and left the cgroup behind");
    assert_eq!(said(&play), Some((cause, Severity::Fault, rest.as_str())));
    assert_eq!(play.only().certainty, Certainty::Certain, "{:?}", play.only().because);
    assert_eq!((play.only().outcome.cgroup_left, play.only().attempt_count), (Some(true), 1));
}

fn nothing(_: &mut Play) {}

const UNSEEN: &str = "by whom was not seen";

#[test]
fn who_was_found_in_it_was_in_the_way_if_they_were_there_at_the_call() {
    use OccupantState::{Exiting, Kernel, Killed, Live, Zombie};
    let of = |occupants: Vec<Occupant>, frozen, cause: &str, why: &str| {
        check(&nothing, &|play| look(play, 0, 7, occupants.clone(), frozen), cause, why);
    };
    let (sleep, more) = (occupant(INSIDE, Live), occupant(INSIDE + 1, Live));
    of(vec![sleep.clone()], Some(false), "live-processes", "sleep[50] was in it");
    of(vec![sleep.clone(), more.clone()], None, "live-processes", "sleep[50] and one more process were in it");
    of(vec![sleep.clone(), occupant(51, Zombie)], None, "live-processes", "sleep[50] was in it");
    of(vec![occupant(2, Kernel)], Some(false), "live-processes", "sleep[2] was in it");
    of(vec![occupant(REMOVER, Live)], Some(false), "live-processes", "sleep[21] itself was in it");
    of(vec![sleep.clone()], Some(true), "frozen", "sleep[50] was in it, and frozen");
    of(vec![occupant(INSIDE, Exiting)], Some(false), "exiting", "sleep[50] was in it, and about to be gone");
    of(vec![occupant(INSIDE, Zombie)], Some(false), "exiting", "sleep[50] was in it, and about to be gone");
    of(vec![occupant(INSIDE, Killed)], Some(false), "exiting", "sleep[50] was in it, killed and not gone yet");
    of(vec![occupant(INSIDE, Killed)], Some(true), "frozen", "sleep[50] was in it, and frozen");
    of(vec![occupant(INSIDE, Killed), more.clone()], None, "live-processes", "sleep[51] was in it");
    of(Vec::new(), Some(false), "unknown", UNSEEN);
    // Who began after the call, or so shortly before that it may be after.
    let late = |started| Occupant { started: BootTime(started), ..sleep.clone() };
    of(vec![late(2_100_000_000)], Some(false), "unknown", UNSEEN);
    // Not all of those on the list could be looked at.
    check(
        &nothing,
        &|play| {
            let occupants = vec![occupant(INSIDE, Exiting)];
            let occupants = Occupants { hierarchy: HierarchyId(0), id: CgroupId(7), count: 2, occupants, frozen: None };
            play.feed(Input::Facts(Facts { at: BootTime(0), about: About::Occupants(occupants) }));
        },
        "unknown",
        UNSEEN,
    );
    check(&nothing, &nothing, "unknown", UNSEEN);
}

#[test]
fn who_came_in_between_the_call_and_the_look_may_not_have_been_in_the_way() {
    let found = |play: &mut Play| look(play, 0, 7, vec![occupant(INSIDE, OccupantState::Live)], None);
    for change in [Change::Attached, Change::Populated] {
        let behind = |play: &mut Play| {
            play.event(change, 0, 7, "/web", MAKER);
            found(play);
        };
        check(&nothing, &behind, "unknown", UNSEEN);
        let before = |play: &mut Play| {
            play.event(change, 0, 7, "/web", MAKER);
        };
        check(&before, &found, "live-processes", "sleep[50] was in it");
    }
    // What was found in another life, or in another cgroup.
    check(&nothing, &|play| look(play, 0, 8, vec![occupant(INSIDE, OccupantState::Live)], None), "unknown", UNSEEN);
}

#[test]
fn what_was_empty_a_moment_later_was_about_to_be() {
    let emptied = |after: u64| {
        move |play: &mut Play| {
            play.pass(Duration::from_millis(after - 2));
            play.event(Change::Emptied, 0, 7, "/web", INSIDE);
        }
    };
    check(&nothing, &emptied(30), "exiting", "by whom was not seen, and it was empty 30.0 ms later");
    // Whoever was seen to live was in the way, however short it went on.
    let both = |play: &mut Play| {
        look(play, 0, 7, vec![occupant(INSIDE, OccupantState::Live)], None);
        play.pass(Duration::from_millis(27));
        play.event(Change::Emptied, 0, 7, "/web", INSIDE);
    };
    check(&nothing, &both, "live-processes", "sleep[50] was in it, and it was empty 30.0 ms later");
    check(&nothing, &emptied(200), "unknown", UNSEEN);
    let just = |play: &mut Play| {
        play.event(Change::Emptied, 0, 7, "/web", INSIDE);
    };
    check(&just, &nothing, "exiting", "by whom was not seen, and it was empty by then");
    // A mount point is busy, too.
    let before = |play: &mut Play| {
        play.event(Change::Emptied, 0, 7, "/web", INSIDE);
        play.pass(Duration::from_millis(20));
    };
    check(&before, &nothing, "unknown", UNSEEN);
}

#[test]
fn who_came_in_after_its_last_call_was_in_the_way_of_others_only() {
    let mut play = play();
    busy(&mut play);
    play.event(Change::Attached, 0, 7, "/web", MAKER);
    play.exec(30, "rmdir /sys/fs/cgroup/web");
    play.rmdir(Errno::EBUSY, "/web", 30);
    look(&mut play, 0, 7, vec![occupant(INSIDE, OccupantState::Live)], None);
    play.exit(30, Exit::Code(1));
    end(&mut play, Exit::Code(0));
    assert_eq!(play.only().pid(), Pid(REMOVER));
    assert_eq!(said(&play).map(|(cause, ..)| cause), Some("unknown"));
}

#[test]
fn what_was_told_of_who_was_in_the_way_stays_told_when_it_is_forgotten() {
    let check = |before: &dyn Fn(&mut Play), behind: &dyn Fn(&mut Play), cause: &str, why: &str| {
        let mut play = play();
        before(&mut play);
        busy(&mut play);
        behind(&mut play);
        end(&mut play, Exit::Code(0));
        // Each removal of a path makes the one before forgotten.
        for id in [8, 9] {
            play.event(Change::Created, 0, id, "/web/a", MAKER);
            play.event(Change::Removed, 0, id, "/web/a", MAKER);
        }
        play.event(Change::Removed, 0, 7, "/web", MAKER);
        let rest = format!("was in use: {why}; it coped and exited 0");
        assert_eq!(said(&play), Some((cause, Severity::Benign, rest.as_str())));
    };
    let child = |play: &mut Play| {
        play.event(Change::Created, 0, 8, "/web/a", MAKER);
    };
    check(&child, &nothing, "child-cgroups", "another cgroup was in it");
    let emptied = |play: &mut Play| {
        play.event(Change::Emptied, 0, 7, "/web", INSIDE);
    };
    check(&nothing, &emptied, "exiting", "those in it were about to be gone");
    let found = |play: &mut Play| look(play, 0, 7, vec![occupant(INSIDE, OccupantState::Live)], None);
    check(&nothing, &found, "live-processes", "sleep[50] was in it");
    check(&nothing, &nothing, "unknown", UNSEEN);
}

#[test]
fn cgroups_in_it_were_in_the_way_if_they_were_there_at_the_call() {
    let made = |id: u64, path: &'static str| {
        move |play: &mut Play| {
            play.event(Change::Created, 0, id, path, MAKER);
        }
    };
    check(&made(8, "/web/a"), &nothing, "child-cgroups", "cgroup /web/a was in it");
    let two = |play: &mut Play| {
        made(8, "/web/a")(play);
        made(9, "/web/b")(play);
        made(10, "/web/b/c")(play);
    };
    check(&two, &nothing, "child-cgroups", "cgroup /web/a and one more were in it");
    let gone = |play: &mut Play| {
        play.event(Change::Removed, 0, 8, "/web/a", MAKER);
    };
    check(&made(8, "/web/a"), &gone, "child-cgroups", "cgroup /web/a was in it");
    let gone_before = |play: &mut Play| {
        made(8, "/web/a")(play);
        gone(play);
    };
    check(&gone_before, &nothing, "unknown", UNSEEN);
    check(&nothing, &made(8, "/web/a"), "unknown", UNSEEN);
    check(&made(8, "/webs"), &nothing, "unknown", UNSEEN);
    // Of both the one that does not go with the removal of the other.
    let found = |play: &mut Play| look(play, 0, 7, vec![occupant(INSIDE, OccupantState::Live)], None);
    check(&made(8, "/web/a"), &found, "live-processes", "sleep[50] was in it");
    // Not those in it were the last.
    let emptied = |play: &mut Play| {
        play.event(Change::Emptied, 0, 7, "/web", INSIDE);
    };
    check(&made(8, "/web/a"), &emptied, "child-cgroups", "cgroup /web/a was in it");
}

#[test]
fn whom_it_hurts_is_told_by_what_a_process_was_there_for() {
    let told = |argv: &str, path: &str, exit| {
        let mut play = Play::new();
        play.event(Change::Created, 0, 7, path, MAKER);
        play.exec(REMOVER, argv);
        play.rmdir(Errno::EBUSY, path, REMOVER);
        end(&mut play, exit);
        said(&play).map(|(_, severity, rest)| (severity, rest.to_owned()))
    };
    let check = |argv: &str, path: &str, exit, severity, end: &str| {
        assert_eq!(told(argv, path, exit), Some((severity, format!("was in use: {UNSEEN}; {end}"))), "{argv} {path}");
    };
    use Severity::{Benign, Fault, Undetermined};
    let code = Exit::Code;
    check(DELETE, "/web", code(0), Fault, "it exited 0 and left the cgroup behind");
    check(DELETE, "/web", code(1), Fault, "it exited 1 and left the cgroup behind");
    check(DELETE, "/web", Exit::Signal(9), Undetermined, "it was killed by signal 9");
    check("rmdir /web", "/web", code(1), Undetermined, "it exited 1");
    check("sh -c true", "/web", code(1), Undetermined, "it exited 1");
    // What was wanted did not come about.
    assert_eq!(told("sh -c true", "/web", code(0)).map(|(severity, _)| severity), Some(Undetermined));
    check("runc run web", "/web", code(1), Undetermined, "it exited 1");
    // systemd's own, which a script tries to remove.
    for unit in ["/app.slice", "/app.service", "/app.scope"] {
        check("rmdir x", unit, code(1), Benign, "it exited 1");
        check(DELETE, unit, code(1), Fault, "it exited 1 and left the cgroup behind");
        // It removes them when they are empty.
        check(DELETE, unit, code(0), Undetermined, "it exited 0");
    }
}

#[test]
fn who_ran_a_container_in_the_foreground_and_leaves_its_cgroup_has_not_torn_it_down() {
    use Severity::{Benign, Fault};
    for (argv, exit, severity) in [
        ("runc run web", Exit::Code(0), Fault),
        ("runc run web", Exit::Code(3), Fault),
        ("runc create web", Exit::Code(1), Fault),
        // The container runs in it.
        ("runc create web", Exit::Code(0), Benign),
        ("crun run --detach web", Exit::Code(0), Benign),
    ] {
        let mut play = Play::new();
        play.exec_at(1, REMOVER, argv);
        play.event(Change::Created, 0, 7, "/web", REMOVER);
        busy(&mut play);
        end(&mut play, exit);
        assert_eq!(said(&play).map(|(_, told, _)| told), Some(severity), "{argv} {exit:?}");
    }
}

#[test]
fn what_is_made_good_in_time_is_not_told() {
    let removed = |by: u32| {
        move |play: &mut Play| {
            play.event(Change::Removed, 0, 7, "/web", by);
        }
    };
    let check = |what: &str, goes_on: &dyn Fn(&mut Play)| {
        let mut play = play();
        busy(&mut play);
        goes_on(&mut play);
        play.pass(Duration::from_secs(30));
        assert!(play.findings.is_empty(), "{what}: {:#?}", play.findings);
        assert_eq!(play.tracker.next_due(), None, "{what}");
    };
    check("it tries again at once", &|play| {
        removed(REMOVER)(play);
        play.exit(REMOVER, Exit::Code(0));
    });
    check("a ladder of five seconds", &|play| {
        for _ in 0..500 {
            play.pass(Duration::from_millis(9));
            busy(play);
        }
        removed(REMOVER)(play);
        play.exit(REMOVER, Exit::Code(0));
    });
    check("podman's of ten seconds", &|play| {
        for _ in 0..1_000 {
            play.pass(Duration::from_millis(9));
            busy(play);
        }
        removed(REMOVER)(play);
        play.exit(REMOVER, Exit::Code(0));
    });
    check("whoever called it removes it", &|play| {
        play.exit(REMOVER, Exit::Code(1));
        play.pass(Duration::from_millis(800));
        removed(30)(play);
    });
    check("another one goes on where it ended", &|play| {
        play.exit(REMOVER, Exit::Code(1));
        play.exec(30, "podman rm web");
        for _ in 0..5 {
            play.pass(Duration::from_millis(900));
            play.rmdir(Errno::EBUSY, "/web", 30);
        }
        removed(30)(play);
    });
    check("kubelet's next pass", &|play| {
        play.exit(REMOVER, Exit::Code(0));
        play.pass(Duration::from_secs(3));
        removed(30)(play);
    });
    check("systemd, when the last one has left it", &|play| {
        play.exit(REMOVER, Exit::Code(0));
        play.pass(Duration::from_secs(15));
        play.event(Change::Emptied, 0, 7, "/web", INSIDE);
        removed(1)(play);
    });
    check("the ladders of a runtime and of the engine that called it", &|play| {
        for _ in 0..500 {
            play.pass(Duration::from_millis(9));
            busy(play);
        }
        play.exit(REMOVER, Exit::Code(1));
        play.exec(30, "podman container cleanup web");
        for _ in 0..900 {
            play.pass(Duration::from_millis(9));
            play.rmdir(Errno::EBUSY, "/web", 30);
        }
        removed(30)(play);
    });
    check("a step of a ladder of half a second", &|play| {
        play.pass(Duration::from_millis(512));
        removed(REMOVER)(play);
    });
}

#[test]
fn who_gives_up_is_told_of_soon_and_who_goes_on_when_the_longest_ladder_is_over() {
    let mut gave_up = play();
    busy(&mut gave_up);
    gave_up.pass(Duration::from_millis(1_900));
    assert_eq!(said(&gave_up), None);
    gave_up.pass(Duration::from_millis(100));
    assert_eq!(said(&gave_up).map(|(_, severity, _)| severity), Some(Severity::Undetermined));
    let mut goes_on = play();
    let mut tries = 0;
    while said(&goes_on).is_none() {
        busy(&mut goes_on);
        goes_on.pass(Duration::from_millis(99));
        tries += 1;
    }
    assert!((198..=204).contains(&tries), "{tries}");
    let rest = format!("was in use: {UNSEEN}; after {} failed calls it is still running", goes_on.only().attempt_count);
    assert_eq!(said(&goes_on), Some(("unknown", Severity::Undetermined, rest.as_str())));
}

#[test]
fn where_tracing_ends_before_it_could_be_made_good_nothing_is_called_a_fault() {
    for exit in [Exit::Code(0), Exit::Code(1)] {
        let mut play = play();
        busy(&mut play);
        play.exit(REMOVER, exit);
        play.pass(Duration::from_millis(50));
        assert!(play.findings.is_empty());
        play.findings = play.tracker.finish(BootTime(play.now));
        assert_eq!(said(&play).map(|(_, severity, _)| severity), Some(Severity::Undetermined));
        assert_eq!(play.only().because, ["tracing ended before it could be made good"]);
    }
    // Who still had time had it.
    let mut play = play();
    busy(&mut play);
    end(&mut play, Exit::Code(1));
    assert_eq!(play.only().severity, Severity::Fault);
    play.findings.extend(play.tracker.finish(BootTime(play.now)));
    assert_eq!(play.only().severity, Severity::Fault);
}

#[test]
fn what_another_container_was_put_into_may_be_left_to_that() {
    for (argv, severity) in [("runc create other", Severity::Undetermined), ("runc create web", Severity::Fault)] {
        let mut play = Play::new();
        play.exec(MAKER, "runc create web");
        play.event(Change::Created, 0, 7, "/web", MAKER);
        play.exec(30, argv);
        play.event(Change::Attached, 0, 7, "/web", 30);
        play.exec(REMOVER, DELETE);
        busy(&mut play);
        end(&mut play, Exit::Code(0));
        assert_eq!(said(&play).map(|(_, told, _)| told), Some(severity), "{argv}");
    }
}

/// What is said where it was looked into the cgroup after the call.
fn on(class: Option<RmdirClass>, occupants: Vec<Occupant>) -> (&'static str, String) {
    let mut play = Play::of(Tracker::new(&Header { rmdir_class: class, ..header(&[]) }));
    play.event(Change::Created, 0, 7, "/web", MAKER);
    play.event(Change::Populated, 0, 7, "/web", MAKER);
    play.exec(REMOVER, DELETE);
    play.pass(Duration::from_secs(1));
    busy(&mut play);
    look(&mut play, 0, 7, occupants, None);
    end(&mut play, Exit::Code(1));
    let rest = said(&play).map(|(.., rest)| rest.to_owned()).expect("it is told");
    let why = rest.strip_prefix("was in use: ").and_then(|rest| rest.split_once("; it exited 1")).expect("why");
    (play.only().cause.word, why.0.to_owned())
}

#[test]
fn what_those_on_their_way_out_do_to_a_removal_depends_on_the_kernel() {
    use RmdirClass::{Defers, Refuses, RefusesUnseen, Waits};
    let exiting = || vec![occupant(INSIDE, OccupantState::Exiting)];
    let gone = "sleep[50] was in it, and about to be gone";
    for (class, here) in [
        (None, ""),
        (Some(Refuses), " (on this kernel rmdir fails with EBUSY until the last exiting task has left)"),
        (
            Some(Waits),
            " (on this kernel rmdir waits until the last exiting task has left: somebody still lived at the call)",
        ),
    ] {
        assert_eq!(on(class, exiting()), ("exiting", format!("{gone}{here}")));
    }
    // A list that is empty where the cgroup is in use.
    for class in [None, Some(Refuses), Some(Waits), Some(Defers)] {
        assert_eq!(on(class, Vec::new()), ("unknown", UNSEEN.to_owned()), "{class:?}");
    }
    let unlisted = "nobody was listed in it, and those in it were about to be gone (on this kernel rmdir fails with \
                    EBUSY until the last exiting task has left; none is listed)";
    assert_eq!(on(Some(RefusesUnseen), Vec::new()), ("exiting", unlisted.to_owned()));
}

#[test]
fn an_endless_retry_is_one_finding_with_a_count() {
    let mut play = play();
    for _ in 0..1_000 {
        busy(&mut play);
        play.pass(Duration::from_millis(1_500));
    }
    assert!(play.findings.len() <= 5, "{}", play.findings.len());
    let ids: std::collections::HashSet<&str> = play.findings.iter().map(|finding| finding.id.as_str()).collect();
    assert_eq!(ids.len(), 1);
    let told = play.tracker.finish(BootTime(play.now));
    let last = told.last().or(play.findings.last()).map(|finding| finding.attempt_count);
    assert_eq!(last, Some(1_000));
}

#[test]
fn who_is_in_the_way_at_each_try_is_no_news_once_somebody_was_named() {
    let mut play = play();
    for pid in 100..150 {
        play.exec(pid, "rmdir /sys/fs/cgroup/web");
        play.rmdir(Errno::EBUSY, "/web", pid);
        let state = if pid % 2 == 0 { OccupantState::Live } else { OccupantState::Exiting };
        look(&mut play, 0, 7, vec![occupant(INSIDE, state)], None);
        play.exit(pid, Exit::Code(1));
        play.pass(Duration::from_secs(3));
    }
    assert!(play.findings.len() <= 4, "{:#?}", play.findings);
}

#[test]
fn of_systemd_which_comes_back_nothing_is_told() {
    for ends in [true, false] {
        let mut play = play();
        play.rmdir(Errno::EBUSY, "/web", 1);
        play.pass(Duration::from_secs(10));
        if ends {
            play.event(Change::Removed, 0, 7, "/web", 1);
        }
        play.pass(Duration::from_secs(30));
        assert!(play.findings.is_empty(), "{:#?}", play.findings);
    }
    // But of whoever left it to systemd's second try.
    let mut play = play();
    busy(&mut play);
    play.rmdir(Errno::EBUSY, "/web", 1);
    end(&mut play, Exit::Code(0));
    assert_eq!(said(&play).map(|(_, severity, _)| severity), Some(Severity::Fault));
    assert_eq!(play.only().pid(), Pid(REMOVER));
}

#[test]
fn a_later_removal_revises_what_was_told() {
    let check = |exit, after| {
        let mut play = play();
        busy(&mut play);
        end(&mut play, exit);
        play.event(Change::Removed, 0, 7, "/web", MAKER);
        let revisions: Vec<(u32, Severity)> = play.findings.iter().map(|told| (told.revision, told.severity)).collect();
        assert_eq!(revisions, [(0, Severity::Fault), (1, after)]);
        assert_eq!(play.findings[1].outcome.cgroup_left, Some(false));
    };
    check(Exit::Code(0), Severity::Benign);
    check(Exit::Code(1), Severity::Fault);
}

#[test]
fn who_has_the_number_of_one_that_was_refused_is_another_process() {
    let mut play = play();
    busy(&mut play);
    end(&mut play, Exit::Code(1));
    play.exec(REMOVER, "rmdir /sys/fs/cgroup/web");
    play.event(Change::Removed, 0, 7, "/web", REMOVER);
    assert_eq!(said(&play).map(|(_, severity, _)| severity), Some(Severity::Fault));
    // The other way round, it is refused itself.
    let mut again = self::play();
    busy(&mut again);
    again.exit(REMOVER, Exit::Code(0));
    again.exec(REMOVER, "rmdir /sys/fs/cgroup/web");
    busy(&mut again);
    end(&mut again, Exit::Code(1));
    again.pass(Duration::from_secs(20));
    let rest = format!("was in use: {UNSEEN}; it exited 0 and left the cgroup behind");
    assert_eq!(said(&again), Some(("unknown", Severity::Fault, rest.as_str())));
    assert_eq!(again.only().attempt_count, 2);
}

#[test]
fn what_is_not_known_to_be_there_and_the_root_of_a_hierarchy_are_not_told() {
    let mut play = Play::new();
    play.exec(REMOVER, DELETE);
    busy(&mut play);
    end(&mut play, Exit::Code(1));
    assert!(play.findings.is_empty(), "{:#?}", play.findings);
    // Its removal was lost: a later call shows that.
    let mut play = self::play();
    busy(&mut play);
    play.rmdir(Errno::ENOENT, "/web", REMOVER);
    end(&mut play, Exit::Code(1));
    assert!(play.findings.iter().all(|told| told.kind.as_str() != "busy-teardown"), "{:#?}", play.findings);
}

#[test]
fn a_loss_leaves_uncertain_that_it_was_in_use() {
    let mut play = play();
    play.feed(Input::Lost(Lost::some(BootTime(0), Ring::Lifecycle, LossReason::RingFull, 1)));
    busy(&mut play);
    end(&mut play, Exit::Code(1));
    assert!(said(&play).is_some_and(|(.., rest)| rest.starts_with("may have been in use: ")));
    assert_eq!(play.only().because, ["lifecycle events were lost meanwhile"]);
}

#[test]
fn v1_hierarchies_of_one_teardown_are_one_finding() {
    let mut play = Play::new();
    for (hierarchy, id) in [(4, 7), (8, 9)] {
        play.event(Change::Created, hierarchy, id, "/web", MAKER);
    }
    play.exec(REMOVER, DELETE);
    play.pass(Duration::from_secs(1));
    for _ in 0..5 {
        for controller in ["memory", "pids"] {
            let path = format!("/sys/fs/cgroup/{controller}/web");
            play.attempt(Syscall::Unlinkat, Errno::EBUSY, &path, NamespaceId(1), REMOVER);
        }
    }
    // It was looked into one of them alone.
    look(&mut play, 8, 9, vec![occupant(INSIDE, OccupantState::Live)], Some(true));
    end(&mut play, Exit::Code(1));
    assert_eq!((play.only().hierarchies, play.only().attempt_count), (2, 10));
    let rest =
        "was in use: sleep[50] was in it, and frozen; after 10 failed calls it exited 1 and left the cgroup behind";
    assert_eq!(said(&play), Some(("frozen", Severity::Fault, rest)));
}

#[test]
fn a_cgroup_and_the_one_in_it_are_two_findings_in_however_many_hierarchies() {
    // A runtime that sits in a cgroup itself may make others below that one.
    for around in ["", "/runtime"] {
        let mut play = Play::new();
        for (hierarchy, id, around) in [(4, 7, ""), (8, 9, around)] {
            play.event(Change::Created, hierarchy, id, &format!("{around}/web"), MAKER);
            play.event(Change::Created, hierarchy, id + 10, &format!("{around}/web/in"), MAKER);
        }
        play.exec(REMOVER, DELETE);
        for (controller, around) in [("memory", ""), ("pids", around)] {
            for path in ["/web", "/web/in"] {
                let path = format!("/sys/fs/cgroup/{controller}{around}{path}");
                play.attempt(Syscall::Unlinkat, Errno::EBUSY, &path, NamespaceId(1), REMOVER);
            }
        }
        end(&mut play, Exit::Code(0));
        let findings = play.findings.iter();
        let told: Vec<(&str, usize, u64)> =
            findings.map(|finding| (finding.cause.word, finding.hierarchies, finding.attempt_count)).collect();
        assert_eq!(told, [("child-cgroups", 2, 2), ("unknown", 2, 2)], "{around:?}");
    }
}

#[test]
fn what_is_left_in_one_hierarchy_of_v1_is_left() {
    let mut play = Play::new();
    for (hierarchy, id) in [(4, 7), (8, 9)] {
        play.event(Change::Created, hierarchy, id, "/web", MAKER);
    }
    play.exec(REMOVER, DELETE);
    for controller in ["memory", "pids"] {
        let path = format!("/sys/fs/cgroup/{controller}/web");
        play.attempt(Syscall::Unlinkat, Errno::EBUSY, &path, NamespaceId(1), REMOVER);
    }
    // It was refused there first, and is gone from there.
    play.event(Change::Removed, 4, 7, "/web", REMOVER);
    end(&mut play, Exit::Code(0));
    assert_eq!(said(&play).map(|(_, severity, _)| severity), Some(Severity::Fault));
}

#[test]
fn a_look_before_its_creation_does_not_say_that_it_is_gone() {
    let mut play = Play::new();
    let path = "/sys/fs/cgroup/unified/web";
    play.attempt(Syscall::Openat, Errno::ENOENT, path, NamespaceId(1), MAKER);
    play.event(Change::Created, 0, 7, "/web", MAKER);
    play.exec(REMOVER, DELETE);
    busy(&mut play);
    end(&mut play, Exit::Code(0));
    assert_eq!(said(&play).map(|(_, severity, _)| severity), Some(Severity::Fault));
    assert_eq!(play.only().attempt_count, 1);
}

#[test]
fn the_line_that_says_who_was_found_is_evidence() {
    let mut play = play();
    busy(&mut play);
    look(&mut play, 0, 7, vec![occupant(INSIDE, OccupantState::Live)], None);
    let fact = play.inputs.len() as u64;
    end(&mut play, Exit::Code(1));
    assert!(play.only().evidence.iter().any(|seq| seq.0 == fact), "{:?}", play.only().evidence);
}
