//! Traces in parts, as they are written and as they are read.

use super::*;
use crate::input::{Actor, Cgroup, CgroupId, Event, HierarchyId, LossReason, Lost, Operation, Pid, Stuck, WalkedAgain};
use crate::recording::TraceLine;
use crate::tracker::tests::header;

/// Replays the lines of a recording into an output, to the end.
pub(crate) fn replay(recording: &str, output: &mut dyn Output) {
    let mut lines = recording.lines().map(|line| TraceLine::parse(line.as_bytes()).expect("a line"));
    let Some(TraceLine::Header(header)) = lines.next() else { panic!("the first line is the header") };
    let mut stream = Stream::begin(&header, output).expect("it can be taken");
    for line in lines {
        match line {
            TraceLine::Input(seq, mut input) => stream.replay(seq, &mut input).expect("it can be taken"),
            TraceLine::End(at) => {
                stream.end(at).expect("it can be taken");
                return;
            }
            TraceLine::Header(_) | TraceLine::Other => {}
        }
    }
    panic!("the recording has no end")
}

/// Keeps the lines of a stream, part by part.
#[derive(Default)]
struct Parts(Vec<Vec<(Seq, Input, bool)>>);

impl Output for Parts {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        let (seq, input, is_known) = match line {
            Line::Header(_) => {
                self.0.push(Vec::new());
                return Ok(());
            }
            Line::Input(seq, input) => (*seq, (*input).clone(), false),
            Line::Known(seq, input) => (*seq, (*input).clone(), true),
            Line::Span(_) | Line::Finding(_) | Line::Passed(_) | Line::End(..) => return Ok(()),
        };
        self.0.last_mut().expect("a header is first").push((seq, input, is_known));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn cgroup(id: u64, path: &str) -> Cgroup {
    let (hierarchy, id) = (HierarchyId(0), Some(CgroupId(id)));
    Cgroup { hierarchy, id, path: path.into(), level: None, truncated: false }
}

fn event(at: u64, change: Change, id: u64, path: &str) -> Input {
    let (at, cgroup) = (BootTime(at), cgroup(id, path));
    Input::Event(Event { at, change, cgroup, requested: false, task: None, container: None, actor: None })
}

fn walked(at: u64, cgroups: u64, again: Option<u64>) -> Input {
    let again = again.map(|began| WalkedAgain { began: BootTime(began), hierarchies: vec![HierarchyId(0)] });
    Input::Facts(Facts { at: BootTime(at), about: About::Walked { cgroups, unreadable: 0, again } })
}

/// What is there at the start of all traces here.
const START: u64 = 2_000_000_000;

fn feed(stream: &mut Stream<'_>, inputs: &[Input]) {
    inputs.iter().for_each(|input| stream.feed(&mut input.clone()).expect("it can be kept"));
}

fn begin<'a>(header: &Header, output: &'a mut Parts) -> Stream<'a> {
    let mut stream = Stream::begin(header, output).expect("it can be kept");
    feed(&mut stream, &[event(START, Change::Existing, 1, "/a"), walked(START, 1, None)]);
    stream
}

fn knows(stream: &Stream<'_>, ids: &[u64]) -> Vec<bool> {
    let path = |id: &u64| if *id == 1 { "/a".to_owned() } else { format!("/a/{id}") };
    let is_told = |id: &u64| match event(0, Change::Existing, *id, &path(id)) {
        Input::Event(event) => stream.tracker().is_told(&event),
        _ => false,
    };
    ids.iter().map(is_told).collect()
}

/// A trace in three parts: 2 is made in the first one, and goes in the second one, where 3 is made.
fn in_three_parts() -> Parts {
    let (mut parts, header) = (Parts::default(), header(&[]));
    let mut stream = begin(&header, &mut parts);
    feed(&mut stream, &[event(START + 1, Change::Created, 2, "/a/2")]);
    stream.begin_part(&header).expect("kept");
    feed(&mut stream, &[event(START + 2, Change::Removed, 2, "/a/2"), event(START + 3, Change::Created, 3, "/a/3")]);
    stream.begin_part(&header).expect("kept");
    feed(&mut stream, &[event(START + 4, Change::Created, 4, "/a/4")]);
    parts
}

/// Reads some parts of a trace; what is missing between them is told as a trace's reader does.
fn read<'a>(parts: &[Vec<(Seq, Input, bool)>], output: &'a mut Parts) -> Stream<'a> {
    let mut stream = Stream::begin(&header(&[]), output).expect("kept");
    let mut last = None;
    for part in parts {
        if last.is_some() {
            stream.part_begins();
        }
        for (seq, input, _) in part {
            let missing = last.map_or(0, |last: u64| seq.0 - last - 1);
            if missing > 0 {
                let lost = Lost::some(BootTime(START), Ring::Recording, LossReason::Malformed, missing);
                stream.replay(Seq(seq.0 - 1), &mut Input::Lost(lost)).expect("kept");
            }
            stream.replay(*seq, &mut input.clone()).expect("kept");
            last = Some(seq.0);
        }
    }
    stream
}

