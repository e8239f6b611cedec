//! The walls of docs/architecture.md, held by reading the sources: the core does no I/O and knows no edge, each part of
//! the host has one reader, and no modules are in a circle.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Files of the core, and directories whose files all are.
const CORE: [&str; 36] = [
    "argv.rs",
    "budget.rs",
    "cgroup_namespace.rs",
    "container.rs",
    "control.rs",
    "duration.rs",
    "engine.rs",
    "errno.rs",
    "explain",
    "explain.rs",
    "findings",
    "findings.rs",
    "hash.rs",
    "hierarchy.rs",
    "input.rs",
    "lxc.rs",
    "machine.rs",
    "mounts.rs",
    "name.rs",
    "nspawn.rs",
    "oci.rs",
    "phrases.rs",
    "recent.rs",
    "release.rs",
    "rules",
    "rules.rs",
    "runtimes.rs",
    "schema.rs",
    "state",
    "state.rs",
    "tracker",
    "tree.rs",
    "tree/judge.rs",
    "waits.rs",
    "watcher.rs",
    "words.rs",
];
/// What the core never names: files, processes, clocks, the kernel.
const OUTSIDE: [&str; 13] = [
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "Instant",
    "SystemTime",
    "aya",
    "libc",
    "rustix",
    "tokio",
    "say!",
];

/// A word, and the only files that may have it: one reader for each part of the host.
const ONLY_IN: [(&str, &[&str]); 7] = [
    ("aya::", &["kernel.rs", "kernel/"]),
    ("aya_log", &["kernel/"]),
    // A path; messages may name it.
    ("\"/proc/", &["process.rs", "demo/"]),
    // A path below it that is opened; rules may name it in what they advise.
    ("\"/sys/fs/cgroup/", &["cgroupfs.rs", "demo/"]),
    ("fs::read_dir(", &["process.rs"]),
    ("Dir::read_from(", &["cgroupfs.rs", "root.rs", "demo/"]),
    ("libc::fork(", &["reader/keeper.rs", "demo/"]),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every file, by its path below `src`, and the lines that are neither tests nor comments, with their numbers.
fn files() -> Vec<(String, Vec<(usize, String)>)> {
    let (mut found, mut open) = (Vec::new(), vec![source()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
                let name = path.strip_prefix(source()).unwrap().to_str().unwrap().to_owned();
                found.push((name, code(&fs::read_to_string(&path).unwrap())));
            }
        }
    }
    found.sort();
    assert!(found.len() > 50);
    found
}

/// The lines of a formatted source that are code, without comments and without what is compiled for tests alone.
fn code(text: &str) -> Vec<(usize, String)> {
    let mut code = Vec::new();
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            skip_item(line.len() - line.trim_start().len(), &mut lines);
            continue;
        }
        let line = line.split("//").next().unwrap();
        if !line.trim().is_empty() {
            code.push((number, line.to_owned()));
        }
    }
    code
}

/// Skips an item that is indented so far: it ends on its first line, or with a brace below its beginning.
fn skip_item<'a>(indentation: usize, lines: &mut impl Iterator<Item = (&'a str, usize)>) {
    let mut begun = false;
    for (line, _) in lines {
        let is_own = line.len() - line.trim_start().len() == indentation;
        let ends = if begun { matches!(line.trim(), "}" | "};") } else { line.ends_with([';', '}']) };
        if is_own && ends {
            return;
        }
        begun |= !line.trim_start().starts_with(['#', '/']);
    }
}

fn is_core(file: &str) -> bool {
    CORE.iter().any(|core| *core == file || file.strip_prefix(core).is_some_and(|below| below.starts_with('/')))
        || file == "tracker.rs"
}

/// The modules of the crate that are not of the core.
fn edges() -> Vec<String> {
    let text = fs::read_to_string(source().join("lib.rs")).unwrap();
    let modules =
        text.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'));
    modules.filter(|module| !is_core(&format!("{module}.rs"))).map(str::to_owned).collect()
}

/// Whether a line names something, and not something whose name only begins or ends like it.
fn names(line: &str, word: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, behind) = (line[..at].chars().next_back(), line[at + word.len()..].chars().next());
        let begins = word.starts_with(is_part);
        let ends = word.ends_with(is_part);
        !(begins && before.is_some_and(is_part) || ends && behind.is_some_and(is_part))
    })
}

