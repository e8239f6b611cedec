//! Where a runtime keeps a container's state, and whether it is there.
//!
//! [`files`] is pure: it decides by the command line and by what the process's own user and environment say. What is
//! not known is unknown: only where every place that the runtime may have taken is known does a missing file mean that
//! the state is gone.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::input::Pid;
use crate::name::Name;
use crate::oci::RuntimeCommand;
use crate::process::{self, Environment, OwnUser};
use crate::root::Root;
use crate::runtimes::{self, Rootless};

/// What a runtime without `--root` decides by, as far as it could be read.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Who it takes itself for.
    pub user: Option<OwnUser>,
    /// Its environment.
    pub environment: Option<Environment>,
    /// Its working directory, which a relative `--root` starts at.
    pub cwd: Option<Name>,
}

impl Surroundings {
    /// Those of a process.
    pub fn of(pid: Pid) -> Self {
        Self { user: process::own_user(pid), environment: Environment::of(pid), cwd: process::working_directory(pid) }
    }
}

/// `PATH_MAX`
const LONGEST_PATH: usize = 4_096;
/// Two clocks are compared, a millisecond apart at most. No runtime begins and writes a state within that.
const SLACK: i64 = 1_000_000;

/// The places where a container's state file may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// As the runtime's own root names them, the likeliest first; at least one.
    pub paths: Vec<Name>,
    /// There is no other.
    pub all: bool,
}

impl Files {
    /// The one that is there, or the likeliest one if none is; `None` if that cannot be told.
    pub fn look(&self, root: &Root) -> Option<(&Name, bool)> {
        let mut known = self.all;
        for path in &self.paths {
            match root.has(&path.to_path()) {
                Some(true) => return Some((path, true)),
                Some(false) => {}
                None => known = false,
            }
        }
        known.then(|| self.paths.first().map(|path| (path, false))).flatten()
    }

    /// As [`Files::look`], of what was left at `end`, in nanoseconds since 1970. A file that is younger may be of
    /// another container, which has been given the same id since, or have been changed by somebody else: that cannot be
    /// told.
    pub fn left(&self, root: &Root, end: i64) -> Option<(&Name, bool)> {
        let (path, found) = self.look(root)?;
        let is_old = || root.changed(&path.to_path()).is_some_and(|changed| changed <= end.saturating_add(SLACK));
        (!found || is_old()).then_some((path, found))
    }
}

/// Where the state of the container is that a command line names. `None` if it names none, or nothing is known of the
/// runtime.
pub fn files(command: &RuntimeCommand, around: &Surroundings) -> Option<Files> {
    let state = runtimes::by_name(command.runtime)?.state?;
    let id = OsStr::from_bytes(command.id.as_ref()?.as_bytes());
    // An id with a slash would lead elsewhere; runtimes refuse it too.
    if id.is_empty() || id == "." || id == ".." || id.as_bytes().contains(&b'/') {
        return None;
    }
    let (roots, all) = match &command.root {
        Some(root) if root.as_bytes().starts_with(b"/") => (vec![root.to_path()], true),
        // Who makes a container goes to its bundle, sooner or later.
        Some(root) => {
            let stays = !matches!(command.subcommand.as_deref(), Some("create" | "run"));
            (vec![around.cwd.as_ref()?.to_path().join(root.to_path())], stays)
        }
        None => roots(state, around),
    };
    let path = |root: PathBuf| Name::new(root.join(id).join(state.file).as_os_str().as_bytes());
    // An environment may hold anything. What is longer than a path can be leads nowhere.
    let paths: Vec<Name> = roots.into_iter().map(path).filter(|path| path.as_bytes().len() < LONGEST_PATH).collect();
    (!paths.is_empty()).then_some(Files { paths, all })
}

