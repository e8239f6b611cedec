//! Where findings are sent, and how that is said: on the command line, or in the variables that other programs with
//! OpenTelemetry have (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>).

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::uri::Scheme;
use hyper::{HeaderMap, Uri};
use percent_encoding::percent_decode_str;

use crate::trust::Trust;

/// What a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The port that is gRPC's.
const GRPC_PORT: u16 = 4_317;
/// Where logs go below an address of HTTP.
const LOGS: &str = "/v1/logs";
/// The method that logs go to over gRPC.
const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
/// More is a mistake: another file was named.
const HEADERS: u64 = 64 << 10;

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// gRPC: HTTP/2
    #[value(name = "grpc")]
    Grpc,
    /// Protobuf in requests of HTTP/1.1
    #[value(name = "http/protobuf")]
    HttpProtobuf,
}

/// What was said on the command line or in the configuration.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The address: `http://HOST:PORT` or `https://HOST:PORT`.
    pub endpoint: Option<String>,
    /// How it is spoken to.
    pub protocol: Option<Protocol>,
    /// A file with headers, `NAME: VALUE` each.
    pub headers: Option<PathBuf>,
    /// A file with certificates to trust.
    pub ca: Option<PathBuf>,
}

/// Where findings are sent.
pub struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) authority: String,
    pub(super) path: String,
    pub(super) protocol: Protocol,
    pub(super) is_tls: bool,
}

/// What is there, and what it is shown.
pub struct Collector {
    pub(super) endpoint: Endpoint,
    /// Whom to trust, if TLS is spoken.
    pub(super) tls: Option<Trust>,
    /// What each request has besides.
    pub(super) headers: HeaderMap,
    /// What a request may take.
    pub(super) timeout: Duration,
    /// What its user says of this host and this program.
    pub(super) resource: Vec<(String, String)>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme();
        match self.protocol {
            Protocol::Grpc => write!(f, "{scheme}://{} by gRPC", self.authority),
            Protocol::HttpProtobuf => write!(f, "{scheme}://{}{}", self.authority, self.path),
        }
    }
}

/// The variables of the environment.
struct Environment<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Environment<'_> {
    /// One that is set, and not to nothing.
    fn of(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// The one of an exporter, with its name: that of logs goes before that of all signals.
    fn exporter(&self, name: &str) -> Option<(String, String)> {
        let names = [format!("OTEL_EXPORTER_OTLP_LOGS_{name}"), format!("OTEL_EXPORTER_OTLP_{name}")];
        names.into_iter().find_map(|name| self.of(&name).map(|value| (name, value)))
    }
}

impl Endpoint {
    pub(super) fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    /// The one that was asked for, if any: by `wanted`, or by the environment.
    ///
    /// # Errors
    /// When what was said of it cannot be understood.
    pub fn find(wanted: &Wanted, environment: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Option<Self>> {
        let environment = Environment(environment);
        let found = match &wanted.endpoint {
            Some(endpoint) => Some(("--otlp".to_owned(), endpoint.clone())),
            None if is_switched_off(&environment) => None,
            None => environment.exporter("ENDPOINT"),
        };
        let Some((name, endpoint)) = found else { return Ok(None) };
        // The address of one signal is taken as it is; that of all is what the signal's own path goes behind.
        let is_whole = name.contains("_LOGS_");
        let wrong = || format!("{name}: {endpoint:?} is not an address\nhint: http://HOST:4318 or https://HOST:4317");
        let uri: Uri = endpoint.parse().ok().with_context(wrong)?;
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => bail!(wrong()),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).with_context(wrong)?;
        ensure!(!authority.host().is_empty() && uri.query().is_none(), wrong());
        ensure!(authority.port_u16().is_some() || authority.as_str() == authority.host(), wrong());
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let protocol = match (wanted.protocol, environment.exporter("PROTOCOL")) {
            (Some(protocol), _) => protocol,
            (None, Some((name, word))) => Protocol::from_str(&word, false)
                .map_err(|_| anyhow::anyhow!("{name}: {word:?} is not spoken here\nhint: grpc or http/protobuf"))?,
            (None, None) if port == GRPC_PORT => Protocol::Grpc,
            (None, None) => Protocol::HttpProtobuf,
        };
        let said = uri.path().trim_end_matches('/');
        let path = match protocol {
            Protocol::Grpc => {
                ensure!(said.is_empty(), "{name}: {endpoint:?} has a path, and gRPC has none of its own");
                EXPORT.to_owned()
            }
            Protocol::HttpProtobuf if is_whole => uri.path().to_owned(),
            Protocol::HttpProtobuf if said.ends_with(LOGS) => said.to_owned(),
            Protocol::HttpProtobuf => format!("{said}{LOGS}"),
        };
        Ok(Some(Self {
            host: authority.host().to_owned(),
            port,
            authority: authority.to_string(),
            path,
            protocol,
            is_tls,
        }))
    }
}

