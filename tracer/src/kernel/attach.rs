//! Loads and attaches what the plan says, and reads what comes.

use std::collections::BTreeSet;
use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, bail};
use aya::maps::{Array, HashMap, PerCpuArray};
use aya::programs::{BtfTracePoint, FEntry, FExit, RawTracePoint, TracePoint};
use aya::{Btf, Ebpf, EbpfLoader};

use super::btf::Excerpt;
use super::firing;
use super::hook::{Hook, is_on_calls};
use super::losses::Losses;
use super::messages::Messages;
use super::plan::{Backend, Group, PROBES, Plan, ProbeSpec};
use super::pod::Pod;
use super::record;
use super::refused::told;
use super::rings::Rings;
use super::tracefs;
use super::trampoline::why_silent;
use crate::hierarchy::Probe;
use crate::input::{BootTime, CallId, Input, LossReason, Lost, Ring, Stuck};
use crate::mounts::Watch;
use crate::name::Name;
use crate::process;
use tracer_ebpf::{Above, BEGINNINGS, Beginning, Begun, COMM, PREFIXES, Prefix, Watched, config, slot};

/// A call that has not returned after this is told of.
const STUCK: Duration = Duration::from_secs(2);

/// What can be set for a tracing session.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of the ring of events and processes in bytes: a power of two, at least a page.
    pub lifecycle_bytes: u32,
    /// Size of the ring of attempts in bytes: likewise.
    pub attempts_bytes: u32,
    /// Size of the ring of changes in bytes: likewise. Where nothing tells of changes it is a page.
    pub changes_bytes: u32,
    /// Failed calls that a thread group may report at once.
    pub burst: u32,
    /// And how many a second from then on.
    pub rate: u32,
    /// Names of programs whose start is always reported, at most 15 bytes each.
    pub comms: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // All of both is resident, and counted twice: they hold some ten thousand events, a tenth of a second of
            // the worst churn. With a quarter of that the agent is woken.
            lifecycle_bytes: 2 << 20,
            attempts_bytes: 512 << 10,
            changes_bytes: 128 << 10,
            burst: 256,
            rate: 64,
            comms: crate::runtimes::comms().map(str::to_owned).collect(),
        }
    }
}

/// Whether the kernel runs the programs that watch failed calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// It does; or it cannot be told, for this process has another number in the kernel's first pid namespace.
    Runs,
    /// It does, and did not when this was last looked at: what failed in between was not seen.
    RunsAgain(Lost),
    /// It does not, as when this was last looked at.
    StaysSilent(Lost),
    /// It has stopped.
    Stopped(Stop),
}

/// The kernel does not run the programs that watch failed calls any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// One of those programs, and the failed call of the agent's own that it did not see. What else failed since this
    /// was last looked at is not known.
    pub lost: Lost,
    /// Why, if that can be told.
    pub why: Option<String>,
    /// Whether other programs have taken their place and were seen to run; else why not.
    pub taken_over: Result<(), String>,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = self.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        match &self.taken_over {
            Ok(()) => write!(
                f,
                "warning: the kernel stopped running the trampolines{why}: the tracepoint on all system calls' exit is \
                 used instead; failed calls of the last minute may be missing"
            ),
            Err(error) => write!(
                f,
                "error: the kernel stopped running the programs that watch failed calls{why}, and none takes over: \
                 {error}; failed calls are not seen\nhint: restart cgtrace"
            ),
        }
    }
}

/// Kernel programs in place, and their rings.
pub struct Tracer {
    ebpf: Ebpf,
    backend: Backend,
    /// Why a trampoline could not be attached.
    fell_back: Option<String>,
    probes: Vec<Probe>,
    rings: Rings,
    /// Dropping a link detaches its program.
    links: Vec<Link>,
    /// What watches failed calls if the kernel does not run the trampolines any more: loaded, and not attached. The
    /// sandbox allows no loading later.
    instead: Option<Result<Vec<Hook>, String>>,
    /// Whether our own failed calls can be seen: a program watches failed calls, and knows us by our number.
    sees_own_calls: bool,
    /// Whether the failed calls that are made to see it were seen when this was last looked at.
    runs: bool,
    messages: Option<Messages>,
    /// All [`Beginning::bits`] that were ever set: file systems that are not told of any more may be asked for still.
    beginnings: u64,
    losses: Losses,
}

