//! Cgroups that their runtimes leave behind, and lives that look alike.

use std::time::Duration;

use super::left::PATIENCE;
use crate::errno::Errno;
use crate::findings::{Certainty, Severity};
use crate::input::{
    About, BootTime, Change, ContainerFacts, Exit, Facts, Input, LossReason, Lost, NamespaceId, Operation, Pid, Ring,
    Syscall,
};
use crate::tracker::tests::Play;

const MAKER: u32 = 20;
const REMOVER: u32 = 21;
const CREATE: &str = "runc --root /r create web";
const DELETE: &str = "runc --root /r delete web";
const KILLED: Exit = Exit::Signal(9);
const OK: Exit = Exit::Code(0);
const FAILED: Exit = Exit::Code(1);

/// A container whose cgroup its runtime has made, with a process in it.
fn running_as(argv: &str) -> Play {
    let mut play = Play::new();
    play.begins(MAKER, argv);
    play.event(Change::Created, 0, 7, "/web", MAKER);
    play.event(Change::Populated, 0, 7, "/web", MAKER);
    play.exit(MAKER, OK);
    play
}

/// The same one, whose last process has ended.
fn stopped() -> Play {
    let mut play = running_as(CREATE);
    play.event(Change::Emptied, 0, 7, "/web", 1);
    play
}

/// A process that is asked to do something with it, and after whose end no state is found.
fn done_by(play: &mut Play, pid: u32, argv: &str, exit: Exit) {
    play.begins(pid, argv);
    play.exit(pid, exit);
    play.state("web", pid, false);
}

fn wait(play: &mut Play) {
    play.pass(PATIENCE + Duration::from_secs(1));
}

/// What is told of a play that ends like this.
fn told(mut play: Play) -> Option<(&'static str, Severity, String)> {
    wait(&mut play);
    let finding = play.findings.last()?;
    assert_eq!((play.findings.len(), finding.kind.as_str()), (1, "leaked-cgroup"), "{:#?}", play.findings);
    Some((finding.cause.word, finding.severity, finding.summary.clone()))
}

#[test]
fn what_a_delete_leaves_behind_is_told_once_nobody_has_removed_it_in_time() {
    let mut play = stopped();
    play.pass(Duration::from_secs(600));
    assert!(play.findings.is_empty() && play.tracker.next_due().is_none(), "a stopped container is not waited for");
    done_by(&mut play, REMOVER, DELETE, OK);
    play.pass(PATIENCE - Duration::from_secs(1));
    assert!(play.findings.is_empty());
    let rest = "left the cgroup of container web behind, empty: nobody tried to remove it; it exited 0";
    let (cause, severity, summary) = told(play).expect("a finding");
    assert_eq!((cause, severity, summary.as_str()), ("never-attempted", Severity::Fault, &*format!("runc[21] {rest}")));
}

#[test]
fn what_is_read_late_of_its_bundle_changes_nothing() {
    // Of one that has ended by then it is not known how it began, so nothing is said.
    for (is_running, expected) in [(true, Some("never-attempted")), (false, None)] {
        let mut play = Play::new();
        play.begins(MAKER, CREATE);
        play.event(Change::Created, 0, 7, "/pods/p1", MAKER);
        play.event(Change::Populated, 0, 7, "/pods/p1", MAKER);
        let said = ContainerFacts {
            pid: Some(Pid(MAKER)),
            cgroups_path: Some("/pods/p1".into()),
            uid: Some(0),
            ..ContainerFacts::new("web".into(), "runc", "/b/config.json".into())
        };
        let said = Input::Facts(Facts { at: BootTime(0), about: About::Container(said) });
        if is_running {
            play.feed(said);
            play.exit(MAKER, OK);
        } else {
            play.exit(MAKER, OK);
            play.feed(said);
        }
        play.event(Change::Emptied, 0, 7, "/pods/p1", 1);
        done_by(&mut play, REMOVER, DELETE, OK);
        assert_eq!(told(play).map(|told| told.0), expected);
    }
}

