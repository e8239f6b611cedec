//! Stories of recorded runs, as they are told.

use super::*;
use crate::input::Seq;
use crate::stream::tests::replay;
use crate::why::{Question, Search};

/// The stories of all that a question may mean in a recording, those that answer best.
fn asked(question: &str, recording: &str) -> Vec<Answer> {
    let question = Question::parse(question).expect("it names something");
    let mut search = Search::new(&question);
    replay(recording, &mut search);
    let told = |found: Match| {
        let mut story = Story::new(&found, question.errno());
        replay(recording, &mut story);
        story.answer().expect("what was found has a story")
    };
    search.best().into_iter().map(told).collect()
}

fn only(question: &str, recording: &str) -> Answer {
    let mut answers = asked(question, recording);
    assert_eq!(answers.len(), 1, "{question}: {answers:#?}");
    answers.remove(0)
}

fn steps(answer: &Answer) -> Vec<String> {
    let text = |step: &Step| {
        let errno = step.errno.map(|errno| format!(" {errno}")).unwrap_or_default();
        format!("{}{errno} {}", step.what, step.path).trim_end().to_owned()
    };
    answer.steps.iter().map(text).collect()
}

const INCIDENT: &str = include_str!("../../../tests/recordings/incident.jsonl");
const RUNC_V1: &str = include_str!("../../../tests/recordings/runc-v1.jsonl");
const RENAMED: &str = include_str!("../../../tests/recordings/renamed.jsonl");
const LEAKED: &str = include_str!("../../../tests/recordings/leaked.jsonl");

#[test]
fn the_line_that_began_it_all_is_answered_in_one_paragraph() {
    let line = "runc run failed: unable to remove container's cgroup: open \
                /sys/fs/cgroup/b05bzm3so1yqejoj60u5ud8fl: no such file or directory";
    let answer = only(line, INCIDENT);
    assert_eq!(answer.subject, Subject::Container("b05bzm3so1yqejoj60u5ud8fl".into()));
    for words in ["never created", "read-only", "demo-runc[10219]", "The open that failed with ENOENT last"] {
        assert!(answer.paragraph.contains(words), "{words}: {}", answer.paragraph);
    }
    assert_eq!(answer.findings[0].known_issues[0].id, "runc#4518");
    let steps = steps(&answer);
    assert!(steps.iter().any(|step| step.starts_with("mkdir EROFS ")), "{steps:?}");
    assert_eq!(steps.iter().filter(|step| *step == "exit").count(), 2, "{steps:?}");
    assert_eq!(answer.unseen, Vec::<String>::new());
}

#[test]
fn a_path_an_id_a_name_and_a_process_lead_to_the_same_story() {
    let id = Subject::Container("b05bzm3so1yqejoj60u5ud8fl".into());
    for question in [
        "/cgtrace-demo/b05bzm3so1yqejoj60u5ud8fl",
        "/sys/fs/cgroup/b05bzm3so1yqejoj60u5ud8fl/cgroup.freeze",
        "b05bzm3so1yqejoj60u5ud8fl",
        "b05b",
    ] {
        assert_eq!(only(question, INCIDENT).subject, id, "{question}");
    }
    let answer = only("pid:10220", INCIDENT);
    assert_eq!((answer.subject, answer.findings.len()), (Subject::Process(Pid(10220)), 1));
    assert!(asked("nobody", INCIDENT).is_empty() && asked("pid:1", INCIDENT).is_empty());
    assert!(asked("/sys/fs/cgroup/elsewhere", INCIDENT).is_empty());
}

#[test]
fn a_healthy_life_on_v1_is_one_story_in_few_steps() {
    let answer = only("web", RUNC_V1);
    assert!(answer.findings.is_empty() && answer.unseen.is_empty(), "{answer:#?}");
    for words in ["Its cgroup was made by runc[10338]", "removed by runc[10359] 336 ms later", "released it"] {
        assert!(answer.paragraph.contains(words), "{words}: {}", answer.paragraph);
    }
    assert!(!answer.paragraph.contains("fail"), "{}", answer.paragraph);
    let folded = answer.steps.iter().find(|step| step.what == "created" && step.hierarchies.len() > 1);
    assert_eq!(folded.map(|step| step.hierarchies.len()), Some(8));
    // A v1 path names the hierarchy's mount.
    assert_eq!(only("/sys/fs/cgroup/pids/web", RUNC_V1).subject, answer.subject);
}

