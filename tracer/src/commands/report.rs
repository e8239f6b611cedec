//! `cgtrace report`: replay trace files, on any machine.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::cli::{Format, Report as Args};
use crate::duration;
use crate::filter::Filter;
use crate::findings::Finding;
use crate::hierarchy::Header;
use crate::input::BootTime;
use crate::output::{ColorChoice, Json, Look, Output, Palette, write_finding};
use crate::pipeline::Stream;
use crate::recording::{Item, Recording};
use crate::report::{Life, Report, html};

/// A file that takes longer gets a progress bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// What a followed file is looked at again after.
const AGAIN: Duration = Duration::from_millis(200);

/// One recording: a file, or the parts that one was rotated into.
pub(super) struct Source {
    files: Vec<PathBuf>,
    header: Header,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read as a trace, or stdout cannot be written.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let filter = args.filter.build()?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let palette = Palette::new(ColorChoice::of(&io::stdout()));
    let look = Printer { palette, width: super::terminal_width(), filter: &filter };
    let mut reports = Vec::new();
    let mut damaged = false;
    for source in sources(&args.files)? {
        let mut report = Report::new(args.lives || args.format == Format::Html);
        let damages = replay(&source, &mut report, args.follow)?;
        for damage in &damages {
            eprintln!("warning: {damage}");
        }
        damaged |= !damages.is_empty();
        reports.push((source, report));
    }
    match args.format {
        Format::Text => look.all(&mut out, &reports)?,
        Format::Html => {
            let shown = |report: &'_ Report| -> Vec<Finding> {
                report.worst_first().into_iter().filter(|finding| filter.shows(finding)).cloned().collect()
            };
            let findings: Vec<Vec<Finding>> = reports.iter().map(|(_, report)| shown(report)).collect();
            let parts: Vec<_> = reports
                .iter()
                .zip(&findings)
                .map(|((source, report), findings)| (files_of(source), report, findings.iter().collect()))
                .collect();
            html::write(&mut out, &parts)?;
        }
        Format::Json => {
            for (source, report) in &reports {
                json(&mut out, source, report, &filter)?;
            }
        }
    }
    out.flush()?;
    let findings = reports.iter().flat_map(|(_, report)| &report.findings).filter(|finding| filter.shows(finding));
    let failed = findings.into_iter().any(|finding| args.fail_on.iter().any(|wanted| wanted.is_met_by(finding)));
    // The intact part was told; that there is another is an outcome too.
    Ok(ExitCode::from(if failed {
        1
    } else if damaged {
        2
    } else {
        0
    }))
}

/// Every recording among files and directories: the parts of one together, in order.
pub(super) fn sources(paths: &[PathBuf]) -> anyhow::Result<Vec<Source>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = path.read_dir().with_context(|| format!("failed to read {}", path.display()))?;
        let mut inside: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|path| is_trace(path)).collect();
        if inside.is_empty() {
            bail!("there is no trace in {}\nhint: traces end in .jsonl.zst or .jsonl", path.display());
        }
        inside.sort();
        files.extend(inside);
    }
    let mut sources: Vec<Source> = Vec::new();
    for file in files {
        if file == Path::new("-") {
            // Its header is read with the rest of it.
            sources.push(Source { files: vec![file], header: nowhere() });
            continue;
        }
        let header = open(&file)?.header().clone();
        let same = |source: &&mut Source| {
            (&source.header.boot_id, &source.header.started, &source.header.host)
                == (&header.boot_id, &header.started, &header.host)
        };
        match sources.iter_mut().find(same) {
            Some(source) => source.files.push(file),
            None => sources.push(Source { files: vec![file], header }),
        }
    }
    for source in &mut sources {
        if source.files.len() > 1 {
            let mut parts: Vec<(u64, PathBuf)> = Vec::new();
            for file in source.files.drain(..) {
                parts.push((open(&file)?.header().clock.boot_ns, file));
            }
            parts.sort();
            source.files = parts.into_iter().map(|(_, file)| file).collect();
            source.header = open(&source.files[0])?.header().clone();
        }
    }
    // On one axis: by the clocks of their hosts.
    sources.sort_by_key(|source| source.header.clock.unix_ns(BootTime(source.header.clock.boot_ns)));
    Ok(sources)
}

fn nowhere() -> Header {
    Header {
        format: crate::recording::FORMAT,
        tool: String::new(),
        host: "-".into(),
        kernel: String::new(),
        arch: String::new(),
        boot_id: String::new(),
        started: String::new(),
        clock: crate::hierarchy::Clock { boot_ns: 0, unix_ns: 0 },
        setup: crate::hierarchy::Setup::Unified,
        hierarchies: Vec::new(),
        backend: String::new(),
        probes: Vec::new(),
        command: None,
    }
}

fn is_trace(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.is_file() && (name.ends_with(".jsonl.zst") || name.ends_with(".jsonl"))
}

fn open(path: &Path) -> anyhow::Result<Recording<Box<dyn Read>>> {
    let from: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).with_context(|| format!("failed to open {}", path.display()))?)
    };
    Recording::open(from).with_context(|| format!("failed to read {}", path.display()))
}

