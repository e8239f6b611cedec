//! The scenes that are played: each is a few actors who do to cgroups what runtimes, scripts and administrators do.
//!
//! A scene only says who does what. What should be told of it is worked out from the truth, not from the scene.

use std::path::{Path, PathBuf};

use crate::actors::{Actor, End, House, Part, Step, Target, Way};
use crate::random::Random;
use crate::truth::{Job, Place, now};

const MS: u64 = 1_000_000;

/// A hierarchy, and where in it this troupe plays.
#[derive(Clone, Debug)]
pub struct Site {
    pub mount: String,
    pub version: u32,
    pub root: Place,
}

/// Plays one scene after the other.
pub struct Troupe {
    pub house: House,
    pub random: Random,
    /// cgroup2 first.
    pub sites: Vec<Site>,
    /// A process that sees cgroup2 read-only.
    pub read_only: u32,
    /// A directory for runtimes' state.
    pub states: PathBuf,
    /// The number of this run.
    pub run: u32,
    /// The number of this troupe: what it makes carries it.
    pub number: u64,
    pub played: u64,
}

type Scene = fn(&mut Troupe);

/// All scenes, each as often as it is to be played among the others.
const SCENES: &[(&str, u64, Scene)] = &[
    ("churn", 3, churn),
    ("churn of names", 2, churn_of_names),
    ("race", 5, race),
    ("late", 3, late),
    ("twice", 2, twice),
    ("never", 2, never),
    ("refused", 6, refused),
    ("removed in vain", 2, removed_in_vain),
    ("renamed", 5, renamed),
    ("hierarchies", 2, hierarchies),
    ("script", 2, script),
    ("moves", 2, moves),
    ("busy", 2, busy),
    ("killed", 2, killed),
    ("reused number", 3, reused_number),
    ("runtime", 6, runtime),
    ("failed start", 3, failed_start),
    ("generations", 3, generations),
    ("neighbours", 2, neighbours),
];

impl Troupe {
    /// Plays a scene.
    pub fn play(&mut self) {
        let all: u64 = SCENES.iter().map(|(_, weight, _)| weight).sum();
        let mut drawn = self.random.below(all);
        let (name, _, scene) = SCENES
            .iter()
            .find(|(_, weight, _)| {
                let found = drawn < *weight;
                drawn = drawn.wrapping_sub(*weight);
                found
            })
            .unwrap();
        self.begin(name);
        scene(self);
    }

    fn begin(&mut self, name: &str) {
        self.played += 1;
        self.house.scene = format!("{}.{} {name}", self.number, self.played);
    }

    fn has_v1(&self) -> bool {
        self.sites.len() > 1
    }

    fn any_site(&mut self) -> Site {
        self.random.pick(&self.sites).clone()
    }

    fn v1_site(&mut self) -> Option<Site> {
        self.has_v1().then(|| self.random.pick(&self.sites[1..]).clone())
    }

    fn way(&mut self) -> Way {
        *self.random.pick(&Way::ALL)
    }

    /// A cgroup to play in, of this scene's own.
    fn base(&mut self, site: &Site) -> Place {
        let target = Target {
            mount: site.mount.clone(),
            base: site.root.clone(),
            name: format!("s{}", self.played),
            way: Way::Absolute,
        };
        self.act(vec![Step::Mkdir(target.clone())]);
        target.place()
    }

    fn target(&mut self, site: &Site, base: &Place, name: &str) -> Target {
        Target { mount: site.mount.clone(), base: base.clone(), name: self.named(name), way: self.way() }
    }

    /// A name that no other run on this host uses: the same one is the same container to whoever looks.
    fn named(&self, name: &str) -> String {
        format!("{name}-{}", self.run)
    }

