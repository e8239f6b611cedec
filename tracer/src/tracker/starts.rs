//! What a start of a container that failed met: a cgroup in the place of the container's own, which was there before.
//!
//! Some runtimes refuse such a cgroup if somebody is in it, and no call fails of that. So it is looked at the end of
//! each start that failed and made no cgroup whether there is one that it would have had.

use super::Tracker;
use crate::findings::Kind;
use crate::input::{CgroupId, ContainerFacts, Exit, HierarchyId, Pid};
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
        let named = self.cgroups.all_at(|path| is_own(path, command, said));
        // It came to have one, or put somebody into one: what failed came later.
        let is_its_work = |live: &Live| {
            live.created.is_some_and(|created| created.at >= began) || live.joined.is_some_and(|joined| joined >= began)
        };
        let is_work_of = |(_, live): &(Key, &Live)| is_its_work(live);
        let ((hierarchy, cgroup), live) = self.looked_at(&named).filter(|_| !named.iter().any(is_work_of))?;
        Some((cgroup, Place { hierarchy, path: live.path.clone() }))
    }

    /// The one that a runtime looks at to know whether a cgroup is in use: on v1 that of `devices`. `None` if there is
    /// none, or more than one.
    fn looked_at<'a>(&self, named: &[(Key, &'a Live)]) -> Option<(Key, &'a Live)> {
        let in_hierarchy = |wanted: HierarchyId| {
            let mut own = named.iter().filter(move |((hierarchy, _), _)| *hierarchy == wanted);
            own.next().filter(|_| own.next().is_none()).copied()
        };
        self.devices.and_then(in_hierarchy).or_else(|| in_hierarchy(HierarchyId(0)))
    }
}

/// Whether a path is that of the container's own cgroup, as its command line and its bundle name it.
fn is_own(path: &Name, command: &RuntimeCommand, said: Option<&ContainerFacts>) -> bool {
    let id = command.id.as_ref().map(Name::as_bytes).unwrap_or_default();
    let asked = said.and_then(|said| said.cgroups_path.as_ref()).map(Name::as_bytes);
    let asked = asked.and_then(|path| path.rsplit(|byte| matches!(byte, b'/' | b':')).find(|part| !part.is_empty()));
    // Cheap: nearly all of a host's cgroups are called something else.
    let path_bytes = path.as_bytes().strip_suffix(b".scope").unwrap_or(path.as_bytes());
    let ends = path_bytes.ends_with(id) || asked.is_some_and(|asked| path_bytes.ends_with(asked));
    ends && oci::depth_in(path, command, said, 0) == Some(components(path.as_bytes()).count())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::findings::{Cause, Explanation, Severity};
    use crate::input::Change;
    use crate::rules::{Judgement, Rule, Rules};
    use crate::state::Course;
    use crate::tracker::tests::{Play, header};

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
        let now = play.now;
        play.exec_at(now, 30, "runc create web");
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
        assert_eq!(met(&[0], &nothing, &nothing), [(0, "/web".to_owned())]);
        // On v1 a runtime looks at one of them.
        assert_eq!(met(&[0, 4, 8], &nothing, &nothing), [(4, "/web".to_owned())]);
        assert_eq!(met(&[8], &nothing, &nothing), []);
        assert_eq!(met(&[], &nothing, &nothing), []);
        assert_eq!(met(&[0], &event(Change::Removed, 0, 7, "/web"), &nothing), []);
        assert_eq!(met(&[0], &event(Change::Existing, 0, 8, "/x/web"), &nothing), []);
        // It got as far as to make one, or to put somebody into it.
        assert_eq!(met(&[0], &nothing, &event(Change::Created, 8, 9, "/web")), []);
        assert_eq!(met(&[0], &nothing, &event(Change::Attached, 0, 7, "/web")), []);
    }
}
