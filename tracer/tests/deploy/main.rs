//! What is deployed beside the program: rules, dashboard and unit, checked by the programs they are for.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod action;
#[path = "../support/booted.rs"]
mod booted;
#[path = "../support/chart.rs"]
mod chart;
mod installed;
mod kubernetes;
mod packages;
#[path = "../support/schema.rs"]
mod schema;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cgtrace::errno::Errno;
use cgtrace::findings::{Kind, Severity};
use cgtrace::input::{Question, Unanswered};
use cgtrace::kernel::PROBES;
use cgtrace::runtimes::RUNTIMES;
use serde_json::{Value, json};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

const RULES: &str = "deploy/prometheus/cgtrace.rules.yml";
const RULE_TESTS: &str = "deploy/prometheus/cgtrace.rules.test.yml";
const DASHBOARD: &str = "deploy/grafana/cgtrace.json";
const UNIT: &str = "deploy/systemd/cgtrace.service";
const SOCKET: &str = "deploy/systemd/cgtrace.socket";

fn promtool(arguments: &[&str]) -> Output {
    let mut promtool = Command::new("promtool");
    promtool.args(arguments).current_dir(root()).output().expect("cargo xtask setup installs promtool")
}

fn succeeds(arguments: &[&str]) {
    let done = promtool(arguments);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(done.status.success(), "promtool {arguments:?}:\n{}{}", said(&done.stdout), said(&done.stderr));
}

#[test]
fn prometheus_takes_the_configuration_and_the_rules() {
    succeeds(&["check", "config", "deploy/prometheus/scrape.yml"]);
    succeeds(&["check", "rules", RULES]);
}

#[test]
fn prometheus_takes_what_the_page_on_fleets_keeps() {
    let page = read("docs/fleet.md");
    let (_, kept) = page.split_once("```yaml\n").unwrap();
    let (kept, _) = kept.split_once("```").unwrap();
    let kept: String = kept.lines().map(|line| format!("    {line}\n")).collect();
    let config = tempfile::NamedTempFile::new().unwrap();
    fs::write(config.path(), format!("scrape_configs:\n  - job_name: cgtrace\n{kept}")).unwrap();
    succeeds(&["check", "config", config.path().to_str().unwrap()]);
    for runtime in ["runc", "containerd"] {
        assert!(RUNTIMES.iter().any(|known| known.name == runtime), "{runtime}");
    }
}

#[test]
fn every_rule_does_what_its_tests_say() {
    succeeds(&["test", "rules", RULE_TESTS]);
}

/// The values of a key in the rules, in their order.
fn named<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let start = format!("- {key}: ");
    text.lines().filter_map(|line| line.trim().strip_prefix(&start)).collect()
}

#[test]
fn every_rule_has_its_tests() {
    let (rules, tests) = (read(RULES), read(RULE_TESTS));
    let alerts = named(&rules, "alert");
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        // What is expected stands two lines below the name.
        let line = format!("- alertname: {alert}");
        let lines: Vec<&str> = tests.lines().map(str::trim).collect();
        let expected: Vec<&str> = (0..lines.len()).filter(|at| lines[*at] == line).map(|at| lines[at + 2]).collect();
        assert!(expected.iter().all(|line| line.starts_with("exp_alerts:")), "{alert}: {expected:?}");
        assert!(expected.contains(&"exp_alerts: []"), "no test in which {alert} does not fire");
        assert!(expected.iter().any(|line| *line != "exp_alerts: []"), "no test in which {alert} fires");
    }
    for record in named(&rules, "record") {
        assert!(tests.contains(record), "{record} has no test");
    }
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

/// The headings of a page.
fn headings(text: &str) -> Vec<&str> {
    // Every second part is a block of code, in which a # begins a comment.
    let prose = text.split("```").step_by(2).flat_map(str::lines);
    prose.filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim()).collect()
}

