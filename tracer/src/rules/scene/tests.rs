//! A play about one cgroup, for tests: who made it, who was in it, who tried to remove it and how that went.

use std::time::Duration;

use crate::errno::Errno;
use crate::input::{
    About, Actor, Attempt, BootTime, CgroupId, Change, Device, Directory, Exit, Facts, HierarchyId, Input, NamespaceId,
    Occupant, OccupantState, Occupants, Pid, Process, ProcessChange, Syscall,
};
use crate::name::Name;
use crate::tracker::tests::Play;

const HOST: NamespaceId = NamespaceId(1);
pub(super) const MAKER: u32 = 20;
/// Who tries to remove it.
pub(super) const REMOVER: u32 = 21;
pub(super) const V1: u32 = 4;
pub(super) const V2: u32 = 0;

/// A play with one cgroup in it.
pub(super) struct Scene {
    pub play: Play,
    hierarchy: u32,
    path: &'static str,
}

impl Scene {
    /// The cgroup was made by somebody.
    pub fn new(hierarchy: u32, path: &'static str, maker: u32) -> Self {
        Self::of(Play::new(), hierarchy, path, maker)
    }

    pub fn of(mut play: Play, hierarchy: u32, path: &'static str, maker: u32) -> Self {
        play.event(Change::Created, hierarchy, 7, path, maker);
        Self { play, hierarchy, path }
    }

    /// What was played otherwise.
    pub fn played(play: Play) -> Self {
        Self { play, hierarchy: V2, path: "/" }
    }

    pub fn asked(mut self, pid: u32, argv: &str) -> Self {
        self.play.exec(pid, argv);
        self
    }

    /// The same of a process that is forked now.
    pub fn begins(mut self, pid: u32, argv: &str) -> Self {
        self.play.begins(pid, argv);
        self
    }

    /// A process with these arguments.
    pub fn runs(mut self, pid: u32, argv: &[&str]) -> Self {
        let argv = Some(argv.iter().copied().map(Name::from).collect());
        let process = Process::new(BootTime(0), Pid(pid), ProcessChange::Exec, "exe".into());
        self.play.feed(Input::Process(Process { argv, ..process }));
        self
    }

    pub fn removed(mut self, pid: u32) -> Self {
        self.play.event(Change::Removed, self.hierarchy, 7, self.path, pid);
        self
    }

    pub fn holds(mut self, child: &str) -> Self {
        self.play.event(Change::Created, self.hierarchy, 8, &format!("{}/{child}", self.path), MAKER);
        self
    }

    /// Its path, as a process names it.
    pub fn absolute(&self) -> String {
        let mount = if self.hierarchy == V2 { "unified" } else { "memory" };
        format!("/sys/fs/cgroup/{mount}{}", self.path)
    }

    /// Its removal failed.
    pub fn refused_by(mut self, syscall: Syscall, errno: Errno) -> Self {
        let path = self.absolute();
        self.play.feed(Input::Attempt(call(syscall, errno, &path)));
        self
    }

    pub fn refused(self, errno: Errno) -> Self {
        self.refused_by(Syscall::Unlinkat, errno)
    }

    fn directory(&self, path: &str) -> Directory {
        let minor = if self.hierarchy == V2 { 38 } else { 31 };
        Directory {
            device: Device { major: 0, minor },
            id: CgroupId(1),
            path: path.into(),
            truncated: false,
            outside: false,
            mount: None,
        }
    }

    /// By its name in the directory around it.
    pub fn refused_in_directory(mut self, errno: Errno) -> Self {
        let (around, name) = self.path.rsplit_once('/').expect("a slash");
        let directory = self.directory(if around.is_empty() { "/" } else { around });
        self.play.feed(Input::Attempt(Attempt { directory: Some(directory), ..call(Syscall::Unlinkat, errno, name) }));
        self
    }

    /// A control file of it could not be opened for reading.
    pub fn unreadable(mut self, file: &str, errno: Errno) -> Self {
        let path = format!("{}/{file}", self.absolute());
        self.play.feed(Input::Attempt(call(Syscall::Openat, errno, &path)));
        self
    }

    /// The same of a path below the root of its hierarchy, by openat2.
    pub fn unreadable_below(mut self, path: &str, errno: Errno) -> Self {
        let directory = Some(self.directory("/"));
        self.play.feed(Input::Attempt(Attempt { directory, ..call(Syscall::Openat2, errno, path) }));
        self
    }

    /// A control file of it could not be opened for writing.
    pub fn unwritable(mut self, file: &str, errno: Errno) -> Self {
        let path = format!("{}/{file}", self.absolute());
        self.play.feed(Input::Attempt(Attempt { flags: Some(1), ..call(Syscall::Openat, errno, &path) }));
        self
    }

    /// Refused because it is in use, so often, with so much time between.
    pub fn busy(mut self, tries: u64, step: Duration) -> Self {
        for _ in 0..tries {
            self = self.refused(Errno::EBUSY).then(step);
        }
        self
    }

    pub fn then(mut self, span: Duration) -> Self {
        self.play.pass(span);
        self
    }

    pub fn inside(self, pid: u32, comm: &str, state: OccupantState) -> Self {
        self.found(&[(pid, comm, state)], Some(false))
    }

    pub fn found(mut self, inside: &[(u32, &str, OccupantState)], frozen: Option<bool>) -> Self {
        let started = BootTime(900_000_000);
        let of = |(pid, comm, state): &(u32, &str, OccupantState)| Occupant {
            pid: Pid(*pid),
            comm: (*comm).into(),
            started,
            state: *state,
        };
        let occupants: Vec<Occupant> = inside.iter().map(of).collect();
        let about = About::Occupants(Occupants {
            hierarchy: HierarchyId(self.hierarchy),
            id: CgroupId(7),
            count: occupants.len() as u64,
            occupants,
            frozen,
        });
        self.play.feed(Input::Facts(Facts { at: BootTime(0), about }));
        self
    }

    pub fn exits(mut self, pid: u32, exit: Exit) -> Self {
        self.play.exit(pid, exit);
        self.then(Duration::from_secs(21))
    }

    /// Its end, and no state is found behind it.
    pub fn done(mut self, pid: u32, exit: Exit) -> Self {
        self.play.exit(pid, exit);
        self.play.state("web", pid, false);
        self.then(Duration::from_secs(21))
    }
}

/// A failed call of the process that is to remove the cgroup.
fn call(syscall: Syscall, errno: Errno, path: &str) -> Attempt {
    let actor = Actor::new(Pid(REMOVER), REMOVER, "exe".into(), Some(0));
    Attempt { mount_namespace: Some(HOST), ..Attempt::new(BootTime(0), syscall, errno, path.into(), actor) }
}
