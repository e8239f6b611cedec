//! Kinds of finding on the command line.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::findings::{Finding, Kind, Severity};

/// What makes `--fail-on` fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailOn {
    Fault,
    Kind(Kind),
}

impl FailOn {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fault => Severity::Fault.as_str(),
            Self::Kind(kind) => kind.as_str(),
        }
    }

    pub fn is_met_by(self, finding: &Finding) -> bool {
        self.is_met(finding.kind.as_str(), finding.severity.as_str())
    }

    /// The same of what an agent tells, which may be of another version.
    pub fn is_met(self, kind: &str, severity: &str) -> bool {
        match self {
            Self::Fault => severity == Severity::Fault.as_str(),
            Self::Kind(wanted) => kind == wanted.as_str(),
        }
    }
}

impl ValueEnum for FailOn {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [FailOn; Kind::ALL.len() + 1] = {
            let mut all = [FailOn::Fault; Kind::ALL.len() + 1];
            let mut index = 0;
            while index < Kind::ALL.len() {
                all[index + 1] = FailOn::Kind(Kind::ALL[index]);
                index += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_str()))
    }
}

impl ValueEnum for Kind {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_str()))
    }
}
