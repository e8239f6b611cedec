//! `cgtrace why`: questions as people ask them, of recorded runs.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use cgtrace::hierarchy::{Clock, Header};
use cgtrace::input::{BootTime, Cgroup, CgroupId, Change, Event, HierarchyId, Input};
use cgtrace::recording::{History, TraceLine, remember};
use cgtrace::stream::Stream;
use serde_json::Value;

use super::{run, text};
use crate::support::{CGTRACE, parse, wait_for};

fn recording(name: &str) -> String {
    format!("{}/tests/recordings/{name}.jsonl", env!("CARGO_MANIFEST_DIR"))
}

fn why(what: &str, name: &str) -> Output {
    run(&["why", what, &recording(name)])
}

#[test]
fn a_pasted_line_is_answered_and_what_nobody_knows_is_said() {
    let line = "unable to remove container's cgroup: open /sys/fs/cgroup/b05bzm3so1yqejoj60u5ud8fl: no such file or \
                directory";
    let told = why(line, "incident");
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stderr));
    let answer = text(&told.stdout);
    let places = ["never created", "mkdir EROFS", "known issue looks like runc#4518", "what to do", "processes"]
        .map(|part| answer.find(part).unwrap_or_else(|| panic!("{part:?} is not in {answer}")));
    assert!(places.is_sorted(), "the paragraph is first, then the story: {answer}");

    let unknown = why("/sys/fs/cgroup/elsewhere", "incident");
    assert_eq!((unknown.status.code(), text(&unknown.stdout)), (Some(1), String::new()));
    assert!(text(&unknown.stderr).contains("nothing is known of it in "), "{}", text(&unknown.stderr));
    let nothing = why("it does not work", "incident");
    assert_eq!(nothing.status.code(), Some(2));
    assert!(text(&nothing.stderr).contains("names no cgroup"), "{}", text(&nothing.stderr));
}

#[test]
fn several_answers_are_a_short_list_from_which_each_can_be_asked() {
    let told = run(&["why", "--json", "a1b2c3d4", &recording("nested")]);
    let one = parse(&told.stdout);
    assert_eq!(one.len(), 1, "{one:?}");
    // Each of them is named `web`, in recordings of two hosts.
    let both = [recording("runc-v1"), recording("nested")];
    let told = run(&["why", "web", &both[0], &both[1]]);
    assert_eq!(told.status.code(), Some(0));
    let told = run(&["why", "we", &both[0], &both[1]]);
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stderr));
    assert!(text(&told.stderr).contains("2 things may be meant"), "{}", text(&told.stderr));
    let list = text(&told.stdout);
    assert!(list.contains("container web: ") && list.contains("container web-1: "), "{list}");
    let json = parse(&run(&["why", "we", "--json", &both[0], &both[1]]).stdout);
    let ids: Vec<&Value> = json.iter().map(|line| &line["subject"]["container"]).collect();
    assert_eq!(ids.len(), 2);
    for id in ids {
        let told = run(&["why", id.as_str().unwrap(), &both[0], &both[1]]);
        assert!(text(&told.stdout).starts_with("container "), "{}", text(&told.stdout));
    }
}

#[test]
fn an_answer_is_json_too_and_comes_through_a_pipe() {
    let told = run(&["why", "web", "--json", &recording("runc-v1")]);
    let lines = parse(&told.stdout);
    assert_eq!(lines.len(), 1);
    let answer = &lines[0];
    assert_eq!((&answer["type"], &answer["subject"]["container"]), (&"answer".into(), &"web".into()));
    let steps = answer["steps"].as_array().unwrap();
    assert_eq!(steps[0]["what"], "created");
    assert!(steps[0]["by"].as_str().unwrap().starts_with("runc["));
    let piped = Command::new(CGTRACE)
        .args(["why", "web", "--json", "-"])
        .stdin(fs::File::open(recording("runc-v1")).unwrap())
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(piped.stdout, told.stdout);
}

/// What is given out as an agent's memory, once.
fn agent_with(trace: Vec<u8>) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = BufReader::new(stream.try_clone().unwrap()).lines();
        assert_eq!(asked.next().unwrap().unwrap(), "GET /trace HTTP/1.1");
        assert!(asked.any(|line| line.unwrap().is_empty()));
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", trace.len()).unwrap();
        stream.write_all(&trace).unwrap();
    });
    (format!("http://{address}"), answering)
}

