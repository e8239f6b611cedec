//! What is left of a container's state when a process that deletes it, or fails to make it, has ended; and what the
//! process said of that in its log.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::state::{self, Files, Surroundings};
use crate::budget::weigh;
use crate::input::{Exit, NamespaceId, Pid, Process};
use crate::name::Name;
use crate::oci::RuntimeCommand;
use crate::process;
use crate::rights::Rights;
use crate::root::Root;

/// So long after the end of a process what is missing may be missing for another reason.
const LATE: Duration = Duration::from_millis(500);

/// A process after whose end the state of a container is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    id: Name,
    /// Only if it failed: it makes a container, and leaves state if it succeeds.
    only_failed: bool,
    /// No state was there when it began: what is there after it is its own. `false` if nobody could look in time.
    was_missing: bool,
    files: Files,
    /// Where it was told to write a log.
    log: Option<Name>,
    /// When it was forked, in nanoseconds since 1970.
    began: Option<i64>,
    rights: Rights,
    /// Its mount namespace, and its root directory in that. `None` for one that was gone before it could be asked; then
    /// the root is taken to be its parent's.
    namespace: NamespaceId,
    root: Option<(u64, u64)>,
    /// Processes that see what it sees and may outlive it.
    witnesses: Vec<Pid>,
}

weigh! {
    Files: paths;
    Ending: id, files, log, witnesses;
}

/// What was found of a container's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The container.
    pub id: Name,
    /// Its state file.
    pub path: Name,
    /// The file is still there.
    pub present: bool,
    /// The error that its log ends with.
    pub error: Option<Name>,
}

impl Ending {
    /// `None` if the end says nothing of any state, or if it is not known where that would be.
    pub fn of(process: &Process, command: &RuntimeCommand) -> Option<Self> {
        if !command.may_leave_state() {
            return None;
        }
        let only_failed = command.makes();
        let mut ending = Self {
            id: command.id.clone()?,
            only_failed,
            was_missing: false,
            files: state::files(command, &Surroundings::of(process.pid))?,
            log: command.log.clone().filter(|path| path.as_bytes().starts_with(b"/")),
            began: process.started.map(|started| process::clock().unix_ns(started)),
            rights: Rights::of(process),
            namespace: process.mount_namespace?,
            root: process::root_identity(process.pid),
            witnesses: process.parents.iter().map(|parent| parent.pid).collect(),
        };
        // A state that is there before it begins is another's, whose id it was given.
        let found = || Some(ending.files.look(&Root::of(process.pid, ending.rights.clone())?)?.1);
        match only_failed.then(found).flatten() {
            Some(true) => return None,
            Some(false) => ending.was_missing = true,
            None => {}
        }
        Some(ending)
    }

    /// Whether there is anything to look for after an end like this.
    pub fn is_told_by(&self, exit: Option<Exit>) -> bool {
        !self.only_failed || exit.is_some_and(|exit| !exit.is_success())
    }

    /// Looks for the state, as the process that just ended would see it.
    pub fn look(self, ended: &Process) -> Option<Left> {
        if !self.is_told_by(ended.exit) {
            return None;
        }
        let own = Pid(std::process::id());
        let same = |pid: &Pid| {
            process::mount_namespace(*pid) == Some(self.namespace)
                && (self.root.is_none() || process::root_identity(*pid) == self.root)
        };
        let end = process::clock().unix_ns(ended.at);
        let seen_by = |witness: Pid| {
            let root = Root::of(witness, self.rights.clone()).filter(|_| same(&witness))?;
            let seen = self.files.left(&root, end).map(|(path, present)| (path.clone(), present, self.error(&root)));
            // A parent may be gone by now, and with the last one in it a mount namespace is, with its files.
            same(&witness).then_some(seen)
        };
        let family = [own].into_iter().chain(self.witnesses.iter().copied());
        // One of another user may have a root directory that does not answer.
        let may = |pid: &Pid| process::credentials(*pid).is_some_and(|user| self.rights.are_of(user.uid));
        let strangers = || process::pids_in_mount_namespace(self.namespace).filter(may).find_map(seen_by);
        let (path, present, error) = family.filter_map(seen_by).next().or_else(strangers)??;
        if present && self.only_failed && !self.was_missing {
            return None;
        }
        // What is missing by now may have been removed by somebody else since.
        if !present && process::boot_time().since(ended.at) > LATE {
            return None;
        }
        Some(Left { id: self.id, path, present, error })
    }

    /// The error that its log ends with, if it was written to since the process began. Whose it is cannot be told if
    /// others write to it at once.
    fn error(&self, root: &Root) -> Option<Name> {
        let path = self.log.as_ref().filter(|_| self.only_failed)?.to_path();
        let is_new = root.changed(&path)? >= self.began?;
        last_error(&root.read(&path).filter(|_| is_new)?)
    }
}

/// The message of a log's last line, if that is an error: as runc writes it, in either of its formats.
fn last_error(log: &[u8]) -> Option<Name> {
    /// A longer message is cut.
    const LONGEST: usize = 512;
    #[derive(Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    let text = std::str::from_utf8(log).ok()?.trim_end();
    let line = text.rsplit('\n').next()?;
    let message = match serde_json::from_str(line) {
        Ok(Line { level, msg }) => (level == "error").then_some(msg)?,
        Err(_) => line.split_once(" level=error msg=\"")?.1.strip_suffix('"')?.to_owned(),
    };
    Some(Name::from(&message[..message.floor_char_boundary(LONGEST)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_says_why_a_runtime_failed_if_it_ends_with_that() {
        let check = |log: &str, expected: Option<&str>| {
            assert_eq!(last_error(log.as_bytes()), expected.map(Name::from), "{log}");
        };
        let json = r#"{"level":"error","msg":"runc create failed: \"x\"","time":"2026"}"#;
        check(json, Some("runc create failed: \"x\""));
        check(&format!("{json}\n{json}\n"), Some("runc create failed: \"x\""));
        check(r#"time="2026" level=error msg="runc create failed: x""#, Some("runc create failed: x"));
        check(&format!("{json}\n{{\"level\":\"info\",\"msg\":\"x\"}}\n"), None);
        check("time=\"2026\" level=warning msg=\"x\"", None);
        check("root:x:0:0:root:/root:/bin/bash", None);
        check("", None);
        let long = format!(r#"{{"level":"error","msg":"{}"}}"#, "ä".repeat(4_000));
        assert_eq!(last_error(long.as_bytes()).map(|message| message.as_bytes().len()), Some(512));
        assert_eq!(last_error(b"\xff level=error msg=\"x\""), None);
    }
}
