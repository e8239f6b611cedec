#!/busybox sh
# The first process of a guest: makes the place, does what the kernel's command line asks for, writes what comes of it,
# and switches the guest off. All in capitals comes from that command line.
#
# OUT: what is written to   WORD: the mark of this boot   LAYOUT: v2, hybrid   BACKEND: auto, trampoline, tracepoint
# DO: tests, live, count   CGTRACE: its program   COUNT: the benchmark's program
# HIDE: btf, tracefs   FTRACE: off   LEAVE_OUT: tests with one of these in their names are not run
# LAST: tests with this in their names are run after the others   CGTRACE_TEST_…: for the tests

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/busybox.d HOME=/root LC_ALL=C TERM=dumb

# Nobody can pivot away from the root that the kernel unpacks: a second name for it has no such limit.
if [ ! -d /root-again ]; then
    /busybox mkdir /root-again /busybox.d
    /busybox --install -s /busybox.d
    mount --bind / /root-again
    cd /root-again && mount --move . / && exec chroot . /init
    exit
fi
cd /

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
ln -sf /proc/self/fd /dev/fd
for place in /dev/shm /tmp /var/tmp /run; do mount -t tmpfs -o mode=1777 tmpfs $place; done
mount -t securityfs securityfs /sys/kernel/security
ip link set lo up
hostname guest
stty -F "$OUT" raw -echo

# What is written about one command: its words between two marks, the second one with its status.
section() {
    name=$1; shift
    echo "$WORD begin $name" > "$OUT"
    "$@" > "$OUT" 2>&1 < /dev/null
    printf '\n%s end %s %s\n' "$WORD" "$name" $? > "$OUT"
}

preemption() {
    mount -t debugfs debugfs /mnt
    cat /mnt/sched/preempt
    umount /mnt
}

section release uname -r
section preemption preemption

if [ "$LAYOUT" = hybrid ]; then
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    # Not every kernel has every controller on v1. cgroup2 gets hugetlb: a controller that it can be tried with.
    for controller in $(awk '!/^#/ && $4 == 1 && $1 != "hugetlb" { print $1 }' /proc/cgroups); do
        mkdir /sys/fs/cgroup/$controller
        mount -t cgroup -o $controller cgroup /sys/fs/cgroup/$controller || rmdir /sys/fs/cgroup/$controller
    done
    mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
    cgroup2=/sys/fs/cgroup/unified
else
    cgroup2=/sys/fs/cgroup
fi
mount -t cgroup2 cgroup2 $cgroup2

case $HIDE in
btf)
    mount -t tmpfs tmpfs /sys/kernel/btf
    ;;
tracefs)
    # Without its two directories there is no place to mount it.
    mkdir /keep
    mount --bind /sys/kernel /keep
    mount -t tmpfs tmpfs /sys/kernel
    for place in btf cgroup security; do mkdir /sys/kernel/$place; mount --bind /keep/$place /sys/kernel/$place; done
    mount -t securityfs securityfs /sys/kernel/security
    umount /keep
    ;;
esac
[ "$FTRACE" = off ] && echo 0 > /proc/sys/kernel/ftrace_enabled
# As systemd has it.
mount --make-rshared /

cd "$DIRECTORY" || exit
case $DO in
tests)
    # Tests of a controller have it in their names.
    for controller in cpuset memory; do
        [ "$LAYOUT" = v2 ] || [ -d /sys/fs/cgroup/$controller ] || absent="${absent:+$absent,}v1_$controller"
    done
    section absent echo "$absent"
    LEAVE_OUT=$LEAVE_OUT,$absent
    section list /kernel-tests --list
    for word in $(echo "$LEAVE_OUT" | tr , ' '); do set -- "$@" --skip "$word"; done
    export CGTRACE_RECORDINGS=/tmp/recordings
    mkdir "$CGTRACE_RECORDINGS"
    section tests setsid /kernel-tests --test-threads=1 --nocapture "$@"
    [ -z "$LAST" ] || section last setsid /kernel-tests --test-threads=1 --nocapture --include-ignored "$LAST"
    for file in "$CGTRACE_RECORDINGS"/*.jsonl; do [ ! -e "$file" ] || section "${file##*/}" cat "$file"; done
    ;;
live)
    cat > /calls <<END
mkdir $cgroup2/probe-made
rmdir $cgroup2/probe-made
rmdir $cgroup2/probe-absolute
cd $cgroup2
rmdir probe-relative
exit 0
END
    section doctor "$CGTRACE" doctor
    section live "$CGTRACE" live --json --backend "$BACKEND" --output /tmp/lines -- sh /calls
    section lines cat /tmp/lines
    ;;
count)
    section count "$COUNT" bench --measure instructions --cgroup "$cgroup2" --program "$CGTRACE"
    ;;
esac
echo "$WORD complete" > "$OUT"
poweroff -f
