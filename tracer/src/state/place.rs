//! A place in a hierarchy, and what was seen there: a cgroup's creation, its removal, and one that exists.

use std::sync::Arc;

use crate::budget::weigh;
use crate::container::Container;
use crate::input::{Actor, BootTime, Cgroup, CgroupId, HierarchyId, Seq};
use crate::name::Name;

/// A path in a hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub hierarchy: HierarchyId,
    pub path: Name,
}

impl Place {
    pub fn of(cgroup: &Cgroup) -> Self {
        Self { hierarchy: cgroup.hierarchy, path: cgroup.path.clone() }
    }

    /// This place with `from` at its beginning, as whole components, replaced by `to`. `None` if it is elsewhere.
    pub fn moved(&self, from: &Name, to: &Name) -> Option<Self> {
        let rest = self.path.as_bytes().strip_prefix(from.as_bytes())?;
        let is_whole = rest.is_empty() || rest[0] == b'/';
        is_whole.then(|| Self { hierarchy: self.hierarchy, path: Name::new([to.as_bytes(), rest].concat()) })
    }

    /// The cgroup around this one; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let path = self.path.as_bytes();
        if path.len() <= 1 {
            return None;
        }
        let slash = path.iter().rposition(|byte| *byte == b'/')?;
        Some(Self { hierarchy: self.hierarchy, path: Name::new(&path[..slash.max(1)]) })
    }

    /// The cgroup's own name, the last of the path.
    pub fn name(&self) -> &[u8] {
        self.path.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }
}

/// A creation that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Creation {
    pub seq: Seq,
    pub at: BootTime,
}

/// A cgroup that exists. Ids are used again: another creation is another life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Existing {
    pub id: CgroupId,
    pub level: Option<u32>,
    /// `None` if its creation was not seen.
    pub created: Option<Creation>,
}

/// A removal that was seen.
#[derive(Clone, Debug)]
pub(crate) struct Removal {
    pub seq: Seq,
    pub at: BootTime,
    pub actor: Option<Actor>,
    /// What was removed.
    pub cgroup: Cgroup,
    pub created: Option<Creation>,
    pub container: Option<Arc<Container>>,
}

weigh! {
    Place: path;
    Removal: actor, cgroup, container;
}
