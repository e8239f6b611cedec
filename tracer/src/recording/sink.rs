//! The thread that writes: a disk that is slow or full never holds up tracing.
//!
//! [`Recording`] is the output that a stream is given. It makes lines and hands them over in batches; a [`Sink`] in a
//! thread of its own compresses and writes them. When the thread falls behind, lines are lost, and that is counted and
//! said. What a part begins with costs no other line its place.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;

use crate::findings::Finding;
use crate::hierarchy::{Clock, Header};
use crate::input::{BootTime, Input, LossReason, Lost, Ring, Seq};
use crate::line::{Counts, Line, Output};
use crate::output::Json;

/// A frame is closed at the latest when it is this old: with the way here, a second is lost when the machine dies.
pub(super) const FRAME_AGE: Duration = Duration::from_millis(900);
/// How often a sink looks at its clock when nothing comes.
const BEAT: Duration = Duration::from_millis(100);
/// Lines are handed over when there are so many bytes of them, and at every flush.
const BATCH: usize = 64 << 10;
/// Bytes that may wait: some seconds of the worst churn.
const WAITING: usize = 16 << 20;
/// Bytes that may wait beside those, of what parts begin with. All that is known is more than that only where names are
/// full of bytes that JSON has to escape.
const OPENING: usize = 64 << 20;
/// Bytes that a batch takes beside its lines, about.
const COUNTS: usize = 1 << 10;

/// What was written, and what could not be. Shared between the two threads.
#[derive(Debug, Default)]
pub struct Written {
    files: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
    errors: AtomicU64,
    error: Mutex<Option<String>>,
    wants_part: AtomicBool,
    reopen: AtomicBool,
    misplaced: AtomicBool,
}

impl Written {
    /// Files begun.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Bytes in them.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Lines that could not be written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Times that writing failed.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// The first reason why.
    pub fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a new file is wanted and cannot be made: what is written goes on into the old one, which may have been
    /// moved.
    pub fn is_misplaced(&self) -> bool {
        self.misplaced.load(Ordering::Relaxed)
    }

    /// Whether something is not where it was to be kept.
    pub fn is_incomplete(&self) -> bool {
        self.lost() > 0 || self.is_misplaced()
    }

    /// Whether the trace is to go on in a new part: with a header, and all that is known.
    pub fn wants_part(&self) -> bool {
        self.wants_part.load(Ordering::Relaxed)
    }

    pub(super) fn set_misplaced(&self, misplaced: bool) {
        self.misplaced.store(misplaced, Ordering::Relaxed);
    }

    /// Has the file begun anew at the next opportunity: somebody has moved the old one.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }

    pub(super) fn add_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_lost(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }

    /// Counts a failure. `true` if it is the first one.
    pub(super) fn add_error(&self, text: &str) -> bool {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        let first = error.is_none();
        error.get_or_insert_with(|| text.to_owned());
        first
    }
}

/// Some lines of a stream, numbered without a gap.
#[derive(Default)]
pub(super) struct Batch {
    /// Each with its newline.
    pub bytes: Vec<u8>,
    /// How many they are.
    pub lines: u64,
    /// Lines before these that never got here.
    pub lost_before: u64,
    /// The number and the time of the last one, whether it got here or not.
    pub last: (Seq, BootTime),
    /// How many there were of everything so far.
    pub counts: Counts,
    /// They are what a part begins with: all that is known.
    pub opens: bool,
    /// After the last one a finding was made that is worth writing for.
    pub matters: bool,
}

impl Batch {
    /// Line by line, newlines included.
    pub fn each(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split_inclusive(|byte| *byte == b'\n')
    }

    /// The number before that of the first line.
    pub fn before(&self) -> Seq {
        Seq(self.last.0.0.saturating_sub(self.lines))
    }

    /// Bytes that it takes while it waits, about.
    fn weight(&self) -> usize {
        self.bytes.len() + COUNTS
    }
}

/// What waits between the two threads, in bytes.
#[derive(Default)]
struct Waiting {
    lines: AtomicUsize,
    /// What parts begin with. It is told in one go, and would push out what happens meanwhile.
    openings: AtomicUsize,
}

