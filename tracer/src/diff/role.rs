//! What plays the same part in two runs: places and processes without what is drawn or counted up.

use std::fmt;

use crate::container::{Container, is_uuid};
use crate::input::Actor;
use crate::name::{Name, components};
use crate::oci::RuntimeCommand;

/// Stands for the id of the container that a path belongs to.
const ID: &str = "<id>";
/// Stands for what is another one in every run.
const ANY: char = '*';
/// Hexadecimal digits of that number are an id, if a decimal one is among them.
const HEXADECIMAL: usize = 8;
/// A UUID's characters.
const UUID: usize = 36;

/// A cgroup's path in which ids, numbers and random parts are made variable.
pub(super) fn place(path: &Name, container: Option<&Container>) -> String {
    let mut place = String::new();
    for (index, component) in components(path.as_bytes()).enumerate() {
        let component = Name::new(component).printable();
        let around = container.and_then(|container| {
            let number = container.depths.iter().position(|depth| *depth == index + 1)?;
            Some(container.chain.get(number)?.printable()).filter(|id| !id.is_empty())
        });
        place.push('/');
        match around
            .and_then(|id| component.split_once(&id).map(|(before, behind)| (variable(before), variable(behind))))
        {
            Some((before, behind)) => place.extend([before.as_str(), ID, behind.as_str()]),
            None => place.push_str(&variable(&component)),
        }
    }
    if place.is_empty() { "/".to_owned() } else { place }
}

/// The same within whose it is: of a container's cgroups, from the container's own on. Where that one is, is not a part
/// of it.
pub(super) fn place_within(path: &Name, container: Option<&Container>) -> String {
    let place = place(path, container);
    let around = container.map_or(0, |container| container.depth().saturating_sub(1));
    let own: Vec<&str> = place.split('/').skip(1 + around).collect();
    format!("/{}", own.join("/"))
}

/// A text in which numbers and what looks drawn are made variable.
pub(super) fn variable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if rest.get(..UUID).is_some_and(is_uuid) {
            out.push(ANY);
            rest = &rest[UUID..];
            continue;
        }
        let is_part = |c: char| c.is_ascii_alphanumeric();
        let end = if is_part(first) { rest.find(|c| !is_part(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
        // A UUID may stand behind a word: `pod2f3a9c1e-7b54-…`.
        let uuid = (1..end).find(|start| rest.get(*start..start + UUID).is_some_and(is_uuid));
        let (word, behind) = rest.split_at(uuid.unwrap_or(end));
        push_word(&mut out, word);
        rest = behind;
    }
    out
}

fn push_word(out: &mut String, word: &str) {
    let has_number = word.bytes().any(|byte| byte.is_ascii_digit());
    let is_hexadecimal = word.len() >= HEXADECIMAL && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    // `cgroup2`, `v1` and `run7` end in a number; `aB3dE9` is drawn.
    let switches = word.as_bytes().windows(2).filter(|two| two[0].is_ascii_digit() != two[1].is_ascii_digit()).count();
    if has_number && (is_hexadecimal || switches > 1) {
        return out.push(ANY);
    }
    for character in word.chars() {
        match character {
            '0'..='9' if out.ends_with(ANY) => {}
            '0'..='9' => out.push(ANY),
            _ => out.push(character),
        }
    }
}

/// What a process was run for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Role {
    /// The runtime by its name in the registry, otherwise what the program is called.
    pub program: String,
    /// What an OCI runtime was asked to do.
    pub subcommand: Option<String>,
}

impl Role {
    pub fn of(actor: &Actor) -> Self {
        if let Some(command) = RuntimeCommand::of(actor) {
            let subcommand = command.subcommand.map(|subcommand| Name::from(subcommand).printable());
            return Self { program: command.runtime.to_owned(), subcommand };
        }
        let argv = actor.identity.as_deref().and_then(|identity| identity.argv.as_deref()).unwrap_or_default();
        let program = argv.first().map(Name::base_name).filter(|program| !program.is_empty());
        let program = program.map_or_else(|| actor.comm.clone(), Name::new);
        Self { program: program.printable(), subcommand: None }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program)?;
        self.subcommand.iter().try_for_each(|subcommand| write!(f, " {subcommand}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::from_path;
    use crate::input::{Identity, Pid};

    #[test]
    fn numbers_and_what_is_drawn_are_variable_and_words_are_not() {
        let check = |text: &str, expected: &str| assert_eq!(variable(text), expected, "{text}");
        check("system.slice", "system.slice");
        check("user-1000.slice", "user-*.slice");
        check("session-3.scope", "session-*.scope");
        check("run-u12345.scope", "run-u*.scope");
        check("run-r0123456789abcdef.scope", "run-*.scope");
        check("tmp.aB3dE9", "tmp.*");
        check("facade", "facade");
        check("deadbeef", "deadbeef");
        check("deadbee1", "*");
        check("2f3a9c1e-7b54-4d0a-9c55-0d1f6e8b7a21", "*");
        check("kubepods-burstable-pod2f3a9c1e_7b54_4d0a_9c55_0d1f6e8b7a21.slice", "kubepods-burstable-pod*.slice");
        check("größe-7", "größe-*");
        check("", "");
    }

    #[test]
    fn a_container_stands_where_its_id_is() {
        let check = |path: &str, expected: &str| {
            let path = Name::from(path);
            assert_eq!(place(&path, from_path(&path).as_ref()), expected, "{path}");
        };
        let id = "a1b2c3d4".repeat(8);
        check(&format!("/docker/{id}"), "/docker/<id>");
        check(&format!("/system.slice/docker-{id}.scope/init"), "/system.slice/docker-<id>.scope/init");
        check("/lxc.payload.web-1", "/lxc.payload.<id>");
        check("/user.slice/user-1000.slice", "/user.slice/user-*.slice");
        check("/", "/");
        let path = Name::from(format!("/system.slice/docker-{id}.scope/init"));
        assert_eq!(place_within(&path, from_path(&path).as_ref()), "/docker-<id>.scope/init");
        assert_eq!(place_within(&"/user.slice/user-7.slice".into(), None), "/user.slice/user-*.slice");
        assert_eq!(place_within(&"/".into(), None), "/");
    }

    #[test]
    fn a_process_is_what_it_was_asked() {
        let check = |line: &str, expected: &str| {
            let argv: Vec<Name> = line.split(' ').map(Name::from).collect();
            let identity = Identity { argv: Some(argv), ..Identity::default() };
            let actor = Actor { identity: Some(identity.into()), ..Actor::new(Pid(7), 7, "comm".into(), None) };
            assert_eq!(Role::of(&actor).to_string(), expected, "{line}");
        };
        check("/usr/bin/runc --root /r delete --force web", "runc delete");
        check("buildkit-runc run web", "runc run");
        check("runc init", "runc");
        check("/usr/bin/rmdir /sys/fs/cgroup/x", "rmdir");
        assert_eq!(Role::of(&Actor::new(Pid(7), 7, "systemd".into(), None)).to_string(), "systemd");
    }
}
