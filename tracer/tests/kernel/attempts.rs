//! Failed system calls on cgroupfs.

use std::ffi::CString;
use std::fs::File;

use cgtrace::demo::bundle::Bundle;
use cgtrace::errno::Errno;
use cgtrace::input::{Attempt, Change, Event, Input, Pid, Syscall};
use cgtrace::kernel::{Options, Plan};
use cgtrace::mounts::Watch;
use cgtrace::process;

use crate::support::{Agent, Scratch, c_path, errno, fork, of_type, rmdir};
use crate::{Kernel, number, plan, plans};
use tracer_ebpf::syscalls::Leads;

/// Attempts whose path is, or starts at, the scratch cgroup.
fn attempts<'a>(inputs: &'a [Input], scratch: &Scratch) -> Vec<&'a Attempt> {
    let absolute = scratch.path.to_str().unwrap();
    inputs
        .iter()
        .filter_map(|input| match input {
            Input::Attempt(attempt) => Some(attempt),
            _ => None,
        })
        .filter(|attempt| match &attempt.directory {
            Some(directory) => directory.path.to_str().is_some_and(|path| path.starts_with(&scratch.cgroup)),
            None => attempt.path.to_str().is_some_and(|path| path.starts_with(absolute)),
        })
        .collect()
}

pub fn every_backend(check: impl Fn(&Plan)) {
    plans().iter().for_each(check);
}

/// Makes a system call that takes a directory and a path where it has both. Returns its error.
fn call(syscall: Syscall, directory: i32, path: &CString) -> i32 {
    let (path, mode) = (path.as_ptr(), 0o755 as libc::c_long);
    let how: [u64; 3] = [libc::O_PATH as u64 | libc::O_CLOEXEC as u64, 0, 0];
    let flags = libc::c_long::from(libc::O_PATH | libc::O_CLOEXEC);
    // SAFETY: the path ends in a zero, and `how` has the size that is told.
    errno(unsafe {
        match syscall {
            #[cfg(target_arch = "x86_64")]
            Syscall::Open => libc::syscall(libc::SYS_open, path, flags, 0),
            #[cfg(target_arch = "x86_64")]
            Syscall::Mkdir => libc::syscall(libc::SYS_mkdir, path, mode),
            #[cfg(target_arch = "x86_64")]
            Syscall::Rmdir => libc::syscall(libc::SYS_rmdir, path),
            #[cfg(target_arch = "x86_64")]
            Syscall::Rename => libc::syscall(libc::SYS_rename, path, path),
            #[cfg(not(target_arch = "x86_64"))]
            Syscall::Open | Syscall::Mkdir | Syscall::Rmdir | Syscall::Rename => {
                unreachable!("only the *at calls exist")
            }
            Syscall::Openat => libc::syscall(libc::SYS_openat, directory, path, flags, 0),
            Syscall::Openat2 => libc::syscall(libc::SYS_openat2, directory, path, how.as_ptr(), 24usize),
            Syscall::Mkdirat => libc::syscall(libc::SYS_mkdirat, directory, path, mode),
            Syscall::Unlinkat => libc::syscall(libc::SYS_unlinkat, directory, path, libc::AT_REMOVEDIR),
            Syscall::Renameat => libc::syscall(libc::SYS_renameat, directory, path, directory, path),
            Syscall::Renameat2 => libc::syscall(libc::SYS_renameat2, directory, path, directory, path, 0),
            Syscall::Clone3
            | Syscall::CgroupFileWrite
            | Syscall::Write
            | Syscall::Pwrite64
            | Syscall::Writev
            | Syscall::Read
            | Syscall::Pread64 => unreachable!("they take no path"),
        }
    })
}

fn syscalls() -> impl Iterator<Item = Syscall> {
    Syscall::ALL.into_iter().filter(|syscall| syscall.number().is_some() && syscall.takes_path())
}

