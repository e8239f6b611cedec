//! What an OCI runtime was asked to do, as its command line says. Reads nothing: what it names is read by
//! [`crate::bundle`].

use crate::budget::{Scale, Weigh};
use crate::input::{Actor, ContainerFacts, Pid};
use crate::mounts;
use crate::name::{Name, components};
use crate::runtimes;

/// The rule's name in [`crate::container::Container::rule`] when a command line told the container.
pub const COMMAND_LINE_RULE: &str = "oci-command-line";

/// What an OCI runtime was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeCommand {
    /// The runtime's name in the registry.
    pub runtime: &'static str,
    /// The name it was called by, without its directory.
    pub program: Name,
    /// `create`, `run`, `start`, `delete` … `None` if there was none.
    pub subcommand: Option<String>,
    /// The container's id. `None` for a command that has none, such as `list`.
    pub id: Option<Name>,
    /// `--root`.
    pub root: Option<Name>,
    /// `--bundle`. `None` stands for the working directory.
    pub bundle: Option<Name>,
    /// `--log`.
    pub log: Option<Name>,
    /// `--keep`: a `run` leaves its state to whoever asked for it.
    pub keep: bool,
    /// `--detach`: a `run` does not wait for its container.
    pub detach: bool,
}

/// Whether it is for a process to put another one into a container's cgroup that is to stay there: it makes the
/// container, or is systemd as the host's first process.
pub fn places(actor: &Actor) -> bool {
    match RuntimeCommand::of(actor) {
        Some(command) => command.makes(),
        None => is_runtime(actor) || actor.pid == Pid(1) && actor.comm == "systemd",
    }
}

/// Whether a process is a runtime's or an engine's, by what it was called by or calls itself.
pub fn is_runtime(actor: &Actor) -> bool {
    let argv = actor.identity.as_ref().and_then(|identity| identity.argv.as_deref()).unwrap_or_default();
    let program = argv.first().and_then(|word| word.as_bytes().rsplit(|byte| *byte == b'/').next());
    let names = program.into_iter().chain([actor.comm.as_bytes()]);
    RuntimeCommand::of(actor).is_some() || names.into_iter().any(|name| runtimes::by_program(name).is_some())
}

impl RuntimeCommand {
    /// What a process was asked to do, if it is an OCI runtime. Where nothing but a thread's name is known, that is it.
    pub fn of(actor: &Actor) -> Option<Self> {
        let identity = actor.identity.as_deref();
        let argv = identity.and_then(|identity| identity.argv.as_deref()).unwrap_or_default();
        let exe = identity.and_then(|identity| identity.exe.as_ref());
        // A thread names itself as it likes: its command line says more.
        command_line(argv.first().unwrap_or(&actor.comm), exe, argv)
    }

    /// That of a program which was told nothing.
    pub fn new(runtime: &'static str, program: Name) -> Self {
        Self {
            runtime,
            program,
            subcommand: None,
            id: None,
            root: None,
            bundle: None,
            log: None,
            keep: false,
            detach: false,
        }
    }

    /// Whether it makes a container.
    pub fn makes(&self) -> bool {
        matches!(self.subcommand.as_deref(), Some("create" | "run"))
    }

    /// The file that it keeps its container's state in, if its command line alone says so.
    pub fn state_file(&self) -> Option<Name> {
        let root = self.root.as_ref().filter(|root| root.as_bytes().first() == Some(&b'/'))?.as_bytes();
        let file = runtimes::by_name(self.runtime)?.state?.file.as_bytes();
        Some(Name::new([root, b"/", self.id.as_ref()?.as_bytes(), b"/", file].concat()))
    }

    /// Whether it may remove its container's cgroups: one that fails to make it does, too.
    pub fn may_remove(&self) -> bool {
        matches!(self.subcommand.as_deref(), Some("create" | "run" | "restore" | "delete"))
    }

    /// Whether it is there until its container has ended, and clears up then.
    pub fn runs_to_its_end(&self) -> bool {
        self.subcommand.as_deref() == Some("run") && !self.detach && !self.keep
    }

    /// Whether its end may say what is left of a container's state. What `--keep` leaves is wanted.
    pub fn may_leave_state(&self) -> bool {
        self.id.is_some() && (self.makes() && !self.keep || self.subcommand.as_deref() == Some("delete"))
    }
}

