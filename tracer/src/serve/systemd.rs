//! What systemd is told (sd_notify(3)): that the agent is ready, that it is alive, what it does, and that it ends. And
//! what it has told: that messages go to its journal.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// The way to whoever started the agent.
///
/// It is opened once: later on the agent can open no socket.
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    last: Instant,
}

impl Notifier {
    /// As the environment says; without `NOTIFY_SOCKET` nobody is told.
    pub fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let socket = variable("NOTIFY_SOCKET").and_then(|path| connect(&path).ok());
        // The watchdog is another process's if it says so.
        let ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let wanted = variable("WATCHDOG_USEC").and_then(|usec| usec.parse().ok()).filter(|usec| *usec > 0 && ours);
        // Twice as often as is wanted, as the manual page says.
        Self { socket, watchdog: wanted.map(|usec: u64| Duration::from_micros(usec) / 2), last: Instant::now() }
    }

    /// Sends a state, such as `READY=1`. Nobody to tell, or a full socket, is no error.
    pub fn tell(&self, state: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(state.as_bytes());
        }
    }

    /// Says that the agent is alive, and what it does, if that is due.
    pub fn alive(&mut self, status: impl FnOnce() -> String) {
        let every = self.watchdog.unwrap_or(Duration::from_secs(10)).min(Duration::from_secs(10));
        if self.socket.is_some() && self.last.elapsed() >= every {
            self.last = Instant::now();
            self.tell(&format!("WATCHDOG=1\nSTATUS={}", status()));
        }
    }
}

/// Whether the messages of this process go to the journal: systemd has said which file its stderr is then, and it still
/// is that file (systemd.exec(5), `JOURNAL_STREAM`).
pub fn stderr_is_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").ok();
    let told = stream.as_deref().and_then(|stream| stream.split_once(':'));
    let stderr = rustix::fs::fstat(rustix::stdio::stderr());
    told.is_some_and(|(device, inode)| {
        stderr.is_ok_and(|is| device.parse() == Ok(is.st_dev) && inode.parse() == Ok(is.st_ino))
    })
}

/// A datagram socket to a path, or to an abstract name behind an @, that never waits.
pub(super) fn connect(path: &str) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match path.strip_prefix('@') {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(path)?,
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}
