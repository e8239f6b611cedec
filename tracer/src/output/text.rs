//! Text for people: a line an event or failed call, a block a finding.
//!
//! Every name goes through [`Name::printable`](crate::name::Name::printable): nothing a stranger chose reaches the
//! terminal as it is.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Duration;

use textwrap::core::display_width;

use super::Palette;
use super::ids::shorten;
use super::rows::{Row, Rows};
use crate::container::Container;
use crate::duration;
use crate::findings::{self, Certainty, Finding, FindingAttempt, Likeness, Severity};
use crate::hierarchy::{Clock, Header, HierarchyLabels};
use crate::input::{Actor, Attempt, BootTime, Cgroup, Change, Event, Exit, Input, Lost, Pid, Stuck, Written};
use crate::line::{Line, Output};
use crate::name::Name;
use crate::phrases;
use crate::said::LastSaid;

/// Without a terminal, paragraphs are this wide.
const PARAGRAPH: usize = 100;
/// Paragraphs are never narrower or wider than this.
const NARROWEST: usize = 40;
const WIDEST: usize = 120;
/// Findings whose severity is remembered.
const SAID: usize = 1_024;

/// Writes text.
pub struct Text<W: Write> {
    out: W,
    palette: Palette,
    /// Columns of the terminal; `None` if there is none: then no path is cut to fit.
    width: Option<usize>,
    /// Every line is written, and ids and paths are whole.
    wide: bool,
    /// What was written with success is told, too.
    changes: bool,
    rows: Rows,
    clock: Clock,
    labels: HierarchyLabels,
    label: usize,
    /// How severe each of the last findings was: one that changed is told apart from one that only grew.
    said: LastSaid<Severity>,
}

impl<W: Write> Text<W> {
    /// Writes to `out`, which should buffer. `width` is that of the terminal, if it is one.
    pub fn new(out: W, palette: Palette, width: Option<usize>) -> Self {
        Self {
            out,
            palette,
            width,
            wide: false,
            changes: false,
            rows: Rows::default(),
            clock: Clock { boot_ns: 0, unix_ns: 0 },
            labels: HierarchyLabels::default(),
            label: 2,
            said: LastSaid::new(SAID),
        }
    }

    /// Whether to write every line, and ids and paths whole.
    pub fn wide(self, wide: bool) -> Self {
        Self { wide, ..self }
    }

    /// Whether to tell of control files that were written to with success: programs do that all the time.
    pub fn changes(self, changes: bool) -> Self {
        Self { changes, ..self }
    }

    fn time(&self, at: BootTime) -> String {
        phrases::time_of_day(self.clock, at)
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        let task = event.task.as_ref().and_then(|task| {
            // Where only the thread is known, it is named.
            Some(phrases::who(&task.comm, task.pid.or(task.tid.map(Pid))?))
        });
        let row = Row {
            at: event.at,
            word: word_of(event),
            errno: None,
            hierarchies: vec![event.cgroup.hierarchy],
            path: path_of(&event.cgroup),
            tail: [
                task.map(|task| format!("moved {task}")),
                whose(&event.cgroup, event.container.as_deref()),
                event.actor.as_ref().map(who),
            ],
        };
        self.add(row)
    }

    fn attempt(&mut self, attempt: &Attempt) -> io::Result<()> {
        let path = match &attempt.cgroup {
            Some(cgroup) => {
                let file = attempt.file.iter().map(|file| format!(" {}", file.printable()));
                let value =
                    attempt.value.iter().map(|value| format!(" {}", phrases::value(value, attempt.value_truncated)));
                std::iter::once(path_of(cgroup)).chain(file).chain(value).collect()
            }
            None => format!("{} (not resolved)", attempt.path.printable()),
        };
        let row = Row {
            at: attempt.at,
            word: attempt.operation.as_str(),
            errno: Some(attempt.errno),
            hierarchies: attempt.cgroup.iter().map(|cgroup| cgroup.hierarchy).collect(),
            path,
            tail: [
                None,
                attempt.cgroup.as_ref().and_then(|cgroup| whose(cgroup, attempt.container.as_deref())),
                Some(who(&attempt.actor)),
            ],
        };
        self.add(row)
    }

