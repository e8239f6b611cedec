//! What is true, and what happened, as far as is known: cgroups, processes, failed calls, stories. Each has a cap, an
//! age and a share of memory, and counts what has to go.
//!
//! It says nothing of what that means: that is for [`crate::rules`], which ask it, and for [`crate::tracker`], which
//! feeds it.

mod cgroups;
mod coverage;
mod in_flight;
mod kernel;
mod makers;
mod notes;
mod place;
mod placings;
mod processes;
mod renamings;
mod settings;
mod stories;
mod story;

pub(crate) use cgroups::{Cgroups, Dying, Followed, Key, Live};
pub(crate) use coverage::Coverage;
pub(crate) use in_flight::{Call as InFlightCall, InFlight};
pub(crate) use kernel::Kernel;
pub(crate) use makers::{Made, Makers, Refusal, StateSeen};
pub(crate) use notes::{Note, Notes};
pub(crate) use place::{Creation, Existing, Place, Removal};
pub(crate) use placings::Placings;
pub(crate) use processes::{Known, Processes};
pub(crate) use renamings::Renaming;
pub(crate) use settings::{Set, Settings};
pub(crate) use stories::{Deadline, Due, STORY_AGE, Stories, TOGETHER};
pub(crate) use story::{
    Caller, Case, Course, End, FIRST_CALLS, Found, Member, Moment, MovedOut, Overwritten, Participant, RemovedUnused,
    SETTLES, Story, Told, Undone,
};
