//! What a guest has shown, read from what it wrote, and whether that is what was expected. Pure.
//!
//! A guest writes sections, and a last line when all are complete. Both carry a word that only this boot knows: what a
//! test prints cannot be taken for them, and a guest that dies or hangs has no last line.

use std::fmt;

use serde_json::Value;

use super::matrix::{Expectation, LAST, Row, Sight};

/// The cgroup of the calls that are looked at, and the two that never were: the guest's first process names them so.
const MADE: &str = "/probe-made";
const ABSOLUTE: &str = "/probe-absolute";
const RELATIVE: &str = "probe-relative";

/// What a guest wrote in one section.
#[derive(Debug, PartialEq, Eq)]
pub struct Section<'a> {
    name: &'a str,
    text: &'a str,
    /// How the command of this section ended; `None` if it did not end.
    status: Option<u32>,
}

/// All that a guest wrote.
#[derive(Debug, PartialEq, Eq)]
pub struct Written<'a> {
    sections: Vec<Section<'a>>,
    /// It came to its end.
    complete: bool,
}

impl<'a> Written<'a> {
    /// Reads what a guest wrote whose word is `word`.
    pub fn parse(text: &'a str, word: &str) -> Self {
        let mut written = Self { sections: Vec::new(), complete: false };
        // Each mark begins a line of its own.
        let mut rest = text;
        while let Some((before, mark, after)) = next_mark(rest, word) {
            if let Some(open) = written.sections.last_mut().filter(|section| section.status.is_none()) {
                open.text = before;
            }
            match mark.split(' ').collect::<Vec<_>>()[..] {
                ["begin", name] => written.sections.push(Section { name, text: "", status: None }),
                ["end", name, status] => {
                    if let Some(open) = written.sections.last_mut().filter(|section| section.name == name) {
                        open.status = status.parse().ok();
                    }
                }
                ["complete"] => written.complete = true,
                _ => {}
            }
            rest = after;
        }
        if let Some(open) = written.sections.last_mut().filter(|section| section.status.is_none()) {
            open.text = rest;
        }
        written
    }

    fn section(&self, name: &str) -> Option<&Section<'a>> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The recordings of refused calls that the tests have left: the name of each file, and its lines.
    pub fn recordings(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let is_file = |section: &&Section<'a>| {
            section.name.ends_with(".jsonl") && !section.name.contains('/') && section.status == Some(0)
        };
        self.sections.iter().filter(is_file).map(|section| (section.name, section.text.trim_end()))
    }

    /// What the guest's kernel is called by itself.
    pub fn release(&self) -> Option<&'a str> {
        self.section("release").map(|section| section.text.trim()).filter(|release| !release.is_empty())
    }

    /// What the benchmark's calls take, if all were measured.
    pub fn counted(&self) -> Option<&'a str> {
        self.section("count").filter(|section| section.status == Some(0)).map(|section| section.text.trim())
    }

    /// What tests have in their names that are of a controller which this kernel does not have on v1.
    fn absent(&self) -> Vec<&'a str> {
        let words = self.section("absent").map(|section| section.text.trim()).unwrap_or_default();
        words.split(',').filter(|word| !word.is_empty()).collect()
    }

    /// The preemption model that is marked in `none voluntary (full) lazy`. Kernels without a choice do not say.
    pub fn preemption(&self) -> Option<&'a str> {
        let (_, marked) = self.section("preemption")?.text.split_once('(')?;
        Some(marked.split_once(')')?.0)
    }
}

/// The text before the next mark, the mark without its word, and the text after its line.
fn next_mark<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find(word)?;
        let begins_line = at == 0 || text[..at].ends_with('\n');
        let behind = &text[at + word.len()..];
        if let (true, Some(mark)) = (begins_line, behind.strip_prefix(' ')) {
            // A line that is not complete is not written yet.
            let (mark, after) = mark.split_once('\n')?;
            return Some((&text[..at], mark, after));
        }
        from = at + word.len();
    }
}

/// How a row ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As expected; what that was, in the words of the table.
    AsExpected(String),
    /// Not as expected: what there was instead.
    Wrong(String),
}

impl Verdict {
    /// Whether it is as expected.
    pub fn is_as_expected(&self) -> bool {
        matches!(self, Self::AsExpected(_))
    }
}

impl Verdict {
    /// With what the kernel does not have, so that tests were left out.
    fn without(self, absent: &[&str]) -> Self {
        match self {
            Self::AsExpected(what) if !absent.is_empty() => {
                let controllers: Vec<&str> =
                    absent.iter().map(|word| word.strip_prefix("v1_").unwrap_or(word)).collect();
                Self::AsExpected(format!("{what}; no {} on v1", controllers.join(", ")))
            }
            verdict => verdict,
        }
    }

