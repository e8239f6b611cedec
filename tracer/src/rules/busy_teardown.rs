//! `busy-teardown`: a removal of a cgroup was refused because it is in use, and was not made good in time.
//!
//! A refusal alone means nothing: runtimes try again until the last process is gone, remove what is inside first, or
//! leave it to whoever called them. So nothing is told while somebody tries, or shortly after, and nothing of a cgroup
//! that is gone by then.
//!
//! Who was in the way is claimed only of the moment of a refused call. Whoever is found inside after the call was there
//! at the call if they lived by then and nobody was seen to come in between.

mod known;

use std::time::Duration;

use super::severity::is_systemd;
use super::{Call, Judgement, Rule, Weighed, World, gone, left, refused, wording};
use crate::container;
use crate::duration;
use crate::errno::Errno;
use crate::findings::{Cause, Explanation, Finding, Job, Severity};
use crate::input::{BootTime, Exit, Occupant, OccupantState, Operation};
use crate::release::RmdirClass;
use crate::state::{self, Case, Course, Found, Member, Note, Participant, Place, Story, Told};

pub(super) const RULE: Rule = Rule {
    explanation: Explanation {
        word: "busy-teardown",
        claim: "Somebody tried to remove a cgroup that is in use, was refused, and did not make it good in time.",
        evidence: &[
            "the failed rmdir or unlinkat (EBUSY), the first ones, the last ones and how many there were",
            "who was found in the cgroup a moment after a call, if they were there at the call as well; or the \
             cgroups in it",
            "that the cgroup is still there after the last try",
            "the exit status of the process that tried, and whether its state file of the container is left",
        ],
        confirm: &[
            (
                "look who is in it, and in the cgroups in it",
                "find /sys/fs/cgroup/PATH -name cgroup.procs | xargs grep -H .",
            ),
            (
                "look what a process in it is doing: D or T does not end by itself, Z has ended",
                "ps -o pid,stat,wchan,args -p PID",
            ),
            ("look whether it is frozen (v1)", "cat /sys/fs/cgroup/freezer/PATH/freezer.state"),
        ],
        severity: &[
            refused::TO_TEAR_DOWN,
            refused::TO_START,
            refused::TO_DO_ELSE,
            "A systemd unit (.slice, .service, .scope) outside containers: `benign`, if it was not a teardown's job.",
            refused::WHATEVER_FOR,
            "A systemd unit that a teardown left and exited 0: `undetermined`. systemd removes it when it is empty.",
            "Where the trace ends before it could be made good: never `fault`.",
        ],
        causes: &[LIVE_PROCESSES, CHILD_CGROUPS, FROZEN, EXITING, UNKNOWN],
        false_positives: &[
            "A script that tries whether a cgroup can be removed, and does without, makes the same calls. A plain \
             rmdir, a shell and a daemon leave the finding undetermined. Of systemd, which tries and comes back when \
             a cgroup is empty, nothing is told.",
            "Two containers that were given the same cgroup: the runtime of the first is refused, and leaves it to the \
             second, which needs it. That is `undetermined`, unless the second one was started into it by clone3 \
             beside a process of the first, which is not seen.",
            "The process that called the one that failed may remove the cgroup later than a second after its end, or \
             later than 20 s after the first refusal where the one that was refused exited 0. The finding is then told \
             again: cgroup_left is false.",
        ],
    },
    known: known::KNOWN,
    call: Some(call),
    failed_start: None,
    stuck: None,
    event: None,
    deadline: None,
    course: Course { waits, is_news, ..refused::COURSE },
    hurt,
    judge,
};

const LIVE_PROCESSES: Cause = Cause {
    word: "live-processes",
    meaning: "A process was in it that lives: the summary names it. It may be a stranger's, put there from outside.",
    advice: "Find out who put the process there (attached events of the cgroup) and end it, or move it out. If it is \
             the container's own, the process that tore down did not kill it or did not wait: kill all of the cgroup \
             (cgroup.kill on cgroup2) and wait until it is empty. A process that removes a cgroup must not sit in it.",
    is_routine: true,
};

const CHILD_CGROUPS: Cause = Cause {
    word: "child-cgroups",
    meaning: "There were other cgroups in it: the summary names one.",
    advice: "Remove from the inside out. A container that makes cgroups of its own (systemd or a runtime inside) \
             needs a runtime that removes them with it; what holds the inner one has a finding of its own if \
             somebody tried to remove that.",
    is_routine: true,
};

