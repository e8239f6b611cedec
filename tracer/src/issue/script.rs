//! The script: the calls of a finding as a POSIX shell makes them, in a mount namespace and a cgroup of its own.
//!
//! Each step of the story is one line. What was there before the story began is made first. A process that was in a
//! cgroup is a `sleep`; one that had no rights is nobody. Names that a shell could misread become other names, so that
//! nothing of the trace is ever read as a command.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::masks::Masks;
use super::scene::{Scene, Step};
use super::shell::{is_plain, printf};
use crate::errno::Errno;
use crate::findings::Finding;
use crate::hierarchy::Hierarchy;
use crate::input::{Actor, Attempt, Change, Circumstances, Event, Operation, Pid};
use crate::mounts::below;
use crate::name::{Name, components};
use crate::oci::RuntimeCommand;

/// Kinds and causes whose calls a shell can make, with the same outcome on any host that has the hierarchy.
const PLAYED: &[(&str, &[&str])] = &[
    ("duplicate-teardown", &["removed-by-other", "removed-by-self"]),
    ("missing-path-teardown", &["read-only-mount", "never-created", "renamed"]),
    ("busy-teardown", &["live-processes", "child-cgroups", "frozen"]),
    ("denied-teardown", &["read-only-mount", "permission"]),
    ("refused-attach", &["inner-processes"]),
    ("refused-control", &["controller-missing", "processes-inside"]),
    ("refused-limit", &["invalid-value"]),
    ("missing-controller", &["bound-to-v1", "not-enabled"]),
];
/// Kinds that are told of container runtimes alone.
const OF_RUNTIMES: [&str; 3] = ["leaked-cgroup", "partial-teardown", "stale-cgroup"];
/// How long what was done is left as it is, in seconds.
const AFTERMATH: &str = "0.5";
/// The same of a removal that was refused: one that is made good in time is not told of.
const REFUSED: &str = "4";

/// A script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script(String);

impl Script {
    /// Its text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// Why there is no script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoScript(String);

impl fmt::Display for NoScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Script {
    /// Of what was gathered.
    ///
    /// # Errors
    /// Why there is none.
    pub fn of(scene: &Scene<'_>, masks: &Masks) -> Result<Self, NoScript> {
        let no = |why: &str| Err(NoScript(why.to_owned()));
        let finding = scene.finding;
        let (kind, cause) = (finding.kind.as_str(), finding.cause.as_str());
        let is_played = PLAYED.iter().any(|(played, causes)| *played == kind && causes.contains(&cause));
        if OF_RUNTIMES.contains(&kind) {
            return no("findings of this kind are told of container runtimes only, and a shell script is not one");
        } else if kind == "lingering-cgroup" {
            return no("the trace does not say what holds the cgroup, and it is told ten minutes after the removal");
        } else if !is_played {
            return no("how it comes about depends on more than the calls that are in the trace");
        } else if scene.left_out > 0 || finding.attempt_count > finding.attempts.len() as u64 {
            return no("too many calls belong to it");
        }
        let hierarchies = scene.header.iter().flat_map(|header| &header.hierarchies);
        let mut own = hierarchies.filter(|hierarchy| hierarchy.id == finding.cgroup.hierarchy);
        let Some(hierarchy) = own.next() else { return no("the trace does not name the cgroup's hierarchy") };
        let Some(mount) = mount(hierarchy) else { return no("the hierarchy's name is not one that can be mounted") };
        let mut writer = Writer::new(finding, masks);
        writer.steps(&scene.steps)?;
        if writer.lines.is_empty() {
            return no("none of its calls is in the trace");
        }
        Ok(Self(writer.text(&mount)))
    }
}

/// What mounts a hierarchy at `/sys/fs/cgroup/all`.
fn mount(hierarchy: &Hierarchy) -> Option<String> {
    if hierarchy.version == 2 {
        return Some("mount -t cgroup2 none /sys/fs/cgroup/all".to_owned());
    }
    let is_plain = |name: &String| is_plain(name.strip_prefix("name=").unwrap_or(name));
    let options = (!hierarchy.controllers.is_empty() && hierarchy.controllers.iter().all(is_plain)).then(|| {
        // A named hierarchy has no controllers, which must be said.
        let none = hierarchy.controllers.iter().all(|name| name.starts_with("name="));
        format!("{}{}", if none { "none," } else { "" }, hierarchy.controllers.join(","))
    })?;
    Some(format!("mount -t cgroup -o {options} none /sys/fs/cgroup/all"))
}

struct Writer<'a> {
    finding: &'a Finding,
    masks: &'a Masks,
    lines: Vec<String>,
    /// Components of paths, as the script calls them.
    names: BTreeMap<Name, String>,
    /// Processes, in the order in which they act.
    processes: Vec<Pid>,
    speaking: Option<Pid>,
    /// Cgroups with a process of the script in them.
    inside: BTreeSet<Name>,
    frozen: BTreeSet<Name>,
    is_read_only: bool,
    /// The last removal: by whom, and its line.
    removal: Option<(Pid, usize)>,
    /// Controllers that the scratch cgroup must have, and those that it must not have.
    needs: BTreeSet<String>,
    lacks: BTreeSet<String>,
    uses: BTreeSet<&'static str>,
    /// What must be there before the story begins.
    setup: BTreeSet<Name>,
}

