//! What a guest has on board: the tests, cgtrace, and the programs that the tests run, in one archive that the kernel
//! unpacks into memory. So a guest needs no disk, no module and no file of the host, and cannot change one.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::fetch::Store;
use super::matrix::Architecture;
use crate::{output, root, run};

const INIT: &str = include_str!("init.sh");

/// What the tests run. All else that a shell needs is busybox's.
const PROGRAMS: [&str; 17] = [
    "cat", "chmod", "head", "mkdir", "mount", "perl", "python3", "rmdir", "runc", "setpriv", "setsid", "sh", "sleep",
    "touch", "true", "umount", "unshare",
];
/// The packages that have these, for another architecture than this machine's.
const PACKAGES: [&str; 9] = [
    "busybox-static",
    "coreutils",
    "dash",
    "libpython3-stdlib",
    "mount",
    "perl-base",
    "python3-minimal",
    "runc",
    "util-linux",
];
/// Parts of Python's library that no test uses.
const LEFT_OUT: [&str; 8] =
    ["config-", "dist-packages", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "test"];
/// Where programs of the system are.
const SYSTEM: [&str; 4] = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];
/// Directories that are mounted on, or written to.
const PLACES: [&str; 9] = ["dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp", "var/tmp"];

/// The programs that are tested.
pub struct Tested {
    /// The kernel tests.
    pub tests: PathBuf,
    /// cgtrace, where the tests look for it.
    pub cgtrace: PathBuf,
    /// Others, for a guest of this machine's own architecture.
    pub others: Vec<PathBuf>,
    /// What takes the symbols out of them.
    pub objcopy: String,
}

/// Makes the archive of one architecture in `directory`, and returns where it is.
pub fn build(directory: &Path, architecture: Architecture, tested: &Tested, store: &Store) -> anyhow::Result<PathBuf> {
    let place = directory.join(format!("initramfs-{}", architecture.debian()));
    let own = directory.join("own");
    let _ = fs::remove_dir_all(&own);
    fs::create_dir_all(&own).context("failed to make a place for the initramfs")?;
    let mut archive = File::create(&place).context("failed to write the initramfs")?;
    // The kernel unpacks one archive after the other.
    match architecture {
        Architecture::X86_64 => {
            stage(&own, tested, Path::new("/"), &find("busybox")?)?;
            pack(Path::new("/"), &of_host(tested)?, &mut archive)?;
        }
        Architecture::Arm64 => {
            let tree = directory.join("tree-arm64");
            if !tree.is_dir() {
                let unfinished = tree.with_extension("unfinished");
                let _ = fs::remove_dir_all(&unfinished);
                store.unpack(&store.with_dependencies(&PACKAGES)?, &unfinished)?;
                fs::rename(&unfinished, &tree).context("failed to keep the programs of the guest")?;
            }
            let places = ["usr/bin/busybox", "bin/busybox"].map(|place| tree.join(place));
            let busybox = places.iter().find(|place| place.is_file()).context("Debian's busybox has no program")?;
            stage(&own, tested, &tree, busybox)?;
            pack(&tree, &of_tree(&tree)?, &mut archive)?;
        }
    }
    pack(&own, &below(&own, Path::new(""), &|_| true)?, &mut archive)?;
    fs::remove_dir_all(&own).context("failed to remove what is in the initramfs")?;
    archive.flush().context("failed to write the initramfs")?;
    Ok(place)
}

/// Puts together what no package has. `system` is where the guest's other files come from.
fn stage(own: &Path, tested: &Tested, system: &Path, busybox: &Path) -> anyhow::Result<()> {
    for place in PLACES {
        fs::create_dir_all(own.join(place)).context("failed to make a directory of the guest")?;
    }
    // `/bin` leads to `/usr/bin` where it does on the system that the programs are of.
    for name in ["bin", "lib", "lib64", "sbin"] {
        if let Ok(target) = fs::read_link(system.join(name)) {
            symlink(target, own.join(name)).context("failed to make a link of the guest")?;
        }
    }
    fs::write(own.join("init"), INIT).context("failed to write the guest's first program")?;
    fs::set_permissions(own.join("init"), fs::Permissions::from_mode(0o755))?;
    fs::write(own.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")?;
    fs::copy(busybox, own.join("busybox")).context("failed to copy busybox")?;
    // The tests know cgtrace by its absolute path, and read files of the package that they are of.
    let inside = |path: &Path| own.join(path.strip_prefix("/").unwrap_or(path));
    fs::create_dir_all(inside(&root().join("tracer")))?;
    let tests = (&tested.tests, own.join("kernel-tests"));
    let others = std::iter::once(&tested.cgtrace).chain(&tested.others).map(|program| (program, inside(program)));
    for (from, to) in std::iter::once(tests).chain(others) {
        fs::create_dir_all(to.parent().context("a program lies in a directory")?)?;
        run(Command::new(&tested.objcopy).arg("--strip-all").arg(from).arg(to))?;
    }
    Ok(())
}

/// The programs of this host with the libraries that they need, as paths below `/`.
fn of_host(tested: &Tested) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut programs = PROGRAMS.into_iter().map(find).collect::<anyhow::Result<Vec<_>>>()?;
    let library =
        output(Command::new(find("python3")?).args(["-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"]));
    let library = PathBuf::from(library.context("python3 does not say where its library is")?);
    let is_kept = |name: &str| !LEFT_OUT.iter().any(|left_out| name.starts_with(left_out));
    let mut files = below(Path::new("/"), library.strip_prefix("/")?, &is_kept)?;
    programs.extend([tested.tests.clone(), tested.cgtrace.clone()]);
    programs.extend(tested.others.iter().cloned());
    let is_library = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "so");
    programs.extend(files.iter().filter(|path| is_library(path)).map(|path| Path::new("/").join(path)));
    for program in &programs {
        // A static program has none.
        let listed = output(Command::new("ldd").arg(program).stderr(Stdio::null())).unwrap_or_default();
        for library in listed.split_whitespace().filter(|word| word.starts_with('/')) {
            files.insert(in_its_directory(Path::new(library))?);
        }
    }
    for program in &programs[..PROGRAMS.len()] {
        files.insert(in_its_directory(program)?);
    }
    Ok(with_directories(files))
}

