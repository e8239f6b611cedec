//! Cgroups that new containers meet, and starts that look alike.

use std::time::Duration;

use crate::errno::Errno;
use crate::findings::{Certainty, Severity};
use crate::input::{
    About, BootTime, CgroupId, Change, ContainerFacts, Exit, Facts, HierarchyId, Input, LossReason, Lost, Occupant,
    OccupantState, Occupants, Pid, Ring, Syscall,
};
use crate::input::{Actor, Attempt, NamespaceId, Parent, Process, ProcessChange};
use crate::tracker::tests::{Play, UNREAD};

const STRANGER: u32 = 15;
const START: u32 = 30;
const OK: Exit = Exit::Code(0);
const FAILED: Exit = Exit::Code(1);

/// A process that is forked now.
fn exec(play: &mut Play, pid: u32, argv: &str) {
    play.sees = UNREAD;
    play.begins(pid, argv);
}

/// A cgroup that a stranger made, and is in.
fn occupied(path: &str) -> Play {
    let mut play = Play::new();
    exec(&mut play, STRANGER, "sh");
    play.event(Change::Created, 0, 7, path, STRANGER);
    play.event(Change::Populated, 0, 7, path, STRANGER);
    play.pass(Duration::from_secs(3));
    play
}

/// A start that ends so, after which there is state or none.
fn start(play: &mut Play, argv: &str, exit: Exit, state: bool) {
    exec(play, START, argv);
    play.exit(START, exit);
    play.state("web", START, state);
}

fn found(play: &mut Play, id: u64, processes: &[(u32, OccupantState, u64)]) {
    let occupants = processes.iter().map(|(pid, state, started)| Occupant {
        pid: Pid(*pid),
        comm: "sleep".into(),
        started: BootTime(*started),
        state: *state,
    });
    let about = About::Occupants(Occupants {
        hierarchy: HierarchyId(0),
        id: CgroupId(id),
        count: processes.len() as u64,
        occupants: occupants.collect(),
        frozen: None,
    });
    play.feed(Input::Facts(Facts { at: BootTime(0), about }));
}

fn wait(play: &mut Play) {
    play.pass(Duration::from_secs(3));
}

fn told(mut play: Play) -> Option<(&'static str, Severity, String)> {
    wait(&mut play);
    let finding = play.findings.first()?;
    assert_eq!((play.findings.len(), finding.kind.as_str()), (1, "stale-cgroup"), "{:#?}", play.findings);
    Some((finding.cause.word, finding.severity, finding.summary.clone()))
}

#[test]
fn a_start_of_runc_that_met_an_occupied_cgroup_and_failed_without_a_call_is_told_with_who_was_in_it() {
    let mut play = occupied("/web");
    start(&mut play, "runc create web", FAILED, false);
    let processes = [(STRANGER, OccupantState::Live, 1), (16, OccupantState::Live, 2), (17, OccupantState::Zombie, 3)];
    found(&mut play, 7, &processes);
    assert!(play.findings.is_empty(), "it is looked first");
    wait(&mut play);
    let finding = play.only();
    assert_eq!((finding.kind.as_str(), finding.cause.word), ("stale-cgroup", "occupied"));
    assert_eq!((finding.severity, finding.certainty), (Severity::Undetermined, Certainty::Certain));
    assert_eq!((finding.cgroup.id, finding.pid().0), (Some(CgroupId(7)), START));
    assert_eq!(finding.container.as_ref().map(|container| container.id.clone()), Some("web".into()));
    assert_eq!((finding.outcome.state_left, finding.outcome.cgroup_left), (Some(false), Some(true)));
    let says = "runc[30] failed to start a container: the cgroup of container web was there already (made 3.00 s \
                before), and sleep[15] and one more process were in it; runc 1.2 and later refuse that, but why it \
                failed was not seen; it exited 1";
    assert_eq!(finding.summary, says);
    // Its creation, the end of the start, and the look into it.
    assert_eq!(finding.evidence.len(), 3);
}

