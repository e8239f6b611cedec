//! Kinds of finding on the command line: those of this version, and a clear word for those of others.

use std::ffi::OsStr;

use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, Error, ValueEnum};

use crate::findings::{Finding, Kind, Severity};

/// Every kind of the contract. Some are made by later versions only: what is written for those is no typing error.
const CONTRACT: [&str; 14] = [
    "duplicate-teardown",
    "missing-path-teardown",
    "busy-teardown",
    "denied-teardown",
    "partial-teardown",
    "leaked-cgroup",
    "stale-cgroup",
    "lingering-cgroup",
    "refused-attach",
    "refused-control",
    "refused-limit",
    "missing-controller",
    "stuck-call",
    "contested-cgroup",
];

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

/// Reads a kind, or whatever else `T` has. A kind of the contract that this version does not report is told apart from
/// one that does not exist.
#[derive(Clone)]
pub(crate) struct KindParser<T: ValueEnum + Clone + Send + Sync + 'static>(EnumValueParser<T>);

impl<T: ValueEnum + Clone + Send + Sync + 'static> KindParser<T> {
    pub fn new() -> Self {
        Self(EnumValueParser::new())
    }
}

impl<T: ValueEnum + Clone + Send + Sync + 'static> TypedValueParser for KindParser<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        let parsed = self.0.parse_ref(command, argument, value);
        let Err(error) = parsed else { return parsed };
        let value = value.to_string_lossy();
        let Some(kind) = nearest(&value).filter(|kind| Kind::ALL.iter().all(|made| made.as_str() != *kind)) else {
            return Err(error);
        };
        let said = if value == kind {
            format!("kind `{kind}` is known, but this version does not report it")
        } else {
            format!("there is no kind `{value}`; the nearest, `{kind}`, is known, but this version does not report it")
        };
        let made = Kind::ALL.map(Kind::as_str).join(", ");
        Err(Error::raw(ErrorKind::InvalidValue, format!("{said}; it reports: {made}\n")))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        self.0.possible_values()
    }
}

/// The kind of the contract that was meant, if it is clear: at most two letters are wrong.
fn nearest(word: &str) -> Option<&'static str> {
    const WRONG: usize = 2;
    let distance = |kind: &&str| strsim::damerau_levenshtein(word, kind);
    CONTRACT.into_iter().min_by_key(distance).filter(|kind| distance(kind) <= WRONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_this_version_is_one_of_the_contract() {
        for kind in Kind::ALL {
            assert!(CONTRACT.contains(&kind.as_str()), "{}", kind.as_str());
        }
    }

    #[test]
    fn a_kind_that_this_version_lacks_is_told_apart_from_a_typing_error() {
        let parse = |word: &str| KindParser::<FailOn>::new().parse_ref(&Command::new("x"), None, OsStr::new(word));
        for word in CONTRACT {
            match Kind::ALL.into_iter().find(|kind| kind.as_str() == word) {
                Some(kind) => assert_eq!(parse(word).ok(), Some(FailOn::Kind(kind))),
                None => {
                    let said = parse(word).expect_err("not made by this version").to_string();
                    assert!(
                        said.contains(&format!("kind `{word}` is known, but this version does not report it")),
                        "{said}"
                    );
                }
            }
        }
        let said = parse("stuck-cal").expect_err("no kind").to_string();
        assert!(said.contains("there is no kind `stuck-cal`; the nearest, `stuck-call`, is known, but"), "{said}");
        let said = parse("duplicate-teardwn").expect_err("no kind").to_string();
        assert!(said.contains("a similar value exists: 'duplicate-teardown'"), "{said}");
    }
}
