//! Which container a cgroup path belongs to: the naming schemes of container runtimes, one rule each.
//!
//! A path is read component by component from the root. Each component that a rule recognises adds a container to the
//! chain, so that nested containers are found. What no rule recognises is no container: nothing is guessed from a name
//! that merely looks like an id. Sources: the runtimes' own code and `tests/data/container-paths.tsv`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::budget::{Scale, Weigh, weigh};
use crate::name::Name;

/// The container behind a cgroup path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Container {
    /// The innermost container's id.
    pub id: Name,
    /// `docker`, `containerd`, `runc` …: whose naming scheme the path follows, or whose command line named it.
    pub runtime: String,
    /// The rule that told, by the name it has in the registry.
    pub rule: String,
    /// The ids of all containers around, outermost first; the last is `id`.
    pub chain: Vec<Name>,
    /// A human's name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Name>,
    /// The pod it belongs to (name if known, else UID).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Name>,
    /// The pod's namespace, or containerd's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Name>,
    /// How many components of the path lead to the cgroup of each in the chain.
    #[serde(skip)]
    pub depths: Vec<usize>,
}

impl Container {
    /// How many components of the path lead to its own cgroup; what lies below may be another container's.
    pub fn depth(&self) -> usize {
        self.depths.last().copied().unwrap_or(0)
    }

    /// The same one within another, of whose chain it has at most a part.
    pub fn within(mut self, around: &Self) -> Self {
        let below = |depth: &usize| *depth > around.depth();
        let own = self.chain.iter().zip(&self.depths).filter(|(_, depth)| below(depth));
        let (chain, depths): (Vec<Name>, Vec<usize>) = own.map(|(id, depth)| (id.clone(), *depth)).unzip();
        self.chain = [&around.chain[..], &chain].concat();
        self.depths = [&around.depths[..], &depths].concat();
        self
    }
}

/// Whether a component of a path is called as a unit of systemd of one of these types (`.scope` …).
pub(crate) fn is_unit(component: &[u8], types: &[&str]) -> bool {
    let is_of = |kind: &&str| component.len() > kind.len() && component.ends_with(kind.as_bytes());
    types.iter().any(is_of)
}

/// A component of a path in its place.
struct Here<'a> {
    /// The component, systemd's escapes undone, with `.scope` or `.service` where it has that.
    name: &'a str,
    /// The components before it, outermost first.
    before: &'a [Cow<'a, str>],
    /// It is the last one.
    last: bool,
    /// A container around it was found already.
    nested: bool,
}

impl Here<'_> {
    fn parent(&self) -> &str {
        self.before.last().map_or("", |name| name)
    }

    fn scope(&self) -> Option<&str> {
        self.name.strip_suffix(".scope")
    }

    /// `PREFIX-ID.scope` with an id of 64 hexadecimal digits.
    fn hex_scope(&self, prefix: &str) -> Option<String> {
        self.scope()?.strip_prefix(prefix).filter(|id| is_hex_id(id)).map(str::to_owned)
    }
}

/// One naming scheme.
struct Rule {
    name: &'static str,
    runtime: &'static str,
    /// The id of the container that a component is the cgroup of.
    read: fn(&Here) -> Option<String>,
}

