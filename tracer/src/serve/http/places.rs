//! Who has a place, and who gives one up: connections are bounded, and nobody can keep others out by holding them.
//!
//! A connection that is not being answered (its request is not all there, or it is kept open between two) is idle. When all
//! places are taken, the one that has been idle longest gives its place to whoever comes. Long answers, which a slow reader
//! draws out, never have all places: some are left for health and metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Whoever is to give up its place has done so by then.
const GIVEN_UP: Duration = Duration::from_secs(1);
/// So long everybody keeps a place at least: one who asks at once has said it all by then.
const MOMENT: Duration = Duration::from_millis(20);

/// All places.
pub(super) struct Places {
    all: Arc<Semaphore>,
    long: Arc<Semaphore>,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    next: u64,
    /// The one that has been idle longest comes first, with the time since when.
    waiting: BTreeMap<u64, (Instant, Arc<Notify>)>,
}

impl Places {
    /// So many, and so many of them for long answers at most.
    pub fn new(all: usize, long: usize) -> Arc<Self> {
        Arc::new(Self {
            all: Arc::new(Semaphore::new(all)),
            long: Arc::new(Semaphore::new(long)),
            idle: Mutex::default(),
        })
    }

    /// Waits, if all places are taken, until the one that has been idle longest has had its moment: whoever comes meanwhile waits to be
    /// let in.
    pub async fn settle(&self) {
        while self.all.available_permits() == 0 {
            let oldest = self.idle().waiting.first_key_value().map(|(_, (since, _))| *since);
            let Some(left) = oldest.and_then(|since| MOMENT.checked_sub(since.elapsed())) else { return };
            tokio::time::sleep(left.max(Duration::from_millis(1))).await;
        }
    }

    /// A place for whoever has just connected. `None` if all are being answered. Must be asked for once a connection.
    pub fn enter(self: &Arc<Self>) -> Option<Entering> {
        let free = self.all.clone().try_acquire_owned().ok();
        if free.is_none() {
            let (_, (_, oldest)) = self.idle().waiting.pop_first()?;
            oldest.notify_one();
        }
        Some(Entering { places: self.clone(), free })
    }

    /// A place for a long answer. `None` if those are all taken.
    pub fn long_answer(&self) -> Option<OwnedSemaphorePermit> {
        self.long.clone().try_acquire_owned().ok()
    }

    /// Waits until all places are free.
    pub async fn wait_until_empty(&self, count: usize) {
        let _ = self.all.acquire_many(u32::try_from(count).unwrap_or(u32::MAX)).await;
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is free, or is about to be.
pub(super) struct Entering {
    places: Arc<Places>,
    free: Option<OwnedSemaphorePermit>,
}

impl Entering {
    /// Takes the place. `None` if it was not given up in time.
    pub async fn take(self) -> Option<Arc<Place>> {
        let Self { places, free } = self;
        let permit = match free {
            Some(permit) => permit,
            None => tokio::time::timeout(GIVEN_UP, places.all.clone().acquire_owned()).await.ok()?.ok()?,
        };
        let place = Arc::new(Place { places, wanted: Arc::default(), number: Mutex::default(), _permit: permit });
        place.rest();
        Some(place)
    }
}

/// A connection's place.
pub(super) struct Place {
    places: Arc<Places>,
    wanted: Arc<Notify>,
    /// Among the idle ones.
    number: Mutex<Option<u64>>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Ready when the place is to be given up.
    pub async fn is_wanted(&self) {
        self.wanted.notified().await;
    }

    /// A request is there: the place is kept until the result is dropped.
    pub fn answer(self: &Arc<Self>) -> Answering {
        self.leave_idle();
        Answering(self.clone())
    }

    fn rest(&self) {
        self.leave_idle();
        let mut idle = self.places.idle();
        let number = idle.next;
        idle.next += 1;
        idle.waiting.insert(number, (Instant::now(), self.wanted.clone()));
        *self.number.lock().unwrap_or_else(PoisonError::into_inner) = Some(number);
    }

    fn leave_idle(&self) {
        let number = self.number.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(number) = number {
            self.places.idle().waiting.remove(&number);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave_idle();
    }
}

/// A connection is being answered.
pub(super) struct Answering(Arc<Place>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.rest();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn whoever_is_idle_longest_makes_room_and_whoever_is_answered_keeps_its_place() {
        let places = Places::new(2, 1);
        let first = places.enter().expect("free").take().await.expect("free");
        let second = places.enter().expect("free").take().await.expect("free");
        // The first one was idle before the second, but is being answered.
        let answering = first.answer();
        let third = places.enter().expect("the second one's");
        second.is_wanted().await;
        drop(second);
        let third = third.take().await.expect("given up");
        let busy = third.answer();
        assert!(places.enter().is_none(), "both are being answered");
        drop(answering);
        assert!(places.enter().is_some(), "the first one is idle again");
        drop((busy, first, third));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn nobody_is_turned_out_before_a_moment_has_passed() {
        let places = Places::new(1, 1);
        places.settle().await;
        let only = places.enter().expect("free").take().await.expect("free");
        let came = Instant::now();
        places.settle().await;
        assert!(came.elapsed() >= MOMENT / 2, "{:?}", came.elapsed());
        assert!(places.enter().is_some());
        drop(only);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn long_answers_leave_places_to_others() {
        let places = Places::new(2, 1);
        let long = places.long_answer();
        assert!(long.is_some() && places.long_answer().is_none());
        drop(long);
        assert!(places.long_answer().is_some());
    }
}
