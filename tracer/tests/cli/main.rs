//! The program as its users meet it: help, exit status, messages, pipes. As root, on the real kernel.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use support::{Agent, CGTRACE, Scratch, c_path, fork, of_type, parse, rmdir, signal, traced, wait_for, write};

fn run(arguments: &[&str]) -> Output {
    Command::new(CGTRACE).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// An error: status 2, nothing on stdout, one message that says `wanted`, no backtrace.
fn check_error(output: &Output, wanted: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(output.stdout.is_empty(), "{}", stdout(output));
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted:?} is not in {text:?}");
    }
    assert!(!text.contains("panicked") && !text.contains("backtrace"), "{text}");
}

#[test]
fn help_names_every_command_and_option() {
    let help = stdout(&run(&["--help"]));
    for command in ["live", "tree", "doctor", "explain", "demo"] {
        assert!(help.contains(command), "{help}");
    }
    let help = stdout(&run(&["live", "--help"]));
    for option in [
        "--json",
        "--duration",
        "--only",
        "--container",
        "--cgroup",
        "--runtime",
        "--fail-on",
        "--backend",
        "--output",
        "CMD",
    ] {
        assert!(help.contains(option), "{help}");
    }
    assert!(stdout(&run(&["--version"])).starts_with("cgtrace "));
}

#[test]
fn what_is_mistyped_is_told_with_the_nearest_valid_one() {
    check_error(&run(&["live", "--jsn"]), &["unexpected argument '--jsn'", "--json"]);
    check_error(&run(&["live", "--fail-on", "duplicate-teardwn"]), &["invalid value", "duplicate-teardown"]);
    check_error(&run(&["live", "--only", "atempts"]), &["invalid value", "attempts"]);
    check_error(&run(&["live", "--runtime", "runcc"]), &["invalid value", "runc"]);
    check_error(&run(&["demo", "mising-path"]), &["invalid value", "missing-path"]);
    check_error(&run(&["explain", "duplicate-teardow"]), &["invalid value", "duplicate-teardown"]);
    check_error(&run(&["lve"]), &["unrecognized subcommand", "live"]);
    check_error(&run(&["live", "--duration", "5"]), &["a time above zero with its unit, such as 30s"]);
    check_error(&run(&["live", "--cgroup", "a[", "--", "true"]), &["failed to read the pattern \"a[\""]);
}

#[test]
fn json_is_asked_for_in_the_same_two_ways_everywhere() {
    let trace = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/race.jsonl");
    let print = |arguments: &[&str]| {
        let done = run(arguments);
        assert!(done.status.success(), "{}", stderr(&done));
        stdout(&done)
    };
    let report = print(&["report", "--json", trace]);
    assert!(report.starts_with("{\"type\":\"header\""), "{report}");
    assert_eq!(print(&["report", "--format", "json", trace]), report);
    assert_eq!(print(&["report", "--json", "--format", "json", trace]), report);
    assert_eq!(print(&["report", "--format", "text", trace]), print(&["report", trace]));
    let exported = print(&["export", "--to", "jsonl", "-o", "-", trace]);
    assert_eq!(print(&["export", "--format", "jsonl", "-o", "-", trace]), exported);
    for command in [&["live", "--duration", "50ms"][..], &["doctor"], &["demo", "duplicate"]] {
        let printed = print(&[command, &["--format", "json"]].concat());
        assert!(parse(printed.as_bytes())[0].is_object());
    }
    for command in ["live", "report", "doctor", "demo"] {
        let arguments = [command, "--json", "--format", "text", "x"];
        let wanted = "error: --json and --format text cannot be used together\nhint: use one of them\n";
        check_error(&run(&arguments[..if command == "report" { 5 } else { 4 }]), &[wanted]);
    }
}

#[test]
fn explain_tells_every_kind() {
    let brief = stdout(&run(&["explain"]));
    for kind in cgtrace::findings::Kind::ALL {
        assert!(brief.contains(kind.as_str()));
        let whole = run(&["explain", kind.as_str()]);
        assert!(whole.status.success());
        let whole = stdout(&whole);
        for part in ["evidence", "causes", "severity", "confirm by hand", "known false positives", "what to do"] {
            assert!(whole.contains(part), "{whole}");
        }
    }
    assert_eq!(stdout(&run(&["explain", "--markdown"])), cgtrace::explain::markdown());
}

