//! What each thread has given up, tried.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use cgtrace::input::Pid;
use cgtrace::process::Credentials;
use cgtrace::rights::Rights;
use cgtrace::root::Root;
use cgtrace::sandbox::{Role, confine};

use crate::agent::Serving;

/// Runs something in a thread that has taken on a role.
fn within<T: Send + 'static>(role: Role, act: impl FnOnce() -> T + Send + 'static) -> T {
    let confined = move || {
        let said = confine(&role).unwrap();
        assert!(said.starts_with("confined: ") && !said.contains("no Landlock here"), "{said}");
        act()
    };
    std::thread::spawn(confined).join().unwrap()
}

fn refused<T>(what: &str, done: io::Result<T>) {
    let error = done.err().unwrap_or_else(|| panic!("{what} was not refused"));
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{what}: {error}");
}

/// A system call by its number: 0, or its error.
fn call(number: i64, arguments: [usize; 4]) -> io::Result<()> {
    let [a, b, c, d] = arguments;
    // SAFETY: what is tried here takes no memory, or fails before it looks at it.
    match unsafe { libc::syscall(number, a, b, c, d) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// What nobody may do.
fn is_harmless() {
    refused("running a program", Command::new("/bin/true").spawn().map(drop));
    refused("a new namespace", call(libc::SYS_unshare, [libc::CLONE_NEWNS as usize, 0, 0, 0]));
    refused("mounting", call(libc::SYS_mount, [0, 0, 0, 0]));
    refused("signalling another process", call(libc::SYS_kill, [1, 0, 0, 0]));
    refused("tracing another process", call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as usize, 1, 0, 0]));
    refused("another user", call(libc::SYS_setuid, [0, 0, 0, 0]));
    refused("loading a program", call(libc::SYS_bpf, [5, 0, 0, 0]));
    refused("making a map", call(libc::SYS_bpf, [0, 0, 0, 0]));
    refused("a socket", TcpStream::connect("127.0.0.1:9").map(drop));
    refused("a socket to listen on", TcpListener::bind("127.0.0.1:0").map(drop));
    refused("a UNIX socket", std::os::unix::net::UnixDatagram::unbound().map(drop));
    let executable = libc::PROT_READ | libc::PROT_EXEC;
    refused("memory that can be run", call(libc::SYS_mprotect, [0, 4_096, executable as usize, 0]));
}

