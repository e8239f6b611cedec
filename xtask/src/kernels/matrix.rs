//! What is run in guests, and what each row is expected to show: one table.

use std::fmt;

/// Debian's kernels, oldest first. The newest package of each is taken.
pub const SERIES: [Series; 13] = [
    series("5.10", Architecture::X86_64, "bullseye-security"),
    series("6.1", Architecture::X86_64, "bookworm-security"),
    series("6.12", Architecture::X86_64, "trixie-security"),
    series("6.16", Architecture::X86_64, "trixie-backports"),
    series("6.17", Architecture::X86_64, "trixie-backports"),
    series("6.18", Architecture::X86_64, "trixie-backports"),
    series("6.19", Architecture::X86_64, "trixie-backports"),
    series("7.0", Architecture::X86_64, "trixie-backports"),
    series("7.1", Architecture::X86_64, "trixie-backports"),
    series("7.2", Architecture::X86_64, "trixie-backports"),
    series("7.3", Architecture::X86_64, "trixie-backports"),
    series("6.1", Architecture::Arm64, "bookworm-security"),
    series("6.12", Architecture::Arm64, "trixie-security"),
];

/// What tells the most in little time: a kernel that is preempted voluntarily and the newest one, with different
/// backends and layouts.
const BRIEF: [(&str, Layout, Backend); 2] =
    [("6.12", Layout::V2, Backend::Trampoline), ("7.3", Layout::Hybrid, Backend::Tracepoint)];

/// Tests with this in their names need a v1 hierarchy.
pub const ON_V1: &str = "v1";
/// Tests with this in their names need a cgroup2 that has the controllers, with no v1 hierarchy beside it.
pub const ON_V2_ALONE: &str = "v2_alone";
/// Tests with one of these in their names take longest in a guest: in most of their time very much happens, or very
/// many programs are started.
const LONG: [&str; 4] = ["scale::", "refusals::", "_flood_", "_storm_"];
/// Tests with one of these in their names show the same with each backend. To attach trampolines takes an emulated
/// machine some ten seconds, for each test: in brief, these are run with the tracepoint only.
const OF_ANY_BACKEND: [&str; 3] = ["dying::", "names::", "processes::"];
/// Tests with this in their names leave processes behind that nothing ends: they are the last ones in a guest.
pub const LAST: &str = "without_end";
/// Kernels whose newest package waits in `rmdir` until the last task has left: these tests are of that.
const WAITS: [&str; 1] = ["6.19"];

/// The kernels with one first part of the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    /// `6.12`
    pub version: &'static str,
    /// What it runs on.
    pub architecture: Architecture,
    /// The suite of Debian that has it.
    pub suite: &'static str,
}

const fn series(version: &'static str, architecture: Architecture, suite: &'static str) -> Series {
    Series { version, architecture, suite }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.architecture {
            Architecture::X86_64 => f.write_str(self.version),
            Architecture::Arm64 => write!(f, "{} arm64", self.version),
        }
    }
}

/// A processor's architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Architecture {
    /// 64-bit x86.
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit ARM.
    Arm64,
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        })
    }
}

impl Architecture {
    /// All that there is a cgtrace for.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Arm64];

    /// That of this machine.
    pub fn own() -> anyhow::Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Arm64),
            other => anyhow::bail!("there is no cgtrace for {other}"),
        }
    }

    /// Debian's word.
    pub fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Rust's target.
    pub fn target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The beginning of the names of its compiler and binutils.
    pub fn tools(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-linux-gnu-",
            Self::Arm64 => "aarch64-linux-gnu-",
        }
    }
}

/// Where a guest has its cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// cgroup2 at `/sys/fs/cgroup`, and nothing else.
    V2,
    /// A v1 hierarchy for each controller, and cgroup2 at `/sys/fs/cgroup/unified`.
    Hybrid,
}

impl Layout {
    /// Its word, in the table and for the guest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::Hybrid => "hybrid",
        }
    }
}

/// How failed calls are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// What cgtrace chooses.
    Auto,
    /// fexit on each system call's function.
    Trampoline,
    /// The tracepoint on the exit of all system calls.
    Tracepoint,
}

impl Backend {
    /// cgtrace's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Trampoline => "trampoline",
            Self::Tracepoint => "tracepoint",
        }
    }
}

