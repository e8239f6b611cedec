//! The agent, put together: what its stream goes to, what is done at every turn, and the thread that serves.

use std::io;
use std::sync::Arc;
use std::sync::mpsc;

use anyhow::Context;
use tokio::sync::watch;

use super::journal::Journal;
use super::push::Pushing;
use super::systemd::Notifier;
use super::{Access, Board, Listener, Posting, http};
use crate::line::{Line, Output};
use crate::metrics::{Counting, Metrics, Sampling};
use crate::recording::Recording;
use crate::sandbox::{Role, confine, say_confined};
use crate::session::Turn;

/// Starts the thread that serves. It has given up its rights when this returns.
///
/// # Errors
/// When there can be no thread, or the sockets cannot be waited for.
pub fn start_server(
    listeners: Vec<Listener>,
    board: Arc<Board>,
    access: Access,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<std::thread::JoinHandle<()>> {
    let (started, ready) = mpsc::channel();
    let work = move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                return drop(started.send(Err(anyhow::Error::new(error).context("failed to start the event loop"))));
            }
        };
        runtime.block_on(async {
            match http::serve(listeners, board, access, stop) {
                Ok(serving) => {
                    say_confined(confine(&Role::Serve));
                    let _ = started.send(Ok(()));
                    serving.await;
                }
                Err(error) => drop(started.send(Err(error))),
            }
        });
    };
    let thread = std::thread::Builder::new().name("serve".into()).spawn(work).context("failed to start a thread")?;
    ready.recv().context("the thread that serves has died")??;
    Ok(thread)
}

/// What is done at every turn.
pub struct Beat {
    notifier: Notifier,
    board: Arc<Board>,
    sampling: Sampling,
    ready: bool,
    stopping: bool,
}

impl Beat {
    /// Takes numbers down, and tells the board and whoever manages the service.
    pub fn new(notifier: Notifier, board: Arc<Board>, sampling: Sampling) -> Self {
        Self { notifier, board, sampling, ready: false, stopping: false }
    }

    /// A turn was taken.
    pub fn turn(&mut self, turn: &Turn) {
        self.sampling.turn(turn);
        let (live, dying) = (turn.tracker.live_cgroups(), turn.tracker.dying_cgroups());
        self.board.turn(turn.now, live, dying);
        let status = || format!("tracing; {live} cgroups, {dying} dying");
        if self.board.is_stopping() && !std::mem::replace(&mut self.stopping, true) {
            self.notifier.tell("STOPPING=1");
        }
        if std::mem::replace(&mut self.ready, true) {
            self.notifier.alive(status);
        } else {
            self.notifier.tell(&format!("READY=1\nSTATUS={}", status()));
        }
    }
}

/// Counts, posts, records, writes to the journal, and puts findings into the queue for a collector.
pub struct Agent {
    counting: Counting,
    posting: Posting,
    journal: Option<Journal>,
    pushing: Option<Pushing>,
    recordings: Vec<Recording>,
}

impl Agent {
    /// Counts to `metrics`, posts on `board`, writes findings to the journal and to the queue for a collector if there
    /// is one, and records: in memory, into files, both, or not at all.
    pub fn new(
        metrics: Metrics,
        board: Arc<Board>,
        journal: Option<Journal>,
        pushing: Option<Pushing>,
        recordings: Vec<Recording>,
    ) -> Self {
        Self { counting: Counting::new(metrics), posting: Posting::new(board), journal, pushing, recordings }
    }
}

impl Output for Agent {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        self.counting.line(line)?;
        self.posting.line(line)?;
        self.journal.iter_mut().try_for_each(|journal| journal.line(line))?;
        self.pushing.iter_mut().try_for_each(|pushing| pushing.line(line))?;
        self.recordings.iter_mut().try_for_each(|recording| recording.line(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.journal.iter_mut().try_for_each(Output::flush)?;
        self.recordings.iter_mut().try_for_each(Output::flush)
    }
}
