//! Whose questions are answered next. Pure.
//!
//! Each asker waits for their own: one question of theirs at a time is with a reader, and one who has a reader stuck is
//! not asked for again until that has ended. When as many are stuck as may be, only what root itself names on the host
//! is asked for.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::Ticket;
use crate::input::{NamespaceId, Process};

/// Questions that wait, of all askers but the host; of one of them; and with the host's.
const MOST_WAITING: usize = 1_024;
const SHARE: usize = 128;
const MOST_WITH_HOST: usize = 4_096;
/// Readers that are stuck with what was there before tracing began, of which no more is asked then: what does not
/// answer for one container hardly does for the next.
const MOST_STUCK_AT_START: usize = 2;
/// What questions that wait may take, in bytes: without the host's, and with them.
const MOST_BYTES: usize = 2 << 20;
const MOST_BYTES_WITH_HOST: usize = 8 << 20;

/// On whose account a question is asked: who chose what is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asker {
    /// Root, where the host's own files are.
    Host,
    /// What was there before tracing began: it is asked for when nobody else asks.
    Start,
    /// A user, or whoever made the user namespace that it is in: a user may be given many thousand numbers there.
    User(u32),
    /// Root in a mount namespace of its own, most often a container's.
    Namespace(NamespaceId),
    /// Nobody knows.
    Unknown,
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => write!(f, "root"),
            Self::Start => write!(f, "a container that was there before"),
            Self::User(uid) => write!(f, "user {uid}"),
            Self::Namespace(namespace) => write!(f, "root in mount namespace {}", namespace.0),
            Self::Unknown => write!(f, "a process of an unknown user"),
        }
    }
}

impl Asker {
    /// Whether somebody else than root on the host chose what is looked at.
    fn is_stranger(self) -> bool {
        match self {
            Self::Host | Self::Start => false,
            Self::User(_) | Self::Namespace(_) | Self::Unknown => true,
        }
    }
}

/// Whether so many readers are stuck with what strangers name that no stranger is asked for any more.
fn is_too_many(stuck: &[Asker], most_stuck: usize) -> bool {
    stuck.iter().filter(|asker| asker.is_stranger()).count() >= most_stuck
}

/// Whether so many readers are stuck with what was there before that it is not asked for any more.
fn is_start_over(stuck: &[Asker]) -> bool {
    stuck.iter().filter(|asker| **asker == Asker::Start).count() >= MOST_STUCK_AT_START
}

/// Tells who asks.
#[derive(Clone, Copy, Debug)]
pub struct Askers {
    /// The host's own mount namespace. `None` if that is not known: then nobody is the host.
    pub host: Option<NamespaceId>,
}

impl Askers {
    /// Who chose what a process names. `owner` is who made its user namespace, if that could be told.
    pub fn of(self, process: &Process, owner: Option<u32>) -> Asker {
        match (process.uid, process.mount_namespace) {
            (Some(0), namespace) if namespace.is_some() && namespace == self.host => Asker::Host,
            (Some(0), Some(namespace)) => Asker::Namespace(namespace),
            (Some(0) | None, _) => Asker::Unknown,
            (Some(uid), _) => Asker::User(owner.filter(|owner| *owner != 0).unwrap_or(uid)),
        }
    }
}

/// A question that waits.
pub(super) struct Waiting {
    pub ticket: Ticket,
    pub asker: Asker,
    pub message: Vec<u8>,
}

/// The questions that wait.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    /// [`Asker::Start`]'s.
    later: VecDeque<Waiting>,
    counts: BTreeMap<Asker, usize>,
    /// What those in `waiting` take.
    bytes: usize,
}

