//! Recorded runs compared: with themselves under other names and numbers, and with runs that went otherwise.

use super::*;
use crate::filter::Filter;
use crate::stream::tests::replay;

const INCIDENT: &str = include_str!("../../tests/recordings/incident.jsonl");
const COPED: &str = include_str!("../../tests/recordings/incident-coped.jsonl");
const RACE: &str = include_str!("../../tests/recordings/race.jsonl");
const RUNC_V1: &str = include_str!("../../tests/recordings/runc-v1.jsonl");
const BUSY: &str = include_str!("../../tests/recordings/busy.jsonl");
const READ_ONLY: &str = include_str!("../../tests/recordings/runc-read-only.jsonl");

fn compared(good: &str, bad: &str) -> Comparison {
    let filter = Filter::default();
    let (mut one, mut other) = (Side::new(&filter), Side::new(&filter));
    replay(good, &mut one);
    replay(bad, &mut other);
    Comparison::of(&one, &other)
}

/// The recording without the lines that have all these words.
fn without(recording: &str, words: &[&str]) -> String {
    let is_left = |line: &&str| !words.iter().all(|word| line.contains(word));
    recording.lines().filter(is_left).map(|line| format!("{line}\n")).collect()
}

/// What differs, as it is told: who, in GOOD, in BAD.
fn differences(comparison: &Comparison) -> Vec<String> {
    let told = |done: &Option<Done>| done.as_ref().map_or_else(|| "nothing".to_owned(), Done::told);
    let differences = comparison.first.iter().chain(&comparison.others);
    differences.map(|found| format!("{}: {} | {}", found.who, told(&found.good), told(&found.bad))).collect()
}

#[test]
fn a_run_under_other_names_and_numbers_is_the_same_run() {
    for recording in [INCIDENT, RACE, RUNC_V1, BUSY, READ_ONLY] {
        let numbered = |number: &str| {
            let paths = recording.replace("cgtrace-demo\"", &format!("cgtrace-demo-{number}\""));
            paths.replace("/cgtrace-demo/", &format!("/cgtrace-demo-{number}/"))
        };
        let again = numbered("4711")
            .replace("b05bzm3so1yqejoj60u5ud8fl", "k7d2zzm3so1yqejoj60u5u9ab")
            .replace("68qscashshg0y3nctu7ft85w2", "1a2b3c4d5e6f7g8h9i0j1k2l3")
            .replace("\"pid\":10", "\"pid\":77");
        let comparison = compared(&numbered("12"), &again);
        assert_eq!((comparison.differs, differences(&comparison)), (false, Vec::new()));
        assert!(comparison.paragraph.starts_with("No difference that matters"), "{}", comparison.paragraph);
    }
}

#[test]
fn the_same_calls_may_end_otherwise() {
    let comparison = compared(COPED, INCIDENT);
    assert!(comparison.differs);
    assert_eq!(differences(&comparison), Vec::<String>::new());
    assert_eq!(comparison.only_in_good, Vec::<String>::new());
    let [finding, failure] = comparison.only_in_bad.as_slice() else { panic!("{:#?}", comparison.only_in_bad) };
    assert!(finding.starts_with("fault missing-path-teardown: demo-runc[10220]"), "{finding}");
    assert_eq!(failure, "demo-runc[10220] (runc delete of container b05bzm3so1yqejoj60u5ud8fl) exited 1");
    let paragraph = &comparison.paragraph;
    assert!(paragraph.starts_with("In both, the processes do the same to the cgroups. Only BAD ends"), "{paragraph}");
    assert_eq!(compared(INCIDENT, COPED).only_in_good, comparison.only_in_bad);
}

#[test]
fn the_first_call_that_differs_is_told_with_what_follows() {
    // One made its cgroup; the other could not.
    let comparison = compared(RACE, INCIDENT);
    let first = comparison.first.as_ref().expect("a difference");
    assert_eq!((first.who.as_str(), first.good.as_ref()), ("runc run", None), "{first:#?}");
    let bad = first.bad.as_ref().expect("a call");
    assert_eq!((bad.what, bad.file.as_ref().map(ToString::to_string)), ("open", Some("cgroup.subtree_control".into())));
    let all = differences(&comparison);
    let made = "runc run: demo-runc[10252] made /cgtrace-demo/68qscashshg0y3nctu7ft85w2 | the mkdir of \
                /cgtrace-demo/b05bzm3so1yqejoj60u5ud8fl by demo-runc[10219] failed with EROFS";
    assert!(all.iter().any(|told| told == made), "{all:#?}");
    assert!(comparison.only_in_good[0].starts_with("fault duplicate-teardown"), "{:#?}", comparison.only_in_good);
    assert!(comparison.only_in_bad[0].starts_with("fault missing-path-teardown"), "{:#?}", comparison.only_in_bad);
    assert!(comparison.paragraph.contains("failed with EROFS: it was opened for writing"), "{}", comparison.paragraph);
}

