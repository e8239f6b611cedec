//! The licences of everything that is in the program: crates, and what the compiler adds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::kernels::Architecture;
use crate::{cargo, output, root, step};

/// What the compiler puts into a static program, its licence, and the compiler's own files that have the words.
const RUNTIME: [(&str, &str, &[&str]); 3] = [
    ("Rust's standard library", "MIT OR Apache-2.0", &["MIT", "Apache-2.0"]),
    ("LLVM's libunwind", "Apache-2.0 WITH LLVM-exception", &["Apache-2.0", "LLVM-exception"]),
    ("musl, © 2005-2020 Rich Felker, et al.", "MIT", &["MIT"]),
];

/// Writes one file: which part is under which licence, and each licence's words once, with the parts that bring them.
pub fn write(architectures: &[Architecture], to: &Path) -> anyhow::Result<()> {
    step("collecting licences");
    let mut parts = BTreeMap::new();
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let targets = architectures.iter().map(|architecture| ("tracer/Cargo.toml", super::target(*architecture)));
    for (manifest, target) in targets.chain([("tracer-ebpf/Cargo.toml", super::KERNEL)]) {
        for package in packages(manifest, target)? {
            let name = format!("{} {}", member(&package, "name")?, member(&package, "version")?);
            let directory = Path::new(member(&package, "manifest_path")?);
            let directory = directory.parent().context("a manifest is in a directory")?;
            // Ours are in the workspace's directory.
            let is_own = package["source"].is_null();
            let own = texts_in(if is_own { root() } else { directory.to_owned() }, is_own)?;
            if own.is_empty() && package["license"].is_null() {
                bail!("{name} has no licence");
            }
            for text in own {
                texts.entry(text).or_default().insert(name.clone());
            }
            parts.insert(name, package["license"].as_str().unwrap_or("see below").to_owned());
        }
    }
    let words = super::sysroot()?.join("share/doc/rust/licenses");
    for (name, licence, files) in RUNTIME {
        parts.insert(name.to_owned(), licence.to_owned());
        for file in files {
            texts.entry(read(&words.join(file).with_added_extension("txt"))?).or_default().insert(name.to_owned());
        }
    }
    let mut all = String::from("What cgtrace is made of, and the licences of it.\n\n");
    for (name, licence) in &parts {
        all.push_str(&format!("{name}: {licence}\n"));
    }
    for (text, of) in &texts {
        let of: Vec<&str> = of.iter().map(String::as_str).collect();
        all.push_str(&format!("\n{}\n{}\n\n{}\n", "-".repeat(80), of.join(", "), text.trim_end()));
    }
    fs::write(to, all).with_context(|| format!("failed to write {}", to.display()))
}

/// The packages that are in what is built of that manifest for that target, as cargo's metadata has them: not those
/// that only builds and tests need.
fn packages(manifest: &str, target: &str) -> anyhow::Result<Vec<Value>> {
    let mut tree = cargo();
    tree.args(["tree", "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    let tree = output(tree.args(["--target", target, "--manifest-path", manifest])).context("cargo tree fails")?;
    // `name v1.2.3`, and what else there is to say of it.
    let version_of = |line: &str| {
        let mut words = line.split(' ');
        Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
    };
    let wanted: BTreeSet<(String, String)> = tree.lines().filter_map(version_of).collect();
    let metadata = output(cargo().args(["metadata", "--format-version", "1", "--manifest-path", manifest]));
    let metadata: Value = serde_json::from_str(&metadata.context("cargo metadata fails")?)?;
    let all = metadata["packages"].as_array().context("cargo metadata has packages")?;
    let is_wanted = |package: &&Value| {
        let text = |member: &str| package[member].as_str().unwrap_or_default().to_owned();
        wanted.contains(&(text("name"), text("version")))
    };
    let found: Vec<Value> = all.iter().filter(is_wanted).cloned().collect();
    if found.len() < wanted.len() || found.is_empty() {
        bail!("cargo metadata has {} of the {} packages of {manifest}", found.len(), wanted.len());
    }
    Ok(found)
}

fn member<'a>(package: &'a Value, name: &str) -> anyhow::Result<&'a str> {
    package[name].as_str().with_context(|| format!("a package has no {name}"))
}

/// The texts of licences in a directory, and below it unless `is_flat`: a crate may bring a library in another
/// language.
fn texts_in(directory: PathBuf, is_flat: bool) -> anyhow::Result<BTreeSet<String>> {
    let (mut texts, mut open) = (BTreeSet::new(), vec![directory]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).with_context(|| format!("failed to read {}", directory.display()))? {
            let entry = entry.with_context(|| format!("failed to read {}", directory.display()))?;
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().to_uppercase();
            let is_source = [".RS", ".C", ".H", ".PY", ".TOML"].iter().any(|ending| name.ends_with(ending));
            let beginnings = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "UNLICENSE", "NOTICE"];
            if path.is_dir() && !is_flat {
                open.push(path);
            } else if path.is_file() && !is_source && beginnings.iter().any(|beginning| name.starts_with(beginning)) {
                texts.insert(read(&path)?);
            }
        }
    }
    Ok(texts)
}

/// Bytes that are no text are shown as such. Lines end alike, so that the same words are there once.
fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"))
}