impl Queue {
    /// Takes a question in. `false` if it is refused: its asker has a reader `stuck` or too many questions waiting, or
    /// `most_stuck` are stuck.
    pub fn admit(
        &mut self,
        ticket: Ticket,
        asker: Asker,
        message: Vec<u8>,
        stuck: &[Asker],
        most_stuck: usize,
    ) -> bool {
        let question = Waiting { ticket, asker, message };
        match asker {
            Asker::Start if is_start_over(stuck) => return false,
            Asker::Start => self.later.push_back(question),
            Asker::Host if self.waiting.len() >= MOST_WITH_HOST || self.bytes >= MOST_BYTES_WITH_HOST => return false,
            Asker::Host => self.wait(question),
            Asker::User(_) | Asker::Namespace(_) | Asker::Unknown => {
                let count = self.counts.entry(asker).or_default();
                let is_refused = stuck.contains(&asker)
                    || is_too_many(stuck, most_stuck)
                    || *count >= SHARE
                    || self.waiting.len() >= MOST_WAITING
                    || self.bytes >= MOST_BYTES;
                if is_refused {
                    return false;
                }
                *count += 1;
                self.wait(question);
            }
        }
        true
    }

    fn wait(&mut self, question: Waiting) {
        self.bytes += question.message.len();
        self.waiting.push_back(question);
    }

    /// The next question, if these are with a reader.
    pub fn next(&mut self, busy: &[Asker]) -> Option<Waiting> {
        let may = |asker: Asker| asker == Asker::Host || !busy.contains(&asker);
        if let Some(position) = self.waiting.iter().position(|question| may(question.asker)) {
            let question = self.waiting.remove(position)?;
            self.bytes -= question.message.len();
            self.forget(question.asker);
            return Some(question);
        }
        may(Asker::Start).then(|| self.later.pop_front()).flatten()
    }

    /// Drops the questions of those who have a reader `stuck`, of all strangers if those are too many, and of what was
    /// there before if that is stuck again; returns their numbers.
    pub fn drop_stuck(&mut self, stuck: &[Asker], most_stuck: usize) -> Vec<Ticket> {
        let all = is_too_many(stuck, most_stuck);
        let is_dropped = |question: &Waiting| question.asker.is_stranger() && (all || stuck.contains(&question.asker));
        let (dropped, kept) = std::mem::take(&mut self.waiting).into_iter().partition::<VecDeque<_>, _>(is_dropped);
        self.waiting = kept;
        for question in &dropped {
            self.bytes -= question.message.len();
            self.forget(question.asker);
        }
        let later = if is_start_over(stuck) { std::mem::take(&mut self.later) } else { VecDeque::new() };
        dropped.into_iter().chain(later).map(|question| question.ticket).collect()
    }

    /// Drops them all; returns their numbers.
    pub fn drain(&mut self) -> impl Iterator<Item = Ticket> {
        self.counts.clear();
        self.bytes = 0;
        self.waiting.drain(..).chain(self.later.drain(..)).map(|question| question.ticket)
    }

