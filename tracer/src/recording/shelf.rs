//! The files of one recorder: what they are called, and which of them are kept.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::{TraceFile, is_held};
use super::frames::FrameWriter;
use crate::hierarchy::Clock;
use crate::input::BootTime;

/// What traces are called that nobody gave a name.
const DEFAULT_PREFIX: &str = "cgtrace-";
/// How traces end.
const EXTENSION: &str = ".jsonl.zst";

/// When a new file is begun, and which old ones are kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// A file this large is ended.
    pub size: Option<u64>,
    /// A file this old is ended.
    pub age: Option<Duration>,
    /// So many files are kept.
    pub keep: Option<usize>,
    /// The files together are no larger than this.
    pub total: Option<u64>,
}

impl Limits {
    /// Whether there will be more than one file.
    pub fn rotates(&self) -> bool {
        self.size.is_some() || self.age.is_some() || self.total.is_some()
    }
}

/// The date of a default name: `20261124T043330Z`, each digit a 0.
const DATE: &[u8; 16] = b"00000000T000000Z";

/// `cgtrace-HOST-20261124T043330Z.jsonl.zst`
pub fn default_name(host: &str, clock: Clock) -> PathBuf {
    let host: String =
        host.chars().map(|c| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '_' }).collect();
    let time = clock.rfc3339(BootTime(clock.boot_ns));
    let time: String = time.chars().take(19).filter(|c| !matches!(c, '-' | ':')).collect();
    PathBuf::from(format!("{DEFAULT_PREFIX}{host}-{time}Z{EXTENSION}"))
}

/// Whether a file is called as another one of the same host is: `cgtrace-HOST-`, a date, and perhaps the number of a
/// part.
fn is_of_the_same_host(name: &str, own: &str) -> bool {
    let dated = |name: &str| -> Option<String> {
        let stem = name.strip_prefix(DEFAULT_PREFIX)?.strip_suffix(EXTENSION)?;
        let stem = match stem.rsplit_once('.') {
            Some((stem, part)) if part.len() >= 4 && part.bytes().all(|byte| byte.is_ascii_digit()) => stem,
            Some(_) | None => stem,
        };
        let (host, date) = stem.rsplit_once('-')?;
        let digits = date.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
        digits.eq(DATE.iter().copied()).then(|| host.to_owned())
    };
    dated(own).is_some_and(|host| dated(name) == Some(host))
}

/// A file that counts among those to keep.
struct Kept {
    path: PathBuf,
    size: u64,
    /// An earlier run left it, or another recorder writes it right now.
    adopted: bool,
}

/// The files of one recorder, oldest first.
pub(super) struct Shelf {
    path: PathBuf,
    limits: Limits,
    numbered: bool,
    next: u32,
    /// The directory is this recorder's own, with what earlier runs left.
    adopted: bool,
    files: VecDeque<Kept>,
    report: fn(&str),
}

impl Shelf {
    /// Files named after `path`: it alone, or numbered. `report` is told of what cannot be removed.
    pub fn new(path: PathBuf, limits: Limits, numbered: bool, report: fn(&str)) -> Self {
        Self { path, limits, numbered, next: 0, adopted: false, files: VecDeque::new(), report }
    }

