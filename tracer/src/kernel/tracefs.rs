//! tracefs, there while probes are attached: mounted where nobody else sees it, if it has to be.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::Context;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;

use super::lockdown;
use crate::process;
use tracer_ebpf::{Field, classic};

/// The places where tracefs is looked for.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Whether tracepoints can be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is mounted.
    Mounted,
    /// It is not, and was mounted in a private mount namespace.
    Private,
    /// It is mounted, and this user may not look into it.
    Denied,
    /// It is mounted and has no cgroup events: lockdown empties it.
    Empty,
    /// It is not mounted, and could not be.
    Missing,
}

impl Found {
    /// Whether tracepoints can be looked up.
    pub fn is_usable(self) -> bool {
        match self {
            Self::Mounted | Self::Private => true,
            Self::Denied | Self::Empty | Self::Missing => false,
        }
    }
}

/// Sees to it that tracefs is there while probes are attached.
///
/// Where it is not mounted, this thread goes to a private mount namespace in which it is, and back when this value is
/// dropped: neither the host nor another thread sees anything of it.
pub struct Tracefs {
    found: Found,
    /// Where to go back to.
    original: Option<Origin>,
}

/// Where a thread was before: setns(2) to a mount namespace loses the other two.
struct Origin {
    namespace: OwnedFd,
    root: OwnedFd,
    working_directory: OwnedFd,
}

impl Tracefs {
    /// Looks for tracefs, and mounts it privately where it is not. Failure is a value: [`Tracefs::found`].
    pub fn ensure() -> Self {
        if let Some(found) = look() {
            return Self { found, original: None };
        }
        // It would be empty, and Linux 6.12 and 7.3 crash when one that was mounted then is unmounted.
        if lockdown::mode().as_deref() == Some(lockdown::CONFIDENTIALITY) {
            return Self { found: Found::Missing, original: None };
        }
        match Self::mount_privately() {
            Ok(original) => {
                let found = if look() == Some(Found::Mounted) { Found::Private } else { Found::Empty };
                Self { found, original: Some(original) }
            }
            Err(_) => Self { found: Found::Missing, original: None },
        }
    }

    /// Whether tracepoints can be looked up.
    pub fn found(&self) -> Found {
        self.found
    }

    fn mount_privately() -> anyhow::Result<Origin> {
        let original = Origin::here().context("failed to open the mount namespace")?;
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

/// Whether a `cgroup:` tracepoint's record is what its program takes it for.
///
/// # Errors
/// When its format cannot be read, or is another one.
pub(super) fn check_format(tracepoint: &str) -> anyhow::Result<()> {
    let read = |place: &str| fs::read_to_string(Path::new(place).join("events/cgroup").join(tracepoint).join("format"));
    let [first, second] = TRACEFS.map(read);
    match difference(tracepoint, &first.or(second).context("failed to read its format in tracefs")?) {
        None => Ok(()),
        Some(difference) => anyhow::bail!("this kernel has another format: {difference}"),
    }
}

/// How a tracepoint's format differs from what its program reads; `None` if it does not.
fn difference(tracepoint: &str, format: &str) -> Option<String> {
    classic::fields(tracepoint).into_iter().find_map(|Field { name, offset }| {
        let line = format.lines().find(|line| {
            let declared = line.trim_start().strip_prefix("field:").and_then(|rest| rest.split(';').next());
            declared.is_some_and(|declared| declared.split_whitespace().last() == Some(name))
        });
        let offset_of = |line: &str| line.split_once("offset:")?.1.split(';').next()?.parse::<usize>().ok();
        let found = line.and_then(offset_of);
        (found != Some(offset)).then(|| match found {
            Some(found) => format!("{name} lies at {found}, not at {offset}"),
            None => format!("{name} lies nowhere"),
        })
    })
}

/// `None` if it is not mounted.
fn look() -> Option<Found> {
    const MAGIC: u64 = 0x7472_6163;
    let events = TRACEFS.map(|place| fs::metadata(Path::new(place).join("events/cgroup")));
    if events.iter().any(Result::is_ok) {
        return Some(Found::Mounted);
    }
    rustix::fs::statfs(TRACEFS[0]).ok().filter(|there| there.f_type as u64 == MAGIC)?;
    let is_denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let [first, _] = events;
    Some(if first.err().as_ref().is_some_and(is_denied) { Found::Denied } else { Found::Empty })
}

impl Drop for Tracefs {
    fn drop(&mut self) {
        if let Some(original) = &self.original {
            original.go_back();
        }
    }
}

impl Origin {
    fn here() -> io::Result<Self> {
        let open = |path: &str| File::open(path).map(OwnedFd::from);
        Ok(Self { namespace: process::own_mount_namespace()?, root: open("/")?, working_directory: open(".")? })
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
    fn a_tracepoint_whose_fields_lie_elsewhere_is_noticed() {
        let format = "name: cgroup_mkdir\nformat:\n\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n\
                      \tfield:int root;\toffset:8;\tsize:4;\tsigned:1;\n\tfield:int level;\toffset:12;\tsize:4;\n\
                      \tfield:u64 id;\toffset:16;\tsize:8;\n\tfield:__data_loc char[] path;\toffset:24;\tsize:4;\n";
        assert_eq!(difference("cgroup_mkdir", format), None);
        assert_eq!(difference("cgroup_notify_frozen", format).as_deref(), Some("val lies nowhere"));
        // Before 5.5 the id was an int.
        let old = format.replace("offset:16", "offset:12").replace("level;\toffset:12", "level;\toffset:16");
        assert_eq!(difference("cgroup_mkdir", &old).as_deref(), Some("level lies at 16, not at 12"));
    }
}