#[test]
fn whoever_was_seen_to_come_in_is_in_it_also_where_nobody_could_look() {
    let mut play = occupied("/web");
    start(&mut play, "runc run web", FAILED, false);
    let (cause, severity, summary) = told(play).expect("told");
    assert_eq!((cause, severity), ("occupied", Severity::Undetermined));
    assert!(summary.contains(", and somebody was in it; "), "{summary}");
    // They leave a moment later.
    let mut play = occupied("/web");
    start(&mut play, "runc run web", FAILED, false);
    play.event(Change::Emptied, 0, 7, "/web", STRANGER);
    assert!(told(play).is_some());
}

#[test]
fn one_that_is_older_than_the_trace_is_told_if_somebody_is_found_in_it() {
    let check = |state, expected: bool| {
        let mut play = Play::new();
        play.event(Change::Existing, 0, 7, "/web", 1);
        let before = play.now;
        start(&mut play, "runc create web", FAILED, false);
        found(&mut play, 7, &[(STRANGER, state, before.saturating_sub(100_000_000))]);
        let told = told(play);
        assert_eq!(told.is_some(), expected, "{state:?} {told:?}");
        assert!(
            told.is_none_or(|(_, _, summary)| summary.contains(" (older than this trace), and sleep[15] was in it"))
        );
    };
    check(OccupantState::Live, true);
    check(OccupantState::Zombie, false);
    // Nobody could look.
    let mut play = Play::new();
    play.event(Change::Existing, 0, 7, "/web", 1);
    start(&mut play, "runc create web", FAILED, false);
    assert_eq!(told(play), None);
}

#[test]
fn who_clears_up_at_once_takes_nothing_of_what_is_told() {
    let mut play = occupied("/web");
    start(&mut play, "runc create web", FAILED, false);
    found(&mut play, 7, &[(STRANGER, OccupantState::Live, 1)]);
    play.event(Change::Removed, 0, 7, "/web", STRANGER);
    assert_eq!(told(play).map(|told| (told.0, told.1)), Some(("occupied", Severity::Undetermined)));
}

#[test]
fn what_runc_says_itself_decides() {
    let check = |message: &str, expected: Option<Severity>| {
        let mut play = occupied("/web");
        says(&mut play, message);
        let told = told(play);
        assert_eq!(told.as_ref().map(|told| told.1), expected, "{message}");
        let rest = format!(", and somebody was in it; its log says: {message}; it exited 1");
        assert!(told.is_none_or(|told| told.2.ends_with(&rest)));
    };
    check(NOT_EMPTY, Some(Severity::Fault));
    check("runc create failed: Cwd must be an absolute path", None);
}

const NOT_EMPTY: &str = "runc create failed: container's cgroup is not empty: 1 process(es) found";

/// What runc's log says of a start that failed.
fn says(play: &mut Play, message: &str) {
    exec(play, START, "runc --log /log create web");
    fails(play, message);
}

/// A start has failed, and its log says so.
fn fails(play: &mut Play, message: &str) {
    play.exit(START, FAILED);
    play.state("web", START, false);
    let about = About::Failure { id: "web".into(), pid: Pid(START), message: message.into() };
    play.feed(Input::Facts(Facts { at: BootTime(0), about }));
}

#[test]
fn what_the_log_says_needs_nobody_who_was_seen_in_it() {
    for (message, cause, who) in [
        ("container's cgroup is not empty: 1 process(es) found", "occupied", "somebody was in it"),
        ("container's cgroup unexpectedly frozen", "frozen", "it was frozen"),
    ] {
        let mut play = Play::new();
        play.event(Change::Existing, 0, 7, "/web", 1);
        says(&mut play, message);
        let (told, severity, summary) = told(play).expect("told");
        assert_eq!((told, severity), (cause, Severity::Fault));
        assert!(summary.contains(&format!(", and {who}; its log says: {message}; ")), "{summary}");
    }
}

