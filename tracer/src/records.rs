//! What runtimes and engines have on this host of their containers: under which names they keep states, bundles and
//! configurations, and which cgroup a low-level runtime's state names.
//!
//! Only whether there is a record is of interest, so names are read, and of files the states of low-level runtimes. The
//! places are those that runtimes and engines take as root when nobody says otherwise.

use std::path::Path;

use crate::bundle::state::{self, Files};
use crate::input::Pid;
use crate::name::Name;
use crate::process;
use crate::root::{self, Root};
use crate::runtimes::RUNTIMES;
use crate::tree::{Records, State};

/// Directories that hold an entry for each container. A `*` stands for any name, or for a part of one.
const PLACES: [&str; 22] = [
    // Low-level runtimes, also those that an engine gave a root of its own.
    "/run/runc",
    "/run/crun",
    "/run/youki",
    "/run/runsc",
    "/run/docker/runtime-*/*",
    "/run/containerd/runc/*",
    // Containerd's tasks, whichever way it is installed.
    "/run/containerd/io.containerd.runtime.*/*",
    "/run/docker/containerd/daemon/io.containerd.runtime.*/*",
    "/run/k3s/containerd/io.containerd.runtime.*/*",
    "/var/snap/microk8s/common/run/containerd/io.containerd.runtime.*/*",
    "/var/lib/docker/containers",
    "/var/lib/docker/buildkit/executor",
    "/var/lib/buildkit/*/executor",
    // Podman and CRI-O.
    "/run/containers/storage/*-containers",
    "/var/lib/containers/storage/*-containers",
    "/var/lib/lxc",
    "/var/lib/lxd/containers",
    "/var/lib/incus/containers",
    "/var/snap/lxd/common/lxd/containers",
    "/run/systemd/machines",
    "/var/lib/machines",
    "/run/libvirt/lxc",
];
/// The processes that stay with a container and have its id in their arguments, by the names of their threads.
const WATCHERS: [&str; 2] = ["conmon", "containerd-shim"];
/// More names of one directory, or more of all: then they are not all known.
const MOST: usize = 1 << 18;
/// States that are read.
const MOST_STATES: usize = 1 << 14;

/// Reads what there is.
pub fn read() -> Records {
    let Some(root) = Root::of_host() else { return Records::default() };
    let mut records = Records {
        whole: true,
        systemd: root.has(Path::new("/run/systemd/system")) == Some(true),
        ..Records::default()
    };
    for place in PLACES {
        for directory in root::directories(place, |directory| list(&root, directory, &mut records.whole)) {
            for name in list(&root, &directory, &mut records.whole) {
                // libvirt has files: NAME.xml, NAME.pid.
                let stem = name.to_str().and_then(|name| name.strip_suffix(".xml")).map(Name::from);
                records.names.extend(std::iter::once(name).chain(stem));
            }
        }
    }
    records.whole &= records.names.len() < MOST;
    records.states = states(&root);
    records
}

/// The processes of root that stay with a container: only of root's cgroups it is said that nothing knows them.
pub fn watchers() -> Vec<Pid> {
    let is_roots = |pid: &Pid| process::credentials(*pid).is_some_and(|user| user.uid == 0);
    process::named(&WATCHERS).into_iter().filter(is_roots).collect()
}

fn list(root: &Root, directory: &Path, whole: &mut bool) -> Vec<Name> {
    let names = root.list(directory, MOST);
    *whole &= names.is_some();
    names.unwrap_or_default()
}

/// The cgroups that low-level runtimes say they made, as root.
fn states(root: &Root) -> Vec<State> {
    let mut found = Vec::new();
    for runtime in RUNTIMES {
        let Some(place) = runtime.state else { continue };
        let directory = Path::new(place.root);
        for id in
            root.list(directory, MOST).unwrap_or_default().into_iter().take(MOST_STATES.saturating_sub(found.len()))
        {
            let path = Name::new(directory.join(id.to_path()).join(place.file).as_os_str().as_encoded_bytes());
            let said = state::read(root, &Files { paths: vec![path], all: true });
            let paths = said.map(|(_, said)| said.cgroups).unwrap_or_default();
            found.extend(paths.into_iter().map(|path| State { id: id.clone(), runtime: runtime.name, path }));
        }
    }
    found
}
