//! Findings sent to a collector: a receiver made of the official definitions of OTLP, over gRPC and over HTTP, that is
//! there, or not, or slow, or does not want them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cgtrace::findings::Finding;
use cgtrace::hierarchy::Header;
use cgtrace::line::{Line, Output};
use cgtrace::metrics::{Exposition, Metrics};
use cgtrace::recording::TraceLine;
use cgtrace::serve::push::{Collector, Protocol, Pusher, Pushing, Wanted};
use cgtrace::stream::Stream;
use serde_json::{Value, json};

use crate::agent::{Serving, demo};
use crate::support::wait_for;
use crate::tls::certificate;

/// A receiver, and what it has received.
struct Receiver {
    child: Child,
    port: u16,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    fn start(protocol: &str, answers: &Value) -> Self {
        Self::with(protocol, 0, answers, None)
    }

    fn with(protocol: &str, port: u16, answers: &Value, tls: Option<(&Path, &Path)>) -> Self {
        let port = port.to_string();
        let mut command = python(&[protocol, &port, &answers.to_string()]);
        command.args(tls.into_iter().flat_map(|(certificate, key)| [certificate, key]));
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        stdout.read_line(&mut first).unwrap();
        let port = first.trim().parse().unwrap_or_else(|_| panic!("the receiver ended: {first}"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let more = lines.clone();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                more.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, port, lines }
    }

    /// The requests so far.
    fn requests(&self) -> Vec<Value> {
        self.lines.lock().unwrap().clone()
    }

    /// The uids of the records of a request.
    fn uids(request: &Value) -> Vec<String> {
        let records = request["records"].as_array().unwrap();
        records.iter().map(|record| record["attributes"]["log.record.uid"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits for so many requests.
    fn wait_for(&self, count: usize) -> Vec<Value> {
        wait_for(&format!("request {count}"), || Some(self.requests()).filter(|requests| requests.len() >= count))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The script, with Python's packages that `cargo xtask setup` installs.
fn python(arguments: &[&str]) -> Command {
    let python = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../python/bin/python3");
    let mut command = Command::new(python);
    command.args(["-c", include_str!("collector.py")]).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What a recording tells.
fn recorded() -> (Header, Finding) {
    struct Findings(Vec<Finding>);
    impl Output for Findings {
        fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
            if let Line::Finding(finding) = line {
                self.0.push((*finding).clone());
            }
            Ok(())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut lines = include_str!("../recordings/incident.jsonl").lines().map(|line| TraceLine::parse(line.as_bytes()));
    let Some(Ok(TraceLine::Header(header))) = lines.next() else { panic!("a header") };
    let mut findings = Findings(Vec::new());
    let mut stream = Stream::begin(&header, &mut findings).unwrap();
    let mut last = None;
    for line in lines {
        if let Ok(TraceLine::Input(seq, mut input)) = line {
            last = Some(input.at());
            stream.replay(seq, &mut input).unwrap();
        }
    }
    stream.end(last.unwrap()).unwrap();
    (*header, findings.0.pop().unwrap())
}

/// What sends findings, without an agent around it.
struct Sender {
    pusher: Pusher,
    pushing: Pushing,
    metrics: Metrics,
    finding: Finding,
    sent: u32,
}

impl Sender {
    fn start(endpoint: &str, protocol: Protocol, ca: Option<&Path>, timeout: &str) -> Self {
        let wanted = Wanted {
            endpoint: Some(endpoint.to_owned()),
            protocol: Some(protocol),
            ca: ca.map(Path::to_owned),
            ..Wanted::default()
        };
        let timeout = |name: &str| (name == "OTEL_EXPORTER_OTLP_TIMEOUT").then(|| timeout.to_owned());
        let collector = Collector::find(&wanted, &timeout).unwrap().unwrap();
        let (header, finding) = recorded();
        let metrics = Metrics::default();
        let (pusher, pushing) = Pusher::start(collector, &header, metrics.clone()).unwrap();
        Self { pusher, pushing, metrics, finding, sent: 0 }
    }

    fn to(receiver: &Receiver, protocol: Protocol) -> Self {
        Self::start(&format!("http://127.0.0.1:{}", receiver.port), protocol, None, "5000")
    }

    /// Tells so many findings.
    fn tell(&mut self, count: u32) {
        for _ in 0..count {
            self.sent += 1;
            let finding = Finding { id: format!("f{}", self.sent), ..self.finding.clone() };
            self.pushing.line(&Line::Finding(&finding)).unwrap();
        }
    }

    /// Waits until all are sent or dropped.
    fn settled(&self) {
        wait_for("the end of the queue", || {
            let sent = sample(&self.metrics, "cgtrace_otlp_sent_total");
            (sent + dropped(&self.metrics).iter().sum::<u64>() == u64::from(self.sent)).then_some(())
        });
        assert_eq!(sample(&self.metrics, "cgtrace_otlp_waiting"), 0);
    }

    /// Ends it. Returns how many were sent, how many dropped, and how long it took.
    fn end(self) -> (u64, [u64; 4], Duration) {
        let begun = Instant::now();
        self.pusher.end();
        (sample(&self.metrics, "cgtrace_otlp_sent_total"), dropped(&self.metrics), begun.elapsed())
    }
}

fn sample(metrics: &Metrics, name: &str) -> u64 {
    let text = String::from_utf8(metrics.tell(Exposition::Plain)).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

/// Dropped: because the queue was full, rejected, refused, and at the end.
fn dropped(metrics: &Metrics) -> [u64; 4] {
    ["queue-full", "rejected", "refused", "shutdown"]
        .map(|reason| sample(metrics, &format!("cgtrace_otlp_dropped_total{{reason=\"{reason}\"}}")))
}

/// Seconds between two requests.
fn between(requests: &[Value], one: usize) -> f64 {
    requests[one + 1]["at"].as_f64().unwrap() - requests[one]["at"].as_f64().unwrap()
}

#[test]
fn an_agent_sends_what_it_finds_to_a_name_with_a_token_that_ps_does_not_show() {
    let directory = tempfile::tempdir().unwrap();
    let headers = directory.path().join("headers");
    fs::write(&headers, "Authorization: Bearer 0123456789abcdef\n").unwrap();
    let names = directory.path().join("resolv.conf");
    fs::write(&names, "nameserver 127.9.9.9\n").unwrap();
    let mut server = python(&["dns", "127.9.9.9"]).spawn().unwrap();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    let receiver = Receiver::start("http/protobuf", &json!([{ "status": 503, "retry-after": "1" }, {}]));
    let before = format!(
        "mount --bind {} /etc/resolv.conf\nexport OTEL_RESOURCE_ATTRIBUTES=k8s.node.name=node%2D1",
        names.display()
    );
    let endpoint = format!("http://collector.cgtrace.test:{}", receiver.port);
    let agent = Serving::within(&before, &["--otlp", &endpoint, "--otlp-headers-file", headers.to_str().unwrap()]);
    assert!(agent.said().contains(&format!("findings go to {endpoint}/v1/logs\n")), "{}", agent.said());
    assert!(agent.said().contains("warning: headers go to collector.cgtrace.test:"), "{}", agent.said());
    let command = fs::read_to_string(format!("/proc/{}/cmdline", agent.pid())).unwrap();
    assert!(!command.contains("0123456789abcdef"));

    demo("missing-path");
    let finding = agent.wait_for_finding("missing-path-teardown");
    let id = finding["id"].as_str().unwrap();
    // The last word of it: the first may have been told before it was known how it ended.
    let record = wait_for("the record", || {
        let requests = receiver.requests();
        let taken = requests.iter().filter(|request| request["answer"] == json!({}));
        let mut records = taken.flat_map(|request| request["records"].as_array().unwrap());
        let is_it = |record: &&Value| {
            record["attributes"]["cgtrace.finding.id"] == id
                && record["attributes"]["cgtrace.finding.revision"] == finding["revision"]
        };
        records.find(is_it).cloned()
    });
    let requests = receiver.requests();
    assert!(between(&requests, 0) >= 1.0, "it was asked to wait: {requests:#?}");
    assert_eq!(Receiver::uids(&requests[0])[0], Receiver::uids(&requests[1])[0], "the same once more");
    let headers = &requests[0]["headers"];
    assert_eq!((&headers["path"], &headers["authorization"]), (&"/v1/logs".into(), &"Bearer 0123456789abcdef".into()));

    let (own, resource) = (&record["attributes"], &record["resource"]);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    for (said, key, expected) in [
        (resource, "service.name", "cgtrace"),
        (resource, "service.version", env!("CARGO_PKG_VERSION")),
        (resource, "host.name", host.trim()),
        (resource, "host.arch", arch),
        (resource, "os.type", "linux"),
        (resource, "k8s.node.name", "node-1"),
        (own, "cgtrace.finding.kind", "missing-path-teardown"),
        (own, "cgtrace.finding.severity", "fault"),
        (own, "cgtrace.known_issues", "runc#4518"),
        (own, "container.id", finding["container"]["id"].as_str().unwrap()),
        (own, "container.runtime.name", "runc"),
        (own, "cgtrace.cgroup.path", finding["cgroup"]["path"].as_str().unwrap()),
    ] {
        assert_eq!(said[key], expected, "{key} of {record:#}");
    }
    assert_eq!(own["process.pid"], finding["actor"]["pid"]);
    assert_eq!(own["process.exit.code"], finding["outcome"]["exit"]["code"]);
    assert_eq!((&record["event"], &record["body"]), (&"cgtrace.finding".into(), &finding["summary"]));
    assert_eq!((&record["severity"], &record["scope"]), (&json!([17, "ERROR"]), &"cgtrace".into()));
    let at = finding["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_microsecond();
    let told = record["time"].as_u64().unwrap() / 1_000;
    assert!(told.abs_diff(at as u64) < 1_000_000, "{told} and {at}");
    assert!(record["observed"].as_u64() >= record["time"].as_u64());

    wait_for("the count", || (agent.sample("cgtrace_otlp_waiting") == 0.0).then_some(()));
    assert_eq!(agent.sample("cgtrace_otlp_failures_total"), 1.0);
    wait_for("as many as were sent", || {
        let requests = receiver.requests();
        let taken: usize = requests.iter().skip(1).map(|request| Receiver::uids(request).len()).sum();
        (agent.sample("cgtrace_otlp_sent_total") as usize == taken).then_some(())
    });
    let (said, status) = agent.last_words();
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("HTTP status 503 Service Unavailable: as told") && said.contains(" again\n"), "{said}");
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn an_agent_is_told_of_its_collector_by_the_usual_variables_and_sends_the_rest_at_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(directory.path(), "localhost");
    let receiver = Receiver::with("grpc", 0, &json!([{}]), Some((&cert, &key)));
    let endpoint = format!("https://localhost:{}", receiver.port);
    let agent = Serving::with_environment(
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", cert.to_str().unwrap()),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20token"),
        ],
        &[],
    );
    assert!(agent.said().contains(&format!("findings go to {endpoint} by gRPC\n")), "{}", agent.said());
    demo("duplicate");
    let finding = agent.wait_for_finding("duplicate-teardown");
    agent.end();
    // The receiver has it; it tells a moment later.
    let is_last = |record: &Value| record["attributes"]["cgtrace.finding.revision"] == finding["revision"];
    wait_for("the last word", || {
        let requests = receiver.requests();
        requests.iter().flat_map(|request| request["records"].as_array().unwrap()).any(is_last).then_some(())
    });
    assert_eq!(receiver.requests()[0]["headers"]["authorization"], "Bearer token");
}

#[test]
fn what_waits_while_the_receiver_is_away_arrives_once_and_what_there_is_no_room_for_is_counted() {
    let port = free_port();
    let mut sender = Sender::start(&format!("http://127.0.0.1:{port}"), Protocol::Grpc, None, "5000");
    sender.tell(3_000);
    wait_for("two attempts", || (sample(&sender.metrics, "cgtrace_otlp_failures_total") >= 2).then_some(()));
    let receiver = Receiver::with("grpc", port, &json!([{}]), None);
    sender.settled();
    wait_for("the last of them", || {
        let arrived: usize = receiver.requests().iter().map(|request| Receiver::uids(request).len()).sum();
        (arrived >= 2_048).then_some(())
    });
    let arrived: Vec<String> = receiver.requests().iter().flat_map(Receiver::uids).collect();
    let once: BTreeSet<&String> = arrived.iter().collect();
    assert_eq!((arrived.len(), once.len()), (2_048, 2_048));
    // Which ones were dropped depends on what was on its way just then; the order is kept.
    let number = |uid: &String| uid.rsplit('.').nth(1).unwrap().trim_start_matches('f').parse::<u32>().unwrap();
    let numbers: Vec<u32> = arrived.iter().map(number).collect();
    assert!(numbers.is_sorted() && numbers.last() == Some(&3_000), "{numbers:?}");
    assert!(receiver.requests().iter().all(|request| Receiver::uids(request).len() <= 512));
    assert_eq!(sender.end().1, [952, 0, 0, 0]);
}

#[test]
fn over_http_what_may_be_sent_again_is_sent_again_when_it_was_asked_for() {
    let later = (jiff::Timestamp::now() + Duration::from_secs(600)).to_zoned(jiff::tz::TimeZone::UTC);
    let later = later.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let answers = json!([
        { "status": 429, "retry-after": "1" }, { "status": 502 }, { "break": true }, { "reject": 2 }, { "status": 400 },
        { "status": 503, "retry-after": later },
    ]);
    let receiver = Receiver::start("http/protobuf", &answers);
    let mut sender = Sender::to(&receiver, Protocol::HttpProtobuf);
    sender.tell(5);
    let requests = receiver.wait_for(4);
    assert!(between(&requests, 0) >= 1.0 && between(&requests, 1) < 3.0, "{requests:#?}");
    assert!(requests.iter().all(|request| Receiver::uids(request) == Receiver::uids(&requests[0])), "{requests:#?}");
    sender.settled();
    assert_eq!((sample(&sender.metrics, "cgtrace_otlp_failures_total"), dropped(&sender.metrics)), (3, [0, 2, 0, 0]));
    sender.tell(3);
    sender.settled();
    assert_eq!(dropped(&sender.metrics), [0, 2, 3, 0], "what is refused for good is not sent again");
    // Asked to wait for ten minutes, it neither asks sooner nor holds up the end of the agent.
    sender.tell(1);
    receiver.wait_for(6);
    let (sent, dropped, took) = sender.end();
    assert_eq!((sent, dropped, receiver.requests().len()), (3, [0, 2, 3, 1], 6));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn over_grpc_what_may_be_sent_again_is_sent_again_when_it_was_asked_for() {
    let answers = json!([
        { "code": "UNAVAILABLE", "delay": 1.2 }, { "code": "RESOURCE_EXHAUSTED", "delay": 0.8 }, { "code": "ABORTED" },
        { "reject": 1 }, { "code": "RESOURCE_EXHAUSTED" }, { "code": "INVALID_ARGUMENT" }, {},
    ]);
    let receiver = Receiver::start("grpc", &answers);
    let mut sender = Sender::to(&receiver, Protocol::Grpc);
    sender.tell(2);
    let requests = receiver.wait_for(4);
    assert!(between(&requests, 0) >= 1.2 && between(&requests, 1) >= 0.8, "{requests:#?}");
    assert!(requests.iter().all(|request| Receiver::uids(request) == Receiver::uids(&requests[0])), "{requests:#?}");
    sender.settled();
    for (count, expected) in [(3, [0, 1, 3, 0]), (4, [0, 1, 7, 0]), (5, [0, 1, 7, 0])] {
        sender.tell(count);
        sender.settled();
        assert_eq!(dropped(&sender.metrics), expected);
    }
    assert_eq!(receiver.wait_for(7).len(), 7);
    assert_eq!(sender.end().0, 6);
}

#[test]
fn a_receiver_that_is_slow_or_hangs_holds_nothing_up() {
    let receiver = Receiver::start("http/protobuf", &json!([{ "sleep": 1.0 }, {}, { "sleep": 60 }]));
    let endpoint = format!("http://127.0.0.1:{}", receiver.port);
    let mut sender = Sender::start(&endpoint, Protocol::HttpProtobuf, None, "300");
    sender.tell(1);
    sender.settled();
    assert_eq!(sample(&sender.metrics, "cgtrace_otlp_failures_total"), 1, "it took longer than it may");
    let begun = Instant::now();
    sender.tell(1_000);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    receiver.wait_for(3);
    let (sent, dropped, took) = sender.end();
    assert_eq!((sent, dropped), (1, [0, 0, 0, 1_000]));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn only_a_receiver_with_the_right_certificate_gets_anything() {
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(directory.path(), "localhost");
    let (other, _) = certificate(directory.path(), "node1.example");
    for (word, protocol) in [("grpc", Protocol::Grpc), ("http/protobuf", Protocol::HttpProtobuf)] {
        let receiver = Receiver::with(word, 0, &json!([{}]), Some((&cert, &key)));
        let start = |host: &str, ca: &Path| {
            let mut sender = Sender::start(&format!("https://{host}:{}", receiver.port), protocol, Some(ca), "5000");
            sender.tell(1);
            sender
        };
        // Each of them tries until its time is up: they end at once.
        std::thread::scope(|scope| {
            for (host, ca) in [("localhost", &other), ("127.0.0.1", &cert)] {
                let strange = start(host, ca);
                scope.spawn(move || {
                    let failures = || sample(&strange.metrics, "cgtrace_otlp_failures_total");
                    wait_for("an attempt", || (failures() >= 1).then_some(()));
                    let (sent, dropped, _) = strange.end();
                    assert_eq!((sent, dropped), (0, [0, 0, 0, 1]));
                });
            }
        });
        assert_eq!(receiver.requests().len(), 0, "nothing was said to it");
        let right = start("localhost", &cert);
        right.settled();
        assert_eq!(right.end().0, 1);
    }
}
