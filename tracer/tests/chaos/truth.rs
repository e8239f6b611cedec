//! The truth: what every actor did, written by the one who did it, before it ends.
//!
//! A call is written down twice, before it is made and after it has returned, so that of an actor that is killed only
//! the last call can be in doubt. All actors append to one file, a line a write.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A process: its number alone is given to another one later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Who {
    pub pid: u32,
    /// When it began, nanoseconds since boot.
    pub born: u64,
}

/// A path in a hierarchy, from its root, as the host sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    pub hierarchy: u32,
    pub path: String,
}

impl Place {
    pub fn below(&self, name: &str) -> Self {
        Self { hierarchy: self.hierarchy, path: format!("{}/{name}", self.path) }
    }
}

/// What a process is there for: this decides whether its failure is harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Job {
    /// A runtime's `delete`.
    Teardown,
    /// A runtime's `run`: its teardown is the cleaning up after a failed start.
    Start,
    /// `rmdir`
    Plain,
    /// Anything else.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    Mkdir,
    Rmdir,
    Open,
    Rename,
    Attach,
    Freeze,
    Thaw,
}

/// A system call on cgroupfs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    pub operation: Operation,
    pub syscall: String,
    /// The path as it is given to the call.
    pub given: String,
    pub place: Place,
    /// The control file that is opened or written.
    pub file: Option<String>,
    /// The new path of what is renamed.
    pub to: Option<Place>,
    /// Who is moved, if it is another one.
    pub task: Option<Who>,
}

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Record {
    /// A process begins.
    Born {
        who: Who,
        job: Job,
        argv: Vec<String>,
        /// The runtime's state file of its container.
        state: Option<PathBuf>,
        /// Processes with the same number do one teardown.
        teardown: Option<u64>,
        scene: String,
    },
    Calls {
        who: Who,
        number: u32,
        before: u64,
        call: Call,
    },
    Returned {
        who: Who,
        number: u32,
        after: u64,
        errno: i32,
    },
    /// It was waited for, by whoever started it.
    Waited {
        who: Who,
        at: u64,
        status: i32,
        state_left: Option<bool>,
    },
    /// A container of a real runtime came and went. Nothing was left behind, and no removal was to blame for anything.
    Unharmed {
        id: String,
        what: String,
    },
}

/// Appends records.
#[derive(Debug)]
pub struct Writer(File);

impl Writer {
    pub fn open(path: &Path) -> Self {
        Self(OpenOptions::new().create(true).append(true).open(path).unwrap())
    }

    pub fn write(&self, record: &Record) {
        // Who is killed in the middle of it leaves the beginning of a line: the next one does not go on there.
        let mut line = b"\n".to_vec();
        serde_json::to_writer(&mut line, record).unwrap();
        // One write, so that lines of several processes do not mix.
        assert_eq!((&self.0).write(&line).unwrap(), line.len());
    }
}

/// Nanoseconds since boot, as the tracer counts them.
pub fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A process as it was.
#[derive(Clone, Debug)]
pub struct Process {
    pub who: Who,
    pub job: Job,
    pub argv: Vec<String>,
    pub teardown: Option<u64>,
    pub scene: String,
    /// Its wait status. `None` if nobody waited for it.
    pub status: Option<i32>,
    /// It had ended by then.
    pub reaped: u64,
    pub state_left: Option<bool>,
}

impl Process {
    pub fn code(&self) -> Option<i32> {
        self.status.filter(|status| libc::WIFEXITED(*status)).map(|status| libc::WEXITSTATUS(status))
    }

    pub fn signal(&self) -> Option<i32> {
        self.status.filter(|status| libc::WIFSIGNALED(*status)).map(|status| libc::WTERMSIG(status))
    }
}

/// A call as it was.
#[derive(Clone, Debug)]
pub struct Made {
    pub who: Who,
    pub call: Call,
    pub before: u64,
    /// Until when it may have had its effect.
    pub after: u64,
    /// `None` for the last call of a process that was killed: it may have been made or not.
    pub errno: Option<i32>,
}

impl Made {
    pub fn succeeded(&self) -> bool {
        self.errno == Some(0)
    }

    pub fn failed(&self) -> bool {
        self.errno.is_some_and(|errno| errno != 0)
    }

    /// It was over before `other` began.
    pub fn is_before(&self, other: &Self) -> bool {
        self.after <= other.before
    }
}

/// All that is true.
#[derive(Debug, Default)]
pub struct Truth {
    pub processes: HashMap<Who, Process>,
    /// In the order of their beginning.
    pub calls: Vec<Made>,
    pub unharmed: Vec<(String, String)>,
}

impl Truth {
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let mut truth = Self::default();
        let mut open: HashMap<(Who, u32), usize> = HashMap::new();
        let mut cut = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let record = match serde_json::from_str(line) {
                Ok(record) => record,
                Err(error) if error.is_eof() => {
                    cut.push(line);
                    continue;
                }
                Err(error) => panic!("{error}: {line}"),
            };
            match record {
                Record::Born { who, job, argv, state: _, teardown, scene } => {
                    let process =
                        Process { who, job, argv, teardown, scene, status: None, reaped: u64::MAX, state_left: None };
                    assert!(truth.processes.insert(who, process).is_none(), "{who:?} is born twice");
                }
                Record::Calls { who, number, before, call } => {
                    open.insert((who, number), truth.calls.len());
                    truth.calls.push(Made { who, call, before, after: u64::MAX, errno: None });
                }
                Record::Returned { who, number, after, errno } => {
                    let call = &mut truth.calls[open.remove(&(who, number)).expect("a call returns once")];
                    call.after = after;
                    call.errno = Some(errno);
                }
                Record::Waited { who, at, status, state_left } => {
                    let process = truth.processes.get_mut(&who).expect("who is waited for was born");
                    process.status = Some(status);
                    process.reaped = at;
                    process.state_left = state_left;
                }
                Record::Unharmed { id, what } => truth.unharmed.push((id, what)),
            }
        }
        // A call is announced before it is made: one whose announcement is cut was not.
        let killed = truth.processes.values().filter(|process| process.signal() == Some(libc::SIGKILL)).count();
        assert!(cut.len() <= killed, "{killed} were killed, and there is more that is cut: {cut:#?}");
        for call in &mut truth.calls {
            call.after = call.after.min(truth.processes[&call.who].reaped);
        }
        truth.calls.sort_by_key(|call| call.before);
        truth
    }
}