#[test]
fn doctor_finds_every_probe_on_this_host() {
    let report = run(&["doctor", "--json"]);
    assert!(report.status.success(), "{}", stdout(&report));
    let report = &parse(&report.stdout)[0];
    assert_eq!(report["can_trace"], true);
    let probes = report["probes"].as_array().unwrap();
    assert!(probes.len() > 10 && probes.iter().all(|probe| probe["attached"] == true), "{probes:#?}");
    let (lines, _) = traced(&[], &["true"]);
    for kept in ["rmdir_class", "not_watched"] {
        assert_eq!(report.get(kept), lines[0].get(kept), "what is said is what a trace keeps");
    }
    assert!(!report["not_watched"].as_array().unwrap().is_empty(), "no backend looks at everything");
    let text = stdout(&run(&["doctor"]));
    let class = report.get("rmdir_class").map_or("unknown", |class| class.as_str().unwrap());
    assert!(text.contains(&format!("rmdir class          {class}: ")), "{text}");
    assert!(text.contains("this host can be traced") && text.contains("cgroup_rmdir"), "{text}");
    assert!(!text.contains('\u{1b}'), "colour is for terminals");
}

#[test]
fn the_status_of_a_command_is_passed_on_and_its_stdout_is_kept_from_the_results() {
    let (lines, done) = traced(&[], &["sh", "-c", "echo hello; exit 7"]);
    assert_eq!(done.status.code(), Some(7));
    assert_eq!(lines[0]["type"], "header");
    assert!(lines[0]["command"].is_u64());
    assert_eq!(lines.last().unwrap()["type"], "end");
    assert!(stderr(&done).contains("hello"));

    let (_, done) = traced(&[], &["sh", "-c", "kill -TERM $$"]);
    assert_eq!(done.status.code(), Some(128 + 15));

    let directory = tempfile::tempdir().unwrap();
    let results = directory.path().join("results");
    let done = run(&["live", "--json", "-o", results.to_str().unwrap(), "--", "echo", "hello"]);
    assert_eq!(stdout(&done), "hello\n", "with -o a command keeps its stdout");
    assert_eq!(parse(&fs::read(results).unwrap()).last().unwrap()["type"], "end");

    check_error(&run(&["live", "--", "/no/such/program"]), &["failed to run /no/such/program: No such file"]);
}

/// `rmdir` by the name of a program whose job it is to tear containers down: its failure is one.
fn destroyer(directory: &tempfile::TempDir) -> String {
    let program = directory.path().join("lxc-destroy");
    std::os::unix::fs::symlink("/bin/rmdir", &program).unwrap();
    program.display().to_string()
}

#[test]
fn a_fault_that_turned_out_to_be_none_fails_nothing() {
    let trace = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/denied.jsonl");
    let told = run(&["report", "--format", "json", "--fail-on", "fault", trace]);
    let said = String::from_utf8(told.stdout).unwrap();
    let with =
        |severity: &str| said.lines().filter(|line| line.contains(&format!("\"severity\":\"{severity}\""))).count();
    assert!(with("fault") > 0 && with("benign") > 0, "{said}");
    assert_eq!(told.status.code(), Some(0));
}

#[test]
fn a_finding_can_fail_a_job() {
    let scratch = Scratch::new();
    let directory = tempfile::tempdir().unwrap();
    let glob = format!("{}/*", scratch.cgroup);
    let fails = |program: &str, fail_on: &str| {
        let script = format!("{program} {}/never; exit 0", scratch.path.display());
        traced(&["--cgroup", &glob, "--fail-on", fail_on], &["sh", "-c", &script]).1.status.code()
    };
    let destroyer = destroyer(&directory);
    assert_eq!(fails(&destroyer, "missing-path-teardown"), Some(1));
    assert_eq!(fails(&destroyer, "fault,missing-path-teardown"), Some(1));
    assert_eq!(fails(&destroyer, "fault"), Some(1));
    assert_eq!(fails(&destroyer, "duplicate-teardown"), Some(0));
    assert_eq!(fails("rmdir", "fault"), Some(0), "it wants it to be gone, and it is");
}