#[test]
fn a_finding_names_the_creation_the_end_and_the_cgroup() {
    let mut play = Play::new();
    play.begins(MAKER, CREATE);
    let made = play.event(Change::Created, 0, 7, "/web", MAKER);
    play.exit(MAKER, OK);
    play.begins(REMOVER, DELETE);
    let ended = play.exit(REMOVER, OK);
    let state = play.state("web", REMOVER, false);
    wait(&mut play);
    let finding = play.only();
    assert_eq!(finding.evidence.iter().map(|seq| seq.0).collect::<Vec<_>>(), [made, ended, state]);
    assert_eq!(
        (finding.outcome.exit, finding.outcome.cgroup_left, finding.outcome.state_left),
        (Some(OK), Some(true), Some(false))
    );
    assert_eq!((finding.certainty, finding.pid().0, finding.attempt_count), (Certainty::Certain, REMOVER, 0));
    assert_eq!(play.tracker.next_due(), None);
}

#[test]
fn a_removal_that_was_given_up_is_told_as_the_refusal_that_it_is() {
    let mut play = running_as(CREATE);
    play.begins(REMOVER, DELETE);
    play.rmdir(Errno::EBUSY, "/web", REMOVER);
    play.exit(REMOVER, OK);
    play.state("web", REMOVER, false);
    wait(&mut play);
    play.event(Change::Emptied, 0, 7, "/web", 1);
    wait(&mut play);
    let finding = play.only();
    assert_eq!((finding.kind.as_str(), finding.severity), ("busy-teardown", Severity::Fault));
    assert_eq!(finding.outcome.cgroup_left, Some(true));
}

#[test]
fn a_removal_that_failed_for_a_reason_that_no_other_kind_tells_is_one_of_the_leak() {
    let mut play = running_as(CREATE);
    play.begins(REMOVER, DELETE);
    play.rmdir(Errno::ENOMEM, "/web", REMOVER);
    play.exit(REMOVER, OK);
    play.state("web", REMOVER, false);
    wait(&mut play);
    assert!(play.findings.is_empty(), "a process is in it");
    play.event(Change::Emptied, 0, 7, "/web", 1);
    play.pass(PATIENCE - Duration::from_secs(1));
    assert!(play.findings.is_empty());
    wait(&mut play);
    let finding = play.only();
    let rest = "left the cgroup of container web behind, empty: its removal had failed with ENOMEM; it exited 0";
    assert_eq!((finding.cause.word, finding.severity), ("attempts-failed", Severity::Fault));
    assert_eq!((finding.summary.as_str(), finding.attempt_count), (&*format!("runc[21] {rest}"), 1));
}

/// It is stopped, and a delete ends without having tried; `go` is what happens at each of these times.
fn deleted_beside(before: &dyn Fn(&mut Play), meanwhile: &dyn Fn(&mut Play), later: &dyn Fn(&mut Play)) -> Play {
    let mut play = running_as(CREATE);
    before(&mut play);
    play.event(Change::Emptied, 0, 7, "/web", 1);
    play.begins(REMOVER, DELETE);
    meanwhile(&mut play);
    play.exit(REMOVER, OK);
    play.state("web", REMOVER, false);
    later(&mut play);
    wait(&mut play);
    play
}

/// Somebody else's removal is refused.
fn refused(play: &mut Play) {
    play.begins(30, "rmdir /sys/fs/cgroup/web");
    play.rmdir(Errno::ENOMEM, "/web", 30);
    play.exit(30, FAILED);
}

#[test]
fn a_removal_that_failed_is_the_cause_if_it_was_one_of_the_teardown_whoever_had_tried() {
    let nothing = |_: &mut Play| {};
    let check = |play: Play, cause: &str, why: &str| {
        let says = format!("runc[21] left the cgroup of container web behind, empty: {why}; it exited 0");
        assert_eq!((play.only().cause.word, &play.only().summary), (cause, &says));
    };
    let by = "its removal by runc[30] had failed with ENOMEM";
    check(deleted_beside(&nothing, &refused, &nothing), "attempts-failed", by);
    check(deleted_beside(&nothing, &nothing, &refused), "attempts-failed", by);
    let own = |play: &mut Play| {
        play.rmdir(Errno::ENOSPC, "/web", REMOVER);
    };
    let own_first = deleted_beside(&refused, &own, &refused);
    check(own_first, "attempts-failed", "its removal had failed with ENOSPC");
    let why = "nobody tried to remove it when the container was torn down";
    check(deleted_beside(&refused, &nothing, &nothing), "never-attempted", why);
    // In the life before.
    let mut play = running_as(CREATE);
    play.rmdir(Errno::EBUSY, "/web", 1);
    play.event(Change::Removed, 0, 7, "/web", 1);
    play.begins(40, CREATE);
    play.event(Change::Created, 0, 8, "/web", 40);
    play.exit(40, FAILED);
    play.state("web", 40, false);
    assert_eq!(told(play).map(|(cause, ..)| cause), Some("creation-aborted"));
}

