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
        }
    }

    /// Whether memory is known to be charged to cgroups of a hierarchy: of cgroup2, to those that have the controller.
    pub fn charges_memory(&self, hierarchy: HierarchyId) -> bool {
        self.memory == Some(hierarchy)
    }
}