impl Collector {
    /// The one that was asked for, if any: by `wanted`, or by the environment. Files are read now.
    ///
    /// # Errors
    /// When what was said of it cannot be understood, or a file cannot be read.
    pub fn find(wanted: &Wanted, environment: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = Endpoint::find(wanted, environment)? else { return Ok(None) };
        let environment = Environment(environment);
        Ok(Some(Self {
            tls: endpoint.is_tls.then(|| trust(wanted, &environment, endpoint.protocol)).transpose()?,
            endpoint,
            headers: headers(wanted, &environment)?,
            timeout: match environment.exporter("TIMEOUT") {
                Some((name, text)) => {
                    let wrong = || format!("{name}: {text:?} is no time\nhint: milliseconds, such as 10000");
                    let time = text.parse().ok().map(Duration::from_millis).filter(|time| !time.is_zero());
                    time.with_context(wrong)?
                }
                None => TIMEOUT,
            },
            resource: resource(&environment)?,
        }))
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What is said at the start of how it is asked, if there is something to be said.
    pub fn caution(&self, environment: &dyn Fn(&str) -> Option<String>) -> Option<String> {
        let is_own = matches!(self.endpoint.host.as_str(), "localhost" | "127.0.0.1" | "[::1]");
        if self.tls.is_none() && !self.headers.is_empty() && !is_own {
            return Some(format!("headers go to {} in the clear\nhint: https://", self.endpoint.authority));
        }
        let (name, word) = Environment(environment).exporter("COMPRESSION")?;
        (word != "none").then(|| format!("{name}={word}: findings are sent as they are, not compressed"))
    }
}

/// What switches OpenTelemetry off, whatever else is in the environment.
fn is_switched_off(environment: &Environment<'_>) -> bool {
    let is = |name: &str, word: &str| environment.of(name).is_some_and(|value| value.eq_ignore_ascii_case(word));
    is("OTEL_SDK_DISABLED", "true") || is("OTEL_LOGS_EXPORTER", "none")
}

fn trust(wanted: &Wanted, environment: &Environment<'_>, protocol: Protocol) -> anyhow::Result<Trust> {
    let file = wanted.ca.clone().or_else(|| Some(environment.exporter("CERTIFICATE")?.1.into()));
    let trust = file.map_or_else(Trust::of_host, |file| Trust::of_file(&file))?;
    Ok(trust.to_speak(match protocol {
        Protocol::Grpc => "h2",
        Protocol::HttpProtobuf => "http/1.1",
    }))
}

fn headers(wanted: &Wanted, environment: &Environment<'_>) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut add = |from: &str, name: &str, value: &[u8]| {
        // What is wrong with one is said without its value: that may be a secret.
        let wrong = || format!("{from}: {name:?} is not the name of a header, or has no value that one can have");
        let key: HeaderName = name.trim().parse().ok().with_context(wrong)?;
        let mut value = HeaderValue::from_bytes(value.trim_ascii()).ok().with_context(wrong)?;
        value.set_sensitive(true);
        headers.insert(key, value);
        anyhow::Ok(())
    };
    match &wanted.headers {
        Some(file) => {
            let from = file.display().to_string();
            for (line, number) in read(file)?.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
                let wrong = || format!("{from}: line {number} is no header\nhint: Authorization: Bearer TOKEN");
                let (name, value) = line.split_once(':').with_context(wrong)?;
                add(&from, name, value.as_bytes())?;
            }
        }
        None => {
            let Some((from, text)) = environment.exporter("HEADERS") else { return Ok(headers) };
            for (name, value) in pairs(&from, &text)? {
                add(&from, &name, value.as_bytes())?;
            }
        }
    }
    Ok(headers)
}

