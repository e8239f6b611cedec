//! From the kernel's rings to the outputs: one tracing session.
//!
//! ```text
//! kernel ─► gatherer (adds facts from the host) ─► merge (order of time) ─► stream: tracker ─► output
//! ```
//!
//! [`Stream`] is the part that live tracing and a replay share; [`Session`] is the live part around it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::io;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::cgroupfs;
use crate::container;
use crate::findings::Finding;
use crate::gather::{Arrived, Gatherer};
use crate::hierarchy::{Clock, Header, Hierarchy, Probe, Setup};
use crate::input::{
    About, BootTime, Cgroup, Event, Facts, HierarchyId, Input, LossReason, Lost, Pid, Ring, Seq, Tick, WalkedAgain,
};
use crate::kernel;
use crate::name::Name;
use crate::output::{Counts, Output};
use crate::process;
use crate::reader::{Readers, Ticket};
use crate::recording;
use crate::tracker::Tracker;

/// A kernel program takes the time, then commits its record. Records are held back for so long that an earlier one of
/// another processor or ring has come by then.
const LAG: Duration = Duration::from_millis(10);
/// What comes behind a question that is not answered is held back so long at most, and only while it takes no more bytes than this. An
/// answer that comes later still counts, for what comes later still.
const HOLD: Duration = Duration::from_millis(500);
const MOST_HELD: usize = 8 << 20;
/// So long the start waits for what is said of the containers that are there already. What is answered later is told later.
const STANDING: Duration = Duration::from_secs(2);
/// How often the rings are looked at when nothing wakes us, and a story may fall due.
const BEAT: Duration = Duration::from_millis(50);
/// How often the kernel side's loss counters are read.
const LOSS_EVERY: Duration = Duration::from_millis(500);
/// Whoever does not get to run for so long may have missed what it should have looked at.
const STALL: Duration = Duration::from_secs(5);
/// After a loss cgroupfs is walked again, but no sooner after the last walk than this, or so many times what it took.
const WALK_AGAIN: Duration = Duration::from_secs(10);
const WALK_SHARE: u32 = 20;
/// For cgroups that there was no room for it is walked so much later.
const FOR_ROOM: Duration = Duration::from_secs(60);
/// Mount points that cannot be watched are named up to this.
const UNWATCHED: usize = 3;
/// After the command's end or a signal, stories that are not told yet get this long.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Numbers inputs, has them judged, counts them and hands everything to an output.
pub struct Stream<'a> {
    tracker: Tracker,
    seq: Seq,
    /// What went through so far.
    pub counts: Counts,
    output: &'a mut dyn Output,
}

impl<'a> Stream<'a> {
    /// Begins with the header.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn begin(header: &Header, output: &'a mut dyn Output) -> io::Result<Self> {
        output.header(header)?;
        Ok(Self { tracker: Tracker::new(header), seq: Seq(0), counts: Counts::default(), output })
    }

    /// What the tracker knows.
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// Takes one input in. An attempt that turns out to be on another file system is none, and is dropped.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn feed(&mut self, input: &mut Input) -> io::Result<()> {
        if let Input::Attempt(attempt) = &*input
            && self.tracker.is_foreign(attempt)
        {
            return Ok(());
        }
        self.replay(Seq(self.seq.0 + 1), input)
    }

    /// Takes in an input that has its number already, from a trace file.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn replay(&mut self, seq: Seq, input: &mut Input) -> io::Result<()> {
        self.seq = seq;
        let findings = self.tracker.apply(seq, input);
        self.counts.count(input);
        self.output.input(seq, input)?;
        for span in self.tracker.take_spans() {
            self.output.span(&span)?;
        }
        self.tell(findings)
    }

    /// Lets time pass up to `now`. Only a tick that makes a story fall due is part of the stream.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn tick(&mut self, now: BootTime) -> io::Result<()> {
        if self.tracker.next_due().is_some_and(|due| due <= now) {
            self.feed(&mut Input::Tick(Tick { at: now }))?;
        }
        self.output.passed(now)
    }

    /// Tells what is left, and ends with the counts.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn end(mut self, at: BootTime) -> io::Result<Counts> {
        let findings = self.tracker.finish(at);
        self.tell(findings)?;
        self.counts.evicted = self.tracker.evicted();
        self.output.end(at, &self.counts)?;
        Ok(self.counts)
    }

    /// Begins a new part of a trace, if the output wants one: a header with the clock of now, then all that is known.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn rotate(&mut self, header: &Header, clock: impl Fn() -> Clock) -> io::Result<()> {
        if !self.output.wants_new_part() {
            return Ok(());
        }
        let clock = clock();
        self.output.new_part(&Header { clock, ..header.clone() })?;
        for mut input in self.tracker.snapshot() {
            self.feed(&mut input)?;
        }
        Ok(())
    }

    /// Hands what is buffered on to whoever reads.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }

    fn tell(&mut self, findings: Vec<Finding>) -> io::Result<()> {
        for finding in findings {
            self.counts.count_finding(&finding);
            self.output.finding(&finding)?;
        }
        Ok(())
    }
}

