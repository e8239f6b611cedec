//! Real runtimes that are refused something: what was in the way is named, where it is, and who had tried what before.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Agent, Scratch, of_type};
use crate::{Container, PRIVATE_V2};

/// Plays it until what a cgroup was like is read before the runtime has removed it: a busy machine may be late.
fn played(play: impl Fn(&Scratch) -> Vec<(String, Value)>, is_whole: impl Fn(&str, &[(String, Value)]) -> bool) {
    let mut late = Vec::new();
    for _ in 0..6 {
        let scratch = Scratch::new();
        let told = play(&scratch);
        if is_whole(&scratch.cgroup, &told) {
            return;
        }
        late.push(told);
    }
    panic!("{late:#?}");
}

/// Plays a script where cgroup2 is alone, with the test's own cgroup as `$box`. Returns the last words of the findings
/// of refusals there, each with kind, cause and severity first.
fn told(scratch: &Scratch, container: &Container, script: &str) -> Vec<(String, Value)> {
    let agent = Agent::start(&["--benign"]);
    let script = format!("box=/sys/fs/cgroup{}; export box\n{script}", scratch.cgroup);
    let mut play: Command = container.script(PRIVATE_V2, &script);
    let done = play.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let lines = agent.finish();
    let mut last: BTreeMap<&str, &Value> = BTreeMap::new();
    for finding in of_type(&lines, "finding") {
        if scratch.has(finding) && finding["summary"].as_str().unwrap().contains(" could not ") {
            last.insert(finding["id"].as_str().unwrap(), finding);
        }
    }
    let mut last: Vec<&Value> = last.into_values().collect();
    last.sort_by_key(|finding| finding["at"].as_u64());
    let claim = |finding: &Value| {
        let [kind, cause, severity] = ["kind", "cause", "severity"].map(|field| finding[field].as_str().unwrap());
        format!("{severity} {kind} {cause}")
    };
    last.into_iter().map(|finding| (claim(finding), finding.clone())).collect()
}

fn claims(told: &[(String, Value)]) -> Vec<&str> {
    let mut claims: Vec<&str> = told.iter().map(|(claim, _)| claim.as_str()).collect();
    claims.dedup();
    claims
}

fn says(told: &(String, Value), parts: &[&str]) -> bool {
    let summary = told.1["summary"].as_str().unwrap();
    parts.iter().all(|part| summary.contains(part))
}

/// As in a container with a cgroup namespace of its own, whose first process is in what it sees as the root.
#[test]
fn runc_in_a_container_whose_root_has_processes_is_told_where_its_limit_is_lost() {
    let play = |scratch: &Scratch| {
        let container = Container::new("runc", "nested", &["/bin/sh", "-c", "exit 0"]);
        let limit = json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 0 }] });
        container.bundle.set("/linux/resources", limit).unwrap();
        container.bundle.set("/linux/cgroupsPath", json!(format!("/apps/{}", container.id))).unwrap();
        let script = r#"
echo +hugetlb > /sys/fs/cgroup/cgroup.subtree_control
echo 0 > "$box/cgroup.procs"
exec unshare --cgroup --mount sh -euc 'umount /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup
if "$runtime" --root "$root" run "$id"; then exit 1; fi; sleep 0.3'"#;
        told(scratch, &container, script)
    };
    played(play, |own, told| {
        let expected = [
            "undetermined refused-control processes-inside",
            "undetermined refused-control controller-missing",
            "undetermined missing-controller not-enabled",
        ];
        let lost = format!("{own}, the outermost cgroup that does not, has hugetlb and does not hand it on");
        claims(told) == expected
            && says(&told[0], &[&format!("in cgroup {own}: "), " are in it (EBUSY)"])
            && says(told.last().unwrap(), &["could not open hugetlb.2MB.max", &lost])
            && says(told.last().unwrap(), &["had tried to enable it there", "and got EBUSY"])
    });
}

/// It starts the process into the cgroup, tries to move it there, and takes a cgroup in it then.
#[test]
fn crun_that_cannot_start_a_process_where_controllers_are_on_copes() {
    let play = |scratch: &Scratch| {
        let container = Container::new("crun", "clone", &["/bin/sleep", "1000"]);
        container.bundle.set("/linux/cgroupsPath", json!(format!("{}/web", scratch.cgroup))).unwrap();
        let script = r#"
echo +hugetlb > /sys/fs/cgroup/cgroup.subtree_control; echo +hugetlb > "$box/cgroup.subtree_control"
rt run --detach "$id" > /dev/null 2>&1
mkdir "$box/web/leaf"
for pid in $(cat "$box/web/cgroup.procs"); do echo $pid > "$box/web/leaf/cgroup.procs"; done
echo +hugetlb > "$box/web/cgroup.subtree_control"
rt exec "$id" /bin/true; sleep 0.3; rt delete --force "$id""#;
        told(scratch, &container, script)
    };
    played(play, |_, told| {
        let why = "controllers (hugetlb) are enabled for the cgroups in it, of which there is one";
        claims(told) == ["benign refused-attach inner-processes"]
            && told.len() == 2
            && says(&told[0], &["could not make a process in", why])
            && says(&told[1], &["could not put ", why])
    });
}

/// A user's container, and the same user in a cgroup of another session.
#[test]
fn rootless_crun_from_another_scope_may_not_move_a_process_there() {
    let play = |scratch: &Scratch| {
        let container = Container::new("crun", "rootless", &["/bin/sleep", "1000"]);
        let set = |pointer, value| container.bundle.set(pointer, value).unwrap();
        let mapping = json!([{ "containerID": 0, "hostID": 65534, "size": 1 }]);
        set("/linux/uidMappings", mapping.clone());
        set("/linux/gidMappings", mapping);
        set("/linux/namespaces", json!(["pid", "ipc", "uts", "mount", "user"].map(|kind| json!({ "type": kind }))));
        set("/linux/cgroupsPath", json!(format!("{}/own/web", scratch.cgroup)));
        let script = r#"
mkdir "$root" "$box/own" "$box/own/shell" "$box/session"
chown -R 65534:65534 "$root/.." "$box/own"
within() { (echo 0 > "$1/cgroup.procs"; shift
exec setpriv --reuid=65534 --regid=65534 --clear-groups "$runtime" --root "$root" "$@"); }
within "$box/own/shell" run --detach "$id" > "$root/said" 2>&1 || { cat "$root/said" >&2; exit 1; }
if within "$box/session" exec "$id" /bin/true; then exit 1; fi; sleep 0.3
within "$box/own/shell" delete --force "$id""#;
        let told = told(scratch, &container, script);
        told.into_iter().filter(|(claim, _)| claim.contains("refused-attach")).collect()
    };
    // crun is gone at once, and where it was is not always read before. Its error needs nothing that is read.
    played(play, |_, told| {
        claims(told) == ["undetermined refused-attach not-delegated"]
            && told.len() == 2
            && says(&told[0], &["could not make a process in the cgroup of container", "user 65534 may not"])
            && says(&told[1], &["could not put ", "user 65534 may not", "(EACCES); it exited 1"])
            && told[1].1["known_issues"][0]["id"] == "crun#1195"
    });
}
