//! The page of the agent as it is now: its state, what was found last, and the last minutes as a timeline. Nothing from
//! elsewhere.
//!
//! It is made on the side of those who ask. The thread that traces has no part in it but what it puts up anyway.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderValue;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Board;
use crate::duration;
use crate::findings::Finding;
use crate::hierarchy::{Clock, Header};
use crate::input::{BootTime, Change};
use crate::line::{Line, Output};
use crate::name::Name;
use crate::process;
use crate::report::html::Live;
use crate::report::{Lives, Report, Trace};

/// Findings that are shown: the worst, of these the newest.
const FINDINGS: usize = 25;
/// The timeline is of so much time at most, of so many frames of the history (16 MiB of lines), and of so many
/// containers. Those without trouble make room, the oldest first.
const LAST: Duration = Duration::from_secs(600);
const FRAMES: usize = 64;
const CONTAINERS: usize = 300;
/// A page is given out for so long at least, and for so many times the processor time that it took to make it: however
/// many ask, making pages takes a fifth of a processor at most.
const LEAST: Duration = Duration::from_secs(1);
const TIMES: u32 = 4;

/// The last page that was made.
pub(super) struct Pages {
    board: Arc<Board>,
    last: Mutex<Option<(Bytes, Instant)>>,
}

impl Pages {
    /// Of what is on the board.
    pub fn new(board: Arc<Board>) -> Self {
        Self { board, last: Mutex::default() }
    }

    /// What a browser is to allow the page.
    pub fn policy() -> HeaderValue {
        HeaderValue::try_from(Live::policy()).expect("a policy is ASCII")
    }

    /// The page. Whoever asks while it is being made waits for that.
    pub async fn page(&self) -> Bytes {
        let mut last = self.last.lock().await;
        if let Some((page, until)) = &*last
            && Instant::now() < *until
        {
            return page.clone();
        }
        // Pages are made in the one thread that serves; what it does for others meanwhile is counted too.
        let begun = process::thread_time();
        let page = Bytes::from(made(&self.board).await);
        let took = process::thread_time().saturating_sub(begun);
        *last = Some((page.clone(), Instant::now() + LEAST.max(took * TIMES)));
        page
    }
}

/// The page as it is now. Others get their turn between two frames of the history.
async fn made(board: &Board) -> Vec<u8> {
    // Whoever has heard of a later finding asks again: what comes meanwhile may be on the page, or not.
    let told = board.last_event().to_string();
    let mut report = Report::new(true);
    report.lives = Some(Lives::at_most(CONTAINERS));
    let now = process::boot_time();
    let nanoseconds = u64::try_from(LAST.as_nanos()).unwrap_or(u64::MAX);
    let since = BootTime(now.0.saturating_sub(nanoseconds));
    let retold = board.history.as_ref().map(|history| history.retold(since, FRAMES));
    let without_timeline = match &retold {
        None => Some("There is no timeline: this agent keeps no history (--history 0)."),
        Some(None) => Some("There is no timeline: the history holds nothing."),
        Some(Some(_)) => None,
    };
    if let Some(retold) = retold.flatten() {
        let begins = retold.begins();
        for inputs in retold {
            // A report is in memory, which can be written.
            inputs.iter().for_each(|(seq, input)| drop(report.line(&Line::Input(*seq, input))));
            tokio::task::yield_now().await;
        }
        report.span = Some((begins, now.max(begins)));
    }
    let state = state(board, now);
    let shown = board.shown();
    report.header = shown.header.as_deref().map(|header| with_clock(header, shown.clock()));
    let kept: Vec<(u64, Arc<Finding>)> = shown.findings.iter().cloned().collect();
    drop(shown);
    let held = kept.iter().map(|(_, finding)| finding.severity).collect();
    let worst = worst_last(kept);
    let findings = worst.iter().rev().map(Arc::as_ref).collect();
    let mut links = vec![("/metrics", "metrics"), ("/findings", "findings"), ("/findings?severity=fault", "faults")];
    links.extend(board.history.as_ref().map(|_| ("/trace", "trace")));
    links.extend([("/readyz", "ready"), ("/healthz", "alive")]);
    let trace = Trace { files: String::new(), report: &report, findings };
    let mut page = Vec::new();
    let live = Live { trace, state, held, told, links, without_timeline };
    live.write(&mut page).expect("memory can be written");
    page
}

/// The header with what its clock says now: the host's clock may have been set since the start.
fn with_clock(header: &Header, now: Clock) -> Header {
    let boot_ns = header.clock.boot_ns;
    Header { clock: Clock { boot_ns, unix_ns: now.unix_ns(BootTime(boot_ns)) }, ..header.clone() }
}

