//! A cgroup's life as shapes: spans for what it was, marks for what happened to it.

use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::input::BootTime;
use crate::report::Step;

/// What is thinner than this share of the picture, in percent, is drawn together with its neighbour.
const PIXEL: f64 = 0.1;
/// Failed calls nearer to each other than this share of the picture, in percent, share a mark.
const CROWD: f64 = 1.6;

/// What a cgroup is for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Dying,
    Empty,
    Populated,
}

impl State {
    /// In the order they are drawn in: a later one covers an earlier one.
    const ALL: [Self; 3] = [Self::Dying, Self::Empty, Self::Populated];

    /// What `page.css` calls it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Dying => "dying",
            Self::Empty => "empty",
            Self::Populated => "populated",
        }
    }
}

/// It was that from then to then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) state: State,
    pub(super) from: BootTime,
    pub(super) to: BootTime,
}

/// What a cgroup was, from the steps of its life. What it was before the first step follows from that step. A new one
/// of the same name may begin while the old one is dying.
pub(super) fn spans(steps: &[Step], first: BootTime, last: BootTime) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut alive: Option<(State, BootTime)> = None;
    let mut dying: VecDeque<BootTime> = VecDeque::new();
    let mut known = false;
    for step in steps.iter().filter(|step| !step.failed) {
        let what = step.what.as_str();
        if !known {
            match what {
                "created" => {}
                "emptied" => alive = Some((State::Populated, first)),
                "released" => dying.push_back(first),
                _ => alive = Some((State::Empty, first)),
            }
            known = true;
        }
        let next = match what {
            "created" | "emptied" => Some(State::Empty),
            "populated" | "attached" => Some(State::Populated),
            "removed" => {
                dying.push_back(step.at);
                None
            }
            "released" => {
                if let Some(from) = dying.pop_front() {
                    spans.push(Span { state: State::Dying, from, to: step.at });
                }
                continue;
            }
            _ => continue,
        };
        if alive.map(|(state, _)| state) == next {
            continue;
        }
        if let Some((state, from)) = alive.take() {
            spans.push(Span { state, from, to: step.at });
        }
        alive = next.map(|state| (state, step.at));
    }
    spans.extend(alive.map(|(state, from)| Span { state, from, to: last }));
    spans.extend(dying.into_iter().map(|from| Span { state: State::Dying, from, to: last }));
    spans.retain(|span| span.from < span.to);
    spans.sort_by_key(|span| span.from);
    spans
}

/// The shapes of a row at full length, in percent of its width. `page.js` draws the same from the numbers.
pub(super) fn shapes(spans: &[Span], steps: &[Step], place: &dyn Fn(BootTime) -> f64) -> String {
    let mut out = String::new();
    for state in State::ALL {
        let mut open: Option<(f64, f64)> = None;
        for span in spans.iter().filter(|span| span.state == state) {
            let (from, to) = (place(span.from), place(span.to));
            match &mut open {
                Some((_, end)) if from - *end < PIXEL => *end = end.max(to),
                Some((start, end)) => {
                    rectangle(&mut out, state.as_str(), *start, *end);
                    open = Some((from, to));
                }
                None => open = Some((from, to)),
            }
        }
        if let Some((start, end)) = open {
            rectangle(&mut out, state.as_str(), start, end);
        }
    }
    let mut before = [f64::NEG_INFINITY; 2];
    for step in steps.iter().filter(|step| !step.failed) {
        let (number, class, height) = match step.what.as_str() {
            "created" | "removed" | "released" => (0, "mark", 19),
            "populated" | "emptied" => continue,
            _ => (1, "note", 5),
        };
        let x = place(step.at);
        if x - before[number] >= PIXEL {
            let x = percent(x);
            let _ = write!(out, "<line class=\"{class}\" x1=\"{x}%\" x2=\"{x}%\" y1=\"1\" y2=\"{height}\"/>");
            before[number] = place(step.at);
        }
    }
    let mut crowd: Option<(f64, usize)> = None;
    for step in steps.iter().filter(|step| step.failed) {
        let x = place(step.at);
        match &mut crowd {
            Some((start, count)) if x - *start < CROWD => *count += 1,
            Some((start, count)) => {
                failure(&mut out, *start, *count);
                crowd = Some((x, 1));
            }
            None => crowd = Some((x, 1)),
        }
    }
    if let Some((x, count)) = crowd {
        failure(&mut out, x, count);
    }
    out
}

