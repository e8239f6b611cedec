//! The rows as `docs/findings.md` has them: which programs findings are tried on, and what is told of each life.

use std::path::Path;

use super::{Life, Told, lives};

/// Where the part of the page begins that is written here.
const HEADING: &str = "\n## Tried on real programs\n";

const INTRODUCTION: &str = "
<!-- Written by `CGTRACE_BLESS=1 cargo test -p cgtrace --test runtimes page`; a test keeps the two alike. -->

A test lives the rows of this table with the real programs, one agent watching all of them, and fails when anything else
is told than what stands here. It prints the programs' versions, and for each kind the precision (how much of what was
told was right) and the recall (how much of what was to be told was told). `host` is the host's own layout, with
hierarchies of v1 where it has those; `v1` the same without the mount of cgroup2, `v2` cgroup2 alone.

| program | layout | what happens | what is told |
|---|---|---|---|
";

fn told(told: &Told) -> String {
    let finding = format!("`{}` {} ({})", told.severity, told.kind, told.cause);
    if told.is_chance { format!("{finding}, or not: who is faster decides") } else { finding }
}

fn row(life: &Life) -> String {
    let all: Vec<String> = life.told.iter().map(told).collect();
    let mut outcome = if all.is_empty() { "nothing".to_owned() } else { all.join("; ") };
    if let Some(why) = life.untold {
        outcome = format!("{outcome}, though a cgroup is left: {why}");
    }
    format!("| {} | {} | {} | {outcome} |\n", life.who, life.layout.as_str(), life.what)
}

#[test]
fn the_page_has_every_row() {
    let rows: String = lives().iter().map(row).collect();
    let part = format!("{HEADING}{INTRODUCTION}{rows}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/findings.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let before = page.split(HEADING).next().unwrap();
    if std::env::var_os("CGTRACE_BLESS").is_some() {
        std::fs::write(&path, format!("{before}{part}")).unwrap();
    } else {
        assert!(
            page[before.len()..] == part,
            "docs/findings.md is stale: CGTRACE_BLESS=1 cargo test -p cgtrace --test runtimes page"
        );
    }
}
