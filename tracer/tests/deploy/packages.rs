//! What the packages have in them is there, and what is generated for them is whole: `cargo xtask dist` makes them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{read, root};

const CGTRACE: &str = env!("CARGO_BIN_EXE_cgtrace");

/// The commands that help shows.
fn commands() -> Vec<String> {
    let definition = cgtrace::cli::definition();
    let shown = definition.get_subcommands().filter(|command| !command.is_hide_set());
    shown.map(|command| command.get_name().to_owned()).collect()
}

/// What a package has: where its file is in the project, and where it is installed.
struct Asset {
    source: String,
    target: String,
}

fn metadata(of: &str) -> toml::Table {
    let manifest: toml::Table = read("tracer/Cargo.toml").parse().unwrap();
    manifest["package"]["metadata"][of].as_table().unwrap().clone()
}

/// Of Debian's packages: paths begin in `tracer`, but for the program.
fn debian() -> Vec<Asset> {
    let own = |path: &str| path.strip_prefix("../").unwrap_or(path).to_owned();
    let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
    let asset = |asset: &toml::Value| Asset { source: own(&text(&asset[0])), target: format!("/{}", text(&asset[1])) };
    let mut assets: Vec<Asset> = metadata("deb")["assets"].as_array().unwrap().iter().map(asset).collect();
    // cargo-deb finds the units by their name.
    let units = metadata("deb")["systemd-units"].clone();
    let (directory, name) = (text(&units["unit-scripts"]), text(&units["unit-name"]));
    for kind in ["service", "socket"] {
        let source = format!("{}/{name}.{kind}", own(&directory));
        assets.push(Asset { source, target: "/usr/lib/systemd/system/".to_owned() });
    }
    assets
}

/// Of Red Hat's packages: paths begin in the workspace.
fn red_hat() -> Vec<Asset> {
    let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
    let asset = |asset: &toml::Value| Asset { source: text(&asset["source"]), target: text(&asset["dest"]) };
    metadata("generate-rpm")["assets"].as_array().unwrap().iter().map(asset).collect()
}

/// What `cargo xtask dist` writes before it packs.
const GENERATED: [&str; 6] = [
    "target/release/cgtrace",
    "target/assets/man/*.1",
    "target/assets/completions/cgtrace",
    "target/assets/completions/_cgtrace",
    "target/assets/completions/cgtrace.fish",
    "target/assets/THIRD-PARTY-LICENCES.txt",
];

#[test]
fn packages_have_only_files_that_are_there() {
    for assets in [debian(), red_hat()] {
        let (generated, own): (Vec<_>, Vec<_>) = assets.iter().partition(|asset| asset.source.starts_with("target/"));
        for asset in own {
            assert!(root().join(&asset.source).is_file(), "{}", asset.source);
        }
        let generated: BTreeSet<&str> = generated.iter().map(|asset| asset.source.as_str()).collect();
        assert_eq!(generated, BTreeSet::from(GENERATED));
    }
}

/// Where each distribution looks for zsh's completions, and keeps words of licences.
fn is_its_own(target: &str) -> bool {
    ["/usr/share/zsh/", "/usr/share/licenses/", "/usr/share/doc/"].iter().any(|own| target.starts_with(own))
}

#[test]
fn both_packages_install_the_same_in_the_same_places() {
    let installed = |assets: Vec<Asset>| -> BTreeSet<String> {
        let path = |asset: Asset| {
            let name = Path::new(&asset.source).file_name().unwrap().to_str().unwrap();
            if asset.target.ends_with('/') { format!("{}{name}", asset.target) } else { asset.target }
        };
        assets.into_iter().map(path).filter(|path| !is_its_own(path)).collect()
    };
    let (debian, red_hat) = (installed(debian()), installed(red_hat()));
    assert_eq!(debian, red_hat);
    // Where the unit looks for them.
    for path in ["/usr/bin/cgtrace", "/etc/cgtrace/cgtrace.toml"] {
        assert!(debian.contains(path) && read("deploy/systemd/cgtrace.service").contains(path), "{path}");
    }
}

#[test]
fn scripts_of_packages_are_shell() {
    let scripts = metadata("generate-rpm");
    let scripts = scripts.iter().filter(|(key, _)| key.ends_with("_script"));
    let mut scripts: Vec<String> = scripts.map(|(_, script)| script.as_str().unwrap().to_owned()).collect();
    assert_eq!(scripts.len(), 3);
    scripts.push(read("deploy/debian/postrm"));
    for script in scripts {
        let done = Command::new("sh").args(["-n", "-c", &script]).output().unwrap();
        assert!(done.status.success(), "{script}{}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    let done = Command::new(CGTRACE).arg("man").arg(directory.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let written: BTreeSet<String> = names.map(|name| name.into_string().unwrap()).collect();
    let wanted = commands().into_iter().map(|command| format!("cgtrace-{command}.1"));
    assert_eq!(written, wanted.chain(["cgtrace.1".to_owned()]).collect());
    let serve = fs::read_to_string(directory.path().join("cgtrace-serve.1")).unwrap();
    assert!(serve.contains(".SH OPTIONS") && serve.contains("rotate\\-size"), "{serve}");
}

#[test]
fn shells_complete_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let done = Command::new(CGTRACE).args(["completions", shell]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let script = String::from_utf8(done.stdout).unwrap();
        for command in commands() {
            assert!(script.contains(&command), "{shell}: {command}");
        }
        assert!(script.contains("rotate-size"), "{shell}");
    }
    // What bash makes of it, as it would when somebody presses the key.
    let complete = format!(
        "source <({CGTRACE} completions bash); COMP_WORDS=(cgtrace expl); COMP_CWORD=1; \
         _cgtrace cgtrace expl cgtrace; echo ${{COMPREPLY[*]}}"
    );
    let done = Command::new("bash").args(["-c", &complete]).output().unwrap();
    assert_eq!(String::from_utf8(done.stdout).unwrap(), "explain\n", "{}", String::from_utf8_lossy(&done.stderr));
}
