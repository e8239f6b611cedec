//! Builds the kernel programs into the binary, if this machine can.
//!
//! It needs `bpf-linker` and the sources of `core` (`cargo xtask setup` installs both). Without them the binary is
//! built all the same, so that checks and host tests need no BPF toolchain, and says so when it is asked to trace.
//! `CGTRACE_REQUIRE_BPF=1` makes their absence an error.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

const REQUIRE: &str = "CGTRACE_REQUIRE_BPF";
const TOOLCHAIN: &str = "CGTRACE_BPF_TOOLCHAIN";
const LOG: &str = "CGTRACE_BPF_LOG";
/// Set for the run of this program whose words are listened to.
const HEARD: &str = "CGTRACE_BPF_BUILD_IS_HEARD";

/// Builds them, or says what is missing.
pub fn build_if_possible() -> anyhow::Result<()> {
    for variable in [REQUIRE, TOOLCHAIN, LOG] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("cargo sets CARGO_MANIFEST_DIR")?);
    let workspace = manifest.parent().context("the package lies in the workspace")?;
    // Cargo looks at these again when they come to be.
    let tools = workspace.join("target/tools/bin");
    println!("cargo:rerun-if-changed={}", tools.join("bpf-linker").display());

    let toolchain = env::var(TOOLCHAIN).ok();
    match missing(&tools, toolchain.as_deref()) {
        Some(missing) if env::var_os(REQUIRE).is_some_and(|value| value == "1") => {
            bail!("cannot build the kernel programs: {missing}\nhint: cargo xtask setup");
        }
        Some(missing) => {
            println!("cargo:warning=built without its kernel programs: {missing}; `cargo xtask setup` installs it");
            Ok(())
        }
        None if env::var_os(HEARD).is_some() => build(workspace, &tools, toolchain.as_deref()),
        None => build_quietly(),
    }
}

/// Builds in another run of this program: aya-build makes a warning of each line that its cargo says. They are shown
/// only if it fails.
fn build_quietly() -> anyhow::Result<()> {
    let own = env::current_exe().context("failed to find the build script")?;
    let done = Command::new(own).env(HEARD, "1").output().context("failed to run the build script again")?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let (warnings, rest): (Vec<&str>, Vec<&str>) = said.lines().partition(|line| line.starts_with("cargo:warning="));
    rest.into_iter().for_each(|line| println!("{line}"));
    if !done.status.success() {
        warnings.into_iter().for_each(|line| println!("{line}"));
        bail!("failed to build the kernel programs:\n{}", String::from_utf8_lossy(&done.stderr));
    }
    Ok(())
}

/// What the build of the kernel programs lacks.
fn missing(tools: &Path, toolchain: Option<&str>) -> Option<String> {
    let on_path =
        || env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|dir| dir.join("bpf-linker").is_file());
    if !tools.join("bpf-linker").is_file() && !on_path() {
        return Some("bpf-linker is not installed".to_owned());
    }
    let mut rustc = match toolchain {
        Some(toolchain) => {
            let mut command = Command::new("rustup");
            command.args(["run", toolchain, "rustc"]);
            command
        }
        None => Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())),
    };
    let sysroot = rustc.args(["--print", "sysroot"]).output().ok().filter(|output| output.status.success());
    let sysroot = sysroot.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let sources = sysroot.map(|sysroot| sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs"));
    if let Some(sources) = &sources {
        println!("cargo:rerun-if-changed={}", sources.display());
    }
    if sources.is_some_and(|sources| sources.is_file()) {
        None
    } else {
        Some("the sources of core (rust-src) are not installed".to_owned())
    }
}

fn build(workspace: &Path, tools: &Path, toolchain: Option<&str>) -> anyhow::Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(std::iter::once(tools.to_path_buf()).chain(env::split_paths(&path)))
        .context("failed to put bpf-linker on PATH")?;
    // rustup names the running toolchain to its children; without rustup, aya-build uses the rustc at hand.
    let active = env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "stable".to_owned());
    let toolchain = toolchain.unwrap_or(&active);
    // SAFETY: a build script's main thread is its only one here.
    unsafe {
        env::set_var("PATH", path);
        // A stable compiler builds core for the BPF target only if it is told that this is meant.
        env::set_var("RUSTC_BOOTSTRAP", "1");
        // BTF names the sources. Without the directories of this machine they are the same wherever they are built.
        env::set_var("CARGO_UNSTABLE_TRIM_PATHS", "true");
        env::set_var("CARGO_PROFILE_RELEASE_TRIM_PATHS", "all");
    }
    let root = workspace.join("tracer-ebpf");
    let features: &[&str] = if env::var_os(LOG).is_some_and(|value| value == "1") { &["log"] } else { &[] };
    aya_build::build_ebpf(
        [aya_build::Package {
            name: "tracer-ebpf",
            root_dir: root.to_str().context("the workspace's path is not UTF-8")?,
            features,
            ..Default::default()
        }],
        aya_build::Toolchain::Custom(toolchain),
    )?;
    let object = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?).join("tracer-ebpf");
    leave_out_debug(&object).with_context(|| format!("failed to strip {}", object.display()))?;
    pack(&object).with_context(|| format!("failed to pack {}", object.display()))?;
    println!("cargo:rustc-cfg=bpf_built");
    Ok(())
}

/// BTF is made of the debug information; once it is, nobody reads that, and it is half of the object.
fn leave_out_debug(path: &Path) -> anyhow::Result<()> {
    let whole = std::fs::read(path)?;
    let mut object = object::build::elf::Builder::read(&*whole)?;
    for section in &mut object.sections {
        let name = &section.name;
        section.delete |= name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    // LLVM keeps all names in one table.
    let names = object.sections.add();
    (names.name, names.sh_type) = (b".shstrtab"[..].into(), object::elf::SHT_STRTAB);
    names.data = object::build::elf::SectionData::SectionString;
    let mut stripped = Vec::new();
    object.write(&mut stripped)?;
    Ok(std::fs::write(path, stripped)?)
}

/// Most of it is names of types and lines of sources, which take a tenth of the room when they are compressed.
fn pack(path: &Path) -> anyhow::Result<()> {
    let packed = zstd::encode_all(&*std::fs::read(path)?, 19)?;
    Ok(std::fs::write(path.with_added_extension("zst"), packed)?)
}