impl<'a> Writer<'a> {
    fn new(finding: &'a Finding, masks: &'a Masks) -> Self {
        Self {
            finding,
            masks,
            lines: Vec::new(),
            names: BTreeMap::new(),
            processes: Vec::new(),
            speaking: None,
            inside: BTreeSet::new(),
            frozen: BTreeSet::new(),
            is_read_only: false,
            removal: None,
            needs: BTreeSet::new(),
            lacks: BTreeSet::new(),
            uses: BTreeSet::new(),
            setup: BTreeSet::new(),
        }
    }

    /// How the script calls a component: as it is if that is harmless, otherwise by a name of its own.
    fn name(&mut self, component: &[u8]) -> String {
        let component = Name::new(component);
        if let Some(known) = self.names.get(&component) {
            return known.clone();
        }
        let masked = self.masks.apply(&component.printable());
        let is_taken = |name: &str| self.names.values().any(|known| known == name);
        let name = if is_plain(&masked) && !masked.starts_with("cgroup.") && !is_taken(&masked) {
            masked
        } else {
            let mut numbers = self.names.len() + 1..;
            numbers.find_map(|number| Some(format!("cgroup-{number}")).filter(|name| !is_taken(name))).unwrap_or(masked)
        };
        self.names.insert(component, name.clone());
        name
    }

    /// A cgroup's place, from the scratch cgroup on: there a relative path needs no table of mounts to be understood.
    fn place(&mut self, path: &Name) -> String {
        let names: Vec<String> = components(path.as_bytes()).map(|component| self.name(component)).collect();
        std::iter::once(".".to_owned()).chain(names).collect::<Vec<_>>().join("/")
    }

    fn file(&mut self, path: &Name, file: &Name) -> Result<String, NoScript> {
        let name = file.printable();
        if !is_plain(&name) {
            return Err(NoScript("a file of it has a name that is not one of a control file".to_owned()));
        }
        Ok(format!("{}/{name}", self.place(path)))
    }

    fn line(&mut self, line: String) {
        self.lines.push(line);
    }

    /// Says who acts, when that is another process than before.
    fn speak(&mut self, actor: Option<&Actor>) {
        let Some(actor) = actor.filter(|actor| self.speaking != Some(actor.pid)) else { return };
        self.speaking = Some(actor.pid);
        let known = self.processes.iter().position(|pid| *pid == actor.pid);
        let number = known.unwrap_or_else(|| {
            self.processes.push(actor.pid);
            self.processes.len() - 1
        });
        let command = RuntimeCommand::of(actor);
        let role = command.map(|command| {
            let subcommand = command.subcommand.filter(|word| is_plain(word)).map(|word| format!(" {word}"));
            format!(": {}{}", command.runtime, subcommand.unwrap_or_default())
        });
        self.line(format!("# process {}{}", number + 1, role.unwrap_or_default()));
    }