/// Flags of runc, crun and youki that take a value, without their dashes. From their `--help`.
const WITH_VALUE: &[&str] = &[
    // Before the subcommand.
    "root",
    "log",
    "log-format",
    "log-level",
    "criu",
    "rootless",
    "cgroup-manager",
    // create, run and restore.
    "bundle",
    "b",
    "console-socket",
    "pid-file",
    "preserve-fds",
    "config",
    "f",
    // kill and events.
    "signal",
    "s",
    "interval",
    // exec.
    "process",
    "p",
    "user",
    "u",
    "cwd",
    "env",
    "e",
    "cap",
    "c",
    "apparmor",
    "process-label",
    "cgroup",
    "additional-gids",
    "g",
    // checkpoint and restore.
    "image-path",
    "work-path",
    "parent-path",
    "page-server",
    "status-fd",
    "manage-cgroups-mode",
    "empty-ns",
    "lsm-profile",
    "lsm-mount-context",
    // update.
    "resources",
    "r",
    "memory",
    "memory-reservation",
    "memory-swap",
    "kernel-memory",
    "kernel-memory-tcp",
    "pids-limit",
    "cpu-period",
    "cpu-quota",
    "cpu-burst",
    "cpu-share",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "cpu-idle",
    "cpuset-cpus",
    "cpuset-mems",
    "blkio-weight",
    "l3-cache-schema",
    "mem-bw-schema",
];

/// Subcommands that name a container.
const WITH_ID: [&str; 17] = [
    "create",
    "run",
    "start",
    "delete",
    "kill",
    "state",
    "exec",
    "pause",
    "resume",
    "ps",
    "update",
    "events",
    "checkpoint",
    "restore",
    "spec",
    "mounts",
    "features",
];

/// Reads a process's command line. `None` if it is no OCI runtime, or if it is one's `init` inside the container.
pub fn command_line(comm: &Name, exe: Option<&Name>, argv: &[Name]) -> Option<RuntimeCommand> {
    let mut names = argv.first().into_iter().chain(exe).chain([comm]).map(Name::base_name);
    let (program, runtime) =
        names.find_map(|name| Some((name, runtimes::by_program(name).filter(|known| known.oci)?)))?;
    let mut command = RuntimeCommand::new(runtime.name, Name::new(program));
    // crun takes a regular expression instead of an id.
    let mut pattern = false;
    let mut words = argv.iter().skip(1);
    while let Some(word) = words.next() {
        // What follows is another program's.
        if command.subcommand.as_deref() == Some("exec") && command.id.is_some() {
            break;
        }
        let Some(text) = word.to_str() else {
            positional(&mut command, word);
            continue;
        };
        let Some(flag) = text.strip_prefix('-').map(|flag| flag.strip_prefix('-').unwrap_or(flag)) else {
            positional(&mut command, word);
            continue;
        };
        let (flag, value) = match flag.split_once('=') {
            Some((flag, value)) => (flag, Some(Name::from(value))),
            // runc's --rootless takes a value only behind `=`; a bare one would swallow the subcommand.
            None if flag == "rootless" => (flag, None),
            // `--force` and `--regex` of those; a file elsewhere.
            None if matches!(flag, "f" | "r") && matches!(command.subcommand.as_deref(), Some("delete" | "kill")) => {
                (flag, None)
            }
            None if WITH_VALUE.contains(&flag) => (flag, words.next().cloned()),
            None => (flag, None),
        };
        match flag {
            "regex" => pattern = true,
            "r" => pattern |= command.subcommand.as_deref() != Some("update"),
            "root" => command.root = value,
            "bundle" | "b" => command.bundle = value,
            "log" => command.log = value,
            "keep" => command.keep = is_on(value),
            "detach" | "d" => command.detach = is_on(value),
            _ => {}
        }
    }
    command.id = command.id.take().filter(|_| !pattern);
    (command.subcommand.as_deref() != Some("init")).then_some(command)
}

/// Whether a flag that takes a value only behind `=` is switched on.
fn is_on(value: Option<Name>) -> bool {
    value.is_none_or(|value| value != "false")
}

