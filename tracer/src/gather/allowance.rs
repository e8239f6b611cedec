//! How much of the time it may take to read from the host.

use std::time::{Duration, Instant};

/// It may take one part in so many.
pub(super) const SHARE: u32 = 10;

/// How much time readings of one kind may take together.
pub(super) struct Allowance {
    /// What was read so far is paid for by then.
    paid_at: Instant,
}

impl Allowance {
    pub fn new() -> Self {
        Self { paid_at: Instant::now() }
    }

    /// Whether something may be read now, if that may be paid for later by so much.
    pub fn allows(&self, ahead: Duration) -> bool {
        self.paid_at <= Instant::now() + ahead
    }

    pub fn charge(&mut self, cost: Duration) {
        self.paid_at = self.paid_at.max(Instant::now()) + cost * SHARE;
    }
}
