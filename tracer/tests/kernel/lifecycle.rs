//! The cgroup tracepoints.

use std::process::Command;

use cgtrace::input::{Change, Event, Input};
use cgtrace::kernel::{Options, Plan};

use crate::support::{Scratch, c_path, fork, mkdir, rmdir, write};
use crate::{Kernel, plan};

fn events<'a>(inputs: &'a [Input], scratch: &Scratch) -> Vec<&'a Event> {
    let is_ours = |path: &str| path.starts_with(&format!("{}/", scratch.cgroup));
    inputs
        .iter()
        .filter_map(|input| match input {
            Input::Event(event) => Some(event),
            _ => None,
        })
        .filter(|event| event.cgroup.path.to_str().is_some_and(is_ours))
        .filter(|event| event.cgroup.hierarchy.0 == scratch.hierarchy)
        .collect()
}

/// With and without tracefs.
fn both_ways(check: impl Fn(&Plan)) {
    for classic in [true, false] {
        check(&Plan { classic, ..plan() });
    }
}

#[test]
fn a_cgroups_life_is_told_in_order_with_its_id_and_whoever_did_it() {
    use std::os::unix::fs::MetadataExt;
    both_ways(|plan| {
        let scratch = Scratch::new();
        let mut kernel = Kernel::start(plan, &Options::default());
        let path = scratch.path.join("a");
        let (directory, procs) = (c_path(&path), c_path(path.join("cgroup.procs")));
        let maker = fork(|| mkdir(&directory));
        let maker_pid = maker.0 as u32;
        assert_eq!(maker.wait(), 0);
        let id = std::fs::metadata(&path).unwrap().ino();
        let member = fork(|| write(&procs, b"0"));
        let member_pid = member.0 as u32;
        assert_eq!(member.wait(), 0);
        let remover = fork(|| rmdir(&directory));
        let remover_pid = remover.0 as u32;
        assert_eq!(remover.wait(), 0);
        let released = |inputs: &[Input]| events(inputs, &scratch).iter().any(|e| e.change == Change::Released);
        let mut events = events(kernel.wait_until("the release", released), &scratch);
        events.sort_by_key(|event| event.at);
        let changes: Vec<Change> = events.iter().map(|event| event.change).collect();
        let told: Vec<Change> = changes.iter().copied().filter(|change| *change != Change::Attached).collect();
        let life = [Change::Created, Change::Populated, Change::Emptied, Change::Removed, Change::Released];
        assert_eq!(told, life, "{changes:?}");
        for event in &events {
            assert_eq!(event.cgroup.id.map(|id| id.0), Some(id));
            assert_eq!(event.cgroup.level, Some(2));
            assert_eq!(event.cgroup.path.to_str(), Some(format!("{}/a", scratch.cgroup).as_str()));
            let pid = event.actor.as_ref().map(|actor| actor.pid.0);
            match event.change {
                Change::Created => assert_eq!(pid, Some(maker_pid)),
                Change::Removed => assert_eq!(pid, Some(remover_pid)),
                Change::Released => assert_eq!(pid, None, "a kernel worker is nobody in particular"),
                Change::Attached => assert_eq!(event.task.as_ref().and_then(|task| task.tid), Some(member_pid)),
                // Raised in whatever task runs next.
                Change::Emptied if plan.emptied_by_next => assert_eq!(pid, None),
                _ => assert_eq!(pid, Some(member_pid)),
            }
        }
        assert!(changes.contains(&Change::Attached), "{changes:?}");
    });
}

