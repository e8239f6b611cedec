//! The actors: this program under the name `demo-runc`, making the system calls that runc makes.
//!
//! The sequences are those of rootless runc 1.2.1 (runc#4518): a look that finds nothing, the creation, which a
//! read-only mount refuses; then, in another process, two looks, the removal, the opening of the directory. One that
//! copes takes "it is not there" for success and drops its state, as runc does since 1.2.2; one that does not fails and
//! leaves its state behind.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::{env, fs};

use anyhow::{Context, bail};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// What an actor is called. Programs whose name ends in `-runc` are taken for runc, as `buildkit-runc` is.
const NAME: &str = "demo-runc";
/// Set for an actor that copes.
const COPES: &str = "CGTRACE_DEMO_COPES";
/// Set for an actor that waits for the go.
const RACES: &str = "CGTRACE_DEMO_RACES";
const CGROUPFS: &str = "/sys/fs/cgroup";

/// What an actor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Makes a container's cgroup, runs in it, and keeps the container.
    Run,
    /// Deletes the container.
    Delete,
    /// Deletes it when it is given the go.
    Race,
}

/// The command that plays a part, its state below `root`.
pub(super) fn command(part: Part, root: &Path, id: &str, copes: bool) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("/proc/self/exe");
    command.arg0(NAME).arg("--root").arg(root);
    match part {
        Part::Run => command.args(["run", "--keep", id]),
        Part::Delete | Part::Race => command.args(["delete", id]),
    };
    if copes {
        command.env(COPES, "1");
    }
    if part == Part::Race {
        command.env(RACES, "1");
    }
    command
}

/// Waits for a racing actor to be ready.
pub(super) fn wait_until_ready(actor: &mut Child) -> anyhow::Result<()> {
    let stdout = actor.stdout.as_mut().context("a racing actor has a pipe")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).context("failed to hear from an actor")?;
    Ok(())
}

/// Makes this process, and those it starts, deaf to SIGINT and SIGTERM.
pub(super) fn ignore_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: ignoring a signal runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// If this process is an actor: plays its part.
pub fn play_a_part() -> Option<ExitCode> {
    let mut arguments = env::args_os();
    if arguments.next()? != NAME {
        return None;
    }
    let arguments: Vec<String> = arguments.map(|argument| argument.to_string_lossy().into_owned()).collect();
    Some(match act(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{NAME}: {error:#}");
            ExitCode::FAILURE
        }
    })
}

fn act(arguments: &[String]) -> anyhow::Result<()> {
    // The kernel named this process after the file it was started from.
    let _ = rustix::thread::set_name(c"demo-runc");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["--root", root, "run", "--keep", id] => run(&Container::new(root, id)?),
        ["--root", root, "delete", id] => delete(&Container::new(root, id)?),
        _ => bail!("this name is for the actors of `cgtrace demo`"),
    }
}

struct Container {
    id: String,
    state: PathBuf,
    cgroupfs: OwnedFd,
}

impl Container {
    fn new(root: &str, id: &str) -> anyhow::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let cgroupfs = rustix::fs::open(CGROUPFS, flags, Mode::empty()).context("failed to open cgroupfs")?;
        Ok(Self { id: id.to_owned(), state: Path::new(root).join(id), cgroupfs })
    }

    fn path(&self) -> String {
        format!("{CGROUPFS}/{}", self.id)
    }

    /// Opens a file below cgroupfs as runc does, relative to a descriptor of it.
    fn look(&self, file: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        openat2(&self.cgroupfs, file, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::BENEATH)
    }
}

fn run(container: &Container) -> anyhow::Result<()> {
    let _ = container.look(&format!("{}/cgroup.freeze", container.id), OFlags::RDONLY);
    let _ = container.look("cgroup.subtree_control", OFlags::WRONLY);
    // Rootless runc carries on without a cgroup.
    if rustix::fs::mkdirat(CWD, container.path(), Mode::from_raw_mode(0o755)).is_ok() {
        // The container: this process itself, which leaves the cgroup by ending.
        fs::write(format!("{}/cgroup.procs", container.path()), "0").context("failed to enter the cgroup")?;
    }
    fs::create_dir_all(&container.state).context("failed to keep state")?;
    fs::write(container.state.join("state.json"), "{}").context("failed to keep state")
}

fn delete(container: &Container) -> anyhow::Result<()> {
    if env::var_os(RACES).is_some() {
        println!("ready");
        let mut nothing = Vec::new();
        io::stdin().read_to_end(&mut nothing).context("failed to wait for the go")?;
    }
    for _ in 0..2 {
        let _ = container.look(&format!("{}/cgroup.freeze", container.id), OFlags::RDONLY);
    }
    if rustix::fs::unlinkat(CWD, container.path(), AtFlags::REMOVEDIR).is_err() {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, container.path(), flags, Mode::empty()) {
            Err(Errno::NOENT) if env::var_os(COPES).is_some() => {}
            Err(error) => bail!(
                "unable to destroy container: unable to remove container's cgroup: open {}: {error}",
                container.path()
            ),
            Ok(_) => bail!("unable to destroy container: {} is still there", container.path()),
        }
    }
    fs::remove_dir_all(&container.state).context("failed to drop the state")
}