#[test]
fn a_cgroup_that_is_left_is_an_outcome_in_every_hierarchy_alike() {
    let bad = without(RUNC_V1, &["\"change\":\"removed\"", "\"hierarchy\":7,"]);
    let bad = without(&bad, &["\"change\":\"removed\"", "\"hierarchy\":5,"]);
    let comparison = compared(RUNC_V1, &bad);
    assert!(comparison.differs);
    assert_eq!(comparison.only_in_bad.last().map(String::as_str), Some("cgroup /web is left at the end of the trace"));
    assert_eq!(differences(&comparison), ["runc delete: runc[10359] removed /web | nothing"]);
    let mut hierarchies = comparison.first.expect("a difference").hierarchies;
    hierarchies.sort();
    assert_eq!(hierarchies, ["blkio", "devices"]);
}

#[test]
fn what_time_decides_is_no_difference() {
    // Who of the two comes first.
    let swapped = RACE.replace("10253", "swap").replace("10254", "10253").replace("swap", "10254");
    assert_eq!(differences(&compared(RACE, &swapped)), Vec::<String>::new());
    // In which order the hierarchies are gone through.
    let removed = |line: &&str| line.contains("\"change\":\"removed\"");
    let mut order: Vec<&str> = RUNC_V1.lines().filter(removed).collect();
    order.reverse();
    let mut order = order.into_iter();
    let shuffled: String = RUNC_V1
        .lines()
        .map(|line| if removed(&line) { order.next().expect("as many") } else { line })
        .map(|line| format!("{line}\n"))
        .collect();
    let comparison = compared(RUNC_V1, &shuffled);
    assert_eq!((comparison.differs, differences(&comparison)), (false, Vec::new()));
    // How often a removal is tried until the process in the way has ended.
    let once = without(BUSY, &["\"errno\":\"EBUSY\"", "\"path\":\"/sys/fs/cgroup/again\"", "\"pid\":5766"]);
    assert_ne!(once.len(), BUSY.len());
    assert_eq!(differences(&compared(BUSY, &once)), Vec::<String>::new());
}

#[test]
fn what_was_there_before_need_not_be_made() {
    let is_parents = |line: &str| line.contains("\"path\":\"/cgtrace-demo\"");
    let existing: String = RACE
        .lines()
        .filter(|line| !is_parents(line) || line.contains("\"created\""))
        .map(|line| if is_parents(line) { line.replace("\"created\"", "\"existing\"") } else { line.to_owned() })
        .map(|line| format!("{line}\n"))
        .collect();
    // It is told before the walk is over.
    let (walked, rest): (Vec<&str>, Vec<&str>) =
        existing.lines().partition(|line| line.contains("\"about\":\"walked\""));
    let at = rest.iter().position(|line| line.contains("\"existing\"") && is_parents(line)).expect("a line");
    let lines = [&rest[..=at], &walked, &rest[at + 1..]].concat();
    let comparison = compared(RACE, &(lines.join("\n") + "\n"));
    assert!(!comparison.differs, "{comparison:#?}");
}

#[test]
fn a_container_may_have_another_place() {
    let moved = RUNC_V1.replace("\"path\":\"/web\"", "\"path\":\"/elsewhere/deep/web\"");
    let comparison = compared(RUNC_V1, &moved);
    assert_eq!((comparison.differs, differences(&comparison)), (false, Vec::new()));
    assert_eq!(comparison.beside, ["a container has another place: in GOOD /web, in BAD /elsewhere/deep/web"]);
}

const OLD_LIFE: &str = include_str!("../../tests/recordings/runc-old-life.jsonl");
const NEW_LIFE: &str = include_str!("../../tests/recordings/runc-new-life.jsonl");
const OLD_KEEP: &str = include_str!("../../tests/recordings/runc-old-keep.jsonl");
const NEW_KEEP: &str = include_str!("../../tests/recordings/runc-new-keep.jsonl");

/// runc 1.0.0-rc93 and 1.1.5: the same container, on a cgroup2 that is writable and on one that is read-only.
#[test]
fn two_versions_of_runc_part_where_one_looks_for_a_file_first() {
    let comparison = compared(OLD_LIFE, NEW_LIFE);
    assert_eq!(
        differences(&comparison),
        ["runc create: runc[6895] made /web | the open of cgroup.freeze of /web by runc[6977] failed with ENOENT"]
    );
    assert!(!comparison.differs, "{comparison:#?}");

    // The older one does not know `run --keep`, which the newer one copes with.
    let comparison = compared(OLD_KEEP, NEW_KEEP);
    let first = comparison.first.as_ref().expect("a difference");
    assert_eq!((first.who.as_str(), first.good.as_ref()), ("runc run", None), "{first:#?}");
    let failed = ["delete", "run"].map(|what| format!("(runc {what} of container web) exited 1"));
    assert_eq!(comparison.only_in_good.len(), failed.len(), "{comparison:#?}");
    assert!(comparison.only_in_good.iter().zip(&failed).all(|(told, failed)| told.ends_with(failed)));
    assert_eq!(comparison.only_in_bad, Vec::<String>::new());
}