const FROZEN: Cause = Cause {
    word: "frozen",
    meaning: "The processes in it were frozen, and did not go on to their end: on cgroup2 SIGKILL ends them, on v1 \
              not even that.",
    advice: "Thaw it first: echo THAWED > freezer.state (v1), echo 0 > cgroup.freeze (cgroup2). Look who froze it, \
             and did not thaw it.",
    is_routine: true,
};

const EXITING: Cause = Cause {
    word: "exiting",
    meaning: "Nobody was seen in it who was to stay: they were killed or ending, or it was empty a moment later. \
              Before Linux 6.19.12 rmdir is refused until the last exiting task has left, and from 6.19.9 on those are \
              not even listed. Later kernels do not refuse for them: somebody still lived at the call.",
    advice: "The process that tore down gave up too early: wait until cgroup.events says populated 0 and try again. \
             Then remove what is left. Who was killed and does not end is held by the kernel (ps -o stat,wchan).",
    is_routine: true,
};

const UNKNOWN: Cause = Cause {
    word: "unknown",
    meaning: "It was in use, and by whom was not seen: they had left before anybody could look, or nothing shows it \
              (a mount point is busy, too).",
    advice: "Look whether anybody is in it now, and whether its directory is a mount point (findmnt).",
    is_routine: true,
};

/// Whoever runs, and has not tried again for so long, has given up: the ladders of runtimes have shorter steps.
const GIVEN_UP: Duration = Duration::from_secs(2);
/// After the end of whoever tried and failed: time for whoever called it to clear up.
const BEHIND: Duration = Duration::from_secs(1);
/// The ladders of a runtime and of the engine that called it add up: crun tries for five seconds, podman then for ten.
const LADDER: Duration = left::PATIENCE;
/// Who was gone so shortly after a call was about to be gone.
const MOMENT: Duration = Duration::from_millis(100);
/// A call is told when it returns, which is so long at most after its answer was decided.
const RACE: Duration = Duration::from_millis(10);

fn call(call: &Call, _: &World) -> Option<Case> {
    let attempt = &call.note.attempt;
    if attempt.operation != Operation::Rmdir || attempt.errno != Errno::EBUSY {
        return None;
    }
    // The root of a hierarchy is always in use.
    refused::case(call).filter(|case| case.existing.is_some_and(|existing| existing.level != Some(0)))
}

/// Until when somebody may still make it good.
fn waits(story: &Story) -> Option<BootTime> {
    // What was content with the refusal left it to others by design: to kubelet's next pass, or to systemd.
    let is_content = |participant: &Participant| {
        matches!(participant.job, Job::Teardown | Job::Start)
            && participant.exit() == Some(Exit::Code(0))
            && participant.state_left != Some(true)
    };
    let until = |participant: &Participant| match participant.ended {
        Some(end) if is_content(participant) => end.at + left::PATIENCE,
        Some(end) => end.at + BEHIND,
        None => story.last_at + GIVEN_UP,
    };
    let latest = story.participants.iter().map(until).max()?;
    Some(latest.min(story.began + LADDER))
}

/// Who is in the way may be another one at each try: that alone is no news, once somebody was named.
fn is_news(told: &Told, finding: &Finding) -> bool {
    told.cause == UNKNOWN && finding.cause != UNKNOWN || gone::is_other(told, finding)
}

/// Whether systemd owns it, by its name: whoever else tries to remove it does not own it.
fn is_unit(place: &Place) -> bool {
    container::is_unit(place.name(), &[".slice", ".scope", ".service"])
}