#[test]
fn a_thread_that_is_moved_is_told_by_its_own_id() {
    both_ways(|plan| {
        let scratch = Scratch::new();
        let mut kernel = Kernel::start(plan, &Options::default());
        std::fs::create_dir_all(scratch.path.join("domain/threads")).unwrap();
        std::fs::write(scratch.path.join("domain/threads/cgroup.type"), "threaded").unwrap();
        let program = "
import threading, os, sys
def move(file, task):
    with open(sys.argv[1] + file, 'w') as f:
        f.write(str(task))
def of_thread():
    print(os.getpid(), threading.get_native_id(), flush=True)
    move('/domain/threads/cgroup.threads', threading.get_native_id())
move('/domain/cgroup.procs', os.getpid())
thread = threading.Thread(target=of_thread)
thread.start()
thread.join()";
        let done = Command::new("python3").args(["-c", program]).arg(&scratch.path).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let text = String::from_utf8(done.stdout).unwrap();
        let numbers: Vec<u32> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [process, thread] = numbers[..] else { panic!("{text}") };
        let moved = |inputs: &[Input], directory: &str| {
            let is_it = |event: &&&Event| {
                event.change == Change::Attached
                    && event.cgroup.path.to_str().is_some_and(|path| path.ends_with(directory))
            };
            events(inputs, &scratch).iter().find(is_it).and_then(|event| event.task.clone())
        };
        let inputs = kernel.wait_until("the move of a thread", |inputs| moved(inputs, "/threads").is_some());
        // The classic tracepoint does not tell the thread group.
        let of = |tid: u32| Some((Some(tid), (!plan.classic).then_some(process)));
        let told = |directory: &str| moved(inputs, directory).map(|task| (task.tid, task.pid.map(|pid| pid.0)));
        assert_eq!(told("/domain"), of(process), "the whole process");
        assert_eq!(told("/threads"), of(thread), "one thread");
        assert_ne!(process, thread);
    });
}

#[test]
fn freezing_is_told_when_it_is_asked_for_and_when_it_is_so() {
    both_ways(|plan| {
        let scratch = Scratch::new();
        let mut kernel = Kernel::start(plan, &Options::default());
        let path = scratch.path.join("f");
        std::fs::create_dir(&path).unwrap();
        let freeze = c_path(path.join("cgroup.freeze"));
        assert_eq!(fork(|| write(&freeze, b"1")).wait(), 0);
        assert_eq!(fork(|| write(&freeze, b"0")).wait(), 0);
        let told = |inputs: &[Input]| -> Vec<(Change, bool)> {
            let mut events = events(inputs, &scratch);
            events.sort_by_key(|event| event.at);
            events.iter().filter(|e| e.change != Change::Created).map(|e| (e.change, e.requested)).collect()
        };
        let thawed = |inputs: &[Input]| told(inputs).contains(&(Change::Thawed, false));
        let mut all = told(kernel.wait_until("the thaw", thawed));
        all.sort_by_key(|(change, requested)| (*change == Change::Thawed, !requested));
        let asked_and_so =
            [(Change::Frozen, true), (Change::Frozen, false), (Change::Thawed, true), (Change::Thawed, false)];
        assert_eq!(all, asked_and_so);
    });
}

#[test]
fn a_v1_cgroup_can_have_a_new_name() {
    // Only cgroup v1 can rename.
    let scratch = Scratch::on_v1("pids");
    both_ways(|plan| {
        let mut kernel = Kernel::start(plan, &Options::default());
        let (old, new) = (scratch.path.join("old"), scratch.path.join("new"));
        std::fs::create_dir(&old).unwrap();
        let (from, to) = (c_path(&old), c_path(&new));
        // SAFETY: both paths end in a zero.
        assert_eq!(fork(|| unsafe { libc::rename(from.as_ptr(), to.as_ptr()) }).wait(), 0);
        let renamed = |inputs: &[Input]| events(inputs, &scratch).iter().any(|event| event.change == Change::Renamed);
        let events = events(kernel.wait_until("the new name", renamed), &scratch);
        let renamed = events.iter().find(|event| event.change == Change::Renamed).unwrap();
        assert!(renamed.cgroup.path.to_str().unwrap().ends_with("/new"));
        std::fs::remove_dir(new).unwrap();
    });
}
