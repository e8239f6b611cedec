//! tracefs, there while probes are attached: mounted where nobody else sees it, if it has to be.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::Context;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;

use crate::process;

/// The places where tracefs is looked for.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Sees to it that tracefs is there while probes are attached.
///
/// Where it is not mounted, this thread goes to a private mount namespace in which it is, and back when this value is
/// dropped: neither the host nor another thread sees anything of it.
pub struct Tracefs {
    usable: bool,
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

    /// Whether it had to be mounted in a private mount namespace.
    pub fn is_private(&self) -> bool {
        self.original.is_some()
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

impl Drop for Tracefs {
    fn drop(&mut self) {
        if let Some(original) = &self.original {
            original.go_back();
        }
    }
}

impl Origin {
    fn here() -> std::io::Result<Self> {
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