#[test]
fn a_start_that_was_refused_the_cgroup_of_another_container_is_told_as_that_ones() {
    let mut play = shared();
    says(&mut play, "container's cgroup is not empty: 1 process(es) found");
    wait(&mut play);
    let finding = play.only();
    assert_eq!((finding.cause.word, finding.severity), ("occupied", Severity::Fault));
    assert_eq!(finding.container.as_ref().map(|container| container.id.clone()), Some("first".into()));
    let whose = "the cgroup of container first, which container web was given too, was there already (made ";
    assert!(finding.summary.contains(whose), "{}", finding.summary);
    assert_eq!(finding.known_issues.iter().map(|issue| issue.id).collect::<Vec<_>>(), ["runc#3132"]);
    // Its log says something else, or was not told of.
    let mut play = shared();
    says(&mut play, "Cwd must be an absolute path");
    assert_eq!(told(play), None);
    let mut play = shared();
    start(&mut play, "runc --log /log create web", FAILED, false);
    assert_eq!(told(play), None);
}

#[test]
fn whoever_left_it_is_named() {
    let mut play = Play::new();
    exec(&mut play, 20, "runc --root /r create web");
    play.event(Change::Created, 0, 7, "/web", 20);
    play.event(Change::Populated, 0, 7, "/web", 20);
    play.exit(20, OK);
    exec(&mut play, 21, "runc --root /r delete --force web");
    play.exit(21, OK);
    play.state("web", 21, false);
    play.pass(Duration::from_secs(30));
    start(&mut play, "runc create web", FAILED, false);
    let (cause, _, summary) = told(play).expect("told");
    assert_eq!(cause, "occupied");
    assert!(summary.contains(" before, left behind by runc[21]), and somebody was in it"), "{summary}");
}

#[test]
fn starts_that_met_none_or_failed_for_another_reason_are_not_told() {
    let check = |what: &str, go: &dyn Fn(&mut Play)| {
        let mut play = occupied("/web");
        go(&mut play);
        assert_eq!(told(play), None, "{what}");
    };
    check("it goes well", &|play| {
        exec(play, START, "runc create web");
        play.exit(START, OK);
    });
    check("it was killed", &|play| start(play, "runc create web", Exit::Signal(9), false));
    check("its container has state", &|play| start(play, "runc create web", FAILED, true));
    check("nobody could look for state", &|play| {
        exec(play, START, "runc create web");
        play.exit(START, FAILED);
    });
    check("a runtime that takes what is there", &|play| start(play, "crun create web", FAILED, false));
    check("one that stays", &|play| start(play, "runc run --keep web", FAILED, false));
    check("a delete", &|play| start(play, "runc delete web", FAILED, false));
    check("another container", &|play| {
        exec(play, START, "runc create other");
        play.exit(START, FAILED);
        play.state("other", START, false);
    });
    check("a call failed", &|play| {
        exec(play, START, "runc create web");
        play.attempt(Syscall::Mkdirat, Errno::EROFS, "/sys/fs/cgroup/unified/web/x", NamespaceId(1), START);
        play.exit(START, FAILED);
        play.state("web", START, false);
    });
    check("it made one elsewhere", &|play| {
        exec(play, START, "runc create web");
        play.event(Change::Created, 4, 8, "/web", START);
        play.event(Change::Removed, 4, 8, "/web", START);
        play.event(Change::Created, 8, 9, "/web", START);
        play.exit(START, FAILED);
        play.state("web", START, false);
    });
    check("it was let in", &|play| {
        exec(play, START, "runc create web");
        play.event(Change::Attached, 0, 7, "/web", START);
        play.exit(START, FAILED);
        play.state("web", START, false);
    });
    check("it made the container's first process", &|play| {
        exec(play, START, "runc run web");
        let started = Some(BootTime(play.now));
        let parents = vec![Parent { pid: Pid(START), comm: "runc".into() }];
        let argv = Some(vec!["runc".into(), "init".into()]);
        let init = Process::new(BootTime(0), Pid(31), ProcessChange::Exec, "runc".into());
        play.feed(Input::Process(Process { started, parents, argv, ..init }));
        play.exit(31, OK);
        play.exit(START, FAILED);
        play.state("web", START, false);
    });
    check("it was empty", &|play| {
        play.event(Change::Emptied, 0, 7, "/web", STRANGER);
        start(play, "runc create web", FAILED, false);
    });
    check("it was gone", &|play| {
        play.event(Change::Emptied, 0, 7, "/web", STRANGER);
        play.event(Change::Removed, 0, 7, "/web", STRANGER);
        start(play, "runc create web", FAILED, false);
    });
    check("there are two of the name", &|play| {
        play.event(Change::Created, 0, 8, "/pods/web", STRANGER);
        start(play, "runc create web", FAILED, false);
    });
    check("one below it", &|play| {
        play.event(Change::Removed, 0, 7, "/web", STRANGER);
        play.event(Change::Created, 0, 8, "/web/inner", STRANGER);
        play.event(Change::Populated, 0, 8, "/web/inner", STRANGER);
        start(play, "runc create web", FAILED, false);
    });
}

