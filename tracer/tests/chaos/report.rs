//! The table: made, seen, wrong.

use std::collections::{BTreeMap, HashSet};

/// How many wrong words of a class are printed, unless `CGTRACE_CHAOS_EXAMPLES` says otherwise.
const EXAMPLES: usize = 3;

/// What is counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Created,
    Removed,
    Renamed,
    Attached,
    Populated,
    Emptied,
    Frozen,
    FailedMkdir,
    FailedRmdir,
    FailedOpen,
    FailedRename,
    /// Of a process that was to be moved, or a cgroup to be frozen.
    FailedWrite,
    /// The command line of who did it.
    Actor,
    /// Every removal in vain is told, once.
    Told,
    Kind,
    Cause,
    Rival,
    /// A story holds what belongs together, and nothing else.
    Story,
    /// What is certain is true.
    Certain,
    /// What was seen is certain.
    Degraded,
    Severity,
    Outcome,
    /// Real runtimes that did no harm.
    Unharmed,
}

impl Class {
    const ALL: [Self; 23] = [
        Self::Created,
        Self::Removed,
        Self::Renamed,
        Self::Attached,
        Self::Populated,
        Self::Emptied,
        Self::Frozen,
        Self::FailedMkdir,
        Self::FailedRmdir,
        Self::FailedOpen,
        Self::FailedRename,
        Self::FailedWrite,
        Self::Actor,
        Self::Told,
        Self::Kind,
        Self::Cause,
        Self::Rival,
        Self::Story,
        Self::Certain,
        Self::Degraded,
        Self::Severity,
        Self::Outcome,
        Self::Unharmed,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Removed => "removed",
            Self::Renamed => "renamed",
            Self::Attached => "attached",
            Self::Populated => "populated",
            Self::Emptied => "emptied",
            Self::Frozen => "frozen",
            Self::FailedMkdir => "failed-mkdir",
            Self::FailedRmdir => "failed-rmdir",
            Self::FailedOpen => "failed-open",
            Self::FailedRename => "failed-rename",
            Self::FailedWrite => "failed-write",
            Self::Actor => "actor",
            Self::Told => "told",
            Self::Kind => "kind",
            Self::Cause => "cause",
            Self::Rival => "rival",
            Self::Story => "story",
            Self::Certain => "certain",
            Self::Degraded => "degraded",
            Self::Severity => "severity",
            Self::Outcome => "outcome",
            Self::Unharmed => "unharmed",
        }
    }

    /// The ring that what is counted comes through; `None` for what is derived.
    pub fn ring(self) -> Option<&'static str> {
        match self {
            Self::Created
            | Self::Removed
            | Self::Renamed
            | Self::Attached
            | Self::Populated
            | Self::Emptied
            | Self::Frozen => Some("lifecycle"),
            Self::FailedMkdir | Self::FailedRmdir | Self::FailedOpen | Self::FailedRename | Self::FailedWrite => {
                Some("attempts")
            }
            Self::Actor
            | Self::Told
            | Self::Kind
            | Self::Cause
            | Self::Rival
            | Self::Story
            | Self::Certain
            | Self::Degraded
            | Self::Severity
            | Self::Outcome
            | Self::Unharmed => None,
        }
    }
}

#[derive(Default)]
struct Count {
    made: usize,
    seen: usize,
    wrong: usize,
    /// By scene.
    wrong_in: BTreeMap<String, usize>,
    examples: Vec<String>,
}

/// Made, seen, wrong.
#[derive(Default)]
pub struct Report {
    counts: BTreeMap<Class, Count>,
    /// What is said to be lost, by ring.
    pub lost: BTreeMap<String, u64>,
    /// How often each scene was played.
    pub scenes: BTreeMap<String, usize>,
    /// Numbers that several actors had, one after the other.
    pub numbers_used_again: usize,
    /// Of whom something is lost was not said.
    pub lost_anything_of_anybody: bool,
    /// The findings (their ids) that nothing which was lost, or cut off, can excuse.
    pub all_seen: HashSet<String>,
    lines: usize,
    examples: usize,
}

