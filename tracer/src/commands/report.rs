//! `cgtrace report`: replay trace files, on any machine.

use std::io::{self, Write};
use std::process::ExitCode;

use super::replay::{Source, replay, sources};
use crate::cli::{FailOn, Format, Report as Args};
use crate::duration;
use crate::filter::{Filter, Showing};
use crate::findings::Finding;
use crate::hierarchy::{Header, HierarchyLabels};
use crate::input::BootTime;
use crate::line::{Line, Output};
use crate::output::{ColorChoice, Json, Look, Palette, Text, shorten, write_finding};
use crate::report::{Alike, Life, Report, html};

/// Runs the command.
///
/// # Errors
/// When a file cannot be read as a trace, or stdout cannot be written.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let format = args.format()?;
    let wide = args.wide.wide;
    let filter = args.filter.build()?;
    let mut out = io::BufWriter::new(io::stdout());
    let palette = Palette::new(ColorChoice::of(&io::stdout()));
    let width = super::terminal_width();
    let mut reports = Vec::new();
    let (mut whole, mut failed) = (true, false);
    for mut source in sources(&args.files, args.follow)? {
        let mut report = Report::new(args.lives || format == Format::Html);
        // What is shown while it is read: every word, as `live` showed it.
        let shown: Option<Box<dyn Output + '_>> = match format {
            Format::Json => Some(Box::new(Json::new(&mut out))),
            Format::Text if args.follow => Some(Box::new(Text::new(&mut out, palette, width).wide(wide))),
            Format::Text | Format::Html => None,
        };
        let showing = Showing::new(&filter);
        let mut gathering = Gathering { report: &mut report, shown, showing, fail_on: &args.fail_on, failed: false };
        whole &= replay(&mut source, &mut gathering, args.follow)?;
        failed |= gathering.failed;
        drop(gathering);
        reports.push((source, report));
    }
    match format {
        Format::Text => Printer { palette, width, wide, filter: &filter }.all(&mut out, &reports, !args.follow)?,
        Format::Html => {
            for lives in reports.iter_mut().filter_map(|(_, report)| report.lives.as_mut()) {
                lives.containers.retain(|_, life| filter.is_of(&life.container));
            }
            let traces: Vec<html::Trace<'_>> = reports
                .iter()
                .map(|(source, report)| html::Trace {
                    files: source.names(),
                    report,
                    findings: report
                        .findings
                        .worst_first()
                        .into_iter()
                        .filter(|finding| filter.shows(finding))
                        .collect(),
                })
                .collect();
            html::write(&mut out, &traces)?;
        }
        Format::Json => {}
    }
    out.flush()?;
    // The intact part was told; that there is another is an outcome too.
    Ok(ExitCode::from(if failed {
        1
    } else if whole {
        0
    } else {
        2
    }))
}

/// Gathers a report, and shows the findings that are wanted as they are made.
struct Gathering<'a> {
    report: &'a mut Report,
    shown: Option<Box<dyn Output + 'a>>,
    showing: Showing<'a>,
    fail_on: &'a [FailOn],
    failed: bool,
}

impl Output for Gathering<'_> {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        self.report.line(line)?;
        let is_shown = match line {
            Line::Header(_) | Line::End(..) => true,
            Line::Finding(finding) => {
                let shows = self.showing.shows(finding);
                self.failed |= shows && self.fail_on.iter().any(|wanted| wanted.is_met_by(finding));
                shows
            }
            // What happened is summed up, not listed.
            Line::Input(..) | Line::Known(..) | Line::Span(_) | Line::Passed(_) => false,
        };
        match &mut self.shown {
            Some(shown) if is_shown => shown.line(line),
            Some(_) | None => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.shown.as_mut().map_or(Ok(()), |shown| shown.flush())
    }
}

struct Printer<'a> {
    palette: Palette,
    width: Option<usize>,
    wide: bool,
    filter: &'a Filter,
}

impl Printer<'_> {
    /// Everything; `findings` are left out if they were told already.
    fn all(&self, out: &mut impl Write, reports: &[(Source, Report)], findings: bool) -> io::Result<()> {
        for (source, report) in reports {
            self.summary(out, source, report)?;
            writeln!(out)?;
        }
        if findings {
            self.findings(out, reports)?;
        }
        self.lives(out, reports)
    }

    fn findings(&self, out: &mut impl Write, reports: &[(Source, Report)]) -> io::Result<()> {
        let mut findings: Vec<(&Report, &Finding)> = reports
            .iter()
            .flat_map(|(_, report)| report.findings.worst_first().into_iter().map(move |finding| (report, finding)))
            .filter(|(_, finding)| self.filter.shows(finding))
            .collect();
        findings.sort_by_key(|(report, finding)| {
            let time = report.header.as_ref().map_or(0, |header| header.clock.unix_ns(finding.at));
            (std::cmp::Reverse(finding.severity), time)
        });
        for (report, finding) in findings {
            let Some(header) = &report.header else { continue };
            if reports.len() > 1 {
                writeln!(out, "{}", self.palette.dim(format!("on {}", header.host)))?;
            }
            let time = header.clock.rfc3339(finding.at);
            let hierarchy = header
                .hierarchies
                .iter()
                .find(|h| h.id == finding.cgroup.hierarchy)
                .map(crate::hierarchy::Hierarchy::label);
            let time = time.get(11..23).unwrap_or(&time).to_owned();
            let look = Look { palette: self.palette, width: self.width, wide: self.wide, time, hierarchy };
            write_finding(out, finding, &look)?;
            writeln!(out)?;
        }
        for (_, report) in reports.iter().filter(|(_, report)| report.findings.left_out() > 0) {
            let left_out = report.findings.left_out();
            writeln!(out, "{left_out} more findings, less severe, are not shown; --json has them all\n")?;
        }
        Ok(())
    }

    fn lives(&self, out: &mut impl Write, reports: &[(Source, Report)]) -> io::Result<()> {
        for (_, report) in reports {
            if let (Some(lives), Some(header)) = (&report.lives, &report.header) {
                for life in lives.containers.values().filter(|life| self.filter.is_of(&life.container)) {
                    self.life(out, life, header)?;
                }
                if lives.left_out > 0 {
                    writeln!(out, "{} more containers are not shown", lives.left_out)?;
                }
            }
        }
        Ok(())
    }

    fn summary(&self, out: &mut impl Write, source: &Source, report: &Report) -> io::Result<()> {
        let Some(header) = &report.header else { return Ok(()) };
        let mut field = |name: &str, text: &str| writeln!(out, "{} {text}", self.palette.heading(format!("{name:<9}")));
        field("trace", &source.names())?;
        report.summary(header).iter().try_for_each(|(name, text)| field(name, text))
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
                let time = header.clock.rfc3339(step.at);
                let time = time.get(11..23).unwrap_or(&time);
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
