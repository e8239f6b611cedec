//! Findings as log records of OpenTelemetry. The names of attributes are those of its semantic conventions where there
//! is one, and begin with `cgtrace.` where there is none.

pub mod messages;

use crate::container::Container;
use crate::findings::{Finding, Severity};
use crate::hierarchy::Header;
use crate::input::{Actor, Exit};
use crate::name::Name;
use messages::{Any, AnyValue, ArrayValue, KeyValue, LogRecord, LogsRequest, Resource, ResourceLogs, Scope, ScopeLogs};

/// The semantic conventions that are followed.
pub const SCHEMA: &str = "https://opentelemetry.io/schemas/1.44.0";
/// The name of the event that a finding is.
pub const EVENT: &str = "cgtrace.finding";

/// A request with these records, and whose they are.
pub fn request(resource: Resource, log_records: Vec<LogRecord>) -> LogsRequest {
    let scope = Scope { name: "cgtrace".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let scope_logs = ScopeLogs { scope: Some(scope), log_records, schema_url: SCHEMA.to_owned() };
    let of_resource =
        ResourceLogs { resource: Some(resource), scope_logs: vec![scope_logs], schema_url: SCHEMA.to_owned() };
    LogsRequest { resource_logs: vec![of_resource] }
}

/// The host, and this program on it. `more` is what a user says of them: it goes before what is known here.
pub fn resource(header: &Header, more: &[(String, String)]) -> Resource {
    // The words of the conventions are others than those of uname(1).
    let arch = match header.arch.as_str() {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let known = [
        ("service.name", "cgtrace".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("host.name", text(&header.host)),
        ("host.arch", arch.to_owned()),
        ("os.type", "linux".to_owned()),
        ("os.version", header.kernel.clone()),
    ];
    let mut attributes: Vec<KeyValue> = Vec::new();
    let said = more.iter().map(|(key, value)| (key.as_str(), value.clone()));
    for (key, value) in said.chain(known) {
        if attributes.iter().all(|attribute| attribute.key != key) {
            attributes.push(attribute(key, value));
        }
    }
    Resource { attributes }
}

/// A finding. `told` is when it was told, in nanoseconds since 1970.
///
/// Each word of a finding is a record: they have the finding's id, and `log.record.uid` tells one that was sent twice.
pub fn record(finding: &Finding, header: &Header, told: u64) -> LogRecord {
    // The numbers of the log data model.
    let (severity_number, severity) = match finding.severity {
        Severity::Fault => (17, "ERROR"),
        Severity::Undetermined => (13, "WARN"),
        Severity::Benign => (9, "INFO"),
    };
    let mut attributes = vec![
        attribute("log.record.uid", format!("{}.{}.{}", header.boot_id, finding.id, finding.revision)),
        attribute("cgtrace.finding.id", finding.id.clone()),
        attribute("cgtrace.finding.revision", i64::from(finding.revision)),
        attribute("cgtrace.finding.kind", finding.kind.as_str()),
        attribute("cgtrace.finding.cause", finding.cause.as_str()),
        attribute("cgtrace.finding.severity", finding.severity.as_str()),
        attribute("cgtrace.finding.certainty", finding.certainty.as_str()),
        attribute("cgtrace.cgroup.path", text(&finding.cgroup.path)),
        attribute("cgtrace.attempts", i64::try_from(finding.attempt_count).unwrap_or(i64::MAX)),
    ];
    if let Some(actor) = &finding.actor {
        of_process(actor, finding.outcome.exit, &mut attributes);
    }
    if let Some(container) = &finding.container {
        of_container(container, &mut attributes);
    }
    let issues: Vec<String> = finding.known_issues.iter().map(|issue| issue.id.to_owned()).collect();
    if !issues.is_empty() {
        attributes.push(attribute("cgtrace.known_issues", issues.join(" ")));
    }
    LogRecord {
        time_unix_nano: u64::try_from(header.clock.unix_ns(finding.at)).unwrap_or(0),
        observed_time_unix_nano: told,
        severity_number,
        severity_text: severity.to_owned(),
        event_name: EVENT.to_owned(),
        body: Some(finding.summary.clone().into()),
        attributes,
    }
}

/// The process that the finding is about. Its command line may hold secrets, and is not told.
fn of_process(actor: &Actor, exit: Option<Exit>, attributes: &mut Vec<KeyValue>) {
    attributes.push(attribute("process.pid", i64::from(actor.pid.0)));
    attributes.push(attribute("cgtrace.process.comm", text(&actor.comm)));
    attributes.extend(actor.uid.map(|uid| attribute("process.real_user.id", i64::from(uid))));
    if let Some(exe) = actor.identity.as_ref().and_then(|identity| identity.exe.as_ref()) {
        let path = text(exe);
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        attributes.push(attribute("process.executable.name", name));
        attributes.push(attribute("process.executable.path", path));
    }
    match exit {
        Some(Exit::Code(code)) => attributes.push(attribute("process.exit.code", i64::from(code))),
        Some(Exit::Signal(signal)) => attributes.push(attribute("cgtrace.process.exit.signal", i64::from(signal))),
        None => {}
    }
}

fn of_container(container: &Container, attributes: &mut Vec<KeyValue>) {
    attributes.push(attribute("container.id", text(&container.id)));
    attributes.push(attribute("container.runtime.name", container.runtime.as_str()));
    attributes.extend(container.name.as_ref().map(|name| attribute("container.name", text(name))));
    attributes.extend(container.image.as_ref().map(text).map(|image| of_image(&image)).unwrap_or_default());
    // Podman has pods of its own, and containerd namespaces of its own: only a pod's is one of Kubernetes, where no
    // name has a dot in it.
    let pod = container.pod.as_ref().map(text);
    let is_of_kubernetes = pod.is_some() && container.runtime != "podman";
    attributes.extend(pod.map(|pod| {
        let key = match is_of_kubernetes {
            true if is_uid(&pod) => "k8s.pod.uid",
            true => "k8s.pod.name",
            false => "cgtrace.container.pod",
        };
        attribute(key, pod)
    }));
    attributes.extend(container.namespace.as_ref().map(text).map(|namespace| {
        let is_of_kubernetes = is_of_kubernetes && !namespace.contains('.');
        attribute(if is_of_kubernetes { "k8s.namespace.name" } else { "cgtrace.container.namespace" }, namespace)
    }));
}

/// An image as its parts: `REGISTRY/NAME:TAG@DIGEST`, or an id.
fn of_image(image: &str) -> Vec<KeyValue> {
    let is_hex = |digits: &str| digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex(image.strip_prefix("sha256:").unwrap_or(image)) {
        return vec![attribute("container.image.id", image)];
    }
    let (named, digest) = image.split_once('@').map_or((image, None), |(named, digest)| (named, Some(digest)));
    // A colon before a slash is a registry's port.
    let (name, tag) = match named.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (named, None),
    };
    let mut attributes = vec![attribute("container.image.name", name)];
    attributes.extend(tag.map(|tag| attribute("container.image.tags", vec![tag.to_owned()])));
    let digest = digest.map(|digest| vec![format!("{name}@{digest}")]);
    attributes.extend(digest.map(|digest| attribute("container.image.repo_digests", digest)));
    attributes
}

/// Whether it is a UUID, as the UID of a pod is. A static pod's, which is 32 digits, is taken for a name.
fn is_uid(pod: &str) -> bool {
    let lengths = pod.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && pod.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

fn text(name: &Name) -> String {
    name.to_json_text().into_owned()
}

fn attribute(key: &str, value: impl Into<AnyValue>) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value.into()) }
}

