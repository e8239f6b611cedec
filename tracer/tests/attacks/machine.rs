//! The agent as systemd runs it: a machine in a container (`systemd-nspawn --boot`) with Debian's systemd and the unit
//! that this project ships. Slow, and it needs target/machine: `cargo xtask test --all` makes that and runs this.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::files::Silent;
use crate::fuse;
use crate::memory::{Layout, endless_arguments};
use crate::stranger::Strangers;
use crate::support::{CGTRACE, DEADLINE, Scratch, c_path, remove, signal, wait_for, write};
use crate::watched::{Agent, Watched};

/// `TimeoutStopSec` of the unit, and what systemctl takes.
const STOP: Duration = Duration::from_secs(11);

/// A machine with the service. The kernel numbers processes as the host does, so the service gets the host's `/proc`
/// and cgroupfs: as if its systemd were the host's own.
struct Machine {
    nspawn: Child,
    /// Its systemd, as the host numbers it.
    init: u32,
    agent: u32,
    address: SocketAddr,
    _settings: tempfile::TempDir,
    /// Of the machine; what is left of it goes with this.
    cgroup: Scratch,
}

impl Machine {
    fn boot() -> Self {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let root = project.join("target/machine");
        assert!(root.join("usr/lib/systemd/systemd").exists(), "{} is not there: cargo xtask setup", root.display());
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let settings = tempfile::tempdir().unwrap();
        let text = format!(
            "[Service]\nEnvironment=CGTRACE_LISTEN={address}\nBindPaths=/var/host/proc:/proc\n\
             BindReadOnlyPaths=/var/host/cgroup:/sys/fs/cgroup\n"
        );
        fs::write(settings.path().join("test.conf"), text).unwrap();
        let unit = project.join("deploy/systemd");
        let mounted = |from: PathBuf, to: &str| format!("--bind-ro={}:{to}", from.display());
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
            .arg(mounted(CGTRACE.into(), "/usr/bin/cgtrace"))
            .arg(mounted(unit.join("cgtrace.service"), "/etc/systemd/system/cgtrace.service"))
            .arg(mounted(unit.join("cgtrace.toml"), "/etc/cgtrace/cgtrace.toml"))
            .arg(mounted(settings.path().join("test.conf"), "/etc/systemd/system/cgtrace.service.d/test.conf"))
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
        let mut machine = Self { nspawn, init: 0, agent: 0, address, _settings: settings, cgroup };
        machine.init = wait_for("systemd", || child_called(machine.nspawn.id(), "systemd"));
        wait_for("the machine", || machine.run(&["systemctl", "is-system-running"]).status.success().then_some(()));
        let started = machine.run(&["systemctl", "start", "cgtrace.service"]);
        assert!(started.status.success(), "{}{}", String::from_utf8_lossy(&started.stderr), machine.journal());
        machine.agent = child_called(machine.init, "cgtrace").expect("it runs");
        machine
    }

    /// Runs a program in it.
    fn run(&self, command: &[&str]) -> Output {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--target", &self.init.to_string(), "--mount", "--uts", "--ipc", "--pid"]);
        nsenter.args(command).stdin(Stdio::null()).output().unwrap()
    }

    fn journal(&self) -> String {
        let said = self.run(&["journalctl", "--no-pager", "--output=cat", "--unit=cgtrace.service"]);
        String::from_utf8_lossy(&said.stdout).into_owned()
    }
}

/// A child of a process with that name.
fn child_called(parent: u32, name: &str) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    let mut children = children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok());
    children.find(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name))
}

impl Agent for Machine {
    fn pid(&self) -> u32 {
        self.agent
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn said(&self) -> String {
        self.journal()
    }

    fn end(&mut self, how: i32) -> Option<bool> {
        let begun = Instant::now();
        if how == libc::SIGKILL {
            signal(self.agent, how);
        }
        let stopped = self.run(&["systemctl", "stop", "cgtrace.service"]);
        let result = self.run(&["systemctl", "show", "--property=Result", "cgtrace.service"]);
        let result = String::from_utf8_lossy(&result.stdout).into_owned();
        (begun.elapsed() < STOP).then(|| stopped.status.success() && result.trim() == "Result=success")
    }

    fn is_over(&mut self) {}
}

impl Drop for Machine {
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

#[test]
#[ignore = "boots a machine: cargo xtask test --all"]
fn the_service_keeps_its_promises_while_arguments_are_endless() {
    let watched = Watched::over(Instant::now(), Box::new(Machine::boot()));
    let missing = c_path(watched.scratch.path.join("missing"));
    let layout = Layout::own();
    let mut strangers = Strangers::default();
    (0..40).for_each(|_| endless_arguments(&mut strangers, &layout, 2_900_000, &missing));
    watched.endures(Duration::from_secs(5));
    watched.end(strangers);
}

#[test]
#[ignore = "boots a machine: cargo xtask test --all"]
fn the_service_keeps_its_promises_while_file_systems_are_silent_and_systemctl_stops_it() {
    let watched = Watched::over(Instant::now(), Box::new(Machine::boot()));
    let mut silent = Silent::new(50);
    silent.run(|runc, system, number| {
        let bundle = format!("{system}/{}", fuse::DIRECTORY);
        runc.command(&["create", "--bundle", &bundle, &format!("web-{number}")])
    });
    watched.endures(Duration::from_secs(5));
    watched.end(silent);
}
