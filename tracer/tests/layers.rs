//! The walls of docs/architecture.md, held by reading the sources: the core does no I/O and knows no edge, and each part of the host
//! has one reader.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fs;
use std::path::{Path, PathBuf};

/// Files of the core, and directories whose files all are.
const CORE: [&str; 20] = [
    "argv.rs",
    "budget.rs",
    "container.rs",
    "duration.rs",
    "engine.rs",
    "errno.rs",
    "explain.rs",
    "findings",
    "findings.rs",
    "hierarchy.rs",
    "input.rs",
    "lxc.rs",
    "mounts.rs",
    "name.rs",
    "oci.rs",
    "recent.rs",
    "runtimes.rs",
    "tracker",
    "tree.rs",
    "tree/judge.rs",
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
/// Edges below a module of the core.
const EDGES: [&str; 5] = ["oci::bundle", "oci::ending", "oci::state", "engine::docker", "engine::storage"];

/// A word, and the only files that may have it: one reader for each part of the host.
const ONLY_IN: [(&str, &[&str]); 4] = [
    ("aya::", &["kernel.rs", "kernel/"]),
    ("/proc/{pid}", &["process.rs"]),
    ("fs::read_dir(", &["cgroupfs.rs", "process.rs"]),
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

fn code(text: &str) -> Vec<(usize, String)> {
    let lines = text.lines().zip(1..).take_while(|(line, _)| line.trim() != "#[cfg(test)]");
    let code = lines.map(|(line, number)| (number, line.split("//").next().unwrap().to_owned()));
    code.filter(|(_, line)| !line.trim().is_empty()).collect()
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
    let edges = modules.filter(|module| !is_core(&format!("{module}.rs"))).map(|module| format!("crate::{module}"));
    edges.chain(EDGES.map(str::to_owned)).collect()
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
    for (number, line) in lines {
        if is_core(file) {
            let outside = OUTSIDE.iter().copied().chain(edges.iter().map(String::as_str));
            for word in outside.filter(|word| names(line, word)) {
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

#[test]
fn no_wall_is_broken() {
    let edges = edges();
    assert!(edges.iter().any(|edge| edge == "crate::process") && edges.iter().all(|edge| edge != "crate::tracker"));
    let files = files();
    for core in CORE {
        assert!(files.iter().any(|(file, _)| file.starts_with(core)), "there is no {core}");
    }
    let wrong: Vec<String> = files.iter().flat_map(|(file, lines)| wrongs(file, lines, &edges)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_broken_wall_is_told_with_its_file_and_line() {
    let edges = edges();
    let check = |file: &str, text: &str, told: Option<&str>| {
        let wrong = wrongs(file, &code(text), &edges);
        assert_eq!(wrong.first().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(": ")).as_deref(), told);
    };
    check("tracker/stories.rs", "use std::fs;\n", Some("tracker/stories.rs:1: the core names `std::fs`"));
    check("findings.rs", "\n    let now = Instant::now();", Some("findings.rs:2: the core names `Instant`"));
    check("container.rs", "use crate::process;", Some("container.rs:1: the core names `crate::process`"));
    check("tracker.rs", "use crate::oci::bundle;", Some("tracker.rs:1: the core names `oci::bundle`"));
    check("serve.rs", "format!(\"/proc/{pid}/stat\")", Some("serve.rs:1: `/proc/{pid}` is for [\"process.rs\"] alone"));
    check("report.rs", "use aya::Ebpf;", Some("report.rs:1: `aya::` is for [\"kernel.rs\", \"kernel/\"] alone"));
    // Words that only look like it, comments, tests, and what an edge may do.
    check("tracker.rs", "let processed = crate::processes::new(); // std::fs\n#[cfg(test)]\nuse std::fs;", None);
    check("gather.rs", "use std::time::Instant;", None);
    check("process.rs", "format!(\"/proc/{pid}/stat\")", None);
}
