//! What goes wrong around an agent, and does not stop it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::agent::{Serving, ask, demo, refused};
use crate::support::{CGTRACE, DEADLINE, Scratch, c_path, fork, mkdir, rmdir, signal, wait_for};

#[test]
fn an_address_that_cannot_be_listened_on_is_said_at_once() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let said = refused(&["--listen", &taken.local_addr().unwrap().to_string()]);
    assert!(said.starts_with("error: failed to listen on http://127.0.0.1:") && said.contains("in use"), "{said}");
    let said = refused(&["--listen", "192.0.2.1:9464"]);
    // The words are the C library's, the number is the kernel's.
    let (listening, number) = ("failed to listen on http://192.0.2.1:9464: ", "(os error 99)");
    assert!(said.contains(listening) && said.contains(number), "{said}");
    let said = refused(&["--listen", "127.0.0.1:0", "--record", "/proc/nowhere"]);
    assert!(said.contains("error: failed to create /proc/nowhere"), "{said}");
    let said = refused(&["--listen", "127.0.0.1:0", "--record", "/proc"]);
    assert!(said.contains("error: failed to create /proc/"), "{said}");
}

#[test]
fn without_the_rights_it_says_which_ones_are_missing() {
    let done = Command::new("setpriv")
        .args(["--reuid", "65534", "--clear-groups", CGTRACE, "serve", "--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("CAP_BPF"), "{said}");
}

/// As of a journal that hangs: what the agent says is taken no more.
#[test]
fn messages_that_nobody_takes_hold_up_neither_the_answers_nor_the_end() {
    let mut agent = Command::new(CGTRACE)
        .args(["serve", "--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(agent.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("the thread that traces:") {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "cgtrace serve ended: {said}");
    }
    let address = said.lines().find_map(|line| line.strip_prefix("serving: http://")).unwrap().parse().unwrap();
    let end = format!("/proc/{}/fd/2", agent.id());
    let mut pipe = File::options().write(true).custom_flags(libc::O_NONBLOCK).open(end).unwrap();
    while pipe.write(&[b'x'; 4_096]).is_ok() {}
    assert_eq!(ask(address, "/healthz", DEADLINE).unwrap().0, 200);
    // Its last word is on stderr.
    signal(agent.id(), libc::SIGTERM);
    let status = wait_for("its end", || agent.try_wait().unwrap());
    assert!(status.success(), "{status}");
    drop(pipe);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("ended: "), "there was room for it");
}

#[test]
fn malformed_requests_are_refused_and_nothing_else_happens() {
    let agent = Serving::start(&[]);
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000));
    let fields = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(1_000));
    let requests: [&[u8]; 10] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00\x00\x00\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nffffffffffffffff\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET http:// HTTP/1.1\r\n\r\n",
        long.as_bytes(),
        fields.as_bytes(),
    ];
    for request in requests {
        let mut stream = TcpStream::connect(agent.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        let _ = stream.write_all(request);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let head = answer.lines().next().unwrap_or_default().to_owned();
        assert!(head.is_empty() || head.starts_with("HTTP/1.1 4") || head.starts_with("HTTP/1.1 200"), "{head}");
    }
    assert_eq!(agent.get("/healthz").0, 200);
    agent.end();
}

/// Gives the agent something to write until something is so.
fn busy_until(what: &str, scratch: &Scratch, is_so: impl Fn() -> bool) {
    let path = c_path(scratch.path.join("busy"));
    wait_for(what, || {
        let churned = fork(|| {
            for _ in 0..300 {
                if mkdir(&path) != 0 || rmdir(&path) != 0 {
                    return 1;
                }
            }
            0
        });
        assert_eq!(churned.wait(), 0);
        is_so().then_some(())
    });
}

