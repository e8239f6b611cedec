//! Holds the findings against what ought to be said.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use serde_json::Value;

use crate::check::{Check, NOBODY, describe, number, place_of, text};
use crate::model::{Expected, Verdict};
use crate::report::Class;
use crate::truth::{Job, Operation, Place, Process, Who};

/// A finding, and what ought to be said of each removal in it.
struct Case<'a> {
    finding: &'a Value,
    removals: Vec<(usize, Expected)>,
    /// The processes that its actor may be: those with that number that took part.
    actors: Vec<Who>,
    /// The scene of its first removal.
    scene: &'a str,
    /// Of very many calls only some are told.
    is_long: bool,
    /// Its scene began before tracing did, or some of it came when tracing was asked to end: what was not seen must be
    /// said.
    is_cut: bool,
}

impl<'a> Case<'a> {
    fn word(&self, name: &str) -> &'a str {
        text(&self.finding[name])
    }

    fn is_certain(&self) -> bool {
        self.word("certainty") == "certain"
    }

    fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.removals.iter().flat_map(|(_, expected)| &expected.verdicts)
    }
}

impl<'a> Check<'a> {
    /// Every finding that actors gave reason for.
    pub fn findings(&mut self) {
        let mut told_in: HashMap<usize, Vec<&Value>> = HashMap::new();
        // Places of findings of which not every call is told.
        let mut long: HashSet<Place> = HashSet::new();
        for finding in self.told.findings.clone() {
            if !["duplicate-teardown", "missing-path-teardown"].contains(&text(&finding["kind"])) {
                continue;
            }
            let Some(case) = self.case(finding) else { continue };
            if case.is_long {
                long.extend(place_of(finding));
            }
            for (call, _) in &case.removals {
                told_in.entry(*call).or_default().push(finding);
            }
            self.finding(&case);
        }
        self.told(&told_in, &long);
        self.stories(&told_in);
    }

