//! What the documentation says is so: commands parse, links lead somewhere, every command and kind is written of.
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
    for command in cgtrace::cli::definition().get_subcommands() {
        assert!(page("README.md").contains(&format!("`cgtrace {}", command.get_name())), "{}", command.get_name());
    }
    for kind in cgtrace::findings::Kind::ALL {
        assert!(page("findings.md").contains(&format!("\n## `{}`\n", kind.as_str())), "{}", kind.as_str());
    }
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
