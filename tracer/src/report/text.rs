//! A report as text for people.

use std::cmp::Reverse;
use std::io::{self, Write};

use super::{Alike, Life, Trace};
use crate::duration;
use crate::findings::Finding;
use crate::hierarchy::{Header, Hierarchy, HierarchyLabels};
use crate::input::BootTime;
use crate::output::{Look, Palette, shorten, write_finding};
use crate::phrases::time_of_day;

/// How a report is printed.
pub struct Printer {
    /// Its colours.
    pub palette: Palette,
    /// The terminal's columns, if there is one.
    pub width: Option<usize>,
    /// Ids and paths are whole, and no hierarchies are told as one.
    pub wide: bool,
}

impl Printer {
    /// Everything; `findings` are left out if they were shown already.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn all(&self, out: &mut impl Write, traces: &[Trace<'_>], findings: bool) -> io::Result<()> {
        for trace in traces {
            self.summary(out, trace)?;
            writeln!(out)?;
        }
        if findings {
            self.findings(out, traces)?;
        }
        self.lives(out, traces)
    }

    fn findings(&self, out: &mut impl Write, traces: &[Trace<'_>]) -> io::Result<()> {
        let mut findings: Vec<(&Header, &Finding)> = Vec::new();
        for trace in traces {
            let Some(header) = &trace.report.header else { continue };
            findings.extend(trace.findings.iter().map(|finding| (header, *finding)));
        }
        findings.sort_by_key(|(header, finding)| (Reverse(finding.severity), header.clock.unix_ns(finding.at)));
        for (header, finding) in findings {
            if traces.len() > 1 {
                writeln!(out, "{}", self.palette.dim(format!("on {}", header.host)))?;
            }
            let hierarchy = header.hierarchies.iter().find(|h| h.id == finding.cgroup.hierarchy).map(Hierarchy::label);
            let time = time_of_day(header.clock, finding.at);
            let look = Look { palette: self.palette, width: self.width, wide: self.wide, time, hierarchy };
            write_finding(out, finding, &look)?;
            writeln!(out)?;
        }
        for left_out in traces.iter().map(|trace| trace.report.findings.left_out()).filter(|count| *count > 0) {
            writeln!(out, "{left_out} more findings, less severe, are not shown; --json has them all\n")?;
        }
        Ok(())
    }

    fn lives(&self, out: &mut impl Write, traces: &[Trace<'_>]) -> io::Result<()> {
        for Trace { report, .. } in traces {
            if let (Some(lives), Some(header)) = (&report.lives, &report.header) {
                lives.containers.values().try_for_each(|life| self.life(out, life, header))?;
                if lives.left_out > 0 {
                    writeln!(out, "{} more containers are not shown", lives.left_out)?;
                }
            }
        }
        Ok(())
    }

    fn summary(&self, out: &mut impl Write, trace: &Trace<'_>) -> io::Result<()> {
        let Some(header) = &trace.report.header else { return Ok(()) };
        let mut field = |name: &str, text: &str| writeln!(out, "{} {text}", self.palette.heading(format!("{name:<9}")));
        field("trace", &trace.files)?;
        trace.report.summary(header).iter().try_for_each(|(name, text)| field(name, text))
    }

    /// A container's life as a tree: its cgroups, and the steps of each.
    fn life(&self, out: &mut impl Write, life: &Life, header: &Header) -> io::Result<()> {
        let short = |text: String| if self.wide { text } else { shorten(&text).into_owned() };
        let name = life.container.name.as_ref().map(|name| format!(", {name}")).unwrap_or_default();
        let title = short(format!("{} ({}{name})", life.container.id, life.container.runtime));
        writeln!(out, "{}", self.palette.heading(title))?;
        let labels = HierarchyLabels::of_header(header);
        let is_legacy = |id| header.hierarchies.iter().any(|hierarchy| hierarchy.id == id && hierarchy.version == 1);
        let cgroups = life.alike(|id| !self.wide && is_legacy(id));
        let count = cgroups.len();
        for (number, Alike { hierarchies, path, steps }) in cgroups.into_iter().enumerate() {
            let last = number + 1 == count;
            let (branch, bar) = if last { ("└─", "  ") } else { ("├─", "│ ") };
            let label = match hierarchies.as_slice() {
                [one] => labels.of(*one).to_owned(),
                several => format!("v1×{}", several.len()),
            };
            writeln!(out, "{branch} {} ({label})", short(path.printable()))?;
            let mut before: Option<BootTime> = None;
            for step in steps {
                let time = time_of_day(header.clock, step.at);
                let gap =
                    before.map(|before| format!("+{}", duration::human(step.at.since(before)))).unwrap_or_default();
                before = Some(step.at);
                let what = format!("{:<14}", step.what);
                let what = if step.failed { self.palette.warning(what).to_string() } else { what };
                let who = step.who.as_deref().unwrap_or("");
                let line = format!("{bar}   {time}  {gap:>9}  {what} {who}");
                writeln!(out, "{}", line.trim_end())?;
            }
        }
        if life.left_out > 0 {
            writeln!(out, "   {} more steps are not shown", life.left_out)?;
        }
        writeln!(out)
    }
}
