//! What this kernel and this user can trace: facts. They are read; what only a try can tell is tried in [`trampoline`],
//! and what has to be mounted is mounted before, by [`Tracefs`].

use super::btf::Excerpt;
use super::features::{self, Feature};
use super::lockdown;
use super::preemption;
use super::tracefs::{self, Tracefs};
use super::trampoline;
use crate::hierarchy::Preemption;
use crate::process::{self, Capabilities, Capability};
use crate::release::Version;
use tracer_ebpf::{feature, offset};

/// What this kernel and this user can trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Support {
    /// `uname -r`.
    pub release: String,
    /// This binary contains the kernel programs.
    pub built: bool,
    /// Effective capabilities.
    pub capabilities: Capabilities,
    /// What the programs cannot do without.
    pub features: Vec<Feature>,
    /// Offsets in the kernel's structures, in the order of [`offset::TABLE`]; empty without BTF.
    pub offsets: Vec<Option<u32>>,
    /// Whether tracepoints can be looked up in tracefs.
    pub tracefs: tracefs::Found,
    /// `none`, `integrity` or `confidentiality`; `None` if that is not told.
    pub lockdown: Option<String>,
    /// When this kernel preempts tasks in kernel code; `None` if that cannot be told.
    pub preemption: Option<Preemption>,
    /// Whether trampolines (fexit) work; else why they do not.
    pub trampolines: Result<(), String>,
}

impl Support {
    /// What is found where nothing is missing.
    #[cfg(test)]
    pub(crate) fn of_a_good_host() -> Self {
        Self {
            release: "6.18.1".into(),
            built: true,
            capabilities: Capabilities(u64::MAX),
            features: features::Need::ALL.map(|need| Feature { need, found: Ok(()) }).into(),
            offsets: vec![Some(8); offset::COUNT],
            tracefs: tracefs::Found::Mounted,
            lockdown: Some("none".into()),
            preemption: Some(Preemption::Voluntary),
            trampolines: Ok(()),
        }
    }

    /// Finds out.
    pub fn survey(tracefs: &Tracefs) -> Self {
        let release = process::system().kernel;
        let btf = Excerpt::of_this_kernel();
        Self {
            preemption: preemption::of_this_kernel(&release),
            release,
            built: super::OBJECT.is_some(),
            capabilities: process::capabilities(),
            offsets: btf.map(|btf| btf.offsets.clone()).unwrap_or_default(),
            features: features::try_out(),
            tracefs: tracefs.found(),
            lockdown: lockdown::mode(),
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

    /// Whether this user may load programs.
    pub fn may_load(&self) -> bool {
        [Capability::Bpf, Capability::Perfmon].into_iter().all(|capability| self.capabilities.has(capability))
    }

    /// Lifecycle events can be read by raw tracepoints, with no need of tracefs.
    pub fn has_raw_lifecycle(&self) -> bool {
        self.knows(feature::RAW_LIFECYCLE)
    }

    /// Lockdown forbids reading kernel memory.
    pub fn is_confidential(&self) -> bool {
        self.lockdown.as_deref() == Some(lockdown::CONFIDENTIALITY)
    }

    /// The kernel has BTF.
    pub fn has_btf(&self) -> bool {
        !self.offsets.is_empty()
    }
}

/// The version of the running kernel; `None` if its release does not begin with one.
pub fn kernel_version() -> Option<(u32, u32)> {
    Version::of(&process::system().kernel).map(|own| (own.major, own.minor))
}
