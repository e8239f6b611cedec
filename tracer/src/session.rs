//! One tracing session: from the kernel's rings to the stream.
//!
//! ```text
//! kernel ─► gatherer (adds facts from the host) ─► merge (order of time) ─► stream: tracker ─► output
//! ```

mod alarm;
mod merge;
mod rewalk;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::time::{Duration, Instant};

use anyhow::Context;

pub use rewalk::WalkReason;

use crate::cgroupfs;
use crate::container;
use crate::gather::{Arrived, Gatherer};
use crate::hierarchy::{Clock, Header, Hierarchy, Probe, Setup};
use crate::input::{About, BootTime, CallId, Event, Facts, Input, LossReason, Lost, Pid, Ring};
use crate::kernel::{self, Look};
use crate::line::Counts;
use crate::memory;
use crate::name::Name;
use crate::process;
use crate::reader::Readers;
use crate::recording;
use crate::release::{EmptiedIn, RmdirClass};
use crate::stream::Stream;
use crate::tracker::Tracker;
use alarm::{Alarm, Timer};
use merge::{HOLD, LAG, Merge};

/// So long the start waits for what is said of the containers that are there already. What is answered later is told
/// later.
const STANDING: Duration = Duration::from_secs(2);
/// How often the rings are looked at while something happens that does not wake us.
const BEAT: Duration = Duration::from_millis(50);
/// How often when nothing happens: a loss is to be told within a second.
const SLEEP: Duration = Duration::from_millis(900);
/// How often the kernel side's loss counters are read while something happens.
const LOSS_EVERY: Duration = Duration::from_millis(500);
/// There is no turn sooner after another one, unless something wakes us: where very much falls due, it is told
/// together.
const SOON: Duration = Duration::from_millis(5);
/// How often it is seen whether the kernel still runs the programs that watch failed calls: and before each story is
/// told.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How often, at most, the kernel is asked how many cgroups are dying.
const COUNT_AGAIN: Duration = Duration::from_secs(10);
/// How often it is looked for calls that do not return: one that begins just after that is known in time.
const CALLS_EVERY: Duration = Duration::from_millis(500);
/// Whoever does not get to run for so long may have missed what it should have looked at.
const STALL: Duration = Duration::from_secs(5);
/// Mount points that cannot be watched are named up to this.
const UNWATCHED: usize = 3;
/// After the command's end or a signal, stories that are not told yet get this long.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Kernel programs in place, and the state of the host at that moment.
pub struct Session {
    tracer: kernel::Tracer,
    gatherer: Gatherer,
    merge: Merge,
    header: Header,
    existing: Vec<Input>,
    beat: Duration,
    /// The next event wakes us.
    sleeps: bool,
    /// So it was before: all that only the start needed is let go.
    has_slept: bool,
    /// The ring in which a record is not finished.
    behind: Option<Ring>,
    /// It is waited for no longer, and that was told.
    is_disordered: bool,
    /// Why cgroupfs is to be walked again.
    again: Option<WalkReason>,
    /// It was walked because the agent did not run, and what that has shown is to come.
    stalled: bool,
    /// When it may be walked again.
    not_before: Instant,
    /// Mount points of cgroupfs that cannot be watched, as far as that was said.
    unwatched: BTreeSet<Name>,
    /// What works less well here than it could.
    notes: Vec<String>,
    /// Whether a new part of the trace is wanted: its file is rotated.
    wants_part: Box<dyn Fn() -> bool>,
    calls: Calls,
    /// What wakes it.
    timer: Timer,
}

/// Calls that have not returned.
struct Calls {
    /// When it was last looked for them.
    looked: BootTime,
    /// When the next one is to be told of that has begun and is not too late yet.
    next: Option<BootTime>,
    /// Those that were told of, or are being asked about.
    told: BTreeSet<CallId>,
}

