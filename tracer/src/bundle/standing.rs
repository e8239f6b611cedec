//! Where the host keeps what says something of a container that was there before tracing began.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::state::{self, Files};
use super::{Reader, Said, machines, read_config};
use crate::engine;
use crate::input::{ContainerFacts, Pid, Unread};
use crate::machine;
use crate::name::Name;
use crate::process;
use crate::root::{self, Refused, Root};
use crate::runtimes::{RUNTIMES, State};
use crate::watcher::{PROGRAMS, Watched};

/// Directories that hold one for each container, and where the bundle is below that. A `*` stands for a part of a name.
const BUNDLES: [(&str, &str); 6] = [
    // CRI-O's and podman's.
    ("/run/containers/storage/*-containers", "userdata"),
    ("/var/lib/containers/storage/*-containers", "userdata"),
    // Containerd's, whichever way it is installed: a directory for each of its namespaces.
    ("/run/containerd/io.containerd.runtime.*/*", ""),
    ("/run/docker/containerd/daemon/io.containerd.runtime.*/*", ""),
    ("/run/k3s/containerd/io.containerd.runtime.*/*", ""),
    ("/var/snap/microk8s/common/run/containerd/io.containerd.runtime.*/*", ""),
];
/// Processes that stay with containers, and directories of theirs, that are remembered.
const WATCHERS: usize = 65_536;
const DIRECTORIES: usize = 64;

impl Reader {
    /// What the host says of a container that was there before tracing began: its bundle, where engines and those who
    /// stay with containers keep it, its runtime's state, and docker's own file; and of a machine, what LXC and systemd
    /// keep.
    pub fn read_standing(&mut self, id: &Name, runtime: &str) -> Said {
        let Some(root) = Root::of_host() else { return Said::default() };
        let facts = self.standing(&root, id, runtime).map(|mut facts| {
            facts.leave_out_long();
            facts
        });
        let unread = |file: Refused| Unread { id: id.clone(), pid: None, path: Some(file.path), reason: file.reason };
        Said { facts: facts.into_iter().collect(), unread: root.take_refused().into_iter().map(unread).collect() }
    }

    fn standing(&mut self, root: &Root, id: &Name, runtime: &str) -> Option<ContainerFacts> {
        let text = id.to_str().filter(|id| !id.is_empty() && !id.contains('/') && !id.starts_with('.'))?;
        let watchers = self.watchers.get_or_insert_with(Watchers::read);
        if machine::is_of_machines(runtime) {
            return machines::standing(root, runtime, text).or_else(|| match watchers.of(id)? {
                Watched::Machine(machine) if machine.runtime() == runtime => {
                    machines::read(root, machine, &state::Surroundings { cwd: Some("/".into()), ..Default::default() })
                }
                Watched::Machine(_) | Watched::Conmon { .. } | Watched::Shim { .. } => None,
            });
        }
        let named = watchers.of(id).and_then(Watched::name).cloned();
        let mut places = bundles(root, watchers, text);
        let found = places.find_map(|bundle| Some((read_config(root, &bundle, id, runtime)?, bundle)));
        drop(places);
        let found = found.or_else(|| {
            let (_, said) = state_of(root, text)?;
            let bundle = said.bundle?.to_path();
            Some((read_config(root, &bundle, id, runtime)?, bundle))
        });
        if let Some(((mut facts, config), bundle)) = found {
            facts.annotate(&config.annotations, engine::of_bundle("runc", &bundle));
            let said = self.lists.of_bundle(root, &bundle, id).unwrap_or_default();
            facts.add(said.name.or(named), said.image);
            self.ask_docker(&mut facts, root, None);
            return Some(facts);
        }
        let mut facts = ContainerFacts::new(id.clone(), runtime, Name::from(""));
        let source = self.ask_docker(&mut facts, root, None)?;
        facts.source = Name::new(source.as_os_str().as_encoded_bytes());
        Some(facts).filter(|facts| facts.name.is_some() || facts.image.is_some())
    }
}

/// The bundles that a container of this id may have, the likeliest first.
fn bundles<'a>(root: &'a Root, watchers: &'a Watchers, id: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
    let told = watchers.by_id.get(&Name::from(id)).and_then(|watched| match watched {
        Watched::Conmon { bundle, .. } => bundle.as_ref().map(Name::to_path),
        Watched::Shim { .. } | Watched::Machine(_) => None,
    });
    let usual = BUNDLES.iter().flat_map(move |(place, below)| {
        let directories = root::directories(place, |directory| root.names(directory)).into_iter();
        directories
            .map(move |directory| if below.is_empty() { directory.join(id) } else { directory.join(id).join(below) })
    });
    told.into_iter().chain(usual).chain(watchers.tasks.iter().map(move |directory| directory.join(id)))
}

/// The states that low-level runtimes may keep of it, as root.
fn state_of(root: &Root, id: &str) -> Option<(Name, state::Said)> {
    let path = |place: State| Path::new(place.root).join(id).join(place.file);
    let paths = RUNTIMES.iter().filter_map(|runtime| runtime.state).map(path);
    let paths = paths.map(|path| Name::new(path.as_os_str().as_encoded_bytes())).collect();
    state::read(root, &Files { paths, all: true })
}

/// The processes of root on the host that stay with containers. Anybody may call a process by such a name, and hold up
/// who asks for its arguments.
#[derive(Default)]
pub struct Watchers {
    by_id: HashMap<Name, Watched>,
    /// Directories with the bundles of containerd's containers.
    tasks: BTreeSet<PathBuf>,
}

impl Watchers {
    /// Those that there are.
    pub fn read() -> Self {
        let is_roots = |pid: &Pid| process::credentials(*pid).is_some_and(|user| user.uid == 0);
        let hosts = |pid: &Pid| is_roots(pid) && process::has_root_of_host(*pid);
        let mut watchers = Self::default();
        for pid in process::named(&PROGRAMS).into_iter().filter(hosts).take(WATCHERS) {
            let Some(watched) = process::argv(pid).and_then(|argv| Watched::by(&argv)) else { continue };
            if let Watched::Shim { .. } = &watched
                && let Some(directory) = tasks(pid)
                && watchers.tasks.len() < DIRECTORIES
            {
                watchers.tasks.insert(directory);
            }
            watchers.by_id.insert(watched.id().clone(), watched);
        }
        watchers
    }

    /// What the process that stays with a container was told of it.
    pub fn of(&self, id: &Name) -> Option<&Watched> {
        self.by_id.get(id)
    }
}

/// The directory with the bundles of a shim's namespace: it works in one of them.
pub fn tasks(shim: Pid) -> Option<PathBuf> {
    process::working_directory(shim)?.to_path().parent().map(Path::to_owned)
}
