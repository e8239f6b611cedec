//! What is masked: names that tell who and where somebody is. Each has one word that stands for it everywhere.

use std::cell::Cell;
use std::collections::BTreeMap;

use clap::ValueEnum;

use crate::container;
use crate::findings::Finding;
use crate::hierarchy::Header;
use crate::input::Actor;
use crate::name::{Name, components};
use crate::oci::RuntimeCommand;
use crate::phrases::count;
use crate::why::Answer;

/// What can be masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Secret {
    /// The host's name
    Host,
    /// Users, by name and number
    Users,
    /// Containers, images, pods and namespaces, by name and id
    Names,
    /// Arguments of programs
    Arguments,
}

impl Secret {
    fn told(self, number: u64) -> String {
        match self {
            Self::Host => "the host's name".to_owned(),
            Self::Users => count(number, "user", "users"),
            Self::Names => {
                let several = "names of containers, images, pods or namespaces";
                count(number, "name of a container, an image, a pod or a namespace", several)
            }
            Self::Arguments => count(number, "argument of a program", "arguments of programs"),
        }
    }
}

/// A shorter name could be any word of a sentence.
const SHORTEST: usize = 3;

/// What stands for what.
#[derive(Debug, Default)]
pub struct Masks {
    shown: Vec<Secret>,
    /// Texts, the longest first, and the words that stand for them.
    words: Vec<(String, String)>,
    /// How many names of each kind have one.
    numbers: BTreeMap<Secret, u64>,
    arguments: Cell<u64>,
    /// Names that are too short to be found in a text.
    too_short: u64,
}

impl Masks {
    /// Of a finding and its story; `shown` is not masked.
    pub fn new(shown: &[Secret], header: Option<&Header>, finding: &Finding, answer: Option<&Answer>) -> Self {
        let mut masks = Self { shown: shown.to_vec(), ..Self::default() };
        if let Some(header) = header {
            masks.host(&header.host);
        }
        let containers = finding.container.iter().chain(answer.and_then(|answer| answer.container.as_ref()));
        for container in containers {
            for id in container.chain.iter().chain([&container.id]) {
                masks.add(Secret::Names, "container", Some(id));
            }
            masks.add(Secret::Names, "name", container.name.as_ref());
            masks.add(Secret::Names, "image", container.image.as_ref());
            masks.add(Secret::Names, "pod", container.pod.as_ref());
            masks.add(Secret::Names, "namespace", container.namespace.as_ref());
        }
        let of_finding = finding.attempts.iter().map(|attempt| &attempt.actor).chain(&finding.actor);
        let rival = finding.rival.iter().filter_map(|rival| rival.actor.as_ref());
        for actor in of_finding.chain(rival).chain(answer.into_iter().flat_map(|answer| &answer.actors)) {
            masks.actor(actor);
        }
        let uid = container::user(&finding.cgroup.path);
        masks.uid(uid);
        masks.words.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        masks
    }

    /// Where the host is told, it is masked whatever its name.
    fn host(&mut self, name: &Name) {
        let name = name.printable();
        if let Some(number) = self.number(Secret::Host, &name).filter(|_| name.chars().count() >= SHORTEST) {
            self.words.push((name, format!("host-{number}")));
        }
    }

    /// Whether it is masked.
    pub fn masks(&self, secret: Secret) -> bool {
        !self.shown.contains(&secret)
    }

    fn actor(&mut self, actor: &Actor) {
        self.uid(actor.uid);
        let Some(identity) = actor.identity.as_deref() else { return };
        for text in identity.argv.iter().flatten().chain(&identity.exe).chain(&identity.cgroup) {
            let mut parts = components(text.as_bytes());
            while let Some(part) = parts.next() {
                if matches!(part, b"home" | b"Users")
                    && let Some(user) = parts.next()
                {
                    self.add(Secret::Users, "user", Some(&Name::new(user)));
                }
            }
        }
    }

    /// A user's number stands behind a few words only.
    fn uid(&mut self, uid: Option<u32>) {
        let Some(uid) = uid.filter(|uid| *uid != 0) else { return };
        let words = ["user ", "user-", "user@", "/user/"].map(|before| (format!("{before}{uid}"), before));
        if let Some(number) = self.number(Secret::Users, &words[0].0) {
            let words = words.map(|(text, before)| (text, format!("{before}UID-{number}")));
            self.words.extend(words);
        }
    }

    fn add(&mut self, secret: Secret, word: &str, name: Option<&Name>) {
        let Some(text) = name.map(Name::printable) else { return };
        if text.chars().count() < SHORTEST {
            self.too_short += u64::from(!text.is_empty() && self.masks(secret));
            return;
        }
        if let Some(number) = self.number(secret, &text) {
            self.words.push((text, format!("{word}-{number}")));
        }
    }