    /// Removes what a scene has left, and its base.
    fn clear(&mut self, site: &Site, base: &Place, names: &[&str]) {
        let mut targets: Vec<Target> = names.iter().map(|name| self.target(site, base, name)).collect();
        targets.retain(|target| Path::new(&format!("{}{}", target.mount, target.place().path)).exists());
        let name = base.path.rsplit('/').next().unwrap().to_owned();
        targets.push(Target {
            mount: site.mount.clone(),
            base: Place { hierarchy: base.hierarchy, path: base.path[..base.path.len() - name.len() - 1].to_owned() },
            name,
            way: Way::Absolute,
        });
        self.act(vec![Step::Clear(targets)]);
    }

    fn act(&self, steps: Vec<Step>) {
        assert_eq!(self.house.play(&Part::new(steps)), Some(0), "{}", self.house.scene);
    }

    fn start(&self, part: &Part) -> Actor {
        self.house.start(part)
    }

    fn wait_all(&self, actors: Vec<Actor>) {
        for actor in actors {
            self.house.wait(actor);
        }
    }

    /// Nobody in particular, who copes or not.
    fn somebody(&mut self, steps: Vec<Step>) -> Part {
        let end = if self.random.chance(3) { End::AsItWent } else { End::Exit(0) };
        Part::new(steps).ends(end)
    }

    /// `rmdir`, which fails if its call does.
    fn rmdir(&mut self, mut steps: Vec<Step>, target: &Target) -> Part {
        let path = format!("{}{}", target.mount, target.place().path);
        steps.push(Step::Rmdir(target.by(Way::Absolute)));
        Part { job: Job::Plain, argv: Some(vec!["rmdir".into(), path]), ..Part::new(steps).ends(End::AsItWent) }
    }

    /// A runtime's `delete`: it tears down `targets`, and then drops the container's state and ends with 0, or it
    /// leaves its state and fails, or it drops it and fails all the same.
    fn delete(&mut self, mut steps: Vec<Step>, targets: &[Target]) -> Part {
        let id = targets[0].name.clone();
        let (program, file) =
            *self.random.pick(&[("runc", "state.json"), ("buildkit-runc", "state.json"), ("crun", "status")]);
        let (root, state) = self.state(&id, file);
        for target in targets {
            let step = Step::TearDown(target.clone());
            steps.push(if self.random.chance(2) { Step::InThread(Box::new(step)) } else { step });
        }
        let end = match self.random.below(4) {
            0 => 1,
            1 => {
                steps.push(Step::DropState(state.clone()));
                1
            }
            _ => {
                steps.push(Step::DropState(state.clone()));
                0
            }
        };
        let argv = [program, "--root", root.to_str().unwrap(), "delete", &id].map(str::to_owned).to_vec();
        let part = Part::new(steps).ends(End::Exit(end));
        Part { job: Job::Teardown, argv: Some(argv), state: Some(state), ..part }
    }

    /// Makes a container's state, below a root of its own.
    fn state(&mut self, id: &str, file: &str) -> (PathBuf, PathBuf) {
        let root = self.states.join(format!("{:x}", self.random.next()));
        std::fs::create_dir_all(root.join(id)).unwrap();
        let state = root.join(id).join(file);
        std::fs::write(&state, "{}").unwrap();
        (root, state)
    }

    fn somehow(&mut self, steps: Vec<Step>, target: &Target) -> Part {
        match self.random.below(3) {
            0 => self.rmdir(steps, target),
            1 => self.delete(steps, std::slice::from_ref(target)),
            _ => {
                let steps = steps.into_iter().chain([Step::TearDown(target.clone())]).collect();
                self.somebody(steps)
            }
        }
    }
}

fn kill(actor: &Actor) {
    crate::support::signal(actor.who.pid, libc::SIGKILL);
}

/// Several processes make and remove cgroups of the same few names.
fn churn(troupe: &mut Troupe) {
    let site = troupe.any_site();
    churn_in(troupe, &site, false);
}

/// And rename them.
fn churn_of_names(troupe: &mut Troupe) {
    let Some(site) = troupe.v1_site() else { return };
    churn_in(troupe, &site, true);
}

