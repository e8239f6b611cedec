//! The lives of containers as a picture: a row for each cgroup, spans for what it was, marks for what happened to it.
//!
//! The picture is drawn here as a whole, so that the page needs no script to be read. Each row also carries the same in
//! numbers, nanoseconds since the page's beginning, from which `page.js` draws any part of it; what a span is, is
//! decided here alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{self, Write};

use super::picture::{Span, rectangle, shapes, spans};
use super::{Anchor, Trace, escape};
use crate::duration;
use crate::hierarchy::{Clock, Header, HierarchyLabels};
use crate::input::{BootTime, HierarchyId};
use crate::name::Name;
use crate::phrases::time_of_day;
use crate::report::{Life, Step};

/// Rows at most. Containers in trouble come first; that others are left out is said.
const ROWS: usize = 10_000;
/// A timeline of more rows is laid out bit by bit, as it comes into sight.
const LARGE: usize = 2_000;
/// An id of more characters is cut to twelve, as docker does.
const LONGEST_ID: usize = 32;

/// The page's axis of time.
#[derive(Clone, Copy)]
struct Axis {
    /// Its beginning, in nanoseconds since 1970.
    began: i64,
    /// Its length in nanoseconds, never 0.
    length: u64,
}

impl Axis {
    fn of(traces: &[Trace<'_>]) -> Option<Self> {
        let ends = |trace: &Trace<'_>| -> Option<(i64, i64)> {
            let clock = trace.report.header.as_ref()?.clock;
            trace.report.span.map(|(first, last)| (clock.unix_ns(first), clock.unix_ns(last)))
        };
        let began = traces.iter().filter_map(ends).map(|(first, _)| first).min()?;
        let ended = traces.iter().filter_map(ends).map(|(_, last)| last).max()?;
        Some(Self { began, length: ended.abs_diff(began).max(1_000) })
    }

    /// Nanoseconds since its beginning.
    fn since(self, clock: Clock, at: BootTime) -> u64 {
        u64::try_from(clock.unix_ns(at).saturating_sub(self.began)).unwrap_or(0)
    }

    fn percent(self, since: u64) -> f64 {
        since as f64 / self.length as f64 * 100.0
    }
}

/// Words that many rows use, told once.
#[derive(Default)]
struct Words {
    list: Vec<String>,
    known: HashMap<String, usize>,
}

impl Words {
    fn number(&mut self, word: &str) -> usize {
        if let Some(number) = self.known.get(word) {
            return *number;
        }
        self.list.push(word.to_owned());
        self.known.insert(word.to_owned(), self.list.len() - 1);
        self.list.len() - 1
    }
}

/// The timeline, ready to be written.
pub(super) struct Timeline {
    /// How many containers it shows.
    pub(super) containers: usize,
    axis: Option<Axis>,
    words: Words,
    rows: usize,
    html: String,
    left_out: Vec<String>,
}

/// A container on its way into the timeline.
struct Entry<'a> {
    life: &'a Life,
    /// The numbers of its findings, the worst first.
    findings: Vec<usize>,
    failed: usize,
    first: BootTime,
}

impl Timeline {
    /// Draws all traces' lives on one axis, and tells each finding where it is on it.
    pub(super) fn new(traces: &[Trace<'_>], anchors: &mut [Vec<Anchor<'_>>]) -> Self {
        let mut timeline = Self {
            containers: 0,
            axis: Axis::of(traces),
            words: Words::default(),
            rows: 0,
            html: String::new(),
            left_out: Vec::new(),
        };
        if let Some(axis) = timeline.axis {
            for (trace, anchors) in traces.iter().zip(anchors) {
                timeline.host(trace, anchors, axis, traces.len() > 1);
            }
        }
        timeline
    }

