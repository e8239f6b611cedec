//! The journal's catalog: what `journalctl -x` says below a finding. `deploy/systemd/cgtrace.catalog` is made of it.

use std::fmt::Write;

use crate::findings::{Cause, Explanation, Kind};
use crate::hash::fnv1a_128;

/// Where the page of findings is.
pub(crate) const PAGE: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/findings.md");
/// Columns of the text.
const WIDTH: usize = 78;

/// The journal's MESSAGE_ID of a kind, as 32 hexadecimal digits: the same on every host and in every version, because
/// it is made of the kind's word. It has the form of a random UUID, as those that `systemd-id128 new` makes.
pub fn message_id(kind: Kind) -> String {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0b11 << 62;
    let hash = fnv1a_128(format!("cgtrace finding {}", kind.as_str()).as_bytes());
    format!("{:032x}", hash & !VERSION & !VARIANT | 4 << 76 | 0b10 << 62)
}

/// The whole catalog (systemd's `catalog-file`).
pub fn catalog() -> String {
    let mut out = String::from("# Written by `CGTRACE_BLESS=1 cargo test -p cgtrace --lib explain`.\n");
    for kind in Kind::ALL {
        let Explanation { word, claim, evidence, confirm, causes, severity, false_positives } = kind.explanation();
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "\n-- {}\nSubject: @CGTRACE_SEVERITY@: {word}, @CGTRACE_CAUSE@, of cgroup @CGTRACE_CGROUP@\n\
             Defined-By: cgtrace\nSupport: {}/issues\nDocumentation: {PAGE}#{word}\n\n",
            message_id(kind),
            env!("CARGO_PKG_REPOSITORY")
        );
        paragraph(&mut out, "", claim);
        let mut list = |title: &str, lines: &mut dyn Iterator<Item = String>| {
            let _ = writeln!(out, "\n{title}:");
            lines.for_each(|line| paragraph(&mut out, "* ", &line));
        };
        let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>().into_iter();
        let told = |cause: &Cause| format!("{}: {} What to do: {}", cause.word, cause.meaning, cause.advice);
        list("What to do, by the cause", &mut causes.iter().map(told));
        list("Whether it hurt", &mut owned(severity));
        list("What it rests on", &mut owned(evidence));
        list("Nothing is wrong when", &mut owned(false_positives));
        out.push_str("\nTo confirm it by hand:\n");
        for (what, command) in *confirm {
            paragraph(&mut out, "* ", &format!("{what}:"));
            // It is copied more easily from one line.
            let _ = writeln!(out, "  {}", literal(command));
        }
    }
    out
}

/// Text that holds nothing of the entry: what stands between two of these signs is the name of a field.
fn literal(text: &str) -> String {
    text.replace('@', "(at)")
}

/// Writes wrapped text.
fn paragraph(out: &mut String, bullet: &str, text: &str) {
    let indent = " ".repeat(bullet.len());
    let options = textwrap::Options::new(WIDTH).initial_indent(bullet).subsequent_indent(&indent).break_words(false);
    let options = options.word_separator(textwrap::WordSeparator::AsciiSpace);
    let options = options.word_splitter(textwrap::WordSplitter::NoHyphenation);
    out.push_str(&textwrap::fill(&literal(text), options));
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_an_identity_of_its_own_that_never_changes() {
        let ids: BTreeSet<String> = Kind::ALL.into_iter().map(message_id).collect();
        assert_eq!(ids.len(), Kind::ALL.len());
        for id in ids {
            assert!(id.len() == 32 && &id[12..13] == "4" && matches!(&id[16..17], "8" | "9" | "a" | "b"), "{id}");
        }
    }

    #[test]
    fn the_catalog_in_deploy_is_what_the_registry_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd/cgtrace.catalog");
        if std::env::var_os("CGTRACE_BLESS").is_some() {
            return std::fs::write(path, catalog()).expect("it can be written");
        }
        let is_same = std::fs::read_to_string(path).is_ok_and(|written| written == catalog());
        assert!(is_same, "{path} is stale: CGTRACE_BLESS=1 cargo test -p cgtrace --lib explain");
    }
}
