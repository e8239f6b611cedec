//! What users install: a static program for each architecture, packages of it, an image, and what all of it is made of.
//!
//! The same sources give the same bytes, in any directory and at any time: times are those of the commit, and the
//! directories of this machine have other names.

mod image;
mod licences;
mod materials;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::kernels::Architecture;
use crate::{bare_cargo, cargo, host, output, root, run, setup, split_debug, step};

/// A stripped program is no larger than this.
const LARGEST: u64 = 10 << 20;
/// What keeps it small: code that is not inlined everywhere, but for what traces are packed with.
const SMALL: [&str; 5] = [
    "profile.release.opt-level=\"s\"",
    "profile.release.lto=\"fat\"",
    "profile.release.codegen-units=1",
    "profile.release.package.zstd-sys.opt-level=3",
    "profile.release.package.libmimalloc-sys.opt-level=3",
];
/// Where everything is put.
const PLACE: &str = "target/dist";
/// What is generated for packages: their metadata in `tracer/Cargo.toml` names these files.
const ASSETS: &str = "target/assets";
/// The sources that are packed as they are: `tracer/Cargo.toml` names them.
const PACKED: [&str; 11] = [
    "CHANGELOG.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "deploy/grafana/cgtrace.json",
    "deploy/node-problem-detector/cgtrace.json",
    "deploy/prometheus/cgtrace.rules.yml",
    "deploy/systemd/cgtrace.catalog",
    "deploy/systemd/cgtrace.service",
    "deploy/systemd/cgtrace.socket",
    "deploy/systemd/cgtrace.toml",
];
/// The licences of what the program is made of, there.
const LICENCES: &str = "THIRD-PARTY-LICENCES.txt";
/// Completions: which shell's, and the name that it looks for.
const SHELLS: [(&str, &str); 3] = [("bash", "cgtrace"), ("zsh", "_cgtrace"), ("fish", "cgtrace.fish")];
/// The target that the kernel programs are built for.
const KERNEL: &str = "bpfel-unknown-none";

/// Makes everything for these architectures, or for all.
pub fn make(architectures: &[Architecture]) -> anyhow::Result<()> {
    let architectures = if architectures.is_empty() { &Architecture::ALL } else { architectures };
    setup::toolchain()?;
    setup::dist(architectures)?;
    let place = root().join(PLACE);
    empty(&place)?;
    let assets = root().join(ASSETS);
    empty(&assets)?;
    let age = Age::of_sources()?;
    // rpm keeps when a file of the sources came here, if that is before the commit.
    run(Command::new("touch")
        .args(["--no-create", &format!("--date=@{}", age.seconds)])
        .args(PACKED)
        .current_dir(root()))?;
    licences::write(architectures, &assets.join(LICENCES))?;
    // The pages are written by a program that runs here.
    let own = Architecture::own()?;
    let here = program(own)?;
    documents(&here, &assets)?;
    for architecture in architectures {
        let program = if *architecture == own { here.clone() } else { program(*architecture)? };
        packages(*architecture, &program, &place, &age)?;
    }
    materials::write(architectures, &place.join(named("cdx.json")), &age)?;
    fs::copy(assets.join(LICENCES), place.join(LICENCES)).context("failed to copy the licences")?;
    fs::write(place.join(SUMS), sums(&place)?).with_context(|| format!("failed to write {SUMS}"))?;
    println!("{}", place.display());
    Ok(())
}