    /// What ought to be said instead of a finding. `None` if it is somebody else's.
    fn case(&mut self, finding: &'a Value) -> Option<Case<'a>> {
        let attempts = finding["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
        let calls = attempts.iter().filter_map(|attempt| self.calls.get(&number(&attempt["seq"])).copied());
        let removals: Vec<(usize, Expected)> = calls
            .filter(|call| {
                self.is_removal_in_vain(*call) || self.is_unfinished_removal(*call) || self.is_open_for_removal(*call)
            })
            .map(|call| (call, self.model.expected(&self.truth.calls[call])))
            .collect();
        let Some((first, _)) = removals.first() else {
            if place_of(finding).is_some_and(|place| self.is_ours(&place)) {
                self.report.wrong(Class::Told, NOBODY, format!("{}\n  truth: nobody did", brief(finding)));
            }
            return None;
        };
        let truth = self.truth;
        let pid = number(&finding["actor"]["pid"]) as u32;
        let mut actors: Vec<Who> = removals.iter().map(|(call, _)| truth.calls[*call].who).collect();
        actors.retain(|who| who.pid == pid);
        actors.sort_unstable();
        actors.dedup();
        Some(Case {
            finding,
            actors,
            scene: &truth.processes[&truth.calls[*first].who].scene,
            is_long: number(&finding["attempt_count"]) > attempts.len() as u64,
            is_cut: removals.iter().any(|(call, _)| {
                let made = &truth.calls[*call];
                !self.is_traced(made) || self.begun[truth.processes[&made.who].scene.as_str()] < self.traced.start
            }),
            removals,
        })
    }

    /// Whether a call is a removal of what is not there.
    fn is_removal_in_vain(&self, call: usize) -> bool {
        let made = &self.truth.calls[call];
        made.call.operation == Operation::Rmdir && matches!(made.errno, Some(libc::ENOENT | libc::ENODEV | libc::EROFS))
    }

    /// Whether a call is the last one of a process that was killed: what is told of it tells how it ended.
    fn is_unfinished_removal(&self, call: usize) -> bool {
        let made = &self.truth.calls[call];
        made.call.operation == Operation::Rmdir && made.errno.is_none()
    }

    /// Whether a call opens the directory that the same process has failed to remove.
    fn is_open_for_removal(&self, call: usize) -> bool {
        let made = &self.truth.calls[call];
        let tried = self.tried.get(&(made.who, made.call.place.clone()));
        made.call.operation == Operation::Open
            && made.call.file.is_none()
            && matches!(made.errno, Some(libc::ENOENT | libc::ENODEV))
            && tried.is_some_and(|first| *first < call)
    }

    /// Every removal in vain is told in one finding.
    fn told(&mut self, told_in: &HashMap<usize, Vec<&Value>>, long: &HashSet<Place>) {
        for (index, made) in self.truth.calls.iter().enumerate() {
            if !self.is_removal_in_vain(index) || !self.is_traced(made) || !self.found.contains(&index) {
                continue;
            }
            let findings = told_in.get(&index).map_or(&[][..], Vec::as_slice);
            let may_be_untold = || {
                let is_long = long.contains(&made.call.place);
                is_long || self.model.expected(made).may_be_untold || self.told.lost.lifecycle
            };
            if findings.is_empty() && may_be_untold() {
                continue;
            }
            self.report.made(Class::Told, !findings.is_empty());
            if findings.len() != 1 {
                let findings: Vec<String> = findings.iter().map(|finding| brief(finding)).collect();
                let truth = describe(made);
                self.wrong(Class::Told, index, format!("told in {findings:#?}\n  truth: {truth}"));
            }
        }
    }

    /// What belongs together is one story: what came after the same removal, and one teardown of several hierarchies.
    fn stories(&mut self, told_in: &HashMap<usize, Vec<&Value>>) {
        let mut stories: HashMap<Together, Vec<usize>> = HashMap::new();
        for call in told_in.keys().copied() {
            let made = &self.truth.calls[call];
            if !self.is_traced(made) || made.call.operation == Operation::Open {
                continue;
            }
            let expected = self.model.expected(made);
            if let [Verdict::Removed { by } | Verdict::Renamed { by }] = expected.verdicts.as_slice() {
                stories.entry(Together::After(*by, made.call.place.clone())).or_default().push(call);
            }
            if let Some(teardown) = self.truth.processes[&made.who].teardown {
                stories.entry(Together::Teardown(teardown)).or_default().push(call);
            }
        }
        for calls in stories.into_values() {
            self.report.made(Class::Story, true);
            let ids: HashSet<&str> = calls.iter().flat_map(|call| &told_in[call]).map(|f| text(&f["id"])).collect();
            // Whose child a process is may be lost.
            if ids.len() > 1 && !self.told.lost.lifecycle {
                let mut what = format!("one story is told in {ids:?}");
                calls
                    .iter()
                    .for_each(|call| write!(what, "\n  truth: {}", describe(&self.truth.calls[*call])).unwrap());
                self.wrong(Class::Story, calls[0], what);
            }
        }
    }

    fn finding(&mut self, case: &Case) {
        let is_true = self.claim(case);
        self.report.made(Class::Certain, true);
        // What is wrong is counted already: it is worse if it was certain.
        if !is_true && case.is_certain() {
            self.report.wrong(Class::Certain, case.scene, format!("wrong, and certain: {}", brief(case.finding)));
        }
        self.report.made(Class::Degraded, true);
        let is_all_seen = !case.is_cut && !self.may_be_degraded(case);
        if is_all_seen {
            self.report.all_seen.insert(case.word("id").to_owned());
        }
        if is_all_seen && !case.is_certain() {
            let what = format!("all was seen: {}{}", brief(case.finding), self.truth_of(case));
            self.report.wrong(Class::Degraded, case.scene, what);
        }
        if !case.is_long {
            self.severity(case);
        }
    }

    /// Holds what is claimed, of whom, and how it ended against the truth. Returns whether it is right.
    fn claim(&mut self, case: &Case) -> bool {
        let is_duplicate = case.word("kind") == "duplicate-teardown";
        let fits = |verdict: &Verdict| matches!(verdict, Verdict::Removed { .. }) == is_duplicate;
        let kind = case.removals.iter().all(|(_, expected)| expected.verdicts.iter().any(fits));
        let mut is_true = self.judge(case, Class::Kind, kind, "the kind");

        let rivals = self.rivals(case);
        if kind && (is_duplicate || case.word("cause") == "renamed") {
            is_true &= self.judge(case, Class::Rival, !rivals.is_empty(), "the rival");
        }
        // Where two processes with one number took part, the cause and the end must be those of the same one.
        let cause = |actor: &Who| self.fits_cause(case, actor, &rivals);
        let outcome = |actor: &Who| self.fits_outcome(case, actor);
        let of_one = case.actors.iter().any(|actor| cause(actor) && outcome(actor));
        let (cause, outcome) = (case.actors.iter().any(cause), case.actors.iter().any(outcome));
        if kind {
            is_true &= self.judge(case, Class::Cause, cause && (of_one || !outcome), "the cause");
        }
        is_true &= self.judge(case, Class::Outcome, outcome || case.actors.is_empty(), "the actor's end");

        let hierarchies: HashSet<u32> =
            case.removals.iter().map(|(call, _)| self.truth.calls[*call].call.place.hierarchy).collect();
        let together = self.belong_together(case);
        is_true &= self.judge(case, Class::Story, together, "what does not belong together");
        let count = case.is_long || number(&case.finding["hierarchies"]) == hierarchies.len() as u64;
        is_true &= self.judge(case, Class::Story, count, "the number of hierarchies");
        is_true & self.judge(case, Class::Story, !case.actors.is_empty(), "an actor who took no part")
    }

    fn judge(&mut self, case: &Case, class: Class, is_right: bool, what: &str) -> bool {
        // What was cut off at the end, or partly lost, is told as far as it was seen, if it says so.
        let is_right = is_right || !case.is_certain() && (case.is_cut || self.may_be_degraded(case));
        self.report.made(class, true);
        if !is_right {
            let what = format!("{what}: {}{}", brief(case.finding), self.truth_of(case));
            self.report.wrong(class, case.scene, what);
        }
        is_right
    }

    /// The calls that the finding's rival may mean, by the number of the process and the time.
    fn rivals(&self, case: &Case) -> Vec<usize> {
        let rival = &case.finding["rival"];
        let (pid, at) = (number(&rival["actor"]["pid"]) as u32, number(&rival["at"]));
        case.verdicts()
            .filter_map(|verdict| match (verdict, case.word("cause")) {
                (Verdict::Removed { by }, "removed-by-other" | "removed-by-self") => Some(*by),
                (Verdict::Renamed { by }, "renamed") => Some(*by),
                _ => None,
            })
            .filter(|by| {
                let made = &self.truth.calls[*by];
                made.who.pid == pid && made.before <= at && at <= made.after
            })
            .collect()
    }

    fn fits_cause(&self, case: &Case, actor: &Who, rivals: &[usize]) -> bool {
        let mut verdicts = case.verdicts();
        match case.word("cause") {
            // A wrong rival is counted by itself.
            "removed-by-other" => rivals.is_empty() || rivals.iter().any(|by| self.model.who(*by) != *actor),
            "removed-by-self" => rivals.is_empty() || rivals.iter().any(|by| self.model.who(*by) == *actor),
            "renamed" => verdicts.any(|verdict| matches!(verdict, Verdict::Renamed { .. })),
            "read-only-mount" => verdicts.any(|verdict| *verdict == Verdict::CreationFailed { errno: libc::EROFS }),
            "creation-failed" => {
                verdicts.any(|verdict| matches!(verdict, Verdict::CreationFailed { errno } if *errno != libc::EROFS))
            }
            "never-created" => verdicts.any(|verdict| *verdict == Verdict::NeverCreated),
            _ => false,
        }
    }

    fn fits_outcome(&self, case: &Case, actor: &Who) -> bool {
        let process = &self.truth.processes[actor];
        let exit = &case.finding["outcome"]["exit"];
        let told = (exit["code"].as_i64(), exit["signal"].as_i64());
        let true_end = (process.code().map(i64::from), process.signal().map(i64::from));
        let left = case.finding["outcome"]["state_left"].as_bool();
        let fits_state = left.is_none() || process.state_left.is_none() || left == process.state_left;
        fits_state && (told == true_end || told == (None, None) && self.may_miss_end(process))
    }

    /// Whether the removals of one finding are of one life of one cgroup, or of its likes in other hierarchies.
    fn belong_together(&self, case: &Case) -> bool {
        case.removals.iter().enumerate().all(|(index, (one, expected))| {
            let one = &self.truth.calls[*one];
            case.removals[index + 1..].iter().all(|(other, of_other)| {
                let other = &self.truth.calls[*other];
                // Of what is in several hierarchies, only what was one teardown: each is torn down in a scene of its
                // own.
                if one.call.place.hierarchy != other.call.place.hierarchy {
                    return self.truth.processes[&one.who].scene == self.truth.processes[&other.who].scene;
                }
                let (ends, other_ends) = (ends(expected), ends(of_other));
                let of_one_life = ends.is_empty() || other_ends.is_empty() || !ends.is_disjoint(&other_ends);
                one.call.place == other.call.place && of_one_life && !self.model.lived_between(one, other)
            })
        })
    }

    /// The calls of a case, and what ought to be said of them.
    fn truth_of(&self, case: &Case) -> String {
        let mut truth = String::new();
        for (call, expected) in &case.removals {
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
        truth
    }

    fn severity(&mut self, case: &Case) {
        let expected = self.severities(case);
        self.report.made(Class::Severity, true);
        if expected.contains(&case.word("severity")) {
            return;
        }
        let mut what = format!("{}\n  truth: {expected:?}, because of", brief(case.finding));
        for process in self.participants(case) {
            let Process { who, job, argv, state_left, scene, .. } = process;
            let end = match (process.code(), process.signal()) {
                (Some(code), _) => format!("exit {code}"),
                (None, Some(signal)) => format!("signal {signal}"),
                (None, None) => "still there".to_owned(),
            };
            write!(what, "\n    {} {job:?} {argv:?}: {end}, state left: {state_left:?}; {scene}", who.pid).unwrap();
        }
        self.report.wrong(Class::Severity, case.scene, what);
    }

    fn participants(&self, case: &Case) -> Vec<&Process> {
        let who: HashSet<Who> = case.removals.iter().map(|(call, _)| self.truth.calls[*call].who).collect();
        who.iter().map(|who| &self.truth.processes[who]).collect()
    }

    /// Whether something that a claim about these depends on was said to be lost. Failed calls of one process that are
    /// withheld hide nothing but what that process tried.
    fn may_be_degraded(&self, case: &Case) -> bool {
        let lost = &self.told.lost;
        let because = case.finding["because"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_of_room = |why: &Value| text(why).contains("not remembered");
        lost.forgotten && !because.is_empty() && because.iter().all(is_of_room)
            || lost.lifecycle
            || lost.attempts
            || lost.mkdirs
            || case.removals.iter().any(|(call, _)| lost.of.contains(&self.truth.calls[*call].who.pid))
    }

    /// What was left of what a process tried to remove. What was renamed before tracing began nobody can know of: the
    /// severity supposes that it was not, and the finding is degraded.
    fn left(&self, case: &Case, process: &Process) -> Left {
        let own = case.removals.iter().filter(|(call, _)| self.truth.calls[*call].who == process.who);
        let mut left: Vec<Left> = own
            .flat_map(|(_, expected)| &expected.verdicts)
            .map(|verdict| match verdict {
                Verdict::Renamed { by } if self.truth.calls[*by].after < self.traced.start => Left::Either,
                Verdict::Renamed { .. } => Left::Renamed,
                _ => Left::Nothing,
            })
            .collect();
        left.dedup();
        match left.as_slice() {
            [] => Left::Nothing,
            [all] => *all,
            _ => Left::Either,
        }
    }

    /// The severities that are right.
    fn severities(&self, case: &Case) -> Vec<&'static str> {
        let each: Vec<Vec<&'static str>> = self
            .participants(case)
            .into_iter()
            .map(|process| {
                let mut right = severities_of(process, self.left(case, process));
                if self.may_miss_end(process) && !right.contains(&"undetermined") {
                    right.push("undetermined");
                }
                right
            })
            .collect();
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
}

/// What is told in one story.
#[derive(PartialEq, Eq, Hash)]
enum Together {
    /// What came to a place after one call had taken away what was there.
    After(usize, Place),
    Teardown(u64),
}

/// The calls that may have taken it away.
fn ends(expected: &Expected) -> HashSet<usize> {
    let end = |verdict: &Verdict| match verdict {
        Verdict::Removed { by } | Verdict::Renamed { by } => Some(*by),
        Verdict::CreationFailed { .. } | Verdict::NeverCreated => None,
    };
    expected.verdicts.iter().filter_map(end).collect()
}

/// What was left of what was to be removed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// All of it, under another name.
    Renamed,
    /// It cannot be told which.
    Either,
}

/// Whether a process's failed removal did harm.
fn severities_of(process: &Process, left: Left) -> Vec<&'static str> {
    let wanted = match left {
        Left::Nothing => vec!["benign"],
        Left::Renamed => vec!["undetermined"],
        Left::Either => vec!["benign", "undetermined"],
    };
    match (process.code(), process.job, process.state_left) {
        // Killed, or still there.
        (None, Job::Teardown, Some(true)) => vec!["undetermined", "fault"],
        (None, _, _) => vec!["undetermined"],
        (Some(_), Job::Teardown, Some(true)) => vec!["fault"],
        (Some(0), Job::Start, _) => vec!["benign"],
        (Some(0), _, _) => wanted,
        (Some(_), Job::Teardown, _) | (Some(_), Job::Start, Some(true)) => vec!["fault"],
        (Some(_), Job::Start, _) => vec!["benign", "undetermined"],
        (Some(_), Job::Plain, _) => wanted,
        (Some(_), Job::Other, _) => vec!["undetermined"],
    }
}

/// A finding in a few lines.
pub fn brief(finding: &Value) -> String {
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
