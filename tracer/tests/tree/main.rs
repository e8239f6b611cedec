//! `cgtrace tree` on the real kernel, as root: whose the cgroups of this host are, and what may be wrong with them.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../support/schema.rs"]
mod schema;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use cgtrace::demo::bundle::Bundle;
use serde_json::{Value, json};

use support::{CGTRACE, Scratch, of_type, parse, wait_for};

fn run(arguments: &[&str]) -> Output {
    Command::new(CGTRACE).arg("tree").args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// The lines of `tree --json`.
fn lines(arguments: &[&str]) -> Vec<Value> {
    let done = run(&[&["--json"], arguments].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let lines = parse(&done.stdout);
    assert_eq!(lines[0]["type"], "tree");
    lines
}

/// The line of one cgroup, if it is there.
fn row(lines: &[Value], path: &str) -> Option<Value> {
    of_type(lines, "cgroup").into_iter().find(|row| row["cgroup"]["path"] == path).cloned()
}

/// What may be wrong with a cgroup.
fn kinds(row: &Value) -> Vec<&str> {
    row["wrong"].as_array().into_iter().flatten().map(|wrong| wrong["kind"].as_str().unwrap()).collect()
}

/// Runs a script in a mount namespace of its own in which nothing but cgroup2 is mounted at `/sys/fs/cgroup`. Returns
/// what it printed.
fn unified(script: &str) -> String {
    let begin = "mount --make-rprivate /; umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup";
    let script = format!("{begin}\n{script}");
    let done = Command::new("unshare").args(["--mount", "sh", "-euc", &script]).stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// A process that ends with the test.
struct Sleeper(Child);

impl Sleeper {
    fn within(cgroup: &Path) -> Self {
        let child = Command::new("sleep").arg("300").spawn().unwrap();
        fs::write(cgroup.join("cgroup.procs"), child.id().to_string()).unwrap();
        Self(child)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A container of runc's, in a cgroup of this path below each hierarchy. At the end nothing is left of it.
struct Container {
    id: String,
    cgroups_path: String,
    bundle: tempfile::TempDir,
}

impl Container {
    fn start(name: &str) -> Self {
        let id = format!(
            "{:032x}{:0>32}",
            std::process::id(),
            name.bytes().map(|byte| format!("{byte:x}")).collect::<String>()
        );
        let bundle = tempfile::tempdir().unwrap();
        let cgroups_path = format!("/cgtrace-tree-{}/docker/{id}", std::process::id());
        Bundle::new(bundle.path(), &["/bin/sleep", "300"])
            .unwrap()
            .set("/linux/cgroupsPath", cgroups_path.as_str().into())
            .unwrap();
        let container = Self { id, cgroups_path, bundle };
        let bundle = container.bundle.path().join("bundle");
        container.runc(&["run", "--detach", "--bundle", bundle.to_str().unwrap()]);
        container
    }

    fn runc(&self, arguments: &[&str]) {
        let mut runc = Command::new("runc");
        runc.args(arguments).arg(&self.id).stdin(Stdio::null()).stdout(Stdio::null());
        let errors = self.bundle.path().join("errors");
        let status = runc.stderr(fs::File::create(&errors).unwrap()).status().expect("runc is installed");
        assert!(status.success(), "runc {arguments:?}: {}", fs::read_to_string(errors).unwrap());
    }

    /// Ends its process, and leaves the container.
    fn stop(&self) {
        let _ = Command::new("runc").args(["kill", &self.id, "KILL"]).status();
        let is_stopped = || {
            let state = Command::new("runc").args(["state", &self.id]).output().unwrap();
            (parse_one(&state.stdout)["status"] == "stopped").then_some(())
        };
        wait_for("its end", is_stopped);
    }

    /// Its cgroups, wherever runc put them: on v1 below its own in each hierarchy.
    fn rows(&self) -> Vec<Value> {
        let lines = lines(&["--container", &self.id]);
        of_type(&lines, "cgroup").into_iter().filter(|row| self.has(row)).cloned().collect()
    }

    fn has(&self, row: &Value) -> bool {
        row["cgroup"]["path"].as_str().unwrap().ends_with(&self.cgroups_path)
    }
}

fn parse_one(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap()
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("runc").args(["kill", &self.id, "KILL"]).stderr(Stdio::null()).status();
        let _ = fs::remove_dir_all(Path::new("/run/runc").join(&self.id));
        let outermost = format!("cgtrace-tree-{}", std::process::id());
        // Its process may be on its way out.
        let find = "find /sys/fs/cgroup -depth -type d -path \"*/$0*\"";
        let script = format!("while {find} | grep -q .; do {find} -exec rmdir {{}} +; done");
        let _ = Command::new("timeout").args(["30", "sh", "-c", &script, &outermost]).stderr(Stdio::null()).status();
    }
}

#[test]
fn a_real_container_is_healthy_while_it_runs_and_is_kept_and_may_be_leaked_when_nothing_knows_it() {
    let container = Container::start("life");
    let rows = container.rows();
    assert!(!rows.is_empty());
    for row in &rows {
        assert_eq!(
            (&row["container"]["id"], &row["container"]["runtime"]),
            (&container.id.as_str().into(), &"docker".into())
        );
        assert_eq!((&row["populated"], &row["processes"], &row["uid"]), (&true.into(), &1.into(), &0.into()), "{row}");
        assert!(row["there_since"].is_string() && kinds(row).is_empty(), "{row}");
    }
    container.stop();
    let rows = container.rows();
    assert!(!rows.is_empty() && rows.iter().all(|row| row["populated"] == false && kinds(row).is_empty()), "{rows:?}");
    // Whoever removes the state by hand, as one does to be rid of a broken container, leaves the cgroup.
    fs::remove_dir_all(Path::new("/run/runc").join(&container.id)).unwrap();
    let rows = wait_for("the cgroups to be old enough", || {
        let rows = container.rows();
        assert!(!rows.is_empty());
        rows.iter().all(|row| kinds(row) == ["leaked-cgroup"]).then_some(rows)
    });
    let wrong = &rows[0]["wrong"][0];
    assert_eq!(wrong["certainty"], "degraded");
    assert!(wrong["summary"].as_str().unwrap().starts_with("may be leaked: "), "{wrong}");
    assert!(!wrong["because"].as_array().unwrap().is_empty());
    let text = String::from_utf8(run(&["--container", &container.id]).stdout).unwrap();
    assert!(text.contains("may be leaked  docker") && text.contains("what may be wrong\nleaked-cgroup"), "{text}");
    assert!(!text.contains(&container.id), "ids are cut: {text}");
}

#[test]
fn a_bare_containers_cgroup_is_known_by_its_state() {
    let directory = tempfile::tempdir().unwrap();
    Bundle::new(directory.path(), &["/bin/sleep", "300"]).unwrap();
    let id = format!("cgtrace-bare-{}", std::process::id());
    let bundle = directory.path().join("bundle");
    let runc = |arguments: &[&str]| {
        Command::new("runc").args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap()
    };
    assert!(runc(&["run", "--detach", "--bundle", bundle.to_str().unwrap(), &id]).success());
    let found = lines(&["--container", &id, "--runtime", "runc"]);
    assert!(runc(&["delete", "--force", &id]).success());
    let rows = of_type(&found, "cgroup");
    assert!(!rows.is_empty());
    for row in rows {
        assert_eq!(row["container"]["rule"], "runtime-state", "{row}");
        assert_eq!(row["processes"], 1, "{row}");
    }
}

#[test]
fn frozen_threaded_and_delegated_ones_are_told() {
    let scratch = Scratch::new();
    for name in ["frozen", "threaded", "delegated"] {
        fs::create_dir(scratch.path.join(name)).unwrap();
    }
    let _sleeper = Sleeper::within(&scratch.path.join("frozen"));
    fs::write(scratch.path.join("frozen/cgroup.freeze"), "1").unwrap();
    fs::create_dir(scratch.path.join("threaded/below")).unwrap();
    fs::write(scratch.path.join("threaded/below/cgroup.type"), "threaded").unwrap();
    std::os::unix::fs::chown(scratch.path.join("delegated"), Some(1234), None).unwrap();
    let lines = wait_for("the freezing", || {
        let lines = lines(&["--cgroup", &format!("{}*", scratch.cgroup)]);
        let frozen = row(&lines, &format!("{}/frozen", scratch.cgroup)).unwrap();
        (frozen["frozen"] == true).then_some(lines)
    });
    let row = |below: &str| row(&lines, &format!("{}{below}", scratch.cgroup)).unwrap();
    assert_eq!((&row("/frozen")["processes"], &row("")["subtree_processes"]), (&1.into(), &1.into()));
    assert_eq!(
        (&row("/threaded")["cgroup_type"], &row("/threaded/below")["cgroup_type"]),
        (&"domain threaded".into(), &"threaded".into())
    );
    assert_eq!(row("/delegated")["uid"], 1234);
    assert_eq!(row("/delegated")["populated"], false);
    fs::write(scratch.path.join("frozen/cgroup.freeze"), "0").unwrap();
    let Some(legacy) = Scratch::v1("freezer") else { return };
    let _sleeper = Sleeper::within(&legacy.path);
    fs::write(legacy.path.join("freezer.state"), "FROZEN").unwrap();
    wait_for("the freezing", || {
        let lines = self::lines(&["--cgroup", &legacy.cgroup]);
        (self::row(&lines, &legacy.cgroup).unwrap()["frozen"] == true).then_some(())
    });
    fs::write(legacy.path.join("freezer.state"), "THAWED").unwrap();
}

#[test]
fn the_chain_of_controllers_breaks_on_a_pure_cgroup2_mount_where_the_kernel_says_so() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.path.join("a/b")).unwrap();
    // As far down as it is enabled already, and one further: then `a` is what breaks it.
    let controllers = |path: &Path, file: &str| -> Vec<String> {
        let text = fs::read_to_string(path.join(file)).unwrap();
        text.split_ascii_whitespace().map(str::to_owned).collect()
    };
    let around = scratch.path.parent().unwrap();
    let available = controllers(around, "cgroup.controllers");
    let (controller, breaks_in) = match controllers(&scratch.path, "cgroup.controllers").first() {
        Some(controller) => {
            fs::write(scratch.path.join("cgroup.subtree_control"), format!("+{controller}")).unwrap();
            (controller.clone(), format!("{}/a", scratch.cgroup))
        }
        None => (available.first().expect("cgroup2 has a controller on this host").clone(), "/".to_owned()),
    };
    let text = unified(&format!(
        "{CGTRACE} tree --json --cgroup '{}*'\n{CGTRACE} tree --cgroup '{}*'",
        scratch.cgroup, scratch.cgroup
    ));
    let (json, text): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with('{'));
    let lines = parse(json.join("\n").as_bytes());
    assert_eq!((&lines[0]["setup"], lines[0]["hierarchies"].as_array().unwrap().len()), (&"unified".into(), 1));
    let leaf = row(&lines, &format!("{}/a/b", scratch.cgroup)).unwrap();
    let missing = leaf["missing"].as_array().unwrap();
    let found = missing.iter().find(|missing| missing["controller"] == controller.as_str()).unwrap();
    assert_eq!(found["not_enabled_in"], breaks_in.as_str());
    assert!(!leaf["controllers"].as_array().unwrap().contains(&controller.clone().into()));
    // Told on the line where it is lost, and not again below it.
    let lost = |line: &&&str| line.contains("no controllers") || line.contains(&format!("-{controller}"));
    assert_eq!(text.iter().filter(lost).count(), 1, "{text:#?}");
}

#[test]
fn a_part_of_a_hierarchy_and_a_cgroup_namespace_are_told_as_such() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path.join("below")).unwrap();
    let mount = tempfile::tempdir().unwrap();
    let part = unified(&format!(
        "mount --bind '/sys/fs/cgroup{}' '{}'; umount /sys/fs/cgroup; {CGTRACE} tree --json 2>&1",
        scratch.cgroup,
        mount.path().display()
    ));
    assert!(
        part.contains(&format!("note: v2 is mounted from {} on: what is around it is not shown", scratch.cgroup)),
        "{part}"
    );
    let json: Vec<&str> = part.lines().filter(|line| line.starts_with('{')).collect();
    let lines = parse(json.join("\n").as_bytes());
    let hierarchy = &lines[0]["hierarchies"][0];
    assert_eq!((&hierarchy["root"], &hierarchy["whole"]), (&scratch.cgroup.as_str().into(), &false.into()));
    assert!(row(&lines, &format!("{}/below", scratch.cgroup)).is_some());
    let namespace = unified(&format!(
        "echo $$ > '/sys/fs/cgroup{}/cgroup.procs'
         unshare --cgroup --mount sh -euc 'umount /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup
         {CGTRACE} tree --json 2>&1'",
        scratch.cgroup
    ));
    assert!(namespace.contains("note: / of v2 is this cgroup namespace's, not the host's"), "{namespace}");
    let json: Vec<&str> = namespace.lines().filter(|line| line.starts_with('{')).collect();
    let lines = parse(json.join("\n").as_bytes());
    assert_eq!((lines.len(), &lines[0]["hierarchies"][0]["whole"]), (3, &false.into()));
    assert!(
        row(&lines, "/").is_some_and(|root| root["processes"].as_u64() > Some(0)) && row(&lines, "/below").is_some()
    );
}

