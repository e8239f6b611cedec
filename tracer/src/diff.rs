//! Two traces of the same job, compared: where they part, and what follows from it.
//!
//! Nothing has the same number, id or time twice. So what is compared has [roles](role): a container or a cgroup by its
//! place, a process by its program and what it was asked. [`Side`] gathers what each process did, one trace at a time;
//! [`Comparison`] pairs what plays the same role, and looks for the first operation in which a pair differs.
//!
//! Equal runs differ in what the scheduler decides. Therefore it is not compared how often a process does the same
//! thing, what it fails at and then succeeds in, in which order *different* processes act, and which of several
//! processes of one role comes first.

mod compare;
mod ending;
mod pairs;
mod role;
mod side;
pub mod text;

pub use compare::{Comparison, Difference, Done};
pub use side::Side;

#[cfg(test)]
mod tests;