/// Makes everything twice, in two directories, and compares each byte.
pub fn check(architectures: &[Architecture]) -> anyhow::Result<()> {
    make(architectures)?;
    let age = Age::of_sources()?;
    let other = other_sources()?;
    step(&format!("making it again in {}", other.display()));
    let mut again = bare_cargo();
    again.args(["xtask", "dist"]).args(architectures.iter().map(ToString::to_string)).current_dir(&other);
    // The copy has no history, and needs the tools that are here.
    run(age.tell(&mut again).env_remove("CARGO_TARGET_DIR").env("PATH", setup::with_tools()?))?;
    let (first, second) = (sums(&root().join(PLACE))?, sums(&other.join(PLACE))?);
    let differs: Vec<&str> = first.lines().filter(|line| !second.lines().any(|other| other == *line)).collect();
    if !differs.is_empty() || first.lines().count() != second.lines().count() {
        bail!("not the same in {} and in {}:\n{}", root().display(), other.display(), differs.join("\n"));
    }
    fs::remove_dir_all(&other).with_context(|| format!("failed to remove {}", other.display()))?;
    println!("{} files, the same in both directories", first.lines().count());
    Ok(())
}

/// A copy of the sources as they are now, in a directory with another name of another length.
fn other_sources() -> anyhow::Result<PathBuf> {
    let other = root().join("target/dist-check/in-a-directory-of-another-name");
    empty(&other)?;
    let names = output(Command::new("git").args(["ls-files"]).current_dir(root())).context("git ls-files fails")?;
    let names: Vec<&str> = names.lines().filter(|name| root().join(name).is_file()).collect();
    run(Command::new("cp").args(["--parents", "--no-dereference", "-t"]).arg(&other).args(names).current_dir(root()))?;
    Ok(other)
}

fn empty(directory: &Path) -> anyhow::Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("failed to remove {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("failed to make {}", directory.display()))
}

/// `cgtrace-0.2.0-` and this.
fn named(rest: &str) -> String {
    format!("cgtrace-{}-{rest}", env!("CARGO_PKG_VERSION"))
}

/// When the sources were committed: what is made of them is as old.
struct Age {
    /// Since 1970.
    seconds: String,
}

impl Age {
    fn of_sources() -> anyhow::Result<Self> {
        if let Ok(seconds) = std::env::var("SOURCE_DATE_EPOCH") {
            return Ok(Self { seconds });
        }
        let seconds = output(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()));
        let seconds =
            seconds.context("git does not say when the sources were committed\nhint: set SOURCE_DATE_EPOCH")?;
        Ok(Self { seconds })
    }

    /// Has a program use it instead of the clock.
    fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("SOURCE_DATE_EPOCH", &self.seconds)
    }
}

/// Rust's target for a program that needs no library of its host.
fn target(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "x86_64-unknown-linux-musl",
        Architecture::Arm64 => "aarch64-unknown-linux-musl",
    }
}

/// Builds the static program, and leaves its debug information beside it.
pub fn program(architecture: Architecture) -> anyhow::Result<PathBuf> {
    let (target, tools) = (target(architecture), architecture.tools());
    step(&format!("building cgtrace for {target}"));
    setup::library(target)?;
    let mut cargo = cargo();
    cargo.args(["build", "--release", "--package", "cgtrace", "--target", target]);
    let variable = target.replace('-', "_");
    cargo.args(SMALL.iter().flat_map(|setting| ["--config", setting]));
    // A compiler for glibc builds what is in C (zstd, ring, mimalloc), which asks little of a C library. It must not
    // ask for what only glibc has: checked variants of functions, and a guard for the stack.
    cargo.env(format!("CC_{variable}"), format!("{tools}gcc"));
    cargo.env(format!("CFLAGS_{variable}"), "-U_FORTIFY_SOURCE -fno-stack-protector -DMI_LIBC_MUSL=1");
    cargo.env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), format!("{tools}gcc"));
    let flags: Vec<String> = neutral_paths()?.into_iter().chain(linker()?).collect();
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    run(&mut cargo)?;
    let program = root().join("target").join(target).join("release/cgtrace");
    split_debug(&program, tools)?;
    let size = fs::metadata(&program).with_context(|| format!("failed to look at {}", program.display()))?.len();
    if size > LARGEST {
        bail!("{} has {size} bytes, more than {LARGEST}", program.display());
    }
    Ok(program)
}