#[test]
fn from_a_cgroup_namespace_paths_are_whole_where_the_root_is_mounted() {
    let name = format!("cgtrace-tree-namespace-{}", std::process::id());
    let printed = unified(&format!(
        "own=/sys/fs/cgroup/{name}; mkdir $own $own/inner $own/beside; echo $$ > $own/inner/cgroup.procs
         unshare --cgroup {CGTRACE} tree --json 2>&1
         echo $$ > /sys/fs/cgroup/cgroup.procs; rmdir $own/inner $own/beside $own"
    ));
    let (said, rows): (Vec<&str>, Vec<&str>) = printed.lines().partition(|line| !line.starts_with('{'));
    let rows = parse(rows.join("\n").as_bytes());
    for cgroup in ["inner", "beside"] {
        assert!(row(&rows, &format!("/{name}/{cgroup}")).is_some(), "{cgroup}: {printed}");
    }
    assert!(!said.iter().any(|line| line.contains("is not shown")), "{said:?}");
}

#[test]
fn a_unit_is_systemds_where_it_runs_and_never_leaked() {
    let scratch = Scratch::new();
    let scope = format!("docker-{}.scope", "c3".repeat(32));
    fs::create_dir(scratch.path.join(&scope)).unwrap();
    let path = format!("{}/{scope}", scratch.cgroup);
    let found = wait_for("the cgroup to be old enough", || {
        let lines = lines(&["--cgroup", &path]);
        row(&lines, &path).filter(|row| kinds(row) == ["leaked-cgroup"])
    });
    assert_eq!((found["unit"].as_str(), &found["populated"]), (None, &false.into()));
    let text = unified(&format!(
        "mount -t tmpfs none /run; mkdir -p /run/systemd/system; {CGTRACE} tree --json --cgroup '{path}'"
    ));
    let lines = parse(text.as_bytes());
    let row = row(&lines, &path).unwrap();
    assert_eq!((&lines[0]["systemd"], &row["unit"]), (&true.into(), &scope.as_str().into()));
    assert!(kinds(&row).is_empty(), "{row}");
}

