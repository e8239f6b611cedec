//! What an OCI runtime was asked to do: its command line, the bundle and the state file that this names.
//!
//! [`command_line`] and [`cgroup_is_of`] are pure; the rest reads a bundle through `/proc/PID/root`, as the runtime sees it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::Deserialize;

use crate::input::{ContainerFacts, Pid};
use crate::name::Name;
use crate::runtimes;

/// The rule's name in [`crate::container::Container::rule`] when a command line told the container.
pub const COMMAND_LINE_RULE: &str = "oci-command-line";

/// A bundle's `config.json` larger than this is not read.
const LARGEST_FILE: u64 = 4 << 20;

/// What an OCI runtime was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeCommand {
    /// The runtime's name in the registry.
    pub runtime: &'static str,
    /// `create`, `run`, `start`, `delete` … `None` if there was none.
    pub subcommand: Option<String>,
    /// The container's id. `None` for a command that has none, such as `list`.
    pub id: Option<Name>,
    /// `--root`.
    pub root: Option<Name>,
    /// `--bundle`. `None` stands for the working directory.
    pub bundle: Option<Name>,
}

/// Flags of runc, crun and youki that take a value, without their dashes. From their `--help`.
const WITH_VALUE: [&str; 25] = [
    "root",
    "log",
    "log-format",
    "log-level",
    "criu",
    "rootless",
    "cgroup-manager",
    "bundle",
    "b",
    "console-socket",
    "pid-file",
    "preserve-fds",
    "config",
    "f",
    "signal",
    "s",
    "process",
    "p",
    "user",
    "u",
    "cwd",
    "env",
    "e",
    "cap",
    "apparmor",
];

/// Subcommands that name a container.
const WITH_ID: [&str; 17] = [
    "create",
    "run",
    "start",
    "delete",
    "kill",
    "state",
    "exec",
    "pause",
    "resume",
    "ps",
    "update",
    "events",
    "checkpoint",
    "restore",
    "spec",
    "mounts",
    "features",
];

/// Reads a process's command line. `None` if it is no OCI runtime, or if it is one's `init` inside the container.
pub fn command_line(comm: &Name, exe: Option<&Name>, argv: &[Name]) -> Option<RuntimeCommand> {
    let names = argv.first().into_iter().chain(exe).chain([comm]);
    let runtime = names.filter_map(|name| runtimes::by_program(base_name(name))).find(|runtime| runtime.oci)?;
    let mut command = RuntimeCommand { runtime: runtime.name, subcommand: None, id: None, root: None, bundle: None };
    let mut words = argv.iter().skip(1);
    while let Some(word) = words.next() {
        let Some(text) = word.to_str() else {
            positional(&mut command, word);
            continue;
        };
        let Some(flag) = text.strip_prefix('-').map(|flag| flag.strip_prefix('-').unwrap_or(flag)) else {
            positional(&mut command, word);
            continue;
        };
        let (flag, value) = match flag.split_once('=') {
            Some((flag, value)) => (flag, Some(Name::from(value))),
            // runc's --rootless takes a value only behind `=`; a bare one would swallow the subcommand.
            None if flag != "rootless" && WITH_VALUE.contains(&flag) => (flag, words.next().cloned()),
            None => (flag, None),
        };
        match flag {
            "root" => command.root = value,
            "bundle" | "b" => command.bundle = value,
            _ => {}
        }
    }
    (command.subcommand.as_deref() != Some("init")).then_some(command)
}

/// The first word is the subcommand, the second the container, what follows is the container's own.
fn positional(command: &mut RuntimeCommand, word: &Name) {
    match &command.subcommand {
        None => command.subcommand = Some(word.to_json_text().into_owned()),
        Some(subcommand) if command.id.is_none() && WITH_ID.contains(&subcommand.as_str()) => {
            command.id = Some(word.clone());
        }
        Some(_) => {}
    }
}

fn base_name(path: &Name) -> &[u8] {
    let bytes = path.as_bytes();
    bytes.rsplit(|byte| *byte == b'/').next().unwrap_or(bytes)
}

