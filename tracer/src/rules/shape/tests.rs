//! Every known problem as its thread tells it, and the same story but for one thing.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::errno::Errno;
use crate::findings::{Finding, Kind};
use crate::hierarchy::Header;
use crate::input::{
    About, BootTime, Change, ContainerFacts, Exit, Exiting, Facts, Input, NamespaceId, OccupantState, Operation, Pid,
    Stuck, Syscall, Unreaped,
};
use crate::release::RmdirClass;
use crate::rules;
use crate::rules::contested_cgroup::tests::Scene as Contested;
use crate::rules::refusal::tests::{Scene as Refusal, file_value, moved, occupant, words};
use crate::rules::scene::{MAKER, REMOVER, Scene, V1, V2};
use crate::rules::stuck_call::tests::{CALLER, Scene as Hanging};
use crate::tracker::Tracker;
use crate::tracker::tests::{Play, UNREAD, header};

/// Where cgroupfs is mounted read-only.
const CONTAINER: NamespaceId = NamespaceId(2);
const SYSTEMD: u32 = 1;
const STRANGER: u32 = 30;
const OK: Exit = Exit::Code(0);
const FAILED: Exit = Exit::Code(1);

/// The story of an issue; or the same story, but for one thing.
type Story = fn(is_it: bool) -> Scene;

/// Delete it, in use, and exit.
fn delete(hierarchy: u32, path: &'static str, argv: &str) -> Scene {
    Scene::new(hierarchy, path, MAKER).asked(REMOVER, argv)
}

/// A runtime makes the scope's cgroup itself, and does not remove it.
fn left_in_scope(create: &str, delete: &str, hierarchy: u32) -> Scene {
    let mut play = Play::new();
    play.begins(MAKER, create);
    let scene = Scene::of(play, hierarchy, SCOPE, MAKER).exits(MAKER, OK);
    scene.begins(REMOVER, delete).done(REMOVER, OK)
}

/// A stranger, or a container that was given it too, is in the cgroup that a container's start would take.
fn occupied(path: &'static str, is_shared: bool) -> Scene {
    let mut play = Play::new();
    play.sees = UNREAD;
    if is_shared {
        for id in ["first", "web"] {
            let said = ContainerFacts {
                cgroups_path: Some(path.into()),
                uid: Some(0),
                ..ContainerFacts::new(id.into(), "runc", "/b/config.json".into())
            };
            play.feed(Input::Facts(Facts { at: BootTime(0), about: About::Container(said) }));
        }
        play.begins(STRANGER, "runc run first");
    }
    let mut scene = Scene::of(play, V2, path, STRANGER);
    scene.play.event(Change::Populated, V2, 7, path, STRANGER);
    let mut scene = scene.then(Duration::from_secs(3)).begins(REMOVER, "runc --log /log create web");
    scene.play.exit(REMOVER, FAILED);
    scene.play.state("web", REMOVER, false);
    let message = "runc create failed: container's cgroup is not empty: 1 process(es) found";
    let about = About::Failure { id: "web".into(), pid: Pid(REMOVER), message: message.into() };
    scene.play.feed(Input::Facts(Facts { at: BootTime(0), about }));
    scene.then(Duration::from_secs(3))
}

/// LXC finds the container's name taken, by a cgroup that is gone a moment later or stays, and makes another one or
/// fails.
fn taken(hierarchy: u32, path: &'static str, other: Option<&str>, is_gone: bool) -> Scene {
    let scene = Scene::new(hierarchy, path, STRANGER).then(Duration::from_secs(3));
    let mut scene = scene.begins(REMOVER, "lxc-start -n web").refused_by(Syscall::Mkdirat, Errno::EEXIST);
    if let Some(other) = other {
        scene.play.event(Change::Created, hierarchy, 8, other, REMOVER);
        if is_gone {
            scene.play.event(Change::Removed, hierarchy, 7, path, STRANGER);
        }
        return scene.then(Duration::from_secs(20));
    }
    scene.exits(REMOVER, FAILED)
}