#[test]
fn a_container_that_docker_keeps_has_its_name_and_is_not_leaked() {
    let scratch = Scratch::new();
    let id = "b7".repeat(32);
    let path = format!("{}/docker/{id}", scratch.cgroup);
    fs::create_dir_all(scratch.path.join("docker").join(&id)).unwrap();
    wait_for("the cgroup to be old enough", || {
        row(&lines(&["--cgroup", &path]), &path).filter(|row| kinds(row) == ["leaked-cgroup"])
    });
    let script = format!(
        "mount -t tmpfs none /var/lib; mkdir -p /var/lib/docker/containers/{id}; cd /var/lib/docker/containers/{id}
         echo '{{\"Name\":\"/web\",\"Config\":{{\"Image\":\"nginx:1\"}}}}' > config.v2.json
         {CGTRACE} tree --json --cgroup '{path}'"
    );
    let kept = parse(unified(&script).as_bytes());
    let row_kept = row(&kept, &path).unwrap();
    let container = &row_kept["container"];
    assert_eq!((&container["name"], &container["image"]), (&"web".into(), &"nginx:1".into()));
    assert!(kinds(&row_kept).is_empty(), "{row_kept}");
    // A monitor that has the container in its arguments keeps it too.
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("conmon");
    fs::copy("/bin/sh", &program).unwrap();
    let monitor = Command::new(&program).args(["-c", "read line", &id]).stdin(Stdio::piped()).spawn().unwrap();
    let _monitor = Sleeper(monitor);
    wait_for("the monitor's name", || row(&lines(&["--cgroup", &path]), &path).filter(|row| kinds(row).is_empty()));
}