/// Puts what came from several rings and processors in order of time.
#[derive(Default)]
struct Merge {
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
    fn extend(&mut self, arrived: Vec<Arrived>, at: BootTime, now: BootTime) {
        for arrived in arrived {
            let at = if let Arrived::Input(input) = &arrived { input.at() } else { at };
            self.order += 1;
            self.put(arrived, Position { at, order: self.order }, after(now, HOLD));
        }
    }

    /// Takes in what was answered, in the place that was kept for it.
    fn answered(&mut self, ticket: Ticket, arrived: Vec<Arrived>, now: BootTime) {
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

    /// Keeps a place for which nothing is held back.
    fn expect(&mut self, ticket: Ticket, at: BootTime) {
        self.order += 1;
        let position = Position { at, order: self.order };
        self.awaited.insert(ticket, Awaited { position, until: BootTime(0) });
    }

    /// Those that are wanted, in the order they were put there.
    fn pick(&mut self, wanted: impl Fn(&Input) -> bool) -> Vec<Input> {
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

    /// Up to when all was handed out, once that is taken which is old enough at `now`.
    fn watermark(&self, now: BootTime) -> BootTime {
        let before = |barrier: Position| BootTime(barrier.at.0.saturating_sub(1));
        self.barrier(now).map_or(watermark(now), |barrier| before(barrier).min(watermark(now)))
    }

    /// What is old enough at `now`, in order.
    fn take(&mut self, now: BootTime) -> impl Iterator<Item = Input> {
        self.held.sort_by_key(|held| held.position);
        let (until, barrier) = (watermark(now), self.barrier(now));
        let is_old = |held: &Held| held.position.at <= until && barrier.is_none_or(|barrier| held.position < barrier);
        self.hand_out(self.held.partition_point(is_old))
    }

    /// Everything, in order.
    fn take_all(&mut self) -> impl Iterator<Item = Input> {
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

/// Up to when inputs are handed out at `now`.
fn watermark(now: BootTime) -> BootTime {
    BootTime(now.0.saturating_sub(LAG.as_nanos() as u64))
}

/// Kernel programs in place, and the state of the host at that moment.
pub struct Session {
    tracer: kernel::Tracer,
    gatherer: Gatherer,
    merge: Merge,
    header: Header,
    existing: Vec<Input>,
    beat: Duration,
    /// Why cgroupfs is to be walked again.
    again: Option<WalkReason>,
    /// When it may be.
    not_before: Instant,
    /// Mount points of cgroupfs that cannot be watched, as far as that was said.
    unwatched: BTreeSet<Name>,
}

/// What whoever runs a session may look at, at every turn of it: one a beat when nothing happens.
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

/// Why cgroupfs is walked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkReason {
    /// Events were lost.
    RingFull,
    /// The agent did not get to run.
    Stall,
    /// There was no room to remember some cgroups, and now there is.
    Room,
}

impl WalkReason {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::RingFull, Self::Stall, Self::Room];

    /// The word of the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RingFull => "ring-full",
            Self::Stall => "stall",
            Self::Room => "room",
        }
    }
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
        let tracer = kernel::Tracer::start(plan, options)?;
        // Back to the host's own mount namespace, before its mounts are read.
        drop(tracefs);
        // All programs are in place: from here on everything is seen.
        let clock = process::clock();
        let at = BootTime(clock.boot_ns);
        let (setup, hierarchies) = cgroupfs::hierarchies()?;
        let mut session = Self {
            tracer,
            gatherer: Gatherer::new(hierarchies.clone(), readers),
            merge: Merge::default(),
            header: header(clock, setup, hierarchies),
            existing: Vec::new(),
            beat: BEAT,
            again: None,
            not_before: Instant::now(),
            unwatched: BTreeSet::new(),
        };
        session.header.backend = session.tracer.backend().as_str().to_owned();
        session.header.probes = session.tracer.probes().to_vec();
        // A runtime may be gone in a moment, and its bundle with it: what has come is looked at between the steps.
        session.gather(None)?;
        let is_mounts = |input: &Input| matches!(input, Input::Facts(Facts { about: About::Mounts { .. }, .. }));
        let mut existing = session.merge.pick(is_mounts);
        existing.extend(session.gatherer.at_start(at));
        session.gather(None)?;
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
            Input::Facts(Facts { about: About::Container(facts), .. }) => facts.pid.is_none(),
            _ => false,
        };
        existing.extend(session.merge.pick(is_standing));
        existing.extend(events.into_iter().map(Input::Event));
        let about = About::Walked { cgroups: walked.cgroups, unreadable: walked.unreadable, again: None };
        existing.push(Input::Facts(Facts { at: process::boot_time(), about }));
        session.existing = existing;
        // While the programs were put in place, one after the other, some was missed: what was seen is half the truth.
        session.merge.held.retain(|held| is_about_processes(&held.input) || held.input.at() >= at);
        release_memory();
        Ok(session)
    }

    /// The probes, attached or not.
    pub fn probes(&self) -> &[Probe] {
        &self.header.probes
    }

    /// The kernel side.
    pub fn kernel(&self) -> &kernel::Tracer {
        &self.tracer
    }

    /// The stream's first line.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How often it looks when nothing wakes it: what is rarer costs an idle host less, and tells events later. Failed calls and
    /// processes, and a ring that fills, wake it at once all the same.
    pub fn set_beat(&mut self, beat: Duration) {
        self.beat = beat;
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

    /// Traces until `stop` is ready, then until what happened by then is told (see [`Tracker::is_settled`]), at most two seconds.
    /// `watch` is shown every turn.
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
        let mut stop = std::pin::pin!(stop);
        let mut beat = tokio::time::interval(self.beat);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut asked = process::boot_time();
        let mut last_words: Option<(BootTime, tokio::time::Instant)> = None;
        let mut turned = process::boot_time();
        loop {
            tokio::select! {
                () = &mut stop, if last_words.is_none() => {
                    last_words = Some((process::boot_time(), tokio::time::Instant::now() + LAST_WORDS));
                }
                ready = self.tracer.readable() => ready.context("failed to wait for the kernel's rings")?,
                () = tokio::time::sleep(LAG), if self.gatherer.is_waiting() => {}
                _ = beat.tick() => {}
            }
            let now = process::boot_time();
            if now.since(turned) >= STALL {
                self.again.get_or_insert(WalkReason::Stall);
            }
            // A story that is about to be told is judged by what is lost, too.
            if now.since(asked) >= LOSS_EVERY || stream.tracker().next_due().is_some_and(|due| due <= now) {
                asked = now;
                self.losses(&mut stream, now)?;
            }
            self.gather(Some(stream.tracker()))?;
            feed_all(&mut stream, self.merge.take(now))?;
            turned = now;
            let walked_again = self.walk_again(&mut stream)?;
            if walked_again.is_some() {
                // However long that took: it is no stall.
                turned = process::boot_time();
            }
            stream.tick(self.merge.watermark(now))?;
            stream.rotate(&self.header, process::clock)?;
            stream.flush()?;
            watch(&Turn { now, tracker: stream.tracker(), kernel: &self.tracer, walked_again });
            if let Some((ended, until)) = last_words {
                // What happened by the end has arrived, and is no longer held.
                let is_told = self.merge.watermark(now) >= ended && stream.tracker().is_settled(ended);
                if is_told || tokio::time::Instant::now() >= until {
                    break;
                }
            }
        }
        // The programs go one after the other: what some still tell when others are gone is half the truth.
        let cut = process::boot_time();
        self.tracer.detach();
        self.gather(Some(stream.tracker()))?;
        self.losses(&mut stream, cut)?;
        let asked = Instant::now();
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

    fn losses(&mut self, stream: &mut Stream<'_>, now: BootTime) -> anyhow::Result<()> {
        for mut lost in self.tracer.losses(now) {
            if matches!(&lost, Input::Lost(lost) if lost.ring == Ring::Lifecycle) {
                self.again = Some(WalkReason::RingFull);
            }
            stream.feed(&mut lost)?;
        }
        Ok(())
    }

    /// After a loss, or when there is room again: walks cgroupfs again, so that what exists is known, whatever was not told.
    fn walk_again(&mut self, stream: &mut Stream<'_>) -> anyhow::Result<Option<WalkReason>> {
        if self.again.is_none() && stream.tracker().wants_walk() && Instant::now() >= self.not_before + FOR_ROOM {
            self.again = Some(WalkReason::Room);
        }
        if self.again.is_none() || Instant::now() < self.not_before {
            return Ok(None);
        }
        let reason = self.again.take();
        // What has arrived is told before what is found.
        feed_all(stream, self.merge.take_all())?;
        let (began, begun) = (process::boot_time(), Instant::now());
        let hierarchies: Vec<HierarchyId> =
            self.header.hierarchies.iter().filter(|h| h.mount.is_some()).map(|h| h.id).collect();
        let mut found = Vec::new();
        let walked = cgroupfs::walk(&self.header.hierarchies, process::boot_time, &mut |event| found.push(event));
        let took = begun.elapsed();
        self.not_before = Instant::now() + WALK_AGAIN.max(took * WALK_SHARE);
        if reason == Some(WalkReason::Stall) {
            let cgroups: Vec<Cgroup> = found.iter().map(|event| event.cgroup.clone()).collect();
            let count = stream.tracker().differences(&cgroups, &hierarchies);
            let lost = Lost::some(began, Ring::Lifecycle, LossReason::Stall, count);
            stream.feed(&mut Input::Lost(lost))?;
        }
        let about = About::Walked {
            cgroups: walked.cgroups,
            unreadable: walked.unreadable,
            again: Some(WalkedAgain { began, hierarchies }),
        };
        let now = process::boot_time();
        let walked = Input::Facts(Facts { at: now, about });
        // What happened meanwhile is put between what was found before and after it.
        let found = found.into_iter().map(Input::Event).chain([walked]).map(Arrived::Input);
        self.merge.extend(found.collect(), now, now);
        Ok(reason)
    }

    /// Takes in what has arrived, with the facts that belong to it, and what was answered.
    fn gather(&mut self, tracker: Option<&Tracker>) -> anyhow::Result<()> {
        let now = process::boot_time();
        // Before there is a tracker, it will be told of all tables.
        let knows = |namespace| tracker.is_none_or(|tracker| tracker.knows_mounts(namespace));
        for input in self.tracer.arrived() {
            let at = input.at();
            self.merge.extend(self.gatherer.arrived(input, &knows), at, now);
        }
        self.take_answers();
        let Some(watch) = self.gatherer.take_watch() else { return Ok(()) };
        let told = self.tracer.watch(watch).context("failed to tell the kernel programs where cgroupfs is mounted");
        for mount_point in told? {
            // Who may mount may mount very much.
            if self.unwatched.len() < UNWATCHED && self.unwatched.insert(mount_point.clone()) {
                let more = if self.unwatched.len() == UNWATCHED { "; nothing is said of others" } else { "" };
                say!(
                    "note: failed calls with absolute paths below {mount_point} are not seen: too many mount points, or too \
                     long{more}"
                );
            }
        }
        Ok(())
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
        let asked = Instant::now();
        while self.gatherer.is_waiting() && asked.elapsed() < STANDING {
            self.gatherer.wait(LAG);
            self.gather(None)?;
        }
        Ok(())
    }
}

