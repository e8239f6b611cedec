//! What a question may mean: the containers, cgroups and processes of a stream that answer to it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use serde::Serialize;

use super::logs::{LogLine, cgroup_path};
use super::question::Question;
use crate::container::Container;
use crate::errno::Errno;
use crate::input::{Actor, BootTime, Cgroup, CgroupId, HierarchyId, Input, Pid};
use crate::line::{Line, Output};
use crate::mounts;
use crate::name::{Name, components};

/// What a story can be told of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// A container, by its id: all its cgroups.
    Container(Name),
    /// A cgroup, by its path: on v1, in every hierarchy.
    Cgroup(Name),
    /// A process, by its number: all that it did.
    Process(Pid),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(id) => write!(f, "container {id}"),
            Self::Cgroup(path) => write!(f, "cgroup {path}"),
            Self::Process(pid) => write!(f, "process {pid}"),
        }
    }
}

/// How well something answers to a question, the best first. Only the best are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closeness {
    /// It is what was asked for: the host's path, the whole id, the name.
    Exact,
    /// A process called it so, in its own mount namespace.
    AsGiven,
    /// Its id begins so.
    Prefix,
    /// Its path ends so.
    Suffix,
}

/// Something that answers to a question.
#[derive(Clone, Debug)]
pub struct Match {
    /// What.
    pub subject: Subject,
    /// Its container, if it has one.
    pub container: Option<Arc<Container>>,
    /// When it was heard of last.
    pub last: BootTime,
    /// The cgroups by their numbers: those that were renamed had another path before.
    pub ids: HashSet<(HierarchyId, CgroupId)>,
    /// A container's own cgroups by their paths: whose they are may have been learnt after they were heard of.
    own: HashSet<Name>,
    closeness: Closeness,
    /// A call on it failed as the question says.
    has_errno: bool,
}

impl Match {
    /// A subject that is known, and not looked for.
    pub(crate) fn of(subject: Subject) -> Self {
        let (container, last, ids, own) = (None, BootTime(0), HashSet::new(), HashSet::new());
        Self { subject, container, last, ids, own, closeness: Closeness::Exact, has_errno: false }
    }

    /// How well it answers, the least the best: with a call that failed as was asked before those without.
    pub fn rank(&self) -> (Closeness, bool) {
        (self.closeness, !self.has_errno)
    }
}

/// What answers to a question at most; further ones are counted.
const MOST: usize = 1_000;
/// Cgroups of one match whose numbers are kept.
const IDS: usize = 1_000;

/// Looks for what a question may mean.
pub struct Search<'a> {
    question: &'a Question,
    /// Host paths that the question's paths may stand for: as they are, and without what cgroupfs is mounted at.
    paths: Vec<Name>,
    found: HashMap<Subject, Match>,
    left_out: u64,
}

impl<'a> Search<'a> {
    /// For that question.
    pub fn new(question: &'a Question) -> Self {
        let mut search = Self { question, paths: Vec::new(), found: HashMap::new(), left_out: 0 };
        search.add_mount(mounts::USUAL.as_bytes());
        search
    }

    /// What answers best, what was heard of last first.
    pub fn best(mut self) -> Vec<Match> {
        self.join_own();
        let Some(closest) = self.found.values().map(|found| found.closeness).min() else { return Vec::new() };
        let mut best: Vec<Match> = self.found.into_values().filter(|found| found.closeness == closest).collect();
        // The line of a log tells of a call that failed: those that no such call was made on are not meant.
        if best.iter().any(|found| found.has_errno) {
            best.retain(|found| found.has_errno);
        }
        best.sort_by(|one, other| (other.last, &one.subject).cmp(&(one.last, &other.subject)));
        best
    }

    /// What was heard of a container's own cgroup before it was known whose it is belongs to the container.
    fn join_own(&mut self) {
        let own: Vec<(Name, Subject)> = self
            .found
            .values()
            .flat_map(|found| found.own.iter().map(|path| (path.clone(), found.subject.clone())))
            .collect();
        for (path, container) in own {
            let Some(before) = self.found.remove(&Subject::Cgroup(path)) else { continue };
            if let Some(known) = self.found.get_mut(&container) {
                known.ids.extend(before.ids);
                known.has_errno |= before.has_errno;
                known.closeness = known.closeness.min(before.closeness);
            }
        }
    }