#[test]
fn cruns_container_is_known_on_a_pure_cgroup2_mount() {
    let directory = tempfile::tempdir().unwrap();
    Bundle::new(directory.path(), &["/bin/sleep", "300"]).unwrap();
    let id = format!("cgtrace-crun-{}", std::process::id());
    let text = unified(&format!(
        "trap 'crun delete --force {id}' EXIT
         crun run --detach --bundle '{}/bundle' {id} </dev/null >/dev/null 2>&1
         {CGTRACE} tree --json --runtime crun --container {id}",
        directory.path().display()
    ));
    let lines = parse(text.as_bytes());
    let rows = of_type(&lines, "cgroup");
    assert_eq!(rows.len(), 1, "{lines:?}");
    assert_eq!((&rows[0]["container"]["id"], &rows[0]["processes"]), (&id.as_str().into(), &1.into()));
}

#[test]
fn a_removed_cgroup_that_memory_keeps_may_linger() {
    let scratch = Scratch::v1("memory").unwrap_or_else(Scratch::new);
    // v1 has one number for a whole hierarchy, v2 one for each cgroup.
    let path = if scratch.hierarchy == 0 { &scratch.cgroup } else { "/" };
    let dying = || {
        let lines = lines(&[]);
        let is_it = |row: &&Value| row["cgroup"]["path"] == path && row["cgroup"]["hierarchy"] == scratch.hierarchy;
        let row = of_type(&lines, "cgroup").into_iter().find(is_it).unwrap();
        let lingering = row["wrong"].as_array().into_iter().flatten().find(|wrong| wrong["kind"] == "lingering-cgroup");
        lingering.map_or(0, |wrong| wrong["count"].as_u64().unwrap())
    };
    let before = dying();
    let held = scratch.path.join("held");
    fs::create_dir(&held).unwrap();
    // The pages of a tmpfs are charged to whoever writes them first.
    let file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    let script = "echo $$ > \"$0/cgroup.procs\"; dd if=/dev/zero of=\"$1\" bs=64k count=16 status=none";
    let status = Command::new("sh").args(["-c", script]).arg(&held).arg(file.path()).status().unwrap();
    assert!(status.success());
    wait_for("its removal", || fs::remove_dir(&held).ok());
    wait_for("the claim", || (dying() > before).then_some(()));
}

