//! Where the lives are lived: one agent, the daemons that engines need, and what the rows share.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cgtrace::demo::bundle::Bundle;
use serde_json::Value;

use super::{Layout, Life, score};
use crate::support::{Agent, parse, wait_for};

/// Functions that every script can use.
const PRELUDE: &str = include_str!("prelude.sh");
/// No script takes longer, in seconds.
const LONGEST: &str = "60";
/// What engines call their image.
pub const IMAGE: &str = "cgtrace-matrix:1";
const DOCKERD: &str = "exec dockerd --data-root \"$engines/docker\" --exec-root \"$engines/docker-run\" \
    --pidfile \"$engines/docker.pid\" --host \"$DOCKER_HOST\" --iptables=false --ip6tables=false --bridge=none \
    --storage-driver vfs --exec-opt native.cgroupdriver=cgroupfs";
const CONTAINERD: &str = "exec containerd --root \"$engines/containerd\" --state \"$engines/containerd-run\" \
    --address \"$CONTAINERD_ADDRESS\" --config /dev/null";
const APPLETS: [&str; 7] = ["sh", "sleep", "true", "echo", "mkdir", "rmdir", "mount"];

/// The programs.
const PROGRAMS: [&str; 9] =
    ["runc", "crun", "youki", "podman", "buildah", "containerd", "dockerd", "lxc-start", "systemd-nspawn"];

/// A life that was lived.
pub struct Lived {
    pub life: Life,
    /// Its own word, and others that its lines hold: the ids of containers that engines chose.
    pub marks: Vec<String>,
    /// The cgroup of its machine, if it has booted one.
    pub machine: String,
    /// The ids of its containers. One that ends in `*` is known by its beginning only.
    pub ids: Vec<String>,
    /// Whether its script did what it was meant to do.
    pub result: Result<(), String>,
    pub took: Duration,
}

pub struct Stage {
    agent: Option<Agent>,
    directory: tempfile::TempDir,
    /// Of all that are lived here.
    word: String,
    lives: usize,
    daemons: Vec<Child>,
    /// What the lives were lived in: what they left running has its process group.
    shells: Vec<Child>,
    marks: Vec<String>,
}

