//! Findings sent to a collector of OpenTelemetry by OTLP.
//!
//! The thread that traces puts a record of each word of a finding into a bounded queue, and never waits. A thread of
//! its own sends them, again and again where the receiver asks for that, and counts what is dropped.

mod answer;
mod collector;
mod queue;
mod transport;

use std::hash::BuildHasher;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;

pub use collector::{Collector, Endpoint, Protocol, Wanted};

use self::answer::Answer;
use self::queue::{Queue, RECORDS};
use crate::findings::Finding;
use crate::hierarchy::Header;
use crate::line::{Line, Output};
use crate::metrics::{Metrics, Unsent};
use crate::otlp::{record, request, resource};
use crate::phrases;
use crate::process;
use crate::said::Telling;
use crate::sandbox::{Role, confine, say_confined};

/// Findings that come faster go together.
const TOGETHER: Duration = Duration::from_millis(200);
/// How long it is before a second attempt, and at most before a later one, if the receiver does not say.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// When the agent ends, what waits may be sent for so long.
const LAST: Duration = Duration::from_secs(3);
/// A thread that waits for a name to be looked up does not see the time: it is left behind.
const GRACE: Duration = Duration::from_millis(500);

/// Puts findings into the queue.
pub struct Pushing {
    queue: Arc<Queue>,
    header: Header,
    telling: Telling,
}

impl Pushing {
    fn finding(&mut self, finding: &Finding) {
        if self.telling.tells(finding) {
            let told = u64::try_from(process::clock().unix_ns).unwrap_or(0);
            self.queue.push(record(finding, &self.header, told));
        }
    }
}

impl Output for Pushing {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        match line {
            Line::Header(header) => self.header = (*header).clone(),
            Line::Finding(finding) => self.finding(finding),
            Line::Input(..) | Line::Known(..) | Line::Span(_) | Line::Passed(_) | Line::End(..) => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread that sends.
pub struct Pusher {
    queue: Arc<Queue>,
    stop: watch::Sender<bool>,
    ended: mpsc::Receiver<()>,
}

impl Pusher {
    /// Starts it. It has given up its rights when this returns.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(collector: Collector, header: &Header, metrics: Metrics) -> anyhow::Result<(Self, Pushing)> {
        let queue = Arc::new(Queue::new(metrics.clone()));
        let pushing = Pushing { queue: queue.clone(), header: header.clone(), telling: Telling::default() };
        let (stop, stopped) = watch::channel(false);
        let (started, ready) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let mut sending = Sending {
            resource: resource(header, &collector.resource),
            collector,
            queue: queue.clone(),
            metrics,
            stop: stopped,
            pause: FIRST_PAUSE,
            is_late: false,
            has_said: false,
        };
        let work = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    let error = anyhow::Error::new(error).context("failed to start the event loop");
                    return drop(started.send(Err(error)));
                }
            };
            say_confined(confine(&Role::Push { port: sending.collector.endpoint.port }));
            let _ = started.send(Ok(()));
            runtime.block_on(sending.run());
            let _ = end.send(());
        };
        let thread = std::thread::Builder::new().name("otlp".into()).spawn(work);
        thread.context("failed to start a thread")?;
        ready.recv().context("the thread that sends findings has died")??;
        Ok((Self { queue, stop, ended }, pushing))
    }

    /// Sends what waits, for three seconds at most, and says what was not sent.
    pub fn end(self) {
        let _ = self.stop.send(true);
        let _ = self.ended.recv_timeout(LAST + GRACE);
        let dropped = self.queue.close();
        if dropped > 0 {
            say!("warning: the collector lacks {}", phrases::count(dropped, "record", "records"));
        }
    }
}

struct Sending {
    collector: Collector,
    resource: crate::otlp::messages::Resource,
    queue: Arc<Queue>,
    metrics: Metrics,
    stop: watch::Receiver<bool>,
    /// Before the next attempt, if the last one has failed and the receiver does not say.
    pause: Duration,
    /// The last attempt has failed, and that was said.
    is_late: bool,
    /// It was said that records are dropped.
    has_said: bool,
}

impl Sending {
    /// Sends until the agent ends; then what waits, as long as there is time.
    async fn run(&mut self) {
        let mut stop = self.stop.clone();
        let late = async {
            stopped(&mut stop).await;
            tokio::time::sleep(LAST).await;
        };
        tokio::select! {
            () = self.deliver() => {}
            () = late => {}
        }
    }

    async fn deliver(&mut self) {
        loop {
            let queue = self.queue.clone();
            let mut stop = self.stop.clone();
            tokio::select! {
                () = queue.some() => {}
                () = stopped(&mut stop) => if queue.is_empty() { return },
            }
            self.sleep(TOGETHER).await;
            let records = queue.take();
            let now = process::clock().unix_ns / 1_000_000_000;
            let answer = self.collector.send(&request(self.resource.clone(), records), now).await;
            self.answered(answer).await;
        }
    }

    async fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Taken { rejected, why } => {
                self.queue.settle(rejected, Unsent::Rejected);
                if rejected > 0 {
                    self.say_dropped(&format!("the collector rejects {rejected} of the records: {why}"));
                }
            }
            Answer::Refused { why } => {
                self.queue.refuse();
                self.say_dropped(&format!("the collector refuses findings: {why}"));
            }
            Answer::Later { after, why } => {
                self.metrics.otlp_failed();
                self.queue.give_back();
                if !std::mem::replace(&mut self.is_late, true) {
                    say!("warning: findings do not reach {}: {why}; the last {RECORDS} wait", self.collector.endpoint);
                }
                match after {
                    // Whoever asks for time is given it, even at the end.
                    Some(after) => tokio::time::sleep(after.max(FIRST_PAUSE)).await,
                    None => self.sleep(jittered(self.pause)).await,
                }
                self.pause = (self.pause * 2).min(LAST_PAUSE);
                return;
            }
        }
        self.pause = FIRST_PAUSE;
        if std::mem::replace(&mut self.is_late, false) {
            say!("findings reach {} again", self.collector.endpoint);
        }
    }

    /// Dropping goes on: it is said once, and counted.
    fn say_dropped(&mut self, what: &str) {
        if !std::mem::replace(&mut self.has_said, true) {
            say!("warning: {what}\nhint: cgtrace_otlp_dropped_total counts them; this is said once");
        }
    }

    /// Waits. At the end of the agent there is not much time, so it does not wait for long.
    async fn sleep(&mut self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = stopped(&mut self.stop) => tokio::time::sleep(time.min(FIRST_PAUSE)).await,
        }
    }
}

/// Until the agent ends.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Whoever could say so is gone: that is the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A time of three quarters to five quarters: a fleet of agents does not come back all at once.
fn jittered(time: Duration) -> Duration {
    // Each state is another one: it is the source of chance that is always there.
    let chance = std::hash::RandomState::new().hash_one(time) % 512;
    time * 3 / 4 + time * u32::try_from(chance).unwrap_or(0) / 1_024
}
