//! An answer for people: one paragraph first, then the story in order, then what was not seen.

use std::io::{self, Write};

use textwrap::core::display_width;

use super::matches::{Match, Subject};
use super::story::{Answer, Step};
use crate::hierarchy::{Clock, HierarchyLabels};
use crate::output::{self, Palette, shorten};
use crate::phrases::{count, date_and_time, time_of_day};

/// How it is printed.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Colours.
    pub palette: Palette,
    /// Columns of the terminal; `None` if it is none.
    pub width: Option<usize>,
    /// Ids are whole.
    pub wide: bool,
}

/// What of a finding is told beside its sentence, which the paragraph has.
const PARTICULARS: [&str; 4] = ["program", "certainty", "known issue", "what to do"];

impl Style {
    fn short(&self, text: &str) -> String {
        if self.wide { text.to_owned() } else { shorten(text).into_owned() }
    }

    /// A text under a name in the margin.
    fn field(&self, out: &mut dyn Write, name: &str, text: &str) -> io::Result<()> {
        let first = format!("  {} ", self.palette.heading(format!("{name:<11}")));
        output::paragraph(out, &first, &" ".repeat(14), &self.short(text), output::columns(self.width))
    }

    /// Prints an answer.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn answer(&self, out: &mut dyn Write, answer: &Answer) -> io::Result<()> {
        let subject = match &answer.container {
            Some(container) => format!("container {}", output::describe(container)),
            None => answer.subject.to_string(),
        };
        writeln!(out, "{}", self.palette.heading(self.short(&subject)))?;
        let (clock, labels) = match &answer.header {
            Some(header) => (header.clock, HierarchyLabels::of_header(header)),
            None => (Clock { boot_ns: 0, unix_ns: 0 }, HierarchyLabels::default()),
        };
        let columns = output::columns(self.width);
        writeln!(out)?;
        output::paragraph(out, "  ", "  ", &self.short(&answer.paragraph), columns)?;
        writeln!(out)?;
        self.steps(out, answer, clock, &labels)?;
        for finding in &answer.findings {
            writeln!(out)?;
            output::heading(out, finding, &time_of_day(clock, finding.at), &self.palette)?;
            // The worst one's sentence is what the answer begins with.
            if finding.id != answer.findings[0].id {
                output::paragraph(out, "  ", "  ", &self.short(&finding.summary), columns)?;
            }
            let mut goes_on = false;
            for (name, text) in output::particulars(finding, None) {
                goes_on = PARTICULARS.contains(&name) || name.is_empty() && goes_on;
                if goes_on {
                    self.field(out, name, &text)?;
                }
            }
        }
        let processes = output::processes(answer.actors.iter());
        let unseen = &answer.unseen;
        if !processes.is_empty() || !unseen.is_empty() {
            writeln!(out)?;
        }
        for (number, line) in processes.iter().enumerate() {
            self.field(out, if number == 0 { "processes" } else { "" }, line)?;
        }
        for (number, what) in unseen.iter().enumerate() {
            self.field(out, if number == 0 { "not seen" } else { "" }, what)?;
        }
        Ok(())
    }

    fn steps(&self, out: &mut dyn Write, answer: &Answer, clock: Clock, labels: &HierarchyLabels) -> io::Result<()> {
        if let Some(first) = answer.steps.first() {
            let day = date_and_time(clock, first.at);
            writeln!(out, "  {}", self.palette.dim(format!("{} UTC", day.split(' ').next().unwrap_or_default())))?;
        }
        let label = |step: &Step| match step.hierarchies.as_slice() {
            [] => String::new(),
            [one] => labels.of(*one).to_owned(),
            several => format!("v1×{}", several.len()),
        };
        // Of a single cgroup the path was told.
        let mut places = answer.steps.iter().map(|step| &step.path).filter(|path| !path.is_empty());
        let first = places.next();
        let is_one_place = matches!(answer.subject, Subject::Cgroup(_)) && places.all(|path| Some(path) == first);
        let columns: Vec<[String; 4]> = (answer.steps.iter())
            .map(|step| {
                let errno = step.errno.map(|errno| format!(" {errno}")).unwrap_or_default();
                let path = (!is_one_place).then(|| self.short(&step.path));
                let path = path.into_iter().chain(step.file.clone()).collect::<Vec<_>>().join(" ");
                let by = self.short(step.by.as_deref().unwrap_or_default());
                [format!("{}{errno}", step.what), label(step), path, by]
            })
            .collect();
        let widest = |column: usize| columns.iter().map(|texts| display_width(&texts[column])).max().unwrap_or(0);
        let widths = [0, 1, 2, 3].map(|column| widest(column).min(48));
        for (step, texts) in answer.steps.iter().zip(&columns) {
            let mut line = format!("  {}", self.palette.dim(time_of_day(clock, step.at)));
            for (column, (text, width)) in texts.iter().zip(widths).enumerate().filter(|(_, (_, width))| *width > 0) {
                let gap = " ".repeat(width.saturating_sub(display_width(text)));
                let text = if column == 0 && step.errno.is_some() {
                    self.palette.warning(text).to_string()
                } else {
                    text.clone()
                };
                line.push_str(&format!("  {text}{gap}"));
            }
            if let Some(note) = &step.note {
                line.push_str(&format!("  {note}"));
            }
            if step.times > 1 {
                line.push_str(&format!("  ×{}", step.times));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        match answer.steps_left_out {
            0 => Ok(()),
            more => writeln!(out, "  … and {}", count(more, "more step", "more steps")),
        }
    }

    /// Prints what else a question may mean.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn matches(&self, out: &mut dyn Write, matches: &[(Match, Clock)], more: u64) -> io::Result<()> {
        for (found, clock) in matches {
            let what = match &found.container {
                Some(container) => format!("{}: {}", found.subject, output::describe(container)),
                None => found.subject.to_string(),
            };
            let last = self.palette.dim(format!("last at {} UTC", date_and_time(*clock, found.last))).to_string();
            // What is asked for next needs the whole id.
            writeln!(out, "  {what}  {last}")?;
        }
        match more {
            0 => Ok(()),
            more => writeln!(out, "  … and {} more", more),
        }
    }
}