    fn steps(&mut self, steps: &[Step]) -> Result<(), NoScript> {
        self.prepare(steps);
        let mut steps = steps.iter().peekable();
        while let Some(step) = steps.next() {
            match step {
                Step::Event { event, from, .. } => self.event(event, from.as_ref()),
                Step::Attempt(attempt) => {
                    // It was looked at a moment after the call.
                    let around = match steps.peek() {
                        Some(Step::Circumstances(circumstances)) if circumstances.pid == attempt.actor.pid => {
                            Some(circumstances)
                        }
                        Some(Step::Event { .. } | Step::Attempt(_) | Step::Circumstances(_)) | None => None,
                    };
                    if let Some(circumstances) = around {
                        self.circumstances(circumstances, attempt)?;
                    }
                    self.attempt(attempt)?;
                }
                Step::Circumstances(_) => {}
            }
        }
        Ok(())
    }

    /// What must be there before the story begins: what it needs and does not make.
    fn prepare(&mut self, steps: &[Step]) {
        let mut made: BTreeSet<Name> = BTreeSet::new();
        let mut needs = |path: &Name, made: &BTreeSet<Name>, itself: bool| {
            let mut around = Vec::new();
            for component in components(path.as_bytes()) {
                around.extend([b"/", component].concat());
                let place = Name::new(&around);
                if (itself || place != *path) && !made.contains(&place) {
                    self.setup.insert(place);
                }
            }
        };
        for step in steps {
            match step {
                Step::Event { event, from, within } => {
                    within.iter().for_each(|path| needs(path, &made, true));
                    let path = &event.cgroup.path;
                    match (event.change, from) {
                        (Change::Created, _) => {
                            needs(path, &made, false);
                            made.insert(path.clone());
                        }
                        (Change::Renamed, Some(from)) => {
                            needs(from, &made, true);
                            // What is in it is renamed with it.
                            let inside = made.iter().filter_map(|place| below(from, place));
                            let moved = inside.map(|rest| Name::new([path.as_bytes(), rest].concat()));
                            let moved: Vec<Name> = moved.collect();
                            made.extend(moved);
                            made.insert(path.clone());
                        }
                        (Change::Renamed, None) => {}
                        (Change::Removed | Change::Attached | Change::Populated | Change::Frozen, _) => {
                            needs(path, &made, true);
                        }
                        (Change::Emptied | Change::Thawed | Change::Released | Change::Existing, _) => {}
                    }
                }
                Step::Attempt(attempt) => {
                    let Some(cgroup) = &attempt.cgroup else { continue };
                    let is_there = match (attempt.operation, attempt.errno) {
                        (Operation::Mkdir, errno) => errno == Errno::EEXIST,
                        (Operation::Rmdir, errno) => errno != Errno::ENOENT && cgroup.id.is_some(),
                        // The root of the scratch cgroup is always there.
                        _ => cgroup.id.is_some() && attempt.file.is_some(),
                    };
                    let is_parent_missing = (attempt.operation, attempt.errno) == (Operation::Mkdir, Errno::ENOENT);
                    if !is_parent_missing {
                        needs(&cgroup.path, &made, is_there);
                    }
                }
                Step::Circumstances(_) => {}
            }
        }
        let path = self.finding.cgroup.path.clone();
        let is_in = |place: &Name| below(&path, place).is_some_and(|below| !below.is_empty());
        if self.finding.cause.as_str() == "child-cgroups" && !made.iter().chain(&self.setup).any(is_in) {
            self.setup.insert(Name::new([path.as_bytes(), b"/inner"].concat()));
        }
    }

