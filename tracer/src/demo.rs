//! Real cgroup faults, played on the real cgroupfs for whoever wants to see how they look.
//!
//! The traced half is another process, the [`stage`]: it goes to a private mount namespace, makes one scratch cgroup and
//! removes it at the end, whatever happens. In it the [`actors`] make the system calls of real runtimes, or a real
//! runtime plays itself.

mod actors;
pub mod bundle;
mod stage;

use std::process::ExitCode;

use clap::ValueEnum;

use crate::findings::Severity;

pub use actors::play_a_part;
pub use stage::play;

/// What can be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Two processes race to remove one cgroup
    Duplicate,
    /// The incident of runc#4518: cgroupfs is read-only, the deleting process fails
    MissingPath,
    /// The same calls, but the deleting process copes
    MissingPathBenign,
    /// The real runc: a healthy life, then one on a read-only cgroupfs
    Runc,
}

/// What a scenario is expected to give: exactly one finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its kind.
    pub kind: &'static str,
    /// Its cause.
    pub cause: &'static str,
    /// Its severity; `None` if that is up to the runtime.
    pub severity: Option<Severity>,
}

impl Scenario {
    /// The word of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::MissingPath => "missing-path",
            Self::MissingPathBenign => "missing-path-benign",
            Self::Runc => "runc",
        }
    }

    /// What is played, in one sentence.
    pub fn story(self) -> &'static str {
        match self {
            Self::Duplicate => "two processes race to remove one cgroup",
            Self::MissingPath => {
                "cgroupfs is mounted read-only: one process fails to make a container's cgroup and carries on, another \
                 one fails to remove it and exits 1, as runc 1.2.0 and 1.2.1 did"
            }
            Self::MissingPathBenign => "the same calls, but the second process copes, as healthy versions of runc do",
            Self::Runc => "the real runc: a healthy life first, then a container on a read-only cgroupfs",
        }
    }

    /// What is to be found.
    pub fn expected(self) -> Expected {
        let missing = |severity| Expected { kind: "missing-path-teardown", cause: "read-only-mount", severity };
        match self {
            Self::Duplicate => {
                Expected { kind: "duplicate-teardown", cause: "removed-by-other", severity: Some(Severity::Fault) }
            }
            Self::MissingPath => missing(Some(Severity::Fault)),
            Self::MissingPathBenign => missing(Some(Severity::Benign)),
            // runc 1.2.0 and 1.2.1 fail, others cope.
            Self::Runc => missing(None),
        }
    }

    /// The program that it needs beside this one.
    pub fn needs(self) -> Option<&'static str> {
        match self {
            Self::Duplicate | Self::MissingPath | Self::MissingPathBenign => None,
            Self::Runc => Some("runc"),
        }
    }
}

/// Whether a program is on the path.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// As an exit status.
fn status(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