    fn forget(&mut self, asker: Asker) {
        if let Some(count) = self.counts.get_mut(&asker) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(&asker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{BootTime, Pid, ProcessChange};

    const EVE: Asker = Asker::User(1000);
    const BOB: Asker = Asker::User(1001);

    fn admit(queue: &mut Queue, ticket: u64, asker: Asker, stuck: &[Asker]) -> bool {
        queue.admit(Ticket(ticket), asker, Vec::new(), stuck, 2)
    }

    fn next(queue: &mut Queue, busy: &[Asker]) -> Option<u64> {
        queue.next(busy).map(|question| question.ticket.0)
    }

    #[test]
    fn each_waits_for_their_own_only() {
        let mut queue = Queue::default();
        for (ticket, asker) in [(1, EVE), (2, EVE), (3, BOB), (4, Asker::Host), (5, Asker::Start)] {
            assert!(admit(&mut queue, ticket, asker, &[]));
        }
        assert_eq!(next(&mut queue, &[EVE]), Some(3));
        assert_eq!(next(&mut queue, &[EVE, Asker::Host]), Some(4), "the host waits for nobody");
        assert_eq!(next(&mut queue, &[EVE, Asker::Start]), None);
        assert_eq!(next(&mut queue, &[EVE]), Some(5), "what stands is asked for when nobody else asks");
        assert_eq!((next(&mut queue, &[]), next(&mut queue, &[]), next(&mut queue, &[])), (Some(1), Some(2), None));
        assert!(queue.waiting.is_empty() && queue.later.is_empty() && queue.counts.is_empty());
    }

    #[test]
    fn what_was_there_before_is_not_asked_for_when_it_does_not_answer_twice() {
        let mut queue = Queue::default();
        let mut stuck = vec![EVE, Asker::Start];
        assert!(admit(&mut queue, 1, Asker::Start, &stuck) && admit(&mut queue, 2, BOB, &stuck));
        assert_eq!(queue.drop_stuck(&stuck, 3), []);
        stuck.push(Asker::Start);
        assert!(!admit(&mut queue, 3, Asker::Start, &stuck));
        assert_eq!(queue.drop_stuck(&stuck, 3), [Ticket(1)]);
        assert_eq!((next(&mut queue, &[]), next(&mut queue, &[])), (Some(2), None));
    }

    #[test]
    fn who_has_a_reader_stuck_is_not_asked_for_again() {
        let mut queue = Queue::default();
        assert!(admit(&mut queue, 1, EVE, &[]) && admit(&mut queue, 2, BOB, &[]) && admit(&mut queue, 3, EVE, &[]));
        assert_eq!(queue.drop_stuck(&[EVE], 2), [Ticket(1), Ticket(3)]);
        assert!(!admit(&mut queue, 4, EVE, &[EVE]));
        assert!(admit(&mut queue, 5, BOB, &[EVE]));
        assert!(!admit(&mut queue, 6, BOB, &[EVE, Asker::Unknown]), "as many are stuck as may be");
        assert!(admit(&mut queue, 7, Asker::Host, &[EVE, Asker::Unknown, Asker::Host]));
        assert!(
            admit(&mut queue, 8, BOB, &[EVE, Asker::Host, Asker::Start]),
            "what root names takes no stranger's place"
        );
        assert_eq!(
            queue.drop_stuck(&[EVE, Asker::Unknown], 2),
            [2, 5, 8].map(Ticket),
            "those who wait are not asked either"
        );
        assert_eq!(queue.drain().collect::<Vec<_>>(), [Ticket(7)]);
    }

    #[test]
    fn nobody_fills_the_queue() {
        let mut queue = Queue::default();
        let admitted = (0..1_000).filter(|ticket| admit(&mut queue, *ticket, EVE, &[])).count();
        assert_eq!(admitted, SHARE);
        let users = (0..100_000).filter(|user| admit(&mut queue, 7, Asker::User(2_000 + user), &[])).count();
        assert_eq!(users + SHARE, MOST_WAITING);
        let hosts = (0..100_000).filter(|ticket| admit(&mut queue, *ticket, Asker::Host, &[])).count();
        assert_eq!(hosts + MOST_WAITING, MOST_WITH_HOST);
    }

    #[test]
    fn long_questions_do_not_fill_the_memory() {
        let mut queue = Queue::default();
        let mut admit = |asker, bytes| queue.admit(Ticket(1), asker, vec![0; bytes], &[], 2);
        let admitted = (0..100).filter(|user| admit(Asker::User(2_000 + user), 100_000)).count();
        assert_eq!(admitted, MOST_BYTES.div_ceil(100_000));
        assert!(admit(Asker::Host, 100_000) && !admit(EVE, 1));
        while queue.next(&[]).is_some() {}
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn an_asker_is_who_chose_what_is_looked_at() {
        let askers = Askers { host: Some(NamespaceId(1)) };
        let of = |uid, namespace: Option<u32>| {
            let mut process = Process::new(BootTime(1), Pid(1), ProcessChange::Exec, "runc".into());
            (process.uid, process.mount_namespace) = (uid, namespace.map(NamespaceId));
            askers.of(&process, Some(0))
        };
        assert_eq!((of(Some(0), Some(1)), of(Some(0), Some(2))), (Asker::Host, Asker::Namespace(NamespaceId(2))));
        assert_eq!((of(Some(7), Some(1)), of(Some(7), Some(2))), (Asker::User(7), Asker::User(7)));
        assert_eq!((of(None, Some(1)), of(Some(0), None)), (Asker::Unknown, Asker::Unknown));
        let mut process = Process::new(BootTime(1), Pid(1), ProcessChange::Exec, "runc".into());
        process.uid = Some(100_007);
        let owned = [Some(1000), Some(0), None].map(|owner| askers.of(&process, owner));
        assert_eq!(owned, [Asker::User(1000), Asker::User(100_007), Asker::User(100_007)]);
    }
}
