//! Brings what is missing: the standard library's sources, bpf-linker, and Debian's packages that the tests run.
//!
//! What is there already is left as it is, so that a second run does nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::kernels::Architecture;
use crate::{bare_cargo, is_root, output, root, run, step};

const LINKER: &str = "bpf-linker";
/// Later ones need an LLVM of the system; this one borrows that of the compiler.
const LINKER_VERSION: &str = "0.10.4";
/// A runtime that the tests run, and that Debian has no package of.
const YOUKI: &str = "youki";
const YOUKI_VERSION: &str = "0.7.0";
/// For both versions of cgroups, and without what needs libraries that may not be there.
const YOUKI_FEATURES: [&str; 3] = ["--no-default-features", "--features", "v1,v2"];
/// Debian's compiler with its sources: what there is without rustup.
const DEBIAN_COMPILER: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
const DEBIAN_TOOLCHAIN: &str = "debian";

/// A program and Debian's package that has it.
pub struct Package {
    program: &'static str,
    package: &'static str,
}

const fn package(program: &'static str, package: &'static str) -> Package {
    Package { program, package }
}

/// What the demo plays.
pub const DEMO: [Package; 1] = [package("runc", "runc")];
/// What the tests run.
pub const TESTS: [Package; 23] = [
    package("runc", "runc"),
    package("crun", "crun"),
    package("podman", "podman"),
    package("buildah", "buildah"),
    package("dockerd", "docker.io"),
    package("containerd", "containerd"),
    package("lxc-start", "lxc"),
    package("systemd-nspawn", "systemd-container"),
    package("busybox", "busybox-static"),
    package("python3", "python3-minimal"),
    package("perl", "perl-base"),
    package("zstd", "zstd"),
    package("chromium", "chromium"),
    package("unshare", "util-linux"),
    package("setpriv", "util-linux"),
    package("promtool", "prometheus"),
    package("prometheus", "prometheus"),
    package("systemd-socket-activate", "systemd"),
    package("nsenter", "util-linux"),
    package("findmnt", "util-linux"),
    package("mkfs.ext4", "e2fsprogs"),
    package("systemd-analyze", "systemd"),
    package("openssl", "openssl"),
];
/// What makes the machine that the agent is tested in as a service, and boots it.
pub const MACHINE: [Package; 2] =
    [package("systemd-nspawn", "systemd-container"), package("debootstrap", "debootstrap")];
/// What Spark runs on.
pub const JAVA: [Package; 1] = [package("java", "default-jre-headless")];
/// What boots kernels, and what their guests have on board.
pub const KERNELS: [Package; 8] = [
    package("qemu-system-x86_64", "qemu-system-x86"),
    package("busybox", "busybox-static"),
    package("cpio", "cpio"),
    package("objcopy", "binutils"),
    package("perl", "perl-base"),
    package("python3", "python3-minimal"),
    package("runc", "runc"),
    package("unshare", "util-linux"),
];
/// What builds for arm64, and boots it.
pub const ARM64: [Package; 2] = [ARM64_COMPILER, package("qemu-system-aarch64", "qemu-system-arm")];
const ARM64_COMPILER: Package = package("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu");
/// On a host of that kind it is the compiler itself.
const X86_64_COMPILER: Package =
    package("x86_64-linux-gnu-gcc", if cfg!(target_arch = "x86_64") { "gcc" } else { "gcc-x86-64-linux-gnu" });
/// What makes packages, of crates.io.
const DIST: [(&str, &str); 3] =
    [("cargo-deb", "3.8.0"), ("cargo-generate-rpm", "0.21.1"), ("cargo-cyclonedx", "0.5.9")];
/// What builds the fuzzer.
pub const FUZZ: [Package; 1] = [package("c++", "g++")];
/// What the benchmark compares with.
pub const BENCH: [Package; 6] = [
    package("bpftrace", "bpftrace"),
    package("strace", "strace"),
    package("runc", "runc"),
    package("busybox", "busybox-static"),
    package("jq", "jq"),
    package("zstd", "zstd"),
];

/// Whether its absence is an error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It is.
    Required,
    /// One can do without.
    Optional,
}

/// Python's packages that the tests read exports and pushes with, and what renders and checks what is deployed: Helm's
/// own library, the schemas of Kubernetes and those of Prometheus' operator.
const PYTHON: [&str; 12] = [
    "check-jsonschema==0.39.0",
    "cloudcoil.models.prometheus_operator==0.80.1.0",
    "duckdb==2.0.0",
    "googleapis-common-protos==1.76.0",
    "grpcio==1.85.3",
    "helm-python-sdk==0.2.2",
    "jsonschema==4.26.0",
    "kubernetes-validate==1.37.0",
    "opentelemetry-proto==1.45.2",
    "opentelemetry-semantic-conventions==0.66b2",
    "perfetto==0.59.1",
    "pydantic-sarif==0.1.1",
];

/// The same for Spark, which is large: only a slow test needs it.
const SPARK: [&str; 1] = ["pyspark==4.0.1"];

