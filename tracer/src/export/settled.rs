//! Findings whose last word has been told: a form that cannot take a word back has each of them once.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::time::Duration;

use serde_json::Value;

use crate::findings::Finding;
use crate::hierarchy::Header;
use crate::input::BootTime;
use crate::line::{Line, Output};

/// A finding that was not told again for so long will not be: stories are closed long before.
const LAST_WORD: Duration = Duration::from_secs(60 * 60);

/// A form that is one JSON document with all findings.
pub(super) trait Form {
    /// What stands before the first finding. The header of a later part, with a clock of its own, has no other.
    fn head(header: &Header) -> String;
    /// A finding. `None` if it is not told.
    fn finding(finding: &Finding, header: &Header) -> Option<Value>;
    /// What stands behind the last one. The stream ended at that time.
    fn tail(header: &Header, end: BootTime) -> String;
}

/// Writes each finding when its last word has been told.
pub(super) struct Document<W: Write, F: Form> {
    out: W,
    header: Option<Header>,
    settling: Settling,
    written: u64,
    form: PhantomData<F>,
}

impl<W: Write, F: Form> Document<W, F> {
    pub fn new(out: W) -> Self {
        Self { out, header: None, settling: Settling::default(), written: 0, form: PhantomData }
    }

    fn write(&mut self, settled: &[Finding]) -> io::Result<()> {
        let Some(header) = &self.header else { return Ok(()) };
        for finding in settled.iter().filter_map(|finding| F::finding(finding, header)) {
            if self.written > 0 {
                self.out.write_all(b",")?;
            }
            self.written += 1;
            serde_json::to_writer(&mut self.out, &finding)?;
        }
        Ok(())
    }
}

impl<W: Write, F: Form> Output for Document<W, F> {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        match line {
            Line::Header(header) => match self.header.replace((*header).clone()) {
                None => self.out.write_all(F::head(header).as_bytes()),
                Some(_) => Ok(()),
            },
            Line::Input(_, input) | Line::Known(_, input) => {
                self.settling.at(input.at());
                Ok(())
            }
            Line::Finding(finding) => {
                let settled = self.settling.take(finding);
                self.write(&settled)
            }
            Line::End(at, _) => {
                let rest = self.settling.rest();
                self.write(&rest)?;
                let Some(header) = &self.header else { return Ok(()) };
                self.out.write_all(F::tail(header, *at).as_bytes())
            }
            Line::Span(_) | Line::Passed(_) => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Keeps findings until nothing more is told of them.
#[derive(Default)]
struct Settling {
    /// Findings that may be told again, with the number of their last telling.
    open: HashMap<String, (u64, Finding)>,
    /// Their tellings, oldest first.
    order: VecDeque<(BootTime, u64, String)>,
    told: u64,
    now: BootTime,
}

impl Settling {
    /// So late is it now.
    pub fn at(&mut self, now: BootTime) {
        self.now = self.now.max(now);
    }

    /// Something is told of a finding. Returns those that are settled by now.
    pub fn take(&mut self, finding: &Finding) -> Vec<Finding> {
        self.told += 1;
        self.open.insert(finding.id.clone(), (self.told, finding.clone()));
        self.order.push_back((self.now, self.told, finding.id.clone()));
        let old = self.now.0.saturating_sub(LAST_WORD.as_nanos() as u64);
        self.until(Some(BootTime(old)))
    }

    /// All others: the stream has ended.
    pub fn rest(&mut self) -> Vec<Finding> {
        self.until(None)
    }

    /// Those whose last telling was before a time.
    fn until(&mut self, until: Option<BootTime>) -> Vec<Finding> {
        let mut settled = Vec::new();
        while let Some((at, number, id)) = self.order.pop_front() {
            if until.is_some_and(|until| at >= until) {
                self.order.push_front((at, number, id));
                break;
            }
            if self.open.get(&id).is_some_and(|(last, _)| *last == number) {
                settled.extend(self.open.remove(&id).map(|(_, finding)| finding));
            }
        }
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_settled_once_with_its_last_word() {
        let mut settling = Settling::default();
        let hour = LAST_WORD.as_nanos() as u64;
        let mut tell = |at: u64, id: &str, revision: u32| -> Vec<(String, u32)> {
            settling.at(BootTime(at));
            let settled = settling.take(&Finding::example(id, revision));
            settled.into_iter().map(|finding| (finding.id, finding.revision)).collect()
        };
        assert_eq!(tell(1, "a", 0), []);
        assert_eq!(tell(2, "b", 0), []);
        assert_eq!(tell(hour, "a", 1), []);
        assert_eq!(tell(hour + 3, "c", 0), [("b".to_owned(), 0)]);
        let rest: Vec<(String, u32)> = settling.rest().into_iter().map(|f| (f.id, f.revision)).collect();
        assert_eq!(rest, [("a".to_owned(), 1), ("c".to_owned(), 0)]);
        assert!(settling.rest().is_empty());
    }
}