    /// Said of a row whose largest tests were left out.
    pub fn in_brief(self) -> Self {
        match self {
            Self::AsExpected(what) => Self::AsExpected(format!("{what}, in brief")),
            verdict => verdict,
        }
    }

    /// With what the kernel says of its own fault, which explains all else. A guest whose kernel says that has failed.
    pub fn because_of(self, console: &str) -> Self {
        const FAULTS: [&str; 4] = ["kernel BUG at", "Oops: ", "BUG: unable to handle", "Kernel panic"];
        let fault = console.lines().find(|line| FAULTS.iter().any(|fault| line.contains(fault)));
        match (fault, self) {
            (None, verdict) => verdict,
            (Some(fault), Self::AsExpected(what) | Self::Wrong(what)) => {
                // Without the time since its start.
                let fault = fault.split_once("] ").map_or(fault, |(_, fault)| fault);
                Self::Wrong(format!("{what}: {fault}"))
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsExpected(what) => f.write_str(what),
            Self::Wrong(what) => write!(f, "FAILED: {what}"),
        }
    }
}

/// Why there is no more of what a guest wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It switched itself off.
    Off,
    /// It was ended, because its time was over.
    TimeOver,
}

/// Whether what a guest wrote is what its row expects.
pub fn judge(row: &Row, written: &Written<'_>, stop: Stop) -> Verdict {
    if !written.complete || stop == Stop::TimeOver {
        let how = match stop {
            Stop::Off => "the guest died",
            Stop::TimeOver => "the guest did not end in time",
        };
        let last = written.sections.last().filter(|section| section.status.is_none());
        return Verdict::Wrong(match last {
            Some(section) => {
                let test = unfinished_test(section.text).map(|test| format!(", at {test}")).unwrap_or_default();
                format!("{how} in its section {}{test}", section.name)
            }
            None => how.to_owned(),
        });
    }
    match row.expected {
        Expectation::Passes => match (written.section("list"), written.section("tests"), written.section("last")) {
            (Some(list), Some(tests), last) if last.is_some() == row.hangs_at_last() => {
                let (listed, absent) = (listed(list.text), written.absent());
                let left_out = [row.left_out(), absent.clone()].concat();
                let usual = judge_tests(tests, &listed, &|name| !left_out.iter().any(|word| name.contains(word)));
                let last = last.map(|last| judge_tests(last, &listed, &|name| name.contains(LAST)));
                of_tests(usual, last).without(&absent)
            }
            _ => Verdict::Wrong("the tests were not run".to_owned()),
        },
        Expectation::Sees(expected) => match (written.section("live"), written.section("lines")) {
            (Some(Section { status: Some(0), .. }), Some(lines)) => {
                let seen = seen(lines.text);
                match seen == expected {
                    true => Verdict::AsExpected(seen.to_string()),
                    false => Verdict::Wrong(format!("{seen}; expected: {expected}")),
                }
            }
            (Some(live), _) => Verdict::Wrong(format!("cgtrace did not trace: {}", first_line(live.text))),
            (None, _) => Verdict::Wrong("cgtrace was not run".to_owned()),
        },
        Expectation::Refuses(words) => match written.section("live") {
            Some(live) => {
                let said = first_line(live.text);
                match (live.status == Some(2), said.contains(words)) {
                    (true, true) => Verdict::AsExpected(format!("refused: {said}")),
                    (true, false) => Verdict::Wrong(format!("refused, but not because it {words:?}: {said}")),
                    (false, _) => Verdict::Wrong(format!("not refused: {said}")),
                }
            }
            None => Verdict::Wrong("cgtrace was not run".to_owned()),
        },
    }
}

/// The first line of a message, without `error: `.
fn first_line(text: &str) -> &str {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing");
    line.strip_prefix("error: ").unwrap_or(line)
}

/// The test that a test program named and did not tell the result of.
fn unfinished_test(text: &str) -> Option<&str> {
    let is_end = |line: &str| {
        ["ok", "FAILED", "ignored"].iter().any(|word| line == *word || line.ends_with(&format!(" {word}")))
    };
    let (mut unfinished, mut lines) = (None, text.lines());
    for line in &mut lines {
        if let Some((test, _)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) {
            unfinished = Some(test);
        }
        if is_end(line.trim_end()) {
            unfinished = None;
        }
    }
    unfinished
}

