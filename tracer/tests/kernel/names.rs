//! Names that strangers chose.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use cgtrace::name::Name;

use crate::support::{Agent, CGTRACE, Scratch, c_path, fork, mkdir, of_type, rmdir};

/// Names that a cgroup can have and an output can break on.
fn evil() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        &b"\x1b]0;title\x07\x1b[2J"[..],
        b"not utf-8 \xff\xfe\xc0\x80",
        b"\"quoted\" \\ {json}",
        b"tab\tand\rreturn",
        "bidi \u{202e}drawkcab".as_bytes(),
        "private \u{ef80}\u{efff}".as_bytes(),
        b" ",
    ]
    .iter()
    .map(|name| name.to_vec())
    .collect();
    names.push(vec![b'x'; 255]);
    names
}

#[test]
fn every_name_reaches_json_without_loss_and_no_terminal_is_moved() {
    let scratch = Scratch::new();
    let agent = Agent::start(&[]);
    for name in evil() {
        let path = scratch.path.join(OsStr::from_bytes(&name));
        let (made, missing) = (c_path(&path), c_path(path.join("missing")));
        let child = fork(|| i32::from(mkdir(&made) != 0 || rmdir(&missing) != libc::ENOENT || rmdir(&made) != 0));
        assert_eq!(child.wait(), 0, "{name:?}");
    }
    // The kernel makes no cgroup with a newline in its name; who tries is told all the same.
    let newline = c_path(scratch.path.join("new\nline"));
    assert_eq!(fork(|| mkdir(&newline)).wait(), libc::EINVAL);
    let last = *evil().iter().map(Vec::len).collect::<Vec<_>>().last().unwrap();
    assert_eq!(last, 255);
    agent.wait_for("the last removal", |line| {
        line["change"] == "removed" && line["cgroup"]["path"].as_str().unwrap().len() > 255
    });
    let lines = agent.finish();
    for name in evil() {
        let full = [scratch.cgroup.as_bytes(), b"/", &name].concat();
        let is_it = |line: &&serde_json::Value| {
            Name::from_json_text(line["cgroup"]["path"].as_str().unwrap_or_default()).as_bytes() == full
        };
        let changes: Vec<&str> =
            of_type(&lines, "event").into_iter().filter(is_it).map(|line| line["change"].as_str().unwrap()).collect();
        assert!(changes.starts_with(&["created", "removed"]), "{name:?}: {changes:?}");
        let missing = [&full[..], b"/missing"].concat();
        let attempted = of_type(&lines, "attempt").into_iter().any(|line| {
            Name::from_json_text(line["cgroup"]["path"].as_str().unwrap_or_default()).as_bytes() == missing
        });
        assert!(attempted, "{name:?}");
    }

    let newline = format!("{}/new\nline", scratch.cgroup);
    let is_newline = |line: &&serde_json::Value| line["cgroup"]["path"] == newline.as_str();
    assert_eq!(of_type(&lines, "attempt").into_iter().find(is_newline).unwrap()["errno"], "EINVAL");

    // The same as text.
    let mut script = "mkdir \"$0\"\n".to_owned();
    for number in 0..evil().len() {
        script.push_str(&format!("mkdir \"${{{0}}}\"; rmdir \"${{{0}}}/missing\"; rmdir \"${{{0}}}\"\n", number + 1));
    }
    let paths: Vec<_> = evil().iter().map(|name| scratch.path.join(OsStr::from_bytes(name)).into_os_string()).collect();
    let done = Command::new(CGTRACE)
        .args(["live", "--benign", "--", "sh", "-c", &script])
        .arg(scratch.path.join("new\nline"))
        .args(paths)
        .output()
        .unwrap();
    let text = String::from_utf8(done.stdout).expect("text is UTF-8");
    assert!(text.lines().count() >= 3 * evil().len());
    let wrong: Vec<char> = text.chars().filter(|c| c.is_control() && *c != '\n' || *c == '\u{202e}').collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_comm_with_quotes_is_told_as_it_is() {
    let scratch = Scratch::new();
    let agent = Agent::start(&[]);
    let path = c_path(scratch.path.join("missing"));
    let child = fork(|| {
        // SAFETY: the name ends in a zero.
        unsafe { libc::prctl(libc::PR_SET_NAME, c"\"a' \\\x1b\xff".as_ptr()) };
        i32::from(rmdir(&path) != libc::ENOENT)
    });
    let pid = child.0 as u32;
    assert_eq!(child.wait(), 0);
    let line = agent.wait_for("the attempt", |line| line["type"] == "attempt" && line["actor"]["pid"] == pid);
    assert_eq!(Name::from_json_text(line["actor"]["comm"].as_str().unwrap()).as_bytes(), b"\"a' \\\x1b\xff");
    agent.finish();
}