impl Tracer {
    /// Loads and attaches, and sees whether the kernel runs what watches failed calls. A probe that cannot be attached,
    /// or is not run, is told in [`Tracer::probes`], unless nothing works without it. Where a trampoline cannot, all
    /// failed calls are watched by the tracepoint, if the plan allows it: beside that one, which looks at every system
    /// call, the others would save nothing.
    ///
    /// # Errors
    /// When the programs cannot be loaded, or an essential probe cannot be attached.
    pub fn start(plan: &Plan, options: &Options) -> anyhow::Result<Self> {
        let tracer = Self::start_as_planned(plan, options)?;
        // Without the one on writes the others are still worth having.
        let is_needed = |probe: &&Probe| is_on_call(probe, plan.backend) && !is_on_function(probe);
        let refused = tracer.probes.iter().filter(is_needed).find(|probe| !probe.attached);
        let Some(refused) = refused.filter(|_| plan.backend == Backend::Trampoline) else { return Ok(tracer) };
        let why = format!("{}: {}", refused.name, refused.reason.as_deref().unwrap_or("unknown"));
        drop(tracer);
        if !plan.falls_back {
            bail!("failed to attach a trampoline: {why}\nhint: use --backend tracepoint");
        }
        let instead = Plan { backend: Backend::TracepointBtf, ..plan.clone() };
        let mut tracer = Self::start_as_planned(&instead, options)?;
        tracer.fell_back = Some(why);
        Ok(tracer)
    }

    fn start_as_planned(plan: &Plan, options: &Options) -> anyhow::Result<Self> {
        let object = super::OBJECT.context("this binary was built without its kernel programs")?;
        let object = zstd::decode_all(object).context("failed to unpack the kernel programs")?;
        let mut config = [0u64; config::COUNT];
        config[config::SELF] = u64::from(std::process::id());
        config[config::BURST] = u64::from(options.burst.max(1));
        config[config::REFILL_NS] = 1_000_000_000 / u64::from(options.rate.max(1));
        config[config::WAKE_BYTES] = u64::from(options.lifecycle_bytes / 4);
        config[config::TWICE] = u64::from(plan.twice);
        config[config::STUCK_NS] = STUCK.as_nanos() as u64;
        config[config::CROWDED_EVENTS] = u64::from(options.lifecycle_bytes / 2);
        config[config::CROWDED_ATTEMPTS] = u64::from(options.attempts_bytes / 2);
        config[config::CROWDED_CHANGES] = u64::from(options.changes_bytes / 2);
        let tells_changes = plan.backend == Backend::Trampoline;
        let changes_bytes = if tells_changes { options.changes_bytes } else { rustix::param::page_size() as u32 };
        let mut ebpf = EbpfLoader::new()
            // Nothing in the programs is relocated by it, and all of the kernel's would be read.
            .btf(None)
            .override_global("OFFSETS", &plan.offsets[..], true)
            .override_global("CONFIG", &config[..], true)
            .map_max_entries("LIFECYCLE", options.lifecycle_bytes)
            .map_max_entries("ATTEMPTS", options.attempts_bytes)
            .map_max_entries("CHANGES", changes_bytes)
            .map_max_entries("BEGUN", if tells_changes { tracer_ebpf::BEGUN as u32 } else { 1 })
            .map_max_entries("TOLD", if plan.twice { tracer_ebpf::TOLD as u32 } else { 1 })
            .map_max_entries("SCRATCHES", if plan.twice { slot::OF_TWO } else { slot::OF_ONE })
            .load(&object)
            .context("failed to load the kernel programs' maps")?;
        let rings = Rings::of(&mut ebpf, plan.emptied_by_next)?;
        let comms = ebpf.take_map("COMMS").context("the programs have no map COMMS")?;
        let mut comms: HashMap<_, [u8; COMM], u8> = HashMap::try_from(comms)?;
        for comm in &options.comms {
            let mut key = [0; COMM];
            let length = comm.len().min(COMM - 1);
            key[..length].copy_from_slice(&comm.as_bytes()[..length]);
            comms.insert(key, 1, 0).context("failed to pass the runtimes' names to the kernel programs")?;
        }
        let messages = Messages::of(&mut ebpf);
        let mut tracer = Self {
            ebpf,
            backend: plan.backend,
            fell_back: None,
            probes: Vec::new(),
            rings,
            links: Vec::new(),
            instead: None,
            sees_own_calls: false,
            runs: true,
            messages,
            beginnings: 0,
            losses: Losses::default(),
        };
        tracer.attach_all(plan)?;
        // Of what began while some programs were in place and others were not, the end may not have been seen.
        tracer.forget_in_flight();
        if !tracer.is_run() {
            tracer.runs = false;
            let why = tracer.why_silent().map(|why| format!(": {why}")).unwrap_or_default();
            for probe in tracer.probes.iter_mut().filter(|probe| probe.attached && is_on_call(probe, plan.backend)) {
                probe.attached = false;
                probe.reason = Some(format!("the kernel does not run it{why}"));
            }
        }
        Ok(tracer)
    }

