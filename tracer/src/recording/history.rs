//! The black box: the last of a trace, kept in memory and bounded by its size, to be given out as a trace file.
//!
//! What is kept is a row of parts, each of which begins with a header and all that is known, as the parts of a rotated
//! recording do. So the oldest can go first, and what is left can be read.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::excerpt::Excerpt;
use super::frames::{Closed, FrameWriter};
use super::retold::Retold;
use super::sink::{Batch, Recording, Sink, Written, line_of, not_written};
use crate::hierarchy::{Clock, Header};
use crate::input::{BootTime, Seq};
use crate::line::{Counts, Line};

/// A part goes on until it has grown by this share of the memory: so much is let go of at once.
const SHARE: u64 = 8;
/// What exists on this host may not fit into the memory. Whether it does now is tried again after this.
const AGAIN: Duration = Duration::from_secs(60);

/// The last of a trace, in memory. A clone is the same one.
#[derive(Clone)]
pub struct History {
    limit: u64,
    kept: Arc<Mutex<Kept>>,
    size: Arc<Size>,
}

/// How much is held: nobody waits to know it.
#[derive(Default)]
struct Size {
    bytes: AtomicU64,
    /// Boot time at which it begins; 0 while there is nothing.
    since: AtomicU64,
    /// How often all of it was let go of, by reason.
    emptied: [AtomicU64; Emptied::ALL.len()],
}

/// Why all that a history held was let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emptied {
    /// What exists on this host alone takes more than half of what may be held. Nothing is held for a minute.
    Existing,
    /// So much happened before a part could begin that it did not fit. It begins anew at once.
    Burst,
}

impl Emptied {
    /// All of them, in the order of declaration.
    pub const ALL: [Self; 2] = [Self::Existing, Self::Burst];

    /// Its word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Existing => "existing",
            Self::Burst => "burst",
        }
    }
}

/// How much a history holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Bytes, compressed but for the newest ones.
    pub bytes: u64,
    /// Where it begins. `None` while there is nothing.
    pub since: Option<BootTime>,
}

impl History {
    /// Of so many bytes.
    ///
    /// # Errors
    /// When the compressor cannot be set up.
    pub fn new(limit: u64) -> io::Result<Self> {
        let kept = Kept {
            frames: FrameWriter::new(Closed::default())?,
            parts: VecDeque::new(),
            clock: Clock { boot_ns: 0, unix_ns: 0 },
            last: (Seq(0), BootTime(0)),
            reached: BootTime(0),
            counts: Counts::default(),
            refused: None,
        };
        Ok(Self { limit, kept: Arc::new(Mutex::new(kept)), size: Arc::default() })
    }

    /// How many bytes it may hold.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// What it holds now. This waits for nobody.
    pub fn held(&self) -> Held {
        let since = BootTime(self.size.since.load(Ordering::Relaxed));
        Held { bytes: self.size.bytes.load(Ordering::Relaxed), since: Some(since).filter(|since| since.0 > 0) }
    }

    /// How often all that it held was let go of for that reason. This waits for nobody.
    pub fn emptied(&self, why: Emptied) -> u64 {
        self.size.emptied[why as usize].load(Ordering::Relaxed)
    }

    /// Whether it holds nothing now because what exists on this host did not fit.
    pub fn is_too_small(&self) -> bool {
        self.kept().refused.is_some()
    }

    /// Changes what is kept. Returns why all of it was let go of, if it was.
    fn keep(&self, change: impl FnOnce(&mut Kept) -> Option<Emptied>) -> Option<Emptied> {
        let mut kept = self.kept();
        let emptied = change(&mut kept);
        if let Some(why) = emptied {
            self.size.emptied[why as usize].fetch_add(1, Ordering::Relaxed);
        }
        self.size.bytes.store(kept.bytes(), Ordering::Relaxed);
        self.size.since.store(kept.parts.front().map_or(0, |part| part.begun.0), Ordering::Relaxed);
        emptied
    }

    /// What it holds now as a whole trace file, which ends with the last line that has come. It begins at `since`, or
    /// earlier: with the part that this is in. Only lines of containers whose id begins with `container` are wanted,
    /// and what is needed to judge them. `None` while there is nothing.
    ///
    /// # Errors
    /// When the compressor cannot be set up.
    pub fn trace(&self, since: Option<BootTime>, container: Option<String>) -> io::Result<Option<Excerpt>> {
        let kept = self.kept();
        if kept.parts.is_empty() {
            return Ok(None);
        }
        let holds = |since| kept.parts.iter().rposition(|part| part.is_open && part.begun <= since);
        let first = since.and_then(holds).unwrap_or(0);
        let mut frames: Vec<Bytes> =
            kept.parts.range(first..).flat_map(|part| part.frames.iter()).map(|frame| frame.bytes.clone()).collect();
        let newest = kept.frames.pending_lines().to_vec();
        let end = line_of(kept.clock, &Line::End(kept.last.1, &kept.counts));
        // Nobody who writes waits for the rest.
        drop(kept);
        let mut tail = FrameWriter::new(Closed::default())?;
        tail.line(&newest)?;
        tail.line(&end)?;
        tail.close_frame()?;
        frames.append(&mut tail.get_mut().0);
        Excerpt::new(frames, container).map(Some)
    }

