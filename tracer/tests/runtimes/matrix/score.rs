//! What was told of the lives, held against what was to be told.

use std::collections::BTreeMap;
use std::fs;

use cgtrace::findings::Kind;
use serde_json::Value;

use super::stage::{IMAGE, Lived, target};
use super::{Life, Told};
use crate::support::of_type;

/// How the findings of one kind came out.
#[derive(Clone, Copy, Default)]
struct Score {
    right: usize,
    missed: usize,
    wrong: usize,
}

/// What came out of one life.
#[derive(Default)]
struct Verdict<'a> {
    right: Vec<&'static str>,
    missed: Vec<&'static str>,
    wrong: Vec<&'a Value>,
    /// What is not as it should be, but for findings.
    problems: Vec<String>,
}

impl Lived {
    /// Whether a line is of it.
    fn has(&self, text: &str) -> bool {
        self.marks.iter().any(|mark| text.contains(mark.as_str()))
    }

    /// Whether a finding is of it, by its cgroup or its container: others may have met its cgroups as well.
    fn has_finding(&self, finding: &Value) -> bool {
        let container = &finding["container"];
        let path = finding["cgroup"]["path"].as_str().unwrap_or_default();
        let is_own = |id: &str| self.is_own(id);
        self.has(path)
            || path.contains(&self.machine)
            || container["id"].as_str().is_some_and(is_own)
            || container["name"].as_str().is_some_and(|name| self.has(name))
    }

    fn is_own(&self, id: &str) -> bool {
        self.ids.iter().any(|own| match own.strip_suffix('*') {
            Some(beginning) => id.starts_with(beginning),
            None => id == own,
        })
    }

    fn is(&self, told: &Told, finding: &Value) -> bool {
        let container = finding["container"]["id"].as_str();
        finding["kind"] == told.kind
            && finding["cause"] == told.cause
            && finding["severity"] == told.severity
            && finding["certainty"] == told.certainty
            && container.is_some() == told.of_container
            && container.is_none_or(|id| self.is_own(id))
            && finding["summary"].as_str().is_some_and(|summary| summary.contains(told.says))
            && finding["attempt_count"].as_u64() >= Some(told.calls)
    }
}

/// The last word of each finding.
fn last_words(findings: &[Value]) -> Vec<&Value> {
    let mut last: BTreeMap<&str, &Value> = BTreeMap::new();
    for finding in findings {
        last.insert(finding["id"].as_str().unwrap(), finding);
    }
    last.into_values().collect()
}

/// What is told of a life, against its row.
fn compare<'a>(lived: &Lived, findings: &[&'a Value]) -> Verdict<'a> {
    let own = findings.iter().copied().filter(|finding| lived.has_finding(finding)).collect();
    let mut verdict = Verdict { wrong: own, ..Verdict::default() };
    for told in lived.life.told {
        if told.is_chance {
            let (right, wrong): (Vec<_>, Vec<_>) =
                verdict.wrong.into_iter().partition(|finding| lived.is(told, finding));
            verdict.right.extend(right.iter().map(|_| told.kind));
            verdict.wrong = wrong;
            continue;
        }
        match verdict.wrong.iter().position(|finding| lived.is(told, finding)) {
            Some(index) => {
                verdict.wrong.remove(index);
                verdict.right.push(told.kind);
            }
            None => verdict.missed.push(told.kind),
        }
    }
    verdict
}

fn in_short(finding: &Value) -> String {
    let text = |field: &str| finding[field].as_str().unwrap_or_default();
    format!(
        "{} {} ({}), {}, {} calls: {} {}",
        text("severity"),
        text("kind"),
        text("cause"),
        text("certainty"),
        finding["attempt_count"],
        text("summary"),
        finding["outcome"],
    )
}

/// Whether nothing more is to come.
pub fn is_all_told(lived: &[Lived], findings: &[Value]) -> bool {
    let last = last_words(findings);
    lived.iter().all(|lived| compare(lived, &last).missed.is_empty())
}

