//! Real engines and the names that they give.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cgtrace::demo::bundle::Bundle;

use crate::support::{Agent, signal, wait_for};
use crate::{busybox, directory, made, shell};

/// An agent that tells of some cgroups only: others on the host are noise.
fn agent(cgroups: &str) -> Agent {
    Agent::start(&["--cgroup", cgroups])
}

pub fn name(engine: &str) -> String {
    format!("cgtrace-{engine}-{}", std::process::id())
}

/// A cgroup that an engine leaves in every hierarchy: it is removed at the end.
pub struct Left(pub String);

impl Drop for Left {
    fn drop(&mut self) {
        let script = "for d in /sys/fs/cgroup/*/\"$0\" /sys/fs/cgroup/\"$0\"; do rmdir \"$d\" 2>&-; done";
        let _ = Command::new("sh").args(["-c", script, &self.0]).status();
    }
}

#[test]
fn a_runtime_with_its_version_in_its_name_is_read_like_any_other() {
    let (directory, id) = (directory(), name("version"));
    let _left = Left(id.clone());
    let program = directory.path().join("runc-1.2.1");
    std::fs::copy("/usr/sbin/runc", &program).expect("runc is installed");
    Bundle::new(directory.path(), &["/bin/sh", "-c", "sleep 2; exit 3"])
        .unwrap()
        .set("/linux/cgroupsPath", format!("/{id}/pod").into())
        .unwrap();
    let agent = Agent::start(&[]);
    // A bundle that is relative to where the runtime is.
    shell(&format!("./runc-1.2.1 --root state run --bundle bundle {id} || test $? = 3"), directory.path(), &[]);
    agent.wait_for_text("\"change\":\"exit\",\"comm\":\"runc-1.2.1\"");
    let lines = agent.finish();
    let is_exit = |line: &&serde_json::Value| line["change"] == "exit" && line["comm"] == "runc-1.2.1";
    let exit = lines.iter().find(is_exit).unwrap();
    assert_eq!(exit["exit"]["code"], 3);
    let made = made(&lines, &format!("{id}/pod"));
    assert!(!made.is_empty() && made.iter().all(|container| container["id"] == id.as_str()), "{made:?}");
    assert_eq!(made[0]["runtime"], "runc");
    assert!(lines.iter().any(|line| line["pid"] == exit["pid"] && line["argv"][0] == "./runc-1.2.1"));
}

#[test]
fn podman_names_its_containers() {
    let (directory, name) = (directory(), name("podman"));
    let rootfs = busybox(directory.path());
    let agent = agent("*libpod*");
    let script = format!(
        "podman --root \"$PWD/graph\" --runroot \"$PWD/run\" --storage-driver vfs --cgroup-manager cgroupfs \
         --runtime \"$(command -v runc)\" run --rm --name {name} --network none --ulimit nofile=100:100 \
         --ulimit nproc=1000:1000 --rootfs '{}' /bin/sleep 2",
        rootfs.display()
    );
    shell(&script, directory.path(), &[]);
    let removed = |line: &serde_json::Value| line["change"] == "removed" && line["container"]["name"] == name.as_str();
    let removed = agent.wait_for("its removal", removed);
    agent.finish();
    assert_eq!(removed["container"]["runtime"], "podman");
}

#[test]
fn buildah_is_one_container_with_a_name() {
    let (directory, name) = (directory(), name("buildah"));
    let rootfs = busybox(directory.path());
    let agent = agent("*buildah-buildah*");
    let script = format!(
        "b() {{ buildah --root \"$PWD/graph\" --runroot \"$PWD/run\" --storage-driver vfs \"$@\"; }}
         b from --name {name} scratch; b copy {name} '{}' /
         b run --runtime \"$(command -v runc)\" {name} /bin/sleep 2; b rm {name}",
        rootfs.display()
    );
    shell(&script, directory.path(), &[]);
    let removed = |line: &serde_json::Value| line["change"] == "removed" && line["container"]["name"] == name.as_str();
    let id = agent.wait_for("its removal", removed)["container"]["id"].clone();
    let lines = agent.finish();
    let id = id.as_str().unwrap();
    assert!(id.starts_with("buildah") && !id.starts_with("buildah-"), "{id}");
    let made = made(&lines, &format!("/buildah-{id}"));
    for container in &made {
        assert_eq!((&container["id"], &container["runtime"]), (&id.into(), &"buildah".into()));
        assert_eq!(container["chain"], serde_json::json!([id]));
    }
    assert!(!made.is_empty());
}