#[test]
fn what_was_told_to_be_the_cause_stays_it() {
    let nothing = |_: &mut Play| {};
    for (meanwhile, cause) in [(&nothing as &dyn Fn(&mut Play), "never-attempted"), (&refused, "attempts-failed")] {
        let mut play = deleted_beside(&nothing, meanwhile, &nothing);
        let first = play.only().summary.clone();
        play.rmdir(Errno::EACCES, "/web", 31);
        play.event(Change::Removed, 0, 7, "/web", 32);
        let last = play.findings.iter().rfind(|told| told.kind.as_str() == "leaked-cgroup").expect("told");
        assert_eq!((last.revision, last.severity, last.cause.word), (1, Severity::Benign, cause));
        let stem = |summary: &str| summary.split("; it ").next().map(str::to_owned);
        assert!(cause != "never-attempted" || stem(&last.summary) == stem(&first), "{} {first}", last.summary);
    }
}

#[test]
fn a_removal_that_leads_nobody_knows_where_may_have_been_one_of_it() {
    let elsewhere = |path: &'static str, errno| {
        move |play: &mut Play| {
            play.attempt(Syscall::Rmdir, errno, path, NamespaceId(99), 30);
        }
    };
    let check = |path, errno, because: Option<&str>| {
        let play = deleted_beside(&|_| {}, &elsewhere(path, errno), &|_| {});
        let (finding, is_seen) = (play.only(), because.is_none());
        assert_eq!(finding.because, because.into_iter().collect::<Vec<_>>(), "{path} {errno}");
        assert_eq!(finding.summary.contains(": nobody tried to remove it; "), is_seen, "{}", finding.summary);
    };
    let because = "the place of a failed removal of that name is not known";
    check("/sys/fs/cgroup/web", Errno::EBUSY, Some(because));
    check("/sys/fs/cgroup/web/", Errno::EROFS, Some(because));
    check("/sys/fs/cgroup/other", Errno::EBUSY, None);
    check("/sys/fs/cgroup/web", Errno::ENOENT, None);
    check("/sys/fs/cgroup/web", Errno::ENOTEMPTY, None);
}

#[test]
fn a_state_is_looked_for_where_the_maker_has_it_or_says_nothing() {
    let check = |create: &str, said: Option<&str>, delete: &str, looked: &str, is_told: bool| {
        let mut play = Play::new();
        play.begins(MAKER, create);
        if let Some(said) = said {
            play.says("web", MAKER, said);
        }
        play.event(Change::Created, 0, 7, "/web", MAKER);
        play.exit(MAKER, OK);
        play.begins(REMOVER, delete);
        play.exit(REMOVER, OK);
        play.state_at(looked.into(), "web", REMOVER, false);
        assert_eq!(told(play).is_some(), is_told, "{create} {said:?} {delete} {looked}");
    };
    let (runs, users) = ("/run/crun/web/status", "/run/user/0/crun/web/status");
    let (create, delete) = ("crun create web", "crun delete --force web");
    check(create, Some(runs), delete, runs, true);
    check(create, Some(runs), "crun --root /run/crun/ delete --force web", "/run/crun//web/status", true);
    check("crun --root /run/crun create web", None, delete, runs, true);
    // By another environment it looks elsewhere.
    check(create, Some(runs), delete, users, false);
    check("crun --root /run/crun create web", None, delete, users, false);
    // Where the maker has it is not known.
    check(create, None, delete, runs, false);
    check("crun --root run create web", None, "crun --root run delete web", "/w/run/web/status", false);
}

