//! How much memory one thread has in use, and how much at most: an allocator that counts.
#![expect(unsafe_code, reason = "an allocator is unsafe by its interface")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// Hands everything on to the system's allocator.
struct Counting;

#[global_allocator]
static HEAP: Counting = Counting;

thread_local! {
    static IN_USE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Counts what this thread allocates from here on.
pub(crate) fn begin() {
    IN_USE.set(0);
    PEAK.set(0);
}

/// The bytes that are in use, and that were at most, since it began.
pub(crate) fn in_use_and_peak() -> (isize, isize) {
    (IN_USE.get(), PEAK.get())
}

fn grow(bytes: usize) {
    let in_use = IN_USE.get().saturating_add_unsigned(bytes);
    IN_USE.set(in_use);
    PEAK.set(PEAK.get().max(in_use));
}

fn shrink(bytes: usize) {
    IN_USE.set(IN_USE.get().saturating_sub_unsigned(bytes));
}

// === impl Counting ===

// SAFETY: each function is the system's with the same arguments, which are as the caller promised. A
// thread's counters need neither allocation nor destructor.
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
        // It may be moved, and for a moment there are both: the worst is counted.
        grow(size);
        shrink(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}
