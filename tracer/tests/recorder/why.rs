//! `cgtrace why`: questions as people ask them, of recorded runs.

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::{run, text};
use crate::support::{CGTRACE, parse};

fn recording(name: &str) -> String {
    format!("{}/tests/recordings/{name}.jsonl", env!("CARGO_MANIFEST_DIR"))
}

fn why(what: &str, name: &str) -> Output {
    run(&["why", what, &recording(name)])
}

#[test]
fn a_pasted_line_is_answered_and_what_nobody_knows_is_said() {
    let line = "unable to remove container's cgroup: open /sys/fs/cgroup/b05bzm3so1yqejoj60u5ud8fl: no such file or \
                directory";
    let told = why(line, "incident");
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stderr));
    let answer = text(&told.stdout);
    let places = ["never created", "mkdir EROFS", "known issue looks like runc#4518", "what to do", "processes"]
        .map(|part| answer.find(part).unwrap_or_else(|| panic!("{part:?} is not in {answer}")));
    assert!(places.is_sorted(), "the paragraph is first, then the story: {answer}");

    let unknown = why("/sys/fs/cgroup/elsewhere", "incident");
    assert_eq!((unknown.status.code(), text(&unknown.stdout)), (Some(1), String::new()));
    assert!(text(&unknown.stderr).contains("nothing is known of it in "), "{}", text(&unknown.stderr));
    let nothing = why("it does not work", "incident");
    assert_eq!(nothing.status.code(), Some(2));
    assert!(text(&nothing.stderr).contains("names no cgroup"), "{}", text(&nothing.stderr));
}

#[test]
fn several_answers_are_a_short_list_from_which_each_can_be_asked() {
    let told = run(&["why", "--json", "a1b2c3d4", &recording("nested")]);
    let one = parse(&told.stdout);
    assert_eq!(one.len(), 1, "{one:?}");
    // Each of them is named `web`, in recordings of two hosts.
    let both = [recording("runc-v1"), recording("nested")];
    let told = run(&["why", "web", &both[0], &both[1]]);
    assert_eq!(told.status.code(), Some(0));
    let told = run(&["why", "we", &both[0], &both[1]]);
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stderr));
    assert!(text(&told.stderr).contains("2 things may be meant"), "{}", text(&told.stderr));
    let list = text(&told.stdout);
    assert!(list.contains("container web: ") && list.contains("container web-1: "), "{list}");
    let json = parse(&run(&["why", "we", "--json", &both[0], &both[1]]).stdout);
    let ids: Vec<&Value> = json.iter().map(|line| &line["subject"]["container"]).collect();
    assert_eq!(ids.len(), 2);
    for id in ids {
        let told = run(&["why", id.as_str().unwrap(), &both[0], &both[1]]);
        assert!(text(&told.stdout).starts_with("container "), "{}", text(&told.stdout));
    }
}

#[test]
fn an_answer_is_json_too_and_comes_through_a_pipe() {
    let told = run(&["why", "web", "--json", &recording("runc-v1")]);
    let lines = parse(&told.stdout);
    assert_eq!(lines.len(), 1);
    let answer = &lines[0];
    assert_eq!((&answer["type"], &answer["subject"]["container"]), (&"answer".into(), &"web".into()));
    let steps = answer["steps"].as_array().unwrap();
    assert_eq!(steps[0]["what"], "created");
    assert!(steps[0]["by"].as_str().unwrap().starts_with("runc["));
    let piped = Command::new(CGTRACE)
        .args(["why", "web", "--json", "-"])
        .stdin(fs::File::open(recording("runc-v1")).unwrap())
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(piped.stdout, told.stdout);
}
