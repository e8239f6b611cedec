//! Which lines of a stream a user wants to see.

use std::io;

use clap::ValueEnum;
use globset::GlobMatcher;

use crate::container::Container;
use crate::findings::Finding;
use crate::input::{Cgroup, Change, Input};
use crate::line::{Line, Output};
use crate::name::Name;
use crate::said::LastSaid;

/// A class of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Class {
    /// Cgroups' lives: `event` lines.
    Lifecycle,
    /// Failed calls: `attempt` lines.
    Attempts,
    /// Control files that were written to with success (trampolines only): `change` lines.
    Changes,
    /// Calls that do not return (trampolines only): `stuck` lines.
    Stuck,
    /// What went wrong: `finding` lines.
    Findings,
}

/// What is wanted. An empty filter wants everything but routine findings.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only these classes; empty for all.
    pub only: Vec<Class>,
    /// Only containers whose id begins so: the container itself, or one around it.
    pub container: Option<String>,
    /// Only cgroups whose host path matches.
    pub cgroup: Option<GlobMatcher>,
    /// Only containers of this runtime.
    pub runtime: Option<String>,
    /// Findings of routine, too (see [`Finding::is_routine`]).
    pub benign: bool,
    /// What is needed to judge is kept whatever else is wanted: processes, facts, ticks, and what exists at the start.
    pub context: bool,
}

impl Filter {
    /// Whether a finding is reported at all.
    pub fn reports(&self, finding: &Finding) -> bool {
        self.is_about(&finding.cgroup, finding.container.as_deref())
    }

    /// Whether a finding is shown when all has been told.
    pub fn shows(&self, finding: &Finding) -> bool {
        self.reports(finding) && (self.benign || !finding.is_routine())
    }

    /// Whether a container is wanted.
    pub fn is_of(&self, container: &Container) -> bool {
        let begins = |id: &Name, prefix: &str| id.as_bytes().starts_with(prefix.as_bytes());
        self.container.as_deref().is_none_or(|prefix| container.chain.iter().any(|id| begins(id, prefix)))
            && self.runtime.as_deref().is_none_or(|wanted| container.runtime == wanted)
    }

    fn wants(&self, input: &Input) -> bool {
        match input {
            Input::Event(event) if self.context && event.change == Change::Existing => true,
            Input::Event(event) => {
                self.has(Class::Lifecycle) && self.is_about(&event.cgroup, event.container.as_deref())
            }
            Input::Attempt(attempt) => {
                let about = match &attempt.cgroup {
                    Some(cgroup) => self.is_about(cgroup, attempt.container.as_deref()),
                    None => !self.is_narrowed(),
                };
                self.has(Class::Attempts) && about
            }
            Input::Change(written) => {
                let about = match &written.cgroup {
                    Some(cgroup) => self.is_about(cgroup, written.container.as_deref()),
                    None => !self.is_narrowed(),
                };
                self.has(Class::Changes) && about
            }
            Input::Stuck(stuck) => {
                let about = match &stuck.cgroup {
                    Some(cgroup) => self.is_about(cgroup, stuck.container.as_deref()),
                    None => !self.is_narrowed(),
                };
                self.has(Class::Stuck) && about
            }
            // A loss may be of anything.
            Input::Lost(_) => true,
            Input::Process(_) | Input::Facts(_) | Input::Tick(_) => {
                self.context || self.only.is_empty() && !self.is_narrowed()
            }
        }
    }

    fn has(&self, class: Class) -> bool {
        self.only.is_empty() || self.only.contains(&class)
    }

    /// Whether not all cgroups are wanted.
    pub fn is_narrowed(&self) -> bool {
        self.container.is_some() || self.cgroup.is_some() || self.runtime.is_some()
    }

    /// Whether a cgroup is wanted, and whose it is.
    pub fn is_about(&self, cgroup: &Cgroup, container: Option<&Container>) -> bool {
        let by_container =
            self.container.is_none() && self.runtime.is_none() || container.is_some_and(|known| self.is_of(known));
        let by_path = self.cgroup.as_ref().is_none_or(|glob| {
            use std::os::unix::ffi::OsStrExt;
            glob.is_match(std::ffi::OsStr::from_bytes(cgroup.path.as_bytes()))
        });
        by_container && by_path
    }
}