#[test]
fn the_thread_that_traces_reads_and_does_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let process = PathBuf::from(format!("/proc/{}", other.id()));
    within(Role::Trace { bpf: false }, move || {
        // What it is there for.
        fs::read_link(process.join("ns/mnt")).unwrap();
        fs::read_link(process.join("exe")).unwrap();
        assert!(fs::read(process.join("mountinfo")).is_ok() && fs::read_dir("/sys/fs/cgroup").is_ok());
        assert!(fs::read(process.join("root/etc/passwd")).is_ok());
        assert_eq!(std::thread::spawn(|| 1).join().unwrap(), 1);
        for (what, command) in [("look-up", 1), ("update", 2), ("next key", 4), ("information", 15)] {
            // There is no map to do it with.
            let error = call(libc::SYS_bpf, [command, 0, 0, 0]).unwrap_err();
            assert_ne!(error.kind(), io::ErrorKind::PermissionDenied, "{what}: {error}");
        }
        // And what it is not.
        refused("writing to a file", fs::OpenOptions::new().write(true).open(&file).map(drop));
        refused("making a file", fs::write(file.with_file_name("new"), "x"));
        refused("removing a file", fs::remove_file(&file));
        refused("making a cgroup", fs::create_dir("/sys/fs/cgroup/x"));
        refused("renaming a file", fs::rename(&file, file.with_file_name("other")));
        is_harmless();
    });
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn a_reader_reads_with_the_rights_of_whom_it_is_asked_about_and_does_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let [secret, open] = ["secret", "open"].map(|name| directory.path().join(name));
    fs::write(&secret, "x").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&open, "x").unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = Pid(other.id());
    // A program has its arguments a moment after it is begun.
    crate::support::wait_for("its command line", || cgtrace::process::command_line(pid));
    within(Role::Read, move || {
        let user = Rights::of_user(Credentials { uid: 65_534, gid: 65_534, groups: vec![] });
        let (of_user, of_root) = (Root::of(pid, user).unwrap(), Root::of(pid, Rights::Own).unwrap());
        assert_eq!((of_user.read(&open), of_user.read(&secret)), (Some(b"x".to_vec()), None));
        assert_eq!(of_root.read(&secret), Some(b"x".to_vec()));
        assert!(cgtrace::process::command_line(pid).is_some());
        refused("becoming another user", call(libc::SYS_setresuid, [65_534, 65_534, 65_534, 0]));
        refused("a process", call(libc::SYS_fork, [0; 4]));
        refused("signalling its own group", call(libc::SYS_kill, [0, 0, 0, 0]));
        refused("writing to a file", fs::OpenOptions::new().write(true).open(&open).map(drop));
        refused("removing a file", fs::remove_file(&open));
        refused("opening by a handle", call(libc::SYS_open_by_handle_at, [0; 4]));
        is_harmless();
    });
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn landlock_would_hide_what_the_thread_that_traces_is_there_to_read() {
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let link = PathBuf::from(format!("/proc/{}/ns/mnt", other.id()));
    fs::read_link(&link).unwrap();
    // A domain that allows everything but to make devices.
    let domain = move || {
        use landlock::{AccessFs, Ruleset, RulesetAttr};
        let ruleset = Ruleset::default().handle_access(AccessFs::MakeChar).unwrap().create().unwrap();
        ruleset.restrict_self().unwrap();
        refused("another process's namespace", fs::read_link(&link).map(drop));
    };
    std::thread::spawn(domain).join().unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn the_thread_that_records_writes_to_one_directory_only() {
    let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (own, other): (PathBuf, PathBuf) = (own.path().into(), other.path().into());
    let kept = (own.clone(), other.clone());
    let _directories = (fs::create_dir_all(&own), fs::create_dir_all(&other));
    fs::write(other.join("file"), "x").unwrap();
    within(Role::Record(own), move || {
        let (own, other) = kept;
        fs::write(own.join("new"), "x").unwrap();
        fs::remove_file(own.join("new")).unwrap();
        refused("another directory", fs::write(other.join("new"), "x"));
        refused("writing to another file", fs::OpenOptions::new().write(true).open(other.join("file")).map(drop));
        refused("reading another file", fs::read(other.join("file")));
        refused("reading of a process", fs::read("/proc/1/mountinfo"));
        refused("removing another file", fs::remove_file(other.join("file")));
        refused("a way out by a link", fs::write(own.join("..").join(other.file_name().unwrap()).join("x"), "x"));
        is_harmless();
    });
}

#[test]
fn the_threads_that_serve_and_remember_open_nothing() {
    for role in [Role::Serve, Role::Remember] {
        within(role, || {
            refused("reading a file", fs::read("/etc/passwd"));
            refused("reading of a process", fs::read("/proc/self/status"));
            refused("making a file", fs::write("/tmp/x", "x"));
            refused("looking at a file", fs::metadata("/etc/passwd"));
            is_harmless();
        });
    }
}

#[test]
fn the_thread_that_sends_findings_connects_to_one_port_and_reads_what_anybody_may() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, other) = (listener.local_addr().unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let elsewhere = other.local_addr().unwrap();
    within(Role::Push { port: address.port() }, move || {
        TcpStream::connect(address).unwrap();
        fs::read("/etc/hosts").unwrap();
        refused("another port", TcpStream::connect(elsewhere).map(drop));
        refused("a secret", fs::read("/etc/shadow"));
        refused("a file elsewhere", fs::read("/usr/bin/env"));
        refused("reading of a process", fs::read("/proc/self/status"));
        refused("writing to a file", fs::OpenOptions::new().write(true).open("/etc/hosts").map(drop));
        refused("listening", TcpListener::bind("127.0.0.1:0").map(drop));
        refused("a UNIX socket", std::os::unix::net::UnixDatagram::unbound().map(drop));
        refused("running a program", Command::new("/bin/true").spawn().map(drop));
        refused("a process", call(libc::SYS_fork, [0; 4]));
        refused("becoming another user", call(libc::SYS_setfsuid, [0; 4]));
    });
}

