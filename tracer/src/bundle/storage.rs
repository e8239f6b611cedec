//! What podman and buildah keep of a container: conmon's command line, and the lists of containers/storage.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::argv;
use crate::name::Name;
use crate::root::Root;

/// Where root's storage is when nobody says otherwise.
const STORAGE: &str = "/var/lib/containers/storage";

/// An entry of `STORAGE/DRIVER-containers/containers.json`.
#[derive(Deserialize)]
struct Container {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    image: String,
    /// JSON in JSON; podman's.
    #[serde(default)]
    metadata: String,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default, rename = "image-name")]
    image: String,
    #[serde(default)]
    name: String,
}

/// An entry of `STORAGE/DRIVER-images/images.json`.
#[derive(Deserialize)]
struct Image {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

/// What is said of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// A human's name for it.
    pub name: Option<Name>,
    /// Its image.
    pub image: Option<Name>,
}

/// The name in conmon's command line, if that is of this container.
pub fn conmon_name(argv: &[Name], id: &Name) -> Option<Name> {
    let is_conmon = argv.first()?.base_name() == b"conmon";
    let value = |flags: [&str; 2]| {
        let mut words = argv.iter().skip(1);
        words.find(|word| flags.iter().any(|flag| *word == flag))?;
        words.next().cloned()
    };
    (is_conmon && value(["-c", "--cid"]).as_ref() == Some(id)).then(|| value(["-n", "--name"])).flatten()
}

/// `--root` of buildah's command line.
pub fn told_storage(argv: &[Name]) -> Option<PathBuf> {
    let is_buildah = argv.first()?.base_name() == b"buildah";
    Some(argv::option(argv, &["--root"]).filter(|_| is_buildah)?.to_path())
}

/// What storage says of the container whose bundle this is: `STORAGE/DRIVER-containers/ID/userdata`.
pub fn of_bundle(root: &Root, bundle: &Path, id: &Name) -> Option<Said> {
    let containers = bundle.parent()?.parent()?;
    find(root, containers, |container| container.id.as_bytes() == id.as_bytes())
}

/// What storage says of a container whose id begins so: buildah gives a container's host the first twelve digits as its name.
pub fn by_host_name(root: &Root, storages: &[PathBuf], host: &str) -> Option<Said> {
    if host.len() != 12 || !host.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    storages.iter().find_map(|storage| {
        let directories = root.names(storage).into_iter().filter(|name| name.as_bytes().ends_with(b"-containers"));
        directories
            .map(|name| storage.join(name.to_path()))
            .find_map(|containers| find(root, &containers, |container| container.id.starts_with(host)))
    })
}

/// Where storage is: as told, else at home, else where root's is.
pub fn storages(told: Option<PathBuf>, home: Option<&Path>) -> Vec<PathBuf> {
    let own = home.map(|home| home.join(".local/share/containers/storage"));
    told.into_iter().chain(own).chain([PathBuf::from(STORAGE)]).collect()
}

/// Looks in a directory `DRIVER-containers`.
fn find(root: &Root, containers: &Path, is: impl Fn(&Container) -> bool) -> Option<Said> {
    // Containers that are removed with their process are in a list of their own, in newer versions.
    let lists = ["containers.json", "volatile-containers.json"];
    let container = lists.iter().find_map(|list| {
        let all: Vec<Container> = serde_json::from_slice(&root.read(&containers.join(list))?).ok()?;
        all.into_iter().find(&is)
    })?;
    let metadata: Metadata = serde_json::from_str(&container.metadata).unwrap_or_default();
    let name = container.names.into_iter().next().unwrap_or(metadata.name);
    let image = if metadata.image.is_empty() {
        image_name(root, containers, &container.image).unwrap_or(container.image)
    } else {
        metadata.image
    };
    let told = |text: String| (!text.is_empty()).then(|| Name::from(text));
    Some(Said { name: told(name), image: told(image) })
}

fn image_name(root: &Root, containers: &Path, id: &str) -> Option<String> {
    let driver = containers.file_name()?.to_str()?.strip_suffix("-containers")?;
    let list = containers.parent()?.join(format!("{driver}-images/images.json"));
    let images: Vec<Image> = serde_json::from_slice(&root.read(&list)?).ok()?;
    images.into_iter().find(|image| image.id == id)?.names.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conmon_names_its_own_container_only() {
        let name = |line: &str, id: &str| {
            let argv: Vec<Name> = line.split(' ').map(Name::from).collect();
            conmon_name(&argv, &id.into()).map(|name| name.to_string())
        };
        let line = "/usr/bin/conmon --api-version 1 -c a1 -u a1 -r /usr/bin/crun -b /b -n web --exit-dir /e";
        assert_eq!(name(line, "a1").as_deref(), Some("web"));
        assert_eq!(
            (name(line, "a2"), name("sh -c a1 -n web", "a1"), name("/usr/bin/conmon -c a1", "a1")),
            (None, None, None)
        );
    }

    #[test]
    fn buildah_says_where_its_storage_is() {
        let told = |line: &str| told_storage(&line.split(' ').map(Name::from).collect::<Vec<_>>());
        assert_eq!(told("buildah --root /g --runroot /r run web true"), Some("/g".into()));
        assert_eq!(told("/usr/bin/buildah run --root=/g web"), Some("/g".into()));
        assert_eq!((told("buildah run web"), told("runc --root /g run web")), (None, None));
        assert_eq!(
            storages(None, Some(Path::new("/h"))),
            ["/h/.local/share/containers/storage", STORAGE].map(PathBuf::from)
        );
    }

    #[test]
    fn storage_names_a_container_and_its_image() {
        let directory = tempfile::tempdir().expect("a directory");
        let containers = directory.path().join("overlay-containers");
        std::fs::create_dir_all(&containers).expect("made");
        std::fs::create_dir_all(directory.path().join("overlay-images")).expect("made");
        let list = r#"[{"id":"0a1b2c3d4e5f66","names":["working"],"image":"i1"},
            {"id":"p1","names":["web"],"image":"i1","metadata":"{\"image-name\":\"docker.io/nginx:1\",\"name\":\"web\"}"}]"#;
        std::fs::write(containers.join("containers.json"), list).expect("written");
        let images = r#"[{"id":"i1","names":["localhost/base:1"]}]"#;
        std::fs::write(directory.path().join("overlay-images/images.json"), images).expect("written");
        let root = Root::own().expect("there");
        let said = |said: Option<Said>| {
            said.map(|said| [said.name, said.image].map(|name| name.map(|name| name.to_string()).unwrap_or_default()))
        };
        let podman = of_bundle(&root, &containers.join("p1/userdata"), &"p1".into());
        assert_eq!(said(podman), Some(["web", "docker.io/nginx:1"].map(str::to_owned)));
        let buildah = find(&root, &containers, |container| container.id.starts_with("0a1b2c3d4e5f"));
        assert_eq!(said(buildah), Some(["working", "localhost/base:1"].map(str::to_owned)));
        let by_host = |host| said(by_host_name(&root, &[directory.path().to_owned()], host)).map(|[name, _]| name);
        assert_eq!((by_host("0a1b2c3d4e5f").as_deref(), by_host("not-an-id")), (Some("working"), None));
    }
}
