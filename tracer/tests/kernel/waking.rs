//! Who sleeps is woken.

use std::time::{Duration, Instant};

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
