//! Holds what was told against the truth.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use serde_json::Value;

use crate::model::{Expected, Model, Verdict, occupations};
use crate::truth::{Job, Made, Operation, Place, Truth, Who};

/// How many wrong words of a class are printed.
const EXAMPLES: usize = 3;

/// What is counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Created,
    Removed,
    Renamed,
    Attached,
    Populated,
    Emptied,
    Frozen,
    FailedMkdir,
    FailedRmdir,
    FailedOpen,
    /// Every removal in vain is told, once.
    Told,
    Kind,
    Cause,
    Rival,
    /// A story holds what belongs together, and nothing else.
    Story,
    /// What is certain is true.
    Certain,
    /// What was seen is certain.
    Degraded,
    Severity,
    Outcome,
    /// Real runtimes that did no harm.
    Unharmed,
}

impl Class {
    const ALL: [Self; 20] = [
        Self::Created,
        Self::Removed,
        Self::Renamed,
        Self::Attached,
        Self::Populated,
        Self::Emptied,
        Self::Frozen,
        Self::FailedMkdir,
        Self::FailedRmdir,
        Self::FailedOpen,
        Self::Told,
        Self::Kind,
        Self::Cause,
        Self::Rival,
        Self::Story,
        Self::Certain,
        Self::Degraded,
        Self::Severity,
        Self::Outcome,
        Self::Unharmed,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Removed => "removed",
            Self::Renamed => "renamed",
            Self::Attached => "attached",
            Self::Populated => "populated",
            Self::Emptied => "emptied",
            Self::Frozen => "frozen",
            Self::FailedMkdir => "failed-mkdir",
            Self::FailedRmdir => "failed-rmdir",
            Self::FailedOpen => "failed-open",
            Self::Told => "told",
            Self::Kind => "kind",
            Self::Cause => "cause",
            Self::Rival => "rival",
            Self::Story => "story",
            Self::Certain => "certain",
            Self::Degraded => "degraded",
            Self::Severity => "severity",
            Self::Outcome => "outcome",
            Self::Unharmed => "unharmed",
        }
    }

    /// The ring that what is counted comes through; `None` for what is derived.
    fn ring(self) -> Option<&'static str> {
        match self {
            Self::Created
            | Self::Removed
            | Self::Renamed
            | Self::Attached
            | Self::Populated
            | Self::Emptied
            | Self::Frozen => Some("lifecycle"),
            Self::FailedMkdir | Self::FailedRmdir | Self::FailedOpen => Some("attempts"),
            Self::Told
            | Self::Kind
            | Self::Cause
            | Self::Rival
            | Self::Story
            | Self::Certain
            | Self::Degraded
            | Self::Severity
            | Self::Outcome
            | Self::Unharmed => None,
        }
    }
}

#[derive(Default)]
struct Count {
    made: usize,
    seen: usize,
    wrong: usize,
    examples: Vec<String>,
}

/// Made, seen, wrong.
pub struct Report {
    counts: BTreeMap<Class, Count>,
    /// What is said to be lost, by ring.
    lost: BTreeMap<String, u64>,
    /// How often each scene was played.
    scenes: BTreeMap<String, usize>,
    lines: usize,
}

impl Report {
    fn made(&mut self, class: Class, is_seen: bool) {
        let count = self.counts.entry(class).or_default();
        count.made += 1;
        count.seen += usize::from(is_seen);
    }

    fn wrong(&mut self, class: Class, what: String) {
        let count = self.counts.entry(class).or_default();
        count.wrong += 1;
        if count.examples.len() < EXAMPLES {
            count.examples.push(what);
        }
    }