/// Replays a recording's files through one tracker. Returns what could not be read.
pub(super) fn replay(source: &Source, output: &mut dyn Output, follow: bool) -> anyhow::Result<Vec<String>> {
    let mut damages = Vec::new();
    let mut stream: Option<Stream<'_>> = None;
    let mut output = Some(output);
    let mut ended = None;
    let mut last = BootTime(0);
    for (number, file) in source.files.iter().enumerate() {
        let mut recording = open(file)?;
        let mut progress = Progress::new(file);
        if let Some(output) = output.take() {
            stream = Some(Stream::begin(recording.header(), output)?);
        }
        let Some(stream) = &mut stream else { continue };
        let named = |what: &dyn std::fmt::Display| format!("{}: {what}", file.display());
        loop {
            match recording.next_item().with_context(|| format!("failed to read {}", file.display()))? {
                Some(Item::Input(seq, mut input)) => {
                    last = last.max(input.at());
                    stream.replay(seq, &mut input)?;
                }
                Some(Item::End(at)) => {
                    ended = Some(at);
                    if follow {
                        break;
                    }
                }
                Some(Item::Header(header)) => {
                    if header.started != source.header.started && !source.header.started.is_empty() {
                        damages.push(named(&"another recording begins in the same file; it is left out"));
                        break;
                    }
                }
                Some(Item::Damage(damage)) => damages.push(named(&damage)),
                None if follow && ended.is_none() => std::thread::sleep(AGAIN),
                None => break,
            }
            progress.draw(recording.position());
        }
        progress.end();
        let is_last = number + 1 == source.files.len();
        if recording.remainder() > 0 {
            let bytes = recording.remainder();
            damages.push(named(&format!("cut short: the last {bytes} bytes are no whole frame")));
        } else if is_last && ended.is_none() {
            damages.push(named(&"cut short: it has no end; at most its last second is missing"));
        }
    }
    if let Some(stream) = stream {
        stream.end(ended.unwrap_or(last))?;
    }
    Ok(damages)
}

/// A bar for files that take a while, where somebody looks.
struct Progress {
    total: u64,
    begun: Instant,
    drawn: Option<Instant>,
    draws: bool,
}

impl Progress {
    fn new(path: &Path) -> Self {
        let total = std::fs::metadata(path).map(|metadata| metadata.len()).unwrap_or(0);
        Self { total, begun: Instant::now(), drawn: None, draws: total > 0 && io::stderr().is_terminal() }
    }

    fn draw(&mut self, position: u64) {
        if !self.draws
            || self.begun.elapsed() < PATIENCE
            || self.drawn.is_some_and(|drawn| drawn.elapsed() < PATIENCE / 8)
        {
            return;
        }
        self.drawn = Some(Instant::now());
        let share = (position as f64 / self.total as f64).min(1.0);
        let full = (share * 40.0) as usize;
        let _ = write!(io::stderr(), "\r[{}{}] {:3.0} %", "#".repeat(full), " ".repeat(40 - full), share * 100.0);
    }

    fn end(&self) {
        if self.drawn.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// The findings as `live --json` printed them, between a header and an end.
fn json(out: &mut impl Write, _source: &Source, report: &Report, filter: &Filter) -> io::Result<()> {
    let mut json = Json::new(out);
    if let Some(header) = &report.header {
        json.header(header)?;
    }
    for finding in report.told.iter().filter(|finding| filter.shows(finding)) {
        json.finding(finding)?;
    }
    json.end(report.span.map_or(BootTime(0), |(_, last)| last), &report.counts)
}

fn files_of(source: &Source) -> String {
    source.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

struct Printer<'a> {
    palette: Palette,
    width: Option<usize>,
    filter: &'a Filter,
}

impl Printer<'_> {
    fn all(&self, out: &mut impl Write, reports: &[(Source, Report)]) -> io::Result<()> {
        for (source, report) in reports {
            self.summary(out, source, report)?;
            writeln!(out)?;
        }
        let mut findings: Vec<(&Report, &Finding)> = reports
            .iter()
            .flat_map(|(_, report)| report.worst_first().into_iter().map(move |finding| (report, finding)))
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
            write_finding(out, finding, &Look { palette: self.palette, width: self.width, time, hierarchy })?;
            writeln!(out)?;
        }
        for (_, report) in reports {
            if let (Some(lives), Some(header)) = (&report.lives, &report.header) {
                for life in lives.containers.values().filter(|life| self.filter.is_of(&life.container)) {
                    self.life(out, life, header)?;
                }
                if lives.left_out > 0 {
                    writeln!(out, "{} more events of containers are left out", lives.left_out)?;
                }
            }
        }
        Ok(())
    }

    fn summary(&self, out: &mut impl Write, source: &Source, report: &Report) -> io::Result<()> {
        let Some(header) = &report.header else { return Ok(()) };
        let mut field = |name: &str, text: &str| writeln!(out, "{} {text}", self.palette.heading(format!("{name:<9}")));
        field("trace", &files_of(source))?;
        report.summary(header).iter().try_for_each(|(name, text)| field(name, text))
    }

    /// A container's life as a tree: its cgroups, and the steps of each.
    fn life(&self, out: &mut impl Write, life: &Life, header: &Header) -> io::Result<()> {
        let name = life.container.name.as_ref().map(|name| format!(", {name}")).unwrap_or_default();
        let title = format!("{} ({}{name})", life.container.id, life.container.runtime);
        writeln!(out, "{}", self.palette.heading(title))?;
        let count = life.cgroups.len();
        for (number, ((hierarchy, path), steps)) in life.cgroups.iter().enumerate() {
            let last = number + 1 == count;
            let (branch, bar) = if last { ("└─", "  ") } else { ("├─", "│ ") };
            let label = header
                .hierarchies
                .iter()
                .find(|h| h.id == *hierarchy)
                .map(crate::hierarchy::Hierarchy::label)
                .unwrap_or_default();
            writeln!(out, "{branch} {path} ({label})")?;
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
            writeln!(out, "   {} more steps are left out", life.left_out)?;
        }
        writeln!(out)
    }
}
