//! Who sleeps is woken, and who looks is not disturbed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cgtrace::input::BootTime;
use cgtrace::kernel::Options;

use crate::support::{DEADLINE, Scratch, c_path, mkdir, rmdir};
use crate::{Kernel, plan};

#[test]
fn the_first_event_wakes_who_sleeps_each_time() {
    let _alone = crate::alone();
    let scratch = Scratch::new();
    let mut kernel = Kernel::start(&plan(), &Options { comms: Vec::new(), ..Options::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let is_woken = |kernel: &mut Kernel, within: Duration| {
        runtime.block_on(async { tokio::time::timeout(within, kernel.tracer.readable()).await.is_ok() })
    };
    for round in 0..5 {
        let path = c_path(scratch.path.join(format!("woken-{round}")));
        kernel.tracer.sleep().unwrap();
        // What had come before may have woken it, and others may be at work.
        let begun = Instant::now();
        while is_woken(&mut kernel, Duration::from_millis(200)) && begun.elapsed() < DEADLINE / 6 {
            kernel.arrived();
            kernel.tracer.sleep().unwrap();
        }
        // This process is the agent: it is no actor, whose record would wake at once.
        assert_eq!(mkdir(&path), 0);
        assert!(is_woken(&mut kernel, DEADLINE), "round {round}");
        assert!(!kernel.arrived().is_empty(), "round {round}");
        assert_eq!(rmdir(&path), 0);
    }
}

/// As SIGINT does, by which most sessions end.
#[test]
fn a_signal_that_comes_while_the_rings_are_looked_into_is_no_error() {
    extern "C" fn handle(_: libc::c_int) {}
    // SAFETY: the handler does nothing.
    unsafe { libc::signal(libc::SIGUSR1, handle as *const () as libc::sighandler_t) };
    let mut kernel = Kernel::start(&plan(), &Options::default());
    // SAFETY: it has no arguments.
    let (own, is_over) = (unsafe { libc::gettid() }, AtomicBool::new(false));
    let looked = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                // SAFETY: there is a handler.
                unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), own, libc::SIGUSR1) };
            }
        });
        let begun = Instant::now();
        let mut looked = Ok(());
        while looked.is_ok() && begun.elapsed() < Duration::from_secs(1) {
            looked = kernel.tracer.arrived(BootTime(0)).map(drop);
        }
        is_over.store(true, Ordering::Relaxed);
        looked
    });
    assert!(looked.is_ok(), "{looked:?}");
}
