//! With whose rights files are looked at: what a user names is read with that user's rights, so that nobody is told
//! what they could not read themselves.

use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_thread_groups};
use serde::{Deserialize, Serialize};

use crate::input::Process;
use crate::process::{self, Credentials};

/// Whoever has no rights at all: `nobody`, in no group.
const NOBODY: u32 = 65_534;
/// Those that make file permissions void.
const ALL_FILES: CapabilitySet = CapabilitySet::DAC_READ_SEARCH.union(CapabilitySet::DAC_OVERRIDE);

/// With whose rights files are looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rights {
    /// This process's own: of what root names.
    Own,
    /// Those of a user and its groups, and no more.
    User(Credentials),
}

impl Rights {
    /// Those of a process that is told of. By its real user: a program that takes on another one is asked by its user
    /// still.
    pub fn of(process: &Process) -> Self {
        match process.uid {
            Some(0) => Self::Own,
            Some(uid) => {
                let now = process::credentials(process.pid).filter(|now| now.uid == uid);
                Self::User(now.unwrap_or(Credentials { uid, gid: NOBODY, groups: Vec::new() }))
            }
            None => Self::of_nobody(),
        }
    }

    /// Those that anybody has.
    pub fn of_nobody() -> Self {
        Self::User(Credentials { uid: NOBODY, gid: NOBODY, groups: Vec::new() })
    }

    /// Those of a user.
    pub fn of_user(user: Credentials) -> Self {
        if user.uid == 0 { Self::Own } else { Self::User(user) }
    }

    /// Whether they are this user's.
    pub fn are_of(&self, uid: u32) -> bool {
        match self {
            Self::Own => uid == 0,
            Self::User(user) => uid == user.uid,
        }
    }

    /// Takes them on, for this thread, until what is returned is dropped. `None` if this process may not: it needs
    /// CAP_SETUID and CAP_SETGID.
    pub fn assume(&self) -> Option<Assumed> {
        let Self::User(user) = self else { return Some(Assumed(None)) };
        let own = Own {
            sets: capabilities(None).ok()?,
            groups: rustix::process::getgroups().ok()?,
            uid: rustix::process::geteuid(),
            gid: rustix::process::getegid(),
        };
        let sets = own.sets;
        // From here on all is put back, however far it came.
        let assumed = Assumed(Some(own));
        let groups: Vec<Gid> = user.groups.iter().map(|group| Gid::from_raw(*group)).collect();
        set_thread_groups(&groups).ok()?;
        (set_fsgid(user.gid) == user.gid && set_fsuid(user.uid) == user.uid).then_some(())?;
        let effective = sets.effective - ALL_FILES;
        set_capabilities(None, CapabilitySets { effective, ..sets }).ok()?;
        Some(assumed)
    }
}

/// What this thread was before.
struct Own {
    sets: CapabilitySets,
    groups: Vec<Gid>,
    uid: Uid,
    gid: Gid,
}

/// Rights that are taken on. This thread's own are put back when it is dropped.
pub struct Assumed(Option<Own>);

impl Drop for Assumed {
    fn drop(&mut self) {
        let Some(own) = &self.0 else { return };
        let is_back = set_fsuid(own.uid.as_raw()) == own.uid.as_raw()
            && set_fsgid(own.gid.as_raw()) == own.gid.as_raw()
            && set_capabilities(None, own.sets).is_ok()
            && set_thread_groups(&own.groups).is_ok();
        // Nobody's question is to be answered with somebody else's rights.
        if !is_back {
            std::process::abort();
        }
    }
}

/// Sets the user that files are opened as; returns who that is afterwards.
fn set_fsuid(uid: u32) -> u32 {
    // SAFETY: calls without memory of ours. They return the user before, and change nothing for a number that is none.
    unsafe {
        libc::setfsuid(uid);
        libc::setfsuid(u32::MAX) as u32
    }
}

/// Sets the group that files are opened as; returns which that is afterwards.
fn set_fsgid(gid: u32) -> u32 {
    // SAFETY: as above.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsgid(u32::MAX) as u32
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;
    use crate::input::{BootTime, Pid, ProcessChange};

    fn user(uid: u32, gid: u32, groups: &[u32]) -> Rights {
        Rights::User(Credentials { uid, gid, groups: groups.to_vec() })
    }

    #[test]
    fn nobody_is_shown_what_they_could_not_read() {
        assert!(rustix::process::geteuid().is_root(), "this test needs root");
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("set");
        let check = |mode, owner, group, rights: &Rights, readable| {
            let file = directory.path().join("file");
            fs::write(&file, "text").expect("written");
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("set");
            chown(&file, Some(owner), Some(group)).expect("owned");
            let assumed = rights.assume().expect("assumed");
            let read = fs::read(&file);
            drop(assumed);
            assert_eq!(read.is_ok(), readable, "{mode:o} of {owner}:{group} by {rights:?}: {read:?}");
            assert!(fs::read(&file).is_ok(), "the own rights are back");
        };
        check(0o600, 0, 0, &Rights::Own, true);
        check(0o600, 0, 0, &user(1000, 1000, &[]), false);
        check(0o644, 0, 0, &user(1000, 1000, &[]), true);
        check(0o600, 1000, 0, &user(1000, 1000, &[]), true);
        check(0o600, 1001, 0, &user(1000, 1000, &[]), false);
        check(0o640, 0, 7, &user(1000, 7, &[]), true);
        check(0o640, 0, 7, &user(1000, 1000, &[5, 7]), true);
        check(0o640, 0, 7, &user(1000, 1000, &[5]), false);
        // Root's own group is none of a user's.
        check(0o640, 0, 0, &user(1000, 1000, &[]), false);
    }

    #[test]
    fn a_process_has_the_rights_of_its_real_user() {
        let own = Pid(std::process::id());
        let mut process = Process::new(BootTime(1), own, ProcessChange::Exec, "runc".into());
        process.uid = Some(0);
        assert_eq!(Rights::of(&process), Rights::Own);
        // This one's groups are another user's.
        process.uid = Some(1000);
        assert_eq!(Rights::of(&process), user(1000, NOBODY, &[]));
        process.uid = None;
        assert_eq!(Rights::of(&process), user(NOBODY, NOBODY, &[]));
    }
}
