//! Calls that do not return, and what is known of why.

use crate::errno::Errno;
use crate::findings::{Cause, Finding, Kind, Severity};
use crate::input::{Actor, BootTime, CgroupId, Change, Exiting, HierarchyId, Input, Operation, Pid, Stuck, Unreaped};
use crate::tracker::tests::Play;

const V2: u32 = 0;
pub(in crate::rules) const CALLER: u32 = 30;
const OTHER: u32 = 31;
const SECOND: u64 = 1_000_000_000;

/// Two cgroups, `/web` (7) and `/db` (8), and calls on them.
pub(in crate::rules) struct Scene {
    pub play: Play,
    began: u64,
}

impl Scene {
    pub fn new() -> Self {
        let mut play = Play::new();
        play.event(Change::Existing, V2, 7, "/web", 1);
        play.event(Change::Existing, V2, 8, "/db", 1);
        Self { play, began: 5 }
    }

    pub fn call(&mut self, pid: u32, id: u64, operation: Operation, file: Option<&str>) -> Stuck {
        self.began += 1;
        Stuck {
            at: BootTime(0),
            began: BootTime(self.began),
            operation,
            file: file.map(Into::into),
            name: (operation == Operation::Mkdir).then(|| "new".into()),
            hierarchy: HierarchyId(V2),
            id: CgroupId(id),
            cgroup: None,
            container: None,
            actor: Actor::new(Pid(pid), pid, "manager".into(), Some(0)),
            waits_in: None,
            exiting: Vec::new(),
            took_ns: None,
            errno: None,
        }
    }

    /// Tells of it; the findings so far are then asked for.
    fn tell(&mut self, call: &Stuck) -> Finding {
        self.play.feed(Input::Stuck(call.clone()));
        self.play.findings.last().cloned().expect("a finding")
    }
}

#[track_caller]
fn check(finding: &Finding, cause: &str, severity: Severity, words: &[&str]) {
    assert_eq!(finding.kind, Kind::named("stuck-call"));
    assert_eq!((finding.cause, finding.severity), (Cause::named(cause), severity), "{}", finding.summary);
    for word in words {
        assert!(finding.summary.contains(word), "{word}: {}", finding.summary);
    }
}

fn in_function(call: Stuck, function: &str) -> Stuck {
    Stuck { waits_in: Some(function.to_owned()), ..call }
}

#[test]
fn a_remover_that_is_to_reap_whom_it_waits_for_never_returns() {
    let mut scene = Scene::new();
    let call = in_function(scene.call(CALLER, 7, Operation::Rmdir, None), "cgroup_drain_dying");
    let unreaped = Some(Unreaped { pid: Pid(42), comm: "worker".into() });
    let waits_in = Some("zap_pid_ns_processes".to_owned());
    let exiting = Exiting { pid: Pid(41), comm: "init".into(), waits_in, unreaped };
    let finding = scene.tell(&Stuck { exiting: vec![exiting], ..call });
    check(
        &finding,
        "waits-for-exit",
        Severity::Fault,
        &["rmdir of cgroup /web", "init[41]", "until worker[42] is reaped", "for manager[30] itself to do"],
    );
}

#[test]
fn a_call_that_has_returned_is_told_again_with_how_long_it_took_and_what_it_had_waited_for() {
    let mut scene = Scene::new();
    let call = in_function(scene.call(CALLER, 7, Operation::Rmdir, None), "cgroup_drain_dying");
    let first = scene.tell(&call);
    check(&first, "waits-for-exit", Severity::Undetermined, &["does not return"]);
    scene.play.event(Change::Removed, V2, 7, "/web", CALLER);
    scene.play.event(Change::Released, V2, 7, "/web", 1);
    let over = Stuck { waits_in: None, took_ns: Some(7 * SECOND), ..call.clone() };
    let second = scene.tell(&over);
    check(&second, "waits-for-exit", Severity::Benign, &["for 7.00 s", "it has returned: it waited for"]);
    assert_eq!((second.id, second.revision), (first.id, 1));

    let mut scene = Scene::new();
    let first = scene.tell(&call);
    let failed = Stuck { took_ns: Some(3 * SECOND), errno: Some(Errno::EBUSY), ..call };
    let second = scene.tell(&failed);
    check(&second, "waits-for-exit", Severity::Undetermined, &["failed with EBUSY"]);
    assert_eq!((second.id, second.revision), (first.id, 1));
}