/// The kernel does not release a thousand of them.
fn linger(kernel: &str, hierarchy: u32, around: &str) -> Scene {
    let mut header = Header { kernel: kernel.to_owned(), rmdir_class: RmdirClass::of(kernel), ..header(&[]) };
    for own in header.hierarchies.iter_mut().filter(|own| own.id.0 == hierarchy) {
        own.controllers = vec!["memory".to_owned()];
    }
    let mut play = Play::new();
    play.tracker = Tracker::new(&header);
    play.event(Change::Existing, hierarchy, 1, "/", SYSTEMD);
    play.event(Change::Existing, hierarchy, 2, around, SYSTEMD);
    for id in 1_000..2_000 {
        let path = format!("{around}/{id}");
        play.event(Change::Created, hierarchy, id, &path, REMOVER);
        play.event(Change::Removed, hierarchy, id, &path, REMOVER);
    }
    let scene = Scene::of(play, hierarchy, "/other", MAKER).then(Duration::from_secs(10 * 60));
    scene.then(Duration::from_secs(4))
}

/// Who was refused something exits 1.
fn refused(scene: Refusal) -> Scene {
    Scene::played(scene.exits(1).play)
}

/// A call does not return.
fn hangs(mut scene: Hanging, call: Stuck) -> Scene {
    scene.play.feed(Input::Stuck(call));
    Scene::played(scene.play)
}

/// gVisor's runtime puts a process into the cgroup of a pod, or of a container in it.
fn runsc(is_it: bool, subcommand: &str) -> Scene {
    let path = if is_it { "/kubepods/besteffort/podeae0930f" } else { "/kubepods/besteffort/podeae0930f/3f2a" };
    let argv = format!("runsc --root=/run/containerd/runsc/k8s.io {subcommand} web");
    let scene = Refusal::at(V2, path, &argv).writes("cgroup.procs", "0", Errno::EBUSY);
    refused(scene.read(|said| said.levels[0].subtree_control = words("cpu memory")))
}

const DOCKER: &str = "/docker/a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";
const OLD: &str = "6.18.44";
const NEW: &str = "7.1.13";
const MS: Duration = Duration::from_millis(1);
const AT_ONCE: Duration = Duration::from_micros(1);
const POD: &str = "/kubepods.slice/kubepods-pod0f6c3c27.slice";
const POD_OF_PODMAN: &str = "/machine.slice/machine-libpod_pod_6eeba76d.slice";
const SCOPE: &str = "/system.slice/runc-web.scope";
const OF_A_USER: &str = "/user.slice/user-1000.slice/user@1000.service/user.slice/runc-web.scope";
const OF_NERDCTL: &str = "/user.slice/user-1000.slice/user@1000.service/user.slice/nerdctl-web.scope";
const CONMON: &str = "/libpod_parent/6eeba76d/conmon";
const LIVE: OccupantState = OccupantState::Live;