#[test]
fn a_state_is_the_containers_if_it_is_where_the_maker_has_it() {
    let check = |argv: &str, path: Option<&str>, is_told: bool| {
        let mut play = stopped();
        done_by(&mut play, REMOVER, DELETE, OK);
        play.begins(40, argv);
        play.exit(40, FAILED);
        match path {
            Some(path) => play.state_at(path.into(), "web", 40, true),
            None => play.state("web", 40, true),
        };
        assert_eq!(told(play).is_some(), is_told, "{argv}");
    };
    check("runc --root /r create web", None, false);
    check("runc --root /else create web", None, true);
    check("runc --root else create web", Some("/r/else/web/state.json"), true);
}

#[test]
fn what_is_not_known_of_two_processes_is_not_the_same() {
    let mut play = Play::new();
    let exec = |play: &mut Play, pid, argv: &str| play.exec(pid, argv);
    exec(&mut play, MAKER, CREATE);
    play.event(Change::Created, 0, 7, "/web", MAKER);
    play.exit(MAKER, OK);
    done_by(&mut play, REMOVER, DELETE, OK);
    assert_eq!(told(play), None, "the mount namespace of the maker");
}

#[test]
fn a_stranger_takes_nothing_of_what_is_roots() {
    let stranger = |play: &mut Play, pid: u32, argv: &str| play.exec_of(1_000, play.now, pid, argv);
    let mut play = Play::new();
    play.exec_of(0, play.now, MAKER, CREATE);
    play.event(Change::Created, 0, 7, "/web", MAKER);
    play.event(Change::Populated, 0, 7, "/web", MAKER);
    play.exit(MAKER, OK);
    // One that makes a cgroup of that id, very many that make others, and one that runs on.
    stranger(&mut play, 50, "runc --root /r create web");
    play.event(Change::Created, 0, 50, "/user/web", 50);
    play.exit(50, FAILED);
    let long = "x".repeat(3_000);
    for id in 100..1_100 {
        stranger(&mut play, 60, &format!("runc --root /r create {id}{long}"));
        play.event(Change::Created, 0, id, &format!("/{id}{long}"), 60);
        play.exit(60, OK);
    }
    stranger(&mut play, 51, "runc delete web");
    play.event(Change::Emptied, 0, 7, "/web", 1);
    play.exec_of(0, play.now, REMOVER, DELETE);
    play.exit(REMOVER, OK);
    play.state("web", REMOVER, false);
    let told = told(play).expect("told");
    assert_eq!((told.0, told.1), ("never-attempted", Severity::Fault));
}

#[test]
fn whoever_does_not_end_is_waited_for_a_while_and_named_as_what_may_make_it_wrong() {
    let check = |argv: &str, because: &[&str]| {
        let mut play = stopped();
        done_by(&mut play, REMOVER, DELETE, OK);
        play.begins(22, argv);
        for _ in 0..4 {
            wait(&mut play);
        }
        assert_eq!(play.findings.is_empty(), !because.is_empty(), "{argv}");
        for _ in 0..4 {
            wait(&mut play);
        }
        assert_eq!(play.only().because, because, "{argv}");
        assert_eq!(play.tracker.next_due(), None);
        // It is what removes it in the end.
        play.event(Change::Removed, 0, 7, "/web", 22);
        let last = play.findings.last().expect("told");
        assert_eq!((last.severity, last.because.len()), (Severity::Benign, 0), "{argv}");
    };
    check("runc --root /r delete --force web", &["a process that was to make or delete the container had not ended"]);
    check("runc --root /r events web", &[]);
}

#[test]
fn a_late_removal_counts_from_the_end_that_is_told() {
    let mut play = running_as(CREATE);
    done_by(&mut play, REMOVER, DELETE, OK);
    play.pass(Duration::from_secs(100));
    let emptied = play.event(Change::Emptied, 0, 7, "/web", 1);
    wait(&mut play);
    assert!(play.only().evidence.iter().any(|seq| seq.0 == emptied));
    play.event(Change::Removed, 0, 7, "/web", 30);
    let summary = &play.findings.last().expect("told").summary;
    assert!(summary.ends_with("it coped and exited 0; runc[30] removed it 121 s later"), "{summary}");
}

