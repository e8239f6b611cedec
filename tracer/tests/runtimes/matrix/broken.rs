//! Lives that something breaks.

use super::Layout::{Host, V1, V2};
use super::healthy::{AGAIN, CONTAINERD, DOCKER, LIMITED, LXC, PODMAN, SLEEPS};
use super::{Known, Life, Told};

/// A stranger sits in every cgroup of the container when it is deleted, and stays until that is over.
const STRANGER: &str = r#"create; stranger $(cgroups); rt kill "$id" KILL; stopped; rt delete "$id" || true"#;
const DOCKER_STRANGER: &str = r#"id=$(docker run --detach --network none --name "$id" "$image" /bin/sleep 600); is "$id"
stranger $(cgroups); docker rm --force "$id" || true"#;
const CTR_STRANGER: &str = r#"ctr run --detach --cpu-shares 0 --snapshotter native "docker.io/library/$image" "$id" \
    /bin/sleep 600
stranger $(cgroups); ctr tasks kill --signal KILL "$id"; until_it "ctr tasks ls | grep '$id' | grep -q STOPPED"
ctr tasks rm "$id" || true; ctr containers rm "$id" || true"#;
const PODMAN_STRANGER: &str = r#"pod load --quiet --input "$archive"
id=$(pod run --detach --name "$id" $limits "$image" /bin/sleep 600); is "$id"
stranger $(cgroups); pod rm --force --time 0 "$id" || true"#;
const LXC_STRANGER: &str = r#"lxc "/bin/sleep 600"; lxc-start --name "$id" --lxcpath "$place/lxc"
stranger $(cgroups | grep "lxc.payload"); lxc-stop --kill --name "$id" --lxcpath "$place/lxc"
lxc-wait --name "$id" --lxcpath "$place/lxc" --state STOPPED --timeout 20"#;

/// A cgroup that the runtime does not know of is in the container's own, with somebody in it.
const CHILD: &str = r#"create; for cgroup in $(cgroups); do mkdir "$cgroup/child"; done
stranger $(cgroups | grep '/child$' | grep -v cpuset); rt kill "$id" KILL; stopped; rt delete "$id" || true"#;
const EMPTY_CHILD: &str = r#"create; for cgroup in $(cgroups); do mkdir "$cgroup/child"; done
rt kill "$id" KILL; stopped; rt delete "$id" || true"#;
/// Somebody froze the one in it, whom not even SIGKILL ends then. runc and crun thaw it.
const FROZEN: &str = r#"create; freezer=$(cgroups | grep /freezer/); stranger "$freezer"; rt kill "$id" KILL; stopped
echo FROZEN > "$freezer/freezer.state"; until_it grep -q FROZEN "$freezer/freezer.state"
rt delete --force "$id" || true"#;
/// The runtime is killed when only the hierarchy is left in which it cannot go on.
const KILLED_WAITING: &str = r#"create; stranger $(cgroups | grep /freezer/); rt kill "$id" KILL; stopped
rt_itself delete --force "$id" & deleting=$!
until [ "$(cgroups | wc -l)" = 1 ]; do sleep 0.01; done; kill -KILL $deleting"#;
/// A shell in a cgroup removes the one around its own.
const OWN_PARENT: &str = r#"mkdir -p "$own/$id/a/b"
sh -c 'echo $$ > "$own/$id/a/b/cgroup.procs"; rmdir "$own/$id/a" || true; exec sleep 600' &
until_it grep -q . "$own/$id/a/b/cgroup.procs""#;
const NOBODYS: Known = Known { runtime: None, maker: "mkdir", name: false, image: false };

/// cgroupfs becomes read-only between the creation and the end.
const READ_ONLY: &str = r#"create; rt start "$id"; stopped; mount -o remount,bind,ro /sys/fs/cgroup
rt delete "$id" || true"#;
const READ_ONLY_START: &str = r#"mount -o remount,bind,ro /sys/fs/cgroup
! rt run --bundle "$place/bundle" "$id""#;
const READ_ONLY_ROOTLESS: &str = r#"mount -o remount,bind,ro /sys/fs/cgroup
rt --rootless=true run --bundle "$place/bundle" --keep "$id"; rt delete "$id""#;

