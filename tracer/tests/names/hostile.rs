//! Names and files that are chosen to do harm.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::agent::Serving;
use crate::engines::Daemon;
use crate::support::{Agent, CGTRACE, Scratch, of_type, parse, wait_for};
use crate::{directory, facts, made, shell};

fn cgtrace(arguments: &[&str], directory: &Path) -> String {
    let done = Command::new(CGTRACE).args(arguments).current_dir(directory).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn a_name_of_any_characters_is_text_wherever_it_is_shown() {
    let evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"} 1\u{1b}[2J\u{7}\r\n\u{202e}gpj";
    // As long as a name may be, and one byte longer.
    let name = format!("{evil}{}", "x".repeat(4_096 - evil.len()));
    let (directory, scratch) = (directory(), Scratch::new());
    let id = "a1b2c3d4".repeat(8);
    let cgroup = scratch.path.join(format!("cri-containerd-{id}.scope"));
    std::os::unix::fs::symlink("/bin/sh", directory.path().join("runc")).unwrap();
    let script = format!("mkdir {0}; rmdir {0}; sleep 1; rmdir {0} || true", cgroup.display());
    std::fs::write(directory.path().join("run"), script).unwrap();
    let annotations = json!({
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.container-name": name,
        "io.kubernetes.cri.image-name": format!("{name}x"),
        "io.kubernetes.cri.sandbox-name": evil,
        "io.kubernetes.cri.sandbox-namespace": evil,
    });
    std::fs::write(directory.path().join("config.json"), json!({ "annotations": annotations }).to_string()).unwrap();
    let serving = Serving::start(&[]);
    let run = format!("./runc run {id}");
    cgtrace(&["record", "--output", "trace", "--", "sh", "-c", &run], directory.path());
    // JSON tells the very characters.
    let lines = parse(cgtrace(&["export", "trace", "--to", "jsonl", "-o", "-"], directory.path()).as_bytes());
    let container = made(&lines, &format!("cri-containerd-{id}.scope"))[0];
    assert_eq!((&container["name"], &container["image"]), (&name.as_str().into(), &Value::Null));
    assert_eq!((&container["pod"], &container["namespace"]), (&evil.into(), &evil.into()));
    // Text and pages tell of it, and nothing in it acts.
    let lacks = |what: &str, text: &str, parts: &[&str]| {
        assert_eq!(parts.iter().find(|part| text.contains(**part)), None, "{what}");
    };
    let for_terminals = ["\u{1b}", "\u{7}", "\u{202e}", "\r"];
    let for_pages = ["<script>alert", "<img", "\u{1b}", "\u{202e}"];
    for arguments in [&["report", "--benign", "--lives", "trace"][..], &["report", "--benign", "--wide", "trace"]] {
        let text = cgtrace(arguments, directory.path());
        assert!(text.contains("alert(1)"), "it is named: {text}");
        lacks(&format!("{arguments:?}"), &text, &for_terminals);
    }
    let page = cgtrace(&["report", "--benign", "--format", "html", "trace"], directory.path());
    assert!(page.contains("alert(1)"), "it is named");
    lacks("the page", &page, &for_pages);
    // The agent, too.
    let finding = serving.wait_for_finding("duplicate-teardown");
    assert_eq!(finding["container"]["name"], name.as_str());
    lacks("the status page", &serving.get("/").1, &for_pages);
    lacks("metrics", &serving.get("/metrics").1, &["alert"]);
    serving.end();
}

#[test]
fn what_cannot_be_used_is_told_each_time_and_said_once() {
    let directory = directory();
    std::os::unix::fs::symlink("/bin/sh", directory.path().join("runc")).unwrap();
    std::fs::write(directory.path().join("create"), "sleep 0.3; exit 1").unwrap();
    let traces = directory.path().join("traces");
    std::fs::create_dir(&traces).unwrap();
    let serving = Serving::start(&["--record", traces.to_str().unwrap()]);
    let script = "for number in 1 2 3 4 5; do
            for kind in pipe half; do
                bundle=\"$PWD/$kind-$number\"; mkdir \"$bundle\"
                case $kind in
                    pipe) mkfifo \"$bundle/config.json\" ;;
                    half) printf '{' > \"$bundle/config.json\" ;;
                esac
                ./runc create --bundle \"$bundle\" $kind-$number || true
            done
        done";
    shell(script, directory.path(), &[]);
    wait_for("the last one", || serving.said().contains("malformed").then_some(()));
    let said = serving.said();
    serving.end();
    let trace = std::fs::read_dir(&traces).unwrap().next().unwrap().unwrap().path();
    let text = Command::new("zstd").arg("-dcq").arg(trace).output().unwrap();
    let lines = parse(&text.stdout);
    for (kind, reason) in [("pipe", "not-a-file"), ("half", "malformed")] {
        for number in 1..=5 {
            let [unread] = facts(&lines, "unread", &format!("{kind}-{number}"))[..] else { panic!("one of {kind}") };
            assert_eq!(unread["reason"], reason);
            assert!(unread["path"].as_str().unwrap().ends_with(&format!("/{kind}-{number}/config.json")));
        }
        let times = said.lines().filter(|line| line.contains(reason)).count();
        assert_eq!(times, 1, "{said}");
    }
}

