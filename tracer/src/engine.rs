//! Whose container it is that a low-level runtime was asked for: the engine behind runc or crun, by what its command
//! line says. Reads nothing: what engines keep of their containers is read by [`crate::bundle`].
//!
//! Engines give the runtime a root, a bundle and a log file in directories of their own. A parent counts only if it is
//! never the parent of a container's own processes too: a shim and conmon are, and a runtime within a container is not
//! theirs.

use std::path::Path;

use crate::name::Name;
use crate::oci::RuntimeCommand;

/// The engine behind a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// By the registry's name.
    pub name: &'static str,
    /// The containerd namespace that the container is in.
    pub namespace: Option<Name>,
}

/// What a row looks at.
struct Sight<'a> {
    command: &'a RuntimeCommand,
    /// The components of a path that the command line names: its root, its bundle, its log file.
    paths: [Vec<&'a str>; 3],
    /// The names of its parents, the nearest first.
    parents: &'a [&'a str],
}

impl<'a> Sight<'a> {
    fn new(command: &'a RuntimeCommand, parents: &'a [&'a str]) -> Self {
        let split = |path: &'a Option<Name>| {
            let text = path.as_ref().and_then(Name::to_str).unwrap_or_default();
            text.split('/').filter(|component| !component.is_empty()).collect()
        };
        Self { command, paths: [split(&command.root), split(&command.bundle), split(&command.log)], parents }
    }

    /// Whether two components follow each other in a path.
    fn has(&self, is: impl Fn(&str, &str) -> bool) -> bool {
        self.paths.iter().any(|path| path.windows(2).any(|pair| is(pair[0], pair[1])))
    }

