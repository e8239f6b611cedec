//! Paths of cgroups as another cgroup namespace tells them.
//!
//! `/proc` tells a cgroup's path from the root of the *reader's* cgroup namespace on: what is not below that begins
//! with `/..` (cgroup_namespaces(7)). The kernel programs tell whole paths. A process in a container has such a
//! namespace, so what it reads is made whole here, before anybody compares the two.

use crate::input::{Device, HierarchyId};
use crate::name::Name;

/// What a cgroup namespace calls `/`, in each hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupNamespace(Vec<Root>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Root {
    hierarchy: HierarchyId,
    device: Device,
    path: Name,
}

impl CgroupNamespace {
    /// The first one: it calls all by their whole paths. Others are that one, with what they call `/`.
    pub const fn first() -> Self {
        Self(Vec::new())
    }

    /// Adds the whole path of its root in a hierarchy, and the device of that one's superblock.
    pub fn add(&mut self, hierarchy: HierarchyId, device: Device, path: Name) {
        self.0.push(Root { hierarchy, device, path });
    }

    /// The whole path of what it calls so, in the hierarchy on a device. `None` if that cannot be told.
    pub fn whole_on(&self, device: Device, told: &[u8]) -> Option<Name> {
        self.whole(|root| root.device == device, told)
    }

    /// The whole path of what it calls so, in a hierarchy. `None` if that cannot be told.
    pub fn whole_in(&self, hierarchy: HierarchyId, told: &[u8]) -> Option<Name> {
        self.whole(|root| root.hierarchy == hierarchy, told)
    }

    fn whole(&self, is: impl Fn(&Root) -> bool, told: &[u8]) -> Option<Name> {
        let Some(root) = self.0.iter().find(|root| is(root)) else {
            let is_outside = names_of(told).next() == Some(b"..");
            return (!is_outside).then(|| Name::new(told));
        };
        let mut names: Vec<&[u8]> = names_of(root.path.as_bytes()).collect();
        for name in names_of(told) {
            match name {
                b".." => drop(names.pop()?),
                name => names.push(name),
            }
        }
        Some(if names.is_empty() { Name::from("/") } else { Name::new([b"/", &names.join(&b'/')[..]].concat()) })
    }
}

/// How many levels above its own root a namespace calls so, if nothing else: `/../..` is two above.
pub fn levels_above(told: &[u8]) -> Option<usize> {
    names_of(told).all(|name| name == b"..").then(|| names_of(told).count())
}

fn names_of(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: Device = Device { major: 0, minor: 38 };
    const OTHER: Device = Device { major: 0, minor: 39 };

    #[test]
    fn a_path_that_climbs_out_of_the_namespace_is_made_whole() {
        let mut namespace = CgroupNamespace::first();
        namespace.add(HierarchyId(0), V2, "/kubepods.slice/pod1/agent".into());
        let check = |told: &str, whole: Option<&str>| {
            assert_eq!(namespace.whole_on(V2, told.as_bytes()), whole.map(Name::from), "{told}");
            assert_eq!(namespace.whole_in(HierarchyId(0), told.as_bytes()), whole.map(Name::from), "{told}");
        };
        check("/", Some("/kubepods.slice/pod1/agent"));
        check("/below", Some("/kubepods.slice/pod1/agent/below"));
        check("/../../pod2/web", Some("/kubepods.slice/pod2/web"));
        check("/../../..", Some("/"));
        check("/../../../system.slice/sshd.service", Some("/system.slice/sshd.service"));
        // Above the top there is nothing: it is not the namespace that it was taken for.
        check("/../../../..", None);
    }

    #[test]
    fn the_first_namespace_tells_whole_paths() {
        let first = CgroupNamespace::first();
        assert_eq!(first.whole_on(V2, b"/a/b"), Some("/a/b".into()));
        assert_eq!(first.whole_in(HierarchyId(0), b"/"), Some("/".into()));
        assert_eq!(first.whole_in(HierarchyId(0), b"/../x"), None, "it is told by another one");
    }

    #[test]
    fn a_hierarchy_has_a_root_of_its_own() {
        let mut namespace = CgroupNamespace::first();
        namespace.add(HierarchyId(0), V2, "/agent".into());
        assert_eq!(namespace.whole_on(OTHER, b"/web"), Some("/web".into()));
        assert_eq!(namespace.whole_in(HierarchyId(4), b"/../web"), None);
    }

    #[test]
    fn only_what_is_around_the_root_tells_how_deep_that_lies() {
        let check = |told: &str, levels: Option<usize>| assert_eq!(levels_above(told.as_bytes()), levels, "{told}");
        check("/", Some(0));
        check("/../..", Some(2));
        check("/../web", None);
        check("/web", None);
    }
}
