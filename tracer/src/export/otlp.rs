//! Findings as OpenTelemetry log records: one `ExportLogsServiceRequest` in JSON (opentelemetry-proto, `logs/v1`).

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use crate::findings::{Finding, Severity};
use crate::hierarchy::Header;
use crate::input::BootTime;
use crate::line::{Line, Output};

/// A finding that was not told anew for so long will not be: stories are closed long before.
const LAST_WORD: Duration = Duration::from_secs(60 * 60);

/// Writes each finding when its last word has been told.
pub(super) struct Otlp<W: Write> {
    out: W,
    header: Option<Header>,
    /// Findings that may be told anew, with the time and the number of their last telling.
    open: HashMap<String, (u64, Finding)>,
    /// Their tellings, oldest first.
    order: VecDeque<(BootTime, u64, String)>,
    told: u64,
    now: BootTime,
    written: u64,
}

impl<W: Write> Otlp<W> {
    pub fn new(out: W) -> Self {
        Self { out, header: None, open: HashMap::new(), order: VecDeque::new(), told: 0, now: BootTime(0), written: 0 }
    }

    /// Writes the findings whose last telling was before `until`.
    fn write_until(&mut self, until: Option<BootTime>) -> io::Result<()> {
        while let Some((at, number, id)) = self.order.pop_front() {
            if until.is_some_and(|until| at >= until) {
                self.order.push_front((at, number, id));
                return Ok(());
            }
            if self.open.get(&id).is_none_or(|(last, _)| *last != number) {
                continue;
            }
            let (Some((_, finding)), Some(header)) = (self.open.remove(&id), &self.header) else { continue };
            if self.written > 0 {
                self.out.write_all(b",")?;
            }
            self.written += 1;
            serde_json::to_writer(&mut self.out, &record(&finding, header))?;
        }
        Ok(())
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

impl<W: Write> Otlp<W> {
    fn header(&mut self, header: &Header) -> io::Result<()> {
        if self.header.replace(header.clone()).is_some() {
            // A later part, with a clock of its own: all of it is one request.
            return Ok(());
        }
        let resource = [
            attribute("service.name", "cgtrace"),
            attribute("host.name", header.host.to_json_text().into_owned()),
            attribute("host.arch", header.arch.as_str()),
            attribute("os.type", "linux"),
            attribute("os.version", header.kernel.as_str()),
        ];
        let scope = json!({ "name": "cgtrace", "version": env!("CARGO_PKG_VERSION") });
        write!(
            self.out,
            "{{\"resourceLogs\":[{{\"resource\":{},\"scopeLogs\":[{{\"scope\":{scope},\"logRecords\":[",
            json!({ "attributes": resource })
        )
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self.told += 1;
        self.open.insert(finding.id.clone(), (self.told, finding.clone()));
        self.order.push_back((self.now, self.told, finding.id.clone()));
        let old = self.now.0.saturating_sub(LAST_WORD.as_nanos() as u64);
        self.write_until(Some(BootTime(old)))
    }

    fn end(&mut self) -> io::Result<()> {
        if self.header.is_none() {
            return Ok(());
        }
        self.write_until(None)?;
        self.out.write_all(b"]}]}]}\n")
    }
}

impl<W: Write> Output for Otlp<W> {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        match line {
            Line::Header(header) => self.header(header),
            Line::Input(_, input) | Line::Known(_, input) => {
                self.now = self.now.max(input.at());
                Ok(())
            }
            Line::Finding(finding) => self.finding(finding),
            Line::End(..) => self.end(),
            Line::Span(_) | Line::Passed(_) => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