#[test]
fn a_cgroup_is_followed_through_its_names_and_through_those_around_it() {
    for question in ["/new", "/old"] {
        let answer = only(question, RENAMED);
        let wanted = ["created /old", "renamed /new", "rmdir ENOENT /old", "removed /new", "released /new"];
        let steps = steps(&answer);
        assert!(wanted.iter().all(|wanted| steps.iter().any(|step| step == wanted)), "{question}: {steps:?}");
        assert!(answer.paragraph.contains("made by mkdir[11607]"), "{}", answer.paragraph);
    }
    let child = only("/new/child", RENAMED);
    assert!(child.paragraph.contains("made by mkdir[11608]") && child.paragraph.contains("removed by rmdir[11613]"));
    assert!(!child.paragraph.contains("hierarchies"), "{}", child.paragraph);
}

#[test]
fn a_name_that_is_used_again_is_told_of_its_last_life() {
    let found = Match::of(Subject::Cgroup("/a".into()));
    let mut story = Story::new(&found, None);
    let lives = [(1, Change::Created, 7), (2, Change::Removed, 7), (3, Change::Released, 7), (4, Change::Created, 8)];
    for (at, change, id) in lives {
        let cgroup = Cgroup {
            hierarchy: HierarchyId(0),
            id: Some(CgroupId(id)),
            path: "/a".into(),
            level: None,
            truncated: false,
        };
        let at = BootTime(at);
        let event = Event { at, change, cgroup, requested: false, task: None, container: None, actor: None };
        story.line(&Line::Input(Seq(at.0), &Input::Event(event))).expect("it is kept");
    }
    let paragraph = story.answer().expect("a story").paragraph;
    assert!(paragraph.contains("and was still there at the end"), "{paragraph}");
    assert!(paragraph.ends_with("There was 1 cgroup of that name before it."), "{paragraph}");
}

#[test]
fn an_errno_that_no_call_failed_with_is_said() {
    let answer = only("open /sys/fs/cgroup/pids/web: permission denied", RUNC_V1);
    assert!(answer.paragraph.contains("No call on it failed with EACCES"), "{}", answer.paragraph);
    let answer = only("open /sys/fs/cgroup/aborted/pids.max: permission denied", LEAKED);
    assert!(answer.paragraph.contains("None of them failed with EACCES"), "{}", answer.paragraph);
    let answer = only("open /sys/fs/cgroup/aborted/pids.max: no such file or directory", LEAKED);
    assert!(answer.paragraph.contains("The open that failed with ENOENT last was that of crun["));
}

#[test]
fn what_was_not_seen_is_said() {
    let (header, rest) = RUNC_V1.split_once('\n').expect("lines");
    let cut = |has: &str| -> String {
        let kept: Vec<&str> = rest.lines().filter(|line| !line.contains(has)).collect();
        format!("{header}\n{}\n", kept.join("\n"))
    };
    // Its creations are missing, as if they had been lost.
    let answer = only("/web", &cut(r#""change":"created""#));
    assert!(answer.paragraph.contains("who made it was not seen"), "{}", answer.paragraph);
    let not_attached = header.replace(
        r#"{"name":"cgroup_release","attached":true}"#,
        r#"{"name":"cgroup_release","attached":false,"reason":"no BTF"}"#,
    );
    assert_ne!(not_attached, header);
    let answer = only("web", &format!("{not_attached}\n{rest}"));
    assert_eq!(answer.unseen, ["what cgroup_release tells: it was not attached (no BTF)"]);
}

#[test]
fn a_story_without_end_is_bounded_and_counts_what_it_leaves_out() {
    let found = Match::of(Subject::Cgroup("/a".into()));
    let mut story = Story::new(&found, None);
    let names = ["/a", "/b"];
    for number in 0..3 * STEPS as u64 {
        story.row(Row {
            at: BootTime(number),
            word: "created",
            errno: None,
            hierarchies: Vec::new(),
            path: names[number as usize % 2].to_owned(),
            tail: [None, None, None],
        });
    }
    let answer = story.answer().expect("a story");
    assert_eq!((answer.steps.len(), answer.steps_left_out), (STEPS, 2 * STEPS as u64));
}