    /// Counts the traces that earlier runs left beside this one among those to keep: those of this host and this user.
    /// What they take up is what is allocated of them.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn adopt_older(&mut self) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let own = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let user = rustix::process::geteuid().as_raw();
        let mut found = Vec::new();
        for entry in directory.read_dir()? {
            let entry = entry?;
            let name = entry.file_name();
            let is_trace = name.to_str().is_some_and(|name| is_of_the_same_host(name, &own));
            if let (true, Ok(metadata)) = (is_trace, entry.metadata())
                && metadata.is_file()
                && metadata.uid() == user
            {
                found.push((metadata.modified()?, entry.path(), metadata.blocks().saturating_mul(512)));
            }
        }
        found.sort();
        self.adopted = true;
        self.files = found.into_iter().map(|(_, path, size)| Kept { path, size, adopted: true }).collect();
        self.prune();
        Ok(())
    }

    /// Makes the next file.
    ///
    /// # Errors
    /// When it exists, or cannot be made.
    pub fn create(&mut self) -> io::Result<FrameWriter<TraceFile>> {
        // A name that somebody else took is passed over, once numbers are given anyway.
        let file = loop {
            let path = if self.numbered { part_name(&self.path, self.next) } else { self.path.clone() };
            match TraceFile::create(&path) {
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists
                        && self.numbered
                        && (self.next > 0 || self.adopted) =>
                {
                    self.next += 1;
                }
                made => break made?,
            }
        };
        let writer = FrameWriter::new(file)?;
        self.next += 1;
        self.numbered |= self.next > 0;
        self.files.push_back(Kept { path: writer.get_ref().path().to_path_buf(), size: 0, adopted: false });
        self.prune();
        Ok(writer)
    }

    /// The first file's name.
    pub fn first_name(&self) -> PathBuf {
        if self.numbered { part_name(&self.path, 0) } else { self.path.clone() }
    }

    /// The newest file's name, or the one that it would have.
    pub fn newest_name(&self) -> PathBuf {
        self.files.back().map_or_else(|| self.first_name(), |newest| newest.path.clone())
    }

    /// The newest file has this size now.
    pub fn resize(&mut self, size: u64) {
        if let Some(newest) = self.files.back_mut() {
            newest.size = size;
        }
    }

    /// Whether the newest file is as large as one may be.
    pub fn is_full(&self) -> bool {
        let size = self.files.back().map_or(0, |newest| newest.size);
        // Together within the total, in four steps, so that what is dropped is a quarter at most.
        self.limits.size.is_some_and(|most| size >= most)
            || self.limits.total.is_some_and(|total| size >= (total / 4).max(1))
    }

    /// Whether a file of that age is as old as one may be.
    pub fn is_old(&self, age: Duration) -> bool {
        self.limits.age.is_some_and(|most| age >= most)
    }

    /// Removes the oldest files until the rest is within the limits. The newest stays, and so does what another
    /// recorder writes: that one keeps to limits of its own.
    fn prune(&mut self) {
        let total = |files: &VecDeque<Kept>| files.iter().map(|file| file.size).sum::<u64>();
        while self.files.len() > 1
            && (self.limits.keep.is_some_and(|keep| self.files.len() > keep.max(1))
                // The newest will grow to a quarter.
                || self.limits.total.is_some_and(|most| total(&self.files) > most - most / 4))
        {
            let Some(Kept { path, adopted, .. }) = self.files.pop_front() else { break };
            if adopted && is_held(&path) {
                continue;
            }
            if let Err(error) = std::fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                (self.report)(&format!("failed to remove {}: {error}", path.display()));
            }
        }
    }
}

/// `NAME.0001.jsonl.zst`
fn part_name(path: &Path, part: u32) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (stem, extension) = match name.find(".jsonl") {
        Some(at) => (name[..at].to_owned(), name[at..].to_owned()),
        None => (name, String::new()),
    };
    path.with_file_name(format!("{stem}.{part:04}{extension}"))
}

