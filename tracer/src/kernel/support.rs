//! What this kernel and this user can trace: facts, gathered without changing anything.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use anyhow::Context;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;

use super::btf::{Btf, VMLINUX};
use crate::process::{self, Capabilities};
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
    /// Whether trampolines (fexit) work; else why they do not.
    pub trampolines: Result<(), String>,
}

impl Support {
    /// Finds out.
    pub fn survey(tracefs: &Tracefs) -> Self {
        let release = process::system().kernel;
        let bytes = fs::read(VMLINUX).unwrap_or_default();
        let btf = Btf::parse(&bytes);
        let find = |btf: &Btf| offset::TABLE.iter().map(|(structure, member)| btf.member(structure, member)).collect();
        Self {
            version: parse_version(&release),
            release,
            built: super::OBJECT.is_some(),
            capabilities: process::capabilities(),
            offsets: btf.as_ref().map(find).unwrap_or_default(),
            tracefs: tracefs.is_usable(),
            tracefs_private: tracefs.original.is_some(),
            lockdown: lockdown(),
            trampolines: match &btf {
                Some(btf) => try_trampoline(btf),
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
    parse_version(&process::system().kernel)
}

fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The word in brackets of `none [integrity] confidentiality`.
fn lockdown() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// The name of a system call's function in the kernel.
pub(super) fn syscall_function(name: &str) -> String {
    let prefix = if cfg!(target_arch = "aarch64") { "__arm64_sys_" } else { "__x64_sys_" };
    format!("{prefix}{name}")
}

/// Loads and attaches an empty trampoline for a moment: nothing less tells whether it works.
fn try_trampoline(btf: &Btf) -> Result<(), String> {
    const PROG_LOAD: i64 = 5;
    const RAW_TRACEPOINT_OPEN: i64 = 17;
    const PROG_TYPE_TRACING: u32 = 26;
    const TRACE_FEXIT: u32 = 25;
    // r0 = 0; exit
    const PROGRAM: [u64; 2] = [0xb7, 0x95];
    let function = syscall_function("mkdirat");
    let id = btf.function(&function).ok_or_else(|| format!("the kernel's BTF has no {function}"))?;
    let licence = c"GPL";
    let mut attribute = [0u8; 144];
    let mut put = |at: usize, bytes: &[u8]| attribute[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &PROG_TYPE_TRACING.to_ne_bytes());
    put(4, &(PROGRAM.len() as u32).to_ne_bytes());
    put(8, &(PROGRAM.as_ptr() as u64).to_ne_bytes());
    put(16, &(licence.as_ptr() as u64).to_ne_bytes());
    put(68, &TRACE_FEXIT.to_ne_bytes());
    put(108, &id.to_ne_bytes());
    let program =
        bpf(PROG_LOAD, &attribute).map_err(|error| format!("fexit on {function} cannot be loaded: {error}"))?;
    let mut attribute = [0u8; 144];
    attribute[8..12].copy_from_slice(&program.as_raw_fd().to_ne_bytes());
    let link = bpf(RAW_TRACEPOINT_OPEN, &attribute);
    link.map(drop).map_err(|error| format!("fexit on {function} cannot be attached: {error}"))
}

fn bpf(command: i64, attribute: &[u8; 144]) -> std::io::Result<OwnedFd> {
    // SAFETY: the attribute is laid out as `union bpf_attr`, and what it points to lives through the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attribute.as_ptr(), attribute.len()) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The places where tracefs is looked for.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Sees to it that tracefs is there while probes are attached.
///
/// Where it is not mounted, this thread goes to a private mount namespace in which it is, and back when this value is
/// dropped: neither the host nor another thread sees anything of it.
pub struct Tracefs {
    usable: bool,
    /// Where to go back to.
    original: Option<Place>,
}

/// Where a thread is: setns(2) to a mount namespace loses the other two.
struct Place {
    namespace: OwnedFd,
    root: OwnedFd,
    working_directory: OwnedFd,
}

impl Tracefs {
    /// Looks for tracefs, and mounts it privately where it is not. Failure is a value: [`Tracefs::is_usable`].
    pub fn ensure() -> Self {
        let mounted = || TRACEFS.iter().any(|place| Path::new(place).join("events/cgroup").exists());
        if mounted() {
            return Self { usable: true, original: None };
        }
        match Self::mount_privately() {
            Ok(original) => Self { usable: mounted(), original: Some(original) },
            Err(_) => Self { usable: false, original: None },
        }
    }

    /// Whether tracepoints can be looked up.
    pub fn is_usable(&self) -> bool {
        self.usable
    }

    fn mount_privately() -> anyhow::Result<Place> {
        let original = Place::here().context("failed to open the mount namespace")?;
        // SAFETY: no descriptor table is unshared, and nothing relies on the mount namespace staying the same.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.context("failed to make a mount namespace")?;
        let mount = || -> anyhow::Result<()> {
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private).context("failed to make mounts private")?;
            rustix::mount::mount("tracefs", TRACEFS[0], "tracefs", MountFlags::empty(), None::<&std::ffi::CStr>)
                .context("failed to mount tracefs")
        };
        mount().inspect_err(|_| original.go_back())?;
        Ok(original)
    }
}

impl Drop for Tracefs {
    fn drop(&mut self) {
        if let Some(original) = &self.original {
            original.go_back();
        }
    }
}

impl Place {
    fn here() -> std::io::Result<Self> {
        let open = |path: &str| fs::File::open(path).map(OwnedFd::from);
        Ok(Self { namespace: open("/proc/self/ns/mnt")?, root: open("/")?, working_directory: open(".")? })
    }

    fn go_back(&self) {
        let kind = rustix::thread::LinkNameSpaceType::Mount;
        // Should it fail, the private namespace, which has all mounts of the original one, stays in use.
        if rustix::thread::move_into_link_name_space(self.namespace.as_fd(), Some(kind)).is_ok() {
            let _ = rustix::process::fchdir(&self.root).and_then(|()| rustix::process::chroot("."));
            let _ = rustix::process::fchdir(&self.working_directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_all_kinds_of_releases() {
        assert_eq!(parse_version("6.18.44-fc-v782"), Some((6, 18)));
        assert_eq!(parse_version("5.15.0-91-generic"), Some((5, 15)));
        assert_eq!(parse_version("7.3"), Some((7, 3)));
        assert_eq!(parse_version("linux"), None);
    }
}
