//! The agent in a container, with exactly what the Helm chart gives it: it sees the host, and knows its containers.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::agent::parsed;
use crate::chart::render;
use crate::engines::{PODMAN, name};
use crate::support::{CGTRACE, Running, signal, wait_for};
use crate::{busybox, directory, shell};

const TOKEN: &str = "a-token-of-this-test-alone";
/// What podman is told so that it needs neither a network nor more rights than there are here.
const LIMITS: &str = "--network none --pids-limit -1 --ulimit nofile=1024:1024 --ulimit nproc=1000:1000";

/// A root file system with the program and the libraries that it needs.
fn image(directory: &Path) -> PathBuf {
    let root = directory.join("image");
    for place in ["usr/bin", "proc", "sys", "dev", "etc", "run", "tmp", "var"] {
        fs::create_dir_all(root.join(place)).unwrap();
    }
    let program = root.join("usr/bin/cgtrace");
    if fs::hard_link(CGTRACE, &program).is_err() {
        fs::copy(CGTRACE, &program).unwrap();
    }
    let said = Command::new("ldd").arg(CGTRACE).output().unwrap().stdout;
    for library in String::from_utf8(said).unwrap().split_whitespace().filter(|word| word.starts_with('/')) {
        let place = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(library, place).unwrap();
    }
    root
}

/// The keys of an object, each of which has to mean something here.
fn keys<'a>(object: &'a Value, known: &[&str]) -> &'a serde_json::Map<String, Value> {
    let object = object.as_object().unwrap();
    for key in object.keys() {
        assert!(known.contains(&key.as_str()), "what does {key} mean for podman?");
    }
    object
}

/// How podman is told what a pod's security context, volumes and variables say.
fn options(spec: &Value, directory: &Path) -> Vec<String> {
    let container = &spec["containers"][0];
    assert_eq!(spec["hostPID"], true);
    // What containerd does on cgroup2.
    let mut options: Vec<String> = ["--pid=host", "--cgroupns=private"].map(str::to_owned).into();
    let user = keys(&spec["securityContext"], &["runAsUser", "runAsGroup", "seccompProfile", "seLinuxOptions"]);
    options.push(format!("--user={}:{}", user["runAsUser"], user["runAsGroup"]));
    // The file lies below the kubelet's directory on a node, and beside the manifests here.
    let profile = user["seccompProfile"]["localhostProfile"].as_str().unwrap();
    let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/seccomp").join(profile);
    options.push(format!("--security-opt=seccomp={}", profile.display()));
    let known = ["privileged", "allowPrivilegeEscalation", "readOnlyRootFilesystem", "appArmorProfile", "capabilities"];
    let security = keys(&container["securityContext"], &known);
    assert_eq!([&security["privileged"], &security["allowPrivilegeEscalation"]], [&json!(false); 2]);
    options.push("--security-opt=no-new-privileges".into());
    assert_eq!(security["readOnlyRootFilesystem"], true);
    options.extend(["--read-only", "--read-only-tmpfs=false"].map(str::to_owned));
    for (what, names) in keys(&security["capabilities"], &["drop", "add"]) {
        options.extend(names.as_array().unwrap().iter().map(|name| format!("--cap-{what}={}", name.as_str().unwrap())));
    }
    for mount in container["volumeMounts"].as_array().unwrap() {
        let mount = keys(mount, &["name", "mountPath", "readOnly", "recursiveReadOnly"]);
        assert_eq!(mount["readOnly"], true);
        let volumes = spec["volumes"].as_array().unwrap();
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
        let source = match volume["hostPath"]["path"].as_str() {
            Some(path) => path.to_owned(),
            None => secret(&volume["secret"], directory).display().to_string(),
        };
        options.push(format!("--volume={source}:{}:ro", mount["mountPath"].as_str().unwrap()));
    }
    for variable in container["env"].as_array().unwrap() {
        assert_eq!(variable["valueFrom"]["fieldRef"]["fieldPath"], "spec.nodeName");
        options.push(format!("--env={}=the-node", variable["name"].as_str().unwrap()));
    }
    options
}

