//! Everything that outlives one run of a program: rings, scratch memory, counters, and the globals set at load time.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, LruPerCpuHashMap, PerCpuArray, RingBuf},
};
use tracer_ebpf::{Above, Begun, COMM, Denied, PREFIXES as PREFIX_COUNT, Prefix, Watched, config, lost, offset, slot};

/// Events and processes.
#[map]
pub static LIFECYCLE: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// Attempts: a ring of their own, so that a flood of them cannot push out an event.
#[map]
pub static ATTEMPTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Control files that were written to, with success: likewise. A flood of these pushes out nothing else.
#[map]
pub static CHANGES: RingBuf = RingBuf::with_byte_size(128 << 10, 0);

/// Whether the agent is to look at a ring now: while something happens, it looks by itself several times a second.
const FORCE_WAKEUP: u64 = 2;
const NO_WAKEUP: u64 = 1;
/// The argument of a query for how many bytes are there.
const AVAILABLE: u64 = 0;

/// Whether a record can wait until the agent looks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// What it names may be gone in a moment, and is to be read from the host.
    Now,
    /// It says all there is to say. Waking somebody for each of these would cost more than all else: only who sleeps
    /// is woken.
    Later,
}

/// Writes a record to the ring of events and processes, or counts it as lost.
#[inline(always)]
pub fn tell(record: &[u8], urgency: Urgency) {
    let flags = if urgency == Urgency::Now || is_asleep() || LIFECYCLE.query(AVAILABLE) > config(config::WAKE_BYTES) {
        FORCE_WAKEUP
    } else {
        NO_WAKEUP
    };
    if LIFECYCLE.output::<[u8]>(record, flags).is_err() {
        count_lost(lost::LIFECYCLE_FULL);
    }
}

/// The agent sleeps until something happens: it is woken once.
#[map]
static ASLEEP: Array<u32> = Array::with_max_entries(1, 0);

/// Whether the agent sleeps. It does not from now on.
#[inline(always)]
fn is_asleep() -> bool {
    let Some(asleep) = ASLEEP.get_ptr_mut(0) else { return false };
    // SAFETY: a number that is set and read as a whole. Two processors may both see it set: then it is woken twice.
    unsafe {
        let is_asleep = asleep.read_volatile() != 0;
        if is_asleep {
            asleep.write_volatile(0);
        }
        is_asleep
    }
}

/// Whether a user has had their share of the ring of events: what is left is kept for lifecycles, and for what root
/// does.
#[inline(always)]
pub fn is_crowded_by(uid: u32) -> bool {
    uid != 0 && LIFECYCLE.query(AVAILABLE) > config(config::CROWDED_EVENTS)
}

/// Likewise of the ring of attempts.
#[inline(always)]
pub fn is_flooded_by(uid: u32) -> bool {
    uid != 0 && ATTEMPTS.query(AVAILABLE) > config(config::CROWDED_ATTEMPTS)
}

/// Likewise of the ring of changes.
#[inline(always)]
pub fn is_swamped_by(uid: u32) -> bool {
    uid != 0 && CHANGES.query(AVAILABLE) > config(config::CROWDED_CHANGES)
}

/// Writes a record to the ring of changes, or counts it as lost. Each says all there is to say.
#[inline(always)]
pub fn tell_change(record: &[u8]) {
    let is_filling = CHANGES.query(AVAILABLE) > config(config::CROWDED_CHANGES);
    let flags = if is_filling || is_asleep() { FORCE_WAKEUP } else { NO_WAKEUP };
    if CHANGES.output::<[u8]>(record, flags).is_err() {
        count_lost(lost::CHANGES_FULL);
    }
}

/// What was dropped, by [`lost`]: one value, so that one call reads all.
#[map]
static LOST: PerCpuArray<[u64; lost::COUNT as usize]> = PerCpuArray::with_max_entries(1, 0);

/// How many failed calls of the agent's own were seen: by one that it makes for that, it knows that the kernel runs the
/// programs.
#[map]
static OWN_CALLS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Not 0 once the tracepoint has taken over from the trampolines.
#[map]
static TAKEN_OVER: Array<u32> = Array::with_max_entries(1, 0);

/// Thread groups whose start of programs and end are reported.
#[map]
pub static ACTORS: LruHashMap<u32, u8> = LruHashMap::with_max_entries(16_384, 0);

/// Names of programs whose start is always reported.
#[map]
pub static COMMS: HashMap<[u8; COMM], u8> = HashMap::with_max_entries(128, 0);

/// Mount points of cgroupfs beside `/sys/fs/cgroup`.
#[map]
pub static PREFIXES: Array<Prefix> = Array::with_max_entries(PREFIX_COUNT as u32, 0);

/// What is to be looked for in paths.
#[map]
pub static WATCHED: Array<Watched> = Array::with_max_entries(1, 0);

/// How relative paths begin that lead to cgroupfs from another file system, by its device. Of very many the ones that
/// nobody asks for give way.
#[map]
pub static ABOVE: LruHashMap<u32, Above> = LruHashMap::with_max_entries(tracer_ebpf::ABOVE as u32, 0);

/// What a thread group may still report.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Bucket {
    pub tokens: u64,
    pub filled: u64,
}

/// One bucket a thread group and operation, so that a flood of one does not hide another.
#[map]
pub static BUCKETS: LruHashMap<Denied, Bucket> = LruHashMap::with_max_entries(8_192, 0);