/// Brings what the tests run.
pub fn tests() -> anyhow::Result<()> {
    packages(&TESTS, Need::Required)?;
    packages(&FUZZ, Need::Required)?;
    packages(&KERNELS, Need::Required)?;
    tool(YOUKI, YOUKI_VERSION, &YOUKI_FEATURES)?;
    python("python", &PYTHON)
}

/// Makes the machine: Debian's smallest system with systemd, of the release and from the mirror that apt uses here.
fn machine() -> anyhow::Result<()> {
    let place = root().join("target/machine");
    // It is there when it is whole.
    if place.join("usr/lib/systemd/systemd").exists() {
        return Ok(());
    }
    packages(&MACHINE, Need::Required)?;
    let Some((release, mirror)) = debian("Debian") else {
        bail!(
            "apt-get does not say where it has Debian's packages from\nhint: they are needed to make the test machine"
        );
    };
    step(&format!("installing a machine from {mirror} to target/machine"));
    let unfinished = place.with_extension("unfinished");
    run(crate::as_root(Path::new("rm"))?.arg("-rf").arg(&unfinished))?;
    let mut debootstrap = crate::as_root(Path::new("debootstrap"))?;
    debootstrap.args(["--variant=minbase", "--include=systemd,systemd-sysv"]);
    debootstrap.args([release.as_ref(), unfinished.as_os_str(), mirror.as_ref()]);
    run(debootstrap.stdout(Stdio::null()))?;
    run(crate::as_root(Path::new("mv"))?.arg(&unfinished).arg(&place))
}

/// The release and the mirror that apt uses here for `Debian`, or for `Debian-Security`.
pub fn debian(label: &str) -> Option<(String, String)> {
    let debian = ["indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"];
    let targets = output(Command::new("apt-get").args(debian).arg(format!("Label: {label}")))?;
    // The first one is the release, the others are updates of it.
    let (release, mirror) = targets.lines().find_map(|line| line.split_once(' '))?;
    Some((release.to_owned(), mirror.to_owned()))
}

/// Puts Python's packages where only the tests see them: a directory below `target`.
fn python(name: &str, packages: &[&str]) -> anyhow::Result<()> {
    let place = root().join("target").join(name);
    let done = place.join("installed");
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == packages.join(" ")) {
        return Ok(());
    }
    step(&format!("installing {} to target/{name}", packages.join(", ")));
    let environment = || run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place).stdout(Stdio::null()));
    if environment().is_err() {
        install(&["python3-venv"])?;
        environment()?;
    }
    // Not by the script `pip`: in a directory that was copied, that installs to where it was copied from.
    let pip = run(Command::new(place.join("bin/python3"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(packages));
    pip.context("failed to install Python's packages\nhint: pip needs a package index")?;
    std::fs::write(done, packages.join(" ")).context("failed to note what is installed")
}

/// Brings what the slow tests run besides.
pub fn slow_tests() -> anyhow::Result<()> {
    machine()?;
    packages(&JAVA, Need::Required)?;
    python("spark", &SPARK)
}

/// Brings what makes the things that users install.
pub fn dist(architectures: &[Architecture]) -> anyhow::Result<()> {
    let compiler = |architecture: &Architecture| match architecture {
        Architecture::X86_64 => X86_64_COMPILER,
        Architecture::Arm64 => ARM64_COMPILER,
    };
    packages(&architectures.iter().map(compiler).collect::<Vec<_>>(), Need::Required)?;
    DIST.into_iter().try_for_each(|(name, version)| tool(name, version, &[]))
}

/// `PATH`, with `target/tools` before it.
pub fn with_tools() -> anyhow::Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let tools = root().join("target/tools/bin");
    std::env::join_paths(std::iter::once(tools).chain(std::env::split_paths(&path)))
        .context("failed to put target/tools on PATH")
}

/// Brings Rust's library for a target.
pub fn library(target: &str) -> anyhow::Result<()> {
    let added = run(Command::new("rustup").args(["target", "add", target]).current_dir(root()));
    added.with_context(|| format!("failed to install Rust's library for {target}\nhint: rustup target add {target}"))
}

/// Brings everything.
pub fn everything() -> anyhow::Result<()> {
    toolchain()?;
    tests()?;
    slow_tests()?;
    packages(&BENCH, Need::Optional)
}

/// Brings the sources of `core` and bpf-linker.
pub fn toolchain() -> anyhow::Result<()> {
    sources()?;
    linker()
}

/// What the build of the kernel programs needs in its environment.
pub fn build_environment() -> Vec<(&'static str, String)> {
    let mut environment = vec![("CGTRACE_REQUIRE_BPF", "1".to_owned())];
    if !has_sources(None) && has_sources(Some(DEBIAN_TOOLCHAIN)) {
        environment.push(("CGTRACE_BPF_TOOLCHAIN", DEBIAN_TOOLCHAIN.to_owned()));
        // bpf-linker borrows the LLVM of that compiler.
        environment.push(("LD_LIBRARY_PATH", "/usr/lib/x86_64-linux-gnu:/usr/lib/aarch64-linux-gnu".to_owned()));
    }
    environment
}