impl From<String> for AnyValue {
    fn from(text: String) -> Self {
        Self { value: Some(Any::Text(text)) }
    }
}

impl From<&str> for AnyValue {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<i64> for AnyValue {
    fn from(number: i64) -> Self {
        Self { value: Some(Any::Whole(number)) }
    }
}

impl From<Vec<String>> for AnyValue {
    fn from(all: Vec<String>) -> Self {
        Self { value: Some(Any::List(ArrayValue { values: all.into_iter().map(Self::from).collect() })) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(attributes: Vec<KeyValue>) -> Vec<(String, String)> {
        let value = |value: AnyValue| match value.value.expect("a value") {
            Any::Text(text) => text,
            Any::Whole(number) => number.to_string(),
            Any::List(list) => format!("{}", serde_json::to_value(list).expect("JSON")["values"][0]["stringValue"]),
        };
        attributes.into_iter().map(|each| (each.key, value(each.value.expect("a value")))).collect()
    }

    #[test]
    fn an_image_is_told_by_its_parts() {
        let check = |image: &str, parts: &[(&str, &str)]| {
            let parts: Vec<(String, String)> =
                parts.iter().map(|(key, value)| (format!("container.image.{key}"), (*value).to_owned())).collect();
            assert_eq!(said(of_image(image)), parts, "{image}");
        };
        let (id, digest) = ("3f".repeat(32), format!("sha256:{}", "ab".repeat(32)));
        check("nginx", &[("name", "nginx")]);
        check("quay.io/shop/web:1.2", &[("name", "quay.io/shop/web"), ("tags", "\"1.2\"")]);
        check("node1:5000/web", &[("name", "node1:5000/web")]);
        check(&id, &[("id", &id)]);
        check(&digest, &[("id", &digest)]);
        let whole = format!("\"node1:5000/web@{digest}\"");
        check(
            &format!("node1:5000/web:2@{digest}"),
            &[("name", "node1:5000/web"), ("tags", "\"2\""), ("repo_digests", &whole)],
        );
    }

    #[test]
    fn only_a_pod_of_kubernetes_is_told_as_one() {
        let uid = "4c0c6d2e-1f0b-4e9a-9d5e-2b6f0a7c1d3e";
        let check = |runtime: &str, pod: Option<&str>, namespace: &str, keys: [&str; 2]| {
            let container = Container {
                id: "1".into(),
                runtime: runtime.to_owned(),
                rule: "-".to_owned(),
                chain: vec![],
                name: None,
                image: None,
                pod: pod.map(Name::from),
                namespace: Some(namespace.into()),
                depths: vec![],
            };
            let mut attributes = Vec::new();
            of_container(&container, &mut attributes);
            let all: Vec<String> = attributes.into_iter().skip(2).map(|each| each.key).collect();
            assert_eq!(all, keys.into_iter().filter(|key| !key.is_empty()).collect::<Vec<_>>(), "{runtime} {pod:?}");
        };
        check("containerd", Some(uid), "shop", ["k8s.pod.uid", "k8s.namespace.name"]);
        check("cri-o", Some("web-1"), "shop", ["k8s.pod.name", "k8s.namespace.name"]);
        check("containerd", Some(uid), "k8s.io", ["k8s.pod.uid", "cgtrace.container.namespace"]);
        check("containerd", None, "default", ["", "cgtrace.container.namespace"]);
        check("podman", Some("3b8d"), "shop", ["cgtrace.container.pod", "cgtrace.container.namespace"]);
    }
}
