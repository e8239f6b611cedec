//! Files as weapons: what a stranger names as a container's bundle, as a runtime's state, as a working or a root
//! directory.

use std::ffi::CString;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::agent::Serving;
use crate::fuse::{self, Fuse};
use crate::memory::{Layout, fail_for_ever, memory};
use crate::stranger::{OwnNamespaces, Runc, Strangers, mount, open_directory, pause, root_only};
use crate::support::{Forked, Scratch, c_path, errno, fork, rmdir, signal, wait_for};
use crate::watched::{Runtime, Watched, honest};

const ENOUGH: Duration = Duration::from_secs(4);
const MANY: usize = 50;

/// File systems that do not answer, and the runtimes that lead the agent there. When this is dropped the file systems
/// go first: whoever waits for an answer cannot be killed.
pub struct Silent {
    systems: Vec<Fuse>,
    strangers: Strangers,
    runc: Runc,
}

impl Silent {
    pub fn new(systems: usize) -> Self {
        let systems: Vec<Fuse> = (0..systems).map(|_| Fuse::mount()).collect();
        let mut strangers = Strangers::default();
        systems[0].is_silent(&mut strangers);
        Self { systems, strangers, runc: Runc::new() }
    }

    /// Runs a runtime for each file system.
    pub fn run(&mut self, command: impl Fn(&Runc, &str, usize) -> Command) {
        for (number, system) in self.systems.iter().enumerate() {
            self.strangers.run(command(&self.runc, system.path.to_str().unwrap(), number));
        }
    }
}

#[test]
fn a_silent_file_system_as_a_runtimes_root_keeps_nobody_waiting() {
    let watched = Watched::start(&[]);
    let mut silent = Silent::new(MANY);
    silent.run(|runc, system, number| {
        runc.short(&["--root", &format!("{system}/state"), "delete", &format!("web-{number}")])
    });
    watched.endures(ENOUGH);
    watched.end(silent);
}

/// Runtimes whose bundles lie in file systems that do not answer.
fn silent_bundles() -> Silent {
    let mut silent = Silent::new(MANY);
    silent.run(|runc, system, number| {
        let bundle = format!("{system}/{}", fuse::DIRECTORY);
        runc.command(&["create", "--bundle", &bundle, &format!("web-{number}")])
    });
    silent
}

#[test]
fn a_silent_file_system_as_a_bundle_keeps_nobody_waiting_and_names_are_told_during_and_after_it() {
    let watched = Watched::start(&[]);
    let silent = silent_bundles();
    watched.endures(ENOUGH);
    drop(silent);
    watched.endures(ENOUGH / 2);
    watched.end(());
}

#[test]
fn a_silent_file_system_as_a_working_directory_keeps_nobody_waiting() {
    let watched = Watched::start(&[]);
    let mut silent = Silent::new(MANY);
    silent.run(|runc, system, number| {
        let mut command = runc.command(&["run", &format!("web-{number}")]);
        command.current_dir(system);
        command
    });
    watched.endures(ENOUGH);
    watched.end(silent);
}

#[test]
fn a_silent_file_system_as_a_root_directory_keeps_nobody_waiting() {
    let watched = Watched::start(&[]);
    let mut silent = Silent::new(MANY);
    silent.run(|_, system, number| within(system, &["create", "--bundle", "/bundle", &format!("web-{number}")]));
    watched.endures(ENOUGH);
    watched.end(silent);
}

#[test]
fn a_silent_file_system_where_the_host_keeps_its_containers_costs_their_names_only() {
    let system = Fuse::mount();
    let mut strangers = Strangers::default();
    system.is_silent(&mut strangers);
    let scratch = Scratch::new();
    for number in 0..MANY {
        std::fs::create_dir(scratch.path.join(format!("lxc.payload.web-{number}"))).unwrap();
    }
    let before = format!("mkdir -p /var/lib/lxc; mount --bind {} /var/lib/lxc", system.path.display());
    let serving = Serving::within(&before, &[]);
    wait_for("a reader that is given up", || serving.said().contains("that was there before").then_some(()));
    let watched = Watched::over(Instant::now(), Box::new(serving));
    watched.endures(2 * ENOUGH);
    watched.end((system, strangers));
}