#[test]
fn every_thread_of_a_running_agent_has_given_up_what_it_said() {
    let directory = tempfile::tempdir().unwrap();
    let otlp = "http://127.0.0.1:9";
    let agent = Serving::start(&["--record", directory.path().to_str().unwrap(), "--otlp", otlp]);
    let mut seen = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
            line.trim_start_matches(':').trim().to_owned()
        };
        // CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE.
        let kept = if field("Name") == "cgtrace" { "0000000000080004" } else { "0000000000000000" };
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(field(set), kept, "{set} of {}", field("Name"));
        }
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(field(set), "0000000000000000", "{set} of {}", field("Name"));
        }
        // SIGHUP, SIGINT and SIGTERM are for the thread that they wake up.
        let blocked = if field("Name") == "cgtrace" { "0000000000000000" } else { "0000000000004003" };
        assert_eq!(field("SigBlk"), blocked, "{}", field("Name"));
        assert_eq!((field("NoNewPrivs").as_str(), field("Seccomp").as_str()), ("1", "2"), "{}", field("Name"));
        seen.push(field("Name"));
    }
    seen.sort();
    assert_eq!(seen, ["cgtrace", "history", "otlp", "record", "serve"]);
    agent.end();
}

#[test]
fn the_readers_of_a_running_agent_are_confined_and_end_with_it() {
    let agent = Serving::start(&[]);
    let named = |name: &str, parent: u32| -> Vec<(u32, String)> {
        let processes =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        let status = |pid: u32| Some((pid, fs::read_to_string(format!("/proc/{pid}/status")).ok()?));
        let is = |status: &str| {
            status.contains(&format!("Name:\t{name}\n")) && status.contains(&format!("\nPPid:\t{parent}\n"))
        };
        processes.filter_map(status).filter(|(_, status)| is(status)).collect()
    };
    let keepers = named("cgtrace-keeper", agent.pid());
    assert_eq!(keepers.len(), 1);
    let readers = crate::support::wait_for("the readers", || {
        let readers = named("cgtrace-reader", keepers[0].0);
        (readers.len() == 2 && readers.iter().all(|(_, status)| status.contains("Seccomp:\t2"))).then_some(readers)
    });
    let all: Vec<(u32, String)> = keepers.into_iter().chain(readers).collect();
    for (_, status) in &all {
        // CAP_DAC_READ_SEARCH, CAP_SETGID, CAP_SETUID and CAP_SYS_PTRACE.
        for line in
            ["CapEff:\t00000000000800c4", "CapBnd:\t00000000000800c4", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1"]
        {
            assert!(status.contains(line), "{line}: {status}");
        }
    }
    crate::support::signal(agent.pid(), libc::SIGKILL);
    drop(agent);
    crate::support::wait_for("their end", || {
        all.iter().all(|(pid, _)| !PathBuf::from(format!("/proc/{pid}/root/etc")).exists()).then_some(())
    });
}

#[test]
fn six_capabilities_are_enough_to_start() {
    let script = format!(
        "exec setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs \
         --inh-caps=-all,+bpf,+perfmon,+dac_read_search,+sys_ptrace,+setuid,+setgid \
         --ambient-caps=-all,+bpf,+perfmon,+dac_read_search,+sys_ptrace,+setuid,+setgid {} serve --listen 127.0.0.1:0",
        crate::support::CGTRACE
    );
    let agent = Serving::from_script(&script);
    assert_eq!(agent.get("/healthz").0, 200);
    crate::support::wait_for("readiness", || (agent.get("/readyz").0 == 200).then_some(()));
    crate::agent::demo("duplicate");
    agent.wait_for_finding("duplicate-teardown");
    assert!(agent.said().contains("unchanged: CAP_SETPCAP is missing"), "{}", agent.said());
    agent.end();
}