    /// Whether a failed call of our own is seen by the programs that are there for it. `true` if it cannot be told.
    fn is_run(&self) -> bool {
        let counted = self.ebpf.map("OWN_CALLS").and_then(|map| PerCpuArray::<_, u64>::try_from(map).ok());
        let seen = || Some(counted.as_ref()?.get(&0, 0).ok()?.iter().sum::<u64>());
        let Some(before) = seen().filter(|_| self.sees_own_calls) else { return true };
        let is_seen = || {
            firing::fail();
            seen().is_none_or(|now| now != before)
        };
        // What is silent already may be looked at often.
        if self.runs { firing::until_seen(is_seen) } else { is_seen() }
    }

    /// Why the programs that watch failed calls do not run, if that can be told.
    fn why_silent(&self) -> Option<String> {
        (self.backend == Backend::Trampoline).then(why_silent)?.map(str::to_owned)
    }

    /// Sees whether the kernel still runs the programs that watch failed calls, by a call of our own. Where it does not
    /// run trampolines, the tracepoint takes over, if the plan allowed that: see [`Tracer::backend`].
    ///
    /// It takes a failed call and two looks at a counter; where nothing is seen, some milliseconds the first time.
    pub fn look(&mut self, at: BootTime) -> Look {
        let ran = self.runs;
        self.runs = self.is_run();
        let program = Some(self.program_on_calls());
        let lost = Lost { program, ..Lost::some(at, Ring::Attempts, LossReason::Silent, 1) };
        match (ran, self.runs) {
            (true, true) => Look::Runs,
            (false, true) => Look::RunsAgain(lost),
            (false, false) => Look::StaysSilent(lost),
            (true, false) => {
                let why = self.why_silent();
                Look::Stopped(Stop { lost, why, taken_over: self.take_over() })
            }
        }
    }

    /// One of the programs that watch failed calls.
    fn program_on_calls(&self) -> String {
        match self.backend {
            Backend::Trampoline => "exit_openat",
            Backend::TracepointBtf => "sys_exit_btf",
            Backend::TracepointRaw => "sys_exit_raw",
        }
        .to_owned()
    }