impl Stage {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let word = format!("cgtrace-matrix-{}", std::process::id());
        let mut stage = Self {
            agent: None,
            directory,
            marks: vec![word.clone()],
            word,
            lives: 0,
            daemons: Vec::new(),
            shells: Vec::new(),
        };
        stage.versions();
        stage.rootfs();
        let archive = "tar -C \"$rootfs\" -c . | docker import - \"$image\"; docker save -o \"$archive\" \"$image\"";
        for (layout, image) in [(Layout::Host, archive), (Layout::V2, "docker load -i \"$archive\"")] {
            fs::create_dir_all(stage.engines(layout)).unwrap();
            stage.daemon(layout, "dockerd", DOCKERD, "docker version");
            stage.run(layout, image);
            stage.daemon(layout, "containerd", CONTAINERD, "ctr version");
            stage.run(layout, "ctr images import --snapshotter native \"$archive\"");
        }
        stage.agent = Some(Agent::start(&["--benign"]));
        stage
    }

    /// Prints which versions are lived on. Fails where one is missing.
    fn versions(&self) {
        for program in PROGRAMS {
            let done = Command::new(program).arg("--version").env("PATH", path()).output();
            let done = done.unwrap_or_else(|error| panic!("{program}: {error}; cargo xtask setup installs it"));
            println!("{program}: {}", String::from_utf8_lossy(&done.stdout).lines().next().unwrap_or_default());
        }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A root file system of busybox alone, that even nspawn takes for one.
    fn rootfs(&self) {
        let rootfs = self.place("rootfs");
        for place in ["bin", "dev", "proc", "sys", "tmp", "run", "usr", "etc"] {
            fs::create_dir_all(rootfs.join(place)).unwrap();
        }
        fs::write(rootfs.join("etc/os-release"), "ID=cgtrace\n").unwrap();
        fs::copy("/bin/busybox", rootfs.join("bin/busybox")).expect("busybox-static is installed");
        for applet in APPLETS {
            symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
        }
    }

    /// What every script finds in its environment.
    fn environment(&self, command: &mut Command, layout: Layout) {
        let engines = self.engines(layout);
        command
            .env("PATH", path())
            .env("place", self.directory.path())
            .env("rootfs", self.place("rootfs"))
            .env("archive", self.place("image.tar"))
            .env("image", IMAGE)
            .env("machine", target().join("machine"))
            .env("engines", &engines)
            .env("DOCKER_BUILDKIT", "0")
            .env("DOCKER_HOST", format!("unix://{}", engines.join("docker.sock").display()))
            .env("CONTAINERD_ADDRESS", engines.join("containerd.sock"));
    }

    /// What engines keep of a layout.
    fn engines(&self, layout: Layout) -> PathBuf {
        self.place(if layout == Layout::V2 { "engines-v2" } else { "engines-host" })
    }

    /// A shell script, in a mount namespace of its own with that layout.
    fn shell(&self, layout: Layout, script: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args([LONGEST, "unshare", "--mount", "--propagation", "private", "sh", "-euc"]);
        command.arg(format!("{}\n{PRELUDE}\n{script}", layout.made())).stdin(Stdio::null()).process_group(0);
        self.environment(&mut command, layout);
        command
    }

    fn run(&self, layout: Layout, script: &str) {
        let done = self.shell(layout, script).output().unwrap();
        assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Starts a daemon, in a mount namespace of its own with that layout, and waits until a script says that it is up.
    fn daemon(&mut self, layout: Layout, program: &str, script: &str, is_up: &str) {
        let log = File::create(self.engines(layout).join(format!("{program}.log"))).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-euc"]);
        command.arg(format!("{}\n{script}", layout.made())).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.environment(&mut command, layout);
        self.daemons.push(command.spawn().unwrap());
        wait_for(program, || self.shell(layout, is_up).output().unwrap().status.success().then_some(()));
    }

    /// Lives one.
    pub fn live(&mut self, life: Life) -> Lived {
        let begun = Instant::now();
        self.lives += 1;
        let id = format!("{}-{:03}", self.word, self.lives);
        let machine = format!("cgtrace-box-{}-{:03}", std::process::id(), self.lives);
        let place = self.place(&id);
        fs::create_dir(&place).unwrap();
        let bundle = Bundle::new(&place, &["/bin/sh", "-c", "exit 0"]).unwrap();
        for (pointer, value) in life.config {
            bundle.set(pointer, serde_json::from_str(value).unwrap()).unwrap();
        }
        let mut command = self.shell(life.layout, &format!("{}\nover", life.script));
        let (said, stderr) = (place.join("said"), place.join("stderr"));
        command.env("id", &id).env("box", &machine).env("place", &place).env("runtime", life.who).current_dir(&place);
        command.stdin(Stdio::piped()).stdout(File::create(&said).unwrap()).stderr(File::create(&stderr).unwrap());
        let mut shell = command.spawn().unwrap();
        // What is left behind has its output as well: the end of that says nothing.
        let said = loop {
            let is_over = ended(&shell).is_some();
            let said = fs::read_to_string(&said).unwrap();
            if is_over || said.ends_with("over\n") {
                break said;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let words = |word| said.lines().filter_map(move |line| line.strip_prefix(word)?.strip_prefix(' '));
        let mut ids: Vec<String> = words("id").map(str::to_owned).collect();
        if ids.is_empty() {
            ids.push(id.clone());
        }
        let own = ids.iter().map(String::as_str).chain(words("mark")).filter(|mark| is_mark(mark));
        let marks: Vec<String> = own.map(str::to_owned).chain([id]).collect();
        if let Some(agent) = &self.agent {
            agent.catch_up();
        }
        drop(shell.stdin.take());
        let result = match wait_for("the end of a life", || ended(&shell)) {
            0 => Ok(()),
            status => {
                let said = fs::read_to_string(&stderr).unwrap();
                let last: Vec<&str> = said.lines().rev().take(5).collect();
                Err(format!("status {status}: {}", last.into_iter().rev().collect::<Vec<_>>().join("\n    ")))
            }
        };
        self.shells.push(shell);
        self.marks.extend(marks.iter().chain([&machine]).cloned());
        Lived { life, marks, machine, ids, result, took: begun.elapsed() }
    }

    /// Waits until all that is to be told is told, and ends the agent. Returns its lines.
    pub fn end(mut self, lived: &[Lived], patience: Duration) -> Vec<Value> {
        let agent = self.agent.take().expect("it was started");
        let mut findings =
            Findings { results: File::open(agent.results()).unwrap(), rest: Vec::new(), told: Vec::new() };
        let begun = Instant::now();
        while begun.elapsed() < patience && !score::is_all_told(lived, findings.so_far()) {
            std::thread::sleep(Duration::from_millis(100));
        }
        println!("the last finding came {:.1} s after the last life", begun.elapsed().as_secs_f32());
        agent.finish()
    }
}

/// The findings in a file that grows: lines of other types are not looked into.
struct Findings {
    results: File,
    rest: Vec<u8>,
    told: Vec<Value>,
}

impl Findings {
    fn so_far(&mut self) -> &[Value] {
        self.results.read_to_end(&mut self.rest).unwrap();
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        for line in self.rest.drain(..whole).collect::<Vec<_>>().split(|byte| *byte == b'\n') {
            if line.starts_with(b"{\"type\":\"finding\"") {
                self.told.extend(parse(line));
            }
        }
        &self.told
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.agent.take());
        for shell in &mut self.shells {
            // SAFETY: a call without memory.
            unsafe { libc::kill(-(shell.id() as i32), libc::SIGKILL) };
            let _ = shell.wait();
        }
        clear(&self.marks);
        for daemon in &mut self.daemons {
            crate::support::signal(daemon.id(), libc::SIGTERM);
            let _ = daemon.wait();
        }
        clear(&self.marks);
    }
}

/// The status of a child that has ended, or that of a signal. It is not waited for: until then nobody else gets the
/// number of its process group.
fn ended(child: &Child) -> Option<i32> {
    // SAFETY: all zeros are a value of it, and there is room for one.
    let info = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        assert_eq!(libc::waitid(libc::P_PID, child.id(), &raw mut info, options), 0);
        (info.si_pid(), info.si_code, info.si_status())
    };
    match info {
        (0, _, _) => None,
        (_, libc::CLD_EXITED, status) => Some(status),
        (_, _, signal) => Some(128 + signal),
    }
}

/// Whether a word can be nobody else's: it is this run's own, or long enough for an engine's id, and no pattern.
fn is_mark(word: &str) -> bool {
    word.len() >= 12 && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Ends what is left in cgroups that have one of those words in their name, and removes them.
fn clear(marks: &[String]) {
    assert!(marks.iter().all(|mark| is_mark(mark)), "{marks:?}");
    const SCRIPT: &str = r#"
        for mark in "$@"; do
            for cgroup in $(find /sys/fs/cgroup -mindepth 2 -depth -type d -path "*/*$mark*"); do
                echo THAWED > "$cgroup/freezer.state"; echo 0 > "$cgroup/cgroup.freeze"
                for pid in $(cat "$cgroup/cgroup.procs"); do kill -KILL "$pid"; done
                for _ in $(seq 100); do rmdir "$cgroup" && break; [ -d "$cgroup" ] || break; sleep 0.02; done
            done
        done"#;
    let _ = Command::new("sh").args(["-c", SCRIPT, "sh"]).args(marks).stderr(Stdio::null()).status();
}

/// Where programs are: those that the project builds itself come first.
fn path() -> String {
    let tools = target().join("tools/bin");
    format!("{}:{}:/usr/sbin:/sbin", tools.display(), std::env::var("PATH").unwrap_or_default())
}

/// What `cargo xtask setup` makes is below it.
pub fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target")
}