/// Has the compiler call this machine's directories by names that are the same on all machines.
fn neutral_paths() -> anyhow::Result<[String; 3]> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let home = home.context("CARGO_HOME and HOME are not set")?;
    let renamed = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    Ok([renamed(&root(), "/cgtrace"), renamed(&home.join("registry/src"), "/crates"), renamed(&sysroot()?, "/rust")])
}

/// The linker that comes with the compiler. It keeps one of equal functions, and packs what is to be relocated at the
/// start of the program: without both, the program has 370 KB more.
fn linker() -> anyhow::Result<[String; 3]> {
    let place = sysroot()?.join("lib/rustlib").join(host()?).join("bin/gcc-ld");
    Ok([
        "-Clink-arg=-fuse-ld=lld".to_owned(),
        format!("-Clink-arg=-B{}", place.display()),
        "-Clink-arg=-Wl,--icf=all,--pack-dyn-relocs=relr".to_owned(),
    ])
}

/// Where the compiler has its library.
fn sysroot() -> anyhow::Result<PathBuf> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(root()));
    Ok(sysroot.context("rustc does not say where its library is")?.into())
}

/// Manual pages, and completions for three shells.
fn documents(program: &Path, assets: &Path) -> anyhow::Result<()> {
    step("writing manual pages and completions");
    let (man, completions) = (assets.join("man"), assets.join("completions"));
    empty(&man)?;
    empty(&completions)?;
    run(Command::new(program).arg("man").arg(&man))?;
    for (shell, name) in SHELLS {
        let script = output(Command::new(program).args(["completions", shell]));
        let script = script.with_context(|| format!("cgtrace prints no completions for {shell}"))?;
        fs::write(completions.join(name), script + "\n").context("failed to write completions")?;
    }
    Ok(())
}

/// The program itself, the packages of Debian's and of Red Hat's kind, and the image.
fn packages(architecture: Architecture, program: &Path, place: &Path, age: &Age) -> anyhow::Result<()> {
    let own = place.join(named(&format!("linux-{architecture}")));
    fs::copy(program, &own).with_context(|| format!("failed to copy {}", program.display()))?;
    fs::copy(program.with_added_extension("debug"), own.with_added_extension("debug"))
        .context("failed to copy the debug information")?;
    step(&format!("packing for {architecture}"));
    let mut deb = cargo();
    deb.args(["deb", "--quiet", "--no-build", "--no-strip", "--package", "cgtrace", "--target", target(architecture)]);
    run(age.tell(deb.arg("--output").arg(place).env("PATH", setup::with_tools()?)))?;
    let mut rpm = cargo();
    rpm.args(["generate-rpm", "--package", "tracer", "--target", target(architecture), "--auto-req", "no"]);
    rpm.args(["--source-date", &age.seconds, "--output"]).arg(place);
    run(age.tell(rpm.env("PATH", setup::with_tools()?)))?;
    step(&format!("making the image for {architecture}"));
    let licences = root().join(ASSETS).join(LICENCES);
    image::write(architecture, program, &licences, &own.with_added_extension("oci.tar"), age)
}

/// The checksums of everything else, as sha256sum(1) writes and reads them.
const SUMS: &str = "SHA256SUMS";

fn sums(place: &Path) -> anyhow::Result<String> {
    let names = fs::read_dir(place).with_context(|| format!("failed to read {}", place.display()))?;
    let names = names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<std::io::Result<Vec<String>>>().context("failed to read what was made")?;
    names.retain(|name| name != SUMS);
    names.sort();
    let sums = output(Command::new("sha256sum").arg("--").args(&names).current_dir(place));
    Ok(sums.context("sha256sum fails")? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_that_is_packed_gets_the_age_of_the_commit() {
        let manifest = fs::read_to_string(root().join("tracer/Cargo.toml")).expect("read");
        let sources = manifest.lines().filter_map(|line| line.trim().strip_prefix("{ source = \""));
        let sources = sources.map(|rest| rest.split('"').next().expect("a path"));
        let mut sources: Vec<&str> = sources.filter(|source| !source.starts_with("target/")).collect();
        sources.sort_unstable();
        assert_eq!(sources, PACKED);
    }
}
