//! What the host says of a container: its bundle, the runtime's state, and what the engine keeps of it, each read as
//! the runtime sees it.

mod annotations;
mod docker;
pub mod ending;
#[cfg(test)]
mod hostile;
mod machines;
mod standing;
pub(crate) mod state;
mod storage;
mod watched;

use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::engine::{self, Engine};
use crate::input::{ContainerFacts, Pid, Process, Unread, UnreadReason};
use crate::machine::Machine;
use crate::name::Name;
use crate::oci::RuntimeCommand;
use crate::process;
use crate::rights::Rights;
use crate::root::{Refused, Root};
use crate::watcher::Watched;
use annotations::Annotations;
use standing::Watchers;

/// The part of a bundle's `config.json` that is of use.
#[derive(Default, Deserialize)]
struct Config {
    #[serde(default)]
    annotations: Annotations,
    linux: Option<Linux>,
    #[serde(default)]
    hostname: String,
}

#[derive(Deserialize)]
struct Linux {
    #[serde(rename = "cgroupsPath")]
    cgroups_path: Option<String>,
}

/// Docker's daemons are looked for at most this often, and for at most one part in so many of the time.
const DAEMONS_AGE: Duration = Duration::from_secs(1);
const DAEMONS_SHARE: u32 = 10;
/// Daemons that are asked of one container, at most.
const DAEMONS: usize = 16;

/// What is said of a container is no longer than this, in bytes: who wrote the file may have written anything.
const LONGEST: usize = 4_096;

/// Reads what is said of containers.
#[derive(Default)]
pub struct Reader {
    /// Those that there were when they were first asked for.
    watchers: Option<Watchers>,
    lists: storage::Lists,
    daemons: Vec<docker::Daemon>,
    /// When the daemons were looked for, and how long that took.
    looked: Option<(Instant, Duration)>,
}

/// What was read of containers that are there.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Said {
    /// What is said.
    pub facts: Vec<ContainerFacts>,
    /// What was there, and could not be used.
    pub unread: Vec<Unread>,
}

/// One who sees what a runtime sees.
struct Witness {
    pid: Pid,
    root: Root,
    /// It is the runtime itself.
    is_self: bool,
}

impl Witness {
    /// The runtime itself, or once it is gone a parent in the same mount namespace.
    fn of(process: &Process) -> Option<Self> {
        let namespace = process.mount_namespace;
        let sees_the_same = |pid: &Pid| match namespace {
            Some(namespace) => process::mount_namespace(*pid) == Some(namespace),
            None => *pid == process.pid,
        };
        let family = std::iter::once(process.pid).chain(process.parents.iter().map(|parent| parent.pid));
        let rights = Rights::of(process);
        let by = |pid| Some(Self { pid, root: Root::of(pid, rights.clone())?, is_self: pid == process.pid });
        family.filter(sees_the_same).find_map(by)
    }
}

impl Witness {
    /// What the bundle says of the cgroup, if it is where a parent of a runtime that is gone works. Another bundle may
    /// be there by now, so nothing else is taken from it: a cgroup that the runtime did not make is found to be
    /// nobody's.
    fn cgroups_path(&self, process: &Process, command: &RuntimeCommand, id: &Name) -> Option<ContainerFacts> {
        if command.bundle.as_ref().is_some_and(|bundle| bundle.as_bytes().starts_with(b"/")) {
            return None;
        }
        let parents = process.parents.iter().map(|parent| parent.pid);
        let same = |pid: &Pid| process::mount_namespace(*pid) == process.mount_namespace;
        let places = parents
            .filter(same)
            .filter_map(process::working_directory)
            .flat_map(|cwd| bundles(command.bundle.as_ref().map(Name::to_path), Some(cwd.to_path())));
        let (said, _) = places.filter_map(|bundle| read_config(&self.root, &bundle, id, command.runtime)).next()?;
        let cgroups_path = Some(said.cgroups_path?);
        Some(ContainerFacts { cgroups_path, ..ContainerFacts::new(said.id, command.runtime, said.source) })
    }
}

