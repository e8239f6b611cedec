//! The actors: processes that make system calls on cgroupfs and write down what they did.
//!
//! An actor is a fork of this program. One that is to be known by its command line executes this program again, by a
//! link that has the wanted name; its part is in its environment. This program has one thread, so that a fork may do
//! anything.

use std::ffi::CString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::random::Random;
use crate::support::DEADLINE;
use crate::truth::{Call, Job, Operation, Place, Record, Who, Writer, now};

const PART: &str = "CGTRACE_CHAOS_PART";

/// How a path is given to a call.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Way {
    /// Whole, to the call that takes nothing else.
    Absolute,
    /// Whole, to the call that would take a directory, too.
    AbsoluteAt,
    /// Whole, with a `..` in it.
    Dotted,
    /// Below an open directory on cgroupfs.
    Directory,
    /// Below the working directory on cgroupfs.
    Working,
    /// Below an open directory that the hierarchy is mounted in.
    Above,
    /// Below the working directory that the hierarchy is mounted in.
    AboveWorking,
}

impl Way {
    pub const ALL: [Self; 7] = [
        Self::Absolute,
        Self::AbsoluteAt,
        Self::Dotted,
        Self::Directory,
        Self::Working,
        Self::Above,
        Self::AboveWorking,
    ];
}

/// A cgroup below `base`, which exists, and how it is named.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    /// Where the hierarchy is mounted.
    pub mount: String,
    pub base: Place,
    /// Below `base`.
    pub name: String,
    pub way: Way,
}

impl Target {
    pub fn place(&self) -> Place {
        self.base.below(&self.name)
    }

    pub fn by(&self, way: Way) -> Self {
        Self { way, ..self.clone() }
    }
}

/// One thing that an actor does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Step {
    Mkdir(Target),
    Rmdir(Target),
    /// As runc does: removes it, and where that fails, opens the directory to remove what is in it.
    TearDown(Target),
    /// Opens a control file, or the directory.
    Open(Target, Option<String>),
    Rename(Target, String),
    /// Moves itself.
    Attach(Target),
    /// Moves another one.
    Move(Target, Who),
    Freeze(Target, bool),
    /// Makes, removes and renames at random.
    Churn {
        targets: Vec<Target>,
        calls: u32,
        pause_us: u64,
        renames: bool,
        seed: u64,
    },
    /// Removes what is there, with patience.
    Clear(Vec<Target>),
    /// Waits until then, to the microsecond.
    Until(u64),
    Pause(u64),
    BecomeUser(u32),
    /// Enters the mount namespace of a process.
    Enter(u32),
    /// Enters a mount namespace of its own, in which that mount is read-only.
    MountReadOnly(String),
    DropState(PathBuf),
    /// In a thread of its own, as runtimes in Go do.
    InThread(Box<Step>),
    /// Starts another one and waits for it.
    Run(Box<Part>),
    /// Waits to be killed.
    Hang,
}

/// How an actor ends.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum End {
    Exit(i32),
    /// With 1 if its last call failed.
    AsItWent,
}

/// What an actor does, and as whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    pub job: Job,
    /// Its command line, if it is to be known by one; the first word is the program.
    pub argv: Option<Vec<String>>,
    pub state: Option<PathBuf>,
    pub teardown: Option<u64>,
    pub steps: Vec<Step>,
    pub end: End,
}

impl Part {
    pub fn new(steps: Vec<Step>) -> Self {
        Self { job: Job::Other, argv: None, state: None, teardown: None, steps, end: End::Exit(0) }
    }

    pub fn ends(self, end: End) -> Self {
        Self { end, ..self }
    }
}

/// Where actors play.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct House {
    pub truth: PathBuf,
    /// Where the links to this program are.
    pub programs: PathBuf,
    pub scene: String,
}

/// An actor that has not been waited for.
pub struct Actor {
    pub who: Who,
    state: Option<PathBuf>,
}

impl House {
    /// Starts an actor.
    pub fn start(&self, part: &Part) -> Actor {
        self.start_as(part, None).expect("fork")
    }

    /// Starts an actor that has a certain number. `None` if that is in use.
    pub fn start_as(&self, part: &Part, number: Option<u32>) -> Option<Actor> {
        // The child tells when it was born, and has written that down by then: its number alone does not say who it is.
        let mut ends = [0; 2];
        // SAFETY: there is room for two descriptors.
        assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
        let pid = fork(number)?;
        if pid == 0 {
            let who = Who { pid: std::process::id(), born: now() };
            let writer = self.is_born(who, part);
            // SAFETY: the bytes are valid; the pipe has room for them.
            unsafe { libc::write(ends[1], (&raw const who.born).cast(), 8) };
            self.act(who, writer, part);
        }
        let mut born = 0u64;
        // SAFETY: there is room for eight bytes; the descriptors are ours.
        unsafe {
            libc::close(ends[1]);
            assert_eq!(libc::read(ends[0], (&raw mut born).cast(), 8), 8);
            libc::close(ends[0]);
        }
        Some(Actor { who: Who { pid: pid as u32, born }, state: part.state.clone() })
    }

