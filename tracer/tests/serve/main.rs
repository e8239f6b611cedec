//! `cgtrace serve`, the real program on the real kernel, as root: what it answers, what it gives up, and what cannot
//! stop it.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod access;
#[path = "../support/agent.rs"]
mod agent;
mod check;
mod confined;
mod history;
mod journal;
mod otlp;
mod page;
mod settings;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod trouble;

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use serde_json::Value;

use agent::{Serving, demo};
use support::{Scratch, c_path, fork, mkdir, rmdir, signal, wait_for};

#[test]
fn it_answers_what_it_is_asked() {
    let agent = Serving::start(&[]);
    assert_eq!(agent.get("/healthz"), (200, "alive\n".into()));
    wait_for("readiness", || (agent.get("/readyz") == (200, "ready\n".into())).then_some(()));
    assert_eq!(agent.get("/findings"), (200, "[]\n".into()));

    let from = jiff::Timestamp::now().to_string();
    demo("missing-path");
    let finding = agent.wait_for_finding("missing-path-teardown");
    assert_eq!((&finding["severity"], &finding["outcome"]["state_left"]), (&"fault".into(), &true.into()), "{finding}");
    demo("duplicate");
    let finding = agent.wait_for_finding("duplicate-teardown");
    assert!(finding["rival"]["actor"]["argv"][0].is_string(), "the rival is known by its command line: {finding}");
    let container = finding["container"]["id"].as_str().unwrap();

    let count = |query: &str| {
        let (status, text) = agent.get(&format!("/findings?{query}"));
        assert_eq!(status, 200, "{query}: {text}");
        serde_json::from_str::<Value>(&text).unwrap().as_array().unwrap().len()
    };
    assert_eq!(count("kind=duplicate-teardown"), 1);
    assert_eq!(count("severity=fault&kind=missing-path-teardown"), 1);
    assert_eq!(count("severity=undetermined"), 0);
    assert_eq!(count(&format!("container={}", &container[..12])), 1);
    assert_eq!(count(&format!("since={from}")), 2);
    assert_eq!(count("since=2999-01-01T00:00:00Z"), 0);
    assert_eq!(count("since=15m"), 2);
    for wrong in ["kind=x", "severity=x", "since=x", "x=y", "container=%"] {
        assert_eq!(agent.get(&format!("/findings?{wrong}")).0, 400, "{wrong}");
    }

    let (status, page) = agent.get("/");
    assert_eq!(status, 200);
    for part in [
        "<h1>cgtrace",
        "<dt>state</dt><dd>ready</dd>",
        "missing-path-teardown, read-only-mount",
        "href=\"/metrics\"",
        "nothing",
    ] {
        assert!(page.contains(part), "{part:?} is not in {page}");
    }
    assert!(!page.contains("http://") && !page.contains("https://"), "nothing from elsewhere");
    for nowhere in ["/x", "/../etc/passwd", "/findings/..", "//", "/%2e%2e/"] {
        assert_eq!(agent.get(nowhere).0, 404, "{nowhere}");
    }
    assert_eq!(
        agent.request("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc").0,
        405
    );
    let head = agent.raw(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "a head and nothing else: {head}");
    agent.end();
}

#[test]
fn cgroups_that_were_dying_before_the_start_are_counted_apart_until_they_are_released() {
    let scratch = Scratch::new();
    let cgroup = scratch.path.join("zombie");
    std::fs::create_dir(&cgroup).unwrap();
    // It ends in the cgroup, and nobody has waited for it: the kernel keeps the cgroup.
    let procs = c_path(cgroup.join("cgroup.procs"));
    let zombie = fork(|| support::write(&procs, b"0"));
    support::wait_for_zombie(zombie.0 as u32);
    std::fs::remove_dir(&cgroup).unwrap();
    let agent = Serving::start(&[]);
    // Before the first turn it is not known how many they are.
    wait_for("readiness", || (agent.get("/readyz").0 == 200).then_some(()));
    let before = || agent.sample("cgtrace_cgroups{state=\"dying_before\"}");
    let counted = wait_for("the count", || (before() >= 1.0).then(before));
    assert_eq!(zombie.wait(), 0);
    wait_for("its release", || (before() < counted).then_some(()));
    agent.end();
}

#[test]
fn it_can_be_asked_on_a_unix_socket_too_and_takes_an_abandoned_one_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let address = format!("unix:{}", path.display());
    let agent = Serving::start(&["--listen", &address]);
    let ask = || {
        use std::io::{Read, Write};
        let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let said = ask();
    assert!(said.ends_with("\r\n\r\nalive\n"), "{said}");
    let refused = agent::refused(&["--listen", &address]);
    assert!(refused.contains("failed to listen on unix:") && refused.contains("in use"), "{refused}");
    agent.end();
}

#[test]
fn sockets_that_systemd_passes_on_are_used() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let agent = Serving::on_demand(free, &["--listen", "127.0.0.1:1"]);
    assert_eq!(agent.address, free);
    assert_eq!(agent.get("/healthz").0, 200);
    agent.end();
}

