//! Exports, read by those they are for.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod fleet;
mod rotated;
#[path = "../support/schema.rs"]
mod schema;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use schema::python;

fn recording(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(name)
}

fn export(trace: &Path, to: &str, output: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cgtrace"))
        .args(["export", "--to", to, "--output", output])
        .arg(trace)
        .output()
        .unwrap()
}

fn recordings() -> impl Iterator<Item = PathBuf> {
    fs::read_dir(recording(".")).unwrap().map(|entry| entry.unwrap().path())
}

/// Every recording in another form, each in a file of that directory.
fn all_exported(to: &str, directory: &Path) -> Vec<PathBuf> {
    let exported = |path: PathBuf| {
        let out = directory.join(path.file_name().unwrap());
        let done = export(&path, to, out.to_str().unwrap());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        out
    };
    recordings().map(exported).collect()
}

#[test]
fn jsonl_is_what_live_printed() {
    let path = recording("incident.jsonl");
    let done = export(&path, "jsonl", "-");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(done.stdout, fs::read(path).unwrap());
}

#[test]
fn otlp_has_one_record_a_finding_with_its_host_and_container() {
    let done = export(&recording("incident.jsonl"), "otlp-json", "-");
    let request: Value = serde_json::from_slice(&done.stdout).unwrap();
    let resource = &request["resourceLogs"][0];
    let find = |attributes: &Value, key: &str| -> Value {
        let all = attributes.as_array().unwrap();
        all.iter().find(|attribute| attribute["key"] == key).unwrap_or_else(|| panic!("no {key}"))["value"].clone()
    };
    assert_eq!(find(&resource["resource"]["attributes"], "service.name")["stringValue"], "cgtrace");
    assert_eq!(find(&resource["resource"]["attributes"], "host.name")["stringValue"], "vm");
    let records = resource["scopeLogs"][0]["logRecords"].as_array().unwrap();
    let [record] = records.as_slice() else { panic!("{records:#?}") };
    assert_eq!((&record["severityNumber"], &record["severityText"]), (&17.into(), &"ERROR".into()));
    assert!(record["timeUnixNano"].as_str().unwrap().starts_with("17"), "64-bit numbers are text");
    assert!(record["body"]["stringValue"].as_str().unwrap().contains("was never created"));
    assert_eq!(find(&record["attributes"], "cgtrace.finding.kind")["stringValue"], "missing-path-teardown");
    assert_eq!(find(&record["attributes"], "cgtrace.known_issues")["stringValue"], "runc#4518");
    assert!(find(&record["attributes"], "container.id")["stringValue"].is_string());
    assert!(find(&record["attributes"], "process.pid")["intValue"].is_string(), "as all 64-bit numbers");
}

/// Reads requests by OTLP's own definitions, and looks every name up in the semantic conventions: an attribute is one
/// of theirs that is not deprecated, or our own. Prints the names that were used.
const OTLP: &str = r#"
import ast, importlib, json, pkgutil, sys
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.semconv import _incubating, attributes, schemas
from opentelemetry.semconv._incubating.attributes import host_attributes, os_attributes
known, used = {}, set()
for package in ("opentelemetry.semconv.attributes", "opentelemetry.semconv._incubating.attributes"):
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        source = open(importlib.import_module(f"{package}.{module.name}").__file__).read()
        body = ast.parse(source).body
        for one, behind in zip(body, body[1:]):
            if isinstance(one, ast.AnnAssign) and isinstance(one.value, ast.Constant):
                known.setdefault(one.value.value, behind.value.value.strip().startswith("Deprecated:"))
assert known["container.runtime"] and not known["container.runtime.name"] and len(known) > 300
urls = {schema.value for schema in schemas.Schemas}
values = {"host.arch": {v.value for v in host_attributes.HostArchValues},
          "os.type": {v.value for v in os_attributes.OsTypeValues}}