impl Report {
    /// Of a trace of so many lines.
    pub fn of(lines: usize) -> Self {
        let examples = crate::number_of("CGTRACE_CHAOS_EXAMPLES").map_or(EXAMPLES, |number| number as usize);
        Self { lines, examples, ..Self::default() }
    }

    pub fn is_wrong(&self, class: Class) -> bool {
        self.counts.get(&class).is_some_and(|count| count.wrong > 0)
    }

    pub fn made(&mut self, class: Class, is_seen: bool) {
        let count = self.counts.entry(class).or_default();
        count.made += 1;
        count.seen += usize::from(is_seen);
    }

    /// A word is wrong that was told of what was done in a scene.
    pub fn wrong(&mut self, class: Class, scene: &str, what: String) {
        let count = self.counts.entry(class).or_default();
        count.wrong += 1;
        *count.wrong_in.entry(kind_of_scene(scene).to_owned()).or_default() += 1;
        if count.examples.len() < self.examples {
            count.examples.push(format!("{}: {what}", kind_of_scene(scene)));
        }
    }

    /// Whether more is missing of what came through a ring than was said to be lost.
    fn is_missing_too_much(&self, ring: &str) -> bool {
        let missing = |(class, count): (&Class, &Count)| {
            if class.ring() == Some(ring) { (count.made - count.seen) as u64 } else { 0 }
        };
        let missing: u64 = self.counts.iter().map(missing).sum();
        missing > self.lost.get(ring).copied().unwrap_or(0)
    }

    /// Prints the table and what is wrong. Returns whether nothing is.
    ///
    /// Classes that `CGTRACE_CHAOS_ALLOW` names may be wrong: for whoever works on one of them.
    pub fn print(&self) -> bool {
        let allowed = std::env::var("CGTRACE_CHAOS_ALLOW").unwrap_or_default();
        let allowed: HashSet<&str> = allowed.split(',').filter(|word| !word.is_empty()).collect();
        for word in &allowed {
            let is_known = Class::ALL.iter().any(|class| class.as_str() == *word);
            assert!(is_known, "CGTRACE_CHAOS_ALLOW: there is no class {word:?}");
        }
        let scenes: Vec<String> = self.scenes.iter().map(|(scene, count)| format!("{scene} {count}")).collect();
        println!("played: {}", scenes.join(", "));
        let lost: Vec<String> = self.lost.iter().map(|(ring, count)| format!("{count} of {ring}")).collect();
        let lost = if lost.is_empty() { "nothing".to_owned() } else { lost.join(", ") };
        println!("numbers used again: {}", self.numbers_used_again);
        println!("told: {} lines; said to be lost: {lost}", self.lines);
        println!("{:<14} {:>8} {:>8} {:>8}", "", "made", "seen", "wrong");
        // It needs the right to choose a number (clone3, set_tid), or it would not be what it is called.
        let mut passed = self.numbers_used_again > 0 || !self.scenes.contains_key("reused number");
        for class in Class::ALL {
            let count = self.counts.get(&class);
            let (made, seen, wrong) = count.map_or((0, 0, 0), |count| (count.made, count.seen, count.wrong));
            let is_wrong = wrong > 0 || class.ring().is_some_and(|ring| self.is_missing_too_much(ring));
            let is_allowed = allowed.contains(class.as_str());
            passed &= !is_wrong || is_allowed;
            let mark = match (is_wrong, is_allowed) {
                (false, _) => "",
                (true, false) => "  <--",
                (true, true) => "  (allowed)",
            };
            println!("{:<14} {made:>8} {seen:>8} {wrong:>8}{mark}", class.as_str());
        }
        for (class, count) in &self.counts {
            if count.wrong > 0 {
                let scenes: Vec<String> =
                    count.wrong_in.iter().map(|(scene, count)| format!("{scene} {count}")).collect();
                println!("\nwrong: {}, in: {}", class.as_str(), scenes.join(", "));
            }
            for example in &count.examples {
                println!("\nwrong: {}: {example}", class.as_str());
            }
        }
        passed
    }
}

/// `0.17 race`
pub fn kind_of_scene(scene: &str) -> &str {
    scene.split_once(' ').map_or(scene, |(_, kind)| kind)
}