#[test]
fn every_call_is_seen_with_absolute_paths_and_relative_to_descriptor_and_working_directory() {
    every_backend(|plan| {
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.path.join("a")).unwrap();
        let mut kernel = Kernel::start(plan, &Options::default());
        let directory = File::open(scratch.path.join("a")).unwrap();
        let fd = number(&directory);
        let mut expected = Vec::new();
        let mut pids = Vec::new();
        for syscall in syscalls() {
            let takes_directory = matches!(syscall.row().leads, Leads::Path { directory: Some(_), .. });
            // The parent is missing, so that every call fails with ENOENT.
            let absolute = c_path(scratch.path.join("no").join(syscall.as_str()));
            let relative = CString::new(format!("no/{}", syscall.as_str())).unwrap();
            let child = fork(|| i32::from(call(syscall, libc::AT_FDCWD, &absolute) != libc::ENOENT));
            pids.push(child.0 as u32);
            assert_eq!(child.wait(), 0);
            expected.push((syscall, absolute.to_str().unwrap().to_owned(), None));
            let child = fork(|| {
                // SAFETY: a call without memory.
                unsafe { libc::fchdir(fd) };
                i32::from(call(syscall, libc::AT_FDCWD, &relative) != libc::ENOENT)
            });
            pids.push(child.0 as u32);
            assert_eq!(child.wait(), 0);
            let below = Some(format!("{}/a", scratch.cgroup));
            expected.push((syscall, relative.to_str().unwrap().to_owned(), below.clone()));
            if takes_directory {
                let child = fork(|| i32::from(call(syscall, fd, &relative) != libc::ENOENT));
                pids.push(child.0 as u32);
                assert_eq!(child.wait(), 0);
                expected.push((syscall, relative.to_str().unwrap().to_owned(), below));
            }
        }
        let wanted = expected.len();
        let inputs = kernel.wait_until("all attempts", |inputs| attempts(inputs, &scratch).len() >= wanted);
        let mut seen = attempts(inputs, &scratch);
        seen.sort_by_key(|attempt| attempt.at);
        let told: Vec<_> = seen
            .iter()
            .map(|attempt| {
                let directory = attempt.directory.as_ref().map(|directory| directory.path.to_str().unwrap().to_owned());
                (attempt.syscall, attempt.path.to_str().unwrap().to_owned(), directory)
            })
            .collect();
        assert_eq!(told, expected, "{}", plan.backend);
        assert!(seen.iter().all(|attempt| attempt.errno == Errno::ENOENT));
        assert_eq!(seen.iter().map(|attempt| attempt.actor.pid.0).collect::<Vec<_>>(), pids);
        assert!(seen.iter().all(|attempt| attempt.mount_namespace.is_some()));
        let flags: Vec<u64> = seen.iter().filter_map(|attempt| attempt.flags).collect();
        assert!(!flags.is_empty() && flags.iter().all(|flags| flags & libc::O_PATH as u64 != 0), "{flags:x?}");
        let id = seen.iter().find_map(|attempt| attempt.directory.as_ref()).map(|directory| directory.id.0);
        use std::os::unix::fs::MetadataExt;
        assert_eq!(id, Some(directory.metadata().unwrap().ino()));
    });
}

#[test]
fn what_succeeds_and_what_is_elsewhere_is_not_seen() {
    every_backend(|plan| {
        let scratch = Scratch::new();
        let elsewhere = tempfile::tempdir().unwrap();
        let mut kernel = Kernel::start(plan, &Options::default());
        let missing = c_path(elsewhere.path().join("missing"));
        let relative = CString::new("missing/too").unwrap();
        let similar = CString::new("/sys/fs/cgroups/missing").unwrap();
        let here = c_path(&scratch.path);
        let directory = File::open(elsewhere.path()).unwrap();
        let fd = number(&directory);
        let child = fork(|| {
            // None of these is an attempt: another file system, a name that only begins alike, a success, a file.
            let elsewhere = call(Syscall::Openat, libc::AT_FDCWD, &missing) == libc::ENOENT
                && call(Syscall::Mkdirat, fd, &relative) == libc::ENOENT
                && call(Syscall::Openat, libc::AT_FDCWD, &similar) == libc::ENOENT
                && call(Syscall::Openat, libc::AT_FDCWD, &here) == 0;
            // SAFETY: the path ends in a zero.
            let file = errno(unsafe { libc::unlink(here.as_ptr()) }.into()) == libc::EISDIR;
            i32::from(!(elsewhere && file))
        });
        let pid = child.0 as u32;
        assert_eq!(child.wait(), 0);
        // The last word of another process comes after all of that one's.
        let last = c_path(scratch.path.join("last"));
        assert_eq!(fork(|| i32::from(rmdir(&last) != libc::ENOENT)).wait(), 0);
        let inputs = kernel.wait_until("the last attempt", |inputs| !attempts(inputs, &scratch).is_empty());
        let wrong: Vec<_> = inputs
            .iter()
            .filter(|input| matches!(input, Input::Attempt(attempt) if attempt.actor.pid.0 == pid))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    });
}