/// The worst findings, of these the newest, in the order that they were told in.
fn worst_last(mut findings: Vec<(u64, Arc<Finding>)>) -> Vec<Arc<Finding>> {
    findings.sort_by_key(|(number, finding)| (finding.severity, *number));
    findings.drain(..findings.len().saturating_sub(FINDINGS));
    findings.sort_by_key(|(number, _)| *number);
    findings.into_iter().map(|(_, finding)| finding).collect()
}

/// What there is to say of the agent.
fn state(board: &Board, now: BootTime) -> Vec<(&'static str, String)> {
    let unready = board.unready();
    let state = if unready.is_empty() { "ready".to_owned() } else { format!("not ready: {}", unready.join("; ")) };
    let mut rows = vec![("state", state)];
    let shown = board.shown();
    if let Some(header) = &shown.header {
        let counts = &shown.counts;
        let count = |change: Change| counts.events.get(change.as_str()).copied().unwrap_or(0);
        let attached = header.probes.iter().filter(|probe| probe.attached).count();
        let lost = if counts.lost == 0 { "nothing".to_owned() } else { counts.lost.to_string() };
        rows.extend([
            ("host", format!("{}, Linux {} {}", header.host, printable(&header.kernel), printable(&header.arch))),
            ("cgroups", format!("{}, {} hierarchies", header.setup, header.hierarchies.len())),
            (
                "probes",
                format!("{attached} of {} attached, backend {}", header.probes.len(), printable(&header.backend)),
            ),
            ("tracing for", duration::human(now.since(BootTime(header.clock.boot_ns)))),
            (
                "seen",
                format!(
                    "{} live now, {} dying; {} created, {} removed, {} released",
                    shown.live,
                    shown.dying,
                    count(Change::Created),
                    count(Change::Removed),
                    count(Change::Released)
                ),
            ),
            ("failed calls", counts.attempts.values().sum::<u64>().to_string()),
            ("lost", lost),
            ("history", history(board, now)),
        ]);
    }
    rows
}

/// How far back `/trace` reaches.
fn history(board: &Board, now: BootTime) -> String {
    let Some(history) = &board.history else { return "switched off".to_owned() };
    let held = history.held();
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let size = format!("{:.1} of {:.1} MiB", mebibytes(held.bytes), mebibytes(history.limit()));
    match held.since {
        Some(since) => format!("the last {}, {size}", duration::human(now.since(since))),
        None => format!("nothing is held, {size}"),
    }
}

/// A header's text may be anybody's.
fn printable(text: &str) -> String {
    Name::from(text).printable()
}

#[cfg(test)]
mod tests {
    use super::super::Posting;
    use super::*;
    use crate::findings::Severity;
    use crate::metrics::Metrics;
    use crate::tracker::tests::header;

    fn text(page: &[u8]) -> String {
        String::from_utf8(page.to_vec()).expect("text")
    }

    #[test]
    fn a_mild_finding_pushes_no_fault_off_the_page_and_the_newest_come_last() {
        let finding = |number: u64, severity| {
            let finding = Finding { severity, ..Finding::example(&number.to_string(), 0) };
            (number, Arc::new(finding))
        };
        let mut all = vec![finding(1, Severity::Fault), finding(2, Severity::Benign)];
        all.extend((3..100).map(|number| finding(number, Severity::Benign)));
        let ids: Vec<String> = worst_last(all).iter().map(|finding| finding.id.clone()).collect();
        assert_eq!((ids.len(), ids[0].as_str(), ids[1].as_str(), ids[24].as_str()), (FINDINGS, "1", "76", "99"));
        assert!(worst_last(Vec::new()).is_empty());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn it_says_what_there_is_and_is_made_once_for_all_who_ask_at_once() {
        let board = Board::new(Metrics::default(), None);
        let pages = Pages::new(board.clone());
        let page = pages.page().await;
        let first = text(&page);
        assert!(
            first.contains("<dd>not ready: tracing has not begun</dd>") && first.contains("<p>None.</p>"),
            "{first}"
        );
        assert!(first.contains("this agent keeps no history (--history 0)") && !first.contains("href=\"/trace\""));
        assert!(first.contains("<main data-told=\"0.0\">"));

        let mut posting = Posting::new(board.clone());
        posting.line(&Line::Header(&header(&[]))).expect("a board takes everything");
        let evil = Finding { summary: "</p><script>alert(1)</script>".into(), ..Finding::example("a", 0) };
        posting.line(&Line::Finding(&evil)).expect("a board takes everything");
        assert_eq!(pages.page().await.as_ptr(), page.as_ptr(), "it is not made anew at once");
        let page = text(&made(&board).await);
        assert!(page.contains("<title>no fault on host – cgtrace</title>") && page.contains("1 benign"), "{page}");
        assert!(page.contains("<p class=\"sentence\">&lt;/p&gt;&lt;script&gt;alert(1)&lt;/script&gt;</p>"), "{page}");
        assert!(page.contains("<main data-told=\"0.1\">"), "{page}");
    }
}
