//! Lines of logs in which runtimes, engines and managers complain about a cgroup.
//!
//! What such a line names is found in all of them alike: paths, ids, the errno in words. Which program writes it, and
//! what the call was where the line does not say so in the call's own word, is a row of [`FORMS`].

use crate::errno::Errno;
use crate::input::{Operation, Pid};
use crate::mounts;
use crate::name::{Name, components};

/// What a line of a log names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogLine {
    /// The program that writes such lines.
    pub program: Option<&'static str>,
    /// What failed.
    pub operation: Option<Operation>,
    /// How.
    pub errno: Option<Errno>,
    /// Paths of cgroups, without the control file at their end, in the line's order, each once.
    pub paths: Vec<Name>,
    /// What may be a container's id, or a pod's.
    pub ids: Vec<Name>,
    /// The process that could not be moved.
    pub pid: Option<Pid>,
}

/// What a line's words tell: the first row that has all of them.
struct Form {
    program: &'static str,
    /// All of these are in the line, in any order.
    has: &'static [&'static str],
    /// What failed, where no call is named.
    operation: Option<Operation>,
}

const fn form(program: &'static str, has: &'static [&'static str], operation: Option<Operation>) -> Form {
    Form { program, has, operation }
}

/// The registry. Those of managers come first: a line of theirs may quote one of a runtime.
const FORMS: &[Form] = &[
    form("kubelet", &["pod_container_manager_linux"], Some(Operation::Rmdir)),
    form("kubelet", &["pod_workers.go"], None),
    form("kubelet", &["ailed to delete cgroup paths"], Some(Operation::Rmdir)),
    form("kubelet", &[" kubelet["], None),
    form("kubelet", &["kubelet:"], None),
    form("dockerd", &[" dockerd"], None),
    form("dockerd", &["Error response from daemon"], None),
    form("buildkit", &["did not complete successfully"], None),
    form("buildkit", &["failed to solve"], None),
    form("buildkit", &["buildkit-runc"], None),
    form("kata-containers", &["source=virtcontainers"], None),
    form("kata-containers", &["kata-runtime"], None),
    form("garden", &["guardian.create"], None),
    form("gvisor", &["cannot set up cgroup for root"], None),
    form("containerd", &[" containerd["], None),
    form("containerd", &["io.containerd.runtime"], None),
    form("containerd", &["failed to shutdown shim"], None),
    form("containerd", &["cgroups: unable to remove path"], Some(Operation::Rmdir)),
    form("podman", &["conmon cgroup"], Some(Operation::Rmdir)),
    form("podman", &["conmon group"], None),
    form("podman", &["eleting pod", "cgroup"], Some(Operation::Rmdir)),
    form("podman", &["Failed to add conmon to"], None),
    form("podman", &["OCI runtime error"], None),
    form("podman", &["OCI not found"], None),
    form("podman", &["OCI runtime command not found"], None),
    form("podman", &["OCI runtime attempted to invoke"], None),
    form("lxc", &["cgroup_rmdir"], Some(Operation::Rmdir)),
    form("lxc", &["cgfsng", "Failed to create"], Some(Operation::Mkdir)),
    form("lxc", &["lxc-start", "failed to remove cgroup"], Some(Operation::Rmdir)),
    form("lxc", &["lxc-"], None),
    form("lxc", &["cgroups/cgfs"], None),
    form("elogind", &["elogind-daemon"], None),
    form("systemd", &["Failed to create cgroup"], Some(Operation::Mkdir)),
    form("systemd", &["Failed to create compat systemd cgroup"], Some(Operation::Mkdir)),
    form("systemd", &["Failed to realize cgroups"], Some(Operation::Mkdir)),
    form("systemd", &["Couldn't move process"], Some(Operation::Write)),
    form("systemd", &["Failed to attach"], Some(Operation::Write)),
    form("systemd", &["Failed to destroy cgroup"], Some(Operation::Rmdir)),
    form("systemd", &[" systemd["], None),
    form("systemd", &[" systemd: "], None),
    form("youki", &["libcgroups"], None),
    form("youki", &["libcontainer::"], None),
    form("youki", &["youki"], None),
    form("crun", &["creating cgroup directory `"], Some(Operation::Mkdir)),
    form("crun", &["writing file `"], Some(Operation::Write)),
    form("crun", &["crun: "], None),
    form("crun", &["cannot delete path `"], Some(Operation::Rmdir)),
    form("crun", &["cannot open directory `"], Some(Operation::Open)),
    form("runc", &["unable to remove container's cgroup"], Some(Operation::Rmdir)),
    form("runc", &["unable to destroy container"], Some(Operation::Rmdir)),
    form("runc", &["Failed to remove cgroup"], Some(Operation::Rmdir)),
    form("runc", &["ailed to remove paths: map["], Some(Operation::Rmdir)),
    form("runc", &["unable to apply cgroup configuration"], None),
    form("runc", &["applying cgroup configuration for process caused"], None),
    form("runc", &["setting cgroup config for"], None),
    form("runc", &["container's cgroup is not empty"], None),
    form("runc", &["cannot enter cgroupv2"], None),
    form("runc", &["runc"], None),
    form("runc", &["container_linux.go"], None),
    form("runc", &["level=warning msg=\"Failed"], None),
];

/// Words of calls, as Go and libraries put them before a path.
const VERBS: &[(&str, Operation)] = &[
    ("mkdir ", Operation::Mkdir),
    ("rmdir ", Operation::Rmdir),
    ("unlinkat ", Operation::Rmdir),
    ("remove ", Operation::Rmdir),
    ("rename ", Operation::Rename),
    ("write ", Operation::Write),
    ("read ", Operation::Read),
    ("open ", Operation::Open),
    ("openat2 ", Operation::Open),
];

/// Paths and ids of a line that are kept.
const MOST: usize = 64;

/// Reads a line.
pub(super) fn read(line: &str) -> LogLine {
    let mut forms = FORMS.iter().filter(|form| form.has.iter().all(|words| line.contains(words))).peekable();
    let program = forms.peek().map(|form| form.program);
    let (paths, operation) = paths(line);
    LogLine {
        program,
        // A manager's line may quote a runtime's, which says what it tried.
        operation: operation.or_else(|| forms.find_map(|form| form.operation)),
        errno: errno(line),
        paths,
        ids: ids(line),
        pid: pid(line),
    }
}

/// The paths, each once, and the call before the last of them: what is told last is what failed in the end.
fn paths(line: &str) -> (Vec<Name>, Option<Operation>) {
    let mut found: Vec<(Name, Option<Operation>)> = Vec::new();
    let bytes = line.as_bytes();
    let mut at = 0;
    while let Some(start) = (at..bytes.len()).find(|at| begins_path(line, *at)) {
        let end = end_of_path(line, start);
        at = end.max(start + 1);
        let text = &line[start..end];
        let is_elsewhere = ["//", "/proc/", "/dev/", "/run/", "/var/"].iter().any(|place| text.starts_with(place));
        if text.len() < 2 || is_elsewhere {
            continue;
        }
        let before = line[..start].trim_end_matches(['"', '\'', '`', '\\']);
        let verb = VERBS.iter().find(|(word, _)| before.ends_with(word)).map(|(_, operation)| *operation);
        let path = cgroup_path(text);
        if let Some((_, known)) = found.iter_mut().find(|(known, _)| *known == path) {
            *known = verb.or(*known);
        } else if found.len() < MOST {
            found.push((path, verb));
        }
    }
    // Other paths are of interest only where there is none of cgroupfs.
    if found.iter().any(|(path, _)| is_of_cgroupfs(path)) {
        found.retain(|(path, _)| is_of_cgroupfs(path));
    }
    // A line may name where cgroupfs is mounted before it names a cgroup.
    if found.len() > 1 {
        found.retain(|(path, _)| *path != mounts::USUAL);
    }
    let operation = found.iter().rev().find_map(|(_, operation)| *operation);
    (found.into_iter().map(|(path, _)| path).collect(), operation)
}

/// Where it is mounted nearly everywhere, or was.
fn is_of_cgroupfs(path: &Name) -> bool {
    [mounts::USUAL, "/cgroup"].iter().any(|mount| path.as_bytes().starts_with(mount.as_bytes()))
}

/// A path without the control file at its end, without doubled slashes, and without one at its end.
pub(super) fn cgroup_path(path: &str) -> Name {
    let mut whole = Vec::with_capacity(path.len());
    for part in components(path.as_bytes()) {
        whole.push(b'/');
        whole.extend_from_slice(part);
    }
    if whole.is_empty() {
        whole.push(b'/');
    }
    mounts::split_control_file(&Name::from(whole)).0
}

/// Whether a path begins there: with a slash that belongs to nothing before it.
fn begins_path(line: &str, at: usize) -> bool {
    let is_inside = |before: char| before.is_alphanumeric() || "._-/~@+)}]>*".contains(before);
    line.as_bytes()[at] == b'/' && !line[..at].chars().next_back().is_some_and(is_inside)
}

/// Where a path ends that begins there. A colon belongs to it where something follows at once: containerd's
/// `…slice:cri-containerd:ID`.
fn end_of_path(line: &str, start: usize) -> usize {
    let rest = &line[start..];
    let mut end = rest.len();
    for (at, character) in rest.char_indices() {
        let next = rest[at + character.len_utf8()..].chars().next();
        // systemd's escapes: `\x2d`.
        let is_escape = character == '\\' && next == Some('x');
        let is_last = next.is_none_or(|next| next.is_whitespace() || "\"'`\\".contains(next));
        if character.is_whitespace()
            || "\"'`()[]{}<>|;".contains(character)
            || character == '\\' && !is_escape
            || ":,.".contains(character) && is_last
        {
            end = at;
            break;
        }
    }
    start + end
}

/// The errno in words, as a number, or by name. Of several the last: what is wrapped around it comes before.
fn errno(line: &str) -> Option<Errno> {
    let lower = line.to_ascii_lowercase();
    let in_words = Errno::all().filter_map(|errno| {
        let words = errno.meaning()?;
        lower.rfind(words).map(|at| (at + words.len(), words.len(), errno))
    });
    let by_name = Errno::all().filter_map(|errno| {
        let name = errno.known_name()?;
        let at = line.rfind(name)?;
        let is_word = |character: Option<char>| character.is_none_or(|character| !character.is_ascii_alphanumeric());
        let (before, after) = (line[..at].chars().next_back(), line[at + name.len()..].chars().next());
        (is_word(before) && is_word(after)).then_some((at + name.len(), name.len(), errno))
    });
    let by_number = ["os error ", "os { code: ", "errno "].into_iter().filter_map(|words| {
        let at = lower.rfind(words)? + words.len();
        let number: String = lower[at..].chars().take_while(char::is_ascii_digit).collect();
        let errno = Errno(number.parse().ok()?);
        errno.known_name().map(|_| (at + number.len(), number.len(), errno))
    });
    // "no such device" is also the beginning of "no such device or address".
    in_words.chain(by_name).chain(by_number).max_by_key(|(end, length, _)| (*end, *length)).map(|(.., errno)| errno)
}

/// Words that come before an id.
const BEFORE_IDS: &[&str] = &[
    "container=",
    "containerID=",
    "container_id=",
    "podUID=",
    "cid: ",
    "id=",
    "container ",
    "pod ",
    "delete --force ",
];

fn ids(line: &str) -> Vec<Name> {
    let mut found: Vec<Name> = Vec::new();
    let mut keep = |id: &str| {
        let id = Name::from(id);
        if !found.contains(&id) && found.len() < MOST {
            found.push(id);
        }
    };
    let is_of_word = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    for words in BEFORE_IDS {
        for (at, _) in line.match_indices(words) {
            let rest = line[at + words.len()..].trim_start_matches(['"', '\\', '\'']);
            let id: &str = rest.split(|character| !is_of_word(character)).next().unwrap_or_default();
            let is_id = id.len() >= 6 && id.bytes().any(|byte| byte.is_ascii_digit());
            if is_id {
                keep(id.trim_end_matches('.'));
            }
        }
    }
    // Engines' ids, wherever they stand.
    let is_hex = |text: &&str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    line.split(|character: char| !character.is_ascii_alphanumeric()).filter(is_hex).for_each(&mut keep);
    found
}

/// The process that was to be moved into a cgroup.
fn pid(line: &str) -> Option<Pid> {
    ["adding pid ", "attach PID ", "move process ", "failed to write "].into_iter().find_map(|words| {
        let rest = &line[line.find(words)? + words.len()..];
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        number.parse().ok().map(Pid)
    })
}

#[cfg(test)]
mod tests;
