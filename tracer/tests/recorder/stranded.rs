//! Disks that are full, read-only or gone: tracing goes on, and what is lost is said.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::Running;
use crate::support::{self, CGTRACE, Scratch};
use crate::{churn, report, run, text, wait_until_it_traces};

/// A recorder of `d/t.jsonl.zst` on a file system of its own.
struct Stranded {
    child: Running,
    stderr: std::process::ChildStderr,
    /// The file system, seen from outside.
    inside: PathBuf,
    directory: tempfile::TempDir,
}

impl Stranded {
    fn start(size: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().display();
        // It records while a command runs, and then its shell brings out what is there: the file system goes with them.
        let script = format!(
            "mkdir {at}/fs; mount -t tmpfs -o size={size} none {at}/fs; mkdir {at}/fs/d; status=0
             {CGTRACE} record -o {at}/fs/d/t.jsonl.zst -- \
                sh -c 'until test -e {at}/stop; do sleep 0.05; done' || status=$?
             cp -rT {at}/fs/d {at}/copy; exit $status"
        );
        let child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-ec", &script])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut child = Running(child);
        let stderr = wait_until_it_traces(&mut child);
        let inside = PathBuf::from(format!("/proc/{}/root{at}/fs", child.id()));
        support::wait_for("the header", || {
            fs::metadata(inside.join("d/t.jsonl.zst")).is_ok_and(|m| m.len() > 0).then_some(())
        });
        Self { child, stderr, inside, directory }
    }

    /// Runs a command where the recorder is.
    fn enter(&self, command: &str) {
        let target = self.child.id().to_string();
        let done =
            Command::new("nsenter").args(["--mount", "--target", &target, "sh", "-ec", command]).status().unwrap();
        assert!(done.success(), "{command}");
    }

    fn path(&self) -> String {
        self.directory.path().join("fs").display().to_string()
    }

    /// Ends it: status 2, and what it said. Every file that it left is whole, and says what was lost.
    fn end(mut self, wanted: &str) {
        fs::write(self.directory.path().join("stop"), "").unwrap();
        let status = self.child.wait().unwrap();
        let said = support::read_all(self.stderr);
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(said.contains(wanted) && said.contains("lines were not recorded"), "{said}");
        let copy = self.directory.path().join("copy");
        let told = run(&["report", copy.to_str().unwrap()]);
        let human = text(&told.stdout);
        assert!(human.contains("(recording, not-written)"), "{human}\n{}", text(&told.stderr));
        assert_eq!(told.status.code(), Some(0), "no damage, for what is lost is told: {}", text(&told.stderr));
    }
}

/// Gives the recorder something to write for so many frames.
fn busy(scratch: &Scratch, frames: u32) {
    for _ in 0..frames {
        churn(scratch, "busy", 300);
        std::thread::sleep(Duration::from_millis(1_000));
    }
}

#[test]
fn a_full_disk_loses_lines_says_so_and_goes_on_when_there_is_room() {
    let scratch = Scratch::new();
    let recorder = Stranded::start("128k");
    let filler = recorder.inside.join("filler");
    let _ = fs::write(&filler, vec![0u8; 256 << 10]);
    busy(&scratch, 3);
    fs::remove_file(&filler).unwrap();
    busy(&scratch, 3);
    recorder.end("No space left on device");
}

#[test]
fn a_directory_that_was_removed_is_written_to_again_when_it_is_back() {
    let scratch = Scratch::new();
    let recorder = Stranded::start("10m");
    fs::remove_dir_all(recorder.inside.join("d")).unwrap();
    busy(&scratch, 3);
    fs::create_dir(recorder.inside.join("d")).unwrap();
    busy(&scratch, 3);
    recorder.end("it was removed");
}

#[test]
fn a_file_system_that_turns_read_only_is_written_to_again_when_it_turns_back() {
    let scratch = Scratch::new();
    let recorder = Stranded::start("10m");
    let path = recorder.path();
    // A file that is open for writing keeps a file system from turning.
    recorder.enter(&format!("rm -r {path}/d"));
    busy(&scratch, 2);
    recorder.enter(&format!("mount -o remount,ro {path}"));
    busy(&scratch, 3);
    recorder.enter(&format!("mount -o remount,rw {path}; mkdir {path}/d"));
    busy(&scratch, 3);
    recorder.end("it was removed");
}

#[test]
fn a_file_system_with_errors_that_the_kernel_turns_read_only_does_not_stop_tracing() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display();
    let script = format!(
        "truncate -s 16M {at}/image; mkfs.ext4 -q -O ^has_journal {at}/image; mkdir {at}/fs
         mount -o loop,errors=remount-ro {at}/image {at}/fs; disk=$(basename $(findmnt -n -o SOURCE {at}/fs)); status=0
         {CGTRACE} record -o {at}/fs/t.jsonl.zst -- sh -c \"
             sleep 2; echo test > /sys/fs/ext4/$disk/trigger_fs_error; sleep 2
             mkdir $scratch/late; rmdir $scratch/late; sleep 2\" || status=$?
         cp {at}/fs/t.jsonl.zst {at}/copy.jsonl.zst; exit $status"
    );
    let scratch = Scratch::new();
    let done = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec", &script])
        .env("scratch", &scratch.path)
        .output()
        .unwrap();
    let said = text(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("Read-only file system") && said.contains("lines were not recorded"), "{said}");
    let counted = said.lines().find(|line| line.starts_with("ended: ")).unwrap();
    assert!(!counted.starts_with("ended: 0 events"), "tracing went on: {said}");
    let told = report(&directory.path().join("copy.jsonl.zst"));
    assert!(text(&told.stderr).contains("cut short"), "{}", text(&told.stderr));
    assert!(!told.stdout.is_empty());
}
