//! A fleet: recordings of real runs as those of many hosts, in one directory of tables, and the ready-made queries over
//! them, which DuckDB and Spark answer alike.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use cgtrace::export::Format;
use cgtrace::input::{About, Facts, Input, LossReason, Lost, Ring};
use serde_json::Value;

use super::rotated::Recorded;

/// What a host has recorded, and which version of runc it has, by its number: a quarter of them has the incident.
const HOSTS: [(&str, &str); 4] = [
    ("incident.jsonl", "1.2.1"),
    ("runc-new-life.jsonl", "1.2.2"),
    ("leaked.jsonl", "1.2.2"),
    ("race.jsonl", "1.1.15"),
];
/// The images of their containers.
const IMAGES: [&str; 3] = ["shop/web:1", "shop/db:7", "shop/queue:2"];
const QUERIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/queries");

/// The tables of so many hosts below a directory, and the list of what each has. The hosts are called `node0000` and so
/// on, and each of them has been recorded a minute after the one before.
fn fleet(directory: &Path, hosts: usize) -> [PathBuf; 2] {
    let (tables, inventory) = (directory.join("tables"), directory.join("inventory.csv"));
    let recorded: BTreeMap<&str, Recorded> =
        HOSTS.iter().map(|(recording, _)| (*recording, Recorded::read(recording))).collect();
    let mut versions = "host,runtime,version\n".to_owned();
    for number in 0..hosts {
        let (recording, version) = HOSTS[number % HOSTS.len()];
        let mut host = recorded[recording].clone();
        let name = format!("node{number:04}");
        versions += &format!("{name},runc,{version}\n");
        host.header.host = name.as_str().into();
        host.header.boot_id = format!("00000000-0000-4000-8000-{number:012}");
        host.header.clock.unix_ns += number as i64 * 60_000_000_000;
        for input in &mut host.inputs {
            if let Input::Facts(Facts { about: About::Container(container), .. }) = input {
                container.image = Some(IMAGES[number % IMAGES.len()].into());
            }
        }
        // One host in twelve has lost something at the end.
        if number % 12 == 3 {
            let at = host.inputs.last().unwrap().at();
            host.inputs.push(Input::Lost(Lost::some(at, Ring::Lifecycle, LossReason::RingFull, 5)));
        }
        host.in_one(&mut *Format::Parquet.output(&tables, io::sink()));
    }
    fs::write(&inventory, versions).unwrap();
    [tables, inventory]
}

/// What an engine answers, by the names of the queries.
fn ask(python: &Path, engine: &str, [tables, inventory]: &[PathBuf; 2]) -> Value {
    let mut command = Command::new(python);
    command.args(["-c", include_str!("fleet.py"), engine]).args([tables, inventory]).arg(QUERIES);
    let done = command.output().expect("cargo xtask setup installs it");
    eprint!("{}", String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{engine}");
    serde_json::from_slice(&done.stdout).unwrap()
}

/// Python, with what `cargo xtask setup` has installed there.
fn installed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("..").join(name).join("bin/python3")
}

/// The rows of an answer, by the names of their columns.
fn rows(answers: &Value, query: &str) -> Vec<BTreeMap<String, Value>> {
    let answer = &answers[query];
    let columns: Vec<String> = serde_json::from_value(answer["columns"].clone()).unwrap();
    let rows: Vec<Vec<Value>> = serde_json::from_value(answer["rows"].clone()).unwrap();
    rows.into_iter().map(|row| columns.iter().cloned().zip(row).collect()).collect()
}

