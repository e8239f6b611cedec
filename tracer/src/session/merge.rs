//! Inputs of several rings and processors, and what was answered of them, in order of time.

use std::collections::HashMap;
use std::time::Duration;

use crate::gather::Arrived;
use crate::input::{About, BootTime, Exiting, Facts, Input};
use crate::name::Name;
use crate::reader::Ticket;

/// A kernel program takes the time, then commits its record. Records are held back for so long that an earlier one of
/// another processor or ring has come by then.
pub(super) const LAG: Duration = Duration::from_millis(10);
/// What comes behind a question that is not answered is held back so long at most, and only while it takes no more
/// bytes than this. An answer that comes later still counts, for what comes later still.
pub(super) const HOLD: Duration = Duration::from_millis(500);
const MOST_HELD: usize = 8 << 20;

/// So long it is waited for a record that a program has begun and not finished, while there is room for what comes
/// meanwhile.
const UNFINISHED: Duration = Duration::from_secs(2);

/// Puts what came from several rings and processors in order of time.
#[derive(Default)]
pub(super) struct Merge {
    /// Nothing is left in a ring of the time before.
    complete: BootTime,
    held: Vec<Held>,
    /// The places of what is still being asked: what comes behind them is held back a while.
    awaited: HashMap<Ticket, Awaited>,
    order: u64,
    /// What is held takes about so many bytes.
    bytes: usize,
}

/// A place in the stream. What is put in the same place keeps the order in which it is put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    at: BootTime,
    order: u64,
}

struct Held {
    position: Position,
    input: Input,
}

struct Awaited {
    position: Position,
    /// From then on nothing is held back for it.
    until: BootTime,
}

impl Merge {
    /// Takes in an input with the facts that belong to it, which have its time and keep their order.
    pub fn extend(&mut self, arrived: Vec<Arrived>, at: BootTime, now: BootTime) {
        for arrived in arrived {
            let at = if let Arrived::Input(input) = &arrived { input.at() } else { at };
            self.order += 1;
            self.put(arrived, Position { at, order: self.order }, after(now, HOLD));
        }
    }

    /// Takes in what was answered, in the place that was kept for it.
    pub fn answered(&mut self, ticket: Ticket, arrived: Vec<Arrived>, now: BootTime) {
        self.order += 1;
        let here = Awaited { position: Position { at: now, order: self.order }, until: now };
        // What is asked because of an answer is waited for no longer than that was.
        let Awaited { position, until } = self.awaited.remove(&ticket).unwrap_or(here);
        arrived.into_iter().for_each(|arrived| self.put(arrived, position, until));
    }

    fn put(&mut self, arrived: Arrived, position: Position, until: BootTime) {
        match arrived {
            Arrived::Input(input) => {
                self.bytes += bytes(&input);
                self.held.push(Held { position, input });
            }
            Arrived::Awaited(ticket) => {
                self.awaited.insert(ticket, Awaited { position, until });
            }
        }
    }

    /// The rings hold nothing anymore of the time before `now`.
    pub fn is_complete(&mut self, now: BootTime) {
        self.complete = now;
    }

    /// Whether a ring may hold something of the time before what is handed out: it is waited for no longer.
    pub fn is_disordered(&self, now: BootTime) -> bool {
        self.complete < now && self.until(now) == now
    }

    /// The time by which all has arrived that will, as far as it is waited for.
    fn until(&self, now: BootTime) -> BootTime {
        let longest = if self.bytes <= MOST_HELD { UNFINISHED } else { HOLD };
        let waits = now.since(self.complete) <= longest;
        if waits { now.min(self.complete) } else { now }
    }

    /// Keeps a place for which nothing is held back.
    pub fn expect(&mut self, ticket: Ticket, at: BootTime) {
        self.order += 1;
        let position = Position { at, order: self.order };
        self.awaited.insert(ticket, Awaited { position, until: BootTime(0) });
    }

    /// Those that are wanted, in the order they were put there.
    pub fn pick(&mut self, wanted: impl Fn(&Input) -> bool) -> Vec<Input> {
        let (picked, held) = std::mem::take(&mut self.held).into_iter().partition(|held| wanted(&held.input));
        self.held = picked;
        let picked = self.hand_out(self.held.len()).collect();
        self.held = held;
        picked
    }