#[test]
fn a_full_disk_is_counted_and_tracing_goes_on() {
    let scratch = Scratch::new();
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display();
    let agent =
        Serving::within(&format!("mount -t tmpfs -o size=128k,mode=700 none {at}"), &["--record", &at.to_string()]);
    let inside = format!("/proc/{}/root{at}/filler", agent.pid());
    let _ = std::fs::write(&inside, vec![0u8; 256 << 10]);
    busy_until("the count", &scratch, || agent.sample("cgtrace_trace_write_errors_total") > 0.0);
    let lost = "cgtrace_events_lost_total{ring=\"recording\",reason=\"not-written\"}";
    busy_until("the loss", &scratch, || agent.sample(lost) > 0.0);
    let before = agent.sample("cgtrace_trace_bytes_total");
    std::fs::remove_file(&inside).unwrap();
    busy_until("writing to go on", &scratch, || agent.sample("cgtrace_trace_bytes_total") > before);
    assert!(
        agent.said().contains("warning: failed to write") && agent.said().contains("No space left"),
        "{}",
        agent.said()
    );
    assert_eq!(agent.get("/readyz").0, 200, "it traces all the same");
    assert_eq!(agent.stop(), Some(2), "something that it was told to keep was lost");
}

#[test]
fn a_record_directory_that_vanishes_is_said_and_tracing_goes_on() {
    let scratch = Scratch::new();
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().join("traces");
    let agent = Serving::start(&["--record", record.to_str().unwrap()]);
    std::fs::remove_dir_all(&record).unwrap();
    busy_until("the warning", &scratch, || agent.said().contains("it was removed"));
    demo("duplicate");
    agent.wait_for_finding("duplicate-teardown");
    assert_eq!(agent.stop(), Some(2));
}

#[test]
fn a_record_directory_that_is_replaced_is_said_and_told_by_the_status() {
    let directory = tempfile::tempdir().unwrap();
    let (record, moved) = (directory.path().join("traces"), directory.path().join("moved"));
    let agent = Serving::start(&["--record", record.to_str().unwrap()]);
    std::fs::rename(&record, &moved).unwrap();
    // To Landlock it is another directory.
    std::fs::create_dir(&record).unwrap();
    signal(agent.pid(), libc::SIGHUP);
    wait_for("the warning", || agent.said().contains("Permission denied").then_some(()));
    let (said, status) = agent.last_words();
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("error: no new trace file could be made, recording went on in the old file: "), "{said}");
    assert_eq!(std::fs::read_dir(&moved).unwrap().count(), 1);
}

#[test]
fn a_directory_that_others_can_write_to_is_refused_unless_it_is_said() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().to_str().unwrap();
    std::fs::set_permissions(record, std::fs::Permissions::from_mode(0o1777)).unwrap();
    let said = refused(&["--listen", "127.0.0.1:0", "--record", record]);
    assert!(said.contains("can be written to by other users (mode 1777)\nhint: "), "{said}");
    Serving::start(&["--record", record, "--shared-directory"]).end();
}

#[test]
fn a_clock_that_jumps_changes_no_duration() {
    // Nobody may set the clock of the test's host: a time namespace moves the boot-time clock of the agent alone.
    let script = format!("exec unshare --time --boottime 1000000 {} serve --listen 127.0.0.1:0", CGTRACE);
    let agent = Serving::from_script(&script);
    let scratch = Scratch::new();
    let of = |phase: &str, what: &str| agent.sample(&format!("cgtrace_{phase}_seconds_{what}"));
    busy_until("lives", &scratch, || of("cgroup_lifetime", "count") >= 300.0 && of("release", "count") > 0.0);
    let (sum, count) = (of("cgroup_lifetime", "sum"), of("cgroup_lifetime", "count"));
    assert!(sum / count < 60.0, "{sum} seconds in {count} lives");
    agent.end();
}

#[test]
fn signals_that_come_twice_end_it_once() {
    let agent = Serving::start(&[]);
    signal(agent.pid(), libc::SIGTERM);
    signal(agent.pid(), libc::SIGTERM);
    signal(agent.pid(), libc::SIGHUP);
    agent.end();
}