/// The part that would come after this one; `None` if the name is not that of a part.
pub fn next_part_name(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let (stem, extension) = name.split_at(name.find(".jsonl").unwrap_or(name.len()));
    let (stem, number) = stem.rsplit_once('.')?;
    let next = number.parse::<u32>().ok().filter(|_| number.len() >= 4)?.checked_add(1)?;
    Some(path.with_file_name(format!("{stem}.{next:04}{extension}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_numbered_before_the_extension() {
        assert_eq!(part_name(Path::new("/a/b.jsonl.zst"), 3), Path::new("/a/b.0003.jsonl.zst"));
        assert_eq!(part_name(Path::new("trace"), 12), Path::new("trace.0012"));
        assert_eq!(next_part_name(Path::new("/a/b.0009.jsonl.zst")), Some("/a/b.0010.jsonl.zst".into()));
        assert_eq!(next_part_name(Path::new("trace.9999")), Some("trace.10000".into()));
        assert_eq!(next_part_name(Path::new("/a/b.jsonl.zst")), None);
        assert_eq!(next_part_name(Path::new("/a/host.1.jsonl.zst")), None);
    }

    #[test]
    fn the_default_name_tells_host_and_time() {
        let clock = Clock { boot_ns: 0, unix_ns: 1_700_000_000_000_000_000 };
        assert_eq!(default_name("a/b", clock), Path::new("cgtrace-a_b-20231114T221320Z.jsonl.zst"));
    }

    #[test]
    fn what_earlier_runs_left_counts_and_what_is_not_ours_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let strangers = [
            "cgtrace-other-20261124T043330Z.0000.jsonl.zst",
            "cgtrace-host-x-20261124T043330Z.jsonl.zst",
            "cgtrace-host-incident.jsonl.zst",
            "other.jsonl.zst",
            "cgtrace-notes.txt",
        ];
        let own = ["cgtrace-host-20261122T043330Z.0000.jsonl.zst", "cgtrace-host-20261123T043330Z.jsonl.zst"];
        for name in strangers.iter().chain(&own) {
            std::fs::write(directory.path().join(name), "1234567890").expect("written");
        }
        let limits = Limits { keep: Some(2), ..Limits::default() };
        let path = directory.path().join("cgtrace-host-20261124T043330Z.jsonl.zst");
        let mut shelf = Shelf::new(path, limits, true, |error| panic!("{error}"));
        shelf.adopt_older().expect("read");
        shelf.create().expect("made");
        let is_left = |name: &&str| directory.path().join(name).exists();
        assert!(strangers.iter().all(is_left), "of another host, or no trace of a recorder's");
        assert_eq!(own.iter().filter(|name| is_left(name)).count(), 1);
        assert!(is_left(&"cgtrace-host-20261124T043330Z.0000.jsonl.zst"));
    }

    #[test]
    fn what_another_recorder_writes_stays_until_it_is_closed() {
        let directory = tempfile::tempdir().expect("a directory");
        let shelf = |date: &str, keep: usize| {
            let limits = Limits { keep: Some(keep), ..Limits::default() };
            let path = directory.path().join(format!("cgtrace-host-{date}.jsonl.zst"));
            let mut shelf = Shelf::new(path, limits, true, |error| panic!("{error}"));
            shelf.adopt_older().expect("read");
            shelf
        };
        let mut one = shelf("20261122T043330Z", 1);
        let closed = one.create().expect("made").get_ref().path().to_path_buf();
        let live = one.create().expect("made");
        let path = live.get_ref().path().to_path_buf();
        assert!(!closed.exists(), "its own earlier file, which it holds no longer");
        let mut other = shelf("20261123T043330Z", 1);
        let _second = other.create().expect("made");
        assert!(path.exists(), "it is written to");
        drop(live);
        let _third = shelf("20261124T043330Z", 2).create().expect("made");
        assert!(!path.exists(), "nobody writes to it any more");
    }

    #[test]
    fn a_file_takes_up_what_is_allocated_of_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("cgtrace-host-20261122T043330Z.jsonl.zst"), "1234567890").expect("written");
        let sparse = std::fs::File::create(at("cgtrace-host-20361122T043330Z.jsonl.zst")).expect("made");
        sparse.set_len(1 << 40).expect("sparse");
        let limits = Limits { total: Some(1 << 30), ..Limits::default() };
        let path = at("cgtrace-host-20261124T043330Z.jsonl.zst");
        let mut shelf = Shelf::new(path, limits, true, |error| panic!("{error}"));
        shelf.adopt_older().expect("read");
        assert_eq!(std::fs::read_dir(directory.path()).expect("read").count(), 2, "nothing is removed for holes");
    }
}
