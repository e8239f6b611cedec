//! What a stream tells Prometheus: counters, gauges and histograms, with label values from closed sets.
//!
//! Numbers are kept where they are counted; telling them reads them and nothing else. Every label value that can be is
//! there from the start, so that the number of series is the same for one container and for ten thousand, and a first
//! event is a step that `increase` sees. `docs/metrics.md` says what each is for.

mod format;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use format::Exposition;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::{CounterWithExemplar, HistogramWithExemplars};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, NativeHistogramConfig};
use prometheus_client::registry::Registry;

use crate::container::Container;
use crate::errno::Errno;
use crate::findings::{Cause, Finding, Kind, Severity};
use crate::hierarchy::{Clock, Header};
use crate::input::{About, BootTime, Change, Facts, Input, LossReason, Operation, Question, Ring, Unanswered};
use crate::kernel;
use crate::line::{Line, Output};
use crate::process;
use crate::recording::{Emptied, History, Written};
use crate::runtimes::{self, RUNTIMES};
use crate::said::LastSaid;
use crate::session::{Turn, WalkReason};
use crate::tracker::{Phase, Span};

/// The label of what is no container's.
const NONE: &str = "none";
/// The label of an error that the table does not name.
const OTHER: &str = "other";
/// An exemplar's labels may have so many characters in all.
const EXEMPLAR: usize = 128;
/// Findings whose severity and cause are remembered, so that a later word of the same is not counted again.
const SAID: usize = 4_096;
/// What the kernel must be asked for is asked for this often: it is most of what the metrics cost on a host where
/// nothing happens, and few scrape more often.
const ASK_EVERY: Duration = Duration::from_secs(5);

