//! Lives in which nothing is wrong.

use super::Layout::{Host, V1, V2};
use super::{Known, Life, Told};

/// A container that stays until it is ended.
pub const SLEEPS: &[(&str, &str)] = &[("/process/args", r#"["/bin/sleep", "600"]"#)];

const WHOLE: &str = r#"create; rt start "$id"; stopped; rt delete "$id""#;
const RUN: &str = r#"rt run --bundle "$place/bundle" "$id""#;
const FORCED: &str = r#"create; rt start "$id"; rt delete --force "$id""#;
/// It is stopped, and stays. What is not there by another root is no news of it.
const STOPPED: &str = r#"create; rt start "$id"; stopped
"$runtime" --root "$place/else" delete --force "$id" || true"#;
const NESTED: &str =
    r#"create; for cgroup in $(cgroups); do mkdir -p "$cgroup/a/b" "$cgroup/c"; done; rt delete --force "$id""#;
const THREADED: &str = r#"create; mkdir "/sys/fs/cgroup/$id/threads"
echo threaded > "/sys/fs/cgroup/$id/threads/cgroup.type"
stranger "/sys/fs/cgroup/$id"; echo $stranger > "/sys/fs/cgroup/$id/threads/cgroup.threads"
kill $stranger; wait $stranger || true; rt delete --force "$id""#;
/// A process that has ended and that nobody has waited for.
const ZOMBIE: &str = r#"create
perl -e '$_ = fork; if (!$_) { sleep 600 } $| = 1; print "$_\n"; sleep 600' > zombie & parent=$!
until_it test -s zombie; zombie=$(cat zombie)
for cgroup in $(cgroups); do echo $zombie > "$cgroup/cgroup.procs"; done
kill -KILL $zombie; until_it grep -q "'State:.Z'" /proc/$zombie/status
rt delete --force "$id"; kill $parent"#;
/// Somebody who looks at every cgroup of the containers all the time.
const WATCHED: &str = r#"(until [ -e done ]; do
    for cgroup in $(cgroups); do cat "$cgroup/cgroup.procs" || ls "$cgroup" || true; done
    find /sys/fs/cgroup -path "*$id*" || true; sleep 0.02
done > /dev/null 2>&1) & watcher=$!
for n in 1 2 3 4 5; do create; rt start "$id"; stopped; rt delete "$id"; done; touch done; wait $watcher"#;

/// As its engine knows it: by a name and an image, in cgroups that its runtime makes.
const fn named(engine: &'static str, maker: &'static str) -> Known {
    Known { runtime: Some(engine), maker, name: true, image: true }
}

pub const DOCKER: Known = named("docker", "runc");
const DOCKER_RUN: &str = r#"docker run --rm --network none --cidfile cid --name "$id" "$image" /bin/true
is "$(cat cid)""#;
const DOCKER_STOP: &str = r#"is "$(docker run --detach --network none --name "$id" "$image" /bin/sleep 600)"
docker stop --time 1 "$id"; docker rm "$id""#;
const DOCKER_RESTART: &str = r#"is "$(docker run --detach --network none --name "$id" "$image" /bin/sleep 600)"
docker restart --time 0 "$id"; docker rm --force "$id""#;
/// The builder gives its containers names, and images of its own.
const BUILT: Known = Known { name: false, image: false, ..DOCKER };
const DOCKER_BUILD: &str = r#"mkdir context
printf 'FROM %s\nRUN echo one\nRUN echo two\n' "$image" > context/Dockerfile
docker build --network none --tag "$id" context > built; test "$(grep -c 'Running in' built)" = 2
for each in $(sed -n 's/.*Running in //p' built); do echo "mark $each"; echo "id $each*"; done"#;
/// Cgroups that a container makes in its own, where it may.
const DOCKER_INNER: &str = r#"docker run --rm --network none --cidfile cid --name "$id" --cap-add SYS_ADMIN \
    --security-opt apparmor=unconfined --security-opt seccomp=unconfined "$image" /bin/sh -euc '
    mount -o remount,rw /sys/fs/cgroup; cd /sys/fs/cgroup; mkdir -p a/b c; rmdir c'
is "$(cat cid)""#;

pub const CONTAINERD: Known = Known { runtime: Some("containerd"), maker: "runc", name: false, image: false };
const CTR_RUN: &str = r#"ctr run --rm --cpu-shares 0 --snapshotter native "docker.io/library/$image" "$id" /bin/true"#;
const CTR_KILL: &str = r#"ctr run --detach --cpu-shares 0 --snapshotter native "docker.io/library/$image" "$id" \
    /bin/sleep 600
ctr tasks kill --signal KILL "$id"; until_it "ctr tasks ls | grep '$id' | grep -q STOPPED"
ctr tasks rm "$id"; ctr containers rm "$id""#;

pub const PODMAN: Known = named("podman", "runc");
const PODMAN_RUN: &str = r#"pod load --quiet --input "$archive"
pod run --rm --cidfile cid --name "$id" $limits "$image" /bin/true; is "$(cat cid)""#;
const PODMAN_STOP: &str = r#"pod load --quiet --input "$archive"
is "$(pod run --detach --name "$id" $limits "$image" /bin/sleep 600)"; pod stop --time 1 "$id"; pod rm "$id""#;

pub const BUILDAH: Known = Known { runtime: Some("buildah"), maker: "runc", name: true, image: false };
const BUILDAH_RUN: &str = r#"echo "id buildah*"; build from --name "$id" scratch; build copy "$id" "$rootfs" /
build run --runtime "$(command -v runc)" "$id" /bin/true; build rm "$id""#;

pub const LXC: Known = Known { runtime: Some("lxc"), maker: "lxc", name: false, image: false };
const LXC_RUN: &str = r#"lxc /bin/true; lxc-start --foreground --name "$id" --lxcpath "$place/lxc""#;
const LXC_STOP: &str = r#"lxc "/bin/sleep 600"; lxc-start --name "$id" --lxcpath "$place/lxc"
lxc-stop --kill --name "$id" --lxcpath "$place/lxc"
lxc-wait --name "$id" --lxcpath "$place/lxc" --state STOPPED --timeout 20"#;

const NSPAWN: Known = Known { runtime: None, maker: "systemd-nspawn", name: false, image: false };
const NSPAWN_RUN: &str = r#"mkdir "$own/$id"; (echo 0 > "$own/$id/cgroup.procs"
exec systemd-nspawn --register=no --keep-unit --directory="$rootfs" --machine="$id" --as-pid2 --console=pipe --quiet \
    /bin/true)"#;