/// What is not as usual with the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    AsShipped,
    /// It may preempt tasks at any time.
    PreemptFull,
    /// It allows nobody to read its memory.
    Confidential,
    /// `kernel.ftrace_enabled=0`
    FtraceOff,
    /// Its BTF is hidden.
    NoBtf,
    /// tracefs cannot be mounted where it is looked for.
    NoTracefs,
}

impl Condition {
    /// Its words, in the table; the guest's first process knows them too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AsShipped => "as shipped",
            Self::PreemptFull => "preempt=full",
            Self::Confidential => "lockdown=confidentiality",
            Self::FtraceOff => "ftrace off",
            Self::NoBtf => "no BTF",
            Self::NoTracefs => "no tracefs",
        }
    }

    /// What the kernel is told for it. Names without a dot that it does not know are variables of the first process.
    pub fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::AsShipped => &[],
            Self::PreemptFull => &["preempt=full"],
            Self::Confidential => &["lockdown=confidentiality"],
            Self::FtraceOff => &["FTRACE=off"],
            Self::NoBtf => &["HIDE=btf"],
            Self::NoTracefs => &["HIDE=tracefs"],
        }
    }
}

/// What a row has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// The kernel tests pass, every one.
    Passes,
    /// `cgtrace live` traces a few calls, and tells of these and of no others.
    Sees(Sight),
    /// `cgtrace live` refuses: the first line of its message has these words.
    Refuses(&'static str),
}

/// Which of a few calls are told: a cgroup is made and removed, and one that never was is removed by its absolute and
/// by a relative path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The cgroup's creation and its removal.
    pub lifecycle: bool,
    /// The failed removal by an absolute path.
    pub absolute: bool,
    /// The failed removal by a relative path.
    pub relative: bool,
}

impl Sight {
    const ALL: Self = Self { lifecycle: true, absolute: true, relative: true };
    const WITHOUT_RELATIVE: Self = Self { relative: false, ..Self::ALL };
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.lifecycle, "lifecycle"),
            (self.absolute, "failed calls with absolute paths"),
            (self.relative, "failed calls with relative paths"),
        ];
        let seen: Vec<&str> = parts.into_iter().filter_map(|(seen, what)| seen.then_some(what)).collect();
        match seen.len() {
            0 => f.write_str("sees nothing"),
            3 => f.write_str("sees everything"),
            _ => write!(f, "sees {}", seen.join(", ")),
        }
    }
}

/// One boot of one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The kernel.
    pub series: Series,
    /// What is not as usual with it.
    pub condition: Condition,
    /// Where its cgroups are.
    pub layout: Layout,
    /// How failed calls are watched.
    pub backend: Backend,
    /// What it has to show.
    pub expected: Expectation,
    /// Without the tests that take longest: all others together take less time.
    pub is_brief: bool,
}

impl Row {
    /// What the tests that are not run have in their names.
    pub fn left_out(&self) -> Vec<&'static str> {
        let of_other_layout = match self.layout {
            Layout::V2 => ON_V1,
            Layout::Hybrid => ON_V2_ALONE,
        };
        let long = LONG.into_iter().filter(|_| self.is_brief);
        let of_any_backend =
            OF_ANY_BACKEND.into_iter().filter(|_| self.is_brief && self.backend == Backend::Trampoline);
        [of_other_layout, LAST].into_iter().chain(long).chain(of_any_backend).collect()
    }

    /// Whether the tests are run, too, that leave a guest hanging: they need trampolines.
    pub fn hangs_at_last(&self) -> bool {
        self.expected == Expectation::Passes
            && self.backend == Backend::Trampoline
            && WAITS.contains(&self.series.version)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}, {}", self.series, self.condition.as_str(), self.layout.as_str(), self.backend.as_str())
    }
}

/// Conditions under which not all of the tests can pass, so that a few calls are looked at; the kernels on which each
/// is tried; and what cgtrace has to do then.
const SINGLE: [(Condition, &[&str], Expectation); 4] = [
    (Condition::Confidential, &["6.1", "6.12", "7.3"], Expectation::Refuses("lockdown")),
    (Condition::FtraceOff, &["6.1", "6.12", "7.3"], Expectation::Sees(Sight::ALL)),
    (Condition::NoBtf, &["6.1", "6.12", "7.3"], Expectation::Sees(Sight::WITHOUT_RELATIVE)),
    (Condition::NoTracefs, &["6.1", "6.12", "7.3"], Expectation::Sees(Sight::ALL)),
];