fn churn_in(troupe: &mut Troupe, site: &Site, renames: bool) {
    let base = troupe.base(site);
    let names = ["a", "b", "c"];
    let targets: Vec<Target> = names.iter().map(|name| troupe.target(site, &base, name)).collect();
    let actors: Vec<Actor> = (0..2 + troupe.random.below(2))
        .map(|_| {
            let (targets, seed, calls) = (targets.clone(), troupe.random.next(), 6 + troupe.random.below(8) as u32);
            let part = Part::new(vec![Step::Churn { targets, calls, pause_us: 2_000, renames, seed }]);
            troupe.start(&part)
        })
        .collect();
    troupe.wait_all(actors);
    troupe.clear(site, &base, &names);
}

/// Two or three remove the same one at the same moment.
fn race(troupe: &mut Troupe) {
    let site = troupe.any_site();
    let base = troupe.base(&site);
    let name = format!("box-{}", troupe.random.below(4));
    let target = troupe.target(&site, &base, &name);
    troupe.act(vec![Step::Mkdir(target.clone())]);
    let start = now() + 40 * MS;
    let actors: Vec<Actor> = (0..2 + troupe.random.below(2))
        .map(|_| {
            let target = target.by(troupe.way());
            let part = troupe.somehow(vec![Step::Until(start)], &target);
            troupe.start(&part)
        })
        .collect();
    troupe.wait_all(actors);
    troupe.clear(&site, &base, &[]);
}

/// One removes it, another one comes some milliseconds later.
fn late(troupe: &mut Troupe) {
    let site = troupe.any_site();
    let base = troupe.base(&site);
    let target = troupe.target(&site, &base, "box");
    troupe.act(vec![Step::Mkdir(target.clone()), Step::Rmdir(target.clone())]);
    for _ in 0..1 + troupe.random.below(2) {
        let pause = troupe.random.below(8_000);
        let part = troupe.somehow(vec![Step::Pause(pause)], &target);
        troupe.house.play(&part);
    }
    troupe.clear(&site, &base, &[]);
}

/// One removes it twice.
fn twice(troupe: &mut Troupe) {
    let site = troupe.any_site();
    let base = troupe.base(&site);
    let target = troupe.target(&site, &base, "box");
    let steps = vec![Step::Mkdir(target.clone()), Step::Rmdir(target.clone())];
    let part = troupe.somehow(steps, &target);
    troupe.house.play(&part);
    troupe.clear(&site, &base, &[]);
}

/// Somebody removes what never was.
fn never(troupe: &mut Troupe) {
    let site = troupe.any_site();
    let base = troupe.base(&site);
    let target = troupe.target(&site, &base, "box");
    let part = troupe.somehow(Vec::new(), &target);
    troupe.house.play(&part);
    troupe.clear(&site, &base, &[]);
}

/// Somebody tries to make it and fails, and then it is removed all the same.
fn refused(troupe: &mut Troupe) {
    let site = if troupe.random.chance(2) { troupe.sites[0].clone() } else { troupe.any_site() };
    let base = troupe.base(&site);
    let mut target = troupe.target(&site, &base, "box");
    let mut before = Vec::new();
    match troupe.random.below(if site.version == 2 { 6 } else { 4 }) {
        // ENOENT: nothing around it.
        0 => target.name = format!("missing/{}", target.name),
        // EACCES
        1 => before.push(Step::BecomeUser(65_534)),
        // EINVAL
        2 => target.name = troupe.named("new\nline"),
        // EEXIST: it is there, and another one removes it.
        3 => {
            troupe.act(vec![Step::Mkdir(target.clone())]);
            let maker = Part::new(vec![Step::Mkdir(target.clone()), Step::Pause(20_000), Step::Rmdir(target.clone())]);
            let maker = troupe.start(&maker);
            troupe.act(vec![Step::Pause(5_000), Step::Rmdir(target.clone())]);
            troupe.house.wait(maker);
            return troupe.clear(&site, &base, &[]);
        }
        // EAGAIN: there may be no more below.
        4 => {
            std::fs::write(format!("{}{}/cgroup.max.descendants", site.mount, base.path), "0").unwrap();
        }
        // EROFS
        _ => before.push(Step::Enter(troupe.read_only)),
    }
    let mut make = before.clone();
    make.push(Step::Open(target.clone(), Some("cgroup.procs".into())));
    make.push(Step::Mkdir(target.clone()));
    if troupe.random.chance(2) {
        make.push(Step::TearDown(target.clone()));
        make.push(Step::TearDown(target.clone()));
        let part = troupe.somebody(make);
        troupe.house.play(&part);
    } else {
        troupe.house.play(&Part::new(make).ends(End::AsItWent));
        // In a name space of mounts and as a user of its own, as the maker was.
        let part = troupe.delete(before.clone(), &[target]);
        // Who gave up its rights cannot drop the state.
        let part = if matches!(before.first(), Some(Step::BecomeUser(_))) {
            Part {
                steps: part.steps.into_iter().filter(|step| !matches!(step, Step::DropState(_))).collect(),
                end: End::Exit(1),
                ..part
            }
        } else {
            part
        };
        troupe.house.play(&part);
    }
    troupe.clear(&site, &base, &[]);
}

