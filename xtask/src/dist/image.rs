//! The image: an archive (OCI layout) with the program, its licences and an empty `/tmp`, and nothing else. It is plain
//! files that tar(1) packs: no daemon, no root, and the same bytes each time.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde_json::{Value, json};

use super::{Age, LICENCES};
use crate::kernels::Architecture;
use crate::{output, run};

/// Where the program is in it.
const PROGRAM: &str = "usr/bin/cgtrace";

/// Writes an archive of an image that runs the agent, unless it is told to run another command.
/// What is put together is beside the archive meanwhile.
pub fn write(
    architecture: Architecture,
    program: &Path,
    licences: &Path,
    archive: &Path,
    age: &Age,
) -> anyhow::Result<()> {
    let place = archive.with_added_extension("parts");
    super::empty(&place)?;
    let (tree, layout) = (place.join("tree"), place.join("layout"));
    let (blobs, layer) = (layout.join("blobs/sha256"), place.join("layer.tar"));
    for (from, to) in [(program, PROGRAM), (licences, LICENCES)] {
        let to = tree.join(to);
        fs::create_dir_all(to.parent().context("a file is in a directory")?).context("failed to make the image")?;
        fs::copy(from, &to).with_context(|| format!("failed to copy {}", from.display()))?;
    }
    fs::set_permissions(tree.join(PROGRAM), fs::Permissions::from_mode(0o755)).context("failed to make it run")?;
    pack(&tree, &layer, age)?;
    // What an agent tells is kept there for a moment, by any user.
    fs::create_dir(place.join("tmp")).context("failed to make /tmp")?;
    run(tar("--append", &layer, &place, age).args(["--mode=1777", "tmp"]))?;
    fs::create_dir_all(&blobs).context("failed to make the image")?;
    let store = |bytes: &Path, media_type: &str| -> anyhow::Result<Value> {
        let sum = output(Command::new("sha256sum").arg("--").arg(bytes)).context("sha256sum fails")?;
        let sum = sum.split(' ').next().context("sha256sum prints a sum")?.to_owned();
        let size = fs::metadata(bytes).context("failed to look at a part of the image")?.len();
        fs::rename(bytes, blobs.join(&sum)).context("failed to store a part of the image")?;
        Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{sum}"), "size": size }))
    };
    let store_json = |value: &Value, media_type: &str| {
        let file = place.join("part.json");
        fs::write(&file, value.to_string()).context("failed to write a part of the image")?;
        store(&file, media_type)
    };
    let layer = store(&layer, "application/vnd.oci.image.layer.v1.tar")?;
    let version = env!("CARGO_PKG_VERSION");
    let labels = json!({
        "org.opencontainers.image.title": "cgtrace",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.source": env!("CARGO_PKG_REPOSITORY"),
        "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
    });
    let config = json!({
        "created": created(age)?,
        "architecture": architecture.debian(),
        "os": "linux",
        "config": {
            "Entrypoint": [format!("/{PROGRAM}")],
            "Cmd": ["serve"],
            "Env": ["PATH=/usr/bin"],
            "WorkingDir": "/",
            "Labels": labels,
        },
        // It is not compressed.
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let config = store_json(&config, "application/vnd.oci.image.config.v1+json")?;
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let mut described = store_json(
        &json!({
            "schemaVersion": 2,
            "mediaType": manifest,
            "config": config,
            "layers": [layer],
            "annotations": labels,
        }),
        manifest,
    )?;
    described["platform"] = json!({ "architecture": architecture.debian(), "os": "linux" });
    let name = format!("localhost/cgtrace:{version}");
    described["annotations"] = json!({ "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [described],
    });
    for (name, value) in [("index.json", index), ("oci-layout", json!({ "imageLayoutVersion": "1.0.0" }))] {
        fs::write(layout.join(name), value.to_string()).with_context(|| format!("failed to write {name}"))?;
    }
    pack(&layout, archive, age)?;
    fs::remove_dir_all(&place).with_context(|| format!("failed to remove {}", place.display()))
}

/// Packs what is in a directory, whatever this machine's users and umask are.
fn pack(directory: &Path, archive: &Path, age: &Age) -> anyhow::Result<()> {
    let names = fs::read_dir(directory).with_context(|| format!("failed to read {}", directory.display()))?;
    let names = names.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<BTreeSet<_>>>();
    let names = names.with_context(|| format!("failed to read {}", directory.display()))?;
    run(tar("--create", archive, directory, age).arg("--mode=u+rwX,go+rX,go-w").args(names))
}

/// What has files owned by root, of one age, and in one order.
fn tar(mode: &str, archive: &Path, directory: &Path, age: &Age) -> Command {
    let mut tar = Command::new("tar");
    tar.args([mode, "--format=ustar", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg(format!("--mtime=@{}", age.seconds)).arg("--file").arg(archive).arg("--directory").arg(directory);
    tar
}

/// As RFC 3339 has it.
fn created(age: &Age) -> anyhow::Result<String> {
    let at = format!("@{}", age.seconds);
    output(Command::new("date").args(["--utc", "+%Y-%m-%dT%H:%M:%SZ", "--date", &at])).context("date does not tell it")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of a program of one byte, and its bytes.
    fn archive(directory: &Path) -> Vec<u8> {
        let [program, licences, archive] = ["program", "licences", "image.oci.tar"].map(|name| directory.join(name));
        fs::write(&program, "#").expect("written");
        fs::write(&licences, "MIT").expect("written");
        let age = Age { seconds: "1700000000".to_owned() };
        write(Architecture::Arm64, &program, &licences, &archive, &age).expect("an image");
        fs::read(&archive).expect("an archive")
    }

    #[test]
    fn an_image_is_the_same_whenever_and_wherever_it_is_made() {
        let [one, other] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        assert!(archive(one.path()) == archive(other.path()));
        let left: Vec<_> = fs::read_dir(one.path()).expect("read").collect();
        assert_eq!(left.len(), 3, "{left:?}");
    }

    #[test]
    fn an_image_has_the_program_its_licences_and_a_place_for_temporary_files() {
        let directory = tempfile::tempdir().expect("a directory");
        archive(directory.path());
        let unpack = |archive: &Path, to: &Path| {
            fs::create_dir_all(to).expect("made");
            run(Command::new("tar").arg("--extract").arg("--file").arg(archive).arg("--directory").arg(to))
        };
        let layout = directory.path().join("layout");
        unpack(&directory.path().join("image.oci.tar"), &layout).expect("unpacked");
        let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).expect("read")).expect("JSON") };
        let blob = |of: &Value| {
            let sum = of["digest"].as_str().expect("a digest").strip_prefix("sha256:").expect("a sum").to_owned();
            let path = layout.join("blobs/sha256").join(&sum);
            assert_eq!(fs::metadata(&path).expect("there").len(), of["size"].as_u64().expect("a size"));
            assert!(output(Command::new("sha256sum").arg(&path)).expect("a sum").starts_with(&sum));
            path
        };
        let index = read(&layout.join("index.json"));
        assert_eq!(index["manifests"][0]["platform"], json!({ "architecture": "arm64", "os": "linux" }));
        let manifest = read(&blob(&index["manifests"][0]));
        let config = read(&blob(&manifest["config"]));
        assert_eq!(config["config"]["Entrypoint"], json!(["/usr/bin/cgtrace"]));
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        let list =
            Command::new("tar").args(["--list", "--verbose", "--file"]).arg(blob(&manifest["layers"][0])).output();
        let list = String::from_utf8(list.expect("a list").stdout).expect("text");
        let files: Vec<(&str, &str)> = list
            .lines()
            .map(|line| (&line[..10], line.rsplit(' ').next().expect("a name")))
            .filter(|(mode, _)| !mode.starts_with("drwxr-xr-x"))
            .collect();
        let wanted = [("-rw-r--r--", LICENCES), ("-rwxr-xr-x", PROGRAM), ("drwxrwxrwt", "tmp/")];
        assert_eq!(files, wanted, "{list}");
        assert!(list.lines().all(|line| line.contains(" 0/0 ")), "{list}");
    }
}
