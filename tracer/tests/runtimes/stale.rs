//! Real runtimes that start a container where a cgroup of its name is left over.

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Agent, hierarchy, of_type};
use crate::{Container, PRIVATE_V2};

/// A cgroup of the container's name, with a stranger in it.
/// A failed call has the mount namespace's table read, which tells where a runtime looks; here nothing else fails.
const OCCUPIED: &str = r#"
mkdir "/sys/fs/cgroup/$id"
cat "/sys/fs/cgroup/$id/none" 2> /dev/null || true
sleep 600 & stranger=$!
echo $stranger > "/sys/fs/cgroup/$id/cgroup.procs"
sleep 0.2
"#;
const CLEAN_UP: &str = r#"
rt delete --force "$id" || true
if [ -n "$stranger" ]; then kill "$stranger" 2> /dev/null || true; wait "$stranger" || true; fi
if [ -d "/sys/fs/cgroup/$id" ]; then rmdir "/sys/fs/cgroup/$id"; fi
"#;
/// What runc 1.2 and later do, and tell nobody but their log.
const REFUSES: &str = r#"
my %option = @ARGV[0 .. $#ARGV - 1];
select(undef, undef, undef, 0.1);
open(my $members, "<", "/sys/fs/cgroup/$ARGV[-1]/cgroup.procs") or exit 0;
my @members = <$members>;
@members or exit 0;
if (open(my $log, ">>", $option{"--log"} // "")) {
    print $log qq({"level":"error","msg":"runc create failed: container's cgroup is not empty: 1 process(es) found"}\n);
}
exit 1;
"#;

/// Plays a script, and returns how its start ended.
fn play(container: &Container, script: &str) -> Option<i32> {
    let script = format!("stranger=\n{script}\nsleep 0.5\n{CLEAN_UP}\nexit $status");
    let done = container.script(PRIVATE_V2, &script).output().unwrap();
    println!("{}: {} {}", container.id, done.status, String::from_utf8_lossy(&done.stderr).trim());
    done.status.code()
}

fn told<'a>(container: &Container, lines: &'a [Value]) -> Vec<&'a Value> {
    container.lines(lines, "finding").into_iter().filter(|finding| finding["kind"] == "stale-cgroup").collect()
}

#[test]
fn a_start_is_told_that_failed_where_somebody_is_in_its_cgroup_and_no_other_is() {
    let container =
        |runtime, name: &str| Container::new(runtime, &format!("stale-{name}"), &["/bin/sh", "-c", "exit 0"]);
    let agent = Agent::start(&["--benign"]);
    let start = "status=0; rt create \"$id\" || status=$?;";
    let empty = ["runc", "crun"].map(|runtime| container(runtime, "empty"));
    for container in &empty {
        assert_eq!(play(container, &format!("mkdir \"/sys/fs/cgroup/$id\"; {start}")), Some(0));
    }
    let again = ["runc", "crun"].map(|runtime| container(runtime, "again"));
    for container in &again {
        assert_eq!(play(container, &format!("{start} rt delete --force \"$id\"; {start}")), Some(0));
    }
    // It fails before there is any cgroup.
    let invalid = container("runc", "invalid");
    invalid.bundle.set("/process/cwd", "nowhere".into()).unwrap();
    assert_ne!(play(&invalid, start), Some(0));
    // crun starts into it. runc does up to 1.1, and says that it will not.
    let occupied = ["runc", "crun"].map(|runtime| container(runtime, "occupied"));
    let [by_runc, by_crun] = occupied.each_ref().map(|container| play(container, &format!("{OCCUPIED}{start}")));
    assert_eq!(by_crun, Some(0));
    let refused = [("silent", "", "undetermined"), ("logged", "--log \"$PWD/log\"", "fault")];
    let refused = refused.map(|(name, log, severity)| {
        let container = container("runc", name);
        let bundle = container.directory.path().join("bundle");
        symlink("/usr/bin/perl", bundle.join("runc")).unwrap();
        std::fs::write(bundle.join("create"), REFUSES).unwrap();
        let start = format!("status=0; ./runc create --root \"$root\" {log} \"$id\" || status=$?;");
        assert_eq!(play(&container, &format!("{OCCUPIED}{start}")), Some(1));
        (container, severity)
    });

    for (container, _) in &refused {
        let id = container.id.as_str();
        agent.wait_for(id, |line| line["kind"] == "stale-cgroup" && line["container"]["id"] == id);
    }
    let lines = agent.finish();
    for (container, severity) in &refused {
        let findings = told(container, &lines);
        let [finding] = findings.as_slice() else { panic!("exactly one: {findings:#?}") };
        assert_eq!((&finding["cause"], &finding["severity"]), (&"occupied".into(), &(*severity).into()), "{finding:#}");
        let outcome = &finding["outcome"];
        assert_eq!((&outcome["exit"]["code"], &outcome["state_left"]), (&1.into(), &false.into()), "{finding:#}");
        let summary = finding["summary"].as_str().unwrap();
        assert!(summary.contains(" before), and sleep["), "{summary}");
        assert_eq!(summary.contains("; its log says: runc create failed: container's cgroup"), *severity == "fault");
    }
    assert_eq!(told(&occupied[0], &lines).is_empty(), by_runc == Some(0));
    for container in empty.iter().chain(&again).chain([&invalid, &occupied[1]]) {
        assert!(told(container, &lines).is_empty(), "{}: {:#?}", container.id, told(container, &lines));
    }
}