    /// The first place that something is held back for at `now`.
    fn barrier(&self, now: BootTime) -> Option<Position> {
        let open = self.awaited.values().filter(|awaited| awaited.until > now && self.bytes <= MOST_HELD);
        open.map(|awaited| awaited.position).min()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// When the first of those that are held was that somebody waits for: a failed call, one that does not return, or
    /// what became of a process.
    pub fn next_urgent(&self) -> Option<BootTime> {
        let is_urgent = |held: &&Held| matches!(held.input, Input::Attempt(_) | Input::Stuck(_) | Input::Process(_));
        self.held.iter().filter(is_urgent).map(|held| held.position.at).min()
    }

    /// Up to when all was handed out, once that is taken which is old enough at `now`.
    pub fn watermark(&self, now: BootTime) -> BootTime {
        let before = |barrier: Position| BootTime(barrier.at.0.saturating_sub(1));
        let until = watermark(self.until(now));
        self.barrier(now).map_or(until, |barrier| before(barrier).min(until))
    }

    /// What is old enough at `now`, in order.
    pub fn take(&mut self, now: BootTime) -> impl Iterator<Item = Input> {
        self.held.sort_by_key(|held| held.position);
        let (until, barrier) = (watermark(self.until(now)), self.barrier(now));
        let is_old = |held: &Held| held.position.at <= until && barrier.is_none_or(|barrier| held.position < barrier);
        self.hand_out(self.held.partition_point(is_old))
    }

    /// Lets go of all that is not wanted.
    pub fn retain(&mut self, wanted: impl Fn(&Input) -> bool) {
        self.held.retain(|held| wanted(&held.input));
    }

    /// Everything, in order.
    pub fn take_all(&mut self) -> impl Iterator<Item = Input> {
        self.held.sort_by_key(|held| held.position);
        self.hand_out(self.held.len())
    }

    /// The first so many. An input is large: it is moved once.
    fn hand_out(&mut self, count: usize) -> impl Iterator<Item = Input> {
        let Self { held, bytes: all, .. } = self;
        held.drain(..count).map(|held| {
            *all = all.saturating_sub(bytes(&held.input));
            held.input
        })
    }
}

/// What an input takes, but for small things: names may be long.
fn bytes(input: &Input) -> usize {
    let names = match input {
        Input::Event(event) => event.cgroup.path.as_bytes().len(),
        Input::Attempt(attempt) => {
            let directory = attempt.directory.as_ref().map_or(0, |directory| directory.path.as_bytes().len());
            attempt.path.as_bytes().len() + directory
        }
        Input::Change(written) => written.file.as_bytes().len() + written.directory.path.as_bytes().len(),
        Input::Stuck(stuck) => {
            let names = stuck.file.iter().chain(&stuck.name).map(|name| name.as_bytes().len()).sum::<usize>();
            names + stuck.exiting.len() * size_of::<Exiting>()
        }
        Input::Process(process) => {
            let argv = process.argv.iter().flatten().map(|argument| argument.as_bytes().len() + size_of::<Name>());
            argv.sum::<usize>() + process.exe.as_ref().map_or(0, |exe| exe.as_bytes().len())
        }
        Input::Facts(Facts { about: About::Mounts { mounts, .. }, .. }) => mounts.len() * 256,
        Input::Facts(_) | Input::Lost(_) | Input::Tick(_) => 0,
    };
    size_of::<Held>() + names
}

fn after(time: BootTime, so_long: Duration) -> BootTime {
    BootTime(time.0.saturating_add(so_long.as_nanos() as u64))
}

/// Up to when inputs are handed out if all has arrived by `now`.
fn watermark(now: BootTime) -> BootTime {
    BootTime(now.0.saturating_sub(LAG.as_nanos() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{Pid, Process, ProcessChange, Tick};

    /// Rings that are never behind.
    fn complete() -> Merge {
        Merge { complete: BootTime(u64::MAX), ..Merge::default() }
    }

    fn tick(at: u64) -> Input {
        Input::Tick(Tick { at: BootTime(at) })
    }

    /// Takes in ticks of these times, which arrived at once.
    fn extend(merge: &mut Merge, ticks: &[u64]) {
        for at in ticks {
            merge.extend(vec![Arrived::Input(tick(*at))], BootTime(*at), BootTime(0));
        }
    }

    fn times(inputs: impl IntoIterator<Item = Input>) -> Vec<u64> {
        inputs.into_iter().map(|input| input.at().0).collect()
    }

    #[test]
    fn what_is_picked_comes_in_the_order_it_arrived_and_all_else_stays() {
        let mut merge = complete();
        extend(&mut merge, &[30, 7, 10]);
        assert_eq!(times(merge.pick(|input| input.at().0 >= 10)), [30, 10]);
        assert_eq!(times(merge.take_all()), [7]);
    }

    #[test]
    fn only_failed_calls_and_processes_are_urgent() {
        let mut merge = complete();
        extend(&mut merge, &[10]);
        assert_eq!((merge.is_empty(), merge.next_urgent()), (false, None));
        for at in [40, 30] {
            let process = Process::new(BootTime(at), Pid(1), ProcessChange::Exit, "x".into());
            merge.extend(vec![Arrived::Input(Input::Process(process))], BootTime(at), BootTime(0));
        }
        assert_eq!(merge.next_urgent(), Some(BootTime(30)));
    }

    #[test]
    fn inputs_are_held_until_nothing_earlier_can_come() {
        let (mut merge, lag) = (complete(), LAG.as_nanos() as u64);
        extend(&mut merge, &[30, 10]);
        assert_eq!(merge.take(BootTime(9 + lag)).count(), 0);
        extend(&mut merge, &[5]);
        assert_eq!(times(merge.take(BootTime(10 + lag))), [5, 10]);
        assert_eq!(merge.take_all().count(), 1);
        assert!(merge.held.is_empty());
    }

    #[test]
    fn what_came_after_a_record_that_is_not_finished_is_waited_for() {
        let (mut merge, lag, seconds) = (complete(), LAG.as_nanos() as u64, 1_000_000_000);
        merge.is_complete(BootTime(20 + lag));
        extend(&mut merge, &[10, 20, 30]);
        assert_eq!(times(merge.take(BootTime(30 + lag))), [10, 20], "something of 25 may be behind it");
        assert_eq!(merge.watermark(BootTime(seconds)), BootTime(20));
        extend(&mut merge, &[25]);
        merge.is_complete(BootTime(26 + lag));
        assert_eq!(times(merge.take(BootTime(seconds))), [25]);
        let late = BootTime(3 * seconds);
        assert!(!merge.is_disordered(BootTime(seconds)) && merge.is_disordered(late));
        assert_eq!(times(merge.take(late)), [30], "it is waited for no longer");
        merge.is_complete(late);
        assert!(!merge.is_disordered(late));
    }

    #[test]
    fn an_answer_has_the_place_of_its_question_and_is_waited_for_a_while() {
        let (lag, hold) = (LAG.as_nanos() as u64, HOLD.as_nanos() as u64);
        let [first, second] = [1, 2].map(Ticket::numbered);
        let mut merge = complete();
        let arrived = vec![Arrived::Input(tick(20)), Arrived::Awaited(first)];
        merge.extend(arrived, BootTime(20), BootTime(0));
        extend(&mut merge, &[20, 30, 10]);
        let now = BootTime(100 + lag);
        assert_eq!((times(merge.take(now)), merge.watermark(now)), (vec![10, 20], BootTime(19)));
        // Another question follows from the answer, and has the same place.
        let arrived = vec![Arrived::Input(tick(21)), Arrived::Awaited(second)];
        merge.answered(first, arrived, now);
        assert_eq!((times(merge.take(now)), merge.watermark(now)), (vec![], BootTime(19)));
        let later = BootTime(hold);
        assert_eq!((times(merge.take(later)), merge.watermark(later)), (vec![21, 20, 30], BootTime(later.0 - lag)));
        merge.answered(second, vec![Arrived::Input(tick(22))], later);
        assert_eq!(times(merge.take(later)), [22], "it comes late, and comes");
        assert!(merge.awaited.is_empty());
    }

    #[test]
    fn nothing_is_held_back_when_much_is_held_or_nobody_waits() {
        let now = BootTime(100 + LAG.as_nanos() as u64);
        let mut merge = complete();
        merge.expect(Ticket::numbered(1), BootTime(1));
        extend(&mut merge, &[10]);
        assert_eq!(times(merge.take(now)), [10]);
        merge.extend(vec![Arrived::Awaited(Ticket::numbered(2))], BootTime(1), BootTime(0));
        let many: Vec<u64> = (0..=(MOST_HELD / size_of::<Held>()) as u64).map(|_| 10).collect();
        extend(&mut merge, &many);
        assert_eq!(merge.take(now).count(), many.len());
        assert_eq!(merge.bytes, 0);
    }
}