/// The first word is the subcommand, the second the container, what follows is the container's own.
fn positional(command: &mut RuntimeCommand, word: &Name) {
    match &command.subcommand {
        None => command.subcommand = Some(word.to_json_text().into_owned()),
        Some(subcommand) if command.id.is_none() && WITH_ID.contains(&subcommand.as_str()) => {
            command.id = Some(word.clone());
        }
        Some(_) => {}
    }
}

/// Where in a cgroup path the container is that a command line names: how many components lead to its own cgroup, more
/// than `below`. It is named by its id, by systemd's `PREFIX-ID.scope`, or by the bundle's own `cgroupsPath`.
pub fn depth_in(path: &Name, command: &RuntimeCommand, facts: Option<&ContainerFacts>, below: usize) -> Option<usize> {
    let id = command.id.as_ref().filter(|id| !id.is_empty())?.as_bytes();
    let components: Vec<&[u8]> = components(path.as_bytes()).collect();
    let scope = [b"-", id, b".scope"].concat();
    let named = |is: &dyn Fn(&[u8]) -> bool| {
        components.iter().enumerate().skip(below).find(|(_, component)| is(component)).map(|(index, _)| index + 1)
    };
    named(&|component| component == id || component.ends_with(&scope))
        .or_else(|| end_of(&components, facts?.cgroups_path.as_ref()?, below))
}

/// Whether a cgroup may be the one that a bundle asks for, or lie in it.
pub fn may_be_at(path: &Name, asked: &Name) -> bool {
    !is_somewhere(asked) || depth_of_asked(path, asked).is_some()
}

/// Whether a bundle asks for a cgroup at all: not for the root.
pub fn is_somewhere(asked: &Name) -> bool {
    components(mounts::join(&Name::from("/"), asked).as_bytes()).next().is_some()
}

/// Where in a cgroup path the cgroup is that a bundle asks for: how many components lead to it.
pub fn depth_of_asked(path: &Name, asked: &Name) -> Option<usize> {
    end_of(&components(path.as_bytes()).collect::<Vec<_>>(), asked, 0)
}

/// How many components of a path lead to the cgroup that a bundle asks for, more than `below`.
fn end_of(components: &[&[u8]], asked: &Name, below: usize) -> Option<usize> {
    let asked = asked.as_bytes();
    // A bundle's path is below the runtime's own cgroup, or `SLICE:PREFIX:NAME` for systemd.
    let mut parts = asked.split(|byte| *byte == b':');
    if let (Some(_), Some(prefix), Some(name), None) = (parts.next(), parts.next(), parts.next(), parts.next()) {
        let unit = if prefix.is_empty() { name.to_vec() } else { [prefix, b"-", name].concat() };
        let scope = [&unit[..], b".scope"].concat();
        // Without systemd it is a name like any other.
        let is = |component: &[u8]| component == scope || component == asked;
        let found = components.iter().enumerate().skip(below).find(|(_, component)| is(component));
        return found.map(|(index, _)| index + 1);
    }
    // A relative one is below a cgroup of the runtime's choice: its own one, or the root.
    let asked = mounts::join(&Name::from("/"), &Name::new(asked));
    let asked: Vec<&[u8]> = self::components(asked.as_bytes()).collect();
    if asked.is_empty() {
        return None;
    }
    let ends = components.windows(asked.len()).enumerate().filter(|(_, window)| *window == asked);
    ends.map(|(index, _)| index + asked.len()).find(|end| *end > below)
}

