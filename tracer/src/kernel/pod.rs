//! Values of maps.

use tracer_ebpf::{Above, Begun, Denied, Prefix, Watched};

/// Lets aya take a wire type for what it is: plain bytes.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Pod<T>(pub T);

// SAFETY: a prefix is numbers and bytes without padding; every value is valid.
unsafe impl aya::Pod for Pod<Prefix> {}
// SAFETY: likewise.
unsafe impl aya::Pod for Pod<Watched> {}
// SAFETY: likewise.
unsafe impl aya::Pod for Pod<Above> {}
// SAFETY: likewise.
unsafe impl aya::Pod for Pod<Denied> {}
// SAFETY: likewise.
unsafe impl aya::Pod for Pod<Begun> {}
