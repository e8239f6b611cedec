//! Too many at the agent's door, too slow, or gone before they are answered.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use crate::agent::Serving;
use crate::support::{Scratch, c_path, fork, mkdir, rmdir, wait_for};

const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

/// Makes and removes a hundred cgroups, and sees to it that each was counted and nothing lost.
fn is_unharmed(agent: &Serving, scratch: &Scratch) {
    let created = |agent: &Serving| agent.sample("cgtrace_cgroups_created_total{runtime=\"docker\"}");
    let before = created(agent);
    let path = c_path(scratch.path.join(format!("docker-{}.scope", "ab".repeat(32))));
    let made = fork(|| {
        for _ in 0..100 {
            if mkdir(&path) != 0 || rmdir(&path) != 0 {
                return 1;
            }
        }
        0
    });
    assert_eq!(made.wait(), 0);
    wait_for("the count", || (created(agent) == before + 100.0).then_some(()));
    assert_eq!(agent.sample("cgtrace_events_lost_total{ring=\"lifecycle\",reason=\"ring-full\"}"), 0.0);
}

#[test]
fn whoever_hangs_up_in_the_middle_harms_nobody() {
    let scratch = Scratch::new();
    let agent = Serving::start(&[]);
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
        !matches!(stream.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
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
    // SAFETY: the descriptor is ours alone; option and address are laid out as they should be, and live through the calls.
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

#[test]
fn scrapes_by_the_hundred_are_all_whole_and_cost_no_event() {
    let scratch = Scratch::new();
    let agent = Serving::start(&[]);
    let address = agent.address;
    let scraping: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                let begun = Instant::now();
                let mut scrapes = 0;
                while begun.elapsed() < Duration::from_secs(5) {
                    let mut stream = TcpStream::connect(address).unwrap();
                    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
                    let mut text = String::new();
                    stream.read_to_string(&mut text).unwrap();
                    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("process_threads "), "{text}");
                    scrapes += 1;
                }
                scrapes
            })
        })
        .collect();
    while !scraping.iter().all(std::thread::JoinHandle::is_finished) {
        is_unharmed(&agent, &scratch);
    }
    let scrapes: u32 = scraping.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(scrapes > 100, "{scrapes}");
    agent.end();
}