#[test]
fn a_start_that_fails_and_leaves_its_cgroup_is_told_by_what_failed_first() {
    for (argv, exit) in [(CREATE, FAILED), ("runc run web", FAILED), ("crun run web", KILLED)] {
        let mut play = Play::new();
        play.begins(MAKER, argv);
        play.event(Change::Created, 0, 7, "/web", MAKER);
        let pids = "/sys/fs/cgroup/unified/web/pids.max";
        play.attempt(Syscall::Mkdirat, Errno::EAGAIN, "/sys/fs/cgroup/unified/web/more", NamespaceId(1), MAKER);
        play.attempt(Syscall::Openat, Errno::ENOENT, pids, NamespaceId(1), MAKER);
        play.exit(MAKER, exit);
        play.state("web", MAKER, false);
        let (cause, severity, summary) = told(play).expect(argv);
        assert_eq!((cause, severity), ("creation-aborted", Severity::Fault), "{argv}");
        let began = "runc[20] failed to start a container after its mkdir of /sys/fs/cgroup/unified/web/more failed \
                     with EAGAIN, and left";
        assert!(summary.starts_with(began), "{argv}: {summary}");
    }
}

#[test]
fn a_run_whose_own_process_failed_is_no_aborted_creation() {
    let mut play = Play::new();
    play.begins(MAKER, "runc run web");
    play.event(Change::Created, 0, 7, "/web", MAKER);
    play.event(Change::Populated, 0, 7, "/web", MAKER);
    play.event(Change::Emptied, 0, 7, "/web", 1);
    play.exit(MAKER, Exit::Code(3));
    play.state("web", MAKER, false);
    assert_eq!(told(play).map(|told| told.0), Some("never-attempted"));
    // With a call that failed, and that it could do without.
    for (ran, cause) in [(3_600_000, "never-attempted"), (10, "creation-aborted")] {
        let mut play = Play::new();
        play.begins(MAKER, "runc run web");
        play.event(Change::Created, 0, 7, "/web", MAKER);
        play.event(Change::Populated, 0, 7, "/web", MAKER);
        let more = "/sys/fs/cgroup/unified/web/more";
        play.attempt(Syscall::Mkdirat, Errno::EAGAIN, more, NamespaceId(1), MAKER);
        play.pass(Duration::from_millis(ran));
        play.event(Change::Emptied, 0, 7, "/web", 1);
        play.exit(MAKER, Exit::Code(3));
        play.state("web", MAKER, false);
        let (word, _, summary) = told(play).expect("told");
        let says = "runc[20] left the cgroup of container web behind, empty: nobody tried to remove it; it exited 3";
        assert_eq!((word, summary == says), (cause, cause == "never-attempted"), "{summary}");
    }
}

#[test]
fn whoever_has_the_container_still_has_its_cgroup() {
    let check = |what: &str, go: &dyn Fn(&mut Play)| {
        let mut play = stopped();
        go(&mut play);
        assert_eq!(told(play), None, "{what}");
    };
    check("it is stopped", &|_| {});
    check("it is removed", &|play| {
        play.begins(REMOVER, DELETE);
        play.event(Change::Removed, 0, 7, "/web", REMOVER);
        play.exit(REMOVER, OK);
        play.state("web", REMOVER, false);
    });
    check("it is removed late, by its engine", &|play| {
        done_by(play, REMOVER, DELETE, OK);
        play.pass(PATIENCE / 2);
        play.event(Change::Removed, 0, 7, "/web", 1);
    });
    check("its state is left", &|play| {
        play.begins(REMOVER, DELETE);
        play.exit(REMOVER, FAILED);
        play.state("web", REMOVER, true);
    });
    check("nobody could look for its state", &|play| {
        play.begins(REMOVER, DELETE);
        play.exit(REMOVER, OK);
    });
    check("another root was looked at", &|play| done_by(play, REMOVER, "runc --root /else delete --force web", OK));
    check("another runtime", &|play| done_by(play, REMOVER, "crun delete --force web", OK));
    check("a relative root", &|play| {
        play.begins(REMOVER, "runc --root run delete --force web");
        play.exit(REMOVER, OK);
        play.state_at("/w/run/web/state.json".into(), "web", REMOVER, false);
    });
    check("another container", &|play| done_by(play, REMOVER, "runc delete other", OK));
    check("a process that only asks", &|play| done_by(play, REMOVER, "runc kill web", OK));
    check("somebody is in it again", &|play| {
        done_by(play, REMOVER, DELETE, OK);
        play.event(Change::Populated, 0, 7, "/web", 30);
    });
    check("it was used again", &|play| {
        done_by(play, REMOVER, DELETE, OK);
        play.event(Change::Populated, 0, 7, "/web", 30);
        play.event(Change::Emptied, 0, 7, "/web", 30);
    });
    check("another cgroup of its id", &|play| {
        done_by(play, REMOVER, DELETE, OK);
        play.event(Change::Created, 0, 7, "/else", 30);
    });
}