def check(pairs):
    for pair in pairs:
        used.add(pair.key)
        own = pair.key.startswith("cgtrace.")
        assert own or known.get(pair.key) is False, pair.key
        assert pair.key not in values or pair.value.string_value in values[pair.key], pair
    assert len({pair.key for pair in pairs}) == len(pairs)
for path in sys.argv[1:]:
    request = json_format.Parse(open(path).read(), ExportLogsServiceRequest())
    for of_resource in request.resource_logs:
        check(of_resource.resource.attributes)
        for scope in of_resource.scope_logs:
            assert scope.schema_url == of_resource.schema_url and scope.schema_url in urls, scope.schema_url
            for record in scope.log_records:
                check(record.attributes)
                assert record.time_unix_nano and record.observed_time_unix_nano and record.event_name
print(json.dumps(sorted(used)))
"#;

#[test]
fn otlp_is_what_its_definitions_allow_and_its_names_are_those_of_the_semantic_conventions() {
    let directory = tempfile::tempdir().unwrap();
    let files = all_exported("otlp-json", directory.path());
    let used: Vec<String> = serde_json::from_slice(&python(OTLP, &files)).unwrap();
    for name in ["service.version", "host.arch", "container.runtime.name", "process.exit.code", "log.record.uid"] {
        assert!(used.iter().any(|one| one == name), "no {name} in {used:?}");
    }
    // What may be sent is on the page.
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/otlp.md")).unwrap();
    for name in used {
        assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/otlp.md");
    }
}

/// Reads SARIF by a model that is made of the standard's schema, with all that it requires and allows. What is wrong
/// must not be valid.
const SARIF: &str = r#"
import copy, json, sys
from pydantic import ValidationError
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as Log
for path in sys.argv[1:]:
    log = json.load(open(path))
    Log.model_validate(log)
    for break_it in (
        lambda run: run.update(finds=[]),
        lambda run: run.pop("tool"),
        lambda run: [result.update(level="fatal") for result in run["results"]] or run.update(results=1),
    ):
        wrong = copy.deepcopy(log)
        break_it(wrong["runs"][0])
        try:
            Log.model_validate(wrong)
        except ValidationError:
            continue
        sys.exit(f"{path}: {wrong} is valid")
print(len(sys.argv) - 1)
"#;

#[test]
fn sarif_is_valid_by_its_schema_and_has_one_result_a_finding() {
    let directory = tempfile::tempdir().unwrap();
    let files = all_exported("sarif", directory.path());
    let count = String::from_utf8_lossy(&python(SARIF, &files)).trim().parse::<usize>().unwrap();
    assert!(count == files.len() && count > 10, "{count}");

    let run = |name: &str| -> Value {
        let log: Value = serde_json::from_slice(&fs::read(directory.path().join(name)).unwrap()).unwrap();
        log["runs"][0].clone()
    };
    let incident = run("incident.jsonl");
    let rules = incident["tool"]["driver"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), cgtrace::findings::Kind::ALL.len());
    let [result] = incident["results"].as_array().unwrap().as_slice() else { panic!("{incident:#}") };
    assert_eq!((&result["kind"], &result["level"]), (&"fail".into(), &"error".into()));
    assert_eq!(rules[result["ruleIndex"].as_u64().unwrap() as usize]["id"], result["ruleId"]);
    let text = result["message"]["text"].as_str().unwrap();
    for part in ["was never created", "\nWhat to do: Mount cgroupfs writable", "\nIt looks like runc#4518: "] {
        assert!(text.contains(part), "{text}");
    }
    let place = &result["locations"][0];
    let cgroup = "/cgtrace-demo/b05bzm3so1yqejoj60u5ud8fl";
    assert_eq!(place["logicalLocations"][0]["fullyQualifiedName"], cgroup);
    let uri = place["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap();
    assert_eq!(uri, format!("file:///sys/fs/cgroup/unified{cgroup}"));
    // Anything but a failure has no level, and what is routine is left out.
    let levels = |name: &str| -> Vec<(Value, Value)> {
        let results = run(name)["results"].as_array().unwrap().clone();
        results.iter().map(|result| (result["kind"].clone(), result["level"].clone())).collect()
    };
    assert_eq!(levels("incident-coped.jsonl"), [("informational".into(), "none".into())]);
    assert_eq!(levels("nested.jsonl"), []);
}