/// The registry. The first rule that recognises a component has it.
const RULES: &[Rule] = &[
    Rule { name: "docker-scope", runtime: "docker", read: |here| here.hex_scope("docker-") },
    Rule { name: "cri-containerd-scope", runtime: "containerd", read: |here| here.hex_scope("cri-containerd-") },
    Rule { name: "crio-scope", runtime: "cri-o", read: |here| here.hex_scope("crio-") },
    Rule { name: "nerdctl-scope", runtime: "nerdctl", read: |here| here.hex_scope("nerdctl-") },
    Rule { name: "libpod-scope", runtime: "podman", read: |here| here.hex_scope("libpod-") },
    Rule { name: "libpod-directory", runtime: "podman", read: libpod_directory },
    Rule { name: "buildkit", runtime: "buildkit", read: buildkit },
    Rule { name: BARE_ID_RULE, runtime: "buildkit", read: buildkit_bare },
    Rule { name: "docker-directory", runtime: "docker", read: docker_directory },
    Rule { name: "ecs-task", runtime: "ecs", read: ecs_task },
    Rule { name: "kubepods-directory", runtime: "kubernetes", read: kubepods_directory },
    Rule { name: "cri-containerd-unit", runtime: "containerd", read: containerd_unit },
    Rule { name: "containerd-namespace", runtime: "containerd", read: containerd_namespace },
    Rule { name: "buildah", runtime: "buildah", read: buildah },
    Rule { name: "runc-scope", runtime: "runc", read: |here| bare_scope(here, "runc-") },
    Rule { name: "crun-scope", runtime: "crun", read: |here| bare_scope(here, "crun-") },
    Rule { name: "youki-directory", runtime: "youki", read: youki_directory },
    Rule { name: "youki-scope", runtime: "youki", read: |here| bare_scope(here, "youki-") },
    Rule { name: LXC_RULE, runtime: "lxc", read: lxc },
    Rule { name: "libvirt-lxc-scope", runtime: "libvirt-lxc", read: libvirt_lxc },
    Rule { name: "machine-scope", runtime: "nspawn", read: machine },
    Rule { name: NOMAD_RULE, runtime: "nomad", read: nomad },
];

/// The rule that reads LXC's names, in which a number may follow the container's.
pub const LXC_RULE: &str = "lxc";
/// The rule whose ids end in the name of a task.
const NOMAD_RULE: &str = "nomad-scope";
/// The rule that takes a bare word for BuildKit's id where its shape is all that says so.
pub const BARE_ID_RULE: &str = "buildkit-id";

/// Whose a cgroup is, as far as its path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A container's.
    Container(Container),
    /// A helper's beside a container (conmon, a monitor).
    Helper,
    /// No rule says.
    Unknown,
}

/// Whose a path is, by the first rule that recognises each of its components.
pub fn owner(path: &Name) -> Owner {
    let Some(text) = path.to_str() else { return Owner::Unknown };
    let components: Vec<Cow<str>> = text.split('/').filter(|part| !part.is_empty()).map(unescape).collect();
    let mut chain: Vec<Name> = Vec::new();
    let mut depths: Vec<usize> = Vec::new();
    let mut found: Option<(&Rule, usize)> = None;
    for (index, name) in components.iter().enumerate() {
        let last = index + 1 == components.len();
        let here = Here { name, before: &components[..index], last, nested: !chain.is_empty() };
        if is_helper(&here) {
            return Owner::Helper;
        }
        if let Some((rule, id)) = RULES.iter().find_map(|rule| Some((rule, (rule.read)(&here)?))) {
            chain.push(Name::from(id));
            depths.push(index + 1);
            found = Some((rule, index));
        }
    }
    let (Some((rule, index)), Some(id)) = (found, chain.last().cloned()) else { return Owner::Unknown };
    let name = if rule.name == NOMAD_RULE { nomad_task(&id) } else { None };
    Owner::Container(Container {
        id,
        runtime: rule.runtime.to_owned(),
        rule: rule.name.to_owned(),
        chain,
        name,
        image: None,
        pod: components[..=index].iter().rev().find_map(|component| pod_uid(component)).map(Name::from),
        namespace: None,
        depths,
    })
}

/// The container that a path belongs to, if a rule says so.
pub fn from_path(path: &Name) -> Option<Container> {
    match owner(path) {
        Owner::Container(container) => Some(container),
        Owner::Helper | Owner::Unknown => None,
    }
}

