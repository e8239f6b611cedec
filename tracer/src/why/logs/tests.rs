//! Lines of real threads, a row each.

use super::*;

/// The thread; the line; who writes it, what failed and how; the first path and the number of paths; the ids.
struct Row(
    &'static str,
    &'static str,
    (Option<&'static str>, Option<Operation>, Option<Errno>),
    (&'static str, usize),
    &'static [&'static str],
);

const MKDIR: Option<Operation> = Some(Operation::Mkdir);
const RMDIR: Option<Operation> = Some(Operation::Rmdir);
const WRITE: Option<Operation> = Some(Operation::Write);
const OPEN: Option<Operation> = Some(Operation::Open);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row("runc#4518",
        "ERRO[0000] unable to destroy container: unable to remove container's cgroup: open \
         /sys/fs/cgroup/snschvixiy3s74w74fjantrdg: no such file or directory",
        (Some("runc"), OPEN, Some(Errno::ENOENT)), ("/sys/fs/cgroup/snschvixiy3s74w74fjantrdg", 1), &[]),
    Row("runc#4040",
        "WARN[0079] Failed to remove cgroup (will retry)          error=\"rmdir /sys/fs/cgroup/net_cls,net_prio/test: \
         device or resource busy\"",
        (Some("runc"), RMDIR, Some(Errno::EBUSY)), ("/sys/fs/cgroup/net_cls,net_prio/test", 1), &[]),
    Row("runc#2615",
        "time=\"2020-09-26T07:46:27Z\" level=error msg=\"Failed to remove cgroup\" error=\"rmdir /sys/fs/cgroup/\
         net_cls,net_prio/kubepods.slice/crio-f6984c5eeb6c6b49ff3f036bdcb9ded317b3d0b2469ebbb35705442a2afd98c2.scope: \
         device or resource busy\"",
        (Some("runc"), RMDIR, Some(Errno::EBUSY)),
        ("/sys/fs/cgroup/net_cls,net_prio/kubepods.slice/\
          crio-f6984c5eeb6c6b49ff3f036bdcb9ded317b3d0b2469ebbb35705442a2afd98c2.scope", 1),
        &["f6984c5eeb6c6b49ff3f036bdcb9ded317b3d0b2469ebbb35705442a2afd98c2"]),
    Row("runc#1681",
        "time=\"2018-01-04T19:04:33+05:30\" level=error msg=\"Failed to remove paths: map[devices:/sys/fs/cgroup/\
         devices/user/1001.user/c2.session/test cpuacct:/sys/fs/cgroup/cpuacct/user/1001.user/c2.session/test \
         name=systemd:/sys/fs/cgroup/systemd/user/1001.user/c2.session/test]\"",
        (Some("runc"), RMDIR, None), ("/sys/fs/cgroup/devices/user/1001.user/c2.session/test", 3), &[]),
    Row("runc#234",
        "ERRO[0001] Failed to remove paths: map[cpuset:/sys/fs/cgroup/cpuset/user.slice/runc \
         cpu:/sys/fs/cgroup/cpu,cpuacct/user.slice/runc]",
        (Some("runc"), RMDIR, None), ("/sys/fs/cgroup/cpuset/user.slice/runc", 2), &[]),
    Row("runc#2736",
        "ERRO[0000] container_linux.go:367: starting container process caused: process_linux.go:495: container init \
         caused: process_linux.go:458: setting cgroup config for procHooks process caused: failed to write \"1000\": \
         write /sys/fs/cgroup/memory/user.slice/user-1000.slice/session-1011.scope/xe3/memory.limit_in_bytes: device \
         or resource busy ",
        (Some("runc"), WRITE, Some(Errno::EBUSY)),
        ("/sys/fs/cgroup/memory/user.slice/user-1000.slice/session-1011.scope/xe3", 1), &[]),
    Row("runc#3754",
        "#10 0.143 container_linux.go:380: starting container process caused: process_linux.go:545: container init \
         caused: rootfs_linux.go:76: mounting \"cgroup\" to rootfs at \"/sys/fs/cgroup\" caused: stat /sys/fs/cgroup/\
         freezer/kubepods-burstable-pode4fa6d79.slice:cri-containerd:7c1fc613/buildkit/r8wym59fjeuwv89y521xsiqza: no \
         such file or directory",
        (Some("runc"), None, Some(Errno::ENOENT)),
        ("/sys/fs/cgroup/freezer/kubepods-burstable-pode4fa6d79.slice:cri-containerd:7c1fc613/buildkit/\
          r8wym59fjeuwv89y521xsiqza", 1), &[]),
    Row("runc#3828",
        "container's cgroup is not empty: 5 process(es) found; delete --force \
         6dcaeef7b266e94e3ad31b86b2dd3533564e232ad5345c30918f0764393e1e80",
        (Some("runc"), None, None), ("", 0),
        &["6dcaeef7b266e94e3ad31b86b2dd3533564e232ad5345c30918f0764393e1e80"]),
    Row("runc#1326",
        "Error running exec in container: oci runtime error: exec failed: container_linux.go:247: starting container \
         process caused \"process_linux.go:87: adding pid 21890 to cgroups caused \\\"failed to write 21890 to \
         cgroup.procs: write /sys/fs/cgroup/cpu,cpuacct/system.slice/docker-f2ea7bd5f37f4d5719fec4a05fdb58401207c98b6\
         abbfa02e497af4bc167ec08.scope/cgroup.procs: invalid argument\\\"\"",
        (Some("runc"), WRITE, Some(Errno::EINVAL)),
        ("/sys/fs/cgroup/cpu,cpuacct/system.slice/\
          docker-f2ea7bd5f37f4d5719fec4a05fdb58401207c98b6abbfa02e497af4bc167ec08.scope", 1),
        &["f2ea7bd5f37f4d5719fec4a05fdb58401207c98b6abbfa02e497af4bc167ec08"]),
    Row("kata-containers/tests#1736",
        "Could not run process: container_linux.go:348: starting container process caused \"process_linux.go:90: \
         adding pid 146 to cgroups caused \\\"failed to write 146 to cgroup.procs: write /sys/fs/cgroup/cpu,cpuacct/\
         Burstable/pod_123-456/crio-37a51c6c/cgroup.procs: invalid argument\\\"\"",
        (Some("runc"), WRITE, Some(Errno::EINVAL)),
        ("/sys/fs/cgroup/cpu,cpuacct/Burstable/pod_123-456/crio-37a51c6c", 1), &[]),
    Row("buildkit#5491",
        "runc run failed: unable to remove container's cgroup: open /sys/fs/cgroup/snschvixiy3s74w74fjantrdg: no such \
         file or directory\nERROR: failed to solve: process \"/bin/sh -c mkdir /tmp/empty_directory\" did not complete \
         successfully: exit code: 1",
        (Some("buildkit"), OPEN, Some(Errno::ENOENT)), ("/sys/fs/cgroup/snschvixiy3s74w74fjantrdg", 1), &[]),
    Row("buildah#3634",
        "ERRO[0000] container_linux.go:380: starting container process caused: process_linux.go:385: applying cgroup \
         configuration for process caused: mkdir /sys/fs/cgroup/cpuset/container-id: no such file or directory",
        (Some("runc"), MKDIR, Some(Errno::ENOENT)), ("/sys/fs/cgroup/cpuset/container-id", 1), &[]),
    Row("for-linux#903",
        "docker: Error response from daemon: OCI runtime create failed: container_linux.go:345: starting container \
         process caused \"process_linux.go:281: applying cgroup configuration for process caused \\\"mkdir \
         /sys/fs/cgroup/cpuset: no such file or directory\\\"\": unknown.",
        (Some("dockerd"), MKDIR, Some(Errno::ENOENT)), ("/sys/fs/cgroup/cpuset", 1), &[]),
    Row("garden-runc-release#15",
        "{\"source\":\"guardian\",\"message\":\"guardian.create.containerizer-create.runtime-create-failed\",\"data\":{\
         \"error\":\"runc create: exit status 1: process_linux.go:258: applying cgroup configuration for process \
         caused \\\"mkdir /sys/fs/cgroup/memory/d7581e52-2e88-4cdb-5d99-2fa93b4b1cd5: no space left on device\\\"\"}}",
        (Some("garden"), MKDIR, Some(Errno::ENOSPC)),
        ("/sys/fs/cgroup/memory/d7581e52-2e88-4cdb-5d99-2fa93b4b1cd5", 1), &[]),
    Row("clearcontainers/runtime#642",
        "docker: Error response from daemon: oci runtime error: write /sys/fs/cgroup/cpu/docker/\
         ff666f1149c9fd19ed254564b412086d1dbf2ed24d29262fac8946c4decd5a4f/tasks: no space left on device.",
        (Some("dockerd"), WRITE, Some(Errno::ENOSPC)),
        ("/sys/fs/cgroup/cpu/docker/ff666f1149c9fd19ed254564b412086d1dbf2ed24d29262fac8946c4decd5a4f", 1),
        &["ff666f1149c9fd19ed254564b412086d1dbf2ed24d29262fac8946c4decd5a4f"]),
    Row("moby#29018",
        "Docker daemon run failed with error=\"oci runtime error: open /cgroups/cpuset/sys/cpuset.cpus: no such file \
         or directory\"",
        (None, OPEN, Some(Errno::ENOENT)), ("/cgroups/cpuset/sys", 1), &[]),
    Row("moby#29638",
        "Feb 24 14:41:16 ip-172-27-2-34 systemd: Failed to create cgroup /user.slice: Read-only file system",
        (Some("systemd"), MKDIR, Some(Errno::EROFS)), ("/user.slice", 1), &[]),
    Row("containerd#6659",
        "OCI runtime create failed: runc create failed: unable to start container process: unable to apply cgroup \
         configuration: cannot enter cgroupv2 \"/sys/fs/cgroup/default\" with domain controllers -- it is in an \
         invalid state: unknown",
        (Some("runc"), None, None), ("/sys/fs/cgroup/default", 1), &[]),
    Row("containerd#8532",
        "level=warning msg=\"Failed to remove cgroup (will retry)\" error=\"rmdir /sys/fs/cgroup/perf_event/\
         kubepods.slice/kubepods-burstable.slice: device or resource busy\"",
        (Some("runc"), RMDIR, Some(Errno::EBUSY)),
        ("/sys/fs/cgroup/perf_event/kubepods.slice/kubepods-burstable.slice", 1), &[]),
    Row("containerd/cgroups#228",
        "cgroups: unable to remove path \"/sys/fs/cgroup/test\": still contains running processes",
        (Some("containerd"), RMDIR, None), ("/sys/fs/cgroup/test", 1), &[]),
    Row("containerd/cgroups#148",
        "err=cgroups: unable to remove path \"/sys/fs/cgroup/devices/test\" inside err= unlinkat \
         /sys/fs/cgroup/devices/test/tasks: operation not permitted",
        (Some("containerd"), RMDIR, Some(Errno::EPERM)), ("/sys/fs/cgroup/devices/test", 1), &[]),
    Row("titus-executor#918",
        "time=2022-07-06T21:45:33Z level=warning msg=Cannot remove cgroup mount: unlinkat /sys/fs/cgroup/systemd/docker\
         /2f5a640a52610860aebb77933d402780e0f133e8a802be1ef7a3deb6a40405a5/cgroup.procs: operation not permitted",
        (None, RMDIR, Some(Errno::EPERM)),
        ("/sys/fs/cgroup/systemd/docker/2f5a640a52610860aebb77933d402780e0f133e8a802be1ef7a3deb6a40405a5", 1),
        &["2f5a640a52610860aebb77933d402780e0f133e8a802be1ef7a3deb6a40405a5"]),
    Row("kata-containers#6213",
        "containerd[116803]: level=error msg=\"failed to shutdown shim task\" error=\"Others(\\\"failed to handler \
         message: unable to write to a control group file tasks, value 118358 caused by: Os { code: 3, kind: \
         Uncategorized, message: \\\\\\\"No such process\\\\\\\" }\\\"): unknown\" id=kata-zuyZ03",
        (Some("containerd"), None, Some(Errno::ESRCH)), ("", 0), &["kata-zuyZ03"]),
    Row("kata-containers/runtime#3094",
        "time=\"2020-12-03T14:32:29.698598422+01:00\" level=warning msg=\"Could not remove container share dir\" \
         command=delete container=16e9f4ef8d446d622f343c718f46353bc04031d78b3e873d10c24f6c7baaba35 error=\"no such \
         file or directory\" name=kata-runtime source=virtcontainers subsystem=container",
        (Some("kata-containers"), None, Some(Errno::ENOENT)), ("", 0),
        &["16e9f4ef8d446d622f343c718f46353bc04031d78b3e873d10c24f6c7baaba35"]),
    Row("kubernetes#109182",
        "Mar 31 05:30:14 kind-control-plane kubelet[723]: time=\"2022-03-31T05:30:14Z\" level=warning msg=\"Failed to \
         remove cgroup (will retry)\" error=\"rmdir /sys/fs/cgroup/rdma/kubelet/kubepods/pod93035424-72ce-42df-be98-\
         d0a9a47ec7c3/7cd75055222b05261b435a4face3561cd52ba91f54fa9ce6b194962767e5cddd: device or resource busy\"",
        (Some("kubelet"), RMDIR, Some(Errno::EBUSY)),
        ("/sys/fs/cgroup/rdma/kubelet/kubepods/pod93035424-72ce-42df-be98-d0a9a47ec7c3/\
          7cd75055222b05261b435a4face3561cd52ba91f54fa9ce6b194962767e5cddd", 1),
        &["7cd75055222b05261b435a4face3561cd52ba91f54fa9ce6b194962767e5cddd"]),
    Row("kubernetes#97497",
        "kubelet: W1224 16:25:49.796410   39955 pod_container_manager_linux.go:200] failed to delete cgroup paths for \
         [kubepods burstable pod6793dd3d-7e67-468e-9ee3-34f16980a150] : unable to destroy cgroup paths: Failed to \
         remove paths: map[blkio:/sys/fs/cgroup/blkio/kubepods.slice/kubepods-burstable.slice \
         cpu:/sys/fs/cgroup/cpu,cpuacct/kubepods.slice/kubepods-burstable.slice]",
        (Some("kubelet"), RMDIR, None), ("/sys/fs/cgroup/blkio/kubepods.slice/kubepods-burstable.slice", 2), &[]),
    Row("kubernetes#108891",
        "kubelet[359]: E0919 13:14:56.769398     359 pod_workers.go:1294] \"Error syncing pod, skipping\" err=\"failed \
         to delete cgroup paths: Timed out while waiting for systemd to remove \
         kubepods-besteffort-pod53d19839_496a_4be8_8964_84ee83de9353.slice\" pod=\"pods-900/pod-test\" \
         podUID=53d19839-496a-4be8-8964-84ee83de9353",
        (Some("kubelet"), RMDIR, None), ("", 0), &["53d19839-496a-4be8-8964-84ee83de9353"]),
    Row("kubernetes#128975",
        "Nov 20 18:16:41 idp kubelet[1083348]: level=warning msg=\"Failed to remove cgroup (will retry)\" error=\"\
         rmdir /sys/fs/cgroup/freezer/kubepods.slice/\
         cri-containerd-c576b43f0d4a95442d34e0b9a36407df75420306a2ec88e50dc615414b9bd5d0.scope: device or resource \
         busy\"",
        (Some("kubelet"), RMDIR, Some(Errno::EBUSY)),
        ("/sys/fs/cgroup/freezer/kubepods.slice/\
          cri-containerd-c576b43f0d4a95442d34e0b9a36407df75420306a2ec88e50dc615414b9bd5d0.scope", 1),
        &["c576b43f0d4a95442d34e0b9a36407df75420306a2ec88e50dc615414b9bd5d0"]),
    Row("origin#16246",
        "process_linux.go:258: applying cgroup configuration for process caused \\\"open /sys/fs/cgroup/pids/\
         kubepods.slice/kubepods-besteffort.slice/cgroup.procs: no such file or directory\\\"",
        (Some("runc"), OPEN, Some(Errno::ENOENT)),
        ("/sys/fs/cgroup/pids/kubepods.slice/kubepods-besteffort.slice", 1), &[]),
    Row("gvisor#8111",
        "running container: creating container: cannot set up cgroup for root: configuring cgroup: write \
         /sys/fs/cgroup/cgroup.subtree_control: device or resource busy",
        (Some("gvisor"), WRITE, Some(Errno::EBUSY)), ("/sys/fs/cgroup", 1), &[]),
    Row("podman#14057",
        "time=\"2022-04-28T17:02:07Z\" level=error msg=\"Deleting pod 6eeba76dfdf7 cgroup /libpod_parent/6eeba76dfdf7: \
         remove /sys/fs/cgroup/libpod_parent/6eeba76dfdf7: remove /sys/fs/cgroup/libpod_parent/6eeba76dfdf7/conmon: \
         device or resource busy\"",
        (Some("podman"), RMDIR, Some(Errno::EBUSY)), ("/sys/fs/cgroup/libpod_parent/6eeba76dfdf7", 2),
        &["6eeba76dfdf7"]),
    Row("podman#9026",
        "Error: error removing pod 52bdff03fc2f conmon cgroup: remove /sys/fs/cgroup/systemd/libpod_parent/52bdff03fc2f\
         /conmon: device or resource busy",
        (Some("podman"), RMDIR, Some(Errno::EBUSY)), ("/sys/fs/cgroup/systemd/libpod_parent/52bdff03fc2f/conmon", 1),
        &["52bdff03fc2f"]),
    Row("podman#5072",
        "Error: error updating pod fae80ab038eb conmon group: open /sys/fs/cgroup/libpod_parent/fae80ab038eb/conmon/\
         pids.max: no such file or directory",
        (Some("podman"), OPEN, Some(Errno::ENOENT)), ("/sys/fs/cgroup/libpod_parent/fae80ab038eb/conmon", 1),
        &["fae80ab038eb"]),
    Row("podman#16960",
        "WARN[0000] Failed to add conmon to cgroupfs sandbox cgroup: error creating cgroup path /libpod_parent/conmon: \
         write /sys/fs/cgroup/cgroup.subtree_control: invalid argument",
        (Some("podman"), WRITE, Some(Errno::EINVAL)), ("/sys/fs/cgroup", 1), &[]),
    Row("podman#11165",
        "Error: OCI runtime error: writing file `/sys/fs/cgroup/user.slice/user-21779.slice/user@21779.service/\
         libpod-4274abfa.scope/cgroup.procs`: Device or resource busy",
        (Some("podman"), WRITE, Some(Errno::EBUSY)),
        ("/sys/fs/cgroup/user.slice/user-21779.slice/user@21779.service/libpod-4274abfa.scope", 1), &[]),
    Row("podman#5703",
        "Error: creating cgroup directory `/sys/fs/cgroup/cpuset/user.slice/libpod-bb607f80.scope`: No such file or \
         directory: OCI runtime command not found error",
        (Some("podman"), MKDIR, Some(Errno::ENOENT)), ("/sys/fs/cgroup/cpuset/user.slice/libpod-bb607f80.scope", 1),
        &[]),
    Row("podman#5421",
        "Error: writing file `/sys/fs/cgroup/libpod_parent/cgroup.subtree_control`: No such file or directory: OCI \
         runtime command not found error",
        (Some("podman"), WRITE, Some(Errno::ENOENT)), ("/sys/fs/cgroup/libpod_parent", 1), &[]),
    Row("crun#612",
        "2021-02-26T14:02:49.000066551Z: creating cgroup directory `/sys/fs/cgroup/net_cls,net_prio/test`: No such \
         file or directory",
        (Some("crun"), MKDIR, Some(Errno::ENOENT)), ("/sys/fs/cgroup/net_cls,net_prio/test", 1), &[]),
    Row("crun#1115",
        "Error: crun: open '/sys/fs/cgroup/cpuset/libpod_parent/libpod-ccc71497/cpuset.cpus': No such file or \
         directory: OCI runtime attempted to invoke a command that was not found",
        (Some("podman"), OPEN, Some(Errno::ENOENT)), ("/sys/fs/cgroup/cpuset/libpod_parent/libpod-ccc71497", 1), &[]),
    Row("crun#376",
        "writing file `/sys/fs/cgroup/user.slice/test/cgroup.procs`: Permission denied",
        (Some("crun"), WRITE, Some(Errno::EACCES)), ("/sys/fs/cgroup/user.slice/test", 1), &[]),
    Row("youki#2528",
        "libcontainer::rootfs::mount: failed to canonicalize \"/sys/fs/cgroup/systemd/docker/af0c557cb980\": No such \
         file or directory (os error 2)",
        (Some("youki"), None, Some(Errno::ENOENT)), ("/sys/fs/cgroup/systemd/docker/af0c557cb980", 1), &[]),
    Row("lxd#3561",
        "            lxc 20170716184837.478 ERROR    lxc_cgfs - cgroups/cgfs.c:cgroup_rmdir:209 - Device or resource \
         busy - cgroup_rmdir: failed to delete /sys/fs/cgroup/cpu,cpuacct//system.slice/upower.service",
        (Some("lxc"), RMDIR, Some(Errno::EBUSY)), ("/sys/fs/cgroup/cpu,cpuacct/system.slice/upower.service", 1), &[]),
    Row("lxc#145",
        "lxc-start: Device or resource busy - failed to remove cgroup '/sys/fs/cgroup/cpuset/lxc/omv1-1'",
        (Some("lxc"), RMDIR, Some(Errno::EBUSY)), ("/sys/fs/cgroup/cpuset/lxc/omv1-1", 1), &[]),
    Row("lxc#999",
        "lxc-start: cgfsng.c: cgfsng_create: 1072 No such file or directory - Failed to create /sys/fs/cgroup/systemd//\
         lxc/builds_default_1462290171807_89106: No such file or directory",
        (Some("lxc"), MKDIR, Some(Errno::ENOENT)),
        ("/sys/fs/cgroup/systemd/lxc/builds_default_1462290171807_89106", 1), &[]),
    Row("lxc#297",
        "lxc-start 1408386188.088 ERROR    lxc_cgfs - Directory not empty - cgroup_rmdir: failed to delete \
         /sys/fs/cgroup//cgmanager",
        (Some("lxc"), RMDIR, Some(Errno::ENOTEMPTY)), ("/sys/fs/cgroup/cgmanager", 1), &[]),
    Row("systemd#23164",
        "Apr 21 06:23:53 sp2 systemd[663650]: user@0.service: Failed to attach to cgroup /user.slice/user-0.slice/\
         user@0.service: Device or resource busy",
        (Some("systemd"), WRITE, Some(Errno::EBUSY)), ("/user.slice/user-0.slice/user@0.service", 1), &[]),
    Row("systemd#6069",
        "Failed to create compat systemd cgroup /system.slice/dev-mqueue.mount: Permission denied",
        (Some("systemd"), MKDIR, Some(Errno::EACCES)), ("/system.slice/dev-mqueue.mount", 1), &[]),
    Row("lxc#1189",
        "Failed to create cgroup /system.slice/libvirtd.service: No such file or directory",
        (Some("systemd"), MKDIR, Some(Errno::ENOENT)), ("/system.slice/libvirtd.service", 1), &[]),
    Row("elogind#130",
        "[   12.635946] elogind-daemon[2803]: Failed to attach PID 3440 to cgroup c1: Invalid argument",
        (Some("elogind"), WRITE, Some(Errno::EINVAL)), ("", 0), &[]),
];