/// What is known of a fleet of so many hosts, a multiple of twelve, without any query.
fn is_right(answers: &Value, hosts: usize) {
    let quarter = hosts / HOSTS.len();
    let count = |value: &Value| value.as_f64().unwrap() as usize;
    let versions = rows(answers, "faults-by-runtime-version");
    let of = |version: &str, kind: &str| {
        let is = |row: &&BTreeMap<String, Value>| row["version"] == version && row["kind"] == kind;
        versions.iter().find(is).unwrap_or_else(|| panic!("{version} {kind}: {versions:#?}"))
    };
    let incident = of("1.2.1", "missing-path-teardown");
    assert_eq!(incident["cause"], "read-only-mount");
    for (column, expected) in [("nodes_with_it", quarter), ("nodes_with_the_version", quarter), ("faults", quarter)] {
        assert_eq!(count(&incident[column]), expected, "{column}");
    }
    // That recording has a leak, too, which was cleared away: it is no fault by its last word.
    let busy = of("1.2.2", "busy-teardown");
    assert_eq!((count(&busy["nodes_with_it"]), count(&busy["nodes_with_the_version"])), (quarter, 2 * quarter));
    assert!(versions.iter().all(|row| row["kind"] != "leaked-cgroup"), "{versions:#?}");

    let leaks = rows(answers, "nodes-that-leak");
    assert_eq!(leaks.len(), quarter);
    assert!(leaks.iter().all(|row| row["host"].as_str().unwrap()[4..].parse::<usize>().unwrap() % 4 == 2));

    let issues = rows(answers, "known-issues");
    let issue = issues.iter().find(|row| row["known_issues"] == "runc#4518").unwrap();
    assert_eq!((count(&issue["nodes"]), count(&issue["findings"])), (quarter, quarter));

    let images = rows(answers, "teardown-by-image");
    let of_runc: Vec<&str> = images.iter().filter_map(|row| row["image"].as_str()).collect();
    assert!(IMAGES.iter().all(|image| of_runc.contains(image)), "{images:#?}");
    for row in &images {
        let [p50, p99, longest] = ["p50", "p99", "longest"].map(|column| row[column].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p99 && p99 <= longest && longest < 600.0, "{row:?}");
    }
    // The host that the query has in it as an example: it is the one of the incident.
    let around = rows(answers, "node-around");
    assert!(around.iter().any(|row| row["what"] == "mkdir" && row["errno"] == "EROFS"), "{around:#?}");
    assert!(around.windows(2).all(|pair| pair[0]["time"].as_str() <= pair[1]["time"].as_str()));
    let days = rows(answers, "faults-by-day");
    let faults: usize = days.iter().map(|row| count(&row["faults"])).sum();
    assert_eq!(faults, versions.iter().map(|row| count(&row["faults"])).sum::<usize>(), "{days:#?}");
    let gaps = rows(answers, "nodes-with-gaps");
    assert_eq!((gaps.len(), count(&gaps[0]["lost"]), &gaps[0]["host"]), (hosts / 12, 5, &"node0003".into()));
    let queries = fs::read_dir(QUERIES)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "sql"));
    assert_eq!(answers.as_object().unwrap().len(), queries.count());
    let page = fs::read_to_string(Path::new(QUERIES).join("../../docs/fleet.md")).unwrap();
    for query in answers.as_object().unwrap().keys() {
        assert!(page.contains(&format!("`{query}`")), "{query} is not in docs/fleet.md");
    }
}

#[test]
fn the_ready_made_queries_tell_what_a_fleet_has_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let fleet = fleet(directory.path(), 36);
    is_right(&ask(&installed("python"), "duckdb", &fleet), 36);
}

#[test]
#[ignore = "takes minutes: cargo xtask test --all"]
fn duckdb_and_spark_answer_alike_for_a_thousand_hosts() {
    let directory = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let fleet = fleet(directory.path(), 1_008);
    eprintln!("exported in {:?}", begun.elapsed());
    let duckdb = ask(&installed("python"), "duckdb", &fleet);
    is_right(&duckdb, 1_008);
    let spark = ask(&installed("spark"), "spark", &fleet);
    for (query, answer) in duckdb.as_object().unwrap() {
        assert_eq!(&spark[query], answer, "{query}");
    }
}
