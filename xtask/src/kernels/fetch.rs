//! Debian's packages of other releases, through the mirror that apt uses here and by an apt state of our own: nothing
//! is installed, and apt's own state stays as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};

use super::matrix::{Architecture, SERIES, Series};
use crate::{output, run, setup, step};

/// Lists of packages that are older are asked for again.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);
/// What Debian signs its lists with.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The packages of one architecture.
pub struct Store {
    architecture: Architecture,
    /// apt's state, and what was fetched.
    directory: PathBuf,
}

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// `6.12.118+deb13-cloud-amd64`
    pub release: String,
    /// The compressed kernel.
    pub image: PathBuf,
}

impl Store {
    /// Below `directory`.
    pub fn open(directory: &Path, architecture: Architecture) -> anyhow::Result<Self> {
        let directory = directory.join(architecture.debian());
        for below in ["lists/partial", "cache/archives/partial", "kernels"] {
            fs::create_dir_all(directory.join(below)).context("failed to make a place for packages")?;
        }
        Ok(Self { architecture, directory })
    }

    /// The newest kernel of a series: fetched, or as it was fetched before if there is no way to it now.
    pub fn kernel(&self, series: &Series) -> anyhow::Result<Kernel> {
        let suffix = format!("-cloud-{}", self.architecture.debian());
        let is_kernel = |name: &str| name.ends_with(&suffix);
        let cached = || {
            let entries = fs::read_dir(self.directory.join("kernels")).into_iter().flatten().flatten();
            let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
            newest(names.iter().map(String::as_str).filter(|name| is_kernel(name)), series.version).map(str::to_owned)
        };
        let found = self.refresh().and_then(|()| {
            let names = self.names("linux-image-")?;
            let releases = names.lines().filter_map(|name| name.strip_prefix("linux-image-"));
            let release = newest(releases.filter(|name| is_kernel(name)), series.version);
            let release = release.with_context(|| format!("{} has no kernel {series}", series.suite))?;
            self.image(release)?;
            Ok(release.to_owned())
        });
        let release = match (found, cached()) {
            (Ok(release), _) => release,
            (Err(error), Some(release)) => {
                eprintln!("note: kernel {release} was fetched before: {error:#}");
                release
            }
            (Err(error), None) => return Err(error),
        };
        Ok(Kernel { image: self.directory.join("kernels").join(&release), release })
    }

    /// Fetches packages and unpacks them below `tree`.
    pub fn unpack(&self, packages: &[String], tree: &Path) -> anyhow::Result<()> {
        // Nothing of one that was interrupted.
        let debs = self.directory.join("debs");
        let _ = fs::remove_dir_all(&debs);
        fs::create_dir(&debs).context("failed to make a place for packages")?;
        let mut apt = self.apt("apt-get");
        apt.args(["-qq", "download"]).args(packages).current_dir(&debs).stdout(Stdio::null());
        let files = run(&mut apt).and_then(|()| Ok(fs::read_dir(&debs)?.collect::<Result<Vec<_>, _>>()?));
        let files = files.with_context(|| format!("failed to fetch {}", packages.join(", ")))?;
        for file in files {
            run(Command::new("dpkg-deb").arg("--extract").arg(file.path()).arg(tree))?;
            fs::remove_file(file.path()).context("failed to remove a package that is unpacked")?;
        }
        Ok(())
    }

    /// The packages that others need, with those.
    pub fn with_dependencies(&self, packages: &[&str]) -> anyhow::Result<Vec<String>> {
        self.refresh()?;
        let left_out = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"];
        let mut apt = self.apt("apt-cache");
        apt.args(["depends", "--recurse"]).args(left_out.map(|kind| format!("--no-{kind}"))).args(packages);
        let listed = output(&mut apt).context("apt-cache does not say what packages need")?;
        let is_package = |line: &&str| line.starts_with(|first: char| first.is_ascii_alphanumeric());
        let mut all: Vec<String> = listed.lines().filter(is_package).map(str::to_owned).collect();
        all.sort();
        all.dedup();
        Ok(all)
    }

    /// Brings the image of a kernel, if it is not there.
    fn image(&self, release: &str) -> anyhow::Result<()> {
        let place = self.directory.join("kernels").join(release);
        if place.is_file() {
            return Ok(());
        }
        step(&format!("fetching kernel {release}"));
        // Since 7.0 the image's package only names those with the parts.
        let names = self.names("linux-binary-")?;
        let parts = format!("linux-binary-{release}");
        let package = if names.lines().any(|name| name == parts) { parts } else { format!("linux-image-{release}") };
        let tree = self.directory.join("unpacked");
        let _ = fs::remove_dir_all(&tree);
        self.unpack(&[package], &tree)?;
        let places = [format!("boot/vmlinuz-{release}"), format!("usr/lib/modules/{release}/vmlinuz")];
        let image = places.iter().map(|place| tree.join(place)).find(|image| image.is_file());
        let image = image.with_context(|| format!("the package of kernel {release} has no image"))?;
        fs::rename(image, place).context("failed to keep the kernel's image")?;
        fs::remove_dir_all(&tree).context("failed to remove what else the package had")
    }