/// What the refusal did to one who tried.
fn hurt(participant: Option<&Participant>, story: &Story, world: &World) -> Severity {
    if participant.is_some_and(|participant| is_systemd(&participant.actor)) {
        return Severity::Benign;
    }
    let is_foreign = |participant: &Participant| {
        matches!((participant.job, participant.exit()), (Job::Removal | Job::Other, Some(Exit::Code(_))))
            && !participant.is_unread
            && story.container.is_none()
            && story.members.iter().all(|member| is_unit(&member.place))
    };
    // systemd removes it when it is empty.
    let is_left_to_systemd = |participant: &Participant| {
        participant.exit() == Some(Exit::Code(0))
            && participant.state_left != Some(true)
            && story.members.iter().all(|member| is_unit(&member.place))
    };
    // Who is content with the refusal may have left it to those of another container.
    let is_left_to_another = |participant: &Participant| {
        let of = |member: &Member| world.cgroups.get(member.place.hierarchy, member.existing?.id);
        let is_shared = |member: &Member| of(member).is_some_and(|live| live.is_shared);
        participant.exit() == Some(Exit::Code(0))
            && participant.state_left != Some(true)
            && story.members.iter().any(is_shared)
    };
    let is_left_to_others =
        |participant: &Participant| is_left_to_systemd(participant) || is_left_to_another(participant);
    match refused::hurt(participant, story, world) {
        Severity::Undetermined if participant.is_some_and(is_foreign) => Severity::Benign,
        Severity::Fault if story.is_cut_short || participant.is_some_and(is_left_to_others) => Severity::Undetermined,
        severity => severity,
    }
}

fn judge(weighed: &Weighed, world: &World) -> Option<Judgement> {
    let (story, left) = (weighed.story, weighed.outcome.cgroup_left);
    let is_in_vain = weighed.severity == Severity::Fault && weighed.outcome.state_left == Some(true);
    if story.told.is_none()
        && (left != Some(true) && !is_in_vain || story.participants.iter().all(|who| is_systemd(&who.actor)))
    {
        return None;
    }
    let because = refused::gaps(weighed, world)?;
    let (cause, why) = why(weighed, world);
    let summary = format!(
        "{} tried to tear down {}, which {} in use: {why}; {}{}",
        wording::subject(weighed, None),
        wording::whose(weighed),
        wording::verb(&because, "was", "may have been"),
        wording::end(weighed, world),
        refused::behind(weighed),
    );
    Some(Judgement { cause, because, summary, rival: None })
}

/// Why it was in use, and the words for it: of the cgroup that the finding is about, or else of those in other
/// hierarchies.
fn why(weighed: &Weighed, world: &World) -> (Cause, String) {
    let others = weighed.story.members.iter().filter(|member| member.place != weighed.member.place);
    let mut all = std::iter::once(weighed.member).chain(others);
    let unknown = || (UNKNOWN, "by whom was not seen".to_owned());
    all.find_map(|member| in_the_way(member, weighed, world)).or_else(|| as_told(weighed)).unwrap_or_else(unknown)
}

/// What it was known by when it was told may be forgotten, or gone with the cgroup.
fn as_told(weighed: &Weighed) -> Option<(Cause, String)> {
    let (told, main) = (weighed.story.told.as_ref()?, weighed.main?);
    let words = [
        (LIVE_PROCESSES, "a process was in it"),
        (CHILD_CGROUPS, "another cgroup was in it"),
        (FROZEN, "a frozen process was in it"),
        (EXITING, "those in it were about to be gone"),
    ];
    let (cause, why) = words.into_iter().find(|(cause, _)| *cause == told.cause)?;
    let is_of_it = told.actor.as_ref().is_some_and(|actor| main.is(actor));
    is_of_it.then(|| (cause, why.to_owned()))
}

