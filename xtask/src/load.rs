//! A load of requests at a steady rate, and how long their answers took.
//!
//! Requests are due at fixed times, and an answer's time counts from when its request was due: a server that stalls
//! makes all that were due meanwhile late, and none of them is left out.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// How long answers took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latencies {
    /// Requests that were answered with status 200 and all of the body.
    pub count: usize,
    /// Requests that were not.
    pub errors: usize,
    /// Half of the answers took no longer.
    pub p50: Duration,
    /// All but one in a hundred took no longer.
    pub p99: Duration,
    /// None took longer.
    pub max: Duration,
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, max] = [self.p50, self.p99, self.max].map(|time| time.as_secs_f64() * 1e3);
        write!(f, "p50 {p50:.2} ms, p99 {p99:.2} ms, most {max:.2} ms, of {} scrapes", self.count)
    }
}

/// Asks for `path` so often a second for so long, over as many connections as there are threads.
pub fn run(
    address: SocketAddr,
    path: &str,
    per_second: u32,
    time: Duration,
    threads: u32,
) -> anyhow::Result<Latencies> {
    let begun = Instant::now();
    let every = Duration::from_secs(1) * threads / per_second;
    let mut took = Vec::new();
    let mut errors = 0;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|number| {
                // They take turns.
                let first = begun + every * number / threads;
                scope.spawn(move || ask(address, path, first, every, begun + time))
            })
            .collect();
        for worker in workers {
            match worker.join() {
                Ok((answers, failures)) => {
                    took.extend(answers);
                    errors += failures;
                }
                Err(_) => errors += 1,
            }
        }
    });
    if took.is_empty() {
        bail!("no request was answered, {errors} failed");
    }
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    Ok(Latencies { count: took.len(), errors, p50: at(0.5), p99: at(0.99), max: at(1.0) })
}

/// One connection's requests. Returns how long the answers took, and how many failed.
fn ask(address: SocketAddr, path: &str, first: Instant, every: Duration, until: Instant) -> (Vec<Duration>, usize) {
    let (mut took, mut errors, mut due) = (Vec::new(), 0, first);
    let mut connection = None;
    while due < until {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        match once(&mut connection, address, path) {
            Ok(()) => took.push(due.elapsed()),
            Err(_) => {
                errors += 1;
                connection = None;
            }
        }
        due += every;
    }
    (took, errors)
}

fn once(connection: &mut Option<BufReader<TcpStream>>, address: SocketAddr, path: &str) -> anyhow::Result<()> {
    if connection.is_none() {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        *connection = Some(BufReader::new(stream));
    }
    let reader = connection.as_mut().context("it was just made")?;
    reader.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nHost: load\r\n\r\n").as_bytes())?;
    let mut line = String::new();
    let (mut status, mut length) = (String::new(), None);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            bail!("the server hung up");
        }
        match line.trim_end() {
            "" => break,
            head if status.is_empty() => head.clone_into(&mut status),
            field => {
                if let Some((_, value)) =
                    field.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                {
                    length = value.trim().parse().ok();
                }
            }
        }
    }
    let mut body = vec![0; length.context("the answer has no length")?];
    reader.read_exact(&mut body)?;
    if !status.starts_with("HTTP/1.1 200 ") {
        bail!("{status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_makes_all_that_were_due_late() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = server.local_addr().expect("an address");
        std::thread::spawn(move || {
            let (mut stream, _) = server.accept().expect("a connection");
            let mut reader = BufReader::new(stream.try_clone().expect("a copy"));
            for number in 0.. {
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
                    line.clear();
                }
                // One in the middle is slow.
                std::thread::sleep(Duration::from_millis(if number == 10 { 300 } else { 0 }));
                let answered = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                if answered.is_err() {
                    return;
                }
            }
        });
        let latencies = run(address, "/", 100, Duration::from_secs(1), 1).expect("answers");
        assert_eq!((latencies.count, latencies.errors), (100, 0));
        assert!(
            latencies.max >= Duration::from_millis(300) && latencies.p50 < Duration::from_millis(100),
            "{latencies:?}"
        );
        assert!(latencies.p99 > Duration::from_millis(200), "thirty were due while one was slow: {latencies:?}");
    }
}
