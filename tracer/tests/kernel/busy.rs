//! Removals that the real kernel refuses because a cgroup is in use, and who was in the way.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Agent, Scratch, of_type, wait_for};

/// A program that is called like a runtime, and removes a cgroup itself: it waits until its command line was read,
/// tries so many times, every hundred milliseconds, and says by its status how that went.
const DELETE: &str = r#"
my ($at, $tries, $id) = @ARGV[-3, -2, -1];
(my $gate = $id) =~ tr{/}{-};
until (-e "gate-$gate") { select(undef, undef, undef, 0.02) }
for (1..$tries) { rmdir("$at/$id") and exit 0; select(undef, undef, undef, 0.1) }
exit 1;
"#;

/// Its first thread joins a cgroup and ends, another one goes on.
const HEADLESS: &str = "
import ctypes, sys, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
open(sys.argv[1], 'w').write('0')
ctypes.CDLL(None).syscall(int(sys.argv[2]), 0)
";

struct Stage {
    scratch: Scratch,
    directory: tempfile::TempDir,
    agent: Agent,
}

/// A process in a cgroup. It ends with the test.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.end();
    }
}

impl Stage {
    fn new(scratch: Scratch) -> Self {
        let directory = tempfile::tempdir().unwrap();
        symlink("/usr/bin/perl", directory.path().join("runc")).unwrap();
        std::fs::write(directory.path().join("delete"), DELETE).unwrap();
        let agent = Agent::start(&["--benign"]);
        Self { scratch, directory, agent }
    }

    /// A cgroup, with a process in it that was started well before.
    fn occupied(&self, name: &str) -> Sleeper {
        let path = self.cgroup(name);
        let sleeper = Sleeper::new();
        std::fs::write(path.join("cgroup.procs"), sleeper.pid().to_string()).unwrap();
        // The agent knows whom it sees, and when they began to the hundredth of a second.
        self.agent.wait_for_text(&format!("\"task\":{{\"pid\":{}", sleeper.pid()));
        std::thread::sleep(Duration::from_millis(50));
        sleeper
    }

    fn cgroup(&self, name: &str) -> PathBuf {
        let path = self.scratch.path.join(name);
        std::fs::create_dir_all(&path).unwrap();
        self.agent.wait_for_text(&format!("{}/{name}\"", self.scratch.cgroup));
        path
    }

    /// A runtime that deletes so: it has begun to try when this returns.
    fn deletes(&self, name: &str, tries: u32) -> Child {
        let mut command = Command::new("./runc");
        command.arg("delete").arg(&self.scratch.path).args([&tries.to_string(), name]);
        let runtime = command.current_dir(self.directory.path()).stdin(Stdio::null()).spawn().unwrap();
        self.agent.wait_for_text(&format!("\"{tries}\",\"{name}\"]"));
        std::fs::write(self.directory.path().join(format!("gate-{}", name.replace('/', "-"))), "").unwrap();
        runtime
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.scratch.cgroup)
    }

    /// What was told first of a cgroup.
    fn told(&self, name: &str) -> Value {
        let path = self.path(name);
        self.agent.wait_for(name, |line| line["type"] == "finding" && line["cgroup"]["path"] == path.as_str())
    }

    /// What is told of a cgroup that a runtime could not remove in one try.
    fn in_the_way(&self, name: &str, cause: &str, why: &str) {
        assert_eq!(self.deletes(name, 1).wait().unwrap().code(), Some(1));
        let finding = self.told(name);
        assert_eq!((&finding["kind"], &finding["cause"]), (&"busy-teardown".into(), &cause.into()), "{finding:#}");
        assert_eq!((&finding["severity"], &finding["certainty"]), (&"fault".into(), &"certain".into()), "{finding:#}");
        let summary = finding["summary"].as_str().unwrap();
        assert!(summary.contains(&format!("which was in use: {why}; it exited 1")), "{summary}");
    }
}

#[test]
fn who_was_in_the_way_is_named() {
    let stage = Stage::new(Scratch::new());
    let sleeper = stage.occupied("live");
    stage.in_the_way("live", "live-processes", &format!("sleep[{}] was in it", sleeper.pid()));
    let frozen = stage.occupied("frozen");
    std::fs::write(stage.scratch.path.join("frozen/cgroup.freeze"), "1").unwrap();
    let events = stage.scratch.path.join("frozen/cgroup.events");
    wait_for("the freezer", || std::fs::read_to_string(&events).unwrap().contains("frozen 1").then_some(()));
    stage.in_the_way("frozen", "frozen", &format!("sleep[{}] was in it, and frozen", frozen.pid()));
    stage.cgroup("outer/inner");
    let inner = stage.path("outer/inner");
    stage.in_the_way("outer", "child-cgroups", &format!("cgroup {inner} was in it"));
    let deep = stage.occupied("deep/inner");
    stage.in_the_way("deep", "child-cgroups", &format!("cgroup {} was in it", stage.path("deep/inner")));
    drop(deep);
    // A threaded cgroup has threads, and no list of processes.
    let domain = stage.cgroup("domain");
    let threaded = stage.cgroup("domain/threads");
    std::fs::write(threaded.join("cgroup.type"), "threaded").unwrap();
    let thread = Sleeper::new();
    std::fs::write(domain.join("cgroup.procs"), thread.pid().to_string()).unwrap();
    std::fs::write(threaded.join("cgroup.threads"), thread.pid().to_string()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    stage.in_the_way("domain/threads", "live-processes", &format!("sleep[{}] was in it", thread.pid()));
}

/// What `/proc` says of a process.
fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z"))
}