/// What is known of the containers whose cgroups were made, and whether all of them are gone.
fn check_events(lived: &Lived, events: &[&Value], verdict: &mut Verdict<'_>) {
    let life = &lived.life;
    let known = life.container;
    let mut say = |problem: String| {
        if !verdict.problems.contains(&problem) {
            verdict.problems.push(problem);
        }
    };
    let key = |event: &Value| (event["cgroup"]["hierarchy"].as_u64(), event["cgroup"]["id"].as_u64());
    let mut left = BTreeMap::new();
    for event in events {
        let path = event["cgroup"]["path"].as_str().unwrap_or_default();
        let container = &event["container"];
        let id = container["id"].as_str();
        let is_named = container["name"].as_str().is_some_and(|name| lived.has(name));
        if !(lived.has(path) || id.is_some_and(|id| lived.is_own(id)) || is_named) {
            continue;
        }
        if event["change"] == "removed" {
            left.remove(&key(event));
        }
        if event["change"] != "created" {
            continue;
        }
        // What helps beside a container is not in it.
        if id.is_none() && (path.contains("/conmon") || path.contains("lxc.monitor")) {
            continue;
        }
        left.insert(key(event), path);
        let Some(known) = known else { continue };
        let (Some(runtime), maker) = (known.runtime, known.maker) else {
            if id.is_some() {
                say(format!("{path} is said to be of container {container}"));
            }
            continue;
        };
        let program = event["actor"]["argv"][0].as_str().or(event["actor"]["comm"].as_str()).unwrap_or_default();
        let program = program.rsplit('/').next().unwrap_or_default();
        if !id.is_some_and(|id| lived.is_own(id)) || container["runtime"] != runtime {
            say(format!("{path} is told of as {container}, not as {:?} of {runtime}", lived.ids));
        } else if container["chain"] != serde_json::json!([id]) {
            say(format!("{path} has the chain {}", container["chain"]));
        }
        // What is made below its own may be anybody's.
        let is_own = path.rsplit('/').next().is_some_and(|name| lived.has(name));
        if is_own && !program.starts_with(maker) {
            say(format!("{path} was made by {program:?}, not by {maker}"));
        }
    }
    let is_said = |field: &str, is_right: &dyn Fn(&str) -> bool| {
        let own = |event: &&&Value| event["container"]["id"].as_str().is_some_and(|id| lived.is_own(id));
        events.iter().filter(own).any(|event| event["container"][field].as_str().is_some_and(is_right))
    };
    if known.is_some_and(|known| known.name) && !is_said("name", &|name| lived.has(name)) {
        say("its name is not told".to_owned());
    }
    if known.is_some_and(|known| known.image) && !is_said("image", &|image| image.ends_with(IMAGE)) {
        say("its image is not told".to_owned());
    }
    if life.leaves == left.is_empty() {
        say(format!("left: {:?}", left.values().collect::<Vec<_>>()));
    }
}

/// Prints what came of every row and of every kind. Fails where something is wrong or missing.
pub fn assert(lived: &[Lived], lines: &[Value]) {
    let findings: Vec<Value> = of_type(lines, "finding").into_iter().cloned().collect();
    let findings = last_words(&findings);
    let events = of_type(lines, "event");
    let mut scores: BTreeMap<&str, Score> = BTreeMap::new();
    let mut failed = 0;
    for lived in lived {
        let Life { who, layout, what, .. } = lived.life;
        let mut verdict = compare(lived, &findings);
        check_events(lived, &events, &mut verdict);
        if let Err(error) = &lived.result {
            verdict.problems.push(format!("its script: {error}"));
        }
        let is_right = verdict.missed.is_empty() && verdict.wrong.is_empty() && verdict.problems.is_empty();
        let word = if is_right { "right" } else { "WRONG" };
        println!("{word} {:4.1} s  {who}, {}: {what}", lived.took.as_secs_f32(), layout.as_str());
        verdict.missed.iter().for_each(|kind| println!("        missed: {kind}"));
        verdict.wrong.iter().for_each(|told| println!("        wrong: {}", in_short(told)));
        verdict.problems.iter().for_each(|problem| println!("        {problem}"));
        failed += usize::from(!is_right);
        let mut count = |kind, field: fn(&mut Score) -> &mut usize| *field(scores.entry(kind).or_default()) += 1;
        verdict.right.iter().for_each(|kind| count(*kind, |score| &mut score.right));
        verdict.missed.iter().for_each(|kind| count(*kind, |score| &mut score.missed));
        for finding in &verdict.wrong {
            let kind = Kind::ALL.iter().find(|kind| finding["kind"] == kind.as_str()).expect("a kind");
            count(kind.as_str(), |score| &mut score.wrong);
        }
    }
    // On a host where nothing else happens there are none.
    let others: Vec<_> =
        findings.iter().filter(|finding| !lived.iter().any(|life| life.has_finding(finding))).collect();
    others.iter().take(5).for_each(|finding| println!("of others: {}", in_short(finding)));
    println!("{} findings are of others", others.len());
    let all = scores.values().fold(Score::default(), |all, score| Score {
        right: all.right + score.right,
        missed: all.missed + score.missed,
        wrong: all.wrong + score.wrong,
    });
    println!("{:24} right  missed  wrong  precision  recall", "kind");
    for (kind, score) in scores.iter().chain([(&"all", &all)]) {
        let Score { right, missed, wrong } = *score;
        let (precision, recall) = (share(right, wrong), share(right, missed));
        println!("{kind:24} {right:5}  {missed:6}  {wrong:5}  {precision:>9}  {recall:>6}");
    }
    let lost = &lines.last().expect("an end")["counts"]["lost"];
    println!("{} lives, {failed} of them wrong; {lost} events and calls were lost", lived.len());
    if failed > 0 {
        let kept = target().join("artifacts/lives.jsonl");
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::create_dir_all(kept.parent().expect("a directory")).expect("it can be made");
        fs::write(&kept, text).expect("it can be written");
        panic!("see above; what was traced is in {}", kept.display());
    }
}

/// A share of so many that are right and others.
fn share(right: usize, others: usize) -> String {
    match right + others {
        0 => "-".to_owned(),
        all => format!("{:.3}", right as f64 / all as f64),
    }
}
