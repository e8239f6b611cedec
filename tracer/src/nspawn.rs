//! What a command line of systemd-nspawn says of the machine that it starts. Pure.

use crate::name::Name;

/// What was told of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Its name: as told, or that of its directory or image.
    pub name: Name,
    /// `--directory` or `--image`. `None` for one that is looked for by its name.
    pub tree: Option<Name>,
}

/// Short options that take a value.
const SHORT: &[u8] = b"DuLMSZipE";
/// Long options whose value may be a word of its own. From the program's `--help`.
const LONG: &[&str] = &[
    "ambient-capability",
    "bind",
    "bind-ro",
    "bind-user",
    "capability",
    "chdir",
    "cpu-affinity",
    "directory",
    "drop-capability",
    "hostname",
    "image",
    "image-policy",
    "inaccessible",
    "kill-signal",
    "link-journal",
    "load-credential",
    "machine",
    "network-bridge",
    "network-interface",
    "network-ipvlan",
    "network-macvlan",
    "network-namespace-path",
    "network-veth-extra",
    "network-zone",
    "no-new-privileges",
    "notify-ready",
    "oci-bundle",
    "oom-score-adjust",
    "overlay",
    "overlay-ro",
    "personality",
    "pivot-root",
    "port",
    "private-users-ownership",
    "property",
    "resolv-conf",
    "rlimit",
    "root-hash",
    "root-hash-sig",
    "selinux-apifs-context",
    "selinux-context",
    "set-credential",
    "setenv",
    "settings",
    "slice",
    "system-call-filter",
    "template",
    "timezone",
    "tmpfs",
    "user",
    "uuid",
    "verity-data",
];

/// The machine that a command line starts. `None` if it is none of nspawn's, or does not tell the name.
pub fn start(argv: &[Name]) -> Option<Start> {
    if argv.first()?.base_name() != b"systemd-nspawn" {
        return None;
    }
    let (mut machine, mut tree, mut is_ephemeral) = (None, None, false);
    let mut words = argv.iter().skip(1);
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        if let Some(long) = word.to_str().and_then(|text| text.strip_prefix("--")) {
            let (option, value) = match long.split_once('=') {
                _ if long.is_empty() => break,
                Some((option, value)) => (option, Some(Name::from(value))),
                None if LONG.contains(&long) => (long, words.next().cloned()),
                None => (long, None),
            };
            match option {
                "machine" => machine = value,
                "directory" | "image" => tree = value,
                "ephemeral" => is_ephemeral = true,
                // Its bundle says where the files are.
                "oci-bundle" => return None,
                _ => {}
            }
        } else if bytes.len() > 1 && bytes.starts_with(b"-") && !bytes.starts_with(b"--") {
            // Several may share a word, of which the last may take a value: `-bD /srv/web`.
            for (at, letter) in bytes[1..].iter().enumerate() {
                is_ephemeral |= *letter == b'x';
                if SHORT.contains(letter) {
                    let rest = &bytes[at + 2..];
                    let value = if rest.is_empty() { words.next().cloned() } else { Some(Name::new(rest)) };
                    match letter {
                        b'M' => machine = value,
                        b'D' | b'i' => tree = value,
                        _ => {}
                    }
                    break;
                }
            }
        } else {
            // What follows is run in it.
            break;
        }
    }
    // A copy is called as its original, with a number that is drawn.
    let of_tree = || own_name(tree.as_ref()?).filter(|_| !is_ephemeral);
    let name = machine.or_else(of_tree).filter(|name| !name.is_empty())?;
    Some(Start { name, tree })
}

/// The name that a machine gets by its tree, if that needs no change.
fn own_name(tree: &Name) -> Option<Name> {
    let path = tree.to_str()?.trim_end_matches('/');
    let file = path.rsplit('/').next()?;
    let name = file.strip_suffix(".raw").unwrap_or(file);
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    (is_plain && !name.starts_with('.')).then(|| Name::from(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_called_as_told_or_as_its_tree() {
        let check = |line: &str, name: &str, tree: &str| {
            let argv: Vec<Name> = line.split(' ').map(Name::from).collect();
            let told = start(&argv);
            let text = |name: Option<Name>| name.map_or("-".to_owned(), |name| name.to_string());
            let (found, place) = told.map_or((None, None), |told| (Some(told.name), told.tree));
            assert_eq!((text(found).as_str(), text(place).as_str()), (name, tree), "{line}");
        };
        check("systemd-nspawn -M web -D /srv/tree /bin/sleep 3", "web", "/srv/tree");
        check("systemd-nspawn --register=no --keep-unit -bD /srv/web/", "web", "/srv/web/");
        check("/usr/bin/systemd-nspawn --quiet --boot --keep-unit --machine=web", "web", "-");
        check("systemd-nspawn -i /srv/web.raw -b", "web", "/srv/web.raw");
        check("systemd-nspawn --image /srv/web.raw", "web", "/srv/web.raw");
        check("systemd-nspawn -Mweb -D/srv/tree", "web", "/srv/tree");
        check("systemd-nspawn --bind /data -D /srv/web", "web", "/srv/web");
        check("systemd-nspawn --private-network -D /srv/web -- -D /else", "web", "/srv/web");
        check("systemd-nspawn -D /srv/web ls -D /else", "web", "/srv/web");
        check("systemd-nspawn -xM web-2 -D /srv/web", "web-2", "/srv/web");
        // Its name is drawn, cleaned of what no host may be called, or in a bundle.
        check("systemd-nspawn -xD /srv/web", "-", "-");
        check("systemd-nspawn -D /srv/w$b", "-", "-");
        check("systemd-nspawn -D /", "-", "-");
        check("systemd-nspawn --oci-bundle=/b", "-", "-");
        check("systemd-nspawn", "-", "-");
        check("systemd-nspawn -D", "-", "-");
        check("sh -D /srv/web", "-", "-");
    }
}