#[test]
fn an_unprivileged_user_sees_the_tree_and_is_told_what_cannot_be_known() {
    let scratch = Scratch::new();
    let container = scratch.path.join("docker").join("d4".repeat(32));
    fs::create_dir_all(&container).unwrap();
    // A directory that anybody may enter, and that has the program.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = directory.path().join("cgtrace");
    fs::copy(CGTRACE, &program).unwrap();
    let pattern = format!("{}*", scratch.cgroup);
    let is_claimed = |lines: &[Value]| of_type(lines, "cgroup").iter().any(|row| kinds(row) == ["leaked-cgroup"]);
    wait_for("root's claim", || is_claimed(&lines(&["--cgroup", &pattern])).then_some(()));
    let mut command = Command::new(&program);
    let done = command.args(["tree", "--json", "--cgroup", &pattern]).uid(65_534).gid(65_534).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(0), "{said}");
    let lines = parse(&done.stdout);
    let row = of_type(&lines, "cgroup").into_iter().find(|row| row["container"].is_object()).unwrap();
    assert_eq!((&row["populated"], &row["processes"]), (&false.into(), &0.into()));
    assert!(kinds(row).is_empty(), "{row}");
    assert_eq!(lines[0]["records_complete"], false);
    assert_eq!(said.matches("so no cgroup is called leaked").count(), 1, "{said}");
    assert!(said.contains("hint: run as root"), "{said}");
}