    /// Prints the table and what is wrong. Returns whether nothing is.
    ///
    /// Classes that `CGTRACE_CHAOS_ALLOW` names may be wrong: for whoever works on one of them.
    pub fn print(&self) -> bool {
        let allowed = std::env::var("CGTRACE_CHAOS_ALLOW").unwrap_or_default();
        let allowed: HashSet<&str> = allowed.split(',').filter(|word| !word.is_empty()).collect();
        for word in &allowed {
            let is_known = Class::ALL.iter().any(|class| class.as_str() == *word);
            assert!(is_known, "CGTRACE_CHAOS_ALLOW: there is no class {word:?}");
        }
        let scenes: Vec<String> = self.scenes.iter().map(|(scene, count)| format!("{scene} {count}")).collect();
        println!("played: {}", scenes.join(", "));
        let lost: Vec<String> = self.lost.iter().map(|(ring, count)| format!("{count} of {ring}")).collect();
        let lost = if lost.is_empty() { "nothing".to_owned() } else { lost.join(", ") };
        println!("told: {} lines; said to be lost: {lost}", self.lines);
        println!("{:<14} {:>8} {:>8} {:>8}", "", "made", "seen", "wrong");
        let mut passed = true;
        for class in Class::ALL {
            let count = self.counts.get(&class);
            let (made, seen, wrong) = count.map_or((0, 0, 0), |count| (count.made, count.seen, count.wrong));
            let lost = class.ring().and_then(|ring| self.lost.get(ring)).copied().unwrap_or(0);
            let too_few = (made - seen) as u64 > lost;
            let is_wrong = wrong > 0 || too_few;
            let is_allowed = allowed.contains(class.as_str());
            passed &= !is_wrong || is_allowed;
            let mark = match (is_wrong, is_allowed) {
                (false, _) => "",
                (true, false) => "  <--",
                (true, true) => "  (allowed)",
            };
            println!("{:<14} {made:>8} {seen:>8} {wrong:>8}{mark}", class.as_str());
        }
        for (class, count) in &self.counts {
            for example in &count.examples {
                println!("\nwrong: {}: {example}", class.as_str());
            }
        }
        passed
    }
}

/// Everything that is held against each other.
struct Check<'a> {
    truth: &'a Truth,
    model: Model<'a>,
    told: Told<'a>,
    /// Of what happens after that, anything may be missing.
    stopped: u64,
    report: Report,
    /// The truth of each line of an attempt.
    calls: HashMap<u64, usize>,
    /// Calls whose line was found.
    found: HashSet<usize>,
}

/// The lines of the stream, by type.
struct Told<'a> {
    events: Vec<&'a Value>,
    attempts: Vec<&'a Value>,
    /// The last word of each.
    findings: Vec<&'a Value>,
    lost: Vec<&'a Value>,
}

