//! Whose a cgroup is: what its name, the cgroup around it and the command lines of those who touch it say together.
//!
//! A name follows a scheme, or it does not; a runtime's command line tells its own container whatever the name. So a
//! container without a scheme of its own is told within the one around it, and not as that one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::Tracker;
use crate::container::{self, Container, Owner};
use crate::engine;
use crate::input::{ContainerFacts, Pid};
use crate::lxc;
use crate::machine;
use crate::name::{Name, components};
use crate::oci;
use crate::state::{Known, Place};

/// Containers of which something was said later at most, until their cgroups are given it, and how often that is done.
const LATE: usize = 16_384;
const NAMING: Duration = Duration::from_secs(1);
/// Paths whose owner is remembered: each is asked for at every step of a cgroup's life.
pub(super) const OWNERS: usize = 4_096;

impl Tracker {
    /// The container that a path belongs to: as its name says and as the cgroup around it does, and within that one as
    /// the command lines of the process that touches it, and of its parents, say.
    pub(super) fn container_of(&mut self, place: &Place, pid: Option<Pid>) -> Option<Arc<Container>> {
        let uid = pid.and_then(|pid| self.processes.get(pid)?.uid);
        let named = match self.owner(&place.path) {
            Owner::Container(container) => Some(self.with_facts(container, &place.path, uid)),
            Owner::Helper => return None,
            Owner::Unknown => None,
        };
        let around = place.parent().and_then(|parent| self.cgroups.at_path(&parent)?.1.container.clone());
        // Something may have been said since the cgroup around it was made.
        let around = around.map(|around| match around.name.is_none() && around.image.is_none() {
            true => self.known_by_now(&around, &place.path, uid).map_or(around, Arc::new),
            false => around,
        });
        // What is known of the cgroup around it holds, and its name may say more.
        let mut known = match (named, around) {
            (Some(named), Some(around)) if named.depth() > around.depth() => Some(Arc::new(named.within(&around))),
            (Some(named), None) => Some(Arc::new(named)),
            (Some(_) | None, around) => around,
        };
        // The oldest parent is outermost.
        let speakers: Vec<&Known> = self.speakers(pid).collect();
        for speaker in speakers.into_iter().rev() {
            known = self.said_by(speaker, &place.path, known.as_deref()).map(Arc::new).or(known);
        }
        known
    }

    /// The container of a cgroup that is not there: that of the last one there, if more is known of that than is said
    /// now.
    pub(super) fn container_of_missing(&mut self, place: &Place, pid: Pid) -> Option<Arc<Container>> {
        let said = self.container_of(place, Some(pid));
        let depth = said.as_ref().map_or(0, |said| said.depth());
        let before = self.cgroups.removal(place).and_then(|removal| removal.container.clone());
        before.filter(|before| before.depth() > depth).or(said)
    }

    /// Whether a command line may name a container within the one that a cgroup is known to be of.
    pub(super) fn may_say_more(&self, known: &Container, path: &Name, pid: Option<Pid>) -> bool {
        known.rule == container::LXC_RULE
            || components(path.as_bytes()).count() > known.depth()
                && self.speakers(pid).any(|known| known.command.as_ref().is_some_and(|command| command.id.is_some()))
    }

    /// Whose command lines are listened to: the process itself, and its parents, the nearest first.
    fn speakers(&self, pid: Option<Pid>) -> impl Iterator<Item = &Known> {
        let own = pid.and_then(|pid| self.processes.get(pid));
        own.into_iter().chain(own.into_iter().flat_map(|own| self.processes.ancestors(own)))
    }

