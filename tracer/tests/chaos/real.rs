//! Real runtimes among the actors. They write down nothing: what is known is that no removal did any harm, whatever
//! else went wrong.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cgtrace::demo::bundle::Bundle;
use serde_json::{Value, json};

use crate::random::Random;
use crate::support::wait_for;
use crate::truth::{Record, Writer};

/// Where cgroup2 is mounted there already, the kernel does not mount it once more on top of itself.
const CGROUP2: &str = "mount -t tmpfs none /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup";
/// crun refuses a hybrid layout whose cgroup2 has controllers.
const NO_HYBRID: &str = "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi";

/// What a container does, and what is wrong with it.
const LIVES: [Life; 4] = [
    Life { what: "a healthy one", program: "/bin/true", spoils: |_| {} },
    Life { what: "a program that is not there", program: "/no/such/program", spoils: |_| {} },
    Life {
        what: "a hook that fails",
        program: "/bin/true",
        spoils: |config| config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/false" }] }),
    },
    Life {
        what: "a limit whose controller is missing",
        program: "/bin/true",
        spoils: |config| config["linux"]["resources"] = json!({ "pids": { "limit": 100 } }),
    },
];

struct Life {
    what: &'static str,
    program: &'static str,
    spoils: fn(&mut Value),
}

/// Runs containers of real runtimes.
pub struct Runtimes {
    pub truth: PathBuf,
    /// For bundles and state.
    pub directory: PathBuf,
    /// Where hierarchies are mounted.
    pub mounts: Vec<PathBuf>,
    pub random: Random,
    pub played: u64,
}

impl Runtimes {
    pub fn play(&mut self) {
        let life = self.random.pick(&LIVES);
        let runtime = *self.random.pick(&["runc", "crun"]);
        let before = match (self.random.chance(2), runtime) {
            (true, _) => CGROUP2,
            (false, "crun") => NO_HYBRID,
            (false, _) => "",
        };
        self.played += 1;
        // Of one length, so that none is the beginning of another.
        let id = format!("chaos-{}-{:06}", std::process::id(), self.played);
        let directory = self.directory.join(&id);
        std::fs::create_dir_all(&directory).unwrap();
        let bundle = Bundle::new(&directory, &[life.program]).unwrap();
        spoil(&bundle.path().join("config.json"), life.spoils);
        let state = directory.join("state");
        let script = format!("{before}\nexec {runtime} --root {} run {id}", state.display());
        let done = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-euc", &script])
            .current_dir(bundle.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.code().is_some_and(|code| code != 127), "{runtime} cannot be run: {said}");
        // Where a runtime leaves something behind by itself (crun does, when a hook fails), there is harm.
        if !self.clear(&id) && !state.join(&id).exists() {
            let what = format!("{runtime}, {}: {}", life.what, done.status);
            Writer::open(&self.truth).write(&Record::Unharmed { id, what });
        }
    }

    /// Removes the cgroups that a container has left behind. Returns whether there were any.
    fn clear(&self, id: &str) -> bool {
        let left: Vec<PathBuf> = self.mounts.iter().map(|mount| mount.join(id)).filter(|path| path.exists()).collect();
        for path in &left {
            let children = std::fs::read_dir(path).unwrap().flatten().filter(|entry| entry.path().is_dir());
            for path in children.map(|child| child.path()).chain([path.clone()]) {
                wait_for("its end", || match std::fs::remove_dir(&path) {
                    Ok(()) => Some(()),
                    Err(error) if error.kind() == ErrorKind::ResourceBusy => None,
                    Err(error) => panic!("{}: {error}", path.display()),
                });
            }
        }
        !left.is_empty()
    }
}

fn spoil(config: &Path, spoils: fn(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&std::fs::read(config).unwrap()).unwrap();
    spoils(&mut value);
    std::fs::write(config, value.to_string()).unwrap();
}
