//! What the documentation says is so, and in plain words: commands parse, links lead somewhere, every command and kind
//! is written of. Its lines and those of the sources have one width.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fs;
use std::path::{Path, PathBuf};

/// Every page, with its directory.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.chain(["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(|page| root.join(page)));
    let pages: Vec<_> = pages
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect();
    assert!(pages.len() > 4);
    pages
}

/// The lines of code blocks that are typed at a shell's prompt.
fn typed(text: &str) -> impl Iterator<Item = &str> {
    text.split("```").skip(1).step_by(2).flat_map(str::lines).filter_map(|line| line.strip_prefix("$ "))
}

/// The lines of prose with their numbers: all that are not in a block of code.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_code && !is_fence).then_some((index + 1, line))
    })
}

/// Lines that are wider than this are hard to read, and hard to compare.
const WIDTH: usize = 120;

/// The numbers of lines that are too wide. Rows of tables, headings and lines that hold one link only cannot be
/// wrapped.
fn too_wide(text: &str) -> Vec<usize> {
    let cannot_be_wrapped = |line: &str| {
        let line = line.trim_start();
        let is_link = |line: &str| line.starts_with('[') && line.matches("](").count() == 1 && line.ends_with(')');
        line.starts_with('|') || line.starts_with('#') || is_link(line.trim_start_matches("* "))
    };
    let wide = prose(text).filter(|(_, line)| line.chars().count() > WIDTH && !cannot_be_wrapped(line));
    wide.map(|(number, _)| number).collect()
}

/// Every source of all crates. `rustfmt` wraps code, but no comment, no string, and nothing that it cannot read.
fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut found, mut open) =
        (Vec::new(), ["tracer", "tracer-ebpf", "xtask", "fuzz"].map(|at| root.join(at)).to_vec());
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(found.len() > 200, "{}", found.len());
    found
}

/// The numbers of all lines that are too wide, in characters.
fn wide_lines(text: &str) -> Vec<usize> {
    text.lines().zip(1..).filter(|(line, _)| line.chars().count() > WIDTH).map(|(_, number)| number).collect()
}

/// Words that a reader whose first language is another one stumbles over, with those to write instead.
const HARD: [(&str, &str); 14] = [
    ("anew", "again"),
    ("for ever", "forever, or without end"),
    ("hitherto", "so far"),
    ("is none", "is not one, or say what is missing"),
    ("keep its hands off", "leave it alone"),
    ("lest", "so that … not"),
    ("likewise", "the same"),
    ("mend", "fix"),
    ("mends", "fixes"),
    ("nor", "and not"),
    ("that is to say", "a second sentence that says it"),
    ("thereof", "of it"),
    ("till", "until"),
    ("whoever", "anyone who, or a plain subject"),
];

/// The hard words of a page: the line, the word, and what to write instead.
fn hard_words(text: &str) -> Vec<(usize, &'static str, &'static str)> {
    let words: Vec<(usize, String)> = prose(text)
        .flat_map(|(number, line)| {
            line.split(|c: char| !c.is_alphanumeric()).map(move |word| (number, word.to_lowercase()))
        })
        .filter(|(_, word)| !word.is_empty())
        .collect();
    let found_of = |(hard, instead): (&'static str, &'static str)| {
        let length = hard.split(' ').count();
        let is_hard =
            move |window: &&[(usize, String)]| window.iter().map(|(_, word)| word.as_str()).eq(hard.split(' '));
        words.windows(length).filter(is_hard).map(move |window| (window[0].0, hard, instead)).collect::<Vec<_>>()
    };
    HARD.into_iter().flat_map(found_of).collect()
}

#[test]
fn prose_has_one_width() {
    let wide = |(path, text): &(PathBuf, String)| {
        too_wide(text).into_iter().map(|number| format!("{}:{number}", path.display())).collect::<Vec<_>>()
    };
    let wide: Vec<String> = pages().iter().flat_map(wide).collect();
    assert!(
        wide.is_empty(),
        "wrap these lines at {WIDTH} characters, code, tables and headings excepted:\n{}",
        wide.join("\n")
    );
}

#[test]
fn sources_have_one_width() {
    let wide = |path: &PathBuf| {
        let lines = wide_lines(&fs::read_to_string(path).unwrap());
        lines.into_iter().map(|number| format!("{}:{number}", path.display())).collect::<Vec<_>>()
    };
    let wide: Vec<String> = sources().iter().flat_map(wide).collect();
    assert!(
        wide.is_empty(),
        "break these lines at {WIDTH} characters: comments by hand, strings with a backslash:\n{}",
        wide.join("\n")
    );
}

#[test]
fn pages_have_no_word_that_a_reader_stumbles_over() {
    let hard = |(path, text): &(PathBuf, String)| {
        let found = hard_words(text).into_iter();
        let say = |(number, hard, instead)| format!("{}:{number}: {hard:?}: write: {instead}", path.display());
        found.map(say).collect::<Vec<_>>()
    };
    let hard: Vec<String> = pages().iter().flat_map(hard).collect();
    assert!(
        hard.is_empty(),
        "pages are for a tired reader whose first language is another one; these words are old or rare:\n{}",
        hard.join("\n")
    );
}