    fn written(&mut self, written: &Written) -> io::Result<()> {
        let file = written.file.printable();
        let value = written.value.iter().map(|value| phrases::value(value, written.value_truncated));
        let path = written.cgroup.as_ref().map_or_else(|| written.directory.path.printable(), path_of);
        let row = Row {
            at: written.at,
            word: "write",
            errno: None,
            hierarchies: written.cgroup.iter().map(|cgroup| cgroup.hierarchy).collect(),
            path: [path, file].into_iter().chain(value).collect::<Vec<_>>().join(" "),
            tail: [
                written.took_ns.map(|took| format!("took {}", duration::human(Duration::from_nanos(took)))),
                written.cgroup.as_ref().and_then(|cgroup| whose(cgroup, written.container.as_deref())),
                Some(who(&written.actor)),
            ],
        };
        self.add(row)
    }

    fn stuck(&mut self, stuck: &Stuck) -> io::Result<()> {
        let file = stuck.file.iter().map(|file| format!(" {}", file.printable()));
        let path = stuck.cgroup.as_ref().map_or_else(|| format!("cgroup {} (not known)", stuck.id.0), path_of);
        let row = Row {
            at: stuck.at,
            word: "stuck",
            errno: stuck.errno,
            hierarchies: vec![stuck.hierarchy],
            path: std::iter::once(path).chain(file).collect(),
            tail: [
                Some(phrases::stuck(stuck)),
                stuck.cgroup.as_ref().and_then(|cgroup| whose(cgroup, stuck.container.as_deref())),
                Some(who(&stuck.actor)),
            ],
        };
        self.add(row)
    }

    fn lost(&mut self, lost: &Lost) -> io::Result<()> {
        let ring = match lost.ring {
            crate::input::Ring::Lifecycle => "events",
            crate::input::Ring::Attempts => "failed calls",
            crate::input::Ring::Changes => "writes that succeeded",
            crate::input::Ring::Recording => "lines",
        };
        let why = match lost.reason {
            crate::input::LossReason::RingFull => "the ring was full",
            crate::input::LossReason::RateLimited => "one process exceeded its rate limit",
            crate::input::LossReason::Stall => "the agent, or its program in the kernel, did not run meanwhile",
            crate::input::LossReason::NotWritten => "the trace file could not be written",
            crate::input::LossReason::Silent => {
                "the kernel does not run the program that tells them; what else failed is not known"
            }
            crate::input::LossReason::Missed => "the kernel skipped the program that tells them",
            crate::input::LossReason::Malformed => "they could not be read",
        };
        let program = lost.program.as_ref().map(|program| format!(" ({program})")).unwrap_or_default();
        let time = self.time(lost.at);
        writeln!(
            self.out,
            "{}  {}",
            self.palette.dim(time),
            self.palette.warning(format!("lost       {} {ring}: {why}{program}", lost.count))
        )
    }

    fn header(&mut self, header: &Header) {
        self.clock = header.clock;
        self.labels = HierarchyLabels::of_header(header);
        self.label = self.labels.all().map(display_width).max().unwrap_or(2);
        self.rows.set_hierarchies(header);
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        let time = self.time(finding.at);
        if self.said.say(&finding.id, finding.severity) == Some(finding.severity) {
            let text = format!(
                "{} of {time}, now with {} failed calls: {}",
                finding.kind.as_str(),
                finding.attempt_count,
                self.short(&finding.summary)
            );
            return writeln!(self.out, "{}  {text}", self.palette.warning("again"));
        }
        let hierarchy = Some(self.labels.of(finding.cgroup.hierarchy).to_owned());
        writeln!(self.out)?;
        let look = Look { palette: self.palette, width: self.width, wide: self.wide, time, hierarchy };
        write_finding(&mut self.out, finding, &look)?;
        writeln!(self.out)
    }

    fn add(&mut self, row: Row) -> io::Result<()> {
        if self.wide {
            return self.row(&row);
        }
        let at = row.at;
        // What can no longer be joined does not stand in the way.
        self.write_due(at)?;
        self.rows.add(row);
        self.write_due(at)
    }

    /// Writes the rows that nothing can join any more, nothing earlier than `now` being to come.
    fn write_due(&mut self, now: BootTime) -> io::Result<()> {
        while let Some(row) = self.rows.take_due(now) {
            self.row(&row)?;
        }
        Ok(())
    }

    /// Writes the rows that are held: something follows that must not wait.
    fn write_held(&mut self) -> io::Result<()> {
        while let Some(row) = self.rows.take() {
            self.row(&row)?;
        }
        Ok(())
    }

