//! The package of this program in a machine with Debian's systemd: installed, started, upgraded, removed, purged.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::booted::Booted;
use crate::root;
use crate::support::{CGTRACE, text, wait_for};

/// The one that `cargo xtask dist` has made for this architecture.
fn package() -> PathBuf {
    let place = root().join("target/dist");
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let name = format!("cgtrace_{}-1_{architecture}.deb", env!("CARGO_PKG_VERSION"));
    assert!(place.join(&name).is_file(), "{name} is not in {}: cargo xtask dist", place.display());
    place.join(name)
}

fn succeeds(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", text(&done.stderr));
}

/// The same package with an older version.
fn older(package: &Path, directory: &Path) -> PathBuf {
    let (tree, older) = (directory.join("tree"), directory.join("older.deb"));
    succeeds(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(&tree));
    let control = tree.join("DEBIAN/control");
    let newer = fs::read_to_string(&control).unwrap();
    let version =
        |line: &str| if line.starts_with("Version: ") { "Version: 0.0.1-1\n".into() } else { format!("{line}\n") };
    fs::write(&control, newer.lines().map(version).collect::<String>()).unwrap();
    succeeds(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&tree).arg(&older));
    older
}

/// A machine in which packages are installed.
struct Machine(Booted);

impl Machine {
    /// What a command prints that must succeed.
    fn run(&self, command: &[&str]) -> String {
        let done = self.0.run(command);
        let said = || format!("{}{}", text(&done.stdout), text(&done.stderr));
        assert!(done.status.success(), "{command:?}: {}: {}", done.status, said());
        text(&done.stdout)
    }

    /// What systemd says of the service in one word.
    fn is(&self, what: &str) -> String {
        text(&self.0.run(&["systemctl", what, "cgtrace.service"]).stdout).trim().to_owned()
    }

    /// The process of the agent.
    fn agent(&self) -> String {
        self.run(&["systemctl", "show", "--property=MainPID", "--value", "cgtrace.service"])
    }

    /// What the agent answers.
    fn answer(&self, path: &str) -> String {
        let mut agent = TcpStream::connect(self.0.address).unwrap();
        write!(agent, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        agent.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Everything that is stored in it, with owners and modes; logs and what is there until the next boot aside.
    fn files(&self) -> BTreeSet<String> {
        let aside =
            ["/proc", "/sys", "/dev", "/run", "/tmp", "/var/host", "/var/log", "/var/tmp", "/new.deb", "/old.deb"];
        let aside: Vec<String> = aside.iter().map(|path| format!("-path {path}")).collect();
        let find = format!("find / \\( {} \\) -prune -o -printf '%M %u %p\\n'", aside.join(" -o "));
        self.run(&["sh", "-c", &find]).lines().map(str::to_owned).collect()
    }

    /// The last word of the agent in the journal that says so.
    fn explained(&self, id: &str) -> Option<String> {
        let told = self.run(&["journalctl", "--no-pager", "-x", "--unit=cgtrace.service", id]);
        told.contains("Subject: ").then_some(told)
    }
}

#[test]
#[ignore = "boots a machine, and needs packages: cargo xtask test --all"]
fn the_package_is_installed_started_upgraded_and_purged_and_nothing_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let package = package();
    let older = older(&package, directory.path());
    let machine = Machine(Booted::with(&[(&package, "/new.deb"), (&older, "/old.deb")]));
    let before = machine.files();

    machine.run(&["dpkg", "--install", "/old.deb"]);
    assert_eq!((machine.is("is-enabled"), machine.is("is-active")), ("disabled".into(), "inactive".into()));
    machine.run(&["systemctl", "enable", "--now", "cgtrace.service"]);
    assert_eq!(machine.is("is-active"), "active");
    assert!(machine.answer("/readyz").starts_with("HTTP/1.1 200 "), "{}", machine.answer("/readyz"));

    // A fault on the host, which is one kernel with the machine.
    let mut demo = Command::new(CGTRACE);
    demo.args(["demo", "missing-path"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(demo.status().unwrap().success());
    let explained = wait_for("the finding", || machine.explained("CGTRACE_KIND=missing-path-teardown"));
    assert!(explained.contains("Mount cgroupfs writable"), "{explained}");

    // What the administrator has changed stays, and an agent that runs is the new one.
    machine.run(&["sh", "-c", "echo 'history = \"2M\"' >> /etc/cgtrace/cgtrace.toml"]);
    let agent = machine.agent();
    machine.run(&["dpkg", "--install", "--force-confold", "/new.deb"]);
    assert_eq!((machine.is("is-enabled"), machine.is("is-active")), ("enabled".into(), "active".into()));
    assert_ne!(machine.agent(), agent);
    assert!(machine.run(&["cat", "/etc/cgtrace/cgtrace.toml"]).ends_with("history = \"2M\"\n"));

    machine.run(&["dpkg", "--remove", "cgtrace"]);
    assert_eq!(machine.is("is-active"), "inactive");
    machine.run(&["test", "-e", "/etc/cgtrace/cgtrace.toml"]);
    machine.run(&["dpkg", "--purge", "cgtrace"]);
    let after = machine.files();
    let left: Vec<&String> = after.difference(&before).collect();
    let lost: Vec<&String> = before.difference(&after).collect();
    assert!(left.is_empty() && lost.is_empty(), "left behind: {left:#?}\nlost: {lost:#?}");
    assert_eq!(machine.run(&["systemctl", "list-units", "--failed", "--plain", "--no-legend"]), "");
}
