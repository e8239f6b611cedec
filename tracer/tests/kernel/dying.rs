//! What the real kernel does not release after its removal, and what is told of that when time has passed.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cgtrace::cgroupfs;
use cgtrace::input::{BootTime, Input, Tick};
use cgtrace::output::Json;
use cgtrace::recording::TraceLine;
use cgtrace::release::keeps_pages;
use cgtrace::stream::Stream;
use serde_json::Value;

use crate::support::{Agent, Scratch, of_type, wait_for, wait_for_zombie};

/// Runs a script of a shell in a new cgroup, which is removed after its end. It is not waited for.
fn within(cgroup: &Path, script: &str) -> Child {
    fs::create_dir(cgroup).unwrap();
    let script = format!("echo $$ > {}/cgroup.procs && {script}", cgroup.display());
    let shell = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).spawn().unwrap();
    wait_for_zombie(shell.id());
    // Until 6.18 it leaves its cgroup before that, later a moment after.
    wait_for("an empty cgroup", || fs::remove_dir(cgroup).ok());
    shell
}

/// What a trace tells if nothing more happens for so long.
fn told_later(lines: &[Value], after: Duration) -> Vec<Value> {
    let mut lines = lines.iter().filter_map(|line| match TraceLine::parse(line.to_string().as_bytes()).unwrap() {
        TraceLine::Header(header) => Some(Err(header)),
        TraceLine::Input(seq, input) => Some(Ok((seq, input))),
        TraceLine::End(_) | TraceLine::Other => None,
    });
    let Some(Err(header)) = lines.next() else { panic!("a trace begins with its header") };
    let mut out = Vec::new();
    let mut json = Json::new(&mut out);
    let mut stream = Stream::begin(&header, &mut json).unwrap();
    let mut now = BootTime(0);
    for line in lines {
        let Ok((seq, mut input)) = line else { panic!("a second header") };
        now = now.max(input.at());
        stream.replay(seq, &mut input).unwrap();
    }
    for after in [after, after + Duration::from_secs(2)] {
        stream.feed(&mut Input::Tick(Tick { at: now + after })).unwrap();
    }
    let findings = crate::support::parse(&out);
    findings.into_iter().filter(|line| line["type"] == "finding").collect()
}

fn own<'a>(findings: &'a [Value], scratch: &Scratch) -> Vec<&'a Value> {
    let of_type = of_type(findings, "finding").into_iter();
    of_type.filter(|finding| finding["kind"] == "lingering-cgroup" && scratch.has(finding)).collect()
}

const TEN_MINUTES: Duration = Duration::from_secs(10 * 60);

#[test]
fn a_cgroup_whose_process_nobody_waits_for_lingers_and_one_that_was_left_does_not() {
    let scratch = Scratch::new();
    let agent = Agent::start(&[]);
    let mut zombie = within(&scratch.path.join("zombie"), ":");
    let mut fine = within(&scratch.path.join("fine"), ":");
    fine.wait().unwrap();
    let fine = format!("{}/fine", scratch.cgroup);
    agent.wait_for("a release", |line| line["change"] == "released" && line["cgroup"]["path"] == fine.as_str());
    let lines = agent.lines();
    assert!(own(&told_later(&lines, TEN_MINUTES - Duration::from_secs(5)), &scratch).is_empty());
    let later = told_later(&lines, TEN_MINUTES);
    let findings = own(&later, &scratch);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let finding = findings[0];
    assert_eq!(finding["cgroup"]["path"], format!("{}/zombie", scratch.cgroup));
    // Whether this one had the memory controller is not known: pages are said wherever cgroup2 has it.
    let kernel = lines[0]["kernel"].as_str().unwrap();
    let may_be_pages = keeps_pages(kernel) == Some(true) && controllers_of_v2().1.iter().any(|name| name == "memory");
    let (cause, severity, why) = match may_be_pages {
        true => ("pages", "benign", "pages that are charged to it may keep it"),
        false => ("unknown", "undetermined", "a zombie"),
    };
    assert_eq!((&finding["cause"], &finding["severity"]), (&cause.into(), &severity.into()), "{finding:#}");
    assert!(finding["summary"].as_str().unwrap().contains(why), "{finding:#}");
    // It lets go as soon as its parent asks how it ended.
    zombie.wait().unwrap();
    let held = format!("{}/zombie", scratch.cgroup);
    agent.wait_for("a release", |line| line["change"] == "released" && line["cgroup"]["path"] == held.as_str());
    assert!(own(&told_later(&agent.finish(), TEN_MINUTES), &scratch).is_empty());
}