    /// Text as it is, or with its ids cut.
    fn short<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.wide { Cow::Borrowed(text) } else { shorten(text) }
    }

    fn row(&mut self, row: &Row) -> io::Result<()> {
        let label = match row.hierarchies.as_slice() {
            [] => Cow::Borrowed("?"),
            [one] => Cow::Borrowed(self.labels.of(*one)),
            several => Cow::Owned(format!("v1×{}", several.len())),
        };
        let errno = row.errno.map(|errno| errno.to_string()).unwrap_or_default();
        let tail: Vec<&str> = row.tail.iter().flatten().map(String::as_str).collect();
        let tail = tail.join("  ");
        let (path, tail) = (self.short(&row.path), self.short(&tail));
        let fixed = 12 + 2 + 9 + 1 + 7 + 1 + self.label + 1 + 2;
        let path = match self.width {
            Some(width) if !self.wide => {
                let room = width.saturating_sub(fixed + display_width(&tail)).max(16);
                Cow::Owned(cut_middle(&path, room))
            }
            Some(_) | None => path,
        };
        let time = self.palette.dim(self.time(row.at)).to_string();
        let word = format!("{:<9}", row.word);
        let word = if row.errno.is_some() { self.palette.warning(word).to_string() } else { word };
        let errno = self.palette.warning(format!("{errno:<7}"));
        let label = self.palette.dim(format!("{label:<width$}", width = self.label)).to_string();
        let tail = if tail.is_empty() { String::new() } else { format!("  {}", self.palette.dim(tail)) };
        writeln!(self.out, "{time}  {word} {errno} {label} {path}{tail}")
    }
}

/// What became of the cgroup, in a word. On cgroup2 a freezing is told twice: when it was asked for, and when it is so.
pub(crate) fn word_of(event: &Event) -> &'static str {
    match (event.change, event.requested) {
        (Change::Frozen, true) => "freezing",
        (Change::Thawed, true) => "thawing",
        (change, _) => change.as_str(),
    }
}

/// The runtime, and the container's id where the path does not tell it.
fn whose(cgroup: &Cgroup, container: Option<&Container>) -> Option<String> {
    let Container { id, runtime, .. } = container?;
    // `/website` does not tell of `web`.
    let is_apart = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric());
    let (path, length) = (cgroup.path.as_bytes(), id.as_bytes().len().max(1));
    let in_path = path
        .windows(length)
        .enumerate()
        .any(|(at, part)| part == id.as_bytes() && is_apart(path[..at].last()) && is_apart(path.get(at + length)));
    Some(if in_path { runtime.clone() } else { format!("{runtime} {id}") })
}