/// A daemon, or what it runs, that ends with the test.
pub struct Daemon(pub Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        signal(self.0.id(), libc::SIGTERM);
        let _ = self.0.wait();
    }
}

/// A dockerd with everything below one directory, and an image of busybox.
pub struct Docker {
    socket: String,
    pub image: String,
    _daemon: Daemon,
}

impl Docker {
    pub fn start(directory: &Path, name: &str) -> Self {
        busybox(directory);
        let place = |below: &str| directory.join(below).to_str().unwrap().to_owned();
        let socket = format!("unix://{}", place("sock"));
        let daemon = Command::new("dockerd")
            .args(["--data-root", &place("data"), "--exec-root", &place("exec"), "--pidfile", &place("pid")])
            .args(["--host", &socket, "--iptables=false", "--ip6tables=false", "--bridge=none"])
            .args(["--storage-driver", "vfs", "--exec-opt", "native.cgroupdriver=cgroupfs"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(place("log")).unwrap())
            .spawn()
            .expect("docker.io is installed");
        let docker = Self { socket, image: format!("{name}:1"), _daemon: Daemon(daemon) };
        wait_for("the daemon", || docker.command(&["version"]).output().unwrap().status.success().then_some(()));
        let import = format!("tar -C rootfs -c . | docker --host {} import - {}", docker.socket, docker.image);
        shell(&import, directory, &[]);
        docker
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["--host", &self.socket]).args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) {
        self.output(arguments);
    }

    pub fn output(&self, arguments: &[&str]) -> String {
        let done = self.command(arguments).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }
}

#[test]
fn docker_is_named_with_another_data_root_and_another_parent() {
    let (directory, name) = (directory(), name("docker"));
    let _left = Left(name.clone());
    let docker = Docker::start(directory.path(), &name);
    let parent = format!("/{name}");
    let agent = agent(&format!("{parent}/*"));
    let run = ["run", "--rm", "--name", &name, "--network", "none", "--cgroup-parent", &parent];
    docker.run(&[&run[..], &[&docker.image, "/bin/sleep", "2"]].concat());
    let removed = agent.wait_for("its removal", |line| line["change"] == "removed");
    agent.finish();
    let container = &removed["container"];
    assert_eq!((&container["runtime"], &container["rule"]), (&"docker".into(), &"oci-command-line".into()));
    assert_eq!((&container["name"], &container["image"]), (&name.into(), &docker.image.as_str().into()));
    let id = container["id"].as_str().unwrap();
    assert_eq!(removed["cgroup"]["path"], format!("{parent}/{id}"));
}

/// The options that keep podman's things below the working directory.
pub const PODMAN: &str = "podman --root \"$PWD/graph\" --runroot \"$PWD/run\" --storage-driver vfs \
                          --cgroup-manager cgroupfs --runtime \"$(command -v runc)\"";

#[test]
fn podman_tells_image_and_pod_and_no_annotation_that_a_user_adds() {
    let (directory, name) = (directory(), name("pod"));
    busybox(directory.path());
    let agent = agent("*libpod*");
    let script = format!(
        "podman() {{ command {PODMAN} \"$@\"; }}
         tar -C rootfs -c . | podman import - localhost/{name}:1
         podman pod create --name {name} --infra=false --share none > pod
         podman run --rm --name {name}-web --pod {name} --network none --ulimit nofile=100:100 \
             --ulimit nproc=1000:1000 --annotation nerdctl/name=another --annotation io.kubernetes.pod.name=another \
             --annotation io.kubernetes.cri.container-name=another localhost/{name}:1 /bin/sleep 2
         podman pod rm {name}"
    );
    shell(&script, directory.path(), &[]);
    let is_ours = |line: &serde_json::Value| line["container"]["name"] == format!("{name}-web");
    let removed = agent.wait_for("its removal", |line| line["change"] == "removed" && is_ours(line));
    let lines = agent.finish();
    let container = &removed["container"];
    assert_eq!((&container["runtime"], &container["image"]), (&"podman".into(), &format!("localhost/{name}:1").into()));
    let pod = std::fs::read_to_string(directory.path().join("pod")).unwrap();
    assert_eq!(container["pod"], pod.trim());
    assert!(!lines.iter().any(|line| line["container"]["name"] == "another"));
}