/// Whether a cgroup path is that of the container which a command line names: the id as a component of its own, in
/// systemd's `PREFIX-ID.scope`, or the bundle's own `cgroupsPath`.
pub fn cgroup_is_of(path: &Name, command: &RuntimeCommand, facts: Option<&ContainerFacts>) -> bool {
    let Some(id) = &command.id else { return false };
    if id.is_empty() {
        return false;
    }
    let scope = [b"-", id.as_bytes(), b".scope"].concat();
    let by_name = path
        .as_bytes()
        .split(|byte| *byte == b'/')
        .any(|component| component == id.as_bytes() || component.ends_with(&scope));
    let asked = facts.and_then(|facts| facts.cgroups_path.as_ref()).map(Name::as_bytes);
    // A bundle's path is below the runtime's own cgroup, or `SLICE:PREFIX:NAME` for systemd.
    by_name
        || asked.is_some_and(|asked| {
            let mut parts = asked.split(|byte| *byte == b':');
            match (parts.next(), parts.next(), parts.next()) {
                (Some(_), Some(prefix), Some(name)) => {
                    let scope = [prefix, b"-", name, b".scope"].concat();
                    path.as_bytes().split(|byte| *byte == b'/').any(|component| component == scope)
                }
                _ => asked.len() > 1 && asked[0] == b'/' && ends_with_path(path.as_bytes(), asked),
            }
        })
}

/// Whether `path` is `tail`, or ends in it, or lies directly below such a place (crun's `container`).
fn ends_with_path(path: &[u8], tail: &[u8]) -> bool {
    path.ends_with(tail) || path.strip_suffix(b"/container").is_some_and(|path| path.ends_with(tail))
}

/// A container's state file, as the runtime's own mount namespace names it. `None` if the place is not known.
pub fn state_file(command: &RuntimeCommand) -> Option<PathBuf> {
    let state = runtimes::by_name(command.runtime)?.state?;
    let id = OsStr::from_bytes(command.id.as_ref()?.as_bytes());
    // An id with a slash would lead elsewhere; runtimes refuse it too.
    if id.as_bytes().contains(&b'/') {
        return None;
    }
    let root = command.root.as_ref().map_or(OsStr::new(state.root), |root| OsStr::from_bytes(root.as_bytes()));
    Some(Path::new(root).join(id).join(state.file))
}

/// Whether a state file is there, seen through the root directory of `pid`. `None` if that cannot be told.
pub fn state_present(pid: Pid, path: &Path) -> Option<bool> {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    // Only if the root can be entered does a missing file mean something.
    root.join(".").try_exists().ok().filter(|exists| *exists)?;
    root.join(path.strip_prefix("/").ok()?).try_exists().ok()
}

/// The part of a bundle's `config.json` that is of use.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    annotations: std::collections::HashMap<String, String>,
    linux: Option<Linux>,
}

#[derive(Deserialize)]
struct Linux {
    #[serde(rename = "cgroupsPath")]
    cgroups_path: Option<String>,
}

/// The part of docker's `config.v2.json` that is of use.
#[derive(Deserialize)]
struct DockerConfig {
    #[serde(rename = "Name")]
    name: Option<String>,
    #[serde(rename = "Config")]
    config: Option<DockerImage>,
}

#[derive(Deserialize)]
struct DockerImage {
    #[serde(rename = "Image")]
    image: Option<String>,
}

/// Annotations that name a container, its image, its pod and the pod's namespace: the CRI plugin of containerd, cri-o,
/// the kubelet, nerdctl and podman.
const NAME: [&str; 4] =
    ["io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name", "io.podman.annotations.name"];
const IMAGE: [&str; 4] = [
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri-o.ImageName",
    "org.opencontainers.image.ref.name",
    "nerdctl/image-ref",
];
const POD: [&str; 2] = ["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"];
const NAMESPACE: [&str; 3] =
    ["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace", "nerdctl/namespace"];

/// What the bundle says of the container that `command` makes. `None` for commands without a bundle, and when it cannot
/// be read: the process may be gone.
pub fn read_bundle(pid: Pid, cwd: Option<&Name>, command: &RuntimeCommand) -> Option<ContainerFacts> {
    if !matches!(command.subcommand.as_deref(), Some("create" | "run")) {
        return None;
    }
    let id = command.id.clone()?;
    let process = PathBuf::from(format!("/proc/{pid}"));
    let as_path = |name: &Name| PathBuf::from(OsStr::from_bytes(name.as_bytes()));
    let bundle = match &command.bundle {
        Some(bundle) if bundle.as_bytes().starts_with(b"/") => {
            process.join("root").join(as_path(bundle).strip_prefix("/").unwrap_or(Path::new("")))
        }
        Some(bundle) => process.join("cwd").join(as_path(bundle)),
        None => process.join("cwd"),
    };
    let source = match (&command.bundle, cwd) {
        (Some(bundle), _) => as_path(bundle),
        (None, Some(cwd)) => as_path(cwd),
        (None, None) => bundle.clone(),
    };
    let source = Name::new(source.join("config.json").as_os_str().as_bytes());
    let mut facts = read_config(&bundle.join("config.json"), source, id, command.runtime)?;
    facts.pid = Some(pid);
    facts.state_file = state_file(command).map(|path| Name::new(path.as_os_str().as_bytes()));
    Some(facts.and_docker(&process.join("root")))
}