#[test]
fn the_tracers_own_calls_are_not_seen_and_no_event_is_left_out_because_it_is_current() {
    let scratch = Scratch::new();
    let mut kernel = Kernel::start(&plan(), &Options::default());
    let path = c_path(scratch.path.join("missing"));
    assert_eq!(rmdir(&path), libc::ENOENT);
    std::fs::create_dir(scratch.path.join("own")).unwrap();
    assert_eq!(fork(|| i32::from(rmdir(&path) != libc::ENOENT)).wait(), 0);
    let inputs = kernel.wait_until("the child's attempt", |inputs| !attempts(inputs, &scratch).is_empty());
    let own = std::process::id();
    let by_own = |input: &&Input| match input {
        Input::Attempt(attempt) => attempt.actor.pid.0 == own,
        Input::Process(process) => process.pid.0 == own,
        _ => false,
    };
    assert_eq!(inputs.iter().find(by_own), None);
    let made = format!("{}/own", scratch.cgroup);
    let is_made = |event: &Event| event.change == Change::Created && event.cgroup.path == made.as_str();
    assert!(inputs.iter().any(|input| matches!(input, Input::Event(event) if is_made(event))));
}

/// Makes calls with relative paths from several directories, each in a process of its own. Returns their pids.
fn from_each(calls: &[(&File, &str)]) -> Vec<u32> {
    let each = calls.iter().map(|(directory, path)| {
        let (fd, path) = (number(*directory), CString::new(*path).unwrap());
        let child = fork(|| i32::from(call(Syscall::Openat2, fd, &path) != libc::ENOENT));
        let by_descriptor = child.0 as u32;
        assert_eq!(child.wait(), 0, "{path:?}");
        let child = fork(|| {
            // SAFETY: a call without memory.
            unsafe { libc::fchdir(fd) };
            i32::from(call(Syscall::Openat, libc::AT_FDCWD, &path) != libc::ENOENT)
        });
        let by_working_directory = child.0 as u32;
        assert_eq!(child.wait(), 0, "{path:?}");
        [by_descriptor, by_working_directory]
    });
    each.flatten().collect()
}

#[test]
fn a_relative_path_that_crosses_into_cgroupfs_is_seen_from_every_directory_above() {
    every_backend(|plan| {
        let scratch = Scratch::new();
        let mut kernel = Kernel::start(plan, &Options::default());
        let mounts = process::mounts_of(Pid(std::process::id()), 1 << 30).unwrap().mounts;
        let mut watch = Watch::default();
        assert!(watch.learn(&mounts, true));
        kernel.tracer.watch(&watch).unwrap();
        let missing = scratch.path.join("missing");
        // From the root down to the directory that holds the mount, or on a unified host is it.
        let mount = scratch.path.parent().unwrap();
        let above: Vec<&std::path::Path> = mount.ancestors().skip(1).collect();
        let directories: Vec<File> = above.iter().map(|path| File::open(path).unwrap()).collect();
        let paths = above.iter().map(|path| missing.strip_prefix(path).unwrap().to_str().unwrap().to_owned());
        let paths: Vec<String> = paths.flat_map(|path| [format!("./{path}"), path]).collect();
        let calls: Vec<(&File, &str)> =
            paths.iter().enumerate().map(|(n, path)| (&directories[n / 2], &**path)).collect();
        let pids = from_each(&calls);
        // The same words from elsewhere, and other words from there.
        let elsewhere = tempfile::tempdir().unwrap();
        let elsewhere = File::open(elsewhere.path()).unwrap();
        let root = File::open("/").unwrap();
        let near =
            [(&elsewhere, paths[1].as_str()), (&root, "sys/fs/missing"), (&root, "missing"), (&directories[0], "x")];
        let near = from_each(&near);
        let last = c_path(scratch.path.join("last"));
        assert_eq!(fork(|| i32::from(rmdir(&last) != libc::ENOENT)).wait(), 0);
        let inputs = kernel.wait_until("the last attempt", |inputs| !attempts(inputs, &scratch).is_empty());
        let by = |pid: u32| {
            let attempts = inputs.iter().filter_map(|input| match input {
                Input::Attempt(attempt) if attempt.actor.pid.0 == pid => Some(attempt),
                _ => None,
            });
            attempts.collect::<Vec<_>>()
        };
        for (index, pid) in pids.iter().enumerate() {
            let seen = by(*pid);
            assert_eq!(seen.len(), 1, "{}: {:?}", plan.backend, calls[index / 2].1);
            let directory = seen[0].directory.as_ref().unwrap();
            assert!(directory.outside && directory.mount.is_some() && !directory.truncated, "{directory:?}");
            assert_eq!(seen[0].path.to_str(), Some(calls[index / 2].1));
        }
        for pid in near {
            assert!(by(pid).is_empty(), "{:?}", by(pid));
        }
    });
}