    /// Puts the tracepoint in the place of the trampolines. These stay attached and tell nothing any more, even if the
    /// kernel runs them again: what is detached while ftrace is off cannot be attached again by anybody on this host.
    fn take_over(&mut self) -> Result<(), String> {
        let hooks = self.instead.take().ok_or("there are no others")??;
        self.set_taken_over(true).map_err(told)?;
        let attached = self.links.len();
        if let Err(error) = hooks.iter().try_for_each(|hook| self.attach(hook)) {
            self.links.truncate(attached);
            let _ = self.set_taken_over(false);
            return Err(told(error));
        }
        self.backend = Backend::TracepointBtf;
        self.forget_in_flight();
        self.runs = true;
        self.runs = self.is_run();
        if self.runs { Ok(()) } else { Err("the kernel does not run the tracepoint's program either".to_owned()) }
    }

    /// The calls that have not returned, the oldest first, as far as trampolines see them: those that are to be told of
    /// at `now`, and when the next one of the others will be.
    pub fn in_flight(&self, now: BootTime) -> (Vec<Stuck>, Option<BootTime>) {
        let map = self.ebpf.map("BEGUN").filter(|_| self.backend == Backend::Trampoline);
        let Some(map) = map.and_then(|map| HashMap::<_, u32, Pod<Begun>>::try_from(map).ok()) else {
            return (Vec::new(), None);
        };
        // While calls come and go, the kernel may begin anew with the first one.
        let begun = map.iter().flatten().take(tracer_ebpf::BEGUN);
        let calls = begun.filter_map(|(_, Pod(begun))| record::in_flight(&begun.call, Some(now)));
        let (mut stuck, others): (Vec<Stuck>, Vec<Stuck>) = calls.partition(|call| now.since(call.began) >= STUCK);
        stuck.sort_by_key(|stuck| (stuck.began, stuck.actor.tid));
        (stuck, others.into_iter().map(|call| call.began + STUCK).min())
    }

    /// A thread is in no call any more, and its end was not seen.
    pub fn forget_call(&mut self, CallId { tid, began }: CallId) {
        if let Some(map) = self.ebpf.map_mut("BEGUN")
            && let Ok(mut map) = HashMap::<_, u32, Pod<Begun>>::try_from(map)
            && map.get(&tid, 0).is_ok_and(|Pod(begun)| begun.call.began == began.0)
        {
            // It may have gone by itself.
            let _ = map.remove(&tid);
        }
    }

    fn forget_in_flight(&mut self) {
        let Some(map) = self.ebpf.map("BEGUN") else { return };
        let Ok(map) = HashMap::<_, u32, Pod<Begun>>::try_from(map) else { return };
        let call = |(tid, Pod(begun)): (u32, Pod<Begun>)| CallId { tid, began: BootTime(begun.call.began) };
        let calls: Vec<CallId> = map.iter().flatten().map(call).collect();
        calls.into_iter().for_each(|call| self.forget_call(call));
    }

    fn set_taken_over(&mut self, taken_over: bool) -> anyhow::Result<()> {
        let map = self.ebpf.map_mut("TAKEN_OVER").context("the programs have no map TAKEN_OVER")?;
        Ok(Array::<_, u32>::try_from(map)?.set(0, u32::from(taken_over), 0)?)
    }

    /// The probes, attached or not.
    pub fn probes(&self) -> &[Probe] {
        &self.probes
    }

    /// Why failed calls are watched by the tracepoint, though trampolines had seemed to work.
    pub fn fell_back(&self) -> Option<&str> {
        self.fell_back.as_deref()
    }