impl Waiting {
    /// What waits like that batch, and how much that may be.
    fn like(&self, batch: &Batch) -> (&AtomicUsize, usize) {
        if batch.opens { (&self.openings, OPENING) } else { (&self.lines, WAITING) }
    }

    fn has_room(&self, batch: &Batch) -> bool {
        let (waiting, most) = self.like(batch);
        waiting.load(Ordering::Relaxed) + batch.weight() <= most
    }

    fn add(&self, batch: &Batch) {
        self.like(batch).0.fetch_add(batch.weight(), Ordering::Relaxed);
    }

    fn take(&self, batch: &Batch) {
        self.like(batch).0.fetch_sub(batch.weight(), Ordering::Relaxed);
    }
}

/// What a trace says of lines that are missing from it.
pub(super) fn not_written(at: BootTime, count: u64) -> Input {
    Input::Lost(Lost::some(at, Ring::Recording, LossReason::NotWritten, count))
}

/// A line as it is in a trace whose clock that is.
pub(super) fn line_of(clock: Clock, line: &Line<'_>) -> Vec<u8> {
    let mut json = Json::at(clock);
    // A vector can be written.
    let _ = json.line(line);
    json.take()
}

/// Writes lines somewhere, and never fails: what it cannot write it counts.
pub(super) trait Sink: Send {
    /// Numbers are kept here.
    fn written(&self) -> &Arc<Written>;
    /// A part begins: the first one, or one that was wanted. All that is known follows.
    fn part(&mut self, header: &Header);
    /// Lines.
    fn lines(&mut self, batch: &Batch);
    /// A finding was made that is worth writing for; so many there were of everything then.
    fn finding(&mut self, counts: &Counts);
    /// Whether what follows should begin with a header and all that is known.
    fn wants_part(&self) -> bool;
    /// How often it is to be told that time has passed. `None` if nothing falls due by that.
    fn beats(&self) -> Option<Duration> {
        Some(BEAT)
    }
    /// Time has passed.
    fn beat(&mut self);
    /// The files are to be begun anew: somebody has moved them.
    fn reopen(&mut self);
    /// The trace is over.
    fn end(&mut self, at: BootTime, counts: &Counts);
}

enum Message {
    Part(Box<Header>),
    Lines(Batch),
    End(BootTime, Box<Counts>),
}

/// An output that is recorded in a thread of its own.
///
/// It numbers the lines itself: a filter may have left some out.
pub struct Recording {
    json: Json<Vec<u8>>,
    batch: Batch,
    begun: bool,
    /// Others want parts, too: see [`Recording::beside_others`].
    beside_others: bool,
    /// All that is known is told again, to begin a part with.
    opens: bool,
    /// That part was wanted by others.
    passes_over: bool,
    matters: Box<dyn Fn(&Finding) -> bool>,
    to: Option<Sender<Message>>,
    waiting: Arc<Waiting>,
    thread: Option<JoinHandle<()>>,
    written: Arc<Written>,
}