impl<W: Write> Output for Text<W> {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        match line {
            Line::Header(header) => {
                self.header(header);
                Ok(())
            }
            // What exists at the start is counted in a message, not listed.
            Line::Input(_, Input::Event(event)) if event.change == Change::Existing => Ok(()),
            Line::Input(_, Input::Event(event)) => self.event(event),
            Line::Input(_, Input::Attempt(attempt)) => self.attempt(attempt),
            Line::Input(_, Input::Change(written)) if self.changes => self.written(written),
            Line::Input(_, Input::Stuck(stuck)) => self.stuck(stuck),
            Line::Input(_, Input::Lost(lost)) => {
                self.write_held()?;
                self.lost(lost)
            }
            Line::Input(_, Input::Change(_) | Input::Process(_) | Input::Facts(_) | Input::Tick(_)) => Ok(()),
            Line::Finding(finding) => {
                self.write_held()?;
                self.finding(finding)
            }
            Line::Passed(now) => self.write_due(*now),
            Line::End(..) => self.write_held(),
            Line::Known(..) | Line::Span(_) => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// How a finding is to look.
pub struct Look {
    /// Its colours.
    pub palette: Palette,
    /// The terminal's columns, if there is one.
    pub width: Option<usize>,
    /// Ids are whole.
    pub wide: bool,
    /// When it began, as a person says it.
    pub time: String,
    /// The name of its hierarchy.
    pub hierarchy: Option<String>,
}

/// Writes a finding: the one sentence, the evidence in order, what to do.
///
/// # Errors
/// When `out` cannot be written.
pub fn write_finding(out: &mut dyn Write, finding: &Finding, look: &Look) -> io::Result<()> {
    let Look { palette, width, wide, time, hierarchy } = look;
    let short = |text: &str| if *wide { text.to_owned() } else { shorten(text).into_owned() };
    let columns = columns(*width);
    heading(out, finding, time, palette)?;
    paragraph(out, "  ", "  ", &short(&finding.summary), columns)?;
    writeln!(out)?;
    evidence(out, finding, palette, &short)?;
    writeln!(out)?;

    for (name, text) in particulars(finding, hierarchy.as_deref()) {
        let first = format!("  {} ", palette.heading(format!("{name:<11}")));
        paragraph(out, &first, &" ".repeat(14), &short(&text), columns)?;
    }
    Ok(())
}

/// How wide paragraphs are on a terminal of that many columns.
pub(crate) fn columns(width: Option<usize>) -> usize {
    width.unwrap_or(PARAGRAPH).clamp(NARROWEST, WIDEST)
}

/// Writes the line that a finding begins with; `time` is when it began.
pub(crate) fn heading(out: &mut dyn Write, finding: &Finding, time: &str, palette: &Palette) -> io::Result<()> {
    let severity = finding.severity.as_str().to_uppercase();
    let severity = match finding.severity {
        Severity::Fault => palette.bad(severity).to_string(),
        Severity::Undetermined => palette.warning(severity).to_string(),
        Severity::Benign => palette.good(severity).to_string(),
    };
    let kind = palette.heading(format!("{}, {}", finding.kind.as_str(), finding.cause.as_str())).to_string();
    writeln!(out, "{severity}  {kind}  {}", palette.dim(format!("{time} UTC, finding {}", finding.id)))
}

/// What else is to be said of a finding, by name: who took part, in what, how far to trust it, what to do. A line that
/// goes on with the one before has no name. `hierarchy` is what the cgroup's hierarchy is called.
pub fn particulars(finding: &Finding, hierarchy: Option<&str>) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    for (number, line) in processes(participants(finding)).into_iter().enumerate() {
        fields.push((if number == 0 { "processes" } else { "" }, line));
    }
    if let Some(Likeness { runtime, because }) = &finding.looks_like {
        fields.push(("program", format!("looks like {runtime}: {}", because.join("; "))));
    }
    if let Some(container) = &finding.container {
        fields.push(("container", describe(container)));
    }
    let in_all = match finding.hierarchies {
        0 | 1 => String::new(),
        2 => ", and the same in 1 more hierarchy".to_owned(),
        more => format!(", and the same in {} more hierarchies", more - 1),
    };
    let hierarchy = hierarchy.map(|name| format!(" ({name}{in_all})")).unwrap_or_default();
    let left = match finding.outcome.cgroup_left {
        Some(true) if finding.rival.as_ref().is_some_and(|rival| rival.operation == findings::Deed::Rename) => {
            "; it exists now under another name"
        }
        Some(true) => "; still there",
        Some(false) => "; not there now",
        None => "",
    };
    fields.push(("cgroup", format!("{}{hierarchy}{left}", path_of(&finding.cgroup))));
    if finding.certainty == Certainty::Degraded {
        fields.push(("certainty", format!("degraded: {}", finding.because.join("; "))));
    }
    for issue in &finding.known_issues {
        fields.push(("known issue", format!("looks like {}", issue.describe())));
        fields.push(("", issue.advice.to_owned()));
    }
    let advice = match finding.severity {
        Severity::Benign if finding.first_failure.is_some() => {
            Some("Look at what failed first: the teardown only followed it, and did no harm.")
        }
        Severity::Benign => Some("Nothing: it did no harm. It may help if something else fails here."),
        Severity::Fault | Severity::Undetermined => Some(finding.cause.advice),
    };
    fields.extend(advice.map(|advice| ("what to do", advice.to_owned())));
    fields
}

/// One line of a finding's evidence.
pub struct Deed {
    /// When.
    pub at: BootTime,
    /// Who did it.
    pub who: String,
    /// The operation, whichever system call it was made by, or `exit`.
    pub call: &'static str,
    /// `ok`, the errno, or how the process ended.
    pub result: String,
    /// To what.
    pub what: String,
    /// How often, one after the other.
    pub times: usize,
}

impl Deed {
    /// It went well.
    pub fn is_success(&self) -> bool {
        self.result == "ok" || self.result == "0"
    }
}

/// The calls, the removal that came first, and the end, in order.
pub fn deeds(finding: &Finding) -> Vec<Deed> {
    let mut steps: Vec<Deed> = Vec::new();
    if let Some(rival) = &finding.rival {
        steps.push(Deed {
            at: rival.at,
            who: rival.actor.as_ref().map_or_else(|| "somebody".to_owned(), who),
            call: rival.operation.as_str(),
            result: "ok".to_owned(),
            what: match &rival.to {
                Some(to) => format!("{} to {to}", finding.cgroup.path.printable()),
                None => finding.cgroup.path.printable(),
            },
            times: 1,
        });
    }
    // What failed first in a start, and needs not be a call on what was torn down.
    let first = finding.first_failure.iter().filter(|first| finding.attempts.iter().all(|call| call.seq != first.seq));
    for attempt in first.chain(&finding.attempts) {
        let step = Deed {
            at: attempt.at,
            who: who(&attempt.actor),
            call: attempt.operation.as_str(),
            result: attempt.errno.to_string(),
            what: attempt.what(),
            times: 1,
        };
        match steps.last_mut() {
            Some(last)
                if (&last.who, last.call, &last.result, &last.what)
                    == (&step.who, step.call, &step.result, &step.what) =>
            {
                last.times += 1;
            }
            Some(_) | None => steps.push(step),
        }
    }
    if let (Some(at), Some(exit)) = (finding.outcome.exit_at, finding.outcome.exit) {
        let result = match exit {
            Exit::Code(code) => code.to_string(),
            Exit::Signal(signal) => format!("signal {signal}"),
        };
        let what = match finding.outcome.state_left {
            Some(true) => "the runtime's state of the container is left behind",
            Some(false) => "the runtime's state of the container is gone",
            None => "",
        };
        let who = finding.actor.as_ref().map(who).unwrap_or_default();
        steps.push(Deed { at, who, call: "exit", result, what: what.to_owned(), times: 1 });
    }
    steps.sort_by_key(|step| step.at);
    steps
}

/// The deeds as a table, with times relative to the first failed removal.
fn evidence(
    out: &mut dyn Write,
    finding: &Finding,
    palette: &Palette,
    short: &dyn Fn(&str) -> String,
) -> io::Result<()> {
    let steps = deeds(finding);
    let widest = |read: &dyn Fn(&Deed) -> usize| steps.iter().map(read).max().unwrap_or(0);
    let (names, calls, results) =
        (widest(&|step| display_width(&step.who)), widest(&|step| step.call.len()), widest(&|step| step.result.len()));
    for step in &steps {
        let times = if step.times > 1 { format!("  ×{}", step.times) } else { String::new() };
        let name = format!("{}{}", step.who, " ".repeat(names - display_width(&step.who)));
        let result = format!("{:<results$}", step.result);
        let result =
            if step.is_success() { palette.good(result).to_string() } else { palette.warning(result).to_string() };
        let when = palette.dim(format!("{:>10}", relative(step.at, finding.at))).to_string();
        let line = format!("  {when}  {name}  {:<calls$}  {result}  {}{times}", step.call, short(&step.what));
        writeln!(out, "{}", line.trim_end())?;
    }
    let kept = finding.attempts.len() as u64;
    if finding.attempt_count > kept {
        writeln!(out, "  {:>10}  {} more failed calls in between", "…", finding.attempt_count - kept)?;
    }
    Ok(())
}

/// Who has a part in a finding.
fn participants(finding: &Finding) -> impl Iterator<Item = &Actor> {
    let rival = finding.rival.as_ref().and_then(|rival| rival.actor.as_ref());
    let others = finding.attempts.iter().map(|FindingAttempt { actor, .. }| actor);
    finding.actor.iter().chain(rival).chain(others)
}

/// Processes, each once: the command line, and the parents on a line of their own where they differ.
pub(crate) fn processes<'a>(all: impl Iterator<Item = &'a Actor>) -> Vec<String> {
    let mut actors: Vec<&Actor> = Vec::new();
    for actor in all {
        if !actors.iter().any(|told| told.is_same_process_as(actor)) {
            actors.push(actor);
        }
    }
    let parents = |actor: &Actor| -> Option<String> {
        let parents = &actor.identity.as_ref().filter(|identity| !identity.parents.is_empty())?.parents;
        let names: Vec<String> = parents.iter().map(|parent| phrases::who(&parent.comm, parent.pid)).collect();
        Some(format!("child of {}", names.join(", of ")))
    };
    let mut lines = Vec::new();
    for (number, actor) in actors.iter().enumerate() {
        let identity = actor.identity.as_deref();
        let argv = identity.and_then(|identity| identity.argv.as_ref());
        let argv = argv.map(|argv| argv.iter().map(quoted).collect::<Vec<_>>().join(" "));
        let what = argv.or_else(|| identity.and_then(|identity| identity.exe.as_ref()).map(Name::printable));
        lines.push(format!("{}: {}", who(actor), what.as_deref().unwrap_or("command line unknown")));
        let next = actors.get(number + 1).and_then(|next| parents(next));
        lines.extend(parents(actor).filter(|parents| Some(parents) != next.as_ref()));
    }
    lines
}

