//! Calls on cgroupfs that were told of because they do not return, and have not since.

use std::sync::Arc;

use crate::budget::{self, weigh};
use crate::input::{CallId, CgroupId, HierarchyId, Pid, Seq, Stuck};
use crate::recent::Recent;

/// Calls kept at most: as many as the kernel side can see at a time.
const CALLS: usize = tracer_ebpf::BEGUN;

/// A call, and the line that told of it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub seq: Seq,
    pub stuck: Arc<Stuck>,
}

weigh! { Call: stuck; }

/// All that are known.
#[derive(Debug)]
pub(crate) struct InFlight(Recent<CallId, Call>);

impl Default for InFlight {
    fn default() -> Self {
        Self(Recent::new(CALLS, budget::IN_FLIGHT))
    }
}

impl InFlight {
    /// A call has not returned, or has.
    pub fn tell(&mut self, seq: Seq, stuck: &Arc<Stuck>) {
        let call = stuck.call();
        self.0.take(&call);
        if stuck.took_ns.is_none() {
            self.0.tell(call, Call { seq, stuck: Arc::clone(stuck) });
        }
    }

    /// A process has ended, and is in no call any more.
    pub fn ended(&mut self, pid: Pid) {
        let is_of = |call: &&Call| call.stuck.actor.pid == pid;
        let over: Vec<_> = self.0.in_order().filter(|(_, call)| is_of(call)).map(|(key, _)| *key).collect();
        for key in over {
            self.0.take(&key);
        }
    }

    /// A call that has not returned, as it was told.
    pub fn get(&self, call: CallId) -> Option<&Stuck> {
        self.0.get(&call).map(|call| &*call.stuck)
    }

    /// Those on a cgroup.
    pub fn on(&self, hierarchy: HierarchyId, id: CgroupId) -> impl Iterator<Item = &Call> {
        self.all().filter(move |call| (call.stuck.hierarchy, call.stuck.id) == (hierarchy, id))
    }

    /// All of them, as they were told.
    pub fn all(&self) -> impl Iterator<Item = &Call> {
        self.0.in_order().map(|(_, call)| call)
    }

    /// Those that had to make room.
    pub fn evicted(&self) -> u64 {
        self.0.evicted
    }
}