    /// How often something was met that was not kept, because there are so many.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    fn asked_paths(&self) -> &'a [Name] {
        match self.question {
            Question::Path(path) => std::slice::from_ref(path),
            Question::Line(line) => &line.paths,
            Question::Process(_) | Question::Word(_) => &[],
        }
    }

    /// Cgroupfs is mounted there.
    fn add_mount(&mut self, mount: &[u8]) {
        for path in self.asked_paths() {
            let below = path.as_bytes().strip_prefix(mount).filter(|rest| rest.first() == Some(&b'/'));
            let mut names = vec![path.clone()];
            if let Some(below) = below {
                names.push(below.into());
                // v1: the first directory is the hierarchy's.
                let first = components(below).next().map_or(0, |first| first.len() + 1);
                names.extend((below.len() > first).then(|| Name::from(&below[first..])));
            }
            for name in names {
                if !self.paths.contains(&name) {
                    self.paths.push(name);
                }
            }
        }
    }

    fn add(&mut self, found: Match) {
        let is_full = self.found.len() >= MOST;
        match self.found.get_mut(&found.subject) {
            Some(known) => {
                known.closeness = known.closeness.min(found.closeness);
                known.has_errno |= found.has_errno;
                known.last = known.last.max(found.last);
                if known.ids.len() < IDS {
                    known.ids.extend(found.ids);
                    known.own.extend(found.own);
                }
                // What was learnt later says more.
                known.container = found.container.or(known.container.take());
            }
            None if is_full => self.left_out += 1,
            None => {
                self.found.insert(found.subject.clone(), found);
            }
        }
    }

    /// How well a container answers, by its id, its name or its pod.
    fn container(&self, container: &Container) -> Option<Closeness> {
        let is = |name: Option<&Name>, word: &Name| name == Some(word);
        let by = |word: &Name| {
            let pod = container.pod.as_ref();
            let namespaced = container.namespace.as_ref().zip(pod);
            let namespaced = namespaced.map(|(namespace, pod)| [namespace.as_bytes(), b"/", pod.as_bytes()].concat());
            if container.id == *word
                || is(container.name.as_ref(), word)
                || is(pod, word)
                || namespaced.is_some_and(|name| name == word.as_bytes())
            {
                Some(Closeness::Exact)
            } else {
                container.id.as_bytes().starts_with(word.as_bytes()).then_some(Closeness::Prefix)
            }
        };
        match self.question {
            Question::Word(word) => by(word),
            // An id that stands in a line somewhere need not be what the line is about.
            Question::Line(LogLine { ids, .. }) => ids.iter().find_map(by).map(|_| Closeness::Prefix),
            Question::Path(_) | Question::Process(_) => None,
        }
    }

    /// How well a host path answers.
    fn path(&self, path: &Name) -> Option<Closeness> {
        if let Question::Word(word) = self.question {
            return (path.base_name() == word.as_bytes()).then_some(Closeness::Suffix);
        }
        let ends = |asked: &Name| asked.as_bytes().len() > 1 && path.as_bytes().ends_with(asked.as_bytes());
        if self.paths.contains(path) {
            Some(Closeness::Exact)
        } else {
            self.paths.iter().any(ends).then_some(Closeness::Suffix)
        }
    }

    fn cgroup(
        &mut self,
        at: BootTime,
        cgroup: &Cgroup,
        container: Option<&Arc<Container>>,
        failed: Option<(Errno, &Name)>,
    ) {
        let as_given = |given: &Name| {
            let given = cgroup_path(&String::from_utf8_lossy(given.as_bytes()));
            self.asked_paths().contains(&given).then_some(Closeness::AsGiven)
        };
        let has_errno = failed.is_some_and(|(errno, _)| self.question.errno() == Some(errno));
        let by_path = self.path(&cgroup.path);
        let by_path = by_path.into_iter().chain(failed.and_then(|(_, given)| as_given(given))).min();
        let by_container = container.and_then(|container| self.container(container));
        let ids: HashSet<_> = cgroup.id.map(|id| (cgroup.hierarchy, id)).into_iter().collect();
        let found = |subject, closeness| Match {
            subject,
            container: container.cloned(),
            last: at,
            ids: ids.clone(),
            own: HashSet::new(),
            closeness,
            has_errno,
        };
        if let (Some(closeness), Some(container)) = (by_container, container) {
            self.add(found(Subject::Container(container.id.clone()), closeness));
        }
        if let Some(closeness) = by_path {
            let is_own = |container: &&Arc<Container>| components(cgroup.path.as_bytes()).count() == container.depth();
            let path = cgroup.path.clone();
            self.add(match container.filter(is_own) {
                Some(container) => {
                    Match { own: HashSet::from([path]), ..found(Subject::Container(container.id.clone()), closeness) }
                }
                None => found(Subject::Cgroup(path), closeness),
            });
        }
    }

    fn actor(&mut self, at: BootTime, pid: Pid, has_errno: bool) {
        let closeness = match self.question {
            Question::Process(asked) if *asked == pid => Closeness::Exact,
            Question::Line(LogLine { pid: Some(asked), .. }) if *asked == pid => Closeness::Suffix,
            _ => return,
        };
        let subject = Subject::Process(pid);
        self.add(Match {
            subject,
            container: None,
            last: at,
            ids: HashSet::new(),
            own: HashSet::new(),
            closeness,
            has_errno,
        });
    }
}

impl Output for Search<'_> {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        match line {
            Line::Header(header) => {
                for mount in header.hierarchies.iter().filter_map(|hierarchy| hierarchy.mount.as_ref()) {
                    self.add_mount(mount.as_bytes());
                }
            }
            Line::Input(_, input) | Line::Known(_, input) => match input {
                Input::Event(event) => {
                    self.cgroup(event.at, &event.cgroup, event.container.as_ref(), None);
                    if let Some(Actor { pid, .. }) = event.actor {
                        self.actor(event.at, pid, false);
                    }
                }
                Input::Attempt(attempt) => {
                    if let Some(cgroup) = &attempt.cgroup {
                        let failed = Some((attempt.errno, &attempt.path));
                        self.cgroup(attempt.at, cgroup, attempt.container.as_ref(), failed);
                    }
                    let has_errno = self.question.errno() == Some(attempt.errno);
                    self.actor(attempt.at, attempt.actor.pid, has_errno);
                }
                Input::Change(written) => {
                    if let Some(cgroup) = &written.cgroup {
                        self.cgroup(written.at, cgroup, written.container.as_ref(), None);
                    }
                    self.actor(written.at, written.actor.pid, false);
                }
                Input::Stuck(stuck) => {
                    if let Some(cgroup) = &stuck.cgroup {
                        self.cgroup(stuck.at, cgroup, stuck.container.as_ref(), None);
                    }
                    self.actor(stuck.at, stuck.actor.pid, false);
                }
                Input::Process(_) | Input::Facts(_) | Input::Lost(_) | Input::Tick(_) => {}
            },
            Line::Span(_) | Line::Finding(_) | Line::Passed(_) | Line::End(..) => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
