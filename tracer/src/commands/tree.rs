//! `cgtrace tree`: the cgroups that exist now, whose they are, and what may be wrong with them. From a walk alone.

use std::collections::HashSet;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::arguments::{AboutArgs, FormArgs};
use crate::cgroupfs::{self, details};
use crate::name::Name;
use crate::output::{ColorChoice, Palette};
use crate::process;
use crate::reader::{Answer, Ask, Asker, Readers};
use crate::records;
use crate::tree::text::{self, Style};
use crate::tree::{self, At, Heading, Records, Row, View};

/// `cgtrace tree`
#[derive(Debug, Args)]
pub(crate) struct Tree {
    #[command(flatten)]
    pub form: FormArgs,
    /// In text: each hierarchy as a tree of its own, whole ids and paths, and every empty cgroup on a line of its own.
    /// JSON is always whole
    #[arg(long)]
    pub wide: bool,
    /// Show so many levels below the first one
    #[arg(long, value_name = "LEVELS")]
    pub depth: Option<usize>,
    #[command(flatten)]
    pub about: AboutArgs,
}

/// What is not released is looked at again after this: an idle kernel releases a cgroup within some fifty milliseconds.
const SECOND_LOOK: Duration = Duration::from_millis(300);
/// What is not answered by then is unknown.
const ANSWERS: Duration = Duration::from_secs(5);

/// A line of JSON.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    Tree(Heading),
    Cgroup(Box<Row>),
}

/// Runs the command.
///
/// # Errors
/// When no hierarchy is mounted or can be read, two forms are asked for, or stdout cannot be written.
pub fn run(args: Tree) -> anyhow::Result<ExitCode> {
    let json = args.form.is_json()?;
    let filter = args.about.build()?;
    // What is not known is told of each hierarchy below.
    super::know_cgroup_namespace();
    // Before there is anything that they should not have.
    let mut readers = Readers::start()?;
    let (setup, hierarchies) = cgroupfs::hierarchies()?;
    let clock = process::clock();
    let views = details::look(&hierarchies);
    if views.iter().all(|view| view.cgroups.is_empty()) {
        bail!("failed to read any cgroup hierarchy");
    }
    // After the walk: what made a cgroup that was seen had its record before.
    let mut records = records::read();
    learn_arguments(&mut records, &mut readers);
    notes(&views, records.whole);
    let mut tree = tree::Tree::new(views, &records, clock, process::boot_time());
    if tree.all().any(|at| !tree.wrong(at).is_empty()) {
        std::thread::sleep(SECOND_LOOK);
        tree.confirm(details::look_again, details::dying_again);
    }
    let is_wanted = |tree: &tree::Tree, at: At| filter.is_about(&tree.cgroup(at), tree.container(at).as_ref());
    let named = tree.containers(|at| !tree.is_leaked(at) && is_wanted(&tree, at));
    name_containers(&mut tree, &mut readers, named);
    drop(readers);
    let wanted = |at: At| is_wanted(&tree, at);
    if !tree.all().any(wanted) {
        say!("note: no cgroup is as wanted");
    }
    let stdout = io::stdout();
    let mut out = io::BufWriter::with_capacity(64 << 10, stdout.lock());
    if json {
        let system = process::system();
        let heading = tree.heading(system.host, system.kernel, system.arch, setup);
        write_line(&mut out, &Line::Tree(heading))?;
        let is_near = |at: &At| args.depth.is_none_or(|most| tree.depth(*at) <= most);
        for at in tree.all().filter(is_near).filter(|at| wanted(*at)) {
            write_line(&mut out, &Line::Cgroup(Box::new(tree.row(at))))?;
        }
    } else {
        let width = stdout.is_terminal().then(super::terminal_width).flatten();
        let palette = Palette::new(ColorChoice::of(&stdout));
        let style = Style { palette, width, wide: args.wide, depth: args.depth };
        text::print(&mut out, &tree, &host(), setup, style, wanted)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn host() -> String {
    let system = process::system();
    format!("{}: Linux {} {}", system.host.printable(), system.kernel, system.arch)
}

fn write_line(out: &mut impl Write, line: &Line) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    writeln!(out)
}

/// Says what is not shown, and why.
fn notes(views: &[View], records: bool) {
    for view in views {
        let label = view.hierarchy.label();
        match view.is_whole {
            Some(false) if view.root != "/" => {
                say!("note: {label} is mounted from {} on: what is around it is not shown", view.root.printable());
            }
            Some(false) => {
                say!("note: / of {label} is this cgroup namespace's, not the host's: what is around it is not shown")
            }
            Some(true) | None => {}
        }
        if view.unreadable > 0 {
            say!("note: {} directories of {label} could not be read", view.unreadable);
        }
        if view.left_out > 0 {
            say!(
                "note: {} cgroups of {label} are left out: their paths are too long, or there are too many",
                view.left_out
            );
        }
        let unknown =
            view.cgroups.iter().filter(|seen| seen.details.processes.is_none() && seen.details.kind.is_none()).count();
        if unknown > 0 {
            say!("note: the processes of {unknown} cgroups of {label} could not be read");
        }
    }
    if !records {
        say!("note: not all records of containers could be read, so no cgroup is called leaked\nhint: run as root");
    }
}

/// Asks for the arguments of the processes that stay with containers.
fn learn_arguments(records: &mut Records, readers: &mut Readers) {
    let ask = |pid| Ask::CommandLine { pid, started: None };
    let asked = records::watchers().into_iter().map(ask).collect();
    answers(readers, asked, |answer| match answer {
        // One that has none has ended.
        Some(Answer::CommandLine(arguments)) => records.learn(Some(&arguments.map_or_else(Vec::new, |(all, _)| all))),
        Some(_) | None => records.learn(None),
    });
}

/// Asks what the host says of containers.
fn name_containers(tree: &mut tree::Tree, readers: &mut Readers, containers: Vec<(Name, String)>) {
    let asked = containers.into_iter().map(|(id, runtime)| Ask::Standing { id, runtime }).collect();
    let mut unanswered = 0;
    answers(readers, asked, |answer| match answer {
        Some(Answer::Standing(said)) => said.facts.into_iter().for_each(|facts| tree.learn(facts)),
        Some(_) | None => unanswered += 1,
    });
    if unanswered > 0 {
        say!("note: the names of {unanswered} containers could not be read");
    }
}

/// Asks all, and hands on each answer, or that there was none in time.
fn answers(readers: &mut Readers, asked: Vec<Ask>, mut tell: impl FnMut(Option<Answer>)) {
    let begun = Instant::now();
    let mut open: HashSet<_> = asked.iter().map(|ask| readers.ask(Asker::Start, ask)).collect();
    while !open.is_empty() && begun.elapsed() < ANSWERS {
        readers.wait(Duration::from_millis(100));
        for (ticket, answer) in readers.answers() {
            if open.remove(&ticket) {
                tell(answer.ok());
            }
        }
    }
    open.into_iter().for_each(|_| tell(None));
}
