//! Whether `--fail-on` is met, when all has been said: a later word of a finding takes the place of an earlier one.

use std::collections::HashSet;

use super::arguments::FailOn;
use crate::findings::Finding;

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
