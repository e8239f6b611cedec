//! The test programs, and what each of them needs to itself: one table.

use std::num::NonZero;

use anyhow::Context;

/// A test program.
pub struct Suite {
    /// `kernel`: what cargo calls it.
    name: &'static str,
    /// What its tests need.
    needs: Needs,
}

/// What a test needs to itself while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// Nothing: as many of its suite run at a time as there are processors.
    Nothing,
    /// It counts what the kernel does, or holds times and memory to a bound: what others do would be counted too.
    Kernel,
}

/// Every test program.
const SUITES: [Suite; 19] = [
    suite("xtask", Needs::Nothing),
    suite("cgtrace", Needs::Nothing),
    suite("attacks", Needs::Kernel),
    suite("chaos", Needs::Kernel),
    suite("cli", Needs::Kernel),
    suite("damaged", Needs::Nothing),
    suite("deploy", Needs::Nothing),
    suite("docs", Needs::Nothing),
    suite("export", Needs::Nothing),
    suite("html", Needs::Kernel),
    suite("kernel", Needs::Kernel),
    suite("layers", Needs::Nothing),
    suite("names", Needs::Kernel),
    suite("prometheus", Needs::Kernel),
    suite("recorder", Needs::Kernel),
    suite("replay", Needs::Nothing),
    suite("runtimes", Needs::Kernel),
    suite("serve", Needs::Kernel),
    suite("tree", Needs::Kernel),
];

const fn suite(name: &'static str, needs: Needs) -> Suite {
    Suite { name, needs }
}

impl Suite {
    /// The one of this name.
    pub fn called(name: &str) -> anyhow::Result<&'static Self> {
        SUITES.iter().find(|suite| suite.name == name).with_context(|| {
            format!("it is not known what the tests of {name} need\nhint: add it to xtask/src/test/suites.rs")
        })
    }

    /// Whether it tests what the agent's filters let through.
    pub fn is_of_the_agent(&self) -> bool {
        ["attacks", "serve"].contains(&self.name)
    }

    /// How many of its tests run at a time.
    pub fn at_once(&self) -> NonZero<usize> {
        match self.needs {
            Needs::Nothing => crate::processors(),
            Needs::Kernel => NonZero::<usize>::MIN,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::root;

    #[test]
    fn every_test_program_is_known_and_no_other() {
        let entries = std::fs::read_dir(root().join("tracer/tests")).expect("the tests");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let is_program =
            |path: &std::path::PathBuf| path.extension().is_some_and(|it| it == "rs") || path.join("main.rs").exists();
        let names = paths.filter(is_program).filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()));
        // And the unit tests of the crates that have some.
        let there: BTreeSet<String> = names.chain(["cgtrace", "xtask"].map(str::to_owned)).collect();
        let known: BTreeSet<String> = SUITES.iter().map(|suite| suite.name.to_owned()).collect();
        assert_eq!(known, there);
        assert_eq!(known.len(), SUITES.len(), "each is known once");
    }

    #[test]
    fn what_counts_what_the_kernel_does_runs_alone_and_what_only_computes_does_not() {
        let at_once = |name| Suite::called(name).expect("it is known").at_once();
        assert_eq!(at_once("kernel").get(), 1);
        assert_eq!(at_once("cgtrace"), crate::processors());
        assert!(Suite::called("nothing").is_err());
    }
}
