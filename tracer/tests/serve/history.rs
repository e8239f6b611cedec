//! The last of the trace, in the agent's memory: given out as a trace file, and asked by the commands that read one.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::agent::{Serving, demo};
use crate::support::{CGTRACE, DEADLINE, Scratch, c_path, fork, mkdir, of_type, parse, rmdir, wait_for};

const MIB: f64 = (1 << 20) as f64;

fn cgtrace(arguments: &[&str]) -> Output {
    Command::new(CGTRACE).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Lines of a trace file.
fn lines(trace: &[u8]) -> Vec<Value> {
    parse(&zstd::stream::decode_all(trace).unwrap())
}

/// What an agent answers to `/trace` with a query: status and body.
fn trace(agent: &Serving, query: &str) -> (u16, Vec<u8>) {
    let answer = agent.raw(format!("GET /trace{query} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes());
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let status = text(&answer[9..12]).parse().unwrap();
    (status, answer[end + 4..].to_vec())
}

/// Makes and removes so many cgroups, each with a name of its own that cannot be compressed well.
fn churn(scratch: &Scratch, count: u64, from: u64) {
    let name = |number: u64| {
        let mut random = number;
        let digits = (0..15).map(|_| {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            format!("{:016x}", random ^ random >> 33)
        });
        digits.collect()
    };
    let names: Vec<String> = (from..from + count).map(name).collect();
    let paths: Vec<_> = names.iter().map(|name| c_path(scratch.path.join(name))).collect();
    let churned = fork(|| i32::from(paths.iter().any(|path| mkdir(path) != 0 || rmdir(path) != 0)));
    assert_eq!(churned.wait(), 0);
}

/// What was lost of what happened, for whatever reason.
fn lost(agent: &Serving) -> f64 {
    let (_, text) = agent.get("/metrics");
    let of = |name: &str| {
        let samples = text.lines().filter(|line| line.starts_with(name) && !line.contains("rate-limited"));
        samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>()
    };
    of("cgtrace_events_lost_total")
}

/// Between what happens and what follows it: without optimisation an agent keeps up with a busy host, not with one that
/// does nothing but make cgroups. The small histories of these tests hold no more than that either.
const PACE: Duration = Duration::from_millis(250);

#[test]
fn what_is_remembered_is_a_trace_file_that_every_command_reads_from_the_agent_itself() {
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("http.sock").display());
    let agent = Serving::start(&["--listen", &socket]);
    let http = format!("http://{}", agent.address);
    demo("missing-path");
    let finding = agent.wait_for_finding("missing-path-teardown");
    let container = finding["container"]["id"].as_str().unwrap();

    let (status, kept) = trace(&agent, "");
    assert_eq!(status, 200);
    let all = lines(&kept);
    assert_eq!((&all[0]["type"], &all.last().unwrap()["type"]), (&"header".into(), &"end".into()));
    let file = directory.path().join("kept");
    fs::write(&file, &kept).unwrap();
    let piped = fs::File::open(&file).unwrap();
    let report = Command::new(CGTRACE).args(["report", "--json", "-"]).stdin(piped).output().unwrap();
    assert!(report.status.success());
    let told = parse(&report.stdout);
    assert!(of_type(&told, "finding").iter().any(|line| line["id"] == finding["id"]), "{told:?}");

    for source in [&http, &socket, &format!("{http}/trace?last=10m")] {
        let report = cgtrace(&["report", "--json", source]);
        assert!(report.status.success(), "{}", text(&report.stderr));
        let told = parse(&report.stdout);
        assert!(of_type(&told, "finding").iter().any(|line| line["id"] == finding["id"]), "{source}: {told:?}");
        let why = cgtrace(&["why", container, source]);
        assert_eq!(why.status.code(), Some(0), "{}", text(&why.stderr));
        assert!(text(&why.stdout).contains("never created"), "{}", text(&why.stdout));
    }
    let exported = cgtrace(&["export", "--to", "jsonl", "--output", "-", &http]);
    assert!(exported.status.success() && parse(&exported.stdout).len() > 10, "{}", text(&exported.stderr));
    let twice = cgtrace(&["report", &http, &socket]);
    assert_eq!(twice.status.code(), Some(2));
    assert!(text(&twice.stderr).contains("are of the same agent\nhint: "), "{}", text(&twice.stderr));
    let followed = cgtrace(&["report", "--follow", &http]);
    assert!(text(&followed.stderr).contains("cannot be followed\nhint: "), "{}", text(&followed.stderr));

    let (_, narrowed) = trace(&agent, &format!("?last=10m&container={}", &container[..12]));
    let narrowed = lines(&narrowed);
    let steps: Vec<&Value> = of_type(&narrowed, "attempt").into_iter().chain(of_type(&narrowed, "event")).collect();
    let steps: Vec<&&Value> = steps.iter().filter(|line| line["change"] != "existing").collect();
    assert!(!steps.is_empty() && steps.iter().all(|line| line["container"]["id"] == *container), "{steps:?}");
    let nobody = lines(&trace(&agent, "?container=zzzz").1);
    assert!(of_type(&nobody, "attempt").is_empty() && !of_type(&nobody, "process").is_empty());
    assert!(of_type(&nobody, "lost").is_empty(), "what is left out is not lost");

    let (_, page) = agent.get("/");
    assert!(page.contains("<dt>history</dt><dd>the last ") && page.contains("of 8.0 MiB"), "{page}");
    assert!(agent.sample("cgtrace_history_bytes") > 0.0 && agent.sample("cgtrace_history_seconds") > 0.0);
    agent.end();
}

#[test]
fn the_error_line_of_a_real_runc_is_explained_while_only_the_agent_runs() {
    let place = tempfile::tempdir().unwrap();
    let bundle = cgtrace::demo::bundle::Bundle::new(place.path(), &["/bin/sh", "-c", "exit 0"]).unwrap();
    let agent = Serving::start(&[]);
    let id = format!("cgtrace-why-{}", std::process::id());
    let script = format!(
        "mount -t tmpfs none /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup -o ro\n\
         runc --root {}/state run {id}",
        place.path().display()
    );
    let failed = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec", &script])
        .current_dir(bundle.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = text(&failed.stderr);
    assert!(!failed.status.success(), "cgroupfs is read-only: {said}");
    let line = said.lines().find(|line| line.contains("read-only file system")).expect(&said);
    println!("{line}");
    // Whether it hurt depends on who is faster: whoever looks for runc's state, or runc.
    let finding = wait_for("the finding", || {
        let findings: Value = serde_json::from_str(&agent.get("/findings?kind=missing-path-teardown").1).unwrap();
        findings.as_array().unwrap().first().cloned()
    });
    let of_host = finding["cgroup"]["path"].as_str().unwrap();
    let inside = format!("/sys/fs/cgroup{of_host}");
    let http = format!("http://{}", agent.address);
    for what in [line, &id, of_host, &inside] {
        let why = cgtrace(&["why", what, &http]);
        let answer = text(&why.stdout);
        assert_eq!(why.status.code(), Some(0), "{what}: {}", text(&why.stderr));
        assert!(answer.contains("mounted read-only") && answer.contains("mkdir EROFS"), "{what}: {answer}");
    }
    agent.end();
}

#[test]
fn without_a_source_the_agent_of_this_host_is_asked() {
    // In a network of its own nobody else has the port.
    let script = format!("ip link set lo up; exec {CGTRACE} serve");
    let mut serve = Command::new("unshare");
    serve.args(["--net", "sh", "-ec", &script]);
    let agent = Serving::spawned(serve, |_| {});
    let why = |pid: u32, what: &str| {
        let pid = pid.to_string();
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &pid, CGTRACE, "why", what]).stdin(Stdio::null()).output().unwrap()
    };
    let scratch = Scratch::new();
    let id = "5b".repeat(32);
    let path = c_path(scratch.path.join(format!("libpod-{id}.scope")));
    assert_eq!(fork(|| mkdir(&path) | rmdir(&path)).wait(), 0);
    wait_for("its answer", || (why(agent.pid(), &id).status.code() == Some(0)).then_some(()));
    let unknown = why(agent.pid(), &"5c".repeat(32));
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).starts_with("nothing known of it: the agent's memory reaches back to 2"));
    agent.end();

    let nobody = Command::new("unshare").args(["--net", CGTRACE, "why", &id]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(nobody.status.code(), Some(2));
    let said = text(&nobody.stderr);
    assert!(said.starts_with("error: no agent of this host answers: no agent at unix:/run/cgtrace.sock: "), "{said}");
    assert!(said.contains("; no agent at http://127.0.0.1:9464: ") && said.contains("\nhint: "), "{said}");
}

