//! Rules that begin with events and with deadlines: what the engine promises them.

use std::time::Duration;

use super::*;
use crate::errno::Errno;
use crate::findings::{Cause, Explanation, Finding, Severity};
use crate::input::{About, BootTime, CgroupId, Change, Exit, Facts, HierarchyId, Input, Tick, WalkedAgain};
use crate::input::{NamespaceId, Syscall};
use crate::rules::{Judgement, OnDeadline, OnEvent, Rule, Rules, Weighed, wording};
use crate::state::{Course, SETTLES, Story, Told};
use crate::tracker::tests::Play;

const NEVER: Cause = Cause { word: "never-used", meaning: "m", advice: "a", is_routine: false };
/// How long a cgroup may be there.
const SPAN: Duration = Duration::from_secs(30);

const fn explanation(word: &'static str) -> Explanation {
    Explanation {
        word,
        claim: "c",
        evidence: &["e"],
        confirm: &[],
        causes: &[NEVER],
        severity: &["s"],
        false_positives: &[],
    }
}

const COURSE: Course = Course {
    joins: |story, moment, case, _| story.member_at(moment.place()).is_some_and(|own| own.is_same_life(case)),
    gathers: |_, _| false,
    patience: Duration::ZERO,
    settles: SETTLES,
    waits: |_| None,
    follows: &[Change::Removed],
    is_news: |told: &Told, finding: &Finding| told.severity != finding.severity,
};

fn is_left(story: &Story, world: &World) -> bool {
    let member = story.member_of(None);
    let left = member.existing.and_then(|existing| world.cgroups.is_left(member.place.hierarchy, &existing));
    left != Some(false)
}

fn case_of((hierarchy, id): Key, world: &World) -> Option<Box<Case>> {
    let live = world.cgroups.get(hierarchy, id)?;
    let existing = Some(live.as_existing(id));
    Some(Box::new(Case { existing, container: live.container.clone(), ..Case::default() }))
}

/// A cgroup that is still there so long after it was made.
const OLD: Rule = Rule {
    explanation: explanation("old-cgroup"),
    known: &[],
    call: None,
    failed_start: None,
    stuck: None,
    event: Some(OnEvent { of: &[Change::Created], begins: |_, _| Some(Beginning::Deadline(SPAN)), written: None }),
    deadline: Some(OnDeadline {
        while_dying: None,
        after_runtime: None,
        withdrawn_by: &[Change::Removed],
        begins: |deadline, world| Some(Beginning::Story(case_of(deadline.cgroup, world)?, None)),
    }),
    course: COURSE,
    hurt: |_, story, world| if is_left(story, world) { Severity::Fault } else { Severity::Benign },
    judge: told,
};

/// A cgroup that somebody made, who then ended: nothing to be told of one that is gone by then.
const MADE: Rule = Rule {
    explanation: explanation("made-cgroup"),
    known: &[],
    call: None,
    failed_start: None,
    stuck: None,
    event: Some(OnEvent {
        of: &[Change::Created],
        begins: |event, world| {
            let case = case_of((event.cgroup.hierarchy, event.cgroup.id?), world)?;
            Some(Beginning::Story(case, event.actor.clone()))
        },
        written: None,
    }),
    deadline: None,
    course: Course { patience: Duration::from_secs(2), ..COURSE },
    hurt: |maker, _, _| match maker.and_then(|maker| maker.exit()) {
        Some(Exit::Code(0)) => Severity::Benign,
        Some(_) => Severity::Fault,
        None => Severity::Undetermined,
    },
    judge: |weighed, world| is_left(weighed.story, world).then(|| told(weighed, world)).flatten(),
};

/// The same, of which nothing is said before five seconds are over.
const PATIENT: Rule = Rule {
    explanation: explanation("patient-cgroup"),
    course: Course { waits: |story| Some(story.began + Duration::from_secs(5)), ..COURSE },
    hurt: |_, _, _| Severity::Fault,
    ..MADE
};

