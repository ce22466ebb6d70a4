//! What keeps the host process alive when its memory runs out: address space that is given back
//! when an allocation fails.
//!
//! A `Vec` or a `Box` that finds no memory ends the process, where a library has to answer
//! `CKR_HOST_MEMORY` (PKCS#11 5.1.1). So what a caller or a stored object makes large is asked for
//! with `try_reserve`, or announced with [`afford`]; the many small things in between (a session, a
//! handle, the reason of an error) live on the ballast until the call returns, and no call begins
//! without one.

use super::pages;
use crate::error::{Error, Result};
use cryptoki_sys::CKR_HOST_MEMORY;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

/// Bytes of the ballast. They are never touched, so that they cost address space only.
const BALLAST: usize = 8 << 20;
/// The largest allocation that the ballast is spent on, in bytes.
const LARGEST: usize = BALLAST / 8;
/// Bytes that a step of a call may take without asking; a call takes few such steps.
const LITTLE: usize = 256 << 10;
/// How often a failed allocation is tried again.
const TRIES: u32 = 50;

/// The ballast; null once it is spent. A forked child has its own copy, as of all memory.
static PLACE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

#[global_allocator]
static ALLOCATOR: Ballasted = Ballasted;

/// The system's allocator, which spends the ballast before it fails.
struct Ballasted;

// SAFETY: every block is the system allocator's, asked for and given back with the caller's layout;
// nothing here unwinds.
unsafe impl GlobalAlloc for Ballasted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's word.
        raw(backed(layout.size(), || {
            NonNull::new(unsafe { System.alloc(layout) })
        }))
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's word.
        raw(backed(layout.size(), || {
            NonNull::new(unsafe { System.alloc_zeroed(layout) })
        }))
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's word; a block stays what it was where this fails.
        raw(backed(size, || {
            NonNull::new(unsafe { System.realloc(block, layout, size) })
        }))
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's word.
        unsafe { System.dealloc(block, layout) }
    }
}

fn raw(block: Option<NonNull<u8>>) -> *mut u8 {
    block.map_or(ptr::null_mut(), NonNull::as_ptr)
}

/// What `ask` gives, for which the ballast is spent where that is not too much.
#[inline]
pub(super) fn backed(size: usize, ask: impl Fn() -> Option<NonNull<u8>>) -> Option<NonNull<u8>> {
    match ask() {
        None if size <= LARGEST => again(ask),
        block => block,
    }
}

#[cold]
fn again(ask: impl Fn() -> Option<NonNull<u8>>) -> Option<NonNull<u8>> {
    for _ in 0..TRIES {
        if let Some(ballast) = NonNull::new(PLACE.swap(ptr::null_mut(), Ordering::AcqRel)) {
            // SAFETY: `take` made this mapping, nothing uses it, and no other thread has it now.
            unsafe { pages::unmap(ballast, BALLAST) };
        }
        let block = ask();
        if block.is_some() {
            return block;
        }
        // Another thread may have the ballast in hand and not have given it back yet.
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

/// Whether the ballast is in place, or could be taken again. For the entrance of every call.
#[inline]
pub fn ballast() -> bool {
    in_place() || take()
}

fn in_place() -> bool {
    !PLACE.load(Ordering::Relaxed).is_null()
}

#[cold]
fn take() -> bool {
    let Some(new) = pages::reserve(BALLAST) else {
        return false;
    };
    let placed = PLACE.compare_exchange(
        ptr::null_mut(),
        new.as_ptr(),
        Ordering::AcqRel,
        Ordering::Relaxed,
    );
    if placed.is_err() {
        // SAFETY: made above; another thread was quicker and nobody has seen this one.
        unsafe { pages::unmap(new, BALLAST) };
    }
    true
}

/// Refuses a step that takes so many bytes where they cannot be had. `CKR_HOST_MEMORY`.
///
/// Little is affordable as long as the ballast is in place: a loop over many small things that asks
/// each time ends in good time.
pub fn afford(bytes: usize) -> Result<()> {
    if bytes <= LITTLE && in_place() {
        return Ok(());
    }
    let bytes = bytes.max(LITTLE);
    let probe = pages::reserve(bytes)
        .ok_or_else(|| Error::new(CKR_HOST_MEMORY, "there is not enough memory for this"))?;
    // SAFETY: made above for this probe alone.
    unsafe { pages::unmap(probe, bytes) };
    Ok(())
}