pub(super) fn rectangle(out: &mut String, class: &str, from: f64, to: f64) {
    let width = (to - from).max(PIXEL);
    let (y, height) = match class {
        "populated" => (2, 16),
        "empty" => (6, 8),
        "dying" => (13, 5),
        _ => (9, 2),
    };
    let _ = write!(
        out,
        "<rect class=\"{class}\" x=\"{}%\" width=\"{}%\" y=\"{y}\" height=\"{height}\"/>",
        percent(from),
        percent(width)
    );
}

fn failure(out: &mut String, x: f64, count: usize) {
    let x = percent(x);
    let _ = write!(out, "<use href=\"#failure\" x=\"{x}%\"/>");
    if count > 1 {
        let _ = write!(out, "<text class=\"count\" x=\"{x}%\" dx=\"9\" y=\"14\">{count}</text>");
    }
}

/// A number with two decimals at most.
fn percent(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(at: u64, what: &str) -> Step {
        let failed = what.contains(' ');
        Step { at: BootTime(at), what: what.to_owned(), failed, who: None }
    }

    fn check(steps: &[(u64, &str)], expected: &str) {
        let steps: Vec<Step> = steps.iter().map(|(at, what)| step(*at, what)).collect();
        let spans = spans(&steps, BootTime(0), BootTime(100));
        let told: Vec<String> =
            spans.iter().map(|span| format!("{} {}-{}", span.state.as_str(), span.from.0, span.to.0)).collect();
        assert_eq!(told.join(", "), expected);
    }

    #[test]
    fn a_life_is_a_row_of_spans() {
        check(
            &[(1, "created"), (2, "populated"), (5, "emptied"), (7, "removed"), (9, "released")],
            "empty 1-2, populated 2-5, empty 5-7, dying 7-9",
        );
        check(&[(1, "created"), (2, "attached"), (3, "populated")], "empty 1-2, populated 2-100");
        check(&[(1, "created"), (2, "removed")], "empty 1-2, dying 2-100");
        check(&[(1, "created"), (2, "rmdir EBUSY"), (3, "frozen")], "empty 1-100");
        check(&[(1, "mkdir EROFS"), (2, "rmdir EROFS")], "");
    }

    #[test]
    fn what_was_there_before_follows_from_the_first_step() {
        check(&[(5, "emptied")], "populated 0-5, empty 5-100");
        check(&[(5, "populated")], "empty 0-5, populated 5-100");
        check(&[(5, "removed"), (6, "released")], "empty 0-5, dying 5-6");
        check(&[(5, "released")], "dying 0-5");
    }

    #[test]
    fn a_new_cgroup_of_the_same_name_outlives_the_dying_one() {
        check(
            &[(1, "created"), (2, "removed"), (3, "created"), (4, "released"), (5, "populated")],
            "empty 1-2, dying 2-4, empty 3-5, populated 5-100",
        );
    }

    #[test]
    fn what_is_thinner_than_a_pixel_is_drawn_together() {
        let steps: Vec<Step> = (0..200).map(|at| step(at, if at % 2 == 0 { "populated" } else { "emptied" })).collect();
        let spans = spans(&steps, BootTime(0), BootTime(200));
        assert_eq!(spans.len(), 200);
        let shapes = shapes(&spans, &steps, &|at| at.0 as f64 / 1_000_000.0);
        assert_eq!(shapes.matches("<rect").count(), 2, "{shapes}");
    }

    #[test]
    fn failed_calls_that_crowd_share_a_mark_with_their_number() {
        let steps: Vec<Step> = [1, 2, 3, 90].into_iter().map(|at| step(at, "rmdir ENOENT")).collect();
        let shapes = shapes(&[], &steps, &|at| at.0 as f64 / 2.0);
        assert_eq!(shapes.matches("<use").count(), 2, "{shapes}");
        assert!(shapes.contains(">3</text>"), "{shapes}");
    }
}