/// A container that has a cgroup which another one was given as well.
fn shared() -> Play {
    let given = |id: &str| {
        let said = ContainerFacts {
            cgroups_path: Some("/shared".into()),
            uid: Some(0),
            ..ContainerFacts::new(id.into(), "runc", "/b/config.json".into())
        };
        Input::Facts(Facts { at: BootTime(0), about: About::Container(said) })
    };
    let mut play = Play::new();
    play.feed(given("first"));
    play.feed(given("web"));
    exec(&mut play, 20, "runc create first");
    play.event(Change::Created, 0, 7, "/shared", 20);
    play.event(Change::Populated, 0, 7, "/shared", 20);
    play.exit(20, OK);
    play
}

#[test]
fn one_that_another_container_has_is_not_left_over() {
    let mut play = shared();
    start(&mut play, "runc create web", FAILED, false);
    assert_eq!(told(play), None);
    // The same id in another root of the runtime.
    let mut play = Play::new();
    exec(&mut play, 20, "runc --root /else create web");
    play.event(Change::Created, 0, 7, "/web", 20);
    play.event(Change::Populated, 0, 7, "/web", 20);
    play.exit(20, OK);
    start(&mut play, "runc create web", FAILED, false);
    assert_eq!(told(play), None);
}

#[test]
fn what_a_bundle_asks_for_is_found_by_that() {
    for (asked, path) in [("/pods/p1", "/pods/p1"), ("my.slice:pre:nm", "/my.slice/pre-nm.scope")] {
        let mut play = occupied(path);
        let said = ContainerFacts {
            cgroups_path: Some(asked.into()),
            uid: Some(0),
            ..ContainerFacts::new("web".into(), "runc", "/b/config.json".into())
        };
        play.feed(Input::Facts(Facts { at: BootTime(0), about: About::Container(said) }));
        start(&mut play, "runc create web", FAILED, false);
        assert!(told(play).is_some(), "{asked}");
    }
}

#[test]
fn a_caller_that_tries_again_and_again_is_one_finding() {
    let mut play = occupied("/web");
    for pid in START..START + 5 {
        exec(&mut play, pid, "runc create web");
        play.exit(pid, FAILED);
        play.state("web", pid, false);
        play.pass(Duration::from_secs(30));
    }
    assert_eq!((play.only().cause.word, play.only().revision), ("occupied", 0));
}

#[test]
fn what_was_lost_weakens_what_is_told() {
    let mut play = occupied("/web");
    play.feed(Input::Lost(Lost::some(BootTime(0), Ring::Lifecycle, LossReason::RingFull, 1)));
    start(&mut play, "runc create web", FAILED, false);
    wait(&mut play);
    assert_eq!(play.only().because, ["lifecycle events were lost meanwhile"]);
    assert!(
        play.only().summary.contains(": the cgroup of container web may have been there already ("),
        "{}",
        play.only().summary
    );
}

const MONITOR: u32 = 40;