#[test]
fn a_cgroup_that_two_containers_were_given_is_not_for_the_first_alone_to_remove() {
    for change in [Change::Attached, Change::Populated] {
        let mut play = running_as(CREATE);
        play.begins(22, "runc create other");
        play.event(change, 0, 7, "/web", 22);
        play.exit(22, OK);
        play.event(Change::Emptied, 0, 7, "/web", 1);
        done_by(&mut play, REMOVER, DELETE, OK);
        assert_eq!(told(play), None, "{change:?}");
    }
}

#[test]
fn a_runtime_that_is_at_it_still_is_waited_for() {
    let mut play = stopped();
    done_by(&mut play, REMOVER, DELETE, OK);
    play.begins(22, "runc delete --force web");
    wait(&mut play);
    assert!(play.findings.is_empty());
    play.exit(22, OK);
    wait(&mut play);
    assert_eq!(play.only().pid().0, REMOVER);
}

#[test]
fn a_delete_that_came_before_the_creation_was_over_says_nothing() {
    let mut play = Play::new();
    play.begins(MAKER, CREATE);
    play.begins(REMOVER, "runc delete --force web");
    play.event(Change::Created, 0, 7, "/web", MAKER);
    play.exit(MAKER, OK);
    play.exit(REMOVER, OK);
    play.state("web", REMOVER, false);
    assert_eq!(told(play), None);
}

#[test]
fn what_no_runtime_was_seen_to_make_is_nobodys() {
    let check = |argv: Option<&str>, path: &str, change| {
        let mut play = Play::new();
        if let Some(argv) = argv {
            play.begins(MAKER, argv);
        }
        play.event(change, 0, 7, path, MAKER);
        play.exit(MAKER, FAILED);
        play.state("web", MAKER, false);
        done_by(&mut play, REMOVER, DELETE, OK);
        assert_eq!(told(play), None, "{argv:?} {path} {change:?}");
    };
    check(Some(CREATE), "/web", Change::Existing);
    // Around the container's own, and below.
    check(Some(CREATE), "/pods", Change::Created);
    check(Some(CREATE), "/pods/web/container", Change::Created);
    check(Some("systemd"), "/system.slice/runc-web.scope", Change::Created);
    check(Some("mkdir /web"), "/web", Change::Created);
    check(None, "/web", Change::Created);
}

#[test]
fn a_new_container_of_the_name_begins_another_life() {
    let mut play = stopped();
    done_by(&mut play, REMOVER, DELETE, OK);
    // It is given the cgroup that was left, and makes one of its own elsewhere.
    play.begins(22, CREATE);
    play.event(Change::Created, 4, 9, "/web", 22);
    play.exit(22, OK);
    assert_eq!(told(play), None);
}

#[test]
fn the_hierarchies_of_one_container_are_one_finding() {
    let mut play = Play::new();
    play.begins(MAKER, CREATE);
    for (hierarchy, id) in [(0, 7), (4, 8), (8, 9)] {
        play.event(Change::Created, hierarchy, id, "/web", MAKER);
    }
    play.exit(MAKER, FAILED);
    play.state("web", MAKER, false);
    wait(&mut play);
    assert_eq!(play.only().hierarchies, 3);
    assert!(play.only().summary.contains(" behind, empty in 3 hierarchies: "), "{}", play.only().summary);
    // It ends with the last of them.
    play.event(Change::Removed, 4, 8, "/web", 30);
    play.event(Change::Removed, 0, 7, "/web", 30);
    assert_eq!(play.findings.len(), 1);
    play.event(Change::Removed, 8, 9, "/web", 30);
    assert_eq!(play.findings.last().map(|told| (told.revision, told.severity)), Some((1, Severity::Benign)));
}