impl Reader {
    /// What is said of the container that a command line names, and what was there and could not be used. `None` if
    /// there is nothing to say.
    ///
    /// # Errors
    /// When nothing could be read of one that is made: the runtime may be gone.
    pub fn read(
        &mut self,
        process: &Process,
        command: &RuntimeCommand,
    ) -> (Option<Result<ContainerFacts, Unread>>, Vec<Refused>) {
        let witness = Witness::of(process);
        let facts = self.read_as(process, command, witness.as_ref());
        let refused = witness.map(|witness| witness.root.take_refused()).unwrap_or_default();
        match facts {
            // One reason is enough.
            Some(Err(unread)) => {
                let reason = refused.into_iter().find(|file| unread.path.as_ref() == Some(&file.path));
                let reason = reason.map_or(unread.reason, |file| file.reason);
                (Some(Err(Unread { reason, ..unread })), Vec::new())
            }
            facts => (facts, refused),
        }
    }

    fn read_as(
        &mut self,
        process: &Process,
        command: &RuntimeCommand,
        witness: Option<&Witness>,
    ) -> Option<Result<ContainerFacts, Unread>> {
        let id = command.id.clone()?;
        let makes = command.makes();
        let own = witness.filter(|witness| witness.is_self);
        let around = own.map(|own| state::Surroundings::of(own.pid)).unwrap_or_default();
        let bundles = match makes {
            true => bundles(command.bundle.as_ref().map(Name::to_path), around.cwd.as_ref().map(Name::to_path)),
            false => Vec::new(),
        };
        let files = state::files(command, &around);
        let read = witness.and_then(|witness| {
            let from = |bundle: &Path| read_config(&witness.root, bundle, &id, command.runtime);
            bundles.iter().find_map(|bundle| from(bundle)).or_else(|| {
                let (path, said) = state::read(&witness.root, files.as_ref()?)?;
                let bundle = said.bundle.as_ref().map(Name::to_path);
                let (mut facts, config) = bundle.as_deref().and_then(from).unwrap_or_else(|| {
                    (ContainerFacts::new(id.clone(), command.runtime, path.clone()), Config::default())
                });
                facts.cgroups_path = facts.cgroups_path.or(said.cgroups_path);
                Some((facts, config))
            })
        });
        let read = read.or_else(|| {
            let beside = witness.filter(|witness| makes && !witness.is_self)?;
            Some((beside.cgroups_path(process, command, &id)?, Config::default()))
        });
        let Some((mut facts, config)) = read else {
            if !makes {
                return None;
            }
            let path =
                bundles.first().map(|bundle| Name::new(bundle.join("config.json").as_os_str().as_encoded_bytes()));
            let reason = if own.is_some() { UnreadReason::NotReadable } else { UnreadReason::ProcessGone };
            return Some(Err(Unread { id, pid: Some(process.pid), path, reason }));
        };
        (facts.pid, facts.uid) = (Some(process.pid), process.uid);
        // The likeliest of several is not the one that it has.
        facts.state_file =
            files.filter(|files| files.all && files.paths.len() == 1).and_then(|mut files| files.paths.pop());
        let parents: Vec<&str> = process.parents.iter().filter_map(|parent| parent.comm.to_str()).collect();
        facts.annotate(&config.annotations, engine::of(command, &parents));
        if let Some(witness) = witness {
            self.ask_engine(&mut facts, process, &config.hostname, &around, &witness.root);
        }
        facts.leave_out_long();
        Some(Ok(facts))
    }

    /// What is said of a machine that a process starts.
    pub fn read_machine(&mut self, process: &Process, machine: &Machine) -> (Option<ContainerFacts>, Vec<Refused>) {
        let Some(witness) = Witness::of(process).filter(|witness| witness.is_self) else { return (None, Vec::new()) };
        let said = machines::read(&witness.root, machine, &state::Surroundings::of(process.pid));
        let facts = said.map(|mut facts| {
            (facts.pid, facts.uid) = (Some(process.pid), process.uid);
            facts.leave_out_long();
            facts
        });
        (facts, witness.root.take_refused())
    }

