//! Streams on which nobody is waited for longer than is due.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is due of whoever has connected, and to it.
#[derive(Default)]
pub(super) struct Due {
    /// Until when an answer must have been taken.
    answer: AtomicU64,
    /// The socket itself is to be asked what has come.
    look: AtomicBool,
}

impl Due {
    pub fn answer_within(&self, time: Duration) {
        self.answer.store(millis(Instant::now() + time), Ordering::Relaxed);
    }

    /// Has the socket itself read when the stream is next: the event loop tells of what has come only after it was
    /// waited for.
    pub fn look_again(&self) {
        self.look.store(true, Ordering::Relaxed);
    }

    pub fn is_over(&self) -> bool {
        let due = self.answer.load(Ordering::Relaxed);
        due > 0 && millis(Instant::now()) >= due
    }

    fn left(&self) -> Duration {
        Duration::from_millis(self.answer.load(Ordering::Relaxed).saturating_sub(millis(Instant::now())))
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

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(tcp) => tcp.as_fd(),
            Self::Unix(unix) => unix.as_fd(),
        }
    }
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
        // An error is told by the stream as well; the usual one is that nothing has come.
        if self.due.look.swap(false, Ordering::Relaxed)
            && let Ok(length) = rustix::io::read(&self.stream, buffer.initialize_unfilled())
        {
            buffer.advance(length);
            return Poll::Ready(Ok(()));
        }
        match &mut self.stream {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Stream::Unix(unix) => Pin::new(unix).poll_read(context, buffer),
        }
    }
}

impl Patient {
    /// What `write` has written, unless that takes longer than is due.
    fn poll_written(
        &mut self,
        context: &mut std::task::Context<'_>,
        write: impl Fn(&mut Stream, &mut std::task::Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the client did not read the answer in time");
        loop {
            let written = write(&mut self.stream, context);
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
        }
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_written(context, |stream, context| match stream {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Stream::Unix(unix) => Pin::new(unix).poll_write(context, bytes),
        })
    }

    /// An answer that others are given, too, is written from where it is, and not copied for each of them.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_written(context, |stream, context| match stream {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(context, pieces),
            Stream::Unix(unix) => Pin::new(unix).poll_write_vectored(context, pieces),
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn what_waits_in_the_socket_is_read_before_the_event_loop_tells_of_it() {
        let (mut asking, answering) = std::os::unix::net::UnixStream::pair().expect("a pair");
        answering.set_nonblocking(true).expect("set");
        let stream = tokio::net::UnixStream::from_std(answering).expect("a stream");
        let due = Arc::new(Due::default());
        let mut patient = Patient::new(Stream::Unix(stream), due.clone());
        let mut room = [0; 16];
        let mut read = |patient: &mut Patient| {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let mut buffer = ReadBuf::new(&mut room);
            let polled = Pin::new(patient).poll_read(&mut context, &mut buffer);
            polled.map(|done| done.map(|()| buffer.filled().to_vec()).expect("read"))
        };
        asking.write_all(b"GET /").expect("written");
        assert_eq!(read(&mut patient), Poll::Pending, "nobody has waited for events yet");
        due.look_again();
        assert_eq!(read(&mut patient), Poll::Ready(b"GET /".to_vec()));
        due.look_again();
        assert_eq!(read(&mut patient), Poll::Pending, "there is no more");
    }
}
