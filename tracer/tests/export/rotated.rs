//! A trace in three parts, with a walk after a loss: whatever reads it tells what it tells of the same trace in one
//! part.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cgtrace::export::Format;
use cgtrace::findings::Finding;
use cgtrace::hierarchy::{Clock, Header};
use cgtrace::input::{About, BootTime, Cgroup, CgroupId, Change, Event, Facts, HierarchyId, Input, WalkedAgain};
use cgtrace::line::{Counts, Line, Output};
use cgtrace::metrics::{Counting, Metrics};
use cgtrace::output::{ColorChoice, Json, Palette, Text};
use cgtrace::recording::TraceLine;
use cgtrace::report::Report;
use cgtrace::stream::Stream;
use serde_json::Value;

use super::{export, python, recording};

/// What a recording of a real run holds.
#[derive(Clone)]
pub struct Recorded {
    pub header: Header,
    pub inputs: Vec<Input>,
    end: BootTime,
}

impl Recorded {
    pub fn read(name: &str) -> Self {
        let text = fs::read_to_string(recording(name)).unwrap();
        let mut lines = text.lines().map(|line| TraceLine::parse(line.as_bytes()).unwrap());
        let Some(TraceLine::Header(header)) = lines.next() else { panic!("{name}: a header is first") };
        let (mut inputs, mut end) = (Vec::new(), None);
        for line in lines {
            match line {
                TraceLine::Input(_, input) => inputs.push(*input),
                TraceLine::End(at) => end = Some(at),
                TraceLine::Header(_) | TraceLine::Other => {}
            }
        }
        Self { header: *header, inputs, end: end.unwrap() }
    }

    /// As it was traced, in one part.
    pub fn in_one(&self, output: &mut dyn Output) {
        let mut stream = Stream::begin(&self.header, output).unwrap();
        self.inputs.iter().for_each(|input| stream.feed(&mut input.clone()).unwrap());
        stream.end(self.end).unwrap();
    }

    /// As if the trace had been rotated twice, and cgroupfs walked again in the second part.
    fn in_three(&self, output: &mut dyn Output) {
        let mut stream = Stream::begin(&self.header, output).unwrap();
        let starts = self.inputs.iter().position(is_walked).unwrap() + 1;
        let after = |share: usize| starts + (self.inputs.len() - starts) * share / 4;
        for (number, input) in self.inputs.iter().enumerate() {
            let at = input.at();
            if number == after(1) || number == after(3) {
                let clock = Clock { boot_ns: at.0, unix_ns: self.header.clock.unix_ns(at) };
                stream.begin_part(&Header { clock, ..self.header.clone() }).unwrap();
            }
            if number == after(2) {
                walk_again(&mut stream, &self.header, at);
            }
            stream.feed(&mut input.clone()).unwrap();
        }
        stream.end(self.end).unwrap();
    }
}

fn is_walked(input: &Input) -> bool {
    matches!(input, Input::Facts(Facts { about: About::Walked { .. }, .. }))
}

/// A walk that finds all that is known, and one cgroup whose creation was lost.
fn walk_again(stream: &mut Stream<'_>, header: &Header, at: BootTime) {
    let mut known = Vec::new();
    for mut input in stream.tracker().snapshot() {
        if let Input::Event(event) = &mut input {
            event.at = at;
            known.push(input);
        }
    }
    let cgroup = Cgroup {
        hierarchy: header.hierarchies[0].id,
        id: Some(CgroupId(9_999_999)),
        path: "/found".into(),
        level: Some(1),
        truncated: false,
    };
    let found =
        Event { at, change: Change::Existing, cgroup, requested: false, task: None, container: None, actor: None };
    let count = known.len() as u64 + 1;
    let hierarchies: Vec<HierarchyId> = header.hierarchies.iter().map(|hierarchy| hierarchy.id).collect();
    let again = Some(WalkedAgain { began: at, hierarchies });
    let walked = Facts { at, about: About::Walked { cgroups: count, unreadable: 0, again } };
    for mut input in known.into_iter().chain([Input::Event(found), Input::Facts(walked)]) {
        stream.feed(&mut input).unwrap();
    }
}

const ALL: [&str; 6] =
    ["incident.jsonl", "race.jsonl", "runc-v1.jsonl", "script-v1.jsonl", "reused-name.jsonl", "renamed.jsonl"];

/// A finding without the numbers of lines, which are others in a trace that says some things twice.
fn told(finding: &Finding) -> String {
    let finding = serde_json::to_value(finding).unwrap();
    let attempts = finding["attempts"].as_array().unwrap().iter().map(|attempt| attempt["errno"].to_string());
    let words = ["kind", "cause", "severity", "summary", "cgroup", "because", "outcome", "revision"];
    words.iter().map(|word| finding[word].to_string()).chain(attempts).collect::<Vec<_>>().join(" ")
}