/// A container's cgroup, far below the root, that comes and goes. Its path cannot be compressed well.
fn life(number: u64, at: u64) -> [Input; 3] {
    let mut random = number;
    let ids = (0..32).map(|part| {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        format!("{}{:016x}", if part % 4 == 0 { "/" } else { "" }, random ^ random >> 33)
    });
    let path: String = ids.collect();
    let step = |change, after| {
        let cgroup = Cgroup {
            hierarchy: HierarchyId(0),
            id: Some(CgroupId(1 << 32 | number)),
            path: path.as_str().into(),
            level: Some(8),
            truncated: false,
        };
        let at = BootTime(at + after);
        Input::Event(Event { at, change, cgroup, requested: false, task: None, container: None, actor: None })
    };
    [step(Change::Created, 0), step(Change::Removed, 40_000_000), step(Change::Released, 60_000_000)]
}

#[test]
fn an_hour_of_churn_later_nothing_is_known_and_it_is_said_since_when_anything_is() {
    const LINE: &str = "unable to remove container's cgroup: open /sys/fs/cgroup/b05bzm3so1yqejoj60u5ud8fl: no such \
                        file or directory";
    const SECOND: u64 = 1_000_000_000;
    const MINUTE: u64 = 60 * SECOND;
    let history = History::new(1 << 20).unwrap();
    let mut remembering = remember(&history, |why| panic!("{why}"), Box::new(|| {})).unwrap();
    let written = remembering.written().clone();
    let kept = |history: &History| -> Vec<u8> {
        history.trace(None, None).unwrap().unwrap().flat_map(|piece| piece.to_vec()).collect()
    };
    // The thread that compresses has caught up.
    let wait_until_kept = |created: u64| {
        wait_for("the history", || {
            let newest = zstd::stream::decode_all(&history.trace(None, None).unwrap()?.last()?[..]).unwrap();
            let end = newest.trim_ascii_end().rsplit(|byte| *byte == b'\n').next()?;
            (parse(end)[0]["counts"]["events"]["created"] == created).then_some(())
        });
    };
    let incident = fs::read_to_string(recording("incident")).unwrap();
    let mut incident = incident.lines().map(|line| TraceLine::parse(line.as_bytes()).unwrap());
    let Some(TraceLine::Header(header)) = incident.next() else { panic!("the first line is the header") };
    let mut stream = Stream::begin(&header, &mut remembering).unwrap();
    let mut at = 0;
    for line in incident {
        if let TraceLine::Input(_, mut input) = line {
            at = input.at().0;
            stream.feed(&mut input).unwrap();
        }
    }
    stream.flush().unwrap();
    wait_until_kept(1);
    let (agent, answering) = agent_with(kept(&history));
    let told = run(&["why", LINE, &agent]);
    answering.join().unwrap();
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stderr));
    assert!(text(&told.stdout).contains("mkdir EROFS"), "{}", text(&told.stdout));

    // A container a second, for an hour.
    let mut number = 0;
    for minute in 0..60 {
        for second in 0..60 {
            let begun = at + minute * MINUTE + second * SECOND;
            for mut input in life(number, begun) {
                stream.feed(&mut input).unwrap();
            }
            number += 1;
        }
        let now = at + (minute + 1) * MINUTE;
        stream.tick(BootTime(now)).unwrap();
        stream.flush().unwrap();
        wait_until_kept(1 + number);
        if written.wants_part() {
            let clock = Clock { boot_ns: now, unix_ns: header.clock.unix_ns(BootTime(now)) };
            stream.begin_part(&Header { clock, ..(*header).clone() }).unwrap();
            stream.flush().unwrap();
        }
    }
    let since = history.held().since.unwrap().0;
    assert!(since > at + 10 * MINUTE && since < at + 59 * MINUTE, "{since} of {at}");
    let since = header.clock.rfc3339(BootTime(since))[..19].replace('T', " ");
    for what in [LINE, "b05bzm3so1yqejoj60u5ud8fl", "/cgtrace-demo/b05bzm3so1yqejoj60u5ud8fl"] {
        let (agent, answering) = agent_with(kept(&history));
        let told = run(&["why", what, &agent]);
        answering.join().unwrap();
        assert_eq!((told.status.code(), text(&told.stdout)), (Some(1), String::new()), "{what}");
        let said = format!("nothing known of it: the agent's memory reaches back to {since} UTC\n");
        assert_eq!(text(&told.stderr), said, "{what}");
    }
}