/// All of a tree of packages but what a guest has no use for.
fn of_tree(tree: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    const DOCUMENTS: [&str; 5] = ["doc", "locale", "man", "zoneinfo", "perl"];
    let is_kept =
        |name: &str| !DOCUMENTS.contains(&name) && !LEFT_OUT.iter().any(|left_out| name.starts_with(left_out));
    let mut files = below(tree, Path::new("usr"), &is_kept)?;
    if fs::symlink_metadata(tree.join("bin")).is_ok_and(|bin| bin.is_dir()) {
        for directory in ["bin", "lib", "sbin"] {
            files.extend(below(tree, Path::new(directory), &is_kept)?);
        }
    }
    Ok(with_directories(files))
}

/// Everything below a directory of `tree`, with that directory; `is_kept` says by its name what is looked into.
fn below(tree: &Path, directory: &Path, is_kept: &dyn Fn(&str) -> bool) -> anyhow::Result<BTreeSet<PathBuf>> {
    let (mut found, mut open) = (BTreeSet::new(), vec![directory.to_owned()]);
    while let Some(directory) = open.pop() {
        let entries = fs::read_dir(tree.join(&directory));
        for entry in entries.with_context(|| format!("failed to look into {}", tree.join(&directory).display()))? {
            let entry = entry?;
            if !is_kept(&entry.file_name().to_string_lossy()) {
                continue;
            }
            let path = directory.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                open.push(path.clone());
            }
            found.insert(path);
        }
        found.insert(directory);
    }
    found.remove(Path::new(""));
    Ok(found)
}

/// A file's path below `/`, through no link but its own.
fn in_its_directory(path: &Path) -> anyhow::Result<PathBuf> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("{} is no file", path.display());
    };
    let directory = directory.canonicalize().with_context(|| format!("{} cannot be found", path.display()))?;
    Ok(directory.strip_prefix("/")?.join(name))
}

/// With the directories that they lie in, which the kernel does not make by itself.
fn with_directories(files: BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let parents = files.iter().flat_map(|file| file.ancestors().skip(1)).filter(|path| *path != Path::new(""));
    let parents: Vec<PathBuf> = parents.map(Path::to_owned).collect();
    files.into_iter().chain(parents).collect()
}

/// Where a program of the system is. What a user has put before it on the path may not work without a home directory.
fn find(program: &str) -> anyhow::Result<PathBuf> {
    let found = SYSTEM.iter().map(|directory| Path::new(directory).join(program)).find(|place| place.is_file());
    found.with_context(|| format!("{program} cannot be found in {}\nhint: cargo xtask setup", SYSTEM.join(", ")))
}

/// Packs files of a tree, which are sorted: a directory comes before what lies in it.
fn pack(tree: &Path, files: &BTreeSet<PathBuf>, archive: &mut File) -> anyhow::Result<()> {
    let mut cpio = Command::new("cpio");
    cpio.args(["--create", "--format=newc", "--owner=+0:+0", "--quiet", "--null"]).current_dir(tree);
    // A library's name is a link to its file; of the guest's own tree, links are meant.
    if tree == Path::new("/") {
        cpio.arg("--dereference");
    }
    let mut child = cpio.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("failed to run cpio")?;
    let mut stdin = child.stdin.take().context("cpio has a pipe")?;
    let mut stdout = child.stdout.take().context("cpio has a pipe")?;
    let names: Vec<u8> = files.iter().flat_map(|file| [file.as_os_str().as_encoded_bytes(), b"\0"].concat()).collect();
    let writer = std::thread::spawn(move || stdin.write_all(&names));
    io::copy(&mut stdout, archive).context("failed to write the initramfs")?;
    let written = writer.join().map_err(|_| anyhow::anyhow!("the thread that feeds cpio has panicked"))?;
    written.context("failed to tell cpio what to pack")?;
    let status = child.wait().context("failed to wait for cpio")?;
    if !status.success() {
        bail!("cpio: {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_with_the_directories_it_lies_in_and_after_them() {
        let files = with_directories(["usr/bin/a", "usr/lib/x/b"].map(PathBuf::from).into());
        let paths: Vec<&str> = files.iter().filter_map(|path| path.to_str()).collect();
        assert_eq!(paths, ["usr", "usr/bin", "usr/bin/a", "usr/lib", "usr/lib/x", "usr/lib/x/b"]);
    }

    #[test]
    fn what_is_left_out_is_not_looked_into() {
        let tree = tempfile::tempdir().expect("a directory");
        for file in ["lib/test/a", "lib/b", "lib/c/d"] {
            let file = tree.path().join(file);
            fs::create_dir_all(file.parent().expect("a parent")).expect("made");
            fs::write(file, "").expect("written");
        }
        let found = below(tree.path(), Path::new("lib"), &|name| name != "test").expect("found");
        let paths: Vec<&str> = found.iter().filter_map(|path| path.to_str()).collect();
        assert_eq!(paths, ["lib", "lib/b", "lib/c", "lib/c/d"]);
    }
}