#[test]
fn what_ended_in_a_part_that_is_missing_is_not_there() {
    let Parts(parts) = in_three_parts();
    let (mut whole, mut holed, mut cut) = (Parts::default(), Parts::default(), Parts::default());
    assert_eq!(knows(&read(&parts, &mut whole), &[1, 2, 3, 4]), [true, false, true, true]);
    assert_eq!(whole.0, [parts.concat()], "what was told again live is told again in a replay");
    let with_gap = [parts[0].clone(), parts[2].clone()];
    let stream = read(&with_gap, &mut holed);
    assert_eq!(knows(&stream, &[1, 2, 3, 4]), [true, false, true, true]);
    assert!(stream.counts.lost > 0);
    // Where what it begins with is damaged, nobody is known to be gone.
    let is_third = |input: &Input| matches!(input, Input::Event(event) if event.change == Change::Existing);
    let place = parts[2].iter().position(|(_, input, _)| is_third(input)).expect("cgroups are told again");
    let damaged = [parts[0].clone(), parts[2][..place].to_vec(), parts[2][place + 1..].to_vec()];
    let damaged = [damaged[0].clone(), damaged[1..].concat()];
    assert_eq!(knows(&read(&damaged, &mut cut), &[1, 2]), [true, true]);
}

#[test]
fn a_part_that_begins_within_a_walk_confirms_nothing() {
    let (mut parts, header) = (Parts::default(), header(&[]));
    let mut stream = begin(&header, &mut parts);
    feed(&mut stream, &[event(START + 1, Change::Created, 2, "/a/2")]);
    // The walk finds that 2 is gone, whose removal was lost.
    feed(&mut stream, &[event(START + 11, Change::Existing, 1, "/a")]);
    stream.begin_part(&header).expect("kept");
    feed(&mut stream, &[walked(START + 12, 1, Some(START + 10))]);
    assert_eq!(knows(&stream, &[1, 2]), [true, false]);
    let mut replayed = Parts::default();
    assert_eq!(knows(&read(&parts.0, &mut replayed), &[1, 2]), [true, false]);
}

#[test]
fn what_there_is_no_room_for_is_counted_once_however_often_it_is_found() {
    let (mut parts, header) = (Parts::default(), header(&[]));
    let mut stream = begin(&header, &mut parts);
    let long = "x".repeat(4_000);
    let found = |at: u64| -> Vec<Input> {
        (10..4_000).map(|id| event(at, Change::Existing, id, &format!("/{id}{long}"))).collect()
    };
    let mut full = Parts::default();
    let mut first = Stream::begin(&header, &mut full).expect("kept");
    feed(&mut first, &found(START));
    feed(&mut first, &[walked(START + 1, 3_990, None)]);
    let (existing, evicted) = (first.counts.events["existing"], first.tracker().evicted());
    assert!(existing == 3_990 && evicted > 1_000, "{existing} {evicted}");
    for round in 1..4 {
        let began = START + 100 * round;
        feed(&mut first, &found(began + 1));
        feed(&mut first, &[walked(began + 2, 3_990, Some(began))]);
    }
    assert_eq!((first.counts.events["existing"], first.tracker().evicted()), (existing, evicted));
    // One that is found where all are known is news.
    feed(&mut stream, &[event(START + 2, Change::Existing, 2, "/a/2"), walked(START + 3, 2, Some(START + 1))]);
    assert_eq!(stream.counts.events["existing"], 2);
}

/// An rmdir of cgroup 1 that does not return, or has after so long.
fn rmdir(at: u64, took_ns: Option<u64>) -> Input {
    Input::Stuck(Stuck {
        at: BootTime(at),
        began: BootTime(START + 1),
        operation: Operation::Rmdir,
        file: None,
        name: None,
        hierarchy: HierarchyId(0),
        id: CgroupId(1),
        cgroup: None,
        container: None,
        actor: Actor::new(Pid(30), 30, "manager".into(), Some(0)),
        waits_in: Some("cgroup_drain_dying".to_owned()),
        exiting: Vec::new(),
        took_ns,
        errno: None,
    })
}

#[test]
fn a_part_stands_alone_and_tells_again_of_calls_that_have_not_returned() {
    let (mut parts, header) = (Parts::default(), header(&[]));
    let mut stream = begin(&header, &mut parts);
    feed(&mut stream, &[rmdir(START + 2_000_000_000, None)]);
    stream.begin_part(&header).expect("kept");
    feed(&mut stream, &[rmdir(START + 9_000_000_000, Some(8_999_999_999))]);
    stream.begin_part(&header).expect("kept");
    let counted = stream.end(BootTime(START + 10_000_000_000)).expect("kept");
    assert_eq!((counted.findings["stuck-call"], counted.stuck), (1, 2), "that it hangs, and that it has returned");
    let Parts(parts) = parts;
    let told = |part: &[(Seq, Input, bool)]| {
        let stuck = part.iter().filter_map(|(_, input, known)| match input {
            Input::Stuck(stuck) => Some((stuck.at.0 - START, stuck.took_ns.is_some(), stuck.cgroup.is_some(), *known)),
            _ => None,
        });
        stuck.collect::<Vec<_>>()
    };
    assert_eq!(told(&parts[0]), [(2_000_000_000, false, true, false)]);
    assert_eq!(told(&parts[1]), [(2_000_000_000, false, true, true), (9_000_000_000, true, true, false)]);
    assert_eq!(told(&parts[2]), [], "it has returned");
    let mut whole = Parts::default();
    read(&parts, &mut whole);
    assert_eq!(whole.0, [parts.concat()], "what was told again live is told again in a replay");
    // Without the part before it: then it is news.
    let mut alone = Parts::default();
    let stream = read(&parts[1..2], &mut alone);
    assert_eq!((stream.counts.findings["stuck-call"], stream.counts.stuck), (1, 2));
    assert_eq!(told(&alone.0[0])[0], (2_000_000_000, false, true, false));
}