#[test]
fn what_is_asked_wrongly_gets_one_line_and_strangers_get_nothing() {
    let agent = Serving::start(&[]);
    wait_for("readiness", || (agent.get("/readyz").0 == 200).then_some(()));
    for wrong in ["last=", "last=0s", "last=-1m", "last=yesterday", "container=", "container=%zz", "x=y", "since=5m"] {
        let (status, said) = trace(&agent, &format!("?{wrong}"));
        assert_eq!(status, 400, "{wrong}");
        assert_eq!(text(&said).lines().count(), 1, "{wrong}: {}", text(&said));
    }
    assert_eq!(agent.get_by("evil.example", "/trace").0, 403);
    agent.end();
}

#[test]
fn an_agent_without_a_history_says_so() {
    let agent = Serving::start(&["--history", "0"]);
    let (status, said) = trace(&agent, "");
    assert_eq!((status, text(&said).contains("keeps no history")), (404, true));
    let why = cgtrace(&["why", "anything", &format!("http://{}", agent.address)]);
    assert_eq!(why.status.code(), Some(2));
    let said = text(&why.stderr);
    assert!(said.starts_with("error: the agent at http://127.0.0.1:") && said.contains("404"), "{said}");
    assert!(said.contains("this agent keeps no history"), "{said}");
    let (_, page) = agent.get("/");
    assert!(page.contains("<dt>history</dt><dd>switched off</dd>") && !page.contains("href=\"/trace\""), "{page}");
    assert!(page.contains("There is no timeline: this agent keeps no history") && page.contains("<p>None.</p>"));
    demo("missing-path");
    agent.wait_for_finding("missing-path-teardown");
    wait_for("the finding on the page", || agent.get("/").1.contains("missing-path-teardown, ").then_some(()));
    assert_eq!(agent.sample("cgtrace_history_bytes"), 0.0);
    agent.end();
}