/// The stream's first line, without what the kernel side says of itself.
fn header(clock: Clock, setup: Setup, hierarchies: Vec<Hierarchy>) -> Header {
    let system = process::system();
    Header {
        format: recording::FORMAT,
        tool: concat!("cgtrace ", env!("CARGO_PKG_VERSION")).to_owned(),
        host: system.host,
        kernel: system.kernel,
        arch: system.arch,
        boot_id: system.boot_id,
        started: clock.rfc3339(BootTime(clock.boot_ns)),
        clock,
        setup,
        hierarchies,
        backend: String::new(),
        probes: Vec::new(),
        command: None,
    }
}

/// Gives back what starting up took, most of it for the kernel's type information.
fn release_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a call without memory of ours.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Who a process is and how it ended, and what was read of it, is true whenever it comes.
fn is_about_processes(input: &Input) -> bool {
    match input {
        Input::Process(_) | Input::Facts(_) => true,
        Input::Event(_) | Input::Attempt(_) | Input::Lost(_) | Input::Tick(_) => false,
    }
}

fn feed_all(stream: &mut Stream<'_>, mut batch: impl Iterator<Item = Input>) -> io::Result<()> {
    batch.try_for_each(|mut input| stream.feed(&mut input))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut merge = Merge::default();
        extend(&mut merge, &[30, 7, 10]);
        assert_eq!(times(merge.pick(|input| input.at().0 >= 10)), [30, 10]);
        assert_eq!(times(merge.take_all()), [7]);
    }

    #[test]
    fn inputs_are_held_until_nothing_earlier_can_come() {
        let (mut merge, lag) = (Merge::default(), LAG.as_nanos() as u64);
        extend(&mut merge, &[30, 10]);
        assert_eq!(merge.take(BootTime(9 + lag)).count(), 0);
        extend(&mut merge, &[5]);
        assert_eq!(times(merge.take(BootTime(10 + lag))), [5, 10]);
        assert_eq!(merge.take_all().count(), 1);
        assert!(merge.held.is_empty());
    }

    #[test]
    fn an_answer_has_the_place_of_its_question_and_is_waited_for_a_while() {
        let (lag, hold) = (LAG.as_nanos() as u64, HOLD.as_nanos() as u64);
        let [first, second] = [1, 2].map(Ticket::numbered);
        let mut merge = Merge::default();
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
        let mut merge = Merge::default();
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
