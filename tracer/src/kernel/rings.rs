//! The rings by which the kernel programs tell: waits for them, and takes out what is in them.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::Context;
use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use tokio::io::unix::AsyncFd;

use super::record;
use crate::input::{BootTime, Input, LossReason, Lost, Ring};

/// What comes by a ring of its own, in the order in which they are read, and the map that it is.
const RINGS: [(Ring, &str); 3] =
    [(Ring::Lifecycle, "LIFECYCLE"), (Ring::Attempts, "ATTEMPTS"), (Ring::Changes, "CHANGES")];

pub(super) struct Rings {
    all: [OneRing; RINGS.len()],
    waiters: Option<[AsyncFd<OwnedFd>; RINGS.len()]>,
    /// See [`Plan`](super::Plan).
    emptied_by_next: bool,
}

struct OneRing {
    of: Ring,
    buffer: RingBuf<MapData>,
    /// Records that could not be read since this was last asked.
    malformed: u64,
}

impl Rings {
    /// Takes the maps.
    pub(super) fn of(ebpf: &mut Ebpf, emptied_by_next: bool) -> anyhow::Result<Self> {
        let mut open = |(of, name): (Ring, &str)| -> anyhow::Result<OneRing> {
            let map = ebpf.take_map(name).with_context(|| format!("the programs have no map {name}"))?;
            let buffer =
                RingBuf::try_from(map).with_context(|| format!("failed to open the ring of {}", of.as_str()))?;
            Ok(OneRing { of, buffer, malformed: 0 })
        };
        let [lifecycle, attempts, changes] = RINGS;
        Ok(Self { all: [open(lifecycle)?, open(attempts)?, open(changes)?], waiters: None, emptied_by_next })
    }

    /// Waits until one has something. Must be called within a tokio runtime.
    pub(super) async fn readable(&mut self) -> std::io::Result<()> {
        if self.waiters.is_none() {
            let waiter = |ring: &OneRing| -> std::io::Result<_> {
                // SAFETY: the descriptor is a duplicate of our own and stays open as long as it is registered.
                Ok(unsafe { AsyncFd::register(ring.buffer.as_fd().try_clone_to_owned()?) }?)
            };
            let [lifecycle, attempts, changes] = &self.all;
            self.waiters = Some([waiter(lifecycle)?, waiter(attempts)?, waiter(changes)?]);
        }
        let Some([lifecycle, attempts, changes]) = &self.waiters else { return Ok(()) };
        tokio::select! {
            ready = lifecycle.readable() => ready?.clear_ready(),
            ready = attempts.readable() => ready?.clear_ready(),
            ready = changes.readable() => ready?.clear_ready(),
        }
        Ok(())
    }

    /// See [`Tracer::arrived`](super::Tracer::arrived).
    pub(super) fn arrived(&mut self, now: BootTime) -> std::io::Result<(Vec<Input>, Option<Ring>)> {
        let (mut inputs, emptied_by_next) = (Vec::new(), self.emptied_by_next);
        let latest = self.all.each_mut().map(|ring| ring.take(&mut inputs, emptied_by_next));
        // Once all are taken out, and of all at once: most of the time they hold nothing more.
        let have_more = have_more(self.all.each_ref())?;
        let mut behind = None;
        for ((ring, mut latest), mut has_more) in self.all.iter_mut().zip(latest).zip(have_more) {
            // What came since is no sign of anything before it.
            while has_more && latest.is_none_or(|latest| latest < now) {
                latest = ring.take(&mut inputs, emptied_by_next);
                if latest.is_none() {
                    behind = behind.or(Some(ring.of));
                    break;
                }
                [has_more] = self::have_more([&*ring])?;
            }
        }
        Ok((inputs, behind))
    }

    /// How many records could not be read since this was last asked.
    pub(super) fn malformed(&mut self, at: BootTime) -> impl Iterator<Item = Lost> {
        self.all
            .iter_mut()
            .map(move |ring| Lost::some(at, ring.of, LossReason::Malformed, std::mem::take(&mut ring.malformed)))
    }
}

impl OneRing {
    /// Takes out what is finished, up to what is not. Returns the time of the last one.
    fn take(&mut self, inputs: &mut Vec<Input>, emptied_by_next: bool) -> Option<BootTime> {
        let mut last = None;
        while let Some(bytes) = self.buffer.next() {
            match record::decode(&bytes, emptied_by_next) {
                Some(input) => {
                    last = Some(input.at());
                    inputs.push(input);
                }
                None => self.malformed += 1,
            }
        }
        last
    }
}

/// Whether each of these holds anything, finished or not.
fn have_more<const N: usize>(rings: [&OneRing; N]) -> std::io::Result<[bool; N]> {
    let mut waiters = rings.map(|ring| PollFd::from_borrowed_fd(ring.buffer.as_fd(), PollFlags::IN));
    // A signal that comes just then, the one to end for example, has it fail although it waits for nothing.
    retry_on_intr(|| poll(&mut waiters, Some(&Timespec::default())))?;
    Ok(waiters.map(|waiter| waiter.revents().contains(PollFlags::IN)))
}
