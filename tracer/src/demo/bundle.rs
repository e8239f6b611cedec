//! An OCI bundle made of what the host has: its own `/usr`, read-only.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

/// Directories of the host that a program needs, where they exist.
const SYSTEM: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"];

/// A directory with `config.json` and `rootfs`.
pub struct Bundle {
    path: PathBuf,
}

impl Bundle {
    /// Makes a bundle `DIRECTORY/bundle` that runs `arguments`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(directory: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let path = directory.join("bundle");
        let rootfs = path.join("rootfs");
        for place in ["proc", "dev"] {
            fs::create_dir_all(rootfs.join(place)).context("failed to make a bundle")?;
        }
        let mut mounts = vec![
            json!({ "destination": "/proc", "type": "proc", "source": "proc" }),
            json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] }),
        ];
        for place in SYSTEM.map(Path::new) {
            let Ok(inside) = place.strip_prefix("/") else { continue };
            if let Ok(target) = fs::read_link(place) {
                std::os::unix::fs::symlink(target, rootfs.join(inside)).context("failed to make a bundle")?;
            } else if place.is_dir() {
                fs::create_dir_all(rootfs.join(inside)).context("failed to make a bundle")?;
                mounts.push(json!({
                    "destination": place, "type": "bind", "source": place, "options": ["rbind", "ro"]
                }));
            }
        }
        let bundle = Self { path };
        bundle.write(&Self::config(arguments, mounts))?;
        Ok(bundle)
    }

    /// The bundle's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sets a field of the configuration, named by a JSON pointer whose parent is there (`/linux/cgroupsPath`).
    ///
    /// # Errors
    /// When the configuration cannot be read or written, or has no such parent.
    pub fn set(&self, pointer: &str, value: Value) -> anyhow::Result<()> {
        let text = fs::read_to_string(self.path.join("config.json")).context("failed to read the bundle")?;
        let mut config: Value = serde_json::from_str(&text).context("failed to read the bundle")?;
        let (parent, field) = pointer.rsplit_once('/').context("a JSON pointer has a slash")?;
        let parent = config.pointer_mut(parent).with_context(|| format!("the bundle has no {parent}"))?;
        parent[field] = value;
        self.write(&config)
    }

    fn write(&self, config: &Value) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(config).context("failed to write the bundle")?;
        fs::write(self.path.join("config.json"), text).context("failed to write the bundle")
    }

    /// No terminal, no resource limits (raising them needs CAP_SYS_RESOURCE), no user namespace.
    fn config(arguments: &[&str], mounts: Vec<Value>) -> Value {
        let namespaces = ["pid", "ipc", "uts", "mount"].map(|kind| json!({ "type": kind }));
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false,
                "user": { "uid": 0, "gid": 0 },
                "args": arguments,
                "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
                "cwd": "/",
                "noNewPrivileges": true
            },
            "root": { "path": "rootfs", "readonly": true },
            "hostname": "cgtrace-demo",
            "mounts": mounts,
            "linux": { "namespaces": namespaces }
        })
    }
}