/// Reads a trace with Perfetto's own definitions, and says what is in it.
const READER: &str = r#"
import json, sys
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as proto
trace = proto.Trace()
trace.ParseFromString(open(sys.argv[1], "rb").read())
tracks, events, unknown = {}, [], 0
for packet in trace.packet:
    if packet.HasField("track_descriptor"):
        d = packet.track_descriptor
        tracks[d.uuid] = {"name": d.name or d.process.process_name, "parent": d.parent_uuid, "pid": d.process.pid}
    elif packet.HasField("track_event"):
        e = packet.track_event
        events.append({"at": packet.timestamp, "type": e.type, "name": e.name, "track": e.track_uuid})
    else:
        unknown += 1
print(json.dumps({"tracks": tracks, "events": events, "unknown": unknown}))
"#;

#[test]
fn perfetto_reads_a_track_for_each_container_cgroup_and_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace.perfetto-trace");
    let done = export(&recording("runc-v1.jsonl"), "perfetto", path.to_str().unwrap());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let read: Value = serde_json::from_slice(&python(READER, &[&path])).unwrap();
    assert_eq!(read["unknown"], 0);
    let tracks = read["tracks"].as_object().unwrap();
    let named = |name: &str| tracks.iter().find(|(_, track)| track["name"] == name).map(|(uuid, _)| uuid.clone());
    let container = named("runc web").expect("the container's track");
    let cgroups = tracks.values().filter(|track| track["parent"].as_u64() == container.parse().ok()).count();
    assert_eq!(cgroups, 10, "one for each hierarchy");
    assert!(tracks.values().any(|track| track["name"] == "runc" && track["pid"].as_i64().unwrap() > 0));
    let events = read["events"].as_array().unwrap();
    let count = |kind: i64| events.iter().filter(|event| event["type"] == kind).count();
    assert!(count(1) > 20 && count(1) == count(2), "every slice that begins ends: {} and {}", count(1), count(2));
    for name in ["exists", "populated", "dying", "attached"] {
        assert!(events.iter().any(|event| event["name"] == name), "{name}");
    }
    for event in events {
        assert!(tracks.contains_key(&event["track"].to_string()), "an event without its track: {event}");
    }
    let again = export(&recording("runc-v1.jsonl"), "perfetto", path.to_str().unwrap());
    assert_eq!(again.status.code(), Some(2), "what is there is not overwritten");
}

/// Queries the tables as an analyst would.
const QUERIES: &str = r#"
import duckdb, json, sys
root = sys.argv[1]
def table(name):
    return f"read_parquet('{root}/{name}/**/*.parquet', hive_partitioning=true)"
def one(query):
    return duckdb.sql(query).fetchall()
print(json.dumps({
    "inputs": one(f"select type, count(*) from {table('inputs')} group by 1 order by 1"),
    "errnos": one(f"""select operation, errno, count(*) from {table('inputs')} where type = 'attempt'
        group by 1, 2 order by 1, 2"""),
    "lives": one(f"""select count(*), count(created), count(removed), count(released), count(container)
        from {table('lives')}"""),
    "ordered": one(f"""select count(*) from {table('lives')} where created <= populated and populated <= emptied
        and emptied <= removed and removed <= released"""),
    "findings": one(f"""select severity, kind, known_issues, host, cast(date as varchar)
        from {table('findings')} order by time"""),
    "times": one(f"select count(*) from {table('inputs')} where time between '2026-01-01' and '2027-01-01'"),
}))
"#;