/// Somebody sees it read-only and cannot remove it; then another one does.
fn removed_in_vain(troupe: &mut Troupe) {
    let site = troupe.sites[0].clone();
    let base = troupe.base(&site);
    let target = troupe.target(&site, &base, "box");
    troupe.act(vec![Step::Mkdir(target.clone())]);
    let read_only = vec![Step::Enter(troupe.read_only)];
    let part = troupe.somehow(read_only.clone(), &target);
    troupe.house.play(&part);
    troupe.act(vec![Step::Rmdir(target.clone())]);
    if troupe.random.chance(2) {
        let part = troupe.somehow(read_only, &target);
        troupe.house.play(&part);
    }
    troupe.clear(&site, &base, &[]);
}

/// A cgroup of v1 gets another name, and somebody comes by the old one.
fn renamed(troupe: &mut Troupe) {
    let Some(site) = troupe.v1_site() else { return };
    let base = troupe.base(&site);
    let old = troupe.target(&site, &base, "old");
    let new = troupe.target(&site, &base, "new");
    let child = |of: &Target| Target { name: format!("{}/child", of.name), way: Way::Absolute, ..old.clone() };
    let rename = || vec![Step::Rename(old.clone(), new.name.clone())];
    troupe.act(vec![Step::Mkdir(old.clone())]);
    match troupe.random.below(6) {
        // It is removed by its old name, in vain.
        0 => {
            troupe.act(rename());
            let part = troupe.somehow(Vec::new(), &old);
            troupe.house.play(&part);
        }
        // It is removed by its new name first.
        1 => {
            troupe.act(rename());
            troupe.act(vec![Step::Rmdir(new.clone())]);
            let part = troupe.somehow(Vec::new(), &old);
            troupe.house.play(&part);
        }
        // It gets its old name back: there is nothing to tell.
        2 => {
            troupe.act(rename());
            troupe.act(vec![Step::Rename(new.clone(), old.name.clone())]);
            troupe.act(vec![Step::Rmdir(old.clone())]);
        }
        // Its child was removed before.
        3 => {
            troupe.act(vec![Step::Mkdir(child(&old)), Step::Rmdir(child(&old))]);
            troupe.act(rename());
            let around = if troupe.random.chance(2) { &old } else { &new };
            let part = troupe.somehow(Vec::new(), &child(around));
            troupe.house.play(&part);
        }
        // Its child is still there, by another path.
        4 => {
            troupe.act(vec![Step::Mkdir(child(&old))]);
            troupe.act(rename());
            let part = troupe.somehow(Vec::new(), &child(&old));
            troupe.house.play(&part);
            troupe.act(vec![Step::Rmdir(child(&new))]);
        }
        // Another one has its old name now, and is removed.
        _ => {
            troupe.act(rename());
            troupe.act(vec![Step::Mkdir(old.clone()), Step::Rmdir(old.clone())]);
            let part = troupe.somehow(Vec::new(), &old);
            troupe.house.play(&part);
        }
    }
    troupe.clear(&site, &base, &["new"]);
}

