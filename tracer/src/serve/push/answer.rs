//! What a receiver's answer means, by the specification of OTLP (<https://opentelemetry.io/docs/specs/otlp/>): it has
//! the records, they are to be sent again later, or never.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine};
use hyper::header::RETRY_AFTER;
use hyper::{HeaderMap, StatusCode};
use percent_encoding::percent_decode_str;
use prost::Message;

use crate::name::Name;
use crate::otlp::messages::{LogsResponse, RetryInfo, Status};

/// What is shown of a receiver's words.
const WORDS: usize = 300;
/// The longest that a receiver may make this wait.
const LONGEST: Duration = Duration::from_secs(3_600);

/// What becomes of the records of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The receiver has them, but for so many, which it does not want.
    Taken {
        /// How many it does not want.
        rejected: u64,
        /// Its words.
        why: String,
    },
    /// They are to be sent again.
    Later {
        /// No sooner than this, if the receiver has said so.
        after: Option<Duration>,
        /// What went wrong.
        why: String,
    },
    /// It will not have them.
    Refused {
        /// Why.
        why: String,
    },
}

impl Answer {
    /// Something else than an answer.
    pub fn failed(why: impl ToString) -> Self {
        Self::Later { after: None, why: why.to_string() }
    }
}

/// An answer over HTTP. `now` is in seconds since 1970.
pub fn of_http(status: StatusCode, headers: &HeaderMap, body: &[u8], now: i64) -> Answer {
    if status.is_success() {
        return taken(body);
    }
    let why = match Status::decode(body) {
        Ok(said) if !said.message.is_empty() => format!("HTTP status {status}: {}", shown(said.message.as_bytes())),
        _ => format!("HTTP status {status}"),
    };
    match status.as_u16() {
        429 | 502 | 503 | 504 => Answer::Later { after: retry_after(headers, now), why },
        _ => Answer::Refused { why },
    }
}

/// `Retry-After`: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let said = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = match said.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(said).ok()?.timestamp().as_second();
            u64::try_from(date.saturating_sub(now)).unwrap_or(0)
        }
    };
    Some(Duration::from_secs(seconds).min(LONGEST))
}

/// The status codes of gRPC that are told apart.
mod code {
    pub const OK: i32 = 0;
    pub const CANCELLED: i32 = 1;
    pub const UNKNOWN: i32 = 2;
    pub const DEADLINE_EXCEEDED: i32 = 4;
    pub const PERMISSION_DENIED: i32 = 7;
    pub const RESOURCE_EXHAUSTED: i32 = 8;
    pub const ABORTED: i32 = 10;
    pub const OUT_OF_RANGE: i32 = 11;
    pub const UNIMPLEMENTED: i32 = 12;
    pub const INTERNAL: i32 = 13;
    pub const UNAVAILABLE: i32 = 14;
    pub const DATA_LOSS: i32 = 15;
    pub const UNAUTHENTICATED: i32 = 16;
}

/// An answer of gRPC. `ended` are the trailers; an answer without a message has them as its headers.
pub fn of_grpc(status: StatusCode, headers: &HeaderMap, ended: Option<&HeaderMap>, body: &[u8]) -> Answer {
    let ended = ended.unwrap_or(headers);
    let said = |name: &str| ended.get(name).and_then(|value| value.to_str().ok());
    let number = match said("grpc-status").and_then(|number| number.parse().ok()) {
        Some(number) => number,
        None => of_status(status),
    };
    if number == code::OK {
        // Five bytes before the message: whether it is compressed, which was not asked for, and its length.
        return taken(body.get(5..).unwrap_or_default());
    }
    let words = said("grpc-message").map(|words| shown(&percent_decode_str(words).collect::<Vec<u8>>()));
    let why = match words.filter(|words| !words.is_empty()) {
        Some(words) => format!("gRPC status {number}: {words}"),
        None => format!("gRPC status {number}"),
    };
    let after = said("grpc-status-details-bin").and_then(retry_info);
    match number {
        code::RESOURCE_EXHAUSTED if after.is_none() => Answer::Refused { why },
        code::CANCELLED
        | code::DEADLINE_EXCEEDED
        | code::RESOURCE_EXHAUSTED
        | code::ABORTED
        | code::OUT_OF_RANGE
        | code::UNAVAILABLE
        | code::DATA_LOSS => Answer::Later { after: after.flatten(), why },
        _ => Answer::Refused { why },
    }
}

/// The code for an answer that has none, and is some proxy's:
/// <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>
fn of_status(status: StatusCode) -> i32 {
    match status.as_u16() {
        400 => code::INTERNAL,
        401 => code::UNAUTHENTICATED,
        403 => code::PERMISSION_DENIED,
        404 => code::UNIMPLEMENTED,
        429 | 502 | 503 | 504 => code::UNAVAILABLE,
        _ => code::UNKNOWN,
    }
}

/// Whether there is a `RetryInfo`, and which delay it has. One of nothing is the same as none.
fn retry_info(details: &str) -> Option<Option<Duration>> {
    let status = BASE64_STANDARD_NO_PAD.decode(details.trim_end_matches('=')).ok()?;
    let status = Status::decode(status.as_slice()).ok()?;
    let info = status.details.iter().find(|detail| detail.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay;
    let delay = delay.map(|delay| {
        let (seconds, nanos) = (u64::try_from(delay.seconds).unwrap_or(0), u32::try_from(delay.nanos).unwrap_or(0));
        Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into())).min(LONGEST)
    });
    Some(delay.filter(|delay| !delay.is_zero()))
}