#[test]
fn an_agent_that_silent_file_systems_surround_can_be_killed() {
    let watched = Watched::start(&[]);
    let silent = silent_bundles();
    watched.endures(ENOUGH);
    watched.kill(silent);
}

/// The same runtime, as the program `/runc` of a root directory of its own. A stranger may change it within a user
/// namespace.
fn within(root: &str, arguments: &[&str]) -> Command {
    let mut inside = Command::new(format!("/{}", fuse::PROGRAM));
    inside.arg0("runc").args(arguments).env_clear();
    inside.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let (namespaces, root) = (OwnNamespaces::new(), CString::new(root).unwrap());
    let enter = move || {
        // SAFETY: calls without memory but a string that ends in a zero.
        let entered = unsafe {
            libc::prctl(libc::PR_SET_DUMPABLE, 1);
            match namespaces.enter() {
                0 => errno(libc::chroot(root.as_ptr()).into()).max(errno(libc::chdir(c"/".as_ptr()).into())),
                error => error,
            }
        };
        if entered == 0 { Ok(()) } else { Err(std::io::Error::from_raw_os_error(entered)) }
    };
    // SAFETY: it makes system calls only.
    unsafe { inside.pre_exec(enter) };
    inside
}

/// In a forked process: a file that is never read, mapped. An error, or the memory.
fn mapped(file: &std::ffi::CStr) -> Result<*mut libc::c_void, i32> {
    // SAFETY: new memory, of a file that is named by a string that ends in a zero.
    unsafe {
        let fd = libc::open(file.as_ptr(), libc::O_RDONLY);
        let length = fuse::FILE_BYTES as usize;
        let mapped = libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_PRIVATE, fd, 0);
        if fd < 0 || mapped == libc::MAP_FAILED { Err(errno(-1)) } else { Ok(mapped) }
    }
}

#[test]
fn arguments_in_a_silent_file_system_keep_nobody_waiting() {
    let watched = Watched::start(&[]);
    let missing = c_path(watched.scratch.path.join("missing"));
    let mut silent = Silent::new(MANY);
    let layout = Layout::own();
    for system in &silent.systems {
        let file = c_path(system.path.join(fuse::FILE));
        silent.strangers.act(|| match mapped(&file) {
            Ok(memory) => match layout.move_arguments(memory, fuse::FILE_BYTES as usize) {
                0 => fail_for_ever(&missing, Duration::from_millis(50)),
                error => error,
            },
            Err(error) => error,
        });
    }
    watched.endures(ENOUGH);
    assert_eq!(silent.strangers.ended(), Vec::<i32>::new(), "none of them failed");
    watched.end(silent);
}

/// In a forked process: one that shares its memory reads it through `/proc/self/mem`, which is in a file that is never
/// read: it holds the lock of that memory meanwhile. Another one that shares it wants to change it, so that all others
/// wait as well, also those who only want to know its command line. It goes on to fail calls.
fn fail_with_locked_memory(file: &std::ffi::CStr, missing: &std::ffi::CStr) -> i32 {
    let place = match mapped(file) {
        Ok(place) => place,
        Err(error) => return error,
    };
    // Once it is locked there is no more to be had.
    let stacks = [memory(STACK), memory(STACK)];
    share_memory(hold_lock, place, stacks[0]);
    pause(Duration::from_millis(200));
    share_memory(want_lock, place, stacks[1]);
    pause(Duration::from_millis(200));
    fail_for_ever(missing, Duration::from_millis(50))
}

#[test]
fn memory_that_is_locked_for_ever_keeps_nobody_waiting() {
    let watched = Watched::start(&[]);
    let missing = c_path(watched.scratch.path.join("missing"));
    let mut silent = Silent::new(MANY);
    for system in &silent.systems {
        let file = c_path(system.path.join(fuse::FILE));
        silent.strangers.act(|| fail_with_locked_memory(&file, &missing));
    }
    watched.endures(ENOUGH);
    assert_eq!(silent.strangers.ended(), Vec::<i32>::new(), "none of them failed");
    watched.end(silent);
}

/// Processes of root's that are killed when this is dropped.
struct Hung(Vec<Forked>);

impl Drop for Hung {
    fn drop(&mut self) {
        for hung in self.0.drain(..) {
            signal(hung.0 as u32, libc::SIGKILL);
            hung.wait();
        }
    }
}

