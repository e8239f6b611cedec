//! What could not be seen, and what that does to a claim.

use std::time::Duration;

use crate::hierarchy::Header;
use crate::input::{BootTime, Lost, Ring};

/// The probes without which a cgroup can come or go unseen.
const ESSENTIAL: [&str; 2] = ["cgroup_mkdir", "cgroup_rmdir"];

/// What could not be seen so far.
#[derive(Debug)]
pub(crate) struct Coverage {
    began: BootTime,
    missing_probes: Vec<String>,
    missing_attempts: Vec<String>,
    unreadable: u64,
    walked: bool,
    lifecycle_lost: Option<BootTime>,
    attempts_lost: Option<BootTime>,
}

impl Coverage {
    pub fn new(header: &Header) -> Self {
        let missing = |wanted: &dyn Fn(&str) -> bool| -> Vec<String> {
            let probes = header.probes.iter().filter(|probe| !probe.attached && wanted(&probe.name));
            probes.map(|probe| probe.name.clone()).collect()
        };
        Self {
            began: BootTime(header.clock.boot_ns),
            missing_probes: missing(&|name| ESSENTIAL.contains(&name)),
            missing_attempts: missing(&|name| name.starts_with("mkdir")),
            unreadable: 0,
            walked: false,
            lifecycle_lost: None,
            attempts_lost: None,
        }
    }

    pub fn lost(&mut self, lost: &Lost) {
        // Whatever the reason: what is gone is gone.
        match lost.ring {
            Ring::Lifecycle => self.lifecycle_lost = Some(lost.at),
            Ring::Attempts => self.attempts_lost = Some(lost.at),
            Ring::Recording => {
                self.lifecycle_lost = Some(lost.at);
                self.attempts_lost = Some(lost.at);
            }
        }
    }

    pub fn walked(&mut self, unreadable: u64) {
        self.walked = true;
        self.unreadable = unreadable;
    }

    /// Directories that the walk at the start could not read.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// How long tracing had been on at `at`.
    pub fn age(&self, at: BootTime) -> Duration {
        at.since(self.began)
    }

    /// Whether tracing had begun by then.
    pub fn is_whole_since(&self, since: BootTime) -> bool {
        since >= self.began
    }

    /// Why a cgroup may have come or gone unseen since `since`.
    pub fn gaps_in_lifecycle(&self, since: BootTime) -> Vec<String> {
        let mut gaps = Vec::new();
        if !self.missing_probes.is_empty() {
            gaps.push(format!("no probe on {}", self.missing_probes.join(", ")));
        }
        if self.lifecycle_lost.is_some_and(|at| at >= since) {
            gaps.push("lifecycle events were lost meanwhile".to_owned());
        }
        gaps
    }

    /// Why a cgroup that is older than the trace may not be known.
    pub fn gaps_in_walk(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        if !self.walked {
            gaps.push("cgroupfs had not been walked to its end".to_owned());
        }
        if self.unreadable > 0 {
            gaps.push(format!("{} cgroup directories could not be read", self.unreadable));
        }
        gaps
    }

    /// Why a failed creation may have happened unseen since `since`.
    pub fn gaps_in_attempts(&self, since: BootTime) -> Vec<String> {
        let mut gaps = Vec::new();
        if !self.missing_attempts.is_empty() {
            gaps.push(format!("no probe on {}", self.missing_attempts.join(", ")));
        }
        if self.attempts_lost.is_some_and(|at| at >= since) {
            gaps.push("failed calls were lost meanwhile".to_owned());
        }
        gaps
    }
}
