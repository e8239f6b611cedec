//! Numbers inputs, has them judged, counts them, and hands out lines: live and in a replay alike.

use std::io;

use crate::findings::Finding;
use crate::hierarchy::Header;
use crate::input::{About, BootTime, Change, Facts, HierarchyId, Input, ProcessChange, Ring, Seq, Tick};
use crate::line::{Counts, Line, Output};
use crate::name::Name;
use crate::tracker::Tracker;

/// How far a part of a trace has told again what was known, which it does in this order.
#[derive(Clone, Copy)]
enum Opening {
    /// Mount tables, containers and processes.
    Facts,
    /// So many cgroups, all of one time; then that these are all.
    Cgroups(BootTime, u64),
    /// Calls that have not returned.
    Calls,
}

/// A stream, from its header to its end.
pub struct Stream<'a> {
    tracker: Tracker,
    seq: Seq,
    /// A later part of the trace has begun, and all that was known is told again.
    opening: Option<Opening>,
    /// Lines are missing since all that was known was last told.
    gap: bool,
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
        let tracker = Tracker::new(header);
        Ok(Self { tracker, seq: Seq(0), opening: None, gap: false, counts: Counts::default(), output })
    }

    /// What the tracker knows.
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// See [`Tracker::take_looks`].
    pub fn take_looks(&mut self) -> Vec<(HierarchyId, Name)> {
        self.tracker.take_looks()
    }

    /// See [`Tracker::take_unseen`].
    pub fn take_unseen(&mut self) -> Option<u64> {
        self.tracker.take_unseen()
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
        self.gap |= matches!(input, Input::Lost(lost) if lost.ring == Ring::Recording);
        let before = self.opening;
        let opens = self.opens(input);
        let restates = self.restates(input, opens);
        let findings = if opens && restates && !self.gap {
            self.tracker.restated(input);
            Vec::new()
        } else {
            self.tracker.apply(seq, input)
        };
        if opens && self.gap && is_whole(before, input) {
            self.tracker.forget_untold(input.at());
            self.gap = false;
        }
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

    /// Lets time pass up to `now`. Only a tick that something falls due at is part of the stream.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn tick(&mut self, now: BootTime) -> io::Result<()> {
        if self.tracker.wants_tick(now) {
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
        let told = self.tracker.snapshot().iter_mut().try_for_each(|input| self.feed(input));
        // Where there was no room to remember all cgroups, nothing says that these are all.
        self.opening = None;
        told
    }

    /// The inputs that follow were read from a later part of the same trace, which begins with all that was known.
    pub fn part_begins(&mut self) {
        self.opening = Some(Opening::Facts);
    }

    /// Whether an input is of what a part of the trace begins with. Whatever else comes ends that.
    fn opens(&mut self, input: &Input) -> bool {
        let Some(opening) = self.opening else { return false };
        let next = match (input, opening) {
            // Lines that were not written are told of where writing goes on.
            (Input::Lost(_), _) => return false,
            (Input::Process(process), Opening::Facts) if process.change == ProcessChange::Seen => Some(opening),
            (
                Input::Facts(Facts { about: About::Mounts { .. } | About::Container(_) | About::Dying { .. }, .. }),
                Opening::Facts,
            ) => Some(opening),
            (Input::Event(event), Opening::Facts) if event.change == Change::Existing => {
                Some(Opening::Cgroups(event.at, 1))
            }
            // What a walk finds has times of its own.
            (Input::Event(event), Opening::Cgroups(at, count))
                if event.change == Change::Existing && event.at == at =>
            {
                Some(Opening::Cgroups(at, count + 1))
            }
            (Input::Facts(Facts { about: About::Walked { again: None, .. }, .. }), _) => Some(Opening::Calls),
            (Input::Stuck(stuck), _) if stuck.took_ns.is_none() => Some(Opening::Calls),
            _ => None,
        };
        self.opening = next;
        next.is_some()
    }

    /// Whether an input only restates what is known. What nobody has said yet is news wherever it is told: where parts
    /// of a trace are missing, and when a walk finds what was lost.
    fn restates(&self, input: &Input, opens: bool) -> bool {
        match input {
            Input::Event(event) => self.tracker.is_told(event),
            Input::Process(process) => opens && self.tracker.knows_process(process.pid),
            Input::Facts(Facts { about, .. }) => match about {
                About::Mounts { namespace, .. } => opens && self.tracker.knows_mounts(*namespace),
                About::Container(said) => opens && self.tracker.knows_container(said),
                About::Walked { .. } | About::Dying { .. } => opens,
                About::State { .. } | About::Failure { .. } | About::Unread(_) => false,
                About::Unanswered { .. } | About::Occupants(_) | About::Circumstances(_) => false,
            },
            // One that has not returned is told once.
            Input::Stuck(stuck) => opens && self.tracker.knows_call(stuck.call()),
            Input::Attempt(_) | Input::Change(_) | Input::Lost(_) | Input::Tick(_) => false,
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

/// Whether an input ends what a part of the trace began with, of which nothing is missing.
fn is_whole(opening: Option<Opening>, input: &Input) -> bool {
    let told = match opening {
        Some(Opening::Cgroups(_, count)) => count,
        Some(Opening::Facts | Opening::Calls) | None => 0,
    };
    matches!(input, Input::Facts(Facts { about: About::Walked { cgroups, again: None, .. }, .. }) if *cgroups == told)
}

#[cfg(test)]
pub(crate) mod tests;
