//! The process's allocator: mimalloc, told to keep what it frees.
//!
//! A job frees and takes the same batches again every epoch. Given back to the system after mimalloc's usual 10 ms, each
//! page comes back empty and must be cleared: a quarter of the processor time of an NDJSON job without archive.

#![allow(unsafe_code, reason = "one call of the allocator's C interface")]

use libmimalloc_sys::{mi_option_set, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The option that mimalloc.h calls `mi_option_purge_delay`; the crate has no name for it. The numbers are mimalloc's ABI.
const PURGE_DELAY: mi_option_t = 15;

/// How long freed memory is kept, in milliseconds: longer than an epoch and shorter than a quiet time.
const PURGE_DELAY_MS: std::ffi::c_long = 10_000;

/// To be called first thing.
pub(crate) fn keep_freed_memory() {
    // SAFETY: the function takes two integers, checks the first one's range, and stores the second one.
    unsafe { mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) }
}
