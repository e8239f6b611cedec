//! What LXC's command lines say. Pure.

use crate::argv;
use crate::name::Name;

/// What a command line says of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Its name.
    pub name: Name,
    /// `--lxcpath`: where containers are kept.
    pub directory: Option<Name>,
    /// `--rcfile`: its configuration.
    pub config: Option<Name>,
}

/// The container that a command line of LXC's is about: `lxc-start -n NAME`, `lxc-stop --name=NAME`, and the title that
/// a monitor gives itself, `[lxc monitor] /var/lib/lxc NAME`.
pub fn container(argv: &[Name]) -> Option<Name> {
    named(argv).map(|told| told.name)
}

/// The container that a command line starts, or stays with.
pub fn start(argv: &[Name]) -> Option<Start> {
    let program = argv.first()?;
    let starts = [&b"lxc-start"[..], b"lxc-execute"].contains(&program.base_name());
    (starts || program.as_bytes().starts_with(MONITOR.as_bytes())).then(|| named(argv)).flatten()
}

const MONITOR: &str = "[lxc monitor] ";

fn named(argv: &[Name]) -> Option<Start> {
    let first = argv.first()?.to_str()?;
    if let Some(rest) = first.strip_prefix(MONITOR) {
        // The name has no spaces; the directory before it may.
        let (directory, name) = rest.trim_end().rsplit_once(' ')?;
        let told = |text: &str| (!text.is_empty()).then(|| Name::from(text));
        return Some(Start { name: told(name)?, directory: told(directory), config: None });
    }
    let program = first.rsplit('/').next()?;
    if !program.starts_with("lxc-") {
        return None;
    }
    let (mut name, mut directory, mut config) = (None, None, None);
    let mut words = argv.iter().skip(1);
    while let Some(word) = words.next() {
        let text = word.to_str()?;
        if text == "--" {
            break;
        }
        let option = |long: &str, short: &str| match text.strip_prefix(short) {
            Some("") => Some(None),
            Some(value) if !text.starts_with("--") => Some(Some(Name::from(value))),
            _ if text == long => Some(None),
            _ => Some(Some(Name::from(text.strip_prefix(long)?.strip_prefix('=')?))),
        };
        let (place, value) = if let Some(value) = option("--name", "-n") {
            (Some(&mut name), value)
        } else if let Some(value) = option("--lxcpath", "-P") {
            (Some(&mut directory), value)
        } else if let Some(value) = option("--rcfile", "-f") {
            (Some(&mut config), value)
        } else {
            (None, None)
        };
        match place {
            Some(place) => *place = value.or_else(|| words.next().cloned()),
            None if WITH_VALUE.contains(&text) => {
                words.next();
            }
            // lxc-start NAME
            None if !text.starts_with('-') => {
                name = name.or_else(|| Some(word.clone()));
                break;
            }
            None => {}
        }
    }
    Some(Start { name: name?, directory, config })
}

/// The image that a container was made of, as LXC's own template for downloads, or that for OCI images, was told:
/// `lxc-create` writes that above the configuration.
pub fn image(config: &str) -> Option<Name> {
    let mut lines = config.lines();
    let template = lines.next()?.strip_prefix("# Template used to create this container: ")?;
    let parameters = lines.next()?.strip_prefix("# Parameters passed to the template: ")?;
    let words: Vec<Name> = parameters.split_ascii_whitespace().map(Name::from).collect();
    let told = |names: [&str; 2]| argv::option(&words, &names)?.to_str().map(str::to_owned);
    match template.rsplit('/').next()? {
        "lxc-download" => {
            // As the image server calls it.
            let parts = [told(["--dist", "-d"])?, told(["--release", "-r"])?, told(["--arch", "-a"])?];
            let variant = argv::option(&words, &["--variant"]).and_then(|name| name.to_str().map(str::to_owned));
            let parts: Vec<String> = parts.into_iter().chain(variant.filter(|variant| variant != "default")).collect();
            Some(Name::from(parts.join("/")))
        }
        "lxc-oci" => told(["--url", "-u"]).map(Name::from),
        _ => None,
    }
}

/// Other options of lxc-start, lxc-stop and lxc-execute that take a value.
const WITH_VALUE: [&str; 25] = [
    "-o",
    "-l",
    "-c",
    "-L",
    "-p",
    "-s",
    "-t",
    "-u",
    "-g",
    "-k",
    "-m",
    "-S",
    "--logfile",
    "--logpriority",
    "--console",
    "--console-log",
    "--pidfile",
    "--define",
    "--timeout",
    "--uid",
    "--gid",
    "--share-net",
    "--share-ipc",
    "--share-uts",
    "--share-pid",
];

