//! Who undoes what another one had done in a cgroup: played by programs that have nothing to do with each other.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cgtrace::kernel::Backend;
use serde_json::Value;

use crate::plan;
use crate::support::{Agent, Scratch, c_path, of_type, wait_for};

const CONTAINER: &str = "5d1b0c8f2a9e4763b1c0d2e3f4a5968778695a4b3c2d1e0f9a8b7c6d5e4f3a2b";

/// A directory of a test's own, on a file system that has no cgroups.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let place = std::env::temp_dir().join(format!("cgtrace-{name}-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        Self(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A program whose parent is the host's first process, and that writes what it is given to a control file.
struct Writer {
    orders: File,
    file: PathBuf,
}

impl Writer {
    fn new(place: &Place, name: &str, file: &Path) -> Self {
        let fifo = place.0.join(name);
        // SAFETY: the path is a C string that outlives the call.
        assert_eq!(unsafe { libc::mkfifo(c_path(&fifo).as_ptr(), 0o600) }, 0);
        let script = place.0.join(format!("{name}.sh"));
        fs::write(&script, "while read -r value; do printf %s \"$value\" > \"$2\"; done < \"$1\"\n").unwrap();
        let started = Command::new("setsid").args(["-f", "sh"]).args([&script, &fifo]).arg(file).status().unwrap();
        assert!(started.success());
        Self { orders: OpenOptions::new().write(true).open(&fifo).unwrap(), file: file.to_owned() }
    }

    fn set(&mut self, value: &str) {
        self.orders.write_all(format!("{value}\n").as_bytes()).unwrap();
        let is_set = || (fs::read_to_string(&self.file).unwrap().trim() == value).then_some(());
        wait_for(value, is_set);
    }
}

fn contested(lines: &[Value]) -> Vec<&Value> {
    of_type(lines, "finding").into_iter().filter(|line| line["kind"] == "contested-cgroup").collect()
}

/// What was written to the file, by whom.
fn written<'a>(lines: &'a [Value], scratch: &Scratch) -> Vec<(&'a str, u64)> {
    let all = of_type(lines, "change").into_iter().filter(|line| scratch.has(line));
    all.map(|line| (line["value"].as_str().unwrap(), line["actor"]["pid"].as_u64().unwrap())).collect()
}

#[test]
fn two_writers_that_fight_over_one_limit_are_one_finding_with_a_count() {
    let (scratch, place) = (Scratch::new(), Place::new("fight"));
    let agent = Agent::start(&["--only", "lifecycle", "--only", "changes", "--only", "findings"]);
    let file = scratch.path.join("cgroup.max.descendants");
    let (mut one, mut other) = (Writer::new(&place, "one", &file), Writer::new(&place, "other", &file));
    for _ in 0..4 {
        one.set("5");
        other.set("7");
    }
    agent.catch_up();
    let lines = agent.finish();
    let told = written(&lines, &scratch);
    if plan().backend != Backend::Trampoline {
        assert!(told.is_empty() && contested(&lines).is_empty(), "without trampolines nobody sees it: {lines:#?}");
        return;
    }
    let values: Vec<&str> = told.iter().map(|(value, _)| *value).collect();
    assert_eq!(values, ["5", "7", "5", "7", "5", "7", "5", "7"]);
    let (first, second) = (told[0].1, told[1].1);
    assert!(first != second && told.iter().all(|(value, pid)| *pid == if *value == "5" { first } else { second }));
    let findings = contested(&lines);
    let last = findings.last().expect("a finding");
    assert!(findings.iter().all(|finding| finding["id"] == last["id"]), "{findings:#?}");
    assert_eq!((&last["cause"], &last["severity"]), (&"changed-by-other".into(), &"undetermined".into()), "{last}");
    assert_eq!((&last["certainty"], &last["actor"]["pid"]), (&"certain".into(), &second.into()), "{last}");
    let summary = last["summary"].as_str().unwrap();
    let begin = format!(
        "sh[{second}] changed cgroup.max.descendants of cgroup {} from \"5\" to \"7\", where sh[{first}] had set it ",
        scratch.cgroup
    );
    assert!(summary.starts_with(&begin), "{summary}");
    assert!(summary.ends_with(" before, the first of 6 changes that the two have undone"), "{summary}");
}