    /// What happened in containers since then, as it was told when it happened. It begins later where that would be
    /// more than so many frames, of 256 KiB of lines each. `None` while there is nothing.
    pub fn retold(&self, since: BootTime, most: usize) -> Option<Retold> {
        let kept = self.kept();
        let mut begins = since.max(kept.parts.front()?.begun);
        let mut frames = VecDeque::new();
        for frame in kept.parts.iter().rev().flat_map(|part| part.frames.iter().rev()) {
            if frames.len() == most || frame.ends < since {
                begins = begins.max(frame.ends);
                break;
            }
            frames.push_front(frame.bytes.clone());
        }
        frames.push_back(kept.frames.pending_lines().to_vec().into());
        Some(Retold::new(frames, begins))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the last of a stream in `history`, in a thread of its own, which calls `confine` first. `report` is told,
/// once, when what exists on this host takes too much of it.
///
/// # Errors
/// When there can be no thread.
pub fn remember(history: &History, report: fn(&str), confine: Box<dyn FnOnce() + Send>) -> anyhow::Result<Recording> {
    let remembering = Remembering { history: history.clone(), written: Arc::default(), report };
    Recording::start("history", remembering, Box::new(|_| false), confine)
}

/// A sink that is a history.
struct Remembering {
    history: History,
    written: Arc<Written>,
    report: fn(&str),
}

struct Kept {
    /// Of the newest part.
    frames: FrameWriter<Closed>,
    parts: VecDeque<Part>,
    /// Of the newest header.
    clock: Clock,
    /// The last line's number and time.
    last: (Seq, BootTime),
    /// No line that has come is of a later time.
    reached: BootTime,
    counts: Counts,
    /// When a part alone was too large: then nothing is kept for a while.
    refused: Option<Instant>,
}

/// A piece of the trace that can be read alone.
struct Part {
    begun: BootTime,
    frames: Vec<Frame>,
    /// In these frames.
    bytes: u64,
    /// Those of them that only restate what is known.
    opening: u64,
    /// All that is known has come.
    is_open: bool,
}

/// A closed frame.
struct Frame {
    /// No line in it is of a later time.
    ends: BootTime,
    bytes: Bytes,
}

impl Kept {
    fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum::<u64>() + self.frames.pending() as u64
    }

    fn begin_part(&mut self, header: &Header) {
        self.close_frame();
        self.clock = header.clock;
        self.refused = None;
        let begun = BootTime(header.clock.boot_ns);
        self.parts.push_back(Part { begun, frames: Vec::new(), bytes: 0, opening: 0, is_open: false });
        self.add(&line_of(header.clock, &Line::Header(header)));
    }

    /// Adds a line to the newest part. Without one it is of a time that is passed over.
    fn add(&mut self, line: &[u8]) {
        if !self.parts.is_empty() {
            // Memory can be written.
            let _ = self.frames.line(line);
            self.take_closed();
        }
    }

    fn close_frame(&mut self) {
        // Memory can be written.
        let _ = self.frames.close_frame();
        self.take_closed();
    }

    fn take_closed(&mut self) {
        let closed = std::mem::take(&mut self.frames.get_mut().0);
        let ends = self.reached;
        if let Some(part) = self.parts.back_mut() {
            part.bytes += closed.iter().map(|frame| frame.len() as u64).sum::<u64>();
            part.frames.extend(closed.into_iter().map(|bytes| Frame { ends, bytes }));
        }
    }

    fn lines(&mut self, batch: &Batch, limit: u64) -> Option<Emptied> {
        if batch.lost_before > 0 {
            let lost = not_written(self.last.1, batch.lost_before);
            self.add(&line_of(self.clock, &Line::Input(batch.before(), &lost)));
        }
        self.reached = batch.last.1;
        batch.each().for_each(|line| self.add(line));
        self.last = batch.last;
        self.counts.clone_from(&batch.counts);
        match self.parts.back_mut() {
            Some(part) if batch.opens => part.opening = part.bytes,
            Some(part) => part.is_open = true,
            None => {}
        }
        self.let_go(limit)
    }

    /// The oldest goes first. What does not fit alone goes, too: then it is returned why.
    fn let_go(&mut self, limit: u64) -> Option<Emptied> {
        while self.bytes() > limit && self.parts.len() > 1 {
            self.parts.pop_front();
        }
        if self.bytes() > limit {
            // The newest lines take far less when they are compressed.
            self.close_frame();
        }
        if self.bytes() <= limit {
            return None;
        }
        let fits = self.parts.pop_back().is_none_or(|part| part.opening <= limit / 2);
        self.refused = (!fits).then(Instant::now);
        Some(if fits { Emptied::Burst } else { Emptied::Existing })
    }

    fn wants_part(&self, limit: u64) -> bool {
        match self.parts.back() {
            Some(part) => part.bytes - part.opening >= (limit / SHARE).max(part.opening.min(limit / 4)),
            None => self.refused.is_none_or(|refused| refused.elapsed() >= AGAIN),
        }
    }
}

impl Sink for Remembering {
    fn written(&self) -> &Arc<Written> {
        &self.written
    }

