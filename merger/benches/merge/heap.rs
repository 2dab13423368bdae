//! How much memory is in use, and how much at most: an allocator that counts while it is told to.
//!
//! While it is not, an allocation costs one read more than without it, on both sides of each ratio.
#![expect(unsafe_code, reason = "an allocator is unsafe by its interface")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

/// Hands everything on to the system's allocator.
struct Counting;

#[global_allocator]
static HEAP: Counting = Counting;

static IS_COUNTED: AtomicBool = AtomicBool::new(false);
static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// What a function gives, and the most memory that it had in use beyond what was in use before. No
/// other thread runs, and it frees nothing that is older than it.
pub(crate) fn peak<T>(run: impl FnOnce() -> T) -> (T, usize) {
    IN_USE.store(0, Relaxed);
    PEAK.store(0, Relaxed);
    IS_COUNTED.store(true, Relaxed);
    let result = run();
    IS_COUNTED.store(false, Relaxed);
    (result, PEAK.load(Relaxed))
}

fn grow(bytes: usize) {
    if IS_COUNTED.load(Relaxed) {
        let in_use = IN_USE.fetch_add(bytes, Relaxed) + bytes;
        PEAK.fetch_max(in_use, Relaxed);
    }
}

fn shrink(bytes: usize) {
    if IS_COUNTED.load(Relaxed) {
        IN_USE.fetch_sub(bytes, Relaxed);
    }
}

// === impl Counting ===

// SAFETY: each function is the system's with the same arguments, which are as the caller promised.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // A block that grows may be moved, and for a moment there are both. The system moves large
        // ones by their page table alone; what is counted is the block that remains.
        shrink(layout.size());
        grow(size);
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}