/// A cgroup of the same path in every hierarchy of v1.
fn everywhere(troupe: &mut Troupe) -> Vec<(Site, Place, Target)> {
    let sites: Vec<Site> = troupe.sites[1..].to_vec();
    let all: Vec<_> = sites
        .into_iter()
        .map(|site| {
            let base = troupe.base(&site);
            let target = troupe.target(&site, &base, "box");
            (site, base, target)
        })
        .collect();
    troupe.act(all.iter().map(|(_, _, target)| Step::Mkdir(target.clone())).collect());
    all
}

/// One process tears down in every hierarchy what another one has torn down.
fn hierarchies(troupe: &mut Troupe) {
    if !troupe.has_v1() {
        return;
    }
    let all = everywhere(troupe);
    let targets: Vec<Target> = all.iter().map(|(_, _, target)| target.clone()).collect();
    troupe.act(targets.iter().cloned().map(Step::Rmdir).collect());
    let part = if troupe.random.chance(2) {
        troupe.delete(Vec::new(), &targets)
    } else {
        troupe.somebody(targets.into_iter().map(Step::TearDown).collect())
    };
    troupe.house.play(&Part { teardown: Some(troupe.random.next()), ..part });
    for (site, base, _) in all {
        troupe.clear(&site, &base, &[]);
    }
}

/// A script does, by one process for each hierarchy.
fn script(troupe: &mut Troupe) {
    if !troupe.has_v1() {
        return;
    }
    let all = everywhere(troupe);
    troupe.act(all.iter().map(|(_, _, target)| Step::Rmdir(target.clone())).collect());
    let teardown = Some(troupe.random.next());
    let steps = all
        .iter()
        .map(|(_, _, target)| Step::Run(Box::new(Part { teardown, ..troupe.rmdir(Vec::new(), target) })))
        .collect();
    troupe.house.play(&Part::new(steps));
    for (site, base, _) in all {
        troupe.clear(&site, &base, &[]);
    }
}

/// A process goes from cgroup to cgroup, and is sent by another one; on cgroup2 it is frozen, too, by another one.
fn moves(troupe: &mut Troupe) {
    let site = troupe.any_site();
    let base = troupe.base(&site);
    let (a, b) = (troupe.target(&site, &base, "a"), troupe.target(&site, &base, "b"));
    troupe.act(vec![Step::Mkdir(a.clone()), Step::Mkdir(b.clone())]);
    let gone = troupe.target(&site, &base, "gone");
    let walk = [&a, &b, &a].map(|target| Step::Attach(target.clone()));
    let mut steps: Vec<Step> = walk.into_iter().collect();
    steps.push(Step::Attach(gone));
    troupe.act(steps);
    let idle = troupe.start(&Part::new(vec![Step::Hang]));
    troupe.act(vec![Step::Move(b.clone(), idle.who)]);
    kill(&idle);
    troupe.house.wait(idle);
    if site.version == 2 {
        troupe.act(vec![Step::Freeze(b.clone(), true), Step::Freeze(b.clone(), false)]);
    }
    troupe.clear(&site, &base, &["a", "b"]);
}

/// A cgroup is removed that has a child, or a process.
fn busy(troupe: &mut Troupe) {
    let site = troupe.any_site();
    let base = troupe.base(&site);
    let target = troupe.target(&site, &base, "box");
    troupe.act(vec![Step::Mkdir(target.clone())]);
    if troupe.random.chance(2) {
        let child = Target { name: format!("{}/child", target.name), ..target.clone() };
        troupe.act(vec![Step::Mkdir(child.clone())]);
        let part = troupe.somebody(vec![Step::Rmdir(target.clone())]);
        troupe.house.play(&part);
        troupe.act(vec![Step::Rmdir(child)]);
    } else {
        let inside = Part::new(vec![Step::Attach(target.clone()), Step::Pause(20_000)]);
        let inside = troupe.start(&inside);
        let part = troupe.somebody(vec![Step::Pause(5_000), Step::Rmdir(target.clone())]);
        troupe.house.play(&part);
        troupe.house.wait(inside);
    }
    troupe.clear(&site, &base, &["box"]);
}