    /// What a process's command line says of a path, if that is more than what is known.
    fn said_by(&self, speaker: &Known, path: &Name, known: Option<&Container>) -> Option<Container> {
        if let Some(known) = known.filter(|known| known.rule == container::LXC_RULE) {
            let name = lxc::container(speaker.identity.argv.as_deref()?)?;
            let is_called = known.id != name && lxc::is_payload_of(&known.id, &name);
            return is_called.then(|| self.with_facts(known.called(name), path, speaker.uid));
        }
        let command = speaker.command.as_ref()?;
        let given = command.id.as_ref()?;
        let id = engine::buildah_id(given).unwrap_or_else(|| given.clone());
        let facts = self.told.of(&id, speaker.uid);
        let parents: Vec<&str> = speaker.identity.parents.iter().filter_map(|parent| parent.comm.to_str()).collect();
        let engine = engine::of(command, &parents);
        let asked_by = facts.and_then(|facts| facts.engine.as_deref()).or(engine.as_ref().map(|engine| engine.name));
        let runtime = asked_by.unwrap_or(command.runtime);
        let told = |chain, depths| {
            let container = Container {
                id: id.clone(),
                runtime: runtime.to_owned(),
                rule: oci::COMMAND_LINE_RULE.to_owned(),
                chain,
                name: None,
                image: None,
                pod: None,
                namespace: engine.as_ref().and_then(|engine| engine.namespace.clone()),
                depths,
            };
            self.with_facts(container, path, speaker.uid)
        };
        match known {
            // Its shape was all that spoke for BuildKit.
            Some(known) if known.id == id && known.rule == container::BARE_ID_RULE && known.runtime != runtime => {
                Some(told(known.chain.clone(), known.depths.clone()))
            }
            Some(known) if known.chain.contains(&id) => None,
            Some(_) | None => {
                let depth = oci::depth_in(path, command, facts, known.map_or(0, Container::depth))?;
                let (chain, depths) = known.map(|known| (&known.chain[..], &known.depths[..])).unwrap_or_default();
                Some(told([chain, std::slice::from_ref(&id)].concat(), [depths, &[depth]].concat()))
            }
        }
    }

    /// Whether a runtime may have made a cgroup of another container than the one that it is shown with: of its own,
    /// of which nothing is known yet.
    pub(super) fn may_be_of_another(&self, maker: &Known, shown: Option<&Container>) -> bool {
        let Some(command) = &maker.command else { return false };
        match &command.id {
            Some(id) => {
                let id = engine::buildah_id(id).unwrap_or_else(|| id.clone());
                command.makes() && shown.is_none_or(|shown| !shown.chain.contains(&id))
            }
            // What it was asked to do is not known either.
            None => command.subcommand.is_none(),
        }
    }

    /// More is known by now of what a process was asked to do: the cgroups that it made before are given that.
    pub(super) fn name_what_it_made(&mut self, pid: Pid) {
        let Some(maker) = self.processes.get(pid).map(|maker| (pid, maker.incarnation)) else { return };
        for (at, cgroup) in self.nameless.take(maker) {
            let Some(live) = self.cgroups.get(cgroup.0, cgroup.1) else { continue };
            let place = Place { hierarchy: cgroup.0, path: live.path.clone() };
            let now = self.container_of(&place, Some(pid));
            let Some(maker_now) = self.processes.get(pid) else { return };
            if self.may_be_of_another(maker_now, now.as_deref()) {
                self.nameless.add(at, maker, cgroup);
                continue;
            }
            let is_running = !maker_now.has_ended();
            let Some(now) = now else { continue };
            self.cgroups.set_container(cgroup.0, cgroup.1, now.clone());
            // Of one that has ended it was not learned how, as the maker of this.
            if is_running {
                self.has_made_own(pid, cgroup, &place.path, &now);
            }
        }
    }

    fn owner(&mut self, path: &Name) -> Owner {
        if let Some(owner) = self.owners.get(path) {
            return owner.clone();
        }
        let owner = container::owner(path);
        self.owners.tell(path.clone(), owner.clone());
        owner
    }

    /// What was said of a container may have come later than its cgroups. `is_anew`: of another one than before.
    pub(super) fn said_late(&mut self, id: &Name, is_anew: bool) {
        if self.late.len() < LATE {
            let id = engine::buildah_id(id).unwrap_or_else(|| id.clone());
            *self.late.entry(id).or_default() |= is_anew;
        }
    }

