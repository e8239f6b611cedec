//! A report as one page of HTML: no network, no script from elsewhere; opens from disk and from a CI artefact.
//!
//! Everything that comes from a trace is escaped twice over: names as for a terminal, and all text as HTML. Should markup
//! get through all the same, it cannot do anything: the page's policy names the one script and the one style sheet by
//! their hashes.

mod picture;
mod timeline;

use std::cmp::Reverse;
use std::io::{self, Write};

use self::timeline::Timeline;
use super::Trace;
use crate::findings::{Finding, Severity};
use crate::hierarchy::{Header, HierarchyLabels};
use crate::input::BootTime;
use crate::output::{deeds, particulars, relative};

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");
/// SHA-256 of the two, in base64: `openssl dgst -sha256 -binary page.js | base64`. A browser that counts otherwise refuses
/// the file and names the right one on its console, which the tests read.
const STYLE_HASH: &str = "6tTkwdC21TPEH5cxAcUWaeGad3zIvZ9/m12gvOkjIJE=";
const SCRIPT_HASH: &str = "glgRNmZKYAnw+UuXM8bbHl9WCalcqhQJCphTvugfsuc=";

/// Where a finding is on the page, and where it leads to.
struct Anchor<'a> {
    finding: &'a Finding,
    header: &'a Header,
    /// The id of its element.
    id: String,
    /// The link into the timeline, if its container is there.
    link: Option<String>,
}

/// Writes the page.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut impl Write, traces: &[Trace<'_>]) -> io::Result<()> {
    let several = traces.len() > 1;
    let mut anchors: Vec<Vec<Anchor<'_>>> = traces
        .iter()
        .enumerate()
        .map(|(number, trace)| {
            let Some(header) = &trace.report.header else { return Vec::new() };
            let id = |finding: &Finding| match several {
                true => format!("finding-{}-{}", number + 1, finding.id),
                false => format!("finding-{}", finding.id),
            };
            trace.findings.iter().map(|finding| Anchor { finding, header, id: id(finding), link: None }).collect()
        })
        .collect();
    let timeline = Timeline::new(traces, &mut anchors);
    let mut anchors: Vec<Anchor<'_>> = anchors.into_iter().flatten().collect();
    anchors.sort_by_key(|anchor| (Reverse(anchor.finding.severity), anchor.header.clock.unix_ns(anchor.finding.at)));

    head(out, traces, &anchors)?;
    let count = timeline.containers;
    writeln!(
        out,
        "<h1>cgtrace report</h1>\n<p class=\"verdict\">{}</p>\n<nav><a href=\"#findings\">Findings ({})</a> \
         <a href=\"#containers\">Containers ({count})</a></nav>",
        verdict(&anchors),
        anchors.len()
    )?;
    for trace in traces {
        let Some(header) = &trace.report.header else { continue };
        writeln!(out, "<section><h2>{}</h2>\n<dl>", escape(&trace.files))?;
        for (name, text) in trace.report.summary(header) {
            writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(&text))?;
        }
        writeln!(out, "</dl></section>")?;
    }
    writeln!(out, "<section id=\"findings\"><h2>Findings</h2>")?;
    if anchors.is_empty() {
        writeln!(out, "<p>None.</p>")?;
    }
    for anchor in &anchors {
        article(out, anchor, several)?;
    }
    let left_out: u64 = traces.iter().map(|trace| trace.report.findings.left_out()).sum();
    if left_out > 0 {
        writeln!(out, "<p>{left_out} more findings of less weight are left out.</p>")?;
    }
    writeln!(out, "</section>")?;
    timeline.write(out)?;
    writeln!(out, "<script>{SCRIPT}</script></body></html>")
}

fn head(out: &mut impl Write, traces: &[Trace<'_>], anchors: &[Anchor<'_>]) -> io::Result<()> {
    let mut hosts: Vec<String> =
        traces.iter().filter_map(|trace| trace.report.header.as_ref()).map(|header| header.host.to_string()).collect();
    hosts.sort();
    hosts.dedup();
    let faults = anchors.iter().filter(|anchor| anchor.finding.severity == Severity::Fault).count();
    let faults = match faults {
        0 => "no fault".to_owned(),
        1 => "1 fault".to_owned(),
        more => format!("{more} faults"),
    };
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; \
         script-src 'sha256-{SCRIPT_HASH}'; img-src data:; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{faults} on {} – cgtrace report</title>\n\
         <style>{STYLE}</style></head><body>",
        escape(&hosts.join(", "))
    )
}

