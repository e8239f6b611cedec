//! New findings, told to those who listen: server-sent events.
//!
//! Nothing is kept for a listener but its place in what the board holds. One that falls behind gets the last word of
//! each finding, and is told if some are gone; one that does not read at all is given up.

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::super::Board;
use super::{PIECE, stopped};
use crate::findings::Finding;
use crate::hierarchy::Clock;
use crate::line::{Line, Output};
use crate::output::Json;

/// Pieces that wait for a listener.
const WAITING: usize = 4;
/// A listener must have made room for a piece within this.
pub(super) const SLOW: Duration = Duration::from_secs(10);
/// Something is said so often at least: a proxy, or whoever listens, sees that the other end is there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Findings that come faster are told together: whoever traces does not wake every listener for each.
const TOGETHER: Duration = Duration::from_millis(200);

/// The id of an event: a run of an agent, and how many words of findings it has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) struct EventId {
    run: u64,
    number: u64,
}

impl EventId {
    pub fn parse(text: &str) -> Option<Self> {
        let (run, number) = text.split_once('.')?;
        Some(Self { run: u64::from_str_radix(run, 16).ok()?, number: number.parse().ok()? })
    }
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}.{}", self.run, self.number)
    }
}

/// What was said after a word.
struct News {
    /// One or more before these are gone.
    missed: bool,
    /// In the order they were said.
    findings: Vec<(EventId, Arc<Finding>)>,
    clock: Clock,
}

impl Board {
    /// The id of the last word.
    pub(in crate::serve) fn last_event(&self) -> EventId {
        let shown = self.shown();
        EventId { run: shown.run(), number: shown.said }
    }

    fn news(&self, after: u64) -> News {
        let shown = self.shown();
        let run = shown.run();
        let new = shown.findings.iter().filter(|(number, _)| *number > after);
        let mut findings: Vec<_> =
            new.map(|(number, finding)| (EventId { run, number: *number }, finding.clone())).collect();
        findings.sort_by_key(|(id, _)| id.number);
        News { missed: shown.let_go > after, findings, clock: shown.clock() }
    }
}

/// Tells what is said after an event of the same agent; without one, what is said from now on. The result ends with the
/// agent, or when nothing is taken of it for so long.
pub(super) fn listen(
    board: Arc<Board>,
    after: Option<EventId>,
    mut stop: watch::Receiver<bool>,
    slow: Duration,
) -> mpsc::Receiver<Bytes> {
    let (to, pieces) = mpsc::channel(WAITING);
    let last = board.last_event();
    // Of another run nothing is known: what this one holds is all new.
    let after = after.map_or(last.number, |after| if after.run == last.run { after.number } else { 0 });
    tokio::spawn(async move {
        let listening = board.metrics.listens();
        tokio::select! {
            told = tell(&board, after, &to, slow) => if told.is_err_and(|error| error == Ended::Slow) {
                board.metrics.dropped_listener();
            },
            () = stopped(&mut stop) => {}
            () = to.closed() => {}
        }
        drop(listening);
    });
    pieces
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Slow,
    Gone,
}

async fn tell(board: &Board, mut after: u64, to: &mpsc::Sender<Bytes>, slow: Duration) -> Result<Infallible, Ended> {
    let mut said = board.said.subscribe();
    // A browser whose connection is lost tries again after so many milliseconds.
    send(to, "retry: 3000\n\n".to_owned(), slow).await?;
    loop {
        said.borrow_and_update();
        let News { missed, findings, clock } = board.news(after);
        let mut text = String::new();
        if missed && after > 0 {
            text.push_str("event: missed\ndata: some findings are told no more\n\n");
        }
        for (id, finding) in findings {
            after = id.number;
            event(&mut text, id, &finding, clock);
            if text.len() >= PIECE {
                send(to, std::mem::take(&mut text), slow).await?;
            }
        }
        if !text.is_empty() {
            send(to, text, slow).await?;
        }
        tokio::time::sleep(TOGETHER).await;
        while tokio::time::timeout(HEARTBEAT, said.changed()).await.is_err() {
            send(to, ":\n\n".to_owned(), slow).await?;
        }
    }
}

/// The data is the finding as `/findings` has it.
fn event(text: &mut String, id: EventId, finding: &Finding, clock: Clock) {
    let mut json = Json::at(clock);
    // Memory can be written.
    let _ = json.line(&Line::Finding(finding));
    let line = json.take();
    let _ = writeln!(text, "id: {id}\nevent: finding\ndata: {}\n", String::from_utf8_lossy(line.trim_ascii_end()));
}

