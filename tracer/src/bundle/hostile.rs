//! Files that are not what they should be, in every place where something of a container is read.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::state::Files;
use super::{docker, machines, read_config, state, storage};
use crate::input::UnreadReason;
use crate::name::Name;
use crate::rights::Rights;
use crate::root::Root;

const ID: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";
/// What only root may read, and is to be told nowhere.
const SECRET: &str = "root:$6$known-to-root-alone:19000:0:99999:7:::";

/// A place where something is read.
struct Source {
    path: &'static str,
    /// What is there as a rule.
    good: &'static str,
    /// It is JSON: other text is no such file.
    is_json: bool,
    /// All that is told.
    read: fn(&Root) -> Option<String>,
}

fn from_state(root: &Root, path: &str) -> Option<String> {
    let (_, said) = state::read(root, &Files { paths: vec![path.into()], all: true })?;
    Some(format!("{:?}", (said.cgroups_path?, said.bundle)))
}

const SOURCES: &[Source] = &[
    Source {
        path: "bundle/config.json",
        good: r#"{"annotations":{"nerdctl/name":"web"},"linux":{"cgroupsPath":"/web"}}"#,
        is_json: true,
        read: |root| {
            let (facts, config) = read_config(root, Path::new("/bundle"), &ID.into(), "runc")?;
            Some(format!("{facts:?} {:?} {}", config.annotations, config.hostname))
        },
    },
    Source {
        path: "run/runc/web/state.json",
        good: r#"{"cgroup-path":"/web","config":{"labels":["bundle=/b"]}}"#,
        is_json: true,
        read: |root| from_state(root, "/run/runc/web/state.json"),
    },
    Source {
        path: "run/crun/web/status",
        good: r#"{"cgroup-path":"/web","bundle":"/b"}"#,
        is_json: true,
        read: |root| from_state(root, "/run/crun/web/status"),
    },
    Source {
        path: "run/youki/web/youki_config.json",
        good: r#"{"hooks":null,"cgroup_path":"/web"}"#,
        is_json: true,
        read: |root| from_state(root, "/run/youki/web/state.json"),
    },
    Source {
        path: "var/lib/docker/containers/a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90\
               /config.v2.json",
        good: r#"{"Name":"/web","Config":{"Image":"nginx:1","Labels":null}}"#,
        is_json: true,
        read: |root| docker::in_usual_place(root, &ID.into()).map(|said| format!("{said:?}")),
    },
    Source {
        path: "graph/overlay-containers/containers.json",
        good: r#"[{"id":"a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90","names":["web"]}]"#,
        is_json: true,
        read: |root| {
            let bundle = Path::new("/graph/overlay-containers").join(ID).join("userdata");
            storage::Lists::default().of_bundle(root, &bundle, &ID.into()).map(|said| format!("{said:?}"))
        },
    },
    Source {
        path: "var/lib/lxc/web/config",
        good: "# Template used to create this container: lxc-oci\n\
               # Parameters passed to the template: -u docker://web\n",
        is_json: false,
        read: |root| machines::standing(root, "lxc", "web").map(|facts| format!("{facts:?}")),
    },
    Source {
        path: "run/systemd/machines/web",
        good: "NAME=web\nROOT=/srv/web\nCLASS=container\n",
        is_json: false,
        read: |root| machines::standing(root, "nspawn", "web").map(|facts| format!("{facts:?}")),
    },
];

/// What may be there instead.
struct Instead {
    name: &'static str,
    make: fn(&Path),
    /// Why it is of no use. `None` if nothing is there.
    reason: Option<UnreadReason>,
    /// It is text that only JSON cannot be.
    is_text: bool,
}

fn node(path: &Path, kind: FileType, number: u64) {
    mknodat(CWD, path, kind, Mode::RUSR | Mode::WUSR, number).expect("made");
}

