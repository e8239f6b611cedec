//! What podman, buildah and CRI-O keep of a container: the lists of containers/storage.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use crate::argv;
use crate::name::Name;
use crate::root::{Root, Stamp};

/// Where root's storage is when nobody says otherwise.
const STORAGE: &str = "/var/lib/containers/storage";
/// Lists that are remembered as they were last read: how many, and how many bytes they were.
const REMEMBERED: usize = 4;
const REMEMBERED_BYTES: u64 = 16 << 20;

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

/// `--root` of buildah's command line.
pub fn told_storage(argv: &[Name]) -> Option<PathBuf> {
    let is_buildah = argv.first()?.base_name() == b"buildah";
    Some(argv::option(argv, &["--root"]).filter(|_| is_buildah)?.to_path())
}

/// The lists as they were last read: one is asked for every container in it.
#[derive(Default)]
pub struct Lists(Vec<(Stamp, Rc<Index>)>);

/// The containers of a list by their ids.
#[derive(Default)]
struct Index(HashMap<String, Container>);

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Index;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of containers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Index, A::Error> {
                let mut index = Index::default();
                while let Some(container) = list.next_element::<Container>()? {
                    index.0.insert(container.id.clone(), container);
                }
                Ok(index)
            }
        }

        deserializer.deserialize_seq(List)
    }
}

impl Lists {
    /// What storage says of the container whose bundle this is: `STORAGE/DRIVER-containers/ID/userdata`.
    pub fn of_bundle(&mut self, root: &Root, bundle: &Path, id: &Name) -> Option<Said> {
        let containers = bundle.parent()?.parent()?;
        // CRI-O keeps bundles in the run root.
        let usual = Path::new(STORAGE).join(containers.file_name()?);
        let id = id.to_str()?;
        [containers, &usual].into_iter().find_map(|containers| self.find(root, containers, |all| all.get(id)))
    }

    /// What storage says of a container whose id begins so: buildah gives a container's host the first twelve digits as
    /// its name.
    pub fn by_host_name(&mut self, root: &Root, storages: &[PathBuf], host: &str) -> Option<Said> {
        if host.len() != 12 || !host.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        storages.iter().find_map(|storage| {
            let mut directories = root.names(storage).into_iter().filter(|name| name.as_bytes().ends_with(CONTAINERS));
            directories.find_map(|name| {
                self.find(root, &storage.join(name.to_path()), |all| {
                    let mut called = all.values().filter(|container| container.id.starts_with(host));
                    // Of two that begin alike nothing is known.
                    called.next().filter(|_| called.next().is_none())
                })
            })
        })
    }

    /// Looks in a directory `DRIVER-containers`.
    fn find(
        &mut self,
        root: &Root,
        containers: &Path,
        which: impl Fn(&HashMap<String, Container>) -> Option<&Container>,
    ) -> Option<Said> {
        // Containers that are removed with their process are in a list of their own, in newer versions.
        ["containers.json", "volatile-containers.json"].iter().find_map(|list| {
            let index = self.read(root, &containers.join(list))?;
            Some(said(root, containers, which(&index.0)?))
        })
    }

    fn read(&mut self, root: &Root, list: &Path) -> Option<Rc<Index>> {
        let (stamp, text) = root.list_unless(list, |stamp| self.0.iter().any(|(known, _)| known == stamp))?;
        let Some(text) = text else {
            return self.0.iter().find(|(known, _)| *known == stamp).map(|(_, index)| Rc::clone(index));
        };
        let index: Rc<Index> = Rc::new(root.parse(list, &text)?);
        if stamp.is_settled() {
            let bytes = |lists: &[(Stamp, Rc<Index>)]| lists.iter().map(|(stamp, _)| stamp.size).sum::<u64>();
            while !self.0.is_empty() && (self.0.len() >= REMEMBERED || bytes(&self.0) + stamp.size > REMEMBERED_BYTES) {
                self.0.remove(0);
            }
            self.0.push((stamp, Rc::clone(&index)));
        }
        Some(index)
    }
}

const CONTAINERS: &[u8] = b"-containers";

/// Where storage is: as told, else at home, else where root's is.
pub fn storages(told: Option<PathBuf>, home: Option<&Path>) -> Vec<PathBuf> {
    let own = home.map(|home| home.join(".local/share/containers/storage"));
    told.into_iter().chain(own).chain([PathBuf::from(STORAGE)]).collect()
}