/// How many calls were denied to whom. What gives way is still in the total.
#[map]
pub static DENIED: LruPerCpuHashMap<Denied, u64> = LruPerCpuHashMap::with_max_entries(512, 0);

/// Calls on cgroupfs that have not returned, by thread.
#[map]
pub static BEGUN: HashMap<u32, Begun> = HashMap::with_max_entries(tracer_ebpf::BEGUN as u32, 0);

/// Threads of which the first copy of a program has just told something, and the second one has not come by yet.
#[map]
static TOLD: LruHashMap<u32, u8> = LruHashMap::with_max_entries(tracer_ebpf::TOLD as u32, 0);

/// Which of a hook's two copies runs.
///
/// While a program runs on a processor, the kernel skips it there for everybody else. Where a program can be preempted
/// while it runs, that happens. So each hook is there twice, and the second copy, which mostly finds that all is told
/// and ends at once, tells what the first one was skipped for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The one that runs first; the only one that is attached where no program can be preempted.
    First,
    /// The one that runs after it.
    Second,
}

impl Turn {
    /// Whether the other copy has told of what this thread does now.
    #[inline(always)]
    pub fn is_told(self, tid: u32) -> bool {
        match self {
            Self::First => {
                if config(config::TWICE) != 0 {
                    let _ = TOLD.insert(tid, 1, 0);
                }
                false
            }
            Self::Second => TOLD.remove(tid).is_ok(),
        }
    }

    /// Its own slot for that of the first copy.
    #[inline(always)]
    pub fn slot(self, slot: u32) -> u32 {
        match self {
            Self::First => slot,
            Self::Second => slot + slot::SECOND,
        }
    }
}

/// Room to build a record in.
#[repr(C, align(8))]
pub struct Scratch(pub [u8; SCRATCH]);

/// A head, a path or command line, the names of a walk, and what a last name may reach beyond; then what is put aside.
pub const SCRATCH: usize = ASIDE + 128;
/// Where something can be put aside that the verifier is to forget what it knows of.
pub const ASIDE: usize = 256 + 4096 + 4096 + 256;

#[map]
pub static SCRATCHES: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(slot::OF_TWO, 0);

#[unsafe(no_mangle)]
static OFFSETS: [u32; offset::COUNT] = [offset::MISSING; offset::COUNT];

#[unsafe(no_mangle)]
static CONFIG: [u64; config::COUNT] = [0; config::COUNT];

/// An offset of [`offset`]. The kernel knows the globals' values when it verifies, and leaves out what cannot be
/// reached.
#[inline(always)]
pub fn offset(index: usize) -> u32 {
    // SAFETY: the index is one of the constants; the read is volatile because the loader sets the value.
    unsafe { core::ptr::read_volatile(&raw const OFFSETS[index]) }
}

/// Whether all offsets of a feature are known.
#[inline(always)]
pub fn knows(feature: &[usize]) -> bool {
    let mut index = 0;
    while index < feature.len() {
        if offset(feature[index]) == offset::MISSING {
            return false;
        }
        index += 1;
    }
    true
}

/// A value of [`config`].
#[inline(always)]
pub fn config(index: usize) -> u64 {
    // SAFETY: the index is one of the constants; the read is volatile because the loader sets the value.
    unsafe { core::ptr::read_volatile(&raw const CONFIG[index]) }
}

/// Hides from the compiler what it knows of a length, so that it keeps the check that follows. The verifier of older
/// kernels knows less: "R3 min value is negative, either use unsigned or 'var &= const'" (6.1).
#[inline(always)]
pub fn unbounded(length: usize) -> usize {
    core::hint::black_box(length)
}

/// Counts something that was dropped.
#[inline(always)]
pub fn count_lost(index: u32) {
    if let Some(counts) = LOST.get_ptr_mut(0) {
        // SAFETY: a value of this processor's own, and the program runs on one processor at a time. The index is one of
        // the constants.
        unsafe { *counts.cast::<u64>().add(index as usize) += 1 };
    }
}

/// Whether the tracepoint tells of failed calls in the place of trampolines that stay attached.
#[inline(always)]
pub fn is_taken_over() -> bool {
    TAKEN_OVER.get(0).is_some_and(|taken_over| *taken_over != 0)
}

/// Counts a failed call of the agent's own.
#[inline(always)]
pub fn count_own_call() {
    if let Some(count) = OWN_CALLS.get_ptr_mut(0) {
        // SAFETY: as above; a program that another one preempts may undo what that one counted, but not that it ran.
        unsafe { *count += 1 };
    }
}

/// Counts a call that was denied. The agent reads the total first: who was denied is counted before it.
#[inline(always)]
pub fn deny(who: Denied) {
    if let Some(count) = DENIED.get_ptr_mut(who) {
        // SAFETY: a value of this processor's own, and the program runs on one processor at a time.
        unsafe { *count += 1 };
    } else {
        let _ = DENIED.insert(who, 1, 0);
    }
    count_lost(lost::RATE_LIMITED);
}

/// The scratch memory of a slot.
#[inline(always)]
pub fn scratch(slot: u32) -> Option<*mut u8> {
    SCRATCHES.get_ptr_mut(slot).map(|scratch| scratch.cast())
}
