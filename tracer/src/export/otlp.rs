//! Findings as OpenTelemetry log records: one `ExportLogsServiceRequest` in JSON (opentelemetry-proto, `logs/v1`).

use serde_json::{Value, json};

use super::settled::Form;
use crate::findings::{Finding, Severity};
use crate::hierarchy::Header;
use crate::input::BootTime;

/// One request with one scope, and a record for each finding.
pub(super) struct Otlp;

impl Form for Otlp {
    fn head(header: &Header) -> String {
        let resource = [
            attribute("service.name", "cgtrace"),
            attribute("host.name", header.host.to_json_text().into_owned()),
            attribute("host.arch", header.arch.as_str()),
            attribute("os.type", "linux"),
            attribute("os.version", header.kernel.as_str()),
        ];
        let resource = json!({ "attributes": resource });
        let scope = json!({ "name": "cgtrace", "version": env!("CARGO_PKG_VERSION") });
        format!("{{\"resourceLogs\":[{{\"resource\":{resource},\"scopeLogs\":[{{\"scope\":{scope},\"logRecords\":[")
    }

    fn finding(finding: &Finding, header: &Header) -> Option<Value> {
        Some(record(finding, header))
    }

    fn tail(_: &Header, _: BootTime) -> String {
        "]}]}]}\n".to_owned()
    }
}

/// An attribute, in OTLP's way of saying it.
fn attribute(key: &str, value: impl Into<Value>) -> Value {
    let value = match value.into() {
        Value::String(text) => json!({ "stringValue": text }),
        // 64-bit numbers are text in OTLP's JSON.
        Value::Number(number) if number.is_i64() || number.is_u64() => json!({ "intValue": number.to_string() }),
        Value::Number(number) => json!({ "doubleValue": number }),
        Value::Bool(value) => json!({ "boolValue": value }),
        other => json!({ "stringValue": other.to_string() }),
    };
    json!({ "key": key, "value": value })
}

fn record(finding: &Finding, header: &Header) -> Value {
    // The severity numbers of the log data model: INFO is 9, WARN 13, ERROR 17.
    let (number, text) = match finding.severity {
        Severity::Fault => (17, "ERROR"),
        Severity::Undetermined => (13, "WARN"),
        Severity::Benign => (9, "INFO"),
    };
    let mut attributes = vec![
        attribute("cgtrace.finding.id", finding.id.as_str()),
        attribute("cgtrace.finding.kind", finding.kind.as_str()),
        attribute("cgtrace.finding.cause", finding.cause.as_str()),
        attribute("cgtrace.finding.severity", finding.severity.as_str()),
        attribute("cgtrace.cgroup.path", finding.cgroup.path.to_json_text().into_owned()),
    ];
    attributes.extend(finding.actor.as_ref().map(|actor| attribute("process.pid", actor.pid.0)));
    attributes.push(attribute("cgtrace.attempts", finding.attempt_count));
    if let Some(container) = &finding.container {
        attributes.push(attribute("container.id", container.id.to_json_text().into_owned()));
        attributes.push(attribute("container.runtime", container.runtime.as_str()));
        for (key, value) in [
            ("container.name", &container.name),
            ("container.image.name", &container.image),
            ("k8s.pod.name", &container.pod),
            ("k8s.namespace.name", &container.namespace),
        ] {
            if let Some(value) = value {
                attributes.push(attribute(key, value.to_json_text().into_owned()));
            }
        }
    }
    let issues: Vec<&str> = finding.known_issues.iter().map(|issue| issue.id).collect();
    if !issues.is_empty() {
        attributes.push(attribute("cgtrace.known_issues", issues.join(" ")));
    }
    let time = header.clock.unix_ns(finding.at).to_string();
    json!({
        "timeUnixNano": time,
        "observedTimeUnixNano": time,
        "severityNumber": number,
        "severityText": text,
        "eventName": "cgtrace.finding",
        "body": { "stringValue": finding.summary },
        "attributes": attributes
    })
}
