//! What went wrong, as Markdown for the page of a build: every word of the trace stands in a block of its own, where
//! nothing of it is read as markup.

use std::io::{self, Write};

use crate::findings::{Finding, Severity};
use crate::hierarchy::Header;
use crate::name::Name;
use crate::output::fenced;
use crate::phrases::{count, date_and_time};

/// Findings that are told; the rest is counted.
const TOLD: usize = 20;
/// Columns of a block.
const WIDTH: usize = 100;

/// Writes the summary of one trace: its worst findings, of those that are wanted.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut impl Write, header: &Header, wanted: &[&Finding]) -> io::Result<()> {
    writeln!(out, "## cgtrace: {}\n", title(wanted))?;
    for finding in wanted.iter().take(TOLD) {
        let Finding { kind, cause, severity, .. } = finding;
        writeln!(out, "### {}: {}, {}\n", severity.as_str(), kind.as_str(), cause.as_str())?;
        writeln!(out, "{}", fenced("text", &block(finding, header)))?;
        writeln!(out, "What to do: {}\n", cause.advice)?;
        for issue in &finding.known_issues {
            writeln!(out, "It looks like {}\n", issue.describe())?;
        }
    }
    match wanted.len().saturating_sub(TOLD) {
        0 => Ok(()),
        more => writeln!(out, "{} not shown here.\n", count(more as u64, "more finding is", "more findings are")),
    }
}

/// `1 fault, 2 undetermined`
fn title(wanted: &[&Finding]) -> String {
    let of = |severity| wanted.iter().filter(|finding| finding.severity == severity).count() as u64;
    let counted = [
        (of(Severity::Fault), "fault", "faults"),
        (of(Severity::Undetermined), "undetermined", "undetermined"),
        (of(Severity::Benign), "benign", "benign"),
    ];
    let told =
        counted.into_iter().filter(|(number, ..)| *number > 0).map(|(number, one, more)| count(number, one, more));
    let told: Vec<String> = told.collect();
    if told.is_empty() { "no finding".to_owned() } else { told.join(", ") }
}

fn block(finding: &Finding, header: &Header) -> String {
    let printable = |text: &str| Name::from(text).printable();
    let Finding { id, certainty, cgroup, .. } = finding;
    let time = date_and_time(header.clock, finding.at);
    let mut lines: Vec<String> =
        textwrap::wrap(&printable(&finding.summary), WIDTH).into_iter().map(std::borrow::Cow::into_owned).collect();
    lines.push(String::new());
    lines.push(format!("finding    {id}, {}", certainty.as_str()));
    lines.extend(finding.because.iter().map(|because| format!("not seen   {}", printable(because))));
    lines.push(format!("time       {time} UTC, on {}", header.host.printable()));
    lines.push(format!("cgroup     {}", cgroup.path.printable()));
    if let Some(container) = &finding.container {
        lines.push(format!("container  {} ({})", container.id.printable(), printable(&container.runtime)));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Exit;
    use crate::tracker::tests::{Play, header};

    #[test]
    fn strangers_words_stay_in_their_block_and_many_findings_are_counted() {
        let mut play = Play::new();
        play.incident(Exit::Code(1));
        let mut finding = play.only().clone();
        finding.summary = "```\n# x <script>".to_owned();
        let wanted: Vec<&Finding> = std::iter::repeat_n(&finding, TOLD + 2).collect();
        let mut out = Vec::new();
        write(&mut out, &header(&[]), &wanted).expect("a vector can be written");
        let text = String::from_utf8(out).expect("text");
        assert!(text.starts_with("## cgtrace: 22 faults\n\n### fault: missing-path-teardown, "), "{text}");
        assert!(text.contains("\n````text\n```\\n# x <script>\n\nfinding    "), "{text}");
        assert!(text.ends_with("2 more findings are not shown here.\n\n"), "{text}");
        assert_eq!(text.matches("\nWhat to do: ").count(), TOLD);
    }

    #[test]
    fn nothing_is_told_of_as_such() {
        assert_eq!(title(&[]), "no finding");
    }
}
