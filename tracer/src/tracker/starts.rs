//! What a start of a container that failed met: a cgroup in the place of the container's own, which was there before.
//!
//! Some runtimes refuse such a cgroup if somebody is in it, and no call fails of that. So it is looked at the end of
//! each start that failed and made no cgroup whether there is one that it would have had.

use std::sync::Arc;

use super::Tracker;
use crate::container::Container;
use crate::findings::Kind;
use crate::input::{CgroupId, ContainerFacts, Exit, HierarchyId, Pid};
use crate::mounts::{self, Resolution};
use crate::name::{Name, components};
use crate::oci::{self, RuntimeCommand};
use crate::rules::FailedStart;
use crate::state::{Case, End, Key, Known, Live, Moment, Place};

/// Places that wait for a look into them; further ones are not looked into.
const LOOKS: usize = 16;

impl Tracker {
    /// A process has ended: one that was to make a container may have failed because there was a cgroup in its place.
    pub(super) fn start_ended(&mut self, end: End, pid: Pid) {
        if !matches!(end.exit, Some(Exit::Code(code)) if code != 0) {
            return;
        }
        let Some((cgroup, place)) = self.processes.get(pid).and_then(|known| self.met(known)) else { return };
        let container = self.container_of(&place, Some(pid));
        let (Some(known), Some(live)) = (self.processes.get(pid), self.cgroups.get(place.hierarchy, cgroup)) else {
            return;
        };
        let existing = live.as_existing(cgroup);
        let start = FailedStart { known, container: container.as_ref(), place: &place, existing, live };
        let (world, actor) = (self.world(), known.as_actor(pid));
        let cases = self.rules.iter().filter_map(|(kind, rule)| Some((kind, (rule.failed_start?)(&start, &world)?)));
        let cases: Vec<(Kind, Case)> = cases.collect();
        for (kind, case) in cases {
            if self.looks.len() < LOOKS {
                self.looks.push((place.hierarchy, place.path.clone()));
            }
            let (seq, at, place, actor) = (end.seq, end.at, place.clone(), Some(actor.clone()));
            self.tell(kind, Moment::Event { seq, at, since: at, place, actor }, case);
        }
    }

    /// The cgroup that a start would have had, and that was there before it began.
    fn met(&self, known: &Known) -> Option<(CgroupId, Place)> {
        let command = known.command.as_ref().filter(|command| command.makes())?;
        let (began, id) = (known.began()?, command.id.as_ref()?);
        let said = self.told.of(id, known.uid);
        let named = self.cgroups.all_called(calling(command, said)?, |path| is_own(path, command, said));
        // It came to have one, or put somebody into one: what failed came later.
        let is_its_work = |live: &Live| {
            live.created.is_some_and(|created| created.at >= began) || live.joined.is_some_and(|joined| joined >= began)
        };
        if named.iter().any(|(_, live)| is_its_work(live)) {
            return None;
        }
        let Place { hierarchy: seen, path: root } = self.sees(known)?;
        let around = self.is_within(known).filter(|(container, _)| !command.is_about(&container.id));
        let is_seen = |((hierarchy, _), live): &&(Key, &Live)| {
            let is_below = |around: &Name| mounts::below(around, &live.path).is_some();
            *hierarchy == seen && is_below(&root) && around.as_ref().is_none_or(|(_, path)| is_below(path))
        };
        let mut own = named.iter().filter(is_seen);
        // Of two it is not known which one it would have had.
        let ((hierarchy, cgroup), live) = *own.next().filter(|_| own.next().is_none())?;
        Some((cgroup, Place { hierarchy, path: live.path.clone() }))
    }

    /// Where a runtime looks to know whether a cgroup is in use: on v1 in the hierarchy of `devices`; and what of it is
    /// mounted there. `None` if it has no such mount.
    fn sees(&self, known: &Known) -> Option<Place> {
        let Some(table) = known.mount_namespace.and_then(|namespace| self.tables.get(namespace)) else {
            // As the host has it.
            return Some(Place { hierarchy: self.devices.unwrap_or(HierarchyId(0)), path: "/".into() });
        };
        let mounted = |path: Name| match table.resolve(&path) {
            Resolution::Cgroup { device, path, .. } => Some(Place { hierarchy: *self.hierarchies.get(&device)?, path }),
            Resolution::OtherFileSystem { .. } | Resolution::Unknown => None,
        };
        let usual = Name::from(mounts::USUAL);
        mounted(usual.clone()).or_else(|| mounted(mounts::join(&usual, &"devices".into())))
    }

