# What every life can use. $id is its own word, $place a directory of its own, in which it runs.

# The runtime of the life, on the bundle in $place/bundle.
rt() { "$runtime" --root "$place/state" "$@"; }
# The same for the background, where $! is to be the runtime itself.
rt_itself() { exec "$runtime" --root "$place/state" "$@"; }
create() { rt create --bundle "$place/bundle" "$id"; }
stopped() { until rt state "$id" | grep -q '"stopped"'; do sleep 0.01; done; }
running() { until rt state "$id" 2>&1 | grep -q '"running"'; do sleep 0.01; done; }
# Every cgroup of the container; no directory that a runtime makes where it takes a tmpfs for cgroupfs.
cgroups() {
    find /sys/fs/cgroup -path "*$id*" -name cgroup.procs \( -fstype cgroup -o -fstype cgroup2 \) -printf '%h\n'
}
# Waits until something succeeds. What must come has come within half a minute.
until_it() { timeout 30 sh -c 'until eval "$0"; do sleep 0.02; done' "$*"; }
# A process that is nobody's here goes into cgroups: $stranger. It is older than the clock that tells its age is exact.
stranger() {
    sleep 600 > /dev/null 2>&1 & stranger=$!
    for cgroup in "$@"; do echo $stranger > "$cgroup/cgroup.procs"; done
    sleep 0.05
}
# The life is over: what was told is told before this returns, and whoever started the runtimes is still there.
over() { echo over; read -r _ || true; }
# Somebody without rights.
nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
# Podman and buildah with their storage in $place, and their cgroups without systemd.
store="--root $place/graph --runroot $place/run --storage-driver vfs"
limits="--network none --pids-limit -1 --ulimit nofile=100:100 --ulimit nproc=1000:1000"
pod() { podman $store --cgroup-manager cgroupfs --runtime "$(command -v runc)" "$@"; }
build() { buildah $store "$@"; }
# A container of LXC that runs a command.
lxc() {
    mkdir -p "$place/lxc/$id"; cp -r "$rootfs" "$place/lxc/$id"
    printf '%s\n' "lxc.uts.name = box" "lxc.rootfs.path = dir:$place/lxc/$id/rootfs" "lxc.init.cmd = $1" \
        "lxc.apparmor.profile = unconfined" "lxc.net.0.type = none" "lxc.mount.auto = proc" > "$place/lxc/$id/config"
}
# The container has an id that somebody else chose.
is() { test "${#1}" -ge 12; echo "id $1"; }
# Where cgroup2 is.
for own in /sys/fs/cgroup /sys/fs/cgroup/unified; do if [ -e "$own/cgroup.procs" ]; then break; fi; done
export own
# Leaves cgroups that a container of that name would have: $taken.
take() {
    create; taken=$(cgroups | sort); rt delete --force "$id"
    for cgroup in $taken; do mkdir "$cgroup"; done
}
# A machine with systemd as its first process, in a cgroup of its own ($box), with $place in it as /life.
boot() {
    mkdir "$own/$box"
    (echo 0 > "$own/$box/cgroup.procs"
    exec systemd-nspawn --boot --volatile=overlay --register=no --keep-unit --link-journal=no --console=pipe --quiet \
        --capability=all --machine=$box --directory="$machine" --bind="$place:/life" \
        --bind-ro="$(command -v runc):/usr/bin/runc") < /dev/null > console 2>&1 & nspawn=$!
    until init=$(first_process); do sleep 0.02; done
    until inside systemctl is-system-running 2>&1 | grep -Eq 'running|degraded'; do sleep 0.05; done
}
first_process() {
    for child in $(cat /proc/$nspawn/task/$nspawn/children); do
        if [ "$(cat /proc/$child/comm)" = systemd ]; then echo $child; return; fi
    done
    return 1
}
inside() { nsenter --target "$init" --mount --uts --ipc --pid --cgroup "$@"; }
# runc with systemd's driver, in the machine.
driven() { inside runc --systemd-cgroup --root /life/state "$@"; }
# The first signal asks its systemd to halt.
halt() {
    kill -TERM $nspawn; timeout 10 tail --pid=$nspawn --follow /dev/null || kill -TERM $nspawn
    wait $nspawn || true
}
