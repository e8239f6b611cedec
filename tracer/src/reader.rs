//! Questions whose answers a stranger can hold up: what a process has in its memory, and the files that it names.
//!
//! A file system that does not answer holds whoever asks it, and SIGKILL does not end that. So the thread that traces
//! looks at none of it: *readers* do, processes of their own, each of which answers one question at a time. One that
//! does not answer in time is given up, and another one takes its place. What is not answered costs a name or an
//! outcome; it is counted, and the stream says so.
//!
//! ```text
//! gather ─ Ask ─► Queue ─► reader 1 ─┐
//!    ▲                 └─► reader 2 ─┤   the keeper makes readers, and kills those that are given up
//!    └───────────── Answer ◄─────────┘
//! ```
//!
//! A stranger holds up their own questions only: see [`queue`].

mod keeper;
mod queue;

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde::{Deserialize, Serialize};

pub use queue::{Asker, Askers};

use crate::bundle;
use crate::bundle::ending::{Ending, Left};
use crate::cgroupfs::circumstances::{self, Subject};
use crate::input::{BootTime, Circumstances, ContainerFacts, Exiting, HierarchyId, Pid, Process, Unanswered, Unread};
use crate::machine::Machine;
use crate::name::Name;
use crate::oci;
use crate::process;
use crate::root::Refused;
use crate::waits::{self, Waits};
use keeper::Received;
use queue::Queue;

/// Readers that answer.
const READERS: usize = 2;
/// Readers that were given up over what strangers name and have not ended. With so many, only what root itself names on
/// the host is asked for, until as many again are stuck.
const MOST_STUCK: usize = 8;
/// A reader that has not answered by then is given up.
const DEADLINE: Duration = Duration::from_secs(2);
/// A question or an answer is at most so long, in bytes: the kernel takes no longer message. Both hold a few names of
/// bounded length.
const LONGEST: usize = 160 << 10;

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ask {
    /// The command line of a process, if it is still the one that was forked then.
    CommandLine {
        /// Which.
        pid: Pid,
        /// When it was forked, if that is known.
        started: Option<BootTime>,
    },
    /// What is said of the container, or of the machine, that a command line names, and what is to be looked for when
    /// the process has ended.
    Began {
        /// The runtime.
        process: Box<Process>,
        /// Whether the container is wanted.
        container: bool,
        /// Whether the ending is.
        ending: bool,
    },
    /// What is left of a container's state.
    Ended {
        /// What to look for.
        ending: Box<Ending>,
        /// The end of the runtime.
        process: Box<Process>,
    },
    /// What the host says of a container that was there before tracing began.
    Standing {
        /// Its id.
        id: Name,
        /// The runtime whose naming scheme its cgroup follows.
        runtime: String,
    },
    /// What a cgroup is like that a call has failed on.
    Circumstances(Box<Subject>),
    /// What a call waits for that does not return.
    Wait {
        /// The process.
        pid: Pid,
        /// The thread.
        tid: u32,
        /// Of a removal: the cgroup, if its path is known.
        cgroup: Option<(HierarchyId, Name)>,
    },
    /// What is said of the containers that a process stays with which was there before tracing began.
    Watched {
        /// The process.
        process: Box<Process>,
    },
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The arguments as far as they are kept, and whether there are more. `None` if there are none, or the process is
    /// gone.
    CommandLine(Option<(Vec<Name>, bool)>),
    /// What was asked for, where there is something to say.
    Began {
        /// What is said of the container, or why nothing could be read.
        container: Option<Result<Box<ContainerFacts>, Unread>>,
        /// What was there of it, and could not be used.
        refused: Vec<Refused>,
        /// What is to be looked for at the end.
        ending: Option<Box<Ending>>,
    },
    /// Whether the state is left. `None` if that cannot be told.
    Ended(Option<Left>),
    /// What is said of containers that are there.
    Standing(Box<bundle::Said>),
    /// What was asked for. `None` if the cgroup is gone.
    Circumstances(Option<Box<Circumstances>>),
    /// What was asked for. `None` if the thread is gone.
    Wait(Option<Wait>),
}

/// What a call waits for.
#[derive(Debug, Serialize, Deserialize)]
pub struct Wait {
    /// See [`Stuck::waits_in`](crate::input::Stuck::waits_in).
    pub waits_in: Option<String>,
    /// See [`Stuck::exiting`](crate::input::Stuck::exiting).
    pub exiting: Vec<Exiting>,
}

/// Of those who are on their way out, so many are told of.
const EXITING: usize = 8;

