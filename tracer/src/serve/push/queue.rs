//! Records that wait to be sent, bounded: with more of them the oldest is lost, and counted.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prost::Message;
use tokio::sync::Notify;

use crate::metrics::{Metrics, Unsent};
use crate::otlp::messages::LogRecord;

/// Records that are held at most, those on their way included.
pub const RECORDS: usize = 2_048;
/// What they may take, in bytes as they are sent.
const BYTES: usize = 8 << 20;
/// Records of a request.
const BATCH: usize = 512;
/// Bytes of its records: receivers take requests of 4 MiB.
const BATCH_BYTES: usize = 1 << 20;

/// What waits, and what is on its way. Each record is counted once: as sent or as dropped.
pub struct Queue {
    held: Mutex<Held>,
    news: Notify,
    metrics: Metrics,
}

#[derive(Default)]
struct Held {
    waiting: VecDeque<(usize, LogRecord)>,
    /// Taken out, and neither settled nor given back.
    away: Vec<(usize, LogRecord)>,
    bytes: usize,
    lost: u64,
}

impl Held {
    fn count(&self) -> usize {
        self.waiting.len() + self.away.len()
    }
}

impl Queue {
    /// An empty one.
    pub fn new(metrics: Metrics) -> Self {
        Self { held: Mutex::default(), news: Notify::new(), metrics }
    }

    /// One more. It does not wait for anybody but for who looks at the queue just now.
    pub fn push(&self, record: LogRecord) {
        let length = record.encoded_len();
        let mut held = self.held();
        held.bytes += length;
        held.waiting.push_back((length, record));
        self.trim(&mut held);
        drop(held);
        self.news.notify_one();
    }

    /// Loses the oldest of those that wait, as long as there are too many.
    fn trim(&self, held: &mut Held) {
        while held.count() > RECORDS || held.bytes > BYTES {
            let Some((length, _)) = held.waiting.pop_front() else { break };
            held.bytes -= length;
            self.lose(held, Unsent::QueueFull, 1);
        }
        self.metrics.otlp_waits(held.count());
    }

    fn lose(&self, held: &mut Held, why: Unsent, count: u64) {
        held.lost += count;
        self.metrics.otlp_dropped(why, count);
    }

    /// Waits until something waits.
    pub async fn some(&self) {
        while self.is_empty() {
            self.news.notified().await;
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.held().waiting.is_empty()
    }

    /// The oldest ones, as many as one request has. They are away until they are settled or given back.
    pub fn take(&self) -> Vec<LogRecord> {
        let mut held = self.held();
        let mut bytes = 0;
        while let Some((length, _)) = held.waiting.front()
            && held.away.len() < BATCH
            && (held.away.is_empty() || bytes + length <= BATCH_BYTES)
        {
            bytes += length;
            let first = held.waiting.pop_front();
            held.away.extend(first);
        }
        held.away.iter().map(|(_, record)| record.clone()).collect()
    }

    /// Those that are away have arrived, but for so many that are dropped.
    pub fn settle(&self, dropped: u64, why: Unsent) {
        let mut held = self.held();
        let away = std::mem::take(&mut held.away);
        held.bytes -= away.iter().map(|(length, _)| length).sum::<usize>();
        let count = away.len() as u64;
        let dropped = dropped.min(count);
        self.metrics.otlp_sent(count - dropped);
        self.lose(&mut held, why, dropped);
        self.metrics.otlp_waits(held.count());
    }

    /// Those that are away are dropped.
    pub fn refuse(&self) {
        self.settle(u64::MAX, Unsent::Refused);
    }

    /// Those that are away wait again, before all others.
    pub fn give_back(&self) {
        let mut held = self.held();
        for record in std::mem::take(&mut held.away).into_iter().rev() {
            held.waiting.push_front(record);
        }
        self.trim(&mut held);
    }

    /// Nothing more is sent. Returns how many records were dropped in all.
    pub fn close(&self) -> u64 {
        let mut held = self.held();
        let left = held.count() as u64;
        *held = Held { lost: held.lost, ..Held::default() };
        self.lose(&mut held, Unsent::Shutdown, left);
        self.metrics.otlp_waits(0);
        held.lost
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Exposition;

    fn record(number: usize, length: usize) -> LogRecord {
        LogRecord {
            severity_number: i32::try_from(number).expect("few"),
            severity_text: "x".repeat(length),
            ..LogRecord::default()
        }
    }

    fn numbers(records: &[LogRecord]) -> Vec<i32> {
        records.iter().map(|record| record.severity_number).collect()
    }

    /// Sent, waiting, and dropped by reason.
    fn counted(metrics: &Metrics) -> (u64, u64, [u64; Unsent::ALL.len()]) {
        let text = String::from_utf8(metrics.tell(Exposition::Plain)).expect("text");
        let sample = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
        };
        let dropped = |why: Unsent| sample(&format!("cgtrace_otlp_dropped_total{{reason=\"{}\"}}", why.as_str()));
        (sample("cgtrace_otlp_sent_total"), sample("cgtrace_otlp_waiting"), Unsent::ALL.map(dropped))
    }

    #[test]
    fn every_record_is_counted_once() {
        let metrics = Metrics::default();
        let queue = Queue::new(metrics.clone());
        (0..RECORDS + 10).for_each(|number| queue.push(record(number, 1)));
        assert_eq!(counted(&metrics), (0, 2_048, [10, 0, 0, 0]));
        let batch = numbers(&queue.take());
        assert_eq!((batch.len(), batch[0], batch[511]), (512, 10, 521), "the oldest were lost");
        // Those that are away are not lost to newer ones; given back, they are the oldest.
        queue.push(record(9_000, 1));
        assert_eq!(counted(&metrics), (0, 2_048, [11, 0, 0, 0]));
        queue.give_back();
        assert_eq!(numbers(&queue.take())[0], 10, "it was 522 that went");
        queue.settle(2, Unsent::Rejected);
        assert_eq!(counted(&metrics), (510, 1_536, [11, 2, 0, 0]));
        queue.take();
        queue.refuse();
        assert_eq!(counted(&metrics), (510, 1_024, [11, 2, 512, 0]));
        queue.take();
        assert_eq!(queue.close(), 11 + 2 + 512 + 1_024);
        assert_eq!(counted(&metrics), (510, 0, [11, 2, 512, 1_024]));
        assert_eq!(510 + 11 + 2 + 512 + 1_024, RECORDS + 11);
    }

    #[test]
    fn requests_and_the_queue_are_bounded_in_bytes_too() {
        let metrics = Metrics::default();
        let queue = Queue::new(metrics.clone());
        queue.push(record(0, 3 << 20));
        (1..=3).for_each(|number| queue.push(record(number, 400 << 10)));
        assert_eq!(numbers(&queue.take()), [0], "one of them goes, however long it is");
        queue.settle(0, Unsent::Rejected);
        assert_eq!(numbers(&queue.take()), [1, 2]);
        queue.give_back();
        (4..=30).for_each(|number| queue.push(record(number, 400 << 10)));
        let (_, waiting, [lost, ..]) = counted(&metrics);
        assert_eq!((waiting, lost), (20, 10));
    }
}