/// LXC starts a container: its monitor calls itself so.
fn monitor(play: &mut Play, pid: u32, name: &str) {
    let title = format!("[lxc monitor] /var/lib/lxc {name}");
    let started = Some(BootTime(play.now));
    let argv = Some(vec![title.as_str().into()]);
    let process = Process::new(BootTime(0), Pid(pid), ProcessChange::Seen, "lxc-start".into());
    play.feed(Input::Process(Process { started, argv, ..process }));
}

fn mkdir(play: &mut Play, errno: Errno, path: &str, pid: u32) {
    mkdir_at(play, errno, "unified", path, pid);
}

fn mkdir_at(play: &mut Play, errno: Errno, mount: &str, path: &str, pid: u32) {
    let actor = Actor::new(Pid(pid), pid, "lxc-start".into(), Some(0));
    let path = format!("/sys/fs/cgroup/{mount}{path}").as_str().into();
    play.feed(Input::Attempt(Attempt {
        mount_namespace: Some(NamespaceId(1)),
        ..Attempt::new(BootTime(0), Syscall::Mkdirat, errno, path, actor)
    }));
}

/// A payload that was left over, and a new monitor that meets it.
fn taken(path: &str) -> Play {
    let mut play = Play::new();
    play.event(Change::Created, 0, 7, path, STRANGER);
    play.pass(Duration::from_secs(3));
    monitor(&mut play, MONITOR, "c1");
    mkdir(&mut play, Errno::EEXIST, path, MONITOR);
    play
}

#[test]
fn lxc_that_takes_another_name_is_benign_and_reported() {
    let mut play = taken("/lxc.payload.c1");
    play.event(Change::Created, 0, 8, "/lxc.payload.c1-1", MONITOR);
    play.pass(Duration::from_secs(20));
    let finding = play.only();
    assert_eq!((finding.kind.as_str(), finding.cause.word), ("stale-cgroup", "name-taken"));
    assert_eq!((finding.severity, finding.is_routine()), (Severity::Benign, false));
    let says = "lxc-start[40] was to make /lxc.payload.c1 for container c1, but it was there already (made 3.00 s \
                before): it made /lxc.payload.c1-1 instead";
    assert_eq!(finding.summary, says);
    assert_eq!(finding.cgroup.id, Some(CgroupId(7)));
}

/// A monitor meets payloads of these numbers in these hierarchies, and then makes one.
fn climbs(taken: &[(u32, &str)], made: &str) -> Play {
    let mut play = Play::new();
    for (id, (hierarchy, path)) in (7..).zip(taken) {
        play.event(Change::Existing, *hierarchy, id, path, 1);
    }
    monitor(&mut play, MONITOR, "c1");
    for (hierarchy, path) in taken {
        let mount = if *hierarchy == 0 { "unified" } else { "memory" };
        mkdir_at(&mut play, Errno::EEXIST, mount, path, MONITOR);
        // It takes back what it has made in other hierarchies.
        play.event(Change::Created, 0, 10_097, &format!("{path}-0"), MONITOR);
        play.event(Change::Removed, 0, 10_097, &format!("{path}-0"), MONITOR);
    }
    play.event(Change::Created, 0, 10_099, made, MONITOR);
    play.pass(Duration::from_secs(20));
    play
}

