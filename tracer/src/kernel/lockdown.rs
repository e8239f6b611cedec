//! What the kernel keeps from root, too.

use std::fs;

/// The mode in which no program may read the kernel's memory.
pub(super) const CONFIDENTIALITY: &str = "confidentiality";

/// The kernel's lockdown mode: `none`, `integrity` or `confidentiality`. `None` if securityfs is not mounted.
pub(super) fn mode() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}
