//! Which container a cgroup path belongs to.

use serde::Serialize;

use crate::name::Name;

/// The container behind a cgroup path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Container {
    /// The innermost container's id.
    pub id: Name,
    /// `docker`, `containerd`, `runc` …: whose naming scheme the path follows.
    pub runtime: String,
    /// The rule that told, by the name it has in the registry.
    pub rule: String,
    /// The ids of all containers around, outermost first; the last is `id`.
    pub chain: Vec<Name>,
    /// A human's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Its image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Name>,
    /// The pod it belongs to (name if known, else UID).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Name>,
    /// The pod's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Name>,
}