/// A Secret as the kubelet lays it out: names lead through a link to the directory with its content.
fn secret(secret: &Value, directory: &Path) -> PathBuf {
    let place = directory.join(secret["secretName"].as_str().unwrap());
    fs::create_dir_all(place.join("..content")).unwrap();
    std::os::unix::fs::symlink("..content", place.join("..data")).unwrap();
    for item in secret["items"].as_array().unwrap() {
        let path = item["path"].as_str().unwrap();
        let file = place.join("..content").join(path);
        fs::write(&file, TOKEN).unwrap();
        let mode = u32::try_from(secret["defaultMode"].as_u64().unwrap()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::symlink(format!("..data/{path}"), place.join(path)).unwrap();
    }
    place
}

/// The agent in its container.
struct Pod {
    podman: Child,
    /// The agent, as the host numbers it.
    pid: u32,
    said: String,
}

impl Pod {
    fn start(spec: &Value, directory: &Path) -> Self {
        let container = &spec["containers"][0];
        let words = |list: &Value| -> Vec<String> { serde_json::from_value(list.clone()).unwrap() };
        let script = format!("exec {PODMAN} run --rm --name {} {LIMITS} \"$@\"", name("agent"));
        let mut podman = Command::new("sh");
        podman.args(["-euc", &script, "sh"]).args(options(spec, directory));
        podman.arg("--rootfs").arg(image(directory)).args(words(&container["command"])).args(words(&container["args"]));
        podman.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut podman = podman.spawn().expect("podman is installed");
        let mut stderr = BufReader::new(podman.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("the thread that traces:") {
            assert!(stderr.read_line(&mut said).unwrap() > 0, "cgtrace serve ended: {said}");
        }
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::stderr()));
        let script = format!("{PODMAN} inspect --format '{{{{.State.Pid}}}}' {}", name("agent"));
        let found = Command::new("sh").args(["-euc", &script]).current_dir(directory).output().unwrap();
        let pid = String::from_utf8(found.stdout).unwrap().trim().parse().unwrap();
        Self { podman, pid, said }
    }

    /// Asks as another pod does, in the agent's own network.
    fn get(&self, path: &str, token: Option<&str>) -> (u16, String) {
        let namespace = fs::File::open(format!("/proc/{}/ns/net", self.pid)).unwrap();
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{token}Connection: close\r\n\r\n");
        let ask = move || {
            // SAFETY: it concerns this thread alone, which does nothing else.
            assert_eq!(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
            let mut stream = TcpStream::connect("127.0.0.1:9464").unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        let answer = std::thread::spawn(ask).join().unwrap();
        parsed(&answer).unwrap_or_else(|| panic!("no answer: {answer:?}"))
    }

    /// The finding of a kind that is as wanted.
    fn finding(&self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_for(kind, || {
            let (status, text) = self.get(&format!("/findings?kind={kind}"), Some(TOKEN));
            assert_eq!(status, 200);
            serde_json::from_str::<Vec<Value>>(&text).unwrap().into_iter().find(|finding| wanted(finding))
        })
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        signal(self.pid, libc::SIGKILL);
        let _ = self.podman.wait();
    }
}

/// A container of podman's that sleeps, and another process that is put into its cgroups.
struct Sleeping {
    name: String,
    directory: PathBuf,
    stranger: Running,
}

impl Sleeping {
    fn start(name: String, directory: &Path) -> Self {
        let sleeping = Self {
            name,
            directory: directory.to_owned(),
            stranger: Running(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap()),
        };
        sleeping.shell(&format!(
            "tar -C rootfs -c . | {PODMAN} import - localhost/$name:1
             {PODMAN} run --detach --cgroupns=private --name $name {LIMITS} localhost/$name:1 /bin/sleep 600 > $name.id"
        ));
        sleeping
    }

    /// Runs a script that knows its name and its cgroups.
    fn shell(&self, script: &str) {
        let stranger = self.stranger.id();
        let begin = format!(
            "name={} stranger={stranger}
             cgroups() {{ find /sys/fs/cgroup -depth -type d -name \"libpod-$(cat $name.id)\"; }}",
            self.name
        );
        shell(&format!("{begin}\n{script}"), &self.directory, &[]);
    }

    /// A process in it tries to remove a cgroup that was never there, by the path that its cgroup namespace has.
    fn fails_within(&self) {
        self.shell(&format!(
            "own=/sys/fs/cgroup; if test -d $own/pids; then own=$own/pids; fi
             ! {PODMAN} exec $name /bin/busybox rmdir $own/nothing"
        ));
    }

    /// Podman removes it, and cannot remove its cgroups.
    fn remove(&self) {
        self.shell(&format!(
            "for cgroup in $(cgroups); do echo $stranger > $cgroup/cgroup.procs; done
             {PODMAN} rm --force --time 0 $name || true"
        ));
    }
}

impl Drop for Sleeping {
    fn drop(&mut self) {
        let _ = self.stranger.0.kill();
        let _ = self.stranger.0.wait();
        let script = format!(
            "{PODMAN} rm --force --time 0 $0
             find /sys/fs/cgroup -depth -type d -name \"libpod-$(cat $0.id)\" | xargs --no-run-if-empty rmdir"
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script, &self.name]).current_dir(&self.directory);
        let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

#[test]
fn from_its_container_the_agent_sees_the_host_and_names_its_containers() {
    let directory = directory();
    busybox(directory.path());
    // Its names are read of the host's files, without a runtime that could lead to them.
    let before = Sleeping::start(name("before"), directory.path());
    let values = json!({ "seccompProfile": { "type": "Localhost", "localhostProfile": "cgtrace.json" } });
    let rendered = render(&values).unwrap();
    let pod = Pod::start(&rendered.object("DaemonSet")["spec"]["template"]["spec"], directory.path());
    assert!(pod.said.contains("tracing the-node: "), "{}", pod.said);
    assert!(!pod.said.contains("warning"), "{}", pod.said);
    let kubelets = ["/healthz", "/readyz"].map(|path| pod.get(path, None).0);
    assert_eq!((kubelets, pod.get("/findings", None).0), ([200, 200], 401));

    let after = Sleeping::start(name("after"), directory.path());
    let both = [&before, &after];
    for sleeping in both {
        sleeping.fails_within();
        sleeping.remove();
    }
    for Sleeping { name, .. } in both {
        let is_fault = |it: &Value| it["container"]["name"] == name.as_str() && it["severity"] == "fault";
        let finding = pod.finding("busy-teardown", is_fault);
        assert_eq!(finding["cause"], "live-processes");
        let container = &finding["container"];
        assert_eq!(container["image"], format!("localhost/{name}:1"), "{finding:#}");
        let path = finding["cgroup"]["path"].as_str().unwrap();
        assert!(path.ends_with(&format!("/libpod-{}", container["id"].as_str().unwrap())), "{path}");
        // To another cgroup namespace, this one's root is not where the host's is.
        let within = pod.finding("missing-path-teardown", |it| it["cgroup"]["path"] == format!("{path}/nothing"));
        assert_eq!(within["container"]["name"], name.as_str());
    }
}