impl Calls {
    /// Whether any call hangs that may hold the lock of a directory of cgroupfs.
    fn hang(&self) -> bool {
        !self.told.is_empty()
    }
}

/// What whoever runs a session may look at, at every turn of it: about one a second when nothing happens.
pub struct Turn<'a> {
    /// Boot time.
    pub now: BootTime,
    /// What is known.
    pub tracker: &'a Tracker,
    /// The kernel side.
    pub kernel: &'a kernel::Tracer,
    /// Cgroupfs was just walked again, for this reason.
    pub walked_again: Option<WalkReason>,
}

impl Session {
    /// Attaches the kernel programs, then walks cgroupfs, in this order, so that nothing falls between.
    ///
    /// # Errors
    /// When this host cannot be traced.
    pub fn start(
        tracefs: kernel::Tracefs,
        plan: &kernel::Plan,
        options: &kernel::Options,
        readers: Readers,
    ) -> anyhow::Result<Self> {
        let mut tracer = kernel::Tracer::start(plan, options)?;
        // Back to the host's own mount namespace, before its mounts are read.
        drop(tracefs);
        let (setup, hierarchies) = cgroupfs::hierarchies()?;
        let (mut gatherer, mut unwatched) = (Gatherer::new(hierarchies.clone(), readers), BTreeSet::new());
        let mut existing = gatherer.at_start(process::boot_time());
        watch(&mut tracer, &mut gatherer, &mut unwatched)?;
        // All programs are in place, and know where cgroupfs is mounted: from here on everything is seen.
        let clock = process::clock();
        let at = BootTime(clock.boot_ns);
        let dying = dying(&hierarchies);
        let mut session = Self {
            tracer,
            gatherer,
            merge: Merge::default(),
            header: header(clock, setup, hierarchies),
            existing: Vec::new(),
            beat: BEAT,
            sleeps: false,
            has_slept: false,
            behind: None,
            is_disordered: false,
            again: None,
            stalled: false,
            not_before: Instant::now(),
            unwatched,
            notes: plan.notes.clone(),
            wants_part: Box::new(|| false),
            calls: Calls { looked: at, next: None, told: BTreeSet::new() },
            timer: Timer::new().context("failed to make a timer")?,
        };
        session.merge.is_complete(at);
        session.watches_with_backend();
        session.header.preemption = plan.preemption;
        session.header.probes = session.tracer.probes().to_vec();
        // A runtime may be gone in a moment, and its bundle with it: what has come is looked at between the steps.
        session.gather(None)?;
        let is_mounts = |input: &Input| matches!(input, Input::Facts(Facts { about: About::Mounts { .. }, .. }));
        existing.extend(session.merge.pick(is_mounts));
        existing.extend(dying);
        let mut events = Vec::new();
        let hierarchies = session.header.hierarchies.clone();
        let (mut looked, mut failed) = (Instant::now(), None);
        let walked = cgroupfs::walk(&hierarchies, process::boot_time, &mut |event| {
            events.push(event);
            if looked.elapsed() >= LAG {
                failed = failed.take().or(session.gather(None).err());
                looked = Instant::now();
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        session.ask_of_standing(&events, at)?;
        // Mount tables come first, as they were read: what arrived last may have happened first.
        existing.extend(session.merge.pick(is_mounts));
        let is_standing = |input: &Input| match input {
            Input::Facts(Facts { at: told, about: About::Container(_) | About::Unread(_) }) => *told == at,
            _ => false,
        };
        existing.extend(session.merge.pick(is_standing));
        existing.extend(events.into_iter().map(Input::Event));
        let about = About::Walked { cgroups: walked.cgroups, unreadable: walked.unreadable, again: None };
        existing.push(Input::Facts(Facts { at: process::boot_time(), about }));
        session.existing = existing;
        // While the programs were put in place, one after the other, some was missed: what was seen is half the truth.
        session.merge.retain(|input| is_about_processes(input) || input.at() >= at);
        memory::give_back();
        Ok(session)
    }

    /// Names the backend, and what it does not look at.
    fn watches_with_backend(&mut self) {
        let backend = self.tracer.backend();
        self.header.backend = backend.as_str().to_owned();
        self.header.not_watched = kernel::not_watched(backend);
    }

    /// The probes, attached or not.
    pub fn probes(&self) -> &[Probe] {
        &self.header.probes
    }

    /// What works less well on this host than it could, a line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The kernel side.
    pub fn kernel(&self) -> &kernel::Tracer {
        &self.tracer
    }

    /// The stream's first line.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How often it looks while something happens that does not wake it: what is rarer costs less, and tells events
    /// later. Failed calls and processes, and a ring that fills, wake it at once all the same.
    pub fn set_beat(&mut self, beat: Duration) {
        self.beat = beat;
    }

    /// Begins a new part of the trace, a header with the clock of then and all that is known, whenever `wanted` says
    /// so.
    pub fn begin_parts_when(&mut self, wanted: impl Fn() -> bool + 'static) {
        self.wants_part = Box::new(wanted);
    }

    /// Names this host.
    pub fn set_host(&mut self, host: Name) {
        self.header.host = host;
    }

    /// Names the process that is traced, `live -- CMD`.
    pub fn set_command(&mut self, command: Option<Pid>) {
        self.header.command = command;
    }

    /// How many cgroups exist, and how many of them belong to containers.
    pub fn existing(&self) -> (usize, usize) {
        let cgroups = self.existing.iter().filter_map(|input| match input {
            Input::Event(event) => Some(&event.cgroup.path),
            _ => None,
        });
        let (mut all, mut containers) = (0, 0);
        for path in cgroups {
            all += 1;
            containers += usize::from(container::from_path(path).is_some());
        }
        (all, containers)
    }

    /// Traces until `stop` is ready, then until what happened by then is told (see [`Tracker::is_settled`]), at most
    /// two seconds. `watch` is shown every turn.
    ///
    /// # Errors
    /// When the output cannot be written, or the rings cannot be waited for.
    pub async fn run(
        mut self,
        mut stream: Stream<'_>,
        stop: impl Future<Output = ()>,
        watch: &mut dyn FnMut(&Turn),
    ) -> anyhow::Result<Counts> {
        for mut input in std::mem::take(&mut self.existing) {
            stream.feed(&mut input)?;
        }
        let alarm = Alarm::new(&self.timer).context("failed to wait for a timer")?;
        let mut stop = std::pin::pin!(stop);
        let mut rest = Duration::ZERO;
        let (mut asked, mut counted) = (process::boot_time(), BootTime(0));
        let mut looked = asked;
        let mut last_words: Option<(BootTime, tokio::time::Instant)> = None;
        let mut turned = process::boot_time();
        loop {
            tokio::select! {
                () = &mut stop, if last_words.is_none() => {
                    last_words = Some((process::boot_time(), tokio::time::Instant::now() + LAST_WORDS));
                }
                ready = self.tracer.readable() => ready.context("failed to wait for the kernel's rings")?,
                rung = alarm.after(rest) => rung.context("failed to wait for a timer")?,
            }
            let now = process::boot_time();
            if now.since(turned) >= STALL {
                self.again.get_or_insert(WalkReason::Stall);
            }
            // A story that is about to be told is judged by what is lost, too. Where very many are told, each look is
            // good for those of a moment.
            let is_due = stream.tracker().next_due().is_some_and(|due| due <= now);
            let is_time = |last: BootTime, every| now.since(last) >= every || is_due && now.since(last) >= self.beat;
            let (looks, asks) = (is_time(looked, LOOK_EVERY), is_time(asked, LOSS_EVERY));
            if looks {
                looked = now;
                self.look(&mut stream, now)?;
            }
            if asks {
                asked = now;
                self.losses(&mut stream, now)?;
            }
            self.look_at_calls(&mut stream, now)?;
            let is_quiet = !self.gather(Some(stream.tracker()))?;
            self.look_behind(&mut stream, now)?;
            feed_all(&mut stream, self.merge.take(now))?;
            self.look_unseen(&mut stream, now)?;
            for (hierarchy, path) in stream.take_looks() {
                let found = self.gatherer.look(hierarchy, path);
                self.merge.extend(found.into_iter().map(Arrived::Input).collect(), process::boot_time(), now);
            }
            let counts = stream.tracker().next_look().is_some_and(|due| due <= now) && !self.calls.hang();
            if counts && now.since(counted) >= COUNT_AGAIN {
                counted = now;
                self.merge.extend(dying(&self.header.hierarchies).map(Arrived::Input).into_iter().collect(), now, now);
            }
            turned = now;
            let walked_again = self.walk_again(&mut stream)?;
            if walked_again.is_some() {
                // However long that took: it is no stall.
                turned = process::boot_time();
            }
            stream.tick(self.merge.watermark(now))?;
            if (self.wants_part)() {
                stream.begin_part(&Header { clock: process::clock(), ..self.header.clone() })?;
            }
            stream.flush()?;
            watch(&Turn { now, tracker: stream.tracker(), kernel: &self.tracer, walked_again });
            if let Some((ended, until)) = last_words {
                // What happened by the end has arrived, and is no longer held.
                let is_told = self.merge.watermark(now) >= ended && stream.tracker().is_settled(ended);
                if is_told || tokio::time::Instant::now() >= until {
                    break;
                }
            }
            rest = self.rest(&stream, is_quiet, last_words.is_some())?;
        }
        // The programs go one after the other: what some still tell when others are gone is half the truth.
        let cut = process::boot_time();
        self.look(&mut stream, cut)?;
        self.tracer.detach();
        self.gather(Some(stream.tracker()))?;
        let asked = Instant::now();
        while self.behind.is_some() && asked.elapsed() < HOLD {
            std::thread::sleep(LAG);
            self.gather(Some(stream.tracker()))?;
        }
        self.losses(&mut stream, cut)?;
        if let Some(ring) = self.behind {
            stream.feed(&mut unfinished(ring, cut))?;
        }
        while self.gatherer.is_waiting() && asked.elapsed() < HOLD {
            self.gatherer.wait(LAG);
            self.take_answers();
        }
        for (ticket, arrived) in self.gatherer.give_up() {
            self.merge.answered(ticket, arrived, cut);
        }
        let rest = self.merge.take_all().filter(|input| is_about_processes(input) || input.at() <= cut);
        feed_all(&mut stream, rest)?;
        Ok(stream.end(cut)?)
    }

    /// For how long there is nothing to be done, unless something wakes us.
    fn rest(&mut self, stream: &Stream<'_>, is_quiet: bool, is_ending: bool) -> anyhow::Result<Duration> {
        let slept = self.sleeps;
        self.sleeps =
            is_quiet && self.behind.is_none() && self.merge.is_empty() && !self.gatherer.is_waiting() && !is_ending;
        let longest = match (self.sleeps, slept) {
            (true, true) => {
                if !std::mem::replace(&mut self.has_slept, true) {
                    memory::give_back();
                    memory::let_go_of_program();
                }
                SLEEP
            }
            (true, false) => {
                self.tracer.sleep()?;
                // Something may have come before that was told.
                return Ok(Duration::ZERO);
            }
            (false, _) if self.gatherer.is_waiting() || is_ending => LAG,
            (false, _) => self.beat,
        };
        let tracker = stream.tracker();
        let due = [self.merge.next_urgent(), tracker.next_due(), tracker.next_look(), self.calls.next];
        let due = due.into_iter().flatten().min();
        // Until then nothing earlier can come. What is past due is held back for an answer.
        let soonest = if self.gatherer.is_waiting() { LAG } else { SOON };
        let until = due.map(|due| (due + LAG).since(process::boot_time()).max(soonest));
        Ok(until.map_or(longest, |until| until.min(longest)))
    }

    /// Sees whether the kernel still runs the programs that watch failed calls.
    fn look(&mut self, stream: &mut Stream<'_>, now: BootTime) -> anyhow::Result<()> {
        let lost = match self.tracer.look(now) {
            Look::Runs => return Ok(()),
            Look::RunsAgain(lost) => {
                say!("note: failed calls are seen again");
                lost
            }
            Look::StaysSilent(lost) => lost,
            Look::Stopped(stop) => {
                say!("{stop}");
                self.watches_with_backend();
                stop.lost
            }
        };
        Ok(stream.feed(&mut Input::Lost(lost))?)
    }

    /// Looks for calls that do not return, and asks what they wait for. What is read of them can hang as they do: the
    /// readers do that.
    fn look_at_calls(&mut self, stream: &mut Stream<'_>, now: BootTime) -> anyhow::Result<()> {
        let is_due = self.calls.next.is_some_and(|due| due <= now);
        if !is_due && now.since(self.calls.looked) < CALLS_EVERY {
            return Ok(());
        }
        self.calls.looked = now;
        for call in self.gatherer.take_gone_calls() {
            self.tracer.forget_call(call);
        }
        let (mut stuck, next) = self.tracer.in_flight(now);
        self.calls.next = next;
        if stuck.iter().any(|stuck| !self.calls.told.contains(&stuck.call())) {
            // Where the kernel does not run the programs any more, the end of a call was not seen.
            self.look(stream, now)?;
            (stuck, self.calls.next) = self.tracer.in_flight(now);
        }
        let told = std::mem::take(&mut self.calls.told);
        for stuck in stuck {
            self.calls.told.insert(stuck.call());
            if told.contains(&stuck.call()) {
                continue;
            }
            let path = stream.tracker().path_of(stuck.hierarchy, stuck.id).cloned();
            let arrived = self.gatherer.stuck(stuck, path);
            self.merge.extend(arrived, now, now);
        }
        self.gatherer.look_into_none(self.calls.hang());
        Ok(())
    }

    /// What comes late because a record before it is not finished may be missing in what is told meanwhile.
    fn look_behind(&mut self, stream: &mut Stream<'_>, now: BootTime) -> anyhow::Result<()> {
        let behind = self.behind.filter(|_| self.merge.is_disordered(now));
        let was_told = std::mem::replace(&mut self.is_disordered, behind.is_some());
        if let Some(ring) = behind.filter(|_| !was_told) {
            stream.feed(&mut unfinished(ring, now))?;
        }
        Ok(())
    }

    fn losses(&mut self, stream: &mut Stream<'_>, now: BootTime) -> anyhow::Result<()> {
        for mut lost in self.tracer.losses(now) {
            if matches!(&lost, Input::Lost(lost) if lost.ring == Ring::Lifecycle) {
                self.again = Some(WalkReason::RingFull);
            }
            stream.feed(&mut lost)?;
        }
        Ok(())
    }

    /// Takes in what has arrived, with the facts that belong to it, and what was answered. Returns whether anything
    /// has arrived.
    fn gather(&mut self, tracker: Option<&Tracker>) -> anyhow::Result<bool> {
        let now = process::boot_time();
        // Before there is a tracker, it will be told of all tables.
        let knows = |namespace| tracker.is_none_or(|tracker| tracker.knows_mounts(namespace));
        let (arrived, behind) = self.tracer.arrived(now).context("failed to look into the kernel's rings")?;
        self.behind = behind;
        if behind.is_none() {
            self.merge.is_complete(now);
        }
        let has_arrived = !arrived.is_empty();
        for input in arrived {
            let at = input.at();
            self.merge.extend(self.gatherer.arrived(input, &knows), at, now);
        }
        self.take_answers();
        watch(&mut self.tracer, &mut self.gatherer, &mut self.unwatched)?;
        Ok(has_arrived)
    }

    fn take_answers(&mut self) {
        let now = process::boot_time();
        for (ticket, arrived) in self.gatherer.answered() {
            self.merge.answered(ticket, arrived, now);
        }
    }

    /// Asks what the host says of the containers whose cgroups exist, and waits a while for the answers.
    fn ask_of_standing(&mut self, events: &[Event], at: BootTime) -> anyhow::Result<()> {
        let containers = events.iter().filter_map(|event| container::from_path(&event.cgroup.path));
        let known: BTreeMap<Name, String> = containers.map(|container| (container.id, container.runtime)).collect();
        for (id, runtime) in known {
            self.merge.expect(self.gatherer.standing(id, runtime, at), at);
        }
        for ticket in self.gatherer.watched(at) {
            self.merge.expect(ticket, at);
        }
        let asked = Instant::now();
        while self.gatherer.is_waiting() && asked.elapsed() < STANDING {
            self.gatherer.wait(LAG);
            self.gather(None)?;
        }
        Ok(())
    }
}

/// A record that a program has not finished is one at least that was not told.
fn unfinished(ring: Ring, at: BootTime) -> Input {
    Input::Lost(Lost::some(at, ring, LossReason::Stall, 1))
}

/// How many cgroups of cgroup2 are dying now, by the kernel's count.
fn dying(hierarchies: &[Hierarchy]) -> Option<Input> {
    let count = cgroupfs::dying(hierarchies)?;
    Some(Input::Facts(Facts { at: process::boot_time(), about: About::Dying { count } }))
}

/// Tells the kernel programs where cgroupfs is mounted, if that has changed. `unwatched`: mount points of which was
/// said that they cannot be watched.
fn watch(tracer: &mut kernel::Tracer, gatherer: &mut Gatherer, unwatched: &mut BTreeSet<Name>) -> anyhow::Result<()> {
    let Some(watch) = gatherer.take_watch() else { return Ok(()) };
    let told = tracer.watch(watch).context("failed to tell the kernel programs where cgroupfs is mounted")?;
    for mount_point in told {
        // Who may mount may mount very much.
        if unwatched.len() < UNWATCHED && unwatched.insert(mount_point.clone()) {
            let more = if unwatched.len() == UNWATCHED { "; further ones are not reported" } else { "" };
            say!(
                "note: failed calls with absolute paths below {mount_point} are not seen: too many mount points, or \
                 too long{more}"
            );
        }
    }
    Ok(())
}

/// The stream's first line, without what the kernel side says of itself.
fn header(clock: Clock, setup: Setup, hierarchies: Vec<Hierarchy>) -> Header {
    let system = process::system();
    Header {
        format: recording::FORMAT,
        tool: concat!("cgtrace ", env!("CARGO_PKG_VERSION")).to_owned(),
        host: system.host,
        rmdir_class: RmdirClass::of(&system.kernel),
        emptied_in: EmptiedIn::of(&system.kernel),
        kernel: system.kernel,
        arch: system.arch,
        boot_id: system.boot_id,
        started: clock.rfc3339(BootTime(clock.boot_ns)),
        clock,
        setup,
        hierarchies,
        backend: String::new(),
        probes: Vec::new(),
        not_watched: Vec::new(),
        preemption: None,
        command: None,
    }
}

/// Who a process is and how it ended, and what was read of it, is true whenever it comes.
fn is_about_processes(input: &Input) -> bool {
    match input {
        Input::Process(_) | Input::Facts(_) => true,
        Input::Event(_) | Input::Attempt(_) | Input::Change(_) | Input::Stuck(_) => false,
        Input::Lost(_) | Input::Tick(_) => false,
    }
}

fn feed_all(stream: &mut Stream<'_>, mut batch: impl Iterator<Item = Input>) -> io::Result<()> {
    batch.try_for_each(|mut input| stream.feed(&mut input))
}
