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
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::time::Duration;

/// Bytes of a piece. It is never touched, so that it costs address space only.
const PIECE: usize = 1 << 20;
/// Pieces of the whole ballast.
const PIECES: usize = 8;
/// With so many pieces a call may begin. What is below is for those that give memory back.
const ENOUGH: usize = PIECES / 2;
/// The largest allocation that the ballast is spent on, in bytes.
const LARGEST: usize = PIECE;
/// Bytes that a step of a call may take without asking; a call takes few such steps.
const LITTLE: usize = 256 << 10;
/// How long a failed allocation waits for another thread's piece.
const PATIENCE: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_millis(1);

/// The pieces, null where spent: the first is spent first and replaced last, so that it tells of the
/// others. A forked child has its own copy, as of all memory.
static PLACES: [AtomicPtr<u8>; PIECES] = [const { AtomicPtr::new(ptr::null_mut()) }; PIECES];

/// How many threads are at giving a piece back.
static SPENDING: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Ballasted = Ballasted;

/// The system's allocator, which spends the ballast before it fails.
struct Ballasted;

// SAFETY: every block is the system allocator's, asked for and given back with the caller's layout;
// nothing here unwinds.
unsafe impl GlobalAlloc for Ballasted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's word.
        let ask = || unsafe { System.alloc(layout) };
        raw(backed(layout.size(), || NonNull::new(ask())))
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's word.
        let ask = || unsafe { System.alloc_zeroed(layout) };
        raw(backed(layout.size(), || NonNull::new(ask())))
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's word; where this fails, the block stays what it was.
        let ask = || unsafe { System.realloc(block, layout, size) };
        raw(backed(size, || NonNull::new(ask())))
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
    let mut patience = PATIENCE;
    loop {
        let spent = spend();
        let others = SPENDING.load(Ordering::Acquire) > 0;
        let block = ask();
        if block.is_some() || !(spent || others) {
            return block;
        }
        if !spent {
            // Another thread has the last piece in hand and has not given it back yet; in a forked
            // child there may be no such thread.
            patience = patience.checked_sub(PAUSE)?;
            std::thread::sleep(PAUSE);
        }
    }
}

/// Gives one piece back to the system. `false` when none is left.
fn spend() -> bool {
    SPENDING.fetch_add(1, Ordering::AcqRel);
    let piece = PLACES
        .iter()
        .find_map(|place| NonNull::new(place.swap(ptr::null_mut(), Ordering::AcqRel)));
    if let Some(piece) = piece {
        // SAFETY: `restore` made this mapping, nothing uses it, and no other thread has it now.
        unsafe { pages::unmap(piece, PIECE) };
    }
    SPENDING.fetch_sub(1, Ordering::AcqRel);
    piece.is_some()
}

/// Whether there is enough of the ballast for a call to begin. What is missing is taken again, as far
/// as that is possible.
#[inline]
pub fn ballast() -> bool {
    is_whole() || restore() >= ENOUGH
}

fn is_whole() -> bool {
    let [first, ..] = &PLACES;
    !first.load(Ordering::Relaxed).is_null()
}

/// How many pieces are in place.
pub fn pieces() -> usize {
    let is_there = |place: &&AtomicPtr<u8>| !place.load(Ordering::Relaxed).is_null();
    PLACES.iter().filter(is_there).count()
}

/// Takes the missing pieces again, and tells how many are in place.
#[cold]
fn restore() -> usize {
    for place in PLACES.iter().rev() {
        if !place.load(Ordering::Relaxed).is_null() {
            continue;
        }
        let Some(piece) = pages::reserve(PIECE) else {
            break;
        };
        let (missing, new) = (ptr::null_mut(), piece.as_ptr());
        let placed = place.compare_exchange(missing, new, Ordering::AcqRel, Ordering::Relaxed);
        if placed.is_err() {
            // SAFETY: made above; another thread was quicker and nobody has seen this one.
            unsafe { pages::unmap(piece, PIECE) };
        }
    }
    pieces()
}

/// Refuses a step that takes so many bytes where they cannot be had. `CKR_HOST_MEMORY`.
///
/// Little is affordable as long as there is enough of the ballast: a loop over many small things that
/// asks each time ends in good time.
pub fn afford(bytes: usize) -> Result<()> {
    if bytes <= LITTLE && (is_whole() || pieces() >= ENOUGH) {
        return Ok(());
    }
    let bytes = bytes.max(LITTLE);
    let probe = pages::reserve(bytes)
        .ok_or_else(|| Error::new(CKR_HOST_MEMORY, "there is not enough memory for this"))?;
    // SAFETY: made above for this probe alone.
    unsafe { pages::unmap(probe, bytes) };
    Ok(())
}
