//! The metrics as they were told last: whoever asks within a moment is given the same bytes.
//!
//! There are some thousands of series. To make text of them takes longer than all else that an answer takes, and holds
//! the one thread that answers everybody.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::metrics::{Exposition, Metrics};

/// So old is what is told at most. What is counted arrives every quarter of a second.
const MOMENT: Duration = Duration::from_millis(50);

/// What was made in the last moment, by its form. A clone is the same one.
#[derive(Clone, Default)]
pub(super) struct Told(Arc<Mutex<Vec<(Exposition, Bytes)>>>);

impl Told {
    /// Every number, as of now or of a moment ago. Must be called within a tokio runtime.
    pub fn tell(&self, metrics: &Metrics, format: Exposition) -> Bytes {
        let mut kept = self.kept();
        if let Some((_, bytes)) = kept.iter().find(|(of, _)| *of == format) {
            return bytes.clone();
        }
        let bytes = Bytes::from(metrics.tell(format));
        kept.push((format, bytes.clone()));
        let told = self.clone();
        // Between two scrapes it takes no memory.
        tokio::spawn(async move {
            tokio::time::sleep(MOMENT).await;
            told.kept().retain(|(of, _)| *of != format);
        });
        bytes
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(Exposition, Bytes)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn whoever_asks_within_a_moment_gets_the_same_and_then_it_is_made_anew() {
        let (metrics, told) = (Metrics::default(), Told::default());
        let first = told.tell(&metrics, Exposition::Plain);
        metrics.refused();
        assert_eq!(told.tell(&metrics, Exposition::Plain).as_ptr(), first.as_ptr());
        let other = told.tell(&metrics, Exposition::OpenMetrics);
        assert!(other.ends_with(b"# EOF\n") && !first.ends_with(b"# EOF\n"), "each form has its own");
        tokio::time::sleep(MOMENT * 2).await;
        assert!(told.kept().is_empty(), "it is not kept for longer");
        let text = String::from_utf8(told.tell(&metrics, Exposition::Plain).to_vec()).expect("text");
        assert!(text.contains("\ncgtrace_http_refused_total 1\n"), "{text}");
    }
}
