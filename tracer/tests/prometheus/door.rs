//! Too many at the agent's door, too slow, or gone before they are answered.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use crate::agent::Serving;
use crate::support::{Scratch, c_path, fork, mkdir, rmdir, wait_for};

const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

/// Makes and removes a hundred cgroups, and sees to it that each was counted and nothing lost.
/// They are called as Podman's are, which nothing else on a host of tests makes.
fn is_unharmed(agent: &Serving, scratch: &Scratch) {
    let created = |agent: &Serving| agent.sample("cgtrace_cgroups_created_total{runtime=\"podman\"}");
    let before = created(agent);
    let path = c_path(scratch.path.join(format!("libpod-{}.scope", "ab".repeat(32))));
    let made = fork(|| {
        for _ in 0..100 {
            if mkdir(&path) != 0 || rmdir(&path) != 0 {
                return 1;
            }
        }
        0
    });
    assert_eq!(made.wait(), 0);
    let wanted = before + 100.0;
    let counted = wait_for("the count", || Some(created(agent)).filter(|counted| *counted >= wanted));
    assert_eq!(counted, wanted, "each is counted once");
    for reason in ["ring-full", "malformed", "stall"] {
        let lost = format!("cgtrace_events_lost_total{{ring=\"lifecycle\",reason=\"{reason}\"}}");
        assert_eq!(agent.sample(&lost), 0.0, "{reason}");
    }
}

#[test]
fn whoever_hangs_up_in_the_middle_harms_nobody() {
    let scratch = Scratch::new();
    let agent = Serving::start(&[]);
    wait_for("readiness", || (agent.get("/readyz").0 == 200).then_some(()));
    let open = || std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap().count();
    let before = wait_for("a quiet door", || {
        let (one, other) = (open(), open());
        (one == other).then_some(one)
    });
    for round in 0..200 {
        let mut stream = TcpStream::connect(agent.address).unwrap();
        let part = if round % 4 == 0 { REQUEST.len() / 2 } else { REQUEST.len() };
        stream.write_all(&REQUEST[..part]).unwrap();
        if round % 4 == 1 {
            stream.read_exact(&mut [0; 10]).unwrap();
        }
        if round % 2 == 0 {
            // Closed with a reset.
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            // SAFETY: the option is laid out as it should be, and lives through the call.
            let set = unsafe {
                libc::setsockopt(
                    stream.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_LINGER,
                    (&raw const linger).cast(),
                    size_of::<libc::linger>() as libc::socklen_t,
                )
            };
            assert_eq!(set, 0);
        }
    }
    is_unharmed(&agent, &scratch);
    wait_for("every connection's end", || (open() <= before).then_some(()));
    agent.end();
}

#[test]
fn a_thousand_idle_connections_are_refused_or_closed() {
    let scratch = Scratch::new();
    let agent = Serving::start(&[]);
    let begun = Instant::now();
    let mut idle: Vec<TcpStream> = (0..1_000).map(|_| TcpStream::connect(agent.address).unwrap()).collect();
    // All but those that there is room for hear at once that there is none.
    let closed = |stream: &mut TcpStream| {
        stream.set_nonblocking(true).unwrap();
        !matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    };
    wait_for("refusals", || {
        (idle.iter_mut().filter_map(|stream| closed(stream).then_some(())).count() >= 872).then_some(())
    });
    wait_for("the rest", || idle.iter_mut().all(&closed).then_some(()));
    assert!(begun.elapsed() > Duration::from_secs(5), "those that there was room for had some time");
    assert!(agent.sample("cgtrace_http_refused_total") >= 872.0);
    is_unharmed(&agent, &scratch);
    agent.end();
}

