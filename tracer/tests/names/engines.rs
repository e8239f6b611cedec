//! Real engines and the names that they give.

use std::process::{Child, Command, Stdio};

use cgtrace::demo::bundle::Bundle;

use crate::support::{Agent, signal, wait_for};
use crate::{busybox, directory, made, shell};

/// An agent that tells of some cgroups only: others on the host are noise.
fn agent(cgroups: &str) -> Agent {
    Agent::start(&["--cgroup", cgroups])
}

fn name(engine: &str) -> String {
    format!("cgtrace-{engine}-{}", std::process::id())
}

/// A cgroup that an engine leaves in every hierarchy: it is removed at the end.
struct Left(String);

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

/// A daemon that ends with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        signal(self.0.id(), libc::SIGTERM);
        let _ = self.0.wait();
    }
}

#[test]
fn docker_is_named_with_another_data_root_and_another_parent() {
    let (directory, name) = (directory(), name("docker"));
    let _left = Left(name.clone());
    busybox(directory.path());
    let place = |below: &str| directory.path().join(below).to_str().unwrap().to_owned();
    let socket = format!("unix://{}", place("sock"));
    let daemon = Command::new("dockerd")
        .args([
            "--data-root",
            &place("data"),
            "--exec-root",
            &place("exec"),
            "--pidfile",
            &place("pid"),
            "--host",
            &socket,
        ])
        .args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver", "vfs"])
        .args(["--exec-opt", "native.cgroupdriver=cgroupfs"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(place("log")).unwrap())
        .spawn()
        .expect("docker.io is installed");
    let _daemon = Daemon(daemon);
    let docker =
        |arguments: &[&str]| Command::new("docker").args(["--host", &socket]).args(arguments).output().unwrap();
    wait_for("the daemon", || docker(&["version"]).status.success().then_some(()));
    let import = format!("tar -C rootfs -c . | docker --host {socket} import - {name}:1");
    shell(&import, directory.path(), &[]);
    let parent = format!("/{name}");
    let agent = agent(&format!("{parent}/*"));
    let image = format!("{name}:1");
    let done = docker(&[
        "run",
        "--rm",
        "--name",
        &name,
        "--network",
        "none",
        "--cgroup-parent",
        &parent,
        &image,
        "/bin/sleep",
        "2",
    ]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let removed = agent.wait_for("its removal", |line| line["change"] == "removed");
    agent.finish();
    let container = &removed["container"];
    assert_eq!((&container["runtime"], &container["rule"]), (&"docker".into(), &"oci-command-line".into()));
    assert_eq!((&container["name"], &container["image"]), (&name.into(), &image.into()));
    let id = container["id"].as_str().unwrap();
    assert_eq!(removed["cgroup"]["path"], format!("{parent}/{id}"));
}

#[test]
fn lxc_is_called_as_its_monitor_says() {
    let (directory, name) = (directory(), name("lxc"));
    let place = directory.path().join(&name);
    std::fs::create_dir(&place).unwrap();
    let rootfs = busybox(&place);
    let config = format!(
        "lxc.uts.name = {name}\nlxc.rootfs.path = dir:{}\nlxc.init.cmd = /bin/sleep 2\n\
         lxc.apparmor.profile = unconfined\n\
         lxc.net.0.type = none\nlxc.mount.auto = proc\n",
        rootfs.display()
    );
    std::fs::write(place.join("config"), config).unwrap();
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
}