fn told(weighed: &Weighed, world: &World) -> Option<Judgement> {
    let summary = if is_left(weighed.story, world) { "it is there" } else { "it was there" };
    Some(Judgement { cause: NEVER, because: Vec::new(), summary: summary.to_owned(), rival: None })
}

fn play(list: &'static [&'static Rule]) -> Play {
    Play::with_rules(Rules::new(list))
}

const ONLY_OLD: &[&Rule] = &[&OLD];
const ONLY_MADE: &[&Rule] = &[&MADE];
const ONLY_VERY_OLD: &[&Rule] = &[&VERY_OLD];
const ONLY_HASTY: &[&Rule] = &[&HASTY];
const ONLY_LOST: &[&Rule] = &[&LOST];
const ONLY_PATIENT: &[&Rule] = &[&PATIENT];

/// What was told, in order: the summary, the revision, the severity.
fn said(play: &Play) -> Vec<(&str, u32, Severity)> {
    play.findings.iter().map(|finding| (finding.summary.as_str(), finding.revision, finding.severity)).collect()
}

#[test]
fn what_is_still_so_is_told_at_its_deadline_and_not_before() {
    let mut play = play(ONLY_OLD);
    let made = play.event(Change::Created, 0, 7, "/a", 20);
    let began = play.now;
    assert_eq!(play.tracker.next_due(), Some(BootTime(began) + SPAN));
    play.pass(SPAN - Duration::from_millis(10));
    assert!(play.findings.is_empty());
    play.pass(Duration::from_millis(10));
    assert_eq!(said(&play), [("it is there", 0, Severity::Fault)]);
    let finding = &play.findings[0];
    assert_eq!(
        (finding.kind.as_str(), finding.at, finding.evidence.clone()),
        ("old-cgroup", BootTime(began), vec![Seq(made)])
    );
    assert_eq!((finding.cgroup.id, finding.outcome.cgroup_left), (Some(CgroupId(7)), Some(true)));
    assert_eq!((finding.actor.clone(), finding.attempt_count, play.tracker.next_due()), (None, 0, None));
    // Time alone is no news.
    play.pass(SPAN * 10);
    play.tracker.finish(BootTime(play.now));
    assert_eq!(play.findings.len(), 1);
}

#[test]
fn what_is_over_before_its_deadline_is_not_told() {
    let mut play = play(ONLY_OLD);
    play.event(Change::Created, 0, 7, "/a", 20);
    play.event(Change::Removed, 0, 7, "/a", 20);
    assert_eq!(play.tracker.next_due(), None);
    play.pass(SPAN * 2);
    assert!(play.findings.is_empty());
}

#[test]
fn a_later_event_revises_what_was_told() {
    let mut play = play(ONLY_OLD);
    play.event(Change::Created, 0, 7, "/a", 20);
    play.pass(SPAN);
    play.event(Change::Removed, 0, 7, "/a", 20);
    assert_eq!(said(&play), [("it is there", 0, Severity::Fault), ("it was there", 1, Severity::Benign)]);
    assert_eq!(play.findings[0].id, play.findings[1].id);
}

#[test]
fn a_creation_with_the_same_id_is_the_end_of_what_was_there() {
    let mut play = play(ONLY_OLD);
    play.event(Change::Created, 0, 7, "/a", 20);
    play.pass(SPAN);
    // Its removal was lost.
    play.event(Change::Created, 0, 7, "/b", 20);
    assert_eq!(said(&play), [("it is there", 0, Severity::Fault), ("it was there", 1, Severity::Benign)]);
    play.pass(SPAN);
    assert_eq!((play.findings.len(), play.findings[2].cgroup.path.to_string()), (3, "/b".to_owned()));
}

