//! One request to a collector, over a connection of its own: findings are rare, and what is behind a name may change.

use std::net::ToSocketAddrs;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, TE, USER_AGENT};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::answer::{Answer, of_grpc, of_http};
use super::collector::{Collector, Endpoint, Protocol};
use crate::otlp::messages::LogsRequest;

/// An answer of more bytes is not read on.
const LONGEST: usize = 256 << 10;
/// What this program calls itself.
const AGENT: &str = concat!("cgtrace/", env!("CARGO_PKG_VERSION"));

impl Collector {
    /// Sends a request. `now` is in seconds since 1970.
    pub(super) async fn send(&self, request: &LogsRequest, now: i64) -> Answer {
        match timeout(self.timeout, self.attempt(request.encode_to_vec(), now)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Answer::failed(format!("{error:#}")),
            Err(_) => Answer::failed(format!("no answer within {} ms", self.timeout.as_millis())),
        }
    }

    async fn attempt(&self, message: Vec<u8>, now: i64) -> anyhow::Result<Answer> {
        let stream = self.connect().await?;
        match &self.tls {
            Some(trust) => {
                let greeted = trust.greet(&self.endpoint.host, stream).await;
                self.ask(greeted.context("failed to speak TLS")?, message, now).await
            }
            None => self.ask(stream, message, now).await,
        }
    }

    /// Connects to the first address of the host that lets it.
    async fn connect(&self) -> anyhow::Result<TcpStream> {
        let host =
            self.endpoint.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.endpoint.host);
        // It waits, and there is nobody else in this thread.
        let found =
            (host, self.endpoint.port).to_socket_addrs().with_context(|| format!("failed to look {host:?} up"))?;
        let mut failed = anyhow::anyhow!("{host:?} has no address");
        for address in found {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = anyhow::Error::new(error).context(format!("failed to connect to {address}")),
            }
        }
        Err(failed)
    }

    async fn ask<S>(&self, stream: S, message: Vec<u8>, now: i64) -> anyhow::Result<Answer>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = TokioIo::new(stream);
        let mut request = match self.endpoint.protocol {
            Protocol::Grpc => {
                // It is not compressed, and so long.
                let length = u32::try_from(message.len()).context("the request is too long")?;
                let framed = [&[0][..], &length.to_be_bytes(), &message].concat();
                let Endpoint { authority, path, .. } = &self.endpoint;
                Request::post(format!("{}://{authority}{path}", self.endpoint.scheme()))
                    .header(CONTENT_TYPE, "application/grpc")
                    .header(TE, "trailers")
                    .body(Full::new(Bytes::from(framed)))?
            }
            Protocol::HttpProtobuf => Request::post(&self.endpoint.path)
                .header(HOST, &self.endpoint.authority)
                .header(CONTENT_TYPE, "application/x-protobuf")
                .header(CONNECTION, "close")
                .body(Full::new(Bytes::from(message)))?,
        };
        request.headers_mut().insert(USER_AGENT, AGENT.parse()?);
        request.headers_mut().extend(self.headers.clone());
        match self.endpoint.protocol {
            Protocol::Grpc => {
                let (mut asking, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
                let connection = tokio::spawn(connection);
                let answered = whole(asking.send_request(request).await?).await;
                connection.abort();
                let (status, headers, ended, body) = answered?;
                Ok(of_grpc(status, &headers, ended.as_ref(), &body))
            }
            Protocol::HttpProtobuf => {
                let (mut asking, connection) = http1::handshake(stream).await?;
                let connection = tokio::spawn(connection);
                let answered = whole(asking.send_request(request).await?).await;
                connection.abort();
                let (status, headers, _, body) = answered?;
                Ok(of_http(status, &headers, &body, now))
            }
        }
    }
}

/// All of an answer: status, headers, trailers and body.
async fn whole(answer: Response<Incoming>) -> anyhow::Result<(StatusCode, HeaderMap, Option<HeaderMap>, Bytes)> {
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, LONGEST).collect().await.map_err(|error| anyhow::anyhow!("{error}"))?;
    let ended = body.trailers().cloned();
    Ok((head.status, head.headers, ended, body.to_bytes()))
}
