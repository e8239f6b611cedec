//! Findings as OpenTelemetry log records: one `ExportLogsServiceRequest` in JSON (opentelemetry-proto, `logs/v1`).

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::findings::{Finding, Severity};
use crate::hierarchy::Header;
use crate::input::{BootTime, Input, Seq};
use crate::output::{Counts, Output};

/// Gathers the last word of each finding, and writes them at the end.
pub(super) struct Otlp<W: Write> {
    out: W,
    header: Option<Header>,
    findings: Vec<Finding>,
}

impl<W: Write> Otlp<W> {
    pub fn new(out: W) -> Self {
        Self { out, header: None, findings: Vec::new() }
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
        attribute("process.pid", finding.actor.pid.0),
        attribute("cgtrace.attempts", finding.attempt_count),
    ];
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

impl<W: Write> Output for Otlp<W> {
    fn header(&mut self, header: &Header) -> io::Result<()> {
        self.header = Some(header.clone());
        Ok(())
    }

    fn input(&mut self, _: Seq, _: &Input) -> io::Result<()> {
        Ok(())
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        match self.findings.iter_mut().find(|known| known.id == finding.id) {
            Some(known) => *known = finding.clone(),
            None => self.findings.push(finding.clone()),
        }
        Ok(())
    }

    fn end(&mut self, _: BootTime, _: &Counts) -> io::Result<()> {
        let Some(header) = &self.header else { return Ok(()) };
        let records: Vec<Value> = self.findings.iter().map(|finding| record(finding, header)).collect();
        let resource = [
            attribute("service.name", "cgtrace"),
            attribute("host.name", header.host.to_json_text().into_owned()),
            attribute("host.arch", header.arch.as_str()),
            attribute("os.type", "linux"),
            attribute("os.version", header.kernel.as_str()),
        ];
        let request = json!({ "resourceLogs": [{
            "resource": { "attributes": resource },
            "scopeLogs": [{ "scope": { "name": "cgtrace", "version": env!("CARGO_PKG_VERSION") }, "logRecords": records }]
        }] });
        serde_json::to_writer(&mut self.out, &request)?;
        self.out.write_all(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