fn has_sources(toolchain: Option<&str>) -> bool {
    let mut rustc = match toolchain {
        Some(toolchain) => {
            let mut command = Command::new("rustup");
            command.args(["run", toolchain, "rustc"]);
            command
        }
        None => Command::new("rustc"),
    };
    let sysroot = output(rustc.args(["--print", "sysroot"]).current_dir(root()).stderr(Stdio::null()));
    sysroot.is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file())
}

/// What is there, then rustup, then Debian's packages.
fn sources() -> anyhow::Result<()> {
    if has_sources(None) || has_sources(Some(DEBIAN_TOOLCHAIN)) {
        return Ok(());
    }
    if is_installed("rustup") {
        step("installing the standard library's sources (rustup component add rust-src)");
        match run(Command::new("rustup").args(["component", "add", "rust-src"]).current_dir(root())) {
            Ok(()) if has_sources(None) => return Ok(()),
            Ok(()) => eprintln!("rustup has installed sources, but not those of this compiler"),
            Err(error) => eprintln!("{error:#}"),
        }
    }
    if is_installed("apt-get") && is_installed("rustup") {
        step("installing Debian's compiler with its sources");
        let linked = install(&DEBIAN_COMPILER)
            .and_then(|()| run(Command::new("rustup").args(["toolchain", "link", DEBIAN_TOOLCHAIN, "/usr"])));
        match linked {
            Ok(()) if has_sources(Some(DEBIAN_TOOLCHAIN)) => return Ok(()),
            Ok(()) => eprintln!("Debian's compiler has no sources where they are expected"),
            Err(error) => eprintln!("{error:#}"),
        }
    }
    bail!(
        "the standard library's sources are not installed, and could not be\n\
         hint: rustup component add rust-src, or apt-get install {} && rustup toolchain link {DEBIAN_TOOLCHAIN} /usr",
        DEBIAN_COMPILER.join(" ")
    )
}

fn linker() -> anyhow::Result<()> {
    tool(LINKER, LINKER_VERSION, &[])
}

/// Brings a program from crates.io to `target/tools`.
fn tool(name: &str, wanted: &str, features: &[&str]) -> anyhow::Result<()> {
    let own = root().join("target/tools");
    // A part of cargo is told its own name, as cargo does.
    let part = name.strip_prefix("cargo-");
    let version = |program: PathBuf| output(Command::new(program).args(part).arg("--version").stderr(Stdio::null()));
    let is_right = |version: String| version.split_whitespace().any(|word| word == wanted);
    if version(own.join("bin").join(name)).is_some_and(is_right) || version(name.into()).is_some_and(is_right) {
        return Ok(());
    }
    step(&format!("installing {name} {wanted} to target/tools"));
    let mut cargo = bare_cargo();
    // What takes its time in the linker is LLVM, which comes compiled, and a runtime does little: optimised, each would
    // take a minute more to build.
    cargo.args(["--config", "profile.dev.debug=false", "install", "--debug"]);
    cargo.args([name, "--version", wanted, "--locked"]).args(features).arg("--root").arg(&own);
    run(&mut cargo).with_context(|| {
        let features: String = features.iter().map(|feature| format!(" {feature}")).collect();
        format!("failed to install {name}\nhint: cargo install {name} --version {wanted} --locked{features}")
    })
}

/// Brings the packages whose programs are missing.
pub fn packages(wanted: &[Package], need: Need) -> anyhow::Result<()> {
    let missing = |package: &&Package| !is_installed(package.program);
    let mut names: Vec<&str> = wanted.iter().filter(missing).map(|package| package.package).collect();
    names.dedup();
    if names.is_empty() {
        return Ok(());
    }
    step(&format!("installing {}", names.join(", ")));
    let installed = match is_installed("apt-get") {
        true => install(&names),
        false => Err(anyhow::anyhow!("there is no apt-get here")),
    };
    let left: Vec<&str> = wanted.iter().filter(missing).map(|package| package.program).collect();
    match (installed, need) {
        (Ok(()), _) if left.is_empty() => Ok(()),
        (result, Need::Optional) => {
            let why = result.err().map(|error| format!(": {error:#}")).unwrap_or_default();
            eprintln!("note: going on without {}{why}", left.join(", "));
            Ok(())
        }
        (result, Need::Required) => {
            let why = result.err().map(|error| format!(": {error:#}")).unwrap_or_default();
            bail!("{} cannot be found{why}\nhint: install {} by hand", left.join(", "), names.join(" "))
        }
    }
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    let apt = |arguments: &[&str]| {
        let mut command = match is_root() {
            true => Command::new("apt-get"),
            false => {
                let mut command = Command::new("sudo");
                command.arg("apt-get");
                command
            }
        };
        run(command.args(["-qq", "-y"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null()))
    };
    let arguments: Vec<&str> =
        ["install", "--no-install-recommends"].into_iter().chain(packages.iter().copied()).collect();
    // The lists may be missing or old.
    apt(&arguments).or_else(|_| apt(&["update"]).and_then(|()| apt(&arguments)))
}

/// Whether a program is on the path, or where only root looks.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    places.into_iter().any(|directory| directory.join(program).is_file())
}
