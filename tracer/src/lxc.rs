//! What LXC's command lines say. Pure.

use crate::name::Name;

/// The container that a command line of LXC's is about: `lxc-start -n NAME`, `lxc-stop --name=NAME`, and the title that
/// a monitor gives itself, `[lxc monitor] /var/lib/lxc NAME`.
pub fn container(argv: &[Name]) -> Option<Name> {
    let first = argv.first()?.to_str()?;
    if let Some(rest) = first.strip_prefix("[lxc monitor] ") {
        // The name has no spaces; the directory before it may.
        return rest.trim_end().rsplit_once(' ').map(|(_, name)| name).filter(|name| !name.is_empty()).map(Name::from);
    }
    let program = first.rsplit('/').next()?;
    if !program.starts_with("lxc-") {
        return None;
    }
    let mut words = argv.iter().skip(1);
    while let Some(word) = words.next() {
        let text = word.to_str()?;
        if text == "-n" || text == "--name" {
            return words.next().cloned();
        }
        if text == "--" {
            return None;
        }
        if let Some(name) = text.strip_prefix("--name=") {
            return Some(Name::from(name));
        }
        if let Some(name) = text.strip_prefix("-n").filter(|name| !name.is_empty() && !text.starts_with("--")) {
            return Some(Name::from(name));
        }
        if WITH_VALUE.contains(&text) {
            words.next();
        } else if !text.starts_with('-') {
            // lxc-start NAME
            return Some(word.clone());
        }
    }
    None
}

/// Short options of lxc-start, lxc-stop and lxc-execute that take a value.
const WITH_VALUE: [&str; 14] = ["-P", "-o", "-l", "-f", "-c", "-L", "-p", "-s", "-t", "-u", "-g", "-k", "-m", "-S"];

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
        check(&["lxc-execute", "--", "sh"], None);
        check(&["sh", "-n", "two"], None);
        check(&[], None);
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