    fn host(&mut self, trace: &Trace<'_>, anchors: &mut [Anchor<'_>], axis: Axis, several: bool) {
        let (Some(header), Some(lives), Some((first, last))) =
            (&trace.report.header, &trace.report.lives, trace.report.span)
        else {
            return;
        };
        let mut findings: HashMap<&Name, Vec<usize>> = HashMap::new();
        for (number, anchor) in anchors.iter().enumerate() {
            if let Some(container) = &anchor.finding.container {
                findings.entry(&container.id).or_default().push(number);
            }
        }
        for numbers in findings.values_mut() {
            numbers.sort_by_key(|number| Reverse(anchors[*number].finding.severity));
        }
        let mut entries: Vec<Entry<'_>> = lives
            .containers
            .values()
            .map(|life| {
                let steps = || life.cgroups.values().flatten();
                Entry {
                    life,
                    findings: findings.get(&life.container.id).cloned().unwrap_or_default(),
                    failed: steps().filter(|step| step.failed).count(),
                    first: steps().map(|step| step.at).min().unwrap_or(first),
                }
            })
            .collect();
        // Trouble first: the worst finding, then any failed call, then by time.
        entries.sort_by_key(|entry| {
            let worst = entry.findings.first().map(|number| anchors[*number].finding.severity);
            (Reverse(worst), entry.failed == 0, entry.first)
        });
        if several {
            let covered = (axis.since(header.clock, first), axis.since(header.clock, last));
            self.heading(header, &trace.files, covered, axis);
        }
        let label = escape(&format!("containers on {}", header.host));
        let _ = writeln!(self.html, "<div class=\"lives\" role=\"list\" aria-label=\"{label}\">");
        let mut without = lives.left_out;
        for entry in &entries {
            let cgroups = entry.life.cgroups.len();
            if self.rows + cgroups + usize::from(cgroups != 1) > ROWS {
                without += 1;
                continue;
            }
            self.containers += 1;
            self.life(entry, anchors, header, (first, last), axis);
        }
        let _ = writeln!(self.html, "</div>");
        if without > 0 {
            self.left_out.push(format!("{without} more on {} are not drawn", header.host));
        }
    }

    /// A host's own row: when it was traced.
    fn heading(&mut self, header: &Header, files: &str, covered: (u64, u64), axis: Axis) {
        let (host, files) = (escape(&header.host.to_string()), escape(files));
        let last = files.rsplit('/').next().unwrap_or_default();
        let mut picture = String::new();
        rectangle(&mut picture, "covered", axis.percent(covered.0), axis.percent(covered.1));
        let _ = writeln!(
            self.html,
            "<h3 class=\"row host\" data-spans=\"covered {} {}\"><span class=\"name\" title=\"{host}: {files}\">\
             <b>{host}</b> · {last}</span><span class=\"trouble\"></span>\
             <svg class=\"picture\" aria-hidden=\"true\">{picture}</svg></h3>",
            covered.0, covered.1
        );
    }

    /// A container with one cgroup has one row; one with more has a row of its own above theirs.
    fn life(
        &mut self,
        entry: &Entry<'_>,
        anchors: &mut [Anchor<'_>],
        header: &Header,
        span: (BootTime, BootTime),
        axis: Axis,
    ) {
        let container = &entry.life.container;
        let labels = HierarchyLabels::of_header(header);
        let id = container.id.printable();
        let left_out = match entry.life.left_out {
            0 => String::new(),
            more => format!("; {more} more steps are left out"),
        };
        let short = short(&id);
        let name = container.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        let runtime = Name::from(container.runtime.as_str()).printable();
        let worst = entry.findings.first().map(|number| &anchors[*number]);
        let link = worst.map(|anchor| {
            let severity = anchor.finding.severity.as_str();
            let more = if entry.findings.len() > 1 { format!(" +{}", entry.findings.len() - 1) } else { String::new() };
            format!("<a class=\"{severity}\" href=\"#{}\">{severity}</a>{more}", anchor.id)
        });
        let trouble = worst.map(|anchor| format!(", {}", anchor.finding.severity.as_str())).unwrap_or_default();
        let _ = write!(self.html, "<div class=\"life\">");
        let first_row = self.rows;
        let mut rows: BTreeMap<(HierarchyId, &Name), usize> = BTreeMap::new();
        let alone = entry.life.cgroups.len() == 1;
        if !alone {
            self.row(&Row {
                class: "container",
                name: format!("<b>{}</b>{} · {}", escape(&short), escape(&name), escape(&runtime)),
                title: format!("{id}{name} ({runtime}){left_out}"),
                label: format!(
                    "container {short}{name}, {runtime}, {} cgroups{}{trouble}",
                    entry.life.cgroups.len(),
                    failed_calls(entry.failed)
                ),
                failed: entry.failed,
                link: link.clone(),
                picture: None,
            });
        }
        for ((hierarchy, path), steps) in &entry.life.cgroups {
            rows.insert((*hierarchy, path), self.rows);
            let place = format!("{} {path}", labels.of(*hierarchy));
            let failed = steps.iter().filter(|step| step.failed).count();
            let calls = failed_calls(failed);
            let spans = spans(steps, span.0, span.1);
            let picture = Some(self.picture(&spans, steps, header, axis));
            self.row(&if alone {
                Row {
                    class: "container",
                    name: format!(
                        "<b>{}</b>{} · {} · {}",
                        escape(&short),
                        escape(&name),
                        escape(&runtime),
                        escape(&place)
                    ),
                    title: format!("{id}{name} ({runtime}), {place}{left_out}"),
                    label: format!("container {short}{name}, {runtime}{calls}{trouble}"),
                    failed,
                    link: link.clone(),
                    picture,
                }
            } else {
                Row {
                    class: "cgroup",
                    name: escape(&place),
                    title: format!("{place} of {id}"),
                    label: format!("cgroup {place}{calls}"),
                    failed,
                    link: None,
                    picture,
                }
            });
        }
        let _ = writeln!(self.html, "</div>");
        for number in &entry.findings {
            let Some(anchor) = anchors.get_mut(*number) else { continue };
            let cgroup = &anchor.finding.cgroup;
            let row = rows.get(&(cgroup.hierarchy, &cgroup.path)).copied().unwrap_or(first_row);
            let (from, to) = extent(anchor);
            let (from, to) = (axis.since(header.clock, from), axis.since(header.clock, to));
            anchor.link = Some(format!(
                "<a class=\"goto\" href=\"#row-{row}\" data-from=\"{from}\" data-to=\"{to}\">show in the timeline</a>"
            ));
        }
    }

    fn row(&mut self, row: &Row) {
        let (number, label, title) = (self.rows, escape(&row.label), escape(&row.title));
        self.rows += 1;
        let failed =
            if row.failed > 0 { format!("<span class=\"failed\">✕ {}</span> ", row.failed) } else { String::new() };
        let trouble = format!("{failed}{}", row.link.as_deref().unwrap_or(""));
        let (described, numbers, picture) = match &row.picture {
            Some(Picture { spans, steps, shapes, text }) => (
                format!(" aria-describedby=\"picture-{number}\""),
                format!(" data-spans=\"{spans}\" data-steps=\"{steps}\""),
                format!(
                    "<svg class=\"picture\" id=\"picture-{number}\" role=\"img\" aria-label=\"{}\">{shapes}</svg>",
                    escape(text)
                ),
            ),
            None => Default::default(),
        };
        let _ = write!(
            self.html,
            "<div class=\"row {}\" id=\"row-{number}\" role=\"listitem\" tabindex=\"-1\" \
             aria-label=\"{label}\"{described}{numbers}><span class=\"name\" title=\"{title}\">{}</span>\
             <span class=\"trouble\">{trouble}</span>{picture}</div>",
            row.class, row.name
        );
    }

    fn picture(&mut self, spans: &[Span], steps: &[Step], header: &Header, axis: Axis) -> Picture {
        let since = |at: BootTime| axis.since(header.clock, at);
        let numbers: Vec<String> = spans
            .iter()
            .map(|span| format!("{} {} {}", span.state.as_str(), since(span.from), since(span.to)))
            .collect();
        let mut before = 0;
        let mut told = Vec::new();
        for step in steps {
            let at = since(step.at);
            let what = self.words.number(&step.what) as i64;
            let what = if step.failed { -1 - what } else { what };
            let who = step.who.as_ref().map_or(-1, |who| self.words.number(who) as i64);
            told.push(format!("{} {what} {who}", at as i128 - i128::from(before)));
            before = at;
        }
        Picture {
            spans: numbers.join(" "),
            steps: told.join(" "),
            shapes: shapes(spans, steps, &|at| axis.percent(since(at))),
            text: in_words(steps, header),
        }
    }

    /// Writes it, or why there is none.
    pub(super) fn write(&self, out: &mut impl Write, why_none: Option<&str>) -> io::Result<()> {
        writeln!(out, "<section id=\"containers\"><h2>Containers</h2>")?;
        let Some(axis) = self.axis.filter(|_| self.rows > 0) else {
            return writeln!(out, "<p>{}</p></section>", why_none.unwrap_or("None was seen."));
        };
        let words = serde_json::to_string(&self.words.list)?;
        let (first, last) = (time(axis.began, 0), time(axis.began, axis.length));
        let clock = |text: &str| text.get(11..).unwrap_or("").to_owned();
        let ticks: String = (0..5u64)
            .map(|tick| {
                let text = clock(&time(axis.began, axis.length / 4 * tick));
                let anchor = ["start", "middle", "middle", "middle", "end"][tick as usize];
                format!("<text x=\"{}%\" y=\"13\" text-anchor=\"{anchor}\">{text}</text>", tick * 25)
            })
            .collect();
        writeln!(
            out,
            "<p>From {first} UTC to {last} UTC. Each row is a cgroup; times are of its host's clock.</p>\n\
             <div class=\"timeline{}\" data-began=\"{}\" data-length=\"{}\" data-words=\"{}\">\n{}\
             <div class=\"axis\"><span class=\"date\">{} UTC</span>\
             <svg class=\"ticks\" aria-hidden=\"true\">{ticks}</svg></div></div>\n\
             <div class=\"rows\"><div class=\"grid\" aria-hidden=\"true\"></div>\n{}</div>\n\
             <div class=\"detail\" hidden>\
             <p class=\"whose\">Point at a row, or go to it with Tab and the arrow keys.</p>\
             <p class=\"now\" role=\"status\"></p><ol></ol></div>\
             <div class=\"tip\" aria-hidden=\"true\" hidden></div></div>",
            if self.rows > LARGE { " large" } else { "" },
            axis.began,
            axis.length,
            escape(&words),
            include_str!("toolbar.html"),
            first.get(..10).unwrap_or(""),
            self.html,
        )?;
        if !self.left_out.is_empty() {
            writeln!(out, "<p>{}.</p>", escape(&self.left_out.join("; ")))?;
        }
        writeln!(out, "</section>")
    }
}

