//! What the command line of a process that stays with a container says of it: conmon's, a containerd shim's, that of
//! LXC's monitor or of systemd-nspawn. Pure.

use crate::argv;
use crate::machine::Machine;
use crate::name::Name;

/// The names of their threads.
pub const PROGRAMS: [&str; 4] = ["conmon", "containerd-shim", "lxc-start", "systemd-nspawn"];

/// A container that a process stays with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// conmon's, podman's and CRI-O's.
    Conmon {
        /// Its id.
        id: Name,
        /// A human's name for it.
        name: Option<Name>,
        /// Its bundle.
        bundle: Option<Name>,
    },
    /// The first of those that a shim stays with: it is in that one's bundle, and the others' are beside it.
    Shim {
        /// Its id.
        id: Name,
    },
    /// A machine.
    Machine(Machine),
}

impl Watched {
    /// The one that a command line names.
    pub fn by(argv: &[Name]) -> Option<Self> {
        let program = argv.first()?.base_name();
        let option = |names| argv::option(argv, names);
        match program {
            b"conmon" => Some(Self::Conmon {
                id: option(&["-c", "--cid"])?,
                name: option(&["-n", "--name"]),
                bundle: option(&["-b", "--bundle"]),
            }),
            _ if program.starts_with(b"containerd-shim") => Some(Self::Shim { id: option(&["-id", "--id"])? }),
            _ => Machine::started_by(argv).map(Self::Machine),
        }
    }

    /// What it is called by its runtime.
    pub fn id(&self) -> &Name {
        match self {
            Self::Conmon { id, .. } | Self::Shim { id } => id,
            Self::Machine(machine) => machine.id(),
        }
    }

    /// The name that conmon was told.
    pub fn name(&self) -> Option<&Name> {
        match self {
            Self::Conmon { name, .. } => name.as_ref(),
            Self::Shim { .. } | Self::Machine(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_stays_with_a_container_names_it() {
        let check = |line: &str, id: &str, name: &str| {
            // LXC's monitor has all in one word.
            let words = if line.starts_with('[') { vec![line] } else { line.split(' ').collect() };
            let argv: Vec<Name> = words.into_iter().map(Name::from).collect();
            let watched = Watched::by(&argv);
            let found = watched.as_ref().map(|watched| [Some(watched.id()), watched.name()]);
            let text = found.unwrap_or_default().map(|name| name.map_or("-".to_owned(), Name::to_string));
            assert_eq!([text[0].as_str(), text[1].as_str()], [id, name], "{line}");
        };
        check("/usr/bin/conmon --api-version 1 -c a1 -u a1 -r /usr/bin/crun -b /b -n web --exit-dir /e", "a1", "web");
        check("conmon --cid a1 --name=web --exit-command-arg -c", "a1", "web");
        check("/usr/bin/conmon -c a1", "a1", "-");
        check("/usr/bin/containerd-shim-runc-v2 -namespace shop -id web-1 -address /x.sock", "web-1", "-");
        check("containerd-shim --namespace=k8s.io --id=a1", "a1", "-");
        check("[lxc monitor] /var/lib/lxc two", "two", "-");
        check("systemd-nspawn -M demo -D /x", "demo", "-");
        check("sh -c a1 -n web", "-", "-");
        check("containerd -id a1", "-", "-");
    }
}
