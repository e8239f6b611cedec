//! What LXC and systemd leave on disk of a machine: what it was made of.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::state::Surroundings;
use crate::input::ContainerFacts;
use crate::lxc;
use crate::machine::Machine;
use crate::name::Name;
use crate::nspawn;
use crate::process::OwnUser;
use crate::root::Root;

/// Where LXC keeps containers when nobody says otherwise, as root and at a user's home; and what says otherwise.
const LXC: &str = "/var/lib/lxc";
const LXC_AT_HOME: &str = ".local/share/lxc";
const LXC_CONF: &str = "/etc/lxc/lxc.conf";
const LXC_CONF_AT_HOME: &str = ".config/lxc/lxc.conf";
/// Where systemd-machined says what runs.
const MACHINES: &str = "/run/systemd/machines";
/// Where systemd looks for a machine by its name, in its order.
const TREES: [&str; 6] = [
    "/etc/machines",
    "/run/machines",
    "/var/lib/machines",
    "/var/lib/container",
    "/usr/local/lib/machines",
    "/usr/lib/machines",
];

/// What is said of a machine that is started, or runs, as its process sees it.
pub fn read(root: &Root, machine: &Machine, around: &Surroundings) -> Option<ContainerFacts> {
    let (source, image) = match machine {
        Machine::Lxc(start) => of_lxc(root, &lxc_config(root, start, around)?)?,
        Machine::Nspawn(start) => tree(root, start, around.cwd.as_ref()?)?,
    };
    Some(facts(machine.runtime(), machine.id(), &source, image))
}

/// What is said of one of the host's that was there before, in the usual places.
pub fn standing(root: &Root, runtime: &str, id: &str) -> Option<ContainerFacts> {
    let (source, image) = match runtime {
        "lxc" => {
            let start = lxc::Start { name: id.into(), directory: None, config: None };
            let roots =
                Surroundings { user: Some(OwnUser { user: 0, in_user_namespace: false }), ..Surroundings::default() };
            of_lxc(root, &lxc_config(root, &start, &roots)?)?
        }
        "nspawn" => of_machined(root, &Path::new(MACHINES).join(id))?,
        _ => return None,
    };
    Some(facts(runtime, &id.into(), &source, image))
}

fn facts(runtime: &str, id: &Name, source: &Path, image: Name) -> ContainerFacts {
    ContainerFacts {
        image: Some(image),
        ..ContainerFacts::new(id.clone(), runtime, Name::new(source.as_os_str().as_bytes()))
    }
}

fn is_plain(name: &Name) -> bool {
    !name.is_empty() && !name.as_bytes().contains(&b'/') && !name.as_bytes().starts_with(b".")
}

/// The configuration of LXC's container.
fn lxc_config(root: &Root, start: &lxc::Start, around: &Surroundings) -> Option<PathBuf> {
    let within = |path: &Name| match path.as_bytes().starts_with(b"/") {
        true => Some(path.to_path()),
        false => Some(around.cwd.as_ref()?.to_path().join(path.to_path())),
    };
    if let Some(config) = &start.config {
        return within(config);
    }
    if !is_plain(&start.name) {
        return None;
    }
    let directory = match &start.directory {
        Some(directory) => within(directory)?,
        None => {
            let home = || Some(PathBuf::from(OsStr::from_bytes(around.environment.as_ref()?.get("HOME")?)));
            let (conf, usual) = match around.user?.user {
                0 => (PathBuf::from(LXC_CONF), PathBuf::from(LXC)),
                _ => (home()?.join(LXC_CONF_AT_HOME), home()?.join(LXC_AT_HOME)),
            };
            lxc_path(&String::from_utf8_lossy(&root.read(&conf).unwrap_or_default())).unwrap_or(usual)
        }
    };
    Some(directory.join(start.name.to_path()).join("config"))
}

/// `lxc.lxcpath` of LXC's own configuration.
fn lxc_path(conf: &str) -> Option<PathBuf> {
    let value =
        |line: &str| Some(line.trim().strip_prefix("lxc.lxcpath")?.trim_start().strip_prefix('=')?.trim().into());
    conf.lines().find_map(value)
}

fn of_lxc(root: &Root, config: &Path) -> Option<(PathBuf, Name)> {
    let text = root.read(config)?;
    Some((config.to_owned(), lxc::image(&String::from_utf8_lossy(&text))?))
}

/// The tree or the image that nspawn was told, or finds by the machine's name.
fn tree(root: &Root, start: &nspawn::Start, cwd: &Name) -> Option<(PathBuf, Name)> {
    let found = match &start.tree {
        Some(tree) => cwd.to_path().join(tree.to_path()),
        None if is_plain(&start.name) => {
            let raw = Name::new([start.name.as_bytes(), b".raw"].concat());
            let places =
                TREES.iter().flat_map(|place| [&raw, &start.name].map(|name| Path::new(place).join(name.to_path())));
            places.into_iter().find(|place| root.has(place) == Some(true))?
        }
        None => return None,
    };
    let image = Name::new(found.as_os_str().as_bytes());
    Some((found, image))
}

