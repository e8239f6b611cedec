//! Both sides, paired by role: the operations in which a pair differs, and what follows.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use super::ending::{Endings, endings};
use super::pairs::{self, Course, Figure, Part, pair};
use super::side::{Deed, Op, Place, Run, Side, What};
use crate::errno::Errno;
use crate::hierarchy::Header;
use crate::input::BootTime;
use crate::name::Name;
use crate::phrases::{self, count};
use crate::why::meaning;

/// Differences that are told beside the first one; more are counted.
const TOLD: usize = 100;

/// Two traces of the same job, compared.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// They end differently: in findings that are not benign, in runtimes that failed, or in cgroups that are left.
    pub differs: bool,
    /// In one paragraph: where they part, and what follows.
    pub paragraph: String,
    /// The first operation in which they differ, by the time of the second trace. `None` if there is no such operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Difference>,
    /// The other ones, in order: the first of each process in each cgroup.
    pub others: Vec<Difference>,
    /// Differences that there was no room for.
    pub others_left_out: u64,
    /// What only the first trace ends with, the worst first.
    pub only_in_good: Vec<String>,
    /// What only the second trace ends with.
    pub only_in_bad: Vec<String>,
    /// What both end with, as the second trace has it.
    pub in_both: Vec<String>,
    /// In what the traces themselves are not alike, and what is missing of them: a difference may come of it.
    pub beside: Vec<String>,
}

/// Where two processes of one role part.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// The role of the process, such as `runc delete`.
    pub who: String,
    /// The container whose cgroup it is, by its id in the second trace; where only the first has it, by that one.
    /// `None` if it is of no container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Name>,
    /// In which hierarchies alike, by their labels.
    pub hierarchies: Vec<String>,
    /// What was done there in the first trace. `None` if nothing was, or nothing more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub good: Option<Done>,
    /// What was done there in the second trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bad: Option<Done>,
    /// When it came to be, in the time of the second trace.
    #[serde(skip)]
    order: BootTime,
}

/// An operation, as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    /// When.
    pub at: BootTime,
    /// `created`, `removed`, or the operation that failed.
    pub what: &'static str,
    /// How it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<Errno>,
    /// What the errno means there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub means: Option<&'static str>,
    /// The cgroup.
    pub path: Name,
    /// The control file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Name>,
    /// What was to be written to it, as it is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Who did it.
    pub by: String,
}

impl Done {
    fn of(deed: &Deed, run: &Run) -> Self {
        let (what, errno, means) = match deed.op.what {
            What::Did(change) => (change.as_str(), None, None),
            What::Failed(operation, errno) => (operation.as_str(), Some(errno), meaning(operation, errno)),
        };
        Self {
            at: deed.at,
            what,
            errno,
            means,
            path: deed.path.clone(),
            file: deed.op.file.clone(),
            value: deed.op.value.as_ref().map(|value| phrases::value(value, deed.value_truncated)),
            by: phrases::who(&run.actor.comm, run.actor.pid),
        }
    }

    /// Who did what: `runc[7] removed /a`.
    pub fn told(&self) -> String {
        let Self { what, errno, path, by, .. } = self;
        let Some(errno) = errno else {
            let verb = match *what {
                "created" => "made",
                "attached" => "moved a process into",
                "frozen" => "froze",
                what => what,
            };
            return format!("{by} {verb} {path}");
        };
        let what = match (&self.value, &self.file) {
            (Some(value), Some(file)) => format!("{what} of {value} to {file} of {path}"),
            (None, Some(file)) => format!("{what} of {file} of {path}"),
            (_, None) => format!("{what} of {path}"),
        };
        format!("the {what} by {by} failed with {errno}")
    }
}

impl Difference {
    /// Where they part, in three sentences.
    fn told(&self) -> String {
        let of = self.container.as_ref().map(|container| format!(" of container {container}")).unwrap_or_default();
        let alike = match self.hierarchies.len() {
            0 | 1 => String::new(),
            several => format!(", in {several} hierarchies alike"),
        };
        let does = |done: &Option<Done>| match done {
            Some(done) => {
                format!("{}{}", done.told(), done.means.map(|means| format!(": {means}")).unwrap_or_default())
            }
            None => "it does nothing there, or nothing more".to_owned(),
        };
        let (good, bad) = (does(&self.good), does(&self.bad));
        format!("They differ first in what {} does to a cgroup{of}{alike}. In GOOD, {good}. In BAD, {bad}.", self.who)
    }
}

