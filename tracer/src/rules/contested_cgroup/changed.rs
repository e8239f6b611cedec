//! A value of a control file that somebody else wrote over.
//!
//! What a runtime, an engine or (in a container's cgroup) systemd had set is told when one who does not run the
//! container writes another value: once is enough. Of two others, one is told only when the one before sets its value
//! again: to change a value is ordinary, to fight over it is not.

use super::{CHANGED_BY_OTHER, may_run_it, unknown_program};
use crate::container::Container;
use crate::control;
use crate::duration;
use crate::findings::Severity;
use crate::input::{Actor, Pid, Seq, Written};
use crate::oci;
use crate::phrases;
use crate::rules::{Judgement, Overwriting, Weighed, World, wording};
use crate::state::{Case, Key, Overwritten, Set, Story, Undone};

/// Other files that a sentence names.
const NAMED: usize = 3;

pub(super) fn begins(seq: Seq, written: &Written, world: &World) -> Option<Overwriting> {
    let cgroup = written.cgroup.as_ref()?;
    let key: Key = (cgroup.hierarchy, cgroup.id?);
    let live = world.cgroups.get(key.0, key.1)?;
    let container = written.container.as_ref();
    let value = written.value.as_ref().filter(|_| !written.value_truncated)?;
    let (mut over, mut seen, mut of) = (Vec::new(), Vec::new(), None);
    for (what, value) in control::settings(&written.file, value) {
        let Some(kept) = world.settings.of(key, what) else { continue };
        let now = Set { value, actor: written.actor.clone(), at: written.at, seq };
        if what.may_be_same(&kept.last.value, &now.value) {
            continue;
        }
        let container = container.map(AsRef::as_ref);
        let undone = if is_strange(&kept.last.actor, &now.actor, container) {
            Overwritten { what, before: kept.last.clone(), now }
        } else {
            let Some(before) = kept.before.as_deref() else { continue };
            let is_set_back =
                before.actor.is_same_process_as(&now.actor) && what.may_be_same(&before.value, &now.value);
            let is_told = is_strange(&before.actor, &kept.last.actor, container);
            if !is_set_back || is_told || may_run_it(&kept.last.actor, Some(&before.actor), container) {
                continue;
            }
            seen.push(seq);
            Overwritten { what, before: before.clone(), now: kept.last.clone() }
        };
        seen.push(undone.before.seq);
        of.get_or_insert_with(|| (undone.now.seq, undone.now.at, undone.now.actor.clone()));
        over.push(undone);
    }
    let (seq, at, actor) = of?;
    let case = Case {
        existing: Some(live.as_existing(key.1)),
        container: container.cloned(),
        seen,
        undone: Some(Box::new(Undone::Overwritten(over))),
        is_alone: true,
        ..Case::default()
    };
    Some(Overwriting { case: Box::new(case), seq, at, actor })
}

/// Whether the first one sets values for containers, and the other one does not.
fn is_strange(first: &Actor, other: &Actor, container: Option<&Container>) -> bool {
    let is_systemd = || first.pid == Pid(1) && first.comm == "systemd";
    let is_manager = oci::is_runtime(first) || container.is_some() && is_systemd();
    is_manager && !may_run_it(other, Some(first), container)
}

/// What became of a value that was written over another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is what is set, as far as is known.
    Stands,
    /// What was set before is set again.
    IsBack,
    /// One who runs containers has set it, or another one, since: it is as that one wants it.
    IsWanted,
    /// The cgroup is gone.
    Unknown,
}

fn standing(one: &Overwritten, story: &Story, world: &World) -> Standing {
    let known = story.members.first().and_then(|member| {
        let key = (member.place.hierarchy, member.existing?.id);
        world.settings.of(key, one.what)
    });
    let Some(kept) = known else { return Standing::Unknown };
    if kept.last.actor.is_same_process_as(&one.now.actor) {
        return Standing::Stands;
    }
    match one.what.may_be_same(&kept.last.value, &one.before.value) {
        true => Standing::IsBack,
        false if oci::is_runtime(&kept.last.actor) => Standing::IsWanted,
        false => Standing::Stands,
    }
}

pub(super) fn hurt(all: &[Overwritten], story: &Story, world: &World) -> Severity {
    let standings: Vec<Standing> = all.iter().map(|one| standing(one, story, world)).collect();
    if standings.contains(&Standing::Unknown) {
        return story.told.as_ref().map_or(Severity::Undetermined, |told| told.severity);
    }
    if standings.contains(&Standing::Stands) { Severity::Undetermined } else { Severity::Benign }
}

pub(super) fn judge(all: &[Overwritten], weighed: &Weighed, world: &World) -> Option<Judgement> {
    let (story, main) = (weighed.story, weighed.main?);
    let wanted = |one: &&Overwritten| standing(one, story, world) != Standing::IsWanted;
    let first = all.iter().find(wanted)?;
    let Overwritten { what, before, now } = first;
    let mut because = world.coverage.gaps_in_changes(before.at);
    because.extend(weighed.gaps_in_processes(world, Some((&before.actor, before.at))));
    because.extend(unknown_program(&main.actor, "wrote it"));
    let has_changed = wording::verb(&because, "changed", "may have changed");
    let span = now.at.since(before.at);
    let container = story.container.as_deref();
    let is_managed = is_strange(&before.actor, &now.actor, container);
    let more = match (story.times, is_managed) {
        (0 | 1, true) => String::new(),
        (times, true) => format!(", the first of {times} such changes"),
        (0 | 1, false) => ", which that one has undone".to_owned(),
        (times, false) => format!(", the first of {times} changes that the two have undone"),
    };
    let back = match weighed.severity {
        Severity::Benign if is_managed => "; it has been set back since",
        Severity::Benign | Severity::Fault | Severity::Undetermined => "",
    };
    let summary = format!(
        "{} {has_changed} {} of {} from {} to {}, where {} had set it {} before{}{more}{back}",
        wording::who(&now.actor),
        what.file,
        wording::whose(weighed),
        phrases::value(&before.value, false),
        phrases::value(&now.value, false),
        wording::who(&before.actor),
        duration::human(span),
        others(all, first),
    );
    Some(Judgement { cause: CHANGED_BY_OTHER, because, summary, rival: None })
}

/// `, and cpu.max and pids.max as well`.
fn others(all: &[Overwritten], first: &Overwritten) -> String {
    let mut files: Vec<&str> = all.iter().map(|one| one.what.file).filter(|file| *file != first.what.file).collect();
    files.dedup();
    match files.as_slice() {
        [] => String::new(),
        files if files.len() <= NAMED => format!(", and {} as well", files.join(" and ")),
        files => format!(", and {} other files as well", files.len()),
    }
}