fn verdict(anchors: &[Anchor<'_>]) -> String {
    let of = |severity: Severity| {
        let count = anchors.iter().filter(|anchor| anchor.finding.severity == severity).count();
        let class = if count == 0 { "none" } else { severity.as_str() };
        let plural = if severity == Severity::Fault && count > 1 { "s" } else { "" };
        format!("<b class=\"{class}\">{count} {}{plural}</b>", severity.as_str())
    };
    [Severity::Fault, Severity::Undetermined, Severity::Benign].map(of).join(", ")
}

fn article(out: &mut impl Write, anchor: &Anchor<'_>, several: bool) -> io::Result<()> {
    let Anchor { finding, header, id, link } = anchor;
    let severity = finding.severity.as_str();
    writeln!(
        out,
        "<article class=\"finding {severity}\" id=\"{id}\" tabindex=\"-1\" aria-labelledby=\"{id}-name\">\
         <h3 id=\"{id}-name\"><span class=\"severity {severity}\">{severity}</span> {}, {}</h3>",
        finding.kind.as_str(),
        finding.cause.as_str()
    )?;
    let host = if several { format!(" on {}", header.host) } else { String::new() };
    let link = link.as_ref().map(|link| format!("<span class=\"goto\"> · {link}</span>")).unwrap_or_default();
    writeln!(
        out,
        "<p class=\"when\">{}{}, finding {}{link}</p>\n<p class=\"sentence\">{}</p>",
        moment(header, finding.at),
        escape(&host),
        escape(&finding.id),
        escape(&finding.summary)
    )?;
    writeln!(
        out,
        "<div class=\"wide\"><table><caption>Evidence</caption><thead><tr><th scope=\"col\">when</th><th scope=\"col\">who</th>\
         <th scope=\"col\">call</th><th scope=\"col\">result</th><th scope=\"col\">of</th></tr></thead><tbody>"
    )?;
    for deed in deeds(finding) {
        let class = if deed.is_success() { "" } else { " class=\"bad\"" };
        let times = if deed.times > 1 { format!(" ×{}", deed.times) } else { String::new() };
        writeln!(
            out,
            "<tr><td title=\"{}\">{}</td><td>{}</td><td>{}</td><td{class}>{}</td><td>{}{times}</td></tr>",
            moment(header, deed.at),
            escape(&relative(deed.at, finding.at)),
            escape(&deed.who),
            deed.call,
            escape(&deed.result),
            escape(&deed.what),
        )?;
    }
    let kept = finding.attempts.len() as u64;
    if finding.attempt_count > kept {
        let more = finding.attempt_count - kept;
        writeln!(out, "<tr><td>…</td><td colspan=\"4\">{more} more failed calls in between</td></tr>")?;
    }
    writeln!(out, "</tbody></table></div>\n<dl>")?;
    let labels = HierarchyLabels::of_header(header);
    for (name, text) in particulars(finding, Some(labels.of(finding.cgroup.hierarchy))) {
        if !name.is_empty() {
            writeln!(out, "<dt>{name}</dt>")?;
        }
        writeln!(out, "<dd>{}</dd>", escape(&text))?;
    }
    writeln!(out, "</dl></article>")
}

/// `2026-11-24 04:14:40.898123 UTC`.
fn moment(header: &Header, at: BootTime) -> String {
    format!("{} UTC", header.clock.rfc3339(at).trim_end_matches('Z').replace('T', " "))
}

/// Text for HTML, in content and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            character => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_from_a_trace_is_text() {
        assert_eq!(
            escape("<script>\"a\" & 'b'</script>"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;"
        );
    }

    #[test]
    fn the_script_and_the_style_sheet_cannot_end_early() {
        for end in ["</script", "</style", "<!--"] {
            assert!(!SCRIPT.to_lowercase().contains(end) && !STYLE.to_lowercase().contains(end), "{end}");
        }
    }
}
