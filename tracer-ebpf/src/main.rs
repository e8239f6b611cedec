//! The kernel programs.
//!
//! * [`lifecycle`]: the `cgroup:*` tracepoints, which fire on success only.
//! * [`attempts`]: failed system calls that concern cgroupfs, seen on their way out.
//! * [`writes`]: writes to control files, seen where they end in one function of the kernel.
//! * [`in_flight`]: calls that have not returned.
//! * [`actors`]: the processes behind all of them.
//!
//! On the host this crate is only its wire types; the programs are built for `bpfel-unknown-none`.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

/// Says something to whoever debugs the programs (`CGTRACE_BPF_LOG=1`), and is nothing else.
#[cfg(target_arch = "bpf")]
macro_rules! debug {
    ($ctx:expr, $($message:tt)*) => {
        #[cfg(feature = "log")]
        aya_log_ebpf::debug!($ctx, $($message)*);
        #[cfg(not(feature = "log"))]
        let _ = $ctx;
    };
}

#[cfg(target_arch = "bpf")]
mod actors;
#[cfg(target_arch = "bpf")]
mod attempts;
#[cfg(target_arch = "bpf")]
mod in_flight;
#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod lifecycle;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod writes;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// Some helpers are for programs under a licence that is compatible with the GPL.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
