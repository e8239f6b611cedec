//! Durations as a person says them.

use std::time::Duration;

/// `640 ns`, `12.3 µs`, `4.56 ms`, `7.8 s`, `2 min 5 s`, `3 h 20 min`, `4 d 6 h`: three significant digits, no more.
pub fn human(span: Duration) -> String {
    let nanos = span.as_nanos();
    let seconds = span.as_secs();
    match seconds {
        0 if nanos < 1_000 => format!("{nanos} ns"),
        0 if nanos < 999_500 => three_digits(nanos as f64 / 1e3, "µs"),
        0 if nanos < 999_500_000 => three_digits(nanos as f64 / 1e6, "ms"),
        0..60 => three_digits(nanos as f64 / 1e9, "s"),
        60..3600 => pair(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => pair(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => pair(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

fn three_digits(value: f64, unit: &str) -> String {
    let decimals = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

fn pair(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 { format!("{large} {large_unit}") } else { format!("{large} {large_unit} {small} {small_unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_the_fitting_unit() {
        let check = |nanos: u64, text: &str| assert_eq!(human(Duration::from_nanos(nanos)), text);
        check(0, "0 ns");
        check(999, "999 ns");
        check(1_000, "1.00 µs");
        check(12_345, "12.3 µs");
        check(999_499, "999 µs");
        check(999_999, "1.00 ms");
        check(412_345_678, "412 ms");
        check(2_000_000_000, "2.00 s");
        check(59_900_000_000, "59.9 s");
        check(125_000_000_000, "2 min 5 s");
        check(3_600_000_000_000, "1 h");
        check(100_000_000_000_000, "1 d 3 h");
    }
}