/// Kernels that say, as they are shipped, that they do not preempt tasks at any time, and can be told to.
const NOT_FULL: [&str; 3] = ["6.1", "6.12", "7.3"];

/// Every row, by kernel.
pub fn rows() -> Vec<Row> {
    SERIES.into_iter().flat_map(of_series).collect()
}

/// A few rows that tell the most in the least time.
pub fn in_brief() -> Vec<Row> {
    let is_wanted = |row: &Row| {
        row.series.architecture == Architecture::X86_64
            && row.condition == Condition::AsShipped
            && BRIEF.contains(&(row.series.version, row.layout, row.backend))
    };
    rows().into_iter().filter(is_wanted).map(|row| Row { is_brief: true, ..row }).collect()
}

fn of_series(series: Series) -> Vec<Row> {
    let row =
        |condition, layout, backend, expected| Row { series, condition, layout, backend, expected, is_brief: false };
    if series.version == "5.10" {
        // It does not say how many instructions it has verified, which the tests ask for.
        let sees = |backend| row(Condition::AsShipped, Layout::V2, backend, Expectation::Sees(Sight::ALL));
        return vec![sees(Backend::Trampoline), sees(Backend::Tracepoint)];
    }
    // On arm64, Debian's 6.1 refuses them (ENOTSUPP).
    let has_trampolines = series.architecture == Architecture::X86_64 || series.version != "6.1";
    let suite = |condition, layout, backend| {
        let expected = match backend {
            Backend::Trampoline if !has_trampolines => Expectation::Refuses("trampolines do not work here"),
            _ => Expectation::Passes,
        };
        row(condition, layout, backend, expected)
    };
    let mut rows = Vec::new();
    for layout in [Layout::V2, Layout::Hybrid] {
        for backend in [Backend::Trampoline, Backend::Tracepoint] {
            rows.push(suite(Condition::AsShipped, layout, backend));
        }
    }
    if series.architecture == Architecture::Arm64 {
        return rows;
    }
    if NOT_FULL.contains(&series.version) {
        for backend in [Backend::Trampoline, Backend::Tracepoint] {
            rows.push(suite(Condition::PreemptFull, Layout::V2, backend));
        }
    }
    let singles = SINGLE.into_iter().filter(|(_, kernels, _)| kernels.contains(&series.version));
    rows.extend(singles.map(|(condition, _, expected)| row(condition, Layout::V2, Backend::Auto, expected)));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_there_once() {
        let mut names: Vec<String> = rows().iter().map(Row::to_string).collect();
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn every_kernel_but_the_oldest_runs_the_tests_with_both_layouts_and_the_tracepoint() {
        for series in SERIES.iter().filter(|series| series.version != "5.10") {
            for layout in [Layout::V2, Layout::Hybrid] {
                let is_it =
                    |row: &Row| row.series == *series && row.layout == layout && row.backend == Backend::Tracepoint;
                assert!(rows().iter().any(|row| is_it(row) && row.expected == Expectation::Passes), "{series}");
            }
        }
    }

    #[test]
    fn conditions_are_of_kernels_that_are_there() {
        for (condition, kernels, _) in SINGLE {
            assert_eq!(rows().iter().filter(|row| row.condition == condition).count(), kernels.len());
        }
    }

    #[test]
    fn the_brief_rows_are_there_and_run_the_tests() {
        assert_eq!(in_brief().len(), BRIEF.len());
        assert!(in_brief().iter().all(|row| row.expected == Expectation::Passes));
        let left_out: Vec<_> = in_brief().iter().map(Row::left_out).collect();
        let trampolines = [&[ON_V1, LAST], &LONG[..], &OF_ANY_BACKEND].concat();
        let tracepoint = [&[ON_V2_ALONE, LAST], &LONG[..]].concat();
        assert_eq!(left_out, [trampolines, tracepoint]);
        assert!(rows().iter().all(|row| row.left_out().len() == 2), "in full, nothing is left out but what hangs");
    }

    #[test]
    fn what_is_seen_is_said() {
        assert_eq!(Sight::ALL.to_string(), "sees everything");
        assert_eq!(Sight::WITHOUT_RELATIVE.to_string(), "sees lifecycle, failed calls with absolute paths");
        assert_eq!(Sight { lifecycle: false, absolute: false, relative: false }.to_string(), "sees nothing");
    }
}
