//! The bill of materials (CycloneDX): every crate that the program has in it, and that its build runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::Age;
use crate::kernels::Architecture;
use crate::{cargo, root, run, setup, step};

/// Writes one list for the program and its kernel programs, on these architectures.
pub fn write(architectures: &[Architecture], to: &Path, age: &Age) -> anyhow::Result<()> {
    step("listing what it is made of");
    let mut programs = architectures.iter().map(|architecture| ("tracer", super::target(*architecture)));
    let (package, target) = programs.next().context("there is an architecture")?;
    let mut all = of_package(package, target, age)?;
    for (package, target) in programs.chain([("tracer-ebpf", super::KERNEL)]) {
        let more = of_package(package, target, age)?;
        // What a list is about is no component of it, but of the other one it is.
        let subject = more["metadata"]["component"].clone();
        let added = more["components"].as_array().into_iter().flatten().cloned().chain([subject]);
        let is_new = |component: &Value| component["bom-ref"] != all["metadata"]["component"]["bom-ref"];
        let added: Vec<Value> = added.filter(is_new).collect();
        unite(&mut all["components"], "bom-ref", added)?;
        unite(&mut all["dependencies"], "ref", more["dependencies"].as_array().cloned().unwrap_or_default())?;
    }
    let text = serde_json::to_string_pretty(&all).context("failed to write the list")?;
    // Paths of this machine are in the names of our own packages.
    let text = text.replace(&format!("file://{}", root().display()), "file:///cgtrace");
    fs::write(to, text + "\n").with_context(|| format!("failed to write {}", to.display()))
}

/// The list of a package of the workspace, for one target.
fn of_package(package: &str, target: &str, age: &Age) -> anyhow::Result<Value> {
    let manifest = root().join(package).join("Cargo.toml");
    let mut list = cargo();
    list.args(["cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5", "--override-filename", "bom"]);
    list.args(["--target", target, "--manifest-path"]).arg(&manifest);
    run(age.tell(list.env("PATH", setup::with_tools()?)))?;
    let written = root().join(package).join("bom.json");
    let text = fs::read(&written).with_context(|| format!("there is no {}", written.display()))?;
    // It writes one for each package of the workspace.
    for package in ["tracer", "tracer-ebpf", "xtask"] {
        let _ = fs::remove_file(root().join(package).join("bom.json"));
    }
    serde_json::from_slice(&text).context("cargo-cyclonedx writes no JSON")
}

/// Adds what is not there yet to a list whose members are told apart by `key`, and puts it in order. A member that is
/// there depends on what either one says, and is in the program if either one says so.
fn unite(list: &mut Value, key: &str, added: Vec<Value>) -> anyhow::Result<()> {
    let list = list.as_array_mut().context("a bill of materials has lists")?;
    let mut known: BTreeMap<String, Value> = BTreeMap::new();
    for value in list.drain(..).chain(added) {
        let name = value[key].as_str().with_context(|| format!("a part has no {key}"))?.to_owned();
        let more = value["dependsOn"].as_array().cloned().unwrap_or_default();
        let is_required = value["scope"] == "required";
        let there = known.entry(name).or_insert(value);
        if is_required {
            there["scope"] = "required".into();
        }
        if !more.is_empty() {
            let mut on = there["dependsOn"].as_array().cloned().unwrap_or_default();
            on.extend(more);
            on.sort_by_key(ToString::to_string);
            on.dedup();
            there["dependsOn"] = on.into();
        }
    }
    list.extend(known.into_values());
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_one_list_in_order_that_says_all_of_both() {
        let mut parts = json!([
            { "bom-ref": "log", "scope": "excluded" },
            { "bom-ref": "aya", "scope": "required" },
        ]);
        let added = vec![
            json!({ "bom-ref": "log", "scope": "required" }),
            json!({ "bom-ref": "core", "scope": "required" }),
            json!({ "bom-ref": "aya", "scope": "excluded" }),
        ];
        unite(&mut parts, "bom-ref", added).expect("lists");
        let required = |name| json!({ "bom-ref": name, "scope": "required" });
        assert_eq!(parts, json!([required("aya"), required("core"), required("log")]));

        let mut edges = json!([{ "ref": "aya", "dependsOn": ["log"] }, { "ref": "log" }]);
        let added =
            vec![json!({ "ref": "aya", "dependsOn": ["core", "log"] }), json!({ "ref": "log", "dependsOn": ["std"] })];
        unite(&mut edges, "ref", added).expect("lists");
        let wanted = json!([{ "ref": "aya", "dependsOn": ["core", "log"] }, { "ref": "log", "dependsOn": ["std"] }]);
        assert_eq!(edges, wanted);
        assert!(unite(&mut json!({}), "ref", Vec::new()).is_err());
    }
}