#[test]
fn lines_of_real_threads_are_understood() {
    assert!(ROWS.len() >= 40);
    let mut wrong = Vec::new();
    for Row(thread, line, (program, operation, errno), (first, count), ids) in ROWS {
        let LogLine { program: by, operation: what, errno: how, paths, ids: found, pid: _ } = read(line);
        let is_first = paths.first().map_or(first.is_empty(), |path| *path == *first);
        let are_ids = found.len() == ids.len() && found.iter().zip(*ids).all(|(found, id)| *found == *id);
        if (by, what, how) != (*program, *operation, *errno) || !is_first || paths.len() != *count || !are_ids {
            wrong.push((thread, by, what, how, paths, found));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_form_is_there_for_some_program_and_none_is_hidden_by_another() {
    for (at, form) in FORMS.iter().enumerate() {
        let line = form.has.join(" ");
        let first = FORMS.iter().position(|form| form.has.iter().all(|words| line.contains(words)));
        assert_eq!(first, Some(at), "{:?} is never reached", form.has);
    }
}

#[test]
fn the_process_that_was_to_be_moved_is_found() {
    let pid_of = |line: &str| read(line).pid;
    assert_eq!(pid_of("Failed to attach PID 3440 to cgroup c1: Invalid argument"), Some(Pid(3440)));
    assert_eq!(pid_of("adding pid 146 to cgroups caused"), Some(Pid(146)));
    assert_eq!(pid_of("failed to write \"1000\""), None);
}

#[test]
fn the_last_errno_counts_and_a_longer_one_is_no_shorter_one() {
    let errno_of = |line: &str| read(line).errno;
    assert_eq!(errno_of("No such device or address"), Some(Errno::ENXIO));
    assert_eq!(errno_of("no such device"), Some(Errno::ENODEV));
    assert_eq!(errno_of("file exists, then: device or resource busy"), Some(Errno::EBUSY));
    assert_eq!(errno_of("= -1 EROFS (Read-only file system)"), Some(Errno::EROFS));
    assert_eq!(errno_of("SEVENOENTS"), None);
    assert_eq!(errno_of("(os error 16)"), Some(Errno::EBUSY));
    assert_eq!(errno_of("(os error 999)"), None);
}

#[test]
fn no_line_makes_the_reader_stumble() {
    for text in ["/", "//", "/\\", "käse/ü /ü:", "`/a", "map[/a /b", "\u{202e}/x", "id=", "pid ", "Os { code: "] {
        read(text);
    }
    let long = "/a ".repeat(10_000);
    assert!(read(&long).paths.len() <= MOST);
    let many: String = (0..1_000).map(|number| format!("/sys/fs/cgroup/{number} ")).collect();
    assert_eq!(read(&many).paths.len(), MOST);
}
