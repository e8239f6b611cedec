//! Findings as results of SARIF 2.1.0, the form that services show problems of a build in.
//!
//! A kind is a rule, and a finding is a result. Its place is a cgroup, not a line of a source: it is told by the
//! directory on the host, and by the path within the hierarchy.

use serde_json::{Map, Value, json};

use super::settled::Form;
use crate::explain::FINDINGS_PAGE;
use crate::findings::{Explanation, Finding, Kind, Severity};
use crate::hierarchy::Header;
use crate::input::BootTime;
use crate::name::Name;

/// The schema of the standard (OASIS, SARIF 2.1.0 with errata 01).
const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// Identifies a finding in `partialFingerprints`; another way of counting ids would have another number.
const FINGERPRINT: &str = "cgtraceFinding/v1";

/// One log with one run, and a result for each finding.
pub(super) struct Sarif;

impl Form for Sarif {
    fn head(_: &Header) -> String {
        let driver = json!({
            "name": "cgtrace",
            "semanticVersion": env!("CARGO_PKG_VERSION"),
            "informationUri": env!("CARGO_PKG_REPOSITORY"),
            "rules": Kind::ALL.map(rule),
        });
        let tool = json!({ "driver": driver });
        format!("{{\"$schema\":\"{SCHEMA}\",\"version\":\"2.1.0\",\"runs\":[{{\"tool\":{tool},\"results\":[")
    }

    /// What is routine is told only to those who ask, and nobody can ask here.
    fn finding(finding: &Finding, header: &Header) -> Option<Value> {
        (!finding.is_routine()).then(|| result(finding, header))
    }

    fn tail(header: &Header, end: BootTime) -> String {
        let invocation = json!({
            "executionSuccessful": true,
            "startTimeUtc": header.clock.rfc3339(BootTime(header.clock.boot_ns)),
            "endTimeUtc": header.clock.rfc3339(end),
            "machine": header.host.printable(),
        });
        format!("],\"invocations\":[{invocation}]}}]}}\n")
    }
}

fn rule(kind: Kind) -> Value {
    let Explanation { word, claim, evidence, severity, false_positives, .. } = kind.explanation();
    let list = |title: &str, lines: &[&str]| format!("{title}:\n{}", lines.join("\n"));
    let help = [list("Evidence", evidence), list("Severity", severity), list("Known false positives", false_positives)];
    json!({
        "id": word,
        "shortDescription": { "text": claim },
        "fullDescription": { "text": claim },
        "help": { "text": help.join("\n\n") },
        "helpUri": format!("{FINDINGS_PAGE}#{word}"),
    })
}

fn result(finding: &Finding, header: &Header) -> Value {
    // Of anything but a failure, the standard wants the level `none`.
    let (kind, level) = match finding.severity {
        Severity::Fault => ("fail", "error"),
        Severity::Undetermined => ("fail", "warning"),
        Severity::Benign => ("informational", "none"),
    };
    let mut text = Name::from(finding.summary.as_str()).printable();
    text.push_str(".\nWhat to do: ");
    text.push_str(finding.cause.advice);
    for issue in &finding.known_issues {
        text.push_str(&format!("\nIt looks like {}", issue.describe()));
    }
    let mut properties = Map::from_iter([
        ("cause".to_owned(), json!(finding.cause)),
        ("severity".to_owned(), json!(finding.severity)),
        ("certainty".to_owned(), json!(finding.certainty)),
        ("time".to_owned(), json!(header.clock.rfc3339(finding.at))),
        ("host".to_owned(), json!(header.host.printable())),
    ]);
    if let Some(container) = &finding.container {
        properties.insert("container".to_owned(), json!(container.id.printable()));
        properties.insert("runtime".to_owned(), json!(container.runtime.as_str()));
    }
    if !finding.because.is_empty() {
        properties.insert("because".to_owned(), json!(finding.because));
    }
    json!({
        "ruleId": finding.kind,
        "ruleIndex": finding.kind.index(),
        "kind": kind,
        "level": level,
        "message": { "text": text },
        "locations": [location(finding, header)],
        "partialFingerprints": { FINGERPRINT: finding.id },
        "properties": properties,
    })
}

/// The cgroup: its path in the hierarchy, and where that is mounted on the host, if it is.
fn location(finding: &Finding, header: &Header) -> Value {
    let path = &finding.cgroup.path;
    let mut location = Map::new();
    let hierarchy = header.hierarchies.iter().find(|hierarchy| hierarchy.id == finding.cgroup.hierarchy);
    if let Some(mount) = hierarchy.and_then(|hierarchy| hierarchy.mount.as_ref()) {
        let uri = format!("file://{}{}", uri_path(mount), uri_path(path));
        location.insert("physicalLocation".to_owned(), json!({ "artifactLocation": { "uri": uri } }));
    }
    let name = path.printable();
    location.insert("logicalLocations".to_owned(), json!([{ "fullyQualifiedName": name, "kind": "resource" }]));
    Value::Object(location)
}

/// A path as it stands in a URI (RFC 3986): every byte that is not one of `pchar`'s letters, digits and marks is
/// written with a percent sign.
fn uri_path(path: &Name) -> String {
    let write = |byte: &u8| match byte {
        b'/' | b'-' | b'.' | b'_' | b'~' | b':' | b'@' => char::from(*byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    path.as_bytes().iter().map(write).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_safe_in_a_uri() {
        let check = |path: &[u8], wanted: &str| assert_eq!(uri_path(&Name::new(path)), wanted);
        check(b"/sys/fs/cgroup/a:b@c", "/sys/fs/cgroup/a:b@c");
        check(b"/a b%\\x2d\n\xff?#", "/a%20b%25%5Cx2d%0A%FF%3F%23");
        check("/é".as_bytes(), "/%C3%A9");
    }
}
