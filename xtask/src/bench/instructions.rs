//! What tracing adds to a call with each backend: in a guest, where trampolines work.
//!
//! Time says nothing in an emulated machine. But its clock can be made to count: one nanosecond for each instruction.
//! So what the other part measures as time is a number of instructions, and the machine below it changes nothing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use super::calls::Call;
use super::page::table;
use super::spread::digits;
use super::tracers::{Running, Tracer};
use super::{Bench, Place};
use crate::kernels;

/// Who is compared.
const TRACERS: [Tracer; 4] = [Tracer::Nobody, Tracer::Empty, Tracer::Tracepoint, Tracer::Trampolines];

/// Measures all calls with each of them, and prints a line each.
pub fn measure(program: &Path, cgroup: &Path) -> anyhow::Result<()> {
    let place = Place::new()?;
    for tracer in TRACERS {
        let running = Running::start(tracer, program, &place.0.join("live"))?;
        let mut calls = Command::new(super::own()?);
        let said = crate::output(calls.args(["bench", "--measure", "calls", "--cgroup"]).arg(cgroup));
        println!("{}", said.with_context(|| format!("calls failed under {}", tracer.name()))?.replace('\n', " "));
        running.stop()?;
        place.empty()?;
    }
    Ok(())
}

/// Has a guest do that. Returns what the page says of it.
pub fn run(_: &Bench) -> anyhow::Result<String> {
    let (release, counted) = kernels::count_instructions(&super::own()?)?;
    Ok(format!(
        "### Instructions\n\nIn an emulated guest with Linux {release}, where trampolines work. Each figure\n\
         is a number of instructions, not a time. The empty programs are on the tracepoint.\n\n{}",
        section(&counted)?
    ))
}

fn section(counted: &str) -> anyhow::Result<String> {
    let lines: Vec<Vec<f64>> = counted
        .lines()
        .map(|line| line.split(' ').map(|number| number.parse().context("a number of instructions")).collect())
        .collect::<anyhow::Result<_>>()?;
    if lines.len() != TRACERS.len() || lines.iter().any(|line| line.len() != Call::ALL.len()) {
        bail!("the guest counted something else: {counted}");
    }
    let rows: Vec<Vec<String>> = Call::ALL
        .into_iter()
        .enumerate()
        .map(|(at, call)| {
            let of = |tracer: usize| lines[tracer][at];
            let adds = |tracer: usize| of(tracer) - of(0);
            let figures = [of(0), adds(1), adds(2), adds(3)].map(digits);
            std::iter::once(call.name().to_owned()).chain(figures).collect()
        })
        .collect();
    let head = ["call", "nothing", "empty programs add", "cgtrace, tracepoint, adds", "cgtrace, trampolines, adds"];
    Ok(table(&head, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_counted_is_told_as_what_each_adds() {
        let line = |number: u32| vec![number.to_string(); Call::ALL.len()].join(" ");
        let counted = [100, 110, 120, 130].map(line).join("\n");
        let told = section(&counted).expect("as many as there are calls");
        assert!(told.contains("| getppid | 100 | 10.0 | 20.0 | 30.0 |"), "{told}");
        assert!(section("1 2\n").is_err() && section("").is_err());
    }
}