#[test]
fn what_a_walk_or_a_snapshot_says_again_begins_nothing_twice() {
    let mut play = play(ONLY_OLD);
    play.event(Change::Created, 0, 7, "/a", 20);
    play.pass(SPAN / 2);
    let due = play.tracker.next_due();
    let snapshot = play.tracker.snapshot();
    assert!(snapshot.iter().any(|input| matches!(input, Input::Event(event) if event.change == Change::Existing)));
    for input in snapshot {
        play.feed(input);
    }
    assert_eq!(play.tracker.next_due(), due);
    play.pass(SPAN);
    assert_eq!(play.findings.len(), 1);
    // A part that begins with the snapshot says nothing of when it was made: it is no creation.
    let mut next = self::play(ONLY_OLD);
    for input in play.tracker.snapshot() {
        next.feed(input);
    }
    next.pass(SPAN * 2);
    assert!(next.findings.is_empty());
}

#[test]
fn deadlines_are_bounded_and_those_that_make_room_are_counted() {
    let mut play = play(ONLY_OLD);
    for id in 0..20_000 {
        play.event(Change::Created, 0, 100 + id, &format!("/{id}"), 20);
    }
    let evicted = play.tracker.evicted();
    assert!(evicted > 0 && evicted < 20_000, "{evicted}");
    play.pass(SPAN * 2);
    assert_eq!(play.findings.len() as u64 + evicted, 20_000, "the last ones are told");
    assert_eq!(play.tracker.next_due(), None);
}

/// A cgroup that is still there long after it was made, longer than stories are kept; of that nothing is told at once.
const VERY_OLD: Rule = Rule {
    explanation: explanation("very-old-cgroup"),
    event: Some(OnEvent { of: &[Change::Created], begins: |_, _| Some(Beginning::Deadline(SPAN * 40)), written: None }),
    course: Course { patience: Duration::from_secs(2), ..COURSE },
    ..OLD
};

/// A rule that asks for what it may not have: to be asked again at once.
const HASTY: Rule = Rule {
    explanation: explanation("hasty-cgroup"),
    deadline: Some(OnDeadline {
        while_dying: None,
        after_runtime: None,
        withdrawn_by: &[],
        begins: |_, _| Some(Beginning::Deadline(Duration::ZERO)),
    }),
    ..OLD
};

/// A cgroup of which only the deadline is left, and nobody's.
const LOST: Rule = Rule {
    explanation: explanation("lost-cgroup"),
    deadline: Some(OnDeadline {
        while_dying: None,
        after_runtime: None,
        withdrawn_by: &[],
        begins: |_, _| Some(Beginning::Story(Box::<Case>::default(), None)),
    }),
    judge: |weighed, world| {
        let (who, whose) = (wording::subject(weighed, None), wording::whose(weighed));
        let summary = format!("{who} lost {whose}; {}", wording::outcome(weighed, world));
        Some(Judgement { cause: NEVER, because: Vec::new(), summary, rival: None })
    },
    ..OLD
};

/// A cgroup that is dying for long.
const DYING: Rule = Rule {
    explanation: explanation("dying-cgroup"),
    event: None,
    deadline: Some(OnDeadline {
        while_dying: Some(SPAN),
        after_runtime: None,
        withdrawn_by: &[],
        begins: |_, _| Some(Beginning::Story(Box::new(Case { is_below: true, ..Case::default() }), None)),
    }),
    course: Course { joins: |_, _, _, _| false, ..COURSE },
    judge: |weighed, _| {
        let summary = format!("below {}", weighed.member.place.path);
        Some(Judgement { cause: NEVER, because: Vec::new(), summary, rival: None })
    },
    ..OLD
};

static ONLY_DYING: &[&Rule] = &[&DYING];