/// What an output makes of a recording, in one part and in three.
fn both<T>(name: &str, read: impl Fn(&dyn Fn(&mut dyn Output)) -> T) -> [T; 2] {
    let recorded = Recorded::read(name);
    [read(&|output| recorded.in_one(output)), read(&|output| recorded.in_three(output))]
}

#[derive(Default)]
struct Lines {
    findings: Vec<String>,
    known: usize,
    spans: usize,
    counts: Option<Counts>,
}

impl Output for Lines {
    fn line(&mut self, line: &Line<'_>) -> std::io::Result<()> {
        match line {
            Line::Finding(finding) => self.findings.push(told(finding)),
            Line::Known(_, input) => {
                assert!(!matches!(input, Input::Attempt(_) | Input::Lost(_) | Input::Tick(_)), "{input:?} happened");
                self.known += 1;
            }
            Line::Span(_) => self.spans += 1,
            Line::End(_, counts) => self.counts = Some((*counts).clone()),
            Line::Header(_) | Line::Input(..) | Line::Passed(_) => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_restated_is_counted_once_and_what_a_walk_finds_is_news() {
    for name in ALL {
        let [one, three] = both(name, |play| {
            let mut lines = Lines::default();
            play(&mut lines);
            lines
        });
        assert_eq!((one.known, one.spans), (0, three.spans), "{name}");
        assert!(three.known > 0, "{name}");
        assert_eq!(one.findings, three.findings, "{name}");
        let mut wanted = one.counts.unwrap();
        *wanted.events.entry("existing").or_default() += 1;
        wanted.facts += 1;
        assert_eq!(three.counts.unwrap(), wanted, "{name}: one cgroup was found, by one walk");
    }
}

#[test]
fn people_and_prometheus_are_told_the_same() {
    for name in ALL {
        let [one, three] = both(name, |play| {
            let mut text = Vec::new();
            play(&mut Text::new(&mut text, Palette::new(ColorChoice::Never), None));
            let text = String::from_utf8(text).unwrap();
            // A finding's id is made of a line's number.
            text.lines().filter(|line| !line.contains(", finding ")).map(str::to_owned).collect::<Vec<_>>()
        });
        assert_eq!(one, three, "{name}");
        let [one, three] = both(name, |play| {
            let metrics = Metrics::default();
            play(&mut Counting::new(metrics.clone()));
            let text = String::from_utf8(metrics.tell(cgtrace::metrics::Exposition::Plain)).unwrap();
            text.lines().map(str::to_owned).collect::<BTreeSet<_>>()
        });
        assert_eq!(one, three, "{name}");
        let [one, three] = both(name, |play| {
            let mut report = Report::new(true);
            play(&mut report);
            let summary = report.summary(report.header.as_ref().unwrap());
            let steps = |life: &cgtrace::report::Life| life.cgroups.values().map(Vec::len).sum::<usize>();
            let lives: Vec<usize> = report.lives.unwrap().containers.values().map(steps).collect();
            (summary, lives)
        });
        assert_eq!(one, three, "{name}");
    }
}

#[test]
fn every_file_format_has_each_thing_once() {
    for name in ALL {
        let [one, three] = both(name, |play| {
            let mut bytes = Vec::new();
            play(&mut *Format::Perfetto.output(Path::new(""), &mut bytes));
            bytes
        });
        assert!(one == three, "{name}: no slice begins twice");
        let [one, three] = both(name, |play| {
            let mut bytes = Vec::new();
            play(&mut *Format::OtlpJson.output(Path::new(""), &mut bytes));
            let request: Value = serde_json::from_slice(&bytes).unwrap();
            let records = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap().clone();
            records.iter().map(|record| (record["timeUnixNano"].clone(), record["body"].clone())).collect::<Vec<_>>()
        });
        assert_eq!(one, three, "{name}");
        let [one, three] = both(name, |play| {
            let mut bytes = Vec::new();
            play(&mut *Format::Sarif.output(Path::new(""), &mut bytes));
            let log: Value = serde_json::from_slice(&bytes).unwrap();
            let results = log["runs"][0]["results"].as_array().unwrap().clone();
            results.iter().map(|result| (result["level"].clone(), result["message"].clone())).collect::<Vec<_>>()
        });
        assert_eq!(one, three, "{name}");
    }
}

/// Writes the three parts of a recording as a recorder names them.
fn parts(name: &str, directory: &Path) -> Vec<PathBuf> {
    let mut bytes = Vec::new();
    Recorded::read(name).in_three(&mut Json::new(&mut bytes));
    let (text, mut parts) = (String::from_utf8(bytes).unwrap(), Vec::<String>::new());
    for line in text.lines().filter(|line| !line.starts_with("{\"type\":\"finding\"")) {
        if line.starts_with("{\"type\":\"header\"") {
            parts.push(String::new());
        }
        let part = parts.last_mut().unwrap();
        part.push_str(line);
        part.push('\n');
    }
    assert_eq!(parts.len(), 3);
    let write = |(number, part): (usize, &String)| {
        let path = directory.join(format!("trace.{number:04}.jsonl"));
        fs::write(&path, part).unwrap();
        path
    };
    parts.iter().enumerate().map(write).collect()
}

/// The lines that an export of some parts as JSON lines has.
fn exported(parts: &[PathBuf]) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    for part in parts {
        fs::copy(part, directory.path().join(part.file_name().unwrap())).unwrap();
    }
    let done = export(directory.path(), "jsonl", "-");
    String::from_utf8(done.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn parts_that_are_read_tell_once_whatever_was_not_told_before() {
    let directory = tempfile::tempdir().unwrap();
    let all = parts("runc-v1.jsonl", directory.path());
    let counts = |lines: &[Value]| lines.last().unwrap()["counts"].clone();
    let mut live = Lines::default();
    Recorded::read("runc-v1.jsonl").in_three(&mut live);
    let together = exported(&all);
    assert_eq!(counts(&together), serde_json::to_value(live.counts.unwrap()).unwrap(), "a replay counts as live did");
    assert_eq!(together.iter().filter(|line| line["type"] == "header").count(), 1);
    let numbers: Vec<u64> = together.iter().filter_map(|line| line["seq"].as_u64()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "every line is there, and numbered");

    // What the second part begins with is the start for whoever reads no other before it.
    let later = exported(&all[1..]);
    let opening = |part: &Path| {
        let text = fs::read_to_string(part).unwrap();
        let walked = text.lines().position(|line| line.contains("\"about\":\"walked\"")).unwrap();
        text.lines().take(walked).filter(|line| line.contains("\"change\":\"existing\"")).count() as u64
    };
    let there = opening(&all[1]);
    assert!(there > 0);
    assert_eq!(counts(&later)["events"]["existing"], there + 1, "and what the walk found");

    // Where the second part is missing, the third one has news: what was made in the second.
    let gap = exported(&[all[0].clone(), all[2].clone()]);
    let first = exported(&all[..1]);
    let id = |line: &Value| line["cgroup"]["id"].as_u64().map(|id| (line["cgroup"]["hierarchy"].to_string(), id));
    let of = |lines: &[Value], changes: &[&str]| -> BTreeSet<(String, u64)> {
        lines.iter().filter(|line| changes.iter().any(|change| line["change"] == *change)).filter_map(id).collect()
    };
    let known = &of(&first, &["existing", "created"]) - &of(&first, &["removed"]);
    let third: Vec<Value> =
        fs::read_to_string(&all[2]).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let news = (&of(&third, &["existing"]) - &known).len() as u64;
    assert!(news > 0);
    let missing = fs::read_to_string(&all[1]).unwrap().lines().filter(|line| line.contains("\"seq\":")).count() as u64;
    assert_eq!(counts(&gap)["lost"], missing, "and says what is missing");
    let existing = |lines: &[Value]| counts(lines)["events"]["existing"].as_u64().unwrap();
    assert_eq!(existing(&gap), existing(&first) + news);
}

/// Counts the rows of the tables.
const ROWS: &str = r#"
import duckdb, json, sys
def rows(table, what):
    files = f"read_parquet('{sys.argv[1]}/{table}/**/*.parquet', hive_partitioning=true)"
    return duckdb.sql(f"select {what}, count(*) from {files} group by all order by all").fetchall()
lives = rows("lives", "path, created::varchar, removed::varchar")
print(json.dumps([rows("inputs", "type, change"), lives, rows("findings", "summary")]))
"#;

#[test]
fn tables_have_a_row_for_each_thing_that_happened() {
    let directory = tempfile::tempdir().unwrap();
    let all = directory.path().join("parts");
    fs::create_dir(&all).unwrap();
    parts("script-v1.jsonl", &all);
    let tables = |trace: &Path, name: &str| -> Value {
        let out = directory.path().join(name);
        let done = export(trace, "parquet", out.to_str().unwrap());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&python(ROWS, &[&out])).unwrap()
    };
    let mut wanted = tables(&recording("script-v1.jsonl"), "one");
    for row in wanted[0].as_array_mut().unwrap() {
        // One cgroup was found, by one walk.
        if row[1] == "existing" || row[0] == "facts" {
            row[2] = (row[2].as_u64().unwrap() + 1).into();
        }
    }
    assert_eq!(tables(&all, "three"), wanted);
}
