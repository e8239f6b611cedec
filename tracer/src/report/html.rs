//! A report as one page of HTML: no network, no script from elsewhere; opens from disk and from a CI artefact. The page
//! of a running agent ([`Live`]) is made of the same pieces.
//!
//! Everything that comes from a trace is escaped twice over: names as for a terminal, and all text as HTML. Should
//! markup get through all the same, it cannot do anything: the page's policy names the one script and the one style
//! sheet by their hashes.

mod live;
mod picture;
mod timeline;

use std::cmp::Reverse;
use std::io::{self, Write};

pub use self::live::Live;
use self::timeline::Timeline;
use super::Trace;
use crate::findings::{Finding, Severity};
use crate::hierarchy::{Header, HierarchyLabels};
use crate::input::BootTime;
use crate::output::{deeds, particulars, relative};

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");
/// SHA-256 of the two, in base64: `openssl dgst -sha256 -binary page.js | base64`. A browser that counts otherwise
/// refuses the file and names the right one on its console, which the tests read.
const STYLE_HASH: &str = "Sog5HyEDTsflBd3+etJXPVT6I/tZqqzYmbxJkjpgQhc=";
const SCRIPT_HASH: &str = "dXKV6cE5O6w5+voPIQ5uPFgOIla4OA++aZbSu68FDdw=";

/// Where a finding is on the page, and where it leads to.
struct Anchor<'a> {
    finding: &'a Finding,
    header: &'a Header,
    /// The id of its element.
    id: String,
    /// The link into the timeline, if its container is there.
    link: Option<String>,
}

/// Writes the page of a report.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut impl Write, traces: &[Trace<'_>]) -> io::Result<()> {
    let several = traces.len() > 1;
    let mut anchors = anchors(traces);
    let timeline = Timeline::new(traces, &mut anchors);
    let mut anchors: Vec<Anchor<'_>> = anchors.into_iter().flatten().collect();
    anchors.sort_by_key(|anchor| (Reverse(anchor.finding.severity), anchor.header.clock.unix_ns(anchor.finding.at)));
    let count = |severity: Severity| anchors.iter().filter(|anchor| anchor.finding.severity == severity).count();

    let mut hosts: Vec<String> =
        traces.iter().filter_map(|trace| trace.report.header.as_ref()).map(|header| header.host.to_string()).collect();
    hosts.sort();
    hosts.dedup();
    let policy = format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; \
         script-src 'sha256-{SCRIPT_HASH}'; img-src data:; base-uri 'none'; form-action 'none'\">"
    );
    let title = format!("{} on {} – cgtrace report", faults(count(Severity::Fault)), hosts.join(", "));
    head(out, &policy, &title)?;
    writeln!(out, "<header><h1>cgtrace report</h1>\n<p class=\"verdict\">{}</p>", verdict(count))?;
    navigation(out, anchors.len(), timeline.containers, "")?;
    writeln!(out, "</header>\n<main>")?;
    for trace in traces {
        let Some(header) = &trace.report.header else { continue };
        writeln!(out, "<section><h2>{}</h2>", escape(&trace.files))?;
        facts(out, &trace.report.summary(header))?;
        writeln!(out, "</section>")?;
    }
    let left_out: u64 = traces.iter().map(|trace| trace.report.findings.left_out()).sum();
    let more = match left_out {
        0 => String::new(),
        more => format!("{more} less severe findings are not shown"),
    };
    findings(out, &anchors, several, &more)?;
    timeline.write(out, None)?;
    writeln!(out, "</main>\n<script>{SCRIPT}</script></body></html>")
}

/// Where each trace's findings are going to be.
fn anchors<'a>(traces: &'a [Trace<'a>]) -> Vec<Vec<Anchor<'a>>> {
    let several = traces.len() > 1;
    traces
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
        .collect()
}

/// The beginning of every page. `meta` is markup.
fn head(out: &mut impl Write, meta: &str, title: &str) -> io::Result<()> {
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n{meta}\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{}</title>\n\
         <style>{STYLE}</style></head><body>",
        escape(title)
    )
}

fn faults(count: usize) -> String {
    match count {
        0 => "no fault".to_owned(),
        1 => "1 fault".to_owned(),
        more => format!("{more} faults"),
    }
}

/// The way to the parts of the page, and to others. `links` is markup.
fn navigation(out: &mut impl Write, findings: usize, containers: usize, links: &str) -> io::Result<()> {
    writeln!(
        out,
        "<nav><a href=\"#findings\">Findings ({findings})</a> <a href=\"#containers\">Containers ({containers})</a> \
         {links}</nav>"
    )
}

fn facts(out: &mut impl Write, facts: &[(&str, String)]) -> io::Result<()> {
    writeln!(out, "<dl>")?;
    for (name, text) in facts {
        writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(text))?;
    }
    writeln!(out, "</dl>")
}

/// `more` is markup: which others there are.
fn findings(out: &mut impl Write, anchors: &[Anchor<'_>], several: bool, more: &str) -> io::Result<()> {
    writeln!(out, "<section id=\"findings\"><h2>Findings</h2>")?;
    if anchors.is_empty() {
        writeln!(out, "<p>None.</p>")?;
    }
    for anchor in anchors {
        article(out, anchor, several)?;
    }
    if !more.is_empty() {
        writeln!(out, "<p>{more}.</p>")?;
    }
    writeln!(out, "</section>")
}

fn verdict(count: impl Fn(Severity) -> usize) -> String {
    let of = |severity: Severity| {
        let count = count(severity);
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
        "<article class=\"finding {severity}\" id=\"{id}\" data-revision=\"{}\" tabindex=\"-1\" \
         aria-labelledby=\"{id}-name\">\
         <h3 id=\"{id}-name\"><span class=\"severity {severity}\">{severity}</span> {}, {}</h3>",
        finding.revision,
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
        "<div class=\"wide\"><table><caption>Evidence</caption><thead><tr><th scope=\"col\">when</th>\
         <th scope=\"col\">who</th><th scope=\"col\">call</th><th scope=\"col\">result</th>\
         <th scope=\"col\">of</th></tr></thead><tbody>"
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
            for text in [SCRIPT, live::SCRIPT, STYLE] {
                assert!(!text.to_lowercase().contains(end), "{end}");
            }
        }
    }
}
