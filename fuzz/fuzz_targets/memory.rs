//! A bound on what one input may make the program hold.
//!
//! libFuzzer looks at the memory of the whole process once a second, and then blames the input of that moment. This
//! stops at the very allocation that is too much.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Runs something that may hold no more than so many bytes, and so many for each byte of its input, beyond what is held
/// already.
pub fn bounded<T>(fixed: usize, factor: usize, input: usize, run: impl FnOnce() -> T) -> T {
    MOST.store(HELD.load(Relaxed) + fixed + factor * input, Relaxed);
    let done = run();
    MOST.store(usize::MAX, Relaxed);
    done
}

struct Bounded;

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

impl Bounded {
    fn account(wanted: usize) {
        if HELD.fetch_add(wanted, Relaxed).saturating_add(wanted) > MOST.load(Relaxed) {
            // Nothing that allocates can be said here.
            let text = b"more memory than such an input may take\n";
            // SAFETY: the text lives as long as the program.
            unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
            std::process::abort();
        }
    }
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::account(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::account(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::account(size);
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(place, layout) }
    }
}
