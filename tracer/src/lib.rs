//! cgtrace: traces the life of every cgroup and says who tore down what, and whether it hurt.
//!
//! The core takes [`input::Input`]s and gives [`findings::Finding`]s: no I/O, no clock, no failure. The edges make inputs
//! from the kernel and the host, and outputs from findings. `docs/architecture.md` is the map.

pub mod container;
pub mod errno;
pub mod findings;
pub mod hierarchy;
pub mod input;
pub mod name;
