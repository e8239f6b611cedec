//! The image: an archive (OCI layout) with the program, its licences and an empty `/tmp`, and nothing else. It is plain
//! files that tar(1) packs: no daemon, no root, and the same bytes each time.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde_json::{Value, json};

use super::{ASSETS, Age, LICENCES};
use crate::kernels::Architecture;
use crate::{output, root, run, step};

/// Where the program is in it.
const PROGRAM: &str = "usr/bin/cgtrace";

/// Writes an archive of an image that runs the agent, unless it is told to run another command.
pub fn write(architecture: Architecture, program: &Path, archive: &Path, age: &Age) -> anyhow::Result<()> {
    step(&format!("making the image for {architecture}"));
    let place = root().join("target/image");
    super::empty(&place)?;
    let (tree, layout) = (place.join("tree"), place.join("layout"));
    let (blobs, layer) = (layout.join("blobs/sha256"), place.join("layer.tar"));
    for (from, to) in [(program.to_owned(), PROGRAM), (root().join(ASSETS).join(LICENCES), LICENCES)] {
        let to = tree.join(to);
        fs::create_dir_all(to.parent().context("a file is in a directory")?).context("failed to make the image")?;
        fs::copy(&from, &to).with_context(|| format!("failed to copy {}", from.display()))?;
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
