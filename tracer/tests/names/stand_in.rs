//! Shells that are called like runtimes: their command line is a runtime's, and what they do is written in a script of the
//! subcommand's name.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::{Agent, Scratch, of_type};
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

/// How long an agent under load may need to look at a process that has begun.
const LONG_ENOUGH: &str = "sleep 0.5";

#[test]
fn the_state_is_looked_for_where_the_process_itself_keeps_it() {
    let directory = stand_in(&[("delete", &format!("{LONG_ENOUGH}; exit 1"))]);
    let xdg = directory.path().join("xdg");
    write(&xdg.join("crun/root-has-it/status"));
    write(&xdg.join("runc/user-has-it/state.json"));
    let agent = Agent::start(&[]);
    let environment = [("XDG_RUNTIME_DIR", xdg.to_str().unwrap())];
    let runs = [
        ("./crun delete root-has-it", "root-has-it", "crun/root-has-it/status", true),
        (
            "setpriv --reuid=65534 --clear-groups ./runc delete user-has-it",
            "user-has-it",
            "runc/user-has-it/state.json",
            true,
        ),
        (
            "setpriv --reuid=65534 --clear-groups ./runc delete user-has-not",
            "user-has-not",
            "runc/user-has-not/state.json",
            false,
        ),
    ];
    for (run, ..) in runs {
        shell(&format!("{run} || true"), directory.path(), &environment);
    }
    // Root's runc does not look at the variable.
    shell("./runc delete user-has-it || true", directory.path(), &environment);
    agent.wait_for("the last state", |line| {
        line["about"] == "state" && line["path"] == "/run/runc/user-has-it/state.json"
    });
    let lines = agent.finish();
    for (run, id, path, present) in runs {
        let first = facts(&lines, "state", id)[0];
        assert_eq!(
            (&first["path"], &first["present"]),
            (&xdg.join(path).to_str().unwrap().into(), &present.into()),
            "{run}"
        );
        let exit =
            of_type(&lines, "process").into_iter().find(|line| line["pid"] == first["pid"] && line["change"] == "exit");
        assert_eq!(exit.unwrap()["at"], first["at"], "the fact is of that very end");
    }
    assert_eq!(facts(&lines, "state", "user-has-it")[1]["present"], false);
}

#[test]
fn a_failed_start_is_looked_after_and_what_is_kept_or_anothers_is_not() {
    let leaves = format!("{LONG_ENOUGH}; mkdir -p \"$state/$1\"; echo > \"$state/$1/status\"; exit \"$how\"");
    let directory = stand_in(&[("create", &leaves), ("run", &leaves.replace("$1", "${2:-$1}"))]);
    let state = directory.path().join("xdg/crun");
    write(&state.join("anothers/status"));
    let agent = Agent::start(&[]);
    let xdg = directory.path().join("xdg");
    let environment = [("XDG_RUNTIME_DIR", xdg.to_str().unwrap()), ("state", state.to_str().unwrap())];
    for run in [
        "how=1 ./crun create anothers",
        "how=1 ./crun run --keep kept",
        "how=0 ./crun create succeeded",
        "how=1 ./crun create failed",
    ] {
        shell(&format!("{run} || true"), directory.path(), &environment);
    }
    agent.wait_for("the state of the last", |line| line["about"] == "state" && line["id"] == "failed");
    let lines = agent.finish();
    assert_eq!(facts(&lines, "state", "failed")[0]["present"], true);
    for id in ["anothers", "kept", "succeeded"] {
        assert_eq!(facts(&lines, "state", id), Vec::<&serde_json::Value>::new(), "{id}");
    }
}

#[test]
fn links_of_a_runtimes_root_are_followed_within_it() {
    let script = format!("{LONG_ENOUGH}; exit 1");
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
    // The host has a bundle by that name too, and no state.
    let outside = directory.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    symlink(format!("/../../../../../../..{}", outside.display()), jail.join("run/escape")).unwrap();
    let config = |path: &str| format!("{{\"linux\":{{\"cgroupsPath\":\"{path}\"}}}}");
    std::fs::write(outside.join("config.json"), config("/outside")).unwrap();
    std::fs::write(jail.join("run/bundle/config.json"), config("/inside")).unwrap();
    std::fs::write(jail.join("run/crun/jailed/status"), "{}").unwrap();
    for subcommand in ["delete", "create"] {
        std::fs::write(jail.join("work").join(subcommand), &script).unwrap();
    }
    let agent = Agent::start(&[]);
    let within = "cd /work; export XDG_RUNTIME_DIR=/var/run
        ./crun delete jailed || true
        ./crun create --bundle /var/run/bundle bundled || true
        ./crun create --bundle ../var/run/bundle related || true
        ./crun create --bundle /var/run/escape escaped || true
        sleep 1";
    let script = format!(
        "mount --rbind /usr '{0}/usr'; mount --rbind /proc '{0}/proc'; chroot '{0}' /bin/sh -c \"$within\"",
        jail.display()
    );
    shell(
        "unshare --mount --propagation private sh -euc \"$script\"",
        directory.path(),
        &[("script", &script), ("within", within)],
    );
    agent.wait_for("the last bundle", |line| line["about"] == "unread" && line["id"] == "escaped");
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
    let directory =
        stand_in(&[("run", &format!("{LONG_ENOUGH}; {run}")), ("delete", &format!("{LONG_ENOUGH}; {delete}"))]);
    let agent = Agent::start(&[]);
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
