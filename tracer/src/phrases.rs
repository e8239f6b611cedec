//! Who, when and how many, as people are told.

use std::time::Duration;

use crate::duration;
use crate::hierarchy::Clock;
use crate::input::{BootTime, Pid, Stuck};
use crate::name::Name;

/// `runc[4711]`
pub(crate) fn who(comm: &Name, pid: Pid) -> String {
    format!("{comm}[{pid}]")
}

/// `rmdir for 2.01 s, in cgroup_drain_dying`: how long a call has not returned, or took; and where its thread sleeps.
pub(crate) fn stuck(stuck: &Stuck) -> String {
    let operation = stuck.operation.as_str();
    match (stuck.took_ns, &stuck.waits_in) {
        (Some(took), _) => format!("{operation} returned after {}", duration::human(Duration::from_nanos(took))),
        (None, function) => {
            let span = duration::human(stuck.at.since(stuck.began));
            let function = function.as_ref().map(|function| format!(", in {function}")).unwrap_or_default();
            format!("{operation} for {span}{function}")
        }
    }
}

/// `"+cpu +memory"`: what was to be written to a control file, without the end of its line. Three dots stand for what
/// is not known of it.
pub(crate) fn value(value: &Name, is_cut: bool) -> String {
    let bytes = value.as_bytes();
    let line = Name::new(bytes.strip_suffix(b"\n").unwrap_or(bytes));
    format!("\"{}{}\"", line.printable(), if is_cut { "…" } else { "" })
}

/// `20:13:04.123` of the day, UTC.
pub(crate) fn time_of_day(clock: Clock, at: BootTime) -> String {
    let text = clock.rfc3339(at);
    text.get(11..23).unwrap_or(&text).to_owned()
}

/// `2026-11-24 20:13:04`, UTC.
pub(crate) fn date_and_time(clock: Clock, at: BootTime) -> String {
    let text = clock.rfc3339(at);
    text.get(..19).unwrap_or(&text).replace('T', " ")
}

/// `1 event`, `7 events`.
pub(crate) fn count(count: u64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_to_the_millisecond_or_the_second() {
        let clock = Clock { boot_ns: 0, unix_ns: 1_700_000_000_000_000_000 };
        assert_eq!(time_of_day(clock, BootTime(1_500_000)), "22:13:20.001");
        assert_eq!(date_and_time(clock, BootTime(1_500_000)), "2023-11-14 22:13:20");
    }

    #[test]
    fn a_value_is_one_line_and_harmless() {
        let shown = |bytes: &[u8], is_cut| value(&Name::new(bytes), is_cut);
        assert_eq!(shown(b"+cpu\n", false), "\"+cpu\"");
        assert_eq!(shown(b"1\n2\n\x1b[2J", true), "\"1\\n2\\n\\x1b[2J…\"");
        assert_eq!(shown(b"", false), "\"\"");
    }

    #[test]
    fn one_is_no_plural() {
        let events = [0, 1, 2].map(|number| count(number, "event", "events"));
        assert_eq!(events, ["0 events", "1 event", "2 events"]);
    }
}
