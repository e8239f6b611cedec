//! What strangers do to the agent, and what it promises all the same: the real program under its real sandbox, and
//! attackers who are nobody: a user of their own without any right.
//!
//! What else harms nobody is tried elsewhere: too many and too slow at the agent's door in `prometheus/door.rs`, disks
//! that are full, read-only or gone in `recorder/stranded.rs`, and a recorder that is killed at any moment in
//! `recorder/main.rs`.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../support/agent.rs"]
mod agent;
#[path = "../support/booted.rs"]
mod booted;
mod clock;
mod files;
mod fuse;
mod load;
mod machine;
mod memory;
mod stranger;
#[path = "../support/mod.rs"]
mod support;
mod traces;
mod watched;