/// Actors are killed in the middle of it.
fn killed(troupe: &mut Troupe) {
    let site = troupe.any_site();
    let base = troupe.base(&site);
    let names = ["a", "b"];
    let targets: Vec<Target> = names.iter().map(|name| troupe.target(&site, &base, name)).collect();
    let actors: Vec<Actor> = (0..2)
        .map(|_| {
            let (targets, seed) = (targets.clone(), troupe.random.next());
            let churn = Step::Churn { targets, calls: 40, pause_us: 300, renames: false, seed };
            troupe.start(&Part::new(vec![churn, Step::Hang]))
        })
        .collect();
    for actor in actors {
        std::thread::sleep(std::time::Duration::from_micros(troupe.random.below(12_000)));
        kill(&actor);
        troupe.house.wait(actor);
    }
    troupe.clear(&site, &base, &names);
}

/// Another process has the number of the one that removed it.
fn reused_number(troupe: &mut Troupe) {
    let site = troupe.any_site();
    let base = troupe.base(&site);
    let target = troupe.target(&site, &base, "box");
    let mut steps = vec![Step::Mkdir(target.clone()), Step::Rmdir(target.clone())];
    let twice = troupe.random.chance(2);
    if twice {
        steps.push(Step::TearDown(target.clone()));
    }
    let first = troupe.start(&Part::new(steps));
    let number = first.who.pid;
    troupe.house.wait(first);
    let second = troupe.somehow(Vec::new(), &target);
    // Somebody else may have it by now.
    if let Some(second) = troupe.house.start_as(&second, Some(number)) {
        assert_eq!(second.who.pid, number);
        troupe.house.wait(second);
    }
    troupe.clear(&site, &base, &[]);
}

/// A runtime makes a container, removes it, and is told to remove it again.
fn runtime(troupe: &mut Troupe) {
    let site = troupe.any_site();
    let base = troupe.base(&site);
    let id = format!("box-{}", troupe.random.below(5));
    let target = troupe.target(&site, &base, &id);
    let (root, state) = troupe.state(&target.name, "state.json");
    let argv = |program: &str, verb: &str| -> Option<Vec<String>> {
        Some([program, "--root", root.to_str().unwrap(), verb, &target.name].map(str::to_owned).to_vec())
    };
    let create = Part { argv: argv("runc", "create"), ..Part::new(vec![Step::Mkdir(target.clone())]) };
    troupe.house.play(&create);
    let steps = vec![Step::TearDown(target.clone()), Step::DropState(state.clone())];
    let delete = Part { job: Job::Teardown, argv: argv("runc", "delete"), state: Some(state), ..Part::new(steps) };
    let first = troupe.start(&delete);
    if troupe.random.chance(2) {
        // The shim and the engine both delete.
        let again = troupe.delete(Vec::new(), std::slice::from_ref(&target));
        let again = troupe.start(&again);
        troupe.house.wait(again);
        troupe.house.wait(first);
    } else {
        troupe.house.wait(first);
        let mut again = troupe.delete(Vec::new(), std::slice::from_ref(&target));
        let is_killed = troupe.random.chance(4);
        if is_killed {
            again.steps.push(Step::Hang);
        }
        let again = troupe.start(&again);
        if is_killed {
            std::thread::sleep(std::time::Duration::from_micros(troupe.random.below(20_000)));
            kill(&again);
        }
        troupe.house.wait(again);
    }
    troupe.clear(&site, &base, &[&id]);
}