#[test]
fn a_rule_is_asked_once_about_each_cgroup_that_is_dying_for_long_by_the_place_around_it() {
    let mut play = play(ONLY_DYING);
    play.event(Change::Created, 0, 6, "/a", 20);
    for (id, path) in [(7, "/a/b"), (8, "/a/released"), (9, "/c")] {
        play.event(Change::Created, 0, id, path, 20);
        play.event(Change::Removed, 0, id, path, 20);
    }
    play.event(Change::Released, 0, 8, "/a/released", 2);
    assert!(!play.tracker.wants_tick(BootTime(play.now)) && play.tracker.wants_tick(BootTime(play.now) + SPAN));
    play.pass(SPAN);
    assert_eq!(said(&play).iter().map(|(said, ..)| *said).collect::<Vec<_>>(), ["below /a", "below /"]);
    let told = &play.findings[0];
    assert_eq!((told.outcome.cgroup_left, told.attempt_count, told.evidence.len()), (Some(false), 0, 1));
    play.pass(SPAN * 2);
    assert_eq!(play.findings.len(), 2);
}

#[test]
fn what_a_deadline_begins_is_as_young_as_the_deadline() {
    let mut play = play(ONLY_VERY_OLD);
    play.event(Change::Created, 0, 7, "/a", 20);
    play.pass(SPAN * 40);
    assert!(play.findings.is_empty(), "its patience begins at the deadline");
    play.pass(Duration::from_secs(2));
    assert_eq!(said(&play), [("it is there", 0, Severity::Fault)]);
    // Old things are dropped with the next event: it is none of them.
    play.event(Change::Attached, 0, 8, "/b", 20);
    play.event(Change::Removed, 0, 7, "/a", 20);
    assert_eq!(said(&play)[1..], [("it was there", 1, Severity::Benign)]);
}

#[test]
fn a_deadline_of_no_time_does_not_hold_time_up() {
    let mut play = play(ONLY_HASTY);
    play.event(Change::Created, 0, 7, "/a", 20);
    play.pass(SPAN);
    assert_eq!(play.tracker.next_due(), Some(BootTime(play.now + 1)));
}

#[test]
fn a_story_of_nobody_about_what_is_not_known_any_more_is_told_with_its_last_place() {
    let mut play = play(ONLY_LOST);
    play.event(Change::Created, 0, 7, "/a", 20);
    play.event(Change::Removed, 0, 7, "/a", 20);
    play.pass(SPAN);
    assert_eq!(play.findings[0].summary, "somebody lost cgroup /a; its end was not seen");
}

#[test]
fn what_a_walk_does_not_find_is_over() {
    let mut play = play(ONLY_OLD);
    play.event(Change::Created, 0, 7, "/a", 20);
    play.pass(SPAN);
    play.event(Change::Created, 0, 8, "/b", 20);
    let again = Some(WalkedAgain { began: BootTime(play.now + 1), hierarchies: vec![HierarchyId(0)] });
    let about = About::Walked { cgroups: 0, unreadable: 0, again };
    play.feed(Input::Facts(Facts { at: BootTime(0), about }));
    assert_eq!(said(&play)[1..], [("it was there", 1, Severity::Benign)]);
    assert_eq!(play.tracker.next_due(), None, "nor is a deadline of it waited for");
}

#[test]
fn what_a_story_that_came_to_nothing_had_borrowed_is_not_given_back_twice() {
    let mut play = Play::new();
    play.event(Change::Created, 0, 5, "/a", 20);
    play.event(Change::Created, 0, 7, "/a/web", 20);
    play.exec(21, "rmdir /a/web");
    let controllers = "/sys/fs/cgroup/unified/a/cgroup.subtree_control";
    play.attempt(Syscall::Openat, Errno::EROFS, controllers, NamespaceId(1), 21);
    play.attempt(Syscall::Mkdirat, Errno::EROFS, "/sys/fs/cgroup/unified/a/web", NamespaceId(1), 21);
    play.rmdir(Errno::EROFS, "/a/web", 21);
    play.event(Change::Removed, 0, 7, "/a/web", 20);
    play.exit(21, Exit::Code(1));
    play.pass(SPAN);
    let notes = |path: &str| play.tracker.notes.at(&Place { hierarchy: HierarchyId(0), path: path.into() }).count();
    assert_eq!((play.findings.len(), notes("/a"), notes("/a/web")), (0, 1, 2));
}

