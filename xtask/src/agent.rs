//! The agent, started to be measured, and cgroups that come and go beside it.

use std::ffi::CString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::bench::{c_string, so_far};

/// Different names of cgroups, one after the other.
const NAMES: usize = 1_000;

/// What share of one processor a child takes meanwhile.
pub fn cpu_share(child: &Child, meanwhile: impl FnOnce()) -> anyhow::Result<f64> {
    let (before, begun) = (so_far(child)?, Instant::now());
    meanwhile();
    Ok((so_far(child)? - before).as_secs_f64() / begun.elapsed().as_secs_f64())
}

/// Bytes that a process has resident.
pub fn resident(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process has memory")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("memory is told in kB")?;
    Ok(kib << 10)
}

/// Cgroups made and removed as fast as can be.
pub struct Churn {
    stop: Arc<AtomicBool>,
    pairs: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<std::io::Result<()>>,
}

impl Churn {
    /// Starts it.
    pub fn start(scratch: &Path) -> anyhow::Result<Self> {
        let names = (0..NAMES)
            .map(|number| c_string(scratch.join(format!("soak-{number}"))))
            .collect::<Result<Vec<CString>, _>>()?;
        let (stop, pairs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (stop.clone(), pairs.clone());
        let thread = std::thread::spawn(move || {
            for name in names.iter().cycle() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                // SAFETY: the name ends in a zero.
                if unsafe { libc::mkdir(name.as_ptr(), 0o755) != 0 || libc::rmdir(name.as_ptr()) != 0 } {
                    return Err(std::io::Error::last_os_error());
                }
                counted.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        Ok(Self { stop, pairs, thread })
    }

    /// Ends it.
    pub fn stop(self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(done) => done.context("failed to make a cgroup")?,
            Err(_) => bail!("the churn has died"),
        }
        Ok(self.pairs.load(Ordering::Relaxed))
    }
}

/// An agent that serves on a port of its own.
pub struct Agent {
    pub child: Child,
    pub address: SocketAddr,
}

/// Samples by name and labels.
pub type Samples = Vec<(String, f64)>;

pub fn sum(samples: &Samples, name: &str) -> f64 {
    samples.iter().filter(|(sample, _)| sample.starts_with(name)).map(|(_, value)| value).sum()
}

impl Agent {
    /// Starts it, with more arguments.
    pub fn start(program: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .context("failed to run cgtrace")?;
        let mut stderr = BufReader::new(child.stderr.take().context("it has a pipe")?);
        let mut said = String::new();
        while !said.contains("the thread that traces") {
            if stderr.read_line(&mut said).context("failed to hear from the agent")? == 0 {
                bail!("the agent has ended: {said}");
            }
        }
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        let address = said.lines().find_map(|line| line.strip_prefix("serving: http://"));
        let address = address.and_then(|addresses| addresses.split(',').next()).context("it says where it serves")?;
        let address = address.parse().context("an address")?;
        Ok(Self { child, address })
    }

    /// What it answers.
    pub fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.address).context("failed to connect to the agent")?;
        // In this version an answer comes in one piece.
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text).with_context(|| format!("failed to read {path}"))?;
        let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("{path} has no answer"))?;
        if head.split_whitespace().nth(1) != Some("200") {
            bail!("{path}: {head}");
        }
        Ok(body.to_owned())
    }

    pub fn metrics(&self) -> anyhow::Result<Samples> {
        let text = self.get("/metrics")?;
        let samples = text.lines().filter(|line| line.starts_with("cgtrace_"));
        Ok(samples
            .filter_map(|line| {
                line.rsplit_once(' ').and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            })
            .collect())
    }

    /// When all that was made is counted, or a while has passed.
    pub fn settled_metrics(&self, before: &Samples, pairs: u64) -> anyhow::Result<Samples> {
        let begun = Instant::now();
        loop {
            let now = self.metrics()?;
            let removed = sum(&now, "cgtrace_cgroups_removed_total") - sum(before, "cgtrace_cgroups_removed_total");
            if removed >= pairs as f64 || begun.elapsed() > Duration::from_secs(10) {
                return Ok(now);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Ends it.
    pub fn stop(mut self) -> anyhow::Result<()> {
        // SAFETY: a call without memory.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        let status = self.child.wait().context("failed to wait for the agent")?;
        if !status.success() {
            bail!("the agent ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Agent {
    /// Where the soak has failed, it is not left behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
