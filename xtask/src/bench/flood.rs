//! A user without rights whose calls fail as fast as can be, beside a churn.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::page::table;
use super::spread::digits;
use super::{Bench, c_string};
use crate::agent::{Agent, Churn, cpu_share, sum};
use crate::step;

/// How long it lasts.
const FLOOD: Duration = Duration::from_secs(10);
/// `nobody`.
const NOBODY: u32 = 65_534;

/// Fails to open what is not there, without rights, and prints how often.
pub fn make(cgroup: &Path) -> anyhow::Result<()> {
    // SAFETY: calls without memory.
    if unsafe { libc::setgid(NOBODY) != 0 || libc::setuid(NOBODY) != 0 } {
        bail!("failed to become nobody: {}", std::io::Error::last_os_error());
    }
    let missing = c_string(cgroup.join("no-such/cgroup.procs"))?;
    let (begun, mut calls) = (Instant::now(), 0u64);
    while begun.elapsed() < FLOOD {
        for _ in 0..64 {
            // SAFETY: the path ends in a zero.
            if unsafe { libc::open(missing.as_ptr(), libc::O_RDONLY) } >= 0 {
                bail!("it is there");
            }
            calls += 1;
        }
    }
    println!("{calls}");
    Ok(())
}

/// Measures the flood. Returns what the page says of it.
pub fn run(bench: &Bench) -> anyhow::Result<String> {
    step("flood");
    let agent = Agent::start(&bench.program, &[])?;
    let alone = agent.metrics()?;
    let churn = Churn::start(&bench.scratch.0)?;
    let busy = cpu_share(&agent.child, || std::thread::sleep(FLOOD))?;
    let first = churn.stop()?;
    agent.settled_metrics(&alone, first)?;

    let before = agent.metrics()?;
    let churn = Churn::start(&bench.scratch.0)?;
    let mut flood = Command::new(super::own()?);
    flood.args(["bench", "--measure", "flood", "--cgroup"]).arg(&bench.scratch.0);
    let flood = flood.stdout(Stdio::piped()).spawn().context("failed to start the flood")?;
    let mut said = None;
    let flooded = cpu_share(&agent.child, || said = Some(flood.wait_with_output()))?;
    let said = said.context("it was waited for")?.context("failed to wait for the flood")?;
    let made: f64 = String::from_utf8_lossy(&said.stdout).trim().parse().context("the flood failed")?;
    let pairs = churn.stop()?;
    agent.settled_metrics(&before, pairs)?;
    // What was suppressed is counted within a second.
    std::thread::sleep(Duration::from_secs(2));
    let after = agent.metrics()?;
    let grown = |name: &str| sum(&after, name) - sum(&before, name);
    let received = grown("cgtrace_events_received_total{ring=\"attempts\"");
    let suppressed = grown("cgtrace_events_lost_total{ring=\"attempts\",reason=\"rate-limited\"");
    let elsewhere = grown("cgtrace_events_lost_total{ring=\"attempts\"") - suppressed;
    let lifecycle = grown("cgtrace_events_lost_total{ring=\"lifecycle\"");
    agent.stop()?;
    let rows = [
        ("failed calls made", made),
        ("received and suppressed, others' calls included", received + suppressed),
        ("of them received", received),
        ("lost in another way", elsewhere),
        ("lifecycle events lost", lifecycle),
        ("pairs of mkdir and rmdir meanwhile", pairs as f64),
        ("agent, % of a processor", flooded * 100.0),
        ("agent with the churn alone, % of a processor", busy * 100.0),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), digits(value)]).collect();
    Ok(format!(
        "### Flood\n\nA user without rights fails to open what is not there for ten seconds, beside a churn. Aims: no \
         lifecycle event is\nlost, received and suppressed are as many as were made, the agent takes 10 % of a \
         processor or less.\n\n{}",
        table(&["", ""], &rows)
    ))
}
