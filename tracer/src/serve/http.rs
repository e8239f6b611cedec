//! The HTTP side: a handful of pages for whoever connects, and no more memory or patience for anybody than is due.

mod access;
mod events;
mod host;
mod patience;
mod places;
mod query;
mod tls;
mod told;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue,
    RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

pub use access::{Access, Token, is_loopback};
pub(super) use events::EventId;
pub use host::Names;
use patience::{Due, Patient, Stream};
use places::{Answering, Place, Places};
use query::{Part, Wanted};
pub use tls::Tls;
use told::Told;

use super::Board;
use super::page::Pages;
use crate::findings::Finding;
use crate::hierarchy::Clock;
use crate::input::BootTime;
use crate::line::{Line, Output};
use crate::metrics::Exposition;
use crate::output::Json;
use crate::process;
use crate::recording::Excerpt;

/// Connections at once. One more takes the place of whoever has been idle longest.
const CONNECTIONS: usize = 128;
/// Answers at once that may be long. The rest of the connections is for health and metrics.
const LONG_ANSWERS: usize = 96;
/// A request's head must be there within this; a connection that is kept open says nothing for so long at most.
const HEAD: Duration = Duration::from_secs(10);
/// An answer must have been taken within this.
const ANSWER: Duration = Duration::from_secs(30);
/// Bytes and fields of a request's head.
const HEAD_BYTES: usize = 16 << 10;
const HEAD_FIELDS: usize = 64;
/// When the agent ends, answers that are on their way get this long.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Traces that are given out at once: what is let go of meanwhile stays in memory for them.
const TRACES: usize = 8;
/// Clients that listen to new findings at once.
const LISTENERS: usize = 32;
/// A trace has one more second for so many bytes.
const TRACE_PACE: u64 = 256 << 10;
/// Of a long answer this much is made at once.
const PIECE: usize = 32 << 10;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A UNIX socket.
    Unix(PathBuf),
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err("the path of a UNIX socket begins with a slash, such as unix:/run/cgtrace/http.sock".into()),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| "not an address with a port (127.0.0.1:9464, [::1]:9464) and not unix:/PATH".into()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A socket that is listened on.
pub enum Listener {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A UNIX socket.
    Unix(std::os::unix::net::UnixListener),
}

impl Listener {
    /// Listens on an address.
    ///
    /// # Errors
    /// When it is in use, or may not be used.
    pub fn bind(address: &Address) -> anyhow::Result<Self> {
        let bound = match address {
            Address::Tcp(tcp) => std::net::TcpListener::bind(tcp).map(Self::Tcp),
            Address::Unix(path) => {
                forget_abandoned(path);
                std::os::unix::net::UnixListener::bind(path).map(Self::Unix)
            }
        };
        let listener = bound.with_context(|| format!("failed to listen on {address}"))?;
        listener.prepare()?;
        Ok(listener)
    }

    /// The sockets that systemd has passed on.
    ///
    /// # Errors
    /// When one of them is of another kind.
    pub fn passed() -> anyhow::Result<Vec<Self>> {
        let mut passed = listenfd::ListenFd::from_env();
        let mut listeners = Vec::new();
        for number in 0..passed.len() {
            let listener = if let Ok(Some(tcp)) = passed.take_tcp_listener(number) {
                Self::Tcp(tcp)
            } else if let Ok(Some(unix)) = passed.take_unix_listener(number) {
                Self::Unix(unix)
            } else {
                bail!("socket {number} that was passed on is not a listening TCP or UNIX socket");
            };
            listener.prepare()?;
            listeners.push(listener);
        }
        Ok(listeners)
    }

    fn prepare(&self) -> anyhow::Result<()> {
        let prepared = match self {
            Self::Tcp(tcp) => tcp.set_nonblocking(true),
            Self::Unix(unix) => unix.set_nonblocking(true),
        };
        prepared.context("failed to prepare a socket")
    }

    /// Where it is asked.
    pub fn address(&self, access: &Access) -> String {
        let scheme = if access.tls.is_some() { "https" } else { "http" };
        match self {
            Self::Tcp(tcp) => tcp.local_addr().map(|address| format!("{scheme}://{address}")),
            Self::Unix(unix) => unix.local_addr().map(|address| {
                address.as_pathname().map_or("unix:".to_owned(), |path| Address::Unix(path.into()).to_string())
            }),
        }
        .unwrap_or_else(|_| "a socket".to_owned())
    }
}