#[test]
fn duckdb_counts_what_the_trace_says() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("tables");
    let traces = ["incident.jsonl", "runc-v1.jsonl"];
    let mut counted = std::collections::BTreeMap::new();
    for trace in traces {
        let done = export(&recording(trace), "parquet", out.to_str().unwrap());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        for line in fs::read_to_string(recording(trace)).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            if line["seq"].is_u64() {
                *counted.entry(line["type"].as_str().unwrap().to_owned()).or_insert(0u64) += 1;
            }
        }
    }
    let read: Value = serde_json::from_slice(&python(QUERIES, &[&out])).unwrap();
    let expected: Vec<Value> = counted.iter().map(|(kind, count)| serde_json::json!([kind, count])).collect();
    assert_eq!(read["inputs"], Value::Array(expected));
    assert_eq!(read["times"][0][0], counted.values().sum::<u64>());
    assert!(read["errnos"].as_array().unwrap().contains(&serde_json::json!(["mkdir", "EROFS", 1])), "{read}");
    assert_eq!(read["lives"], serde_json::json!([[11, 11, 11, 11, 10]]), "ten of runc, one scratch cgroup");
    assert_eq!(read["ordered"][0][0], 10, "created, populated, emptied, removed, released");
    assert_eq!(
        read["findings"],
        serde_json::json!([["fault", "missing-path-teardown", "runc#4518", "vm", "2026-11-24"]])
    );
    let again = export(&recording("incident.jsonl"), "parquet", out.to_str().unwrap());
    assert_eq!(again.status.code(), Some(2), "what is there is not overwritten");
}

/// Counts the rows of each day in the tables.
const DAYS: &str = r#"
import duckdb, json, sys
def rows(table, time):
    files = f"read_parquet('{sys.argv[1]}/{table}/**/*.parquet', hive_partitioning=true)"
    days = f"date::varchar, {time}::date::varchar"
    return duckdb.sql(f"select {days}, count(*) from {files} group by all order by all").fetchall()
print(json.dumps([rows("inputs", "time"), rows("lives", "created")]))
"#;

#[test]
fn tables_of_a_trace_over_midnights_have_each_row_in_its_day() {
    const DAY: u64 = 86_400_000_000_000;
    let directory = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(recording("incident.jsonl")).unwrap();
    let mut header: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    header["clock"] = serde_json::json!({ "boot_ns": 0, "unix_ns": 20_000 * DAY });
    let mut lines = vec![header.to_string()];
    let mut seq = 0;
    let mut event = |change: &str, id: u64, at: u64| {
        seq += 1;
        let cgroup = serde_json::json!({ "hierarchy": 0, "id": id, "path": format!("/{id}"), "level": 1 });
        let event = serde_json::json!({ "type": "event", "seq": seq, "at": at, "change": change, "cgroup": cgroup });
        lines.push(event.to_string());
    };
    // Six cgroups of six days, whose ends come in turns: more days than are kept open.
    let made = |id: u64| (id % 6 + 1) * DAY - 1_000_000;
    for day in 0..6 {
        (0..3).for_each(|round| event("created", 6 * round + day, made(day)));
    }
    for id in 0..18 {
        event("removed", id, 6 * DAY + id);
        event("released", id, 6 * DAY + id);
    }
    lines.push(serde_json::json!({ "type": "end", "at": 7 * DAY }).to_string());
    let (trace, out) = (directory.path().join("t.jsonl"), directory.path().join("tables"));
    fs::write(&trace, lines.join("\n") + "\n").unwrap();
    let done = export(&trace, "parquet", out.to_str().unwrap());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let read: Value = serde_json::from_slice(&python(DAYS, &[&out])).unwrap();
    let days = read[1].as_array().unwrap();
    assert_eq!(days.len(), 6);
    for table in read.as_array().unwrap() {
        let rows = table.as_array().unwrap();
        assert!(rows.iter().all(|row| row[0] == row[1]), "{rows:?}");
    }
    assert!(days.iter().all(|row| row[2] == 3), "{days:?}");
    let inputs = read[0].as_array().unwrap().iter().filter_map(|row| row[2].as_u64()).sum::<u64>();
    assert_eq!(inputs, seq);
}

