//! The agent's outside: what others can ask of it while it traces.
//!
//! The thread that traces puts up on the [`Board`] what may be told, and never waits for anybody who reads it.

pub mod agent;
mod config;
mod http;
pub mod journal;
mod page;
pub mod push;
pub mod systemd;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

pub use config::{ConfigError, with_file};
pub use http::{Access, Address, Listener, Names, Tls, Token, is_loopback};

use crate::budget::Scale;
use crate::findings::Finding;
use crate::hierarchy::{Clock, Header};
use crate::input::BootTime;
use crate::line::{Counts, Line, Output};
use crate::metrics::Metrics;
use crate::process;
use crate::recording::History;

/// Where the agent serves unless told otherwise.
pub const ADDRESS: &str = "127.0.0.1:9464";
/// The socket that systemd makes for it. Only root can put one there.
pub const SOCKET: &str = "/run/cgtrace.sock";
/// Findings that are kept to be asked for, and what they may take.
const FINDINGS: usize = 1_000;
const BYTES: usize = 8 << 20;
/// An agent that has not taken a turn for so long is not ready.
const STALLED: Duration = Duration::from_secs(5);
/// One that has not for so long will not by itself.
const DEAD: Duration = Duration::from_secs(15);

/// What the agent tells.
pub struct Board {
    metrics: Metrics,
    /// The last of the trace, unless it is switched off.
    history: Option<History>,
    /// Boot time of the last turn, in nanoseconds; 0 before the first.
    turned: AtomicU64,
    stopping: AtomicBool,
    shown: Mutex<Shown>,
    /// How many words of findings were said so far. Who waits for more is woken.
    said: watch::Sender<u64>,
}

/// The word of a finding, by its number among all that were said.
type Said = (u64, Arc<Finding>);

#[derive(Default)]
struct Shown {
    header: Option<Arc<Header>>,
    /// Of now: the host's clock may have been set since the start.
    clock: Option<Clock>,
    /// The last word of each finding, the finding that was told first comes first.
    findings: VecDeque<Said>,
    scale: Scale,
    /// How many words were said, and the last of those that made room for others.
    said: u64,
    let_go: u64,
    counts: Counts,
    live: usize,
    dying: usize,
}

impl Board {
    /// An empty board.
    pub fn new(metrics: Metrics, history: Option<History>) -> Arc<Self> {
        let (turned, stopping) = (AtomicU64::new(0), AtomicBool::new(false));
        let said = watch::Sender::new(0);
        Arc::new(Self { metrics, history, turned, stopping, shown: Mutex::default(), said })
    }

    /// The agent took a turn.
    pub fn turn(&self, now: BootTime, live: usize, dying: usize) {
        self.turned.store(now.0, Ordering::Relaxed);
        let clock = process::clock();
        let mut shown = self.shown();
        (shown.live, shown.dying, shown.clock) = (live, dying, Some(clock));
    }

    /// The agent is about to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether the agent is about to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Why the agent is not ready; empty if it is.
    fn unready(&self) -> Vec<String> {
        let mut why = Vec::new();
        let turned = BootTime(self.turned.load(Ordering::Relaxed));
        let header = self.shown().header.clone();
        if self.is_stopping() {
            why.push("it is ending".to_owned());
        }
        match header {
            Some(header) if turned.0 > 0 => {
                let missing = header.probes.iter().filter(|probe| !probe.attached);
                why.extend(missing.map(|probe| format!("{} is not attached", probe.name)));
            }
            // What is there already is looked at before the first turn.
            _ => why.push("tracing has not begun".to_owned()),
        }
        why.extend(self.still_for(STALLED));
        why
    }

    /// What there is to say of the thread that traces, if it has not taken a turn for so long. Before the first turn
    /// nothing is.
    fn still_for(&self, long: Duration) -> Option<String> {
        let turned = BootTime(self.turned.load(Ordering::Relaxed));
        let age = process::boot_time().since(turned);
        let is_still = turned.0 > 0 && age >= long;
        is_still.then(|| format!("nothing was read from the kernel for {} s", age.as_secs()))
    }

    /// Why the agent is dead; `None` if it is alive.
    fn dead(&self) -> Option<String> {
        self.still_for(DEAD)
    }

    fn findings(&self) -> (Clock, Vec<Arc<Finding>>) {
        let shown = self.shown();
        (shown.clock(), shown.findings.iter().map(|(_, finding)| finding.clone()).collect())
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    /// Tells this run of the agent from others: when it began.
    fn run(&self) -> u64 {
        let began = self.header.as_ref().map(|header| header.clock.unix_ns(BootTime(header.clock.boot_ns)));
        began.and_then(|began| began.try_into().ok()).unwrap_or(0)
    }

    fn clock(&self) -> Clock {
        let begun = self.header.as_ref().map(|header| header.clock);
        self.clock.or(begun).unwrap_or(Clock { boot_ns: 0, unix_ns: 0 })
    }
}

/// Puts a stream's news up on a board.
pub struct Posting(Arc<Board>);

impl Posting {
    /// To that board.
    pub fn new(board: Arc<Board>) -> Self {
        Self(board)
    }

    fn finding(&self, finding: &Finding) {
        let mut shown = self.0.shown();
        shown.counts.count_finding(finding);
        shown.said += 1;
        let said = shown.said;
        // What is kept is what is weighed: a copy has no more room than it needs.
        let finding = Arc::new(finding.clone());
        shown.scale.put(finding.as_ref());
        // The last word takes the place of the one before.
        match shown.findings.iter().rposition(|(_, known)| known.id == finding.id) {
            Some(place) => {
                let (_, before) = std::mem::replace(&mut shown.findings[place], (said, finding));
                shown.scale.take(before.as_ref());
            }
            None => shown.findings.push_back((said, finding)),
        }
        while shown.findings.len() > FINDINGS || shown.scale.bytes() > BYTES {
            let Some((number, oldest)) = shown.findings.pop_front() else { break };
            shown.let_go = shown.let_go.max(number);
            shown.scale.take(oldest.as_ref());
        }
        drop(shown);
        self.0.said.send_replace(said);
    }
}

impl Output for Posting {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        match line {
            Line::Header(header) => self.0.shown().header = Some(Arc::new((*header).clone())),
            Line::Input(_, input) => self.0.shown().counts.count(input),
            Line::Finding(finding) => self.finding(finding),
            Line::End(..) => self.0.stop(),
            Line::Known(..) | Line::Span(_) | Line::Passed(_) => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telling_the_same_over_and_over_takes_no_more_room() {
        let board = Board::new(Metrics::default(), None);
        let posting = Posting::new(board.clone());
        for revision in 0..20_000 {
            posting.finding(&Finding::example("kept", revision));
        }
        let shown = board.shown();
        let one = crate::budget::weight(shown.findings[0].1.as_ref());
        assert_eq!((shown.findings.len(), shown.scale.bytes()), (1, one));
    }
}