#[test]
fn every_alert_leads_to_what_it_means_where_to_look_and_what_to_do() {
    let (rules, page) = (read(RULES), read("docs/alerts.md"));
    let anchors: BTreeSet<String> = headings(&page).into_iter().map(anchor).collect();
    for alert in named(&rules, "alert") {
        let rule = rules.split(&format!("- alert: {alert}\n")).nth(1).unwrap().split("- alert: ").next().unwrap();
        for key in ["severity", "summary", "description", "runbook_url"] {
            assert!(rule.contains(&format!("{key}: ")), "{alert} has no {key}");
        }
        let url = rule.lines().find_map(|line| line.trim().strip_prefix("runbook_url: ")).unwrap();
        let (place, target) = url.split_once('#').unwrap();
        assert!(place.ends_with("/docs/alerts.md"), "{alert}: {url}");
        assert_eq!(target, anchor(alert), "{alert}");
        assert!(anchors.contains(target), "{alert}: no heading for {url}");
        let section = page.split(&format!("\n## {alert}\n")).nth(1).unwrap_or_else(|| panic!("## {alert}"));
        let section = section.split("\n#").next().unwrap();
        for part in ["**Meaning.**", "**Look.**", "**Do.**"] {
            assert!(section.contains(part), "{alert} lacks {part}");
        }
    }
    let alerts = named(&rules, "alert");
    for heading in headings(&page).into_iter().filter(|heading| heading.starts_with("Cgtrace")) {
        assert!(alerts.contains(&heading), "{heading} is no alert");
    }
}

/// The metrics that docs/metrics.md has a heading for, with their types.
fn documented() -> BTreeMap<String, String> {
    let page = read("docs/metrics.md");
    let mut metrics = BTreeMap::new();
    for section in page.split("\n### `").skip(1) {
        let (name, rest) = section.split_once('`').unwrap();
        let kind = rest.trim().split([',', '.', ';']).next().unwrap().trim().to_lowercase();
        assert!(["counter", "gauge", "histogram"].contains(&kind.as_str()), "{name}: a type, not {kind:?}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        assert!(metrics.insert(name.to_owned(), kind).is_none(), "{name} has two headings");
    }
    assert!(metrics.len() > 20, "{metrics:?}");
    metrics
}

/// Names of metrics in a text: those of this program, those of every program, and what rules record.
fn mentioned(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | ':'));
    let is_metric = |word: &&str| {
        word.starts_with("cgtrace_") || word.starts_with("process_") || word.starts_with("instance:cgtrace_")
    };
    words.filter(is_metric).collect()
}

/// Every expression of the dashboard, with the title of its panel.
fn expressions(dashboard: &Value) -> Vec<(&str, &str)> {
    let panels = dashboard["panels"].as_array().unwrap();
    panels
        .iter()
        .flat_map(|panel| {
            let title = panel["title"].as_str().unwrap();
            let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
            targets.iter().map(move |target| (title, target["expr"].as_str().unwrap()))
        })
        .collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read(DASHBOARD)).unwrap()
}

#[test]
fn every_metric_used_is_documented_and_every_documented_one_is_used() {
    let (rules, dashboard, documented) = (read(RULES), dashboard(), documented());
    let recorded: BTreeSet<&str> = named(&rules, "record").into_iter().collect();
    let page = read("docs/metrics.md");
    for record in &recorded {
        assert!(page.contains(&format!("`{record}`")), "{record} is not in docs/metrics.md");
    }
    let mut used = mentioned(&rules);
    used.extend(expressions(&dashboard).into_iter().flat_map(|(_, expression)| mentioned(expression)));
    let mut families = BTreeSet::new();
    for metric in used {
        if metric.starts_with("instance:") {
            assert!(recorded.contains(metric), "{metric} is recorded nowhere");
            continue;
        }
        let family = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| metric.strip_suffix(suffix));
        let family = family.filter(|family| documented.get(*family).is_some_and(|kind| kind == "histogram"));
        let family = family.unwrap_or(metric);
        assert!(documented.contains_key(family), "{metric} is not in docs/metrics.md");
        families.insert(family);
    }
    for metric in documented.keys().filter(|metric| metric.starts_with("cgtrace_")) {
        assert!(families.contains(metric.as_str()), "{metric} is on no panel and in no rule");
    }
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variable = |name: &str| variables.iter().find(|variable| variable["name"] == name);
    assert_eq!(variable("datasource").unwrap()["type"], "datasource");
    assert!(variable("instance").is_some() && variable("job").is_some());
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 20, "{}", panels.len());
    let mut ids = BTreeSet::new();
    let mut taken = BTreeMap::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title} has the id of another panel");
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{title} is too wide");
        for (x, y) in (place("y")..place("y") + place("h"))
            .flat_map(|y| (place("x")..place("x") + place("w")).map(move |x| (x, y)))
        {
            if let Some(other) = taken.insert((x, y), title) {
                panic!("{title} lies on {other}");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title} has no description");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title} shows nothing");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            let expression = target["expr"].as_str().unwrap();
            let selectors = expression.matches('{').count();
            assert_eq!(expression.matches(r#"{job=~"$job", instance=~"$instance""#).count(), selectors, "{title}");
        }
    }
}

