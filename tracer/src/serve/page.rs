//! The status page: what is traced, what was found last, what was lost. No script, nothing from elsewhere.

use std::fmt::Write;

use super::{Board, STALLED};
use crate::duration;
use crate::findings::Finding;
use crate::hierarchy::Clock;
use crate::input::{BootTime, Change};
use crate::name::Name;
use crate::phrases::date_and_time;
use crate::process;
use crate::report::html::escape;

/// Findings that are shown, the newest first.
const SHOWN: usize = 25;

const STYLE: &str = ":root{color-scheme:light dark}\
    body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}\
    h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
    th,td{text-align:left;padding:.25rem .8rem .25rem 0;vertical-align:top}th{font-weight:600;white-space:nowrap}\
    td{overflow-wrap:anywhere}.fault{font-weight:700}.fault::before{content:\"\\2715  \"}nav a{margin-right:1rem}";

/// The page as it is now.
pub(super) fn status(board: &Board) -> String {
    let unready = board.unready();
    let shown = board.shown();
    let mut out = String::new();
    let trace = if board.history.is_some() { "<a href=\"/trace\">trace</a>" } else { "" };
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><meta http-equiv=\"refresh\" content=\"30\">\
         <title>cgtrace</title><style>{STYLE}</style></head><body>\n<h1>cgtrace {}</h1>\n\
         <nav><a href=\"/metrics\">metrics</a><a href=\"/findings\">findings</a>\
         <a href=\"/findings?severity=fault\">faults</a>{trace}\
         <a href=\"/readyz\">ready</a><a href=\"/healthz\">alive</a>\
         </nav>\n",
        env!("CARGO_PKG_VERSION")
    );
    let Some(header) = shown.header.clone() else {
        out.push_str("<p>Tracing has not begun.</p></body></html>\n");
        return out;
    };
    let state = if unready.is_empty() { "ready".to_owned() } else { format!("not ready: {}", unready.join("; ")) };
    let counts = &shown.counts;
    let count = |change: Change| counts.events.get(change.as_str()).copied().unwrap_or(0);
    let attached = header.probes.iter().filter(|probe| probe.attached).count();
    let lost = if counts.lost == 0 { "nothing".to_owned() } else { counts.lost.to_string() };
    rows(
        &mut out,
        &[
            ("state", state),
            ("host", format!("{}, Linux {} {}", header.host, printable(&header.kernel), printable(&header.arch))),
            ("cgroups", format!("{}, {} hierarchies", header.setup, header.hierarchies.len())),
            (
                "probes",
                format!("{attached} of {} attached, backend {}", header.probes.len(), printable(&header.backend)),
            ),
            ("tracing for", duration::human(process::boot_time().since(BootTime(header.clock.boot_ns)))),
            (
                "seen",
                format!(
                    "{} live now, {} dying; {} created, {} removed, {} released",
                    shown.live,
                    shown.dying,
                    count(Change::Created),
                    count(Change::Removed),
                    count(Change::Released)
                ),
            ),
            ("failed calls", counts.attempts.values().sum::<u64>().to_string()),
            ("lost", lost),
            ("history", history(board)),
        ],
    );
    out.push_str("<h2>Last findings</h2>\n");
    if shown.findings.is_empty() {
        out.push_str("<p>None.</p>\n");
    } else {
        out.push_str(
            "<table><tr><th scope=\"col\">when (UTC)</th><th scope=\"col\">what</th>\
             <th scope=\"col\">claim</th></tr>\n",
        );
        shown.findings.iter().rev().take(SHOWN).for_each(|finding| row(&mut out, finding, shown.clock()));
        out.push_str("</table>\n");
    }
    let _ = writeln!(
        out,
        "<p>The last {} findings are kept; an agent that has not read for {} s is not ready.</p></body></html>",
        super::FINDINGS,
        STALLED.as_secs()
    );
    out
}

/// How far back `/trace` reaches.
fn history(board: &Board) -> String {
    let Some(history) = &board.history else { return "switched off".to_owned() };
    let held = history.held();
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let size = format!("{:.1} of {:.1} MiB", mebibytes(held.bytes), mebibytes(history.limit()));
    match held.since {
        Some(since) => format!("the last {}, {size}", duration::human(process::boot_time().since(since))),
        None => format!("nothing is held, {size}"),
    }
}

fn rows(out: &mut String, rows: &[(&str, String)]) {
    out.push_str("<table>\n");
    for (name, text) in rows {
        let _ = writeln!(out, "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", escape(text));
    }
    out.push_str("</table>\n");
}

fn row(out: &mut String, finding: &Finding, clock: Clock) {
    let time = date_and_time(clock, finding.at);
    let _ = writeln!(
        out,
        "<tr><td>{time}</td><td class=\"{0}\">{0}: {1}, {2}</td><td>{3}</td></tr>",
        finding.severity.as_str(),
        finding.kind.as_str(),
        finding.cause.as_str(),
        escape(&finding.summary)
    );
}

/// A header's text may be anybody's.
fn printable(text: &str) -> String {
    Name::from(text).printable()
}