#[test]
fn a_relative_path_from_above_is_resolved_to_the_cgroup_and_one_that_stays_outside_is_dropped() {
    let scratch = Scratch::new();
    let agent = Agent::start(&[]);
    let above = File::open(scratch.path.parent().unwrap().parent().unwrap()).unwrap();
    let mount = scratch.path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let crosses = format!("{mount}{}/missing/cgroup.procs", scratch.cgroup);
    // It begins like the mount's name, and is another one.
    let stays = format!("{mount}-not/missing");
    let pids = from_each(&[(&above, &crosses), (&above, &stays)]);
    let last = c_path(scratch.path.join("last"));
    assert_eq!(fork(|| i32::from(rmdir(&last) != libc::ENOENT)).wait(), 0);
    agent.wait_for("the last attempt", |line| line["type"] == "attempt" && line["path"] == last.to_str().unwrap());
    let lines = agent.finish();
    let of = |pid: u32| {
        of_type(&lines, "attempt").into_iter().filter(|line| line["actor"]["pid"] == pid).collect::<Vec<_>>()
    };
    for pid in &pids[..2] {
        let [line] = of(*pid)[..] else { panic!("{:#?}", of(*pid)) };
        assert_eq!(line["cgroup"]["path"], format!("{}/missing", scratch.cgroup));
        assert_eq!(line["cgroup"]["hierarchy"], scratch.hierarchy);
        assert_eq!(line["directory"]["outside"], true);
    }
    assert!(pids[2..].iter().all(|pid| of(*pid).is_empty()));
}

#[test]
fn runc_on_v1_looks_for_the_freezers_state_from_above_and_is_heard() {
    let (hierarchy, mount) = crate::support::v1("freezer");
    assert_eq!(mount.parent(), Some(std::path::Path::new("/sys/fs/cgroup")), "where runc looks for it");
    let directory = tempfile::tempdir().unwrap();
    let bundle = Bundle::new(directory.path(), &["/does/not/exist"]).unwrap();
    let id = format!("cgtrace-freezer-{}", std::process::id());
    let agent = Agent::start(&[]);
    let failed = std::process::Command::new("runc")
        .args(["--root", directory.path().join("state").to_str().unwrap(), "run", "--bundle"])
        .args([bundle.path().to_str().unwrap(), &id])
        .output()
        .expect("runc is installed");
    assert!(!failed.status.success());
    let path = format!("freezer/{id}/freezer.state");
    let line = agent.wait_for("its look", |line| line["type"] == "attempt" && line["path"] == path.as_str());
    assert_eq!(line["syscall"], "openat2");
    assert_eq!(line["cgroup"]["path"], format!("/{id}"));
    assert_eq!(line["cgroup"]["hierarchy"], hierarchy);
    assert_eq!(line["container"]["id"], id.as_str());
    agent.finish();
}