/// What a removal that waits for ever makes of a host: the first process hangs, so that the agent's messages to it are
/// not taken, and whoever reads `/proc` of it or of other processes of root's hangs as well.
#[test]
fn a_first_process_that_hangs_and_its_like_keep_neither_the_answers_nor_the_record_waiting() {
    let traces = tempfile::tempdir().unwrap();
    let manager = traces.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&manager).unwrap();
    let environment = [("NOTIFY_SOCKET", manager.to_str().unwrap()), ("WATCHDOG_USEC", "20000")];
    let record = traces.path().join("traces");
    std::fs::create_dir(&record).unwrap();
    let arguments = ["--history", "0", "--record", record.to_str().unwrap()];
    let watched = Watched::over(Instant::now(), Box::new(Serving::with_environment(&environment, &arguments)));
    let missing = c_path(watched.scratch.path.join("missing"));
    let silent = Silent::new(4);
    let hung: Vec<Forked> = silent
        .systems
        .iter()
        .map(|system| {
            let file = c_path(system.path.join(fuse::FILE));
            fork(|| {
                // SAFETY: calls without memory but the string, which is constant.
                unsafe {
                    libc::prctl(libc::PR_SET_NAME, c"systemd".as_ptr());
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                }
                fail_with_locked_memory(&file, &missing)
            })
        })
        .collect();
    watched.endures(ENOUGH);
    // Nobody who only wants to know the command line of these comes back.
    let file = format!("/proc/{}/cmdline", hung[0].0);
    let (asked, answered) = std::sync::mpsc::channel();
    std::thread::spawn(move || _ = asked.send(std::fs::read(file)));
    assert!(answered.recv_timeout(Duration::from_secs(1)).is_err(), "/proc answers");
    let made = watched.beats();
    watched.endures(ENOUGH);
    watched.end((silent, Hung(hung)));
    // The socket was full long before.
    socket.set_nonblocking(true).unwrap();
    assert!(std::iter::from_fn(|| socket.recv(&mut [0; 4_096]).ok()).count() > 1);
    let recorded = recorded(&record);
    let is_beat = |line: &&str| line.contains("\"change\":\"created\"") && line.contains(".beat.scope");
    let told = recorded.lines().filter(is_beat).count();
    assert!(told > made, "{told} cgroups recorded, {made} made before /proc was asked");
}

const STACK: usize = 1 << 16;

/// In a forked process: starts another one in the same memory.
fn share_memory(act: extern "C" fn(*mut libc::c_void) -> i32, argument: *mut libc::c_void, stack: *mut libc::c_void) {
    // SAFETY: it has a stack of its own, and makes system calls only.
    unsafe {
        let stack = stack.cast::<u8>().add(STACK);
        libc::clone(act, stack.cast(), libc::CLONE_VM | libc::CLONE_FILES, argument);
    }
}

extern "C" fn hold_lock(place: *mut libc::c_void) -> i32 {
    let mut byte = 0u8;
    // SAFETY: there is room for one byte.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        let own = libc::open(c"/proc/self/mem".as_ptr(), libc::O_RDONLY);
        libc::pread(own, (&raw mut byte).cast(), 1, place as libc::off_t);
    }
    0
}

extern "C" fn want_lock(_: *mut libc::c_void) -> i32 {
    // SAFETY: a call without memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    memory(4_096);
    0
}

/// What a stranger's bundle is made of.
struct Bundle {
    name: &'static str,
    /// Makes its `config.json`, in the empty directory.
    make: fn(&Path),
}

/// What nobody but root may read.
const SECRET: &str = "known-to-root-alone";
/// What is too large to be read.
const TOO_LARGE: &str = "in-a-file-that-is-too-large";