/// Who was in the way of the main actor, as far as that is known of the moment of one of its calls.
fn in_the_way(member: &Member, weighed: &Weighed, world: &World) -> Option<(Cause, String)> {
    let is_its = |note: &Note| weighed.main.is_none_or(|main| main.is(&note.attempt.actor));
    let is_refused = |note: &&Note| note.place == member.place && note.attempt.errno == Errno::EBUSY && is_its(note);
    let calls: Vec<BootTime> = weighed.story.kept_calls().filter(is_refused).map(|note| note.attempt.at).collect();
    let last = calls.iter().copied().max()?;
    let live = world.cgroups.get(member.place.hierarchy, member.existing?.id);
    let emptied = live.and_then(|live| live.emptied).filter(|at| at.since(last) <= MOMENT && last.since(*at) <= RACE);
    let was_empty = emptied.map(|at| match at > last {
        true => format!("and it was empty {} later", duration::human(at.since(last))),
        false => "and it was empty by then".to_owned(),
    });
    let found = member.found.as_ref().filter(|_| world.coverage.sees_processes());
    let inside = found.map(|found| at_a_call(found, &calls)).unwrap_or_default();
    let of = |states: &[OccupantState]| -> Vec<&Occupant> {
        inside.iter().copied().filter(|occupant| states.contains(&occupant.state)).collect()
    };
    use OccupantState::{Exiting, Kernel, Killed, Live, Zombie};
    let (living, not_gone) = (of(&[Live, Kernel]), of(&[Live, Kernel, Killed]));
    if let Some(found) = found.filter(|found| found.occupants.frozen == Some(true) && !not_gone.is_empty()) {
        return Some((FROZEN, format!("{} in it, and frozen", who(&not_gone, found, weighed))));
    }
    if let Some(found) = found.filter(|_| !living.is_empty()) {
        let who = who(&living, found, weighed);
        let then = was_empty.map(|words| format!(", {words}")).unwrap_or_default();
        return Some((LIVE_PROCESSES, format!("{who} in it{then}")));
    }
    match world.cgroups.children_at(&member.place, last).as_slice() {
        [] => {}
        [one] => return Some((CHILD_CGROUPS, format!("cgroup {one} was in it"))),
        [one, _] => return Some((CHILD_CGROUPS, format!("cgroup {one} and one more were in it"))),
        [one, more @ ..] => return Some((CHILD_CGROUPS, format!("cgroup {one} and {} more were in it", more.len()))),
    }
    let here = of_this_kernel(world);
    // Everybody on the list was looked at, and none of them was to stay.
    let is_whole = |found: &&Found| !inside.is_empty() && found.occupants.count == inside.len() as u64;
    if let Some(found) = found.filter(is_whole) {
        let killed = of(&[Killed]);
        let why = match killed.is_empty() {
            true => format!("{} in it, and about to be gone{here}", who(&of(&[Exiting, Zombie]), found, weighed)),
            false => format!("{} in it, killed and not gone yet", who(&killed, found, weighed)),
        };
        return Some((EXITING, why));
    }
    if let Some(words) = was_empty {
        return Some((EXITING, format!("by whom was not seen, {words}{here}")));
    }
    // An empty list says something only where the kernel leaves out those who keep it in use.
    let hides = world.kernel.rmdir_class.is_some_and(RmdirClass::hides_the_exiting);
    let is_unlisted = |found: &&Found| found.occupants.count == 0 && call_before(found, &calls).is_some();
    let is_in_use =
        |live: &state::Live| live.is_populated == Some(true) || live.emptied.is_some_and(|emptied| emptied > last);
    found.filter(is_unlisted).filter(|_| hides && live.is_some_and(is_in_use))?;
    Some((EXITING, format!("nobody was listed in it, and those in it were about to be gone{here}")))
}

/// What this kernel does where nobody is left but who is on the way out.
fn of_this_kernel(world: &World) -> String {
    match world.kernel.rmdir_class {
        Some(class) if class.refuses_the_exiting() => format!(" (on this kernel {})", class.meaning()),
        Some(class) => format!(" (on this kernel {}: somebody still lived at the call)", class.meaning()),
        None => String::new(),
    }
}

/// Those who were found and were there when a removal was refused before: they had begun by then, and nobody came in
/// since.
fn at_a_call<'a>(found: &'a Found, calls: &[BootTime]) -> Vec<&'a Occupant> {
    let Some(call) = call_before(found, calls) else { return Vec::new() };
    found.occupants.occupants.iter().filter(|occupant| occupant.started.is_surely_before(call)).collect()
}

/// The last refusal that a look says something of: nobody came in since.
fn call_before(found: &Found, calls: &[BootTime]) -> Option<BootTime> {
    let is_known = |at: &BootTime| *at <= found.at && found.joined.is_none_or(|joined| joined <= *at);
    calls.iter().copied().filter(is_known).max()
}

/// `sleep[4711] and 2 more processes were`: the remover itself only if it is alone.
fn who(occupants: &[&Occupant], found: &Found, weighed: &Weighed) -> String {
    let remover = weighed.main.map(|main| main.actor.pid);
    let Some(first) = occupants.iter().find(|occupant| Some(occupant.pid) != remover).or(occupants.first()) else {
        return "somebody was".to_owned();
    };
    let itself = if Some(first.pid) == remover { " itself" } else { "" };
    let name = format!("{}[{}]{itself}", first.comm, first.pid);
    let is_more = found.occupants.count > found.occupants.occupants.len() as u64;
    match occupants.len() - 1 {
        0 => format!("{name} was"),
        more if is_more => format!("{name} and {more} or more other processes were"),
        1 => format!("{name} and one more process were"),
        more => format!("{name} and {more} more processes were"),
    }
}

#[cfg(test)]
mod tests;