#[test]
fn systemd_is_told_that_it_is_ready_alive_and_ending() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(support::DEADLINE)).unwrap();
    let hear = || {
        let mut bytes = [0; 4_096];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let agent =
        Serving::with_environment(&[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "1000000")], &[]);
    assert!(hear().starts_with("READY=1\nSTATUS=tracing; "));
    assert!(hear().starts_with("WATCHDOG=1\nSTATUS=tracing; "));
    let begun = Instant::now();
    assert!(hear().starts_with("WATCHDOG=1\n"));
    assert!(begun.elapsed() >= Duration::from_millis(400), "no more often than is wanted");
    signal(agent.pid(), libc::SIGTERM);
    wait_for("the last word", || (hear() == "STOPPING=1").then_some(()));
    agent.end();
}

#[test]
fn it_ends_within_five_seconds_and_leaves_a_whole_trace() {
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("traces");
    let agent = Serving::start(&["--record", record.to_str().unwrap()]);
    demo("duplicate");
    agent.wait_for_finding("duplicate-teardown");
    signal(agent.pid(), libc::SIGHUP);
    wait_for("a second file", || (std::fs::read_dir(&record).unwrap().count() == 2).then_some(()));
    let begun = Instant::now();
    agent.end();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let done = std::process::Command::new(support::CGTRACE)
        .args(["report", "--format", "json", record.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let lines = support::parse(&done.stdout);
    assert!(support::of_type(&lines, "finding").iter().any(|line| line["kind"] == "duplicate-teardown"));
}

#[test]
fn what_is_kept_is_bounded_over_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().to_str().unwrap();
    for _ in 0..3 {
        Serving::start(&["--record", record, "--keep", "2"]).end();
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn a_flight_recorder_is_part_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().to_str().unwrap();
    let agent = Serving::start(&["--record", record, "--flight", "1s", "--flight-on", "fault", "--keep", "5"]);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    demo("duplicate");
    wait_for("the file", || (std::fs::read_dir(directory.path()).unwrap().count() == 1).then_some(()));
    agent.end();
}

#[test]
fn the_time_of_the_kernel_programs_is_told_when_it_is_counted() {
    let scratch = Scratch::new();
    let agent = Serving::start(&["--bpf-stats"]);
    let path = c_path(scratch.path.join("counted"));
    wait_for("a program that has run", || {
        assert_eq!(fork(|| mkdir(&path) | rmdir(&path)).wait(), 0);
        let (_, text) = agent.get("/metrics");
        let ran = |name: &str| {
            let values = text.lines().filter(|line| line.starts_with(name) && line.contains("cgroup_mkdir"));
            values.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).any(|value| value > 0.0)
        };
        (ran("cgtrace_bpf_runs_total") && ran("cgtrace_bpf_run_seconds_total")).then_some(())
    });
    agent.end();
}

#[test]
fn an_agent_that_did_not_run_for_a_while_walks_again_though_nothing_was_lost() {
    let agent = Serving::start(&[]);
    wait_for("readiness", || (agent.get("/readyz").0 == 200).then_some(()));
    signal(agent.pid(), libc::SIGSTOP);
    std::thread::sleep(Duration::from_millis(5_500));
    signal(agent.pid(), libc::SIGCONT);
    wait_for("another walk", || (agent.sample("cgtrace_rewalks_total{reason=\"stall\"}") == 1.0).then_some(()));
    assert_eq!(agent.sample("cgtrace_events_lost_total{ring=\"lifecycle\",reason=\"ring-full\"}"), 0.0);
    agent.end();
}

#[test]
fn an_agent_that_was_stopped_for_a_while_says_so_and_walks_again() {
    let scratch = Scratch::new();
    let agent = Serving::start(&[]);
    wait_for("readiness", || (agent.get("/readyz").0 == 200).then_some(()));
    signal(agent.pid(), libc::SIGSTOP);
    // Far more than the ring can hold, and one that stays.
    let (busy, stays) = (c_path(scratch.path.join("busy")), c_path(scratch.path.join("stays")));
    let churned = fork(|| {
        for _ in 0..20_000 {
            if mkdir(&busy) != 0 || rmdir(&busy) != 0 {
                return 1;
            }
        }
        mkdir(&stays)
    });
    assert_eq!(churned.wait(), 0);
    std::thread::sleep(Duration::from_millis(5_500));
    signal(agent.pid(), libc::SIGCONT);
    let sample = |name: &str| agent.sample(name);
    wait_for("another walk", || (sample("cgtrace_rewalks_total{reason=\"ring-full\"}") == 1.0).then_some(()));
    assert!(sample("cgtrace_events_lost_total{ring=\"lifecycle\",reason=\"ring-full\"}") > 1_000.0);
    // What exists is known again, also what was never told.
    let missing = c_path(scratch.path.join("stays/missing"));
    assert_eq!(fork(|| i32::from(rmdir(&missing) != libc::ENOENT)).wait(), 0);
    let finding = agent.wait_for_finding("missing-path-teardown");
    assert_eq!(finding["certainty"], "degraded", "{finding}");
    assert_eq!(fork(|| rmdir(&stays)).wait(), 0);
    agent.end();
}
