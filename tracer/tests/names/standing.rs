//! Containers of real engines that were there before tracing began.

use serde_json::Value;

use cgtrace::demo::bundle::Bundle;

use crate::engines::{CRI, Containerd, Daemon, Docker, Left, PODMAN, lxc, name, nspawn, nspawn_leaves};
use crate::support::{Agent, wait_for};
use crate::{busybox, directory, shell};

/// Traces from now on, until something that names the container is known and its cgroup was removed. What is told then:
/// id, runtime, name, image, pod and namespace.
fn told_at_the_end(is_known: impl Fn(&Value) -> bool, path: impl Fn(&str) -> bool, end: impl FnOnce()) -> [String; 6] {
    let agent = Agent::start(&[]);
    let is_said = |line: &Value| line["about"] == "container" && is_known(line);
    agent.wait_for("what is said", is_said);
    end();
    let is_removed = |line: &Value| line["change"] == "removed" && line["cgroup"]["path"].as_str().is_some_and(&path);
    let removed = agent.wait_for("the removal", is_removed);
    agent.finish();
    ["id", "runtime", "name", "image", "pod", "namespace"]
        .map(|key| removed["container"][key].as_str().unwrap_or("-").to_owned())
}

/// Whether there is a cgroup of that name somewhere.
fn is_there(cgroup: &str) -> bool {
    let places = ["", "unified", "systemd", "pids"].map(|place| format!("/sys/fs/cgroup/{place}/{cgroup}"));
    places.iter().any(|place| std::path::Path::new(place).exists())
}

#[test]
fn docker_is_found_below_another_data_root() {
    let (directory, name) = (directory(), name("standing-docker"));
    let _left = Left(name.clone());
    let docker = Docker::start(directory.path(), &name);
    let run = ["run", "--detach", "--rm", "--name", &name, "--network", "none"];
    docker.run(&[&run[..], &[&docker.image, "/bin/sleep", "60"]].concat());
    let id = docker.output(&["inspect", "--format", "{{.Id}}", &name]);
    let told = told_at_the_end(
        |facts| facts["id"] == id && facts["name"] == name,
        |path| path == format!("/docker/{id}"),
        || docker.run(&["kill", &name]),
    );
    assert_eq!(told, [&id, "docker", &name, &docker.image, "-", "-"].map(str::to_owned));
}

#[test]
fn podman_is_found_by_its_conmon() {
    let (directory, name) = (directory(), name("standing-podman"));
    busybox(directory.path());
    let script = format!(
        "podman() {{ command {PODMAN} \"$@\"; }}
         tar -C rootfs -c . | podman import - localhost/{name}:1
         podman run --detach --rm --name {name} --network none --ulimit nofile=100:100 --ulimit nproc=1000:1000 \
             localhost/{name}:1 /bin/sleep 60 > id"
    );
    shell(&script, directory.path(), &[]);
    let id = std::fs::read_to_string(directory.path().join("id")).unwrap();
    let id = id.trim();
    let told = told_at_the_end(
        |facts| facts["id"] == id && facts["name"] == name,
        |path| path.ends_with(&format!("libpod-{id}")),
        || shell(&format!("{PODMAN} rm --force --time 0 {name}"), directory.path(), &[]),
    );
    assert_eq!(told, [id, "podman", &name, &format!("localhost/{name}:1"), "-", "-"].map(str::to_owned));
}

#[test]
fn containerd_is_found_by_its_shims() {
    let (directory, name) = (directory(), name("standing-ctr"));
    let containerd = Containerd::start(directory.path());
    containerd.run("default", &name, &CRI);
    let told = told_at_the_end(
        |facts| facts["id"] == name.as_str() && facts["name"] == "web",
        |path| path == format!("/default/{name}"),
        || containerd.end("default", &name),
    );
    let [image, pod] = ["docker.io/library/nginx:1", "shop-7d9"];
    assert_eq!(told, [&name, "containerd", "web", image, pod, "prod"].map(str::to_owned));
}

#[test]
fn runc_and_crun_are_found_by_their_states() {
    for program in ["runc", "crun"] {
        let (directory, name) = (directory(), name(&format!("standing-{program}")));
        let path = format!("/default/{name}");
        let _left = Left(path.clone());
        let annotations = serde_json::json!({ "org.opencontainers.image.ref.name": "shop/web:1" });
        let bundle = Bundle::new(directory.path(), &["/bin/sleep", "60"]).unwrap();
        bundle.set("/linux/cgroupsPath", path.clone().into()).unwrap();
        bundle.set("/annotations", annotations).unwrap();
        // crun refuses a hybrid layout whose cgroup2 has controllers.
        let run = format!(
            "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
             {program} run --bundle bundle --detach {name} > log 2>&1 < /dev/null"
        );
        let private = "unshare --mount --propagation private sh -euc \"$run\"";
        shell(private, directory.path(), &[("run", &run)]);
        let told = told_at_the_end(
            |facts| facts["id"] == name.as_str() && facts["image"] == "shop/web:1",
            |is| is == path,
            || shell(&format!("{program} delete --force {name}"), directory.path(), &[]),
        );
        assert_eq!(told, [&name, "containerd", "-", "shop/web:1", "-", "-"].map(str::to_owned), "{program}");
    }
}

#[test]
fn lxc_is_found_by_its_monitor() {
    let (directory, name) = (directory(), name("standing-lxc"));
    let _left = [Left(format!("lxc.payload.{name}")), Left("lxc.pivot".to_owned())];
    lxc(directory.path(), &name, 60);
    let path = directory.path().display();
    shell(&format!("lxc-start -n {name} -P {path} -o {path}/log"), directory.path(), &[]);
    let told = told_at_the_end(
        |facts| facts["id"] == name.as_str(),
        |path| path == format!("/lxc.payload.{name}"),
        || shell(&format!("lxc-stop -k -n {name} -P {path}"), directory.path(), &[]),
    );
    assert_eq!(told, [&name, "lxc", "-", "alpine/3.19/amd64", "-", "-"].map(str::to_owned));
}

#[test]
fn a_machine_of_nspawns_is_found_by_who_stays_with_it() {
    let directory = directory();
    let machine = format!("standing{}", std::process::id());
    let leaves = nspawn_leaves(&machine);
    let tree = busybox(directory.path());
    let running = Daemon(nspawn(&tree, &machine, 60).spawn().unwrap());
    let scope = format!("machine.slice/machine-{machine}.scope");
    wait_for("the machine", || is_there(&format!("{scope}/payload")).then_some(()));
    let told = told_at_the_end(
        |facts| facts["id"] == machine.as_str(),
        |path| path == format!("/{scope}/payload"),
        || drop((running, leaves)),
    );
    assert_eq!(told, [&machine, "nspawn", "-", tree.to_str().unwrap(), "-", "-"].map(str::to_owned));
}