    /// How failed calls are watched.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Sets what is to be looked for in paths beside `/sys/fs/cgroup`. Returns the mount points that cannot be watched:
    /// there are too many, or they are too long.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn watch(&mut self, watch: &Watch) -> anyhow::Result<Vec<Name>> {
        let mut unwatched = Vec::new();
        let mut watched = Watched::default();
        let map = self.ebpf.map_mut("PREFIXES").context("the programs have no map PREFIXES")?;
        let mut prefixes: Array<_, Pod<Prefix>> = Array::try_from(map)?;
        for (_, mount_point) in &watch.prefixes {
            match Prefix::new(mount_point.as_bytes()) {
                Some(prefix) if (watched.prefixes as usize) < PREFIXES => {
                    prefixes.set(watched.prefixes as u32, Pod(prefix), 0)?;
                    watched.prefixes += 1;
                }
                Some(_) | None => unwatched.push(mount_point.clone()),
            }
        }
        let map = self.ebpf.map_mut("ABOVE").context("the programs have no map ABOVE")?;
        let mut above: HashMap<_, u32, Pod<Above>> = HashMap::try_from(map)?;
        for (device, ways) in &watch.above {
            let beginnings: BTreeSet<_> = ways.iter().map(|way| Beginning::of(way.as_bytes())).collect();
            self.beginnings |= beginnings.iter().fold(0, |bits, beginning| bits | beginning.bits());
            let mut value = Above { beginnings: [Beginning::NONE; BEGINNINGS] };
            if beginnings.len() > BEGINNINGS {
                // Too many to tell apart: all go to user space, which can.
                value.beginnings[0] = Beginning::ANY;
            } else {
                value.beginnings.iter_mut().zip(beginnings).for_each(|(slot, beginning)| *slot = beginning);
            }
            above.insert(device.major << 20 | device.minor, Pod(value), 0)?;
        }
        watched.beginnings = self.beginnings;
        let map = self.ebpf.map_mut("WATCHED").context("the programs have no map WATCHED")?;
        Array::<_, Pod<Watched>>::try_from(map)?.set(0, Pod(watched), 0)?;
        Ok(unwatched)
    }

    /// Waits until a ring has something.
    ///
    /// # Errors
    /// When the rings cannot be waited for. Must be called within a tokio runtime.
    pub async fn readable(&mut self) -> std::io::Result<()> {
        self.rings.readable().await
    }

    /// Has the next event wake whoever waits until a ring is [readable](Self::readable): otherwise only failed calls,
    /// processes, and a ring that fills do. It is so once. What arrived before is to be taken out after this.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn sleep(&mut self) -> anyhow::Result<()> {
        let map = self.ebpf.map_mut("ASLEEP").context("the programs have no map ASLEEP")?;
        Array::<_, u32>::try_from(map)?.set(0, 1, 0).context("failed to tell the kernel programs that nobody looks")
    }

    /// Takes out what has arrived: of each ring in order, but one ring after the other. Returns also the first ring
    /// that is not known to hold nothing anymore of the time before `now`: a record that a program has begun and not
    /// finished, because it was preempted or its processor stands still, hides all that came after it.
    ///
    /// # Errors
    /// When the rings cannot be asked whether they hold anything.
    pub fn arrived(&mut self, now: BootTime) -> std::io::Result<(Vec<Input>, Option<Ring>)> {
        self.messages.iter_mut().for_each(Messages::print);
        self.rings.arrived(now)
    }

    /// What was lost since this was last asked.
    pub fn losses(&mut self, at: BootTime) -> Vec<Input> {
        let mut losses = self.losses.counted(&self.ebpf, at);
        losses.extend(self.rings.malformed(at));
        losses.extend(self.losses.missed(&self.ebpf, self.backend, at));
        losses.into_iter().filter(|lost| lost.count > 0).map(Input::Lost).collect()
    }

    /// What the kernel counts of each program that is loaded: how often it ran, and for how long. All 0 unless
    /// statistics are enabled.
    pub fn program_runs(&self) -> impl Iterator<Item = (&str, u64, Duration)> {
        self.ebpf.programs().filter_map(|(name, program)| {
            let info = program.info().ok()?;
            Some((name, info.run_count(), info.run_time()))
        })
    }

    /// How many instructions the kernel's verifier went through for each program that is loaded: most of what a start
    /// costs. Kernels before 5.16 do not tell.
    pub fn verified_instructions(&self) -> impl Iterator<Item = (&str, u32)> {
        self.ebpf
            .programs()
            .filter_map(|(name, program)| Some((name, program.info().ok()?.verified_instruction_count()?)))
    }

    /// Detaches all programs. What they have written stays to be drained.
    pub fn detach(&mut self) {
        // Each detachment waits for all processors; together they wait once.
        std::thread::scope(|scope| {
            for link in self.links.drain(..) {
                // Where there can be no thread, the link is dropped with what was to drop it.
                let _ = std::thread::Builder::new().spawn_scoped(scope, || drop(link));
            }
        });
    }

    /// Loads all programs, which takes the kernel some time, then attaches them, which does not: while some are in
    /// place and others are not, half of what happens is seen.
    fn attach_all(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let btf = match plan.backend {
            Backend::Trampoline | Backend::TracepointBtf => {
                let excerpt = Excerpt::of_this_kernel().context("failed to read the kernel's BTF")?;
                Some(excerpt.for_aya().context("failed to hand on the kernel's BTF")?)
            }
            Backend::TracepointRaw => None,
        };
        let mut hooks: Vec<(Hook, Result<(), String>)> = Vec::new();
        // Those on processes come last: each takes some milliseconds to attach, and a runtime that is told of is looked
        // at only when all are in place.
        let watched = || PROBES.iter().filter(|probe| probe.is_watched_by(plan.backend));
        let mut probes: Vec<&ProbeSpec> = watched().collect();
        probes.sort_by_key(|probe| probe.group == Group::Processes);
        let hooks_of = |probe: &&ProbeSpec| Hook::all_of(probe, plan);
        for hook in probes.iter().flat_map(hooks_of).flat_map(|hook| hook.copies(plan.twice)) {
            // One program watches all system calls' exit.
            if !hooks.iter().any(|(known, _)| *known == hook) {
                let loaded = self.load(&hook, btf.as_ref()).map_err(told);
                hooks.push((hook, loaded));
            }
        }
        if plan.backend == Backend::Trampoline && plan.falls_back {
            let hooks = Hook::on_all_calls().copies(plan.twice);
            let loaded = hooks.iter().try_for_each(|hook| self.load(hook, btf.as_ref()));
            self.instead = Some(loaded.map(|()| hooks).map_err(told));
        }
        for (hook, state) in &mut hooks {
            if state.is_ok() {
                *state = self.attach(hook).map_err(told);
            }
        }
        for probe in watched() {
            let own = Hook::all_of(probe, plan);
            let error = |hook: &Hook| hooks.iter().find(|(known, _)| known == hook)?.1.clone().err();
            let reason = own.iter().find_map(error);
            if let Some(error) = &reason
                && probe.essential
            {
                bail!("failed to attach {}: {error}", probe.name);
            }
            let attached = reason.is_none();
            let second = || own.iter().filter_map(Hook::second).find_map(|hook| error(&hook));
            let reason = reason.or_else(|| Some(format!("its second copy: {}", second()?)));
            self.probes.push(Probe { name: probe.name.to_owned(), attached, reason });
        }
        Ok(())
    }

    fn load(&mut self, hook: &Hook, btf: Option<&Btf>) -> anyhow::Result<()> {
        let btf = || btf.context("the kernel has no BTF");
        match hook {
            Hook::Tracepoint(name) => {
                tracefs::check_format(name)?;
                self.program::<&mut TracePoint>(name)?.load()?;
            }
            Hook::RawTracepoint { program, .. } => self.program::<&mut RawTracePoint>(program)?.load()?,
            Hook::BtfTracepoint { program, tracepoint } => {
                self.program::<&mut BtfTracePoint>(program)?.load(tracepoint, btf()?)?;
            }
            Hook::Trampoline { program, function } => self.program::<&mut FExit>(program)?.load(function, btf()?)?,
            Hook::Entry { program, function } => self.program::<&mut FEntry>(program)?.load(function, btf()?)?,
        }
        Ok(())
    }

    fn attach(&mut self, hook: &Hook) -> anyhow::Result<()> {
        macro_rules! attach {
            ($program:ident: $kind:ty, $($argument:expr),*) => {{
                let program = self.program::<&mut $kind>($program)?;
                let link = program.attach($($argument),*)?;
                Box::new(program.take_link(link)?)
            }};
        }
        let link: Link = match hook {
            Hook::Tracepoint(name) => attach!(name: TracePoint, "cgroup", name),
            Hook::RawTracepoint { program, tracepoint } => attach!(program: RawTracePoint, tracepoint),
            Hook::BtfTracepoint { program, .. } => attach!(program: BtfTracePoint,),
            Hook::Trampoline { program, .. } => attach!(program: FExit,),
            Hook::Entry { program, .. } => attach!(program: FEntry,),
        };
        self.sees_own_calls |= is_on_calls(hook.program()) && process::is_in_first_pid_namespace() == Some(true);
        self.links.push(link);
        Ok(())
    }

    fn program<'a, P>(&'a mut self, name: &str) -> anyhow::Result<P>
    where
        P: TryFrom<&'a mut aya::programs::Program, Error = aya::programs::ProgramError>,
    {
        let program = self.ebpf.program_mut(name).with_context(|| format!("the programs have no {name}"))?;
        Ok(program.try_into()?)
    }
}

