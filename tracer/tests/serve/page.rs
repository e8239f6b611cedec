//! The page at `/`, and what it listens to: new findings, as they come.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::agent::{Serving, demo};
use crate::support::{DEADLINE, wait_for};

/// A client that listens to findings.
struct Listener {
    status: String,
    answer: BufReader<TcpStream>,
}

impl Listener {
    /// With more lines in its head.
    fn new(agent: &Serving, query: &str, more: &str) -> Self {
        let mut stream = TcpStream::connect(agent.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let request = format!("GET /events{query} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        let status = String::from_utf8(status[9..].to_vec()).unwrap();
        Self { status, answer: BufReader::new(stream) }
    }

    /// The next finding, and the id of its event.
    fn finding(&mut self) -> (String, Value) {
        let (mut line, mut id) = (String::new(), None);
        loop {
            line.clear();
            assert!(self.answer.read_line(&mut line).unwrap() > 0, "it goes on");
            if let Some(text) = line.strip_prefix("id: ") {
                id = Some(text.trim_end().to_owned());
            }
            if let Some(text) = line.strip_prefix("data: ") {
                return (id.unwrap(), serde_json::from_str(text).unwrap());
            }
        }
    }
}

#[test]
fn who_listens_is_told_of_findings_and_the_page_shows_them_with_their_containers() {
    let agent = Serving::start(&[]);
    wait_for("readiness", || (agent.get("/readyz").0 == 200).then_some(()));
    let mut listener = Listener::new(&agent, "", "");
    assert_eq!(listener.status, "200");
    demo("duplicate");
    let finding = agent.wait_for_finding("duplicate-teardown");
    let (first, told) = listener.finding();
    assert_eq!((&told["id"], &told["type"]), (&finding["id"], &"finding".into()));
    let (mut last, mut told) = (first.clone(), told);
    while told["revision"] != finding["revision"] {
        (last, told) = listener.finding();
    }
    for field in ["kind", "severity", "summary", "actor", "attempts"] {
        assert_eq!(told[field], finding[field], "it is the finding that /findings has");
    }
    assert_eq!(agent.sample("cgtrace_http_listeners"), 1.0);

    let id = finding["id"].as_str().unwrap();
    let shown = format!("id=\"finding-{id}\"");
    let page = wait_for("its place in the timeline", || {
        let (_, page) = agent.get("/");
        page.contains(&format!("href=\"#finding-{id}\"")).then_some(page)
    });
    assert!(page.contains(&shown) && page.contains("show in the timeline"), "{page}");
    let container = finding["container"]["id"].as_str().unwrap();
    assert!(page.contains(&format!("title=\"{container}")), "a row of the timeline: {page}");
    let answer = agent.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let head = String::from_utf8_lossy(&answer).split("\r\n\r\n").next().unwrap().to_lowercase();
    let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");

    demo("missing-path");
    agent.wait_for_finding("missing-path-teardown");
    // Whoever connects again goes on where it was, whatever it asked for at first.
    let mut again = Listener::new(&agent, &format!("?after={first}"), &format!("Last-Event-ID: {last}\r\n"));
    assert_eq!(again.finding().1["kind"], "missing-path-teardown");
    drop((listener, again));
    wait_for("nobody to listen", || (agent.sample("cgtrace_http_listeners") == 0.0).then_some(()));
    assert_eq!(agent.sample("cgtrace_http_listeners_dropped_total"), 0.0);
    agent.end();
}

#[test]
fn listeners_are_bounded_and_strangers_are_none() {
    let agent = Serving::start(&[]);
    wait_for("readiness", || (agent.get("/readyz").0 == 200).then_some(()));
    assert_eq!(agent.get_by("evil.example", "/events").0, 403);
    for wrong in ["after=", "after=1", "after=x.y", "x=1"] {
        assert_eq!(agent.get(&format!("/events?{wrong}")).0, 400, "{wrong}");
    }
    let listeners: Vec<Listener> = (0..32).map(|_| Listener::new(&agent, "", "")).collect();
    assert!(listeners.iter().all(|listener| listener.status == "200"));
    assert_eq!(Listener::new(&agent, "", "").status, "503");
    assert_eq!(agent.sample("cgtrace_http_listeners"), 32.0);
    assert_eq!((agent.get("/healthz").0, agent.get("/").0), (200, 200), "there is room for others");
    let left = listeners.into_iter().skip(1).collect::<Vec<_>>();
    wait_for("room", || (Listener::new(&agent, "", "").status == "200").then_some(()));
    // They do not hold up its end.
    agent.end();
    drop(left);
}