#[test]
fn the_oldest_is_pushed_out_and_is_not_known_any_more() {
    let scratch = Scratch::new();
    let agent = Serving::start(&["--history", "1M"]);
    let http = format!("http://{}", agent.address);
    let id = "5a".repeat(32);
    let first = c_path(scratch.path.join(format!("libpod-{id}.scope")));
    assert_eq!(fork(|| mkdir(&first) | rmdir(&first)).wait(), 0);
    wait_for("its answer", || (cgtrace(&["why", &id, &http]).status.code() == Some(0)).then_some(()));
    let begins = || {
        let kept = trace(&agent, "").1;
        let mut header = String::new();
        BufReader::new(zstd::stream::read::Decoder::new(&kept[..]).unwrap()).read_line(&mut header).unwrap();
        serde_json::from_str::<Value>(&header).unwrap()["clock"]["boot_ns"].as_u64().unwrap()
    };
    let (first, mut made) = (begins(), 0);
    wait_for("the oldest to go", || {
        churn(&scratch, 500, made);
        made += 500;
        std::thread::sleep(PACE);
        let held = agent.sample("cgtrace_history_bytes");
        assert!(held <= MIB, "{held}");
        (begins() > first).then_some(())
    });
    let why = cgtrace(&["why", &id, &http]);
    assert_eq!((why.status.code(), text(&why.stdout)), (Some(1), String::new()));
    let said = text(&why.stderr);
    let since = said.strip_prefix("nothing known of it: the agent's memory reaches back to ").expect(&said);
    assert!(since.trim_end().ends_with(" UTC"), "{said}");
    // What is left is whole.
    let report = cgtrace(&["report", &http]);
    assert!(report.status.success(), "{}", text(&report.stderr));
    let kept = lines(&trace(&agent, "").1);
    assert!(of_type(&kept, "header").len() > 2, "it is made of parts");
    assert!(of_type(&kept, "lost").iter().all(|line| line["ring"] != "recording"));
    println!("{made} cgroups made; {} bytes held", agent.sample("cgtrace_history_bytes"));
    agent.end();
}

#[test]
fn record_files_are_not_begun_anew_for_the_history() {
    let (scratch, directory) = (Scratch::new(), tempfile::tempdir().unwrap());
    let agent = Serving::start(&["--history", "1M", "--record", directory.path().to_str().unwrap()]);
    let mut made = 0;
    wait_for("a second part in memory", || {
        churn(&scratch, 1_000, made);
        made += 1_000;
        (of_type(&lines(&trace(&agent, "").1), "header").len() > 1).then_some(())
    });
    agent.end();
    let files: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let recorded = lines(&fs::read(&files[0]).unwrap());
    assert_eq!(of_type(&recorded, "header").len(), 1);
    let report = cgtrace(&["report", files[0].to_str().unwrap()]);
    assert!(report.status.success() && report.stderr.is_empty(), "{}", text(&report.stderr));
}

/// An agent with a small history that can be asked on a UNIX socket, too: there the kernel takes little of an answer
/// that nobody reads.
fn on_socket(directory: &Path) -> (Serving, PathBuf) {
    let socket = directory.join("http.sock");
    (Serving::start(&["--history", "1M", "--listen", &format!("unix:{}", socket.display())]), socket)
}

/// A client that has asked for all that is remembered.
fn asking(socket: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"GET /trace HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    stream
}