fn read(path: &Path) -> anyhow::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    file.take(HEADERS).read_to_string(&mut text).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(text)
}

/// What its user says of this host and this program.
fn resource(environment: &Environment<'_>) -> anyhow::Result<Vec<(String, String)>> {
    const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
    let name = environment.of("OTEL_SERVICE_NAME").map(|name| ("service.name".to_owned(), name));
    let text = environment.of(ATTRIBUTES).unwrap_or_default();
    Ok(name.into_iter().chain(pairs(ATTRIBUTES, &text)?).collect())
}

/// `NAME=VALUE,NAME=VALUE`, with what is no letter as `%XX`.
fn pairs(from: &str, text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let decoded = |part: &str| percent_decode_str(part.trim()).decode_utf8().map(String::from);
    let pair = |(number, pair): (usize, &str)| {
        let wrong = || format!("{from}: entry {} is not NAME=VALUE", number + 1);
        let (name, value) = pair.split_once('=').with_context(wrong)?;
        Ok((decoded(name).with_context(wrong)?, decoded(value).with_context(wrong)?))
    };
    text.split(',').enumerate().filter(|(_, pair)| !pair.trim().is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(endpoint: Option<&str>, variables: &[(&str, &str)]) -> anyhow::Result<Option<Collector>> {
        let environment = |name: &str| {
            let found = variables.iter().find(|(key, _)| name.strip_prefix("OTEL_") == Some(*key));
            found.map(|(_, value)| (*value).to_owned())
        };
        Collector::find(&Wanted { endpoint: endpoint.map(str::to_owned), ..Wanted::default() }, &environment)
    }

    #[test]
    fn the_address_says_how_it_is_spoken_to_and_where() {
        let check = |endpoint: &str, variables: &[(&str, &str)], expected: &str| {
            let flag = (!endpoint.is_empty()).then_some(endpoint);
            let found =
                find(flag, variables).expect("understood").map_or("nothing".into(), |found| found.endpoint.to_string());
            assert_eq!(found, expected, "{endpoint} {variables:?}");
        };
        check("http://c:4318", &[], "http://c:4318/v1/logs");
        check("http://c:4318/", &[], "http://c:4318/v1/logs");
        check("http://c", &[], "http://c/v1/logs");
        check("http://[::1]:1/in/", &[], "http://[::1]:1/in/v1/logs");
        check("http://c:4318/v1/logs", &[], "http://c:4318/v1/logs");
        check("http://c:4317", &[], "http://c:4317 by gRPC");
        check("http://c:4317", &[("EXPORTER_OTLP_PROTOCOL", "http/protobuf")], "http://c:4317/v1/logs");
        check("http://c:9", &[("EXPORTER_OTLP_PROTOCOL", "grpc")], "http://c:9 by gRPC");
        let both = ("EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        check("http://c:9", &[both, ("EXPORTER_OTLP_LOGS_PROTOCOL", "grpc")], "http://c:9 by gRPC");
        // The environment alone.
        let all = ("EXPORTER_OTLP_ENDPOINT", "http://all:4318");
        check("", &[], "nothing");
        check("", &[("EXPORTER_OTLP_ENDPOINT", " ")], "nothing");
        check("", &[all], "http://all:4318/v1/logs");
        check("", &[all, ("EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs/x")], "http://logs/x");
        check("", &[("EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs:4318")], "http://logs:4318/");
        check("http://c:4318", &[all], "http://c:4318/v1/logs");
        for off in [("SDK_DISABLED", "TRUE"), ("LOGS_EXPORTER", "none")] {
            check("", &[all, off], "nothing");
            check("http://c:4318", &[all, off], "http://c:4318/v1/logs");
        }
    }

    #[test]
    fn what_is_wrong_is_said_by_its_name_and_without_secrets() {
        let check = |endpoint: &str, variables: &[(&str, &str)], wanted: &str| {
            let said = find(Some(endpoint), variables).err().unwrap_or_else(|| panic!("{endpoint} {variables:?}"));
            let said = format!("{said:#}");
            assert!(said.contains(wanted) && !said.contains("secret"), "{wanted:?} is not in {said:?}");
        };
        for wrong in ["c:4317", "grpc://c:4317", "http://", "/x", "http://u:p@c:1", "http://c:x", "http://c/?a=b"] {
            check(wrong, &[], "--otlp: ");
        }
        check("http://c:4317/x", &[], "gRPC has none");
        check("http://c:1", &[("EXPORTER_OTLP_PROTOCOL", "http/json")], "OTEL_EXPORTER_OTLP_PROTOCOL: \"http/json\"");
        check("http://c:1", &[("EXPORTER_OTLP_LOGS_TIMEOUT", "5s")], "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT: \"5s\"");
        check("http://c:1", &[("EXPORTER_OTLP_HEADERS", "a=a%0Asecret")], "OTEL_EXPORTER_OTLP_HEADERS: \"a\"");
        check("http://c:1", &[("EXPORTER_OTLP_HEADERS", "a=b,secret")], "entry 2 is not NAME=VALUE");
        check("http://c:1", &[("RESOURCE_ATTRIBUTES", "a")], "OTEL_RESOURCE_ATTRIBUTES: entry 1");
    }

    #[test]
    fn headers_and_attributes_are_those_that_were_said() {
        let said = [
            ("EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20x,,a = b%2Cc"),
            ("RESOURCE_ATTRIBUTES", "k8s.node.name=n1,service.name=other"),
            ("SERVICE_NAME", "own"),
            ("EXPORTER_OTLP_TIMEOUT", "250"),
        ];
        let found = find(Some("http://c:1"), &said).expect("understood").expect("one");
        assert_eq!(
            (&found.headers["authorization"], &found.headers["a"]),
            (&"Bearer x".parse().expect("a value"), &"b,c".parse().expect("a value"))
        );
        assert!(!format!("{:?}", found.headers).contains("Bearer"), "they are not shown");
        assert_eq!(found.resource[0], ("service.name".to_owned(), "own".to_owned()));
        assert_eq!(found.resource[1], ("k8s.node.name".to_owned(), "n1".to_owned()));
        assert_eq!(found.timeout, Duration::from_millis(250));
        let none = |_: &str| None;
        assert!(found.caution(&none).is_some_and(|said| said.contains("in the clear")));
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "Authorization: Bearer y\n\nX-Scope: a:b\n").expect("written");
        let wanted = Wanted {
            endpoint: Some("http://localhost:1".into()),
            headers: Some(file.path().into()),
            ..Wanted::default()
        };
        let found = Collector::find(&wanted, &none).expect("understood").expect("one");
        assert_eq!((found.headers.len(), found.headers["x-scope"].as_bytes()), (2, &b"a:b"[..]));
        assert_eq!(found.caution(&none), None, "it does not leave this host");
        std::fs::write(file.path(), "secret\n").expect("written");
        let said = Collector::find(&wanted, &none).err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(said.contains("line 1 is no header") && !said.contains("secret"), "{said}");
    }
}
