//! What docker keeps of a container: name and image, in a file below the daemon's data root.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::argv;
use crate::input::{NamespaceId, Pid, Process};
use crate::name::Name;
use crate::process::{self, Credentials, Environment};
use crate::rights::Rights;
use crate::root::Root;

/// Where a daemon keeps its data when it is told nothing else, as root.
const DATA_ROOT: &str = "/var/lib/docker";
const CONFIGURATION: &str = "/etc/docker/daemon.json";

/// The part of `config.v2.json` that is of use.
#[derive(Deserialize)]
struct Container {
    #[serde(rename = "Name")]
    name: Option<String>,
    #[serde(rename = "Config")]
    config: Option<Config>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "Image")]
    image: Option<String>,
    #[serde(rename = "Labels")]
    labels: Option<HashMap<String, String>>,
}

/// The part of `daemon.json` that is of use.
#[derive(Deserialize)]
struct Configuration {
    #[serde(rename = "data-root", alias = "graph")]
    data_root: Option<String>,
}

/// What docker says of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// A human's name for it.
    pub name: Option<Name>,
    /// Its image.
    pub image: Option<Name>,
    /// Its pod, and that one's namespace, if the kubelet asked for it.
    pub pod: Option<(Name, Name)>,
    /// The file that says it.
    pub source: PathBuf,
}

/// A daemon that runs. Anybody may call a process by that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    pid: Pid,
    user: Credentials,
    namespace: NamespaceId,
    /// It is root's, on the host itself.
    is_hosts: bool,
}

impl Daemon {
    /// Whether it may have been told of the container of a runtime: root's daemon on the host of all, root's in another
    /// mount namespace of those in that, a user's of that user's. `None` stands for a container that was there before.
    pub fn may_know(&self, runtime: Option<&Process>) -> bool {
        let is_own = |runtime: &Process| match self.user.uid {
            0 => runtime.mount_namespace == Some(self.namespace),
            uid => runtime.uid == Some(uid),
        };
        self.is_hosts || runtime.is_some_and(is_own)
    }

    /// The root directory that it sees, with its user's rights. `None` if it is gone.
    pub fn root(&self) -> Option<Root> {
        Root::of(self.pid, Rights::of_user(self.user.clone()))
    }

    fn data_root(&self, root: &Root) -> Option<PathBuf> {
        let argv = process::argv(self.pid)?;
        let told = data_root(&argv).or_else(|| {
            let path = argv::option(&argv, &["--config-file"])
                .map_or_else(|| PathBuf::from(CONFIGURATION), |path| path.to_path());
            let configuration: Configuration = root.json(&path)?;
            configuration.data_root.map(PathBuf::from)
        });
        let own = || match argv.iter().any(|word| *word == "--rootless") {
            true => {
                let environment = Environment::of(self.pid)?;
                let path = |name: &str| environment.get(name).map(|value| Name::new(value).to_path());
                path("XDG_DATA_HOME")
                    .or_else(|| Some(path("HOME")?.join(".local/share")))
                    .map(|home| home.join("docker"))
            }
            false => Some(PathBuf::from(DATA_ROOT)),
        };
        told.or_else(own)
    }
}

/// The daemons that run on this host, within containers too. None is asked anything yet.
pub fn daemons() -> Vec<Daemon> {
    let daemon = |pid| {
        let user = process::credentials(pid)?;
        let is_hosts = user.uid == 0 && process::has_root_of_host(pid);
        Some(Daemon { pid, user, namespace: process::mount_namespace(pid)?, is_hosts })
    };
    process::named(&["dockerd"]).into_iter().filter_map(daemon).collect()
}

/// `--data-root` of a daemon's command line, and its older names.
fn data_root(argv: &[Name]) -> Option<PathBuf> {
    Some(argv::option(argv, &["--data-root", "-g", "--graph"])?.to_path())
}

/// Whether an id is one that docker gives.
pub fn is_id(id: &Name) -> bool {
    id.as_bytes().len() == 64 && id.as_bytes().iter().all(u8::is_ascii_hexdigit)
}

/// What is kept of a container in the usual place, seen from a root directory.
pub fn in_usual_place(root: &Root, id: &Name) -> Option<Said> {
    read(root, Path::new(DATA_ROOT), id)
}

/// What a daemon keeps of a container, seen from its own root directory.
pub fn of_daemon(daemon: &Daemon, root: &Root, id: &Name) -> Option<Said> {
    read(root, &daemon.data_root(root)?, id)
}

fn read(root: &Root, data_root: &Path, id: &Name) -> Option<Said> {
    if !is_id(id) {
        return None;
    }
    let source = data_root.join("containers").join(id.to_path()).join("config.v2.json");
    let container: Container = root.json(&source)?;
    let (image, labels) = container.config.map_or((None, None), |config| (config.image, config.labels));
    let name = container.name.map(|name| name.trim_start_matches('/').to_owned());
    let kubelets = name.as_deref().zip(labels.as_ref()).and_then(|(name, labels)| kubelets(name, labels));
    let (own, pod) = kubelets
        .map_or((None, None), |[own, pod, namespace]| (Some(own), Some((Name::from(pod), Name::from(namespace)))));
    let told = |text: String| (!text.is_empty()).then(|| Name::from(text));
    Some(Said { name: own.or(name).and_then(told), image: image.and_then(told), pod, source })
}