    pub fn play(&self, part: &Part) -> Option<i32> {
        let actor = self.start(part);
        self.wait(actor)
    }

    /// Waits for an actor, and writes down how it ended. Returns its exit status, `None` if it was killed.
    pub fn wait(&self, actor: Actor) -> Option<i32> {
        let mut status = 0;
        // SAFETY: the status is ours.
        assert_eq!(unsafe { libc::waitpid(actor.who.pid as i32, &raw mut status, 0) }, actor.who.pid as i32);
        let state_left = actor.state.as_ref().map(|state| state.exists());
        Writer::open(&self.truth).write(&Record::Waited { who: actor.who, at: now(), status, state_left });
        libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status))
    }

    fn is_born(&self, who: Who, part: &Part) -> Writer {
        let writer = Writer::open(&self.truth);
        writer.write(&Record::Born {
            who,
            job: part.job,
            // A fork has the command line of what it is a fork of.
            argv: part.argv.clone().unwrap_or_else(|| std::env::args().collect()),
            state: part.state.clone(),
            teardown: part.teardown,
            scene: self.scene.clone(),
        });
        writer
    }

    fn act(&self, who: Who, writer: Writer, part: &Part) -> ! {
        let argv = part.argv.as_deref().unwrap_or_default();
        let Some((program, rest)) = argv.split_first() else { self.perform(who, writer, part) };
        let part = serde_json::to_string(&(self, who, part)).unwrap();
        let error = Command::new(self.programs.join(program)).arg0(program).args(rest).env(PART, part).exec();
        panic!("failed to execute {program}: {error}");
    }

    fn perform(&self, who: Who, writer: Writer, part: &Part) -> ! {
        let mut stage = Stage { house: self, who, writer, calls: 0, last: 0 };
        stage.all(&part.steps);
        let status = match part.end {
            End::Exit(status) => status,
            End::AsItWent => i32::from(stage.last != 0),
        };
        // SAFETY: it never returns.
        unsafe { libc::_exit(status) }
    }
}

/// If this process was executed to play a part: plays it.
pub fn play_a_part() {
    let Ok(part) = std::env::var(PART) else { return };
    let (house, who, part): (House, Who, Part) = serde_json::from_str(&part).unwrap();
    let writer = Writer::open(&house.truth);
    house.perform(who, writer, &part);
}

/// `fork`, with a number of one's choice (clone3's `set_tid`). `None` if that number is in use.
fn fork(number: Option<u32>) -> Option<i32> {
    let Some(number) = number else {
        // SAFETY: this program has one thread.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        return Some(pid);
    };
    let number = number as i32;
    // SAFETY: a plain structure of numbers, of which 0 is valid.
    let mut how: libc::clone_args = unsafe { std::mem::zeroed() };
    how.exit_signal = libc::SIGCHLD as u64;
    how.set_tid = &raw const number as u64;
    how.set_tid_size = 1;
    // SAFETY: this program has one thread, and nothing is shared: it is a fork.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const how, size_of::<libc::clone_args>()) };
    (pid >= 0).then_some(pid as i32)
}

/// What an actor plays on.
struct Stage<'a> {
    house: &'a House,
    who: Who,
    writer: Writer,
    calls: u32,
    /// The error of the last call, 0 if it had none.
    last: i32,
}