/// Undoes systemd's `\xNN` escapes, where they give valid text.
fn unescape(component: &str) -> Cow<'_, str> {
    if !component.contains("\\x") {
        return Cow::Borrowed(component);
    }
    let mut out = Vec::with_capacity(component.len());
    let mut rest = component.as_bytes();
    while let [first, tail @ ..] = rest {
        if let [b'\\', b'x', high, low, tail @ ..] = rest
            && let (Some(high), Some(low)) = ((*high as char).to_digit(16), (*low as char).to_digit(16))
        {
            out.push((high << 4 | low) as u8);
            rest = tail;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(out).map_or(Cow::Borrowed(component), Cow::Owned)
}

/// 64 lower-case hexadecimal digits: docker, containerd and podman ids.
fn is_hex_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A UUID with dashes or, as in systemd's slices, underscores.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => matches!(byte, b'-' | b'_'),
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The pod's UID in a component such as `pod2f3a…` or `kubepods-burstable-pod2f3a….slice`.
fn pod_uid(component: &str) -> Option<String> {
    let component = component.split(':').next().unwrap_or(component);
    let name = component.strip_suffix(".slice").unwrap_or(component);
    let uid = &name[name.rfind("pod")? + 3..];
    let is_pod = name.starts_with("pod") || name.starts_with("kubepods-");
    (is_pod && is_uuid(uid)).then(|| uid.replace('_', "-"))
}

/// A process beside a container (conmon, a monitor): nothing from here on is a container.
fn is_helper(here: &Here) -> bool {
    let scope = here.scope().unwrap_or(here.name);
    ["crio-conmon-", "libpod-conmon-", "lxc.monitor."].iter().any(|prefix| scope.starts_with(prefix))
        || here.name == "conmon" && here.parent().starts_with("libpod-")
}

/// `libpod-ID` of the cgroupfs manager, `libpod-payload-ID` of `--cgroups=split`.
fn libpod_directory(here: &Here) -> Option<String> {
    let id = here.name.strip_prefix("libpod-payload-").or_else(|| here.name.strip_prefix("libpod-"))?;
    is_hex_id(id).then(|| id.to_owned())
}

/// 25 characters of `[0-9a-z]` with at least one digit and one letter.
fn is_buildkit_id(name: &str) -> bool {
    name.len() == 25
        && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z'))
        && name.bytes().any(|byte| byte.is_ascii_digit())
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// An id in `buildkit`.
fn buildkit(here: &Here) -> Option<String> {
    (here.parent() == "buildkit" && is_buildkit_id(here.name)).then(|| here.name.to_owned())
}

/// An id at the root, or in a container.
fn buildkit_bare(here: &Here) -> Option<String> {
    let in_place = here.before.is_empty() || here.nested;
    (in_place && is_buildkit_id(here.name)).then(|| here.name.to_owned())
}

/// An id in `docker`, in GitHub's `actions_job`, or in ECS's task directory.
fn docker_directory(here: &Here) -> Option<String> {
    let in_ecs = here.before.len() >= 2 && here.before[here.before.len() - 2] == "ecs";
    let in_place = matches!(here.parent(), "docker" | "actions_job") || in_ecs;
    (in_place && is_hex_id(here.name)).then(|| here.name.to_owned())
}

/// `TASK-NUMBER` in `ecs`: 32 hexadecimal digits, a dash, digits.
fn ecs_task(here: &Here) -> Option<String> {
    let (task, number) = here.name.split_once('-')?;
    let is_task = task.len() == 32 && task.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (here.parent() == "ecs" && is_task && is_number(number)).then(|| here.name.to_owned())
}

/// An id in a pod's directory.
fn kubepods_directory(here: &Here) -> Option<String> {
    (pod_uid(here.parent()).is_some() && is_hex_id(here.name)).then(|| here.name.to_owned())
}

/// `SLICE:cri-containerd:ID`: systemd's form, given to the cgroupfs driver.
fn containerd_unit(here: &Here) -> Option<String> {
    let (rest, id) = here.name.rsplit_once(':')?;
    (rest.ends_with(":cri-containerd") && is_hex_id(id)).then(|| id.to_owned())
}

/// `/NAMESPACE/ID` at the root: the two namespaces that ctr and the CRI plugin use by default.
fn containerd_namespace(here: &Here) -> Option<String> {
    let [namespace] = here.before else { return None };
    match &**namespace {
        "k8s.io" => is_hex_id(here.name).then(|| here.name.to_owned()),
        "default" if here.last => Some(here.name.to_owned()),
        _ => None,
    }
}

/// `buildah-buildah123456` and `buildah-NAME123456` at the root: buildah's `run`.
fn buildah(here: &Here) -> Option<String> {
    let id = here.name.strip_prefix("buildah-")?;
    let is_id = id.strip_prefix("buildah").is_some_and(is_number);
    (is_id && here.before.is_empty()).then(|| id.to_owned())
}

/// `runc-ID.scope` in a slice.
fn bare_scope(here: &Here, prefix: &str) -> Option<String> {
    let id = here.scope()?.strip_prefix(prefix)?;
    (!id.is_empty() && here.parent().ends_with(".slice")).then(|| id.to_owned())
}

/// `:youki:ID` wherever youki is told of no other path: what is written for systemd, taken as a name.
fn youki_directory(here: &Here) -> Option<String> {
    here.name.strip_prefix(":youki:").filter(|id| !id.is_empty()).map(str::to_owned)
}

fn lxc(here: &Here) -> Option<String> {
    match here.name.strip_prefix("lxc.payload.") {
        Some(id) => (!id.is_empty()).then(|| id.to_owned()),
        None => (here.before.len() == 1 && here.parent() == "lxc").then(|| here.name.to_owned()),
    }
}

/// The machine of `machine-MACHINE.scope` in `machine.slice`, where systemd-machined puts them.
fn machine_scope<'a>(here: &Here<'a>) -> Option<&'a str> {
    let scope = here.name.strip_suffix(".scope")?.strip_prefix("machine-")?;
    (here.parent() == "machine.slice").then_some(scope)
}

