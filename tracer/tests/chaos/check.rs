//! Holds the stream against the truth: what changed, and what failed.
//!
//! Every call of the truth has its line, which came between its beginning and its end; every line has its call. What is
//! said to be lost may be missing, and nothing else.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use serde_json::Value;

use crate::judge::brief;
use crate::model::{Model, occupations};
use crate::report::{Class, Report, kind_of_scene};
use crate::truth::{Made, Operation, Place, Process, Truth, Who};

/// Failed calls that one process may make without any of them being withheld (the agent's burst).
const BURST: usize = 256;
/// The scene of what nobody did.
pub const NOBODY: &str = "nobody";

/// Everything that is held against each other.
pub struct Check<'a> {
    pub truth: &'a Truth,
    pub model: Model<'a>,
    pub told: Told<'a>,
    /// From when it was traced until it was asked to stop: of what is not within, anything may be missing.
    pub traced: Range<u64>,
    pub report: Report,
    /// The truth of each line of an attempt.
    pub calls: HashMap<u64, usize>,
    /// Calls whose line was found.
    pub found: HashSet<usize>,
    /// The first removal of a place by a process that failed.
    pub tried: HashMap<(Who, Place), usize>,
    /// The cgroups that only actors touch what is below.
    grounds: Vec<Place>,
    /// When scenes began.
    pub begun: HashMap<&'a str, u64>,
    /// When actors lived, by their numbers.
    lives: HashMap<u32, Vec<(u64, u64)>>,
    /// Processes that made so many failing calls that some may have been withheld.
    flooders: HashSet<Who>,
}

/// The lines of the stream, by type.
pub struct Told<'a> {
    pub events: Vec<&'a Value>,
    pub attempts: Vec<&'a Value>,
    /// The last word of each.
    pub findings: Vec<&'a Value>,
    pub lost: Lost,
    is_by_trampolines: bool,
}

/// What was said to be lost.
#[derive(Default)]
pub struct Lost {
    /// Of changes and processes, whoever's.
    pub lifecycle: bool,
    /// Of failed calls, whoever's.
    pub attempts: bool,
    /// Failed calls that were withheld because one process made too many, and it was not said which.
    withheld: bool,
    /// The processes whose failed calls were lost.
    pub of: HashSet<u32>,
    /// Failed `mkdir` calls of such processes: each may have begun another life anywhere.
    pub mkdirs: bool,
    /// Something was forgotten for want of room.
    pub forgotten: bool,
}

impl Lost {
    fn add(&mut self, lost: &Value) {
        let is_withheld = lost["reason"] == "rate-limited";
        self.mkdirs |= lost["pid"].is_u64() && lost["operation"] == "mkdir";
        match (text(&lost["ring"]), lost["pid"].as_u64()) {
            (_, Some(pid)) => drop(self.of.insert(pid as u32)),
            ("lifecycle", None) => self.lifecycle = true,
            ("attempts", None) if is_withheld => self.withheld = true,
            ("attempts", None) => self.attempts = true,
            (_, None) => (self.lifecycle, self.attempts) = (true, true),
        }
    }
}

