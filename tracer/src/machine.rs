//! A machine that LXC or systemd-nspawn starts, as a command line tells it. Pure: what is kept of it is read by
//! [`crate::bundle`].

use crate::lxc;
use crate::name::Name;
use crate::nspawn;

/// What starts it, and what was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Machine {
    /// LXC's.
    Lxc(lxc::Start),
    /// systemd-nspawn's.
    Nspawn(nspawn::Start),
}

impl Machine {
    /// The one that a command line starts.
    pub fn started_by(argv: &[Name]) -> Option<Self> {
        lxc::start(argv).map(Self::Lxc).or_else(|| nspawn::start(argv).map(Self::Nspawn))
    }

    /// The runtime, by the registry's name.
    pub fn runtime(&self) -> &'static str {
        match self {
            Self::Lxc(_) => "lxc",
            Self::Nspawn(_) => "nspawn",
        }
    }

    /// What it is called.
    pub fn id(&self) -> &Name {
        match self {
            Self::Lxc(start) => &start.name,
            Self::Nspawn(start) => &start.name,
        }
    }
}

/// Whether a runtime's machines may be called like the containers of others: those have a list of names of their own.
pub fn is_of_machines(runtime: &str) -> bool {
    matches!(runtime, "lxc" | "libvirt-lxc" | "nspawn")
}
