//! What happened in containers of late, out of memory, as it was told when it happened.
//!
//! A trace that is read back is judged anew, from its beginning. To draw the last minutes needs no judgement: whose a
//! cgroup is stands in the lines that this program has written itself.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;

use super::events::Lines;
use super::frames::{FrameReader, Piece};
use super::line::{TraceLine, head};
use crate::container::Container;
use crate::input::{BootTime, Cgroup, Input, Seq};

/// Events and failed calls of containers, frame by frame: reading one takes a millisecond or two.
pub struct Retold {
    frames: VecDeque<Bytes>,
    begins: BootTime,
    lines: Lines,
}

/// What is derived, and not read with the rest of a line.
#[derive(Deserialize)]
struct Derived {
    container: Arc<Container>,
    #[serde(default)]
    cgroup: Option<Cgroup>,
}

impl Retold {
    /// Of these frames, which this program has made, and of what was not before `begins`.
    pub(super) fn new(frames: VecDeque<Bytes>, begins: BootTime) -> Self {
        Self { frames, begins, lines: Lines::default() }
    }

    /// Where it begins: from here on nothing is left out.
    pub fn begins(&self) -> BootTime {
        self.begins
    }

    fn line(&mut self, line: &[u8]) -> Option<(Seq, Input)> {
        let (kind, _) = head(line)?;
        // Only a key has quotes that are not escaped.
        if !matches!(kind, "event" | "attempt") || memmem::find(line, b"\"container\":").is_none() {
            return None;
        }
        let TraceLine::Input(seq, input) = self.lines.parse(line).ok()? else { return None };
        let derived: Derived = serde_json::from_slice(line).ok()?;
        let mut input = *input;
        match &mut input {
            Input::Event(event) => event.container = Some(derived.container),
            Input::Attempt(attempt) => {
                (attempt.container, attempt.cgroup) = (Some(derived.container), derived.cgroup);
            }
            _ => return None,
        }
        (input.at() >= self.begins).then_some((seq, input))
    }
}

impl Iterator for Retold {
    type Item = Vec<(Seq, Input)>;

    fn next(&mut self) -> Option<Self::Item> {
        let frame = self.frames.pop_front()?;
        let mut lines = FrameReader::new(&frame[..]);
        let mut inputs = Vec::new();
        while let Some(piece) = lines.next_piece().expect("memory can be read") {
            match piece {
                Piece::Line(line) => inputs.extend(self.line(line)),
                Piece::Damage(damage) => unreachable!("a frame that was made here: {damage}"),
            }
        }
        Some(inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sink::line_of;
    use super::*;
    use crate::container::Container;
    use crate::errno::Errno;
    use crate::hierarchy::Clock;
    use crate::input::{Actor, Attempt, CgroupId, Change, Event, HierarchyId, Pid, Syscall};
    use crate::line::Line;

    fn container() -> Arc<Container> {
        Arc::new(Container {
            id: "3f2a".into(),
            runtime: "docker".into(),
            rule: "rule".into(),
            chain: vec!["outer".into(), "3f2a".into()],
            name: Some("a \"name\"".into()),
            image: None,
            pod: None,
            namespace: None,
            depths: Vec::new(),
        })
    }

    fn event(at: u64, container: Option<Arc<Container>>) -> Input {
        let (hierarchy, id) = (HierarchyId(0), Some(CgroupId(7)));
        let cgroup = Cgroup { hierarchy, id, path: "/docker/3f2a".into(), level: Some(2), truncated: false };
        let actor = Some(Actor::new(Pid(1), 1, "runc".into(), None));
        Input::Event(Event {
            at: BootTime(at),
            change: Change::Created,
            cgroup,
            requested: false,
            task: None,
            container,
            actor,
        })
    }

    #[test]
    fn what_happened_in_containers_is_told_as_it_was_from_a_moment_on() {
        let actor = Actor::new(Pid(1), 1, "runc".into(), None);
        let mut attempt = Attempt::new(BootTime(5), Syscall::ALL[0], Errno(2), "x".into(), actor);
        let Input::Event(about) = event(0, None) else { unreachable!() };
        (attempt.container, attempt.cgroup) = (Some(container()), Some(about.cgroup));
        let happened =
            [event(3, Some(container())), event(4, None), event(2, Some(container())), Input::Attempt(attempt)];
        let lines: Vec<u8> = happened
            .iter()
            .zip(1..)
            .flat_map(|(input, seq)| line_of(Clock { boot_ns: 0, unix_ns: 0 }, &Line::Input(Seq(seq), input)))
            .collect();
        let retold = Retold::new([Bytes::from(lines)].into(), BootTime(3));
        let told: Vec<(Seq, Input)> = retold.flatten().collect();
        assert_eq!(told, [(Seq(1), happened[0].clone()), (Seq(4), happened[3].clone())]);
    }
}