    fn part(&mut self, header: &Header) {
        self.history.keep(|kept| {
            kept.begin_part(header);
            None
        });
    }

    fn lines(&mut self, batch: &Batch) {
        self.written.add_lost(batch.lost_before);
        let emptied = self.history.keep(|kept| kept.lines(batch, self.history.limit));
        if emptied == Some(Emptied::Existing) && self.history.emptied(Emptied::Existing) == 1 {
            (self.report)("the history holds nothing: what exists on this host takes more than half of its size");
        }
    }

    fn finding(&mut self, _: &Counts) {}

    fn wants_part(&self) -> bool {
        self.history.kept().wants_part(self.history.limit)
    }

    /// Nothing is due by itself: who idles is not woken.
    fn beats(&self) -> Option<Duration> {
        None
    }

    fn beat(&mut self) {}

    fn reopen(&mut self) {}

    fn end(&mut self, _: BootTime, _: &Counts) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{Cgroup, CgroupId, Change, Event, HierarchyId, Input, LossReason, Lost};
    use crate::line::Output;
    use crate::recording::{Item, Reader};
    use crate::tracker::tests::header;

    const LIMIT: u64 = 1 << 20;

    /// A sink of that size, and what it is fed.
    struct Fed {
        sink: Remembering,
        header: Header,
        seq: u64,
    }

    impl Fed {
        fn new() -> Self {
            let history = History::new(LIMIT).expect("a compressor");
            Self { sink: Remembering { history, written: Arc::default(), report: |_| {} }, header: header(&[]), seq: 0 }
        }

        /// A part begins, with so many lines that restate what is known.
        fn part(&mut self, opening: u64) {
            self.header.clock.boot_ns = self.seq + 1;
            self.sink.part(&self.header);
            self.lines(opening, true, 0);
        }

        /// So many lines, one a nanosecond, of some three hundred bytes when compressed. Those that open a part are
        /// small.
        fn lines(&mut self, count: u64, opens: bool, lost_before: u64) {
            self.seq += lost_before;
            let mut bytes = Vec::new();
            let mut random = self.seq;
            for _ in 0..count {
                self.seq += 1;
                let noise = (0..if opens { 0 } else { 40 }).map(|_| {
                    random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                    format!("{:016x}", random ^ random >> 33)
                });
                let (seq, noise) = (self.seq, noise.collect::<String>());
                // A field of a later version is passed over.
                let line = format!(r#"{{"type":"tick","seq":{seq},"at":{seq},"noise":"{noise}"}}"#);
                bytes.extend_from_slice(format!("{line}\n").as_bytes());
            }
            let last = (Seq(self.seq), BootTime(self.seq));
            let counts = Counts { evicted: self.seq, ..Counts::default() };
            self.sink.lines(&Batch { bytes, lines: count, lost_before, last, counts, opens, matters: false });
        }

        /// Numbers of all inputs that are given out from then on, and how many were said to be lost on the way.
        fn read(&self, since: Option<u64>) -> (Vec<u64>, u64) {
            let (seqs, lost, ended) = read(&self.sink.history, since);
            assert_eq!(ended, BootTime(self.seq));
            (seqs, lost)
        }
    }