/// Holds the lines of a trace against the truth. Tracing was asked to stop at `stopped`.
pub fn check(truth: &Truth, lines: &[Value], stopped: u64) -> Report {
    let of_type = |word: &str| lines.iter().filter(|line| line["type"] == word).collect::<Vec<_>>();
    let mut last: BTreeMap<&str, &Value> = BTreeMap::new();
    for finding in of_type("finding") {
        let before = last.insert(text(&finding["id"]), finding);
        assert!(before.is_none_or(|before| before["revision"].as_u64() < finding["revision"].as_u64()));
    }
    let told = Told {
        events: of_type("event"),
        attempts: of_type("attempt"),
        findings: last.into_values().collect(),
        lost: of_type("lost"),
    };
    let mut report =
        Report { counts: BTreeMap::new(), lost: BTreeMap::new(), scenes: BTreeMap::new(), lines: lines.len() };
    for lost in &told.lost {
        *report.lost.entry(text(&lost["ring"]).to_owned()).or_default() += number(&lost["count"]);
    }
    let scenes: HashSet<&str> = truth.processes.values().map(|process| process.scene.as_str()).collect();
    for scene in scenes {
        let name = scene.split_once(' ').map_or(scene, |(_, name)| name);
        *report.scenes.entry(name.to_owned()).or_default() += 1;
    }
    let mut check =
        Check { truth, model: Model::new(truth), told, stopped, report, calls: HashMap::new(), found: HashSet::new() };
    check.lifecycle();
    check.occupations();
    check.attempts();
    check.findings();
    check.unharmed();
    check.report
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn place_of(line: &Value) -> Option<Place> {
    let cgroup = &line["cgroup"];
    Some(Place { hierarchy: cgroup["hierarchy"].as_u64()? as u32, path: cgroup["path"].as_str()?.to_owned() })
}

/// The number of an error's name, of those that actors meet.
fn errno_of(name: &str) -> Option<i32> {
    Some(match name {
        "EPERM" => libc::EPERM,
        "ENOENT" => libc::ENOENT,
        "EAGAIN" => libc::EAGAIN,
        "EACCES" => libc::EACCES,
        "EBUSY" => libc::EBUSY,
        "EEXIST" => libc::EEXIST,
        "ENODEV" => libc::ENODEV,
        "ENOTDIR" => libc::ENOTDIR,
        "EINVAL" => libc::EINVAL,
        "EROFS" => libc::EROFS,
        "ENOTEMPTY" => libc::ENOTEMPTY,
        "EOPNOTSUPP" => libc::EOPNOTSUPP,
        _ => return None,
    })
}

fn describe(made: &Made) -> String {
    let Made { who, call, before, after, errno } = made;
    let to = call.to.as_ref().map(|to| format!(" to {}", to.path)).unwrap_or_default();
    let file = call.file.as_ref().map(|file| format!("/{file}")).unwrap_or_default();
    let errno = match errno {
        Some(0) => "done".to_owned(),
        Some(errno) => std::io::Error::from_raw_os_error(*errno).to_string(),
        None => "killed meanwhile".to_owned(),
    };
    format!(
        "{} {:?} {}:{}{file}{to} ({}, {:?}): {errno}, between {before} and {after}",
        who.pid, call.operation, call.place.hierarchy, call.place.path, call.syscall, call.given,
    )
}

fn event_class(change: &str) -> Option<(Class, Operation)> {
    Some(match change {
        "created" => (Class::Created, Operation::Mkdir),
        "removed" => (Class::Removed, Operation::Rmdir),
        "renamed" => (Class::Renamed, Operation::Rename),
        "attached" => (Class::Attached, Operation::Attach),
        "frozen" => (Class::Frozen, Operation::Freeze),
        "thawed" => (Class::Frozen, Operation::Thaw),
        _ => return None,
    })
}

fn failed_class(operation: Operation) -> Option<Class> {
    Some(match operation {
        Operation::Mkdir => Class::FailedMkdir,
        Operation::Rmdir => Class::FailedRmdir,
        Operation::Open => Class::FailedOpen,
        Operation::Rename | Operation::Attach | Operation::Freeze | Operation::Thaw => return None,
    })
}

impl Check<'_> {
    /// Whether a place is one that only actors touch.
    fn is_ours(&self, place: &Place) -> bool {
        self.truth.calls.first().is_some_and(|first| {
            // The first call of all makes a cgroup in the first scratch cgroup, whose name all others begin with.
            let name = first.call.place.path.split('/').nth(1).unwrap_or_default();
            let stem = name.rsplit_once('-').map_or(name, |(stem, _)| stem);
            place.path.split('/').nth(1).is_some_and(|name| name.rsplit_once('-').is_some_and(|(own, _)| own == stem))
                && place.path.matches('/').count() > 1
        })
    }

    /// What changed is told once, of the right cgroup, by the right process, at the right time.
    fn lifecycle(&mut self) {
        let mut open: HashMap<(Operation, Place, u32), Vec<usize>> = HashMap::new();
        for (index, made) in self.truth.calls.iter().enumerate() {
            if made.succeeded() || made.errno.is_none() {
                // A renamed one is told by its new name.
                let place = made.call.to.as_ref().unwrap_or(&made.call.place).clone();
                open.entry((made.call.operation, place, made.who.pid)).or_default().push(index);
            }
        }
        for event in self.told.events.clone() {
            let Some((class, operation)) = event_class(text(&event["change"])) else { continue };
            let Some(place) = place_of(event).filter(|place| self.is_ours(place)) else { continue };
            // That it is so is told by nobody in particular; that it was asked for is somebody's call.
            if class == Class::Frozen && event["requested"] != true {
                continue;
            }
            let (pid, at) = (number(&event["actor"]["pid"]) as u32, number(&event["at"]));
            let calls = open.entry((operation, place, pid)).or_default();
            let fits = |index: &usize| {
                let made = &self.truth.calls[*index];
                made.before <= at && at <= made.after
            };
            match calls.iter().position(fits) {
                Some(position) => {
                    let index = calls.remove(position);
                    if self.truth.calls[index].after < self.stopped && self.truth.calls[index].succeeded() {
                        self.report.made(class, true);
                    }
                    if class == Class::Attached && number(&event["task"]["pid"]) as u32 != pid {
                        let truth = describe(&self.truth.calls[index]);
                        self.report.wrong(class, format!("{event}\n  truth: {truth}"));
                    }
                }
                None => {
                    let calls: Vec<String> = calls.iter().map(|index| describe(&self.truth.calls[*index])).collect();
                    self.report.wrong(class, format!("{event}\n  truth: nobody did; {calls:?}"));
                }
            }
        }
        for index in open.into_values().flatten() {
            let made = &self.truth.calls[index];
            let class = match made.call.operation {
                Operation::Mkdir => Class::Created,
                Operation::Rmdir => Class::Removed,
                Operation::Rename => Class::Renamed,
                Operation::Attach => Class::Attached,
                Operation::Freeze | Operation::Thaw => Class::Frozen,
                Operation::Open => continue,
            };
            // A new name that is the old one is no change.
            let is_change = made.call.to.as_ref() != Some(&made.call.place);
            if made.succeeded() && made.after < self.stopped && is_change {
                self.report.made(class, false);
                if self.lost_nothing(class) {
                    let truth = describe(made);
                    self.report.wrong(class, format!("nothing was told\n  truth: {truth}"));
                }
            }
        }
    }

    fn lost_nothing(&self, class: Class) -> bool {
        class.ring().is_none_or(|ring| !self.report.lost.contains_key(ring))
    }

    /// Cgroups get their first process, and lose their last one, when somebody says so.
    fn occupations(&mut self) {
        let mut told: HashMap<(Place, bool), Vec<(u64, &Value)>> = HashMap::new();
        for event in &self.told.events {
            let populated = match text(&event["change"]) {
                "populated" => true,
                "emptied" => false,
                _ => continue,
            };
            if let Some(place) = place_of(event) {
                told.entry((place, populated)).or_default().push((number(&event["at"]), event));
            }
        }
        let mut known: HashSet<Place> = HashSet::new();
        for change in occupations(self.truth) {
            known.insert(change.place.clone());
            if change.not_after >= self.stopped {
                told.remove(&(change.place, change.populated));
                continue;
            }
            let class = if change.populated { Class::Populated } else { Class::Emptied };
            let events = told.entry((change.place.clone(), change.populated)).or_default();
            let fits = events.iter().position(|(at, _)| (change.not_before..=change.not_after).contains(at));
            self.report.made(class, fits.is_some());
            match fits {
                Some(position) => drop(events.remove(position)),
                None if self.report.lost.contains_key("lifecycle") => {}
                None => {
                    let others: Vec<u64> = events.iter().map(|(at, _)| *at).collect();
                    self.report.wrong(class, format!("nothing was told of {change:?}; {others:?}"));
                }
            }
        }
        for ((place, populated), events) in told {
            if !known.contains(&place) {
                continue;
            }
            let class = if populated { Class::Populated } else { Class::Emptied };
            for (_, event) in events {
                self.report.wrong(class, format!("{event}\n  truth: nobody came or went"));
            }
        }
    }

    /// Every failed call is told once, as it was.
    fn attempts(&mut self) {
        let mut open: HashMap<u32, Vec<usize>> = HashMap::new();
        for (index, made) in self.truth.calls.iter().enumerate() {
            if (made.failed() || made.errno.is_none()) && failed_class(made.call.operation).is_some() {
                open.entry(made.who.pid).or_default().push(index);
            }
        }
        for attempt in self.told.attempts.clone() {
            let (pid, at) = (number(&attempt["actor"]["pid"]) as u32, number(&attempt["at"]));
            let calls = open.entry(pid).or_default();
            let fits = calls.iter().position(|index| {
                let made = &self.truth.calls[*index];
                made.before <= at && at <= made.after
            });
            let Some(position) = fits else {
                // What somebody else does elsewhere is none of ours.
                if place_of(attempt).is_some_and(|place| self.is_ours(&place)) {
                    let class = match text(&attempt["operation"]) {
                        "mkdir" => Class::FailedMkdir,
                        "rmdir" => Class::FailedRmdir,
                        _ => Class::FailedOpen,
                    };
                    self.report.wrong(class, format!("{attempt}\n  truth: nobody did"));
                }
                continue;
            };
            let index = calls.remove(position);
            let made = &self.truth.calls[index];
            let class = failed_class(made.call.operation).unwrap();
            self.calls.insert(number(&attempt["seq"]), index);
            self.found.insert(index);
            if made.after < self.stopped && made.failed() {
                self.report.made(class, true);
            }
            let operation = match made.call.operation {
                Operation::Mkdir => "mkdir",
                Operation::Rmdir => "rmdir",
                _ => "open",
            };
            let is_right = attempt["operation"] == operation
                && attempt["syscall"] == made.call.syscall.as_str()
                && made.errno.is_none_or(|errno| errno_of(text(&attempt["errno"])) == Some(errno))
                && attempt["path"] == made.call.given.as_str()
                && place_of(attempt).as_ref() == Some(&made.call.place);
            if !is_right {
                let truth = describe(made);
                self.report.wrong(class, format!("{attempt}\n  truth: {truth}"));
            }
        }
        for index in open.into_values().flatten() {
            let made = &self.truth.calls[index];
            if made.failed() && made.after < self.stopped {
                let class = failed_class(made.call.operation).unwrap();
                self.report.made(class, false);
                if self.lost_nothing(class) {
                    let truth = describe(made);
                    self.report.wrong(class, format!("nothing was told\n  truth: {truth}"));
                }
            }
        }
    }

    fn findings(&mut self) {
        let mut told_in: HashMap<usize, Vec<&Value>> = HashMap::new();
        let mut by_removal: HashMap<(usize, Place), HashSet<&str>> = HashMap::new();
        let mut by_teardown: HashMap<u64, HashSet<&str>> = HashMap::new();
        // Places of findings of which not every call is told.
        let mut long: HashSet<Place> = HashSet::new();
        for finding in self.told.findings.clone() {
            if !["duplicate-teardown", "missing-path-teardown"].contains(&text(&finding["kind"])) {
                continue;
            }
            let attempts = finding["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
            let calls: Vec<usize> =
                attempts.iter().filter_map(|attempt| self.calls.get(&number(&attempt["seq"])).copied()).collect();
            if calls.is_empty() {
                if place_of(finding).is_some_and(|place| self.is_ours(&place)) {
                    self.report.wrong(Class::Told, format!("{}\n  truth: nobody did", brief(finding)));
                }
                continue;
            }
            if number(&finding["attempt_count"]) > attempts.len() as u64 {
                long.extend(place_of(finding));
            }
            let removals: Vec<(usize, Expected)> = calls
                .iter()
                .copied()
                .filter(|call| self.is_removal_in_vain(*call))
                .map(|call| (call, self.model.expected(&self.truth.calls[call])))
                .collect();
            for (call, expected) in &removals {
                told_in.entry(*call).or_default().push(finding);
                if let [Verdict::Removed { by } | Verdict::Renamed { by }] = expected.verdicts.as_slice() {
                    let place = self.truth.calls[*call].call.place.clone();
                    by_removal.entry((*by, place)).or_default().insert(text(&finding["id"]));
                }
                let who = self.truth.calls[*call].who;
                if let Some(teardown) = self.truth.processes[&who].teardown {
                    by_teardown.entry(teardown).or_default().insert(text(&finding["id"]));
                }
            }
            self.finding(finding, &removals);
        }
        self.told(&told_in, &long);
        for ((by, place), ids) in by_removal {
            self.report.made(Class::Story, true);
            // At the end, what was told may be told again in part.
            if ids.len() > 1 && self.truth.calls[by].after < self.stopped {
                let by = describe(&self.truth.calls[by]);
                self.report.wrong(Class::Story, format!("{} is told in {ids:?}\n  truth: {by}", place.path));
            }
        }
        for (teardown, ids) in by_teardown {
            self.report.made(Class::Story, true);
            let calls = self.truth.calls.iter().filter(|made| {
                self.truth.processes[&made.who].teardown == Some(teardown) && made.call.operation == Operation::Rmdir
            });
            let calls: Vec<&Made> = calls.collect();
            if ids.len() > 1 && calls.iter().all(|made| made.after < self.stopped) {
                let mut what = format!("one teardown is told in {ids:?}\n  truth:");
                calls.iter().for_each(|made| write!(what, "\n    {}", describe(made)).unwrap());
                self.report.wrong(Class::Story, what);
            }
        }
    }

    /// Whether a call is a removal of what is not there.
    fn is_removal_in_vain(&self, call: usize) -> bool {
        let made = &self.truth.calls[call];
        made.call.operation == Operation::Rmdir && matches!(made.errno, Some(libc::ENOENT | libc::ENODEV | libc::EROFS))
    }

    /// Every removal in vain is told in one finding.
    fn told(&mut self, told_in: &HashMap<usize, Vec<&Value>>, long: &HashSet<Place>) {
        for (index, made) in self.truth.calls.iter().enumerate() {
            if !self.is_removal_in_vain(index) || made.after >= self.stopped || !self.found.contains(&index) {
                continue;
            }
            let findings = told_in.get(&index).map_or(&[][..], Vec::as_slice);
            if findings.is_empty() && (long.contains(&made.call.place) || self.model.expected(made).may_be_untold) {
                continue;
            }
            self.report.made(Class::Told, !findings.is_empty());
            if findings.len() != 1 {
                let findings: Vec<String> = findings.iter().map(|finding| brief(finding)).collect();
                let (truth, scene) = (describe(made), &self.truth.processes[&made.who].scene);
                self.report.wrong(Class::Told, format!("told in {findings:#?}\n  truth: {truth}; {scene}"));
            }
        }
    }

    /// One finding, and what ought to be said of each removal in it.
    fn finding(&mut self, finding: &Value, removals: &[(usize, Expected)]) {
        if removals.is_empty() {
            self.report.wrong(Class::Told, format!("{}\n  truth: no removal in vain", brief(finding)));
            return;
        }
        let mut truth = String::new();
        for (call, expected) in removals {
            let made = &self.truth.calls[*call];
            write!(truth, "\n  truth: {}; {}", describe(made), self.truth.processes[&made.who].scene).unwrap();
            for verdict in &expected.verdicts {
                match verdict {
                    Verdict::Removed { by } => write!(truth, "\n    removed: {}", describe(&self.truth.calls[*by])),
                    Verdict::Renamed { by } => write!(truth, "\n    renamed: {}", describe(&self.truth.calls[*by])),
                    Verdict::CreationFailed { errno } => write!(truth, "\n    its creation failed: {errno}"),
                    Verdict::NeverCreated => write!(truth, "\n    it never was"),
                }
                .unwrap();
            }
        }
        let is_cut = removals.iter().any(|(call, _)| self.truth.calls[*call].after >= self.stopped);
        let mut is_true = true;
        let mut judge = |report: &mut Report, class: Class, right: bool, why: &str| {
            // What was cut off at the end may be told as far as it was seen.
            let right = right || is_cut && class != Class::Certain && finding["certainty"] == "degraded";
            report.made(class, true);
            is_true &= right;
            if !right {
                report.wrong(class, format!("{why}: {}{truth}", brief(finding)));
            }
        };

        let is_duplicate = finding["kind"] == "duplicate-teardown";
        let fits_kind = |verdict: &Verdict| matches!(verdict, Verdict::Removed { .. }) == is_duplicate;
        let kind = removals.iter().all(|(_, expected)| expected.verdicts.iter().any(fits_kind));
        judge(&mut self.report, Class::Kind, kind, "the kind");

        let verdicts = || removals.iter().flat_map(|(_, expected)| &expected.verdicts);
        let cause = text(&finding["cause"]);
        let rival = (number(&finding["rival"]["actor"]["pid"]) as u32, number(&finding["rival"]["at"]));
        let is_rival = |by: usize| {
            let made = &self.truth.calls[by];
            made.who.pid == rival.0 && made.before <= rival.1 && rival.1 <= made.after
        };
        let actor = self.actor(finding, removals);
        let rivals: Vec<usize> = verdicts()
            .filter_map(|verdict| match verdict {
                Verdict::Removed { by } if is_duplicate => Some(*by),
                Verdict::Renamed { by } if cause == "renamed" => Some(*by),
                _ => None,
            })
            .filter(|by| is_rival(*by))
            .collect();
        if kind && (is_duplicate || cause == "renamed") {
            judge(&mut self.report, Class::Rival, !rivals.is_empty(), "the rival");
        }
        if kind {
            let fits = match cause {
                "removed-by-other" => rivals.is_empty() || rivals.iter().any(|by| Some(self.model.who(*by)) != actor),
                "removed-by-self" => rivals.iter().any(|by| Some(self.model.who(*by)) == actor),
                "renamed" => verdicts().any(|verdict| matches!(verdict, Verdict::Renamed { .. })),
                "read-only-mount" => {
                    verdicts().any(|verdict| matches!(verdict, Verdict::CreationFailed { errno: libc::EROFS }))
                }
                "creation-failed" => verdicts()
                    .any(|verdict| matches!(verdict, Verdict::CreationFailed { errno } if *errno != libc::EROFS)),
                "never-created" => verdicts().any(|verdict| matches!(verdict, Verdict::NeverCreated)),
                _ => false,
            };
            judge(&mut self.report, Class::Cause, fits, "the cause");
        }

        let story = self.belong_together(removals) && actor.is_some();
        judge(&mut self.report, Class::Story, story, "what does not belong together, or an actor who took no part");
        let certain = finding["certainty"] == "certain";
        // What is wrong is counted above already: it is worse if it was certain.
        let was_true = is_true;
        self.report.made(Class::Certain, true);
        if certain && !was_true {
            self.report.wrong(Class::Certain, format!("wrong, and certain: {}", brief(finding)));
        }
        self.report.made(Class::Degraded, true);
        if !certain && !is_cut && !self.may_be_degraded(removals) {
            self.report.wrong(Class::Degraded, format!("all was seen: {}{truth}", brief(finding)));
        }

        if number(&finding["attempt_count"]) == finding["attempts"].as_array().map_or(0, Vec::len) as u64 {
            let expected = self.severities(removals);
            self.report.made(Class::Severity, true);
            if !expected.contains(&text(&finding["severity"])) {
                let who: HashSet<Who> = removals.iter().map(|(call, _)| self.truth.calls[*call].who).collect();
                let mut what = format!("{}\n  truth: {expected:?}, because of", brief(finding));
                for process in who.iter().map(|who| &self.truth.processes[who]) {
                    let (pid, job, argv) = (process.who.pid, process.job, &process.argv);
                    let end = match (process.code(), process.signal()) {
                        (Some(code), _) => format!("exit {code}"),
                        (None, Some(signal)) => format!("signal {signal}"),
                        (None, None) => "still there".to_owned(),
                    };
                    let (left, scene) = (process.state_left, &process.scene);
                    write!(what, "\n    {pid} {job:?} {argv:?}: {end}, state left: {left:?}; {scene}").unwrap();
                }
                self.report.wrong(Class::Severity, what);
            }
        }
        if let Some(process) = actor.and_then(|who| self.truth.processes.get(&who)) {
            let exit = &finding["outcome"]["exit"];
            let (code, signal) = (exit["code"].as_i64(), exit["signal"].as_i64());
            let told = (code.map(|code| code as i32), signal.map(|signal| signal as i32));
            let is_right =
                told == (process.code(), process.signal()) || told == (None, None) && process.reaped >= self.stopped;
            self.report.made(Class::Outcome, true);
            if !is_right {
                let status = (process.code(), process.signal());
                self.report.wrong(Class::Outcome, format!("{exit}: {}\n  truth: {status:?}", brief(finding)));
            }
        }
    }

    /// The process that a finding calls its actor, if it took part.
    fn actor(&self, finding: &Value, removals: &[(usize, Expected)]) -> Option<Who> {
        let pid = number(&finding["actor"]["pid"]) as u32;
        let mut who: Vec<Who> =
            removals.iter().map(|(call, _)| self.truth.calls[*call].who).filter(|who| who.pid == pid).collect();
        who.dedup();
        who.first().copied()
    }

    /// Whether the removals of one finding are of one life of one cgroup, or of its likes in other hierarchies.
    fn belong_together(&self, removals: &[(usize, Expected)]) -> bool {
        removals.iter().enumerate().all(|(index, (one, expected))| {
            let one = &self.truth.calls[*one];
            removals[index + 1..].iter().all(|(other, of_other)| {
                let other = &self.truth.calls[*other];
                if one.call.place.hierarchy != other.call.place.hierarchy {
                    return true;
                }
                let mut verdicts = expected.verdicts.iter().filter_map(removal);
                let mut shared =
                    verdicts.clone().filter(|by| of_other.verdicts.iter().filter_map(removal).any(|o| o == *by));
                let of_one_life = verdicts.next().is_none()
                    || of_other.verdicts.iter().filter_map(removal).next().is_none()
                    || shared.next().is_some();
                one.call.place == other.call.place && of_one_life && !self.model.lived_between(one, other)
            })
        })
    }

    /// Whether something that a claim about these depends on was said to be lost.
    fn may_be_degraded(&self, removals: &[(usize, Expected)]) -> bool {
        self.told.lost.iter().any(|lost| {
            // Failed calls of one process that are lost hide nothing but what that process tried.
            match lost["pid"].as_u64() {
                Some(pid) => removals.iter().any(|(call, _)| u64::from(self.truth.calls[*call].who.pid) == pid),
                // What was denied to one process is said to be lost of that one.
                None => lost["reason"] != "rate-limited",
            }
        })
    }

    /// The severities that are right.
    fn severities(&self, removals: &[(usize, Expected)]) -> Vec<&'static str> {
        let who: HashSet<Who> = removals.iter().map(|(call, _)| self.truth.calls[*call].who).collect();
        let each: Vec<Vec<&'static str>> =
            who.iter().map(|who| severities_of(&self.truth.processes[who], self.stopped)).collect();
        let mut all = Vec::new();
        if each.iter().any(|one| one.contains(&"fault")) {
            all.push("fault");
        }
        if each.iter().all(|one| one.contains(&"benign")) {
            all.push("benign");
        }
        let some_undetermined = each.iter().any(|one| one.contains(&"undetermined"));
        if some_undetermined && each.iter().all(|one| one.contains(&"benign") || one.contains(&"undetermined")) {
            all.push("undetermined");
        }
        all
    }

    /// Real runtimes that did no harm: nothing says that they did.
    fn unharmed(&mut self) {
        for (id, what) in &self.truth.unharmed {
            self.report.made(Class::Unharmed, true);
            for finding in &self.told.findings {
                let is_its = finding["container"]["id"] == id.as_str()
                    || place_of(finding).is_some_and(|place| place.path.contains(id.as_str()));
                if is_its && finding["severity"] == "fault" {
                    self.report.wrong(Class::Unharmed, format!("{}\n  truth: {what}", brief(finding)));
                }
            }
        }
    }
}

