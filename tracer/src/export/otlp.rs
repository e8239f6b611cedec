//! Findings as OpenTelemetry log records: one `ExportLogsServiceRequest` in JSON (opentelemetry-proto, `logs/v1`).

use serde_json::Value;

use super::settled::Form;
use crate::findings::Finding;
use crate::hierarchy::Header;
use crate::input::BootTime;
use crate::otlp::{record, request, resource};

/// One request with one scope, and a record for each finding.
pub(super) struct Otlp;

/// What the records of a request stand between.
const RECORDS: &str = "\"logRecords\":[";

impl Form for Otlp {
    fn head(header: &Header) -> String {
        around(header).0
    }

    fn finding(finding: &Finding, header: &Header) -> Option<Value> {
        // When it was told is not in a trace: it is told of the time that it is about.
        let at = u64::try_from(header.clock.unix_ns(finding.at)).unwrap_or(0);
        serde_json::to_value(record(finding, header, at)).ok()
    }

    fn tail(header: &Header, _: BootTime) -> String {
        around(header).1 + "\n"
    }
}

/// A request without records, cut where they belong.
fn around(header: &Header) -> (String, String) {
    let empty = serde_json::to_string(&request(resource(header, &[]), Vec::new())).unwrap_or_default();
    let cut = empty.find(RECORDS).map_or(empty.len(), |at| at + RECORDS.len());
    (empty[..cut].to_owned(), empty[cut..].to_owned())
}