/// What of the records a receiver does not want. A success of some other form is one.
fn taken(body: &[u8]) -> Answer {
    let partial = LogsResponse::decode(body).ok().and_then(|response| response.partial_success).unwrap_or_default();
    let rejected = u64::try_from(partial.rejected_log_records).unwrap_or(0);
    Answer::Taken { rejected, why: shown(partial.error_message.as_bytes()) }
}

/// The beginning of a stranger's words, in one harmless line.
fn shown(words: &[u8]) -> String {
    Name::new(&words[..words.len().min(WORDS)]).printable()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::messages::{Delay, Detail, PartialSuccess};

    const NOW: i64 = 1_700_000_000;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| ((*name).parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    /// How soon again: `-` if the receiver has not said.
    fn kind(answer: &Answer) -> String {
        match answer {
            Answer::Taken { rejected, .. } => format!("taken but {rejected}"),
            Answer::Later { after: None, .. } => "later".to_owned(),
            Answer::Later { after: Some(after), .. } => format!("later by {after:?}"),
            Answer::Refused { .. } => "refused".to_owned(),
        }
    }

    #[test]
    fn http_is_tried_again_only_where_the_specification_says_so() {
        let check = |status: u16, said: &[(&'static str, &str)], expected: &str| {
            let status = StatusCode::from_u16(status).expect("a status");
            let answer = of_http(status, &headers(said), b"", NOW);
            assert_eq!(kind(&answer), expected, "{status} {said:?}");
        };
        check(200, &[], "taken but 0");
        for refused in [301, 400, 401, 403, 404, 408, 413, 500, 501, 505] {
            check(refused, &[("retry-after", "1")], "refused");
        }
        for later in [429, 502, 503, 504] {
            check(later, &[], "later");
            check(later, &[("retry-after", "7")], "later by 7s");
        }
        check(503, &[("retry-after", "Tue, 14 Nov 2023 22:13:25 GMT")], "later by 5s");
        check(503, &[("retry-after", "Tue, 14 Nov 2023 22:13:15 GMT")], "later by 0ns");
        check(503, &[("retry-after", "99999999999999")], "later by 3600s");
        check(503, &[("retry-after", "soon")], "later");
    }

    #[test]
    fn grpc_is_tried_again_only_where_the_specification_says_so() {
        let details = |delay: Option<(i64, i32)>| {
            let info = RetryInfo { retry_delay: delay.map(|(seconds, nanos)| Delay { seconds, nanos }) };
            let type_url = "type.googleapis.com/google.rpc.RetryInfo".to_owned();
            let details = vec![Detail { type_url, value: info.encode_to_vec() }];
            BASE64_STANDARD_NO_PAD.encode(Status { code: 14, message: String::new(), details }.encode_to_vec())
        };
        let check = |number: i32, details: Option<String>, expected: &str| {
            let (number, details) = (number.to_string(), details.unwrap_or_default());
            let ended = headers(&[("grpc-status", &number), ("grpc-status-details-bin", &details)]);
            let answer = of_grpc(StatusCode::OK, &HeaderMap::new(), Some(&ended), b"");
            assert_eq!(kind(&answer), expected, "{number} {details}");
            assert_eq!(of_grpc(StatusCode::OK, &ended, None, b""), answer, "without a message");
        };
        check(0, None, "taken but 0");
        for later in [1, 4, 10, 11, 14, 15] {
            check(later, None, "later");
            check(later, Some(details(Some((2, 500_000_000)))), "later by 2.5s");
            check(later, Some(details(Some((0, 0)))), "later");
        }
        for refused in [2, 3, 5, 6, 7, 9, 12, 13, 16, 99] {
            check(refused, Some(details(Some((2, 0)))), "refused");
        }
        check(8, None, "refused");
        check(8, Some("nonsense".into()), "refused");
        check(8, Some(details(Some((1, 0)))), "later by 1s");
        check(8, Some(details(None)), "later");
        check(14, Some(details(Some((i64::MAX, i32::MAX)))), "later by 3600s");
        check(14, Some(details(Some((-1, -1)))), "later");
        // Of a proxy that does not speak gRPC.
        let proxy = |status: StatusCode| kind(&of_grpc(status, &HeaderMap::new(), None, b"<html>"));
        assert_eq!(proxy(StatusCode::BAD_GATEWAY), "later");
        assert_eq!(proxy(StatusCode::NOT_FOUND), "refused");
        assert_eq!(proxy(StatusCode::OK), "refused", "it is no answer of gRPC");
    }

    #[test]
    fn a_receivers_words_are_shown_and_harmless() {
        let response = LogsResponse {
            partial_success: Some(PartialSuccess { rejected_log_records: 3, error_message: "too\nold\x1b[2J".into() }),
        };
        let body = response.encode_to_vec();
        let expected = Answer::Taken { rejected: 3, why: "too\\nold\\x1b[2J".into() };
        assert_eq!(of_http(StatusCode::OK, &HeaderMap::new(), &body, NOW), expected);
        let framed = [&[0, 0, 0, 0, body.len() as u8][..], &body].concat();
        let ended = headers(&[("grpc-status", "0")]);
        assert_eq!(of_grpc(StatusCode::OK, &HeaderMap::new(), Some(&ended), &framed), expected);
        let ended = headers(&[("grpc-status", "7"), ("grpc-message", "not%20you%0A")]);
        let Answer::Refused { why } = of_grpc(StatusCode::OK, &HeaderMap::new(), Some(&ended), b"") else { panic!() };
        assert_eq!(why, "gRPC status 7: not you\\n");
    }
}