/// Where engines keep the bundles of running containers on the host: the directories that `ID` is in, and the bundle below it.
const STANDING: [(&str, &str); 3] = [
    ("/run/containers/storage/overlay-containers", "userdata"),
    ("/var/lib/containers/storage/overlay-containers", "userdata"),
    ("/var/lib/containers/storage/vfs-containers", "userdata"),
];
/// Containerd has a directory for each of its namespaces here.
const CONTAINERD_TASKS: &str = "/run/containerd/io.containerd.runtime.v2.task";

/// What the host says of a container that was there before tracing began: its bundle, where engines keep it, and docker's own
/// file. `None` if there is neither.
pub fn read_standing(id: &Name, runtime: &str) -> Option<ContainerFacts> {
    let text = id.to_str().filter(|id| !id.is_empty() && !id.contains('/') && !id.starts_with('.'))?;
    let engines = STANDING.iter().map(|(directory, below)| Path::new(directory).join(text).join(below));
    let namespaces =
        std::fs::read_dir(CONTAINERD_TASKS).into_iter().flatten().flatten().map(|entry| entry.path().join(text));
    let read = |bundle: PathBuf| {
        let path = bundle.join("config.json");
        read_config(&path, Name::new(path.as_os_str().as_bytes()), id.clone(), runtime)
    };
    if let Some(facts) = engines.chain(namespaces).find_map(read) {
        return Some(facts.and_docker(Path::new("/")));
    }
    let nothing = ContainerFacts {
        id: id.clone(),
        runtime: runtime.to_owned(),
        pid: None,
        source: Name::from(format!("{DOCKER_CONTAINERS}/{text}/{DOCKER_CONFIG}")),
        cgroups_path: None,
        state_file: None,
        name: None,
        image: None,
        pod: None,
        namespace: None,
    };
    Some(nothing.and_docker(Path::new("/"))).filter(|facts| facts.name.is_some() || facts.image.is_some())
}

fn read_config(path: &Path, source: Name, id: Name, runtime: &str) -> Option<ContainerFacts> {
    let config: Config = serde_json::from_slice(&read_small(path)?).ok()?;
    let find = |keys: &[&str]| keys.iter().find_map(|key| config.annotations.get(*key)).map(|v| Name::from(v.as_str()));
    Some(ContainerFacts {
        id,
        runtime: runtime.to_owned(),
        pid: None,
        source,
        name: find(&NAME),
        image: find(&IMAGE),
        pod: find(&POD),
        namespace: find(&NAMESPACE),
        cgroups_path: config.linux.and_then(|linux| linux.cgroups_path).filter(|path| !path.is_empty()).map(Name::from),
        state_file: None,
    })
}

impl ContainerFacts {
    /// Adds what docker says, seen from a root directory.
    fn and_docker(mut self, root: &Path) -> Self {
        if let Some(docker) = docker_config(root, &self.id) {
            self.name = self.name.or(docker.name.map(|name| Name::from(name.trim_start_matches('/'))));
            self.image = self.image.or(docker.config.and_then(|config| config.image).map(Name::from));
        }
        self
    }
}

const DOCKER_CONTAINERS: &str = "/var/lib/docker/containers";
const DOCKER_CONFIG: &str = "config.v2.json";