/// A program that is called conmon, with its arguments, by a user.
fn conmon(directory: &Path, uid: u32, id: &str, name: &str, bundle: &Path) -> Child {
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={uid}")).args(["--regid=65534", "--clear-groups"]).arg(directory.join("conmon"));
    command.args(["-e", "sleep 60", "--", "-c", id, "-n", name, "-b"]).arg(bundle);
    command.stdin(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_users_conmon_names_that_users_container_only() {
    let directory = directory();
    std::fs::copy("/usr/bin/perl", directory.path().join("conmon")).expect("perl-base is installed");
    let (own, roots) = ("a1".repeat(32), "b2".repeat(32));
    let containers = directory.path().join("storage/overlay-containers");
    for id in [&own, &roots] {
        let bundle = containers.join(id).join("userdata");
        std::fs::create_dir_all(&bundle).unwrap();
        std::fs::write(bundle.join("config.json"), "{\"annotations\":{\"io.container.manager\":\"libpod\"}}").unwrap();
    }
    // A user may name what only root may read.
    let secret = containers.join(&roots).join("userdata/config.json");
    std::fs::set_permissions(secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let list = json!([{ "id": own, "names": ["web"], "metadata": "{\"image-name\":\"localhost/shop:1\"}" }]);
    std::fs::write(containers.join("containers.json"), list.to_string()).unwrap();
    let started = [(&own, "web"), (&roots, "stolen")]
        .map(|(id, name)| Daemon(conmon(directory.path(), 4_711, id, name, &containers.join(id).join("userdata"))));
    let pids = started.each_ref().map(|daemon| daemon.0.id());
    wait_for("conmon", || {
        let is = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "conmon\n");
        pids.iter().all(is).then_some(())
    });
    let agent = Agent::start(&[]);
    agent.wait_for_text("localhost/shop:1");
    agent.wait_for("the other one", |line| line["about"] == "unread" && line["id"] == roots.as_str());
    let lines = agent.finish();
    drop(started);
    let [said] = facts(&lines, "container", &own)[..] else { panic!("it is told once") };
    assert_eq!((&said["uid"], &said["pid"]), (&4_711.into(), &pids[0].into()));
    assert_eq!((&said["name"], &said["engine"]), (&"web".into(), &"podman".into()));
    assert_eq!(facts(&lines, "unread", &roots)[0]["reason"], "not-readable");
    assert!(facts(&lines, "container", &roots).is_empty());
    assert!(of_type(&lines, "facts").iter().all(|line| line["name"] != "stolen"));
}
