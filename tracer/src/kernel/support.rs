//! What this kernel and this user can trace: facts. They are read; what only a try can tell is tried in [`trampoline`],
//! and what has to be mounted is mounted before, by [`Tracefs`].

use std::fs;

use super::btf::Excerpt;
use super::preemption;
use super::tracefs::Tracefs;
use super::trampoline;
use crate::hierarchy::Preemption;
use crate::process::{self, Capabilities};
use crate::release::Version;
use tracer_ebpf::offset;

/// What this kernel and this user can trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Support {
    /// `uname -r`.
    pub release: String,
    /// Its first two numbers; `None` if it has none.
    pub version: Option<(u32, u32)>,
    /// This binary contains the kernel programs.
    pub built: bool,
    /// Effective capabilities.
    pub capabilities: Capabilities,
    /// Offsets in the kernel's structures, in the order of [`offset::TABLE`]; empty without BTF.
    pub offsets: Vec<Option<u32>>,
    /// Tracepoints can be looked up in tracefs, mounted or in a private mount namespace.
    pub tracefs: bool,
    /// For that, it had to be mounted in a private mount namespace.
    pub tracefs_private: bool,
    /// `none`, `integrity` or `confidentiality`; `None` if that is not told.
    pub lockdown: Option<String>,
    /// When this kernel preempts tasks in kernel code; `None` if that cannot be told.
    pub preemption: Option<Preemption>,
    /// Whether trampolines (fexit) work; else why they do not.
    pub trampolines: Result<(), String>,
}

impl Support {
    /// Finds out.
    pub fn survey(tracefs: &Tracefs) -> Self {
        let release = process::system().kernel;
        let btf = Excerpt::of_this_kernel();
        Self {
            version: version_of(&release),
            preemption: preemption::of_this_kernel(&release),
            release,
            built: super::OBJECT.is_some(),
            capabilities: process::capabilities(),
            offsets: btf.map(|btf| btf.offsets.clone()).unwrap_or_default(),
            tracefs: tracefs.is_usable(),
            tracefs_private: tracefs.is_private(),
            lockdown: lockdown(),
            trampolines: match btf {
                Some(btf) => trampoline::try_out(btf),
                None => Err("the kernel has no BTF".to_owned()),
            },
        }
    }

    /// Whether all offsets of a feature are known.
    pub fn knows(&self, feature: &[usize]) -> bool {
        feature.iter().all(|index| self.offsets.get(*index).is_some_and(Option::is_some))
    }

    /// The offsets that this kernel's BTF does not have, as `structure.member`.
    pub fn missing_offsets(&self) -> Vec<String> {
        let all = offset::TABLE.iter().zip(&self.offsets).filter(|(_, found)| found.is_none());
        all.map(|((structure, member), _)| format!("{structure}.{member}")).collect()
    }

    /// Lockdown forbids reading kernel memory.
    pub fn is_confidential(&self) -> bool {
        self.lockdown.as_deref() == Some("confidentiality")
    }

    /// The kernel has BTF.
    pub fn has_btf(&self) -> bool {
        !self.offsets.is_empty()
    }
}

/// The version of the running kernel; `None` if its release does not begin with one.
pub fn kernel_version() -> Option<(u32, u32)> {
    version_of(&process::system().kernel)
}

fn version_of(release: &str) -> Option<(u32, u32)> {
    Version::of(release).map(|own| (own.major, own.minor))
}

/// The word in brackets of `none [integrity] confidentiality`.
fn lockdown() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}