impl Comparison {
    /// Compares two sides.
    pub fn of(good: &Side<'_>, bad: &Side<'_>) -> Self {
        let (mut goods, mut bads) = (Figure::all(good), Figure::all(bad));
        if goods.iter().chain(&bads).any(|figure| figure.subject.container.is_some()) {
            keep_what_has_to_do_with_containers(&mut goods);
            keep_what_has_to_do_with_containers(&mut bads);
        }
        let (pairs, good_left, bad_left) = pairs::figures(&goods, &bads);
        let mut found = Differences { all: Vec::new() };
        for (one, other) in &pairs {
            found.within(&goods[*one], &bads[*other]);
        }
        let elsewhere = pairs.iter().filter_map(|(one, other)| {
            let (one, other) = (goods[*one].subject, bads[*other].subject);
            let is_elsewhere = one.role != other.role && other.container.is_some();
            is_elsewhere.then(|| format!("a container has another place: in GOOD {}, in BAD {}", one.path, other.path))
        });
        let elsewhere: Vec<String> = elsewhere.take(TOLD).collect();
        let began = (good.began(), bad.began());
        for figure in good_left.iter().map(|number| &goods[*number]) {
            figure.parts.iter().for_each(|part| found.alone(Some(part), None, figure, began));
        }
        for figure in bad_left.iter().map(|number| &bads[*number]) {
            figure.parts.iter().for_each(|part| found.alone(None, Some(part), figure, began));
        }
        let mut differences = found.told();
        let others_left_out = differences.len().saturating_sub(TOLD + 1) as u64;
        differences.truncate(TOLD + 1);
        let mut differences = differences.into_iter();

        let (good_ends, bad_ends) = both_endings((good, &goods), (bad, &bads), &pairs);
        let told = |ends: &Endings, other: &Endings, in_other: bool| -> Vec<String> {
            ends.iter().filter(|(key, _)| other.contains_key(key) == in_other).map(|(_, text)| text.clone()).collect()
        };
        let (only_in_good, only_in_bad) = (told(&good_ends, &bad_ends, false), told(&bad_ends, &good_ends, false));
        let mut comparison = Self {
            differs: !only_in_good.is_empty() || !only_in_bad.is_empty(),
            paragraph: String::new(),
            first: differences.next(),
            others: differences.collect(),
            others_left_out,
            only_in_good,
            only_in_bad,
            in_both: told(&bad_ends, &good_ends, true),
            beside: beside(good, bad).into_iter().chain(elsewhere).collect(),
        };
        comparison.paragraph = comparison.tell();
        comparison
    }

    fn tell(&self) -> String {
        let mut sentences = Vec::new();
        if !self.differs {
            sentences.push("No difference that matters: both end alike.".to_owned());
        }
        sentences.push(match &self.first {
            Some(first) => first.told(),
            None => "In both, the processes do the same to the cgroups.".to_owned(),
        });
        let ends = |texts: &[String]| {
            let more = match texts.len() {
                0 | 1 => String::new(),
                all => format!(", and {} more", all - 1),
            };
            texts.first().map(|first| format!("{first}{more}"))
        };
        for (name, texts) in [("BAD", &self.only_in_bad), ("GOOD", &self.only_in_good)] {
            sentences.extend(ends(texts).map(|ends| format!("Only {name} ends with this: {ends}.")));
        }
        sentences.join(" ")
    }
}

/// Where there are containers, a cgroup of none has to do with the job only as far as a runtime acts on it, or a
/// process that acts on a container's cgroup, too.
fn keep_what_has_to_do_with_containers(figures: &mut [Figure<'_>]) {
    let of_containers = figures.iter().filter(|figure| figure.subject.container.is_some());
    let known: BTreeSet<*const Run> =
        of_containers.flat_map(|figure| &figure.parts).map(|part| std::ptr::from_ref(part.run)).collect();
    for figure in figures.iter_mut().filter(|figure| figure.subject.container.is_none()) {
        figure.parts.retain(|part| part.role.subcommand.is_some() || known.contains(&std::ptr::from_ref(part.run)));
    }
}

/// Places of a subject where there was a cgroup when tracing began.
fn there<'a>(figure: &Figure<'a>) -> impl Iterator<Item = &'a Place> {
    figure.subject.cgroups.iter().filter(|(_, fate)| fate.was_there).map(|(place, _)| place)
}