    /// Adds what the engine keeps of a container.
    fn ask_engine(
        &mut self,
        facts: &mut ContainerFacts,
        process: &Process,
        host: &str,
        around: &state::Surroundings,
        root: &Root,
    ) {
        match facts.engine.as_deref() {
            Some("podman" | "cri-o") => {
                let source = facts.source.to_path();
                let bundle = source.parent();
                let said = bundle.and_then(|bundle| self.lists.of_bundle(root, bundle, &facts.id)).unwrap_or_default();
                let watched = argv_of_parents(process).find_map(|argv| Watched::by(&argv));
                let named = watched.filter(|watched| watched.id() == &facts.id).and_then(|it| it.name().cloned());
                facts.add(said.name.or(named), said.image);
            }
            Some("buildah") => {
                let home = around.environment.as_ref().and_then(|variables| variables.get("HOME")).map(Name::new);
                let told = argv_of_parents(process).find_map(|argv| storage::told_storage(&argv));
                let storages = storage::storages(told, home.as_ref().map(Name::to_path).as_deref());
                let said = self.lists.by_host_name(root, &storages, host).unwrap_or_default();
                facts.add(said.name, said.image);
            }
            Some("docker") | None => {
                self.ask_docker(facts, root, Some(process));
            }
            Some(_) => {}
        }
    }

    /// Adds what docker says, in the usual place or in that of a daemon that runs. Returns where.
    fn ask_docker(&mut self, facts: &mut ContainerFacts, root: &Root, runtime: Option<&Process>) -> Option<PathBuf> {
        if !docker::is_id(&facts.id) {
            return None;
        }
        let usual = docker::in_usual_place(root, &facts.id);
        let said = usual.or_else(|| {
            let mut daemons = self.daemons().iter().filter(|daemon| daemon.may_know(runtime)).take(DAEMONS);
            daemons.find_map(|daemon| {
                let its = daemon.root()?;
                let said = docker::of_daemon(daemon, &its, &facts.id);
                root.refuse(its.take_refused());
                said
            })
        })?;
        facts.add(said.name, said.image);
        if let Some((pod, namespace)) = said.pod {
            (facts.pod, facts.namespace) = (Some(pod), Some(namespace));
        }
        Some(said.source)
    }

    fn daemons(&mut self) -> &[docker::Daemon] {
        if self.looked.is_none_or(|(at, took)| at.elapsed() > DAEMONS_AGE.max(took * DAEMONS_SHARE)) {
            let begun = Instant::now();
            self.daemons = docker::daemons();
            self.looked = Some((begun, begun.elapsed()));
        }
        &self.daemons
    }
}

/// The command lines of a runtime's parents that are of the same user: another one's may never be told.
fn argv_of_parents(process: &Process) -> impl Iterator<Item = Vec<Name>> {
    let parents = process.parents.iter().map(|parent| parent.pid);
    let same = |pid: &Pid| process::credentials(*pid).is_some_and(|user| Some(user.uid) == process.uid);
    parents.filter(same).filter_map(process::argv)
}

impl ContainerFacts {
    /// Adds what the annotations of its bundle say, of a container of that engine.
    fn annotate(&mut self, annotations: &Annotations, engine: Option<Engine>) {
        let said = annotations::said(annotations, engine.as_ref());
        (self.name, self.image, self.pod) = (said.name, said.image, said.pod);
        self.engine = said.engine.or(engine.as_ref().map(|engine| engine.name)).map(str::to_owned);
        self.namespace = said.namespace.or(engine.and_then(|engine| engine.namespace));
    }

    /// Adds what is not known yet.
    fn add(&mut self, name: Option<Name>, image: Option<Name>) {
        self.name = self.name.take().or(name);
        self.image = self.image.take().or(image);
    }

    /// What is too long to be a name is none.
    fn leave_out_long(&mut self) {
        let names = [&mut self.name, &mut self.image, &mut self.pod, &mut self.namespace, &mut self.cgroups_path];
        for name in names.into_iter().chain([&mut self.state_file]) {
            name.take_if(|name| name.as_bytes().len() > LONGEST);
        }
        self.engine.take_if(|engine| engine.len() > LONGEST);
    }
}