/// Answers questions, in a process of its own.
#[derive(Default)]
struct Reader {
    bundles: bundle::Reader,
}

impl Reader {
    fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::CommandLine { pid, started } => {
                let read = process::command_line(pid);
                let same = |started: &BootTime| process::started(pid).is_some_and(|now| started.is_same_start(now));
                Answer::CommandLine(read.filter(|_| started.as_ref().is_none_or(same)))
            }
            Ask::Began { process, container, ending } => {
                let argv = process.argv.as_deref().unwrap_or_default();
                let command = oci::command_line(&process.comm, process.exe.as_ref(), argv);
                let nothing = || Answer::Began { container: None, refused: Vec::new(), ending: None };
                // A number that was given to another process says nothing of this one.
                let is_another = || {
                    let now = process.started.and_then(|_| process::started(process.pid));
                    now.zip(process.started).is_some_and(|(now, started)| !started.is_same_start(now))
                };
                if is_another() {
                    return nothing();
                }
                // First what changes with the process, and then what says who it is.
                let ending = command.as_ref().filter(|_| ending).and_then(|command| Ending::of(&process, command));
                let (said, refused) = match (command, Machine::started_by(argv)) {
                    (Some(command), _) if container => self.bundles.read(&process, &command),
                    (None, Some(machine)) if container => {
                        let (facts, refused) = self.bundles.read_machine(&process, &machine);
                        (facts.map(Ok), refused)
                    }
                    _ => (None, Vec::new()),
                };
                if is_another() {
                    return nothing();
                }
                let container = said.map(|read| read.map(Box::new));
                Answer::Began { container, refused, ending: ending.map(Box::new) }
            }
            Ask::Circumstances(subject) => Answer::Circumstances(circumstances::look(&subject).map(Box::new)),
            Ask::Wait { pid, tid, cgroup } => Answer::Wait(process::waits_in(pid, tid).map(|waits_in| {
                // Only where they are waited for: all processes of the host are looked at.
                let is_for_exit = waits_in.as_deref().and_then(waits::of) == Some(Waits::ForExit);
                let exiting = cgroup.filter(|_| is_for_exit);
                let exiting = exiting.map(|(hierarchy, path)| process::exiting_in(hierarchy, &path, pid, EXITING));
                Wait { waits_in, exiting: exiting.unwrap_or_default() }
            })),
            Ask::Ended { ending, process } => Answer::Ended(ending.look(&process)),
            Ask::Standing { id, runtime } => Answer::Standing(Box::new(self.bundles.read_standing(&id, &runtime))),
            Ask::Watched { process } => {
                let now = process::started(process.pid).zip(process.started);
                match now.is_some_and(|(now, started)| started.is_same_start(now)) {
                    true => Answer::Standing(Box::new(self.bundles.read_watched(&process))),
                    false => Answer::Standing(Box::default()),
                }
            }
        }
    }
}

/// The number of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

#[cfg(test)]
impl Ticket {
    /// One that no reader has given.
    pub fn numbered(number: u64) -> Self {
        Self(number)
    }
}

/// A question, and the answer, if there was one.
pub type Answered = (Ticket, Result<Answer, Unanswered>);

/// The readers, as those see them who ask.
pub struct Readers {
    /// `None` when it has died: then nothing is read any more.
    keeper: Option<OwnedFd>,
    keepers_pid: u32,
    /// Readers that are being made.
    coming: usize,
    free: Vec<Made>,
    busy: Vec<Busy>,
    stuck: Vec<Stuck>,
    queue: Queue,
    tickets: u64,
    done: Vec<Answered>,
    /// Where answers are put when they arrive.
    space: Vec<u8>,
}

/// A reader.
struct Made {
    pid: u32,
    socket: OwnedFd,
}

struct Busy {
    reader: Made,
    ticket: Ticket,
    asker: Asker,
    since: Instant,
}

/// One that was given up. Its socket tells when it has ended.
struct Stuck {
    socket: OwnedFd,
    asker: Asker,
}

/// What came out of a reader's socket.
enum Heard<'a> {
    Message(&'a [u8]),
    Nothing,
    Ended,
}

fn hear<'a>(socket: &OwnedFd, space: &'a mut [u8]) -> Heard<'a> {
    match recv(socket, &mut *space, RecvFlags::DONTWAIT) {
        Ok((0, _)) => Heard::Ended,
        Ok((length, _)) => Heard::Message(space.get(..length).unwrap_or_default()),
        Err(Errno::AGAIN | Errno::INTR) => Heard::Nothing,
        Err(_) => Heard::Ended,
    }
}