impl Stage<'_> {
    fn all(&mut self, steps: &[Step]) {
        steps.iter().for_each(|step| self.step(step));
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Mkdir(target) => drop(self.directory_call(Operation::Mkdir, target)),
            Step::Rmdir(target) => drop(self.directory_call(Operation::Rmdir, target)),
            Step::TearDown(target) => {
                if self.directory_call(Operation::Rmdir, target) != 0 {
                    self.open(target, None);
                }
            }
            Step::Open(target, file) => self.open(target, file.as_deref()),
            Step::Rename(target, to) => drop(self.rename(target, to)),
            Step::Attach(target) => self.write(Operation::Attach, target, "cgroup.procs", "0", None),
            Step::Move(target, task) => {
                let pid = task.pid.to_string();
                self.write(Operation::Attach, target, "cgroup.procs", &pid, Some(*task));
            }
            Step::Freeze(target, true) => self.write(Operation::Freeze, target, "cgroup.freeze", "1", None),
            Step::Freeze(target, false) => self.write(Operation::Thaw, target, "cgroup.freeze", "0", None),
            Step::Churn { targets, calls, pause_us, renames, seed } => {
                let mut random = Random::new(*seed);
                for _ in 0..*calls {
                    let target = random.pick(targets).by(*random.pick(&Way::ALL));
                    match random.below(if *renames { 3 } else { 2 }) {
                        0 => drop(self.directory_call(Operation::Mkdir, &target)),
                        1 => drop(self.directory_call(Operation::Rmdir, &target)),
                        _ => drop(self.rename(&target, &random.pick(targets).name)),
                    }
                    pause(random.below(2 * pause_us + 1));
                }
            }
            Step::Clear(targets) => {
                let begun = Instant::now();
                for target in targets {
                    // Of the last process that was in it the kernel may let go a moment after its end.
                    while self.directory_call(Operation::Rmdir, target) == libc::EBUSY {
                        assert!(begun.elapsed() < DEADLINE, "{} stays in use", target.place().path);
                        pause(5_000);
                    }
                }
            }
            Step::Until(at) => {
                pause(at.saturating_sub(now() + 300_000) / 1_000);
                while now() < *at {
                    std::hint::spin_loop();
                }
            }
            Step::Pause(us) => pause(*us),
            // SAFETY: a call without memory.
            Step::BecomeUser(user) => assert_eq!(unsafe { libc::setuid(*user) }, 0),
            Step::Enter(pid) => enter(*pid),
            Step::MountReadOnly(mount) => mount_read_only(mount),
            Step::DropState(path) => std::fs::remove_file(path).unwrap(),
            Step::InThread(step) => std::thread::scope(|scope| {
                scope.spawn(|| self.step(step));
            }),
            Step::Run(part) => {
                let status = self.house.play(part);
                self.last = i32::from(status != Some(0));
            }
            Step::Hang => loop {
                pause(1_000_000);
            },
        }
    }

    /// Makes a call between two lines of truth. `call` returns a negative number with `errno` if it fails.
    fn call(&mut self, call: Call, make: impl FnOnce() -> libc::c_long) -> i32 {
        self.calls += 1;
        let (who, number) = (self.who, self.calls);
        self.writer.write(&Record::Calls { who, number, before: now(), call });
        let result = make();
        let errno = if result < 0 { std::io::Error::last_os_error().raw_os_error().unwrap() } else { 0 };
        self.writer.write(&Record::Returned { who, number, after: now(), errno });
        self.last = errno;
        errno
    }

    fn directory_call(&mut self, operation: Operation, target: &Target) -> i32 {
        let named = Named::of(target, &target.name, self.calls);
        let legacy = cfg!(target_arch = "x86_64") && matches!(target.way, Way::Absolute | Way::Dotted | Way::Working);
        let syscall = match (operation, legacy) {
            (Operation::Mkdir, true) => "mkdir",
            (Operation::Mkdir, false) => "mkdirat",
            (_, true) => "rmdir",
            (_, false) => "unlinkat",
        };
        let call = Call {
            operation,
            syscall: syscall.to_owned(),
            given: named.given.to_str().unwrap().to_owned(),
            place: target.place(),
            file: None,
            to: None,
            task: None,
        };
        let (directory, path, mode) = (named.directory, named.given.as_ptr(), 0o755 as libc::c_long);
        // SAFETY: the path ends in a zero.
        self.call(call, || unsafe {
            match syscall {
                #[cfg(target_arch = "x86_64")]
                "mkdir" => libc::syscall(libc::SYS_mkdir, path, mode),
                #[cfg(target_arch = "x86_64")]
                "rmdir" => libc::syscall(libc::SYS_rmdir, path),
                "mkdirat" => libc::syscall(libc::SYS_mkdirat, directory, path, mode),
                _ => libc::syscall(libc::SYS_unlinkat, directory, path, libc::AT_REMOVEDIR),
            }
        })
    }

    fn open(&mut self, target: &Target, file: Option<&str>) {
        let fd = self.open_with(target, file, libc::O_RDONLY);
        // SAFETY: the descriptor, if it is one, is ours.
        unsafe { libc::close(fd) };
    }

    /// Opens it. Returns the descriptor, or what is none.
    fn open_with(&mut self, target: &Target, file: Option<&str>, flags: i32) -> i32 {
        let name = file.map_or_else(|| target.name.clone(), |file| format!("{}/{file}", target.name));
        let named = Named::of(target, &name, self.calls);
        let syscall = match target.way {
            Way::Absolute if cfg!(target_arch = "x86_64") => "open",
            Way::Absolute | Way::Dotted | Way::AbsoluteAt | Way::Working => "openat",
            Way::Directory | Way::Above | Way::AboveWorking => "openat2",
        };
        let call = Call {
            operation: Operation::Open,
            syscall: syscall.to_owned(),
            given: named.given.to_str().unwrap().to_owned(),
            place: target.place(),
            file: file.map(str::to_owned),
            to: None,
            task: None,
        };
        let (directory, path, flags) = (named.directory, named.given.as_ptr(), flags | libc::O_CLOEXEC);
        let how: [u64; 3] = [flags as u64, 0, 0];
        let mut fd = -1;
        // SAFETY: the path ends in a zero, and `how` has the size that is told.
        self.call(call, || unsafe {
            let result = match syscall {
                #[cfg(target_arch = "x86_64")]
                "open" => libc::syscall(libc::SYS_open, path, flags, 0),
                "openat2" => libc::syscall(libc::SYS_openat2, directory, path, how.as_ptr(), 24usize),
                _ => libc::syscall(libc::SYS_openat, directory, path, flags, 0),
            };
            fd = result as i32;
            result
        });
        fd
    }

    fn rename(&mut self, target: &Target, to: &str) -> i32 {
        let place = |name: &str| CString::new(format!("{}{}/{name}", target.mount, target.base.path)).unwrap();
        let (from, into) = (place(&target.name), place(to));
        let call = Call {
            operation: Operation::Rename,
            syscall: "rename".to_owned(),
            given: from.to_str().unwrap().to_owned(),
            place: target.place(),
            file: None,
            to: Some(target.base.below(to)),
            task: None,
        };
        // SAFETY: the paths end in zeros.
        self.call(call, || unsafe { libc::rename(from.as_ptr(), into.as_ptr()) }.into())
    }

    fn write(&mut self, operation: Operation, target: &Target, file: &str, text: &str, task: Option<Who>) {
        let fd = self.open_with(target, Some(file), libc::O_WRONLY);
        if fd < 0 {
            return;
        }
        let call = Call {
            operation,
            syscall: "write".to_owned(),
            given: String::new(),
            place: target.place(),
            file: Some(file.to_owned()),
            to: None,
            task,
        };
        // SAFETY: the text is valid, and the descriptor is ours.
        unsafe {
            self.call(call, || libc::write(fd, text.as_ptr().cast(), text.len()) as libc::c_long);
            libc::close(fd);
        }
    }
}