    /// The names of packages that begin so, a line each.
    fn names(&self, prefix: &str) -> anyhow::Result<String> {
        let names = output(self.apt("apt-cache").args(["pkgnames", prefix]));
        names.context("apt-cache does not list the packages")
    }

    /// Asks for the lists of packages, if those that are there are old.
    fn refresh(&self) -> anyhow::Result<()> {
        let sources = self.sources()?;
        let (list, asked) = (self.directory.join("sources.list"), self.directory.join("asked"));
        let is_fresh = fs::read_to_string(&list).is_ok_and(|old| old == sources)
            && fs::metadata(&asked)
                .and_then(|asked| asked.modified())
                .is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < FRESH));
        if is_fresh {
            return Ok(());
        }
        step(&format!("asking for Debian's packages ({})", self.architecture.debian()));
        fs::write(&list, sources).context("failed to write the list of sources")?;
        fs::write(self.directory.join("status"), "").context("failed to begin a state of apt")?;
        // A list that cannot be fetched is only a warning otherwise.
        let mut update = self.apt("apt-get");
        run(update.args(["-qq", "-o", "APT::Update::Error-Mode=any", "update"]).stdout(Stdio::null())).context(
            "Debian's packages cannot be listed\nhint: apt's mirror must be reachable; kernels come from there",
        )?;
        fs::write(&asked, "").context("failed to note when the packages were listed")
    }

    fn sources(&self) -> anyhow::Result<String> {
        let mut suites: Vec<&str> = SERIES
            .iter()
            .filter(|series| series.architecture == self.architecture)
            .map(|series| series.suite)
            .collect();
        suites.dedup();
        // What runs in the guest comes from the release that is installed here.
        let own = setup::debian("Debian").context("apt-get does not say where it has Debian's packages from")?.0;
        suites.push(&own);
        let line = |suite: &str| {
            let label = if suite.ends_with("-security") { "Debian-Security" } else { "Debian" };
            let (_, mirror) =
                setup::debian(label).with_context(|| format!("apt-get does not name a mirror of {label}"))?;
            Ok(format!("deb [signed-by={KEYS}] {mirror} {suite} main\n"))
        };
        suites.into_iter().map(line).collect()
    }

    /// apt with this state, and none of the machine's.
    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // What there is of several releases comes from the one that the C library is of with which programs are built.
        if let Some((own, _)) = setup::debian("Debian") {
            command.args(["-o", &format!("APT::Default-Release={own}")]);
        }
        let place = |name: &str| self.directory.join(name).display().to_string();
        for (option, value) in [
            ("Dir::Etc::sourcelist", place("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".to_owned()),
            ("Dir::Etc::preferences", "/dev/null".to_owned()),
            ("Dir::Etc::preferencesparts", "/dev/null".to_owned()),
            ("Dir::State::lists", place("lists")),
            ("Dir::State::status", place("status")),
            ("Dir::Cache", place("cache")),
            ("APT::Architecture", self.architecture.debian().to_owned()),
            ("APT::Architectures", self.architecture.debian().to_owned()),
            ("APT::Sandbox::User", "root".to_owned()),
            ("Acquire::Languages", "none".to_owned()),
        ] {
            command.args(["-o", &format!("{option}={value}")]);
        }
        command
    }
}

/// The newest of these kernels whose version begins so.
fn newest<'a>(releases: impl Iterator<Item = &'a str>, version: &str) -> Option<&'a str> {
    let prefix = format!("{version}.");
    releases.filter(|release| release.starts_with(&prefix)).max_by_key(|release| numbers(release))
}

/// All numbers of a name but that of its architecture. They order its versions: `6.1.0-57` is newer than
/// `6.1.0-0.deb11.52`.
fn numbers(release: &str) -> Vec<u64> {
    let version = release.rsplit_once('-').map_or(release, |(version, _)| version);
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// The programs that all of this is done with.
pub fn check() -> anyhow::Result<()> {
    for program in ["apt-get", "apt-cache", "dpkg-deb"] {
        if !setup::is_installed(program) {
            bail!("{program} cannot be found: kernels come from Debian's packages\nhint: run this on Debian");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_version_is_taken() {
        let check = |version, releases: &[&'static str], wanted| {
            assert_eq!(newest(releases.iter().copied(), version), wanted);
        };
        check("6.1", &["6.1.0-56-amd64", "6.1.0-57-amd64", "6.1.0-0.deb11.99-amd64"], Some("6.1.0-57-amd64"));
        check("6.1", &["6.12.118+deb13-amd64", "6.18.5+deb13-amd64"], None);
        check("6.18", &["6.18.9+deb13-amd64", "6.18.15+deb13-amd64"], Some("6.18.15+deb13-amd64"));
        check("6.12", &["6.12.115+deb13-amd64", "6.12.115+deb13.1-amd64"], Some("6.12.115+deb13.1-amd64"));
    }
}