/// An argument as a shell would need it, cut where it is very long.
fn quoted(argument: &Name) -> String {
    const LONGEST: usize = 200;
    let text = argument.printable();
    let plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:=@_\\".contains(c);
    let text =
        if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) };
    cut_middle(&text, LONGEST)
}

/// A container's id, and what else is known of it.
pub(crate) fn describe(container: &Container) -> String {
    let mut text = container.id.printable();
    let known = [
        ("name", &container.name),
        ("image", &container.image),
        ("pod", &container.pod),
        ("namespace", &container.namespace),
    ];
    for (what, value) in known {
        if let Some(value) = value {
            text.push_str(&format!(", {what} {value}"));
        }
    }
    text.push_str(&format!(" ({}, recognised by {})", container.runtime, container.rule));
    if let [outer @ .., _] = container.chain.as_slice()
        && !outer.is_empty()
    {
        let outer: Vec<String> = outer.iter().rev().map(Name::printable).collect();
        text.push_str(&format!(", within {}", outer.join(", within ")));
    }
    text
}

fn who(actor: &Actor) -> String {
    phrases::who(&actor.comm, actor.pid)
}

fn path_of(cgroup: &Cgroup) -> String {
    let cut = if cgroup.truncated { "…" } else { "" };
    format!("{}{cut}", cgroup.path.printable())
}