/// Reads names back as they were written.
const NAMES: &str = r#"
import duckdb, json, sys
root = sys.argv[1]
inputs = f"read_parquet('{root}/inputs/**/*.parquet', hive_partitioning=true)"
made = "type = 'attempt' and operation = 'mkdir'"
rows = duckdb.sql(f"select distinct comm, path from {inputs} where {made}").fetchall()
hosts = duckdb.sql(f"select distinct host from {inputs}").fetchall()
print(json.dumps([rows, hosts]))
"#;

#[test]
fn names_that_attack_are_only_names_in_every_form() {
    let directory = tempfile::tempdir().unwrap();
    let evil = "a'; drop table inputs;--\u{1b}[2J\n\"\\\u{0}</script>\u{202e}\u{efff}";
    let lines: String = fs::read_to_string(recording("incident.jsonl"))
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with("{\"type\":\"finding\""))
        .map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            if line["type"] == "header" {
                line["host"] = "../../../etc".into();
            }
            if line["type"] == "attempt" {
                line["actor"]["comm"] = evil.into();
            }
            format!("{line}\n")
        })
        .collect();
    let trace = directory.path().join("evil.jsonl");
    fs::write(&trace, lines).unwrap();
    let tables = directory.path().join("tables");
    let done = export(&trace, "parquet", tables.to_str().unwrap());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let read: Value = serde_json::from_slice(&python(NAMES, &[&tables])).unwrap();
    assert_eq!(read[0][0][0], evil, "kept to the letter");
    assert_eq!(read[1], serde_json::json!([[".._.._.._etc"]]), "a partition's name leads nowhere");
    for to in ["jsonl", "otlp-json", "sarif"] {
        let done = export(&trace, to, "-");
        for line in done.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            serde_json::from_slice::<Value>(line).unwrap();
        }
        assert!(!done.stdout.iter().any(|byte| byte.is_ascii_control() && *byte != b'\n'), "{to}");
    }
    let packed = directory.path().join("evil.perfetto-trace");
    assert!(export(&trace, "perfetto", packed.to_str().unwrap()).status.success());
    let read: Value = serde_json::from_slice(&python(READER, &[&packed])).unwrap();
    assert_eq!(read["unknown"], 0);
}

/// What is really written on this host, now: a life of the real runc, a fault, and what live tells of them.
fn fresh_lines(directory: &Path) -> Vec<PathBuf> {
    let program = env!("CARGO_BIN_EXE_cgtrace");
    let traced = |arguments: &[&str], path: &Path, scenario: &str| {
        let scratch = format!("cgtrace-fresh-{}", std::process::id());
        let done = Command::new(program)
            .args(arguments)
            .arg("-o")
            .arg(path)
            .args(["--", program, "demo", scenario, "--play", &scratch])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let (packed, recorded, live) =
        (directory.join("t.jsonl.zst"), directory.join("recorded.jsonl"), directory.join("live.jsonl"));
    traced(&["record"], &packed, "runc");
    traced(&["live", "--json", "--benign"], &live, "missing-path");
    let unpacked = Command::new("zstd").args(["-q", "-d", "-o"]).arg(&recorded).arg(&packed).status().unwrap();
    assert!(unpacked.success());
    vec![recorded, live]
}

#[test]
fn every_line_is_as_the_published_schema_says() {
    let directory = tempfile::tempdir().unwrap();
    let mut files: Vec<PathBuf> = recordings().collect();
    files.extend(fresh_lines(directory.path()));
    let lost = json!({ "type": "lost", "seq": 1, "at": 1, "ring": "x" });
    let wrong = json!([{ "type": "event", "seq": 1 }, { "type": "tick", "at": 1 }, lost, {}]);
    let count = schema::check("trace.schema.json", "export", &cgtrace::recording::schema(), &files, &wrong);
    assert!(count > 100, "{count}");
}