/// The name in `DRIVER-NUMBER-NAME`, as libvirt calls a machine.
fn libvirt_name<'a>(machine: &'a str, driver: &str) -> Option<&'a str> {
    let (number, name) = machine.strip_prefix(driver)?.strip_prefix('-')?.split_once('-')?;
    (is_number(number) && !name.is_empty()).then_some(name)
}

/// `machine-lxc-NUMBER-NAME.scope`: libvirt's driver for containers.
fn libvirt_lxc(here: &Here) -> Option<String> {
    libvirt_name(machine_scope(here)?, "lxc").map(str::to_owned)
}

/// `machine-NAME.scope`, and the service form `systemd-nspawn@NAME.service`. libvirt's virtual machines are called the
/// same way.
fn machine(here: &Here) -> Option<String> {
    let scope = || machine_scope(here).filter(|machine| libvirt_name(machine, "qemu").is_none());
    let service = || {
        let name = here.name.strip_prefix("systemd-nspawn@")?.strip_suffix(".service");
        name.filter(|_| here.parent() == "machine.slice")
    };
    scope().or_else(service).filter(|id| !id.is_empty()).map(str::to_owned)
}

/// `ALLOCATION.TASK.scope` in nomad's slice.
fn nomad(here: &Here) -> Option<String> {
    let id = here.scope()?;
    let in_nomad = here.before.iter().any(|component| component == "nomad.slice");
    let (allocation, task) = id.split_once('.')?;
    (in_nomad && is_uuid(allocation) && !task.is_empty()).then(|| id.to_owned())
}

/// The task of `ALLOCATION.TASK`.
fn nomad_task(id: &Name) -> Option<Name> {
    id.to_str()?.split_once('.').map(|(_, task)| Name::from(task))
}

/// Whether an id was drawn by an engine: no two containers have it.
pub fn is_drawn(id: &str) -> bool {
    is_hex_id(id) || is_buildkit_id(id)
}

/// The user whose own slice of systemd a path is in.
pub fn user(path: &Name) -> Option<u32> {
    let below = path.as_bytes().strip_prefix(b"/user.slice/user-")?;
    let own = below.split(|byte| *byte == b'/').next()?.strip_suffix(b".slice")?;
    std::str::from_utf8(own).ok()?.parse().ok()
}

