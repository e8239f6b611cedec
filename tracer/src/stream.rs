//! Numbers inputs, has them judged, counts them, and hands out lines: live and in a replay alike.

use std::io;

use crate::findings::Finding;
use crate::hierarchy::Header;
use crate::input::{About, BootTime, Change, Facts, Input, ProcessChange, Seq, Tick};
use crate::line::{Counts, Line, Output};
use crate::tracker::Tracker;

/// A stream, from its header to its end.
pub struct Stream<'a> {
    tracker: Tracker,
    seq: Seq,
    /// A later part of the trace has begun, and all that was known is told again.
    in_opening: bool,
    /// What went through so far.
    pub counts: Counts,
    output: &'a mut dyn Output,
}

impl<'a> Stream<'a> {
    /// Begins with the header.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn begin(header: &Header, output: &'a mut dyn Output) -> io::Result<Self> {
        output.line(&Line::Header(header))?;
        Ok(Self { tracker: Tracker::new(header), seq: Seq(0), in_opening: false, counts: Counts::default(), output })
    }

    /// What the tracker knows.
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// Takes one input in. An attempt that turns out to be on another file system is none, and is dropped.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn feed(&mut self, input: &mut Input) -> io::Result<()> {
        if let Input::Attempt(attempt) = &*input
            && self.tracker.is_foreign(attempt)
        {
            return Ok(());
        }
        self.replay(Seq(self.seq.0 + 1), input)
    }

    /// Takes in an input that has its number already, from a trace file.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn replay(&mut self, seq: Seq, input: &mut Input) -> io::Result<()> {
        self.seq = seq;
        let restates = self.restates(input);
        let findings = self.tracker.apply(seq, input);
        if restates {
            self.output.line(&Line::Known(seq, input))?;
        } else {
            self.counts.count(input);
            self.output.line(&Line::Input(seq, input))?;
        }
        for span in self.tracker.take_spans() {
            self.output.line(&Line::Span(&span))?;
        }
        self.tell(findings)
    }

    /// Lets time pass up to `now`. Only a tick that makes a story fall due is part of the stream.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn tick(&mut self, now: BootTime) -> io::Result<()> {
        if self.tracker.next_due().is_some_and(|due| due <= now) {
            self.feed(&mut Input::Tick(Tick { at: now }))?;
        }
        self.output.line(&Line::Passed(now))
    }

    /// Tells what is left, and ends with the counts.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn end(mut self, at: BootTime) -> io::Result<Counts> {
        let findings = self.tracker.finish(at);
        self.tell(findings)?;
        self.counts.evicted = self.tracker.evicted();
        self.output.line(&Line::End(at, &self.counts))?;
        Ok(self.counts)
    }

    /// Begins a new part of the trace: its header, then all that is known.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn begin_part(&mut self, header: &Header) -> io::Result<()> {
        self.output.line(&Line::Header(header))?;
        self.part_begins();
        self.tracker.snapshot().iter_mut().try_for_each(|input| self.feed(input))
    }

    /// The inputs that follow were read from a later part of the same trace, which begins with all that was known.
    pub fn part_begins(&mut self) {
        self.in_opening = true;
    }

    /// Whether an input only restates what is known. What nobody has said yet is news wherever it is told: where parts of a trace are
    /// missing, and when a walk finds what was lost.
    fn restates(&mut self, input: &Input) -> bool {
        if let Input::Event(event) = input
            && event.change == Change::Existing
        {
            return self.tracker.knows_cgroup(&event.cgroup);
        }
        if !self.in_opening {
            return false;
        }
        match input {
            Input::Process(process) if process.change == ProcessChange::Seen => self.tracker.knows_process(process.pid),
            Input::Facts(Facts { about, .. }) => match about {
                About::Mounts { namespace, .. } => self.tracker.knows_mounts(*namespace),
                About::Container(said) => self.tracker.knows_container(said),
                About::Walked { again, .. } => {
                    self.in_opening = false;
                    again.is_none()
                }
                About::State { .. } | About::Unread(_) | About::Unanswered { .. } => false,
            },
            // Lines that were not written are told of where writing goes on.
            Input::Lost(_) => false,
            // Where there was no room to remember all cgroups, no walk ends the opening.
            Input::Event(_) | Input::Attempt(_) | Input::Process(_) | Input::Tick(_) => {
                self.in_opening = false;
                false
            }
        }
    }

    /// Hands what is buffered on to whoever reads.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    fn tell(&mut self, findings: Vec<Finding>) -> io::Result<()> {
        for finding in findings {
            self.counts.count_finding(&finding);
            self.output.line(&Line::Finding(&finding))?;
        }
        Ok(())
    }
}