    /// Gives the cgroups that exist what was said of their containers since, all at once and not often.
    pub(super) fn name_late(&mut self) {
        if self.late.is_empty() || self.now < self.next_naming {
            return;
        }
        self.next_naming = self.now + NAMING;
        let late = std::mem::take(&mut self.late);
        // Several cgroups share what is known of their container.
        let mut named: HashMap<*const Container, Option<Arc<Container>>> = HashMap::new();
        for (hierarchy, id, path, container) in self.cgroups.of_containers(|id| late.contains_key(id)) {
            let is_anew = late.get(&container.id) == Some(&true);
            let now = named.entry(Arc::as_ptr(&container)).or_insert_with(|| {
                let mut now = container.as_ref().clone();
                if is_anew && let Some(facts) = self.facts_of(&now, &path, None) {
                    (now.name, now.image) = (facts.name.clone(), facts.image.clone());
                }
                self.known_by_now(&now, &path, None).filter(|now| *now != *container).map(Arc::new)
            });
            if let Some(now) = now {
                self.cgroups.set_container(hierarchy, id, now.clone());
            }
        }
    }

    fn known_by_now(&self, container: &Container, path: &Name, uid: Option<u32>) -> Option<Container> {
        self.told.has(&container.id).then(|| self.with_facts(container.clone(), path, uid))
    }

    /// With what is known of it, done to by a user or within a user's own slice.
    fn with_facts(&self, container: Container, path: &Name, uid: Option<u32>) -> Container {
        match self.facts_of(&container, path, uid) {
            Some(facts) => container.with(facts),
            None => container,
        }
    }

    fn facts_of(&self, container: &Container, path: &Name, uid: Option<u32>) -> Option<&ContainerFacts> {
        let said = |uid| self.told.of_one(&container.id, uid, |facts| is_about(facts, container, path));
        said(uid).or_else(|| said(Some(container::user(path)?)))
    }
}

/// Whether what is said of an id is said of this container. An id that a human gave may be another's, too.
fn is_about(facts: &ContainerFacts, container: &Container, path: &Name) -> bool {
    let is_machine = machine::is_of_machines(&facts.runtime) || machine::is_of_machines(&container.runtime);
    let is_drawn = container.id.to_str().is_some_and(container::is_drawn);
    (!is_machine || facts.runtime == container.runtime)
        && (is_drawn || facts.cgroups_path.as_ref().is_none_or(|asked| oci::may_be_at(path, asked)))
}

impl Container {
    fn with(mut self, facts: &ContainerFacts) -> Self {
        self.name = facts.name.clone().or(self.name);
        self.image = facts.image.clone().or(self.image);
        self.pod = facts.pod.clone().or(self.pod);
        self.namespace = facts.namespace.clone().or(self.namespace);
        self
    }