const STORIES: &[(&str, Story)] = &[
    ("runc#4518", |is_it| {
        let mut play = Play::new();
        play.incident(if is_it { FAILED } else { OK });
        Scene::of(play, V2, "/other", MAKER)
    }),
    ("runc#2639", |is_it| {
        let mut play = Play::new();
        let (cgroup, argv) =
            ("/sys/fs/cgroup/web", if is_it { "runc run web" } else { "runc --rootless=true run web" });
        play.exec(REMOVER, argv);
        for (syscall, errno) in
            [(Syscall::Mkdirat, Errno::EROFS), (Syscall::Unlinkat, Errno::EROFS), (Syscall::Openat, Errno::ENOENT)]
        {
            play.attempt(syscall, errno, cgroup, CONTAINER, REMOVER);
        }
        play.exit(REMOVER, if is_it { FAILED } else { OK });
        play.pass(Duration::from_secs(1));
        Scene::of(play, V2, "/other", MAKER)
    }),
    ("runc#5071", |is_it| {
        let scene = Scene::new(V2, SCOPE, SYSTEMD).removed(if is_it { SYSTEMD } else { STRANGER });
        scene.asked(REMOVER, "runc delete web").refused(Errno::ENOENT).exits(REMOVER, OK)
    }),
    ("runc#1683", |is_it| {
        let mut play = Play::new();
        play.exec(REMOVER, "runc create web");
        let scene = Scene::of(play, V1, SCOPE, REMOVER).removed(if is_it { SYSTEMD } else { STRANGER });
        scene.unwritable("cgroup.procs", Errno::ENOENT).refused(Errno::ENOENT).exits(REMOVER, FAILED)
    }),
    ("podman#20044", |is_it| {
        let scene = Scene::new(V2, POD_OF_PODMAN, SYSTEMD).removed(SYSTEMD).asked(REMOVER, "podman pod rm web");
        scene.refused(Errno::ENOENT).exits(REMOVER, if is_it { Exit::Code(125) } else { OK })
    }),
    ("containerd#357", |is_it| {
        let of = |engine: &str| format!("runc --root /run/{engine}/runc/k8s.io delete --force web");
        let argv = of(if is_it { "containerd" } else { "other" });
        let scene = Scene::new(V2, "/web", MAKER).asked(STRANGER, &argv).removed(STRANGER);
        scene.asked(REMOVER, &argv).refused(Errno::ENOENT).exits(REMOVER, OK)
    }),
    ("kubernetes#72105", |is_it| {
        let scene = Scene::new(V2, "/kubepods/burstable/pod0f6c/web", MAKER);
        let scene =
            scene.asked(STRANGER, if is_it { "/usr/bin/kubelet --v=2" } else { "node-agent" }).removed(STRANGER);
        scene.asked(REMOVER, "runc delete web").refused(Errno::ENOENT).exits(REMOVER, OK)
    }),
    ("kubernetes#137305", |is_it| {
        let scene = Scene::new(if is_it { V2 } else { V1 }, POD, MAKER).asked(REMOVER, "kubelet").removed(REMOVER);
        scene.refused(Errno::ENOENT).then(Duration::from_secs(3))
    }),
    ("containerd#11087", |is_it| {
        let mut scene = delete(V2, "/web", "runc delete web").busy(2, AT_ONCE).then(30 * MS);
        if is_it {
            scene.play.event(Change::Emptied, V2, 7, "/web", STRANGER);
        }
        scene.exits(REMOVER, OK)
    }),
    ("runc#4102", |is_it| {
        let argv = if is_it { "runc delete web" } else { "runc delete --force web" };
        let mut scene = delete(V2, "/web", argv).busy(2, AT_ONCE);
        for step in 0..10 {
            scene = scene.then(MS * (1 << step)).refused(Errno::EBUSY);
        }
        scene.inside(50, "sleep", LIVE).exits(REMOVER, FAILED)
    }),
    ("runc#3225", |is_it| {
        const PATH: &str = "/user.slice/user-1000.slice/user@1000.service/user.slice/runc-web.scope";
        let scene = delete(V2, PATH, "runc --systemd-cgroup run web").holds("test");
        scene.busy(if is_it { 1 } else { 2 }, AT_ONCE).exits(REMOVER, FAILED)
    }),
    ("runc#2344", |is_it| {
        let scene = delete(V2, SCOPE, "runc --systemd-cgroup delete -f web").busy(if is_it { 1 } else { 2 }, AT_ONCE);
        scene.inside(50, "sleep", LIVE).exits(REMOVER, FAILED)
    }),
    ("runc#2615", |is_it| {
        let scene = delete(V1, "/web", "runc create web").busy(5, 20 * MS);
        scene.inside(50, if is_it { "runc:[2:INIT]" } else { "sleep" }, LIVE).exits(REMOVER, FAILED)
    }),
    ("runc#2105", |is_it| {
        let scene = delete(V1, if is_it { "/web/inner" } else { "/web" }, "runc delete web").busy(2, AT_ONCE);
        scene.found(&[(50, "sleep", LIVE)], Some(true)).exits(REMOVER, FAILED)
    }),
    ("youki#1129", |is_it| {
        let scene = delete(if is_it { V1 } else { V2 }, "/web", "youki delete --force web").busy(5, 20 * MS);
        scene.found(&[(50, "sleep", LIVE)], Some(true)).exits(REMOVER, FAILED)
    }),
    ("crun#868", |is_it| {
        let scene = delete(V1, "/web", "crun delete --force web");
        let tries = if is_it { 6_000 } else { 50 };
        let scene = scene.busy(tries, 20 * MS).then(Duration::from_secs(3));
        if is_it { scene } else { scene.exits(REMOVER, OK) }
    }),
    ("kubernetes#112151", |is_it| {
        let scene = delete(if is_it { V2 } else { V1 }, POD, "kubelet").holds("cri-containerd-67620447.scope");
        scene.busy(4, Duration::from_secs(1)).then(Duration::from_secs(3))
    }),
    ("kubernetes#123766", |is_it| {
        let scene = delete(V2, POD, "kubelet").busy(if is_it { 4 } else { 2 }, Duration::from_secs(1));
        scene.inside(50, "java", LIVE).then(Duration::from_secs(3))
    }),
    ("podman#11946", |is_it| {
        let scene = delete(V1, CONMON, "podman pod rm web").busy(1, AT_ONCE).inside(50, "conmon", LIVE);
        scene.exits(REMOVER, if is_it { Exit::Code(125) } else { OK })
    }),
    ("podman#14057", |is_it| {
        let scene = delete(V2, CONMON, "podman play kube --replace pod.yaml");
        let scene = scene.busy(50, MS * if is_it { 100 } else { 200 });
        scene.inside(50, "conmon", LIVE).exits(REMOVER, Exit::Code(125))
    }),
    ("cri-o#1009", |is_it| {
        let scene = delete(V1, "/kubepods/pod0f6c/crio-conmon-5eed9175", "crio").busy(5, 400 * MS);
        scene.inside(50, if is_it { "conmon" } else { "sleep" }, LIVE).then(Duration::from_secs(3))
    }),
    ("lxc#3563", |is_it| {
        let scene = delete(V2, "/lxc.payload.web", "lxc-start -n web").refused_in_directory(Errno::EBUSY);
        scene.inside(if is_it { REMOVER } else { 50 }, "lxc-start", LIVE).exits(REMOVER, OK)
    }),
    ("lxd#3561", |is_it| {
        let argv = if is_it { "lxd forkstart web /var/lib/lxd /tmp/lxc.conf" } else { "rmdir cron.service" };
        let scene = delete(V1, "/system.slice/cron.service", argv).refused_by(Syscall::Rmdir, Errno::EBUSY);
        scene.exits(REMOVER, FAILED)
    }),
    ("containerd/cgroups#148", |is_it| {
        let mut scene = delete(V2, "/web", "containerd-shim-kata-v2 -id web delete");
        for _ in 0..3 {
            scene = scene.refused(Errno::EBUSY);
            scene = if is_it { scene.refused_in_directory(Errno::EBUSY) } else { scene.refused(Errno::EBUSY) };
            scene = scene.then(20 * MS);
        }
        scene.exits(REMOVER, FAILED)
    }),
    ("systemd#26315", |is_it| {
        let state = if is_it { OccupantState::Kernel } else { LIVE };
        let threads = [(50, "kvm-nx-lpage-re", OccupantState::Kernel), (51, "kvm-pit", state)];
        delete(V2, "/web", "rmdir /web").busy(1, AT_ONCE).found(&threads, Some(false)).exits(REMOVER, FAILED)
    }),
    ("lxd#11108", |is_it| {
        let path = if is_it { "/lxc.payload.web/user.slice" } else { "/lxc.payload.web" };
        let scene = Scene::new(V2, path, MAKER).runs(REMOVER, &["[lxc monitor] /var/lib/lxd/containers web"]);
        scene.refused_in_directory(Errno::EACCES).exits(REMOVER, OK)
    }),
    ("lxc#2368", |is_it| {
        let scene = delete(if is_it { V1 } else { V2 }, "/lxc/web", "lxc-start -n web");
        scene.refused_by(Syscall::Rmdir, Errno::EACCES).exits(REMOVER, FAILED)
    }),
    ("lxc#1998", |is_it| {
        let argv = if is_it { "lxc-start -n web" } else { "rmdir crond.service" };
        let scene = delete(V1, "/system.slice/crond.service", argv).refused_by(Syscall::Rmdir, Errno::EACCES);
        scene.exits(REMOVER, FAILED)
    }),
    ("crun#2242", |is_it| {
        let mut play = Play::new();
        play.exec(REMOVER, "crun run web");
        let scene = Scene::of(play, V2, "/web", REMOVER);
        let scene = if is_it { scene.unwritable("pids.max", Errno::ENOENT) } else { scene };
        scene.done(REMOVER, FAILED)
    }),
    ("runc#4534", |is_it| {
        let mut play = Play::new();
        play.exec(MAKER, "runc create web");
        Scene::of(play, V2, "/web", MAKER).done(MAKER, if is_it { Exit::Signal(9) } else { FAILED })
    }),
    ("crun#1144", |is_it| {
        left_in_scope("crun --root /r create web", "crun --root /r delete web", if is_it { V1 } else { V2 })
    }),
    ("runc#2503", |is_it| {
        left_in_scope("runc --root /r create web", "runc --root /r delete web", if is_it { V1 } else { V2 })
    }),
    ("youki#328", |is_it| {
        let mut play = Play::new();
        play.exec(MAKER, "youki create web");
        Scene::of(play, V2, "/web", MAKER).done(MAKER, if is_it { FAILED } else { Exit::Signal(9) })
    }),
    ("runc#3828", |is_it| occupied(if is_it { OF_NERDCTL } else { OF_A_USER }, false)),
    ("runc#3132", |is_it| occupied("/web", is_it)),
    ("lxc#1726", |is_it| taken(V1, "/lxc/web", Some("/lxc/web-1"), is_it)),
    ("lxd#2764", |is_it| taken(V1, "/lxc/web", if is_it { None } else { Some("/lxc/web-1") }, false)),
    ("crun#1195", |is_it| {
        let path = "/user.slice/user-1000.slice/user@1000.service/app.slice/crun-web.scope";
        let scene = Refusal::at(V2, path, "crun --systemd-cgroup exec -t web /bin/bash");
        let scene = scene.of_user(if is_it { 1000 } else { 0 }).writes("cgroup.procs", "99", Errno::EACCES);
        refused(scene.read(|said| said.moved = Some(moved("crun", "/user.slice/session-2.scope"))))
    }),
    ("gvisor#8269", |is_it| runsc(is_it, "create")),
    ("gvisor#8311", |is_it| runsc(is_it, "start")),
    ("gvisor#8111", |is_it| {
        let argv = if is_it { "runsc --rootless=true run web" } else { "runc run web" };
        let scene = Refusal::at(V2, DOCKER, argv).writes("cgroup.subtree_control", "+cpu", Errno::EBUSY);
        refused(scene.read(|said| said.occupants = vec![occupant(50, "sh")]))
    }),
    ("moby#43093", |is_it| {
        let path = if is_it { DOCKER } else { "/user.slice/web" };
        let scene = Refusal::at(V2, path, "sh -c true").writes("cgroup.subtree_control", "+cpu", Errno::EBUSY);
        refused(scene.read(|said| said.occupants = vec![occupant(50, "sh")]))
    }),
    ("nydus-snapshotter#490", |is_it| {
        let argv = if is_it { "containerd-shim-runc-v2 -namespace default -id web" } else { "sh -c true" };
        let scene = Refusal::at(V2, "/default", argv);
        let scene = scene.writes("cgroup.subtree_control", "+cpuset +cpu +io +memory", Errno::ENOENT);
        refused(scene.read(|said| said.levels[2].controllers = words("cpuset cpu io memory")))
    }),
    ("podman#7768", |is_it| {
        let path = if is_it { "/user.slice/user-1001.slice/user@1001.service" } else { "/system.slice/podman.service" };
        let scene = Refusal::at(V2, path, "crun create --bundle /b web").of_user(1001);
        let scene = scene.writes("cgroup.subtree_control", "+memory", Errno::ENOENT);
        refused(scene.read(|said| said.levels[2].controllers = words("memory")))
    }),
    ("moby#25460", |is_it| {
        let argv = if is_it { "runc update --resources - web" } else { "runc create web" };
        let scene = Refusal::at(V1, DOCKER, argv).writes("memory.limit_in_bytes", "419430400", Errno::EINVAL);
        let limit = file_value(DOCKER, "memory.memsw.limit_in_bytes", "209715200");
        refused(scene.read(|said| said.values = vec![limit]))
    }),
    ("moby#41167", |is_it| {
        let argv = if is_it { "runc create --bundle /b web" } else { "sh -c true" };
        let scene = Refusal::at(V1, DOCKER, argv).writes("memory.limit_in_bytes", "4194304", Errno::EBUSY);
        refused(scene.read(|_| {}))
    }),
    ("runc#3529", |is_it| {
        let scene = Refusal::at(V2, "/libpod_parent/web", "podman pod create --blkio-weight-device=/dev/loop22:123");
        let value = if is_it { "7:22 123" } else { "123" };
        refused(scene.writes("io.bfq.weight", value, Errno::EOPNOTSUPP).read(|_| {}))
    }),
    ("runc#3336", |is_it| {
        let scene = Refusal::at(V2, "/web", "runc create --bundle /b web");
        let value = if is_it { "259:2 rbps=0" } else { "259:2 rbps=99999999999999999999" };
        refused(scene.writes("io.max", value, Errno::ERANGE).read(|_| {}))
    }),
    ("containerd/cgroups#333", |is_it| {
        let argv = if is_it { "./my-program" } else { "crun create --bundle /b web" };
        let scene = Refusal::at(V2, "/my_cgroup.slice", argv).opens("cpu.max", Errno::EACCES);
        refused(scene.read(|said| {
            said.file_exists = Some(false);
            said.levels[2].controllers = words("cpu");
        }))
    }),
    ("podman#13379", |is_it| {
        let scene = Refusal::at(V2, "/libpod_parent/web", "crun create --bundle /b web");
        let scene = scene.opens("cpu.max", Errno::ENOENT);
        refused(scene.read(|said| {
            said.file_exists = Some(false);
            said.levels[0].controllers = words(if is_it { "cpu" } else { "memory" });
        }))
    }),
    ("containerd#7828", |is_it| {
        let pod = "/kubepods.slice/kubepods-burstable-pode4d3.slice/cri-containerd-ecbc.scope";
        let scene = Refusal::at(V1, if is_it { pod } else { "/docker/web" }, "runc create --bundle /b web");
        let scene = scene.opens("memory.memsw.limit_in_bytes", Errno::ENOENT);
        refused(scene.read(|said| said.file_exists = Some(false)))
    }),
    ("systemd#4079", |is_it| {
        let scene = Contested::of_lxc((SYSTEMD, "systemd"), if is_it { "/" } else { "/init.scope" });
        Scene::played(scene.play)
    }),
    ("runc#4620", |is_it| {
        let to = if is_it { "/kubepods.slice/crio-conmon-5eed91.scope" } else { "/init.scope" };
        Scene::played(Contested::of_crio((SYSTEMD, "systemd"), to).play)
    }),
    ("runc#4812", |is_it| {
        let to = if is_it { "/system.slice/hosted-compute-agent.service" } else { "/system.slice/agent.service" };
        Scene::played(Contested::of_runc((30, "agent"), to).play)
    }),
    ("moby#51446", |is_it| {
        let values = ("0", if is_it { "max" } else { "1048576" });
        Scene::played(Contested::of_unit((SYSTEMD, "systemd"), "memory.swap.max", values).play)
    }),
    ("kubernetes#104289", |is_it| {
        let path = if is_it { "/system.slice" } else { "/runtime.slice" };
        Scene::played(Contested::of_kubelet((SYSTEMD, "systemd"), path).play)
    }),
    ("cockpit-project/bots#8970", |is_it| {
        let mut scene = Hanging::new();
        let call = scene.call(if is_it { SYSTEMD } else { CALLER }, 7, Operation::Rmdir, None);
        let unreaped = Some(Unreaped { pid: Pid(42), comm: "catatonit".into() });
        let waits_in = Some("zap_pid_ns_processes".to_owned());
        let exiting = vec![Exiting { pid: Pid(41), comm: "podman".into(), waits_in, unreaped }];
        hangs(scene, Stuck { waits_in: Some("cgroup_drain_dying".to_owned()), exiting, ..call })
    }),
    ("kubernetes#141609", |is_it| {
        let mut scene = Hanging::new();
        let path = if is_it { "/kubepods.slice" } else { POD };
        scene.play.event(Change::Existing, V2, 9, path, SYSTEMD);
        scene.play.exec(CALLER, "/usr/bin/kubelet --config=/var/lib/kubelet/config.yaml");
        let call = scene.call(CALLER, 9, Operation::Write, Some("memory.max"));
        hangs(scene, call)
    }),
    ("moby#29638", |is_it| linger(if is_it { OLD } else { NEW }, V1, "/docker")),
    ("oomd#117", |is_it| linger(if is_it { OLD } else { NEW }, V2, "/pods")),
];

