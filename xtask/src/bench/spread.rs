//! What many measurements of one thing say, on a machine that does other things meanwhile.

use std::fmt;

/// The quartiles of what was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// A quarter is lower.
    pub low: f64,
    /// Half is.
    pub middle: f64,
    /// Three quarters are.
    pub high: f64,
}

impl Spread {
    /// Of these; not a number if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |quarters: usize| sorted.get(sorted.len() * quarters / 4).copied().unwrap_or(f64::NAN);
        Self { low: at(1), middle: at(2), high: at(3) }
    }

    /// As a share of what nothing attached does, if the machine was quiet enough to tell.
    pub fn of_nothing(&self) -> String {
        if self.high - self.low > WIDEST { "too noisy".to_owned() } else { self.to_string() }
    }

    /// Whether half of the one and half of the other lie apart, so that one may be compared with the other.
    pub fn is_apart_from(&self, other: &Self) -> bool {
        self.high < other.low || other.high < self.low
    }
}

/// Where the quartiles of a share of what nothing attached does are farther apart, nothing is told by it.
const WIDEST: f64 = 0.1;

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} to {})", digits(self.middle), digits(self.low), digits(self.high))
    }
}

/// A number with as many digits as say something.
pub fn digits(value: f64) -> String {
    let places = match value.abs() {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        small if small >= 1.0 || small == 0.0 => 2,
        _ => 3,
    };
    format!("{value:.places$}")
}

/// What one adds as a share of what another adds, if the machine was quiet enough to tell: an empty program costs
/// something, so does the one, and the two lie apart.
pub fn share(own: &Spread, other: &Spread, empty: &Spread) -> String {
    if empty.middle < 0.0 || own.low < 0.0 || !own.is_apart_from(other) {
        return "too noisy".to_owned();
    }
    format!("{:.2}", own.middle / other.middle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_told_only_where_it_can_be_told() {
        let spread = |low, middle, high| Spread { low, middle, high };
        let (own, other) = (spread(10.0, 11.0, 12.0), spread(40.0, 44.0, 50.0));
        assert_eq!(share(&own, &other, &spread(4.0, 5.0, 6.0)), "0.25");
        assert_eq!(share(&own, &other, &spread(-4.0, -1.0, 6.0)), "too noisy");
        assert_eq!(share(&spread(10.0, 11.0, 41.0), &other, &spread(4.0, 5.0, 6.0)), "too noisy");
        assert_eq!(share(&spread(-1.0, 11.0, 12.0), &other, &spread(4.0, 5.0, 6.0)), "too noisy");
        assert_eq!(Spread::of([5.0, 1.0, 3.0, 2.0, 4.0]), spread(2.0, 3.0, 4.0));
        assert_eq!(spread(0.5, 1.25, 144.6).to_string(), "1.25 (0.500 to 145)");
    }
}
