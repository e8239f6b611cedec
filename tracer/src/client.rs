//! Asks a running agent: for its history, or for one of its pages.

use std::ffi::OsStr;
use std::fmt;
use std::future::poll_fn;
use std::io::Write;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, bail};
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, HOST};
use hyper::http::uri::Scheme;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::name::Name;
use crate::serve::{ADDRESS, SOCKET, Token};
use crate::trust::Trust;

/// An agent must have been reached within this.
const CONNECT: Duration = Duration::from_secs(5);
/// It must begin to answer within this, and go on with its answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// All of its answer must be there within this.
const WHOLE: Duration = Duration::from_secs(300);
/// An answer of more bytes is no agent's.
const LONGEST: u64 = 4 << 30;
/// What of a refusal is shown.
const REFUSAL: usize = 500;
/// The path of the history.
const TRACE: &str = "/trace";

/// Where an agent serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agent {
    /// Over TCP.
    Http {
        /// Over TLS.
        tls: bool,
        /// Host and port, as it is asked for.
        authority: String,
        /// What is asked of it: path and query.
        path: String,
        /// What it wants to be shown.
        token: Option<Token>,
    },
    /// On a UNIX socket.
    Unix(PathBuf),
}

/// Why there is no answer of an agent.
#[derive(Debug)]
pub enum FetchError {
    /// Nobody answers there.
    NoAgent(anyhow::Error),
    /// Somebody does, and not with what was asked for.
    NoAnswer(anyhow::Error),
}

impl From<FetchError> for anyhow::Error {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::NoAgent(error) => {
                Self::msg(format!("{error:#}\nhint: start one with `cgtrace serve`, or name a trace file"))
            }
            FetchError::NoAnswer(error) => error,
        }
    }
}

impl Agent {
    /// Where the agent of this host may serve, unless it was told otherwise. What only root can have put there comes
    /// first.
    pub fn of_this_host() -> [Self; 2] {
        [
            Self::Unix(SOCKET.into()),
            Self::Http { tls: false, authority: ADDRESS.into(), path: TRACE.into(), token: None },
        ]
    }

    /// The agent that a user has named, as [`Agent::parse`] reads it, with the token that the environment has:
    /// `CGTRACE_TOKEN`, or the file that `CGTRACE_TOKEN_FILE` names. Only who was named is shown it: on a port of this
    /// host any user may listen.
    ///
    /// # Errors
    /// When it is an address that no agent can have, or the token cannot be read.
    pub fn named(text: &OsStr) -> Option<anyhow::Result<Self>> {
        let agent = Self::parse(text)?.map_err(anyhow::Error::msg);
        Some(agent.and_then(|mut agent| {
            if let Self::Http { token, .. } = &mut agent {
                *token = token_of_environment()?;
            }
            Ok(agent)
        }))
    }

    /// Reads `http://HOST:PORT`, `https://HOST:PORT` or `unix:/PATH`. `None` if it is none of them: then it is a file's
    /// name.
    ///
    /// # Errors
    /// When it is an address that no agent can have; the message says why.
    pub fn parse(text: &OsStr) -> Option<Result<Self, String>> {
        if let Some(path) = text.to_string_lossy().strip_prefix("unix:") {
            let is_absolute = path.starts_with('/') && text.to_str().is_some();
            let wrong = || format!("{path:?} is not the path of a socket\nhint: unix:{SOCKET}");
            return Some(is_absolute.then(|| Self::Unix(path.into())).ok_or_else(wrong));
        }
        let text = text.to_str()?;
        (text.starts_with("http://") || text.starts_with("https://")).then(|| Self::http(text))
    }

    fn http(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an agent's address\nhint: http://localhost:9464");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let tls = uri.scheme() == Some(&Scheme::HTTPS);
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let authority = match authority.port_u16() {
            Some(_) => authority.to_string(),
            None if authority.as_str() == authority.host() => format!("{authority}:{}", if tls { 443 } else { 80 }),
            None => return Err(wrong()),
        };
        let path = match (uri.path(), uri.query()) {
            ("" | "/", None) => TRACE.to_owned(),
            (TRACE, None) => TRACE.to_owned(),
            (TRACE, Some(query)) => format!("{TRACE}?{query}"),
            _ => return Err(wrong()),
        };
        Ok(Self::Http { tls, authority, path, token: None })
    }