/// How both sides end, each with its subjects; those of a pair have one number.
fn both_endings(
    (good, goods): (&Side<'_>, &[Figure<'_>]),
    (bad, bads): (&Side<'_>, &[Figure<'_>]),
    pairs: &[(usize, usize)],
) -> (Endings, Endings) {
    let good_numbers: HashMap<usize, usize> = pairs.iter().enumerate().map(|(pair, (one, _))| (*one, pair)).collect();
    let bad_numbers: HashMap<usize, usize> =
        pairs.iter().enumerate().map(|(pair, (_, other))| (*other, pair)).collect();
    // What has no pair is alike to nothing.
    let of_good = |subject: usize| good_numbers.get(&subject).copied().unwrap_or(pairs.len() + 2 * subject);
    let of_bad = |subject: usize| bad_numbers.get(&subject).copied().unwrap_or(pairs.len() + 2 * subject + 1);
    let places = |figure: &Figure<'_>, number: usize| -> Vec<(usize, String)> {
        there(figure).map(|(_, place)| (number, place.clone())).collect()
    };
    let mut known: BTreeSet<(usize, String)> = BTreeSet::new();
    goods.iter().for_each(|figure| known.extend(places(figure, of_good(figure.number))));
    bads.iter().for_each(|figure| known.extend(places(figure, of_bad(figure.number))));
    (endings(good, &of_good, &known), endings(bad, &of_bad, &known))
}

/// A process's part as it is compared.
type Entry<'a> = (&'a Part<'a>, Course);

