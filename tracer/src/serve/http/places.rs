//! Who has a place, and who gives one up: connections are bounded, and nobody can keep others out by holding them.
//!
//! A connection that is not being answered (its request is not all there, or it is kept open between two) is idle. When all
//! places are taken, the one that has been idle longest is asked for its place, once it has had its moment. It looks into its
//! socket one last time: if a whole request waits there, that is answered, and another one is asked. Nobody who has asked is
//! turned out because this process, or the thread that serves, did not get to run. Long answers, which a slow reader draws out,
//! never have all places: some are left for health and metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// So long everybody keeps a place at least: one who asks at once has said it all by then, even if it waits a while between
/// two steps for a processor.
const MOMENT: Duration = Duration::from_millis(100);

/// All places.
pub(super) struct Places {
    all: Arc<Semaphore>,
    long: Arc<Semaphore>,
    idle: Mutex<Idle>,
    /// One after the other enters: so there is at most one that is asked for its place and has not answered.
    door: tokio::sync::Mutex<()>,
    /// The one that was asked for its place has a request after all.
    kept: Notify,
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
            door: tokio::sync::Mutex::default(),
            kept: Notify::new(),
        })
    }

    /// A place for whoever has just connected, as soon as there is one. `None` if all are being answered.
    pub async fn enter(self: &Arc<Self>) -> Option<Arc<Place>> {
        let _door = self.door.lock().await;
        loop {
            if let Ok(permit) = self.all.clone().try_acquire_owned() {
                return Some(Place::new(self.clone(), permit));
            }
            let since = self.idle().waiting.first_key_value().map(|(_, (since, _))| *since)?;
            let left = MOMENT.saturating_sub(since.elapsed());
            if left.is_zero() {
                let Some((_, (_, oldest))) = self.idle().waiting.pop_first() else { continue };
                oldest.notify_one();
            }
            let permit = tokio::select! {
                permit = self.all.clone().acquire_owned() => permit.ok(),
                () = self.kept.notified() => None,
                () = tokio::time::sleep(left), if !left.is_zero() => None,
            };
            if let Some(permit) = permit {
                return Some(Place::new(self.clone(), permit));
            }
        }
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

/// A connection's place.
pub(super) struct Place {
    places: Arc<Places>,
    wanted: Arc<Notify>,
    /// Its number among the idle ones; `None` while it is being answered.
    number: Mutex<Option<u64>>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn new(places: Arc<Places>, permit: OwnedSemaphorePermit) -> Arc<Self> {
        let place = Arc::new(Self { places, wanted: Arc::default(), number: Mutex::default(), _permit: permit });
        place.rest();
        place
    }

    /// Ready when the place is asked for. Whoever has it gives it up then, or answers a request that is there already.
    pub async fn is_wanted(&self) {
        self.wanted.notified().await;
    }

    /// A request is there: the place is kept until the result is dropped.
    pub fn answer(self: &Arc<Self>) -> Answering {
        if self.leave_idle() {
            // Whoever waits for the place is to ask another.
            self.places.kept.notify_one();
        }
        Answering(self.clone())
    }

    /// Whether the place was asked for since it was last idle, and nothing is being answered.
    pub fn is_to_be_given_up(&self) -> bool {
        self.number().is_some_and(|number| !self.places.idle().waiting.contains_key(&number))
    }

    fn rest(&self) {
        let mut idle = self.places.idle();
        let number = idle.next;
        idle.next += 1;
        idle.waiting.insert(number, (Instant::now(), self.wanted.clone()));
        *self.number() = Some(number);
    }

    /// Leaves the idle ones. Returns whether the place was asked for.
    fn leave_idle(&self) -> bool {
        let number = self.number().take();
        number.is_some_and(|number| self.places.idle().waiting.remove(&number).is_none())
    }

    fn number(&self) -> MutexGuard<'_, Option<u64>> {
        self.number.lock().unwrap_or_else(PoisonError::into_inner)
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

    async fn entered(places: &Arc<Places>) -> Arc<Place> {
        places.enter().await.expect("a place")
    }

    #[tokio::test(flavor = "current_thread")]
    async fn whoever_is_idle_longest_makes_room_and_whoever_is_answered_keeps_its_place() {
        let places = Places::new(2, 1);
        let first = entered(&places).await;
        let second = entered(&places).await;
        // The first one was idle before the second, but is being answered.
        let answering = first.answer();
        let gives_up = async {
            second.is_wanted().await;
            assert!(second.is_to_be_given_up());
            drop(second);
        };
        let (third, ()) = tokio::join!(entered(&places), gives_up);
        let busy = third.answer();
        assert!(places.enter().await.is_none(), "both are being answered");
        drop(answering);
        let gives_up = async {
            first.is_wanted().await;
            drop(first);
        };
        let (fourth, ()) = tokio::join!(entered(&places), gives_up);
        drop((busy, third, fourth));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn nobody_is_asked_before_a_moment_has_passed() {
        let places = Places::new(1, 1);
        let only = entered(&places).await;
        let came = Instant::now();
        let gives_up = async {
            only.is_wanted().await;
            assert!(came.elapsed() >= MOMENT / 2, "{:?}", came.elapsed());
            drop(only);
        };
        let (next, ()) = tokio::join!(places.enter(), gives_up);
        assert!(next.is_some());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn one_that_is_asked_for_its_place_and_has_a_request_keeps_it_and_another_is_asked() {
        let places = Places::new(2, 1);
        let (first, second) = (entered(&places).await, entered(&places).await);
        let has_a_request = async {
            first.is_wanted().await;
            let answering = first.answer();
            assert!(!first.is_to_be_given_up());
            second.is_wanted().await;
            drop(second);
            answering
        };
        let (third, answering) = tokio::join!(places.enter(), has_a_request);
        assert!(third.is_some());
        drop(answering);
        assert!(!first.is_to_be_given_up(), "it is idle again, and was not asked since");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_burst_is_let_in_one_after_the_other() {
        let places = Places::new(2, 1);
        let holds = |place: Arc<Place>| async move {
            place.is_wanted().await;
            drop(place);
        };
        // Far more at once than there are places: none is refused, for none is being answered.
        for _ in 0..20 {
            tokio::spawn(holds(entered(&places).await));
        }
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