const INSTEAD: &[Instead] = &[
    Instead { name: "nothing", make: |_| {}, reason: None, is_text: false },
    Instead {
        name: "link to the shadow file",
        make: |path| symlink("/etc/shadow", path).expect("linked"),
        reason: Some(UnreadReason::Malformed),
        is_text: true,
    },
    Instead {
        name: "link to nowhere",
        make: |path| symlink("/nowhere", path).expect("linked"),
        reason: None,
        is_text: false,
    },
    Instead {
        name: "link to itself",
        make: |path| symlink(path.file_name().expect("a name"), path).expect("linked"),
        reason: Some(UnreadReason::NotReadable),
        is_text: false,
    },
    Instead {
        name: "pipe",
        make: |path| node(path, FileType::Fifo, 0),
        reason: Some(UnreadReason::NotAFile),
        is_text: false,
    },
    Instead {
        name: "device that never ends",
        make: |path| node(path, FileType::CharacterDevice, makedev(1, 5)),
        reason: Some(UnreadReason::NotAFile),
        is_text: false,
    },
    Instead {
        name: "socket",
        make: |path| node(path, FileType::Socket, 0),
        reason: Some(UnreadReason::NotAFile),
        is_text: false,
    },
    Instead {
        name: "directory",
        make: |path| fs::create_dir(path).expect("made"),
        reason: Some(UnreadReason::NotAFile),
        is_text: false,
    },
    Instead {
        name: "gigabytes",
        make: |path| fs::File::create(path).and_then(|file| file.set_len(8 << 30)).expect("made"),
        reason: Some(UnreadReason::TooLarge),
        is_text: false,
    },
    Instead {
        name: "empty file",
        make: |path| fs::write(path, "").expect("written"),
        reason: Some(UnreadReason::Malformed),
        is_text: true,
    },
    Instead {
        name: "half of a file",
        make: |path| fs::write(path, r#"[{"id":"web","annotations":{"nerdctl/na"#).expect("written"),
        reason: Some(UnreadReason::Malformed),
        is_text: true,
    },
    Instead {
        name: "bytes that are no text",
        make: |path| fs::write(path, [0xff, 0xfe, 0, 1].repeat(999)).expect("written"),
        reason: Some(UnreadReason::Malformed),
        is_text: true,
    },
    Instead {
        name: "brackets without end",
        make: |path| fs::write(path, "[".repeat(1 << 20)).expect("written"),
        reason: Some(UnreadReason::Malformed),
        is_text: true,
    },
    Instead {
        name: "numbers for names",
        make: |path| {
            let all =
                ["annotations", "bundle", "cgroup_paths", "cgroup_path", "Name"].map(|key| format!("\"{key}\":7"));
            fs::write(path, format!("{{{}}}", all.join(","))).expect("written");
        },
        reason: Some(UnreadReason::Malformed),
        is_text: true,
    },
];

/// A root directory with what is good in every place but one.
fn tree(directory: &Path, but: &Source) {
    for source in SOURCES {
        let path = directory.join(source.path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        if source.path != but.path {
            fs::write(&path, source.good).expect("written");
        }
    }
    fs::write(directory.join("run/youki/web/state.json"), "{}").expect("written");
    fs::create_dir_all(directory.join("etc")).expect("made");
    fs::write(directory.join("etc/shadow"), SECRET).expect("written");
}

#[test]
fn what_is_not_what_it_should_be_tells_nothing_but_why() {
    for source in SOURCES {
        let good = tempfile::tempdir().expect("a directory");
        tree(good.path(), source);
        fs::write(good.path().join(source.path), source.good).expect("written");
        let root = Root::at(good.path(), Rights::Own).expect("opened");
        let told = (source.read)(&root).expect("it is what it should be");
        assert!(told.contains("web") && root.take_refused().is_empty(), "{}: {told}", source.path);
        for instead in INSTEAD {
            let directory = tempfile::tempdir().expect("a directory");
            tree(directory.path(), source);
            (instead.make)(&directory.path().join(source.path));
            let root = Root::at(directory.path(), Rights::Own).expect("opened");
            let begun = Instant::now();
            let told = (source.read)(&root);
            let which = format!("{} is {}", source.path, instead.name);
            assert_eq!(told, None, "{which}");
            assert!(begun.elapsed() < Duration::from_secs(1), "{which}: {:?}", begun.elapsed());
            let refused: Vec<_> = root.take_refused().into_iter().map(|file| (file.path, file.reason)).collect();
            let expected = instead.reason.filter(|_| source.is_json || !instead.is_text);
            let expected = expected.map(|reason| (Name::from(format!("/{}", source.path)), reason));
            assert_eq!(refused, expected.into_iter().collect::<Vec<_>>(), "{which}");
        }
    }
}

#[test]
fn what_a_user_may_not_read_is_not_read_for_that_user() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root");
    use std::os::unix::fs::PermissionsExt;
    for source in SOURCES {
        let directory = tempfile::tempdir().expect("a directory");
        tree(directory.path(), source);
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("set");
        let file = directory.path().join(source.path);
        fs::write(&file, source.good).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("set");
        let user = crate::process::Credentials { uid: 65_534, gid: 65_534, groups: Vec::new() };
        let root = Root::at(directory.path(), Rights::User(user)).expect("opened");
        assert_eq!((source.read)(&root), None, "{}", source.path);
        let refused = root.take_refused();
        assert_eq!(refused.len(), 1, "{}", source.path);
        assert_eq!(refused[0].reason, UnreadReason::NotReadable);
    }
}