/// A user whom no cgroup was delegated to.
const UNDELEGATED: &str = r#"mkdir "$place/state"; chown 65534:65534 "$place/state"
nobody unshare --user --map-root-user "$runtime" --root "$place/state" run --bundle "$place/bundle" --keep "$id"
nobody unshare --user --map-root-user "$runtime" --root "$place/state" delete "$id""#;
/// A user who has no right to what root made.
const NO_RIGHT: &str = r#"create; rt start "$id"; stopped; chown -R 65534:65534 "$place/state"
! nobody "$runtime" --root "$place/state" delete "$id""#;

/// Somebody else removes the cgroup before its runtime does.
const REMOVED: &str = r#"create; rt start "$id"; stopped; for cgroup in $(cgroups | sort -r); do rmdir "$cgroup"; done
rt delete "$id" || true"#;

/// cgroupfs is not mounted any more when the runtime deletes.
const UNMOUNTED: &str = r#"create; rt start "$id"; stopped; umount /sys/fs/cgroup; rt delete "$id""#;
/// The same, but only where the one is that deletes.
const ELSEWHERE: &str = r#"create; rt start "$id"; stopped
unshare --mount --propagation private sh -euc 'umount /sys/fs/cgroup; "$runtime" --root "$place/state" delete "$id"'"#;
/// A limit that cannot be set, because cgroup2 has no such controller.
const LIMIT: &[(&str, &str)] = &[("/linux/resources", r#"{"pids": {"limit": 50}}"#)];
const FAILS: &str = r#"! rt run --bundle "$place/bundle" "$id""#;
/// Whoever deletes tries again and again.
const FOR_EVER: &str = r#"create; stranger $(cgroups); rt kill "$id" KILL; stopped
for n in 1 2 3 4 5 6 7 8 9 10; do ! rt delete "$id"; sleep 0.2; done"#;

/// The owner is killed while the container runs, and nobody takes its place.
const OWNER_DIES: &str = r#"rt_itself run --bundle "$place/bundle" "$id" & owner=$!
running; kill -KILL $owner"#;

const KILLED_CREATE: &[(&str, &str)] =
    &[("/hooks", r#"{"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "kill -KILL $PPID"]}]}"#)];
const KILLED_START: &[(&str, &str)] =
    &[("/hooks", r#"{"poststart": [{"path": "/bin/sh", "args": ["sh", "-c", "kill -KILL $PPID"]}]}"#)];
const KILLED_DELETE: &[(&str, &str)] =
    &[("/hooks", r#"{"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", "kill -KILL $PPID"]}]}"#)];
/// What is left is deleted by force, as engines do.
const CREATE_FORCED: &str = r#"! create; rt delete --force "$id" || true"#;
const CREATE_LEFT: &str = "! create";
const RUN_FORCED: &str = r#"! rt run --bundle "$place/bundle" "$id"; rt delete --force "$id""#;
const DELETE_LEFT: &str = r#"create; rt start "$id"; stopped; ! rt delete "$id""#;

/// Cgroups of the container's name are there before it.
const OCCUPIED: &str =
    r#"take; stranger $(echo "$taken" | grep -v cpuset); rt run --bundle "$place/bundle" "$id" || true"#;
const EMPTY: &str = r#"take; rt run --bundle "$place/bundle" "$id""#;
const NUMBERED: &str = r#"mkdir "$own/lxc.payload.$id"; lxc /bin/true
lxc-start --foreground --name "$id" --lxcpath "$place/lxc""#;
/// On v1 the second one in another hierarchy.
const NUMBERS: &str = r#"pids=/sys/fs/cgroup/pids; if ! [ -d "$pids" ]; then pids=$own; fi
mkdir "$own/lxc.payload.$id" "$pids/lxc.payload.$id-1" "$own/lxc.payload.$id-2"; lxc /bin/true
lxc-start --foreground --name "$id" --lxcpath "$place/lxc""#;

/// One hierarchy is not mounted any more when the runtime deletes.
const PARTIAL: &str = r#"create; rt start "$id"; stopped; umount /sys/fs/cgroup/pids; rt delete "$id""#;

/// A page of a tmpfs that was written in its memory cgroup outlives the container.
const PAGE: &str = r#"mkdir bundle/rootfs/kept; mount -t tmpfs none bundle/rootfs/kept
rt run --bundle "$place/bundle" "$id"
test -s bundle/rootfs/kept/page"#;
const WRITES: &[(&str, &str)] = &[("/process/args", r#"["/bin/sh", "-c", "head -c 1000000 /dev/zero > /kept/page"]"#)];

/// Thirty containers at once, one of them with a stranger in it.
const THIRTY: &str = r#"echo "id $id-broken"
(id=$id-broken; create; stranger $(cgroups); rt kill "$id" KILL; stopped; rt delete "$id" || true) & all=$!
for n in $(seq 101 130); do
    echo "id $id-$n"; (id=$id-$n; create; rt start "$id"; stopped; rt delete "$id") & all="$all $!"
done
for each in $all; do wait $each; done"#;

const fn fault(kind: &'static str, cause: &'static str) -> Told {
    Told::new("fault", kind, cause)
}

const BUSY: &[Told] = &[ONCE];
const AROUND: Told = fault("busy-teardown", "child-cgroups").says("/child was in it");
const CHILDREN: &[Told] = &[AROUND];
/// The inner one, in which the stranger is, and the one around it.
const BOTH: &[Told] = &[AROUND, ONCE];
const ONCE: Told = fault("busy-teardown", "live-processes").says(", which was in use: sleep[");
const MANY: &[Told] = &[ONCE.calls(50)];
const LEFT: &[Told] =
    &[Told::new("undetermined", "busy-teardown", "live-processes").says(", which was in use: sleep[")];
const DENIED: &[Told] = &[fault("denied-teardown", "read-only-mount")];
const READ_ONLY_MISSING: &[Told] = &[Told::new("benign", "missing-path-teardown", "read-only-mount")];
const OTHER_FIRST: &[Told] = &[Told::new("benign", "duplicate-teardown", "removed-by-other")];
const LEAKED: &[Told] = &[fault("leaked-cgroup", "never-attempted")];
/// runc 1.1.5 does not refuse to start in it.
const STAYS: &[Told] = &[Told::new("benign", "busy-teardown", "live-processes")];
const NAMES_TAKEN: &[Told] =
    &[Told::new("benign", "stale-cgroup", "name-taken").says(" and 2 more of its names too: it made ").calls(3)];
const NAME_TAKEN: &[Told] = &[Told::new("benign", "stale-cgroup", "name-taken")];

/// What a process that is killed was about to make of it is not known.
const KILLED: &[Told] = &[LEFT[0], Told::new("undetermined", "duplicate-teardown", "removed-by-self").by_chance()];

const HAS_STATE: &str = "its state is still there, by which the container may be deleted";

pub const LIVES: &[Life] = &[
    Life::new("runc", Host, "a stranger in its cgroups at delete", STRANGER).told(BUSY).leaves(),
    Life::new("runc", V2, "a stranger in its cgroup at delete", STRANGER).told(BUSY).leaves(),
    Life::new("crun", V1, "a stranger in its cgroups at delete, whom crun kills", STRANGER).told(&[AGAIN]),
    Life::new("crun", V2, "a stranger in its cgroup at delete, whom crun kills", STRANGER),
    Life::new("youki", Host, "a stranger in its cgroups at delete, whom youki kills", STRANGER),
    Life::new("youki", V2, "a stranger in its cgroup at delete, whom youki kills", STRANGER),
    Life::new("docker", Host, "a stranger in its cgroups at docker rm --force", DOCKER_STRANGER)
        .container(DOCKER)
        .told(BUSY)
        .leaves(),
    Life::new("docker", V2, "a stranger in its cgroup at docker rm --force", DOCKER_STRANGER)
        .container(DOCKER)
        .told(BUSY)
        .leaves(),
    Life::new("containerd", Host, "a stranger in its cgroups at ctr tasks rm", CTR_STRANGER)
        .container(CONTAINERD)
        .told(BUSY)
        .leaves(),
    Life::new("containerd", V2, "a stranger in its cgroup at ctr tasks rm", CTR_STRANGER)
        .container(CONTAINERD)
        .told(BUSY)
        .leaves(),
    Life::new("podman", Host, "a stranger in its cgroups at podman rm --force", PODMAN_STRANGER)
        .container(PODMAN)
        .told(BUSY)
        .leaves(),
    Life::new("podman", V2, "a stranger in its cgroup at podman rm --force", PODMAN_STRANGER)
        .container(PODMAN)
        .told(BUSY)
        .leaves(),
    Life::new("lxc", Host, "a stranger in its cgroups at lxc-stop", LXC_STRANGER).container(LXC).told(LEFT).leaves(),
    Life::new("lxc", V2, "a stranger in its cgroup at lxc-stop", LXC_STRANGER).container(LXC).told(LEFT).leaves(),
    Life::new("runc", Host, "a stranger in a cgroup within its own", CHILD).told(BOTH).leaves(),
    Life::new("runc", V2, "a stranger in a cgroup within its own", CHILD).told(BOTH).leaves(),
    Life::new("crun", V2, "a stranger in a cgroup within its own, whom crun kills", CHILD),
    Life::new("youki", Host, "a cgroup within its own, which youki does not remove", EMPTY_CHILD)
        .told(CHILDREN)
        .leaves(),
    Life::new("youki", V2, "a cgroup within its own, which youki does not remove", EMPTY_CHILD).told(CHILDREN).leaves(),
    Life::new("runc", Host, "somebody is frozen in it at delete, whom runc thaws", FROZEN).told(BUSY).leaves(),
    Life::new("crun", V1, "somebody is frozen in it at delete, whom crun thaws", FROZEN).told(&[ONCE, AGAIN]).leaves(),
    Life::new("youki", Host, "somebody is frozen in it at delete", FROZEN)
        .told(&[fault("busy-teardown", "frozen").says(" was in it, and frozen")])
        .leaves(),
    Life::new("sh", Host, "a process removes the cgroup around its own", OWN_PARENT)
        .container(NOBODYS)
        .told(&[Told::new("undetermined", "busy-teardown", "child-cgroups").of_no_container()])
        .leaves(),
    Life::new("runc", V2, "cgroupfs is read-only at delete", READ_ONLY).told(DENIED).leaves(),
    Life::new("crun", V2, "cgroupfs is read-only at delete", READ_ONLY).told(DENIED).leaves(),
    Life::new("youki", V2, "cgroupfs is read-only at delete", READ_ONLY)
        .leaves()
        .untold("youki gives up when it cannot open cgroup.kill, and tries no removal"),
    Life::new("runc", V2, "cgroupfs is read-only at its start", READ_ONLY_START).told(READ_ONLY_MISSING),
    Life::new("crun", V2, "cgroupfs is read-only at its start", READ_ONLY_START),
    Life::new("youki", V2, "cgroupfs is read-only at its start", READ_ONLY_START),
    Life::new("runc", V2, "rootless, and cgroupfs is read-only all the time", READ_ONLY_ROOTLESS)
        .told(READ_ONLY_MISSING),
    Life::new("runc", V2, "rootless, and no cgroup is delegated", UNDELEGATED).told(&[Told::new(
        "benign",
        "missing-path-teardown",
        "creation-failed",
    )]),
    Life::new("runc", Host, "a user without the right to deletes it", NO_RIGHT)
        .told(&[fault("denied-teardown", "permission")])
        .leaves(),
    Life::new("runc", V2, "a user without the right to deletes it", NO_RIGHT)
        .told(&[fault("denied-teardown", "permission")])
        .leaves(),
    Life::new("runc", Host, "somebody else removes its cgroups first", REMOVED).told(OTHER_FIRST),
    Life::new("runc", V2, "somebody else removes its cgroup first", REMOVED).told(OTHER_FIRST),
    Life::new("crun", V1, "somebody else removes its cgroups first", REMOVED).told(OTHER_FIRST),
    Life::new("crun", V2, "somebody else removes its cgroup first", REMOVED).told(OTHER_FIRST),
    Life::new("youki", Host, "somebody else removes its cgroups first", REMOVED),
    Life::new("youki", V2, "somebody else removes its cgroup first", REMOVED),
    Life::new("runc", V2, "cgroupfs is not mounted at delete", UNMOUNTED).told(LEAKED).leaves(),
    Life::new("runc", V2, "cgroupfs is not mounted where it is deleted", ELSEWHERE)
        .leaves()
        .untold("the state that is looked at in another mount namespace may be another container's"),
    Life::new("runc", V2, "a limit cannot be set", FAILS).config(LIMIT).told(LIMITED),
    Life::new("youki", V2, "a limit cannot be set", FAILS).config(LIMIT).told(&[Told::new(
        "undetermined",
        "missing-controller",
        "bound-to-v1",
    )]),
    Life::new("runc", Host, "a stranger in its cgroups, and delete is tried without end", FOR_EVER).told(MANY).leaves(),
    Life::new("runc", Host, "its owner is killed", OWNER_DIES).config(SLEEPS).leaves().untold(HAS_STATE),
    Life::new("runc", V2, "its owner is killed", OWNER_DIES).config(SLEEPS).leaves().untold(HAS_STATE),
    Life::new("crun", V2, "its owner is killed", OWNER_DIES).config(SLEEPS).leaves().untold(HAS_STATE),
    Life::new("runc", Host, "killed in the middle of create, then delete --force", CREATE_FORCED)
        .config(KILLED_CREATE)
        .told(LEAKED)
        .leaves(),
    Life::new("runc", V2, "killed in the middle of create, then delete --force", CREATE_FORCED)
        .config(KILLED_CREATE)
        .told(LEAKED)
        .leaves(),
    Life::new("crun", V2, "killed in the middle of create, then delete --force", CREATE_FORCED)
        .config(KILLED_CREATE)
        .told(LEAKED)
        .leaves(),
    Life::new("runc", V2, "killed in the middle of create", CREATE_LEFT)
        .config(KILLED_CREATE)
        .told(&[fault("leaked-cgroup", "creation-aborted")])
        .leaves(),
    Life::new("runc", V2, "killed in the middle of run, then delete --force", RUN_FORCED).config(KILLED_START),
    Life::new("crun", V2, "killed in the middle of run, then delete --force", RUN_FORCED).config(KILLED_START),
    Life::new("crun", V1, "killed while it waits for a stranger to end", KILLED_WAITING).told(KILLED).leaves(),
    Life::new("runc", V2, "killed in the middle of delete", DELETE_LEFT).config(KILLED_DELETE),
    Life::new("crun", V2, "killed in the middle of delete", DELETE_LEFT).config(KILLED_DELETE),
    Life::new("runc", Host, "somebody is in cgroups of its name, runs in them too, and stays", OCCUPIED)
        .late()
        .told(STAYS)
        .leaves(),
    Life::new("runc", V2, "somebody is in a cgroup of its name, runs in it too, and stays", OCCUPIED)
        .late()
        .told(STAYS)
        .leaves(),
    Life::new("crun", V2, "somebody is in a cgroup of its name, whom crun kills at the end", OCCUPIED).late(),
    Life::new("youki", V2, "somebody is in a cgroup of its name", OCCUPIED).late(),
    Life::new("runc", Host, "empty cgroups of its name are there before it", EMPTY).late(),
    Life::new("runc", V2, "an empty cgroup of its name is there before it", EMPTY).late(),
    Life::new("crun", V2, "an empty cgroup of its name is there before it", EMPTY).late(),
    Life::new("lxc", Host, "a cgroup of its name is there before it", NUMBERED).late().told(NAME_TAKEN).leaves(),
    Life::new("lxc", V2, "a cgroup of its name is there before it", NUMBERED).late().told(NAME_TAKEN).leaves(),
    Life::new("lxc", Host, "cgroups of three of its names are there before it", NUMBERS)
        .late()
        .told(NAMES_TAKEN)
        .leaves(),
    Life::new("lxc", V2, "cgroups of three of its names are there before it", NUMBERS)
        .late()
        .told(NAMES_TAKEN)
        .leaves(),
    Life::new("runc", Host, "one hierarchy is not mounted at delete", PARTIAL)
        .told(&[fault("partial-teardown", "not-attempted")])
        .leaves(),
    Life::new("runc", V2, "thirty at once, and a stranger in one of them", THIRTY).told(BUSY).leaves(),
    Life::new("crun", V2, "a limit cannot be set", FAILS)
        .config(LIMIT)
        .told(&[
            fault("leaked-cgroup", "creation-aborted"),
            Told::new("undetermined", "missing-controller", "bound-to-v1"),
        ])
        .leaves(),
];

/// What is told after ten minutes.
pub const LATE: &[Life] = &[Life::new("runc", Host, "a tmpfs keeps a page of its memory cgroup", PAGE)
    .config(WRITES)
    .told(&[Told::new("benign", "lingering-cgroup", "pages")])];
