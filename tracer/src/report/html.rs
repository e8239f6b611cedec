//! A report as one page of HTML: no network, no script from elsewhere; opens from disk and from a CI artefact.
//!
//! Everything that comes from a trace is escaped twice over: names as for a terminal, and all text as HTML.

use std::io::{self, Write};

use super::{Life, Report, Step};
use crate::duration;
use crate::findings::Finding;
use crate::hierarchy::Header;
use crate::input::BootTime;
use crate::output::{ColorChoice, Look, Palette, write_finding};

/// Rows of a timeline at most: the containers whose lives ended first are left out, and that is said.
const ROWS: usize = 4_000;
/// The picture's width in its own units.
const WIDTH: f64 = 1_000.0;

/// Writes the page. Each report comes with the names of its files and the findings to show.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut impl Write, reports: &[(String, &Report, Vec<&Finding>)]) -> io::Result<()> {
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>cgtrace report</title>\n<style>\n{}</style></head><body>\n<h1>cgtrace report</h1>",
        include_str!("page.css")
    )?;
    for (files, report, findings) in reports {
        let Some(header) = &report.header else { continue };
        writeln!(out, "<section><h2>{}</h2>", escape(files))?;
        summary(out, report, header)?;
        writeln!(out, "<h2>Findings</h2>")?;
        if findings.is_empty() {
            writeln!(out, "<p>None.</p>")?;
        }
        for finding in findings {
            write_one(out, finding, header)?;
        }
        timeline(out, report, header)?;
        writeln!(out, "</section>")?;
    }
    writeln!(out, "<script>\n{}</script></body></html>", include_str!("page.js"))
}

fn summary(out: &mut impl Write, report: &Report, header: &Header) -> io::Result<()> {
    writeln!(out, "<dl>")?;
    for (name, text) in report.summary(header) {
        writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(&text))?;
    }
    writeln!(out, "</dl>")
}

fn write_one(out: &mut impl Write, finding: &Finding, header: &Header) -> io::Result<()> {
    let mut text = Vec::new();
    let time = header.clock.rfc3339(finding.at);
    let hierarchy =
        header.hierarchies.iter().find(|h| h.id == finding.cgroup.hierarchy).map(crate::hierarchy::Hierarchy::label);
    let look = Look { palette: Palette::new(ColorChoice::Never), width: Some(110), time: time.clone(), hierarchy };
    write_finding(&mut text, finding, &look)?;
    let text = String::from_utf8_lossy(&text);
    // The first line and the sentence are the heading's.
    let evidence = text.split_once("\n\n").map_or("", |(_, rest)| rest);
    writeln!(
        out,
        "<article class=\"finding {0}\"><h3><span class=\"severity\">{0}</span>{1}, {2}</h3><p>{3}</p><pre>{4}</pre></article>",
        finding.severity.as_str(),
        finding.kind.as_str(),
        finding.cause.as_str(),
        escape(&finding.summary),
        escape(evidence.trim_end()),
    )
}

