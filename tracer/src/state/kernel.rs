//! What the traced kernel is like, as far as that changes what things mean.

use crate::hierarchy::Header;
use crate::input::HierarchyId;
use crate::release::{self, RmdirClass};

/// What the traced kernel is like.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// `None` if that is not known.
    pub rmdir_class: Option<RmdirClass>,
    /// Whether a page that is charged to a removed memory cgroup keeps it. `None` if that is not known.
    pub keeps_pages: Option<bool>,
    /// The hierarchy that the memory controller is bound to. `None` if it is nobody's, or not known.
    memory: Option<HierarchyId>,
    /// The controllers of all hierarchies of v1, and those that the root of cgroup2 has: empty if that is not known.
    on_v1: Vec<String>,
    on_v2: Vec<String>,
}

impl Kernel {
    /// The one that a header is of.
    pub fn new(header: &Header) -> Self {
        let has_memory = |controllers: &[String]| controllers.iter().any(|name| name == "memory");
        let memory = header.hierarchies.iter().find(|hierarchy| has_memory(&hierarchy.controllers));
        Self {
            rmdir_class: header.rmdir_class,
            keeps_pages: release::keeps_pages(&header.kernel),
            memory: memory.map(|hierarchy| hierarchy.id),
            on_v1: controllers(header, 1),
            on_v2: controllers(header, 2),
        }
    }

    /// Whether a hierarchy of v1 had a controller when tracing began.
    pub fn is_on_v1(&self, controller: &str) -> bool {
        self.on_v1.iter().any(|name| name == controller)
    }

    /// Whether the root of cgroup2 had a controller when tracing began. `None` if that is not known.
    pub fn is_on_v2(&self, controller: &str) -> Option<bool> {
        (!self.on_v2.is_empty()).then(|| self.on_v2.iter().any(|name| name == controller))
    }

    /// Whether memory is known to be charged to cgroups of a hierarchy: of cgroup2, to those that have the controller.
    pub fn charges_memory(&self, hierarchy: HierarchyId) -> bool {
        self.memory == Some(hierarchy)
    }
}

/// The controllers of all hierarchies of a version.
fn controllers(header: &Header, version: u8) -> Vec<String> {
    let hierarchies = header.hierarchies.iter().filter(|hierarchy| hierarchy.version == version);
    hierarchies.flat_map(|hierarchy| hierarchy.controllers.iter().cloned()).collect()
}
