//! The page of a running agent: what it holds now, with the findings and the timeline of a report.
//!
//! Without its script the page is whole, only still. The script listens to what the agent tells, asks it for this page
//! anew, and puts what has changed in place.

use std::io::{self, Write};

use super::timeline::Timeline;
use super::{
    Anchor, SCRIPT as PAGE_SCRIPT, SCRIPT_HASH as PAGE_SCRIPT_HASH, STYLE_HASH, anchors, facts, faults, findings, head,
    navigation, verdict,
};
use crate::findings::Severity;
use crate::report::Trace;

/// What is added to the report's script.
pub(super) const SCRIPT: &str = include_str!("live.js");
const SCRIPT_HASH: &str = "avcZ7NtnJ2d37SS4UCCD4UKHUHx4K33vpm/950Yy5Zg=";

/// A running agent's page.
pub struct Live<'a> {
    /// What happened of late, and the findings to show, the first one first.
    pub trace: Trace<'a>,
    /// What there is to say of the agent, a name and a text each.
    pub state: Vec<(&'static str, String)>,
    /// The severity of every finding that the agent holds.
    pub held: Vec<Severity>,
    /// The last finding that the agent had told when this was made: see [`Live::write`].
    pub told: String,
    /// The paths of what else it serves, with what they are called.
    pub links: Vec<(&'static str, &'static str)>,
    /// Why there is no timeline, if there is none.
    pub without_timeline: Option<&'static str>,
}

impl Live<'_> {
    /// The policy that goes with the page, for its header.
    pub fn policy() -> String {
        format!(
            "default-src 'none'; style-src 'sha256-{STYLE_HASH}'; script-src 'sha256-{PAGE_SCRIPT_HASH}' \
             'sha256-{SCRIPT_HASH}'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'"
        )
    }

    /// Writes the page. Its script listens to `/events`, and asks for the page anew until that is not older than what
    /// it has heard of: `told` is the id of the last event.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let traces = std::slice::from_ref(&self.trace);
        let mut anchors = anchors(traces);
        let timeline = Timeline::new(traces, &mut anchors);
        let anchors: Vec<Anchor<'_>> = anchors.into_iter().flatten().collect();
        let held = |severity: Severity| self.held.iter().filter(|one| **one == severity).count();
        let host = self.trace.report.header.as_ref().map_or(String::new(), |header| format!(" on {}", header.host));
        let title = format!("{}{host} – cgtrace", faults(held(Severity::Fault)));
        head(out, "<noscript><meta http-equiv=\"refresh\" content=\"30\"></noscript>", &title)?;
        writeln!(
            out,
            "<header><h1>cgtrace {}</h1>\n<p class=\"verdict\">{}</p>",
            env!("CARGO_PKG_VERSION"),
            verdict(held)
        )?;
        let links: String = self.links.iter().map(|(path, name)| format!("<a href=\"{path}\">{name}</a> ")).collect();
        navigation(out, self.held.len(), timeline.containers, &links)?;
        writeln!(
            out,
            "<p class=\"contact\" role=\"status\"></p>\n<p class=\"news\" role=\"status\"></p></header>\n\
             <main data-told=\"{}\">\n<section id=\"state\"><h2>State</h2>",
            self.told
        )?;
        facts(out, &self.state)?;
        writeln!(out, "</section>")?;
        let more = match self.held.len().saturating_sub(anchors.len()) {
            0 => String::new(),
            more => format!("{more} milder or older ones are not shown; <a href=\"/findings\">all of them</a>"),
        };
        findings(out, &anchors, false, &more)?;
        timeline.write(out, self.without_timeline)?;
        writeln!(out, "</main>\n<script>{PAGE_SCRIPT}</script><script>{SCRIPT}</script></body></html>")
    }
}