fn timeline(out: &mut impl Write, report: &Report, header: &Header) -> io::Result<()> {
    let (Some(lives), Some((first, last))) = (&report.lives, report.span) else { return Ok(()) };
    if lives.containers.is_empty() {
        return writeln!(out, "<h2>Containers</h2><p>None was seen.</p>");
    }
    let span = last.since(first).as_secs_f64().max(1e-6) * 1e3;
    let began = header.clock.unix_ns(first) as f64 / 1e6;
    let labels = "<span></span>".repeat(5);
    writeln!(
        out,
        "<h2>Containers</h2>\n<div class=\"timeline\" role=\"group\" aria-label=\"lives of the containers\" data-span=\"{span}\" data-began=\"{began}\">\n\
         <div class=\"bar\"><button class=\"in\" type=\"button\" aria-label=\"zoom in\">+</button><button class=\"out\" type=\"button\" aria-label=\"zoom out\">−</button>\
         <button class=\"all\" type=\"button\">all</button><span class=\"key\"><span style=\"background:var(--idle)\"></span>empty\
         <span style=\"background:var(--busy)\"></span>populated<span style=\"background:var(--dying)\"></span>removed, not released\
         <span style=\"background:var(--fault)\"></span>failed call</span>\
         <span class=\"hint\">arrows move, + and − zoom, 0 shows all; or Ctrl and the wheel</span></div>\n\
         <div class=\"axis\" aria-hidden=\"true\">{labels}</div>\n<div role=\"list\">"
    )?;
    let place = |at: BootTime| at.since(first).as_secs_f64() * 1e3 / span * WIDTH;
    let mut rows = 0;
    for life in lives.containers.values() {
        if rows >= ROWS {
            break;
        }
        let name = life.container.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        let title = format!("{}{name} ({})", life.container.id, life.container.runtime);
        row(out, "container", &title, &text_of(life, header), "")?;
        rows += 1;
        for ((hierarchy, path), steps) in &life.cgroups {
            let label = header
                .hierarchies
                .iter()
                .find(|h| h.id == *hierarchy)
                .map(crate::hierarchy::Hierarchy::label)
                .unwrap_or_default();
            let lines: Vec<String> = steps.iter().map(|step| line_of(step, header)).collect();
            let name = format!("{label} {path}");
            row(out, "cgroup", &name, &format!("{name}\n{}", lines.join("\n")), &picture(steps, last, &place))?;
            rows += 1;
        }
    }
    writeln!(out, "</div><div class=\"detail\" aria-live=\"polite\"></div></div>")?;
    if rows >= ROWS || lives.left_out > 0 {
        writeln!(out, "<p>More containers were seen than are shown here.</p>")?;
    }
    Ok(())
}

fn row(out: &mut impl Write, class: &str, name: &str, life: &str, picture: &str) -> io::Result<()> {
    let (name, life) = (escape(name), escape(life));
    writeln!(
        out,
        "<div class=\"row {class}\" role=\"listitem\" tabindex=\"0\" aria-label=\"{life}\" data-life=\"{life}\"><span class=\"name\" title=\"{name}\">{name}</span>\
         <svg viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">{picture}</svg></div>"
    )
}

/// A cgroup's life as spans, failed calls as striking marks on them.
fn picture(steps: &[Step], last: BootTime, place: &dyn Fn(BootTime) -> f64) -> String {
    let mut shapes = String::new();
    let mut state: Option<(&str, BootTime)> = None;
    let mut span = |from: (&str, BootTime), to: BootTime| {
        let (x, end) = (place(from.1), place(to));
        let width = (end - x).max(0.05);
        shapes
            .push_str(&format!("<rect class=\"{}\" x=\"{x:.3}\" y=\"2\" width=\"{width:.3}\" height=\"6\"/>", from.0));
    };
    for step in steps.iter().filter(|step| !step.failed) {
        let next = match step.what.as_str() {
            "created" | "emptied" => Some("live"),
            "populated" | "attached" => Some("populated"),
            "removed" => Some("dying"),
            "released" => None,
            _ => continue,
        };
        if let Some(before) = state.take() {
            span(before, step.at);
        }
        state = next.map(|state| (state, step.at));
    }
    if let Some(before) = state {
        span(before, last);
    }
    for step in steps {
        let (x, class) = (place(step.at), if step.failed { "attempt" } else { "mark" });
        shapes.push_str(&format!(
            "<line class=\"{class}\" x1=\"{x:.3}\" x2=\"{x:.3}\" y1=\"0\" y2=\"10\" vector-effect=\"non-scaling-stroke\"/>"
        ));
    }
    shapes
}

fn text_of(life: &Life, header: &Header) -> String {
    let mut lines = vec![format!("container {}, {}", life.container.id, life.container.runtime)];
    for ((_, path), steps) in &life.cgroups {
        let (Some(first), Some(last)) = (steps.first(), steps.last()) else { continue };
        let failed = steps.iter().filter(|step| step.failed).count();
        let span = duration::human(last.at.since(first.at));
        let time = header.clock.rfc3339(first.at);
        lines.push(format!("{path}: from {} for {span}, {failed} failed calls", time.get(11..23).unwrap_or(&time)));
    }
    lines.join("\n")
}

fn line_of(step: &Step, header: &Header) -> String {
    let time = header.clock.rfc3339(step.at);
    let who = step.who.as_ref().map(|who| format!(" by {who}")).unwrap_or_default();
    format!("{} {}{who}", time.get(11..26).unwrap_or(&time), step.what)
}

/// Text for HTML, in content and in quoted attributes.
fn escape(text: &str) -> String {
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
}