#[test]
fn all_the_names_that_lxc_tries_are_one_story() {
    let says = |taken: &[(u32, &str)], made: &str| {
        let play = climbs(taken, made);
        let finding = play.only();
        assert_eq!((finding.cause.word, finding.severity), ("name-taken", Severity::Benign));
        assert_eq!((finding.cgroup.id, finding.attempt_count), (Some(CgroupId(7)), taken.len() as u64));
        let start = "lxc-start[40] was to make /lxc.payload.c1 for container c1, but it was there already (older than \
                     this trace)";
        let rest = finding.summary.strip_prefix(start).unwrap_or_else(|| panic!("{}", finding.summary));
        (finding.hierarchies, rest.to_owned())
    };
    let own = (0, "/lxc.payload.c1");
    assert_eq!(
        says(&[own, (0, "/lxc.payload.c1-1")], "/lxc.payload.c1-2"),
        (1, ", and /lxc.payload.c1-1 too: it made /lxc.payload.c1-2 instead".to_owned())
    );
    let names: Vec<String> = (1..20).map(|number| format!("/lxc.payload.c1-{number}")).collect();
    let many: Vec<(u32, &str)> = [own].into_iter().chain(names.iter().map(|name| (0, name.as_str()))).collect();
    assert_eq!(
        says(&many, "/lxc.payload.c1-20"),
        (1, ", and 19 more of its names too: it made /lxc.payload.c1-20 instead".to_owned())
    );
    assert_eq!(
        says(&[own, (4, "/lxc.payload.c1-1")], "/lxc.payload.c1-2"),
        (2, ", and /lxc.payload.c1-1 too: it made /lxc.payload.c1-2 instead".to_owned())
    );
}

#[test]
fn a_thousand_names_are_one_story_that_names_the_first_ones() {
    let names: Vec<String> = (1..1_000).map(|number| format!("/lxc.payload.c1-{number}")).collect();
    let many: Vec<(u32, &str)> = names.iter().map(|name| (0, name.as_str())).collect();
    let play = climbs(&many, "/lxc.payload.c1-1000");
    assert_eq!((play.only().attempt_count, play.tracker.evicted()), (999, 0));
    let says = ", and 63 or more of its other names too: it made /lxc.payload.c1-1000 instead";
    assert!(play.only().summary.ends_with(says), "{}", play.only().summary);
}

#[test]
fn what_is_tried_for_another_container_or_by_another_start_is_another_story() {
    let told = |second: &dyn Fn(&mut Play)| {
        let mut play = Play::new();
        for (id, path) in [(7, "/lxc.payload.c1"), (8, "/lxc.payload.c1-1"), (9, "/lxc.monitor.c1")] {
            play.event(Change::Existing, 0, id, path, 1);
        }
        monitor(&mut play, MONITOR, "c1");
        mkdir(&mut play, Errno::EEXIST, "/lxc.payload.c1", MONITOR);
        second(&mut play);
        for pid in [MONITOR, 41] {
            play.event(Change::Created, 0, 90 + u64::from(pid), &format!("/lxc.payload.c1-{pid}"), pid);
            play.event(Change::Created, 0, 190 + u64::from(pid), &format!("/lxc.monitor.c1-{pid}"), pid);
        }
        play.pass(Duration::from_secs(20));
        play.findings.iter().map(|told| told.cgroup.id.map(|id| id.0)).collect::<Vec<_>>()
    };
    let another = |name: &'static str, path: &'static str| {
        move |play: &mut Play| {
            monitor(play, 41, name);
            mkdir(play, Errno::EEXIST, path, 41);
        }
    };
    assert_eq!(told(&another("c1", "/lxc.payload.c1-1")), [Some(7), Some(8)]);
    assert_eq!(told(&another("c1", "/lxc.payload.c1")), [Some(7)], "the same name is the same one");
    assert_eq!(told(&|play| mkdir(play, Errno::EEXIST, "/lxc.monitor.c1", MONITOR)), [Some(7), Some(9)]);
}

#[test]
fn who_may_make_nothing_there_is_not_hurt_by_what_is_there() {
    let check = |uid, path: &str, expected| {
        let mut play = occupied(path);
        play.sees = UNREAD;
        play.exec_of(uid, play.now, START, "runc --log /log create web");
        fails(&mut play, NOT_EMPTY);
        assert_eq!(told(play).map(|told| told.1), Some(expected), "{uid} {path}");
    };
    check(0, "/web", Severity::Fault);
    check(1_000, "/web", Severity::Undetermined);
    check(1_000, "/user.slice/user-1000.slice/web", Severity::Fault);
    check(1_001, "/user.slice/user-1000.slice/web", Severity::Undetermined);
    // Anybody is told EEXIST, wherever that is.
    let mut play = taken("/lxc/c1");
    play.exec_of(1_000, play.now, MONITOR, "lxc-start -n c1");
    play.exit(MONITOR, FAILED);
    assert_eq!(told(play), None);
}