/// Holds the lines of a trace against the truth. Only actors touch what is below the `grounds`.
pub fn check(truth: &Truth, lines: &[Value], traced: Range<u64>, grounds: &[Place]) -> Report {
    let of_type = |word: &str| lines.iter().filter(|line| line["type"] == word).collect::<Vec<_>>();
    let mut last: BTreeMap<&str, &Value> = BTreeMap::new();
    for finding in of_type("finding") {
        let before = last.insert(text(&finding["id"]), finding);
        assert!(before.is_none_or(|before| before["revision"].as_u64() < finding["revision"].as_u64()));
    }
    let mut told = Told {
        events: of_type("event"),
        attempts: of_type("attempt"),
        findings: last.into_values().collect(),
        lost: Lost::default(),
        is_by_trampolines: of_type("header").iter().any(|header| header["backend"] == "trampoline"),
    };
    of_type("lost").into_iter().for_each(|lost| told.lost.add(lost));
    told.lost.forgotten = of_type("end").into_iter().any(|end| number(&end["counts"]["evicted"]) > 0);
    let mut report = Report::of(lines.len());
    for lost in of_type("lost") {
        *report.lost.entry(text(&lost["ring"]).to_owned()).or_default() += number(&lost["count"]);
    }
    let scenes: HashSet<&str> = truth.processes.values().map(|process| process.scene.as_str()).collect();
    for scene in scenes {
        *report.scenes.entry(kind_of_scene(scene).to_owned()).or_default() += 1;
    }
    let mut failures: HashMap<Who, usize> = HashMap::new();
    truth.calls.iter().filter(|made| made.failed()).for_each(|made| *failures.entry(made.who).or_default() += 1);
    let mut tried: HashMap<(Who, Place), usize> = HashMap::new();
    for (index, made) in truth.calls.iter().enumerate() {
        if made.call.operation == Operation::Rmdir && made.failed() {
            tried.entry((made.who, made.call.place.clone())).or_insert(index);
        }
    }
    let mut lives: HashMap<u32, Vec<(u64, u64)>> = HashMap::new();
    let mut begun: HashMap<&str, u64> = HashMap::new();
    for Process { who, scene, reaped, .. } in truth.processes.values() {
        lives.entry(who.pid).or_default().push((who.born, *reaped));
        let first = begun.entry(scene).or_insert(who.born);
        *first = who.born.min(*first);
    }
    report.numbers_used_again = lives.values().filter(|lives| lives.len() > 1).count();
    let mut check = Check {
        truth,
        model: Model::new(truth),
        told,
        traced,
        report,
        calls: HashMap::new(),
        found: HashSet::new(),
        tried,
        grounds: grounds.to_vec(),
        begun,
        lives,
        flooders: failures.into_iter().filter(|(_, count)| *count >= BURST).map(|(who, _)| who).collect(),
    };
    check.report.lost_anything_of_anybody = check.told.lost.lifecycle || check.told.lost.attempts;
    check.lifecycle();
    check.occupations();
    check.attempts();
    check.findings();
    check.unharmed();
    check.report
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

pub fn place_of(line: &Value) -> Option<Place> {
    let cgroup = &line["cgroup"];
    Some(Place { hierarchy: cgroup["hierarchy"].as_u64()? as u32, path: cgroup["path"].as_str()?.to_owned() })
}

/// The number of an error's name, of those that actors meet.
fn errno_of(name: &str) -> Option<i32> {
    Some(match name {
        "EPERM" => libc::EPERM,
        "ENOENT" => libc::ENOENT,
        "ESRCH" => libc::ESRCH,
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

pub fn describe(made: &Made) -> String {
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

fn failed_class(operation: Operation) -> Class {
    match operation {
        Operation::Mkdir => Class::FailedMkdir,
        Operation::Rmdir => Class::FailedRmdir,
        Operation::Open => Class::FailedOpen,
        Operation::Rename => Class::FailedRename,
        Operation::Attach | Operation::Freeze | Operation::Thaw => Class::FailedWrite,
    }
}

impl Check<'_> {
    /// Whether a place is one that only actors touch.
    pub fn is_ours(&self, place: &Place) -> bool {
        self.grounds.iter().any(|ground| {
            place.hierarchy == ground.hierarchy
                && place.path.strip_prefix(&ground.path).is_some_and(|below| below.starts_with('/'))
        })
    }

    /// Whether a call cannot have been missed.
    pub fn is_traced(&self, made: &Made) -> bool {
        self.traced.start <= made.before && made.after < self.traced.end
    }

    /// Whether the end of a process may have been missed.
    pub fn may_miss_end(&self, process: &Process) -> bool {
        !self.traced.contains(&process.reaped) || self.told.lost.lifecycle
    }

    /// Whether an actor had that number then.
    fn is_actor(&self, pid: u32, at: u64) -> bool {
        let lives = self.lives.get(&pid).map(Vec::as_slice).unwrap_or_default();
        lives.iter().any(|(born, reaped)| (*born..=*reaped).contains(&at))
    }

    /// A word about a call is wrong.
    pub fn wrong(&mut self, class: Class, call: usize, what: String) {
        let scene = &self.truth.processes[&self.truth.calls[call].who].scene;
        self.report.wrong(class, scene, what);
    }

    /// Whether a failed call is one of those that were said to be lost.
    fn may_be_lost(&self, made: &Made) -> bool {
        let lost = &self.told.lost;
        lost.attempts || lost.of.contains(&made.who.pid) || lost.withheld && self.flooders.contains(&made.who)
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
                    self.actor(event, index);
                    if self.is_traced(&self.truth.calls[index]) && self.truth.calls[index].succeeded() {
                        self.report.made(class, true);
                    }
                    let task = self.truth.calls[index].call.task.map_or(pid, |task| task.pid);
                    if class == Class::Attached && number(&event["task"]["pid"]) as u32 != task {
                        let truth = describe(&self.truth.calls[index]);
                        self.wrong(class, index, format!("{event}\n  truth: {truth}"));
                    }
                }
                None => {
                    let calls: Vec<String> = calls.iter().map(|index| describe(&self.truth.calls[*index])).collect();
                    self.report.wrong(class, NOBODY, format!("{event}\n  truth: nobody did; {calls:?}"));
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
            if made.succeeded() && self.is_traced(made) && is_change {
                self.report.made(class, false);
                if !self.told.lost.lifecycle {
                    let truth = describe(made);
                    self.wrong(class, index, format!("nothing was told\n  truth: {truth}"));
                }
            }
        }
    }

    /// Whoever did it is told by the command line that it had, not by that of another one with its number.
    fn actor(&mut self, line: &Value, call: usize) {
        let told: Option<Vec<&str>> =
            line["actor"]["argv"].as_array().map(|argv| argv.iter().filter_map(Value::as_str).collect());
        let process = &self.truth.processes[&self.truth.calls[call].who];
        let argv: Vec<&str> = process.argv.iter().map(String::as_str).collect();
        let is_right = told.as_ref().is_none_or(|told| *told == argv);
        self.report.made(Class::Actor, told.is_some());
        if !is_right {
            self.wrong(Class::Actor, call, format!("{}\n  truth: {argv:?}", line["actor"]));
        }
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
            let class = if change.populated { Class::Populated } else { Class::Emptied };
            let events = told.entry((change.place.clone(), change.populated)).or_default();
            let fits = events.iter().position(|(at, _)| (change.not_before..=change.not_after).contains(at));
            if change.not_before < self.traced.start || change.not_after >= self.traced.end {
                // It may have been told, and need not have been: the place's other changes are held to the truth.
                fits.map(|position| events.remove(position));
                continue;
            }
            self.report.made(class, fits.is_some());
            match fits {
                Some(position) => drop(events.remove(position)),
                None if self.told.lost.lifecycle => {}
                None => {
                    let others: Vec<u64> = events.iter().map(|(at, _)| *at).collect();
                    self.report.wrong(class, "moves", format!("nothing was told of {change:?}; {others:?}"));
                }
            }
        }
        for ((place, populated), events) in told {
            if !known.contains(&place) {
                continue;
            }
            let class = if populated { Class::Populated } else { Class::Emptied };
            for (_, event) in events {
                self.report.wrong(class, "moves", format!("{event}\n  truth: nobody came or went"));
            }
        }
    }

    /// Every failed call is told once, as it was.
    fn attempts(&mut self) {
        let mut open: HashMap<u32, Vec<usize>> = HashMap::new();
        for (index, made) in self.truth.calls.iter().enumerate() {
            if made.failed() || made.errno.is_none() {
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
                // What a stranger does is none of ours, even here: whoever walks through all cgroups meets those that
                // go.
                let is_ours = place_of(attempt).is_some_and(|place| self.is_ours(&place));
                if is_ours && self.is_actor(pid, at) {
                    let class = match text(&attempt["operation"]) {
                        "mkdir" => Class::FailedMkdir,
                        "rmdir" => Class::FailedRmdir,
                        "rename" => Class::FailedRename,
                        "write" => Class::FailedWrite,
                        _ => Class::FailedOpen,
                    };
                    self.report.wrong(class, NOBODY, format!("{attempt}\n  truth: nobody did"));
                }
                continue;
            };
            let index = calls.remove(position);
            let made = &self.truth.calls[index];
            let class = failed_class(made.call.operation);
            self.calls.insert(number(&attempt["seq"]), index);
            self.found.insert(index);
            if self.is_traced(made) && made.failed() {
                self.report.made(class, true);
            }
            let operation = match made.call.operation {
                Operation::Mkdir => "mkdir",
                Operation::Rmdir => "rmdir",
                Operation::Rename => "rename",
                Operation::Open => "open",
                Operation::Attach | Operation::Freeze | Operation::Thaw => "write",
            };
            // What is written to is open: it has no path that was given.
            let path = if operation == "write" { made.call.file.as_deref() } else { Some(made.call.given.as_str()) };
            let is_right = attempt["operation"] == operation
                && attempt["syscall"] == made.call.syscall.as_str()
                && made.errno.is_none_or(|errno| errno_of(text(&attempt["errno"])) == Some(errno))
                && attempt["path"].as_str() == path
                && place_of(attempt).as_ref() == Some(&made.call.place);
            if !is_right {
                let truth = describe(made);
                self.wrong(class, index, format!("{attempt}\n  truth: {truth}"));
            }
            self.actor(attempt, index);
        }
        for index in open.into_values().flatten() {
            let made = &self.truth.calls[index];
            // A write to a file of what is gone ends before the function that trampolines are on.
            let is_unseen = made.errno == Some(libc::ENODEV) && self.told.is_by_trampolines;
            let class = failed_class(made.call.operation);
            if made.failed() && self.is_traced(made) && !(class == Class::FailedWrite && is_unseen) {
                self.report.made(class, false);
                if !self.may_be_lost(made) {
                    let truth = describe(made);
                    self.wrong(class, index, format!("nothing was told\n  truth: {truth}"));
                }
            }
        }
    }

    /// Real runtimes that did no harm: nothing says that they did.
    fn unharmed(&mut self) {
        for (id, what) in &self.truth.unharmed {
            self.report.made(Class::Unharmed, true);
            for finding in &self.told.findings {
                let is_its = finding["container"]["id"] == id.as_str()
                    || place_of(finding).is_some_and(|place| place.path.contains(id.as_str()));
                if is_its && finding["severity"] == "fault" {
                    self.report.wrong(Class::Unharmed, what, format!("{}\n  truth: {what}", brief(finding)));
                }
            }
        }
    }
}