#[test]
fn a_page_in_a_tmpfs_keeps_a_v1_memory_cgroup_before_7_1() {
    let scratch = Scratch::on_v1("memory");
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let file = directory.path().join("file");
    let agent = Agent::start(&[]);
    let script = format!("head -c 8192 /dev/zero > {}", file.display());
    // Whoever reads a program first is charged for its pages: not the one in the cgroup.
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    fs::remove_file(&file).unwrap();
    assert!(within(&scratch.path.join("page"), &script).wait().unwrap().success());
    let page = format!("{}/page", scratch.cgroup);
    let removed = agent.wait_for("its removal", |line| line["change"] == "removed" && line["cgroup"]["path"] == *page);
    let kernel = agent.lines()[0]["kernel"].as_str().unwrap().to_owned();
    let is_release = |line: &Value| line["change"] == "released" && line["cgroup"]["path"] == page.as_str();
    if keeps_pages(&kernel) == Some(false) {
        agent.wait_for("its release", is_release);
        return;
    }
    // Whatever could be released by now is.
    std::thread::sleep(Duration::from_secs(2));
    let lines = agent.lines();
    assert!(!lines.iter().any(is_release));
    let later = told_later(&lines, TEN_MINUTES);
    let findings = own(&later, &scratch);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    let finding = findings[0];
    assert_eq!((&finding["cause"], &finding["severity"]), (&"pages".into(), &"benign".into()), "{finding:#}");
    assert_eq!(finding["evidence"].as_array().unwrap().last(), Some(&removed["seq"]), "{finding:#}");
    fs::remove_file(&file).unwrap();
    agent.wait_for("its release", is_release);
}

#[test]
fn what_was_dying_before_is_counted_at_the_start() {
    let scratch = Scratch::new();
    let mut zombies: Vec<Child> = (0..3).map(|number| within(&scratch.path.join(number.to_string()), ":")).collect();
    let dying = || {
        let stat = fs::read_to_string(scratch.path.join("cgroup.stat")).unwrap();
        stat.contains("nr_dying_descendants 3").then_some(())
    };
    wait_for("the kernel's count", dying);
    let (lines, _) = crate::support::traced(&[], &["true"]);
    let counted = of_type(&lines, "facts").into_iter().find(|facts| facts["about"] == "dying").unwrap();
    assert!(counted["count"].as_u64().unwrap() >= 3, "{counted}");
    assert_eq!(zombies.iter_mut().filter_map(|zombie| zombie.wait().ok()).count(), 3);
}

#[test]
fn what_is_counted_below_a_cgroup_is_no_count_of_the_host() {
    let scratch = Scratch::new();
    let mut zombie = within(&scratch.path.join("zombie"), ":");
    let (_, mut hierarchies) = cgroupfs::hierarchies().unwrap();
    assert!(cgroupfs::dying(&hierarchies).is_some_and(|count| count > 0));
    // As an agent in a cgroup namespace of its own has it.
    let v2 = hierarchies.iter_mut().find(|hierarchy| hierarchy.version == 2).unwrap();
    v2.mount = Some(scratch.path.to_str().unwrap().into());
    assert_eq!(cgroupfs::dying(&hierarchies), None);
    zombie.wait().unwrap();
}

/// Where cgroup2 is mounted, and the controllers that are known of it.
fn controllers_of_v2() -> (String, Vec<String>) {
    let (_, hierarchies) = cgroupfs::hierarchies().unwrap();
    let v2 = hierarchies.into_iter().find(|hierarchy| hierarchy.version == 2).unwrap();
    (v2.mount.unwrap().to_str().unwrap().to_owned(), v2.controllers)
}

#[test]
fn the_controllers_of_cgroup2_are_known() {
    let (mount, controllers) = controllers_of_v2();
    let has = fs::read_to_string(Path::new(&mount).join("cgroup.controllers")).unwrap();
    assert_eq!(controllers, has.split_whitespace().collect::<Vec<_>>());
}