/// Those that differ: several that do the same are one, because how many there must be is up to time.
fn distinct<'a>(parts: &'a [Part<'a>], known: &BTreeSet<&Place>) -> Vec<Entry<'a>> {
    let mut seen = BTreeSet::new();
    let mut entries = Vec::new();
    for part in parts {
        let mut course = part.course.clone();
        for (_, ops) in course.iter_mut().filter(|(place, _)| known.contains(place)) {
            ops.retain(|op| !op.makes_sure());
        }
        course.retain(|_, ops| !ops.is_empty());
        if !course.is_empty() && seen.insert((&part.role, course.clone())) {
            entries.push((part, course));
        }
    }
    entries
}

struct Differences {
    all: Vec<Difference>,
}

impl Differences {
    /// What differs in what was done to two subjects of one role.
    fn within(&mut self, good: &Figure<'_>, bad: &Figure<'_>) {
        // What was there before one of them began had not to be made by it.
        let known: BTreeSet<&Place> = there(good).chain(there(bad)).collect();
        let (goods, bads) = (distinct(&good.parts, &known), distinct(&bad.parts, &known));
        let role = |part: &Part<'_>| (Some(part.role.program.clone()), part.role.subcommand.clone());
        let by_all = |(part, course): &Entry<'_>| Some((role(part), Some(course.clone())));
        let by_role = |(part, _): &Entry<'_>| Some((role(part), None));
        // Another runtime that is asked the same.
        let by_subcommand = |(part, _): &Entry<'_>| Some(((None, Some(part.role.subcommand.clone()?)), None));
        let (pairs, good_left, bad_left) = pair(&goods, &bads, &[&by_all, &by_role, &by_subcommand]);
        for (one, other) in pairs {
            self.between(&goods[one], &bads[other], bad);
        }
        let began = (good.began(), bad.began());
        good_left.into_iter().for_each(|number| self.alone(Some(goods[number].0), None, bad, began));
        bad_left.into_iter().for_each(|number| self.alone(None, Some(bads[number].0), bad, began));
    }

    /// Where two processes of one role part, in each cgroup.
    fn between(&mut self, (good, good_course): &Entry<'_>, (bad, bad_course): &Entry<'_>, figure: &Figure<'_>) {
        let places: BTreeSet<&Place> = good_course.keys().chain(bad_course.keys()).collect();
        for place in places {
            let ops = |course: &Course| course.get(place).cloned().unwrap_or_default();
            let (good_ops, bad_ops) = (ops(good_course), ops(bad_course));
            if good_ops == bad_ops {
                continue;
            }
            let at = good_ops.iter().zip(&bad_ops).take_while(|(one, other)| one == other).count();
            let done = |part: &Part<'_>, op: Option<&Op>| {
                let deed = part.deeds.iter().find(|deed| deed.place == *place && Some(&deed.op) == op)?;
                Some(Done::of(deed, part.run))
            };
            let (good_done, bad_done) = (done(good, good_ops.get(at)), done(bad, bad_ops.get(at)));
            let before = at.checked_sub(1).and_then(|before| done(bad, bad_ops.get(before)));
            let order = bad_done.as_ref().or(before.as_ref()).map(|done| done.at);
            let order = order.or_else(|| bad.deeds.first().map(|deed| deed.at)).unwrap_or_default();
            let who = match good.role == bad.role {
                true => bad.role.to_string(),
                false => format!("{} or {}", good.role, bad.role),
            };
            self.add(who, place, figure, (good_done, bad_done), order);
        }
    }

    /// What a process does that only one side has. `began`: when what it is about began, on either side.
    fn alone(
        &mut self,
        good: Option<&Part<'_>>,
        bad: Option<&Part<'_>>,
        figure: &Figure<'_>,
        began: (BootTime, BootTime),
    ) {
        let Some(part) = good.or(bad) else { return };
        let mut places: BTreeSet<&Place> = BTreeSet::new();
        for deed in part.deeds.iter().filter(|deed| places.insert(&deed.place)) {
            let done = Some(Done::of(deed, part.run));
            let (done, order) = match good {
                Some(_) => ((done, None), began.1 + deed.at.since(began.0)),
                None => ((None, done), deed.at),
            };
            self.add(part.role.to_string(), &deed.place, figure, done, order);
        }
    }

    fn add(
        &mut self,
        who: String,
        place: &Place,
        figure: &Figure<'_>,
        (good, bad): (Option<Done>, Option<Done>),
        order: BootTime,
    ) {
        let container = figure.subject.container.as_ref().map(|container| container.id.clone());
        self.all.push(Difference { who, container, hierarchies: vec![place.0.clone()], good, bad, order });
    }

    /// All of them in order, those that are alike in several hierarchies as one.
    fn told(mut self) -> Vec<Difference> {
        self.all.sort_by_key(|difference| difference.order);
        let mut told: Vec<Difference> = Vec::new();
        let mut known = HashMap::new();
        for difference in self.all {
            let alike = |done: &Option<Done>| {
                let done = done.as_ref()?;
                Some((done.what, done.errno, done.file.clone(), done.value.clone(), done.by.clone()))
            };
            let Difference { who, container, good, bad, .. } = &difference;
            let key = (who.clone(), container.clone(), alike(good), alike(bad));
            match known.get(&key).copied().map(|number: usize| &mut told[number]) {
                Some(first) if !first.hierarchies.contains(&difference.hierarchies[0]) => {
                    first.hierarchies.extend(difference.hierarchies);
                }
                Some(_) | None => {
                    known.insert(key, told.len());
                    told.push(difference);
                }
            }
        }
        told
    }
}

/// In what the traces themselves are not alike, and what is missing of them.
fn beside(good: &Side<'_>, bad: &Side<'_>) -> Vec<String> {
    let mut beside = Vec::new();
    let printable = |text: &str| Name::from(text).printable();
    if let (Some(one), Some(other)) = (&good.report.header, &bad.report.header) {
        let told = |header: &Header| {
            let Header { kernel, arch, setup, .. } = header;
            format!("Linux {} {}, {setup} cgroups", printable(kernel), printable(arch))
        };
        let (one, other) = (told(one), told(other));
        if one != other {
            beside.push(format!("the hosts are not alike: GOOD is of {one}; BAD of {other}"));
        }
    }
    for (name, side) in [("GOOD", good), ("BAD", bad)] {
        let lost = side.report.lost.values().fold(0_u64, |sum, lost| sum.saturating_add(*lost));
        if lost > 0 {
            beside.push(format!("{name} lost {}: a difference may be what was lost", count(lost, "record", "records")));
        }
        if side.left_out > 0 {
            beside.push(format!("{name} has more than can be compared: {} things were left out", side.left_out));
        }
        let probes = side.report.header.iter().flat_map(|header| &header.probes);
        let missing: Vec<String> = probes.filter(|probe| !probe.attached).map(|probe| printable(&probe.name)).collect();
        if !missing.is_empty() {
            beside.push(format!("{name} was traced without {}: what they tell is missing", missing.join(", ")));
        }
    }
    beside
}
