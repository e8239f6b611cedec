//! `docs/refusals.md`: which refusals are told of, each with the recording that it was made in, and which are not made.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::recordings_in;

const INTRODUCTION: &str = "# Refused calls that are tried

<!-- Written by `CGTRACE_BLESS=1 cargo test -p cgtrace --test replay`; a test keeps the two alike. -->

Each row is a call on a control file that a real kernel refused, and what cgtrace told of it. The kind and its cause are
explained in [findings.md](findings.md). A test makes each call again, on a real kernel, and holds what is told to what
stands here. The recording of it is in `tracer/tests/refusals`; `cgtrace report FILE` shows the sentences.

| call | file | error | what is told | cgroup | recording |
|---|---|---|---|---|---|
";

const NOT_MADE: &str = "
## Not made

| call | file | error | why |
|---|---|---|---|
";

/// What no kernel here could be made to refuse: call, file, error, and why.
const ABSENT: &[[&str; 4]] = &[
    [
        "write",
        "`cgroup.subtree_control`",
        "EINVAL",
        "a real-time process in it (v2): takes a kernel with RT_GROUP_SCHED whose cpu controller is in cgroup2",
    ],
    [
        "write",
        "`cpuset.cpu_exclusive`, `cpuset.cpus`",
        "EINVAL",
        "a cgroup beside it is exclusive (v1): no cgroup can be made so while others beside it have the \
         same processors",
    ],
    ["write", "`cgroup.procs`", "EINVAL", "the process is ending: it does so for too short a time to be met"],
    ["write", "`io.max`, `io.weight`, `io.bfq.weight`", "EOPNOTSUPP", "guests with all controllers in v2 have no disk"],
    ["write", "`rdma.max`, `misc.max`, `dmem.max`", "any", "no host or guest here has such a device"],
    ["write", "`memory.max`, `memory.high`", "EBUSY", "the kernel never answers so on v2: it takes long instead"],
];

fn row(finding: &Value, lines: &[Value], name: &str) -> String {
    let seq = &finding["attempts"][0]["seq"];
    let first = lines.iter().find(|line| line["type"] == "attempt" && line["seq"] == *seq).unwrap();
    let [operation, errno] = ["operation", "errno"].map(|field| first[field].as_str().unwrap());
    // A process begins in a cgroup, and not by a file of it.
    let file = first["file"].as_str().map_or_else(|| "–".to_owned(), |file| format!("`{file}`"));
    let version = if finding["cgroup"]["hierarchy"] == 0 { "v2" } else { "v1" };
    let [kind, cause] = ["kind", "cause"].map(|field| finding[field].as_str().unwrap());
    format!("| {operation} | {file} | {errno} | {kind} ({cause}) | {version} | {name} |\n")
}

/// The page has every recorded refusal, as the recordings tell it now.
pub fn check_page() {
    let mut rows = BTreeSet::new();
    for path in recordings_in("refusals") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let lines = fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        rows.extend(lines.iter().filter(|line| line["type"] == "finding").map(|finding| row(finding, &lines, name)));
    }
    let rows: String = rows.into_iter().collect();
    let absent: String = ABSENT.iter().map(|row| format!("| {} |\n", row.join(" | "))).collect();
    let page = format!("{INTRODUCTION}{rows}{NOT_MADE}{absent}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/refusals.md");
    if std::env::var_os("CGTRACE_BLESS").is_some() {
        fs::write(&path, page).unwrap();
    } else {
        assert!(
            fs::read_to_string(&path).unwrap() == page,
            "docs/refusals.md is stale: CGTRACE_BLESS=1 cargo test -p cgtrace --test replay"
        );
    }
}