/// Findings that were shown and are remembered, so that a later revision of one is shown too.
const SHOWN: usize = 1_024;

/// Decides which findings are shown, one after the other.
pub struct Showing<'a> {
    filter: &'a Filter,
    shown: LastSaid<()>,
}

impl<'a> Showing<'a> {
    /// By that filter.
    pub fn new(filter: &'a Filter) -> Self {
        Self { filter, shown: LastSaid::new(SHOWN) }
    }

    /// Whether a finding is shown: it is wanted, and it is no routine, or was shown before it turned out to be.
    pub fn shows(&mut self, finding: &Finding) -> bool {
        let routine = finding.is_routine() && !self.filter.benign && self.shown.of(&finding.id).is_none();
        if routine || !self.filter.reports(finding) {
            return false;
        }
        self.shown.say(&finding.id, ());
        true
    }
}

/// An output behind a filter.
pub struct Filtered<'a> {
    filter: &'a Filter,
    inner: Box<dyn Output + 'a>,
    showing: Showing<'a>,
    /// Is handed every finding that is reported: how `--fail-on` is decided.
    reported: &'a mut dyn FnMut(&Finding),
}

impl<'a> Filtered<'a> {
    /// Hands on to `inner` what `filter` wants, and every reported finding to `reported`.
    pub fn new(filter: &'a Filter, inner: Box<dyn Output + 'a>, reported: &'a mut dyn FnMut(&Finding)) -> Self {
        Self { filter, inner, showing: Showing::new(filter), reported }
    }
}

impl Output for Filtered<'_> {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        let wanted = match line {
            Line::Input(_, input) | Line::Known(_, input) => self.filter.wants(input),
            Line::Finding(finding) => {
                let shows = self.showing.shows(finding);
                if shows {
                    (self.reported)(finding);
                }
                shows && self.filter.has(Class::Findings)
            }
            Line::Header(_) | Line::Span(_) | Line::Passed(_) | Line::End(..) => true,
        };
        if wanted { self.inner.line(line) } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{BootTime, Event, HierarchyId};
    use std::sync::Arc;

    fn event(path: &str, container: Option<(&str, &[&str])>) -> Input {
        let container = container.map(|(runtime, chain)| {
            Arc::new(Container {
                id: (*chain.last().expect("a container has an id")).into(),
                runtime: runtime.into(),
                rule: "rule".into(),
                chain: chain.iter().map(|id| (*id).into()).collect(),
                name: None,
                image: None,
                pod: None,
                namespace: None,
                depths: Vec::new(),
            })
        });
        Input::Event(Event {
            at: BootTime(0),
            change: Change::Created,
            cgroup: Cgroup { hierarchy: HierarchyId(0), id: None, path: path.into(), level: None, truncated: false },
            requested: false,
            task: None,
            container,
            actor: None,
        })
    }

    #[test]
    fn a_filter_narrows_by_class_container_path_and_runtime() {
        let check =
            |filter: &Filter, wanted: bool, input: &Input| assert_eq!(filter.wants(input), wanted, "{filter:?}");
        let nested = event("/docker/abc/def", Some(("buildkit", &["abc", "def"])));
        let bare = event("/user.slice", None);
        check(&Filter::default(), true, &bare);
        check(&Filter { only: vec![Class::Findings], ..Filter::default() }, false, &bare);
        check(&Filter { only: vec![Class::Attempts, Class::Lifecycle], ..Filter::default() }, true, &bare);
        let container = |id: &str| Filter { container: Some(id.into()), ..Filter::default() };
        check(&container("de"), true, &nested);
        check(&container("ab"), true, &nested);
        check(&container("bc"), false, &nested);
        check(&container("ab"), false, &bare);
        let runtime = |name: &str| Filter { runtime: Some(name.into()), ..Filter::default() };
        check(&runtime("buildkit"), true, &nested);
        check(&runtime("runc"), false, &nested);
        let glob = |glob: &str| Filter {
            cgroup: Some(globset::Glob::new(glob).expect("a glob").compile_matcher()),
            ..Filter::default()
        };
        check(&glob("/docker/**"), true, &nested);
        check(&glob("/docker/*"), true, &nested);
        check(&glob("/user*"), false, &nested);
    }
}
