//! The stage: a process in a mount namespace of its own, with one scratch cgroup.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;
use tempfile::TempDir;

use super::actors::{self, Part};
use super::bundle;
use super::{Scenario, is_installed};

/// Where runtimes look for cgroupfs.
const CGROUPFS: &str = "/sys/fs/cgroup";
/// The stage is left as it is for so long.
const AFTERMATH: Duration = Duration::from_millis(300);
/// How long a container of the play lives.
const LIFE: Duration = Duration::from_millis(30);
/// The last processes of a scratch cgroup have this long to be gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// Plays a scenario in a scratch cgroup of that name, below the root of cgroup2. The name is then gone again.
pub fn play(scenario: Scenario, scratch: &str) -> ExitCode {
    super::status(try_to_play(scenario, scratch))
}

fn try_to_play(scenario: Scenario, scratch: &str) -> anyhow::Result<()> {
    // Whoever ends the demo ends it from outside: what was begun here is cleaned up first.
    actors::ignore_signals();
    let stage = Stage::new(scratch)?;
    let played = stage.play(scenario);
    // As on a real host, what the actors left behind is still there when the tracer looks for it.
    std::thread::sleep(AFTERMATH);
    let removed = stage.remove();
    played.and(removed)
}

/// A private view of cgroupfs, in which the scratch cgroup is all there is.
struct Stage {
    root: OwnedFd,
    scratch: String,
    /// Where the actors and runtimes keep their state.
    state: TempDir,
}

impl Stage {
    fn new(scratch: &str) -> anyhow::Result<Self> {
        // SAFETY: no descriptor table is unshared, and nothing relies on the mount namespace staying the same.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.context("failed to make a mount namespace")?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).context("failed to make mounts private")?;
        match rustix::mount::mount("cgroup2", CGROUPFS, "cgroup2", MountFlags::empty(), None::<&std::ffi::CStr>) {
            // It is busy where cgroup2 is mounted there already.
            Ok(()) | Err(Errno::BUSY) => {}
            Err(error) => return Err(error).context("failed to mount cgroup2"),
        }
        let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(CGROUPFS, directory, Mode::empty()).context("failed to open cgroup2")?;
        rustix::fs::mkdirat(&root, scratch, Mode::from_raw_mode(0o755)).context("failed to make the scratch cgroup")?;
        let state = tempfile::Builder::new().prefix("cgtrace-demo-").tempdir().context("failed to make a directory");
        let stage = Self { root, scratch: scratch.to_owned(), state: state? };
        let covered = rustix::mount::mount_bind(Path::new(CGROUPFS).join(scratch), CGROUPFS);
        covered.context("failed to mount the scratch cgroup")?;
        Ok(stage)
    }

    fn play(&self, scenario: Scenario) -> anyhow::Result<()> {
        let id = container_id();
        match scenario {
            Scenario::Duplicate => {
                self.run(&id)?;
                let mut first = self.actor(Part::Race, &id, false)?;
                let mut second = self.actor(Part::Race, &id, false)?;
                // Both stand ready when they have said so; the go is the closing of their input.
                for actor in [&mut first, &mut second] {
                    actors::wait_until_ready(actor)?;
                }
                drop((first.stdin.take(), second.stdin.take()));
                first.wait()?;
                second.wait()?;
            }
            Scenario::MissingPath | Scenario::MissingPathBenign => {
                self.make_read_only()?;
                self.run(&id)?;
                self.actor(Part::Delete, &id, scenario == Scenario::MissingPathBenign)?.wait()?;
            }
            Scenario::Runc => {
                let bundle = bundle::Bundle::new(self.state.path(), &["/bin/sh", "-c", "exit 0"])?;
                let runc = |arguments: &[&str]| self.runtime("runc", &bundle, arguments);
                let healthy = container_id();
                runc(&["run", "--keep", &healthy])?;
                runc(&["delete", &healthy])?;
                self.make_read_only()?;
                runc(&["--rootless=true", "run", "--keep", &id])?;
                runc(&["delete", &id])?;
            }
        }
        Ok(())
    }

    /// Makes a container, which lives for a moment: its state is as old as a real one's when somebody looks at what is
    /// left.
    fn run(&self, id: &str) -> anyhow::Result<()> {
        self.actor(Part::Run, id, false)?.wait()?;
        std::thread::sleep(LIFE);
        Ok(())
    }

    fn make_read_only(&self) -> anyhow::Result<()> {
        rustix::mount::mount_remount(CGROUPFS, MountFlags::BIND | MountFlags::RDONLY, c"")
            .context("failed to make cgroupfs read-only")
    }

    /// An actor is this program under another name.
    fn actor(&self, part: Part, id: &str, copes: bool) -> anyhow::Result<Child> {
        let root = self.state.path().join("demo-runc");
        let mut command = actors::command(part, &root, id, copes);
        command.stdin(if part == Part::Race { Stdio::piped() } else { Stdio::null() });
        command.stdout(if part == Part::Race { Stdio::piped() } else { Stdio::inherit() });
        command.spawn().context("failed to start an actor")
    }

    /// Runs a real runtime in the bundle, with its state in our own directory. That it fails is part of the play.
    fn runtime(&self, program: &str, bundle: &bundle::Bundle, arguments: &[&str]) -> anyhow::Result<()> {
        if !is_installed(program) {
            bail!("{program} is not installed");
        }
        let root = self.state.path().join("state");
        let mut command = Command::new(program);
        command.arg("--root").arg(root).args(arguments).current_dir(bundle.path()).stdin(Stdio::null());
        let done = command.status().with_context(|| format!("failed to run {program}"))?;
        if !done.success() {
            let _ = writeln!(std::io::stderr(), "{program} {}: {done}", arguments.join(" "));
        }
        Ok(())
    }

    /// Removes the scratch cgroup and all below it.
    fn remove(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            match remove_below(&self.root, &self.scratch) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::BUSY) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => {
                    return Err(error).with_context(|| format!("failed to remove the scratch cgroup {}", self.scratch));
                }
            }
        }
    }
}

fn remove_below(parent: &OwnedFd, name: &str) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&directory)? {
        let entry = entry?;
        let Ok(child) = entry.file_name().to_str() else { continue };
        if entry.file_type() == rustix::fs::FileType::Directory && child != "." && child != ".." {
            remove_below(&directory, child)?;
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Twenty-five characters of `[0-9a-z]`, as BuildKit makes them.
fn container_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let digit = |_| DIGITS[(RandomState::new().hash_one(fs::read("/proc/uptime").ok()) % 36) as usize] as char;
    (0..25).map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids_are_as_buildkit_makes_them() {
        let (one, other) = (container_id(), container_id());
        assert_eq!(one.len(), 25);
        assert_ne!(one, other);
        assert!(one.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase()));
    }
}