impl Readers {
    /// Starts them. Before the first thread is started, and before anything is open that they should not have.
    ///
    /// # Errors
    /// When no process can be made.
    pub fn start() -> anyhow::Result<Self> {
        let (keepers_pid, keeper) = keeper::start().context("failed to start the reader processes")?;
        let mut readers = Self {
            keeper: Some(keeper),
            keepers_pid,
            coming: 0,
            free: Vec::new(),
            busy: Vec::new(),
            stuck: Vec::new(),
            queue: Queue::default(),
            tickets: 0,
            done: Vec::new(),
            space: vec![0; LONGEST],
        };
        readers.replenish();
        Ok(readers)
    }

    /// Whether a process is one of them.
    pub fn are(&self, pid: Pid) -> bool {
        let busy = self.busy.iter().map(|busy| &busy.reader);
        self.free.iter().chain(busy).any(|reader| reader.pid == pid.0)
    }

    /// A number for a question that is asked later.
    pub fn reserve(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Asks. It is answered under the number that is returned, sooner or later, or the reason is given why not.
    pub fn ask(&mut self, asker: Asker, ask: &Ask) -> Ticket {
        let ticket = self.reserve();
        self.ask_as(ticket, asker, ask);
        ticket
    }

    /// Asks under a number that was reserved.
    pub fn ask_as(&mut self, ticket: Ticket, asker: Asker, ask: &Ask) {
        let message = serde_json::to_vec(ask).ok().filter(|message| message.len() <= LONGEST);
        let stuck = self.stuck_askers();
        let admitted = self.keeper.is_some()
            && message.is_some_and(|message| self.queue.admit(ticket, asker, message, &stuck, MOST_STUCK));
        if !admitted {
            self.done.push((ticket, Err(Unanswered::Refused)));
            return;
        }
        self.hand_out();
    }

    /// What was answered since this was last asked, without waiting.
    pub fn answers(&mut self) -> Vec<Answered> {
        self.take_new();
        self.take_answers();
        // When one has ended, its place is free.
        let space = &mut self.space;
        self.stuck.retain(|stuck| !matches!(hear(&stuck.socket, space), Heard::Ended));
        self.replenish();
        self.hand_out();
        if self.busy.is_empty() && self.free.is_empty() && self.coming == 0 {
            // As many are stuck as may be, or no more can be made.
            self.done.extend(self.queue.drain().map(|ticket| (ticket, Err(Unanswered::Refused))));
        }
        std::mem::take(&mut self.done)
    }

    /// Waits until something is answered, or so long.
    pub fn wait(&self, most: Duration) {
        let sockets = self.busy.iter().map(|busy| &busy.reader.socket).chain(&self.keeper);
        let mut polled: Vec<PollFd<'_>> =
            sockets.map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)).collect();
        let most = Timespec { tv_sec: most.as_secs() as i64, tv_nsec: most.subsec_nanos().into() };
        // Whatever it says, the answers are asked for next.
        let _ = poll(&mut polled, Some(&most));
    }

    fn take_new(&mut self) {
        while let Some(keeper) = &self.keeper {
            match keeper::receive(keeper) {
                Ok(Received::Reader(pid, socket)) => {
                    self.coming = self.coming.saturating_sub(1);
                    self.free.push(Made { pid, socket });
                }
                // It ends by itself, for nobody can ask it.
                Ok(Received::Unreachable) => self.coming = self.coming.saturating_sub(1),
                Ok(Received::Nothing) => return,
                Err(_) => {
                    say!("warning: the process that keeps the readers has died: containers have no names from now on");
                    (self.keeper, self.coming) = (None, 0);
                }
            }
        }
    }

    fn take_answers(&mut self) {
        for busy in std::mem::take(&mut self.busy) {
            let ticket = busy.ticket;
            match hear(&busy.reader.socket, &mut self.space) {
                Heard::Message(message) => {
                    let answer = serde_json::from_slice(message).map_err(|_| Unanswered::Failed);
                    self.done.push((ticket, answer));
                    self.free.push(busy.reader);
                }
                Heard::Ended => self.done.push((ticket, Err(Unanswered::Failed))),
                Heard::Nothing if busy.since.elapsed() >= DEADLINE => {
                    self.done.push((ticket, Err(Unanswered::Timeout)));
                    self.give_up(busy);
                }
                Heard::Nothing => self.busy.push(busy),
            }
        }
    }

    fn give_up(&mut self, busy: Busy) {
        let asker = busy.asker;
        if !self.stuck.iter().any(|stuck| stuck.asker == asker) {
            say!(
                "warning: files or memory of {asker} did not answer within {DEADLINE:?}: containers of {asker} have no \
                 names until they do"
            );
        }
        if let Some(keeper) = &self.keeper {
            // If it cannot be told, the keeper has died, which is found when it is heard next.
            let _ = keeper::kill(keeper, busy.reader.pid);
        }
        self.stuck.push(Stuck { socket: busy.reader.socket, asker });
        let dropped = self.queue.drop_stuck(&self.stuck_askers(), MOST_STUCK);
        self.done.extend(dropped.into_iter().map(|ticket| (ticket, Err(Unanswered::Refused))));
    }

    fn stuck_askers(&self) -> Vec<Asker> {
        self.stuck.iter().map(|stuck| stuck.asker).collect()
    }

    /// Has new readers made in the place of those that are gone, unless too many are stuck.
    fn replenish(&mut self) {
        let Some(keeper) = &self.keeper else { return };
        while self.free.len() + self.busy.len() + self.coming < READERS && self.stuck.len() < 2 * MOST_STUCK + READERS {
            if keeper::make(keeper).is_err() {
                return;
            }
            self.coming += 1;
        }
    }

    fn hand_out(&mut self) {
        while let Some(reader) = self.free.pop() {
            let busy: Vec<Asker> = self.busy.iter().map(|busy| busy.asker).collect();
            let Some(next) = self.queue.next(&busy) else { return self.free.push(reader) };
            match send(&reader.socket, &next.message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => {
                    self.busy.push(Busy { reader, ticket: next.ticket, asker: next.asker, since: Instant::now() });
                }
                // It has died while it had nothing to do.
                Err(_) => self.done.push((next.ticket, Err(Unanswered::Failed))),
            }
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        if self.keeper.take().is_some() {
            keeper::reap(Some(self.keepers_pid));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::ProcessChange;

    fn answered(readers: &mut Readers, ticket: Ticket) -> Result<Answer, Unanswered> {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            if let Some((_, answer)) = readers.answers().into_iter().find(|(of, _)| *of == ticket) {
                return answer;
            }
            readers.wait(Duration::from_millis(100));
        }
        panic!("no answer and no reason");
    }

    #[test]
    fn a_reader_answers_as_the_host_is() {
        let mut readers = Readers::start().expect("started");
        let own = Pid(std::process::id());
        let ask = |pid, started| Ask::CommandLine { pid, started };
        let mut told = |ask: &Ask| {
            let ticket = readers.ask(Asker::Host, ask);
            match answered(&mut readers, ticket) {
                Ok(Answer::CommandLine(told)) => told.map(|(argv, _)| argv.len()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(told(&ask(own, None)), Some(std::env::args_os().count()));
        assert_eq!(told(&ask(own, process::started(own))), Some(std::env::args_os().count()));
        assert_eq!(told(&ask(own, Some(BootTime(1)))), None, "another process");
        assert_eq!(told(&ask(Pid(u32::MAX), None)), None);
    }

    #[test]
    fn a_reader_that_dies_is_replaced_and_its_question_is_not_left_open() {
        let mut readers = Readers::start().expect("started");
        let asked = Instant::now();
        while readers.free.len() < READERS && asked.elapsed() < Duration::from_secs(20) {
            readers.wait(Duration::from_millis(100));
            readers.answers();
        }
        for reader in &readers.free {
            let pid = rustix::process::Pid::from_raw(reader.pid as i32).expect("a process");
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
        }
        let own = Pid(std::process::id());
        let ask = Ask::CommandLine { pid: own, started: None };
        let mut died = 0;
        for _ in 0..100 {
            let ticket = readers.ask(Asker::Host, &ask);
            match answered(&mut readers, ticket) {
                Ok(Answer::CommandLine(Some(_))) => return assert!(died <= READERS, "{died}"),
                Err(Unanswered::Failed) => died += 1,
                other => panic!("{other:?}"),
            }
        }
        panic!("no reader has come");
    }

    #[test]
    fn what_is_too_long_to_be_asked_is_refused() {
        let mut readers = Readers::start().expect("started");
        let mut process = Process::new(BootTime(1), Pid(1), ProcessChange::Exec, "runc".into());
        process.cwd = Some(Name::new("x".repeat(LONGEST + 1)));
        let ask = Ask::Began { process: Box::new(process), container: true, ending: true };
        let ticket = readers.ask(Asker::Host, &ask);
        assert!(matches!(answered(&mut readers, ticket), Err(Unanswered::Refused)));
    }
}
