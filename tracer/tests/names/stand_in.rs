//! Shells that are called like runtimes: their command line is a runtime's, and what they do is written in a script of
//! the subcommand's name.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::agent::Serving;
use crate::support::{Agent, Scratch, of_type, parse};
use crate::{directory, facts, made, shell};

/// A directory with the programs `runc` and `crun`, and a script for a subcommand.
fn stand_in(scripts: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = directory();
    for program in ["runc", "crun"] {
        symlink("/bin/sh", directory.path().join(program)).unwrap();
    }
    for (subcommand, script) in scripts {
        std::fs::write(directory.path().join(subcommand), script).unwrap();
    }
    directory
}

fn write(path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "{}").unwrap();
}

/// What each script begins with: it waits until the test lets the container pass that its command line ends in.
const GATE: &str = "eval \"last=\\${$#}\"; until test -e \"gate-$last\"; do sleep 0.02; done\n";

/// Lets containers pass, one after the other, once the agent has looked at the process that waits there.
fn let_pass(agent: &Agent, directory: &Path, ids: &[&str]) {
    for id in ids {
        agent.wait_for_text(&format!("\"{id}\"]"));
        std::fs::write(directory.join(format!("gate-{id}")), "").unwrap();
    }
}

/// Runs a script, and lets containers pass meanwhile.
fn run(agent: &Agent, script: &str, directory: &Path, environment: &[(&str, &str)], gates: &Path, ids: &[&str]) {
    std::thread::scope(|scope| {
        scope.spawn(|| shell(script, directory, environment));
        let_pass(agent, gates, ids);
    });
}

#[test]
fn the_state_is_looked_for_where_the_process_itself_keeps_it() {
    let directory = stand_in(&[("delete", &format!("{GATE}exit 1"))]);
    let xdg = directory.path().join("xdg");
    write(&xdg.join("crun/root-has-it/status"));
    write(&xdg.join("runc/user-has-it/state.json"));
    write(&xdg.join("runc/root-looks-elsewhere/state.json"));
    let agent = Agent::start(&[]);
    let place = |below: &str| xdg.join(below).to_str().unwrap().to_owned();
    let user = "setpriv --reuid=65534 --clear-groups";
    let namespace = "unshare --user --map-root-user";
    write(&xdg.join("runc/mapped-has-it/state.json"));
    write(&xdg.join("runc/mapped-root-looks-elsewhere/state.json"));
    let runs = [
        ("./crun".to_owned(), "root-has-it", place("crun/root-has-it/status"), true),
        (format!("{user} ./runc"), "user-has-it", place("runc/user-has-it/state.json"), true),
        (format!("{user} ./runc"), "user-has-not", place("runc/user-has-not/state.json"), false),
        // As rootless BuildKit has it: root in a user namespace, and somebody else by name.
        (format!("USER=me {namespace} ./runc"), "mapped-has-it", place("runc/mapped-has-it/state.json"), true),
        (
            format!("USER=root {namespace} ./runc"),
            "mapped-root-looks-elsewhere",
            "/run/runc/mapped-root-looks-elsewhere/state.json".to_owned(),
            false,
        ),
        // Root's runc does not look at the variable.
        ("./runc".to_owned(), "root-looks-elsewhere", "/run/runc/root-looks-elsewhere/state.json".to_owned(), false),
    ];
    let script: Vec<String> = runs.iter().map(|(program, id, ..)| format!("{program} delete {id} || true")).collect();
    let ids: Vec<&str> = runs.iter().map(|(_, id, ..)| *id).collect();
    let environment = [("XDG_RUNTIME_DIR", xdg.to_str().unwrap())];
    run(&agent, &script.join("\n"), directory.path(), &environment, directory.path(), &ids);
    agent.wait_for_text("\"about\":\"state\",\"id\":\"root-looks-elsewhere\"");
    let lines = agent.finish();
    for (run, id, path, present) in runs {
        let [fact] = facts(&lines, "state", id)[..] else { panic!("one for {id}") };
        assert_eq!((&fact["path"], &fact["present"]), (&path.into(), &present.into()), "{run}");
        let is_end = |line: &&serde_json::Value| line["pid"] == fact["pid"] && line["change"] == "exit";
        let end = of_type(&lines, "process").into_iter().find(is_end);
        assert_eq!(end.unwrap()["at"], fact["at"], "the fact is of that very end");
    }
}

#[test]
fn a_failed_start_is_looked_after_and_what_is_kept_or_anothers_is_not() {
    let leaves = format!("{GATE}mkdir -p \"$state/$last\"; echo > \"$state/$last/status\"; exit \"$how\"");
    let directory = stand_in(&[("create", &leaves), ("run", &leaves)]);
    let state = directory.path().join("xdg/crun");
    write(&state.join("anothers/status"));
    let agent = Agent::start(&[]);
    let xdg = directory.path().join("xdg");
    let environment = [("XDG_RUNTIME_DIR", xdg.to_str().unwrap()), ("state", state.to_str().unwrap())];
    let script = "how=1 ./crun create anothers || true
        how=1 ./crun run --keep kept || true
        how=0 ./crun create succeeded
        how=1 ./crun create failed || true";
    let ids = ["anothers", "kept", "succeeded", "failed"];
    run(&agent, script, directory.path(), &environment, directory.path(), &ids);
    agent.wait_for_text("\"about\":\"state\",\"id\":\"failed\"");
    let lines = agent.finish();
    assert_eq!(facts(&lines, "state", "failed")[0]["present"], true);
    for id in ["anothers", "kept", "succeeded"] {
        assert_eq!(facts(&lines, "state", id), Vec::<&serde_json::Value>::new(), "{id}");
    }
}

