//! The agent as systemd runs it, in a machine of its own ([`Booted`]), with the unit that this project ships. Slow:
//! `cargo xtask test --all` runs it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::booted::{Booted, child_called};
use crate::files::Silent;
use crate::fuse;
use crate::memory::{Layout, endless_arguments};
use crate::stranger::Strangers;
use crate::support::{CGTRACE, c_path, signal};
use crate::watched::{Agent, Watched};

/// `TimeoutStopSec` of the unit, and what systemctl takes.
const STOP: Duration = Duration::from_secs(11);

/// A machine with the service.
struct Machine {
    booted: Booted,
    agent: u32,
}

impl Machine {
    fn boot() -> Self {
        let unit = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy/systemd");
        let booted = Booted::with(&[
            (Path::new(CGTRACE), "/usr/bin/cgtrace"),
            (&unit.join("cgtrace.service"), "/etc/systemd/system/cgtrace.service"),
            (&unit.join("cgtrace.toml"), "/etc/cgtrace/cgtrace.toml"),
        ]);
        let mut machine = Self { booted, agent: 0 };
        let started = machine.booted.run(&["systemctl", "start", "cgtrace.service"]);
        assert!(started.status.success(), "{}{}", String::from_utf8_lossy(&started.stderr), machine.journal());
        machine.agent = child_called(machine.booted.init, "cgtrace").expect("it runs");
        machine
    }

    fn journal(&self) -> String {
        let said = self.booted.run(&["journalctl", "--no-pager", "--output=cat", "--unit=cgtrace.service"]);
        String::from_utf8_lossy(&said.stdout).into_owned()
    }
}

impl Agent for Machine {
    fn pid(&self) -> u32 {
        self.agent
    }

    fn address(&self) -> SocketAddr {
        self.booted.address
    }

    fn said(&self) -> String {
        self.journal()
    }

    fn end(&mut self, how: i32) -> Option<bool> {
        let begun = Instant::now();
        if how == libc::SIGKILL {
            signal(self.agent, how);
        }
        let stopped = self.booted.run(&["systemctl", "stop", "cgtrace.service"]);
        let result = self.booted.run(&["systemctl", "show", "--property=Result", "cgtrace.service"]);
        let result = String::from_utf8_lossy(&result.stdout).into_owned();
        (begun.elapsed() < STOP).then(|| stopped.status.success() && result.trim() == "Result=success")
    }

    fn is_over(&mut self) {}
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
