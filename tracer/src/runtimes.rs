//! The registry of container runtimes: what they are called, and how they are recognised.

/// A program that makes or removes cgroups for containers.
#[derive(Clone, Copy, Debug)]
pub struct Runtime {
    /// The name in JSON, on the command line and in metrics.
    pub name: &'static str,
    /// Names of its programs. A program is also recognised by one of them after a dash (`buildkit-runc`), and before a
    /// version or an architecture (`runc-1.2.1`, `runc.amd64`).
    pub programs: &'static [&'static str],
    /// It understands the OCI runtime command line (`create`, `run`, `delete ID` …).
    pub oci: bool,
    /// Where it keeps containers' state. `None` if that is not known here.
    pub state: Option<State>,
}

/// Where an OCI runtime keeps state.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// The root directory when no `--root` is given, as root.
    pub root: &'static str,
    /// The file below `ROOT/ID`.
    pub file: &'static str,
    /// Which directory it is for anybody else.
    pub rootless: Rootless,
}

/// How a runtime without `--root` finds its root directory, by its own source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rootless {
    /// `$XDG_RUNTIME_DIR/runc` for who is not root, and in a user namespace unless `$USER` is root
    /// (`rootless_linux.go`).
    Runc,
    /// `$XDG_RUNTIME_DIR/crun` wherever that variable is set, for root too (`libcrun/status.c`).
    Crun,
    /// The first of four places that it can make, for who is not root or is in a user namespace (`rootpath.rs`).
    Youki,
}

/// All of them. Scheme names of [`crate::container`]'s rules that are no program of their own are at the end.
pub const RUNTIMES: &[Runtime] = &[
    Runtime {
        name: "runc",
        programs: &["runc"],
        oci: true,
        state: Some(State { root: "/run/runc", file: "state.json", rootless: Rootless::Runc }),
    },
    Runtime {
        name: "crun",
        programs: &["crun"],
        oci: true,
        state: Some(State { root: "/run/crun", file: "status", rootless: Rootless::Crun }),
    },
    Runtime {
        name: "youki",
        programs: &["youki"],
        oci: true,
        state: Some(State { root: "/run/youki", file: "state.json", rootless: Rootless::Youki }),
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
    Runtime { name: "libvirt-lxc", programs: &["libvirt_lxc", "virtlxcd"], oci: false, state: None },
    Runtime { name: "nspawn", programs: &["systemd-nspawn"], oci: false, state: None },
    Runtime { name: "nomad", programs: &["nomad"], oci: false, state: None },
    Runtime { name: "kubernetes", programs: &["kubelet"], oci: false, state: None },
    Runtime { name: "ecs", programs: &[], oci: false, state: None },
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
        program == known || program.len() == COMM && known.starts_with(program)
    };
    let named = |is: &dyn Fn(&&str) -> bool| RUNTIMES.iter().find(|runtime| runtime.programs.iter().any(is));
    // A shim is called after the runtime that it runs: containerd-shim-NAME-VERSION.
    let about = |known: &&str| !program.starts_with(SHIM) && is_variant(program, known.as_bytes());
    named(&is).or_else(|| named(&about)).or_else(|| program.starts_with(SHIM).then(|| by_name("containerd")).flatten())
}

const SHIM: &[u8] = b"containerd-shim-";

/// Whether a program is called `[PREFIX-]KNOWN[SUFFIX]`, with a suffix that tells a version or an architecture.
fn is_variant(program: &[u8], known: &[u8]) -> bool {
    let places = program.windows(known.len()).enumerate().filter(|(_, window)| *window == known);
    places.map(|(at, _)| (&program[..at], &program[at + known.len()..])).any(|(prefix, suffix)| {
        (prefix.is_empty() || prefix.ends_with(b"-"))
            && (suffix.is_empty() || is_variety(suffix, program.len() == COMM))
    })
}

/// Words of a suffix that are no version: architectures; what releases are built of; what administrators and packages
/// call the program that another one stands in front of.
const VARIETIES: &[&str] = &[
    "amd64", "x86_64", "arm64", "aarch64", "armhf", "armel", "arm", "i386", "386", "ppc64le", "ppc64el", "s390x",
    "riscv64", "loong64", "linux", "gnu", "musl", "static", "disable", "systemd", "dirty", "current", "latest",
    "stable", "real", "orig", "distrib", "bak", "old", "new", "debug", "release", "dev",
];

/// `-1.2.1`, `.amd64`, `1.3`, `-v1.2.2-rc.1`, `.x`: what tells two builds of one program apart. A name of a thread may
/// be cut short in its last word.
fn is_variety(suffix: &[u8], cut: bool) -> bool {
    if !suffix[0].is_ascii_digit() && !matches!(suffix[0], b'-' | b'.' | b'_') {
        return false;
    }
    let text = String::from_utf8_lossy(suffix).replace("x86_64", "amd64");
    let words: Vec<&str> = text.split(['-', '.', '_', '+', '~']).filter(|word| !word.is_empty()).collect();
    let is_variety = |word: &&str| {
        let number = word.strip_prefix("rc").or_else(|| word.strip_prefix(['v', 'g'])).unwrap_or(word);
        number.starts_with(|first: char| first.is_ascii_digit())
            || word.len() == 1 && word.bytes().all(|byte| byte.is_ascii_alphabetic())
            || *word == "rc"
            || VARIETIES.contains(word)
    };
    let whole = if cut && words.len() > 1 { &words[..words.len() - 1] } else { &words[..] };
    !whole.is_empty() && whole.iter().all(is_variety)
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
        check("containerd-shim-crun-v1", Some("containerd"));
        check("prunc", None);
        check("bash", None);
        check("", None);
        assert!(comms().all(|comm| comm.len() <= COMM));
    }

    #[test]
    fn a_version_or_an_architecture_behind_the_name_is_the_same_program() {
        let name = |program: &str| by_program(program.as_bytes()).map(|runtime| runtime.name);
        for program in [
            "runc-1.2.1",
            "runc.amd64",
            "runc1.3",
            "runc.x",
            "runc-v1.2.2-rc.1",
            "runc_1.1.5",
            "runc.real",
            "buildkit-runc-1.2.1",
            "runc-1.2.1-linux",
            "runc-1.2.1+g7a6b",
            "runc.x86_64",
            "runc-1.2.1-aarc",
            "docker-runc-current",
            "runc.distrib",
            "runc.bak",
            "runc-1.3.0-dirty",
        ] {
            assert_eq!(name(program), Some("runc"), "{program}");
        }
        assert_eq!(
            (name("crun-1.8"), name("crun.x"), name("youki-0.5.1")),
            (Some("crun"), Some("crun"), Some("youki"))
        );
        assert_eq!(
            (name("crun-1.21-linux-amd64-disable-systemd"), name("youki-x86_64-gnu")),
            (Some("crun"), Some("youki"))
        );
        for program in
            ["runc-helper", "crunch", "runc-", "runcv2", "runc-1.2-test", "runc.sh", "xrunc-1.2", "truncate", "-1"]
        {
            assert_eq!(name(program), None, "{program}");
        }
    }
}