const BUNDLES: &[Bundle] = &[
    Bundle { name: "link-to-secret", make: |bundle| symlink(secret(bundle), bundle.join("config.json")).unwrap() },
    Bundle {
        name: "way-to-secret",
        make: |bundle| {
            let place = bundle.join("../way-to-secret.d");
            std::fs::create_dir(&place).unwrap();
            root_only(&place.join("config.json"), &config(SECRET));
            std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o700)).unwrap();
            std::fs::remove_dir(bundle).unwrap();
            symlink(place, bundle).unwrap();
        },
    },
    Bundle { name: "link-to-kmsg", make: |bundle| symlink("/proc/kmsg", bundle.join("config.json")).unwrap() },
    Bundle { name: "link-to-zero", make: |bundle| symlink("/dev/zero", bundle.join("config.json")).unwrap() },
    Bundle { name: "link-to-itself", make: |bundle| symlink("config.json", bundle.join("config.json")).unwrap() },
    Bundle {
        name: "pipe",
        make: |bundle| {
            // SAFETY: the path ends in a zero.
            assert_eq!(unsafe { libc::mkfifo(c_path(bundle.join("config.json")).as_ptr(), 0o666) }, 0);
        },
    },
    Bundle {
        name: "too-large",
        make: |bundle| {
            let mut text = config(TOO_LARGE);
            text.push_str(&" ".repeat(5 << 20));
            std::fs::write(bundle.join("config.json"), text).unwrap();
        },
    },
    Bundle { name: "deep", make: |bundle| std::fs::write(bundle.join("config.json"), "[".repeat(4 << 20)).unwrap() },
];

fn config(name: &str) -> String {
    serde_json::json!({ "hostname": name, "annotations": { "nerdctl/name": name, "nerdctl/image-ref": name },
        "linux": { "cgroupsPath": format!("/{name}") } })
    .to_string()
}

fn secret(bundle: &Path) -> PathBuf {
    let path = bundle.join("../secret");
    root_only(&path, &config(SECRET));
    path
}

/// A container id of so many digits that a path alone tells it.
fn id(number: usize) -> String {
    format!("{number:0>64}").replace('0', "a")
}

/// Has a stranger fail to remove a cgroup of a container's, so that a finding is made of what is known of that.
fn fail_to_remove(strangers: &mut Strangers, watched: &Watched, id: &str) {
    let cgroup = c_path(watched.scratch.path.join(format!("libpod-{id}.scope")));
    strangers.act(|| i32::from(rmdir(&cgroup) != libc::ENOENT));
}

/// All that was recorded.
fn recorded(directory: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let plain = Command::new("zstd").arg("-dcq").arg(entry.unwrap().path()).output().expect("zstd is installed");
        text.push_str(&String::from_utf8_lossy(&plain.stdout));
    }
    text
}

#[test]
fn what_only_root_may_read_is_told_nowhere_and_no_strange_bundle_keeps_anybody_waiting() {
    let traces = tempfile::tempdir().unwrap();
    let watched = Watched::start(&["--record", traces.path().to_str().unwrap()]);
    let place = open_directory();
    let runc = Runc::new();
    let mut strangers = Strangers::default();
    for (number, Bundle { name, make }) in BUNDLES.iter().enumerate() {
        let bundle = place.path().join(name);
        std::fs::create_dir(&bundle).unwrap();
        make(&bundle);
        let bundle = place.path().join(name);
        strangers.run(runc.command(&["create", "--bundle", bundle.to_str().unwrap(), &id(number + 1)]));
        fail_to_remove(&mut strangers, &watched, &id(number + 1));
    }
    // And in mount namespaces of their own, with a file of the kernel's, or of root's, mounted over it.
    let secret = place.path().join("secret");
    for (number, over) in ["/proc/kmsg", secret.to_str().unwrap()].into_iter().enumerate() {
        let bundle = place.path().join(format!("mounted-{number}"));
        std::fs::create_dir(&bundle).unwrap();
        std::fs::write(bundle.join("config.json"), "").unwrap();
        let id = id(100 + number);
        let mut command = runc.command(&["create", "--bundle", bundle.to_str().unwrap(), &id]);
        mounted_over(&mut command, over, &bundle.join("config.json"));
        strangers.run(command);
        fail_to_remove(&mut strangers, &watched, &id);
    }
    watched.endures(ENOUGH);
    let (_, findings) = watched.get("/findings");
    assert!(findings.contains(&id(1)), "it was told of: {findings}");
    watched.end(strangers);
    let recorded = recorded(traces.path());
    assert!(recorded.contains("link-to-secret"), "it was seen");
    for told in [findings, recorded] {
        for unsaid in [SECRET, TOO_LARGE] {
            let around = told.find(unsaid).map(|at| &told[at.saturating_sub(300)..(at + 100).min(told.len())]);
            assert_eq!(around, None, "{unsaid} is told");
        }
    }
}