    /// Numbers of all inputs that a history gives out from then on, how many were said to be lost on the way, and when
    /// it ends.
    fn read(history: &History, since: Option<u64>) -> (Vec<u64>, u64, BootTime) {
        let trace = history.trace(since.map(BootTime), None).expect("a compressor").expect("something");
        let bytes: Vec<u8> = trace.flat_map(|piece| piece.to_vec()).collect();
        let mut reader = Reader::open(&bytes[..]).expect("a trace");
        let (mut seqs, mut lost, mut ended) = (Vec::new(), 0, None);
        while let Some(item) = reader.next_item().expect("memory can be read") {
            assert!(ended.is_none(), "the end comes last");
            match item {
                Item::Input(seq, input) => match *input {
                    Input::Lost(Lost { reason: LossReason::NotWritten, count, .. }) => lost += count,
                    _ => seqs.push(seq.0),
                },
                Item::End(at) => ended = Some(at),
                Item::Header(_) => {}
                Item::Damage(damage) => panic!("{damage}"),
            }
        }
        assert!(reader.is_whole());
        (seqs, lost, ended.expect("an end"))
    }

    #[test]
    fn what_is_kept_is_a_whole_trace_of_the_last_lines_however_few() {
        let mut fed = Fed::new();
        assert!(fed.sink.history.trace(None, None).expect("a compressor").is_none(), "nothing was traced yet");
        fed.part(2);
        fed.lines(3, false, 0);
        assert_eq!(fed.read(None), ((1..=5).collect(), 0));
        // It is more than one frame, of which the last is not closed.
        fed.lines(1_000, false, 0);
        assert_eq!(fed.read(None), ((1..=1_005).collect(), 0));
    }

    #[test]
    fn the_oldest_part_goes_first_and_it_never_holds_more_than_it_may() {
        let mut fed = Fed::new();
        fed.part(10);
        let (mut parts, mut fullest) = (1, 0);
        for _ in 0..400 {
            fed.lines(20, false, 0);
            if fed.sink.wants_part() {
                parts += 1;
                fed.part(10);
                assert!(!fed.sink.wants_part(), "a part that has just begun is not to be begun anew");
            }
            fullest = fullest.max(fed.sink.history.held().bytes);
        }
        assert!(fullest <= LIMIT && fullest > LIMIT * 3 / 4, "{fullest}");
        assert!(parts > 10, "{parts}");
        let since = fed.sink.history.held().since.expect("it holds something").0;
        assert!(since > 1, "the first part is gone");
        let (seqs, lost) = fed.read(None);
        assert_eq!((seqs.first(), seqs.last(), lost), (Some(&since), Some(&fed.seq), 0));
        assert_eq!(seqs.len() as u64, fed.seq - since + 1, "there is no gap");
    }

    #[test]
    fn a_part_of_it_begins_with_the_part_that_holds_the_moment() {
        let mut fed = Fed::new();
        for _ in 0..3 {
            fed.part(5);
            fed.lines(5, false, 0);
        }
        let first = |since: u64| fed.read(Some(since)).0[0];
        assert_eq!([0, 1, 10].map(first), [1, 1, 1]);
        assert_eq!([11, 20].map(first), [11, 11]);
        assert_eq!([21, 1_000].map(first), [21, 21]);
        // Of one that has just begun not all that is known may have come.
        fed.part(5);
        assert_eq!(fed.read(Some(1_000)).0[0], 21);
    }

    #[test]
    fn what_is_retold_begins_where_nothing_is_left_out() {
        let mut fed = Fed::new();
        assert!(fed.sink.history.retold(BootTime(0), usize::MAX).is_none(), "nothing was traced yet");
        for _ in 0..20 {
            fed.part(5);
            fed.lines(100, false, 0);
        }
        let begins =
            |since: u64, frames: usize| fed.sink.history.retold(BootTime(since), frames).expect("something").begins().0;
        let (kept, last) = (fed.sink.history.held(), fed.seq);
        assert_eq!(begins(0, usize::MAX), kept.since.expect("something").0, "with what is held");
        assert_eq!(begins(last - 50, usize::MAX), last - 50, "or when it was asked for");
        let short = begins(0, 5);
        assert!(short > last / 2 && short < last, "or with the oldest frame that there is room for: {short} of {last}");
        assert_eq!(begins(last - 1, 5), last - 1);
    }

    #[test]
    fn lines_that_did_not_get_here_are_told_of() {
        let mut fed = Fed::new();
        fed.part(1);
        fed.lines(1, false, 7);
        fed.lines(1, false, 0);
        assert_eq!(fed.read(None), (vec![1, 9, 10], 7));
        assert_eq!(fed.sink.written().lost(), 7);
    }