/// The names in the lines `lifecycle::a_test: test`.
fn listed(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_suffix(": test")).collect()
}

/// In the words of the table: how many tests passed, and how many that leave a guest hanging, where they were run.
fn of_tests(usual: Result<usize, String>, last: Option<Result<usize, String>>) -> Verdict {
    match (usual, last.transpose()) {
        (Ok(passed), Ok(None)) => Verdict::AsExpected(format!("{passed} tests passed")),
        (Ok(passed), Ok(Some(last))) => Verdict::AsExpected(format!("{passed} tests passed, then {last} without end")),
        (Err(wrong), _) | (_, Err(wrong)) => Verdict::Wrong(wrong),
    }
}

/// How many tests passed, or what is wrong. They say `running 44 tests`, then
/// `test result: ok. 44 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; …`
fn judge_tests(tests: &Section<'_>, listed: &[&str], is_run: &dyn Fn(&str) -> bool) -> Result<usize, String> {
    let wanted = listed.iter().filter(|name| is_run(name)).count();
    let left_out = listed.len() - wanted;
    let running = tests.text.lines().find_map(|line| {
        let rest = line.strip_prefix("running ")?;
        rest.strip_suffix(" tests").or(rest.strip_suffix(" test"))?.parse::<usize>().ok()
    });
    let result = tests.text.lines().rev().find_map(|line| line.strip_prefix("test result: "));
    let (Some(running), Some(result)) = (running, result) else {
        return Err("the tests ended without a result".to_owned());
    };
    let number = |word: &str| -> Option<usize> {
        let part = result.split([';', '.']).find(|part| part.trim_end().ends_with(word))?;
        part.trim().split(' ').next()?.parse().ok()
    };
    let numbers = ["passed", "failed", "ignored", "filtered out"].map(number);
    let [Some(passed), Some(failed), Some(ignored), Some(filtered)] = numbers else {
        return Err(format!("the tests ended with a result that cannot be read: {result}"));
    };
    if failed > 0 {
        return Err(format!("{passed} passed, {failed} failed: {}", failures(tests.text).join(", ")));
    }
    if ignored > 0 || filtered != left_out || passed != running || passed != wanted || passed == 0 {
        let others = format!("{ignored} were ignored, {filtered} filtered out");
        return Err(format!("{passed} of {wanted} tests passed: {others}"));
    }
    match tests.status {
        Some(0) => Ok(passed),
        status => Err(format!("{passed} tests passed, and the status is {status:?}")),
    }
}

/// The names below the last `failures:`, which stand alone on indented lines.
fn failures(text: &str) -> Vec<&str> {
    let Some((_, list)) = text.rsplit_once("\nfailures:\n") else { return Vec::new() };
    list.lines().map_while(|line| line.strip_prefix("    ")).collect()
}