    /// The number of a name that is to be masked, and is not yet.
    fn number(&mut self, secret: Secret, text: &str) -> Option<u64> {
        if !self.masks(secret) || self.words.iter().any(|(known, _)| known == text) {
            return None;
        }
        let number = self.numbers.entry(secret).or_default();
        *number += 1;
        Some(*number)
    }

    /// A text in which every name that is masked is another word.
    pub fn apply(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let is_part = |c: char| c.is_alphanumeric();
        while let Some(first) = rest.chars().next() {
            let begins = !out.ends_with(is_part) || !is_part(first);
            let found = self.words.iter().filter(|_| begins).find(|(name, _)| {
                let behind = rest.strip_prefix(name.as_str());
                behind.is_some_and(|behind| !name.ends_with(is_part) || !behind.starts_with(is_part))
            });
            match found {
                Some((name, stands_for)) => {
                    out.push_str(stands_for);
                    rest = &rest[name.len()..];
                }
                None => {
                    out.push(first);
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        out
    }

    /// A process's command line: of an OCI runtime what it was asked to do, of others the program alone.
    pub fn command(&self, actor: &Actor) -> String {
        let argv = actor.identity.as_deref().and_then(|identity| identity.argv.as_deref());
        let Some(argv) = argv else { return "command line unknown".to_owned() };
        if !self.masks(Secret::Arguments) {
            let argv: Vec<String> = argv.iter().map(|word| self.apply(&word.printable())).collect();
            return argv.join(" ");
        }
        let program = argv.first().map(|program| Name::new(program.base_name())).unwrap_or_else(|| actor.comm.clone());
        let mut told = vec![self.apply(&program.printable())];
        if let Some(command) = RuntimeCommand::of(actor) {
            told.extend(command.subcommand.map(|word| self.apply(&Name::from(word).printable())));
            told.extend(command.id.map(|id| self.apply(&id.printable())));
        }
        let masked = argv.len().saturating_sub(told.len()) as u64;
        if masked > 0 {
            self.arguments.set(self.arguments.get() + masked);
            told.push(format!("({} masked)", count(masked, "argument", "arguments")));
        }
        told.join(" ")
    }

    /// What is masked.
    pub fn told(&self) -> Vec<String> {
        let mut told: Vec<String> = self.numbers.iter().map(|(secret, number)| secret.told(*number)).collect();
        if self.arguments.get() > 0 {
            told.push(Secret::Arguments.told(self.arguments.get()));
        }
        told
    }

    /// How many names were left as they are, because they are so short.
    pub fn too_short(&self) -> u64 {
        self.too_short
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Container;
    use crate::input::{Identity, Pid};

    fn finding() -> Finding {
        let argv = ["runc", "--root", "/home/alice/run", "--token=hunter2", "delete", "payroll"].map(Name::from);
        let identity = Identity { argv: Some(argv.to_vec()), ..Identity::default() };
        let mut actor = Actor::new(Pid(7), 7, "runc".into(), Some(1_000));
        actor.identity = Some(identity.into());
        let container = Container {
            id: "payroll".into(),
            runtime: "runc".into(),
            rule: "rule".into(),
            chain: vec!["payroll".into()],
            name: Some("ab".into()),
            image: Some("registry.example/payroll:7".into()),
            pod: None,
            namespace: None,
            depths: vec![1],
        };
        Finding { actor: Some(actor), container: Some(container.into()), ..Finding::example("f", 0) }
    }

    #[test]
    fn names_are_masked_where_they_are_words_and_it_is_said() {
        let masks = Masks::new(&[], None, &finding(), None);
        assert_eq!(
            masks.apply("cgroup /payroll of registry.example/payroll:7, payrolls, run by user 1000 in /home/alice/x"),
            "cgroup /container-1 of image-2, payrolls, run by user UID-1 in /home/user-2/x"
        );
        let command = masks.command(finding().actor.as_ref().expect("somebody"));
        assert_eq!(command, "runc delete container-1 (3 arguments masked)");
        assert_eq!(
            masks.told(),
            ["2 users", "2 names of containers, images, pods or namespaces", "3 arguments of programs"]
        );
        assert_eq!(masks.too_short(), 1);
    }

    #[test]
    fn what_is_to_be_shown_is_not_masked() {
        let shown = [Secret::Names, Secret::Arguments, Secret::Users];
        let masks = Masks::new(&shown, None, &finding(), None);
        assert_eq!(masks.apply("/payroll by user 1000"), "/payroll by user 1000");
        let command = masks.command(finding().actor.as_ref().expect("somebody"));
        assert_eq!(command, "runc --root /home/alice/run --token=hunter2 delete payroll");
        assert_eq!((masks.told(), masks.too_short()), (Vec::<String>::new(), 0));
    }
}