#[test]
fn filters_leave_only_what_was_asked_for() {
    let scratch = Scratch::new();
    let glob = format!("{}/*", scratch.cgroup);
    let directory = tempfile::tempdir().unwrap();
    let script = format!("mkdir {0}/a; rmdir {0}/a; {1} {0}/a; true", scratch.path.display(), destroyer(&directory));
    let only = |class: &str| {
        let (lines, _) = traced(&["--cgroup", &glob, "--only", class], &["sh", "-c", &script]);
        lines.iter().map(|line| line["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(only("attempts"), ["header", "attempt", "end"]);
    assert_eq!(only("lifecycle"), ["header", "event", "event", "event", "end"]);
    assert_eq!(only("findings"), ["header", "finding", "end"]);
    assert_eq!(only("findings,attempts"), ["header", "attempt", "finding", "end"]);
    let (lines, _) = traced(&["--cgroup", &glob, "--runtime", "runc"], &["sh", "-c", &script]);
    assert!(of_type(&lines, "event").is_empty());
}

#[test]
fn a_teardown_of_what_is_gone_reads_as_a_sentence() {
    let scratch = Scratch::new();
    let glob = format!("{}*", scratch.cgroup);
    let directory = tempfile::tempdir().unwrap();
    let script = format!("mkdir {0}/a; rmdir {0}/a; {1} {0}/a", scratch.path.display(), destroyer(&directory));
    let text = stdout(&run(&["live", "--cgroup", &glob, "--", "sh", "-c", &script]));
    let squeezed = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let sentence = format!("tried to tear down cgroup {}/a, which had already been removed by rmdir[", scratch.cgroup);
    assert!(squeezed.contains(&sentence), "{text}");
    assert!(squeezed.contains("FAULT duplicate-teardown, removed-by-other"), "{text}");
    assert!(squeezed.contains("earlier; it exited 1"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 140), "{text}");
    assert!(!text.contains('\u{1b}'), "colour is for terminals");
}

/// Lines of text about the cgroup `NAME` of the script, and how many each stands for.
fn lines_about<'a>(text: &'a str, name: &str) -> Vec<(usize, &'a str)> {
    let count =
        |line: &str| line.split_once("v1×").map_or(1, |(_, rest)| rest.split(' ').next().unwrap().parse().unwrap());
    text.lines().filter(|line| line.contains(name)).map(|line| (count(line), line)).collect()
}

#[test]
fn what_happens_in_every_v1_hierarchy_is_one_line_and_wide_tells_all() {
    let (_, hierarchies) = cgtrace::cgroupfs::hierarchies().unwrap();
    let mounts: Vec<String> =
        hierarchies.iter().filter(|h| h.version == 1).filter_map(|h| Some(h.mount.as_ref()?.to_string())).collect();
    let id = format!("{:064x}", u64::from(std::process::id()) << 40);
    let traced = |wide: &[&str], name: &str| {
        // One process makes and removes them all, as a runtime does.
        let each = |call: &str| mounts.iter().map(|mount| format!("{call} '{mount}/{name}';")).collect::<String>();
        let perl = format!("{}{}", each("mkdir"), each("rmdir"));
        let glob = format!("/{name}");
        let arguments = [&["live", "--cgroup", &glob][..], wide, &["--", "perl", "-e", &perl]].concat();
        stdout(&run(&arguments))
    };
    let wide = traced(&["--wide"], &id);
    let wide = lines_about(&wide, &id);
    let of = |lines: &[(usize, &str)], word: &str| -> Vec<usize> {
        lines.iter().filter(|(_, line)| line.contains(word)).map(|(count, _)| *count).collect()
    };
    assert_eq!(of(&wide, " created "), vec![1; mounts.len()], "{wide:#?}");
    let folded = traced(&[], &id);
    assert!(!folded.contains(&id), "{folded}");
    let folded = lines_about(&folded, &format!("/{}…", &id[..12]));
    for word in [" created ", " removed "] {
        assert_eq!(of(&folded, word).iter().sum::<usize>(), mounts.len(), "{folded:#?}");
        assert!(mounts.len() < 2 || of(&folded, word).len() < mounts.len(), "{folded:#?}");
    }
}

#[test]
fn a_report_tells_lives_in_v1_hierarchies_once_unless_it_is_wide() {
    let trace = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/runc-v1.jsonl");
    let report = |wide: &[&str]| stdout(&run(&[&["report", "--lives", trace][..], wide].concat()));
    let (folded, wide) = (report(&[]), report(&["--wide"]));
    assert!(folded.contains(" (v1×") && folded.lines().count() * 2 < wide.lines().count(), "{folded}");
    assert!(!wide.contains("v1×") && wide.contains(" (memory)") && wide.contains(" (pids)"), "{wide}");
}

/// How long tracing goes on after the command's end, while a stranger's cgroup is dying.
fn goes_on_beside_a_dying_cgroup() -> Duration {
    let scratch = Scratch::new();
    let directory = tempfile::tempdir().unwrap();
    let (go, done) = (directory.path().join("go"), directory.path().join("done"));
    let script = format!("until [ -e {} ]; do sleep 0.02; done; touch {}", go.display(), done.display());
    let mut tracing = Command::new(CGTRACE)
        .args(["live", "--json", "--", "sh", "-c", &script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    BufReader::new(tracing.stderr.take().unwrap()).read_line(&mut String::new()).unwrap();
    // A process that ended and was not waited for keeps its cgroup from being released.
    let cgroup = scratch.path.join("pinned");
    fs::create_dir(&cgroup).unwrap();
    let processes = c_path(cgroup.join("cgroup.procs"));
    let zombie = fork(|| write(&processes, b"0"));
    let is_zombie = || fs::read_to_string(format!("/proc/{}/stat", zombie.0)).unwrap().contains(") Z ");
    wait_for("its end", || is_zombie().then_some(()));
    fs::remove_dir(&cgroup).unwrap();
    fs::write(&go, "").unwrap();
    let output = tracing.wait_with_output().unwrap();
    let after = fs::metadata(&done).unwrap().modified().unwrap().elapsed().unwrap();
    assert_eq!(zombie.wait(), 0);
    assert!(output.status.success());
    let changes = scratch.changes(&parse(&output.stdout), "pinned");
    assert!(changes.contains(&"removed".into()) && !changes.contains(&"released".into()), "{changes:?}");
    after
}

#[test]
fn a_strangers_dying_cgroup_does_not_hold_up_the_end() {
    // Whoever waits for it waits two seconds each time; a busy host holds up only some of them.
    let least = (0..3).map(|_| goes_on_beside_a_dying_cgroup()).find(|after| *after < Duration::from_millis(1_500));
    assert!(least.is_some(), "it went on for a second and a half after the command's end, three times");
}

#[test]
fn signals_end_with_the_counts() {
    for number in [libc::SIGINT, libc::SIGTERM] {
        let mut child = Command::new(CGTRACE)
            .args(["live", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut messages = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        messages.read_line(&mut line).unwrap();
        assert!(line.starts_with("tracing "), "{line}");
        signal(child.id(), number);
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{:?}", done.status);
        let lines = parse(&done.stdout);
        assert!(lines.last().unwrap()["counts"]["lost"].is_u64());
        line.clear();
        messages.read_to_string(&mut line).unwrap();
        assert!(line.starts_with("ended: "), "{line}");
    }
}

#[test]
fn a_time_can_be_set() {
    let done = run(&["live", "--duration", "200ms", "--json"]);
    assert!(done.status.success());
    assert_eq!(parse(&done.stdout).last().unwrap()["type"], "end");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let scratch = Scratch::new();
    let mut child = Command::new(CGTRACE)
        .args(["live", "--only", "attempts", "--cgroup", &format!("{}*", scratch.cgroup), "--", "sh", "-c"])
        .arg(format!(
            "for i in 1 2 3 4 5 6 7 8; do rmdir {}/x; sleep 0.1; done 2>/dev/null; exit 3",
            scratch.path.display()
        ))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("ENOENT"), "{first}");
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(3), "the command's own status is still passed on: {}", stderr(&done));
    assert!(!stderr(&done).contains("error"), "{}", stderr(&done));
}

#[test]
fn messages_that_nobody_reads_do_not_change_the_status() {
    let mut child = Command::new(CGTRACE)
        .args(["live", "--json", "--", "sh", "-c", "sleep 0.2; exit 3"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(3));
    assert_eq!(parse(&done.stdout).last().unwrap()["type"], "end");
}

#[test]
fn a_full_disk_is_one_error() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let done = Command::new(CGTRACE).args(["live", "--json", "--", "true"]).stdout(full).output().unwrap();
    check_error(&done, &["error: failed to write the results: No space left on device"]);
    check_error(&run(&["live", "-o", "/no/such/place", "--", "true"]), &["failed to create /no/such/place"]);
}

/// The program where a user without any rights can run it.
fn for_everybody() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("cgtrace");
    fs::copy(CGTRACE, &program).unwrap();
    (directory, program)
}

#[test]
fn without_the_rights_it_says_which() {
    let (_directory, program) = for_everybody();
    let nobody = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"])
            .arg(&program)
            .args(arguments);
        command.current_dir("/").output().unwrap()
    };
    check_error(&nobody(&["live"]), &["error: CAP_BPF is missing", "hint: run as root"]);
    check_error(&nobody(&["demo", "duplicate", "--json"]), &["error: CAP_BPF is missing"]);
    let doctor = nobody(&["doctor"]);
    assert_eq!(doctor.status.code(), Some(2));
    let text = stdout(&doctor);
    assert!(text.contains("this host cannot be traced") && text.contains("CAP_BPF"), "{text}");
}

/// Runs the program in a mount namespace in which `before` was done.
fn where_(before: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-ec",
        &format!("{before}; exec \"$@\""),
        "sh",
        CGTRACE,
    ]);
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn without_cgroupfs_it_says_so() {
    let done = where_("umount -R /sys/fs/cgroup; mount -t tmpfs none /sys/fs/cgroup", &["live", "--", "true"]);
    check_error(&done, &["error: no cgroup hierarchy is mounted", "hint: mount -t cgroup2"]);
}

#[test]
fn without_btf_it_still_traces_and_says_what_that_costs() {
    let scratch = Scratch::new();
    // Without BTF a process must live until it is looked at.
    let script = format!("rmdir '{}/missing'; sleep 1", scratch.path.display());
    let before = "mount --bind /dev/null /sys/kernel/btf/vmlinux";
    let done = where_(before, &["live", "--json", "--", "perl", "-e", &script]);
    assert!(done.status.success(), "{}", stderr(&done));
    let text = stderr(&done);
    let note = "note: the kernel has no BTF (one that is built with CONFIG_DEBUG_INFO_BTF has it): failed calls with \
                relative paths are not seen";
    assert!(text.contains(note), "{text}");
    let lines = parse(&done.stdout);
    let attempts = of_type(&lines, "attempt");
    assert!(attempts.iter().any(|line| scratch.has(line)), "{attempts:#?}");
    let findings: Vec<_> = of_type(&lines, "finding").into_iter().filter(|line| scratch.has(line)).collect();
    assert_eq!(findings.len(), 1);
}

#[test]
fn without_tracefs_it_traces_by_raw_tracepoints() {
    // Neither may be mounted anew: the mount point is covered by a file system that has none.
    let scratch = Scratch::new();
    let script = format!("mkdir {0}/a; rmdir {0}/a", scratch.path.display());
    let mut command = Command::new("setpriv");
    command.args([
        "--bounding-set=-sys_admin",
        "--inh-caps=-sys_admin",
        CGTRACE,
        "live",
        "--json",
        "--",
        "sh",
        "-c",
        &script,
    ]);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
    let lines = parse(&done.stdout);
    let changes = scratch.changes(&lines, "a");
    assert!(changes.starts_with(&["created".into(), "removed".into()]), "{changes:?}");
}

#[test]
fn a_container_mount_elsewhere_is_watched_too() {
    let scratch = Scratch::new();
    let place = tempfile::tempdir().unwrap();
    let place = place.path().join("a/place/for/cgroups");
    fs::create_dir_all(&place).unwrap();
    let agent = Agent::start(&[]);
    let script = format!(
        "mount --bind {} {place}; mkdir {place}/made; sleep 1; rmdir {place}/missing; rmdir {place}/made; exit 0",
        scratch.path.display(),
        place = place.display(),
    );
    let done =
        Command::new("unshare").args(["--mount", "--propagation", "private", "sh", "-c", &script]).output().unwrap();
    assert!(done.status.success());
    let wanted = format!("{}/missing", scratch.cgroup);
    agent.wait_for("the attempt", |line| line["type"] == "attempt" && line["cgroup"]["path"] == wanted.as_str());
    agent.finish();
}

#[test]
fn a_process_that_is_gone_at_once_is_told_with_its_command_line() {
    let scratch = Scratch::new();
    let agent = Agent::start(&[]);
    let path = c_path(scratch.path.join("missing"));
    let child = fork(|| i32::from(rmdir(&path) != libc::ENOENT));
    let pid = child.0 as u32;
    assert_eq!(child.wait(), 0);
    let line = agent.wait_for("the attempt", |line| line["type"] == "attempt" && line["actor"]["pid"] == pid);
    assert!(line["actor"]["argv"].is_array() && line["actor"]["parents"].is_array(), "{line}");
    agent.finish();
}

#[test]
fn the_classic_tracepoints_do_where_kernel_structures_are_not_known() {
    let scratch = Scratch::new();
    let script = format!("mkdir {0}/a; rmdir {0}/a", scratch.path.display());
    let done = where_("mount --bind /dev/null /sys/kernel/btf/vmlinux", &["live", "--json", "--", "sh", "-c", &script]);
    assert!(done.status.success(), "{}", stderr(&done));
    let changes = scratch.changes(&parse(&done.stdout), "a");
    assert!(changes.starts_with(&["created".into(), "removed".into()]), "{changes:?}");
}

/// `cgtrace check`: its line and its status.
fn check(arguments: &[&str]) -> (String, Option<i32>) {
    let done = run(&[&["check"], arguments].concat());
    let line = stdout(&done);
    assert_eq!((line.lines().count(), line.ends_with('\n')), (1, true), "{line:?}: {}", stderr(&done));
    (line.trim_end().to_owned(), done.status.code())
}

#[test]
fn a_check_is_one_line_and_a_status_in_two_protocols() {
    let recording = |name: &str| format!("{}/tests/recordings/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let (fault, coped) = (recording("incident"), recording("incident-coped"));
    let (line, status) = check(&[&fault]);
    assert!(line.starts_with("PROBLEM: 1 fault: missing-path-teardown, read-only-mount, 20"), "{line}");
    assert_eq!(status, Some(1));
    let (line, status) = check(&["--nagios", &fault]);
    assert!(
        line.starts_with("CGTRACE CRITICAL: 1 fault: ") && line.ends_with(" | problems=1 undetermined=0"),
        "{line}"
    );
    assert_eq!(status, Some(2));
    for arguments in [&[coped.as_str()][..], &["--nagios", &coped]] {
        let (line, status) = check(arguments);
        assert!(line.contains(&format!("OK: no fault, by {coped}")), "{line}");
        assert_eq!(status, Some(0));
    }
    let (line, status) = check(&["--fail-on", "missing-path-teardown", &coped]);
    assert!(line.starts_with("PROBLEM: 1 finding of missing-path-teardown: "), "{line}");
    assert_eq!(status, Some(1));
    // Before the end of the trace, and not before now.
    assert_eq!(check(&["--last", "1h", &fault]).1, Some(1));
    let (line, status) = check(&["--last", "1ns", &fault]);
    assert_eq!((line, status), (format!("OK: no fault in the last 1ns, by {fault}"), Some(0)));
    // A part that cannot be read may have held one.
    let cut = tempfile::NamedTempFile::new().unwrap();
    let whole = fs::read_to_string(&coped).unwrap();
    fs::write(cut.path(), &whole[..whole.len() - 2]).unwrap();
    let (line, status) = check(&[cut.path().to_str().unwrap()]);
    assert!(line.ends_with("but there may be one: not all of the trace can be read"), "{line}");
    assert_eq!(status, Some(2));
}

#[test]
fn a_check_that_cannot_be_made_is_unknown_and_ends_in_its_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    for (source, wanted) in [
        ("/does/not/exist", "failed to open /does/not/exist: No such file or directory"),
        ("unix:/does/not/exist", "no agent at unix:/does/not/exist: No such file or directory"),
        (
            "http://localhost:9464/trace?last=5m",
            "a check asks an agent for findings, not for a part of its trace; hint: ",
        ),
        (&silent, "it takes longer than 300ms; hint: --timeout gives it more time"),
    ] {
        let begun = std::time::Instant::now();
        let (line, status) = check(&["--timeout", "300ms", source]);
        assert!(line.starts_with(&format!("UNKNOWN: {wanted}")), "{line}");
        assert_eq!(status, Some(2), "{line}");
        let (line, status) = check(&["--nagios", "--timeout", "300ms", source]);
        assert!(line.starts_with(&format!("CGTRACE UNKNOWN: {wanted}")), "{line}");
        assert_eq!(status, Some(3), "{line}");
        assert!(begun.elapsed() < Duration::from_secs(20) * support::patience());
    }
    let mistyped = |arguments: &[&str]| {
        let done = run(arguments);
        assert!(stderr(&done).contains("unexpected argument '--lst'"), "{}", stderr(&done));
        done.status.code()
    };
    assert_eq!(mistyped(&["check", "--lst"]), Some(2));
    assert_eq!(mistyped(&["check", "--nagios", "--lst"]), Some(3));
    assert_eq!(run(&["check", "--nagios", "--help"]).status.code(), Some(0));
}