fn headless(stage: &Stage, name: &str) -> Sleeper {
    let procs = stage.cgroup(name).join("cgroup.procs");
    let mut command = Command::new("python3");
    command.args(["-c", HEADLESS]).arg(procs).arg(libc::SYS_exit.to_string()).stdin(Stdio::null());
    let headless = Sleeper(command.spawn().unwrap());
    stage.agent.wait_for_text(&format!("\"task\":{{\"pid\":{}", headless.pid()));
    wait_for("the end of the first thread", || is_zombie(headless.pid()).then_some(()));
    headless
}

#[test]
fn a_process_lives_as_long_as_any_of_its_threads_and_no_longer() {
    for scratch in [Some(Scratch::new()), Scratch::v1("freezer")].into_iter().flatten() {
        let stage = Stage::new(scratch);
        let process = headless(&stage, "headless");
        stage.in_the_way("headless", "live-processes", &format!("python3[{}] was in it", process.pid()));
        // Of a zombie alone newer kernels say nothing. Older ones refuse, and nobody lives in it.
        let mut zombie = stage.occupied("zombie");
        zombie.0.kill().unwrap();
        wait_for("the zombie", || is_zombie(zombie.pid()).then_some(()));
        if stage.deletes("zombie", 1).wait().unwrap().code() == Some(1) {
            let cause = stage.told("zombie")["cause"].clone();
            assert!(["exiting", "unknown"].contains(&cause.as_str().unwrap()), "{cause}");
        }
    }
}

#[test]
fn a_frozen_cgroup_of_v1_is_told_as_one() {
    let stage = Stage::new(Scratch::on_v1("freezer"));
    let sleeper = stage.occupied("frozen");
    let state = stage.scratch.path.join("frozen/freezer.state");
    std::fs::write(&state, "FROZEN").unwrap();
    wait_for("the freezer", || std::fs::read_to_string(&state).unwrap().starts_with("FROZEN").then_some(()));
    stage.in_the_way("frozen", "frozen", &format!("sleep[{}] was in it, and frozen", sleeper.pid()));
    std::fs::write(&state, "THAWED").unwrap();
    // SIGKILL does not act in it.
    let killed = stage.occupied("killed");
    let state = stage.scratch.path.join("killed/freezer.state");
    std::fs::write(&state, "FROZEN").unwrap();
    wait_for("the freezer", || std::fs::read_to_string(&state).unwrap().starts_with("FROZEN").then_some(()));
    // SAFETY: it is a child of this process that was not waited for.
    assert_eq!(unsafe { libc::kill(killed.pid() as i32, libc::SIGKILL) }, 0);
    stage.in_the_way("killed", "frozen", &format!("sleep[{}] was in it, and frozen", killed.pid()));
    stage.agent.wait_for_text("\"state\":\"killed\"");
    std::fs::write(&state, "THAWED").unwrap();
    let sleeper = stage.occupied("thawed");
    stage.in_the_way("thawed", "live-processes", &format!("sleep[{}] was in it", sleeper.pid()));
}

#[test]
fn what_is_made_good_in_time_is_not_told() {
    let stage = Stage::new(Scratch::new());
    // A ladder, and the process ends on the way.
    let mut sleeper = stage.occupied("ladder");
    let mut ladder = stage.deletes("ladder", 100);
    let path = stage.path("ladder");
    stage.agent.wait_for("a refusal", |line| line["errno"] == "EBUSY" && line["cgroup"]["path"] == path.as_str());
    std::thread::sleep(Duration::from_millis(2_500));
    sleeper.end();
    assert_eq!(ladder.wait().unwrap().code(), Some(0));
    // The first one fails, and whoever called it tries again.
    let mut sleeper = stage.occupied("again");
    assert_eq!(stage.deletes("again", 1).wait().unwrap().code(), Some(1));
    sleeper.end();
    std::fs::remove_dir(stage.scratch.path.join("again")).unwrap();
    // The outer one is tried first.
    stage.cgroup("nested/inner");
    for name in ["nested", "nested/inner", "nested"] {
        let _ = std::fs::remove_dir(stage.scratch.path.join(name));
    }
    // One that is left, so that all before it is known to be judged.
    let last = stage.occupied("last");
    assert_eq!(stage.deletes("last", 1).wait().unwrap().code(), Some(1));
    stage.told("last");
    drop(last);
    let lines = stage.agent.finish();
    let own = |kind| of_type(&lines, kind).into_iter().filter(|line| stage.scratch.has(line));
    let refused = own("attempt").filter(|line| line["errno"] == "EBUSY").count();
    assert!(refused > 20, "{refused}");
    let told: Vec<&str> = own("finding").map(|finding| finding["cgroup"]["path"].as_str().unwrap()).collect();
    assert_eq!(told, [stage.scratch.cgroup.clone() + "/last"]);
}