    /// Writes its history, a trace file, to `out`.
    ///
    /// # Errors
    /// When nobody answers there, it answers otherwise, it is too slow, or `out` cannot be written.
    pub fn fetch(&self, out: &mut dyn Write) -> Result<(), FetchError> {
        self.ask(self.trace(), LONGEST, out)
    }

    /// The path and the query by which its history is asked for.
    fn trace(&self) -> &str {
        match self {
            Self::Http { path, .. } => path,
            Self::Unix(_) => TRACE,
        }
    }

    /// Whether a part of its history was asked for by its address: `http://HOST:PORT/trace?last=10m`.
    pub fn is_narrowed(&self) -> bool {
        self.trace() != TRACE
    }

    /// Writes what it answers to a path, such as `/findings`, to `out`: at most so many bytes.
    ///
    /// # Errors
    /// When nobody answers there, the answer is another one than 200, too long or too slow, or `out` cannot be written.
    pub fn ask(&self, path: &str, most: u64, out: &mut dyn Write) -> Result<(), FetchError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("failed to start the event loop").map_err(FetchError::NoAnswer)?;
        let fetched = runtime.block_on(async {
            match timeout(WHOLE, self.connect_and_take(path, most, out)).await {
                Ok(fetched) => fetched,
                Err(_) => Err(FetchError::NoAnswer(self.slow(WHOLE))),
            }
        });
        // A name that is being looked up is not waited for.
        runtime.shutdown_background();
        fetched
    }

    async fn connect_and_take(&self, path: &str, most: u64, out: &mut dyn Write) -> Result<(), FetchError> {
        let no_agent = |error: &dyn fmt::Display| FetchError::NoAgent(anyhow::anyhow!("no agent at {self}: {error}"));
        match self {
            Self::Http { tls, authority, .. } => match timeout(CONNECT, TcpStream::connect(authority.as_str())).await {
                Ok(Ok(stream)) if *tls => {
                    let stream = self.greet(stream, authority).await.map_err(FetchError::NoAnswer)?;
                    self.take(stream, authority, (path, most), out).await.map_err(FetchError::NoAnswer)
                }
                Ok(Ok(stream)) => self.take(stream, authority, (path, most), out).await.map_err(FetchError::NoAnswer),
                Ok(Err(error)) => Err(no_agent(&error)),
                Err(_) => Err(no_agent(&format_args!("it cannot be reached within {} s", CONNECT.as_secs()))),
            },
            Self::Unix(socket) => match timeout(CONNECT, UnixStream::connect(socket)).await {
                Ok(Ok(stream)) => self.take(stream, "localhost", (path, most), out).await.map_err(FetchError::NoAnswer),
                Ok(Err(error)) => Err(no_agent(&error)),
                Err(_) => Err(no_agent(&format_args!("it cannot be reached within {} s", CONNECT.as_secs()))),
            },
        }
    }

    /// The handshake of TLS: the agent must have a certificate of its name that this host trusts.
    async fn greet(&self, stream: TcpStream, authority: &str) -> anyhow::Result<TlsStream<TcpStream>> {
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        let greeted = timeout(CONNECT, Trust::of_host()?.greet(host, stream)).await;
        greeted.map_err(|_| self.slow(CONNECT))?.with_context(|| format!("failed to speak TLS with {self}"))
    }

    /// Asks over a connection, and takes the answer.
    async fn take(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        host: &str,
        (path, most): (&str, u64),
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let broken = || format!("{self} does not answer as an agent");
        let (mut asking, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.with_context(broken)?;
        let connection = tokio::spawn(connection);
        let mut request = Request::get(path).header(HOST, host).header(CONNECTION, "close");
        if let Self::Http { token: Some(token), .. } = self {
            request = request.header(AUTHORIZATION, token.header());
        }
        let request = request.body(String::new());
        let request = request.with_context(broken)?;
        let answer = timeout(PATIENCE, asking.send_request(request)).await;
        let mut answer = answer.map_err(|_| self.slow(PATIENCE))?.with_context(broken)?;
        if answer.status() != StatusCode::OK {
            let hint = match answer.status() {
                StatusCode::UNAUTHORIZED => {
                    "\nhint: CGTRACE_TOKEN_FILE=FILE in the environment, and the agent's address as the source"
                }
                _ => "",
            };
            bail!("the agent at {self} answers {}: {}{hint}", answer.status(), refusal(&mut answer).await);
        }
        let mut taken = 0;
        while let Some(bytes) = self.next_bytes(&mut answer).await? {
            taken += bytes.len() as u64;
            if taken > most {
                bail!("the answer of {self} does not end: it has more than {most} bytes");
            }
            out.write_all(&bytes).context("failed to keep what the agent answers")?;
        }
        connection.abort();
        Ok(())
    }

    async fn next_bytes(&self, answer: &mut Response<Incoming>) -> anyhow::Result<Option<bytes::Bytes>> {
        let mut body = Pin::new(answer.body_mut());
        loop {
            let frame = timeout(PATIENCE, poll_fn(|context| body.as_mut().poll_frame(context))).await;
            match frame.map_err(|_| self.slow(PATIENCE))? {
                None => return Ok(None),
                Some(frame) => {
                    let frame = frame.with_context(|| format!("the answer of {self} has broken off"))?;
                    // Trailers are none of the trace.
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    fn slow(&self, time: Duration) -> anyhow::Error {
        anyhow::anyhow!("{self} takes longer than {} s to answer", time.as_secs())
    }
}

fn token_of_environment() -> anyhow::Result<Option<Token>> {
    match (std::env::var("CGTRACE_TOKEN"), std::env::var_os("CGTRACE_TOKEN_FILE")) {
        (Ok(token), _) => Token::new(&token).context("CGTRACE_TOKEN is no token").map(Some),
        (Err(_), Some(file)) => Token::of_file(file.as_ref()).map(Some),
        (Err(_), None) => Ok(None),
    }
}

/// The beginning of what was answered instead of a trace, in one harmless line.
async fn refusal(answer: &mut Response<Incoming>) -> String {
    let mut said = Vec::new();
    let mut body = Pin::new(answer.body_mut());
    while said.len() < REFUSAL
        && let Ok(Some(Ok(frame))) = timeout(PATIENCE, poll_fn(|context| body.as_mut().poll_frame(context))).await
    {
        said.extend_from_slice(frame.data_ref().map_or(&[][..], |bytes| bytes));
    }
    said.truncate(REFUSAL);
    let first = said.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Name::new(first).printable()
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { tls: true, authority, .. } => write!(f, "https://{authority}"),
            Self::Http { authority, .. } => write!(f, "http://{authority}"),
            Self::Unix(socket) => write!(f, "unix:{}", socket.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_agents_and_anything_else_a_file() {
        let agent = |tls, authority: &str, path: &str| {
            let (authority, path) = (authority.into(), path.into());
            Agent::Http { tls, authority, path, token: None }
        };
        let http = |authority: &str, path: &str| agent(false, authority, path);
        let check = |text: &str, agent: Agent| assert_eq!(Agent::parse(text.as_ref()), Some(Ok(agent)), "{text}");
        check("http://localhost:9464", http("localhost:9464", "/trace"));
        check("https://node1:9464", agent(true, "node1:9464", "/trace"));
        check("https://node1", agent(true, "node1:443", "/trace"));
        check("http://[::1]:9464/", http("[::1]:9464", "/trace"));
        check("http://node1", http("node1:80", "/trace"));
        check("http://10.0.0.7:1/trace?last=10m&container=3f", http("10.0.0.7:1", "/trace?last=10m&container=3f"));
        check("unix:/run/cgtrace.sock", Agent::Unix("/run/cgtrace.sock".into()));
        for file in ["trace.jsonl.zst", "./unix:/x", "-", "/http://x", "ftp://x", "unix", "http:"] {
            assert_eq!(Agent::parse(file.as_ref()), None, "{file}");
        }
        for wrong in ["unix:", "unix:x", "http://", "http://a:b/", "http://u:p@h:1", "http://h:1/metrics", "https://"] {
            let said = Agent::parse(wrong.as_ref()).expect("an address").expect_err(wrong);
            assert!(said.contains("\nhint: "), "{said}");
        }
    }
}
