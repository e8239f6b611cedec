//! A timer of the kernel's own. The runtime's wakes on the way to a time that is farther off, too: an agent with
//! nothing to do would be woken twice as often.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

const NEVER: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// A timer that is not waited for yet: that takes a runtime.
pub(super) struct Timer(OwnedFd);

impl Timer {
    pub fn new() -> io::Result<Self> {
        Ok(Self(timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?))
    }
}

/// One that can be waited for.
pub(super) struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// Must be called within a tokio runtime.
    pub fn new(timer: &Timer) -> io::Result<Self> {
        // SAFETY: the descriptor is a duplicate of its own and stays open as long as it is registered.
        Ok(Self(unsafe { AsyncFd::register(timer.0.try_clone()?) }?))
    }

    /// Waits so long. Whoever does not wait to the end has lost nothing: the next one sets it anew.
    pub async fn after(&self, rest: Duration) -> io::Result<()> {
        if rest.is_zero() {
            // It would never go off. Who else is ready has a turn.
            tokio::task::yield_now().await;
            return Ok(());
        }
        let once = Timespec { tv_sec: rest.as_secs().cast_signed(), tv_nsec: rest.subsec_nanos().into() };
        let time = Itimerspec { it_interval: NEVER, it_value: once };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &time)?;
        loop {
            self.0.readable().await?.clear_ready();
            // It may have been ready for a time that was set before.
            match rustix::io::read(self.0.get_ref(), &mut [0; 8]) {
                Ok(_) => return Ok(()),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn it_goes_off_when_it_is_set_last_to_and_not_before() -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let alarm = Alarm::new(&Timer::new()?)?;
            let begun = Instant::now();
            alarm.after(Duration::ZERO).await?;
            // One that is given up, and goes off while nobody waits.
            tokio::select! {
                biased;
                _ = alarm.after(Duration::from_millis(1)) => {}
                () = tokio::task::yield_now() => {}
            }
            std::thread::sleep(Duration::from_millis(5));
            alarm.after(Duration::from_millis(100)).await?;
            assert!(begun.elapsed() >= Duration::from_millis(100));
            Ok(())
        })
    }
}