/// Has a process be in namespaces of its own, with one file mounted over another.
fn mounted_over(command: &mut Command, file: &str, over: &Path) {
    let (namespaces, file, over) = (OwnNamespaces::new(), CString::new(file).unwrap(), c_path(over));
    let enter = move || {
        // SAFETY: a call without memory.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
        let entered = match namespaces.enter() {
            0 => mount(&file, &over, c"", libc::MS_BIND),
            error => error,
        };
        if entered == 0 { Ok(()) } else { Err(std::io::Error::from_raw_os_error(entered)) }
    };
    // SAFETY: it makes system calls only.
    unsafe { command.pre_exec(enter) };
}

#[test]
fn a_working_directory_that_is_gone_and_a_root_directory_full_of_links_keep_nobody_waiting() {
    let watched = Watched::start(&[]);
    let place = open_directory();
    let runc = Runc::new();
    let mut strangers = Strangers::default();
    let gone = place.path().join("gone");
    std::fs::create_dir(&gone).unwrap();
    let mut command = runc.command(&["create", &id(1)]);
    command.current_dir(&gone);
    strangers.run(command);
    std::fs::remove_dir(&gone).unwrap();

    let root = place.path().join("root");
    std::fs::create_dir_all(root.join("bundles")).unwrap();
    std::fs::copy("/bin/busybox", root.join("runc")).expect("busybox-static is installed");
    // Outside there is such a file. Inside it leads to itself.
    let outside = place.path().join("outside.json");
    std::fs::write(&outside, config(SECRET)).unwrap();
    symlink(&outside, root.join("bundles/config.json")).unwrap();
    symlink("/bundles", root.join("bundles/again")).unwrap();
    symlink("/loop", root.join("loop")).unwrap();
    let deep = format!("/bundles{}", "/again".repeat(600));
    for (number, bundle) in ["/bundles", "/loop", deep.as_str(), "/../../../bundles"].into_iter().enumerate() {
        strangers.run(within(root.to_str().unwrap(), &["create", "--bundle", bundle, &id(number + 2)]));
        fail_to_remove(&mut strangers, &watched, &id(number + 2));
    }
    watched.endures(ENOUGH / 2);
    let (_, findings) = watched.get("/findings");
    assert!(findings.contains(&id(2)) && !findings.contains(SECRET), "{findings}");
    watched.end(strangers);
}

#[test]
fn what_a_stranger_says_of_roots_container_changes_nothing() {
    let watched = Watched::start(&[]);
    let (runtime, runc, place) = (Runtime::new(), Runc::new(), open_directory());
    let mut strangers = Strangers::default();
    std::fs::write(place.path().join("config.json"), config("stolen")).unwrap();
    let claim = |strangers: &mut Strangers, id: &str| {
        for subcommand in ["create", "run", "state"] {
            strangers.run(runc.command(&[subcommand, "--bundle", place.path().to_str().unwrap(), id]));
        }
    };
    let make = |id: &str| {
        let bundle = runtime.bundle(id, &honest(id));
        assert!(runtime.create(&bundle, id).status().unwrap().success());
    };
    let (first, second) = (id(1), id(2));
    make(&first);
    claim(&mut strangers, &first);
    claim(&mut strangers, &second);
    make(&second);
    watched.endures(Duration::from_millis(500));
    // They all say it once more, when both are there.
    [&first, &second].into_iter().for_each(|id| claim(&mut strangers, id));
    watched.endures(Duration::from_millis(500));
    for id in [&first, &second] {
        let cgroup = c_path(watched.scratch.path.join(format!("libpod-{id}.scope")));
        let by_root = fork(|| rmdir(&cgroup));
        let pid = by_root.0;
        assert_eq!(by_root.wait(), libc::ENOENT);
        let told = wait_for("the finding", || {
            watched.findings_of(id).into_iter().find(|finding| finding["actor"]["pid"] == pid)
        });
        assert_eq!(told["container"]["name"], honest(id).as_str(), "{told:#}");
        assert_ne!(told["container"]["image"], "stolen", "{told:#}");
    }
    watched.end(strangers);
}