#[test]
fn half_sent_requests_keep_nobody_out() {
    let scratch = Scratch::new();
    let agent = Serving::start(&[]);
    wait_for("readiness", || (agent.get("/readyz").0 == 200).then_some(()));
    let address = agent.address;
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Five hundred at once, each begun anew as soon as it is closed.
        for _ in 0..2 {
            scope.spawn(|| {
                let begin = || {
                    let mut stream = TcpStream::connect(address).ok()?;
                    stream.write_all(&REQUEST[..REQUEST.len() / 2]).ok()?;
                    stream.set_nonblocking(true).ok()?;
                    Some(stream)
                };
                let mut held: Vec<Option<TcpStream>> = (0..250).map(|_| begin()).collect();
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    for stream in &mut held {
                        let is_open = |stream: &mut TcpStream| {
                            matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
                        };
                        if !stream.as_mut().is_some_and(is_open) {
                            *stream = begin();
                        }
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let answered = (0..60).filter(|_| agent.raw(b"GET /healthz HTTP/1.0\r\n\r\n").starts_with(b"HTTP/1.0 200 OK"));
        let answered = answered.count();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(answered, 60, "health is told to whoever asks");
    });
    is_unharmed(&agent, &scratch);
    agent.end();
}

#[test]
fn findings_are_told_only_to_those_who_ask_by_a_known_name() {
    let agent = Serving::start(&["--allow-host", "node1.example"]);
    wait_for("readiness", || (agent.get("/readyz").0 == 200).then_some(()));
    for host in ["localhost", "127.0.0.1:9464", "[::1]", "node1.example:9464"] {
        assert_eq!((agent.get_by(host, "/findings").0, agent.get_by(host, "/").0), (200, 200), "{host}");
    }
    for host in ["evil.example", "evil.example:9464", "127.0.0.1.evil.example"] {
        let (status, text) = agent.get_by(host, "/findings");
        assert_eq!((status, agent.get_by(host, "/").0), (403, 403), "{host}");
        assert!(text.contains("--allow-host"), "{text}");
        // They hold nothing of a container's, and Prometheus asks by any name.
        assert_eq!((agent.get_by(host, "/metrics").0, agent.get_by(host, "/healthz").0), (200, 200), "{host}");
    }
    agent.end();
}

#[test]
fn who_asks_or_listens_a_byte_a_second_is_not_waited_for() {
    let scratch = Scratch::new();
    let agent = Serving::start(&[]);
    let address = agent.address;
    let asking = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let begun = Instant::now();
        for byte in REQUEST.iter().cycle() {
            // A line that never ends is one that is never whole.
            let byte = if byte.is_ascii_alphanumeric() { *byte } else { b'x' };
            if stream.write_all(&[byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_secs(1));
            assert!(begun.elapsed() < Duration::from_secs(40), "a byte a second is still waited for");
        }
    });
    let listening = std::thread::spawn(move || {
        // As little room as can be had, so that the agent has to wait.
        let stream = small_window(address);
        let mut stream = stream;
        // Many answers at once are more than fits in between.
        let _ = stream.write_all(&REQUEST.repeat(200));
        let begun = Instant::now();
        let mut byte = [0];
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let hung_up = stream.write_all(REQUEST).is_err() || stream.read(&mut byte).is_err();
            if hung_up {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(90), "a byte a second is still waited for");
        }
        let _ = stream.shutdown(Shutdown::Both);
    });
    is_unharmed(&agent, &scratch);
    asking.join().unwrap();
    is_unharmed(&agent, &scratch);
    listening.join().unwrap();
    is_unharmed(&agent, &scratch);
    assert!(agent.sample("cgtrace_http_refused_total") >= 2.0, "both are counted");
    agent.end();
}

/// A connection that takes in little at a time.
fn small_window(address: std::net::SocketAddr) -> TcpStream {
    use std::os::fd::FromRawFd;
    let std::net::SocketAddr::V4(v4) = address else { panic!("an IPv4 address") };
    let least: libc::c_int = 1;
    let to = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: v4.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: the descriptor is ours alone; option and address are laid out as they should be, and live through the
    // calls.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0);
        let size = size_of::<libc::c_int>() as libc::socklen_t;
        assert_eq!(libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, (&raw const least).cast(), size), 0);
        let size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        assert_eq!(libc::connect(fd, (&raw const to).cast(), size), 0);
        TcpStream::from_raw_fd(fd)
    }
}

/// One scrape over a connection that is kept open. Returns how many samples it has.
fn scrape(connection: &mut BufReader<TcpStream>) -> usize {
    connection.get_mut().write_all(REQUEST).unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(connection.read_line(&mut head).unwrap() > 0, "it hung up: {head}");
    }
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    connection.read_exact(&mut body).unwrap();
    let text = String::from_utf8(body).unwrap();
    let last = text.strip_suffix('\n').and_then(|text| text.lines().last());
    assert!(last.is_some_and(|last| last.starts_with("process_threads ")), "{text}");
    text.lines().filter(|line| !line.starts_with('#')).count()
}

#[test]
fn five_hundred_scrapes_a_second_are_each_whole_and_cost_no_event() {
    const THREADS: u32 = 4;
    const TIME: Duration = Duration::from_secs(10);
    let every = Duration::from_secs(1) * THREADS / 500;
    let scratch = Scratch::new();
    let agent = Serving::start(&[]);
    wait_for("readiness", || (agent.get("/readyz").0 == 200).then_some(()));
    let address = agent.address;
    let begun = Instant::now();
    let scraping: Vec<_> = (0..THREADS)
        .map(|number| {
            std::thread::spawn(move || {
                let mut connection = BufReader::new(TcpStream::connect(address).unwrap());
                let mut due = begun + every * number / THREADS;
                let (mut took, mut samples) = (Vec::new(), BTreeSet::new());
                // One that cannot keep up does not go on for longer.
                while due < begun + TIME && begun.elapsed() < TIME {
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    samples.insert(scrape(&mut connection));
                    took.push(due.elapsed());
                    due += every;
                }
                (took, samples)
            })
        })
        .collect();
    while !scraping.iter().all(std::thread::JoinHandle::is_finished) {
        is_unharmed(&agent, &scratch);
    }
    let (mut took, mut samples) = (Vec::new(), BTreeSet::new());
    for thread in scraping {
        let (times, counts) = thread.join().unwrap();
        took.extend(times);
        samples.extend(counts);
    }
    assert_eq!(samples.len(), 1, "every answer has the same series: {samples:?}");
    took.sort();
    let at = |share: usize| took[(took.len() - 1) * share / 100];
    println!("{} scrapes in {TIME:?}: p50 {:?}, p99 {:?}, most {:?}", took.len(), at(50), at(99), at(100));
    assert!(took.len() > 100, "{}", took.len());
    agent.end();
}
