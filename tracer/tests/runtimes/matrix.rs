//! Lives of containers, whole and broken, on the programs that people run: what is told of each, and what is not.
//!
//! A life is one row of a table ([`healthy`], [`broken`]): a program, how cgroups are laid out, what is done, and all
//! that is to be told of it. All of them are lived under one agent, so that nothing which one life does is told of
//! another. Nothing is cleared away before the agent has ended: what is left is still left when it is told.

mod broken;
mod healthy;
mod machine;
mod page;
mod score;
mod stage;

use std::time::Duration;

use stage::{Lived, Stage};

/// How cgroups are laid out where a life is lived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As the host has them, with hierarchies of v1 if it has those.
    Host,
    /// The same, but for the mount of cgroup2 beside v1: crun refuses a hybrid layout whose cgroup2 has controllers.
    V1,
    /// cgroup2 alone, in a mount namespace of its own.
    V2,
}

impl Layout {
    /// What makes it, in a mount namespace of the life's own. Where cgroup2 is mounted there already, the kernel does
    /// not mount it once more on top of itself.
    const fn made(self) -> &'static str {
        match self {
            Self::Host => "",
            Self::V1 => "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi",
            Self::V2 => "mount -t tmpfs none /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup",
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// One row.
#[derive(Clone, Copy)]
pub struct Life {
    /// Which life it is: the container's, or whose cgroups they are.
    pub who: &'static str,
    pub layout: Layout,
    /// What happens, in words.
    pub what: &'static str,
    /// Values in the bundle's configuration: JSON pointers and JSON.
    pub config: &'static [(&'static str, &'static str)],
    /// What is done, after `prelude.sh`.
    pub script: &'static str,
    /// What is known of the container; `None` where its cgroups were there before it.
    pub container: Option<Known>,
    /// All that is told of it.
    pub told: &'static [Told],
    /// Whether a cgroup of the container is left.
    pub leaves: bool,
    /// Why something that hurts is not told.
    pub untold: Option<&'static str>,
}

/// What is to be known of the containers of a life, as soon as their cgroups are made.
#[derive(Clone, Copy)]
pub struct Known {
    /// Whose container it is; `None` where the cgroups are no container's.
    pub runtime: Option<&'static str>,
    /// The program that makes and removes its cgroups.
    pub maker: &'static str,
    /// It has a name, which is the life's own word.
    pub name: bool,
    /// It has an image, which is the one that all have.
    pub image: bool,
}

/// One finding, as its last word has it.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    pub kind: &'static str,
    pub cause: &'static str,
    pub severity: &'static str,
    pub certainty: &'static str,
    /// It is of a container, and of which: the first one that the life names.
    pub of_container: bool,
    /// What its sentence says among others.
    pub says: &'static str,
    /// At least so many failed calls belong to it.
    pub calls: u64,
    /// It depends on who is faster whether it is told, and how often.
    pub is_chance: bool,
}

impl Life {
    pub const fn new(who: &'static str, layout: Layout, what: &'static str, script: &'static str) -> Self {
        let container = Some(Known { runtime: Some(who), maker: who, name: false, image: false });
        Self { who, layout, what, config: &[], script, container, told: &[], leaves: false, untold: None }
    }

    pub const fn config(self, config: &'static [(&'static str, &'static str)]) -> Self {
        Self { config, ..self }
    }

    pub const fn container(self, container: Known) -> Self {
        Self { container: Some(container), ..self }
    }

    /// Its cgroups are there before it.
    pub const fn late(self) -> Self {
        Self { container: None, ..self }
    }

    pub const fn told(self, told: &'static [Told]) -> Self {
        Self { told, ..self }
    }

    /// A cgroup is left.
    pub const fn leaves(self) -> Self {
        Self { leaves: true, ..self }
    }

    /// Something hurts, and why it is not told.
    pub const fn untold(self, why: &'static str) -> Self {
        Self { untold: Some(why), ..self }
    }
}

impl Told {
    pub const fn new(severity: &'static str, kind: &'static str, cause: &'static str) -> Self {
        Self { kind, cause, severity, certainty: "certain", of_container: true, says: "", calls: 0, is_chance: false }
    }

    pub const fn says(self, says: &'static str) -> Self {
        Self { says, ..self }
    }

    pub const fn calls(self, calls: u64) -> Self {
        Self { calls, ..self }
    }

    pub const fn by_chance(self) -> Self {
        Self { is_chance: true, ..self }
    }

    pub const fn of_no_container(self) -> Self {
        Self { of_container: false, ..self }
    }
}

/// Every row.
fn lives() -> Vec<Life> {
    [healthy::LIVES, machine::LIVES, broken::LIVES, broken::LATE].concat()
}

/// `CGTRACE_LIVES=WORD` lives those only that have the word in them.
fn is_asked_for(life: &Life) -> bool {
    let line = format!("{} {} {}", life.who, life.layout.as_str(), life.what);
    std::env::var("CGTRACE_LIVES").map_or(true, |word| line.contains(&word))
}

/// Of the latest finding after the last life, on a slow machine; and of one that is told of after ten minutes.
const PATIENCE: Duration = Duration::from_secs(60);
const LONG_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Lives them one after the other. The last one of the broken ones is told of latest of all: when it is, all is told.
fn live(lives: &[&[Life]], patience: Duration) {
    let mut stage = Stage::new();
    let lived: Vec<Lived> = lives.concat().into_iter().filter(is_asked_for).map(|life| stage.live(life)).collect();
    let lines = stage.end(&lived, patience);
    score::assert(&lived, &lines);
}

#[test]
fn lives_are_told_as_their_rows_say() {
    live(&[healthy::LIVES, broken::LIVES], PATIENCE);
}

#[test]
#[ignore = "boots a machine: cargo xtask test --all"]
fn lives_in_a_machine_are_told_as_their_rows_say() {
    let machine = stage::target().join("machine/usr/lib/systemd/systemd");
    assert!(machine.exists(), "{} is not there: cargo xtask setup", machine.display());
    live(&[machine::LIVES, &broken::LIVES[broken::LIVES.len() - 1..]], PATIENCE);
}

#[test]
#[ignore = "takes ten minutes: cargo xtask test --all"]
fn lives_that_are_told_of_late_are_told_as_their_rows_say() {
    live(&[broken::LATE], LONG_PATIENCE);
}

#[test]
fn every_row_is_of_kinds_and_causes_that_there_are() {
    for told in lives().iter().flat_map(|life| life.told) {
        let known = cgtrace::findings::Kind::ALL.iter().find(|known| known.as_str() == told.kind);
        let known = known.unwrap_or_else(|| panic!("{}: no such kind", told.kind));
        let causes = known.explanation().causes;
        assert!(causes.iter().any(|cause| cause.word == told.cause), "{}: no cause {}", told.kind, told.cause);
    }
}