fn said(root: &Root, containers: &Path, container: &Container) -> Said {
    let metadata: Metadata = serde_json::from_str(&container.metadata).unwrap_or_default();
    let name = container.names.first().cloned().unwrap_or(metadata.name);
    let image = if metadata.image.is_empty() {
        image_name(root, containers, &container.image).unwrap_or_else(|| container.image.clone())
    } else {
        metadata.image
    };
    let told = |text: String| (!text.is_empty()).then(|| Name::from(text));
    Said { name: told(name), image: told(image) }
}

fn image_name(root: &Root, containers: &Path, id: &str) -> Option<String> {
    let driver = containers.file_name()?.to_str()?.strip_suffix("-containers")?;
    let list = containers.parent()?.join(format!("{driver}-images/images.json"));
    let images: Vec<Image> = root.json(&list)?;
    images.into_iter().find(|image| image.id == id)?.names.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

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
            {"id":"p1","names":["web"],"image":"i1",
             "metadata":"{\"image-name\":\"docker.io/nginx:1\",\"name\":\"web\"}"}]"#;
        std::fs::write(containers.join("containers.json"), list).expect("written");
        let images = r#"[{"id":"i1","names":["localhost/base:1"]}]"#;
        std::fs::write(directory.path().join("overlay-images/images.json"), images).expect("written");
        let root = Root::own().expect("there");
        let said = |said: Option<Said>| {
            said.map(|said| [said.name, said.image].map(|name| name.map(|name| name.to_string()).unwrap_or_default()))
        };
        let mut lists = Lists::default();
        let podman = lists.of_bundle(&root, &containers.join("p1/userdata"), &"p1".into());
        assert_eq!(said(podman), Some(["web", "docker.io/nginx:1"].map(str::to_owned)));
        let mut by_host = |host| said(lists.by_host_name(&root, &[directory.path().to_owned()], host));
        assert_eq!(by_host("0a1b2c3d4e5f"), Some(["working", "localhost/base:1"].map(str::to_owned)));
        assert_eq!((by_host("not-an-id"), by_host("0a1b2c3d4e5e")), (None, None));
        // Two that begin alike.
        let twins = r#"[{"id":"0a1b2c3d4e5f66","names":["one"]},{"id":"0a1b2c3d4e5f77","names":["two"]}]"#;
        std::fs::write(containers.join("containers.json"), twins).expect("written");
        assert_eq!(by_host("0a1b2c3d4e5f"), None);
    }

    #[test]
    fn ten_thousand_containers_are_read_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let containers = directory.path().join("vfs-containers");
        std::fs::create_dir_all(&containers).expect("made");
        let list = containers.join("containers.json");
        let id = |number: usize| format!("{number:064x}");
        let entry = |number: usize| {
            let metadata = format!(r#"{{\"image-name\":\"shop/web:1\",\"name\":\"web-{number}\"}}"#);
            let filler = "x".repeat(600);
            format!(r#"{{"id":"{}","names":["web-{number}"],"metadata":"{metadata}","flags":"{filler}"}}"#, id(number))
        };
        let all: Vec<String> = (0..10_000).map(entry).collect();
        std::fs::write(&list, format!("[{}]", all.join(","))).expect("written");
        let size = std::fs::metadata(&list).expect("there").len();
        assert!(size > 4 << 20, "larger than any other file may be: {size}");
        let root = Root::own().expect("there");
        let mut lists = Lists::default();
        let mut name = |number| {
            let bundle = containers.join(id(number)).join("userdata");
            lists.of_bundle(&root, &bundle, &id(number).into()).and_then(|said| said.name).map(|name| name.to_string())
        };
        assert_eq!(name(7).as_deref(), Some("web-7"), "ids of a common prefix");
        // As soon as nobody has changed it for a while, it is not read again.
        while !root.list_unless(&list, |_| true).is_some_and(|(stamp, _)| stamp.is_settled()) {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        name(8);
        let begun = std::time::Instant::now();
        assert!((0..10_000).all(|number| name(number) == Some(format!("web-{number}"))));
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
        // And it is as soon as somebody has.
        std::fs::write(&list, "[]").expect("written");
        assert_eq!(name(8), None);
        std::fs::write(&list, format!("[{}", "x".repeat(17 << 20))).expect("written");
        assert_eq!((name(8), root.take_refused().len()), (None, 1));
    }
}
