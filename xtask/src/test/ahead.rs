//! What later steps need is built while tests run, on processors that would have nothing else to do: most tests on the
//! kernel wait for something. The later steps then find it built.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

use crate::{build, fuzz, root, step};

/// A build that goes on. It ends with this.
pub struct Ahead(Child);

/// Builds all that is built later, until it cannot: whoever needs it says why.
pub fn build_all() -> anyhow::Result<()> {
    build()?;
    fuzz::build()?;
    Ok(())
}

fn log() -> PathBuf {
    root().join("target/ahead.log")
}

impl Ahead {
    /// Begins, in a process group of its own that any other task comes before.
    pub fn start() -> anyhow::Result<Self> {
        let log = File::create(log()).context("failed to make a log of what is built ahead")?;
        let mut command = Command::new("chrt");
        command.args(["--idle", "0"]).arg(std::env::current_exe().context("failed to find this program")?).arg("ahead");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        Ok(Self(command.spawn().context("failed to run chrt\nhint: it is in Debian's util-linux")?))
    }

    /// Stops it while tests measure what nobody may disturb.
    pub fn pause(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Waits for its end. That it failed is no failure: who needs it builds it again, and says why it cannot be built.
    pub fn finish(mut self) -> anyhow::Result<()> {
        step("building what the next steps need");
        let status = self.0.wait().context("failed to wait for what is built ahead")?;
        if !status.success() {
            eprintln!("note: {} says why it could not be built ahead", log().display());
        }
        Ok(())
    }

    fn signal(&self, number: i32) {
        // SAFETY: a call without memory; the group is that of a child that was not waited for.
        unsafe { libc::kill(-(self.0.id() as i32), number) };
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.signal(libc::SIGKILL);
            let _ = self.0.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// The state of a process, as /proc has it.
    fn state(pid: u32) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    fn becomes(pid: u32, wanted: impl Fn(Option<char>) -> bool) {
        let begun = Instant::now();
        while !wanted(state(pid)) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", state(pid));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn what_goes_on_is_stopped_goes_on_again_and_ends_with_its_owner() {
        let ahead = Ahead(Command::new("sleep").arg("600").process_group(0).spawn().expect("it runs"));
        let pid = ahead.0.id();
        ahead.pause();
        becomes(pid, |state| state == Some('T'));
        ahead.resume();
        becomes(pid, |state| matches!(state, Some('S' | 'R')));
        drop(ahead);
        assert_eq!(state(pid), None);
    }
}