/// The issues that the findings of a scene name, and the kinds that they are of.
fn named(scene: &Scene) -> (BTreeSet<&'static str>, BTreeSet<Kind>) {
    let findings = &scene.play.findings;
    let issues = |finding: &Finding| finding.known_issues.iter().map(|issue| issue.id).collect::<Vec<_>>();
    (findings.iter().flat_map(issues).collect(), findings.iter().map(|finding| finding.kind).collect())
}

#[test]
fn an_issue_is_named_by_its_story_and_not_by_one_that_differs_in_one_thing() {
    let mut wrong = Vec::new();
    for (id, story) in STORIES {
        let ((issues, kinds), (others, near)) = (named(&story(true)), named(&story(false)));
        // What else the story is told as, the near miss need not be.
        let is_alike = !near.is_empty() && near.is_subset(&kinds);
        if issues != BTreeSet::from([*id]) || others.contains(id) || !is_alike {
            wrong.push(format!("{id}: {issues:?} of {kinds:?}, the near miss {others:?} of {near:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_issue_has_a_story_and_a_near_miss() {
    let all = Kind::ALL.into_iter().flat_map(rules::known_issues);
    let issues: Vec<&str> = all.map(|issue| issue.id).collect();
    let stories: Vec<&str> = STORIES.iter().map(|(id, _)| *id).collect();
    let set = |list: &[&'static str]| list.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(set(&issues), set(&stories));
    assert_eq!((issues.len(), stories.len()), (set(&issues).len(), set(&stories).len()), "each once");
}

#[test]
fn every_issue_says_where_it_is_discussed_what_it_is_and_what_to_do() {
    for issue in Kind::ALL.into_iter().flat_map(rules::known_issues) {
        let (project, number) = issue.id.rsplit_once('#').expect("PROJECT#NUMBER");
        assert!(!project.is_empty() && number.parse::<u32>().is_ok(), "{}", issue.id);
        let texts = [issue.title, issue.affects, issue.advice, issue.fixed_in.unwrap_or("-")];
        assert!(texts.iter().all(|text| !text.is_empty() && text.trim() == *text), "{}", issue.id);
        assert!(!issue.title.ends_with('.') && !issue.affects.ends_with('.'), "{}", issue.id);
        assert!(issue.advice.ends_with('.'), "{}", issue.id);
    }
}
