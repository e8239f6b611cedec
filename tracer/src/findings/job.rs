//! What a process was there for, as far as its command line tells.
//!
//! The exit status of a process says something of a teardown only if the teardown was its job: whoever starts a
//! container fails for many reasons, and tears down because of that.

use crate::input::Actor;
use crate::oci::RuntimeCommand;

/// What a process was there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// To tear a container down: an OCI runtime's `delete` or `kill`, a shim's `delete`, `podman rm`, `lxc-stop` …
    Teardown,
    /// To remove what it is given: `rmdir`, `rm`, `cgdelete`. It wants it to be gone, by whomever.
    Removal,
    /// To start a container (an OCI runtime's `create` or `run`): it tears down what it has made when that fails.
    Start,
    /// Something else, or not known: a shell, a daemon, an unknown program.
    Other,
}

/// Plain programs that remove directories.
const REMOVERS: [&str; 3] = ["rmdir", "rm", "cgdelete"];
/// Podman's subcommands, and those of its `container` and `pod`, that end containers.
const PODMAN: [&str; 7] = ["rm", "stop", "kill", "down", "cleanup", "prune", "remove"];
const PODMAN_GROUPS: [&str; 2] = ["container", "pod"];
/// Podman's subcommands that run something, and whose arguments are not podman's.
const PODMAN_STARTS: [&str; 9] = ["run", "create", "start", "restart", "exec", "build", "play", "kube", "restore"];
const LXC: [&str; 2] = ["lxc-stop", "lxc-destroy"];
/// `containerd-shim-runc-v2` and its kin.
const SHIM: &str = "containerd-shim";

impl Job {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Teardown, Self::Removal, Self::Start, Self::Other];

    /// The job of a process.
    pub fn of(actor: &Actor) -> Self {
        if let Some(command) = RuntimeCommand::of(actor) {
            return match command.subcommand.as_deref() {
                Some("delete" | "kill") => Self::Teardown,
                Some("create" | "run" | "restore") => Self::Start,
                Some(_) | None => Self::Other,
            };
        }
        let identity = actor.identity.as_deref();
        let argv = identity.and_then(|identity| identity.argv.as_deref()).unwrap_or_default();
        let mut words = argv.iter().filter_map(|word| word.to_str());
        // Where no command line is known, the thread's own name is all there is.
        let program = base_name(words.next().or(actor.comm.to_str()).unwrap_or_default());
        // One program of many names is called by one of them, or by its own and the name behind it.
        let program = if program == "busybox" { words.next().unwrap_or(program) } else { program };
        let mut plain = words.filter(|word| !word.starts_with('-'));
        let is_teardown = if program == "podman" {
            // A flag may have its value behind it: what is no subcommand is passed over.
            let subcommands = [&PODMAN[..], &PODMAN_STARTS[..]].concat();
            let first = plain.find(|word| PODMAN_GROUPS.contains(word) || subcommands.contains(word));
            let subcommand =
                if first.is_some_and(|first| PODMAN_GROUPS.contains(&first)) { plain.next() } else { first };
            subcommand.is_some_and(|subcommand| PODMAN.contains(&subcommand))
        } else if program.starts_with(SHIM) {
            plain.any(|word| word == "delete")
        } else {
            LXC.contains(&program)
        };
        if is_teardown {
            Self::Teardown
        } else if REMOVERS.contains(&program) {
            Self::Removal
        } else {
            Self::Other
        }
    }

    /// Whether it begins the life of a container.
    pub fn is_start(self) -> bool {
        self == Self::Start
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The job of a process with this command line.
#[cfg(test)]
fn of_command_line(line: &str) -> Job {
    use crate::input::{Identity, Pid};
    use crate::name::Name;
    let argv: Vec<Name> = line.split(' ').map(Name::from).collect();
    let comm = Name::from(base_name(line.split(' ').next().unwrap_or_default()));
    let identity = Identity { argv: Some(argv), ..Identity::default() };
    Job::of(&Actor { pid: Pid(7), tid: 7, comm, uid: None, identity: Some(identity.into()), incarnation: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_tell_what_a_process_is_there_for() {
        let check = |line: &str, job: Job| assert_eq!(of_command_line(line), job, "{line}");
        check("runc --root /run/r delete --force web", Job::Teardown);
        check("/usr/bin/crun kill web KILL", Job::Teardown);
        check("buildkit-runc run --keep web", Job::Start);
        check("runc create --bundle /b web", Job::Start);
        check("runc exec web rm -r /x", Job::Other);
        check("runc start web", Job::Other);
        check("runc list", Job::Other);
        check("containerd-shim-runc-v2 -namespace moby -id web delete", Job::Teardown);
        check("containerd-shim-runc-v2 -namespace moby -id web", Job::Other);
        check("podman --log-level debug rm -f web", Job::Teardown);
        check("podman container cleanup web", Job::Teardown);
        check("podman run --rm image rm /x", Job::Other);
        check("lxc-stop -n web", Job::Teardown);
        check("lxc-start -n web", Job::Other);
        check("/bin/rmdir /sys/fs/cgroup/x", Job::Removal);
        check("busybox rmdir x", Job::Removal);
        check("rm -rf /sys/fs/cgroup/x", Job::Removal);
        check("sh -c rmdir", Job::Other);
        check("python3 rm", Job::Other);
        check("dockerd", Job::Other);
    }

    #[test]
    fn without_a_command_line_the_name_of_the_thread_tells() {
        let job = |comm: &str| {
            let comm = comm.into();
            Job::of(&Actor::new(crate::input::Pid(7), 7, comm, None))
        };
        assert_eq!((job("rmdir"), job("runc"), job("bash")), (Job::Removal, Job::Other, Job::Other));
    }
}