#[test]
fn lxc_that_may_take_no_other_name_fails() {
    for (path, errno, expected) in [
        ("/lxc/c1", None, Some(Severity::Fault)),
        ("/lxc.monitor/c1", None, Some(Severity::Fault)),
        ("/lxc/c1", Some(Errno::ENOSPC), None),
    ] {
        let mut play = taken(path);
        if let Some(errno) = errno {
            mkdir(&mut play, errno, "/lxc/c2", MONITOR);
        }
        play.exit(MONITOR, FAILED);
        let told = told(play);
        assert_eq!(told.as_ref().map(|told| told.1), expected, "{errno:?}");
        let says = "it was there already (made 3.00 s before): it made no other one, and it exited 1";
        assert!(told.is_none_or(|told| told.2.ends_with(says)));
    }
}

#[test]
fn what_everybody_makes_and_what_lxc_shares_is_never_told() {
    let check = |what: &str, path: &str, go: &dyn Fn(&mut Play)| {
        let mut play = Play::new();
        play.event(Change::Created, 0, 7, path, STRANGER);
        go(&mut play);
        play.pass(Duration::from_secs(20));
        assert!(play.findings.is_empty(), "{what}: {:#?}", play.findings);
    };
    let meets = |path: &'static str, exit| {
        move |play: &mut Play| {
            monitor(play, MONITOR, "c1");
            mkdir(play, Errno::EEXIST, path, MONITOR);
            play.exit(MONITOR, exit);
        }
    };
    check("pivot", "/lxc.pivot", &meets("/lxc.pivot", FAILED));
    check("around it", "/lxc", &meets("/lxc", FAILED));
    check("below it", "/lxc.payload.c1/ns", &meets("/lxc.payload.c1/ns", FAILED));
    check("another one", "/lxc.payload.c2", &meets("/lxc.payload.c2", FAILED));
    check("it went well", "/lxc.payload.c1", &meets("/lxc.payload.c1", OK));
    check("it was killed", "/lxc.payload.c1", &meets("/lxc.payload.c1", Exit::Signal(9)));
    for argv in ["mkdir -p /lxc.payload.c1", "runc create web", "python3 make.py"] {
        for path in ["/lxc.payload.c1", "/web", "/docker"] {
            check(argv, path, &|play| {
                exec(play, START, argv);
                mkdir(play, Errno::EEXIST, path, START);
                play.exit(START, FAILED);
            });
        }
    }
    // A program that makes a row of them.
    check("a row", "/web", &|play| {
        exec(play, START, "python3 make.py");
        mkdir(play, Errno::EEXIST, "/web", START);
        play.event(Change::Created, 0, 8, "/web-1", START);
    });
}

#[test]
fn what_a_start_met_is_told_as_left_behind_as_well() {
    let mut play = Play::new();
    exec(&mut play, 20, "runc --root /r create web");
    play.event(Change::Created, 0, 7, "/web", 20);
    play.event(Change::Populated, 0, 7, "/web", STRANGER);
    play.exit(20, OK);
    play.pass(Duration::from_secs(3));
    exec(&mut play, 21, "runc --root /r delete web");
    play.exit(21, OK);
    play.state("web", 21, false);
    exec(&mut play, START, "runc --root /r create web");
    fails(&mut play, NOT_EMPTY);
    wait(&mut play);
    play.event(Change::Emptied, 0, 7, "/web", STRANGER);
    play.pass(Duration::from_secs(60));
    let told: Vec<(&str, Severity)> = play.findings.iter().map(|told| (told.kind.as_str(), told.severity)).collect();
    assert_eq!(told, [("stale-cgroup", Severity::Fault), ("leaked-cgroup", Severity::Fault)]);
}