/// What is wrong with a file, a line each: where, and which wall it breaks.
fn wrongs(file: &str, lines: &[(usize, String)], edges: &[String]) -> Vec<String> {
    let mut wrong = Vec::new();
    if is_core(file) {
        for (number, path) in standard_paths(lines) {
            let named = path.join("::");
            for word in OUTSIDE.iter().filter(|word| names(&named, word)) {
                wrong.push(format!("{file}:{number}: the core names `{word}`: {named}"));
            }
        }
        for (number, path) in paths(file, lines) {
            if path.first().is_some_and(|module| edges.contains(module)) {
                wrong.push(format!("{file}:{number}: the core names `crate::{}`", path.join("::")));
            }
        }
    }
    for (number, line) in lines {
        if is_core(file) {
            let is_path = |word: &&&str| word.starts_with("std::");
            for word in OUTSIDE.iter().filter(|word| !is_path(word) && names(line, word)) {
                wrong.push(format!("{file}:{number}: the core names `{word}`: {}", line.trim()));
            }
        }
        for (word, only_in) in ONLY_IN {
            let may = only_in.iter().any(|place| file == *place || place.ends_with('/') && file.starts_with(place));
            if names(line, word) && !may {
                wrong.push(format!("{file}:{number}: `{word}` is for {only_in:?} alone: {}", line.trim()));
            }
        }
    }
    wrong
}

/// The modules that a file is, from the outermost. None for the crate's root.
fn module(file: &str) -> Vec<&str> {
    let file = file.strip_suffix(".rs").unwrap();
    if matches!(file, "lib" | "main") { Vec::new() } else { file.split('/').collect() }
}

/// The text of some lines, and where in it each begins.
fn joined(lines: &[(usize, String)]) -> (String, Vec<(usize, usize)>) {
    let mut text = String::new();
    let mut starts = Vec::new();
    for (number, line) in lines {
        starts.push((text.len(), *number));
        text.push_str(line);
        text.push('\n');
    }
    (text, starts)
}

/// The paths that begin with `std::`, each with its line.
fn standard_paths(lines: &[(usize, String)]) -> Vec<(usize, Vec<String>)> {
    let (text, starts) = joined(lines);
    let mut paths = Vec::new();
    for (at, word) in text.match_indices("std::") {
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let line = starts.iter().rev().find(|(start, _)| *start <= at).unwrap().1;
        let mut found = Vec::new();
        spell_out(&text[at + word.len()..], &["std".to_owned()], &mut found);
        paths.extend(found.into_iter().map(|path| (line, path)));
    }
    paths
}

/// The paths that begin with `crate::` or `super::` in a file, from the root of the crate, each with its line.
fn paths(file: &str, lines: &[(usize, String)]) -> Vec<(usize, Vec<String>)> {
    let (text, starts) = joined(lines);
    let mut paths = Vec::new();
    for word in ["crate::", "super::"] {
        for (at, _) in text.match_indices(word) {
            let before = &text[..at];
            // What follows another word belongs to a path that is met at its beginning.
            if before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let line = starts.iter().rev().find(|(start, _)| *start <= at).unwrap().1;
            let mut within: Vec<String> = module(file).into_iter().map(str::to_owned).collect();
            let mut rest = &text[at..];
            if let Some(behind) = rest.strip_prefix("crate::") {
                (within, rest) = (Vec::new(), behind);
            }
            while let Some(behind) = rest.strip_prefix("super::") {
                within.pop();
                rest = behind;
            }
            let mut found = Vec::new();
            spell_out(rest, &within, &mut found);
            paths.extend(found.into_iter().map(|path| (line, path)));
        }
    }
    paths
}