    /// What a cgroup and those around it were like.
    fn circumstances(&mut self, circumstances: &Circumstances, attempt: &Attempt) -> Result<(), NoScript> {
        // A host's root hands on a lot that has nothing to do with it.
        let value = attempt.value.as_ref().and_then(Name::to_str).unwrap_or_default();
        let mut wanted: BTreeSet<String> =
            value.split_whitespace().filter_map(|word| word.strip_prefix('+')).map(str::to_owned).collect();
        let is_in_scratch = |path: &Name| path.as_bytes() != b"/";
        for level in circumstances.levels.iter().filter(|level| is_in_scratch(&level.path)) {
            wanted.extend(level.subtree_control.iter().flatten().cloned());
        }
        if let Some((controller, _)) =
            attempt.file.as_ref().and_then(Name::to_str).and_then(|file| file.split_once('.'))
            && controller != "cgroup"
        {
            match circumstances.on_v1.iter().any(|on_v1| on_v1 == controller) {
                true => drop(self.lacks.insert(controller.to_owned())),
                false => drop(wanted.insert(controller.to_owned())),
            }
        }
        if !wanted.iter().chain(&self.lacks).all(|controller| is_plain(controller)) {
            return Err(NoScript("a controller has a name that is not one of a controller".to_owned()));
        }
        for level in circumstances.levels.iter().rev() {
            for controller in level.subtree_control.iter().flatten().filter(|controller| wanted.contains(*controller)) {
                if !is_in_scratch(&level.path) {
                    self.needs.insert(controller.clone());
                }
                let place = self.place(&level.path);
                self.uses.insert("enable");
                self.line(format!("enable {controller} {place}"));
            }
        }
        Ok(())
    }

    fn event(&mut self, event: &Event, from: Option<&Name>) {
        let path = &event.cgroup.path;
        let place = self.place(path);
        match event.change {
            Change::Created | Change::Removed | Change::Renamed => self.writable(),
            Change::Released
            | Change::Populated
            | Change::Emptied
            | Change::Attached
            | Change::Existing
            | Change::Frozen
            | Change::Thawed => {}
        }
        match event.change {
            Change::Created => {
                self.speak(event.actor.as_ref());
                self.line(format!("mkdir {place}"));
                self.removal = None;
            }
            Change::Removed => {
                self.speak(event.actor.as_ref());
                self.remove(event.actor.as_ref(), &place, "");
            }
            Change::Renamed => {
                if let Some(from) = from {
                    self.speak(event.actor.as_ref());
                    let from = self.place(from);
                    self.line(format!("mv {from} {place}"));
                    self.removal = None;
                }
            }
            // A process that was made in it is told of by that alone. What is told of those around follows from it.
            Change::Attached | Change::Populated => {
                let is_below = |inside: &Name| below(path, inside).is_some();
                let is_own = event.change == Change::Attached || *path == self.finding.cgroup.path;
                if is_own && !self.inside.iter().any(is_below) {
                    self.stay(path);
                }
            }
            Change::Emptied => {
                if self.inside.remove(path) {
                    self.uses.insert("leave");
                    self.line(format!("leave {place}"));
                }
            }
            Change::Frozen if event.requested => self.freeze(path),
            Change::Thawed if event.requested => {
                if self.frozen.contains(path) {
                    self.line(format!("freeze 0 {place}"));
                }
            }
            Change::Frozen | Change::Thawed | Change::Released | Change::Existing => {}
        }
    }

    fn stay(&mut self, path: &Name) {
        let place = self.place(path);
        self.uses.insert("stay");
        self.inside.insert(path.clone());
        self.line(format!("stay {place}"));
    }

    fn freeze(&mut self, path: &Name) {
        let place = self.place(path);
        self.uses.insert("freeze");
        self.frozen.insert(path.clone());
        self.line(format!("freeze 1 {place}"));
    }

    /// A removal. What one process removes one after the other, one `rmdir` does.
    fn remove(&mut self, actor: Option<&Actor>, place: &str, with: &str) {
        let pid = actor.map(|actor| actor.pid);
        if let (Some(pid), Some((remover, line))) = (pid, self.removal)
            && pid == remover
            && self.lines[line].starts_with(&format!("{with}rmdir"))
        {
            self.lines[line].push_str(&format!(" {place}"));
            return;
        }
        self.line(format!("{with}rmdir {place}"));
        self.removal = pid.map(|pid| (pid, self.lines.len() - 1));
    }

    fn read_only(&mut self) {
        if !std::mem::replace(&mut self.is_read_only, true) {
            self.line("mount -o remount,bind,ro \"$at\"".to_owned());
            self.removal = None;
        }
    }

    fn writable(&mut self) {
        if std::mem::replace(&mut self.is_read_only, false) {
            self.line("mount -o remount,bind,rw \"$at\"".to_owned());
            self.removal = None;
        }
    }

