//! What the kernel side could not tell: it counts it, and the agent tells by how much each count grew.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use aya::Ebpf;
use aya::maps::{PerCpuArray, PerCpuHashMap};

use super::bpf;
use super::hook::{SECOND, first, is_entry, is_leaving, is_on_calls, is_trampoline};
use super::plan::Backend;
use super::pod::Pod;
use crate::input::{BootTime, LossReason, Lost, Pid, Ring};
use tracer_ebpf::syscalls::TABLE;
use tracer_ebpf::{Denied, lost};

/// How many counts of [`lost`] there are.
const COUNTS: usize = lost::COUNT as usize;

/// What was told.
#[derive(Default)]
pub(super) struct Losses {
    lost: [u64; COUNTS],
    /// How often each program was skipped.
    missed: BTreeMap<String, u64>,
    /// Of map `DENIED`.
    denied: BTreeMap<(u32, u32), u64>,
    /// How many denied calls were told before they were in the total.
    early: i64,
}

impl Losses {
    /// What the programs have counted since this was last asked.
    pub(super) fn counted(&mut self, ebpf: &Ebpf, at: BootTime) -> Vec<Lost> {
        let mut losses = Vec::new();
        for (index, count) in (0..).zip(self.lost_since(ebpf)) {
            let (ring, reason) = match index {
                lost::RATE_LIMITED => {
                    losses.extend(self.denied(ebpf, at, count));
                    continue;
                }
                lost::LIFECYCLE_FULL => (Ring::Lifecycle, LossReason::RingFull),
                lost::ATTEMPTS_FULL => (Ring::Attempts, LossReason::RingFull),
                lost::CHANGES_FULL => (Ring::Changes, LossReason::RingFull),
                lost::CHANGES_LIMITED => (Ring::Changes, LossReason::RateLimited),
                lost::ATTEMPT_UNREADABLE => (Ring::Attempts, LossReason::Malformed),
                _ => (Ring::Lifecycle, LossReason::Malformed),
            };
            losses.push(Lost::some(at, ring, reason, count));
        }
        losses
    }

    /// Which programs the kernel skipped since this was last asked.
    pub(super) fn missed(&mut self, ebpf: &Ebpf, backend: Backend, at: BootTime) -> Vec<Lost> {
        let mut losses = Vec::new();
        for (name, program) in ebpf.programs() {
            // Where the tracepoint has taken over, trampolines have nothing to tell.
            if is_trampoline(name) && backend != Backend::Trampoline {
                continue;
            }
            // Without it a write is told without its value and its time.
            if is_entry(name) || is_leaving(name) {
                continue;
            }
            // What the first of two copies was skipped for, the second one has told.
            let second = ebpf.program(&format!("{SECOND}{name}"));
            if second.is_some_and(|second| second.fd().is_ok()) {
                continue;
            }
            let Some(total) = program.fd().ok().and_then(|program| bpf::misses(program.as_fd())) else { continue };
            let told = self.missed.get(name).copied().unwrap_or(0);
            if total > told {
                let ring = if is_on_calls(name) { Ring::Attempts } else { Ring::Lifecycle };
                let lost = Lost::some(at, ring, LossReason::Missed, total - told);
                losses.push(Lost { program: Some(first(name).to_owned()), ..lost });
                self.missed.insert(name.to_owned(), total);
            }
        }
        losses
    }

    /// By how much each of [`lost`] grew since this was last asked.
    fn lost_since(&mut self, ebpf: &Ebpf) -> [u64; COUNTS] {
        let map = ebpf.map("LOST").and_then(|map| PerCpuArray::<_, [u64; COUNTS]>::try_from(map).ok());
        let Some(counted) = map.and_then(|map| map.get(&0, 0).ok()) else { return [0; COUNTS] };
        let all = std::array::from_fn(|index| counted.iter().map(|counts| counts[index]).sum());
        let told = std::mem::replace(&mut self.lost, all);
        std::array::from_fn(|index| all[index].saturating_sub(told[index]))
    }

    /// Who was denied `count` calls, and what they were. What cannot be told is of nobody.
    fn denied(&mut self, ebpf: &Ebpf, at: BootTime, count: u64) -> Vec<Lost> {
        if count == 0 {
            return Vec::new();
        }
        let some = |count| Lost::some(at, Ring::Attempts, LossReason::RateLimited, count);
        let map = ebpf.map("DENIED").and_then(|map| PerCpuHashMap::<_, Pod<Denied>, u64>::try_from(map).ok());
        let now: BTreeMap<(u32, u32), u64> = map
            .iter()
            .flat_map(|map| map.iter().flatten())
            .map(|(Pod(Denied { tgid, operation }), counts)| ((tgid, operation), counts.iter().sum()))
            .collect();
        let mut losses = Vec::new();
        // Counted in the kernel after the total was read: it is in the total next time.
        let mut left = count as i64 - self.early;
        for (who, total) in &now {
            let told = self.denied.get(who).copied().unwrap_or(0);
            // One that had given way counts from 0 again.
            let count = if *total < told { *total } else { *total - told };
            left -= count as i64;
            let row = TABLE.iter().find(|row| row.operation as u32 == who.1);
            let operation = row.map(|row| row.operation.into());
            losses.push(Lost { pid: Some(Pid(who.0)), operation, ..some(count) });
        }
        self.denied = now;
        self.early = (-left).max(0);
        losses.push(some(left.max(0) as u64));
        losses
    }
}
