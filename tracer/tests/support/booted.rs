//! A machine in a container (`systemd-nspawn --boot`) with Debian's systemd, in which the agent is a service. It takes
//! long to boot, and needs target/machine: `cargo xtask test --all` makes that.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::{DEADLINE, Scratch, c_path, remove, signal, wait_for, write};

/// A machine that runs. The kernel numbers processes as the host does, so its `cgtrace.service` gets the host's `/proc`
/// and cgroupfs: as if its systemd were the host's own. What is written in it is gone when it ends.
pub struct Booted {
    nspawn: Child,
    /// Its systemd, as the host numbers it.
    pub init: u32,
    /// Where the agent listens.
    pub address: SocketAddr,
    _settings: tempfile::TempDir,
    /// Of the machine; what is left of it goes with this.
    cgroup: Scratch,
}

impl Booted {
    /// Boots it, with these files and directories of the host in these places.
    pub fn with(mounted: &[(&Path, &str)]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target/machine");
        assert!(root.join("usr/lib/systemd/systemd").exists(), "{} is not there: cargo xtask setup", root.display());
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let settings = tempfile::tempdir().unwrap();
        let text = format!(
            "[Service]\nEnvironment=CGTRACE_LISTEN={address}\nBindPaths=/var/host/proc:/proc\n\
             BindReadOnlyPaths=/var/host/cgroup:/sys/fs/cgroup\n"
        );
        let settings_file = settings.path().join("test.conf");
        fs::write(&settings_file, text).unwrap();
        let settings_file = (settings_file.as_path(), "/etc/systemd/system/cgtrace.service.d/test.conf");
        let mut command = Command::new("systemd-nspawn");
        command
            .args(["--boot", "--volatile=overlay", "--register=no", "--keep-unit", "--link-journal=no"])
            .args(["--console=pipe", "--quiet", "--capability=all"])
            .arg(format!("--machine=cgtrace-{}", std::process::id()))
            .arg(
                "--system-call-filter=bpf perf_event_open open_by_handle_at landlock_create_ruleset landlock_add_rule \
                 landlock_restrict_self",
            )
            .arg(format!("--directory={}", root.display()))
            .args(mounted.iter().chain([&settings_file]).map(|(from, to)| format!("--bind-ro={}:{to}", from.display())))
            .args(["--bind=/proc:/var/host/proc", "--bind-ro=/sys/fs/cgroup:/var/host/cgroup"])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let cgroup = Scratch::new();
        let procs = c_path(cgroup.path.join("cgroup.procs"));
        let enter = move || match write(&procs, b"0") {
            0 => Ok(()),
            error => Err(std::io::Error::from_raw_os_error(error)),
        };
        // SAFETY: it makes system calls only.
        unsafe { command.pre_exec(enter) };
        let nspawn = command.spawn().expect("systemd-container is installed");
        let mut machine = Self { nspawn, init: 0, address, _settings: settings, cgroup };
        machine.init = wait_for("systemd", || child_called(machine.nspawn.id(), "systemd"));
        wait_for("the machine", || machine.run(&["systemctl", "is-system-running"]).status.success().then_some(()));
        machine
    }

    /// Runs a program in it.
    pub fn run(&self, command: &[&str]) -> Output {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--target", &self.init.to_string(), "--mount", "--uts", "--ipc", "--pid"]);
        nsenter.args(command).stdin(Stdio::null()).output().unwrap()
    }
}

/// A child of a process with that name.
pub fn child_called(parent: u32, name: &str) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    let mut children = children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok());
    children.find(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name))
}

impl Drop for Booted {
    fn drop(&mut self) {
        // The first one asks its systemd to halt, the second one does not ask.
        for _ in 0..2 {
            signal(self.nspawn.id(), libc::SIGTERM);
            let begun = Instant::now();
            while begun.elapsed() < DEADLINE / 3 && self.nspawn.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
        // On a hybrid host it has made the same ones in systemd's own hierarchy.
        let _ = remove(Path::new(&format!("/sys/fs/cgroup/systemd{}", self.cgroup.cgroup)));
    }
}
