//! cgtrace: traces the life of every cgroup and says who tore down what, and whether it hurt.
//!
//! The core takes [`input::Input`]s and gives [`findings::Finding`]s: no I/O, no clock, no failure. The edges make
//! inputs from the kernel and the host, and outputs from findings. `docs/architecture.md` is the map.

#![warn(clippy::print_stderr)]

#[macro_use]
mod say;
#[macro_use]
mod words;
mod budget;
mod hash;
mod memory;
mod phrases;
mod recent;
mod rules;
mod said;
mod schema;
mod state;

pub mod argv;
pub mod bundle;
pub mod cgroup_namespace;
pub mod cgroupfs;
pub mod cli;
pub mod client;
mod commands;
pub mod container;
mod control;
pub mod demo;
pub mod diff;
pub mod duration;
pub mod engine;
pub mod errno;
pub mod explain;
pub mod export;
pub mod filter;
pub mod findings;
pub mod gather;
pub mod hierarchy;
pub mod input;
pub mod issue;
pub mod kernel;
pub mod line;
pub mod lxc;
pub mod machine;
pub mod metrics;
pub mod mounts;
pub mod name;
pub mod nspawn;
pub mod oci;
pub mod otlp;
pub mod output;
pub mod process;
pub mod reader;
pub mod recording;
pub mod records;
pub mod release;
pub mod report;
pub mod rights;
pub mod root;
pub mod runtimes;
pub mod sandbox;
pub mod serve;
pub mod session;
pub mod stream;
pub mod tracker;
pub mod tree;
mod trust;
pub mod waits;
pub mod watcher;
pub mod why;