#[test]
fn links_of_a_runtimes_root_are_followed_within_it() {
    let directory = stand_in(&[]);
    let jail = directory.path().join("jail");
    for place in ["var", "usr", "proc", "work", "run/crun/jailed", "run/bundle"] {
        std::fs::create_dir_all(jail.join(place)).unwrap();
    }
    for place in ["bin", "lib", "lib64"] {
        symlink(format!("usr/{place}"), jail.join(place)).unwrap();
    }
    symlink("/run", jail.join("var/run")).unwrap();
    symlink("/bin/sh", jail.join("work/crun")).unwrap();
    let outside = directory.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    symlink(format!("/../../../../../../..{}", outside.display()), jail.join("run/escape")).unwrap();
    let config = |path: &str| format!("{{\"linux\":{{\"cgroupsPath\":\"{path}\"}}}}");
    std::fs::write(outside.join("config.json"), config("/outside")).unwrap();
    std::fs::write(jail.join("run/bundle/config.json"), config("/inside")).unwrap();
    std::fs::write(jail.join("run/crun/jailed/status"), "{}").unwrap();
    for subcommand in ["delete", "create"] {
        std::fs::write(jail.join("work").join(subcommand), format!("{GATE}exit 1")).unwrap();
    }
    let agent = Agent::start(&[]);
    // The shell outlives what it runs: what that left can be looked for as it saw it.
    let within = "cd /work; export XDG_RUNTIME_DIR=/var/run
        ./crun create --bundle /var/run/bundle bundled || true
        ./crun create --bundle ../var/run/bundle related || true
        ./crun create --bundle /var/run/escape escaped || true
        ./crun delete jailed || true
        until test -e gate-end; do sleep 0.02; done";
    let script = format!(
        "mount --rbind /usr '{0}/usr'; mount --rbind /proc '{0}/proc'; chroot '{0}' /bin/sh -c \"$within\"",
        jail.display()
    );
    let environment = [("script", script.as_str()), ("within", within)];
    let private = "unshare --mount --propagation private sh -euc \"$script\"";
    let gates = jail.join("work");
    std::thread::scope(|scope| {
        scope.spawn(|| shell(private, directory.path(), &environment));
        let_pass(&agent, &gates, &["bundled", "related", "escaped", "jailed"]);
        agent.wait_for_text("\"about\":\"state\",\"id\":\"jailed\"");
        std::fs::write(gates.join("gate-end"), "").unwrap();
    });
    let lines = agent.finish();
    let state = facts(&lines, "state", "jailed");
    assert_eq!((&state[0]["path"], &state[0]["present"]), (&"/var/run/crun/jailed/status".into(), &true.into()));
    for id in ["bundled", "related"] {
        assert_eq!(facts(&lines, "container", id)[0]["cgroups_path"], "/inside", "{id}");
    }
    assert!(facts(&lines, "container", "escaped").is_empty(), "nothing outside is read");
    assert_eq!(facts(&lines, "unread", "escaped")[0]["reason"], "not-readable");
}

#[test]
fn a_container_within_another_is_told_as_itself() {
    let scratch = Scratch::new();
    let outer = "a1b2c3d4".repeat(8);
    let inner = scratch.path.join("docker").join(&outer).join("web-1");
    let (run, delete) =
        (format!("mkdir -p {0}/init; rmdir {0}/init", inner.display()), format!("rmdir {}", inner.display()));
    let directory = stand_in(&[("run", &run), ("delete", &delete)]);
    let agent = Agent::start(&["--benign", "--cgroup", &format!("{}/*", scratch.cgroup)]);
    shell("./runc run web-1; ./runc delete web-1; ! ./runc delete web-1", directory.path(), &[]);
    let is_told = |line: &serde_json::Value| line["type"] == "finding" && line["container"]["id"] == "web-1";
    let finding = agent.wait_for("the finding", is_told);
    assert_eq!(finding["kind"], "duplicate-teardown");
    let lines = agent.finish();
    assert_eq!(made(&lines, &outer)[0]["chain"], serde_json::json!([outer]));
    for path in ["/web-1", "/web-1/init"] {
        let container = made(&lines, &format!("{outer}{path}"))[0];
        assert_eq!(container["chain"], serde_json::json!([outer, "web-1"]), "{path}");
        assert_eq!(container["runtime"], "runc");
    }
    let told = of_type(&lines, "finding").into_iter().filter(|line| line["container"]["id"] == outer.as_str()).count();
    assert_eq!(told, 0, "nobody tore the container around it down");
}

#[test]
fn the_confined_agent_reads_the_same() {
    let directory = stand_in(&[("create", "sleep 2; exit 1")]);
    let (traces, bundle) = (directory.path().join("traces"), directory.path().join("bundle"));
    std::fs::create_dir_all(&traces).unwrap();
    std::fs::create_dir_all(&bundle).unwrap();
    std::fs::write(bundle.join("config.json"), "{\"linux\":{\"cgroupsPath\":\"/confined\"}}").unwrap();
    symlink(&bundle, directory.path().join("link")).unwrap();
    let serving = Serving::start(&["--record", traces.to_str().unwrap()]);
    let xdg = directory.path().join("xdg");
    shell(
        "./crun create --bundle \"$PWD/link\" web || true",
        directory.path(),
        &[("XDG_RUNTIME_DIR", xdg.to_str().unwrap())],
    );
    serving.end();
    let trace = std::fs::read_dir(&traces).unwrap().next().unwrap().unwrap().path();
    let text = Command::new("zstd").arg("-dcq").arg(trace).output().unwrap();
    let lines = parse(&text.stdout);
    assert_eq!(facts(&lines, "container", "web")[0]["cgroups_path"], "/confined");
    assert_eq!(facts(&lines, "state", "web")[0]["path"], xdg.join("crun/web/status").to_str().unwrap());
}
