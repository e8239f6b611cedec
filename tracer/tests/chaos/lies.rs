//! One lie of each class, put into a true stream: the check must find them all, or it would find none.

use std::collections::HashSet;

use serde_json::Value;

use crate::check::{number, text};
use crate::report::Class;
use crate::truth::Truth;

const SECOND: u64 = 1_000_000_000;

/// What is done to the first line of a kind that a lie can be told in.
struct Lie {
    class: Class,
    fits: fn(&Value) -> bool,
    tell: fn(&mut Value),
}

fn change(line: &Value, word: &str) -> bool {
    line["type"] == "event" && line["change"] == word
}

fn failed(line: &Value, operation: &str) -> bool {
    line["type"] == "attempt" && line["operation"] == operation
}

fn finding(line: &Value, kind: &str) -> bool {
    line["type"] == "finding" && line["kind"] == kind && line["certainty"] == "certain"
}

/// A line that is left out.
fn forget(line: &mut Value) {
    line["type"] = "forgotten".into();
}

const LIES: &[Lie] = &[
    Lie { class: Class::Created, fits: |line| change(line, "created"), tell: forget },
    Lie {
        class: Class::Removed,
        fits: |line| change(line, "removed"),
        tell: |line| line["at"] = (number(&line["at"]) + SECOND).into(),
    },
    Lie { class: Class::Renamed, fits: |line| change(line, "renamed"), tell: |line| line["actor"]["pid"] = 1.into() },
    Lie { class: Class::Attached, fits: |line| change(line, "attached"), tell: |line| line["task"]["pid"] = 1.into() },
    Lie { class: Class::Populated, fits: |line| change(line, "populated"), tell: forget },
    Lie { class: Class::Emptied, fits: |line| change(line, "emptied"), tell: forget },
    Lie { class: Class::Frozen, fits: |line| change(line, "frozen") && line["requested"] == true, tell: forget },
    Lie { class: Class::FailedMkdir, fits: |line| failed(line, "mkdir"), tell: |line| line["errno"] = "EPERM".into() },
    Lie { class: Class::FailedRmdir, fits: |line| failed(line, "rmdir"), tell: forget },
    Lie {
        class: Class::FailedOpen,
        fits: |line| failed(line, "open"),
        tell: |line| line["cgroup"]["path"] = "/elsewhere".into(),
    },
    Lie { class: Class::FailedRename, fits: |line| failed(line, "rename"), tell: forget },
    Lie {
        class: Class::Actor,
        fits: |line| failed(line, "mkdir") && line["actor"]["argv"].is_array(),
        tell: |line| line["actor"]["argv"] = vec!["somebody"].into(),
    },
    Lie { class: Class::Told, fits: |line| finding(line, "duplicate-teardown"), tell: forget },
    Lie {
        class: Class::Kind,
        fits: |line| finding(line, "duplicate-teardown"),
        tell: |line| line["kind"] = "missing-path-teardown".into(),
    },
    Lie {
        class: Class::Cause,
        fits: |line| finding(line, "missing-path-teardown") && line["cause"] == "never-created",
        tell: |line| line["cause"] = "read-only-mount".into(),
    },
    Lie {
        class: Class::Rival,
        fits: |line| finding(line, "duplicate-teardown"),
        tell: |line| line["rival"]["at"] = (number(&line["rival"]["at"]) + SECOND).into(),
    },
    Lie {
        class: Class::Story,
        fits: |line| finding(line, "duplicate-teardown"),
        tell: |line| line["hierarchies"] = 77.into(),
    },
    Lie {
        class: Class::Certain,
        fits: |line| finding(line, "missing-path-teardown") && line["cause"] == "creation-failed",
        tell: |line| line["cause"] = "never-created".into(),
    },
    Lie {
        class: Class::Degraded,
        fits: |line| finding(line, "duplicate-teardown"),
        tell: |line| line["certainty"] = "degraded".into(),
    },
    Lie {
        class: Class::Severity,
        fits: |line| finding(line, "duplicate-teardown") && line["severity"] == "benign",
        tell: |line| line["severity"] = "fault".into(),
    },
    Lie {
        class: Class::Outcome,
        fits: |line| finding(line, "duplicate-teardown") && line["outcome"]["exit"]["code"].is_number(),
        tell: |line| line["outcome"]["exit"]["code"] = 77.into(),
    },
];

/// Tells them all, of what happened in the middle of `lines`. Returns their classes.
///
/// A lie in a finding is told where all was seen (`all_seen` has the ids): elsewhere the finding may be unsure of it.
/// And not where a lie is told in a line that it is made of: without its call a finding is not judged.
pub fn tell(
    lines: &mut [Value],
    truth: &Truth,
    all_seen: &HashSet<String>,
    is_ours: impl Fn(&Value) -> bool,
) -> Vec<Class> {
    let (third, count) = (lines.len() / 3, lines.len());
    let mut told = Vec::new();
    let mut used: Vec<String> = Vec::new();
    let mut altered: Vec<Value> = Vec::new();
    for lie in LIES {
        let line = lines[third..count - third].iter().position(|line| {
            is_ours(line)
                && (lie.fits)(line)
                && line["revision"] != 1
                && (line["type"] != "finding" || all_seen.contains(text(&line["id"])))
                && !used.iter().any(|id| *id == text(&line["id"]))
                && !line["evidence"].as_array().is_some_and(|all| all.iter().any(|seq| altered.contains(seq)))
        });
        let Some(position) = line.map(|position| position + third) else { continue };
        // A finding may be told again.
        let id = text(&lines[position]["id"]).to_owned();
        if id.is_empty() {
            altered.push(lines[position]["seq"].clone());
            (lie.tell)(&mut lines[position]);
        } else {
            lines.iter_mut().filter(|line| line["id"] == id.as_str()).for_each(lie.tell);
            used.push(id);
        }
        told.push(lie.class);
    }
    if let Some((id, _)) = truth.unharmed.first()
        && let Some(line) = lines.iter_mut().find(|line| line["type"] == "finding" && line["severity"] == "fault")
    {
        line["container"]["id"] = id.as_str().into();
        told.push(Class::Unharmed);
    }
    told
}