/// The container, pod and namespace that the kubelet asked for. Anybody may choose a name, or labels: both must say the
/// same.
fn kubelets(name: &str, labels: &HashMap<String, String>) -> Option<[String; 3]> {
    let told = ["container.name", "pod.name", "pod.namespace"]
        .map(|key| labels.get(&format!("io.kubernetes.{key}")).filter(|value| !value.is_empty()).cloned());
    let [Some(container), Some(pod), Some(namespace)] = told else { return None };
    name.starts_with(&format!("k8s_{container}_{pod}_{namespace}_")).then_some([container, pod, namespace])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{BootTime, ProcessChange};

    #[test]
    fn a_daemon_says_where_its_data_is() {
        let check = |line: &str, path: Option<&str>| {
            let argv: Vec<Name> = line.split(' ').map(Name::from).collect();
            assert_eq!(data_root(&argv), path.map(PathBuf::from), "{line}");
        };
        check("dockerd --data-root /d --debug", Some("/d"));
        check("dockerd --debug --data-root=/d", Some("/d"));
        check("dockerd -g /d", Some("/d"));
        check("dockerd --graph=/d", Some("/d"));
        check("dockerd --debug", None);
        check("dockerd --data-root", None);
        let file: Configuration = serde_json::from_str(r#"{"data-root":"/d","debug":true}"#).expect("read");
        assert_eq!(file.data_root.as_deref(), Some("/d"));
    }

    #[test]
    fn a_container_is_named_in_the_daemons_data() {
        let directory = tempfile::tempdir().expect("a directory");
        let id = "a1".repeat(32);
        let place = directory.path().join("containers").join(&id);
        std::fs::create_dir_all(&place).expect("made");
        let config = r#"{"Name":"/web","Config":{"Image":"nginx:1"}}"#;
        std::fs::write(place.join("config.v2.json"), config).expect("written");
        let root = Root::own().expect("there");
        let said = read(&root, directory.path(), &id.as_str().into()).expect("said");
        assert_eq!((said.name, said.image), (Some("web".into()), Some("nginx:1".into())));
        assert_eq!(read(&root, directory.path(), &"../web".into()), None);
    }

    #[test]
    fn a_pod_is_told_if_name_and_labels_say_the_same() {
        let check = |name: &str, labels: &[(&str, &str)], told: Option<[&str; 3]>| {
            let labels = labels.iter().map(|(key, value)| (format!("io.kubernetes.{key}"), (*value).to_owned()));
            let found = kubelets(name, &labels.collect());
            assert_eq!(found, told.map(|told| told.map(str::to_owned)), "{name}");
        };
        let labels = [("container.name", "web"), ("pod.name", "shop-7d9"), ("pod.namespace", "prod")];
        check("k8s_web_shop-7d9_prod_0b1c_0", &labels, Some(["web", "shop-7d9", "prod"]));
        check("k8s_POD_shop-7d9_prod_0b1c_0", &labels, None);
        check("evil", &labels, None);
        check("k8s_web_shop-7d9_prod_0b1c_0", &labels[..2], None);
        check("k8s_web_shop-7d9_prod_0b1c_0", &[], None);
    }

    #[test]
    fn a_strangers_daemon_is_asked_of_its_own_containers_only() {
        let daemon = |uid, namespace, is_hosts| {
            let user = Credentials { uid, gid: uid, groups: Vec::new() };
            Daemon { pid: Pid(1), user, namespace: NamespaceId(namespace), is_hosts }
        };
        let runtime = |uid, namespace| {
            let mut process = Process::new(BootTime(1), Pid(2), ProcessChange::Exec, "runc".into());
            (process.uid, process.mount_namespace) = (Some(uid), Some(NamespaceId(namespace)));
            process
        };
        let (hosts, users, nested) = (daemon(0, 1, true), daemon(1000, 5, false), daemon(0, 7, false));
        let roots = runtime(0, 1);
        assert!(hosts.may_know(None) && hosts.may_know(Some(&roots)) && hosts.may_know(Some(&runtime(1000, 5))));
        assert!(!users.may_know(None) && !users.may_know(Some(&roots)) && !users.may_know(Some(&runtime(1001, 6))));
        assert!(users.may_know(Some(&runtime(1000, 6))));
        let in_hosts_namespace = daemon(1000, 1, false);
        assert!(!in_hosts_namespace.may_know(Some(&roots)), "anybody may call a process dockerd there");
        assert!(!nested.may_know(None) && !nested.may_know(Some(&roots)) && nested.may_know(Some(&runtime(0, 7))));
    }
}
