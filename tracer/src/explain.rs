//! What findings mean, in words: severities, jobs, and the page `docs/findings.md`, with what each kind's own rule says
//! of it; in `catalog`, the same for systemd's journal.

mod catalog;

pub(crate) use catalog::PAGE as FINDINGS_PAGE;
pub use catalog::{catalog, message_id};

use crate::findings::{Explanation, Job, Kind, Severity};
use crate::rules;

/// What a severity means.
pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Fault => {
            "it hurt: a cgroup or the runtime's state was left behind, or a process failed whose job the teardown was"
        }
        Severity::Benign => "the same calls, and the goal was reached",
        Severity::Undetermined => "it is not known whether it hurt",
    }
}

/// What a process is there for, and which processes are.
pub fn job(job: Job) -> (&'static str, &'static str) {
    match job {
        Job::Teardown => (
            "to tear down",
            "an OCI runtime's `delete` or `kill`, a containerd shim's `delete`, `podman rm`, `stop`, `kill` or \
             `container cleanup`, `lxc-stop`, `lxc-destroy`",
        ),
        Job::Start => ("to start", "an OCI runtime's `create`, `run` or `restore`, which cleans up when it fails"),
        Job::Removal => ("to remove a directory", "`rmdir`, `rm`, `cgdelete`"),
        Job::Other => ("anything else", "`exec`, a shell, a daemon, a program that is not known"),
    }
}

/// The whole registry as Markdown: `docs/findings.md`.
pub fn markdown() -> String {
    page().lines().map(|line| wrapped(line) + "\n").collect()
}

/// A paragraph or an item of a list as lines of one width. Rows of tables and headings have to stay on one line;
/// commands and names in backquotes are copied more easily from one.
fn wrapped(line: &str) -> String {
    const WIDTH: usize = 120;
    const NO_BREAK: char = '\u{a0}';
    if line.starts_with(['|', '#']) {
        return line.to_owned();
    }
    let mut is_code = false;
    let glue = |c: char| {
        is_code ^= c == '`';
        if is_code && c == ' ' { NO_BREAK } else { c }
    };
    let text: String = line.trim_start().chars().map(glue).collect();
    let (first, rest) = match line {
        item if item.starts_with("* ") => ("", "  "),
        part_of_item if part_of_item.starts_with("  ") => ("  ", "  "),
        _ => ("", ""),
    };
    let options = textwrap::Options::new(WIDTH).initial_indent(first).subsequent_indent(rest).break_words(false);
    let options = options.word_separator(textwrap::WordSeparator::AsciiSpace);
    textwrap::fill(&text, options.word_splitter(textwrap::WordSplitter::NoHyphenation)).replace(NO_BREAK, " ")
}

/// The same, each paragraph on one line.
fn page() -> String {
    use std::fmt::Write;
    let mut out = String::from(
        "# Findings\n\n<!-- Written by `cgtrace explain --markdown`; a test keeps the two alike. -->\n\n\
         A finding is one story of something that went wrong: one line with the claim, then the evidence. The same \
         calls can be harmless or fatal, so each has a severity:\n\n",
    );
    // Writing to a string cannot fail.
    for each in [Severity::Fault, Severity::Benign, Severity::Undetermined] {
        let _ = writeln!(out, "* `{}`: {}.", each.as_str(), severity(each));
    }
    out.push_str(
        "\n## What decides the severity\n\nAn exit status other than 0 alone proves nothing: a process that starts a \
         container can fail for many reasons. It depends on what a process was there for, as its command line \
         tells:\n\n| what it is there for | which processes |\n|---|---|\n",
    );
    for each in Job::ALL {
        let (what_for, who) = job(each);
        let _ = writeln!(out, "| {what_for} | {who} |");
    }
    out.push_str(
        "\nEach kind says below what that decides. A process that still runs, whose end was not seen, or that was \
         killed by a signal leaves it `undetermined`, and so does one of an unknown job whose command line could not \
         be read in time. A story with several processes is a `fault` if it is one for any of them, `benign` if it is \
         so for all, else `undetermined`.\n\n\
         ## How far to trust it\n",
    );
    out.push_str(
        "\nIts certainty is `degraded` when something that the claim depends on could not be seen; `because` says \
         what, and the sentence says \"may\".\n\nA story that changes (the outcome becomes known, ten times as many \
         attempts) is reported again with the same `id` and a higher `revision`.\n\n\
         Runtimes are known by what they are called. Where that says nothing (`exe`, `6`, a copy of another name), \
         `looks_like` may name the runtime that the program seems to be, by its arguments, its calls and its retries, \
         and says why. It is a hint: the severity, the certainty and the container do not depend on it.\n",
    );
    for kind in Kind::ALL {
        let Explanation { word, claim, evidence, confirm, causes, severity, false_positives } = kind.explanation();
        let _ = writeln!(out, "\n## `{word}`\n\n{claim}\n\n### Evidence\n");
        for line in *evidence {
            let _ = writeln!(out, "* {line}");
        }
        out.push_str("\n### Causes\n\n");
        for cause in *causes {
            let _ = writeln!(out, "* `{}`: {}\n  *What to do:* {}", cause.word, cause.meaning, cause.advice);
        }
        out.push_str("\n### Severity\n\n");
        for line in *severity {
            let _ = writeln!(out, "* {line}");
        }
        out.push_str("\n### Confirm by hand\n\n");
        for (what, command) in *confirm {
            let _ = writeln!(out, "* {what}: `{command}`");
        }
        out.push_str("\n### Known false positives\n\n");
        for line in *false_positives {
            let _ = writeln!(out, "* {line}");
        }
    }
    out.push_str("\n## Known issues\n\n");
    out.push_str(
        "A finding names those whose shape it has: the calls, their errnos and their order, who made them, what was in \
         the way, and how it ended. The cause may be another one all the same: \"looks like\" is all that is said. \
         What is known of versions is what the thread says.\n",
    );
    for kind in Kind::ALL {
        let mut issues = rules::known_issues(kind).peekable();
        if issues.peek().is_some() {
            let _ = writeln!(out, "\n### Of `{}`\n", kind.as_str());
        }
        for issue in issues {
            let _ = writeln!(
                out,
                "* **{}**{}\n  *What to do:* {}",
                issue.id,
                &issue.describe()[issue.id.len()..],
                issue.advice
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_docs_is_what_the_registry_says() {
        // What follows is the runtimes' tests'.
        const LIVES: &str = "\n## Tried on real programs\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/findings.md");
        let page = std::fs::read_to_string(path).expect("docs/findings.md is there");
        let (own, lives) = page.split_at(page.find(LIVES).unwrap_or(page.len()));
        if std::env::var_os("CGTRACE_BLESS").is_some() {
            return std::fs::write(path, markdown() + lives).expect("docs can be written");
        }
        assert!(own == markdown(), "docs/findings.md is stale: CGTRACE_BLESS=1 cargo test -p cgtrace --lib explain");
    }
}