/// A runtime's `run` makes it, fails for a reason of its own, removes it twice, and ends with 1.
fn failed_start(troupe: &mut Troupe) {
    let site = troupe.any_site();
    let base = troupe.base(&site);
    let id = format!("box-{}", troupe.random.below(5));
    let target = troupe.target(&site, &base, &id);
    let root = troupe.states.join(format!("{:x}", troupe.random.next()));
    let verb = *troupe.random.pick(&["run", "create"]);
    let argv = ["runc", "--root", root.to_str().unwrap(), verb, &target.name].map(str::to_owned).to_vec();
    let steps = vec![
        Step::Mkdir(target.clone()),
        Step::Open(target.clone(), Some("pids.nothing".into())),
        Step::TearDown(target.clone()),
        Step::TearDown(target.clone()),
    ];
    let state = Some(root.join(&target.name).join("state.json"));
    let part = Part { job: Job::Start, argv: Some(argv), state, ..Part::new(steps).ends(End::Exit(1)) };
    troupe.house.play(&part);
    troupe.clear(&site, &base, &[]);
}

/// A name is used again and again, each life by others, and each is removed twice.
fn generations(troupe: &mut Troupe) {
    let site = troupe.any_site();
    let base = troupe.base(&site);
    let target = troupe.target(&site, &base, "box");
    for _ in 0..2 + troupe.random.below(2) {
        if troupe.random.chance(3) {
            let part = Part::new(vec![Step::BecomeUser(65_534), Step::Mkdir(target.clone())]);
            troupe.house.play(&part);
        } else {
            troupe.act(vec![Step::Mkdir(target.clone())]);
            let part = troupe.somehow(Vec::new(), &target);
            troupe.house.play(&part);
        }
        let part = troupe.somehow(Vec::new(), &target);
        troupe.house.play(&part);
    }
    troupe.clear(&site, &base, &[]);
}

/// One process tears down several cgroups, each another container's.
fn neighbours(troupe: &mut Troupe) {
    let site = troupe.any_site();
    let base = troupe.base(&site);
    let names = ["one", "two", "three"];
    let targets: Vec<Target> = names.iter().map(|name| troupe.target(&site, &base, name)).collect();
    let made: Vec<Step> = targets.iter().cloned().map(Step::Mkdir).collect();
    let once: Vec<Step> = targets.iter().cloned().map(Step::Rmdir).collect();
    if troupe.random.chance(2) {
        troupe.act(made);
        troupe.act(once.clone());
    }
    let part = troupe.somebody(once);
    troupe.house.play(&part);
    troupe.clear(&site, &base, &[]);
}

/// One process floods failing calls, while others do what they always do.
pub fn flood(troupe: &mut Troupe, calls: u32) {
    troupe.begin("flood");
    let site = troupe.sites[0].clone();
    let base = troupe.base(&site);
    let target = troupe.target(&site, &base, "box");
    let flood = (0..calls).map(|_| Step::Rmdir(target.by(Way::Absolute))).collect();
    let flood = troupe.start(&Part::new(flood));
    for _ in 0..6 {
        troupe.begin("never, beside a flood");
        never(troupe);
        troupe.begin("late, beside a flood");
        late(troupe);
    }
    troupe.house.wait(flood);
    troupe.clear(&site, &base, &[]);
}

/// Cgroups that are older than the trace: in each hierarchy one that is gone when it begins, and one that is there.
pub struct Older(Vec<[Target; 2]>);

/// Before tracing begins.
pub fn before(house: &House, sites: &[Site]) -> Older {
    let target = |site: &Site, name: &str| Target {
        mount: site.mount.clone(),
        base: site.root.clone(),
        name: name.to_owned(),
        way: Way::Absolute,
    };
    let older: Vec<[Target; 2]> = sites.iter().map(|site| ["gone", "there"].map(|name| target(site, name))).collect();
    for [gone, there] in &older {
        house.play(&Part::new(vec![Step::Mkdir(gone.clone()), Step::Rmdir(gone.clone()), Step::Mkdir(there.clone())]));
    }
    Older(older)
}

/// And after it has begun: both are removed, one in vain, and the other twice.
pub fn after(house: &House, Older(older): &Older) {
    for [gone, there] in older {
        house.play(&Part::new(vec![Step::TearDown(gone.clone())]));
        house.play(&Part::new(vec![Step::Rmdir(there.clone())]));
        house.play(&Part::new(vec![Step::TearDown(there.clone())]));
    }
}