/// Which of the calls were told.
fn seen(lines: &str) -> Sight {
    let lines: Vec<Value> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let changed = |change: &str| {
        lines.iter().any(|line| line["change"] == change && line["cgroup"]["path"].as_str() == Some(MADE))
    };
    let attempted = |path: &str| {
        let is_it = |line: &&Value| line["path"].as_str().is_some_and(|own| own.ends_with(path));
        lines.iter().filter(|line| line["type"] == "attempt").any(|line| is_it(&line))
    };
    Sight {
        lifecycle: changed("created") && changed("removed"),
        absolute: attempted(ABSOLUTE),
        relative: attempted(RELATIVE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::matrix::{self, Layout};

    const RESULT: &str = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s";

    fn of(sections: &str) -> String {
        format!("{sections}W complete\n")
    }

    const LIST: &str = "W begin list\na: test\non_v1: test\n\n2 tests, 0 benchmarks\nW end list 0\n";

    fn tests(text: &str, status: u32) -> String {
        of(&format!("{LIST}W begin tests\n{text}\nW end tests {status}\n"))
    }

    /// A row that expects this.
    fn row(expected: Expectation) -> Row {
        let row = matrix::rows().into_iter().find(|row| row.layout == Layout::Hybrid && !row.hangs_at_last());
        Row { expected, ..row.expect("there is one") }
    }

    fn check(expected: Expectation, text: &str, wanted: Result<&str, &str>) {
        let verdict = judge(&row(expected), &Written::parse(text, "W"), Stop::Off);
        match (&verdict, wanted) {
            (Verdict::AsExpected(what), Ok(wanted)) => assert_eq!(what, wanted),
            (Verdict::Wrong(what), Err(wanted)) => assert!(what.contains(wanted), "{what:?} lacks {wanted:?}"),
            _ => panic!("{verdict:?} is not {wanted:?}"),
        }
    }

    #[test]
    fn tests_that_pass_are_counted() {
        let passed = tests(&format!("running 2 tests\ntest a ... said\nok\ntest b ... ok\n\n{RESULT}"), 0);
        check(Expectation::Passes, &passed, Ok("2 tests passed"));
    }

    #[test]
    fn recordings_are_files_that_were_written_whole() {
        let text = "W begin a.jsonl\n{}\n{}\n\nW end a.jsonl 0\nW begin b.jsonl\n{}\nW end b.jsonl 1\n\
                    W begin ../c.jsonl\n{}\nW end ../c.jsonl 0\nW begin d.jsonl\n{}";
        let written = Written::parse(text, "W");
        assert_eq!(written.recordings().collect::<Vec<_>>(), [("a.jsonl", "{}\n{}")]);
    }

    #[test]
    fn a_test_that_fails_is_named() {
        let failed = "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s";
        let text = format!(
            "running 2 tests\ntest a ... ok\ntest b::c ... FAILED\n\n\
             failures:\n\n---- b::c stdout ----\nfailures:\nno\n\n\
             failures:\n    b::c\n\n{failed}"
        );
        check(Expectation::Passes, &tests(&text, 101), Err("1 passed, 1 failed: b::c"));
    }

    #[test]
    fn tests_of_what_a_kernel_does_not_have_are_left_out_and_that_is_said() {
        let list = "W begin list\na: test\non_v1_memory: test\n\n2 tests, 0 benchmarks\nW end list 0\n";
        let absent = "W begin absent\nv1_cpuset,v1_memory\nW end absent 0\n";
        let result = RESULT.replace("2 passed", "1 passed").replace("0 filtered", "1 filtered");
        let text = |absent: &str| {
            of(&format!("{absent}{list}W begin tests\nrunning 1 test\ntest a ... ok\n\n{result}\nW end tests 0\n"))
        };
        check(Expectation::Passes, &text(absent), Ok("1 tests passed; no cpuset, memory on v1"));
        check(Expectation::Passes, &text(""), Err("1 of 2 tests passed"));
    }

    #[test]
    fn a_test_that_is_not_run_is_an_error() {
        let ignored = RESULT.replace("0 ignored", "1 ignored");
        check(Expectation::Passes, &tests(&format!("running 3 tests\n{ignored}"), 0), Err("1 were ignored"));
        let filtered = RESULT.replace("2 passed", "1 passed").replace("0 filtered", "1 filtered");
        let text = tests(&format!("running 1 test\n{filtered}"), 0);
        check(Expectation::Passes, &text, Err("1 of 2 tests passed: 0 were ignored, 1 filtered out"));
        let with = |layout| judge(&Row { layout, ..row(Expectation::Passes) }, &Written::parse(&text, "W"), Stop::Off);
        assert!(with(Layout::V2).is_as_expected(), "{}", with(Layout::V2));
        assert!(!with(Layout::Hybrid).is_as_expected());
        let none = RESULT.replace("2 passed", "0 passed");
        check(Expectation::Passes, &tests(&format!("running 0 tests\n{none}"), 0), Err("0 of 2 tests passed"));
    }

    #[test]
    fn what_leaves_a_guest_hanging_is_run_where_it_can_be_and_nowhere_else() {
        let rows = matrix::rows();
        let of = |hangs| rows.iter().find(|row| row.layout == Layout::Hybrid && row.hangs_at_last() == hangs);
        let (hangs, others) = (of(true).expect("one"), of(false).expect("one"));
        let list = "W begin list\na: test\nb_without_end: test\n\n2 tests, 0 benchmarks\nW end list 0\n";
        let one = RESULT.replace("2 passed", "1 passed").replace("0 filtered", "1 filtered");
        let section = |name: &str, result: &str| {
            format!("W begin {name}\nrunning 1 test\ntest it ... ok\n\n{result}\nW end {name} 0\n")
        };
        let judged = |row: &Row, sections: &[String]| {
            judge(row, &Written::parse(&of_sections(list, sections), "W"), Stop::Off).to_string()
        };
        let (usual, last) = (section("tests", &one), section("last", &one));
        let both = [usual.clone(), last.clone()];
        assert_eq!(judged(others, &both[..1]), "1 tests passed");
        assert_eq!(judged(hangs, &both), "1 tests passed, then 1 without end");
        assert_eq!(judged(others, &both), "FAILED: the tests were not run");
        assert_eq!(judged(hangs, &both[..1]), "FAILED: the tests were not run");
        let ignored = one.replace("1 passed", "0 passed").replace("0 ignored", "1 ignored");
        let wrong = judged(hangs, &[usual, section("last", &ignored)]);
        assert!(wrong.contains("0 of 1 tests passed: 1 were ignored"), "{wrong}");
    }

    fn of_sections(list: &str, sections: &[String]) -> String {
        of(&format!("{list}{}", sections.concat()))
    }

    #[test]
    fn what_a_test_prints_is_no_result() {
        let faked = "running 2 tests\ntest a ... W complete\n W end tests 0\n";
        check(Expectation::Passes, &format!("W begin tests\n{faked}"), Err("died in its section tests, at a"));
        check(Expectation::Passes, &tests(&format!("running 2 tests\n{RESULT}"), 1), Err("the status is Some(1)"));
        check(Expectation::Passes, &tests("running 2 tests", 0), Err("without a result"));
    }

    #[test]
    fn a_guest_that_dies_or_hangs_has_failed_whatever_it_said_before() {
        let written = "W begin tests\nrunning 2 tests\ntest a ... ended\nok\ntest b ... begun\n";
        let verdict = |stop| judge(&row(Expectation::Passes), &Written::parse(written, "W"), stop).to_string();
        assert_eq!(verdict(Stop::Off), "FAILED: the guest died in its section tests, at b");
        assert_eq!(verdict(Stop::TimeOver), "FAILED: the guest did not end in time in its section tests, at b");
        check(Expectation::Passes, "", Err("the guest died"));
        // A last line that was cut off.
        let cut = tests(&format!("running 2 tests\n{RESULT}"), 0);
        check(Expectation::Passes, cut.trim_end(), Err("the guest died"));
    }

    #[test]
    fn the_calls_that_are_told_are_compared() {
        const ALL: Sight = Sight { lifecycle: true, absolute: true, relative: true };
        let lines = r#"{"type":"event","change":"created","cgroup":{"path":"/probe-made"}}
{"type":"event","change":"removed","cgroup":{"path":"/probe-made"}}
{"type":"attempt","path":"/sys/fs/cgroup/probe-absolute"}
{"type":"attempt","path":"probe-relative"}"#;
        let section = |status: u32, lines: &str| {
            of(&format!("W begin live\nerror: no\nW end live {status}\nW begin lines\n{lines}\nW end lines 0\n"))
        };
        check(Expectation::Sees(ALL), &section(0, lines), Ok("sees everything"));
        let fewer = lines.lines().take(3).collect::<Vec<_>>().join("\n");
        check(Expectation::Sees(ALL), &section(0, &fewer), Err("expected: sees everything"));
        check(
            Expectation::Sees(Sight { relative: false, ..ALL }),
            &section(0, lines),
            Err("sees everything; expected"),
        );
        check(Expectation::Sees(ALL), &section(2, ""), Err("did not trace: no"));
    }

    #[test]
    fn a_refusal_has_its_reason_in_its_first_line() {
        let live = |status: u32, said: &str| of(&format!("W begin live\n{said}\nW end live {status}\n"));
        let refuses = Expectation::Refuses("too old");
        check(refuses, &live(2, "error: kernel 5.10 is too old\nhint: none"), Ok("refused: kernel 5.10 is too old"));
        check(refuses, &live(2, "error: no\ntoo old"), Err("refused, but not because"));
        check(refuses, &live(0, "tracing"), Err("not refused: tracing"));
    }

    #[test]
    fn what_a_kernel_says_of_its_own_fault_counts_more_than_what_its_guest_wrote() {
        let console = "[    1.5] Linux\n[   16.7] kernel BUG at lib/list_debug.c:54!\n[   16.8] Oops: invalid opcode\n";
        let passed = || Verdict::AsExpected("2 tests passed".to_owned());
        let told = passed().because_of(console).to_string();
        assert_eq!(told, "FAILED: 2 tests passed: kernel BUG at lib/list_debug.c:54!");
        assert_eq!(passed().because_of("[    1.5] Linux\n"), passed());
    }

    #[test]
    fn the_kernel_says_what_it_is() {
        let text =
            "W begin release\n6.12.1\nW end release 0\nW begin preemption\nnone (full) lazy\nW end preemption 0\n";
        let written = Written::parse(text, "W");
        assert_eq!((written.release(), written.preemption()), (Some("6.12.1"), Some("full")));
    }
}
