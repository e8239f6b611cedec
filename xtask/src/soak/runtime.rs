//! A stand-in for runc: this program under that name. It makes the cgroup of the container that it is told to run, removes it, and
//! runs nothing in it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

/// What it is called by.
pub const NAME: &str = "runc";
/// The variable that says in which cgroup the containers' are made.
pub const CGROUPS: &str = "CGTRACE_SOAK_CGROUPS";
/// The variable that holds a [`Teardown`].
pub const TEARDOWN: &str = "CGTRACE_SOAK_TEARDOWN";
/// So long a process in a mount namespace of its own can be asked for what it sees there.
const APART: Duration = Duration::from_millis(50);

/// How it removes the cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teardown {
    /// Once.
    Once,
    /// Once more, when it is gone.
    Twice,
    /// Once more, from a mount namespace of its own.
    Apart,
}

impl Teardown {
    const ALL: [Self; 3] = [Self::Once, Self::Twice, Self::Apart];

    /// The variable's value.
    pub fn word(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Twice => "twice",
            Self::Apart => "apart",
        }
    }
}

/// Plays the runtime, if this program was called by its name.
pub fn play() -> Option<ExitCode> {
    let mut words = std::env::args_os();
    let is_runtime = |program: &OsStr| Path::new(program).file_name() == Some(OsStr::new(NAME));
    words.next().filter(|program| is_runtime(program))?;
    Some(match words.next_back().context("no container is named").and_then(|id| run(Path::new(&id))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    })
}

fn run(id: &Path) -> anyhow::Result<()> {
    let cgroups = PathBuf::from(std::env::var_os(CGROUPS).with_context(|| format!("{CGROUPS} is not set"))?);
    let word = std::env::var(TEARDOWN).with_context(|| format!("{TEARDOWN} is not set"))?;
    let teardown = Teardown::ALL.into_iter().find(|teardown| teardown.word() == word);
    let teardown = teardown.with_context(|| format!("{TEARDOWN} is {word:?}"))?;
    let cgroup = cgroups.join(id);
    std::fs::create_dir(&cgroup).with_context(|| format!("failed to make {}", cgroup.display()))?;
    std::fs::remove_dir(&cgroup).with_context(|| format!("failed to remove {}", cgroup.display()))?;
    if teardown == Teardown::Once {
        return Ok(());
    }
    // SAFETY: a call without memory, in a process of one thread.
    if teardown == Teardown::Apart && unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(std::io::Error::last_os_error()).context("failed to leave the mount namespace");
    }
    // It fails: that is what is told.
    let _ = std::fs::remove_dir(&cgroup);
    if teardown == Teardown::Apart {
        std::thread::sleep(APART);
    }
    Ok(())
}