/// Keeps a program attached.
type Link = Box<dyn std::any::Any + Send>;

/// Whether a probe is on a system call that fails, and the backend watches it.
fn is_on_call(probe: &Probe, backend: Backend) -> bool {
    let is_it = |spec: &&ProbeSpec| spec.name == probe.name && spec.group == Group::Attempts;
    PROBES.iter().find(is_it).is_some_and(|spec| spec.is_watched_by(backend))
}

/// Whether a probe is on the kernel's function behind several system calls.
fn is_on_function(probe: &Probe) -> bool {
    PROBES.iter().any(|spec| spec.name == probe.name && spec.is_on_function())
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.detach();
    }
}

/// Has the kernel count the runs of programs, all of the host's, until the result is dropped.
///
/// # Errors
/// Without CAP_SYS_ADMIN.
pub fn enable_statistics() -> anyhow::Result<OwnedFd> {
    aya::sys::enable_stats(aya::sys::Stats::RunTime).context("failed to enable the kernel's statistics of programs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_that_the_programs_stopped_learns_what_is_done_about_it() {
        let lost = Lost::some(BootTime(0), Ring::Attempts, LossReason::Silent, 1);
        let told = |why: Option<&str>, taken_over: Result<(), &str>| {
            let (why, taken_over) = (why.map(str::to_owned), taken_over.map_err(str::to_owned));
            Stop { lost: lost.clone(), why, taken_over }.to_string()
        };
        assert_eq!(
            told(Some("kernel.ftrace_enabled is 0"), Ok(())),
            "warning: the kernel stopped running the trampolines (kernel.ftrace_enabled is 0): the tracepoint on all \
             system calls' exit is used instead; failed calls of the last minute may be missing"
        );
        assert_eq!(
            told(None, Err("there are no others")),
            "error: the kernel stopped running the programs that watch failed calls, and none takes over: there are no \
             others; failed calls are not seen\nhint: restart cgtrace"
        );
    }

    #[test]
    fn every_path_that_begins_like_a_way_down_passes_the_first_look() {
        let eight = |path: &str| {
            let mut bytes = [0; 8];
            bytes.iter_mut().zip(path.bytes()).for_each(|(to, from)| *to = from);
            u64::from_ne_bytes(bytes)
        };
        let check = |way: &str, path: &str, passes: bool| {
            let (way, path) = (Beginning::of(way.as_bytes()), eight(path));
            assert_eq!(path & way.mask == way.value, passes);
            assert!(!passes || way.bits() >> tracer_ebpf::beginning(path) & 1 == 1);
        };
        check("freezer", "freezer/web", true);
        check("freezer", "freezer", true);
        check("freezer", "freeze", false);
        check("sys/fs/cgroup/unified", "sys/fs/cgroup", true);
        check("sys/fs/cgroup/unified", "sys/fs/bpf", false);
        check("c", "c", true);
        check("c", "c/web", true);
    }
}