words! {
    /// Why a record that was to be sent to a collector was not.
    pub enum Unsent {
        /// Too many waited, and it was the oldest.
        QueueFull = "queue-full",
        /// The collector took the request, and not this record of it.
        Rejected = "rejected",
        /// The collector refused the request, for good.
        Refused = "refused",
        /// The agent ended.
        Shutdown = "shutdown",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRuntime {
    runtime: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfAttempt {
    operation: &'static str,
    errno: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFinding {
    kind: &'static str,
    severity: &'static str,
    cause: &'static str,
    runtime: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRing {
    ring: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLoss {
    ring: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfQuestion {
    question: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfProbe {
    probe: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfProgram {
    program: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfBuild {
    version: &'static str,
    kernel: String,
}

/// What an exemplar says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Which {
    container_id: String,
}

impl Which {
    fn of(container: Option<&Container>) -> Option<Self> {
        let container_id = container?.id.printable();
        (container_id.chars().count() + "container_id".len() <= EXEMPLAR).then_some(Self { container_id })
    }
}

type Seconds = Counter<f64, AtomicU64>;

/// A histogram of times, twice: classic buckets with exemplars for text, and a native one beside classic buckets for
/// protobuf.
#[derive(Clone)]
struct Durations {
    text: HistogramWithExemplars<Which>,
    native: Histogram,
}

impl Durations {
    fn new(buckets: &[f64]) -> Self {
        // Some 5 % from one bound to the next, and no more than 160 buckets.
        let native = NativeHistogramConfig::new(1.1).max_buckets(160);
        Self {
            text: HistogramWithExemplars::new(buckets.iter().copied()),
            native: Histogram::new_classic_and_native(buckets.iter().copied(), native),
        }
    }

    fn observe(&self, took: Duration, which: Option<Which>) {
        self.text.observe(took.as_secs_f64(), which, None);
        self.native.observe(took.as_secs_f64());
    }
}

/// Seconds: from a container that fails at once to one that runs for a week.
const LIFETIMES: [f64; 14] =
    [0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0, 259_200.0, 604_800.0];
/// Seconds: from the tens of milliseconds of an idle host to what memory holds for minutes.
const TEARDOWNS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0];

/// All metrics of an agent. A clone tells, and counts to, the same numbers.
#[derive(Clone)]
pub struct Metrics {
    created: Family<OfRuntime, Counter>,
    removed: Family<OfRuntime, Counter>,
    attempts: Family<OfAttempt, CounterWithExemplar<Which>>,
    findings: Family<OfFinding, CounterWithExemplar<Which>>,
    lifetime: Durations,
    teardown: Durations,
    release: Durations,
    cgroups: Family<OfState, Gauge>,
    received: Family<OfRing, Counter>,
    lost: Family<OfLoss, Counter>,
    rewalks: Family<OfReason, Counter>,
    unanswered: Family<OfQuestion, Counter>,
    evicted: Counter,
    probes: Family<OfProbe, Gauge>,
    bpf_seconds: Family<OfProgram, Seconds>,
    bpf_runs: Family<OfProgram, Counter>,
    trace_bytes: Counter,
    trace_files: Counter,
    trace_errors: Counter,
    history_seconds: Gauge<f64, AtomicU64>,
    history_bytes: Gauge,
    history_emptied: Family<OfReason, Counter>,
    http_refused: Counter,
    listeners: Gauge,
    listeners_dropped: Counter,
    otlp_sent: Counter,
    otlp_dropped: Family<OfReason, Counter>,
    otlp_failures: Counter,
    otlp_waiting: Gauge,
    build: Family<OfBuild, Gauge>,
    process: OwnProcess,
    text: Arc<Registry>,
    native: Arc<Registry>,
}

#[derive(Clone, Default)]
struct OwnProcess {
    cpu: Seconds,
    resident: Gauge,
    virtual_memory: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    started: Gauge<f64, AtomicU64>,
    threads: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            created: Family::default(),
            removed: Family::default(),
            attempts: Family::default(),
            findings: Family::default(),
            lifetime: Durations::new(&LIFETIMES),
            teardown: Durations::new(&TEARDOWNS),
            release: Durations::new(&TEARDOWNS),
            cgroups: Family::default(),
            received: Family::default(),
            lost: Family::default(),
            rewalks: Family::default(),
            unanswered: Family::default(),
            evicted: Counter::default(),
            probes: Family::default(),
            bpf_seconds: Family::default(),
            bpf_runs: Family::default(),
            trace_bytes: Counter::default(),
            trace_files: Counter::default(),
            trace_errors: Counter::default(),
            history_seconds: Gauge::default(),
            history_bytes: Gauge::default(),
            history_emptied: Family::default(),
            http_refused: Counter::default(),
            listeners: Gauge::default(),
            listeners_dropped: Counter::default(),
            otlp_sent: Counter::default(),
            otlp_dropped: Family::default(),
            otlp_failures: Counter::default(),
            otlp_waiting: Gauge::default(),
            build: Family::default(),
            process: OwnProcess::default(),
            text: Arc::default(),
            native: Arc::default(),
        };
        metrics.text = Arc::new(metrics.registry(false));
        metrics.native = Arc::new(metrics.registry(true));
        metrics.begin_at_zero();
        metrics
    }
}

impl Metrics {
    /// The registry of names and helps. `native` takes the other half of each histogram.
    fn registry(&self, native: bool) -> Registry {
        let mut registry = Registry::default();
        let r = &mut registry;
        r.register("cgtrace_cgroups_created", "Cgroups created, in all hierarchies", self.created.clone());
        r.register("cgtrace_cgroups_removed", "Cgroups removed, in all hierarchies", self.removed.clone());
        r.register("cgtrace_attempts", "Calls on cgroupfs that failed", self.attempts.clone());
        r.register("cgtrace_findings", "Findings, by severity and cause when reported", self.findings.clone());
        for (name, help, durations) in [
            ("cgtrace_cgroup_lifetime_seconds", "From creation to removal", &self.lifetime),
            ("cgtrace_teardown_seconds", "From the end of the last process to release", &self.teardown),
            ("cgtrace_release_seconds", "From removal to release by the kernel", &self.release),
        ] {
            if native {
                r.register(name, help, durations.native.clone());
            } else {
                r.register(name, help, durations.text.clone());
            }
        }
        r.register("cgtrace_cgroups", "Cgroups that are there now", self.cgroups.clone());
        r.register(
            "cgtrace_events_received",
            "Lifecycle events, processes and failed calls that were received",
            self.received.clone(),
        );
        r.register("cgtrace_events_lost", "Records that did not arrive, or were not kept", self.lost.clone());
        r.register("cgtrace_rewalks", "Walks of cgroupfs after the first", self.rewalks.clone());
        let help = "Questions about processes and their files that were not answered";
        r.register("cgtrace_unanswered", help, self.unanswered.clone());
        r.register("cgtrace_evicted", "What was forgotten to save memory", self.evicted.clone());
        r.register("cgtrace_probe_attached", "1 if the probe is attached", self.probes.clone());
        r.register("cgtrace_bpf_run_seconds", "Time that a kernel program has run", self.bpf_seconds.clone());
        r.register("cgtrace_bpf_runs", "How often a kernel program has run", self.bpf_runs.clone());
        r.register("cgtrace_trace_bytes", "Bytes written to trace files", self.trace_bytes.clone());
        r.register("cgtrace_trace_files", "Trace files begun", self.trace_files.clone());
        r.register("cgtrace_trace_write_errors", "Writes to a trace file that failed", self.trace_errors.clone());
        r.register("cgtrace_history_seconds", "Time that the history reaches back", self.history_seconds.clone());
        r.register("cgtrace_history_bytes", "Memory that the history takes", self.history_bytes.clone());
        let help = "Times that all of the history was let go of";
        r.register("cgtrace_history_emptied", help, self.history_emptied.clone());
        r.register("cgtrace_http_refused", "Connections that were turned away", self.http_refused.clone());
        r.register("cgtrace_http_listeners", "Clients that listen to new findings", self.listeners.clone());
        let help = "Clients that listened to new findings and were too slow";
        r.register("cgtrace_http_listeners_dropped", help, self.listeners_dropped.clone());
        r.register("cgtrace_otlp_sent", "Records of findings that the collector has", self.otlp_sent.clone());
        let help = "Records of findings that the collector does not get";
        r.register("cgtrace_otlp_dropped", help, self.otlp_dropped.clone());
        let help = "Requests to the collector that are made again";
        r.register("cgtrace_otlp_failures", help, self.otlp_failures.clone());
        r.register("cgtrace_otlp_waiting", "Records that wait to be sent", self.otlp_waiting.clone());
        r.register("cgtrace_build_info", "Always 1", self.build.clone());
        let own = &self.process;
        r.register("process_cpu_seconds", "Processor time of the agent", own.cpu.clone());
        r.register("process_resident_memory_bytes", "Memory that is resident", own.resident.clone());
        r.register("process_virtual_memory_bytes", "Address space", own.virtual_memory.clone());
        r.register("process_open_fds", "File descriptors that are open", own.open_fds.clone());
        r.register("process_max_fds", "File descriptors that may be open", own.max_fds.clone());
        r.register("process_start_time_seconds", "When the agent was started, since 1970", own.started.clone());
        r.register("process_threads", "Threads", own.threads.clone());
        registry
    }

    fn begin_at_zero(&self) {
        for runtime in RUNTIMES.iter().map(|runtime| runtime.name).chain([NONE]) {
            drop(self.created.get_or_create(&OfRuntime { runtime }));
            drop(self.removed.get_or_create(&OfRuntime { runtime }));
            for kind in Kind::ALL {
                for cause in kind.explanation().causes {
                    for severity in Severity::ALL {
                        drop(self.findings.get_or_create(&OfFinding {
                            kind: kind.as_str(),
                            severity: severity.as_str(),
                            cause: cause.as_str(),
                            runtime,
                        }));
                    }
                }
            }
        }
        for operation in Operation::ALL.map(Operation::as_str) {
            for errno in Errno::names().chain([OTHER]) {
                drop(self.attempts.get_or_create(&OfAttempt { operation, errno }));
            }
        }
        for state in ["live", "dying"] {
            drop(self.cgroups.get_or_create(&OfState { state }));
        }
        for ring in [Ring::Lifecycle, Ring::Attempts, Ring::Changes].map(Ring::as_str) {
            drop(self.received.get_or_create(&OfRing { ring }));
        }
        for (ring, reasons) in [
            (
                Ring::Lifecycle,
                &[LossReason::RingFull, LossReason::Malformed, LossReason::Stall, LossReason::Missed][..],
            ),
            (
                Ring::Attempts,
                &[
                    LossReason::RingFull,
                    LossReason::RateLimited,
                    LossReason::Malformed,
                    LossReason::Missed,
                    LossReason::Silent,
                ][..],
            ),
            (Ring::Changes, &[LossReason::RingFull, LossReason::RateLimited, LossReason::Malformed][..]),
            (Ring::Recording, &[LossReason::NotWritten][..]),
        ] {
            for reason in reasons {
                drop(self.lost.get_or_create(&OfLoss { ring: ring.as_str(), reason: reason.as_str() }));
            }
        }
        for reason in WalkReason::ALL.map(WalkReason::as_str) {
            drop(self.rewalks.get_or_create(&OfReason { reason }));
        }
        for reason in Emptied::ALL.map(Emptied::as_str) {
            drop(self.history_emptied.get_or_create(&OfReason { reason }));
        }
        for reason in Unsent::ALL.map(Unsent::as_str) {
            drop(self.otlp_dropped.get_or_create(&OfReason { reason }));
        }
        for question in Question::ALL.map(Question::as_str) {
            for reason in Unanswered::ALL.map(Unanswered::as_str) {
                drop(self.unanswered.get_or_create(&OfQuestion { question, reason }));
            }
        }
    }

    /// Every number, as text or protobuf. Nothing is looked up for it, and nobody is waited for.
    pub fn tell(&self, format: Exposition) -> Vec<u8> {
        format.encode(&self.text, &self.native)
    }

    /// A connection was turned away.
    pub fn refused(&self) {
        self.http_refused.inc();
    }

    /// Somebody listens to new findings until the result is dropped.
    pub fn listens(&self) -> Listening {
        self.listeners.inc();
        Listening(self.listeners.clone())
    }

    /// Somebody who listened was too slow.
    pub fn dropped_listener(&self) {
        self.listeners_dropped.inc();
    }

    /// A collector has so many records more.
    pub fn otlp_sent(&self, count: u64) {
        self.otlp_sent.inc_by(count);
    }

    /// It does not get so many.
    pub fn otlp_dropped(&self, why: Unsent, count: u64) {
        self.otlp_dropped.get_or_create(&OfReason { reason: why.as_str() }).inc_by(count);
    }

    /// A request to it is to be made again.
    pub fn otlp_failed(&self) {
        self.otlp_failures.inc();
    }

    /// So many wait to be sent, or are on their way.
    pub fn otlp_waits(&self, count: usize) {
        self.otlp_waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// A client that listens to new findings.
pub struct Listening(Gauge);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn runtime_of(container: Option<&Container>) -> &'static str {
    container.and_then(|container| runtimes::by_name(&container.runtime)).map_or(NONE, |runtime| runtime.name)
}

/// Takes down the numbers that must be asked for.
pub struct Sampling {
    metrics: Metrics,
    written: Vec<Arc<Written>>,
    history: Option<History>,
    clock: Clock,
    asked: Option<BootTime>,
    lost_lines: u64,
}

impl Sampling {
    /// Of the agent, of what its recordings have written, and of the history, if there is one.
    pub fn new(
        metrics: Metrics,
        clock: Clock,
        written: Vec<Arc<Written>>,
        history: Option<History>,
        kernel: &kernel::Tracer,
    ) -> Self {
        let mut sampling = Self { metrics, written, history, clock, asked: None, lost_lines: 0 };
        sampling.programs(kernel);
        sampling.usage();
        sampling
    }

    /// The agent took a turn.
    pub fn turn(&mut self, turn: &Turn) {
        let set = |state, count: usize| {
            self.metrics.cgroups.get_or_create(&OfState { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        set("live", turn.tracker.live_cgroups());
        set("dying", turn.tracker.dying_cgroups());
        // Not known is not none.
        if let Some(before) = turn.tracker.dying_before() {
            set("dying_before", usize::try_from(before).unwrap_or(usize::MAX));
        }
        let evicted = &self.metrics.evicted;
        evicted.inc_by(turn.tracker.evicted().saturating_sub(evicted.get()));
        if let Some(reason) = turn.walked_again {
            self.metrics.rewalks.get_or_create(&OfReason { reason: reason.as_str() }).inc();
        }
        self.trace_files();
        self.history(turn.now);
        if self.asked.is_none_or(|asked| turn.now.since(asked) >= ASK_EVERY) {
            self.asked = Some(turn.now);
            self.programs(turn.kernel);
            self.usage();
        }
    }

    fn programs(&self, kernel: &kernel::Tracer) {
        for (name, runs, time) in kernel.program_runs() {
            let program = OfProgram { program: name.to_owned() };
            self.metrics.bpf_runs.get_or_create(&program).inner().store(runs, Ordering::Relaxed);
            let seconds = self.metrics.bpf_seconds.get_or_create(&program);
            seconds.inner().store(time.as_secs_f64().to_bits(), Ordering::Relaxed);
        }
    }

    fn trace_files(&mut self) {
        let sum = |of: fn(&Written) -> u64| self.written.iter().map(|written| of(written)).sum::<u64>();
        self.metrics.trace_bytes.inner().store(sum(Written::bytes), Ordering::Relaxed);
        self.metrics.trace_files.inner().store(sum(Written::files), Ordering::Relaxed);
        self.metrics.trace_errors.inner().store(sum(Written::errors), Ordering::Relaxed);
        let lost = sum(Written::lost);
        let labels = OfLoss { ring: Ring::Recording.as_str(), reason: LossReason::NotWritten.as_str() };
        self.metrics.lost.get_or_create(&labels).inc_by(lost.saturating_sub(self.lost_lines));
        self.lost_lines = lost;
    }

    fn history(&self, now: BootTime) {
        let Some(history) = &self.history else { return };
        let held = history.held();
        let span = held.since.map_or(Duration::ZERO, |since| now.since(since));
        self.metrics.history_seconds.set(span.as_secs_f64());
        self.metrics.history_bytes.set(i64::try_from(held.bytes).unwrap_or(i64::MAX));
        for why in Emptied::ALL {
            let counter = self.metrics.history_emptied.get_or_create(&OfReason { reason: why.as_str() });
            counter.inner().store(history.emptied(why), Ordering::Relaxed);
        }
    }

    fn usage(&mut self) {
        let Some(usage) = process::usage() else { return };
        let own = &self.metrics.process;
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        own.cpu.inner().store(usage.cpu.to_bits(), Ordering::Relaxed);
        own.resident.set(whole(usage.resident));
        own.virtual_memory.set(whole(usage.virtual_memory));
        own.open_fds.set(whole(usage.open_fds));
        own.threads.set(whole(usage.threads));
        own.max_fds.set(process::most_fds().map_or(i64::MAX, whole));
        own.started.set(self.clock.unix_ns(usage.started) as f64 / 1e9);
    }
}

/// Counts a stream.
pub struct Counting {
    metrics: Metrics,
    said: LastSaid<(Severity, Cause)>,
}

impl Counting {
    /// Counts to `metrics`.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, said: LastSaid::new(SAID) }
    }

    fn header(&self, header: &Header) {
        for probe in &header.probes {
            let labels = OfProbe { probe: probe.name.clone() };
            self.metrics.probes.get_or_create(&labels).set(probe.attached.into());
        }
        let labels = OfBuild { version: env!("CARGO_PKG_VERSION"), kernel: header.kernel.clone() };
        self.metrics.build.get_or_create(&labels).set(1);
    }

    fn input(&self, input: &Input) {
        let received = |ring: Ring| {
            self.metrics.received.get_or_create(&OfRing { ring: ring.as_str() }).inc();
        };
        match input {
            Input::Event(event) => {
                let labels = OfRuntime { runtime: runtime_of(event.container.as_deref()) };
                match event.change {
                    Change::Existing => return,
                    Change::Created => _ = self.metrics.created.get_or_create(&labels).inc(),
                    Change::Removed => _ = self.metrics.removed.get_or_create(&labels).inc(),
                    Change::Released
                    | Change::Renamed
                    | Change::Populated
                    | Change::Emptied
                    | Change::Frozen
                    | Change::Thawed
                    | Change::Attached => {}
                }
                received(Ring::Lifecycle);
            }
            Input::Attempt(attempt) => {
                let errno = attempt.errno.known_name().unwrap_or(OTHER);
                let labels = OfAttempt { operation: attempt.operation.as_str(), errno };
                let which = Which::of(attempt.container.as_deref());
                self.metrics.attempts.get_or_create(&labels).inc_by(1, which, None);
                received(Ring::Attempts);
            }
            Input::Change(_) => received(Ring::Changes),
            // Only one that has returned came by a ring: it is looked up that others have not.
            Input::Stuck(stuck) if stuck.took_ns.is_some() => received(Ring::Lifecycle),
            Input::Stuck(_) => {}
            Input::Process(_) => received(Ring::Lifecycle),
            Input::Lost(lost) => {
                let labels = OfLoss { ring: lost.ring.as_str(), reason: lost.reason.as_str() };
                self.metrics.lost.get_or_create(&labels).inc_by(lost.count);
            }
            Input::Facts(Facts { about: About::Unanswered { question, reason, .. }, .. }) => {
                let labels = OfQuestion { question: question.as_str(), reason: reason.as_str() };
                self.metrics.unanswered.get_or_create(&labels).inc();
            }
            Input::Facts(_) | Input::Tick(_) => {}
        }
    }

    fn span(&self, span: &Span) {
        let durations = match span.phase {
            Phase::Lifetime => &self.metrics.lifetime,
            Phase::Teardown => &self.metrics.teardown,
            Phase::Release => &self.metrics.release,
        };
        durations.observe(span.took, Which::of(span.container.as_deref()));
    }

    fn finding(&mut self, finding: &Finding) {
        let now = (finding.severity, finding.cause);
        if self.said.say(&finding.id, now) == Some(now) {
            return;
        }
        let container = finding.container.as_deref();
        let labels = OfFinding {
            kind: finding.kind.as_str(),
            severity: finding.severity.as_str(),
            cause: finding.cause.as_str(),
            runtime: runtime_of(container),
        };
        self.metrics.findings.get_or_create(&labels).inc_by(1, Which::of(container), None);
    }
}

impl Output for Counting {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        match line {
            Line::Header(header) => self.header(header),
            Line::Input(_, input) => self.input(input),
            Line::Span(span) => self.span(span),
            Line::Finding(finding) => self.finding(finding),
            Line::Known(..) | Line::Passed(_) | Line::End(..) => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