    #[test]
    fn what_does_not_fit_alone_is_not_kept_and_not_asked_for_without_end_and_it_is_counted_why() {
        let emptied = |fed: &Fed| Emptied::ALL.map(|why| fed.sink.history.emptied(why));
        let mut fed = Fed::new();
        fed.part(10);
        fed.lines(5_000, false, 0);
        assert_eq!(fed.sink.history.held(), Held { bytes: 0, since: None });
        assert_eq!((emptied(&fed), fed.sink.history.is_too_small()), ([0, 1], false));
        assert!(fed.sink.wants_part(), "it was what happened that took the room");
        fed.part(0);
        let mut fed = Fed::new();
        fed.part(0);
        fed.sink.history.kept().parts.back_mut().expect("a part").opening = LIMIT;
        fed.lines(5_000, false, 0);
        assert_eq!(fed.sink.history.held(), Held { bytes: 0, since: None });
        assert_eq!((emptied(&fed), fed.sink.history.is_too_small()), ([1, 0], true));
        assert!(!fed.sink.wants_part(), "it would not fit the next time either");
        assert!(fed.sink.history.trace(None, None).expect("a compressor").is_none());
    }

    #[test]
    fn what_fits_once_it_is_compressed_is_kept() {
        let mut fed = Fed::new();
        fed.part(0);
        while fed.sink.history.held().bytes <= LIMIT * 7 / 8 {
            fed.lines(10, false, 0);
        }
        // Small lines that would be too much as they are.
        fed.lines(3_000, true, 0);
        assert!(fed.sink.history.held().bytes > LIMIT * 7 / 8 && fed.sink.history.held().bytes <= LIMIT);
        assert_eq!(fed.read(None), ((1..=fed.seq).collect(), 0));
        assert_eq!(fed.sink.history.emptied(Emptied::Burst), 0);
    }

    /// So many of these are more than may wait of what happens.
    const VERY_MANY: u64 = 14_000;

    /// A cgroup with a name that makes a long line.
    fn cgroup(seq: u64, change: Change) -> Input {
        let path = format!("/{}{seq}", "\u{1}".repeat(200));
        let cgroup = Cgroup {
            hierarchy: HierarchyId(0),
            id: Some(CgroupId(seq)),
            path: path.as_str().into(),
            level: None,
            truncated: false,
        };
        Input::Event(Event {
            at: BootTime(seq),
            change,
            cgroup,
            requested: false,
            task: None,
            container: None,
            actor: None,
        })
    }

    #[test]
    fn very_many_cgroups_that_exist_cost_no_event_its_place_while_a_part_begins() {
        let history = History::new(8 << 20).expect("a compressor");
        let (go, wait) = std::sync::mpsc::channel();
        // The thread that compresses does not get to run.
        let stuck = Box::new(move || wait.recv().expect("it goes on"));
        let mut recording = remember(&history, |_| {}, stuck).expect("a thread");
        let written = recording.written().clone();
        let mut seq = 0;
        let mut tell = |count: u64, known: bool, recording: &mut Recording| {
            for _ in 0..count {
                seq += 1;
                let input = cgroup(seq, if known { Change::Existing } else { Change::Created });
                let line = if known { Line::Known(Seq(seq), &input) } else { Line::Input(Seq(seq), &input) };
                recording.line(&line).expect("taken");
            }
            recording.flush().expect("taken");
            seq
        };
        recording.line(&Line::Header(&header(&[]))).expect("taken");
        tell(VERY_MANY, true, &mut recording);
        let told = tell(1_000, false, &mut recording);
        go.send(()).expect("a thread");
        recording.line(&Line::End(BootTime(told), &Counts::default())).expect("taken");
        assert_eq!(written.lost(), 0);
        assert_eq!(read(&history, None), ((1..=told).collect(), 0, BootTime(told)));
    }

    #[test]
    fn what_happens_is_lost_and_counted_where_too_much_of_it_waits() {
        let history = History::new(8 << 20).expect("a compressor");
        let (go, wait) = std::sync::mpsc::channel();
        let stuck = Box::new(move || wait.recv().expect("it goes on"));
        let mut recording = remember(&history, |_| {}, stuck).expect("a thread");
        let written = recording.written().clone();
        recording.line(&Line::Header(&header(&[]))).expect("taken");
        recording.flush().expect("taken");
        for seq in 1..=VERY_MANY {
            recording.line(&Line::Input(Seq(seq), &cgroup(seq, Change::Created))).expect("taken");
        }
        go.send(()).expect("a thread");
        recording.line(&Line::End(BootTime(VERY_MANY), &Counts::default())).expect("taken");
        let (seqs, lost, _) = read(&history, None);
        assert!(lost > 0 && !seqs.is_empty(), "{lost} of {VERY_MANY} were lost");
        assert_eq!((seqs.len() as u64 + lost, written.lost()), (VERY_MANY, lost));
    }
}
