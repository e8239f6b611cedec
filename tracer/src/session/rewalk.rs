//! Cgroupfs, walked again: after a loss, so that what exists is known, whatever was not told.

use std::time::{Duration, Instant};

use super::{Session, feed_all};
use crate::cgroupfs;
use crate::gather::Arrived;
use crate::input::{About, BootTime, Facts, HierarchyId, Input, LossReason, Lost, Ring, WalkedAgain};
use crate::process;
use crate::stream::Stream;

/// It is walked no sooner after the last walk than this, or so many times what that took.
const WALK_AGAIN: Duration = Duration::from_secs(10);
const WALK_SHARE: u32 = 20;
/// For cgroups that there was no room for it is walked so much later.
const FOR_ROOM: Duration = Duration::from_secs(60);

words! {
    /// Why cgroupfs is walked again, by the words of the metrics.
    pub enum WalkReason {
        /// Events were lost.
        RingFull = "ring-full",
        /// The agent did not get to run.
        Stall = "stall",
        /// There was no room to remember some cgroups, and now there is.
        Room = "room",
    }
}

impl Session {
    /// After a loss, or when there is room again: walks cgroupfs again, so that what exists is known, whatever was not
    /// told.
    pub(super) fn walk_again(&mut self, stream: &mut Stream<'_>) -> anyhow::Result<Option<WalkReason>> {
        if self.again.is_none() && stream.tracker().wants_walk() && Instant::now() >= self.not_before + FOR_ROOM {
            self.again = Some(WalkReason::Room);
        }
        // Who removes a cgroup and does not return holds the lock of directories, and would hold us.
        if self.again.is_none() || Instant::now() < self.not_before || self.calls.hang() {
            return Ok(None);
        }
        let reason = self.again.take();
        // What has arrived is told before what is found, but for the latest: something earlier may be on the way.
        feed_all(stream, self.merge.take(process::boot_time()))?;
        let (began, begun) = (process::boot_time(), Instant::now());
        let hierarchies: Vec<HierarchyId> =
            self.header.hierarchies.iter().filter(|h| h.mount.is_some()).map(|h| h.id).collect();
        let mut found = Vec::new();
        let walked = cgroupfs::walk(&self.header.hierarchies, process::boot_time, &mut |event| found.push(event));
        let took = begun.elapsed();
        self.not_before = Instant::now() + WALK_AGAIN.max(took * WALK_SHARE);
        self.stalled |= reason == Some(WalkReason::Stall);
        let about = About::Walked {
            cgroups: walked.cgroups,
            unreadable: walked.unreadable,
            again: Some(WalkedAgain { began, hierarchies }),
        };
        let now = process::boot_time();
        let walked = Input::Facts(Facts { at: now, about });
        // What happened meanwhile is put between what was found before and after it.
        let found = found.into_iter().map(Input::Event).chain([walked]);
        let found = found.chain(super::dying(&self.header.hierarchies)).map(Arrived::Input);
        self.merge.extend(found.collect(), now, now);
        Ok(reason)
    }

    /// What a walk has found that should have been seen was missed while the agent did not run.
    pub(super) fn look_unseen(&mut self, stream: &mut Stream<'_>, now: BootTime) -> anyhow::Result<()> {
        let Some(count) = stream.take_unseen() else { return Ok(()) };
        if std::mem::take(&mut self.stalled) && count > 0 {
            stream.feed(&mut Input::Lost(Lost::some(now, Ring::Lifecycle, LossReason::Stall, count)))?;
        }
        Ok(())
    }
}