#[test]
fn a_replay_tells_the_same() {
    let mut play = play(ONLY_OLD);
    for id in 0..20 {
        play.event(Change::Created, 0, 100 + id, &format!("/{id}"), 20);
        play.pass(Duration::from_secs(3));
        if id % 3 == 0 {
            play.event(Change::Removed, 0, 100 + id / 2, &format!("/{}", id / 2), 20);
        }
    }
    play.pass(SPAN * 2);
    assert!(play.findings.len() > 10);
    let mut again = self::play(ONLY_OLD);
    let mut findings = Vec::new();
    for (mut input, seq) in play.inputs.clone().into_iter().zip(1..) {
        findings.extend(again.tracker.apply(Seq(seq), &mut input));
    }
    assert_eq!(findings, play.findings);
}

#[test]
fn what_an_event_began_is_told_when_its_actor_has_ended() {
    for (exit, severity) in [(Exit::Code(0), Severity::Benign), (Exit::Code(1), Severity::Fault)] {
        let mut play = play(ONLY_MADE);
        play.exec(20, "runc run a");
        let made = play.event(Change::Created, 0, 7, "/a", 20);
        let ended = play.exit(20, exit);
        assert!(play.findings.is_empty());
        play.pass(Duration::from_millis(200));
        assert_eq!(said(&play), [("it is there", 0, severity)]);
        assert_eq!((play.findings[0].pid().0, play.findings[0].evidence.clone()), (20, vec![Seq(made), Seq(ended)]));
    }
}

#[test]
fn a_rule_that_waits_is_not_asked_before_but_at_the_end_of_the_trace() {
    let begun = || {
        let mut play = play(ONLY_PATIENT);
        play.exec(20, "maker");
        play.event(Change::Created, 0, 7, "/a", 20);
        play.exit(20, Exit::Code(0));
        play.pass(Duration::from_secs(4));
        assert_eq!((said(&play).len(), play.tracker.next_due().is_some()), (0, true));
        play
    };
    let mut left = begun();
    left.pass(Duration::from_secs(1));
    assert_eq!(said(&left), [("it is there", 0, Severity::Fault)]);
    let mut gone = begun();
    gone.event(Change::Removed, 0, 7, "/a", 20);
    gone.pass(Duration::from_secs(1));
    assert_eq!((said(&gone).len(), gone.tracker.next_due()), (0, None));
    let mut ended = begun();
    assert_eq!(ended.tracker.finish(BootTime(ended.now)).len(), 1);
}

#[test]
fn what_an_event_began_and_an_event_made_good_is_not_told() {
    let mut play = play(ONLY_MADE);
    play.exec(20, "runc run a");
    play.event(Change::Created, 0, 7, "/a", 20);
    play.event(Change::Removed, 0, 7, "/a", 20);
    play.exit(20, Exit::Code(1));
    play.pass(SPAN);
    assert_eq!(play.tracker.next_due(), None);
    assert!(play.findings.is_empty() && play.tracker.finish(BootTime(play.now)).is_empty());
}

#[test]
fn a_rule_is_asked_for_the_events_that_it_wants_and_for_no_others() {
    let rules = Rules::new(ONLY_OLD);
    assert!(rules.want(Change::Created) && rules.want(Change::Removed));
    assert!(!rules.want(Change::Attached) && !rules.want(Change::Populated) && !rules.want(Change::Existing));
    let mut play = play(&[]);
    play.feed(Input::Tick(Tick { at: BootTime(0) }));
    play.event(Change::Created, HierarchyId(0).0, 7, "/a", 20);
    assert_eq!(play.tracker.next_due(), None);
}