/// The paths of what may be a tree of them, `a::{b, c::d}`, each behind `within`. Returns what follows it.
fn spell_out<'a>(text: &'a str, within: &[String], found: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            if rest.is_empty() || rest.starts_with('}') {
                return rest.strip_prefix('}').unwrap_or(rest);
            }
            let behind = spell_out(rest, within, found);
            // `a as b`, or what is no path at all.
            let next = behind.find([',', '}']).unwrap_or(behind.len());
            rest = &behind[next..];
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let path = [within, &[text[..end].to_owned()]].concat();
    if let Some(rest) = text[end..].strip_prefix("::") {
        return spell_out(rest, &path, found);
    }
    found.push(path);
    &text[end..]
}

/// Which module needs which one beside it, and where that is said; by the module that both are in.
type Needs = BTreeMap<Vec<String>, BTreeMap<String, BTreeMap<String, String>>>;

/// A path leads from one module to another where it parts from the way to its own file: `a/b.rs` that names
/// `crate::a::c::Item` needs `c` within `a`, and one that names `crate::d` lets `a` need `d`.
fn needs(files: &[(String, Vec<(usize, String)>)]) -> Needs {
    let modules: BTreeSet<Vec<&str>> = files.iter().map(|(file, _)| module(file)).collect();
    let mut needs = Needs::new();
    for (file, lines) in files {
        let own = module(file);
        for (line, path) in paths(file, lines) {
            let depth = own.iter().zip(&path).take_while(|(own, named)| *own == named).count();
            let (Some(from), Some(to)) = (own.get(depth), path.get(depth)) else { continue };
            if modules.contains(&path[..=depth].iter().map(String::as_str).collect::<Vec<_>>()) {
                let around = needs.entry(path[..depth].to_vec()).or_default();
                let place = format!("{file}:{line}");
                around.entry((*from).to_owned()).or_default().entry(to.clone()).or_insert(place);
            }
        }
    }
    needs
}

/// The shortest way from a module to another one: each step as where it is said, and what is reached.
fn way(needs: &BTreeMap<String, BTreeMap<String, String>>, from: &str, to: &str) -> Option<Vec<(String, String)>> {
    let mut ways = vec![(from, Vec::new())];
    let mut seen = BTreeSet::new();
    let mut next = 0;
    while let Some((module, way)) = ways.get(next).cloned() {
        next += 1;
        for (reached, place) in needs.get(module).into_iter().flatten() {
            let way = [&way[..], &[(place.clone(), reached.clone())]].concat();
            if reached == to {
                return Some(way);
            }
            if seen.insert(reached) {
                ways.push((reached, way));
            }
        }
    }
    None
}

/// Modules that need each other, each circle with all that are in it, and its shortest chain from the first of them.
fn circles(needs: &Needs) -> Vec<(BTreeSet<String>, String)> {
    let mut circles: Vec<(BTreeSet<String>, String)> = Vec::new();
    for (around, needs) in needs {
        let full = |module: &str| [&around[..], &[module.to_owned()]].concat().join("::");
        for module in needs.keys() {
            let Some(chain) = way(needs, module, module) else { continue };
            if circles.iter().any(|(known, _)| known.contains(&full(module))) {
                continue;
            }
            let both = |other: &&String| way(needs, module, other).is_some() && way(needs, other, module).is_some();
            let members = needs.keys().filter(both).map(|module| full(module)).collect();
            let steps = chain.iter().map(|(place, reached)| format!(" ({place}) → {}", full(reached)));
            circles.push((members, full(module) + &steps.collect::<String>()));
        }
    }
    circles
}

#[test]
fn no_modules_are_in_a_circle() {
    let circles = circles(&needs(&files()));
    assert!(circles.is_empty(), "modules need each other in a circle: {circles:#?}");
}

