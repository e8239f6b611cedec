//! The report, in Markdown: every word of the trace stands in a block of its own, where nothing of it is read as
//! markup.

use serde::Serialize;

use super::masks::{Masks, Secret};
use super::script::{NoScript, Script};
use crate::findings::Finding;
use crate::hierarchy::{Header, Hierarchy};
use crate::input::BootTime;
use crate::name::Name;
use crate::output::{fenced, relative};
use crate::phrases::count;
use crate::why::{Answer, Step};

/// Steps of the story that are listed, about the finding.
const STEPS: usize = 60;
/// Columns of a block.
const WIDTH: usize = 100;

/// What a maintainer is told.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The finding's id.
    pub finding: String,
    /// The report.
    pub markdown: String,
    /// The script that makes the same calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// Why there is no script.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_script: Option<String>,
    /// What is masked, a few words each.
    pub masked: Vec<String>,
}

impl Report {
    /// Of a finding, its story and its script.
    pub fn new(
        finding: &Finding,
        header: Option<&Header>,
        answer: Option<&Answer>,
        script: &Result<Script, NoScript>,
        masks: &Masks,
    ) -> Self {
        let (kind, cause) = (finding.kind.as_str(), finding.cause.as_str());
        let mut text = format!("# {kind}: {cause}\n\n{}\n", finding.kind.explanation().claim);
        let mut block = |heading: &str, lines: &[String]| {
            if !lines.is_empty() {
                text.push_str(&format!("\n## {heading}\n\n{}", fenced("text", &masks.apply(&lines.join("\n")))));
            }
        };
        block("What happened", &wrapped(&finding.summary));
        block("Where", &fields(finding, header, masks));
        if let Some(answer) = answer {
            block("The story", &story(answer, finding.at));
            let processes: Vec<String> = (answer.actors.iter())
                .map(|actor| format!("{}[{}]: {}", actor.comm, actor.pid, masks.command(actor)))
                .collect();
            block("Processes", &processes);
            block("What was not seen", &finding.because.iter().chain(&answer.unseen).cloned().collect::<Vec<_>>());
        }
        for issue in &finding.known_issues {
            text.push_str(&format!("\n## It looks like {}\n\n{}\n{}\n", issue.id, issue.describe(), issue.advice));
        }
        text.push_str("\n## To see it again\n\n");
        match script {
            Ok(script) => text.push_str(&format!(
                "As root, on a host with the same cgroup hierarchy, with this in the file `again.sh`:\n\n{}\n{}",
                fenced("sh", "cgtrace live --benign --only findings -- sh again.sh"),
                fenced("sh", script.text())
            )),
            Err(why) => text.push_str(&format!("There is no script: {why}.\n")),
        }
        let mut masked = masks.told();
        text.push_str("\n## Masked\n\n");
        match masked.as_slice() {
            [] => text.push_str("Nothing is masked in this report.\n"),
            told => text.push_str(&format!(
                "These are masked, each by the same word everywhere: {}.\n\
                 Look through the rest before you publish it.\n",
                told.join("; ")
            )),
        }
        if masks.too_short() > 0 {
            let left = count(masks.too_short(), "name", "names");
            text.push_str(&format!("Not masked, because too short to be found in a text: {left}.\n"));
            masked.push(format!("not {left}, too short"));
        }
        Self {
            finding: finding.id.clone(),
            markdown: text,
            script: script.as_ref().ok().map(|script| script.text().to_owned()),
            no_script: script.as_ref().err().map(ToString::to_string),
            masked,
        }
    }
}

fn wrapped(text: &str) -> Vec<String> {
    textwrap::wrap(text, WIDTH).into_iter().map(std::borrow::Cow::into_owned).collect()
}

/// Where and by what it was traced, a line each.
fn fields(finding: &Finding, header: Option<&Header>, masks: &Masks) -> Vec<String> {
    let mut fields =
        vec![("finding", format!("{}, {}, {}", finding.id, finding.severity.as_str(), finding.certainty.as_str()))];
    let printable = |text: &str| Name::from(text).printable();
    if let Some(header) = header {
        let Header { tool, host, kernel, arch, setup, hierarchies, backend, .. } = header;
        let labels = |hierarchies: &[Hierarchy]| -> String {
            hierarchies.iter().map(|hierarchy| printable(&hierarchy.label())).collect::<Vec<_>>().join(" ")
        };
        let own: Vec<Hierarchy> =
            hierarchies.iter().filter(|hierarchy| hierarchy.id == finding.cgroup.hierarchy).cloned().collect();
        fields.extend([
            ("host", if masks.masks(Secret::Host) { "masked".to_owned() } else { host.printable() }),
            ("kernel", format!("{} {}", printable(kernel), printable(arch))),
            ("layout", format!("{setup}: {}", labels(hierarchies))),
            ("hierarchy", labels(&own)),
            ("traced by", format!("{}, backend {}", printable(tool), printable(backend))),
            ("time", header.clock.rfc3339(finding.at)),
        ]);
    }
    fields.push(("cgroup", finding.cgroup.path.printable()));
    if let Some(container) = &finding.container {
        fields.push(("runtime", printable(&container.runtime)));
    }
    fields.push(("versions", "those of the programs are not in a trace: please add them".to_owned()));
    fields.into_iter().map(|(name, text)| format!("{name:<10} {text}")).collect()
}

/// The steps about the finding, by their time from its beginning.
fn story(answer: &Answer, zero: BootTime) -> Vec<String> {
    let first = answer.steps.partition_point(|step| step.at < zero);
    let begin = first.saturating_sub(STEPS / 2);
    let end = (begin + STEPS).min(answer.steps.len());
    let mut lines = Vec::new();
    if begin > 0 {
        lines.push(format!("… {} before", count(begin as u64, "step", "steps")));
    }
    for step in &answer.steps[begin..end] {
        let Step { at, what, errno, path, file, by, note, times, .. } = step;
        let errno = errno.map(|errno| format!(" {errno}")).unwrap_or_default();
        let mut line = format!("{:>9}  {:<14}  {path}", relative(*at, zero), format!("{what}{errno}"));
        for text in [file, by, note].into_iter().flatten() {
            line.push_str(&format!("  {text}"));
        }
        if *times > 1 {
            line.push_str(&format!("  ×{times}"));
        }
        lines.push(line);
    }
    let after = (answer.steps.len() - end) as u64 + answer.steps_left_out;
    if after > 0 {
        lines.push(format!("… {} after", count(after, "step", "steps")));
    }
    lines
}