/// The root directories that a runtime may take when it is told none, and whether these are all.
fn roots(state: runtimes::State, around: &Surroundings) -> (Vec<PathBuf>, bool) {
    let default = PathBuf::from(state.root);
    let variable = |name: &str| {
        let value = around.environment.as_ref()?.get(name).filter(|value| !value.is_empty())?;
        Some(PathBuf::from(OsStr::from_bytes(value)))
    };
    let runtime_directory = || variable("XDG_RUNTIME_DIR");
    let certain = |root: Option<PathBuf>| (vec![root.unwrap_or_else(|| default.clone())], true);
    match (state.rootless, around.user, &around.environment) {
        // Root itself never looks at its environment.
        (Rootless::Runc | Rootless::Youki, Some(OwnUser { user: 0, in_user_namespace: false }), _) => certain(None),
        (Rootless::Runc | Rootless::Crun, _, None) | (Rootless::Runc, None, Some(_)) => {
            let guessed = runtime_directory().map(|directory| directory.join("runc"));
            (guessed.into_iter().chain([default]).collect(), false)
        }
        (Rootless::Crun, _, Some(_)) => certain(runtime_directory().map(|directory| directory.join("crun"))),
        (Rootless::Runc, Some(own), Some(environment)) => {
            let honoured = own.user != 0 || environment.get("USER") != Some(b"root");
            certain(runtime_directory().filter(|_| honoured).map(|directory| directory.join("runc")))
        }
        (Rootless::Youki, user, environment) => {
            let of_user = |user: OwnUser| {
                let number = user.user;
                [PathBuf::from(format!("/run/user/{number}/youki")), PathBuf::from(format!("/tmp/youki-{number}"))]
            };
            let home = variable("HOME").map(|home| home.join(".youki/run"));
            let first = runtime_directory().map(|directory| directory.join("youki"));
            let paths = first.into_iter().chain(user.into_iter().flat_map(of_user)).chain(home).chain([default]);
            (paths.collect(), user.is_some() && environment.is_some())
        }
    }
}

/// What youki keeps beside its state.
const YOUKIS: &str = "youki_config.json";

/// What runtimes keep of a container: runc's and youki's `state.json`, crun's `status`.
#[derive(Deserialize)]
struct State {
    /// By controller; the only one on cgroup2 has none. Whole paths, below `/sys/fs/cgroup` as the runtime sees it.
    #[serde(default)]
    cgroup_paths: std::collections::BTreeMap<String, String>,
    /// crun's: within the hierarchy.
    #[serde(rename = "cgroup-path")]
    cgroup_path: Option<String>,
    /// crun's and youki's.
    bundle: Option<String>,
    config: Option<Config>,
}

/// What is of use in `youki_config.json`.
#[derive(Deserialize)]
struct Youkis {
    /// As the bundle asks for it, or `:youki:ID`.
    cgroup_path: String,
}

#[derive(Deserialize)]
struct Config {
    /// `NAME=VALUE`; runc's own has `bundle=`.
    #[serde(default)]
    labels: Vec<String>,
}

/// What a state file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The cgroup, from the root of its hierarchy or of what the runtime sees of it.
    pub cgroups_path: Option<Name>,
    /// That one and those of other v1 hierarchies, each once.
    pub cgroups: Vec<Name>,
    /// The bundle's directory.
    pub bundle: Option<Name>,
}

/// Reads the state file that is there.
pub fn read(root: &Root, files: &Files) -> Option<(Name, Said)> {
    files.paths.iter().find_map(|path| {
        let place = path.to_path();
        let mut said = said(root.json(&place)?);
        if said.cgroups_path.is_none()
            && place.file_name().is_some_and(|file| file == "state.json")
            && let Some(Youkis { cgroup_path }) = root.json(&place.with_file_name(YOUKIS))
        {
            // systemd's form is none of a path.
            let is_path = !cgroup_path.contains(':');
            said.cgroups_path = Some(cgroup_path.into());
            said.cgroups.extend(said.cgroups_path.clone().filter(|_| is_path));
        }
        Some((path.clone(), said))
    })
}

