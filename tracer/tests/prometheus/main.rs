//! A real Prometheus scrapes a real agent while real things happen; and what else may come to the agent's door.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../support/agent.rs"]
mod agent;
mod door;
mod server;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use cgtrace::demo::bundle::Bundle;
use cgtrace::errno::Errno;
use cgtrace::input::{BootTime, Cgroup, CgroupId, Change, Directory, Event, HierarchyId, Input, Operation};
use cgtrace::kernel::{BackendChoice, PROBES, Plan, Support, Tracefs};
use cgtrace::metrics::{Counting, Exposition, Metrics};
use cgtrace::recording::TraceLine;
use cgtrace::stream::Stream;
use serde_json::Value;

use agent::{Serving, demo};
use server::Prometheus;
use support::{Scratch, c_path, fork, mkdir, rmdir, wait_for};

/// A whole life of a container of the real runc.
fn runc_life() {
    let directory = tempfile::tempdir().unwrap();
    Bundle::new(directory.path(), &["/bin/sh", "-c", "exit 0"]).unwrap();
    let life = "runc --root \"$root\" create \"$id\"; runc --root \"$root\" start \"$id\"
        until runc --root \"$root\" state \"$id\" | grep -q '\"stopped\"'; do sleep 0.01; done
        runc --root \"$root\" delete \"$id\"";
    let done = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-euc", life])
        .env("root", directory.path().join("state"))
        .env("id", format!("cgtrace-prometheus-{}", std::process::id()))
        .current_dir(directory.path().join("bundle"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    // Page cache that was charged to it keeps a memory cgroup from being released.
    fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
}

/// How many hierarchies runc makes a cgroup in.
fn hierarchies() -> f64 {
    let (_, hierarchies) = cgtrace::cgroupfs::hierarchies().unwrap();
    let v1 = hierarchies.iter().filter(|hierarchy| hierarchy.version == 1 && hierarchy.mount.is_some()).count();
    v1.max(1) as f64
}

/// What every one of these tests sees happen: three faults of the demo, and a life that is well.
fn play() {
    ["duplicate", "missing-path", "missing-path-benign"].into_iter().for_each(demo);
    runc_life();
}

#[test]
fn what_happened_is_what_prometheus_counts() {
    let agent = Serving::start(&[]);
    let prometheus = Prometheus::start(&agent, &[]);
    play();
    prometheus.wait_for("sum(cgtrace_findings_total)", 3.0);
    let findings = |labels: &str| prometheus.value(&format!("sum(cgtrace_findings_total{{{labels}}})"));
    assert_eq!(
        findings("kind=\"duplicate-teardown\",cause=\"removed-by-other\",severity=\"fault\",runtime=\"runc\""),
        1.0
    );
    for severity in ["fault", "benign"] {
        let labels = "kind=\"missing-path-teardown\",cause=\"read-only-mount\",runtime=\"runc\"";
        assert_eq!(findings(&format!("{labels},severity=\"{severity}\"")), 1.0, "{severity}");
    }
    // The duplicate's container is one in cgroup2; runc's real one is in every hierarchy that it uses, and in cgroup2
    // if it is there. Whatever was made was removed.
    let of_runc = "cgtrace_cgroups_created_total{runtime=\"runc\"}";
    wait_for("runc's cgroups", || (agent.sample(of_runc) > hierarchies()).then_some(()));
    let created = agent.sample(of_runc);
    prometheus.wait_for(of_runc, created);
    prometheus.wait_for("cgtrace_cgroups_removed_total{runtime=\"runc\"}", created);
    let attempts = |operation: &str, errno: &str| {
        prometheus.value(&format!("cgtrace_attempts_total{{operation=\"{operation}\",errno=\"{errno}\"}}"))
    };
    // Two plays on a read-only cgroupfs, in each of which one makes and one removes.
    assert_eq!((attempts("mkdir", "EROFS"), attempts("rmdir", "EROFS")), (2.0, 2.0));
    // The one that comes second; others may look for what is gone, too.
    assert!(attempts("rmdir", "ENOENT") >= 1.0);
    wait_for("the lives", || (prometheus.value("cgtrace_cgroup_lifetime_seconds_count") >= created).then_some(()));
    wait_for("the teardowns", || (prometheus.value("cgtrace_teardown_seconds_count") > 0.0).then_some(()));
    assert!(prometheus.value("histogram_quantile(0.5, cgtrace_release_seconds_bucket)") > 0.0);
    let support = Support::survey(&Tracefs::ensure());
    let backend = Plan::decide(&support, BackendChoice::Auto).unwrap().backend;
    let probes = PROBES.iter().filter(|probe| probe.is_watched_by(backend)).count() as f64;
    assert_eq!(prometheus.value("sum(cgtrace_probe_attached)"), probes);
    assert_eq!(prometheus.value("count(cgtrace_probe_attached)"), probes);
    assert_eq!(prometheus.value("sum(cgtrace_events_lost_total{reason!=\"rate-limited\"})"), 0.0);
    assert_eq!(prometheus.value("up"), 1.0);
    let build = prometheus.query("cgtrace_build_info");
    assert_eq!(build[0]["metric"]["version"], env!("CARGO_PKG_VERSION"));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(build[0]["metric"]["kernel"], kernel.trim());
    agent.end();
}

#[test]
fn native_histograms_and_exemplars_arrive() {
    let agent = Serving::start(&[]);
    let prometheus = Prometheus::start(&agent, &["native-histograms", "exemplar-storage"]);
    play();
    prometheus.wait_for("sum(cgtrace_findings_total)", 3.0);
    wait_for("lives", || (prometheus.value("histogram_count(cgtrace_cgroup_lifetime_seconds)") > 0.0).then_some(()));
    // Others may make cgroups meanwhile: what was scraped lies between what the agent said before and after. Where
    // nobody does, those are the same.
    for part in ["count", "sum"] {
        let (sample, native) = (
            format!("cgtrace_cgroup_lifetime_seconds_{part}"),
            format!("histogram_{part}(cgtrace_cgroup_lifetime_seconds)"),
        );
        let least = agent.sample(&sample) - 1e-6;
        let scraped = wait_for(&native, || Some(prometheus.value(&native)).filter(|scraped| *scraped >= least));
        let most = agent.sample(&sample) + 1e-6;
        assert!(scraped <= most, "{part}: {scraped}, not between {least} and {most}");
    }
    let median = prometheus.value("histogram_quantile(0.5, cgtrace_cgroup_lifetime_seconds)");
    assert!(median > 0.0 && median < 60.0, "{median}");
    let exemplars = prometheus.get("/api/v1/query_exemplars?query=cgtrace_findings_total&start=0&end=9999999999");
    let containers: BTreeSet<&str> = exemplars["data"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|series| series["exemplars"].as_array().unwrap())
        .map(|exemplar| exemplar["labels"]["container_id"].as_str().unwrap())
        .collect();
    assert_eq!(containers.len(), 3, "{exemplars}");
    let finding = agent.wait_for_finding("duplicate-teardown");
    assert!(containers.contains(finding["container"]["id"].as_str().unwrap()));
    agent.end();
}

/// Every expression below a key `expr`.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if name == "expr" => found.push(text.to_owned()),
                    _ => expressions(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[test]
fn every_expression_of_the_dashboard_has_data_and_a_fault_raises_its_alert() {
    let agent = Serving::start(&[]);
    for features in [&[][..], &["native-histograms"]] {
        let prometheus = Prometheus::start(&agent, features);
        play();
        prometheus.wait_for("sum(cgtrace_findings_total) >= bool 3", 1.0);
        let dashboard = fs::read_to_string(deployed("grafana/cgtrace.json")).unwrap();
        let mut all = Vec::new();
        expressions(&serde_json::from_str(&dashboard).unwrap(), &mut all);
        assert!(all.len() > 30, "{} expressions", all.len());
        for expression in all {
            let asked = expression
                .replace("$job", "cgtrace")
                .replace("$instance", ".*")
                .replace("$__rate_interval", "30s")
                .replace("$__range", "30s");
            assert!(!asked.contains('$'), "{asked}");
            wait_for(&asked, || (!prometheus.query(&asked).is_empty()).then_some(()));
        }
        let rules = prometheus.rules();
        assert!(rules.len() >= 15, "{} rules", rules.len());
        for rule in rules.iter().filter(|rule| rule["type"] == "recording") {
            let name = rule["name"].as_str().unwrap();
            wait_for(name, || (!prometheus.query(name).is_empty()).then_some(()));
        }
        let raised = wait_for("the alert on a fault", || {
            let alerts = prometheus.get("/api/v1/alerts");
            let alerts = alerts["data"]["alerts"].as_array().unwrap().clone();
            alerts.into_iter().find(|alert| {
                let label = |name: &str| alert["labels"][name].as_str().unwrap_or_default();
                label("alertname") == "CgtraceFaultFound" && label("kind") == "missing-path-teardown"
            })
        });
        assert!(matches!(raised["state"].as_str(), Some("pending" | "firing")), "{raised}");
        assert_eq!(raised["labels"]["cause"], "read-only-mount");
        assert_eq!(raised["labels"]["runtime"], "runc");
        let broken: Vec<Value> = prometheus.rules().into_iter().filter(|rule| rule["health"] == "err").collect();
        assert!(broken.is_empty(), "{broken:#?}");
    }
    agent.end();
}

fn deployed(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

#[test]
fn promtool_has_nothing_against_the_metrics_and_each_format_is_what_it_says() {
    let agent = Serving::start(&[]);
    demo("duplicate");
    let finding = agent.wait_for_finding("duplicate-teardown");
    let (_, plain) = agent.get("/metrics");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed");
    io::Write::write_all(promtool.stdin.as_mut().unwrap(), plain.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    let said = String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap();
    assert!(checked.status.success() && said.is_empty(), "{said}");
    assert!(!plain.contains("# EOF") && !plain.contains(" # {"));

    let asked = |accept: &str| {
        agent.request(&format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"))
    };
    let (_, open_metrics) = asked("application/openmetrics-text; version=1.0.0");
    assert!(open_metrics.ends_with("# EOF\n"));
    let exemplar = format!(" # {{container_id={}}}", finding["container"]["id"]);
    let counted = open_metrics.lines().find(|line| line.contains("duplicate-teardown") && line.contains(&exemplar));
    assert!(counted.is_some(), "no {exemplar} in {open_metrics}");
    agent.end();
}

fn samples(metrics: &Metrics, format: Exposition) -> usize {
    let text = String::from_utf8(metrics.tell(format)).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).count()
}

#[test]
fn ten_thousand_containers_are_no_more_series_than_one() {
    let metrics = Metrics::default();
    let recording = include_str!("../recordings/incident.jsonl");
    let Ok(TraceLine::Header(header)) = TraceLine::parse(recording.lines().next().unwrap().as_bytes()) else {
        panic!("a header")
    };
    let refused = recording.lines().find_map(|line| match TraceLine::parse(line.as_bytes()) {
        Ok(TraceLine::Input(_, input)) => match *input {
            Input::Attempt(attempt) if attempt.operation == Operation::Rmdir => Some(attempt),
            _ => None,
        },
        _ => None,
    });
    let refused = refused.unwrap();
    let unified = header.hierarchies.iter().find(|hierarchy| hierarchy.version == 2).unwrap();
    let device = unified.device.unwrap();
    let mut counting = Counting::new(metrics.clone());
    let mut stream = Stream::begin(&header, &mut counting).unwrap();
    let mut live = |number: u64| {
        for (step, change) in [Change::Created, Change::Populated, Change::Emptied, Change::Removed, Change::Released]
            .into_iter()
            .enumerate()
        {
            let cgroup = Cgroup {
                hierarchy: HierarchyId(0),
                id: Some(CgroupId(number + 100)),
                path: format!("/docker/{number:064x}").as_str().into(),
                level: Some(2),
                truncated: false,
            };
            let at = BootTime(header.clock.boot_ns + number * 1_000_000 + step as u64);
            let event = Event { at, change, cgroup, requested: false, task: None, container: None, actor: None };
            stream.feed(&mut Input::Event(event)).unwrap();
        }
        // Somebody comes too late, which is an exemplar with this container's id.
        let mut late = refused.clone();
        late.at = BootTime(header.clock.boot_ns + number * 1_000_000 + 10);
        late.errno = Errno(libc::ENOENT as u16);
        late.path = format!("{number:064x}").as_str().into();
        late.directory = Some(Directory {
            device,
            id: CgroupId(1),
            path: "/docker".into(),
            truncated: false,
            outside: false,
            mount: None,
        });
        stream.feed(&mut Input::Attempt(late)).unwrap();
    };
    live(0);
    let formats = [Exposition::Plain, Exposition::OpenMetrics];
    let one = formats.map(|format| samples(&metrics, format));
    assert_eq!(one[0], one[1]);
    (1..10_000).for_each(live);
    assert_eq!(formats.map(|format| samples(&metrics, format)), one);
    let text = String::from_utf8(metrics.tell(Exposition::Plain)).unwrap();
    assert!(text.contains("cgtrace_cgroups_created_total{runtime=\"docker\"} 10000"), "they were counted");
    assert!(text.contains("cgtrace_attempts_total{operation=\"rmdir\",errno=\"ENOENT\"} 10000"), "{text}");
    let last = format!("container_id=\"{:064x}\"", 9_999);
    let open_metrics = String::from_utf8(metrics.tell(Exposition::OpenMetrics)).unwrap();
    assert!(open_metrics.contains(&last), "the last one is an exemplar");
    // An id that is an exemplar is no label.
    assert!(open_metrics.lines().all(|line| !line.split(" # {").next().unwrap().contains("container_id")));
}

#[test]
fn the_series_of_a_real_agent_are_as_many_after_hundreds_of_containers() {
    let scratch = Scratch::new();
    let agent = Serving::start(&[]);
    wait_for("readiness", || (agent.get("/readyz").0 == 200).then_some(()));
    let count = || agent.get("/metrics").1.lines().filter(|line| !line.starts_with('#')).count();
    let before = count();
    for number in 0..300 {
        let path = c_path(scratch.path.join(format!("libpod-{number:064x}.scope")));
        assert_eq!(fork(|| mkdir(&path) | rmdir(&path)).wait(), 0);
    }
    wait_for("all of them", || {
        (agent.sample("cgtrace_cgroups_removed_total{runtime=\"podman\"}") == 300.0).then_some(())
    });
    assert_eq!(count(), before);
    agent.end();
}