/// `-391 ms`, `0`, `+2.10 ms`.
pub fn relative(at: BootTime, zero: BootTime) -> String {
    match at.cmp(&zero) {
        std::cmp::Ordering::Less => format!("-{}", duration::human(zero.since(at))),
        std::cmp::Ordering::Equal => "0".to_owned(),
        std::cmp::Ordering::Greater => format!("+{}", duration::human(at.since(zero))),
    }
}

/// Cuts a text to `room` columns by leaving out its middle.
fn cut_middle(text: &str, room: usize) -> String {
    if display_width(text) <= room {
        return text.to_owned();
    }
    let characters: Vec<char> = text.chars().collect();
    let keep = room.saturating_sub(1).min(characters.len().saturating_sub(1));
    let (head, tail) = (keep / 2, keep - keep / 2);
    let head: String = characters[..head].iter().collect();
    let tail: String = characters[characters.len() - tail..].iter().collect();
    format!("{head}…{tail}")
}

/// Writes a text in lines of at most `columns`, after `first`, the others after `rest`.
pub(crate) fn paragraph(out: &mut dyn Write, first: &str, rest: &str, text: &str, columns: usize) -> io::Result<()> {
    // Colours take no columns: the first line's indent is as wide as the others'.
    let options = textwrap::Options::new(columns)
        .initial_indent(rest)
        .subsequent_indent(rest)
        .break_words(false)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    for (number, line) in textwrap::wrap(text, options).iter().enumerate() {
        match number {
            0 => writeln!(out, "{first}{}", line.strip_prefix(rest).unwrap_or(line))?,
            _ => writeln!(out, "{line}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{HierarchyId, LossReason, Pid, Ring, Seq};
    use crate::line::Counts;
    use crate::output::{ColorChoice, WINDOW};
    use crate::recording::TraceLine;
    use crate::stream::{Stream, tests::replay};

    /// What is told of a recording of a real run.
    fn told(recording: &str, wide: bool) -> String {
        let mut out = Vec::new();
        let mut text = Text::new(&mut out, Palette::new(ColorChoice::Never), None).wide(wide);
        replay(recording, &mut text);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn what_is_left_is_under_another_name_only_if_it_was_renamed() {
        let told = told(include_str!("../../tests/recordings/denied.jsonl"), true);
        assert!(told.contains("; still there") && !told.contains("under another name"), "{told}");
        let rename = findings::Rival {
            actor: None,
            operation: findings::Deed::Rename,
            to: Some("/b".into()),
            at: BootTime(0),
            before_ms: 1.0,
        };
        let outcome = findings::Outcome { cgroup_left: Some(true), ..findings::Outcome::default() };
        let renamed = Finding { rival: Some(rename), outcome, ..Finding::example("a", 0) };
        let is_said = |(_, text): &(&str, String)| text.ends_with("; it exists now under another name");
        assert!(particulars(&renamed, None).iter().any(is_said));
    }

    /// Lines of events and failed calls: how many each stands for, its time, and what it says.
    fn rows(text: &str) -> Vec<(usize, &str, &str)> {
        let is_row = |line: &&str| line.as_bytes().get(2) == Some(&b':') && line.as_bytes().get(8) == Some(&b'.');
        let count = |line: &str| {
            line.split_once("v1×")
                .map_or(1, |(_, rest)| rest.split(' ').next().and_then(|count| count.parse().ok()).expect("a count"))
        };
        text.lines().filter(is_row).map(|line| (count(line), &line[..12], &line[14..])).collect()
    }

    #[test]
    fn a_containers_v1_hierarchies_are_one_line_and_nothing_is_lost_or_out_of_order() {
        let recording = include_str!("../../tests/recordings/runc-v1.jsonl");
        let (folded, wide) = (told(recording, false), told(recording, true));
        let (folded, wide) = (rows(&folded), rows(&wide));
        assert!(wide.iter().all(|(count, _, _)| *count == 1) && folded.len() * 2 < wide.len(), "{folded:#?}");
        assert_eq!(folded.iter().map(|(count, _, _)| count).sum::<usize>(), wide.len());
        assert!(folded.is_sorted_by_key(|(_, time, _)| *time), "{folded:#?}");
        let created = |rows: &[(usize, &str, &str)]| -> usize {
            rows.iter().filter(|(_, _, what)| what.starts_with("created ")).map(|(count, _, _)| count).sum()
        };
        assert_eq!(created(&folded), created(&wide));
    }

    #[test]
    fn a_v1_line_is_held_for_the_window_or_until_something_follows_that_must_not_wait() {
        let recording = include_str!("../../tests/recordings/runc-v1.jsonl");
        let line = |line: &str| TraceLine::parse(line.as_bytes()).expect("a line");
        let Some(TraceLine::Header(header)) = recording.lines().next().map(line) else { panic!("the header is first") };
        let is_created = |line: &&str| line.contains(r#""change":"created","cgroup":{"hierarchy":1,"#);
        let Some(TraceLine::Input(seq, created)) = recording.lines().find(is_created).map(line) else {
            panic!("a cgroup is made in a v1 hierarchy")
        };
        let at = created.at();
        let finding = {
            let race = include_str!("../../tests/recordings/race.jsonl");
            let mut findings = Findings(Vec::new());
            let mut lines = race.lines().map(line);
            let Some(TraceLine::Header(header)) = lines.next() else { panic!("the header is first") };
            let mut stream = Stream::begin(&header, &mut findings).expect("begins");
            for line in lines {
                if let TraceLine::Input(seq, mut input) = line {
                    stream.replay(seq, &mut input).expect("replays");
                }
            }
            drop(stream);
            findings.0.remove(0)
        };
        let held = || {
            let mut text = Text::new(Vec::new(), Palette::new(ColorChoice::Never), None);
            text.line(&Line::Header(&header)).expect("a vector can be written");
            text.line(&Line::Input(seq, &created)).expect("a vector can be written");
            assert!(text.out.is_empty());
            text
        };
        let is_told = |text: &Text<Vec<u8>>| rows(&String::from_utf8_lossy(&text.out)).len() == 1;

        let mut text = held();
        text.flush().expect("a vector can be written");
        text.line(&Line::Passed(at + WINDOW)).expect("a vector can be written");
        assert!(!is_told(&text), "its likes may still come");
        text.line(&Line::Passed(at + WINDOW + Duration::from_nanos(1))).expect("a vector can be written");
        assert!(is_told(&text));
        let mut text = held();
        text.line(&Line::End(at, &Counts::default())).expect("a vector can be written");
        assert!(is_told(&text), "nothing is lost at the end");
        let mut text = held();
        text.line(&Line::Finding(&finding)).expect("a vector can be written");
        let told = String::from_utf8_lossy(&text.out).into_owned();
        assert!(is_told(&text) && told.find(" created ") < told.find("FAULT"), "{told}");
        let mut text = held();
        let lost = Lost {
            at,
            ring: Ring::Lifecycle,
            reason: LossReason::RingFull,
            pid: None,
            operation: None,
            program: None,
            count: 1,
        };
        text.line(&Line::Input(seq, &Input::Lost(lost))).expect("a vector can be written");
        let told = String::from_utf8_lossy(&text.out).into_owned();
        assert!(told.find(" created ") < told.find(" lost "), "{told}");
    }

    /// Keeps findings.
    struct Findings(Vec<Finding>);

    impl Output for Findings {
        fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
            if let Line::Finding(finding) = line {
                self.0.push((*finding).clone());
            }
            Ok(())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_finding_waits_for_no_line_and_comes_after_what_was_before_it() {
        let recording = include_str!("../../tests/recordings/race.jsonl");
        let text = told(recording, false);
        let (before, after) = text.split_once("FAULT  duplicate-teardown").expect("a finding");
        assert!(rows(before).iter().any(|(_, _, what)| what.starts_with("removed ")), "{text}");
        assert!(rows(after).iter().all(|(_, _, what)| !what.starts_with("rmdir ")), "{text}");
    }

    #[test]
    fn the_evidence_names_operations_whichever_system_call_made_them() {
        for recording in
            [include_str!("../../tests/recordings/race.jsonl"), include_str!("../../tests/recordings/incident.jsonl")]
        {
            let text = told(recording, false);
            assert!(text.contains("  rmdir ") && !text.contains("unlinkat  ") && !text.contains("openat"), "{text}");
        }
    }

    #[test]
    fn ids_are_cut_in_lines_and_findings_unless_they_are_wanted_whole() {
        let id = "3f2a90c1d4e5".to_owned() + &"0".repeat(52);
        let recording = include_str!("../../tests/recordings/race.jsonl");
        let recording = recording.replace("68qscashshg0y3nctu7ft85w2", &id);
        let (short, wide) = (told(&recording, false), told(&recording, true));
        assert!(
            short.contains("/3f2a90c1d4e5…  ") && short.contains(" container 3f2a90c1d4e5…, ") && !short.contains(&id),
            "{short}"
        );
        assert!(wide.contains(&id) && !wide.contains("3f2a90c1d4e5…"), "{wide}");
    }

    #[test]
    fn a_long_path_loses_its_middle() {
        assert_eq!(cut_middle("/abc", 4), "/abc");
        assert_eq!(cut_middle("/abcdefgh", 5), "/a…gh");
        assert_eq!(cut_middle("", 0), "");
    }

    #[test]
    fn an_id_that_the_path_does_not_tell_is_told() {
        let said = |path: &str, id: &str| {
            let (hierarchy, path) = (HierarchyId(0), path.into());
            let cgroup = Cgroup { hierarchy, id: None, path, level: None, truncated: false };
            let container = Container {
                id: id.into(),
                runtime: "runc".to_owned(),
                rule: String::new(),
                chain: vec![id.into()],
                name: None,
                image: None,
                pod: None,
                namespace: None,
                depths: vec![1],
            };
            whose(&cgroup, Some(&container))
        };
        for path in ["/web", "/a/web/x", "/runc-web.scope", "/pods:web"] {
            assert_eq!(said(path, "web").as_deref(), Some("runc"), "{path}");
        }
        for path in ["/website", "/pods/cobweb", "/"] {
            assert_eq!(said(path, "web").as_deref(), Some("runc web"), "{path}");
        }
    }

    #[test]
    fn times_are_told_relative_to_the_first_failure() {
        assert_eq!(relative(BootTime(5), BootTime(5)), "0");
        assert_eq!(relative(BootTime(1_000), BootTime(391_001_000)), "-391 ms");
        assert_eq!(relative(BootTime(2_101_000), BootTime(1_000)), "+2.10 ms");
    }

    #[test]
    fn arguments_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted(&"--root=/run/x".into()), "--root=/run/x");
        assert_eq!(quoted(&"a b".into()), "'a b'");
        assert_eq!(quoted(&"".into()), "''");
        assert!(!quoted(&Name::new(b"\x1b[2J\n")).contains('\u{1b}'));
    }

    #[test]
    fn nothing_that_a_stranger_chose_moves_the_cursor() {
        let mut out = Vec::new();
        let mut text = Text::new(&mut out, Palette::new(ColorChoice::Never), Some(80));
        let evil = Name::new(b"/\x1b]0;x\x07\r\n\xff\xe2\x80\xae");
        let actor = Actor::new(Pid(1), 1, evil.clone(), None);
        let event = Event {
            at: BootTime(0),
            change: Change::Created,
            cgroup: Cgroup { hierarchy: HierarchyId(0), id: None, path: evil, level: None, truncated: false },
            requested: false,
            task: None,
            container: None,
            actor: Some(actor),
        };
        text.line(&Line::Input(Seq(1), &Input::Event(event))).expect("a vector can be written");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text.lines().count(), 1);
        assert!(!text.trim_end().chars().any(char::is_control), "{text:?}");
    }
}