/// Whether a payload's name is that of a container: LXC puts a number behind it when the plain one is taken.
pub fn is_payload_of(payload: &Name, container: &Name) -> bool {
    let Some(rest) = payload.as_bytes().strip_prefix(container.as_bytes()) else { return false };
    let number = rest.strip_prefix(b"-");
    rest.is_empty() || number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// The cgroup of a container's own, or its monitor's, that a path is of: without the number that LXC puts behind it
/// when the plain one is taken.
pub fn cgroup_of(path: &Name, container: &Name) -> Option<Name> {
    let (around, own) = path.as_bytes().split_at(path.as_bytes().iter().rposition(|byte| *byte == b'/')? + 1);
    let prefix = [&b"lxc.payload."[..], b"lxc.monitor."].into_iter().find(|prefix| own.starts_with(prefix));
    let named = [&b"/lxc/"[..], b"/lxc.monitor/"].into_iter().any(|end| around.ends_with(end));
    let (prefix, rest) = own.split_at(prefix.filter(|_| !named).map_or(0, <[u8]>::len));
    let is_its = (named || !prefix.is_empty()) && is_payload_of(&Name::new(rest), container);
    is_its.then(|| Name::new([around, prefix, container.as_bytes()].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_is_in_the_command_line_or_in_the_monitors_title() {
        let check = |argv: &[&str], container_is: Option<&str>| {
            let argv: Vec<Name> = argv.iter().copied().map(Name::from).collect();
            assert_eq!(container(&argv).as_ref().and_then(Name::to_str), container_is, "{argv:?}");
        };
        check(&["lxc-start", "-n", "two"], Some("two"));
        check(&["/usr/bin/lxc-start", "-F", "-P", "/x", "--name=two"], Some("two"));
        check(&["lxc-start", "-d", "two"], Some("two"));
        check(&["lxc-start", "-o", "/log", "-ntwo"], Some("two"));
        check(&["lxc-stop", "-k", "2", "--name", "two"], Some("two"));
        check(&["[lxc monitor] /var/lib/lxc two"], Some("two"));
        check(&["[lxc monitor] /var/lib/my containers two  "], Some("two"));
        check(&["lxc-start", "-P", "/x", "two", "sh", "-n", "else"], Some("two"));
        check(&["lxc-execute", "--", "sh"], None);
        check(&["lxc-start", "-n"], None);
        check(&["lxc-start", "--logfile", "/log", "two"], Some("two"));
        check(&["sh", "-n", "two"], None);
        check(&[], None);
    }

    #[test]
    fn a_start_tells_where_the_container_is_kept() {
        let check = |argv: &[&str], told: Option<[&str; 3]>| {
            let argv: Vec<Name> = argv.iter().copied().map(Name::from).collect();
            let text = |name: Option<Name>| name.map_or("-".to_owned(), |name| name.to_string());
            let found = start(&argv).map(|told| [text(Some(told.name)), text(told.directory), text(told.config)]);
            assert_eq!(found, told.map(|told| told.map(str::to_owned)), "{argv:?}");
        };
        check(&["lxc-start", "-n", "two"], Some(["two", "-", "-"]));
        check(&["lxc-start", "-P", "/x", "--rcfile=/c", "-n", "two"], Some(["two", "/x", "/c"]));
        check(&["lxc-execute", "-ntwo", "--lxcpath", "/x", "-f/c", "--", "sh"], Some(["two", "/x", "/c"]));
        check(&["[lxc monitor] /var/lib/my containers two  "], Some(["two", "/var/lib/my containers", "-"]));
        check(&["lxc-stop", "-n", "two"], None);
        check(&["sh", "-n", "two"], None);
    }

    #[test]
    fn an_image_is_what_the_template_was_told() {
        let check = |template: &str, parameters: &str, image_is: Option<&str>| {
            let config = format!(
                "# Template used to create this container: /usr/share/lxc/templates/{template}\n\
                 # Parameters passed to the template:{parameters}\n# For additional config options\nlxc.uts.name = a\n"
            );
            assert_eq!(image(&config).as_ref().and_then(Name::to_str), image_is, "{config}");
        };
        check("lxc-download", " --dist debian --release bookworm --arch amd64", Some("debian/bookworm/amd64"));
        check("lxc-download", " -d alpine -r 3.19 -a arm64 --variant=cloud", Some("alpine/3.19/arm64/cloud"));
        check("lxc-download", " -d alpine -r 3.19 -a arm64 --variant default", Some("alpine/3.19/arm64"));
        check("lxc-download", " -d alpine", None);
        check("lxc-oci", " --url docker://alpine:3", Some("docker://alpine:3"));
        check("lxc-busybox", "", None);
        check("lxc-debian", " -r bookworm", None);
        for config in ["", "lxc.uts.name = a\n", "# Template used to create this container: lxc-oci"] {
            assert_eq!(image(config), None, "{config}");
        }
    }

    #[test]
    fn a_payload_may_have_a_number_behind_it() {
        let is = |payload: &str, container: &str| is_payload_of(&payload.into(), &container.into());
        assert!(is("two", "two") && is("two-1", "two") && is("two-1-2", "two-1"));
        assert!(!is("two-x", "two") && !is("twofold", "two") && !is("two-", "two") && !is("one", "two"));
    }

    #[test]
    fn a_containers_own_cgroup_and_its_monitors_are_known_with_and_without_a_number() {
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(cgroup_of(&path.into(), &"c1".into()), expected.map(Name::from), "{path}");
        };
        check("/lxc.payload.c1", Some("/lxc.payload.c1"));
        check("/dir/lxc.monitor.c1-12", Some("/dir/lxc.monitor.c1"));
        check("/lxc/c1", Some("/lxc/c1"));
        check("/lxc.monitor/c1-1", Some("/lxc.monitor/c1"));
        for path in
            ["/lxc.pivot", "/lxc", "/c1", "/lxc/c2", "/lxc.payload.c1x", "/lxc.payload.c1/ns", "/lxc.payload.", "x"]
        {
            check(path, None);
        }
    }
}