/// A path as a call takes it: relative to a directory, if it is.
struct Named {
    directory: i32,
    given: CString,
}

impl Named {
    fn of(target: &Target, name: &str, salt: u32) -> Self {
        let base = format!("{}{}", target.mount, target.base.path);
        let mount = Path::new(&target.mount);
        let (above, mounted) = (mount.parent().unwrap(), mount.file_name().unwrap().to_str().unwrap());
        let from_above = format!("{mounted}{}/{name}", target.base.path);
        let whole = format!("{base}/{name}");
        let mut directory = libc::AT_FDCWD;
        let given = match target.way {
            Way::Absolute | Way::AbsoluteAt => whole,
            Way::Dotted => {
                let own = base.rsplit('/').next().unwrap();
                if salt.is_multiple_of(2) { format!("{base}/../{own}//{name}") } else { format!("{base}/./{name}") }
            }
            Way::Directory => {
                directory = open_directory(Path::new(&base));
                name.to_owned()
            }
            Way::Above => {
                directory = open_directory(above);
                from_above
            }
            Way::Working => {
                std::env::set_current_dir(&base).unwrap();
                name.to_owned()
            }
            Way::AboveWorking => {
                std::env::set_current_dir(above).unwrap();
                from_above
            }
        };
        Self { directory, given: CString::new(given).unwrap() }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if self.directory >= 0 {
            // SAFETY: the descriptor is ours.
            unsafe { libc::close(self.directory) };
        }
    }
}

fn open_directory(path: &Path) -> i32 {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the path ends in a zero.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) };
    assert!(fd >= 0, "{path:?}: {}", std::io::Error::last_os_error());
    fd
}

fn enter(pid: u32) {
    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/mnt")).unwrap();
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open.
    assert_eq!(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) }, 0);
}

fn mount_read_only(mount: &str) {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind, mount_change, mount_remount};
    // SAFETY: this process has one thread, and nothing is shared that counts on the namespace.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    mount_bind(mount, mount).unwrap();
    mount_remount(mount, MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
}

fn pause(us: u64) {
    if us > 0 {
        std::thread::sleep(std::time::Duration::from_micros(us));
    }
}