/// A containerd with everything below one directory.
pub struct Containerd {
    socket: String,
    /// A name of a process, and what is to be ended with it.
    _daemon: Daemon,
    directory: PathBuf,
}

impl Containerd {
    pub fn start(directory: &Path) -> Self {
        busybox(directory);
        let place = |below: &str| directory.join(below).to_str().unwrap().to_owned();
        let config = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{}\"\n",
            place("root"),
            place("state"),
            place("sock")
        );
        std::fs::write(place("config.toml"), config).unwrap();
        let daemon = Command::new("containerd")
            .args(["--config", &place("config.toml")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(place("log")).unwrap())
            .spawn()
            .expect("containerd is installed");
        let containerd = Self { socket: place("sock"), _daemon: Daemon(daemon), directory: directory.to_owned() };
        let is_there = || containerd.command("default", &["version"]).output().unwrap().status.success().then_some(());
        wait_for("containerd", is_there);
        containerd
    }

    fn command(&self, namespace: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["60", "ctr", "--address", &self.socket, "--namespace", namespace]).args(arguments);
        command.current_dir(&self.directory).stdin(Stdio::null());
        command
    }

    /// Starts a container with labels, which ctr passes on as annotations.
    pub fn run(&self, namespace: &str, id: &str, labels: &[&str]) {
        let labels = labels.iter().flat_map(|label| ["--label", label]);
        let rootfs = self.directory.join("rootfs");
        let mut command = self.command(namespace, &["run", "--detach", "--rootfs", "--no-pivot"]);
        let done = command.args(labels).arg(rootfs).args([id, "/bin/sleep", "60"]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Ends a container, and waits until it is gone.
    pub fn end(&self, namespace: &str, id: &str) {
        for arguments in [&["task", "delete", "--force", id][..], &["container", "delete", id]] {
            let done = self.command(namespace, arguments).output().unwrap();
            assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        }
    }
}

/// What the CRI plugin writes of a container.
pub const CRI: [&str; 5] = [
    "io.kubernetes.cri.container-type=container",
    "io.kubernetes.cri.container-name=web",
    "io.kubernetes.cri.image-name=docker.io/library/nginx:1",
    "io.kubernetes.cri.sandbox-name=shop-7d9",
    "io.kubernetes.cri.sandbox-namespace=prod",
];

#[test]
fn containerd_tells_namespaces_and_two_containers_of_one_id_apart() {
    let (directory, name) = (directory(), name("ctr"));
    let containerd = Containerd::start(directory.path());
    let namespaces = [format!("{name}-one"), format!("{name}-two")];
    let _left = namespaces.clone().map(Left);
    let agent = agent(&format!("/{name}-*"));
    containerd.run(&namespaces[0], "web", &[]);
    containerd.run(&namespaces[1], "web", &CRI);
    for namespace in &namespaces {
        containerd.end(namespace, "web");
    }
    let is_removed = |line: &serde_json::Value, namespace: &str| {
        line["change"] == "removed" && line["cgroup"]["path"] == format!("/{namespace}/web")
    };
    let removed =
        namespaces.each_ref().map(|namespace| agent.wait_for("its removal", |line| is_removed(line, namespace)));
    agent.finish();
    let told = removed.each_ref().map(|line| {
        ["id", "runtime", "name", "image", "pod", "namespace"].map(|key| line["container"][key].as_str().unwrap_or("-"))
    });
    assert_eq!(told[0], ["web", "containerd", "-", "-", "-", namespaces[0].as_str()]);
    assert_eq!(told[1], ["web", "containerd", "web", "docker.io/library/nginx:1", "shop-7d9", "prod"]);
}

/// Where LXC keeps a container that was made of an image, as its own template for downloads says.
pub fn lxc(directory: &Path, name: &str, seconds: u32) {
    let place = directory.join(name);
    std::fs::create_dir(&place).unwrap();
    let rootfs = busybox(&place);
    let config = format!(
        "# Template used to create this container: /usr/share/lxc/templates/lxc-download\n\
         # Parameters passed to the template: --dist alpine --release 3.19 --arch amd64\n\
         lxc.uts.name = {name}\nlxc.rootfs.path = dir:{}\nlxc.init.cmd = /bin/sleep {seconds}\n\
         lxc.apparmor.profile = unconfined\n\
         lxc.net.0.type = none\nlxc.mount.auto = proc\n",
        rootfs.display()
    );
    std::fs::write(place.join("config"), config).unwrap();
}

/// A machine of nspawn's in the cgroup that systemd would put it in. Without systemd as pid 1 there is no other way.
pub fn nspawn(tree: &Path, name: &str, seconds: u32) -> Command {
    for place in ["usr", "etc", "run", "tmp"] {
        std::fs::create_dir_all(tree.join(place)).unwrap();
    }
    std::fs::write(tree.join("etc/os-release"), "").unwrap();
    let script = "for d in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
            test -w \"$d/cgroup.procs\" || continue
            mkdir -p \"$d/machine.slice/machine-$0.scope\"; echo $$ > \"$d/machine.slice/machine-$0.scope/cgroup.procs\"
        done
        exec systemd-nspawn --register=no --keep-unit --quiet -M \"$0\" -D \"$1\" /bin/sleep \"$2\"";
    let mut command = Command::new("sh");
    command.args(["-euc", script, &name.replace('-', "\\x2d")]).arg(tree).arg(seconds.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

#[test]
fn a_machine_of_nspawns_is_named_with_its_tree() {
    let (directory, name) = (directory(), format!("nspawn{}", std::process::id()));
    let tree = busybox(directory.path());
    let _left = nspawn_leaves(&name);
    let agent = agent("/machine.slice/*");
    let done = nspawn(&tree, &name, 2).status().unwrap();
    assert!(done.success(), "{done}");
    let payload = format!("/machine.slice/machine-{name}.scope/payload");
    agent.wait_for("its payload", |line| line["change"] == "emptied" && line["cgroup"]["path"] == payload.as_str());
    let lines = agent.finish();
    let made = made(&lines, &payload);
    assert!(!made.is_empty());
    for container in made {
        assert_eq!((&container["id"], &container["runtime"]), (&name.as_str().into(), &"nspawn".into()));
        assert_eq!(container["image"], tree.to_str().unwrap());
    }
}

/// What nspawn leaves of a machine's cgroups.
pub fn nspawn_leaves(name: &str) -> [Left; 4] {
    let scope = format!("machine.slice/machine-{name}.scope");
    ["/payload", "/supervisor", "", "/.."].map(|below| Left(format!("{scope}{below}")))
}

#[test]
fn lxc_is_called_as_its_monitor_says() {
    let (directory, name) = (directory(), name("lxc"));
    lxc(directory.path(), &name, 2);
    // The name is taken in one hierarchy: LXC puts a number behind it, in all of them.
    let (_, cgroup2) = crate::support::hierarchy(None).unwrap();
    let taken = cgroup2.join(format!("lxc.payload.{name}"));
    std::fs::create_dir(&taken).unwrap();
    // It leaves the last one to whatever container comes next.
    let _left = [Left(format!("lxc.payload.{name}")), Left("lxc.pivot".to_owned())];
    let agent = agent(&format!("*lxc.payload.{name}*"));
    let path = directory.path().display();
    shell(
        &format!("lxc-start -n {name} -P {path} -o {path}/log; lxc-wait -n {name} -P {path} -s STOPPED -t 20"),
        directory.path(),
        &[],
    );
    let numbered = format!("/lxc.payload.{name}-1");
    agent.wait_for("its removal", |line| line["change"] == "removed" && line["cgroup"]["path"] == numbered.as_str());
    let lines = agent.finish();
    let made = made(&lines, &numbered);
    assert!(!made.is_empty() && made.iter().all(|container| container["id"] == name.as_str()), "{made:?}");
    assert!(made.iter().all(|container| container["image"] == "alpine/3.19/amd64"), "{made:?}");
}