    fn attempt(&mut self, attempt: &Attempt) -> Result<(), NoScript> {
        let Some(cgroup) = &attempt.cgroup else { return Ok(()) };
        let (path, actor) = (&cgroup.path, Some(&attempt.actor));
        if attempt.errno == Errno::EROFS {
            self.read_only();
        }
        let is_nobodys = matches!(attempt.errno, Errno::EACCES | Errno::EPERM) && attempt.actor.uid != Some(0);
        let with = if is_nobodys { "nobody " } else { "" };
        if is_nobodys {
            self.uses.insert("nobody");
        }
        if (attempt.operation, attempt.errno) == (Operation::Rmdir, Errno::EBUSY) {
            self.occupy(path);
        }
        self.speak(actor);
        let place = self.place(path);
        match attempt.operation {
            Operation::Mkdir => {
                self.line(format!("{with}mkdir {place}"));
                self.removal = None;
            }
            Operation::Rmdir => self.remove(actor, &place, with),
            Operation::Open => {
                let place = match &attempt.file {
                    Some(file) => self.file(path, file)?,
                    None => place,
                };
                let how = if attempt.is_for_writing() { "write" } else { "read" };
                self.uses.insert(if attempt.is_for_writing() { "open_to_write" } else { "open_to_read" });
                let line = format!("{with}open_to_{how} {place}");
                // A shell's function is no program that nobody could run.
                if is_nobodys {
                    return Err(NoScript("it is about a file that somebody else may not open".to_owned()));
                }
                if self.lines.last() != Some(&line) {
                    self.line(line);
                }
            }
            Operation::Write => self.write(attempt, path, is_nobodys)?,
            operation => {
                let why = format!("a shell cannot make one of its calls ({})", operation.as_str());
                return Err(NoScript(why));
            }
        }
        Ok(())
    }

    /// Somebody, or something, must be in the way.
    fn occupy(&mut self, path: &Name) {
        let is_in = |place: &Name| below(path, place).is_some_and(|below| !below.is_empty());
        let cause = self.finding.cause.as_str();
        if cause != "child-cgroups" && !self.inside.contains(path) && !self.inside.iter().any(is_in) {
            self.stay(path);
        }
        if cause == "frozen" && !self.frozen.contains(path) {
            self.freeze(path);
        }
    }

    fn write(&mut self, attempt: &Attempt, path: &Name, is_nobodys: bool) -> Result<(), NoScript> {
        let no = |why: &str| Err(NoScript(why.to_owned()));
        let Some(file) = &attempt.file else { return no("it is not known which file was written to") };
        if is_nobodys {
            return no("it is about a file that somebody else may not write to");
        }
        let target = self.file(path, file)?;
        self.removal = None;
        if matches!(file.as_bytes(), b"cgroup.procs" | b"cgroup.threads" | b"tasks") {
            let place = self.place(path);
            self.uses.insert("stay");
            if file.as_bytes() != b"cgroup.procs" {
                return no("it is about a thread");
            }
            self.line(format!("stay {place}"));
            return Ok(());
        }
        let Some(value) = attempt.value.as_ref().filter(|_| !attempt.value_truncated) else {
            return no("it is not known what was to be written");
        };
        self.uses.insert("put");
        self.line(format!("put {} {target}", printf(value.as_bytes())));
        Ok(())
    }