/// One row, before it is written.
struct Row {
    class: &'static str,
    /// Markup.
    name: String,
    title: String,
    label: String,
    failed: usize,
    /// Markup.
    link: Option<String>,
    picture: Option<Picture>,
}

/// A cgroup's life, drawn and in numbers.
struct Picture {
    /// Three words a span: what it is, from, to.
    spans: String,
    /// Three numbers a step: how long after the one before, the word for it (-1 - n for a failed call), the word for
    /// who did it or -1.
    steps: String,
    shapes: String,
    text: String,
}

/// When a finding's story begins and ends.
fn extent(anchor: &Anchor<'_>) -> (BootTime, BootTime) {
    let finding = anchor.finding;
    let attempts = finding.attempts.iter().map(|attempt| attempt.at);
    let times = attempts.chain(finding.rival.as_ref().map(|rival| rival.at)).chain(finding.outcome.exit_at);
    times.fold((finding.at, finding.at), |(from, to), at| (from.min(at), to.max(at)))
}

/// A cgroup's life in a sentence: from when, for how long, what happened.
fn in_words(steps: &[Step], header: &Header) -> String {
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return String::new() };
    let count = |failed: bool| {
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for step in steps.iter().filter(|step| step.failed == failed) {
            match counts.iter_mut().find(|(what, _)| *what == step.what) {
                Some((_, count)) => *count += 1,
                None => counts.push((&step.what, 1)),
            }
        }
        let words = counts.iter().map(|(what, count)| match count {
            1 => (*what).to_owned(),
            more => format!("{what} ×{more}"),
        });
        words.collect::<Vec<_>>().join(", ")
    };
    let began = time_of_day(header.clock, first.at);
    let mut text = format!("from {began} for {}", duration::human(last.at.since(first.at)));
    for (word, list) in [("", count(false)), ("failed: ", count(true))] {
        if !list.is_empty() {
            let _ = write!(text, "; {word}{list}");
        }
    }
    text
}

fn failed_calls(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => ", 1 failed call".to_owned(),
        more => format!(", {more} failed calls"),
    }
}

fn short(id: &str) -> String {
    let is_hash = id.len() > LONGEST_ID && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { id.get(..12).unwrap_or(id).to_owned() } else { id.to_owned() }
}

/// `2026-11-24 04:14:40.898`, that long after `began`.
fn time(began: i64, after: u64) -> String {
    let clock = Clock { boot_ns: 0, unix_ns: began };
    clock.rfc3339(BootTime(after)).get(..23).unwrap_or("").replace('T', " ")
}
