//! The kernel side as the agent sees it: what this kernel can do, what to do about it, doing it, and reading what
//! comes.
//!
//! The only user of aya. Facts come first ([`Support`], with [`Tracefs`] in place), then a pure decision ([`Plan`]),
//! then the effect ([`Tracer`]).

mod attach;
mod bpf;
mod btf;
mod features;
mod firing;
mod hook;
mod lockdown;
mod losses;
mod messages;
mod plan;
mod pod;
mod preemption;
mod record;
mod refused;
mod rings;
mod support;
mod tracefs;
mod trampoline;

pub use attach::{Look, Options, Stop, Tracer, enable_statistics};
pub use features::{Feature, Need};
pub use plan::{Backend, BackendChoice, PROBES, Plan, ProbeSpec, Refusal, not_watched};
pub use support::{Support, kernel_version};
pub use tracefs::{Found, Tracefs};

/// The compiled kernel programs, compressed; `None` in a binary that was built without the BPF toolchain.
#[cfg(bpf_built)]
const OBJECT: Option<&[u8]> = Some(include_bytes!(concat!(env!("OUT_DIR"), "/tracer-ebpf.zst")));
/// The compiled kernel programs, compressed; `None` in a binary that was built without the BPF toolchain.
#[cfg(not(bpf_built))]
const OBJECT: Option<&[u8]> = None;