#[test]
fn wide_lines_and_hard_words_are_found() {
    let wide = "word ".repeat(25);
    let page = format!(
        "# {wide}\n| {wide}|\n* [{wide}](a.md)\n```text\n{wide}\nlest\n```\n{wide}\nIt stays for\never, or Mend it.\n"
    );
    assert_eq!(too_wide(&page), [8]);
    let source = format!("{}\n// {}\n\"{}\"\n", "é".repeat(WIDTH), "e".repeat(WIDTH), "e ".repeat(WIDTH));
    assert_eq!(wide_lines(&source), [2, 3]);
    let found: Vec<(usize, &str)> = hard_words(&page).into_iter().map(|(number, hard, _)| (number, hard)).collect();
    assert_eq!(found, [(9, "for ever"), (10, "mend")]);
    assert!(hard_words("a modest, mended forever").is_empty(), "a part of a word is no word");
}

#[test]
fn every_command_shown_is_one_that_can_be_typed() {
    let mut checked = 0;
    for (path, text) in pages() {
        for line in typed(&text) {
            let words: Vec<&str> = line.split_whitespace().skip_while(|word| *word == "sudo").collect();
            if words.first() != Some(&"cgtrace") {
                continue;
            }
            let words: Vec<&str> = words.iter().take_while(|word| !matches!(**word, "|" | ">")).copied().collect();
            let parsed = cgtrace::cli::definition().try_get_matches_from(&words);
            assert!(parsed.is_ok(), "{}: {line}: {}", path.display(), parsed.unwrap_err());
            checked += 1;
        }
    }
    assert!(checked > 3, "{checked}");
}

#[test]
fn every_link_leads_to_a_file_that_is_there() {
    let mut checked = 0;
    for (path, text) in pages() {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(path.parent().unwrap().join(target).exists(), "{}: {target}", path.display());
            checked += 1;
        }
    }
    assert!(checked > 4, "{checked}");
}

#[test]
fn every_command_is_in_the_readme_and_every_kind_has_its_heading() {
    let pages = pages();
    let page = |name: &str| &pages.iter().find(|(path, _)| path.ends_with(name)).unwrap().1;
    for command in cgtrace::cli::definition().get_subcommands().filter(|command| !command.is_hide_set()) {
        assert!(page("README.md").contains(&format!("`cgtrace {}", command.get_name())), "{}", command.get_name());
    }
    for kind in cgtrace::findings::Kind::ALL {
        assert!(page("findings.md").contains(&format!("\n## `{}`\n", kind.as_str())), "{}", kind.as_str());
    }
}

#[test]
fn the_requirements_say_on_which_kernels_the_tests_were_run_and_when() {
    let pages = pages();
    let page = &pages.iter().find(|(path, _)| path.ends_with("requirements.md")).unwrap().1;
    let (_, table) = page.split_once("<!-- The table is written by `cargo xtask kernels`. -->").unwrap();
    let (table, _) = table.split_once("<!-- End of the table. -->").unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| kernel |"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let (run, others): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row[5] != "not run yet");
    assert!(!run.is_empty(), "cargo xtask kernels");
    for row in run {
        let is_date = row[7].len() == 10 && row[7].split('-').all(|part| part.parse::<u32>().is_ok());
        assert!(is_date && !row[5].is_empty(), "{row:?}");
    }
    assert!(others.iter().all(|row| row[6].is_empty() && row[7].is_empty()), "{others:?}");
}

#[test]
fn the_worked_case_shows_what_is_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("docs/post-mortem.md")).unwrap();
    let command = "cgtrace report --lives docs/examples/incident.jsonl.zst";
    let (_, rest) = page.split_once(&format!("$ {command}\n")).unwrap();
    let (shown, _) = rest.split_once("```").unwrap();
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_cgtrace"))
        .args(command.split(' ').skip(1))
        .current_dir(root)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(done.stdout).unwrap().trim_end(), shown.trim_end());
}

/// What the page on costs has a row for.
const MEASURED: [&str; 22] = [
    "getppid",
    "open + close, succeeds",
    "open, fails outside cgroupfs",
    "open, fails inside cgroupfs",
    "write + read of a socket, succeed",
    "read of a socket, EAGAIN",
    "write to /dev/null, succeeds",
    "write to a socket, EAGAIN",
    "nothing",
    "empty programs",
    "cgtrace",
    "bpftrace",
    "failed calls made",
    "received and suppressed",
    "lifecycle events lost",
    "agent, % of a processor",
    "start to attached, serve",
    "start to attached, live",
    "idle, % of a processor",
    "resident when idle, MiB",
    "failing call to printed finding, ms",
    "actor's end to printed finding, ms",
];

#[test]
fn the_page_on_costs_has_every_figure() {
    let pages = pages();
    let (_, page) = pages.iter().find(|(path, _)| path.ends_with("performance.md")).unwrap();
    let (_, figures) = page.split_once("<!-- written by cargo xtask bench: begin -->").unwrap();
    let (figures, _) = figures.split_once("<!-- written by cargo xtask bench: end -->").unwrap();
    for measured in MEASURED {
        let row = figures.lines().find(|line| line.starts_with(&format!("| {measured}")));
        let row = row.unwrap_or_else(|| panic!("no row for {measured}: run cargo xtask bench"));
        let is_figure = |cell: &str| cell.contains("too noisy") || cell.chars().any(|c| c.is_ascii_digit());
        let has_figure = row.split('|').skip(2).any(is_figure);
        assert!(has_figure, "{row}");
    }
    for heading in ["Calls", "Cgroups made and removed", "Containers", "Flood", "Start, idle, memory"] {
        assert!(figures.contains(&format!("### {heading}\n")), "{heading}");
    }
    assert!(figures.contains("Measured on 20") && figures.contains("with Linux "), "{figures}");
}