    /// The same one by another id.
    fn called(&self, id: Name) -> Self {
        let mut container = self.clone();
        container.chain.pop();
        container.chain.push(id.clone());
        container.id = id;
        container
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hierarchy::{Clock, Header};
    use crate::input::{
        About, Actor, BootTime, Cgroup, CgroupId, Change, Event, Exit, Facts, HierarchyId, Input, Parent, Process,
        ProcessChange, Seq, Tick,
    };

    const DOCKER: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";
    const BARE: &str = "irpsym10jqj937p3dxo13jky1";

    struct Play(Tracker);

    impl Play {
        fn new() -> Self {
            let clock = Clock { boot_ns: 1, unix_ns: 0 };
            let header = Header { clock, hierarchies: Vec::new(), ..crate::tracker::tests::header(&[]) };
            Self(Tracker::new(&header))
        }

        fn feed(&mut self, mut input: Input) -> Input {
            self.0.apply(Seq(1), &mut input);
            input
        }

        fn exec(&mut self, pid: u32, argv: &str, parents: &[(u32, &str)]) {
            let parents = parents.iter().map(|(pid, comm)| Parent { pid: Pid(*pid), comm: (*comm).into() }).collect();
            let argv = Some(argv.split('|').map(Name::from).collect());
            let exec = Process::new(BootTime(2), Pid(pid), ProcessChange::Exec, "exe".into());
            self.feed(Input::Process(Process { argv, parents, ..exec }));
        }

        fn said(&mut self, facts: ContainerFacts) {
            self.feed(Input::Facts(Facts { at: BootTime(2), about: About::Container(facts) }));
        }

        /// The chain and the runtime that an event of a process is told with.
        fn event(&mut self, change: Change, id: u64, path: &str, pid: u32) -> String {
            let cgroup = Cgroup {
                hierarchy: HierarchyId(0),
                id: Some(CgroupId(id)),
                path: path.into(),
                level: None,
                truncated: false,
            };
            let actor = Some(Actor::new(Pid(pid), pid, "exe".into(), None));
            let at = BootTime(3);
            let event = Event { at, change, cgroup, requested: false, task: None, container: None, actor };
            let Input::Event(event) = self.feed(Input::Event(event)) else { panic!("it is an event") };
            event.container.map_or("-".to_owned(), |container| {
                let chain: Vec<String> = container.chain.iter().map(Name::to_string).collect();
                assert_eq!(container.chain.last(), Some(&container.id));
                assert_eq!(container.depths.len(), container.chain.len());
                format!("{} {}", container.runtime, chain.join(">"))
            })
        }
    }

    #[test]
    fn a_container_without_a_scheme_is_told_within_the_one_around_it() {
        let mut play = Play::new();
        let outer = format!("/docker/{DOCKER}");
        play.exec(10, "runc|create|web-1", &[(9, "sh")]);
        let (outer_says, inner_says) = (format!("docker {DOCKER}"), format!("runc {DOCKER}>web-1"));
        assert_eq!(play.event(Change::Created, 1, &outer, 1), outer_says);
        assert_eq!(play.event(Change::Created, 2, &format!("{outer}/init"), 10), outer_says);
        assert_eq!(play.event(Change::Created, 3, &format!("{outer}/web-1"), 10), inner_says);
        // Whoever touches it later, and whatever is made in it.
        assert_eq!(play.event(Change::Created, 4, &format!("{outer}/web-1/init"), 1), inner_says);
        assert_eq!(play.event(Change::Removed, 4, &format!("{outer}/web-1/init"), 1), inner_says);
        assert_eq!(play.event(Change::Removed, 3, &format!("{outer}/web-1"), 1), inner_says);
        let place = Place { hierarchy: HierarchyId(0), path: format!("{outer}/web-1").into() };
        let missing = play.0.container_of_missing(&place, Pid(1));
        assert_eq!(missing.map(|container| container.id.clone()), Some("web-1".into()));
        // Another one's life, by the name of the first.
        assert_eq!(play.event(Change::Created, 5, &format!("{outer}/web-1"), 1), outer_says);
    }

    #[test]
    fn one_that_was_there_before_tracing_began_is_told_by_who_removes_it() {
        let mut play = Play::new();
        let path = format!("/docker/{DOCKER}/web-1");
        assert_eq!(play.event(Change::Existing, 3, &path, 1), format!("docker {DOCKER}"));
        play.exec(10, "runc|delete|web-1", &[]);
        assert_eq!(play.event(Change::Emptied, 3, &path, 1), format!("docker {DOCKER}"));
        assert_eq!(play.event(Change::Frozen, 3, &path, 10), format!("runc {DOCKER}>web-1"));
        assert_eq!(play.event(Change::Removed, 3, &path, 1), format!("runc {DOCKER}>web-1"));
    }

    #[test]
    fn a_scheme_within_a_container_without_one_adds_to_its_chain() {
        let mut play = Play::new();
        play.exec(10, "runc|run|node", &[]);
        assert_eq!(play.event(Change::Created, 1, "/node", 10), "runc node");
        let inner = format!("/node/kubepods/pod2f3a9c1e-7b54-4d0a-9c55-0d1f6e8b7a21/{DOCKER}");
        assert_eq!(play.event(Change::Created, 2, "/node/kubepods", 1), "runc node");
        assert_eq!(play.event(Change::Created, 3, &inner, 1), format!("kubernetes {DOCKER}"));
        assert_eq!(play.event(Change::Created, 4, "/node/docker", 1), "runc node");
        assert_eq!(
            play.event(Change::Created, 5, &format!("/node/docker/{DOCKER}"), 1),
            format!("docker node>{DOCKER}")
        );
    }

    #[test]
    fn the_command_lines_of_parents_are_outside() {
        let mut play = Play::new();
        play.exec(9, "runc|run|outer", &[]);
        play.exec(10, "crun|run|inner", &[(11, "sh"), (9, "runc")]);
        assert_eq!(play.event(Change::Created, 1, "/a/outer/inner", 10), "crun outer>inner");
    }

    #[test]
    fn a_scheme_and_a_command_line_that_say_the_same_are_one_container() {
        let mut play = Play::new();
        play.exec(10, &format!("runc|--root|/run/docker/runtime-runc/moby|create|{DOCKER}"), &[(9, "containerd-shim")]);
        assert_eq!(play.event(Change::Created, 1, &format!("/docker/{DOCKER}"), 10), format!("docker {DOCKER}"));
        assert_eq!(
            play.event(Change::Created, 2, &format!("/docker/{DOCKER}/{DOCKER}"), 10),
            format!("docker {DOCKER}")
        );
        // Where nothing but the command line tells, its engine is told.
        assert_eq!(play.event(Change::Created, 3, &format!("/foo/{DOCKER}"), 10), format!("docker {DOCKER}"));
    }

    #[test]
    fn what_merely_looks_like_buildkits_id_gives_way_to_a_command_line() {
        let check = |argv: &str, path: &str, says: &str| {
            let mut play = Play::new();
            play.exec(10, argv, &[]);
            assert_eq!(play.event(Change::Created, 1, path, 10), says, "{argv} {path}");
        };
        let bare = format!("/{BARE}");
        check(&format!("runc|run|{BARE}"), &bare, &format!("runc {BARE}"));
        check(&format!("buildkit-runc|run|{BARE}"), &bare, &format!("buildkit {BARE}"));
        check(
            &format!("runc|--log|/x/runc-native/executor/runc-log.json|run|{BARE}"),
            &bare,
            &format!("buildkit {BARE}"),
        );
        check("mkdir|x", &bare, &format!("buildkit {BARE}"));
        check(&format!("runc|run|{BARE}"), &format!("/docker/{DOCKER}{bare}"), &format!("runc {DOCKER}>{BARE}"));
        check(&format!("runc|run|{BARE}"), &format!("/docker/buildkit{bare}"), &format!("buildkit {BARE}"));
    }

    #[test]
    fn buildah_is_one_container_in_every_hierarchy() {
        let mut play = Play::new();
        let facts = ContainerFacts::new("buildah-buildah12".into(), "runc", "/b/config.json".into());
        play.said(ContainerFacts { name: Some("working".into()), ..facts });
        play.exec(10, "runc|create|--bundle|/var/tmp/buildah12|buildah-buildah12", &[(9, "exe")]);
        assert_eq!(play.event(Change::Created, 1, "/buildah-buildah12", 10), "buildah buildah12");
        assert_eq!(play.event(Change::Created, 2, "/user.slice/buildah-buildah12", 10), "buildah buildah12");
        let outer = format!("/docker/{DOCKER}");
        assert_eq!(
            play.event(Change::Created, 3, &format!("{outer}/buildah-buildah12"), 10),
            format!("buildah {DOCKER}>buildah12")
        );
        let live = play.0.cgroups.get(HierarchyId(0), CgroupId(2)).and_then(|live| live.container.clone());
        assert_eq!(live.and_then(|container| container.name.clone()), Some("working".into()));
    }

    #[test]
    fn lxc_is_called_as_its_monitor_says() {
        let mut play = Play::new();
        play.exec(10, "[lxc monitor] /var/lib/lxc two", &[]);
        play.exec(11, "lxc-start|-n|else", &[]);
        assert_eq!(play.event(Change::Created, 1, "/lxc.payload.two-1", 10), "lxc two");
        assert_eq!(play.event(Change::Created, 2, "/lxc.payload.two-1/init.scope", 1), "lxc two");
        assert_eq!(play.event(Change::Created, 3, "/lxc.payload.three-1", 11), "lxc three-1");
        // One that was there before tracing began.
        assert_eq!(play.event(Change::Existing, 4, "/lxc.payload.two-2", 1), "lxc two-2");
        assert_eq!(play.event(Change::Removed, 4, "/lxc.payload.two-2", 10), "lxc two");
    }

    /// What a bundle says, which is read late.
    fn asked(pid: u32, path: &str) -> ContainerFacts {
        let facts = ContainerFacts::new("web".into(), "runc", "/b/config.json".into());
        ContainerFacts { pid: Some(Pid(pid)), cgroups_path: Some(path.into()), ..facts }
    }

    #[test]
    fn what_is_known_too_late_names_the_cgroups_that_were_made_before() {
        let mut play = Play::new();
        play.exec(10, "runc|create|web", &[]);
        play.exec(11, "runc|create|else", &[]);
        assert_eq!(play.event(Change::Created, 1, "/pods", 10), "-");
        assert_eq!(play.event(Change::Created, 2, "/pods/p1", 10), "-");
        assert_eq!(play.event(Change::Created, 3, "/pods/p1/x", 11), "-");
        let outer = format!("/docker/{DOCKER}");
        assert_eq!(play.event(Change::Created, 4, &outer, 1), format!("docker {DOCKER}"));
        assert_eq!(play.event(Change::Created, 5, &format!("{outer}/pods/p1"), 10), format!("docker {DOCKER}"));
        play.said(asked(10, "/pods/p1"));
        assert_eq!(play.event(Change::Emptied, 1, "/pods", 1), "-");
        assert_eq!(play.event(Change::Emptied, 2, "/pods/p1", 1), "runc web");
        assert_eq!(play.event(Change::Emptied, 5, &format!("{outer}/pods/p1"), 1), format!("runc {DOCKER}>web"));
        let live = play.0.cgroups.get(HierarchyId(0), CgroupId(3)).map(|live| live.container.clone());
        assert_eq!(live, Some(None), "another process made it");
    }

    #[test]
    fn a_command_line_that_is_known_too_late_does_as_well_also_in_parts() {
        let mut play = Play::new();
        play.feed(Input::Process(Process::new(BootTime(2), Pid(10), ProcessChange::Exec, "runc".into())));
        assert_eq!(play.event(Change::Created, 1, "/web", 10), "-");
        assert_eq!(play.event(Change::Created, 2, "/pods/p1", 10), "-");
        play.exec(10, "runc|create|web", &[]);
        assert_eq!(play.event(Change::Emptied, 1, "/web", 1), "runc web");
        assert_eq!(play.event(Change::Emptied, 2, "/pods/p1", 1), "-");
        play.said(asked(10, "/pods/p1"));
        assert_eq!(play.event(Change::Emptied, 2, "/pods/p1", 1), "runc web");
    }

    #[test]
    fn what_is_known_of_a_later_process_of_the_same_number_names_nothing_of_before() {
        let mut play = Play::new();
        let start = |play: &mut Play, at| {
            let argv = Some(["runc", "create", "web"].map(Name::from).to_vec());
            let exec = Process::new(BootTime(at), Pid(10), ProcessChange::Exec, "runc".into());
            play.feed(Input::Process(Process { argv, started: Some(BootTime(at)), ..exec }));
        };
        start(&mut play, 1_000_000_000);
        assert_eq!(play.event(Change::Created, 1, "/pods/p1", 10), "-");
        start(&mut play, 2_000_000_000);
        play.said(asked(10, "/pods/p1"));
        assert_eq!(play.event(Change::Emptied, 1, "/pods/p1", 1), "-");
    }

    #[test]
    fn what_is_said_of_one_is_not_said_of_another_of_the_same_id() {
        let mut play = Play::new();
        let facts = |runtime, path: Option<&str>, name: &str| ContainerFacts {
            cgroups_path: path.map(Name::from),
            name: Some(name.into()),
            ..ContainerFacts::new("web".into(), runtime, "/b/config.json".into())
        };
        let name = |play: &mut Play, id: u64, path: &str, pid: u32| {
            play.event(Change::Created, id, path, pid);
            let live = play.0.cgroups.get(HierarchyId(0), CgroupId(id))?.container.clone()?;
            live.name.as_ref().map(Name::to_string)
        };
        play.exec(10, "runc|--root|/run/containerd/runc/dev|create|web", &[]);
        play.exec(11, "runc|--root|/run/containerd/runc/prod|create|web", &[]);
        play.said(facts("runc", Some("/prod/web"), "prod"));
        assert_eq!(name(&mut play, 1, "/dev/web", 10), None);
        assert_eq!(name(&mut play, 2, "/prod/web", 11).as_deref(), Some("prod"));
        assert_eq!(name(&mut play, 3, "/lxc.payload.web", 1), None, "a machine is none of runc's");
        play.said(facts("lxc", None, "machine"));
        assert_eq!(name(&mut play, 4, "/lxc.payload.web/x", 1).as_deref(), Some("machine"));
        assert_eq!(name(&mut play, 5, "/machine.slice/machine-web.scope", 1), None);
        assert_eq!(name(&mut play, 6, "/prod/web", 11), None);
    }

    #[test]
    fn what_root_says_of_another_of_the_same_id_does_not_hide_what_a_user_says() {
        let mut play = Play::new();
        let facts = |uid, path: &str, name: &str| ContainerFacts {
            uid: Some(uid),
            cgroups_path: Some(path.into()),
            name: Some(name.into()),
            ..ContainerFacts::new("web".into(), "runc", "/b/config.json".into())
        };
        play.said(facts(0, "/prod/web", "prod"));
        play.said(facts(1000, "user.slice:runc:web", "own"));
        let name = |play: &mut Play, id: u64, path: &str| {
            play.event(Change::Existing, id, path, 1);
            let live = play.0.cgroups.get(HierarchyId(0), CgroupId(id))?.container.clone()?;
            live.name.as_ref().map(Name::to_string)
        };
        let below = |uid| format!("/user.slice/user-{uid}.slice/user@{uid}.service/user.slice/runc-web.scope");
        assert_eq!(name(&mut play, 1, &below(1000)).as_deref(), Some("own"));
        assert_eq!(name(&mut play, 2, &below(1001)), None);
        assert_eq!(name(&mut play, 3, "/system.slice/runc-web.scope"), None);
    }

    #[test]
    fn what_is_said_late_is_told_of_what_is_there_already() {
        let mut play = Play::new();
        let path = format!("/docker/{DOCKER}");
        let name = |play: &Play, id| {
            let live = play.0.cgroups.get(HierarchyId(0), CgroupId(id))?.container.clone()?;
            live.name.as_ref().map(Name::to_string)
        };
        play.event(Change::Existing, 1, &path, 1);
        play.event(Change::Existing, 2, &format!("{path}/init"), 1);
        let facts = ContainerFacts::new(DOCKER.into(), "docker", "/d/config.v2.json".into());
        play.said(ContainerFacts { name: Some("web".into()), ..facts });
        play.event(Change::Created, 3, &format!("{path}/new"), 1);
        assert_eq!(name(&play, 3).as_deref(), Some("web"), "a new one in it at once");
        play.feed(Input::Tick(Tick { at: BootTime(2_000_000_000) }));
        assert_eq!([1, 2].map(|id| name(&play, id)), [Some("web".to_owned()), Some("web".to_owned())]);
    }

    #[test]
    fn a_cgroup_is_of_the_last_container_that_was_made_into_it() {
        let said = |pid, name: Option<&str>, image: &str| ContainerFacts {
            pid: Some(Pid(pid)),
            name: name.map(Name::from),
            image: Some(image.into()),
            ..ContainerFacts::new("web".into(), "runc", "/b/config.json".into())
        };
        let check = |state_of_first_is_gone: bool, code: u8, expected: (Option<&str>, &str)| {
            let mut play = Play::new();
            let mut seconds = 3;
            let mut ends = |play: &mut Play, pid, code, present| {
                let exit = Process::new(BootTime(3), Pid(pid), ProcessChange::Exit, "exe".into());
                play.feed(Input::Process(Process { exit: Some(Exit::Code(code)), ..exit }));
                let path = "/run/runc/web/state.json".into();
                let about = About::State { id: "web".into(), pid: Pid(pid), path, present };
                play.feed(Input::Facts(Facts { at: BootTime(3), about }));
                seconds += 3;
                play.feed(Input::Tick(Tick { at: BootTime(seconds * 1_000_000_000) }));
            };
            play.exec(10, "runc|create|web", &[]);
            play.said(said(10, Some("first"), "a"));
            play.event(Change::Created, 1, "/web", 10);
            ends(&mut play, 10, 0, true);
            if state_of_first_is_gone {
                play.exec(11, "runc|delete|web", &[]);
                ends(&mut play, 11, 0, false);
            }
            play.exec(12, "runc|create|web", &[]);
            play.said(said(12, None, "b"));
            ends(&mut play, 12, code, true);
            play.event(Change::Created, 2, "/web/init", 1);
            for id in [1, 2] {
                let live = play.0.cgroups.get(HierarchyId(0), CgroupId(id)).and_then(|live| live.container.clone());
                let container = live.expect("it is of a container");
                let known = (container.name.as_ref(), container.image.as_ref());
                let (name, image) = expected;
                assert_eq!(known, (name.map(Name::from).as_ref(), Some(&image.into())), "{id} {code}");
            }
        };
        check(true, 0, (None, "b"));
        check(false, 0, (None, "b"));
        check(false, 1, (Some("first"), "a"));
    }

    #[test]
    fn what_a_user_says_is_believed_in_that_users_slice() {
        let mut play = Play::new();
        let facts = ContainerFacts::new(DOCKER.into(), "podman", "/b/config.json".into());
        play.said(ContainerFacts { uid: Some(1000), name: Some("web".into()), ..facts });
        let name = |play: &mut Play, id: u64, path: &str| {
            play.event(Change::Existing, id, path, 1);
            let live = play.0.cgroups.get(HierarchyId(0), CgroupId(id))?.container.clone()?;
            live.name.as_ref().map(Name::to_string)
        };
        let below = |uid| format!("/user.slice/user-{uid}.slice/user@{uid}.service/user.slice/libpod-{DOCKER}.scope");
        assert_eq!(name(&mut play, 1, &below(1000)).as_deref(), Some("web"));
        assert_eq!(name(&mut play, 2, &below(1001)), None);
        assert_eq!(name(&mut play, 3, &format!("/machine.slice/libpod-{DOCKER}.scope")), None);
        assert_eq!(name(&mut play, 4, &format!("/docker/{DOCKER}{}", below(1000))), None);
    }

    #[test]
    fn a_bundles_own_cgroup_and_engine_are_told() {
        let mut play = Play::new();
        let facts = ContainerFacts::new("web".into(), "runc", "/b/config.json".into());
        let (engine, cgroups_path) = (Some("nerdctl".to_owned()), Some("/pods/p1".into()));
        play.said(ContainerFacts { engine, cgroups_path, ..facts });
        play.exec(10, "runc|--root|/run/containerd/runc/default|create|web", &[]);
        assert_eq!(play.event(Change::Created, 1, "/pods", 10), "-");
        assert_eq!(play.event(Change::Created, 2, "/pods/p1", 10), "nerdctl web");
        assert_eq!(play.event(Change::Created, 3, "/else/web", 10), "nerdctl web");
    }
}
