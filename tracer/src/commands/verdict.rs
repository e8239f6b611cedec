//! Whether `--fail-on` is met, and the summary, when all has been said: a later word of a finding takes the place of an
//! earlier one.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::path::Path;

use anyhow::Context;

use super::arguments::FailOn;
use crate::findings::Finding;
use crate::hierarchy::Header;
use crate::report::{Findings, markdown};

/// Findings whose word may still be taken back. With more of them, those that come then are held to their first word.
const MOST: usize = 65_536;

/// What was said so far.
pub(super) struct Verdict<'a> {
    wanted: &'a [FailOn],
    /// The findings that meet it, by their ids.
    met: HashSet<String>,
    is_met_beyond: bool,
}

impl<'a> Verdict<'a> {
    /// Of nothing yet.
    pub fn new(wanted: &'a [FailOn]) -> Self {
        Self { wanted, met: HashSet::new(), is_met_beyond: false }
    }

    /// Something is said of a finding.
    pub fn take(&mut self, finding: &Finding) {
        if !self.wanted.iter().any(|wanted| wanted.is_met_by(finding)) {
            self.met.remove(&finding.id);
        } else if self.met.len() < MOST {
            self.met.insert(finding.id.clone());
        } else {
            self.is_met_beyond = true;
        }
    }

    /// Whether any finding meets it, by what was last said of it.
    pub fn is_met(&self) -> bool {
        self.is_met_beyond || !self.met.is_empty()
    }
}

/// What is told of all findings at the end, behind what the file holds already.
pub(super) struct Summary {
    file: File,
    findings: Findings,
}

impl Summary {
    /// Of nothing yet.
    ///
    /// # Errors
    /// When the file cannot be written to: before there is anything to lose.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        Ok(Self { file: open_summary(path)?, findings: Findings::default() })
    }

    /// Something is said of a finding.
    pub fn take(&mut self, finding: &Finding) {
        self.findings.add(finding);
    }

    /// Writes it.
    ///
    /// # Errors
    /// When the file cannot be written to.
    pub fn write(mut self, header: &Header) -> anyhow::Result<()> {
        let written = markdown::write(&mut self.file, header, &self.findings.worst_first());
        written.context("failed to write the summary")
    }
}

/// The file that a summary is appended to.
///
/// # Errors
/// When it cannot be opened.
pub(super) fn open_summary(path: &Path) -> anyhow::Result<File> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.with_context(|| format!("failed to open {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::Severity;
    use crate::input::Exit;
    use crate::tracker::tests::Play;

    #[test]
    fn the_last_word_of_each_finding_counts() {
        let mut play = Play::new();
        play.incident(Exit::Code(1));
        let finding = play.only();
        let said = |id: &str, severity| Finding { id: id.to_owned(), severity, ..finding.clone() };
        let check = |words: &[(&str, Severity)], met: bool| {
            let mut verdict = Verdict::new(&[FailOn::Fault]);
            words.iter().for_each(|(id, severity)| verdict.take(&said(id, *severity)));
            assert_eq!(verdict.is_met(), met, "{words:?}");
        };
        let (fault, benign) = (Severity::Fault, Severity::Benign);
        check(&[], false);
        check(&[("a", fault)], true);
        check(&[("a", fault), ("a", benign)], false);
        check(&[("a", fault), ("b", benign)], true);
        check(&[("a", benign), ("a", fault), ("b", fault), ("b", benign)], true);
    }
}