fn said(state: State) -> Said {
    let within = |(controller, path): (&String, &String)| {
        let below = path.strip_prefix("/sys/fs/cgroup")?;
        let mounted: Vec<&str> = [controller.as_str(), "unified"].into_iter().filter(|name| !name.is_empty()).collect();
        let stripped = mounted.iter().find_map(|name| below.strip_prefix('/')?.strip_prefix(name)?.strip_prefix('/'));
        let path = stripped.map_or_else(|| below.to_owned(), |path| format!("/{path}"));
        (path.len() > 1 && path.starts_with('/')).then_some(path)
    };
    let label = |config: Config| config.labels.iter().find_map(|label| label.strip_prefix("bundle=").map(Name::from));
    let mut cgroups: Vec<Name> = Vec::new();
    for path in state.cgroup_path.into_iter().chain(state.cgroup_paths.iter().filter_map(within)).map(Name::from) {
        if !cgroups.contains(&path) {
            cgroups.push(path);
        }
    }
    Said {
        cgroups_path: cgroups.first().cloned(),
        cgroups,
        bundle: state.bundle.map(Name::from).or_else(|| state.config.and_then(label)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::command_line;

    fn look(line: &str, around: &Surroundings) -> Option<Files> {
        let argv: Vec<Name> = line.split(' ').map(Name::from).collect();
        files(&command_line(&"exe".into(), None, &argv)?, around)
    }

    fn around(user: Option<(u32, bool)>, environment: Option<&[&str]>) -> Surroundings {
        Surroundings {
            user: user.map(|(user, in_user_namespace)| OwnUser { user, in_user_namespace }),
            environment: environment.map(|pairs| Environment::new(pairs.iter().copied())),
            cwd: None,
        }
    }

    const XDG: Option<&[&str]> = Some(&["XDG_RUNTIME_DIR=/x"]);
    const NONE: Option<&[&str]> = Some(&[]);

    #[test]
    fn a_state_lies_where_the_runtimes_own_source_puts_it() {
        let check = |line: &str, user: (u32, bool), environment: Option<&[&str]>, path: &str| {
            let found = look(line, &around(Some(user), environment)).expect("a place");
            assert_eq!((found.paths, found.all), (vec![Name::from(path)], true), "{line} {user:?} {environment:?}");
        };
        check("runc delete a", (0, false), None, "/run/runc/a/state.json");
        check("runc delete a", (0, false), XDG, "/run/runc/a/state.json");
        check("runc delete a", (1000, false), XDG, "/x/runc/a/state.json");
        check("runc delete a", (1000, false), NONE, "/run/runc/a/state.json");
        check("runc delete a", (0, true), XDG, "/x/runc/a/state.json");
        check("runc delete a", (0, true), Some(&["XDG_RUNTIME_DIR=/x", "USER=user"]), "/x/runc/a/state.json");
        check("runc delete a", (0, true), Some(&["XDG_RUNTIME_DIR=/x", "USER=root"]), "/run/runc/a/state.json");
        check("runc delete a", (1000, true), Some(&["XDG_RUNTIME_DIR=", "USER=root"]), "/run/runc/a/state.json");
        check("crun delete a", (0, false), XDG, "/x/crun/a/status");
        check("crun delete a", (0, false), NONE, "/run/crun/a/status");
        check("crun delete a", (0, true), Some(&["XDG_RUNTIME_DIR=/x", "USER=root"]), "/x/crun/a/status");
        check("youki delete a", (0, false), XDG, "/run/youki/a/state.json");
        for line in ["runc --root /r delete a", "crun --root=/r delete a"] {
            let found = look(line, &Surroundings::default()).expect("a place");
            assert!(found.all && found.paths[0].as_bytes().starts_with(b"/r/a/"), "{line}: {found:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_one_of_several_and_not_all() {
        let unknown = |line: &str, user, environment| {
            let found = look(line, &around(user, environment)).expect("a place");
            assert!(!found.all, "{line} {user:?} {environment:?}: {found:?}");
            found.paths
        };
        assert_eq!(unknown("runc delete a", Some((1000, false)), None), ["/run/runc/a/state.json"]);
        assert_eq!(unknown("runc delete a", None, XDG), ["/x/runc/a/state.json", "/run/runc/a/state.json"]);
        assert_eq!(unknown("crun delete a", Some((0, false)), None), ["/run/crun/a/status"]);
        assert_eq!(unknown("youki delete a", None, NONE), ["/run/youki/a/state.json"]);
        let youki = look("youki delete a", &around(Some((7, false)), Some(&["XDG_RUNTIME_DIR=/x", "HOME=/h"])));
        assert!(youki.is_some_and(|found| found.all && found.paths.len() == 5));
        for line in
            ["runc list", "runc delete ../a", "runc delete ..", "runc --root relative delete a", "runsc delete a"]
        {
            assert_eq!(look(line, &Surroundings::default()), None, "{line}");
        }
        let beside = Surroundings { cwd: Some("/w".into()), ..Surroundings::default() };
        let relative = look("runc --root relative delete a", &beside).expect("a place");
        assert_eq!((&relative.paths[..], relative.all), (&[Name::from("/w/relative/a/state.json")][..], true));
        assert!(look("runc --root relative run a", &beside).is_some_and(|found| !found.all), "it goes to its bundle");
    }

    #[test]
    fn a_state_that_is_there_is_found_and_only_a_known_place_can_be_empty() {
        let root = Root::own().expect("there");
        let directory = tempfile::tempdir().expect("a directory");
        let name = |file: &str| Name::new(directory.path().join(file).as_os_str().as_bytes());
        let (there, missing) = (name("state.json"), name("missing"));
        std::fs::write(there.to_path(), "{}").expect("written");
        let files = |paths: &[&Name], all| Files { paths: paths.iter().copied().cloned().collect(), all };
        assert_eq!(files(&[&missing, &there], false).look(&root), Some((&there, true)));
        assert_eq!(files(&[&missing], true).look(&root), Some((&missing, false)));
        assert_eq!(files(&[&missing], false).look(&root), None);
    }

    #[test]
    fn a_state_tells_cgroup_and_bundle() {
        let said = |text: &str| {
            let said = said(serde_json::from_str(text).expect("read"));
            [said.cgroups_path, said.bundle].map(|name| name.map(|name| name.to_string()).unwrap_or_default())
        };
        let runc = r#"{"id":"a","cgroup_paths":{"memory":"/sys/fs/cgroup/memory/pods/p1"},
            "config":{"labels":["x=y","bundle=/b"]}}"#;
        assert_eq!(said(runc), ["/pods/p1", "/b"]);
        assert_eq!(said(r#"{"cgroup_paths":{"":"/sys/fs/cgroup/pods/p1"}}"#), ["/pods/p1", ""]);
        assert_eq!(said(r#"{"cgroup_paths":{"":"/sys/fs/cgroup/unified/pods/p1"}}"#), ["/pods/p1", ""]);
        assert_eq!(said(r#"{"cgroup-path":"/pods/p1","bundle":"/b"}"#), ["/pods/p1", "/b"]);
        assert_eq!(said(r#"{"cgroup_paths":{"":"/else"}}"#), ["", ""]);
    }

    #[test]
    fn youki_keeps_the_cgroup_beside_its_state() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = Root::own().expect("there");
        let state = directory.path().join("state.json");
        let write = |file: &str, text: &str| std::fs::write(directory.path().join(file), text).expect("written");
        let read = || {
            let files = Files { paths: vec![Name::new(state.as_os_str().as_bytes())], all: true };
            let (_, said) = read(&root, &files).expect("read");
            let text = |name: Option<Name>| name.map(|name| name.to_string()).unwrap_or_default();
            (text(said.cgroups_path), said.cgroups.len(), text(said.bundle))
        };
        write("state.json", r#"{"ociVersion":"1.0.2","id":"a","status":"running","bundle":"/b","useSystemd":false}"#);
        assert_eq!(read(), (String::new(), 0, "/b".to_owned()));
        for (path, cgroups) in [("/pods/p1", 1), (":youki:a", 0)] {
            write(YOUKIS, &format!(r#"{{"hooks":null,"cgroup_path":"{path}"}}"#));
            assert_eq!(read(), (path.to_owned(), cgroups, "/b".to_owned()));
        }
    }

    #[test]
    fn a_state_that_is_younger_than_the_end_may_be_another_containers() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("status");
        std::fs::write(&path, "{}").expect("written");
        let root = Root::own().expect("there");
        let files = Files { paths: vec![Name::new(path.as_os_str().as_bytes())], all: true };
        let changed = root.changed(&path).expect("there");
        let left = |end| files.left(&root, end).map(|(_, left)| left);
        assert_eq!((left(changed - SLACK - 1), left(changed)), (None, Some(true)));
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(left(changed), Some(false));
    }
}