/// What a start that fails tears down: there is nothing yet.
const FAILS: &str = r#"! rt run --bundle "$place/bundle" "$id""#;
const TYPO: &[(&str, &str)] = &[("/process/args", r#"["/typo"]"#)];
const HOOK: &[(&str, &str)] = &[("/hooks", r#"{"prestart": [{"path": "/bin/false"}]}"#)];
const TERMINAL: &[(&str, &str)] = &[("/process/terminal", "true")];

/// What an engine cannot start. Its options go before the image.
const DOCKER_TYPO: &str = r#"! docker run --network none --cidfile cid --name "$id" "$image" /typo
is "$(cat cid)"; docker rm "$id""#;
const PODMAN_TYPO: &str = r#"pod load --quiet --input "$archive"
! pod run --cidfile cid --name "$id" $limits "$image" /typo; is "$(cat cid)"; pod rm "$id""#;
const PODMAN_HOOK: &str = r#"pod load --quiet --input "$archive"; mkdir hooks
hook='{"version": "1.0.0", "hook": {"path": "/bin/false"}, "when": {"always": true}, "stages": ["prestart"]}'
echo "$hook" > hooks/false.json
! pod --hooks-dir "$place/hooks" run --cidfile cid --name "$id" $limits "$image" /bin/true
is "$(cat cid)"; pod rm "$id""#;
const PODMAN_LIMIT: &str = r#"pod load --quiet --input "$archive"
! pod run --cidfile cid --name "$id" $limits --pids-limit 50 "$image" /bin/true; is "$(cat cid)"; pod rm "$id""#;

/// Its clean-up is told, and with it the call that failed first.
pub const LIMITED: &[Told] = &[
    Told::new("benign", "duplicate-teardown", "removed-by-self").says("pids.max failed with ENOENT"),
    Told::new("undetermined", "missing-controller", "bound-to-v1"),
];
/// It is an engine that asks: what a `create` is there for failed.
const LIMITED_CREATE: &[Told] = &[
    Told::new("benign", "duplicate-teardown", "removed-by-self").says("pids.max failed with ENOENT"),
    Told::new("fault", "missing-controller", "bound-to-v1"),
];
const NEVER: &[Told] = &[Told::new("benign", "missing-path-teardown", "never-created")];
const TWICE: &[Told] = &[Told::new("benign", "duplicate-teardown", "removed-by-self")];

/// crun comes back to hierarchies where it is done already, while it waits for others.
pub const AGAIN: Told = Told::new("benign", "duplicate-teardown", "removed-by-self").by_chance();

pub const LIVES: &[Life] = &[
    Life::new("runc", Host, "create, start, delete", WHOLE),
    Life::new("runc", V2, "create, start, delete", WHOLE),
    Life::new("crun", V1, "create, start, delete", WHOLE),
    Life::new("crun", V2, "create, start, delete", WHOLE),
    Life::new("youki", Host, "create, start, delete", WHOLE),
    Life::new("youki", V2, "create, start, delete", WHOLE),
    Life::new("runc", Host, "run", RUN),
    Life::new("runc", V2, "run", RUN),
    Life::new("crun", V1, "run", RUN),
    Life::new("crun", V2, "run", RUN),
    Life::new("runc", Host, "deleted while it runs", FORCED).config(SLEEPS),
    Life::new("runc", V2, "deleted while it runs", FORCED).config(SLEEPS),
    Life::new("crun", V1, "deleted while it runs", FORCED).config(SLEEPS).told(&[AGAIN]),
    Life::new("crun", V2, "deleted while it runs", FORCED).config(SLEEPS),
    Life::new("youki", Host, "deleted while it runs", FORCED).config(SLEEPS),
    Life::new("youki", V2, "deleted while it runs", FORCED).config(SLEEPS),
    Life::new("runc", Host, "stopped, and kept", STOPPED).leaves(),
    Life::new("runc", V2, "stopped, and kept", STOPPED).leaves(),
    Life::new("crun", V2, "stopped, and kept", STOPPED).leaves(),
    Life::new("youki", V2, "stopped, and kept", STOPPED).leaves(),
    Life::new("runc", Host, "cgroups within its own", NESTED),
    Life::new("runc", V2, "cgroups within its own", NESTED),
    Life::new("crun", V1, "cgroups within its own", NESTED).told(&[AGAIN]),
    Life::new("crun", V2, "cgroups within its own", NESTED),
    Life::new("runc", V2, "a threaded cgroup within its own", THREADED),
    Life::new("crun", V2, "a threaded cgroup within its own", THREADED),
    Life::new("runc", Host, "a zombie in it at delete", ZOMBIE),
    Life::new("runc", V2, "a zombie in it at delete", ZOMBIE),
    Life::new("runc", Host, "a monitor opens its cgroups as they go", WATCHED),
    Life::new("crun", V2, "a monitor opens its cgroups as they go", WATCHED),
    Life::new("docker", Host, "docker run --rm", DOCKER_RUN).container(DOCKER),
    Life::new("docker", V2, "docker run --rm", DOCKER_RUN).container(DOCKER),
    Life::new("docker", Host, "docker run, stop, rm", DOCKER_STOP).container(DOCKER),
    Life::new("docker", V2, "docker run, stop, rm", DOCKER_STOP).container(DOCKER),
    Life::new("docker", Host, "docker run, restart, rm --force", DOCKER_RESTART).container(DOCKER),
    Life::new("docker", Host, "docker build, the classic builder", DOCKER_BUILD).container(BUILT),
    Life::new("docker", V2, "docker build, the classic builder", DOCKER_BUILD).container(BUILT),
    Life::new("docker", V2, "cgroups that the container makes in its own", DOCKER_INNER).container(DOCKER),
    Life::new("containerd", Host, "ctr run --rm", CTR_RUN).container(CONTAINERD),
    Life::new("containerd", V2, "ctr run --rm", CTR_RUN).container(CONTAINERD),
    Life::new("containerd", Host, "ctr run, tasks kill, tasks rm", CTR_KILL).container(CONTAINERD),
    Life::new("podman", Host, "podman run --rm", PODMAN_RUN).container(PODMAN),
    Life::new("podman", V2, "podman run --rm", PODMAN_RUN).container(PODMAN),
    Life::new("podman", Host, "podman run, stop, rm", PODMAN_STOP).container(PODMAN),
    Life::new("podman", V2, "podman run, stop, rm", PODMAN_STOP).container(PODMAN),
    Life::new("buildah", Host, "buildah run", BUILDAH_RUN).container(BUILDAH),
    Life::new("buildah", V2, "buildah run", BUILDAH_RUN).container(BUILDAH),
    Life::new("lxc", Host, "lxc-start, and it ends", LXC_RUN).container(LXC),
    Life::new("lxc", V2, "lxc-start, and it ends", LXC_RUN).container(LXC),
    Life::new("lxc", Host, "lxc-start, lxc-stop", LXC_STOP).container(LXC),
    Life::new("lxc", V2, "lxc-start, lxc-stop", LXC_STOP).container(LXC),
    Life::new("nspawn", Host, "systemd-nspawn in a cgroup of its own", NSPAWN_RUN).container(NSPAWN).leaves(),
    Life::new("nspawn", V2, "systemd-nspawn in a cgroup of its own", NSPAWN_RUN).container(NSPAWN).leaves(),
    Life::new("runc", Host, "no such command", FAILS).config(TYPO),
    Life::new("runc", V2, "no such command", FAILS).config(TYPO).told(TWICE),
    Life::new("crun", V1, "no such command", FAILS).config(TYPO),
    Life::new("crun", V2, "no such command", FAILS).config(TYPO),
    Life::new("youki", V2, "no such command", FAILS).config(TYPO),
    Life::new("runc", Host, "a hook fails", FAILS).config(HOOK),
    Life::new("runc", V2, "a hook fails", FAILS).config(HOOK).told(TWICE),
    Life::new("crun", V1, "a hook fails", FAILS).config(HOOK),
    Life::new("crun", V2, "a hook fails", FAILS).config(HOOK),
    Life::new("runc", Host, "a terminal is wanted, and is not there", FAILS).config(TERMINAL).told(NEVER),
    Life::new("runc", V2, "a terminal is wanted, and is not there", FAILS).config(TERMINAL).told(NEVER),
    Life::new("crun", V2, "a terminal is wanted, and is not there", FAILS).config(TERMINAL),
    Life::new("docker", Host, "docker run of no such command", DOCKER_TYPO).container(DOCKER),
    Life::new("docker", V2, "docker run of no such command", DOCKER_TYPO).container(DOCKER).told(TWICE),
    Life::new("podman", Host, "podman run of no such command", PODMAN_TYPO).container(PODMAN),
    Life::new("podman", V2, "podman run of no such command", PODMAN_TYPO).container(PODMAN).told(TWICE),
    Life::new("podman", Host, "podman run, and a hook fails", PODMAN_HOOK).container(PODMAN),
    Life::new("podman", V2, "podman run, and a hook fails", PODMAN_HOOK).container(PODMAN).told(TWICE),
    Life::new("podman", V2, "podman run with a limit that cannot be set", PODMAN_LIMIT)
        .container(PODMAN)
        .told(LIMITED_CREATE),
];
