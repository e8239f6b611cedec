//! What somebody asks about: a path, an id, a name, a process, or a whole line of a log.

use crate::errno::Errno;
use crate::input::Pid;
use crate::name::Name;

use super::logs::{self, LogLine, cgroup_path};

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// `pid:4711`
    Process(Pid),
    /// A path of the host's, or as a container sees it.
    Path(Name),
    /// A container's id or the beginning of one, its name, or its pod.
    Word(Name),
    /// A line of a log.
    Line(LogLine),
}

impl Question {
    /// Reads what was typed or pasted.
    ///
    /// # Errors
    /// When it names nothing; the message says what would be understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(number) = text.strip_prefix("pid:") {
            return match number.trim().parse() {
                Ok(number) => Ok(Self::Process(Pid(number))),
                Err(_) => Err(format!("{text:?} names no process\nhint: pid:4711")),
            };
        }
        let is_one_word = !text.is_empty() && !text.contains(char::is_whitespace);
        if is_one_word && text.starts_with('/') {
            return Ok(Self::Path(cgroup_path(text)));
        }
        let line = logs::read(text);
        let is_one_id = line.paths.is_empty() && line.errno.is_none();
        if is_one_word && is_one_id && !text.contains(['"', '\'', '`', '=']) {
            return Ok(Self::Word(text.into()));
        }
        if line.paths.is_empty() && line.ids.is_empty() && line.pid.is_none() {
            return Err(format!(
                "{text:?} names no cgroup, container or process\n\
                 hint: give a path, a container's id or name, a pod, pid:N, or a line of a log with a path or an id \
                 in it"
            ));
        }
        Ok(Self::Line(line))
    }

    /// The errno that was told of, if the question is a line of a log.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Line(line) => line.errno,
            Self::Process(_) | Self::Path(_) | Self::Word(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_a_process_a_path_a_word_or_a_line() {
        let check = |text: &str, wanted: Question| assert_eq!(Question::parse(text), Ok(wanted), "{text}");
        check("pid:4711", Question::Process(Pid(4711)));
        check(" pid: 4711 ", Question::Process(Pid(4711)));
        check("/docker/3f2a", Question::Path("/docker/3f2a".into()));
        check("/sys/fs/cgroup//x/cgroup.procs", Question::Path("/sys/fs/cgroup/x".into()));
        check("/sys/fs/cgroup/web.slice/", Question::Path("/sys/fs/cgroup/web.slice".into()));
        check("/", Question::Path("/".into()));
        check("3f2a", Question::Word("3f2a".into()));
        check("web", Question::Word("web".into()));
        check("kube-system/etcd-node1", Question::Word("kube-system/etcd-node1".into()));
        let line = Question::parse("rmdir /sys/fs/cgroup/x: device or resource busy").expect("a line");
        assert_eq!(line.errno(), Some(Errno::EBUSY));
        assert!(matches!(line, Question::Line(line) if line.paths == ["/sys/fs/cgroup/x"]));
    }

    #[test]
    fn what_names_nothing_is_refused_with_what_would_do() {
        for text in ["", "no such file or directory", "pid:x", "pid:", "pid:-1", "it does not work"] {
            let error = Question::parse(text).expect_err(text);
            assert!(error.contains("hint: "), "{error}");
        }
    }
}