#[test]
fn a_covered_mount_resolves_no_path() {
    let scratch = Scratch::new();
    let agent = Agent::start(&[]);
    // The same call in a mount namespace where the place is as it was, and in others where something covers it.
    let attempt = |before: &str, name: &str| {
        let missing = scratch.path.join(name);
        let script = format!("{before}\nrmdir {}; read line", missing.display());
        let child = std::process::Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .stdin(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        (child, missing)
    };
    let covers = ["mount -t tmpfs none /sys/fs/cgroup", "mount -t tmpfs none /sys", "mount -t tmpfs none /sys/fs"];
    let mut covered: Vec<_> = covers.iter().map(|cover| attempt(cover, "covered").0).collect();
    let (mut open, missing) = attempt("", "open");
    let line =
        agent.wait_for("the open one's", |line| line["type"] == "attempt" && line["path"] == missing.to_str().unwrap());
    assert_eq!(line["cgroup"]["path"], format!("{}/open", scratch.cgroup));
    for child in covered.iter_mut().chain([&mut open]) {
        drop(child.stdin.take());
        child.wait().unwrap();
    }
    let last = c_path(scratch.path.join("last"));
    assert_eq!(fork(|| i32::from(rmdir(&last) != libc::ENOENT)).wait(), 0);
    agent.wait_for("the last attempt", |line| line["type"] == "attempt" && line["path"] == last.to_str().unwrap());
    let lines = agent.finish();
    let wrong: Vec<_> = of_type(&lines, "attempt")
        .into_iter()
        .filter(|line| line["path"].as_str().is_some_and(|path| path.ends_with("/covered")) && scratch.has(line))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_path_is_followed_by_the_mounts_of_the_moment() {
    const ROUNDS: usize = 8;
    let scratch = Scratch::new();
    let place = tempfile::tempdir().unwrap();
    let at = place.path().display();
    let agent = Agent::start(&[]);
    let scratch_at = scratch.path.display();
    let mount = format!("mount --bind {scratch_at} {at}");
    // A call that is seen in any case has the table read, so that the place is watched.
    let begin = format!("{mount}; rmdir {scratch_at}/first; read line");
    let round = format!("rmdir {at}/mounted; umount {at}; rmdir {at}/unmounted; sleep 0.5; {mount}; i=$((i+1))");
    let script = format!("{begin}; i=0; while [ $i -lt {ROUNDS} ]; do {round}; done; rmdir {scratch_at}/last; true");
    let mut child = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    agent.wait_for("the mount table", |line| {
        let mounts = line["mounts"].as_array();
        mounts.is_some_and(|mounts| mounts.iter().any(|mount| mount["mount_point"] == at.to_string().as_str()))
    });
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    agent.wait_for("the last attempt", |line| {
        line["type"] == "attempt" && line["path"].as_str().is_some_and(|path| path.ends_with("/last"))
    });
    let lines = agent.finish();
    let told = |name: &str| -> Vec<bool> {
        let attempts = of_type(&lines, "attempt").into_iter();
        let of_name = attempts.filter(|line| line["path"].as_str().is_some_and(|path| path.ends_with(name)));
        of_name.map(|line| scratch.has(line)).collect()
    };
    assert!(told("/unmounted").iter().all(|is_cgroup| !is_cgroup), "{:?}", told("/unmounted"));
    // The mount is gone a moment after the call: whether it is resolved depends on when the table is read.
    let mounted = told("/mounted");
    assert!(mounted.contains(&true), "{mounted:?}");
}

#[test]
fn a_refused_rename_on_v1_is_told_of_the_cgroup_that_keeps_its_name() {
    let v1 = Scratch::on_v1("pids");
    let v2 = Scratch::new();
    for place in ["old/child", "taken"] {
        std::fs::create_dir_all(v1.path.join(place)).unwrap();
    }
    std::fs::create_dir(v2.path.join("old")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let agent = Agent::start(&[]);
    let rename = |from: &std::path::Path, to: &std::path::Path| {
        let (from, to) = (c_path(from), c_path(to));
        let forked = fork(|| {
            // SAFETY: both paths end in a zero.
            errno(unsafe { libc::rename(from.as_ptr(), to.as_ptr()) }.into())
        });
        forked.wait()
    };
    let (old, new) = (v1.path.join("old"), v1.path.join("new"));
    assert_eq!(rename(&old, &v1.path.join("taken")), libc::EEXIST);
    assert_eq!(rename(&old.join("child"), &new), libc::EIO, "it would have another parent");
    assert_eq!(rename(&v1.path.join("missing"), &new), libc::ENOENT);
    assert_eq!(rename(&old.join("tasks"), &old.join("jobs")), libc::ENOTDIR);
    assert_eq!(rename(&old, &elsewhere.path().join("old")), libc::EXDEV, "says nothing of the cgroup");
    assert_eq!(rename(&old, &new), 0);
    assert_eq!(rename(&v2.path.join("old"), &v2.path.join("new")), libc::EPERM, "cgroup2 has no renaming");
    agent.wait_for("the last one", |line| line["type"] == "attempt" && v2.has(line));
    let lines = agent.finish();
    let told: Vec<(&str, &str, &str)> = of_type(&lines, "attempt")
        .into_iter()
        .filter(|line| v1.has(line) || v2.has(line))
        .map(|line| {
            let path = line["cgroup"]["path"].as_str().unwrap();
            let below = path.strip_prefix(&v1.cgroup).or_else(|| path.strip_prefix(&v2.cgroup)).unwrap();
            (line["operation"].as_str().unwrap(), line["errno"].as_str().unwrap(), below)
        })
        .collect();
    let expected =
        [("EEXIST", "/old"), ("EIO", "/old/child"), ("ENOENT", "/missing"), ("ENOTDIR", "/old"), ("EPERM", "/old")];
    assert_eq!(told, expected.map(|(errno, below)| ("rename", errno, below)));
    assert_eq!(v1.changes(&lines, "new"), ["renamed"]);
    assert!(
        of_type(&lines, "finding").into_iter().all(|line| !v1.has(line) && !v2.has(line)),
        "a rename tears nothing down"
    );
}
