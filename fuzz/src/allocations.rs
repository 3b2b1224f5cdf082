//! No input may ask for much memory: an allocation beyond the limit ends the process, which libFuzzer takes for a finding.
//!
//! libFuzzer's own limits need an address sanitizer, or wait until the memory is used. Memory that C libraries take by
//! themselves is not seen here.

#![allow(
    unsafe_code,
    reason = "an allocator is unsafe by its trait; each call is handed on to the system's as it came"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What a few kilobytes may stand for at most: 4 KiB of zstd hold 128 MiB of one byte.
static LIMIT_BYTES: AtomicUsize = AtomicUsize::new(160 << 20);

/// Allows less while something runs.
pub(crate) fn at_most<T>(bytes: usize, run: impl FnOnce() -> T) -> T {
    let usual = LIMIT_BYTES.swap(bytes, Ordering::Relaxed);
    let result = run();
    LIMIT_BYTES.store(usual, Ordering::Relaxed);
    result
}

#[global_allocator]
static LIMITED: Limited = Limited;

/// Saying so takes memory too, and so does the report of a panic.
static REFUSED: AtomicBool = AtomicBool::new(false);

struct Limited;

// SAFETY: every call is the system allocator's own, with the same arguments, or does not return.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        check(new_size);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(block, layout, new_size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

fn check(bytes: usize) {
    if bytes > LIMIT_BYTES.load(Ordering::Relaxed)
        && !std::thread::panicking()
        && !REFUSED.swap(true, Ordering::Relaxed)
    {
        refuse(bytes);
    }
}

/// The text that `scripts/fuzz` shows. The backtrace says who asked.
#[cold]
fn refuse(bytes: usize) {
    let limit = LIMIT_BYTES.load(Ordering::Relaxed);
    eprintln!("an allocation of {bytes} bytes: an input may ask for {limit} at most");
    eprintln!("{}", std::backtrace::Backtrace::force_capture());
    std::process::abort();
}