impl Recording {
    /// Runs `sink` in a thread of that name, which calls `confine` first. It is told of the findings that matter.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn start(
        name: &str,
        sink: impl Sink + 'static,
        matters: Box<dyn Fn(&Finding) -> bool>,
        confine: Box<dyn FnOnce() + Send>,
    ) -> anyhow::Result<Self> {
        let written = sink.written().clone();
        let (to, from) = channel();
        let waiting = Arc::<Waiting>::default();
        let taken = waiting.clone();
        let run = move || {
            confine();
            work(sink, &from, &taken);
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(run).context("failed to start a thread")?;
        let json = Json::new(Vec::with_capacity(BATCH));
        Ok(Self {
            json,
            batch: Batch::default(),
            begun: false,
            beside_others: false,
            opens: false,
            passes_over: false,
            matters,
            to: Some(to),
            waiting,
            thread: Some(thread),
            written,
        })
    }

    /// The stream begins parts for others as well: one that this has not wanted it does not begin, and leaves out what
    /// is only told again for it.
    #[must_use]
    pub fn beside_others(mut self) -> Self {
        self.beside_others = true;
        self
    }

    /// What was written so far.
    pub fn written(&self) -> &Arc<Written> {
        &self.written
    }

    fn input(&mut self, input: &Input) -> io::Result<()> {
        let number = Seq(self.batch.last.0.0 + 1);
        // What is told again is of an older time.
        self.batch.last = (number, self.batch.last.1.max(input.at()));
        self.batch.lines += 1;
        self.json.line(&Line::Input(number, input))?;
        if self.json.len() >= BATCH {
            self.hand_over();
        }
        Ok(())
    }

    /// Hands over what there is, unless too much waits already: then it is lost.
    fn hand_over(&mut self) {
        if self.batch.lines == 0 && !self.batch.matters {
            return;
        }
        self.batch.bytes = self.json.take();
        self.batch.opens = self.opens;
        let batch = std::mem::take(&mut self.batch);
        (self.batch.last, self.batch.counts) = (batch.last, batch.counts.clone());
        if self.waiting.has_room(&batch) {
            self.send_lines(batch);
        } else {
            self.batch.lost_before = batch.lost_before + batch.lines;
            self.batch.matters = batch.matters;
        }
    }

    fn send_lines(&self, batch: Batch) {
        self.waiting.add(&batch);
        self.send(Message::Lines(batch));
    }

    fn send(&self, message: Message) {
        if let Some(to) = &self.to {
            // The thread is there as long as this is, unless it has died; that is told at the end.
            let _ = to.send(message);
        }
    }

    fn close(&mut self) {
        self.to = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            self.written.add_error("the thread that writes has died");
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.close();
    }
}

impl Output for Recording {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        match line {
            Line::Header(header) => {
                let wanted = self.written.wants_part.swap(false, Ordering::Relaxed);
                self.passes_over = self.beside_others && self.begun && !wanted;
                if self.passes_over {
                    return Ok(());
                }
                self.hand_over();
                (self.begun, self.opens) = (true, true);
                // Its clock is needed for the lines that follow; the sink writes the line itself.
                self.json = Json::at(header.clock);
                self.send(Message::Part(Box::new((*header).clone())));
                Ok(())
            }
            Line::Input(_, input) => {
                self.batch.counts.count(input);
                self.input(input)
            }
            Line::Known(..) if self.passes_over => Ok(()),
            Line::Known(_, input) => self.input(input),
            Line::Finding(finding) => {
                self.batch.counts.count_finding(finding);
                if (self.matters)(finding) {
                    self.batch.matters = true;
                    self.hand_over();
                }
                Ok(())
            }
            Line::End(at, counts) => {
                self.hand_over();
                // What was lost last is told, too.
                let rest = std::mem::take(&mut self.batch);
                self.send_lines(rest);
                self.send(Message::End(*at, Box::new((*counts).clone())));
                self.close();
                Ok(())
            }
            Line::Span(_) | Line::Passed(_) => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hand_over();
        // What a part begins with comes at once.
        (self.opens, self.passes_over) = (false, false);
        Ok(())
    }
}

fn work(mut sink: impl Sink, from: &Receiver<Message>, waiting: &Waiting) {
    // What is on its way when a part is wanted does not answer that.
    let mut asked = false;
    loop {
        let message = match sink.beats() {
            Some(beat) => from.recv_timeout(beat),
            None => from.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match message {
            Ok(Message::Part(header)) => {
                asked = false;
                sink.part(&header);
            }
            Ok(Message::Lines(batch)) => {
                sink.lines(&batch);
                if batch.matters {
                    sink.finding(&batch.counts);
                }
                waiting.take(&batch);
            }
            Ok(Message::End(at, counts)) => sink.end(at, &counts),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if sink.written().reopen.swap(false, Ordering::Relaxed) {
            sink.reopen();
        }
        sink.beat();
        if !asked && sink.wants_part() {
            asked = true;
            sink.written().wants_part.store(true, Ordering::Relaxed);
        }
    }
}
