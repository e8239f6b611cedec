//! The registry of container runtimes: what they are called, and how they are recognised.

/// A program that makes or removes cgroups for containers.
#[derive(Clone, Copy, Debug)]
pub struct Runtime {
    /// The name in JSON, on the command line and in metrics.
    pub name: &'static str,
    /// Names of its programs. A program is also recognised by one of them after a dash (`buildkit-runc`).
    pub programs: &'static [&'static str],
    /// It understands the OCI runtime command line (`create`, `run`, `delete ID` …).
    pub oci: bool,
    /// Where it keeps a container's state as root: `{id}` is the container's id, below the root directory.
    pub state: Option<State>,
}

/// Where an OCI runtime keeps state.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// The root directory when no `--root` is given, as root.
    pub root: &'static str,
    /// The file below `ROOT/ID`.
    pub file: &'static str,
}

/// All of them. Scheme names of [`crate::container`]'s rules that are no program of their own are at the end.
pub const RUNTIMES: &[Runtime] = &[
    Runtime {
        name: "runc",
        programs: &["runc"],
        oci: true,
        state: Some(State { root: "/run/runc", file: "state.json" }),
    },
    Runtime { name: "crun", programs: &["crun"], oci: true, state: Some(State { root: "/run/crun", file: "status" }) },
    Runtime {
        name: "youki",
        programs: &["youki"],
        oci: true,
        state: Some(State { root: "/run/youki", file: "state.json" }),
    },
    Runtime { name: "runsc", programs: &["runsc"], oci: true, state: None },
    Runtime {
        name: "containerd",
        programs: &["containerd", "containerd-shim", "containerd-shim-runc-v2", "ctr"],
        oci: false,
        state: None,
    },
    Runtime { name: "kata", programs: &["kata-runtime", "containerd-shim-kata-v2"], oci: false, state: None },
    Runtime { name: "nerdctl", programs: &["nerdctl"], oci: false, state: None },
    Runtime { name: "docker", programs: &["dockerd"], oci: false, state: None },
    Runtime { name: "buildkit", programs: &["buildkitd"], oci: false, state: None },
    Runtime { name: "podman", programs: &["podman", "conmon"], oci: false, state: None },
    Runtime { name: "buildah", programs: &["buildah"], oci: false, state: None },
    Runtime { name: "cri-o", programs: &["crio"], oci: false, state: None },
    Runtime {
        name: "lxc",
        programs: &["lxc-start", "lxc-stop", "lxc-execute", "lxcfs", "lxd", "incusd"],
        oci: false,
        state: None,
    },
    Runtime { name: "nspawn", programs: &["systemd-nspawn"], oci: false, state: None },
    Runtime { name: "nomad", programs: &["nomad"], oci: false, state: None },
    Runtime { name: "kubernetes", programs: &["kubelet"], oci: false, state: None },
];

/// The longest name a thread can have.
const COMM: usize = 15;

/// The names that the kernel side watches the start of programs for, at most 15 bytes each.
pub fn comms() -> impl Iterator<Item = &'static str> {
    let prefixed = ["buildkit-runc", "docker-runc"];
    let programs = RUNTIMES.iter().flat_map(|runtime| runtime.programs).copied();
    programs.chain(prefixed).map(|program| &program[..program.len().min(COMM)])
}

/// The runtime that a program's name (without its directory) stands for.
pub fn by_program(program: &[u8]) -> Option<&'static Runtime> {
    let is = |known: &&str| {
        let known = known.as_bytes();
        program == known
            || program.len() == COMM && known.starts_with(program)
            || program.strip_suffix(known).is_some_and(|prefix| prefix.ends_with(b"-"))
    };
    RUNTIMES.iter().find(|runtime| runtime.programs.iter().any(&is))
}

/// The runtime of that name.
pub fn by_name(name: &str) -> Option<&'static Runtime> {
    RUNTIMES.iter().find(|runtime| runtime.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_recognised_by_name_prefix_and_cut_comm() {
        let check = |program: &str, name: Option<&str>| {
            assert_eq!(by_program(program.as_bytes()).map(|runtime| runtime.name), name, "{program}");
        };
        check("runc", Some("runc"));
        check("buildkit-runc", Some("runc"));
        check("containerd-shim", Some("containerd"));
        check("containerd-shim-runc-v2", Some("containerd"));
        check("prunc", None);
        check("bash", None);
        check("", None);
        assert!(comms().all(|comm| comm.len() <= COMM));
    }
}