#[test]
fn filters_depth_names_and_pipes_are_as_elsewhere() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.path.join("docker").join("e5".repeat(32)).join("init")).unwrap();
    fs::create_dir_all(scratch.path.join("a/b/c")).unwrap();
    fs::create_dir(scratch.path.join("evil\u{1b}[2J")).unwrap();
    let paths = |arguments: &[&str]| -> Vec<String> {
        let lines = lines(arguments);
        let rows = of_type(&lines, "cgroup").into_iter().map(|row| row["cgroup"]["path"].as_str().unwrap().to_owned());
        rows.filter_map(|path| path.strip_prefix(&scratch.cgroup).map(str::to_owned)).collect()
    };
    let id = "e5".repeat(32);
    assert_eq!(paths(&["--container", "e5e5"]).len(), 2);
    assert_eq!(paths(&["--container", "e5e5", "--runtime", "runc"]), [""; 0]);
    assert_eq!(
        paths(&["--runtime", "docker", "--container", &id]),
        [format!("/docker/{id}"), format!("/docker/{id}/init")]
    );
    assert_eq!(paths(&["--cgroup", &format!("{}/a*", scratch.cgroup)]), ["/a", "/a/b", "/a/b/c"]);
    let shallow = paths(&["--depth", "2"]);
    assert!(shallow.iter().any(|path| path == "/a") && !shallow.iter().any(|path| path == "/a/b"), "{shallow:?}");
    let text = String::from_utf8(run(&["--cgroup", &format!("{}*", scratch.cgroup)]).stdout).unwrap();
    assert!(text.contains("evil\\x1b[2J") && !text.contains("\u{1b}"), "{text}");
    let nothing = run(&["--container", "no-such-container"]);
    assert_eq!(nothing.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("note: no cgroup is as wanted"));
    let both = run(&["--json", "--format", "text"]);
    assert_eq!((both.status.code(), both.stdout.len()), (Some(2), 0));
    let closed =
        Command::new("sh").args(["-c", "\"$0\" tree --json | true; \"$0\" tree | true", CGTRACE]).output().unwrap();
    assert!(closed.status.success() && !String::from_utf8_lossy(&closed.stderr).contains("error"), "{closed:?}");
}

#[test]
fn no_hierarchy_is_an_error_with_a_hint() {
    let script = format!("mount --make-rprivate /; umount -R /sys/fs/cgroup; exec {CGTRACE} tree");
    let done = Command::new("unshare").args(["--mount", "sh", "-euc", &script]).output().unwrap();
    assert_eq!((done.status.code(), done.stdout.len()), (Some(2), 0));
    assert!(String::from_utf8_lossy(&done.stderr).contains("hint: mount -t cgroup2"));
}

#[test]
fn ten_thousand_cgroups_that_come_and_go_take_bounded_time_and_memory() {
    const CGROUPS: usize = 10_000;
    let scratch = Scratch::new();
    let below = |number: usize| scratch.path.join(format!("{}", number / 100)).join(format!("{number}"));
    for number in 0..CGROUPS {
        fs::create_dir_all(below(number)).unwrap();
    }
    // Some go while they are walked.
    let remover = std::thread::spawn({
        let gone: Vec<_> = (0..CGROUPS / 10).map(below).collect();
        move || gone.iter().for_each(|path| fs::remove_dir(path).unwrap())
    });
    let begun = Instant::now();
    let script = "ulimit -v 400000; exec \"$0\" tree --json --cgroup \"$1\"";
    let pattern = format!("{}/*", scratch.cgroup);
    let done = Command::new("sh").args(["-c", script, CGTRACE, &pattern]).output().unwrap();
    let took = begun.elapsed();
    remover.join().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let lines = parse(&done.stdout);
    let count = of_type(&lines, "cgroup").len();
    assert!((CGROUPS - CGROUPS / 10 + 100..=CGROUPS + 100).contains(&count), "{count}");
    assert!(took < Duration::from_secs(60), "{took:?}");
}

#[test]
fn every_line_is_as_the_published_schema_says() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.path.join("docker").join("f6".repeat(32)).join("below")).unwrap();
    let found = tempfile::NamedTempFile::new().unwrap();
    fs::write(found.path(), run(&["--json"]).stdout).unwrap();
    let wrong = json!([{ "type": "cgroup" }, { "type": "tree" }, { "type": "event" }, {}]);
    let files = [found.path().to_owned()];
    let count = schema::check("tree.schema.json", "tree", &cgtrace::tree::schema(), &files, &wrong);
    assert!(count > 3, "{count}");
}