/// The tree that systemd-machined was told of.
fn of_machined(root: &Root, file: &Path) -> Option<(PathBuf, Name)> {
    let text = root.read(file)?;
    Some((file.to_owned(), machined_tree(std::str::from_utf8(&text).ok()?)?))
}

fn machined_tree(text: &str) -> Option<Name> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    // An image is mounted somewhere for the machine alone, and then that is all that is said.
    let is_told = |tree: &&str| {
        tree.starts_with('/') && !tree.contains(['\\', '"']) && !tree.starts_with("/tmp/") && !tree.starts_with("/run/")
    };
    (value("CLASS") == Some("container")).then(|| value("ROOT").filter(is_told)).flatten().map(Name::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Environment;

    fn started(line: &str) -> Machine {
        let argv: Vec<Name> = line.split(' ').map(Name::from).collect();
        Machine::started_by(&argv).expect("it starts one")
    }

    #[test]
    fn a_container_of_lxcs_is_read_where_its_user_keeps_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = Root::at(directory.path(), crate::rights::Rights::Own).expect("opened");
        let write = |path: &str, text: &str| {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        let config = |release: &str| {
            format!(
                "# Template used to create this container: /usr/share/lxc/templates/lxc-download\n\
                 # Parameters passed to the template: -d debian -r {release} -a amd64\n"
            )
        };
        write("var/lib/lxc/web/config", &config("roots"));
        write("home/u/.local/share/lxc/web/config", &config("users"));
        write("x/web/config", &config("told"));
        write("w/rc", &config("rc"));
        let around = |user| Surroundings {
            user: Some(OwnUser { user, in_user_namespace: false }),
            environment: Some(Environment::new(["HOME=/home/u"])),
            cwd: Some("/w".into()),
        };
        let image = |line: &str, user| {
            let image = read(&root, &started(line), &around(user))?.image?;
            Some(image.to_str()?.split('/').nth(1)?.to_owned())
        };
        assert_eq!(image("lxc-start -n web", 0).as_deref(), Some("roots"));
        assert_eq!(image("lxc-start -n web", 1000).as_deref(), Some("users"));
        assert_eq!(image("lxc-start -n web -P ../x", 0).as_deref(), Some("told"));
        assert_eq!(image("lxc-execute -n web -f rc", 0).as_deref(), Some("rc"));
        assert_eq!(image("lxc-start -n other", 0), None);
        assert_eq!(image("lxc-start -n ../x/web", 0), None, "its name leads nowhere");
        let standing = |runtime, id| standing(&root, runtime, id).and_then(|facts| facts.image);
        assert_eq!(standing("lxc", "web"), Some("debian/roots/amd64".into()));
        assert_eq!((standing("runc", "web"), standing("lxc", "..")), (None, None));
        write("etc/lxc/lxc.conf", "lxc.bdev.lvm.vg = a\nlxc.lxcpath = /x\n");
        assert_eq!(image("lxc-start -n web", 0).as_deref(), Some("told"));
    }

    #[test]
    fn a_machine_of_nspawns_is_a_tree_or_an_image() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = Root::at(directory.path(), crate::rights::Rights::Own).expect("opened");
        for place in ["var/lib/machines/web", "usr/lib/machines/web"] {
            std::fs::create_dir_all(directory.path().join(place)).expect("made");
        }
        std::fs::write(directory.path().join("var/lib/machines/db.raw"), "").expect("written");
        let around = Surroundings { cwd: Some("/srv".into()), ..Surroundings::default() };
        let check = |line: &str, image: Option<&str>| {
            let found = read(&root, &started(line), &around).and_then(|facts| facts.image);
            assert_eq!(found, image.map(Name::from), "{line}");
        };
        check("systemd-nspawn -M web", Some("/var/lib/machines/web"));
        check("systemd-nspawn -M db -b", Some("/var/lib/machines/db.raw"));
        check("systemd-nspawn -M other", None);
        check("systemd-nspawn -D tree", Some("/srv/tree"));
        check("systemd-nspawn -i /x/db.raw", Some("/x/db.raw"));
    }

    #[test]
    fn machined_tells_a_containers_tree() {
        let check = |text: &str, tree: Option<&str>| assert_eq!(machined_tree(text), tree.map(Name::from), "{text}");
        let head = "# This is private data. Do not parse.\nNAME=web\nSCOPE=machine-web.scope\nSERVICE=nspawn\n";
        check(&format!("{head}ROOT=/var/lib/machines/web\nCLASS=container\nLEADER=7\n"), Some("/var/lib/machines/web"));
        check(&format!("{head}ROOT=/tmp/nspawn-root-Xa1\nCLASS=container\n"), None);
        check(&format!("{head}ROOT=/x\nCLASS=vm\n"), None);
        check(&format!("{head}ROOT=/a\\x20b\nCLASS=container\n"), None);
        check("", None);
    }
}
