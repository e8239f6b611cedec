//! Streams on which nobody is waited for longer than is due.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Until when an answer must have been taken.
#[derive(Default)]
pub(super) struct Due(AtomicU64);

impl Due {
    pub fn answer_within(&self, time: Duration) {
        self.0.store(millis(Instant::now() + time), Ordering::Relaxed);
    }

    pub fn is_over(&self) -> bool {
        let due = self.0.load(Ordering::Relaxed);
        due > 0 && millis(Instant::now()) >= due
    }

    fn left(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed).saturating_sub(millis(Instant::now())))
    }
}

/// Milliseconds since this was first asked.
fn millis(at: Instant) -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let first = *FIRST.get_or_init(Instant::now);
    // Never 0, which means that nothing is due.
    u64::try_from(at.saturating_duration_since(first).as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

/// Whoever has connected.
pub(super) enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

/// A stream that waits for no reader longer than an answer may take.
pub(super) struct Patient {
    stream: Stream,
    due: Arc<Due>,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Patient {
    /// Waits for `stream` until `due`.
    pub fn new(stream: Stream, due: Arc<Due>) -> Self {
        Self { stream, due, timer: None }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Stream::Unix(unix) => Pin::new(unix).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.stream {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Stream::Unix(unix) => Pin::new(unix).poll_write(context, bytes),
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the answer was not taken in time");
        if self.due.is_over() {
            return Poll::Ready(Err(late()));
        }
        if written.is_ready() {
            return written;
        }
        let left = self.due.left();
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
        ready!(timer.as_mut().poll(context));
        self.timer = None;
        if self.due.is_over() { Poll::Ready(Err(late())) } else { self.poll_write(context, bytes) }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_shutdown(context),
            Stream::Unix(unix) => Pin::new(unix).poll_shutdown(context),
        }
    }
}