    /// The container that a process is in, and the path of that one's cgroup.
    fn is_within(&self, known: &Known) -> Option<(Arc<Container>, Name)> {
        let own = known.identity.cgroup.as_ref()?;
        let place = Place { hierarchy: HierarchyId(0), path: own.clone() };
        let container = self.cgroups.at_path(&place)?.1.container.clone()?;
        let path: Vec<&[u8]> = components(own.as_bytes()).take(container.depth()).collect();
        let path = Name::new([b"/", path.join(&b'/').as_slice()].concat());
        Some((container, path))
    }
}

/// The cgroup that a bundle asks for.
fn asked(said: Option<&ContainerFacts>) -> Option<&Name> {
    said.and_then(|said| said.cgroups_path.as_ref()).filter(|asked| oci::is_somewhere(asked))
}

/// What the container's own cgroup is called, but for systemd's words around that.
fn calling<'a>(command: &'a RuntimeCommand, said: Option<&'a ContainerFacts>) -> Option<&'a [u8]> {
    match asked(said) {
        Some(asked) => asked.as_bytes().rsplit(|byte| matches!(byte, b'/' | b':')).find(|part| !part.is_empty()),
        None => command.id.as_ref().map(Name::as_bytes),
    }
}

/// Whether a path is that of the container's own cgroup: as its bundle asks for it, else as its command line names it.
fn is_own(path: &Name, command: &RuntimeCommand, said: Option<&ContainerFacts>) -> bool {
    let depth = match asked(said) {
        Some(asked) => oci::depth_of_asked(path, asked),
        None => oci::depth_in(path, command, None, 0),
    };
    depth == Some(components(path.as_bytes()).count())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::findings::{Cause, Explanation, Severity};
    use crate::input::{About, BootTime, Change, Device, Facts, Input, Mount, NamespaceId, Process, ProcessChange};
    use crate::rules::{Judgement, Rule, Rules};
    use crate::state::{Course, SETTLES};
    use crate::tracker::tests::{Play, UNREAD, header};

    const NEVER: Cause = Cause { word: "never-used", meaning: "m", advice: "a", is_routine: false };

    /// Everything that a start met.
    static MET: Rule = Rule {
        explanation: Explanation {
            word: "met-cgroup",
            claim: "c",
            evidence: &["e"],
            confirm: &[],
            causes: &[NEVER],
            severity: &["s"],
            false_positives: &[],
        },
        known: &[],
        call: None,
        stuck: None,
        failed_start: Some(|start, _| {
            let container = start.container.cloned();
            Some(Case { existing: Some(start.existing), container, ..Case::default() })
        }),
        event: None,
        deadline: None,
        course: Course {
            joins: |_, _, _, _| false,
            gathers: |_, _| false,
            patience: Duration::ZERO,
            settles: SETTLES,
            waits: |_| None,
            follows: &[],
            is_news: |_, _| false,
        },
        hurt: |_, _, _| Severity::Fault,
        judge: |weighed, _| {
            let summary = weighed.member.place.path.to_string();
            Some(Judgement { cause: NEVER, because: Vec::new(), summary, rival: None })
        },
    };
    const ONLY_MET: &[&Rule] = &[&MET];

    /// What a start met after this, in which hierarchy; and what it is to be looked into for it.
    fn met(hierarchies: &[u32], before: &dyn Fn(&mut Play), within: &dyn Fn(&mut Play)) -> Vec<(u32, String)> {
        let mut host = header(&[]);
        host.hierarchies[1].controllers = vec!["devices".to_owned()];
        let mut play = Play::of(Tracker::with_rules(&host, Rules::new(ONLY_MET)));
        for hierarchy in hierarchies {
            play.event(Change::Existing, *hierarchy, 7, "/web", 1);
        }
        before(&mut play);
        play.sees = UNREAD;
        play.begins(30, "runc create web");
        within(&mut play);
        let ended = play.exit(30, Exit::Code(1));
        play.pass(Duration::from_secs(1));
        let looks = play.tracker.take_looks();
        for finding in &play.findings {
            assert_eq!(looks, [(finding.cgroup.hierarchy, finding.cgroup.path.clone())]);
            assert_eq!(finding.container.as_ref().map(|container| container.id.clone()), Some("web".into()));
            assert!(finding.evidence.iter().any(|seq| seq.0 == ended) && finding.pid() == Pid(30));
        }
        play.findings.into_iter().map(|told| (told.cgroup.hierarchy.0, told.summary)).collect()
    }

    #[test]
    fn a_start_that_failed_met_what_was_there_in_the_place_of_its_own() {
        let nothing = |_: &mut Play| {};
        let event = |change, hierarchy, id, path: &'static str| {
            move |play: &mut Play| {
                play.event(change, hierarchy, id, path, 30);
            }
        };
        // On v1 a runtime looks at one of them, and at no other if there is none or are two.
        assert_eq!(met(&[0, 4, 8], &nothing, &nothing), [(4, "/web".to_owned())]);
        assert_eq!(met(&[8], &nothing, &nothing), []);
        assert_eq!(met(&[0], &nothing, &nothing), []);
        assert_eq!(met(&[0, 4], &event(Change::Existing, 4, 8, "/x/web"), &nothing), []);
        assert_eq!(met(&[], &nothing, &nothing), []);
        assert_eq!(met(&[4], &event(Change::Removed, 4, 7, "/web"), &nothing), []);
        // It got as far as to make one, or to put somebody into it.
        assert_eq!(met(&[4], &nothing, &event(Change::Created, 8, 9, "/web")), []);
        assert_eq!(met(&[4], &nothing, &event(Change::Attached, 4, 7, "/web")), []);
    }

    const HOSTS: Option<u64> = Some(5);
    const INNER: Option<u64> = Some(6);

    /// Where a start met what is there, if it is done from within this mount namespace and cgroup.
    fn met_from(namespace: Option<u32>, cgroup: Option<u64>, asked: Option<&str>, there: &[&str]) -> Option<String> {
        let mut play = Play::of(Tracker::with_rules(&header(&[]), Rules::new(ONLY_MET)));
        let outer = format!("/docker/{}", "a1b2c3d4e5f60718".repeat(4));
        play.event(Change::Existing, 0, HOSTS.unwrap_or_default(), "/system.slice", 1);
        play.event(Change::Existing, 0, INNER.unwrap_or_default(), &outer, 1);
        for (id, path) in there.iter().enumerate() {
            play.event(Change::Existing, 0, 10 + id as u64, &path.replace("OUTER", &outer), 1);
        }
        let mount = |minor, root: &str, mount_point: &str, file_system: &str| Mount {
            id: None,
            parent: None,
            device: Device { major: 0, minor },
            root: root.into(),
            mount_point: mount_point.into(),
            file_system: file_system.into(),
            read_only: false,
        };
        let tables = [
            (11, vec![mount(38, &outer, "/sys/fs/cgroup", "cgroup2")]),
            (12, vec![mount(28, "/", "/sys/fs/cgroup", "tmpfs"), mount(38, "/", "/sys/fs/cgroup/unified", "cgroup2")]),
        ];
        for (namespace, mounts) in tables {
            let about = About::Mounts { namespace: NamespaceId(namespace), mounts, too_many: 0, host: false };
            play.feed(Input::Facts(Facts { at: BootTime(0), about }));
        }
        let facts = ContainerFacts {
            cgroups_path: asked.map(Name::from),
            uid: Some(0),
            ..ContainerFacts::new("web".into(), "runc", "/b/config.json".into())
        };
        play.feed(Input::Facts(Facts { at: BootTime(0), about: About::Container(facts) }));
        let process = Process::new(BootTime(0), Pid(30), ProcessChange::Exec, "runc".into());
        play.feed(Input::Process(Process {
            argv: Some(["runc", "create", "web"].map(Name::from).to_vec()),
            started: Some(BootTime(play.now)),
            uid: Some(0),
            mount_namespace: namespace.map(NamespaceId),
            cgroup: cgroup.map(CgroupId),
            ..process
        }));
        play.exit(30, Exit::Code(1));
        play.pass(Duration::from_secs(1));
        assert!(play.findings.len() < 2);
        play.findings.first().map(|finding| finding.summary.replace(&outer, "OUTER"))
    }

    #[test]
    fn it_is_looked_where_the_runtime_looks() {
        let check = |namespace, cgroup, asked, there: &[&str], expected: Option<&str>| {
            assert_eq!(
                met_from(namespace, cgroup, asked, there).as_deref(),
                expected,
                "{cgroup:?} {asked:?} {there:?}"
            );
        };
        check(None, HOSTS, None, &["/web"], Some("/web"));
        // Within a container the host's of that name is another one.
        check(None, INNER, None, &["/web"], None);
        check(None, INNER, None, &["/web", "OUTER/web"], Some("OUTER/web"));
        check(Some(11), None, None, &["/web"], None);
        check(Some(11), None, None, &["/web", "OUTER/web"], Some("OUTER/web"));
        // cgroup2 is there, and not for containers.
        check(Some(12), None, None, &["/web"], None);
        // What the bundle asks for holds, not the id.
        check(None, None, Some("/prod/web"), &["/dev/web"], None);
        check(None, None, Some("/prod/web"), &["/dev/web", "/prod/web"], Some("/prod/web"));
        check(None, None, Some("/web"), &["/web/web"], None);
        check(None, None, Some("/"), &["/web"], Some("/web"));
    }
}