async fn send(to: &mpsc::Sender<Bytes>, text: String, slow: Duration) -> Result<(), Ended> {
    use mpsc::error::SendTimeoutError::{Closed, Timeout};
    to.send_timeout(text.into(), slow).await.map_err(|error| match error {
        Timeout(_) => Ended::Slow,
        Closed(_) => Ended::Gone,
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::Posting;
    use super::*;
    use crate::metrics::{Exposition, Metrics};

    /// A board, and what puts findings up on it.
    fn posted() -> (Arc<Board>, impl FnMut(&str, u32)) {
        let board = Board::new(Metrics::default(), None);
        let mut posting = Posting::new(board.clone());
        let post = move |id: &str, revision: u32| {
            posting.line(&Line::Finding(&Finding::example(id, revision))).expect("a board takes everything");
        };
        (board, post)
    }

    fn never() -> watch::Receiver<bool> {
        let (sender, stop) = watch::channel(false);
        // It never says anything, and is never gone.
        std::mem::forget(sender);
        stop
    }

    async fn piece(pieces: &mut mpsc::Receiver<Bytes>) -> Option<String> {
        let piece = tokio::time::timeout(Duration::from_secs(30), pieces.recv()).await.expect("it comes");
        piece.map(|piece| String::from_utf8(piece.to_vec()).expect("text"))
    }

    /// The events of a piece: number, finding, revision.
    fn told(piece: &str) -> Vec<(u64, String, u64)> {
        let events = piece.split_terminator("\n\n").filter(|event| event.contains("event: finding"));
        let told = events.map(|event| {
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
            let finding: serde_json::Value = serde_json::from_str(field("data: ")).expect("JSON");
            let number = EventId::parse(field("id: ")).expect("an id").number;
            let id = finding["id"].as_str().expect("an id").to_owned();
            (number, id, finding["revision"].as_u64().expect("a number"))
        });
        told.collect()
    }

    fn sample(board: &Board, name: &str) -> String {
        let text = String::from_utf8(board.metrics.tell(Exposition::wanted(""))).expect("text");
        let sample = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        sample.unwrap_or_else(|| panic!("no {name}")).to_owned()
    }

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = EventId { run: 0x18a_bcde, number: 17 };
        assert_eq!((id.to_string().as_str(), EventId::parse("18abcde.17")), ("18abcde.17", Some(id)));
        for wrong in ["", ".", "1", "1.", ".1", "x.1", "1.x", "-1.1", "1.-1"] {
            assert_eq!(EventId::parse(wrong), None, "{wrong}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn listeners_are_told_in_order_from_now_on_or_from_where_they_were() {
        let (board, mut post) = posted();
        post("a", 0);
        let mut from_now = listen(board.clone(), None, never(), SLOW);
        assert_eq!(piece(&mut from_now).await.as_deref(), Some("retry: 3000\n\n"));
        assert_eq!(sample(&board, "cgtrace_http_listeners"), "1");
        post("b", 0);
        post("c", 0);
        post("b", 1);
        let of = |number, id: &str, revision| (number, id.to_owned(), revision);
        let news = piece(&mut from_now).await.expect("news");
        assert_eq!(told(&news), [of(3, "c", 0), of(4, "b", 1)], "the last word of each");

        let after = |run, number| Some(EventId { run, number });
        for (after, expected) in [
            (after(0, 3), vec![of(4, "b", 1)]),
            (after(0, 0), vec![of(1, "a", 0), of(3, "c", 0), of(4, "b", 1)]),
            (after(99, 4), vec![of(1, "a", 0), of(3, "c", 0), of(4, "b", 1)]),
        ] {
            let mut pieces = listen(board.clone(), after, never(), SLOW);
            piece(&mut pieces).await;
            assert_eq!(told(&piece(&mut pieces).await.expect("news")), expected, "after {after:?}");
        }
        drop(from_now);
        while sample(&board, "cgtrace_http_listeners") != "0" {
            tokio::task::yield_now().await;
        }
        assert_eq!(sample(&board, "cgtrace_http_listeners_dropped_total"), "0", "they went by themselves");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn one_who_fell_behind_what_is_held_is_told_so() {
        let (board, mut post) = posted();
        (0..1_100).for_each(|number| post(&format!("f{number}"), 0));
        let mut pieces = listen(board.clone(), Some(EventId { run: 0, number: 50 }), never(), SLOW);
        piece(&mut pieces).await;
        let (mut all, mut longest) = (Vec::new(), 0);
        while all.len() < 1_000 {
            let piece = piece(&mut pieces).await.expect("news");
            assert_eq!(piece.contains("event: missed\n"), all.is_empty(), "it is said once, first");
            longest = longest.max(piece.len());
            all.extend(told(&piece));
        }
        assert_eq!((all[0].0, all.last().expect("news").0), (101, 1_100));
        assert!(longest < PIECE + 4_096, "{longest}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn one_who_does_not_read_is_dropped_and_counted_and_costs_few_pieces() {
        let (board, mut post) = posted();
        (0..1_000).for_each(|number| post(&format!("f{number}"), 0));
        let all = Some(EventId { run: 0, number: 0 });
        let mut stuck = listen(board.clone(), all, never(), Duration::from_millis(50));
        while sample(&board, "cgtrace_http_listeners_dropped_total") != "1" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(sample(&board, "cgtrace_http_listeners"), "0");
        let mut left = 0;
        while piece(&mut stuck).await.is_some() {
            left += 1;
        }
        assert_eq!(left, WAITING);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_end_of_the_agent_ends_it() {
        let (board, _) = posted();
        let (sender, stop) = watch::channel(false);
        let mut pieces = listen(board, None, stop, SLOW);
        piece(&mut pieces).await;
        sender.send(true).expect("somebody listens");
        assert_eq!(piece(&mut pieces).await, None);
    }
}
