//! The tree for people: v1's hierarchies as one tree by path, with what differs between them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, Write};
use std::time::Duration;

use textwrap::core::display_width;

use super::{At, Tree, Trouble, judge};
use crate::container::Container;
use crate::hierarchy::Setup;
use crate::name::Name;
use crate::output::{Palette, shorten};

/// How it is printed.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Colours.
    pub palette: Palette,
    /// Columns of the terminal; `None` if it is none: then no line is cut.
    pub width: Option<usize>,
    /// Every hierarchy by itself, whole ids, no line cut, nothing left out.
    pub wide: bool,
    /// Levels below the first that are shown.
    pub depth: Option<usize>,
}

/// Columns of a paragraph where there is no terminal.
const COLUMNS: usize = 100;
/// So many empty cgroups side by side are told in one line.
const FOLDED: usize = 3;

/// A path, and the cgroups that it leads to in several hierarchies.
struct Node {
    name: Name,
    members: Vec<At>,
    parent: Option<usize>,
    children: Vec<usize>,
    /// It is wanted, or something below it is.
    shown: bool,
    wanted: bool,
}

/// Prints all cgroups that are `wanted`, and those around them.
///
/// # Errors
/// When it cannot be written.
pub fn print(
    out: &mut impl Write,
    tree: &Tree,
    host: &str,
    setup: Setup,
    style: Style,
    wanted: impl Fn(At) -> bool,
) -> io::Result<()> {
    let views: Vec<usize> = (0..tree.views().len()).collect();
    let together: Vec<&[usize]> = if style.wide { views.chunks(1).collect() } else { vec![&views] };
    let printer = Printer { tree, style, several: views.len() > 1 && !style.wide };
    printer.heading(out, host, setup)?;
    for views in together {
        let nodes = merge(tree, views, &wanted);
        writeln!(out)?;
        if style.wide {
            writeln!(out, "{}", style.palette.heading(printer.labels(views)))?;
        }
        writeln!(out, "{}", style.palette.dim(" PROCS  AGE     CGROUP"))?;
        for root in (0..nodes.len()).filter(|node| nodes[*node].parent.is_none() && nodes[*node].shown) {
            printer.node(out, &nodes, root)?;
        }
    }
    printer.wrong(out, &wanted)
}

/// Cgroups of the same path as one.
fn merge(tree: &Tree, views: &[usize], wanted: &impl Fn(At) -> bool) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut known: HashMap<(Option<usize>, Name), usize> = HashMap::new();
    for view in views {
        let mut of_place: Vec<usize> = Vec::new();
        for (place, seen) in tree.views()[*view].cgroups.iter().enumerate() {
            let at = At { view: *view, place };
            let parent = seen.parent.map(|parent| of_place[parent]);
            let name = if parent.is_some() { seen.name.clone() } else { tree.views()[*view].root.clone() };
            let node = *known.entry((parent, name.clone())).or_insert_with(|| {
                nodes.push(Node {
                    name,
                    members: Vec::new(),
                    parent,
                    children: Vec::new(),
                    shown: false,
                    wanted: false,
                });
                nodes.len() - 1
            });
            nodes[node].members.push(at);
            nodes[node].wanted |= wanted(at);
            of_place.push(node);
        }
    }
    for node in (0..nodes.len()).rev() {
        nodes[node].shown |= nodes[node].wanted;
        if let Some(parent) = nodes[node].parent {
            nodes[parent].shown |= nodes[node].shown;
            nodes[parent].children.push(node);
        }
    }
    let names: Vec<Name> = nodes.iter().map(|node| node.name.clone()).collect();
    for node in &mut nodes {
        node.children.sort_by(|one, other| names[*one].cmp(&names[*other]));
    }
    nodes
}

struct Printer<'a> {
    tree: &'a Tree,
    style: Style,
    /// One line may tell of several hierarchies.
    several: bool,
}