    /// The whole script. `mount`: what mounts the hierarchy.
    fn text(mut self, mount: &str) -> String {
        let setup: Vec<Name> = std::mem::take(&mut self.setup).into_iter().collect();
        let setup: Vec<String> = setup.iter().map(|path| format!("mkdir {}\n", self.place(path))).collect();
        let thaw: Vec<Name> = self.frozen.iter().cloned().collect();
        let thaw: Vec<String> = thaw.iter().map(|path| format!("    freeze 0 {}\n", self.place(path))).collect();
        let (kind, cause) = (self.finding.kind.as_str(), self.finding.cause.as_str());
        let needs: String = (self.needs.iter())
            .map(|controller| format!("has {controller} || cannot \"its root does not hand on {controller}\"\n"))
            .chain(
                self.lacks
                    .iter()
                    .map(|controller| format!("! has {controller} || cannot \"its cgroup2 has {controller}\"\n")),
            )
            .collect();
        let functions: String = FUNCTIONS
            .iter()
            .filter(|(name, _)| self.uses.contains(name) || *name == "has" && !needs.is_empty())
            .map(|(_, text)| *text)
            .collect();
        let aftermath = if kind == "busy-teardown" { REFUSED } else { AFTERMATH };
        let lines: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        let thaw = thaw.concat();
        let setup =
            if setup.is_empty() { String::new() } else { format!("# What was there before.\n{}", setup.concat()) };
        format!(
            "#!/bin/sh\n\
             # Makes the calls of a finding of cgtrace: {kind} ({cause}).\n\
             # It does so in a mount namespace and a cgroup of its own.\n\
             # It needs root and util-linux, and is run so: cgtrace live --benign --only findings -- sh THIS-FILE\n\
             # That calls fail is what it is for.\n\
             if [ \"${{1-}}\" != inside ]; then\n    \
                 exec unshare --mount --propagation private sh \"$0\" inside\n\
             fi\n\
             set -u\n\
             cannot() {{ echo \"this host cannot show it: $1\" >&2; exit 3; }}\n\
             at=/sys/fs/cgroup/scratch waiting=\n\
             mount -t tmpfs none /sys/fs/cgroup || cannot \"no mount is allowed\"\n\
             mkdir /sys/fs/cgroup/all \"$at\"\n\
             {mount} || cannot \"the hierarchy cannot be mounted\"\n\
             scratch=/sys/fs/cgroup/all/cgtrace-issue-$$\n\
             mkdir \"$scratch\" || cannot \"no cgroup can be made\"\n\
             mount --bind \"$scratch\" \"$at\" || cannot \"the cgroup cannot be mounted\"\n\
             cd \"$at\"\n\
             everybody() {{ find \"$scratch\" -name cgroup.procs -exec cat {{}} +; }}\n\
             clean_up() {{\n{thaw}    cd /\n    \
                 for pid in $waiting $(everybody); do kill -KILL \"$pid\" 2> /dev/null; done\n    \
                 until [ -z \"$(everybody)\" ]; do sleep 0.05; done\n    \
                 find \"$scratch\" -depth -type d -exec rmdir {{}} \\;\n\
             }}\n\
             trap clean_up EXIT\n\
             trap 'exit 1' HUP INT TERM\n\
             {functions}{needs}\n\
             {setup}{lines}\n\
             # It is left as it is until it has been told of.\n\
             sleep {aftermath}\n"
        )
    }
}

/// What the lines call, as far as it is called.
const FUNCTIONS: &[(&str, &str)] = &[
    ("has", "has() { grep -qw \"$1\" cgroup.controllers; }\n"),
    ("enable", "enable() { printf '+%s' \"$1\" > \"$2/cgroup.subtree_control\"; }\n"),
    (
        "stay",
        "stay() { sleep 600 & waiting=\"$waiting $!\"; printf '%s\\n' \"$!\" > \"$1/cgroup.procs\"; sleep 0.2; }\n",
    ),
    (
        "leave",
        "leave() {\n    for pid in $(cat \"$1/cgroup.procs\"); do kill -KILL \"$pid\"; done\n    \
         until [ -z \"$(cat \"$1/cgroup.procs\")\" ]; do sleep 0.05; done\n}\n",
    ),
    (
        "freeze",
        "freeze() {\n    if [ -e \"$2/cgroup.freeze\" ]; then echo \"$1\" > \"$2/cgroup.freeze\"\n    \
         elif [ \"$1\" = 1 ]; then echo FROZEN > \"$2/freezer.state\"\n    \
         else echo THAWED > \"$2/freezer.state\"; fi\n    sleep 0.2\n}\n",
    ),
    ("nobody", "nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"; }\n"),
    ("open_to_read", "open_to_read() { true < \"$1\"; }\n"),
    // What it is like there is looked at a moment later.
    ("open_to_write", "open_to_write() { true > \"$1\"; sleep 0.2; }\n"),
    ("put", "put() { printf %b \"$1\" > \"$2\"; sleep 0.2; }\n"),
];