#[test]
fn five_who_read_slowly_and_one_who_is_stuck_cost_nothing() {
    let (scratch, directory) = (Scratch::new(), tempfile::tempdir().unwrap());
    let (agent, socket) = on_socket(directory.path());
    let mut made = 0;
    let mut more = |count| {
        churn(&scratch, count, made);
        made += count;
    };
    wait_for("something to give", || {
        more(500);
        std::thread::sleep(PACE);
        (agent.sample("cgtrace_history_bytes") > MIB / 2.0).then_some(())
    });
    let ask = || asking(&socket);
    let before = agent.sample("cgtrace_cgroups_created_total{runtime=\"none\"}");
    let stuck = ask();
    let done = std::sync::atomic::AtomicBool::new(false);
    let (traces, slowest) = std::thread::scope(|scope| {
        let slow: Vec<_> = (0..5)
            .map(|_| {
                let mut stream = ask();
                scope.spawn(move || {
                    let (mut taken, mut piece) = (Vec::new(), vec![0; 8 << 10]);
                    loop {
                        let length = stream.read(&mut piece).unwrap();
                        if length == 0 {
                            return taken;
                        }
                        taken.extend_from_slice(&piece[..length]);
                        std::thread::sleep(Duration::from_millis(20));
                    }
                })
            })
            .collect();
        let scraping = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let begun = Instant::now();
                assert_eq!(agent.get("/metrics").0, 200);
                slowest = slowest.max(begun.elapsed());
                std::thread::sleep(Duration::from_millis(50));
            }
            slowest
        });
        for _ in 0..10 {
            more(300);
            std::thread::sleep(Duration::from_millis(100));
        }
        let traces: Vec<Vec<u8>> = slow.into_iter().map(|reader| reader.join().unwrap()).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        (traces, scraping.join().unwrap())
    });
    for answer in traces {
        assert!(answer.starts_with(b"HTTP/1.0 200 OK"));
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        assert_eq!(lines(&answer[end + 4..]).last().unwrap()["type"], "end", "it is whole");
    }
    let created = || agent.sample("cgtrace_cgroups_created_total{runtime=\"none\"}") - before;
    wait_for("each to be counted", || (created() >= 3_000.0).then_some(()));
    assert_eq!(lost(&agent), 0.0);
    assert!(slowest < Duration::from_secs(2), "a scrape took {slowest:?}");
    println!("the slowest scrape took {slowest:?}");
    drop(stuck);
    agent.end();
}

#[test]
fn more_traces_at_once_than_there_is_room_for_are_asked_to_come_again() {
    let (scratch, directory) = (Scratch::new(), tempfile::tempdir().unwrap());
    let (agent, socket) = on_socket(directory.path());
    let mut made = 0;
    wait_for("something to give", || {
        churn(&scratch, 500, made);
        made += 500;
        (agent.sample("cgtrace_history_bytes") > MIB / 2.0).then_some(())
    });
    let ask = || {
        let mut stream = asking(&socket);
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (stream, text(&status[9..]))
    };
    let held: Vec<_> = (0..8).map(|_| ask()).collect();
    assert!(held.iter().all(|(_, status)| status == "200"), "{held:?}");
    assert_eq!(ask().1, "503");
    assert_eq!(agent.get("/healthz").0, 200);
    drop(held);
    wait_for("room", || (ask().1 == "200").then_some(()));
    agent.end();
}

#[test]
fn where_there_is_no_agent_or_something_else_one_message_says_so() {
    let said = |source: &str| {
        let done = cgtrace(&["report", source]);
        assert_eq!((done.status.code(), done.stdout.len()), (Some(2), 0));
        text(&done.stderr)
    };
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = said(&format!("http://{free}"));
    assert!(nobody.starts_with(&format!("error: no agent at http://{free}: Connection refused")), "{nobody}");
    assert!(nobody.contains("\nhint: "), "{nobody}");
    let nobody = said("unix:/no/such/socket");
    assert!(nobody.starts_with("error: no agent at unix:/no/such/socket: No such file"), "{nobody}");

    // Others than agents, and what they say.
    let answers: [(&[u8], &str); 5] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "it is not a trace"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello", "has broken off"),
        (b"SSH-2.0-OpenSSH\r\n", "does not answer as an agent"),
        (
            b"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\n\x1b[31mx\r\n\n",
            "answers 503 Service Unavailable: \\x1b[31mx",
        ),
        (b"", "does not answer as an agent"),
    ];
    for (answer, wanted) in answers {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1_000];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(answer).unwrap();
            text(&request[..length])
        });
        let said = said(&format!("http://{address}"));
        assert!(said.starts_with("error: ") && said.contains(wanted), "{wanted:?} is not in {said}");
        assert!(!said.contains('\x1b'), "{said:?}");
        let request = answering.join().unwrap();
        assert!(request.starts_with("GET /trace HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("host: {address}\r\n")), "{request}");
    }
}