/// Removes a socket that nobody listens on any more. Anything else stays, and binding fails.
fn forget_abandoned(path: &Path) {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    let refused = || {
        let connected = std::os::unix::net::UnixStream::connect(path);
        connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    if is_socket && refused() {
        let _ = std::fs::remove_file(path);
    }
}

/// Serves until `stop` changes. Everything that needs rights is done before this is awaited for the first time.
///
/// # Errors
/// When the sockets cannot be waited for. Must be called within a tokio runtime.
pub fn serve(
    listeners: Vec<Listener>,
    board: Arc<Board>,
    access: Access,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<impl Future<Output = ()>> {
    let places = Places::new(CONNECTIONS, LONG_ANSWERS);
    let site = Site {
        pages: Arc::new(Pages::new(board.clone())),
        board,
        access: Arc::new(access),
        places: places.clone(),
        traces: Arc::new(Semaphore::new(TRACES)),
        listeners: Arc::new(Semaphore::new(LISTENERS)),
        told: Told::default(),
        stop: stop.clone(),
    };
    let mut accepting = Vec::new();
    for listener in listeners {
        accepting.push(match listener {
            Listener::Tcp(tcp) => Accepting::Tcp(tokio::net::TcpListener::from_std(tcp).context("failed to listen")?),
            Listener::Unix(unix) => {
                Accepting::Unix(tokio::net::UnixListener::from_std(unix).context("failed to listen")?)
            }
        });
    }
    Ok(async move {
        for accepting in accepting {
            tokio::spawn(accept(accepting, site.clone()));
        }
        stopped(&mut stop).await;
        let _ = tokio::time::timeout(LAST_ANSWERS, places.wait_until_empty(CONNECTIONS)).await;
    })
}

/// The agent is ending.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // If nobody is there any more to say so, it is.
    let _ = stop.wait_for(|stop| *stop).await;
}

enum Accepting {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// What every connection is answered from.
#[derive(Clone)]
struct Site {
    board: Arc<Board>,
    access: Arc<Access>,
    pages: Arc<Pages>,
    places: Arc<Places>,
    traces: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
    told: Told,
    stop: watch::Receiver<bool>,
}

async fn accept(accepting: Accepting, site: Site) {
    let mut stop = site.stop.clone();
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => return,
            accepted = async {
                match &accepting {
                    Accepting::Tcp(tcp) => tcp.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
                    Accepting::Unix(unix) => unix.accept().await.map(|(stream, _)| Stream::Unix(stream)),
                }
            } => accepted,
        };
        match accepted {
            Ok(stream) => match site.places.enter().await {
                Some(place) => drop(tokio::spawn(answer(stream, site.clone(), place))),
                // It is closed at once.
                None => site.board.metrics.refused(),
            },
            // Descriptors are used up, or the other side is gone already.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn answer(stream: Stream, site: Site, place: Arc<Place>) {
    let mut stop = site.stop.clone();
    // A browser connects to no UNIX socket, and its mode says who may.
    let is_local = matches!(stream, Stream::Unix(_));
    let due = Arc::new(Due::default());
    let patient = Patient::new(stream, due.clone());
    let tls = site.access.tls.as_ref().filter(|_| !is_local);
    let Some(tls) = tls else { return converse(patient, due, is_local, site, place).await };
    due.answer_within(HEAD);
    let greeted = tokio::select! {
        greeted = tokio::time::timeout(HEAD, tls.greet(patient)) => greeted,
        () = stopped(&mut stop) => return,
        () = place.is_wanted() => return site.board.metrics.refused(),
    };
    match greeted {
        Ok(Ok(stream)) => converse(stream, due, is_local, site, place).await,
        // It speaks no TLS, does not trust the certificate, or says nothing.
        Ok(Err(_)) | Err(_) => site.board.metrics.refused(),
    }
}

/// Answers what is asked over a connection.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    due: Arc<Due>,
    is_local: bool,
    site: Site,
    place: Arc<Place>,
) {
    let mut stop = site.stop.clone();
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let answering = place.answer();
        let (site, due) = (site.clone(), due.clone());
        async move {
            let response = respond(request, &site, is_local).await;
            due.answer_within(response.body().time());
            Ok::<_, Infallible>(response.map(|body| Answer { body, due, answering }))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_FIELDS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let done = loop {
        tokio::select! {
            biased;
            done = connection.as_mut() => break done,
            () = stopped(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                break connection.await;
            }
            () = place.is_wanted() => {
                // What has come may not have been told of yet.
                due.look_again();
                let looked = std::future::poll_fn(|context| Poll::Ready(connection.as_mut().poll(context))).await;
                match looked {
                    Poll::Ready(done) => break done,
                    Poll::Pending if place.is_to_be_given_up() => return site.board.metrics.refused(),
                    Poll::Pending => {}
                }
            }
        }
    };
    if done.is_err_and(|error| error.is_timeout() || due.is_over()) {
        site.board.metrics.refused();
    }
}

/// An answer, and the place that is kept until it is given.
struct Answer {
    body: Content,
    due: Arc<Due>,
    #[expect(dead_code, reason = "it is dropped with the answer")]
    answering: Answering,
}

/// All of an answer, or findings or frames of a trace one after the other as they are taken, or news as they come.
enum Content {
    Whole {
        bytes: Option<Bytes>,
        _long: Option<OwnedSemaphorePermit>,
    },
    Findings {
        findings: std::vec::IntoIter<Arc<Finding>>,
        clock: Clock,
        begun: bool,
        ended: bool,
        _long: OwnedSemaphorePermit,
    },
    Trace {
        excerpt: Excerpt,
        _places: [OwnedSemaphorePermit; 2],
    },
    Events {
        pieces: mpsc::Receiver<Bytes>,
        _places: [OwnedSemaphorePermit; 2],
    },
}

impl Content {
    /// It must have been taken within this; of events, each piece.
    fn time(&self) -> Duration {
        match self {
            Self::Whole { .. } | Self::Findings { .. } | Self::Events { .. } => ANSWER,
            Self::Trace { excerpt, .. } => ANSWER + Duration::from_secs(excerpt.bytes() / TRACE_PACE),
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Self { body, due, .. } = &mut *self;
        let piece = match body {
            Content::Whole { bytes, .. } => bytes.take(),
            Content::Trace { excerpt, .. } => match excerpt.next() {
                // Others get their turn before the next frame is looked at.
                Some(piece) if piece.is_empty() => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                piece => piece,
            },
            Content::Findings { findings, clock, begun, ended, .. } => some_findings(findings, *clock, begun, ended),
            Content::Events { pieces, .. } => {
                let piece = ready!(pieces.poll_recv(context));
                due.answer_within(ANSWER);
                piece
            }
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Content::Whole { bytes, .. } => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            // Its length is not known before it is made.
            Content::Findings { .. } | Content::Trace { .. } | Content::Events { .. } => SizeHint::default(),
        }
    }
}

/// A JSON array, piece by piece.
fn some_findings(
    findings: &mut std::vec::IntoIter<Arc<Finding>>,
    clock: Clock,
    begun: &mut bool,
    ended: &mut bool,
) -> Option<Bytes> {
    if *ended {
        return None;
    }
    let mut text = Vec::new();
    while text.len() < PIECE {
        let Some(finding) = findings.next() else {
            *ended = true;
            text.extend_from_slice(if *begun { b"\n]\n" } else { b"[]\n" });
            break;
        };
        text.extend_from_slice(if std::mem::replace(begun, true) { b",\n" } else { b"[\n" });
        let mut json = Json::at(clock);
        // Memory can be written.
        let _ = json.line(&Line::Finding(&finding));
        text.extend_from_slice(json.take().trim_ascii_end());
    }
    Some(text.into())
}

async fn respond(request: Request<Incoming>, site: &Site, is_local: bool) -> Response<Content> {
    let (request, _) = request.into_parts();
    let board = &site.board;
    if !matches!(request.method, Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let query = request.uri.query().unwrap_or_default();
    match request.uri.path() {
        path if !is_local && !matches!(path, "/healthz" | "/readyz") && !site.access.admits(&request.headers) => {
            let mut response = plain(StatusCode::UNAUTHORIZED, access::UNAUTHORIZED);
            for scheme in access::SCHEMES {
                response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
            }
            response
        }
        "/metrics" => {
            let accept = request.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
            let format = Exposition::wanted(&accept.collect::<Vec<_>>().join(","));
            whole(StatusCode::OK, format.content_type(), site.told.tell(&board.metrics, format))
        }
        "/healthz" => match board.dead() {
            None => plain(StatusCode::OK, "alive\n"),
            Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("not alive: {why}\n")),
        },
        "/readyz" => match board.unready().as_slice() {
            [] => plain(StatusCode::OK, "ready\n"),
            why => plain(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", why.join("; "))),
        },
        // These tell of containers and command lines: see [`host`].
        "/findings" | "/events" | "/trace" | "/" if !is_local && !site.access.names.have(request.headers.get(HOST)) => {
            plain(StatusCode::FORBIDDEN, host::REFUSED)
        }
        "/findings" => {
            let Some(long) = site.places.long_answer() else { return busy() };
            let (clock, findings) = board.findings();
            match Wanted::parse(query) {
                Ok(wanted) => {
                    let now = jiff::Timestamp::now();
                    let wanted: Vec<_> =
                        findings.into_iter().filter(|finding| wanted.takes(finding, clock, now)).collect();
                    let findings = wanted.into_iter();
                    let content = Content::Findings { findings, clock, begun: false, ended: false, _long: long };
                    with_type(StatusCode::OK, "application/json", content)
                }
                Err(why) => plain(StatusCode::BAD_REQUEST, format!("{why}\n")),
            }
        }
        "/trace" => trace(site, query),
        "/events" => {
            // A browser that connects again says what it heard last.
            let heard = request.headers.get("last-event-id").and_then(|id| EventId::parse(id.to_str().ok()?));
            let after = match query::after(query) {
                Ok(after) => heard.or(after),
                Err(why) => return plain(StatusCode::BAD_REQUEST, format!("{why}\n")),
            };
            let (Some(long), Ok(listener)) = (site.places.long_answer(), site.listeners.clone().try_acquire_owned())
            else {
                return busy();
            };
            let pieces = events::listen(board.clone(), after, site.stop.clone(), events::SLOW);
            with_type(StatusCode::OK, "text/event-stream", Content::Events { pieces, _places: [long, listener] })
        }
        "/" => {
            let Some(long) = site.places.long_answer() else { return busy() };
            let content = Content::Whole { bytes: Some(site.pages.page().await), _long: Some(long) };
            let mut response = with_type(StatusCode::OK, "text/html; charset=utf-8", content);
            response.headers_mut().insert(CONTENT_SECURITY_POLICY, Pages::policy());
            response
        }
        _ => plain(StatusCode::NOT_FOUND, "there are /, /metrics, /healthz, /readyz, /findings, /events and /trace\n"),
    }
}

/// The history, or a part of it, as a trace file.
fn trace(site: &Site, query: &str) -> Response<Content> {
    let Some(history) = &site.board.history else {
        return plain(StatusCode::NOT_FOUND, "this agent keeps no history: it was started with --history 0\n");
    };
    let part = match Part::parse(query) {
        Ok(part) => part,
        Err(why) => return plain(StatusCode::BAD_REQUEST, format!("{why}\n")),
    };
    let (Some(long), Ok(trace)) = (site.places.long_answer(), site.traces.clone().try_acquire_owned()) else {
        return busy();
    };
    let before = |last: Duration| {
        let nanoseconds = u64::try_from(last.as_nanos()).unwrap_or(u64::MAX);
        BootTime(process::boot_time().0.saturating_sub(nanoseconds))
    };
    let since = part.last.map(before);
    match history.trace(since, part.container) {
        Ok(Some(excerpt)) => {
            let content = Content::Trace { excerpt, _places: [long, trace] };
            let mut response = with_type(StatusCode::OK, "application/zstd", content);
            let name = HeaderValue::from_static("attachment; filename=\"trace.jsonl.zst\"");
            response.headers_mut().insert(CONTENT_DISPOSITION, name);
            response
        }
        Ok(None) if history.is_too_small() => {
            let why = "the history holds nothing: what exists on this host takes more than half of its size; \
                       set a larger `history`\n";
            plain(StatusCode::SERVICE_UNAVAILABLE, why)
        }
        Ok(None) => plain(StatusCode::SERVICE_UNAVAILABLE, "the history holds nothing yet: ask again in a second\n"),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// Too many long answers are being given.
fn busy() -> Response<Content> {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "too many answers at once; ask again in a second\n");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response<Content> {
    let text: String = text.into();
    whole(status, "text/plain; charset=utf-8", text)
}

fn whole(status: StatusCode, kind: &'static str, bytes: impl Into<Bytes>) -> Response<Content> {
    with_type(status, kind, Content::Whole { bytes: Some(bytes.into()), _long: None })
}

fn with_type(status: StatusCode, kind: &'static str, content: Content) -> Response<Content> {
    let mut response = Response::new(content);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_tcp_or_unix() {
        assert_eq!("127.0.0.1:9464".parse(), Ok(Address::Tcp(([127, 0, 0, 1], 9464).into())));
        assert_eq!("unix:/run/x".parse(), Ok(Address::Unix("/run/x".into())));
        assert!("[::1]:9464".parse::<Address>().is_ok());
        for wrong in ["", "9464", "localhost", "unix:x", "1.2.3.4", "1.2.3.4:99999"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }
}