#[test]
fn a_circle_is_told_with_its_chain_of_files() {
    let check = |sources: &[(&str, &str)], told: &[&str]| {
        let files: Vec<_> = sources.iter().map(|(file, text)| ((*file).to_owned(), code(text))).collect();
        let chains: Vec<_> = circles(&needs(&files)).into_iter().map(|(_, chain)| chain).collect();
        assert_eq!(chains, told);
    };
    // Three of them, by what their files and those below them say; a fourth one is beside it.
    let (a, b, c) = (("a.rs", "use crate::b::B;"), ("b.rs", "pub struct B;"), ("b/x.rs", "\nuse crate::{\n    c,\n};"));
    let d = ("d.rs", "use crate::a;");
    check(&[a, b, c, ("c.rs", "fn c() -> crate::a::A {}"), d], &["a (a.rs:1) → b (b/x.rs:2) → c (c.rs:1) → a"]);
    check(
        &[a, b, c, ("c.rs", "use crate::{other, d as a};"), d],
        &["a (a.rs:1) → b (b/x.rs:2) → c (c.rs:1) → d (d.rs:1) → a"],
    );
    check(&[a, b, c, ("c.rs", "use crate::abc;"), d], &[]);
    // Within a folder, among those beside each other: a module and what is below it belong together.
    let (m, x) = (("m.rs", "mod x;\nmod y;\nuse x::X;"), ("m/x.rs", "use super::{M, y::{self, Y}};"));
    check(&[m, x, ("m/y.rs", "use crate::m::x::X;")], &["m::x (m/x.rs:1) → m::y (m/y.rs:1) → m::x"]);
    check(&[m, x, ("m/y.rs", "use super::M;")], &[]);
    check(
        &[m, x, ("m/y/z.rs", "use super::super::x;"), ("m/y.rs", "mod z;")],
        &["m::x (m/x.rs:1) → m::y (m/y/z.rs:1) → m::x"],
    );
    // What is for tests alone, and what stands behind it.
    check(&[a, ("b.rs", "#[cfg(test)]\nmod tests {\n    use crate::a;\n}\n")], &[]);
    check(&[a, ("b.rs", "#[cfg(test)]\nuse crate::b;\nuse crate::a;\n")], &["a (a.rs:1) → b (b.rs:3) → a"]);
}

#[test]
fn no_wall_is_broken() {
    let edges = edges();
    assert!(edges.iter().any(|edge| edge == "process") && edges.iter().all(|edge| edge != "tracker"));
    let files = files();
    for core in CORE {
        assert!(files.iter().any(|(file, _)| file.starts_with(core)), "there is no {core}");
    }
    let wrong: Vec<String> = files.iter().flat_map(|(file, lines)| wrongs(file, lines, &edges)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_broken_wall_is_told_with_its_file_and_line() {
    const SYSFS: &str = "gather.rs:1: `\"/sys/fs/cgroup/` is for [\"cgroupfs.rs\", \"demo/\"] alone";
    let edges = edges();
    let check = |file: &str, text: &str, told: Option<&str>| {
        let wrong = wrongs(file, &code(text), &edges);
        assert_eq!(wrong.first().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(": ")).as_deref(), told);
    };
    check("tracker/stories.rs", "use std::fs;\n", Some("tracker/stories.rs:1: the core names `std::fs`"));
    check("state/x.rs", "use std::{\n    fmt, process,\n};", Some("state/x.rs:1: the core names `std::process`"));
    check("oci.rs", "use std::{fs::{self, File}, fmt};", Some("oci.rs:1: the core names `std::fs`"));
    check("gather.rs", "fs::read(\"/sys/fs/cgroup/x\")", Some(SYSFS));
    check("findings.rs", "\n    let now = Instant::now();", Some("findings.rs:2: the core names `Instant`"));
    check("container.rs", "use crate::process;", Some("container.rs:1: the core names `crate::process`"));
    check(
        "tracker/x.rs",
        "use crate::{\n    name, process,\n};",
        Some("tracker/x.rs:1: the core names `crate::process`"),
    );
    check("oci.rs", "fn f(p: super::process::Clock) {}", Some("oci.rs:1: the core names `crate::process::Clock`"));
    check(
        "serve.rs",
        "format!(\"/proc/{pid}/stat\")",
        Some("serve.rs:1: `\"/proc/` is for [\"process.rs\", \"demo/\"] alone"),
    );
    check("report.rs", "use aya::Ebpf;", Some("report.rs:1: `aya::` is for [\"kernel.rs\", \"kernel/\"] alone"));
    // Words that only look like it, comments, tests, and what an edge may do.
    check("tracker.rs", "let processed = crate::processes::new(); // std::fs\n#[cfg(test)]\nuse std::fs;", None);
    check("gather.rs", "use std::time::Instant;", None);
    check("process.rs", "format!(\"/proc/{pid}/stat\")", None);
}