    /// The containerd namespace: a directory of the shim's tasks, or of the runtime's root.
    fn namespace(&self) -> Option<&'a str> {
        let task = |pair: &[&'a str]| pair[0].starts_with("io.containerd.runtime.").then_some(pair[1]);
        let root = |three: &[&'a str]| (three[0] == "containerd" && three[1] == "runc").then_some(three[2]);
        let tasks = self.paths.iter().find_map(|path| path.windows(2).find_map(task));
        tasks.or_else(|| self.paths[0].windows(3).find_map(root))
    }

    /// The bundle, or the log file beside it, of containers/storage: `…/STORAGE-containers/ID/userdata`.
    fn userdata(&self, path: usize) -> bool {
        self.paths[path].windows(3).any(|three| three[0].ends_with("-containers") && three[2] == "userdata")
    }

    fn is_run_by(&self, parent: &str) -> bool {
        self.parents.first().is_some_and(|nearest| *nearest == parent)
    }

    fn program(&self, prefix: &str) -> bool {
        self.command.program.to_str().is_some_and(|program| program.starts_with(prefix))
    }
}

/// An engine, and what it is seen by.
type Row = (&'static str, fn(&Sight) -> bool);

/// The registry. The first row that sees its engine has it.
const ROWS: &[Row] = &[
    ("docker", |sight| matches!(sight.namespace(), Some("moby" | "plugins.moby"))),
    ("docker", |sight| sight.has(|one, next| one.starts_with("runtime-") && matches!(next, "moby" | "plugins.moby"))),
    ("buildkit", |sight| sight.namespace() == Some("buildkit")),
    // Its executor's directory in buildkitd's own state, and in docker's.
    ("buildkit", |sight| sight.has(|one, next| next == "executor" && (one == "buildkit" || one.starts_with("runc-")))),
    ("containerd", |sight| sight.namespace().is_some()),
    // cri-o keeps bundles in the run root, podman in the graph root.
    ("cri-o", |sight| sight.userdata(1) && matches!(sight.paths[1].as_slice(), ["run", ..] | ["var", "run", ..])),
    ("podman", |sight| sight.userdata(1) || sight.userdata(2)),
    ("buildah", |sight| sight.command.id.as_ref().is_some_and(|id| buildah_id(id).is_some())),
    ("buildkit", |sight| sight.program("buildkit-") || sight.is_run_by("buildkitd")),
    ("docker", |sight| sight.program("docker-") || sight.is_run_by("dockerd")),
    ("podman", |sight| sight.is_run_by("podman")),
    ("cri-o", |sight| sight.is_run_by("crio")),
    ("buildah", |sight| sight.is_run_by("buildah")),
];

/// The engine that a runtime's command line, or its nearest parent, is of. `None` if nothing says.
pub fn of(command: &RuntimeCommand, parents: &[&str]) -> Option<Engine> {
    let sight = Sight::new(command, parents);
    let (name, _) = ROWS.iter().find(|(_, sees)| sees(&sight))?;
    let namespace = (*name == "containerd").then(|| sight.namespace().map(Name::from)).flatten();
    Some(Engine { name, namespace })
}

/// The engine that keeps a bundle there. `None` if nothing says.
pub fn of_bundle(runtime: &'static str, bundle: &Path) -> Option<Engine> {
    let bundle = Some(Name::new(bundle.as_os_str().as_encoded_bytes()));
    of(&RuntimeCommand { bundle, ..RuntimeCommand::new(runtime, Name::from("")) }, &[])
}

/// `buildahN` of `buildah-buildahN`: buildah names the cgroup and the runtime's container after its bundle, in two
/// ways.
pub fn buildah_id(id: &Name) -> Option<Name> {
    let own = id.to_str()?.strip_prefix("buildah-")?;
    let number = own.strip_prefix("buildah")?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then(|| Name::from(own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::command_line;

    #[test]
    fn the_engine_is_told_by_where_it_keeps_its_things() {
        let check = |line: &str, parents: &[&str], engine: &str| {
            let argv: Vec<Name> = line.split(' ').map(Name::from).collect();
            let command = command_line(&"exe".into(), None, &argv).expect("a runtime");
            let found = of(&command, parents).map(|engine| match engine.namespace {
                Some(namespace) => format!("{} {namespace}", engine.name),
                None => engine.name.to_owned(),
            });
            assert_eq!(found.as_deref().unwrap_or("-"), engine, "{line} {parents:?}");
        };
        let shim = "/run/containerd/io.containerd.runtime.v2.task";
        check(
            &format!(
                "runc --root /var/run/docker/runtime-runc/moby --log {shim}/moby/a/log.json create --bundle \
                 {shim}/moby/a a"
            ),
            &[],
            "docker",
        );
        check("runc --root /var/run/docker/runtime-runc/moby delete --force a", &["containerd-shim"], "docker");
        check("crun --root /x/exec/runtime-crun/moby delete a", &[], "docker");
        check(
            &format!("runc --root /run/containerd/runc/k8s.io --log {shim}/k8s.io/a/log.json delete a"),
            &[],
            "containerd k8s.io",
        );
        check("runc --root /run/containerd/runc/default delete a", &["containerd-shim"], "containerd default");
        check("runc --root /run/containerd/runc/buildkit delete a", &[], "buildkit");
        check("runc --log /var/lib/buildkit/runc-overlayfs/executor/runc-log.json delete a", &[], "buildkit");
        check("runc run --bundle /var/lib/docker/buildkit/executor/a --keep a", &["dockerd"], "buildkit");
        check("buildkit-runc delete a", &[], "buildkit");
        check("docker-runc delete a", &[], "docker");
        let userdata = "storage/overlay-containers/a/userdata";
        check(&format!("crun create --bundle /var/lib/containers/{userdata} a"), &["conmon"], "podman");
        check(&format!("crun --log /run/containers/{userdata}/oci-log create a"), &["conmon"], "podman");
        check(&format!("crun create --bundle /home/u/.local/share/containers/{userdata} a"), &[], "podman");
        check(&format!("runc --root=/run/runc create --bundle /run/containers/{userdata} a"), &["conmon"], "cri-o");
        check("crun delete --force a", &["podman"], "podman");
        check("runc create --bundle /var/tmp/buildah12 buildah-buildah12", &["exe"], "buildah");
        check("runc delete buildah-buildah12", &["exe"], "buildah");
        // A shim and conmon are parents of what runs in their containers too.
        for parent in ["containerd-shim", "conmon", "sh", "systemd"] {
            check("runc run web", &[parent, "podman", "dockerd"], "-");
        }
        check("runc --root /run/runc run --bundle /b buildah-web", &[], "-");
    }

    #[test]
    fn a_bundle_that_stands_tells_its_engine() {
        let check = |bundle: &str, engine: &str| {
            let found = of_bundle("runc", Path::new(bundle)).map(|engine| match engine.namespace {
                Some(namespace) => format!("{} {namespace}", engine.name),
                None => engine.name.to_owned(),
            });
            assert_eq!(found.as_deref().unwrap_or("-"), engine, "{bundle}");
        };
        check("/run/containerd/io.containerd.runtime.v2.task/moby/a", "docker");
        check("/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/a", "containerd k8s.io");
        check("/run/containers/storage/overlay-containers/a/userdata", "cri-o");
        check("/home/u/.local/share/containers/storage/overlay-containers/a/userdata", "podman");
        check("/b", "-");
    }
}