/// Where a bundle may be. A relative one starts where the runtime is, which nobody else knows, and a runtime goes to
/// its bundle.
fn bundles(told: Option<PathBuf>, cwd: Option<PathBuf>) -> Vec<PathBuf> {
    let Some(told) = told else { return cwd.into_iter().collect() };
    if told.is_absolute() {
        return vec![told];
    }
    let Some(cwd) = cwd else { return Vec::new() };
    let names = told.components().skip_while(|part| matches!(part, Component::CurDir | Component::ParentDir));
    let is_there = cwd.ends_with(names.collect::<PathBuf>());
    std::iter::once(cwd.join(told)).chain(is_there.then_some(cwd.clone())).collect()
}

/// What a bundle says: the cgroup, and what else is of use.
fn read_config(root: &Root, bundle: &Path, id: &Name, runtime: &str) -> Option<(ContainerFacts, Config)> {
    let path = bundle.join("config.json");
    let mut config: Config = root.json(&path)?;
    let cgroups_path = config.linux.take().and_then(|linux| linux.cgroups_path).filter(|path| !path.is_empty());
    let facts = ContainerFacts {
        cgroups_path: cgroups_path.map(Name::from),
        ..ContainerFacts::new(id.clone(), runtime, Name::new(path.as_os_str().as_encoded_bytes()))
    };
    Some((facts, config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{Parent, ProcessChange};
    use crate::oci::command_line;

    fn read(process: &Process, command: &RuntimeCommand) -> Option<Result<ContainerFacts, Unread>> {
        Reader::default().read(process, command).0
    }

    /// A runtime that is gone, whose parent is this process.
    fn gone(line: &str) -> (Process, RuntimeCommand) {
        let argv: Vec<Name> = line.split(' ').map(Name::from).collect();
        let command = command_line(&"runc".into(), None, &argv).expect("a runtime");
        let own = Pid(std::process::id());
        let mut process = process::identity(own).expect("it is alive");
        process.uid = Some(0);
        process.parents = vec![Parent { pid: own, comm: "sh".into() }];
        process.pid = Pid(u32::MAX);
        process.change = ProcessChange::Exec;
        process.argv = Some(argv);
        (process, command)
    }

    fn write_bundle(directory: &Path) {
        let config = r#"{"annotations":{"io.kubernetes.cri.container-type":"container",
            "io.kubernetes.cri.container-name":"web","io.kubernetes.cri.image-name":"nginx:1",
            "io.kubernetes.cri.sandbox-name":"pod-1","io.kubernetes.cri.sandbox-namespace":"shop"},
            "linux":{"cgroupsPath":"/kubepods/x"}}"#;
        std::fs::write(directory.join("config.json"), config).expect("it can be written");
    }

    #[test]
    fn a_bundle_that_stands_tells_name_image_and_pod() {
        let directory = tempfile::tempdir().expect("a directory");
        write_bundle(directory.path());
        let root = Root::own().expect("there");
        let read = read_config(&root, directory.path(), &"id".into(), "containerd");
        let (mut facts, config) = read.expect("it is read");
        facts.annotate(&config.annotations, None);
        let told = [facts.name, facts.image, facts.pod, facts.namespace, facts.cgroups_path];
        assert_eq!(
            told.map(|name| name.map(|name| name.to_string())),
            ["web", "nginx:1", "pod-1", "shop", "/kubepods/x"].map(|text| Some(text.to_owned()))
        );
        assert!(facts.pid.is_none());
    }

    #[test]
    fn a_relative_bundle_is_where_the_runtime_is_or_has_gone_to() {
        let check = |told: Option<&str>, cwd: Option<&str>, found: &[&str]| {
            let found: Vec<PathBuf> = found.iter().map(PathBuf::from).collect();
            assert_eq!(bundles(told.map(PathBuf::from), cwd.map(PathBuf::from)), found, "{told:?} {cwd:?}");
        };
        check(Some("/b"), Some("/w"), &["/b"]);
        check(Some("b/one"), Some("/w"), &["/w/b/one"]);
        check(Some("b/one"), Some("/w/b/one"), &["/w/b/one/b/one", "/w/b/one"]);
        check(Some("../one"), Some("/w/one"), &["/w/one/../one", "/w/one"]);
        check(Some("one"), None, &[]);
        check(None, Some("/w"), &["/w"]);
        check(None, None, &[]);
    }

    #[test]
    fn an_id_that_would_lead_elsewhere_is_not_looked_for() {
        for id in ["", "..", "../../etc", "a/b"] {
            assert!(Reader::default().read_standing(&id.into(), "runc").facts.is_empty(), "{id}");
        }
    }

    #[test]
    fn the_bundle_of_a_runtime_that_is_gone_is_read_as_its_parent_sees_it() {
        let directory = tempfile::tempdir().expect("a directory");
        write_bundle(directory.path());
        let (process, command) = gone(&format!("runc run --bundle {} x", directory.path().display()));
        let facts = read(&process, &command).expect("it makes one").expect("it is read");
        assert_eq!((facts.cgroups_path, facts.pid), (Some("/kubepods/x".into()), Some(process.pid)));
    }

    #[test]
    fn the_state_of_a_runtime_that_is_gone_leads_to_its_cgroup() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().display();
        std::fs::create_dir(directory.path().join("x")).expect("made");
        let state = r#"{"cgroup_paths":{"":"/sys/fs/cgroup/pods/p1"},"config":{"labels":["bundle=/nowhere"]}}"#;
        std::fs::write(directory.path().join("x/state.json"), state).expect("written");
        // A bundle that is relative to nobody knows what.
        let (process, command) = gone(&format!("runc --root {root} run --bundle b x"));
        let facts = read(&process, &command).expect("it makes one").expect("it is read");
        assert_eq!(
            (facts.cgroups_path, facts.source),
            (Some("/pods/p1".into()), format!("{root}/x/state.json").into())
        );
    }

    #[test]
    fn one_that_was_there_before_is_read_by_who_asks_for_it() {
        let directory = tempfile::tempdir().expect("a directory");
        write_bundle(directory.path());
        std::fs::create_dir(directory.path().join("x")).expect("made");
        let place = directory.path().display();
        let state = format!(r#"{{"cgroup_paths":{{"":"/sys/fs/cgroup/pods/p1"}},"bundle":"{place}"}}"#);
        std::fs::write(directory.path().join("x/state.json"), state).expect("written");
        let (process, command) = gone(&format!("runc --root {place} state x"));
        let read = read(&process, &command).expect("said").expect("it is read");
        assert_eq!(read.name, Some("web".into()));
    }

    #[test]
    fn a_name_of_megabytes_is_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let long = "x".repeat(LONGEST + 1);
        let config = format!(r#"{{"annotations":{{"nerdctl/name":"{long}","nerdctl/namespace":"shop"}}}}"#);
        std::fs::write(directory.path().join("config.json"), config).expect("written");
        let (process, command) = gone(&format!("runc run --bundle {} x", directory.path().display()));
        let facts = read(&process, &command).expect("it makes one").expect("it is read");
        assert_eq!((facts.name, facts.namespace), (None, Some("shop".into())));
    }

    #[test]
    fn of_a_bundle_where_a_parent_works_only_the_cgroup_is_taken() {
        let directory = tempfile::tempdir().expect("a directory");
        write_bundle(directory.path());
        let mut parent =
            std::process::Command::new("sleep").arg("60").current_dir(directory.path()).spawn().expect("begun");
        let (mut process, command) = gone("runc --root /nowhere run x");
        process.parents = vec![Parent { pid: Pid(parent.id()), comm: "sh".into() }];
        let read = read(&process, &command).expect("it makes one");
        parent.kill().and_then(|()| parent.wait()).expect("ended");
        let facts = read.expect("it is read");
        assert_eq!((facts.cgroups_path, facts.name, facts.image), (Some("/kubepods/x".into()), None, None));
    }

    #[test]
    fn what_could_not_be_read_is_said() {
        let unread = |line: &str| {
            let (process, command) = gone(line);
            read(&process, &command).expect("it makes one").expect_err("it is not there")
        };
        let told = unread("runc --root /nowhere run --bundle /nowhere/b x");
        assert_eq!((told.id, told.pid, told.reason), ("x".into(), Some(Pid(u32::MAX)), UnreadReason::ProcessGone));
        assert_eq!(told.path, Some("/nowhere/b/config.json".into()));
        assert_eq!(unread("runc --root /nowhere run x").path, None);
        let (process, command) = gone("runc --root /nowhere delete x");
        assert!(read(&process, &command).is_none(), "it makes no container");
    }
}
