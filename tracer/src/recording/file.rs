//! One trace file on disk: it grows by whole frames or not at all.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A trace file that is being written.
pub(super) struct TraceFile {
    file: File,
    path: PathBuf,
    size: u64,
}

impl TraceFile {
    /// Makes a file that nobody else can read, and never touches one that is there, or follows a link. It is locked
    /// for as long as it is open, where the file system has locks ([`is_held`]).
    ///
    /// # Errors
    /// When it exists, or cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(flags).open(path)?;
        // Not every network file system has locks. Without one a trace is written all the same.
        let _ = file.lock();
        Ok(Self { file, path: path.to_path_buf(), size: 0 })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes in it.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether its name is gone: whatever is written to it now, nobody will read.
    pub fn is_removed(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }
}

/// Whether a recorder writes to this file. A lock tells it, so that the answer is right after a crash too, and for a
/// recorder in another container.
pub(super) fn is_held(path: &Path) -> bool {
    // Opened as a recorder may open it: within its Landlock domain files can be written, not read.
    let opened = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path);
    opened.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

impl Write for TraceFile {
    /// Takes all of a frame, on disk before this returns, or nothing of it.
    fn write(&mut self, frame: &[u8]) -> io::Result<usize> {
        let written = self.file.write_all(frame).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Half a frame would be damage.
            let _ = self.file.set_len(self.size);
            let _ = io::Seek::seek(&mut self.file, io::SeekFrom::Start(self.size));
            return Err(error);
        }
        if self.is_removed() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it was removed"));
        }
        self.size += frame.len() as u64;
        Ok(frame.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