impl Weigh for RuntimeCommand {
    fn weigh(&self, scale: &mut Scale) {
        let Self { runtime: _, program, subcommand, id, root, bundle, log, keep: _, detach: _ } = self;
        program.weigh(scale);
        subcommand.weigh(scale);
        [id, root, bundle, log].into_iter().for_each(|name| name.weigh(scale));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<RuntimeCommand> {
        let argv: Vec<Name> = line.split(' ').map(Name::from).collect();
        command_line(&"exe".into(), None, &argv)
    }

    fn check(line: &str, subcommand: &str, id: &str) {
        let command = parse(line).unwrap_or_else(|| panic!("{line}: no runtime"));
        assert_eq!(command.subcommand.as_deref().unwrap_or("-"), subcommand, "{line}");
        assert_eq!(command.id.map_or("-".to_owned(), |id| id.to_string()), id, "{line}");
    }

    #[test]
    fn command_lines_of_real_callers_name_the_container() {
        check("runc run web", "run", "web");
        check("/usr/bin/buildkit-runc --log /l --log-format json run --bundle /b --keep x1", "run", "x1");
        check("runc --root /run/docker/runtime-runc/moby --log=/x delete --force abc", "delete", "abc");
        check("runc --rootless=true --root /r run --keep ID", "run", "ID");
        check("runc --rootless true delete ID", "true", "-");
        check("crun --systemd-cgroup create --bundle=/b --pid-file /p --console-socket /s abc", "create", "abc");
        check("runc delete -f abc", "delete", "abc");
        check("crun delete -r .*", "delete", "-");
        check("crun kill --regex a.* KILL", "kill", "-");
        check("runc update --memory 1m -r limits.json abc", "update", "abc");
        check("runc exec --cgroup sub -g 7 -t abc sh", "exec", "abc");
        check("runc checkpoint --image-path /i --leave-running abc", "checkpoint", "abc");
        check("crun run -f config.json abc", "run", "abc");
        check("runc kill abc KILL", "kill", "abc");
        check("runc exec --user 0:0 abc sh -c true", "exec", "abc");
        check("runc exec abc grep -r x --root /r", "exec", "abc");
        assert_eq!(parse("runc exec abc ls --root /r").and_then(|command| command.root), None);
        check("runc list", "list", "-");
        check("runc", "-", "-");
        assert_eq!(parse("runc init"), None);
        assert_eq!(parse("sh -c runc"), None);
        assert_eq!(parse("conmon -c abc"), None);
    }

    #[test]
    fn the_thread_name_tells_where_the_command_line_cannot_be_read() {
        assert!(command_line(&"runc".into(), None, &[]).is_some_and(|command| command.runtime == "runc"));
    }

    #[test]
    fn what_a_command_line_leaves_behind_is_told() {
        let keeps = |line: &str| parse(line).is_some_and(|command| command.keep);
        assert!(keeps("runc run --keep web") && keeps("runc run --keep=true web"));
        assert!(!keeps("runc run web") && !keeps("runc run --keep=false web"));
        let stays = |line: &str| parse(line).is_some_and(|command| command.runs_to_its_end());
        assert!(stays("runc run web") && stays("crun run --bundle /d --detach=false web"));
        assert!(!stays("runc run -d web") && !stays("runc run --keep web") && !stays("runc create web"));
        let command = parse("/opt/buildkit-runc-1.2 --log /x/log.json run web").expect("a runtime");
        assert_eq!((command.program, command.log), ("buildkit-runc-1.2".into(), Some("/x/log.json".into())));
    }

    #[test]
    fn a_cgroup_is_told_by_id_scope_or_bundle() {
        let command = parse("runc run web").expect("a runtime");
        let depth = |path: &str, asked: Option<&str>, below| {
            let facts = asked.map(|asked| ContainerFacts {
                cgroups_path: Some(asked.into()),
                ..ContainerFacts::new("web".into(), "runc", "/b/config.json".into())
            });
            depth_in(&path.into(), &command, facts.as_ref(), below)
        };
        assert_eq!(
            (depth("/web", None, 0), depth("/a/web", None, 0), depth("/a/web/container", None, 0)),
            (Some(1), Some(2), Some(2))
        );
        assert_eq!(depth("/user.slice/runc-web.scope", None, 0), Some(2));
        assert_eq!((depth("/webx", None, 0), depth("/", None, 0)), (None, None));
        assert_eq!(
            (depth("/pods/p1", Some("/pods/p1"), 0), depth("/outer/pods/p1/sub", Some("/pods/p1"), 0)),
            (Some(2), Some(3))
        );
        assert_eq!((depth("/p1", Some("p1"), 0), depth("/a/p1/x", Some("../p1/./x/"), 0)), (Some(1), Some(3)));
        assert_eq!(depth("/my.slice/pre-nm.scope", Some("my.slice:pre:nm"), 0), Some(2));
        assert_eq!(depth("/a/:youki:nm", Some(":youki:nm"), 0), Some(2));
        assert_eq!((depth("/else", Some("/pods/p1"), 0), depth("/else", Some("/"), 0)), (None, None));
        // Only below the container around it.
        assert_eq!(
            (depth("/docker/x/web", None, 2), depth("/web/x", None, 1), depth("/web/web", None, 1)),
            (Some(3), None, Some(2))
        );
    }
}
