//! Who, when and how many, as people are told.

use crate::hierarchy::Clock;
use crate::input::{BootTime, Pid};
use crate::name::Name;

/// `runc[4711]`
pub(crate) fn who(comm: &Name, pid: Pid) -> String {
    format!("{comm}[{pid}]")
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
    fn one_is_no_plural() {
        let events = [0, 1, 2].map(|number| count(number, "event", "events"));
        assert_eq!(events, ["0 events", "1 event", "2 events"]);
    }
}