#[test]
fn a_limit_of_a_container_that_a_stranger_changes_is_told_with_its_author_and_again_when_it_is_set_back() {
    let (scratch, place) = (Scratch::new(), Place::new("changed"));
    let own = scratch.path.join(format!("docker-{CONTAINER}.scope"));
    fs::create_dir(&own).unwrap();
    let agent = Agent::start(&["--only", "lifecycle", "--only", "changes", "--only", "findings"]);
    let file = own.join("cgroup.max.descendants");
    let as_runtime = |value: &str| {
        let script = format!("printf {value} > {}", file.display());
        assert!(Command::new("sh").arg0("runc").args(["-c", &script]).status().unwrap().success());
    };
    as_runtime("5");
    let mut stranger = Writer::new(&place, "stranger", &file);
    stranger.set("9");
    if plan().backend == Backend::Trampoline {
        let is_it = |line: &Value| line["kind"] == "contested-cgroup" && line["container"]["id"] == CONTAINER;
        let finding = agent.wait_for("the finding", is_it);
        assert_eq!((&finding["cause"], &finding["severity"]), (&"changed-by-other".into(), &"undetermined".into()));
        let summary = finding["summary"].as_str().unwrap();
        let middle = format!("of the cgroup of container {CONTAINER} from \"5\" to \"9\", where ");
        assert!(summary.contains(&middle), "{summary}");
    }
    as_runtime("5");
    agent.catch_up();
    let lines = agent.finish();
    let last = contested(&lines).last().map(|finding| finding["severity"].clone());
    let expected = (plan().backend == Backend::Trampoline).then(|| "benign".into());
    assert_eq!(last, expected, "{lines:#?}");
}

#[test]
fn who_removes_a_containers_cgroup_before_anybody_is_in_it_is_told_with_the_start_that_failed() {
    let (scratch, place) = (Scratch::new(), Place::new("removed"));
    let agent = Agent::start(&[]);
    // A runtime as far as its command line tells: it makes the cgroup, and is to put somebody into it.
    let script = "mkdir $ARGV[1] or exit 3; <STDIN>; open(my $file, '>', \"$ARGV[1]/cgroup.procs\") or exit 1;";
    fs::write(place.0.join("create"), script).unwrap();
    let id = format!("unused-{}", std::process::id());
    let own = scratch.path.join(&id);
    let mut runtime = Command::new("perl")
        .arg0("runc")
        .args(["create", &id])
        .arg(&own)
        .current_dir(&place.0)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the cgroup", || own.is_dir().then_some(()));
    assert!(Command::new("setsid").args(["-f", "rmdir"]).arg(&own).status().unwrap().success());
    wait_for("its removal", || (!own.is_dir()).then_some(()));
    drop(runtime.stdin.take());
    assert!(!runtime.wait().unwrap().success());
    let finding = agent.wait_for("the finding", |line| line["kind"] == "contested-cgroup" && scratch.has(line));
    assert_eq!((&finding["cause"], &finding["severity"]), (&"removed-by-other".into(), &"fault".into()), "{finding}");
    let summary = finding["summary"].as_str().unwrap();
    assert!(summary.starts_with("rmdir["), "{summary}");
    assert!(summary.contains(&format!(" removed the cgroup of container {id}, which ")), "{summary}");
    assert!(summary.contains(" and had put nobody into yet; "), "{summary}");
    let lines = agent.finish();
    let of_it: Vec<_> = of_type(&lines, "finding").into_iter().filter(|line| scratch.has(line)).collect();
    assert!(of_it.iter().all(|line| line["id"] == finding["id"]), "it is told once: {of_it:#?}");
}