/// A line that is to be printed: a node, or the empty ones that are folded into one line.
enum Line {
    Node { node: usize, depth: usize, before: String, last: bool },
    Folded { nodes: Vec<usize>, before: String, last: bool },
}

impl Printer<'_> {
    fn heading(&self, out: &mut impl Write, host: &str, setup: Setup) -> io::Result<()> {
        let tree = self.tree;
        let views: Vec<usize> = (0..tree.views().len()).collect();
        let versions = if setup == Setup::Unified { String::new() } else { format!(": {}", self.labels(&views)) };
        writeln!(out, "{host}, {setup} cgroup layout{versions}")?;
        let cgroups: usize = tree.views().iter().map(|view| view.cgroups.len()).sum();
        let mut parts = vec![count_of(tree.containers(|_| true).len(), "container")];
        for kind in Trouble::ALL {
            let is_it = |at: &At| tree.wrong(*at).iter().any(|wrong| wrong.kind == kind);
            let found = tree.all().filter(is_it);
            // One path may lead to cgroups of several v1 hierarchies.
            let count = match kind {
                Trouble::LeakedCgroup | Trouble::StaleCgroup => {
                    found.map(|at| tree.path(at)).collect::<HashSet<_>>().len() as u64
                }
                Trouble::LingeringCgroup => found.flat_map(|at| tree.wrong(at)).filter_map(|wrong| wrong.count).sum(),
            };
            let word = match kind {
                Trouble::LeakedCgroup => "may be leaked",
                Trouble::StaleCgroup => "may be left over",
                Trouble::LingeringCgroup => "removed and may linger",
            };
            if count > 0 {
                parts.push(format!("{count} {word}"));
            }
        }
        let nothing = if parts.len() == 1 { "; nothing looks wrong" } else { "" };
        let hierarchies = match tree.views().len() {
            1 => String::new(),
            count => format!(" in {count} hierarchies"),
        };
        writeln!(out, "{}{hierarchies}; {}{nothing}", count_of(cgroups, "cgroup"), parts.join(", "))
    }

    /// The names of hierarchies.
    fn labels(&self, views: &[usize]) -> String {
        let label = |view: &usize| {
            let view = &self.tree.views()[*view];
            let option = if view.nsdelegate { " (nsdelegate)" } else { "" };
            format!("{}{option}", Name::from(view.hierarchy.label()).printable())
        };
        views.iter().map(label).collect::<Vec<_>>().join(" ")
    }

    /// A node and all below it, without recursion: a tree may be deep.
    fn node(&self, out: &mut impl Write, nodes: &[Node], root: usize) -> io::Result<()> {
        let mut lines = vec![Line::Node { node: root, depth: 0, before: String::new(), last: true }];
        while let Some(line) = lines.pop() {
            let (node, depth, before, last) = match line {
                Line::Node { node, depth, before, last } => (node, depth, before, last),
                Line::Folded { nodes: folded, before, last } => {
                    self.folded(out, nodes, &folded, &before, last)?;
                    continue;
                }
            };
            let children: Vec<usize> =
                nodes[node].children.iter().copied().filter(|child| nodes[*child].shown).collect();
            let is_cut = self.style.depth.is_some_and(|most| depth >= most) && !children.is_empty();
            self.line(out, nodes, node, &before, (depth > 0).then_some(last), is_cut.then(|| below(nodes, node)))?;
            if is_cut {
                continue;
            }
            let before = match (depth, last) {
                (0, _) => String::new(),
                (_, true) => before + "   ",
                (_, false) => before + "│  ",
            };
            let (folded, single): (Vec<usize>, Vec<usize>) =
                children.iter().partition(|child| self.is_foldable(nodes, **child));
            let (folded, single) =
                if folded.len() < FOLDED || self.style.wide { (Vec::new(), children) } else { (folded, single) };
            let count = single.len();
            let has_folded = !folded.is_empty();
            if has_folded {
                lines.push(Line::Folded { nodes: folded, before: before.clone(), last: true });
            }
            for (index, node) in single.into_iter().enumerate().rev() {
                let last = index + 1 == count && !has_folded;
                lines.push(Line::Node { node, depth: depth + 1, before: before.clone(), last });
            }
        }
        Ok(())
    }

    /// Whether there is nothing to say of a cgroup but its name: no process, nothing below it, nobody's.
    fn is_foldable(&self, nodes: &[Node], node: usize) -> bool {
        let is_plain = |at: &At| {
            let judged = self.tree.judged(*at);
            judged.processes == Some(0) && judged.container.is_none() && !judged.helper && judged.wrong.is_empty()
        };
        nodes[node].children.is_empty() && nodes[node].members.iter().all(is_plain)
    }

    fn folded(
        &self,
        out: &mut impl Write,
        nodes: &[Node],
        folded: &[usize],
        before: &str,
        last: bool,
    ) -> io::Result<()> {
        let names: Vec<String> = folded.iter().map(|node| nodes[*node].name.printable()).collect();
        let text = format!("{} empty: {}", folded.len(), names.join(", "));
        let branch = if last { "└─ " } else { "├─ " };
        let used = 16 + display_width(before) + 3;
        let room = self.style.width.unwrap_or(COLUMNS).saturating_sub(used).max(16);
        writeln!(out, "{:>6}  {:<6}  {before}{branch}{}", 0, "", self.style.palette.dim(cut(&text, room)))
    }

    /// One line. `last` tells which branch leads to it, if any; `below` how many cgroups are below it and not shown.
    fn line(
        &self,
        out: &mut impl Write,
        nodes: &[Node],
        node: usize,
        before: &str,
        last: Option<bool>,
        below: Option<usize>,
    ) -> io::Result<()> {
        let palette = self.style.palette;
        let members = &nodes[node].members;
        let most = members.iter().filter_map(|at| self.tree.judged(*at).processes).max();
        let processes = most.map_or("?".to_owned(), |count| count.to_string());
        let age = members.iter().filter_map(|at| self.tree.age(*at)).max().map_or(String::new(), short);
        let branch = match last {
            None => "",
            Some(true) => "└─ ",
            Some(false) => "├─ ",
        };
        let name = nodes[node].name.printable();
        let name = if self.style.wide { name } else { shorten(&name).into_owned() };
        let mut notes = if nodes[node].wanted { self.notes(nodes, node) } else { Vec::new() };
        notes.extend(below.map(|count| (Look::Plain, format!("… {count} below"))));
        let mut room = match self.style.width.filter(|_| !self.style.wide) {
            Some(width) => width.saturating_sub(16 + display_width(before) + display_width(branch)).max(16),
            None => usize::MAX,
        };
        let name = cut(&name, room);
        room = room.saturating_sub(display_width(&name));
        write!(out, "{processes:>6}  {age:<6}  {before}{branch}")?;
        match nodes[node].wanted {
            true => write!(out, "{name}")?,
            false => write!(out, "{}", palette.dim(name))?,
        }
        for (look, note) in notes {
            if room < 2 + 4 {
                break;
            }
            let note = cut(&note, room - 2);
            room -= 2 + display_width(&note);
            match look {
                Look::Plain => write!(out, "  {}", palette.dim(note))?,
                Look::Container => write!(out, "  {}", palette.heading(note))?,
                Look::Notable => write!(out, "  {}", palette.warning(note))?,
                Look::Wrong => write!(out, "  {}", palette.bad(note))?,
            }
        }
        writeln!(out)
    }

    fn notes(&self, nodes: &[Node], node: usize) -> Vec<(Look, String)> {
        let (tree, members) = (self.tree, &nodes[node].members);
        let parents = nodes[node].parent.map(|parent| &nodes[parent].members);
        let mut notes = Vec::new();
        // What is wrong first: a line may be cut.
        let mut wrong: Vec<String> = members.iter().flat_map(|at| tree.wrong(*at)).map(brief).collect();
        wrong.sort();
        wrong.dedup();
        notes.extend(wrong.into_iter().map(|wrong| (Look::Wrong, wrong)));
        if let Some((at, container)) = members.iter().find_map(|at| Some((*at, tree.container(*at)?))) {
            let is_own = tree
                .parent(at)
                .and_then(|parent| tree.container(parent))
                .is_none_or(|around| around.id != container.id);
            if is_own {
                notes.push((Look::Container, self.describe(&container, &nodes[node].name)));
            }
        }
        let is = |test: fn(&super::Details) -> bool| members.iter().any(|at| test(&tree.seen(*at).details));
        if is(|details| details.frozen == Some(true)) {
            notes.push((Look::Notable, "frozen".to_owned()));
        }
        let kinds: BTreeSet<&str> = members.iter().filter_map(|at| tree.seen(*at).details.kind.as_deref()).collect();
        notes.extend(kinds.into_iter().map(|kind| (Look::Notable, kind.to_owned())));
        let dying: u64 = members.iter().filter_map(|at| tree.judged(*at).lingering).sum();
        let is_told = members.iter().flat_map(|at| tree.wrong(*at)).any(|wrong| wrong.kind == Trouble::LingeringCgroup);
        if dying > 0 && !is_told {
            notes.push((Look::Plain, format!("{dying} dying")));
        }
        let users = |members: &[At]| -> BTreeSet<u32> {
            members.iter().filter_map(|at| tree.seen(*at).details.uid).filter(|uid| *uid != 0).collect()
        };
        let around = parents.map(|parents| users(parents)).unwrap_or_default();
        notes.extend(users(members).difference(&around).map(|uid| (Look::Plain, format!("user {uid}"))));
        notes.extend(self.controllers(members, parents.map(Vec::as_slice)).map(|text| (Look::Plain, text)));
        notes
    }

    /// The controllers of the first one; of the others what differs from those of the one around it.
    fn controllers(&self, members: &[At], parents: Option<&[At]>) -> Option<String> {
        let acting = |members: &[At]| -> BTreeSet<String> {
            members.iter().flat_map(|at| judge::acting(&self.tree.views()[at.view], at.place, self.several)).collect()
        };
        let own = acting(members);
        let list = |names: Vec<&String>, mark: &str| {
            let names = names.into_iter().map(|name| format!("{mark}{}", Name::from(name.as_str()).printable()));
            names.collect::<Vec<_>>().join(" ")
        };
        let Some(parents) = parents else {
            return Some(list(own.iter().collect(), "")).filter(|text| !text.is_empty());
        };
        let around = acting(parents);
        let lost: Vec<&String> = around.difference(&own).collect();
        match (lost.len(), own.len()) {
            (0, _) => None,
            (_, 0) => Some("no controllers".to_owned()),
            (lost, kept) if lost > kept => Some(format!("only {}", list(own.iter().collect(), ""))),
            _ => Some(list(lost, "-")),
        }
    }

    fn describe(&self, container: &Container, component: &Name) -> String {
        let mut text = container.runtime.clone();
        let printable = |name: &Name| {
            let text = name.printable();
            if self.style.wide { text } else { shorten(&text).into_owned() }
        };
        // Where the path does not say it.
        let is_said = component
            .as_bytes()
            .windows(container.id.as_bytes().len().max(1))
            .any(|part| part == container.id.as_bytes());
        let named = container.name.as_ref().map(printable).or_else(|| (!is_said).then(|| printable(&container.id)));
        if let Some(name) = named {
            text.push(' ');
            text.push_str(&name);
        }
        if let Some(pod) = container.pod.as_ref().map(printable) {
            match container.namespace.as_ref().map(printable) {
                Some(namespace) => text.push_str(&format!(" of {namespace}/{pod}")),
                None => text.push_str(&format!(" of {pod}")),
            }
        }
        if let Some(image) = container.image.as_ref().map(printable) {
            text.push_str(&format!(" ({image})"));
        }
        text
    }

    /// What may be wrong, each once, with where it is.
    fn wrong(&self, out: &mut impl Write, wanted: &impl Fn(At) -> bool) -> io::Result<()> {
        let mut found: Vec<(Trouble, Name, &super::Wrong, Vec<&str>)> = Vec::new();
        let mut known: HashMap<(Trouble, Name, &str), usize> = HashMap::new();
        let labels: Vec<String> =
            self.tree.views().iter().map(|view| Name::from(view.hierarchy.label()).printable()).collect();
        for at in self.tree.all().filter(|at| !self.tree.wrong(*at).is_empty() && wanted(*at)) {
            for wrong in self.tree.wrong(at) {
                let path = self.tree.path(at);
                let index = *known.entry((wrong.kind, path.clone(), &wrong.summary)).or_insert_with(|| {
                    found.push((wrong.kind, path, wrong, Vec::new()));
                    found.len() - 1
                });
                found[index].3.push(&labels[at.view]);
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        found.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        writeln!(out, "\n{}", self.style.palette.heading("what may be wrong"))?;
        for (kind, path, wrong, labels) in found {
            let path = path.printable();
            let path = if self.style.wide { path } else { shorten(&path).into_owned() };
            let hierarchies = match labels.len() {
                1 if self.tree.views().len() == 1 => String::new(),
                count if count > 3 => format!("in {count} hierarchies"),
                _ => labels.join(" "),
            };
            let hierarchies = self.style.palette.dim(hierarchies);
            writeln!(out, "{}  {path}  {hierarchies}", self.style.palette.bad(kind.as_str()))?;
            let columns = self.style.width.unwrap_or(COLUMNS).clamp(40, COLUMNS);
            let options =
                textwrap::Options::new(columns).initial_indent("  ").subsequent_indent("  ").break_words(false);
            let options = options.word_separator(textwrap::WordSeparator::AsciiSpace);
            let options = options.word_splitter(textwrap::WordSplitter::NoHyphenation);
            let text = format!("{} (not certain: {})", wrong.summary, wrong.because.join("; "));
            let text = if self.style.wide { text } else { shorten(&text).into_owned() };
            writeln!(out, "{}", textwrap::fill(&text, options))?;
        }
        Ok(())
    }
}

/// What a note looks like.
#[derive(Clone, Copy)]
enum Look {
    Plain,
    Container,
    Notable,
    Wrong,
}

fn brief(wrong: &super::Wrong) -> String {
    match wrong.kind {
        Trouble::LeakedCgroup => "may be leaked".to_owned(),
        Trouble::StaleCgroup => "may be left over".to_owned(),
        Trouble::LingeringCgroup => format!("{} dying: may linger", wrong.count.unwrap_or(0)),
    }
}

fn count_of(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// How many shown ones are below a node.
fn below(nodes: &[Node], node: usize) -> usize {
    let (mut count, mut open) = (0, vec![node]);
    while let Some(next) = open.pop() {
        let shown = nodes[next].children.iter().copied().filter(|child| nodes[*child].shown);
        let before = open.len();
        open.extend(shown);
        count += open.len() - before;
    }
    count
}

/// The largest unit of an age that is told as a lower bound: `≥ 3 h`.
fn short(age: Duration) -> String {
    let seconds = age.as_secs();
    let (value, unit) = match seconds {
        0..60 => (seconds, "s"),
        60..3_600 => (seconds / 60, "m"),
        3_600..86_400 => (seconds / 3_600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    format!("≥{value} {unit}")
}

/// The beginning of a text, as much as has room.
fn cut(text: &str, room: usize) -> String {
    if display_width(text) <= room {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += display_width(character.encode_utf8(&mut [0; 4]));
        if used > room {
            break;
        }
        out.push(character);
    }
    out + "…"
}