/// The series of an agent that has nothing to tell, by metric: what is in braces, and its values. The scrape is every
/// 15 seconds, for an hour.
fn idle(metric: &str, kind: &str) -> Vec<(String, String)> {
    let word = |values: Vec<&str>, key: &str| values.iter().map(|value| format!("{key}=\"{value}\"")).collect();
    let labels: Vec<String> = match metric {
        "cgtrace_cgroups_created_total" | "cgtrace_cgroups_removed_total" => {
            word(RUNTIMES.iter().map(|runtime| runtime.name).chain(["none"]).collect(), "runtime")
        }
        "cgtrace_attempts_total" => word(vec!["mkdir", "rmdir", "open"], "operation")
            .into_iter()
            .map(|operation: String| format!("{operation}, errno=\"ENOENT\""))
            .collect(),
        "cgtrace_findings_total" => [Severity::Fault, Severity::Undetermined, Severity::Benign]
            .iter()
            .map(|severity| {
                let severity = severity.as_str();
                let (kind, cause) = (Kind::ALL[0].as_str(), Kind::ALL[0].explanation().causes[0].as_str());
                format!("kind=\"{kind}\", cause=\"{cause}\", severity=\"{severity}\", runtime=\"none\"")
            })
            .collect(),
        "cgtrace_cgroups" => word(vec!["live", "dying"], "state"),
        "cgtrace_events_received_total" => word(vec!["lifecycle", "attempts"], "ring"),
        "cgtrace_events_lost_total" => ["ring-full", "rate-limited"]
            .iter()
            .map(|reason| format!("ring=\"attempts\", reason=\"{reason}\""))
            .collect(),
        "cgtrace_rewalks_total" => word(vec!["ring-full", "stall"], "reason"),
        "cgtrace_probe_attached" => word(PROBES.iter().map(|probe| probe.name).collect(), "probe"),
        "cgtrace_bpf_run_seconds_total" | "cgtrace_bpf_runs_total" => word(vec!["cgroup_mkdir"], "program"),
        "cgtrace_build_info" => vec![r#"version="0.1.0", kernel="6.18.0""#.to_owned()],
        _ => vec![String::new()],
    };
    let value = match metric {
        "cgtrace_probe_attached" | "cgtrace_build_info" => "1x240",
        _ => "0x240",
    };
    let series = |suffix: &str, labels: &str| {
        (format!(r#"{metric}{suffix}{{job="cgtrace", instance="idle:9464", {labels}}}"#), value.to_owned())
    };
    match kind {
        "histogram" => ["0.1", "10", "+Inf"]
            .iter()
            .map(|bound| series("_bucket", &format!("le=\"{bound}\"")))
            .chain([series("_sum", ""), series("_count", "")])
            .collect(),
        _ => labels.iter().map(|labels| series("", labels)).collect(),
    }
}

/// A panel that is empty when all is well cannot be told from one that is broken.
#[test]
fn every_panel_and_every_recorded_series_has_data_when_nothing_happens() {
    let (rules, dashboard) = (read(RULES), dashboard());
    let series: Vec<Value> = documented()
        .iter()
        .flat_map(|(metric, kind)| idle(metric, kind))
        .map(|(series, values)| json!({ "series": series.replace(", }", "}"), "values": values }))
        .collect();
    let variables =
        [("$job", ".*"), ("$instance", ".*"), ("$__rate_interval", "1m"), ("$__range", "30m"), ("$__interval", "15s")];
    let fill = |expression: &str| {
        let filled = variables.iter().fold(expression.to_owned(), |text, (name, value)| text.replace(name, value));
        assert!(!filled.contains('$'), "{expression}");
        filled
    };
    let panels = expressions(&dashboard).into_iter().map(|(_, expression)| fill(expression));
    let all: Vec<String> = panels.chain(named(&rules, "record").into_iter().map(str::to_owned)).collect();
    assert!(all.len() > 40, "{}", all.len());
    let has_data = |expression: &String| {
        json!({
            "expr": format!("count({expression}) > bool 0"),
            "eval_time": "50m",
            "exp_samples": [{ "labels": "{}", "value": 1 }],
        })
    };
    // JSON is YAML.
    let test = json!({
        "rule_files": [root().join(RULES)],
        "evaluation_interval": "30s",
        "tests": [{
            "interval": "15s",
            "input_series": series,
            "promql_expr_test": all.iter().map(has_data).collect::<Vec<_>>(),
        }],
    });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("panels.test.yml");
    fs::write(&file, test.to_string()).unwrap();
    succeeds(&["test", "rules", file.to_str().unwrap()]);
}

/// The words of a sentence that lists them: `a`, `b`.
fn listed(page: &str, metric: &str, label: &str) -> BTreeSet<String> {
    let section = page.split(&format!("\n### `{metric}`\n")).nth(1).unwrap_or_else(|| panic!("{metric}"));
    let section = section.split("\n#").next().unwrap();
    let item = section.split("\n* ").find(|item| item.starts_with(&format!("`{label}`:")));
    let item = item.unwrap_or_else(|| panic!("{metric} says nothing of {label}"));
    item.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

#[test]
fn closed_sets_of_labels_are_those_of_the_program() {
    let page = read("docs/metrics.md");
    let check = |metric: &str, label: &str, values: Vec<&str>| {
        let values: BTreeSet<String> = values.into_iter().map(str::to_owned).collect();
        assert_eq!(listed(&page, metric, label), values, "{metric}: {label}");
    };
    let runtimes: Vec<&str> = RUNTIMES.iter().map(|runtime| runtime.name).chain(["none"]).collect();
    check("cgtrace_cgroups_created_total", "runtime", runtimes);
    check("cgtrace_findings_total", "severity", vec!["fault", "undetermined", "benign"]);
    check("cgtrace_probe_attached", "probe", PROBES.iter().map(|probe| probe.name).collect());
    check("cgtrace_unanswered_total", "question", Question::ALL.map(Question::as_str).to_vec());
    check("cgtrace_unanswered_total", "reason", Unanswered::ALL.map(Unanswered::as_str).to_vec());
    let names: Vec<String> = (1..200).map(|number| Errno(number).name().into_owned()).collect();
    // What has no name is called by its number, E77.
    let known = names.iter().map(String::as_str).filter(|name| !name[1..].starts_with(|c: char| c.is_ascii_digit()));
    check("cgtrace_attempts_total", "errno", known.chain(["other"]).collect());
}

fn systemd_analyze(arguments: &[&str], files: &[&str]) -> Output {
    let files: Vec<PathBuf> = files.iter().map(|file| root().join(file)).collect();
    let mut program = Command::new("systemd-analyze");
    program.args(arguments).args(files).output().expect("cargo xtask setup installs systemd-analyze")
}

#[test]
fn systemd_takes_the_units() {
    let done = systemd_analyze(&["verify", "--recursive-errors=no"], &[UNIT, SOCKET]);
    let said = String::from_utf8(done.stderr).unwrap();
    let absent = "cgtrace.service: Command /usr/bin/cgtrace is not executable: No such file or directory";
    // What is wrong with other units of this host is not ours.
    let complaints: Vec<&str> = said.lines().filter(|line| line.contains("cgtrace") && *line != absent).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert!(done.status.success() || said.contains(absent), "{}: {said}", done.status);
}

#[test]
fn the_unit_is_as_tight_as_the_documentation_says() {
    let page = read("docs/operations.md");
    let quoted = page.split("Overall exposure level for cgtrace.service: ").nth(1).unwrap();
    let quoted: f64 = quoted.split(' ').next().unwrap().parse().unwrap();
    let done = systemd_analyze(&["security", "--offline=true", "--no-pager"], &[UNIT]);
    let said = String::from_utf8(done.stdout).unwrap();
    let measured =
        said.split("Overall exposure level for cgtrace.service: ").nth(1).unwrap_or_else(|| panic!("{said}"));
    let measured: f64 = measured.split(' ').next().unwrap().parse().unwrap();
    assert!(measured <= quoted, "{measured} now, {quoted} in docs/operations.md");
}

#[test]
fn the_example_of_the_configuration_has_every_key() {
    let example = read("deploy/systemd/cgtrace.toml");
    let keys: BTreeSet<&str> = example
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once(" = "))
        .map(|(key, _)| key)
        .filter(|key| !key.starts_with(' '))
        .collect();
    let page = read("docs/operations.md");
    let definition = cgtrace::cli::definition();
    let flags = definition.find_subcommand("serve").unwrap().get_arguments().filter_map(clap::Arg::get_long);
    let flags: BTreeSet<&str> = flags.filter(|flag| !["config", "check-config", "help"].contains(flag)).collect();
    assert!(flags.len() > 10, "{flags:?}");
    assert_eq!(keys, flags);
    for key in keys {
        assert!(page.contains(&format!("| `{key}` |")), "{key} is not in docs/operations.md");
    }
}

/// Prints a configuration of the Collector as JSON, and says which of its parts are not there that its pipelines name.
const COLLECTOR: &str = r#"
import json, sys
from ruamel.yaml import YAML
config = YAML(typ="safe", pure=True).load(open(sys.argv[1]))
for signal, pipeline in config["service"]["pipelines"].items():
    for part in ("receivers", "processors", "exporters"):
        assert pipeline[part] and set(pipeline[part]) <= set(config[part]), (signal, part)
print(json.dumps(config))
"#;

#[test]
fn the_collectors_configuration_is_whole_and_what_the_page_shows_of_it_is_in_it() {
    let path = root().join("deploy/opentelemetry/collector.yml");
    let config: Value = serde_json::from_slice(&schema::python(COLLECTOR, &[&path])).unwrap();
    // Port 4317 alone is taken for gRPC by an agent that is not told otherwise.
    let protocols = &config["receivers"]["otlp"]["protocols"];
    assert_eq!(protocols["grpc"]["endpoint"], "0.0.0.0:4317");
    assert_eq!(protocols["http"]["endpoint"], "0.0.0.0:4318");
    let scraped = &config["receivers"]["prometheus"]["config"]["scrape_configs"][0];
    assert_eq!(scraped["job_name"], "cgtrace", "the rules go by it");
    assert_eq!(scraped["static_configs"][0]["targets"], json!([cgtrace::serve::ADDRESS]));
    assert_eq!(config["service"]["pipelines"]["logs"]["receivers"], json!(["otlp"]));
    let page = read("docs/otlp.md");
    let (_, shown) = page.split_once("```yaml\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let shown: Vec<&str> = shown.lines().map(|line| line.strip_prefix("   ").unwrap_or(line)).collect();
    assert!(read("deploy/opentelemetry/collector.yml").contains(&shown.join("\n").trim_end().to_owned()));
}

/// The configuration of node-problem-detector's custom plugin monitor, as its `pkg/custompluginmonitor/types` reads it.
/// It ignores what it does not know; here that is an error, because it is a key that does nothing.
mod node_problem_detector {
    use serde::Deserialize;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Config {
        pub plugin: String,
        #[serde(rename = "pluginConfig")]
        pub global: Global,
        pub source: String,
        #[serde(rename = "metricsReporting")]
        pub metrics_reporting: bool,
        pub conditions: Vec<Condition>,
        pub rules: Vec<Rule>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Global {
        pub invoke_interval: String,
        pub timeout: String,
        pub max_output_length: usize,
        pub concurrency: usize,
        pub enable_message_change_based_condition_update: bool,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Condition {
        #[serde(rename = "type")]
        pub kind: String,
        pub reason: String,
        pub message: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Rule {
        #[serde(rename = "type")]
        pub kind: String,
        pub condition: String,
        pub reason: String,
        pub path: String,
        pub args: Vec<String>,
        pub timeout: String,
    }
}

#[test]
fn node_problem_detector_takes_its_configuration_and_waits_long_enough() {
    let config: node_problem_detector::Config =
        serde_json::from_str(&read("deploy/node-problem-detector/cgtrace.json")).unwrap();
    let time = |text: &str| text.parse::<jiff::SignedDuration>().unwrap();
    let global = &config.global;
    assert_eq!(config.plugin, "custom", "there is no other one");
    assert!(!config.source.is_empty() && config.metrics_reporting);
    assert!(global.enable_message_change_based_condition_update, "a later fault is told, too");
    assert!(global.max_output_length > 200 && global.concurrency > 0);
    let [condition] = config.conditions.as_slice() else { panic!("one condition") };
    let [rule] = config.rules.as_slice() else { panic!("one rule") };
    assert_eq!((condition.kind.as_str(), rule.kind.as_str()), ("CgroupTeardownBroken", "permanent"));
    assert_eq!(rule.condition, condition.kind);
    assert!(!condition.message.is_empty());
    // Reasons are one word in Kubernetes, and each state has its own.
    for reason in [&condition.reason, &rule.reason] {
        assert!(reason.chars().all(char::is_alphanumeric), "{reason}");
    }
    assert_ne!(condition.reason, rule.reason);
    assert!(time(&rule.timeout) <= time(&global.timeout), "it refuses to start");
    assert!(time(&global.timeout) < time(&global.invoke_interval));
    assert_eq!(rule.path, "/usr/bin/cgtrace", "where docs/operations.md installs it");
    let typed = [&["cgtrace".to_owned()], rule.args.as_slice()].concat();
    let matches = cgtrace::cli::definition().try_get_matches_from(typed).unwrap();
    let (command, check) = matches.subcommand().unwrap();
    assert_eq!((command, check.get_flag("nagios")), ("check", false));
    let own = check.get_one::<std::time::Duration>("timeout").unwrap();
    assert!(*own < time(&rule.timeout).unsigned_abs(), "it ends by itself, with its own words");
}