/// Docker keeps a container's name and image in a file of its own.
fn docker_config(root: &Path, id: &Name) -> Option<DockerConfig> {
    let id = id.to_str().filter(|id| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let path = root.join(DOCKER_CONTAINERS.trim_start_matches('/')).join(id).join(DOCKER_CONFIG);
    serde_json::from_slice(&read_small(&path)?).ok()
}

/// Reads a regular file of moderate size: a stranger chose the path, so it may be a pipe, a device or endless.
fn read_small(path: &Path) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, rustix::fs::Mode::empty()).ok()?);
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > LARGEST_FILE {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<RuntimeCommand> {
        let argv: Vec<Name> = line.split(' ').map(Name::from).collect();
        command_line(&"exe".into(), None, &argv)
    }

    fn check(line: &str, subcommand: &str, id: &str) {
        let command = parse(line).unwrap_or_else(|| panic!("{line}: no runtime"));
        assert_eq!(command.subcommand.as_deref().unwrap_or("-"), subcommand, "{line}");
        assert_eq!(command.id.map_or("-".to_owned(), |id| id.to_string()), id, "{line}");
    }

    #[test]
    fn command_lines_of_real_callers_name_the_container() {
        check("runc run web", "run", "web");
        check("/usr/bin/buildkit-runc --log /l --log-format json run --bundle /b --keep x1", "run", "x1");
        check("runc --root /run/docker/runtime-runc/moby --log=/x delete --force abc", "delete", "abc");
        check("runc --rootless=true --root /r run --keep ID", "run", "ID");
        check("runc --rootless true delete ID", "true", "-");
        check("crun --systemd-cgroup create --bundle=/b --pid-file /p --console-socket /s abc", "create", "abc");
        check("runc kill abc KILL", "kill", "abc");
        check("runc exec --user 0:0 abc sh -c true", "exec", "abc");
        check("runc list", "list", "-");
        check("runc", "-", "-");
        assert_eq!(parse("runc init"), None);
        assert_eq!(parse("sh -c runc"), None);
        assert_eq!(parse("conmon -c abc"), None);
    }

    #[test]
    fn the_thread_name_tells_where_the_command_line_cannot_be_read() {
        assert!(command_line(&"runc".into(), None, &[]).is_some_and(|command| command.runtime == "runc"));
    }

    #[test]
    fn a_cgroup_is_told_by_id_scope_or_bundle() {
        let command = parse("runc run web").expect("a runtime");
        let is = |path: &str, asked: Option<&str>| {
            let facts = asked.map(|asked| ContainerFacts {
                id: "web".into(),
                runtime: "runc".into(),
                pid: Some(Pid(1)),
                source: "/b/config.json".into(),
                cgroups_path: Some(asked.into()),
                state_file: None,
                name: None,
                image: None,
                pod: None,
                namespace: None,
            });
            cgroup_is_of(&path.into(), &command, facts.as_ref())
        };
        assert!(is("/web", None) && is("/a/web", None) && is("/a/web/container", None));
        assert!(is("/user.slice/runc-web.scope", None));
        assert!(!is("/webx", None) && !is("/", None));
        assert!(is("/pods/p1", Some("/pods/p1")) && is("/outer/pods/p1", Some("/pods/p1")));
        assert!(is("/my.slice/pre-nm.scope", Some("my.slice:pre:nm")));
        assert!(!is("/else", Some("/pods/p1")));
    }

    #[test]
    fn a_pipe_in_place_of_a_bundle_does_not_hang() {
        assert_eq!(read_small(Path::new("/dev/zero")), None);
        assert_eq!(read_small(Path::new("/nowhere")), None);
    }

    #[test]
    fn a_bundle_that_stands_tells_name_image_and_pod() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.json");
        let config = r#"{"annotations":{"io.kubernetes.cri.container-name":"web","io.kubernetes.cri.image-name":"nginx:1",
            "io.kubernetes.cri.sandbox-name":"pod-1","io.kubernetes.cri.sandbox-namespace":"shop"},
            "linux":{"cgroupsPath":"/kubepods/x"}}"#;
        std::fs::write(&path, config).expect("it can be written");
        let facts = read_config(&path, "source".into(), "id".into(), "containerd").expect("it is read");
        let told = [facts.name, facts.image, facts.pod, facts.namespace, facts.cgroups_path];
        assert_eq!(
            told.map(|name| name.map(|name| name.to_string())),
            ["web", "nginx:1", "pod-1", "shop", "/kubepods/x"].map(|text| Some(text.to_owned()))
        );
        assert!(facts.pid.is_none());
    }

    #[test]
    fn an_id_that_would_lead_elsewhere_is_not_looked_for() {
        for id in ["", "..", "../../etc", "a/b"] {
            assert!(read_standing(&id.into(), "runc").is_none(), "{id}");
        }
    }
}