#[test]
fn processes_that_leave_the_hierarchies_one_by_one_leave_one_finding() {
    let mut play = Play::new();
    play.begins(MAKER, CREATE);
    let cgroups = [(0, 7), (4, 8), (8, 9)];
    for (hierarchy, id) in cgroups {
        play.event(Change::Created, hierarchy, id, "/web", MAKER);
        play.event(Change::Populated, hierarchy, id, "/web", MAKER);
    }
    play.exit(MAKER, OK);
    done_by(&mut play, REMOVER, DELETE, OK);
    for (hierarchy, id) in cgroups {
        play.event(Change::Emptied, hierarchy, id, "/web", 1);
    }
    // Each deadline falls due by itself, in time.
    for _ in 0..100 {
        play.pass(PATIENCE / 50);
    }
    assert_eq!(play.only().hierarchies, 3);
}

#[test]
fn a_late_removal_revises_what_was_told() {
    let mut play = stopped();
    done_by(&mut play, REMOVER, DELETE, OK);
    wait(&mut play);
    play.pass(Duration::from_secs(39));
    play.event(Change::Removed, 0, 7, "/web", 30);
    let told: Vec<_> = play.findings.iter().map(|told| (told.revision, told.severity, told.cause.word)).collect();
    let cause = "never-attempted";
    assert_eq!(told, [(0, Severity::Fault, cause), (1, Severity::Benign, cause)]);
    let summary = &play.findings[1].summary;
    assert!(summary.ends_with("it coped and exited 0; runc[30] removed it 60 s later"), "{summary}");
    assert_eq!(play.findings[1].outcome.cgroup_left, Some(false));
}

#[test]
fn what_was_lost_weakens_what_is_told() {
    let check = |ring, operation, because: &str, severity, says: &str| {
        let mut play = stopped();
        let lost = Lost { operation, ..Lost::some(BootTime(0), ring, LossReason::RingFull, 1) };
        play.feed(Input::Lost(lost));
        done_by(&mut play, REMOVER, DELETE, OK);
        wait(&mut play);
        let finding = play.only();
        assert_eq!((finding.because.clone(), finding.severity), (vec![because.to_owned()], severity));
        assert!(finding.summary.starts_with(says), "{}", finding.summary);
    };
    let lifecycle = "lifecycle events were lost meanwhile";
    check(Ring::Lifecycle, None, lifecycle, Severity::Undetermined, "runc[21] may have left the cgroup");
    let removals = "failed removals may have been lost meanwhile";
    let says = "runc[21] left the cgroup of container web behind, empty: ";
    check(Ring::Attempts, Some(Operation::Rmdir), removals, Severity::Fault, says);
}

#[test]
fn without_a_probe_on_processes_nothing_is_called_empty() {
    let mut play = Play::with_probes(&["cgroup_notify_populated"]);
    play.begins(MAKER, CREATE);
    play.event(Change::Created, 0, 7, "/web", MAKER);
    play.exit(MAKER, FAILED);
    play.state("web", MAKER, false);
    assert_eq!(told(play), None);
}

#[test]
fn a_refusal_that_was_told_as_a_fault_is_not_told_twice() {
    let mut play = stopped();
    play.begins(REMOVER, DELETE);
    play.rmdir(Errno::EROFS, "/web", REMOVER);
    play.exit(REMOVER, OK);
    play.state("web", REMOVER, false);
    wait(&mut play);
    assert_eq!(play.only().kind.as_str(), "denied-teardown");
}

#[test]
fn a_trace_that_ends_before_tells_nothing() {
    let mut play = stopped();
    done_by(&mut play, REMOVER, DELETE, OK);
    play.pass(PATIENCE / 2);
    assert!(play.tracker.finish(BootTime(play.now)).is_empty());
}