/// Has LXC start a container until its end on a private cgroup2, after this cgroup was made. Returns what was told of
/// it.
fn lxc(name: &str, taken: &str, config: &str) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("cgtrace-{name}-{}", std::process::id());
    let place = directory.path().join(&name);
    for part in ["bin", "dev", "proc", "sys"] {
        std::fs::create_dir_all(place.join("rootfs").join(part)).unwrap();
    }
    std::fs::copy("/bin/busybox", place.join("rootfs/bin/sleep")).expect("busybox-static is installed");
    let config = format!(
        "lxc.uts.name = {name}\nlxc.rootfs.path = dir:{}/rootfs\nlxc.init.cmd = /bin/sleep 1\n\
         lxc.apparmor.profile = unconfined\nlxc.net.0.type = none\nlxc.mount.auto = proc\n{}\n",
        place.display(),
        config.replace("NAME", &name),
    );
    std::fs::write(place.join("config"), config).unwrap();
    let (_, cgroup2) = hierarchy(None).unwrap();
    let taken = cgroup2.join(taken.replace("NAME", &name));
    std::fs::create_dir_all(&taken).unwrap();
    let agent = Agent::start(&["--benign"]);
    let script =
        format!("{PRIVATE_V2}\nlxc-start -n \"$0\" -P \"$1\"; lxc-wait -n \"$0\" -P \"$1\" -s STOPPED -t 20; true");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script, &name]).arg(directory.path());
    assert!(command.stdin(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let is_its = |line: &Value| {
        line["kind"] == "stale-cgroup" && line["cgroup"]["path"].as_str().is_some_and(|path| path.contains(&name))
    };
    agent.wait_for(&name, is_its);
    std::fs::remove_dir(&taken).unwrap();
    let lines = agent.finish();
    // It leaves these to whatever container comes next, and its own one where the start fails.
    for shared in [&format!("lxc.monitor/{name}"), "lxc", "lxc.monitor", "lxc.pivot"] {
        let _ = std::fs::remove_dir(cgroup2.join(shared));
    }
    of_type(&lines, "finding").into_iter().filter(|line| is_its(line)).cloned().collect()
}

#[test]
fn lxc_takes_another_name_or_fails_where_it_may_not() {
    let fixed = "lxc.cgroup.dir.container = lxc/NAME\nlxc.cgroup.dir.monitor = lxc.monitor/NAME";
    for (name, taken, config, severity, says) in [
        ("numbered", "lxc.payload.NAME", "", "benign", "-1 instead"),
        ("fixed", "lxc/NAME", fixed, "fault", ": it made no other one, and it exited 1"),
        ("monitor", "lxc.monitor/NAME", fixed, "fault", ": it made no other one, and it exited 1"),
    ] {
        let told = lxc(name, taken, config);
        let [finding] = told.as_slice() else { panic!("exactly one: {told:#?}") };
        assert_eq!(
            (&finding["kind"], &finding["cause"]),
            (&"stale-cgroup".into(), &"name-taken".into()),
            "{finding:#}"
        );
        assert_eq!(finding["severity"], severity, "{finding:#}");
        assert!(finding["summary"].as_str().unwrap().ends_with(says), "{finding:#}");
        assert_eq!(finding["attempts"][0]["errno"], "EEXIST");
    }
}
