//! The configuration file, the environment, and the command line.

use std::fs;
use std::process::Command;

use crate::agent::refused;
use crate::support::CGTRACE;

/// What `--check-config` says of a file: whether it is right, and all that was printed.
fn check(file: &str, environment: &[(&str, &str)], arguments: &[&str]) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cgtrace.toml");
    fs::write(&path, file).unwrap();
    let done = Command::new(CGTRACE)
        .args(["serve", "--check-config", "--config"])
        .arg(&path)
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    (done.status.success(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let file = "listen = [\"127.0.0.1:1\", \"unix:/a\"]\nrecord = \"/r\"\nkeep = 3\n\
                rotate-size = \"64M\"\nrotate-every = \"90m\"\n";
    let (right, said) = check(file, &[], &[]);
    assert!(right, "{said}");
    for part in ["listen = [\"127.0.0.1:1\", \"unix:/a\"]", "keep = 3", "rotate-size = 67108864", "bpf-stats = false"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    // What is printed is a configuration that says the same.
    assert_eq!(check(&said, &[], &[]), (true, said.clone()));
    let (_, said) = check(file, &[("CGTRACE_KEEP", "4"), ("CGTRACE_LISTEN", "127.0.0.1:2")], &[]);
    assert!(said.contains("keep = 4") && said.contains("listen = [\"127.0.0.1:2\"]"), "{said}");
    let (_, said) = check(file, &[("CGTRACE_KEEP", "4")], &["--keep", "5", "--listen", "127.0.0.1:3"]);
    assert!(said.contains("keep = 5") && said.contains("listen = [\"127.0.0.1:3\"]"), "{said}");
    let (_, said) = check("", &[("CGTRACE_BPF_STATS", "yes")], &[]);
    assert!(said.contains("bpf-stats = true"), "{said}");
}

#[test]
fn what_is_wrong_is_said_with_the_file_the_key_and_the_nearest_one() {
    let wrong = |file: &str, wanted: &str| {
        let (right, said) = check(file, &[], &[]);
        assert!(!right && said.starts_with("error: /") && said.contains("cgtrace.toml: "), "{said}");
        assert!(said.contains(wanted) && !said.contains("panicked"), "{wanted:?} is not in {said}");
    };
    wrong("lisen = []", "unknown key \"lisen\"\nhint: the nearest key is \"listen\"");
    wrong("rotate_size = \"1M\"", "hint: the nearest key is \"rotate-size\"");
    wrong("listen = \"nowhere\"", "listen: invalid value 'nowhere'");
    wrong("record = \"/r\"\nrotate-size = \"big\"", "rotate-size: invalid value 'big'");
    wrong("keep = -1\nrecord = \"/r\"", "keep: invalid value '-1'");
    wrong("flight-on = [\"everything\"]", "flight-on: invalid value 'everything'");
    wrong("listen = [", "TOML parse error");
    let (right, said) = check("rotate-size = \"1M\"", &[], &[]);
    assert!(!right && said.contains("--record"), "what it needs besides: {said}");
    let missing = refused(&["--config", "/no/such/file.toml"]);
    assert!(missing.starts_with("error: /no/such/file.toml: No such file"), "{missing}");
}

#[test]
fn the_example_is_right_as_it_is_and_with_every_key() {
    let example = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd/cgtrace.toml")).unwrap();
    let (right, said) = check(&example, &[], &[]);
    assert!(right, "{said}");
    let mut keys: Vec<(&str, &str)> = Vec::new();
    for line in example.lines().filter_map(|line| line.strip_prefix('#')).filter(|line| !line.starts_with(' ')) {
        if let Some((key, value)) = line.split_once(" = ") {
            keys.retain(|(known, _)| *known != key);
            keys.push((key, value));
        }
    }
    // A flight recorder does not rotate.
    for without in [&["flight", "flight-on"][..], &["rotate-size", "rotate-every"]] {
        let file: String = keys
            .iter()
            .filter(|(key, _)| !without.contains(key))
            .map(|(key, value)| format!("{key} = {value}\n"))
            .collect();
        let (right, said) = check(&file, &[], &[]);
        assert!(right, "{file}{said}");
    }
    let definition = cgtrace::cli::definition();
    let serve = definition.find_subcommand("serve").unwrap();
    for flag in serve.get_arguments().filter_map(clap::Arg::get_long) {
        let is_key = !["config", "check-config", "help"].contains(&flag);
        assert_eq!(keys.iter().any(|(key, _)| *key == flag), is_key, "{flag}");
    }
}