weigh! { Container: id, runtime, rule, chain, name, image, pod, namespace, depths; }

impl Weigh for Owner {
    fn weigh(&self, scale: &mut Scale) {
        match self {
            Self::Container(container) => container.weigh(scale),
            Self::Helper | Self::Unknown => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtimes;

    const TABLE: &str = include_str!("../tests/data/container-paths.tsv");

    #[test]
    fn every_row_of_the_table_is_read_as_it_says() {
        let mut rows = 0;
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let mut fields = line.split('\t');
            let mut next = || fields.next().unwrap_or_default();
            let (path, runtime, id, chain) = (next(), next(), next(), next());
            let found = from_path(&path.into());
            if id == "-" {
                assert_eq!(found, None, "{path}");
                let is_helper = owner(&path.into()) == Owner::Helper;
                assert_eq!(is_helper, runtime != "-", "{path}: only a helper names a runtime");
            } else {
                let found = found.unwrap_or_else(|| panic!("{path}: no container"));
                assert_eq!((found.id.to_string().as_str(), found.runtime.as_str()), (id, runtime), "{path}");
                let ids: Vec<String> = found.chain.iter().map(Name::to_string).collect();
                assert_eq!(ids.join(" "), chain, "{path}");
            }
            rows += 1;
        }
        assert!(rows >= 58, "{rows} rows");
    }

    #[test]
    fn every_runtime_that_a_rule_names_is_in_the_registry() {
        for rule in RULES {
            assert!(runtimes::by_name(rule.runtime).is_some(), "{}: {}", rule.name, rule.runtime);
        }
    }

    #[test]
    fn pods_are_named_by_their_uid() {
        let id = "a1".repeat(32);
        let uid = "2f3a9c1e-7b54-4d0a-9c55-0d1f6e8b7a21";
        for parent in [
            format!("/kubepods/burstable/pod{uid}/{id}"),
            format!("/kubepods.slice/kubepods-pod{}.slice/crio-{id}.scope", uid.replace('-', "_")),
            format!("/kubepods-pod{}.slice:cri-containerd:{id}", uid.replace('-', "_")),
        ] {
            let found = from_path(&parent.as_str().into()).expect("a container");
            assert_eq!(found.pod, Some(uid.into()), "{parent}");
        }
    }

    #[test]
    fn a_task_of_nomads_is_named_by_its_scope() {
        let path = "/nomad.slice/share.slice/2f3a9c1e-7b54-4d0a-9c55-0d1f6e8b7a21.web.1.scope";
        assert_eq!(from_path(&path.into()).and_then(|found| found.name), Some("web.1".into()));
        assert_eq!(from_path(&"/lxc.payload.web.1".into()).and_then(|found| found.name), None);
    }

    #[test]
    fn a_slice_is_its_users() {
        let check = |path: &str, uid| assert_eq!(user(&path.into()), uid, "{path}");
        check("/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope", Some(1000));
        check("/user.slice", None);
        check("/user.slice/user-.slice/x", None);
        check("/docker/x/user.slice/user-1000.slice", None);
    }

    #[test]
    fn systemds_escapes_are_undone() {
        let found = from_path(&r"/machine.slice/machine-my\x2dbox.scope".into()).expect("a container");
        assert_eq!(found.id, "my-box");
    }

    #[test]
    fn nothing_is_guessed() {
        for path in [
            "/",
            "",
            "/a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90",
            "/internationalizationabcde",
            "/user.slice/irpsym10jqj937p3dxo13jky1",
            "/docker",
            "/docker/short",
            "/system.slice/runc-.scope",
            "/a/default/web-1",
        ] {
            assert_eq!(from_path(&path.into()), None, "{path}");
        }
        assert_eq!(from_path(&Name::new(b"/docker/\xff\xfe")), None);
    }
}