fn removal(verdict: &Verdict) -> Option<usize> {
    match verdict {
        Verdict::Removed { by } | Verdict::Renamed { by } => Some(*by),
        Verdict::CreationFailed { .. } | Verdict::NeverCreated => None,
    }
}

/// Whether a process's failed removal did harm. What has an end after the end of tracing may not be known.
fn severities_of(process: &crate::truth::Process, stopped: u64) -> Vec<&'static str> {
    let mut right = match (process.code(), process.job) {
        // Killed, or still there.
        (None, Job::Teardown) if process.state_left == Some(true) => vec!["undetermined", "fault"],
        (None, _) => vec!["undetermined"],
        (Some(_), Job::Teardown) if process.state_left == Some(true) => vec!["fault"],
        (Some(0), _) => vec!["benign"],
        (Some(_), Job::Teardown) => vec!["fault"],
        (Some(_), Job::Start) if process.state_left == Some(true) => vec!["fault"],
        (Some(_), Job::Start) => vec!["benign", "undetermined"],
        (Some(_), Job::Plain) => vec!["benign"],
        (Some(_), Job::Other) => vec!["undetermined"],
    };
    if process.reaped >= stopped && !right.contains(&"undetermined") {
        right.push("undetermined");
    }
    right
}

/// A finding in a few lines.
fn brief(finding: &Value) -> String {
    let word = |name: &str| text(&finding[name]).to_owned();
    let attempts = finding["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut told = format!(
        "finding {}: {} {} {} {}: {}",
        word("id"),
        word("kind"),
        word("cause"),
        word("severity"),
        word("certainty"),
        word("summary")
    );
    if let Some(because) = finding["because"].as_array() {
        write!(told, "\n    because {because:?}").unwrap();
    }
    for attempt in attempts.iter().take(8) {
        let pid = number(&attempt["actor"]["pid"]);
        let [operation, errno, path] = ["operation", "errno", "path"].map(|name| text(&attempt[name]));
        write!(told, "\n    {pid} {operation} {errno} {path:?} at {}", number(&attempt["at"])).unwrap();
    }
    told
}