#[test]
fn a_write_below_what_is_used_takes_memory_back_whatever_its_thread_does_at_the_moment() {
    for (file, function, cause) in [
        ("memory.high", None, "waits-for-reclaim"),
        ("memory.max", Some("folio_wait_writeback"), "waits-for-reclaim"),
        ("memory.reclaim", Some("reclaim_throttle"), "waits-for-reclaim"),
        ("memory.limit_in_bytes", Some("mem_cgroup_resize_max"), "waits-for-lock"),
        ("memory.high", Some("__refrigerator"), "frozen"),
        ("cgroup.procs", Some("percpu_rwsem_wait"), "unknown"),
        ("cgroup.procs", None, "unknown"),
    ] {
        let mut scene = Scene::new();
        let call = scene.call(CALLER, 7, Operation::Write, Some(file));
        let finding = scene.tell(&Stuck { waits_in: function.map(str::to_owned), ..call });
        check(&finding, cause, Severity::Undetermined, &[&format!("a write to {file} of cgroup /web")]);
    }
}

#[test]
fn who_waits_for_the_lock_is_told_who_holds_it_and_what_that_one_waits_for() {
    let mut scene = Scene::new();
    let write = scene.call(CALLER, 7, Operation::Write, Some("memory.max"));
    scene.tell(&write);
    let removal = in_function(scene.call(OTHER, 7, Operation::Rmdir, None), "kernfs_drain");
    let finding = scene.tell(&removal);
    let user = "nobody uses a file of the cgroup: manager[30] in a write to memory.max of it (the kernel takes";
    check(&finding, "waits-for-lock", Severity::Undetermined, &["rmdir of cgroup /web", user]);
    let third = in_function(scene.call(32, 8, Operation::Mkdir, None), "cgroup_kn_lock_live");
    let finding = scene.tell(&third);
    check(
        &finding,
        "waits-for-lock",
        Severity::Undetermined,
        &["the mkdir of cgroup /db/new", "which manager[31] in the rmdir of cgroup /web", "memory back"],
    );
}

#[test]
fn who_holds_the_lock_is_not_guessed() {
    let mut scene = Scene::new();
    let write = scene.call(CALLER, 7, Operation::Write, Some("cgroup.procs"));
    scene.tell(&write);
    let waiter = in_function(scene.call(OTHER, 8, Operation::Rmdir, None), "cgroup_kn_lock_live");
    let finding = scene.tell(&waiter);
    check(&finding, "waits-for-lock", Severity::Undetermined, &["who holds it is not known"]);
}

#[test]
fn a_cgroup_whose_name_may_be_cut_short_is_not_known() {
    let mut scene = Scene::new();
    let call = scene.call(CALLER, 7, Operation::Mkdir, None);
    let name = Some("n".repeat(tracer_ebpf::LONGEST_IN_FLIGHT - 1).as_str().into());
    scene.play.feed(Input::Stuck(Stuck { name, ..call }));
    assert!(scene.play.findings.is_empty(), "{:#?}", scene.play.findings);
}

#[test]
fn a_call_of_which_only_the_return_is_told_is_told_with_how_long_it_took() {
    let mut scene = Scene::new();
    let call = scene.call(CALLER, 7, Operation::Write, Some("memory.high"));
    let finding = scene.tell(&Stuck { took_ns: Some(2 * SECOND + 100), ..call });
    check(&finding, "waits-for-reclaim", Severity::Benign, &["for 2.00 s; it has returned: the kernel took memory"]);
}
